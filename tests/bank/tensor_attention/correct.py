"""Correct kernels of unusual structure: the judge must pass every one, in every class that it names."""

from __future__ import annotations

import importlib.util
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from bank.entry import Entry
from bank.tensor_attention.engine import Array, Steps, Task, attended, blocks, combined, kernel, online, passed, places

__all__ = ["CORRECT"]

WIDE = ("float32", "float64")
FUSED = ("float32", "bfloat16", "float16", "float64")
EAGER = ("bfloat16-eager", "float16-eager")
SIMPLICIAL = ("bfloat16-simplicial", "float16-simplicial")
LOG2E = 1 / math.log(2.0)


# --- scores -----------------------------------------------------------------------------------------------------------


def _query_first(t: Task, q: Array, keys: list[Array], s: Steps) -> Array:
    """Scores as products of q∘k¹ with the other keys, in the way of the published kernels, without their roundings."""
    first, *others = keys
    pairs = t.rounded(q[:, :, :, None, :] * first[:, :, None, :, :])
    shape = pairs.shape
    flat = pairs.reshape(*shape[:2], -1, shape[-1])
    made = flat @ np.swapaxes(combined(others, lambda a, b: t.rounded(a * b)), 2, 3) if others else flat.sum(axis=3)
    return made.reshape(*q.shape[:3], -1) * t.work(t.scale)


def _simplicial(t: Task, q: Array, keys: list[Array], s: Steps) -> Array:
    """Three roundings: of q∘k¹, of the scale, and of their product."""
    first, second = keys
    pairs = t.rounded(q[:, :, :, None, :] * first[:, :, None, :, :])
    scaled = t.rounded(pairs * t.rounded(np.asarray(t.scale, t.work)))
    made = np.einsum("bhijd,bhkd->bhijk", scaled, second)
    return made.reshape(*q.shape[:3], -1)


def _eager(t: Task, q: Array, keys: list[Array], s: Steps) -> Array:
    """Every operation is stored in the type of the inputs."""
    pairs = combined(keys, lambda a, b: t.rounded(a * b))
    return t.rounded(t.rounded(q @ np.swapaxes(pairs, 2, 3)) * t.work(t.scale))


