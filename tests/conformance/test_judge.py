"""The judge on kernels whose fault is known: each fault is one finding in words, never a crash of the suite."""

from __future__ import annotations

import re
import shlex
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import assay
from assay.conformance.attention.target_numpy import formula
from assay.conformance.interface.kernel import Declined
from assay.conformance.interface.layouts import Layout
from assay.conformance.interface.suite import Case, Family, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
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


# --- what a kernel may do wrong --------------------------------------------------------------------------------


def raises(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    raise IndexError("tile 3 of 2")


def returns_a_list(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return right(query, key, value, scale=scale).tolist()


def returns_none(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return None


def returns_a_pair(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return right(query, key, value, scale=scale), None


def returns_a_subclass(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return np.ma.masked_array(right(query, key, value, scale=scale))


def transposes(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return right(query, key, value, scale=scale).swapaxes(1, 2)


def widens(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return right(query, key, value, scale=scale).astype(np.float64)


def mutates(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    query = query.view()
    query.flags.writeable = True
    query *= np.float32(scale)
    return right(query, key, value, scale=1.0)


def returns_nan(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return np.full_like(right(query, key, value, scale=scale), np.nan)


def hangs(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    try:
        while True:
            time.sleep(0.01)
    except Exception:  # it may try to swallow the alarm
        return right(query, key, value, scale=scale)


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
        (raises, "raised", r"raised IndexError: tile 3 of 2 \(test_judge.py:\d+\)"),
        (returns_a_list, "type", r"returned a list of 2, expected one numpy array"),
        (returns_none, "type", r"returned a NoneType, expected one numpy array"),
        (returns_a_pair, "type", r"returned a tuple of 2, expected one numpy array"),
        (returns_a_subclass, "type", r"MaskedArray, expected"),
        (transposes, "shape", r"shape \(2, 3, 3, 2\)|heads and length look exchanged"),
        (widens, "dtype", r"returned output as float64, expected float32"),
        (returns_nan, "non-finite", r"output\[0, 0, 0, 0\] is nan, the exact value"),
        (writes_past_the_end, "out-of-bounds", r"wrote outside its input 'key'"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_fault_is_a_finding_in_one_line(kernel: Any, kind: str, words: str) -> None:
    found = outcome(kernel, drawn(n_q=4))
    assert (found.status, found.kind) == ("failed", kind)
    assert re.search(words, found.sentence)
    assert "\n" not in found.sentence


def test_a_kernel_that_writes_into_a_read_only_input_is_found_out() -> None:
    found = outcome(mutates)
    assert found.failed
    assert found.kind in ("raised", "mutated")


def test_a_kernel_that_writes_where_numpy_allows_it_is_a_mutation() -> None:
    torch = pytest.importorskip("torch")

    def scaled_in_place(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        query.mul_(scale)
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)

    judge = Judge(kernel_of(scaled_in_place, "attention", framework="torch"), precision("float32"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = judge.outcome(Case("case", FAMILY, drawn()))
    assert (found.kind, found.sentence) == ("mutated", "changed its input 'query'")


def test_a_kernel_that_needs_writable_arrays_but_leaves_them_alone_passes_with_a_note() -> None:
    def asks(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        if not query.flags.writeable:
            raise ValueError("buffer source array is read-only")
        return right(query, key, value, scale=scale)

    found = outcome(asks)
    assert found.status == "passed"
    assert found.notes == ("needs writable inputs (it does not change them)",)


@pytest.mark.parametrize("huge", [False, True])
def test_reading_past_the_end_meets_a_canary(huge: bool) -> None:
    judge = Judge(kernel_of(reads_past_the_end, "attention"), precision("float32"))
    one = drawn().part(batch=[0], heads=[0])
    with np.errstate(all="ignore"):
        assert judge.outcome(Case("case", FAMILY, one), huge_canaries=huge).failed


def test_a_kernel_that_hangs_is_stopped() -> None:
    from assay.conformance.call import call as trial

    judge = Judge(kernel_of(hangs, "attention"), precision("float32"))
    instance = drawn()
    begun = time.monotonic()
    found = trial.run(
        judge.kernel, judge.framework, instance, judge.precision, judge.suite, judge.reference(instance), seconds=0.2
    )
    assert (found.kind, found.sentence) == ("hung", "did not return within 0.2 s")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("error", [Declined("no head dim above 64"), NotImplementedError("no head dim above 64")])
def test_a_kernel_may_decline_in_words(error: Exception) -> None:
    def declines(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        raise error

    found = outcome(declines)
    assert (found.status, found.sentence) == ("declined", "no head dim above 64")


def test_a_kernel_that_declines_everything_has_not_passed() -> None:
    def declines(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        raise Declined("no")

    report = assay.check(declines, level="smoke")
    assert report.ran == 0
    assert not report.passed


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


def test_two_bugs_in_one_kernel_are_both_named_with_the_share_that_each_explains(tmp_path: Path) -> None:
    told = assay.check(with_two_bugs, level="smoke", reproducers=tmp_path).diagnosis
    for words in ("one key too many", "an empty row gives NaN instead of 0"):
        assert [
            bool(re.fullmatch(r".* \(explains \d+% of the failures\)", line)) for line in told if words in line
        ] == [True]


def test_every_failure_carries_an_instance_that_fails_again(tmp_path: Path) -> None:
    report = assay.check(one_key_too_many, level="smoke", reproducers=tmp_path)
    judge = Judge(kernel_of(one_key_too_many, "attention"), precision("float32"))
    for finding in report.failures:
        assert finding.reproducer.startswith("assay replay ")
        again = Instance.load(finding.instance_path)
        case = next(case for case in judge.suite.cases(judge.precision, "smoke", 0))
        if finding.kind == "error":
            assert judge.outcome(Case("again", case.family, again)).failed


def test_the_same_seed_gives_the_same_cases_and_levels_are_nested() -> None:
    known = suite("attention")
    levels = {
        level: [
            (case.name, *(a.tobytes() for a in case.instance.arrays().values()))
            for case in known.cases(precision("float16"), level, 7)
        ]
        for level in ("smoke", "standard")
    }
    again = [
        (case.name, *(a.tobytes() for a in case.instance.arrays().values()))
        for case in known.cases(precision("float16"), "smoke", 7)
    ]
    other = [
        (case.name, *(a.tobytes() for a in case.instance.arrays().values()))
        for case in known.cases(precision("float16"), "smoke", 8)
    ]
    assert levels["smoke"] == again
    assert levels["standard"][: len(again)] == again
    assert [name for name, *_ in other] == [name for name, *_ in again]
    assert other != again


def test_repeated_reports_agree_in_every_case() -> None:
    first, second = (assay.check(right, level="smoke", seed=4) for _ in range(2))
    assert [(c.name, c.status, c.ratio) for c in first.cases] == [(c.name, c.status, c.ratio) for c in second.cases]


def test_a_kernel_that_varies_from_call_to_call_is_told_as_such() -> None:
    calls = iter(range(10**9))

    def varies(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        out = right(query, key, value, scale=scale)
        return np.nextafter(out, np.inf, dtype=np.float32) if next(calls) % 2 else out

    report = assay.check(varies, level="smoke")
    assert any("differ in bits" in note for note in report.notes)


def test_progress_is_told_between_cases() -> None:
    told: list[tuple[int, int, str]] = []
    assay.check(right, level="smoke", progress=lambda done, total, sentence: told.append((done, total, sentence)))
    assert told[0][:1] == (0,)
    assert all(done <= total for done, total, _ in told)
    assert len(told) > 50


# --- usage --------------------------------------------------------------------------------------------------------


def no_scale(query: Any, key: Any, value: Any) -> Any: ...


def two_arrays(query: Any, key: Any, *, scale: float) -> Any: ...


def wants_more(query: Any, key: Any, value: Any, dropout: float, *, scale: float) -> Any: ...


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("torch:sdap",), "did you mean torch:sdpa"),
        (("nothing",), "unknown target 'nothing'"),
        (("no_such_module:kernel",), "no_such_module"),
        (("assay.impl.cpu:no_such_kernel",), "has no 'no_such_kernel'"),
        (("no_such_file.py:kernel",), "no such file"),
        ((3,), "int is not callable"),
        ((no_scale,), "no keyword 'scale'"),
        ((two_arrays,), "takes 2 arrays, not 3"),
        ((wants_more,), "requires 'dropout'"),
    ],
)
def test_what_cannot_be_judged_is_said_in_one_line(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        assay.check(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"problem": "attentoin"}, "unknown problem 'attentoin'"),
        ({"precision": "float12"}, "unknown precision class 'float12'"),
        ({"level": "deep"}, "unknown level 'deep'"),
        ({"options": {"empty_row": "seven"}}, "option empty_row=seven: expected one of zero, nan, any"),
        ({"options": {"colour": "red"}}, "unknown option colour=red"),
        ({"framework": "no_such_framework"}, "framework 'no_such_framework' is not available"),
    ],
)
def test_a_wrong_argument_is_said_in_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        assay.check(right, **options)
    assert "\n" not in str(caught.value)


def test_a_missing_extra_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    with pytest.raises(UsageError, match=re.escape("torch:sdpa: torch is not installed: pip install 'assay[torch]'")):
        assay.check("torch:sdpa")


def test_the_judge_knows_no_problem_by_name() -> None:
    folder = Path(__import__("assay.conformance.judge.judge", fromlist=["judge"]).__file__).parent
    judges = [path for path in folder.glob("*.py") if not path.name.startswith("test_")] + list(
        (folder / "frameworks").glob("*.py")
    )
    assert len(judges) > 10
    assert [path.name for path in judges if "attention" in path.read_text()] == []


# --- reproducers ----------------------------------------------------------------------------------------------------


def ignores_strides(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    """Reads query as if it were contiguous."""
    flat = np.lib.stride_tricks.as_strided(query, (query.size,), (query.itemsize,))
    return cpu.attention.exact(flat.reshape(query.shape).copy(), key, value, scale)


def forgets_a_law(query: Any, key: Any, value: Any, *, scale: float, bias: Any = None) -> Any:
    """Wrong for a bias of one column alone, as only the law shift-scores has it."""
    wrong = bias is not None and bias.shape[-1] == 1 < key.shape[2]
    return cpu.attention.exact(query, key, value, scale, bias=None if bias is None else bias) * (1 + wrong)


@pytest.mark.parametrize("kernel", [ignores_strides, reads_past_the_end, forgets_a_law], ids=lambda k: k.__name__)
def test_a_reproducer_shows_the_finding_again(kernel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.cli import main

    kernels = tmp_path / "kernels.py"
    kernels.write_text(Path(__file__).read_text())
    monkeypatch.chdir(tmp_path)
    with np.errstate(all="ignore"):
        report = assay.check(f"kernels.py:{kernel.__name__}", level="smoke", reproducers=tmp_path / "found")
        assert report.failures
        for finding in report.failures[:8]:
            words = shlex.split(finding.reproducer)
            assert words[:2] == ["assay", "replay"]
            assert main(words[1:]) == 1, finding.reproducer


def test_a_reproducer_passes_once_the_kernel_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.cli import main

    kernels = tmp_path / "kernels.py"
    kernels.write_text(Path(__file__).read_text())
    monkeypatch.chdir(tmp_path)
    report = assay.check("kernels.py:one_key_too_many", level="smoke", reproducers=tmp_path / "found")
    kernels.write_text(Path(__file__).read_text().replace("[:, None] + 1\n", "[:, None]\n"))
    assert main(shlex.split(report.failures[0].reproducer)[1:]) == 0
