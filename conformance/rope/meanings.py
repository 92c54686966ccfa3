"""What wrong rotary kernels mean instead: another instance, or other cosines and sines.

Where each was seen is told by the families that hunt it.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning, altered, mixed, solves
from assay.conformance.rope.options import CHANGES
from assay.spec import flint_context
from assay.spec.criterion import Criterion, close
from assay.spec.enclosure import Enclosure
from assay.spec.rope import Instance
from assay.spec.rope.definition import paired
from assay.spec.rope.frequencies import correction_range, frequencies, magnitude

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Change = Callable[[Instance], Instance | None]
    Right = Callable[[Any], Mapping[str, Criterion] | None]
    Matrix = tuple[Array, Array, Array, Array]  # (C, S, S′, C′): the pair (a, b) becomes (C·a − S·b, S′·a + C′·b)

__all__ = ["MEANINGS"]

_TABLES = tuple(1 << k for k in range(2, 21))


# --- other instances --------------------------------------------------------------------------------------------------


def _with(**changes: Any) -> Change:
    """The instance with some fields changed, each given or a function of the instance; ``None`` where it is the same."""

    def change(instance: Instance) -> Instance | None:
        values = {name: value(instance) if callable(value) else value for name, value in changes.items()}
        same = all(np.array_equal(getattr(instance, name), value) for name, value in values.items())
        return None if same else instance.replace(**values)

    return change


def _where(holds: Callable[[Instance], Any], **changes: Any) -> Change:
    """The same, of those instances for which ``holds``."""
    changed = _with(**changes)
    return lambda instance: changed(instance) if holds(instance) else None


def _scaling(*kinds: str) -> Callable[[Instance], bool]:
    return lambda instance: instance.scaling in kinds


def _at(move: Callable[[Array], Array]) -> Change:
    """Other positions; the frequencies of ``dynamic`` are those of the other positions."""
    return _with(positions=lambda i: move(i.positions).astype(np.int64))


def _flat(instance: Instance) -> Instance:
    """Positions of one row for each batch."""
    return instance.replace(positions=np.broadcast_to(instance.positions, instance.query.shape[::2]).copy())


def _grown(instance: Instance) -> float:
    """vLLM's factor: as if every text were as long as the scaled maximum."""
    s = instance.factor or 1.0
    return s * s - (s - 1)


def _of_length(instance: Instance) -> Instance | None:
    """dynamic by the number of tokens in the array."""
    if instance.scaling != "dynamic" or instance.original_length is None or instance.factor is None:
        return None
    n = max(instance.query.shape[2], instance.original_length)
    return instance.replace(scaling="ntk", factor=instance.factor * (n / instance.original_length - 1) + 1)


def _fed_again(instance: Instance) -> float:
    return 1 + 0.1 * math.log(max(_m(instance), 1.0)) if instance.attention_factor else _m(instance) ** 2


def _formula(instance: Instance) -> float:
    return 1 + 0.1 * math.log(instance.factor or 1.0)


def _m(instance: Instance) -> float:
    with flint_context.bits(64):
        return float(magnitude(instance))


# --- other cosines and sines ------------------------------------------------------------------------------------------


def _theta(instance: Instance) -> Array:
    with flint_context.bits(64):
        return np.array([float(theta) for theta in frequencies(instance)[2]])


