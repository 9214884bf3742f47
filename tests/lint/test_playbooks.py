"""ansible-lint finds some playbooks only as what others import."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

_IMPORT = re.compile(r"^ *ansible\.builtin\.import_playbook: (\S+)$", re.MULTILINE)


def test_every_playbook_that_is_not_looked_for_is_imported(root: Path, tracked: list[Path]) -> None:
    excluded = yaml.safe_load((root / ".ansible-lint").read_text())["exclude_paths"]
    patterns = [path.lstrip("/") for path in excluded if path.startswith("/") and path.endswith(".yml")]
    imported = {
        (root / name.parent / target).resolve()
        for name in tracked
        if name.suffix == ".yml"
        for target in _IMPORT.findall((root / name).read_text())
    }
    unseen = {pattern: set(root.glob(pattern)) - imported for pattern in patterns}
    assert unseen == {pattern: set() for pattern in patterns}
    assert patterns
