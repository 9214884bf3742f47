# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of older set-ups that would start a second beat with the next boot. Pure but for `read`."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import UNIT
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.unitfiles import links_to, text_of
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight import schedulers
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight.rules import Deployment, Problem

UNIT_DIR = "/etc/systemd/system"

_LINE = re.compile(r"^\s*(ExecStart|Environment|EnvironmentFile)\s*=\s*(.*?)\s*$", re.MULTILINE)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_SHELLS = ("sh", "bash", "dash")


@dataclass(frozen=True)
class Unit:
    """A unit that starts with the next boot.

    Parameters:
        name: Its name.
        text: Its file.
        environments: What its environment files hold, by their paths.
    """

    name: str
    text: str
    environments: Mapping[str, str] = field(default_factory=dict)


def read(unit_dir: str = UNIT_DIR) -> list[Unit]:
    """The services of this folder that something wants."""
    found = []
    for path in sorted(glob.glob(os.path.join(unit_dir, "*.service"))):
        name = os.path.basename(path)
        if not links_to(unit_dir, name):
            continue
        text = text_of(path)
        files = [value.lstrip("-") for key, value in _LINE.findall(text) if key == "EnvironmentFile"]
        found.append(Unit(name, text, {file: text_of(file) for file in files}))
    return found


def problems(units: Iterable[Unit], ours: Deployment) -> list[Problem]:
    """Units that start a beat for this application, and are no fleet's."""
    fleets = tuple(f"celery-{name}-" for name in (ours.fleet, ours.former) if name)
    found = []
    for unit in units:
        # Another fleet's beat is its own business: it has a lease of its own.
        if unit.name.startswith(fleets) or f"Environment={UNIT}=" in unit.text:
            continue
        for command in commands(unit):
            if command.schedules and schedulers.same_app(command.app, ours.app):
                found.append(
                    Problem(
                        f"unit {unit.name}",
                        os.path.join(UNIT_DIR, unit.name),
                        "starts a second beat for this application with the next boot",
                        f"Disable it (systemctl disable --now {unit.name}); the fleet has a beat of its own",
                    )
                )
                break
    return found


def commands(unit: Unit) -> list[schedulers.Command]:
    """The commands of Celery that a unit starts."""
    lines = _LINE.findall(unit.text.replace("\\\n", " "))
    variables: dict[str, str] = {}
    for text in unit.environments.values():
        variables.update(_assignments(text, comments=True))
    for key, value in lines:
        if key == "Environment":
            variables.update(_assignments(value))
    found = []
    for key, value in lines:
        words = _words(_filled(value.lstrip("-@:+!"), variables)) if key == "ExecStart" else []
        if len(words) > 2 and os.path.basename(words[0]) in _SHELLS and words[1] == "-c":
            words = _words(words[2])
            words = words[1:] if words[:1] == ["exec"] else words
        command = schedulers.parse(words)
        if command is not None:
            app = command.app or variables.get("CELERY_APP", "")
            found.append(schedulers.Command(command.subcommand, app, command.embedded_beat))
    return found


def _assignments(text: str, comments: bool = False) -> dict[str, str]:
    words = _words(text, comments)
    return {name: value for name, sign, value in (word.partition("=") for word in words) if sign}


def _words(text: str, comments: bool = False) -> list[str]:
    try:
        return shlex.split(text, comments=comments)
    except ValueError:  # a quotation that is never closed
        return []


def _filled(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match.group(1) or match.group(2), ""), text)
