# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What keeps a fleet's variables from working on a host, judged before anything is touched."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.envfile import env_problems, reserved_problems
from ansible_collections.celeryops.fleet.plugins.module_utils.fingerprint import plain
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.routes import route_problems
from ansible_collections.celeryops.fleet.plugins.module_utils.units import UnitError, parse_seconds

_FLEET = re.compile(r"[a-z][a-z0-9-]*\Z")
_FLEET_LENGTH = 40
_APP = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)?\Z")
_ACCOUNT = re.compile(r"([a-z_][a-z0-9_-]*|\d+)\Z")
_SETTING = re.compile(r"[a-z][a-z0-9_]*\Z")
#: Paths pass through units, shell scripts, PYTHONPATH and celery multi, which all read something into these.
_BAD_IN_PATH = re.compile(r"[\s\x00-\x1f\x7f\"'`$\\%:;&|<>(){}\[\]*?!#~]")
_SCHEMES = ("redis", "rediss", "redis+socket", "sentinel")
_OWN_SETTINGS = {
    "broker_url": "Use celery_broker_url",
    "result_backend": "Use celery_result_backend",
    "worker_state_db": "Remove it: each node has a file of its own",
}
#: The oldest release of each system that a system-wide fleet is tested on. RedHat stands for every EL.
_SYSTEMS: dict[str, tuple[int, ...]] = {"Debian": (12,), "Ubuntu": (22, 4), "Fedora": (0,), "RedHat": (9,)}
_NOT_EL = ("Fedora", "Amazon")
#: What the example of a vault file in inventories/ has in place of each secret.
_PLACEHOLDER = "CHANGE-ME"
DIRECTORIES = ("opt_dir", "etc_dir", "state_dir", "log_dir", "run_dir")


def fleet_problems(fleet: Mapping[str, Any]) -> list[str]:
    """Every reason why these variables cannot work, as sentences.

    fleet: the role's variables without `celery_`, and as found on the host `uid`, `login`, `init`,
    `distribution`, `distribution_version` and `os_family`.
    """
    return [
        *_system(fleet),
        *_names(fleet),
        *_paths(fleet),
        *_rights(fleet),
        *_urls(fleet),
        *_environments(fleet),
        *_empty_secrets(fleet.get("secrets")),
        *_settings(fleet.get("settings")),
        *route_problems(fleet.get("routes") or []),
        *_clock(fleet.get("clock_tolerance")),
    ]


def _system(fleet: Mapping[str, Any]) -> list[str]:
    name, version = str(fleet.get("distribution")), str(fleet.get("distribution_version"))
    if fleet.get("prefix"):
        # Whatever runs a Python that is new enough will do, and that is asked of the Python.
        return []
    key = "RedHat" if fleet.get("os_family") == "RedHat" and name not in _NOT_EL else name
    oldest = _SYSTEMS.get(key)
    # Debian's unreleased versions have a name alone, and are newer than all others.
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)) or (math.inf,)
    if oldest is not None and numbers >= oldest:
        return []
    problem = (
        f"This host runs {name} {version}. A system-wide fleet installs packages and units: that works on "
        "Debian from 12 on, Ubuntu from 22.04 on, EL (RHEL, Rocky, Alma, CentOS Stream ...) from 9 on, and "
        "Fedora. Upgrade the host, take it out of the inventory's groups, or set celery_prefix to a folder, "
        "below which a fleet needs a Python of 3.10 or newer alone."
    )
    return [problem]


def _empty_secrets(secrets: Any) -> list[str]:
    if not isinstance(secrets, Mapping):
        return []
    found = {"": "is empty", _PLACEHOLDER: f"is still {_PLACEHOLDER}, as in the example"}
    return [
        f"celery_secrets[{str(name)!r}] {found[value]}, so what it protects would lie open. Give it a value "
        "in an encrypted file (ansible-vault), or name it in celery_generated_secrets instead."
        for name, value in secrets.items()
        if value in ("", _PLACEHOLDER)
    ]


def _clock(tolerance: Any) -> list[str]:
    try:
        seconds = parse_seconds(tolerance) if tolerance is not None else 1
    except UnitError as error:
        return [f"celery_clock_tolerance = {_show(tolerance)} {error}."]
    if seconds <= 0:
        return [f"celery_clock_tolerance = {_show(tolerance)}: no two clocks agree that well. Write 5s."]
    return []


def _names(fleet: Mapping[str, Any]) -> list[str]:
    problems = []
    name, app = fleet.get("app_name"), fleet.get("app")
    if not isinstance(name, str) or not _FLEET.match(name) or len(name) > _FLEET_LENGTH:
        problems.append(
            f"celery_app_name = {_show(name)} cannot name a fleet: paths, units and keys bear the name. "
            f"Start with a lower-case letter, then use such, digits and -, at most {_FLEET_LENGTH} in all."
        )
    if not isinstance(app, str) or not _APP.match(app):
        problems.append(
            f"celery_app = {_show(app)} is no import path, so `celery -A` cannot find the application. "
            "Write module:attribute, such as shop.celery:app."
        )
    for key in ("user", "group"):
        if not _ACCOUNT.match(str(fleet.get(key) or "")):
            problems.append(
                f"celery_{key} = {_show(fleet.get(key))} is no {key}'s name. "
                "Use lower-case letters, digits, - and _."
            )
    return problems


