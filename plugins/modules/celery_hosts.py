#!/usr/bin/python
# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the book of the hosts that a fleet is on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_hosts
version_added: "0.2.0"
short_description: Keep the book of the hosts that a fleet is on
description:
  - The book is a hash in the broker's database, C(celeryops:FLEET:hosts). It says which roles of the fleet
    are on which host, by the host's inventory name.
  - An inventory alone cannot tell that a host has left a group. The book can, so a deploy knows what to
    remove where, and which hosts nobody looks after any more.
  - Speaks to Redis by itself, and needs no release on the host.
options:
  fleet:
    description: The fleet's name.
    type: str
    required: true
  broker:
    description: The broker's URL, as Celery is given it.
    type: str
    required: true
  former_brokers:
    description:
      - Brokers which the fleet has used before. What their books say is part of the book.
      - One that does not answer is passed over.
    type: list
    elements: str
    default: []
  prefix:
    description: Prefix of all keys, C(global_keyprefix) of Celery's C(broker_transport_options).
    type: str
    default: ""
  master_name:
    description: What Sentinel calls the broker, C(master_name) of the same options.
    type: str
    default: ""
  sentinel_password:
    description: Password of Sentinel itself, from C(sentinel_kwargs) of the same options.
    type: str
  state:
    description:
      - V(read) changes nothing.
      - V(joined) enters the wanted roles of the hosts in O(visible), before anything is put on them.
      - V(settled) strikes out all roles of O(settled) but the wanted ones, after they were removed there.
    type: str
    choices: [read, joined, settled]
    default: read
  roles:
    description: The wanted fleet, as lists of hosts by role.
    type: dict
    default: {}
    suboptions:
      redis:
        description: Hosts with a Redis of the fleet.
        type: list
        elements: str
        default: []
      worker:
        description: Hosts with worker nodes.
        type: list
        elements: str
        default: []
      beat:
        description: Hosts that run beat, one of which sends.
        type: list
        elements: str
        default: []
      flower:
        description: Hosts with Flower.
        type: list
        elements: str
        default: []
  besides:
    description:
      - What is on hosts besides what the book says, as lists of hosts by role like O(roles).
      - For a fleet that was deployed before there was a book, or whose broker does not answer.
    type: dict
    default: {}
  inventory:
    description: All hosts of the inventory. One that the book names beside these is refused.
    type: list
    elements: str
    default: []
  visible:
    description: The hosts which this run may touch, of those in O(inventory).
    type: list
    elements: str
    default: []
  settled:
    description: The hosts from which everything was removed that is not wanted there.
    type: list
    elements: str
    default: []
  places:
    description: Where the hosts are, as far as it is known, to tell two hosts of one name apart.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: Inventory name of the host.
        type: str
        required: true
      machine:
        description: The machine's id.
        type: str
        default: ""
      opt_dir:
        description: The fleet's folder of releases.
        type: str
        default: ""
  beats:
    description:
      - Hosts on which this run starts a beat.
      - Refused while a host that is not in O(visible) has a beat which knows no lease, as version 0.1.0 had.
    type: list
    elements: str
    default: []
  forget:
    description: Hosts that are gone for good. They are struck out of the book, unless they have a role.
    type: list
    elements: str
    default: []
  purge:
    description:
      - Whether everything else that the fleet keeps about itself in the broker goes as well, when V(settled)
        has left no host in the book. Queues and results stay.
    type: bool
    default: false
  refuse:
    description: Whether the module fails when the book does not go with the inventory.
    type: bool
    default: true
  must_answer:
    description: Whether the module fails when the broker cannot be used. If not, the book counts as empty.
    type: bool
    default: true
attributes:
  check_mode:
    description: Predicts the change of the book.
    support: full
  diff_mode:
    description: Shows the book before and after.
    support: full
  idempotent:
    description: Writes only what differs.
    support: full
requirements:
  - Python 3.8 or newer on the managed host
