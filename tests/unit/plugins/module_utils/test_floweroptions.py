# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.floweroptions import (
    flower_config,
    flower_options,
    flower_problems,
    flower_url,
    is_loopback,
)

SOUND: dict[str, Any] = {
    "address": "127.0.0.1",
    "port": 5555,
    "user": "admin",
    "password": "",
    "url_prefix": "",
    "read_only": True,
    "max_tasks": 10000,
    "max_workers": 1000,
    "purge_offline": "1h",
    "memory_max": "512MB",
    "start_timeout": "1m",
    "stop_timeout": "30s",
    "options": {},
    "packages": ["flower==2.2.0", "celery[redis]==5.7.0"],
}


def read(text: str) -> dict[str, Any]:
    """What Flower reads in a configuration file."""
    found: dict[str, Any] = {}
    exec(text, found)  # as Tornado does
    found.pop("__builtins__")
    return found


def test_the_file_holds_what_flower_reads() -> None:
    text = flower_config(flower_options(SOUND, "pa'ss\"w\\ord,ä", "c00kie"))
    assert read(text) == {
        "address": "127.0.0.1",
        "port": 5555,
        "basic_auth": ["admin:pa'ss\"w\\ord,ä"],
        "cookie_secret": "c00kie",
        "enable_events": False,
        "read_only": True,
        "max_tasks": 10000,
        "max_workers": 1000,
        "purge_offline_workers": 3600,
    }
    assert text.isascii()


def test_options_are_written_in_python_and_cannot_unlock_what_the_role_sets() -> None:
    options = {"natural_time": True, "inspect_timeout": 2000.0, "enable_events": True, "read_only": False}
    found = read(flower_config(flower_options({**SOUND, "options": options}, "p", "c")))
    assert (found["natural_time"], found["inspect_timeout"], found["enable_events"]) == (True, 2000.0, True)
    assert found["read_only"] is True


def test_what_is_empty_is_left_to_flower() -> None:
    flower = {**SOUND, "user": "", "purge_offline": "0", "url_prefix": "/flower/"}
    found = read(flower_config(flower_options(flower, "", "c")))
    assert "basic_auth" not in found
    assert "purge_offline_workers" not in found
    assert found["url_prefix"] == "flower"


@pytest.mark.parametrize(
    "more, url",
    [
        ({}, "http://127.0.0.1:5555"),
        ({"address": "0.0.0.0", "url_prefix": "/flower"}, "http://web1:5555/flower"),
        ({"address": "::1", "options": {"certfile": "/c", "keyfile": "/k"}}, "https://[::1]:5555"),
    ],
)
def test_where_it_answers(more: dict[str, Any], url: str) -> None:
    assert flower_url({**SOUND, **more}, "web1") == url


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "10.0.0.1", "::", "flower.example.org"])
def test_not_loopback(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"user": ""},
        {"address": "0.0.0.0"},
        {"address": "0.0.0.0", "user": "", "options": {"auth": r".*@example\.org", "auth_provider": "x.y"}},
        {"memory_max": ""},
        {"options": {"task_runtime_metric_buckets": [0.1, 1.0], "xheaders": True}},
        {"packages": ["Flower >= 2.2", "celery[redis]"]},
    ],
)
def test_sound_variables(more: dict[str, Any]) -> None:
    assert flower_problems({**SOUND, **more}) == []


@pytest.mark.parametrize(
    "more, says",
    [
        ({"address": "0.0.0.0", "user": ""}, "without a login"),
        ({"address": "", "user": ""}, "celery_flower_address is empty"),
        ({"port": 70000}, "celery_flower_port = 70000 is no port"),
        ({"port": "http"}, "is no port"),
        ({"user": "ad:min"}, "celery_flower_user"),
        ({"password": "a\nb"}, "celery_flower_password holds a line break"),
        ({"max_tasks": 0}, "celery_flower_max_tasks"),
        ({"purge_offline": "3600"}, "celery_flower_purge_offline"),
        ({"memory_max": "512"}, "celery_flower_memory_max"),
        ({"options": {"basic_auth": ["a:b"]}}, "Set celery_flower_user"),
        ({"options": {"unix_socket": "/run/f"}}, "every user of the host"),
        ({"options": {"basic-auth": "a:b"}}, "no option that Flower 2.2 knows"),
        ({"options": {"auth": {"a": 1}}}, "cannot read it"),
        ({"options": ["auth"]}, "no mapping"),
        ({"packages": ["celery[redis]"]}, "does not name flower"),
    ],
)
def test_what_cannot_work_is_told_with_value_and_remedy(more: dict[str, Any], says: str) -> None:
    (problem,) = flower_problems({**SOUND, **more})
    assert says in problem
    assert problem.endswith(".")


def test_a_password_is_never_shown() -> None:
    problems = flower_problems({**SOUND, "password": "hunter2\n", "user": "a b"})
    assert len(problems) == 2
    assert "hunter2" not in "".join(problems)
