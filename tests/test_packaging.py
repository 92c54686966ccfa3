"""The package as it is installed: every folder in it, light to import, nothing loaded before its time."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import assay

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "jax", "numba", "scipy", "sympy", "hypothesis", "flint", "onnx", "onnxruntime", "jinja2"}


def printed(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_list_of_packages_is_that_of_the_folders() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"assay"}
    for room in ("spec", "impl", "conformance"):
        folders = [
            ROOT / room,
            *(path for path in (ROOT / room).rglob("*") if path.is_dir() and path.name != "__pycache__"),
        ]
        found |= {
            ".".join(("assay", *folder.relative_to(ROOT).parts)) for folder in folders if any(folder.glob("*.py"))
        }
    assert listed == found


def test_importing_assay_loads_no_framework_no_compiler_no_test_library() -> None:
    loaded = set(printed("import assay, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))").split())
    assert loaded & (HEAVY | {"numpy", "pytest", "rich", "typer"}) == set()


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("assay.spec.attention", {"flint", "sympy"}),
        ("assay.conformance.attention", {"flint", "sympy"}),
        ("assay.conformance.judge.judge", {"flint", "sympy"}),
        ("assay.conformance.plugin", set()),
    ],
)
def test_modules_load_only_what_they_are_about(module: str, allowed: set[str]) -> None:
    loaded = set(printed(f"import {module}, sys; print(*sorted({{n.partition('.')[0] for n in sys.modules}}))").split())
    assert loaded & HEAVY <= allowed


def test_importing_assay_takes_less_than_half_a_second() -> None:
    # processor time of the import alone, the least of five: the machine may be busy
    code = "import time; t = time.process_time(); import assay; print(time.process_time() - t)"
    assert min(float(printed(code)) for _ in range(5)) < 0.5


def test_public_names_are_there_and_others_are_refused_by_name() -> None:
    assert [getattr(assay, name).__name__ for name in assay.__all__] == assay.__all__
    with pytest.raises(AttributeError, match="module 'assay' has no attribute 'chekc'"):
        _ = assay.chekc


def test_the_version_is_that_of_the_distribution() -> None:
    assert assay.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_no_module_is_named_for_having_no_subject() -> None:
    files = [
        p
        for room in ("assay", "spec", "impl", "conformance", "tests", "benchmarks")
        for p in (ROOT / room).rglob("*.py")
    ]
    assert [p.name for p in files if re.fullmatch(r"(utils?|helpers?|common|misc)\.py", p.name)] == []
