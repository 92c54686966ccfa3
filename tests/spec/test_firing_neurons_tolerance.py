"""FN-5 and FN-6 attacked: structures of every class, simulated rounding by rounding, and searches for their worst."""

from __future__ import annotations

import dataclasses
import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from assay.spec.firing_neurons import PRECISIONS, Correlations, Instance, errors, fired, incremental, queries, update
from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

CLASSES = ("float64", "float32", "tf32", "bfloat16", "float16")
Round = Any  # a number → a number


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """How a machine of a class rounds, one number at a time."""

    entry: Round  # of an entry on its way into a product
    sums: Round  # of a product or a sum
    stored: Round  # of a correlation, a difference or a threshold that is stored


def to_type(name: str) -> Round:
    kind = dtype_named(name).type
    return lambda x: float(kind(x))


def cut(bits: int) -> Round:
    """Truncation to so many bits, as a tensor core ignores the others."""

    def rounded(x: float) -> float:
        if x == 0.0:
            return 0.0
        mantissa, exponent = math.frexp(x)
        return math.ldexp(math.trunc(mantissa * 2.0**bits), exponent - bits)

    return rounded


def machine(name: str) -> Arithmetic:
    same: Round = lambda x: x  # noqa: E731
    sums = to_type("float64" if name == "float64" else "float32")
    stored = to_type(name) if name in ("bfloat16", "float16") else sums
    return Arithmetic(cut(11) if name == "tf32" else same, sums, stored)


def dot(one: list[float], other: list[float], how: Arithmetic, rng: np.random.Generator, start: float = 0.0) -> float:
    """A sum of products in an order by chance, with fused multiplications now and then; start: a first addend."""
    fused = rng.random() < 0.3
    terms = [(how.entry(a), how.entry(b)) for a, b in zip(one, other, strict=True)]
    if fused or start:
        total = start
        for k in rng.permutation(len(terms)):
            a, b = terms[k]
            total = rounded_sum(total, a, b, how.sums) if fused else how.sums(total + how.sums(a * b))
        return total
    parts = [how.sums(a * b) for a, b in terms]
    while len(parts) > 1:
        i, j = sorted(rng.choice(len(parts), 2, replace=False))
        parts[i] = how.sums(parts[i] + parts.pop(j))
    return parts[0]


def rounded_sum(total: float, a: float, b: float, rounding: Round) -> float:
    """fl(total + a·b) with one rounding.  A float64 result is exact in rational numbers before it is rounded."""
    exact = Fraction(total) + Fraction(a) * Fraction(b)
    return rounding(float(exact))


class Fresh:
    """Correlations computed from the weights as they are; what is compared with 0, or with a threshold."""

    def __init__(self, instance: Instance, how: Arithmetic, rng: np.random.Generator, *, folded: bool) -> None:
        self.how, self.rng, self.folded, self.bar = how, rng, folded, instance.threshold
        self.data = instance.data.astype(float).tolist()
        self.weights = instance.weights.astype(float).tolist()

    def correlation(self, r: int, i: int) -> float:
        if self.folded:
            bar = -self.how.stored(self.bar)
            return self.how.stored(dot([*self.weights[r], bar], [*self.data[i], 1.0], self.how, self.rng))
        return self.how.stored(dot(self.weights[r], self.data[i], self.how, self.rng))

    def update(self, r: int, row: list[float]) -> None:
        self.weights[r] = row

    def value(self, r: int, i: int, bar: float) -> tuple[float, float]:
        """(left, right) of the comparison that decides whether r fires on i."""
        c = self.correlation(r, i)
        if not self.folded:
            return c, self.how.stored(bar)
        same = bar == self.bar
        return c, 0.0 if same else self.how.stored(self.how.stored(bar) - self.how.stored(self.bar))


