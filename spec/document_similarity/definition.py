"""What the similarity of documents is: certified in balls, and exact for tiny sizes.

The similarity of (i, j) is ⟨u_i, v_j⟩/(‖u_i‖‖v_j‖), or ⟨u_i, v_j⟩ by ``measure="inner_product"``.  The answer of an
instance is a pair of the largest similarity (of the smallest one by ``least``) and this similarity.  Which pairs are
the best is decided in exact integers (:mod:`assay.spec.document_similarity.truth`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.document_similarity.truth import best_pairs
from assay.spec.enclosure import Enclosure, Evaluated, Result, escalate, within
from assay.spec.memory import require_evaluable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.document_similarity.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["define", "similarities", "symbolic"]


def define(instance: Instance, relative: float = 1e-12, output: str = "similarity") -> Enclosure:
    """An output of the instance, certified, of shape ().

    ``"similarity"``: the best similarity, as accurate as :func:`similarities` says.  ``"i"`` and ``"j"``: the exact
    indices of a best pair; among several the first in the order of (i, j).
    Raises ``ValueError`` for another output or a ``relative`` outside (0, 1).

    >>> from assay.spec.document_similarity import Instance
    >>> documents = Instance(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    >>> print(define(documents, 1e-25), int(define(documents, output="j").midpoint))
    0.7071067811865475244008443621 ± 5e-29 2
    """
    if output not in ("similarity", "i", "j"):
        raise ValueError(f"unknown output {output!r}: expected 'similarity', 'i' or 'j'")
    i, j = best_pairs(instance)[0]
    if output == "similarity":
        only = instance.part(left=[i], right=[j]) if instance.right is not None else instance.part(left=[i, j])
        return similarities(only, relative)[0, int(instance.right is None)]
    return Enclosure(np.asarray(float(i if output == "i" else j)), np.zeros(()))


def similarities(instance: Instance, relative: float = 1e-12) -> Enclosure:
    """The similarity of every (i, j), certified: (n, m), also where i = j in one collection.

    The radius is at most ``relative``·Σ_c|u_ic||v_jc| in the units of the measure, besides the rounding of the midpoint
    and 2^-1000; documents without a common word have exactly 0.  Raises ``ValueError`` for a ``relative`` outside
    (0, 1).

    >>> from assay.spec.document_similarity import Instance
    >>> similarities(Instance(np.array([[3.0, 4.0]]), np.array([[4.0, 3.0], [1.0, 0.0]]))).midpoint.round(9)
    array([[0.96, 0.6 ]])
    """
    require_evaluable(instance)
    left, right = instance.sides()
    cosine = instance.measure == "cosine"
    size = _sizes(left, right, cosine)
    common = (left != 0).astype(np.float64) @ (right != 0).astype(np.float64).T > 0

    def norms(arithmetic: Any, documents: Array) -> Any:
        """‖u_i‖ as balls (n, 1): e^(½ ln ⟨u_i, u_i⟩)."""
        squares = arithmetic.product(documents[:, None, :], documents[:, :, None])
        return squares[:, 0].log().scaled(0.5).exp()

    def rows(arithmetic: Any, block: tuple[NDArray[np.intp], NDArray[np.intp]]) -> Evaluated:
        at = block[1]
        value = arithmetic.product(left[None, at], right.T[None])
        if cosine:
            one, other = norms(arithmetic, left[at]), norms(arithmetic, right)
            value = value.divided(one[None]).divided(other[:, 0][None, None])
        value = value.where(common[None, at], 0.0)
        fine = within(value.error(), relative, size[at], 2.0**-1000).all(axis=2)
        return Evaluated({"similarity": value}, fine)

    wanted = np.ones((1, len(left)), dtype=bool)
    shape = {"similarity": Result((len(left), len(right)))}
    return escalate(rows, wanted, shape, relative, len(right))["similarity"]


def _sizes(left: Array, right: Array, cosine: bool) -> Array:
    """Σ_c|u_ic||v_jc| of every pair, of documents of norm 1 for the cosine, approximately."""
    if cosine:
        left, right = (normalised(documents) for documents in (left, right))
    with np.errstate(over="ignore"):
        sizes: Array = np.abs(left) @ np.abs(right).T
    return sizes


def normalised(documents: Array) -> Array:
    """Documents of norm 1 in float64, with a few roundings, whatever their size."""
    scaled = documents / np.abs(documents).max(axis=1, keepdims=True)
    unit: Array = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    return unit


def symbolic(instance: Instance) -> NDArray[np.object_]:
    """The similarity of every (i, j) as SymPy expressions, (n, m).  Raises ``ValueError`` for over 4,096 numbers.

    >>> from assay.spec.document_similarity import Instance
    >>> symbolic(Instance(np.array([[1.0, 1.0]]), np.array([[1.0, 0.0]])))[0, 0]
    sqrt(2)/2
    """
    import sympy

    left, right = instance.sides()
    if left.size + right.size > 4096:
        raise ValueError(f"symbolic: {left.size + right.size} numbers, expected at most 4096")
    one, other = (sympy.Matrix(len(x), x.shape[1], [sympy.Rational(y) for y in x.ravel()]) for x in (left, right))
    table = np.empty((len(left), len(right)), dtype=object)
    for i, j in np.ndindex(*table.shape):
        u, v = one.row(i), other.row(j)
        table[i, j] = u.dot(v)
        if instance.measure == "cosine":
            table[i, j] = sympy.sqrt(u.dot(u) * v.dot(v)) ** -1 * table[i, j]
    return table
