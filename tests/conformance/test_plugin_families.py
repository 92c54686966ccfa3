"""The conformance tests of a kernel under pytest: one for each family, known failures, and what a project says."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from assay.cli import main
from assay.conformance.engagement import engaged
from assay.conformance.interface.project import Known, project
from assay.conformance.interface.suite import suite
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.by_family import ByFamily, family_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., pytest.RunResult]

pytest_plugins = ["pytester"]


KERNELS = """
import numpy as np

loaded = print("loaded once")

def good(query, key, value, *, scale, is_causal=False):
    q, k, v = (array.astype(np.float64) for array in (query, key, value))
    scores = scale * (q @ k.swapaxes(-1, -2))
    if is_causal:
        scores = np.where(np.tri(scores.shape[2], scores.shape[3], REACH, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return ((weights @ v) / weights.sum(axis=-1, keepdims=True)).astype(query.dtype)
"""
BEHAVES = "causal mask off by one: each query sees one key too many (j ≤ i + 1)"
OPTIONS = ("--assay-option=grouped_heads=no", "--assay-seconds=100")


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """pytest in a folder with a right kernel and one whose causal mask is off by one."""
    pytester.makepyfile(right=KERNELS.replace("REACH", "0"), wrong=KERNELS.replace("REACH", "1"))
    pytester.syspathinsert()
    for name in ("right", "wrong"):
        sys.modules.pop(name, None)  # that of another test in this process

    def run(*arguments: str, apart: bool = False) -> pytest.RunResult:
        start = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        return start("-p", "no:cacheprovider", *arguments)

    return run


def conformance(*arguments: str) -> tuple[str, ...]:
    return ("--pyargs", "assay.conformance", *arguments)


def outcomes(result: pytest.RunResult) -> dict[str, str]:
    """Family → outcome, of one kernel in one class."""
    found = re.findall(r"test_kernel_conforms\[.*-float32-(\S+)\] (\w+)", result.stdout.str())
    return {family: outcome for family, outcome in found if outcome.isupper()}


# --- a test a family --------------------------------------------------------------------------------------------------


def test_every_family_of_the_level_is_a_test(run: Run) -> None:
    result = run(*conformance("--assay-kernel=right:good", "--collect-only", "-q"))
    names = re.findall(r"\[right:good-float32-(\S+)\]", result.stdout.str())
    assert names == list(family_names(suite("attention"), "smoke"))
    assert {"causal", "drawn", "repeated", "laws"} <= set(names)


def test_a_level_that_has_more_families_has_more_tests() -> None:
    levels = [set(family_names(suite("attention"), level)) for level in ("smoke", "standard", "thorough")]
    assert levels[0] < levels[1] <= levels[2]
    assert levels[1] - {"drawn", "repeated", "laws"} <= {family.id for family in suite("attention").families}


def test_only_the_families_that_are_wrong_fail_and_each_says_what_the_kernel_does(run: Run) -> None:
    selected = "causal or scale or tails or window"
    result = run(*conformance("--assay-kernel=wrong:good", *OPTIONS, "-v", "-k", selected))
    assert outcomes(result) == {
        "tails": "PASSED",
        "causal": "FAILED",
        "causal-cross": "FAILED",
        "window": "SKIPPED",
        "scale": "FAILED",
    }
    text = result.stdout.str()
    assert (
        text.count(f"\nbehaves like: {BEHAVES}\n    in wrong:good-float32-causal, wrong:good-float32-causal-cross") == 1
    )


def test_the_line_of_a_failed_test_is_the_diagnosis(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")  # pytest cuts no line there
    result = run(*conformance("--assay-kernel=wrong:good", *OPTIONS, "-k", "causal-cross"))
    lines = result.stdout.lines
    place = next(number for number, line in enumerate(lines) if line.startswith("FAILED test_conformance.py"))
    assert lines[place].endswith(f"[wrong:good-float32-causal-cross] - behaves like: {BEHAVES}")
    assert lines[place + 1].startswith("====")


def test_what_a_family_needs_and_the_kernel_lacks_is_why_its_test_is_skipped(run: Run) -> None:
    result = run(*conformance("--assay-kernel=right:good", *OPTIONS, "-rs", "-k", "window"))
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*SKIPPED*lacks window*"])


def test_the_whole_of_a_right_kernel_passes_between_two_workers(run: Run) -> None:
    pytest.importorskip("xdist")
    result = run(*conformance("--assay-kernel=right:good", *OPTIONS, "-n2"), apart=True)
    assert set(result.parseoutcomes()) == {"passed", "skipped"}
    assert result.ret == 0


def test_the_kernel_is_loaded_once_for_all_of_its_families(run: Run) -> None:
    result = run(*conformance("--assay-kernel=right.py:good", *OPTIONS, "-s", "-k", "tails or scale or heads"))
    assert result.parseoutcomes()["passed"] >= 3
    assert result.stdout.str().count("loaded once") == 2  # one more time, when its options are looked at


def test_families_one_by_one_judge_what_a_run_of_the_level_judges() -> None:
    import assay

    whole = assay.check("numpy:attention", "attention", level="smoke", seconds=100.0)
    expected = {(case.name, case.status) for case in whole.cases if not case.name.startswith(("law ", "second call"))}
    with engaged("numpy:attention", "attention") as judge:
        families = ByFamily(judge, "smoke", 0, 100.0)
        reports = [families.report(name) for name in family_names(judge.suite, "smoke")[:-2]]
    assert {(case.name, case.status) for report in reports for case in report.cases} == expected


def test_a_kernel_that_takes_nothing_fails_where_calls_are_repeated() -> None:
    """Every other test may have a reason to be skipped, so that this one has to see that nothing was judged."""

    def declines(query, key, value, *, scale):
        raise NotImplementedError("nothing here")

    with engaged(declines, "attention") as judge:
        report = ByFamily(judge, "smoke", 0).report("repeated")
    assert not report.passed
    assert report.ran == 0


def test_the_budget_of_the_level_is_that_of_all_families_together() -> None:
    with engaged("numpy:attention", "attention") as judge:
        families = ByFamily(judge, "smoke", 0, 1e-6)
        reports = [families.report(name, left=3) for name in ("one-key", "tails", "scale")]
    assert families.used <= 1e-6
    assert [(report.ran, report.passed) for report in reports] == [(0, False)] * 3  # none passes


@pytest.mark.parametrize(("allowed", "status"), [((), 1), (("--assay-allow-incomplete",), 0)])
def test_a_family_for_which_there_is_no_time_ends_no_run_and_lets_it_not_pass(
    run: Run, allowed: tuple[str, ...], status: int
) -> None:
    chosen = conformance("--assay-kernel=right:good", "--assay-option=grouped_heads=no", "--assay-seconds=1e-6")
    result = run(*chosen, *allowed, "-x", "-rs", "-k", "tails or scale")
    result.assert_outcomes(skipped=2)
    assert result.ret == status
    text = result.stdout.str()
    assert ("INCOMPLETE, which is no pass" in text) is (not allowed)
    if allowed:
        assert text.count("time budget") == 2
    else:
        assert re.search(r"\nright:good-float32-tails: no time for \d+ cases\n", text)
        assert "--assay-seconds gives all tests of a kernel together more" in text


def test_what_is_wrong_fails_beside_families_for_which_there_is_no_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.conformance.judge.by_family import ByFamily
    from assay.conformance.judge.judge import Judge

    def report(families: ByFamily, family: str, *, left: int) -> object:
        families.budget = 1e-6 if family == "causal" else 100.0  # the first family is out of time
        return whole(families, family, left=left)

    whole = ByFamily.report
    monkeypatch.setattr(ByFamily, "report", report)
    monkeypatch.setattr(Judge, "diagnosing", 0.0, raising=False)
    result = run(*conformance("--assay-kernel=wrong:good", *OPTIONS, "-x", "-k", "causal or causal-cross"))
    result.assert_outcomes(skipped=1, failed=1)


# --- a run that would judge nothing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["alone", "xdist"])
def test_naming_a_kernel_without_collecting_its_tests_is_an_error(
    run: Run, pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    if workers:
        pytest.importorskip("xdist")
    pytester.makepyfile(test_own="def test_own(): pass")
    result = run("--assay-kernel=right:good", *workers, apart=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "add --pyargs assay.conformance" in result.stderr.str()


def test_a_selection_that_leaves_out_every_conformance_test_is_no_error(run: Run) -> None:
    result = run(*conformance("--assay-kernel=right:good", "-k", "nothing_of_the_kind"))
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


# --- known failures ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("undiagnosed")
def test_known_failures_are_expected_and_one_that_passes_is_told(run: Run, pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("known.toml").write_text(
        """
        [[known]]
        kernel = "wrong:good"
        family = "causal"
        reason = "issue 12: the mask"
        [[known]]
        family = "tails"
        reason = "was wrong once"
        """
    )
    arguments = ("--assay-kernel=wrong:good", "--assay-known=known.toml", "-k", "causal or tails", "-rx")
    result = run(*conformance(*arguments, *OPTIONS))
    result.assert_outcomes(xfailed=1, xpassed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*known failures that passed*", "wrong:good-float32-tails: known as was wrong once", "*issue 12: the mask*"]
    )


@pytest.mark.parametrize(("words", "outcome"), [("causal mask off by one", "xfailed"), ("scale ignored", "failed")])
def test_a_failure_is_known_by_its_diagnosis(run: Run, pytester: pytest.Pytester, words: str, outcome: str) -> None:
    pytester.path.joinpath("known.toml").write_text(f"[[known]]\ndiagnosis = '{words}'\nreason = 'issue 12'\n")
    arguments = ("--assay-kernel=wrong:good", "--assay-known=known.toml", "-k", "causal and not causal-cross or tails")
    result = run(*conformance(*arguments, *OPTIONS))
    result.assert_outcomes(**{outcome: 1, "passed": 1})


@pytest.mark.parametrize(
    ("told", "known"),
    [
        (["causal mask off by one: j"], True),
        (["no known wrong semantics matches"], False),
        (["causal mask off by one: j (explains 75% of the failures)"], False),
        ([], False),
        (None, False),
    ],
)
def test_a_diagnosis_that_holds_of_a_part_of_the_failures_is_not_that_of_a_known_one(
    told: list[str] | None, known: bool
) -> None:
    one = Known("issue 12", diagnosis="causal mask off by one")
    assert one.covers("a:b", "float32", "causal", told) is known


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[known]]\nfamily = 'causal'", "expected a reason"),
        ("[[known]]\nreason = 'x'\nfamly = 'causal'", "unknown key 'famly': did you mean 'family'?"),
        ("[[known]]\nreason = 'x'\nfamily = 'cause'", "no family 'cause'"),
        ("[[knwon]]\nreason = 'x'", "unknown key 'knwon': did you mean 'known'?"),
        ("known = 3", "expected tables [[known]]"),
        ("known = [3]", "expected a table"),
        ("[[known]", "is no TOML"),
        (None, "cannot be read"),
    ],
)
def test_a_file_of_known_failures_that_is_wrong_is_one_line(
    run: Run, pytester: pytest.Pytester, text: str | None, sentence: str
) -> None:
    if text is not None:
        pytester.path.joinpath("known.toml").write_text(text)
    result = run(*conformance("--assay-kernel=right:good", "--assay-known=known.toml"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.stderr.lines if line]
    assert line.startswith("ERROR: assay: ")
    assert sentence in line


# --- every option of a check ------------------------------------------------------------------------------------------


def test_the_options_of_a_check_are_options_of_pytest_but_for_those_that_pytest_has(run: Run) -> None:
    from typer.main import get_command

    from assay.cli import app

    check = get_command(app).commands["check"]  # type: ignore[attr-defined]
    options = {option.removeprefix("--") for p in check.params for option in p.opts if option.startswith("--")}
    help_text = run("--help").stdout.str()
    of_pytest = set(re.findall(r"--assay-([a-z-]+)", help_text))
    #: --junitxml, -q, -n, --lf; a corpus is another run, and a report of one run is no report of its tests
    others = {"json", "html", "junit", "resume", "quiet", "scheduler", "corpus", "again", "last-failed", "family"}
    others |= {"jobs"}  # of built-ins alone; -n of pytest-xdist
    assert options - others - {"help"} <= of_pytest
    assert "kernel" in of_pytest


@pytest.mark.usefixtures("undiagnosed")
def test_reproducers_lie_in_the_folder_that_is_named(run: Run, pytester: pytest.Pytester) -> None:
    run(*conformance("--assay-kernel=wrong:good", *OPTIONS, "--assay-reproducers=found", "-k", "causal-cross"))
    assert list(pytester.path.joinpath("found").glob("causal-cross*.npz"))


# --- what a project says ----------------------------------------------------------------------------------------------

TABLE = """
[tool.assay]
kernel = "wrong.py:good"
level = "smoke"
seconds = 100
options = { grouped_heads = false }
"""
KNOWN = """
[[tool.assay.known]]
family = "%s"
reason = "issue 12"
"""


@pytest.mark.usefixtures("undiagnosed")
def test_the_project_names_the_kernels_of_a_run_that_names_none(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml(TABLE + KNOWN % "causal")
    result = run(*conformance("-v", "-k", "causal"))
    assert outcomes(result) == {"causal": "XFAIL", "causal-cross": "FAILED"}


@pytest.mark.usefixtures("undiagnosed")
def test_the_project_speaks_of_no_kernel_that_it_does_not_name(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml(TABLE + KNOWN % "causal")
    result = run(*conformance("--assay-kernel=wrong:good", "-v", "-k", "causal and not cross"))
    assert outcomes(result) == {"causal": "FAILED"}


@pytest.mark.skipif(os.name == "nt", reason="folders there have no sticky bit")
def test_a_shared_folder_above_the_current_one_names_no_kernels(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write to /tmp could have them loaded by everybody who runs pytest below it."""
    pytester.makepyprojecttoml("[tool.assay]\nkernel = 'wrong.py:good'\n")

    def collected() -> str:
        return run(*conformance("--collect-only", "-q")).stdout.str()

    assert "wrong.py:good-" in collected()
    monkeypatch.chdir(pytester.mkdir("mine"))
    assert "wrong.py:good-" in collected()
    pytester.path.chmod(0o1777)
    assert "wrong.py:good-" not in collected()


@pytest.mark.usefixtures("undiagnosed")
def test_the_command_line_takes_kernels_options_and_known_failures_of_the_project(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    families = ("causal", "causal-cross", "scale", "combinations", "drawn")
    pytester.makepyprojecttoml(TABLE + "".join(KNOWN % family for family in families))
    below = pytester.mkdir("below")
    monkeypatch.chdir(below)
    assert main(["check", "--json", "report.json", "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "known: causal: issue 12\n" in text
    assert "\nKNOWN FAILURES " in text
    assert "FAILED" not in text
    assert main(["check", "--quiet"]) == 0  # what failed before is judged again, and known too
    assert "\nKNOWN FAILURES " in capsys.readouterr().out
    (report,) = json.loads((below / "report.json").read_text())["reports"]
    assert report["level"] == "smoke"
    pytester.makepyprojecttoml(TABLE + KNOWN % "tails")
    assert main(["check", "--quiet"]) == 1
    text = capsys.readouterr().out
    passed = "\nknown to fail, and passed at smoke: tails (issue 12): take it out of the known failures\n"
    assert passed in text[text.index("FAILED ") :]  # last, where it is seen
    assert main(["check", "--quiet", "--again"]) == 1
    assert "and passed" not in capsys.readouterr().out  # what failed before is a part of its family
    pytester.makepyprojecttoml(TABLE + "".join(KNOWN % family for family in families[1:]))
    assert main(["check"]) == 1
    text = capsys.readouterr().out
    assert "\nnot known: causal\n" in text
    assert "\nfamily: causal," in text


@pytest.mark.usefixtures("undiagnosed")
def test_families_that_are_known_to_fail_and_passed_are_told_in_one_line_for_each_reason(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytester.makepyprojecttoml(TABLE + "".join(KNOWN % family for family in ("tails", "heads", "mask")))
    monkeypatch.chdir(pytester.path)
    main(["check", "--quiet", "--family", "tails", "--family", "heads", "--family", "mask"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "known to fail, and passed at smoke: tails, heads (issue 12): take them out of the known failures"
    main(["check", "--quiet", "--family", "tails", "--family", "causal", "-x"])
    assert "and passed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("kernl = 'a:b'", "unknown key 'kernl': did you mean 'kernel'?"),
        ("colour = 'red'", "unknown key 'colour': expected kernel, problem, precision"),
        ("kernel = 3", "kernel = 3: expected a name, or several"),
        ("kernel = ['a:b', 3]", "expected a name, or several"),
        ("seed = true", "seed = True: expected a whole number"),
        ("isolate = 'yes'", "expected true or false"),
        ("options = { empty_row = { a = 1 } }", "options.empty_row = {'a': 1}: expected text or a number"),
        ("known = 'absent.toml'", "absent.toml: cannot be read"),
    ],
)
def test_a_table_that_is_wrong_is_one_line(tmp_path: Path, table: str, sentence: str) -> None:
    tmp_path.joinpath("pyproject.toml").write_text(f"[tool.assay]\n{table}\n")
    with pytest.raises(UsageError) as raised:
        project(tmp_path)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_table_is_read_in_the_words_of_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("pyproject.toml").write_text(
        """
        [tool.assay]
        kernel = ["a.py:b", "c:d"]
        precision = "float32, bfloat16"
        call-seconds = 3
        error = 1e-3
        reproducers = "found"
        options = { softcap = false, dims = [64, 128], empty_row = "nan", heads = 8 }
        """
    )
    read = project(tmp_path)
    assert read is not None
    assert read.kernels == ("a.py:b", "c:d")
    assert read.precisions == ("float32", "bfloat16")
    assert read.settings == {
        "call_seconds": 3,
        "reproducers": tmp_path / "found",
        "options": {"softcap": "no", "dims": "64,128", "empty_row": "nan", "heads": "8", "error": "0.001"},
    }


def test_a_project_without_the_table_says_nothing(tmp_path: Path) -> None:
    assert project(tmp_path) is None
    tmp_path.joinpath("pyproject.toml").write_text("[tool.other]\nkernl = 3\n")
    assert project(tmp_path) is None


def test_a_run_that_asks_nothing_of_assay_does_not_read_the_table(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml("[tool.assay]\nkernl = 3\n")
    pytester.makepyfile(test_own="def test_own(): pass")
    run().assert_outcomes(passed=1)
