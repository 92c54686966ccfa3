"""Document similarity: its definition against others, its tolerance against correct kernels, its criteria."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from assay.spec.document_similarity import (
    LAWS,
    PRECISIONS,
    Instance,
    best_pairs,
    criteria,
    decision,
    define,
    errors,
    load,
    similarities,
    symbolic,
    tolerance,
)
from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

FORMS = list(itertools.product((True, False), (False, True), ("cosine", "inner_product")))


def drawn(seed: int = 0, shape: tuple[int, int, int] = (5, 4, 12), dtype: str = "float32", **options: Any) -> Instance:
    rng = np.random.default_rng(seed)
    n, m, d = shape
    left, right = (rng.standard_normal((k, d)).astype(dtype_named(dtype)) for k in (n, m))
    return Instance(left, right if options.pop("two", True) else None, **options)


# --- the instance -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("two", "least", "measure"), FORMS)
def test_an_instance_is_saved_and_loaded_bit_exactly(two: bool, least: bool, measure: str, tmp_path: Path) -> None:
    instance = drawn(dtype="bfloat16", two=two, least=least, measure=measure)
    instance.save(tmp_path / "x.npz")
    assert load(tmp_path / "x.npz").digest() == instance.digest()


def test_a_document_of_zeros_has_inner_products_and_no_cosine() -> None:
    empty = np.array([[0.0, 0.0], [1.0, 2.0]])
    assert best_pairs(Instance(empty, empty, least=True, measure="inner_product"))[0] == (0, 0)
    with pytest.raises(ValueError, match="left: a document of zeros in row 0"):
        Instance(empty, empty)


def test_smaller_instances_keep_two_documents_and_no_document_of_zeros() -> None:
    for smaller in drawn(two=False, shape=(3, 1, 4)).smaller():
        assert len(smaller.left) >= 2
        assert (smaller.left != 0).any(axis=1).all()


# --- DOC-9: the definition against others -----------------------------------------------------------------------------


def searched(instance: Instance) -> set[tuple[int, int]]:
    """Every best pair, by rational numbers alone."""
    left, right = ([[Fraction(x) for x in row] for row in side.tolist()] for side in instance.sides())
    order = {}
    for i, j in zip(*np.nonzero(instance.pairs()), strict=True):
        product = sum((a * b for a, b in zip(left[i], right[j], strict=True)), Fraction(0))
        norms = sum(a * a for a in left[i]) * sum(b * b for b in right[j])
        order[int(i), int(j)] = product * abs(product) / norms if instance.measure == "cosine" else product
    wanted = min(order.values()) if instance.least else max(order.values())
    return {pair for pair, value in order.items() if value == wanted}


@pytest.mark.claim("DOC-9")
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.integers(1, 3).flatmap(
        lambda d: st.lists(st.lists(st.integers(-2, 2), min_size=d, max_size=d).filter(any), min_size=3, max_size=7)
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from(("cosine", "inner_product")),
)
def test_best_pairs_are_those_of_rational_numbers_with_every_tie(
    rows: list[list[int]], two: bool, least: bool, measure: str
) -> None:
    documents = np.array(rows, float)
    one, other = (documents[:1], documents[1:]) if two else (documents, None)
    instance = Instance(one, other, least, measure)
    assert set(best_pairs(instance)) == searched(instance)


@pytest.mark.claim("DOC-9")
def test_pairs_that_no_float_tells_apart_are_told_apart_in_integers() -> None:
    """Cosines that differ by 2^-80, and scales of 2^±600, at which squares overflow or vanish."""
    big = 2.0**40
    right = np.array([[big, 2.0], [big, 1.0], [big + 1, 1.0]])
    for scale in (1.0, 2.0**600, 2.0**-600):
        instance = Instance(np.array([[scale, 0.0]]), right * scale)
        assert len(set(similarities(instance).midpoint.ravel())) == 1
        assert best_pairs(instance) == [(0, 2)]
        assert best_pairs(instance.replace(least=True)) == [(0, 0)]
        opposite = instance.replace(left=-instance.left)
        assert best_pairs(opposite) == [(0, 0)]
        assert best_pairs(opposite.replace(least=True)) == [(0, 2)]


@pytest.mark.claim("DOC-9")
@pytest.mark.parametrize(("two", "least", "measure"), FORMS)
def test_best_pairs_of_real_numbers_are_those_of_rational_ones(two: bool, least: bool, measure: str) -> None:
    for seed, dtype in enumerate(("float64", "bfloat16", "float16")):
        instance = drawn(seed, (4, 5, 6), dtype, two=two, least=least, measure=measure)
        assert set(best_pairs(instance)) == searched(instance)


@pytest.mark.parametrize("measure", ["cosine", "inner_product"])
@pytest.mark.parametrize("relative", [1e-9, 1e-15, 1e-25, 1e-60])
def test_similarities_contain_those_of_mpmath_and_are_as_accurate_as_was_asked(relative: float, measure: str) -> None:
    instance = drawn(1, dtype="float64", measure=measure)
    enclosure = similarities(instance, relative)
    left, right = instance.sides()
    with mp.workdps(90):
        for i, j in np.ndindex(*enclosure.shape):
            one, other = ([mpf(float(x)) for x in row] for row in (left[i], right[j]))
            exact, size = mp.fdot(one, other), mp.fdot(map(abs, one), map(abs, other))
            if measure == "cosine":
                norms = mp.sqrt(mp.fdot(one, one) * mp.fdot(other, other))
                exact, size = exact / norms, size / norms
            off = abs(mpf(float(enclosure.midpoint[i, j])) - exact)
            assert off <= float(enclosure.radius[i, j])
            assert enclosure.radius[i, j] <= 1.01 * relative * size + 2.0**-52 * abs(exact)
            if enclosure.balls is not None:
                middle = enclosure.balls[i, j].mid()
                digits = mpf(int(middle.man_exp()[0])) * mpf(2) ** int(middle.man_exp()[1])
                assert abs(digits - exact) <= 1.01 * relative * size


def test_symbolic_similarities_are_those_of_the_definition() -> None:
    for measure in ("cosine", "inner_product"):
        instance = Instance(np.array([[1.0, 2.0], [0.5, -3.0]]), np.array([[2.0, 1.0]]), measure=measure)
        exact = symbolic(instance)
        value = np.array([[float(sympy.N(x, 30)) for x in row] for row in exact])
        assert similarities(instance, 1e-15).contains(value).all()
    assert symbolic(instance)[1, 0] == sympy.Integer(-2)
    assert sympy.simplify(symbolic(instance.replace(measure="cosine"))[0, 0] - sympy.Rational(4, 5)) == 0


def test_the_definition_is_the_similarity_of_its_own_pair() -> None:
    for two, least, measure in FORMS:
        instance = drawn(2, two=two, least=least, measure=measure)
        i, j = (int(define(instance, output=name).midpoint) for name in ("i", "j"))
        table = similarities(instance, 1e-15)
        assert (i, j) == best_pairs(instance)[0]
        assert abs(define(instance).midpoint - table.midpoint[i, j]) <= 1e-11
        wanted = np.where(instance.pairs(), instance.sign * table.midpoint, -np.inf)
        assert wanted.max() == wanted[i, j]


def test_documents_without_a_common_word_have_exactly_zero() -> None:
    value = similarities(Instance(np.array([[3.0, 0.0, 1e-300]]), np.array([[0.0, 7.0, 0.0]])))
    assert value.midpoint[0, 0] == value.radius[0, 0] == 0.0


@pytest.mark.claim("DOC-10")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
@pytest.mark.parametrize(("two", "least", "measure"), FORMS)
def test_law_holds_of_the_definition(law: Any, two: bool, least: bool, measure: str) -> None:
    rng = np.random.default_rng(3)
    instance = drawn(4, two=two, least=least, measure=measure)
    transformed = law.transform(instance, rng)
    outputs = tuple({"similarity": define(other).midpoint} for other in transformed)
    if not transformed:
        assert not two or measure == "inner_product" or law.id not in ("exchange", "negate", "repeat", "scale")
        return
    prediction = law.relate(instance, transformed, outputs)["similarity"]
    value = define(instance)
    assert abs(prediction.value - value.midpoint) <= 4 * value.radius + 1e-11 * abs(value.midpoint)


# --- DOC-8: the tolerance against correct kernels ---------------------------------------------------------------------


def stored(x: Array, bits: int, least: float = 0.0) -> Array:
    """Rounded to nearest with so many bits; below ``least`` to its multiples."""
    mantissa, exponent = np.frexp(x)
    rounded = np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)
    return np.where(np.abs(x) < least * 2.0**bits, np.rint(x / least) * least, rounded) if least else rounded


BITS = {"float64": (53, 0.0), "float32": (24, 0.0), "bfloat16": (8, 0.0), "float16": (11, 2.0**-24)}


#: When norms are divided out: of documents, as divisions or reciprocals, of the product, in four ways, or of each.
FORMS_OF_NORMS = (
    "first",
    "reciprocals first",
    "product",
    "reciprocals",
    "left then right",
    "right then left",
    "left first",
)


def computed(
    instance: Instance, name: str, *, norms: str = "first", sequential: bool = True, flushed: bool = False
) -> Array:
    """Cosines or inner products in the arithmetic of a class; sums word by word, or of NumPy.

    norms: one of ``FORMS_OF_NORMS``.  flushed: numbers below the least normal one of the sums become 0.
    """
    u = PRECISIONS[name]
    kind = np.float64 if u.storage == "float64" else np.float32
    bits, least = BITS[u.storage]

    def cut(x: Array) -> Array:
        return (np.ascontiguousarray(x).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)

    def normal(x: Array) -> Array:
        return np.where(np.abs(x) < u.tiny, kind(0), x) if flushed else x

    def step(x: Array) -> Array:
        if not u.stored:
            return normal(x)
        x = stored(normal(x), bits, least).astype(kind)
        return normal(np.where(np.abs(x) > u.largest_output, np.copysign(np.inf, x), x).astype(kind))

    def summed(terms: Array) -> Array:
        if not sequential:
            return np.asarray(terms.sum(axis=-1, dtype=kind))
        total = np.zeros(terms.shape[:-1], kind)
        for word in range(terms.shape[-1]):
            total = normal(total + terms[..., word])
        return total

    def products(one: Array, other: Array) -> Array:
        if u.input_rounding:
            one, other = cut(one), cut(other)
        return summed(step(one[:, None] * other[None]))

    left, right = (normal(x.astype(kind)) for x in instance.sides())
    if instance.measure == "inner_product":
        return stored(products(left, right), *BITS[u.storage])
    one, other = (step(np.sqrt(step(summed(step(x * x))))) for x in (left, right))
    if norms == "left first":
        unit = [step(left / one[:, None]), right]
        if u.operand:
            unit[0] = stored(unit[0], bits, least).astype(kind)
        table = step(products(*unit)) / other
    elif norms.endswith("first"):
        if norms == "first":
            unit = [step(x / norm[:, None]) for x, norm in ((left, one), (right, other))]
        else:
            unit = [step(x * step(1 / norm)[:, None]) for x, norm in ((left, one), (right, other))]
        if u.operand:
            unit = [stored(x, bits, least).astype(kind) for x in unit]
        table = products(*unit)
    else:
        table = step(products(left, right))
        if norms == "product":
            table = table / step(one[:, None] * other)
        elif norms == "reciprocals":
            table = table * step(step(1 / one)[:, None] * step(1 / other))
        elif norms == "left then right":
            table = step(table / one[:, None]) / other
        else:
            table = step(table / other) / one[:, None]
    table = normal(table)
    return stored(table, *BITS[u.storage]) if u.output else table


KINDS = {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)),
    "positive": lambda rng, n, d: 0.1 + rng.random((n, d)),
    "counts": lambda rng, n, d: 1.0 + rng.poisson(1.0, (n, d)),
    "one word": lambda rng, n, d: rng.standard_normal((n, 1)) + 0 * rng.random((n, d)),
    "spread": lambda rng, n, d: rng.standard_normal((n, d)) * np.exp2(rng.integers(-6, 3, (n, d))),
}


def worst(name: str, measure: str, *, shapes: Any = ((6, 6, 1), (6, 6, 2), (6, 5, 7), (4, 4, 64))) -> float:
    """The largest error of emulated kernels in units of E."""
    u, most = PRECISIONS[name], 0.0
    for kind, (seed, (n, m, d)) in itertools.product(KINDS.values(), enumerate(shapes)):
        rng = np.random.default_rng(seed)
        left, right = (kind(rng, k, d).astype(dtype_named(u.storage)) for k in (n, m))
        instance = Instance(left, right, measure=measure)
        table, allowed = similarities(instance, 1e-20), errors(instance, u)
        for form, sequential in itertools.product(FORMS_OF_NORMS, (True, False)):
            value = computed(instance, name, norms=form, sequential=sequential)
            most = max(most, float(table.ratio(value, allowed).max()))
    return most


@pytest.mark.claim("DOC-8")
@pytest.mark.parametrize("measure", ["cosine", "inner_product"])
@pytest.mark.parametrize("name", PRECISIONS)
def test_correct_kernels_keep_the_bound_and_come_near_it(name: str, measure: str) -> None:
    largest = worst(name, measure)
    assert largest <= 1.0
    if PRECISIONS[name].output or PRECISIONS[name].input_rounding or measure == "inner_product":
        assert largest >= 0.2, "the bound is too wide to see anything"


@pytest.mark.claim("DOC-8")
@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("float32", "0x1.92d9bcp+0", "0x1.c23108p+0"),
        ("float64", "0x1.1629433bf6be6p+0", "0x1.3c4eec4ace9bep+0"),
    ],
)
def test_long_sums_of_one_sign_come_within_a_factor_of_five_of_the_bound(name: str, one: str, other: str) -> None:
    """3000 equal words, one after the other: squares whose sums are rounded down, and products that are rounded up."""
    u, words = PRECISIONS[name], np.ones((1, 3000))
    left, right = ((float.fromhex(number) * words).astype(u.storage) for number in (one, other))
    instance = Instance(left, right)
    value = computed(instance, name, norms="product")
    assert 0.2 <= float(similarities(instance, 1e-20).ratio(value, errors(instance, u)).max()) <= 1.0


@pytest.mark.claim("DOC-8")
@pytest.mark.parametrize("name", [name for name in PRECISIONS if name != "float64"])  # of which float64 shows no part
def test_roundings_at_their_bounds_reach_nearly_the_whole_bound_and_never_exceed_it(name: str) -> None:
    """Every rounding of the model at its bound, all in the direction that enlarges the cosine."""
    u = PRECISIONS[name]
    unit = max(u.product, u.accumulate, u.working)
    for seed, d in enumerate((1, 2, 9, 60)):
        rng = np.random.default_rng(seed)
        left, right = ((0.5 + rng.random((3, d))).astype(dtype_named(u.storage)) for _ in range(2))
        instance = Instance(left, right)
        exact, allowed = similarities(instance, 1e-20), errors(instance, u)
        entry = max(u.input_rounding, u.operand, u.stored)
        squares = (1 - u.input_rounding) ** 2 * (1 - u.stored) ** 4 * (1 - unit) ** (d + 2)
        up = squares**-1.0 * (1 + unit) ** 10 * (1 + u.stored) ** 7 * (1 + entry) ** 2 * (1 + unit) ** d
        value = exact.midpoint * up * (1 + u.output)
        ratio = float(exact.ratio(value, allowed).max())
        assert 0.9 <= ratio <= 1.0


@pytest.mark.claim("DOC-8")
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16-eager"])
@pytest.mark.parametrize("measure", ["cosine", "inner_product"])
def test_a_climbing_search_finds_no_input_beyond_the_bound(name: str, measure: str) -> None:
    """Numbers are changed by little, and kept where some correct kernel errs by more."""
    rng, u, most = np.random.default_rng(13), PRECISIONS[name], 0.0
    kind = dtype_named(u.storage)
    left, right = (1.0 + rng.random((2, 2, 3))).astype(kind)
    for _ in range(120):
        sides = [x.copy() for x in (left, right)]
        for side in sides:
            at = int(rng.integers(2)), int(rng.integers(3))
            side[at] = float(side[at]) * (1 + rng.standard_normal() * 2.0 ** -float(rng.integers(1, 10)))
        instance = Instance(sides[0], sides[1], measure=measure)
        table, allowed = similarities(instance, 1e-20), errors(instance, u)
        values = (computed(instance, name, norms=form) for form in FORMS_OF_NORMS)
        reached = max(float(table.ratio(value, allowed).max()) for value in values)
        if reached >= most:
            (left, right), most = sides, reached
    assert 0.1 <= most <= 1.0


def spread_documents(rng: np.random.Generator, scale: float, dtype: str) -> Array:
    """Four documents of four words and about this norm, with zeros and small numbers beside large ones."""
    plain = rng.standard_normal((4, 4)) * np.exp2(rng.uniform(-1, 0) * rng.choice([0, 5, 60, 120], (4, 4)))
    plain *= rng.random((4, 4)) < 0.7
    plain[~plain.any(axis=1)] = 1.0
    unit = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    kept = (unit * scale).astype(dtype_named(dtype))
    kept[~(kept != 0).any(axis=1)] = scale
    return np.asarray(kept)


@pytest.mark.claim("DOC-8")
@pytest.mark.parametrize("name", PRECISIONS)
def test_the_bound_is_kept_wherever_it_is_finite(name: str) -> None:
    """The sides have norms of their own, from one end of the domain to the other and beyond; numbers may be flushed."""
    rng, u, most, inside = np.random.default_rng(14), PRECISIONS[name], 0.0, 0
    unit = max(u.product, u.accumulate, u.working)
    half = u.storage == "float16"
    least = np.log2((2.0**-10 if u.stored else 2.0**-13) if half else np.sqrt(32 * u.tiny / unit))
    largest = np.log2(2.0**7.5 if u.stored and half else 2.0**15 if half else np.sqrt(u.largest / 2))
    for _ in range(60):
        scales = np.exp2(rng.choice([least, largest, rng.uniform(least, largest)], 2) + rng.uniform(-1, 1, 2))
        sides = (spread_documents(rng, scale, u.storage) for scale in scales)
        instance = Instance(*sides)
        allowed = errors(instance, u)
        if not np.isfinite(allowed).all():
            continue
        inside += 1
        table = similarities(instance, 1e-15)
        for form, flushed in itertools.product(FORMS_OF_NORMS, (False, True)):
            with np.errstate(all="ignore"):
                value = computed(instance, name, norms=form, flushed=flushed)
            most = max(most, float(table.ratio(value, allowed).max()))
    assert inside >= 15
    assert most <= 1.0


@pytest.mark.claim("DOC-8")
@pytest.mark.parametrize("name", PRECISIONS)
def test_inner_products_whose_inputs_are_flushed_keep_the_bound(name: str) -> None:
    u = PRECISIONS[name]
    small = max(u.tiny / 2, 2.0**-24 if u.storage == "float16" else 0.0)
    left = np.full((1, 8), small).astype(dtype_named(u.storage))
    right = np.full((1, 8), 2.0 ** (14 if u.storage == "float16" else 60)).astype(dtype_named(u.storage))
    instance = Instance(left, right, measure="inner_product")
    value = computed(instance, name, flushed=True)
    assert similarities(instance, 1e-20).ratio(value, errors(instance, u)).max() <= 1.0


@pytest.mark.claim("DOC-8")
@pytest.mark.parametrize(
    ("name", "left", "right", "form"),
    [
        ("float32", [2.0**60, 1.2345 * 2.0**-31], [0.0, 1.5 * 2.0**-47], "left then right"),
        ("float32", [0.0, 1.5 * 2.0**-47], [2.0**60, 1.2345 * 2.0**-31], "right then left"),
        ("float16-eager", [170.0, 1.5 * 2.0**-10], [0.0, 2.0**-8], "left then right"),
        ("float32", [2.0**-127, 2.0**-40], [2.0**60, 0.0], "product"),
        ("float32", [2.0**-127, 2.0**-40], [2.0**60, 0.0], "first"),
        ("float32", [2.0**40] + 99 * [2.0**-38], [0.0] + 99 * [2.0**-49], "left first"),
    ],
)
def test_what_a_single_norm_enlarges_is_allowed_for(
    name: str, left: list[float], right: list[float], form: str
) -> None:
    """Quotients by one of the norms below the normal numbers, and inputs below them, before the other norm."""
    u = PRECISIONS[name]
    instance = Instance(*(np.array([x]).astype(dtype_named(u.storage)) for x in (left, right)))
    value = computed(instance, name, norms=form, flushed="eager" not in name)
    table, allowed = similarities(instance, 1e-15), errors(instance, u)
    assert np.isfinite(allowed).all()
    assert table.ratio(value, allowed).max() <= 1.0


@pytest.mark.claim("DOC-8")
@pytest.mark.parametrize("name", PRECISIONS)
def test_the_domain_ends_where_squares_are_lost_or_a_norm_or_a_product_of_norms_leaves_the_type(name: str) -> None:
    """Documents of one word, of norms 2^a and 2^b: each edge of the domain from both sides."""
    u = PRECISIONS[name]
    unit = max(u.product, u.accumulate, u.working)

    def judged(a: float, b: float) -> bool:
        sides = (np.array([[2.0**x]]).astype(dtype_named(u.storage)) for x in (a, b))
        return bool(np.isfinite(errors(Instance(*sides), u)).all())

    if name == "float16":
        assert judged(-24, 15)  # all of its numbers: norms are in float32
    elif name == "float16-eager":  # 4/M is a little above 2^-14, and M/2 a little below 2^15
        edges = [((7, 7), (8, 7)), ((-3, -10), (-4, -10)), ((7, -10), (7, -13)), ((-10, 7), (-13, 7))]
        assert [(judged(*a), judged(*b)) for a, b in edges] == [(True, False)] * 4
    else:
        low, top = np.log2(np.sqrt(8 * u.tiny / unit)), np.log2(1 / (4 * u.tiny))
        one = int(np.floor(np.log2(u.largest / 2) / 2))
        edges = [
            ((np.ceil(low), 0), (np.floor(low) - 1, 0)),
            ((0, np.ceil(low)), (0, np.floor(low) - 1)),
            ((one, 0), (one + 1, 0)),
            ((one, top - one), (one, top - one + 1)),
        ]
        assert [(judged(*a), judged(*b)) for a, b in edges] == [(True, False)] * 4


@pytest.mark.claim("DOC-8")
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16-eager"])
def test_outside_the_domain_a_correct_kernel_may_answer_anything(name: str) -> None:
    """Products of reciprocals that leave the type, of documents whose norms alone do not."""
    u = PRECISIONS[name]
    number = 2.0**-9 if "float16" in name and "b" not in name else 2.0**63.4
    documents = np.full((1, 1), number).astype(dtype_named(u.storage))
    instance = Instance(documents, documents)
    with np.errstate(all="ignore"):
        value = computed(instance, name, norms="reciprocals", flushed=True)
    assert np.abs(value - 1).max() > 0.5
    assert np.isposinf(errors(instance, u)).all()


@pytest.mark.claim("DOC-8")
def test_through_a_distance_more_is_allowed_and_small_similarities_need_it() -> None:
    rng, d = np.random.default_rng(5), 1000
    left, right = (0.5 + rng.random((2, 4, d))).astype(np.float32)
    left[:, d // 2 :] *= 1e-6
    right[:, : d // 2] *= 1e-6
    instance, u = Instance(left, right), PRECISIONS["float32"]
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (left, right))
    cosines, exact = one @ other.T, similarities(instance, 1e-20)
    squares = np.zeros((4, 4), np.float32)
    for word in range(d):
        squares += (one[:, None, word] - other[None, :, word]) ** 2
    for value in (1 - (1 - cosines), 1 - squares / 2, 1 - (2 - 2 * cosines) / 2):
        assert exact.ratio(value, errors(instance, u, through_distance=True)).max() <= 1.0
        assert exact.ratio(value, errors(instance, u)).max() > 10.0
    one_rounding = np.full((4, 4), 8 * u.working)  # what storing the distance and taking it from 1 would excuse
    assert exact.ratio(1 - squares / 2, one_rounding).max() > 1.0


def test_a_tolerance_of_an_index_is_infinite_and_unknown_outputs_are_refused() -> None:
    assert np.isposinf(tolerance(drawn(), "float32", "i"))
    with pytest.raises(ValueError, match="unknown output 'pair'"):
        tolerance(drawn(), "float32", "pair")
    with pytest.raises(ValueError, match="unknown output 'pair'"):
        define(drawn(), output="pair")


# --- DOC-8 and DOC-1: the criteria ------------------------------------------------------------------------------------


def ratio(held: Any, i: int, j: int) -> float:
    return float(held["pair"].ratio(np.array(i), np.array(j)))


@pytest.mark.claim("DOC-8")
@pytest.mark.parametrize(("two", "least", "measure"), FORMS)
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_pair_is_right_exactly_where_a_correct_kernel_may_choose_it(
    name: str, two: bool, least: bool, measure: str
) -> None:
    """Over all pairs: the one is right iff its similarity, enlarged by its error, reaches every other one, lessened."""
    u, between = PRECISIONS[name], 0
    for power in (0, 1, 2, 3, 4, 5, 6, 7) if u.output else (0, 9, 10, 11, 20, 21, 22):
        spread, rng = 2.0**-power, np.random.default_rng(power)
        left, right = ((1 + spread * rng.standard_normal((k, 4))).astype(dtype_named(name)) for k in (9, 8))
        instance = Instance(left, right if two else None, least, measure)
        held, pairs = criteria(instance, name), instance.pairs()
        value, allowed = instance.sign * similarities(instance, 1e-15).midpoint, errors(instance, u)
        bar = np.where(pairs, value - allowed, -np.inf).max()
        best = np.where(pairs, value, -np.inf).max()
        for i, j in np.ndindex(*value.shape):
            right_pair = bool(pairs[i, j]) and value[i, j] + allowed[i, j] >= bar
            assert (ratio(held, i, j) <= 1.0) == right_pair
            between += right_pair and bool(value[i, j] + allowed[i, j] < best)
    assert between > 0 or not two  # pairs that only their own error excuses


@pytest.mark.claim("DOC-8")
def test_every_tie_is_right_and_no_pair_of_a_document_with_itself_is() -> None:
    documents = np.array([[1.0, 2.0], [2.0, 4.0], [1.0, 2.0], [2.0, -1.0]], np.float32)
    for pair in ("rounded", "exact"):
        held = criteria(Instance(documents), "float32", pair=pair)
        good = {(i, j) for i, j in np.ndindex(4, 4) if ratio(held, i, j) <= 1.0}
        assert good == {(i, j) for i, j in itertools.permutations(range(3), 2)}
    for wrong in ((-1, 0), (0, -1), (4, 0), (0, 4), (2, 2)):
        assert ratio(held, *wrong) == np.inf


@pytest.mark.claim("DOC-8")
def test_an_exact_pair_is_held_to_the_integers_where_roundings_would_excuse_another() -> None:
    right = np.array([[4096.0, 2.0], [4096.0, 1.0]], np.float32)
    instance = Instance(np.array([[1.0, 0.0]], np.float32), right)
    assert ratio(criteria(instance, "float32"), 0, 0) <= 1.0
    assert ratio(criteria(instance, "float32", pair="exact"), 0, 0) == np.inf
    assert ratio(criteria(instance, "float32", pair="exact"), 0, 1) == 0.0


@pytest.mark.claim("DOC-8")
def test_the_similarity_is_that_of_the_pair_that_is_returned() -> None:
    instance = drawn(7)
    held = criteria(instance, "float32")["similarity"]
    table, allowed = similarities(instance, 1e-15).midpoint, errors(instance, PRECISIONS["float32"])
    for i, j in np.ndindex(*table.shape):
        for error, right in ((0.0, True), (0.99, True), (1.01, False), (np.nan, False)):
            value = np.array(table[i, j] + error * allowed[i, j])
            assert (float(held.ratio(np.array(i), np.array(j), value)) <= 1.0) == right


@pytest.mark.claim("DOC-8")
def test_a_question_of_yes_or_no_is_decided_beyond_the_error_and_open_within_it() -> None:
    for least in (False, True):
        instance = drawn(8, least=least)
        best, off = float(define(instance).midpoint), float(tolerance(instance, "float32"))
        for side in (-1, 1):
            right, wrong = np.array(side * (-1 if least else 1) < 0), np.array(side * (-1 if least else 1) > 0)
            clear = decision(instance, "float32", best + side * 20 * off)
            assert float(clear.ratio(right)) == 0.0
            assert float(clear.ratio(wrong)) > 1.0
            near = decision(instance, "float32", best + side * 0.1 * off)
            assert max(float(near.ratio(answer)) for answer in (right, wrong)) <= 1.0


@pytest.mark.claim("DOC-1")
def test_any_factor_of_the_least_similarity_decides_whether_it_is_zero() -> None:
    rng = np.random.default_rng(9)
    for orthogonal in (True, False):
        left, right = ((rng.random((6, 10)) < 0.5).astype(np.float32) for _ in range(2))
        left[:, 0], right[:, 0] = 1, 1
        if orthogonal:
            right[3] = 1 - left[2]
        held = criteria(Instance(left, right, least=True), "float32", approximation=1e6)
        table = left @ right.T
        good = [(i, j) for i, j in np.ndindex(6, 6) if ratio(held, i, j) <= 1.0]
        assert good
        assert all((table[pair] == 0) == orthogonal for pair in good)


@pytest.mark.claim("DOC-1")
def test_a_larger_factor_allows_more_pairs_and_none_that_are_beyond_it() -> None:
    for least in (False, True):
        rng = np.random.default_rng(10)
        instance = Instance(*(0.1 + rng.random((2, 6, 3)).astype(np.float32)), least=least)
        table = similarities(instance).midpoint
        before: set[tuple[int, int]] = set()
        for factor in (1.0, 1.1, 1.5, 4.0):
            held = criteria(instance, "float32", approximation=factor)
            good = {pair for pair in np.ndindex(*table.shape) if ratio(held, *pair) <= 1.0}
            limit = table.min() * factor if least else table.max() / factor
            within = table <= limit + 1e-5 if least else table >= limit - 1e-5
            assert good == {pair for pair in np.ndindex(*table.shape) if within[pair]}
            assert before <= good
            before = good
    with pytest.raises(ValueError, match=r"approximation: 0\.5, expected a number of at least 1"):
        criteria(instance, "float32", approximation=0.5)


@pytest.mark.claim("DOC-1")
@pytest.mark.parametrize("least", [False, True])
def test_a_factor_allows_more_pairs_where_the_best_similarity_is_negative_too(least: bool) -> None:
    """The most similar pair at −0.1, a factor of 2: down to −0.2. The least similar at −0.9: up to −0.45."""
    cosines = np.array([-0.1, -0.19, -0.21] if not least else [-0.9, -0.46, -0.44])
    right = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32)
    instance = Instance(np.array([[1.0, 0.0]], np.float32), right, least)
    good = {
        factor: [ratio(criteria(instance, "float32", approximation=factor), 0, j) <= 1.0 for j in range(3)]
        for factor in (1.0, 2.0)
    }
    assert good == {1.0: [True, False, False], 2.0: [True, True, False]}


@pytest.mark.claim("DOC-8")
@pytest.mark.parametrize("name", PRECISIONS)
def test_a_question_is_open_where_the_threshold_is_rounded_to_the_type_of_the_output(name: str) -> None:
    """The similarity errs as far as the bound allows, and a threshold beyond it is rounded to it."""
    u = PRECISIONS[name]
    instance = Instance(*(np.array([x]).astype(dtype_named(u.storage)) for x in ([1.0, 2.0, 3.0], [2.0, 1.0, 1.0])))
    best, allowed = float(define(instance, 1e-17).midpoint), float(errors(instance, u)[0, 0])
    rounding = max(u.product, u.accumulate, u.working, u.input_rounding, u.output) * (1 - 1e-6)
    for side in (1, -1):
        threshold = (best + side * allowed * (1 - 1e-6)) / (1 - side * rounding)
        assert float(decision(instance, name, threshold).ratio(np.array(side > 0))) <= 1.0
        beyond = best + side * (2 * allowed + 4 * rounding)
        assert float(decision(instance, name, beyond).ratio(np.array(side > 0))) > 1.0


@pytest.mark.claim("DOC-1")
def test_equal_norms_make_the_cosine_increase_with_the_inner_product() -> None:
    rng = np.random.default_rng(11)
    left = np.where(rng.random((7, 12)) < 0.5, -1.0, 1.0).astype(np.float32)
    right = 3 * np.where(rng.random((6, 12)) < 0.5, -1.0, 1.0).astype(np.float32)
    for least in (False, True):
        cosine, product = (Instance(left, right, least, measure) for measure in ("cosine", "inner_product"))
        assert best_pairs(cosine) == best_pairs(product)
