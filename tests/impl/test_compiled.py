"""Compiled kernels do not depend on the cache on disk: neither on its folder nor on what is in it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from assay.impl.cpu.compiled import fingerprint

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


def test_what_a_kernel_takes_from_other_files_is_told_by_a_number() -> None:
    def twice(x: int) -> int:
        return 2 * x

    def thrice(x: int) -> int:
        return 3 * x

    numbers = {fingerprint(twice), fingerprint(thrice), fingerprint(twice, constants=1), fingerprint(twice, thrice)}
    assert len(numbers) == 4
    assert fingerprint(twice) in numbers
