#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a host whether a fleet can be put on it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_preflight
version_added: "0.1.0"
short_description: Ask a host whether a fleet can be put on it
description:
  - Looks at everything a deploy needs of a host in one round trip, before anything is changed, and reports
    all problems at once, each with its value, its place and its remedy.
  - Changes nothing and leaves nothing behind. That a folder can be written is tried with a file that never
    has a name.
  - What the fleet itself runs on the host, from an earlier deploy, is no problem.
  - Its clock is read on both sides, so that a playbook can compare the clocks of all hosts.
  - The broker is judged by C(python -m celeryops broker), which needs the release.
options:
  fleet:
    description: The fleet's name. Its own processes carry it in their environment (C(CELERYOPS_FLEET)).
    type: str
    required: true
  former_fleet:
    description: The name by which the fleet runs so far, if it has just got another one.
    type: str
    default: ""
  run_dir:
    description: The fleet's folder of pidfiles, which tells fleets of one name under two prefixes apart.
    type: path
  app:
    description:
      - The application as C(celery -A) is given it, for example V(shop.celery:app).
      - Beats for it that run outside the fleet are refused, and so are workers of the fleet or of the
        application that run a beat of their own (C(-B)).
      - So are units of older set-ups that would start such a beat with the next boot.
      - Processes in containers and in other deployments are left alone.
      - Without it only the fleet's own workers are looked at.
    type: str
    default: ""
  manager:
    description: The service manager that the fleet is to use here. Nothing is asked of the host for V(multi).
    type: str
    choices: [systemd, multi]
    default: multi
  ports:
    description: TCP ports on which the fleet's processes are to listen.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port.
        type: int
        required: true
      address:
        description: The address or host name to listen on; V(0.0.0.0) and V(::) stand for all.
        type: str
        default: 127.0.0.1
      purpose:
        description: Who listens there, for the report.
        type: str
        required: true
      variable:
        description: The variable which sets the port, for the report.
        type: str
        required: true
      pidfile:
        description: File with the pid of the process that may already listen there.
        type: path
        default: ""
  paths:
    description: Folders that a deploy creates or fills, whether or not they exist yet.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: str
        required: true
      purpose:
        description: What the folder is for, for the report.
        type: str
        required: true
      variable:
        description: The variable which sets the path, for the report.
        type: str
        required: true
      free:
        description:
          - The room that must be free, as a size with a unit.
          - The needs of paths on one filesystem are added up.
        type: str
        default: "0"
      inodes:
        description: The number of files that must fit. Added up as O(paths[].free) is.
        type: int
        default: 0
      executes:
        description: Whether programs start from there, so that the filesystem may not be mounted C(noexec).
        type: bool
        default: false
  sockets:
    description: Unix sockets the fleet creates. The kernel takes paths of 107 bytes.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: str
        required: true
      purpose:
        description: Who listens there, for the report.
        type: str
        required: true
      variable:
        description: The variable which sets the path, for the report.
        type: str
        required: true
  pythons:
    description: Interpreters from which virtualenvs are built.
    type: list
    elements: dict
    default: []
    suboptions:
      executable:
        description: Path, or name on the PATH.
        type: str
        default: python3
      minimum:
        description:
          - The oldest version that will do. The fleet's runtime and Celery 5.7 need 3.10.
        type: str
        default: "3.10"
      variable:
        description: The variable which sets the interpreter, for the report.
        type: str
        required: true
      purpose:
        description: What is built with it, for the report.
        type: str
        default: virtualenvs
      builds:
        description:
          - Whether it must be able to build virtualenvs as it is, by its own C(venv) module or by C(uv).
          - False where the deploy installs what is missing, and for an existing virtualenv.
        type: bool
        default: true
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
  diff_mode:
    description: Changes nothing, so that there is nothing to show.
    support: none
  idempotent:
    description: Changes nothing, however often it runs.
    support: full
requirements:
  - Linux with C(/proc)
  - Python 3.8 or newer on the managed host
