"""Outputs of another shape than was asked for: the axes in another order, or one as long as another should be.

A sentence is told only if it holds of every failure of the kind, and where it speaks of numbers they were compared.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from assay.conformance.diagnosis.evidence import Evidence, Judged
    from assay.conformance.interface.steps import Output
    from assay.spec.criterion import Criterion

__all__ = ["told"]


def told(evidence: Evidence, failures: Sequence[Judged]) -> list[str]:
    """What is returned in place of the right shape: one sentence, or none."""
    shaped = [f for f in failures if f.outcome.kind in ("shape", "dtype") and f.outcome.values]
    if not shaped:
        return []
    name, got = next(iter(shaped[0].outcome.values.items()))
    output = evidence.outputs(shaped[0].instance)[name]
    every = []
    for failure in shaped[:8]:
        value = failure.outcome.values.get(name)
        if value is None:
            return []
        criteria = evidence.known(failure.instance) or {}
        asked = evidence.outputs(failure.instance)[name]
        every.append((value, asked, criteria.get(name), failure.instance.lengths()))
    for words, holds in _answers(name, got, output, every[0][3]):
        if all(holds(*one) for one in every):
            return [f"shape: {words}"]
    return []


def _answers(
    name: str, got: NDArray[Any], output: Output, lengths: dict[str, int]
) -> Iterator[tuple[str, Callable[..., bool]]]:
    axes = output.axes
    if got.ndim == len(axes):
        yield f"the right {name} in another type", lambda value, asked, criterion, _: _close(value, criterion)
        for order in permutations(range(len(axes))):
            if order != tuple(range(len(axes))):
                words = ", ".join(axes[k] for k in order)

                def transposed(value: Any, asked: Output, criterion: Any, _: Any, order: Any = order) -> bool:
                    back = np.argsort(order)
                    return bool(value.ndim == len(order)) and _close(value.transpose(back), criterion)

                yield f"returns the right {name} of the transposed layout ({words})", transposed
        for place, axis in enumerate(axes):
            for other in lengths:
                if other != axis.replace(" ", "_"):

                    def taken(
                        value: Any, asked: Output, _: Any, now: dict[str, int], place: int = place, other: str = other
                    ) -> bool:
                        wanted = list(asked.shape)
                        wanted[place] = now.get(other)
                        return bool(value.shape == tuple(wanted))

                    yield f"returns as many {axis} as there are {other.replace('_', ' ')}", taken
    yield (
        f"returns the right {name} without its axes of length 1",
        lambda value, asked, criterion, _: (
            value.shape == tuple(n for n in asked.shape if n != 1) and _close(value.reshape(asked.shape), criterion)
        ),
    )
    yield (
        f"returns the numbers of the right {name}, in order, in another shape",
        lambda value, asked, criterion, _: (
            None not in asked.shape
            and value.size == int(np.prod([n or 0 for n in asked.shape]))
            and _close(value.reshape(asked.shape), criterion)
        ),
    )


def _close(value: NDArray[Any], criterion: Criterion | None) -> bool:
    if criterion is None or criterion.value is None or value.shape != criterion.value.shape:
        return False
    return bool((criterion.ratio(value) <= 1.0).all())
