"""The pytest plugin: options of the conformance tests, the marker ``claim``, and the results of the checks of claims.

It is loaded in every run of pytest wherever assay is installed.  So it imports nothing but pytest and the standard
library until one of its options is used, or the conformance tests are asked for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from assay.conformance.interface.project import Known, Project

__all__ = ["DIAGNOSIS", "LATE", "Asked", "asked", "settings"]

#: The property of a failed test that holds the first sentence of its diagnosis; JUnit XML has it too.
DIAGNOSIS = "assay diagnosis"

#: The property of a skipped test that holds for how many of its cases there was no time, and the seconds they may need.
LATE = "assay out of time"

_TESTS = "assay.conformance"
_FUNCTION = "test_conformance.py::test_kernel_conforms"
_PROPERTY = "assay claim"
_PLAN = pytest.StashKey[list["Asked"]]()

#: The options but for ``--assay-claims``: name → how it is declared.
_OPTIONS: dict[str, dict[str, Any]] = {
    "kernel": {
        "action": "append",
        "metavar": "TARGET",
        "help": "module:function, file.py:function or a built-in (repeatable): a test for each of its families",
    },
    "problem": {
        "metavar": "PROBLEM",
        "help": "what the kernels solve (default: told by the names of their arrays)",
    },
    "precision": {
        "action": "append",
        "metavar": "CLASS",
        "help": "precision classes, commas between (default float32)",
    },
    "level": {"metavar": "LEVEL", "help": "smoke (default), standard or thorough"},
    "seed": {"type": int, "metavar": "N", "help": "seed of the drawn cases (default 0)"},
    "framework": {"metavar": "NAME", "help": "what kind of arrays the kernels take (default numpy)"},
    "device": {
        "metavar": "NAME",
        "help": "where the arrays are laid: cuda, cuda:1, … (default: its own choice)",
    },
    "option": {
        "action": "append",
        "metavar": "NAME=VALUE",
        "help": "a convention that the kernels declare (repeatable)",
    },
    "error": {"type": float, "metavar": "E", "help": "of approximate kernels: the error asked of them"},
    "isolate": {"action": "store_true", "default": None, "help": "run every kernel in a process of its own"},
    "seconds": {
        "type": float,
        "metavar": "N",
        "help": "take no new case of a kernel after so long (default: that of the level)",
    },
    "call-seconds": {"type": float, "metavar": "N", "help": "the limit of one call (default 60)"},
    "memory": {
        "type": int,
        "metavar": "MIB",
        "help": "with --assay-isolate: how far the process may grow (default 8192)",
    },
    "reproducers": {"metavar": "DIR", "help": "the folder for failing instances (default .assay in the project)"},
    "known": {
        "metavar": "FILE",
        "help": "known failures: tables [[known]] with a reason and any of kernel, precision, family, diagnosis",
    },
    "allow-incomplete": {
        "action": "store_true",
        "default": None,
        "help": "skip a test of a kernel that failed nothing but declined a whole family, instead of failing it",
    },
}


@dataclass(frozen=True)
class Asked:
    """One conformance test: a kernel in a class, and one of its families (empty: all of them in one test).

    known: why it is known to fail; empty where it is not.
    perhaps: what is known by its diagnosis, which decides only once it has failed.
    """

    problem: str | None
    kernel: str
    precision: str
    family: str = ""
    known: str = ""
    perhaps: tuple[Known, ...] = ()

    def known_as(self, told: Sequence[str]) -> str:
        """Why a failure with this diagnosis is known; empty where it is not."""
        covering = (one for one in self.perhaps if one.covers(self.kernel, self.precision, self.family, told))
        return next((one.reason for one in covering), "")

    @property
    def id(self) -> str:
        return "-".join(filter(None, (self.problem, self.kernel, self.precision, self.family)))

    def same_kernel(self, other: Asked) -> bool:
        """Whether another test is of the same kernel in the same class."""
        return (self.problem, self.kernel, self.precision) == (other.problem, other.kernel, other.precision)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("assay", "conformance of kernels to their specification (--pyargs assay.conformance)")
    for name, declaration in _OPTIONS.items():
        group.addoption(f"--assay-{name}", **declaration)
    group.addoption(
        "--assay-claims", metavar="FILE", help="write the outcome of every test marked claim(id) to FILE, as JSON"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "claim(id): this test executes the claim `id` of proofs_notes")
    if config.getoption("assay_claims") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Claims(Path(config.getoption("assay_claims"))), "assay-claims")
    if _collects(config) or any(_said(config, name) is not None for name in _OPTIONS):
        config.stash[_PLAN] = _plan(config)
        config.pluginmanager.register(_FirstLine(), "assay-first-line")
        config.pluginmanager.register(_Late(config), "assay-late")
        if _said(config, "kernel") and not _collects(config) and not hasattr(config, "workerinput"):
            config.pluginmanager.register(_Collected(config), "assay-collected")


def settings(config: pytest.Config) -> dict[str, Any]:
    """The options as arguments of :func:`assay.check`, for what they leave out those of the project's ``[tool.assay]``.

    The project speaks of the kernels that it names, so it has no say where options name others.
    """
    from assay.conformance.interface.targets import option_values

    project = _speaking(config)
    arguments: dict[str, Any] = {"level": "smoke", "seed": 0, "isolate": False}
    arguments |= {} if project is None else project.settings
    options = {**arguments.get("options", {}), **option_values(_said(config, "option") or [])}
    if _said(config, "error") is not None:
        options["error"] = repr(_said(config, "error"))
    plain = (
        "problem", "level", "seed", "framework", "device", "isolate", "seconds", "call-seconds", "memory",
        "reproducers",
    )  # fmt: skip
    said = {name.replace("-", "_"): _said(config, name) for name in plain}
    arguments |= {name: value for name, value in said.items() if value is not None}
    return {"problem": None, "framework": None, "device": "", "seconds": None, **arguments, "options": options}


def asked(config: pytest.Config) -> list[Asked]:
    """The conformance tests.

    For every kernel that is named, by an option or by the project, a test for each family; if none is named, one test
    for every installed built-in in every class that it documents.
    """
    return config.stash.get(_PLAN, None) or _plan(config)


def _said(config: pytest.Config, name: str) -> Any:
    return config.getoption(f"assay_{name.replace('-', '_')}")


def _collects(config: pytest.Config) -> bool:
    """Whether the command line names the conformance tests."""
    return any(argument.startswith(_TESTS) for argument in config.args)


def _speaking(config: pytest.Config) -> Project | None:
    """The project, unless options name kernels that it does not name: it has no say in those.

    It is that of pytest's root, if this is no shared folder above the current one.
    """
    from assay.conformance.interface.folders import upwards
    from assay.conformance.interface.project import project

    root, here = config.rootpath, config.invocation_params.dir
    if root in here.parents and root not in upwards(here):
        return None
    found, kernels = project(root), _said(config, "kernel")
    return found if found is None or kernels is None or set(kernels) <= set(found.kernels) else None


def _plan(config: pytest.Config) -> list[Asked]:
    """What is asked.  Bad usage is one line before anything runs, and not an error in every test."""
    try:
        return list(_planned(config))
    except ValueError as error:
        raise pytest.UsageError(f"assay: {error}") from None


def _planned(config: pytest.Config) -> Iterator[Asked]:
    from assay.conformance.engagement import (
        engaged,
        require_installed,
        require_level,
        require_precision,
        require_problem,
        require_seconds,
    )
    from assay.conformance.interface.project import known_failures
    from assay.conformance.interface.targets import documented
    from assay.conformance.judge.by_family import family_names
    from assay.spec.problem import PROBLEMS

    require_installed()
    project, arguments = _speaking(config), settings(config)
    require_level(arguments["level"])
    require_seconds(arguments["seconds"])
    problem, kernels, classes = arguments["problem"], _said(config, "kernel"), _classes(config)
    if problem is not None:
        require_problem(problem)
    for name in classes or []:
        require_precision(name)
    known = known_failures(Path(_said(config, "known"))) if _said(config, "known") else ()
    if project is not None:
        kernels = list(project.kernels) if kernels is None and project.kernels else kernels
        classes = classes or list(project.precisions) or None
        known = (*known, *project.known)
    if kernels is None:
        for name in PROBLEMS if problem is None else [problem]:
            for kernel, precision in documented(name):
                if classes is None or precision in classes:
                    yield Asked(name, kernel, precision)
        return
    loading = {name: arguments[name] for name in ("framework", "device", "options", "isolate")}
    for kernel in kernels:
        with engaged(kernel, problem, **loading) as judge:
            families = family_names(judge.suite, arguments["level"])
        _require_families(known, kernel, families, judge.suite.families)
        for precision in classes or ["float32"]:
            require_precision(precision, judge.kernel.problem)
            for family in families:
                reason = next((one.reason for one in known if one.covers(kernel, precision, family)), "")
                perhaps = tuple(one for one in known if one.diagnosis)
                yield Asked(problem, kernel, precision, family, reason, perhaps)


def _require_families(known: Sequence[Known], kernel: str, families: Sequence[str], others: Sequence[Any]) -> None:
    """Raise a ``ValueError`` where a known failure of a kernel names no family: it would never be told to pass."""
    from assay.conformance.interface.usage import UsageError

    names = {*families, *(family.id for family in others)}
    for one in known:
        if one.kernel in ("", kernel) and one.family and one.family not in names:
            raise UsageError(f"known failure: no family {one.family!r}: expected one of {', '.join(families)}")


def _classes(config: pytest.Config) -> list[str] | None:
    """The classes that the options name; ``None`` if they name none."""
    words = _said(config, "precision")
    return None if words is None else [name.strip() for part in words for name in part.split(",")]


class _FirstLine:
    """In pytest's summary a failed conformance test is its first line, and not the whole report."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None and _FUNCTION in item.nodeid:
            crash.message = crash.message.removeprefix("Failed: ").partition("\n")[0]
        return report


