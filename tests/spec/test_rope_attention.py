"""Attention with relative positions: its two forms, their definitions against other opinions, laws, and biases."""

from __future__ import annotations

import doctest
import importlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sympy
from mpmath import mp, mpf

from assay.spec import attention, rope
from assay.spec.floats import dtype_named
from assay.spec.problem import InvalidInstance
from assay.spec.rope_attention import LAWS, OUTPUTS, Instance, define, evaluate, load, symbolic
from assay.spec.rope_attention.bias import alibi, alibi_slopes, of_offsets, t5, t5_buckets
from assay.spec.rope_attention.symbolic import symbolic_log_sum_exp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

SCALINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "partial": {"rotary_dim": 4},
    "pairs": {"layout": "pairs", "base": 500.0},
    "linear": {"scaling": "linear", "factor": 2.5},
    "ntk": {"scaling": "ntk", "factor": 4.0},
    "dynamic": {"scaling": "dynamic", "factor": 3.0, "original_length": 4},
    "llama3": {"scaling": "llama3", "factor": 8.0, "original_length": 8192, "base": 500000.0},
    "yarn": {"scaling": "yarn", "factor": 40.0, "original_length": 4096, "rotary_dim": 4},
}
SUPPORT = ((0, 0), (1, 3), (5, 2), (1, 1))


def normal(rng: np.random.Generator, *shape: int, dtype: Any = np.float32) -> Array:
    return rng.standard_normal(shape).astype(dtype)


def rotary(seed: int = 0, dtype: Any = np.float32, **options: Any) -> Instance:
    """2 batches, 4 heads over 2, 5 queries, 7 keys, 6 and 3 columns."""
    rng = np.random.default_rng(seed)
    arrays = (normal(rng, *shape, dtype=dtype) for shape in ((2, 4, 5, 6), (2, 2, 7, 6), (2, 2, 7, 3)))
    return Instance(*arrays, **options)


def general(seed: int = 0, dtype: Any = np.float32, **options: Any) -> Instance:
    made = rotary(seed, dtype)
    relative = normal(np.random.default_rng(seed + 1), len(SUPPORT), 11, dtype=dtype)
    return made.replace(relative=relative, support=SUPPORT, **options)


def instances() -> dict[str, Instance]:
    rng = np.random.default_rng(11)
    many, few = rng.integers(-50, 50, (2, 5)), rng.integers(0, 9, 7)
    bias = normal(rng, 4, 11)
    made = {f"rotary, {name}": rotary(**options) for name, options in SCALINGS.items()}
    made |= {
        "positions": rotary(query_positions=many, key_positions=few),
        "bottom-right": rotary(causal="bottom-right", query_positions=np.arange(2, 7), key_lengths=np.array([7, 4])),
        "window": rotary(window=(2, 1), relative_bias=bias[:1]),
        "rotary with bias": rotary(relative_bias=bias),
        "mask": rotary(mask=rng.integers(0, 2, (2, 1, 5, 7)).astype(bool)),
        "softcap and sink": rotary(softcap=2.0, sink=normal(rng, 4)),
        "general": general(),
        "general, causal": general(is_causal=True),
        "general with bias": general(relative_bias=bias, key_lengths=np.array([7, 3])),
        "general, full bias": general(bias=normal(rng, 1, 4, 5, 7)),
    }
    return made


INSTANCES = instances()


# --- the instance -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bottom-right", "general with bias", "rotary, yarn", "positions"])
def test_an_instance_is_saved_and_loaded_bit_exactly(name: str, tmp_path: Path) -> None:
    instance = INSTANCES[name]
    instance.save(tmp_path / "x.npz")
    again = load(tmp_path / "x.npz")
    assert again.digest() == instance.digest()
    assert again.support == instance.support


def test_positions_that_count_the_tokens_are_those_that_are_left_out() -> None:
    given = rotary(query_positions=np.arange(5), key_positions=np.broadcast_to(np.arange(7), (2, 7)))
    assert given.query_positions is None
    assert given.key_positions is None
    assert given.digest() == rotary().digest()
    assert [place.tolist() for place in rotary().positions()] == [[list(range(5))], [list(range(7))]]


