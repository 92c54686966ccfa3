"""Exact attention on a GPU: tiles of queries against tiles of keys, online softmax.

float32 and float64 are computed in their own type (``exact.cu``).  float16 and bfloat16 are multiplied on tensor cores,
with sums in float32 and probabilities rounded to the type of the values (``tensor.cu``), or in float32 throughout
(``exact.cu``).  Where that is asked for, float32 is multiplied on tensor cores too, as three products of parts of 11
bits.  No memory is taken but that of the outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.impl.gpu.attention.tensor import launch as tensor_launch
from assay.impl.gpu.attention.tensor import multiplied
from assay.impl.gpu.attention.tile import COLUMNS, ROWS, launch, options, work_of
from assay.impl.gpu.machine import card, standing_in, struct, view
from assay.spec.attention.instance import Instance

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Machine

__all__ = ["exact", "run"]

_TENSOR = {"float16": True, "bfloat16": True, "float32": False}  # what they multiply, and whether without being asked
_FACTORS = {"float16": 3, "bfloat16": 3, "float32": 2}  # of a tile, in shared memory: values may lie where keys lay


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
    products: str | None = None,
) -> Any:
    """Attention of (batch, heads, length, dim) arrays; every option is as in :class:`assay.spec.attention.Instance`.

    Arrays are CuPy's, or of any library with DLPack, and lie on the current device.  Strides may be any.  Returns the
    output (b, h_q, n_q, d_v), a CuPy array in the dtype of the inputs; with ``return_lse`` also the log-sum-exp
    (b, h_q, n_q), in float64 for float64 inputs and in float32 otherwise.  The call joins the current stream and waits
    for nothing.  So numbers on the device are not looked at: a bias that is not finite or −inf, and key lengths outside
    of [0, n_k], give an undefined result.

    products: ``"tensor"`` for tensor cores, or ``"fma"``, whose probabilities are not rounded.  By default tensor cores
    are used for float16 and bfloat16 where the card has them (compute capability 8.0 and later; GPU-10).  float32 is
    multiplied there only if ``"tensor"`` asks for it: as three products of tf32 parts (3xTF32), which keep the class
    (GPU-15).

    Raises :class:`~assay.spec.problem.InvalidInstance` for shapes, dtypes and options that do not fit, naming the
    argument, and ``ImportError`` where CuPy is not installed.
    """
    plain = {"is_causal": is_causal, "causal": causal, "window": window, "softcap": softcap, "return_lse": return_lse}
    arrays = {
        "query": query, "key": key, "value": value, "mask": mask, "bias": bias, "key_lengths": key_lengths,
        "sink": sink,
    }  # fmt: skip
    return run(card(), arrays, products, scale=scale, **plain)


def run(machine: Machine, arrays: dict[str, Any], products: str | None = None, **plain: Any) -> Any:
    """:func:`exact` on a machine; arrays that are not given are ``None``."""
    given = {name: machine.given(array) for name, array in arrays.items()}
    instance = Instance(**standing_in(given), **plain)
    query, key, value, sink = (given[name] for name in ("query", "key", "value", "sink"))
    (b, h, n_q, d), (h_k, n_k, d_v) = query.shape, value.shape[1:]
    work = work_of(query)
    on_tensor_cores = multiplied(machine, instance, products, _TENSOR)
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
    source, started = "attention/exact.cu", launch(blocks, work)
    if on_tensor_cores:
        source, started = "attention/tensor.cu", tensor_launch(blocks, query.dtype, _FACTORS[query.dtype.name])
    machine.run(source, f"attention_{query.dtype.name}", arguments, started)
    return (out, lse) if instance.return_lse else out
