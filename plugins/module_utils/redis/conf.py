# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis configuration as data: read it, write it, compare it with what a server says it runs with.

Everything here is pure. A directive is a name and the arguments of each line it has in the file, so
``save 3600 1`` and ``save 300 100`` become ``{"save": [["3600", "1"], ["300", "100"]]}``.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple

Directives = Dict[str, List[List[str]]]

SECRETS = frozenset(
    {"requirepass", "masterauth", "primaryauth", "user", "tls-key-file-pass", "tls-client-key-file-pass"}
)
MASK = "(hidden)"

# Not answered by CONFIG GET: only the file can tell whether they changed, and only a start reads them.
FILE_ONLY = frozenset({"include", "loadmodule", "rename-command", "user"})

# Refused by CONFIG SET in Redis 6.2 and all later ones; anything else is tried live and, if the server
# refuses it, restarted for. The list lets check mode foretell a restart.
_START_ONLY = frozenset(
    [
        "acl-pubsub-default",
        "aclfile",
        "always-show-logo",
        "appenddirname",
        "appendfilename",
        "cluster-config-file",
        "cluster-enabled",
        "daemonize",
        "databases",
        "disable-thp",
        "enable-debug-command",
        "enable-module-command",
        "enable-protected-configs",
        "io-threads-do-reads",
        "logfile",
        "pidfile",
        "supervised",
        "syslog-enabled",
        "syslog-facility",
        "syslog-ident",
        "tcp-backlog",
        "unixsocket",
        "unixsocketperm",
    ]
)

_MEMORY_UNITS = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1024,
    "m": 1000**2,
    "mb": 1024**2,
    "g": 1000**3,
    "gb": 1024**3,
}
_MEMORY = re.compile(r"(\d+)([a-z]*)", re.IGNORECASE)
_PLAIN_WORD = re.compile(r"[^\s\"'\\\x00-\x1f\x7f]+")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}


class ConfError(ValueError):
    """Text that Redis could not read as a line of its configuration."""


def split_args(text: str) -> list[str]:
    """Split the arguments of one line the way Redis does: words, "with escapes", 'literal'."""
    args: list[str] = []
    i, end = 0, len(text)
    while True:
        while i < end and text[i].isspace():
            i += 1
        if i >= end:
            return args
        word: list[str] = []
        while i < end and not text[i].isspace():
            quote = text[i]
            if quote not in "\"'":
                word.append(quote)
                i += 1
                continue
            i, part = _quoted(text, i)
            word.append(part)
            if i < end and not text[i].isspace():
                raise ConfError(f"a closing quote must end the argument: {text}")
        args.append("".join(word))


def _quoted(text: str, start: int) -> tuple[int, str]:
    """The quoted part that starts at ``start``; returns the position behind it and what it says."""
    quote, i = text[start], start + 1
    out: list[str] = []
    while i < len(text):
        char = text[i]
        if char == quote:
            return i + 1, "".join(out)
        if char == "\\" and i + 1 < len(text):
            if quote == "'":
                if text[i + 1] == "'":
                    out.append("'")
                    i += 2
                    continue
            else:
                if text[i + 1] == "x" and re.match(r"[0-9a-fA-F]{2}", text[i + 2 : i + 4]):
                    out.append(chr(int(text[i + 2 : i + 4], 16)))
                    i += 4
                    continue
                out.append(_ESCAPES.get(text[i + 1], text[i + 1]))
                i += 2
                continue
        out.append(char)
        i += 1
    raise ConfError(f"a quote is not closed: {text}")


