"""The definition of the gradients, against opinions that share no code with it, and the instance that it is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sympy
from mpmath import mp, mpf

from assay.spec.attention_gradient import LAWS, OUTPUTS, Instance, define, evaluate, load, symbolic
from assay.spec.attention_gradient.symbolic import derivatives
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from pathlib import Path

Array = np.ndarray[Any, Any]


def drawn(
    seed: int = 0, sizes: tuple[int, ...] = (1, 2, 1, 3, 4, 2, 3), dtype: Any = np.float32, **options: Any
) -> Instance:
    """sizes: batch, heads, key heads, queries, keys, dim, value dim; options may be functions of the generator."""
    b, h, h_k, n_q, n_k, d, d_v = sizes
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    arrays = normal(b, h, n_q, d), normal(b, h_k, n_k, d), normal(b, h_k, n_k, d_v), normal(b, h, n_q, d_v)
    return Instance(*arrays, **{name: value(normal) if callable(value) else value for name, value in options.items()})


#: Every option of attention, alone and together.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scale": {"scale": -0.37},
    "causal": {"is_causal": True},
    "bottom-right": {"causal": "bottom-right", "key_lengths": np.array([3])},
    "window": {"window": (1, 0)},
    "mask": {"mask": np.array([[True, False, True, True], [False] * 4, [True] * 4])},
    "bias": {"bias": lambda normal: normal(1, 2, 3, 4)},
    "bias of keys": {"bias": lambda normal: normal(4)},
    "hiding bias": {"bias": np.where(np.eye(3, 4) > 0, -np.inf, 0.25).astype(np.float32)},
    "softcap": {"softcap": 0.75},
    "sink": {"sink": lambda normal: normal(2)},
    "log-sum-exp": {"grad_log_sum_exp": lambda normal: normal(1, 2, 3)},
    "sink and empty rows": {"sink": lambda normal: normal(2), "mask": np.eye(3, 4) > 1,
                            "grad_log_sum_exp": lambda normal: normal(1, 2, 3)},
    "everything": {"softcap": 1.5, "bias": lambda normal: normal(2, 1, 4), "sink": lambda normal: normal(2),
                   "is_causal": True,
                   "grad_log_sum_exp": lambda normal: normal(1, 2, 3)},
}  # fmt: skip

each_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


# --- the loss in mpmath, differentiated by differences ---------------------------------------------------------------


def loss(instance: Instance, arrays: dict[str, Array]) -> Any:
    """Σ dO·o + Σ dlse·lse in mpmath, from its meaning; ``arrays`` hold mpf numbers in place of the instance's."""
    b, h, n_q, _ = instance.query.shape
    n_k = instance.key.shape[2]
    total = mpf(0)
    for batch, head, i in np.ndindex(b, h, n_q):
        own = head // instance.group
        weights: list[tuple[Any, int | None]] = []
        for j in range(n_k):
            if not instance.visible()[batch, head, i, j]:
                continue
            pairs = zip(arrays["query"][batch, head, i], arrays["key"][batch, own, j], strict=True)
            score = mpf(instance.scale or 0.0) * sum((x * y for x, y in pairs), mpf(0))
            if instance.softcap is not None:
                score = mpf(instance.softcap) * mp.tanh(score / mpf(instance.softcap))
            if instance.bias is not None:
                score += np.broadcast_to(arrays["bias"], (b, h, n_q, n_k))[batch, head, i, j]
            weights.append((mp.exp(score), j))
        if instance.sink is not None:
            weights.append((mp.exp(arrays["sink"][head]), None))
        mass = sum((w for w, _ in weights), mpf(0))
        if not weights:
            continue
        for c in range(instance.value.shape[3]):
            mean = sum((w * arrays["value"][batch, own, j, c] for w, j in weights if j is not None), mpf(0)) / mass
            total += mpf(float(instance.grad_output[batch, head, i, c])) * mean
        if instance.grad_log_sum_exp is not None:
            total += mpf(float(instance.grad_log_sum_exp[batch, head, i])) * mp.log(mass)
    return total


def exact_numbers(array: Array) -> Array:
    return np.vectorize(lambda x: mpf(float(x)), otypes=[object])(array)


def difference(instance: Instance, name: str, index: tuple[int, ...]) -> Any:
    """The derivative by a symmetric difference of 10^-25, which errs by about 10^-50."""
    arrays = {
        key: exact_numbers(array)
        for key in ("query", "key", "value", "bias", "sink")
        if (array := getattr(instance, key)) is not None
    }
    step, sides = mpf(10) ** -25, []
    for sign in (1, -1):
        moved = arrays[name].copy()
        moved[index] += sign * step
        sides.append(loss(instance, arrays | {name: moved}))
    return (sides[0] - sides[1]) / (2 * step)


