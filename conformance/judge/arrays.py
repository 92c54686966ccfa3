"""Covering arrays: rows in which every two, or every three, values occur that may be together.

covertable makes them, and takes seconds for many factors.  So an array is kept in the cache folder, and is taken from
there only after a look at every combination of values: a damaged file, or one that a kernel under test wrote, would
otherwise make a verdict mean less than it says.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import itertools
import json
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from assay.impl.cached import cache_folder, kept
from assay.spec.instances.extra import required
from assay.spec.written import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Joint", "apart", "array"]

_LONGEST = 1 << 20  # bytes of a file
_KEPT = 400  # files: about those of ten kernels of every problem with all seeds

Key = TypeVar("Key", str, int)
Joint = dict[str, frozenset[str]]


def apart(joint: Mapping[Key, frozenset[str]], choice: Mapping[Key, str]) -> bool:
    """Whether a choice has a value beside those that cannot be together."""
    return any(choice[name] not in values for name, values in joint.items())


def array(
    factors: Mapping[str, Sequence[str]], strength: int, never: Sequence[Joint], salt: int
) -> tuple[dict[str, str], ...]:
    """Choices in which every ``strength`` values of as many factors occur that may be together.

    never: values of several factors that cannot be together, all of them at once.  salt: arrays of two salts differ.
    """
    names, values = list(factors), list(factors.values())
    place = {name: number for number, name in enumerate(names)}
    joints = [{place[name]: joint[name] for name in sorted(joint)} for joint in never]
    asked = [values, strength, [[[number, sorted(of)] for number, of in joint.items()] for joint in joints], salt]
    rows = _kept(asked, joints)
    if rows is None:
        rows = _made(values, strength, joints, salt)
        _keep(asked, rows)
    return tuple({name: values[number][row[number]] for number, name in enumerate(names)} for row in rows.tolist())


def _made(
    values: Sequence[Sequence[str]], strength: int, joints: Sequence[Mapping[int, frozenset[str]]], salt: int
) -> NDArray[np.int64]:
    """An array of numbers of values, (rows, factors).

    Factors go by numbers: covertable looks for dots in a name, every time.
    """
    constraints = [
        {"operator": "fn", "requires": list(joint), "evaluate": functools.partial(apart, joint)} for joint in joints
    ]
    rows = required("covertable", "check").make(
        dict(enumerate(values)), strength=strength, salt=str(salt), constraints=constraints
    )
    numbers = [{value: number for number, value in enumerate(of)} for of in values]
    return np.array([[numbers[place][row[place]] for place in range(len(values))] for row in rows], np.int64)


# --- what is kept -----------------------------------------------------------------------------------------------------


def _place(asked: Any) -> Path:
    """The file of an array.  Raises ``RuntimeError`` where the user has no home."""
    told = json.dumps([importlib.metadata.version("covertable"), asked])
    return cache_folder() / "arrays" / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"


def _kept(asked: Any, joints: Sequence[Mapping[int, frozenset[str]]]) -> NDArray[np.int64] | None:
    """The array that is kept; ``None`` where there is none, or something that is no such array."""
    values, strength = asked[:2]
    try:
        rows: NDArray[Any] = np.array(kept(_place(asked), _LONGEST))
    except (importlib.metadata.PackageNotFoundError, RuntimeError, ValueError, OverflowError):
        return None
    lengths = np.array([len(of) for of in values])
    fits = rows.dtype == np.int64 and rows.shape[1:] == lengths.shape and ((rows >= 0) & (rows < lengths)).all()
    return rows if fits and _covers(rows, values, strength, joints) else None


def _keep(asked: Any, rows: NDArray[np.int64]) -> None:
    """Write an array to its file, if the system lets us, in the place of the oldest one where there are many."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, OSError, RuntimeError):
        path = _place(asked)
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in sorted(path.parent.glob("*.json"), key=lambda each: each.stat().st_mtime)[: -_KEPT + 1]:
            old.unlink(missing_ok=True)
        write_bytes(path, json.dumps(rows.tolist(), separators=(",", ":")).encode())


def _covers(
    rows: NDArray[np.int64],
    values: Sequence[Sequence[str]],
    strength: int,
    joints: Sequence[Mapping[int, frozenset[str]]],
) -> bool:
    """Whether no row has what cannot be together, and some row every combination of values that can be."""
    banned = []
    for joint in joints:
        inside = {place: [at for at, value in enumerate(values[place]) if value in of] for place, of in joint.items()}
        banned += [inside] if all(inside.values()) else []  # the kernel cannot be asked for it at all
    if any(np.all([np.isin(rows[:, place], of) for place, of in joint.items()], axis=0).any() for joint in banned):
        return False
    lengths = [len(of) for of in values]
    for places in itertools.combinations(range(len(values)), strength):
        seen = np.zeros([lengths[place] for place in places], bool)
        seen[tuple(rows[:, place] for place in places)] = True
        for missing in np.argwhere(~seen).tolist():
            if _possible(dict(zip(places, missing, strict=True)), banned, lengths):
                return False
    return True


def _possible(chosen: dict[int, int], banned: Sequence[Mapping[int, Sequence[int]]], lengths: Sequence[int]) -> bool:
    """Whether other factors have values with which nothing is together that cannot be."""
    for joint in banned:
        if any(chosen.get(place, of[0]) not in of for place, of in joint.items()):
            continue
        free = [place for place in joint if place not in chosen]
        ways = [{place: value} for place in free for value in range(lengths[place]) if value not in joint[place]]
        return any(_possible(chosen | way, banned, lengths) for way in ways)
    return True
