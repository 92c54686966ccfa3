"""LCT-0 to LCT-6: no correct stack exceeds its tolerance, the tolerance is not vacuous, and departures are seen."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from stacks import KINDS, Rounding, drawn, erf, stack

from assay.spec.enclosure import Enclosure
from assay.spec.floats import dtype_named
from assay.spec.layer_collapse import PRECISIONS, Instance, criteria, define, tolerance
from assay.spec.layer_collapse.stages import Machine, Numbers, weights_of_heads
from assay.spec.precision import precision
from assay.spec.rounding import gamma
from assay.spec.softmax.rounding import Softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

#: Stacks of every class.  tf32 is simulated by its operands, below.
STACKS: dict[str, Rounding] = {
    "float64": Rounding("float64"),
    "float32": Rounding("float32"),
    "bfloat16": Rounding("float32", "bfloat16"),
    "float16": Rounding("float32", "float16"),
    "bfloat16-eager": Rounding("float32", "bfloat16", eager=True),
    "float16-eager": Rounding("float32", "float16", eager=True),
}


def storage(name: str) -> str:
    return PRECISIONS[name].storage


def worst(instance: Instance, name: str, output: Array) -> dict[str, float]:
    """The worst ratio of every criterion."""
    return {key: float(held.ratio(output).max()) for key, held in criteria(instance, name).items()}


@pytest.mark.claim("LCT-0", "LCT-5", "LCT-6")
@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_correct_stack_exceeds_its_tolerance(kind: str, name: str) -> None:
    for seed, size in enumerate(((1, 1, 1), (2, 2, 2), (5, 4, 3))):
        instance = drawn(seed, kind, size=size, dtype=storage(name), weight=(0.5, 1.0, 0.3)[seed])
        held = criteria(instance, name)
        for one_pass in (False, True) if instance.norm == "layer" else (False,):
            made = STACKS[name]
            output = stack(instance, Rounding(made.work, made.short, made.eager, one_pass))
            assert max(float(one.ratio(output).max()) for one in held.values()) <= 1.0


@pytest.mark.claim("LCT-0")
@pytest.mark.parametrize("kind", ["plain", "biases", "pre-norm", "gated"])
def test_a_more_accurate_stack_is_right_in_every_class(kind: str) -> None:
    for name in PRECISIONS:
        instance = drawn(1, kind, dtype=storage(name))
        output = stack(instance, Rounding("float64")).astype(dtype_named(PRECISIONS[name].result))
        assert max(worst(instance, name, output).values()) <= 1.0


@pytest.mark.claim("LCT-0", "LCT-1")
def test_operands_cut_to_ten_bits_are_right_in_tf32_and_in_no_tighter_class() -> None:
    def cut(x: Array) -> Array:
        bits = np.ascontiguousarray(x, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
        return bits.view(np.float32)

    over = 0.0
    for seed in range(6):
        instance = drawn(seed, "plain", dtype="float32", heads=1)
        x, after = instance.tokens, []
        for layer in range(instance.layers):
            q, k, v = (
                cut(x) @ cut(getattr(instance, f"{part}_weights")[layer, 0]) for part in ("query", "key", "value")
            )
            score = cut(q) @ cut(k).T * np.float32(instance.scale)
            weight = np.exp(score - score.max(axis=1, keepdims=True))
            x = x + cut(weight) @ cut(v) / weight.sum(axis=1, keepdims=True)
            after.append(x)
        output = np.stack(after)
        assert max(worst(instance, "tf32", output).values()) <= 1.0
        over = max(over, *worst(instance, "float32", output).values())
    assert over > 2.0


@pytest.mark.claim("LCT-5")
@pytest.mark.parametrize("name", [*STACKS, "tf32"])
def test_the_tolerance_is_not_vacuous(name: str) -> None:
    """Some right stack of one layer comes as near as a fifth of its tolerance."""

    def output(instance: Instance) -> Array:
        if name != "tf32":
            return stack(instance, STACKS[name])
        low = 1 - 2.0**-10 * (1 - 2.0**-10)  # operands just below a cut lose nearly 2^-10
        x, w = (a.astype(np.float64) for a in (instance.tokens, instance.value_weights[0].sum(axis=0)))
        return (x + (x * low) @ (w * low) * low).astype(np.float32)[None]

    best = 0.0
    for seed in range(40):
        for heads in (1, 2):
            instance = drawn(seed, size=(1, 3 - heads, 1), heads=heads, dtype=storage(name), weight=1.0)
            if seed % 2:  # terms of one sign
                instance = instance.replace(**{array: np.abs(x) for array, x in instance.arrays().items()})
            best = max(best, worst(instance, name, output(instance))["tokens"])
            assert best <= 1.0
        if best >= 0.2:
            break
    assert best >= 0.2, best


@pytest.mark.claim("LCT-6")
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_layer_alone_is_held_to_the_same_however_deep_it_is(name: str) -> None:
    """An error in the tenth layer that the whole network's tolerance lets pass is seen there."""
    instance = drawn(2, "pre-norm", size=(4, 4, 10), dtype=storage(name), weight=0.5)
    output = stack(instance, STACKS[name])
    assert max(worst(instance, name, output).values()) <= 1.0
    wrong = output.astype(np.float64)
    wrong[-1] += 0.3 * np.abs(wrong[-1]).max()
    ratios = worst(instance, name, wrong.astype(output.dtype))
    assert ratios["layer"] > 1.0
    assert ratios["tokens"] < ratios["layer"]


