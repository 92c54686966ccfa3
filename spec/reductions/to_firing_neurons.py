"""From vectors to a script of updates and queries of one neuron (FN-9 of proofs_notes/firing_neurons.md).

The data are the left vectors, and the right vectors come one after another: the neuron is set to −b_j, and it is asked
on which data it fires.  It fires on a_i iff −⟨a_i, b_j⟩ > −1/2, that is iff the two are orthogonal.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.firing_neurons.instance import DATA_OF, UPDATE, Instance
from assay.spec.memory import require_memory
from assay.spec.problem import Provenance
from assay.spec.reductions.problems import Solutions
from assay.spec.reductions.reduction import Reduction, Sizes
from assay.spec.reductions.rounding import dtype_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.instances.orthogonal_vectors import OrthogonalVectors

__all__ = ["FN_9"]

_HALF = Fraction(1, 2)  # every margin is at least so far from 0


def _measure(source: OrthogonalVectors) -> Sizes:
    return {"n": source.n, "m": source.m, "d": source.d}


def _sizes(sizes: Sizes, dtype: str = "float32") -> Sizes:
    """n points of d coordinates; m updates, and as many queries, of one neuron."""
    return {"n": sizes["n"], "m": sizes["m"], "d": sizes["d"], "neurons": 1, "steps": 2 * sizes["m"]}


def _forward(source: OrthogonalVectors, dtype: str = "float32") -> Instance:
    kind = dtype_named(dtype)
    steps = 2 * source.m
    require_memory(
        2 * kind.itemsize * (source.n + steps) * source.d, f"{source.n} points and {steps} steps of {source.d} numbers"
    )
    weights = np.zeros((steps, source.d), dtype=kind)
    weights[::2] = -source.right.astype(kind) + 0  # no negative zeros
    operations = np.full(steps, DATA_OF)
    operations[::2] = UPDATE
    nothing = np.zeros(steps, dtype=np.int64)
    return Instance(
        source.left.astype(kind),
        np.zeros((1, source.d), dtype=kind),
        operations,
        nothing,
        weights,
        nothing.astype(bool),
        -0.5,
        provenance=Provenance(family="FN-9"),
    )


def _decode(source: OrthogonalVectors, target: Instance, output: Any) -> Solutions:
    """The pairs (i, j) of which answer j says that the neuron fires on point i.

    output: the m answers, (m, n) or one after another, or a mapping of the names of queries to answers.
    Raises ``ValueError`` for another number of answers, and for entries that are no answers of yes or no.
    """
    if isinstance(output, Mapping):
        named = {str(name): answer for name, answer in output.items() if str(name).startswith("data_of")}
        output = [named[name] for name in sorted(named, key=_step)]
    fires = _answers(output, (source.m, source.n))
    if not fires.any():
        return Solutions(False, 0, None)
    j, i = (int(k) for k in np.argwhere(fires)[0])
    return Solutions(True, int(fires.sum()), (i, j))


def _step(name: str) -> int:
    """The number of the step in the name of a query."""
    return int("".join(filter(str.isdigit, name)) or 0)


def _answers(output: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        array = np.asarray(output)
    except ValueError:
        raise ValueError(f"output holds answers of different lengths: expected {shape}") from None
    if array.size != shape[0] * shape[1]:
        raise ValueError(f"output has shape {array.shape}: expected {shape}")
    if array.dtype.kind not in "biuf" or not ((array == 0) | (array == 1)).all():
        raise ValueError(f"output has dtype {array.dtype}: expected answers of yes or no, or 0 and 1")
    return array.astype(bool).reshape(shape)


FN_9 = Reduction(
    name="FN-9",
    claim="FN-9",
    source="orthogonal_vectors",
    target="firing_neurons",
    statement="data a_i; one neuron set to −b_j in turn, threshold −1/2: it fires on a_i iff the two are orthogonal",
    forward=_forward,
    decoder=_decode,
    accuracy=lambda source, target: _HALF,
    sizes=_sizes,
    measure=_measure,
    preconditions=("n·d and 2m·d numbers fit in memory",),
    counts=True,
    options=("dtype",),
    output="data_of",
)
