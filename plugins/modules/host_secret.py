#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret that a host makes once and keeps."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_secret
short_description: Keep a secret that the host generates once
version_added: "0.1.0"
description:
  - Generates a random secret into a file unless the file holds one already, and returns it.
  - The secret consists of letters, digits, C(-) and C(_), so that it needs no quoting in a URL, a shell or an
    environment file. It starts with a letter or digit.
  - The file appears whole or not at all; of several runs at once, one generates and all return the same.
author:
  - The celeryops.fleet maintainers (@celeryops)
notes:
  - The secret is part of the result. Give the task C(no_log).
attributes:
  check_mode:
    description: Can run in check mode. As long as there is no secret, a placeholder is returned.
    support: full
  diff_mode:
    description: Shows that a file appears and which attributes change, never the secret.
    support: full
  idempotent:
    description: An existing secret is never replaced.
    support: full
options:
  path:
    description: File of the secret. A missing folder is made for the owner alone, those above it for all.
    type: path
    required: true
  length:
    description: Characters of a new secret. An existing one keeps its length.
    type: int
    default: 32
extends_documentation_fragment:
  - ansible.builtin.files
"""

EXAMPLES = r"""
- name: Keep a password for Redis
  celeryops.fleet.host_secret:
    path: /home/me/fleet/etc/redis/password
  register: redis_secret
  no_log: true
"""

RETURN = r"""
value:
  description: The secret; a placeholder in check mode when there is none yet.
  type: str
  returned: success
path:
  description: Where the secret stands.
  type: str
  returned: success
generated:
  description: Whether the secret was made by this run.
  type: bool
  returned: success
"""

import os
import secrets
import stat
import string
import tempfile

from ansible.module_utils.basic import AnsibleModule

_SHORTEST = 16  # characters; 95 bits
_FIRST = string.ascii_letters + string.digits
_REST = _FIRST + "-_"
PLACEHOLDER = "not-generated-yet"


def generate(length: int) -> str:
    """A secret that no URL, shell or environment file needs quoted and no program takes for an option."""
    return secrets.choice(_FIRST) + "".join(secrets.choice(_REST) for unused in range(length - 1))


def existing(path: str) -> str | None:
    """The secret in the file; None when there is none. Raises ValueError when something else is there."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(
            f"{path} is no plain file: a secret is not kept behind a link or in a folder. Move it away."
        )
    with open(path, encoding="utf-8") as stream:
        value = stream.read().strip()
    if not value:
        raise ValueError(f"{path} is empty: put the secret into it, or remove it to have one generated.")
    if len(value.splitlines()) != 1:
        raise ValueError(f"{path} holds several lines: a secret is one line.")
    return value


def create(path: str, value: str, mode: int) -> bool:
    """Put the secret there in one step and for good; False when somebody else was quicker."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        os.makedirs(os.path.dirname(folder), mode=0o755, exist_ok=True)
        os.mkdir(folder, 0o700)
    handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(value + "\n")
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)  # else a power cut could take the name away from the secret others already use
    finally:
        os.close(handle)
    return True


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "length": {"type": "int", "default": 32},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    path, length = module.params["path"], module.params["length"]
    if length < _SHORTEST:
        module.fail_json(msg="length is %d: a secret has at least %d characters." % (length, _SHORTEST))
    if module.params["mode"] is None:
        module.params["mode"] = "0600"
    result = {"changed": False, "path": path, "generated": False}
    try:
        value = existing(path)
        if value is None:
            result.update(changed=True, generated=True, value=PLACEHOLDER)
            if module._diff:
                result["diff"] = {
                    "before_header": path,
                    "after_header": path,
                    "before": "",
                    "after": "(a new secret)\n",
                }
            if module.check_mode:
                module.exit_json(**result)
            value = generate(length)
            if not create(path, value, 0o600):
                value = existing(path)
                result.update(generated=False)
    except (OSError, ValueError) as exc:
        module.fail_json(msg=str(exc))
    result["value"] = value
    attributes = module.load_file_common_arguments(module.params, path)
    result["changed"] = module.set_fs_attributes_if_different(attributes, result["changed"])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
