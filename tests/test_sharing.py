"""A run of the tests: which process runs what, and the table of processor time at its end."""

from __future__ import annotations

import doctest
import shutil
from pathlib import Path

import pytest
import sharing

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
    for name in ("conftest.py", "sharing.py"):
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
