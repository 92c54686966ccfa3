"""What a correct stack of a precision class may err, per element (proofs_notes/layer_collapse.md, LCT-0 to LCT-5).

The exact network is evaluated with everything on its way, and a bound of the errors of a kernel runs along: every
operation makes of the errors of its input those of its output (:mod:`assay.spec.layer_collapse.stages`).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.floating_point import require_usual
from assay.spec.layer_collapse.definition import evaluate
from assay.spec.layer_collapse.rounding import PRECISIONS
from assay.spec.layer_collapse.stages import Machine, Numbers, heads
from assay.spec.precision import precision as precision_named
from assay.spec.precision import reference_accuracy
from assay.spec.rounding import compound, gamma

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.enclosure import Enclosure
    from assay.spec.layer_collapse.instance import Instance
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["PRECISIONS", "certified", "tolerance"]


def certified(
    instance: Instance, precision: Precision, start: Array | None = None
) -> tuple[Mapping[str, Enclosure], Array]:
    """What :func:`~assay.spec.layer_collapse.definition.evaluate` gives, and the tolerance of the class.

    The radii are below a hundredth of the tolerance.  Both grow with the depth, so that an arithmetic of which the unit
    is small enough for one layer is small enough for all.
    """
    strict = reference_accuracy(precision)
    tries = [(strict, True), (strict**1.5, True), (strict, False)]
    if Machine.of(precision).unit > 2.0**-40:
        tries.insert(0, (2.0**-20, True))
    for relative, growing in tries:
        exact = evaluate(instance, relative, growing=growing)
        allowed = tolerance(instance, precision, exact=exact, start=start)
        if (exact["tokens"].radius <= 0.01 * allowed).all():
            break
    return exact, allowed


def tolerance(
    instance: Instance,
    precision: str | Precision,
    output: str = "tokens",
    *,
    exact: Mapping[str, Enclosure] | None = None,
    start: Array | None = None,
) -> Array:
    """The bound on the error of every correct stack of the class, (L, n, d): LCT-5.

    It is +inf from the layer on in which something may leave the range of the class, and for tokens that are padding.
    exact: what :func:`~assay.spec.layer_collapse.definition.evaluate` gives, to save evaluating it again.
    start: what the tokens that a kernel works on may be off from those of the instance, (n, d).
    Raises ``ValueError`` for an unknown class or output.

    >>> from assay.spec.layer_collapse import Instance
    >>> one = np.ones((2, 1, 1, 1), np.float32)
    >>> instance = Instance(np.array([[0.0], [1.0]], np.float32), one, one, one)
    >>> print(*(f"{tolerance(instance, name)[1].max():.0e}" for name in ("float64", "float32", "bfloat16")))
    4e-14 2e-05 8e-02
    """
    if output != "tokens":
        raise ValueError(f"unknown output {output!r}: expected 'tokens'")
    require_usual()
    u = precision_named(precision, PRECISIONS)
    if exact is None:
        return certified(instance, u, start)[1]
    stack = _Stack(instance, Machine.of(u), exact)
    with np.errstate(all="ignore"):
        bound = np.stack(stack.run(np.zeros(instance.tokens.shape) if start is None else start))
    bound = np.where(np.isnan(bound), np.inf, bound)
    if instance.mask is not None:
        bound[:, ~instance.mask] = np.inf
    return bound


class _Stack:
    """The network, with the errors of its numbers."""

    def __init__(self, instance: Instance, machine: Machine, trace: Mapping[str, Enclosure]) -> None:
        self.instance, self.machine, self.trace = instance, machine, trace

    def run(self, start: Array) -> list[Array]:
        """The errors of the tokens after every layer; +inf once something has left the range."""
        instance = self.instance
        tokens = instance.tokens.astype(np.float64)
        x = Numbers(tokens, np.zeros_like(tokens), start)
        after = []
        for layer in range(instance.layers):
            x = self._sublayer(f"{layer}/attention", x, functools.partial(self._attend, layer))
            if instance.up_weights is not None:
                x = self._sublayer(f"{layer}/mlp", x, functools.partial(self._mlp, layer))
            if instance.final_norm and layer == instance.layers - 1:
                x = self._norm("final/norm", x, self.trace[str(layer)])
            after.append(x.error if x.inside else np.full_like(x.error, np.inf))
        return after

    def _sublayer(self, place: str, x: Numbers, function: Callable[[Numbers], Numbers]) -> Numbers:
        instance, y = self.instance, x
        if instance.norm is not None and instance.norm_place == "pre":
            y = self._norm(f"{place}/norm", x, self.trace[f"{place}/input"])
        x = self.machine.added(x, function(y), self.trace[f"{place}/sum"]) if instance.skip else function(y)
        if instance.norm is not None and instance.norm_place == "post":
            return self._norm(f"{place}/norm", x, self.trace[f"{place}/normed"])
        return x

    def _norm(self, place: str, x: Numbers, exact: Enclosure) -> Numbers:
        instance = self.instance
        gain, bias = (instance.parameter(place, part) for part in ("gain", "bias"))
        root, epsilon = self.trace[f"{place}/root"], instance.epsilon or 0.0
        return self.machine.norm(x, root, gain, bias, epsilon, exact, centred=instance.norm == "layer")

    def _attend(self, layer: int, y: Numbers) -> Numbers:
        instance, trace = self.instance, self.trace
        shared = np.arange(instance.query_weights.shape[1]) // instance.group
        query, key, value = (
            self._affine(y, f"{name}_weights", f"{name}_bias", layer, trace[f"{layer}/{name}"])
            for name in ("query", "key", "value")
        )
        key, value = (Numbers(x.value[shared], x.radius[shared], x.error[shared], x.inside) for x in (key, value))
        softmax = trace[f"{layer}/score"], trace[f"{layer}/log_probability"]
        assert instance.scale is not None
        head = heads(
            self.machine, query, key, value, softmax, trace[f"{layer}/head"], instance.scale, instance.attends()
        )
        return self._joined(layer, head, trace[f"{layer}/attention/update"])

    def _joined(self, layer: int, head: Numbers, exact: Enclosure) -> Numbers:
        """Σ_h o_h W_O + b_O: LCT-1."""
        instance, machine = self.instance, self.machine
        h, _, v = head.value.shape
        bias = None if instance.output_bias is None else instance.output_bias[layer].astype(np.float64)
        step, unit = machine.stack.step, machine.unit
        if instance.output_weights is None:
            matrix = np.broadcast_to(np.eye(v), (h, v, v))
            rate = gamma(h - 1 + (bias is not None), unit)
        else:
            matrix = np.abs(instance.output_weights[layer].astype(np.float64))
            rate = (1 + machine.stack.entry) * (1 + machine.stack.weight) * (1 + gamma(h * v + 2, unit)) - 1
        made = (head.size @ matrix).sum(axis=0)
        error = (head.error @ matrix).sum(axis=0) + rate * made
        if h > 1:  # one head after the other, each partial sum stored
            error = error + (2 * h * step) * made + 2 * h * machine.stack.step_tiny
        error = error + machine.lost(head.size.sum(axis=(0, 2))[:, None] + matrix.sum(axis=(0, 1)), h * v)
        partial = None
        if bias is not None:
            error = error + 2 * unit * made
            error = error + compound(machine.stack.weight, gamma(h * v + 2, unit)) * np.abs(bias)
            partial = np.abs(exact.midpoint) + exact.radius + np.abs(bias) + error
        if h == 1 and instance.output_weights is None and bias is None:
            return Numbers(exact.midpoint, exact.radius, head.error[0], head.inside)
        inside = head.inside and bool((4 * made <= machine.precision.largest).all())
        if h > 1 and step:  # the partial sums
            inside = inside and bool((2 * (made + error) <= machine.precision.largest_output).all())
        return machine.stored(exact, error, inside, partial)

    def _affine(self, y: Numbers, weights: str, bias: str | None, layer: int, exact: Enclosure) -> Numbers:
        matrix = getattr(self.instance, weights)[layer].astype(np.float64)
        vector = None if bias is None else getattr(self.instance, bias)
        if vector is not None:
            vector = vector[layer].astype(np.float64)
            vector = vector[:, None, :] if vector.ndim == 2 else vector
        return self.machine.product(y, matrix, vector, exact)

    def _mlp(self, layer: int, y: Numbers) -> Numbers:
        instance, machine, trace = self.instance, self.machine, self.trace
        up = self._affine(y, "up_weights", "up_bias", layer, trace[f"{layer}/up"])
        if instance.gate_weights is None:
            hidden = machine.activated(up, instance.activation, trace[f"{layer}/hidden"])
        else:
            gate = self._affine(y, "gate_weights", None, layer, trace[f"{layer}/gate"])
            opened = machine.activated(gate, instance.activation, trace[f"{layer}/open"])
            hidden = machine.multiplied(opened, up, trace[f"{layer}/hidden"])
        return self._affine(hidden, "down_weights", "down_bias", layer, trace[f"{layer}/mlp/update"])
