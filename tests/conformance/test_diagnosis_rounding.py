"""A kernel that fails its own class and keeps another is told which one, what it rounds, and how to claim it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import assay
from assay.conformance.judge.level import Chosen

if TYPE_CHECKING:
    from pathlib import Path

Array = np.ndarray[Any, Any]

FAMILIES = Chosen(families=("heads", "dims", "scale"))


def shortened(array: Array, bits: int) -> Array:
    """The numbers rounded to so many significant bits."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)


def attention(query: Array, key: Array, value: Array, scale: float, bits: int) -> Array:
    group = query.shape[1] // key.shape[1]
    q, k, v = (shortened(array, bits) for array in (query, key.repeat(group, 1), value.repeat(group, 1)))
    score = scale * (q @ k.swapaxes(2, 3))
    weight = np.exp(score - score.max(3, keepdims=True))
    return (weight @ v / weight.sum(3, keepdims=True)).astype(query.dtype)


def as_tf32(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    return attention(query, key, value, scale, 11)


def shorter(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    """Below what any class on these types allows."""
    return attention(query, key, value, scale, 5)


def wrong_as_well(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    return attention(query, key, value, 1.5 * scale, 11)


def told(kernel: Any, folder: Path, precision: str = "float32") -> list[str]:
    report = assay.check(
        kernel, "attention", precision=precision, level="smoke", chosen=FAMILIES, reproducers=folder, seconds=60
    )
    return [sentence for sentence in report.diagnosis if "rounds like" in sentence]


def test_a_kernel_of_another_class_is_told_which_and_what_it_rounds(tmp_path: Path) -> None:
    assert told(as_tf32, tmp_path) == [
        "it rounds like a kernel of the class tf32 (products read 11 significant bits of their inputs): every failure "
        "is within its tolerance, and --precision tf32 judges it as one"
    ]


@pytest.mark.parametrize("kernel", [shorter, wrong_as_well])
def test_a_kernel_that_keeps_no_class_rounds_like_none(kernel: Any, tmp_path: Path) -> None:
    assert told(kernel, tmp_path) == []


def test_the_class_that_is_named_judges_the_kernel_as_right(tmp_path: Path) -> None:
    report = assay.check(
        as_tf32, "attention", precision="tf32", level="smoke", chosen=FAMILIES, reproducers=tmp_path, seconds=60
    )
    assert report.ran > 10
    assert not report.failures
