"""What a correct backward pass of a precision class may err, per element (proofs_notes/attention_gradient.md).

The names are those of the proofs.  A kernel recomputes the probabilities of a row with one stored log-sum-exp, which is
off by at most Λ_i (BWD-0), forms dS_ij = p_ij (g_ij − δ_i) (BWD-1) with a δ_i that is off by at most β_i (BWD-2), and
adds up (BWD-3, BWD-4).  Where δ comes from decides β: its *origin*.  A kernel has one origin for all its elements, and
is judged by the one that it fits best (BWD-5).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import attention
from assay.spec.attention_gradient.definition import Exact, evaluate
from assay.spec.attention_gradient.rounding import PRECISIONS, Backward
from assay.spec.floating_point import require_usual
from assay.spec.memory import require_evaluable
from assay.spec.precision import Precision, reference_accuracy
from assay.spec.precision import precision as precision_named
from assay.spec.rounding import compound, gamma
from assay.spec.softmax.rounding import Softmax
from assay.spec.softmax.weights import SLACK, Weights, weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.attention_gradient.instance import Instance
    from assay.spec.enclosure import Enclosure

    Array = NDArray[np.float64]

__all__ = ["HANDED", "OWN", "RUNNING", "Bounds", "Element", "Origin", "tolerance"]


@dataclass(frozen=True)
class Origin:
    """Where a kernel has what its rows share from.

    delta: ``output``, the stored output; ``unrounded``, the output before it was rounded; ``products``, Σ_j p_ij g_ij.
    handed: the output and the log-sum-exp are those that the kernel was handed, and not its own.
    running: the running maximum of an online softmax is differentiated automatically.
    """

    delta: str
    handed: bool = False
    running: bool = False

    @property
    def automatic(self) -> bool:
        """Whether the gradient may come from automatic differentiation (BWD-5), which never reads a stored output."""
        return not self.handed and self.delta != "output"


#: The origins of a kernel that runs a forward pass of its own.
OWN = (Origin("output"), Origin("unrounded"), Origin("products"))

#: The origins of a kernel that declares to differentiate the running maximum of an online softmax automatically.
RUNNING = tuple(dataclasses.replace(origin, running=True) for origin in OWN if origin.automatic)

#: The origins of a kernel that uses the output and the log-sum-exp that it is handed.
HANDED = (Origin("output", handed=True), Origin("products", handed=True))


def tolerance(
    instance: Instance, precision: str | Precision, output: str = "grad_query", *, exact: Exact | None = None
) -> NDArray[np.float64]:
    """The bound on the error of every correct kernel of the class ``precision``, per element of ``output``.

    It is the largest over the origins of a kernel that differentiates its own forward pass, of which nothing is
    observed; a kernel that is handed the output and the log-sum-exp errs less.  Shaped like the array that the output
    is the gradient of; +inf outside the domain of the class, where no kernel is judged.
    Source: proofs_notes/attention_gradient.md, BWD-3 and BWD-4.  Raises ``ValueError`` for an unknown class, or an
    output that the instance does not have.

    >>> from assay.spec.attention_gradient import Instance
    >>> x = np.arange(3.0).reshape(1, 1, 3, 1).astype(np.float16)
    >>> np.round(tolerance(Instance(x, x, x, x), "float16"), 4).ravel()
    array([0.    , 0.0128, 0.0258])
    """
    if output not in instance.outputs():
        raise ValueError(f"unknown output {output!r}: expected one of {', '.join(instance.outputs())}")
    require_usual()
    bounds = Bounds(instance, precision_named(precision, PRECISIONS), exact)
    return np.asarray(np.max([bounds.of(origin)[output] for origin in OWN], axis=0))


@dataclass(frozen=True, eq=False)
class _Pair:
    """The exact quantities of every query and key, (b, h_q, n_q, n_k), as upper bounds of sizes.

    p; probability p_ij; difference |D_ij|; product |g_ij|; moduli H_ij; slope t_ij, and off, τ^t_ij.
    """

    probability: Array
    difference: Array
    product: Array
    moduli: Array
    slope: Array
    off: Array


@dataclass(frozen=True, eq=False)
class Element:
    """What one element of dS and of the probabilities may be off, matrices of one shape (BWD-1).

    one: of dS, in all; before and most: at most |dŜ_ij|, without and with ``top``, what a row is left with; lost: what
    underflows; slope: at most t̂_ij, and off, τ^t_ij; probability: at most p̂_ij, and off_probability, its error.
    """

    attended: NDArray[np.bool_]
    one: Array
    before: Array
    most: Array
    top: Array
    lost: Array
    slope: Array
    off: Array
    probability: Array
    off_probability: Array

    def arranged(self, order: Callable[[Any], Any]) -> Element:
        """The same with every matrix in another order of its elements."""
        made: dict[str, Any] = {item.name: order(getattr(self, item.name)) for item in dataclasses.fields(self)}
        return Element(**made)


class Bounds:
    """The tolerances of an instance in a class, for every origin.

    exact: what :func:`~assay.spec.attention_gradient.definition.evaluate` gives at
    :func:`~assay.spec.precision.reference_accuracy`; it is evaluated if it is left out.
    """

    def __init__(self, instance: Instance, precision: Precision, exact: Exact | None = None) -> None:
        require_evaluable(instance)
        accuracy = reference_accuracy(precision)
        self.instance, self.precision = instance, precision
        self.exact = evaluate(instance, accuracy) if exact is None else exact
        self.attention = attention.evaluate(instance.forward(), accuracy)
        self.row: Weights = weights(instance, precision, self.attention)

    def of(
        self,
        origin: Origin,
        output: NDArray[np.float64] | None = None,
        log_sum_exp: NDArray[np.float64] | None = None,
    ) -> Mapping[str, Array]:
        """Output → tolerance of every element.

        output: the output that is at hand where the kernel forms δ: the one that was handed to it, or that it returned.
        log_sum_exp: the one that was handed to it.  Both as float64; left out, what the class may err stands for them.
        """
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            lam = self._log_sum_exp_error(log_sum_exp if origin.handed else None)
            beta = self._delta_error(origin, lam, output)
            return self._gradients(lam, beta, origin)

    # --- what rows share ----------------------------------------------------------------------------------------------

    def _log_sum_exp_error(self, handed: Array | None) -> Array:
        """Λ_i: what the log-sum-exp may be off that all probabilities of a row are formed with (BWD-5)."""
        lse = self.attention.log_sum_exp
        if handed is None:
            return self._forward_tolerances[1]
        some = np.isfinite(lse.midpoint)
        gap = np.abs(np.where(some, handed, 0.0) - np.where(some, lse.midpoint, 0.0))
        return np.asarray((gap + lse.radius) * SLACK)

    def _delta_error(self, origin: Origin, lam: Array, output: Array | None) -> Array:
        """β_i (BWD-2, BWD-5 c)."""
        u, back = self.precision, self.precision.of(Backward)
        grad_output = np.abs(self._grad_output)
        written = u.product * (self._delta + 2 * self._grad_lse) + 2 * u.tiny
        if origin.automatic:  # dlse may meet probabilities that are formed with another log-sum-exp
            stored = u.of(Softmax).stored_score * self.row.log_sum_exp
            written = written + np.expm1(2 * lam + stored) * self._grad_lse
        if origin.delta == "products":
            pair, eta, growth = self._pair, self._eta[..., : self._keys], np.exp(lam)
            alpha = self._product_error(self._delta, origin)
            terms = growth * (pair.probability * (1 + eta) * (pair.product + alpha)).sum(axis=3)
            error = np.expm1(lam) * (self._delta + self._grad_lse)
            error += growth * (pair.probability * (eta * pair.product + (1 + eta) * alpha)).sum(axis=3)
            count = self.row.depth + 2 * self.row.tiles + 3
            error += compound(back.product, gamma(count, u.accumulate)) * terms
            error += self._lost * (np.where(self._attended, pair.product + alpha, 0.0)).sum(axis=3)
            error += self.row.count * (back.product_tiny + 2 * u.tiny * self._divided(origin))
        else:
            exact = self.attention.output
            size = np.abs(exact.midpoint) + exact.radius
            off = self._forward_tolerances[2] if origin.delta == "unrounded" else self._forward_tolerances[0]
            error = (grad_output * off).sum(axis=3)
            largest = size + off
            if output is not None:
                gap = np.asarray(output, np.float64) - exact.midpoint
                apart = exact.radius + 1e-14 * (np.abs(gap) + exact.radius)
                if origin.delta == "unrounded":  # it was rounded to the output that is at hand
                    apart = apart + u.output / (1 - u.output) * np.abs(output) + u.output_tiny
                seen = np.abs((self._grad_output * gap).sum(axis=3)) + (grad_output * apart).sum(axis=3)
                error, largest = np.fmin(error, seen), np.fmin(largest, np.abs(output) + apart)
            d_v = self.instance.value.shape[3]
            sums = compound(back.product, back.product, gamma(d_v + 2, u.accumulate))
            error = error + sums * (grad_output * largest).sum(axis=3)
            flushed = (d_v * 2 + (grad_output + largest).sum(axis=3)) * self._divided(origin)
            error = error + d_v * back.product_tiny + u.tiny * flushed
        error = error + written + back.product * (self._delta + self._grad_lse + error) + back.product_tiny
        return np.where(self.row.count > 0, error * SLACK, 0.0)

    @functools.cached_property
    def _forward_tolerances(self) -> tuple[Array, Array, Array]:
        """What the output, the log-sum-exp and the output before its rounding may be off (TOL-7, TOL-9)."""
        u, forward = self.precision, self.instance.forward()
        kept = tuple(stage for stage in u.stages if not isinstance(stage, Softmax))
        unrounded = dataclasses.replace(u, output=0.0, output_tiny=0.0, stages=(*kept, u.of(Softmax)))
        output, wide = (attention.tolerance(forward, c, exact=self.attention) for c in (u, unrounded))
        return output, attention.tolerance(forward, u, "log_sum_exp", exact=self.attention), wide

    # --- the exact quantities -----------------------------------------------------------------------------------------

    @functools.cached_property
    def _grad_output(self) -> Array:
        return self.instance.grad_output.astype(np.float64)

    @functools.cached_property
    def _grad_lse(self) -> Array:
        array = self.instance.grad_log_sum_exp
        return np.zeros(self.row.count.shape) if array is None else np.abs(array.astype(np.float64))

    @property
    def _keys(self) -> int:
        return int(self.instance.key.shape[2])

    @functools.cached_property
    def _attended(self) -> NDArray[np.bool_]:
        return self.row.attended[..., : self._keys]

    @functools.cached_property
    def _delta(self) -> Array:
        return np.asarray(np.abs(self.exact.delta.midpoint) + self.exact.delta.radius)

    @functools.cached_property
    def _query(self) -> Array:
        return self.instance.query.astype(np.float64)

    @functools.cached_property
    def _key(self) -> Array:
        return np.asarray(np.repeat(self.instance.key.astype(np.float64), self.instance.group, axis=1))

    @functools.cached_property
    def _value(self) -> Array:
        return np.asarray(np.repeat(self.instance.value.astype(np.float64), self.instance.group, axis=1))

    @functools.cached_property
    def _all_moduli(self) -> Array:
        """H_ij of every query and key, masked or not."""
        return np.asarray(np.abs(self._grad_output) @ np.swapaxes(np.abs(self._value), 2, 3) * SLACK)

    @functools.cached_property
    def _pair(self) -> _Pair:
        attended, exact = self._attended, self.exact
        difference = np.where(attended, np.abs(exact.difference.midpoint) + exact.difference.radius, 0.0)
        moduli = np.where(attended, self._all_moduli, 0.0)
        product = np.abs(exact.difference.midpoint + exact.delta.midpoint[..., None]) * SLACK
        product += exact.difference.radius + exact.delta.radius[..., None] + 1e-15 * self._delta[..., None]
        slope, off = np.where(attended, 1.0, 0.0), np.zeros(())
        if exact.slope is not None:
            slope = np.where(attended, np.abs(exact.slope.midpoint) + exact.slope.radius, 0.0)
            off = self._slope_error()
        return _Pair(
            probability=self.row.probability[..., : self._keys] * SLACK,
            difference=difference,
            product=np.where(attended, np.minimum(product, moduli), 0.0),
            moduli=moduli,
            slope=slope,
            off=np.broadcast_to(off, moduli.shape),
        )

    @functools.cached_property
    def _radii(self) -> Array:
        """The relative radius of p_ij times t_ij, and the radius of t_ij."""
        slope = self.exact.slope
        relative = np.expm1(2 * self.attention.log_probability.radius[..., : self._keys])
        if slope is not None:
            relative = relative * np.abs(slope.midpoint) + 2 * slope.radius
        return np.where(self._attended, relative, 0.0)

    def _slope_error(self) -> Array:
        """τ^t_ij: what the derivative of a softcap may be off (B5)."""
        u, soft = self.precision, self.precision.of(Softmax)
        c = self.instance.softcap
        assert c is not None
        capped = np.abs(self.exact.capped.midpoint) + self.exact.capped.radius
        off = 2 * (self.row.score_error[..., None] + 1.01 * u.product * capped) / c
        off = off + 8 * u.product + 2 * soft.stored_score + 2 * u.of(Backward).slope + soft.stored_tiny
        return np.where(self._attended, off, 0.0)

    @functools.cached_property
    def _eta(self) -> Array:
        """η_ij = e^(L_ij)(1 + u_p) − 1, with that of the sink last."""
        grown = np.expm1(np.minimum(self.row.spread, 700.0))
        return compound(np.where(self.row.spread < 700.0, grown, np.inf), self.precision.of(Softmax).probability)

    @functools.cached_property
    def _lost(self) -> float:
        """What a probability may lose to flushing and to gradual underflow; no probability exceeds 1."""
        soft = self.precision.of(Softmax)
        return math.exp(soft.lag) * soft.flush + soft.probability_tiny

    def _product_error(self, start: Array, origin: Origin) -> Array:
        """α_ij: what ĝ_ij − δ̂_i may be off besides δ̂_i, where the sum may start from a number of this size (B3, B5)."""
        u, soft, back = self.precision, self.precision.of(Softmax), self.precision.of(Backward)
        d_v = self.instance.value.shape[3]
        pair, size = self._pair, start[..., None]
        tiles = 0.0 if origin.handed else self.row.tiles[..., None]
        relative = compound(soft.value_rounding, soft.value_rounding, gamma(d_v + 3 + tiles, u.product))
        summed = relative * (pair.moduli + size)
        stored = compound(*[back.product] * 3) * (pair.product + summed) + 2 * back.product_tiny
        stored = stored + compound(back.product, back.product) * size
        norms = np.abs(self._grad_output).sum(axis=3)[..., None] + np.abs(self._value).sum(axis=3)[..., None, :]
        flushed = 2 * u.tiny * (d_v + 2 + norms) + u.alignment * (norms + d_v * u.least_factor)
        flushed = flushed * self._divided(origin)[..., None]
        total = summed + stored + flushed
        if origin.automatic:
            incoming = 2 * self._grad_lse[..., None]
            total = total + self._apart * (pair.product + size + incoming)
            total = total + 2 * soft.stored_score * self._log_probability * incoming
        return np.where(self._attended, total, 0.0)

    @functools.cached_property
    def _log_probability(self) -> Array:
        """−ln p_ij of the keys that are attended to."""
        log_p = -self.attention.log_probability.midpoint[..., : self._keys]
        return np.where(self._attended, np.maximum(log_p, 0.0), 0.0)

    @functools.cached_property
    def _apart(self) -> Array:
        """ψ_ij: how far two probabilities of one score may be apart, but for a factor common to the row (B5)."""
        u = self.precision
        argument = self._log_probability + 2 * self.row.score_error[..., None]
        one = 3.03 * u.product * argument - 2 * math.log1p(-u.elementary) + 2 * u.product
        return np.where(self._attended, np.expm1(np.minimum(2 * one, 700.0)), 0.0)

    def _divided(self, origin: Origin) -> Array:
        """D_i: dO may have been divided by the sum of weights before it met values and weights (B3)."""
        if origin.handed:
            return np.ones(self.row.count.shape)
        most: Array = np.exp(self.row.log_denominator + self.row.score_error + self.precision.of(Softmax).lag)
        return most

    # --- what is added up ---------------------------------------------------------------------------------------------

    def _gradients(self, lam: Array, beta: Array, origin: Origin) -> Mapping[str, Array]:
        """BWD-3 and BWD-4."""
        u, back = self.precision, self.precision.of(Backward)
        instance, pair = self.instance, self._pair
        attended, p = self._attended, pair.probability
        eta = self._eta[..., : self._keys]
        times = back.score_gradient_times + (back.softcap_times if instance.softcap is not None else 0)
        rho = compound(eta, gamma(4, u.product), *[back.score_gradient] * times)
        alpha = self._product_error(self._delta + beta, origin)
        grown, more = np.exp(lam)[..., None], np.expm1(lam)[..., None]
        given = beta[..., None]
        slope = pair.slope + pair.off

        # BWD-1: one element of dS
        most = p * grown * (1 + rho) * (pair.difference + alpha + given)  # M_ij
        divided = 1.0 if instance.softcap is None else max(1.0, 1.0 / instance.softcap)  # κ
        stored = times * back.score_gradient_tiny * (divided if back.softcap_times else 1.0) + 4 * u.tiny * divided
        lost = np.where(attended, stored + self._lost * (pair.difference + alpha + given), 0.0)
        one = p * (compound(more, rho) * pair.difference + grown * (1 + rho) * (alpha + given)) + lost
        one = np.where(attended, one, 0.0)
        left = np.zeros(beta.shape)  # ζ_i
        if origin.automatic:
            left = self._left(lam, beta, alpha, one, most, running=origin.running)
        reached = attended if origin.running else self._may_be_largest
        top = np.where(reached, left[..., None], 0.0)
        one, before, most = one + top, most, most + top

        element = Element(
            attended=attended, one=one, before=before, most=most, top=top, lost=lost, slope=slope, off=pair.off,
            probability=p * grown * (1 + eta), off_probability=p * compound(more, eta),
        )  # fmt: skip
        made = {"grad_query": self._query_bound(element, rho, alpha, lam, given, left, running=origin.running)}
        made |= self._key_bounds(element, origin)
        if instance.bias is not None:
            made["grad_bias"] = self._bias_bound(one)
        if instance.sink is not None:
            at_sink = left if origin.running else np.where(self._sink_may_be_largest, left, 0.0)
            made["grad_sink"] = self._sink_bound(lam, beta, at_sink)
        inside = self._inside(beta)
        whole = self._grouped_all(np.asarray(np.all(inside, axis=2)))[..., None, None]
        where = {
            "grad_query": inside[..., None],
            "grad_bias": inside.all(),
            "grad_sink": inside.all(axis=(0, 2)),
        }
        return {
            name: np.where(where.get(name, whole) & ~np.isnan(bound), bound, np.inf) for name, bound in made.items()
        }

    def _query_bound(
        self, element: Element, rho: Array, alpha: Array, lam: Array, given: Array, left: Array, *, running: bool
    ) -> Array:
        """BWD-3: dQ.  left: ζ_i, which under ``running`` bounds what all keys of the row get together."""
        u, soft, back = self.precision, self.precision.of(Softmax), self.precision.of(Backward)
        exact, pair, scale, p = self.exact, self._pair, self._scale, self._pair.probability
        slope, before, top = element.slope, element.before, element.top
        key = np.abs(self._key)
        rough = 4e-9 * pair.slope + self._radii  # p and t are upper bounds here
        mean = np.abs((p * pair.slope) @ self._key) + (p * rough) @ key
        wrong = p * ((rho * pair.difference + (1 + rho) * alpha) * slope)
        shared = (p * (rho * slope + pair.off)) @ key
        moved, off, moves = (top * slope) @ key, (top * pair.off) @ key, top.sum(axis=3)
        if running:
            moved = (left * slope.max(axis=3, initial=0.0))[..., None] * key.max(axis=2, keepdims=True)
            off, moves = moved, left
        sized = (before * slope) @ key + moved
        largest = scale * sized
        bound = np.expm1(lam)[..., None] * np.abs(exact.grad_query.midpoint)
        bound = bound + np.exp(lam)[..., None] * scale * (wrong @ key + given * (mean + shared))
        bound = bound + scale * ((before * pair.off) @ key + off + moved)
        roundings = self.row.depth + 3 * self.row.tiles + 5
        bound = bound + (gamma(roundings, u.accumulate)[..., None] + self._entry) * largest
        bound = bound + max(1.0, scale) * (element.lost @ key)
        unit = max(1.0, scale)
        # the scale may have been folded into K, or its root into both
        folded = unit * (before.sum(axis=3) + moves)[..., None]
        steps = self.row.count + 3 * self.row.rescalings + 13
        bound = bound + 2 * u.tiny * (unit * steps[..., None] + folded) + 2 * soft.stored_tiny * folded
        bound = bound + u.alignment * (folded + unit * u.least_factor * steps[..., None])
        bound = bound + self._flushed(folded, unit * steps[..., None])
        eager = back.output_times > 1  # dS K is stored before the scale multiplies it
        unit = unit if eager else 1.0
        unscaled = sized if eager else None
        written = self._written(exact.grad_query.midpoint, bound, exact.grad_query.radius, unit, unscaled)
        return np.where(np.any(element.attended, axis=3, keepdims=True), written, 0.0)

    def _key_bounds(self, element: Element, origin: Origin) -> dict[str, Array]:
        """BWD-4: dK and dV, over the queries of a group."""
        turned = element.arranged(lambda matrix: np.swapaxes(matrix, 2, 3))
        return {
            "grad_key": self._key_bound(turned, np.abs(self._query), self.exact.grad_key),
            "grad_value": self._value_bound(turned, np.abs(self._grad_output), self.exact.grad_value, origin),
        }

    def _key_bound(self, turned: Element, query: Array, gradient: Enclosure) -> Array:
        """BWD-4: dK, where rows are keys, and query holds the sizes of what stands in the columns."""
        u, soft, back, scale = self.precision, self.precision.of(Softmax), self.precision.of(Backward), self._scale
        seen, group = turned.attended.sum(axis=3).astype(np.float64), self.instance.group
        count = self._grouped(seen)
        unit = max(1.0, scale)
        sized = (turned.most * turned.slope) @ query
        largest = scale * sized
        heads = scale * ((turned.one * turned.slope + turned.most * turned.off) @ query)
        heads = heads + unit * (turned.lost @ query)
        folded = unit * turned.most.sum(axis=3)[..., None]
        steps = unit * (seen + 12)[..., None]
        heads = heads + 2 * u.tiny * (steps + folded) + u.alignment * (folded + u.least_factor * steps)
        heads = heads + 2 * soft.stored_tiny * folded + self._flushed(folded, steps)
        bound = self._grouped(heads)
        sums = gamma(soft.depth(count) + group + 8, u.accumulate)[..., None] + self._entry
        bound = bound + sums * self._grouped(largest)
        eager = back.output_times > 1
        unit = unit if eager else 1.0
        if group > 1:  # heads may be stored, and so may their sum after every addition but the last
            stored = compound(*[u.output] * (back.output_times + group - 2))
            bound = bound + stored * self._grouped(largest) + group * back.output_times * unit * u.output_tiny
        unscaled = self._grouped(sized) if eager else None
        written = self._written(gradient.midpoint, bound, gradient.radius, unit, unscaled)
        if group > 1:
            written = self._fitting(self._grouped(largest), u.largest_output, written)
        return np.where((count == 0)[..., None], 0.0, written)

    def _value_bound(self, turned: Element, grad_output: Array, gradient: Enclosure, origin: Origin) -> Array:
        """BWD-4: dV likewise."""
        u, soft = self.precision, self.precision.of(Softmax)
        seen, group = turned.attended.sum(axis=3).astype(np.float64), self.instance.group
        count = self._grouped(seen)
        largest = turned.probability @ grad_output
        heads = turned.off_probability @ grad_output
        heads = heads + (self._lost + 2 * u.tiny) * (turned.attended.astype(np.float64) @ grad_output)
        steps = (seen + 4)[..., None]
        mass = (turned.probability.sum(axis=3) * self._divided(origin).max(axis=2, keepdims=True, initial=1.0))[
            ..., None
        ]
        heads = heads + 2 * u.tiny * (steps + mass) + u.alignment * (mass + u.least_factor * steps)
        heads = heads + self._flushed(mass, steps, of_values=True)
        bound = self._grouped(heads)
        tiles = 0.0 if origin.handed else float(self.row.tiles.max(initial=0.0))
        sums = gamma(soft.depth(count) + group + 4 + tiles, u.accumulate)[..., None] + self._value_entry
        bound = bound + sums * self._grouped(largest)
        if group > 1:
            bound = bound + compound(*[u.output] * (group - 1)) * self._grouped(largest) + group * u.output_tiny
        written = self._written(gradient.midpoint, bound, gradient.radius)
        room = u.largest_output if group > 1 else soft.largest_sum
        written = self._fitting(2 * self._grouped(largest), room, written)
        return np.where((count == 0)[..., None], 0.0, written)

    @property
    def _scale(self) -> float:
        assert self.instance.scale is not None
        return abs(self.instance.scale)

    @property
    def _entry(self) -> Array:
        """What queries and keys are rounded on entry to the products with dS."""
        soft = self.precision.of(Softmax)
        return compound(soft.query_rounding, soft.query_rounding)

    @property
    def _value_entry(self) -> Array:
        """What dO is rounded on entry to its product with the probabilities."""
        soft = self.precision.of(Softmax)
        return compound(soft.value_rounding, soft.value_rounding)

    def _flushed(self, mass: Array, steps: Array, *, of_values: bool = False) -> Array | float:
        """What is lost where factors of a sum are themselves products that underflow: nothing here.

        mass: the sum of the other factors.  steps: how many partial sums may be stored.
        """
        return 0.0

    def _bias_bound(self, one: Array) -> Array:
        """BWD-4: dBias, whose parts may be stored before they are added."""
        u = self.precision
        bias, value, gradient = self.instance.bias, self.exact.grad_bias, self.exact.score_gradient
        assert bias is not None
        assert value is not None
        assert gradient is not None
        wide = (1,) * (4 - bias.ndim) + bias.shape
        over = tuple(axis for axis, (n, m) in enumerate(zip(one.shape, wide, strict=True)) if n != m)
        size = np.abs(gradient.midpoint) + gradient.radius + one
        parts = self._attended.sum(axis=over, keepdims=True).astype(np.float64)
        bound = one
        if over:
            stored = np.where(self._attended, u.output * size + u.output_tiny, 0.0)
            bound = (one + stored).sum(axis=over, keepdims=True)
            bound = bound + gamma(parts, u.accumulate) * size.sum(axis=over, keepdims=True)
        written = self._written(value.midpoint, bound.reshape(bias.shape), value.radius)
        if over:
            sizes = size.sum(axis=over, keepdims=True).reshape(bias.shape)
            written = self._fitting(sizes, u.largest_output, written)
        return np.where(parts.reshape(bias.shape) > 0, written, 0.0)

    def _left(self, lam: Array, beta: Array, alpha: Array, one: Array, most: Array, *, running: bool) -> Array:
        """BWD-1: ζ_i, what the computed dS of a row, less dlse, may add up to.

        running: what the running maxima of a row may be left with together.
        """
        u, back, pair = self.precision, self.precision.of(Backward), self._pair
        if back.output_times == 1:  # what is differentiated automatically rounds no operand of a matrix product
            grown = np.exp(lam)[..., None]
            rho = compound(np.expm1(np.minimum(self.row.spread[..., : self._keys], 700.0)), gamma(4, u.product))
            rest = alpha + beta[..., None]
            lost = np.where(self._attended, self._lost * (pair.difference + rest) + 4 * u.tiny, 0.0)
            one = pair.probability * (
                compound(np.expm1(lam)[..., None], rho) * pair.difference + grown * (1 + rho) * rest
            )
            one, most = one + lost, pair.probability * grown * (1 + rho) * (pair.difference + rest)
        error, size = one.sum(axis=3), most.sum(axis=3) + self._grad_lse
        if self.instance.sink is not None:
            of_sink, sink = self._sink_part(lam, beta)
            error, size = error + of_sink + u.output * sink + u.output_tiny, size + sink
        steps: Array | float = 1.0
        if running:
            soft, (d_v, eta) = u.of(Softmax), (self.instance.value.shape[3], self._eta[..., : self._keys])
            parts = pair.probability * np.exp(lam)[..., None] * (1 + eta)
            parts = (parts * (pair.moduli + (self._delta + self._grad_lse + beta)[..., None])).sum(axis=3)
            rate = gamma(self.row.depth + 3 * self.row.tiles + d_v + 8, u.accumulate)
            error = error + 2 * compound(soft.probability, soft.value_rounding, soft.value_rounding, rate) * parts
            size = size + 2 * parts
            steps = self.row.tiles + (self.instance.sink is not None)
        stored = compound(*[back.score_gradient] * 3)
        error = (1 + stored) * error + compound(gamma(self.row.depth + 6, u.accumulate), stored) * (size + error)
        return np.asarray((error + 3 * back.score_gradient_tiny + 8 * u.tiny) * steps * SLACK)

    @functools.cached_property
    def _may_be_largest(self) -> NDArray[np.bool_]:
        """Which keys may have the largest computed score of their row, or tie with it."""
        score = np.where(self._attended, self.attention.score.midpoint[..., : self._keys], -np.inf)
        return np.asarray((score >= self._least_of_largest[..., None]) & self._attended)

    @functools.cached_property
    def _sink_may_be_largest(self) -> NDArray[np.bool_]:
        """In which rows the sink may have the largest computed score, or tie with it."""
        assert self.instance.sink is not None
        return np.asarray(self.instance.sink.astype(np.float64)[None, :, None] >= self._least_of_largest)

    @functools.cached_property
    def _least_of_largest(self) -> Array:
        """(b, h_q, n_q): what the exact score of a key is at least whose computed score is the largest of its row."""
        exact = self.attention
        score = np.where(self._attended, exact.score.midpoint[..., : self._keys], -np.inf)
        radius = np.where(self._attended, exact.score.radius[..., : self._keys], 0.0).max(axis=3, initial=0.0)
        largest = score.max(axis=3, initial=-np.inf)
        slack = 2 * self.row.score_error + 2 * radius + 1e-9 * np.where(np.isfinite(largest), np.abs(largest), 0.0)
        return np.asarray(largest - np.where(np.isfinite(slack), slack, np.inf))

    def _sink_part(self, lam: Array, beta: Array) -> tuple[Array, Array]:
        """What −p_i,sink δ_i may be off before it is stored, and how large it may be."""
        p, eta = self.row.probability[..., -1] * SLACK, self._eta[..., -1]
        rate = compound(np.expm1(lam), eta, gamma(4, self.precision.product))
        size = p * (1 + rate) * (self._delta + beta)
        return p * (rate * self._delta + (1 + rate) * beta) + self._lost * (self._delta + beta), size

    def _sink_bound(self, lam: Array, beta: Array, left: Array) -> Array:
        """BWD-4: dSink.  left: ζ_i in the rows in which it may reach the sink."""
        u = self.precision
        value = self.exact.grad_sink
        assert value is not None
        error, size = self._sink_part(lam, beta)
        error, size = error + left, size + left
        b, _, n_q = size.shape
        error = error + u.output * size + u.output_tiny + 4 * u.tiny
        over = (0, 2)
        bound = error.sum(axis=over) + gamma(b * n_q + 8, u.accumulate) * size.sum(axis=over)
        written = self._written(value.midpoint, bound, value.radius)
        return self._fitting(size.sum(axis=over), u.largest_output, written)

    def _fitting(self, sizes: Array, largest: float, bound: Array) -> Array:
        """The bound where numbers of these sizes can be stored without overflow, and +inf elsewhere."""
        return np.where(sizes * (1 + 4 * self.precision.output) <= largest, bound, np.inf)

    def _written(
        self, value: Array, bound: Array, radius: Array, unit: float = 1.0, unscaled: Array | None = None
    ) -> Array:
        """The bound after the gradient is rounded to the type of the output; +inf where it may overflow there.

        unit: what an absolute rounding may still be multiplied by.  unscaled: the size of what is stored before the
        scale multiplies it.
        """
        u, back = self.precision, self.precision.of(Backward)
        size = np.abs(value) + radius
        rounded = compound(*[u.output] * back.output_times) * (size + bound)
        rounded = rounded + back.output_times * unit * u.output_tiny + 2 * u.tiny
        total = (bound + rounded) * SLACK + radius
        stored = size + bound if unscaled is None else np.maximum(size + bound, unscaled)
        return self._fitting(stored, u.largest_output, total)

    def _grouped(self, array: Array) -> Array:
        """The sum over the query heads of every group."""
        b, h, *rest = array.shape
        return np.asarray(array.reshape(b, h // self.instance.group, self.instance.group, *rest).sum(axis=2))

    def _grouped_all(self, array: NDArray[np.bool_]) -> NDArray[np.bool_]:
        b, h = array.shape
        return np.asarray(array.reshape(b, h // self.instance.group, self.instance.group).all(axis=2))

    def _inside(self, beta: Array) -> NDArray[np.bool_]:
        """(b, h_q, n_q): the domain of BWD-0, in which nothing that a kernel may form overflows."""
        u, soft, back = self.precision, self.precision.of(Softmax), self.precision.of(Backward)
        assert self.instance.scale is not None
        scale = max(1.0, abs(self.instance.scale))
        every = self._all_moduli + (self._delta + beta)[..., None]
        largest = max(1.0, float(np.abs(self._query).max()), float(np.abs(self._key).max()))
        n_q, n_k = every.shape[2:]
        count = max(n_k, n_q * self.instance.group)
        reach = 2 * count * math.exp(soft.lag) * scale * largest * every.max(axis=3)
        reach = reach * max(1.0, self.instance.softcap or 0.0)
        inside = self.row.inside & (reach <= soft.largest_sum)
        if back.product > 0.0:
            scale *= max(1.0, self.instance.softcap or 0.0)
            inside &= 2 * scale * every.max(axis=3) <= u.largest_output
        elif u.output > 0.0:
            inside &= 2 * scale * np.where(self._attended, every, 0.0).max(axis=3, initial=0.0) <= u.largest_output
        return np.asarray(inside)
