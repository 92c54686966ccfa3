"""What a kernel does where the problem leaves it a choice, and how small and how large documents may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.profile.questions import REPEATS, Ask, NoAnswer, Question, nan_in
from assay.spec.document_similarity import Instance
from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["QUESTIONS"]

_TWO, _ONE = "two_collections", "one_collection"
_OFF = 0.05  # further from the right cosine than the rounding of any class of these documents


def _documents(ask: Ask, left: Any, right: Any = None) -> Instance:
    """Documents of both sides, or of one where a kernel has that form alone."""
    kind = dtype_named(ask.precision.storage)
    one = np.asarray(left, kind)
    if right is None:
        return Instance(one)
    other = np.asarray(right, kind)
    return Instance(one, other) if _TWO in ask.capabilities else Instance(np.concatenate([one, other]))


def _pair(outputs: Mapping[str, Array]) -> tuple[int, int]:
    return int(outputs["i"]), int(outputs["j"])


def _empty(ask: Ask) -> str:
    """A document of zeros among others: what similarity it has, if it is the only one, and whether it is ever chosen."""
    left = np.array([[1.0, 0.0], [1.0, 1.0]])
    instance = _documents(ask, left, left[:1])
    kind = instance.left.dtype
    alone = ask.call(instance, left=np.zeros((2, 2), kind)) if instance.right is not None else None
    among = ask.call(instance, left=np.array([[0.0, 0.0], [1.0, 1.0]], kind)) if alone is not None else None
    if alone is None or among is None:
        raise NoAnswer("takes one collection")
    chosen = "it is chosen before others" if _pair(among)[0] == 0 else "others are chosen before it"
    return f"its similarity is {float(alone['similarity']):g}; {chosen}"


def _ties(ask: Ask) -> str:
    documents = np.ones((3, 4))
    i, j = _pair(ask.call(_documents(ask, documents, documents)))
    first, last = ((0, 0), (2, 2)) if _TWO in ask.capabilities else ((0, 1), (4, 5))
    return {first: "the first", last: "the last"}.get((i, j), f"({i}, {j})")


def _order(ask: Ask) -> str:
    i, j = _pair(ask.call(_documents(ask, [[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])))
    return "i < j" if i < j else "i > j"


def _equal(ask: Ask) -> str:
    """The similarity of equal documents, whose cosine is 1, in units of the last place below 1."""
    rng = np.random.default_rng(0)
    unit = float(max(ask.precision.working, ask.precision.output))
    off = []
    for _ in range(16):
        documents = rng.random((1, 37)) + 0.1
        off.append((float(ask.call(_documents(ask, documents, documents))["similarity"]) - 1.0) / unit)
    if not np.isfinite(off).all():
        return "not finite"
    return f"1 {min(off):+.2g} … {max(off):+.2g} units of rounding; {'above 1' if max(off) > 0 else 'at most 1'}"


def _scales(sign: int) -> Callable[[Ask], str]:
    """The first power of two by which documents are scaled so that a cosine goes wrong."""

    def asked(ask: Ask) -> str:
        left, right = np.array([[1.0, 2.0, 0.0]]), np.array([[2.0, 1.0, 1.0]])
        most = {"float64": 1000, "float16": 13}.get(ask.precision.storage, 120)
        for power in range(1, most + 1):
            factor = 2.0 ** (sign * power)
            try:
                value = float(ask.call(_documents(ask, left * factor, right * factor))["similarity"])
            except NoAnswer as reason:
                return f"2^{sign * power}: {reason}"
            if not abs(value - 4 / np.sqrt(30)) < _OFF:
                return f"norms of 2^{sign * power}: the cosine {4 / np.sqrt(30):.3f} comes out as {value:.3g}"
        return f"none to 2^{sign * most}"

    return asked


_CHOICES, _RANGE = "choices", "range"

#: The questions of a data sheet, in its order.
QUESTIONS: tuple[Question, ...] = (
    Question("ties", _CHOICES, "of several best pairs", _ties),
    Question("order", _CHOICES, "in one collection", _order, (_ONE,)),
    Question("zeros", _CHOICES, "a document of zeros", _empty, (_TWO,)),
    Question("equal", _CHOICES, "equal documents", _equal),
    Question("small", _RANGE, "small documents", _scales(-1), ("small_norms",)),
    Question("large", _RANGE, "large documents", _scales(1)),
    REPEATS,
    nan_in("left", "a NaN in a document"),
)
