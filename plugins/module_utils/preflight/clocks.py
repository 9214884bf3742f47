# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the clocks of hosts are apart, and how sure that is. Times in seconds since 1970, pure functions.

A host is asked by the controller, whose clock shows `sent` before and `came` after; the host's own shows
`began` and `ended` while it works on the answer. So the host's clock is ahead of the controller's by no more
than `began - sent` and by no less than `ended - came`: what the network and the start of Python took, on
either way, is all that is unknown.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping

NAMED = 8  # hosts that a message lists


def measure(sent: float, began: float, ended: float, came: float) -> dict[str, float]:
    """By how much a host's clock is ahead of the controller's, give or take the uncertainty."""
    least, most = sorted((ended - came, began - sent))
    return {"ahead": round((least + most) / 2, 3), "uncertainty": round((most - least) / 2, 3)}


def clock_problems(clocks: Mapping[str, Mapping[str, float]], tolerance: float) -> list[str]:
    """Clocks that differ by more than the tolerance, whatever the uncertainty of the measurement hides.

    Args:
        clocks: by host, what `measure` found.
        tolerance: seconds.
    """
    if not clocks:
        return []
    least = min(clock["ahead"] + clock["uncertainty"] for clock in clocks.values())
    apart = max(clock["ahead"] - clock["uncertainty"] for clock in clocks.values()) - least
    if apart <= tolerance:
        return []
    middle = statistics.median(clock["ahead"] for clock in clocks.values())
    by_distance = sorted(clocks, key=lambda host: (-abs(clocks[host]["ahead"] - middle), host))
    astray = [host for host in by_distance if abs(clocks[host]["ahead"] - middle) > tolerance / 2]
    named = ", ".join(f"{host} {_shown(clocks[host])}" for host in astray[:NAMED])
    more = f", and {len(astray) - NAMED} more" if len(astray) > NAMED else ""
    problem = (
        f"The clocks of the hosts are at least {apart:.1f} s apart, and celery_clock_tolerance is "
        f"{tolerance:g} s. Against the controller's clock: {named}{more}. Countdowns, expiries, schedules "
        "and the order of logs are wrong between such hosts. Set their clocks by NTP (timedatectl set-ntp "
        "true), then deploy again."
    )
    return [problem]


def _shown(clock: Mapping[str, float]) -> str:
    way = "ahead" if clock["ahead"] >= 0 else "behind"
    return f"{abs(clock['ahead']):.1f} s {way} (give or take {clock['uncertainty']:.1f} s)"
