# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator is told of a node that did not come up or did not go. The same words for every manager."""

from __future__ import annotations

from typing import Mapping, Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import reconcile


def not_ready(name: str, problem: str, said: Mapping[str, str], more: str = "") -> str:
    """said: what was printed, by where that stands; a text that is empty means that there is nothing."""
    parts = [f"{name} is not ready{problem}."]
    parts += [f"{source}:\n{text}" if text else f"{source}: nothing new." for source, text in said.items()]
    parts.append(f"Mend what they say and run the play again{more}.")
    return "\n".join(parts)


def not_stopped(name: str, pids: Sequence[int], seconds: int, active: int | None) -> str:
    """active: how many tasks it runs, by its own record; None when that is not known."""
    tasks = "an unknown number of tasks" if active is None else f"{active} task{'' if active == 1 else 's'}"
    return (
        f"{name} (process {', '.join(map(str, pids))}) has not stopped within {seconds} s and still runs "
        f"{tasks}. It takes no new ones and was not killed, so none is lost. Run the play again when "
        f"they are done, or raise the pool's stop_timeout above its longest task."
    )


def wrong_fingerprint(who: str, carried: str | None, wanted: str, env_file: str) -> str:
    return (
        f"{who} carries {carried or reconcile.NO_FINGERPRINT} where {wanted} is wanted; "
        f"its last environment file must be {env_file}, rendered before this step"
    )