seealso:
  - module: celeryops.fleet.celery_info
author:
  - The celeryops.fleet maintainers (@celeryops)
"""

EXAMPLES = r"""
- name: Who leaves?
  celeryops.fleet.celery_hosts:
    fleet: shop
    broker: "redis://:{{ vault_redis_password }}@redis1:6379/0"
    roles:
      worker: "{{ groups['celery_workers'] }}"
      beat: "{{ groups['celery_beat'] }}"
    inventory: "{{ groups['all'] }}"
    visible: "{{ ansible_play_hosts_all }}"
  register: book
  run_once: true

- name: Enter the hosts before anything is put on them
  celeryops.fleet.celery_hosts:
    state: joined
    fleet: shop
    broker: "redis://:{{ vault_redis_password }}@redis1:6379/0"
    roles:
      worker: "{{ groups['celery_workers'] }}"
    inventory: "{{ groups['all'] }}"
    visible: "{{ ansible_play_hosts_all }}"
  run_once: true
"""

RETURN = r"""
answered:
  description: Whether the broker could be used.
  returned: always
  type: bool
reason:
  description: Why it could not.
  returned: always
  type: str
  sample: "redis1:6379, database 0: Connection refused"
entered:
  description: Whether the broker's book already says all that O(state=joined) would enter into it.
  returned: always
  type: bool
before:
  description: The roles of the fleet by host as the broker's book had them before this task.
  returned: always
  type: dict
  sample: {worker1: [worker]}
book:
  description: The roles of the fleet by host, after this task.
  returned: always
  type: dict
  sample: {worker1: [worker], worker2: [worker, beat]}
leaving:
  description: The hosts of the inventory that have roles which they should not have.
  returned: always
  type: list
  elements: dict
  contains:
    host:
      description: Inventory name of the host.
      type: str
      sample: worker1
    leaves:
      description: The roles to be removed.
      type: list
      elements: str
      sample: [beat]
    keeps:
      description: The roles that stay.
      type: list
      elements: str
      sample: [worker]
lost:
  description: The roles of hosts which the inventory does not name.
  returned: always
  type: dict
  sample: {}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.fleet.plugins.module_utils.hosts import book as hostbook
from ansible_collections.celeryops.fleet.plugins.module_utils.hosts.store import Store
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.broker import BrokerError, open_broker
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.client import RedisError


def argument_spec() -> dict[str, Any]:
    names = {"type": "list", "elements": "str", "default": []}
    return {
        "fleet": {"type": "str", "required": True},
        "broker": {"type": "str", "required": True, "no_log": True},
        "former_brokers": {**names, "no_log": True},
        "prefix": {"type": "str", "default": ""},
        "master_name": {"type": "str", "default": ""},
        "sentinel_password": {"type": "str", "no_log": True},
        "state": {"type": "str", "choices": ["read", "joined", "settled"], "default": "read"},
        "roles": {"type": "dict", "default": {}, "options": dict.fromkeys(hostbook.ROLES, names)},
        "besides": {"type": "dict", "default": {}},
        "inventory": names,
        "visible": names,
        "settled": names,
        "places": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "host": {"type": "str", "required": True},
                "machine": {"type": "str", "default": ""},
                "opt_dir": {"type": "str", "default": ""},
            },
        },
        "beats": names,
        "forget": names,
        "purge": {"type": "bool", "default": False},
        "refuse": {"type": "bool", "default": True},
        "must_answer": {"type": "bool", "default": True},
    }


