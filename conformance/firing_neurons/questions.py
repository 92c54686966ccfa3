"""What a structure does where the problem leaves it a choice: ties within a rounding, and input that makes no sense."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.steps import Output, Step
from assay.conformance.profile.questions import REPEATS, Ask, Question
from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["QUESTIONS"]

_N, _M, _D = 4, 6, 3


def _numbers(ask: Ask, *shape: int, seed: int = 0) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(1, 9, shape) * rng.choice([-1, 1], shape)
    return np.asarray(numbers.astype(dtype_named(ask.precision.storage)))


def _turned(ask: Ask, *neurons: int) -> NDArray[Any]:
    """New weights of some neurons that change most of their answers."""
    return np.asarray(-9 * _numbers(ask, _M, _D, seed=1)[list(neurons)])


def _made(ask: Ask, **changes: NDArray[Any]) -> Step:
    """The structure of small whole numbers, or with other arrays."""
    arrays = {"data": _numbers(ask, _N, _D), "weights": _numbers(ask, _M, _D, seed=1)} | changes
    return Step(tuple(arrays.items()), {"threshold": 2.0}, method="new")


def _update(neurons: Sequence[int], weights: NDArray[Any]) -> Step:
    return Step((("neurons", np.array(neurons, np.int64)), ("weights", weights)), method="update")


def _fired(points: Sequence[int], name: str = "fired") -> Step:
    output = Output(name, (len(points), _M), ("bool",))
    return Step((("points", np.array(points, np.int64)),), {}, (output,), "fired")


def _data_of(neurons: Sequence[int]) -> Step:
    output = Output("data_of", (len(neurons), _N), ("bool",))
    return Step((("neurons", np.array(neurons, np.int64)),), {}, (output,), "data_of")


def _after(step: Callable[[Ask], Step]) -> Callable[[Ask], str]:
    """What a step does, and whether the structure answers afterwards as it did before."""

    def asked(ask: Ask) -> str:
        before, did, after = ask.steps(
            (_made(ask), _fired(range(_N), "before"), step(ask), _fired(range(_N), "after"))
        )[1:]
        said = did if isinstance(did, str) else "is taken"
        if isinstance(before, str) or isinstance(after, str):
            return f"{said}; a query afterwards {after if isinstance(after, str) else 'is answered'}"
        same = np.array_equal(before["before"], after["after"])
        return f"{said}; the structure answers {'as before' if same else 'otherwise than before'}"

    return asked


def _alone(step: Callable[[Ask], Step]) -> Callable[[Ask], str]:
    """What a structure of strange numbers does when it is made."""

    def asked(ask: Ask) -> str:
        made, query = ask.steps((step(ask), _fired(range(_N))))
        if isinstance(made, str):
            return made
        return query if isinstance(query, str) else f"is taken: {int(query['fired'].sum())} of {_N * _M} pairs fire"

    return asked


def _spoilt(ask: Ask, value: float, *shape: int) -> NDArray[Any]:
    numbers = _numbers(ask, *shape, seed=2)
    numbers[0, 0] = value
    return numbers


def _twice(ask: Ask) -> str:
    """A neuron twice in one batch: which weights are kept."""
    data = np.eye(_D)[:1].repeat(_N, 0).astype(dtype_named(ask.precision.storage))
    rows = np.array([[4.0, 0, 0], [-4.0, 0, 0]]).astype(data.dtype)
    kept = []
    for order in (rows, rows[::-1]):
        _, did, answer = ask.steps((_made(ask, data=data), _update([1, 1], np.ascontiguousarray(order)), _fired([0])))
        if isinstance(did, str):
            return did
        if isinstance(answer, str):
            return f"is taken; a query afterwards {answer}"
        kept.append(bool(answer["fired"][0, 1]))
    return {(False, True): "the last one wins", (True, False): "the first one wins"}.get(
        (kept[0], kept[1]), "neither: both count"
    )


_INPUT = "input"
_CHOICES = "choices"


def _empty(ask: Ask) -> str:
    """An empty batch of an update and of both queries."""
    none = np.zeros((0, _D), dtype_named(ask.precision.storage))
    told = ask.steps((_made(ask), _update([], none), _fired([]), _data_of([])))[1:]
    words = ("update", "fired", "data_of")
    odd = [f"{word} {did}" for word, did in zip(words, told, strict=True) if isinstance(did, str)]
    return "; ".join(odd) or "is taken: nothing is updated, and no rows are returned"


def _repeated(ask: Ask) -> str:
    """A point twice in one query."""
    _, both, one = ask.steps((_made(ask), _fired([1, 1], "both"), _fired([1], "one")))
    if isinstance(both, str) or isinstance(one, str):
        return str(both if isinstance(both, str) else one)
    return "is answered twice" if (both["both"] == one["one"]).all() else "is answered otherwise than once"


def _kept(ask: Ask) -> str:
    """Whether the same query is answered alike twice after an update."""
    rows = _numbers(ask, 1, _D, seed=3)
    first, second = ask.steps((_made(ask), _update([0], rows), _fired(range(_N), "x"), _fired(range(_N), "y")))[2:]
    if isinstance(first, str) or isinstance(second, str):
        return str(first if isinstance(first, str) else second)
    return "the same answer" if np.array_equal(first["x"], second["y"]) else "another answer"


#: The questions of a data sheet, in its order.
QUESTIONS: tuple[Question, ...] = (
    Question("asked-again", _CHOICES, "the same question again", _kept, ("updates",)),
    Question("twice", _CHOICES, "a neuron twice in a batch", _twice, ("updates",)),
    Question("repeated", _CHOICES, "a point twice in a query", _repeated),
    Question("empty", _INPUT, "an empty batch", _empty, ("updates", "data_of")),
    Question("unknown", _INPUT, "an update of a neuron that is not there", _after(lambda a: _update([_M], _turned(a, 0))), ("updates",)),
    Question("negative", _INPUT, "an update of neuron −1", _after(lambda a: _update([-1], _turned(a, -1))), ("updates",)),
    Question("unknown-point", _INPUT, "a query of a point that is not there", _after(lambda a: _fired([_N]))),
    Question("negative-point", _INPUT, "a query of point −1", _after(lambda a: _fired([-1]))),
    Question("dim", _INPUT, "new weights of a coordinate more", _after(lambda a: _update([0], _numbers(a, 1, _D + 1))), ("updates",)),
    Question("rows", _INPUT, "two neurons and three rows", _after(lambda a: _update([0, 1], _numbers(a, 3, _D))), ("updates",)),
    Question("half-wrong", _INPUT, "a batch of which the last neuron is not there", _after(lambda a: _update([0, _M], _turned(a, 0, 1))), ("updates",)),
    Question("nan", _INPUT, "a NaN among new weights", _after(lambda a: _update([0, 1], _spoilt(a, np.nan, 2, _D))), ("updates",)),
    Question("infinity", _INPUT, "an infinity among new weights", _after(lambda a: _update([0, 1], _spoilt(a, np.inf, 2, _D))), ("updates",)),
    Question("nan-data", _INPUT, "a NaN among the data", _alone(lambda a: _made(a, data=_spoilt(a, np.nan, _N, _D)))),
    Question("dims", _INPUT, "data and weights of different dims", _alone(lambda a: _made(a, weights=_numbers(a, _M, _D + 1)))),
    REPEATS,
)  # fmt: skip
