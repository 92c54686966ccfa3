"""A run of the tests: which process runs what, and the table of processor time at its end."""

from __future__ import annotations

import ast
import doctest
import shlex
import shutil
import tomllib
from pathlib import Path

import once
import pytest
import sharing

from assay.conformance.interface.suite import suite
from assay.spec.problem import PROBLEMS

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent
SPINS = """
import time, pytest

each_kernel = pytest.mark.parametrize("kernel", ["a", "b", "c", "d"])

def spins(kernel, worker_id):
    end = time.process_time() + 0.08
    while time.process_time() < end:
        pass
    with open("ran.txt", "a") as file:
        print(worker_id, kernel, file=file)

@each_kernel
def test_first(kernel, worker_id):
    spins(kernel, worker_id)

@each_kernel
def test_second(kernel, worker_id):
    spins(kernel, worker_id)
"""
ALONE = """
import pytest

@pytest.fixture
def worker_id():
    return "master"
"""


def test_what_the_names_of_test_files_say() -> None:
    failed, ran = doctest.testmod(sharing)
    assert (failed, ran >= 4) == (0, True)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_run_ends_with_a_table_of_processor_time_and_all_tests_of_a_kernel_run_in_one_process(
    pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    if workers:
        pytest.importorskip("xdist")
    folder = pytester.mkdir("tests")
    for name in ("conftest.py", "once.py", "sharing.py"):
        shutil.copy(HERE / name, folder / name)
    (folder / "conformance").mkdir()
    spins = SPINS if workers else SPINS + ALONE
    (folder / "conformance" / "test_attention_bank.py").write_text(spins)
    pytester.makeini("[pytest]\npythonpath = tests\naddopts = --import-mode=importlib -p no:cacheprovider\n")
    result = pytester.runpytest_subprocess("tests", *workers)
    result.assert_outcomes(passed=8)
    lines = [line.split() for line in result.outlines]
    assert ["problem", "conformance", "all"] in lines
    row = next(line for line in lines if line[:1] == ["attention"])
    assert 0.6 <= float(row[1]) < 30
    ran = {tuple(line.split()) for line in (pytester.path / "ran.txt").read_text().splitlines()}
    assert sorted(kernel for _, kernel in ran) == ["a", "b", "c", "d"]


# --- what a run leaves out that another has done ----------------------------------------------------------------------

#: A test of each kind: whether it is the same again where ``comes_later`` is installed is told by its name.
KINDS = """
import importlib.util, subprocess, sys
import pytest
from hypothesis import given, strategies as st

@pytest.fixture(scope="module")
def shared():
    return importlib.util.find_spec("comes_later")

def test_same(): pass

@pytest.mark.parametrize("name", ["same", "other"])
def test_of_names(name):
    if name == "other":
        pytest.importorskip("comes_later")

def test_other_fails():
    assert importlib.util.find_spec("comes_later")

def test_other_looks():
    importlib.util.find_spec("comes_later")

def test_same_looks_for_what_never_comes():
    assert importlib.util.find_spec("never_comes") is None

def test_other_starts_a_process():
    subprocess.run([sys.executable, "-c", ""], check=True)

@given(st.integers())
def test_other_has_examples(number): pass

def test_other_is_of_a_profile(thorough): pass

@pytest.mark.thorough
def test_other_is_thorough(): pass
"""
#: In a file of its own: the first fixture that looks is used by later tests, and so is what the file itself found.
USES = """
import importlib.util, pytest

@pytest.fixture(scope="module")
def shared():
    return importlib.util.find_spec("comes_later")

def test_other_first(shared): pass
def test_other_second(shared): pass
"""
ASKS = """
import importlib.util

HAS = importlib.util.find_spec("comes_later")

def test_other_uses_what_its_file_found(): pass
"""


def test_every_test_runs_in_one_of_two_runs_and_what_may_be_another_in_the_second_as_well(
    pytester: pytest.Pytester,
) -> None:
    pytest.importorskip("xdist")
    folder = pytester.mkdir("tests")
    for name in ("conftest.py", "once.py", "sharing.py"):
        shutil.copy(HERE / name, folder / name)
    for name, text in (("kinds", KINDS), ("uses", USES), ("asks", ASKS)):
        (folder / f"test_{name}.py").write_text(text)
    pytester.makeini("[pytest]\npythonpath = tests more\naddopts = --import-mode=importlib -p no:cacheprovider\n")
    thorough = "--hypothesis-profile=thorough"

    def outcomes(*words: str) -> dict[str, str]:
        lines = pytester.runpytest_subprocess("tests", "-rA", "-n", "2", *words).outlines
        ended = [line.split() for line in lines if line.startswith(("PASSED", "FAILED"))]
        return {words[1].partition("::")[2]: words[0] for words in ended}

    lines = pytester.runpytest_subprocess("tests", "-q", "--collect-only", thorough).outlines
    every = {line.partition("::")[2] for line in lines if "::" in line}
    first = outcomes("--write-passed=passed.json")
    assert set(first) == every - {"test_of_names[other]", "test_other_is_thorough"}
    assert {name for name in first if first[name] == "FAILED"} == {"test_other_fails"}
    pytester.mkdir("more").joinpath("comes_later.py").touch()
    second = outcomes("--less-passed=passed.json", thorough)
    assert set(second.values()) == {"PASSED"}
    assert set(first) | set(second) == every
    assert every - set(second) == {"test_same", "test_of_names[same]", "test_same_looks_for_what_never_comes"}


def test_nothing_is_left_out_where_a_package_that_assay_requires_has_another_version() -> None:
    for name in ("numpy", "python"):
        assert once.versions()[name]
        others = once.versions() | {name: "another"}
        assert once.Reducer(once.Passed({"a test": frozenset()}, others)).missed == {}
    assert once.Reducer(once.Passed({"a test": frozenset()}, once.versions())).missed == {"a test": frozenset()}


def test_of_the_folders_of_tests_ci_leaves_out_one_whose_kernels_it_judges_otherwise() -> None:
    """tests/cli/test_check_jobs.py shows that ``assay check`` and the tests of that folder judge the same kernels."""
    settings = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]
    (folder,) = set(settings["ini_options"]["testpaths"]) - {"tests"}
    assert [path.name for path in (HERE.parent / folder).rglob("test_*.py")] == ["test_conformance.py"]
    lines = (HERE.parent / ".ci" / "run").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    runs = [shlex.split(line) for line in lines if "--less-passed" in line]
    assert [[word for word in words if word in ("tests", folder)] for words in runs] == [["tests"]]
    checks = [shlex.split(line) for line in lines if "-m assay check" in line]
    assert [words[3:6] for words in checks] == [["check", "--level", "smoke"]]


def test_every_kernel_that_needs_no_framework_is_judged_from_the_wheel() -> None:
    script = (HERE.parent / ".ci" / "run").read_text(encoding="utf-8")
    classes = set(script.partition("--assay-precision ")[2].split()[0].split(","))
    targets = [target for name in PROBLEMS for target in suite(name).targets.values()]
    alone = [target for target in targets if not target.modules and target.precisions]
    assert len(alone) >= 20
    assert [target.name for target in alone if not classes & set(target.precisions)] == []


def test_where_the_profile_says_how_many_examples_there_are_a_test_shows_it() -> None:
    """A function with examples is a test, whose mark is read, or has a number of its own, or is in such a test."""
    hidden = []
    for path in [*HERE.rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        shown = {node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test")}
        for test in shown:
            words = [*map(ast.unparse, test.decorator_list), *(argument.arg for argument in test.args.args)]
            if any("thorough" in word for word in words):
                shown = shown | {node for node in ast.walk(test) if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node not in shown:
                words = list(map(ast.unparse, node.decorator_list))
                if any("given(" in word for word in words) and not any("max_examples=" in word for word in words):
                    hidden.append(f"{path.relative_to(HERE)}:{node.lineno}")
    assert hidden == []
