"""The families of document similarity: which documents, sizes and places of the best pair hunt which bug."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from assay.conformance.document_similarity.options import DOCUMENTS
from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row, by_levels, worded

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TABLE", "TYPICAL"]


def _rows(level: str, text: str, **others: str) -> Iterator[Row]:
    """The rows that a text says: names of documents, sizes, and options."""
    return worded(level, text, DOCUMENTS, **others)


def _both(level: str, text: str) -> Iterator[Row]:
    """Every input for the most similar pair and for the least."""
    for words in text.split(";"):
        yield from _rows(level, f"{words}; {words} least")


#: A family with its rows for the most and the least similar pair, which each level adds as a text.
_hunting = functools.partial(by_levels, said=_both)


_EDGES = "15/17:31 33/16:64 65/63:33 1/129:8 130/5:16"

#: Every family with its rows.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    _hunting(Family("directions", "left and right, rows and columns of the table, most and least exchanged; a wrong width of a flat index", "assay's bank"),
        smoke="normal counts 3/5:8 6/2:7; 5:6 counts 4:9",
        standard="normal counts tf-idf 7/4:16 4/9:16; normal tf-idf 9:16; presence 12/5:24; sparse 8/11:40"),
    _hunting(Family("one-side", "norms of one side left out: of the query, or of the index that serves as ground truth", "nmslib/hnswlib#592, #552, #34; piskvorky/gensim#2351"),
        smoke="positive counts 6/6:8 one-side; lengths 5/7:12; positive 7:8",
        standard="lengths tf-idf 9/9:24 one-side; lengths positive 12:16; counts 16/3:12"),
    _hunting(Family("origin", "the best pair is the first: element 0, which a loop skips or an index gives for nothing", "nmslib/hnswlib#34, #238"),
        smoke="normal counts 4/5:8 at=origin; normal 5:8 at=first; counts 2:6",
        standard="tf-idf presence 17/9:16 at=origin; sparse 9/17:40 at=first"),
    _hunting(Family("last", "the best pair is the last: a document or a word beyond whole tiles", "assay's bank", keeps=("documents",)),
        smoke="normal 5/6:9 9/17:10 at=last; normal counts 7:9 at=last; normal 6/7:8 at=corner; normal 7/6:8 at=foot; normal 17/18:5 65/66:4 at=last",
        standard=f"normal {_EDGES} at=last; counts {_EDGES} at=corner; normal {_EDGES} at=foot; normal 31:16 33:17 66:15 at=last",
        thorough="normal 257/255:40 at=last; normal 300:24 at=last"),
    _hunting(Family("late-words", "words beyond whole tiles left out: only the first 32 columns reduced", "1bit-MONSTER/1bit-MONSTER#495", keeps=("words",)),
        smoke="late 5/6:9 6/5:33 5/5:65; late 6:40",
        standard="late 7/7:17 7/7:31 7/7:64 7/7:96 7/7:129 7/7:260; late 9:70; late 6/6:1000",
        thorough="late 9/9:4097"),
    _hunting(Family("equal", "equal documents: similarity above 1, an arc cosine that is NaN, a distance below 0; equal collections taken for one", "pytorch/pytorch#18057, #29442, #78064; NVIDIA/apex#211; scipy/scipy#5208, #17754; saehm/DruidJS#39; nmslib/hnswlib#76, #301"),
        smoke="positive all-equal 3/4:5; all-equal 4:5 4:84; counts 5/5:8 at=middle; normal counts 6/6:9 same",
        standard="all-equal 3/3:84 2/2:100 3/3:511; tf-idf 9/9:30 at=middle; normal 8:33 at=middle"),
    _hunting(Family("ties", "several best pairs, every one of which is right; documents that occur twice", "assay's bank"),
        smoke="presence 6/6:8 twice; counts 6:8 twice; all-equal 5/5:6",
        standard="equal-norms 9/9:8; presence 12:10; sparse 16/16:20 twice; equal-norms 10:6 twice"),
    _hunting(Family("half-sums", "float16: sums of squares, or products of norms, beyond 65504; sums that stop growing", "pytorch/pytorch#69512, #65298, #31378, #169047"),
        smoke="normal 4/4:512 4:512; large-counts 5/4:40; counts 3/3:900",
        standard="normal 6/5:513; positive 5/5:2000; large-counts 6:300; normal 4/4:3001",
        thorough="positive 5/5:20000"),
    _hunting(Family("tiny", "norms raised to an epsilon, squares and their products that are flushed to zero; a scale that takes the sign along", "pytorch/pytorch#31378, #169047"),
        smoke="normal counts opposite 5/4:8 tiny; counts opposite 5:8 tiny; counts 9/8:6 graded",
        standard="tf-idf 9/7:24 tiny; normal 8:16 tiny; normal 24/20:8 15:12 graded; counts 1/30:5 30/1:5 graded"),
    _hunting(Family("huge", "squares, or the product of squared norms, that overflow; a scale that takes the sign along", "pytorch/pytorch#69512"),
        smoke="normal counts opposite 5/4:8 huge; counts opposite 5:8 huge",
        standard="tf-idf 9/7:24 huge; normal 8:16 huge"),
    _hunting(Family("signs", "signs lost: absolute values, squares, similarities cut at 0", "assay's bank"),
        smoke="opposite 4/5:6; opposite 6:6; normal 5/5:3",
        standard="opposite 9/8:16; opposite 12:10; equal-norms 7/6:24; normal 12/9:2"),
    _hunting(Family("few-documents", "one document on a side, two in one collection, as many wanted as there are", "facebookresearch/faiss#1571, #3711"),
        smoke="normal counts 1/1:4 1/4:5 5/1:6; normal counts 2:5 3:4; normal positive 1/1:1 3/4:1",
        standard="tf-idf 1/33:24 33/1:24 2/2:16; presence 2:12 3:12"),
    _hunting(Family("sparse", "norms over words in common alone; words of one side that no document of the other has", "NicolasHug/Surprise#217; piskvorky/gensim#2351"),
        smoke="sparse 6/6:30; sparse 7:30; rare-words 6/5:12",
        standard="sparse 20/15:100; sparse 12:60; rare-words 15/15:40; rare-words 16:24"),
    _hunting(Family("orthogonal", "no word in common: the least similarity is exactly 0, and it decides orthogonal vectors", "assay's bank"),
        smoke="presence 6/7:12 at=middle; counts 7:10 at=middle; presence 5/5:8 orthogonal at=middle",
        standard="presence 20/21:24 orthogonal at=middle; counts 17/9:16 orthogonal at=foot; presence 24:20 at=middle"),
    _hunting(Family("alike", "cosines near 1, that a short type cannot tell apart; centred documents are far from alike", "assay's bank"),
        smoke="alike 5/6:10; alike 7:12",
        standard="alike 12/9:64; alike 16:32; alike 6/6:500"),
    _hunting(Family("faint", "similarities far below 1, that 1 − distance loses", "nmslib/hnswlib#76"),
        smoke="faint 4/5:16; faint 5:9",
        standard="faint 9/7:40; faint 12:20; faint 3/3:64"),
    _hunting(Family("weights", "weights that one side does not get, counts in place of presence, or a set in place of counts; sums of products in a short integer", "piskvorky/gensim#2351"),
        smoke="tf-idf counts 7/6:14; large-counts 6/6:10 7:9; tf-idf 7:14; full-counts 5/6:64 6:64",
        standard="tf-idf 16/12:60; counts 14/14:30; large-counts 12:20"),
    _hunting(Family("inner-products", "the measure ignored: the cosine where inner products were asked for", "nmslib/hnswlib#552; microsoft/DiskANN#539"),
        smoke="lengths counts 5/6:8 inner_product; counts 6:8 inner_product; large-counts 4/4:12 inner_product",
        standard="lengths 9/12:24 inner_product; tf-idf 9:30 inner_product; lengths 7/7:300 inner_product"),
    (shared.LAYOUTS, (
        *shared.laid_out("normal", "6/6:6")[1],
        *_rows("smoke", "counts 7/5:8", layout="transposed"),
        *_rows("smoke", "normal 7:6", layout="transposed"),
        *_rows("smoke", "normal 7:6 least", layout="spaced"),
        *(row for layout in ("transposed", "gap", "reversed", "spaced") for row in _rows("standard", "counts 9/7:12; normal 8:8", layout=layout)),
    )),
    (shared.STATE, (
        *shared.called_before("normal", "7/6:9", "last", "right", "least", "shorter")[1],
        *_rows("smoke", "counts 6/6:8; normal 8:9", after="last"),
        *_rows("standard", "counts 6/6:8; normal 6/6:9 least", after="alone"),
        *_rows("standard", "lengths 6/6:8", after="measure"),
        *_rows("standard", "normal 7:9; counts 8:12 least", after="last"),
    )),
    (shared.CONCURRENT, tuple(row for size in ("7/8:24", "9:24") for row in shared.called_together("normal", size)[1])),
    _hunting(Family("large", "tables that do not fit: a running best that is not carried from tile to tile", "assay's bank"),
        standard="normal 300/270:8; presence 200:16; counts 20/600:12",
        thorough="normal 900/1100:16; normal 1000:12"),
)  # fmt: skip

#: Rows without malice, on which quality is measured.
TYPICAL: tuple[Row, ...] = tuple(_rows("smoke", "normal tf-idf 24/20:64; tf-idf 32:64"))
