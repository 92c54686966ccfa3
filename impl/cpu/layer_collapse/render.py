"""A report on a network as text, as JSON, as pictures, and as one page that holds all of it."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.impl.cpu.layer_collapse.collapse import Collapse, Scale

__all__ = ["VERSION", "sentences", "tables", "to_html", "to_json", "to_text"]

#: Counts the changes of the fields of the JSON.
VERSION = 1

Table = tuple[str, tuple[str, ...], list[list[str]]]


def sentences(report: Collapse) -> list[str]:
    """What the numbers come to, in words."""
    last = report.depths[-1]
    own = _relative(last.distance, last.update)
    article = "" if report.kind[0].isdigit() or report.kind.startswith(("one", "the")) else "a "
    said = [
        f"{report.name}: {len(report.depths)} layers of {report.heads} heads, {report.length} tokens of {report.width} "
        f"numbers, {'with' if report.skip else 'without'} skip connections{', causal' if report.causal else ''}"
        f"{', rotary positions' if report.rotary else ''}.",
        f"With uniform attention it is {article}{report.kind}.",
        f"At its own weights it is {own:.3g}·‖X_L − X_0‖ away from that; answering with no update is 1 away, and "
        f"leaving out attention {_relative(last.attended, last.update):.3g}.",
    ]
    if report.rotary or report.causal:
        why = "their positions" if report.rotary else "what they may attend to"
        said.append(
            f"κ and the bounds by diameters say nothing of it, as rows of scores differ by {why} too; "
            "bounds by the range of every row of scores hold."
        )
    else:
        of = "" if report.linear else " of its attention, without norms and MLPs,"
        said.append(
            f"κ{of} is {report.kappa:.3g}: "
            + ("below 1, so that all tokens receive nearly the same update. " if report.kappa < 1 else "not below 1. ")
            + f"κ = 1 at weights times s* = {report.s_star:.3g}."
        )
    vacuous = next((depth.layers for depth in report.depths if depth.bound >= depth.update), None)
    if vacuous is not None:
        said.append(
            f"The proved bound of the distance is vacuous from layer {vacuous} on: "
            "it is not below what answering with no update is away."
        )
    ends = (f"least factor {report.scales[0].factor:.3g}", f"{max(s.factor for s in report.scales):.3g} and more")
    words = [
        f"below the {ends[0]}" if not s else (ends[1] if s == max(x.factor for x in report.scales) else f"{s:.3g}")
        for s in (report.s_true, report.s_bound)
    ]
    said.append(
        f"Within {report.epsilon:g}·‖X_L − X_0‖ of it with all weights times up to: {words[0]} (measured), "
        f"{words[1]} (proved)."
    )
    return said


def tables(report: Collapse) -> list[Table]:
    """(title, columns, rows) of every table, all of them text."""
    depths: Table = (
        "After every layer, in units of ‖X_ℓ − X_0‖: how far from the collapsed network, and at most",
        ("layer", "‖X_ℓ − X_0‖", "no update", "no attention", "collapsed", "by rows", "moments", "by columns"),
        [
            [str(x.layers), _short(x.update), "1"]
            + [_short(_relative(y, x.update)) for y in (x.attended, x.distance, x.rows, x.moments, x.columns)]
            for x in report.depths
        ],
    )
    found = [depths]
    if math.isfinite(report.depths[0].spread):
        what = "D(X_ℓ − X_0)" if report.skip else "D(X_ℓ)"
        found.append(
            (
                f"How different the tokens' updates are: {what}, and at most"
                if report.skip
                else f"{what}, and at most",
                ("layer", what, "by ranges", "by norms alone"),
                [
                    [str(x.layers), *(_short(y) for y in (x.spread, x.spread_ranges, x.spread_norms))]
                    for x in report.depths
                ],
            )
        )
    found.append(
        (
            "Every layer alone, handed what the network hands it; mixed = ‖PZV‖, the rest in units of it",
            (
                "layer", "η max", "η median", "tanh(η/4)", "D(Z)", "mixed", "no update", "uniform", "at most",
                "moments", "D(PZV)", "by ranges", "by norms",
            ),
            [
                [str(x.number), *(_short(y) for y in (x.range, x.range_median, x.weight, x.diameter, x.mixed)), "1"]
                + [
                    _short(_relative(y, x.mixed))
                    for y in (x.apart, x.apart_bound, x.apart_moments, x.spread, x.spread_bound, x.spread_norms)
                ]
                for x in report.layers
            ],
        )
    )  # fmt: skip
    for mlp, title in (
        (True, "All weights times s"),
        (False, "The weights of attention times s, the MLPs as they are"),
    ):
        rows = [x for x in report.scales if x.mlp is mlp]
        if rows:
            columns = (
                "s",
                "‖X_L − X_0‖",
                "no attention",
                "collapsed",
                "at most",
                "κ",
                "a layer's share that is not uniform",
            )
            found.append((f"{title}, distances in units of ‖X_L − X_0‖", columns, [_scale(x) for x in rows]))
    return found


def to_text(report: Collapse, *, width: int = 140, colour: bool = False) -> str:
    """The sentences and the tables of a report."""
    from rich.console import Console
    from rich.table import Table as Grid

    console = Console(file=io.StringIO(), width=width, force_terminal=colour, no_color=not colour)
    for sentence in sentences(report):
        console.print(sentence, highlight=False)
    for title, columns, rows in tables(report):
        grid = Grid(title=title, box=None, title_justify="left")
        for name in columns:
            grid.add_column(name, justify="right")
        for row in rows:
            grid.add_row(*row)
        console.print()
        console.print(grid)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


def to_json(report: Collapse) -> str:
    """The whole report; ``version`` counts the changes of the fields, and a number that is not finite is null."""
    content = {"version": VERSION, "sentences": sentences(report), **_plain(dataclasses.asdict(report))}
    for row, x in zip(content["layers"], report.layers, strict=True):
        row |= {"weight": x.weight, "share": x.share}
    for row, y in zip(content["scales"], report.scales, strict=True):
        row |= _plain({"relative": y.relative, "relative_bound": y.relative_bound})
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def to_html(report: Collapse) -> str:
    """One self-contained page: sentences, pictures and tables.

    Raises ``ImportError`` where jinja2 or matplotlib is not installed.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = (files("assay.impl.cpu.layer_collapse") / "collapse.html").read_text(encoding="utf-8")
    page: str = environment.from_string(source).render(
        name=report.name,
        sentences=sentences(report),
        tables=tables(report),
        pictures=[("by the scale of the weights", _by_scale(report)), ("by layer", _by_layer(report))],
    )
    return page


