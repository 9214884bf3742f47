# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes of a host send scheduled tasks: beats, and workers with an embedded one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

# Options that stand before the subcommand and take a value.
_VALUED = {"-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"}
# -B alone, or among the other flags of `celery worker` that take no value: -DEB.
_EMBEDDED = re.compile(r"-[DE]*B[DE]*\Z")
# How far into a command line the program may be named: `python -X dev -m celery`.
_PROGRAM_WITHIN = 5


@dataclass(frozen=True)
class Command:
    """What a process of Celery was started as. app is empty where the command line names none."""

    subcommand: str
    app: str = ""
    embedded_beat: bool = False

    @property
    def schedules(self) -> bool:
        return self.subcommand == "beat" or self.embedded_beat


def parse(cmdline: Sequence[str]) -> Command | None:
    """Read the command line of a Celery process, or the title it gave itself; None for any other process."""
    words = " ".join(cmdline).split() if cmdline and cmdline[0].startswith("[celery") else list(cmdline)
    arguments = _arguments(words)
    if arguments is None:
        return None
    subcommand = _subcommand(arguments)
    if not subcommand:
        return None
    embedded = subcommand == "worker" and any(
        word == "--beat" or bool(_EMBEDDED.match(word)) for word in arguments
    )
    return Command(subcommand, _app(arguments), embedded)


def same_app(one: str, other: str) -> bool:
    """Whether two values of -A mean one application: shop, shop.celery and shop.celery:app are the same."""
    return bool(one) and bool(other) and _package(one) == _package(other)


def _arguments(words: list[str]) -> list[str] | None:
    """What follows the program's name."""
    if not words:
        return None
    title = re.match(r"\[celery", words[0])
    if title:
        # `[celery beat] -A shop beat` and `[celeryd: n@h:MainProcess] -active- (-A shop worker ...)`
        text = " ".join(words).partition("] ")[2]
        return re.sub(r"^-\w+- ", "", text).strip("()").split()
    if os.path.basename(words[0]) == "celery":
        return words[1:]
    if not re.match(r"(python|pypy)", os.path.basename(words[0])):
        return None
    for place, word in enumerate(words[:_PROGRAM_WITHIN]):
        if place and (os.path.basename(word) == "celery" or word.endswith("/celery/__main__.py")):
            return words[place + 1 :]
    return None


def _subcommand(arguments: list[str]) -> str:
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if not word.startswith("-"):
            return word
        position += 2 if word in _VALUED else 1
    return ""


def _app(arguments: list[str]) -> str:
    for place, word in enumerate(arguments):
        if word in ("-A", "--app") and place + 1 < len(arguments):
            return arguments[place + 1]
        if word.startswith("--app="):
            return word[len("--app=") :]
        if word.startswith("-A") and len(word) > 2:
            return word[2:]
    return ""


def _package(app: str) -> str:
    module = app.partition(":")[0]
    return re.sub(r"\.celery(\.\w+)?\Z", "", module)
