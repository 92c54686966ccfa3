"""``assay phase``: where fast attention ends, and where the heads of real models stand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.arguments import Json
from assay.cli.console import PASSED, Interrupted, coloured, say
from assay.cli.files import require_writable, write
from assay.cli.models import model_of, text_of
from assay.conformance.interface.usage import UsageError
from assay.spec.instances.extra import how_to_install

if TYPE_CHECKING:
    from assay.impl.phase import Diagram

__all__ = ["phase"]

_PICTURES = (".png", ".svg", ".pdf")


def phase(
    length: Annotated[
        list[int] | None, typer.Option(help="A number n of keys (repeatable; default 2^10 … 2^20).")
    ] = None,
    ratio: Annotated[list[float] | None, typer.Option(help="A ratio B/√(ln n) (repeatable; default 0.05 … 2).")] = None,
    constant: Annotated[float, typer.Option(help="c of the dimension d = ⌈c·log2 n⌉.")] = 1.0,
    error: Annotated[float, typer.Option(help="Of the output, in units of the range of V.")] = 1e-3,
    measure_to: Annotated[int, typer.Option(help="The longest n that is timed; above, extrapolated.")] = 4096,
    models: Annotated[
        list[str] | None, typer.Option(help="smollm2, minilm, a .gguf or .safetensors file (repeatable): their heads.")
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="What the models read (default Python's own documentation).")
    ] = None,
    tokens: Annotated[int, typer.Option(help="How much of it, in tokens.")] = 512,
    json: Json = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it: a .png, .svg or .pdf file.")] = None,
) -> int:
    """Degree, rank, error and time of both routes of attention against n and B/√(ln n); where real models stand."""
    from assay.impl import phase as phases

    require_writable(json)
    _require_drawable(plot)
    try:
        diagram = phases.diagram(
            length or phases.LENGTHS,
            ratio or phases.RATIOS,
            constant=constant,
            error=error,
            measured_to=measure_to,
            heads=_heads(models or [], text, tokens),
        )
    except ValueError as refusal:
        raise UsageError(str(refusal)) from None
    except phases.Interrupted as end:
        _show(end.diagram, json, plot)
        raise Interrupted(f"interrupted after {len(end.diagram.cells)} of {end.total} cells") from None
    _show(diagram, json, plot)
    return PASSED


def _show(diagram: Diagram, json: Path | None, plot: Path | None) -> None:
    """Write and say a diagram, whole or not."""
    from assay.impl import phase as phases

    if json is not None:
        write(json, phases.to_json(diagram))
    if plot is not None and diagram.cells:
        phases.to_plot(diagram, plot)
    say(phases.to_text(diagram, colour=coloured()), beside=json)


def _heads(models: list[str], text: Path | None, tokens: int) -> list[Any]:
    """The heads of every model on the first ``tokens`` of a text."""
    from assay.impl.models import head_bounds
    from assay.impl.phase import heads_of

    if not models:
        return []
    words = text_of(text)
    heads: list[Any] = []
    for name in models:
        heads.extend(heads_of(Path(name).stem, head_bounds(model_of(name), words, tokens)))
    return heads


def _require_drawable(path: Path | None) -> None:
    """Refuse now what would fail after a long run."""
    if path is None:
        return
    if path.suffix not in _PICTURES or not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: expected a file that ends in {', '.join(_PICTURES)} in a folder that is there")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(f"--plot: needs matplotlib, {how_to_install('report')}")
