#!/usr/bin/python
# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give autoscaled nodes their limits, in the running processes and for the next start."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_autoscaler
version_added: "0.2.0"
short_description: Give autoscaled nodes their limits, live and for the next start
description:
  - Writes the limits and guards of nodes into the files from which they start, and gives them to the
    processes that run, through remote control. Nothing restarts.
  - Each running node confirms its limits. One that does not is an error that names it.
  - Before anything is written, every running node is asked whether it could take its new limits.
extends_documentation_fragment:
  - celeryops.fleet.fleet
options:
  fleet:
    description: The fleet's name.
    type: str
    required: true
  nodes:
    description: Nodes of this host.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Its name on the host, such as V(default-1).
        type: str
        required: true
      nodename:
        description: Its name in the fleet, such as V(default-1@worker1).
        type: str
        required: true
      limits:
        description:
          - Its limits and guards by name, as in the C(autoscale) of a pool.
          - Sizes, times and shares carry their units.
        type: dict
        required: true
  keep_others:
    description: Whether limits that are not given stay as the node's file says. Else they get their defaults.
    type: bool
    default: false
  etc_dir:
    description: The fleet's folder of settings. The files are C(nodes/NAME.autoscale.json) in it.
    type: path
    required: true
  run_dir:
    description: The fleet's folder of pidfiles, which tells fleets of one name under two prefixes apart.
    type: path
    required: true
  owner:
    description: Owner of the files.
    type: str
  group:
    description: Group of the files, whose members the nodes are.
    type: str
  silent:
    description: What to make of a node that runs and does not answer.
    type: str
    choices: [error, warn]
    default: error
  timeout:
    description: Seconds to wait for the answers of running nodes.
    type: float
    default: 10.0
attributes:
  check_mode:
    description: Asks running nodes whether they could take the limits, and changes nothing.
    support: full
  diff_mode:
    description: Shows the limits of each node, and the files.
    support: full
  idempotent:
    description: Limits that a node goes by already, and that its file says, are left alone.
    support: full
  platform:
    description: The operating systems of the hosts.
    support: full
    platforms: posix
seealso:
  - module: celeryops.fleet.celery_nodes
"""

EXAMPLES = r"""
- name: Let the nodes of a pool have up to twelve processes, whatever else is set for them
  celeryops.fleet.celery_autoscaler:
    fleet: shop
    opt_dir: /opt/celery/shop
    etc_dir: /etc/celery/shop
    run_dir: /run/celery/shop
    nodes:
      - name: default-1
        nodename: default-1@worker1
        limits: {max: 12, memory_reserve: 2GB}
    keep_others: true
"""

RETURN = r"""
nodes:
  description: What became of each node, by its name in the fleet.
  returned: always
  type: dict
  contains:
    before:
      description:
        - The limits by which its process went, or those of its file when no process runs. Sizes are bytes,
          times seconds, shares percent.
      type: dict
    after:
      description: The limits that it has, or would have.
      type: dict
    live:
      description:
        - V(confirmed) when the running process said so, V(already) when it went by these limits before.
        - V(not running) when they wait for the next start, V(silent) when it did not answer.
      type: str
  sample:
    default-1@worker1:
      before: {min: 1, max: 8}
      after: {min: 1, max: 12}
      live: confirmed
