"""What cannot work is refused with the value, the place and the remedy, and nothing is touched."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.redis import RedisServer

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 1800  # seconds; a run takes half a minute, on a busy machine many times as long
LOCAL = ROOT / "inventories/local"
BIN = Path(sys.executable).parent
# What is mounted there only this process and its children see.
ASIDE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
SMALL = [*ASIDE, 'mount -t tmpfs -o size=20m none "$0" && exec "$@"']
AS_OLD_SYSTEM = (
    'mount --bind "$0/os-release" /etc/os-release && '
    'mount --bind "$0/debian_version" /etc/debian_version && exec "$@"'
)
OLD_SYSTEM = [*ASIDE, AS_OLD_SYSTEM]


def pools(*changes: dict[str, Any]) -> dict[str, Any]:
    """Variables with one pool for every change, each right but for the change."""
    return {
        "celery_worker_pools": [
            {"name": f"pool{index}", "queues": ["celery"], **one} for index, one in enumerate(changes)
        ]
    }


POOLS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "worker1": (
        pools(
            {"concurency": 2},
            {"autoscale": {"min": 5, "max": 2}},
            {"concurrency": 2, "autoscale": {"min": 1, "max": 2}},
            {"name": "pool0"},
            {"max_memory_per_child": 400},
            {"time_limit": 30},
            {"extra_args": ["-B"]},
            {"hosts": ["worker1", "attic"]},
        ),
        [
            "(pool0): concurency = 2 is no key of a pool. Did you mean concurrency?",
            "has min 5 above max 2",
            "(pool2) has both concurrency = 2 and autoscale",
            "celery_worker_pools[0] and celery_worker_pools[3] are both named pool0",
            "Rename one of the pools",
            "max_memory_per_child = 400",
            "MB",
            "time_limit = 30",
            "celery_beat",
            '(pool7): hosts lists "attic", which is no worker host. Use one of worker1, worker2',
        ],
    ),
    "worker2": (
        {
            **pools({"time_limit": "2h"}),
            "celery_routes": [{"task": "orders.tasks.train_*", "queue": "mll"}],
            "celery_settings": {"broker_transport_options": {"visibility_timeout": 3600}},
        },
        [
            "celery_routes[0] sends orders.tasks.train_* to the queue mll, which no pool",
            "Correct the route",
            "time_limit of 7200 s is not below the visibility timeout of 3600 s",
            "celery_settings.broker_transport_options.visibility_timeout",
            "above 7200",
        ],
    ),
}
CASES = {
    "beat on one host as it was, on none, and with a lease that is too short": (
        {"celery_beat_host": "localhost", "celery_beat_pinned": "attic", "celery_beat_lease": "100ms"},
        [
            'celery_beat_host = "localhost" is no variable any more',
            "celery_beat_pinned: localhost",
            'celery_beat_pinned = "attic" is no candidate, which are localhost',
            'celery_beat_lease = "100ms" is below 1 s',
        ],
    ),
    "secrets of the example": (
        {"celery_secrets": {"SHOP_SECRET_KEY": "CHANGE-ME", "TOKEN": ""}},
        ["celery_secrets['SHOP_SECRET_KEY'] is still CHANGE-ME", "celery_secrets['TOKEN'] is empty", "vault"],
    ),
}


def refused(
    prefix: Path,
    variables: dict[str, Any],
    within: Sequence[str] = (),
    inventory: Path = LOCAL,
    options: Sequence[str] = (),
) -> str:
    """Deploy and return the words of the refusal, on one line."""
    before = tree(prefix.parent)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"redis_port": one.getsockname()[1], "celery_flower_port": other.getsockname()[1]}
    given = json.dumps({"celery_prefix": str(prefix), **ports, **variables})
    done = subprocess.run(
        [*within, BIN / "ansible-playbook", "-i", inventory, "deploy.yml", "-e", given, *options],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
    )
    assert done.returncode != 0, done.stdout
    assert not re.search(r"changed=[1-9]", done.stdout), done.stdout
    assert tree(prefix.parent) == before
    return " ".join(done.stdout.split())


def inventory_of(folder: Path, hosts: dict[str, dict[str, Any]], **more: Any) -> Path:
    """An inventory of hosts that are all this machine, in all groups but that of Redis."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    variables = {
        "celery_app_name": "orchard",
        "celery_app": "orchard.celery:app",
        "celery_app_source": {"type": "path", "path": str(ROOT / "examples/shop")},
        "celery_broker_url": "redis://127.0.0.1:1/0",
        "celery_worker_pools": [{"name": "default", "queues": ["celery"]}],
    }
    groups = {name: {"hosts": dict.fromkeys(hosts)} for name in ("celery_workers", "celery_beat")}
    everything = {
        "hosts": {name: {**local, **own} for name, own in hosts.items()},
        "vars": {**variables, **more},
        "children": groups,
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": everything}))
    return folder


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    paths = [folder, *folder.rglob("*")]
    return {str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in paths}


def executable(path: Path, does: str) -> str:
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("case", CASES)
def test_inventory(case: str, tmp_path: Path) -> None:
    variables, words = CASES[case]
    message = refused(tmp_path / "prefix", variables)
    assert not [word for word in words if word not in message], message


def test_pools_and_routes(tmp_path: Path) -> None:
    """Each host is told what is wrong with its own."""
    hosts = {host: variables for host, (variables, _) in POOLS.items()}
    message = refused(tmp_path / "prefix", {}, inventory=inventory_of(tmp_path, hosts))
    assert not [word for _, words in POOLS.values() for word in words if word not in message], message


@pytest.fixture
def stranger() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def test_redis_that_cannot_be(stranger: int, tmp_path: Path) -> None:
    wanted = {
        "redis_port": stranger,
        "redis_maxmemory_policy": "allkeys-lru",
        "redis_settings": {"cluster-enabled": "yes"},
        "redis_binary": executable(tmp_path / "redis-server", "echo Redis server v=5.0.14 bits=64"),
    }
    message = refused(tmp_path / "prefix", wanted)
    words = ["allkeys-lru", "noeviction", "cluster-enabled", "Cluster", "remove", "redis_port", str(stranger)]
    words += [str(os.getpid()), "5.0.14", "6.2", "redis_binary"]
    assert not [word for word in words if word not in message], message


@pytest.fixture
def beats(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A beat and a worker with a beat in it, as somebody starts them by hand for the same application."""
    program = tmp_path / "celery"
    program.write_text("import time\ntime.sleep(600)\n")
    lines = (["beat"], ["worker", "-B"])
    command = [sys.executable, program, "-A", "orchard.celery:app"]
    running = [subprocess.Popen([*command, *line]) for line in lines]
    yield running
    for process in running:
        process.kill()
        process.wait()


def test_host_that_is_not_free(stranger: int, beats: list[subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """Something in the place of the prefix and on the port of Flower, and beats that run already."""
    (tmp_path / "file").write_text("in the way\n")
    wanted = {"celery_app": "orchard.celery:app", "celery_flower_port": stranger}
    message = refused(tmp_path / "file" / "prefix", wanted)
    words = ["celery_prefix", str(tmp_path / "file"), "celery_flower_port", str(stranger), str(os.getpid())]
    words += ["Stop and disable it", "Remove -B"]
    assert not [word for word in words if word not in message], message
    beat, worker = beats
    assert re.search(rf"process {beat.pid}\b.* is a second beat for this application", message), message
    assert re.search(rf"process {worker.pid}\b.* is a worker with a beat", message), message


def test_python_that_is_too_old(tmp_path: Path) -> None:
    # The Python of the tests, which says it is an old one before it runs the code it is given last.
    pretend = 'import platform, sys; sys.version_info = (3, 6, 9); platform.python_version = lambda: "3.6.9"'
    does = f"exec {sys.executable} -c '{pretend}; exec(sys.argv[-1])' \"$@\""
    message = refused(tmp_path / "prefix", {"celery_app_python": executable(tmp_path / "python3", does)})
    assert "3.6.9" in message
    assert "celery_app_python" in message


def test_prefix_without_room(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    within = [*SMALL, str(small)]
    if subprocess.run([*within, "true"], capture_output=True).returncode:
        pytest.skip("this kernel lets nobody but root mount a small filesystem")
    message = refused(small / "prefix", {}, within)
    assert str(small / "prefix") in message
    assert "needed" in message


def test_system_that_is_not_supported(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text(
        'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="11"\nVERSION="11 (bullseye)"\n'
        'PRETTY_NAME="Debian GNU/Linux 11 (bullseye)"\n'
    )
    (tmp_path / "debian_version").write_text("11.9\n")
    within = [*OLD_SYSTEM, str(tmp_path)]
    if subprocess.run([*within, "true"], capture_output=True).returncode:
        pytest.skip("this kernel lets nobody but root mount anything, or /etc/os-release is not there")
    # In check mode: should it not be refused, this machine must bear it.
    message = refused(tmp_path / "none", {"celery_prefix": ""}, within, options=["--check"])
    assert "This host runs Debian 11" in message
    assert "Debian from 12 on, Ubuntu from 22.04 on" in message
    assert "celery_prefix" in message


def test_secrets_that_the_given_password_does_not_open(tmp_path: Path) -> None:
    # Without any password: see the tests of the inventories.
    for name in ("right", "wrong"):
        (tmp_path / name).write_text(f"{name} password\n")
    inventory = tmp_path / "inventory"
    (inventory / "group_vars/all").mkdir(parents=True)
    inventory_of(inventory, {"worker1": {}}, celery_secrets={"TOKEN": "{{ vault_token }}"})
    vault = inventory / "group_vars/all/vault.yml"
    vault.write_text("vault_token: hush\n")
    opens = f"--vault-password-file={tmp_path}"
    subprocess.run([BIN / "ansible-vault", "encrypt", f"{opens}/right", vault], check=True)
    wrong = refused(tmp_path / "prefix", {}, inventory=inventory, options=[f"{opens}/wrong"])
    assert "Decryption failed" in wrong
    assert "hush" not in wrong


def test_hosts_that_cannot_be_reached_or_used_and_a_secret_that_is_not_defined(tmp_path: Path) -> None:
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    without_python = {"ansible_python_interpreter": "/nowhere/python"}
    without_secret = {"celery_secrets": {"SHOP_SECRET_KEY": "{{ vault_shop_secret_key }}"}}
    hosts = {"worker1": without_secret, "worker2": away, "worker3": without_python}
    inventory = inventory_of(tmp_path, hosts)
    message = refused(tmp_path / "prefix", {}, inventory=inventory)
    assert "worker2 cannot be reached" in message
    assert "port 1" in message
    assert "worker3 cannot be used (The module interpreter '/nowhere/python' was not found" in message
    assert "--limit '!worker2:!worker3'" in message
    words = ["celery_secrets: vault_shop_secret_key is not defined", "vault.yml", "Define it"]
    assert not [word for word in words if word not in message], message


@pytest.fixture
def book_of_another_inventory(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis that has a fleet of the name orchard, on a host that no inventory here names."""
    with RedisServer(tmp_path / "redis") as server:
        server.client().hset("celeryops:orchard:hosts", "elsewhere1", '{"roles": ["worker"]}')
        yield server.url


def test_two_fleets_of_one_name_on_one_redis(book_of_another_inventory: str, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    inventory_of(inventory, {"worker1": {}}, celery_broker_url=book_of_another_inventory)
    message = refused(inventory / "prefix", {}, inventory=inventory)
    assert "the fleet orchard is also on elsewhere1" in message
    assert "another celery_app_name, or another database in celery_broker_url" in message
    assert "celery_forget_hosts" in message


def test_clocks_that_differ(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import time\nright = time.time\ntime.time = lambda: right() + 61\n"
    )
    does = f'PYTHONPATH={tmp_path} exec {sys.executable} -B "$@"'
    late = {"ansible_python_interpreter": executable(tmp_path / "python", does)}
    inventory = inventory_of(tmp_path, {"worker1": {}, "worker2": late})
    message = refused(tmp_path / "prefix", {}, inventory=inventory)
    assert re.search(r"worker2 (60|61|62)\.\d s ahead \(give or take", message), message
    assert "celery_clock_tolerance is 5 s" in message
    assert "NTP" in message
