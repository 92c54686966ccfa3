"""The input of attention of any order, and one class of instances for every order.

Order k has k − 1 *modes*, each with keys and values of its own; order 2 is attention.  Shapes are (batch, heads,
length, dim).  What is computed is in :mod:`assay.spec.tensor_attention.definition`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from assay.spec import instance as instances
from assay.spec import storage
from assay.spec.instance import array, real
from assay.spec.problem import InvalidInstance
from assay.spec.softmax.masks import whole_groups

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["HigherOrder", "Instance", "load"]

_LONGEST = 1 << 62  # of windows: no array is longer, and 64 bits hold its sum with a position
_OF_A_MODE = re.compile(r"(key|value)(\d+)")
_MOST = 12  # beyond it a row of two keys a mode has thousands of combinations, and no kernel is written


class HigherOrder(instances.Instance):
    """What instances of every order have in common: queries, and keys and values of every mode.

    query (b, h_q, n_q, d); key1 … key{k−1} (b, h_k, n_m, d) and value1 … value{k−1} (b, h_k, n_m, d_v), where n_m is
    the length of mode m.  A subclass declares them as fields, in this order.
    """

    order: ClassVar[int]

    query: NDArray[Any]
    scale: float | None
    is_causal: bool
    window: tuple[int | None, ...] | None

    def __post_init__(self) -> None:
        super().__post_init__()
        heads, key_heads = self.query.shape[1], self.mode_keys[0].shape[1]
        if heads % key_heads:
            raise InvalidInstance(f"query: {heads} heads, expected a multiple of the {key_heads} heads of key1")
        if self.window is not None:
            modes = self.order - 1
            good = isinstance(self.window, tuple) and len(self.window) == modes
            good = good and all(
                w is None or (isinstance(w, (int, np.integer)) and not isinstance(w, bool) and w >= 1)
                for w in self.window
            )
            self._require(good, "window", f"a tuple of {modes} lengths, one a mode, each an integer ≥ 1 or None")
            window = tuple(None if w is None else min(int(w), _LONGEST) for w in self.window)
            self._store(window=None if all(w is None for w in window) else window)

    def usual(self) -> dict[str, Any]:
        """The scale that is usual: the float64 number nearest 1/√d."""
        return {"scale": 1.0 / math.sqrt(self.query.shape[3])}

    @property
    def mode_keys(self) -> tuple[NDArray[Any], ...]:
        """key1 … key{k−1}."""
        return tuple(getattr(self, f"key{mode}") for mode in range(1, self.order))

    @property
    def mode_values(self) -> tuple[NDArray[Any], ...]:
        """value1 … value{k−1}."""
        return tuple(getattr(self, f"value{mode}") for mode in range(1, self.order))

    @property
    def mode_lengths(self) -> tuple[int, ...]:
        """n_1 … n_{k−1}."""
        return tuple(key.shape[2] for key in self.mode_keys)

    @property
    def combinations(self) -> int:
        """N = n_1 ⋯ n_{k−1}: the combinations of one key of every mode, which a query attends to."""
        return math.prod(self.mode_lengths)

    @property
    def group(self) -> int:
        """Query heads to one key head."""
        return int(self.query.shape[1] // self.mode_keys[0].shape[1])

    def spanned(self) -> int:
        """The scores, and for every query head the keys and the values of every combination."""
        (b, h, n_q, d), d_v = self.query.shape, self.mode_values[0].shape[3]
        return int(super().spanned() + b * h * self.combinations * (n_q + d + d_v))

    def visible_of(self, mode: int) -> NDArray[np.bool_]:
        """(n_q, n_m): which keys of mode m, counted from 1, each query may attend to."""
        i, j = np.arange(self.query.shape[2])[:, None], np.arange(self.mode_lengths[mode - 1])[None, :]
        seen = np.ones(np.broadcast_shapes(i.shape, j.shape), dtype=bool)
        if self.is_causal:
            seen &= j <= i
        if self.window is not None and (width := self.window[mode - 1]) is not None:
            seen &= (i - width < j) & (j < i + width)
        return seen

    def visible(self) -> NDArray[np.bool_]:
        """(n_q, N): which combinations each query attends to, those of key 0 of mode 1 first."""
        n_q = self.query.shape[2]
        seen = np.ones((n_q, 1), dtype=bool)
        for mode in range(1, self.order):
            seen = (seen[:, :, None] & self.visible_of(mode)[:, None, :]).reshape(n_q, -1)
        return seen

    def part(self, **kept: Sequence[int] | NDArray[np.intp] | None) -> Self:
        """The instance of some ``batch``, ``heads``, ``queries``, ``keys1`` …, ``dim`` or ``value_dim``, in order.

        Masks keep their meaning in the smaller arrays: query i of the part is at position i.  ``heads`` are whole
        groups, or heads of one group; ``key_heads`` may be given in their place, and brings the whole group of each.
        """
        return self.replace(**self._parts(whole_groups(dict(kept), self.group)))

    @classmethod
    def of_order(cls, order: int) -> Any:
        """The class of the instances of another order, with one key and one value for each of its order − 1 modes.

        Raises ``ValueError`` for an order below 2, which attends to nothing, or above 12.

        >>> x = np.ones((1, 1, 2, 3))
        >>> four = Instance.of_order(4)(x, x, x, x, x, x, x, window=(1, 2, None))
        >>> four.order, four.combinations, four.describe().partition(", float64")[2]
        (4, 8, ', window (1, 2, ∞)')
        """
        if not isinstance(order, int) or isinstance(order, bool) or not 2 <= order <= _MOST:
            raise ValueError(f"order {order!r}: expected an integer from 2 to {_MOST}")
        return _of_order(cls.__dict__.get("third", cls), order)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that :meth:`save` wrote, of whatever order.  Raises :class:`InvalidInstance` for another one."""
        stored = storage.read(path)
        order = 1 + sum(name.startswith("key") for name in stored.arrays)
        kind = cls.of_order(order) if stored.problem == cls.problem and 2 <= order <= _MOST else cls
        return super().load(path) if kind is cls else cast("Self", kind.load(path))


