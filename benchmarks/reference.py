"""The certified reference against NumPy's float64 attention and against mpmath of the same accuracy.

    python benchmarks/reference.py

Targets at n = 512, d = 64: to relative radius 1e-12 within 15 × NumPy's time, to 1e-28 at least 100 × faster than
mpmath.
mpmath is timed on some rows and scaled up: all rows would take half an hour.
"""

from __future__ import annotations

import mpmath
import numpy as np
from timing import interleaved, publish

from assay.spec import attention


def numpy_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    score = q @ np.swapaxes(k, 2, 3) / np.sqrt(q.shape[3])
    weight = np.exp(score - score.max(axis=3, keepdims=True))
    return weight @ v / weight.sum(axis=3, keepdims=True)


def mpmath_attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, rows: int, digits: int = 32
) -> list[list[mpmath.mpf]]:
    """The first rows of one head."""
    with mpmath.workdps(digits):
        scale = mpmath.mpf(1.0 / np.sqrt(q.shape[3]))
        keys = [[mpmath.mpf(x) for x in row] for row in k[0, 0].tolist()]
        columns = [[mpmath.mpf(x) for x in column] for column in v[0, 0].T.tolist()]
        out = []
        for query in q[0, 0, :rows].tolist():
            exact = [mpmath.mpf(x) for x in query]
            score = [scale * mpmath.fdot(exact, key) for key in keys]
            top = max(score)
            weight = [mpmath.exp(s - top) for s in score]
            total = mpmath.fsum(weight)
            out.append([mpmath.fdot(weight, column) / total for column in columns])
        return out


def ratios(one: dict[str, float], other: dict[str, float]) -> str:
    return f"{one['min'] / other['min']:.1f} (min) and {one['median'] / other['median']:.1f} (median)"


def main() -> None:
    n, d, rows = 512, 64, 4
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 1, n, d)) for _ in range(3))
    instance = attention.Instance(q, k, v)
    times = interleaved(
        {
            "NumPy float64": lambda: numpy_attention(q, k, v),
            "assay 1e-12": lambda: attention.define(instance, 1e-12),
            "assay 1e-28": lambda: attention.define(instance, 1e-28),
            f"mpmath 32 digits, {rows} rows": lambda: mpmath_attention(q, k, v, rows),
        },
        rounds=5,
    )
    for statistic in times[f"mpmath 32 digits, {rows} rows"]:
        times[f"mpmath 32 digits, {rows} rows"][statistic] *= n / rows
    table = [
        {
            "who": name.replace(f", {rows} rows", f" ({rows} rows × {n // rows})"),
            "min s": t["min"],
            "median s": t["median"],
            "× NumPy (min)": t["min"] / times["NumPy float64"]["min"],
            "× NumPy (median)": t["median"] / times["NumPy float64"]["median"],
        }
        for name, t in times.items()
    ]
    slow, fast = times[f"mpmath 32 digits, {rows} rows"], times["assay 1e-28"]
    certified, plain = times["assay 1e-12"], times["NumPy float64"]
    publish(
        "reference",
        table,
        f"n = {n}, d = {d}: 1e-12 takes {ratios(certified, plain)} × NumPy's time, target ≤ 15; "
        f"1e-28 is {ratios(slow, fast)} × faster than mpmath, target ≥ 100",
    )


if __name__ == "__main__":
    main()