@pytest.mark.claim("LCT-6")
def test_a_stack_may_go_on_with_tokens_that_it_has_not_rounded() -> None:
    """Sums in float64, tokens returned in bfloat16: a difference that is lost there is multiplied by the next layer."""
    kind = dtype_named("bfloat16")
    value = np.array([[[[2.0**-9, 0.0], [0.0, 2.0**-11]]], [[[64.0, 0.0], [-64.0, 0.0]]]]).astype(kind)
    zero = np.zeros((2, 1, 2, 1)).astype(kind)
    instance = Instance(np.ones((1, 2)).astype(kind), zero, zero, value)
    output = stack(instance, Rounding("float64")).astype(kind)
    assert (output[0] == 1.0).all()
    assert abs(float(output[1, 0, 0]) - 1.0) > 0.05  # where the tokens that were returned would give 1
    assert max(worst(instance, "bfloat16", output).values()) <= 1.0


@pytest.mark.claim("LCT-6")
def test_layers_after_tokens_that_are_not_finite_are_not_judged_and_those_before_are() -> None:
    instance = drawn(3, dtype="float32")
    output = stack(instance, STACKS["float32"])
    output[1] = np.nan
    held = criteria(instance, "float32")
    ratios = held["layer"].ratio(output)
    assert np.isinf(held["tokens"].ratio(output)[1]).all()
    assert np.isinf(ratios[1]).all()
    assert (ratios[2] == 0.0).all()
    assert "layer 2" in held["layer"].expected((2, 0, 0))


@pytest.mark.claim("LCT-5")
def test_padding_is_not_judged_and_nothing_depends_on_it() -> None:
    instance = drawn(4, "mask", dtype="float32")
    output = stack(instance, STACKS["float32"])
    output[:, 1] = np.nan
    assert max(worst(instance, "float32", output).values()) <= 1.0
    other = instance.tokens.copy()
    other[1] = 100.0
    keep = [0, 2, 3, 4]
    one, two = (define(i).midpoint[:, keep] for i in (instance, instance.replace(tokens=other)))
    assert (one == two).all()


@pytest.mark.claim("LCT-5")
def test_nothing_is_judged_where_numbers_leave_the_range_of_the_class() -> None:
    instance = drawn(5, dtype="float16", size=(3, 2, 2))
    huge = instance.replace(tokens=(30000 * np.ones_like(instance.tokens)))
    assert np.isinf(tolerance(huge, "float16")[1]).all()
    assert np.isfinite(tolerance(instance, "float16")).all()


@pytest.mark.claim("LCT-5")
def test_the_reference_costs_less_than_a_hundredth_of_the_tolerance() -> None:
    for name in PRECISIONS:
        instance = drawn(6, "pre-norm", dtype=storage(name))
        held = criteria(instance, name)["tokens"]
        assert held.value is not None
        assert (held.value.radius <= 0.01 * held.allowed).all(), name


