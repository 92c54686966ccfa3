"""A definition is written once and evaluated in the cheapest arithmetic that is accurate enough, row by row.

What is to be computed has *rows*, in stacks of equally many: the queries of every head, the positions of every batch,
the points of a set.  Every row is evaluated in float64; those whose radius is too large in double-double; those that
are left in balls of 128, 256, … bits.  Rows are taken in blocks, so that the memory is that of a block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import flint
import numpy as np

from assay.spec.enclosure.arb import LARGEST, ArbArithmetic, ArbBall, from_parts
from assay.spec.enclosure.double_double import DoubleDoubleBall
from assay.spec.enclosure.enclosure import Enclosure
from assay.spec.enclosure.float64 import Float64Ball
from assay.spec.floating_point import require_usual
from assay.spec.problem import InvalidInstance, Uncertified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Block = tuple[NDArray[np.intp], NDArray[np.intp]]

__all__ = ["Arithmetic", "Ball", "Evaluated", "Result", "ball_tiers", "escalate", "require_held", "within"]

_BLOCK = 1 << 17  # numbers held at a time
_MOST_BITS = 1 << 17
_MORE_BITS = 1 << 8  # how many times as many bits as a radius asks for: they hold products of 30 numbers of float64
_HELD = 1 << 12  # bits with which a row is fine unless what it needs is beyond float64


class Ball(Protocol):
    """What the balls of every arithmetic have in common here; :class:`~assay.spec.enclosure.Float64Ball` has all."""

    def rounded(self) -> tuple[Array, Array]:
        """Midpoint and radius in float64, the rounding of the midpoint included."""
        ...

    def error(self) -> Array:
        """The radius at the full precision of the arithmetic."""
        ...

    def full(self) -> NDArray[np.object_]:
        """The same balls as ``flint.arb`` objects."""
        ...


class Arithmetic(Protocol):
    """Where the balls of a definition come from: everything that it does to them happens in their arithmetic."""

    @property
    def precision(self) -> int:
        """The bits of a midpoint."""
        ...

    def product(self, a: Array, b: Array) -> Any:
        """The balls of a @ b for exact a (…, m, k) and b (…, k, n)."""
        ...

    def exact(self, a: Array) -> Any:
        """The balls of radius 0 around exact numbers."""
        ...

    def around(self, balls: NDArray[np.object_]) -> Any:
        """Balls that hold these of ``flint.arb``: what a definition evaluates in them whatever its arithmetic."""
        ...


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A block of rows in one arithmetic.

    values: the balls of every result, of axes (stack, row, number).  fine: (stack, row), whether the radii of a row are
    what was asked for; the values of other rows are thrown away.
    """

    values: Mapping[str, Ball]
    fine: NDArray[np.bool_]


@dataclass(frozen=True)
class Result:
    """One result of a definition.

    shape: of the enclosure; its numbers in C order are those of (stack, row, number).
    elsewhere: the exact value of rows that are not evaluated: 0, or −inf for −∞ itself.
    digits: whether the enclosure keeps the full precision of the balls.
    """

    shape: tuple[int, ...]
    elsewhere: float = 0.0
    digits: bool = True


