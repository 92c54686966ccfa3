"""The families of sparsification: which points, functions and errors hunt which bug."""

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
    _family("tiny", "graphs of which nothing can be left out; loops, indices out of range, edges in both directions", "scipy/scipy#3838; networkx/networkx#741; nmslib/hnswlib#34",
        smoke="normal 2:2; normal 3:2 laplacian=1; normal 4:3 coulomb=0.5; normal 5:2 rational=1",
        standard="normal 2:1 matern=0.5; normal 3:3 inverse_multiquadric=1; grid 6:2 threshold=8; normal 6:3 polynomial=1"),
    _family("weights", "resistances, roots, 1 in place of weights; both directions added up", "VeinsOfTheEarth/RivGraph#103; networkx/networkx#6925; scipy/scipy#7953",
        smoke="normal 10:2; line 8:1 laplacian=1; star 9:2 rational=2",
        standard="line 14:1 gaussian=0.5; star 14:3 coulomb=0.5; normal 14:2 inverse_multiquadric=4; normal 12:3 arc_cosine=1"),
    _family("bridges", "light edges between clusters left out, though they alone hold the graph together",
        smoke="clusters 12:2 gaussian=0.5; clusters 10:2 laplacian=2; clusters 9:1 gaussian=2",
        standard="clusters 24:2 gaussian=1; clusters 30:3 laplacian=1; line 16:1 gaussian=3; clusters 20:2 gaussian=3 e=0.6"),
    _family("errors", "the root of the error, its double, or an error that is ignored",
        smoke="normal 12:2 e=0.05; normal 14:3 e=0.5 laplacian=0.5; cube 16:2 e=0.8",
        standard="cube 40:3 e=0.5; normal 24:2 e=0.1; cube 30:4 e=0.9 rational=1; normal 16:2 e=0.01"),
    _family("seeds", "a guarantee that some seeds break",
        smoke="cube 24:3 e=0.5 seed=1; cube 24:3 e=0.5 seed=2; cube 24:3 e=0.5 seed=3",
        standard="; ".join(f"cube 32:2 e=0.6 rational=1 seed={seed}" for seed in range(10, 22)),
        thorough="; ".join(f"cube 48:3 e=0.5 laplacian=1 seed={seed}" for seed in range(100, 140))),
    _family("far", "norms and products far from the origin and in tiny clusters around 1", "scikit-learn/scikit-learn#9354, #13410; pytorch/pytorch#42479",
        smoke="far-100 10:2 gaussian=0.5; tiny 9:2 gaussian=100000",
        standard="far-10000 16:2 gaussian=0.5; outlier 12:2 rational=1; tiny 14:3 laplacian=500"),
    _family("dense", "graphs of which most edges can be left out: dimensions, functions, a heavy core",
        smoke="cube 30:2 e=0.6; cube 30:5 e=0.7 rational=1",
        standard="cube 60:3 e=0.7; normal 50:8 e=0.6 gaussian=0.05; origin 40:2 e=0.7 rational=1; cube 64:2 e=0.5 coulomb=0.25",
        thorough="cube 200:3 e=0.5; normal 150:4 e=0.6 gaussian=0.1"),
    shared.laid_out("normal", "9:3"),
    shared.called_before("normal", "9:2", "last", "seed", "error", "parameter"),
    shared.called_together("normal", "10:2"),
)  # fmt: skip

TYPICAL: tuple[Row, ...] = tuple(_said("smoke", "normal 20:3; cube 24:2 laplacian=1 e=0.5"))
