"""The merge of parts as SymPy expressions: exact, for tiny sizes, straight from the formula."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention.symbolic import exact_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.small_transformers_merge.instance import Instance

__all__ = ["symbolic", "symbolic_log_sum_exp"]

_LARGEST = 4096  # numbers in all parts; beyond it expressions take minutes


def symbolic(instance: Instance) -> NDArray[np.object_]:
    """The output as an object array (b, h, n, d_v) of SymPy expressions in exp and rationals.

    Raises ``ValueError`` for more than 4,096 numbers in all parts.

    >>> from assay.spec.small_transformers_merge import Instance
    >>> parts = np.array([1.0, 5.0]).reshape(2, 1, 1, 1, 1)
    >>> symbolic(Instance(parts, np.array([0.0, 2.0]).reshape(2, 1, 1, 1)))[0, 0, 0, 0]
    (1 + 5*exp(2))/(1 + exp(2))
    """
    import sympy

    if instance.outputs.size > _LARGEST:
        raise ValueError(f"symbolic: {instance.outputs.size} numbers, expected at most {_LARGEST}")
    weight, total = _weights(instance)
    numbers = exact_numbers(instance.outputs)
    made = np.empty(instance.outputs.shape[1:], dtype=object)
    for index in np.ndindex(made.shape):
        row = index[:3]
        above = sum((w * x for w, x in zip(weight[(slice(None), *row)], numbers[(slice(None), *index)], strict=True)),
                    sympy.Integer(0))  # fmt: skip
        made[index] = above / total[row] if total[row] != 0 else sympy.Integer(0)
    return made


def symbolic_log_sum_exp(instance: Instance) -> NDArray[np.object_]:
    """The log-sum-exp as an object array (b, h, n); −oo where all parts are empty and there is no sink."""
    import sympy

    _, total = _weights(instance)
    made = np.empty(total.shape, dtype=object)
    for index in np.ndindex(made.shape):
        made[index] = sympy.log(total[index]) if total[index] != 0 else -sympy.oo
    return made


def _weights(instance: Instance) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """e^(l_t) of every part, and their sum with the sink's."""
    import sympy

    logs = exact_numbers(instance.log_sum_exps)
    weight, total = np.empty(logs.shape, dtype=object), np.empty(logs.shape[1:], dtype=object)
    sink = None if instance.sink is None else exact_numbers(instance.sink)
    for index in np.ndindex(logs.shape):
        weight[index] = sympy.exp(logs[index])
    for index in np.ndindex(total.shape):
        total[index] = sum(weight[(slice(None), *index)], sympy.Integer(0))
        if sink is not None:
            total[index] += sympy.exp(sink[index[1]])
    return weight, total
