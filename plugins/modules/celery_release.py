#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: celery_release
short_description: Build a release of a Celery application aside, and activate it in one step
version_added: "0.1.0"
author:
  - The celeryops.fleet maintainers (@celeryops)
description:
  - Builds an application with all it requires into a folder of its own, O(opt_dir)C(/releases/VERSION).
  - Nothing that runs is touched until the application imports and its one-time steps are done; then the link
    C(current) is switched in one step.
  - A release that is there already is not built again. What an interrupted run left is built anew.
  - A release whose Python was taken away or replaced, as by an upgrade of the system, is built again beside
    the old one, as C(VERSION-2). Its one-time steps do not run again.
  - The fleet's runtime, which comes in beside the application by C(PYTHONPATH), is put into
    O(opt_dir)C(/runtime/HASH).
  - Folders and wheels of the controller are sent only to hosts that lack their version.
options:
  opt_dir:
    description: Folder of the fleet's releases, such as C(/opt/celery/shop).
    type: path
    required: true
  state:
    description:
      - Each state includes the one before it, of V(built), V(prepared) and V(active).
      - V(built) means the release and the runtime stand there and the application imports.
      - V(prepared) means its one-time steps have run, too.
      - V(active) means C(current) points at it, and old releases are gone.
      - V(found) reads which release is active, changes nothing, and fails when none is.
      - V(absent) removes O(version), or all releases and runtimes when none is named.
    type: str
    choices: [built, prepared, active, found, absent]
    default: active
  source:
    description: Where the application comes from. Needed unless O(state=found) or O(state=absent).
    type: dict
    suboptions:
      type:
        description:
          - V(path) is a folder of the controller, V(git) a repository that the host can read.
          - V(package) is what pip installs, V(existing) a prefix of the host, left untouched.
        type: str
        choices: [path, git, package, existing]
        required: true
      path:
        description:
          - The folder. What git ignores, version control, bytecode and virtualenvs stay behind.
          - For V(package) a folder of files that the package runs in, such as its configuration and plug-ins.
        type: str
      exclude:
        description: More to leave out of the folder, in the patterns of a .gitignore or as absolute paths.
        type: list
        elements: str
      repo:
        description: URL of the repository. Credentials in it do not reach a command line.
        type: str
      version:
        description: Branch, tag or commit; V(HEAD) by default.
        type: str
      subfolder:
        description: Folder inside the source that the application is imported from.
        type: str
      requirements:
        description:
          - Files inside the source to install from, or folders that are projects themselves.
          - By default C(requirements.txt), else the project (C(pyproject.toml)), of subfolder or top.
          - When a file carries hashes, all that is installed from files must.
        type: list
        elements: str
      requirement:
        description: What to install, as in a requirements file, such as V(shop[worker]==1.4).
        type: list
        elements: str
      wheel:
        description: A wheel of the controller to install.
        type: str
      requirements_file:
        description: A requirements file of the controller. Files that it includes are sent with it.
        type: str
      prefix:
        description: The existing prefix, the folder above C(bin/celery).
        type: path
      chdir:
        description: Folder of the host to run in, where the code is not part of the release.
        type: path
  version:
    description:
      - Name of the release. By default it is made of the source - a digest of the contents, or the commit.
      - A name once built stands for its contents, so other contents under the same name are refused.
    type: str
    default: ""
  app:
    description: Import path of the application, such as V(shop.celery:app). Without one nothing is imported.
    type: str
    default: ""
  fleet:
    description: Name of the fleet, for the record of the release.
    type: str
    default: ""
  user:
    description: User that imports the application and runs its steps.
    type: str
    default: ""
  group:
    description: Group that may read the release; nobody but root may write to it.
    type: str
    default: ""
  python:
    description: Interpreter to build with. By default the first C(python3) that is new enough.
    type: str
    default: ""
  installer:
    description: V(auto) takes uv where the host has it.
    type: str
    choices: [auto, uv, pip]
    default: auto
  packages:
    description: Further packages to install into the release, as in a requirements file.
    type: list
    elements: str
    default: []
  index_url:
    description: Package index in place of the host's own. May carry credentials.
    type: str
  cache_dir:
    description: Folder for the installer's cache, in place of the user's own.
    type: path
  prerequisites:
    description: Install what a build lacks (git, Python's venv) with apt, as root.
    type: bool
    default: false
  build_timeout:
    description: How long a single command of a build may take.
    type: str
    default: 30m
  environment:
    description: Environment of the application, for its import and its steps.
    type: dict
    default: {}
  secrets:
    description: The same, for values that must not be shown.
    type: dict
    default: {}
  settings:
    description: Content of the fleet's settings file, for the import of the application and its steps.
    type: dict
    default: {}
  steps:
    description: Commands to run once per release for the whole fleet, in their order.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the step. A step has run when this name is on record for the release.
        type: str
        required: true
      argv:
        description: The command. A first word that ends in C(.py) is run by the release's Python.
        type: list
        elements: str
        required: true
      timeout:
        description: How long it may take.
        type: str
        default: 1h
  keep:
    description: How many releases stay, the active one included.
    type: int
    default: 3
  keep_runtime:
    description:
      - Keep the runtime that the release was built with, instead of the one that the collection brings.
      - For what uses little of it, so that a new runtime restarts it only together with a new release.
    type: bool
    default: false
  environment_file:
    description: Environment file of the fleet; the runtime that it names is kept.
    type: path
  shipment:
    description: What the controller adds to the request. Filled in by the action, not by a playbook.
    type: str
attributes:
  check_mode:
    description: Says what would be built, run, activated and removed, and under which version.
    support: full
  diff_mode:
    description: Shows the active version, the runtime and the releases before and after.
    support: full
  idempotent:
    description: A release that is there is neither built nor activated again.
    support: full
"""

EXAMPLES = r"""
- name: Build the release of a folder aside
  celeryops.fleet.celery_release:
    opt_dir: /opt/celery/shop
    state: built
    source: {type: path, path: "{{ playbook_dir }}/shop"}
    app: shop.celery:app
    user: celery
    group: celery

- name: Activate a tag of a repository after its migrations
  celeryops.fleet.celery_release:
    opt_dir: /opt/celery/shop
    source: {type: git, repo: "https://git.example.com/shop.git", version: v1.4}
    app: shop.celery:app
    steps:
      - {name: migrate, argv: [manage.py, migrate, --noinput]}
"""

RETURN = r"""
version:
  description: Version of the release.
  returned: always
  type: str
  sample: 3f1c9a7be204
path:
  description: Folder of the release.
  returned: always
  type: str
  sample: /opt/celery/shop/releases/3f1c9a7be204
bin_dir:
  description: Folder with C(celery) and C(python) of the release.
  returned: always
  type: str
programs_dir:
  description: Folder with the programs that the release's packages brought along.
  returned: always
  type: str
python:
  description: The release's Python.
  returned: always
  type: str
chdir:
  description: Folder to run in.
  returned: always
  type: str
celery_version:
  description: Version of Celery in the release; empty as long as it is not built.
  returned: always
  type: str
python_version:
  description: Version of the release's Python; empty as long as it is not built.
  returned: always
  type: str
runtime_path:
  description: Folder of the fleet's runtime, for C(PYTHONPATH).
  returned: always
  type: str
runtime_hash:
  description: Digest of the runtime.
  returned: always
  type: str
current:
  description: The version that was active before this run; empty when none was.
  returned: always
  type: str
built:
  description: Whether the release was built, or would be in check mode.
  returned: always
  type: bool
activated:
  description: Whether the release was activated, or would be in check mode.
  returned: always
  type: bool
steps_run:
  description: Steps that were run or found done by another host, or would be in check mode.
  returned: always
  type: list
  elements: str
steps_output:
  description: The end of what each step wrote.
  returned: when steps were run
  type: dict
pruned:
  description: Releases that were removed, or would be in check mode.
  returned: always
  type: list
  elements: str
pending:
  description: What still stands between the host and O(state=active), such as V(step migrate).
  returned: always
  type: list
  elements: str
log:
  description: Log of the build.
  returned: always
  type: str
check:
  description: What the application said of itself when it was imported.
  returned: when it was imported in this run
  type: dict
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.fleet.plugins.module_utils import room
from ansible_collections.celeryops.fleet.plugins.module_utils.files import FilesError
from ansible_collections.celeryops.fleet.plugins.module_utils.release.active import found
from ansible_collections.celeryops.fleet.plugins.module_utils.release.archive import ArchiveError
from ansible_collections.celeryops.fleet.plugins.module_utils.release.deployment import deploy
from ansible_collections.celeryops.fleet.plugins.module_utils.release.removal import remove
from ansible_collections.celeryops.fleet.plugins.module_utils.release.rules import ReleaseError


def argument_spec() -> dict[str, t.Any]:
    source = {
        "type": {"type": "str", "choices": ["path", "git", "package", "existing"], "required": True},
        "prefix": {"type": "path"},
        "chdir": {"type": "path"},
    }
    for name in ("path", "repo", "version", "subfolder", "wheel", "requirements_file"):
        source[name] = {"type": "str"}
    for name in ("exclude", "requirements", "requirement"):
        source[name] = {"type": "list", "elements": "str"}
    return {
        "opt_dir": {"type": "path", "required": True},
        "state": {
            "type": "str",
            "choices": ["built", "prepared", "active", "found", "absent"],
            "default": "active",
        },
        "source": {"type": "dict", "options": source},
        "version": {"type": "str", "default": ""},
        "app": {"type": "str", "default": ""},
        "fleet": {"type": "str", "default": ""},
        "user": {"type": "str", "default": ""},
        "group": {"type": "str", "default": ""},
        "python": {"type": "str", "default": ""},
        "installer": {"type": "str", "choices": ["auto", "uv", "pip"], "default": "auto"},
        "packages": {"type": "list", "elements": "str", "default": []},
        "index_url": {"type": "str", "no_log": True},
        "cache_dir": {"type": "path"},
        "prerequisites": {"type": "bool", "default": False},
        "build_timeout": {"type": "str", "default": "30m"},
        "environment": {"type": "dict", "default": {}},
        # The action moves them into the shipment; as a parameter each value would mask every equal word.
        "secrets": {"type": "dict", "default": {}, "no_log": False},
        "settings": {"type": "dict", "default": {}},
        "steps": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "argv": {"type": "list", "elements": "str", "required": True},
                "timeout": {"type": "str", "default": "1h"},
            },
        },
        "keep": {"type": "int", "default": 3},
        "keep_runtime": {"type": "bool", "default": False},
        "environment_file": {"type": "path"},
        "shipment": {"type": "str", "no_log": True},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_if=[("state", state, ["source"]) for state in ("built", "prepared", "active")],
    )
    try:
        if module.params["state"] == "absent":
            result = remove(module.params, module.check_mode)
        elif module.params["state"] == "found":
            result = found(module.params)
        else:
            result = deploy(module.params, module.check_mode, module.warn)
    except (ReleaseError, ArchiveError, FilesError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        folder = module.params["opt_dir"]
        remedy = room.shortage(error, [folder]) or f"check the owner of {folder}"
        module.fail_json(
            msg=f"{error.filename or folder}: {error.strerror} (as user id {os.geteuid()}). {remedy}"
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
