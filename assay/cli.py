"""The command ``assay``: judge kernels, replay findings, certified values, tolerances, claims.

Exit status 0: passed; 1: failed; 2: bad usage, said in one line on stderr; 130: interrupted.  Everything heavy is
imported by the command that needs it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay import __version__
from assay.conformance.interface.targets import UsageError, documented, missing, option_values
from assay.spec.problem import PROBLEMS, InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from assay.conformance.interface.suite import Target
    from assay.conformance.report.report import Report

__all__ = ["app", "main"]

PASSED, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="assay",
    help="Judge attention and kernel implementations against their exact specification.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

#: The base of the usage errors of click, which newer versions of typer carry within.
_CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = int(app(arguments, prog_name="assay", standalone_mode=False) or PASSED)
    except (UsageError, InvalidInstance) as error:
        return _refuse(str(error), MISUSED)
    except _CommandLineError as error:
        return _refuse(getattr(error, "format_message", error.__str__)(), MISUSED)
    except _Interrupted as error:
        return _refuse(str(error), INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    return _refuse("interrupted", INTERRUPTED) if status == INTERRUPTED else status  # some versions of typer catch it


class _Interrupted(Exception):
    """Interrupted by the user: what was done until then."""


def _refuse(sentence: str, status: int) -> int:
    """One line on stderr.  An empty sentence (help was shown instead) says nothing."""
    if sentence.strip():
        print(f"assay: {' '.join(sentence.split())}", file=sys.stderr)
    return status


def _say(text: str) -> None:
    print(text, flush=True)


def _version(wanted: bool) -> None:
    if wanted:
        _say(f"assay {__version__}")
        raise typer.Exit


@app.callback()
def _assay(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


Instance = Annotated[Path, typer.Argument(help="A saved instance (.npz).")]
Problem = Annotated[str, typer.Option(help="What the kernel is to compute.")]
Framework = Annotated[str | None, typer.Option(help="Arrays that the kernel takes: numpy, torch, jax, …")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="A convention that the kernel declares (repeatable)."),
]
Isolate = Annotated[bool, typer.Option("--isolate", help="Run the kernel in a process of its own.")]
CallSeconds = Annotated[float | None, typer.Option(metavar="SECONDS", help="The limit of one call (default 60).")]
Memory = Annotated[
    int | None, typer.Option(metavar="MIB", help="With --isolate: how far the process may grow (default 8192).")
]
Output = Annotated[str | None, typer.Option(help="Which output of the problem (default the first).")]


# --- check and replay -------------------------------------------------------------------------------------------------


@app.command()
def check(
    target: Annotated[
        str | None, typer.Argument(help="module:function, file.py:function or a built-in; every built-in if left out.")
    ] = None,
    problem: Problem = PROBLEMS[0],
    precision: Annotated[
        str | None, typer.Option(help="The class of arithmetic that the kernel claims (default float32).")
    ] = None,
    level: Annotated[str, typer.Option(help="smoke, standard or thorough.")] = "standard",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same cases.")] = 0,
    framework: Framework = None,
    option: Options = None,
    error: Annotated[
        float | None,
        typer.Option(help="Of an approximate kernel: the error asked of it; that of the class if left out."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the reports as JSON, after each of them.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write them as one page.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write them as JUnit XML.")] = None,
    reproducers: Annotated[
        Path | None, typer.Option(help="The folder for failing instances (default a new one).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what the JSON file already holds at this level and seed.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the verdict, one line a report.")] = False,
    isolate: Isolate = False,
    call_seconds: CallSeconds = None,
    memory: Memory = None,
    corpus: Annotated[
        Path | None, typer.Option(help="Run it over this corpus of hard instances (assay hard --corpus).")
    ] = None,
) -> int:
    """Judge a kernel, or every installed built-in in each class that it documents."""
    import assay
    from assay.conformance.report.render import summary

    if error is not None:
        option = [*(option or ()), f"error={error!r}"]
    if corpus is not None:
        unused: dict[str, Any] = {"--json": json, "--html": html, "--junit": junit, "--reproducers": reproducers}
        unused |= {"--resume": resume or None, "--isolate": isolate or None, "--memory": memory}
        for name, value in unused.items():
            if value is not None:
                raise UsageError(f"{name}: not with --corpus")
        if target is None:
            raise UsageError("--corpus: needs the kernel that is to run over it")
        return _over_corpus(target, corpus, precision or "float32", framework, option, call_seconds, quiet)

    files = _Files(json, html, junit)
    files.prepare(resume)
    if reproducers is not None:
        _make_folder(reproducers)
    plan = _plan(target, problem, precision)
    limits = _limits(isolate, call_seconds, memory)
    found, others = files.earlier(plan, problem, level, seed) if resume else ({}, [])
    judged = partial(
        assay.check,
        problem=problem,
        level=level,
        seed=seed,
        framework=framework,
        options=option_values(option or []),
        reproducers=reproducers,
    )
    for pair in plan:
        if pair not in found:
            watch = _Watch()
            try:
                with _shown(watch, pair, quiet):
                    found[pair] = judged(pair[0], precision=pair[1], progress=watch.tell, **limits)
            except KeyboardInterrupt:
                place = f"interrupted in {' '.join(pair)} after {watch.progress}"
                raise _Interrupted(place + files.resumption(found, plan)) from None
        files.write([found[each] for each in plan if each in found], others)
        _say(_text(found[pair], brief=quiet or (len(plan) > 1 and found[pair].passed)))
    reports = [found[pair] for pair in plan]
    if target is None and not quiet:
        _say("\n" + summary(*reports, colour=_colour()))
        for absent in _absent(problem):
            _say(f"skipped {absent.name}: not installed, pip install 'assay[{absent.extra}]'")
    return PASSED if all(report.passed for report in reports) else FAILED


def _over_corpus(
    target: str,
    corpus: Path,
    precision: str,
    framework: str | None,
    option: list[str] | None,
    call_seconds: float | None,
    quiet: bool,
) -> int:
    from assay.conformance.corpus import check_corpus

    watch = _Watch()
    with _shown(watch, (target, str(corpus)), quiet):
        report = check_corpus(
            target,
            corpus,
            precision=precision,
            framework=framework,
            options=option_values(option or []),
            progress=watch.tell,
            **({} if call_seconds is None else {"call_seconds": call_seconds}),
        )
    text = report.to_text()
    _say(text.partition("\n")[0] if quiet else text)
    return PASSED if report.passed else FAILED


@app.command()
def profile(
    target: Annotated[str, typer.Argument(help="module:function, file.py:function or a built-in.")],
    problem: Problem = PROBLEMS[0],
    precision: Annotated[
        list[str] | None, typer.Option(help="A class to judge it in (repeatable; default every class).")
    ] = None,
    level: Annotated[str, typer.Option(help="smoke, standard or thorough, for each class.")] = "smoke",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same cases.")] = 0,
    framework: Framework = None,
    option: Options = None,
    json: Annotated[Path | None, typer.Option(help="Write the data sheet as JSON.")] = None,
) -> int:
    """The data sheet of a kernel: classes that it keeps, quality, determinism, conventions.  Judges nothing."""
    from assay.conformance.profile.profile import profile as profiled

    _Files(json, None, None).prepare(resume=False)
    watch = _Watch()
    with _shown(watch, (target, "profile"), quiet=False):
        sheet = profiled(
            target,
            problem,
            precisions=precision or (),
            level=level,
            seed=seed,
            framework=framework,
            options=option_values(option or []),
            progress=watch.tell,
        )
    if json is not None:
        _write(json, sheet.to_json())
    _say(sheet.to_text())
    return PASSED


@app.command()
def replay(
    instance: Instance,
    target: Annotated[str, typer.Option(help="The kernel: module:function, file.py:function or a built-in.")],
    precision: Annotated[str, typer.Option(help="The class of arithmetic that it claims.")] = "float32",
    layout: Annotated[str, typer.Option(help="How the arrays lie in memory: as the finding says.")] = "contiguous",
    after: Annotated[
        list[str] | None, typer.Option(help="A saved instance to call it with before (repeatable).")
    ] = None,
    beside: Annotated[
        list[str] | None, typer.Option(help="A saved instance for another thread at the same time; repeatable.")
    ] = None,
    framework: Framework = None,
    option: Options = None,
    isolate: Isolate = False,
    call_seconds: CallSeconds = None,
    memory: Memory = None,
) -> int:
    """Judge a kernel on one saved instance: what a finding's reproducer does."""
    from assay.conformance.replay import replay as replayed

    report = replayed(
        instance,
        target,
        precision=precision,
        layout=layout,
        framework=framework,
        options=option_values(option or []),
        after=after or (),
        beside=beside or (),
        **_limits(isolate, call_seconds, memory),
    )
    _say(_text(report))
    return PASSED if report.passed else FAILED


