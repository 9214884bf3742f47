# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Running nodes, told their limits through the runtime's command line."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.commands import Result, run

# The application is imported first, which may take its time.
START_TIMEOUT = 120


class AskError(Exception):
    """The nodes could not be asked; the text says what was run and what it answered."""


@dataclass(frozen=True)
class Answer:
    """What the nodes said: who has (or could take) the limits, who refuses and why, who said nothing."""

    done: list[str]
    errors: dict[str, str]
    silent: list[str]


class Command:
    """``celery fleet autoscale`` of one fleet.

    Parameters:
        opt_dir: The fleet's program folder.
        timeout: Seconds to wait for answers.
    """

    def __init__(self, opt_dir: str, timeout: float) -> None:
        self._wrapper = os.path.join(opt_dir, "bin", "celery")
        self._timeout = timeout

    def ask(self, limits: Mapping[str, Any], nodes: Sequence[str], check: bool) -> Answer:
        argv = [self._wrapper, "fleet", "autoscale", "--json", "--timeout", f"{self._timeout:g}"]
        argv += ["--nodes", ",".join(nodes), "--set", json.dumps(dict(limits), sort_keys=True)]
        if check:
            argv.append("--check")
        return parse(run(argv, timeout=self._timeout + START_TIMEOUT), nodes)


def parse(result: Result, nodes: Sequence[str]) -> Answer:
    """Read the command's answer. An application may print while it is imported: it is passed over."""
    start = result.out.find("{")
    while start != -1:
        try:
            found, _end = json.JSONDecoder().raw_decode(result.out, start)
        except ValueError:
            found = None
        if isinstance(found, dict) and "nodes" in found and "silent" in found:
            errors = {str(name): str(why) for name, why in (found.get("errors") or {}).items()}
            done = [str(name) for name in found["nodes"] if name not in errors]
            return Answer(done, errors, [name for name in nodes if name not in errors and name not in done])
        start = result.out.find("{", start + 1)
    said = "no answer in time" if result.timed_out else " ".join(result.text.split()[-60:]) or "nothing"
    raise AskError(
        f"{', '.join(nodes)} cannot be told new limits: `celery fleet autoscale` ended with {result.rc} "
        f"and said: {said}. Nodes of an older release need a deploy first; without Redis nothing can be told."
    )


def memory_total(path: str = "/proc/meminfo") -> int:
    """Bytes of memory that this host has, 0 where the kernel does not say."""
    try:
        with open(path, encoding="ascii") as stream:
            for line in stream:
                if line.startswith("MemTotal:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0
