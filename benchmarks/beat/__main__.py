"""python -m benchmarks.beat"""
import sys
from pathlib import Path
from benchmarks.beat.scenarios import OURS, THEIRS, run
only = sys.argv[1]; n = int(sys.argv[2])
for s in OURS+THEIRS:
    if s.name == only:
        print(run(s, n, Path(sys.argv[3]) if len(sys.argv) > 3 else None))
