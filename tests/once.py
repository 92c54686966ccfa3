"""What a run of the tests passed, and which of it a run with more packages and more examples need not do again.

``pytest --write-passed=FILE`` writes down every test that passed, with the modules that it looked for in vain.
``pytest --less-passed=FILE`` leaves out the tests of that file that would do the same again.  A test is not left out

- where it failed or was skipped in that run, or was not part of it;
- where the profile decides what it looks at: it has examples of Hypothesis, or the fixture ``thorough``;
- where it started a process, since nothing is known of what that process looked for;
- where a module is installed now that the test, its fixtures or the import of its file looked for in vain.

So every test runs in one of the two runs, and whatever a framework or the profile adds runs in the second.  Where one
of the packages that assay itself requires has another version than in that run, nothing is left out.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import resource
import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Passed", "Recorder", "Reducer", "depends_on_the_profile", "installed", "read", "versions"]

_PROPERTY = "looked for in vain"
_PROCESS = "a process"  # no name of a module


# --- the run that writes ----------------------------------------------------------------------------------------------


class _Missed:
    """A finder of modules that finds none, and notes which were looked for: the last one that Python asks."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def find_spec(self, name: str, path: Any = None, _target: Any = None) -> None:
        if path is None:  # a module of its own and no part of a package that is there
            self.names.add(name)


class Recorder:
    """The plugin of a run that writes what it passed.

    Under pytest-xdist the processes that run tests put what they noted into the reports, and the first one writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.missed = _Missed()
        self.of_files: defaultdict[str, set[str]] = defaultdict(set)
        self.passed: dict[str, set[str]] = {}
        self.phases: defaultdict[str, list[str]] = defaultdict(list)

    def pytest_configure(self) -> None:
        sys.meta_path.append(self.missed)  # type: ignore[arg-type]

    def pytest_unconfigure(self) -> None:
        sys.meta_path.remove(self.missed)  # type: ignore[arg-type]

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        self.missed.names.clear()
        report = yield
        self.of_files[file_of(collector.nodeid)] |= self.missed.names
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.missed.names.clear()
        item.stash[_CHILDREN] = _children()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        report = yield
        if report.when == "setup":  # a fixture may be of the file, and what it found may be used by every test
            self.of_files[file_of(item.nodeid)] |= self.missed.names
        elif report.when == "teardown":
            process = {_PROCESS} if _children() != item.stash[_CHILDREN] else set()
            names = self.missed.names | process | self.of_files[file_of(item.nodeid)]
            report.user_properties.append((_PROPERTY, sorted(names)))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.passed and not hasattr(report, "wasxfail"):
            self.phases[report.nodeid].append(report.when)
        for name, value in report.user_properties:
            if name == _PROPERTY and self.phases[report.nodeid] == ["setup", "call", "teardown"]:
                self.passed[report.nodeid] = set(value)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput"):
            missed = {nodeid: sorted(names) for nodeid, names in sorted(self.passed.items())}
            document = {"versions": versions(), "missed": missed}
            self.path.write_text(json.dumps(document, indent=0) + "\n", encoding="utf-8")


_CHILDREN = pytest.StashKey[tuple[float, ...]]()


def _children() -> tuple[float, ...]:
    """What changes whenever a process that this one started has ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime, usage.ru_stime, float(usage.ru_minflt)


def file_of(nodeid: str) -> str:
    """The file of a test."""
    return nodeid.partition("::")[0]


# --- the run that leaves out ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Passed:
    """What a run passed: test → what it looked for in vain, and the versions that it ran with."""

    missed: Mapping[str, frozenset[str]]
    versions: Mapping[str, str]


def read(path: Path) -> Passed:
    """What a run wrote."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return Passed({nodeid: frozenset(names) for nodeid, names in document["missed"].items()}, document["versions"])


def versions() -> dict[str, str]:
    """The versions of the packages that assay requires, and of Python."""
    required = [line for line in importlib.metadata.requires("assay") or () if "extra ==" not in line]
    names = [re.match(r"[\w.-]+", line)[0] for line in required]  # type: ignore[index]
    return {"python": sys.version} | {name: importlib.metadata.version(name) for name in names}


def installed(name: str) -> bool:
    """Whether there is such a module here."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return True  # something is there


def depends_on_the_profile(item: pytest.Item) -> bool:
    """Whether a test looks at more in the profile of CI."""
    function = getattr(item, "obj", None)
    return getattr(function, "is_hypothesis_test", False) or "thorough" in getattr(item, "fixturenames", ())


class Reducer:
    """The plugin of a run that leaves out what an earlier one passed and what would be the same here."""

    def __init__(self, passed: Passed) -> None:
        self.others = sorted(name for name, version in versions().items() if passed.versions.get(name) != version)
        self.missed = {} if self.others else passed.missed
        self.changed = {name for names in self.missed.values() for name in names if name == _PROCESS or installed(name)}
        self.count, self.all = 0, len(passed.missed)

    def is_same_again(self, item: pytest.Item) -> bool:
        """Whether a test passed and nothing that it depends on is another here."""
        missed = self.missed.get(item.nodeid)
        return missed is not None and not (missed & self.changed or depends_on_the_profile(item))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        left_out = [item for item in items if self.is_same_again(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not self.is_same_again(item)]
        self.count = len(left_out)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[_PROPERTY] = self.count

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.count = getattr(node, "workeroutput", {}).get(_PROPERTY, self.count)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        why = f"other versions of {', '.join(self.others)}" if self.others else "they would be the same again"
        terminalreporter.write_line(f"{self.count} of {self.all} tests that passed before are left out: {why}")
