"""The input of attention: what is computed on, validated, saved and loaded.

Shapes are (batch, heads, length, dim).  Every option of SYSTEMS section 1 is a field; the meaning of each
is in :mod:`assay.spec.attention.definition`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.storage import load_instance, save_instance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Instance", "load"]

_FLOATS = {"float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"}
_LONGEST = 1 << 62  # of windows: no array is longer, and 64 bits hold its sum with a position
_BLOCK = 1 << 16  # elements that are looked at together, 512 KiB at most
_LARGEST = {"float16": 0x7BFF, "bfloat16": 0x7F7F, "float8_e4m3fn": 0x7E, "float8_e5m2": 0x7B}  # finite, its bits


@dataclass(frozen=True, eq=False)
class Instance:
    """One attention problem.  Arrays are kept as given (no copy); numbers are exact as stored.

    query (b, h_q, n_q, d), key (b, h_k, n_k, d), value (b, h_k, n_k, d_v), one dtype; h_q a multiple of h_k:
    query head h attends to key head h // (h_q / h_k).

    scale: any finite float; ``None`` means the float64 number nearest 1/√d.
    is_causal: ``True`` is short for ``causal="top-left"``.
    causal: ``"top-left"`` (j ≤ i) or ``"bottom-right"`` (j ≤ i + n_k − n_q, with key_lengths in place of n_k).
    window: (left, right): position p_i − left ≤ j ≤ p_i + right, ``None`` for no limit on a side; p_i = i, or
    i + n_k − n_q under ``causal="bottom-right"``.
    mask: boolean, broadcastable to (b, h_q, n_q, n_k), True attends.
    bias: floating, broadcastable likewise, added to the scaled score after the softcap; −inf masks.
    key_lengths: (b,) integers in [0, n_k]: keys at or beyond the length are absent.
    softcap: c > 0: scores become c·tanh(s/c), before bias.
    sink: (h_q,) finite logits: an extra key of that score and value zero.
    return_lse: the kernel is to return (output, log_sum_exp), the latter of shape (b, h_q, n_q).

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.
    """

    query: NDArray[Any]
    key: NDArray[Any]
    value: NDArray[Any]
    scale: float | None = None
    is_causal: bool = False
    causal: str | None = None
    window: tuple[int | None, int | None] | None = None
    mask: NDArray[np.bool_] | None = None
    bias: NDArray[Any] | None = None
    key_lengths: NDArray[np.integer[Any]] | None = None
    softcap: float | None = None
    sink: NDArray[Any] | None = None
    return_lse: bool = False
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        for name in ("query", "key", "value"):
            array = getattr(self, name)
            _require_array(name, array, 4)
            if array.dtype != self.query.dtype:
                raise InvalidInstance(f"{name}: dtype {array.dtype.name}, expected {self.query.dtype.name} as in query")
        if not _floating(self.query.dtype):
            raise InvalidInstance(f"query: dtype {self.query.dtype.name}, expected one of {', '.join(sorted(_FLOATS))}")
        self._check_shapes()
        for name in ("query", "key", "value"):
            _require_everywhere(name, getattr(self, name), _finite, "finite numbers")
        if self.scale is None:
            object.__setattr__(self, "scale", 1.0 / math.sqrt(self.query.shape[3]))
        _require_number("scale", self.scale)
        object.__setattr__(self, "scale", float(self.scale))  # type: ignore[arg-type]
        self._check_options()

    def _check_shapes(self) -> None:
        b, h_q, n_q, d = self.query.shape
        h_k, n_k = self.key.shape[1], self.key.shape[2]
        if self.key.shape != (b, h_k, n_k, d):
            raise InvalidInstance(f"key: shape {self.key.shape}, expected ({b}, heads, length, {d}) to match query")
        if self.value.shape[:3] != (b, h_k, n_k):
            raise InvalidInstance(f"value: shape {self.value.shape}, expected ({b}, {h_k}, {n_k}, dim) to match key")
        if min(b, h_q, n_q, d, h_k, n_k, self.value.shape[3]) < 1:
            raise InvalidInstance(
                f"query, key, value: shapes {self.query.shape}, {self.key.shape}, {self.value.shape}, "
                "expected every side at least 1"
            )
        if h_q % h_k:
            raise InvalidInstance(f"query: {h_q} heads, expected a multiple of the {h_k} heads of key")

    def _check_options(self) -> None:
        b, h_q, n_q, _ = self.query.shape
        n_k = self.key.shape[2]
        full = (b, h_q, n_q, n_k)
        if not isinstance(self.is_causal, (bool, np.bool_)):
            raise InvalidInstance(f"is_causal: {self.is_causal!r}, expected True or False")
        if self.causal not in (None, "top-left", "bottom-right"):
            raise InvalidInstance(f"causal: {self.causal!r}, expected 'top-left', 'bottom-right' or None")
        if self.is_causal and self.causal == "bottom-right":
            raise InvalidInstance("is_causal: True means top-left, but causal is 'bottom-right'; give only one")
        if self.is_causal or self.causal == "top-left":  # one stored form for one meaning
            object.__setattr__(self, "is_causal", True)
            object.__setattr__(self, "causal", "top-left")
        if self.window is not None:
            good = isinstance(self.window, tuple) and len(self.window) == 2
            if not good or any(s is not None and (not isinstance(s, (int, np.integer)) or s < 0) for s in self.window):
                raise InvalidInstance(f"window: {self.window!r}, expected (left, right), each an integer ≥ 0 or None")
            sides = (None if s is None else min(int(s), _LONGEST) for s in self.window)
            object.__setattr__(self, "window", tuple(sides))
        if self.mask is not None:
            _require_array("mask", self.mask, None)
            if self.mask.dtype != np.bool_:
                raise InvalidInstance(f"mask: dtype {self.mask.dtype.name}, expected bool (True attends)")
            _require_broadcast("mask", self.mask, full)
        if self.bias is not None:
            _require_array("bias", self.bias, None)
            if not _floating(self.bias.dtype):
                raise InvalidInstance(
                    f"bias: dtype {self.bias.dtype.name}, expected one of {', '.join(sorted(_FLOATS))}"
                )
            _require_broadcast("bias", self.bias, full)
            _require_everywhere("bias", self.bias, _finite_or_minus_infinity, "finite numbers or −inf")
        if self.key_lengths is not None:
            _require_array("key_lengths", self.key_lengths, 1)
            if not np.issubdtype(self.key_lengths.dtype, np.integer) or self.key_lengths.shape != (b,):
                given = f"{self.key_lengths.dtype.name} of shape {self.key_lengths.shape}"
                raise InvalidInstance(f"key_lengths: {given}, expected integers of shape ({b},)")
            if self.key_lengths.min() < 0 or self.key_lengths.max() > n_k:
                raise InvalidInstance(f"key_lengths: {self.key_lengths.tolist()}, expected values in [0, {n_k}]")
        if self.softcap is not None:
            _require_number("softcap", self.softcap)
            if self.softcap <= 0:
                raise InvalidInstance(f"softcap: {self.softcap!r}, expected a number > 0")
            object.__setattr__(self, "softcap", float(self.softcap))
        if self.sink is not None:
            _require_array("sink", self.sink, 1)
            if self.sink.shape != (h_q,) or not _floating(self.sink.dtype):
                raise InvalidInstance(
                    f"sink: {self.sink.dtype.name} of shape {self.sink.shape}, expected floats of shape ({h_q},)"
                )
            _require_everywhere("sink", self.sink, _finite, "finite numbers")
        if not isinstance(self.return_lse, (bool, np.bool_)):
            raise InvalidInstance(f"return_lse: {self.return_lse!r}, expected True or False")

    @property
    def group(self) -> int:
        """Query heads to one key head."""
        return int(self.query.shape[1] // self.key.shape[1])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """query, key, value, then the optional arrays that are given."""
        names = ("query", "key", "value", "mask", "bias", "key_lengths", "sink")
        return {name: array for name in names if (array := getattr(self, name)) is not None}

    def attends(self, batch: int) -> NDArray[np.bool_]:
        """(h_q or 1, n_q, n_k): which keys each query of a batch attends to, all masks together (bias −inf too)."""
        _, _, n_q, _ = self.query.shape
        n_k = self.key.shape[2]
        length = n_k if self.key_lengths is None else int(self.key_lengths[batch])
        offset = length - n_q if self.causal == "bottom-right" else 0
        position = np.arange(n_q)[:, None] + offset
        j = np.arange(n_k)[None, :]
        allowed = np.broadcast_to(j < length, (n_q, n_k)).copy()
        if self.causal is not None:
            allowed &= j <= position
        if self.window is not None:
            left, right = self.window
            if left is not None:
                allowed &= j >= position - left
            if right is not None:
                allowed &= j <= position + right
        result = allowed[None]
        shape = (self.query.shape[0], self.query.shape[1], n_q, n_k)
        if self.mask is not None:
            result = result & np.broadcast_to(self.mask, shape)[batch]
        if self.bias is not None:
            result = result & (np.broadcast_to(self.bias, shape)[batch].astype(np.float64) != -np.inf)
        return result

    def visible(self) -> NDArray[np.bool_]:
        """(b, h_q, n_q, n_k): :meth:`attends` of every batch, broadcast to every head."""
        b, h_q, n_q, _ = self.query.shape
        return np.stack([np.broadcast_to(self.attends(k), (h_q, n_q, self.key.shape[2])) for k in range(b)])

    def replace(self, **changes: Any) -> Instance:
        """A copy with some fields changed, validated again."""
        if "causal" in changes and "is_causal" not in changes:
            changes["is_causal"] = False
        if "is_causal" in changes and "causal" not in changes:
            changes["causal"] = None
        return replace(self, **changes)

    def part(
        self,
        *,
        batches: Any = None,
        heads: Any = None,
        queries: Any = None,
        keys: Any = None,
        dims: Any = None,
        value_dims: Any = None,
    ) -> Instance:
        """The instance of some of its batches, query heads, queries, keys and columns, in the order given (None: all).

        Masks and positions keep their meaning in the smaller arrays: query i of the part is at position i.  ``heads``
        must be whole groups, or one head of one group.
        """
        key_heads = None if heads is None else list(dict.fromkeys(int(head) // self.group for head in heads))
        full = {-4: batches, -3: heads, -2: queries, -1: keys}
        lengths = _taken(self.key_lengths, {-1: batches})
        if lengths is not None and keys is not None:
            lengths = np.minimum(lengths, len(keys)).astype(lengths.dtype)
        return replace(
            self,
            query=_taken(self.query, {-4: batches, -3: heads, -2: queries, -1: dims}),
            key=_taken(self.key, {-4: batches, -3: key_heads, -2: keys, -1: dims}),
            value=_taken(self.value, {-4: batches, -3: key_heads, -2: keys, -1: value_dims}),
            mask=_taken(self.mask, full, broadcast=True),
            bias=_taken(self.bias, full, broadcast=True),
            key_lengths=lengths,
            sink=_taken(self.sink, {-1: heads}),
        )

    def save(self, path: str | Path) -> None:
        """Write to an ``.npz`` file, bit exact; :func:`load` reads it back."""
        save_instance(path, "attention", self)

    @staticmethod
    def load(path: str | Path) -> Instance:
        """Read a file that :meth:`save` wrote.  Raises :class:`~assay.spec.problem.InvalidInstance`."""
        return load_instance(path, "attention", Instance)


load = Instance.load


def _taken(array: NDArray[Any] | None, chosen: dict[int, Any], *, broadcast: bool = False) -> Any:
    """Index axes (counted from the last); a broadcast array may lack an axis or have it with size 1."""
    if array is None:
        return None
    for axis, index in chosen.items():
        if index is None or (broadcast and (array.ndim < -axis or array.shape[axis] == 1)):
            continue
        array = np.take(array, np.asarray(index, dtype=np.intp), axis=axis)
    return array


def _require_array(name: str, array: Any, dimensions: int | None) -> None:
    if not isinstance(array, np.ndarray):
        raise InvalidInstance(f"{name}: {type(array).__name__}, expected a NumPy array")
    if dimensions is not None and array.ndim != dimensions:
        form = {4: "(batch, heads, length, dim)", 1: "one axis"}[dimensions]
        raise InvalidInstance(f"{name}: shape {array.shape}, expected {form}")


@functools.cache
def _floating(dtype: np.dtype[Any]) -> bool:
    return dtype.name in _FLOATS  # NumPy makes the name anew every time


def _require_everywhere(name: str, array: NDArray[Any], good: Callable[[Any], Any], expected: str) -> None:
    """``good`` of every element, in memory for :data:`_BLOCK` elements, whatever the size and strides of the array."""
    if array.size <= _BLOCK:
        if good(array).all():
            return
    else:
        # Where the stride is 0 the first stands for all, and it is the first in order too
        array = array[tuple(slice(None if stride else 1) for stride in array.strides)]
        if all(good(block).all() for block in _blocks(array, "K")):  # as it lies in memory: fastest
            return
    before = 0
    for block in _blocks(array, "C"):
        told = good(block)
        if not told.all():
            first = tuple(int(k) for k in np.unravel_index(before + int(told.argmin()), array.shape))
            raise InvalidInstance(f"{name}: {array[first]} at {first}, expected {expected}")
        before += block.size


def _finite(x: NDArray[Any]) -> Any:
    if x.itemsize >= 4:
        return np.isfinite(x)
    bits, magnitude, largest = _layout(x.dtype)  # faster than NumPy is on small types, and raises no flag
    return x.view(bits) & magnitude <= largest


@functools.cache
def _layout(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], Any, Any]:
    """Unsigned integers of its width, all bits but the sign, and the bits of its largest finite number."""
    bits = np.dtype(f"u{dtype.itemsize}").newbyteorder(dtype.byteorder)
    return bits, bits.type((1 << 8 * dtype.itemsize - 1) - 1), bits.type(_LARGEST[dtype.name])


def _finite_or_minus_infinity(x: NDArray[Any]) -> Any:
    return _finite(x) | (x == -np.inf)


def _blocks(array: NDArray[Any], order: Literal["C", "K"]) -> Any:
    """One axis at most :data:`_BLOCK` long at a time, each valid until the next."""
    return np.nditer(array, ["external_loop", "buffered"], order=order, buffersize=_BLOCK)


def _require_number(name: str, value: Any) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float, np.integer, np.floating))
        or not math.isfinite(value)
    ):
        raise InvalidInstance(f"{name}: {value!r}, expected a finite number")


def _require_broadcast(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    try:
        good = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        good = False
    if not good:
        raise InvalidInstance(f"{name}: shape {array.shape}, expected one that broadcasts to {shape}")
