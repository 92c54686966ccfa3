"""A pass means coverage: cases come in sizes that a kernel takes, and what never ran is told and is no pass."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import assay
from assay.conformance.call.outcome import Outcome
from assay.conformance.call.process import Limits
from assay.conformance.interface.lengths import Axes, Lengths
from assay.conformance.interface.suite import LEVELS, Case, Row, rows, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge import level
from assay.conformance.judge.cases import cases, cases_of_level
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import Run
from assay.conformance.judge.sizes import Sizes
from assay.conformance.report.report import ConformanceError, Report
from assay.impl import cpu
from assay.spec.precision import precision

FLOAT32 = precision("float32")
ATTENTION = suite("attention")


# --- a kernel with the limits of a real one -------------------------------------------------------------------------


def require_limits(query: Any, key: Any, value: Any) -> None:
    """Head dims 16, 32 … 256, lengths a multiple of 32, no groups of heads."""
    if query.shape[1] != key.shape[1]:
        raise NotImplementedError("no groups of heads")
    for length in (query.shape[2], key.shape[2]):
        if length % 32:
            raise NotImplementedError(f"length {length} is no multiple of 32")
    for dim in (query.shape[3], value.shape[3]):
        if dim % 16 or dim > 256:
            raise NotImplementedError(f"head dim {dim}")


def right(query: Any, key: Any, value: Any, *, scale: float, is_causal: bool = False) -> Any:
    require_limits(query, key, value)
    return cpu.attention.exact(query, key, value, scale, is_causal=is_causal)


def causal_off_by_one(query: Any, key: Any, value: Any, *, scale: float, is_causal: bool = False) -> Any:
    require_limits(query, key, value)
    mask = np.arange(key.shape[2]) <= np.arange(query.shape[2])[:, None] + 1
    return cpu.attention.exact(query, key, value, scale, mask=mask if is_causal else None)


def scale_ignored(query: Any, key: Any, value: Any, *, scale: float, is_causal: bool = False) -> Any:
    require_limits(query, key, value)
    return cpu.attention.exact(query, key, value, 1 / np.sqrt(query.shape[3]), is_causal=is_causal)


def batch_0_for_all(query: Any, key: Any, value: Any, *, scale: float, is_causal: bool = False) -> Any:
    require_limits(query, key, value)
    key, value = (np.broadcast_to(array[:1], array.shape).copy() for array in (key, value))
    return cpu.attention.exact(query, key, value, scale, is_causal=is_causal)


def families_allowed(kernel: Any) -> set[str]:
    """Families with a row that needs nothing which the kernel lacks by its signature, or by other sizes of that row."""
    judge = Judge(kernel_of(kernel, "attention"), FLOAT32)
    allowed = set()
    for case in cases(ATTENTION, FLOAT32, "smoke", 0):
        if not judge.lacking(case):
            allowed.add(case.family.id)
    return allowed


def families_judged(report: Report) -> set[str]:
    return {case.family for case in report.cases if case.status in ("passed", "failed")}


@pytest.fixture(scope="module")
def report_of_right() -> Report:
    return assay.check(right, level="smoke", seconds=600)


def test_a_right_kernel_with_limits_passes_having_been_judged_on_every_family_that_it_allows(
    report_of_right: Report,
) -> None:
    assert report_of_right.passed, report_of_right.to_text()
    assert families_judged(report_of_right) >= families_allowed(right)
    assert report_of_right.incomplete == ()


def test_the_name_of_a_case_in_another_size_says_the_size_of_its_row(report_of_right: Report) -> None:
    names = [case.name for case in report_of_right.cases if case.family == "causal" and case.status == "passed"]
    assert any("32x32:16/16 causal (for 7)" in name for name in names)


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        (causal_off_by_one, "one key too many"),
        (scale_ignored, "scale ignored"),
        (batch_0_for_all, "batch 0"),
    ],
)
def test_a_wrong_kernel_with_limits_fails_and_is_named(kernel: Any, words: str, tmp_path: Path) -> None:
    report = assay.check(kernel, level="smoke", reproducers=tmp_path, seconds=600)
    assert report.failures
    assert any(words in sentence for sentence in report.diagnosis), report.diagnosis


# --- sizes ----------------------------------------------------------------------------------------------------------


def sizes_of(kernel: Any, **options: str) -> Sizes:
    return Sizes(Judge(kernel_of(kernel, "attention", options=options), FLOAT32))


def case_of(words: str, family: str = "normal", *options: str) -> Case:
    known = next(one for one in ATTENTION.families if one.id == family)
    table = ((known, rows("smoke", "normal", words, *options)),)
    return next(cases_of_level(suite_with(table), FLOAT32, "smoke", 0))


def suite_with(table: Any) -> Any:
    import dataclasses

    return dataclasses.replace(ATTENTION, table=table, covering=None)


def test_limits_are_learned_from_what_a_kernel_declines() -> None:
    sizes = sizes_of(right)
    sizes.learn(60.0)
    assert 96 in sizes.allowed["keys"]
    assert 48 not in sizes.allowed["keys"]
    assert (48 in sizes.allowed["dim"], 272 in sizes.allowed["dim"], 40 in sizes.allowed["dim"]) == (True, False, False)
    assert "batch" not in sizes.allowed
    assert "heads" in sizes.tied


@pytest.mark.parametrize("options", [{"dims": "16,64", "lengths": "32"}, {"dims": "16..64:16", "lengths": "32,64"}])
def test_declared_lengths_are_kept_in_every_call(options: dict[str, str], tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        seen.append((key.shape[2], query.shape[3]))
        return scale_ignored(query, key, value, scale=scale)  # failures are shrunk within the sizes too

    report = assay.check(kernel, level="smoke", options=options, seconds=3, reproducers=tmp_path)
    declared = ATTENTION.lengths_of(kernel_of(kernel, "attention", options=options))
    assert report.failures
    assert all(keys in declared["keys"] and dim in declared["dim"] for keys, dim in seen)


def test_unequal_lengths_stay_unequal_in_a_family_about_them() -> None:
    sizes = sizes_of(right, dims="16", lengths="32")
    for words in ("1x1:3x5:8/8", "1x1:5x3:8/8", "1x1:17x33:8/8"):
        case = case_of(words, "causal-cross", "causal")
        other = next(sizes.instead(case)).instance
        lengths, now = case.instance.lengths(), other.lengths()
        assert (now["queries"] < now["keys"]) == (lengths["queries"] < lengths["keys"])
        assert now["queries"] != now["keys"]


def test_rows_of_a_family_about_sizes_are_spread_over_the_next_ones() -> None:
    sizes = sizes_of(right, dims="16", lengths="32")
    lengths = {next(sizes.instead(case_of(str(n), "tails"))).instance.lengths()["keys"] for n in (2, 3, 15, 17)}
    assert lengths == {32, 64, 96}


@pytest.mark.parametrize(
    ("words", "family", "made"),
    [
        ("4x12/3:3x5:8/8", "normal", "2x4/2"),
        ("3x6/6:3x5:8/8", "normal", "2x2/2"),
        ("3x6/1:3x5:8/8", "normal", "2x2/1"),
        ("1x1:3x5:8/8", "normal", "1x1/1"),
        ("4x12/3:3x5:8/8", "heads", "4x12/3"),
        ("4x12/3:100x120:64/64", "normal", "4x12/3"),  # it hardly grows
    ],
)
def test_where_lengths_grow_a_few_heads_and_batches_stand_for_many(words: str, family: str, made: str) -> None:
    sizes = sizes_of(cpu.attention.exact, dims="64", lengths="128")
    instance = next(sizes.instead(case_of(words, family))).instance
    b, h, h_k = instance.query.shape[0], instance.query.shape[1], instance.key.shape[1]
    assert f"{b}x{h}/{h_k}" == made


def test_a_row_that_is_long_in_one_axis_does_not_become_as_long_in_all() -> None:
    sizes = sizes_of(cpu.attention.exact, dims="64", lengths="128")
    instance = next(sizes.instead(case_of("1x1:1x65537:2/1", "long"))).instance
    assert (instance.query.shape, instance.key.shape) == ((1, 1, 128, 64), (1, 1, 8192, 64))


def test_choosing_the_cases_is_not_counted_as_time_of_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def slowly(*given: Any) -> Any:
        now[0] += 5.0
        return cases_of_level(*given)

    monkeypatch.setattr(level.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(level, "cases_of_level", slowly)
    report = assay.check(cpu.attention.exact, "attention", level="smoke", seconds=4)
    assert not any(case.reason == "time budget" for case in report.cases)


def test_a_case_that_lacks_only_its_sizes_is_judged_in_others() -> None:
    sizes = sizes_of(right, value_dim="no", cross_lengths="no")
    other = next(sizes.instead(case_of("1x1:2x40:3/4", "ramps"))).instance
    assert (other.query.shape, other.value.shape) == ((1, 1, 40, 4), (1, 1, 40, 4))
    assert list(sizes.instead(case_of("1x1:3x5:8/8", "causal-cross", "causal"))) == []


def test_every_row_in_another_size_says_so_in_the_words_of_the_table() -> None:
    assert ATTENTION.resized is not None
    for _, table in ATTENTION.table:
        for row in table:
            again = ATTENTION.resized(row, {})
            assert ATTENTION.resized(again, {}) == again


@pytest.mark.parametrize("layouts", [{"contiguous": "yes"}, {"layouts": "contiguous"}])
def test_layouts_that_a_kernel_does_not_declare_are_skipped_and_leave_no_gap(layouts: dict[str, str]) -> None:
    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        if not query.flags.c_contiguous:
            raise NotImplementedError("contiguous arrays only")
        return cpu.attention.exact(query, key, value, scale)

    declared = assay.check(kernel, level="smoke", options=layouts)
    assert declared.passed, declared.to_text()
    assert "layouts" not in families_judged(declared)
    silent = assay.check(kernel, level="smoke")
    assert {gap.reason for gap in silent.incomplete} == {"contiguous arrays only"}


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"dims": "big"}, "option dims=big: expected lengths such as"),
        ({"lengths": "0"}, "option lengths=0: expected lengths of at least 1"),
        ({"layouts": "gaps"}, "option layouts=gaps: no 'gaps'"),
        ({"declines": "maks"}, "option declines=maks: no 'maks'; did you mean mask"),
        ({"depth": "3"}, "expected one of"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused_in_one_line(option: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        kernel_of(right, "attention", options=option)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "multiples", "members", "strangers"),
    [
        ("64,128", False, (64, 128), (1, 96, 256)),
        ("128", True, (128, 256, 1280), (1, 64, 129)),
        ("16..256:16", False, (16, 32, 256), (8, 24, 272)),
        ("8..", False, (8, 9, 4097), (7,)),
    ],
)
def test_lengths_are_what_their_words_say(
    words: str, multiples: bool, members: tuple[int, ...], strangers: tuple[int, ...]
) -> None:
    lengths = Lengths.of(words, multiples=multiples)
    assert all(n in lengths for n in members)
    assert not any(n in lengths for n in strangers)
    for n in (*members, *strangers):
        assert lengths.nearest(n) in lengths
        assert lengths.above(n) is None or lengths.above(n) > n
        assert lengths.below(n) is None or lengths.below(n) < n
    assert all(lengths.nearest(n) == n for n in members)


def test_axes_of_a_group_exist() -> None:
    for group in ATTENTION.axes.values():
        assert isinstance(group, Axes)
        assert set(group.names) <= set(ATTENTION.spec.Instance.every_axis())


# --- what never ran -------------------------------------------------------------------------------------------------


def without_large_scores(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    if np.abs(query).max() > 100:
        raise NotImplementedError("numbers beyond 100")
    return cpu.attention.exact(query, key, value, scale)


def test_a_kernel_that_declines_a_whole_family_is_incomplete_and_the_family_is_named(tmp_path: Path) -> None:
    report = assay.check(without_large_scores, level="smoke")
    assert not report.failures
    assert not report.passed
    assert [(gap.family, gap.reason) for gap in report.incomplete] == [("raw-products", "numbers beyond 100")]
    assert "never ran: raw-products: 1 case not judged, numbers beyond 100" in report.to_text()
    with pytest.raises(ConformanceError, match="INCOMPLETE"):
        report.raise_if_failed()


def test_a_family_that_a_kernel_declares_to_decline_is_not_needed() -> None:
    report = assay.check(without_large_scores, level="smoke", options={"declines": "raw-products"})
    assert report.passed
    assert any(case.reason.startswith("declares that it declines") for case in report.cases)


def test_the_command_line_ends_with_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.cli import main

    (tmp_path / "kernels.py").write_text(Path(__file__).read_text())
    monkeypatch.chdir(tmp_path)
    assert main(["check", "kernels.py:without_large_scores", "--level", "smoke", "--quiet"]) == 3
    declared = ["--option", "declines=raw-products"]
    assert main(["check", "kernels.py:without_large_scores", "--level", "smoke", "--quiet", *declared]) == 0


def test_a_kernel_that_can_be_asked_for_nothing_is_incomplete() -> None:
    options = {"halves": "no", "pairs": "no"}
    report = assay.check(
        lambda query, key, positions, *, base: (query, key), level="smoke", problem="rope", options=options
    )
    assert report.incomplete
    assert not report.passed


def test_a_budget_that_runs_out_is_no_pass_and_loses_no_family() -> None:
    def slow(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        time.sleep(0.05)
        return cpu.attention.exact(query, key, value, scale)

    report = assay.check(slow, level="smoke", seconds=2)
    assert [gap.family for gap in report.incomplete] == [""]
    assert families_judged(report) >= families_allowed(slow)


def test_a_budget_is_a_positive_number() -> None:
    with pytest.raises(UsageError, match="seconds 0: expected a positive number"):
        assay.check(right, level="smoke", seconds=0)


# --- first calls ----------------------------------------------------------------------------------------------------


class Compiled:
    """A kernel whose first call of every shape is slow."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.shapes: set[Any] = set()

    def __call__(self, query: Any, key: Any, value: Any, *, scale: float) -> Any:
        shape = (query.shape, key.shape, value.shape)
        if shape not in self.shapes:
            time.sleep(self.seconds)
            self.shapes.add(shape)
        return cpu.attention.exact(query, key, value, scale)


