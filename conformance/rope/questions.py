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

__all__ = ["QUESTIONS"]


def _pairs(ask: Ask, positions: Any, dim: int = 64, **options: Any) -> Instance:
    """Every pair is (1, 0), so that it comes out as cosine and sine; in the layout that the kernel has."""
    positions = np.asarray(positions, np.int64)
    layout = "halves" if "halves" in ask.capabilities else "pairs"
    x = unit_pairs(len(positions), dim, ask.precision.storage, layout)
    return Instance(x, x.copy(), positions, layout=layout, **options)


def _turned(ask: Ask, positions: Any, **options: Any) -> Array:
    return ask.call(_pairs(ask, positions, **options))["query"]


def _named(value: Array, *answers: tuple[str, Instance], otherwise: str) -> str:
    """The words of the first instance whose rotated query is the value, within 0.05."""

    def is_of(instance: Instance) -> bool:
        return bool(np.abs(value - define(instance, 1e-9).midpoint).max() < 0.05)

    return next((words for words, instance in answers if is_of(instance)), otherwise)


def _phases(ask: Ask, positions: Any) -> Array:
    """The largest error of an angle, in radians, of every position, less what rounding of the output explains."""
    instance = _pairs(ask, positions)
    errors = phase_errors(instance, _turned(ask, positions))
    return np.asarray(np.maximum(errors.max(axis=(0, 1, 3)) - 4 * ask.precision.output - 1e-7, 0.0))


def _first_off(radians: float) -> Callable[[Ask], str]:
    """The first position of a scan to 2^25 at which an angle is off by so much: 256 in every power of two."""

    def asked(ask: Ask) -> str:
        for power in range(4, 25):
            positions = np.unique(np.linspace(1 << power, (2 << power) - 1, min(256, 1 << power)).astype(np.int64) | 1)
            if "any_positions" not in ask.capabilities:
                positions = (1 << power) + np.arange(min(256, 1 << power))
            try:
                wrong = _phases(ask, positions) >= radians
            except NoAnswer as reason:
                raise NoAnswer(f"none below {1 << power:,}; {reason}") from None
            if wrong.any():
                return f"{positions[np.argmax(wrong)]:,}"
        return "none to 2^25"

    return asked


def _class_of_angles(ask: Ask) -> str:
    """By the error at a far position; at a nearer one where the kernel takes no far ones."""
    for at in ((1 << 20) + 1, 4095, 511):
        try:
            error = float(_phases(ask, [at])[0])
        except NoAnswer:
            continue
        for most, words in ((1e-12 * at + 2e-7, "more than float32"), (3e-7 * at + 2e-7, "float32")):
            if error <= most:
                return f"{words}: off by {error:.1e} rad at position {at:,}"
        return f"less than float32: off by {error:.1e} rad at position {at:,}"
    raise NoAnswer("no position is taken")


def _sign(ask: Ask) -> str:
    right = "positive: (1, 0) becomes (cos, sin)", _pairs(ask, [1], dim=4)
    return _named(_turned(ask, [1], dim=4), right, otherwise="negative: (1, 0) becomes (cos, −sin)")


def _layout(ask: Ask) -> str:
    instance = _pairs(ask, [3], dim=8)
    value = ask.call(instance, without=("layout",))["query"]
    layouts = ((layout, instance.replace(layout=layout)) for layout in ("halves", "pairs"))
    return _named(value, *layouts, otherwise="another")


def _beyond(ask: Ask) -> str:
    """What happens at the first of the positions 2^k + 1 that goes wrong."""
    for power in range(9, 21):
        position = (1 << power) + 1
        rows = {"": position, "not rotated": 0, "the last row of its table": position - 2, "begins again": 1}
        instances = ((words, _pairs(ask, [row])) for words, row in rows.items())
        try:
            if words := _named(_turned(ask, [position]), *instances, otherwise="other angles"):
                return f"at {position:,}: {words}"
        except NoAnswer as reason:
            return f"at {position:,}: {reason}"
    return "right to 2^20 + 1, within 0.05"


def _negative(ask: Ask) -> str:
    answers = (("turns back", _pairs(ask, [-3], dim=8)), ("as position 3", _pairs(ask, [3], dim=8)))
    return _named(_turned(ask, [-3], dim=8), *answers, otherwise="other angles")


_DYNAMIC: dict[str, Any] = {"scaling": "dynamic", "factor": 4.0, "original_length": 8, "dim": 8}


def _dynamic(ask: Ask) -> str:
    """Four tokens far beyond the original length."""
    positions = 40 + np.arange(4)
    answers = (
        ("the largest position + 1", _pairs(ask, positions, **_DYNAMIC)),
        ("the number of tokens", _pairs(ask, positions, dim=8)),
    )
    return _named(_turned(ask, positions, **_DYNAMIC), *answers, otherwise="another")


def _kept(ask: Ask) -> str:
    """A short call after a long one."""
    first, _, again = (_turned(ask, start + np.arange(4), **_DYNAMIC) for start in (12, 400, 12))
    return "as before" if np.array_equal(first, again) else "another answer than before"


def _magnitude(ask: Ask) -> str:
    value = _turned(ask, [0], scaling="yarn", factor=16.0, original_length=2048)[0, 0, 0, 0]
    for words, number in (("applied", 1 + np.log(16) / 10), ("left to the caller", 1.0)):
        if abs(value - number) < 0.01:
            return words
    return f"another: {value:.4g}"


_ANGLES, _HABITS, _ANYWHERE = "angles", "conventions", ("offset_positions",)

#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    REPEATS,
    Question("class", _ANGLES, "the arithmetic of angles", _class_of_angles, _ANYWHERE),
    *(
        Question(f"off-{size:g}", _ANGLES, f"the first position off by {size:g} rad", _first_off(size), _ANYWHERE)
        for size in (1e-3, 1e-2, 1e-1)
    ),
    Question("beyond", _ANGLES, "positions beyond a table", _beyond, _ANYWHERE),
    Question("negative", _ANGLES, "a negative position", _negative, _ANYWHERE),
    nan_in("query", "NaN in a query"),
    nan_in("key", "NaN in a key"),
    Question("sign", _HABITS, "the sign of the rotation", _sign, _ANYWHERE),
    Question("layout", _HABITS, "the layout if none is given", _layout, _ANYWHERE),
    Question("dynamic", _HABITS, "the length of dynamic", _dynamic, ("dynamic", *_ANYWHERE)),
    Question("kept", _HABITS, "dynamic: a short call after a long one", _kept, ("dynamic", *_ANYWHERE)),
    Question("magnitude", _HABITS, "the magnitude of yarn", _magnitude, ("yarn",)),
)
