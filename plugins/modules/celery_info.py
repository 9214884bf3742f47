#!/usr/bin/python
# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_info
version_added: "0.1.0"
short_description: Read what a Celery fleet runs, from its records
description:
  - Reads the records which every node of the fleet keeps in Redis, in one round trip and without waiting
    for any worker. One host tells about the whole fleet.
  - Pings the workers as a cross-check, and says in words what is wrong.
  - Changes nothing.
extends_documentation_fragment:
  - celeryops.fleet.fleet
attributes:
  check_mode:
    description: Does the same, for it only reads.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
  idempotent:
    description: It only reads.
    support: full
options:
  etc_dir:
    description: The fleet's settings folder, for example V(/etc/celery/shop). Needed with O(python).
    type: path
  cross_check:
    description: Whether to ping the workers as well. This imports the application and waits for O(timeout).
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait for answers to the ping. A node which keeps a record and stays silent is asked
        a second time and given twice as long.
    type: float
    default: 2.0
  expected:
    description:
      - The Celery names of all nodes that should run, over all hosts, such as V(default-1@worker1).
      - When given, nodes that are missing and nodes that are too many are problems.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Read the fleet
  celeryops.fleet.celery_info:
    opt_dir: /opt/celery/shop
  register: shop

- name: Stop here when something is wrong
  ansible.builtin.assert:
    that: shop.problems | length == 0
    fail_msg: "{{ shop.problems | join('\n') }}"
"""

RETURN = r"""
found:
  description: Whether a fleet is installed below O(opt_dir). When it is not, all lists are empty.
  returned: always
  type: bool
fleet:
  description: The fleet's name.
  returned: always
  type: str
  sample: shop
nodes:
  description: The records of all worker nodes, over all hosts.
  returned: always
  type: list
  elements: dict
  contains:
    node:
      description: The node's Celery name.
      type: str
      sample: default-1@worker1
    host:
      description: The inventory name of its host.
      type: str
    pool:
      description: Its pool.
      type: str
    pid:
      description: Its main process.
      type: int
    queues:
      description: The queues it consumes.
      type: list
      elements: str
    status:
      description: V(starting), V(ready), V(reconnecting) or V(stopping).
      type: str
    release:
      description: The release it runs.
      type: str
    fingerprint:
      description: The fingerprint it carries.
      type: str
beats:
  description: The records of all beats.
  returned: always
  type: list
  elements: dict
flowers:
  description: The Flower processes of this fleet on this host.
  returned: always
  type: list
  elements: dict
  sample: [{pid: 815, fingerprint: 0f1e2d3c4b5a6978}]
inspect:
  description: Who answered the ping, by node name.
  returned: when O(cross_check=true)
  type: dict
  sample: {default-1@worker1: ok, ml-1@worker2: no reply}
problems:
  description: What is wrong, one sentence each; empty when nothing is.
  returned: always
  type: list
  elements: str
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.fleet.plugins.module_utils.commands import run
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import judgement, processes, records
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.convergence import status_command


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "opt_dir": {"type": "path", "required": True},
            "etc_dir": {"type": "path"},
            "python": {"type": "path"},
            "user": {"type": "str"},
            "status_command": {"type": "list", "elements": "str"},
            "cross_check": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 2.0},
            "expected": {"type": "list", "elements": "str", "default": []},
        },
        required_by={"python": ["etc_dir"]},
        supports_check_mode=True,
    )
    params = module.params
    wrapper = os.path.join(params["opt_dir"], "bin", "celery")
    command, env_files = status_command(
        params["opt_dir"], params["etc_dir"], params["python"], params["status_command"]
    )
    if not os.access(command[0], os.X_OK):
        module.exit_json(**_nothing(command[0]))
    try:
        status = records.read(command, env_files, params["user"])
        inspect = _cross_check(wrapper, status, params) if params["cross_check"] else None
    except (records.RecordsError, LookupError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=False,
        found=True,
        fleet=status["fleet"],
        nodes=status["nodes"],
        beats=status["beats"],
        flowers=_flowers(status["fleet"], params["opt_dir"]),
        problems=judgement.problems(status, inspect, params["expected"]),
        **({} if inspect is None else {"inspect": inspect}),
    )


def _nothing(missing: str) -> dict[str, Any]:
    problem = f"No fleet is installed on this host: {missing} is missing. Deploy first, or ask another host."
    empty: dict[str, Any] = {name: [] for name in ("nodes", "beats", "flowers")}
    return {"changed": False, "found": False, "fleet": "", "inspect": {}, "problems": [problem], **empty}


def _cross_check(wrapper: str, status: dict[str, Any], params: dict[str, Any]) -> dict[str, str]:
    everyone = records.all_records(status)
    inspect = judgement.answers(everyone, _ping(wrapper, params["timeout"], []))
    silent = [name for name, answer in inspect.items() if answer == judgement.SILENT]
    if silent:
        late = _ping(wrapper, params["timeout"] * 2, silent)
        inspect.update({name: judgement.OK for name in late if name in inspect})
    return inspect


def _ping(wrapper: str, timeout: float, names: list[str]) -> dict[str, Any]:
    command = [wrapper, "inspect", "--json", "--timeout", f"{timeout:g}"]
    if names:
        command += ["--destination", ",".join(names)]
    # The application is imported first, which may take its time.
    result = run([*command, "ping"], timeout=timeout + 120)
    return records.parse_pings(result)


def _flowers(fleet: str, opt_dir: str) -> list[dict[str, Any]]:
    """Flower keeps no record. Its runtime's path tells this fleet from one of the same name elsewhere."""
    if not os.path.isdir(processes.PROC):
        return []
    found = processes.read_many(processes.all_pids())

    def is_ours(process: processes.Process) -> bool:
        path = process.get("PYTHONPATH") or ""
        return process.get(processes.FLEET) == fleet and f"{opt_dir}/" in path

    return [
        {"pid": one.pid, "fingerprint": one.get(processes.FINGERPRINT)}
        for one in processes.mains_of(found, is_ours)
        if one.get(processes.NODE) == "flower"
    ]


if __name__ == "__main__":
    main()
