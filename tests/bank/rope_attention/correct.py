"""Correct kernels of unusual structure: the judge must pass every one, in every class that it names."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.attention.correct import eager, gathered, split, tiled, whole
from bank.attention.engine import Steps as Attention
from bank.attention.engine import attention
from bank.entry import Entry
from bank.rope import engine as rope
from bank.rope_attention.engine import Array, Steps, Task, alike, general, kernel, passed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CORRECT"]

ONCE = ("float32", "bfloat16", "float16")
EXACT = ("float32-exact-angles", "bfloat16-exact-angles", "float16-exact-angles")
EAGER = ("bfloat16-eager", "float16-eager")


# --- rotations --------------------------------------------------------------------------------------------------------


def _in_double(t: Task, s: Steps, role: int) -> Array:
    """Angles in float64, cosines and sines in float32."""
    one = t.rotation(role)
    both = np.concatenate([positions.ravel() for positions in t.positions])[None]
    steps = replace(s.rotary, raised=lambda task: rope.raised_base(replace(task, positions=both)))
    return rope.angles_in_double(replace(one, x=t.wide(one.x)), steps)


def _all_in_double(t: Task, s: Steps) -> tuple[Array, Array]:
    """Everything in float64, rounded once."""
    wide = {name: getattr(t, name).astype(np.float64) for name in ("query", "key", "value")}
    return passed(replace(t, **wide, kind=np.dtype(np.float64)), s)


def _from_the_first(t: Task) -> Task:
    """Positions counted from the first query: scores see differences alone."""
    first = t.positions[0][:, :1]
    return t if t.scaling == "dynamic" else replace(t, positions=tuple(p - first for p in t.positions))


def _by_differences(t: Task, s: Steps) -> tuple[Array, Array]:
    """Queries stay as they are; for every query all keys are turned by the difference of positions."""
    if t.scaling == "dynamic":
        return passed(t, s)
    out, lse = zip(*(_one_query(t, s, i) for i in range(t.shape[2])), strict=True)
    return np.concatenate(out, axis=2), np.concatenate(lse, axis=2)


def _one_query(t: Task, s: Steps, i: int) -> tuple[Array, Array]:
    whole_task = alike(replace(t, positions=tuple(0 * p for p in t.positions)), s)
    turned = replace(t, positions=(0 * t.positions[0], t.positions[1] - t.positions[0][:, i : i + 1]))
    bias = None if whole_task.bias is None else np.broadcast_to(whole_task.bias, t.shape)[:, :, i : i + 1]
    seen = t.visible()[:, :, i : i + 1]
    one = replace(
        whole_task, query=whole_task.query[:, :, i : i + 1], key=s.turned(turned, s, 1), bias=bias, mask=seen,
        causal=None, window=None, key_lengths=None,
    )  # fmt: skip
    return attention(one, s.attention)


def _permuted_pairs(t: Task) -> Task:
    """Pairs brought into halves: the same permutation of the columns of queries and keys changes no score."""
    if t.layout == "halves":
        return t
    r = t.r or t.query.shape[3]
    order = np.r_[0:r:2, 1:r:2, r : t.query.shape[3]]
    return replace(t, query=t.query[..., order], key=t.key[..., order], layout="halves")


def _magnitude_in_the_scale(t: Task) -> Task:
    """The square of yarn's magnitude times the scale, where every column is rotated."""
    if t.scaling != "yarn" or (t.r or t.query.shape[3]) != t.query.shape[3]:
        return t
    m = 1 + 0.1 * math.log(t.s) if t.given is None else t.given
    return replace(t, scale=t.scale * m * m, given=1.0)


def _repeated(t: Task) -> Task:
    """The heads of the keys repeated before they are rotated."""
    group = t.query.shape[1] // t.key.shape[1]
    return replace(t, key=np.repeat(t.key, group, axis=1), value=np.repeat(t.value, group, axis=1))


def _cached() -> Callable[..., Any]:
    """Rotated keys kept between calls, under everything that they are made of."""
    kept: dict[Any, Array] = {}

    def turned(t: Task, s: Steps, role: int) -> Array:
        how = (t.base, t.layout, t.r, t.scaling, t.s, t.original, t.low, t.high, t.truncate, t.given, t.kind, role)
        both = tuple((p.shape, p.tobytes()) for p in t.positions)
        x = (t.query, t.key)[role]
        return kept.setdefault((x.shape, x.tobytes(), both, how), Steps.turned(t, s, role))

    return kernel(Steps(turned=turned))


