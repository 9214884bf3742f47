# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The file of `celery multi`: all nodes of a host in Celery's documented variables.

Its options pass through three readers. The shell reads the file; whoever uses CELERYD_OPTS splits it into
words, quotes included, as Celery's own unit file does with `sh -c`; celery multi joins an option's value into
a command line and splits that once more. So a value is quoted once for each of the last two.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.envfile import escape, quote
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.options import Option, from_argv


def celeryd_file(
    nodes: Sequence[Mapping[str, Any]],
    app: str,
    celery: str,
    chdir: str,
    run_dir: str,
    log_dir: str,
    user: str = "",
    group: str = "",
) -> str:
    """Render the file for the nodes of one host."""
    options = {str(node["name"]): _options(node) for node in nodes}
    levels = Counter(dict(found).get("loglevel") for found in options.values())
    level = (levels.most_common(1)[0][0] if levels else None) or "INFO"
    lines = [
        _line("CELERYD_NODES", " ".join(str(node["nodename"]) for node in nodes)),
        _line("CELERY_BIN", celery),
        _line("CELERY_APP", app),
        _line("CELERYD_CHDIR", chdir),
        _line("CELERYD_PID_FILE", f"{run_dir}/%n.pid"),
        _line("CELERYD_LOG_FILE", f"{log_dir}/%n.log"),
        _line("CELERYD_LOG_LEVEL", level),
        _line("CELERYD_USER", user),
        _line("CELERYD_GROUP", group),
        'CELERYD_OPTS="' + " \\\n    ".join(escape(word) for word in option_words(options, level)) + '"',
    ]
    return "\n".join(lines) + "\n"


def option_words(options: Mapping[str, Sequence[Option]], level: str) -> list[str]:
    """Write what all nodes share once, and the rest with the names of the nodes it is for."""
    holders: dict[tuple[str, str | None], list[str]] = {}
    for name, found in options.items():
        for option in found:
            if option != ("loglevel", level):
                holders.setdefault(option, []).append(name)
    words = []
    for (long, value), names in holders.items():
        namespace = "" if len(names) == len(options) else ":" + ",".join(names)
        given = "" if value is None else f"={shlex.quote(value)}"
        words.append(shlex.quote(f"--{long}{namespace}{given}"))
    return words


def _options(node: Mapping[str, Any]) -> list[Option]:
    options: list[Option] = []
    for long, value in from_argv(node["argv"][1:]):
        if long == "statedb" and value:
            # One option for all nodes: multi puts in each one's name.
            value = value.replace(f"/{node['name']}.", "/%n.")
        # multi names the node itself.
        if long != "hostname":
            options.append((long, value))
    return options


def _line(name: str, value: str) -> str:
    return f"{name}={quote(str(value))}"
