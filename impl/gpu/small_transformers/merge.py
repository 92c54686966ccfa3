"""Attention over all keys from attention over parts of them, on a GPU: one pass over the parts (``merge.cu``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.impl.gpu.attention.tile import work_of
from assay.impl.gpu.machine import TYPES, Launch, card, standing_in, struct, view
from assay.spec.problem import InvalidInstance
from assay.spec.small_transformers_merge import Instance

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Machine

__all__ = ["merge", "merge_into", "run"]

_THREADS, _WARP = 256, 32  # as in merge.cu


def merge(outputs: Any, log_sum_exps: Any, *, sink: Any = None, return_lse: bool = False) -> Any:
    """The merge of parts, as in :class:`assay.spec.small_transformers_merge.Instance`.

    outputs (parts, b, h, n, d_v) and log_sum_exps (parts, b, h, n), natural logarithms, −∞ where a part has no keys,
    of which the output is not read; sink (h,): the score of a key of value zero besides.  Arrays and streams are as for
    :func:`assay.impl.gpu.attention.exact`.  Returns the output (b, h, n, d_v) in the type of ``outputs``, and with
    ``return_lse`` the log-sum-exp (b, h, n) in that of ``log_sum_exps``.  Everything is computed in float64, part after
    part, and rounded once.  Numbers on the device are not looked at.

    Raises :class:`~assay.spec.problem.InvalidInstance` for shapes and types that do not fit, naming the argument, and
    ``ImportError`` where CuPy is not installed.  Source: GPU-8 of proofs_notes/gpu.md.
    """
    return run(card(), outputs, log_sum_exps, sink=sink, return_lse=return_lse)


def run(machine: Machine, outputs: Any, log_sum_exps: Any, *, sink: Any = None, return_lse: bool = False) -> Any:
    """:func:`merge` on a machine."""
    given = {"outputs": outputs, "log_sum_exps": log_sum_exps, "sink": sink}
    given = {name: machine.given(array) for name, array in given.items()}
    Instance(**standing_in(given), return_lse=return_lse)
    outputs, logs = given["outputs"], given["log_sum_exps"]
    work_of(outputs, "outputs")
    for name in ("log_sum_exps", "sink"):
        if given[name] is not None and given[name].dtype.name not in TYPES:
            raise InvalidInstance(f"{name}: dtype {given[name].dtype.name}, expected one of {', '.join(TYPES)}")
    out = machine.empty(outputs.shape[1:], outputs.dtype)
    lse = machine.empty(logs.shape[1:], logs.dtype) if return_lse else None
    merge_into(machine, outputs, logs, given["sink"], out, lse)
    return (out, lse) if return_lse else out


def merge_into(machine: Machine, outputs: Any, logs: Any, sink: Any, out: Any, lse: Any) -> None:
    """Write the merge to arrays (b, h, n, d_v), whose columns lie side by side, and (b, h, n) or ``None``.

    Of their axes for batch and head the first is that of the second, as often as there are heads.
    """
    parts, b, h, n, d_v = outputs.shape
    flat, logs = outputs.reshape(parts, b * h, n, d_v), logs.reshape(parts, b * h, n, 1)
    if sink is not None:
        sink = sink[None].repeat(b, axis=0).reshape(1, b * h, 1, 1)
    steps = [(0, 0) if x is None else [int(step) // x.dtype.itemsize for step in x.strides[1:3]] for x in (out, lse)]
    arguments = struct(
        outputs=view(machine, flat, (parts, b * h, n, d_v)),
        logs=view(machine, logs, (parts, b * h, n, 1)),
        sink=view(machine, sink, (1, b * h, 1, 1)),
        out=machine.address(out),
        lse=0 if lse is None else machine.address(lse),
        out_head=steps[0][0],
        out_row=steps[0][1],
        lse_head=steps[1][0],
        lse_row=steps[1][1],
        parts=parts,
        heads=b * h,
        rows=n,
        columns=d_v,
        log_type=TYPES.index(logs.dtype.name),
        sink_type=0 if sink is None else TYPES.index(sink.dtype.name),
    )
    blocks = -(-b * h * n // (_THREADS // _WARP))
    machine.run(
        "small_transformers/merge.cu", f"merge_{outputs.dtype.name}", arguments, Launch(blocks, _THREADS, 8 * _THREADS)
    )
