"""The package as it is found, installed or in a checkout: of one copy, every folder in it, nothing loaded early."""

from __future__ import annotations

import inspect
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
    code = "import __future__, contextlib, importlib, sys, types, typing; before = set(sys.modules); import assay; "
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


# --- what is installed of it -----------------------------------------------------------------------------------------

#: The packages that no part of the core needs, and that an import of the core does not find.
ABSENT = """
import sys

class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {"numba", "llvmlite", "scipy", "hypothesis", "covertable", "pytest", "_pytest"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent)
"""
RUN = "from assay.cli import main; sys.exit(main(sys.argv[1:]))"


def in_the_core(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What comes of some code where nothing but the core is installed."""
    command = [sys.executable, "-c", ABSENT + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def requirements() -> dict[str, set[str]]:
    """Extra → the names of the packages that it brings itself; those of the core under the empty name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: {re.split(r"[>\[]", word)[0] for word in words} for extra, words in lists.items()}


def test_the_core_has_no_package_that_pytest_loads_into_the_runs_of_others() -> None:
    """Hypothesis registers itself with pytest, and makes a run of one empty test take four times as long."""
    assert requirements()[""] == {"numpy", "sympy", "python-flint", "ml_dtypes", "typer", "rich"}


def test_every_extra_with_which_kernels_are_judged_brings_what_a_check_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    def whole(extra: str) -> set[str]:
        inner = {name for word in project[extra] for name in re.findall(r"^assay\[(.*)\]", word)}
        return {extra}.union(*(whole(name) for names in inner for name in names.split(",")))

    apart = {"cpu", "report", "sat", "leaderboard", "cluster", "models", "nvrtc"}  # of other commands
    assert {extra for extra in project if "check" not in whole(extra)} == apart
    assert "cpu" in whole("check")


def test_the_specification_works_with_the_core_alone(tmp_path: Path) -> None:
    code = """
import numpy as np
from assay.spec import attention
x = np.ones((1, 1, 2, 2), np.float32)
instance = attention.Instance(x, x, x)
instance.save(sys.argv[1])
print(attention.define(instance).midpoint.max(), attention.tolerance(instance, "bfloat16").shape)
"""
    file = str(tmp_path / "instance.npz")
    assert in_the_core(code, file).stdout == "1.0 (1, 1, 2, 2)\n"
    for words in (("reference", file), ("bound", file, "--precision", "float32"), ("list", "rope"), ("claims",)):
        done = in_the_core(RUN, *words)
        assert (done.returncode, done.stderr) == (0, ""), words


@pytest.mark.parametrize("words", [("check", "numpy:attention"), ("check",), ("profile", "numpy:attention")])
def test_a_check_without_its_extra_is_one_line_that_names_it(words: tuple[str, ...]) -> None:
    done = in_the_core(RUN, *words)
    assert done.returncode == 2
    assert done.stderr == (
        "assay: numba, hypothesis, covertable not installed: a check needs them, "
        "pip install -e '.[check]' in assay's checkout\n"
    )


@pytest.mark.parametrize(
    ("code", "package"),
    [
        ("cpu.attention.approximate(x, x, x, error=1e-3)", "numba"),
        ("cpu.attention.exact(x, x, x)", "numba"),
        ("cpu.rope_attention.approximate", "scipy"),
    ],
)
def test_a_compiled_kernel_without_its_extra_is_one_line_that_names_it(code: str, package: str) -> None:
    done = in_the_core(f"import numpy as np\nfrom assay.impl import cpu\nx = np.ones((1, 1, 2, 2))\n{code}")
    line = f"MissingExtra: {package} is not installed: pip install -e '.[cpu]' in assay's checkout"
    assert done.stderr.splitlines()[-1].endswith(line)


def test_nothing_tells_to_install_assay_by_its_name() -> None:
    """assay is on no index, so whatever an index has under that name is somebody else's."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    files += [file for room in ("assay", *ROOMS, "benchmarks") for file in (ROOT / room).rglob("*.py")]
    named = re.compile(r"pip install (?:-\S+ )*['\"]?assay\b|(?<![\w./-])assay==")
    assert [str(file) for file in files if named.search(file.read_text(encoding="utf-8"))] == []


# --- as users see it --------------------------------------------------------------------------------------------------


def test_dir_shows_the_public_names_before_they_are_used() -> None:
    names = printed("import assay; print(*(name for name in dir(assay) if name[0] != '_'))").split()
    assert names == sorted(assay.__all__)


@pytest.mark.parametrize("name", [name for name in assay.__all__ if name[0].islower()])
def test_help_shows_annotations_that_can_be_read(name: str) -> None:
    signature = str(inspect.signature(getattr(assay, name)))
    assert "'" not in re.sub(r"= '[^']*'", "", signature)  # but for defaults
    assert "ForwardRef" not in signature


def test_the_metadata_say_for_whom_it_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"Typing :: Typed", "Framework :: Pytest"} <= set(project["classifiers"])
    assert (ROOT / "assay" / "py.typed").is_file()


def test_an_editable_install_in_strict_mode_is_typed_for_its_users(tmp_path: Path) -> None:
    """The finder of a plain editable install is code that no type checker runs."""
    pytest.importorskip("mypy")
    pytest.importorskip("setuptools")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if tracked.returncode:
        pytest.skip("no checkout of git")
    source, site = tmp_path / "source", tmp_path / "site"
    for name in filter(None, tracked.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "proofs_notes/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site)]
    options = ["-e", str(source), "--config-settings", "editable_mode=strict"]
    done = subprocess.run([*install, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot install here: {done.stderr[-200:]}")
    (folder,) = (line for file in site.glob("*.pth") for line in file.read_text().splitlines())
    (tmp_path / "user.py").write_text("import assay\nassay.check('numpy:attention', level=5)\n")
    environment = {**os.environ, "MYPYPATH": folder}
    command = [sys.executable, "-m", "mypy", "--no-site-packages", "--follow-imports=silent", "user.py"]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False).stdout
    assert 'Argument "level" to "check" has incompatible type "int"; expected "str"' in said


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
