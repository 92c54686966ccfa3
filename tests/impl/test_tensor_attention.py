"""Exact attention of any order on the CPU, and its gradient: within their classes, whatever the options."""

from __future__ import annotations

import functools
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from assay.impl.cpu import attention, attention_gradient, tensor_attention, tensor_attention_gradient
from assay.impl.cpu.tensor_attention import combinations, lanes
from assay.impl.cpu.tensor_attention.certificate import exact_error
from assay.impl.cpu.tensor_attention_gradient.tiles import spread
from assay.spec import tensor_attention as spec
from assay.spec import tensor_attention_gradient as of_gradient
from assay.spec.problem import InvalidInstance

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "windows": {"window": (5, 3, 2)},
    "causal windows": {"window": (4, None, 6), "is_causal": True, "scale": -0.7},
    "windows that leave rows empty": {"window": (1, 1, 1)},
}


def drawn(
    seed: int, lengths: tuple[int, ...], n_q: int = 21, d: int = 3, d_v: int = 5, heads: tuple[int, int] = (4, 2),
    dtype: Any = "float64", size: float = 1.0,
) -> list[np.ndarray]:  # fmt: skip
    """query, keys of every mode, values of every mode."""
    rng = np.random.default_rng(seed)
    shapes = [(2, heads[0], n_q, d), *((2, heads[1], n, d) for n in lengths), *((2, heads[1], n, d_v) for n in lengths)]
    return [(size * rng.standard_normal(shape)).astype(dtype) for shape in shapes]


def options_of(name: str, order: int) -> dict[str, Any]:
    chosen = dict(OPTIONS[name])
    if "window" in chosen:
        chosen["window"] = chosen["window"][: order - 1]
    return chosen


