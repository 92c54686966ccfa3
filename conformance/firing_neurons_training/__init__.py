"""A training step of two layers for the judge: :data:`SUITE`."""

from __future__ import annotations

from assay.conformance.firing_neurons_training.families import TABLE, TYPICAL
from assay.conformance.firing_neurons_training.interface import INTERFACE, criteria
from assay.conformance.firing_neurons_training.meanings import MEANINGS
from assay.conformance.firing_neurons_training.options import AXES, CHANGES, built, resized
from assay.conformance.firing_neurons_training.targets import TARGETS
from assay.conformance.interface.suite import Suite
from assay.conformance.profile.questions import REPEATS, nan_in
from assay.spec import firing_neurons_training

__all__ = ["SUITE"]

SUITE = Suite(
    problem="firing_neurons_training",
    spec=firing_neurons_training,
    interface=INTERFACE,
    criteria=criteria,
    table=TABLE,
    build=built,
    changes=CHANGES,
    meanings=MEANINGS,
    questions=(REPEATS, nan_in("data", "a NaN among the data"), nan_in("weights", "a NaN among the weights")),
    typical=TYPICAL,
    targets=TARGETS,
    axes=AXES,
    resized=resized,
    factors=("rate",),
)
