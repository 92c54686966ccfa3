"""Attention by calls of a transformer that takes few tokens: plans, recombination, bad oracles, resumption."""

from __future__ import annotations

import importlib
import math
import pickle
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from assay.impl.cpu import attention
from assay.impl.cpu.small_transformers import CallError, approximate, exact, merge, simulate
from assay.impl.cpu.small_transformers.arrays import arrays_of
from assay.impl.cpu.small_transformers.bound import OracleError, of_simulation, recombined, rounded
from assay.impl.cpu.small_transformers.calls import _Form, asked
from assay.impl.cpu.small_transformers.model import Small
from assay.impl.cpu.small_transformers.plan import balanced, planned
from assay.impl.cpu.small_transformers.visible import Visible
from assay.spec.precision import precision as precision_named
from assay.spec.small_transformers import Instance
from assay.spec.small_transformers.plan import call_count, counting_bound
from assay.spec.small_transformers.plan import plan as specified
from assay.spec.softmax.rounding import Softmax

Array = np.ndarray[Any, Any]


class Counted:
    """A small transformer in float64 that refuses more than ``size`` tokens and counts its calls."""

    def __init__(self, size: int, *, causal: bool = False, exactly: bool = False, type_: str = "float64") -> None:
        self.size, self.causal, self.exactly, self.type, self.calls = size, causal, exactly, type_, 0

    def scores(self, query: Array, key: Array, scale: float) -> Array:
        for x in (query, key):
            assert x.shape[2] == self.size if self.exactly else x.shape[2] <= self.size
        self.calls += len(query)
        seen = np.tri(query.shape[2], key.shape[2], dtype=np.bool_) if self.causal else np.True_
        return np.where(seen, scale * (query.astype(float) @ key.astype(float).swapaxes(2, 3)), -np.inf)

    def __call__(self, query: Array, key: Array, value: Array, *, scale: float) -> Array:
        return averaged(self.scores(query, key, scale), value)[0].astype(value.dtype)


class Masked(Counted):
    """The same, and it takes a mask."""

    def __call__(self, query: Array, key: Array, value: Array, *, scale: float, mask: Any = None) -> Array:
        scores = self.scores(query, key, scale)
        return averaged(scores if mask is None else np.where(mask, scores, -np.inf), value)[0]


class Diagonal(Counted):
    """The same, and it takes ``is_causal``."""

    def __call__(self, query: Array, key: Array, value: Array, *, scale: float, is_causal: bool = False) -> Array:
        self.causal = is_causal
        return super().__call__(query, key, value, scale=scale)


class Summed(Counted):
    """The same, and it returns its log-sum-exp."""

    def __call__(
        self, query: Array, key: Array, value: Array, *, scale: float, mask: Any = None, return_lse: bool = False
    ) -> Any:
        scores = self.scores(query, key, scale)
        both = averaged(scores if mask is None else np.where(mask, scores, -np.inf), value)
        return both if return_lse else both[0]


def averaged(scores: Array, value: Array) -> tuple[Array, Array]:
    most = scores.max(axis=3, keepdims=True)
    weights = np.exp(scores - most)
    total = weights.sum(axis=3, keepdims=True)
    return weights / total @ value.astype(float), (most + np.log(total))[..., 0]


def drawn(length: int, *, heads: int = 1, key_heads: int = 1, batch: int = 1, spread: float = 1.5) -> Any:
    rng = np.random.default_rng(length)
    query, key = (spread * rng.normal(size=(batch, h, length, 5)) for h in (heads, key_heads))
    return query, key, rng.normal(size=(batch, key_heads, length, 3))


def seen(length: int, *, is_causal: bool = False, window: int | None = None, sinks: int = 0) -> Array:
    i, j = np.arange(length)[:, None], np.arange(length)[None, :]
    causal = j <= i if is_causal else np.ones((length, length), np.bool_)
    return causal if window is None else causal & ((j > i - window) | (j < sinks))


