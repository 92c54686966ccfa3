"""The rotary embedding on a GPU, with exact angles at every position (``exact.cu``).

A token's angle is evaluated once for all heads of queries and keys.  Besides its outputs a call takes two numbers a
pair of columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.rope import rotation
from assay.impl.gpu.attention.tile import work_of
from assay.impl.gpu.machine import Launch, card, standing_in, struct, view
from assay.spec.rope.instance import Instance

if TYPE_CHECKING:
    from assay.impl.cpu.rope import Rotation
    from assay.impl.gpu.machine import Machine

__all__ = ["embedded", "exact", "run"]

_THREADS = 256  # as in exact.cu


def exact(
    query: Any,
    key: Any = None,
    positions: Any = None,
    *,
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
) -> Any:
    """Queries and keys of shape (batch, heads, length, dim), rotated; options as in :class:`assay.spec.rope.Instance`.

    Arrays are CuPy's, or of any library with DLPack, and lie on the current device.  Strides may be any.  Returns
    (query, key), or the query alone where there is no key, CuPy arrays in their dtype.  The arithmetic is that of
    :func:`assay.impl.cpu.rope.exact`.  The call joins the current stream and waits for nothing, but for the largest
    position where there are positions and the scaling is ``"dynamic"``, whose frequencies depend on it.  Other numbers
    on the device are not looked at: positions beyond 2^53 in size give an undefined result.

    Raises :class:`~assay.spec.problem.InvalidInstance` for shapes, dtypes and options that do not fit, naming the
    argument, and ``ImportError`` where CuPy is not installed.
    """
    return run(
        card(), query, key, positions, base=base, layout=layout, rotary_dim=rotary_dim, scaling=scaling, factor=factor,
        original_length=original_length, low_frequency=low_frequency, high_frequency=high_frequency, truncate=truncate,
        attention_factor=attention_factor,
    )  # fmt: skip


def run(machine: Machine, query: Any, key: Any = None, positions: Any = None, **plain: Any) -> Any:
    """:func:`exact` on a machine."""
    given = {name: machine.given(x) for name, x in (("query", query), ("key", key), ("positions", positions))}
    standing = standing_in(given)
    query, key, positions = given.values()
    if positions is not None and plain.get("scaling") == "dynamic":
        standing["positions"] = np.broadcast_to(np.array(machine.largest(positions), positions.dtype), positions.shape)
    instance = Instance(**standing, **plain)
    work_of(query)  # refuses a type that no kernel has
    return embedded(machine, query, key, positions, rotation(instance))


def embedded(machine: Machine, query: Any, key: Any, positions: Any, turns: Rotation) -> Any:
    """:func:`exact` for arrays of the machine that fit, by turns that are known."""
    b, h, n, d = query.shape
    h_k = 0 if key is None else key.shape[1]
    whole, rest = machine.laid(turns.whole), machine.laid(turns.rest)
    outputs = [machine.empty(x.shape, query.dtype) for x in (query, key) if x is not None]
    if positions is not None:
        positions = positions.astype(np.int64)
    _, _, _, batch_step, step = view(machine, positions, (1, 1, b, n))
    arguments = struct(
        query=view(machine, query, (b, h, n, d)),
        key=view(machine, key, (b, h_k, n, d)),
        query_out=machine.address(outputs[0]),
        key_out=0 if key is None else machine.address(outputs[1]),
        positions=0 if positions is None else machine.address(positions),
        batch_step=batch_step,
        step=step,
        turns=machine.address(whole),
        rest=machine.address(rest),
        magnitude=turns.magnitude,
        batches=b,
        heads=h,
        key_heads=h_k,
        length=n,
        columns=d,
        pairs=len(turns.whole),
        halves=int(turns.layout == "halves"),
    )
    blocks = -(-b * n * -(-d // 2) // _THREADS)
    machine.run("rope/exact.cu", f"rope_{query.dtype.name}", arguments, Launch(blocks, _THREADS, 0))
    return outputs[0] if key is None else tuple(outputs)
