"""Attention of many tokens by calls of attention of few on a GPU: :func:`exact` makes the calls of a plan.

The plan is that of the CPU (MERGE-3), for an oracle that returns its log-sum-exp: no calibrator is needed, and nothing
of what a call returns is looked at before the next one.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.certified import Certified
from assay.impl.cpu.small_transformers.bound import longest, of_simulation
from assay.impl.cpu.small_transformers.model import Small
from assay.impl.cpu.small_transformers.plan import planned
from assay.impl.cpu.small_transformers.visible import Visible
from assay.impl.gpu.attention.forward import run as attend
from assay.impl.gpu.attention.tile import work_of
from assay.impl.gpu.machine import card, standing_in
from assay.impl.gpu.small_transformers.merge import merge_into
from assay.spec.precision import precision
from assay.spec.small_transformers import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay.impl.cpu.small_transformers.plan import Block, Plan
    from assay.impl.gpu.machine import Machine

    Oracle = Callable[..., Any]

__all__ = ["bounded", "certified", "exact", "oracle_of", "run"]


def exact(
    query: Any, key: Any, value: Any, *, size: int, oracle: Oracle | None = None, scale: float | None = None,
    is_causal: bool = False, window: int | None = None, sinks: int = 0, mask: Any = None, return_lse: bool = False,
) -> Any:  # fmt: skip
    """Attention of (b, h, n, d) arrays by calls of at most ``size`` queries and ``size`` keys, for all heads at once.

    query, key, value, scale, is_causal, window, sinks and mask are as in
    :class:`assay.spec.small_transformers.Instance`; arrays and streams are as for
    :func:`assay.impl.gpu.attention.exact`.  oracle: the small transformer, called as
    ``oracle(query, key, value, scale=…, mask=…, return_lse=…)`` with arrays of CuPy, the mask ``None`` where all is
    seen; with ``return_lse`` it returns (output, log_sum_exp) as ``gpu.attention.exact`` does, which it is unless
    given.

    Returns the output (b, h_q, n_q, d_v) in the type of the inputs, and with ``return_lse`` the log-sum-exp
    (b, h_q, n_q), in float64 for float64 inputs and in float32 otherwise.  The call waits for nothing, and numbers on
    the device are not looked at.  Besides its outputs it takes the results of all calls of ``size`` queries, as
    much as the values of all keys for every query head, and the masks of blocks that are seen in part.

    Raises :class:`~assay.spec.problem.InvalidInstance` for shapes, types and options that do not fit, naming the
    argument, and ``ImportError`` where CuPy is not installed.  Source: GPU-8 of proofs_notes/gpu.md.
    """
    machine = card()
    options = {"is_causal": is_causal, "window": window, "sinks": sinks, "mask": mask, "return_lse": return_lse}
    return run(machine, oracle or oracle_of(machine, size), query, key, value, size, scale, **options)


def certified(
    query: Any, key: Any, value: Any, *, size: int, scale: float | None = None, is_causal: bool = False,
    window: int | None = None, sinks: int = 0, mask: Any = None,
) -> Certified:  # fmt: skip
    """The output of :func:`exact` with ``gpu.attention.exact`` for small transformer, and a proved bound of its error.

    error (b, h_q, 1, d_v), float64, on the device: one number for every head and column (MERGE-2).  The call waits for
    two numbers, the largest score that norms allow and the largest norms.  Besides the memory of :func:`exact` it takes
    the inputs in float64 three times, one after the other.  Raises as :func:`exact` does.
    """
    options = {"scale": scale, "is_causal": is_causal, "window": window, "sinks": sinks, "mask": mask}
    return bounded(card(), query, key, value, size, **options)


def bounded(
    machine: Machine, query: Any, key: Any, value: Any, size: int, scale: float | None = None, **options: Any
) -> Certified:
    """:func:`certified` on a machine."""
    query, key, value = (machine.given(x) for x in (query, key, value))
    out = run(machine, oracle_of(machine, size), query, key, value, size, scale, **options)
    (b, h, n, d), (h_k, n_k) = query.shape, key.shape[1:3]
    scale = 1.0 / math.sqrt(d) if scale is None else float(scale)
    group = h // h_k
    visible = Visible(
        n, n_k, bool(options.get("is_causal")), options.get("window"), options.get("sinks", 0)
    )  # fmt: skip
    plan = _planned(size, visible, b * h, sums=False)
    norms = [longest(x.reshape(-1, *x.shape[2:]).astype(np.float64)) for x in (query, key)]
    reach = machine.largest(abs(scale) * norms[0] * norms[1].repeat(group, axis=0))
    most = machine.largest(norms[0].max() + norms[1].max())
    wide = value.astype(np.float64)
    spread, sizes = wide.max(axis=2) - wide.min(axis=2), abs(wide).max(axis=2)
    name = query.dtype.name
    error = of_simulation(
        precision(name), keys=size, terms=d + 1, parts=plan.parts, scale=scale, reach=reach, largest=0.0,
        norms=math.sqrt(d) * most, least=None, spread=spread.repeat(group, axis=1), size=sizes.repeat(group, axis=1),
        inputs=name, calls=name,
    )  # fmt: skip
    return Certified(out, error[:, :, None], f"{len(plan.blocks)} calls of {size} tokens for every head, on the device")


def oracle_of(machine: Machine, size: int) -> Oracle:
    """:func:`assay.impl.gpu.attention.exact` on a machine, of at most ``size`` queries and keys.

    More raise ``ValueError``.
    """

    def small(
        query: Any, key: Any, value: Any, *, scale: float, mask: Any = None, return_lse: bool = False
    ) -> Any:  # fmt: skip
        tokens = max(query.shape[2], key.shape[2])
        if tokens > size:
            raise ValueError(f"{tokens} tokens, expected at most {size}")
        arrays = {"query": query, "key": key, "value": value, "mask": mask, "bias": None, "key_lengths": None}
        return attend(machine, {**arrays, "sink": None}, scale=scale, return_lse=return_lse)

    return small


def run(
    machine: Machine, oracle: Oracle, query: Any, key: Any, value: Any, size: int, scale: float | None = None, *,
    is_causal: bool = False, window: int | None = None, sinks: int = 0, mask: Any = None, return_lse: bool = False,
) -> Any:  # fmt: skip
    """:func:`exact` on a machine."""
    given = {"query": query, "key": key, "value": value, "mask": mask}
    given = {name: machine.given(array) for name, array in given.items()}
    instance = Instance(
        **standing_in(given), oracle_size=size, oracle="log_sum_exp", scale=scale, is_causal=is_causal, window=window,
        sinks=sinks, return_lse=return_lse,
    )  # fmt: skip
    query, key, value, mask = (given[name] for name in ("query", "key", "value", "mask"))
    (b, h, n, _), d_v = query.shape, value.shape[3]
    out = machine.empty((b, h, n, d_v), query.dtype)
    lse = machine.empty((b, h, n), work_of(query)) if return_lse else None
    # which calls a mask of the device leaves out is not looked at
    seen = Visible(n, key.shape[2], is_causal, window, sinks)
    plan = _planned(size, seen, b * h, sums=return_lse)
    done, masks = 0, _Masks(machine, seen, mask)
    for span, group in itertools.groupby(plan.blocks, lambda block: block.rows):
        blocks = tuple(group)
        rows, done = slice(*span), span[1]
        results = out[:, :, rows], None if lse is None else lse[:, :, rows]
        parts: Any = None
        if len(blocks) > 1:
            shape = (len(blocks), b, h, span[1] - span[0])
            parts = machine.empty((*shape, d_v), query.dtype), machine.empty(shape, work_of(query))
        for number, block in enumerate(blocks):
            keys, values = (_taken(machine, x, block) for x in (key, value))
            answer = oracle(
                query[:, :, rows], keys, values, scale=instance.scale, mask=masks.of(block), return_lse=True
            )  # fmt: skip
            places = results if parts is None else [x[number] for x in parts]
            for place, given_back in zip(places, answer, strict=True):
                if place is not None:
                    place[...] = given_back
        if parts is not None:
            merge_into(machine, parts[0], parts[1], None, results[0], results[1])
    if done < n:  # the last rows, where a window has left all keys behind
        out[:, :, done:] = 0
        if lse is not None:
            lse[:, :, done:] = -np.inf
    return (out, lse) if return_lse else out


def _planned(size: int, visible: Visible, heads: int, *, sums: bool) -> Plan:
    return planned(Small(size, keywords=frozenset({"mask", "return_lse"})), visible, heads, sums=sums)


def _taken(machine: Machine, x: Any, block: Block) -> Any:
    """The keys or the values of a block: a view, where no sinks come before them."""
    return x[:, :, machine.laid(block.key_rows())] if block.lead else x[:, :, slice(*block.keys)]


@dataclass(frozen=True, eq=False)
class _Masks:
    """The masks of blocks, on the device.

    seen: causality and the window.  mask: (b or 1, h or 1, n_q or 1, n_k or 1) or ``None``, or with fewer axes.
    """

    machine: Machine
    seen: Visible
    mask: Any
    laid: dict[Any, Any] = field(default_factory=dict)

    def of(self, block: Block) -> Any:
        """What a block hands over: ``None`` where all is seen."""
        shown = self._shown(block)
        if self.mask is None:
            return shown
        part = self.mask.reshape((1,) * (4 - self.mask.ndim) + self.mask.shape)
        part = part[:, :, slice(*block.rows)] if part.shape[2] > 1 else part
        if part.shape[3] > 1:
            columns = self.machine.laid(block.key_rows()) if block.lead else slice(*block.keys)
            part = part[..., columns]
        return part if shown is None else part & shown

    def _shown(self, block: Block) -> Any:
        """Those of causality and the window; equal ones, along a diagonal, are one array."""
        lies = block.shape, block.rows[0] - block.keys[0]
        alike = block.keys[0] >= block.lead == self.seen.sinks
        if not (alike and lies in self.laid):
            seen = self.seen.block(block.query_rows(), block.key_rows())
            laid = None if seen is None else self.machine.laid(seen)
            if not alike:
                return laid
            self.laid[lies] = laid
        return self.laid[lies]
