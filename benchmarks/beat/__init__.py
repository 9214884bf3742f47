"""What beat does when things fail, counted push by push; run it with ``python -m benchmarks.beat``."""

import sys
from pathlib import Path

# What is measured is the checkout's runtime.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runtime"))