def _limits(isolate: bool, call_seconds: float | None, memory: int | None) -> dict[str, Any]:
    """As arguments of a judgement."""
    if memory is not None and not isolate:
        raise UsageError("--memory: needs --isolate, a process whose memory is the kernel's")
    given = {"isolate": isolate, "call_seconds": call_seconds, "memory": memory}
    return {name: value for name, value in given.items() if value is not None}


Pair = tuple[str, str]  # target, class


def _plan(target: str | None, problem: str, precision: str | None) -> list[Pair]:
    """What to judge: one target, or each built-in that is installed in each class that it documents."""
    if precision is not None:
        _known_precision(precision)
    if problem not in PROBLEMS:
        raise UsageError(f"unknown problem {problem!r}: expected one of {', '.join(PROBLEMS)}")
    if target is not None:
        return [(target, precision or "float32")]
    plan = documented(problem, precision)
    if not plan:
        raise UsageError(
            f"no installed built-in of {problem} documents {precision}" if precision else f"no built-in of {problem}"
        )
    return plan


def _absent(problem: str) -> list[Target]:
    from assay.conformance.interface.suite import suite

    return [each for each in suite(problem).targets.values() if missing(each)]


def _text(report: Report, *, brief: bool = False) -> str:
    from assay.conformance.report.render import to_text

    text = to_text(report, colour=_colour())
    return text.partition("\n")[0] if brief else text


