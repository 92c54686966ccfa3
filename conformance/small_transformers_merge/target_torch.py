"""Merges of PyTorch and of packages for it: one part after the other, each by the library's own step.

Sources: ``torch.distributed.tensor.experimental._context_parallel._attention``; ring-attention-pytorch; and the
formulas of FlashInfer's ``merge_state`` and ``merge_states``, written anew, which run on GPUs alone.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
from typing import Any

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.suite import CONCURRENT_CALLS
from assay.conformance.interface.targets import keywords_of

__all__ = ["merge_state", "merge_states", "ring", "sdpa_merger"]

_PROBLEM = "small_transformers_merge"


def _kernel(name: str, function: Any, version: str = "", **others: Any) -> Kernel:
    version = version or str(importlib.import_module("torch").__version__)
    return Kernel(name, function, "torch", keywords_of(function, _PROBLEM), version=version, **others)


# --- the context-parallel attention of PyTorch ------------------------------------------------------------------------


def sdpa_merger(name: str) -> Kernel:
    importlib.import_module("torch.distributed.tensor.experimental._attention")
    return _kernel(name, _merger)


def _merger(outputs: Any, log_sum_exps: Any, *, return_lse: bool = False) -> Any:
    """``_SDPAMerger``, as ring attention over devices calls it after every rotation."""
    from torch.distributed.tensor.experimental._context_parallel import _attention

    merger = _attention._SDPAMerger(convert_to_f32=True, seq_dim=2)
    for output, logs in zip(outputs, log_sum_exps, strict=True):
        merger.step(output, logs, partial=False)
    output, logs = merger.results()
    return (output.clone(), logs.clone()) if return_lse else output.clone()


# --- as FlashInfer has it ---------------------------------------------------------------------------------------------


def merge_state(name: str) -> Kernel:
    return _kernel(name, _pairwise, conventions={"logarithm": "binary"})


def _pairwise(outputs: Any, log_sum_exps: Any, *, return_lse: bool = False) -> Any:
    """Two states after each other, in logarithms of base 2; every result is rounded to the type of the outputs last."""
    output, logs = outputs[0].to(log_sum_exps.dtype), log_sum_exps[0]
    for other, other_logs in zip(outputs[1:], log_sum_exps[1:], strict=True):
        most = logs.maximum(other_logs)
        a, b = (logs - most).exp2(), (other_logs - most).exp2()
        total = a + b
        output = (a / total)[..., None] * output + (b / total)[..., None] * other.to(output.dtype)
        logs = total.log2() + most
    output = output.to(outputs.dtype)
    return (output, logs.clone()) if return_lse else output


def merge_states(name: str) -> Kernel:
    return _kernel(name, _together, conventions={"logarithm": "binary"})


def _together(outputs: Any, log_sum_exps: Any, *, return_lse: bool = False) -> Any:
    """All states at once, with a sum that is rescaled, and −5·10⁴ for the logarithm of nothing."""
    import torch

    output = torch.zeros(outputs.shape[1:], dtype=log_sum_exps.dtype)
    most = torch.full(log_sum_exps.shape[1:], -5e4, dtype=log_sum_exps.dtype)
    total = torch.zeros_like(most)
    for other, other_logs in zip(outputs, log_sum_exps, strict=True):
        new = most.maximum(other_logs)
        before, now = (most - new).exp2(), (other_logs - new).exp2()
        output = before[..., None] * output + now[..., None] * other.to(output.dtype)
        total, most = before * total + now, new
    some = total > 0
    safe = torch.where(some, total, torch.ones_like(total))
    output = (output / safe[..., None]).to(outputs.dtype)
    return (output, torch.where(some, safe.log2() + most, -math.inf)) if return_lse else output


# --- ring-attention-pytorch -------------------------------------------------------------------------------------------


def ring(name: str) -> Kernel:
    importlib.import_module("ring_attention_pytorch.ring_flash_attention")
    version = importlib.metadata.version("ring-attention-pytorch")
    return _kernel(name, _ring, version, lacks=frozenset({CONCURRENT_CALLS}))


def _ring(outputs: Any, log_sum_exps: Any) -> Any:
    """``ring_flash_attn`` over buckets of one key each: a part is a key of the score l_t, and its output is the value.

    Queries are (√d, 0, …) and keys (l_t, 0, …), with d a power of 4, so that products and the scale are exact.
    """
    import torch

    ring_flash_attn = importlib.import_module("ring_attention_pytorch.ring_flash_attention").ring_flash_attn
    parts, b, h, n, d_v = outputs.shape
    dim = 4 ** math.ceil(math.log(max(d_v, 1), 4))
    rows = b * h * n
    query = torch.zeros(rows, 1, 1, dim, dtype=outputs.dtype)
    query[..., 0] = math.sqrt(dim)
    empty = log_sum_exps == -math.inf
    key = torch.zeros(rows, parts, 1, dim, dtype=outputs.dtype)
    key[..., 0, 0] = torch.where(empty, 0.0, log_sum_exps).reshape(parts, rows).T
    value = torch.zeros_like(key)
    value[..., 0, :d_v] = outputs.reshape(parts, rows, d_v).transpose(0, 1)
    made = ring_flash_attn(query, key, value, ~empty.reshape(parts, rows).T, False, 1)
    return made[:, 0, 0, :d_v].reshape(b, h, n, d_v)
