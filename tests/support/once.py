"""What lets a play do once what Ansible does anew in every run."""

from __future__ import annotations

from pathlib import Path

ONCE = {
    "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parents[2] / "molecule/shared/callback"),
    "ANSIBLE_CALLBACKS_ENABLED": "once",
}
