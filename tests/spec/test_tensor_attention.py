"""Attention of any order: its instances, its definition against other opinions, and its laws."""

from __future__ import annotations

import itertools
import math
import pickle
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from mpmath import mp, mpf

from assay.spec import attention
from assay.spec.floats import dtype_named
from assay.spec.problem import InvalidInstance
from assay.spec.tensor_attention import LAWS, OUTPUTS, HigherOrder, Instance, define, evaluate, load, symbolic
from assay.spec.tensor_attention.symbolic import symbolic_log_sum_exp

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]


def drawn(
    order: int = 3,
    seed: int = 0,
    *,
    dtype: Any = np.float32,
    lengths: tuple[int, ...] = (4, 3, 2),
    n_q: int = 4,
    heads: tuple[int, int] = (2, 1),
    size: float = 1.0,
    **options: Any,
) -> HigherOrder:
    """2 batches, 2 heads over 1, 4 queries, 3 and 2 columns."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return (size * rng.standard_normal(shape)).astype(dtype)

    modes = lengths[: order - 1]
    keys = [normal(2, heads[1], n, 3) for n in modes]
    values = [normal(2, heads[1], n, 2) for n in modes]
    return Instance.of_order(order)(normal(2, heads[0], n_q, 3), *keys, *values, **options)


INSTANCES: dict[str, HigherOrder] = {
    "order 2": drawn(2, return_lse=True),
    "order 3": drawn(3, 1, return_lse=True),
    "order 4": drawn(4, 2, return_lse=True),
    "causal": drawn(3, 3, is_causal=True, lengths=(4, 4), return_lse=True),
    "windows": drawn(3, 4, window=(2, 1), return_lse=True),
    "causal windows": drawn(4, 5, window=(2, None, 3), is_causal=True, lengths=(4, 4, 4), return_lse=True),
    "rows without a key": drawn(3, 6, window=(1, 2), is_causal=True, lengths=(2, 3), n_q=6, return_lse=True),
    "negative scale": drawn(3, 7, scale=-0.75, return_lse=True),
    "one key": drawn(3, 8, lengths=(1, 1), return_lse=True),
    "bfloat16": drawn(3, 9, dtype=dtype_named("bfloat16"), return_lse=True),
    "float64": drawn(4, 10, dtype=np.float64, return_lse=True),
}


# --- the instance -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INSTANCES)
def test_an_instance_is_saved_and_loaded_bit_exactly_whatever_its_order(name: str, tmp_path: Path) -> None:
    instance = INSTANCES[name]
    instance.save(tmp_path / "x.npz")
    again = load(tmp_path / "x.npz")
    assert type(again) is type(instance)
    assert again.digest() == instance.digest()
    assert again.window == instance.window


def test_every_order_has_a_class_of_its_own_that_pickles_know() -> None:
    assert Instance.of_order(3) is Instance
    assert Instance.of_order(4) is Instance.of_order(4)
    four = INSTANCES["order 4"]
    assert [*four.arrays()] == ["query", "key1", "key2", "key3", "value1", "value2", "value3"]
    assert (four.order, four.mode_lengths, four.combinations) == (4, (4, 3, 2), 24)
    assert pickle.loads(pickle.dumps(four)).digest() == four.digest()
    assert four.part(keys3=[1], dim=[0, 2]).mode_keys[2].shape == (2, 1, 1, 2)


@pytest.mark.parametrize("order", [1, 0, -3, 13, 2.0, True, "3"])
def test_an_order_that_is_none_is_refused(order: Any) -> None:
    with pytest.raises(ValueError, match="expected an integer from 2 to 12"):
        Instance.of_order(order)


def test_windows_are_one_a_mode() -> None:
    with pytest.raises(
        InvalidInstance, match=r"window: \(2,\), expected a tuple of 2 lengths, one a mode, each an integer ≥ 1"
    ):
        drawn(3, window=(2,))
    with pytest.raises(InvalidInstance, match="window"):
        drawn(4, window=(2, 0, 1))
    assert drawn(3, window=(None, None)).window is None


@pytest.mark.claim("TEN-1")
@pytest.mark.parametrize("name", INSTANCES)
def test_a_query_attends_to_the_combinations_whose_keys_it_may_all_see(name: str) -> None:
    instance = INSTANCES[name]
    window = instance.window or (None,) * (instance.order - 1)
    seen = instance.visible()
    for i in range(instance.query.shape[2]):
        for number, combination in enumerate(itertools.product(*map(range, instance.mode_lengths))):
            wanted = all(
                (not instance.is_causal or j <= i) and (w is None or abs(i - j) < w)
                for j, w in zip(combination, window, strict=True)
            )
            assert seen[i, number] == wanted


# --- the definition ---------------------------------------------------------------------------------------------------


def by_mpmath(instance: HigherOrder) -> tuple[Array, Array]:
    """The output and the log-sum-exp with 60 digits, one sum after the other; it shares no code with the definition."""
    mp.dps = 60
    b, h, n_q, d = instance.query.shape
    d_v = instance.mode_values[0].shape[3]
    output, lse = np.empty((b, h, n_q, d_v), object), np.empty((b, h, n_q), object)
    group = h // instance.mode_keys[0].shape[1]
    window = instance.window or (None,) * (instance.order - 1)
    for batch, head, i in np.ndindex(b, h, n_q):
        total, sums = mpf(0), [mpf(0)] * d_v
        for js in itertools.product(*map(range, instance.mode_lengths)):
            if instance.is_causal and max(js) > i:
                continue
            if any(w is not None and abs(i - j) >= w for j, w in zip(js, window, strict=True)):
                continue
            score = mpf(0)
            for c in range(d):
                term = mpf(float(instance.query[batch, head, i, c]))
                for key, j in zip(instance.mode_keys, js, strict=True):
                    term *= mpf(float(key[batch, head // group, j, c]))
                score += term
            weight = mp.exp(mpf(instance.scale) * score)
            total += weight
            for c in range(d_v):
                term = weight
                for value, j in zip(instance.mode_values, js, strict=True):
                    term *= mpf(float(value[batch, head // group, j, c]))
                sums[c] += term
        lse[batch, head, i] = mp.log(total) if total else -mp.inf
        for c in range(d_v):
            output[batch, head, i, c] = sums[c] / total if total else mpf(0)
    return output, lse


@pytest.mark.claim("TEN-1")
@pytest.mark.parametrize("name", INSTANCES)
def test_the_definition_holds_what_mpmath_computes(name: str) -> None:
    instance = INSTANCES[name]
    for enclosure, value in zip(
        (define(instance, 1e-25), define(instance, 1e-25, "log_sum_exp")), by_mpmath(instance), strict=True
    ):
        gap = np.array(
            [
                abs(float(x - mpf(m))) if x != -mp.inf else 0.0
                for x, m in zip(value.flat, enclosure.midpoint.flat, strict=True)
            ]
        )
        assert (gap.reshape(enclosure.shape) <= enclosure.radius * (1 + 1e-9) + 1e-300).all()
        assert (np.isneginf(enclosure.midpoint) == (value == -mp.inf)).all()


@pytest.mark.claim("TEN-1")
@pytest.mark.parametrize("name", ["order 2", "causal windows", "rows without a key"])
def test_the_definition_holds_what_sympy_says(name: str) -> None:
    instance = INSTANCES[name].part(batch=[1], heads=[1], value_dim=[0])
    for enclosure, expressions in (
        (define(instance, 1e-20), symbolic(instance)),
        (define(instance, 1e-20, "log_sum_exp"), symbolic_log_sum_exp(instance)),
    ):
        numbers = np.array([float(x.evalf(30)) for x in expressions.flat]).reshape(expressions.shape)
        assert enclosure.contains(numbers).all() or np.abs(numbers - enclosure.midpoint).max() < 1e-15


@pytest.mark.claim("TEN-1")
def test_equal_scores_give_the_exact_mean_of_products() -> None:
    rng = np.random.default_rng(0)
    values = [rng.integers(-9, 10, (1, 1, n, 2)).astype(np.float64) for n in (3, 4)]
    zero = [np.zeros((1, 1, n, 1)) for n in (2, 3, 4)]
    made = define(Instance(*zero, *values), 1e-30)
    for c in range(2):
        pairs = [Fraction(int(a)) * int(b) for a in values[0][0, 0, :, c] for b in values[1][0, 0, :, c]]
        mean = sum(pairs) / len(pairs)
        ball = made.balls[0, 0, 0, c]
        assert abs(Fraction(float(made.midpoint[0, 0, 1, c])) - mean) <= Fraction(float(made.radius[0, 0, 1, c]))
        assert abs(float(ball.rad())) < 1e-28


@pytest.mark.claim("TEN-1")
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"window": (2,)}])
def test_order_2_is_attention_to_the_last_digit(options: dict[str, Any]) -> None:
    instance = drawn(2, 3, lengths=(4,), **options)
    window = None if "window" not in options else (options["window"][0] - 1,) * 2
    plain = attention.Instance(
        instance.query, *instance.mode_keys, *instance.mode_values, is_causal=instance.is_causal, window=window
    )
    for name in OUTPUTS:
        ours, theirs = define(instance, output=name), attention.define(plain, output=name)
        assert (ours.midpoint == theirs.midpoint).all()
        assert (ours.radius == theirs.radius).all()


@pytest.mark.claim("TEN-1")
def test_a_mode_of_one_key_reduces_the_order_by_one() -> None:
    wide = drawn(4, 5, lengths=(3, 1, 4))
    group = wide.group
    key = np.repeat(wide.mode_keys[1].astype(float), group, axis=1)
    lower = Instance(
        wide.query.astype(float) * key,
        *(x.astype(float) for x in (wide.mode_keys[0], wide.mode_keys[2])),
        wide.mode_values[0].astype(float) * wide.mode_values[1].astype(float),
        wide.mode_values[2].astype(float),
    )
    for name in OUTPUTS:
        one, other = define(wide, 1e-13, name), define(lower, 1e-13, name)
        assert np.abs(one.midpoint - other.midpoint).max() < 1e-12


def test_large_scores_and_extreme_numbers_are_certified() -> None:
    for size, dtype in ((30.0, np.float32), (1e-30, np.float32), (1e60, np.float64), (1e-200, np.float64)):
        instance = drawn(3, 11, size=size, dtype=dtype).part(batch=[0])
        made = define(instance, 1e-12)
        assert np.isfinite(made.radius).all()
        wide = by_mpmath(instance)[0]
        gap = [
            abs(x - mpf(float(m))) <= mpf(float(r)) * (1 + mpf(10) ** -9)
            for x, m, r in zip(wide.flat, made.midpoint.flat, made.radius.flat, strict=True)
        ]
        assert all(gap)


def test_unknown_outputs_and_accuracies_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown output 'grad': expected 'output' or 'log_sum_exp'"):
        define(INSTANCES["order 3"], output="grad")
    with pytest.raises(ValueError, match="relative"):
        define(INSTANCES["order 3"], 0.0)
    with pytest.raises(ValueError, match="symbolic: 25600 scores, expected at most 4096"):
        symbolic(drawn(3, lengths=(40, 40)))


# --- laws -------------------------------------------------------------------------------------------------------------

#: Numbers of few bits, so that every transformation is exact.
_WHOLE = {
    "whole": {},
    "whole, causal": {"is_causal": True, "lengths": (4, 4, 4)},
    "whole, windows": {"window": (3, 5, 5)},
    "whole, one key": {"lengths": (1, 3, 2)},
}


def whole(order: int, name: str) -> HigherOrder:
    options = dict(_WHOLE[name])
    if "window" in options:
        options["window"] = options["window"][: order - 1]  # type: ignore[index]
    instance = drawn(order, len(name), return_lse=True, **options)  # type: ignore[arg-type]
    arrays = {key: np.rint(2 * x.astype(float)).astype(x.dtype) for key, x in instance.arrays().items()}
    return instance.replace(**arrays)


@pytest.mark.claim("TEN-6")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_laws_hold_of_the_definition(law: Any) -> None:
    applied, rng = 0, np.random.default_rng(5)
    for order, name in itertools.product((2, 3, 4), _WHOLE):
        instance = whole(order, name)
        transformed = law.transform(instance, rng)
        if not transformed:
            continue
        applied += 1
        outputs = [{key: define(each, 1e-14, key) for key in OUTPUTS} for each in transformed]
        middle = tuple({key: x.midpoint for key, x in each.items()} for each in outputs)
        for key, prediction in law.relate(instance, transformed, middle).items():
            exact = define(instance, 1e-14, key)
            slack = sum(w * output[key].radius for w, output in zip(prediction.weights, outputs, strict=True))
            assert (np.abs(prediction.value - exact.midpoint) <= exact.radius + 4 * slack + 1e-13).all(), name
    assert applied


@pytest.mark.claim("TEN-6")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_laws_do_not_hold_of_outputs_that_break_them(law: Any) -> None:
    """A prediction depends on the outputs that it is given."""
    rng = np.random.default_rng(6)
    for name in _WHOLE:
        instance = whole(3, name)
        if transformed := law.transform(instance, rng):
            outputs = tuple({key: define(x, 1e-10, key).midpoint for key in OUTPUTS} for x in transformed)
            off = tuple({key: x + 1e-3 for key, x in each.items()} for each in outputs)
            right, wrong = law.relate(instance, transformed, outputs), law.relate(instance, transformed, off)
            assert all((right[key].value != wrong[key].value).any() for key in right)


@pytest.mark.claim("TEN-6")
def test_adding_a_vector_to_all_keys_of_a_mode_changes_order_3_and_not_order_2() -> None:
    for order in (2, 3, 4):
        instance = whole(order, "whole")
        moved = instance.replace(key1=instance.mode_keys[0] + np.float32(1.0))
        gap = np.abs(define(instance).midpoint - define(moved).midpoint).max()
        assert gap < 1e-12 if order == 2 else gap > 1e-2


@pytest.mark.claim("TEN-6")
def test_inexact_transformations_are_not_made() -> None:
    tiny = drawn(3, 0, dtype=np.float16, size=2.0**-23)  # half of such a number is none
    law = {each.id: each for each in LAWS}["gauge"]
    for seed in range(8):
        for made in law.transform(tiny, np.random.default_rng(seed)):
            scores = [evaluate(each).score.midpoint for each in (tiny, made)]
            assert math.isclose(*(float(np.abs(x).max()) for x in scores), rel_tol=1e-12)
