# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take a release away from a host, or all that was ever put there."""

from __future__ import annotations

import os
import shutil
import typing as t

from ansible_collections.celeryops.fleet.plugins.module_utils.release import rules as release
from ansible_collections.celeryops.fleet.plugins.module_utils.release import store as release_store
from ansible_collections.celeryops.fleet.plugins.module_utils.release.rules import ReleaseError


def remove_release(layout: release_store.Layout, version: str) -> None:
    # Its mark goes first: what an interruption leaves is unfinished, and no run takes it for a release.
    path = layout.release(version)
    if os.path.exists(os.path.join(path, "release.json")):
        os.unlink(os.path.join(path, "release.json"))
    shutil.rmtree(path)
    if os.path.exists(layout.log(version)):
        os.unlink(layout.log(version))


def remove(params: t.Mapping[str, t.Any], check: bool) -> dict[str, t.Any]:
    """Take a release away, or all that this module ever put there."""
    layout, version = release_store.Layout(params["opt_dir"]), params["version"]
    if version:
        release.check_version(version)
        if version == release_store.current_version(layout):
            raise ReleaseError(f"release {version} is the active one: activate another before you remove it")
    doomed = [layout.release(version)] if version else [layout.releases, layout.runtimes, layout.logs]
    used = {
        path: pids
        for path, pids in release_store.users(layout).items()
        if any((path + "/").startswith(folder + "/") and os.path.isdir(path) for folder in doomed)
    }
    if used and not check:
        path, pids = min(used.items())
        raise ReleaseError(
            f"{path} is used by the running processes {', '.join(map(str, sorted(set(pids))))}: "
            "stop them first"
        )
    links = [] if version else [layout.current, os.path.join(layout.opt, ".release.lock")]
    found = [path for path in [*links, *doomed] if os.path.lexists(path)]
    if not check:
        for path in found:
            if path == layout.release(version) and version:
                remove_release(layout, version)
            elif path in links:
                os.unlink(path)
            else:
                shutil.rmtree(path)
    return {
        "changed": bool(found),
        "version": version,
        "pruned": [os.path.basename(path) for path in found],
        "diff": {"before": "".join(f"{path}\n" for path in found), "after": ""},
    }
