#!/usr/bin/python
# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""See to it that one beat sends, and on which host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_beat
version_added: "0.2.0"
short_description: See to it that exactly one beat sends, and on which host
description:
  - Every candidate host runs beat. One of them has the lease in Redis and sends, the others stand by.
  - Says where beat shall send from, waits until it does, and fails with every reason why not exactly one
    candidate sends and the others stand by.
  - Any host with the fleet's release tells about all of them. A host that cannot be reached need not be - its
    beat loses the lease, and what it sends without is refused in Redis.
  - Refuses to work beside another beat for the application on its own host, be it a worker with C(-B), a
    process that somebody started, or a unit of an older set-up.
options:
  fleet:
    description: The fleet's name.
    type: str
    required: true
  app:
    description: The application as C(celery -A) is given it. Beats for it outside the fleet are refused.
    type: str
    default: ""
  opt_dir:
    description:
      - The fleet's program folder, for example V(/opt/celery/shop).
      - C(bin/run) in it runs the fleet's commands in its environment.
    type: path
    required: true
  run_dir:
    description: The fleet's folder of pidfiles, which tells fleets of one name under two prefixes apart.
    type: path
  state:
    description:
      - V(present) sees to it that exactly one of O(candidates) sends, where O(pinned) or O(preferred) say.
      - V(absent) takes O(hosts) that have left off the candidates. A lease that one of them has ends.
      - V(read) only looks.
    type: str
    choices: [present, absent, read]
    default: present
  candidates:
    description: All hosts that run beat, as the inventory names them. One at least.
    type: list
    elements: str
    default: []
  unseen:
    description:
      - Hosts that this run does not see, such as those that C(--limit) hides.
      - Nothing is asked of their beats.
    type: list
    elements: str
    default: []
  preferred:
    description: The candidate that sends as long as it is fit. Excludes O(pinned).
    type: str
    default: ""
  pinned:
    description:
      - The candidate that sends, and nobody else whatever becomes of it.
      - With neither, whoever has the lease keeps it.
    type: str
    default: ""
  fingerprints:
    description: The fingerprint that the beat of a host must carry, by host. Of others none is asked.
    type: dict
    default: {}
  clock_tolerance:
    description: Seconds by which the clock of a candidate may be off Redis' clock.
    type: float
    default: 5.0
  hosts:
    description: Hosts that have left, for O(state=absent).
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait until everything is as it should be.
    type: float
    default: 30.0
attributes:
  check_mode:
    description: Predicts a move. What a deploy has yet to mend is returned, and no reason to fail.
    support: full
  diff_mode:
    description: Shows where beat shall send from, and who has the lease.
    support: full
  idempotent:
    description: Tells Redis only what it does not know yet. Beat is moved only when it should be elsewhere.
    support: full
requirements:
  - Linux with C(/proc)
  - Python 3.8 or newer on the managed host
seealso:
  - module: celeryops.fleet.celery_nodes
  - module: celeryops.fleet.celery_preflight
author:
  - The celeryops.fleet maintainers (@celeryops)
"""

EXAMPLES = r"""
- name: One of these hosts sends
  celeryops.fleet.celery_beat:
    fleet: shop
    opt_dir: /opt/celery/shop
    candidates: "{{ groups['celery_beat'] }}"
  run_once: true

- name: Beat moves, whatever has become of the host that it was on
  celeryops.fleet.celery_beat:
    fleet: shop
    opt_dir: /opt/celery/shop
    candidates: "{{ groups['celery_beat'] }}"
    pinned: worker2
  run_once: true

- name: A host has left
  celeryops.fleet.celery_beat:
    fleet: shop
    opt_dir: /opt/celery/shop
    state: absent
    hosts: [worker1]
  run_once: true
"""

RETURN = r"""
holder:
  description: The host that has the lease, after this task; empty for none.
  returned: always
  type: str
  sample: worker2
epoch:
  description: How often the lease was taken. A move raises it.
  returned: always
  type: int
  sample: 7
