"""Merges in PyTorch: its own for context parallelism, and the formulas of FlashInfer and vLLM written anew.

Sources: ``torch.distributed.tensor.experimental``; https://docs.flashinfer.ai/tutorials/recursive_attention.html, whose
logarithms are of base 2; section 2.2 of https://www.arxiv.org/pdf/2501.01005, which vLLM's merge_attn_states cites.
"""

from __future__ import annotations

import importlib
from typing import Any

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["built_in", "merge_attn_states", "merge_state", "sdpa_merger"]


def _kernel(name: str, function: Any, **conventions: str) -> Kernel:
    import torch

    keywords = keywords_of(function, "small_transformers_merge")
    return Kernel(name, function, "torch", keywords, conventions=conventions, version=torch.__version__)


def built_in(name: str) -> Kernel:
    from assay.impl.cpu.small_transformers import merge

    return _kernel(name, merge)


def sdpa_merger(name: str) -> Kernel:
    """The class that PyTorch merges the parts of context parallelism with."""
    _merger()
    return _kernel(name, _by_merger)


def _merger() -> Any:
    for module in ("_context_parallel._attention", "_attention"):  # where it lies, and where it lay before torch 2.9
        try:
            found = importlib.import_module(f"torch.distributed.tensor.experimental.{module}")
        except ModuleNotFoundError:
            continue
        if hasattr(found, "_SDPAMerger"):
            return found._SDPAMerger
    raise ImportError("torch has no _SDPAMerger")


def _by_merger(outputs: Any, log_sum_exps: Any, *, return_lse: bool = False) -> Any:
    import torch

    merger = _merger()(convert_to_f32=outputs.dtype != torch.float64, seq_dim=2)
    for output, log_sum_exp in zip(outputs, log_sum_exps, strict=True):
        merger.step(output, log_sum_exp, partial=False)
    made, lse = merger.results()
    made = made.clone()  # of one part it is that part itself
    return (made, lse.clone()) if return_lse else made


def merge_state(name: str) -> Kernel:
    return _kernel(name, _pairs_of_base_2, logarithm="binary")


def _pairs_of_base_2(outputs: Any, log_sum_exps: Any, *, return_lse: bool = False) -> Any:
    """v = (v_a 2^(s_a − s) + v_b 2^(s_b − s))/(2^(s_a − s) + 2^(s_b − s)), s the larger of both; one part at a time."""
    import torch

    work = torch.promote_types(outputs.dtype, torch.float32)
    made, log = outputs[0].to(work).clone(), log_sum_exps[0].to(work).clone()
    if len(outputs) == 1:
        made = torch.where(log[..., None] == -torch.inf, torch.zeros_like(made), made)
    for output, other in zip(outputs[1:].to(work), log_sum_exps[1:].to(work), strict=True):
        most = torch.maximum(log, other)
        a, b = torch.exp2(log - most), torch.exp2(other - most)
        made = (a / (a + b))[..., None] * made + (b / (a + b))[..., None] * output
        log = torch.log2(a + b) + most
    made = made.to(outputs.dtype)
    return (made, log) if return_lse else made


def merge_attn_states(name: str) -> Kernel:
    return _kernel(name, _pairs)


def _pairs(outputs: Any, log_sum_exps: Any, *, return_lse: bool = False) -> Any:
    """Prefix and suffix by natural logarithms, where a row that has no keys in either part is 0."""
    import torch

    work = torch.promote_types(outputs.dtype, torch.float32)
    made, log = outputs[0].to(work), log_sum_exps[0].to(work)
    made = torch.where(log[..., None] == -torch.inf, torch.zeros_like(made), made)
    for output, other in zip(outputs[1:].to(work), log_sum_exps[1:].to(work), strict=True):
        most = torch.maximum(log, other)
        most = torch.where(most == -torch.inf, torch.zeros_like(most), most)
        a, b = (log - most).exp(), (other - most).exp()
        total = a + b
        safe = torch.where(total > 0, total, torch.ones_like(total))
        made = (a / safe)[..., None] * made + (b / safe)[..., None] * output
        log = torch.log(total) + most
    made = made.to(outputs.dtype)
    return (made, log.clone()) if return_lse else made
