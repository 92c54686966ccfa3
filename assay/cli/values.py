"""Commands that compute what is right on a saved instance: ``assay reference`` and ``assay bound``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli.arguments import Instance, precision_named
from assay.cli.console import PASSED, say
from assay.cli.files import writing
from assay.conformance.interface.usage import UsageError
from assay.spec.problem import InvalidInstance, named

__all__ = ["bound", "reference"]

Output = Annotated[str | None, typer.Option(help="Which output of the problem (default the first).")]

_SHOWN_ELEMENTS = 6


def reference(
    instance: Instance,
    relative: Annotated[
        float, typer.Option(help="How small the radius is to be, beside the size of the terms.")
    ] = 1e-12,
    output: Output = None,
    to: Annotated[Path | None, typer.Option("-o", help="Write midpoint and radius to this .npz file.")] = None,
) -> int:
    """The certified value on a saved instance."""
    import numpy as np

    from assay.spec.written import written

    problem, loaded = _loaded(instance)
    name = _output_named(output, problem)
    try:
        with named(instance):
            enclosure = problem.define(loaded, relative, name)
    except InvalidInstance:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from None
    if to is not None:
        with writing(to), written(to) as file:
            np.savez(file, midpoint=enclosure.midpoint, radius=enclosure.radius)
    radii = f"{enclosure.radius.min():.2g} … {enclosure.radius.max():.2g}" if enclosure.radius.size else "of no element"
    say(f"{problem.NAME}  {name}  shape {enclosure.shape}  radius {radii}")
    for index in list(np.ndindex(enclosure.shape))[:_SHOWN_ELEMENTS]:
        say(f"[{', '.join(map(str, index))}]  {enclosure[index]}")
    return PASSED


def bound(
    instance: Instance,
    precision: Annotated[str, typer.Option(help="The class of arithmetic.")],
    output: Output = None,
    to: Annotated[
        Path | None, typer.Option("-o", help="Write the tolerance of every element to this .npy file.")
    ] = None,
) -> int:
    """The tolerance of every correct kernel of a class on a saved instance."""
    import numpy as np

    from assay.spec.written import written

    problem, loaded = _loaded(instance)
    name = _output_named(output, problem)
    machine = precision_named(precision, problem.NAME)
    with named(instance):
        tolerance = problem.tolerance(loaded, machine, name)
    if to is not None:
        with writing(to), written(to) as file:
            np.save(file, tolerance)
    inside = tolerance[np.isfinite(tolerance)]
    say(f"{problem.NAME}  {name}  shape {tolerance.shape}  {precision}")
    if inside.size:
        say(f"tolerance  min {inside.min():.3g}  median {np.median(inside):.3g}  max {inside.max():.3g}")
    say(f"outside the domain of the class: {tolerance.size - inside.size} of {tolerance.size} elements")
    return PASSED


def _loaded(path: Path) -> tuple[Any, Any]:
    """The module of the problem that a file is about, and the instance in it.

    Raises :class:`~assay.spec.problem.InvalidInstance` in one line.
    """
    from assay.spec.problem import problem
    from assay.spec.saved import known_problem_of

    module = problem(known_problem_of(path))
    return module, module.Instance.load(path)


def _output_named(name: str | None, problem: Any) -> str:
    """An output of the problem, its main one if none is named."""
    outputs: tuple[str, ...] = problem.OUTPUTS
    if name is not None and name not in outputs:
        raise UsageError(f"unknown output {name!r}: expected one of {', '.join(outputs)}")
    return name or outputs[0]
