from __future__ import annotations

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import reconcile, unitstate

SHOWN = """\
Id=celery-shop-worker@default-1.service
LoadState=loaded
ActiveState=active
SubState=running
MainPID=4711
NRestarts=0

Id=celery-shop-worker@ml-1.service
LoadState=not-found
ActiveState=inactive
SubState=dead
MainPID=0
"""


def unit(**properties: str) -> dict[str, str]:
    return {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", **properties}


def test_units_are_parted_by_an_empty_line() -> None:
    units = unitstate.parse_show(SHOWN)
    assert list(units) == ["celery-shop-worker@default-1.service", "celery-shop-worker@ml-1.service"]
    assert units["celery-shop-worker@default-1.service"]["MainPID"] == "4711"
    assert unitstate.parse_show("") == {} == unitstate.parse_show("\n\n")


def test_a_value_may_hold_an_equals_sign() -> None:
    assert unitstate.parse_show("Id=x\nFragmentPath=/a=b")["x"]["FragmentPath"] == "/a=b"


@pytest.mark.parametrize(
    "active, sub, state",
    [
        ("active", "running", reconcile.RUNNING),
        ("reloading", "reload", reconcile.RUNNING),
        ("activating", "start", reconcile.STARTING),
        ("activating", "start-pre", reconcile.STARTING),
        ("activating", "auto-restart", reconcile.FAILED),
        ("activating", "auto-restart-queued", reconcile.FAILED),
        ("deactivating", "stop-sigterm", reconcile.STOPPING),
        ("failed", "failed", reconcile.FAILED),
        ("inactive", "dead", reconcile.STOPPED),
    ],
)
def test_states(active: str, sub: str, state: str) -> None:
    assert unitstate.state_of(unit(ActiveState=active, SubState=sub)) == state


@pytest.mark.parametrize(
    "shown, words",
    [
        ({"LoadState": "not-found"}, ["no such unit", "not rendered"]),
        (unit(LoadState="bad-setting"), ["LoadState=bad-setting"]),
        (
            unit(
                ActiveState="failed", SubState="failed", Result="exit-code", ExecMainStatus="2", NRestarts="3"
            ),
            ["failed (failed)", "Result=exit-code", "ExecMainStatus=2", "3 restarts"],
        ),
        (unit(ActiveState="failed", Result="exit-code", ExecMainStatus="203"), ["virtualenv"]),
        (unit(ActiveState="failed", Result="exit-code", ExecMainStatus="217"), ["user does not exist"]),
        (unit(ActiveState="failed", Result="timeout"), ["start_timeout"]),
        (unit(ActiveState="failed", Result="oom-kill"), ["memory limit"]),
        (unit(ActiveState="activating", SubState="auto-restart", Result="watchdog"), ["WatchdogSec"]),
    ],
)
def test_a_state_in_words(shown: dict[str, str], words: list[str]) -> None:
    text = unitstate.describe(shown)
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    "shown, before, hopeless",
    [
        pytest.param({"LoadState": "not-found"}, 0, True, id="no unit"),
        pytest.param(unit(ActiveState="failed"), 0, True, id="given up by systemd"),
        pytest.param(unit(ActiveState="activating", SubState="start"), 0, False, id="still starting"),
        pytest.param(
            unit(ActiveState="activating", SubState="auto-restart", NRestarts="1"), 0, False, id="tried once"
        ),
        pytest.param(
            unit(ActiveState="activating", SubState="auto-restart", NRestarts="3"), 0, True, id="tried often"
        ),
        pytest.param(
            unit(ActiveState="activating", SubState="auto-restart", NRestarts="9"),
            8,
            False,
            id="earlier restarts do not count",
        ),
        pytest.param(
            unit(ActiveState="activating", SubState="auto-restart", ExecMainStatus="203"),
            0,
            True,
            id="no program to run",
        ),
    ],
)
def test_when_waiting_is_of_no_use(shown: dict[str, str], before: int, hopeless: bool) -> None:
    assert unitstate.is_hopeless(shown, before) is hopeless


@pytest.mark.parametrize("text, value", [("12", 12), ("0", 0), ("", 0), (None, 0), ("[not set]", 0)])
def test_numbers(text: str | None, value: int) -> None:
    assert unitstate.number(text) == value
