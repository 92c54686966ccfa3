"""A diagram as a table, as JSON and as a picture."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from assay.impl.phase.cells import Cell, Diagram, Head

__all__ = ["VERSION", "to_json", "to_plot", "to_text"]

VERSION = 1


def to_text(found: Diagram, *, width: int = 120, colour: bool = False) -> str:
    """The text of a diagram: its cells, the crossover line, and one line for each layer of the models' heads."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=io.StringIO(), width=width, force_terminal=colour, no_color=not colour)
    cells = Table(title=f"d = ⌈{found.constant:g}·log2 n⌉, scale 1/d, error {found.error:g} of range(V)", box=None)
    for name in ("n", "d", "B/√ln n", "B", "degree", "rank", "error", "certified", "exact s", "polynomial s", "faster"):
        cells.add_column(name, justify="right" if name != "faster" else "left")
    for cell in found.cells:
        cells.add_row(
            str(cell.length),
            str(cell.dim),
            f"{cell.ratio:g}",
            f"{cell.bound:.3g}",
            _or_dash(cell.degree),
            _or_dash(cell.rank),
            _small(cell.error),
            _small(cell.certified),
            _seconds(cell.exact_seconds, cell.exact_measured),
            _seconds(cell.polynomial_seconds, cell.polynomial_measured),
            _verdict(cell),
        )
    if found.interrupted:
        console.print("INTERRUPTED: cells are missing", highlight=False)
    console.print(cells)
    console.print("~ extrapolated, not measured")
    line = (f"{n}: {'nowhere' if ratio is None else f'{ratio:g}'}" for n, ratio in found.crossover.items())
    console.print(f"polynomial faster up to B/√ln n of   {'   '.join(line)}", highlight=False)
    for model in dict.fromkeys(head.model for head in found.heads):
        console.print()
        console.print(_layers(model, [head for head in found.heads if head.model == model]))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


def to_json(found: Diagram) -> str:
    """The whole diagram as JSON, with every head; ``version`` counts the changes of the fields."""
    content = {
        "version": VERSION,
        "constant": found.constant,
        "error": found.error,
        "interrupted": found.interrupted,
        "cells": [dataclasses.asdict(cell) | {"polynomial_wins": cell.polynomial_wins} for cell in found.cells],
        "crossover": [{"length": n, "ratio": ratio} for n, ratio in found.crossover.items()],
        "heads": [
            {"model": head.model}
            | dataclasses.asdict(head.bounds)
            | {name: getattr(head.bounds, name) for name in ("least", "floor", "ratio", "least_ratio", "floor_ratio")}
            for head in found.heads
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


def to_plot(found: Diagram, path: Path) -> None:
    """Write a picture: the cells by the rank that they need, the crossover line, and the heads of the models.

    The ending of ``path`` is the format.  Raises ``ValueError`` for an ending that matplotlib does not know, and
    ``ImportError`` where matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("n")
    axes.set_ylabel("B / √ln n")
    axes.set_title(f"d = ⌈{found.constant:g}·log₂ n⌉, error {found.error:g} of range(V)")
    ranked = [cell for cell in found.cells if cell.rank is not None]
    if ranked:
        shown = axes.scatter(
            [cell.length for cell in ranked],
            [cell.ratio for cell in ranked],
            c=[math.log(cell.rank or 1) / math.log(cell.length) for cell in ranked],
            cmap="viridis",
            vmin=0.0,
            vmax=2.0,
            marker="s",
            s=60,
        )
        figure.colorbar(shown, label="log rank / log n (above 1: no gain)", extend="max")
    rest = [cell for cell in found.cells if cell.rank is None]
    axes.scatter([c.length for c in rest], [c.ratio for c in rest], c="lightgrey", marker="s", s=60)
    line = [(n, ratio) for n, ratio in found.crossover.items() if ratio is not None]
    axes.plot([n for n, _ in line], [ratio for _, ratio in line], "k-", label="polynomial faster up to here")
    names = list(dict.fromkeys(head.model for head in found.heads))
    for i, model in enumerate(names):
        bounds = [head.bounds for head in found.heads if head.model == model]
        shift = 2.0 ** (0.15 * (i - (len(names) - 1) / 2))  # side by side
        for what, marker in (("least_ratio", "_"), ("floor_ratio", ".")):
            axes.scatter(
                [b.length * shift for b in bounds],
                [max(getattr(b, what), 1e-3) for b in bounds],
                color=f"C{i + 1}",
                marker=marker,
                s=40,
                label=f"{model}: {'least B found' if what == 'least_ratio' else 'no B below'}",
            )
    axes.legend(loc="upper right", fontsize="small")
    figure.savefig(path)


def _layers(model: str, heads: list[Head]) -> Any:
    """A table with one line for each layer: the least, median and largest value over its heads."""
    from rich.table import Table

    first = heads[0].bounds
    table = Table(title=f"{model}: {len(heads)} heads, n = {first.length}, d = {first.dim}", box=None)
    columns: dict[str, Callable[[Any], float]] = {
        "max|q|": lambda b: b.largest_query,
        "max|k|": lambda b: b.largest_key,
        "centred": lambda b: b.largest_key_centred,
        "B/√ln n": lambda b: b.ratio,
        "least": lambda b: b.least_ratio,
        "floor": lambda b: b.floor_ratio,
        "|scores|": lambda b: max(map(abs, b.scores)),
        "centred ": lambda b: max(map(abs, b.scores_centred)),
    }
    table.add_column("layer", justify="right")
    for name in columns:
        table.add_column(name, justify="right")
    for layer in [*dict.fromkeys(head.bounds.layer for head in heads), None]:
        bounds = [head.bounds for head in heads if layer is None or head.bounds.layer == layer]
        table.add_row(
            "all" if layer is None else str(layer),
            *(_spread(value(b) for b in bounds) for value in columns.values()),
        )
    return table


def _spread(values: Iterable[float]) -> str:
    known = sorted(values)
    return f"{known[0]:.2g} {statistics.median(known):.2g} {known[-1]:.2g}"


def _or_dash(number: int | None) -> str:
    return "–" if number is None else str(number)


def _small(number: float | None) -> str:
    return "–" if number is None else f"{number:.2g}"


def _seconds(seconds: float | None, measured: bool) -> str:
    return "–" if seconds is None else f"{'' if measured else '~'}{seconds:.2g}"


def _verdict(cell: Cell) -> str:
    if cell.reason:
        above = "rank" in cell.reason
        return "exact: rank ≥ n" if above else "exact: no polynomial"
    assert cell.polynomial_seconds is not None
    ratio = cell.exact_seconds / cell.polynomial_seconds
    return f"polynomial {ratio:.2g}×" if cell.polynomial_wins else f"exact {1 / ratio:.2g}×"
