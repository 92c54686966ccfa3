"""The families of a training step: which data, layers and thresholds hunt which bug."""

from __future__ import annotations

import functools

from assay.conformance.firing_neurons_training.options import NUMBERS
from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row, hunting, worded

__all__ = ["TABLE", "TYPICAL"]

_said = functools.partial(worded, patterns=NUMBERS)
#: A family with its rows, which each level adds as a text.
_family = functools.partial(hunting, _said)

#: Every family with its rows; a size is points/neurons:dim:outputs.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    _family("steps", "a factor of the loss, a sign, a mean in place of a sum, the outer weights left out",
        smoke="normal whole 4/5:3:1; normal 5/7:4:2", standard="normal 9/12:8:3; whole 8/9:6:2"),
    _family("ties", "a correlation at the threshold, which does not fire",
        smoke="whole 4/6:3:1 tie; whole 5/7:4:2 tie", standard="whole 12/15:6:2 tie; whole 7/9:5:1 b=0"),
    _family("thresholds", "a threshold that is left out of the forward pass or of the backward one, or is of the wrong sign",
        smoke="normal 4/6:3:1 b=1; normal 4/6:3:2 b=-1; normal 5/4:3:1 b=0", standard="normal 9/11:5:2 b=2; whole 8/9:4:1 b=-2"),
    _family("losses", "the gradient of another loss, a softmax that overflows or is left out, weights of classes",
        smoke="normal 4/6:3:3 cross_entropy; whole 5/6:4:2 cross_entropy; normal 5/6:3:3 cross_entropy weights", standard="normal 9/12:8:10 cross_entropy; normal 6/7:3:1 cross_entropy; positive 5/40:6:3 cross_entropy"),
    _family("rates", "a step of the wrong sign, taken twice, or not at all",
        smoke="normal 4/5:3:1 rate=1; normal 4/5:3:2 rate=-0.5; normal 3/5:3:1 rate=0", standard="whole 6/7:4:2 rate=2; normal 6/7:4:2 rate=0.001"),
    _family("few-fire", "neurons that fire on no point, or on all of them",
        smoke="normal 4/6:3:1 b=9; positive 4/6:3:2 b=-9; small 4/5:3:1 b=0", standard="normal 9/20:6:2 b=4; small 6/9:4:2 b=0.001"),
    _family("edges", "the last point, neuron, coordinate or output left out",
        smoke="normal 1/1:1:1 b=0; normal 5/1:2:1; normal 1/5:2:3; normal 4/5:3:2 late", standard="normal 17/33:9:2; normal 33/17:5:3; normal 7/5:17:1 late"),
    shared.laid_out("normal", "4/5:3:2"),
    shared.called_before("normal", "4/5:3:2", "threshold", "rate", "targets"),
    shared.called_together("normal", "5/6:4:2"),
)  # fmt: skip

TYPICAL: tuple[Row, ...] = tuple(_said("smoke", "normal 12/20:8:2 b=1"))
