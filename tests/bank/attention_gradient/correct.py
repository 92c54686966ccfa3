"""Correct backward passes of unusual structure: the judge must pass every one, in every class that it names.

All keep to the model of proofs_notes/attention_gradient.md, BWD-0: one log-sum-exp for all probabilities of a row, one
origin of δ for all rows.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from bank.attention_gradient.engine import Array, Parts, Steps, Task, gathered, kernel, only_arrays, passed, summed
from bank.attention_gradient.forward import Steps as Forward
from bank.attention_gradient.forward import forward, torch_kernel
from bank.entry import Entry

__all__ = ["CORRECT"]

FLOAT32 = ("float32", "float64")
FLASH = ("float32", "float64", "bfloat16", "float16")
EAGER = ("bfloat16-eager", "float16-eager")
LOG2E = 1.4426950408889634


def _of_products(t: Task, g: Array, p: Array, grad: Array, out: Array) -> Array:
    return (p * g).sum(axis=3, keepdims=True)


def _chunks(n: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


def _tiled(product: Callable[[Array, Array], Array], a: Array, b: Array, size: int, backwards: bool = False) -> Array:
    """a @ b with the inner axis in tiles, added one after the other."""
    total = None
    parts = _chunks(a.shape[-1], size)
    for part in reversed(parts) if backwards else parts:
        one = product(a[..., part], b[..., part, :])
        total = one if total is None else total + one
    assert total is not None
    return total


def _tiles(size: int, backwards: bool = False) -> dict[str, Any]:
    def add(a: Array, b: Array) -> Array:
        return _tiled(np.matmul, a, b, size, backwards)

    return {
        "query": lambda t, before, k: add(before, k) * t.work(t.scale),
        "key": lambda t, before, q: add(np.swapaxes(before, 2, 3), q) * t.work(t.scale),
        "value": lambda t, p, grad: add(np.swapaxes(p, 2, 3), grad),
    }


def _shuffled(t: Task, a: Array, b: Array) -> Array:
    """The inner axis in another order, added one by one in the type of the work, as atomic additions are."""
    order = np.random.default_rng(a.shape[-1]).permutation(a.shape[-1])
    total = np.zeros((*a.shape[:-1], b.shape[-1]), a.dtype)
    for j in order:
        total = total + a[..., j : j + 1] * b[..., j : j + 1, :]
    return total


def _exp2(t: Task, s: Array, seen: Array, lse: Array) -> Array:
    work = t.work
    argument = np.where(seen, s * work(LOG2E) - lse[..., None] * work(LOG2E), -1)
    return np.where(seen, np.exp2(argument), 0).astype(s.dtype)


def _folded(t: Task, q: Array, k: Array) -> Array:
    folded = q * t.work(t.scale * LOG2E)
    return (folded @ np.swapaxes(k, 2, 3)) / t.work(LOG2E)


def _rooted(t: Task, q: Array, k: Array) -> Array:
    root = t.work(np.sqrt(abs(t.scale)))
    return (q * root) @ np.swapaxes(k * (root if t.scale >= 0 else -root), 2, 3)


def _wide_scores(t: Task, q: Array, k: Array) -> Array:
    made = q.astype(np.float64) @ np.swapaxes(k.astype(np.float64), 2, 3) * t.scale
    return made.astype(t.work)


def _one_by_one(t: Task, q: Array, k: Array) -> Array:
    total = np.zeros((*q.shape[:3], k.shape[2]), q.dtype)
    for c in reversed(range(q.shape[3])):
        total = total + q[..., c : c + 1] * np.swapaxes(k[..., c : c + 1], 2, 3)
    return total * t.work(t.scale)


def _stored_groups(t: Task, x: Array) -> Array:
    """Heads are rounded to the type of the output before they are added."""
    return gathered(t, x.astype(t.query.dtype).astype(t.work))


def _stored_batches(t: Task, parts: Parts) -> Array:
    """The gradient of a bias, of which every batch is stored before batches are added."""
    assert t.bias is not None
    wide = (1,) * (4 - t.bias.ndim) + t.bias.shape
    batches = [summed(x[None], (1, *wide[1:])).astype(t.bias.dtype).astype(t.work) for x in parts.gradient]
    return (sum(batches) if wide[0] == 1 else np.concatenate(batches)).reshape(t.bias.shape)


def _heads_in_threads(t: Task, steps: Steps) -> list[Array]:
    """Every key head with its group in a thread of its own."""
    if t.bias is not None or t.sink is not None or t.mask is not None:
        return passed(t, steps)

    def one(j: int) -> list[Array]:
        heads = slice(j * t.group, (j + 1) * t.group)
        arrays = {n: getattr(t, n)[:, heads] for n in ("query", "output", "log_sum_exp", "grad_output")}
        if t.grad_log_sum_exp is not None:
            arrays["grad_log_sum_exp"] = t.grad_log_sum_exp[:, heads]
        return passed(replace(t, key=t.key[:, j : j + 1], value=t.value[:, j : j + 1], **arrays), steps)

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(one, range(t.key.shape[1])))
    return [np.concatenate(parts, axis=1) for parts in zip(*made, strict=True)]


def _from_delta(t: Task, p: Array, g: Array, delta: Array) -> Array:
    """p·(−δ + Σ_c dO_c v_c), summed from left to right."""
    total = np.broadcast_to(-delta, p.shape).astype(t.work)
    grad, v = t.wide(t.grad_output), t.wide(t.value)[:, t.own()]
    for c in range(grad.shape[3]):
        total = total + grad[..., c : c + 1] * np.swapaxes(v[..., c : c + 1], 2, 3)
    return p * total


def _scaled_difference(t: Task, steps: Steps) -> list[Array]:
    """The scale is in the dS that is rounded, and in neither product."""

    def short(t: Task, x: Array) -> Array:
        return t.rounded(x)

    def query(t: Task, before: Array, k: Array) -> Array:
        return before @ k

    def key(t: Task, before: Array, q: Array) -> Array:
        return np.swapaxes(before, 2, 3) @ q

    def capped(t: Task, s: Array) -> tuple[Array, Array]:
        score, slope = steps.capped(t, s)
        return score, slope * t.work(t.scale)

    return passed(t, replace(steps, short=short, query=query, key=key, capped=capped))


def _eager(t: Task, steps: Steps) -> list[Array]:
    """Every operation stores its result in the type of the arrays, as a framework does that calls one after another."""
    work, short = t.work, t.query.dtype

    def stored(x: Array) -> Array:
        return x.astype(short).astype(work)

    with np.errstate(all="ignore"):
        own = t.own()
        q, k, v = t.wide(t.query), t.wide(t.key)[:, own], t.wide(t.value)[:, own]
        grad = t.wide(t.grad_output)
        s = stored(stored(q @ np.swapaxes(k, 2, 3)) * work(t.scale))
        slope = None
        if t.softcap is not None:
            share = stored(np.tanh(stored(s / work(t.softcap))))
            slope = stored(1 - stored(share * share))
            s = stored(share * work(t.softcap))
        if t.bias is not None:
            b = np.broadcast_to(t.bias, t.shape).astype(work)
            s = stored(s + np.where(np.isfinite(b), b, 0))
        seen = t.visible()
        s = np.where(seen, s, -np.inf)
        column = None if t.sink is None else np.broadcast_to(t.wide(t.sink)[None, :, None, None], (*s.shape[:3], 1))
        joined = s if column is None else np.concatenate([s, column], axis=3)
        m = joined.max(axis=3, keepdims=True)
        m = np.where(np.isfinite(m), m, 0)
        w = np.exp(joined - m)
        total = w.sum(axis=3, keepdims=True)
        every = stored(w / np.where(total > 0, total, 1))
        p = every[..., : t.key.shape[2]]
        g = stored(grad @ np.swapaxes(v, 2, 3))
        delta = stored((p * g).sum(axis=3, keepdims=True))
        if t.grad_log_sum_exp is not None:
            some = seen.any(axis=3) | (t.sink is not None)
            delta = stored(delta - np.where(some, t.grad_log_sum_exp, 0).astype(work)[..., None])
        gradient = stored(p * stored(g - delta))
        before = gradient if slope is None else stored(gradient * slope)
        made = [
            stored(stored(before @ k) * work(t.scale)),
            gathered(t, stored(stored(np.swapaxes(before, 2, 3) @ q) * work(t.scale))),
            gathered(t, stored(np.swapaxes(p, 2, 3) @ grad)),
        ]
        if t.bias is not None:
            made.append(summed(gradient, t.bias.shape).astype(t.bias.dtype))
        if t.sink is not None:
            made.append(-stored(every[..., -1:] * delta).sum(axis=(0, 2, 3)).astype(t.sink.dtype))
        return [x.astype(short) for x in made[:3]] + made[3:]


def _textbook() -> Any:
    import torch

    def forward(
        query: Any,
        key: Any,
        value: Any,
        *,
        scale: float,
        is_causal: bool = False,
        softcap: float | None = None,
        return_lse: bool = False,
    ) -> Any:
        group = query.shape[1] // key.shape[1]
        k, v = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        s = query @ k.transpose(2, 3) * scale
        if softcap is not None:
            s = softcap * torch.tanh(s / softcap)
        if is_causal:
            s = s.masked_fill(torch.ones(s.shape[2:], dtype=torch.bool).triu(1), -torch.inf)
        lse = torch.logsumexp(s, 3)
        output = torch.exp(s - lse[..., None]) @ v
        return (output, lse) if return_lse else output

    return forward


def _checkpointed() -> Any:
    from torch.utils.checkpoint import checkpoint

    plain = _textbook()

    def forward(query: Any, key: Any, value: Any, *, scale: float, is_causal: bool = False) -> Any:
        return checkpoint(
            lambda q, k, v: plain(q, k, v, scale=scale, is_causal=is_causal), query, key, value, use_reentrant=False
        )

    return forward


def _through_the_maximum(s: Any) -> tuple[Any, Any]:
    """Numbers of which a row maximum is subtracted that is differentiated too."""
    top = s.amax(3, keepdim=True)
    weight = (s - top).exp()
    total = weight.sum(3, keepdim=True)
    return weight / total, (top + total.log())[..., 0]


def _log_softmax(s: Any) -> tuple[Any, Any]:
    return s.log_softmax(3).exp(), s.logsumexp(3)


def _own_log_sum_exp(s: Any) -> tuple[Any, Any]:
    """e^(s − lse) with a log-sum-exp whose derivative has exponentials of its own."""
    top = s.amax(3, keepdim=True).detach()
    lse = top + (s - top).exp().sum(3, keepdim=True).log()
    return (s - lse).exp(), lse[..., 0]


def _indexed(x: Any, group: int) -> Any:
    """Keys that are repeated by an index: their gradients are added in their own type."""
    import torch

    return x[:, torch.arange(x.shape[1] * group) // group]


def _rooted_forward(q: Any, k: Any, scale: float) -> Any:
    root = abs(scale) ** 0.5
    return (q * root) @ (k * (root if scale >= 0 else -root)).transpose(2, 3)


def _bent(s: Any, c: float) -> Any:
    """c·tanh(s/c) by a logistic function."""
    return c * (2 * (2 * s / c).sigmoid() - 1)


_RIGHT = Steps()


def _entries() -> list[Entry]:
    def entry(name: str, why: str, precisions: tuple[str, ...] = FLASH, each: Any = passed, **steps: Any) -> Entry:
        return Entry(name, kernel(Steps(**steps), each), precisions, why)

    return [
        entry("plain", "δ from the output that was handed over"),
        entry("products", "δ from the products p·dP", delta=_of_products),
        entry("recomputed", "ignores the output and the log-sum-exp that it is handed", recompute=True),
        entry("recomputed-products", "ignores them, and δ from products", recompute=True, delta=_of_products),
        entry("tiles-16", "sums in tiles of 16", **_tiles(16)),
        entry("tiles-5-backwards", "sums in tiles of 5, the last first", **_tiles(5, backwards=True)),
        entry(
            "atomic", "sums in any order, one term after the other",
            query=lambda t, before, k: _shuffled(t, before, k) * t.work(t.scale),
            key=lambda t, before, q: _shuffled(t, np.swapaxes(before, 2, 3), q) * t.work(t.scale),
            value=lambda t, p, grad: _shuffled(t, np.swapaxes(p, 2, 3), grad),
        ),
        entry("split-keys", "two parts of the keys, each with its own dQ", **_tiles(64)),
        entry("base-two", "probabilities as powers of two, of a scale with log₂ e folded in", probability=_exp2, scores=_folded),
        entry("root-scale", "the root of the scale on queries and on keys", scores=_rooted),
        entry("scale-in-difference", "the scale in dS, before it is rounded", each=_scaled_difference),
        entry("other-scores", "scores are rounded otherwise than those behind the log-sum-exp", scores=_wide_scores),
        entry("scores-one-by-one", "scores added column by column, the last first", scores=_one_by_one),
        entry("spread-difference", "dS is p·dP − p·δ", gradient=lambda t, p, g, delta: p * g - p * delta),
        entry("stored-groups", "query heads are rounded to the type of the output before they are added", gather=_stored_groups),
        entry("stored-batches", "parts of a bias's gradient are stored before they are added", bias=_stored_batches),
        entry("threads", "a thread for every key head", each=_heads_in_threads),
        entry("keys-first", "everything transposed: keys are rows",
              scores=lambda t, q, k: np.swapaxes((k @ np.swapaxes(q, 2, 3)) * t.work(t.scale), 2, 3),
              product=lambda t, grad, v: np.swapaxes(v @ np.swapaxes(grad, 2, 3), 2, 3)),
        entry("started-from-delta", "dP − δ is a sum that starts from −δ", gradient=_from_delta),
        entry("unrounded-scale", "the scale on queries before both products",
              scores=lambda t, q, k: (q * t.work(t.scale)) @ np.swapaxes(k, 2, 3),
              key=lambda t, before, q: np.swapaxes(before, 2, 3) @ (q * t.work(t.scale))),
        entry("eager", "every operation stores its result in the type of the arrays", EAGER, each=_eager),
        Entry("few-options", only_arrays(_RIGHT), FLASH, "no option but causality"),
    ]  # fmt: skip


def _differentiated() -> list[Entry]:
    """Kernels of PyTorch, where it is installed."""
    if importlib.util.find_spec("torch") is None:
        return []
    return [
        Entry(
            "torch-textbook",
            torch_kernel(_textbook(), ("scale", "is_causal", "softcap", "return_lse")),
            FLOAT32,
            "autograd differentiates the formula, with a log-sum-exp",
        ),
        Entry(
            "torch-checkpoint",
            torch_kernel(_checkpointed(), ("scale", "is_causal"), ("concurrent_calls",)),
            FLOAT32,
            "the forward pass runs again in the backward pass",
        ),
        Entry(
            "torch-through-the-maximum",
            forward(Forward(normalised=_through_the_maximum, scored=_rooted_forward)),
            FLOAT32,
            "autograd goes through the row maximum, and the root of the scale is on both sides",
        ),
        Entry(
            "torch-own-log-sum-exp",
            forward(Forward(normalised=_own_log_sum_exp, capped=_bent)),
            FLOAT32,
            "two exponentials of one score, and a softcap by a logistic function",
        ),
        Entry(
            "torch-indexed-groups",
            forward(Forward(heads=_indexed, wide=True)),
            ("bfloat16", "float16"),
            "the sum over the heads of a group is stored after every addition",
        ),
        Entry(
            "torch-log-softmax",
            forward(Forward(normalised=_log_softmax)),
            EAGER,
            "probabilities are the exponentials of stored logarithms",
        ),
    ]


#: Every correct kernel.
CORRECT: tuple[Entry, ...] = (*_entries(), *_differentiated())
