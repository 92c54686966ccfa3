"""Formulations of PyTorch: einsums, a dense product of all pairs, and gathered windows; and simplicial-attention's.

Source: https://github.com/lucidrains/simplicial-attention
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.targets import keywords_of
from assay.conformance.tensor_attention.interface import positional

__all__ = ["dense", "einsum", "formulation", "gathered", "library", "naive", "nth_order"]

_FUNCTIONS = ("einsum", "dense", "gathered")


def formulation(name: str, function: str) -> Kernel:
    import torch

    chosen = {"einsum": einsum, "dense": dense, "gathered": gathered}[function]
    lacks = {"gathered": frozenset({"without_window", "window_without_causal"})}
    keywords = keywords_of(chosen, "tensor_attention")
    return Kernel(name, chosen, "torch", keywords, lacks=lacks.get(function, frozenset()), version=torch.__version__)


def _spread(query: Any, *modes: Any) -> Any:
    """Keys and values for every query head."""
    group = query.shape[1] // modes[0].shape[1]
    return [x.repeat_interleave(group, dim=1) for x in modes]


def _hidden(query: Any, keys: tuple[Any, ...], is_causal: bool, window: Any) -> Any:
    """(n_q, n_1, n_2): which pairs a query does not attend to; ``None`` for none."""
    import torch

    if not is_causal and window is None:
        return None
    i, seen = torch.arange(query.shape[2])[:, None], []
    for key, width in zip(keys, window or (None, None), strict=True):
        j = torch.arange(key.shape[2])[None]
        kept = (j <= i) if is_causal else torch.ones(i.shape[0], j.shape[1], dtype=torch.bool)
        seen.append(kept if width is None else kept & (i - width < j) & (j < i + width))
    return ~(seen[0][:, :, None] & seen[1][:, None, :])


def _softmax(score: Any, hidden: Any, return_lse: bool) -> tuple[Any, Any]:
    """Weights of pairs, 0 in a row that attends to nothing, and the log-sum-exp."""
    import torch

    flat = score.flatten(3)
    if hidden is None:
        return flat.softmax(dim=3), flat.logsumexp(dim=3) if return_lse else None
    hidden = hidden.flatten(1)
    empty = hidden.all(dim=1)[:, None]
    flat = flat.masked_fill(hidden, -torch.inf)
    weight = flat.masked_fill(empty, 0.0).softmax(dim=3).masked_fill(hidden & empty, 0.0)
    return weight, flat.logsumexp(dim=3) if return_lse else None


def einsum(
    query: Any, key1: Any, key2: Any, value1: Any, value2: Any, *, scale: float, is_causal: bool = False,
    window: tuple[int | None, ...] | None = None, return_lse: bool = False,
) -> Any:  # fmt: skip
    """Two einsums of three and four operands."""
    import torch

    k1, k2, v1, v2 = _spread(query, key1, key2, value1, value2)
    score = torch.einsum("bhid,bhjd,bhkd->bhijk", query, k1, k2) * scale
    weight, lse = _softmax(score, _hidden(query, (key1, key2), is_causal, window), return_lse)
    out = torch.einsum("bhijk,bhjd,bhkd->bhid", weight.reshape(score.shape), v1, v2)
    return (out, lse) if return_lse else out


def dense(
    query: Any, key1: Any, key2: Any, value1: Any, value2: Any, *, scale: float, is_causal: bool = False,
    window: tuple[int | None, ...] | None = None, return_lse: bool = False,
) -> Any:  # fmt: skip
    """Two matrix products with the products of every pair of keys and of values."""
    k1, k2, v1, v2 = _spread(query, key1, key2, value1, value2)
    keys, values = ((a[:, :, :, None] * b[:, :, None]).flatten(2, 3) for a, b in ((k1, k2), (v1, v2)))
    score = (query @ keys.transpose(2, 3) * scale).unflatten(3, (k1.shape[2], k2.shape[2]))
    weight, lse = _softmax(score, _hidden(query, (key1, key2), is_causal, window), return_lse)
    out = weight @ values
    return (out, lse) if return_lse else out


def gathered(
    query: Any, key1: Any, key2: Any, value1: Any, value2: Any, *, scale: float, is_causal: bool = False,
    window: tuple[int | None, ...] | None = None,
) -> Any:  # fmt: skip
    """The keys and values of the windows that end at every query, gathered; asked under causal windows alone."""
    import torch

    if window is None or not is_causal:
        raise Declined("gathers causal windows alone")
    n_q = query.shape[2]
    places, hidden = [], []
    for key, width in zip((key1, key2), window, strict=True):
        n = key.shape[2]
        at = torch.arange(n_q)[:, None] - torch.arange(min(int(width or n_q), n_q))[None]
        places.append(at.clamp(0, n - 1))
        hidden.append((at < 0) | (at >= n))
    (k1, v1), (k2, v2) = (
        tuple(x[:, :, place] for x in _spread(query, key, value))
        for key, value, place in ((key1, value1, places[0]), (key2, value2, places[1]))
    )
    score = torch.einsum("bhid,bhijd,bhikd->bhijk", query, k1, k2) * scale
    weight, _ = _softmax(score, hidden[0][:, :, None] | hidden[1][:, None, :], return_lse=False)
    return torch.einsum("bhijk,bhijd,bhikd->bhid", weight.reshape(score.shape), v1, v2)


# --- simplicial-attention ---------------------------------------------------------------------------------------------

#: What its functions have no argument for: the scale is 1/√dim, and there is no window.
_LACKS = frozenset({"other_scale", "causal_cross_lengths"})


def library(name: str, order: int = 3, *, naive: bool = False) -> Kernel:
    function: Any = _naive if naive else _OF_ORDER[order]
    keywords = keywords_of(function, "tensor_attention")
    version = importlib.metadata.version("simplicial-attention")
    return Kernel(name, function, "torch", keywords, lacks=_LACKS, version=version, positional=positional(order))


def naive(query: Any, keys: tuple[Any, ...], values: tuple[Any, ...], is_causal: bool) -> Any:
    """``naive_two_simplicial_attend``"""
    attend = importlib.import_module("simplicial_attention.simplicial_attention").naive_two_simplicial_attend
    return attend(query, keys, values, causal=is_causal)


def nth_order(query: Any, keys: tuple[Any, ...], values: tuple[Any, ...], is_causal: bool) -> Any:
    """``nth_order_attend``"""
    attend = importlib.import_module("simplicial_attention.simplicial_attention").nth_order_attend
    return attend(query, keys, values, causal=is_causal)


def _naive(query: Any, key1: Any, key2: Any, value1: Any, value2: Any, *, scale: float, is_causal: bool = False) -> Any:
    return naive(query, (key1, key2), (value1, value2), is_causal)


def _two(query: Any, key1: Any, value1: Any, *, scale: float, is_causal: bool = False) -> Any:
    return nth_order(query, (key1,), (value1,), is_causal)


def _three(query: Any, key1: Any, key2: Any, value1: Any, value2: Any, *, scale: float, is_causal: bool = False) -> Any:
    return nth_order(query, (key1, key2), (value1, value2), is_causal)


def _four(
    query: Any, key1: Any, key2: Any, key3: Any, value1: Any, value2: Any, value3: Any, *, scale: float,
    is_causal: bool = False,
) -> Any:  # fmt: skip
    return nth_order(query, (key1, key2, key3), (value1, value2, value3), is_causal)


_OF_ORDER = {2: _two, 3: _three, 4: _four}
