# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's part of a release: digest a folder, and send it only to a host that lacks its version."""

from __future__ import annotations

import json
import os
import tempfile
import typing as t

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.celeryops.fleet.plugins.module_utils.files import pack
from ansible_collections.celeryops.fleet.plugins.module_utils.release import archive
from ansible_collections.celeryops.fleet.plugins.module_utils.release import rules as release
from ansible_collections.celeryops.fleet.plugins.module_utils.release.runtime import (
    runtime_files,
    runtime_hash,
)

_RUNTIME = os.path.join(os.path.dirname(os.path.realpath(__file__)), os.pardir, os.pardir, "runtime")

# What the role's users put into the environment must not be shown by a module's invocation.
_HIDDEN = ("environment", "secrets", "settings")


class ActionModule(ActionBase):
    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result = super().run(tmp, variables)
        arguments = dict(self._task.args)
        if arguments.get("state") in ("found", "absent"):
            result.update(self._module(arguments, variables))
            return result
        try:
            shipment, entries, runtime = self._shipment(arguments)
        except (release.ReleaseError, archive.ArchiveError) as error:
            raise AnsibleActionFail(str(error)) from error
        except OSError as error:
            raise AnsibleActionFail(f"{error.filename}: {error.strerror}") from error
        for name in _HIDDEN:
            arguments.pop(name, None)
        answer = self._send(arguments, shipment, variables)
        if answer.get("needs") or answer.get("needs_packages"):
            if answer["needs_packages"] and arguments.get("prerequisites"):
                installed = self._install(answer["needs_packages"], variables)
                if installed.get("failed"):
                    result.update(installed)
                    return result
            if "source" in answer["needs"]:
                shipment["archive"] = self._transfer(entries, shipment["digest"])
            if "runtime" in answer["needs"]:
                files = [archive.text_entry(name, content) for name, content in sorted(runtime.items())]
                shipment["runtime_archive"] = self._transfer(files, shipment["runtime_hash"])
            shipment["second"] = True
            answer = self._send(arguments, shipment, variables)
        result.update(answer)
        return result

    def _module(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        return t.cast(
            "dict[str, t.Any]",
            self._execute_module(
                module_name="celeryops.fleet.celery_release",
                module_args=dict(arguments),
                task_vars=variables,
            ),
        )

    def _send(
        self,
        arguments: dict[str, t.Any],
        shipment: dict[str, t.Any],
        variables: dict[str, t.Any],
    ) -> dict[str, t.Any]:
        return self._module(dict(arguments, shipment=pack([json.dumps(shipment)])), variables)

    def _shipment(
        self,
        arguments: dict[str, t.Any],
    ) -> tuple[dict[str, t.Any], list[archive.Entry], dict[str, bytes]]:
        source = release.check_source(arguments.get("source") or {})
        runtime = runtime_files(_RUNTIME)
        shipment: dict[str, t.Any] = {name: arguments.get(name) or {} for name in _HIDDEN}
        shipment["runtime_hash"] = runtime_hash(runtime)
        entries: list[archive.Entry] = []
        if source["type"] == "path":
            entries = archive.collect(self._local(source["path"]), source.get("exclude", ()))
            names = {entry.name for entry in entries}
            # What cannot be installed is better known before anything is sent.
            release.find_requirements(
                names.__contains__, source.get("requirements", ()), source.get("subfolder", "")
            )
        elif source["type"] == "package":
            entries = self._package_files(source)
        if entries:
            options = release.build_options(
                arguments.get("python") or "",
                release.as_list(arguments.get("packages")),
                source,
            )
            shipment.update(ships=True, digest=archive.digest(entries, source["type"], options))
        return shipment, entries, runtime

    def _package_files(self, source: dict[str, t.Any]) -> list[archive.Entry]:
        entries, lines = {}, list(source.get("requirement", ()))
        if "wheel" in source:
            wheel = self._local(source["wheel"])
            if not wheel.endswith(".whl") or not os.path.isfile(wheel):
                raise release.ReleaseError(
                    f"source.wheel {wheel} is no wheel file on the controller: correct it"
                )
            entries[os.path.basename(wheel)] = wheel
        if "requirements_file" in source:
            path = self._local(source["requirements_file"])
            entries.update(_requirement_files(path))
            lines.append(f"-r {os.path.basename(path)}")
        files = [archive.file_entry(name, path) for name, path in sorted(entries.items())]
        if lines:
            files.append(archive.text_entry(release.INSTALL_FILE, "\n".join([*lines, ""]).encode()))
        if "path" in source:
            files += [
                entry._replace(name=f"{release.PACKAGE_FOLDER}/{entry.name}")
                for entry in archive.collect(self._local(source["path"]), source.get("exclude", ()))
            ]
        return files

    def _local(self, path: str) -> str:
        return str(self._loader.path_dwim(os.path.expanduser(path)))

    def _transfer(self, entries: list[archive.Entry], name: str) -> str:
        """Pack once for all hosts of the play, and send."""
        packed = os.path.join(constants.DEFAULT_LOCAL_TMP, f"celery-release-{name}.tar.gz")
        if not os.path.exists(packed):
            with tempfile.NamedTemporaryFile(dir=constants.DEFAULT_LOCAL_TMP, delete=False) as stream:
                archive.write_tar(entries, t.cast(t.BinaryIO, stream))
            os.replace(stream.name, packed)
        shell = self._connection._shell
        if shell.tmpdir is None:
            self._make_tmp_path()
        remote = shell.join_path(shell.tmpdir, os.path.basename(packed))
        self._transfer_file(packed, remote)
        self._fixup_perms2((shell.tmpdir, remote))
        return str(remote)

    def _install(self, packages: list[str], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        return t.cast(
            "dict[str, t.Any]",
            self._execute_module(
                module_name="ansible.legacy.apt",
                task_vars=variables,
                # A fresh image has no package lists; a day-old list is good enough.
                module_args={
                    "name": packages,
                    "state": "present",
                    "update_cache": True,
                    "cache_valid_time": 86400,
                    "install_recommends": False,
                },
            ),
        )


def _requirement_files(path: str) -> dict[str, str]:
    """Return a requirements file and all that it includes, by their names seen from its folder."""
    if not os.path.isfile(path):
        raise release.ReleaseError(
            f"source.requirements_file {path} does not exist on the controller: correct it"
        )
    folder, files = os.path.dirname(path), {}
    waiting = [os.path.basename(path)]
    while waiting:
        name = waiting.pop()
        if name in files:
            continue
        files[name] = os.path.join(folder, name)
        with open(files[name], encoding="utf-8") as stream:
            included = release.included_files(stream.read())
        for other in included:
            inside = os.path.normpath(os.path.join(os.path.dirname(name), other))
            if inside.startswith("..") or os.path.isabs(inside):
                raise release.ReleaseError(
                    f"{files[name]} includes {other}, which lies outside of {folder}: move it there"
                )
            waiting.append(inside)
    return files