def _colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _known_precision(name: str) -> str:
    from assay.spec.precision import precision

    try:
        return precision(name).name
    except ValueError as error:
        raise UsageError(str(error)) from None


@dataclass
class _Watch:
    """How far a judgement has come."""

    bar: Any = None
    progress: str = "0 cases"

    def tell(self, done: int, total: int, sentence: str) -> None:
        self.progress = f"{done} of {total} cases"
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=done, total=total)


@contextmanager
def _shown(watch: _Watch, pair: Pair, quiet: bool) -> Iterator[None]:
    """As a bar on stderr where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        bar.add_task(" ".join(pair))
        watch.bar = bar
        yield


@dataclass(frozen=True)
class _Files:
    """Where the reports are written."""

    json: Path | None
    html: Path | None
    junit: Path | None

    def prepare(self, resume: bool) -> None:
        """Refuse now what would fail after a long run."""
        from assay.conformance.report.render import to_html

        if resume and self.json is None:
            raise UsageError("--resume: needs --json FILE, where the earlier reports are")
        for path in (self.json, self.html, self.junit):
            if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
                raise UsageError(
                    f"{path}: cannot be written, {'it is a folder' if path.is_dir() else 'no such folder'}"
                )
        if self.html is not None:
            to_html()  # an empty page: is jinja2 there?

    def earlier(self, plan: list[Pair], problem: str, level: str, seed: int) -> tuple[dict[Pair, Report], list[Report]]:
        """Reports of the JSON file: those that answer a part of ``plan``, and the others."""
        from assay.conformance.report.render import from_json

        if self.json is None or not self.json.exists():
            return {}, []
        try:
            reports = from_json(self.json.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.json}: {error}") from None
        found: dict[Pair, Report] = {}
        others: list[Report] = []
        for report in reports:
            pair = report.kernel, report.precision
            if pair in plan and (report.problem, report.level, report.seed) == (problem, level, seed):
                found[pair] = report
            else:
                others.append(report)
        return found, others

    def write(self, reports: list[Report], others: list[Report]) -> None:
        """Every file anew: ``others`` are kept in the JSON."""
        from assay.conformance.report.render import to_html, to_json, to_junit

        if self.json is not None:
            _write(self.json, to_json(*others, *reports))
        if self.html is not None:
            _write(self.html, to_html(*reports))
        if self.junit is not None:
            _write(self.junit, to_junit(*reports))

    def resumption(self, found: Mapping[Pair, Report], plan: list[Pair]) -> str:
        """What to say when interrupted."""
        if self.json is None or not found:
            return ""
        return f"; {len(found)} of {len(plan)} reports are in {self.json}, --resume goes on from there"


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be made a folder ({error.strerror})") from None


def _write(path: Path, text: str) -> None:
    """Whole or not at all: an interrupted run leaves the file before it."""
    part = path.with_name(path.name + ".part")
    with _writing(path):
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
        part.replace(path)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What is written to ``path`` here and fails is bad usage, in one line."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from None


# --- values -----------------------------------------------------------------------------------------------------------


@app.command()
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

    problem, loaded, name = _chosen(instance, output)
    try:
        enclosure = problem.define(loaded, relative, name)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if to is not None:
        with _writing(to), to.open("wb") as file:
            np.savez(file, midpoint=enclosure.midpoint, radius=enclosure.radius)
    _say(
        f"{problem.NAME}  {name}  shape {enclosure.shape}"
        f"  radius {enclosure.radius.min():.2g} … {enclosure.radius.max():.2g}"
    )
    for index in list(np.ndindex(enclosure.shape))[:_SHOWN_ELEMENTS]:
        _say(f"[{', '.join(map(str, index))}]  {enclosure[index]}")
    return PASSED


@app.command()
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

    problem, loaded, name = _chosen(instance, output)
    tolerance = problem.tolerance(loaded, _known_precision(precision), name)
    if to is not None:
        with _writing(to), to.open("wb") as file:
            np.save(file, tolerance)
    inside = tolerance[np.isfinite(tolerance)]
    _say(f"{problem.NAME}  {name}  shape {tolerance.shape}  {precision}")
    if inside.size:
        _say(f"tolerance  min {inside.min():.3g}  median {np.median(inside):.3g}  max {inside.max():.3g}")
    _say(f"outside the domain of the class: {tolerance.size - inside.size} of {tolerance.size} elements")
    return PASSED


_SHOWN_ELEMENTS = 6


def _loaded(path: Path) -> tuple[Any, Any]:
    """The problem's module and the instance in a file."""
    from assay.spec.problem import problem
    from assay.spec.storage import problem_of

    name = problem_of(path)
    if name not in PROBLEMS:
        raise InvalidInstance(f"{path}: an instance of {name!r}, expected one of {', '.join(PROBLEMS)}")
    return problem(name), problem(name).Instance.load(path)


