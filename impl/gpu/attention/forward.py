"""Exact attention on a GPU: tiles of queries against tiles of keys, online softmax (``exact.cu``).

The arithmetic is that of the class of the input: float32 or float64 throughout.  bfloat16 and float16 are computed in
float32 and rounded once.  No memory is taken but that of the outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.gpu.machine import Launch, card, struct, view
from assay.spec.attention.instance import Instance
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Machine

__all__ = ["exact", "run"]

_ROWS, _COLUMNS, _THREADS, _WORDS = 64, 128, 256, 2 * 64 * 36 + 32 * 128  # as in exact.cu
_UNLIMITED = 1 << 62
_NUMBERED = ("float32", "float64", "float16", "bfloat16")


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
    options = {
        "is_causal": is_causal, "causal": causal, "window": window, "softcap": softcap, "return_lse": return_lse,
    }  # fmt: skip
    arrays = {
        "query": query, "key": key, "value": value, "mask": mask, "bias": bias, "key_lengths": key_lengths,
        "sink": sink,
    }  # fmt: skip
    return run(card(), arrays, scale=scale, **options)


def run(machine: Machine, arrays: dict[str, Any], **options: Any) -> Any:
    """:func:`exact` on a machine; arrays that are not given are ``None``."""
    given = {name: machine.given(array) for name, array in arrays.items()}
    instance = Instance(**{name: _of_its_shape(name, array) for name, array in given.items()}, **options)
    query, key, value, mask, bias = (given[name] for name in ("query", "key", "value", "mask", "bias"))
    (b, h, n_q, d), (h_k, n_k, d_v) = query.shape, value.shape[1:]
    kind = query.dtype.name
    if kind not in _NUMBERED:
        raise InvalidInstance(f"query: dtype {kind}, expected one of {', '.join(_NUMBERED)}")
    work = np.dtype(np.float64 if kind == "float64" else np.float32)
    out = machine.empty((b, h, n_q, d_v), query.dtype)
    lse = machine.empty((b, h, n_q), work) if instance.return_lse else None
    left, right = instance.window or (None, None)
    lengths, sink = given["key_lengths"], given["sink"]
    lengths = None if lengths is None else lengths.astype(np.int64)
    sink = None if sink is None else sink.astype(work)
    full = (b, h, n_q, n_k)
    assert instance.scale is not None
    arguments = struct(
        query=view(machine, query, (b, h, n_q, d)),
        key=view(machine, key, (b, h_k, n_k, d)),
        value=view(machine, value, (b, h_k, n_k, d_v)),
        mask=view(machine, mask, full),
        bias=view(machine, bias, full),
        lengths=0 if lengths is None else machine.address(lengths),
        sink=0 if sink is None else machine.address(sink),
        out=machine.address(out),
        lse=0 if lse is None else machine.address(lse),
        heads=h,
        group=instance.group,
        queries=n_q,
        keys=n_k,
        dim=d,
        columns=d_v,
        left=_UNLIMITED if left is None else int(left),
        right=0 if instance.causal is not None else _UNLIMITED if right is None else int(right),
        bottom_right=int(instance.causal == "bottom-right"),
        bias_type=0 if bias is None else _NUMBERED.index(bias.dtype.name),
        scale=float(instance.scale),
        softcap=float(instance.softcap or 0.0),
    )
    blocks = b * h * -(-n_q // _ROWS) * -(-d_v // _COLUMNS)
    machine.run("attention/exact.cu", f"attention_{kind}", arguments, Launch(blocks, _THREADS, _WORDS * work.itemsize))
    return (out, lse) if instance.return_lse else out


def _of_its_shape(name: str, array: Any) -> Any:
    """A NumPy array of the shape and the type, whose only number is one that every option takes."""
    if array is None or isinstance(array, np.ndarray):
        return array
    return np.broadcast_to(np.zeros((), array.dtype), array.shape)
