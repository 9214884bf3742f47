# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where beat shall send from: nowhere else than on one host, there as long as it is fit, or anywhere. "
"Pure."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterable, Optional

PINNED = "pinned"
PREFERRED = "preferred"
ANYWHERE = "anywhere"

Place = Optional[Dict[str, str]]
"""{"mode": pinned or preferred, "host": its inventory name}; None is anywhere."""


def wanted_place(preferred: str, pinned: str) -> Place:
    if pinned:
        return {"mode": PINNED, "host": pinned}
    return {"mode": PREFERRED, "host": preferred} if preferred else None


def describe(place: Place) -> str:
    return f"{place['mode']} on {place['host']}" if place else ANYWHERE


def place_problems(candidates: Any, preferred: Any, pinned: Any) -> list[str]:
    """Why beat cannot be placed so, as sentences.

    Args:
        candidates: hosts that run beat.
        preferred, pinned: the one host of either mode, empty for none.
    """
    hosts: list[str] = list(candidates or [])
    if not hosts:
        return [
            (
                "No host is a candidate for beat, so no scheduled task would be sent. Put one host or more "
                "into the inventory's group celery_beat."
            )
        ]
    if preferred and pinned:
        return [
            (
                f"celery_beat_preferred = {_show(preferred)} and celery_beat_pinned = {_show(pinned)} "
                "exclude each other. Keep preferred for a host that others may stand in for, pinned for "
                "one that nobody may."
            )
        ]
    return [
        problem
        for mode, host in ((PREFERRED, preferred), (PINNED, pinned))
        for problem in _host(mode, host, hosts)
    ]


def _host(mode: str, host: Any, hosts: Iterable[str]) -> list[str]:
    if not host:
        return []
    name = f"celery_beat_{mode} = {_show(host)}"
    if not isinstance(host, str):
        return [f"{name} is not the name of one host. Write the host as the inventory names it."]
    if host not in hosts:
        effect = "no beat would send" if mode == PINNED else "it would never come true"
        return [
            (
                f"{name} is no candidate, which are {', '.join(hosts)}: {effect}. Write one of them, or put "
                "the host into the inventory's group celery_beat."
            )
        ]
    return []


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