def test_a_part_keeps_positions_with_tokens_and_matrices_with_offsets() -> None:
    part = INSTANCES["positions"].part(keys=[6, 2], queries=[1], batch=[1])
    whole = INSTANCES["positions"]
    assert part.positions()[0].tolist() == [[whole.positions()[0][1, 1]]]
    assert part.positions()[1].tolist() == whole.positions()[1][:, [6, 2]].tolist()
    cut = INSTANCES["general with bias"].part(queries=[0, 1, 2], keys=[0, 1], heads=[3], support=[2, 0])
    assert cut.support == (SUPPORT[2], SUPPORT[0])
    assert (cut.relative == general().relative[[2, 0]][:, 5:9]).all()  # offsets −1 … 2, of −6 … 4
    assert (cut.relative_bias == INSTANCES["general with bias"].relative_bias[3:, 5:9]).all()


def test_every_smaller_instance_is_one() -> None:
    for name in ("general with bias", "positions", "rotary, yarn"):
        sizes = [smaller.size() for smaller in INSTANCES[name].smaller()]
        assert min(sizes) < INSTANCES[name].size() / 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"support": SUPPORT}, "support: .*expected none without relative"),
        ({"relative": np.zeros((1, 11), np.float32)}, "support: None, expected a tuple of pairs"),
        ({"relative": np.zeros((1, 11), np.float32), "support": ((0, 6),)}, "each from 0 to 5"),
        ({"relative": np.zeros((2, 11), np.float32), "support": ((0, 1), (0, 1))}, "2 different pairs"),
        ({"relative": np.zeros((1, 12), np.float32), "support": ((0, 1),)}, "expected 11 columns"),
        ({"relative": np.zeros((1, 11), np.float64), "support": ((0, 1),)}, "dtype float64, expected float32"),
        ({"relative": np.zeros((1, 11), np.float32), "support": ((0, 1),), "base": 2.0}, "base: 2.0, expected none"),
        ({"relative": np.zeros((1, 11), np.float32), "support": ((0, 1),), "key_positions": np.arange(1, 8)}, "none"),
        ({"relative_bias": np.zeros((3, 11), np.float32)}, "expected 1 or 4 rows"),
        ({"relative_bias": np.zeros((1, 10), np.float32)}, "expected 11 columns"),
        ({"relative_bias": np.zeros((1, 11)), "bias": np.zeros((5, 7), np.float32)}, "none with relative_bias"),
        ({"query_positions": np.zeros((1, 1), int)}, r"expected a shape of \(5,\) or \(2, 5\)"),
        ({"key_positions": np.full(7, 2**53 + 1)}, r"at most 2\^53"),
        ({"rotary_dim": 3}, "an even number of columns"),
        ({"scaling": "yarn"}, "factor: None"),
    ],
)
def test_what_is_no_instance_is_refused_in_a_line_that_names_the_argument(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInstance, match=words):
        rotary(**change)


# --- ROT-9, ROT-10: the definition against others ---------------------------------------------------------------------