def quote_arg(arg: str) -> str:
    """One argument as it must stand in the file; quoted only when Redis would read it otherwise."""
    if _PLAIN_WORD.fullmatch(arg):
        return arg
    if "\n" in arg or "\r" in arg or "\x00" in arg:
        raise ConfError("a value of the Redis configuration cannot hold a line break")
    return '"{}"'.format(arg.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t"))


def as_lines(value: Any) -> list[list[str]]:
    """Turn a value of a playbook into the lines of a directive: scalars one line, lists one line each."""
    if isinstance(value, (list, tuple)):
        return [line for item in value for line in as_lines(item)]
    if isinstance(value, bool):
        return [["yes" if value else "no"]]
    return [split_args(str(value)) or [""]]


def parse(text: str) -> Directives:
    """Read a configuration file. What Redis could not read is skipped: it is not ours to judge."""
    found: Directives = {}
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            name, *args = split_args(stripped)
        except ConfError:
            continue
        name = name.lower()
        if name in _LAST_LINE_WINS or name not in found:
            found[name] = [args]
        else:
            found[name].append(args)
    return found


# Directives of which a later line replaces an earlier one; for the others each line adds to the rest.
_LAST_LINE_WINS = frozenset(
    {
        "port",
        "bind",
        "requirepass",
        "dir",
        "dbfilename",
        "databases",
        "appendonly",
        "maxmemory",
        "maxmemory-policy",
        "cluster-enabled",
        "unixsocket",
        "pidfile",
        "logfile",
        "protected-mode",
        "masterauth",
    }
)


def render(directives: Mapping[str, list[list[str]]], header: Iterable[str] = ()) -> str:
    """The text of a configuration file: the header as comments, then the directives by name."""
    lines = [f"# {line}" for line in header]
    for name in sorted(directives):
        lines.extend(" ".join([name] + [quote_arg(arg) for arg in args]) for args in directives[name])
    return "\n".join(lines) + "\n"


def masked(text: str) -> str:
    """The text of a configuration file with the values of secrets hidden, fit for a diff."""
    return re.sub(
        r"(?mi)^(\s*(?:{})\s+).*$".format("|".join(sorted(SECRETS))),
        lambda found: found.group(1) + MASK,
        text,
    )


def with_include(text: str, path: str) -> str:
    """The text with ``include path`` as its last directive, once: what comes last wins."""
    rest = _without_include(text, path)
    return rest + ("" if rest.endswith("\n") or not rest else "\n") + _include_line(path) + "\n"


def has_include_last(text: str, path: str) -> bool:
    """True when the one include of ``path`` is the last directive of the text."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    wanted = _include_line(path).split()
    return bool(lines) and lines[-1] == wanted and lines.count(wanted) == 1


def without_include(text: str, path: str) -> str:
    """The text without ``include path``; unchanged, byte for byte, when it has none."""
    return _without_include(text, path)


def _include_line(path: str) -> str:
    return f"include {quote_arg(path)}"


def _without_include(text: str, path: str) -> str:
    wanted = _include_line(path).split()
    return "".join(line for line in text.splitlines(True) if line.split() != wanted)


def memory(text: str) -> int | None:
    """Bytes meant by a size in Redis' own notation (1gb is 1024 cubed, 1g is 1000 cubed), else None."""
    found = _MEMORY.fullmatch(text)
    unit = _MEMORY_UNITS.get(found.group(2).lower()) if found else None
    return int(found.group(1)) * unit if found and unit else None


def same(name: str, wanted: list[list[str]], running: str) -> bool:
    """Does the server run with the value? ``running`` is what CONFIG GET answered."""
    flat = [arg for args in wanted for arg in args]
    if name in SECRETS:
        return " ".join(flat) == running
    if name == "client-output-buffer-limit":
        classes = _limit_classes(running.split())
        return all(classes.get(key) == limits for key, limits in _limit_classes(flat).items())
    if name == "notify-keyspace-events":
        return _event_flags("".join(flat)) == _event_flags(running)
    if " ".join(flat) == running:
        return True
    return [_canonical(arg) for arg in flat] == [_canonical(arg) for arg in running.split()]


def _canonical(arg: str) -> str:
    size = memory(arg)
    if size is not None:
        return str(size)
    return arg if "/" in arg else arg.lower()


def _limit_classes(args: list[str]) -> dict[str, list[int | None]]:
    """Output buffer limits by class of client; ``slave`` is the older name of ``replica``."""
    return {
        args[i].lower().replace("slave", "replica"): [memory(arg) for arg in args[i + 1 : i + 4]]
        for i in range(0, len(args), 4)
    }


def _event_flags(flags: str) -> set[str]:
    # Redis rewrites the flags in its own order; whether its A stands for d as well depends on the version.
    return set(flags.replace("A", "g$lshzxetd")) - {"d"}


def live_value(wanted: list[list[str]]) -> str:
    """The value in the form CONFIG SET takes."""
    return " ".join(arg for args in wanted for arg in args)


def shown(name: str, value: str | None) -> str | None:
    """A value as a diff may show it."""
    return MASK if name in SECRETS and value else value


def starts_only(name: str, version: tuple[int, ...]) -> bool:
    """True when a server of that version reads the directive only when it starts."""
    if name in FILE_ONLY or name in _START_ONLY:
        return True
    if name == "io-threads":
        return version < (9, 0)
    # Protected against CONFIG SET since 7.0, so that a client cannot write files of its choice.
    return name in ("dir", "dbfilename") and version >= (7, 0)


class Difference(NamedTuple):
    """What separates a running server from the wanted directives."""

    live: list[str]
    """Names that CONFIG SET can apply."""
    restart: list[str]
    """Names that only a start applies."""
    unknown: list[str]
    """Names this server has no directive for."""


def difference(
    wanted: Mapping[str, list[list[str]]],
    running: Mapping[str, str],
    version: tuple[int, ...],
    written: Mapping[str, list[list[str]]],
    loaded: bool,
) -> Difference:
    """Compare the wanted directives with CONFIG GET.

    ``written`` is what our file holds now, ``loaded`` whether the server read that very file when it
    started. A start-only directive that was loaded as wanted is in force, however the server spells it.
    A directive that leaves our file falls back to what the server would use without it, at a restart.
    """
    live: list[str] = []
    restart: list[str] = [name for name in written if name not in wanted]
    unknown: list[str] = []
    for name in wanted:
        if name in running:
            if same(name, wanted[name], running[name]):
                continue
        elif name not in FILE_ONLY:
            unknown.append(name)
            continue
        if not starts_only(name, version):
            live.append(name)
        elif not loaded or written.get(name) != wanted[name]:
            restart.append(name)
    return Difference(sorted(live), sorted(restart), sorted(unknown))


def first_value(directives: Mapping[str, list[list[str]]], name: str, default: str = "") -> str:
    """The single argument of a directive, or the default when it is not set."""
    lines = directives.get(name)
    return lines[-1][0] if lines and lines[-1] else default


def loopback_only(addresses: Iterable[str]) -> bool:
    """True when every address Redis would listen on can be reached from this host alone."""
    names = [address.lstrip("-") for address in addresses]
    return bool(names) and all(
        name in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", name) for name in names
    )


def connect_address(addresses: Iterable[str]) -> str:
    """The address at which this host reaches a server that listens on ``addresses``."""
    names = [address.lstrip("-") for address in addresses]
    for name in names:
        if loopback_only([name]):
            return name
    for name in names:
        if name not in ("*", "0.0.0.0", "::", "::*"):
            return name
    return "::1" if names and all(":" in name for name in names) else "127.0.0.1"


def version_of(text: str) -> tuple[int, ...]:
    """The version in ``redis-server --version``, in INFO or of a package: (7, 0, 15)."""
    found = re.search(r"(?:v=|_version:|^(?:\d+:)?)(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in found.group(1).split(".")) if found else ()