author:
  - The celeryops.fleet maintainers (@celeryops)
"""

EXAMPLES = r"""
- name: Ask the host whether the fleet can be put on it
  celeryops.fleet.celery_preflight:
    fleet: shop
    app: shop.celery:app
    run_dir: /run/celery/shop
    manager: systemd
    ports:
      - {port: 5555, address: 127.0.0.1, purpose: Flower, variable: celery_flower_port}
    paths:
      - path: /opt/celery/shop
        purpose: releases
        variable: celery_opt_dir
        free: 500MB
        inodes: 20000
        executes: true
      - {path: /var/lib/celery/shop, purpose: state, variable: celery_state_dir, free: 50MB}
    pythons:
      - {executable: python3, minimum: "3.10", variable: celery_app_python}
"""

RETURN = r"""
problems:
  description: What cannot work. The module fails when there is any.
  returned: always
  type: list
  elements: dict
  contains:
    place:
      description: Where it was found, with the variable to change.
      type: str
      sample: celery_flower_port, for Flower
    value:
      description: What cannot be had.
      type: str
      sample: "127.0.0.1:5555"
    reason:
      description: Why it cannot work.
      type: str
      sample: is in use by process 812 (nginx), which is no part of this fleet
    remedy:
      description: What to change.
      type: str
      sample: Stop that process, or set celery_flower_port to a free port
pythons:
  description: What each interpreter said of itself, in the order of O(pythons).
  returned: always
  type: list
  elements: dict
  sample: [{executable: python3, version: 3.11.2, builds: true}]
paths:
  description: What was found about each path, in the order of O(paths).
  returned: always
  type: list
  elements: dict
  sample: [{path: /opt/celery/shop, base: /opt, free: 84000000000, inodes: 5000000}]
clock:
  description:
    - The host's clock, in seconds since 1970, when the look began and ended.
    - How far it is ahead of the controller's, and how far off that may be. A negative one is behind.
  returned: always
  type: dict
  sample: {began: 1790000000.1, ended: 1790000000.9, ahead: 0.02, uncertainty: 0.15}
nodes:
  description: Names of the fleet's nodes that run on this host, beat and Flower among them.
  returned: always
  type: list
  elements: str
  sample: [beat, default-1]
systemd:
  description: The version of systemd; 0 where it was not asked for or is not there.
  returned: always
  type: int
  sample: 252
