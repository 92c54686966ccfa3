"""The families of kernel graphs: which points, functions, sizes and options hunt which bug."""

from __future__ import annotations

import functools

from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row, hunting, worded
from assay.conformance.kernel_graph.points import POINTS

__all__ = ["TABLE", "TYPICAL"]

_said = functools.partial(worded, patterns=POINTS)
#: A family with its rows, which each level adds as a text.
_family = functools.partial(hunting, _said)

#: Every function that is finite at 0, for rows that have a line for each.
_SMOOTH = ("gaussian=0.5", "laplacian=1", "rational=2", "matern=1.5", "inverse_multiquadric=0.75")


def _each(text: str, functions: tuple[str, ...] = _SMOOTH) -> str:
    return "; ".join(f"{text} {function}" for function in functions)


#: Every family with its rows; a size is points/targets x columns : dim.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    _family("functions", "another function: roots and squares exchanged, a root left out, a power inside or outside, an order of Matérn",
        smoke="normal 5x2:2 gaussian=0.5; normal 5x2:2 laplacian=1; normal 5x2:2 rational=2; normal 5x2:2 matern=1.5; normal 4:3 matern=0.5; normal 4:3 matern=2.5; normal 5x2:2 inverse_multiquadric=0.75; normal 4:3 coulomb=0.5; normal 4:2 coulomb=1.5; normal 5x2:2 polynomial=3; normal 4:2 polynomial=1; grid 6:2 threshold=3",
        standard=f"{_each('normal 9x3:4')}; {_each('cube 12x2:3')}; normal 9x2:3 coulomb=1; normal 8x2:3 polynomial=2; normal 7:2 polynomial=5"),
    _family("parameters", "a parameter that divides, is σ, is halved, squared, rounded or ignored; a parameter that is no integer gives NaN", "getkeops/keops#370, #282; scikit-learn/scikit-learn#9523; networkit/networkit#975",
        smoke="normal 4:2 gaussian=0.3; normal 4:5 gaussian=1.7; normal 5:2 laplacian=2.5; normal 4:2 rational=0.5; normal 4:2 inverse_multiquadric=3; cube 4:2 gaussian=5; normal 5:2 coulomb=2.5",
        standard="normal 7x2:6 gaussian=0.125; normal 7x2:3 gaussian=1; cube 12:4 laplacian=0.7; normal 6:3 rational=3.5; normal 9:2 inverse_multiquadric=0.1; cube 8:3 gaussian=20"),
    _family("far-100", "norms and products where differences are declared, 100 away from the origin", "scikit-learn/scikit-learn#9354, #13410; pytorch/pytorch#42479, #57690; open-mmlab/mmcv#2178",
        smoke="far-100 5x2:2 gaussian=0.5; far-100 5:1 laplacian=1; far-100 6:2 coulomb=0.5",
        standard=_each("far-100 8x2:3") + "; far-100 6:2 polynomial=2; far-100 30:2 gaussian=0.5"),
    _family("far-10000", "norms and products where differences are declared, 10,000 away from the origin", "scikit-learn/scikit-learn#9354; pytorch/pytorch#57690, #123082",
        smoke="far-10000 5x2:2 gaussian=0.5; far-10000 4:1 rational=1; far-10000 4:2 laplacian=1",
        standard=_each("far-10000 8x2:2") + "; far-10000 6:2 degrees gaussian=0.5"),
    _family("tiny-cluster", "norms and products of a tiny cluster around 1: 1.000 and 1.001 in many dimensions", "pytorch/pytorch#57690; scikit-learn/scikit-learn#13554",
        smoke="tiny 4:3 gaussian=100000; tiny 4:100 laplacian=100; tiny 5:2 coulomb=0.5",
        standard="tiny 6x2:1000 laplacian=30; tiny 8x2:3 gaussian=300000; tiny 6:4 polynomial=1; tiny 7:2 laplacian=1000 degrees"),
    _family("outlier", "one point far away, which spoils norms and products, centres, grids and boxes of all others", "scikit-learn/scikit-learn#9354",
        smoke="outlier 6x2:2 gaussian=0.5; outlier 5:1 laplacian=1",
        standard=_each("outlier 9x2:3") + "; outlier 30:2 gaussian=0.5; outlier 9:2 degrees rational=1"),
    _family("rows-25-26", "another route from some number of points on: the value of a pair depends on how many share the call", "pytorch/pytorch#37734", keeps=("points",),
        smoke="far-100 25:2 gaussian=0.5; far-100 26:2 gaussian=0.5; far-10000 26:2 laplacian=1",
        standard="far-100 24/25:2 gaussian=0.5; far-100 26/25:2 gaussian=0.5; far-10000 25/26x2:2 laplacian=1; far-10000 26:3 matern=1.5; far-100 65:2 gaussian=0.5"),
    _family("coincident", "points that are equal: a root of a negative number, 0/0, a distance of a point to itself that is not 0", "pytorch/pytorch#37154, #36493, #45720, #42479; cornellius-gp/gpytorch#869; scikit-learn/scikit-learn#343",
        smoke="pairs 6x2:2 laplacian=1; pairs 5:3 matern=1.5; all-equal 4:3 gaussian=1; pairs 6/4x2:2 laplacian=1 same",
        standard=_each("pairs 9x2:5") + "; all-equal 6x2:4 matern=0.5; pairs 8:7 laplacian=2 scale=30; pairs 8/8:3 matern=2.5 same; pairs 30:3 laplacian=1"),
    _family("diagonal", "f(0) where the diagonal is 0, the diagonal ignored, 1, or added to f(0)", "networkx/networkx#741; scikit-learn/scikit-learn#811",
        smoke="normal 4x2:2 diagonal=2; normal 3:2 diagonal=-0.5 coulomb=0.5; normal 1:2; normal 4:2 diagonal=1; normal 5:2 diagonal=3 polynomial=2",
        standard=_each("normal 8x2:3 diagonal=0.25") + "; grid 8:2 diagonal=1 threshold=2; wide 5:2 gaussian=1 diagonal=5"),
    _family("targets", "points and targets exchanged, targets ignored, a point left out of sums that have none of their own", keeps=("targets",),
        smoke="normal 5/3x2:2 gaussian=0.5; normal 4/4x2:2 laplacian=1; normal 3/7:3 rational=1; normal 6/6:2 gaussian=0.5 same; normal 4/5:2 coulomb=0.5; normal 1/1:1; grid 6/5x2:2 threshold=3",
        standard=_each("normal 9/13x2:4") + "; normal 12/12:3 matern=2.5 same; normal 7/9:2 polynomial=3; normal 33/5:2; normal 5/33:2"),
    _family("laplacian", "A for L, A − D, D + A, normalised Laplacians, roots or numbers of neighbours for degrees, loops in degrees", "scipy/scipy#3838, #14490, #3835, #10505, #7953; scikit-learn/scikit-learn#811; networkx/networkx#741",
        smoke="star 5x2:2 degrees; clusters 6x2:2 degrees laplacian=1; normal 2:2 degrees; normal 4:2 degrees coulomb=0.5; grid 6:2 degrees threshold=2; normal 5:2 degrees polynomial=1; normal 3:1 degrees v=ones",
        standard=_each("star 9x3:3 degrees") + "; clusters 12x2:2 degrees gaussian=2; line 8:2 degrees v=unit; normal 9x2:3 degrees rational=1 v=ones; clusters 20:3 degrees matern=0.5"),
    _family("ties", "a threshold of distances and not of their squares; what is beyond it; distances that are just at it",
        smoke="grid 6x2:2 threshold=2; grid 7:3 threshold=4; grid 5:2 threshold=0; grid 6:1 threshold=9",
        standard="grid 12x2:3 threshold=5; grid 16:2 threshold=1; grid 9/8x2:4 threshold=6; grid 10:2 degrees threshold=4; normal 12:2 threshold=1.5"),
    _family("sphere", "arc-cosine functions: another order, 1/π left out, the angle of equal and of opposite points",
        smoke="normal 5x2:3 arc_cosine=0; normal 5x2:3 arc_cosine=1; normal 4:3 arc_cosine=2; pairs 4:2 arc_cosine=1",
        standard="normal 9x2:8 arc_cosine=0; normal 9x2:5 arc_cosine=1 degrees; normal 8x2:4 arc_cosine=2; pairs 6/5x2:3 arc_cosine=1 same; tiny 6:3 arc_cosine=0; grid 9:2 arc_cosine=1; normal 6:2 arc_cosine=0 diagonal=0.5"),
    _family("period", "points at the border of a period of a transform, and beyond it", "flatironinstitute/finufft#181, #315, #11",
        smoke="period 5x2:1 gaussian=0.1; period 6:2 gaussian=0.05; period 4:2 gaussian=0.01",
        standard="period 12x2:2 gaussian=0.02; period 9:3 gaussian=0.02; period 8/6:1 rational=1; wide 20:2 gaussian=0.05"),
    _family("three-dimensions", "a transform in three dimensions and single precision that reads another copy; one size of a grid", "flatironinstitute/finufft#202, #575",
        smoke="normal 4:3 gaussian=0.5; cube 4/8:3 gaussian=4; normal 4x2:3 laplacian=1",
        standard="cube 16/27:3 gaussian=10; cube 33:3 gaussian=50; normal 12:4 gaussian=0.5"),
    _family("origin", "a point at the origin, which is taken for padding", "exafmm/pyexafmm#77",
        smoke="origin 5x2:2 gaussian=0.3; origin 4:3 coulomb=0.5; origin 5/4:2 rational=1",
        standard=_each("origin 9x2:3") + "; origin 8:3 coulomb=1 degrees; origin 9/9x2:2 gaussian=0.5 same"),
    _family("boxes", "a far field that loses its digits near a box, a wrong translation, a constant applied twice nearby", "zgimbutas/fmmlib3d#1; exafmm/pyexafmm#37; byuflowlab/FastMultipole.jl#31; laristra/flecsph#131",
        smoke="boxes 8:2 coulomb=0.5; boxes 9:3 coulomb=0.5; boxes 6/7:2 rational=1; boxes 8:1 laplacian=0.5; boxes 9:2 gaussian=0.05",
        standard="boxes 33:3 coulomb=0.5; boxes 40/12:2 coulomb=1; boxes 25:2 laplacian=0.25; wide 30:2 rational=0.5; wide 30:2 coulomb=0.5; boxes 30:3 gaussian=0.02"),
    _family("dims", "the last coordinate, or all beyond a tile, left out; a width by the number of coordinates", "scikit-learn/scikit-learn#9523; networkit/networkit#975", keeps=("dim",),
        smoke="late 5:3 gaussian=0.5; late 4:9 laplacian=1; late 4:17 gaussian=0.5; late 5:33 gaussian=0.5; normal 4:1 gaussian=0.5; late 3:65 rational=1",
        standard="late 7x2:8 gaussian=0.5; late 6:16 matern=1.5; late 6:31 gaussian=0.5; late 6:64 laplacian=1; late 5:129 gaussian=0.3; normal 6:300 gaussian=0.005"),
    _family("edges", "the first or the last point left out, points beyond whole tiles, pairs of different tiles, a pair from one side", keeps=("points",),
        smoke="normal 2:2; normal 7x2:2; normal 9:2; normal 15:3; normal 17x2:2; normal 33:2; normal 9/17:2; normal 1/3:2; normal 3/1:2",
        standard="normal 16:2; normal 31x2:3; normal 63:2; normal 64:3; normal 65x2:2; normal 33/31x2:3 laplacian=1; normal 129:2; normal 33:2 degrees; normal 17/65:3",
        thorough="normal 257:3; normal 513:2; normal 300/129x3:4 rational=1"),
    _family("columns", "the first column for all, columns added up, vectors in the other order of memory, absolute values", keeps=("columns",),
        smoke="normal 4x3:2 v=unlike; normal 3x3:2 v=unit; normal 5x2:2 v=signs; normal 4x5:3 v=unlike degrees; normal 3/4x3:2 v=unlike; normal 5x1:2",
        standard="normal 9x4:3 v=unlike; normal 8x8:2 v=unit; normal 8x17:3; normal 7x33:2 v=unlike; normal 12x7:2 v=signs degrees; normal 6x6:3 v=last diagonal=2"),
    _family("light-weights", "small weights cut off, only a few neighbours kept, a width beyond which nothing counts",
        smoke="line 7:2 gaussian=1 graded; normal 9:3 laplacian=2 graded; line 8:1 rational=2 graded v=positive; normal 12:2 gaussian=2 v=positive",
        standard="line 16x2:2 gaussian=2 graded; normal 20:3 gaussian=1.5 graded; normal 16:2 coulomb=1.5 graded; line 20:2 degrees gaussian=3 graded; wide 12:2 gaussian=0.1 graded v=positive"),
    _family("long-sums", "sums in a short type, or that stop growing", "pytorch/pytorch#38716; TomographicImaging/CIL#2094; jeanfeydy/geomloss#12",
        smoke="cube 700/2:1 gaussian=0.5 v=ones; cube 3000/1:1 inverse_multiquadric=0.75 v=ones",
        standard="cube 6000/2:1 gaussian=0.5 v=ones; cube 2500/2x2:2 laplacian=0.5 v=positive; cube 300:1 degrees gaussian=0.5 v=unit",
        thorough="cube 40000/1:1 rational=0.5 v=ones"),
    _family("scales", "tiny and huge points: squares that underflow, an epsilon that is added, a weight that is cut",
        smoke="normal 4:2 gaussian=1000000 scale=0.001; normal 4:2 coulomb=0.5 scale=0.001; normal 5:2 rational=1 scale=30; normal 4:2 laplacian=1000 scale=0.001",
        standard="normal 8x2:3 gaussian=0.0005 scale=30; normal 8:2 coulomb=1 scale=0.002; normal 8:2 inverse_multiquadric=10000 scale=0.01; normal 7:3 laplacian=0.02 scale=50; normal 7:2 polynomial=2 scale=0.05"),
    _family("chains", "weights from 1 to nothing in one row: all but the nearest left out, rows divided by their sums",
        smoke="line 6:2 gaussian=4; clusters 6:2 gaussian=3; wide 6:2 gaussian=0.5; line 7:1 degrees laplacian=4",
        standard="line 17x2:2 laplacian=4; clusters 16x2:3 gaussian=3; wide 12x2:2 gaussian=0.3 degrees; line 12/9:2 gaussian=6"),
    (shared.LAYOUTS, (
        *shared.laid_out("normal", "6x3:2", "gaussian=0.5")[1],
        *shared.laid_out("normal", "5/4x2:3", "laplacian=1")[1],
        *_said("smoke", "normal 5x4:3 degrees", layout="transposed"),
    )),
    shared.called_before("normal", "6x2:3", "last", "vectors", "function", "parameter", "laplacian"),
    (shared.STATE, tuple(_said("smoke", "normal 6x2:3 gaussian=0.5", after="last"))),
    shared.called_together("normal", "7x2:3"),
)  # fmt: skip

#: Rows without malice, on which quality is measured.
TYPICAL: tuple[Row, ...] = tuple(_said("smoke", "normal 24x2:3 gaussian=0.5; cube 20/16x2:2 laplacian=1"))
