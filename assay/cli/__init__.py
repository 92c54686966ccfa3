"""The command ``assay``: judge kernels, replay findings, certified values, tolerances, claims.

This module holds the command line as a whole: which commands there are, and how each of them ends.  A command ends
with exit status 0 if what it judged passed, 1 if that failed, 2 on bad usage, which is said in one line on stderr, 3
if nothing failed but something that should have been judged never ran, and 130 if it was interrupted.

The commands themselves are in the modules of this package, one subject a module.  All of these are imported at once,
because typer reads the options of a command from its signature, so they import nothing but typer and the names of the
problems; a command imports whatever is heavy when it runs.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shlex
import sys
import traceback
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from assay import __version__
from assay.cli import calibrate, check, collapse, compare, hard, leaderboard, listing, phase, simulate, values
from assay.cli.console import FAILED, INTERRUPTED, MISUSED, PASSED, Interrupted, Invocation, Unwritable, refuse, say
from assay.cli.ending import ended_by_others, opened_streams
from assay.conformance.interface.targets import first_line
from assay.conformance.interface.usage import UsageError
from assay.spec.problem import InvalidInstance, Uncertified

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "main", "run"]

_EXIT_SECONDS = 10.0  # for what was registered with atexit

app = typer.Typer(
    name="assay",
    help="Judge kernels (attention, its gradient, rotary embeddings, layers, similarity) against exact definitions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: the boxes of rich show a type beside every flag, and take a second of loading
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: The base class of click's usage errors.  It is reached through typer because newer versions of typer carry click
#: within themselves, where it has another name.
_CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    arguments: the words after ``assay``; those of the process if left out.

    >>> main(["--version"])  # doctest: +ELLIPSIS
    assay ...
    0
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        words = sys.argv[1:] if arguments is None else arguments
        invocation = Invocation(shlex.join(["assay", *words]), own=arguments is None)
        status = int(app(words, prog_name="assay", standalone_mode=False, obj=invocation) or PASSED)
    except (UsageError, InvalidInstance, Uncertified, FloatingPointError, Unwritable) as error:
        return refuse(str(error), MISUSED)
    except MemoryError as error:
        return refuse(f"not enough memory: {first_line(error) or 'for what was asked'}", MISUSED)
    except _CommandLineError as error:
        return refuse(getattr(error, "format_message", error.__str__)(), MISUSED)
    except Interrupted as error:
        return refuse(str(error), INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    # some versions of typer catch the interruption themselves and return its status
    return refuse("interrupted", INTERRUPTED) if status == INTERRUPTED else status


def _silent(_: object) -> None:
    """Say nothing of what goes wrong in what was registered with ``atexit``: the verdict is said already."""


def run() -> NoReturn:
    """Run the command line as a process: nothing that a kernel left behind changes its exit status or keeps it alive.

    Threads that still run are left to end with the process.  What was registered with ``atexit`` is called before.
    """
    from assay.conformance.call.deadline import deadline
    from assay.conformance.call.surroundings import kept_alive

    end = os._exit
    os.environ.setdefault("ASSAY_COSTS", "fixed")  # what a command says is the same on every processor
    with ended_by_others(), kept_alive():
        try:
            opened_streams()
            status = main()
        except BaseException:  # an error of ours
            traceback.print_exc()
            status = FAILED
        sys.unraisablehook = _silent
        with contextlib.suppress(BaseException), deadline(_EXIT_SECONDS):
            atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    end(status)
    raise SystemExit(status)  # never reached


def _say_version(wanted: bool) -> None:
    if wanted:
        say(f"assay {__version__}")
        raise typer.Exit


@app.callback()
def _assay(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


# the order of the help text
app.command()(check.check)
app.command()(check.profile)
app.command()(check.replay)
app.command()(compare.compare)
app.command()(values.reference)
app.command()(values.bound)
app.command()(hard.hard)
app.command()(hard.decode)
app.command()(phase.phase)
app.command()(collapse.collapse)
app.command()(simulate.simulate)
app.command()(leaderboard.leaderboard)
app.command()(calibrate.calibrate)
app.command("list")(listing.list_)
app.command()(listing.claims)
