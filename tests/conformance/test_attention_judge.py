"""The judge on attention kernels whose fault is known: what four axes, options and conventions add to the toy's."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import assay
from assay.conformance.attention.target_numpy import formula
from assay.conformance.call.isolation import isolated
from assay.conformance.interface.layouts import Layout
from assay.conformance.interface.suite import Case, Family
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import Chosen
from assay.conformance.report.report import ConformanceError
from assay.impl import cpu
from assay.spec.attention import Instance
from assay.spec.precision import precision

FAMILY = Family("test", "a fault that is known", "here")


def right(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return cpu.attention.exact(query, key, value, scale)


def drawn(n_q: int = 3, n_k: int = 5, d: int = 4, d_v: int = 2, **options: Any) -> Instance:
    rng = np.random.default_rng(3)
    q, k, v = (rng.standard_normal((2, 3, n, w)).astype(np.float32) for n, w in ((n_q, d), (n_k, d), (n_k, d_v)))
    return Instance(q, k, v, **options)


def outcome(kernel: Any, instance: Instance | None = None, **options: Any) -> Any:
    judge = Judge(kernel_of(kernel, "attention"), precision("float32"))
    return judge.outcome(Case("case", FAMILY, instance or drawn(), **options))


# --- four axes ------------------------------------------------------------------------------------------------------


def transposes(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return right(query, key, value, scale=scale).swapaxes(1, 2)


def returns_nan(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return np.full_like(right(query, key, value, scale=scale), np.nan)


def reads_past_the_end(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    longer = np.lib.stride_tricks.as_strided(key, (*key.shape[:2], key.shape[2] + 1, key.shape[3]), key.strides)
    more = np.lib.stride_tricks.as_strided(value, (*value.shape[:2], value.shape[2] + 1, value.shape[3]), value.strides)
    score = query @ longer.swapaxes(2, 3) * np.float32(scale)
    weight = np.exp(score - score.max(3, keepdims=True))
    return weight @ more / weight.sum(3, keepdims=True)


def writes_past_the_end(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    end = np.lib.stride_tricks.as_strided(key, (key.size + 1,), (4,), writeable=False)
    address = end.__array_interface__["data"][0] + 4 * key.size
    import ctypes

    ctypes.c_float.from_address(address).value = 1.0
    return right(query, key, value, scale=scale)


@pytest.mark.parametrize(
    ("kernel", "kind", "words"),
    [
        (transposes, "shape", r"shape \(2, 4, 3, 2\), expected \(2, 3, 4, 2\): heads and queries look exchanged"),
        (returns_nan, "non-finite", r"output\[0, 0, 0, 0\] is nan, the exact value"),
        (writes_past_the_end, "out-of-bounds", r"wrote outside its input 'key'"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_fault_is_told_with_its_axes_its_element_or_its_array(kernel: Any, kind: str, words: str) -> None:
    found = outcome(kernel, drawn(n_q=4))
    assert (found.status, found.kind) == ("failed", kind)
    assert re.search(words, found.sentence)


@pytest.mark.parametrize("huge", [False, True])
def test_reading_past_the_end_meets_a_canary(huge: bool) -> None:
    judge = Judge(kernel_of(reads_past_the_end, "attention"), precision("float32"))
    one = drawn().part(batch=[0], heads=[0])
    with np.errstate(all="ignore"):
        assert judge.outcome(Case("case", FAMILY, one), huge_canaries=huge).failed


@pytest.mark.parametrize(
    "layout",
    [
        Layout("permuted", swap=(-3, -2)),
        Layout("gap", gap=3),
        Layout("offset", offset=5),
        Layout("reversed", reverse=True),
    ],
)
def test_layouts_change_where_numbers_lie_and_not_what_they_are(layout: Layout) -> None:
    seen: list[Any] = []

    def looks(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        seen.append((query.copy(), query.strides))
        return right(query, key, value, scale=scale)

    instance = drawn()
    assert outcome(looks, instance, layout=layout).status == "passed"
    values, strides = seen[0]
    assert np.array_equal(values, instance.query)
    assert layout.offset or strides != instance.query.strides


# --- conventions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fill", "convention", "passes"),
    [
        (0.0, "zero", True),
        (0.0, "nan", False),
        (0.0, "any", True),
        (np.nan, "zero", False),
        (np.nan, "nan", True),
        (np.nan, "any", True),
        (0.3, "zero", False),
    ],
)
def test_the_output_of_an_empty_row_is_what_the_kernel_declares(fill: float, convention: str, passes: bool) -> None:
    def kernel(query: Any, key: Any, value: Any, *, scale: float, mask: Any = None) -> Any:
        out = cpu.attention.exact(query, key, value, scale, mask=mask)
        empty = ~np.broadcast_to(mask, (*query.shape[:3], key.shape[2])).any(axis=3)
        out[empty] = fill
        return out

    mask = np.ones((1, 1, 3, 5), bool)
    mask[:, :, 1] = False
    judge = Judge(kernel_of(kernel, "attention", options={"empty_row": convention}), precision("float32"))
    assert (judge.outcome(Case("case", FAMILY, drawn(mask=mask))).status == "passed") is passes


def test_cases_that_need_what_a_kernel_lacks_are_skipped_by_name() -> None:
    found = outcome(right, drawn(is_causal=True))
    assert (found.status, found.sentence) == ("skipped", "lacks causal_top_left")


def test_options_declare_a_capability_off() -> None:
    judge = Judge(kernel_of(right, "attention", options={"grouped_heads": "no"}), precision("float32"))
    grouped = drawn().part(heads=[0])
    grouped = Instance(np.repeat(grouped.query, 2, axis=1), grouped.key, grouped.value)
    assert judge.outcome(Case("case", FAMILY, grouped)).sentence == "lacks grouped_heads"


# --- a whole level ------------------------------------------------------------------------------------------------


def one_key_too_many(query: Any, key: Any, value: Any, *, scale: float, is_causal: bool = False) -> Any:
    n_q, n_k = query.shape[2], key.shape[2]
    mask = np.arange(n_k) <= np.arange(n_q)[:, None] + 1
    return cpu.attention.exact(query, key, value, scale, mask=mask if is_causal else None)


def test_a_causal_mask_off_by_one_is_named_and_shrunk_to_one_query_and_two_keys(tmp_path: Path) -> None:
    report = assay.check(one_key_too_many, level="smoke", reproducers=tmp_path)
    assert not report.passed
    assert "one key too many" in report.diagnosis[0]
    smallest = report.failures[0].instance
    assert (smallest.query.shape[2], smallest.key.shape[2]) == (1, 2)
    with pytest.raises(ConformanceError, match="one key too many"):
        report.raise_if_failed()


def with_two_bugs(query: Any, key: Any, value: Any, *, scale: float, is_causal: bool = False, mask: Any = None) -> Any:
    n_q, n_k = query.shape[2], key.shape[2]
    if is_causal:
        causal = np.arange(n_k) <= np.arange(n_q)[:, None] + 1
        mask = causal if mask is None else mask & causal
    output = formula(query, key, value, scale=scale, mask=mask)
    if mask is not None:
        output[np.broadcast_to(~mask.any(axis=-1), output.shape[:3])] = np.nan
    return output


def test_two_bugs_in_one_kernel_are_named_together_where_both_explain_every_failure(tmp_path: Path) -> None:
    told = assay.check(with_two_bugs, level="smoke", reproducers=tmp_path).diagnosis
    assert any("one key too many" in line and "; and an empty row gives NaN instead of 0" in line for line in told)


# --- usage --------------------------------------------------------------------------------------------------------


def no_scale(query: Any, key: Any, value: Any) -> Any: ...


def two_arrays(query: Any, key: Any, *, scale: float) -> Any: ...


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("torch:sdap", "attention"), "did you mean torch:sdpa"),
        ((no_scale, "attention"), "no keyword 'scale'"),
        ((two_arrays, "attention"), "takes 2 arrays, not 3"),
        (
            (no_scale,),
            "no_scale has the arrays of no problem (its own: query, key, value): expected --problem, or the arrays",
        ),
    ],
)
def test_what_cannot_be_judged_is_said_in_one_line(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        assay.check(*arguments)
    assert "\n" not in str(caught.value)


def test_an_option_with_a_value_that_it_has_not_is_said_in_one_line() -> None:
    words = "option empty_row=seven: expected one of zero, nan, any"
    with pytest.raises(UsageError, match=re.escape(words)):
        assay.check(right, options={"empty_row": "seven"})


def test_a_missing_extra_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    with pytest.raises(
        UsageError,
        match=re.escape("torch:sdpa: torch is not installed: pip install -e '.[torch]' in assay's checkout"),
    ):
        assay.check("torch:sdpa")


# --- reproducers ----------------------------------------------------------------------------------------------------


def ignores_strides(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    """Reads query as if it were contiguous."""
    flat = np.lib.stride_tricks.as_strided(query, (query.size,), (query.itemsize,))
    return cpu.attention.exact(flat.reshape(query.shape).copy(), key, value, scale)


@pytest.mark.parametrize("kernel", [ignores_strides], ids=lambda k: k.__name__)
def test_a_reproducer_shows_the_finding_again(
    kernel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thorough: bool
) -> None:
    from assay.cli import main

    kernels = tmp_path / "kernels.py"
    kernels.write_text(Path(__file__).read_text())
    monkeypatch.chdir(tmp_path)
    with np.errstate(all="ignore"):
        report = assay.check(f"kernels.py:{kernel.__name__}", level="smoke", reproducers=tmp_path / "found")
        assert report.failures
        for finding in report.failures[: 8 if thorough else 3]:
            words = shlex.split(finding.reproducer)
            assert words[:2] == ["assay", "replay"]
            assert main(words[1:]) == 1, finding.reproducer


def doubles(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return cpu.attention.exact(query, key, value, 2 * scale)


@pytest.mark.parametrize("family", ["layouts", "combinations"])
def test_a_layout_that_does_not_matter_is_in_no_reproducer(family: str, tmp_path: Path) -> None:
    """A smaller input may lie the same in every layout: its reproducer would judge nothing, and have no script."""
    chosen = Chosen(families=(family,), first_failure=True)  # no limit of time, which a busy machine would reach
    report = assay.check(doubles, "attention", reproducers=tmp_path, chosen=chosen, level="standard", seconds=1000)
    shrunk = [finding for finding in report.failures if finding.before]
    assert shrunk
    assert not any("--layout" in finding.reproducer for finding in shrunk)


def test_a_layout_that_changes_nothing_is_replayed_in_c_order(tmp_path: Path) -> None:
    path = tmp_path / "one.npz"
    Instance(*(np.ones((1, 1, 1, 1), np.float32) for _ in range(3))).save(path)
    report = assay.replay(path, lambda query, key, value, *, scale: -value, layout="mixed")
    assert [case.status for case in report.cases] == ["failed"]


def test_a_verdict_in_a_process_of_its_own_is_that_in_ours() -> None:
    pytest.importorskip("torch")
    if sys.platform != "linux":
        pytest.skip("isolation needs Linux")
    short = np.dtype(ml_dtypes.bfloat16)
    instances = [Instance(*(a.astype(short) for a in each.arrays().values())) for each in (drawn(), drawn(1, 40))]
    ours = Judge(kernel_of("torch:sdpa", "attention"), precision("bfloat16"))
    with isolated("torch:sdpa", "attention") as process:
        theirs = Judge(process.kernel, precision("bfloat16"), process=process)
        for instance in instances:
            here, there = (judge.outcome(Case("case", FAMILY, instance)) for judge in (ours, theirs))
            assert here.status == there.status == "passed"
            assert here.ratio == there.ratio
            assert np.array_equal(here.values["output"], there.values["output"])
