"""The graph of reductions: every arrow, the paths along them, and drawings as text and as DOT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.reductions.pairs import IP_1, IP_2, IP_3, KOV_2, KOV_3, MONO_1, MONO_2, MONO_3, OV_5
from assay.spec.reductions.reduction import Composite, Reduction
from assay.spec.reductions.satisfiability import KOV_1, OV_1
from assay.spec.reductions.to_attention import OV_2, OV_3, OV_4
from assay.spec.reductions.to_attention_gradient import GRAD_3, GRAD_4, GRAD_9, GRAD_10
from assay.spec.reductions.to_document_similarity import DOC_5A, DOC_5B, DOC_5C
from assay.spec.reductions.to_firing_neurons import FN_9
from assay.spec.reductions.to_kernel_graph import OV_6, OV_9
from assay.spec.reductions.to_kernel_graph_solve import OV_7
from assay.spec.reductions.to_kernel_graph_sparsify import OV_8A, OV_8B
from assay.spec.reductions.to_layer_collapse import LC_11
from assay.spec.reductions.to_rope_attention import ROPE_5A, ROPE_5B, ROPE_5C, ROPE_5D
from assay.spec.reductions.to_small_transformers import ST_7A, ST_7B, ST_7C
from assay.spec.reductions.to_tensor_attention import GAP_1, TEN_3, TEN_7

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["REDUCTIONS", "dot", "draw", "path", "paths", "problems", "reduction"]

#: Every arrow.  Among equally short paths :func:`path` prefers one with earlier arrows.
REDUCTIONS: tuple[Reduction, ...] = (
    OV_1,
    OV_2,
    OV_3,
    OV_4,
    OV_5,
    OV_6,
    OV_7,
    OV_8A,
    OV_8B,
    OV_9,
    KOV_1,
    KOV_2,
    KOV_3,
    IP_1,
    IP_2,
    IP_3,
    MONO_1,
    MONO_2,
    MONO_3,
    GRAD_4,
    GRAD_9,
    GRAD_10,
    GRAD_3,
    DOC_5A,
    DOC_5B,
    DOC_5C,
    LC_11,
    ROPE_5A,
    ROPE_5B,
    ROPE_5C,
    ROPE_5D,
    TEN_3,
    TEN_7,
    GAP_1,
    ST_7A,
    ST_7B,
    ST_7C,
    FN_9,
)


def reduction(name: str) -> Reduction:
    """The arrow of this name.  Raises ``ValueError``, naming all arrows, for another name."""
    for each in REDUCTIONS:
        if each.name == name:
            return each
    raise ValueError(f"unknown reduction {name!r}: expected one of {', '.join(each.name for each in REDUCTIONS)}")


def problems() -> tuple[str, ...]:
    """The nodes of the graph, in the order in which the arrows name them."""
    return tuple(dict.fromkeys(name for each in REDUCTIONS for name in (each.source, each.target)))


def paths(source: str, target: str) -> tuple[Composite, ...]:
    """Every path that visits no problem twice, the shortest first.  Raises ``ValueError`` for an unknown problem."""
    for name in (source, target):
        if name not in problems():
            raise ValueError(f"unknown problem {name!r}: expected one of {', '.join(problems())}")

    def onward(at: str, seen: frozenset[str]) -> Iterator[tuple[Reduction, ...]]:
        for arrow in REDUCTIONS:
            if arrow.source != at or arrow.target in seen:
                continue
            if arrow.target == target:
                yield (arrow,)
            else:
                yield from ((arrow, *rest) for rest in onward(arrow.target, seen | {arrow.target}))

    found = sorted(onward(source, frozenset({source})), key=len)
    return tuple(Composite(parts) for parts in found)


def path(source: str, target: str, *, counts: bool = False, via: str | None = None) -> Composite:
    """The shortest path; with ``counts``, the shortest whose decoding counts; with ``via``, through the arrow so named.

    Raises ``ValueError`` without such a path; with ``via`` it lists the arrows that there are.

    >>> path("satisfiability", "attention").name, path("satisfiability", "attention", counts=True).name
    ('OV-1 → OV-2', 'OV-1 → OV-3')
    """
    for found in paths(source, target):
        if (found.counts or not counts) and (via is None or via in (part.name for part in found.parts)):
            return found
    wanted = f"{'' if via is None else f' via {via}'}{' that counts' if counts else ''}"
    names = () if via is None else dict.fromkeys(part.name for route in paths(source, target) for part in route.parts)
    arrows = f": expected one of {', '.join(names)}" if names else ""
    raise ValueError(f"no reduction from {source} to {target}{wanted}{arrows}")


def draw() -> str:
    """The graph as text: each problem with the arrows that leave it."""
    width = max(len(each.target) for each in REDUCTIONS)
    lines = []
    for name in problems():
        arrows = [each for each in REDUCTIONS if each.source == name]
        if arrows:
            lines.append(name)
            lines += [f"  ─ {each.name:<6} → {each.target:<{width}}  {each.statement}" for each in arrows]
    return "\n".join(lines)


def dot() -> str:
    """The graph in the DOT language of Graphviz; dashed arrows do not count solutions."""
    lines = ["digraph reductions {", "  rankdir=LR;"]
    lines += [f'  "{name}";' for name in problems()]
    for each in REDUCTIONS:
        style = "" if each.counts else ", style=dashed"
        lines.append(f'  "{each.source}" -> "{each.target}" [label="{each.name}"{style}];')
    return "\n".join([*lines, "}"])
