"""From vectors to attention with the true rotary embedding: the inputs of attention, turned back (ROPE-5).

Rotation number i is a matrix R_i without a choice, but its inverse may be handed in: R_i(R_i⁻¹q_i) = q_i.  So every
instance of attention is one of rotary attention, at any different positions and with any frequencies.  The inputs are
rounded after they were turned, which moves every score by at most Δ, and the output by at most tanh(Δ/2)·range(V)
(ATT-2); the arrows of attention go on with what is left of their accuracy (proofs_notes/reductions.md, ROPE-5).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import rope
from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.reductions.rounding import output_array
from assay.spec.reductions.to_attention import OV_2, OV_3, OV_4
from assay.spec.reductions.to_attention_gradient import GRAD_4
from assay.spec.rope_attention.instance import Instance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec import attention, attention_gradient
    from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
    from assay.spec.reductions.reduction import Reduction, Sizes

__all__ = ["ROPE_5A", "ROPE_5B", "ROPE_5C", "ROPE_5D", "Backward", "score_error", "turned_back"]

_LONGER = Fraction(71, 50)  # √2, and the rounding to any type
_ROUNDED = Fraction(2**20 + 1, 2**20)  # what float64 numbers near a bound are multiplied by, to be above it


def turned_back(
    plain: attention.Instance, base: float = 10000.0, layout: str = "halves", family: str = "ROPE-5"
) -> Instance:
    """The rotary attention that is this attention: every query and key turned back from its position 0, 1, 2, ….

    An odd number of columns becomes even by a column of zeros.  plain: without softcap, bias and masks, of one batch
    and head.  The numbers are the certified ones, rounded to the type of ``plain``.
    """
    query, key = (_even(x) for x in (plain.query, plain.key))
    turned = []
    for x in (query, key):
        back = rope.Instance(x, positions=-np.arange(x.shape[2]), base=base, layout=layout)
        turned.append(rope.define(back).midpoint.astype(plain.query.dtype))
    return Instance(
        turned[0],
        turned[1],
        plain.value,
        scale=plain.scale,
        base=base,
        layout=layout,
        provenance=Provenance(family=family),
    )


def _even(x: NDArray[Any]) -> NDArray[Any]:
    return x if x.shape[3] % 2 == 0 else np.concatenate([x, np.zeros_like(x[..., :1])], axis=3)


def score_error(plain: attention.Instance, target: Instance) -> Fraction:
    """Δ: at least what a score of ``target`` and one of ``plain`` differ by, from the norms of what rounding lost."""
    q, k = (_largest_norm(x.astype(np.float64)) for x in (plain.query, plain.key))
    lost_q, lost_k = (
        _lost_norm(x, stored, target) for x, stored in ((plain.query, target.query), (plain.key, target.key))
    )
    assert plain.scale is not None
    return abs(Fraction(plain.scale)) * (lost_q * k + q * lost_k + lost_q * lost_k)


def _lost_norm(plain: NDArray[Any], stored: NDArray[Any], target: Instance) -> Fraction:
    """At least the largest ‖e_i‖ of what rounding lost of the vectors that were turned back."""
    whole = _even(plain)
    back = rope.Instance(whole, positions=-np.arange(whole.shape[2]), base=target.base, layout=target.layout)
    exact = rope.define(back)
    return _largest_norm(np.abs(stored.astype(np.float64) - exact.midpoint) + exact.radius)


def _largest_norm(x: NDArray[np.float64]) -> Fraction:
    """At least the largest ‖x_i‖, exactly summed up to a factor that pays for float64."""
    largest = float(np.sqrt((x * x).sum(axis=3)).max())
    return Fraction(largest) * _ROUNDED + Fraction(1, 2**500)


def _plain(arrow: Reduction, source: Any, target: Instance) -> attention.Instance:
    made: attention.Instance = arrow.forward(source, scale=target.scale, dtype=target.query.dtype.name)
    return made


def _left(arrow: Reduction, source: Any, target: Instance) -> Fraction:
    """What is left of the accuracy of an arrow to attention: tanh x ≤ x, and the values are 0 and 1."""
    plain = _plain(arrow, source, target)
    return arrow.accuracy(source, plain) - score_error(plain, target) / 2


def _through(arrow: Reduction, name: str, statement: str) -> Reduction:
    """The arrow to attention, with its inputs turned back."""

    def forward(source: Any, **options: Any) -> Instance:
        plain = arrow.forward(source, **options)
        target = turned_back(plain, family=name)
        if _left(arrow, source, target) <= 0:
            dtype, d = options.get("dtype", "float64"), plain.query.shape[3]
            raise InvalidInstance(f"dtype {dtype!r}: turned vectors of {d} coordinates need a longer type")
        return target

    def decoder(source: Any, target: Instance, output: Any) -> Any:
        return arrow.decoder(source, _plain(arrow, source, target), output)

    def sizes(given: Sizes, **options: Any) -> Sizes:
        made = arrow.sizes(given, **options)
        bound = Fraction(made["B"]) * _LONGER  # a turned pair is as long as before
        return {**made, "d": made["d"] + made["d"] % 2, "B": bound}

    return dataclasses.replace(
        arrow,
        name=name,
        claim="ROPE-5",
        target="rope_attention",
        statement=statement,
        forward=forward,
        decoder=decoder,
        accuracy=lambda source, target: _left(arrow, source, target),
        sizes=sizes,
        preconditions=(*arrow.preconditions, "the type holds the turned vectors so well that accuracy is left"),
    )


ROPE_5A = _through(OV_2, "ROPE-5a", "OV-2 through the rotary embedding: Q_i = R_i⁻¹κa_i, K_j = −R_j⁻¹κb_j")
ROPE_5B = _through(OV_3, "ROPE-5b", "OV-3 likewise: 1/output − 1 counts the partners of a")
ROPE_5C = _through(OV_4, "ROPE-5c", "OV-4 likewise: entries Θ(√log n)")


# --- the gradient -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Backward:
    """One backward pass of rotary attention: the gradients of Σ ⟨grad_output, output⟩ are asked for."""

    instance: Instance
    grad_output: NDArray[Any]


_TURNED = Fraction(7, 10)  # of an error in a gradient, after it was turned by less than 1/√2 and rounded


def _forward_gradient(source: OrthogonalVectors, scale: float | None = None, dtype: str = "float64") -> Backward:
    plain = GRAD_4.forward(source, scale=scale, dtype=dtype)
    target = Backward(turned_back(plain.forward(), family="ROPE-5d"), plain.grad_output)
    if _gradient_accuracy(source, target) <= 0:
        d = plain.query.shape[3]
        raise InvalidInstance(f"dtype {dtype!r}: turned vectors of {d} coordinates need a longer type")
    return target


def _plain_gradient(source: OrthogonalVectors, target: Backward) -> attention_gradient.Instance:
    like = target.instance
    made: attention_gradient.Instance = GRAD_4.forward(source, scale=like.scale, dtype=like.query.dtype.name)
    return made


def _gradient_accuracy(source: OrthogonalVectors, target: Backward) -> Fraction:
    """What is left of the accuracy of GRAD-4, times 7/10 for turning the gradient."""
    plain = _plain_gradient(source, target)
    delta = score_error(plain.forward(), target.instance)
    if delta > Fraction(1, 4):
        return Fraction(0)
    assert plain.scale is not None
    m, kappa = source.m, Fraction(float(plain.query.max()))
    lost = _lost_norm(plain.query, target.instance.query, target.instance)
    moved = abs(Fraction(plain.scale)) * (
        kappa * Fraction(13, 5) * delta * Fraction(m, (m + 1) ** 2) + Fraction(33, 80) * (source.n + 1) * lost
    )
    return _TURNED * (GRAD_4.accuracy(source, plain) - moved)


def _decode_gradient(source: OrthogonalVectors, target: Backward, output: Any) -> Any:
    """The gradient of the keys, turned to where those of GRAD-4 are, and then its decoder."""
    plain, like = _plain_gradient(source, target), target.instance
    gradient = output_array(output, like.key.shape).astype(np.float64)
    turned = rope.define(rope.Instance(gradient, positions=like.positions()[1], base=like.base, layout=like.layout))
    return GRAD_4.decoder(source, plain, turned.midpoint[..., : plain.key.shape[3]])


def _sizes_gradient(given: Sizes, **options: Any) -> Sizes:
    made = GRAD_4.sizes(given, **options)
    return {**made, "d": made["d"] + made["d"] % 2, "B": Fraction(made["B"]) * _LONGER}


ROPE_5D = dataclasses.replace(
    GRAD_4,
    name="ROPE-5d",
    claim="ROPE-5",
    target="rope_attention_gradient",
    statement="GRAD-4 through the rotary embedding: dK_0, turned by R_0, decides",
    forward=_forward_gradient,
    decoder=_decode_gradient,
    accuracy=_gradient_accuracy,
    sizes=_sizes_gradient,
    preconditions=(*GRAD_4.preconditions, "the type holds the turned vectors so well that accuracy is left"),
)
