"""What work costs on the processor at hand: the constants by which the routers of every room predict times.

Each constant is a number of nanoseconds of one core, measured on an AMD EPYC with AVX-512 (Zen 4, 512-bit vectors), and
is of some kind of work.  On the processor at hand every kind is timed once (:mod:`assay.impl.cpu.calibration`), and a
constant is multiplied by how many times the EPYC's time its kind of work takes.  What was timed is kept in the user's
cache folder, by processor, compiler's target and version of the package.

Predictions decide which route serves, so time depends on them, and so does which of two admissible results a call
gives; that a result is within its certificate never does.  ``ASSAY_COSTS=fixed`` in the environment stands for the
constants of the EPYC, whatever the processor: with it the same call takes the same route everywhere.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from assay.impl import cached

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "REFERENCE", "SWITCH", "TARGET", "Attention", "FiringNeurons", "Kept", "RopeAttention", "Speeds", "TensorAttention",
    "fixed", "in_use", "keep", "kept", "place", "route", "speeds", "started_wide",
]  # fmt: skip

SWITCH = "ASSAY_COSTS"
TARGET = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")  # by which a user chooses what kernels are compiled for
_MOST = 64.0  # times the speed of the EPYC, or a part of it: beyond it a clock was wrong
_LONGEST = 1 << 16  # bytes of a file that is read

#: Nanoseconds of the EPYC for each kind of work, as :mod:`assay.impl.cpu.calibration` times it.
REFERENCE: dict[str, float] = {
    "single": 0.019,  # a multiplication and an addition of a tile, float32
    "double": 0.035,  # … float64
    "exponential": 0.19,  # of a number of a tile, float32
    "exponential double": 0.35,  # … float64
    "scan": 0.11,  # a number of float32 that is compared, beyond the nearest caches
    "scatter": 1.3,  # a number that is added at a place that the data say
    "interpreter": 1400.0,  # a small operation of NumPy
}

Constants = TypeVar("Constants")


def _of(work: str, nanoseconds: float) -> Any:
    """A constant of a kind of work."""
    return field(default=nanoseconds, metadata={"work": work})


@dataclass(frozen=True)
class Speeds:
    """By what factor each kind of work takes longer than on the EPYC, in the order of :data:`REFERENCE`."""

    factors: tuple[float, ...] = (1.0,) * len(REFERENCE)

    def of(self, work: str) -> float:
        return self.factors[list(REFERENCE).index(work)]


class _Exact:
    """What a room's exact kernel costs, for each pair of a query and a key or combination of keys."""

    exact_float32: float
    exact_float32_column: float
    exact_float64: float
    exact_float64_column: float

    def exact(self, dtype: str) -> tuple[float, float]:
        """The exact kernel of a dtype: a fixed part, and each column."""
        if dtype == "float32":
            return self.exact_float32, self.exact_float32_column
        return self.exact_float64, self.exact_float64_column


@dataclass(frozen=True)
class Attention(_Exact):
    """Attention, exact and by polynomials.

    head: of polynomials, for each.  coordinate, feature, product: for each point, and each coordinate or column of V;
    each feature; each column of each feature.  kurtosis: for each part of the coordinates; each product of four for
    each key; N³ of N pairs.  near: for each row and key that is added by itself, and each of their columns.  exact:
    for each query and key, and each of their columns.
    """

    head: float = _of("interpreter", 2e5)
    coordinate: float = _of("double", 2.8)
    feature: float = _of("double", 0.17)
    product: float = _of("double", 0.019)
    kurtosis: float = _of("interpreter", 5e4)
    kurtosis_four: float = _of("double", 0.018)
    kurtosis_cube: float = _of("double", 0.014)
    near: float = _of("exponential double", 1.5)
    near_column: float = _of("double", 0.3)
    exact_float32: float = _of("exponential", 0.4)
    exact_float32_column: float = _of("single", 0.012)
    exact_float64: float = _of("exponential double", 0.75)
    exact_float64_column: float = _of("double", 0.021)


@dataclass(frozen=True)
class TensorAttention(_Exact):
    """Attention of any order; the names are those of :class:`Attention`, a point being a query or a combination."""

    head: float = _of("interpreter", 8e5)
    coordinate: float = _of("double", 6.0)
    feature: float = _of("double", 0.17)
    product: float = _of("double", 0.03)
    exact_float32: float = _of("exponential", 0.75)
    exact_float32_column: float = _of("single", 0.0115)
    exact_float64: float = _of("exponential double", 1.1)
    exact_float64_column: float = _of("double", 0.021)


@dataclass(frozen=True)
class RopeAttention:
    """Attention with positions, beside :class:`Attention`.

    exact: for each query and key, and each column of Q and V; each place of a support; a bias.  single: for each row
    and key that the exact kernel computes for a row by itself.  transform: for each number of a transform, and for each
    bit of its length.  near: for each row and key at the end of a window, and each of their columns.
    """

    exact_float32: float = _of("exponential", 0.7)
    exact_float32_column: float = _of("single", 0.018)
    exact_float32_place: float = _of("single", 0.094)
    exact_float32_biased: float = _of("single", 0.55)
    exact_float64: float = _of("exponential double", 1.0)
    exact_float64_column: float = _of("double", 0.033)
    exact_float64_place: float = _of("double", 0.162)
    exact_float64_biased: float = _of("double", 0.62)
    single: float = _of("double", 3.0)
    transform: float = _of("double", 0.25)
    transform_bit: float = _of("double", 0.4)
    near: float = _of("exponential double", 1.5)
    near_column: float = _of("double", 0.3)

    def exact(self, dtype: str) -> tuple[float, float, float, float]:
        """The exact kernel of a dtype: a fixed part, a column, a place of a support, a bias."""
        if dtype == "float32":
            return (
                self.exact_float32, self.exact_float32_column, self.exact_float32_place, self.exact_float32_biased
            )  # fmt: skip
        return self.exact_float64, self.exact_float64_column, self.exact_float64_place, self.exact_float64_biased


