"""Compiled kernels do not depend on the cache on disk: not on its folder, nor on what is in it, nor on older files."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# A module of its own, so that the cache of the package stays as it is.
KERNEL = """
import sys
from assay.impl.cpu.compiled import jitted

def twice(x):
    return 2 * x

if "nowhere" in sys.argv:  # as in a package that nobody may write, of a user without a home
    from numba.core import caching
    def locate(*_):
        raise RuntimeError("cannot cache function 'twice': no locator available for file")
    caching.CacheImpl.__init__ = locate
assert jitted(twice, "int64(int64)", cache=True, nogil=True)(3) == 6
assert jitted(twice, cache=True)(2.5) == 5.0
print("compiled")
"""


def ran(folder: Path, *arguments: str) -> str:
    """What the module prints that compiles a kernel in a process of its own, with its cache beside it."""
    (folder / "kernel.py").write_text(KERNEL, encoding="utf-8")
    command = [sys.executable, str(folder / "kernel.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    return done.stdout + done.stderr


def test_a_kernel_is_compiled_where_no_folder_can_hold_a_cache(tmp_path: Path) -> None:
    assert ran(tmp_path, "nowhere") == "compiled\n"


def test_a_kernel_is_compiled_whatever_the_cache_holds(tmp_path: Path) -> None:
    assert ran(tmp_path) == "compiled\n"
    kept = sorted((tmp_path / "__pycache__").glob("kernel.twice*.nb[ci]"))
    assert {path.suffix for path in kept} == {".nbc", ".nbi"}
    # by its name, as a pickle names what it needs: a module that does not exist, as after a rename
    elsewhere = b"cno_such_module_at_all\nthing\n."
    for path in kept:
        path.write_bytes(elsewhere if path.suffix == ".nbc" else path.read_bytes())
    assert ran(tmp_path) == "compiled\n"
    for path in kept:
        path.write_bytes(path.read_bytes()[:9])
    assert ran(tmp_path) == "compiled\n"


def test_a_kernel_is_compiled_where_the_cache_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").write_text("a file where the folder would be")
    assert ran(tmp_path) == "compiled\n"


# What a kernel is made of: a step and a step of that, numbers that they read, and code written for the compiler.
STEPS = """
import numba
import numpy as np
from assay.impl.cpu.compiled import jitted, written
import numbers_of

TABLE = np.array([2, 3])
OPTIONS = dict(cache=True, nogil=True)

def inner(x):
    return 5 * x + numbers_of.ONE

def step(x):
    return inner(x) * TABLE[1]

def constant(builder, number):
    return builder.add(number, number.type(3))

def add(context, builder, signature, values):
    array = context.make_array(signature.args[0])(context, builder, values[0])
    builder.store(constant(builder, builder.load(array.data)), array.data)

inner = jitted(inner, **OPTIONS)
step = jitted(step, **OPTIONS)
added = written(add, "array")
"""
CALLER = """
import sys
import numpy as np
from assay.impl.cpu.compiled import jitted
from steps import OPTIONS, added, step

def kernel(x):
    made = np.array([step(x)])
    added(made)
    return made[0]

kernel = jitted(kernel, "int64(int64)", **OPTIONS)
print(kernel(2), kernel.py_func.__qualname__, sum(kernel.stats.cache_hits.values()))
"""


@pytest.mark.parametrize(
    ("file", "was", "becomes", "result"),
    [
        ("steps", "5 * x", "7 * x", (14 + 1) * 3 + 3),
        ("steps", "[2, 3]", "[2, 4]", (10 + 1) * 4 + 3),
        ("steps", "number.type(3)", "number.type(6)", (10 + 1) * 3 + 6),
        ("numbers_of", "ONE = 1", "ONE = 2", (10 + 2) * 3 + 3),
        ("steps", "nogil=True", "nogil=False", (10 + 1) * 3 + 3),
    ],
    ids=["a step of a step", "numbers of a step", "code written for the compiler", "a module's number", "an option"],
)
def test_a_kernel_is_compiled_anew_where_something_that_it_takes_from_another_file_changes(
    file: str, was: str, becomes: str, result: int, tmp_path: Path
) -> None:
    files = {"steps": STEPS, "numbers_of": "ONE = 1\n", "caller": CALLER}

    def printed(seed: int) -> list[str]:
        command, environment = [sys.executable, "caller.py"], os.environ | {"PYTHONHASHSEED": str(seed)}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert not done.stderr
        return done.stdout.split()

    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    value, name, hits = printed(1)
    assert (value, hits) == ("36", "0")
    assert printed(2) == [value, name, "1"]  # in every process under the same name, by which it is found
    (tmp_path / f"{file}.py").write_text(files[file].replace(was, becomes), encoding="utf-8")
    now, other, hits = printed(1)
    assert (now, hits) == (str(result), "0")
    assert other != name