class Incremental(Fresh):
    """Correlations changed by the product of the difference; recomputed after ``most`` updates of a neuron."""

    def __init__(self, *arguments: Any, folded: bool, adds: bool, one_sum: bool, most: float = math.inf) -> None:
        super().__init__(*arguments, folded=folded)
        self.adds, self.one_sum, self.most = adds, one_sum, most
        self.ages = [0] * len(self.weights)
        anew = super().correlation
        self.kept = [[anew(r, i) for i in range(len(self.data))] for r in range(len(self.weights))]

    def correlation(self, r: int, i: int) -> float:
        return self.kept[r][i]

    def update(self, r: int, row: list[float]) -> None:
        stored = self.how.stored
        change = [stored(new - old) for new, old in zip(row, self.weights[r], strict=True)]
        self.weights[r] = [stored(a + b) for a, b in zip(self.weights[r], change, strict=True)] if self.adds else row
        self.ages[r] += 1
        again = self.ages[r] > self.most
        self.ages[r] = 0 if again else self.ages[r]
        for i, x in enumerate(self.data):
            if again:
                self.kept[r][i] = super().correlation(r, i)
            elif self.one_sum:
                self.kept[r][i] = stored(dot(change, x, self.how, self.rng, self.kept[r][i]))
            else:
                self.kept[r][i] = stored(self.how.sums(self.kept[r][i] + stored(dot(change, x, self.how, self.rng))))


def exactly(query: Any, a: int, b: int) -> Fraction:
    """A margin in rational numbers."""
    one, other = (map(Fraction, x.tolist()) for x in (query.rows[a], query.columns[b]))
    return sum(map(Fraction.__mul__, one, other), -Fraction(query.threshold))


def worst(structure: Any, instance: Instance, precision: Any) -> float:
    """The largest error of a computed margin in units of δ over the script; decisions that are wrong err by less."""
    allowed, ratio = errors(instance, precision), 0.0
    found = iter(queries(instance))
    for call in instance.calls():
        if call.weights is not None:
            for r, row in zip(call.operands.tolist(), call.weights.astype(float).tolist(), strict=True):
                structure.update(r, row)
            continue
        query = next(found)
        for a, b in np.ndindex(len(query.rows), len(query.columns)):
            r, i = (b, int(call.operands[a])) if call.method == "fired" else (int(call.operands[a]), b)
            left, right = structure.value(r, i, query.threshold)
            margin = exactly(query, a, b)
            wrong = (left > right) != (margin > 0)
            off, delta = abs(Fraction(left) - Fraction(right) - margin), float(allowed[query.name][a, b])
            assert not (wrong and abs(margin) > off)
            if off:
                assert delta > 0.0
                ratio = max(ratio, float(off / Fraction(delta)) if np.isfinite(delta) else 0.0)
    return ratio


def drawn(rng: np.random.Generator, storage: str, *, steps: int = 10, d: int | None = None) -> Instance:
    """A script with numbers of all sizes, cancellations, updates that come back, and thresholds of queries."""
    n, m = rng.integers(1, 4, 2)
    d = int(rng.integers(1, 7)) if d is None else d

    def numbers(*shape: int) -> Array:
        x = rng.standard_normal(shape) * 2.0 ** rng.integers(-4, 5, shape)
        return x.astype(dtype_named(storage))

    weights, new = numbers(m, d), numbers(steps, d)
    new[rng.random(steps) < 0.3] = new[0]
    data = numbers(n, d)
    if d > 1 and rng.random() < 0.5:  # terms that cancel
        data[:, -1] = data[:, 0]
        weights[:, -1], new[:, -1] = -weights[:, 0], -new[:, 0]
    thresholds = np.where(rng.random(steps) < 0.6, np.nan, rng.standard_normal(steps)) if rng.random() < 0.5 else None
    near = float((weights[0].astype(float) * data[0].astype(float)).sum())
    threshold = float(rng.standard_normal()) if rng.random() < 0.7 else near
    return Instance(
        data, weights, rng.choice([0, 0, 1, 2], steps), rng.integers(0, 9, steps), new, rng.random(steps) < 0.3,
        threshold, thresholds,
    )  # fmt: skip


def storage_of(name: str) -> str:
    return "float32" if name == "tf32" else name


