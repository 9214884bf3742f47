# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Flower's configuration file, and what keeps it from working or from being safe."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.units import (
    UnitError,
    parse_bytes,
    parse_seconds,
)

_DURATIONS = ("purge_offline", "start_timeout", "stop_timeout")

# Options that variables of the role or the fleet set.
_ELSEWHERE = {
    "address": "Set celery_flower_address",
    "port": "Set celery_flower_port",
    "unix_socket": "Remove it: Flower would let every user of the host write to that socket",
    "basic_auth": "Set celery_flower_user and celery_flower_password",
    "cookie_secret": "Remove it: one is generated on the host and kept",
    "read_only": "Set celery_flower_read_only",
    "max_tasks": "Set celery_flower_max_tasks",
    "max_workers": "Set celery_flower_max_workers",
    "purge_offline_workers": "Set celery_flower_purge_offline",
    "url_prefix": "Set celery_flower_url_prefix",
    "conf": "Remove it: the role writes the one that Flower reads",
}

# The others of Flower 2.2, and of the Tornado below it. A name that Flower does not know it passes over in
# silence, which for an option like auth would be worse than an error.
_KNOWN = {
    "auth",
    "auth_provider",
    "auto_refresh",
    "broker_api",
    "ca_certs",
    "certfile",
    "db",
    "debug",
    "enable_events",
    "inspect_timeout",
    "keyfile",
    "log_file_max_size",
    "log_file_num_backups",
    "log_file_prefix",
    "log_rotate_interval",
    "log_rotate_mode",
    "log_rotate_when",
    "log_to_stderr",
    "logging",
    "natural_time",
    "oauth2_key",
    "oauth2_redirect_uri",
    "oauth2_secret",
    "persistent",
    "state_save_interval",
    "task_runtime_metric_buckets",
    "tasks_columns",
    "xheaders",
}


def flower_config(options: Mapping[str, Any]) -> str:
    """Render options as the Python that Flower reads, sorted by name. Empty ones (None, "") are left out."""
    lines = [
        f"{name} = {_literal(value)}\n"
        for name, value in sorted(options.items())
        if value is not None and value != ""
    ]
    return "".join(lines)


def flower_options(flower: Mapping[str, Any], password: str, cookie_secret: str) -> dict[str, Any]:
    """Flower's options from the role's variables. Sound variables only.

    Args:
        flower: the role's variables without `celery_flower_`.
        password: of the user, where there is one.
        cookie_secret: what sessions are signed with, so that they outlive a restart.
    """
    return {
        # Workers say by themselves whether they send events; asking each of them every 5 s is of no use.
        "enable_events": False,
        **(flower.get("options") or {}),
        "address": flower["address"],
        "port": int(flower["port"]),
        # A list: a comma in a password would part it in two if it came by the environment.
        "basic_auth": [f"{flower['user']}:{password}"] if flower.get("user") else None,
        "cookie_secret": cookie_secret,
        "read_only": flower["read_only"],
        "max_tasks": int(flower["max_tasks"]),
        "max_workers": int(flower["max_workers"]),
        "purge_offline_workers": int(parse_seconds(flower["purge_offline"])) or None,
        "url_prefix": str(flower.get("url_prefix") or "").strip("/"),
    }


def flower_url(flower: Mapping[str, Any], host: str) -> str:
    """Where Flower answers. host stands for it where it listens on every address."""
    address = str(flower["address"])
    if address in ("0.0.0.0", "::"):
        address = host
    elif ":" in address:
        address = f"[{address}]"
    scheme = "https" if (flower.get("options") or {}).get("certfile") else "http"
    prefix = str(flower.get("url_prefix") or "").strip("/")
    return f"{scheme}://{address}:{flower['port']}" + (f"/{prefix}" if prefix else "")


