"""Firing neurons for the judge: :data:`SUITE`."""

from __future__ import annotations

from assay.conformance.firing_neurons.combinations import AXES, COVERING, FEATURES
from assay.conformance.firing_neurons.families import TABLE, TYPICAL
from assay.conformance.firing_neurons.interface import INTERFACE, criteria
from assay.conformance.firing_neurons.meanings import MEANINGS
from assay.conformance.firing_neurons.options import CHANGES, built, resized
from assay.conformance.firing_neurons.questions import QUESTIONS
from assay.conformance.firing_neurons.targets import TARGETS
from assay.conformance.interface.suite import Suite
from assay.spec import firing_neurons

__all__ = ["SUITE"]

SUITE = Suite(
    problem="firing_neurons",
    spec=firing_neurons,
    interface=INTERFACE,
    criteria=criteria,
    table=TABLE,
    build=built,
    changes=CHANGES,
    meanings=MEANINGS,
    questions=QUESTIONS,
    typical=TYPICAL,
    targets=TARGETS,
    axes=AXES,
    resized=resized,
    covering=COVERING,
    features=FEATURES,
)
