"""Rotary kernels that are right and of unusual structure: all must pass."""

# ruff: noqa: E501 - the table has one kernel a line
from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry
from bank.rope.engine import BACKWARDS, EAGER, Steps, angles_in_double, by_array, kernel, only, part, stored_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from bank.rope.engine import Array, Task

__all__ = ["CORRECT"]

ONCE = ("float32", "bfloat16", "float16")  # rounded once at the end
EXACT = ("float32-exact-angles", "bfloat16-exact-angles", "float16-exact-angles")


def _of_turns(task: Task, theta: Array) -> Array:
    turns = task.places * (theta / (2 * np.pi))
    return np.asarray(2 * np.pi * (turns - np.rint(turns)))


def _by_addition(task: Task, angles: Array, m: float) -> tuple[Array, Array]:
    """cos and sin of 256·h + l from those of both parts."""
    high, low = np.divmod(task.places, 256)
    theta = angles / np.where(task.places == 0, 1, task.places)
    ch, sh, cl, sl = (f(part * theta) for part in (256.0 * high, 1.0 * low) for f in (np.cos, np.sin))
    return m * (ch * cl - sh * sl), m * (sh * cl + ch * sl)


def _complex(task: Task, a: Array, b: Array, cos: Array, sin: Array) -> tuple[Array, Array]:
    turned = (a + 1j * b) * (cos + 1j * sin)
    return turned.real, turned.imag


def _matrices(task: Task, a: Array, b: Array, cos: Array, sin: Array) -> tuple[Array, Array]:
    matrix = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    turned = (matrix * np.stack([a, b], -1)[..., None, :]).sum(-1)
    return turned[..., 0], turned[..., 1]


def _fused(task: Task, a: Array, b: Array, cos: Array, sin: Array) -> tuple[Array, ...]:
    products = ((a, cos, -b, sin), (b, cos, a, sin))
    return tuple((x.astype(np.float64) * y + z.astype(np.float64) * w).astype(a.dtype) for x, y, z, w in products)


def _threaded(task: Task, steps: Steps) -> Array:
    """The last batch first, two threads."""
    batches = range(len(task.x))[::-1]
    with ThreadPoolExecutor(2) as pool:
        return np.concatenate(list(pool.map(lambda b: part(task, steps, slice(b, b + 1)), batches))[::-1])


def _table(task: Task, theta: Array) -> Array:
    """A table of 4096 rows, read at the positions."""
    return np.asarray((np.arange(4096, dtype=task.work)[:, None] * theta)[task.positions][:, None])


def _one_array(
    x: Array, positions: Array, *, base: float, layout: str = "halves", rotary_dim: int | None = None
) -> Any:
    return kernel(Steps())(x, x[:, :1], positions, base=base, layout=layout, rotary_dim=rotary_dim)[0]


def _halves_alone(query: Array, key: Array, positions: Array, *, base: float) -> Any:
    return kernel(Steps())(query, key, positions, base=base)


def _cached() -> Callable[..., Any]:
    """Tables kept between calls, under a key that tells everything apart."""
    tables: dict[Any, Any] = {}

    def kept(t: Task, angles: Array, m: float) -> Any:
        band = (t.original, t.low, t.high, t.truncate, t.given)
        key = (t.positions.tobytes(), t.positions.shape, t.base, t.r, t.scaling, t.s, *band, t.work)
        return tables.setdefault(key, Steps.tables(t, angles, m))

    return kernel(Steps(tables=kept))


CORRECT: tuple[Entry, ...] = (
    Entry("plain", kernel(Steps()), (*ONCE, "float64"), "the formula, in the type of the work"),
    Entry("double-angles", kernel(Steps(), angles_in_double), (*EXACT, *ONCE), "angles in float64, the rest in float32"),
    Entry("turns", kernel(Steps(angles=_of_turns), angles_in_double), EXACT, "angles in turns, reduced before the cosine"),
    Entry("addition", kernel(Steps(tables=_by_addition), angles_in_double), EXACT, "cosines of sums from tables of both parts, in float64"),
    Entry("complex", kernel(Steps(turn=_complex)), ("float32", "bfloat16"), "pairs as complex numbers"),
    Entry("matrices", kernel(Steps(turn=_matrices)), ("float32", "float16"), "a 2×2 matrix a pair"),
    Entry("exp", kernel(Steps(power=lambda t, b, e: np.exp(-e * t.work(math.log(b))))), ("float32", "bfloat16"), "frequencies by exp of a logarithm"),
    Entry("exp2", kernel(Steps(power=lambda t, b, e: np.exp2(-e * t.work(math.log2(b))))), ("float32", "float16"), "frequencies by exp2"),
    Entry("reciprocal-base", kernel(Steps(power=lambda t, b, e: t.work(1 / b) ** e)), ("float32", "bfloat16"), "powers of the reciprocal of the base"),
    Entry("tables", kernel(Steps(tables=stored_tables(lambda t: t.x.dtype))), ("bfloat16-tables", "float16-tables"), "cosines and sines stored in the type of the arrays"),
    Entry("eager", kernel(EAGER), ("bfloat16-eager", "float16-eager", "float32"), "every operation stored in the type of the arrays"),
    Entry("fused", kernel(Steps(turn=_fused)), ("float32", "float16"), "both products and the sum rounded once"),
    Entry("threads", kernel(Steps(), _threaded), ("float32",), "batches backwards, by threads"),
    Entry("table", kernel(Steps(angles=_table)), ("float32", "bfloat16"), "a table of 4096 positions, declared", options={"table": "4096"}),
    Entry("cached", _cached(), ONCE, "tables kept between calls under the right key"),
    Entry("one-array", _one_array, ("float32", "float64"), "the form that takes one array"),
    Entry("halves-alone", _halves_alone, ("float32", "float16"), "one layout, no options"),
    Entry("negative", kernel(BACKWARDS), ONCE, "rotation by −θ, declared: legal", "karpathy/nanochat#264, #489; EleutherAI/gpt-neox#834", {"rotation": "negative"}),
    Entry("separate", kernel(Steps(magnitude=lambda t: 1.0)), ("float32", "bfloat16"), "yarn's magnitude left to the scores, declared", options={"magnitude": "separate"}),
    Entry("array-length", by_array, ("float32", "float16"), "dynamic by the length of the array, declared", options={"dynamic_length": "array"}),
    Entry("divided-positions", only(Steps(theta=lambda t, theta: theta * t.work(t.s), angles=lambda t, theta: (t.places / t.s).astype(t.work) * theta), scaling="linear"), ("float32",), "linear scaling of the positions, not of the frequencies"),
)  # fmt: skip