def _powers(t: rope.Task, theta: Array) -> Array:
    """e^(iθ) to the power of the position, by repeated squaring, in complex128."""
    unit, count = np.exp(1j * theta.astype(np.float64)), np.abs(t.places)
    rotor = np.ones(np.broadcast_shapes(count.shape, unit.shape), complex)
    for bit in range(int(count.max()).bit_length()):
        rotor, unit = np.where((count >> bit) & 1, rotor * unit, rotor), unit * unit
    return np.asarray(np.where(t.places < 0, rotor.conj(), rotor))


def _steps_of_one(t: rope.Task, theta: Array) -> Array:
    """A recurrence in complex128 over all positions up to the largest, brought back to size 1 every 64 positions."""
    unit, count = np.exp(1j * theta.astype(np.float64)), np.abs(t.places)
    if count.max() > 20000:
        return _powers(t, theta)
    table = np.ones((int(count.max()) + 1, *unit.shape), complex)
    for place in range(1, len(table)):
        table[place] = table[place - 1] * unit
        if place % 64 == 0:
            table[place] /= np.abs(table[place])
    rotor = table[count[..., 0]]
    return np.asarray(np.where(t.places < 0, rotor.conj(), rotor))


def _parts(t: rope.Task, rotor: Array, m: float) -> Any:
    return rotor.real * m, rotor.imag * m


def _kept_table() -> Callable[[rope.Task, Array], Array]:
    """Angles of a table kept between calls that grows with the positions; a negative position has the negative angle."""
    tables: dict[Any, Array] = {}

    def angles(t: rope.Task, theta: Array) -> Array:
        count = np.abs(t.positions)
        if count.max() >= 1 << 16:
            return rope.Steps.angles(t, theta)
        key = theta.dtype.name, theta.tobytes()
        if len(tables.get(key, ())) <= count.max():
            rows = 1 << int(count.max()).bit_length()
            tables[key] = np.arange(rows).astype(theta.dtype)[:, None] * theta
        return np.asarray((tables[key][count] * np.sign(t.positions)[..., None])[:, None])

    return angles


