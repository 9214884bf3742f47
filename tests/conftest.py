"""Plays of this checkout do once what Ansible does anew in every run, as those of Molecule do."""

from __future__ import annotations

import os

from tests.support.once import ONCE

os.environ.update(ONCE)
