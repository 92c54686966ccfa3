"""Mutants of the exact kernel run as benchmarks/mutants.py says: the unchanged source among them is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scripts import script

from assay.conformance.attention import target_numpy


@pytest.fixture(scope="module")
def mutants() -> Any:
    return script("mutants")


@pytest.mark.parametrize("how", ["interpreted", "compiled", "borrowed"])
@pytest.mark.parametrize("queries", [2, 20])
def test_an_unchanged_source_is_right_however_it_runs(mutants: Any, how: str, queries: int) -> None:
    pytest.importorskip("numba")
    original = mutants.ORIGINALS["assay:cpu"]
    query, key, value = (np.random.default_rng(i).standard_normal((1, 2, n, 5)) for i, n in enumerate((queries, 9, 9)))
    kernel = mutants.loaded(original, original.source, how)
    right = target_numpy.formula(query, key, value, scale=0.5, is_causal=True)
    with np.errstate(all="ignore"):  # as mutants run
        found = kernel(query, key, value, 0.5, is_causal=True)
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-14)


def test_an_interpreted_source_is_not_compiled(mutants: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba, "njit", lambda *_, **__: pytest.fail("something was compiled"))
    original = mutants.ORIGINALS["assay:cpu"]
    x = np.ones((1, 1, 2, 1))
    with np.errstate(all="ignore"):
        assert (mutants.loaded(original, original.source, "interpreted")(x, x, x, 1.0) == 1.0).all()