# --- the claims one by one --------------------------------------------------------------------------------------------


def numbers(x: Array, error: Array) -> Numbers:
    return Numbers(x, np.zeros_like(x), error)


def exactly(x: Array) -> Enclosure:
    return Enclosure(x, np.zeros_like(x))


@pytest.mark.claim("LCT-1")
@pytest.mark.parametrize("name", ["float32", "bfloat16", "tf32"])
def test_a_product_is_within_its_bound_when_every_rounding_is_as_large_as_it_may_be(name: str) -> None:
    machine = Machine.of(precision(name))
    u, stack_ = machine.unit, machine.stack
    rng = np.random.default_rng(1)
    close = 0.0
    for _ in range(200):
        k = int(rng.integers(1, 5))
        x, w, b = rng.standard_normal((2, k)), rng.standard_normal((k, 3)), rng.standard_normal(3)
        e = 10.0 ** rng.uniform(-8, -3) * np.abs(x)
        sign = rng.choice([-1.0, 1.0])
        moved = x + sign * e * np.sign(w[:, 0] * (x @ w + b)[:1, 0])
        total = np.zeros((2, 3))
        for j in range(k):
            entry = (1 + sign * stack_.entry) * (1 + sign * stack_.weight) * (1 + sign * u)
            total = (total + moved[:, j : j + 1] * w[j] * entry) * (1 + sign * u * (j > 0))
        total = total * (1 + sign * stack_.between) + b * (1 + sign * stack_.weight)
        total = total * (1 + sign * u) * (1 + sign * stack_.between)
        bound = machine.product(numbers(x, e), w, b, exactly(x @ w + b)).error
        assert (np.abs(total - (x @ w + b)) <= bound).all()
        close = max(close, float((np.abs(total - (x @ w + b)) / bound).max()))
    assert close > 0.5


@pytest.mark.claim("LCT-2")
@pytest.mark.parametrize("centred", [True, False], ids=["layer norm", "RMS norm"])
def test_a_norm_is_within_its_bound_for_errors_of_any_size(centred: bool) -> None:
    machine = Machine.of(precision("float64"))
    rng = np.random.default_rng(2)
    close = 0.0
    for trial in range(1000):
        d, epsilon = int(rng.integers(1, 6)), [1e-8, 1e-2, 1.0][trial % 3]
        x = rng.standard_normal((1, d)) + 3 * (trial % 2)
        e = np.abs(rng.standard_normal((1, d))) * 10 ** rng.uniform(-9, 1)
        g, b = rng.standard_normal((2, d))

        def made(x: Array, g: Array = g, b: Array = b, epsilon: float = epsilon) -> tuple[Array, Array]:
            z = x - x.mean(axis=1, keepdims=True) if centred else x
            root = np.sqrt((z**2).mean(axis=1, keepdims=True) + epsilon)
            return g * z / root + b, root

        y, root = made(x)
        bound = machine.norm(numbers(x, e), exactly(root), g, b, epsilon, exactly(y), centred=centred).error
        for _ in range(4):
            moved = x + e * rng.choice([-1.0, 1.0, 0.3], (1, d))
            gap = np.abs(made(moved)[0] - y)
            assert (gap <= bound).all()
            close = max(close, float((gap / np.maximum(bound, 1e-300)).max()))
    assert close > 0.5


@pytest.mark.claim("LCT-2")
def test_a_variance_of_one_pass_is_within_the_bound_for_tokens_far_from_zero() -> None:
    over = 0.0
    for seed in range(8):
        instance = drawn(seed, "pre-norm", dtype="float32", size=(3, 4, 1))
        instance = instance.replace(tokens=(instance.tokens + np.float32(50)).astype(np.float32))
        output = stack(instance, Rounding("float32", one_pass=True))
        assert max(worst(instance, "float32", output).values()) <= 1.0
        shifted = instance.replace(tokens=instance.tokens - np.float32(50))
        over = max(over, float((np.abs(output - define(instance).midpoint) / tolerance(shifted, "float32")).max()))
    assert over > 1.0  # the mean is in the bound for a reason