def _chosen(path: Path, output: str | None) -> tuple[Any, Any, str]:
    problem, instance = _loaded(path)
    if output is not None and output not in problem.OUTPUTS:
        raise UsageError(f"unknown output {output!r}: expected one of {', '.join(problem.OUTPUTS)}")
    return problem, instance, output or problem.OUTPUTS[0]


# --- hard instances ---------------------------------------------------------------------------------------------------


@app.command()
def hard(
    problem: Annotated[str | None, typer.Argument(help="The problem that is to be hard (default attention).")] = None,
    source: Annotated[Path | None, typer.Option("--from", help="A formula in DIMACS CNF.")] = None,
    family: Annotated[str | None, typer.Option(help="A family of formulas or vectors.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the family, or of the corpus.")] = 0,
    n: Annotated[int | None, typer.Option(help="Vectors in each set.")] = None,
    d: Annotated[int | None, typer.Option(help="Coordinates of a vector.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=NUMBER", help="Another parameter of the family (repeatable).")
    ] = None,
    counting: Annotated[bool, typer.Option("--counting", help="Decode numbers too; needs more accuracy.")] = False,
    gap: Annotated[bool, typer.Option("--gap", help="The family gap: entries of order √log n.")] = False,
    dtype: Annotated[str, typer.Option(help="float64, float32, bfloat16 or float16.")] = "float32",
    to: Annotated[Path | None, typer.Option("-o", help="The instance file, .npz or .json.")] = None,
    corpus: Annotated[Path | None, typer.Option(help="Write the whole corpus into this folder.")] = None,
) -> int:
    """Write an instance whose right output decides a formula or finds orthogonal vectors, with its certified truth."""
    from assay.spec.instances.hard import FAMILIES
    from assay.spec.instances.hard import hard as made

    if corpus is not None:
        singles = {"--from": source, "--family": family, "--n": n, "--d": d, "--parameter": parameter, "-o": to}
        singles |= {"--counting": counting or None, "--gap": gap or None, "--dtype": None if dtype == "float32" else 1}
        return _hard_corpus(corpus, seed, [name for name, value in singles.items() if value is not None])
    if gap:
        if family not in (None, "gap") or source is not None:
            raise UsageError("--gap: is a family of its own, expected no other --family and no --from")
        family = "gap"
    if (source is None) == (family is None):
        raise UsageError(f"expected --from FILE, --corpus DIR or --family, one of {', '.join(FAMILIES)}")
    if to is None:
        raise UsageError("expected -o FILE, .npz or .json, to write the instance to")
    if to.suffix not in (".npz", ".json"):
        raise UsageError(f"-o {to}: expected a name that ends in .npz or .json")
    if family is not None and family not in FAMILIES:
        raise UsageError(f"unknown family {family!r}: expected one of {', '.join(FAMILIES)}")
    sizes = {name: value for name, value in (("n", n), ("d", d)) if value is not None}
    sizes |= _numbers(parameter or [])
    found = made(
        problem or PROBLEMS[0],
        source if source is not None else family,
        seed,
        counting=counting,
        dtype=dtype,
        **sizes,
    )
    with _writing(to):
        found.save(to)
    _say(f"{to}  {found.problem}  {found.reduced.reduction.name}")
    sized = "  ".join(f"{name} {value}" for name, value in found.sizes.items() if name != "B")
    bounds = (("B", found.entry_bound), ("B/√ln n", found.entry_bound_over_root_log))
    sized += "".join(f"  {name} {value:.4g}" for name, value in bounds if value is not None)
    _say(f"sizes      {sized}")
    _say(f"accuracy   every element within {float(found.accuracy):.4g}")
    _say(f"truth      {_answer(found.truth)}  ({', '.join(found.truth.certified)})")
    return PASSED


