"""How the exact route's time grows on hard instances: n doubles, d = 4·log₂ n; the exponent between neighbours.

python benchmarks/hardness.py

The kernels are exact ones: the CPU kernel, and bit-packed brute force on the vectors themselves.  All are quadratic up
to the factor d.  Approximate routes join the table as further entries of :func:`contenders`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from timing import interleaved, publish

from assay.impl import cpu
from assay.spec.instances.hard import HardProblem, hard
from assay.spec.instances.truth import orthogonal_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZES = (512, 1024, 2048, 4096, 8192)


def contenders(problem: HardProblem) -> dict[str, Callable[[], Any]]:
    """What is timed on an instance."""
    instance, source = problem.instance, problem.source
    return {
        "assay:cpu": lambda: cpu.attention.exact(instance.query, instance.key, instance.value, scale=instance.scale),
        "brute force": lambda: orthogonal_pairs(source),
    }


def main() -> None:
    rows: list[dict[str, Any]] = []
    before: dict[str, float] = {}
    for n in _SIZES:
        d = 4 * n.bit_length() - 4
        problem = hard("attention", "planted-ov", 1, n=n, d=d)
        run = contenders(problem)
        answer = problem.decode(run["assay:cpu"]())
        assert problem.right(answer)
        least = {name: times["min"] for name, times in interleaved(run, 5).items()}
        rows.append(
            {"n": n, "d": d, "B": problem.entry_bound, "B/√ln n": problem.entry_bound_over_root_log}
            | {f"{name} s": seconds for name, seconds in least.items()}
            | {
                f"{name} exponent": math.log2(seconds / before[name]) if name in before else "-"
                for name, seconds in least.items()
            }
        )
        before = least
    publish("hardness", rows, "exponent: log2 of the ratio of times when n doubles; every output decoded to the truth")


if __name__ == "__main__":
    main()