@functools.cache
def referred(order: int, dtype: str, name: str) -> tuple[list[np.ndarray], dict[str, Any], Any]:
    """Arrays, options, and what a kernel is held to on them: by tiles and by lanes it is the same."""
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    arrays, options = drawn(order, (19, 7, 3)[: order - 1], 9, dtype=kind, heads=(2, 1)), options_of(name, order)
    instance = spec.Instance.of_order(order)(*arrays, **options, return_lse=True)
    return arrays, options, spec.criteria(instance, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize(("order", "laned"), [(2, False), (3, False), (3, True), (4, False), (4, True)])
def test_the_kernel_is_within_its_class(order: int, laned: bool, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "better", lambda instance: laned)
    for name in OPTIONS:
        arrays, options, criteria = referred(order, dtype, name)
        output, lse = tensor_attention.exact(*arrays, **options, return_lse=True)
        assert output.dtype == arrays[0].dtype
        assert criteria["output"].ratio(output).max() <= 1.0, name
        assert criteria["log_sum_exp"].ratio(lse).max() <= 1.0, name


@pytest.mark.claim("TEN-5")
@pytest.mark.parametrize("laned", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_rows_are_within_the_class_of_blocked_sums(
    dtype: str, laned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "better", lambda instance: laned)
    query, key1, key2, value1, value2 = (x[:1] for x in drawn(5, (40, 70), 3, dtype=dtype, heads=(1, 1)))
    key1 = np.abs(key1)
    key1.sort(axis=2)  # the largest score rises from block to block
    for sign in (1, -1):
        arrays = (np.abs(query), key1[:, :, ::sign], np.abs(key2), value1, value2)
        instance = spec.Instance(*arrays, scale=4.0, return_lse=True)
        output, lse = tensor_attention.exact(*arrays, scale=4.0, return_lse=True)
        criteria = spec.criteria(instance, f"{dtype}-blocked")
        assert criteria["output"].ratio(output).max() <= 1.0
        assert criteria["log_sum_exp"].ratio(lse).max() <= 1.0


@pytest.mark.claim("TEN-5")
@pytest.mark.parametrize("laned", [False, True])
def test_sums_of_a_quarter_million_combinations_lose_few_digits_in_float32(
    laned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "better", lambda instance: laned)
    zeros, ones = np.zeros((1, 1, 512, 1), np.float32), np.ones((1, 1, 512, 1), np.float32)
    values = 0.1 * ones
    output = tensor_attention.exact(zeros[:, :, :1], zeros, zeros, values, ones)
    assert abs(output.item() / values[0, 0, 0, 0] - 1.0) < 2e-5  # one after the other they would lose 2.6e-4


@pytest.mark.claim("TEN-5")
@pytest.mark.parametrize(("lengths", "n_q"), [((300, 20), 290), ((1100, 17), 3), ((3, 40, 40), 40), ((5, 3), 33)])
def test_tiles_of_queries_and_lanes_of_keys_say_the_same(
    lengths: tuple[int, ...], n_q: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = [x[:1] for x in drawn(13, lengths, n_q, 2, 3, (2, 1))]
    for name in OPTIONS:
        options = options_of(name, len(lengths) + 1)
        found = []
        for laned in (False, True):
            monkeypatch.setattr(lanes, "better", lambda instance, laned=laned: laned)
            found.append(tensor_attention.exact(*arrays, **options, return_lse=True))
        for tiled, laned_too in zip(*found, strict=True):
            assert (np.isfinite(tiled) == np.isfinite(laned_too)).all()
            finite = np.isfinite(tiled)
            assert np.allclose(tiled[finite], laned_too[finite], rtol=1e-12, atol=1e-13), name


def test_short_windows_and_causal_masks_go_by_lanes_and_full_rows_by_tiles() -> None:
    x = np.ones((1, 1, 512, 16))
    assert lanes.better(spec.Instance(x, x, x, x, x, is_causal=True, window=(64, 32)))
    assert lanes.better(spec.Instance(x, x, x, x, x, is_causal=True))
    few = x[:, :, :20]
    assert not lanes.better(spec.Instance.of_order(4)(x, *[few] * 6))


def test_order_2_is_the_kernel_of_attention_bit_for_bit() -> None:
    query, key, value = drawn(0, (33,), dtype="float32")
    for options, same in (({}, {}), ({"window": (4,)}, {"window": (3, 3)}), ({"is_causal": True}, {"is_causal": True})):
        found = tensor_attention.exact(query, key, value, **options, return_lse=True)
        expected = attention.exact(query, key, value, **same, return_lse=True)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        gradient = np.ones_like(found[0])
        ours = tensor_attention_gradient.exact(query, key, value, None, None, gradient, **options)
        theirs = attention_gradient.exact(query, key, value, None, None, gradient, **same)
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_number_of_threads_changes_no_bit(dtype: str) -> None:
    arrays = drawn(1, (40, 50), 300, heads=(2, 1), dtype=dtype)
    for options in ({}, {"window": (9, 30), "is_causal": True}):
        one, two = (tensor_attention.exact(*arrays, **options, threads=threads) for threads in (1, 2))
        assert np.array_equal(one, two)
        one, two = (
            tensor_attention_gradient.exact(*arrays, None, None, np.ones_like(one), **options, threads=threads)
            for threads in (1, 2)
        )
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_arrays_of_any_strides_and_byte_order_and_by_name_give_the_same_bits() -> None:
    arrays = drawn(2, (19, 23), dtype="float32")
    plain = tensor_attention.exact(*arrays)
    assert np.array_equal(plain, tensor_attention.exact(*(np.asfortranarray(x) for x in arrays)))
    assert np.array_equal(plain, tensor_attention.exact(*(x.astype(">f4") for x in arrays)))
    names = ("key1", "key2", "value1", "value2")
    assert np.array_equal(plain, tensor_attention.exact(arrays[0], **dict(zip(names, arrays[1:], strict=True))))


@pytest.mark.claim("TEN-5")
def test_with_windows_as_many_combinations_are_made_as_tiles_see() -> None:
    made = []
    for n in (512, 1024, 2048):
        key = np.ones((1, 1, n, 1))
        instance = spec.Instance(key, key, key, key, key, is_causal=True, window=(16, 8))
        size, laid = combinations.tile_of(instance), combinations.arranged(instance, np.dtype(np.float64))
        total = 0
        for start in range(0, n, size):
            begin, end = np.array([max(0, start - 15), max(0, start - 7)]), np.full(2, min(n, start + size))
            at, low, high = np.array([0, begin[0], 0]), np.array([start, 0]), np.array([min(start + size, n), 0])
            products = np.ones((2, 1)), np.ones((2, 1)), np.empty((64, 1)), np.empty((64, 1))
            places, rows = np.empty((64, 2), np.int64), np.empty((64, 2), np.int64)
            step = combinations.steps()["combine"]
            while count := step(
                laid.keys[0, 0], laid.values[0, 0], laid.firsts, begin, end, laid.widths, True, at, low, high,
                *products, places, rows,
            ):  # fmt: skip
                total += count
                i, j = places[:count].T
                assert (np.abs(i - j) < 16).all()  # others are seen by no row
        made.append(total)
    assert made[1] / made[0] == pytest.approx(2, rel=0.05)
    assert made[2] / made[1] == pytest.approx(2, rel=0.05)


def test_progress_counts_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    arrays = drawn(4, (40, 3), 30)
    tensor_attention.exact(*arrays, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == len(seen)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: tensor_attention.exact(x, x, x, x), "as many values as keys"),
        (lambda x: tensor_attention.exact(x, x, x, x, x[:, :, :1]), "value2"),
        (lambda x: tensor_attention.exact(x, x, x, x, x, window=(0, 1)), "window"),
        (lambda x: tensor_attention_gradient.exact(x, x, x, x, x, None, None, x[:, :, :1]), "grad_output"),
        (lambda x: tensor_attention_gradient.exact(x, x, x, x, x, x, None, x), "both or neither"),
        (lambda x: tensor_attention_gradient.exact(x, x), "grad_output"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(InvalidInstance, match=message):
        call(np.ones((1, 1, 2, 2)))


def test_a_number_of_threads_below_one_is_refused() -> None:
    x = np.ones((1, 1, 2, 2))
    with pytest.raises(ValueError, match="threads"):
        tensor_attention.exact(x, x, x, x, x, threads=0)
    with pytest.raises(ValueError, match="threads"):
        tensor_attention_gradient.exact(x, x, x, x, x, None, None, x, threads=0)


def automatic(arrays: list[np.ndarray], gradient: np.ndarray, of_lse: np.ndarray, options: dict[str, Any]) -> Any:
    """The gradients by torch's autograd through the dense form, in float64."""
    torch = pytest.importorskip("torch")
    wanted = [torch.tensor(x.astype(np.float64), requires_grad=True) for x in arrays]
    query, order = wanted[0], len(arrays) // 2 + 1
    group = query.shape[1] // wanted[1].shape[1]
    instance = spec.Instance.of_order(order)(*arrays, **options)
    key = value = None
    for mode in range(1, order):
        more, beside = (wanted[at].repeat_interleave(group, 1) for at in (mode, order - 1 + mode))
        key = more if key is None else (key[:, :, :, None] * more[:, :, None]).flatten(2, 3)
        value = beside if value is None else (value[:, :, :, None] * beside[:, :, None]).flatten(2, 3)
    hidden = torch.tensor(~instance.visible())
    score = (instance.scale * query @ key.transpose(-1, -2)).masked_fill(hidden, -1e300)
    weight = torch.softmax(score, -1).masked_fill(hidden, 0.0)
    lse = torch.where(hidden.all(-1), 0.0, torch.logsumexp(score, -1))
    ((weight @ value) * torch.tensor(gradient)).sum().add((lse * torch.tensor(of_lse)).sum()).backward()
    return [x.grad.numpy() for x in wanted]


@pytest.mark.claim("TEN-9")
@pytest.mark.parametrize("order", [3, 4])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_gives_the_gradients_that_autograd_gives(name: str, order: int) -> None:
    arrays, options = drawn(6, (39, 23, 4)[: order - 1], 21), options_of(name, order)
    rng = np.random.default_rng(7)
    gradient, of_lse = rng.standard_normal((2, 4, 21, 5)), rng.standard_normal((2, 4, 21))
    found = tensor_attention_gradient.exact(*arrays, None, None, gradient, **options, grad_log_sum_exp=of_lse)
    for ours, theirs in zip(found, automatic(arrays, gradient, of_lse, options), strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1e-12 * max(np.abs(theirs).max(), 1.0)


def test_columns_in_blocks_add_up() -> None:
    arrays = drawn(8, (17, 5), 70, 300, 257, (1, 1))
    gradient, of_lse = np.random.default_rng(9).standard_normal((2, 1, 70, 257)), np.zeros((2, 1, 70))
    found = tensor_attention_gradient.exact(*arrays, None, None, gradient)
    for ours, theirs in zip(found, automatic(arrays, gradient, of_lse, {}), strict=True):
        assert np.abs(ours - theirs).max() <= 1e-12 * max(np.abs(theirs).max(), 1.0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_the_gradient_is_within_its_class(dtype: str) -> None:
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    for name in ("plain", "causal windows"):
        arrays = [x[:1] for x in drawn(10, (9, 7), 6, dtype=kind, heads=(2, 1))]
        gradient = np.random.default_rng(11).standard_normal((1, 2, 6, 5)).astype(kind)
        instance = of_gradient.Instance(*arrays, gradient, **options_of(name, 3))
        found = tensor_attention_gradient.exact(*arrays, None, None, gradient, **options_of(name, 3))
        criteria = of_gradient.criteria(instance, dtype)
        for output, ours in zip(instance.outputs(), found, strict=True):
            assert ours.dtype == kind
            assert criteria[output].ratio(ours).max() <= 1.0, (name, output)


@pytest.mark.claim("TEN-9")
@pytest.mark.parametrize("order", [3, 4, 5])
def test_the_gradient_of_a_product_times_the_other_factors_is_that_of_a_factor(order: int) -> None:
    rng = np.random.default_rng(order)
    lengths, letters = (3, 4, 2, 2)[: order - 1], "jklm"[: order - 1]
    factors = [rng.integers(-4, 5, (n, 3)).astype(float) for n in lengths]
    gradient = rng.integers(-4, 5, (*lengths, 3)).astype(float)
    places = np.array(list(np.ndindex(*lengths)))
    found, firsts = np.zeros((sum(lengths), 3)), np.cumsum((0, *lengths[:-1]))
    rows = np.concatenate(factors)
    spread(gradient.reshape(-1, 3), 0, rows, firsts, places, len(places), 3, found)
    for mode, part in enumerate(np.split(found, firsts[1:])):
        others = [x for m, x in enumerate(factors) if m != mode]
        names = ",".join(f"{letter}c" for m, letter in enumerate(letters) if m != mode)
        assert (part == np.einsum(f"{letters}c,{names}->{letters[mode]}c", gradient, *others)).all()


@pytest.mark.claim("TEN-11")
@pytest.mark.parametrize("order", [3, 4])
def test_the_bound_from_norms_is_above_the_tolerance_of_the_class(order: int) -> None:
    for seed, size in ((0, 0.3), (1, 1.0), (2, 2.0)):
        arrays = drawn(seed, (11, 9, 4)[: order - 1], 8, dtype="float32", size=size)
        instance = spec.Instance.of_order(order)(*arrays)
        bound = exact_error(instance, "float32")
        assert np.isfinite(bound).all()
        assert (spec.tolerance(instance, "float32-blocked") <= bound).all()
        found = tensor_attention.exact(*arrays)
        assert (spec.define(instance).ratio(found, np.broadcast_to(bound, found.shape)) <= 1.0).all()


@pytest.mark.claim("TEN-11")
def test_no_bound_is_given_where_products_may_overflow() -> None:
    x = np.full((1, 1, 2, 2), 1e25, np.float32)
    assert (exact_error(spec.Instance(x, x, x, x, x, scale=1e-30), "float32") == np.inf).all()
