"""``assay …`` on the rotary embedding: every command, and the pytest plugin."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.conformance.report.reading import from_json
from assay.spec import rope

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
pytest_plugins = ["pytester"]

KERNELS = """
import numpy as np

def good(query, key, positions, *, base):
    half = query.shape[3] // 2
    angle = np.atleast_2d(positions)[:, None, :, None] * base ** (-np.arange(half) / half)
    cos, sin = np.cos(angle), np.sin(angle)
    turned = []
    for x in (query, key):
        a, b = x[..., :half].astype(float), x[..., half:].astype(float)
        turned.append(np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=3).astype(x.dtype))
    return tuple(turned)

def bad(query, key, positions, *, base):
    return good(query, key, positions + 1, base=base)
"""


@pytest.fixture
def kernels(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "turning.py").write_text(KERNELS, encoding="utf-8")
    x = np.ones((1, 2, 3, 4), np.float32)
    rope.Instance(x, x[:, :1], np.array([0, 5, 4000])).save("turned.npz")
    return run


def test_the_problem_is_told_by_the_arrays(kernels: Run) -> None:
    status, out, error = kernels("check", "turning.py:good", "--precision", "float32-exact-angles", "--level", "smoke")
    assert (status, error) == (0, "")
    assert "\nPASSED turning.py:good  rope  float32-exact-angles  smoke  seed 0" in out


def test_a_failure_is_named_and_its_reproducer_replays(kernels: Run, tmp_path: Path) -> None:
    files = ("--json", "r.json", "--html", "r.html")
    status, out, _ = kernels("check", "turning.py:bad", "--level", "smoke", "--reproducers", "found", *files)
    assert status == 1
    assert "behaves like: positions off by one: one too large" in out
    line = next(line for line in out.splitlines() if line.startswith("replay: ")).split()
    assert kernels(*line[2:])[0] == 1
    assert kernels(*line[2:5], "turning.py:good", "--precision", "float32")[0] == 0
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report.problem == "rope"
    assert "positions off by one" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_an_isolated_kernel_is_judged_alike(kernels: Run) -> None:
    status, out, _ = kernels("check", "turning.py:bad", "--level", "smoke", "--isolate")
    assert (status, "positions off by one" in out) == (1, True)


def test_reference_and_bound_of_an_instance(kernels: Run) -> None:
    status, out, _ = kernels("reference", "turned.npz", "--output", "key")
    assert (status, "key" in out) == (0, True)
    status, out, _ = kernels("bound", "turned.npz", "--precision", "float16-tables")
    assert (status, "query" in out) == (0, True)


def test_a_data_sheet_tells_where_angles_are_off(kernels: Run, tmp_path: Path) -> None:
    status, out, _ = kernels("profile", "turning.py:good", "--precision", "float32", "--json", "sheet.json")
    assert status == 0
    assert "the first position off by 0.001 rad" in out
    answers = json.loads((tmp_path / "sheet.json").read_text(encoding="utf-8"))["answers"]
    assert {"class", "off-0.1", "beyond"} <= {answer["id"] for answer in answers}


def test_the_list_of_the_problem(run: Run) -> None:
    status, out, _ = run("list", "rope")
    assert status == 0
    assert "transformers:rope" in out
    assert "float32-exact-angles" in out


def test_the_plugin_judges_a_kernel(pytester: pytest.Pytester, thorough: bool) -> None:
    pytester.makepyfile(turning=KERNELS)
    options = ("-p", "no:cacheprovider", "--assay-level", "smoke", "--pyargs", "assay.conformance")
    good = ("--assay-kernel", "turning.py:good") if thorough else ()  # to pass takes seconds
    result = pytester.runpytest_subprocess("--assay-kernel", "turning.py:bad", *good, *options)
    assert result.parseoutcomes()["failed"] >= 1  # of the tests that the families of the kernel are
