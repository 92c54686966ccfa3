"""A board as a table, as JSON and as a picture."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from assay.impl.leaderboard.board import Board, Row

__all__ = ["MEANING", "VERSION", "to_json", "to_plot", "to_text"]

VERSION = 1

_MARKERS = "o^sDv"  # of methods
_ABOVE = "x"  # more than was tried; no method's

#: What a board says and what it does not say.
MEANING = (
    "A demonstration on one hard distribution, with random or hand-set weights. "
    "That every subquadratic method errs somewhere is a theorem under SETH, which no table proves."
)


def to_text(found: Board, *, width: int = 120, colour: bool = False) -> str:
    """The table: a line for each method and n."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=io.StringIO(), width=width, force_terminal=colour, no_color=not colour)
    table = Table(title=f"gap instances (OV-4), half of them planted; budget {found.budget}", box=None)
    for name in ("method", "n", "d", "right", "refused", "error", "seconds", "budget needed", "a budget of"):
        table.add_column(name, justify="left" if name in ("method", "a budget of") else "right")
    counts = {method.name: method.budget for method in found.methods}
    for row in found.rows:
        table.add_row(
            row.method,
            str(row.n),
            str(row.d),
            f"{row.right}/{row.instances}",
            str(row.refused) if row.refused else "",
            "–" if row.error is None else f"{row.error:.2g}",
            f"{row.seconds:.2g}",
            _needed(row, found, counts[row.method]),
            counts[row.method],
        )
    console.print(table)
    console.print(MEANING, highlight=False)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


def _needed(row: Row, found: Board, counts: str) -> str:
    if not counts:
        return "–"
    return f"> {found.most}" if row.needed is None else str(row.needed)


def to_json(found: Board) -> str:
    """The whole board as JSON; ``version`` counts the changes of the fields."""
    content = {
        "version": VERSION,
        "meaning": MEANING,
        "family": "gap",
        "budget": found.budget,
        "most": found.most,
        "seed": found.seed,
        "methods": [{"name": x.name, "budget": x.budget, "source": x.source} for x in found.methods],
        "rows": [
            dataclasses.asdict(row) | {"error": None if row.error in (None, math.inf) else row.error}
            for row in found.rows
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


def to_plot(found: Board, path: Path) -> None:
    """Write a picture: the share of instances decided rightly, and the budget needed, against n.

    The ending of ``path`` is the format.  Raises ``ValueError`` for an ending that matplotlib does not know, and
    ``ImportError`` where matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    one, other = FigureCanvasAgg(figure).figure.subplots(1, 2)
    for number, method in enumerate(found.methods):
        rows = [row for row in found.rows if row.method == method.name]
        style = {"color": f"C{number % 10}", "marker": _MARKERS[number % len(_MARKERS)], "label": method.name}
        one.plot([row.n for row in rows], [row.right / row.instances for row in rows], **style)
        known = [row for row in rows if row.needed is not None]
        if known:
            other.plot([row.n for row in known], [row.needed for row in known], **style)
        above = [row.n for row in rows if method.budget and row.needed is None]
        other.plot(above, [2 * found.most] * len(above), _ABOVE, color=style["color"])
    for axes, name in ((one, f"decided rightly, budget {found.budget}"), (other, "budget needed (×: more than tried)")):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("n")
        axes.set_ylabel(name)
    one.axhline(0.5, color="lightgrey", zorder=0)
    other.set_yscale("log", base=2)
    one.legend(fontsize="small")
    figure.savefig(path)
