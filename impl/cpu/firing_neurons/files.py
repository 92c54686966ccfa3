"""Structures in files: bit exact, without pickle, and read as what a stranger may have written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from assay.impl.cpu.firing_neurons import checks
from assay.spec import storage
from assay.spec.problem import InvalidInstance
from assay.spec.storage import Stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from assay.impl.cpu.firing_neurons.structure import Structure

    Kind = TypeVar("Kind", bound=Structure)

__all__ = ["read", "write"]

_NAME = "firing_neurons.structure"
_STRIP = 256  # points whose correlations are compared at a time; a multiple of 64


def write(path: str | Path, structure: Structure) -> None:
    """Write a structure to ``path``: data, weights, correlations, and what is kept of every neuron."""
    arrays = {"data": structure.data, "weights": structure.weights, **structure.kept()}
    if structure.keeps:
        arrays["correlations"] = structure.correlations(np.arange(structure.points)).value
    values = {"kind": structure.kind, "type": structure.type, **structure.settings()}
    storage.write(path, Stored(_NAME, arrays, values))


def read(path: str | Path, kind: type[Kind], threads: int | None) -> Kind:
    """What :func:`write` wrote.  Raises :class:`InvalidInstance` in one line for anything else."""
    stored = storage.read(path)
    try:
        return _made(stored, kind, threads)
    except InvalidInstance as error:
        raise InvalidInstance(f"{path}: {error}") from None


def _made(stored: Stored, kind: type[Kind], threads: int | None) -> Kind:
    values, arrays = dict(stored.values), stored.arrays
    if stored.problem != _NAME or values.pop("kind", None) != kind.kind:
        raise InvalidInstance(f"it holds no {kind.kind} of firing neurons")
    name = values.pop("type", None)
    if not isinstance(name, str) or name not in checks.DTYPES:
        raise InvalidInstance(f"type: expected {', '.join(checks.DTYPES)}")
    expected = {"data", "weights", "moves", "errors"} | ({"correlations"} if kind.keeps else set())
    if set(arrays) != expected:
        raise InvalidInstance(f"it holds {len(arrays)} arrays, expected {', '.join(sorted(expected))}")
    work = np.dtype(checks.DTYPES[name])
    for each in ("data", "weights"):
        checks.matrix(arrays[each], each, dtype=work.name)
    keywords: Any = values
    try:
        made = kind(arrays["data"], arrays["weights"], threads=threads, **keywords)
    except TypeError:
        raise InvalidInstance("its settings are not those of such a structure") from None
    made.type = name
    moves, errors = arrays["moves"], arrays["errors"]
    _require(moves, "moves", (made.neurons,), np.dtype(np.int64))
    _require(errors, "errors", (made.neurons, 2), np.dtype(np.float64))
    fresh = made.kept()["errors"]
    still = moves == 0
    if not ((moves >= 0) & (moves < made.refresh)).all():
        raise InvalidInstance(f"moves: expected 0 to {made.refresh - 1}")
    if not ((errors >= fresh).all() and (errors[still] == fresh[still]).all() and np.isfinite(errors[:, 0]).all()):
        raise InvalidInstance("errors: they bound nothing, or less than a product errs by")
    if kind.keeps:
        _require(arrays["correlations"], "correlations", (made.points, made.neurons), work)
        made.restore(_checked(made, arrays["correlations"], errors))
    made.keep(moves, errors)
    return made


def _require(array: NDArray[Any], name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise InvalidInstance(f"{name}: {array.dtype.name} of shape {array.shape}, expected {dtype.name} of {shape}")


def _checked(
    made: Structure, given: NDArray[Any], errors: NDArray[np.float64]
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """The tiles of given correlations, all of which are within their bounds."""
    finite = np.isfinite(given).all()
    if finite:
        for start in range(0, made.points, _STRIP):
            points = np.arange(start, min(start + _STRIP, made.points))
            fresh = made.correlations(points)
            norms = made.norms[points, None]
            with np.errstate(over="ignore", invalid="ignore"):
                allowed = 1.01 * (fresh.error + norms * errors[:, 0] + errors[:, 1])
                near = np.abs(given[points].astype(np.float64) - fresh.value) <= allowed
            if not near.all():
                raise InvalidInstance("correlations: they are not those of data and weights")
    else:
        raise InvalidInstance("correlations: NaN or infinity in it, expected finite numbers")
    return ((i, 0, given[i : i + _STRIP]) for i in range(0, made.points, _STRIP))
