"""The families of attention of order k: which patterns, in which sizes, with which options, hunt which bug.

Sizes are "batch×heads/key heads:queries×keys of mode 1×keys of mode 2:dim/value dim".  A table is written for order 3,
and rows of the other orders are made of it.
"""

from __future__ import annotations

from dataclasses import replace

from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import LEVELS, Family, Row
from assay.conformance.tensor_attention.combinations import lengths_of_order
from assay.conformance.tensor_attention.options import cost, parse_size

__all__ = ["TABLE", "TYPICAL", "of_orders", "table_rows"]

_OTHER_ORDERS = (2, 4, 5)
_SMALL = float(1 << 16)  # products, beyond which a row of another order is left to ``thorough``
#: Order → how often, and where, a row comes at its own level: every so many rows, from that one on.
_TURNS = {
    "smoke": {2: (3, 0), 4: (3, 1), 5: (8, 2)},
    "standard": {2: (2, 0), 4: (2, 1), 5: (3, 2)},
    "thorough": {2: (1, 0), 4: (1, 0), 5: (1, 0)},
}


def table_rows(level: str, text: str, layout: str = "contiguous", after: str = "", beside: str = "") -> tuple[Row, ...]:
    """Rows separated by semicolons: "pattern size option option"; without a pattern the numbers are normal.

    >>> [row.size for row in table_rows("smoke", "1x2:3x4x5:8/4 causal; large 3x3x3")]
    ['1x2:3x4x5:8/4', '3x3x3']
    """
    made = []
    for words in text.split(";"):
        if not words.strip():
            continue
        first, *rest = words.split()
        pattern, size, *options = ("normal", first, *rest) if first[0].isdigit() else (first, *rest)
        made.append(Row(level, pattern, size, tuple(options), layout, tuple(after.split()), tuple(beside.split())))
    return tuple(made)


def _family(
    identifier: str,
    hunts: str,
    source: str,
    smoke: str = "",
    standard: str = "",
    thorough: str = "",
    keeps: tuple[str, ...] = (),
) -> tuple[Family, tuple[Row, ...]]:
    texts = {"smoke": smoke, "standard": standard, "thorough": thorough}
    rows = tuple(row for level, text in texts.items() for row in table_rows(level, text))
    return Family(identifier, hunts, source, keeps=keeps), rows


