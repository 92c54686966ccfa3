"""The judge on a toy problem and kernels whose fault is known: each is one finding in words, never a crash."""

from __future__ import annotations

import re
import shlex
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy.kernels import Array, doubled, ignores_the_factor
from toy.suites import DOUBLING, Doubling

import assay
from assay.conformance.call.call import answered
from assay.conformance.call.outcome import Outcome
from assay.conformance.diagnosis.evidence import Judged
from assay.conformance.interface.kernel import Declined
from assay.conformance.interface.layouts import LAYOUTS, Layout
from assay.conformance.interface.suite import Case, Family
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.cases import cases
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import _diverse
from assay.conformance.report.report import ConformanceError
from assay.spec.precision import precision

FAMILY = Family("test", "a fault that is known", "here")
FLOAT32 = precision("float32")
TOY = Doubling.problem


def drawn(n: int = 6, factor: float = 2.0) -> Doubling:
    return Doubling(np.random.default_rng(3).standard_normal(n).astype(np.float32), factor)


def judge(kernel: Any, **options: Any) -> Judge:
    return Judge(kernel_of(kernel, TOY, **options), FLOAT32)


def outcome(kernel: Any, instance: Doubling | None = None, **options: Any) -> Any:
    return judge(kernel).outcome(Case("case", FAMILY, instance or drawn(), **options))


# --- what a kernel may do wrong --------------------------------------------------------------------------------


def raises(points: Array) -> Any:
    raise IndexError("tile 3 of 2\nsecond line")


def returns_lists(points: Array) -> Any:
    return [each.tolist() for each in doubled(points)]


def returns_none(points: Array) -> Any:
    return None


def returns_one(points: Array) -> Any:
    return doubled(points)[0]


def returns_three(points: Array) -> Any:
    return (*doubled(points), None)


def returns_a_subclass(points: Array) -> Any:
    y, total = doubled(points)
    return np.ma.masked_array(y), total


def adds_an_axis(points: Array) -> Any:
    y, total = doubled(points)
    return y[:, None], total


def widens(points: Array) -> Any:
    y, total = doubled(points)
    return y.astype(np.float64), total


def returns_nan(points: Array) -> Any:
    y, total = doubled(points)
    return np.full_like(y, np.nan), total


def is_wrong_in_the_sum(points: Array) -> Any:
    y, total = doubled(points)
    return y, np.asarray(total + np.float32(1))


def mutates(points: Array) -> Any:
    points = points.view()
    points.flags.writeable = True
    points *= np.float32(2)
    return points.copy(), np.asarray(points.sum())


def hangs(points: Array) -> Any:
    try:
        while True:
            time.sleep(0.01)
    except Exception:  # it may try to swallow the alarm
        return doubled(points)


def reads_past_the_end(points: Array) -> Any:
    longer = np.lib.stride_tricks.as_strided(points, (len(points) + 1,), points.strides)
    return doubled(points)[0], doubled(longer)[1]


def writes_past_the_end(points: Array) -> Any:
    import ctypes

    address = points.__array_interface__["data"][0] + 4 * points.size
    ctypes.c_float.from_address(address).value = 1.0
    return doubled(points)