@pytest.mark.claim("GRAD-1")
@each_option
def test_differences_in_high_precision_lie_in_the_balls(options: dict[str, Any]) -> None:
    instance = drawn(1, **options)
    exact = evaluate(instance, 1e-25)
    rng = np.random.default_rng(2)
    with mp.workdps(90):
        for output, enclosure in exact.gradients().items():
            name = output.removeprefix("grad_")
            array = getattr(instance, name)
            for flat in rng.permutation(array.size)[:3]:
                index = tuple(int(k) for k in np.unravel_index(flat, array.shape))
                if np.isneginf(float(array[index])):
                    assert enclosure.midpoint[index] == 0.0
                    continue
                gap = abs(difference(instance, name, index) - mpf(float(enclosure.midpoint[index])))
                assert gap <= mpf(float(enclosure.radius[index])) + mpf(10) ** -40, (output, index)


@pytest.mark.claim("GRAD-1")
@pytest.mark.parametrize("output", OUTPUTS)
def test_sympy_differentiates_the_definition_to_what_the_balls_contain(output: str) -> None:
    instance = drawn(3, (1, 2, 1, 2, 2, 1, 1), softcap=1.25, sink=np.array([0.5, -1.0], np.float32),
                     bias=np.array([0.25, -0.5], np.float32),
                     grad_log_sum_exp=np.full((1, 2, 2), 0.75, np.float32))  # fmt: skip
    instance = instance.replace(
        **{n: np.round(8 * getattr(instance, n)) / 8 for n in ("query", "key", "value", "grad_output")}
    )
    expressions, enclosure = symbolic(instance, output), define(instance, 1e-25, output)
    with mp.workdps(50):
        for index, expression in np.ndenumerate(expressions):
            truth = mpf(str(sympy.N(expression, 45)))
            assert (
                abs(truth - mpf(float(enclosure.midpoint[index])))
                <= mpf(float(enclosure.radius[index])) + mpf(10) ** -38
            )


@pytest.mark.claim("GRAD-1")
def test_the_formula_is_what_sympy_differentiates_identically_in_all_symbols() -> None:
    instance = drawn(4, (1, 1, 1, 2, 2, 1, 1), scale=1.0)
    instance = instance.replace(grad_output=np.array([[[[1.0], [-2.0]]]], np.float32))
    for output in ("grad_query", "grad_key", "grad_value"):
        symbols, derived = derivatives(instance, output)
        q, k, v = (symbols[name][0, 0] for name in ("query", "key", "value"))
        weights = np.vectorize(sympy.exp, otypes=[object])(q @ k.T)
        p = weights / weights.sum(axis=1, keepdims=True)
        grad = np.array([[sympy.Integer(1)], [sympy.Integer(-2)]], dtype=object)
        g = grad @ v.T
        gradient = p * (g - (p * g).sum(axis=1, keepdims=True))
        formula = {"grad_query": gradient @ k, "grad_key": gradient.T @ q, "grad_value": p.T @ grad}[output]
        for index, expression in np.ndenumerate(derived[0, 0]):
            assert sympy.simplify(sympy.expand(sympy.together(expression - formula[index]))) == 0, (output, index)


@each_option
def test_every_arithmetic_agrees(options: dict[str, Any]) -> None:
    instance = drawn(
        5, (2, 2, 1, 3, 4, 2, 3), **{k: v for k, v in options.items() if k not in ("key_lengths", "grad_log_sum_exp")}
    )
    instance = instance.replace(causal=None)
    ways = [evaluate(instance, relative).gradients() for relative in (1e-10, 1e-25, 1e-40)]
    for name, fine in ways[2].items():
        for rough in ways[:2]:
            gap = np.abs(rough[name].midpoint - fine.midpoint)
            assert (gap <= rough[name].radius + fine.radius).all(), name
        assert (ways[1][name].radius <= 1e-14 * (1 + np.abs(fine.midpoint))).all()


def test_large_scores_and_cancellation_still_meet_what_was_asked_for() -> None:
    instance = drawn(6, (1, 1, 1, 4, 6, 3, 2), scale=40.0, grad_log_sum_exp=lambda normal: normal(1, 1, 4))
    shifted = instance.replace(key=instance.key + np.float32(64.0))
    for one in (instance, shifted):
        exact = evaluate(one, 1e-20)
        assert all(np.isfinite(enclosure.midpoint).all() for enclosure in exact.gradients().values())
        assert (exact.grad_value.radius <= 1e-14).all()


def test_a_key_that_nobody_sees_and_a_query_that_sees_nothing_have_the_gradient_zero() -> None:
    mask = np.array([[True, False, True], [False, False, False]])
    exact = evaluate(drawn(7, (1, 1, 1, 2, 3, 2, 2), mask=mask, grad_log_sum_exp=lambda normal: normal(1, 1, 2)))
    assert not exact.grad_query.midpoint[0, 0, 1].any()
    assert not exact.grad_query.radius[0, 0, 1].any()
    assert not exact.grad_key.midpoint[0, 0, 1].any()
    assert not exact.grad_value.radius[0, 0, 1].any()


