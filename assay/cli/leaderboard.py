"""``assay leaderboard``: subquadratic stand-ins for attention on hard instances."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli.arguments import Json
from assay.cli.console import PASSED, coloured, say
from assay.cli.files import require_writable, write
from assay.conformance.interface.targets import function_named
from assay.conformance.interface.usage import UsageError
from assay.spec.instances.extra import how_to_install

__all__ = ["leaderboard"]

_PICTURES = (".png", ".svg", ".pdf")


def leaderboard(
    length: Annotated[list[int] | None, typer.Option(help="A number n of queries (repeatable).")] = None,
    instances: Annotated[int, typer.Option(help="Of every length; half of them have a planted pair.")] = 8,
    budget: Annotated[int, typer.Option(help="What a method may spend on a token: features, landmarks, keys, …")] = 64,
    most: Annotated[int, typer.Option(help="The largest budget that is tried to find the one needed.")] = 4096,
    method: Annotated[
        list[str] | None,
        typer.Option(help="A method by name, or a function of yours as MODULE:NAME or FILE.py:NAME (repeatable)."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the instances and of random weights.")] = 0,
    json: Json = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it: a .png, .svg or .pdf file.")] = None,
) -> int:
    """Which approximate methods decide hard instances at a budget, at what error and time, and what they need."""
    from assay.impl import leaderboard as boards
    from assay.impl.cpu.progress import told

    require_writable(json)
    if plot is not None and (plot.suffix not in _PICTURES or not plot.absolute().parent.is_dir()):
        raise UsageError(f"{plot}: expected a file that ends in {', '.join(_PICTURES)} in a folder that is there")
    if plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise UsageError(f"--plot: needs matplotlib, {how_to_install('report')}")
    chosen = [_method(name) for name in method] if method else list(boards.METHODS.values())
    try:
        with told(sys.stderr.isatty(), "leaderboard") as tell:
            found = boards.board(
                length or boards.LENGTHS,
                count=instances,
                budget=budget,
                most=most,
                methods=chosen,
                seed=seed,
                progress=lambda done, total, _: tell(done, total),
            )
    except ValueError as refusal:
        raise UsageError(str(refusal)) from None
    if json is not None:
        write(json, boards.to_json(found))
    if plot is not None:
        boards.to_plot(found, plot)
    say(boards.to_text(found, colour=coloured()), beside=json)
    return PASSED


def _method(name: str) -> Any:
    """A built-in method, or a function of the user's, named as a kernel is."""
    from assay.impl.leaderboard import METHODS, Method

    if name in METHODS:
        return METHODS[name]
    if ":" not in name:
        raise UsageError(f"unknown method {name!r}: expected MODULE:NAME, FILE.py:NAME or one of {', '.join(METHODS)}")
    return Method(name, function_named(name, METHODS), "budget", "")
