"""The tolerance of a backward pass: kernels of the bank, a climbing search, and roundings at their bounds attack it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bank.attention_gradient.correct import CORRECT
from bank.attention_gradient.engine import Steps, Task, kernel, passed

from assay.conformance.attention_gradient.interface import EXPLICIT_FORM, FORWARD_FORM
from assay.conformance.attention_gradient.interface import criteria as held_to
from assay.conformance.interface.kernel import Kernel
from assay.spec.attention_gradient import PRECISIONS, Instance, criteria, evaluate, handed, tolerance
from assay.spec.attention_gradient.criteria import close_to_one_of
from assay.spec.attention_gradient.rounding import Backward
from assay.spec.attention_gradient.tolerance import HANDED, OWN, Bounds, Origin
from assay.spec.enclosure import Enclosure, in_units_of
from assay.spec.floats import dtype_named
from assay.spec.softmax.rounding import Softmax

if TYPE_CHECKING:
    from assay.conformance.interface.interface import Form

Array = np.ndarray[Any, Any]
MAIN = ("float32", "float64", "bfloat16", "float16", "bfloat16-eager", "float16-eager")
NUMPY = [entry for entry in CORRECT if not entry.name.startswith(("torch", "few"))]


def rarely(names: tuple[str, ...], *seldom: str) -> list[Any]:
    """Classes as parameters, of which some are those of CI alone."""
    return [pytest.param(name, marks=[pytest.mark.thorough] if name in seldom else []) for name in names]


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
    allowed = [bounds.of(origin, output if origin.handed else None, log_sum_exp) for origin in (*HANDED, *OWN)]
    exact = bounds.exact.gradients()
    return {
        key: min(float(in_units_of(exact[key].least_error(value), bound[key]).max()) for bound in allowed)
        for key, value in values.items()
    }


@pytest.mark.claim("BWD-0")
@pytest.mark.claim("BWD-4")
@pytest.mark.parametrize("name", rarely(MAIN, "float64", "bfloat16"))
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
    least = {"float32": 0.012, "float64": 0.012}.get(name, 0.02 if "eager" in name else 0.15)
    assert min(worst[output] for output in ("grad_query", "grad_key", "grad_value")) >= least, worst


@pytest.mark.claim("BWD-6")
@pytest.mark.parametrize("name", rarely(("float32", "bfloat16", "float16"), "float32", "bfloat16"))
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
    alpha = bounds._product_error(bounds._delta + beta, origin)
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
@pytest.mark.parametrize("origin", OWN, ids=lambda origin: origin.delta)
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
    assert judged(instance, "float32", values)["grad_query"] > 2.5


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
    assert (bounds.of(OWN[0])["grad_query"] >= 1e-3).all()


# --- correct kernels at the edges of a number format ------------------------------------------------------------------


def short(array: Array) -> Array:
    """Rounded to float16, as float32."""
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(np.float32)


def eager(instance: Instance, root: bool = False) -> list[Array]:
    """The gradients operation by operation in float16; the scale comes last, or its root is folded into Q and into K.

    With a softcap c, dS is multiplied by c and divided by it again, as automatic differentiation does.
    """
    q, k, v, grad = (getattr(instance, one).astype(np.float32) for one in ("query", "key", "value", "grad_output"))
    k, v = (np.repeat(one, instance.group, axis=1) for one in (k, v))
    scale = np.float32(instance.scale)
    if root:
        scale = np.sqrt(scale)
        q, k = short(q * scale), short(k * scale)
    s = short(q @ k.swapaxes(2, 3))
    s = s if root else short(s * scale)
    c = instance.softcap
    if c is not None:
        bent = short(np.tanh(short(s / np.float32(c))))
        s = short(np.float32(c) * bent)
    w = np.exp(s - s.max(axis=3, keepdims=True))
    p = short(w / w.sum(axis=3, keepdims=True))
    g = short(grad @ v.swapaxes(2, 3))
    ds = short(p * short(g - short((p * g).sum(axis=3, keepdims=True))))
    if c is not None:
        ds = short(short(short(ds * np.float32(c)) * short(1 - bent * bent)) / np.float32(c))
    with np.errstate(invalid="ignore"):
        of_key, of_value = short(short(ds.swapaxes(2, 3) @ q) * scale), short(p.swapaxes(2, 3) @ grad)
        made = [short(short(ds @ k) * scale), *(added(one, instance.group) for one in (of_key, of_value))]
        return [one.astype(np.float16) for one in made]


def added(array: Array, group: int) -> Array:
    """The sum over the heads of every group."""
    b, h, *rest = array.shape
    return np.asarray(array.reshape(b, h // group, group, *rest).sum(axis=2))


def largest_ratio(instance: Instance, name: str, values: list[Array]) -> float:
    with np.errstate(all="ignore"):
        held = criteria(instance, PRECISIONS[name]).values()
        return max(float(one.ratio(value).max()) for one, value in zip(held, values, strict=True))


def normal(seed: int, dtype: Any, *shapes: tuple[tuple[int, ...], float]) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [(size * rng.standard_normal(shape)).astype(dtype) for shape, size in shapes]


@pytest.mark.claim("BWD-3")
@pytest.mark.claim("BWD-4")
@pytest.mark.parametrize("n_q", [5, 1])
def test_a_scale_above_one_multiplies_what_the_eager_class_lost_before_it(n_q: int) -> None:
    shapes = [((1, 1, 5, 2), 2.0**-4), ((1, 1, 3, 2), 2.0**-8), ((1, 1, 3, 2), 1.0), ((1, 1, 5, 2), 2.0**-10)]
    if n_q == 1:
        shapes = [((1, 1, 1, 2), 2.0**-8), ((1, 1, 5, 2), 2.0**-4), ((1, 1, 5, 2), 1.0), ((1, 1, 1, 2), 2.0**-10)]
    for seed in range(4):
        instance = Instance(*normal(seed, np.float16, *shapes), 256.0)
        assert largest_ratio(instance, "float16-eager", eager(instance)) <= 1.0


@pytest.mark.claim("BWD-0")
def test_a_gradient_that_overflows_before_a_scale_below_one_is_not_judged() -> None:
    shapes = [((1, 1, 5, 2), 2.0**-4), ((1, 1, 6, 2), 256.0), ((1, 1, 6, 2), 40.0), ((1, 1, 5, 2), 40.0)]
    instance = Instance(*normal(0, np.float16, *shapes), 1 / 32)
    values = eager(instance)
    assert not np.isfinite(values[0]).all()
    assert largest_ratio(instance, "float16-eager", values) <= 1.0


@pytest.mark.claim("BWD-1")
def test_automatic_differentiation_of_a_small_softcap_divides_what_was_lost_by_it() -> None:
    for seed in range(8):
        shapes = [((1, 1, 3, 1), 2.0**-10), ((1, 1, 2, 1), 1.0), ((1, 1, 2, 1), 1.0), ((1, 1, 3, 1), 2.0**-10)]
        instance = Instance(*normal(seed, np.float16, *shapes), 1.0, softcap=2.0**-10)
        assert largest_ratio(instance, "float16-eager", eager(instance)) <= 1.0


@pytest.mark.claim("BWD-0")
def test_a_product_with_a_large_softcap_that_overflows_is_not_judged() -> None:
    shapes = [((1, 1, 4, 2), 1.0), ((1, 1, 3, 2), 1.0), ((1, 1, 3, 2), 60.0), ((1, 1, 4, 2), 60.0)]
    instance = Instance(*normal(1, np.float16, *shapes), 1 / 16, softcap=500.0)
    values = eager(instance)
    assert not np.isfinite(values[0]).all()
    assert largest_ratio(instance, "float16-eager", values) <= 1.0


@pytest.mark.claim("BWD-0")
def test_a_sum_of_output_gradients_that_overflows_is_not_judged() -> None:
    q, k, v = (np.full((1, 1, n, 1), x, np.float32) for n, x in ((3, 0.0), (1, 0.0), (1, 1e-20)))
    grad = np.array([2e38, 2e38, -2e38], np.float32).reshape(1, 1, 3, 1)
    with np.errstate(over="ignore"):
        of_value = grad.sum(axis=2, keepdims=True, dtype=np.float32)
    assert np.isinf(of_value).all()
    assert largest_ratio(Instance(q, k, v, grad, 1.0), "float32", [np.zeros_like(q), np.zeros_like(k), of_value]) <= 1.0


@pytest.mark.claim("BWD-0")
def test_heads_of_a_group_that_overflow_and_would_cancel_are_not_judged() -> None:
    rng = np.random.default_rng(0)
    query = (rng.standard_normal((1, 1, 40, 2)) + 8).astype(np.float16)
    key, value = ((size * rng.standard_normal((1, 1, 3, 2))).astype(np.float16) for size in (0.05, 30))
    grad = (60 * np.abs(rng.standard_normal((1, 1, 40, 2)))).astype(np.float16)
    grads = np.concatenate([grad, np.float16(-0.9) * grad], axis=1)
    instance = Instance(np.concatenate([query, query], axis=1), key, value, grads, 1.0)
    q, grad32 = instance.query.astype(np.float32), grads.astype(np.float32)
    k, v = (np.repeat(one.astype(np.float32), 2, axis=1) for one in (key, value))
    w = np.exp(q @ k.swapaxes(2, 3))
    p = w / w.sum(axis=3, keepdims=True)
    ds = short(p * (grad32 @ v.swapaxes(2, 3) - (short(p @ v) * grad32).sum(axis=3, keepdims=True)))
    with np.errstate(invalid="ignore"):
        of_key, of_value = (added(short(one), 2) for one in (ds.swapaxes(2, 3) @ q, short(p).swapaxes(2, 3) @ grad32))
    assert not np.isfinite(of_key).all()
    values = [one.astype(np.float16) for one in (short(ds @ k), of_key, of_value)]
    assert largest_ratio(instance, "float16", values) <= 1.0


@pytest.mark.claim("BWD-0")
def test_parts_of_a_broadcast_bias_that_overflow_and_would_cancel_are_not_judged() -> None:
    q, k = np.zeros((2, 1, 40, 1), np.float16), np.zeros((2, 1, 2, 1), np.float16)
    v = np.tile(np.array([30, -30], np.float16).reshape(1, 1, 2, 1), (2, 1, 1, 1))
    grad = np.full((2, 1, 40, 1), 120.0, np.float16)
    grad[1] *= np.float16(-0.9)
    instance = Instance(q, k, v, grad, 1.0, bias=np.zeros((1, 1, 1, 2), np.float16))
    parts = short(0.5 * (grad.astype(np.float32) @ v.astype(np.float32).swapaxes(2, 3)).sum(axis=2))
    assert np.isinf(parts).any()
    of_value = np.repeat(0.5 * grad.astype(np.float32).sum(axis=2, keepdims=True), 2, axis=2).astype(np.float16)
    with np.errstate(invalid="ignore"):
        of_bias = parts.sum(axis=0).astype(np.float16).reshape(1, 1, 1, 2)
    assert largest_ratio(instance, "float16", [np.zeros_like(q), np.zeros_like(k), of_value, of_bias]) <= 1.0


@pytest.mark.claim("BWD-3")
@pytest.mark.parametrize("scale", [2.0**-7, 2.0**-8])
def test_keys_times_a_scale_below_one_may_be_flushed_to_zero(scale: float) -> None:
    query, grad = np.ones((1, 1, 1, 1), np.float32), np.full((1, 1, 1, 1), 1e4, np.float32)
    key, value = (np.array([x, -x], np.float32).reshape(1, 1, 2, 1) for x in (2.0**-120, 1e4))
    of_key = np.array([5e7 * scale, -5e7 * scale], np.float32).reshape(1, 1, 2, 1)
    values = [np.zeros((1, 1, 1, 1), np.float32), of_key, np.full((1, 1, 2, 1), 5e3, np.float32)]
    assert largest_ratio(Instance(query, key, value, grad, scale), "float32", values) <= 1.0


@pytest.mark.claim("BWD-3")
def test_keys_times_the_root_of_the_scale_may_be_stored_as_subnormal_numbers() -> None:
    for seed in range(4):
        shapes = [((1, 1, 4, 2), 1.0), ((1, 1, 3, 2), 2.0**-17), ((1, 1, 3, 2), 20.0), ((1, 1, 4, 2), 20.0)]
        instance = Instance(*normal(seed, np.float16, *shapes), 0.9 / 64)
        assert largest_ratio(instance, "float16-eager", eager(instance, root=True)) <= 1.0


@pytest.mark.claim("BWD-4")
def test_every_head_of_a_group_is_stored_before_the_scale_and_before_heads_are_added() -> None:
    for seed in range(4):
        shapes = [((1, 1, 1, 2), 2.0**-10), ((1, 1, 2, 2), 2.0**-6), ((1, 1, 2, 2), 1.0), ((1, 8, 1, 2), 2.0**-10)]
        query, *others = normal(seed, np.float16, *shapes)
        instance = Instance(np.repeat(query, 8, axis=1), *others, 1024.0)
        assert largest_ratio(instance, "float16-eager", eager(instance)) <= 1.0


def through_the_maximum(seed: int) -> tuple[Instance, dict[str, Array]]:
    """Values that are nearly constant, and gradients of torch that went through the row maximum."""
    import torch

    rng = np.random.default_rng(seed)
    n_k, n_q = int(rng.choice([64, 128, 256, 512, 1024])), int(rng.choice([1, 2]))
    query = rng.standard_normal((1, 1, n_q, 1)) * rng.choice([1e-3, 0.03, 0.3])
    key = rng.standard_normal((1, 1, n_k, 1))
    value = rng.standard_normal((1, 1, n_k, 1)) * rng.choice([0, 0.01, 0.1]) + rng.uniform(1, 2)
    grad = rng.uniform(1, 2, (1, 1, n_q, 1))
    instance = Instance(*(one.astype(np.float32) for one in (query, key, value, grad)), 1.0)
    arrays = (instance.query, instance.key, instance.value)
    q, k, v = tensors = [torch.tensor(one, requires_grad=True) for one in arrays]
    score = q @ k.transpose(2, 3)
    weight = torch.exp(score - score.amax(-1, keepdim=True))
    gradients = torch.autograd.grad(
        (weight @ v) / weight.sum(-1, keepdim=True), tensors, torch.tensor(instance.grad_output)
    )
    return instance, dict(zip(instance.outputs(), (one.numpy() for one in gradients), strict=True))


def judged_as(instance: Instance, name: str, form: Form, **declared: str) -> Any:
    """The criteria of a kernel of that form."""
    kernel_of_form = Kernel(
        "k", largest_ratio, keywords=frozenset({"scale"}), conventions=declared, positional=form.positional
    )
    return held_to(instance, kernel_of_form, PRECISIONS[name])


@pytest.mark.claim("BWD-1")
@pytest.mark.parametrize("seed", [506, 516])
def test_automatic_differentiation_may_go_through_the_row_maximum(seed: int) -> None:
    pytest.importorskip("torch")
    instance, gradients = through_the_maximum(seed)
    assert largest_ratio(instance, "float32", list(gradients.values())) <= 1.0


@pytest.mark.claim("BWD-1")
def test_only_keys_that_may_be_the_largest_are_granted_what_the_maximum_passes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    instance = drawn("float32", 3, (1, 1, 1, 3, 9, 4, 4))
    bounds = Bounds(instance.replace(bias=np.zeros((3, 9), np.float32)), PRECISIONS["float32"])
    through = bounds.of(Origin("products"))["grad_bias"]
    monkeypatch.setattr(Bounds, "_left", lambda self, lam, *_, running: np.zeros(lam.shape))
    detached = bounds.of(Origin("products"))["grad_bias"]
    score = bounds.attention.score.midpoint[0, 0, :, :9]
    largest = score == score.max(axis=1, keepdims=True)
    assert (through[largest] > 1.5 * detached[largest]).all()
    assert (through[~largest] == detached[~largest]).all()


@pytest.mark.claim("BWD-4")
def test_a_sink_that_is_never_the_largest_is_granted_nothing_of_the_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    for sink, reached in ((-3.0, False), (9.0, True)):
        instance = drawn("float32", 3, (1, 1, 1, 3, 9, 4, 4), sink=np.full(1, sink, np.float32))
        bounds = Bounds(instance, PRECISIONS["float32"])
        through = bounds.of(Origin("products"))["grad_sink"]
        with monkeypatch.context() as patched:
            patched.setattr(Bounds, "_left", lambda self, lam, *_, running: np.zeros(lam.shape))
            assert (bounds.of(Origin("products"))["grad_sink"] < through).all() == reached


@pytest.mark.claim("BWD-5")
@pytest.mark.parametrize("seed", [506, 516])
def test_a_backward_pass_may_differentiate_a_forward_pass_of_its_own_automatically(seed: int) -> None:
    pytest.importorskip("torch")
    instance, gradients = through_the_maximum(seed)
    held = judged_as(instance, "float32", EXPLICIT_FORM)
    assert max(float(held[name].ratio(value).max()) for name, value in gradients.items()) <= 1.0


@pytest.mark.claim("BWD-1")
@pytest.mark.claim("BWD-2")
def test_a_gradient_divided_by_the_sum_of_weights_may_be_flushed_to_zero() -> None:
    n, tiny = 16, 2.0**-126
    rng = np.random.default_rng(0)
    query, key = np.ones((1, 1, 1, 1), np.float32), (0.1 * rng.standard_normal((1, 1, n, 1))).astype(np.float32)
    value = (1e6 * rng.standard_normal((1, 1, n, 2))).astype(np.float32)
    grad = np.full((1, 1, 1, 2), n * tiny / 2, np.float32)
    instance = Instance(query, key, value, grad, 1.0)
    q, k, v, g = (one.astype(np.float64) for one in (query, key, value, grad))
    weight = np.exp(q @ k.swapaxes(2, 3) - (q @ k.swapaxes(2, 3)).max())
    total = weight.sum(axis=3, keepdims=True)
    divided = np.where(np.abs(g / total) < tiny, 0.0, g / total)
    assert not divided.any()
    of_total = -(g * (weight @ v / total) / total).sum(axis=3, keepdims=True)
    gradient = weight * (divided @ v.swapaxes(2, 3) + of_total)
    values = [gradient @ k, gradient.swapaxes(2, 3) @ q, weight.swapaxes(2, 3) @ divided]
    assert largest_ratio(instance, "float32", [one.astype(np.float32) for one in values]) <= 1.0


def flushed(x: Any) -> Array:
    """float32 in which what is below the least normal number becomes 0."""
    x = np.asarray(x, np.float32)
    return np.where(np.abs(x) < np.float32(2.0**-126), np.float32(0), x)


@pytest.mark.claim("BWD-1")
@pytest.mark.claim("BWD-2")
@pytest.mark.claim("BWD-4")
@pytest.mark.parametrize("keys", [1, 2])
def test_a_gradient_divided_by_weights_whose_shift_lags_may_be_flushed_to_zero(keys: int) -> None:
    lag = PRECISIONS["float32"].of(Softmax).lag * (1 - 1e-7)
    largest = 0.98 * keys * np.exp(lag) * 2.0**-126  # the quotient is below the least normal number
    if keys == 1:
        query, key, value = np.zeros((64, 1)), np.ones((1, 1)), np.ones((1, 1))
    else:
        query, key, value = np.zeros((1, 1)), np.array([[1.0], [-1.0]]), np.array([[1e6], [-1e6]])
    q, k, v, g = (x.astype(np.float32) for x in (query, key, value, np.full((len(query), 1), largest)))
    weight = np.exp(q @ k.T + np.float32(lag))
    total = weight.sum(axis=1, keepdims=True)
    divided = flushed(g / total)
    assert not divided.any()
    of_total = flushed(-flushed(flushed(g * flushed(weight @ v / total)).sum(axis=1, keepdims=True)) / total)
    gradient = flushed(weight * flushed(flushed(divided @ v.T) + of_total))
    instance = Instance(*(x[None, None] for x in (q, k, v, g)), 1.0)
    values = [x[None, None] for x in (flushed(gradient @ k), flushed(gradient.T @ q), flushed(weight.T @ divided))]
    assert largest_ratio(instance, "float32", values) <= 1.0


@pytest.mark.claim("BWD-1")
def test_a_factor_of_an_online_softmax_may_flush_the_gradient_of_a_tile_whose_weights_are_large() -> None:
    """Two tiles of one key each: the weight of the first is 1 in its tile, and e^-11 in the end."""
    tiny, one = np.float32(2.0**-126), np.ones((1, 1), np.float32)
    k, v, g = np.array([[0.0], [11.0]], np.float32), np.array([[1e6], [-1e6]], np.float32), one * 40_000 * tiny
    factor = np.exp(-k[1])
    total = factor + 1
    divided = flushed(g / total)
    early = flushed(divided * factor)
    assert divided.all()
    assert not early.any()
    mean = (factor * v[0] + v[1]) / total
    of_total = -g * mean / total
    first, second = early * v[0] + of_total * factor, divided * v[1] + of_total
    gradient = np.stack([first, second], axis=-1)[0]
    instance = Instance(*(x[None, None] for x in (one, k, v, g)), 1.0)
    values = [x[None, None] for x in (gradient @ k, gradient.T @ one, np.stack([early, divided])[:, 0])]
    assert largest_ratio(instance, "float32", values) <= 1.0


@pytest.mark.claim("BWD-0")
def test_a_product_with_a_large_softcap_that_overflows_float32_is_not_judged() -> None:
    ones, value = np.ones((1, 1, 2, 1), np.float32), np.array([4e16, -4e16], np.float32).reshape(1, 1, 2, 1)
    instance = Instance(ones[:, :, :1], ones, value, np.full((1, 1, 1, 1), 4e17, np.float32), 1.0, softcap=1e6)
    with np.errstate(over="ignore"):
        assert np.isinf(np.float32(0.5) * np.float32(1.6e34) * np.float32(1e6))
    infinite = [np.full((1, 1, 1, 1), np.nan, np.float32), np.full_like(ones, np.inf)]
    of_value = np.full_like(value, 2e17)
    assert largest_ratio(instance, "float32", [*infinite, of_value]) <= 1.0


@pytest.mark.claim("BWD-4")
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_the_sum_over_the_heads_of_a_group_may_be_stored_after_every_addition(name: str) -> None:
    heads, dtype = 128, dtype_named(PRECISIONS[name].storage)
    query, key, value, grad = normal(
        0, dtype, ((1, heads, 1, 2), 0.1), ((1, 1, 2, 2), 0.1), ((1, 1, 2, 2), 1.0), ((1, heads, 1, 2), 0.0)
    )
    grad = (1 + 0.1 * np.random.default_rng(1).random(grad.shape)).astype(dtype)
    instance = Instance(query, key, value, grad, 1.0)
    q, k, g = (one.astype(np.float64) for one in (query, key, grad))
    p = np.exp(q @ k.swapaxes(2, 3))
    p = p / p.sum(axis=3, keepdims=True)
    of_values, total = (p.swapaxes(2, 3) @ g).astype(dtype), np.zeros((2, 2), dtype)
    for h in range(heads):
        total = (total.astype(np.float64) + of_values[0, h].astype(np.float64)).astype(dtype)
    held = criteria(instance, PRECISIONS[name])["grad_value"]
    exact = evaluate(instance).grad_value.midpoint
    assert np.abs(total.astype(np.float64) / exact - 1).max() > 2 * float(PRECISIONS[name].output)
    assert float(held.ratio(total[None, None]).max()) <= 1.0


@pytest.mark.claim("BWD-1")
@pytest.mark.parametrize("name", ["float32", "bfloat16-eager", "float16-eager"])
def test_both_products_of_a_difference_may_be_rounded_where_the_difference_is_zero(name: str) -> None:
    """dS = p·g − p′·δ of constant values, whose probabilities and products have roundings at their bounds."""
    precision = PRECISIONS[name]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        score, other = rng.standard_normal((2, 4))
        query = np.array([1.0, 0.0]).reshape(1, 1, 1, 2)
        rest = np.where(score < score.max(), np.exp(score), 0.0)
        other = np.where(rest > 0, other - rest @ other / rest.sum(), 0.0)  # 0 on average, and for the largest score
        key = np.stack([score, other], axis=1)[None, None]
        dtype = dtype_named(precision.storage)
        ones = np.ones((1, 1, 4, 1))
        instance = Instance(*(one.astype(dtype) for one in (query, key, ones, ones[:, :, :1])), 1.0)
        k = instance.key.astype(np.float64)
        p = np.exp(k[0, 0, :, 0]) / np.exp(k[0, 0, :, 0]).sum()
        # an exponential each, and in the eager class what stores p, g, p·g, and p′·δ
        first = precision.elementary + 3 * precision.stored
        second = precision.elementary + 2 * precision.stored
        side = np.sign(k[0, 0, :, 1])
        gradient = p * (1 + side * first) - p * (1 - side * second)
        allowed = max(float(Bounds(instance, precision).of(one)["grad_query"][0, 0, 0, 1]) for one in OWN)
        assert abs(gradient @ k[0, 0, :, 1]) <= allowed, seed


@pytest.mark.claim("BWD-1")
def test_what_is_left_of_a_running_maximum_that_is_differentiated_adds_up_and_has_to_be_declared() -> None:
    torch = pytest.importorskip("torch")
    n, rows, rng = 2048, 16, np.random.default_rng(5)
    key = rng.standard_normal((1, 1, n, 1))
    key[0, 0, 0], key[0, 0, -1] = 6.0, 6.5  # the largest of all tiles but the last, and that of the last one
    value, grad = np.full((1, 1, n, 1), 1.7), rng.uniform(1, 2, (1, 1, rows, 1))
    arrays = [one.astype(np.float32) for one in (np.full((1, 1, rows, 1), 1e-3), key, value, grad)]
    instance = Instance(*arrays, 1.0, bias=np.zeros((1, 1, rows, n), np.float32))
    q, k, v, b = leaves = [torch.tensor(one, requires_grad=True) for one in (*arrays[:3], instance.bias)]
    score = q @ k.transpose(2, 3) + b
    top, total, sums = torch.full((1, 1, rows, 1), -torch.inf), torch.zeros(rows, 1), torch.zeros(rows, 1)
    for start in range(0, n, 16):
        tile = slice(start, start + 16)
        higher = torch.maximum(top, score[..., tile].amax(3, keepdim=True))
        weight, factor = (score[..., tile] - higher).exp(), (top - higher).exp()
        total, sums, top = total * factor + weight.sum(3, keepdim=True), sums * factor + weight @ v[:, :, tile], higher
    made = [one.numpy() for one in torch.autograd.grad(sums / total, leaves, torch.tensor(grad.astype(np.float32)))]
    plain, declared = (
        judged_as(instance, "float32", FORWARD_FORM, **options)
        for options in ({}, {"running_maximum": "differentiated"})
    )
    assert float(plain["grad_bias"].ratio(made[3]).max()) > 1.0
    for name, value in zip(instance.outputs(), made, strict=True):
        assert float(declared[name].ratio(value).max()) <= 1.0, name
