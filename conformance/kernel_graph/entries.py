"""Other functions of distances and other parameters: what meanings of products, solves and sparsifiers share.

A kernel has the weights of such a mistake, whatever it does with them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.kernel_graph.graphs import weights_of
from assay.spec.kernel_graph.functions import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["PARAMETERS", "VALUES", "of_other_weights"]

#: (name, sentence, the other parameter).
PARAMETERS: tuple[tuple[str, str, Callable[[float], float]], ...] = (
    ("parameter-one", "the parameter is ignored: 1 stands for it", lambda p: 1.0),
    ("parameter-reciprocal", "1/parameter stands for the parameter", lambda p: 1 / p if p else p),
    ("parameter-half", "half the parameter stands for the parameter", lambda p: p / 2),
    ("parameter-double", "twice the parameter stands for the parameter", lambda p: 2 * p),
    ("parameter-square", "the parameter is squared", lambda p: p * p),
    ("parameter-root", "the root of the parameter stands for the parameter", lambda p: math.sqrt(max(p, 0.0))),
    ("parameter-rounded", "the parameter is rounded to an integer", lambda p: float(round(p))),
    ("parameter-one-less", "one power too few", lambda p: p - 1),
    ("parameter-one-more", "one power too many", lambda p: p + 1),
)


def _last_coefficient(coefficient: float) -> Callable[[Array, float], Array]:
    """Matérn's function of order 5/2 with another coefficient of s², s² = 5z, for 1/3."""

    def value(z: Array, p: float) -> Array:
        s = np.sqrt(5 * z)
        return (1 + s + coefficient * s * s) * np.exp(-s) if p == 2.5 else named("matern", p)(z)

    return value


def _without_cosine(z: Array, p: float) -> Array:
    """κ₀ + κ₁ for u·κ₀ + κ₁."""
    return named("arc_cosine", 0.0)(z) + named("arc_cosine", 1.0)(z) if p == 2.0 else named("arc_cosine", p)(z)


def _softened(more: float) -> Callable[[Array, float], Array]:
    return lambda z, p: (z + more) ** -p


#: (name, sentence, functions, other values of them: of(z, parameter)).
VALUES: tuple[tuple[str, str, str, Callable[[Array, float], Array]], ...] = (
    ("polynomial-less", "one power too few", "polynomial", lambda z, p: z ** (p - 1)),
    ("sigma", "the parameter is taken for σ: e^(−z/(2σ²))", "gaussian", lambda z, p: np.exp(-z / (2 * p * p))),
    ("laplacian-square", "distances are squared: e^(−parameter·z)", "laplacian", lambda z, p: np.exp(-p * z)),
    ("rational-inside", "1/(1 + z^p) stands for 1/(1 + z)^p", "rational", lambda z, p: 1 / (1 + z**p)),
    ("no-root", "the root is left out: 1/(1 + parameter·z)", "inverse_multiquadric", lambda z, p: 1 / (1 + p * z)),
    (
        "not-inverse",
        "the reciprocal is left out: √(1 + parameter·z)",
        "inverse_multiquadric",
        lambda z, p: np.sqrt(1 + p * z),
    ),
    ("positive-power", "the reciprocal is left out: a positive power", "coulomb rational", lambda z, p: z**p),
    (
        "rational-quadratic",
        "the rational quadratic kernel (1 + z/(2p))^(−p)",
        "rational",
        lambda z, p: (1 + z / (2 * p)) ** -p,
    ),
    ("one-inside", "1 is added: (1 + z)^p", "polynomial", lambda z, p: (1 + z) ** p),
    ("matern-nu", "the factor of Matérn's argument is √ν", "matern", lambda z, p: named("matern", p)(z / 2)),
    ("matern-linear", "the square in Matérn's polynomial is left out", "matern", _last_coefficient(0.0)),
    (
        "matern-scale",
        "the factor √(2ν) of Matérn's argument is left out",
        "matern",
        lambda z, p: named("matern", p)(z / (2 * p)),
    ),
    ("arc-cosine-pi", "the factor 1/π is left out", "arc_cosine", lambda z, p: math.pi * named("arc_cosine", p)(z)),
    ("beyond", "what lies beyond the threshold counts", "threshold", lambda z, p: (z > p).astype(np.float64)),
    ("all", "every pair counts, whatever its distance", "threshold", lambda z, p: np.ones_like(z)),
    ("two", "2 stands for e: log₂ e is left out", "gaussian", lambda z, p: np.exp2(-p * z)),
    ("two-distance", "2 stands for e: log₂ e is left out", "laplacian", lambda z, p: np.exp2(-p * np.sqrt(z))),
    ("matern-third", "s² ends Matérn's polynomial of order 5/2, and not s²/3", "matern", _last_coefficient(1.0)),
    ("matern-fifth", "s²/5 ends Matérn's polynomial of order 5/2, and not s²/3", "matern", _last_coefficient(0.2)),
    ("without-cosine", "the cosine before κ₀ is left out: κ₀ + κ₁", "arc_cosine", _without_cosine),
    ("scale-inside", "the parameter multiplies z: 1/(1 + parameter·z)", "rational", lambda z, p: 1 / (1 + p * z)),
    (
        "power-outside",
        "the parameter is a power of 1 + z, and halved",
        "inverse_multiquadric",
        lambda z, p: (1 + z) ** (-p / 2),
    ),
    (
        "power-alone",
        "the parameter is a power: (1 + z)^(−parameter)",
        "inverse_multiquadric",
        lambda z, p: (1 + z) ** -p,
    ),
    *(
        (f"softened-{k}", f"10^−{k} is added to squared distances", "coulomb", _softened(10.0**-k))
        for k in (0, 1, 2, 3, 4, 6)
    ),
)


def of_other_weights(named_as: Callable[[str, str, Callable[[Any], Array | None]], Any]) -> tuple[Any, ...]:
    """Meanings of a problem of graphs: named_as(name, sentence, made) for every row, and for roots and squares of z.

    made(instance): the weights of all pairs, with 0 on the diagonal; ``None`` where the mistake changes nothing.
    """

    def parameter(other: Callable[[float], float]) -> Callable[[Any], Array | None]:
        def made(instance: Any) -> Array | None:
            if not isinstance(instance.function, str) or other(instance.parameter) == instance.parameter:
                return None
            try:
                return weights_of(instance, named(instance.function, other(instance.parameter)))
            except ValueError:  # no parameter of this function
                return None

        return made

    def valued(functions: str, of: Callable[[Array, float], Array]) -> Callable[[Any], Array | None]:
        return lambda i: weights_of(i, lambda z: of(z, i.parameter)) if i.function in functions.split() else None

    def distances(of: Callable[[Array], Array]) -> Callable[[Any], Array | None]:
        return lambda i: None if i.function == "arc_cosine" else weights_of(i, lambda z: i.weight()(of(z)))

    return (
        *(named_as(name, sentence, parameter(other)) for name, sentence, other in PARAMETERS),
        *(named_as(name, sentence, valued(functions, of)) for name, sentence, functions, of in VALUES),
        named_as("unsquared", "distances are not squared", distances(np.sqrt)),
        named_as("squared-again", "squared distances are squared again", distances(np.square)),
    )
