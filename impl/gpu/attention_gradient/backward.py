"""The exact gradient of attention on a GPU: scores recomputed tile by tile, no n × n array (``exact.cu``).

The arithmetic is that of the class of the input, as in the forward pass.  The gradients of queries, keys and values in
float16 and bfloat16 are products on tensor cores (``tensor.cu``), with P and dS rounded to that type.  Besides its
outputs a call takes the log-sum-exp and δ of every row, the gradient of a bias in the type of the arithmetic, and,
where they are not given, the output and the log-sum-exp of the forward pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.attention_gradient.tiles import check
from assay.impl.gpu.attention import forward
from assay.impl.gpu.attention.tensor import launch as tensor_launch
from assay.impl.gpu.attention.tensor import multiplied
from assay.impl.gpu.attention.tile import COLUMNS, ROWS, THREADS, launch, options, work_of
from assay.impl.gpu.machine import TYPES, Launch, card, standing_in, struct, view
from assay.spec.attention.instance import Instance
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Machine

__all__ = ["exact", "run"]

_SOURCE, _TENSOR_SOURCE = "attention_gradient/exact.cu", "attention_gradient/tensor.cu"
_TENSOR = {"float16": True, "bfloat16": True}  # types that tensor cores multiply, without being asked
_FACTORS = 4  # of a tile, in shared memory: rows of queries, keys, dO and values
_INCOMING = {"grad_output": 4, "output": 4, "log_sum_exp": 3, "grad_log_sum_exp": 3}  # and their numbers of axes


def exact(
    query: Any,
    key: Any,
    value: Any,
    output: Any,
    log_sum_exp: Any,
    grad_output: Any,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    causal: str | None = None,
    mask: Any = None,
    bias: Any = None,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: Any = None,
    softcap: float | None = None,
    sink: Any = None,
    grad_log_sum_exp: Any = None,
    products: str | None = None,
) -> tuple[Any, ...]:
    """The vector–Jacobian product of attention on (batch, heads, length, dim) arrays.

    Arguments and results are those of :func:`assay.impl.cpu.attention_gradient.exact`; arrays, streams and what is not
    looked at are as for :func:`assay.impl.gpu.attention.exact`.  Returns (grad_query, grad_key, grad_value), then
    grad_bias where there is a bias and grad_sink where there is a sink, each with the shape and dtype of its array.

    products: ``"tensor"`` for tensor cores, of float16 and bfloat16 alone, or ``"fma"``, which rounds neither P nor dS.
    By default tensor cores are used where the card has them (compute capability 8.0 and later; GPU-16).

    Raises :class:`~assay.spec.problem.InvalidInstance` for shapes, dtypes and options that do not fit, naming the
    argument, and ``ImportError`` where CuPy is not installed.
    """
    arrays = {
        "query": query, "key": key, "value": value, "mask": mask, "bias": bias, "key_lengths": key_lengths,
        "sink": sink, "output": output, "log_sum_exp": log_sum_exp, "grad_output": grad_output,
        "grad_log_sum_exp": grad_log_sum_exp,
    }  # fmt: skip
    plain = {"is_causal": is_causal, "causal": causal, "window": window, "softcap": softcap}
    return run(card(), arrays, products, scale=scale, **plain)


def run(machine: Machine, arrays: dict[str, Any], products: str | None = None, **plain: Any) -> tuple[Any, ...]:
    """:func:`exact` on a machine; arrays that are not given are ``None``."""
    given = {name: machine.given(array) for name, array in arrays.items()}
    passed = {name: given[name] for name in ("query", "key", "value", "mask", "bias", "key_lengths", "sink")}
    instance = Instance(**standing_in(passed), **plain)
    query, key, value, bias, sink = (given[name] for name in ("query", "key", "value", "bias", "sink"))
    (b, h, n_q, d), (h_k, n_k, d_v) = query.shape, value.shape[1:]
    work, kind = work_of(query), query.dtype
    on_tensor_cores = multiplied(machine, instance, products, _TENSOR)
    if (given["output"] is None) != (given["log_sum_exp"] is None):
        raise InvalidInstance("output and log_sum_exp: expected both or neither")
    if given["output"] is None:
        unasked = None if on_tensor_cores else "fma"
        given["output"], given["log_sum_exp"] = forward.run(machine, passed, unasked, return_lse=True, **plain)
    wide = tuple(map(np.dtype, (kind, np.float32, np.float64)))
    for name, array in standing_in({name: given[name] for name in _INCOMING}).items():
        if array is not None or name != "grad_log_sum_exp":
            check(name, array, (b, h, n_q, d_v)[: _INCOMING[name]], wide[: 1 if name == "grad_output" else 3])
    output, lse, grad_lse = (given[name] for name in ("output", "log_sum_exp", "grad_log_sum_exp"))
    made = {
        "sum": machine.empty((b, h, n_q), work),
        "delta": machine.empty((b, h, n_q), work),
        "grad_query": machine.empty(query.shape, kind),
        "grad_key": machine.empty(key.shape, kind),
        "grad_value": machine.empty(value.shape, kind),
        "to_bias": None if bias is None else machine.empty(bias.shape, work),
        "grad_sink": None if sink is None else machine.empty((h,), work),
    }
    keep: list[Any] = []
    if sink is not None:
        keep.append(sink := sink.astype(work))
    padded = (1, 1, 1, 1) if bias is None else (1,) * (4 - bias.ndim) + tuple(bias.shape)
    per_row = (b, h, n_q, 1)
    arguments = struct(
        query=view(machine, query, (b, h, n_q, d)),
        key=view(machine, key, (b, h_k, n_k, d)),
        value=view(machine, value, (b, h_k, n_k, d_v)),
        grad_output=view(machine, given["grad_output"], (b, h, n_q, d_v)),
        output=view(machine, output, (b, h, n_q, d_v)),
        lse=view(machine, lse[..., None], per_row),
        grad_lse=view(machine, None if grad_lse is None else grad_lse[..., None], per_row),
        output_type=TYPES.index(output.dtype.name),
        lse_type=TYPES.index(lse.dtype.name),
        grad_lse_type=0 if grad_lse is None else TYPES.index(grad_lse.dtype.name),
        **options(machine, instance, given, keep),
        **{f"made_{name}": 0 if array is None else machine.address(array) for name, array in made.items()},
        sink=0 if sink is None else machine.address(sink),
        batches=b,
        heads=h,
        group=instance.group,
        queries=n_q,
        keys=n_k,
        dim=d,
        columns=d_v,
        bias_shape=padded,
    )

    def start(kernel: str, of: Launch, source: str = _SOURCE) -> None:
        machine.run(source, f"{kernel}_{kind.name}", arguments, of)

    start("prepare", Launch(-(-b * h * n_q // THREADS), THREADS, 0))
    for kernel, tiles, columns in (
        ("queries", b * h * -(-n_q // ROWS), d),
        ("keys", b * h_k * -(-n_k // ROWS), d),
        ("values", b * h_k * -(-n_k // ROWS), d_v),
    ):
        blocks = tiles * -(-columns // COLUMNS)
        if on_tensor_cores:
            start(kernel, tensor_launch(blocks, kind, _FACTORS), _TENSOR_SOURCE)
        else:
            start(kernel, launch(blocks, work))
    results = [made["grad_query"], made["grad_key"], made["grad_value"]]
    if bias is not None:
        start("bias", launch(padded[0] * padded[1] * -(-padded[2] // ROWS) * -(-padded[3] // ROWS), work))
        results.append(made["to_bias"].astype(bias.dtype))
    if sink is not None:
        start("sink", Launch(h, THREADS, THREADS * work.itemsize))
        results.append(made["grad_sink"].astype(given["sink"].dtype))
    return tuple(results)
