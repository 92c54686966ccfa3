"""The quality level: below the tolerance, above what independent roundings do, and of the order of the root of n."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from assay.spec.attention import Instance, evaluate, tolerance
from assay.spec.attention.quality import deviation, quality
from assay.spec.floats import dtype_named
from assay.spec.precision import PRECISIONS, Precision, precision
from assay.spec.softmax.rounding import Softmax

U = precision("float32")


def drawn(n: int, d: int = 8, d_v: int = 4, *, dtype: Any = np.float32, n_q: int = 2, **options: Any) -> Instance:
    rng = np.random.default_rng([n, d])
    q, k, v = (rng.standard_normal((1, 2, m, w)).astype(dtype) for m, w in ((n_q, d), (n, d), (n, d_v)))
    return Instance(q, k, v, **options)


class Random:
    """Arithmetic whose every result is off by a unit roundoff of random sign: the largest variance there is."""

    def __init__(self, seed: int, u: Precision = U) -> None:
        self.rng, self.u = np.random.default_rng(seed), u

    def rounded(self, x: Any, u: float | None = None) -> Any:
        return x * (1 + (self.u.accumulate if u is None else u) * self.rng.choice((-1.0, 1.0), np.shape(x)))

    def sum(self, x: Any) -> Any:
        """Over the last axis, one term after the other."""
        total = x[..., 0]
        for j in range(1, x.shape[-1]):
            total = self.rounded(total + x[..., j])
        return total

    def attention(self, instance: Instance) -> Any:
        """(b, h, n_q, d_v) in float64, the textbook's order."""
        q, k, v = (x.astype(float) for x in (instance.query, instance.key, instance.value))
        products = self.rounded(q[:, :, :, None, :] * k[:, :, None, :, :], self.u.product)
        score = self.rounded(products.sum(axis=-1) * instance.scale, self.u.product)
        weight = self.rounded(np.exp(score - score.max(axis=3, keepdims=True)), self.u.of(Softmax).exp)
        terms = self.rounded(weight[..., None, :] * np.swapaxes(v, 2, 3)[:, :, None])
        return self.rounded(self.sum(terms) / self.sum(weight)[..., None])


SHAPES = {
    "normal": drawn(17),
    "long": drawn(300, 4, 2, n_q=1),
    "large": drawn(33, scale=2.3),
    "uniform": drawn(200, 1, 2, n_q=1, scale=0.0),
    "one key": drawn(1),
    "wide": drawn(9, 64),
}


@pytest.mark.claim("QUAL-1")
@pytest.mark.claim("QUAL-2")
@pytest.mark.parametrize("name", SHAPES)
def test_independent_roundings_of_the_largest_variance_stay_below_the_level(name: str) -> None:
    instance = SHAPES[name]
    level, exact = quality(instance, U), evaluate(instance, 2.0**-50).output.midpoint
    ratio = np.abs([Random(seed).attention(instance) - exact for seed in range(60)]) / level
    assert ratio.max() <= 1.0
    assert 6 * np.sqrt((ratio**2).mean()) >= 0.02  # and it is not idle


@pytest.mark.claim("QUAL-1")
@pytest.mark.parametrize("rounded", ["exp", "product", "probability", "value_rounding", "accumulate", "output"])
def test_each_stage_alone_is_paid_for(rounded: str) -> None:
    kind = Softmax if rounded in ("exp", "probability", "value_rounding") else None
    coarse = U.with_("without rescaling", Softmax, rescale=0.0).with_(f"coarse {rounded}", kind, **{rounded: 2.0**-12})
    instance = drawn(33, scale=0.9)
    exact = evaluate(instance, 2.0**-50).output.midpoint
    if rounded in ("exp", "product", "accumulate"):
        runs = [Random(seed, coarse).attention(instance) for seed in range(60)]
    elif rounded == "output":
        runs = [Random(seed).rounded(exact, coarse.output) for seed in range(60)]
    else:
        p = np.exp(evaluate(instance, 2.0**-50).log_probability.midpoint)
        terms = p[..., None] * instance.value.astype(float)[:, :, None]
        runs = [Random(seed).rounded(terms, 2.0**-12).sum(axis=3) for seed in range(60)]
    seen = np.sqrt(((np.array(runs) - exact) ** 2).mean(axis=0)) / deviation(instance, coarse)
    assert 0.1 <= seen.mean() <= seen.max() <= 1.2  # of 60 runs: the estimate itself varies


@pytest.mark.claim("QUAL-3")
@pytest.mark.parametrize("name", PRECISIONS)
def test_it_is_nowhere_above_the_tolerance(name: str) -> None:
    dtype = dtype_named(PRECISIONS[name].storage)
    mask = np.ones((1, 1, 2, 9), dtype=bool)
    mask[..., 0, :] = False
    for options in ({}, {"mask": mask}, {"softcap": 1.7}, {"is_causal": True}, {"sink": np.ones(2, np.float32)}):
        instance = drawn(9, dtype=dtype, **options)
        assert (quality(instance, name) <= tolerance(instance, name)).all()


@pytest.mark.claim("QUAL-3")
def test_beside_the_tolerance_it_falls_like_the_root_of_the_number_of_keys() -> None:
    gain = []
    for n in (64, 1024):
        instance = drawn(n, 1, 1, n_q=1, scale=0.0).replace(value=np.ones((1, 2, n, 1), np.float32))
        gain.append(float((tolerance(instance, U) / quality(instance, U)).mean()))
    assert 3.2 <= gain[1] / gain[0] <= 4.8


@pytest.mark.claim("QUAL-1")
def test_the_partial_sums_of_a_long_row_are_paid_for() -> None:
    instance = drawn(300, 1, 1, n_q=1, scale=0.0).replace(value=np.ones((1, 2, 300, 1), np.float32))
    exact = evaluate(instance, 2.0**-50).output.midpoint
    errors = np.array([Random(seed).attention(instance) - exact for seed in range(100)])
    assert 0.3 <= 6 * float(np.sqrt((errors**2).mean())) / float(quality(instance, U).mean()) <= 1.0


def test_an_empty_row_has_the_level_zero_and_a_row_outside_the_domain_none() -> None:
    mask = np.ones((1, 1, 2, 3), dtype=bool)
    mask[..., 1, :] = False
    assert (quality(drawn(3, mask=mask), U)[:, :, 1] == 0).all()
    assert np.isinf(quality(drawn(3, scale=1e38), U)).all()
