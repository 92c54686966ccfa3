"""The gradients as SymPy expressions: the definition of attention, differentiated; it shares no code with the balls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.attention.symbolic import attend, numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention_gradient.instance import Instance

__all__ = ["derivatives", "loss", "symbolic", "symbols"]

_LARGEST = 64  # scores; beyond it expressions take minutes


def symbolic(instance: Instance, output: str = "grad_query") -> NDArray[np.object_]:
    """A gradient of ``instance`` as an object array of SymPy expressions in exp and rationals.

    SymPy differentiates Σ dO·o + Σ dlse·lse, as attention defines o and lse, by every number of the array, and then
    the numbers are put in.  Raises ``ValueError`` for more than 64 scores, or for an unknown output.

    >>> from assay.spec.attention_gradient import Instance
    >>> x = np.arange(2.0).reshape(1, 1, 2, 1)
    >>> symbolic(Instance(x, x, x, x), "grad_value")[0, 0, 0, 0]
    1/(1 + E)
    """
    letters, derived = derivatives(instance, output)
    exact = numbers(instance)
    values = {
        symbol: exact[name][index]
        for name, array in letters.items()
        for index, symbol in np.ndenumerate(array)
        if symbol.is_Symbol
    }
    made = np.empty(derived.shape, dtype=object)
    for index, expression in np.ndenumerate(derived):
        made[index] = expression.subs(values)
    return made


def derivatives(instance: Instance, output: str) -> tuple[dict[str, NDArray[np.object_]], NDArray[np.object_]]:
    """The symbols of every array, and the derivatives of the loss in them; a bias of −inf is no symbol."""
    import sympy

    if output not in instance.outputs():
        raise ValueError(f"unknown output {output!r}: expected one of {', '.join(instance.outputs())}")
    b, h, n_q, _ = instance.query.shape
    if (scores := b * h * n_q * instance.key.shape[2]) > _LARGEST:
        raise ValueError(f"symbolic: {scores} scores, expected at most {_LARGEST}")
    letters = {name: symbols(name, array) for name, array in numbers(instance).items()}
    total = loss(instance, *attend(instance, letters))
    at = letters[output.removeprefix("grad_")]
    derived = np.empty(at.shape, dtype=object)
    for index, letter in np.ndenumerate(at):
        derived[index] = sympy.diff(total, letter) if letter.is_Symbol else sympy.Integer(0)
    return letters, derived


def _exact(array: NDArray[Any]) -> NDArray[np.object_]:
    """Exact rational numbers."""
    import sympy

    exact: NDArray[np.object_] = np.vectorize(lambda x: sympy.Rational(float(x)), otypes=[object])(array)
    return exact


def symbols(name: str, array: NDArray[np.object_]) -> NDArray[np.object_]:
    import sympy

    made = np.empty(array.shape, dtype=object)
    for index, number in np.ndenumerate(array):
        plain = "_".join(map(str, index))
        made[index] = sympy.Symbol(f"{name}_{plain}", real=True) if number != -sympy.oo else number
    return made


def loss(instance: Any, output: NDArray[np.object_], log_sum_exp: NDArray[np.object_]) -> Any:
    """Σ dO·o + Σ dlse·lse of what comes in, ``grad_output`` and ``grad_log_sum_exp``, without rows that are empty."""
    import sympy

    loss = (_exact(instance.grad_output) * output).sum()
    if instance.grad_log_sum_exp is not None:
        pairs = zip(_exact(instance.grad_log_sum_exp).ravel(), log_sum_exp.ravel(), strict=True)
        loss += sum(weight * lse for weight, lse in pairs if lse != -sympy.oo)
    return loss
