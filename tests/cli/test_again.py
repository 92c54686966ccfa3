"""What failed is remembered in ``.assay`` of the project and tried first; what is judged of a level can be chosen."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.conformance.interface import folders
from assay.conformance.interface.project import project_above
from assay.conformance.judge import remembered
from assay.conformance.judge.remembered import Failure, Failures
from assay.conformance.report.reading import from_json
from assay.spec import attention

Run = Callable[..., tuple[int, str, str]]

SMOKE = ("--level", "smoke")


def _cases(run: Run, *words: str) -> list[Any]:
    """The results of the cases of a check."""
    run("check", *words, *SMOKE, "--json", "r.json")
    return list(from_json(Path("r.json").read_text(encoding="utf-8"))[0].cases)


def _mend(tmp_path: Path) -> None:
    text = (tmp_path / "kernels.py").read_text(encoding="utf-8").replace("scale=2 * scale", "scale=scale")
    (tmp_path / "kernels.py").write_text(text, encoding="utf-8")


def test_failures_are_kept_in_the_project_and_nowhere_else(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "system").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "system"))
    status, out, _ = run("check", "kernels.py:bad", *SMOKE, "-x")
    assert status == 1
    assert not list((tmp_path / "system").iterdir())
    assert (tmp_path / ".assay" / ".gitignore").read_text(encoding="utf-8").splitlines()[-1] == "*"
    line = next(line for line in out.splitlines() if line.startswith("replay: ")).split()
    assert line[3].startswith(".assay/failures/")
    assert run(*line[2:])[0] == 1
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.usefixtures("undiagnosed")
def test_what_failed_is_tried_first_and_forgotten_once_it_passes(run: Run, tmp_path: Path) -> None:
    assert all(not case.name.startswith("again: ") for case in _cases(run, "kernels.py:bad", "--family", "heads"))
    first = _cases(run, "kernels.py:bad", "--family", "heads")
    assert first[0].name.startswith("again: heads: ")
    assert first[0].status == "failed"
    _mend(tmp_path)
    mended = _cases(run, "kernels.py:bad")
    assert mended[0].name.startswith("again: heads: ")
    assert {case.status for case in mended} <= {"passed", "skipped"}
    assert not any(case.name.startswith("again: ") for case in _cases(run, "kernels.py:bad"))


@pytest.mark.parametrize("option", ["--again", "--last-failed"])
@pytest.mark.usefixtures("undiagnosed")
def test_again_judges_only_what_failed(run: Run, refused: Callable[..., str], tmp_path: Path, option: str) -> None:
    sentence = refused("check", "kernels.py:bad", option)
    assert sentence == "assay: --again: no failure of kernels.py:bad in float32 is remembered\n"
    run("check", "kernels.py:bad", *SMOKE, "--family", "heads")
    status, out, _ = run("check", "kernels.py:bad", option)
    assert status == 1
    assert "note: only what failed before was judged: a pass says nothing of the rest" in out
    assert {(case.family, case.again) for case in _cases(run, "kernels.py:bad", option)} == {("heads", True)}
    assert "remembered" not in out
    _mend(tmp_path)
    status, out, _ = run("check", "kernels.py:bad", option)
    assert (status, "\nPASSED kernels.py:bad" in out) == (0, True)
    assert "is remembered" in refused("check", "kernels.py:bad", option)


@pytest.mark.usefixtures("undiagnosed")
def test_a_kernel_is_known_from_any_folder_of_its_project(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("check", "kernels.py:bad", *SMOKE, "-x")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    status, out, _ = run("check", "../kernels.py:bad", "--again")
    assert (status, "1 judged, 1 failed" in out) == (1, True)
    assert "replay ../.assay/failures/" in out
    assert not (tmp_path / "below" / ".assay").exists()


@pytest.mark.usefixtures("undiagnosed")
def test_other_kernels_and_other_classes_have_failures_of_their_own(run: Run, refused: Callable[..., str]) -> None:
    run("check", "kernels.py:bad", *SMOKE, "-x")
    assert "is remembered" in refused("check", "kernels.py:raises", "--again")
    assert "in float64 is remembered" in refused("check", "kernels.py:bad", "--again", "--precision", "float64")


def test_only_the_families_that_are_named_are_judged(run: Run) -> None:
    cases = _cases(run, "kernels.py:good", "--family", "heads", "--family", "dims")
    assert {case.family for case in cases} == {"heads", "dims"}
    status, out, _ = run("check", "kernels.py:good", *SMOKE, "--family", "heads")
    assert status == 0
    assert "note: only the family heads: a pass says nothing of others" in out
    assert {case.family for case in _cases(run, "kernels.py:good", "--family", "drawn")} == {"drawn"}


def test_an_unknown_family_is_told_what_may_be_meant(refused: Callable[..., str]) -> None:
    sentence = refused("check", "kernels.py:good", "--family", "head")
    assert sentence == "assay: unknown family 'head' of attention; did you mean heads?\n"


@pytest.mark.usefixtures("undiagnosed")
def test_the_first_failure_ends_the_run(run: Run) -> None:
    status, out, _ = run("check", "kernels.py:bad", *SMOKE, "-x")
    assert status == 1
    assert "\nended at the first failure: -x\n" in out
    assert sum(case.status == "failed" for case in _cases(run, "kernels.py:bad", "-x")) == 1


@pytest.mark.parametrize("option", ["--again", "--family", "-x"])
def test_a_corpus_has_no_use_for_a_choice(refused: Callable[..., str], option: str) -> None:
    words = (option, "heads") if option == "--family" else (option,)
    assert refused("check", "kernels.py:good", "--corpus", "c", *words) == f"assay: {option}: not with --corpus\n"


def test_a_folder_that_cannot_be_written_breaks_no_check(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".assay").write_text("in the way", encoding="utf-8")
    status, out, error = run("check", "kernels.py:bad", *SMOKE, "-x")
    assert (status, error) == (1, "")
    assert "\nFAILED " in out
    assert sum("some failures are not remembered in" in line for line in out.splitlines()) == 1
    assert "replay: " not in out
    assert run("check", "kernels.py:good", *SMOKE, "--family", "heads")[0] == 0


DAMAGED = {
    "cut": lambda text: text[:40],
    "empty": lambda text: "",
    "another schema": lambda text: text.replace('"schema": 1', '"schema": 2'),
    "a number": lambda text: "7",
    "deep": lambda text: "[" * 100_000,
    "a file elsewhere": lambda text: text.replace('"instance": "', '"instance": "../../'),
    "no layout": lambda text: text.replace("contiguous", "folded"),
    "no text": lambda text: text.replace('"case": "', '"case": 5, "more": "'),
    "a file that is gone": lambda text: text.replace(".npz", "-gone.npz"),
    "a file of something else": lambda text: json.dumps(
        {**(whole := json.loads(text)), "failures": [{**each, "instance": "noise.npz"} for each in whole["failures"]]}
    ),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.usefixtures("undiagnosed")
def test_a_damaged_list_remembers_nothing(run: Run, tmp_path: Path, damage: Callable[[str], str]) -> None:
    run("check", "kernels.py:bad", *SMOKE, "-x")
    (tmp_path / ".assay" / "failures" / "noise.npz").write_bytes(b"nothing of the kind")
    path = tmp_path / ".assay" / "failures.json"
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    status, out, error = run("check", "kernels.py:bad", *SMOKE, "-x")
    assert (status, error) == (1, "")
    assert "case     again: " not in out
    status, out, _ = run("check", "kernels.py:bad", "--again")  # it is remembered anew
    assert (status, "again: " in out) == (1, True)


# --- how much is kept -------------------------------------------------------------------------------------------------


def _instance(number: int) -> attention.Instance:
    return attention.Instance(*(np.full((1, 1, 1, 1), number, np.float32) for _ in range(3)))


def _failure(number: int, kernel: str = "a:b") -> Failure:
    return Failure(kernel, "attention", "float32", str(number), "heads", "contiguous", f"{number}.npz")


def test_the_number_of_files_and_their_size_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_MOST_FILES", 5)
    for number in range(8):
        Failures(tmp_path).save(_instance(number), f"run {number}")
    kept = sorted(path.name[:5] for path in Failures(tmp_path).folder.glob("*.npz"))
    assert kept == [f"run-{number}" for number in range(3, 8)]
    size = next(Failures(tmp_path).folder.glob("*.npz")).stat().st_size
    monkeypatch.setattr(remembered, "_MOST_BYTES", 2 * size)
    Failures(tmp_path).save(_instance(9), "run 9")
    assert sum(path.stat().st_size for path in Failures(tmp_path).folder.glob("*.npz")) <= 2 * size
    monkeypatch.setattr(remembered, "_MOST_BYTES", size // 2)
    with pytest.raises(OSError, match="are there already"):
        Failures(tmp_path).save(_instance(10), "run 10")


def test_what_this_run_saved_is_never_deleted_for_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_MOST_FILES", 3)
    failures = Failures(tmp_path)
    paths = [failures.save(_instance(number), "same run") for number in range(3)]
    with pytest.raises(OSError, match="3 files"):
        failures.save(_instance(3), "same run")
    assert all(Path(path).exists() for path in paths)
    assert failures.save(_instance(1), "same run") == paths[1]  # the same instance is saved once
    assert not list(tmp_path.rglob("*.part"))


def test_the_list_is_bounded_and_the_latest_failures_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_MOST_OF_A_KERNEL", 3)
    monkeypatch.setattr(remembered, "_MOST_FAILURES", 5)
    failures = Failures(tmp_path)
    for number in range(6):
        failures.remember(_failure(number))
    failures.remember(_failure(4))
    assert [each.case for each in failures.of("a:b", "attention", "float32")] == ["4", "5", "3"]
    for number in range(3):
        failures.remember(_failure(number, "c:d"))
    assert len(failures.every()) == 5
    assert len(failures.of("c:d", "attention", "float32")) == 3
    failures.forget(_failure(2, "c:d"))
    assert [each.case for each in failures.of("c:d", "attention", "float32")] == ["1", "0"]


def test_the_project_is_the_nearest_folder_with_a_mark_of_one(tmp_path: Path) -> None:
    (tmp_path / "whole" / "package" / "deep").mkdir(parents=True)
    (tmp_path / "whole" / "pyproject.toml").touch()
    assert folders.project(tmp_path / "whole" / "package" / "deep") == tmp_path / "whole"
    assert folders.project(tmp_path) == tmp_path


@pytest.mark.skipif(os.name == "nt", reason="folders there have no sticky bit")
def test_nothing_of_a_project_is_found_in_a_folder_that_is_shared(tmp_path: Path) -> None:
    """In /tmp, say, where another user may have left kernels and failures, or another project of the same one."""
    shared, mine = tmp_path / "shared", tmp_path / "shared" / "mine" / "deep"
    mine.mkdir(parents=True)
    (shared / ".assay").mkdir()
    (shared / "pyproject.toml").write_text("[tool.assay]\nkernel = '../kernels.py:good'\n", encoding="utf-8")
    assert (folders.project(mine), getattr(project_above(mine), "folder", None)) == (shared, shared)
    shared.chmod(0o1777)
    assert (folders.project(mine), project_above(mine)) == (mine, None)
    assert (folders.project(shared), getattr(project_above(shared), "folder", None)) == (shared, shared)


def test_no_folder_of_the_machine_is_named_in_what_is_kept_or_pasted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the list of failures, the line that replays one, or the script; from a folder in the project too."""
    (tmp_path / "pyproject.toml").write_text("[tool.assay]\nreproducers = 'failing'\n", encoding="utf-8")
    (tmp_path / "a" / "deep" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "deep" / "folder")
    kernel = f"{tmp_path / 'kernels.py'}:bad"
    for more in ([], ["--reproducers", str(tmp_path / "failing")]):
        _, out, _ = run("check", kernel, "--level", "smoke", "--family", "scale", "--seconds", "5", *more)
        replay = shlex.split(next(line for line in out.splitlines() if line.startswith("replay: ")))[2:]
        assert not any(str(tmp_path) in word for word in replay), replay
        status, script, _ = run(*replay, "--script")
        assert status == 0
        assert str(tmp_path) not in script
        status, script, _ = run(*(word.replace("../../../", f"{tmp_path}/") for word in replay), "--script")
        assert status == 0
        assert str(tmp_path) not in script
    assert str(tmp_path) not in (tmp_path / ".assay" / "failures.json").read_text(encoding="utf-8")
