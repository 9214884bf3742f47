# Copyright (c) the celeryops.fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files which a node has on its host beside its process."""

from __future__ import annotations

import glob
import os
import shutil
from typing import Sequence

from ansible_collections.celeryops.fleet.plugins.module_utils.nodes.reconcile import Step


def unit_name(fleet: str, kind: str, node: str) -> str:
    if kind == "worker":
        return f"celery-{fleet}-worker@{node}.service"
    return f"celery-{fleet}-{kind}.service"


def env_file_names(etc_dir: str) -> list[str]:
    """Nodes of which an environment file exists, whether or not anything runs."""
    found = glob.glob(os.path.join(etc_dir, "nodes", "*.env"))
    return sorted(os.path.basename(path)[: -len(".env")] for path in found)


def node_files(etc_dir: str, kind: str, node: str, leftovers: Sequence[str] = ()) -> list[str]:
    """A node's environment file, and what the leftovers' patterns (%n is the node) find of it."""
    name = os.path.join("nodes", f"{node}.env") if kind == "worker" else f"{kind}.env"
    found = [os.path.join(etc_dir, name)]
    for pattern in leftovers:
        found += glob.glob(pattern.replace("%n", glob.escape(node)))
    return found


def remove_files(step: Step) -> None:
    for one in step.observed:
        for path in one.traces:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
                continue
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
