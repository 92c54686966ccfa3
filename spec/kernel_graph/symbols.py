"""The named functions of kernel graphs as SymPy expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.spec.kernel_graph.functions import Function

__all__ = ["expression"]


def expression(function: str | Function, parameter: float, z: Any) -> Any:
    """f(z) for a SymPy number z ≥ 0.  Raises ``ValueError`` for a function of the user's own.

    >>> import sympy
    >>> expression("matern", 1.5, sympy.Integer(3))
    4*exp(-3)
    """
    import sympy

    p = sympy.Rational(parameter)
    if function == "gaussian":
        return sympy.exp(-p * z)
    if function == "laplacian":
        return sympy.exp(-p * sympy.sqrt(z))
    if function == "rational":
        return (1 + z) ** -p
    if function == "coulomb":
        return z**-p
    if function == "matern":
        r = sympy.sqrt(2 * p * z)
        factor = {0.5: 1, 1.5: 1 + r, 2.5: 1 + r + r**2 / 3}[parameter]
        return factor * sympy.exp(-r)
    if function == "inverse_multiquadric":
        return (1 + p * z) ** sympy.Rational(-1, 2)
    if function == "polynomial":
        return z**p
    if function == "threshold":
        return sympy.Integer(1) if z <= p else sympy.Integer(0)
    if function == "arc_cosine":
        return _arc_cosine(int(parameter), z)
    raise ValueError(f"function: {getattr(function, 'name', function)!r}, expected one of the named functions")


def _arc_cosine(order: int, z: Any) -> Any:
    import sympy

    u = 1 - sympy.Min(z, 4) / 2
    theta = sympy.acos(u)
    zero = 1 - theta / sympy.pi
    one = (sympy.sin(theta) + (sympy.pi - theta) * u) / sympy.pi
    return (zero, one, u * zero + one)[order]