@functools.cache
def _of_order(third: type[HigherOrder], order: int) -> type[HigherOrder]:
    """The class for an order, with the fields that the one for order 3 has."""
    if order == third.order:
        return third
    fields: list[tuple[str, Any, Any]] = []
    for item in dataclasses.fields(third):
        match = _OF_A_MODE.fullmatch(item.name)
        if item.name == "provenance" or (match and match[2] != "1"):
            continue
        for mode in range(1, order) if match else (0,):
            metadata = dict(item.metadata)
            if match:
                axes = tuple(axis.replace("keys1", f"keys{mode}") for axis in metadata["array"].axes)
                metadata["array"] = dataclasses.replace(metadata["array"], axes=axes)
            default: dict[str, Any] = {} if item.default is dataclasses.MISSING else {"default": item.default}
            name = f"{match[1]}{mode}" if match else item.name
            fields.append((name, item.type, dataclasses.field(metadata=metadata, kw_only=item.kw_only, **default)))
    name = f"{third.__name__}{order}"
    namespace = {
        "problem": third.problem,
        "order": order,
        "third": third,
        "__doc__": f"An instance of order {order}; see :class:`{third.__module__}.{third.__name__}`.",
        "__module__": third.__module__,  # where a pickle finds it by its name
        "__qualname__": name,
    }
    kind = dataclasses.make_dataclass(name, fields, bases=third.__bases__, namespace=namespace, frozen=True, eq=False)
    return cast("type[HigherOrder]", kind)


@dataclass(frozen=True, eq=False)
class Instance(HigherOrder):
    """One problem of order 3.  Arrays are kept as given, without a copy; numbers are exact as stored.

    query (b, h_q, n_q, d), key1 (b, h_k, n_1, d), key2 (b, h_k, n_2, d), value1 (b, h_k, n_1, d_v) and value2
    (b, h_k, n_2, d_v), one dtype; h_q a multiple of h_k: query head h attends to key head h // (h_q / h_k).  Order k
    has key1 … key{k−1} and value1 … value{k−1}: ``Instance.of_order(k)`` is its class.

    scale: any finite float; ``None`` means the float64 number nearest 1/√d.
    is_causal: query i attends to the pairs (j_1, j_2) with j_1 ≤ i and j_2 ≤ i.
    window: (w_1, w_2), one length a mode, each an integer ≥ 1, or ``None`` for no limit: query i attends to the pairs
    with |i − j_m| < w_m in each mode; with ``is_causal`` that is i − w_m < j_m ≤ i, the windows of 2-simplicial
    attention (Roy et al. 2025).
    return_lse: the kernel is to return (output, log_sum_exp), the latter of shape (b, h_q, n_q).

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.
    """

    problem = "tensor_attention"
    order: ClassVar[int] = 3

    query: NDArray[Any] = array("batch heads queries dim")
    key1: NDArray[Any] = array("batch key_heads keys1 dim", like="query")
    key2: NDArray[Any] = array("batch key_heads keys2 dim", like="query")
    value1: NDArray[Any] = array("batch key_heads keys1 value_dim", like="query")
    value2: NDArray[Any] = array("batch key_heads keys2 value_dim", like="query")
    scale: float | None = real(None, plain=1.0)
    is_causal: bool = False
    window: tuple[int | None, ...] | None = None
    return_lse: bool = False


load = Instance.load


def __getattr__(name: str) -> Any:
    """``Instance2``, ``Instance4``, …: the classes of other orders by their names, for pickles."""
    if match := re.fullmatch(r"Instance(\d+)", name):
        return Instance.of_order(int(match[1]))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
