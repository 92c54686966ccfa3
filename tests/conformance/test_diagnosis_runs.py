"""What a kernel keeps from call to call, told of attention kernels that keep one thing each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.conformance.attention.target_numpy import formula
from assay.conformance.diagnosis import runs
from assay.conformance.diagnosis.evidence import Evidence, Judged
from assay.conformance.interface.suite import Case, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.spec.attention import Instance
from assay.spec.precision import precision

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = np.ndarray[Any, Any]

FAMILY = suite("attention").families[0]


def instance(seed: int = 0, n_k: int = 9, **options: Any) -> Instance:
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((2, 3, n, d)).astype(np.float32) for n, d in ((5, 8), (n_k, 8), (n_k, 6)))
    return Instance(q, k, v, **options)


def evidence_of(function: Any, case: Case) -> tuple[Evidence, list[Judged]]:
    """What a diagnosis has of one case that the kernel failed."""
    judge = Judge(kernel_of(function, "attention"), precision("float32"))
    failure = Judged(case, judge.outcome(case))
    assert failure.outcome.failed
    evidence = Evidence(
        [failure], (), judge.criteria_if_known, lambda _: {}, lambda case: judge.outcome(case), lambda *_: None
    )
    return evidence, [failure]


def by_address(name: str) -> Callable[..., Any]:
    """A kernel that takes an array at the address of one that it saw, of the same shape, for that one."""
    seen: dict[Any, Array] = {}

    def kernel(query: Array, key: Array, value: Array, *, scale: float, mask: Array | None = None) -> Any:
        arrays = {"query": query, "key": key, "value": value, "mask": mask}
        array = arrays[name]
        if array is not None:
            place = (array.__array_interface__["data"][0], array.shape)
            arrays[name] = seen.setdefault(place, array.copy())
        return formula(arrays["query"], arrays["key"], arrays["value"], scale=scale, mask=arrays["mask"])

    return kernel


@pytest.mark.parametrize("name", ["mask", "key", "value"])
def test_an_array_that_is_kept_by_its_address_is_named(name: str) -> None:
    masks = [np.random.default_rng(seed).random((2, 1, 5, 9)) < 0.6 for seed in (1, 2)]
    for mask in masks:
        mask[..., 0] = True
    now, before = (instance(seed, mask=mask) for seed, mask in enumerate(masks))
    evidence, failures = evidence_of(by_address(name), Case("toy", FAMILY, now, after=(before,)))
    assert runs.remembered(evidence, failures) == [f"calls: {name} is that of a call before"]


def test_a_diagnosis_tells_what_is_kept_by_shape_though_no_case_has_a_call_before_it() -> None:
    seen: dict[Any, Array] = {}

    def kernel(query: Array, key: Array, value: Array, *, scale: float, mask: Array) -> Any:
        return formula(query, key, value, scale=scale, mask=seen.setdefault(mask.shape, mask.copy()))

    masks = [np.random.default_rng(seed).random((2, 1, 5, 9)) < 0.6 for seed in (1, 2)]
    for mask in masks:
        mask[..., 0] = True
    before, now = (instance(seed, mask=mask) for seed, mask in enumerate(masks))
    judge = Judge(kernel_of(kernel, "attention"), precision("float32"))
    assert judge.outcome(Case("toy", FAMILY, before)).status == "passed"
    case = Case("toy", FAMILY, now)
    told = judge.diagnosis([Judged(case, judge.outcome(case))]).sentences
    assert "calls: mask is that of a call before" in told


def test_a_constant_fault_is_not_taken_for_a_memory() -> None:
    def ignores(query: Array, key: Array, value: Array, *, scale: float, mask: Array | None = None) -> Any:
        return formula(query, key, value, scale=scale)

    mask = np.tile(np.arange(9) < 6, (2, 1, 5, 1))
    evidence, failures = evidence_of(ignores, Case("toy", FAMILY, instance(mask=mask)))
    assert runs.remembered(evidence, failures) == []


def test_rows_of_a_longer_call_behind_the_tail_are_named() -> None:
    kept: dict[Any, tuple[Array, Array]] = {}

    def kernel(query: Array, key: Array, value: Array, *, scale: float) -> Any:
        n, end = key.shape[2], -(-key.shape[2] // 8) * 8
        before = kept.get(key.shape[3])
        if before is None or before[0].shape[2] < n:
            kept[key.shape[3]] = key.copy(), value.copy()
            return formula(query, key, value, scale=scale)
        key, value = (np.concatenate([a, b[:, :, n:end]], axis=2) for a, b in zip((key, value), before, strict=True))
        return formula(query, key, value, scale=scale)

    evidence, failures = evidence_of(kernel, Case("toy", FAMILY, instance(), after=(instance(3, n_k=20),)))
    said = "calls: keys of a longer call before are read behind the last one, up to a multiple of 8"
    assert runs.other_calls(evidence, failures) == [said]
