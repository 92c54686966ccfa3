"""The tolerance of a backward pass: kernels of the bank, a climbing search, and roundings at their bounds attack it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from bank.attention_gradient.correct import CORRECT
from bank.attention_gradient.engine import Steps, Task, kernel, passed

from assay.spec.attention_gradient import PRECISIONS, Instance, criteria, evaluate, handed, tolerance
from assay.spec.attention_gradient.criteria import close_to_one_of
from assay.spec.attention_gradient.rounding import Backward
from assay.spec.attention_gradient.tolerance import EXPLICIT, FORWARD, Bounds, Origin
from assay.spec.enclosure import Enclosure, in_units_of
from assay.spec.floats import dtype_named
from assay.spec.softmax.rounding import Softmax

Array = np.ndarray[Any, Any]
MAIN = ("float32", "float64", "bfloat16", "float16", "bfloat16-eager", "float16-eager")
NUMPY = [entry for entry in CORRECT if not entry.name.startswith(("torch", "few"))]


def drawn(
    name: str, seed: int, sizes: tuple[int, ...] = (1, 2, 2, 5, 9, 8, 4), size: float = 1.0, **options: Any
) -> Instance:
    """sizes: batch, heads, key heads, queries, keys, dim, value dim."""
    b, h, h_k, n_q, n_k, d, d_v = sizes
    rng = np.random.default_rng(seed)
    dtype = dtype_named(PRECISIONS[name].storage)
    q, k, v, g = (
        (size * rng.standard_normal(shape)).astype(dtype)
        for shape in ((b, h, n_q, d), (b, h_k, n_k, d), (b, h_k, n_k, d_v), (b, h, n_q, d_v))
    )
    made = {key: value(rng).astype(dtype) if callable(value) else value for key, value in options.items()}
    return Instance(q, k, v, g, **made)


INPUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "large": {"size": 2.5},
    "causal": {"is_causal": True},
    "groups": {"sizes": (1, 4, 1, 6, 5, 8, 8)},
    "long": {"sizes": (1, 1, 1, 2, 130, 4, 4)},
    "many queries": {"sizes": (1, 1, 1, 130, 2, 4, 4)},
    "one key": {"sizes": (1, 1, 1, 4, 1, 8, 4)},
    "softcap": {"softcap": 1.5, "size": 1.5},
    "bias": {"bias": lambda rng: rng.standard_normal((1, 2, 1, 9))},
    "sink": {
        "sink": lambda rng: rng.standard_normal(2),
        "grad_log_sum_exp": lambda rng: rng.standard_normal((1, 2, 5)),
    },
    "masked": {"mask": np.tri(5, 9, 3) > 0, "scale": -0.61},
}


def answers(function: Any, instance: Instance, name: str) -> dict[str, Array]:
    """The gradients that a kernel of the bank returns."""
    output, log_sum_exp = handed(instance, PRECISIONS[name])
    options = {
        key: getattr(instance, key)
        for key in ("mask", "bias", "window", "key_lengths", "softcap", "sink", "grad_log_sum_exp")
    }
    arrays = (instance.query, instance.key, instance.value, output, log_sum_exp, instance.grad_output)
    made = function(*arrays, scale=instance.scale, causal=instance.causal, **options)
    return dict(zip(instance.outputs(), made, strict=True))


def judged(instance: Instance, name: str, values: dict[str, Array]) -> dict[str, float]:
    """Output → the largest ratio under the origin that fits best, of a kernel that is handed what it asks for."""
    precision = PRECISIONS[name]
    bounds = Bounds(instance, precision)
    output, log_sum_exp = (array.astype(np.float64) for array in handed(instance, precision))
    allowed = [bounds.of(origin, output if origin.handed else None, log_sum_exp) for origin in EXPLICIT]
    exact = bounds.exact.gradients()
    return {
        key: min(float(in_units_of(exact[key].least_error(value), bound[key]).max()) for bound in allowed)
        for key, value in values.items()
    }


@pytest.mark.claim("BWD-0")
@pytest.mark.claim("BWD-4")
@pytest.mark.parametrize("name", MAIN)
def test_no_kernel_of_the_bank_exceeds_its_class_and_the_bound_is_not_vacuous(name: str) -> None:
    kernels = [entry for entry in NUMPY if name in entry.precisions]
    worst: dict[str, float] = {}
    inputs = list(INPUTS.values())[: 5 if name == "float64" else None]  # its reference is the dearest
    for number, options in enumerate(inputs):
        instance = drawn(name, number, **options)
        for entry in kernels:
            for output, ratio in judged(instance, name, answers(entry.function, instance, name)).items():
                assert ratio <= 1.0, (entry.name, output, options, ratio)
                worst[output] = max(worst.get(output, 0.0), ratio)
    least = {"float32": 0.015, "float64": 0.015}.get(name, 0.03 if "eager" in name else 0.2)
    assert min(worst[output] for output in ("grad_query", "grad_key", "grad_value")) >= least, worst


@pytest.mark.claim("BWD-6")
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_climbing_from_input_to_input_finds_no_kernel_that_exceeds_its_class(name: str) -> None:
    entries = [entry for entry in NUMPY if entry.name in ("plain", "products", "base-two") and name in entry.precisions]
    rng = np.random.default_rng(7)
    for entry in entries:
        best, top = drawn(name, 3, (1, 1, 1, 2, 5, 4, 3)), 0.0
        for step in range(25):
            tried = best
            if step:
                which = ("query", "key", "value", "grad_output")[step % 4]
                array = getattr(best, which).astype(np.float64)
                moved = array * np.where(
                    rng.random(array.shape) < 0.3, rng.choice([-1.5, 0.5, 1.1, 2.0], array.shape), 1.0
                )
                tried = best.replace(**{which: moved.astype(getattr(best, which).dtype)})
            ratio = max(judged(tried, name, answers(entry.function, tried, name)).values())
            assert ratio <= 1.0, (entry.name, ratio)
            if ratio >= top:
                best, top = tried, ratio


# --- roundings at their bounds --------------------------------------------------------------------------------------


def simulated(bounds: Bounds, origin: Origin, signs: np.random.Generator, toward: Array) -> dict[str, Array]:
    """The gradients of a kernel each of whose errors is at its bound; ``toward`` is dQ's sign that is aimed at.

    The sums themselves are not rounded.
    """
    instance, exact = bounds.instance, bounds.exact
    lam = bounds._log_sum_exp_error(None)
    beta = bounds._delta_error(origin, lam, None)
    back, times = bounds.precision.of(Backward), bounds.precision.of(Backward).score_gradient_times
    p = np.exp(bounds.attention.log_probability.midpoint)
    p = np.where(bounds._attended, p, 0.0)
    alpha = bounds._product_error(bounds._delta + beta)
    slope = 1.0 if exact.slope is None else exact.slope.midpoint
    d = exact.difference.midpoint
    e = lam * signs.choice([-1.0, 1.0], lam.shape)
    b = -beta * np.sign((p * slope * toward).sum(axis=3))
    spread = bounds.row.spread[..., : p.shape[3]]
    theta = np.where(np.sign(d * toward) >= 0, 1.0, -1.0) * spread
    side = np.sign(d * toward)
    short = (1 + side * bounds.precision.of(Softmax).probability) * (1 + side * back.score_gradient) ** times
    gradient = p * np.exp(e[..., None] + theta) * short * (d + np.sign(toward) * alpha - b[..., None])
    group = instance.group
    key = np.repeat(instance.key.astype(np.float64), group, axis=1)
    before = gradient * slope
    of_key = np.swapaxes(before, 2, 3) @ instance.query.astype(np.float64)
    b_, h, n_k, width = of_key.shape
    return {
        "grad_query": float(instance.scale or 0.0) * (before @ key),
        "grad_key": float(instance.scale or 0.0) * of_key.reshape(b_, h // group, group, n_k, width).sum(axis=2),
    }


@pytest.mark.claim("BWD-1")
@pytest.mark.claim("BWD-2")
@pytest.mark.claim("BWD-3")
@pytest.mark.parametrize("name", MAIN)
@pytest.mark.parametrize("origin", FORWARD, ids=lambda origin: origin.delta)
def test_errors_at_the_bounds_of_the_model_stay_within_the_tolerance_and_nearly_attain_it(
    name: str, origin: Origin
) -> None:
    top = 0.0
    for number, options in enumerate(
        ({}, {"size": 2.0}, {"softcap": 1.5}, {"sizes": (1, 2, 1, 3, 17, 4, 4)}, {"sizes": (1, 1, 1, 1, 2, 2, 1)})
    ):
        instance = drawn(name, 40 + number, **options)
        bounds = Bounds(instance, PRECISIONS[name])
        allowed, exact = bounds.of(origin), bounds.exact.gradients()
        key = np.repeat(instance.key.astype(np.float64), instance.group, axis=1)
        for c in range(key.shape[3]):
            toward = np.broadcast_to(np.sign(key[:, :, None, :, c]), bounds._attended.shape)
            made = simulated(bounds, origin, np.random.default_rng(c), toward)
            for output, value in made.items():
                ratio = in_units_of(exact[output].least_error(value), allowed[output])
                assert ratio.max() <= 1.0, (output, options)
                if output == "grad_query":
                    top = max(top, float(ratio.max()))
    assert top >= 0.3, top


# --- the two ways to call, and what is observed ---------------------------------------------------------------------


@pytest.mark.claim("BWD-5")
@pytest.mark.parametrize("name", MAIN)
def test_what_is_known_of_the_output_and_of_the_log_sum_exp_makes_the_tolerance_sharper(name: str) -> None:
    shares = []
    for seed in range(4):
        bounds = Bounds(drawn(name, seed, (1, 2, 2, 6, 12, 8, 16)), PRECISIONS[name])
        output, log_sum_exp = (array.astype(np.float64) for array in handed(bounds.instance, PRECISIONS[name]))
        plain, sharp = (
            bounds.of(Origin("output"))["grad_query"],
            bounds.of(Origin("output", True), output, log_sum_exp)["grad_query"],
        )
        assert (sharp <= plain * (1 + 1e-9)).all()
        shares.append(np.median(plain / sharp))
    assert np.mean(shares) >= 1.3, shares


@pytest.mark.claim("BWD-5")
def test_an_output_that_fits_no_one_tolerance_is_wrong_though_every_number_fits_some() -> None:
    zeros, steep, flat = np.zeros(2), np.array([1.0, 4.0]), np.array([2.0, 2.0])
    criterion = close_to_one_of(Enclosure(zeros, zeros), [steep, flat])
    assert criterion.ratio(np.array([1.0, 4.0])).max() <= 1.0
    assert criterion.ratio(np.array([2.0, 2.0])).max() <= 1.0
    assert criterion.ratio(np.array([2.0, 4.0])).max() > 1.9
    narrow = close_to_one_of(Enclosure(zeros, zeros), [steep, flat], lambda _: [steep / 8], ("x", "y"))
    assert narrow.ratio(np.array([1.0, 4.0]), zeros).max() > 7.9


@pytest.mark.claim("BWD-5")
def test_delta_of_the_wrong_output_is_outside_every_origin() -> None:
    instance = drawn("bfloat16", 6, (1, 2, 2, 6, 9, 8, 8))

    def short(t: Task, g: Array, p: Array, grad: Array, out: Array) -> Array:
        return (grad * out * 1.03).sum(axis=3, keepdims=True)

    values = answers(kernel(Steps(delta=short), passed), instance, "bfloat16")
    assert judged(instance, "bfloat16", values)["grad_query"] > 1.0


# --- traps and edges ------------------------------------------------------------------------------------------------


@pytest.mark.claim("BWD-6")
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_scores_rounded_otherwise_than_those_behind_the_log_sum_exp_are_right(name: str) -> None:
    entry = next(entry for entry in NUMPY if entry.name == "other-scores")
    instance = drawn(name, 9, size=4.0)
    assert max(judged(instance, name, answers(entry.function, instance, name)).values()) <= 1.0


@pytest.mark.claim("BWD-6")
def test_with_one_key_a_difference_of_zero_is_allowed_to_be_rounded() -> None:
    allowed = tolerance(drawn("float32", 1, (1, 1, 1, 3, 1, 4, 4)), "float32")
    assert (allowed > 0.0).all()
    assert (allowed < 1e-4).all()


@pytest.mark.claim("BWD-6")
def test_gradients_that_vanish_in_float16_are_allowed_to() -> None:
    instance = drawn("float16", 2, (1, 1, 1, 3, 5, 4, 4))
    instance = instance.replace(grad_output=np.full_like(instance.grad_output, 2.0**-24))
    zeros = {name: np.zeros(value.shape, np.float16) for name, value in evaluate(instance).gradients().items()}
    assert judged(instance, "float16", {"grad_query": zeros["grad_query"]})["grad_query"] <= 1.0


@pytest.mark.claim("BWD-6")
def test_keys_with_a_large_part_in_common_show_a_delta_in_a_short_type() -> None:
    instance = drawn("float32", 3, (1, 1, 1, 5, 17, 8, 8))
    instance = instance.replace(key=instance.key + np.float32(8.0))

    def short(t: Task, g: Array, p: Array, grad: Array, out: Array) -> Array:
        return (grad * out).sum(axis=3, keepdims=True).astype(dtype_named("bfloat16")).astype(grad.dtype)

    values = answers(kernel(Steps(delta=short), passed), instance, "float32")
    assert judged(instance, "float32", values)["grad_query"] > 3.0


@pytest.mark.claim("BWD-0")
def test_outside_the_domain_nothing_is_judged_and_inside_infinity_is_wrong() -> None:
    inside = drawn("float16", 4)
    outside = inside.replace(grad_output=np.full_like(inside.grad_output, 60000.0))
    assert np.isinf(tolerance(outside, "float16")).all()
    assert np.isfinite(tolerance(inside, "float16")).all()
    criterion = criteria(inside, PRECISIONS["float16"])["grad_query"]
    assert np.isposinf(criterion.ratio(np.full(inside.query.shape, np.inf))).all()


def test_masked_keys_and_empty_rows_are_exact_zeros() -> None:
    mask = np.array([[True, False, True], [False, False, False]])
    instance = drawn("float32", 5, (1, 1, 1, 2, 3, 4, 4), mask=mask)
    assert not tolerance(instance, "float32", "grad_query")[0, 0, 1].any()
    for output in ("grad_key", "grad_value"):
        assert not tolerance(instance, "float32", output)[0, 0, 1].any()


def test_an_unknown_class_or_output_is_refused() -> None:
    with pytest.raises(ValueError, match="float8"):
        tolerance(drawn("float32", 0), "float8-e4m3")
    with pytest.raises(ValueError, match="grad_sink"):
        tolerance(drawn("float32", 0), "float32", "grad_sink")


def test_the_tolerance_is_never_below_the_radius_of_the_reference() -> None:
    instance = drawn("float32", 6)
    rough = evaluate(instance, 1e-9)
    bounds = Bounds(
        instance,
        PRECISIONS["float32"],
        dataclasses.replace(rough, grad_query=Enclosure(rough.grad_query.midpoint, rough.grad_query.radius + 1e-3)),
    )
    assert (bounds.of(FORWARD[0])["grad_query"] >= 1e-3).all()
