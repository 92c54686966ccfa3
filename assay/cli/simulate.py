"""``assay simulate``: a pretrained model on a text longer than a small transformer takes, by calls of such a one."""

from __future__ import annotations

import dataclasses
import json as json_
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.arguments import Json
from assay.cli.console import PASSED, say
from assay.cli.files import require_writable, write
from assay.cli.models import model_of, text_of
from assay.conformance.interface.usage import UsageError

if TYPE_CHECKING:
    from assay.impl.cpu.small_transformers.comparison import Compared
    from assay.impl.cpu.small_transformers.networks import Calls

__all__ = ["simulate"]

#: What a small transformer can do besides attention of M tokens: the keywords that it is handed.
_ORACLES = {
    "plain": (),
    "masked": ("mask", "is_causal"),
    "log-sum-exp": ("mask", "is_causal", "return_lse"),
    "causal": (),
}


def simulate(
    model: Annotated[str, typer.Argument(help="smollm2, minilm, or a .gguf or .safetensors file.")],
    text: Annotated[
        Path | None, typer.Option(help="What the model reads (default Python's own documentation).")
    ] = None,
    tokens: Annotated[int, typer.Option(help="How much of it, in tokens.")] = 512,
    size: Annotated[int, typer.Option(help="M, the most tokens of one call.")] = 128,
    oracle: Annotated[
        str, typer.Option(help="What the small transformer can do: plain, masked, log-sum-exp or causal.")
    ] = "plain",
    at_once: Annotated[int, typer.Option(help="The heads that one call computes, in all its layers.")] = 1,
    window: Annotated[int | None, typer.Option(help="Beside it, with a window of so many keys.")] = None,
    sinks: Annotated[int, typer.Option(help="And so many first keys that the window does not hide.")] = 0,
    error: Annotated[float | None, typer.Option(help="Beside it, with keys sampled until this error is met.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Make calls on a cluster of Dask: its address, or local for one on this machine.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="A folder to keep results in, and to go on from.")] = None,
    json: Json = None,
) -> int:
    """What a model computes by calls of a small transformer, beside what it computes in one pass."""
    from assay.impl.cluster import ClusterError
    from assay.impl.cpu.small_transformers import CallError
    from assay.impl.cpu.small_transformers.comparison import compared

    require_writable(json)
    if oracle not in _ORACLES:
        raise UsageError(f"--oracle {oracle}: expected one of {', '.join(_ORACLES)}")
    words = text_of(text)
    try:
        opened = model_of(model)
        if not 2 <= tokens <= opened.longest:
            raise UsageError(f"--tokens {tokens}: expected from 2 to {opened.longest}")
        ways = _ways(size, oracle, at_once, window, sinks, error, scheduler, resume)
        rows = compared(opened, opened.encode(words, tokens), ways, sys.stderr.isatty())
    except (ValueError, CallError, ClusterError) as refusal:
        raise UsageError(str(refusal)) from None
    if json is not None:
        content = {"model": opened.name, "tokens": tokens, "size": size, "oracle": oracle, "bounds": _bounds()}
        write(json, json_.dumps(content | {"rows": [dataclasses.asdict(row) for row in rows]}, indent=1))
    title = f"{opened.name}, {tokens} tokens by calls of {size}, an oracle that is {oracle}"
    say(f"{title}\n{_table(rows)}\n\n{_bounds()}", beside=json)
    return PASSED


def _bounds() -> str:
    """What the numbers of calls are to be compared with: the counting bound, and what a reduction says without it."""
    from assay.spec.reductions.graph import path

    return (
        "÷ bound: no plan whose tokens are rows of the input has fewer calls than 1 (ST-2).\n"
        "Where results are fed back too, T calls of M tokens that compute attention of N tokens have\n"
        f"T·M² ≥ N^(2 − o(1)) under SETH (ST-7, by {path('satisfiability', 'small_transformers').name})."
    )


def _ways(
    size: int,
    kind: str,
    at_once: int,
    window: int | None,
    sinks: int,
    error: float | None,
    scheduler: str | None,
    resume: Path | None,
) -> dict[str, Calls]:
    """The exact way, and what the options ask for beside it."""
    from assay.impl.cpu.small_transformers.networks import Calls
    from assay.impl.cpu.small_transformers.oracles import Refusing

    small = Refusing(size, kind == "causal")
    common: dict[str, Any] = {"at_once": at_once, "keywords": _ORACLES[kind]}
    exact = common | {"causal_only": kind == "causal", "scheduler": scheduler, "precision": "float64"}
    wanted = {"every key": exact}
    if window is not None:
        named = f"window of {window}, {sinks} sinks" if sinks else f"window of {window}"
        wanted[named] = exact | {"window": window, "sinks": sinks}
    if error is not None:
        if kind == "causal":
            raise UsageError("--error: a sample of keys needs an oracle that is not causal only")
        wanted[f"sampled, error {error:g}"] = common | {"error": error}
    ways = {}
    for number, (name, options) in enumerate(wanted.items()):
        folder = None if resume is None or "error" in options else resume / f"way-{number}"
        ways[name] = Calls(small, size, options, folder)
    return ways


def _table(rows: list[Compared]) -> str:
    """What became of every way, a line each."""
    lines = [("", "perplexity", "difference", "allowed", "÷ proved", "calls", "÷ bound")]
    lines += [
        (
            row.name,
            "" if row.perplexity is None else f"{row.perplexity:.6g}",
            f"{row.difference:.2g}",
            "" if row.allowed is None else f"{row.allowed:.2g}",
            "" if row.layer_ratio is None else f"{row.layer_ratio:.2g}",
            str(row.calls) if row.planned else "",
            f"{row.planned / row.counting_bound:.3f}" if row.counting_bound else "",
        )
        for row in rows
    ]
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(map(str.rjust, line[1:], widths[1:]))]).rstrip() for line in lines
    )
