"""How tests are shared among processes, and how their time is told: by the names of their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["group_of", "of_one_class", "place_of", "table"]


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


def of_one_class(tests: Sequence[tuple[str, str]]) -> list[bool]:
    """Which (kernel, class) are of the one class in which every run judges that built-in kernel.

    The classes take turns; float64, which takes by far the longest, is that of a kernel that has no other.

    >>> of_one_class([("a", "float64"), ("a", "float32"), ("b", "float32"), ("b", "float16"), ("c", "float64")])
    [False, True, False, True, True]
    """
    classes: dict[str, list[str]] = {}
    for kernel, name in tests:
        classes.setdefault(kernel, []).append(name)
    chosen = set()
    for at, (kernel, names) in enumerate(classes.items()):
        usual = [name for name in names if not name.startswith("float64")] or names
        chosen.add((kernel, usual[at % len(usual)]))
    return [test in chosen for test in tests]


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
