"""Attention of order k as SymPy expressions: exact, for tiny sizes; it shares no code with the balls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.attention.symbolic import attend, exact_numbers
from assay.spec.tensor_attention.definition import over_combinations

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.spec.tensor_attention.instance import HigherOrder

__all__ = ["numbers", "over_modes", "symbolic", "symbolic_log_sum_exp"]


def symbolic(instance: HigherOrder) -> NDArray[np.object_]:
    """The output as an object array (b, h_q, n_q, d_v) of SymPy expressions in exp and rationals.

    Raises ``ValueError`` for more than 4,096 scores.

    >>> import numpy as np
    >>> from assay.spec.tensor_attention import Instance
    >>> x = np.arange(2.0).reshape(1, 1, 2, 1)
    >>> symbolic(Instance(x, x, x, x, x))[0, 0, 1, 0]
    E/(E + 3)
    """
    return attend(over_combinations(instance), numbers(instance))[0]


def symbolic_log_sum_exp(instance: HigherOrder) -> NDArray[np.object_]:
    """The log-sum-exp as an object array (b, h_q, n_q); −oo for an empty row."""
    return attend(over_combinations(instance), numbers(instance))[1]


def numbers(instance: HigherOrder) -> dict[str, NDArray[np.object_]]:
    """Queries, and the exact keys and values of all combinations, as rational numbers."""
    return {
        "query": exact_numbers(instance.query),
        "key": over_modes([exact_numbers(x) for x in instance.mode_keys]),
        "value": over_modes([exact_numbers(x) for x in instance.mode_values]),
    }


def over_modes(modes: list[NDArray[np.object_]]) -> NDArray[np.object_]:
    """The products of one row of every mode, (b, h, N, columns), of any expressions."""
    total = modes[0]
    for other in modes[1:]:
        b, h, n, columns = total.shape
        pairs = total[:, :, :, None] * other[:, :, None]
        total = pairs.reshape(b, h, n * other.shape[2], columns)
    return total