PLANS = {
    "every key": ({}, lambda n, m: math.ceil(n / m) * math.ceil(n / (m - 1))),
    "causal": ({"is_causal": True}, lambda n, m: math.ceil(n / (m - 1)) * (math.ceil(n / (m - 1)) + 1) // 2),
    "window": ({"is_causal": True, "window": 4}, lambda n, m: 1 if n < m else math.ceil(n / (m - 4 + 1))),
    "window, sinks": (
        {"is_causal": True, "window": 3, "sinks": 2},
        lambda n, m: 1 if n < m else math.ceil(n / (m - 3 - 2 + 1)),
    ),
}
MEANS = {"is_causal": "causal"}
SIZES = ((60, 7), (33, 8), (64, 16), (6, 7))
ORACLES = (Counted, Masked, Diagonal)


@pytest.mark.claim("MERGE-1", "MERGE-3")
@pytest.mark.parametrize("kind", ORACLES)
@pytest.mark.parametrize("plan", PLANS)
def test_calls_are_as_many_as_the_formula_says_and_their_results_are_attention(kind: Any, plan: str) -> None:
    options, formula = PLANS[plan]
    for length, size in SIZES:
        oracle, arrays = kind(size), drawn(length)
        done = simulate(*arrays, oracle, size, **options)
        assert done.planned == done.calls == oracle.calls == formula(length, size)
        right = attention.exact(*arrays, mask=seen(length, **options)[None, None])
        assert np.abs(done.value - right).max() < 1e-13
        assert done.planned >= done.counting_bound


@pytest.mark.claim("MERGE-3", "ST-2")
@pytest.mark.parametrize("kind", ["plain", "log_sum_exp", "causal"])
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"is_causal": True, "window": 3, "sinks": 2}])
def test_plans_are_as_long_as_the_specification_says(kind: str, options: Any) -> None:
    keywords = frozenset({"return_lse"}) if kind == "log_sum_exp" else frozenset()
    for length in (1, 6, 33, 60):
        for size in (6, 7, 16):
            small = Small(size, kind == "causal", keywords=keywords)
            made = planned(small, Visible(length, length, **{MEANS.get(k, k): v for k, v in options.items()}), 1)
            if "window" in options and kind == "causal":
                x = np.ones((1, 1, length, 1))
                expected = len(specified(Instance(x, x, x, oracle_size=size, oracle=kind, **options)))
            else:
                expected = call_count(length, length, size, oracle=kind, **options)
            # where a window is nearly as long as a call, plain blocks may be fewer
            assert made.calls == expected or ("window" in options and made.calls < expected)
            assert made.counting_bound == counting_bound(length, length, size, oracle=kind, **options)


@pytest.mark.claim("MERGE-2", "MERGE-3")
@pytest.mark.parametrize("kind", ["plain", "log_sum_exp", "causal"])
@pytest.mark.parametrize("plan", PLANS)
def test_a_row_gets_as_many_calls_as_its_plan_says_at_most(kind: str, plan: str) -> None:
    keywords = frozenset({"return_lse"}) if kind == "log_sum_exp" else frozenset()
    for length, size in SIZES:
        options = {MEANS.get(k, k): v for k, v in PLANS[plan][0].items()}
        made = planned(Small(size, kind == "causal", keywords=keywords), Visible(length, length, **options), 1)
        calls = np.zeros(length, np.int64)
        for block in made.blocks:
            calls[slice(*block.rows)] += 1
        assert made.parts == calls.max()


@pytest.mark.claim("MERGE-3")
def test_an_oracle_that_is_causal_only_takes_the_square_of_the_number_of_blocks() -> None:
    for length, size in SIZES:
        oracle, arrays = Counted(size, causal=True), drawn(length)
        blocks = math.ceil(length / (size - 1))
        done = simulate(*arrays, oracle, size, is_causal=True, causal_only=True)
        assert done.planned == oracle.calls == blocks**2
        right, lse = attention.exact(*arrays, is_causal=True, return_lse=True)
        assert np.abs(done.value - right).max() < 1e-13
        assert np.abs(done.log_sum_exp - lse).max() < 1e-13
        assert simulate(*arrays, oracle, size, causal_only=True).planned == 2 * blocks**2


def test_an_oracle_with_its_log_sum_exp_needs_no_calibrator() -> None:
    for length, size in SIZES:
        for is_causal in (False, True):
            oracle, arrays = Summed(size), drawn(length)
            blocks = math.ceil(length / size)
            done = simulate(*arrays, oracle, size, is_causal=is_causal)
            assert oracle.calls == (blocks * (blocks + 1) // 2 if is_causal else blocks**2)
            right, lse = attention.exact(*arrays, is_causal=is_causal, return_lse=True)
            assert np.abs(done.value - right).max() < 1e-13
            assert np.abs(done.log_sum_exp - lse).max() < 1e-13


def test_heads_and_layers_of_an_oracle_work_at_once() -> None:
    query, key, value = drawn(30, heads=6, key_heads=2, batch=2)
    for at_once in (1, 4, 12):
        oracle = Counted(8)
        done = simulate(query, key, value, oracle, 8, is_causal=True, at_once=at_once)
        assert oracle.calls == 15 * math.ceil(12 / at_once)
        assert np.abs(done.value - attention.exact(query, key, value, is_causal=True)).max() < 1e-13


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"is_causal": True, "window": 3, "sinks": 2}])
def test_an_oracle_of_fixed_length_is_handed_nothing_shorter(options: Any) -> None:
    for length in (6, 29, 33):
        arrays = drawn(length)
        done = simulate(*arrays, Counted(8, exactly=True), 8, fixed=True, **options)
        assert np.abs(done.value - attention.exact(*arrays, mask=seen(length, **options)[None, None])).max() < 1e-13