def _hard_corpus(folder: Path, seed: int, others: list[str]) -> int:
    from assay.spec.instances import corpus

    if others:
        raise UsageError(f"{others[0]}: not with --corpus")
    with _writing(folder):
        files = corpus.write(folder, seed)
    _say(f"{folder}  {files} files and manifest.json  version {corpus.VERSION}  seed {seed}")
    return PASSED


@app.command()
def decode(
    instance: Annotated[Path, typer.Argument(help="A hard instance (.npz or .json) that assay hard wrote.")],
    output: Annotated[Path, typer.Argument(help="A kernel's output on it (.npy).")],
) -> int:
    """The answer that an output says.  Exit 1 if it contradicts the truth that the file holds."""
    from assay.spec.instances.hard import load

    problem, array = load(instance), _array(output)
    try:
        answer = problem.decode(array)
    except InvalidInstance:
        raise
    except ValueError as error:
        raise UsageError(f"{output}: {error}") from None
    _say(_answer(answer))
    if answer.model is not None:
        _say("model      " + " ".join(str(i if true else -i) for i, true in enumerate(answer.model, 1)))
    if answer.pairs:
        _say("pair       " + ", ".join(f"left {i}, right {j}" for i, j in answer.pairs))
    if problem.truth.satisfiable is None:
        _say("truth      unknown")
        return PASSED
    right = problem.right(answer)
    said = "agrees" if right else f"contradicts it: {_answer(problem.truth)}"
    _say(f"truth      {said}  ({', '.join(problem.truth.certified)})")
    return PASSED if right else FAILED


def _answer(answer: Any) -> str:
    if answer.satisfiable is None:
        return "not known"
    count = "" if answer.count is None else f", {answer.count} solution{'' if answer.count == 1 else 's'}"
    return f"{'satisfiable' if answer.satisfiable else 'unsatisfiable'}{count}"


def _numbers(words: list[str]) -> dict[str, int]:
    values = {}
    for name, text in option_values(words).items():
        try:
            values[name] = int(text)
        except ValueError:
            raise UsageError(f"--parameter {name}={text}: expected a whole number") from None
    return values


def _array(path: Path) -> Any:
    """The array of an .npy file; what NumPy wrote of a bfloat16 array, two bytes without a name, is one."""
    import ml_dtypes
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        # NumPy takes whatever it does not know for pickles, and would advise to allow them
        reason = "neither an array nor several, or one of Python objects" if "allow_pickle" in str(error) else error
        raise UsageError(f"{path}: not a readable .npy file ({reason})") from None
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{path}: several arrays, expected the .npy file of one")
    return array.view(ml_dtypes.bfloat16) if array.dtype.kind == "V" and array.dtype.itemsize == 2 else array


