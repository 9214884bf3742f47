#!/usr/bin/python
# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move a fleet to another Redis, or to another name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_move
version_added: "0.2.0"
short_description: Move a fleet to another Redis, or to another name
description:
  - Reads from the files of a host where the fleet keeps its queues, and whether they are wanted there.
  - Takes queues, ETA tasks, unacknowledged messages, results and the fleet's books from one Redis to another,
    from one database or C(global_keyprefix) to another, or from one name of the fleet to another.
  - Each message arrives once, however often the move is interrupted.
  - The work is done in the virtualenv of the installed release, by the runtime of this collection, which is
    sent along. Nothing of it stays on the host.
  - Workers and beat must be stopped before, except for V(reached) and V(swept).
options:
  state:
    description:
      - V(looked) changes nothing and says what is to be done.
      - V(marked) marks the old database, to know it again when its server comes back at another port.
      - V(reached) requires that both places answer, for which nothing needs to be stopped.
      - V(moved) takes everything over that O(broker_url) or O(fleet) have changed for.
      - V(swept) fetches what programs that did not know have sent to the old place since, and names them.
        When it is quiet there, the move is forgotten.
      - V(renamed) gives the fleet's data, logs and generated secrets of O(former) to O(fleet).
    type: str
    choices: [looked, marked, reached, moved, swept, renamed]
    default: looked
  fleet:
    description: The fleet's name.
    type: str
    required: true
  former:
    description: The name that the fleet had before, if it had another one.
    type: str
    default: ""
  broker_url:
    description: Where the queues are wanted.
    type: str
    default: ""
  result_backend:
    description: Where results are wanted, as far as the inventory says.
    type: str
    default: ""
  settings:
    description: The Celery settings of the inventory, of which the two transport options count.
    type: dict
    default: {}
  opt_dir:
    description: The fleet's folder of releases, for example V(/opt/celery/shop). All folders end in the name.
    type: path
    required: true
  etc_dir:
    description: The fleet's folder of settings.
    type: path
    required: true
  state_dir:
    description: The folder of the fleet's data.
    type: path
    required: true
  log_dir:
    description: The folder of the fleet's logs.
    type: path
    required: true
  run_dir:
    description: The folder of the fleet's pidfiles.
    type: path
    required: true
  user:
    description: The user as which the release is run when the module runs as root.
    type: str
  abandon:
    description: Whether an old Redis that does not answer is given up, with all that is in it.
    type: bool
    default: false
  timeout:
    description: Seconds that the move from one place may take.
    type: int
    default: 3600
  shipment:
    description: What the controller adds to the request. Filled in by the action, not by a playbook.
    type: str
attributes:
  check_mode:
    description: Says whether anything would be moved, without counting it.
    support: full
  diff_mode:
    description: Shows the place before and after.
    support: full
  idempotent:
    description: What has been moved is not there any more.
    support: full
requirements:
  - Python 3.8 or newer on the managed host
author:
  - The celeryops.fleet maintainers (@celeryops)
"""

EXAMPLES = r"""
- name: See where the queues are
  celeryops.fleet.celery_move: &fleet
    fleet: shop
    broker_url: "redis://:{{ vault_redis_password }}@redis2:6379/0"
    opt_dir: /opt/celery/shop
    etc_dir: /etc/celery/shop
    state_dir: /var/lib/celery/shop
    log_dir: /var/log/celery/shop
    run_dir: /run/celery/shop
    user: celery
  register: place
  no_log: true

- name: Take them over
  celeryops.fleet.celery_move:
    <<: *fleet
    state: moved
  when: place.moves
"""

RETURN = r"""
installed:
  description: Whether the fleet, by this or its former name, is on this host.
  returned: always
  type: bool
moves:
  description: Whether the queues or the name are not what is wanted. In V(moved), whether they were not.
  returned: always
  type: bool
sweeps:
  description: Whether a move was made of which it is not known yet that it is over.
  returned: always
  type: bool
renames:
  description: Whether the fleet is on this host by its former name.
  returned: always
  type: bool
name:
  description: The name by which it is on this host.
  returned: always
  type: str
sources:
  description: The old places, in words.
  returned: always
  type: list
  elements: str
  sample: ["redis://redis1:6379/0 (shop)"]
target:
  description: The wanted place, in words.
  returned: always
  type: str
  sample: redis://redis2:6379/0 (shop)
brokers:
  description: The URLs of the old places, with their passwords.
  returned: state is looked
  type: list
  elements: str
dirs:
  description: The folders of the name by which the fleet is on this host.
  returned: always
  type: dict
problems:
  description: What stands against it, one sentence each.
  returned: always
  type: list
  elements: str
messages:
  description: How many messages have gone over.
  returned: state is moved or swept
  type: int
keys:
  description: How many keys have gone over or were copied.
  returned: state is moved or swept
  type: int
late:
  description: How many messages were sent to an old place while it was moved from, or after.
  returned: state is moved or swept
  type: int
producers:
  description: Who has sent them, as pid@host.
  returned: state is moved or swept
  type: list
  elements: str
clients:
  description: Addresses of programs that are connected to an old database which is the fleet's alone.
  returned: state is moved or swept
  type: list
  elements: str
renamed:
  description: Paths that have come from the former name.
  returned: state is renamed
  type: list
  elements: str
