# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Other limits for the autoscaled nodes of a pool, as an operator asks for them between two deploys."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.pools.keys import AUTOSCALE, limit
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.pools import check_pools


class ScalingError(ValueError):
    """What was asked for cannot be. Each line of the text is a reason."""


def scaled_nodes(
    pools: Any,
    host: str,
    pool: str,
    limits: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
    hosts: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The nodes of a pool on one host, each with what is asked for.

    limits: keys of a pool's autoscale with their units; those that are not given stay as they are.
    """
    checked, problems = check_pools(pools, defaults, hosts)
    if problems:
        raise ScalingError("\n".join(problems))
    found = [one for one in checked if one["name"] == pool]
    names = ", ".join(f"{one['name']} ({_kind(one)})" for one in checked)
    if not found:
        near = difflib.get_close_matches(pool, [one["name"] for one in checked], 1, 0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ScalingError(f"pool = {pool!r} is no pool of the inventory.{hint} There are: {names}.")
    (one,) = found
    if not one.get("autoscale"):
        raise ScalingError(
            f"pool = {pool} has no autoscale, so its number of processes is part of its command line. "
            f"Change it in celery_worker_pools and deploy. The pools are: {names}."
        )
    if not limits:
        raise ScalingError(f"nothing is asked of pool {pool}. Give at least one of {', '.join(AUTOSCALE)}.")
    for key, value in limits.items():
        try:
            limit(key, value)
        except ValueError as error:
            problems.append(f"{error}.")
    if problems:
        raise ScalingError("\n".join(problems))
    if one.get("hosts") and host not in one["hosts"]:
        return []
    return [
        {"name": f"{pool}-{number}", "nodename": f"{pool}-{number}@{host}", "limits": dict(limits)}
        for number in range(1, one["nodes"] + 1)
    ]


def _kind(pool: Mapping[str, Any]) -> str:
    scale = pool.get("autoscale")
    if scale:
        return f"{scale['min']} to {scale['max']} processes"
    return f"{pool.get('concurrency') or 'one process a CPU'}"