def _shears(t: rope.Task, a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
    """Three shears, of an angle between −π/2 and π/2; with what is left of the magnitude."""
    m, flip = np.hypot(c, s), np.where(c < 0, t.work(-1), t.work(1))
    tangent, sine = flip * s / (m + np.abs(c)), flip * s / m
    a = a - tangent * b
    b = b + sine * a
    return flip * m * (a - tangent * b), flip * m * b


def _three_products(t: rope.Task, a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
    whole_one, first, second = c * (a + b), a * (s - c), b * (c + s)
    return whole_one - second, whole_one + first


def _polar(t: rope.Task, a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
    """Sizes multiplied and angles added, in float64."""
    a, b, c, s = (x.astype(np.float64) for x in (a, b, c, s))
    size, angle = np.hypot(a, b) * np.hypot(c, s), np.arctan2(b, a) + np.arctan2(s, c)
    return size * np.cos(angle), size * np.sin(angle)


def _stored_keys(t: Task, s: Steps, role: int) -> Array:
    """Keys in the type of the arrays, as in a cache; queries stay as they are rotated."""
    turned = Steps.turned(t, s, role)
    return t.rounded(turned) if role else turned


# --- scores and biases ------------------------------------------------------------------------------------------------


def _masked_alone(t: Any, order: Array, pad: int) -> Any:
    """The keys in another order, with keys of zeros behind them, and one mask that hides what is hidden."""

    def behind(x: Array, axis: int, value: Any) -> Array:
        more = [(0, 0)] * x.ndim
        more[axis] = (0, pad)
        return np.pad(x, more, constant_values=value)

    bias = None if t.bias is None else behind(np.broadcast_to(t.bias, t.shape)[..., order], 3, 0)
    return replace(
        t, key=behind(t.key[:, :, order], 2, 0), value=behind(t.value[:, :, order], 2, 0), bias=bias,
        mask=behind(t.visible()[..., order], 3, False), causal=None, window=None, key_lengths=None,
    )  # fmt: skip


def _shuffled(t: Any) -> tuple[Array, Array]:
    return whole(_masked_alone(t, np.random.default_rng(0).permutation(t.shape[3]), 0))


def _padded(t: Any) -> tuple[Array, Array]:
    return whole(_masked_alone(t, np.arange(t.shape[3]), -t.shape[3] % 32), normalised="before")


def _spread(x: Array, n_q: int) -> Array:
    """(rows, n_q, n_k) of an array of offsets, by strides alone: entry (i, j) is that of i − j."""
    rows, backwards = len(x), np.ascontiguousarray(x[:, ::-1])
    row, column = backwards.strides
    shape = (rows, n_q, x.shape[1] - n_q + 1)
    return np.lib.stride_tricks.as_strided(backwards[:, n_q - 1 :], shape, (row, -column, column), writeable=False)


def _by_strides(t: Task) -> Array | None:
    return t.bias if t.relative_bias is None else _spread(t.wide(t.relative_bias), t.shape[2])


def _contracted(t: Task, q: Array, k: Array) -> Array:
    """One contraction over the places of W."""
    assert t.relative is not None
    rows, columns = np.asarray(t.support).T
    return np.asarray(np.einsum("is,sij,js->ij", q[:, rows], _spread(t.wide(t.relative), len(q)), k[:, columns]))


def _dense(t: Task, q: Array, k: Array) -> Array:
    """A matrix W for every offset."""
    assert t.relative is not None
    assert t.support is not None
    matrices = np.zeros((t.relative.shape[1], q.shape[-1], k.shape[-1]), t.work)
    for row, (a, b) in zip(t.wide(t.relative), t.support, strict=True):
        matrices[:, a, b] += row
    turned = np.einsum("ia,ijab->ijb", q, matrices[t.offsets()])
    return np.asarray(np.einsum("ijb,jb->ij", turned, k))


def _diagonals(t: Task, q: Array, k: Array) -> Array:
    """One offset after the other, the last one first."""
    assert t.relative is not None
    assert t.support is not None
    n_q, n_k = len(q), len(k)
    scores, (a, b) = np.zeros((n_q, n_k), t.work), np.asarray(t.support).T
    for column in reversed(range(n_q + n_k - 1)):
        i = np.arange(max(0, column - n_k + 1), min(n_q, column + 1))
        j = i - (column - n_k + 1)
        scores[i, j] = (t.wide(t.relative)[:, column] * q[i][:, a] * k[j][:, b]).sum(axis=1)
    return scores


def _support_backwards(t: Task) -> Task:
    assert t.relative is not None
    assert t.support is not None
    return replace(t, relative=t.relative[::-1], support=t.support[::-1])


def _less_the_first(t: Task, s: Steps) -> tuple[Array, Array]:
    """A relative bias from which its value for the first key is taken, row by row: it is the same for all weights."""
    bias = s.bias(t)
    if t.relative_bias is None or bias is None or t.sink is not None:
        return passed(t, s)
    first = np.where(np.isfinite(bias[..., :1]), bias[..., :1], 0)
    output, lse = passed(t, replace(s, bias=lambda t: bias - first))
    return output, lse + np.broadcast_to(first, (*t.shape[:3], 1))[..., 0]


def _threaded(t: Task, s: Steps) -> tuple[Array, Array]:
    """Batches by two threads, the last one first, where no option goes with batches."""
    options = (t.mask, t.bias, t.key_lengths)
    if any(option is not None for option in options) or len(t.query) == 1 or t.scaling == "dynamic":
        return passed(t, s)

    def one(b: int) -> tuple[Array, Array]:
        positions = tuple(p[b : b + 1] if len(p) > 1 else p for p in t.positions)
        arrays = {name: getattr(t, name)[b : b + 1] for name in ("query", "key", "value")}
        return passed(replace(t, **arrays, positions=positions), s)

    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(one, reversed(range(len(t.query)))))[::-1]
    out, lse = zip(*parts, strict=True)
    return np.concatenate(out), np.concatenate(lse)


# --- whole kernels ----------------------------------------------------------------------------------------------------


def _halves_alone(query: Array, key: Array, value: Array, *, scale: float, base: float) -> Any:
    return kernel(Steps())(query, key, value, scale=scale, base=base)


def _decoder(
    query: Array, key: Array, value: Array, *, scale: float, base: float, query_positions: Array | None = None,
    key_positions: Array | None = None, causal: str | None = None,
) -> Any:  # fmt: skip
    """What a decoder needs, and nothing else."""
    given = {"query_positions": query_positions, "key_positions": key_positions, "causal": causal}
    return kernel(Steps())(query, key, value, scale=scale, base=base, **given)


def _some_options(steps: Steps) -> Callable[..., Any]:
    """A kernel of the rotary form without a softcap, biases, sinks and the log-sum-exp."""

    def attend(
        query: Array, key: Array, value: Array, *, scale: float, base: float, layout: str = "halves",
        rotary_dim: int | None = None, query_positions: Array | None = None, key_positions: Array | None = None,
        is_causal: bool = False, causal: str | None = None, mask: Array | None = None,
        window: tuple[int | None, int | None] | None = None, key_lengths: Array | None = None,
    ) -> Any:  # fmt: skip
        positions = {"query_positions": query_positions, "key_positions": key_positions}
        masks = {"is_causal": is_causal, "causal": causal, "mask": mask, "window": window, "key_lengths": key_lengths}
        turned = {"base": base, "layout": layout, "rotary_dim": rotary_dim}
        return kernel(steps)(query, key, value, scale=scale, **turned, **positions, **masks)

    return attend


def _table(t: rope.Task, theta: Array) -> Array:
    return np.asarray((np.arange(4096, dtype=t.work)[:, None] * theta)[t.positions][:, None])


def _turned_back(t: rope.Task, a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
    return a * c + b * s, b * c - a * s


def _complex(t: rope.Task, a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
    turned = (a + 1j * b) * (c + 1j * s)
    return turned.real, turned.imag


_stored = rope.stored_tables(lambda t: t.x.dtype)
_EAGER = rope.Steps(tables=_stored, work=lambda t: t.x.dtype)


def _base_two(e: Array) -> Array:
    return np.exp2(e * e.dtype.type(math.log2(math.e)))


CORRECT: tuple[Entry, ...] = (
    Entry("plain", kernel(Steps()), (*ONCE, "float64"), "rotates, then attends: the formula, in the type of the work"),
    Entry("double-angles", kernel(Steps(turned=_in_double)), EXACT, "angles in float64, the rest in float32"),
    Entry("double", kernel(Steps(), _all_in_double), (*ONCE, "float64"), "everything in float64, rounded once"),
    Entry("turned-back", kernel(Steps(rotary=rope.Steps(turn=_turned_back))), ONCE, "rotation by −θ of both sides, declared: legal", "karpathy/nanochat#264, #489; EleutherAI/gpt-neox#834", {"rotation": "negative"}),
    Entry("from-the-first", kernel(Steps(task=_from_the_first, turned=_in_double)), EXACT[:2], "positions counted from the first query"),
    Entry("differences", kernel(Steps(), _by_differences), ("float32",), "keys turned by the difference of positions, queries not at all"),
    Entry("permuted-pairs", kernel(Steps(task=_permuted_pairs)), ONCE, "pairs brought into halves by a permutation of the columns of both sides", "karpathy/nanochat#264"),
    Entry("magnitude-in-the-scale", kernel(Steps(task=_magnitude_in_the_scale)), ("float32", "float16"), "yarn's magnitude, squared, in the scale"),
    Entry("separate", kernel(Steps(rotary=rope.Steps(magnitude=lambda t: 1.0))), ("float32", "bfloat16"), "yarn's magnitude left to the caller, declared", options={"magnitude": "separate"}),
    Entry("complex", kernel(Steps(rotary=rope.Steps(turn=_complex))), ("float32", "bfloat16"), "pairs as complex numbers"),
    Entry("repeated-keys", kernel(Steps(task=_repeated)), ("float32", "float16"), "keys repeated for the heads of their group before they are rotated"),
    Entry("tiles", kernel(Steps(attend=partial(tiled, tile=16))), ONCE, "an online softmax over tiles of 16 rotated keys"),
    Entry("split", _some_options(Steps(attend=partial(split, merge="lse"))), ("float32", "bfloat16"), "keys in four parts, merged by their log-sum-exps"),
    Entry("gathered", kernel(Steps(attend=gathered)), ("float32",), "row by row, only what a query sees"),
    Entry("whole", kernel(Steps(attend=partial(whole, normalised="before"))), ("float32", "bfloat16"), "all heads at once, weights divided first"),
    Entry("base-two", kernel(Steps(attention=Attention(exp=_base_two))), ("float32",), "exponentials to the base 2"),
    Entry("composed", kernel(Steps(rotary=_EAGER, stored=True)), ("bfloat16-composed", "float16-composed"), "rotated vectors and their tables stored, attention fused"),
    Entry("stored", kernel(Steps(stored=True)), ("bfloat16", "float16"), "rotated vectors stored in the type of the arrays"),
    Entry("eager", _some_options(Steps(rotary=_EAGER, stored=True, attend=partial(eager, scaled="scores", softmax="inner"))), EAGER, "every operation stored in the type of the arrays"),
    Entry("threads", kernel(Steps(), _threaded), ("float32",), "batches backwards, by threads"),
    Entry("cached", _cached(), ("float32", "bfloat16"), "rotated keys kept between calls under the right key"),
    Entry("table", kernel(Steps(rotary=rope.Steps(angles=_table))), ("float32",), "a table of 4096 positions, declared", options={"table": "4096"}),
    Entry("halves-alone", _halves_alone, ("float32", "float16"), "one layout, no options"),
    Entry("decoder", _decoder, ("float32", "bfloat16"), "positions and a causal mask, and no other option"),
    Entry("bias-from-the-first", kernel(Steps(), _less_the_first), ("float32",), "a relative bias less its value for the first key: a constant of the row", "vllm-project/vllm#945; lucidrains/x-transformers#153"),
    Entry("powers", kernel(Steps(rotary=rope.Steps(angles=_powers, tables=_parts), turned=_in_double)), EXACT[:2], "powers of e^(iθ), by repeated squaring"),
    Entry("recurrence", kernel(Steps(rotary=rope.Steps(angles=_steps_of_one, tables=_parts), turned=_in_double)), EXACT[:1], "a recurrence in float64 over the positions"),
    Entry("kept-table", kernel(Steps(rotary=rope.Steps(angles=_kept_table()))), ("float32", "bfloat16"), "a table of angles that is kept and grows"),
    Entry("shears", kernel(Steps(rotary=rope.Steps(turn=_shears))), ("float32", "bfloat16"), "a rotation by three shears"),
    Entry("three-products", kernel(Steps(rotary=rope.Steps(turn=_three_products))), ("float32", "bfloat16"), "a complex product by three multiplications"),
    Entry("polar", kernel(Steps(rotary=rope.Steps(turn=_polar))), ("float32", "bfloat16"), "sizes and angles of pairs"),
    Entry("stored-keys", kernel(Steps(turned=_stored_keys)), ("bfloat16", "float16"), "keys stored, queries not"),
    Entry("shuffled", kernel(Steps(attend=_shuffled)), ("float32",), "keys in a random order"),
    Entry("padded", kernel(Steps(attend=_padded)), ("float32", "bfloat16"), "keys padded to a multiple of 32"),
    Entry("tiles-backwards", kernel(Steps(attend=partial(tiled, tile=24, backwards=True))), ("float32",), "an online softmax, the last tile first"),
    Entry("by-strides", kernel(Steps(bias=_by_strides)), ("float32", "bfloat16"), "a relative bias by strides, without a gather"),
    Entry("general-by-strides", general(Steps(bias=_by_strides, weighed=_contracted)), ("float32", "bfloat16"), "W by strides, one contraction"),
    Entry("general", general(Steps()), (*ONCE, "float64"), "W entry by entry"),
    Entry("general-double", general(Steps(), _all_in_double), ("float32", "bfloat16"), "W in float64, rounded once"),
    Entry("general-dense", general(Steps(weighed=_dense)), ("float32", "float16"), "a matrix W for every offset"),
    Entry("general-diagonals", general(Steps(weighed=_diagonals)), ("float32", "bfloat16"), "W offset by offset"),
    Entry("general-backwards", general(Steps(task=_support_backwards)), ("float32",), "the support backwards, with its rows"),
)  # fmt: skip
