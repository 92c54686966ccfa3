"""What the inputs of the judge must hold, and what correct kernels must not be blamed for on them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from bank.rows import having

from assay.conformance.attention.target_numpy import formula
from assay.conformance.interface.suite import COMBINATIONS, Family, Row, suite
from assay.conformance.interface.targets import kernel_of, known_findings
from assay.conformance.judge.cases import cases
from assay.conformance.judge.covering import alone, combined, pairs, twos
from assay.conformance.judge.judge import Judge
from assay.spec.criterion import close, close_before_rounding
from assay.spec.enclosure import Enclosure
from assay.spec.floats import dtype_named
from assay.spec.precision import PRECISIONS, precision
from assay.spec.problem import Provenance

SHORT = ["bfloat16", "float16"]

# --- a log-sum-exp in a short type ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.claim("TOL-9")
def test_the_exact_log_sum_exp_rounded_once_to_the_short_type_passes(name: str) -> None:
    def rounded(query, key, value, *, scale, is_causal=False, mask=None, bias=None, return_lse=False):  # type: ignore[no-untyped-def]
        q, k, v, b = (None if x is None else x.astype(np.float64) for x in (query, key, value, bias))
        results = formula(q, k, v, scale=scale, is_causal=is_causal, mask=mask, bias=b, return_lse=return_lse)
        types = query.dtype
        return tuple(x.astype(types) for x in results) if return_lse else results.astype(types)

    judge = Judge(kernel_of(rounded, "attention"), precision(name))
    asked = list(cases(having(judge.suite, "lse"), judge.precision, "standard", 0))
    with np.errstate(all="ignore"):
        outcomes = [judge.outcome(case) for case in asked]
    assert sum(outcome.status == "passed" for outcome in outcomes) >= 6
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == []


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.claim("TOL-9")
def test_whatever_rounds_to_a_short_number_is_excused_and_what_does_not_is_not(name: str) -> None:
    dtype = dtype_named(name)
    bits = np.arange(0, 1 << 16, 7, dtype=np.uint16).view(dtype)
    with np.errstate(all="ignore"):
        number = bits[np.isfinite(bits.astype(np.float64))].astype(np.float64)
        other = np.nextafter(number.astype(dtype), dtype.type(np.inf)).astype(np.float64)
    finite = np.isfinite(other)
    number, middle = number[finite], (number[finite] + other[finite]) / 2
    zero = np.zeros(number.shape)
    for exact in (np.nextafter(middle, number), middle):  # the worst that rounds there
        criterion = close_before_rounding(Enclosure(exact, zero), zero)
        assert criterion.ratio(number.astype(dtype)).max() == 0.0
    # Two gaps away nothing rounds there: u|ŷ| is at most a whole gap.
    gap = np.abs(other[finite] - number)
    far = number + np.sign(other[finite] - number) * 2.2 * gap
    criterion = close_before_rounding(Enclosure(far, zero), zero)
    assert criterion.ratio(number.astype(dtype)).min() == np.inf


@pytest.mark.parametrize(("name", "overflow"), [("float16", 65520.0), ("bfloat16", 255.5 * 2.0**120)])
@pytest.mark.claim("TOL-9")
def test_an_infinity_of_a_short_type_stands_for_what_overflows_there(name: str, overflow: float) -> None:
    exact = np.array([overflow, -overflow, overflow * 1.5, overflow * 0.99, -overflow, -np.inf, np.inf])
    got = np.array([np.inf, -np.inf, np.inf, np.inf, np.inf, -np.inf, -np.inf], dtype_named(name))
    criterion = close_before_rounding(Enclosure(exact, np.zeros(7)), np.full(7, 0.001 * overflow))
    ratio = criterion.ratio(got)
    assert ratio[[0, 1, 2, 5]].tolist() == [0.0] * 4
    assert 9 < ratio[3] < 11  # off by a hundredth, where a thousandth is allowed
    assert ratio[4] > 1000
    assert ratio[6] == np.inf


def test_float32_and_float64_are_excused_nothing() -> None:
    exact = Enclosure(np.array([1.0]), np.zeros(1))
    for dtype in (np.float32, np.float64):
        got = np.array([1.0 + 2.0**-20], dtype)
        allowed = np.array([2.0**-21])
        assert close_before_rounding(exact, allowed).ratio(got) == close(exact, allowed).ratio(got) > 1.0


def test_a_short_log_sum_exp_that_is_two_ulps_off_fails() -> None:
    criterion = close_before_rounding(Enclosure(np.array([-15.15625]), np.zeros(1)), np.array([1e-4]))
    assert criterion.ratio(np.array([-15.125], ml_dtypes.bfloat16)) <= 1.0
    assert criterion.ratio(np.array([-15.0], ml_dtypes.bfloat16)) > 1.0


# --- every pair of values ---------------------------------------------------------------------------------------------

ATTENTION = suite("attention")
COVERING = ATTENTION.covering
EVERYTHING = frozenset(capability.name for capability in ATTENTION.interface.capabilities)
WITHOUT_PAIRS = EVERYTHING - {"causal_with_mask", "bias_with_mask", "window", "sink", "value_dim", "cross_lengths"}


def possible(first: tuple[str, str], second: tuple[str, str], capabilities: frozenset[str]) -> bool:
    """Whether two values may be together, from the declaration alone."""
    kinds = {
        (factor.name, value): kind
        for factor in COVERING.factors
        for kind, values in factor.kinds.items()
        for value in values
        if factor.needs.get(kind, "mask") in capabilities
    }
    if first not in kinds or second not in kinds:
        return False
    for joint in COVERING.together:
        named = [kinds[one] in joint.kinds.get(one[0], ()) for one in (first, second)]
        if all(named) and joint.needs not in capabilities:
            return False
    return True


@pytest.mark.parametrize("capabilities", [EVERYTHING, WITHOUT_PAIRS], ids=["everything", "less"])
def test_every_two_values_that_a_kernel_can_be_asked_for_together_are(capabilities: frozenset[str]) -> None:
    choices = pairs(COVERING, capabilities, 0)
    values = [(factor.name, value) for factor in COVERING.factors for of in factor.kinds.values() for value in of]
    expected = {
        frozenset((first, second))
        for first, second in itertools.combinations(values, 2)
        if first[0] != second[0] and possible(first, second, capabilities)
    }
    together = {frozenset(pair) for choice in choices for pair in itertools.combinations(choice.items(), 2)}
    assert expected - together == set()
    assert together - expected == set()
    assert len(choices) < 300


def asked_for(choice: dict[str, str]) -> dict[str, str]:
    """The options of a choice that are asked for, as option → kind."""
    kinds = {f.name: {v: kind for kind, of in f.kinds.items() for v in of} for f in COVERING.factors}
    first = {f.name: next(iter(f.kinds)) for f in COVERING.factors if f.role == "option"}
    return {name: kinds[name][choice[name]] for name in first if kinds[name][choice[name]] != first[name]}


def test_many_options_meet_in_most_choices() -> None:
    choices = pairs(COVERING, EVERYTHING, 0)
    assert sum(len(asked_for(choice)) >= 4 for choice in choices) > 0.8 * len(choices)


def test_every_option_alone_meets_every_kind_of_every_size() -> None:
    kinds = {f.name: {v: kind for kind, of in f.kinds.items() for v in of} for f in COVERING.factors}
    choices = alone(COVERING, EVERYTHING, 0)
    assert all(len(asked_for(choice)) <= 1 for choice in choices)
    met = {
        (*asked_for(choice).items(), (name, kinds[name][choice[name]]))
        for choice in choices
        for name in ("queries", "keys", "dim", "heads")
    }
    options = [(f.name, kind) for f in COVERING.factors if f.role == "option" for kind in list(f.kinds)[1:]]
    sizes = [(f.name, kind) for f in COVERING.factors if f.role == "size" for kind in f.kinds]
    assert {(*option, size) for option in ((), *((one,) for one in options)) for size in sizes} <= met


def test_every_two_options_meet_with_nothing_else_and_none_that_a_kernel_cannot_be_asked_for() -> None:
    options = [(f.name, kind) for f in COVERING.factors if f.role == "option" for kind in list(f.kinds)[1:]]
    everything = {tuple(asked_for(choice).items()) for choice in twos(COVERING, EVERYTHING, 0)}
    assert everything == {two for two in itertools.combinations(options, 2) if two[0][0] != two[1][0]}
    less = {tuple(asked_for(choice)) for choice in twos(COVERING, WITHOUT_PAIRS, 0)}
    assert ("causal", "mask") not in less
    assert ("mask", "softcap") in less


def test_a_choice_needs_no_more_than_the_capabilities_that_it_was_made_for() -> None:
    for row in (row for _, rows in combined(ATTENTION, "standard", 0, WITHOUT_PAIRS) for row in rows):
        instance = ATTENTION.build(row, Provenance("combinations", 0, ""), precision("float32"))
        beyond = ATTENTION.interface.needs(instance) - WITHOUT_PAIRS
        assert beyond <= {"empty_row_lse"}, row


def test_the_rows_of_a_level_follow_from_the_seed_and_the_capabilities() -> None:
    rows = [combined(ATTENTION, "standard", seed, EVERYTHING) for seed in (0, 0, 8)]
    assert rows[0] == rows[1]
    assert all(one != other for (_, one), (_, other) in zip(rows[0], rows[2], strict=True))
    assert len(combined(ATTENTION, "smoke", 3)[0][1]) == 8


def test_a_choice_is_judged_as_it_lies_where_its_layout_changes_nothing() -> None:
    def reads(query, key, value, *, scale):  # type: ignore[no-untyped-def]
        return formula(query, key, value, scale=scale)

    judge = Judge(kernel_of(reads, "attention", framework="numpy"), precision("float32"))
    row = Row("smoke", "normal", "1x1:1x1:8/8", layout="permuted")
    for family, status in ((COMBINATIONS, "passed"), (Family("layouts", "", ""), "skipped")):
        one = replace(ATTENTION, table=((family, (row,)),), covering=None)
        (case,) = cases(one, judge.precision, "smoke", 0)
        assert judge.outcome(case).status == status


# --- forms that broadcast ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PRECISIONS))
def test_a_bias_has_the_type_of_the_arrays_or_float32(name: str) -> None:
    for case in cases(having(ATTENTION, "bias"), precision(name), "standard", 0):
        bias, storage = case.instance.bias, precision(name).storage
        if bias is not None:
            own = "bfloat16" if storage.startswith("float8") else storage
            assert bias.dtype.name in (own, "float32")
            if "bias-wide" in case.name and own in SHORT:
                assert bias.dtype.name == "float32"
                assert "wide_bias" in ATTENTION.interface.needs(case.instance)


def test_masks_and_biases_come_in_every_form_that_broadcasts() -> None:
    forms: dict[str, set[tuple[str, ...]]] = {"mask": set(), "bias": set()}
    for case in cases(having(ATTENTION, "mask", "bias"), precision("float32"), "standard", 0):
        full = (*case.instance.query.shape[:3], case.instance.key.shape[2])
        for name, seen in forms.items():
            array = getattr(case.instance, name)
            if array is not None and min(full) > 1:
                seen.add(tuple("one" if n == 1 else "whole" for n in array.shape))
    for name in ("mask", "bias"):
        wanted = {("whole",), ("whole", "whole"), ("whole",) * 3, ("whole",) * 4, ("whole", "one", "whole", "whole")}
        assert wanted <= forms[name]
        assert any(len(form) == 4 and form[2] == "one" for form in forms[name])
        assert any(len(form) == 4 and form[3] == "one" for form in forms[name])
        assert any(form[0] == "one" and form[1] == "whole" for form in forms[name] if len(form) == 4)


# --- what is known to be wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torch:sdpa", "torch:sdpa-flash"])
def test_the_nan_of_torch_under_a_causal_mask_and_a_scale_of_zero_is_seen_at_every_level(name: str) -> None:
    pytest.importorskip("torch")
    judge = Judge(kernel_of(name, "attention"), precision("float32"))
    asked = [case for case in cases(judge.suite, judge.precision, "smoke", 0) if case.family.id == "scale"]
    assert any(judge.outcome(case).kind == "non-finite" for case in asked)
    (capability,) = known_findings(name)
    declared = Judge(kernel_of(name, "attention", options={capability: "no"}), precision("float32"))
    assert not any(declared.outcome(case).failed for case in asked)


def test_weights_that_are_rounded_as_shares_of_a_long_row_are_told_from_weights_that_are_not() -> None:
    pytest.importorskip("jax")
    for name, fails in (("float16", True), ("float16-eager", False)):
        judge = Judge(kernel_of("jax:dot_product_attention", "attention"), precision(name))
        table = tuple((family, rows) for family, rows in judge.suite.table if family.id == "normalised")
        asked = list(cases(replace(judge.suite, table=table, covering=None), judge.precision, "standard", 0))
        assert any(judge.outcome(case).failed for case in asked) == fails
