"""The example's own check passes on real workers, and fails when it should."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Shop


def test_every_check_passes(shop: Shop) -> None:
    done = shop.manage("check_canvas", "--json")
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    checks: dict[str, dict[str, Any]] = {check["check"]: check for check in report["checks"]}
    assert [check for check in checks.values() if not check["ok"]] == []
    assert (report["ok"], done.returncode) == (True, 0)
    assert checks["failing with retry"]["found"]["retries"] == 2
    assert checks["route to celery"]["found"]["node"].startswith("default@")
    [ml_node] = checks["route to ml"]["found"]["nodes"]
    assert ml_node.startswith("ml@")
    assert "database is locked" not in shop.log("default") + shop.log("ml")


def test_models_and_migrations_agree(shop: Shop) -> None:
    done = shop.manage("makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout


def test_no_secret_key_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(shop.environment, "SHOP_SECRET_KEY")
    done = shop.manage("check")
    assert done.returncode != 0
    assert "SHOP_SECRET_KEY is not set" in done.stderr


def test_pinned_requirements_are_exact(shop: Shop) -> None:
    lines = (shop.path / "requirements.txt").read_text().split()
    assert lines
    assert all("==" in line for line in lines)


def test_without_a_consumer_of_ml_the_check_fails(shop: Shop) -> None:
    shop.stop_worker("ml")
    try:
        done = shop.manage("check_canvas", "--timeout", "7")
    finally:
        shop.start_worker("ml", "ml", 2)
        shop.wait_ready()
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    failed = [line for line in lines if " FAILED " in line]
    assert [line.split("  ")[0] for line in failed] == ["route to ml", "chord over two queues"]
    assert all("TimeoutError" in line for line in failed)
    assert lines[-1].startswith("16 of 18 checks passed")
