"""The tolerance of attention with relative positions: against its formulas, correct kernels, and adversaries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.spec import attention
from assay.spec.floats import dtype_named
from assay.spec.precision import reference_accuracy
from assay.spec.rope_attention import PRECISIONS, Instance, criteria, define, evaluate, tolerance
from assay.spec.rope_attention.definition import tokens
from assay.spec.rope_attention.tolerance import angle_errors, relative_products
from assay.spec.rotary.errors import frequency_errors, rates
from assay.spec.rotary.rounding import Angles
from assay.spec.softmax.rounding import Softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.precision import Precision

    Array = NDArray[Any]

CLASSES = list(PRECISIONS)
SUPPORT = ((0, 1), (2, 0), (3, 3))


def rotary(
    u: Precision, seed: int = 0, *, n: int = 9, d: int = 8, size: float = 1.0, begin: int = 0, **options: Any
) -> Instance:
    rng = np.random.default_rng(seed)
    dtype = dtype_named(u.storage)
    q, k, v = ((size * rng.standard_normal((1, 2, n, w))).astype(dtype) for w in (d, d, 3))
    places = {"query_positions": begin + np.arange(n), "key_positions": begin + np.arange(n)} if begin else {}
    return Instance(q, k, v, **(places | options))


def general(u: Precision, seed: int = 0, *, n: int = 9, size: float = 1.0) -> Instance:
    plain = rotary(u, seed, n=n, size=size)
    relative = np.random.default_rng(seed + 1).standard_normal((3, 2 * n - 1)).astype(plain.query.dtype)
    return plain.replace(relative=relative, support=SUPPORT)


# --- ROT-9, ROT-10: the formulas, number by number --------------------------------------------------------------------


@pytest.mark.claim("ROT-9")
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("options", [{}, {"scaling": "yarn", "factor": 8.0, "original_length": 64, "base": 200.0}])
@pytest.mark.parametrize("rotated", [1, 0])
def test_products_are_counted_as_the_claim_says(name: str, options: dict[str, Any], rotated: int) -> None:
    """With rotated columns of 0 what remains is what underflow loses."""
    u = PRECISIONS[name]
    angles, instance = u.of(Angles), rotary(u, 3, n=3, d=6, begin=40, rotary_dim=4, layout="pairs", **options)
    kept = np.array([rotated] * 4 + [1, 1], instance.query.dtype)
    instance = instance.replace(query=instance.query * kept, key=instance.key * kept)
    made = relative_products(instance, u)
    turning = tokens(instance)
    eta, kappa = (float(x) for x in rates(instance, u))
    m = 1 + 0.1 * math.log(8.0) if options else 1.0
    theta, gamma_k = frequency_errors(turning, angles)
    own = 5 * angles.unit / (1 - 5 * angles.unit)

    def pair(x: Array) -> tuple[float, float]:
        """N and ρ."""
        one, two = (abs(float(number)) for number in x)
        e = eta * (m + m * angles.trig) + m * angles.trig + angles.table_tiny
        length = m * math.hypot(one, two)
        off = (1 + kappa) * e * (one + two) + kappa * length
        off += 8 * u.tiny * (1 + one + two) * max(m, 1) + 2 * (1 + kappa) * angles.stored_tiny
        off *= math.sqrt(2)
        return length, off + u.output * (length + off) + math.sqrt(2) * (u.output_tiny + u.tiny)

    for i in range(3):
        for j in range(3):
            size, error, norms, reach = 0.0, 0.0, 0.0, 0.0
            q, k = instance.query[0, 1, i], instance.key[0, 1, j]
            for number in range(2):
                (n_q, r_q), (n_k, r_k) = pair(q[2 * number : 2 * number + 2]), pair(k[2 * number : 2 * number + 2])
                norms += math.sqrt(2) * (n_q + r_q + n_k + r_k)
                reach = max(reach, math.sqrt(2) * (n_q + r_q), math.sqrt(2) * (n_k + r_k))
                size += (n_q + r_q) * (n_k + r_k)
                error += r_q * (n_k + r_k) + (n_q + r_q) * r_k
                arc = abs(i - j) * theta[number] * gamma_k[number]
                arc += (40 + i + 40 + j) * theta[number] * (1 + gamma_k[number]) * own
                error += n_q * n_k * arc
            size += float(np.abs(q[4:].astype(float)) @ np.abs(k[4:].astype(float)))
            error += 4 * u.tiny * float(np.abs(q[4:].astype(float)).sum() + np.abs(k[4:].astype(float)).sum())
            norms += float(np.abs(q[4:].astype(float)).sum() + np.abs(k[4:].astype(float)).sum())
            assert made.norms[0, 1, i, j] == pytest.approx(norms, rel=1e-8, abs=0)
            last = max(reach, float(np.abs(q[4:].astype(float)).max()), float(np.abs(k[4:].astype(float)).max()))
            assert made.reach[0, 1, i, j] == pytest.approx(last, rel=1e-8, abs=0)
            error *= abs(instance.scale or 0.0)
            assert size <= made.size[0, 1, i, j] <= size * (1 + 1e-8)
            assert error * (1 - 1e-12) <= np.broadcast_to(made.error, made.size.shape)[0, 1, i, j] <= error * (1 + 1e-7)


@pytest.mark.claim("ROT-10")
def test_products_of_three_factors_are_counted_as_the_claim_says() -> None:
    u = PRECISIONS["float16-eager"]
    instance = general(u, 2, n=3)
    made = relative_products(instance, u)
    q, k = (x[0, 1].astype(float) for x in (instance.query, instance.key))
    assert instance.relative is not None
    for i in range(3):
        for j in range(3):
            w = np.abs(instance.relative[:, i - j + 2].astype(float))
            terms = [(abs(q[i, a]), x, abs(k[j, b])) for (a, b), x in zip(SUPPORT, w, strict=True)]
            assert made.size[0, 1, i, j] == pytest.approx(sum(a * x * b for a, x, b in terms), rel=1e-8)
            norms = sum(a + x + b + a * x + x * b + a * b for a, x, b in terms)
            assert made.norms[0, 1, i, j] == pytest.approx(norms)
            assert made.reach[0, 1, i, j] == max(max(a, x, b, a * x, x * b, a * b) for a, x, b in terms)
    assert (made.terms, made.factors) == (4, 3)


@pytest.mark.claim("ROT-9")
def test_at_position_0_without_rounding_little_is_added_to_attention() -> None:
    u = PRECISIONS["float64-exact-angles"]
    instance = rotary(u, n=1)
    plain = attention.Instance(instance.query, instance.key, instance.value)
    assert tolerance(instance, u) == pytest.approx(attention.tolerance(plain, "float64"), rel=1e-6, abs=1e-14)


@pytest.mark.claim("ROT-4")
@pytest.mark.claim("ROT-9")
def test_large_angle_errors_are_chords_and_small_ones_arcs() -> None:
    u = PRECISIONS["float32"]
    for begin in (10**3, 10**6, 10**7):
        turning = tokens(rotary(u, begin=begin, d=16))
        error = angle_errors(turning, 9, u.of(Angles))
        theta, frequency = frequency_errors(turning, u.of(Angles))
        x = np.hypot(*np.split(turning.query.astype(float), 2, axis=3))
        place, own = turning.positions.astype(float), 5 * 2.0**-24
        for i, j in ((0, 0), (2, 7), (8, 1)):
            psi = abs(i - j) * theta * frequency + (place[0, i] + place[0, 9 + j]) * theta * (1 + frequency) * own
            chord = 2 * np.sin(np.minimum(psi, math.pi) / 2)
            for h in range(2):
                least = float((x[0, h, i] * x[0, h, 9 + j] * chord).sum())
                assert least <= error[0, h, i, j] * (1 + 1e-9) <= 1.02 * least
                assert error[0, h, i, j] <= 2.0001 * float((x[0, h, i] * x[0, h, 9 + j]).sum())


# --- correct kernels --------------------------------------------------------------------------------------------------


def kernel(instance: Instance, u: Precision, *, origin: int = 0, tables: str = "") -> Array:
    """A kernel of the class: rotation, fused or eager attention, in the arithmetic that its name says.

    origin: from where positions are counted.  tables: ``half`` for angles in the type itself, which are of no class.
    """
    store = dtype_named(u.storage)
    wide = np.float64 if u.storage == "float64" else np.float32
    short, angles, eager = store != wide, u.of(Angles), u.of(Softmax).normalised
    r = instance.rotated
    half = r // 2
    exponent = np.arange(0, r, 2, dtype=wide) / wide(r)
    theta = wide(1) / wide(instance.base) ** exponent

    def rounded(x: Array, needed: float) -> Array:
        return x.astype(store).astype(wide) if needed else x

    def turned(x: Array, place: Array) -> Array:
        place = place - origin
        if angles.unit == 2.0**-24 or u.storage == "float64":
            angle = place.astype(wide)[:, None] * theta
        else:
            angle = place[:, None] * float(instance.base) ** (-np.arange(0, r, 2) / r)
        if tables == "half":
            angle = (place.astype(store)[:, None] * theta.astype(store)).astype(wide)
        cos, sin = (rounded(function(angle).astype(wide), angles.table) for function in (np.cos, np.sin))
        one, two = (x[..., at].astype(wide) for at in columns)
        turned_one = rounded(one * cos, angles.stored) - rounded(two * sin, angles.stored)
        turned_two = rounded(two * cos, angles.stored) + rounded(one * sin, angles.stored)
        made = x.astype(wide)
        made[..., columns[0]], made[..., columns[1]] = turned_one, turned_two
        return made.astype(store).astype(wide) if short else made

    pairs = instance.layout == "pairs"
    columns = (np.arange(0, r, 2), np.arange(1, r, 2)) if pairs else (np.arange(half), np.arange(half, r))
    queries, keys = (place[0] for place in instance.positions())
    q, k = turned(instance.query, queries), np.repeat(turned(instance.key, keys), instance.group, axis=1)
    return attended(instance, q @ np.swapaxes(k, 2, 3), u, eager=eager)


def attended(instance: Instance, product: Array, u: Precision, *, eager: bool) -> Array:
    """Attention from raw products in float32 (float64)."""
    store, wide = dtype_named(u.storage), product.dtype.type

    def stored(x: Array) -> Array:
        return x.astype(store).astype(wide) if eager else x

    score = stored(stored(product) * wide(instance.scale or 0.0))
    score = np.where(instance.visible(), score, -np.inf)
    weight = np.exp(score - score.max(axis=3, keepdims=True))
    value = np.repeat(instance.value, instance.group, axis=1).astype(wide)
    if eager:
        return (stored(weight / weight.sum(axis=3, keepdims=True)) @ value).astype(store)
    held = weight.astype(store).astype(wide)
    return ((held @ value) / weight.sum(axis=3, keepdims=True)).astype(store)


CASES: list[dict[str, Any]] = [
    {"is_causal": True},
    {"begin": 1000, "layout": "pairs", "rotary_dim": 4},
    {"begin": 100000, "n": 33, "d": 64, "is_causal": True},
    {"size": 3.0, "d": 4, "window": (3, 1)},
    {"size": 2.0, "d": 128, "begin": 4000, "base": 500000.0},
]


@pytest.mark.claim("ROT-9")
@pytest.mark.parametrize("name", CLASSES)
def test_no_correct_kernel_is_blamed(name: str) -> None:
    u = PRECISIONS[name]
    for seed, options in enumerate(CASES):
        if name == "float64-exact-angles" and options.get("begin", 0) > 1:
            continue  # this emulation's angles are no better than float64
        instance = rotary(u, seed, **options)
        held_to = criteria(instance, u)["output"]
        assert held_to.ratio(kernel(instance, u)).max() <= 1.0
        if options.get("begin"):
            assert held_to.ratio(kernel(instance, u, origin=options["begin"])).max() <= 1.0


@pytest.mark.claim("ROT-9")
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_keys_rotated_by_the_difference_alone_are_a_kernel_of_the_class(name: str) -> None:
    u, f = PRECISIONS[name], np.float32
    instance = rotary(u, 5, n=12, d=16, begin=700)
    theta = (f(1) / f(instance.base) ** (np.arange(0, 16, 2, dtype=f) / f(16))).astype(f)
    offset = np.arange(12)[None, :] - np.arange(12)[:, None]  # p_j − p_i
    angle = offset.astype(f)[..., None] * theta
    cos, sin = np.cos(angle), np.sin(angle)
    one, two = np.split(instance.key.astype(f), 2, axis=3)
    one, two = one[:, :, None], two[:, :, None]
    keys = np.concatenate([one * cos - two * sin, one * sin + two * cos], axis=4)
    keys = keys.astype(instance.query.dtype).astype(f)
    product = (instance.query.astype(f)[:, :, :, None] * keys).sum(axis=4, dtype=f)
    made = attended(instance, product, u, eager=False)
    assert criteria(instance, u)["output"].ratio(made).max() <= 1.0


@pytest.mark.claim("ROT-10")
@pytest.mark.parametrize(
    "name", [name for name in CLASSES if "-exact" not in name and "-t" not in name and "-c" not in name]
)
def test_no_correct_kernel_of_the_general_form_is_blamed(name: str) -> None:
    u = PRECISIONS[name]
    wide = np.float64 if u.storage == "float64" else np.float32
    worst = 0.0
    for seed in range(4):
        instance = general(u, seed, n=(4, 17)[seed % 2], size=1.0 + seed)
        assert instance.relative is not None
        q, k, w = (x.astype(wide) for x in (instance.query, instance.key, instance.relative[:, instance.offsets()]))
        product = np.zeros((*q.shape[:3], k.shape[2]), wide)
        eager = u.of(Softmax).normalised
        for (row, column), numbers in zip(SUPPORT, w, strict=True):
            part = q[..., row, None] * numbers
            part = part.astype(instance.query.dtype).astype(wide) if eager else part
            product += part * k[:, :, None, :, column]
        ratio = criteria(instance, u)["output"].ratio(attended(instance, product, u, eager=eager))
        worst = max(worst, float(ratio.max()))
    assert worst <= 1.0


# --- adversaries ------------------------------------------------------------------------------------------------------


def adversary(instance: Instance, u: Precision, column: int, sign: int) -> Array:
    """A kernel of the class whose roundings of keys, products, weights and sums push one column as far as they may.

    Only errors that keys have by themselves are used of those of the rotation, so that all of them can occur together:
    a table of a key that is off by ±, an angle that is, stored members that are.
    """
    soft, angles = u.of(Softmax), u.of(Angles)
    turning, scale = tokens(instance), abs(instance.scale or 0.0)
    n, d = instance.query.shape[2:]
    place, theta = turning.positions[0].astype(float), frequency_errors(turning, angles)[0]
    x = turning.query[0, 0].astype(float)
    z = (x[:, : d // 2] + 1j * x[:, d // 2 :]) * np.exp(1j * place[:, None] * theta)
    q, k = z[:n], z[n:]
    terms = q[:, None] * k[None].conj()  # real part: the product of a pair; imaginary part: its slope in the angle
    sizes = np.abs(q.real)[:, None] * np.abs(k.real) + np.abs(q.imag)[:, None] * np.abs(k.imag)
    eta, kappa = (float(r) for r in rates(instance, u))
    delta = (eta + kappa + angles.trig) * np.abs(terms.real).sum(axis=2) + u.output * sizes.sum(axis=2)
    delta += (np.abs(terms.imag) * (np.abs(place[n:, None]) * theta * 5 * angles.unit)).sum(axis=2)
    delta += ((1 + soft.query_rounding) ** 2 * (1 + d * u.product) - 1) * sizes.sum(axis=2)
    return pushed(instance, u, scale * delta, column, sign)


def pushed(instance: Instance, u: Precision, delta: Array, column: int, sign: int) -> Array:
    """The output of one head from scores that are off by at most ``delta``, (n_q, n_k), pushed in one column."""
    soft, exact = u.of(Softmax), evaluate(instance, reference_accuracy(u))
    score, n = exact.score.midpoint[0, 0], instance.key.shape[2]
    v, out = instance.value[0, 0].astype(float), np.empty((len(score), instance.value.shape[3]))
    for i in range(len(score)):
        off = delta[i] + ((1 + soft.stored_score) ** soft.stored_times - 1) * np.abs(score[i])
        top, o = score[i].max(), exact.output.midpoint[0, 0, i]
        theta_j = off + 3 * u.product * (top - score[i]) + np.log1p(soft.exp)
        weight = np.exp(score[i] - top + np.sign(v[:, column] - o[column]) * sign * theta_j)
        push = sign * np.sign(v[:, column])
        above = (weight * (1 + push * soft.probability) * (1 + push * n * u.accumulate)) @ v
        below = (weight * (1 - sign * np.sign(o[column]) * n * u.accumulate)).sum()
        out[i] = above / below * (1 + sign * np.sign(o) * u.output)
    return out[None, None]


@pytest.mark.claim("ROT-9")
@pytest.mark.parametrize("name", CLASSES)
def test_the_worst_kernel_of_the_model_stays_within_its_class_and_comes_near(name: str) -> None:
    u, worst = PRECISIONS[name], 0.0
    for seed in range(8):
        begin = 1 if "exact" in name else (1, 500)[seed % 2]
        instance = rotary(u, seed, n=(2, 7, 33)[seed % 3], size=(0.5, 1.0, 2.0)[seed % 3], begin=begin).part(heads=[0])
        bound, reference = tolerance(instance, u), define(instance, reference_accuracy(u))
        for sign in (-1, 1):
            ratio = reference.ratio(adversary(instance, u, 0, sign), bound)
            worst = max(worst, float(ratio[..., 0].max()))
    assert 0.2 <= worst <= 1.0, worst


@pytest.mark.claim("ROT-10")
@pytest.mark.parametrize("name", CLASSES)
def test_the_worst_kernel_of_the_general_form_stays_within_its_class_and_comes_near(name: str) -> None:
    """Three factors off on entry, and every product by the roundings of a sum over the places, in 6 · 6 = 36 places."""
    u, worst = PRECISIONS[name], 0.0
    support = tuple((a, b) for a in range(6) for b in range(6))
    for seed in range(6):
        n = (2, 7, 33)[seed % 3]
        plain = rotary(u, seed, n=n, d=6, size=(0.5, 1.0, 1.5)[seed % 3]).part(heads=[0])
        relative = np.random.default_rng(seed).standard_normal((36, 2 * n - 1)).astype(plain.query.dtype) / 6
        instance = plain.replace(relative=relative.astype(plain.query.dtype), support=support)
        q, k, w = (
            np.abs(x.astype(float)) for x in (plain.query[0, 0], plain.key[0, 0], relative[:, instance.offsets()])
        )
        sizes = sum(q[:, a, None] * w[s] * k[None, :, b] for s, (a, b) in enumerate(support))
        rate = (1 + u.of(Softmax).query_rounding) ** 3 * (1 + (len(support) + 1) * u.product) - 1
        bound, reference = tolerance(instance, u), define(instance, reference_accuracy(u))
        for sign in (-1, 1):
            made = pushed(instance, u, abs(instance.scale or 0.0) * rate * sizes, 0, sign)
            worst = max(worst, float(reference.ratio(made, bound)[..., 0].max()))
    assert 0.2 <= worst <= 1.0, worst


@pytest.mark.claim("ROT-9")
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_angles_in_the_type_itself_are_beyond_the_bound(name: str) -> None:
    u = PRECISIONS[name]
    instance = rotary(u, 1, n=24, d=32, size=2.0, begin=2050, scale=1.0)
    assert criteria(instance, u)["output"].ratio(kernel(instance, u)).max() <= 1.0
    assert criteria(instance, u)["output"].ratio(kernel(instance, u, tables="half")).max() > 3.0


@pytest.mark.claim("ROT-9")
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_classes_of_one_type_are_ordered(name: str) -> None:
    instance = rotary(PRECISIONS[name], 2, n=12, d=16, begin=300)
    plain, tables, composed, eager = (
        float(tolerance(instance, f"{name}{more}").mean()) for more in ("", "-tables", "-composed", "-eager")
    )
    assert plain < tables < composed < eager


@pytest.mark.claim("ROT-9")
def test_outside_the_domain_nothing_is_judged() -> None:
    u = PRECISIONS["float16-composed"]
    large = rotary(u, size=1.0)
    large = large.replace(query=np.full_like(large.query, 30000))
    assert np.isposinf(tolerance(large, u)).all()


@pytest.mark.claim("ROT-9")
@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("float16-composed", 16376.0, {}),  # four products of the type
        ("float16", 32752.0, {}),  # a rotated vector in the type
        (
            "float16-tables",
            1e-3,
            {"scaling": "yarn", "factor": 8.0, "original_length": 64, "attention_factor": 16376.0},
        ),
    ],
)
def test_the_domain_ends_where_a_product_a_result_or_a_table_may_overflow(
    name: str, size: float, options: dict[str, Any]
) -> None:
    u = PRECISIONS[name]
    for share, inside in ((0.98, True), (1.02, False)):
        x = np.full((1, 1, 2, 2), size if options else share * size, np.float16)
        more = options | {"attention_factor": share * options["attention_factor"]} if options else {}
        instance = Instance(x, x, x, scale=1e-9, **more)
        assert np.isfinite(np.broadcast_to(relative_products(instance, u).error, (1, 1, 2, 2))).all() == inside


@pytest.mark.claim("ROT-4")
def test_a_position_that_the_type_does_not_hold_is_rounded_once_more() -> None:
    u, x = PRECISIONS["float32"], np.array([0.0, 1.0, 0.0, 1.0], np.float32).reshape(1, 1, 1, 4)
    for place, roundings in ((2**24, 5), (2**24 + 2, 6)):
        one = np.array([place])
        turning = tokens(Instance(x, x, x, base=1e12, query_positions=one, key_positions=one))
        theta, frequency = (each[1] for each in frequency_errors(turning, u.of(Angles)))
        psi = 2 * place * theta * (1 + frequency) * roundings * 2.0**-24
        product = 2.0  # of the lengths √2 of both pairs
        assert angle_errors(turning, 1, u.of(Angles))[0, 0, 0, 0] == pytest.approx(product * psi, rel=1e-5)


@pytest.mark.claim("ROT-9")
@pytest.mark.claim("ROT-10")
def test_the_log_sum_exp_has_a_bound_of_its_own() -> None:
    u = PRECISIONS["float32"]
    for instance in (rotary(u, begin=50, return_lse=True), general(u).replace(return_lse=True)):
        held_to = criteria(instance, u)
        exact = define(instance, output="log_sum_exp").midpoint
        assert held_to["log_sum_exp"].ratio(exact.astype(np.float32)).max() <= 1.0
        assert held_to["log_sum_exp"].ratio((exact + 1e-3).astype(np.float32)).min() > 1.0
