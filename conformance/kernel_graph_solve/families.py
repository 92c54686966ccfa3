"""The families of solves: which points, functions and right sides hunt which bug."""

from __future__ import annotations

import functools

from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row, hunting, worded
from assay.conformance.kernel_graph.points import POINTS

__all__ = ["TABLE", "TYPICAL"]

_said = functools.partial(worded, patterns=POINTS)
#: A family with its rows, which each level adds as a text.
_family = functools.partial(hunting, _said)

#: Every family with its rows; a size is points:dim.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    _family("pairs", "a factor, a sign, a root: two vertices, whose potentials are ±b/(2w)",
        smoke="normal 2:1 gaussian=0.5; normal 2:3 laplacian=1; normal 2:2 coulomb=0.5; normal 3:2 rational=2",
        standard="normal 2:2 matern=1.5; normal 2:2 inverse_multiquadric=3; normal 3:3 polynomial=1; normal 3:1 coulomb=1.5"),
    _family("resistances", "resistances for conductances, roots of weights: potentials of a unit current", "VeinsOfTheEarth/RivGraph#103; networkx/networkx#6925; networkit/networkit#975",
        smoke="line 4:1 b=pole gaussian=0.5; normal 5:2 b=pole rational=2; star 5:2 b=pole; grid 6:2 b=pole inverse_multiquadric=1",
        standard="line 9:2 b=pole laplacian=1; clusters 8:3 b=pole; normal 9:3 b=first matern=2.5; cube 8:2 b=pole coulomb=0.5"),
    _family("functions", "another function or parameter",
        smoke="normal 6:2 laplacian=1.5; normal 6:2 rational=2; normal 5:2 coulomb=0.5; normal 6:3 matern=1.5; normal 5:2 gaussian=0.3; normal 6:2 inverse_multiquadric=0.75",
        standard="normal 9:3 polynomial=2; grid 7:2 threshold=8; normal 8:3 arc_cosine=1; normal 8:2 gaussian=0.125; cube 9:2 laplacian=3; normal 8:4 arc_cosine=0"),
    _family("unequal-degrees", "a normalised Laplacian for the Laplacian, loops in degrees, D + A", "scipy/scipy#10505, #3838, #14490, #7953; networkx/networkx#741",
        smoke="star 6:2 gaussian=0.5; clusters 7:2 laplacian=1; line 6:1 rational=1",
        standard="star 12:3 gaussian=0.4; clusters 14:2 gaussian=0.5; line 12:1 gaussian=0.5 b=halves"),
    _family("weak-bridges", "small eigenvalues taken for 0, a multiple of the identity, iterations that stop early: two clusters far apart",
        smoke="clusters 7:2 gaussian=2 b=halves; clusters 8:2 gaussian=3; clusters 6:1 laplacian=6 b=halves",
        standard="clusters 16:2 gaussian=3; clusters 14:3 gaussian=2 b=pole; line 14:1 gaussian=4 b=pole; wide 6:1 gaussian=0.03"),
    _family("far", "norms and products far from the origin and in tiny clusters around 1", "scikit-learn/scikit-learn#9354, #13410; pytorch/pytorch#42479",
        smoke="far-100 6:2 gaussian=0.5; tiny 5:2 gaussian=100000; far-10000 5:2 rational=1",
        standard="far-10000 8:2 gaussian=0.5; outlier 6:2 rational=1; tiny 8:3 laplacian=500; far-100 9:3 matern=1.5"),
    _family("right-sides", "an entry of the right side left out; large and small ones; one that is read backwards",
        smoke="normal 5:2 b=large; normal 5:2 b=small; normal 4:2 b=first; normal 6:2 b=halves",
        standard="normal 9:3 b=large rational=1; cube 9:2 b=small; normal 9:2 b=halves laplacian=1; normal 12:2 b=pole"),
    _family("tolerances", "a residual that is small where the energy of the error is not; a tolerance that is ignored",
        smoke="clusters 7:2 gaussian=1 t=0.01; normal 6:2 t=0.001; line 7:1 gaussian=2 t=0.0001",
        standard="clusters 12:2 gaussian=2 t=0.001; line 12:1 gaussian=3 t=0.01 b=halves; normal 10:2 t=0.1; clusters 9:2 gaussian=1 b=nearby t=0.01; clusters 12:3 gaussian=1 b=nearby t=0.01; clusters 9:1 laplacian=3 b=nearby t=0.01"),
    _family("sizes", "the last vertex, or all beyond a tile",
        smoke="normal 9:2; normal 17:3; cube 33:2 laplacian=2",
        standard="normal 16:2; normal 31:3; cube 65:2 gaussian=4; normal 40:5 rational=1",
        thorough="cube 129:2 gaussian=8; cube 200:3 laplacian=3"),
    shared.laid_out("normal", "6:3"),
    shared.called_before("normal", "6:2", "last", "side", "parameter", "tolerance"),
    shared.called_together("normal", "7:2"),
)  # fmt: skip

TYPICAL: tuple[Row, ...] = tuple(_said("smoke", "normal 16:3; cube 16:2 laplacian=2"))
