"""What wrong rotary kernels mean instead: another instance, or other cosines and sines.

Where each was seen is told by the families that hunt it.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning, altered, mixed, solves
from assay.conformance.rope.options import CHANGES
from assay.spec import flint_context
from assay.spec.criterion import Criterion, close
from assay.spec.enclosure import Enclosure
from assay.spec.floats import dtype_named
from assay.spec.rope import Instance
from assay.spec.rotary.frequencies import band, frequencies, magnitude
from assay.spec.rotary.turning import paired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Change = Callable[[Instance], Instance | None]
    Right = Callable[[Any], Mapping[str, Criterion] | None]
    Wrong = Callable[[Any, Right], Mapping[str, Criterion] | None]
    Matrix = tuple[Array, Array, Array, Array]  # (C, S, S′, C′): the pair (a, b) becomes (C·a − S·b, S′·a + C′·b)

__all__ = ["MEANINGS"]


# --- other instances --------------------------------------------------------------------------------------------------


def _change(*scalings: str, **changes: Any) -> Change:
    """The instance with some fields changed, each given or a function of the instance; ``None`` where it is the same.

    scalings: those under which it is another one, if not under all.
    """

    def change(instance: Instance) -> Instance | None:
        if scalings and instance.scaling not in scalings:
            return None
        values = {name: value(instance) if callable(value) else value for name, value in changes.items()}
        same = all(np.array_equal(getattr(instance, name), value) for name, value in values.items())
        return None if same else instance.replace(**values)

    return change


def _with(*scalings: str, **changes: Any) -> Wrong:
    """The meaning of a kernel that solves that instance."""
    return solves(_change(*scalings, **changes))


def _moved(move: Callable[[Array], Array]) -> Change:
    """Other positions; the frequencies of ``dynamic`` are those of the other positions."""
    return _change(positions=lambda instance: move(instance.positions).astype(np.int64))


def _at(move: Callable[[Array], Array]) -> Wrong:
    return solves(_moved(move))


def _counted(positions: Array) -> Array:
    return np.broadcast_to(np.arange(positions.shape[-1]), positions.shape)


#: What becomes of positions beyond a table.
_BEYOND: dict[str, Callable[..., Array]] = {
    "not rotated": lambda p, end: np.where(p >= end, 0, p),
    "rotated by its last row": lambda p, end: np.minimum(p, end - 1),
    "begun again": lambda p, end: p % end,
}


def _same(instance: Instance) -> Instance:
    return instance


def _still(instance: Instance) -> Instance:
    return instance.replace(positions=0 * instance.positions, scaling=None)


def _whole(count: int, tile: int) -> int:
    return count // tile * tile or count


def _with_rest(tile: int, instance: Instance) -> Instance | None:
    """The instance itself, where its tokens do not fill whole tiles."""
    n = instance.query.shape[2]
    return None if _whole(n, tile) == n else instance


def _first_tokens(tile: int, name: str, instance: Instance, value: Array) -> Array:
    """The tokens beyond whole tiles as they came."""
    n = value.shape[2]
    return np.where(np.arange(n)[:, None] < _whole(n, tile), value, instance.vectors()[name].astype(np.float64))


def _last_columns(instance: Instance) -> Instance | None:
    if instance.rotary_dim is None:
        return None
    by = instance.rotated - instance.query.shape[3]
    return instance.replace(**{name: np.roll(x, by, axis=3) for name, x in instance.vectors().items()})


def _rolled_back(instance: Instance, value: Array) -> Array:
    return np.roll(value, instance.query.shape[3] - instance.rotated, axis=3)


# --- other cosines and sines ------------------------------------------------------------------------------------------


def _m(instance: Instance) -> float:
    with flint_context.bits(64):
        return float(magnitude(instance))


def _theta(instance: Instance) -> Array:
    with flint_context.bits(64):
        return np.array([float(theta) for theta in frequencies(instance)[2]])


def _plain(instance: Instance, shift: float = 0.0, step: float = 2.0) -> Array:
    """base^(−(step·l + shift)/r): frequencies without a scaling."""
    r = instance.rotated
    return float(instance.base) ** (-(step * np.arange(r // 2) + shift) / r)


def _blended(change: Callable[[Array], Array], instance: Instance) -> Array:
    """Frequencies of llama3 or yarn of which other parts are kept: ``change`` of the right ones."""
    with flint_context.bits(64):
        places, zero, one = band(instance, frequencies(instance)[1])
        kept = change(np.clip([float((place - zero) / (one - zero)) for place in places], 0, 1))
    return _plain(instance) * ((1 - kept) / (instance.factor or 1.0) + kept)


def _ramp_of_the_dim(instance: Instance) -> Array:
    """yarn whose ramp is that of the whole dim, in a partial rotation."""
    d, base = instance.query.shape[3], float(instance.base)
    assert instance.original_length is not None
    turns = np.array([instance.high_frequency or 32.0, instance.low_frequency or 1.0])
    first, last = d * np.log(instance.original_length / (2 * np.pi * turns)) / (2 * np.log(base))
    if instance.truncate:
        first, last = np.floor(first), np.ceil(last)
    first, last = max(first, 0.0), min(last, d - 1.0)
    ramp = np.clip((np.arange(instance.rotated // 2) - first) / max(last - first, 1e-3), 0, 1)
    return np.asarray(_plain(instance) * (ramp / (instance.factor or 1.0) + 1 - ramp))


@functools.cache
def _easy(dtype: str) -> Instance:
    """Two tokens of one pair (1, 1), turned by the angles 1 and 2^20."""
    return Instance(np.ones((1, 1, 2, 2), dtype_named(dtype)), positions=np.array([1, 1 << 20]))


def _turned(
    matrix: Callable[[Instance, Array], Matrix | None],
    theta: Callable[[Instance], Array | None] = _theta,
    *,
    mixed_pairs: bool = False,
) -> Wrong:
    """The meaning of a kernel that multiplies pairs by ``matrix(instance, angles)`` of the frequencies ``theta``.

    Angles are (1 or batch, 1, length, r/2).  ``None`` from either function says that the kernel is right.
    mixed_pairs: the angles of other pairs than its own turn a column.

    Its tolerance is like that of the class, whose units are read off the criteria of two easy tokens.
    """

    def criteria(instance: Instance, right: Right) -> Mapping[str, Criterion] | None:
        if (frequency := theta(instance)) is None:
            return None
        angles = np.atleast_2d(instance.positions.astype(np.float64))[:, None, :, None] * frequency
        parts, easy = matrix(instance, angles), right(_easy(instance.query.dtype.name))
        if parts is None or easy is None:
            return None
        (small, large), (_, far) = np.asarray(easy["query"].allowed)[0, 0]
        of_output = (large - small) / (math.sin(1) + math.cos(1) - abs(math.cos(1) - math.sin(1)))
        of_size = (large - of_output * (math.sin(1) + math.cos(1))) / math.sqrt(2)
        of_angle = max(far - large, 0.0) / 2**20
        spread = np.abs(angles) * (7 * np.abs(np.log(np.maximum(np.abs(frequency), 1e-300))) + 15) / 3 * of_angle
        spread = np.broadcast_to(spread.max(axis=3, keepdims=True), spread.shape) if mixed_pairs else spread
        columns, m = paired(instance)[0], max(_m(instance), 1.0)
        wrong = {}
        for name, x in instance.vectors().items():
            value, allowed = x.astype(np.float64), np.full(x.shape, 2.0**-149)
            first, second = np.split(value[..., columns], 2, axis=-1)
            cos, sin, other_sin, other_cos = (part[:, : x.shape[1]] for part in parts)
            turned = (cos * first - sin * second, other_sin * first + other_cos * second)
            value[..., columns] = np.concatenate(turned, axis=-1)
            off = np.hypot(first, second) * m * (1.2 * of_size + np.minimum(spread, 0.1))
            allowed[..., columns] = np.tile(off, 2) + of_output * np.abs(value[..., columns]) + 2.0**-24 * of_size
            wrong[name] = close(Enclosure(value, np.zeros_like(value)), allowed)
        return wrong

    return criteria


def _by(function: Callable[[Array, Array], Matrix]) -> Callable[[Instance, Array], Matrix]:
    """A matrix of cosines and sines."""
    return lambda instance, angles: function(_m(instance) * np.cos(angles), _m(instance) * np.sin(angles))


_rotation = _by(lambda cos, sin: (cos, sin, sin, cos))


def _frequencies(theta: Callable[[Instance], Array], *scalings: str) -> Wrong:
    """A rotation by other frequencies, with the magnitude of the instance; under some scalings, if not under all."""

    def other(instance: Instance) -> Array | None:
        if scalings and instance.scaling not in scalings:
            return None
        wrong = theta(instance)
        return None if np.allclose(wrong, _theta(instance), rtol=1e-12) else wrong

    return _turned(_rotation, other)


def _tables(of: str, instance: Instance, angles: Array) -> Matrix | None:
    """A table whose columns are laid out for the layout ``of``, with the rotation of the other layout."""
    if instance.layout == of or instance.rotated < 4:
        return None
    table = np.tile(angles, 2) if of == "halves" else np.repeat(angles, 2, axis=3)
    first, second = np.split(table[..., paired(instance)[0]], 2, axis=-1)
    return (*_rotation(instance, first)[:2], *_rotation(instance, second)[2:])


def _heads(instance: Instance, angles: Array) -> Matrix:
    """Every head turned by its own number, where tokens are to be turned by their positions."""
    most = max(x.shape[1] for x in instance.vectors().values())
    return _rotation(instance, np.arange(most)[None, :, None, None] * _theta(instance))


def _some_pairs(kept: Callable[[int], int], instance: Instance, angles: Array) -> Matrix | None:
    """Only the first pairs rotated."""
    count = angles.shape[3]
    turned = np.where(np.arange(count) < kept(count), angles, 0.0)
    return None if kept(count) == count else _rotation(instance, turned)


# --- the table --------------------------------------------------------------------------------------------------------


def _rows() -> Iterator[tuple[str, str, Wrong]]:
    """Every row: an identifier, a sentence, and what would be right."""
    # one meaning a line
    # fmt: off
    yield "layout", "halves rotated where pairs were asked for, or the reverse", solves(CHANGES["layout"])
    for of, other in (("halves", "pairs"), ("pairs", "halves")):
        yield f"table-{of}", f"a table of angles laid out for {of}, with the rotation of {other}", _turned(functools.partial(_tables, of), mixed_pairs=True)
    yield "position+1", "positions off by one: one too large", _at(lambda p: p + 1)
    yield "position-1", "positions off by one: one too small", _at(lambda p: p - 1)
    yield "position-ignored", "positions ignored: 0 … n − 1", _at(_counted)
    yield "position-start", "consecutive positions assumed: the first one and those after it", _at(lambda p: p[..., :1] + np.arange(p.shape[-1]))
    yield "position-length", "consecutive positions assumed: those up to the largest", _at(lambda p: p.max() - _counted(p)[..., ::-1])
    yield "position-first", "the position of the first token used for every token", _at(lambda p: p[..., :1] + 0 * p)
    yield "position-batch", "the positions of the first batch used for every batch", _at(lambda p: p[:1] + 0 * p if p.ndim > 1 else p)
    yield "position-sorted", "positions sorted", _at(lambda p: np.sort(p, axis=-1))
    yield "position-size", "the sign of positions lost", _at(np.abs)
    yield "position-offset", "positions of an earlier call: 5 too large", solves(CHANGES["offset"])
    yield "position-offset-twice", "the offset added twice: by the first position too far", _at(lambda p: p + p[..., :1])
    yield "position-twice", "rotated twice, or positions doubled", _at(lambda p: 2 * p)
    for end, (word, move) in itertools.product((1 << power for power in range(2, 21)), _BEYOND.items()):
        yield f"table-{end}-{word}", f"positions beyond a table of {end}: {word}", _at(functools.partial(move, end=end))
    yield "sign", "the rotation has the wrong sign", _turned(_by(lambda c, s: (c, -s, -s, c)))
    yield "sign-lost", "the minus of the first member lost", _turned(_by(lambda c, s: (c, -s, s, c)))
    yield "exchanged", "cosine and sine exchanged", _turned(_by(lambda c, s: (s, c, c, s)))
    yield "position-heads", "positions taken along the axis of heads", _turned(_heads)
    yield "last-pair", "the last pair is not rotated", _turned(functools.partial(_some_pairs, lambda pairs: pairs - 1))
    for tile in (2, 4, 8, 16, 32):
        yield f"pairs-{tile}", f"pairs beyond a multiple of {tile} are not rotated", _turned(functools.partial(_some_pairs, functools.partial(_whole, tile=tile)))
    for tile in (2, 4, 8, 16, 32, 64, 128):
        kept = {name: functools.partial(_first_tokens, tile, name) for name in ("query", "key")}
        yield f"tokens-{tile}", f"tokens beyond whole tiles of {tile} are not rotated", altered(functools.partial(_with_rest, tile), **kept)
    yield "key-plain", "the key is not rotated", mixed(query=_same, key=_still)
    yield "query-plain", "the query is not rotated", mixed(query=_still, key=_same)
    yield "plain", "nothing is rotated", mixed(query=_still, key=_still)
    yield "key-sign", "the key is rotated with the wrong sign", mixed(query=_same, key=_moved(np.negative))
    yield "key-positions", "the key is rotated by 0 … n − 1, the query by its positions", mixed(query=_same, key=_moved(_counted))
    yield "query-positions", "the query is rotated by 0 … n − 1, the key by its positions", mixed(query=_moved(_counted), key=_same)
    yield "rotary-ignored", "partial rotation ignored: every column rotated", _with(rotary_dim=None)
    yield "rotary-exponent", "partial rotation: the exponent over the whole dim instead of the rotary part", _with(base=lambda i: i.base ** (i.rotated / i.query.shape[3]))
    yield "rotary-last", "partial rotation: the last columns rotated instead of the first", altered(_last_columns, query=_rolled_back, key=_rolled_back)
    yield "base-default", "the base ignored: 10000 used whatever is given", _with(base=10000.0)
    yield "base-500000", "the base ignored: 500000 used whatever is given", _with(base=500000.0)
    yield "base-kept", "the base of an earlier call", solves(CHANGES["base"])
    yield "exponent-half", "the exponent l/r instead of 2l/r", _frequencies(functools.partial(_plain, step=1.0))
    yield "exponent-twice", "the exponent 4l/r instead of 2l/r", _frequencies(functools.partial(_plain, step=4.0))
    yield "exponent-shifted", "the exponent shifted by one: 2(l + 1)/r", _frequencies(functools.partial(_plain, shift=2.0))
    yield "exponent-ends", "the exponent l/(r/2 − 1): from 0 to 1", _frequencies(lambda i: i.base ** -np.linspace(0, 1, i.rotated // 2))
    yield "exponent-whole", "the exponent divided in integers: every frequency is 1", _frequencies(lambda i: np.ones(i.rotated // 2))
    yield "inverted", "frequencies inverted: base^(2l/r)", _frequencies(functools.partial(_plain, step=-2.0))
    yield "reversed", "frequencies in reverse order", _frequencies(lambda i: _theta(i)[::-1])
    yield "scaling-ignored", "the scaling ignored: parsed, never applied", _with(scaling=None)
    yield "scaling-linear", "every scaling taken for linear", _frequencies(lambda i: _plain(i) / (i.factor or 1.0), "ntk", "dynamic", "llama3", "yarn")
    yield "scaling-ntk", "every scaling taken for ntk", _frequencies(lambda i: _theta(i.replace(scaling="ntk", factor=i.factor)), "linear", "dynamic", "llama3", "yarn")
    yield "factor-inverted", "frequencies multiplied by the factor instead of divided", _frequencies(lambda i: _plain(i) * (i.factor or 1.0), "linear")
    yield "factor-everywhere", "frequencies divided by factor^(r/(r − 2)), the base not raised", _frequencies(lambda i: _plain(i) / (i.factor or 1.0) ** (i.rotated / (i.rotated - 2)), "ntk", "dynamic")
    yield "factor-twice", "the factor applied twice", _with("linear", "ntk", factor=lambda i: i.factor**2)
    yield "ntk-exponent", "the base multiplied by the factor itself, without the exponent r/(r − 2)", _with("ntk", scaling=None, base=lambda i: i.base * i.factor)
    yield "dynamic-always", "dynamic: the base scaled at all lengths, by the factor", _with("dynamic", scaling="ntk", factor=lambda i: i.factor)
    yield "dynamic-constant", "dynamic: a constant base, of the largest scaled length", _with("dynamic", scaling="ntk", factor=lambda i: i.factor**2 - (i.factor - 1))
    yield "dynamic-array", "dynamic: by the number of tokens in the array, not by the largest position", _with("dynamic", scaling="ntk", factor=lambda i: i.factor * max(i.query.shape[2] / i.original_length - 1, 0) + 1)
    yield "dynamic-kept", "dynamic: the frequencies of an earlier, longer call", _frequencies(lambda i: _theta(CHANGES["longer"](i)), "dynamic")
    yield "llama3-exchanged", "llama3 with its bands exchanged", _frequencies(functools.partial(_blended, lambda kept: 1 - kept), "llama3")
    yield "llama3-hard", "llama3 with no blend between its bands", _frequencies(functools.partial(_blended, lambda kept: np.where(kept > 0, 1.0, 0.0)), "llama3")
    yield "band-usual", "the usual ends of the band, whatever is given: 1 and 4 for llama3, 1 and 32 for yarn", _with("llama3", "yarn", low_frequency=lambda i: i.usual()["low_frequency"], high_frequency=lambda i: i.usual()["high_frequency"])
    yield "yarn-inverted", "yarn with its ramp inverted", _frequencies(functools.partial(_blended, lambda kept: 1 - kept), "yarn")
    yield "yarn-ends", "yarn with the ends of its ramp rounded where they should not be, or the reverse", _with("yarn", truncate=lambda i: not i.truncate)
    yield "yarn-dim", "partial rotation: yarn with the ramp of the whole dim instead of the rotary part", _frequencies(_ramp_of_the_dim, "yarn")
    yield "magnitude-left-out", "the magnitude of yarn left out", _with("yarn", attention_factor=1.0)
    yield "magnitude-formula", "the magnitude that is given ignored, the formula used instead", _with("yarn", attention_factor=lambda i: 1 + 0.1 * math.log(i.factor))
    yield "magnitude-again", "the magnitude applied twice, or fed into the formula again", _with("yarn", attention_factor=lambda i: 1 + 0.1 * math.log(max(_m(i), 1.0)) if i.attention_factor else _m(i) ** 2)
    yield "magnitude-squared", "the magnitude squared", _with("yarn", attention_factor=lambda i: _m(i) ** 2)
    yield "magnitude-query", "the magnitude on the query alone", mixed(query=_same, key=_change("yarn", attention_factor=1.0))
    # fmt: on


#: The known wrong meanings of the rotary embedding.
MEANINGS: tuple[Meaning, ...] = tuple(Meaning(*row) for row in _rows())