_THIRD: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    _family("one-key", "wrong n = 1, an epsilon in the denominator, a value rounded on its way", "assay's bank",
        "1x1x1; 1x2:3x1x1:5/3; zero-scores 1x1:2x1x4:4/3", "zero-scores 1x2:3x1x1:8/5; large 1x1:2x5x1:8/3"),
    _family("modes", "operands in another order than declared: keys, values or windows of the modes exchanged", "pytorch/FBGEMM#4930",
        "1x1:3x4x4:4/3; 1x2:5x7x6:8/4; unlike-modes 1x1:4x5x5:8/4; large 1x2:6x6x6:8/8", "2x2:5x9x9:8/8; large 1x1:9x9x7:16/4; signs 1x1:3x3x3:4/4"),
    _family("flattening", "the unfolding of the pairs in another order than their values, repeat against tile", "aqlaboratory/openfold-3#312; tensorly/tensorly#210, #163, #56, #298; mnick/scikit-tensor#17",
        "integers 1x1:2x2x3:2/2; 1x1:2x3x4:3/2; large 1x1:3x3x5:4/4", "1x2:5x3x7:8/4; large 2x2:4x8x2:8/4; 1x1:3x4x3:4/4"),
    _family("outer", "an outer sum for an outer product, a product of scores for one sum, operands of a formula exchanged", "lucidrains/alphafold2#84, #86; wl-zhao/DIML#6",
        "large 1x1:3x3x4:4/4; integers 1x1:3x4x3:3/2; zero-scores 1x2:3x4x5:4/3", "large 1x2:5x6x7:8/8; constant 1x1:5x6x6:8/4"),
    _family("pairs", "the result of a pair read as (k, j) for (j, k), a pair that counts once or not with itself", "google-deepmind/alphafold#77",
        "1x1:2x2x2:2/2; 1x1:4x4x4:4/2; planted 1x2:5x6x6:16/4", "planted 2x2:7x9x9:16/8; planted 1x1:4x12x5:16/4; rising 1x1:5x6x6:4/4"),
    _family("unwritten", "output that is written in part, or random on another card", "aqlaboratory/openfold#468; deepspeedai/DeepSpeed#5052",
        "1x2:17x4x5:8/4; 2x2:5x5x5:5/3", "1x3:33x5x4:8/4; 1x2:65x3x4:4/4; 3x4:9x5x5:8/8"),
    _family("causal", "a causal mask off by one, in one mode alone, or of a tile", "assay's bank",
        "1x1x1 causal; 2x2x2 causal; 1x2:5x5x5:8/4 causal; 1x1:17x17x17:4/4 causal; large 1x2:9x9x9:8/4 causal", "1x2:16x16x16:8/4 causal; planted 2x2:12x12x12:16/4 causal; rising 1x1:9x9x9:4/4 causal; 1x1:33x33x33:4/4 causal; 1x1:3x3x3:4/2 causal"),
    _family("causal-cross", "a causal mask aligned to another corner, or that takes all modes for as long as the first one", "assay's bank",
        "1x1:3x5x4:4/4 causal; 1x2:6x3x5:8/4 causal; 1x1:1x4x6:4/4 causal", "1x1:9x17x5:8/4 causal; 1x2:17x6x9:8/4 causal; 1x1:5x3x9:8/4 causal", keeps=("causal_cross_lengths",)),
    _family("window", "a window off by one, of the other mode, of a tile, or on one side alone", "assay's bank",
        "1x1:9x9x9:4/4 window=3,2 causal; 1x2:7x7x7:8/4 window=2,4 causal; 1x1:9x9x9:4/4 window=3,2; 1x1:8x8x8:4/4 window=1,3 causal; 1x1:8x8x8:4/4 window=*,2 causal; 1x1:17x17x17:4/4 window=5,4 causal",
        "1x2:20x20x20:8/4 window=16,3 causal; 1x1:12x12x12:4/4 window=4,*; 1x1:33x33x33:4/4 window=8,4 causal; 2x2:9x9x9:8/4 window=1,1 causal; large 1x1:16x16x16:8/4 window=6,5; 1x1:9x9x9:8/4 window=9,9 causal; 1x1:66x66x66:4/2 window=7,3 causal"),
    _family("window-cross", "windows beside keys of another length, queries whose windows are empty", "aqlaboratory/openfold-3#271; NVIDIA/cuEquivariance#204",
        "1x1:7x4x5:4/4 window=2,3; 1x2:9x3x4:8/4 window=2,2 causal; 1x1:3x8x6:4/4 window=2,4 causal", "1x2:12x5x9:8/4 window=3,6; 1x1:17x9x4:4/4 window=4,2 causal lse; large 2x2:9x4x4:8/4 window=2,2; 1x1:4x12x12:8/4 window=3,5", keeps=("cross_lengths",)),
    _family("heads", "grouped heads that read the keys of another head, in one mode or in both; a batch for another", "assay's bank",
        "1x4/2:3x4x4:4/4; 1x6/2:5x3x4:8/4; 2x2/1:4x4x4:4/4; 2x1:3x4x5:4/4", "2x6/3:5x5x6:8/4; 1x8/2:4x5x4:8/8; 3x4/2:5x4x4:8/4 causal; 1x4/1:9x5x5:8/4 window=3,2 causal; unlike-heads 2x4/2:4x5x5:8/4"),
    _family("tails", "lengths that are no multiple of a tile: a tail of a mode dropped, doubled or filled with zeros and counted", "assay's bank",
        "1x1:2x3x2:4/4; 1x1:3x5x17:4/4; 1x1:3x17x5:4/4; 1x1:2x7x33:4/4; planted-tail 1x1:3x17x4:4/4 along=1; planted-tail 1x1:3x4x17:4/4 along=2",
        "1x1:3x33x9:4/4; 1x1:2x9x65:4/4; 1x1:2x65x4:4/4; 1x2:5x16x16:8/4; 1x1:3x15x31:4/4; planted-tail 1x2:3x5x66:4/4 along=2; zero-scores 1x1:2x18x19:4/4; 1x1:65x9x10:4/4", keeps=("lengths",)),
    _family("rising", "a maximum not updated, a rescaling missed between keys or tiles of a mode", "assay's bank",
        "rising 1x1:2x6x6:4/3; falling 1x1:2x6x6:4/3; stairs 1x1:2x17x9:4/3; steep 1x1:2x8x8:4/3; stairs 1x1:2x5x40:4/3",
        "rising 1x1:2x20x20:4/4; stairs 1x2:2x40x17:4/4; steep 1x1:2x17x17:4/4; ramp-up 1x1:2x40x3:4/3 along=1; ramp-up 1x1:2x3x40:4/3 along=2; steep-ramp 1x1:2x3x40:4/3 along=2; staircase 1x1:2x66x3:4/3; stairs 1x1:2x9x66:4/4"),
    _family("shifted", "a maximum that starts at a finite number, a finite score for what is hidden, clipped scores", "assay's bank",
        "far-below 1x1:3x4x4:4/3; far-above 1x1:3x4x4:4/3; far-below 1x2:6x6x6:4/3 causal", "far-below 1x1:3x9x9:4/3 window=2,2; far-below 1x2:4x17x5:4/3; far-above 1x2:4x9x17:4/3; shifted-far 1x1:3x9x3:4/3; shifted-constant 1x1:3x3x9:4/3 along=2"),
    _family("row-levels", "one maximum for a tile of rows or for heads, or none", "assay's bank",
        "row-levels 1x1:9x5x5:4/4; unlike-heads 2x2:3x4x4:4/4", "row-levels 1x2:33x5x6:8/4; unlike-heads 2x3:5x6x6:8/4; row-levels 1x1:17x9x9:8/4 causal"),
    _family("scale", "a scale that is ignored, applied to each key, to the power of the order, or rounded", "assay's bank",
        "1x1:3x4x4:4/4 scale=1; 1x1:3x4x4:4/4 scale=0.31; large 1x1:3x4x4:4/4 scale=-0.7; 1x1:3x4x4:9/4; 1x1:3x3x3:4/4 scale=0", "odd-scale 1x2:5x6x6:8/4; odd-scale 1x1:4x9x9:16/8; 1x1:3x4x4:24/4; 1x1:4x5x5:8/4 scale=3.7; 1x1:3x4x4:4/8"),
    _family("dims", "columns of queries, keys or values beyond a tile left out, an odd dim", "assay's bank",
        "1x1:3x4x4:3/5; 1x1:3x4x4:17/9; 1x1:2x3x3:1/1; 1x1:3x3x4:8/12", "1x1:3x4x4:33/17; 1x1:3x4x4:65/66; 1x1:3x5x4:5/33; 1x1:3x4x3:72/8; 1x1:3x4x3:20/20", keeps=("dims",)),
    _family("values", "values that cancel, are constant, large or small", "assay's bank",
        "constant 1x1:3x5x5:4/4; integers 1x2:4x5x5:4/4; huge-values 1x1:3x5x5:4/4", "tiny-values 1x1:3x5x5:8/4; constant 1x1:5x9x9:8/4; alternating 1x1:3x33x2:4/4; zero-scores 1x1:3x9x9:8/4"),
    _family("exp", "an exponential of low degree, a short ln 2, rounded probabilities", "assay's bank",
        "biased-exp 1x1:3x17x1:2/2; two-levels 1x1:3x2x9:2/2 along=2; biased-exp 1x2:3x3x9:2/3 along=2", "biased-exp 1x2:3x33x2:2/3; two-levels 1x2:3x17x3:2/2; deep-weights 1x1:3x9x2:2/3; biased-exp 1x1:4x2x2:2/2; biased-exp 1x1:3x65x1:2/2"),
    _family("long-rows", "sums of very many combinations in a short type, which stagnate", "assay's bank",
        "positive-sum 1x1:2x65x20:2/2", "positive-sum 1x1:2x65x65:2/2; zero-scores 1x1:2x80x40:2/2; positive-sum 1x1:1x3x700:2/2 along=2; late-values 1x1:2x70x40:2/2", thorough="positive-sum 1x1:1x257x129:2/2"),
    _family("log-sum-exp", "the log-sum-exp in another base, without its maximum, or of the mean", "sgl-project/sglang#35045",
        "1x2:3x4x5:4/4 lse; large 1x1:5x5x5:8/4 lse causal", "far-below 1x1:3x4x4:4/3 lse; 1x2:9x9x9:8/4 lse window=3,2 causal; 1x1:9x3x4:4/4 lse window=2,2; large 2x4/2:5x6x6:8/4 lse"),
)  # fmt: skip


