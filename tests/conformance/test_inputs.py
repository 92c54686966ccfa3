"""What the inputs of the judge must hold, and what correct kernels must not be blamed for on them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from assay.conformance.attention.target_numpy import formula
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases
from assay.conformance.judge.judge import Judge
from assay.spec.criterion import close, close_before_rounding
from assay.spec.enclosure import Enclosure
from assay.spec.floats import dtype_named
from assay.spec.precision import precision

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
    asked = [case for case in cases(judge.suite, judge.precision, "standard", 0) if case.instance.return_lse]
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
