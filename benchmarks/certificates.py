"""Is a certificate of the polynomial method ever below the true error?  Random and adversarial heads, against balls.

    python benchmarks/certificates.py [--cases 10000] [--scheduler local] [--kept FILE [--minutes 8]]

Every case draws a shape, a pattern of numbers, masks and a requested error, asks ``approximate`` for its polynomial
route, and compares |value − exact| with the certificate it returns, and that with the request.  Exit status 1 if one
certificate is too small.  What is refused is counted, and no case.  With --kept the outcomes are kept in a file, and
the next run goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
from campaign import add_kept, add_scheduler, certified
from timing import publish

from assay.impl.cpu import costs
from assay.impl.cpu.attention import approximate, choice
from assay.spec import attention
from assay.spec.approximation import Infeasible


def uniform(rng: np.random.Generator, n: int, d: int) -> Any:
    return rng.uniform(-1.0, 1.0, (n, d))


def corners(rng: np.random.Generator, n: int, d: int) -> Any:
    """Scores at the ends of the range that norms allow: the polynomial errs most there."""
    return rng.choice([-1.0, 1.0], (n, 1)) * np.ones(d)


def one_apart(rng: np.random.Generator, n: int, d: int) -> Any:
    """Nearly all points equal, one far from them: what centring leaves."""
    points = np.full((n, d), 1e-3) * rng.standard_normal(d)
    points[rng.integers(n)] = rng.uniform(-1.0, 1.0, d)
    return points


def shifted(rng: np.random.Generator, n: int, d: int) -> Any:
    """A large common part: the rounding of the centred numbers."""
    return 100.0 + uniform(rng, n, d)


def heavy(rng: np.random.Generator, n: int, d: int) -> Any:
    """Small points and a few large ones: fourth moments far above what normal scores have."""
    return uniform(rng, n, d) * np.where(rng.random((n, 1)) < 0.02, 1.0, 0.05)


def flat(rng: np.random.Generator, n: int, d: int) -> Any:
    """Near a subspace of half the dimension."""
    inside = uniform(rng, n, max(1, d // 2)) @ rng.standard_normal((max(1, d // 2), d)) / d
    return inside + 10.0 ** rng.uniform(-12, -4) * uniform(rng, n, d)


POINTS = {each.__name__: each for each in (uniform, corners, one_apart, shifted, heavy, flat)}


def values(rng: np.random.Generator, n: int, d: int) -> Any:
    kind = rng.integers(4)
    if kind == 0:
        return rng.standard_normal((n, d))
    if kind == 1:  # the sharp case of ATT-2: two groups
        return np.where(rng.random((n, 1)) < rng.random(), 0.0, 1.0) * np.ones(d)
    if kind == 2:
        return 1e6 + rng.standard_normal((n, d))
    return rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-8, 8, d)


def case(seed: int) -> tuple[str, float, str] | None:
    """The pattern, the largest |value − exact|/certificate and the route; None where it is refused."""
    rng = np.random.default_rng(seed)
    dtype = rng.choice(["float64", "float32"])
    n_q, n_k, d, d_v = (int(rng.integers(1, most)) for most in (7, 300, 5, 4))
    if rng.random() < 0.1:  # long enough for moments and rotation to be tried
        n_k, d = int(rng.integers(6000, 9000)), int(rng.integers(4, 12))
    key_pattern = rng.choice(list(POINTS))
    query = POINTS[rng.choice(["uniform", "corners"])](rng, n_q, d)
    key = POINTS[key_pattern](rng, n_k, d)
    bound = 10.0 ** rng.uniform(-3, 0.5)
    q, k, v = ((x)[None, None].astype(dtype) for x in (bound * query, key, values(rng, n_k, d_v)))
    masks: dict[str, Any] = {}
    if rng.random() < 0.4 and n_k < 1000:
        q = np.resize(q, (1, 1, int(rng.integers(1, n_k + 100)), d))
        masks["causal"] = rng.choice([None, "top-left", "bottom-right"])
        masks["window"] = tuple(int(x) if rng.random() < 0.5 else None for x in rng.integers(0, 200, 2))
    scale = float(rng.choice([1.0 / d, 1.0, -0.7]))
    error = float(10.0 ** rng.uniform(-9, -1)) * (float(np.ptp(v)) or float(np.abs(v).max()) or 1.0)
    free = replace(costs.in_use(costs.Attention), kurtosis=0.0, kurtosis_four=0.0, kurtosis_cube=0.0)
    eager = {"_WORTH_A_PASS": 0, "_LEAST_PART": 1}  # though few keys are not worth it
    is_eager = rng.random() < 0.5
    try:
        with (
            patch.dict(vars(choice), eager if is_eager else {}),
            patch.dict(vars(costs), {"in_use": lambda _: free} if is_eager else {}),
        ):
            found = approximate(q, k, v, error, scale, **masks, fallback="raise", memory=1 << 26, threads=1)
    except Infeasible:
        return None
    assert (found.error <= error).all()
    exact = attention.define(attention.Instance(q, k, v, scale, **masks), relative=1e-25)
    allowed = np.broadcast_to(found.error, found.value.shape)
    return str(key_pattern), float(exact.ratio(found.value.astype(np.float64), allowed).max()), found.route


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="certified ones")
    add_kept(parser)
    add_scheduler(parser)
    chosen = parser.parse_args()
    found: dict[str, list[tuple[float, str]]] = {name: [] for name in POINTS}
    outcomes, refused = certified(case, chosen.cases, chosen.scheduler, kept=chosen.kept, minutes=chosen.minutes)
    for pattern, *one in outcomes:
        found[pattern].append(tuple(one))
    rows = []
    for name, ones in found.items():
        ratios = [ratio for ratio, _ in ones]
        row = {
            "keys": name,
            "certified": len(ratios),
            "by moments": sum("by moments" in route for _, route in ones),
            "by kurtosis": sum("kurtosis" in route for _, route in ones),
            "worst error / certificate": max(ratios, default=0.0),
            "median": float(np.median(ratios)) if ratios else 0.0,
            "too small": sum(not ratio <= 1.0 for ratio in ratios),
        }
        rows.append(row)
    publish("certificates", rows, f"{len(outcomes)} certificates, {refused} requests refused")
    sys.exit(any(row["too small"] for row in rows))


if __name__ == "__main__":
    main()
