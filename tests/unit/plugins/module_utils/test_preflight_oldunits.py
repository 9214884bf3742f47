# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Units of older set-ups, among them the one of Celery's documentation."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight import oldunits
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight.oldunits import Unit
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight.rules import Deployment

OURS = Deployment("shop", "/run/celery/shop", "shop.celery:app", "store")
DOCUMENTED = """
[Service]
Type=simple
EnvironmentFile=/etc/conf.d/celery
ExecStart=/bin/sh -c '${CELERY_BIN} -A ${CELERY_APP} beat  \\
    --pidfile=${CELERYBEAT_PID_FILE} \\
    --logfile=${CELERYBEAT_LOG_FILE} --loglevel=${CELERYD_LOG_LEVEL}'
"""
SETTINGS = """
# Name of nodes to start
CELERY_BIN="/srv/shop/bin/celery"
CELERY_APP="shop.celery"
CELERYBEAT_PID_FILE="/run/celery/beat.pid"
"""


def found(text: str, name: str = "celerybeat.service", **environments: str) -> list[str]:
    return [str(one) for one in oldunits.problems([Unit(name, text, environments)], OURS)]


def test_the_unit_of_celerys_documentation() -> None:
    (problem,) = found(DOCUMENTED, conf=SETTINGS)
    assert "unit celerybeat.service" in problem
    assert "starts a second beat for this application with the next boot" in problem
    assert "systemctl disable --now celerybeat.service" in problem


@pytest.mark.parametrize(
    "line",
    [
        "ExecStart=/srv/shop/bin/celery -A shop beat",
        "ExecStart=/srv/shop/bin/python -m celery -A shop.celery:app worker -B",
        "ExecStart=-/bin/bash -c 'exec /srv/shop/bin/celery --app=shop.celery beat'",
        'Environment="CELERY_APP=shop" LANG=C\nExecStart=/srv/shop/bin/celery beat',
    ],
)
def test_beats_of_the_application(line: str) -> None:
    assert len(found(f"[Service]\n{line}\n")) == 1


@pytest.mark.parametrize(
    "line",
    [
        "ExecStart=/srv/shop/bin/celery -A shop worker",
        "ExecStart=/srv/other/bin/celery -A other beat",
        "ExecStart=/srv/shop/bin/celery beat",
        "ExecStart=/bin/sh -c 'never closed",
        "ExecStartPre=/srv/shop/bin/celery -A shop beat",
        "",
    ],
)
def test_what_is_no_second_beat(line: str) -> None:
    assert found(f"[Service]\n{line}\n") == []


def test_the_fleets_own_units_are_none() -> None:
    text = "[Service]\nExecStart=/opt/celery/shop/current/venv/bin/celery -A shop.celery:app beat\n"
    assert found(text, "celery-shop-beat.service") == []
    assert found(text, "celery-store-beat.service") == []
    assert found(f"{text}Environment=CELERYOPS_UNIT=abc\n", "celery-green-beat.service") == []
    assert len(found(text, "celery-beat.service")) == 1


def test_only_what_something_wants_is_read(tmp_path: Path) -> None:
    wants = tmp_path / "multi-user.target.wants"
    wants.mkdir()
    (tmp_path / "env").write_text(SETTINGS)
    for name in ("celerybeat.service", "idle.service"):
        (tmp_path / name).write_text(DOCUMENTED.replace("/etc/conf.d/celery", str(tmp_path / "env")))
    (wants / "celerybeat.service").symlink_to(tmp_path / "celerybeat.service")
    (unit,) = oldunits.read(str(tmp_path))
    assert unit.name == "celerybeat.service"
    assert len(oldunits.problems([unit], OURS)) == 1
