#!/usr/bin/python
# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_nodes
version_added: "0.1.0"
short_description: Make the running workers, beat or Flower of a host match the list
description:
  - Compares the nodes that are wanted on this host with the processes that run, and starts what is down,
    restarts exactly what differs, and stops and removes what is no longer listed.
  - A process is judged by the fingerprint in its own environment (C(CELERYOPS_FINGERPRINT)), read from
    C(/proc), not by what this run has changed. A play that broke half way is finished by running it again.
  - Nodes are stopped gracefully. A worker finishes its running tasks and gives back those it had
    reserved. Under O(manager=multi) it is never killed; under V(systemd) its C(TimeoutStopSec) governs.
  - Returns when every node is ready. One that does not become ready fails the module with the unit's
    state and the last lines of its log.
  - One run at a time works on a fleet's nodes on a host, by a lock on C(nodes.lock) in O(run_dir). What an
    interrupted play has left at work is waited for, with a warning, as long as nodes may take to stop and
    start; then the module fails and names it.
  - Unit files, environment files and wrappers are rendered by the roles before this module runs.
extends_documentation_fragment:
  - celeryops.fleet.fleet
attributes:
  check_mode:
    description: Predicts what a run does, on a host where nothing exists yet as well.
    support: full
  diff_mode:
    description: Shows the fingerprint or state of every node before and after.
    support: full
  idempotent:
    description: A second run changes nothing and restarts nothing.
    support: full
options:
  fleet:
    description: The fleet's name. Units, environment files and processes bear it.
    type: str
    required: true
  kind:
    description: Which long-running processes of the fleet to look after. Others are left alone.
    type: str
    choices: [worker, beat, flower]
    default: worker
  manager:
    description:
      - V(systemd) runs one unit for each node, C(celery-FLEET-worker@NODE.service),
        C(celery-FLEET-beat.service) or C(celery-FLEET-flower.service).
      - V(multi) runs workers by C(celery multi), and beat and Flower as detached processes with a pidfile.
      - Nodes found under the other manager are stopped and removed there.
    type: str
    choices: [systemd, multi]
    required: true
  wrapped:
    description:
      - Whether C(celery-FLEET-workers.service) wraps C(celery multi). Workers are then started in that
        unit's control group, and beat and Flower have units of their own as with O(manager=systemd).
      - Only looked at with O(manager=multi).
    type: bool
    default: false
  state:
    description:
      - With V(absent), no process of this O(kind) remains on the host; O(nodes) is ignored.
    type: str
    choices: [present, absent]
    default: present
  nodes:
    description: The nodes of this O(kind) that are wanted on this host.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The node's short name on this host, for example V(default-1); else V(beat) or V(flower).
        type: str
        required: true
      fingerprint:
        description: The fingerprint which the node's process must carry.
        type: str
        required: true
      nodename:
        description: The Celery name under which the node keeps its record, for example V(default-1@worker1).
        type: str
        default: ""
      start_timeout:
        description: Seconds until a started node must be ready.
        type: int
        default: 60
      stop_timeout:
        description: Seconds which a node may take to finish its tasks when it is stopped.
        type: int
        default: 600
      argv:
        description: The whole command line of a detached process (beat or Flower with O(manager=multi)).
        type: list
        elements: str
        default: []
      env_files:
        description: The environment files of a detached process, the last one wins.
        type: list
        elements: path
        default: []
      chdir:
        description: The folder in which a detached process runs.
        type: path
        default: ""
      listen:
        description:
          - An address which must accept connections before the node is ready.
          - V(host:port), or the path of a socket.
        type: str
        default: ""
  etc_dir:
    description: The fleet's settings folder, for example V(/etc/celery/shop).
    type: path
    required: true
  run_dir:
    description: The folder of pidfiles, for example V(/run/celery/shop).
    type: path
    required: true
  log_dir:
    description: The folder of C(NODE.log) files, for example V(/var/log/celery/shop).
    type: path
    required: true
  group:
    description: Accepted beside O(user), whose own groups are used.
    type: str
  unit_dir:
    description: The folder of the host's own systemd units.
    type: path
    default: /etc/systemd/system
  stop_timeout:
    description:
      - Seconds which a node that is not listed any more may take to finish its tasks, with O(manager=multi).
      - When they are over, the module fails and the node goes on; run it again when its tasks are done.
    type: int
    default: 600
  leftovers:
    description:
      - Patterns of more files that go with a removed node, in which C(%n) stands for the node's name,
        for example V(/var/lib/celery/shop/%n.state*).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Converge this host's workers
  celeryops.fleet.celery_nodes:
    fleet: shop
    kind: worker
    manager: systemd
    nodes:
      - name: default-1
        nodename: default-1@worker1
        fingerprint: 0f1e2d3c4b5a6978
        start_timeout: 60
        stop_timeout: 900
    opt_dir: /opt/celery/shop
    etc_dir: /etc/celery/shop
    run_dir: /run/celery/shop
    log_dir: /var/log/celery/shop
    user: celery
    leftovers:
      - /var/lib/celery/shop/%n.state*

