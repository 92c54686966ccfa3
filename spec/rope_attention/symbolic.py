"""Attention with relative positions as SymPy expressions: exact, for tiny sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.spec import rope
from assay.spec.attention.symbolic import attend, exact_numbers, numbers
from assay.spec.rope_attention.definition import tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.spec.rope_attention.instance import Instance

__all__ = ["symbolic", "symbolic_log_sum_exp"]


def symbolic(instance: Instance) -> NDArray[np.object_]:
    """The output as an object array (b, h_q, n_q, d_v) of expressions in exp, cos, sin and rationals.

    Raises ``ValueError`` for more than 4,096 scores.

    >>> import numpy as np
    >>> from assay.spec.rope_attention import Instance
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]]).reshape(1, 1, 2, 2)
    >>> symbolic(Instance(x, x, x, scale=1.0))[0, 0, 0, 0]
    E/(exp(-sin(1)) + E)
    """
    return _attended(instance)[0]


def symbolic_log_sum_exp(instance: Instance) -> NDArray[np.object_]:
    """The log-sum-exp as an object array (b, h_q, n_q); −oo for an empty row."""
    return _attended(instance)[1]


def _attended(instance: Instance) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    import sympy

    arrays = numbers(instance)
    if instance.relative is None:
        turned, n_q = rope.symbolic(tokens(instance)), instance.query.shape[2]
        arrays["query"], arrays["key"] = turned[:, :, :n_q], turned[:, :: instance.group, n_q:]
        return attend(instance, arrays)
    assert instance.support is not None
    places, matrices, n_k = instance.support, exact_numbers(instance.relative), instance.key.shape[2]

    def product(batch: int, head: int, i: int, j: int) -> Any:
        q, k = arrays["query"][batch, head, i], arrays["key"][batch, head // instance.group, j]
        numbers_of_offset = matrices[:, i - j + n_k - 1]
        terms = (q[row] * w * k[column] for (row, column), w in zip(places, numbers_of_offset, strict=True))
        return sum(terms, sympy.Integer(0))

    return attend(instance, arrays, product)
