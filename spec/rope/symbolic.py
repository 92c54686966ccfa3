"""The rotary embedding as SymPy expressions: exact, for tiny sizes; it shares no code with the definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import sympy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.rope.instance import Instance

__all__ = ["symbolic"]


def symbolic(instance: Instance, output: str = "query") -> NDArray[np.object_]:
    """The rotated array as an object array of SymPy expressions.  Raises ``ValueError`` for over 4,096 elements.

    >>> from assay.spec.rope import Instance
    >>> symbolic(Instance(np.eye(2).reshape(1, 1, 2, 2), positions=np.array([3, 1])))[0, 0, 0]
    array([cos(3), sin(3)], dtype=object)
    """
    x: NDArray[Any] = getattr(instance, output)
    if x.size > 4096:
        raise ValueError(f"symbolic: {x.size} elements, expected at most 4096")
    out: NDArray[np.object_] = np.vectorize(lambda number: sympy.Rational(float(number)), otypes=[object])(x)
    ids = np.broadcast_to(instance.positions, (x.shape[0], x.shape[2]))
    r, m = instance.rotated, sympy.Integer(1)
    if instance.scaling == "yarn" and instance.attention_factor is not None:
        m = sympy.Rational(instance.attention_factor)
    elif instance.scaling == "yarn":
        m += sympy.log(sympy.Rational(instance.factor)) / 10
    for b, h, i, pair in np.ndindex(*x.shape[:3], r // 2):
        first, second = (pair, pair + r // 2) if instance.layout == "halves" else (2 * pair, 2 * pair + 1)
        angle = int(ids[b, i]) * _frequency(instance, pair)
        turn = sympy.Matrix([[sympy.cos(angle), -sympy.sin(angle)], [sympy.sin(angle), sympy.cos(angle)]])
        out[b, h, i, [first, second]] = list(m * turn * sympy.Matrix(out[b, h, i, [first, second]]))
    return out


def _frequency(instance: Instance, pair: int) -> Any:
    r, b, length = instance.rotated, sympy.Rational(instance.base), sympy.Integer(instance.original_length or 1)
    s = sympy.Rational(instance.factor or 1)
    if instance.scaling == "dynamic":
        s = s * sympy.Max(int(instance.positions.max()) + 1, length) / length - s + 1
    if instance.scaling in ("ntk", "dynamic"):
        b *= s ** sympy.Rational(r, r - 2)
    theta = b ** sympy.Rational(-2 * pair, r)
    if instance.scaling == "linear":
        return theta / s
    if instance.scaling in ("llama3", "yarn"):
        low, high = sympy.Rational(instance.low_frequency), sympy.Rational(instance.high_frequency)
        if instance.scaling == "llama3":
            kept = (length * theta / (2 * sympy.pi) - low) / (high - low)
        else:
            first, last = (r * sympy.log(length / (2 * sympy.pi * beta), b) / 2 for beta in (high, low))
            if instance.truncate:
                first, last = sympy.floor(first), sympy.ceiling(last)
            first, last = sympy.Max(first, 0), sympy.Min(last, r - 1)
            kept = 1 - (pair - first) / (last - first)
        kept = sympy.Min(sympy.Max(kept, 0), 1)
        return theta * ((1 - kept) / s + kept)
    return theta
