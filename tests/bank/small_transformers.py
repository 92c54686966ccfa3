"""Simulations and merges, right and wrong, for the judge of both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = [
    "alike", "binary", "corrected", "dropping", "large", "merged", "overwriting", "simulated", "sinks_forgotten",
    "sinks_repeated", "taken_for_natural", "wide",
]  # fmt: skip


# --- simulations ------------------------------------------------------------------------------------------------------


def simulated(
    query: Array,
    key: Array,
    value: Array,
    *,
    oracle: Callable[..., Array],
    size: int,
    scale: float,
    is_causal: bool = False,
    window: int | None = None,
    sinks: int = 0,
    mask: Array | None = None,
    return_lse: bool = False,
) -> Any:
    """Two columns and a calibrator at the mean score; parts are put together as they come."""
    group = query.shape[1] // key.shape[1]
    key, value = np.repeat(key, group, axis=1), np.repeat(value, group, axis=1)
    b, h, n = query.shape[:3]
    seen = np.broadcast_to(visible(n, key.shape[2], is_causal, window, sinks), (b, h, n, key.shape[2]))
    seen = seen if mask is None else seen & mask
    output, logs = np.zeros((b, h, n, value.shape[3])), np.full((b, h, n), -np.inf)
    for q in range(0, n, size):
        rows = slice(q, q + size)
        for k in range(0, key.shape[2], size - 1):
            part = slice(k, k + size - 1)
            if not seen[:, :, rows, part].any():
                continue
            log, mean = _call(
                oracle, query[:, :, rows], key[:, :, part], value[:, :, part], seen[:, :, rows, part], scale
            )
            together = np.logaddexp(logs[:, :, rows], log)
            shift = np.where(np.isfinite(together), together, 0.0)
            before, now = (np.exp(x - shift)[..., None] for x in (logs[:, :, rows], log))
            output[:, :, rows] = before * output[:, :, rows] + now * mean
            logs[:, :, rows] = together
    made = output.astype(query.dtype)
    return (made, logs) if return_lse else made


def visible(n_q: int, n_k: int, is_causal: bool, window: int | None, sinks: int) -> Array:
    i, j = np.arange(n_q)[:, None], np.arange(n_k)
    seen = j <= i if is_causal else np.ones((n_q, n_k), dtype=bool)
    return seen if window is None else seen & ((j > i - window) | (j < sinks))


def _call(oracle: Any, query: Array, key: Array, value: Array, seen: Array, scale: float) -> tuple[Array, Array]:
    """The log-sum-exp and the mean of the values of one part."""
    count = key.shape[2]
    mean = (scale * (query.astype(float) @ np.swapaxes(key.astype(float), 2, 3))).mean(axis=3) + math.log(count)
    x = (mean / scale).astype(query.dtype)
    one = np.zeros((*key.shape[:2], count + 1, 1), key.dtype)
    one[:, :, -1] = 1
    out = oracle(
        np.concatenate([query, x[..., None]], axis=3),
        np.concatenate([np.concatenate([key, 0 * key[:, :, :1]], axis=2), one], axis=3),
        np.concatenate([np.concatenate([value, 0 * value[:, :, :1]], axis=2), 1 - one, one], axis=3),
        scale=scale,
        mask=np.concatenate([seen, np.ones_like(seen[..., :1])], axis=3),
    ).astype(np.float64)
    p, p_0 = out[..., -2], out[..., -1]
    some = p > 0
    safe = np.where(some, p, 1.0)
    return np.where(some, scale * x.astype(float) + np.log(safe / p_0), -np.inf), out[..., :-2] / safe[..., None]


def dropping(query: Array, key: Array, value: Array, *, oracle: Any, size: int, scale: float) -> Any:
    """Wrong: the keys after the last whole block are dropped."""
    whole = max(size - 1, key.shape[2] // (size - 1) * (size - 1))
    return simulated(query, key[:, :, :whole], value[:, :, :whole], oracle=oracle, size=size, scale=scale)


def wide(
    query: Array, key: Array, value: Array, *, oracle: Any, size: int, scale: float, is_causal: bool = False,
    window: int | None = None, sinks: int = 0,
) -> Any:  # fmt: skip
    """Wrong: the window is one key too wide."""
    more = None if window is None else window + 1
    return simulated(
        query, key, value, oracle=oracle, size=size, scale=scale, is_causal=is_causal, window=more, sinks=sinks
    )


def sinks_forgotten(
    query: Array, key: Array, value: Array, *, oracle: Any, size: int, scale: float, is_causal: bool = False,
    window: int | None = None, sinks: int = 0,
) -> Any:  # fmt: skip
    """Wrong: on the route with a window the sinks are ignored."""
    return simulated(query, key, value, oracle=oracle, size=size, scale=scale, is_causal=is_causal, window=window)


def large(query: Array, key: Array, value: Array, *, oracle: Any, size: int, scale: float) -> Any:
    """Wrong: the oracle gets everything at once."""
    return oracle(query, np.repeat(key, query.shape[1] // key.shape[1], 1), value, scale=scale)


# --- merges -----------------------------------------------------------------------------------------------------------


def merged(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
    """All parts at once, in float32, or in float64 for float64."""
    work = np.float64 if outputs.dtype.itemsize == 8 else np.float32
    parts, logs = outputs.astype(work), log_sum_exps.astype(work)
    if sink is not None:
        logs = np.concatenate([logs, np.broadcast_to(sink.astype(work)[:, None], (1, *logs.shape[1:]))])
        parts = np.concatenate([parts, np.zeros_like(parts[:1])])
    most = logs.max(axis=0)
    most = np.where(np.isfinite(most), most, work(0))
    weight = np.exp(logs - most)
    total = weight.sum(axis=0)
    safe = np.where(total > 0, total, work(1))
    made = ((weight[..., None] * parts).sum(axis=0) / safe[..., None]).astype(outputs.dtype)
    return (made, np.where(total > 0, most + np.log(safe), work(-np.inf))) if return_lse else made


def corrected(outputs: Array, log_sum_exps: Array) -> Any:
    """One by one, as out − σ(l_t − lse)(out − o_t)."""
    work = np.float64 if outputs.dtype.itemsize == 8 else np.float32
    out, lse = outputs[0].astype(work), log_sum_exps[0].astype(work)
    out = np.where(np.isfinite(lse)[..., None], out, work(0))
    for part, log in zip(outputs[1:].astype(work), log_sum_exps[1:].astype(work), strict=True):
        with np.errstate(invalid="ignore", over="ignore"):
            share = np.where(np.isfinite(log), 1 / (1 + np.exp(lse - log)), 0).astype(work)
        out = out - share[..., None] * (out - part)
        lse = np.logaddexp(lse, log)
    return out.astype(outputs.dtype)


def binary(outputs: Array, log_sum_exps: Array, *, return_lse: bool = False) -> Any:
    """With logarithms of base 2, as FlashInfer has them."""
    made, logs = merged(outputs, log_sum_exps * log_sum_exps.dtype.type(math.log(2.0)), return_lse=True)
    return (made, logs * logs.dtype.type(math.log2(math.e))) if return_lse else made


def taken_for_natural(outputs: Array, log_sum_exps: Array) -> Any:
    """Wrong: e^(l_t) with logarithms of base 2."""
    return merged(outputs, log_sum_exps * log_sum_exps.dtype.type(math.log2(math.e)))


def alike(outputs: Array, log_sum_exps: Array) -> Any:
    """Wrong: the mean of the parts."""
    return outputs.astype(np.float32).mean(axis=0).astype(outputs.dtype)


def overwriting(outputs: Array, log_sum_exps: Array) -> Any:
    """Wrong: the last part is all that is left."""
    return outputs[-1].copy()


def sinks_repeated(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None) -> Any:
    """Wrong: the sink is counted once a part."""
    more = None if sink is None else (sink + np.log(len(outputs))).astype(sink.dtype)
    return merged(outputs, log_sum_exps, sink=more)