def _layouts() -> tuple[tuple[Family, tuple[Row, ...]], ...]:
    laid_out = shared.laid_out("normal", "2x3:4x5x6:8/6")[1]
    return (
        (shared.LAYOUTS, (
            *laid_out,
            *table_rows("standard", "2x3:4x5x6:8/6", layout="mixed"),
            *table_rows("standard", "2x3:4x5x6:8/6 same-heads", layout="expanded"),
            *table_rows("standard", "2x4/2:5x5x5:8/8 causal", layout="permuted"),
        )),
        (shared.STATE, (
            *table_rows("smoke", "1x2:4x5x6:8/4", after="numbers"),
            *table_rows("smoke", "1x2:4x6x6:8/4", after="last-mode"),
            *(row for number, change in enumerate(("last-mode", "scale", "shorter", "longer", "numbers"))
              for again in ("", "same ")
              for row in table_rows("standard", f"1x2:{5 + number}x6x6:{8 + number}/4", after=again + change)),
            *table_rows("standard", "1x2:6x6x6:8/4 causal", after="same causal"),
            *table_rows("standard", "1x2:8x8x8:8/4 window=3,2 causal", after="same window"),
            *table_rows("standard", "1x2:9x9x9:8/4 window=3,2 causal", after="same no-window"),
        )),
        (shared.CONCURRENT, table_rows("standard", "2x3/1:5x6x7:8/4", beside="numbers last-mode same")),
        (shared.LARGE_GRID, table_rows("standard", "4x12:3x4x3:4/4; 2x24/6:4x3x4:4/4 causal; 40x3:3x3x3:4/4")),
    )  # fmt: skip


def of_orders(table: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows of order 3 with those of the other orders that are made of them, some at a later level."""
    made = list(table)
    for number, row in enumerate(table):
        size = parse_size(row.size)
        for order in _OTHER_ORDERS:
            queries, *keys = lengths_of_order(order, size.queries, *size.keys)
            other = replace(row, size=str(replace(size, queries=queries, keys=tuple(keys))))
            level = row.level
            while level != LEVELS[-1] and number % _TURNS[level][order][0] != _TURNS[level][order][1]:
                level = LEVELS[LEVELS.index(level) + 1]
            made.append(replace(other, level=level if cost(other) <= _SMALL else LEVELS[-1]))
    return tuple(dict.fromkeys(made))


#: Every family with its rows.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = tuple(
    (family, of_orders(rows)) for family, rows in (*_THIRD, *_layouts())
)

#: Rows without malice, on which quality is measured.
TYPICAL: tuple[Row, ...] = table_rows(
    "smoke", "1x2:16x16x16:16/16; 1x2/1:8x24x12:16/8; 1x2:24x24:16/16; 1x2:6x6x6x6:16/16; 1x2:4x4x4x4x4:16/16"
)