"""

import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.fleet.plugins.module_utils.autoscaler import limits, live
from ansible_collections.celeryops.fleet.plugins.module_utils.files import Converger, FilesError
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import processes, records
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.convergence import status_command


def argument_spec() -> dict[str, Any]:
    text = {"type": "str", "required": True}
    return {
        "opt_dir": {"type": "path", "required": True},
        "status_command": {"type": "list", "elements": "str"},
        "python": {"type": "path"},
        "user": {"type": "str"},
        "fleet": text,
        "nodes": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": {"name": text, "nodename": text, "limits": {"type": "dict", "required": True}},
        },
        "keep_others": {"type": "bool", "default": False},
        "etc_dir": {"type": "path", "required": True},
        "run_dir": {"type": "path", "required": True},
        "owner": {"type": "str"},
        "group": {"type": "str"},
        "silent": {"type": "str", "choices": ["error", "warn"], "default": "error"},
        "timeout": {"type": "float", "default": 10.0},
    }


def _path(params: dict[str, Any], name: str) -> str:
    return os.path.join(params["etc_dir"], "nodes", f"{name}.autoscale.json")


def _written(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (FileNotFoundError, ValueError):
        # What is no JSON is written anew; a node that met it has gone by its command line.
        return None
    return found if isinstance(found, dict) else None


def _observe(params: dict[str, Any], wanted: dict[str, limits.Limits]) -> list[limits.Node]:
    found = processes.read_many(processes.all_pids())
    alive = {
        one.get(processes.NODE): one.pid for one in processes.mains(found, params["fleet"], params["run_dir"])
    }
    going: dict[str, Any] = {}
    if any(one["name"] in alive for one in params["nodes"]):
        command, env_files = status_command(
            params["opt_dir"], params["etc_dir"], params["python"], params["status_command"]
        )
        status = records.read(command, env_files, params["user"])
        going = {record["node"]: record for record in status["nodes"]}
    nodes = []
    for one in params["nodes"]:
        written = _written(_path(params, one["name"]))
        running = None
        if one["name"] in alive:
            record = going.get(one["nodename"]) or {}
            # A record of another process, or none, says nothing: the node is asked.
            running = limits.of_record(record) if record.get("pid") == alive[one["name"]] else {}
        merged = limits.merged(written, wanted[one["nodename"]], params["keep_others"])
        nodes.append(limits.Node(one["name"], one["nodename"], written, running, merged))
    return nodes


class Task:
    """One run of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        self.command = live.Command(module.params["opt_dir"], module.params["timeout"])
        wanted, self.problems = limits.read({one["nodename"]: one["limits"] for one in self.params["nodes"]})
        self.nodes = [] if self.problems else _observe(self.params, wanted)
        self.live = {
            node.nodename: "not running" if node.running is None else "already" for node in self.nodes
        }

    def run(self) -> None:
        found = self.problems or limits.problems(self.nodes, live.memory_total())
        batches = [] if found else limits.batches(self.nodes)
        answers = [self.command.ask(wanted, names, check=True) for wanted, names in batches]
        for answer in answers:
            found += [f"{name} refuses its limits. {why}" for name, why in sorted(answer.errors.items())]
        if found:
            self.module.fail_json(
                msg="Nothing was changed, for these limits cannot be: " + " ".join(found), problems=found
            )
        self._judge_silence([name for answer in answers for name in answer.silent])
        files = Converger(self.module.check_mode)
        for node in self.nodes:
            files.file(
                _path(self.params, node.name),
                limits.text(node.wanted),
                0o640,
                self.params["owner"],
                self.params["group"],
            )
        telling = [
            (wanted, [name for name in names if self.live[name] != "silent"]) for wanted, names in batches
        ]
        telling = [(wanted, names) for wanted, names in telling if names]
        if not self.module.check_mode:
            self._tell(telling)
        self.live.update(dict.fromkeys((name for told in telling for name in told[1]), "confirmed"))
        diffs = list(files.diffs)
        if telling:
            told = [node for node in self.nodes if self.live[node.nodename] == "confirmed"]
            header = "limits of running nodes"
            diffs.append(
                {
                    "before_header": header,
                    "after_header": header,
                    "before": limits.lines(told, "running"),
                    "after": limits.lines(told, "wanted"),
                }
            )
        self.module.exit_json(
            changed=bool(files.changed_paths or telling),
            nodes={
                node.nodename: {
                    "before": (node.written or {}) if node.running is None else node.running,
                    "after": node.wanted,
                    "live": self.live[node.nodename],
                }
                for node in self.nodes
            },
            diff=diffs,
        )

    def _judge_silence(self, names: list[str]) -> None:
        if not names:
            return
        told = (
            f"{', '.join(sorted(names))}: runs and has not answered within {self.params['timeout']:g} s, so "
            "it does not know its limits. See its log: it may hang, or have lost Redis."
        )
        if self.params["silent"] == "error":
            self.module.fail_json(msg=f"Nothing was changed. {told} To go on without it: silent=warn.")
        self.module.warn(f"{told} It takes them over when it restarts.")
        self.live.update(dict.fromkeys(names, "silent"))

    def _tell(self, telling: list[tuple[dict[str, Any], list[str]]]) -> None:
        done: list[str] = []
        failed: dict[str, str] = {}
        for wanted, names in telling:
            answer = self.command.ask(wanted, names, check=False)
            done += answer.done
            failed.update(answer.errors)
            failed.update(dict.fromkeys(answer.silent, "has not answered"))
        if failed:
            self.module.fail_json(
                msg="Not every node has confirmed its limits. Their files are written, so each has them "
                f"after its next start. {limits.account(done, failed)} Run this again."
            )


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        Task(module).run()
    except (live.AskError, records.RecordsError, FilesError, LookupError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