class Hosts:
    """The book, and what this task is to make of it."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.wanted = hostbook.members({role: names or [] for role, names in params["roles"].items()})
        self.places = {
            one["host"]: hostbook.Place(one["machine"], one["opt_dir"]) for one in params["places"]
        }
        self.besides = {
            host: hostbook.Entry(roles) for host, roles in hostbook.members(params["besides"]).items()
        }
        self.stores: list[tuple[Store, hostbook.Book]] = []

    def open(self, url: str) -> None:
        redis = open_broker(url, self.params["master_name"], self.params["sentinel_password"] or "")
        store = Store(redis, self.params["fleet"], self.params["prefix"])
        self.stores.append((store, store.read()))

    def judge(self, book: hostbook.Book) -> hostbook.Judgement:
        return hostbook.judge(book, self.wanted, self.params["inventory"], self.params["forget"])

    def problems(self, book: hostbook.Book) -> list[str]:
        """What speaks against it; the records of the processes are only read where a machine has changed."""
        moved = any(
            place.machine and host in book and book[host].place.machine not in ("", place.machine)
            for host, place in self.places.items()
        )
        alive = {host for store, unused in self.stores for host in store.alive()} if moved else set()
        found = hostbook.problems(
            self.params["fleet"], book, self.judge(book), self.places, alive, self.params["forget"]
        )
        if self.params["beats"]:
            older = {host for store, unused in self.stores for host in store.without_lease()}
            found += hostbook.older_beats(older, self.params["beats"], self.params["visible"])
        return found

    def joined(self, book: hostbook.Book) -> hostbook.Book:
        return hostbook.joined(book, self.wanted, self.params["visible"], self.places, self.params["forget"])

    def after(self, book: hostbook.Book) -> hostbook.Book:
        if self.params["state"] == "joined":
            return self.joined(book)
        if self.params["state"] == "settled":
            return hostbook.settled(book, self.wanted, self.params["settled"])
        return book

    def write(self, new: hostbook.Book) -> None:
        """The broker's book gets all; a former one only loses what is settled."""
        for number, (store, old) in enumerate(self.stores):
            if number == 0:
                store.write(old, new)
            elif self.params["state"] == "settled":
                store.write(old, {host: new[host] for host in old if host in new})
            if self.params["purge"] and not new:
                store.purge()


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    hosts = Hosts(params)
    reason = ""
    try:
        hosts.open(params["broker"])
    except (BrokerError, RedisError, OSError) as error:
        reason = str(error)
    if reason and params["must_answer"]:
        module.fail_json(
            msg=f"The book of the fleet {params['fleet']} cannot be opened, for its broker cannot be used. "
            f"{reason}. See that this Redis runs, and that celery_broker_url has its address and password."
        )
    for url in params["former_brokers"]:
        if url and url != params["broker"]:
            try:
                hosts.open(url)
            except (BrokerError, RedisError, OSError) as error:
                module.warn(f"The fleet's former Redis was not read. {error}")
    try:
        before = {} if reason else hosts.stores[0][1]
        book = hostbook.merged([book for unused, book in hosts.stores] + [hosts.besides])
        found = hosts.problems(book) if params["refuse"] else []
        if found:
            listed = "\n".join(f"- {one}" for one in found)
            module.fail_json(
                msg=f"The fleet {params['fleet']} cannot be deployed like this:\n{listed}",
                problems=found,
            )
        new, joined = hosts.after(book), hosts.joined(book)
        if not module.check_mode and not reason and params["state"] != "read":
            hosts.write(new)
    except (RedisError, OSError) as error:
        module.fail_json(msg=f"The book of the fleet {params['fleet']} cannot be used: {error}")
    judgement = hosts.judge(new)
    module.exit_json(
        changed=params["state"] != "read" and new != before,
        answered=not reason,
        entered=not reason and joined == before,
        before={host: sorted(entry.roles) for host, entry in before.items()},
        reason=reason,
        book={host: sorted(entry.roles) for host, entry in new.items()},
        leaving=[
            {"host": host, "leaves": roles, "keeps": sorted(hosts.wanted.get(host, ()))}
            for host, roles in judgement.leaving.items()
        ],
        lost=judgement.lost,
        diff={
            "before_header": "hosts of the fleet",
            "after_header": "hosts of the fleet",
            "before": hostbook.lines(before),
            "after": hostbook.lines(new),
        },
    )


if __name__ == "__main__":
    main()
