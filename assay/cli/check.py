"""Commands that run a kernel: ``assay check``, ``assay profile`` and ``assay replay``."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.arguments import (
    CallSeconds,
    Device,
    Framework,
    Instance,
    Isolate,
    Json,
    Memory,
    Options,
    Problem,
    Seed,
    Target,
    is_explicit,
    limits,
    precision_named,
)
from assay.cli.console import FAILED, INCOMPLETE, PASSED, Interrupted, Invocation, Watch, coloured, say, shown
from assay.cli.crash import watched
from assay.cli.files import Judgement, ReportFiles, make_folder, require_writable, write
from assay.cli.jobs import in_processes
from assay.cli.project import known_lines, known_to_fail, mended_lines, speaking
from assay.conformance.interface.targets import documented, known_findings, missing, option_values
from assay.conformance.interface.usage import UsageError
from assay.spec.instances.extra import how_to_install
from assay.spec.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from assay.conformance.interface.project import Project
    from assay.conformance.judge.level import Progress
    from assay.conformance.report.report import Report

    Waiting = Sequence[tuple[Judgement, dict[str, Any]]]  # judgements to be made, each with its settings

__all__ = ["check", "profile", "replay"]

_PATIENCE = 6.0  # times the limit of a call, until a cluster is given up

#: Parameters of ``assay check`` that a run over a corpus has no use for: it takes its cases and their answers from
#: the corpus, writes no report and no reproducer, and calls the kernel in this process.
_NOT_WITH_CORPUS = (
    "json", "html", "junit", "device", "reproducers", "resume", "isolate", "memory", "level", "seed", "seconds",
    "scheduler", "jobs", "again", "family", "first_failure",
)  # fmt: skip
_WRITTEN = {"first_failure": "-x"}  # options whose parameters have other names


def check(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(help="module:function, file.py:function or a built-in; else those of [tool.assay], else all."),
    ] = None,
    problem: Problem = None,
    precision: Annotated[
        str | None, typer.Option(help="The class of arithmetic that the kernel claims (default float32).")
    ] = None,
    level: Annotated[str, typer.Option(help="smoke, standard or thorough.")] = "standard",
    seed: Seed = 0,
    framework: Framework = None,
    device: Device = "",
    option: Options = None,
    error: Annotated[
        float | None,
        typer.Option(help="Of an approximate kernel: the error asked of it; that of the class if left out."),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the reports as JSON, after each of them; - is stdout, and words go to stderr."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write them as one page.")] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write them as JUnit XML.")] = None,
    again: Annotated[
        bool, typer.Option("--again", "--last-failed", help="Judge only what failed before and has not passed since.")
    ] = False,
    family: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Judge only this family of cases (repeatable).")
    ] = None,
    first_failure: Annotated[bool, typer.Option("-x", help="End at the first failure.")] = False,
    reproducers: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="For failing instances (default .assay in the project).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what the JSON file already holds at this level and seed.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the verdict, one line a report.")] = False,
    isolate: Isolate = False,
    call_seconds: CallSeconds = None,
    memory: Memory = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Seconds after which no new case is taken (smoke 8, standard 50, thorough 900)."
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Judge cases on a cluster of Dask: its address, or local for one on this machine."),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Without a target: judge in so many processes at once.")
    ] = 1,
    corpus: Annotated[
        Path | None, typer.Option(help="Run it over this corpus of hard instances (assay hard --corpus).")
    ] = None,
) -> int:
    """Judge a kernel, or every installed built-in in each class that it documents."""
    from assay.conformance.judge.references import shared
    from assay.conformance.report.text import only_known

    if error is not None:
        option = [*(option or ()), f"error={error!r}"]
    if corpus is not None:
        for parameter in _NOT_WITH_CORPUS:
            if is_explicit(context, parameter):
                raise UsageError(f"{_WRITTEN.get(parameter, f'--{parameter}')}: not with --corpus")
        if target is None:
            raise UsageError("--corpus: needs the kernel that is to run over it")
        settings: dict[str, Any] = {"problem": problem, "precision": precision or "float32", "framework": framework}
        if call_seconds is not None:
            settings["call_seconds"] = call_seconds
        return _check_corpus(target, corpus, settings, option, quiet)
    if is_explicit(context, "jobs") and (target is not None or scheduler is not None):
        raise UsageError("--jobs: shares out the built-ins; the cases of one kernel go to --scheduler local")

    project = speaking(target)
    if project is not None:
        said = project.settings
        problem, precision = problem or said.get("problem"), precision or ",".join(project.precisions) or None
        level = level if is_explicit(context, "level") else said.get("level", level)
        seed = seed if is_explicit(context, "seed") else said.get("seed", seed)
        framework, device = framework or said.get("framework"), device or said.get("device", "")
        seconds = seconds or said.get("seconds")
        isolate, reproducers = isolate or said.get("isolate", False), reproducers or said.get("reproducers")
        call_seconds, memory = call_seconds or said.get("call_seconds"), memory or said.get("memory")
        option = [*(f"{name}={value}" for name, value in said.get("options", {}).items()), *(option or ())]
    if device and resume:
        raise UsageError("--device: not with --resume, which takes reports of any device from the JSON file")
    files = ReportFiles(json, html, junit)
    files.prepare(resume=resume)
    if reproducers is not None:
        make_folder(reproducers)
    plan = _plan(target, problem, precision, framework, project, device)
    settings = limits(isolate, call_seconds, memory)
    reports, others = files.earlier(plan, level, seed) if resume else ({}, [])
    settings |= {"level": level, "seed": seed, "framework": framework, "device": device}
    settings |= {"options": option_values(option or []), "seconds": seconds}
    settings["chosen"] = _chosen(again, family, first_failure)
    if scheduler is not None:
        settings["engine"] = context.with_resource(_engine(scheduler, call_seconds))
    command, own = (context.obj.command, context.obj.own) if isinstance(context.obj, Invocation) else ("", False)
    about = context.with_resource(watched(own and not isolate and jobs == 1))
    watch = Watch(about=about) if jobs == 1 else Watch("judgements")
    apart: dict[Judgement, Path] = {}
    if reproducers is not None and target is None:
        apart = {judgement: _folder(judgement, reproducers) for judgement in plan}
    waiting = [
        (judgement, {**_less_findings(judgement, settings, target), "reproducers": apart.get(judgement, reproducers)})
        for judgement in plan
        if judgement not in reports
    ]
    context.with_resource(shared())
    coming = _in_turn(waiting, watch, quiet) if jobs == 1 else _at_once(waiting, watch, quiet, jobs)
    with contextlib.closing(coming):
        for judgement in plan:
            interruption = ""
            try:
                if judgement not in reports:
                    reports[judgement] = replace(next(coming), command=command)
            except KeyboardInterrupt as end:
                interruption = f"interrupted in {judgement.words} after {watch.progress}"
                if (found := getattr(end, "report", None)) is None:  # the kernel was not loaded yet
                    raise Interrupted(interruption + files.resumption(reports, plan)) from None
                reports[judgement] = replace(found, command=command)
            try:
                if judgement in apart:
                    with contextlib.suppress(OSError):
                        apart[judgement].rmdir()  # of a kernel that passed, it is empty
                written = [reports[done] for done in plan if done in reports]
                try:
                    files.write(written, others, last=bool(interruption) or len(written) == len(plan))
                finally:  # on a full disk nothing that was found is lost
                    report = reports[judgement]
                    brief = quiet or (len(plan) > 1 and report.passed)
                    for line in _said(judgement, report, project, target, brief=brief):
                        say(line, beside=files.stdout)
                if interruption:
                    raise Interrupted(interruption + files.resumption(reports, plan))
            except KeyboardInterrupt:  # between two judgements
                ahead = next((other for other in plan if other not in reports), plan[-1])
                place = f"interrupted in {ahead.words} after {watch.progress}"
                raise Interrupted(place + files.resumption(reports, plan)) from None
    if target is None and project is None and not quiet:
        _summarise([reports[judgement] for judgement in plan], _problems(problem), files.stdout)
    unknown = [done for done in plan if not only_known(reports[done], known_to_fail(project, done, reports[done]))]
    return _status([reports[judgement] for judgement in unknown])


@contextlib.contextmanager
def _engine(scheduler: str, call_seconds: float | None) -> Iterator[Any]:
    """``--scheduler``: what hands pieces of work to a cluster and returns their results in order."""
    from assay.conformance.call.process import Limits
    from assay.impl.cluster import ClusterError, client_of, in_order

    # a kernel that hangs keeps its worker: the wait ends, and the case is judged here, where a call can be stopped
    patience = _PATIENCE * (Limits.seconds if call_seconds is None else call_seconds)
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(client_of(scheduler))
        except ClusterError as error:
            raise UsageError(str(error)) from None

        def mapped(function: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterator[Any]:
            try:
                yield from in_order(client, function, pieces, patience)
            except ClusterError as error:
                raise UsageError(f"{error}: a kernel that ends its process needs --isolate") from None

        yield mapped


def _status(reports: list[Report]) -> int:
    """The exit status of some reports: a failure goes before what never ran."""
    if any(report.failures for report in reports):
        return FAILED
    return PASSED if all(report.passed for report in reports) else INCOMPLETE


def _less_findings(judgement: Judgement, settings: dict[str, Any], target: str | None) -> dict[str, Any]:
    """The settings of a judgement; in a run over every built-in, what is known to be wrong is not asked for."""
    if target is not None:
        return settings
    absent = dict.fromkeys(known_findings(judgement.kernel), "no")
    return {**settings, "options": {**absent, **settings["options"]}}


def _folder(judgement: Judgement, reproducers: Path) -> Path:
    """The folder for the failing instances of one judgement of many.

    So what a file is called does not depend on what is judged before, or at the same time.
    """
    return reproducers / "".join(c if c.isalnum() else "-" for c in judgement.words)


def _problems(problem: str | None) -> tuple[str, ...]:
    """The problems that are meant: one, or all."""
    from assay.conformance.engagement import require_problem

    if problem is None:
        return PROBLEMS
    require_problem(problem)
    return (problem,)


def _chosen(again: bool, families: list[str] | None, first_failure: bool) -> Any:
    """What of a level is judged.  What fails is remembered in the project, and tried first the next time."""
    from assay.conformance.judge.level import Chosen

    return Chosen(tuple(families) if families else None, remembered=True, again=again, first_failure=first_failure)


def _plan(
    target: str | None,
    problem: str | None,
    precision: str | None,
    framework: str | None = None,
    project: Project | None = None,
    device: str = "",
) -> list[Judgement]:
    """What to judge: one target, those of a project, or each installed built-in in each class that it documents."""
    if project is not None:
        kernels = project.kernels if target is None else (target,)
        classes = [precision_named(name.strip(), problem) for name in (precision or "float32").split(",")]
        return [Judgement(problem, kernel, name) for kernel in kernels for name in classes]
    if target is None and device:
        raise UsageError(f"--device {device}: needs a kernel, whose framework has such a device")
    if target is None and framework is not None:
        raise UsageError(f"--framework {framework}: needs a kernel of your own; a built-in takes arrays of one")
    if precision is not None:
        precision_named(precision, problem)
    problems = _problems(problem)
    if target is not None:
        return [Judgement(problem, target, precision or "float32")]
    plan = [Judgement(name, *pair) for name in problems for pair in documented(name, precision)]
    if not plan:
        which = ", ".join(problems)
        raise UsageError(
            f"no installed built-in of {which} documents {precision}" if precision else f"no built-in of {which}"
        )
    return plan


def _report(judgement: Judgement, settings: dict[str, Any], progress: Progress | None = None) -> Report:
    """The judgement of one target in one class."""
    import assay

    return assay.check(
        judgement.kernel, judgement.problem, precision=judgement.precision, progress=progress, **settings
    )


def _in_turn(waiting: Waiting, watch: Watch, quiet: bool) -> Generator[Report, None, None]:
    """One judgement after the other, in this process; ``watch`` follows the cases of each."""
    for judgement, settings in waiting:
        with shown(watch, judgement.words, quiet=quiet):
            report = _report(judgement, settings, watch.tell)
        watch.restart()
        yield report


def _at_once(waiting: Waiting, watch: Watch, quiet: bool, jobs: int) -> Generator[Report, None, None]:
    """The same reports in the same order from so many processes; ``watch`` follows the judgements."""
    from assay.conformance.judge.references import share

    with contextlib.closing(in_processes(_report_of, waiting, min(jobs, len(waiting)), share)) as coming:
        watch.tell(0, len(waiting), "")
        for done in range(len(waiting)):
            with shown(watch, f"{len(waiting)} judgements", quiet=quiet):
                watch.tell(done, len(waiting), "")
                report = next(coming)
            watch.tell(done + 1, len(waiting), "")
            yield report  # with no bar, which would take what is said meanwhile for a part of it


def _said(
    judgement: Judgement, report: Report, project: Project | None, target: str | None, *, brief: bool
) -> Iterator[str]:
    """What is said of one judgement: what is known of its kernel, the report or its verdict, last what is mended."""
    from assay.conformance.report.text import to_text, verdict_line

    more = "" if target else ", as this run does"
    for capability, sentence in known_findings(judgement.kernel).items():
        yield f"known: {sentence}; --option {capability}=no leaves it out{more}"
    yield from known_lines(project, judgement, report)
    known = known_to_fail(project, judgement, report)
    if brief:
        yield verdict_line(report, colour=coloured(), known=known)
    else:
        yield to_text(report, colour=coloured(), known=known)
    yield from mended_lines(project, judgement, report)


def _report_of(waiting: tuple[Judgement, dict[str, Any]]) -> Report:
    return _report(*waiting)


def _summarise(reports: list[Report], problems: tuple[str, ...], beside: Path | None) -> None:
    """Say in one line which built-ins were left out and why, and then the verdicts of all others in a table."""
    from assay.conformance.interface.suite import suite
    from assay.conformance.report.text import summary

    targets = {target.name: target for name in problems for target in suite(name).targets.values()}
    absent = [target for target in targets.values() if missing(target)]
    if absent:
        extras = ",".join(sorted({target.extra for target in absent}))
        named = ", ".join(target.name for target in absent)
        say(f"\nskipped {len(absent)} that are not installed ({how_to_install(extras)}): {named}", beside=beside)
    say("\n" + summary(*reports, colour=coloured()), beside=beside)


def _check_corpus(target: str, folder: Path, settings: dict[str, Any], option: list[str] | None, quiet: bool) -> int:
    """``assay check --corpus``: the kernel on every instance of a corpus, and whether its outputs decode rightly."""
    from assay.conformance.corpus import check_corpus

    watch = Watch()
    options = option_values(option or [])
    with shown(watch, f"{target} {folder}", quiet=quiet):
        report = check_corpus(target, folder, options=options, progress=watch.tell, **settings)
    text = report.to_text()
    say(text.partition("\n")[0] if quiet else text)
    return PASSED if report.passed else FAILED


def profile(
    target: Target,
    problem: Problem = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="A class to judge it in (repeatable; default every class).")
    ] = None,
    level: Annotated[str, typer.Option(help="smoke, standard or thorough, for each class.")] = "smoke",
    seed: Seed = 0,
    framework: Framework = None,
    device: Device = "",
    option: Options = None,
    json: Json = None,
) -> int:
    """The data sheet of a kernel: classes that it keeps, quality, determinism, conventions.  Judges nothing."""
    from assay.conformance.profile.profile import profile as data_sheet

    require_writable(json)
    watch = Watch()
    with shown(watch, f"{target} profile", quiet=False):
        sheet = data_sheet(
            target,
            problem,
            precisions=precision or (),
            level=level,
            seed=seed,
            framework=framework,
            device=device,
            options=option_values(option or []),
            progress=watch.tell,
        )
    say(sheet.to_text(), beside=json)
    if json is not None:
        write(json, sheet.to_json())
    return PASSED


def replay(
    instance: Instance,
    target: Annotated[str, typer.Option(help="The kernel: module:function, file.py:function or a built-in.")],
    problem: Annotated[str | None, typer.Option(help="Of a problem of your own: module:SUITE.")] = None,
    precision: Annotated[str, typer.Option(help="The class of arithmetic that it claims.")] = "float32",
    layout: Annotated[str, typer.Option(help="How the arrays lie in memory: as the finding says.")] = "contiguous",
    after: Annotated[
        list[str] | None, typer.Option(help="A saved instance to call it with before (repeatable).")
    ] = None,
    beside: Annotated[
        list[str] | None, typer.Option(help="A saved instance for another thread at the same time; repeatable.")
    ] = None,
    framework: Framework = None,
    device: Device = "",
    option: Options = None,
    isolate: Isolate = False,
    call_seconds: CallSeconds = None,
    memory: Memory = None,
    script: Annotated[
        bool, typer.Option("--script", help="Write a script without assay that shows it, to paste into an issue.")
    ] = False,
) -> int:
    """Judge a kernel on one saved instance: what a finding's reproducer does."""
    from assay.conformance.replay import replay as judged_again
    from assay.conformance.replay import script_of

    asked: dict[str, Any] = {"problem": problem, "precision": precision, "framework": framework}
    asked |= {"options": option_values(option or []), **limits(isolate, call_seconds, memory)}
    if script:
        if after or beside or layout != "contiguous":
            raise UsageError("--script: shows one call with plain arrays, so neither --after, --beside nor --layout")
        if device:
            raise UsageError("--script: its arrays are those of the CPU, so not with --device")
        say(script_of(instance, target, **asked).rstrip("\n"))
        return PASSED
    report = judged_again(
        instance, target, device=device, layout=layout, after=after or (), beside=beside or (), **asked
    )
    say(_text(report))
    return _status([report])


def _text(report: Report) -> str:
    from assay.conformance.report.text import to_text

    return to_text(report, colour=coloured())
