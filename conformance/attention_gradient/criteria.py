"""What gradients are held to: the tolerance of the origin of δ that they fit best, under declared conventions."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.attention_gradient.criteria import close_to_one_of
from assay.spec.attention_gradient.tolerance import HANDED, OWN, RUNNING
from assay.spec.enclosure import Enclosure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from assay.conformance.interface.kernel import Kernel
    from assay.spec.criterion import Criterion

__all__ = ["CONVENTIONS", "close_to_origins"]

#: Conventions that ``options`` may declare, the first being the default.
#: ``empty_row``: ``any`` for a kernel that documents nothing about queries that attend to no key: then nothing is
#: judged of heads that have one.
#: ``handed``: ``used`` for a backward pass that forms probabilities with the log-sum-exp that it is handed, and δ with
#: the output that it is handed or with products; its tolerance is sharper.  Any other may run the forward pass again.
#: ``running_maximum``: ``differentiated`` for a kernel that differentiates the running maximum of an online softmax
#: automatically; its tolerance is wider.  Any other detaches it, or has one maximum a row.
CONVENTIONS: dict[str, tuple[str, ...]] = {
    "empty_row": ("zero", "any"),
    "handed": ("any", "used"),
    "running_maximum": ("detached", "differentiated"),
}

_KEPT = 1 << 13  # numbers of a matrix of queries and keys that is kept from case to case


def close_to_origins(
    instance: Any,
    kernel: Kernel,
    bounds_of: Callable[[], Any],
    *,
    handed: Callable[[], tuple[NDArray[Any], NDArray[Any]]],
    names: Sequence[str],
    undecided: Mapping[str, Any],
    forward: bool,
    pairs: int,
) -> Mapping[str, Criterion]:
    """Closeness of the gradients ``names``, within the tolerance of the origin of δ that they fit best (BWD-5).

    What the kernel was handed is known, and so is the output that a differentiated forward pass returned.
    bounds_of(): the tolerances of the instance.  handed(): the output and the log-sum-exp that a kernel is handed.
    undecided: output → where nothing is judged.  forward: whether the kernel is a differentiated forward pass.
    pairs: how many numbers a matrix of queries and keys has, over all heads.
    """
    bounds = bounds_of()
    exact = bounds.exact.gradients()
    kept = bounds if pairs <= _KEPT else None
    own = RUNNING if kernel.conventions.get("running_maximum") == "differentiated" else OWN
    if kernel.conventions.get("handed") == "used" and not forward:
        output, log_sum_exp = (array.astype(np.float64) for array in handed())
        allowed = [bounds.of(origin, output, log_sum_exp) for origin in HANDED]
    else:
        allowed = [bounds.of(origin) for origin in own]

    @functools.lru_cache(maxsize=1)
    def beside(output: bytes) -> list[Mapping[str, NDArray[np.float64]]]:
        """The tolerances beside an output that was returned; large matrices are not kept from case to case."""
        numbers = np.frombuffer(output).reshape(instance.grad_output.shape)
        made = kept or bounds_of()
        return [made.of(origin, numbers) for origin in own]

    def held(name: str) -> Criterion:
        def decided(bounds: Sequence[Mapping[str, NDArray[np.float64]]]) -> list[NDArray[np.float64]]:
            return [np.where(undecided[name], np.inf, one[name]) if undecided else one[name] for one in bounds]

        def observed(output: NDArray[Any]) -> list[NDArray[np.float64]]:
            return decided(beside(output.astype(np.float64).tobytes()))

        value = Enclosure(exact[name].midpoint, exact[name].radius)
        if not forward:
            return close_to_one_of(value, decided(allowed))
        return close_to_one_of(value, decided(allowed), observed, (name, "output"))

    return {name: held(name) for name in names}
