"""One training step: the definition against others, the tolerance against correct kernels, the hull of the gradient."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from mpmath import mp, mpf

from assay.spec.firing_neurons_training import (
    LAWS,
    OUTPUTS,
    PRECISIONS,
    Instance,
    criteria,
    define,
    errors,
    evaluate,
    load,
    symbolic,
    tolerance,
)
from assay.spec.floats import dtype_named
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

LOSSES = ("squared", "cross_entropy")


def drawn(seed: int = 0, dtype: str = "float32", loss: str = "squared", *, integers: bool = False) -> Instance:
    rng = np.random.default_rng(seed)
    n, m, d, c = (int(x) for x in rng.integers(1, 6, 4))

    def numbers(*shape: int) -> Array:
        x = rng.integers(-2, 3, shape) if integers else rng.standard_normal(shape)
        return x.astype(dtype_named(dtype))

    targets = np.abs(numbers(n, c)) if loss == "cross_entropy" else numbers(n, c)
    return Instance(
        numbers(n, d), targets, numbers(m, d), numbers(m, c), float(numbers(1)[0]),
        0.5 if integers else float(numbers(1)[0]), loss,
    )  # fmt: skip


def stepped(instance: Instance, dtype: Any, order: int = 0) -> tuple[Array, Array, Array]:
    """A dense step in a type, by one of three orders of the sums."""
    x, y, w, a = (v.astype(dtype) for v in (instance.data, instance.targets, instance.weights, instance.outer))
    b, rate = dtype(instance.threshold), dtype(instance.rate)
    last = np.arange(len(w))[:: -1 if order else 1]
    if order == 2:  # the threshold as one more coordinate
        margin = np.hstack([w, np.full((len(w), 1), -b, dtype)]) @ np.hstack([x, np.ones((len(x), 1), dtype)]).T
    else:
        margin = w @ x.T - b
    active = np.maximum(margin, dtype(0))
    output = active[last].T @ a[last]
    if instance.loss == "squared":
        slope = output - y
    else:
        e = np.exp(output - output.max(axis=1, keepdims=True))
        slope = e / e.sum(axis=1, keepdims=True, dtype=dtype) * y.sum(axis=1, keepdims=True, dtype=dtype) - y
    fires = margin > 0
    if order == 1:  # another association of the three factors
        gradient = sum((a[:, k : k + 1] * ((fires * slope[:, k]) @ x) for k in range(a.shape[1])), np.zeros_like(w))
    else:
        gradient = np.where(fires, a @ slope.T, dtype(0)) @ x
    return output.astype(dtype), gradient.astype(dtype), (w - rate * gradient).astype(dtype)


def ratios(instance: Instance, precision: Any, step: tuple[Array, Array, Array]) -> dict[str, float]:
    answers = dict(zip(OUTPUTS, step, strict=True))
    return {
        name: float(criterion.ratio(*(answers[of] for of in criterion.outputs or (name,))).max())
        for name, criterion in criteria(instance, precision).items()
    }


# --- the definition ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_an_instance_is_saved_and_loaded_bit_exactly(loss: str, tmp_path: Path) -> None:
    instance = drawn(3, "bfloat16", loss)
    instance.save(tmp_path / "x.npz")
    assert load(tmp_path / "x.npz").digest() == instance.digest()
    for smaller in itertools.islice(instance.smaller(), 40):
        assert smaller.loss in LOSSES


def test_targets_below_zero_are_no_weights_of_a_cross_entropy() -> None:
    with pytest.raises(InvalidInstance, match=r"targets: .* at least 0 for the cross entropy"):
        drawn(0).replace(targets=-np.ones_like(drawn(0).targets), loss="cross_entropy")
    for function in (define, tolerance):
        with pytest.raises(ValueError, match="unknown output 'loss': expected one of output, gradient, new_weights"):
            function(drawn(0), 1e-9 if function is define else "float32", "loss")
    with pytest.raises(ValueError, match=r"relative: 1\.0, expected a number between 0 and 1"):
        define(drawn(0), 1.0)


def by_rationals(instance: Instance) -> dict[str, list[list[Fraction]]]:
    """The step with the squared loss in rational numbers, from the definition of a derivative and nothing else."""
    x, y, w, a = (
        [[Fraction(float(v)) for v in row] for row in array]
        for array in (instance.data, instance.targets, instance.weights, instance.outer)
    )
    b, rate = Fraction(instance.threshold), Fraction(instance.rate)
    margin = [[sum((p * q for p, q in zip(row, point, strict=True)), -b) for point in x] for row in w]
    z = [[sum((max(margin[r][i], 0) * a[r][k] for r in range(len(w))), Fraction(0)) for k in range(len(a[0]))]
         for i in range(len(x))]  # fmt: skip
    gradient = [[Fraction(0)] * len(x[0]) for _ in w]
    for r, i, k, c in itertools.product(range(len(w)), range(len(x)), range(len(a[0])), range(len(x[0]))):
        if margin[r][i] > 0:
            gradient[r][c] += a[r][k] * (z[i][k] - y[i][k]) * x[i][c]
    new = [[v - rate * g for v, g in zip(*rows, strict=True)] for rows in zip(w, gradient, strict=True)]
    return {"output": z, "gradient": gradient, "new_weights": new}


@pytest.mark.claim("FN-13")
def test_a_step_with_the_squared_loss_is_that_of_rational_numbers() -> None:
    for seed, integers in itertools.product(range(10), (False, True)):
        instance = drawn(seed, "float64", integers=integers)
        expected = by_rationals(instance)
        for name, relative in itertools.product(OUTPUTS, (1e-12, 1e-25)):
            found = define(instance, relative, name)
            for at in np.ndindex(*found.shape):
                exact = expected[name][at[0]][at[1]]
                assert abs(Fraction(float(found.midpoint[at])) - exact) <= Fraction(float(found.radius[at]))


@pytest.mark.claim("FN-13")
def test_the_gradient_of_the_cross_entropy_is_a_difference_quotient_of_the_loss() -> None:
    """mpmath, from the loss alone."""
    for seed in range(6):
        instance = drawn(seed, "float64", "cross_entropy")
        x, y, w, a = (
            v.astype(float).tolist() for v in (instance.data, instance.targets, instance.weights, instance.outer)
        )
        found = define(instance, 1e-20, "gradient")

        def loss(weights: Any, x: Any = x, y: Any = y, a: Any = a, b: float = instance.threshold) -> Any:
            total = mpf(0)
            for point, target in zip(x, y, strict=True):
                active = [max(mp.fdot(row, point) - b, mpf(0)) for row in weights]
                z = [mp.fsum(s * row[k] for s, row in zip(active, a, strict=True)) for k in range(len(target))]
                total += mp.fsum(t * (mp.log(mp.fsum(map(mp.exp, z))) - v) for t, v in zip(target, z, strict=True))
            return total

        with mp.workdps(50):
            for r, c in np.ndindex(*found.shape):
                moved = [[list(map(mpf, row)) for row in w] for _ in range(2)]
                moved[0][r][c] += mpf(10) ** -20
                moved[1][r][c] -= mpf(10) ** -20
                slope = (loss(moved[0]) - loss(moved[1])) / (2 * mpf(10) ** -20)
                assert abs(slope - mpf(float(found.midpoint[r, c]))) <= 1e-13 * (1 + abs(slope))


@pytest.mark.parametrize("loss", LOSSES)
def test_sympy_agrees(loss: str) -> None:
    for seed in range(4):
        instance = drawn(seed, "float64", loss)
        table = symbolic(instance)
        for name in OUTPUTS:
            value = np.array(table[name].tolist(), dtype=float)
            assert define(instance, 1e-14, name).ratio(value, 1e-12 * (1 + np.abs(value))).max() <= 1.0


def test_a_tie_counts_for_nothing() -> None:
    one = np.ones((1, 1))
    step = Instance(one, one * 5, one * 2, one, threshold=2.0)
    assert define(step, output="output").midpoint.item() == define(step, output="gradient").midpoint.item() == 0.0
    assert np.isposinf(criteria(step, "float64")["gradient"].ratio(-5 * one)).all()


@pytest.mark.claim("FN-14")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_a_law_holds_of_the_definition(law: Any) -> None:
    for seed, loss in itertools.product(range(6), LOSSES):
        instance = drawn(seed, "float64", loss)
        transformed = law.transform(instance, np.random.default_rng(seed))
        assert transformed
        outputs = tuple({name: define(each, 1e-14, name).midpoint for name in OUTPUTS} for each in transformed)
        predictions = law.relate(instance, transformed, outputs)
        assert predictions
        for name, prediction in predictions.items():
            size = 1 + np.abs(prediction.value)
            assert define(instance, 1e-14, name).ratio(prediction.value, 1e-12 * size).max() <= 1.0


# --- the tolerance ----------------------------------------------------------------------------------------------------

KINDS: dict[str, Any] = {"float64": np.float64, "float32": np.float32}


@pytest.mark.claim("FN-13")
@pytest.mark.parametrize(("name", "loss"), list(itertools.product(KINDS, LOSSES)))
def test_dense_steps_in_every_order_are_right(name: str, loss: str) -> None:
    worst = dict.fromkeys(OUTPUTS, 0.0)
    for seed in range(25):
        instance = drawn(seed, name, loss)
        for order in range(3):
            found = ratios(instance, name, stepped(instance, KINDS[name], order))
            worst = {key: max(worst[key], found[key]) for key in OUTPUTS}
    assert all(0.01 <= value <= 1.0 for value in worst.values()), worst


@pytest.mark.claim("FN-13")
def test_many_outputs_that_are_added_one_after_another_are_right() -> None:
    """Roundings of a sum of equal terms go one way: 3,000 of them are more than a few units."""
    one, outer = np.ones((1, 1), np.float32), np.full((1, 3000), 1 / 3, np.float32)
    instance = Instance(one, 0 * outer, one, outer, rate=1.0)
    gradient = np.cumsum(outer * outer, dtype=np.float32)[-1:, None]
    found = ratios(instance, "float32", (outer, gradient, one - gradient))
    assert 0.0 < found["gradient"] <= 1.0
    least = float(criteria(instance, "float32")["gradient"].error(gradient).item())
    assert least > 20 * 2.0**-24 * float(np.square(outer).sum())


def in_short(instance: Instance, name: str) -> tuple[Array, Array, Array]:
    """A step whose sums are float32 and whose results are stored in a short type after every operation."""
    kind = dtype_named(name)

    def short(x: Array) -> Array:
        return np.asarray(x, np.float32).astype(kind).astype(np.float32)

    x, y, w, a = (v.astype(np.float32) for v in (instance.data, instance.targets, instance.weights, instance.outer))
    margin = short(short(w @ x.T) - short(np.float32(instance.threshold)))
    output = short(np.maximum(margin, 0).T @ a)
    if instance.loss == "squared":
        slope = short(output - y)
    else:
        e = np.exp(output - output.max(axis=1, keepdims=True))
        share = short(e / e.sum(axis=1, keepdims=True))
        slope = short(share * y.sum(axis=1, keepdims=True) - y)
    gradient = short(np.where(margin > 0, short(a @ slope.T), 0) @ x)
    return output, gradient, short(w - short(short(np.float32(instance.rate)) * gradient))


@pytest.mark.claim("FN-13")
@pytest.mark.parametrize(("name", "loss"), list(itertools.product(("bfloat16", "float16"), LOSSES)))
def test_steps_that_store_short_numbers_are_right(name: str, loss: str) -> None:
    worst = dict.fromkeys(OUTPUTS, 0.0)
    for seed in range(25):
        instance = drawn(seed, name, loss)
        found = ratios(instance, name, in_short(instance, name))
        worst = {key: max(worst[key], found[key]) for key in OUTPUTS}
    assert all(0.01 <= value <= 1.0 for value in worst.values()), worst


@pytest.mark.claim("FN-13")
@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16", "float16", "tf32"])
def test_some_step_errs_by_a_fifth_of_the_bound(name: str) -> None:
    """One point, neuron and coordinate, whose factors are just above a number of the type."""
    storage = PRECISIONS[name].storage
    kind, best = dtype_named(storage), dict.fromkeys(OUTPUTS, 0.0)
    rng = np.random.default_rng(5)
    for trial in range(150):
        numbers = [(np.exp2(rng.random((1, 1))) * 2).astype(kind) for _ in range(4)]
        if name == "tf32":
            numbers = [
                (1 + 2.0**-10 * (1 - 2.0 ** -rng.integers(5, 9)) * np.ones((1, 1))).astype(kind) for _ in range(4)
            ]
        x, y, w, a = numbers
        instance = Instance(x, y * 0, w, a, rate=float(np.exp2(rng.random()).astype(np.float32)) if trial % 2 else 1.0)
        if name == "tf32":
            step = by_cut(instance)
        else:
            step = stepped(instance, KINDS[name]) if name in KINDS else in_short(instance, name)
        found = ratios(instance, name, step)
        assert max(found.values()) <= 1.0
        best = {key: max(best[key], found[key]) for key in OUTPUTS}
    # the gradient that moves the weights may be another evaluation than the one that is returned, which this is not
    assert best["output"] >= 0.2
    assert best["gradient"] >= 0.2


def by_cut(instance: Instance) -> tuple[Array, Array, Array]:
    """A step of one number whose factors are cut to 11 bits on their way into a product."""

    def cut(x: Array) -> Array:
        bits = x.astype(np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
        return bits.view(np.float32)

    x, y, w, a = (v.astype(np.float32) for v in (instance.data, instance.targets, instance.weights, instance.outer))
    active = np.maximum(cut(w) * cut(x), 0)
    output = cut(active) * cut(a)
    gradient = cut(cut(output - y) * cut(a)) * cut(x)
    return output, gradient, w - np.float32(instance.rate) * gradient


@pytest.mark.claim("FN-13")
@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16", "float16"])
def test_steps_of_small_integers_are_equal_bit_for_bit(name: str) -> None:
    judged = 0
    for seed in range(30):
        instance = drawn(seed, name, integers=True)
        if any(tolerance(instance, name, output).any() for output in OUTPUTS):
            continue
        judged += 1
        step = stepped(instance, KINDS[name], seed % 3) if name in KINDS else in_short(instance, name)
        assert max(ratios(instance, name, step).values()) == 0.0
        for place, output in enumerate(OUTPUTS):
            wrong = [np.array(value, np.float64) for value in step]
            wrong[place][0, 0] += 2.0**-40
            assert np.isposinf(ratios(instance, name, tuple(wrong))[output])
    assert judged >= 5


@pytest.mark.claim("FN-13")
def test_large_integers_are_not_taken_to_be_exact() -> None:
    one = np.ones((1, 1), np.float32)
    for scale, exact in ((2.0**4, True), (2.0**11, False)):
        step = Instance(one, one, one * (scale + 1), one * (scale + 1), rate=1.0)
        assert (tolerance(step, "float32", "gradient") == 0).all() == exact
    assert tolerance(drawn(1, loss="cross_entropy", integers=True), "float32").all()
    assert tolerance(Instance(one, one, one, one, rate=0.1), "float32").all()  # a rate that the type does not hold


def one_by_one(*numbers: float, dtype: str = "float16", **options: Any) -> Instance:
    """One point, one target, one neuron and one outer weight."""
    return Instance(*(np.array([[x]]).astype(dtype_named(dtype)) for x in numbers), **options)


OUT_OF_RANGE = {
    "the slope of the loss": one_by_one(1.0, 65000.0, 30000.0, -0.05, rate=0.0),
    "the rate": one_by_one(1.0, 1.0, 1.0009765625, 1.0, rate=1e5),
}


@pytest.mark.claim("FN-13")
@pytest.mark.parametrize("what", OUT_OF_RANGE)
@np.errstate(over="ignore", invalid="ignore")
def test_a_step_whose_intermediate_numbers_overflow_is_outside_the_domain(what: str) -> None:
    instance = OUT_OF_RANGE[what]
    step = in_short(instance, "float16")
    assert not all(np.isfinite(x).all() for x in step)
    assert max(ratios(instance, "float16", step).values()) <= 1.0


@pytest.mark.claim("FN-13")
def test_numbers_that_are_beyond_the_type_are_outside_the_domain() -> None:
    target = one_by_one(1.0, 1e5, 1.0, 0.001, rate=0.0, dtype="float64")
    outer = one_by_one(1.0, 1.0, 2.0**-10, 1e5, rate=0.0, dtype="float64")
    for instance in (target, outer):
        assert np.isposinf(tolerance(instance, "float16", "gradient")).all()
        assert np.isfinite(tolerance(instance, "bfloat16", "gradient")).all()


def held(instance: Instance, name: str) -> Instance:
    """The instance with its numbers rounded to a type, and to 0 what the type loses."""
    kind = dtype_named(name)
    names = ("data", "targets", "weights", "outer")
    return instance.replace(**{each: getattr(instance, each).astype(kind).astype(float) for each in names})


@pytest.mark.claim("FN-13")
def test_the_sum_of_the_targets_of_a_cross_entropy_may_overflow() -> None:
    instance = Instance(
        *(np.array([x]).astype(np.float16) for x in ([1.0], [60000.0, 60000.0], [1.0], [0.5, 0.25])),
        rate=0.0, loss="cross_entropy",
    )  # fmt: skip
    assert np.isposinf(tolerance(instance, "float16", "gradient")).all()


LOST = {
    "a rate": one_by_one(1.0, 30000.0, 2.0**-9, 1.0, rate=2e-8),
    "an outer weight": one_by_one(1.0, 0.0, 30000.0, 1e-8, rate=0.0, dtype="float64"),
    "an outer weight in the gradient": one_by_one(1.0, 30000.0, 1.0, 1e-8, rate=0.0, dtype="float64"),
    "a coordinate": Instance(
        np.array([[1.0, 2e-8]]), np.array([[30000.0]]), np.ones((1, 2)), np.ones((1, 1)), rate=0.0
    ),
}


@pytest.mark.claim("FN-13")
@pytest.mark.parametrize("what", LOST)
def test_a_small_factor_that_a_type_loses_is_paid_for_times_the_other_factor(what: str) -> None:
    instance = LOST[what]
    assert max(ratios(instance, "float16", in_short(held(instance, "float16"), "float16")).values()) <= 1.0


@pytest.mark.claim("FN-13")
def test_a_subnormal_factor_that_a_machine_flushes_is_paid_for() -> None:
    one = np.ones((1, 1), np.float32)
    flat = np.array([[1.0, 0.0]], np.float32)
    for scale in (2.0**120, 1.0):
        instance = Instance(np.array([[1.0, 2.0**-127]], np.float32), one * scale, flat + flat[:, ::-1], one, rate=0.0)
        assert max(ratios(instance, "float32", stepped(instance.replace(data=flat), np.float32)).values()) <= 1.0
    exact = Instance(2.0**-130 * one, one, 2.0**20 * one, one, rate=0.0)  # whose products are normal numbers
    lost = stepped(exact.replace(data=0 * one), np.float32)
    assert max(ratios(exact, "float32", lost).values()) <= 1.0
    slow = Instance(one, 0 * one, 2.0**20 * one, one, rate=2.0**-130)
    still = stepped(slow.replace(rate=0.0), np.float32)
    assert max(ratios(slow, "float32", still).values()) <= 1.0


@pytest.mark.claim("FN-13")
def test_sizes_that_underflow_are_not_taken_to_be_exact() -> None:
    instance = one_by_one(1e-200, 0.0, 1e-200, 1e300, dtype="float64", rate=0.0)
    assert tolerance(instance, "float64").item() > 0.0
    assert max(ratios(instance, "float64", stepped(instance, np.float64)).values()) <= 1.0


@pytest.mark.claim("FN-13")
def test_a_margin_that_is_stored_twice_is_paid_for_where_products_round_nothing() -> None:
    precision, worst = PRECISIONS["bfloat16"].with_("stored", operand=0.0), 0.0
    for numerator in range(128, 256):
        x = numerator / 128
        w = round(256 * (1 + 1.2 * 2.0**-8) / x) / 256
        if not 2.0**-8 < x * w - 1 < 2.0**-7:  # the product is rounded up by almost a unit, and the difference too
            continue
        for outer in (1.0, 1.2578125):  # and the result
            instance = one_by_one(x, 0.0, w, outer, dtype="bfloat16", threshold=-(2.0**-8 + 2.0**-14), rate=0.0)
            worst = max(worst, ratios(instance, precision, in_short(instance, "bfloat16"))["output"])
    assert 0.5 <= worst <= 1.0


# --- the hull ---------------------------------------------------------------------------------------------------------


def undecided(pairs: int, seed: int = 0, d: int = 3) -> Instance:
    """One neuron that ties on ``pairs`` points, but for a rounding, and fires on one more."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((1, d)).astype(np.float32)
    data = rng.standard_normal((pairs + 1, d)).astype(np.float32)
    others = (data[:-1, :-1].astype(float) * weights[0, :-1].astype(float)).sum(axis=1)
    data[:-1, -1] = ((0.25 - others) / weights[0, -1]).astype(np.float32)
    data[-1] = 3 * weights[0]
    targets = rng.standard_normal((pairs + 1, 1)).astype(np.float32)
    return Instance(data, targets, weights, np.ones((1, 1), np.float32), threshold=0.25)