tick_age:
  description: Seconds since the holder's main loop last turned; null without a holder.
  returned: always
  type: float
  sample: 0.4
place:
  description: Where beat shall send from, C(mode) and C(host); null for anywhere.
  returned: always
  type: dict
  sample: {mode: pinned, host: worker2}
candidates:
  description: Every beat that says of itself that it is there.
  returned: always
  type: list
  elements: dict
  contains:
    host:
      description: Inventory name of its host.
      type: str
    state:
      description: V(holder), V(standby), V(promoting) or V(stopping).
      type: str
    pid:
      description: Its process.
      type: int
    tick_age:
      description: Seconds since its main loop last turned.
      type: float
    clock_offset:
      description: Seconds by which its host's clock is ahead of Redis'.
      type: float
    fingerprint:
      description: The fingerprint it carries.
      type: str
  sample: [{host: worker1, state: standby}, {host: worker2, state: holder}]
without_lease:
  description: Beats that send without asking for a lease, as those of an older release do.
  returned: always
  type: list
  elements: dict
  sample: [{host: worker1, node: beat@worker1, pid: 815}]
problems:
  description:
    - Why beat is not as it should be, one sentence each.
    - The module fails when there is any, unless it only reads.
  returned: always
  type: list
  elements: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.fleet.plugins.module_utils.beat import place, verdict
