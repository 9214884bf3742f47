# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Render the templates of a host_files task on the controller and send all contents in one round trip."""

from __future__ import annotations

import json
import os
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.action import ActionBase
from ansible_collections.celeryops.fleet.plugins.module_utils.files import pack

try:  # ansible-core 2.19 renders only what is marked as trusted.
    from ansible.template import trust_as_template
except ImportError:
    trust_as_template = None

# The line a template may put at its top. Without a date or a path of the controller: it must not change.
_MANAGED = "Ansible managed: changes made here are overwritten"


class ActionModule(ActionBase):
    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(tmp, variables)
        arguments = dict(self._task.args)
        files: list[dict[str, t.Any]] = []
        contents: list[str] = []
        for entry in arguments.get("files") or []:
            entry = dict(entry)
            contents.append(self._content(entry, variables))
            files.append(
                {key: value for key, value in entry.items() if key not in ("template", "content", "vars")}
            )
        arguments.update(files=files, contents=pack(contents))
        result.update(
            self._execute_module(
                module_name="celeryops.fleet.host_files",
                module_args=arguments,
                task_vars=variables,
            )
        )
        return result

    def _content(self, entry: dict[str, t.Any], variables: dict[str, t.Any]) -> str:
        dest, template, content = entry.get("dest"), entry.get("template"), entry.get("content")
        if (template is None) == (content is None):
            found = "neither template nor content" if template is None else "both template and content"
            raise AnsibleActionFail(f"file {dest} has {found}: give exactly one of the two")
        if template is not None:
            return self._render(template, to_text(dest), entry.get("vars") or {}, variables)
        # Ansible turns text that looks like a list or dictionary into one.
        return (
            str(content) if isinstance(content, str) else json.dumps(content, sort_keys=True, indent=2) + "\n"
        )

    def _render(
        self,
        template: str,
        dest: str,
        extra: dict[str, t.Any],
        variables: dict[str, t.Any],
    ) -> str:
        try:
            source = self._find_needle("templates", template)
        except AnsibleError as error:
            raise AnsibleActionFail(
                f"template {template} of {dest} is not found: {to_text(error)}"
            ) from error
        folders = list(variables.get("ansible_search_path") or [])
        folders += [self._loader.get_basedir(), os.path.dirname(source)]
        searchpath = [path for folder in folders for path in (os.path.join(folder, "templates"), folder)]
        known = dict(variables)
        known.setdefault("ansible_managed", _MANAGED)
        known["template_path"] = source
        known.update(extra)
        with open(source, encoding="utf-8") as stream:
            text = stream.read()
        options: dict[str, t.Any] = {
            "escape_backslashes": False,
            "overrides": {"trim_blocks": True, "lstrip_blocks": False},
        }
        try:
            if trust_as_template:
                templar = self._templar.copy_with_new_env(searchpath=searchpath, available_variables=known)
                rendered = templar.template(trust_as_template(text), **options)
            else:
                rendered = self._render_before_2_19(text, searchpath, known, options)
        except AnsibleError as error:
            raise AnsibleActionFail(f"template {template} of {dest}: {to_text(error)}") from error
        return "" if rendered is None else str(to_text(rendered, nonstring="simplerepr"))

    def _render_before_2_19(
        self,
        text: str,
        searchpath: list[str],
        known: dict[str, t.Any],
        options: dict[str, t.Any],
    ) -> t.Any:
        """There only do_template, in an environment of text, leaves what looks like Python data as text."""
        from ansible.template import AnsibleEnvironment

        templar = self._templar.copy_with_new_env(
            environment_class=AnsibleEnvironment,
            searchpath=searchpath,
            available_variables=known,
        )
        return templar.do_template(text, preserve_trailing_newlines=True, **options)
