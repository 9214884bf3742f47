# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight.schedulers import (
    Command,
    parse,
    same_app,
)


@pytest.mark.parametrize(
    "cmdline, expected",
    [
        (["/v/bin/python", "/v/bin/celery", "-A", "shop", "beat"], Command("beat", "shop")),
        (
            ["/v/bin/python3", "-m", "celery", "--app=shop", "worker", "--beat"],
            Command("worker", "shop", True),
        ),
        (["python", "-u", "-m", "celery", "-Ashop", "worker", "-EB"], Command("worker", "shop", True)),
        (["celery", "--app", "shop", "worker", "-BE"], Command("worker", "shop", True)),
        (["celery", "-A", "beat", "worker", "-Q", "beat"], Command("worker", "beat")),
        (["celery", "-b", "redis://", "-A", "shop", "worker", "-QBulk"], Command("worker", "shop")),
        (["celery", "-A", "shop", "flower"], Command("flower", "shop")),
        (["celery"], None),
        (["celery", "-A"], None),
        ([], None),
        (["bash", "-c", "celery -A shop beat"], None),
        (["python", "manage.py", "runserver"], None),
        # The titles that Celery gives itself where setproctitle is installed.
        (["[celery beat] -A shop beat"], Command("beat", "shop")),
        (["[celeryd: w1@vm:MainProcess] -active- (-A shop worker -EB -c1)"], Command("worker", "shop", True)),
        (["[celeryd: celery@vm:ForkPoolWorker-2]"], None),
        (["[celery beat]"], None),
    ],
)
def test_command_lines(cmdline: list[str], expected: Command | None) -> None:
    assert parse(cmdline) == expected


@pytest.mark.parametrize(
    "command, sends",
    [(Command("beat"), True), (Command("worker", "", True), True), (Command("worker"), False)],
)
def test_which_commands_send_scheduled_tasks(command: Command, sends: bool) -> None:
    assert command.schedules is sends


@pytest.mark.parametrize("one", ["shop", "shop.celery", "shop.celery:app", "shop.celery.app"])
def test_spellings_of_one_application(one: str) -> None:
    assert same_app(one, "shop.celery:app")


@pytest.mark.parametrize("one", ["", "shop2", "shop.tasks", "bookshop.celery"])
def test_other_applications(one: str) -> None:
    assert not same_app(one, "shop.celery:app")
