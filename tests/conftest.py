"""Plays of this checkout do once what Ansible does anew in every run, as those of Molecule do."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["ANSIBLE_CALLBACK_PLUGINS"] = str(Path(__file__).parents[1] / "molecule/shared/callback")
os.environ["ANSIBLE_CALLBACKS_ENABLED"] = "once"
