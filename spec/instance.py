"""What every problem's input has in common: it declares its arrays and options once, and the rest is derived.

An instance is a frozen dataclass whose fields are arrays, made with :func:`array`, and plain options: numbers, made
with :func:`real` and :func:`whole`, words, made with :func:`choice`, truth values, and any strings, integers, ``None``
and tuples of these.  It is flat: nothing nests arrays.
From the declarations follow validation, files, the digest, parts, what to try when a failure is shrunk, the size and
the description.  A problem overrides what its arrays mean together: attention's ``part``, for instance, keeps groups of
heads whole.

>>> from dataclasses import dataclass
>>> import numpy as np
>>> @dataclass(frozen=True, eq=False)
... class Doubling(Instance):
...     problem = "doubling"
...     points: NDArray[Any] = array("points")
...     factor: float = real(2.0)
>>> instance = Doubling(np.arange(3.0))
>>> instance.lengths(), instance.part(points=[2]).points.tolist(), instance.describe()
({'points': 3}, [2.0], 'points 3, float64')
>>> Doubling(np.zeros((2, 2)))
Traceback (most recent call last):
assay.spec.problem.InvalidInstance: points: shape (2, 2), expected (points)
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from assay.spec import floats, storage, untrusted
from assay.spec.problem import InvalidInstance, Provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["Instance", "array", "choice", "parts_of", "real", "whole"]

_UNKNOWN = Provenance()  # of every instance of which nothing is told: it takes no time in small calls
_KINDS = {"whole": "iu", "truth": "b"}  # kinds of an array, and NumPy's letters for them; "real" is FLOATS
_WORDS = {"real": f"one of {', '.join(sorted(floats.FLOATS))}", "whole": "integers", "truth": "bool"}
_GOOD: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "finite": (floats.finite, "finite numbers"),
    "finite or −inf": (floats.finite_or_minus_infinity, "finite numbers or −inf"),
}


@dataclass(frozen=True)
class _Rule:
    """What a value must be, besides ``None`` where that is the default, and the words for it."""

    holds: Callable[[Any], bool]
    words: str


@dataclass(frozen=True)
class _Array:
    """The declaration of an array field."""

    axes: tuple[str, ...]
    kind: str
    broadcast: bool
    like: str
    values: str
    empty: bool


def array(
    axes: str,
    *,
    kind: str = "real",
    optional: bool = False,
    broadcast: bool = False,
    like: str = "",
    values: str = "finite",
    empty: bool = False,
) -> Any:
    """A field that holds an array.

    axes: the name of every axis, in order; equal names mean equal lengths, in all arrays of the instance.
    kind: ``real`` (a floating type), ``whole`` (integers) or ``truth``.
    optional: the field may be ``None``, and is if nothing is given.
    broadcast: leading axes may be missing, and any axis may have the length 1, as NumPy broadcasts.
    like: the name of a field whose dtype this one must have.
    values: what the numbers of a real array may be: ``finite``, ``finite or −inf``, or ``any``.
    empty: whether an axis may have the length 0.
    """
    declaration = _Array(tuple(axes.split()), kind, broadcast, like, values, empty)
    more: dict[str, Any] = {"default": None} if optional else {}
    return field(metadata={"array": declaration}, **more)


def real(
    default: float | None = None,
    *,
    plain: float | None = None,
    least: float | None = None,
    above: float | None = None,
) -> Any:
    """A field that holds a finite number, or ``None`` where that is the default.

    plain: the value that a failure is shrunk towards, where it is not the default.
    least, above: the number is at least the one, and greater than the other.
    """
    limits = [] if least is None else [_Rule(lambda x: bool(x >= least), f"a number of at least {least:g}")]
    limits += [] if above is None else [_Rule(lambda x: bool(x > above), f"a number > {above:g}")]
    return field(default=default, metadata={"real": True, "plain": plain, "rules": limits})


def whole(default: int | None = None, *, least: int, most: int = 2**53) -> Any:
    """A field that holds an integer from ``least`` to ``most``, or ``None`` where that is the default."""

    def good(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return field(default=default, metadata={"rules": [_Rule(good, f"an integer from {least} to {most}")]})


def choice(
    *words: str | None,
    needs: Mapping[str, Sequence[str]] | None = None,
    takes: Mapping[str, Sequence[str]] | None = None,
) -> Any:
    """A field that holds one of some words, of which the first is the default.

    needs: word → the options that must be given with it.  takes: word → options that may be given with it.  No other
    word may be chosen together with these options, and another choice in ``replace`` drops them.
    """
    *others, last = (repr(word) for word in sorted(words, key=lambda word: word is None))
    rule = _Rule(lambda value: value in words, f"{', '.join(others)} or {last}")
    return field(default=words[0], metadata={"rules": [rule], "needs": needs or {}, "takes": takes or {}})


def _array_fields(kind: type[Instance]) -> dict[str, _Array]:
    """The array fields of a class of instances, in order."""
    return {item.name: item.metadata["array"] for item in dataclasses.fields(kind) if "array" in item.metadata}


def _other_fields(kind: type[Instance]) -> dict[str, dataclasses.Field[Any]]:
    """The fields that are neither arrays nor the provenance, in order."""
    return {
        item.name: item
        for item in dataclasses.fields(kind)
        if "array" not in item.metadata and item.name != "provenance"
    }


def _default_values(kind: type[Instance]) -> dict[str, Any]:
    """The default of every field, ``MISSING`` where there is none."""
    return {item.name: item.default for item in dataclasses.fields(kind)}


_defaults: Callable[[Any], dict[str, Any]] = functools.cache(_default_values)


def _linked_fields(kind: type[Instance]) -> dict[str, dataclasses.Field[Any]]:
    """The fields that hold a word which brings other options, in order."""
    plain = _other_fields(kind).items()
    return {name: item for name, item in plain if item.metadata.get("needs") or item.metadata.get("takes")}


def _defaults_of_plain(kind: type[Instance]) -> list[tuple[str, Any, bool]]:
    """The name and the default of every plain field, and whether any finite number is good for it, in order.

    ``MISSING`` stands for a default that has to be looked at as what is given has.
    """
    return [
        (
            name,
            item.default if item.default is None or isinstance(item.default, (bool, str)) else dataclasses.MISSING,
            bool(item.metadata.get("real")) and not item.metadata.get("rules"),
        )
        for name, item in _plain_fields(kind).items()
    ]


def _numbers_looked_at(kind: type[Instance]) -> list[tuple[str, Callable[[Any], Any], str]]:
    """The name of every array of which each number is looked at, what is good, and the words for it, in order."""
    return [
        (name, *_GOOD[declaration.values])
        for name, declaration in _declared(kind).items()
        if declaration.kind == "real" and declaration.values != "any"
    ]


_declared: Callable[[Any], dict[str, _Array]] = functools.cache(_array_fields)
_plain_fields: Callable[[Any], dict[str, dataclasses.Field[Any]]] = functools.cache(_other_fields)


def _looks(kind: type[Instance]) -> tuple[list[Any], ...]:
    """What an instance is looked at for when it is made, found at once, as small calls are many.

    They are the names of its arrays, the defaults of its plain fields, and its fields that bring others, each with its
    name.
    """
    return list(_declared(kind)), _defaults_of_plain(kind), list(_linked_fields(kind).items())


_checks: Callable[[Any], tuple[list[Any], ...]] = functools.cache(_looks)
_looked_at: Callable[[Any], list[tuple[str, Callable[[Any], Any], str]]] = functools.cache(_numbers_looked_at)


@dataclass(frozen=True, eq=False)
class Instance:
    """One input of a problem.  Arrays are kept as given, without a copy; numbers are exact as stored.

    Raises :class:`~assay.spec.problem.InvalidInstance` in one line that names the field, what it was and what was
    expected.  A subclass names its ``problem``, declares its fields, and checks in its own ``__post_init__``, after
    ``super().__post_init__()``, what the declarations cannot say.
    """

    problem: ClassVar[str]

    provenance: Provenance = field(default=_UNKNOWN, kw_only=True)

    def __init_subclass__(cls) -> None:
        """A field may not take the name of something that every instance has; ``metadata`` is a part of every file."""
        super().__init_subclass__()
        for name in vars(cls).get("__annotations__", {}):
            if hasattr(Instance, name) or name in ("provenance", "metadata"):
                raise TypeError(
                    f"{cls.__name__}.{name}: a name that every instance has, expected another for the field"
                )

    def __post_init__(self) -> None:
        kind = type(self)
        given = vars(self)  # calls on small arrays are many, and of their time this is a part that counts
        names, plain, chosen = _checks(kind)
        kinds = []
        for name in names:
            x = given[name]
            kinds.append(None if x is None else (x.shape, x.dtype) if isinstance(x, np.ndarray) else type(x))
        _fitting(kind, tuple(kinds))
        for name, value in self.usual().items():
            if given[name] is None:
                self._store(**{name: value})
        for name, default, is_real in plain:
            value = given[name]
            # what was not given needs no look, nor does a finite number of the type that is stored, without limits
            if value is not default and not (is_real and type(value) is float and math.isfinite(value)):
                self._require_plain(name, value, _plain_fields(kind)[name])
        for name, item in chosen:
            self._require_chosen(name, item.metadata)
        self.require_numbers()

    def require_numbers(self) -> None:
        """Refuse numbers that the declarations of their arrays do not allow, as an instance does when it is made."""
        given = vars(self)
        for name, good, words in _looked_at(type(self)):
            value = given[name]
            if value is not None and (index := floats.first_that_is_not(good, value)) is not None:
                raise InvalidInstance(f"{name}: {value[index]} at {index}, expected {words}")

    def _require_plain(self, name: str, value: Any, item: dataclasses.Field[Any]) -> None:
        """The option is what its declaration says; a truth value where its default is one."""
        if item.metadata.get("real"):
            value = _finite_number(name, value)
        if isinstance(item.default, bool):
            self._require(isinstance(value, (bool, np.bool_)), name, "True or False")
            value = bool(value)
        for rule in item.metadata.get("rules", ()):
            self._require(rule.holds(value), name, rule.words)
        self._store(**{name: value})

    def _require_chosen(self, name: str, metadata: Mapping[str, Any]) -> None:
        """The options that the chosen word needs are given, and none that only others bring."""
        chosen, needs = getattr(self, name), metadata.get("needs", {})
        brought = {word: _brought(metadata, word) for word in (*needs, *metadata.get("takes", {}))}
        for option in dict.fromkeys(itertools.chain(*brought.values())):
            unset = getattr(self, option) == self._default(option)
            self._require(unset or option in brought.get(chosen, ()), option, f"none with {name} {chosen!r}")
            self._require(
                not unset or option not in needs.get(chosen, ()), option, f"a value, which {name} {chosen!r} needs"
            )

    def _require(self, good: Any, name: str, expected: str) -> None:
        """Refuse the field ``name`` unless what was expected of it is good."""
        if not good:
            value = getattr(self, name)
            said = f"shape {value.shape}" if isinstance(value, np.ndarray) else repr(value)
            raise InvalidInstance(f"{name}: {said}, expected {expected}")

    def _store(self, **values: Any) -> None:
        """Set fields while the instance is made, so that what has one meaning is stored in one form."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def _default(cls, name: str) -> Any:
        return _defaults(cls)[name]

    # --- what it holds ------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays that are given, by name, in the order of the fields."""
        return {name: value for name in _declared(type(self)) if (value := getattr(self, name)) is not None}

    def lengths(self) -> dict[str, int]:
        """Axis → length, of every axis of an array that does not broadcast, in the order of the fields."""
        return dict(self._lengths)

    @functools.cached_property
    def _lengths(self) -> dict[str, int]:  # a diagnosis asks for them hundreds of thousands of times
        lengths: dict[str, int] = {}
        for name, declaration in _declared(type(self)).items():
            value = getattr(self, name)
            if value is not None and not declaration.broadcast:
                for axis, length in zip(declaration.axes, value.shape, strict=True):
                    lengths.setdefault(axis, length)
        return lengths

    def usual(self) -> dict[str, Any]:
        """Options whose usual value depends on the instance, and that value: attention's scale 1/√d, for one.

        They are stored in place of ``None``.
        """
        return {}

    def options(self) -> dict[str, Any]:
        """The plain options that differ from their usual value."""
        usual = self.usual()
        return {
            name: value
            for name, item in _plain_fields(type(self)).items()
            if (value := getattr(self, name)) != usual.get(name, item.default)
        }

    @classmethod
    def every_axis(cls) -> tuple[str, ...]:
        """The name of every axis of every array field, in the order of the fields."""
        return tuple(dict.fromkeys(axis for declaration in _declared(cls).values() for axis in declaration.axes))

    @classmethod
    def axes_of(cls, name: str) -> tuple[str, ...]:
        """The axes that the array field ``name`` declares."""
        return _declared(cls)[name].axes

    @classmethod
    def is_option(cls, name: str) -> bool:
        """Whether the field ``name`` may be left out: a plain option, or an optional array."""
        return cls._default(name) is not dataclasses.MISSING

    # --- other instances ----------------------------------------------------------------------------------------------

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again; another choice drops the options of the old one."""
        for name, item in _plain_fields(type(self)).items():
            if changes.get(name, old := getattr(self, name)) != old:
                changes = {option: self._default(option) for option in _brought(item.metadata, old)} | changes
        return dataclasses.replace(self, **changes)

    def part(self, **kept: Sequence[int] | NDArray[np.intp] | None) -> Self:
        """The instance of some indices of some axes, in the order given (``None``: all), in every array that has them.

        >>> import numpy as np
        >>> from assay.spec.attention import Instance as Attention
        >>> x = np.zeros((1, 2, 3, 4))
        >>> Attention(x, x, x).part(queries=[2, 0], heads=[1]).query.shape
        (1, 1, 2, 4)
        """
        return self.replace(**self._parts(kept))

    def _parts(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        """The arrays of :meth:`part` that change."""
        names = {axis for declaration in _declared(type(self)).values() for axis in declaration.axes}
        if unknown := set(kept) - names:
            raise TypeError(f"part: no axis {', '.join(sorted(unknown))}, expected some of {', '.join(sorted(names))}")
        changes = {}
        for name, value in self.arrays().items():
            declaration = _declared(type(self))[name]
            chosen = value
            for place, axis in enumerate(declaration.axes, -len(declaration.axes)):
                index = kept.get(axis)
                missing = declaration.broadcast and (value.ndim < -place or value.shape[place] == 1)
                if index is not None and not missing:
                    chosen = np.take(chosen, np.asarray(index, dtype=np.intp), axis=place)
            if chosen is not value:
                changes[name] = chosen
        return changes

    # --- smaller ones, when a failure is shrunk -----------------------------------------------------------------------

    def smaller(self) -> Iterator[Self]:
        """Instances to try in place of this one, the boldest first: parts of axes, fewer options, plainer numbers."""
        for make in self._smaller():
            with contextlib.suppress(InvalidInstance):
                yield make()

    def _smaller(self) -> Iterator[Callable[[], Self]]:
        for axis, length in self.lengths().items():
            for kept in parts_of(length):
                yield functools.partial(self.part, **{axis: kept})
        for name in _declared(type(self)):
            if self._default(name) is None and getattr(self, name) is not None:
                yield functools.partial(self.replace, **{name: None})
        for name, plain in self._plainer().items():
            yield functools.partial(self.replace, **{name: plain})
        for name, value in self.arrays().items():
            if _declared(type(self))[name].kind != "truth" and self._default(name) is dataclasses.MISSING:
                for plain_numbers in (np.zeros_like(value), *_rounded(value)):
                    if _differ(plain_numbers, value):
                        yield functools.partial(self.replace, **{name: plain_numbers})

    def _plainer(self) -> dict[str, Any]:
        """The options that are not as plain as they could be, and the value to try."""
        plainer = {}
        for name, item in _plain_fields(type(self)).items():
            plain = item.metadata.get("plain")
            plain = item.default if plain is None else plain
            if plain is not dataclasses.MISSING and getattr(self, name) != plain:
                plainer[name] = plain
        return plainer

    def size(self) -> float:
        """What shrinking lowers: elements, and a little for every option and every number that is no small integer."""
        given = self.arrays().values()
        odd = sum(float((x != np.rint(x)).sum() + 0.5 * (x != 0).sum()) for x in given if x.dtype.kind != "b")
        long = sum(float((_quarters(x) != x).sum()) for x in given if x.dtype.kind not in "biu")
        optional = sum(self._default(name) is None for name in self.arrays())
        elements = sum(x.size for x in given)
        return float(elements + 0.1 * (odd + long) + optional + len(self._plainer()))

    def spanned(self) -> int:
        """How many numbers an evaluation holds at a time, about: those of the arrays, where no problem says more.

        :func:`assay.spec.memory.require_evaluable` refuses what is too large for this machine.
        """
        return sum(value.size for value in self.arrays().values())

    def describe(self) -> str:
        """Lengths, type and options in one line."""
        words = [f"{axis.replace('_', ' ')} {length}" for axis, length in self.lengths().items()]
        main = next(iter(self.arrays().values()), None)
        words += [] if main is None else [main.dtype.name]
        words += [f"{name.replace('_', ' ')} {_said(value)}" for name, value in self.options().items()]
        optional = {name: value for name, value in self.arrays().items() if self._default(name) is None}
        words += [f"{name.replace('_', ' ')} {_array_said(value)}" for name, value in optional.items()]
        return ", ".join(words)

    # --- files --------------------------------------------------------------------------------------------------------

    def values(self) -> dict[str, Any]:
        """Everything but the arrays and the provenance as JSON values; numbers in hexadecimal, so that no bit is lost.

        Raises :class:`InvalidInstance` for a field that is neither an array nor plain.
        """
        stored: dict[str, Any] = {}
        for name in _declared(type(self)):
            if getattr(self, name) is None:
                stored[name] = None
        for name, item in _plain_fields(type(self)).items():
            value = getattr(self, name)
            if item.metadata.get("real") and value is not None:
                stored[name] = value.hex()
            elif _is_plain(value):
                stored[name] = value
            else:
                raise InvalidInstance(f"{name}: {type(value).__name__}, expected an array or a plain value")
        return stored

    def digest(self) -> bytes:
        """A key of everything in the instance but its provenance: equal for equal contents, whatever their memory."""
        state = hashlib.blake2b(f"{type(self).__module__}.{type(self).__qualname__}".encode())
        for name, value in self.arrays().items():
            state.update(f"{name} {value.dtype.name} {value.shape}".encode())
            state.update(storage.plain(value).tobytes())
        state.update(json.dumps(self.values(), sort_keys=True).encode())
        return state.digest()

    def save(self, path: str | Path, more: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Write to an ``.npz`` file, bit exact; :meth:`load` reads it back.

        more: further members of the file (:func:`assay.spec.storage.write`).
        """
        values = {**self.values(), "provenance": dataclasses.asdict(self.provenance)}
        storage.write(path, storage.Stored(self.problem, self.arrays(), values), more)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that :meth:`save` wrote.  Raises :class:`InvalidInstance` for anything else."""
        stored = storage.read(path)
        if stored.problem != cls.problem:
            raise InvalidInstance(f"{path}: an instance of {stored.problem!r}, expected {cls.problem!r}")
        plain = _plain_fields(cls)
        arrays = _declared(cls)
        unknown = (set(stored.values) - {"provenance"} - set(plain) - set(arrays)) | (set(stored.arrays) - set(arrays))
        if unknown:
            raise InvalidInstance(f"{path}: unknown fields {sorted(unknown)}")
        try:
            values: dict[str, Any] = dict(stored.arrays)
            for name, value in stored.values.items():
                if name == "provenance":
                    values[name] = Provenance(**value)
                elif name in plain and plain[name].metadata.get("real") and value is not None:
                    values[name] = float.fromhex(value)
                else:
                    values[name] = _tuples(value)
            return cls(**values)
        except InvalidInstance as error:
            raise InvalidInstance(f"{path}: {untrusted.line(error)}") from None
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise InvalidInstance(f"{path}: damaged instance file ({untrusted.line(error)})") from None


def parts_of(length: int) -> Iterator[list[int]]:
    """What to keep of an axis that shrinks: one element, a half, all but one; each choice once."""
    seen = set()
    for kept in (
        [0],
        [length - 1],
        range(length // 2),
        range(length // 2, length),
        range(length - 1),
        range(1, length),
    ):
        part = list(kept)
        if 0 < len(part) < length and tuple(part) not in seen:
            seen.add(tuple(part))
            yield part


def _all_fit(kind: type[Instance], kinds: tuple[Any, ...]) -> None:
    """What is given for the arrays of a class is of the kinds and the shapes that it declares.

    kinds: of what is given for each, all that is asked: shape and dtype, or the type of what is no array, or ``None``.
    """
    defaults = _defaults(kind)
    given = dict(zip(_declared(kind), kinds, strict=True))
    lengths: dict[str, int] = {}
    broadcast = []
    for name, declaration in _declared(kind).items():
        if given[name] is None and defaults[name] is None:
            continue
        if not isinstance(given[name], tuple):
            told = type(None) if given[name] is None else given[name]
            raise InvalidInstance(f"{name}: {told.__name__}, expected a NumPy array")
        shape, dtype = given[name]
        _require_dtype(name, dtype, declaration, given)
        if declaration.broadcast:
            broadcast.append((name, shape, declaration))
        else:
            _require_shape(name, shape, declaration, lengths)
    for name, shape, declaration in broadcast:
        _require_broadcast(name, shape, tuple(lengths[axis] for axis in declaration.axes))


_kept = functools.lru_cache(maxsize=256)  # but for what is refused
_fitting: Callable[[Any, tuple[Any, ...]], None] = _kept(_all_fit)


def _require_dtype(name: str, dtype: np.dtype[Any], declaration: _Array, given: Mapping[str, Any]) -> None:
    if declaration.like:
        like = given[declaration.like][1]
        if dtype != like and dtype.name != like.name:  # the byte order may be another
            raise InvalidInstance(f"{name}: dtype {dtype.name}, expected {like.name} as in {declaration.like}")
    elif declaration.kind == "real":
        if not floats.floating(dtype):
            raise InvalidInstance(f"{name}: dtype {dtype.name}, expected {_WORDS['real']}")
    elif dtype.kind not in _KINDS[declaration.kind]:
        raise InvalidInstance(f"{name}: dtype {dtype.name}, expected {_WORDS[declaration.kind]}")


def _require_shape(name: str, shape: tuple[int, ...], declaration: _Array, lengths: dict[str, int]) -> None:
    """The shape fits the axes and the lengths of earlier arrays, to which it adds its own."""
    axes = declaration.axes
    own = dict(zip(axes, shape, strict=False))
    fits = len(shape) == len(axes) and lengths.items() <= (lengths | own).items()
    if len(own) < len(axes):  # one axis twice
        fits = fits and all(own[axis] == length for axis, length in zip(axes, shape, strict=True))
    if not fits:
        known = {axis: lengths[axis] for axis in axes if axis in lengths}
        where = f" with {', '.join(f'{axis} = {length}' for axis, length in known.items())}" if known else ""
        raise InvalidInstance(f"{name}: shape {shape}, expected ({', '.join(axes)}){where}")
    if not declaration.empty and 0 in shape:
        raise InvalidInstance(f"{name}: shape {shape}, expected every side at least 1")
    lengths.update(own)


def _require_broadcast(name: str, shape: tuple[int, ...], full: tuple[int, ...]) -> None:
    try:
        good = np.broadcast_shapes(shape, full) == full
    except ValueError:
        good = False
    if not good:
        raise InvalidInstance(f"{name}: shape {shape}, expected one that broadcasts to {full}")


def _brought(metadata: Mapping[str, Any], word: str | None) -> tuple[str, ...]:
    """The options that may be given with a word of a :func:`choice`."""
    return (*metadata.get("needs", {}).get(word, ()), *metadata.get("takes", {}).get(word, ()))


def _finite_number(name: str, value: Any) -> float:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    try:
        if number and math.isfinite(float(value)):
            return float(value)
    except OverflowError:  # an integer beyond float64, of which there may be too many digits to show
        raise InvalidInstance(f"{name}: an integer beyond float64, expected a finite number") from None
    raise InvalidInstance(f"{name}: {value!r}, expected a finite number")


def _is_plain(value: Any) -> bool:
    """Whether a value is one that JSON keeps, but for a floating-point number, which only :func:`real` fields hold."""
    if isinstance(value, tuple):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, (str, bool, int))


def _tuples(value: Any) -> Any:
    """A JSON value with tuples in place of its lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _differ(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays of one shape differ in a number; NaN and NaN do not."""
    numbers = (one == one) | (other == other)
    return bool(((one != other) & numbers).any())


def _rounded(x: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Plainer numbers than those of a real array: integers, then quarters."""
    return () if x.dtype.kind in "iu" else (np.rint(x), _quarters(x))


def _quarters(x: NDArray[Any]) -> NDArray[Any]:
    """The nearest numbers with two binary digits after the point."""
    wide = x.astype(np.float64)
    small = np.abs(wide) < 2.0**51  # beyond, every number is a multiple of a quarter
    rounded: NDArray[Any] = np.where(small, np.rint(np.where(small, wide, 0.0) * 4) / 4, wide).astype(x.dtype)
    return rounded


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, tuple):
        return "({})".format(", ".join("∞" if part is None else _said(part) for part in value))
    return str(value)


def _array_said(value: NDArray[Any]) -> str:
    """A short array of integers by its elements, any other by its shape."""
    if value.dtype.kind in "iu" and value.size <= 16:
        return str(value.tolist())
    return "×".join(map(str, value.shape))
