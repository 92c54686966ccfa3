"""Hypothesis profiles, how xdist shares the tests, and the table of processor time at the end of a run.

``quick`` is the profile by default, ``--hypothesis-profile=thorough`` that of CI; both draw the same every time.  Tests
marked ``thorough`` run under the latter alone: what they would find is found by the others, but on fewer inputs.
Beside them the quick profile judges every built-in kernel in one of its classes; ``.ci/run`` judges it in all, by
``assay check``, and so does ``pytest conformance``, which does not read this file.
A run of one profile can leave out what a run of the other has done (tests/once.py).
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from once import Recorder, Reducer, read
from sharing import group_of, of_one_class, place_of, table

if TYPE_CHECKING:
    from collections.abc import Iterator

os.environ["ASSAY_COSTS"] = "fixed"  # of this process and those that it starts: routes are the same on every processor

settings.register_profile("quick", derandomize=True, deadline=None, max_examples=60, print_blob=True)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=600)
settings.load_profile("quick")

_THOROUGH = "thorough: of the profile of CI alone"
_GPU = "gpu: runs on a CUDA device, and is skipped where there is none"
_SECONDS = "processor seconds"
_WORTH_TELLING = 0.5


# --- which tests run --------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tests of assay")
    group.addoption("--write-passed", metavar="FILE", type=Path, help="write what passed, for --less-passed")
    group.addoption("--less-passed", metavar="FILE", type=Path, help="leave out what passed and would be the same here")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _THOROUGH)
    config.addinivalue_line("markers", _GPU)
    if config.getoption("numprocesses", None):  # the cores are theirs, and threads that wait busily would take them
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    config.pluginmanager.register(Clock(), "processor-seconds")
    if path := config.getoption("--write-passed"):
        config.pluginmanager.register(Recorder(path), "tests-that-passed")
    if path := config.getoption("--less-passed"):
        config.pluginmanager.register(Reducer(read(path)), "tests-that-passed-before")


def _thorough(config: pytest.Config) -> bool:
    return config.getoption("--hypothesis-profile", None) == "thorough"


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether the profile is that of CI, in which a test may look at more of the same kind."""
    return _thorough(request.config)


@pytest.fixture(scope="session")
def card() -> Any:
    """The machine of the current CUDA device; a test that asks for it is skipped where there is none."""
    cupy = pytest.importorskip("cupy")
    try:
        cupy.cuda.Device().compute_capability  # noqa: B018
    except cupy.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"no CUDA device: {error}")
    from assay.impl.gpu.machine import card

    return card()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _thorough(config):
        return
    further = _in_further_classes(config, items)
    left_out = [item for item in items if item.get_closest_marker("thorough") or item in further]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not (item.get_closest_marker("thorough") or item in further)]


def _in_further_classes(config: pytest.Config, items: list[pytest.Item]) -> set[pytest.Item]:
    """The tests of built-in kernels in classes beyond one, where no option says what is to be judged."""
    if any(config.getoption(f"assay_{name}", None) for name in ("kernel", "problem", "precision")):
        return set()
    found = {item: item.callspec.params.get("test") for item in items if hasattr(item, "callspec")}
    built_in = {item: test for item, test in found.items() if type(test).__name__ == "Asked"}
    one = of_one_class([(f"{test.problem}-{test.kernel}", test.precision) for test in built_in.values()])
    return {item for item, is_of_it in zip(built_in, one, strict=True) if not is_of_it}


# --- which process runs what ------------------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log) if config.getvalue("dist") == "load" else None


# --- where the time goes ----------------------------------------------------------------------------------------------


class Clock:
    """Takes the time of every test: hooks of this file itself would see those of its folder alone."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        item.stash[_BEGUN] = _processor_seconds()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        """The seconds travel with the report of the teardown, under pytest-xdist to the process that prints."""
        report = yield
        if report.when == "teardown":
            report.user_properties.append((_SECONDS, _processor_seconds() - item.stash[_BEGUN]))
        return report


_BEGUN = pytest.StashKey[float]()


def _processor_seconds() -> float:
    """Of this process and of the children that it has waited for."""
    import resource

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Seconds of processor time a problem and room, the dearest first; not for a run that takes no time."""
    spent: dict[tuple[str, str], float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, seconds in getattr(report, "user_properties", ()):
                if name == _SECONDS and report.when == "teardown":
                    spent[place_of(report.nodeid)] += seconds
    if sum(spent.values()) >= _WORTH_TELLING:
        terminalreporter.write_sep("=", _SECONDS)
        for line in table(spent):
            terminalreporter.write_line(line)


# --- what is known ----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="session")
def _known_once() -> Iterator[None]:
    """What an instance is held to is found once in a process, whatever tests ask for it."""
    from assay.conformance.judge.references import shared

    with shared():
        yield


@pytest.fixture
def undiagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are neither explained nor shrunk, which takes seconds: of tests that look at neither."""
    from assay.conformance.diagnosis.diagnosis import Diagnosis
    from assay.conformance.judge import level
    from assay.conformance.judge.judge import Judge

    monkeypatch.setattr(Judge, "diagnosis", lambda *_: Diagnosis())
    monkeypatch.setattr(level, "_SHRINK_SECONDS", 0.0)


# --- what failed ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="session")
def _kept_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Failing inputs of tests that run in this repository are kept in a folder of the session, and not beside it."""
    from assay.conformance.interface import folders

    repository, elsewhere, found = Path(__file__).parents[1], tmp_path_factory.mktemp("failures"), folders.project

    def project(start: Path | None = None) -> Path:
        root = found(start)
        return elsewhere if root == repository else root

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "project", project)
        yield
