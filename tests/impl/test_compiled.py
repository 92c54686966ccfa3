"""Compiled kernels do not depend on the cache on disk: not on its folder, nor on what is in it, nor on older files."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.impl.cpu import compiled, products, softmax, vectors
from assay.impl.cpu.attention import few, tiles

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


def test_no_module_of_kernels_needs_the_compiler_when_it_is_imported() -> None:
    code = (
        "import importlib, pkgutil, sys; from assay.impl import cpu;"
        "found = [each.name for each in pkgutil.walk_packages(cpu.__path__, cpu.__name__ + '.')];"
        "any(map(importlib.import_module, found)); print(len(found) > 50, 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.split() == ["True", "False"], done.stderr


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


def test_a_kernel_finds_what_it_is_given_by_name_and_a_step_finds_those_before_it() -> None:
    made = compiled.compiled(_kernel, "int64(int64)", set(), more=5, inner=_inner, outer=_outer)
    assert made(3) == 10 * (3 + 5)


def test_a_step_is_compiled_with_the_flags_of_its_kernel_unless_it_was_compiled_before() -> None:
    strict = compiled.compiled(_inner, None, {"nsz"}, more=5)
    kernel = compiled.compiled(_kernel, None, {"contract"}, inner=strict, outer=_outer)
    found = kernel.py_func.__globals__  # type: ignore[attr-defined]
    flags = {name: found[name].targetoptions["fastmath"] for name in ("inner", "outer")}
    assert flags == {"inner": {"nsz"}, "outer": {"contract"}}


def _inner(x: Any) -> Any:
    return x + more  # type: ignore[name-defined]  # noqa: F821


def _outer(x: Any) -> Any:
    return 10 * inner(x)  # type: ignore[name-defined]  # noqa: F821


def _kernel(x: Any) -> Any:
    return outer(x)  # type: ignore[name-defined]  # noqa: F821


# What a kernel is made of: a step and a step of that, numbers that they read, and code written for the compiler.
STEPS = """
import functools
import numpy as np
from assay.impl.cpu.compiled import jitted, written
import package.numbers_of

