"""The package as it is found, installed or in a checkout: of one copy, every folder in it, nothing loaded early."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import assay
from assay.spec import attention

ROOT = Path(__file__).parents[1]
ROOMS = ("spec", "impl", "conformance")
HEAVY = {"torch", "jax", "numba", "scipy", "sympy", "hypothesis", "flint", "onnx", "onnxruntime", "jinja2"}


def printed(code: str, *options: str, folder: Path | None = None, path: Path | None = None) -> str:
    """What Python prints that executes ``code`` in a folder, with another one in PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_list_of_packages_is_that_of_the_folders() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {file.parent for room in ("assay", *ROOMS) for file in (ROOT / room).rglob("*.py")}
    parts = (folder.relative_to(ROOT).parts for folder in folders)
    assert listed == {".".join(names if names[0] == "assay" else ("assay", *names)) for names in parts}


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


# --- nothing is loaded before its time --------------------------------------------------------------------------------


def test_importing_assay_loads_no_module_that_is_not_in_every_program() -> None:
    """What makes an import slow is what it imports, so this is also the test that ``import assay`` is quick."""
    code = "import __future__, importlib, sys, typing; before = set(sys.modules); import assay; "
    code += "print(*set(sys.modules) - before)"
    assert set(printed(code).split()) == {"assay"}


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


# --- one copy ---------------------------------------------------------------------------------------------------------

# Copies of the package without content, but for its own front door: what is tested is which files Python finds.

ORIGINS = "import assay, assay.spec, assay.impl, assay.conformance, sys\nfor name in sorted(sys.modules):\n" + (
    "    if name.partition('.')[0] == 'assay': print(sys.modules[name].__file__)"
)

#: As an editable install does it: a finder behind all others that knows where the front door and the rooms lie.
EDITABLE = """
import importlib.machinery, sys

class Editable:
    @staticmethod
    def find_spec(name, path=None, target=None):
        names = ("assay", "assay.spec", "assay.impl", "assay.conformance")
        return importlib.machinery.PathFinder.find_spec(name, [{folder!r}]) if name in names else None

sys.meta_path.append(Editable)
"""


def checkout(folder: Path) -> Path:
    """A copy in which the rooms lie beside the front door."""
    for package in ("assay", *ROOMS):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
    shutil.copy(ROOT / "assay" / "__init__.py", folder / "assay")
    return folder


def distribution(folder: Path) -> Path:
    """A copy in which the rooms lie inside the front door, as in a wheel."""
    checkout(folder)
    for room in ROOMS:
        (folder / room).rename(folder / "assay" / room)
    return folder


def origins(folder: Path, *, path: Path | None = None, before: str = "") -> list[str]:
    """The files of the front door and its rooms, as Python finds them in a folder.

    ``-S`` leaves out the packages of the environment, among which assay may be in one way or another.
    """
    return printed(before + ORIGINS, "-S", folder=folder, path=path).splitlines()


def files(folder: Path, *packages: str) -> list[str]:
    return sorted(str(folder / package / "__init__.py") for package in packages)


def test_in_a_checkout_the_package_is_whole_without_being_installed(tmp_path: Path) -> None:
    root = checkout(tmp_path / "root")
    assert sorted(origins(root)) == files(root, "assay", *ROOMS)


def test_in_a_checkout_nothing_comes_from_an_installed_copy(tmp_path: Path) -> None:
    root, installed = checkout(tmp_path / "root"), distribution(tmp_path / "installed")
    assert sorted(origins(root, path=installed)) == files(root, "assay", *ROOMS)


def test_in_a_checkout_nothing_comes_from_another_one_that_is_installed_editable(tmp_path: Path) -> None:
    root, other = checkout(tmp_path / "root"), checkout(tmp_path / "other")
    editable = EDITABLE.format(folder=str(other))
    assert sorted(origins(root, before=editable)) == files(root, "assay", *ROOMS)


def test_elsewhere_nothing_comes_from_a_checkout(tmp_path: Path) -> None:
    installed = distribution(tmp_path / "installed")
    packages = ("assay", *(f"assay/{room}" for room in ROOMS))
    assert sorted(origins(tmp_path, path=installed)) == files(installed, *packages)


def test_elsewhere_an_editable_install_finds_its_checkout(tmp_path: Path) -> None:
    other = checkout(tmp_path / "other")
    editable = EDITABLE.format(folder=str(other))
    assert sorted(origins(tmp_path, before=editable)) == files(other, "assay", *ROOMS)


def test_an_installed_package_looks_for_its_modules_in_its_own_folder_only(tmp_path: Path) -> None:
    installed = distribution(tmp_path / "installed")
    (installed / "spec").mkdir()  # of some other distribution
    paths = printed("import assay; print(*assay.__path__)", "-S", folder=tmp_path, path=installed)
    assert paths.split() == [str(installed / "assay")]


def test_in_the_root_of_this_repository_every_room_is_found(tmp_path: Path) -> None:
    installed = distribution(tmp_path / "installed")
    code = "from assay import spec, conformance; from assay.impl import cpu; "
    code += "print(spec.__file__, conformance.__file__, cpu.__file__)"
    assert printed(code, folder=ROOT, path=installed).split() == [
        str(ROOT / room / "__init__.py") for room in ("spec", "conformance", "impl/cpu")
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="isolation needs Linux")
def test_an_isolated_kernel_is_called_by_the_copy_that_judges_it(tmp_path: Path) -> None:
    x = np.ones((1, 1, 1, 1), np.float32)
    attention.Instance(x, x, x).save(tmp_path / "instance.npz")
    (tmp_path / "mine.py").write_text(
        "import assay\ndef kernel(query, key, value, *, scale): raise RuntimeError(assay.__file__)\n", encoding="utf-8"
    )
    installed = distribution(tmp_path / "installed")
    arguments = [str(tmp_path / "instance.npz"), "--target", f"{tmp_path / 'mine.py'}:kernel", "--isolate"]
    code = f"from assay.cli import main; main(['replay', *{arguments!r}])"
    assert f"raised RuntimeError: {ROOT / 'assay' / '__init__.py'}" in printed(code, folder=ROOT, path=installed)
