"""``assay reference`` and ``assay bound`` say and write what the definition and the tolerance are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from assay.spec import attention

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("output", ["output", "log_sum_exp"])
def test_reference_is_the_definition(run: Run, output: str) -> None:
    status, out, _ = run("reference", "instance.npz", "--relative", "1e-20", "--output", output, "-o", "r.npz")
    exact = attention.define(attention.Instance.load("instance.npz"), 1e-20, output)
    with np.load("r.npz") as saved:
        np.testing.assert_array_equal(saved["midpoint"], exact.midpoint)
        np.testing.assert_array_equal(saved["radius"], exact.radius)
    assert status == 0
    assert out.startswith(f"attention  {output}  shape {exact.shape}  radius ")
    assert str(exact[(0,) * len(exact.shape)]) in out.splitlines()[1]


def test_bound_is_the_tolerance(run: Run) -> None:
    status, out, _ = run("bound", "instance.npz", "--precision", "bfloat16", "-o", "r.npy")
    exact = attention.tolerance(attention.Instance.load("instance.npz"), "bfloat16")
    np.testing.assert_array_equal(np.load("r.npy"), exact)
    assert status == 0
    assert out.splitlines()[0] == "attention  output  shape (1, 2, 4, 3)  bfloat16"
    assert out.splitlines()[-1] == "outside the domain of the class: 0 of 24 elements"


def test_bound_outside_the_domain_has_no_least(run: Run) -> None:
    small = attention.Instance.load("instance.npz")
    small.replace(query=1e30 * small.query, key=1e30 * small.key).save("huge.npz")
    status, out, _ = run("bound", "huge.npz", "--precision", "float32")
    assert (status, out.splitlines()[1:]) == (0, ["outside the domain of the class: 24 of 24 elements"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("reference nowhere.npz", "no such file"),
        ("reference instance.npz --output sum", "unknown output 'sum'"),
        ("reference instance.npz --relative 2", "between 0 and 1"),
        ("reference instance.npz -o nowhere/r.npz", "nowhere/r.npz: cannot be written"),
        ("reference other.npz", "an instance of 'weighted_sums', expected one of attention"),
        ("bound instance.npz --precision f32", "unknown precision class 'f32'"),
        ("bound instance.npz --precision float32 --output sum", "unknown output 'sum'"),
    ],
)
def test_misuse_is_one_line(refused: Callable[..., str], words: str, sentence: str) -> None:
    assert sentence in refused(*words.split())
