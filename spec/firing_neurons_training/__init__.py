"""One step of training two layers of which few neurons fire (Alman, Liang, Song, Zhang and Zhuo 2024).

A kernel is ``(data, targets, weights, outer, *, threshold, rate, loss)`` with arrays (n, d), (n, c), (m, d) and (m, c);
``loss`` is ``"squared"`` or ``"cross_entropy"``, each summed over the data.  It returns ``(output, gradient,
new_weights)``: f(x_i) = Σ_r outer_r·max(⟨w_r, x_i⟩ − threshold, 0) before the step, (n, c); the gradient of the loss in
the weights, (m, d), in which a neuron counts on the data on which it fires, ties excluded; and weights − rate·gradient,
(m, d).  The outer weights stay as they are.
"""

from __future__ import annotations

from assay.spec.firing_neurons_training.criteria import criteria
from assay.spec.firing_neurons_training.definition import define, evaluate, symbolic
from assay.spec.firing_neurons_training.instance import Instance, load
from assay.spec.firing_neurons_training.laws import LAWS
from assay.spec.firing_neurons_training.tolerance import PRECISIONS, errors, tolerance

__all__ = [
    "LAWS", "NAME", "OUTPUTS", "PRECISIONS", "Instance", "criteria", "define", "errors", "evaluate", "load", "symbolic",
    "tolerance",
]  # fmt: skip

NAME = "firing_neurons_training"
OUTPUTS: tuple[str, ...] = ("output", "gradient", "new_weights")
