"""What the rotary embedding is: certified in balls (:func:`define`), and exact for tiny sizes (:func:`symbolic`).

With φ = position·θ_l, the pair (a, b) of columns number l becomes (C·a − S·b, S·a + C·b), C = m·cos φ, S = m·sin φ.
C and S are balls of as many bits as the largest position needs, whatever it is; the products are evaluated in the
cheapest arithmetic that is accurate enough (proofs_notes/rope_attention.md, ROT-7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.enclosure import Enclosure, Evaluated, Result, escalate, within
from assay.spec.memory import require_evaluable
from assay.spec.rotary.frequencies import frequencies, magnitude
from assay.spec.rotary.turning import paired, rotation
from assay.spec.scalars import SYMBOLS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.rope.instance import Instance

__all__ = ["define", "symbolic"]


def define(instance: Instance, relative: float = 1e-12, output: str = "query") -> Enclosure:
    """The array ``output`` of the instance, ``"query"`` or ``"key"``, rotated: certified, shaped like the array.

    The radius of C·a − S·b is at most ``relative``·(|C·a| + |S·b|) + 2^-1074, and that of an unrotated column 0.
    Raises ``ValueError`` for an output that the instance lacks, or a ``relative`` outside (0, 1).

    >>> from assay.spec.rope import Instance
    >>> print(define(Instance(np.ones((1, 1, 1, 2)), positions=np.array([10**7])), 1e-25)[0, 0, 0])
    [-1.327818179372522052460219340663 ± 5e-31, -0.486722592990957069863206161181 ± 4e-31]
    """
    if output not in instance.vectors():
        raise ValueError(f"unknown output {output!r}: expected 'query', or 'key' where there is one")
    require_evaluable(instance)
    x = instance.vectors()[output].astype(np.float64)
    b, heads, n, d = x.shape
    columns, partner, sign = paired(instance)
    straight, crossed, rest = (
        part.reshape(b * heads, n, -1) for part in (x[..., columns], x[..., partner] * sign, x[..., instance.rotated :])
    )

    def rows(arithmetic: Any, block: tuple[NDArray[np.intp], NDArray[np.intp]]) -> Evaluated:
        at = np.ix_(*block)
        cos, sin = (table[at[0] // heads, at[1]] for table in rotation(instance, arithmetic))
        one, other = straight[at], crossed[at]
        y = cos.scaled(one).plus_ball(sin.scaled(other)).where((one != 0.0) | (other != 0.0), 0.0)
        size = np.abs(cos.rounded()[0] * one) + np.abs(sin.rounded()[0] * other)
        fine = within(y.error(), relative, size, 2.0**-1074).all(axis=2)
        return Evaluated({output: y.joined(rest[at])}, fine)

    wanted = np.ones((b * heads, n), dtype=bool)
    rotated = escalate(rows, wanted, {output: Result(x.shape)}, relative, d)[output]
    return rotated[..., np.argsort(np.concatenate([columns, np.arange(instance.rotated, d)]))]


def symbolic(instance: Instance, output: str = "query") -> NDArray[np.object_]:
    """The rotated array as an object array of SymPy expressions.  Raises ``ValueError`` for over 4,096 elements.

    >>> from assay.spec.rope import Instance
    >>> symbolic(Instance(np.eye(2).reshape(1, 1, 2, 2), positions=np.array([3, 1])))[0, 0, 0]
    array([cos(3), sin(3)], dtype=object)
    """
    import sympy

    x: NDArray[np.object_] = instance.vectors()[output].astype(np.float64).astype(object)
    if x.size > 4096:
        raise ValueError(f"symbolic: {x.size} elements, expected at most 4096")
    x = np.vectorize(SYMBOLS.exact, otypes=[object])(x)
    theta, m = frequencies(instance, SYMBOLS)[2], magnitude(instance, SYMBOLS)
    angle = np.atleast_2d(instance.positions)[:, None, :, None].astype(object) * np.array(theta * 2)
    cos, sin = (m * np.vectorize(function, otypes=[object])(angle) for function in (sympy.cos, sympy.sin))
    columns, partner, sign = paired(instance)
    out = x.copy()
    out[..., columns] = cos * x[..., columns] + sin * sign.astype(int).astype(object) * x[..., partner]
    return out
