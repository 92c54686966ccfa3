"""Power: which buggy kernels of the bank each level rejects, beside the tests that people use instead.

    python benchmarks/power.py

The rivals see normal random inputs of usual shapes, with and without a causal mask: ``allclose`` with the tolerances of
``torch.testing.assert_close`` for the dtype, and "at most twice the error of a naive kernel of the same type" (as in
FlashAttention's tests).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from banked import BUGGY
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.conformance.attention.target_numpy import formula
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import Run
from assay.conformance.judge.references import References
from assay.spec.attention import Instance, define
from assay.spec.floats import dtype_named
from assay.spec.precision import precision

_CLOSE = {"float64": (1e-7, 1e-7), "float32": (1.3e-6, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float16": (1e-3, 1e-5)}
_SHAPES = ((2, 4, 64, 32), (1, 2, 128, 64))


def usual(entry: Any) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]] | None:
    """(output, exact, naive output in the same type) on the inputs of the usual test; None where the kernel fails."""
    seen = []
    judge = Judge(kernel_of(entry.function, "attention", options=dict(entry.options)), precision(entry.precision))
    for shape in _SHAPES:
        for causal in (False, True):
            rng = np.random.default_rng(0)
            q, k, v = (rng.standard_normal(shape).astype(dtype_named(judge.precision.storage)) for _ in range(3))
            instance = Instance(q, k, v, is_causal=causal)
            if judge.suite.interface.needs(instance) - {"causal_top_left"} or (
                causal and not {"is_causal", "causal"} & judge.kernel.keywords
            ):
                continue
            keywords = {"scale": instance.scale}
            if causal:
                keywords |= {"is_causal": True} if "is_causal" in judge.kernel.keywords else {"causal": "top-left"}
            try:
                with np.errstate(all="ignore"):
                    out = np.asarray(entry.function(q.copy(), k.copy(), v.copy(), **keywords)).astype(np.float64)
            except Exception:
                return None
            exact = define(instance, 1e-12).midpoint
            if out.shape != exact.shape:
                return None
            seen.append((out, exact, formula(q, k, v, scale=instance.scale, is_causal=causal).astype(np.float64)))
    return seen


def rivals(entry: Any) -> dict[str, bool]:
    seen = usual(entry)
    if seen is None:
        return {"allclose": True, "twice naive": True}
    relative, absolute = _CLOSE.get(entry.precision.removesuffix("-eager"), (1.3e-6, 1e-5))
    close = all(np.allclose(out, exact, relative, absolute) for out, exact, _ in seen)
    twice = all(np.abs(out - exact).max() <= 2 * np.abs(naive - exact).max() for out, exact, naive in seen)
    return {"allclose": not close, "twice naive": not twice}


def main() -> None:
    rows = []
    references = References()
    for entry in track(BUGGY, "buggy kernels", console=Console(stderr=True)):
        row: dict[str, Any] = {"kernel": entry.name, "class": entry.precision}
        for level in ("smoke", "standard"):
            try:
                judge = Judge(
                    kernel_of(entry.function, "attention", options=dict(entry.options)),
                    precision(entry.precision),
                    references=references,
                )
                with np.errstate(all="ignore"):
                    report = Run(judge, level, 0).report()
                row[level] = bool(report.failures)
            except UsageError:
                row[level] = True
        row["worst ratio"] = report.worst_ratio
        row |= rivals(entry)
        row["diagnosis"] = "; ".join(report.diagnosis)[:70]
        rows.append(row)
    publish(
        "power",
        rows,
        f"of {len(rows)} buggy kernels rejected: "
        + ", ".join(
            f"{name} {sum(row[name] for row in rows)}" for name in ("smoke", "standard", "allclose", "twice naive")
        ),
    )


if __name__ == "__main__":
    main()
