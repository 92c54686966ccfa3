"""What a rotary kernel does where the problem leaves it a choice, and how far its angles are right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.profile.questions import REPEATS, Ask, NoAnswer, Question, nan_in
from assay.conformance.rope.stages import phase_errors, unit_pairs
from assay.spec.rope import Instance, define

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["QUESTIONS", "first_off", "phases"]

_DIM = 64
_RADIANS = (1e-3, 1e-2, 1e-1)


def _pairs(ask: Ask, positions: Any, **options: Any) -> Instance:
    """Every pair is (1, 0), so that it comes out as cosine and sine; in the layout that the kernel has."""
    positions = np.asarray(positions, np.int64)
    layout = "halves" if "halves" in ask.capabilities else "pairs"
    x = unit_pairs(len(positions), options.pop("dim", _DIM), ask.precision.storage, layout)
    return Instance(x, x.copy(), positions, layout=layout, **options)


def _turned(ask: Ask, positions: Any, **options: Any) -> Array:
    return ask.call(_pairs(ask, positions, **options))["query"]


def _close(value: Array, instance: Instance) -> bool:
    return bool(np.abs(value - define(instance, 1e-9).midpoint).max() < 0.05)


def phases(ask: Ask, positions: Any) -> Array:
    """The largest error of an angle, in radians, of every position, less what rounding of the output explains."""
    instance = _pairs(ask, positions)
    errors = phase_errors(instance, _turned(ask, positions))
    return np.asarray(np.maximum(errors.max(axis=(0, 1, 3)) - 4 * ask.precision.output - 1e-7, 0.0))


def first_off(ask: Ask, radians: float) -> int | None:
    """The first position of a scan to 2^25 at which an angle is off by so much: 256 in every power of two.

    Raises :class:`~assay.conformance.profile.questions.NoAnswer` where the kernel takes no more positions.
    """
    for power in range(4, 25):
        positions = np.unique(np.linspace(1 << power, (2 << power) - 1, min(256, 1 << power)).astype(np.int64) | 1)
        if "any_positions" not in ask.capabilities:
            positions = (1 << power) + np.arange(min(256, 1 << power))
        try:
            wrong = phases(ask, positions) >= radians
        except NoAnswer as reason:
            raise NoAnswer(f"none below {1 << power:,}; {reason}") from None
        if wrong.any():
            return int(positions[np.argmax(wrong)])
    return None


def _first(radians: float) -> Callable[[Ask], str]:
    def asked(ask: Ask) -> str:
        position = first_off(ask, radians)
        return "none to 2^25" if position is None else f"{position:,}"

    return asked


def _class_of_angles(ask: Ask) -> str:
    """By the error at a far position; at a nearer one where the kernel takes no far ones."""
    for at in ((1 << 20) + 1, 4095, 511):
        try:
            error = float(phases(ask, [at])[0])
        except NoAnswer:
            continue
        for most, words in ((1e-12 * at + 2e-7, "more than float32"), (3e-7 * at + 2e-7, "float32")):
            if error <= most:
                return f"{words}: off by {error:.1e} rad at position {at:,}"
        return f"less than float32: off by {error:.1e} rad at position {at:,}"
    raise NoAnswer("no position is taken")


def _sign(ask: Ask) -> str:
    value, instance = _turned(ask, [1], dim=4), _pairs(ask, [1], dim=4)
    return "positive: (1, 0) becomes (cos, sin)" if _close(value, instance) else "negative: (1, 0) becomes (cos, −sin)"


def _layout(ask: Ask) -> str:
    instance = _pairs(ask, [3], dim=8)
    value = ask.call(instance, without=("layout",))["query"]
    fitting = [layout for layout in ("halves", "pairs") if _close(value, instance.replace(layout=layout))]
    return fitting[0] if fitting else "another"


def _beyond(ask: Ask) -> str:
    """What happens at the first of the positions 2^k + 1 that goes wrong."""
    for power in range(9, 21):
        position = (1 << power) + 1
        instance = _pairs(ask, [position])
        try:
            value = _turned(ask, [position])
        except NoAnswer as reason:
            return f"at {position:,}: {reason}"
        if _close(value, instance):
            continue
        rows = (("not rotated", 0), ("the last row of its table", position - 2), ("begins again", 1))
        words = [word for word, row in rows if _close(value, _pairs(ask, [row]))]
        return f"at {position:,}: {words[0] if words else 'other angles'}"
    return "right to 2^20 + 1, within 0.05"


def _negative(ask: Ask) -> str:
    value, instance = _turned(ask, [-3], dim=8), _pairs(ask, [-3], dim=8)
    if _close(value, instance):
        return "turns back"
    return "as position 3" if _close(value, _pairs(ask, [3], dim=8)) else "other angles"


def _dynamic(ask: Ask) -> str:
    """Four tokens far beyond the original length."""
    options: dict[str, Any] = {"scaling": "dynamic", "factor": 4.0, "original_length": 8, "dim": 8}
    value = _turned(ask, 40 + np.arange(4), **options)
    if _close(value, _pairs(ask, 40 + np.arange(4), **options)):
        return "the largest position + 1"
    plain = _pairs(ask, 40 + np.arange(4), dim=8)
    return "the number of tokens" if _close(value, plain) else "another"


def _kept(ask: Ask) -> str:
    """A short call after a long one."""
    options: dict[str, Any] = {"scaling": "dynamic", "factor": 4.0, "original_length": 8, "dim": 8}
    first = _turned(ask, 12 + np.arange(4), **options)
    _turned(ask, 400 + np.arange(4), **options)
    again = _turned(ask, 12 + np.arange(4), **options)
    return "as before" if np.array_equal(first, again) else "another answer than before"


def _magnitude(ask: Ask) -> str:
    options: dict[str, Any] = {"scaling": "yarn", "factor": 16.0, "original_length": 2048}
    value = _turned(ask, [0], **options)[0, 0, 0, 0]
    for words, number in (("applied", 1 + np.log(16) / 10), ("left to the caller", 1.0)):
        if abs(value - number) < 0.01:
            return words
    return f"another: {value:.4g}"


_ANGLES, _NUMBERS, _HABITS = "angles", "NaN and infinity", "conventions"

#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    REPEATS,
    Question("class", _ANGLES, "the arithmetic of angles", _class_of_angles, ("offset_positions",)),
    *(
        Question(f"off-{radians:g}", _ANGLES, f"the first position off by {radians:g} rad", _first(radians), ("offset_positions",))
        for radians in _RADIANS
    ),
    Question("beyond", _ANGLES, "positions beyond a table", _beyond, ("offset_positions",)),
    Question("negative", _ANGLES, "a negative position", _negative, ("offset_positions",)),
    nan_in("query", "NaN in a query"),
    nan_in("key", "NaN in a key"),
    Question("sign", _HABITS, "the sign of the rotation", _sign, ("offset_positions",)),
    Question("layout", _HABITS, "the layout if none is given", _layout, ("offset_positions",)),
    Question("dynamic", _HABITS, "the length of dynamic", _dynamic, ("dynamic", "offset_positions")),
    Question("kept", _HABITS, "dynamic: a short call after a long one", _kept, ("dynamic", "offset_positions")),
    Question("magnitude", _HABITS, "the magnitude of yarn", _magnitude, ("yarn",)),
)  # fmt: skip