Part = tuple[int, Any, Any]


def joined(a: Part, b: Part, rounded: Any) -> Part:
    """Mean and sum of squared deviations of two parts: of a number and those before it, or of many and many."""
    (n_a, mean, total), (n_b, other, more) = a, b
    n, off = n_a + n_b, rounded(other - mean)
    new = rounded(mean + rounded(rounded(1 / n) * n_b * off))
    if n_b == 1:
        return n, new, rounded(total + rounded(off * rounded(other - new)))
    between = rounded(rounded(off * off) * rounded(rounded(n_b / n) * n_a))
    return n, new, rounded(total + rounded(more + between))


def moments(x: Array, order: str, roundings: Array, u: float) -> Array:
    """Mean and variance of n numbers, (2, runs).  roundings: what every operation errs by, in u, (operations, runs)."""
    left = iter(1 + u * roundings)

    def rounded(value: Any) -> Array:
        return np.asarray(value * next(left))

    parts: list[Part] = [(1, number, 0.0) for number in x]
    if order == "one by one":
        while len(parts) > 1:
            parts[:2] = [joined(parts[0], parts[1], rounded)]
    while len(parts) > 1:
        pairs = [joined(*parts[i : i + 2], rounded) for i in range(0, len(parts) - 1, 2)]
        parts = [*pairs, *parts[2 * len(pairs) :]]
    return np.stack([parts[0][1], rounded(parts[0][2] / len(x))])


