"""What root may not see of a process, its owner sees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils import owners

NOBODY = (65534, 65534)

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user"),
]


def fruit_of(pid: int) -> dict[int, bool]:
    try:
        return {pid: b"FRUIT=plum" in Path(f"/proc/{pid}/environ").read_bytes()}
    except OSError:
        return {}


def test_the_owner_sees_its_own_and_not_root_s() -> None:
    environment = {"FRUIT": "plum", "PATH": os.environ["PATH"]}
    user, group = NOBODY
    one = subprocess.Popen(["sleep", "60"], user=user, group=group, extra_groups=[], env=environment)
    try:
        assert owners.owner_of(one.pid) == NOBODY
        assert owners.look_as(NOBODY, lambda: fruit_of(one.pid)) == {str(one.pid): True}
        assert owners.look_as(NOBODY, lambda: fruit_of(os.getpid())) == {}
        assert owners.look_as((0, 0), lambda: fruit_of(one.pid)) == {}
    finally:
        one.kill()
        one.wait()


def test_a_process_that_is_gone_is_root_s() -> None:
    assert owners.owner_of(2**22 + 1) == (0, 0)
