"""Exact attention with relative positions: the tiles of :mod:`assay.impl.cpu.attention.tiles`, with other scores.

Queries and keys of the rotary form are rotated once, with exact angles, which takes the memory of both.  In the general
form each score is a sum of products of three numbers; W is read in place, n_q + n_k − 1 numbers for every place of the
support.  A bias that depends on i − j is read in place too: nothing is as large as queries times keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.attention.tiles import tiled
from assay.impl.cpu.rope_attention.turned import toeplitz, turned
from assay.impl.cpu.threads import require_number
from assay.spec.floating_point import require_usual
from assay.spec.rope_attention.instance import Instance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.rope_attention.turned import Turned

__all__ = ["attended", "exact"]


def exact(
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    relative: NDArray[Any] | None = None,
    scale: float | None = None,
    *,
    support: tuple[tuple[int, int], ...] | None = None,
    base: float = 10000.0,
    layout: str = "halves",
    rotary_dim: int | None = None,
    scaling: str | None = None,
    factor: float | None = None,
    original_length: int | None = None,
    low_frequency: float | None = None,
    high_frequency: float | None = None,
    truncate: bool = True,
    attention_factor: float | None = None,
    query_positions: NDArray[np.integer[Any]] | None = None,
    key_positions: NDArray[np.integer[Any]] | None = None,
    relative_bias: NDArray[Any] | None = None,
    is_causal: bool = False,
    causal: str | None = None,
    window: tuple[int | None, int | None] | None = None,
    mask: NDArray[np.bool_] | None = None,
    bias: NDArray[Any] | None = None,
    key_lengths: NDArray[Any] | None = None,
    softcap: float | None = None,
    sink: NDArray[Any] | None = None,
    return_lse: bool = False,
    threads: int | None = None,
) -> Any:
    """Attention with relative positions; every argument is as in :class:`assay.spec.rope_attention.Instance`.

    Returns the output (b, h_q, n_q, d_v) in the dtype of the inputs.  With ``return_lse`` it returns also the
    log-sum-exp (b, h_q, n_q), in float64 for float64 inputs and in float32 otherwise.  ``threads``: the most threads
    (default: the CPUs of this process); the result does not depend on their number.

    float64 inputs are computed in float64, others in float32, and rounded once; the rotation is that of
    :func:`assay.impl.cpu.rope.exact`, right to any position.

    Raises :class:`~assay.spec.problem.InvalidInstance` for bad input, naming the argument, and ``ValueError`` for bad
    ``threads``.

    >>> x = np.arange(4.0).reshape(1, 1, 2, 2)
    >>> np.round(exact(x, x, x, is_causal=True), 4).ravel()
    array([0.    , 1.    , 1.9979, 2.9979])
    >>> np.round(exact(x, x, x, np.array([[9.0, 1.0, 0.0]]), support=((0, 1),)), 4).ravel()
    array([1.    , 2.    , 1.9717, 2.9717])
    """
    require_usual()
    instance = Instance(
        query, key, value, relative, scale, support, base, layout, rotary_dim, scaling, factor, original_length,
        low_frequency, high_frequency, truncate, attention_factor, query_positions, key_positions, relative_bias,
        is_causal, causal, window, mask, bias, key_lengths, softcap, sink, return_lse,
    )  # fmt: skip
    require_number(threads)
    work = np.dtype(np.float64) if query.dtype.name == "float64" else np.dtype(np.float32)
    output, lse = attended(instance, turned(instance, work, threads), threads)
    output = output.astype(query.dtype, copy=False)
    return (output, lse) if return_lse else output


def attended(instance: Instance, scores: Turned, threads: int | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """The output and the log-sum-exp of an instance, in the type of the arithmetic of its ``scores``."""
    bias = instance.bias
    if instance.relative_bias is not None:
        rows = np.ascontiguousarray(instance.relative_bias, scores.query.dtype)
        bias = toeplitz(rows, scores.query.shape[2], scores.key.shape[2])[None]
    return tiled(
        instance, scores.query, scores.key, bias, relative=scores.relative, support=scores.support, threads=threads
    )
