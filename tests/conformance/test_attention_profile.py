"""The data sheet says the truth about kernels whose habits are known, fits a page, and is valid JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]
import numpy as np
import pytest
from bank.attention.buggy import BUGGY
from bank.attention.correct import CORRECT

from assay.cli import main
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
from assay.conformance.profile.profile import Answer, ClassRow, Profile, answers, profile
from assay.spec.precision import precision

if TYPE_CHECKING:
    from pathlib import Path

BANK = {entry.name: entry.function for entry in (*CORRECT, *BUGGY)}
SCHEMA = json.loads((files("assay.conformance.profile") / "profile.schema.json").read_text(encoding="utf-8"))


def told(kernel: Any, *identifiers: str, name: str = "float32") -> list[str]:
    """The answers to some questions, in the order of the sheet."""
    judge = Judge(kernel_of(BANK[kernel] if isinstance(kernel, str) else kernel, "attention"), precision(name))
    wanted = [question for question in judge.suite.questions if question.id in identifiers]
    assert len(wanted) == len(identifiers)
    return [each.answer for each in answers(judge, wanted)]


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "question", "answer"),
    [
        ("causal-bottom-right", "causal-wide", "bottom-right"),
        ("causal-bottom-right", "causal-tall", "bottom-right"),
        ("causal-top-left", "bottom-right", "top-left"),
        ("naive", "causal-wide", "top-left"),
        ("naive", "bottom-right-lengths", "bottom-right"),
        ("bottom-right-of-array", "bottom-right-lengths", "bottom-right of the array, not of the lengths"),
        ("causal-ignored", "causal-wide", "no causal mask"),
        ("naive", "empty-mask", "0"),
        ("naive", "empty-lse", "−∞"),
        ("empty-nan", "empty-mask", "NaN"),
        ("empty-nan", "empty-causal", "NaN"),
        ("empty-mean", "empty-mask", "the mean of the values"),
        ("empty-finite-lse", "empty-lse", "0"),
        ("naive", "window", "both bounds inclusive"),
        ("window-left-exclusive", "window", "1 to the left, its own, 1 to the right"),
        ("window-right-one-more", "window", "2 to the left, its own, 2 to the right"),
        ("racing-sums", "repeats", "4 of 4 calls differ in bits"),
        ("naive", "repeats", "the same bits in 5 calls"),
        ("gathered", "masked-nan-value", "no effect"),
        ("naive", "masked-nan-value", "leaks: every row not finite"),
        ("naive", "nan-query", "NaN in its own row alone"),
        ("online-16", "nan-query", "swallowed: its row becomes 0"),
        ("online-16", "order", "in blocks of 16, block after block, from the first key"),
        ("online-17", "order", "in blocks of 17, block after block, from the first key"),
        ("online-64", "order", "in blocks of 64, block after block, from the first key"),
        ("online-backwards", "order", "in blocks of 16, block after block, from the last key"),
        ("two-pass", "order", "key after key, from the first key"),
        ("reverse-sums", "order", "key after key, from the last key"),
        ("pairwise-sums", "order", "in a balanced tree"),
        ("racing-sums", "order", "no hint: other sums from call to call"),
        ("wider", "order", "no hint: nothing is lost, sums are too wide for the probe"),
        ("naive", "default-scale", "it must be given"),
    ],
)
def test_the_sheet_says_what_a_kernel_does(kernel: str, question: str, answer: str) -> None:
    assert told(kernel, question) == [answer]


def test_blocks_are_seen_in_types_of_enough_range() -> None:
    assert told("online-64", "order", name="bfloat16")[0].startswith("in blocks of 64")
    assert told("online-64", "order", name="float64")[0].startswith("in blocks of 64")
    assert told("online-64", "order", name="float16") == ["no hint: float16 has not the range for the probe"]


def test_bits_that_depend_on_the_batch_are_seen() -> None:
    def uneven(query: Any, key: Any, value: Any, *, scale: float = 0.25) -> Any:
        output = BANK["naive"](query, key, value, scale=scale)
        output[2:] = np.nextafter(output[2:], np.float32(9))
        return output

    assert told(uneven, "batch-position", "head-position", "default-scale") == [
        "bits depend on the batch's position",
        "the same bits at every position, and alone",
        "1/√dim",
    ]


def test_a_kernel_that_raises_has_answered() -> None:
    def strict(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        if np.isnan(query).any():
            raise ValueError("NaN refused\nfor good")
        if query.shape[0] == 3:
            raise NotImplementedError("one batch only")
        return BANK["naive"](query, key, value, scale=scale)

    assert told(strict, "batch-position", "nan-query") == ["declined: one batch only", "raises ValueError: NaN refused"]


def test_what_a_kernel_does_not_offer_is_not_asked() -> None:
    assert told("pairwise-sums", "window", "masked-nan-key", "empty-lse", "bottom-right") == []


# --- classes ----------------------------------------------------------------------------------------------------------


def test_a_kernel_keeps_the_class_of_its_arithmetic_and_no_tighter_one() -> None:
    sheet = profile(BANK["tf32-nearest"], precisions=("float32", "tf32"))
    assert [row.status for row in sheet.classes] == ["failed", "passed"]
    assert sheet.tightest == {"float32": "tf32"}
    assert any("lost precision in the scores" in sentence for sentence in sheet.classes[0].diagnosis)
    assert sheet.classes[1].grade in ("A", "B")
    jsonschema.validate(json.loads(sheet.to_json()), SCHEMA)


def test_a_kernel_that_keeps_no_class_is_told_why() -> None:
    text = profile(BANK["causal-one-more"], precisions=("bfloat16",)).to_text()
    assert "tightest class kept: none" in text
    assert "bfloat16: causal mask off by one: each query sees one key too many (j ≤ i + 1)" in text


def test_types_that_are_not_taken_are_no_failure() -> None:
    def only_float32(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        if query.dtype != np.float32:
            raise TypeError("float32 only")
        return BANK["naive"](query, key, value, scale=scale)

    sheet = profile(only_float32, precisions=("float64", "float16"))
    assert [(row.status, row.judged) for row in sheet.classes] == [("not taken", 0)] * 2
    assert "float32 only" in sheet.classes[0].reason
    assert sheet.answers == ()
    assert "nothing could be judged" in sheet.to_text()


# --- the page ---------------------------------------------------------------------------------------------------------

SHEET = Profile(
    kernel="my:kernel",
    framework="numpy",
    version="2.0",
    problem="attention",
    level="smoke",
    seed=0,
    classes=(
        ClassRow("float32", "float32", "failed", float("inf"), 100, 3, diagnosis=("it is wrong " * 20,)),
        ClassRow("tf32", "float32", "passed", 0.5, 100, 0, 0.7, "B"),
        ClassRow("float16", "float16", "failed", float("inf"), 100, 3, diagnosis=("it is wrong " * 20,)),
        ClassRow("float8-e4m3", "float8_e4m3fn", "not taken", reason="raised TypeError: no"),
    ),
    asked_in="float32",
    answers=(Answer("a", "determinism", "the same call again", "the same bits " * 12),),
)


def test_a_page_has_at_most_a_hundred_columns() -> None:
    assert max(map(len, SHEET.to_text().splitlines())) <= 100
    assert SHEET.to_text().splitlines()[3] == "tightest class kept: tf32 on float32"


def test_many_long_answers_still_fit_a_page() -> None:
    long = replace(SHEET, answers=SHEET.answers * 30)
    assert len(long.to_text().splitlines()) <= 60
    assert long.to_text().count("the same …") >= 30  # each answer is cut


def test_the_tightest_class_has_the_least_roundoffs_in_whatever_order_they_were_judged() -> None:
    rows = [ClassRow(name, "float32", "passed", 0.1, 9) for name in ("float32", "tf32")]
    assert [replace(SHEET, classes=tuple(each)).tightest for each in (rows, rows[::-1])] == [{"float32": "float32"}] * 2


def test_json_is_strict_and_of_the_published_schema() -> None:
    document = json.loads(SHEET.to_json(), parse_constant=pytest.fail)
    jsonschema.validate(document, SCHEMA)
    assert document["classes"][0]["worst_ratio"] == "inf"


def test_the_command_prints_a_page_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sheet.json"
    arguments = ["profile", "numpy:attention", "--precision", "float32", "--json", str(path)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("DATA SHEET numpy:attention  attention  numpy")
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), SCHEMA)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"level": "quick"}, "unknown level"),
        ({"precisions": ("float9",)}, "float9"),
        ({"problem": "sorting"}, "sorting"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_one_line(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        profile("numpy:attention", **changed)


def test_an_unknown_target_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "numpy:atention"]) == 2
    assert "did you mean numpy:attention" in capsys.readouterr().err
