"""How tests are shared among processes, and how their time is told: by the names of their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["group_of", "place_of", "table"]


def group_of(nodeid: str) -> str:
    """Tests with the same answer run in the same process: those of a file, of a bank those of a kernel.

    What is known of an input is kept as long as its file runs, and what a level makes of a wrong kernel as long as the
    session (tests/bank/verdicts.py), so none of it is found twice.

    >>> group_of("tests/spec/test_precision.py::test_some[float32]")
    'tests/spec/test_precision.py'
    >>> group_of("tests/conformance/test_attention_stages.py::test_some[causal-one-more]")
    'tests/conformance/test_attention causal-one-more'

    Built-in kernels have nothing in common, so each is a group of its own.

    >>> group_of("conformance/test_conformance.py::test_kernel_conforms[rope-numpy:rope-float32]")
    'conformance/test_conformance.py::test_kernel_conforms[rope-numpy:rope-float32]'
    """
    path, _, test = nodeid.partition("::")
    if path.endswith("conformance/test_conformance.py"):
        return nodeid
    for ending in ("_bank.py", "_stages.py"):
        if path.endswith(ending) and "[" in test:
            return f"{path.removesuffix(ending)} {test[test.index('[') + 1 : -1]}"
    return path


def place_of(nodeid: str) -> tuple[str, str]:
    """Room and problem of a test: ``tests/<room>/test_<problem>….py``; "shared" where its file names no problem.

    A test of the built-in kernels begins its parameters with the problem.

    >>> place_of("tests/conformance/test_attention_bank.py::test_some"), place_of("tests/spec/test_precision.py::test")
    (('conformance', 'attention'), ('spec', 'shared'))
    >>> place_of("conformance/test_conformance.py::test_kernel_conforms[attention-numpy:attention-float32]")
    ('conformance', 'attention')
    """
    path, _, test = nodeid.partition("::")
    *folders, file = path.split("/")
    stem = file.removeprefix("test_").removesuffix(".py")
    words = stem if stem != "conformance" else test.partition("[")[2].partition("-")[0]
    fitting = [name for name in PROBLEMS if words == name or words.startswith(f"{name}_")]
    room = folders[1] if len(folders) > 1 and folders[0] == "tests" else folders[0] if folders else ""
    return room, max(fitting, key=len, default="shared")


def table(spent: Mapping[tuple[str, str], float]) -> list[str]:
    """(room, problem) → seconds as lines: a problem a row, the dearest first, a room a column.

    >>> for line in table({("spec", "attention"): 2.0, ("spec", "shared"): 3.5, ("impl", "attention"): 2.5}):
    ...     print(line)
    problem     impl   spec    all
    attention    2.5    2.0    4.5
    shared       0.0    3.5    3.5
    all          2.5    5.5    8.0
    """
    rooms = sorted({room for room, _ in spent})
    of_problem: dict[str, list[float]] = {}
    for problem in {problem for _, problem in spent}:
        row = [spent.get((room, problem), 0.0) for room in rooms]
        of_problem[problem] = [*row, sum(row)]
    rows = sorted(of_problem.items(), key=lambda row: -row[1][-1])
    rows.append(("all", [sum(column) for column in zip(*of_problem.values(), strict=True)]))
    first = max(len(problem) for problem in (*of_problem, "problem"))
    widths = [max(len(room), 5) for room in (*rooms, "all")]
    head = [f"{room:>{width}}" for room, width in zip((*rooms, "all"), widths, strict=True)]
    lines = ["  ".join([f"{'problem':<{first}}", *head])]
    for problem, row in rows:
        cells = [f"{seconds:{width}.1f}" for seconds, width in zip(row, widths, strict=True)]
        lines.append("  ".join([f"{problem:<{first}}", *cells]))
    return lines
