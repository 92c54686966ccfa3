"""Soundness and tightness as executed properties: searches for inputs on which correct kernels err most.

The long campaign is benchmarks/adversarial.py; here are a few short climbs, and for each class an instance on which a
correct kernel comes near its tolerance: a looser tolerance fails it, a tighter one must be proved first.
"""

from __future__ import annotations

import numpy as np
import pytest
from bank.attention.adversary import ADVERSE, Found, climb, drawn, instance_of, ratios, referenced
from bank.attention.correct import CORRECT

from assay.conformance.softmax.patterns import Shape
from assay.spec.attention import evaluate, tolerance
from assay.spec.precision import PRECISIONS, precision, reference_accuracy

BANK = {entry.name: entry for entry in CORRECT}

#: class → kernels of unlike structure and the seed of their climb (the seed says which pattern it begins from)
CLIMBS = {
    "float64": [("forward-sums", 1), ("lse-biased", 3), ("split-ring", 2)],
    "float32": [("forward-sums", 0), ("lse-biased", 3), ("rescaling-biased", 4), ("flush-to-zero", 11)],
    "tf32": [("tf32-truncated", 2), ("tf32-nearest", 8), ("exp-biased", 8)],
    "bfloat16": [("normalised-first", 2), ("rounded-sum", 8), ("online-lagging", 9)],
    "float16": [("naive", 6), ("online-64", 9), ("exp-biased", 8)],
    "bfloat16-eager": [("eager-stored", 8), ("eager-scaled-both", 3)],
    "float16-eager": [("eager-stored", 6), ("eager-scaled-query", 9)],
    "float8-e4m3": [("rounded-sum", 2), ("online-16", 9), ("naive", 6)],
}

#: class, kernel, pattern, keys, dim, seed, and the ratio that the kernel comes to at least: nine tenths of what it did
NEAR = [
    ("float64", "forward-sums", "stagnating-53", 257, 1, 0, 0.56),
    ("float64", "chain-biased", "one-way", 3, 1, 0, 0.16),
    ("float32", "two-pass", "stagnating-24", 257, 1, 0, 0.59),
    ("float32", "forward-sums", "stagnating-24", 65, 1, 0, 0.49),
    ("tf32", "tf32-truncated", "one-way", 2, 2, 0, 0.43),
    ("tf32", "tf32-truncated", "large", 5, 8, 0, 0.4),
    ("bfloat16", "online-lagging", "large", 129, 2, 1, 0.64),
    ("bfloat16", "normalised-first", "normal", 2, 2, 1, 0.6),
    ("float16", "online-lagging", "large", 129, 2, 1, 0.6),
    ("float16", "naive", "least-values", 5, 8, 0, 0.89),
    ("bfloat16-eager", "eager-stored", "rounding-weights", 5, 8, 0, 0.18),
    ("bfloat16-eager", "eager-stored", "large", 2, 2, 1, 0.19),
    ("bfloat16-eager", "eager-log-softmax", "one-way", 61, 1, 0, 0.55),
    ("float16-eager", "eager-scaled-query", "normal", 2, 2, 1, 0.25),
    ("float16-eager", "eager-log-softmax", "one-way", 61, 1, 0, 0.43),
    ("float16-eager", "eager-stored", "least-values", 17, 2, 1, 0.88),
    ("float8-e4m3", "online-16", "normal", 2, 2, 1, 0.41),
    ("float8-e4m3", "rounded-sum", "steps", 17, 2, 0, 0.33),
]


@pytest.mark.claim("TOL-7")
@pytest.mark.parametrize(("name", "kernel", "pattern", "keys", "dim", "seed", "least"), NEAR)
def test_a_correct_kernel_comes_near_the_tolerance_of_its_class(
    name: str, kernel: str, pattern: str, keys: int, dim: int, seed: int, least: float
) -> None:
    instance = instance_of(pattern, Shape(1, 1, 1, 4, keys, dim, 64), seed, precision(name))
    found = ratios(BANK[kernel], instance, referenced(instance, name))
    assert found is not None
    assert least <= np.nanmax(found["output"]) <= 1.0, np.nanmax(found["output"])


