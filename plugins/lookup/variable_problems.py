# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why variables of a host have no value, before the first task that needs one fails on it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: variable_problems
version_added: "0.2.0"
author:
  - The celeryops.fleet maintainers (@celeryops)
short_description: Say which variables have no value, and why
description:
  - Evaluates all variables of the host whose names begin with one of the terms. Returns a sentence for each
    reason why one cannot be evaluated, such as a secret that is not there or that cannot be decrypted.
  - Returns no value of any variable.
options:
  _terms:
    description: What the names begin with.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse variables without a value
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ query('celeryops.fleet.variable_problems', 'celery_', 'redis_') }}"
"""

RETURN = r"""
_raw:
  description: A sentence for each reason; empty when every variable has a value.
  type: list
  elements: str
"""

import re
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

_UNDEFINED = re.compile(r"'([A-Za-z_]\w*)' is undefined")


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **_options: Any) -> list[str]:
        found: dict[str, list[str]] = {}
        for name in sorted(variables or {}):
            if name.startswith(tuple(terms)):
                reason = self._reason((variables or {})[name])
                if reason:
                    found.setdefault(reason, []).append(name)
        return [f"{', '.join(names)}: {reason}" for reason, names in found.items()]

    def _reason(self, value: Any) -> str:
        try:
            # Some versions decrypt no earlier than a value is read.
            repr(self._templar.template(value))
        except AnsibleError as error:
            return explanation(str(error))
        return ""


def explanation(error: str) -> str:
    """What an error of evaluating a variable means, and what to do."""
    undefined = _UNDEFINED.search(error)
    if undefined:
        name = undefined.group(1)
        return (
            f"{name} is not defined, neither in the inventory nor on the command line. Define it; a secret "
            "belongs into the environment's group_vars/all/vault.yml, encrypted with ansible-vault."
        )
    if "vault" in error.lower() or "decrypt" in error.lower():
        return (
            "it is encrypted, and no given vault password decrypts it. Give the right one: "
            "--ask-vault-pass, --vault-password-file FILE or ANSIBLE_VAULT_PASSWORD_FILE."
        )
    return f"it cannot be evaluated: {' '.join(error.split())}"
