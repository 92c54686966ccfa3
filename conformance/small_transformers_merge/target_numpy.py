"""The textbook formula in NumPy, and assay's own merge for the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["built_in", "textbook"]

_PROBLEM = "small_transformers_merge"


def built_in(name: str) -> Kernel:
    from assay.impl.cpu.small_transformers import merge

    return Kernel(name, merge, keywords=keywords_of(merge, _PROBLEM))


def textbook(name: str) -> Kernel:
    return Kernel(name, _merged, keywords=keywords_of(_merged, _PROBLEM), version=np.__version__)


def _merged(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
    """Σ e^(l_t − m) o_t / Σ e^(l_t − m) in the type of the log-sum-exps; the sink is one more part, of the output 0."""
    work = log_sum_exps.dtype.type
    logs, parts = log_sum_exps, outputs.astype(work)
    if sink is not None:
        logs = np.concatenate([logs, np.broadcast_to(sink.astype(work)[:, None], (1, *logs.shape[1:]))])
        parts = np.concatenate([parts, np.zeros_like(parts[:1])])
    most = logs.max(axis=0)
    most = np.where(np.isfinite(most), most, work(0))
    weight = np.exp(logs - most)
    total = weight.sum(axis=0)
    safe = np.where(total > 0, total, work(1))
    output = ((weight[..., None] * parts).sum(axis=0) / safe[..., None]).astype(outputs.dtype)
    return (output, np.where(total > 0, most + np.log(safe), work(-np.inf))) if return_lse else output
