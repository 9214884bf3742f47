"""``python -m celeryops``."""

from __future__ import annotations

from celeryops.cli import main

main(prog_name="python -m celeryops")