"""

import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.fleet.plugins.module_utils.files import unpack
from ansible_collections.celeryops.fleet.plugins.module_utils.moves import host, places


def argument_spec() -> dict[str, Any]:
    path = {"type": "path", "required": True}
    return {
        "state": {
            "type": "str",
            "choices": ["looked", "marked", "reached", "moved", "swept", "renamed"],
            "default": "looked",
        },
        "fleet": {"type": "str", "required": True},
        "former": {"type": "str", "default": ""},
        # The action moves these into the shipment.
        "broker_url": {"type": "str", "default": ""},
        "result_backend": {"type": "str", "default": ""},
        "settings": {"type": "dict", "default": {}},
        **{f"{name}_dir": path for name in ("opt", "etc", "state", "log", "run")},
        "user": {"type": "str"},
        "abandon": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 3600},
        "shipment": {"type": "str", "no_log": True},
    }


_NOTHING: dict[str, Any] = {
    "installed": False,
    "moves": False,
    "sweeps": False,
    "renames": False,
    "name": "",
    "sources": [],
    "target": "",
    "brokers": [],
    "dirs": {},
    "problems": [],
}


class Move:
    """What one host knows of its fleet's move."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.ship: dict[str, Any] = json.loads(unpack(params["shipment"])[0]) if params["shipment"] else {}
        self.new = host.Dirs(*(params[name] for name in host.Dirs._fields))
        self.old = self.new.named(params["former"]) if params["former"] else self.new
        self.renames = self.old != self.new and self.old.is_used
        self.dirs = self.old if self.renames else self.new
        self.name = params["former"] if self.renames else params["fleet"]
        self.note = host.read_note(self.dirs)
        self.wanted = places.place(
            params["fleet"],
            self._given("broker_url"),
            self._given("settings") or {},
            self._given("result_backend"),
        )
        self.now = places.installed(
            self.name,
            host.read(self.dirs.environment),
            host.read(os.path.join(self.dirs.etc_dir, "settings.json")),
        )
        self.decision = places.decide(self.now, self.wanted, self.note)

    def _given(self, name: str) -> Any:
        return self.ship.get(name) or self.params[name] or ""

    def facts(self) -> dict[str, Any]:
        return {
            "installed": self.now is not None,
            "moves": self.decision.moves or self.renames,
            "sweeps": self.decision.sweeps,
            "renames": self.renames,
            "name": self.name,
            "sources": [places.label(one) for one in self.decision.sources],
            "target": places.label(self.wanted),
            "dirs": self.dirs._asdict(),
            "problems": host.conflicts(self.old, self.new) if self.renames else [],
        }

    def brokers(self) -> list[str]:
        return [one["url"] for one in self.decision.sources]

    def ask(self, action: str) -> list[dict[str, Any]]:
        sources = self.decision.sources
        questions = [
            {
                "action": action,
                "from": one,
                "to": self.wanted,
                "others": [other for other in sources if other is not one],
                "abandon": self.params["abandon"],
            }
            for one in sources
        ]
        return host.ask_runtime(
            self.dirs.python, self.params["user"], self.ship["runtime"], questions, self.params["timeout"]
        )

    def move(self) -> dict[str, Any]:
        """The note first: whatever becomes of this run, the next one knows both places."""
        if any(
            not places.same(dict(one, fleet=self.wanted["fleet"]), self.wanted)
            for one in self.decision.sources
        ):
            host.write_note(self.dirs, places.new_note(self.decision.sources, self.wanted))
        reports = self.ask("move")
        if all(one.get("same") or one.get("gone") for one in reports):
            host.remove_note(self.dirs)
        return places.describe(reports)

    def sweep(self) -> dict[str, Any]:
        report = places.describe(self.ask("sweep"))
        if not report["late"] and not report["clients"]:
            host.remove_note(self.dirs)
        return report


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    state = module.params["state"]
    try:
        move = Move(module.params)
        result = move.facts()
        if state == "looked":
            module.exit_json(changed=False, brokers=move.brokers(), **result)
        if result["problems"]:
            module.fail_json(**dict(result, msg="\n".join(result["problems"])))
        changed = _act(module, move, state, result)
    except host.MoveError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        told = (
            f"{error.filename}: {error.strerror or error}. Run the play as the owner of that file, or as root"
        )
        if state != "looked":
            module.fail_json(msg=told)
        # The task that looks has no log, so it is left to the next one to say so.
        unknown = {**_NOTHING, "moves": True, "problems": [told]}
        module.exit_json(changed=False, **unknown)
    diff = {"before": "\n".join([*result["sources"], ""]), "after": f"{result['target']}\n"}
    module.exit_json(changed=changed, **({"diff": diff} if changed else {}), **result)


def _act(module: AnsibleModule, move: Move, state: str, result: dict[str, Any]) -> bool:
    """Do it, add to the result, and return whether anything has changed, or would."""
    if state == "renamed":
        planned = [target for unused, target in host.renames(move.old, move.new)] if move.renames else []
        if planned and not module.check_mode:
            host.rename(move.old, move.new)
        result["renamed"] = planned
        return bool(planned)
    asked = move.decision.sweeps if state == "swept" else move.decision.moves
    if not asked:
        return False
    if module.check_mode:
        return state == "moved"
    if state == "reached":
        move.ask("reach")
        return False
    if state == "marked":
        try:
            move.ask("mark")
        except host.MoveError as error:
            # Without a mark the move itself says what is to be done.
            module.warn(str(error))
        return False
    if state == "moved":
        result.update(move.move())
        return True
    result.update(move.sweep())
    warning = places.warning(result, move.decision.sources)
    if warning:
        module.warn(warning)
    return bool(result["messages"])


if __name__ == "__main__":
    main()
