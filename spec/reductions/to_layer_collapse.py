"""From vectors to a self-attention network that does not collapse, of any depth (Alman and Song 2025).

The instance of OV-2 becomes one sequence of tokens that attend to each other: left vectors, right vectors, and a
calibrator.  Every layer has the same weights and writes into a coordinate that none reads, so that the tokens attend
in every layer as in the first (proofs_notes/layer_collapse.md, LC-11).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.layer_collapse.instance import Instance
from assay.spec.memory import require_memory
from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.reductions.problems import Solutions
from assay.spec.reductions.reduction import Reduction, Sizes
from assay.spec.reductions.rounding import above, dtype_named, output_array, root_of_log, round_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.instances.orthogonal_vectors import OrthogonalVectors

__all__ = ["LC_11", "outputs"]

_CUT = Fraction(13, 20)  # between 1/2 and 4/5
_DECIDING = Fraction(3, 20)
_MOST_LAYERS = 1 << 16


def _sizes(sizes: Sizes, scale: float | None = None, dtype: str = "float64", layers: int = 1) -> Sizes:
    """The sizes of the target: n + m + 1 tokens of d + 3 coordinates, its layers, and B = κ."""
    n, m, d = sizes["n"], sizes["m"], sizes["d"]
    sigma = 1.0 / d if scale is None else float(scale)
    if not math.isfinite(sigma) or sigma == 0.0:
        raise InvalidInstance(f"scale {sigma!r}: expected a finite number other than 0")
    if not isinstance(layers, int) or not 1 <= layers <= _MOST_LAYERS:
        raise InvalidInstance(f"layers {layers!r}: expected an integer from 1 to {_MOST_LAYERS}")
    entry = round_up(root_of_log(4 * (n + m), 1 / abs(Fraction(sigma))), dtype)
    return {"n": n + m + 1, "d": d + 3, "layers": layers, "B": entry}


def _forward(
    source: OrthogonalVectors, scale: float | None = None, dtype: str = "float64", layers: int = 1
) -> Instance:
    """Tokens (bits, role, value, output): κ(a_i, 1), 0, 0; κ(b_j, 0), 0, 0; and 0, 0, 1, 0."""
    sizes = _sizes(_measure(source), scale, dtype, layers)
    kind = dtype_named(dtype)
    n, d, m = source.n, source.d, source.m
    require_memory(
        3 * kind.itemsize * (sizes["n"] * (d + 3) + layers * (d + 3) * (3 * d + 5)),
        f"{sizes['n']} tokens of {d + 3} coordinates and {layers} layers in {dtype}",
    )
    kappa = np.array(float(sizes["B"]), dtype=np.float64).astype(kind)
    tokens = np.zeros((n + m + 1, d + 3), dtype=kind)
    tokens[:n, :d] = source.left.astype(kind) * kappa
    tokens[:n, d] = kappa
    tokens[n : n + m, :d] = source.right.astype(kind) * kappa
    tokens[-1, d + 1] = 1
    sigma = 1.0 / d if scale is None else float(scale)
    query, value = np.zeros((d + 3, d + 1), dtype=kind), np.zeros((d + 3, d + 3), dtype=kind)
    query[np.arange(d + 1), np.arange(d + 1)] = 1
    value[d + 1, d + 2] = 1
    key = -query if sigma > 0 else query  # a score is −|σ|κ² times a number of common bits

    def everywhere(matrix: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(matrix[None, None], layers, axis=0)

    return Instance(
        tokens,
        everywhere(query),
        everywhere(key),
        everywhere(value),
        scale=sigma,
        provenance=Provenance(family="LC-11"),
    )


def _measure(source: OrthogonalVectors) -> Sizes:
    return {"n": source.n, "m": source.m, "d": source.d}


def outputs(source: OrthogonalVectors, target: Instance, tokens: Any) -> NDArray[Any]:
    """(n,): what the L layers have written for every left vector, L·out_i, from the tokens (L, n + m + 1, d + 3)."""
    array = output_array(tokens, (target.layers, *target.tokens.shape))
    return array[-1, : source.n, -1]


def _decode(source: OrthogonalVectors, target: Instance, tokens: Any) -> Solutions:
    rows = ~above(outputs(source, target, tokens), _CUT * target.layers)
    if not rows.any():
        return Solutions(False, 0, None)
    i = int(rows.argmax())
    partner = ~(source.right & source.left[i]).any(axis=1)
    return Solutions(True, None, (i, int(partner.argmax())) if partner.any() else None)


LC_11 = Reduction(
    name="LC-11",
    claim="LC-11",
    source="orthogonal_vectors",
    target="layer_collapse",
    statement="one sequence of all vectors and a calibrator; after L layers a last coordinate of ≤ L/2 or ≥ 4L/5",
    forward=_forward,
    decoder=_decode,
    accuracy=lambda source, target: _DECIDING * target.layers,
    sizes=_sizes,
    measure=_measure,
    preconditions=("scale is not 0", "κ = √(ln(4(n + m))/|σ|) is a number of the type"),
    options=("scale", "dtype", "layers"),
    output="tokens",
)