TABLE = np.array([2, 3])
OPTIONS = dict(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"})

def inner(x):
    return 5 * x + package.numbers_of.ONE

def step(x):
    return inner(x) * TABLE[1]

def constant(builder, number):
    return builder.add(number, number.type(3))

def add(context, builder, signature, values, *, times):
    array = context.make_array(signature.args[0])(context, builder, values[0])
    for _ in range(times):
        builder.store(constant(builder, builder.load(array.data)), array.data)

inner = jitted(inner, **OPTIONS)
step = jitted(step, **OPTIONS)
added = written(functools.partial(add, times=1), "array")
"""
CALLER = """
import sys
import numpy as np
from assay.impl.cpu.compiled import jitted
from steps import added, step

def kernel(x):
    made = np.array([step(x)])
    added(made)
    return made[0]

kernel = jitted(kernel, "int64(int64)", cache=True, nogil=True)
print(kernel(2), kernel.py_func.__qualname__, sum(kernel.stats.cache_hits.values()))
"""


@pytest.mark.parametrize(
    ("file", "was", "becomes", "result"),
    [
        ("steps", "5 * x", "7 * x", (14 + 1) * 3 + 3),
        ("steps", "[2, 3]", "[2, 4]", (10 + 1) * 4 + 3),
        ("steps", "number.type(3)", "number.type(6)", (10 + 1) * 3 + 6),
        ("steps", "times=1", "times=2", (10 + 1) * 3 + 6),
        ("package/numbers_of", "ONE = 1", "ONE = 2", (10 + 2) * 3 + 3),
        ("steps", '"reassoc"', '"ninf"', (10 + 1) * 3 + 3),
    ],
    ids=[
        "a step of a step",
        "numbers of a step",
        "code written for the compiler",
        "an argument of that",
        "a module's number",
        "an option of a step",
    ],
)
def test_a_kernel_is_compiled_anew_where_something_that_it_takes_from_another_file_changes(
    file: str, was: str, becomes: str, result: int, tmp_path: Path
) -> None:
    files = {"steps": STEPS, "package/__init__": "", "package/numbers_of": "ONE = 1\n", "caller": CALLER}
    (tmp_path / "package").mkdir()

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


# What the kernels of the package are kept as; nothing is compiled.
KEPT = """
import numpy as np
from numba.core.dispatcher import Dispatcher
from assay.impl.cpu import compiled, features
from assay.impl.cpu.attention import tiles
from assay.impl.cpu.attention_gradient import sweeps, tiles as gradient
from assay.impl.cpu.firing_neurons import kernels as neurons
from assay.impl.cpu.kernel_graph import grid_kernels, nonuniform_kernels, polynomial_kernels, tree_kernels, weights
from assay.impl.cpu.tensor_attention import lanes, tiles as tensor

names = []
named = compiled._named

def noted(function, options):
    made = named(function, options)
    names.append(f"{made.__module__}.{made.__qualname__}")
    return made

compiled._named = noted
Dispatcher.compile = Dispatcher.disable_compile = lambda *_: None
for name in ("float32", "float64"):
    work = np.dtype(name)
    for related in (False, True):
        tiles._kernel(work, related)
    tiles._few(work)
    for module in (gradient, lanes, tensor):
        module._kernel(name)
    for kernel in ("_queries", "_keys"):
        sweeps._compiled(kernel, work)
    weights.direct(name)
    neurons.query(name)
    features._compiled("_evaluate", work)
for module in (grid_kernels, nonuniform_kernels, polynomial_kernels, tree_kernels):
    for name in module.__all__:
        factory = getattr(module, name)
        if hasattr(factory, "cache_info") and not factory.__wrapped__.__code__.co_argcount:
            factory()
print(*sorted(names))
"""


def test_every_process_finds_the_compiled_kernels_of_another_one() -> None:
    """Whatever the order of its sets is, and wherever objects lie in its memory."""
    found = set()
    for seed in ("1", "2"):
        command, environment = [sys.executable, "-c", KEPT], os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert not done.stderr
        found.add(done.stdout)
    (names,) = found
    assert len(set(names.split())) > 50
    assert "0x" not in names


@pytest.mark.parametrize(
    ("module", "name", "other"),
    [
        (products, "ROWS", 4),
        (products, "blocks", lambda: products.Blocks(3, 2, 16)),
        (products, "_write", lambda *_, **__: None),
        (softmax, "_over_strips", lambda *_: None),
        (softmax, "exponential", lambda _: ((1.0,) * 5, (1.0,))),
        (softmax, "_write", lambda *_, **__: None),
        (vectors, "times_plus", lambda builder, a, b, c: builder.fadd(builder.fmul(a, b), c)),
    ],
    ids=[
        "a size",
        "blocks in registers",
        "code of products",
        "a step",
        "numbers of a step",
        "code of a step",
        "code that code calls",
    ],
)
@pytest.mark.parametrize("related", [False, True])
def test_the_tiles_of_attention_are_kept_under_a_name_that_tells_their_steps(
    module: Any, name: str, other: Any, related: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is the same for other steps would give the kernels of a new version the steps of the old one."""
    before = name_of_tiles(related)
    assert name_of_tiles(related) == before
    for each in (module, *((products, softmax, few) if module is vectors else ())):
        monkeypatch.setattr(each, name, other)
    assert name_of_tiles(related) != before


def name_of_tiles(related: bool) -> str:
    """The name under which the compiled kernel of tiles would be kept, with the steps as they are now."""
    found: dict[str, str] = {}

    def noted(function: Any, _: Any, **options: Any) -> Any:
        found[function.__qualname__] = compiled._named(function, options).__qualname__
        return function

    remembered = (products.in_registers, softmax._strip)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "jitted", noted)
        patch.setattr(tiles, "steps", tiles.steps.__wrapped__)
        for one in remembered:
            one.cache_clear()
        tiles._kernel.__wrapped__(np.dtype(np.float32), related)
        for one in remembered:
            one.cache_clear()
    return found["_tiles"]