def flower_problems(flower: Mapping[str, Any]) -> list[str]:
    """Every reason why these variables cannot work, as sentences.

    Args:
        flower: the role's variables without `celery_flower_`.
    """
    return [
        *_login(flower),
        *_reach(flower),
        *_limits(flower),
        *_options(flower.get("options")),
        *_packages(flower.get("packages")),
    ]


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _login(flower: Mapping[str, Any]) -> list[str]:
    problems = []
    user, password = str(flower.get("user") or ""), str(flower.get("password") or "")
    if re.search(r"[:\s\x00-\x1f]", user):
        problems.append(
            f"celery_flower_user = {_show(user)} holds a colon, a space or a line break. "
            "A login cannot have them: use another name."
        )
    if re.search(r"[\x00-\x1f]", password):
        problems.append(
            "celery_flower_password holds a line break or another control character. "
            "A login cannot have them: use another one, or leave it empty to have one generated."
        )
    return problems


def _reach(flower: Mapping[str, Any]) -> list[str]:
    problems = []
    address, port = str(flower.get("address") or ""), flower.get("port")
    if not address:
        problems.append(
            "celery_flower_address is empty, and Flower would then listen on every address of the host. "
            "Write 127.0.0.1, or 0.0.0.0 if every address is meant."
        )
    elif (
        not is_loopback(address) and not flower.get("user") and not (flower.get("options") or {}).get("auth")
    ):
        problems.append(
            f"celery_flower_address = {_show(address)} without a login: everyone who reaches it would "
            "see every task with its arguments. Set celery_flower_user, or listen on 127.0.0.1 behind a "
            "proxy that asks for a login."
        )
    if not str(port).isdigit() or not 0 < int(str(port)) < 65536:
        problems.append(f"celery_flower_port = {_show(port)} is no port. Write a number from 1 to 65535.")
    return problems


def _limits(flower: Mapping[str, Any]) -> list[str]:
    problems = []
    for key in ("max_tasks", "max_workers"):
        value = flower.get(key)
        if not str(value).isdigit() or int(str(value)) < 1:
            problems.append(
                f"celery_flower_{key} = {_show(value)} is no number above 0. Write one such as 10000."
            )
    for key in _DURATIONS:
        try:
            parse_seconds(flower.get(key))
        except UnitError as error:
            problems.append(f"celery_flower_{key} = {_show(flower.get(key))} {error}.")
    try:
        if flower.get("memory_max"):
            parse_bytes(flower["memory_max"])
    except UnitError as error:
        problems.append(f"celery_flower_memory_max = {_show(flower['memory_max'])} {error}.")
    return problems


def _options(options: Any) -> list[str]:
    if not isinstance(options, Mapping):
        return ["celery_flower_options is no mapping. Write Flower's options as name: value, one a line."]
    problems = []
    for name, value in options.items():
        place = f"celery_flower_options[{str(name)!r}]"
        if name in _ELSEWHERE:
            problems.append(f"{place} is set by the role. {_ELSEWHERE[name]}.")
        elif name not in _KNOWN:
            problems.append(
                f"{place} is no option that Flower 2.2 knows, and it would pass over it in silence. "
                f"Write it in lower case with underscores; there are {', '.join(sorted(_KNOWN))}."
            )
        elif not _is_plain(value):
            problems.append(
                f"{place} is no text, number, boolean or list of those, so Flower cannot read it."
            )
    return problems


def _packages(packages: Any) -> list[str]:
    names = [re.split(r"[\s\[=<>!~;@]", str(one).strip(), maxsplit=1)[0].lower() for one in packages or []]
    if "flower" in names:
        return []
    shown = _show(packages)
    return [f"celery_flower_packages = {shown} does not name flower. Add it, such as flower==2.2.0."]


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(one) and not isinstance(one, list) for one in value)
    return value is None or isinstance(value, (str, int, float, bool))


def _literal(value: Any) -> str:
    """A value as Python writes it, free of the types that Ansible wraps text in."""
    if isinstance(value, bool):
        return repr(value)
    if isinstance(value, int):
        return repr(int(value))
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_literal(one) for one in value) + "]"
    # ascii: the file reads the same in every locale.
    return ascii(str(value))


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
