"""Where a fleet is, where it is wanted, and what follows."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.envfile import env_file
from ansible_collections.celeryops.fleet.plugins.module_utils.moves import host, places


def place(url: str = "redis://:secret@a:6379/0", fleet: str = "shop", prefix: str = "") -> dict[str, Any]:
    return places.place(fleet, url, {"broker_transport_options": {"global_keyprefix": prefix}})


A, B, C = place("redis://:x@a:6379/0"), place("redis://:y@b:6379/0"), place("redis://c:6379/0")


def test_the_installed_place_is_read_from_the_files() -> None:
    environment = env_file({"CELERY_BROKER_URL": 'redis://:a"b\\c$d`@a:6379/0', "OTHER": "x"})
    settings = json.dumps({"settings": {"broker_transport_options": {"global_keyprefix": "shop:"}}})
    found = places.installed("shop", environment, settings)
    assert found is not None
    assert found["url"] == 'redis://:a"b\\c$d`@a:6379/0'
    assert places.label(found) == "redis://a:6379/0 behind 'shop:' (shop)"
    assert places.installed("shop", "", "") is None
    assert places.installed("shop", environment, "no JSON") is not None


@pytest.mark.parametrize(
    "other, same",
    [
        (place("redis://:another@a:6379/0"), True),
        (place("redis://:secret@a:6379"), True),
        (place("redis://:secret@a:6379/1"), False),
        (place("redis://:secret@b:6379/0"), False),
        (place(prefix="shop:"), False),
        (place(fleet="store"), False),
    ],
)
def test_a_password_makes_no_other_place(other: dict[str, Any], same: bool) -> None:
    assert places.same(place(), other) is same


def test_the_order_of_sentinels_makes_no_other_place() -> None:
    assert places.same(place("sentinel://a:1;sentinel://b:1"), place("sentinel://b:1;sentinel://a:1"))


@pytest.mark.parametrize(
    "now, note, moves, sources, sweeps",
    [
        (None, None, False, [], False),
        (B, None, False, [], False),
        (A, None, True, [A], False),
        # On the way from A to B, before and after the environment was written.
        (A, places.new_note([A], B), True, [A], False),
        (B, places.new_note([A], B), False, [A], True),
        # It was to go to C, was broken off, and goes to B.
        (A, places.new_note([A], C), True, [A, C], False),
        # It was to go to C, was broken off, and stays.
        (B, places.new_note([B], C), True, [C], False),
    ],
)
def test_what_is_to_be_done(
    now: Any, note: Any, moves: bool, sources: list[dict[str, Any]], sweeps: bool
) -> None:
    assert places.decide(now, B, note) == places.Decision(moves, sources, sweeps)


def test_who_still_sends_to_the_old_place_is_named() -> None:
    quiet = places.describe([{"same": True}, {"messages": 2, "keys": 1}])
    assert quiet == {"messages": 2, "keys": 1, "late": 0, "producers": [], "clients": []}
    assert places.warning(quiet, [A]) == ""
    told = places.warning({**quiet, "late": 3, "producers": ["4711@web1"], "clients": ["10.0.0.1:5"]}, [A])
    assert "redis://a:6379/0 (shop)" in told
    assert "3 messages" in told and "4711@web1" in told and "10.0.0.1:5" in told


def dirs(root: Path, name: str) -> host.Dirs:
    return host.Dirs(*(str(root / kind / name) for kind in ("opt", "etc", "state", "log", "run")))


@pytest.fixture
def old(tmp_path: Path) -> host.Dirs:
    found = dirs(tmp_path, "shop")
    for path in found:
        os.makedirs(path)
    os.mkdir(f"{found.etc_dir}/secrets", 0o700)
    for path in (
        found.environment,
        f"{found.etc_dir}/secrets/key",
        f"{found.state_dir}/data",
        f"{found.log_dir}/beat.log",
    ):
        Path(path).write_text("content")
    return found


def test_data_logs_and_secrets_take_the_new_name(tmp_path: Path, old: host.Dirs) -> None:
    new = old.named("store")
    assert new == dirs(tmp_path, "store")
    assert host.conflicts(old, new) == []
    host.write_note(old, places.new_note([A], B))
    os.makedirs(new.log_dir)
    Path(new.log_dir, "beat.log").write_text("of a fleet that is gone")

    assert len(host.rename(old, new)) == 4
    assert host.rename(old, new) == []

    assert Path(new.state_dir, "data").read_text() == "content"
    assert Path(new.log_dir, "beat.log.shop").read_text() == "content"
    assert Path(new.etc_dir, "secrets", "key").read_text() == "content"
    assert os.stat(f"{new.etc_dir}/secrets").st_mode & 0o777 == 0o700
    assert host.read_note(new) == places.new_note([A], B)
    assert os.stat(new.note).st_mode & 0o777 == 0o600


def test_two_living_names_are_refused(old: host.Dirs) -> None:
    new = old.named("store")
    os.makedirs(new.state_dir)
    Path(new.state_dir, "data").write_text("of another")
    assert "both hold data" in host.conflicts(old, new)[0]
    os.makedirs(new.etc_dir)
    Path(new.environment).write_text("")
    assert "fleets of both names are installed here" in host.conflicts(old, new)[0]


def test_what_an_interrupted_run_has_moved_is_not_in_the_way(old: host.Dirs) -> None:
    new = old.named("store")
    Path(old.state_dir, "more").write_text("content")
    os.makedirs(new.state_dir)
    os.rename(f"{old.state_dir}/data", f"{new.state_dir}/data")
    assert host.conflicts(old, new) == []
    host.rename(old, new)
    assert sorted(os.listdir(new.state_dir)) == ["data", "more"]


def test_folders_that_do_not_bear_the_name_are_refused(old: host.Dirs) -> None:
    odd = old.named("store")._replace(state_dir="/srv/data")
    assert "/srv/data ends in something else" in host.conflicts(old, odd)[0]


def test_a_release_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(host.MoveError, match="cannot be run, and the move needs a virtualenv"):
        host.ask_runtime(str(tmp_path / "python"), None, "", [], 1)
