"""Is a certificate of the fast gradient ever below the true error?  Random and adversarial heads.

    python benchmarks/gradient_certificates.py [--cases 10000] [--scheduler local] [--first 0]

Every case draws a shape, a pattern of keys, of values and of incoming gradients, masks and a requested error, asks
``approximate`` for the three gradients, and compares |value − exact| with the certificates, element by element, and
these with the request.  Exit status 1 if one certificate is too small.  What is refused is counted, and no case.

The exact gradient is computed in 80-bit numbers.  Where that contradicts a certificate, as it does where the exact
gradient is 0 and the certificate nearly so, and in one case of 250, the certified definition decides.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from campaign import add_scheduler, certified
from certificates import POINTS, values
from timing import publish

from assay.impl.cpu.attention_gradient import approximate
from assay.spec import attention_gradient
from assay.spec.approximation import Infeasible

_OUTPUTS = ("grad_query", "grad_key", "grad_value")


def case(seed: int) -> tuple[str, list[float]] | None:
    """The pattern of the keys, and the largest |value − exact|/certificate of every output; None where refused."""
    rng = np.random.default_rng(seed)
    dtype = rng.choice(["float64", "float32"])
    n_q, n_k, d, d_v = (int(rng.integers(1, most)) for most in (40, 120, 5, 4))
    heads, group = (1, 1) if rng.random() < 0.8 else (int(rng.integers(1, 3)), int(rng.integers(1, 4)))
    masks: dict[str, Any] = {}
    if rng.random() < 0.4:
        if rng.random() < 0.25:  # more than a chunk of rows, so that tables slide
            n_q, n_k = int(rng.integers(120, 400)), int(rng.integers(120, 400))
        masks["causal"] = rng.choice([None, "top-left", "bottom-right"])
        masks["window"] = tuple(int(x) if rng.random() < 0.5 else None for x in rng.integers(0, 250, 2))
    if rng.random() < 0.1:
        masks["key_lengths"] = rng.integers(0, n_k + 1, 1)
    pattern = str(rng.choice(list(POINTS)))
    bound = 10.0 ** rng.uniform(-3, 0.4)

    def stacked(count: int, draw: Any) -> Any:
        return np.stack([draw() for _ in range(count)])[None].astype(dtype)

    of_queries = rng.choice(["uniform", "corners", "heavy"])
    q = stacked(heads * group, lambda: bound * POINTS[of_queries](rng, n_q, d))
    k = stacked(heads, lambda: POINTS[pattern](rng, n_k, d))
    v = stacked(heads, lambda: values(rng, n_k, d_v))
    g = stacked(heads * group, lambda: values(rng, n_q, d_v))
    if rng.random() < 0.15:  # rows without an incoming gradient
        g[:, :, rng.random(n_q) < 0.7] = 0.0
    scale = float(rng.choice([1.0 / d, 1.0, -0.7]))
    # the sizes that GRAD-5 has, so that degrees of all kinds occur
    reach = float((np.abs(g).max(axis=(0, 1, 2)) * np.ptp(v, axis=(0, 1, 2))).sum()) or 1.0
    share = max(1.0, n_q / n_k)
    sizes = (
        abs(scale) * reach * (float(np.ptp(k)) or 1.0),
        abs(scale) * reach * float(np.abs(q).max()) * share,
        float(np.abs(g).max()) * share or 1.0,
    )
    relative = 10.0 ** rng.uniform(-9, -0.5)
    error = tuple(max(relative * x, 1e-300) for x in sizes)
    try:
        found = approximate(q, k, v, None, None, g, error, scale=scale, **masks, memory=1 << 26, threads=1)
    except Infeasible:
        return None
    exact = attention_gradient.Instance(q, k, v, g, scale, **masks)
    ratios = []
    for name, one, asked, other in zip(_OUTPUTS, found, error, reference(exact), strict=True):
        assert (one.error <= asked).all()
        wrong = np.abs(one.value.astype(np.longdouble) - other).astype(np.float64)
        ratio = np.divide(wrong, one.error, out=np.where(wrong > 0.0, np.inf, 0.0), where=one.error > 0.0)
        if seed % 250 == 0 or ratio.max(initial=0.0) > 1.0:
            certain = attention_gradient.define(exact, relative=1e-18, output=name)
            ratio = certain.ratio(one.value.astype(np.float64), one.error)
        ratios.append(float(ratio.max(initial=0.0)))
    return pattern, ratios


def reference(instance: attention_gradient.Instance) -> list[Any]:
    """dQ, dK and dV in 80-bit numbers."""
    q, k, v, g = (x.astype(np.longdouble) for x in (instance.query, instance.key, instance.value, instance.grad_output))
    group = q.shape[1] // k.shape[1]
    visible = np.broadcast_to(instance.forward().visible(), (*q.shape[:3], k.shape[2]))
    of_q, of_k, of_v = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    sigma = np.longdouble(instance.scale)
    for head in range(q.shape[1]):
        source = head // group
        keys, values = k[0, source], v[0, source]
        keys, values = keys - keys.mean(axis=0), values - values.mean(axis=0)  # changes nothing, but for the rounding
        scores = np.where(visible[0, head], sigma * (q[0, head] @ keys.T), -np.inf)
        top = scores.max(axis=1, keepdims=True)
        weight = np.exp(scores - np.where(np.isfinite(top), top, 0.0))
        total = weight.sum(axis=1, keepdims=True)
        weight = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
        inner = g[0, head] @ values.T
        gradient = sigma * weight * (inner - (weight * inner).sum(axis=1, keepdims=True))
        of_q[0, head] = gradient @ keys
        of_k[0, source] += gradient.T @ q[0, head]
        of_v[0, source] += weight.T @ g[0, head]
    return [of_q, of_k, of_v]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="certified ones")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    add_scheduler(parser)
    chosen = parser.parse_args()
    found: dict[str, list[list[float]]] = {name: [] for name in POINTS}
    outcomes, refused = certified(case, chosen.cases, chosen.scheduler, chosen.first)
    for pattern, ratios_of_one in outcomes:
        found[pattern].append(ratios_of_one)
    rows = []
    for name, ones in found.items():
        ratios = np.array(ones).reshape(-1, 3)
        row: dict[str, Any] = {"keys": name, "certified": len(ones)}
        for column, output in enumerate(("dQ", "dK", "dV")):
            row[f"worst {output}"] = float(ratios[:, column].max(initial=0.0))
            row[f"median {output}"] = float(np.median(ratios[:, column])) if len(ones) else 0.0
        rows.append({**row, "too small": int((ratios > 1.0).any(axis=1).sum())})
    note = f"{chosen.cases} triples of certificates, {refused} requests refused; error / certificate, the worst element"
    publish("gradient_certificates", rows, note)
    sys.exit(any(row["too small"] for row in rows))


if __name__ == "__main__":
    main()