def escalate(
    definition: Callable[[Arithmetic, Block], Evaluated],
    wanted: NDArray[np.bool_],
    results: Mapping[str, Result],
    relative: float,
    width: int,
) -> dict[str, Enclosure]:
    """The certified results of a definition, by name.

    definition(arithmetic, (stacks, rows)): the rows with these indices of the stacks with these indices.  NumPy's
    floating-point warnings are off while it runs.
    wanted: (stacks, rows), which rows to evaluate.
    relative: the accuracy that is asked for, in (0, 1): it chooses where to begin, and the bits of the balls.
    width: how many numbers the definition holds for one row, which says how many rows make a block.
    Raises ``ValueError`` for another ``relative``; :class:`~assay.spec.problem.InvalidInstance` where a result that a
    row needs is beyond float64; :class:`~assay.spec.problem.Uncertified`, an ``ArithmeticError``, where no arithmetic
    is accurate enough; and ``FloatingPointError`` where the thread does not round to nearest with subnormal numbers.

    >>> def exponentials(arithmetic, block):
    ...     balls = arithmetic.exact(np.array([[[1.0], [2.0]]])[np.ix_(*block)]).exp()
    ...     return Evaluated({"exp": balls}, (balls.error() <= 1e-25 * balls.rounded()[0]).all(axis=2))
    >>> print(escalate(exponentials, np.ones((1, 2), bool), {"exp": Result((2,))}, 1e-25, 1)["exp"][0])
    2.7182818284590452353602874714 ± 2e-29
    """
    if not 0.0 < relative < 1.0:
        raise ValueError(f"relative: {relative!r}, expected a number between 0 and 1")
    require_usual()
    mid = {
        name: np.full((*wanted.shape, _numbers(result, wanted)), result.elsewhere) for name, result in results.items()
    }
    rad = {name: np.zeros_like(array) for name, array in mid.items()}
    kept: list[tuple[Any, NDArray[np.bool_], dict[str, Ball]]] = []
    missing = wanted.copy()
    with np.errstate(all="ignore"):
        for arithmetic in _tiers(relative):
            if not missing.any():
                break
            for block in _blocks(missing, width):
                evaluated = definition(arithmetic, block)
                at = np.ix_(*block)
                good = missing[at] & evaluated.fine
                for name in results:
                    m, r = evaluated.values[name].rounded()
                    mid[name][at] = np.where(good[..., None], m, mid[name][at])
                    rad[name][at] = np.where(good[..., None], r, rad[name][at])
                kept.append((at, good, {name: evaluated.values[name] for name in results if results[name].digits}))
                missing[at] &= ~good
                if arithmetic.precision >= _HELD:
                    for name in results:
                        require_held(name, evaluated.values[name], missing[at][..., None])
    if missing.any():
        bits = _most_bits(relative)
        raise Uncertified(f"relative: {relative!r} was not reached with {bits} bits in {missing.sum()} rows")

    def digits(name: str) -> Callable[[], NDArray[np.object_]]:
        middle, radius, shape = mid[name], rad[name], results[name].shape  # an enclosure keeps no other result alive
        blocks = [(at, good, values[name]) for at, good, values in kept]

        def assembled() -> NDArray[np.object_]:
            balls = from_parts(middle, np.zeros_like(middle), radius)
            for at, good, values in blocks:
                part = balls[at]
                part[good] = values.full()[good]
                balls[at] = part
            return balls.reshape(shape)

        return assembled

    return {
        name: Enclosure(
            mid[name].reshape(result.shape),
            rad[name].reshape(result.shape),
            digits(name) if result.digits else None,
        )
        for name, result in results.items()
    }


def _numbers(result: Result, wanted: NDArray[np.bool_]) -> int:
    """How many numbers of a result belong to one row."""
    return math.prod(result.shape) // max(1, wanted.size)


def require_held(name: str, values: Ball, where: NDArray[np.bool_]) -> None:
    """Raise :class:`~assay.spec.problem.InvalidInstance` if numbers are certainly beyond float64.

    values: balls; those of float64 and of double-double never say so.
    where: which of them to look at; it broadcasts.
    """
    if not isinstance(values, ArbBall):
        return
    beyond = np.isinf(values.rounded()[0]) & where
    for ball in values.full()[beyond]:
        if ball.is_finite() and ball.abs_lower() > LARGEST:
            size = math.floor(float((ball.abs_lower().log() / flint.arb(2).log()).mid()))
            raise InvalidInstance(f"{name}: a number of about 2^{size}, expected at most 2^1024, what float64 holds")


def within(error: Array, relative: float, size: Array | float, least: float = 0.0) -> Any:
    """Whether errors are at most ``relative`` times sizes, and ``least`` more: an array of booleans.

    A size that overflowed counts as the largest number of float64, as it would find an infinite error small enough.

    >>> within(np.array([1e-13, np.inf]), 1e-12, np.array([1.0, np.inf])).tolist()
    [True, False]
    """
    return np.asarray(error <= relative * np.minimum(size, LARGEST) + least)


def _tiers(relative: float) -> Iterator[Arithmetic]:
    """Every arithmetic that may reach ``relative``, the cheapest first."""
    if relative >= 2.0**-50:
        yield Float64Ball
    if relative >= 2.0**-97:
        yield DoubleDoubleBall
    yield from ball_tiers(relative)


def ball_tiers(relative: float) -> Iterator[ArbArithmetic]:
    """Balls of twice as many bits each time, up to the most that ``relative`` is worth."""
    bits, most = _first_bits(relative), _most_bits(relative)
    while bits <= most:
        yield ArbArithmetic(bits)
        bits *= 2


def _first_bits(relative: float) -> int:
    return max(128, 64 + math.ceil(-1.1 * math.log2(relative)))


def _most_bits(relative: float) -> int:
    return min(_first_bits(relative) * _MORE_BITS, _MOST_BITS)


def _blocks(missing: NDArray[np.bool_], width: int) -> Iterator[Block]:
    """Grids of stacks × rows that cover what is missing, each of at most ``_BLOCK`` numbers where that is possible."""
    stacks = np.flatnonzero(missing.any(axis=1))
    if missing[stacks].sum(axis=1).max() * len(stacks) * width <= _BLOCK:
        groups = [stacks]
    else:
        groups = [stacks[i : i + 1] for i in range(len(stacks))]
    for group in groups:
        rows = np.flatnonzero(missing[group].any(axis=0))
        step = max(1, _BLOCK // (len(group) * width))
        for start in range(0, len(rows), step):
            yield group, rows[start : start + step]
