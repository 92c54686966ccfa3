"""How far the angles of every built-in rotary kernel are off, at positions from 2^11 to 2^24.

Every pair is (1, 0), so that it comes out as cosine and sine.  The largest error of 32 angles at 64 positions in a row
is told in radians, against the certified angle, less what rounding of the output explains.  A kernel that counts from 0
gets a text of that many tokens.

    python benchmarks/rope_angles.py [--json FILE] [TARGET ...]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

from assay.conformance.frameworks import framework
from assay.conformance.interface.suite import suite
from assay.conformance.interface.targets import kernel_of, missing
from assay.conformance.rope.stages import phase_errors, unit_pairs
from assay.impl.cpu.processor import here
from assay.spec.floats import dtype_named
from assay.spec.precision import precision
from assay.spec.rope import Instance

POWERS = range(11, 25)
SHOWN = (11, 13, 15, 17, 20, 22, 24)
TYPES = ("float32", "bfloat16", "float16")
DIM, TOKENS, BASE = 64, 64, 10000.0
LONGEST = 1 << 17  # of a text for a kernel that counts from 0


def error(kernel: Any, storage: str, power: int) -> float | str:
    """The largest error at 2^power … 2^power + 63, or why there is none."""
    arrays = framework(kernel.framework)
    layout = "pairs" if "halves" in kernel.lacks else "halves"
    first = 0 if "offset_positions" in kernel.lacks else 1 << power
    last = (1 << power) + TOKENS
    if last - first > LONGEST:
        return "too long a text"
    if last > float(kernel.conventions.get("table", np.inf)):
        return "no table"
    x = unit_pairs(last - first, DIM, storage, layout)
    positions = np.arange(first, last)
    options = {"layout": layout} if "layout" in kernel.keywords else {}
    try:
        query, _ = kernel.function(
            *(arrays.to_native(array) for array in (x, x.copy(), positions)), base=BASE, **options
        )
    except Exception as failure:
        return type(failure).__name__
    output = arrays.to_numpy(query)[:, :, -TOKENS:]
    if output.dtype != dtype_named(storage):
        return f"returns {output.dtype.name}"
    tail = Instance(x[:, :, -TOKENS:], positions=positions[-TOKENS:], base=BASE, layout=layout)
    off = float(phase_errors(tail, output.astype(np.float64)).max())
    return max(off - 2 * max(precision(storage).output, 2.0**-24), 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    for name, target in suite("rope").targets.items():
        if missing(target) or (asked.targets and name not in asked.targets):
            continue
        for storage in TYPES:
            kernel = kernel_of(name, "rope")
            errors = {power: error(kernel, storage, power) for power in POWERS}
            version = kernel.version or importlib.metadata.version("assay")
            rows.append({"kernel": name, "version": version, "type": storage, "errors": errors})
    print(f"{here().model}, Python {platform.python_version()}, NumPy {np.__version__}\n")
    print("| kernel | version | type | " + " | ".join(f"2^{power}" for power in SHOWN) + " |")
    print("|---" * (3 + len(SHOWN)) + "|")
    for row in rows:
        shown = [row["errors"][power] for power in SHOWN]
        cells = [one if isinstance(one, str) else f"{one:.1e}" if one else "0" for one in shown]
        print(f"| {row['kernel']} | {row['version']} | {row['type']} | " + " | ".join(cells) + " |")
    if asked.json:
        about = {"processor": here().model, "python": platform.python_version(), "numpy": np.__version__}
        asked.json.write_text(json.dumps({**about, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