@pytest.mark.parametrize("kind", [Counted, Masked])
def test_masks_hide_and_rows_without_keys_are_zero(kind: Any) -> None:
    query, key, value = drawn(23, heads=2, key_heads=1, batch=2)
    mask = np.random.default_rng(1).random((2, 2, 23, 23)) < 0.4
    mask[0, 1, 5] = False
    mask[..., 4:12] = False  # a block of keys that no query sees is not asked for
    for options in ({}, {"is_causal": True}, {"is_causal": True, "window": 3, "sinks": 1}):
        done = simulate(query, key, value, kind(8), 8, mask=mask, at_once=3, **options)
        both = mask & seen(23, **options)
        assert np.abs(done.value - attention.exact(query, key, value, mask=both)).max() < 1e-13
        assert not done.value[0, 1, 5].any()
    assert simulate(query, key, value, kind(8), 8, mask=mask).planned == 4 * 3 * 3


def test_the_log_sum_exp_of_a_window_costs_one_query_of_every_call() -> None:
    arrays, options = drawn(33, heads=2), {"is_causal": True, "window": 3, "sinks": 2}
    right, lse = attention.exact(*arrays, mask=seen(33, **options)[None, None], return_lse=True)
    for oracle, step in ((Counted(8), 3), (Masked(8), 3), (Summed(8), 4)):
        output, sums = exact(*arrays, oracle=oracle, size=8, return_lse=True, **options)
        assert np.abs(output - right).max() < 1e-13
        assert np.abs(sums - lse).max() < 1e-13
        assert oracle.calls == 2 * math.ceil(33 / step)


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_a_merge_of_parts_is_attention_over_all_of_their_keys(framework: str) -> None:
    query, key, value = drawn(30, heads=2, batch=2)
    mask = np.random.default_rng(0).random((2, 2, 30, 30)) < 0.3
    mask[0, 0, 3] = mask[..., 8:16] = False  # a row without keys, and a part without keys
    sink = np.array([-0.5, 800.0])
    for scores in (None, sink):
        right, sums = attention.exact(query, key, value, mask=mask, sink=scores, return_lse=True)
        parts = [
            attention.exact(
                query, key[:, :, k : k + 8], value[:, :, k : k + 8], mask=mask[..., k : k + 8], return_lse=True
            )
            for k in range(0, 30, 8)
        ]
        outputs, lses = (np.stack(each) for each in zip(*parts, strict=True))
        outputs[lses == -np.inf] = 1e300
        given = (outputs, lses, scores)
        if framework == "torch":
            torch = pytest.importorskip("torch")
            given = tuple(None if x is None else torch.from_numpy(x) for x in given)
        output, lse = (np.asarray(x) for x in merge(given[0], given[1], sink=given[2], return_lse=True))
        assert np.abs(output - right).max() < 1e-14
        assert np.array_equal(lse == -np.inf, sums == -np.inf)
        some = sums > -np.inf
        assert np.abs(lse[some] / sums[some] - 1).max() < 1e-14
    with pytest.raises(ValueError, match="log_sum_exps: shape"):
        merge(outputs, lses[1:])
    with pytest.raises(ValueError, match="sink: shape"):
        merge(outputs, lses, sink=sink[1:])


@pytest.mark.claim("MERGE-1")
def test_rows_whose_scores_lie_far_apart_are_asked_again_until_they_have_digits() -> None:
    query, key, value = drawn(24, spread=40.0)
    oracle = Counted(8)
    done = simulate(query, key, value, oracle, 8)
    right, lse = attention.exact(query, key, value, return_lse=True)
    assert oracle.calls == done.calls > done.planned == 12
    assert np.abs(done.value - right).max() < 1e-11
    assert np.abs(done.log_sum_exp / lse - 1).max() < 1e-13


@pytest.mark.claim("MERGE-1")
def test_one_column_and_a_score_of_zero_lose_what_two_columns_and_a_near_one_keep() -> None:
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 1, 512, 32, generator=generator) * 2 for _ in range(3))
    right = attention.exact(*(x.double().numpy() for x in (query, key, value)), 32**-0.5)
    unit = 2.0**-24 * np.abs(right).max()

    def error(output: Any) -> float:
        """In roundoffs, over the rows of which there is anything left."""
        off = np.abs(np.asarray(output) - right) / unit
        return float(off[np.isfinite(off)].max())

    def with_one_column(block: slice) -> tuple[Any, Any]:
        """Values and weights of a block by p alone, beside a key of score 0 and value 0: Z is p/(1 − p)."""
        keys = torch.cat([key[:, :, block], torch.zeros(1, 1, 1, 32)], 2)
        columns = torch.cat([value[:, :, block], torch.ones(1, 1, 128, 1)], 3)
        out = sdpa(query, keys, torch.cat([columns, torch.zeros(1, 1, 1, 33)], 2), scale=32**-0.5).double()
        rest = 1 - out[..., 32:]
        return out[..., :32] / rest, out[..., 32:] / rest

    parts = [with_one_column(slice(k, k + 128)) for k in range(0, 512, 128)]
    alone = sum(part[0] for part in parts) / sum(part[1] for part in parts)
    both = simulate(query, key, value, sdpa, 129).value
    assert error(alone) > 1e7
    assert not np.isfinite(np.asarray(alone)).all()  # of some rows 1 − p is 0
    assert error(both) < 60


