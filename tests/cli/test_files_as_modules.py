"""``file.py:function`` is imported as a neighbour of the file would import it: from its folder, by its stem."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

KERNEL = """
import multiprocessing, pickle
from beside_it import factor

class State:
    def __init__(self, number): self.number = number

def doubled(number): return factor * number

def kernel(query, key, value, *, scale):
    import later_beside_it
    pickle.loads(pickle.dumps(State(later_beside_it.one)))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(doubled, [3]) == [6]
    raise NotImplementedError("far enough")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is not the current one, with a kernel and two modules that it imports."""
    there = tmp_path / "there"
    there.mkdir()
    (there / "its_kernel.py").write_text(KERNEL, encoding="utf-8")
    (there / "beside_it.py").write_text("factor = 2\n", encoding="utf-8")
    (there / "later_beside_it.py").write_text("one = 1\n", encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield there
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", "") and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def test_a_file_finds_its_neighbours_and_is_found_by_them(folder: Path) -> None:
    kernel = kernel_of("../there/its_kernel.py:kernel", "attention")
    assert kernel.name == "../there/its_kernel.py:kernel"
    assert sys.path[0] == str(folder)
    module = sys.modules["its_kernel"]
    assert module.__name__ == module.kernel.__module__ == "its_kernel"
    assert pickle.loads(pickle.dumps(module.doubled)) is module.doubled
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(module.doubled, [3, 4]) == [6, 8]


@pytest.mark.parametrize("isolated", [(), ("--isolate",)])
def test_what_a_kernel_defines_can_be_pickled_and_sent_to_processes(folder: Path, isolated: tuple[str, ...]) -> None:
    words = ("check", "../there/its_kernel.py:kernel", "--level", "smoke", "--family", "one-key", *isolated)
    done = subprocess.run([sys.executable, "-m", "assay", *words], capture_output=True, text=True)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "not judged, far enough" in done.stdout


def test_a_file_of_the_same_name_takes_the_place_of_another(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "its_kernel.py").write_text(
        "def kernel(query, key, value, *, scale): return 'here'\n", encoding="utf-8"
    )
    kernel_of("../there/its_kernel.py:kernel", "attention")
    kernel_of("its_kernel.py:kernel", "attention")
    assert sys.modules["its_kernel"].kernel(0, 0, 0, scale=1) == "here"
    (tmp_path / "elsewhere" / "its_kernel.py").write_text(
        "def kernel(query, key, value, *, scale): return 'mended'\n", encoding="utf-8"
    )
    kernel_of("its_kernel.py:kernel", "attention")
    assert sys.modules["its_kernel"].kernel(0, 0, 0, scale=1) == "mended"


@pytest.mark.parametrize("stem", ["statistics", "numpy", "pytest", "no-identifier", "two.dots"])
def test_a_file_takes_no_name_that_is_another_modules(folder: Path, stem: str) -> None:
    text = "def kernel(query, key, value, *, scale): return 'mine'\n"
    (folder / f"{stem}.py").write_text(text, encoding="utf-8")
    before = sys.modules.get(stem)
    kernel = kernel_of(f"../there/{stem}.py:kernel", "attention")
    assert kernel.function(0, 0, 0, scale=1) == "mine"
    assert sys.modules.get(stem) is before


def test_a_file_that_raises_leaves_no_module_behind(folder: Path) -> None:
    (folder / "it_raises.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(UsageError, match="importing it raised ZeroDivisionError"):
        kernel_of("../there/it_raises.py:kernel", "attention")
    assert "it_raises" not in sys.modules
