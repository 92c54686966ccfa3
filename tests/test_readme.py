"""The README is run as it stands: a newcomer's kernel is rejected, named, shrunk, replayed and mended."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from assay.cli import main
from assay.spec import attention

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")

REPORTS = (Path(__file__).parents[1] / "docs" / "reports.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    return next(text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(block("python", "def flash"), encoding="utf-8")
    return tmp_path


def arguments() -> list[str]:
    return shlex.split(block("sh", "assay check mine.py:flash"))[1:]


def test_the_kernel_of_the_readme_is_ten_lines_of_code() -> None:
    body = block("python", "def flash").partition("def flash")[2].strip().splitlines()[1:]
    assert len(body) == 10


#: The kernel as before, but it keeps the number of products of every call.
COUNTED = """
import functools

uncounted, products = flash, []

@functools.wraps(uncounted)
def flash(query, key, value, **keywords):
    products.append(query.size * key.shape[2])
    return uncounted(query, key, value, **keywords)
"""

#: The README's command in a process of its own, which says on stderr what it took.
CHECKED = """
import json, sys
from assay.cli import main
status = main(sys.argv[1:])
products = sys.modules["mine"].products
loaded = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"status": status, "products": products, "loaded": loaded}), file=sys.stderr)
"""


@dataclass(frozen=True)
class Check:
    """One run of the README's command: where, its exit status and text, the work of every call, what was imported."""

    folder: Path
    status: int
    out: str
    products: list[int]
    loaded: list[str]


@pytest.fixture(scope="module")
def rejection(tmp_path_factory: pytest.TempPathFactory) -> Check:
    folder = tmp_path_factory.mktemp("rejection")
    (folder / "mine.py").write_text(block("python", "def flash") + COUNTED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", CHECKED, *arguments()], cwd=folder, capture_output=True, text=True, check=True
    )
    return Check(folder=folder, out=done.stdout, **json.loads(done.stderr))


def test_it_is_rejected_at_the_smallest_shape_and_named(
    rejection: Check, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rejection.status == 1
    assert "behaves like: causal mask off by one: each query sees one key too many (j ≤ i + 1)" in rejection.out
    assert re.search(r"input +batch 1, heads 1, queries 1, dim 1, key heads 1, keys 2, value dim 1,", rejection.out)
    line = next(line for line in rejection.out.splitlines() if line.startswith("replay: "))
    words = shlex.split(line.removeprefix("replay: "))
    assert words[:2] == ["assay", "replay"]
    monkeypatch.chdir(rejection.folder)
    assert main(words[1:]) == 1
    capsys.readouterr()


def test_the_page_of_reports_shows_the_last_lines_of_the_report(rejection: Check) -> None:
    last = rejection.out.splitlines()[-4:]
    shown = re.search(r"```\n(FAILED mine.*?)```", REPORTS, re.DOTALL)
    assert shown is not None
    words = [line.split(":")[0].split()[0] for line in shown[1].splitlines()]
    assert words == [line.split(":")[0].split()[0] for line in last] == ["FAILED", "behaves", "family", "replay"]
    assert shown[1].splitlines()[1] == last[1]


def test_the_page_of_reports_shows_the_script_of_its_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zeros, value = np.zeros((1, 1, 2, 1), np.float32), np.array([[[[-2.0], [-0.0]]]], np.float32)
    attention.Instance(zeros[:, :, :1], zeros, value, scale=1.0, causal="top-left").save("found.npz")
    assert main(["replay", "found.npz", "--target", "mine.py:flash", "--script"]) == 0
    script = re.sub(r"numpy [\d.]+", "numpy …", capsys.readouterr().out)
    assert f"```python\n{script}```" in re.sub(r"numpy [\d.]+", "numpy …", REPORTS)


def test_it_is_rejected_after_few_and_small_calls(rejection: Check) -> None:
    """What makes a judgement slow is what it asks of the kernel: within seconds means a thousand calls of little work.

    A hundred million products of a query's and a key's coordinate are a fraction of a second of NumPy.
    """
    assert 0 < len(rejection.products) < 1000
    assert sum(rejection.products) < 10**8


def test_it_is_rejected_without_a_framework_and_without_a_compiler(rejection: Check) -> None:
    """What makes a judgement of a NumPy kernel begin late is what it imports that it has no use for."""
    assert "numpy" in rejection.loaded
    heavy = {"jax", "llvmlite", "matplotlib", "numba", "onnxruntime", "pandas", "scipy", "sympy", "torch"}
    assert heavy & set(rejection.loaded) == set()


def test_mended_it_passes_the_check_and_the_replay(
    rejection: Check, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(block("python", "def flash").replace("rows + 1", "rows"), encoding="utf-8")
    assert main(arguments()) == 0
    reproducers = re.findall(r"^   saved +(\S+)", rejection.out, re.MULTILINE)
    assert reproducers
    for reproducer in reproducers:
        assert (
            main(
                [
                    "replay",
                    str(rejection.folder / reproducer),
                    "--target",
                    "mine.py:flash",
                    "--option",
                    "grouped_heads=no",
                ]
            )
            == 0
        )
    capsys.readouterr()


def test_every_file_that_it_names_is_there() -> None:
    root = Path(__file__).parents[1]
    assert [name for name in re.findall(r"\]\(([\w./]+)\)", README) if not (root / name).exists()] == []