def _by_scale(report: Collapse) -> str:
    """The relative distance against the factor of the weights, as SVG."""
    figure, axes = _figure()
    for mlp, words, style in ((True, "all weights", "-"), (False, "attention's weights", "--")):
        rows = [x for x in report.scales if x.mlp is mlp]
        if not rows:
            continue
        factors = [x.factor for x in rows]
        axes.loglog(factors, [_drawn(x.relative) for x in rows], f"C0o{style}", label=f"distance, {words}")
        attended = [_drawn(_relative(x.attended, x.update)) for x in rows]
        axes.loglog(factors, attended, f"C4.{style}", label=f"no attention, {words}")
        axes.loglog(factors, [_drawn(x.relative_bound) for x in rows], f"C1^{style}", label=f"bound, {words}")
    axes.axhline(1.0, color="grey", label="no update")
    axes.axhline(report.epsilon, color="grey", linestyle=":", label=f"ε = {report.epsilon:g}")
    for value, name in ((report.s_true, "s_true"), (report.s_star, "s*: κ = 1")):
        if 0 < value < math.inf:
            axes.axvline(value, color="C3" if name == "s_true" else "C2", linestyle="-.", label=name)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("factor s of the weights")
    axes.set_ylabel("‖X_L − Y_L‖ / ‖X_L − X_0‖")
    return _svg(figure, axes)


def _by_layer(report: Collapse) -> str:
    """What uniform attention leaves of every layer, and the distance after it, as SVG."""
    figure, axes = _figure()
    numbers = [x.number for x in report.layers]
    axes.semilogy(numbers, [_drawn(x.share) for x in report.layers], "C0o-", label="layer alone: not uniform")
    bounds = [_drawn(_relative(x.apart_moments, x.mixed)) for x in report.layers]
    axes.semilogy(numbers, bounds, "C1^-", label="layer alone: at most")
    distances = [_drawn(_relative(x.distance, x.update)) for x in report.depths]
    axes.semilogy(numbers, distances, "C2s-", label="from the collapsed network")
    axes.semilogy(numbers, [_drawn(_relative(x.bound, x.update)) for x in report.depths], "C3v-", label="at most")
    axes.axhline(1.0, color="grey", label="no update")
    axes.set_xlabel("layer")
    axes.set_ylabel("in units of the update")
    return _svg(figure, axes)


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Any, axes: Any) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    axes.legend(fontsize="small")
    drawn = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(drawn, metadata={"Date": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]


def _scale(x: Scale) -> list[str]:
    numbers = (x.factor, x.update, _relative(x.attended, x.update), x.relative, x.relative_bound, x.kappa)
    return [*(_short(number) for number in numbers), f"{_short(x.least)} … {_short(x.most)}"]


def _relative(number: float, size: float) -> float:
    return number / size if size else math.inf if number else 0.0


def _drawn(number: float) -> float:
    """The number, or a gap in the line where a logarithm has none."""
    return number if 0.0 < number < math.inf else math.nan


def _short(number: float) -> str:
    return f"{number:.3g}" if math.isfinite(number) else "–"


def _plain(content: Any) -> Any:
    """The same without numbers that are not finite, which JSON has not."""
    if isinstance(content, dict):
        return {name: _plain(x) for name, x in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(x) for x in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