@pytest.mark.claim("MERGE-1")
@pytest.mark.parametrize("away", [-40.0, 40.0])
def test_no_digits_are_lost_whatever_the_calibrator_between_underflow_and_underflow(
    monkeypatch: Any, away: float
) -> None:
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 1, 256, 32, generator=generator) for _ in range(3))
    right = attention.exact(*(x.double().numpy() for x in (query, key, value)), 32**-0.5)
    near = _Form.first_scores
    monkeypatch.setattr(_Form, "first_scores", lambda form, tasks: near(form, tasks) + away)
    done = simulate(query, key, value, sdpa, 129)
    assert done.calls == done.planned  # nothing is asked again
    assert np.abs(done.value.double().numpy() - right).max() < 60 * 2.0**-24 * np.abs(right).max()


def sdpa(query: Any, key: Any, value: Any, *, scale: float, mask: Any = None, is_causal: bool = False) -> Any:
    from torch.nn.functional import scaled_dot_product_attention as function

    return function(query, key, value, attn_mask=mask, is_causal=is_causal, scale=scale)


@pytest.mark.claim("MERGE-1", "MERGE-2")
@pytest.mark.parametrize(("type_", "unit"), [("bfloat16", 2.0**-8), ("float16", 2.0**-11)])
def test_calls_in_sixteen_bits_cost_about_what_one_large_call_does(type_: str, unit: float) -> None:
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(1)
    rounded = [torch.randn(1, 1, 600, 16, generator=generator).to(getattr(torch, type_)) for _ in range(3)]
    query, key, value = (x.double() for x in rounded)
    right = attention.exact(query.numpy(), key.numpy(), value.numpy())
    for is_causal, factor in ((False, 4.0), (True, 4.0)):
        right = attention.exact(query.numpy(), key.numpy(), value.numpy(), is_causal=is_causal)
        done = simulate(query, key, value, sdpa, 200, is_causal=is_causal, call_type=type_)
        assert done.value.dtype == torch.float64
        assert np.abs(done.value.numpy() - right).max() < factor * unit * np.abs(right).max()


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize("type_", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"is_causal": True, "window": 9, "sinks": 2}])
def test_the_bound_of_the_class_is_above_the_error_and_some_roundoffs_large(type_: str, options: Any) -> None:
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(3)
    unit = {"float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}[type_]
    for spread in (0.1, 0.5, 1.0, 4.0):
        drawn_ = [spread * torch.randn(1, 2, 90, 8, generator=generator) for _ in range(3)]
        query, key, value = (x.to(getattr(torch, type_)) for x in drawn_)
        right = attention.exact(
            *(x.double().numpy() for x in (query, key, value)), mask=seen(90, **options)[None, None]
        )
        for arrays, call_type in (((query, key, value), None), (drawn_, type_)):
            if call_type is not None:
                right = attention.exact(*(x.double().numpy() for x in drawn_), mask=seen(90, **options)[None, None])
            done = simulate(*arrays, sdpa, 32, precision=type_, call_type=call_type, **options)
            error = np.abs(done.value.double().numpy() - right)
            assert (error <= done.error).all()
            if spread == 4.0:  # what inputs lose that are rounded decides, and no bound is small
                continue
            most = 5000 if type_ == "float32" else 100  # a class allows for a coarse exponential in each of two columns
            assert float(done.error.max()) < most * unit * float(abs(value).max())


def in_float16(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    score = scale * (query.astype(np.float32) @ np.swapaxes(key.astype(np.float32), 2, 3))
    weight = np.exp(score - score.max(axis=-1, keepdims=True))
    out: Array = weight.astype(np.float16).astype(np.float32) @ value.astype(np.float32)
    return (out / weight.sum(axis=-1, keepdims=True)).astype(np.float16)


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize("size", [1.0, 1e-4, 1e-6])
def test_the_bound_counts_what_values_near_the_smallest_numbers_lose(size: float) -> None:
    """A float16 output loses 2^-25 however small the values are, and the factor of a part enlarges it."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        drawn_ = (spread * rng.standard_normal((1, 1, 40, 8)) for spread in (0.3, 0.3, size))
        query, key, value = (x.astype(np.float16) for x in drawn_)
        right = attention.exact(*(x.astype(np.float64) for x in (query, key, value)))
        done = simulate(query, key, value, in_float16, 9, precision="float16")
        error = np.abs(done.value.astype(np.float64) - right)
        assert (error <= done.error).all()
        assert done.error.max() <= 0.3 * size + 2.0**-14


@pytest.mark.parametrize("causal_only", [False, True])
@pytest.mark.parametrize("is_causal", [False, True])
def test_gradients_pass_through_the_calls(is_causal: bool, causal_only: bool) -> None:
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(2)
    query, key, value, back = (
        torch.randn(1, h, 20, d, dtype=torch.float64, generator=generator, requires_grad=True)
        for h, d in ((2, 4), (1, 4), (1, 3), (2, 3))
    )

    def oracle(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        return sdpa(query, key, value, scale=scale, is_causal=causal_only)

    done = simulate(query, key, value, oracle, 7, is_causal=is_causal, causal_only=causal_only).value
    large = sdpa(query, *(x.repeat_interleave(2, 1) for x in (key, value)), scale=0.5, is_causal=is_causal)
    for small, whole in zip(
        *(torch.autograd.grad((back * y).sum(), (query, key, value)) for y in (done, large)), strict=True
    ):
        assert float((small - whole).abs().max()) < 1e-13


# --- a sample of the keys ---------------------------------------------------------------------------------------------


def near(length: int, heads: int = 1) -> Any:
    """Queries and keys whose scores are small, so that a sample says something."""
    rng = np.random.default_rng(length)
    query, key = (0.3 * rng.normal(size=(1, h, length, 4)) for h in (heads, 1))
    return query, key, rng.uniform(size=(1, 1, length, 2))


@pytest.mark.claim("ST-3")
@pytest.mark.parametrize("is_causal", [False, True])
def test_a_sample_meets_the_error_in_fewer_calls_and_a_small_error_gets_all_keys(is_causal: bool) -> None:
    query, key, value = near(600, heads=2)
    right = attention.exact(query, key, value, is_causal=is_causal)
    for at_once in (1, 3):
        calls = []
        for error in (1.0, 0.5, 0.2, 1e-3):
            oracle = Masked(101)
            done = approximate(query, key, value, oracle, 101, error, is_causal=is_causal, at_once=at_once)
            assert (np.abs(done.value - right) <= done.error + 1e-13).all()
            assert (done.error <= error).all()
            assert oracle.calls == done.calls
            calls.append(done.calls)
        assert calls == sorted(calls)
        assert calls[0] < calls[-1] == done.planned
        assert done.sampled == 0
        assert not done.error.any()


@pytest.mark.claim("ST-3")
def test_a_sample_weighs_as_much_as_all_that_it_stands_for() -> None:
    # rows of a block that see its values, all 1, and before it only zeros, of which every sample says the same
    begin, end = list(balanced(90, 10))[-1]
    query, key, value = np.zeros((1, 1, 90, 1)), np.zeros((1, 1, 90, 1)), np.zeros((1, 1, 90, 1))
    value[:, :, begin:] = 1.0
    done = approximate(query, key, value, Masked(11), 11, 0.9, is_causal=True, delta=0.5)
    row = np.arange(begin, end)
    assert done.error[0, 0, begin:].min() > 0
    assert np.abs(done.value[0, 0, begin:, 0] - (row - begin + 1) / (row + 1)).max() < 1e-14


@pytest.mark.claim("ST-3")
def test_the_error_of_a_sample_is_exceeded_no_more_often_than_delta_says() -> None:
    # half of the values at either end of their range, so that samples differ as much as they can
    query, key = np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 64, 1))
    value = (np.arange(64) < 32).astype(float).reshape(1, 1, 64, 1)
    right, failures, bounds = 0.5, 0, []
    for seed in range(300):
        done = approximate(query, key, value, Counted(9), 9, 0.4, delta=0.5, seed=seed)
        failures += bool((np.abs(done.value - right) > done.error).any())
        bounds.append(done.error.max())
    assert failures <= 0.5 * 300
    assert 0 < min(bounds) <= max(bounds) <= 0.4


@pytest.mark.claim("ST-3")
@pytest.mark.parametrize("power", [-541, 541])
def test_the_error_of_a_sample_is_that_of_the_scores_where_squares_of_queries_leave_the_range(power: int) -> None:
    query, key, value = near(600)
    usual = approximate(query, key, value, Counted(101), 101, 0.5, 1.0)
    found = approximate(query * 2.0**power, key, value, Counted(101), 101, 0.5, 2.0**-power)
    assert usual.sampled > 0
    assert found.error == pytest.approx(usual.error, rel=1e-9, abs=0.0)
    found = approximate(query, key * 2.0**power, value, Counted(101), 101, 0.5, 2.0**-power)
    assert found.error == pytest.approx(usual.error, rel=1e-9, abs=0.0)


@pytest.mark.claim("ST-3")
def test_a_sample_is_within_its_error_where_the_products_of_a_query_cancel() -> None:
    # ⟨q, k⟩ is 2^-60, and 0 where the first product is rounded: that was a largest weight of 1 in place of e^8
    def oracle(query: Array, key: Array, value: Array, *, scale: float) -> Array:
        return exactly(query, key, value, scale)[0]

    query = np.array([1 + 2.0**-30, -1.0]).reshape(1, 1, 1, 2)
    key = np.broadcast_to([1 + 2.0**-30, 1 + 2.0**-29], (1, 1, 128, 2))
    value = np.random.default_rng(5).choice([-1.0, 1.0], size=(1, 1, 128, 40))
    right = value.mean(axis=2, keepdims=True)
    for seed in range(3):
        done = approximate(query, key, value, oracle, 12, 1e-2, 2.0**63, seed=seed)
        assert (np.abs(done.value - right) <= done.error + 1e-13).all()


@pytest.mark.parametrize(("changes", "message"), [({"error": 0.0}, "error: 0.0"), ({"delta": 1.0}, "delta: 1.0")])
def test_a_sample_without_an_error_or_a_chance_is_refused(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        approximate(*near(4), **({"oracle": Counted(8), "size": 8, "error": 0.1} | changes))


@pytest.mark.claim("MERGE-2")
def test_errors_of_the_oracle_that_add_up_come_near_the_bound_of_their_recombination() -> None:
    # two blocks of keys, of values 1 and −1 and 3/4 and 1/4 of the weight, whose columns are all wrong by ε, each where
    # it hurts most: that comes to 2.25ε, of a bound of 4ε to which what is common to a block and the rest add 2ε each
    relative, count = 1e-3, 20
    query = np.ones((1, 1, 2 * count, 1))
    key = np.repeat([0.0, -math.log(3.0)], count).reshape(1, 1, -1, 1)
    value = np.repeat([1.0, -1.0], count).reshape(1, 1, -1, 1)
    right = Counted(count + 1)

    def oracle(query: Array, key: Array, value: Array, *, scale: float) -> Array:
        out = right(query, key, value, scale=scale)
        for call, sign in zip(out, np.sign(value[:, :, 1:, 0].sum(axis=(1, 2))), strict=True):
            p = call[..., 1].copy()
            call[..., 0] += relative * p
            call[..., 1] *= 1 - relative
            call[..., 2] *= 1 - sign * relative
        return out

    done = simulate(query, key, value, oracle, count + 1)
    error = float(np.abs(done.value - 0.5).max())
    one = np.ones(1)
    given: dict[str, Any] = {"least": 2.0**-60, "parts": 2, "keys": count + 1, "largest": 4.0}
    bound = recombined(OracleError(relative, 0.0, 0.0), **given, spread=2.0 * one, size=one)
    assert 0.55 * bound < error <= bound


def exactly(query: Array, key: Array, value: Array, scale: float) -> tuple[Array, Array]:
    """Attention and its log-sum-exp, of float64 numbers, rounded once."""
    with mp.workprec(200):
        query, key, value = (np.vectorize(mp.mpf, otypes=[object])(x) for x in (query, key, value))
        scores = mp.mpf(scale) * (query[:, :, :, None] * key[:, :, None]).sum(axis=4)
        most = scores.max(axis=3, keepdims=True)
        weights = np.vectorize(mp.exp, otypes=[object])(scores - most)
        total = weights.sum(axis=3, keepdims=True)
        lse = most + np.vectorize(mp.log, otypes=[object])(total)
        output = (weights[..., None] * value[:, :, None]).sum(axis=3) / total
        return output.astype(float), lse[..., 0].astype(float)


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize("size", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("with_log_sum_exp", [False, True])
def test_the_bound_counts_what_the_recombination_makes_of_large_scores(size: float, with_log_sum_exp: bool) -> None:
    """An oracle that is more accurate than float64 leaves nothing else to pay for it."""

    def plain(query: Array, key: Array, value: Array, *, scale: float) -> Array:
        return exactly(query, key, value, scale)[0]

    def summed(query: Array, key: Array, value: Array, *, scale: float, return_lse: bool = False) -> Any:
        both = exactly(query, key, value, scale)
        return both if return_lse else both[0]

    fine = dict.fromkeys(("product", "accumulate", "elementary"), 2.0**-64)
    declared = precision_named("float64").with_("fine", output=2.0**-53, **fine)
    declared = declared.with_("fine", Softmax, exp=2.0**-64, rescale=2.0**-64)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        query = np.full((1, 1, 2, 2), math.sqrt(size))
        key = math.sqrt(size) * (1 + rng.normal(size=(1, 1, 6, 2)) / size)
        value = rng.choice([-1.0, 1.0], size=(1, 1, 6, 4))
        right, _ = exactly(query, key, value, 0.5)
        done = simulate(query, key, value, summed if with_log_sum_exp else plain, 3, 0.5, precision=declared)
        assert (np.abs(done.value - right) <= done.error).all()
        assert done.error.max() < 30 * size * 2.0**-53 + 2.0**-43


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize(("calls", "unit"), [("bfloat16", 2.0**-8), ("float16", 2.0**-11), ("float32", 2.0**-24)])
@pytest.mark.parametrize("least", [None, 2.0**-9])
def test_the_oracle_gets_the_bound_of_the_rounded_numbers_that_it_is_handed(
    calls: str, unit: float, least: float | None
) -> None:
    one = np.ones(1)
    numbers: dict[str, Any] = {"reach": 0.1, "norms": 3.0, "spread": 2 * one, "size": one}
    larger = {"reach": (1 + unit) ** 2, "norms": 1 + unit, "spread": 1 + unit, "size": 1 + unit}
    handed = {name: number * larger[name] for name, number in numbers.items()}

    def of_oracle(inputs: str, numbers: dict[str, Any]) -> Array:
        given: dict[str, Any] = {"keys": 9, "terms": 3, "parts": 4, "scale": 1.0, "largest": 0.1, "least": least}
        bound = of_simulation(precision_named(calls), **given, **numbers, inputs=inputs, calls=calls)
        return bound - rounded(inputs, calls, **numbers)

    # computed to 1e-12 of either bound
    assert np.isfinite(of_oracle("float64", numbers)).all()
    assert (of_oracle("float64", numbers) >= of_oracle(calls, handed) * (1 - 1e-10)).all()


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize("size", [1e200, 1e280])
def test_values_so_large_that_their_sums_may_overflow_have_no_bound(size: float) -> None:
    """Parts whose log-sum-exps differ by 99 are added in the units of the smaller one."""
    key = np.repeat([0.0, 99.0], 3).reshape(1, 1, 6, 1)
    value = size * np.array([-1.0, 1.0, 1.0, 1.0, 0.5, 1.0]).reshape(1, 1, 6, 1)
    right = attention.exact(np.ones((1, 1, 1, 1)), key, value, 1.0)
    with np.errstate(over="ignore"):
        done = simulate(np.ones((1, 1, 1, 1)), key, value, Summed(3), 3, 1.0, precision="float64")
    assert np.isfinite(done.value).all() == np.isfinite(done.error).all() == (size < 1e264)
    assert (np.abs(done.value - right) <= done.error).all()


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize("power", [-541, 541])
def test_the_bound_is_that_of_the_scores_where_squares_of_queries_leave_the_range(power: int) -> None:
    def oracle(query: Array, key: Array, value: Array, *, scale: float, return_lse: bool = False) -> Any:
        return attention.exact(query, key, value, scale, return_lse=return_lse)

    query, key, value = near(12)
    usual = simulate(query, key, value, oracle, 8, 1.0, precision="float64").error
    found = simulate(query * 2.0**power, key, value, oracle, 8, 2.0**-power, precision="float64").error
    assert np.isfinite(usual).all()
    assert found == pytest.approx(usual, rel=1e-9, abs=0.0)


# --- oracles that go wrong, and what is left of a run ----------------------------------------------------------------


def broken(after: int, what: Any) -> Any:
    """An oracle that is right for some calls, and then does ``what`` with its result."""
    right = Counted(8)

    def oracle(query: Array, key: Array, value: Array, *, scale: float) -> Any:
        out = right(query, key, value, scale=scale)
        return out if right.calls <= after else what(out)

    return oracle


def raises(out: Array) -> Array:
    raise ZeroDivisionError("of the oracle")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (raises, "the oracle raised ZeroDivisionError: of the oracle"),
        (lambda out: out * np.nan, "the oracle returned NaN or an infinity"),
        (lambda out: out[:, :, 1:], r"output of shape \(1, 1, 7, 6\), expected \(1, 1, 8, 6\)"),
        (lambda out: "words", "output is of type str, expected an array"),
        (lambda out: (time.sleep(2.0), out)[1], "the oracle took longer than 0.2 s"),
    ],
)
def test_the_error_names_the_call_and_keeps_what_was_computed(what: Any, message: str) -> None:
    arrays = drawn(40)
    with pytest.raises(CallError, match=message) as caught:
        simulate(*arrays, broken(20, what), 8, batch=1, seconds=0.2)
    assert str(caught.value).startswith("call 21 of 30 (group 0 of heads, queries 24–31, keys 13–19): ")
    oracle = Counted(8)
    done = simulate(*arrays, oracle, 8, batch=1, resume=caught.value.kept)
    assert done.calls == oracle.calls == 10
    assert np.array_equal(done.value, simulate(*arrays, Counted(8), 8, batch=1).value)


#: A small transformer in a process of its own, which is asked through pipes.
REMOTE = """
import pickle, sys
import numpy as np
while True:
    query, key, value, scale = pickle.load(sys.stdin.buffer)
    assert max(query.shape[2], key.shape[2]) <= 8
    weights = np.exp(scale * (query @ key.swapaxes(2, 3)))
    pickle.dump(weights / weights.sum(axis=3, keepdims=True) @ value, sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


def test_a_process_that_dies_in_mid_run_is_named_and_another_one_goes_on() -> None:
    arrays, answers = drawn(40, spread=0.5), []

    def oracle(query: Array, key: Array, value: Array, *, scale: float) -> Any:
        pickle.dump((query, key, value, scale), remote.stdin)
        remote.stdin.flush()
        answers.append(pickle.load(remote.stdout))
        if len(answers) == 20:
            remote.kill()
            remote.wait()
        return answers[-1]

    def started() -> Any:
        return subprocess.Popen(
            [sys.executable, "-c", REMOTE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    with (
        started() as remote,
        pytest.raises(CallError, match=r"call 21 of 30 .*: the oracle raised BrokenPipe") as caught,
    ):
        simulate(*arrays, oracle, 8, batch=1)
    with started() as remote:
        done = simulate(*arrays, oracle, 8, batch=1, resume=caught.value.kept)
        remote.kill()
    assert done.calls == 10
    assert np.abs(done.value - attention.exact(*arrays)).max() < 1e-13


def test_an_interrupted_run_goes_on_from_its_file(tmp_path: Any) -> None:
    arrays, file = drawn(40, heads=2), tmp_path / "run.npz"

    def stop(done: int, total: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(*arrays, Counted(8), 8, batch=2, resume=file, progress=stop)
    oracle = Counted(8)
    done = simulate(*arrays, oracle, 8, batch=2, resume=file)
    assert oracle.calls == 60 - 12
    assert np.array_equal(done.value, simulate(*arrays, Counted(8), 8, batch=2).value)
    assert simulate(*arrays, Counted(8), 8, batch=2, resume=file).calls == 0
    with pytest.raises(ValueError, match="belongs to other arrays"):
        simulate(arrays[0] * 2, *arrays[1:], Counted(8), 8, batch=2, resume=file)
    file.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="no file of this kind"):
        simulate(*arrays, Counted(8), 8, batch=2, resume=file)


def test_results_are_added_in_the_order_of_the_plan_whatever_the_order_in_which_they_come(monkeypatch: Any) -> None:
    arrays = drawn(40)

    def backwards(oracle: Any, settings: Any, jobs: Any) -> Any:
        for number, job in reversed(list(jobs)):
            yield number, asked(oracle, settings, job)

    right = simulate(*arrays, Counted(8), 8, batch=1).value
    monkeypatch.setattr(importlib.import_module("assay.impl.cpu.small_transformers.simulate"), "_here", backwards)
    assert np.array_equal(simulate(*arrays, Counted(8), 8, batch=1).value, right)
    with pytest.raises(CallError, match="call 10 of 30") as caught:
        simulate(*arrays, broken(20, raises), 8, batch=1)
    monkeypatch.undo()
    oracle = Counted(8)
    assert np.array_equal(simulate(*arrays, oracle, 8, batch=1, resume=caught.value.kept).value, right)
    assert oracle.calls == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 1}, "size: 1 leaves no room for a key beside the calibrator"),
        ({"size": 0}, "size: 0, expected an integer of at least 1"),
        ({"at_once": 0}, "at_once: 0"),
        ({"batch": 0}, "batch: 0"),
        ({"window": 3}, "window: it is one of causal attention"),
        ({"window": 0, "is_causal": True}, "window: 0"),
        ({"sinks": 3, "is_causal": True}, "sinks: 3 without a window"),
        ({"scale": math.inf}, "scale: inf"),
        ({"mask": np.ones((3, 3))}, "mask: float64 of shape"),
        ({"keywords": ("softcap",)}, "keywords:"),
        ({"query": np.full((1, 1, 4, 5), np.nan)}, "query: not finite"),
        ({"query": np.ones((1, 1, 4, 6))}, "key: shape"),
        ({"query": np.ones((1, 1, 4, 5), np.int64)}, "query: int64, expected a floating type"),
        ({"value": np.ones((1, 1, 3, 6))}, "value: shape"),
    ],
)
def test_bad_input_is_refused_by_name(changes: Any, message: str) -> None:
    query, key, value = drawn(4)
    arguments = {"query": query, "key": key, "value": value, "oracle": Counted(8), "size": 8} | changes
    with pytest.raises(ValueError, match=message):
        simulate(**arguments)


def test_arrays_of_other_libraries_are_refused() -> None:
    with pytest.raises(TypeError, match="list: expected an array of NumPy or of PyTorch"):
        arrays_of([1.0])
