"""Rotary kernels that are wrong: all must fail, and those with words are named by them.

Each re-creates the behaviour of a defect that shipped (the source names the issue) or a planted one.
"""

# ruff: noqa: E501 - the table has one kernel a line
from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from bank.entry import Entry
from bank.rope.engine import (
    BACKWARDS,
    EAGER,
    Steps,
    by_array,
    exponent,
    formula,
    kept,
    kernel,
    magnitude,
    only,
    part,
    raised_base,
    rotated,
    stored_tables,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bank.rope.engine import Array, Task

__all__ = ["BUGGY"]

BFLOAT16, FLOAT16 = ml_dtypes.bfloat16, np.float16


def _task(**changes: Any) -> Steps:
    """Another task than the one that was asked: fields by name, each a value or a function of the task."""

    def task(t: Task) -> Task:
        return replace(t, **{name: value(t) if callable(value) else value for name, value in changes.items()})

    return Steps(task=task)


def _moved(move: Callable[[Array], Array]) -> Steps:
    return _task(positions=lambda t: move(t.positions) + 0 * t.positions)


def _short(stage: str, dtype: Any) -> Steps:
    """The positions, the frequencies, the angles, or the cosines and sines in a short type."""

    def cut(x: Array, t: Task) -> Array:
        return np.asarray(x.astype(dtype).astype(t.work))

    return {
        "tables": Steps(tables=stored_tables(lambda t: dtype)),
        "frequencies": Steps(theta=lambda t, theta: cut(theta, t)),
        "positions": Steps(angles=lambda t, theta: cut(t.places, t) * theta),
        "angles": Steps(angles=lambda t, theta: cut(Steps.angles(t, theta), t)),
    }[stage]


def _mixed_table(of: str) -> Steps:
    """A table of angles laid out for one layout, and the rotation of the other."""

    def turn(t: Task, a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
        if t.layout == of:
            return a * c - b * s, b * c + a * s
        j, h = np.arange(t.r // 2), t.r // 2
        one, two = ((2 * j) % h, (2 * j + 1) % h) if of == "halves" else (j // 2, (j + h) // 2)
        return a * c[..., one] - b * s[..., one], b * c[..., two] + a * s[..., two]

    return Steps(turn=turn)


def _first_pairs(count: Callable[[Task], int]) -> Steps:
    """Pairs from number ``count`` on stay as they are."""
    return Steps(angles=lambda t, theta: np.where(np.arange(t.r // 2) < count(t), Steps.angles(t, theta), t.work(0)))


def _whole_tokens(tile: int) -> Callable[..., Any]:
    def after(t: Task, y: Array) -> Array:
        whole = y.shape[2] // tile * tile or y.shape[2]
        return np.concatenate([y[:, :, :whole], t.x[:, :, whole:]], axis=2)

    return kernel(Steps(), after=after)


def _last_columns(t: Task, steps: Steps) -> Array:
    by = t.x.shape[3] - t.r
    return np.roll(rotated(replace(t, x=np.roll(t.x, -by, axis=3)), steps), by, axis=3)


def _kept_under(key: Callable[[Task], Any]) -> Callable[..., Any]:
    """Angles kept between calls under a key that does not tell everything apart."""
    tables: dict[Any, Array] = {}

    def angles(t: Task, theta: Array) -> Array:
        return tables.setdefault((t.work, t.x.shape[0], key(t)), Steps.angles(t, theta))

    return kernel(Steps(angles=angles))


def _kept_dynamic() -> Callable[..., Any]:
    """The largest length ever seen."""
    longest: dict[Any, int] = {}

    def raised(t: Task) -> float:
        longest[t.s, t.original, t.r] = n = max(longest.get((t.s, t.original, t.r), 0), t.n)
        return raised_base(replace(t, positions=np.array([[n - 1]])))

    return only(Steps(raised=raised), scaling="dynamic")


def _shared_workspace() -> Callable[..., Any]:
    space: dict[Any, Array] = {}

    def each(t: Task, steps: Steps) -> Array:
        out = space.setdefault(t.x.shape, np.empty_like(t.x))
        for b, h in np.ndindex(*t.x.shape[:2]):
            time.sleep(0.0001)  # a compiled kernel lets other threads run
            out[b, h] = part(t, steps, slice(b, b + 1), slice(h, h + 1))[0, 0]
        return out.copy()

    return kernel(Steps(), each)


def _in_place(t: Task, y: Array) -> Array:
    t.x[...] = y
    return t.x


def _recurrence(t: Task, theta: Array) -> Array:
    """Angles added up, one position after the other."""
    if not 0 <= t.positions.min() <= t.positions.max() < 5000:
        return Steps.angles(t, theta)
    sums = np.cumsum(np.broadcast_to(theta, (t.n, len(theta))), axis=0, dtype=t.work) - theta
    return np.asarray(sums[t.positions][:, None])


def _by_heads(t: Task, theta: Array) -> Array:
    return np.asarray(np.arange(t.x.shape[1])[None, :, None, None].astype(t.work) * theta + 0 * t.places)


def _hard(t: Task, theta: Array) -> Array:
    return np.asarray((t.original * theta / (2 * np.pi) > t.low).astype(t.work))


F32 = ("float32",)
NEW = "planted"
_TABLE_ROWS: tuple[tuple[str, Any, str, str | None, tuple[str, ...], str], ...] = (
    ("layout-exchanged", _task(layout=lambda t: {"halves": "pairs", "pairs": "halves"}[t.layout]), "the other pairing", "halves rotated where pairs", F32, "NeuraLegion/shainet#111"),
    ("layout-ignored", _task(layout="halves"), "pairs are never rotated", "halves rotated where pairs", F32, "tenstorrent/tt-metal#26844"),
    ("table-halves", _mixed_table("halves"), "a table of halves, the rotation of pairs", "a table of angles laid out for halves", F32, "huggingface/transformers#47328"),
    ("table-pairs", _mixed_table("pairs"), "a table of pairs, the rotation of halves", "a table of angles laid out for pairs", F32, "raiyanyahya/how-to-train-your-gpt#6"),
    ("frequencies-bfloat16", _short("frequencies", BFLOAT16), "frequencies in bfloat16", "precision in the frequencies: about 8 bits", ("bfloat16",), "Modalities/modalities#462"),
    ("positions-bfloat16", _short("positions", BFLOAT16), "positions in bfloat16", "precision in the positions: about 8 bits", ("bfloat16",), "KellerJordan/modded-nanogpt#39"),
    ("angles-bfloat16", _short("angles", BFLOAT16), "angles in bfloat16", "about 8 bits (bfloat16?)", ("bfloat16",), "huggingface/transformers#25681"),
    ("frequencies-float16", _short("frequencies", FLOAT16), "frequencies in float16", "precision in the frequencies: about 12 bits", ("float16",), "okoge-kaz/llm-recipes#6"),
    ("positions-float16", _short("positions", FLOAT16), "positions in float16", "precision in the positions: about 11 bits", ("float16",), "huggingface/transformers#29285"),
    ("angles-float16", _short("angles", FLOAT16), "angles in float16", "about 11 bits (float16", ("float16",), "EleutherAI/gpt-neox#1003"),
    ("tables-float16", _short("tables", FLOAT16), "tables in float16", "precision in the cosines and sines: about 11 bits", F32, NEW),
    ("tables-bfloat16", _short("tables", BFLOAT16), "tables in bfloat16", "class bfloat16-tables", ("bfloat16",), NEW),
    ("eager-bfloat16", EAGER, "products stored in bfloat16", "class bfloat16-eager", ("bfloat16",), NEW),
    ("float32-angles", Steps(), "float32 angles where exact ones are claimed", "class float32", ("float32-exact-angles",), NEW),
    ("recurrence", Steps(angles=_recurrence), "angles added up", None, F32, NEW),
    ("int16-positions", _moved(lambda p: p.astype(np.int16).astype(np.int64)), "positions in 16 bits", None, F32, NEW),
    ("magnitude-formula", only(Steps(magnitude=formula), scaling="yarn"), "the given magnitude ignored", "magnitude that is given ignored", F32, "vllm-project/vllm#46280"),
    ("magnitude-twice", Steps(magnitude=lambda t: magnitude(t) ** 2), "the magnitude applied twice", "the magnitude", F32, "sgl-project/sglang#33558"),
    ("magnitude-left-out", Steps(magnitude=lambda t: 1.0), "no magnitude", "magnitude of yarn left out", F32, "ml-explore/mlx-lm#1507"),
    ("magnitude-query", only(Steps(magnitude=lambda t: 1.0), role=1), "the magnitude on queries alone", "magnitude on the query alone", F32, NEW),
    ("beyond-unrotated", _moved(lambda p: np.where(p >= 2048, 0, p)), "positions beyond the table stay as they are", "beyond a table of 2048: not rotated", F32, "microsoft/onnxruntime#28205"),
    ("beyond-clamped", _moved(lambda p: np.minimum(p, 4095)), "positions beyond the table get its last row", "beyond a table of 4096: rotated by its last row", F32, NEW),
    ("beyond-wrapped", _moved(lambda p: p % 8192), "positions begin again after the table", "beyond a table of 8192: begun again", F32, NEW),
    ("dynamic-always", only(_task(scaling="ntk"), scaling="dynamic"), "the base scaled at all lengths", "the base scaled at all lengths", F32, "vllm-project/vllm#5093"),
    ("dynamic-constant", only(_task(scaling="ntk", s=lambda t: t.s * t.s - (t.s - 1)), scaling="dynamic"), "a constant base", "a constant base", F32, "vllm-project/vllm#41301"),
    ("dynamic-array", by_array, "the length of the array", "by the number of tokens in the array", F32, "huggingface/transformers#27226"),
    ("dynamic-kept", _kept_dynamic(), "frequencies of the longest call", "an earlier, longer call", F32, "huggingface/transformers#46624"),
    ("llama3-ignored", only(_task(scaling=None), scaling="llama3"), "bands parsed, never scaled", "the scaling ignored", F32, "lablup/mlxcel#1355"),
    ("llama3-exchanged", only(Steps(kept=lambda t, theta: 1 - kept(t, theta)), scaling="llama3"), "bands exchanged", "bands exchanged", F32, "unslothai/unsloth#6197"),
    ("llama3-hard", only(Steps(kept=_hard), scaling="llama3"), "no blend between the bands", "no blend between its bands", F32, "ggml-org/llama.cpp#8676"),
    ("llama3-linear", only(_task(scaling="linear"), scaling="llama3"), "every band divided", "taken for linear", F32, "jmaczan/tiny-vllm#1"),
    ("yarn-inverted", only(Steps(kept=lambda t, theta: 1 - kept(t, theta)), scaling="yarn"), "the ramp inverted", "yarn with its ramp inverted", F32, NEW),
    ("yarn-ends", _task(truncate=lambda t: not t.truncate), "ends rounded where they should not be", "ends of its ramp", F32, NEW),
    ("scaling-ignored", _task(scaling=None), "no scaling at all", "the scaling ignored", F32, "vllm-project/vllm#29111"),
    ("linear-ignored", only(_task(scaling=None), scaling="linear"), "the factor of one kind of layer not applied", "the scaling ignored", F32, "antonellof/ferrox#39"),
    ("linear-inverted", only(Steps(theta=lambda t, theta: theta * t.work(t.s * t.s)), scaling="linear"), "multiplied by the factor", "multiplied by the factor", F32, NEW),
    ("linear-twice", only(Steps(theta=lambda t, theta: theta / t.work(t.s)), scaling="linear"), "the factor applied twice", "factor applied twice", F32, "lablup/mlxcel#1340"),
    ("ntk-divided", Steps(raised=lambda t: t.base, theta=lambda t, theta: theta / t.work(t.s ** (t.r / (t.r - 2))) if t.scaling == "ntk" else theta), "frequencies divided, the base not raised", "the base not raised", F32, NEW),
    ("ntk-exponent", only(Steps(raised=lambda t: t.base * t.s), scaling="ntk"), "the base times the factor", "without the exponent", F32, NEW),
    ("partial-ignored", _task(r=lambda t: t.x.shape[3] // 2 * 2), "every column rotated", "every column rotated", F32, "ml-explore/mlx-lm#1698"),
    ("partial-exponent", Steps(exponent=lambda t: np.arange(0, t.r, 2).astype(t.work) / t.work(t.x.shape[3])), "the exponent over the whole dim", "exponent over the whole dim", F32, "huggingface/transformers#48652"),
    ("partial-last", kernel(Steps(), _last_columns), "the last columns rotated", "the last columns rotated", F32, NEW),
    ("kept-by-length", _kept_under(lambda t: (t.x.shape[2], t.base, t.r, t.scaling, t.layout)), "a cache keyed by the length, not the offset", None, F32, "lucidrains/rotary-embedding-torch#11"),
    ("kept-without-base", _kept_under(lambda t: (t.positions.tobytes(), t.r, t.scaling, t.s)), "a cache keyed without the base", None, F32, "equinox, docs/findings.md"),
    ("positions-ignored", _moved(lambda p: np.arange(p.shape[1])), "rows 0 … n − 1 of the table", "positions ignored", F32, "pytorch/executorch#2010"),
    ("positions-twice", _moved(lambda p: p + p[:, :1]), "the offset added twice", "offset added twice", F32, "OpenNMT/CTranslate2#1572"),
    ("positions-plus-one", _moved(lambda p: p + 1), "off by one", "off by one: one too large", F32, "skyzh/tiny-llm#46"),
    ("positions-of-parts", _moved(lambda p: p % 4), "positions that begin again where a text is cut into parts", "beyond a table of 4: begun again", F32, "NVIDIA/Megatron-LM#5243"),
    ("positions-start", _moved(lambda p: p[:, :1] + np.arange(p.shape[1])), "consecutive positions assumed", "the first one and those after it", F32, NEW),
    ("positions-batch", _moved(lambda p: p[:1]), "the positions of batch 0", "positions of the first batch", F32, "Comfy-Org/ComfyUI#15698"),
    ("positions-sorted", _moved(lambda p: np.sort(p, axis=1)), "positions sorted", "positions sorted", F32, NEW),
    ("positions-absolute", _moved(np.abs), "signs lost", "the sign of positions lost", F32, NEW),
    ("query-cursor", only(_moved(lambda p: np.arange(p.shape[1])), role=0), "queries at the padded cursor", "the query is rotated by 0", F32, "scouzi1966/maclocal-api#92"),
    ("odd-length", _whole_tokens(2), "an odd length loses its last token", "whole tiles of 2", F32, "NVIDIA/TransformerEngine#1930"),
    ("tokens-64", _whole_tokens(64), "tokens beyond whole tiles", "whole tiles of 64", F32, NEW),
    ("idle-threads", _first_pairs(lambda t: t.r // 2 // 8 * 8 or t.r // 2), "pairs beyond a multiple of 8 left out", "multiple of 8", F32, "ggml-org/llama.cpp#2760"),
    ("last-pair", _first_pairs(lambda t: t.r // 2 - 1), "the last pair left out", "last pair", F32, NEW),
    ("inverted", Steps(power=lambda t, b, e: t.work(b) ** e), "frequencies inverted", "frequencies inverted", F32, "xlite-dev/LeetCUDA#289"),
    ("integer-exponent", Steps(exponent=lambda t: np.zeros(t.r // 2, t.work)), "the exponent divided in integers", "divided in integers", F32, "xlite-dev/LeetCUDA#290"),
    ("exponent-shifted", Steps(exponent=lambda t: exponent(t) + t.work(2 / t.r)), "the exponent shifted by one", "exponent shifted by one", F32, "stanford-cs336/assignment1-basics#22"),
    ("exponent-half", Steps(exponent=lambda t: exponent(t) / 2), "d for d/2 in the exponent", "l/r instead of 2l/r", F32, "labmlai/annotated_deep_learning_paper_implementations#313"),
    ("exponent-ends", Steps(exponent=lambda t: np.linspace(0, 1, t.r // 2).astype(t.work)), "exponents from 0 to 1 inclusive", "from 0 to 1", F32, NEW),
    ("base-ignored", _task(base=10000.0), "the base never passed", "10000 used whatever is given", F32, "google/gemma.cpp#986"),
    ("sign", BACKWARDS, "rotation by −θ, not declared", "wrong sign", F32, "karpathy/nanochat#489"),
    ("sign-lost", Steps(turn=lambda t, a, b, c, s: (a * c + b * s, b * c + a * s)), "the minus lost", "the minus of the first member", F32, NEW),
    ("exchanged", Steps(turn=lambda t, a, b, c, s: (a * s - b * c, b * s + a * c)), "cosine and sine exchanged", "cosine and sine exchanged", F32, NEW),
    ("key-plain", only(Steps(tables=lambda t, a, m: (np.ones_like(a) * t.work(m), 0 * a)), role=1), "the key not rotated", "the key is not rotated", F32, NEW),
    ("key-sign", only(_moved(np.negative), role=1), "the key turned back", "the key is rotated with the wrong sign", F32, NEW),
    ("twice", kernel(Steps(), lambda t, s: rotated(replace(t, x=rotated(t, s)), replace(s, magnitude=lambda t: 1.0))), "rotated twice", "rotated twice", F32, NEW),
    ("by-heads", Steps(angles=_by_heads), "positions along the axis of heads", "along the axis of heads", F32, NEW),
    ("in-place", kernel(Steps(), after=_in_place), "the input overwritten", None, F32, "jzhang38/TinyLlama#188"),
    ("shared-workspace", _shared_workspace(), "a workspace that threads share", None, F32, "assay's bank"),
)  # fmt: skip

BUGGY: tuple[Entry, ...] = tuple(
    Entry(name, kernel(bug) if isinstance(bug, Steps) else bug, precisions, why, source, diagnosis=words)
    for name, bug, why, words, precisions, source in _TABLE_ROWS
)