"""

import dataclasses
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.fleet.plugins.module_utils import sockets
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import processes, systemd
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import (
    ProcessError,
    require_proc,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight import oldunits, surroundings
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight import rules as preflight
from ansible_collections.celeryops.fleet.plugins.module_utils.preflight.rules import (
    Deployment,
    Interpreter,
    Port,
    Problem,
    Space,
)
from ansible_collections.celeryops.fleet.plugins.module_utils.units import UnitError, parse_bytes


def _named(**more: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "str", "required": True}
    return {"variable": text, "purpose": text, **more}


def _list_of(options: dict[str, Any]) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": options}


def argument_spec() -> dict[str, Any]:
    return {
        "fleet": {"type": "str", "required": True},
        "former_fleet": {"type": "str", "default": ""},
        "run_dir": {"type": "path"},
        "app": {"type": "str", "default": ""},
        "manager": {"type": "str", "choices": ["systemd", "multi"], "default": "multi"},
        "ports": _list_of(
            _named(
                port={"type": "int", "required": True},
                address={"type": "str", "default": "127.0.0.1"},
                pidfile={"type": "path", "default": ""},
            )
        ),
        "paths": _list_of(
            _named(
                path={"type": "str", "required": True},
                free={"type": "str", "default": "0"},
                inodes={"type": "int", "default": 0},
                executes={"type": "bool", "default": False},
            )
        ),
        "sockets": _list_of(_named(path={"type": "str", "required": True})),
        "pythons": _list_of(
            {
                **_named(
                    executable={"type": "str", "default": "python3"},
                    minimum={"type": "str", "default": "3.10"},
                    builds={"type": "bool", "default": True},
                ),
                "purpose": {"type": "str", "default": "virtualenvs"},
            }
        ),
    }


class Preflight:
    """One look at the host: each method observes one side of it and has it judged."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.ours = Deployment(
            params["fleet"], params["run_dir"] or "", params["app"], params["former_fleet"]
        )
        self.problems: list[Problem] = []
        self.facts: dict[str, Any] = {"systemd": 0}

    def look(self) -> None:
        require_proc()
        self.paths()
        self.sockets()
        self.pythons()
        self.manager()
        # Last: what is seen of processes is out of date the soonest.
        self.processes()

    def paths(self) -> None:
        spaces = [
            surroundings.look_at(
                Space(
                    one["path"],
                    one["purpose"],
                    one["variable"],
                    parse_bytes(one["free"]),
                    one["inodes"],
                    one["executes"],
                )
            )
            for one in self.params["paths"]
        ]
        self.facts["paths"] = [
            {"path": one.path, "base": one.base, "free": one.free, "inodes": one.inodes} for one in spaces
        ]
        self.problems += preflight.path_problems(spaces)

    def sockets(self) -> None:
        wanted = [(one["path"], one["purpose"], one["variable"]) for one in self.params["sockets"]]
        self.problems += preflight.socket_problems(wanted)

    def pythons(self) -> None:
        found = []
        for one in self.params["pythons"]:
            asked = surroundings.ask_python(
                Interpreter(one["executable"], one["minimum"], one["variable"], one["purpose"])
            )
            found.append(asked if one["builds"] else dataclasses.replace(asked, builds=True))
        self.facts["pythons"] = [
            {"executable": one.executable, "version": one.version, "builds": one.builds} for one in found
        ]
        self.problems += preflight.python_problems(found)

    def manager(self) -> None:
        if self.params["manager"] == "systemd":
            self.facts["systemd"] = surroundings.systemd_version()
            self.problems += preflight.systemd_problems(
                self.facts["systemd"], systemd.is_running(), "celery_service_manager"
            )

    def processes(self) -> None:
        everything = surroundings.processes_here()
        self.facts["nodes"] = sorted(
            {str(one.get(processes.NODE)) for one in processes.mains_of(everything, self.ours.owns)}
        )
        self.problems += preflight.scheduler_problems(everything, self.ours)
        self.problems += oldunits.problems(oldunits.read(), self.ours)
        wanted = [
            Port(
                one["port"],
                surroundings.resolve(one["address"]),
                one["purpose"],
                one["variable"],
                one["pidfile"],
            )
            for one in self.params["ports"]
        ]
        if not wanted:
            return
        listening = sockets.listeners()
        in_the_way = {port: [one for one in listening if preflight.collides(port, one)] for port in wanted}
        known = {
            one.inode: one for one in sockets.with_pids(one for ones in in_the_way.values() for one in ones)
        }
        self.problems += preflight.port_problems(
            wanted,
            {
                port: [(known[one.inode], everything.get(known[one.inode].pid)) for one in ones]
                for port, ones in in_the_way.items()
            },
            {port.address for port in wanted if not surroundings.is_own_address(port.address)},
            surroundings.unprivileged_from(),
            self.ours,
            surroundings.pids_of(port.pidfile for port in wanted),
        )


def main() -> None:
    began = time.time()
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    look = Preflight(module.params)
    try:
        look.look()
    except (ProcessError, UnitError) as error:
        module.fail_json(msg=str(error))
    look.facts["clock"] = {"began": began, "ended": time.time()}
    problems = [dataclasses.asdict(one) for one in look.problems]
    if problems:
        listed = "\n".join(f"- {one}" for one in look.problems)
        module.fail_json(
            msg=f"The fleet {look.ours.fleet} cannot be put on this host; nothing was changed:\n{listed}",
            problems=problems,
            **look.facts,
        )
    module.exit_json(changed=False, problems=[], **look.facts)


if __name__ == "__main__":
    main()