@pytest.mark.parametrize(
    ("kernel", "kind", "words"),
    [
        (raises, "raised", r"raised IndexError: tile 3 of 2 \(test_judge.py:\d+\)"),
        (returns_lists, "type", r"returned a list of 2, expected a tuple \(doubled, total\)"),
        (returns_none, "type", r"returned a NoneType, expected a tuple \(doubled, total\)"),
        (returns_one, "type", r"returned a ndarray, expected a tuple \(doubled, total\)"),
        (returns_three, "type", r"returned a tuple of 3, expected a tuple \(doubled, total\)"),
        (returns_a_subclass, "type", r"returned doubled as numpy.ma.*MaskedArray, expected a numpy array"),
        (adds_an_axis, "shape", r"returned doubled of shape \(6, 1\), expected \(6,\)"),
        (widens, "dtype", r"returned doubled as float64, expected float32"),
        (returns_nan, "non-finite", r"doubled\[0\] is nan, the exact value"),
        (is_wrong_in_the_sum, "error", r"total is .*, the exact value .*: off by .* tolerances"),
        (writes_past_the_end, "out-of-bounds", r"wrote outside its input 'points'"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_fault_is_a_finding_in_one_line(kernel: Any, kind: str, words: str) -> None:
    found = outcome(kernel)
    assert (found.status, found.kind) == ("failed", kind)
    assert re.search(words, found.sentence), found.sentence
    assert "\n" not in found.sentence


def test_a_kernel_that_writes_into_a_read_only_input_is_found_out() -> None:
    found = outcome(mutates)
    assert found.failed
    assert found.kind in ("raised", "mutated")


def test_a_kernel_that_writes_where_numpy_allows_it_is_a_mutation() -> None:
    pytest.importorskip("torch")

    def doubled_in_place(points: Any) -> Any:
        points.mul_(2)
        return points.clone(), points.sum()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = judge(doubled_in_place, framework="torch").outcome(Case("case", FAMILY, drawn()))
    assert (found.kind, found.sentence) == ("mutated", "changed its input 'points'")


def test_a_kernel_that_needs_writable_arrays_but_leaves_them_alone_passes_with_a_note() -> None:
    def asks(points: Array) -> Any:
        if not points.flags.writeable:
            raise ValueError("buffer source array is read-only")
        return doubled(points)

    found = outcome(asks)
    assert found.status == "passed"
    assert found.notes == ("needs writable inputs (it does not change them)",)


@pytest.mark.parametrize("huge", [False, True])
def test_reading_past_the_end_meets_a_canary(huge: bool) -> None:
    with np.errstate(all="ignore"):
        assert judge(reads_past_the_end).outcome(Case("case", FAMILY, drawn()), huge_canaries=huge).failed


def test_a_kernel_that_hangs_is_stopped() -> None:
    judging, begun = judge(hangs), time.monotonic()
    script = DOUBLING.interface.script(drawn(), judging.kernel, FLOAT32)
    answer = answered(judging.kernel, judging.framework, script, Layout(), huge=False, seconds=0.2)
    assert (answer.kind, answer.sentence) == ("hung", "did not return within 0.2 s")
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("error", [Declined("no more than 64 points"), NotImplementedError("no more than 64 points")])
def test_a_kernel_may_decline_in_words(error: Exception) -> None:
    def declines(points: Array) -> Any:
        raise error

    found = outcome(declines)
    assert (found.status, found.sentence) == ("declined", "no more than 64 points")


def test_a_kernel_that_declines_everything_has_not_passed() -> None:
    def declines(points: Array) -> Any:
        raise Declined("no")

    report = assay.check(declines, TOY, level="smoke")
    assert report.ran == 0
    assert not report.passed


@pytest.mark.parametrize("name", ["offset", "spaced"])
def test_layouts_change_where_numbers_lie_and_not_what_they_are(name: str) -> None:
    seen: list[Any] = []

    def looks(points: Array) -> Any:
        seen.append((points.copy(), points.strides))
        return doubled(points)

    instance = drawn()
    assert outcome(looks, instance, layout=LAYOUTS[name]).status == "passed"
    values, strides = seen[0]
    assert np.array_equal(values, instance.points)
    assert strides == {"offset": (4,), "spaced": (8,)}[name]


def test_a_layout_that_changes_nothing_is_skipped_and_said() -> None:
    found = outcome(doubled, layout=LAYOUTS["permuted"])
    assert (found.status, found.sentence) == (
        "skipped",
        "layout permuted changes nothing for arrays of these shapes",
    )


# --- what a kernel may lack -----------------------------------------------------------------------------------------


def without_the_option(points: Array) -> Any:
    return doubled(points)


def test_cases_that_need_what_a_kernel_lacks_are_skipped_by_name() -> None:
    found = outcome(without_the_option, drawn(factor=3.0))
    assert (found.status, found.sentence) == ("skipped", "lacks factor")


def test_options_declare_a_capability_off() -> None:
    found = judge(doubled, options={"factor": "no"}).outcome(Case("case", FAMILY, drawn(factor=3.0)))
    assert found.sentence == "lacks factor"


# --- a whole level ------------------------------------------------------------------------------------------------


def leaves_the_last_out_of_the_sum(points: Array, *, factor: float = 2.0) -> Any:
    y, _ = doubled(points, factor=factor)
    return y, np.asarray(y[:-1].sum(), points.dtype)


def leaves_it_out_only_of_long_sums(points: Array, *, factor: float = 2.0) -> Any:
    return (leaves_the_last_out_of_the_sum if len(points) >= 3 else doubled)(points, factor=factor)


def test_a_right_kernel_passes_and_the_laws_are_asked() -> None:
    report = assay.check(doubled, TOY, level="standard")
    assert report.passed
    assert 0.01 < report.worst_ratio < 1
    assert sum(case.name.startswith("law appended on ") for case in report.cases) == 3
    assert {case.family for case in report.cases} == {family.id for family in DOUBLING.families} | {"drawn"}


def test_a_wrong_kernel_is_named_and_shrunk(tmp_path: Path) -> None:
    report = assay.check(leaves_it_out_only_of_long_sums, TOY, level="smoke", reproducers=tmp_path)
    assert not report.passed
    meaning, when = report.diagnosis
    assert meaning == "the last point left out of the sum"
    assert when.startswith("fails when points ≥ 3: 12 of 12 fresh cases")
    assert report.failures[0].description == "points 3, float32"
    with pytest.raises(ConformanceError, match="the last point left out of the sum"):
        report.raise_if_failed()


def with_two_bugs(points: Array, *, factor: float = 2.0) -> Any:
    return ignores_the_factor(points) if factor != 2 else leaves_the_last_out_of_the_sum(points)


def test_two_bugs_in_one_kernel_are_both_named_with_the_share_that_each_explains(tmp_path: Path) -> None:
    diagnosis = assay.check(with_two_bugs, TOY, level="smoke", reproducers=tmp_path).diagnosis
    for words in ("the factor ignored", "the last point left out of the sum"):
        assert sum(bool(re.fullmatch(rf"{words} \(explains \d+% of the failures\)", line)) for line in diagnosis) == 1


def ignores_the_factor_in_one_output(points: Array, *, factor: float = 2.0) -> Any:
    return doubled(points)[0], doubled(points, factor=factor)[1]


@pytest.mark.parametrize(("kernel", "named"), [(ignores_the_factor, True), (ignores_the_factor_in_one_output, False)])
def test_a_wrong_meaning_is_compared_in_every_output(kernel: Any, named: bool, tmp_path: Path) -> None:
    report = assay.check(kernel, TOY, level="smoke", reproducers=tmp_path)
    assert not report.passed
    assert (report.diagnosis == ["the factor ignored"]) is named
    if not named:
        when, factor = report.diagnosis
        assert when.startswith("fails when factor is given: 12 of 12 fresh cases")
        assert factor == "every output doubled is 0.666667 times the exact one"


def test_every_failure_carries_an_instance_that_fails_again(tmp_path: Path) -> None:
    report = assay.check(leaves_the_last_out_of_the_sum, TOY, level="smoke", reproducers=tmp_path)
    assert report.failures
    for finding in report.failures:
        assert finding.reproducer.startswith("assay replay ")
        again = Doubling.load(finding.instance_path)
        assert judge(leaves_the_last_out_of_the_sum).outcome(Case("again", FAMILY, again)).failed


def contents(level: str, seed: int) -> list[Any]:
    return [(case.name, case.instance.digest()) for case in cases(DOUBLING, precision("float16"), level, seed)]


def test_the_same_seed_gives_the_same_cases_and_levels_are_nested() -> None:
    smoke = contents("smoke", 7)
    assert contents("smoke", 7) == smoke
    assert contents("standard", 7)[: len(smoke)] == smoke
    assert len(contents("standard", 7)) > len(smoke)
    other = contents("smoke", 8)
    assert [name for name, _ in other] == [name for name, _ in smoke]
    assert other != smoke


def test_repeated_reports_agree_in_every_case() -> None:
    first, second = (assay.check(doubled, TOY, level="smoke", seed=4) for _ in range(2))
    assert [(c.name, c.status, c.ratio) for c in first.cases] == [(c.name, c.status, c.ratio) for c in second.cases]


def test_a_kernel_that_varies_from_call_to_call_is_told_as_such() -> None:
    calls = iter(range(10**9))

    def varies(points: Array) -> Any:
        y, total = doubled(points)
        return (np.nextafter(y, np.inf, dtype=np.float32) if next(calls) % 2 else y), total

    report = assay.check(varies, TOY, level="smoke")
    assert report.passed
    assert any("differ in bits" in note for note in report.notes)


@pytest.mark.parametrize(("wall", "slowness"), [(1.0, 1.0), (20.0, 2.0), (500.0, 3.0)])
def test_a_diagnosis_gets_more_time_on_a_loaded_machine_and_never_more_than_three_times(
    wall: float, slowness: float
) -> None:
    busy = judge(doubled)
    busy.begun = time.monotonic() - wall, time.process_time() - 10.0
    assert busy.slowness == pytest.approx(slowness, rel=0.05)


def test_progress_is_told_between_cases() -> None:
    told: list[tuple[int, int, str]] = []
    assay.check(doubled, TOY, level="smoke", progress=lambda *words: told.append(words))
    assert told[0][:1] == (0,)
    assert all(done <= total for done, total, _ in told)
    assert len(told) > 30


# --- reproducers ----------------------------------------------------------------------------------------------------


def ignores_strides(points: Array) -> Any:
    """Reads as if elements lay side by side."""
    return doubled(np.lib.stride_tricks.as_strided(points, points.shape, (points.itemsize,)).copy())


def breaks_a_law(points: Array) -> Any:
    """Wrong for a point that there is only under the law."""
    y, total = doubled(points)
    return y * np.float32(3 if 64 in points else 1), total


@pytest.mark.parametrize("kernel", [ignores_strides, reads_past_the_end, breaks_a_law], ids=lambda k: k.__name__)
def test_a_reproducer_shows_the_finding_again(kernel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.cli import main

    (tmp_path / "kernels.py").write_text(Path(__file__).read_text())
    monkeypatch.chdir(tmp_path)
    with np.errstate(all="ignore"):
        report = assay.check(f"kernels.py:{kernel.__name__}", TOY, level="smoke", reproducers=tmp_path / "found")
        assert report.failures
        assert kernel is not breaks_a_law or all("law appended" in finding.case for finding in report.failures)
        for finding in report.failures[:8]:
            words = shlex.split(finding.reproducer)
            assert words[:2] == ["assay", "replay"]
            assert main(words[1:]) == 1, finding.reproducer


def test_a_reproducer_passes_once_the_kernel_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.cli import main

    source, kernels = Path(__file__).read_text(), tmp_path / "kernels.py"
    kernels.write_text(source)
    monkeypatch.chdir(tmp_path)
    report = assay.check(
        "kernels.py:leaves_the_last_out_of_the_sum", TOY, level="smoke", reproducers=tmp_path / "found"
    )
    kernels.write_text(source.replace("y[:-1].sum()", "y.sum()"))
    assert main(shlex.split(report.failures[0].reproducer)[1:]) == 0


# --- usage --------------------------------------------------------------------------------------------------------


def no_array() -> Any: ...


def wants_more(points: Any, dropout: float) -> Any: ...


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        ("nothing", "unknown target 'nothing'"),
        ("toy:doublin", "did you mean toy:doubling"),
        ("no_such_module:kernel", "no_such_module"),
        ("toy.kernels:no_such_kernel", "has no 'no_such_kernel'"),
        ("no_such_file.py:kernel", "no such file"),
        (3, "int is not callable"),
        (no_array, "takes 0 arrays, not 1"),
        (wants_more, "requires 'dropout'"),
    ],
)
def test_what_cannot_be_judged_is_said_in_one_line(kernel: Any, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        assay.check(kernel, TOY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"problem": "attentoin"}, "unknown problem 'attentoin'"),
        (
            {"problem": "toy.absent:SUITE"},
            "problem 'toy.absent:SUITE': cannot be loaded (No module named 'toy.absent')",
        ),
        ({"problem": "toy.suites:TABLE"}, "problem 'toy.suites:TABLE': tuple, expected a Suite"),
        ({"precision": "float12"}, "unknown precision class 'float12'"),
        ({"level": "deep"}, "unknown level 'deep'"),
        ({"options": {"colour": "red"}}, "unknown option colour=red: expected one of factor=no"),
        ({"options": {"factor": "seven"}}, "option factor=seven: expected no, for a kernel without it"),
        ({"framework": "no_such_framework"}, "framework 'no_such_framework' is not available"),
    ],
)
def test_a_wrong_argument_is_said_in_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        assay.check(doubled, **{"problem": TOY, **options})
    assert "\n" not in str(caught.value)


def test_what_a_lower_level_diagnoses_a_higher_one_diagnoses_too() -> None:
    failures = [Judged(None, Outcome("failed", number)) for number in range(100)]  # type: ignore[arg-type]
    for lower in (0, 3, 20, 50):
        below, whole = _diverse(failures[:lower]), _diverse(failures, lower)
        assert {id(one) for one in below} <= {id(one) for one in whole}
        assert len(whole) > len(below)
        assert len(whole) <= 20
