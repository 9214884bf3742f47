"""The inventories of the project: the same keys, secrets in a vault, nothing that a preflight refuses."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ENVIRONMENTS = sorted(path.name for path in (ROOT / "inventories").iterdir() if path.is_dir())
WITH_VAULT = [name for name in ENVIRONMENTS if name != "local"]
PASSWORD = "of the vault"
# What a host of production would say of itself.
FACTS = {
    "distribution": "Debian",
    "distribution_major_version": "12",
    "distribution_version": "12.11",
    "effective_user_id": 0,
    "os_family": "Debian",
    "service_mgr": "systemd",
    "user_gid": 0,
    "user_id": "root",
}
PREFLIGHTS = ["celery", "celery_worker", "celery_beat", "celery_flower"]


def variables(environment: str) -> dict[str, Any]:
    """All of group_vars, but for the vault."""
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "inventories" / environment / "group_vars/all").glob("*.yml")):
        if path.name != "vault.yml":
            found.update(yaml.safe_load(path.read_text()))
    return found


def secrets(environment: str) -> set[str]:
    example = ROOT / "inventories" / environment / "group_vars/all/vault.yml.example"
    return set(yaml.safe_load(example.read_text())) if example.exists() else set()


def run(*command: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_VAULT")}
    return subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={**kept, "ANSIBLE_NOCOLOR": "1", **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@functools.cache
def inventory(folder: Path) -> dict[str, Any]:
    done = run(BIN / "ansible-inventory", "-i", folder, "--list")
    assert done.returncode == 0, done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def members(environment: str, group: str) -> list[str]:
    hosts: list[str] = inventory(ROOT / "inventories" / environment)[group]["hosts"]
    return hosts


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD)
    return path


def with_vault(environment: str, folder: Path, password: Path) -> Path:
    """A copy whose vault was made as vault.yml.example says."""
    shutil.copytree(ROOT / "inventories", folder / "inventories")
    copy = folder / "inventories" / environment
    example = (copy / "group_vars/all/vault.yml.example").read_text()
    vault = copy / "group_vars/all/vault.yml"
    vault.write_text(example.replace("CHANGE-ME", "0123456789abcdef"))
    done = run(BIN / "ansible-vault", "encrypt", "--vault-password-file", password, vault)
    assert done.returncode == 0, done.stdout
    assert vault.read_text().startswith("$ANSIBLE_VAULT;")
    return copy


def judge(
    inventory: Path, folder: Path, *options: Any, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Let the roles judge the variables of every host, without a host."""
    known = {"celery_worker_hosts": "{{ groups['celery_workers'] }}"}
    facts = {"ansible.builtin.set_fact": {**FACTS, "cacheable": True}}
    roles = [
        {"ansible.builtin.import_role": {"name": f"celeryops.fleet.{role}", "tasks_from": "preflight"}}
        for role in PREFLIGHTS
    ]
    play = folder / "judge.yml"
    local = {"ansible_connection": "local", "ansible_become": False}
    play.write_text(
        yaml.safe_dump(
            [{"hosts": "all", "gather_facts": False, "vars": {**known, **local}, "tasks": [facts, *roles]}]
        )
    )
    return run(BIN / "ansible-playbook", "-i", inventory, play, *options, **environment)


def test_there_are_three() -> None:
    assert ENVIRONMENTS == ["local", "production", "staging"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_environment_has_every_key(environment: str) -> None:
    everywhere = set().union(*(variables(name) for name in ENVIRONMENTS))
    assert everywhere - variables(environment).keys() == set()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_common_is_one_file(environment: str) -> None:
    link = ROOT / "inventories" / environment / "group_vars/all/application.yml"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "inventories/shop.yml"
    own = yaml.safe_load((link.parent / "fleet.yml").read_text())
    assert own.keys() & yaml.safe_load(link.read_text()).keys() == set()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_vault_holds_what_is_used_and_nothing_else(environment: str) -> None:
    used = set(re.findall(r"\bvault_\w+", json.dumps(variables(environment))))
    assert used == secrets(environment)
    assert used == set().union(*(secrets(name) for name in WITH_VAULT)) or environment == "local"


def test_a_vault_that_is_committed_is_encrypted() -> None:
    listed = run("git", "ls-files", "inventories").stdout.split()
    vaults = [ROOT / name for name in listed if name.endswith("/vault.yml")]
    assert [path for path in vaults if not path.read_text().startswith("$ANSIBLE_VAULT;")] == []


def test_the_hosts_are_as_documented() -> None:
    assert members("local", "celery_workers") == ["localhost"]
    assert len(members("staging", "celery_workers")) == 2
    workers, beats = members("production", "celery_workers"), members("production", "celery_beat")
    assert len(workers) >= 3
    assert not set(workers) & set(members("production", "redis"))
    assert len(beats) == 2
    assert variables("production")["celery_beat_preferred"] in beats
    assert members("production", "celery_flower")
    placed = [pool["hosts"] for pool in variables("production")["celery_worker_pools"] if "hosts" in pool]
    assert len(placed) >= 2
    assert all(set(hosts) < set(workers) for hosts in placed)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_preflight_refuses_it(environment: str, tmp_path: Path, password: Path) -> None:
    if environment == "local":
        done = judge(ROOT / "inventories/local", tmp_path, "-e", f"celery_user={FACTS['user_id']}")
    else:
        copy = with_vault(environment, tmp_path, password)
        # The password by an option or by the environment, whichever the operator prefers.
        option, variable = ["--vault-password-file", password], {"ANSIBLE_VAULT_PASSWORD_FILE": str(password)}
        done = (
            judge(copy, tmp_path, *option) if environment == "staging" else judge(copy, tmp_path, **variable)
        )
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout


def test_without_the_password_of_the_vault_nothing_runs(tmp_path: Path, password: Path) -> None:
    copy = with_vault("production", tmp_path, password)
    done = run(BIN / "ansible-playbook", "-i", copy, "deploy.yml")
    assert done.returncode != 0
    assert "no vault secrets found" in done.stdout
    assert "TASK" not in done.stdout


def test_make_takes_the_environment() -> None:
    done = run("make", "-n", "deploy", "ENV=production", "ARGS=--vault-password-file ~/.shop --check")
    command = "ansible-playbook -i inventories/production deploy.yml --vault-password-file ~/.shop --check"
    assert command in done.stdout
    for target in ("deploy", "status", "teardown"):
        assert (
            f"inventories/staging {'' if target == 'deploy' else 'playbooks/'}{target}.yml"
            in run("make", "-n", target, "ENV=staging").stdout
        )
    wrong = run("make", "deploy", "ENV=prod")
    assert wrong.returncode != 0
    assert all(name in wrong.stdout for name in ("ENV=prod", *ENVIRONMENTS))