from ansible_collections.celeryops.fleet.plugins.module_utils.beat.command import Beat, CommandError
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import (
    ProcessError,
    require_proc,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight import oldunits, rules, surroundings

LOOK_SECONDS = 0.3


def argument_spec() -> dict[str, Any]:
    names = {"type": "list", "elements": "str", "default": []}
    return {
        "fleet": {"type": "str", "required": True},
        "app": {"type": "str", "default": ""},
        "opt_dir": {"type": "path", "required": True},
        "run_dir": {"type": "path"},
        "state": {"type": "str", "choices": ["present", "absent", "read"], "default": "present"},
        "candidates": names,
        "unseen": names,
        "preferred": {"type": "str", "default": ""},
        "pinned": {"type": "str", "default": ""},
        "fingerprints": {"type": "dict", "default": {}},
        "clock_tolerance": {"type": "float", "default": 5.0},
        "hosts": names,
        "timeout": {"type": "float", "default": 30.0},
    }


class Task:
    """One run of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        self.beat = Beat(self.params["opt_dir"], self.params["fleet"])
        self.wanted = verdict.Wanted(
            candidates=self.params["candidates"],
            unseen=frozenset(self.params["unseen"]),
            place=place.wanted_place(self.params["preferred"], self.params["pinned"]),
            fingerprints=self.params["fingerprints"],
            clock_tolerance=self.params["clock_tolerance"],
        )
        self.report: verdict.Report = verdict.NOTHING

    def look(self) -> None:
        self.report = self.beat.show()

    def read(self) -> None:
        if self.beat.is_installed and self.module.check_mode:
            self._look_or_warn()
        elif self.beat.is_installed:
            self.look()
        self.module.exit_json(changed=False, problems=self.problems(), **self.facts())

    def present(self) -> None:
        params = self.params
        found = place.place_problems(params["candidates"], params["preferred"], params["pinned"])
        found += self._others()
        if found:
            self._fail("Nothing was changed, for this cannot work:", found)
        if self.module.check_mode:
            # What this very deploy would install and start need not be there yet.
            if self.beat.is_installed:
                self._look_or_warn()
        elif not self.beat.is_installed:
            self._fail(
                "Beat cannot be looked after on this host:",
                [f"{self.beat.wrapper} is missing. Deploy first."],
            )
        else:
            self.look()
        before = self.report
        differs = before["place"] != self.wanted.place
        if not self.module.check_mode:
            if differs:
                self.beat.place(self.wanted.place)
                self.look()
            self._settle(lambda: self._open_problems(before))
            remaining = self._open_problems(before)
            if remaining:
                self._fail("Beat is not as it should be:", remaining, changed=differs)
            for text in verdict.warnings(self.report, self.wanted):
                self.module.warn(text)
        self._exit(before, differs)

    def absent(self) -> None:
        hosts = self.params["hosts"]
        if self.beat.is_installed:
            self._look_or_warn()
        before = self.report
        place_of_one = bool(before["place"]) and before["place"]["host"] in hosts
        changed = verdict.touches(before, hosts)
        if not self.module.check_mode and before is not verdict.NOTHING:
            self.wanted = verdict.Wanted((), place=None if place_of_one else before["place"])
            if place_of_one:
                self.beat.place(None)
            forgotten = [self.beat.forget(host) for host in hosts]
            changed = any(forgotten) or place_of_one
            self.look()
            # One that still runs would enter itself again within a poll.
            self._settle(lambda: verdict.left_behind(self.report, hosts))
            remaining = verdict.left_behind(self.report, hosts)
            if remaining:
                self._fail("Beat has not left:", remaining, changed=changed)
        elif place_of_one:
            self.wanted = verdict.Wanted(())
        self._exit(before, changed)

    def problems(self) -> list[str]:
        return verdict.problems(self.report, self.wanted) if self.params["candidates"] else []

    def facts(self) -> dict[str, Any]:
        lease = self.report["lease"]
        holding = [one for one in self.report["candidates"] if lease and one["host"] == lease["host"]]
        return {
            "holder": verdict.holder(self.report),
            "epoch": self.report["epoch"],
            "tick_age": holding[0].get("tick_age") if holding else None,
            "place": self.report["place"],
            "candidates": self.report["candidates"],
            "without_lease": verdict.without_lease(self.report),
        }

    def _open_problems(self, before: verdict.Report) -> list[str]:
        found = self.problems()
        if self.report["place"] != self.wanted.place:
            now = place.describe(self.report["place"])
            found.append(f"Beat shall send from {now} meanwhile: somebody else has moved it. Run this again.")
        if verdict.holder(self.report) != verdict.holder(before) and self.report["epoch"] <= before["epoch"]:
            found.append(
                f"Beat has moved from {verdict.holder(before)} and its epoch is still "
                f"{self.report['epoch']}: this Redis has lost writes. Look at its log and at its replicas."
            )
        return found

    def _settle(self, remaining: Any) -> None:
        """Look again until nothing remains to be done, or the time is over."""
        until = time.monotonic() + self.params["timeout"]
        while remaining() and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
            self.look()

    def _others(self) -> list[str]:
        """Beats for this application on this host that are none of the fleet's."""
        require_proc()
        ours = rules.Deployment(self.params["fleet"], self.params["run_dir"] or "", self.params["app"])
        found = rules.scheduler_problems(surroundings.processes_here(), ours)
        return [str(one) for one in [*found, *oldunits.problems(oldunits.read(), ours)]]

    def _look_or_warn(self) -> None:
        try:
            self.look()
        except CommandError as error:
            self.module.warn(f"What Redis knows of beat is not known. {error}")

    def _fail(self, title: str, found: list[str], changed: bool = False) -> None:
        listed = "\n".join(f"- {one}" for one in found)
        self.module.fail_json(msg=f"{title}\n{listed}", changed=changed, problems=found, **self.facts())

    def _exit(self, before: verdict.Report, changed: bool) -> None:
        after = self.report
        if self.module.check_mode:
            after = {**before, "place": self.wanted.place}
            sends = verdict.predicted(before, self.wanted.place)
        else:
            sends = verdict.holder(after)
        header = f"beat of {self.params['fleet']}"
        self.module.exit_json(
            changed=changed,
            problems=self.problems(),
            diff={
                "before_header": header,
                "after_header": header,
                "before": _lines(before["place"], verdict.holder(before)),
                "after": _lines(after["place"], sends),
            },
            **self.facts(),
        )


def _lines(where: place.Place, sends: str) -> str:
    return f"shall send: {place.describe(where)}\nsends: {sends or 'nobody'}\n"


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    task = Task(module)
    try:
        {"present": task.present, "absent": task.absent, "read": task.read}[module.params["state"]]()
    except (CommandError, ProcessError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
