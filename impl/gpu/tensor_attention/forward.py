"""Exact attention of any order on a GPU: tiles of queries against tiles of keys of the longest mode (``exact.cu``).

The arithmetic is that of the class of the input, as for attention.  No memory is taken but that of the outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.impl.cpu.tensor_attention.combinations import instance_of
from assay.impl.gpu.attention.tile import COLUMNS, ROWS, UNLIMITED, launch, work_of
from assay.impl.gpu.machine import card, standing_in, struct, view

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Machine
    from assay.spec.tensor_attention.instance import HigherOrder

__all__ = ["exact", "given", "run"]

_MODES = 11  # as in exact.cu, and as instances have at most


def exact(
    query: Any,
    *modes: Any,
    scale: float | None = None,
    is_causal: bool = False,
    window: tuple[int | None, ...] | None = None,
    return_lse: bool = False,
    **named: Any,
) -> Any:
    """Attention of order k of (batch, heads, length, dim) arrays: query, key1 … key{k−1}, value1 … value{k−1}.

    Arguments and results are those of :func:`assay.impl.cpu.tensor_attention.exact`; arrays, streams and what is not
    looked at are as for :func:`assay.impl.gpu.attention.exact`.  The time is O(n_q·N·(d + d_v)) for N combinations that
    a row sees.

    Raises :class:`~assay.spec.problem.InvalidInstance` for shapes, dtypes and options that do not fit, naming the
    argument, and ``ImportError`` where CuPy is not installed.
    """
    options = {"scale": scale, "is_causal": is_causal, "window": window, "return_lse": return_lse}
    return run(card(), query, modes, named, options)


def given(
    machine: Machine, query: Any, modes: tuple[Any, ...], named: dict[str, Any], options: dict[str, Any]
) -> tuple[HigherOrder, Any, list[Any], list[Any]]:
    """The instance, of which shapes and options alone are looked at, and the query, keys and values on a machine."""
    arrays = {"query": query, **{str(place): array for place, array in enumerate(modes)}, **named}
    laid = {name: machine.given(array) for name, array in arrays.items()}
    standing = standing_in(laid)
    places = [str(place) for place in range(len(modes))]
    instance = instance_of(
        standing["query"],
        tuple(standing[place] for place in places),
        {name: standing[name] for name in named},
        options,
    )
    count = range(1, instance.order)
    names = [*(f"key{mode}" for mode in count), *(f"value{mode}" for mode in count)]
    by_name = {**dict(zip(names, (laid[place] for place in places), strict=False)), **laid}
    keys, values = ([by_name[f"{word}{mode}"] for mode in count] for word in ("key", "value"))
    return instance, laid["query"], keys, values


def run(machine: Machine, query: Any, modes: tuple[Any, ...], named: dict[str, Any], options: dict[str, Any]) -> Any:
    """:func:`exact` on a machine."""
    instance, query, mode_keys, mode_values = given(machine, query, modes, named, options)
    count = instance.order - 1
    window = instance.window or (None,) * count
    order = sorted(range(count), key=lambda mode: instance.mode_lengths[mode])  # tiles are of the longest mode
    work = work_of(query)
    (b, h, n_q, d), (_, h_k, _, d_v) = query.shape, instance.mode_values[0].shape
    out = machine.empty((b, h, n_q, d_v), query.dtype)
    lse = machine.empty((b, h, n_q), work) if options["return_lse"] else None
    absent = [view(machine, None, (1, 1, 1, 1))] * (_MODES - count)
    keys, values = (
        [view(machine, arrays[mode], (b, h_k, instance.mode_lengths[mode], columns)) for mode in order] + absent
        for arrays, columns in ((mode_keys, d), (mode_values, d_v))
    )
    beyond = (0,) * (_MODES - count)
    assert instance.scale is not None
    arguments = struct(
        query=view(machine, query, (b, h, n_q, d)),
        keys=tuple(number for one in keys for number in one),
        values=tuple(number for one in values for number in one),
        lengths=tuple(instance.mode_lengths[mode] for mode in order) + beyond,
        widths=tuple(UNLIMITED if (width := window[mode]) is None else width for mode in order) + beyond,
        scale=float(instance.scale),
        out=machine.address(out),
        to_lse=0 if lse is None else machine.address(lse),
        heads=h,
        group=instance.group,
        queries=n_q,
        modes=count,
        dim=d,
        columns=d_v,
        causal=int(instance.is_causal),
    )
    blocks = b * h * -(-n_q // ROWS) * -(-d_v // COLUMNS)
    machine.run("tensor_attention/exact.cu", f"tensor_attention_{query.dtype.name}", arguments, launch(blocks, work))
    return out if lse is None else (out, lse)
