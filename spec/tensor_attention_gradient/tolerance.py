"""What a correct backward pass of attention of order k may err, per element (proofs_notes/tensor_attention.md).

It is the tolerance of the gradient of attention (BWD-1 to BWD-5) to N combinations of keys, whose scores are those of
TOLT-1.  The gradient of a mode is a sum over queries and the combinations of the other modes (TOLT-2).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from assay.spec import tensor_attention
from assay.spec.attention_gradient.tolerance import HANDED, OWN, RUNNING, Origin
from assay.spec.attention_gradient.tolerance import Bounds as OfAttention
from assay.spec.floating_point import require_usual
from assay.spec.memory import require_evaluable
from assay.spec.precision import Precision, reference_accuracy
from assay.spec.precision import precision as precision_named
from assay.spec.rounding import compound
from assay.spec.softmax.rounding import Softmax
from assay.spec.softmax.weights import weights
from assay.spec.tensor_attention.definition import of_modes
from assay.spec.tensor_attention.rounding import Pairs
from assay.spec.tensor_attention.tolerance import combined_class, combined_products
from assay.spec.tensor_attention_gradient.definition import Exact, by_mode, evaluate, over_combinations_too
from assay.spec.tensor_attention_gradient.rounding import PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from assay.spec.attention_gradient.tolerance import Element
    from assay.spec.tensor_attention_gradient.instance import Incoming

    Array = NDArray[np.float64]

__all__ = ["HANDED", "OWN", "RUNNING", "Bounds", "Origin", "tolerance"]


def tolerance(
    instance: Incoming, precision: str | Precision, output: str = "grad_query", *, exact: Exact | None = None
) -> NDArray[np.float64]:
    """The bound on the error of every correct kernel of the class ``precision``, per element of ``output``.

    It is the largest over the origins of a kernel that differentiates its own forward pass, as for
    :func:`assay.spec.attention_gradient.tolerance`.  Shaped like the array that the output is the gradient of; +inf
    outside the domain of the class, where no kernel is judged.
    Source: proofs_notes/tensor_attention.md, TOLT-2.  Raises ``ValueError`` for an unknown class, or an output that the
    instance does not have.

    >>> from assay.spec.tensor_attention_gradient import Instance
    >>> x = np.ones((1, 1, 2, 1), np.float32)
    >>> print(f"{tolerance(Instance(x, x, x, x, x, x), 'float32', 'grad_value2').max():.0e}")
    2e-05
    """
    if output not in instance.outputs():
        raise ValueError(f"unknown output {output!r}: expected one of {', '.join(instance.outputs())}")
    require_usual()
    bounds = Bounds(instance, precision_named(precision, PRECISIONS), exact)
    return np.asarray(np.max([bounds.of(origin)[output] for origin in OWN], axis=0))


class Bounds(OfAttention):
    """The tolerances of an instance in a class, for every origin."""

    def __init__(self, instance: Incoming, precision: Precision, exact: Exact | None = None) -> None:
        require_evaluable(instance)
        accuracy = reference_accuracy(precision)
        self.tensor, self.machine, self.forward = instance, precision, instance.forward()
        self.gradients = evaluate(instance, accuracy) if exact is None else exact
        self.exact = self.gradients
        self.instance, self.precision = over_combinations_too(instance), combined_class(self.forward, precision)
        self.attention = tensor_attention.evaluate(self.forward, accuracy)
        scores = combined_products(self.forward, precision)
        self.row = weights(self.instance, self.precision, self.attention, scores)

    @functools.cached_property
    def _forward_tolerances(self) -> tuple[Array, Array, Array]:
        u = self.machine
        kept = tuple(stage for stage in u.stages if not isinstance(stage, Softmax))
        unrounded = dataclasses.replace(u, output=0.0, output_tiny=0.0, stages=(*kept, u.of(Softmax)))
        held, lse, wide = (
            tensor_attention.tolerance(self.forward, c, name, exact=self.attention)
            for c, name in ((u, "output"), (u, "log_sum_exp"), (unrounded, "output"))
        )
        return held, lse, wide

    # --- products of several factors ----------------------------------------------------------------------------------

    @property
    def _pairs(self) -> Pairs:
        return self.machine.of(Pairs)

    @property
    def _tiny(self) -> float:
        """What a product of two factors loses among small numbers, or as a factor of a matrix unit."""
        return self._pairs.product_tiny + self.machine.tiny + self.machine.alignment

    @property
    def _more(self) -> int:
        """How many products of two operands may be rounded: a factor of a sum, and a partial sum, for every mode."""
        return 2 * (self.tensor.order - 2) + self._pairs.more

    @property
    def _entry(self) -> Array:
        soft, modes = self.machine.of(Softmax), self.tensor.order - 2
        products = [self._pairs.product] * self._more + [self.machine.product] * (2 * modes)
        return compound(*[soft.query_rounding] * self.tensor.order, *products)

    @property
    def _value_entry(self) -> Array:
        soft, modes = self.machine.of(Softmax), self.tensor.order - 2
        products = ([self._pairs.product] * 2 + [self.machine.product] * 2) * modes
        return compound(*[soft.value_rounding] * self.tensor.order, *products)

    def _flushed(self, mass: Array, steps: Array, *, of_values: bool = False) -> Array | float:
        if not self._more:
            return 0.0
        reach = self._value_reach if of_values else self._score_reach
        return 2 * self._more * self._tiny * reach * (mass + steps)

    def _product_error(self, start: Array, origin: Origin) -> Array:
        alpha = super()._product_error(start, origin)
        modes = self.tensor.order - 2
        if not modes:
            return alpha
        lost = 4 * modes * self._tiny * self._value_reach
        lost = lost * self.instance.value.shape[3] * self._divided(origin)[..., None]
        return np.where(self._attended, alpha + lost, 0.0)

    def _vanished_products(self, origin: Origin) -> Array:
        lost = 2 * (self.tensor.order - 2) * self.instance.value.shape[3] * self._value_reach
        lost = self._vanished(origin)[..., None] * lost
        return super()._vanished_products(origin) + np.where(self._attended, lost, 0.0)

    @property
    def _beside(self) -> float:
        """The values of the other modes, and what the products with them lose."""
        rest = self.tensor.order - 2
        return (1 + 2 * rest) * self._value_reach if rest else 1.0

    @functools.cached_property
    def _score_reach(self) -> float:
        """What products of queries and keys may be as large as."""
        return _largest([self.tensor.query, *self.tensor.mode_keys])

    @functools.cached_property
    def _value_reach(self) -> float:
        """What products of dO and values may be as large as."""
        return _largest([self.tensor.grad_output, *self.tensor.mode_values])

    def _inside(self, beta: Array) -> NDArray[np.bool_]:
        inside = super()._inside(beta)
        if self.tensor.order == 2:
            return inside
        soft, u, scale = self.machine.of(Softmax), self.machine, max(1.0, self._scale)
        every = (self._all_moduli + (self._delta + beta)[..., None]).max(axis=3)
        n_q, combinations = every.shape[2], self.tensor.combinations
        count = max(combinations, n_q * self.instance.group * combinations // min(self.tensor.mode_lengths))
        reach = 2 * scale * self._score_reach * np.maximum(every, 1.0)
        inside &= count * math.exp(soft.lag) * reach <= soft.largest_sum
        inside &= 2 * count * math.exp(soft.lag) * self._value_reach <= soft.largest_sum
        if self._pairs.product > 0.0:
            inside &= (reach <= u.largest_output) & (2 * self._value_reach <= u.largest_output)
        if u.stored > 0.0:  # partial sums over queries and over one of the modes are stored
            stored = reach.sum(axis=2, keepdims=True) * self.instance.group
            inside &= (stored <= u.largest_output) & (
                2 * n_q * self.instance.group * self._value_reach <= u.largest_output
            )
        return np.asarray(inside)

    # --- modes --------------------------------------------------------------------------------------------------------

    def _key_bounds(self, element: Element, origin: Origin) -> dict[str, Array]:
        made = {}
        group = self.instance.group
        keys, values = (
            [np.abs(np.repeat(x.astype(np.float64), group, axis=1)) for x in modes]
            for modes in (self.tensor.mode_keys, self.tensor.mode_values)
        )
        query, grad_output = np.abs(self._query), np.abs(self._grad_output)
        for mode in range(1, self.tensor.order):
            turned = element.arranged(functools.partial(by_mode, instance=self.tensor, mode=mode))
            others, values_of_others = ([x for m, x in enumerate(xs, 1) if m != mode] for xs in (keys, values))
            key, value = self.gradients.mode_keys[mode - 1], self.gradients.mode_values[mode - 1]
            made[f"grad_key{mode}"] = self._key_bound(turned, of_modes([query, *others]), key)
            of_value = of_modes([grad_output, *values_of_others])
            made[f"grad_value{mode}"] = self._value_bound(turned, of_value, value, origin)
        return {name: made[name] for name in self.tensor.outputs() if name in made}


def _largest(arrays: Sequence[NDArray[np.float64]]) -> float:
    with np.errstate(over="ignore"):
        return float(np.prod([max(1.0, float(np.abs(x.astype(np.float64)).max())) for x in arrays]))
