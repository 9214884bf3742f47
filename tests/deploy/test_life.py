"""The whole life of a fleet in a clean clone, as a new user would lead it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Checkout


# What pip, uv and the shims of version managers put into a home for themselves.
CACHES = {".cache", ".rustup", ".pyenv"}


def count(mains: dict[int, str], *words: str) -> int:
    return sum(all(word in text for word in words) for text in mains.values())


def test_from_clone_to_teardown(checkout: Checkout, subtests: pytest.Subtests) -> None:
    first = checkout.make("deploy")
    assert first.code == 0, first.output
    mains = checkout.mains()
    checkout.hurry()

    with subtests.test("everything runs, once"):
        assert count(mains, "celery", "worker", "default-1@localhost") == 1
        assert count(mains, "celery", "worker", "ml-1@localhost") == 1
        assert count(mains, "celery", "beat") == 1
        assert count(mains, "flower") == 1
        assert len(mains) == 5, mains  # and Redis

    with subtests.test("the report says what runs where and how to log in"):
        for pid in [pid for pid, text in mains.items() if "worker" in text]:
            assert f" {pid} " in first.output
        assert f"http://127.0.0.1:{checkout.ports['celery_flower_port']}" in first.output
        assert "beat " in first.output
        assert re.search(r"^\s*ml +ml on localhost$", first.output, re.MULTILINE)

    with subtests.test("other processes find the routes"):
        routes = json.loads((checkout.prefix / "etc/celery/shop/routes.json").read_text())
        assert routes == {"orders.tasks.forget_old_events": {"queue": "celery", "priority": 9}}

    with subtests.test("no secret stands on a command line"):
        environment = (checkout.prefix / "etc/celery/shop/environment").read_text()
        secrets = re.findall(r'^(?:SHOP_SECRET_KEY)="(.+)"$', environment, re.MULTILINE)
        secrets += re.findall(r"redis://:([^@]+)@", environment)
        assert len(secrets) >= 2
        for text in checkout.processes().values():
            assert not [secret for secret in secrets if secret in text]

    with subtests.test("every task and canvas gives the right result"):
        done = checkout.manage("check_canvas", "--schedule")
        assert done.code == 0, done.output

    with subtests.test("a second deploy, by the plain command, changes and restarts nothing"):
        second = checkout.run(".venv/bin/ansible-playbook", "deploy.yml", *checkout.arguments())
        assert second.code == 0, second.output
        assert second.recap["changed"] == 0, second.output
        assert checkout.mains() == mains

    with subtests.test("nothing was touched outside the prefix"):
        changed_files = checkout.run("git", "status", "--porcelain").output
        assert changed_files == ""
        assert {path.name for path in checkout.home.iterdir()} <= CACHES

    with subtests.test("teardown stops everything and keeps the data"):
        down = checkout.make("teardown")
        assert down.code == 0, down.output
        assert checkout.processes() == {}
        kept = {
            str(path.relative_to(checkout.prefix)) for path in checkout.prefix.rglob("*") if path.is_file()
        }
        assert "var/lib/celery/shop/shop.sqlite3" in kept
        assert all(path.startswith("var/lib/") for path in kept), sorted(kept)