def _eagerly_attended(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    hidden = np.where(seen, score, -np.inf)
    top = hidden.max(axis=3, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(t.work)
    weight = np.exp(hidden - top)
    total = weight.sum(axis=3, keepdims=True)
    share = t.rounded(weight / np.where(total > 0, total, 1))
    with np.errstate(divide="ignore"):
        return t.rounded(share @ value), (top + np.log(total))[..., 0]


def _scale_into_query(t: Task) -> Task:
    if t.kind.itemsize < 4:
        return t
    return replace(t, query=(t.query * t.work(t.scale)).astype(t.kind), scale=1.0)


def _base_two(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    """Powers of 2 of scores that are multiplied by log₂ e, as GPUs have them."""
    hidden = np.where(seen, score * t.work(LOG2E), -np.inf)
    top = hidden.max(axis=3, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(t.work)
    weight = np.exp2(hidden - top)
    total = weight.sum(axis=3, keepdims=True)
    output = t.rounded(weight) @ value / np.where(total > 0, total, t.work(1))
    with np.errstate(divide="ignore"):
        return output, ((top + np.log2(total)) / t.work(LOG2E))[..., 0]


def _in_double(t: Task, s: Steps) -> tuple[Array, Array]:
    wide = np.dtype(np.float64)
    arrays = {"query": t.query.astype(wide), "kind": wide}
    keys, values = (tuple(x.astype(wide) for x in modes) for modes in (t.keys, t.values))
    return passed(replace(t, keys=keys, values=values, **arrays), s)


# --- orders of the combinations ---------------------------------------------------------------------------------------


def _exchanged(t: Task) -> Task:
    """The modes in the reverse order with their values and windows: legal, as long as everything moves together."""
    return replace(t, keys=t.keys[::-1], values=t.values[::-1], window=t.window[::-1])


def _other_unfolding(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    """The other unfolding of the combinations for scores, mask and values alike: the order belongs to the unfolding."""
    turn = np.arange(score.shape[3]).reshape(t.lengths).T.ravel()
    return attended(t, score[..., turn], seen[:, turn], value[:, :, turn])


def _shuffled(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    turn = np.random.default_rng(3).permutation(score.shape[3])
    return attended(t, score[..., turn], seen[:, turn], value[:, :, turn])


def _split(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    """Two halves of the first mode, merged by their log-sum-exps."""
    early = places(t, 0) < (t.lengths[0] + 1) // 2
    parts = [attended(t, score, seen & kept, value) for kept in (early, ~early)]
    total = np.logaddexp(parts[0][1], parts[1][1])
    some = np.where(np.isfinite(total), total, 0)
    shares = [np.where(np.isfinite(lse), np.exp(np.where(np.isfinite(lse), lse, 0) - some), 0) for _, lse in parts]
    output = sum(share[..., None] * out for share, (out, _) in zip(shares, parts, strict=True))
    return output.astype(t.work), total.astype(t.work)


def _waiting(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    """Hidden scores are less by 1e38, and wait for the first one that is seen, as in the published kernels."""
    low = np.where(seen, score, score + t.work(-1e38))
    top = low.max(axis=3, keepdims=True)
    weight = np.exp(low - top)
    total = weight.sum(axis=3, keepdims=True)
    some = seen.any(axis=1)[:, None]
    output = np.where(some, t.rounded(weight) @ value / total, 0)
    return output.astype(t.work), np.where(some[:, 0], (top + np.log(total))[..., 0], -np.inf).astype(t.work)


# --- loops ------------------------------------------------------------------------------------------------------------


def _by_rows(t: Task, s: Steps) -> tuple[Array, Array]:
    """One query after the other, with the keys that it sees alone."""
    out, lse = [], []
    for i in range(t.query.shape[2]):
        kept = []
        for mode, n in enumerate(t.lengths):
            j = np.arange(n)
            kept.append(np.flatnonzero(s.within(t, mode, np.asarray([i]), j)))
        if not all(len(j) for j in kept):
            out.append(np.zeros((*t.query.shape[:2], 1, t.values[0].shape[3]), t.work))
            lse.append(np.full((*t.query.shape[:2], 1), -np.inf, t.work))
            continue
        keys, values = ([x[:, :, j] for x, j in zip(modes, kept, strict=True)] for modes in (t.keys, t.values))
        one = replace(
            t, query=t.query[:, :, i : i + 1], keys=tuple(keys), values=tuple(values), is_causal=False,
            window=(None,) * t.modes,
        )  # fmt: skip
        made = passed(one, s)
        out.append(made[0])
        lse.append(made[1])
    return np.concatenate(out, axis=2), np.concatenate(lse, axis=2)


def _by_heads(t: Task, s: Steps) -> tuple[Array, Array]:
    """Every head in a thread of its own."""

    def one(h: int) -> tuple[Array, Array]:
        own = slice(h // t.group, h // t.group + 1)
        keys, values = (tuple(x[:, own] for x in modes) for modes in (t.keys, t.values))
        return passed(replace(t, query=t.query[:, h : h + 1], keys=keys, values=values), s)

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(one, range(t.query.shape[1])))
    return tuple(np.concatenate(x, axis=1) for x in zip(*made, strict=True))  # type: ignore[return-value]


def _nan_when_empty(t: Task, output: Array, lse: Array) -> tuple[Array, Array]:
    return np.where(np.isneginf(lse)[..., None], np.nan, output), lse


def _torch_einsum(
    query: Array, key1: Array, key2: Array, value1: Array, value2: Array, *, scale: float, is_causal: bool = False
) -> Any:
    """Three-operand einsums of PyTorch, and a softmax over the flattened pairs."""
    import torch

    group = query.shape[1] // key1.shape[1]
    q, *modes = (torch.from_numpy(np.ascontiguousarray(x)) for x in (query, key1, key2, value1, value2))
    k1, k2, v1, v2 = (x.repeat_interleave(group, dim=1) for x in modes)
    score = scale * torch.einsum("bhid,bhjd,bhkd->bhijk", q, k1, k2)
    if is_causal:
        i = torch.arange(q.shape[2])[:, None]
        first, second = (torch.arange(k.shape[2])[None] <= i for k in (k1, k2))
        score = score.masked_fill(~(first[:, :, None] & second[:, None, :]), -torch.inf)
    weight = score.flatten(3).softmax(dim=3).reshape(score.shape)
    return torch.einsum("bhijk,bhjd,bhkd->bhid", weight, v1, v2).numpy()


def _tiles(mode: int, tile: int) -> Steps:
    return Steps(attend=online(lambda t: blocks(t, min(mode, t.modes - 1), tile)))


#: Every correct kernel.
CORRECT: tuple[Entry, ...] = (
    Entry("plain", kernel(), FUSED, "all combinations at once"),
    Entry("plain-2", kernel(order=2), FUSED, "order 2: attention"),
    Entry("plain-4", kernel(order=4), FUSED, "order 4"),
    Entry("plain-5", kernel(order=5), ("float32", "float64"), "order 5"),
    Entry("loop-over-mode-1", kernel(_tiles(0, 1)), FUSED, "an online softmax, one key of mode 1 after the other"),
    Entry("tiles-of-mode-2", kernel(_tiles(1, 4)), FUSED, "an online softmax over tiles of mode 2 in a loop over mode 1"),
    Entry("tiles-of-mode-1", kernel(_tiles(0, 8)), FUSED, "an online softmax over tiles of mode 1"),
    Entry("online-4", kernel(_tiles(2, 3), order=4), FUSED, "an online softmax over tiles of the last of three modes"),
    Entry("query-first", kernel(Steps(scores=_query_first)), FUSED, "q∘k¹ is formed first, then the products with k²"),
    Entry("simplicial", kernel(Steps(scores=_simplicial)), SIMPLICIAL, "the three roundings of the published 2-simplicial kernels", "arXiv:2507.02754"),
    Entry("simplicial-online", kernel(Steps(scores=_simplicial, attend=online(lambda t: blocks(t, 1, 32)))), SIMPLICIAL, "the same with an online softmax"),
    Entry("eager", kernel(Steps(scores=_eager, attend=_eagerly_attended)), EAGER, "every operation stored in the type"),
    Entry("scaled-queries", kernel(Steps(task=_scale_into_query)), WIDE, "the scale is multiplied into the queries"),
    Entry("base-two", kernel(Steps(attend=_base_two)), FUSED, "powers of 2"),
    Entry("in-double", kernel(run=_in_double), ("float32", "bfloat16", "float16"), "everything in float64, rounded once"),
    Entry("modes-exchanged", kernel(Steps(task=_exchanged)), FUSED, "modes in the reverse order, together with values and windows", "pytorch/FBGEMM#4930"),
    Entry("other-unfolding", kernel(Steps(attend=_other_unfolding)), FUSED, "trap: another unfolding, consistently", "tensorly/tensorly#210"),
    Entry("shuffled", kernel(Steps(attend=_shuffled)), FUSED, "combinations in any order"),
    Entry("split", kernel(Steps(attend=_split)), WIDE, "two halves of a mode, merged by their log-sum-exps"),
    Entry("waiting", kernel(Steps(attend=_waiting)), FUSED, "hidden scores are −1e38 and wait for a real one", "arXiv:2507.02754"),
    Entry("by-rows", kernel(run=_by_rows), FUSED, "gathers what a query sees: linear in the length under windows"),
    Entry("by-heads", kernel(run=_by_heads), FUSED, "a thread a head"),
    Entry("empty-nan", kernel(Steps(after=_nan_when_empty)), FUSED, "trap: NaN for an empty row, which it declares", "aqlaboratory/openfold-3#271", options={"empty_row": "nan"}),
    *((Entry("torch-einsum", _torch_einsum, WIDE, "PyTorch's einsum"),) if importlib.util.find_spec("torch") else ()),
)  # fmt: skip
