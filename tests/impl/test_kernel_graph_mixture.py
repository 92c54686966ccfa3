"""The search for the ends of a sum of Gaussians is finite, whatever error is asked."""

import pytest

pytest.importorskip("numba")
pytest.importorskip("flint")

from assay.impl.cpu.kernel_graph import gaussians


@pytest.mark.parametrize("name", ["coulomb", "laplacian"])
def test_a_mixture_whose_terms_never_reach_the_error_is_refused(name: str) -> None:
    # A quarter of the error exceeds the whole relative mass: no end of the sum is ever found, and the search must stop.
    with pytest.raises(gaussians.Infeasible):
        gaussians.mixture(name, 0.5 if name == "coulomb" else 1.0, 0.01, 1.0, 8.0)
