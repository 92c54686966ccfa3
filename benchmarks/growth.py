"""Does a process grow with the number of checks that it makes?

    python benchmarks/growth.py [--checks 2000]

Right and wrong kernels are checked one after the other.  The exit status is 1 if memory, descriptors, threads or
objects of Python grow steadily (:func:`assay.conformance.call.isolation.leaks` says what that is of memory), or if
anything is left in the temporary folder, which is one of the process's own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hostile.growth import sizes

from assay.conformance.call.isolation import leaks

BLOCKS = 10


def main() -> int:
    """Print the size of the process after every tenth of the checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=2000)
    checks = parser.parse_args().checks // BLOCKS
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        for number, size in enumerate(sizes(checks, BLOCKS, Path(folder))):
            print(f"{number * checks:6} checks  " + "  ".join(f"{name} {count}" for name, count in size.items()))
            sys.stdout.flush()
            seen.append(size)
    grown = [name for name in ("descriptors", "threads", "objects") if name in seen[0]]
    grown = [name for name in grown if all(after[name] > before[name] for before, after in pairwise(seen[3:]))]
    if "memory" in seen[0] and leaks([size["memory"] for size in seen[3:]], checks, 0):
        grown.append("memory")
    if seen[-1]["temporary"]:
        grown.append("temporary")
    print(f"grows: {', '.join(grown) or 'nothing'}")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
