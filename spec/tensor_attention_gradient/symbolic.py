"""The gradients as SymPy expressions: the definition of attention of order k, differentiated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention.symbolic import attend, exact_numbers
from assay.spec.attention_gradient.symbolic import loss, symbols
from assay.spec.tensor_attention.definition import over_combinations
from assay.spec.tensor_attention.symbolic import over_modes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.tensor_attention_gradient.instance import Incoming

__all__ = ["symbolic"]

_LARGEST = 64  # scores; beyond it expressions take minutes


def symbolic(instance: Incoming, output: str = "grad_query") -> NDArray[np.object_]:
    """A gradient of ``instance`` as an object array of SymPy expressions in exp and rationals.

    SymPy differentiates Σ dO·o + Σ dlse·lse by every number of the array, and then the numbers are put in.
    Raises ``ValueError`` for more than 64 scores, or for an unknown output.

    >>> from assay.spec.tensor_attention_gradient import Instance
    >>> x = np.arange(2.0).reshape(1, 1, 2, 1)
    >>> symbolic(Instance(x, x, x, x, x, x), "grad_value2")[0, 0, 1, 0]
    E/(E + 3)
    """
    import sympy

    if output not in instance.outputs():
        raise ValueError(f"unknown output {output!r}: expected one of {', '.join(instance.outputs())}")
    b, h, n_q, _ = instance.query.shape
    if (scores := b * h * n_q * instance.combinations) > _LARGEST:
        raise ValueError(f"symbolic: {scores} scores, expected at most {_LARGEST}")
    names = [name.removeprefix("grad_") for name in instance.outputs()]
    exact = {name: exact_numbers(getattr(instance, name)) for name in names}
    letters = {name: symbols(name, array) for name, array in exact.items()}
    modes = range(1, instance.order)
    arrays = {"query": letters["query"]}
    arrays |= {name: over_modes([letters[f"{name}{mode}"] for mode in modes]) for name in ("key", "value")}
    total = loss(instance, *attend(over_combinations(instance), arrays))
    values = {letters[name][at]: exact[name][at] for name in names for at in np.ndindex(letters[name].shape)}
    at = letters[output.removeprefix("grad_")]
    made = np.empty(at.shape, dtype=object)
    for index, letter in np.ndenumerate(at):
        made[index] = sympy.diff(total, letter).subs(values)
    return made
