"""The loss of the paper, ½‖diag(A1)⁻¹ A·A₃Y − E‖² with A = exp(σ A₁ X A₂ᵀ), and its gradients in X and Y, certified.

Source: Alman and Song 2024; proofs_notes/attention_gradient.md, GRAD-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec import flint_context
from assay.spec.enclosure import Enclosure, within
from assay.spec.enclosure.arb import ArbBall
from assay.spec.problem import InvalidInstance, Uncertified

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Objects = NDArray[np.object_]

__all__ = ["Loss", "define_loss"]

_MOST_BITS = 1 << 14


@dataclass(frozen=True, eq=False)
class Loss:
    """One loss: ``queries`` A₁ (n, d), ``keys`` A₂ (m, d), ``values`` A₃ (m, d), ``weights`` X (d, d),
    ``value_weights`` Y (d, columns), ``target`` E (n, columns), all float64, and the ``scale`` σ.

    Raises :class:`~assay.spec.problem.InvalidInstance` for shapes that do not fit, or numbers that are not finite.
    """

    queries: NDArray[np.float64]
    keys: NDArray[np.float64]
    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    value_weights: NDArray[np.float64]
    target: NDArray[np.float64]
    scale: float = 1.0

    def __post_init__(self) -> None:
        n, d = self.queries.shape
        m, columns = self.keys.shape[0], self.value_weights.shape[1]
        wanted = {
            "keys": (m, d),
            "values": (m, self.value_weights.shape[0]),
            "weights": (d, d),
            "target": (n, columns),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise InvalidInstance(f"{name}: shape {getattr(self, name).shape}, expected {shape}")
        for name in ("queries", "value_weights", *wanted):
            if not np.isfinite(getattr(self, name)).all():
                raise InvalidInstance(f"{name}: expected finite numbers")


def define_loss(loss: Loss, relative: float = 1e-12) -> dict[str, Enclosure]:
    """``loss`` (), ``grad_weights`` dL/dX (d, d) and ``grad_value_weights`` dL/dY (d, columns).

    Every radius is at most ``relative`` times the largest number of its array, or times 1 where all are smaller.  All
    in balls of Arb; sizes of a few hundred rows take seconds.

    >>> x = np.eye(2)
    >>> made = define_loss(Loss(x, x, x, x, x, np.zeros((2, 2))))
    >>> float(made["loss"].midpoint.round(6)), made["grad_weights"].midpoint.round(4).tolist()
    (0.606776, [[0.0909, -0.0909], [-0.0909, 0.0909]])
    """
    bits = max(128, 64 + int(-2 * np.log2(relative)))
    while bits <= _MOST_BITS:
        with flint_context.bits(bits):
            made = _evaluated(loss)
        rounded = {name: ArbBall(balls, bits) for name, balls in made.items()}
        fine = all(
            within(ball.error(), relative, max(1.0, float(np.abs(ball.rounded()[0]).max()))).all()
            for ball in rounded.values()
        )
        if fine:
            return {name: Enclosure(*ball.rounded(), ball.full) for name, ball in rounded.items()}
        bits *= 2
    raise Uncertified(f"relative: {relative!r} was not reached with {_MOST_BITS} bits")


def _evaluated(loss: Loss) -> dict[str, Objects]:
    a1, a2, a3, x, y, e = (
        flint.arb_mat(array.tolist())
        for array in (loss.queries, loss.keys, loss.values, loss.weights, loss.value_weights, loss.target)
    )
    n, m = loss.queries.shape[0], loss.keys.shape[0]
    sigma = flint.arb(loss.scale)

    # f = softmax(σ A₁ X A₂ᵀ), row by row
    scores = (a1 * x * a2.transpose() * sigma).tolist()
    f = []
    for row in scores:
        top = max((score.mid() for score in row), key=float)
        weights = [(score - top).exp() for score in row]
        total = sum(weights, flint.arb(0))
        f.append([weight / total for weight in weights])
    softmax = flint.arb_mat(f)

    # h = A₃ Y,  c = f h − E,  L = ½ Σ c²
    h = a3 * y
    c = softmax * h - e
    total_loss = sum((number * number for row in c.tolist() for number in row), flint.arb(0)) / 2

    # q = c hᵀ,  r_i = Σ_j f_ij q_ij,  dL/dX = σ A₁ᵀ(f∘q − diag(r) f)A₂
    q = (c * h.transpose()).tolist()
    inner = []
    for i in range(n):
        r = sum((f[i][j] * q[i][j] for j in range(m)), flint.arb(0))
        inner.append([f[i][j] * (q[i][j] - r) for j in range(m)])
    grad_weights = a1.transpose() * flint.arb_mat(inner) * a2 * sigma

    # dL/dY = A₃ᵀ fᵀ c
    grad_value_weights = a3.transpose() * (softmax.transpose() * c)
    return {
        "loss": _objects(total_loss, ()),
        "grad_weights": _objects(grad_weights.tolist(), loss.weights.shape),
        "grad_value_weights": _objects(grad_value_weights.tolist(), loss.value_weights.shape),
    }


def _objects(numbers: Any, shape: tuple[int, ...]) -> Objects:
    made = np.empty(shape, dtype=object)
    if shape == ():
        made[()] = numbers
        return made
    for i, row in enumerate(numbers):
        for j, number in enumerate(row):
            made[i, j] = number
    return made