def _paths(fleet: Mapping[str, Any]) -> list[str]:
    problems = []
    prefix = fleet.get("prefix")
    if prefix:
        problems.extend(_path("celery_prefix", prefix))
        if str(prefix) != "/" and str(prefix).endswith("/"):
            problems.append(f"celery_prefix = {_show(prefix)} ends with a slash. Remove it.")
    if problems:
        # The folders below it would only repeat this.
        return problems
    for key in DIRECTORIES:
        problems.extend(_path(f"celery_{key}", fleet.get(key)))
    for path in fleet.get("writable_paths") or []:
        problems.extend(_path("celery_writable_paths", path))
    return problems


def _path(name: str, value: Any) -> list[str]:
    if not isinstance(value, str) or not value.startswith("/") or value == "/":
        return [f"{name} = {_show(value)} is no absolute path of a folder. Write the whole path, from / on."]
    bad = _BAD_IN_PATH.search(value)
    if bad:
        why = f"holds {bad.group()!r}, which units, shell scripts or PYTHONPATH read as something else"
        return [f"{name} = {_show(value)} {why}. Choose a path of letters, digits and . _ - + @ only."]
    return []


def _rights(fleet: Mapping[str, Any]) -> list[str]:
    problems = []
    prefix, root = fleet.get("prefix"), fleet.get("uid") == 0
    login, user, manager = fleet.get("login"), fleet.get("user"), fleet.get("service_manager")
    if not root and not prefix:
        problems.append(
            f"The play runs as {login}, who may not create users, /etc/celery or units, and celery_prefix is "
            "empty. Run it as root (become: true), or set celery_prefix to a folder that this user may write."
        )
    if not root and prefix and user != login:
        problems.append(
            f"celery_user = {_show(user)}, but the play runs as {login}, who cannot start processes of "
            "somebody else. Leave celery_user out, or run the play as root (become: true)."
        )
    if manager not in ("systemd", "multi"):
        problems.append(
            f"celery_service_manager = {_show(manager)} is not known. Use systemd or multi, or leave it out."
        )
    elif manager == "systemd" and prefix:
        problems.append(
            "celery_service_manager = systemd with a celery_prefix: units live in /etc, outside the prefix. "
            "Leave one of the two out."
        )
    elif manager == "systemd" and fleet.get("init") != "systemd":
        problems.append(
            f"celery_service_manager = systemd, but {fleet.get('init')} is the host's service manager. "
            "Leave it out, or set it to multi."
        )
    return problems


def _urls(fleet: Mapping[str, Any]) -> list[str]:
    url = fleet.get("broker_url")
    if not url:
        remedy = "Set it, such as redis://:PASSWORD@redis1:6379/0"
        return [f"celery_broker_url is empty, so no process could reach its Redis. {remedy}."]
    scheme, given, _rest = str(url).partition("://")
    if not given or scheme not in _SCHEMES:
        # Not the whole URL: it may hold a password.
        found = f"begins with {scheme}://" if given else "has no scheme"
        return [f"celery_broker_url {found}, and the fleet needs Redis. Use one of {', '.join(_SCHEMES)}."]
    if f":{_PLACEHOLDER}@" in str(url):
        remedy = "Put a password of your own into the encrypted file (ansible-vault)"
        return [f"celery_broker_url has the password {_PLACEHOLDER}: anybody can guess it. {remedy}."]
    if re.search(r"[\s\x00-\x1f]", str(url)):
        return ["celery_broker_url holds a space or line break. Write such characters of a password as %20."]
    return []


def _environments(fleet: Mapping[str, Any]) -> list[str]:
    problems = []
    for key in ("environment", "secrets"):
        value, where = fleet.get(key), f"celery_{key}"
        problems.extend(env_problems(value, where))
        problems.extend(reserved_problems(value, where, ("PYTHONPATH",) if key == "environment" else ()))
    return problems


def _settings(settings: Any) -> list[str]:
    if not isinstance(settings, Mapping):
        return ["celery_settings is no mapping. Write Celery's settings as name: value, one a line."]
    problems = []
    for name in settings:
        if not _SETTING.match(str(name)):
            problems.append(
                f"celery_settings[{str(name)!r}] is no setting's name as Celery writes them since 4.0. "
                f"Use lower case, such as {str(name).lower()}, without the application's own prefix."
            )
        elif name in _OWN_SETTINGS:
            remedy = _OWN_SETTINGS[name]
            problems.append(f"celery_settings[{str(name)!r}] is set by the collection. {remedy}.")
    return problems


def _show(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False)
