"""Does for ansible-test what get-pip.py does, with the pip that comes with this Python instead of a download."""

from __future__ import annotations

import subprocess
import sys

_NOT_FOR_PIP = {"--no-setuptools", "--no-wheel"}

subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"])
subprocess.check_call(
    [sys.executable, "-m", "pip", "install", *(word for word in sys.argv[1:] if word not in _NOT_FOR_PIP)]
)