@pytest.mark.claim("LCT-2")
@pytest.mark.parametrize("u", [2.0**-24, 2.0**-8])
@pytest.mark.parametrize("order", ["one by one", "in pairs"])
def test_moments_are_within_their_bounds_when_every_rounding_is_as_large_as_it_may_be(order: str, u: float) -> None:
    """Every operation of an updated or merged variance errs by u, and in the direction that hurts most."""
    machine = replace(Machine.of(precision("float64")), unit=u)
    rng, close, beyond = np.random.default_rng(7), np.zeros(2), np.zeros(2)
    for n in (2, 3, 5, 8, 16):
        first, half = np.eye(n)[0], np.where(np.arange(n) < n // 2, 1.0, -1.0)
        for x in (first, first - 1 / n, first + 1.0, half, *rng.standard_normal((4, n))):
            steps = 9 * n
            plain = moments(x, order, np.zeros((steps, 1)), u)
            slopes = moments(x, order, np.eye(steps), u) - plain
            signs = np.sign(slopes)[..., None]
            worst = np.array([abs(moments(x, order, sign, u) - plain)[k, 0] for k, sign in enumerate(signs)])
            typical, square, mean = np.abs(x).mean(), (x**2).mean(), abs(x.mean())
            bound = np.array(machine.moments(n, np.asarray(typical), np.asarray(square), mean, centred=True))
            assert (worst <= bound).all(), (order, n, x)
            close = np.maximum(close, worst / bound)
            sums = gamma(n + 1, u) * typical
            beyond = np.maximum(beyond, worst / np.array([sums, gamma(n + 6, u) * square + 2 * mean * sums + sums**2]))
    assert (close > 0.25).all()
    assert order == "in pairs" or (beyond > 1).all()  # no plain sum errs by so much


@pytest.mark.claim("LCT-3")
@pytest.mark.parametrize("kind", ["gelu", "gelu_tanh", "silu"])
def test_an_activation_is_within_its_bound(kind: str) -> None:
    for name, rounding in STACKS.items():
        for seed in range(3):
            instance = drawn(seed, "MLP", activation=kind, dtype=storage(name), size=(3, 2, 1), weight=1.5)
            assert max(worst(instance, name, stack(instance, rounding)).values()) <= 1.0


@pytest.mark.claim("LCT-3")
@pytest.mark.parametrize("name", ["relu", "gelu", "gelu_tanh", "silu"])
def test_errors_of_the_input_of_an_activation_are_multiplied_by_its_slope(name: str) -> None:
    machine = Machine.of(precision("float64"))
    x = np.linspace(-6, 6, 601)
    for e in (1e-9, 1e-3, 0.5):
        error = np.full_like(x, e)

        def made(x: Array) -> Array:
            with np.errstate(over="ignore"):
                s = 1 / (1 + np.exp(-x if name == "silu" else -1.5957691216057308 * (x + 0.044715 * x**3)))
            return {"relu": np.maximum(x, 0), "gelu": x * (1 + erf(x / math.sqrt(2))) / 2}.get(name, x * s)

        bound = machine.activated(numbers(x, error), name, exactly(made(x))).error
        gap = np.maximum(np.abs(made(x + e) - made(x)), np.abs(made(x - e) - made(x)))
        assert (gap <= bound + 1e-14).all()  # of which the last are the roundings of this test
        assert (gap / bound).max() > 0.85


@pytest.mark.claim("LCT-3")
def test_the_tanh_in_place_of_the_exact_gelu_is_seen_in_float32() -> None:
    instance = drawn(1, "MLP", activation="gelu", dtype="float32", size=(3, 2, 1), weight=0.5)
    instance = instance.replace(value_weights=0 * instance.value_weights, up_weights=4 * instance.up_weights)
    output = stack(instance.replace(activation="gelu_tanh"), STACKS["float32"])
    assert worst(instance, "float32", output)["tokens"] > 10.0


@pytest.mark.claim("LCT-4")
def test_errors_of_queries_keys_and_values_are_carried_through_the_softmax() -> None:
    """Weights that are off by what the bound of a perturbed token allows: the outputs stay within it."""
    rng = np.random.default_rng(6)
    close = 0.0
    for trial in range(60):
        instance = drawn(trial, size=(4, 3, 1), weight=(0.2, 0.6, 1.2)[trial % 3])
        error = 10.0 ** rng.uniform(-7, -1) * np.abs(instance.tokens)
        bound = tolerance(instance, "float64", start=error)
        moved = instance.replace(tokens=instance.tokens + error * rng.choice([-1.0, 1.0], error.shape))
        gap = np.abs(define(moved).midpoint - define(instance).midpoint)
        assert (gap <= bound).all()
        close = max(close, float((gap / bound).max()))
    assert close > 0.3


@pytest.mark.claim("LCT-4")
def test_a_stored_log_sum_exp_is_that_of_scores_which_are_off() -> None:
    """Two parts of a row are merged, and every rounding is as large as it may be.

    One score is above 1,023 equal ones.  The errors of the keys bring all of them together, so that the logarithm of
    the denominator grows from 4.4 to 6.9, and what its rounding may be with it.  The first key then has too little
    weight, and those of the other part too much.
    """
    exactly_exponential = PRECISIONS["float32"].with_("exact exponentials", Softmax, exp=0.0, rescale=0.0, lag=0.0)
    machine = Machine.of(exactly_exponential)
    u, n, off = machine.unit, 1024, 2.0
    score = np.full((1, 1, n), -off)
    score[..., 0] = off
    log_probability = score - np.log(np.exp(score).sum())
    query, key, value = (
        numbers(x.reshape(1, -1, 1), np.full((1, x.size, 1), error))
        for x, error in ((np.ones(1), 0.0), (score, off), (np.zeros(n), 0.0))
    )
    softmax = exactly(score), exactly(log_probability)
    row = weights_of_heads(machine, query, key, value, softmax, 1.0, np.ones((1, n), dtype=bool))

    kernel = score.ravel() + row.score_error.item() * np.where(np.arange(n) == 0, -1, 1)
    parts = kernel.reshape(2, -1)
    top = parts.max(axis=1)
    logarithm = np.log(np.exp(parts - top[:, None]).sum(axis=1))
    doubt = u * (4 * (np.abs(top) + logarithm) + 8 * np.maximum(logarithm, 1))  # K2 and K7 of attention.md
    part = top + logarithm + doubt * [-1, 1]
    whole = np.log(np.exp(part).sum())
    wide = 1 + 3 * u * np.array([1, -1])  # roundings of the arguments of both exponentials
    logarithms = (parts[:, 0] - top - logarithm) * wide + (part - whole) * wide - log_probability[0, 0, [0, n // 2]]
    assert logarithms[1] - logarithms[0] <= row.spread[0, 0, 0, [0, n // 2]].sum()


@pytest.mark.claim("LCT-0")
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("plain", {"skip": False}),
        ("plain", {"causal": True}),
        ("plain", {"scale": 1.0}),
        ("biases", {"key_bias": None, "query_bias": None}),
        ("biases", {"output_bias": None}),
        ("pre-norm", {"norm_place": "post"}),
        ("pre-norm", {"attention_norm_gain": None}),
    ],
)
def test_another_network_is_seen_in_every_class(kind: str, changes: dict[str, Any]) -> None:
    for name, rounding in STACKS.items():
        seen = 0.0
        for seed in range(4):
            instance = drawn(seed, kind, dtype=storage(name), size=(4, 4, 1), weight=0.4)
            seen = max(seen, *worst(instance, name, stack(instance.replace(**changes), rounding)).values())
        assert seen > 1.0, name


@pytest.mark.claim("LCT-2", "LCT-3")
@pytest.mark.parametrize("name", ["float64", "float32", "float16"])
def test_another_epsilon_and_another_activation_are_seen_where_numbers_are_that_fine(name: str) -> None:
    small = drawn(1, "pre-norm", dtype=storage(name), size=(4, 4, 1), weight=0.4)
    small = small.replace(tokens=(small.tokens * 2.0**-6).astype(small.tokens.dtype))
    gated = drawn(1, "gated", dtype=storage(name), size=(4, 4, 1), weight=0.4)
    for instance, changes in ((small, {"epsilon": 1e-3}), (gated, {"activation": "gelu"})):
        output = stack(instance.replace(**changes), STACKS[name])
        assert worst(instance, name, output)["tokens"] > 1.0


def test_an_unknown_class_and_an_unknown_output_are_refused() -> None:
    with pytest.raises(ValueError, match="float8"):
        tolerance(drawn(), "float8-e4m3")
    with pytest.raises(ValueError, match="unknown output"):
        tolerance(drawn(), "float64", "logits")


# --- correct stacks at the edge of what the class allows --------------------------------------------------------------


def ratios(instance: Instance, name: str, tokens: Array) -> dict[str, float]:
    """The largest error of each criterion, in units of what is allowed."""
    with np.errstate(all="ignore"):
        return {each: float(np.nanmax(held.ratio(tokens))) for each, held in criteria(instance, name).items()}


def projected(tokens: Array, matrix: Array, **options: Any) -> Instance:
    """One layer of one head whose queries are 0."""
    zero = np.zeros((1, 1, len(matrix), 1), tokens.dtype)
    return Instance(tokens, zero, zero, matrix[None, None].astype(tokens.dtype), **options)


@pytest.mark.claim("LCT-6")
@pytest.mark.parametrize(("name", "padding"), [("float16", 40000.0), ("float32", 3e38)])
def test_padding_that_leaves_the_range_may_spoil_later_layers(name: str, padding: float) -> None:
    kind = np.dtype(name)
    zero = np.zeros((2, 1, 2, 1), kind)
    eye = np.broadcast_to(np.eye(2, dtype=kind), (2, 2, 2)).copy()
    mask = np.array([True, False])
    tokens = np.array([[1.0, 0.5], [padding, 0.0]], kind)
    instance = Instance(tokens, zero, zero, eye[:, None], mask=mask, up_weights=eye, down_weights=eye)
    with np.errstate(all="ignore"):
        spoilt = stack(instance, Rounding("float32", name))
    assert np.isnan(spoilt[1]).all()
    assert ratios(instance, name, spoilt) == {"tokens": 0.0, "layer": 0.0}


@pytest.mark.claim("LCT-1")
def test_a_sum_may_begin_with_its_bias() -> None:
    k, matrix, bias = 64, np.zeros((64, 64)), np.zeros((1, 1, 64), np.float32)
    matrix[:, 0], bias[0, 0, 0] = 0.99 * 2.0**-24, 1.0
    instance = projected(np.ones((1, k), np.float32), matrix, value_bias=bias, skip=False)
    total = bias[0]
    for row in matrix.astype(np.float32):
        total = total + row
    assert 0.5 < ratios(instance, "float32", total[None])["tokens"] <= 1


@pytest.mark.claim("LCT-5")
def test_what_is_stored_before_a_bias_may_leave_the_range() -> None:
    half = np.float16
    large = projected(np.array([[300.0, 0]], half), np.diag([250.0, 0]), value_bias=np.array([[[-60000.0, 0]]], half))
    gained = projected(
        np.array([[4.0, -1, -1, -1, -1]], half), np.zeros((5, 5)), norm="layer", epsilon=1e-5, final_norm=True,
        final_norm_gain=np.array([40000.0, 1, 1, 1, 1], half), final_norm_bias=np.array([-60000.0, 0, 0, 0, 0], half),
    )  # fmt: skip
    turned = projected(
        np.array([[1e-3, -1e-3]], half), np.eye(2), skip=False, norm="layer", epsilon=1e-5,
        attention_norm_gain=np.full((1, 2), 300, half),
    )  # fmt: skip
    assert np.isinf(tolerance(large, "float16")).all()
    assert np.isinf(tolerance(gained, "float16")).all()
    assert np.isinf(tolerance(turned, "float16-eager")).all()  # the gain times the reciprocal of the root
    assert np.isfinite(tolerance(turned, "float16")).all()


@pytest.mark.claim("LCT-5")
def test_a_stored_sum_of_some_heads_may_leave_the_range() -> None:
    zero, value, output = np.zeros((1, 4, 2, 1)), np.zeros((1, 4, 2, 2)), np.zeros((1, 4, 2, 2))
    value[..., 0, 0], output[0, :, 0, 0] = 100, [400, 400, -400, -400]
    arrays = [x.astype(np.float16) for x in (np.array([[1.0, 0]]), zero, zero, value)]
    instance = Instance(*arrays, output_weights=output.astype(np.float16))
    assert np.isinf(tolerance(instance, "float16-eager")).all()
    assert np.isfinite(tolerance(instance, "float16")).all()


@pytest.mark.claim("LCT-2")
@pytest.mark.parametrize("gain", [16, 64, 1024])
def test_a_gain_may_meet_a_normalised_number_that_was_stored_below_the_normal_ones(gain: int) -> None:
    tokens = np.array([[1.0, 2.0**-24]], np.float16)
    gains = np.array([[1, gain]], np.float16)
    instance = projected(tokens, np.eye(2), skip=False, norm="rms", epsilon=1e-5, attention_norm_gain=gains)
    x = tokens.astype(np.float32)
    stored = (x / np.sqrt((x * x).mean(1, keepdims=True) + np.float32(1e-5))).astype(np.float16)
    made = (stored.astype(np.float32) * gains.astype(np.float32)).astype(np.float16)
    assert ratios(instance, "float16", made[None])["tokens"] <= 1


@pytest.mark.claim("LCT-2")
@pytest.mark.parametrize(("norm", "size", "gain"), [("rms", 2e-38, 0.5), ("layer", 1.4e-36, 2.0**-7)])
def test_a_token_times_its_gain_may_be_flushed_before_the_root_divides_it(norm: str, size: float, gain: float) -> None:
    tokens = np.array([[size, -size]], np.float32)
    gains = np.full((1, 2), gain, np.float32)
    instance = projected(tokens, np.eye(2), skip=False, norm=norm, epsilon=1e-5, attention_norm_gain=gains)
    gained = tokens * gains
    gained[np.abs(gained) < 2.0**-126] = 0
    made = gained / np.float32(math.sqrt(1e-5))
    assert not made.any()
    assert ratios(instance, "float32", made[None])["tokens"] <= 1


@pytest.mark.claim("LCT-6")
def test_tokens_may_be_returned_in_a_shorter_type_than_that_of_the_instance() -> None:
    value = np.array([[[[2.0**-9, 0.0], [0.0, 2.0**-11]]], [[[64.0, 0.0], [-64.0, 0.0]]]], np.float32)
    zero = np.zeros((2, 1, 2, 1), np.float32)
    instance = Instance(np.ones((1, 2), np.float32), zero, zero, value)
    returned = stack(instance, Rounding("float64")).astype(dtype_named("bfloat16"))
    assert ratios(instance, "bfloat16", returned)["layer"] <= 1
