"""How long a judgement takes: every level for CPU kernels, and what `import assay` costs.

    python benchmarks/levels.py

Targets: smoke ≤ 10 s, standard ≤ 60 s, import ≤ 0.5 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from timing import publish

_CHECK = (
    "import assay; r = assay.check({target!r}, precision={precision!r}, level={level!r}); assert r.passed; print(r.ran)"
)


def seconds(code: str) -> tuple[float, str]:
    """A fresh process, as a user would start it."""
    begun = time.perf_counter()
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return time.perf_counter() - begun, printed.strip()


def main() -> None:
    rows = []
    for name, code in {
        "import assay": "import assay",
        **{
            f"{target} {precision} {level}": _CHECK.format(target=target, precision=precision, level=level)
            for level in ("smoke", "standard", "thorough")
            for target, precision in (
                ("numpy:attention", "float32"),
                ("assay:cpu", "float32"),
                ("assay:cpu", "float64"),
            )
        },
    }.items():
        times, judged = [], ""
        for _ in range(5):
            took, judged = seconds(code)
            times.append(took)
        rows.append({"what": name, "judged": judged, "min s": min(times), "median s": statistics.median(times)})
    bare = [seconds("pass")[0] for _ in range(5)]
    publish("levels", rows, f"whole processes, compilation included; a bare interpreter takes {min(bare):.2f} s")


if __name__ == "__main__":
    main()