def turned(x: Array, place: Any, instance: Instance) -> list[Any]:
    """A vector at a position, rotated in mpmath; without a scaling."""
    r, out = instance.rotated, [mpf(float(number)) for number in x]
    for pair in range(r // 2):
        one = pair if instance.layout == "halves" else 2 * pair
        two = one + (r // 2 if instance.layout == "halves" else 1)
        angle = int(place) * mpf(instance.base) ** (mpf(-2 * pair) / r)
        a, b = out[one], out[two]
        out[one], out[two] = a * mp.cos(angle) - b * mp.sin(angle), a * mp.sin(angle) + b * mp.cos(angle)
    return out


def other_output(instance: Instance, b: int, h: int, i: int) -> list[Any]:
    """One row of the output in mpmath, straight from the formulas."""
    assert instance.scale is not None
    g, (queries, keys) = h // instance.group, instance.positions()
    total, sums = mpf(0), [mpf(0)] * instance.value.shape[3]
    n_k = instance.key.shape[2]
    for j in np.flatnonzero(np.broadcast_to(instance.attends(b), (4, 5, 7))[h, i]).tolist():
        q, k = instance.query[b, h, i], instance.key[b, g, j]
        if instance.relative is None:
            left = turned(q, queries[min(b, len(queries) - 1), i], instance)
            right = turned(k, keys[min(b, len(keys) - 1), j], instance)
            product = sum(x * y for x, y in zip(left, right, strict=True))
        else:
            w = np.zeros((6, 6))
            for number, (row, column) in enumerate(instance.support or ()):
                w[row, column] = instance.relative[number, i - j + n_k - 1]
            places = [(a, c) for a in range(6) for c in range(6)]
            product = sum(mpf(float(q[a])) * mpf(w[a, c]) * mpf(float(k[c])) for a, c in places)
        score = mpf(instance.scale) * product
        if instance.relative_bias is not None:
            score += mpf(float(instance.relative_bias[h % len(instance.relative_bias), i - j + n_k - 1]))
        total += mp.exp(score)
        sums = [x + mp.exp(score) * mpf(float(v)) for x, v in zip(sums, instance.value[b, g, j], strict=True)]
    return [x / total for x in sums]


@pytest.mark.claim("ROT-9")
@pytest.mark.claim("ROT-10")
@pytest.mark.parametrize(
    "name",
    ["rotary, none", "rotary, partial", "rotary, pairs", "positions", "rotary with bias", "window", "general",
     "general with bias"],
)  # fmt: skip
def test_the_definition_is_that_of_mpmath(name: str) -> None:
    instance = INSTANCES[name]
    with mp.workdps(40):
        for relative in (1e-12, 1e-30):
            made = define(instance, relative)
            for b, h, i in ((0, 0, 0), (1, 3, 4), (0, 2, 2)):
                for c, value in enumerate(other_output(instance, b, h, i)):
                    if relative < 1e-20:
                        assert mpf(made.balls[b, h, i, c].str(35, radius=False)) == pytest.approx(value, abs=1e-28)
                    gap = abs(value - mpf(made.midpoint[b, h, i, c]))
                    assert gap <= made.radius[b, h, i, c] <= 1e-10


@pytest.mark.claim("ROT-9")
@pytest.mark.parametrize("name", [name for name in INSTANCES if name.startswith("rotary")] + ["positions"])
def test_rotating_first_gives_plain_attention(name: str) -> None:
    """The rotation of another room, rounded to float64, and then the attention of another room."""
    instance = INSTANCES[name]
    queries, keys = instance.positions()
    last = max(int(queries.max()), int(keys.max())) + 1
    options = {
        key: value
        for key, value in instance.options().items()
        if key in ("base", "layout", "rotary_dim", "factor", "original_length")
    }
    if instance.scaling == "dynamic":  # for one length: that of the last position
        s, length, r = instance.factor, instance.original_length, instance.rotated
        g = max(s * last / length - (s - 1), 1.0)
        options = {"base": float(mpf(instance.base) * mpf(g) ** (mpf(r) / (r - 2)))}
    elif instance.scaling is not None:
        options["scaling"] = instance.scaling
    one, two = (
        rope.define(rope.Instance(x.astype(np.float64), positions=place, **options), 1e-15).midpoint
        for x, place in ((instance.query, queries), (instance.key, keys))
    )
    plain = attention.Instance(one, two, instance.value.astype(np.float64), bias=instance.added_bias())
    assert define(instance).midpoint == pytest.approx(attention.define(plain).midpoint, abs=1e-12)


@pytest.mark.claim("ROT-10")
def test_the_identity_at_every_offset_is_plain_attention() -> None:
    plain = rotary()
    support = tuple((column, column) for column in range(6))
    instance = plain.replace(relative=np.ones((6, 11), np.float32), support=support, is_causal=True)
    other = attention.Instance(plain.query, plain.key, plain.value, is_causal=True)
    for output in OUTPUTS:
        assert define(instance, output=output).midpoint == pytest.approx(
            attention.define(other, output=output).midpoint, abs=1e-13
        )


@pytest.mark.claim("ROT-10")
def test_a_rotation_is_one_matrix_for_every_offset() -> None:
    """Cosines and sines of the offset times a frequency, in the places of the pairs."""
    instance = rotary(dtype=np.float64)
    offset, theta = np.arange(-6, 5), 10000.0 ** (-np.arange(3) / 3)
    cos, sin = (np.concatenate([function(offset * t)[None] for t in theta]) for function in (np.cos, np.sin))
    one, two = np.arange(3), np.arange(3, 6)
    # ⟨R(p_i)x, R(p_j)z⟩ = ⟨x, R(p_j − p_i)z⟩
    blocks = ((one, one, cos), (two, two, cos), (one, two, sin), (two, one, -sin))
    support = tuple((int(a), int(b)) for rows, columns, _ in blocks for a, b in zip(rows, columns, strict=True))
    relative = np.concatenate([numbers for _, _, numbers in blocks])
    matrices = instance.replace(relative=relative, support=support)
    assert define(matrices).midpoint == pytest.approx(define(instance).midpoint, abs=1e-14)


@pytest.mark.parametrize(
    "made",
    [
        lambda x: Instance(x, x, x, scale=0.5, layout="pairs", query_positions=np.array([2, 0])),
        lambda x: Instance(x, x, x, is_causal=True, relative_bias=np.array([[0.5, -np.inf, 0.25]])),
        lambda x: Instance(x, x, x, np.array([[1.0, 2, 3], [0.5, 0, 1]]), support=((0, 0), (1, 0)), softcap=2.0),
    ],
    ids=["positions", "bias", "general"],
)
@pytest.mark.claim("ROT-9")
@pytest.mark.claim("ROT-10")
def test_the_definition_is_that_of_sympy(made: Callable[[Array], Instance]) -> None:
    instance = made(np.array([[1.0, -0.5], [0.25, 2.0]]).reshape(1, 1, 2, 2))
    for output, exact in (("output", symbolic(instance)), ("log_sum_exp", symbolic_log_sum_exp(instance))):
        value = define(instance, 1e-13, output)
        for index, expression in np.ndenumerate(exact):
            if expression == -sympy.oo:
                assert value.midpoint[index] == -math.inf
            else:
                assert abs(sympy.N(expression, 30) - sympy.Float(float(value.midpoint[index]), 30)) <= 1e-12


@pytest.mark.claim("ROT-9")
def test_the_radius_is_what_was_asked_for_in_every_arithmetic() -> None:
    for relative in (1e-12, 1e-20, 1e-40):
        for name in ("rotary, yarn", "general with bias"):
            exact = evaluate(INSTANCES[name], relative)
            size = np.exp(exact.log_probability.midpoint) @ np.abs(
                np.repeat(INSTANCES[name].value.astype(float), 2, axis=1)
            )
            full = np.vectorize(lambda ball: float(ball.rad()), otypes=[float])(exact.output.balls)
            assert (full <= relative * size * 1.01 + 2.0**-1074).all()


@pytest.mark.claim("ROT-9")
def test_far_positions_are_certified_too() -> None:
    far = rotary(query_positions=2**53 - np.arange(5), key_positions=2**53 - np.arange(7))
    near = rotary(query_positions=8 - np.arange(5), key_positions=8 - np.arange(7))
    assert define(far, 1e-14).midpoint == pytest.approx(define(near, 1e-14).midpoint, abs=1e-12)


# --- ROT-11: the laws -------------------------------------------------------------------------------------------------


@pytest.mark.claim("ROT-11")
@pytest.mark.claim("ROPE-1")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_the_definition_satisfies_every_law(law: Any) -> None:
    applied = 0
    for instance in INSTANCES.values():
        transformed = law.transform(instance, np.random.default_rng(5))
        if not transformed:
            continue
        applied += 1
        outputs = tuple({name: define(other, output=name).midpoint for name in OUTPUTS} for other in transformed)
        for name, prediction in law.relate(instance, transformed, outputs).items():
            mine = define(instance, output=name)
            certain = np.isfinite(mine.midpoint)
            assert (prediction.value == mine.midpoint)[~certain].all()
            assert prediction.value[certain] == pytest.approx(mine.midpoint[certain], abs=1e-11)
    assert applied >= 1


@pytest.mark.claim("ROT-11")
def test_laws_notice_a_rotation_of_the_queries_alone() -> None:
    instance = INSTANCES["rotary, none"]

    def wrong(i: Instance) -> Array:
        query = rope.define(rope.Instance(i.query, positions=i.positions()[0], layout=i.layout)).midpoint
        plain = attention.Instance(query, i.key.astype(float), i.value.astype(float), i.scale)
        return attention.define(plain).midpoint

    law = next(law for law in LAWS if law.id == "shift-positions")
    transformed = law.transform(instance, np.random.default_rng(5))
    outputs = tuple({"output": wrong(other)} for other in transformed)
    gap = law.relate(instance, transformed, outputs)["output"].value - wrong(instance)
    assert np.abs(gap).max() > 0.01


@pytest.mark.claim("ROT-11")
def test_dynamic_scaling_sees_the_last_position_of_queries_and_keys_alike() -> None:
    """Positions moved together change the frequencies, and so do those of one side alone."""
    base = rotary(**SCALINGS["dynamic"])
    moved = base.replace(query_positions=np.arange(5) + 90, key_positions=np.arange(7) + 90)
    keys = base.replace(key_positions=np.array([0, 1, 2, 3, 4, 5, 96]))
    assert np.abs(define(moved).midpoint - define(base).midpoint).max() > 1e-3
    change = np.abs(define(keys).midpoint - define(base.replace(key_positions=np.arange(7))).midpoint)
    assert change.max() > 1e-3


# --- biases by offset -------------------------------------------------------------------------------------------------


def test_the_bias_of_a_pair_is_that_of_its_offset() -> None:
    spread = rotary(relative_bias=of_offsets(lambda offset: offset, 5, 7)).added_bias()
    assert spread is not None
    assert (spread[0, 0] == np.arange(5)[:, None] - np.arange(7)).all()


def test_alibi_is_that_of_its_authors() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-k for k in range(1, 9)]
    assert alibi_slopes(12).tolist()[8:] == [2.0**-0.5, 2.0**-1.5, 2.0**-2.5, 2.0**-3.5]
    assert alibi(alibi_slopes(2), 2, 3).tolist()[0] == [-0.125, -0.0625, 0, -0.0625]


@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_are_those_of_t5(bidirectional: bool) -> None:
    offsets = np.arange(-300, 301)
    transformers = pytest.importorskip("transformers.models.t5.modeling_t5")
    torch = pytest.importorskip("torch")
    theirs = transformers.T5Attention._relative_position_bucket(
        torch.tensor(-offsets), bidirectional=bidirectional, num_buckets=32, max_distance=128
    )
    assert (t5_buckets(offsets, bidirectional=bidirectional) == theirs.numpy()).all()
    table = np.random.default_rng(0).standard_normal((32, 3))
    assert (
        table[t5_buckets(np.arange(-5, 4), bidirectional=bidirectional)]
        == t5(table, 4, 6, bidirectional=bidirectional).T
    ).all()


def test_buckets_without_room_are_refused() -> None:
    with pytest.raises(ValueError, match="expected exact buckets"):
        t5_buckets(np.arange(3), 32, 8)


@pytest.mark.parametrize("module", ["bias", "criteria", "definition", "gradient", "symbolic", "tolerance"])
def test_the_examples_of_docstrings_print_what_they_say(module: str) -> None:
    failed, ran = doctest.testmod(importlib.import_module(f"assay.spec.rope_attention.{module}"))
    assert (failed, ran > 0) == (0, True)


def test_slopes_of_no_head_are_refused() -> None:
    with pytest.raises(ValueError, match="heads: 0, expected at least 1"):
        alibi_slopes(0)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_short_types_are_exact_inputs(name: str) -> None:
    short = rotary(dtype=dtype_named(name))
    wide = Instance(*(x.astype(np.float64) for x in (short.query, short.key, short.value)))
    assert define(short).midpoint == pytest.approx(define(wide).midpoint, abs=1e-14)
