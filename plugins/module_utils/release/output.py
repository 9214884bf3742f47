# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is shown of a program's output: without secrets, and the part that tells what is wrong."""

from __future__ import annotations

import re
import typing as t


def scrub(text: str, secrets: t.Iterable[str]) -> str:
    """Mask secrets, and the password of every URL, in a program's output."""
    for secret in sorted({value for value in secrets if len(value) >= 4}, key=len, reverse=True):
        text = text.replace(secret, "********")
    return re.sub(r"(\w+://[^\s/:@]*):[^\s/@]+@", r"\1:********@", text)


def own_traceback(text: str) -> str:
    """Leave out of a traceback the frames of the tools that led to the application."""
    shown, skipping = [], False
    for line in text.splitlines():
        frame = re.match(r'  File "([^"]+)"', line)
        if frame:
            skipping = bool(_TOOLS.search(frame.group(1)))
        elif not line.startswith("    "):
            skipping = False
        if not skipping:
            shown.append(line)
    return "\n".join(shown)


_TOOLS = re.compile(r"^<frozen |/celeryops/|/importlib/__init__\.py$|/site-packages/(click|kombu|celery)/")


def tail(text: str, lines: int = 60) -> str:
    return "\n".join(text.rstrip().splitlines()[-lines:])