def taken(instance: Instance, choice: Any) -> Array:
    """The gradient for a choice of the undecided pairs, in float64."""
    exact = evaluate(instance, 1e-14)
    counted = np.append(np.asarray(choice, float), 1.0)
    value: Array = (counted * exact.pairs.midpoint[0]) @ instance.data.astype(float)
    return value


@pytest.mark.claim("FN-13")
@pytest.mark.parametrize("pairs", [1, 3, 8, 14])
def test_every_choice_of_the_undecided_pairs_is_right_and_a_mixture_is_not(pairs: int) -> None:
    instance = undecided(pairs)
    found = errors(instance, PRECISIONS["float32"], evaluate(instance, 1e-14))
    assert found.undecided[0].tolist() == [True] * pairs + [False]
    ratio = criteria(instance, "float32")["gradient"].ratio
    rng = np.random.default_rng(1)
    for _ in range(8):
        choice = rng.integers(0, 2, pairs)
        right = taken(instance, choice)[None]
        assert ratio(right).max() <= 1.0
        # one coordinate of another choice: every element is within its own interval, and the whole is wrong
        other = taken(instance, 1 - choice)[None]
        mixed = right.copy()
        mixed[0, 0] = other[0, 0]
        if pairs <= 10:
            assert ratio(mixed).max() > 1.0
    half = taken(instance, np.full(pairs, 0.5))[None]
    assert (ratio(half).max() > 1.0) == (pairs <= 10)  # beyond ten pairs the convex hull is allowed