@pytest.mark.claim("ENC-11")
@pytest.mark.parametrize("relative", [1e-12, 1e-25])
@pytest.mark.parametrize("output", ["grad_query", "grad_key"])
def test_sums_that_overflow_make_no_infinite_radius_accurate_enough(output: str, relative: float) -> None:
    query, key = np.array([[[[1e-150], [2e-150]]]]), np.array([[[[1.0], [-1.0]]]])
    incoming, value = np.full((1, 1, 2, 1), 1e160), np.full((1, 1, 2, 1), 1e145)
    made = define(Instance(query, key, value, incoming, 1e149), relative, output)  # equal values: no gradient at all
    assert made.contains(np.zeros(made.shape)).all()
    assert np.isfinite(made.radius).all()
    assert np.isfinite(made.midpoint).all()


def test_a_size_that_only_a_small_scale_brings_back_into_range_measures_the_radius() -> None:
    base = drawn(3, dtype=np.float64)
    moved = base.replace(
        query=base.query * 2.0**1000, key=base.key * 2.0**-500, value=base.value * 2.0**250,
        grad_output=base.grad_output * 2.0**250, scale=2.0**-500 / np.sqrt(2.0),
    )  # fmt: skip
    one, other = (define(x, 1e-25, "grad_key") for x in (base, moved))  # scores are the same, and dK is 2^1000 times
    assert (np.ldexp(other.radius, -1000) <= 1e-12 * np.abs(one.midpoint).max()).all()
    assert other.contains(np.ldexp(one.midpoint, 1000)).all()


@pytest.mark.parametrize("relative", [1e-12, 1e-25])
@pytest.mark.parametrize("output", ["grad_query", "grad_key"])
def test_a_delta_beyond_float64_is_not_taken_for_zero(output: str, relative: float) -> None:
    query, key = np.array([[[[1e-150], [2e-150]]]]), np.array([[[[1.0], [-1.0]]]])
    incoming, value = np.full((1, 1, 2, 1), 1e160), np.full((1, 1, 2, 1), 1e150)
    made = define(Instance(query, key, value, incoming, 1.0), relative, output)
    assert made.contains(np.zeros(made.shape)).all()
    assert np.isfinite(made.radius).all()


def test_one_key_has_no_score_gradient() -> None:
    exact = evaluate(drawn(8, (1, 1, 1, 3, 1, 4, 4)))
    assert (np.abs(exact.grad_query.midpoint) <= exact.grad_query.radius).all()
    assert (np.abs(exact.grad_key.midpoint) <= exact.grad_key.radius).all()


@pytest.mark.claim("BWD-7")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_the_definition_satisfies_every_law(law: Any) -> None:
    applied = 0
    for number, options in enumerate(OPTIONS.values()):
        instance = drawn(20 + number, (1, 2, 2, 3, 4, 2, 3), **options)
        instance = instance.replace(**{n: np.round(8 * getattr(instance, n)) / 8 for n in ("query", "key", "value")})
        transformed = law.transform(instance, np.random.default_rng(5))
        if not transformed:
            continue
        applied += 1
        mine = evaluate(instance).gradients()
        theirs = [evaluate(other).gradients() for other in transformed]
        values = tuple({name: enclosure.midpoint for name, enclosure in outputs.items()} for outputs in theirs)
        for name, prediction in law.relate(instance, transformed, values).items():
            room = mine[name].radius + 1e-15 * (1 + np.abs(prediction.value))
            for weight, outputs in zip(prediction.weights, theirs, strict=True):
                room = room + np.abs(weight) * (
                    outputs[name].radius.max() + 2.0**-52 * np.abs(outputs[name].midpoint).max()
                )
            assert (np.abs(prediction.value - mine[name].midpoint) <= room).all(), (name, options)
    assert applied >= 3


@each_option
def test_an_instance_saves_and_loads_bit_for_bit(options: dict[str, Any], tmp_path: Path) -> None:
    instance = drawn(9, **options)
    instance.save(tmp_path / "x.npz")
    again = load(tmp_path / "x.npz")
    assert again.digest() == instance.digest()
    assert again.outputs() == instance.outputs()
    assert all(np.array_equal(array, again.arrays()[name]) for name, array in instance.arrays().items())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grad_output": np.zeros((1, 2, 3, 2), np.float32)}, "grad_output: shape"),
        ({"grad_output": np.zeros((1, 2, 3, 3), np.float64)}, "grad_output: dtype float64, expected float32"),
        ({"grad_output": np.full((1, 2, 3, 3), np.nan, np.float32)}, "grad_output: nan"),
        ({"grad_log_sum_exp": np.zeros((1, 2, 4), np.float32)}, "grad_log_sum_exp: shape"),
        ({"softcap": -1.0}, "softcap: -1.0, expected a number > 0"),
    ],
)
def test_a_bad_instance_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInstance, match=words):
        drawn(0).replace(**changes)


def test_an_output_that_the_instance_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="grad_bias"):
        define(drawn(), output="grad_bias")
    with pytest.raises(ValueError, match="expected one of grad_query"):
        symbolic(drawn(), "grad_sink")