- name: No beat on this host
  celeryops.fleet.celery_nodes:
    fleet: shop
    kind: beat
    manager: systemd
    state: absent
    opt_dir: /opt/celery/shop
    etc_dir: /etc/celery/shop
    run_dir: /run/celery/shop
    log_dir: /var/log/celery/shop
"""

RETURN = r"""
started:
  description: Nodes that were not running and were started.
  returned: always
  type: list
  elements: str
  sample: [default-1]
restarted:
  description: Nodes that ran with another fingerprint, or outside their manager, and were restarted.
  returned: always
  type: list
  elements: str
  sample: [ml-1]
adopted:
  description: Nodes whose process was right but whose pidfile was lost; it was written again.
  returned: always
  type: list
  elements: str
  sample: []
enabled:
  description: Nodes whose unit would not have come up at boot and was enabled.
  returned: always
  type: list
  elements: str
  sample: []
stopped:
  description: Unlisted nodes that ran and were stopped.
  returned: always
  type: list
  elements: str
  sample: [old-1]
removed:
  description: Unlisted nodes of which nothing is left.
  returned: always
  type: list
  elements: str
  sample: [old-1]
nodes:
  description: The wanted nodes after the run; in check mode, as they would be.
  returned: always
  type: list
  elements: dict
  sample:
    - {name: default-1, nodename: default-1@worker1, pid: 471, fingerprint: 0f1e2d3c4b5a6978, state: running}
reasons:
  description: Why each node was, or would be, touched.
  returned: always
  type: dict
  sample: {ml-1: "runs 1111111111111111, 0f1e2d3c4b5a6978 is wanted"}
reloaded:
  description: Whether systemd was told to read its unit files again. This alone counts as no change.
  returned: always
  type: bool
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes import lock
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.convergence import Convergence, Layout
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.processes import ProcessError
from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import Wanted


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "fleet": {"type": "str", "required": True},
            "kind": {"type": "str", "choices": ["worker", "beat", "flower"], "default": "worker"},
            "manager": {"type": "str", "choices": ["systemd", "multi"], "required": True},
            "wrapped": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "nodes": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "fingerprint": {"type": "str", "required": True},
                    "nodename": {"type": "str", "default": ""},
                    "start_timeout": {"type": "int", "default": 60},
                    "stop_timeout": {"type": "int", "default": 600},
                    "argv": {"type": "list", "elements": "str", "default": []},
                    "env_files": {"type": "list", "elements": "path", "default": []},
                    "chdir": {"type": "path", "default": ""},
                    "listen": {"type": "str", "default": ""},
                },
            },
            "opt_dir": {"type": "path", "required": True},
            "etc_dir": {"type": "path", "required": True},
            "run_dir": {"type": "path", "required": True},
            "log_dir": {"type": "path", "required": True},
            "unit_dir": {"type": "path", "default": "/etc/systemd/system"},
            "python": {"type": "path"},
            "user": {"type": "str"},
            "group": {"type": "str"},
            "status_command": {"type": "list", "elements": "str"},
            "stop_timeout": {"type": "int", "default": 600},
            "leftovers": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    params = module.params
    wanted = [_wanted(node) for node in params["nodes"]] if params["state"] == "present" else []
    layout = Layout(**{name: params[name] for name in Layout.names()})
    convergence = Convergence(layout, wanted, absent=params["state"] == "absent")
    try:
        if module.check_mode:
            convergence.observe()
            result = convergence.result()
        else:
            with lock.held(layout.run_dir, f"celery_nodes, {layout.kind}", convergence.patience) as waited:
                convergence.observe()
                convergence.act()
                result = convergence.result()
            if waited:
                module.warn(waited)
    except (ProcessError, lock.LockedError, LookupError, ValueError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or 'a file'}: {error.strerror or error}. "
            f"The module works on {layout.run_dir} and {layout.etc_dir}; run it as their owner or as root."
        )
    for warning in convergence.outcome.warnings:
        module.warn(warning)
    if convergence.outcome.failures:
        module.fail_json(msg="\n\n".join(convergence.outcome.failures), **result)
    module.exit_json(**result)


def _wanted(node: dict[str, Any]) -> Wanted:
    return Wanted(
        name=node["name"],
        fingerprint=node["fingerprint"],
        nodename=node["nodename"],
        start_timeout=node["start_timeout"],
        stop_timeout=node["stop_timeout"],
        argv=tuple(node["argv"]),
        env_files=tuple(node["env_files"]),
        chdir=node["chdir"],
        listen=node["listen"],
    )


if __name__ == "__main__":
    main()
