"""Attention by a smaller transformer: instance, definition, laws, plans, the counting bound, samples, packing."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sympy

from assay.spec import attention
from assay.spec.problem import InvalidInstance
from assay.spec.small_transformers import LAWS, Instance, define, load, sees, symbolic
from assay.spec.small_transformers.average import a_priori, log_largest_weight, sampling_error
from assay.spec.small_transformers.packed import packed, separation, unpacked, words
from assay.spec.small_transformers.plan import (
    Call,
    average_calls,
    balanced,
    call_count,
    counting_bound,
    heads_at_once,
    missed_pair,
    plan,
    planted,
    room,
    seen,
)
from assay.spec.small_transformers.symbolic import symbolic_log_sum_exp

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

KINDS = ("plain", "log_sum_exp", "causal")
MASKS: dict[str, dict[str, Any]] = {
    "full": {},
    "causal": {"is_causal": True},
    "window": {"is_causal": True, "window": 2},
    "window and sinks": {"is_causal": True, "window": 3, "sinks": 2},
}


def instance(seed: int = 0, *, n: int = 7, heads: tuple[int, int] = (4, 2), d: int = 3, **options: Any) -> Instance:
    rng = np.random.default_rng(seed)
    dtype = options.pop("dtype", np.float32)
    shapes = ((2, heads[0], n, d), (2, heads[1], n, d), (2, heads[1], n, 2))
    arrays = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return Instance(*arrays, **({"oracle_size": 4} | options))


def masked(seed: int = 0, **options: Any) -> Instance:
    made = instance(seed, **options)
    n = made.query.shape[2]
    return made.replace(mask=np.random.default_rng(seed).random((2, 1, n, n)) < 0.7)


# --- the instance and its definition ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", MASKS.values(), ids=MASKS)
def test_an_instance_is_saved_and_loaded_bit_exactly(options: dict[str, Any], tmp_path: Path) -> None:
    made = masked(oracle="causal", at_once=3, **options)
    made.save(tmp_path / "x.npz")
    assert load(tmp_path / "x.npz").digest() == made.digest()


def test_an_oracle_takes_everything_unless_a_size_is_asked_for() -> None:
    assert instance(oracle_size=None).oracle_size == 8
    assert len(plan(instance(oracle_size=None))) == 1


def test_shrinking_reaches_one_call() -> None:
    made = masked(is_causal=True, window=3, sinks=1)
    small = min(made.smaller(), key=lambda one: one.size())
    assert small.size() < made.size() / 2
    assert any(one.oracle_size == 8 for one in made.smaller())


@pytest.mark.claim("MERGE-0")
@pytest.mark.parametrize("options", MASKS.values(), ids=MASKS)
def test_what_is_visible_is_what_the_options_mean_one_pair_at_a_time(options: dict[str, Any]) -> None:
    made, n = masked(**options), 7
    window, sinks = options.get("window", n), options.get("sinks", 0)
    assert made.mask is not None
    for b, h, i, j in np.ndindex(2, 4, n, n):
        right = (j <= i and (i - window < j or j < sinks)) if options else True
        assert made.visible()[b, h, i, j] == (right and made.mask[b, 0, i, j])


@pytest.mark.claim("MERGE-0")
@pytest.mark.parametrize("options", MASKS.values(), ids=MASKS)
def test_the_definition_is_that_of_sympy(options: dict[str, Any]) -> None:
    made = masked(1, n=4, heads=(2, 1), d=2, **options)
    for exact, terms in (
        (define(made, 1e-30), symbolic(made)),
        (define(made, 1e-30, "log_sum_exp"), symbolic_log_sum_exp(made)),
    ):
        for index in np.ndindex(terms.shape):
            if terms[index] == -sympy.oo:
                assert exact.midpoint[index] == -np.inf
            else:
                assert exact[index].contains(float(sympy.N(terms[index], 30)))
                assert exact.radius[index] <= 1e-14


@pytest.mark.claim("MERGE-0")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
@pytest.mark.parametrize("options", MASKS.values(), ids=MASKS)
def test_the_definition_keeps_the_laws(law: Any, options: dict[str, Any]) -> None:
    applied = 0
    for seed, made in enumerate((instance(2, n=5, heads=(2, 1), **options), masked(3, n=5, heads=(2, 2), **options))):
        transformed = law.transform(made, np.random.default_rng(seed))
        if not transformed:
            continue
        applied += 1
        names = ("output", "log_sum_exp")
        outputs = tuple({name: define(one, output=name).midpoint for name in names} for one in transformed)
        for name, prediction in law.relate(made, transformed, outputs).items():
            value = define(made, output=name).midpoint
            same = (prediction.value == value) | (np.abs(prediction.value - value) <= 1e-11)
            assert same.all(), (law.id, name)
    by_place = options != {}
    if law.id in ("permute-keys", "reverse-queries"):
        assert applied == (0 if by_place else 2)
    elif law.id not in ("as-mask", "wide-window", "double-query"):
        assert applied == 2


# --- plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.claim("MERGE-3")
@pytest.mark.parametrize("oracle", KINDS)
@pytest.mark.parametrize("options", MASKS.values(), ids=MASKS)
def test_a_plan_looks_at_every_visible_pair_once_in_calls_of_the_size(oracle: str, options: dict[str, Any]) -> None:
    for n, size in itertools.product((1, 2, 5, 9, 12), range(2, 9)):
        x = np.ones((1, 1, n, 1))
        made = Instance(x, x, x, oracle_size=size, oracle=oracle, **options)
        calls = plan(made)
        assert (seen(calls, n, n)[made.visible()[0, 0]] == 1).all()
        assert all(len(call.queries) <= size and len(call.keys) <= size for call in calls)
        merged = options.get("window") is None or oracle == "causal"
        assert not merged or all(len(call.keys) <= room(size, oracle) for call in calls)
        assert missed_pair(calls, made) is None


@pytest.mark.claim("MERGE-3")
@pytest.mark.claim("ST-1")
@pytest.mark.claim("ST-4")
@pytest.mark.parametrize("oracle", KINDS)
@pytest.mark.parametrize("options", MASKS.values(), ids=MASKS)
def test_the_number_of_calls_is_that_of_the_formulae(oracle: str, options: dict[str, Any]) -> None:
    for n, size in itertools.product(range(1, 26), range(2, 12)):
        x = np.ones((1, 1, n, 1))
        made = Instance(x, x, x, oracle_size=size, oracle=oracle, **options)
        window, sinks = options.get("window"), options.get("sinks", 0)
        parts = math.ceil(n / (size if oracle == "log_sum_exp" else size - 1))
        if window is not None:
            if oracle == "causal" or size - window - sinks + 1 < 1:
                with pytest.raises(ValueError, match="no formula"):
                    call_count(n, n, size, oracle=oracle, **options)
                continue
            formula = math.ceil(n / (size - window - sinks + 1))
        elif oracle == "causal":
            formula = parts**2 if options else 2 * parts**2
        else:
            formula = parts * (parts + 1) // 2 if options else math.ceil(n / size) * parts
        assert len(plan(made)) == call_count(n, n, size, oracle=oracle, **options) == formula


@pytest.mark.claim("MERGE-3")
def test_a_causal_oracle_costs_the_counting_bound_but_for_3_in_the_size() -> None:
    for size in (16, 64, 256):
        n = (size - 1) * 40
        ratio = call_count(n, n, size, oracle="causal", is_causal=True) / (n * (n + 1) / (size * (size + 1)))
        assert 1 + 2.5 / size <= ratio <= 1 + 3.5 / size


@pytest.mark.claim("ST-5")
def test_heads_and_layers_at_once_divide_the_calls() -> None:
    assert heads_at_once(9, 30, 12) == 23
    assert heads_at_once(8, 1, 8) == 1
    assert average_calls(131072, 2048) == 64


def test_parts_differ_by_one_key_at_most() -> None:
    for length, most in itertools.product(range(1, 40), range(1, 12)):
        sizes = [len(part) for part in balanced(length, most)]
        assert sum(sizes) == length
        assert len(sizes) == math.ceil(length / most)
        assert max(sizes) <= most
        assert max(sizes) - min(sizes) <= 1


def test_causal_plans_of_other_lengths_are_refused() -> None:
    x = np.ones((1, 1, 4, 1))
    with pytest.raises(InvalidInstance, match="is_causal: True with 4 queries and 3 keys"):
        plan(Instance(x, x[:, :, :3], x[:, :, :3], is_causal=True))


# --- ST-2 -------------------------------------------------------------------------------------------------------------


@pytest.mark.claim("ST-2")
def test_no_plan_is_below_the_counting_bound() -> None:
    for (oracle, options), n, size in itertools.product(
        itertools.product(KINDS, MASKS.values()), range(1, 14), range(2, 9)
    ):
        x = np.ones((1, 1, n, 1))
        made = Instance(x, x, x, oracle_size=size, oracle=oracle, **options)
        assert len(plan(made)) >= counting_bound(n, n, size, oracle=oracle, **options)


@pytest.mark.claim("ST-2")
@pytest.mark.parametrize("options", MASKS.values(), ids=MASKS)
def test_a_call_left_out_leaves_a_pair_that_a_planted_key_shows(options: dict[str, Any]) -> None:
    made = instance(4, n=9, **options)
    calls = plan(made)
    for left_out in range(len(calls)):
        rest = calls[:left_out] + calls[left_out + 1 :]
        pair = missed_pair(rest, made)
        if pair is None:  # all that it saw were pairs of queries with one key
            assert made.visible()[0, 0][list(calls[left_out].queries)].sum(axis=1).max() == 1
            continue
        i, j = pair
        one, other = planted(made, pair)
        outputs = [define(each).midpoint[:, :, i] for each in (one, other)]
        assert outputs[0].max() < 0.25 < 0.75 < outputs[1].min()
        for call in rest:  # every call answers alike
            q, k = list(call.queries), list(call.keys)
            if not (i in q and j in k):
                told = []
                for each in (one, other):
                    part = attention.Instance(each.query, each.key, each.value, scale=each.scale).part(
                        queries=q, keys=k
                    )
                    told.append(attention.define(part).midpoint)
                assert (told[0] == told[1]).all()


@pytest.mark.claim("ST-2")
def test_a_query_that_sees_one_key_needs_no_call() -> None:
    assert counting_bound(50, 50, 4, is_causal=True, window=1) == 0
    made = instance(n=3, is_causal=True, window=1)
    assert missed_pair([], made) is None
    assert np.abs(define(made).midpoint - np.repeat(made.value, 2, axis=1)).max() <= 1e-12
    assert missed_pair([Call((0, 1), (0, 1))], instance(n=3)) == (0, 2)


# --- ST-3 -------------------------------------------------------------------------------------------------------------


@pytest.mark.claim("ST-3")
def test_samples_fail_less_often_than_they_may() -> None:
    rng = np.random.default_rng(7)
    n, m, d, draws, failure = 96, 24, 4, 2500, 0.05
    query, key = rng.standard_normal((1, d)), rng.standard_normal((n, d)) * 0.5
    value = np.where(rng.random((n, 2)) < 0.5, 0.0, 1.0)  # the worst values are at the ends
    weight = np.exp(query @ key.T)[0]
    exact = weight @ value / weight.sum()
    largest = log_largest_weight(query, key, 1.0)
    assert math.log(weight.max()) <= largest[0]
    failed, widest = 0, 0.0
    for _ in range(draws):
        chosen = rng.permutation(n)[:m]
        mean = weight[chosen].mean()
        estimate = weight[chosen] @ value[chosen] / weight[chosen].sum()
        bound = sampling_error(largest, math.log(mean), np.ones(2), keys=n, sample=m, questions=2, failure=failure)
        failed += bool((np.abs(estimate - exact) > bound).any())
        widest = max(widest, float((np.abs(estimate - exact) / bound).max()))
    assert failed <= failure * draws
    assert widest >= 0.2


def largest_score(query: Any, key: Any, scale: float) -> Fraction:
    """Of one query, exactly."""
    products = ([Fraction(scale) * Fraction(a) * Fraction(b) for a, b in zip(query, k, strict=True)] for k in key)
    return max(sum(each, Fraction(0)) for each in products)


@pytest.mark.claim("ST-3")
@pytest.mark.parametrize(
    ("query", "key", "scale"),
    [
        ([1 + 2.0**-30, -1.0], [[1 + 2.0**-30, 1 + 2.0**-29]] * 3, 2.0**63),  # 8, of products that cancel
        ([2.0**-541, 2.0**-540], [[1.0, 2.0], [0.0, 0.0]], 2.0**541),  # squares of the query underflow
        ([2.0**541, 2.0**540], [[1.0, 2.0], [0.0, 0.0]], 2.0**-541),  # … and overflow
        ([1.0, 2.0], [[2.0**-541, 2.0**-540], [0.0, 0.0]], 2.0**541),
        ([2.0**-1074] * 2, [[2.0**1000] * 2, [-(2.0**1000)] * 2], 2.0**74),  # a norm that is rounded to a third less
        ([2.0**-600] * 2, [[2.0**600] * 2, [0.0] * 2], 2.0**-1000),
        ([2.0**-600] * 2, [[2.0**-600] * 2] * 2, 2.0**1023),  # products that vanish
    ],
)
def test_the_largest_weight_is_rounded_outwards(query: Any, key: Any, scale: float) -> None:
    for sign in (1.0, -1.0):
        found = float(log_largest_weight(np.array([query]), np.array(key), sign * scale)[0])
        assert found >= largest_score(query, key, sign * scale)


@pytest.mark.claim("ST-3")
@pytest.mark.parametrize("place", ["query", "key", "scale"])
def test_a_largest_weight_that_overflows_on_the_way_is_no_number_below_infinity(place: str) -> None:
    numbers = {"query": 1.0, "key": 1.0, "scale": 2.0} | {place: 1.7e308}
    query = numbers["query"] * np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    key = numbers["key"] * np.ones((3, 2))
    for sign in (1.0, -1.0):
        assert log_largest_weight(query, key, sign * numbers["scale"]).tolist() == [math.inf] * 3


@pytest.mark.claim("ST-3")
def test_equal_weights_and_two_values_come_near_the_bound() -> None:
    """Where weights are equal nothing is lost in w_max, and a δ near 1 leaves Hoeffding's own distance."""
    rng, n, m = np.random.default_rng(1), 400, 40
    value = (np.arange(n) < n // 2) * 1.0
    off = np.array([value[rng.permutation(n)[:m]].mean() - 0.5 for _ in range(4000)])
    bound = float(sampling_error(0.0, 0.0, 1.0, keys=n, sample=m, questions=1, failure=0.05))
    share = float((np.abs(off) > bound).mean())
    assert 0.002 <= share <= 0.05
    assert float((np.abs(off) > bound / math.sqrt(2)).mean()) > 0.05  # half the exponent is too little


@pytest.mark.claim("ST-3")
def test_the_factor_for_samples_without_replacement_is_that_of_serfling() -> None:
    whole = sampling_error(0.0, 0.0, 1.0, keys=10, sample=10, questions=3, failure=0.1)
    assert float(whole) == 0.0
    bounds = [float(sampling_error(0.0, 0.0, 9.0, keys=100, sample=m, questions=3, failure=0.1)) for m in range(1, 101)]
    assert sorted(bounds, reverse=True) == bounds
    m = 50
    right = 9.0 * math.sqrt((1 - (m - 1) / 100) * math.log(2 * 3 / 0.1) / (2 * m))
    assert bounds[m - 1] == pytest.approx(right, rel=1e-9)
    assert float(a_priori(1.0, 1.0, keys=100, sample=m, questions=3, failure=0.1)) == pytest.approx(math.e * right / 9)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"sample": 0}, "sample: 0"), ({"sample": 11}, "sample: 11"), ({"failure": 1.0}, "failure: 1.0"),
     ({"questions": 0}, "questions: 0")],
)  # fmt: skip
def test_samples_that_make_no_sense_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampling_error(0.0, 0.0, 1.0, **({"keys": 10, "sample": 5, "questions": 1, "failure": 0.1} | change))