@pytest.mark.claim("FN-13")
def test_a_gradient_outside_the_convex_hull_is_wrong_though_inside_every_interval() -> None:
    """Twelve undecided pairs in two coordinates that are proportional: the hull is a segment, the box a square."""
    pairs = 12
    weights = np.array([[1.0, 1.0]], np.float32)
    data = np.full((pairs + 1, 2), 0.125 * (1 + 2.0**-23), np.float32)
    data[-1] = (1.0, 0.0)
    targets = np.linspace(-1, 1, pairs + 1, dtype=np.float32)[:, None] + np.float32(2)
    instance = Instance(data, targets, weights, np.ones((1, 1), np.float32), threshold=0.25 + 2.0**-30)
    exact = evaluate(instance, 1e-14)
    assert errors(instance, PRECISIONS["float32"], exact).undecided[0].tolist() == [True] * pairs + [False]
    none = taken(instance, np.zeros(pairs))
    every = taken(instance, np.ones(pairs))
    ratio = criteria(instance, "float32")["gradient"].ratio
    assert max(ratio(none[None]).max(), ratio(every[None]).max(), ratio((none + every)[None] / 2).max()) <= 1.0
    corner = np.array([[none[0], every[1]]])
    assert ratio(corner).max() > 100


@pytest.mark.claim("FN-13")
def test_a_decided_pair_that_is_left_out_is_wrong_and_the_output_hardly_moves() -> None:
    instance = undecided(3)
    exact = evaluate(instance, 1e-14)
    held_to = criteria(instance, "float32")
    left_out = taken(instance, [1, 0, 1]) - exact.pairs.midpoint[0, -1] * instance.data[-1].astype(float)
    assert held_to["gradient"].ratio(left_out[None]).max() > 1e3
    assert held_to["output"].ratio(exact.output.midpoint).max() == 0.0
    assert held_to["output"].allowed.max() < 1e-4
    assert np.isposinf(held_to["gradient"].ratio(np.full((1, 3), np.nan))).all()


@pytest.mark.claim("FN-13")
def test_new_weights_are_held_to_the_gradient_that_was_returned() -> None:
    instance = drawn(2).replace(rate=0.25)
    _, gradient, new = stepped(instance, np.float32)
    criterion = criteria(instance, "float32")["new_weights"]
    assert criterion.outputs == ("gradient", "new_weights")
    assert criterion.ratio(gradient, new).max() <= 1.0
    if np.abs(gradient).max() > 0:
        assert criterion.ratio(gradient, new + 2 * instance.rate * gradient).max() > 1.0
    assert criterion.ratio(gradient, new + np.float32(1e-3)).min() > 1.0


def test_types_that_do_not_hold_the_numbers_are_paid_for() -> None:
    for seed, loss in itertools.product(range(12), LOSSES):
        instance = drawn(seed, "float64", loss)
        assert max(ratios(instance, "float32", stepped(instance, np.float32)).values()) <= 1.0
    assert float(ml_dtypes.finfo(ml_dtypes.bfloat16).eps) == 2.0**-7
