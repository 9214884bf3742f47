# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the modules that look at a running fleet have in common."""

    DOCUMENTATION = r"""
options:
  opt_dir:
    description:
      - The fleet's program folder, for example V(/opt/celery/shop).
      - C(bin/celery) in it is the wrapper which runs the application's C(celery) with its environment.
    type: path
    required: true
  status_command:
    description:
      - The command which prints the fleet's records as JSON, as a list of arguments.
      - By default C(python -m celeryops status --json), which does not import the application, with O(python)
        where that is given, else with the active release's by C(bin/run) in O(opt_dir).
    type: list
    elements: str
  python:
    description:
      - The release's Python interpreter, for example V(/opt/celery/shop/releases/1.2.0/venv/bin/python).
      - It needs O(etc_dir), whose C(environment) file tells it where the runtime and the broker are.
    type: path
  user:
    description: The user as which the fleet's commands are run when the module runs as root.
    type: str
requirements:
  - Linux with C(/proc)
  - Python 3.8 or newer on the managed host
author:
  - The celeryops.fleet maintainers (@celeryops)
"""