@pytest.mark.claim("FN-5")
@pytest.mark.parametrize("name", CLASSES)
def test_no_structure_that_computes_anew_errs_by_more_than_the_bound(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        instance = drawn(rng, storage_of(name))
        for folded in (False, True):
            assert worst(Fresh(instance, machine(name), rng, folded=folded), instance, PRECISIONS[name]) <= 1.0


@pytest.mark.claim("FN-5")
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_numbers_that_the_type_does_not_hold_are_paid_for(name: str) -> None:
    """Instances in float64, judged in a class that rounds every entry to its own type."""
    rng, kind = np.random.default_rng(2), to_type(name)
    for _ in range(24):
        instance = drawn(rng, "float64")
        how = machine(name)
        for make in (Fresh, Incremental):
            more = {} if make is Fresh else {"adds": bool(rng.random() < 0.5), "one_sum": bool(rng.random() < 0.5)}
            structure = make(_converted(instance, kind), how, rng, folded=bool(rng.random() < 0.5), **more)
            original = structure.update
            structure.update = lambda r, row, original=original: original(r, [kind(x) for x in row])
            precision = PRECISIONS[name if make is Fresh else f"{name}-incremental"]
            assert worst(structure, instance, precision) <= 1.0


def _converted(instance: Instance, kind: Round) -> Instance:
    changed = {name: np.vectorize(kind)(getattr(instance, name)) for name in ("data", "weights")}
    return instance.replace(**changed)


KINDS_OF_SUMS = {"float32": np.float32, "float64": np.float64}


def flushing(name: str) -> Arithmetic:
    """A machine that takes subnormal numbers for 0, on entry and as results, in the type of the sums."""
    usual, least = machine(name), 2.0**-1022 if name == "float64" else 2.0**-126

    def flushed(rounding: Round) -> Round:
        return lambda x: y if abs(y := rounding(x)) >= least else 0.0

    return Arithmetic(flushed(usual.entry), flushed(usual.sums), flushed(usual.stored))


@pytest.mark.claim("FN-5")
@pytest.mark.claim("FN-6")
@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16"])
def test_what_a_machine_flushes_to_zero_is_paid_for(name: str) -> None:
    """Correlations around the least normal number, with thresholds there; also gradual underflow."""
    rng, seen = np.random.default_rng(8), 0.0
    middle = -508 if name == "float64" else -62
    for trial in range(24):
        instance = drawn(rng, storage_of(name))
        changed = {
            field: np.ldexp(getattr(instance, field).astype(float), power).astype(instance.data.dtype)
            for field, power in (("data", middle), ("weights", middle - 3), ("new_weights", middle - 3))
        }
        instance = instance.replace(**changed, threshold=instance.threshold * 2.0 ** (2 * middle), thresholds=None)
        for how in (machine(name), flushing(name)):
            for make in (Fresh, Incremental):
                more = {} if make is Fresh else {"adds": bool(trial % 3), "one_sum": bool(trial % 4)}
                precision = PRECISIONS[name if make is Fresh else f"{name}-incremental"]
                structure = make(instance, how, rng, folded=bool(trial % 2), **more)
                seen = max(seen, worst(structure, instance, precision))
    assert 0.02 <= seen <= 1.0


@pytest.mark.claim("FN-6")
@pytest.mark.parametrize("name", CLASSES)
def test_no_structure_that_adds_differences_errs_by_more_than_the_bound(name: str) -> None:
    rng = np.random.default_rng(3)
    for trial in range(24):
        instance, most = drawn(rng, storage_of(name), steps=14), (math.inf, 1.0, 3.0)[trial % 3]
        precision = incremental(PRECISIONS[name], most)
        for adds, one_sum in ((False, False), (True, False), (True, True)):
            structure = Incremental(
                instance, machine(name), rng, folded=bool(trial % 2), adds=adds, one_sum=one_sum, most=most
            )
            assert worst(structure, instance, precision) <= 1.0


@pytest.mark.claim("FN-6")
def test_the_bound_grows_with_the_updates_that_may_follow_one_another() -> None:
    rng = np.random.default_rng(4)
    x, rows = rng.standard_normal((1, 8)).astype(np.float32), rng.standard_normal((40, 8)).astype(np.float32)
    calls = [update([0], row[None]) for row in rows]
    instance = Instance.of(x, rows[:1], [*calls, fired([0])], threshold=0.1)
    (name,) = (query.name for query in queries(instance))
    bounds = [
        errors(instance, incremental(PRECISIONS["float32"], most))[name].item() for most in (0, 1, 4, 16, 64, math.inf)
    ]
    assert bounds == sorted(bounds)
    assert bounds[0] == errors(instance, PRECISIONS["float32"])[name].item()
    assert bounds[-2] == pytest.approx(bounds[-1], rel=1e-6)
    assert 10 * bounds[0] < bounds[-1] < 400 * bounds[0]
    assert PRECISIONS["float32-incremental"].of(Correlations).updates == math.inf


@pytest.mark.claim("FN-6")
def test_an_update_of_one_neuron_leaves_the_bounds_of_the_others() -> None:
    rng = np.random.default_rng(5)
    x, w = rng.standard_normal((3, 5)).astype(np.float32), rng.standard_normal((4, 5)).astype(np.float32)
    instance = Instance.of(x, w, [fired([0, 1, 2]), update([1], w[:1] * 3), fired([0, 1, 2])], threshold=0.1)
    before, after = errors(instance, PRECISIONS["float32-incremental"]).values()
    assert (before == after).all(axis=0).tolist() == [True, False, True, True]
    fresh = errors(instance, PRECISIONS["float32"])
    assert np.allclose(before, fresh["fired at step 2"], rtol=1e-6)


@pytest.mark.claim("FN-6")
@pytest.mark.claim("FN-10")
def test_a_difference_that_a_product_cuts_is_paid_for_though_both_weights_are_short() -> None:
    rng, one = np.random.default_rng(9), np.ones((1, 1), np.float32)
    for power, exact in ((-9, True), (-12, False), (-80, False)):
        calls = [update([0], one * 2.0**power), fired([0])]
        instance = Instance.of(one, one, calls, threshold=2.0**power)
        allowed = errors(instance, PRECISIONS["tf32-incremental"])["fired at step 3"].item()
        assert (allowed == 0.0) == exact
        assert errors(instance, PRECISIONS["tf32"])["fired at step 3"].item() == 0.0
        for adds, one_sum in ((False, False), (True, False), (True, True)):
            structure = Incremental(instance, machine("tf32"), rng, folded=False, adds=adds, one_sum=one_sum)
            assert worst(structure, instance, PRECISIONS["tf32-incremental"]) <= 1.0


@pytest.mark.claim("FN-10")
@pytest.mark.parametrize("name", ["float32", "float64"])
def test_entries_that_a_machine_may_flush_are_not_taken_to_be_exact(name: str) -> None:
    """A subnormal number times a large one is a normal number, which a machine loses that takes the first one for 0."""
    rng, kind = np.random.default_rng(10), KINDS_OF_SUMS[name]
    least = -1026 if name == "float64" else -130
    small, large = np.full((1, 1), 2.0**least, kind), np.full((1, 1), 2.0**20, kind)
    for x, w in ((small, large), (large, small)):
        instance = Instance.of(x, w, [fired([0])], threshold=2.0 ** (least + 19))
        for folded in (False, True):
            assert worst(Fresh(instance, flushing(name), rng, folded=folded), instance, PRECISIONS[name]) <= 1.0


@pytest.mark.claim("FN-6")
def test_a_product_from_scratch_of_weights_that_drifted_pays_for_their_drift() -> None:
    """Where differences are added to the weights, what is stored differs from what was given also after a product."""
    rng, one = np.random.default_rng(11), np.ones((1, 1), np.float32)
    calls = [update([0], one * row) for row in (2.0**12, 1.0 + 2.0**-20)] + [fired([0])]
    instance = Instance.of(one, one * 1.1, calls, threshold=1.0)
    precision = incremental(PRECISIONS["float32"], 1.0)
    structure = Incremental(instance, machine("float32"), rng, folded=False, adds=True, one_sum=False, most=1.0)
    assert worst(structure, instance, precision) <= 1.0


@pytest.mark.claim("FN-5")
def test_sums_that_may_overflow_by_their_roundings_are_outside_the_domain() -> None:
    one = np.ones((1, 1), np.float16)
    rough = PRECISIONS["float16"].with_("rough", input_rounding=0.5)
    for size, precision, inside in (
        (30000.0, PRECISIONS["float16"], True),
        (30000.0, rough, False),
        (100, rough, True),
    ):
        instance = Instance.of(one * 1.0009765625, one * size, [fired([0])])
        assert np.isfinite(errors(instance, precision)["fired at step 2"]).all() == inside


def together(*rates: Fraction) -> Fraction:
    return math.prod((1 + rate for rate in rates), start=Fraction(1)) - 1


@pytest.mark.claim("FN-5")
@pytest.mark.claim("FN-6")
@pytest.mark.parametrize("name", ["tf32", "bfloat16", "float16"])
def test_bounds_are_those_of_the_claims_in_rational_numbers(name: str) -> None:
    """Term by term from the text, for one neuron of one coordinate that is updated twice; numbers that are not held."""
    precision = PRECISIONS[name]
    limits, (x, w, new, b0, b) = np.finfo(np.float32) if name == "tf32" else ml_dtypes.finfo(name), NUMBERS
    u = Fraction(max(precision.product, precision.accumulate, precision.working))
    s, entry = Fraction(max(precision.output, precision.stored)), Fraction(precision.input_rounding)
    kappa, zero = Fraction(float(limits.eps)) / 2, Fraction(precision.tiny)
    tau, tau_s = zero + Fraction(float(limits.tiny)), Fraction(precision.output_tiny) + zero
    cut = precision.at_once * u * Fraction(precision.least_factor)
    sigma, of_b = (together(k * u / (1 - k * u), s) for k in (2, 1))
    beta = together(kappa, entry)

    def lost(weight: Fraction, thresholds: int) -> Fraction:
        small = cut * (weight + x + thresholds + Fraction(precision.least_factor))
        return 2 * (tau * (2 * weight + 2 * x + 2 * tau + thresholds) + small + 6 * zero + 2 * tau_s)

    def of_thresholds(asked: Fraction) -> Fraction:
        return together(beta, of_b) * (asked if asked == b0 else asked + 2 * b0)

    calls = [fired([0]), fired([0], threshold=float(b)), update([0], [[float(new)]]), fired([0])]
    instance = Instance.of(np.array([[float(x)]]), np.array([[float(w)]]), calls, threshold=float(b0))
    fresh = together(kappa, kappa, entry, entry, sigma)
    expected = [fresh * w * x + of_thresholds(b0) + lost(w, 1), fresh * w * x + of_thresholds(b) + lost(w, 3)]
    expected.append(fresh * new * x + of_thresholds(b0) + lost(new, 1))
    for found, exact in zip(errors(instance, precision).values(), expected, strict=True):
        assert 1 <= Fraction(found.item()) / exact <= 1 + Fraction(1, 10**8)

    v, wide = max(u, s), (1 + kappa) ** 2
    rows, drift = (w, new, w), Fraction(0)
    error, weight = together(entry, entry, sigma) * wide * w * x + of_thresholds(b0) + lost(w, 1), Fraction(0)
    for old, row in itertools.pairwise(rows):  # the largest of every number of updates since a product
        loss = 2 * (lost(old, 1) + lost(row, 1))
        change = wide * (abs(row - old) * x + kappa * (row + old) * x)
        value = max(abs(c - at) + 2 * together(kappa, kappa) * (c + b0) for c in (old * x, row * x) for at in (0, b0))
        moved, drift = change + weight, v * wide * row * x + v * (1 + v) * (change + drift) + loss
        after = (1 + sigma) * (error + together(entry, entry, sigma, v) * moved + weight) + sigma * value + loss
        scratch = together(entry, entry, sigma) * (wide * row * x + drift) + drift + of_thresholds(b0) + lost(row, 1)
        error, weight = max(after, scratch), max(drift, v * wide * row * x + v * (1 + v) * moved + loss)
    error += together(kappa, kappa) * w * x + 2 * tau_s + 2 * tau
    twice = Instance.of(
        instance.data, instance.weights, [*calls[2:3], update([0], [[float(w)]]), fired([0])], threshold=float(b0)
    )
    (found,) = errors(twice, PRECISIONS[f"{name}-incremental"]).values()
    assert 1 <= Fraction(found.item()) / error <= 1 + Fraction(1, 10**6)


NUMBERS = tuple(map(Fraction, (0.7, 0.6, 1.7, 0.3, 0.9)))


# --- how sharp --------------------------------------------------------------------------------------------------------


def wrong_by(instance: Instance, structure: Any, precision: Any) -> float:
    """How far the margin of a wrong answer is from 0, in units of δ; 0 where the answer is right."""
    (query,) = queries(instance)
    for call in instance.calls():
        if call.weights is not None:
            structure.update(0, call.weights[0].astype(float).tolist())
    left, right = structure.value(0, 0, query.threshold)
    margin = exactly(query, 0, 0)
    if (left > right) == (margin > 0):
        return 0.0
    return float(abs(margin) / Fraction(float(errors(instance, precision)[query.name][0, 0])))


def climbed(make: Callable[[Instance], Any], precision: Any, rows: int, rng: np.random.Generator) -> float:
    """The worst wrong answer that a search finds: one point and one neuron of one coordinate, a threshold at its value.

    The threshold is the computed correlation itself, so that the whole error is the margin of a wrong answer.
    """
    kind = dtype_named(precision.storage)
    best, numbers = 0.0, np.ones(rows + 2)
    for trial in range(120):
        if trial < 40:  # starting points: numbers by chance, and such that a truncation takes the most of them
            most = 1 + 2.0**-10 * (1 - 2.0**-9) if trial % 2 else np.exp2(rng.random(rows + 2))
            tried = most * np.exp2(rng.integers(0, 3, rows + 2)) * rng.choice([-1.0, 1.0], rows + 2)
        else:
            tried = numbers.copy()
            tried[rng.integers(rows + 2)] *= 1 + (rng.standard_normal() * 2.0 ** -rng.integers(0, 12))
        x, w, *new = (np.array([[number]]).astype(kind) for number in tried)
        instance = Instance.of(x, w, [*(update([0], row) for row in new), fired([0])])
        structure = make(instance)
        for row in new:
            structure.update(0, row[0].astype(float).tolist())
        value = structure.value(0, 0, 0.0)[0]
        ratio = 0.0
        for bar in (value, value * (1 + 2.0**-26), value * (1 - 2.0**-26)):
            with_bar = instance.replace(threshold=float(bar))
            ratio = max(ratio, wrong_by(with_bar, make(with_bar), precision))
        if ratio >= best:
            best, numbers = ratio, tried
    return best


@pytest.mark.claim("FN-5")
@pytest.mark.parametrize("name", CLASSES)
def test_some_structure_that_computes_anew_errs_by_a_fifth_of_the_bound(name: str) -> None:
    rng = np.random.default_rng(6)
    ratio = climbed(lambda x: Fresh(x, machine(name), rng, folded=False), PRECISIONS[name], 0, rng)
    assert 0.2 <= ratio <= 1.0


@pytest.mark.claim("FN-6")
@pytest.mark.parametrize("name", CLASSES)
def test_some_structure_that_adds_differences_errs_by_a_fifth_of_the_bound(name: str) -> None:
    rng = np.random.default_rng(7)

    def make(instance: Instance) -> Incremental:
        return Incremental(instance, machine(name), rng, folded=False, adds=False, one_sum=False)

    ratio = max(climbed(make, PRECISIONS[f"{name}-incremental"], 1, rng) for _ in range(3))
    assert 0.2 <= ratio <= 1.0
