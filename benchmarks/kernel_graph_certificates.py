"""Is a certificate of a multiply with a kernel graph ever below the true error?  Random and adversarial cases.

    python benchmarks/kernel_graph_certificates.py [--cases 10000] [--scheduler local] [--kept FILE [--minutes 8]]

Every case draws a function, points, vectors, options and a requested error, and compares |value − exact|, exact by the
balls of the specification, with the certificate.  With --kept the outcomes are kept in a file, and the next run goes on
where the last one stopped.  Exit status 1 if one certificate is too small.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any
from unittest.mock import patch

import numpy as np
from campaign import add_kept, add_scheduler, certified
from timing import publish

from assay.impl.cpu import kernel_graph
from assay.impl.cpu.kernel_graph import choice
from assay.spec.approximation import Infeasible
from assay.spec.kernel_graph import Instance, define

FUNCTIONS = (
    ("gaussian", None), ("gaussian", None), ("gaussian", None), ("laplacian", None), ("rational", None),
    ("coulomb", 0.5), ("coulomb", 1.0), ("matern", 1.5), ("matern", 2.5), ("inverse_multiquadric", None),
    ("polynomial", 3.0),
)  # fmt: skip
# a polynomial's degree is looked for anew in every case, which takes a second
ROUTES = {
    "gaussian": ("direct", *("grid", "nonuniform") * 4, "polynomial"), "polynomial": ("direct", "polynomial"),
    "rational": ("direct", *("gaussians", "tree") * 4, "polynomial"),
}  # fmt: skip
_OTHERS = ("direct", "gaussians", "gaussians", "tree", "tree")
_DEAR = 1e9  # nanoseconds of a pair: a tree expands all that it can, though so few points are not worth it


def placed(rng: np.random.Generator, n: int, d: int) -> Any:
    """Points: uniform, clusters, far away, on a line, or at the nodes of a lattice, where aliasing adds up."""
    kind = rng.integers(5)
    x = rng.random((n, d))
    if kind == 1:
        return 10.0 ** rng.uniform(-6, -1) * x + rng.integers(0, 3, (n, 1))
    if kind == 2:
        return x + 10.0 ** rng.uniform(1, 5)
    if kind == 3:
        return np.linspace(0.0, 1.0, n)[:, None] * np.ones(d)
    return x if kind == 0 else rng.permutation(n)[:, None] / 16.0 + 1e-3 * rng.integers(0, 2, (n, d))


def case(seed: int) -> tuple[str, float] | None:
    """The route and the largest |value − exact|/certificate; None where it is refused."""
    rng = np.random.default_rng(seed)
    name, parameter = FUNCTIONS[rng.integers(len(FUNCTIONS))]
    parameter = float(10.0 ** rng.uniform(-1, 2)) if parameter is None else parameter
    n, d, dtype = int(rng.integers(2, 40)), int(rng.integers(1, 4)), str(rng.choice(["float64", "float64", "float32"]))
    n = n * 8 if rng.random() < 0.03 else n
    x = placed(rng, n, d).astype(dtype)
    v = rng.standard_normal((n, 2)) * 10.0 ** rng.uniform(-6, 6, (n, 1) if rng.random() < 0.3 else (1, 2))
    v = (np.abs(v) if rng.random() < 0.3 else v).astype(dtype)
    options: dict[str, Any] = [{}, {"laplacian": True}, {"diagonal": 2.5}, {"targets": None}][rng.integers(4)]
    if "targets" in options:
        options = {"targets": (placed(rng, 7, d) + 0.003).astype(dtype)}
    route = str(rng.choice([each for each in ROUTES.get(name, _OTHERS) if each in kernel_graph.ROUTES]))
    try:
        instance = Instance(x, v, function=name, parameter=parameter, **options)
        error = float(10.0 ** rng.uniform(-9, -1) * np.abs(v).sum() * max(1.0, float(instance.weight()(1e-6))))
        with patch.object(choice, "pair", lambda _: _DEAR):
            found = kernel_graph.multiply(
                x, v, function=name, parameter=parameter, error=error, route=route, threads=1, **options
            )
    except (Infeasible, ValueError):
        return None
    assert (found.error <= error).all()
    allowed = np.broadcast_to(found.error, found.value.shape)
    return route, float(define(instance, 1e-25).ratio(found.value.astype(np.float64), allowed).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="certified ones")
    add_kept(parser)
    add_scheduler(parser)
    chosen = parser.parse_args()
    outcomes, refused = certified(case, chosen.cases, chosen.scheduler, kept=chosen.kept, minutes=chosen.minutes)
    rows = []
    for name in sorted({route for route, _ in outcomes}):
        ratios = [ratio for route, ratio in outcomes if route == name]
        rows.append(
            {
                "route": name, "certified": len(ratios), "worst error / certificate": max(ratios),
                "median": float(np.median(ratios)), "too small": sum(not ratio <= 1.0 for ratio in ratios),
            }
        )  # fmt: skip
    note = f"{len(outcomes)} certificates, {refused} requests refused"
    publish("kernel_graph_certificates", rows, note)
    sys.exit(any(row["too small"] for row in rows))


if __name__ == "__main__":
    main()
