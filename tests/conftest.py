"""Hypothesis profiles, how xdist shares the tests, and the table of processor time at the end of a run.

``quick`` is the profile by default, ``--hypothesis-profile=thorough`` that of CI; both draw the same every time.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("quick", derandomize=True, deadline=None, max_examples=60, print_blob=True)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=600)
settings.load_profile("quick")

_SECONDS = "processor seconds"


# --- which process runs what ------------------------------------------------------------------------------------------


def group_of(nodeid: str) -> str:
    """Tests with the same answer run in the same process: those of a file, of a bank those of a kernel.

    What is known of an input is kept as long as its file runs, and what a level makes of a wrong kernel as long as the
    session (tests/bank/verdicts.py), so none of it is found twice.

    >>> group_of("tests/spec/test_precision.py::test_some[float32]")
    'tests/spec/test_precision.py'
    >>> group_of("tests/conformance/test_attention_stages.py::test_some[causal-one-more]")
    'tests/conformance/test_attention causal-one-more'
    """
    path, _, test = nodeid.partition("::")
    for ending in ("_bank.py", "_stages.py"):
        if path.endswith(ending) and "[" in test:
            return f"{path.removesuffix(ending)} {test[test.index('[') + 1 : -1]}"
    return path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log) if config.getvalue("dist") == "load" else None


# --- where the time goes ----------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    item.stash[_BEGUN] = _processor_seconds()
    return (yield)


_BEGUN = pytest.StashKey[float]()


def _processor_seconds() -> float:
    """Of this process and of the children that it has waited for."""
    import resource

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """The seconds travel with the report of the teardown, under pytest-xdist to the process that prints."""
    report = yield
    if report.when == "teardown":
        report.user_properties.append((_SECONDS, _processor_seconds() - item.stash[_BEGUN]))
    return report


def place_of(path: str) -> tuple[str, str]:
    """Room and problem of a test file: ``tests/<room>/test_<problem>….py``; "shared" where it names no problem.

    >>> place_of("tests/conformance/test_attention_bank.py"), place_of("tests/spec/test_precision.py")
    (('conformance', 'attention'), ('spec', 'shared'))
    """
    from assay.spec.problem import PROBLEMS

    *folders, file = path.split("/")
    stem = file.removeprefix("test_").removesuffix(".py")
    fitting = [name for name in PROBLEMS if stem == name or stem.startswith(f"{name}_")]
    room = folders[1] if len(folders) > 1 and folders[0] == "tests" else folders[0] if folders else ""
    return room, max(fitting, key=len, default="shared")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Seconds of processor time a problem and room, the dearest first."""
    spent: dict[tuple[str, str], float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, seconds in getattr(report, "user_properties", ()):
                if name == _SECONDS and report.when == "teardown":
                    spent[place_of(report.nodeid.partition("::")[0])] += seconds
    if sum(spent.values()) < 10:
        return
    problems, rooms = (sorted({place[k] for place in spent}, key=str) for k in (1, 0))
    terminalreporter.write_sep("=", "processor seconds")
    width = max(map(len, (*problems, "problem")))
    terminalreporter.write_line("  ".join([f"{'problem':<{width}}", *(f"{room:>11}" for room in rooms), f"{'all':>7}"]))
    for problem in sorted(problems, key=lambda name: -sum(s for (_, p), s in spent.items() if p == name)):
        row = [spent.get((room, problem), 0.0) for room in rooms]
        cells = [f"{problem:<{width}}", *(f"{seconds:11.1f}" for seconds in row), f"{sum(row):7.1f}"]
        terminalreporter.write_line("  ".join(cells))
    totals = [sum(s for (r, _), s in spent.items() if r == room) for room in rooms]
    cells = [f"{'all':<{width}}", *(f"{seconds:11.1f}" for seconds in totals), f"{sum(totals):7.1f}"]
    terminalreporter.write_line("  ".join(cells))
