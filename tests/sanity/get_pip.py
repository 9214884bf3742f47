"""Does what get-pip.py does for ansible-test, with the pip that comes with Python instead of a download."""

from __future__ import annotations

import subprocess
import sys

_NOT_FOR_PIP = {"--no-setuptools", "--no-wheel"}

subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"])
subprocess.check_call(
    [sys.executable, "-m", "pip", "install", *(word for word in sys.argv[1:] if word not in _NOT_FOR_PIP)]
)
