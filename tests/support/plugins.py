"""Commands that other packages of this virtualenv add to Celery's."""

from __future__ import annotations

from pathlib import Path


def hide_flower(folder: Path) -> None:
    """Processes with this folder on PYTHONPATH do not know that Flower is installed.

    On a host it has a virtualenv of its own. Here it has not, and every command of Celery would import it.
    """
    info = folder / "flower-0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flower\nVersion: 0\n")
