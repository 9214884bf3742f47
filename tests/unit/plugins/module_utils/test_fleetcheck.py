from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.fleetcheck import fleet_problems

SYSTEM = {
    "app_name": "shop",
    "app": "shop.celery:app",
    "prefix": "",
    "service_manager": "systemd",
    "user": "celery",
    "group": "celery",
    "broker_url": "redis://:hunter2@redis1:6379/0",
    "environment": {"DJANGO_SETTINGS_MODULE": "shop.settings", "PYTHONPATH": "/srv/lib"},
    "secrets": {"TOKEN": "hunter2"},
    "settings": {"task_acks_late": False},
    "writable_paths": ["/srv/media"],
    "opt_dir": "/opt/celery/shop",
    "etc_dir": "/etc/celery/shop",
    "state_dir": "/var/lib/celery/shop",
    "log_dir": "/var/log/celery/shop",
    "run_dir": "/run/celery/shop",
    "uid": 0,
    "login": "root",
    "init": "systemd",
    "distribution": "Debian",
    "distribution_version": "12",
    "os_family": "Debian",
    "routes": [{"task": "orders.*", "queue": "celery"}],
    "clock_tolerance": "5s",
}
PREFIX = {
    **SYSTEM,
    **{key: f"/home/ann/fleet{SYSTEM[key]}" for key in SYSTEM if key.endswith("_dir")},
    "prefix": "/home/ann/fleet",
    "service_manager": "multi",
    "user": "ann",
    "group": "1000",
    "uid": 1000,
    "login": "ann",
}


@pytest.mark.parametrize("fleet", [SYSTEM, PREFIX, {**SYSTEM, "service_manager": "multi"}])
def test_sound_variables_have_no_problem(fleet: dict[str, Any]) -> None:
    assert fleet_problems(fleet) == []


@pytest.mark.parametrize(
    "fleet, changes, words",
    [
        (SYSTEM, {"app_name": "My Shop"}, ["celery_app_name", '"My Shop"', "lower-case"]),
        (SYSTEM, {"app_name": "x" * 41}, ["celery_app_name", "at most 40"]),
        (SYSTEM, {"app": "shop/celery.py"}, ["celery_app", "shop.celery:app"]),
        (SYSTEM, {"user": "Bad User"}, ["celery_user"]),
        (SYSTEM, {"uid": 1000, "login": "ann"}, ["runs as ann", "become: true", "celery_prefix"]),
        (PREFIX, {"user": "bob"}, ["celery_user", "ann", "become"]),
        (PREFIX, {"prefix": "/home/ann/my fleet"}, ["celery_prefix", "' '"]),
        (PREFIX, {"prefix": "fleet"}, ["celery_prefix", "absolute"]),
        (PREFIX, {"prefix": "/home/ann/"}, ["ends with a slash"]),
        (PREFIX, {"prefix": "/a:b"}, ["PYTHONPATH"]),
        (PREFIX, {"service_manager": "systemd"}, ["celery_service_manager", "prefix"]),
        (SYSTEM, {"init": "openrc"}, ["openrc", "multi"]),
        (SYSTEM, {"service_manager": "supervisor"}, ["supervisor", "systemd or multi"]),
        (SYSTEM, {"broker_url": ""}, ["celery_broker_url is empty"]),
        (SYSTEM, {"broker_url": "amqp://u:hunter2@x"}, ["amqp://", "needs Redis"]),
        (SYSTEM, {"broker_url": "hunter2"}, ["no scheme"]),
        (SYSTEM, {"broker_url": "redis://:a hunter2@x"}, ["%20"]),
        (SYSTEM, {"environment": {"A": True}}, ["celery_environment['A']", "YAML boolean"]),
        (SYSTEM, {"secrets": {"A": "hunter2\nB"}}, ["celery_secrets['A']", "line break"]),
        (SYSTEM, {"secrets": {"PYTHONPATH": "/x"}}, ["celery_secrets['PYTHONPATH']"]),
        (SYSTEM, {"settings": {"CELERY_TASK_ACKS_LATE": True}}, ["lower case", "celery_task_acks_late"]),
        (SYSTEM, {"settings": {"broker_url": "redis://:hunter2@x"}}, ["Use celery_broker_url"]),
        (SYSTEM, {"settings": []}, ["celery_settings is no mapping"]),
        (SYSTEM, {"writable_paths": ["media"]}, ["celery_writable_paths", "absolute"]),
        (SYSTEM, {"state_dir": "/var lib"}, ["celery_state_dir"]),
        (SYSTEM, {"secrets": {"A": ""}}, ["celery_secrets['A'] is empty", "vault"]),
        (SYSTEM, {"secrets": {"A": "CHANGE-ME"}}, ["celery_secrets['A'] is still CHANGE-ME"]),
        (SYSTEM, {"broker_url": "redis://:CHANGE-ME@redis1/0"}, ["celery_broker_url", "guess"]),
        (SYSTEM, {"routes": [{"task": "a"}]}, ["celery_routes[0]: queue"]),
        (SYSTEM, {"clock_tolerance": 5}, ["celery_clock_tolerance = 5", "unit"]),
        (SYSTEM, {"clock_tolerance": "0s"}, ["celery_clock_tolerance"]),
        (SYSTEM, {"distribution_version": "11"}, ["Debian 11", "12 on", "celery_prefix"]),
    ],
)
def test_each_problem_is_named_with_its_remedy(
    fleet: dict[str, Any], changes: dict[str, Any], words: list[str]
) -> None:
    problems = fleet_problems({**fleet, **changes})
    assert len(problems) == 1, problems
    assert all(word in problems[0] for word in words), problems
    assert "hunter2" not in problems[0]
    assert problems[0].endswith(".")


def test_all_problems_come_at_once() -> None:
    assert len(fleet_problems({**SYSTEM, "app_name": "", "app": "", "broker_url": "", "uid": 5})) == 4


@pytest.mark.parametrize(
    "family, name, version, supported",
    [
        ("Debian", "Debian", "12", True),
        ("Debian", "Debian", "13", True),
        ("Debian", "Debian", "forky/sid", True),
        ("Debian", "Ubuntu", "22.04", True),
        ("Debian", "Ubuntu", "20.04", False),
        ("Debian", "Linux Mint", "21", False),
        ("RedHat", "Rocky", "9.4", True),
        ("RedHat", "CentOS", "9", True),
        ("RedHat", "AlmaLinux", "8.10", False),
        ("RedHat", "Fedora", "40", True),
        ("RedHat", "Amazon", "2023", False),
        ("Alpine", "Alpine", "3.20.0", False),
    ],
)
def test_systems(family: str, name: str, version: str, supported: bool) -> None:
    found = {"os_family": family, "distribution": name, "distribution_version": version}
    assert bool(fleet_problems({**SYSTEM, **found})) is not supported
    assert fleet_problems({**PREFIX, **found}) == []
