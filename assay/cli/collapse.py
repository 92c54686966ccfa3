"""``assay collapse``: how near a network is to uniform attention, by layer, depth and scale of its weights."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.arguments import Json
from assay.cli.console import PASSED, coloured, say
from assay.cli.files import require_writable, write
from assay.cli.models import model_of, text_of
from assay.conformance.interface.usage import UsageError
from assay.spec.instances.extra import how_to_install

if TYPE_CHECKING:
    from assay.impl.cpu.layer_collapse.parts import Network

__all__ = ["collapse"]

_FILES = (".gguf", ".safetensors")
_TOKENS = 64  # that a model reads


def collapse(
    model: Annotated[
        str, typer.Argument(help="smollm2, minilm, a .gguf or .safetensors file, or a saved instance (.npz).")
    ],
    text: Annotated[
        Path | None, typer.Option(help="What the model reads (default Python's own documentation).")
    ] = None,
    tokens: Annotated[int | None, typer.Option(help="How much of it, in tokens (default 64).")] = None,
    scale: Annotated[
        list[float] | None, typer.Option(help="A factor of all weights (repeatable; default 2^-8 … 2).")
    ] = None,
    epsilon: Annotated[
        float, typer.Option(help="Up to which factor is it nearer than that, in units of its update?")
    ] = 0.1,
    json: Json = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with tables and pictures.")] = None,
) -> int:
    """How far a network is from the one that its small weights would make of it: as measured, and as proved."""
    from assay.impl.cpu import layer_collapse
    from assay.impl.cpu.layer_collapse import render

    for path in (json, html):
        require_writable(path)
    missing = [name for name in ("jinja2", "matplotlib") if importlib.util.find_spec(name) is None]
    if html is not None and missing:
        raise UsageError(f"--html: needs {' and '.join(missing)}, {how_to_install('report')}")
    try:
        network = _network(model, text, tokens)
        report = layer_collapse.collapse(
            network, scales=scale or layer_collapse.SCALES, epsilon=epsilon, progress=sys.stderr.isatty()
        )
    except ValueError as refusal:
        raise UsageError(str(refusal)) from None
    if json is not None:
        write(json, render.to_json(report))
    if html is not None:
        write(html, render.to_html(report))
    say(render.to_text(report, colour=coloured()), beside=json)
    return PASSED


def _network(model: str, text: Path | None, tokens: int | None) -> Network:
    """The network that the word names, with its tokens."""
    from assay.impl.cpu.layer_collapse import sources
    from assay.spec.layer_collapse import load

    if model.endswith(".npz"):
        for option, value in (("--text", text), ("--tokens", tokens)):
            if value is not None:
                raise UsageError(f"{option}: an instance brings its tokens")
        return sources.network(load(model))
    words = text_of(text)
    opened = model_of(model)
    wanted = _TOKENS if tokens is None else tokens
    if not 2 <= wanted <= opened.longest:
        raise UsageError(f"--tokens {wanted}: expected from 2 to {opened.longest}")
    return sources.network(opened, opened.encode(words, wanted))
