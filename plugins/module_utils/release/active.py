# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The release that is active on a host, for runs that build none."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.celeryops.fleet.plugins.module_utils.release import build as release_build
from ansible_collections.celeryops.fleet.plugins.module_utils.release import rules as release
from ansible_collections.celeryops.fleet.plugins.module_utils.release import store as release_store
from ansible_collections.celeryops.fleet.plugins.module_utils.release.rules import ReleaseError


def found(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The release that is active, as the run that activated it described it. Writes nothing."""
    layout = release_store.Layout(params["opt_dir"])
    version = release_store.current_version(layout)
    path = layout.release(version)
    record = release_store.read_record(path) if version else {}
    if not record:
        raise ReleaseError(
            f"no release is active on this host ({layout.current}), and this run builds none: deploy without "
            "--tags first, or add the tag app"
        )
    if not release_build.is_healthy(path, record["python_version"]):
        raise ReleaseError(
            f"the active release {version} no longer runs on this host: its Python "
            f"{record['python_version']} ({record['python']}) is gone or another, and this run builds none: "
            "deploy without --tags, or add the tag app"
        )
    runtime_hash = record["runtime_hash"]
    if not os.path.isdir(layout.runtime(runtime_hash)):
        raise ReleaseError(
            f"the runtime of the active release is not there ({layout.runtime(runtime_hash)}), and this run "
            "installs none: deploy without --tags, or add the tag app"
        )
    bin_dir = os.path.join(path, "bin")
    return {
        "changed": False,
        "version": version,
        "path": path,
        "bin_dir": bin_dir,
        "python": os.path.join(bin_dir, "python"),
        "programs_dir": release_build.programs_dir(record["source"], path),
        "chdir": release.chdir(record["source"], path),
        "celery_version": record["celery_version"],
        "python_version": record["python_version"],
        "runtime_path": layout.runtime(runtime_hash),
        "runtime_hash": runtime_hash,
        "current": version,
        "built": False,
        "activated": False,
        "steps_run": [],
        "pruned": [],
        "pending": [],
        "log": layout.log(version),
    }
