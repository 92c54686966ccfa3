"""The exact CPU kernel of another version of assay against that of this one, one thread each.

    python benchmarks/versions.py ../before/.venv/bin/python [--target haswell=+avx2,+fma] [--rounds 5]

The argument is the interpreter of an environment with the other version.  Each round is a process of the one and a
process of the other, which take the least of three calls a row, in seconds of the calling thread.  A target is what the
kernels of both are compiled to, a processor and all its features by the compiler's names; without one it is the
processor at hand.  Code for another processor runs here as it does here: what the table says is whether what changed
serves the code of every target.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

#: (batch, heads, queries and keys, dim)
_SIZES = ((1, 8, 2048, 64), *((1, 2, 2048, d) for d in (4, 16, 32, 64, 128)), (1, 8, 64, 64), (1, 1, 3, 8))
_CALLS = 3
_SET_HERE = ("PYTHONPATH", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
_SMALL, _MANY = 64, 200  # of calls with at most so many keys, the time of one among many


def measured() -> dict[str, object]:
    """Seconds of every row in this process by the version that is installed here, where it lies, and its vectors."""
    import numpy as np

    from assay.impl import cpu
    from assay.impl.cpu import processor

    rng = np.random.default_rng(0)
    found: dict[str, float] = {}
    for dtype in ("float32", "float64"):
        for b, h, n, d in _SIZES:
            q, k, v = (rng.standard_normal((b, h, n, d)).astype(dtype) for _ in range(3))
            for causal in (False, True):
                many = _MANY if n <= _SMALL else 1
                times = []
                for _ in range(_CALLS + 1):  # the first one compiles
                    begun = time.thread_time()
                    for _ in range(many):
                        cpu.attention.exact(q, k, v, d**-0.5, is_causal=causal, threads=1)
                    times.append((time.thread_time() - begun) / many)
                found[f"{b}×{h}: {n}×{n}: {d} {dtype}{' causal' if causal else ''}"] = min(times[1:])
    return {"seconds": found, "from": str(cpu.__file__), **processor.described()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", nargs="?", help="the interpreter of the other version")
    parser.add_argument("--target", action="append", help="a processor, or one with features after =")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(measured()))
        return
    if chosen.other is None:
        parser.error("expected the interpreter of the other version")
    from rich.progress import track
    from timing import publish

    rows: dict[str, dict[str, object]] = {}
    about: dict[str, object] = {"rounds": chosen.rounds}  # and the bits of the vectors of both sides
    for target in chosen.target or ("",):
        name, has_features, features = target.partition("=")
        if target and not has_features:
            parser.error(f"--target {target}: expected all its features after =")
        # without features of its own a target would get those of this processor
        environment = {each: value for each, value in os.environ.items() if each not in _SET_HERE}
        environment |= {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features} if target else {}
        seconds: dict[str, dict[str, list[float]]] = {}
        for _ in track(range(chosen.rounds), target or "this processor"):
            found = {
                side: json.loads(
                    subprocess.run(
                        [python, __file__, "--measure"], env=environment, check=True, stdout=subprocess.PIPE, text=True
                    ).stdout
                )
                for side, python in (("other", chosen.other), ("this", sys.executable))
            }
            if found["other"]["from"] == found["this"]["from"]:
                parser.error(f"{chosen.other}: it imports this version, expected another one")
            for side, of in found.items():
                for row, taken in of.pop("seconds").items():
                    seconds.setdefault(row, {"other": [], "this": []})[side].append(taken)
            about[target or "this processor"] = {side: of["vector_bits"] for side, of in found.items()}
        for row, times in seconds.items():
            shown = rows.setdefault(row, {"row": row})
            for statistic, take in (("min", min), ("median", statistics.median)):
                shown[f"{target.partition('=')[0]} {statistic}".strip()] = take(times["other"]) / take(times["this"])
    note = "ratios of the other version's time to this one's: above 1 this is faster"
    publish("versions", list(rows.values()), note, about=about)


if __name__ == "__main__":
    main()
