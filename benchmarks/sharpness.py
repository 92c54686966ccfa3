"""How sharp the tolerances are, beside the size of the values.

python benchmarks/sharpness.py
"""

from __future__ import annotations

import numpy as np
from timing import publish

from assay.spec.attention import Instance, tolerance
from assay.spec.floats import dtype_named
from assay.spec.precision import PRECISIONS


def main() -> None:
    rows = []
    for name, precision in PRECISIONS.items():
        row: dict[str, object] = {"class": name}
        for n in (64, 512):
            rng = np.random.default_rng(0)
            dtype = dtype_named(precision.storage)
            q, k, v = (rng.standard_normal((1, 1, n, 64)).astype(dtype) for _ in range(3))
            instance = Instance(q, k, v)
            bound = float(np.median(tolerance(instance, name)))
            row[f"tolerance / rms V, n = {n}"] = bound / float(np.sqrt(np.mean(v.astype(float) ** 2)))
        rows.append(row)
    publish(
        "sharpness",
        rows,
        "medians over the elements, normal inputs, dim 64",
    )


if __name__ == "__main__":
    main()
