"""Arguments and options that several commands share: how they are declared, and what their words mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from assay.conformance.interface.usage import UsageError

__all__ = [
    "CallSeconds",
    "Device",
    "Framework",
    "Instance",
    "Isolate",
    "Json",
    "Memory",
    "Options",
    "Problem",
    "Seed",
    "Target",
    "is_explicit",
    "limits",
    "precision_named",
]

Instance = Annotated[Path, typer.Argument(help="A saved instance (.npz).")]
Target = Annotated[str, typer.Argument(help="module:function, file.py:function or a built-in.")]
Problem = Annotated[
    str | None, typer.Option(help="What the kernel is to compute (default: told by the names of its arrays).")
]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same cases.")]
Framework = Annotated[str | None, typer.Option(help="Arrays that the kernel takes: numpy, torch, jax, …")]
Device = Annotated[
    str, typer.Option(metavar="NAME", help="Where its framework lays the arrays: cuda, cuda:1, … (torch, jax, cupy).")
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="A convention that the kernel declares (repeatable)."),
]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write everything as JSON; - is stdout, and words go to stderr."),
]
Isolate = Annotated[bool, typer.Option("--isolate", help="Run the kernel in a process of its own.")]
CallSeconds = Annotated[float | None, typer.Option(metavar="SECONDS", help="The limit of one call (default 60).")]
Memory = Annotated[
    int | None, typer.Option(metavar="MIB", help="With --isolate: how far the process may grow (default 8192).")
]


def is_explicit(context: typer.Context, parameter: str) -> bool:
    """Whether the user wrote an option, be it with the value that it has by default."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def limits(isolate: bool, call_seconds: float | None, memory: int | None) -> dict[str, Any]:
    """The limits of a call as arguments of a judgement, without those that are left to its defaults.

    Raises ``UsageError`` for a limit of memory without a process to hold it.
    """
    if memory is not None and not isolate:
        raise UsageError("--memory: needs --isolate, a process whose memory is the kernel's")
    arguments = {"isolate": isolate, "call_seconds": call_seconds, "memory": memory}
    return {name: value for name, value in arguments.items() if value is not None}


def precision_named(name: str, problem: str | None = None) -> str:
    """The name of a class of arithmetic that makes sense for a problem, or for any.

    Raises ``UsageError``, which names the classes, if there is none of it.
    """
    from assay.conformance.engagement import require_precision

    return require_precision(name, problem).name
