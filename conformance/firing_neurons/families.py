"""The families of firing neurons: which data, sizes and scripts hunt which bug."""

from __future__ import annotations

import functools

from assay.conformance.firing_neurons.options import NUMBERS
from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row, hunting, worded

__all__ = ["TABLE", "TYPICAL"]

_said = functools.partial(worded, patterns=NUMBERS)
#: A family with its rows, which each level adds as a text.
_family = functools.partial(hunting, _said)

_EDGES = "15/17:31 33/16:8 7/65:5 2/129:4 64/3:33"

#: Every family with its rows; a size is points/neurons:dim.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    _family("updates", "an update that is lost, late, added to what was there, or of the neuron beside it", "sipyourdrink-ltd/bernstein#864",
        smoke="normal whole 4/5:3 script=once; normal 5/7:9 script=mixed; normal 3/4:4 script=ends",
        standard="normal 6/9:8 script=mixed; whole 9/12:5 script=one-by-one; normal 1/1:1 script=rounds; normal 5/6:3 script=sides"),
    _family("queries", "neurons and points exchanged, rows in another order than they were asked in, everything or nothing named", "FMInference/DejaVu#13, #22; Tiiny-AI/PowerInfer#165",
        smoke="normal 5/5:4; normal 4/9:6 b=few; normal 9/4:6 b=most",
        standard="normal 12/31:16 b=few; whole 20/20:7 b=most; lengths 8/11:5 b=above; lengths 8/11:5 b=below"),
    _family("rounds", "a neuron that is put in again: two entries under one id, weights of before that come back, a mark of deletion that stays", "nmslib/hnswlib#487; valkey-io/valkey-search#1291; chroma-core/chroma#2621",
        smoke="normal 4/5:3 script=rounds; whole 3/7:4 script=rounds b=above",
        standard="normal 6/9:5 script=rounds; lengths 5/12:6 script=rounds b=few; normal 3/2:2 script=rounds"),
    _family("removals", "ids that move when a row is taken out, tables of ids that are not shortened, a place taken for an id", "facebookresearch/faiss#1379, #4656, #4535, #1643, #4655, #255, #1134, #282",
        smoke="normal 4/8:3 script=removals; normal 5/6:4 script=removals b=few",
        standard="whole 7/11:5 script=removals; normal 4/17:6 script=removals; lengths 5/9:3 script=removals"),
    _family("falls", "a maximum that stays when a product falls; a heap that is not restored when a priority falls", "garro95/priority-queue#1, #42; SkeletOSS/ccc#117",
        smoke="normal 4/7:3 script=falls; normal 3/16:4 script=falls b=few",
        standard="whole 6/13:5 script=falls b=few; normal 5/33:4 script=falls"),
    _family("rises", "a path that is not repaired to the top; a heap that is not restored when a priority rises", "luciopaiva/heapify#39; boostorg/heap#49",
        smoke="normal 4/7:3 script=rises; normal 3/16:4 script=rises b=few",
        standard="whole 6/13:5 script=rises b=few; normal 5/33:4 script=rises"),
    _family("heaps", "a heap that is invalid after many changes, siblings that are not linked again, entries of before that are counted", "garro95/priority-queue#42; SkeletOSS/ccc#117; boostorg/heap#49",
        smoke="normal 3/12:3 script=one-by-one b=few; normal 4/15:4 script=mixed b=few",
        standard="normal 4/31:3 script=one-by-one b=few; normal 3/40:4 script=mixed b=few; whole 5/21:4 script=one-by-one b=few"),
    _family("batches", "of a batch one neuron alone, values at each other's place, a waiting value that is given to the wrong child", "cheran-senthil/PyRival#73; cp-algorithms/cp-algorithms#209; LuchoBazz/cpp-algorithm-snippets#72",
        smoke="normal 4/6:3 script=batches; lengths 5/9:4 script=batches",
        standard="normal 6/17:5 script=batches; whole 7/10:6 script=batches b=few; normal 3/65:4 script=batches"),
    _family("likenesses", "an update that is taken for none, or an answer that is kept, since new weights resemble the old ones: by their sum, norm, set, sign or first coordinate", "assay's bank",
        smoke="normal 4/5:4 script=likenesses; normal 4/6:5 script=likenesses b=below", standard="normal 6/9:8 script=likenesses b=few; whole 7/5:6 script=likenesses"),
    _family("steps", "a small change of weights that is lost", "assay's bank",
        smoke="normal 4/5:4 script=steps; normal 6/4:3 script=walk", standard="normal 6/9:17 script=steps; normal 9/7:8 script=walk; lengths 5/7:6 script=steps"),
    _family("zeros", "rows of zeros that are taken for no rows: they fire below 0", "assay's bank",
        smoke="zeros 5/7:4 b=below script=once", standard="zeros 8/9:5 b=below script=mixed; zeros 6/7:4 script=batches b=zero"),
    _family("sides", "the points of a neuron and the neurons of a point that are not of the same weights", "assay's bank",
        smoke="normal 4/5:3 script=sides; normal 6/4:5 script=sides b=few",
        standard="whole 9/7:4 script=sides; normal 12/17:6 script=sides"),
    _family("again", "a query that changes the structure, answers that are kept through an update, another answer to the same question", "boostorg/heap#49",
        smoke="normal 4/5:3 script=again; normal 3/9:4 script=again b=few; normal 4/6:9 script=undecided",
        standard="whole 6/8:5 script=again; normal 5/7:17 script=undecided; normal 9/9:33 script=undecided"),
    _family("ties", "a product at the threshold, which does not fire", "assay's bank",
        smoke="whole 4/6:3 b=tie script=once; whole 5/7:4 b=tie; whole 4/5:3 b=zero script=mixed",
        standard="whole 6/9:5 script=ties; whole 12/15:9 b=tie script=mixed; units 7/9:4 b=tie"),
    _family("thresholds", "the threshold of a query ignored, kept for later queries, added to that of the structure, or taken for none where it is 0", "facebookresearch/faiss#3684",
        smoke="normal 4/6:3 script=thresholds b=above; whole 5/5:4 script=thresholds b=above",
        standard="normal 6/9:5 script=thresholds b=below; lengths 4/11:3 script=thresholds b=above"),
    _family("signs", "a negative threshold: absolute values, padding and placeholders that are reported", "facebookresearch/faiss#1571, #3711",
        smoke="normal 4/5:3 b=below; normal 4/6:4 b=above; normal 3/7:3 b=all script=once; normal 4/5:3 b=none script=once",
        standard="whole 5/9:4 b=below script=mixed; normal 6/17:4 b=below; normal 5/11:5 b=zero"),
    _family("norms", "inner products through distances or cosines: poor where norms differ, and wrong for weights longer than the first", "microsoft/DiskANN#539; nmslib/hnswlib#74",
        smoke="lengths 5/8:4; normal 4/6:3 script=grows; short-weights 5/7:4 b=few; long-weights 5/7:4 b=few",
        standard="lengths 9/20:6 b=few script=mixed; normal 6/11:5 script=grows b=few; short-weights 6/9:5 script=grows b=above"),
    _family("near", "products in a shorter type than the class has, quantised weights, coordinates cut to integers", "assay's bank",
        smoke="normal 5/7:6 script=near; normal 6/9:17 script=near",
        standard="lengths 6/8:9 script=near; normal 9/11:33 script=near; alike 6/7:12 script=near"),
    _family("between", "a threshold of the structure that is kept in a shorter type", "assay's bank",
        smoke="normal 12/17:5 b=between", standard="normal 16/20:4 b=between script=once"),
    _family("late", "coordinates beyond whole tiles left out", "assay's bank",
        smoke="late 5/6:9 b=few; late 5/6:17 script=once", standard="late 6/7:33 script=mixed; late 5/6:65 b=few; late 4/5:130"),
    _family("edges", "the last point or neuron left out; ids in too few bits; a tree whose width is no power of two", "assay's bank",
        smoke="normal 1/1:1 script=once; normal 1/5:2 script=once; normal 5/1:2 script=once; normal 3/17:4 script=ends b=most; normal 17/3:4 b=most",
        standard=f"normal 140/2:4 script=once; normal 300/3:3 script=once; normal {_EDGES} b=few; normal {_EDGES} script=ends b=most", thorough="normal 5/300:8 script=ends b=few; normal 300/5:8 b=most; normal 40/1030:6 script=batches b=few"),
    _family("drift", "products kept by adding and subtracting", "hhenson/hgraph#941",
        smoke="normal 4/5:3 script=back; normal 5/4:6 script=back b=few",
        standard="normal 6/7:9 script=back; normal 5/6:4 script=many; lengths 4/5:8 script=back"),
    _family("extremes", "squares of norms that overflow, or are flushed to zero; sums of integers that overflow", "assay's bank",
        smoke="huge-weights 4/5:3 script=once; tiny-weights 4/5:3 script=once", standard="huge-weights 6/9:5 script=mixed; tiny-weights 6/9:5 script=mixed b=few; large-whole 5/7:9 script=mixed"),
    _family("equal", "equal weights, and equal data: entries that are taken for one", "mitghi/priqueue#6",
        smoke="equal 4/6:3 script=once; units 6/9:3 script=mixed", standard="equal 5/17:4 script=batches b=above; units 9/20:4 script=one-by-one b=zero"),
    _family("clusters", "a search by a graph that does not come from one group of rows to another, with recall told as an average", "nmslib/hnswlib#74",
        smoke="groups 5/40:4 b=few; clusters 5/40:4 b=few script=once",
        standard="groups 12/400:8 script=removals; clusters 12/400:8 script=removals; groups 30/1000:16 b=few script=once; clusters 30/1000:16 b=few script=once",
        thorough="groups 40/3000:16 b=few script=batches; clusters 40/3000:16 b=few script=batches"),
    (shared.LAYOUTS, tuple(
        row for layout, level in (("transposed", "smoke"), ("offset", "smoke"), ("gap", "standard"), ("reversed", "standard"), ("spaced", "standard"))
        for row in _said(level, "normal 5/6:4 script=batches", layout=layout)
    )),
    (shared.STATE, tuple(
        row for after, level in (("numbers", "smoke"), ("script", "smoke"), ("threshold", "standard"), ("fewer", "standard"), ("same", "standard"))
        for row in _said(level, "normal 4/6:3 script=once", after=after)
    )),
    (shared.CONCURRENT, (
        *_said("standard", "normal 5/7:6 script=mixed", beside="numbers same"),
        *_said("standard", "normal 12/16:6 script=thresholds", beside="numbers threshold"),
    )),
    _family("large", "structures of many neurons", "assay's bank",
        standard="normal 40/300:12 script=batches b=few", thorough="normal 100/2000:24 script=mixed b=few"),
)  # fmt: skip

#: Rows without malice, on which a data sheet asks its questions.
TYPICAL: tuple[Row, ...] = tuple(_said("smoke", "normal 12/20:16 script=mixed b=few"))
