# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The answer of the module celery_beat as lines for an operator. Pure."""

from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.celeryops.fleet.plugins.module_utils.beat.place import describe


def beat_report(answer: Mapping[str, Any]) -> list[str]:
    """Who sends, who stands by, and what is wrong."""
    sends = answer["holder"]
    lines = [f"{sends} sends, epoch {answer['epoch']}" if sends else "nobody sends"]
    lines.append(f"shall send: {describe(answer['place'])}")
    for one in answer["candidates"]:
        trouble = f", {one['trouble']}" if one.get("trouble") else ""
        lines.append(
            f"{one['host']}: {one['state']}{trouble}, pid {one['pid']}, release {one['release']}, "
            f"seen {one['age']:.1f} s ago, ticked {one['tick_age']:.1f} s before, "
            f"clock {one['clock_offset']:+.3f} s"
        )
    lines += [f"{one['host']}: pid {one['pid']}, knows no lease" for one in answer["without_lease"]]
    return lines + [f"PROBLEM: {problem}" for problem in answer["problems"]]
