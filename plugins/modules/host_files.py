#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
short_description: Converge a set of directories, files and links of a host in one round trip
version_added: "0.1.0"
author:
  - The celeryops.fleet maintainers (@celeryops)
description:
  - Templates are found as M(ansible.builtin.template) finds them, rendered on the controller and sent.
  - Files are written beside their destination and renamed over it. A link that stands there is replaced.
  - Modes and owners are converged without ever following a link.
  - Missing parents are created with mode V(0755); parents that exist are never changed.
  - The order is directories, files, links, and then what must be absent.
options:
  directories:
    description: Directories that must exist, parents before what is in them.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path. A link to a directory counts as one and is left as it is.
        type: path
        required: true
      mode:
        description: Octal mode in quotes.
        type: raw
        default: "0755"
      owner:
        description: User name or number. Left as it is when neither this nor O(defaults) names one.
        type: str
      group:
        description: Group name or number. Left as it is when neither this nor O(defaults) names one.
        type: str
  files:
    description: Files that must exist with this content.
    type: list
    elements: dict
    default: []
    suboptions:
      dest:
        description: Absolute path.
        type: path
        required: true
      template:
        description: Template to render, as in O(ignore:src) of M(ansible.builtin.template).
        type: str
      content:
        description: The content itself, where there is no template. Anything but a string is written as JSON.
        type: raw
      vars:
        description: Variables for this template alone, over those of the play.
        type: dict
        default: {}
      mode:
        description: Octal mode in quotes; V(0644) by default, V(0600) for a secret file.
        type: raw
      owner:
        description: User name or number. Left as it is when neither this nor O(defaults) names one.
        type: str
      group:
        description: Group name or number. Left as it is when neither this nor O(defaults) names one.
        type: str
      secret:
        description: Keep the content out of diffs.
        type: bool
        default: false
  links:
    description: Symbolic links that must exist.
    type: list
    elements: dict
    default: []
    suboptions:
      dest:
        description: Absolute path of the link.
        type: path
        required: true
      target:
        description: What the link holds, word for word.
        type: str
        required: true
  absent:
    description: Absolute paths of files, links and directories that must not exist.
    type: list
    elements: path
    default: []
  defaults:
    description: Owner and group of every file and directory that names none.
    type: dict
    default: {}
    suboptions:
      owner:
        description: User name or number.
        type: str
      group:
        description: Group name or number.
        type: str
  contents:
    description: The rendered contents, packed. Filled in on the controller, not by a playbook.
    type: str
attributes:
  check_mode:
    description: Predicts what would change, without writing.
    support: full
  diff_mode:
    description: Shows attributes and contents of each path; the contents of secret files stay hidden.
    support: full
  idempotent:
    description: A second run with the same input changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Write the files of a service
  celeryops.fleet.host_files:
    defaults: {owner: root, group: celery}
    directories:
      - {path: /etc/celery/shop, mode: "0750"}
    files:
      - {dest: /etc/celery/shop/environment, template: environment.j2, mode: "0640", secret: true}
      - {dest: /etc/celery/shop/settings.json, content: '{"settings": {}}', mode: "0640"}
    absent:
      - /etc/celery/shop/nodes/ml-2.env
"""

RETURN = r"""
changed_paths:
  description: Paths that changed, or would change in check mode, in the order of work.
  returned: always
  type: list
  elements: str
  sample: [/etc/celery/shop/environment]
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.fleet.plugins.module_utils import room
from ansible_collections.celeryops.fleet.plugins.module_utils.files import (
    Converger,
    FilesError,
    parse_mode,
    unpack,
)


def _owner() -> dict[str, t.Any]:
    return {"owner": {"type": "str"}, "group": {"type": "str"}}


def argument_spec() -> dict[str, t.Any]:
    return {
        "directories": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": dict(
                _owner(),
                path={"type": "path", "required": True},
                mode={"type": "raw", "default": "0755"},
            ),
        },
        "files": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": dict(
                _owner(),
                dest={"type": "path", "required": True},
                template={"type": "str"},
                content={"type": "raw"},
                vars={"type": "dict", "default": {}},
                mode={"type": "raw"},
                secret={"type": "bool", "default": False, "no_log": False},
            ),
        },
        "links": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "dest": {"type": "path", "required": True},
                "target": {"type": "str", "required": True},
            },
        },
        "absent": {"type": "list", "elements": "path", "default": []},
        "defaults": {"type": "dict", "default": {}, "options": _owner()},
        "contents": {"type": "str", "no_log": True},
    }


def converge(params: dict[str, t.Any], work: Converger) -> None:
    """Carry out the whole request in its order."""
    defaults = params["defaults"]

    def ownership(entry: dict[str, t.Any]) -> dict[str, t.Any]:
        return {key: entry[key] or defaults.get(key) for key in ("owner", "group")}

    contents = unpack(params["contents"]) if params["contents"] else []
    if len(contents) != len(params["files"]):
        raise FilesError(
            f"the contents of {len(contents)} files came with the request, {len(params['files'])} are "
            "wanted: run this module through its action"
        )
    for entry in params["directories"]:
        work.directory(entry["path"], parse_mode(entry["mode"], entry["path"]), **ownership(entry))
    for entry, content in zip(params["files"], contents):
        mode = entry["mode"] or ("0600" if entry["secret"] else "0644")
        work.file(
            entry["dest"],
            content,
            parse_mode(mode, entry["dest"]),
            secret=entry["secret"],
            **ownership(entry),
        )
    for entry in params["links"]:
        work.link(entry["dest"], entry["target"])
    for path in params["absent"]:
        work.absent(path)


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    work = Converger(
        check=module.check_mode,
        label=(lambda path: module.set_default_selinux_context(path, False)),
    )
    try:
        converge(module.params, work)
    except FilesError as error:
        module.fail_json(msg=str(error), changed_paths=work.changed_paths)
    except OSError as error:
        path = error.filename or (work.changed_paths or ["a file"])[-1]
        remedy = room.shortage(error, [os.path.dirname(path)]) or "check the owner of that folder"
        module.fail_json(
            msg=f"{path}: {error.strerror} (as user id {os.geteuid()}). {remedy}",
            changed_paths=work.changed_paths,
        )
    result: dict[str, t.Any] = {"changed": bool(work.changed_paths), "changed_paths": work.changed_paths}
    if module._diff:
        result["diff"] = work.diffs
    module.exit_json(**result)


if __name__ == "__main__":
    main()
