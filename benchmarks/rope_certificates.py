"""Is a certificate of attention with relative positions ever below the true error?  Random and adversarial heads.

    python benchmarks/rope_certificates.py [--cases 10000] [--scheduler local]

Every case draws a mechanism (W in some places, a rotation, a bias, masks, lengths), a shape, a pattern of numbers and
a requested error, and asks ``approximate`` for a route.  It compares |value − exact| with the certificate that is
returned, and the certificate with the request.  Exit status 1 if one certificate is too small.  What is refused is
counted, and no case.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from campaign import add_scheduler, certified
from timing import publish

from assay.impl.cpu import rope_attention
from assay.spec.approximation import Infeasible
from assay.spec.rope_attention import Instance, define


def uniform(rng: np.random.Generator, *shape: int) -> Any:
    return rng.uniform(-1.0, 1.0, shape)


def corners(rng: np.random.Generator, *shape: int) -> Any:
    """Scores at the ends of the range that norms allow: the polynomial errs most there."""
    return rng.choice([-1.0, 1.0], (*shape[:-1], 1)) * np.ones(shape[-1])


def heavy(rng: np.random.Generator, *shape: int) -> Any:
    """Small points and a few large ones: moments far above what the sampled scores say."""
    return rng.uniform(-1.0, 1.0, shape) * np.where(rng.random((*shape[:-1], 1)) < 0.02, 1.0, 0.05)


PATTERNS = (uniform, corners, heavy)


def values(rng: np.random.Generator, n: int, d: int) -> Any:
    kind = rng.integers(4)
    if kind == 0:
        return rng.standard_normal((n, d))
    if kind == 1:  # the sharp case of ATT-2: two groups
        return np.where(rng.random((n, 1)) < rng.random(), 0.0, 1.0) * np.ones(d)
    if kind == 2:
        return 1e6 + rng.standard_normal((n, d))
    return rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-8, 8, d)


def biased(rng: np.random.Generator, heads: int, n_q: int, n_k: int) -> Any:
    """Decays of either sign, jumps, holes, and buckets."""
    apart = np.arange(n_q + n_k - 1) - (n_k - 1.0)
    bias = -np.abs(apart) * 10.0 ** rng.uniform(-3, 0.5, (heads, 1))
    if rng.random() < 0.3:
        bias = rng.uniform(-1, 1, (heads, 32))[:, np.minimum(np.abs(apart).astype(int), 31)]
    if rng.random() < 0.3:
        bias = np.where(apart < rng.integers(-3, 6), bias - rng.uniform(0, 60), bias)
    if rng.random() < 0.3:
        bias = np.where(rng.random(bias.shape[1]) < 0.2, -np.inf, bias)
    return bias


def case(seed: int) -> tuple[str, float, str] | None:
    """The mechanism, the largest |value − exact|/certificate and the route; None where it is refused."""
    rng = np.random.default_rng(seed)
    dtype = rng.choice(["float64", "float32"])
    group, key_heads, d, d_v = (int(rng.integers(1, most)) for most in (3, 3, 4, 4))
    n_q, n_k = (int(rng.integers(1, 130)) for _ in range(2))
    if rng.random() < 0.03:
        n_q, n_k = int(rng.integers(1, 40)), int(rng.integers(1000, 3000))
    mechanism = str(rng.choice(["diagonal W", "general W", "rotary", "plain"]))
    d = 2 * max(d // 2, 1) if mechanism == "rotary" else d
    options: dict[str, Any] = {}
    if mechanism == "rotary":
        options["layout"] = rng.choice(["halves", "pairs"])
        options["query_positions"] = np.arange(n_q) + int(rng.integers(10**6))
    else:
        places = [(a, a) for a in range(d)]
        if mechanism == "general W":
            chosen = rng.permutation(d * d)[: rng.integers(1, min(d * d, 5) + 1)]
            places = [(int(at) // d, int(at) % d) for at in chosen]
        offsets = (len(places), n_q + n_k - 1)
        pattern = PATTERNS[rng.integers(3)]
        options["relative"] = np.ones(offsets) if mechanism == "plain" else pattern(rng, *offsets[::-1]).T
        options["relative"] = options["relative"].astype(dtype)
        options["support"] = tuple(places)
    if rng.random() < 0.4:
        options["relative_bias"] = biased(rng, int(rng.choice([1, group * key_heads])), n_q, n_k).astype(dtype)
    if rng.random() < 0.5:
        options["causal"] = rng.choice([None, "top-left", "bottom-right"])
        options["window"] = tuple(int(x) if rng.random() < 0.5 else None for x in rng.integers(0, 50, 2))
    if rng.random() < 0.3:
        options["key_lengths"] = np.array([int(rng.integers(0, n_k + 1))])
    bound = 10.0 ** rng.uniform(-2, 0.5)
    q = bound * PATTERNS[rng.integers(3)](rng, 1, group * key_heads, n_q, d)
    k = PATTERNS[rng.integers(3)](rng, 1, key_heads, n_k, d)
    v = np.stack([values(rng, n_k, d_v) for _ in range(key_heads)])[None]
    q, k, v = (x.astype(dtype) for x in (q, k, v))
    scale = float(rng.choice([1.0 / d, 1.0, -0.7]))
    error = float(10.0 ** rng.uniform(-9, -1)) * (float(np.ptp(v)) or float(np.abs(v).max()) or 1.0)
    route = rng.choice(["fourier", "polynomial", "exact"], p=[0.8, 0.1, 0.1])
    try:
        found = rope_attention.approximate(
            q, k, v, error=error, scale=scale, route=str(route), memory=1 << 26, threads=1, **options
        )
    except Infeasible:
        return None
    assert (found.error <= error).all()
    exact = define(Instance(q, k, v, scale=scale, **options), 1e-25)
    allowed = np.broadcast_to(found.error, found.value.shape)
    return mechanism, float(exact.ratio(found.value.astype(np.float64), allowed).max()), found.route


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="certified ones")
    add_scheduler(parser)
    chosen = parser.parse_args()
    found: dict[str, list[tuple[float, str]]] = {}
    outcomes, refused = certified(case, chosen.cases, chosen.scheduler)
    for mechanism, *one in outcomes:
        found.setdefault(mechanism, []).append(tuple(one))
    rows = []
    for name, ones in found.items():
        ratios = [ratio for ratio, _ in ones]
        row = {
            "mechanism": name,
            "certified": len(ratios),
            "Fourier": sum(route.startswith("fourier") for _, route in ones),
            "by moments": sum("by moments" in route for _, route in ones),
            "rows one by one": sum("one by one" in route for _, route in ones),
            "worst error / certificate": max(ratios),
            "median": float(np.median(ratios)),
            "too small": sum(ratio > 1.0 for ratio in ratios),
        }
        rows.append(row)
    publish("rope_certificates", rows, f"{chosen.cases} certificates, {refused} requests refused")
    sys.exit(any(row["too small"] for row in rows))


if __name__ == "__main__":
    main()
