"""Spectral clustering and label propagation on scikit-learn's digits, with the kernel graph's products and solves.

    python docs/examples/kernel_graph_digits.py [--picture docs/pictures/kernel_graph_digits.png]

Both are done a second time with dense matrices, and the answers are compared.  Needs scikit-learn, and matplotlib for
the picture.  Label propagation is Poisson learning (Calder, Cook, Thorpe and Slepčev 2020): L u = Σ over the labelled
digits of (label − mean of the labels), one column for each digit, and the largest column decides.
"""

from __future__ import annotations

import argparse

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from assay.impl import cpu
from assay.spec.kernel_graph_solve import orthogonal

PARAMETER = 2.0  # of e^(−parameter·z), images scaled to [0, 1]
LABELLED = 50


def leading(products: LinearOperator, degrees: np.ndarray) -> np.ndarray:
    """The ten leading eigenvectors of D^(−1/2)AD^(−1/2), as columns."""
    n, root = len(degrees), np.sqrt(degrees)
    operator = LinearOperator((n, n), matvec=lambda x: (products @ (x.reshape(-1) / root)).reshape(-1) / root)
    return eigsh(operator, k=10, which="LA", tol=1e-7, ncv=40, v0=np.ones(n))[1]


def clusters(vectors: np.ndarray) -> np.ndarray:
    """Ten clusters of the rows, scaled to length 1."""
    rows = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    return KMeans(10, n_init=10, random_state=0).fit_predict(rows)


def main(picture: str | None, n: int) -> None:
    data = load_digits()
    points, truth = data.data[:n] / 16.0, data.target[:n]
    n = len(points)
    options = {"function": "gaussian", "parameter": PARAMETER}
    dense = cpu.kernel_graph.graph(points, **options).tile(slice(0, n), slice(0, n))
    degrees = dense.sum(axis=1)

    fast = cpu.kernel_graph.adjacency(points, error=1e-10, **options)
    vectors = leading(fast, degrees)
    ours, usual = clusters(vectors), clusters(leading(dense, degrees))
    print(f"spectral clustering: {adjusted_rand_score(ours, usual):.3f} of 1 agreement with the dense result,")
    print(f"  {adjusted_rand_score(ours, truth):.3f} with the digits (adjusted Rand index)")

    labelled = np.random.default_rng(0).choice(n, LABELLED, replace=False)
    sides = np.zeros((n, 10))
    sides[labelled, truth[labelled]] = 1.0
    sides[labelled] -= sides[labelled].mean(axis=0)
    solver = cpu.kernel_graph.solver(points, **options)
    solved = [solver.solve(orthogonal(side), tolerance=1e-8) for side in sides.T]
    assert all(each.certified for each in solved)
    propagated = np.column_stack([each.value for each in solved]).argmax(axis=1)
    matrix = np.diag(degrees) - dense + degrees.mean() / n
    reference = scipy.linalg.solve(matrix, sides, assume_a="pos").argmax(axis=1)
    rest = np.setdiff1d(np.arange(n), labelled)
    print(
        f"label propagation from {LABELLED} labels: {(propagated == reference).sum()} of {n} as the dense solve says,"
    )
    print(f"  {np.mean(propagated[rest] == truth[rest]):.1%} of the others right; largest proved energy error", end=" ")
    print(f"{max(each.error for each in solved):.1e}")

    if picture:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        plane = vectors[:, [8, 7]] / np.sqrt(degrees)[:, None]  # after the one that is constant
        figure, axes = pyplot.subplots(1, 3, figsize=(12, 4), layout="constrained")
        for axis, colour, title in zip(
            axes, (truth, ours, propagated), ("digits", "spectral clusters", f"from {LABELLED} labels"), strict=True
        ):
            axis.scatter(*plane.T, c=colour, cmap="tab10", s=4)
            axis.set(title=title, xticks=[], yticks=[])
        figure.savefig(picture, dpi=70)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture")
    parser.add_argument("--digits", type=int, default=1797, help="how many of them")
    given = parser.parse_args()
    main(given.picture, given.digits)
