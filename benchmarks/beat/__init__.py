"""What beat does when things fail, counted push by push; run it with ``python -m benchmarks.beat``."""