# --- ST-6 -------------------------------------------------------------------------------------------------------------


@pytest.mark.claim("ST-6")
@pytest.mark.parametrize("scale", [None, 1.0, -0.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parts_packed_into_one_attention_come_out_as_they_were(scale: float | None, dtype: Any) -> None:
    for count in (1, 2, 5, 11):
        parts = [instance(seed, n=3, heads=(2, 1), scale=scale, dtype=dtype) for seed in range(count)]
        whole = packed(parts, 1e-6)
        spread = np.ptp(whole.value.astype(float), axis=2, keepdims=True).repeat(2, axis=1)
        for got, part in zip(unpacked(define(whole).midpoint, parts), parts, strict=True):
            assert (np.abs(got - define(part).midpoint) <= 1e-6 * spread + 1e-12).all()


@pytest.mark.claim("ST-6")
def test_products_inside_a_part_are_unchanged_and_those_across_are_far_below() -> None:
    parts = [instance(seed, n=3, heads=(1, 1), scale=1.0, dtype=np.float64) for seed in range(7)]
    whole = packed(parts, 1e-4)
    product = whole.query @ np.swapaxes(whole.key, 2, 3)
    most = max(
        float(np.linalg.norm(p.query, axis=3).max() * np.linalg.norm(o.key, axis=3).max()) for p in parts for o in parts
    )
    b = separation(most, 21, 1e-4, 1.0)
    for x, y in itertools.product(range(7), repeat=2):
        block = product[:, :, 3 * x : 3 * x + 3, 3 * y : 3 * y + 3]
        plain = parts[x].query @ np.swapaxes(parts[y].key, 2, 3)
        assert np.abs(block - plain).max() <= 1e-12 if x == y else (block - plain).max() <= -b * (1 - 1e-9)


@pytest.mark.claim("ST-6")
def test_words_are_distinct_of_equal_weight_and_as_short_as_can_be() -> None:
    for parts in (1, 2, 3, 4, 6, 7, 20, 21, 300):
        made = words(parts)
        assert len({tuple(word) for word in made.tolist()}) == parts
        assert len(set(made.sum(axis=1).tolist())) == 1
        length = made.shape[1]
        assert parts > math.comb(length - 1, (length - 1) // 2) or length == 1


@pytest.mark.claim("ST-6")
def test_parts_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(InvalidInstance, match="without masks that are alike"):
        packed([instance(0), instance(1, d=4)])
    with pytest.raises(InvalidInstance, match="without masks that are alike"):
        packed([instance(0), instance(1, is_causal=True)])
    with pytest.raises(InvalidInstance, match="no parts"):
        packed([])


def test_sees_counts_windows_of_keys_up_to_the_query() -> None:
    assert sees(4, 4, is_causal=True, window=1).astype(int).tolist() == np.eye(4, dtype=int).tolist()
    assert (sees(4, 4, is_causal=True, window=4) == sees(4, 4, is_causal=True)).all()