# --- where fast attention ends ----------------------------------------------------------------------------------------


@app.command()
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
    json: Annotated[Path | None, typer.Option(help="Write everything as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it: a .png, .svg or .pdf file.")] = None,
) -> int:
    """Degree, rank, error and time of both routes of attention against n and B/√(ln n); where real models stand."""
    from assay.impl import phase as drawn

    _Files(json, None, None).prepare(resume=False)
    _drawable(plot)
    try:
        found = drawn.diagram(
            length or drawn.LENGTHS,
            ratio or drawn.RATIOS,
            constant=constant,
            error=error,
            measured_to=measure_to,
            heads=_heads(models or [], text, tokens),
        )
    except ValueError as refused:
        raise UsageError(str(refused)) from None
    if json is not None:
        _write(json, drawn.to_json(found))
    if plot is not None:
        drawn.to_plot(found, plot)
    _say(drawn.to_text(found, colour=_colour()))
    return PASSED


def _heads(models: list[str], text: Path | None, tokens: int) -> list[Any]:
    """Of every model, on the text."""
    from assay.impl.models import fetch, head_bounds, open_model, standard_text
    from assay.impl.phase import heads_of

    if not models:
        return []
    try:
        words = standard_text() if text is None else text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{text}: cannot be read ({error})") from None
    found: list[Any] = []
    for name in models:
        path = Path(name) if name.endswith((".gguf", ".safetensors")) else fetch(name)
        found.extend(heads_of(Path(name).stem, head_bounds(open_model(path), words, tokens)))
    return found


def _drawable(path: Path | None) -> None:
    """Refuse now what would fail after a long run."""
    if path is None:
        return
    if path.suffix not in _PICTURES or not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: expected a file that ends in {', '.join(_PICTURES)} in a folder that is there")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot: needs matplotlib, pip install 'assay[report]'")


_PICTURES = (".png", ".svg", ".pdf")


# --- what there is ----------------------------------------------------------------------------------------------------


@app.command("list")
def list_(
    what: Annotated[str | None, typer.Argument(help="reductions: only the graph of reductions.")] = None,
    dot: Annotated[bool, typer.Option("--dot", help="The graph in Graphviz' language.")] = False,
) -> int:
    """Problems, levels, precision classes, and for every problem targets, families and laws; or reductions."""
    if what is not None:
        if what != "reductions":
            raise UsageError(f"list {what!r}: expected reductions, or nothing")
        from assay.spec import reductions

        _say(reductions.dot() if dot else reductions.draw())
        return PASSED
    if dot:
        raise UsageError("--dot: only with `list reductions`")
    from assay.conformance.interface.suite import LEVELS, suite
    from assay.conformance.report.render import table
    from assay.spec.precision import PRECISIONS
    from assay.spec.problem import problem

    _say(f"problems   {', '.join(PROBLEMS)}\nlevels     {', '.join(LEVELS)}\nclasses    {', '.join(PRECISIONS)}")
    for name in PROBLEMS:
        known = suite(name)
        targets = [
            (
                each.name,
                f"pip install 'assay[{each.extra}]'" if missing(each) else "installed",
                ", ".join(each.precisions),
            )
            for each in known.targets.values()
        ]
        families = [(each.id, each.level, each.hunts) for each in known.families]
        laws = [(law.id, law.claim, law.statement) for law in problem(name).LAWS]
        for title, rows in (("targets", targets), ("families", families), ("laws", laws)):
            _say("\n".join([f"\n{title} of {name}", *(f"  {line}" for line in table(rows))]))
    return PASSED


@app.command()
def claims(
    results: Annotated[Path | None, typer.Option(help="What `pytest --assay-claims FILE` wrote.")] = None,
) -> int:
    """Every claim of proofs_notes, the tests that check it and how they went; run in the root of the repository."""
    from assay.conformance.claims import claims as ledger_of

    ledger = ledger_of(Path("proofs_notes"), Path("tests"), Path("conformance"), results=results)
    _say(ledger.to_text())
    return PASSED if ledger.complete else FAILED