def test_the_first_call_of_a_shape_may_take_longer_than_the_limit_of_a_call() -> None:
    x = np.ones((1, 1, 2, 2), np.float32)
    cpu.attention.exact(x, x, x, 1.0)  # what it compiles itself, or loads, is no part of the first call
    judge = Judge(kernel_of(Compiled(0.4), "attention"), FLOAT32, limits=Limits(0.2))
    for case in (case_of("3"), case_of("5"), case_of("3")):
        assert judge.outcome(case).status == "passed"


def test_a_call_that_hangs_every_time_is_hung_and_patience_ends_with_it() -> None:
    def hangs(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        while True:
            time.sleep(0.01)

    judge = Judge(kernel_of(hangs, "attention"), FLOAT32, limits=Limits(0.1))
    assert judge.outcome(case_of("3")).sentence == "did not return within 0.3 s"
    assert judge.outcome(case_of("5")).sentence == "did not return within 0.1 s"


def test_a_compiled_kernel_gets_few_shapes_and_every_family() -> None:
    kernel = Compiled(0.15)
    report = assay.check(kernel, level="smoke")
    assert report.passed, report.to_text()
    assert any("compiled for every shape" in note for note in report.notes)
    instances = [case.instance for case in cases(ATTENTION, FLOAT32, "smoke", 0)]
    own = {(i.query.shape, i.key.shape, i.value.shape) for i in instances}
    assert len(kernel.shapes) < len(own)
    assert families_judged(report) >= families_allowed(kernel)


# --- levels and seeds -----------------------------------------------------------------------------------------------


def names_of_calls(level: str, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The digest of every instance that a kernel which passes everything is called with at a level, in order."""
    called: list[bytes] = []
    judge = Judge(kernel_of(plain, "attention"), FLOAT32)

    def outcome(case: Case, *_arguments: Any, **_keywords: Any) -> Outcome:
        called.append(case.instance.digest())
        return Outcome("skipped" if judge.lacking(case) else "passed")

    monkeypatch.setattr(judge, "outcome", outcome)
    Run(judge, level, 3, budget=600.0).report()
    return called


def plain(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return cpu.attention.exact(query, key, value, scale)


def test_a_level_makes_every_call_of_the_level_below_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    smoke, standard = (names_of_calls(level, monkeypatch) for level in LEVELS[:2])
    assert standard[: len(smoke)] == smoke
    assert len(standard) > len(smoke)


def inputs(table: Any, level: str = "standard") -> dict[str, list[bytes]]:
    made: dict[str, list[bytes]] = {}
    for case in cases(suite_with(table), FLOAT32, level, 0):
        made.setdefault(case.name, []).append(case.instance.digest())
    return made


def test_a_row_keeps_its_input_when_others_are_inserted_before_it() -> None:
    (family, first), *others = ATTENTION.table
    before = inputs(ATTENTION.table)
    new = (Row("smoke", "alternating", "1x3:11x13:7/2"), Row("standard", "ramp-up", "14"))
    for table in (((family, (*new, *first)), *others), tuple(reversed(ATTENTION.table))):
        after = inputs(table)
        assert {name: after[name] for name in before} == before


def test_equal_rows_of_a_family_have_numbers_of_their_own() -> None:
    (family, _), *_ = ATTENTION.table
    (digests,) = inputs(((family, rows("smoke", "normal normal normal", "5")),)).values()
    assert len(set(digests)) == 3


def test_a_row_keeps_its_input_in_another_level() -> None:
    (family, _), *_ = ATTENTION.table
    made = [inputs(((family, rows(level, "normal", "5")),), level) for level in LEVELS]
    assert len(made[0]) == 1
    assert made[0] == made[1] == made[2]


def test_the_first_call_in_which_a_kernel_may_be_compiled_does_not_cost_the_budget() -> None:
    calls: list[int] = []

    def compiled_once(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        if not calls:
            time.sleep(0.5)
        calls.append(1)
        return cpu.attention.exact(query, key, value, scale)

    run = Run(Judge(kernel_of(compiled_once, "attention"), FLOAT32), "smoke", 0, budget=60.0)
    case = next(case for case in cases(ATTENTION, FLOAT32, "smoke", 0) if not run.judge.lacking(case))
    run.timed(case)
    run.timed(case)
    assert len(calls) == 2
    assert 0.5 <= run.judge.starting <= run.seconds
    assert run.left > 60.0 - run.seconds + 0.4
