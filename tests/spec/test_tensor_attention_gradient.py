"""The backward pass of attention of any order: its definition against other opinions, its laws and its tolerance."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from mpmath import mp, mpf

from assay.spec import attention_gradient, tensor_attention
from assay.spec.attention_gradient.tolerance import Bounds as OfAttention
from assay.spec.floats import dtype_named
from assay.spec.precision import reference_accuracy
from assay.spec.softmax.rounding import Softmax
from assay.spec.tensor_attention.definition import of_modes
from assay.spec.tensor_attention.rounding import Pairs
from assay.spec.tensor_attention_gradient import (
    LAWS,
    PRECISIONS,
    Incoming,
    Instance,
    criteria,
    define,
    evaluate,
    handed,
    load,
    symbolic,
    tolerance,
)
from assay.spec.tensor_attention_gradient.definition import by_mode
from assay.spec.tensor_attention_gradient.tolerance import HANDED, OWN, Bounds

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from assay.spec.precision import Precision

    Array = NDArray[Any]

CLASSES = list(PRECISIONS)


def drawn(
    order: int = 3,
    seed: int = 0,
    *,
    dtype: Any = np.float32,
    lengths: tuple[int, ...] = (4, 3, 2),
    n_q: int = 3,
    size: float = 1.0,
    dims: tuple[int, int] = (3, 2),
    heads: tuple[int, int, int] = (1, 2, 1),
    lse: bool = True,
    **options: Any,
) -> Incoming:
    """1 batch, 2 heads over 1, 3 queries, 3 and 2 columns."""
    rng = np.random.default_rng(seed)
    b, h, h_k = heads

    def normal(*shape: int) -> Array:
        return (size * rng.standard_normal(shape)).astype(dtype)

    modes = lengths[: order - 1]
    keys, values = ([normal(b, h_k, n, w) for n in modes] for w in dims)
    incoming = {"grad_log_sum_exp": normal(b, h, n_q)} if lse else {}
    return Instance.of_order(order)(
        normal(b, h, n_q, dims[0]), *keys, *values, normal(b, h, n_q, dims[1]), **incoming, **options
    )


INSTANCES: dict[str, Incoming] = {
    "order 2": drawn(2),
    "order 3": drawn(3, 1),
    "order 4": drawn(4, 2),
    "causal": drawn(3, 3, is_causal=True, lse=False),
    "windows": drawn(3, 4, window=(2, 1)),
    "two key heads": drawn(3, 8, heads=(2, 4, 2), n_q=2),
    "rows without a key": drawn(3, 5, window=(1, 1), is_causal=True, lengths=(2, 2), n_q=4),
}


# --- the definition ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INSTANCES)
def test_an_instance_is_saved_and_loaded_and_knows_its_forward_pass(name: str, tmp_path: Path) -> None:
    instance = INSTANCES[name]
    instance.save(tmp_path / "x.npz")
    assert load(tmp_path / "x.npz").digest() == instance.digest()
    forward = instance.forward()
    assert (forward.order, forward.is_causal, forward.window) == (instance.order, instance.is_causal, instance.window)
    assert instance.outputs() == (
        "grad_query",
        *(f"grad_{n}{m}" for n in ("key", "value") for m in range(1, instance.order)),
    )


@pytest.mark.claim("TOLT-2")
@pytest.mark.parametrize("name", ["order 2", "causal"])
def test_gradients_hold_what_sympy_differentiates(name: str) -> None:
    instance = INSTANCES[name].part(heads=[1], queries=[0, 2], dim=[1], value_dim=[0])
    instance = instance.part(**{f"keys{m}": [0, 1] for m in range(1, instance.order)})
    for output in instance.outputs():
        numbers = np.array([float(x.evalf(30)) for x in symbolic(instance, output).flat])
        made = define(instance, 1e-14, output)
        assert np.abs(numbers.reshape(made.shape) - made.midpoint).max() < 1e-13


def loss(instance: Incoming, arrays: dict[str, Array]) -> Any:
    """Σ dO·o + Σ dlse·lse with 50 digits, straight from the definition."""
    b, h, n_q, d = instance.query.shape
    group, total = instance.group, mpf(0)
    modes = range(1, instance.order)
    seen = instance.visible()
    for batch, head, i in np.ndindex(b, h, n_q):
        below, sums = mpf(0), [mpf(0)] * instance.grad_output.shape[3]
        for number, js in enumerate(itertools.product(*map(range, instance.mode_lengths))):
            if not seen[i, number]:
                continue
            at = [(batch, head // group, j) for j in js]
            score = mpf(0)
            for c in range(d):
                term = arrays["query"][batch, head, i, c]
                for mode, place in zip(modes, at, strict=True):
                    term = term * arrays[f"key{mode}"][(*place, c)]
                score += term
            weight = mp.exp(mpf(instance.scale) * score)
            below += weight
            for c in range(len(sums)):
                term = weight
                for mode, place in zip(modes, at, strict=True):
                    term = term * arrays[f"value{mode}"][(*place, c)]
                sums[c] += term
        if below:
            total += (
                sum(mpf(float(g)) * s for g, s in zip(instance.grad_output[batch, head, i], sums, strict=True)) / below
            )
            if instance.grad_log_sum_exp is not None:
                total += mpf(float(instance.grad_log_sum_exp[batch, head, i])) * mp.log(below)
    return total


@pytest.mark.claim("TOLT-2")
@pytest.mark.parametrize("name", INSTANCES)
def test_gradients_hold_what_differences_of_the_loss_say(name: str) -> None:
    mp.dps = 50
    instance, step = INSTANCES[name], mpf(10) ** -20
    rng = np.random.default_rng(1)
    exact = evaluate(instance, 1e-14).gradients()
    arrays = {
        key: np.vectorize(lambda x: mpf(float(x)), otypes=[object])(getattr(instance, key))
        for key in (output.removeprefix("grad_") for output in instance.outputs())
    }
    for output in instance.outputs():
        array = arrays[output.removeprefix("grad_")]
        for flat in rng.choice(array.size, 2, replace=False):
            index = np.unravel_index(flat, array.shape)
            kept, values = array[index], []
            for moved in (kept + step, kept - step):
                array[index] = moved
                values.append(loss(instance, arrays))
            array[index] = kept
            slope = (values[0] - values[1]) / (2 * step)
            gap = abs(slope - mpf(float(exact[output].midpoint[index])))
            assert gap <= float(exact[output].radius[index]) + 1e-14, output


@pytest.mark.claim("TOLT-2")
def test_order_2_is_the_gradient_of_attention_to_the_last_digit() -> None:
    instance = INSTANCES["order 2"]
    plain = attention_gradient.Instance(
        instance.query, *instance.mode_keys, *instance.mode_values, instance.grad_output,
        grad_log_sum_exp=instance.grad_log_sum_exp,
    )  # fmt: skip
    names = {"grad_query": "grad_query", "grad_key": "grad_key1", "grad_value": "grad_value1"}
    for theirs, ours in names.items():
        assert (
            attention_gradient.define(plain, 1e-12, theirs).midpoint == define(instance, 1e-12, ours).midpoint
        ).all()
        for name in ("float32", "bfloat16", "float16-eager"):
            assert (attention_gradient.tolerance(plain, name, theirs) == tolerance(instance, name, ours)).all()


def test_combinations_are_arranged_by_the_key_of_a_mode() -> None:
    instance = INSTANCES["order 4"]
    matrix = np.arange(3 * 24).reshape(3, 24)
    turned = by_mode(matrix, instance, 2)
    for i, a, b, c in itertools.product(range(3), range(4), range(3), range(2)):
        assert turned[b, i * 8 + a * 2 + c] == matrix[i, a * 6 + b * 2 + c]


@pytest.mark.claim("TEN-6")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_laws_hold_of_the_definition(law: Any) -> None:
    applied, rng = 0, np.random.default_rng(2)
    for name in ("order 2", "order 3", "order 4", "causal", "two key heads"):
        instance = INSTANCES[name]
        transformed = law.transform(instance, rng)
        if not transformed:
            continue
        applied += 1
        outputs = tuple({key: x.midpoint for key, x in evaluate(t, 1e-14).gradients().items()} for t in transformed)
        exact = evaluate(instance, 1e-14).gradients()
        related = law.relate(instance, transformed, outputs)
        assert related
        for key, prediction in related.items():
            assert np.abs(prediction.value - exact[key].midpoint).max() < 1e-12, (name, key)
    assert applied


# --- correct kernels --------------------------------------------------------------------------------------------------


def backward(instance: Incoming, u: Precision, how: str) -> dict[str, Array]:
    """A backward pass of the class, with a forward pass of its own.

    how: ``pairs``, keys and values multiplied before; ``others``, what stands beside a mode multiplied for each mode;
    ``products``, δ from probabilities and products, not from the output.
    """
    wide = np.float64 if u.storage == "float64" else np.float32
    kept, eager = dtype_named(u.result), u.stored > 0.0

    def operand(x: Array) -> Array:
        return x.astype(kept).astype(wide)

    def stored(x: Array) -> Array:
        return operand(x) if eager else x

    def over(modes: list[Array]) -> Array:
        total = modes[0]
        for other in modes[1:]:
            total = operand(total[..., :, None, :] * other[..., None, :, :])
            total = total.reshape(*total.shape[:-3], -1, total.shape[-1])
        return total

    group, order = instance.group, instance.order
    q, grad = instance.query.astype(wide), instance.grad_output.astype(wide)
    keys, values = (
        [np.repeat(x.astype(wide), group, axis=1) for x in modes]
        for modes in (instance.mode_keys, instance.mode_values)
    )
    scale = wide(instance.scale)
    key, value = over(keys), over(values)
    score = np.where(instance.visible(), stored(stored(q @ np.swapaxes(key, 2, 3)) * scale), -np.inf)
    top = score.max(axis=3, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0).astype(wide)
    total = np.exp(score - top).astype(wide).sum(axis=3, keepdims=True)
    some = total > 0
    lse = top + np.log(np.where(some, total, 1))
    p = np.where(some, np.exp(score - lse), 0).astype(wide)
    p = stored(p)
    output = (operand(p) @ value).astype(kept)
    product = stored(grad @ np.swapaxes(value, 2, 3))
    if how == "products":
        delta = (p * product).sum(axis=3, dtype=wide, keepdims=True)
    else:
        delta = (output.astype(wide) * grad).sum(axis=3, dtype=wide, keepdims=True)
    if instance.grad_log_sum_exp is not None:
        delta = delta - np.where(some, instance.grad_log_sum_exp.astype(wide)[..., None], 0)
    ds = stored(p * (product - delta))
    made = {"grad_query": ((operand(ds) @ key) * scale).astype(kept)}
    b, h = q.shape[:2]
    for mode in range(1, order):
        s, w = (np.asarray(by_mode(operand(x), instance, mode)) for x in (ds, p))
        other = [x for m, x in enumerate(keys, 1) if m != mode]
        value_of_other = [x for m, x in enumerate(values, 1) if m != mode]
        of_key = (s @ over([q, *other])) * scale
        of_value = w @ over([grad, *value_of_other])
        for name, x in ((f"grad_key{mode}", of_key), (f"grad_value{mode}", of_value)):
            made[name] = x.reshape(b, h // group, group, *x.shape[2:]).sum(axis=2, dtype=wide).astype(kept)
    return made


CASES: list[dict[str, Any]] = [
    {"is_causal": True, "lengths": (5, 4), "n_q": 5, "dims": (6, 3)},
    {"order": 4, "size": 0.8},
    {"lengths": (1, 1), "n_q": 2},
    {"size": 1.5, "window": (2, 3), "n_q": 6, "lengths": (6, 5), "dims": (2, 2)},
    {"order": 2, "lengths": (5,)},
]


@pytest.mark.claim("TOLT-2")
@pytest.mark.parametrize("name", CLASSES)
def test_no_correct_kernel_is_blamed(name: str) -> None:
    u, worst = PRECISIONS[name], 0.0
    for seed, options in enumerate(CASES):
        instance = drawn(seed=seed, dtype=dtype_named(u.storage), **options)
        held_to = criteria(instance, u)
        for how in ("pairs", "products"):
            made = backward(instance, u, how)
            for output, criterion in held_to.items():
                ratio = float(criterion.ratio(made[output]).max())
                assert ratio <= 1.0, (output, how, options)
                worst = max(worst, ratio)
    assert worst > 0.0


@pytest.mark.claim("TOLT-2")
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "float16-eager"])
def test_gradients_with_two_modes_exchanged_are_blamed(name: str) -> None:
    """A public bug: a backward pass that is given its operands in another order than it declares."""
    u = PRECISIONS[name]
    instance = drawn(3, 3, dtype=dtype_named(u.storage), lengths=(4, 4), n_q=4, dims=(6, 6))
    made, held_to = backward(instance, u, "pairs"), criteria(instance, u)
    for one, other in (("grad_key1", "grad_key2"), ("grad_value1", "grad_value2"), ("grad_key1", "grad_value1")):
        assert held_to[one].ratio(made[other]).max() > 1.0


def adversary(instance: Incoming, u: Precision) -> dict[str, Array]:
    """Kernels of the class whose roundings go all one way; values and what comes in are not negative.

    Gradients of keys: dS is exact, and products of operands, their own rounding and that of the output are off by all
    that they may be.  Gradient of the values of mode 1: recomputed scores are too large and the stored log-sum-exp too
    small by all that they may err.
    """
    exact = evaluate(instance, reference_accuracy(u))
    pairs, soft, more = u.of(Pairs), u.of(Softmax), instance.order - 2
    made = {}
    for name, value in exact.gradients().items():
        times = more + (pairs.more if not name.startswith("grad_value") else 0)
        off = (1 + pairs.product) ** times * (1 + u.operand) * (1 + u.output) - 1
        made[name] = value.midpoint * (1 + off)
    forward = tensor_attention.evaluate(instance.forward(), reference_accuracy(u))
    score, order = forward.score.midpoint[0, 0], instance.order
    keys = of_modes([np.abs(x[0, 0].astype(float)) for x in instance.mode_keys])
    size = np.abs(instance.query[0, 0].astype(float)) @ keys.T
    d = instance.query.shape[3]
    delta = (1 + soft.query_rounding) ** order * (1 + pairs.product) ** (more + pairs.more) * (1 + d * u.product) - 1
    delta = delta * size * abs(instance.scale or 0.0)
    delta = delta + ((1 + soft.stored_score) ** soft.stored_times - 1) * np.abs(score) + np.log1p(soft.exp)
    stored = tensor_attention.tolerance(instance.forward(), u, "log_sum_exp", exact=forward)[0, 0, :, None]
    p = np.exp(forward.log_probability.midpoint[0, 0] + delta + stored)
    beside = [instance.grad_output[0, 0].astype(float), *(x[0, 0].astype(float) for x in instance.mode_values[1:])]
    turned = np.asarray(by_mode(p, instance, 1)) @ of_modes(beside)
    n = turned.shape[0] * len(p)
    off = (1 + pairs.product) ** more * (1 + soft.probability) * (1 + n * u.accumulate) * (1 + u.output)
    made["grad_value1"] = (turned * off)[None, None]
    return made


@pytest.mark.claim("TOLT-2")
@pytest.mark.parametrize("name", CLASSES)
def test_the_worst_kernel_of_the_model_stays_within_its_class_and_comes_near(name: str) -> None:
    u, worst = PRECISIONS[name], 0.0
    for seed in range(3):
        size = (0.5, 1.0, 1.5)[seed % 3]
        lengths = ((2, 2), (2, 1))[seed % 2]
        instance = drawn(
            3, seed, dtype=dtype_named(u.storage), lengths=lengths, n_q=2, heads=(1, 1, 1), size=size, lse=False
        )
        positive = {"grad_output": instance.grad_output}
        positive |= {f"value{m}": x for m, x in enumerate(instance.mode_values, 1)}
        instance = instance.replace(**{key: np.abs(x) for key, x in positive.items()})
        held_to = criteria(instance, u)
        for output, made in adversary(instance, u).items():
            ratio = float(held_to[output].ratio(made).max())
            assert ratio <= 1.0
            worst = max(worst, ratio)
    assert worst >= 0.2, worst


@pytest.mark.claim("TOLT-2")
def test_a_kernel_that_is_handed_the_forward_pass_is_held_to_less() -> None:
    instance, u = INSTANCES["order 3"], PRECISIONS["float32"]
    output, lse = (x.astype(np.float64) for x in handed(instance, u))
    bounds = Bounds(instance, u)
    used = [bounds.of(origin, output, lse) for origin in HANDED]
    own = [bounds.of(origin) for origin in OWN]
    for name in instance.outputs():
        assert np.max([x[name] for x in used], axis=0).mean() < np.max([x[name] for x in own], axis=0).mean()


@pytest.mark.claim("TOLT-2")
def test_a_bound_of_attention_alone_would_blame_a_kernel_that_rounds_products() -> None:
    u, worst = PRECISIONS["bfloat16-simplicial"], 0.0
    for seed in range(6):
        instance = drawn(3, seed, dtype=dtype_named("bfloat16"), lengths=(2, 2), n_q=1, heads=(1, 1, 1), lse=False)
        bounds = Bounds(instance, u)
        plain = type("Plain", (Bounds,), {"_entry": OfAttention._entry, "_value_entry": OfAttention._value_entry})
        less = plain(instance, u.with_("less", Pairs, product=0.0, more=0))
        made = adversary(instance, u)
        for name, value in bounds.gradients.gradients().items():
            allowed = np.max([less.of(origin)[name] for origin in OWN], axis=0)
            worst = max(worst, float(value.ratio(made[name], allowed).max()))
    assert worst > 0.6


@pytest.mark.claim("TOLT-2")
def test_products_that_overflow_are_not_judged() -> None:
    instance = drawn(3, 1, dtype=np.float16)
    large = instance.replace(query=np.full_like(instance.query, 300), key1=np.full_like(instance.mode_keys[0], 300))
    assert np.isposinf(tolerance(large, "float16")).all()
    assert np.isfinite(tolerance(instance, "float16")).all()


def test_unknown_outputs_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown output 'grad_key3': expected one of grad_query, grad_key1"):
        define(INSTANCES["order 3"], output="grad_key3")
    with pytest.raises(ValueError, match="unknown output"):
        tolerance(INSTANCES["order 3"], "float32", "output")


@pytest.mark.claim("TOLT-2")
@pytest.mark.parametrize("name", ["bfloat16", "float16-eager"])
def test_climbing_from_input_to_input_finds_no_kernel_that_exceeds_its_class(name: str) -> None:
    u, rng = PRECISIONS[name], np.random.default_rng(7)
    dtype = dtype_named(u.storage)
    for how in ("pairs",):
        best, top, begin = drawn(3, 4, dtype=dtype, lengths=(2, 3), n_q=2, heads=(1, 1, 1), lse=False), 0.0, 0.0
        for step in range(30):
            tried = best
            if step:
                which = list(best.arrays())[step % 6]
                array = getattr(best, which).astype(np.float64)
                factor = rng.choice([-1.5, 0.5, 1.1, 2.0], array.shape)
                moved = array * np.where(rng.random(array.shape) < 0.3, factor, 1.0)
                tried = best.replace(**{which: moved.astype(dtype)})
            made, held_to = backward(tried, u, how), criteria(tried, u)
            ratio = max(float(criterion.ratio(made[output]).max()) for output, criterion in held_to.items())
            assert ratio <= 1.0, how
            begin = ratio if step == 0 else begin
            if ratio >= top:
                best, top = tried, ratio
        assert top > begin  # the search does climb


# --- TOLT-2: the formulas, number by number ---------------------------------------------------------------------------


@pytest.mark.claim("TOLT-2")
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("order", [3, 4])
def test_roundings_and_losses_of_products_are_counted_as_the_claim_says(name: str, order: int) -> None:
    u = PRECISIONS[name]
    soft, pairs, rest = u.of(Softmax), u.of(Pairs), order - 2
    instance = drawn(order, 2, dtype=dtype_named(u.storage), size=2.0)
    bounds = Bounds(instance, u)
    key = (1 + soft.query_rounding) ** order * (1 + pairs.product) ** (2 * rest + pairs.more)
    value = (1 + soft.value_rounding) ** order * ((1 + pairs.product) * (1 + u.product)) ** (2 * rest)
    assert float(bounds._entry) == pytest.approx(key * (1 + u.product) ** (2 * rest) - 1, rel=1e-6)
    assert float(bounds._value_entry) == pytest.approx(value - 1, rel=1e-6)
    lost, one, none = pairs.product_tiny + u.tiny, np.ones(1), np.zeros(1)
    for of_values, arrays in (
        (False, [instance.query, *instance.mode_keys]),
        (True, [instance.grad_output, *instance.mode_values]),
    ):
        reach = np.prod([max(1.0, float(np.abs(x.astype(float)).max())) for x in arrays])
        for mass, steps in ((one, none), (none, one)):
            allowed = np.asarray(bounds._flushed(mass, steps, of_values=of_values))
            assert (allowed >= 2 * (2 * rest + pairs.more) * lost * reach * (1 - 1e-12)).all()
    if pairs.product_tiny < 2.0**-30:
        return  # what follows is lost in the rounding of the other terms
    for origin in OWN:
        start = np.zeros(instance.query.shape[:3])
        alpha = bounds._product_error(start, origin) - OfAttention._product_error(bounds, start, origin)
        least = 4 * rest * lost * instance.grad_output.shape[3] * reach
        assert (alpha[np.broadcast_to(bounds._attended, alpha.shape)] >= 0.9 * least).all()


@pytest.mark.claim("TOLT-2")
def test_a_gradient_divided_by_weights_whose_shift_lags_may_be_flushed_to_zero() -> None:
    one = np.ones((1, 1, 1, 1), np.float32)
    quotient = np.float32(0.98 * 2.0**-126)  # of the sum of weights, 256 where their shift lags, and becomes 0
    incoming = np.full((1, 1, 64, 1), 255 * quotient, np.float32)
    instance = Instance(np.zeros_like(incoming), one, one, one, np.float32(1e3) * one, incoming)
    allowed, exactly = Bounds(instance, PRECISIONS["float32"]), evaluate(instance, 1e-12).gradients()
    for name in ("grad_value1", "grad_value2"):
        nothing = np.zeros((1, 1, 1, 1))
        assert min(exactly[name].ratio(nothing, allowed.of(origin)[name]).max() for origin in OWN) <= 1.0, name


@pytest.mark.claim("TOLT-2")
def test_a_product_of_query_and_key_that_is_rounded_among_subnormal_numbers_is_allowed_for() -> None:
    u, one = PRECISIONS["float16"], np.ones((1, 1, 1, 1), np.float16)
    two = np.concatenate([one, -one], axis=2)
    instance = Instance(
        np.float16(2.0**-13 * 1.0625) * one, two * np.float16(0.5), np.float16(2.0**-12) * one, two, one,
        np.float16(16.0) * one, scale=16.0,
    )  # fmt: skip
    made = backward(instance, u, "pairs")["grad_key1"]
    ratio = criteria(instance, u)["grad_key1"].ratio(made)
    assert 0.05 <= ratio.max() <= 1.0


@pytest.mark.claim("TOLT-2")
@pytest.mark.parametrize(
    ("name", "queries", "sizes"),
    [
        ("float32", 1, {"query": 1e10, "key1": 1e10, "key2": 1e-25, "grad_output": 1e20}),
        ("float16", 1, {"query": 100.0, "key1": 100.0, "key2": 2.0**-14, "grad_output": 20.0}),
        ("float16-eager", 50, {"query": 40.0, "key1": 20.0, "key2": 2.0**-14}),
    ],
)
def test_sums_that_overflow_with_the_other_factors_are_not_judged(
    name: str, queries: int, sizes: dict[str, float]
) -> None:
    u = PRECISIONS[name]
    dtype = dtype_named(u.storage)
    base = drawn(3, dtype=dtype, lengths=(2, 2), n_q=queries, heads=(1, 1, 1), dims=(1, 1), lse=False, scale=1.0)
    base = base.replace(**{key: np.ones_like(x) for key, x in base.arrays().items()})
    one_query = base.part(queries=[0])
    arrays = {key: np.full_like(getattr(base, key), x) for key, x in sizes.items()}
    for output in base.outputs():
        assert np.isfinite(tolerance(one_query, name, output)).all()
        assert np.isposinf(tolerance(base.replace(**arrays), name, output)).all(), output
