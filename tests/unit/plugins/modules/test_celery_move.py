from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .test_celery_nodes import run

KINDS = ("opt", "etc", "state", "log", "run")


def look(root: Path, **params: Any) -> dict[str, Any]:
    folders = {f"{kind}_dir": str(root / kind / "shop") for kind in KINDS}
    given = {"fleet": "shop", "broker_url": "redis://:new@b:6379/0", **folders, **params}
    return run("celery_move", **given)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/shop").mkdir(parents=True)
    (tmp_path / "etc/shop/environment").write_text('CELERY_BROKER_URL="redis://:old@a:6379/0"\n')
    return tmp_path


def test_a_host_without_a_fleet_has_nothing_to_move(tmp_path: Path) -> None:
    found = look(tmp_path)
    assert not (found["installed"] or found["moves"] or found["sweeps"] or found["renames"])


def test_another_redis_is_a_move(root: Path) -> None:
    found = look(root)
    assert found["moves"] and not found["renames"] and not found["changed"]
    assert found["sources"] == ["redis://a:6379/0 (shop)"] and found["target"] == "redis://b:6379/0 (shop)"
    assert found["brokers"] == ["redis://:old@a:6379/0"]
    assert not look(root, broker_url="redis://:new@a:6379/0")["moves"]


def test_another_name_is_a_move(root: Path) -> None:
    folders = {f"{kind}_dir": str(root / kind / "store") for kind in KINDS}
    found = look(root, fleet="store", former="shop", broker_url="redis://:old@a:6379/0", **folders)
    assert found["moves"] and found["renames"] and found["name"] == "shop"
    assert found["dirs"]["etc_dir"] == str(root / "etc/shop")


def test_what_cannot_be_read_is_left_to_a_task_with_a_log(root: Path) -> None:
    (root / "etc/shop/environment").unlink()
    (root / "etc/shop/environment").mkdir()
    found = look(root)
    assert not found.get("failed") and found["moves"]
    assert str(root / "etc/shop/environment") in found["problems"][0]