def _plain(instance: Instance, shift: float = 0.0, step: float = 2.0) -> Array:
    """base^(−(step·l + shift)/r): frequencies without a scaling."""
    r = instance.rotated
    return float(instance.base) ** (-(step * np.arange(r // 2) + shift) / r)


def _angles(instance: Instance, theta: Array) -> Array:
    """Position times frequency: (1 or batch, 1, length, r/2)."""
    return np.atleast_2d(instance.positions.astype(np.float64))[:, None, :, None] * theta


def _rotation(cos: Array, sin: Array) -> Matrix:
    return cos, sin, sin, cos


def _turned(
    matrix: Callable[[Instance, Array], Matrix | None],
    theta: Callable[[Instance], Array] = _theta,
    *,
    mixed_pairs: bool = False,
) -> Any:
    """The meaning of a kernel that multiplies pairs by ``matrix(instance, angles)`` of the frequencies ``theta``.

    mixed_pairs: the angles of other pairs than its own turn a column.

    Its tolerance is like that of the class, whose units are read off the criteria of two easy tokens: an angle of 1,
    and one of 2^20.
    """

    def criteria(instance: Instance, right: Right) -> Mapping[str, Criterion] | None:
        angles = _angles(instance, frequency := theta(instance))
        found = matrix(instance, angles)
        easy = Instance(np.ones((1, 1, 2, 2), instance.query.dtype), positions=np.array([1, 1 << 20]))
        known = right(easy)
        if found is None or known is None:
            return None
        (small, large), (_, far) = np.asarray(known["query"].allowed)[0, 0]
        of_output = (large - small) / (math.sin(1) + math.cos(1) - abs(math.cos(1) - math.sin(1)))
        of_size = (large - of_output * (math.sin(1) + math.cos(1))) / math.sqrt(2)
        of_angle = max(far - large, 0.0) / 2**20
        spread = np.abs(angles) * (7 * np.abs(np.log(np.maximum(np.abs(frequency), 1e-300))) + 15) / 3 * of_angle
        spread = np.broadcast_to(spread.max(axis=3, keepdims=True), spread.shape) if mixed_pairs else spread
        columns, _, _ = paired(instance)
        half, m = len(columns) // 2, max(_m(instance), 1.0)
        wrong = {}
        for name, x in instance.arrays().items():
            if name != "positions":
                value, allowed = x.astype(np.float64), np.full(x.shape, 2.0**-149)
                first, second = value[..., columns[:half]], value[..., columns[half:]]
                size = np.hypot(first, second) * m
                cos, sin, other_sin, other_cos = (part[:, : x.shape[1]] for part in found)
                value[..., columns[:half]], value[..., columns[half:]] = (
                    cos * first - sin * second,
                    other_sin * first + other_cos * second,
                )
                allowed[..., columns] = np.tile(size * (1.2 * of_size + np.minimum(spread, 0.1)), 2)
                allowed[..., columns] += of_output * np.abs(value[..., columns]) + 2.0**-24 * of_size
                wrong[name] = close(Enclosure(value, np.zeros_like(value)), allowed)
        return wrong

    return criteria


def _with_theta(theta: Callable[[Instance], Array]) -> Any:
    """A rotation by other frequencies, with the magnitude of the instance."""

    def matrix(instance: Instance, angles: Array) -> Matrix | None:
        m = _m(instance)
        same = angles.shape[-1] == len(right := _theta(instance)) and np.allclose(theta(instance), right, rtol=1e-12)
        return None if same else _rotation(m * np.cos(angles), m * np.sin(angles))

    return _turned(matrix, theta)


def _of(*kinds: str, theta: Callable[[Instance], Array]) -> Callable[[Instance], Array]:
    """Other frequencies under some scalings, the right ones elsewhere."""
    return lambda instance: theta(instance) if instance.scaling in kinds else _theta(instance)


def _bands(instance: Instance, *, exchanged: bool = False, hard: bool = False) -> Array:
    """llama3 with its bands exchanged, or without the blend between them."""
    plain, s = _plain(instance), instance.factor or 1.0
    low, high = instance.low_frequency or 1.0, instance.high_frequency or 4.0
    turns = (instance.original_length or 1) * plain / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    kept = np.where(turns > low, 1.0, 0.0) if hard else kept
    return np.asarray(plain * (kept / s + 1 - kept if exchanged else (1 - kept) / s + kept))


def _inverted_ramp(instance: Instance) -> Array:
    with flint_context.bits(64):
        first, last = (float(end) for end in correction_range(instance))
    plain = _plain(instance)
    mu = np.clip((np.arange(len(plain)) - first) / (last - first), 0, 1)
    return np.asarray(plain * (mu + (1 - mu) / (instance.factor or 1.0)))


def _ends(instance: Instance) -> Array:
    return float(instance.base) ** -np.linspace(0, 1, instance.rotated // 2)


def _tables(of: str) -> Callable[[Instance, Array], Matrix | None]:
    """A table whose columns are laid out for the layout ``of``, with the rotation of the other layout."""

    def matrix(instance: Instance, angles: Array) -> Matrix | None:
        if instance.layout == of or instance.rotated < 4:
            return None
        both = np.concatenate([angles, angles], axis=3) if of == "halves" else np.repeat(angles, 2, axis=3)
        columns, half = paired(instance)[0], instance.rotated // 2
        first, second = both[..., columns[:half]], both[..., columns[half:]]
        m = _m(instance)
        return m * np.cos(first), m * np.sin(first), m * np.sin(second), m * np.cos(second)

    return matrix


def _by(function: Callable[[Array, Array], Matrix]) -> Callable[[Instance, Array], Matrix]:
    """A wrong matrix of the right cosines and sines."""
    return lambda instance, angles: function(_m(instance) * np.cos(angles), _m(instance) * np.sin(angles))


def _heads(instance: Instance, angles: Array) -> Matrix:
    """Every head turned by its own number, where tokens are to be turned by their positions."""
    most = max(x.shape[1] for name, x in instance.arrays().items() if name != "positions")
    turned = np.arange(most)[None, :, None, None] * _theta(instance)
    return _rotation(_m(instance) * np.cos(turned), _m(instance) * np.sin(turned))


def _some_pairs(instance: Instance, angles: Array, kept: Callable[[int], int]) -> Matrix | None:
    """Only the first pairs rotated."""
    pairs = angles.shape[3]
    if kept(pairs) == pairs:
        return None
    turned = np.where(np.arange(pairs) < kept(pairs), angles, 0.0)
    return _rotation(_m(instance) * np.cos(turned), _m(instance) * np.sin(turned))


def _whole(count: int, tile: int) -> int:
    return count // tile * tile or count


def _whole_tokens(instance: Instance, tile: int) -> Instance | None:
    """Position 0 for the tokens beyond whole tiles."""
    n = instance.query.shape[2]
    if _whole(n, tile) == n or instance.scaling is not None:
        return None
    return instance.replace(positions=np.where(np.arange(n) < _whole(n, tile), instance.positions, 0))


def _last_columns(instance: Instance) -> Instance | None:
    return None if instance.rotary_dim is None else _rolled(instance, instance.query.shape[3] - instance.rotated)


def _rolled(instance: Instance, by: int) -> Instance:
    arrays = {name: np.roll(x, -by, axis=3) for name, x in instance.arrays().items() if name != "positions"}
    return instance.replace(**arrays)


def _rolled_back(instance: Instance, value: Array) -> Array:
    return np.roll(value, instance.query.shape[3] - instance.rotated, axis=3)


# --- the table --------------------------------------------------------------------------------------------------------


def _rows() -> Iterator[tuple[str, str, Any]]:
    """Every row: an identifier, a sentence, and what would be right."""

    def same(instance: Instance) -> Instance:
        return instance

    def still(instance: Instance) -> Instance:
        return instance.replace(positions=0 * instance.positions, scaling=None)

    def partial(instance: Instance) -> bool:
        return instance.rotary_dim is not None

    def one(identifier: str, sentence: str, change: Change) -> tuple[str, str, Any]:
        return identifier, sentence, solves(change)

    # one meaning a line
    # fmt: off
    yield one("layout", "halves rotated where pairs were asked for, or the reverse", CHANGES["layout"])
    for of, other in (("halves", "pairs"), ("pairs", "halves")):
        yield f"table-{of}", f"a table of angles laid out for {of}, with the rotation of {other}", _turned(_tables(of), mixed_pairs=True)
    yield one("position+1", "positions off by one: one too large", _at(lambda p: p + 1))
    yield one("position-1", "positions off by one: one too small", _at(lambda p: p - 1))
    yield one("position-ignored", "positions ignored: 0 … n − 1", _at(lambda p: np.broadcast_to(np.arange(p.shape[-1]), p.shape)))
    yield one("position-start", "consecutive positions assumed: the first one and those after it", _at(lambda p: p[..., :1] + np.arange(p.shape[-1])))
    yield one("position-length", "consecutive positions assumed: those up to the largest", _at(lambda p: p.max() - np.arange(p.shape[-1])[::-1] + 0 * p))
    yield one("position-first", "the position of the first token used for every token", _at(lambda p: p[..., :1] + 0 * p))
    yield one("position-batch", "the positions of the first batch used for every batch", _at(lambda p: p[:1] + 0 * p if p.ndim > 1 else p))
    yield one("position-sorted", "positions sorted", _at(lambda p: np.sort(p, axis=-1)))
    yield one("position-size", "the sign of positions lost", _at(np.abs))
    yield one("position-offset", "positions of an earlier call: 5 too large", CHANGES["offset"])
    yield one("position-offset-twice", "the offset added twice: by the first position too far", _at(lambda p: p + p[..., :1]))
    yield one("position-twice", "rotated twice, or positions doubled", _at(lambda p: 2 * p))
    for length in _TABLES:
        for word, move in (
            ("not rotated", lambda p, t=length: np.where(p >= t, 0, p)),
            ("rotated by its last row", lambda p, t=length: np.minimum(p, t - 1)),
            ("begun again", lambda p, t=length: p % t),
        ):
            yield one(f"table-{length}-{word}", f"positions beyond a table of {length}: {word}", _at(move))
    yield "sign", "the rotation has the wrong sign", _turned(_by(lambda c, s: (c, -s, -s, c)))
    yield "sign-lost", "the minus of the first member lost", _turned(_by(lambda c, s: (c, -s, s, c)))
    yield "exchanged", "cosine and sine exchanged", _turned(_by(lambda c, s: (s, c, c, s)))
    yield "position-heads", "positions taken along the axis of heads", _turned(_heads)
    yield "last-pair", "the last pair is not rotated", _turned(functools.partial(_some_pairs, kept=lambda pairs: pairs - 1))
    for tile in (2, 4, 8, 16, 32):
        kept = functools.partial(_whole, tile=tile)
        yield f"pairs-{tile}", f"pairs beyond a multiple of {tile} are not rotated", _turned(functools.partial(_some_pairs, kept=kept))
    for tile in (2, 4, 8, 16, 32, 64, 128):
        yield one(f"tokens-{tile}", f"tokens beyond whole tiles of {tile} are not rotated", functools.partial(_whole_tokens, tile=tile))
    yield "key-plain", "the key is not rotated", mixed(query=same, key=still)
    yield "query-plain", "the query is not rotated", mixed(query=still, key=same)
    yield "plain", "nothing is rotated", mixed(query=still, key=still)
    negative = _at(np.negative)
    yield "key-sign", "the key is rotated with the wrong sign", mixed(query=same, key=negative)
    ignored = _at(lambda p: np.broadcast_to(np.arange(p.shape[-1]), p.shape))
    yield "key-positions", "the key is rotated by 0 … n − 1, the query by its positions", mixed(query=same, key=ignored)
    yield "query-positions", "the query is rotated by 0 … n − 1, the key by its positions", mixed(query=ignored, key=same)
    yield one("rotary-ignored", "partial rotation ignored: every column rotated", _where(partial, rotary_dim=None))
    yield one("rotary-exponent", "partial rotation: the exponent over the whole dim instead of the rotary part", _where(partial, base=lambda i: i.base ** (i.rotated / i.query.shape[3])))
    yield "rotary-last", "partial rotation: the last columns rotated instead of the first", altered(_last_columns, query=_rolled_back, key=_rolled_back)
    yield one("base-default", "the base ignored: 10000 used whatever is given", _with(base=10000.0))
    yield one("base-500000", "the base ignored: 500000 used whatever is given", _with(base=500000.0))
    yield one("base-kept", "the base of an earlier call", CHANGES["base"])
    frequencies_of: tuple[tuple[str, str, Callable[[Instance], Array]], ...] = (
        ("exponent-half", "the exponent l/r instead of 2l/r", functools.partial(_plain, step=1.0)),
        ("exponent-twice", "the exponent 4l/r instead of 2l/r", functools.partial(_plain, step=4.0)),
        ("exponent-shifted", "the exponent shifted by one: 2(l + 1)/r", functools.partial(_plain, shift=2.0)),
        ("exponent-ends", "the exponent l/(r/2 − 1): from 0 to 1", _ends),
        ("exponent-whole", "the exponent divided in integers: every frequency is 1", lambda i: np.ones(i.rotated // 2)),
        ("inverted", "frequencies inverted: base^(2l/r)", functools.partial(_plain, step=-2.0)),
        ("reversed", "frequencies in reverse order", lambda i: _theta(i)[::-1]),
    )
    for identifier, sentence, frequency in frequencies_of:
        yield identifier, sentence, _with_theta(frequency)
    yield one("scaling-ignored", "the scaling ignored: parsed, never applied", _with(scaling=None))
    every: dict[str, Callable[[Instance], Array]] = {
        "linear": lambda i: _plain(i) / (i.factor or 1.0),
        "ntk": lambda i: _theta(i.replace(scaling="ntk", factor=i.factor)),
    }
    for kind, theta in every.items():
        others = [name for name in ("linear", "ntk", "dynamic", "llama3", "yarn") if name != kind]
        yield f"scaling-{kind}", f"every scaling taken for {kind}", _with_theta(_of(*others, theta=theta))
    yield "factor-inverted", "frequencies multiplied by the factor instead of divided", _with_theta(_of("linear", theta=lambda i: _plain(i) * (i.factor or 1.0)))
    yield "factor-everywhere", "frequencies divided by factor^(r/(r − 2)), the base not raised", _with_theta(_of("ntk", "dynamic", theta=lambda i: _plain(i) / (i.factor or 1.0) ** (i.rotated / (i.rotated - 2))))
    yield one("factor-twice", "the factor applied twice", _where(_scaling("linear", "ntk"), factor=lambda i: i.factor**2))
    yield one("ntk-exponent", "the base multiplied by the factor itself, without the exponent r/(r − 2)", _where(_scaling("ntk"), scaling=None, base=lambda i: i.base * i.factor))
    yield one("dynamic-always", "dynamic: the base scaled at all lengths, by the factor", _where(_scaling("dynamic"), scaling="ntk", factor=lambda i: i.factor))
    yield one("dynamic-constant", "dynamic: a constant base, of the largest scaled length", _where(_scaling("dynamic"), scaling="ntk", factor=_grown))
    yield one("dynamic-array", "dynamic: by the number of tokens in the array, not by the largest position", _of_length)
    yield "dynamic-kept", "dynamic: the frequencies of an earlier, longer call", _with_theta(_of("dynamic", theta=lambda i: _theta(CHANGES["longer"](i))))
    for exchanged, hard, words in ((True, False, "its bands exchanged"), (False, True, "no blend between its bands")):
        theta = functools.partial(_bands, exchanged=exchanged, hard=hard)
        yield f"llama3-{'exchanged' if exchanged else 'hard'}", f"llama3 with {words}", _with_theta(_of("llama3", theta=theta))
    yield "yarn-inverted", "yarn with its ramp inverted", _with_theta(_of("yarn", theta=_inverted_ramp))
    yield one("yarn-ends", "yarn with the ends of its ramp rounded where they should not be, or the reverse", _where(_scaling("yarn"), truncate=lambda i: not i.truncate))
    for identifier, sentence, function in (
        ("left-out", "the magnitude of yarn left out", lambda i: 1.0),
        ("formula", "the magnitude that is given ignored, the formula used instead", _formula),
        ("again", "the magnitude applied twice, or fed into the formula again", _fed_again),
        ("squared", "the magnitude squared", lambda i: _m(i) ** 2),
    ):
        yield one(f"magnitude-{identifier}", sentence, _where(_scaling("yarn"), attention_factor=function))
    yield "magnitude-query", "the magnitude on the query alone", mixed(query=same, key=_where(_scaling("yarn"), attention_factor=1.0))
    # fmt: on


#: The known wrong meanings of the rotary embedding.
MEANINGS: tuple[Meaning, ...] = tuple(Meaning(*row) for row in _rows())
