"""Expansions between the boxes of a tree (KG-10): within their certificates."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from assay.impl.cpu.kernel_graph import tree_operators
from assay.spec.kernel_graph.functions import named


@pytest.mark.claim("KG-10")
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("name", "parameter"), [("coulomb", 0.5), ("matern", 1.5), ("rational", 2.0)])
def test_an_expansion_is_within_its_certificate(name: str, parameter: float, d: int) -> None:
    rng = np.random.default_rng(1)
    f = named(name, parameter)
    for offset in tree_operators.offsets(d):
        found = tree_operators.designed(f, 0.5, offset, 1e-3, 0.0, 100.0)
        base = 64
        values, lefts, rights = tree_operators._coefficients(found, base)
        xi = np.concatenate([np.sign(rng.random((20, d)) - 0.5), rng.uniform(-1, 1, (20, d))])
        eta = np.concatenate([np.sign(rng.random((20, d)) - 0.5), rng.uniform(-1, 1, (20, d))])
        product = np.ones((40, len(values)))
        for axis in range(d):
            power = base ** (d - 1 - axis)
            product *= np.cos(np.outer(np.arccos(xi[:, axis]), lefts // power % base))
            product *= np.cos(np.outer(np.arccos(eta[:, axis]), rights // power % base))
        z = 0.5 * ((np.array(offset) + tree_operators.ENLARGED * (xi - eta) / 2.0) ** 2).sum(axis=1)
        assert np.abs(product @ values - f(z)).max() <= found.error
        assert found.error <= 1e-3 * f(z).min() * 1.001
