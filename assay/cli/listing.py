"""Commands that say what there is: ``assay list`` and ``assay claims``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.console import FAILED, PASSED, say
from assay.conformance.interface.targets import missing
from assay.conformance.interface.usage import UsageError
from assay.spec.instances.extra import how_to_install
from assay.spec.problem import PROBLEMS

__all__ = ["claims", "list_"]


def list_(
    what: Annotated[str | None, typer.Argument(help="A problem; or reductions, the graph of reductions.")] = None,
    dot: Annotated[bool, typer.Option("--dot", help="The graph in Graphviz' language.")] = False,
) -> int:
    """Problems and levels, and for every problem its signature, classes, targets, families and laws."""
    if what == "reductions":
        from assay.spec import reductions

        say(reductions.dot() if dot else reductions.draw())
        return PASSED
    if dot:
        raise UsageError("--dot: only with `list reductions`")
    if what is not None:
        if what not in PROBLEMS:
            raise UsageError(f"list {what!r}: expected reductions, nothing, or one of {', '.join(PROBLEMS)}")
        _list_problem(what)
        return PASSED
    from assay.conformance.judge.level import BUDGETS

    levels = ", ".join(f"{level} ({seconds:g} s)" for level, seconds in BUDGETS.items())
    say(f"problems   {', '.join(PROBLEMS)}\nlevels     {levels}")
    for problem in PROBLEMS:
        _list_problem(problem)
    return PASSED


def _list_problem(name: str) -> None:
    """How kernels of one problem are called, its classes, targets, families and laws."""
    from assay.conformance.interface.suite import suite
    from assay.conformance.report.table import table
    from assay.spec.problem import problem

    module = problem(name)
    targets = [
        (
            target.name,
            how_to_install(target.extra) if missing(target) else "installed",
            ", ".join(target.precisions),
        )
        for target in suite(name).targets.values()
    ]
    families = [(family.id, family.level, family.hunts) for family in suite(name).families]
    laws = [(law.id, law.claim, law.statement) for law in module.LAWS]
    axes = [
        (group, ", ".join(of.names), "multiples of a number" if of.multiples else "a number")
        for group, of in suite(name).axes.items()
    ]
    say("\n".join([f"\nkernels of {name}", *(f"  {form.signature}" for form in suite(name).interface.forms)]))
    say(f"\nclasses of {name}\n  {', '.join(module.PRECISIONS)}")
    if axes:
        say("\n".join([f"\nlengths that a kernel of {name} may declare", *(f"  {line}" for line in table(axes))]))
    for title, rows in (("targets", targets), ("families", families), ("laws", laws)):
        say("\n".join([f"\n{title} of {name}", *(f"  {line}" for line in table(rows))]))


def claims(
    results: Annotated[
        list[Path] | None, typer.Option(help="What `pytest --assay-claims FILE` wrote (repeatable).")
    ] = None,
) -> int:
    """Every claim of proofs_notes, the tests that check it and how they went; run in the root of the repository."""
    from assay.conformance.claims import claims as ledger_of

    ledger = ledger_of(Path("proofs_notes"), Path("tests"), Path("conformance"), results=results or ())
    say(ledger.to_text())
    return PASSED if ledger.complete else FAILED
