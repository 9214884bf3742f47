# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Command lines as systemd's ExecStart= reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./$-]+\Z")


def unit_command(argv: Iterable[str]) -> str:
    """Quote a command so that systemd hands over exactly these arguments: nothing in them is expanded."""
    return " ".join(_quote(str(argument)) for argument in argv)


def _quote(argument: str) -> str:
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", argument):
        raise ValueError(f"{argument!r} holds a line break or another control character. Remove it.")
    escaped = argument.replace("%", "%%").replace("$", "$$")
    if _PLAIN.match(escaped):
        return escaped
    return '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'