class _Late:
    """Ends a run with a failure that had no time for some family and failed nothing else: that is no pass."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.judges = not hasattr(config, "workerinput")  # with pytest-xdist all reports come to one process
        self.late: dict[str, tuple[int, float | None]] = {}  # test → its cases for which there was no time, seconds

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties if report.when == "call" else ():
            if name == LATE and isinstance(value, list | tuple):
                cases, seconds = value
                self.late[_test(report)] = cases, seconds

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        allowed = self.config.getoption("assay_allow_incomplete")
        if self.judges and self.late and not allowed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.late:
            return
        terminalreporter.section("assay: INCOMPLETE, which is no pass", red=True)
        for name, (cases, _) in self.late.items():
            terminalreporter.line(f"{name}: no time for {cases} case{'s' * (cases != 1)}")
        terminalreporter.line(f"{self.more()}; --assay-allow-incomplete lets what is incomplete pass")

    def more(self) -> str:
        """How many seconds would judge all, where that is known."""
        from assay.conformance.judge.level import BUDGETS
        from assay.conformance.report.coverage import rounded_up

        said = settings(self.config)
        missing = [seconds for _, seconds in self.late.values()]
        known = [seconds for seconds in missing if seconds is not None]
        if len(known) < len(missing):
            return "--assay-seconds gives all tests of a kernel together more"
        whole = BUDGETS[said["level"]] if said["seconds"] is None else said["seconds"]
        return f"about --assay-seconds {rounded_up(whole + sum(known))} would judge all"


class _Collected:
    """Refuses a run that names a kernel and collects no test of it: it would be green and have judged nothing."""

    def __init__(self, config: pytest.Config) -> None:
        self.narrowed = bool(config.getoption("keyword") or config.getoption("markexpr"))

    @pytest.hookimpl(tryfirst=True)  # before a test is left out by -k, -m or the like
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.require(item.nodeid for item in items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """With pytest-xdist the workers collect, and say only what is left."""
        if not self.narrowed:
            self.require(ids)

    def require(self, names: Iterable[str]) -> None:
        if not any(_FUNCTION in name for name in names):
            raise pytest.UsageError(
                "assay: --assay-kernel names a kernel and nothing collects its tests: add --pyargs assay.conformance"
            )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what failed kernels do instead, each sentence once, and which known failures passed."""
    told: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("failed", ()):
        for name, sentence in report.user_properties:
            if name == DIAGNOSIS:
                told.setdefault(sentence, []).append(_test(report))
    if told:
        terminalreporter.section("assay: what the kernels do instead")
    for sentence, tests in told.items():
        terminalreporter.line(sentence)
        terminalreporter.line(f"    in {', '.join(tests)}")
    passed = [report for report in terminalreporter.stats.get("xpassed", ()) if _FUNCTION in report.nodeid]
    if passed:
        terminalreporter.section("assay: known failures that passed, to be taken out of what is known")
    for report in passed:
        terminalreporter.line(f"{_test(report)}: known as {report.wasxfail.removeprefix('reason: ')}")


def _test(report: pytest.TestReport) -> str:
    """The kernel, the class and the family of a test."""
    return report.nodeid.partition("[")[2].removesuffix("]")


# --- claims -----------------------------------------------------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the claims of a test into its report, which pytest-xdist sends from the worker that ran the test."""
    if config.getoption("assay_claims"):
        for item in items:
            marks = list(item.iter_markers("claim"))
            item.user_properties.extend((_PROPERTY, name) for mark in marks for name in mark.args)


class _Claims:
    """Gathers the outcomes of checks, and at the end writes claim → [{"nodeid": …, "outcome": …}] as JSON."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        for name, claim in report.user_properties:
            if name == _PROPERTY:
                of_claim = self.outcomes.setdefault(str(claim), {})
                if of_claim.get(report.nodeid) != "failed":
                    of_claim[report.nodeid] = report.outcome

    def pytest_sessionfinish(self) -> None:
        from assay.spec.written import write_bytes

        document = {
            claim: [{"nodeid": nodeid, "outcome": outcome} for nodeid, outcome in sorted(outcomes.items())]
            for claim, outcomes in sorted(self.outcomes.items())
        }
        write_bytes(self.path, (json.dumps(document, indent=1) + "\n").encode())
