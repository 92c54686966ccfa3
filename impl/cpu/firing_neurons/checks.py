"""What a structure is given, checked in full before anything is touched.

Every function raises :class:`~assay.spec.problem.InvalidInstance`, a ``ValueError``, that names the argument, what it
was and what was expected.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DTYPES", "below", "ids", "matrix", "number", "positive", "shaped", "unique_ids", "working"]

#: Types of data and weights, and the type of their correlations.
DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float32, "bfloat16": np.float32}


def working(data: Any) -> np.dtype[Any]:
    """The type of the correlations of data of a type."""
    return np.dtype(DTYPES[data.dtype.name])


def matrix(given: Any, name: str, width: int | None = None, dtype: str | None = None) -> NDArray[Any]:
    """``given`` (rows, width) in its own type: at least one row and one column, all finite.

    dtype: the name of the only type that is allowed; any of :data:`DTYPES` where there is none.
    """
    if not isinstance(given, np.ndarray):
        raise InvalidInstance(f"{name}: {type(given).__name__}, expected an array of NumPy")
    shaped(given, name, width, dtype)
    if not np.isfinite(given).all():
        raise InvalidInstance(f"{name}: NaN or infinity in it, expected finite numbers")
    return given


def shaped(given: Any, name: str, width: int | None = None, dtype: str | None = None) -> None:
    """The part of :func:`matrix` that looks at no numbers, of an array of any library."""
    if given.ndim != 2 or given.shape[0] < 1 or given.shape[1] < 1:
        raise InvalidInstance(f"{name}: shape {given.shape}, expected two axes, none of them empty")
    if width is not None and given.shape[1] != width:
        raise InvalidInstance(f"{name}: {given.shape[1]} columns, expected {width}")
    if given.dtype.name not in DTYPES or (dtype is not None and given.dtype.name != dtype):
        raise InvalidInstance(f"{name}: {given.dtype.name}, expected {dtype or ', '.join(DTYPES)}")


def ids(given: Any, name: str, count: int) -> NDArray[np.int64]:
    """``given`` as numbers (k,) from 0 to count − 1; k may be 0."""
    found = np.asarray(given)
    if found.ndim != 1:
        raise InvalidInstance(f"{name}: shape {found.shape}, expected one axis")
    if found.size == 0:
        return np.empty(0, np.int64)
    if found.dtype.kind not in "iu":
        raise InvalidInstance(f"{name}: {found.dtype.name}, expected integers")
    wrong = (found < 0) | (found >= count)
    if wrong.any():
        raise InvalidInstance(f"{name}: {found[wrong][0]} in it, expected 0 to {count - 1}")
    return np.ascontiguousarray(found, np.int64)


def unique_ids(given: Any, name: str, count: int) -> NDArray[np.int64]:
    """As :func:`ids`, for a batch of changes: at least one, and none twice."""
    found = ids(given, name, count)
    if not len(found):
        raise InvalidInstance(f"{name}: empty, expected at least one")
    if len(found) > 1:
        order = np.sort(found)
        twice = order[1:][order[1:] == order[:-1]]
        if len(twice):
            raise InvalidInstance(f"{name}: {twice[0]} in it twice, expected each at most once in a batch")
    return found


def number(given: Any, name: str) -> float:
    """A finite number."""
    try:
        found = math.nan if isinstance(given, (bool, str, bytes)) else float(given)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInstance(f"{name}: {given!r}, expected a finite number") from None
    if not math.isfinite(found):
        raise InvalidInstance(f"{name}: {given!r}, expected a finite number")
    return found


def positive(given: Any, name: str) -> int:
    """A whole number of at least 1."""
    try:
        found = operator.index(given)
    except TypeError:
        raise InvalidInstance(f"{name}: {given!r}, expected a whole number") from None
    if isinstance(given, bool) or found < 1:
        raise InvalidInstance(f"{name}: {given!r}, expected at least 1")
    return found


def below(threshold: float, dtype: np.dtype[Any]) -> Any:
    """The largest number of ``dtype`` that is at most ``threshold``; −∞ where there is none.

    A number of ``dtype`` exceeds this one iff it exceeds ``threshold``, which is not rounded therefore (FIRE-1).
    """
    most = float(np.finfo(dtype).max)
    rounded = dtype.type(min(max(threshold, -most), most))
    if threshold < -most:
        return dtype.type(-np.inf)
    return np.nextafter(rounded, dtype.type(-np.inf)) if float(rounded) > threshold else rounded
