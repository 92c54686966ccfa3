"""Exact attention on a GPU: tiles of queries against tiles of keys, online softmax (``exact.cu``).

The arithmetic is that of the class of the input: float32 or float64 throughout.  bfloat16 and float16 are computed in
float32 and rounded once.  No memory is taken but that of the outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.impl.gpu.attention.tile import COLUMNS, ROWS, launch, options, work_of
from assay.impl.gpu.machine import card, standing_in, struct, view
from assay.spec.attention.instance import Instance

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Machine

__all__ = ["exact", "run"]


def exact(
    query: Any,
    key: Any,
    value: Any,
    scale: float | None = None,
    *,
    is_causal: bool = False,
    causal: str | None = None,
    mask: Any = None,
    bias: Any = None,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: Any = None,
    softcap: float | None = None,
    sink: Any = None,
    return_lse: bool = False,
) -> Any:
    """Attention of (batch, heads, length, dim) arrays; every option is as in :class:`assay.spec.attention.Instance`.

    Arrays are CuPy's, or of any library with DLPack, and lie on the current device.  Strides may be any.  Returns the
    output (b, h_q, n_q, d_v), a CuPy array in the dtype of the inputs; with ``return_lse`` also the log-sum-exp
    (b, h_q, n_q), in float64 for float64 inputs and in float32 otherwise.  The call joins the current stream and waits
    for nothing.  So numbers on the device are not looked at: a bias that is not finite or −inf, and key lengths outside
    of [0, n_k], give an undefined result.

    Raises :class:`~assay.spec.problem.InvalidInstance` for shapes, dtypes and options that do not fit, naming the
    argument, and ``ImportError`` where CuPy is not installed.
    """
    plain = {"is_causal": is_causal, "causal": causal, "window": window, "softcap": softcap, "return_lse": return_lse}
    arrays = {
        "query": query, "key": key, "value": value, "mask": mask, "bias": bias, "key_lengths": key_lengths,
        "sink": sink,
    }  # fmt: skip
    return run(card(), arrays, scale=scale, **plain)


def run(machine: Machine, arrays: dict[str, Any], **plain: Any) -> Any:
    """:func:`exact` on a machine; arrays that are not given are ``None``."""
    given = {name: machine.given(array) for name, array in arrays.items()}
    instance = Instance(**standing_in(given), **plain)
    query, key, value, sink = (given[name] for name in ("query", "key", "value", "sink"))
    (b, h, n_q, d), (h_k, n_k, d_v) = query.shape, value.shape[1:]
    work = work_of(query)
    out = machine.empty((b, h, n_q, d_v), query.dtype)
    lse = machine.empty((b, h, n_q), work) if instance.return_lse else None
    keep: list[Any] = []
    if sink is not None:
        keep.append(sink := sink.astype(work))
    arguments = struct(
        query=view(machine, query, (b, h, n_q, d)),
        key=view(machine, key, (b, h_k, n_k, d)),
        value=view(machine, value, (b, h_k, n_k, d_v)),
        **options(machine, instance, given, keep),
        sink=0 if sink is None else machine.address(sink),
        out=machine.address(out),
        to_lse=0 if lse is None else machine.address(lse),
        heads=h,
        group=instance.group,
        queries=n_q,
        keys=n_k,
        dim=d,
        columns=d_v,
    )
    blocks = b * h * -(-n_q // ROWS) * -(-d_v // COLUMNS)
    machine.run("attention/exact.cu", f"attention_{query.dtype.name}", arguments, launch(blocks, work))
    return (out, lse) if instance.return_lse else out