@dataclass(frozen=True)
class FiringNeurons:
    """Structures of correlations, in float32.

    product: a multiplication and an addition.  scanned: a correlation or a maximum that is compared.  block: of 64
    correlations, below a maximum that exceeds the threshold.  found: a neuron that fires.  stored: a correlation that
    is replaced.  repaired: … below maxima.  laid: a correlation that is computed, beside its product, for a table;
    twice that for a tree.
    """

    product: float = _of("single", 0.035)
    scanned: float = _of("scan", 0.15)
    block: float = _of("scatter", 90.0)
    found: float = _of("scan", 1.0)
    stored: float = _of("scatter", 11.0)
    repaired: float = _of("scatter", 13.0)
    laid: float = _of("scan", 0.4)


#: The kind of work that most of the time of a route of kernel graphs goes to; of others it is the one of "direct".
_ROUTES = {"direct": "double", "grid": "scatter", "nonuniform": "scatter", "gaussians": "scatter"}


def route(name: str) -> float:
    """By what factor a route of kernel graphs takes longer than its prediction for the EPYC."""
    return speeds().of(_ROUTES.get(name, "double"))


def in_use(constants: type[Constants]) -> Constants:
    """The constants of a room for the processor at hand, which is timed for it where that has not been done."""
    kind: Any = constants  # a class can be hashed, which the type of a cache does not know
    found: Constants = _scaled(kind, speeds())
    return found


@functools.lru_cache(maxsize=64)
def _scaled(constants: Any, speeds: Speeds) -> Any:
    of_epyc = constants()
    return constants(
        **{each.name: getattr(of_epyc, each.name) * speeds.of(each.metadata["work"]) for each in fields(of_epyc)}
    )


def fixed() -> bool:
    """Whether the environment asks for the constants of the EPYC."""
    return os.environ.get(SWITCH) == "fixed"


_known: dict[str, Speeds] = {}  # at most one entry: what this process uses from its first prediction on


def speeds() -> Speeds:
    """The speeds of the processor at hand: those of this process, else those that are kept, else measured and kept."""
    if fixed():
        return Speeds()
    if (found := _known.get("speeds")) is not None:
        return found
    before = kept()
    if before is None:
        try:
            from assay.impl.cpu import calibration  # not above: it compiles what is timed

            before = Kept(calibration.measured())
        except Exception:  # no compiler, no clock: nothing is known, and the fixed constants serve
            return _known.setdefault("speeds", Speeds())
        with contextlib.suppress(OSError, RuntimeError):
            keep(before)
    return _known.setdefault("speeds", before.speeds)  # of two threads the first one decides for both


@dataclass(frozen=True)
class Kept:
    """What was measured of a processor.

    nanoseconds: for each kind of work.  wide: whether they are of vectors of 512 bits where the compiler keeps to 256.
    """

    nanoseconds: Mapping[str, float]
    wide: bool = False

    @property
    def speeds(self) -> Speeds:
        return Speeds(
            tuple(
                min(max(self.nanoseconds[work] / reference, 1.0 / _MOST), _MOST)
                for work, reference in REFERENCE.items()
            )
        )


def keep(found: Kept) -> Path:
    """Keep what was measured, for the processes to come; the file.  Raises ``OSError`` or ``RuntimeError``."""
    from assay.spec.written import write_bytes

    path = place()
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: no file")
    path.parent.mkdir(parents=True, exist_ok=True)
    told = _key() | {"wide": found.wide, "nanoseconds": dict(found.nanoseconds)}
    write_bytes(path, (json.dumps(told, indent=1) + "\n").encode())
    _known.pop("speeds", None)
    return path


def kept() -> Kept | None:
    """What is kept of the processor at hand; ``None`` where there is nothing, or something else than is expected."""
    try:
        told = cached.kept(place(), _LONGEST)
        if not isinstance(told, dict) or any(told.get(name) != value for name, value in _key().items()):
            return None
        numbers = told["nanoseconds"]
        found = {work: numbers[work] for work in REFERENCE}
        if all(type(x) in (int, float) and 0.0 < x < math.inf for x in found.values()) and type(told["wide"]) is bool:
            return Kept({work: float(x) for work, x in found.items()}, told["wide"])
    except (RuntimeError, LookupError, TypeError, OverflowError):
        pass
    return None


def place() -> Path:
    """The file of the processor at hand.  Raises ``RuntimeError`` where the user has no home."""
    name = hashlib.sha256(json.dumps(_key()).encode()).hexdigest()[:16]
    return cached.cache_folder() / "costs" / f"{name}.json"


def _key() -> dict[str, Any]:
    """What the speeds that are kept belong to."""
    from assay import __version__
    from assay.impl.cpu import processor

    here = processor.here()
    return {
        "assay": __version__,
        "processor": here.model,
        "cores": here.cores,
        "target": [os.environ.get(name, "") for name in TARGET],
    }


@functools.cache
def started_wide() -> None:
    """Have the compiler take vectors of 512 bits in this process, where what is kept was measured with them.

    It is called before a kernel of this package is compiled.  Where the environment names a target, or something was
    compiled before, that target stays.  The compiler's cache on disk is told apart by the target.
    """
    if fixed() or any(os.environ.get(name) for name in TARGET):
        return
    found = kept()
    if found is not None and found.wide:
        from assay.impl.cpu import processor

        processor.widen()
