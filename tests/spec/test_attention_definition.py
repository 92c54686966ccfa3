"""The certified definition against an independent evaluation, one scalar at a time, in mpmath."""

from __future__ import annotations

from typing import Any

import flint
import numpy as np
import pytest
from mpmath import mp, mpf

from assay.spec.attention import Instance, define, evaluate
from assay.spec.enclosure import escalation
from assay.spec.floats import dtype_named

Array = np.ndarray[Any, Any]
RELATIVE = [1e-12, 1e-28, 1e-60]  # float64, double-double, Arb
DIGITS = 110


def normal(seed: int, *shape: int, dtype: Any = np.float64) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def made(**options: Any) -> Instance:
    """Grouped heads, n_q ≠ n_k, d_v ≠ d."""
    dtype = options.pop("dtype", np.float32)
    shapes = options.pop("shapes", ((2, 4, 3, 4), (2, 2, 5, 4), (2, 2, 5, 3)))
    q, k, v = (normal(seed, *shape, dtype=dtype) for seed, shape in enumerate(shapes))
    return Instance(q, k, v, **options)


TALL = ((1, 2, 6, 3), (1, 1, 4, 3), (1, 1, 4, 2))  # more queries than keys: bottom-right leaves rows empty
RAGGED = normal(7, 2, 4, 3, 5)
RAGGED[0, 1, 2] = -np.inf
RAGGED[1, :, :, 2:4] = -np.inf
INSTANCES: dict[str, Instance] = {
    "plain": made(),
    "one head for all": made(shapes=((1, 4, 2, 3), (1, 1, 3, 3), (1, 1, 3, 2))),
    "one of everything": made(shapes=((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1))),
    "scale 0": made(scale=0.0),
    "negative scale": made(scale=-0.7),
    "large scale": made(scale=40.0),
    "causal": made(is_causal=True),
    "bottom-right": made(causal="bottom-right"),
    "top-left, more queries": made(shapes=TALL, causal="top-left"),
    "bottom-right, more queries": made(shapes=TALL, causal="bottom-right"),
    "window": made(window=(1, 2)),
    "window, left only": made(window=(0, None)),
    "window, right only": made(window=(None, 0)),
    "window without limits": made(window=(None, None)),
    "causal window": made(is_causal=True, window=(1, None)),
    "bottom-right window": made(causal="bottom-right", window=(1, 0), key_lengths=np.array([5, 2])),
    "mask": made(mask=np.random.default_rng(8).integers(0, 2, (2, 4, 3, 5)).astype(bool)),
    "mask of keys, a row empty": made(mask=np.array([[True, False, True, True, False], [False] * 5, [True] * 5])),
    "bias": made(bias=normal(9, 1, 4, 1, 5, dtype=np.float32)),
    "bias with minus infinity": made(bias=RAGGED, dtype=np.float64),
    "key lengths": made(key_lengths=np.array([3, 0])),
    "bottom-right key lengths": made(causal="bottom-right", key_lengths=np.array([4, 1])),
    "softcap": made(softcap=1.5, scale=3.0),
    "softcap and bias": made(softcap=0.2, bias=RAGGED.astype(np.float32)),
    "sink": made(sink=normal(10, 4, dtype=np.float32)),
    "sink alone": made(sink=normal(10, 4, dtype=np.float32), key_lengths=np.array([0, 2])),
    "all at once": made(
        scale=-2.0,
        causal="bottom-right",
        window=(2, 1),
        mask=np.random.default_rng(11).integers(0, 4, (2, 1, 3, 5)).astype(bool),
        bias=RAGGED[:1].astype(np.float32),
        key_lengths=np.array([5, 4]),
        softcap=3.0,
        sink=np.array([0.5, -30.0, 2.0, 0.0], np.float32),
    ),
    **{
        f"in {name}": made(dtype=dtype_named(name), bias=normal(9, 3, 5, dtype=dtype_named(name)))
        for name in ("float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
    },
}


class Truth:
    """Attention from its meaning, for one row at a time, at ``DIGITS`` digits; knows Instance and mpmath only."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.b, self.h, self.n_q, self.d = instance.query.shape
        self.n_k, self.d_v = instance.value.shape[2:]

    def full(self, array: Array, *index: int) -> float:
        return float(np.broadcast_to(array, (self.b, self.h, self.n_q, self.n_k))[index])

    def sees(self, b: int, h: int, i: int, j: int) -> bool:
        x = self.instance
        length = self.n_k if x.key_lengths is None else int(x.key_lengths[b])
        place = i + length - self.n_q if x.causal == "bottom-right" else i
        if j >= length or (x.causal and j > place):
            return False
        left, right = x.window or (None, None)
        if (left is not None and place - j > left) or (right is not None and j - place > right):
            return False
        if x.mask is not None and not self.full(x.mask, b, h, i, j):
            return False
        return x.bias is None or self.full(x.bias, b, h, i, j) > float("-inf")

    def score(self, b: int, h: int, i: int, j: int) -> Any:
        x = self.instance
        g = h // (self.h // x.key.shape[1])
        s = mpf(x.scale) * mp.fsum(
            mpf(float(p)) * mpf(float(r)) for p, r in zip(x.query[b, h, i], x.key[b, g, j], strict=True)
        )
        if x.softcap is not None:
            s = mpf(x.softcap) * mp.tanh(s / mpf(x.softcap))
        return s if x.bias is None else s + mpf(self.full(x.bias, b, h, i, j))

    def row(self, b: int, h: int, i: int) -> tuple[dict[int, Any], Any, list[Any], list[Any]]:
        """Scores by key, the log-sum-exp, the output and Σ p|v|; key −1 is the sink."""
        x = self.instance
        scores = {j: self.score(b, h, i, j) for j in range(self.n_k) if self.sees(b, h, i, j)}
        if x.sink is not None:
            scores[-1] = mpf(float(x.sink[h]))
        if not scores:
            return {}, -mp.inf, [mpf(0)] * self.d_v, [mpf(0)] * self.d_v
        top = max(scores.values())
        lse = top + mp.log(mp.fsum(mp.exp(s - top) for s in scores.values()))
        p = {j: mp.exp(s - lse) for j, s in scores.items() if j >= 0}
        value = x.value[b, h // (self.h // x.key.shape[1])]
        columns = [[w * mpf(float(value[j, c])) for j, w in p.items()] for c in range(self.d_v)]
        return scores, lse, [mp.fsum(c) for c in columns], [mp.fsum(abs(t) for t in c) for c in columns]

    def rows(self) -> Any:
        return np.ndindex(self.b, self.h, self.n_q)


def number(x: Any) -> Any:
    man, exponent = x.man_exp()
    return mp.ldexp(mpf(int(man)), int(exponent))


def agrees(enclosure: Any, index: tuple[int, ...], true: Any, promised: Any) -> None:
    """Both views contain the truth, and both radii are as promised."""
    mid, rad = float(enclosure.midpoint[index]), float(enclosure.radius[index])
    slack = abs(true) * mpf(10) ** (5 - DIGITS)
    assert abs(mpf(mid) - true) <= mpf(rad) + slack, index
    assert rad <= promised * (1 + mpf("1e-6")) + mpf("2.01") * mpf(2) ** -53 * abs(mid) + mpf("2e-323"), index
    if enclosure.balls is not None:
        x = enclosure.balls[index]
        radius = number(x.rad().abs_upper())
        assert abs(number(x.mid()) - true) <= radius + slack, index
        assert radius <= promised * (1 + mpf("1e-6")) + mpf("1e-323"), index


def check(instance: Instance, relative: float, digits: int = DIGITS) -> None:
    truth, output, lse = Truth(instance), define(instance, relative), define(instance, relative, "log_sum_exp")
    assert output.shape == (*instance.query.shape[:3], instance.value.shape[3])
    assert lse.shape == instance.query.shape[:3]
    with mp.workdps(digits):
        for index in truth.rows():
            scores, log_sum, out, size = truth.row(*index)
            for c, true in enumerate(out):
                agrees(output, (*index, c), true, mpf(relative) * size[c])
            if scores:
                agrees(lse, index, log_sum, mpf(relative) * max(mpf(1), abs(log_sum)))
            else:
                assert lse.midpoint[index] == -np.inf
                assert lse.radius[index] == 0.0
                assert (output.midpoint[index] == 0.0).all()
                assert (output.radius[index] == 0.0).all()
                assert lse.balls is not None
                assert lse.balls[index] == flint.arb("-inf")


@pytest.mark.parametrize("relative", RELATIVE)
@pytest.mark.parametrize("name", INSTANCES)
def test_the_definition_is_attention_with_the_radius_that_was_asked(name: str, relative: float) -> None:
    check(INSTANCES[name], relative)


@pytest.mark.parametrize("relative", RELATIVE)
@pytest.mark.parametrize("name", INSTANCES)
def test_scores_and_probabilities_are_those_of_the_definition(name: str, relative: float) -> None:
    instance = INSTANCES[name]
    truth, exact = Truth(instance), evaluate(instance, relative)
    assert (exact.log_sink_probability is not None) == (instance.sink is not None)
    with mp.workdps(DIGITS):
        for index in truth.rows():
            scores, lse, _, _ = truth.row(*index)
            for j in range(truth.n_k):
                if j in scores:
                    log_p = scores[j] - lse
                    agrees(exact.log_probability, (*index, j), log_p, mpf(relative) * (1 + abs(log_p)))
                    agrees(exact.score, (*index, j), scores[j], mpf("1e-9"))
                else:
                    assert exact.score.midpoint[(*index, j)] == -np.inf
                    assert exact.log_probability.midpoint[(*index, j)] == -np.inf
                    assert exact.log_probability.radius[(*index, j)] == 0.0
            if exact.log_sink_probability is not None:
                log_p = scores[-1] - lse
                agrees(exact.log_sink_probability, index, log_p, mpf(relative) * (1 + abs(log_p)))


def test_evaluate_and_define_agree_on_output_and_log_sum_exp() -> None:
    for instance in INSTANCES.values():
        exact = evaluate(instance)
        assert exact.output.contains(define(instance).midpoint).all()
        lse = define(instance, output="log_sum_exp").midpoint
        assert (exact.log_sum_exp.ratio(lse, 1e-11 * np.maximum(1.0, np.abs(lse))) <= 1.0)[np.isfinite(lse)].all()
        assert exact.log_sum_exp.contains(np.where(np.isfinite(lse), exact.log_sum_exp.midpoint, -np.inf)).all()


# --- escalation: where float64, then double-double, cannot -------------------------------------------------------


def two_keys(scores: tuple[float, float], values: tuple[float, float] = (1.0, 3.0), **options: Any) -> Instance:
    k, v = np.array(scores).reshape(1, 1, 2, 1), np.array(values).reshape(1, 1, 2, 1)
    return Instance(np.ones((1, 1, 1, 1)), k, v, scale=1.0, **options)


@pytest.mark.parametrize("relative", RELATIVE)
def test_logits_of_a_hundred_million_that_cancel_are_evaluated(relative: float) -> None:
    q = np.array([1e4, 1e4, 0.1]).reshape(1, 1, 1, 3)
    k = np.array([[1e4, -1e4 + 2.0**-20, 0.3], [-1e4, 1e4, 0.7], [1e4, 1.0, -1e9]]).reshape(1, 1, 3, 3)
    check(Instance(q, k, normal(1, 1, 1, 3, 2), scale=1.0), relative)


@pytest.mark.parametrize("relative", RELATIVE)
def test_the_log_sum_exp_keeps_its_accuracy_where_the_output_is_easy(relative: float) -> None:
    q = np.array([1e4, 1e4]).reshape(1, 1, 1, 2)
    k = np.array([[1e4, -1e4 + 2.0**-20], [-1e4, 1e4]]).reshape(1, 1, 2, 2)
    check(Instance(q, k, np.zeros((1, 1, 2, 1)), scale=1.0), relative)


@pytest.mark.parametrize("relative", RELATIVE)
@pytest.mark.parametrize("size", [1e17, 1e100, 1e200, 1e300])
def test_nearly_equal_huge_logits_are_told_apart(size: float, relative: float) -> None:
    k = np.array([[size, 1.0, -size], [size, 0.5, -size], [-size, 0.1, size]]).reshape(1, 1, 3, 3)
    q = np.ones((1, 1, 1, 3))
    check(Instance(q, k, np.array([1.0, -2.0, 5.0]).reshape(1, 1, 3, 1), scale=1.0), relative, digits=700)


@pytest.mark.parametrize("score", [-650.0, -5000.0, -1e6])
def test_an_output_that_is_only_a_vanishing_weight_keeps_its_relative_accuracy(score: float) -> None:
    enclosure = define(two_keys((0.0, score), (0.0, 1.0)))
    assert enclosure.balls is not None
    ball = enclosure.balls.item()
    with mp.workdps(60):
        true = mp.exp(mpf(score)) / (1 + mp.exp(mpf(score)))
        radius = number(ball.rad().abs_upper())
        assert abs(number(ball.mid()) - true) <= radius
        assert radius <= mpf("1e-12") * true
    assert enclosure.contains(float(true)).all()


@pytest.mark.claim("ENC-1")
@pytest.mark.parametrize("d", [4, 8, 16, 64])
def test_partial_sums_that_overflow_do_not_drop_a_key(d: int) -> None:
    """Both scores are 0, but half of the first sum is below −1.8e308."""
    k = np.zeros((1, 1, 2, d))
    k[0, 0, 0, : d // 2], k[0, 0, 0, d // 2 :] = -1e154, 1e154
    instance = Instance(np.full((1, 1, 1, d), 1e154), k, np.array([1.0, 3.0]).reshape(1, 1, 2, 1), scale=1.0)
    for relative in RELATIVE:
        enclosure = define(instance, relative)
        assert enclosure.contains(2.0).all()
        assert enclosure.radius.max() <= 1e-11


@pytest.mark.claim("ENC-10")
def test_values_whose_sum_overflows_still_have_a_mean() -> None:
    for relative in RELATIVE:
        enclosure = define(two_keys((0.5, 0.5), (1.7e308, 1.5e308)), relative)
        assert np.isfinite(enclosure.radius).all()
        assert enclosure.contains(1.6e308).all()


@pytest.mark.claim("ENC-4")
@pytest.mark.parametrize("relative", RELATIVE)
@pytest.mark.parametrize("c", [1e-300, 1e-280, 1e-5, 1e5, 1e300])
def test_caps_of_any_size_keep_the_sign_of_a_score(c: float, relative: float) -> None:
    enclosure = define(two_keys((-1e40, 1e40), softcap=c, bias=np.array([[0.0, -1.0]])), relative, "log_sum_exp")
    with mp.workdps(400):
        caps = [mpf(c) * (mp.sign(s) if abs(s) > 1000 * c else mp.tanh(mpf(s) / mpf(c))) for s in (-1e40, 1e40)]
        top = max(caps[0], caps[1] - 1)
        true = top + mp.log(mp.exp(caps[0] - top) + mp.exp(caps[1] - 1 - top))
        agrees(enclosure, (0, 0, 0), true, mpf(relative) * max(mpf(1), abs(true)))


@pytest.mark.claim("ENC-10")
def test_a_column_of_zeros_is_exactly_zero_in_the_first_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    first = escalation._tiers
    monkeypatch.setattr(escalation, "_tiers", lambda relative: iter([next(iter(first(relative)))]))
    value = normal(3, 1, 1, 40, 3) * [1.0, 0.0, 1.0]
    enclosure = define(Instance(normal(1, 1, 1, 9, 4), normal(2, 1, 1, 40, 4), value))
    assert (enclosure.midpoint[..., 1] == 0.0).all()
    assert (enclosure.radius[..., 1] == 0.0).all()


def test_many_rows_are_covered_by_blocks_without_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = made(shapes=((2, 2, 37, 4), (2, 1, 23, 4), (2, 1, 23, 3)), is_causal=True)
    whole = define(instance)
    for block in (1, 23, 100, 1000):
        monkeypatch.setattr(escalation, "_BLOCK", block)
        part = define(instance)
        assert (np.abs(part.midpoint - whole.midpoint) <= part.radius + whole.radius).all()


def test_rows_that_need_more_are_evaluated_beside_rows_that_do_not() -> None:
    q = np.array([[1.0], [1e9], [0.5], [1e200]]).reshape(1, 1, 4, 1)
    k = np.array([[1.0], [1.0 + 2.0**-52], [0.5]]).reshape(1, 1, 3, 1)
    check(Instance(q, k, normal(4, 1, 1, 3, 2), scale=1.0), 1e-14, digits=700)


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", [0.0, 1.0, -1e-12, 2.0, float("nan"), float("inf")])
def test_an_accuracy_outside_zero_and_one_is_refused(relative: float) -> None:
    with pytest.raises(ValueError, match="expected a number between 0 and 1"):
        define(made(), relative)
    with pytest.raises(ValueError, match="expected a number between 0 and 1"):
        evaluate(made(), relative)


def test_an_unknown_output_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown output 'lse': expected 'output' or 'log_sum_exp'"):
        define(made(), output="lse")


def test_an_accuracy_that_no_tier_reaches_is_an_error_not_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(escalation, "_MOST_BITS", 200)
    with pytest.raises(ArithmeticError, match="was not reached"):
        define(two_keys((1e300, -1e300), softcap=1e299), 1e-30)