@pytest.mark.claim("TOL-10")
@pytest.mark.parametrize(("name", "bits"), [("float32", 24), ("float64", 53)])
def test_running_sums_may_err_by_two_roundings_a_key(name: str, bits: int) -> None:
    keys, u = 129, 2.0**-bits
    instance = instance_of(f"stagnating-{bits}", Shape(1, 1, 1, 1, keys, 1, 1), 0, precision(name))
    output = BANK["forward-sums"].function(instance.query, instance.key, instance.value, scale=instance.scale)
    assert float(output.item()) == 1 + 2 * (keys - 1) * u
    exact = evaluate(instance, reference_accuracy(name)).output
    assert exact.midpoint.item() - 1 + exact.radius.item() <= 1e-3 * (keys - 1) * u
    assert tolerance(instance, name).item() <= 1.35 * 2 * (keys - 1) * u + 130 * u


def test_every_class_has_such_a_kernel_within_a_factor_of_five() -> None:
    assert {name for name, *_, least in NEAR if least >= 0.2} == set(PRECISIONS)


@pytest.mark.claim("TOL-7")
@pytest.mark.parametrize("name", CLIMBS)
def test_a_search_never_takes_a_correct_kernel_beyond_its_tolerance(name: str) -> None:
    for kernel, seed in CLIMBS[name]:
        found = climb(BANK[kernel], name, seed, generations=20)
        assert 0.0 <= found.ratio <= 1.0, (kernel, seed, found.pattern, found.ratio)


@pytest.mark.claim("TOL-9")
@pytest.mark.parametrize("kernel", ["naive", "online-base-2", "gathered", "rounded-sum"])
def test_nor_its_log_sum_exp(kernel: str) -> None:
    for name in ("float32", "bfloat16"):
        found = climb(BANK[kernel], name, 3, generations=12, output="log_sum_exp")
        assert 0.0 < found.ratio <= 1.0, (name, found.pattern, found.ratio)


def test_every_kernel_of_a_class_keeps_it_on_random_instances_with_many_elements() -> None:
    for number, name in enumerate(PRECISIONS):
        instance = drawn(name, number)
        known = referenced(instance, name)
        judged = 0
        for entry in CORRECT:
            if name in entry.precisions:
                for found in (ratios(entry, instance, known) or {}).values():
                    assert np.nanmax(found, initial=0.0) <= 1.0, (name, entry.name)
                    judged += int((~np.isnan(found)).sum())
        assert judged > 10_000, (name, judged)


def test_a_search_finds_that_a_class_is_unsound_which_allows_a_quarter_of_the_roundings() -> None:
    honest = precision("float32")
    tight = honest.with_("too tight", product=2.0**-26, accumulate=2.0**-26, elementary=2.0**-23)
    found = climb(BANK["two-pass"], tight, 0, generations=20)
    assert found.ratio > 1.0


def test_climbs_rise_and_repeat() -> None:
    heights = [climb(BANK["naive"], "bfloat16", 2, generations).ratio for generations in (0, 10, 20)]
    assert heights == sorted(heights)
    assert heights[0] < heights[-1]
    again: Found = climb(BANK["naive"], "bfloat16", 2, 20)
    assert again.ratio == heights[-1]


@pytest.mark.parametrize("pattern", ADVERSE)
def test_every_pattern_is_judged_in_some_class(pattern: str) -> None:
    judged = 0
    for name in ("float32", "float16"):
        instance = instance_of(pattern, Shape(1, 1, 1, 2, 9, 2, 3), 5, precision(name))
        judged += int((~np.isnan((ratios(BANK["wider"], instance, referenced(instance, name)) or {})["output"])).sum())
    assert judged
