"""Every law of the three problems of kernel graphs, broken on purpose.

For each law there is a mistake that its instance does not show and that the law does: the kernel is right for the
instance, wrong for one that the law makes of it, and its outputs break the relation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bank.kernel_graph.engine import differences, value
from bank.kernel_graph_solve.correct import laplacian

from assay.conformance.interface.suite import Case, Family, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.spec import kernel_graph, kernel_graph_solve, kernel_graph_sparsify

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Weighed = Callable[[Array, Array, str, float], Array]

FAMILY = Family("mine", "", "")
SORTED = np.array([[0.0, 1.0], [0.25, 0.5], [0.5, 0.0], [0.75, 1.0], [1.0, 0.25]])


# --- mistakes in weights, which all three problems share --------------------------------------------------------------


def right(x: Array, y: Array, function: str, parameter: float) -> Array:
    return value(differences(x, y), function, parameter)


def in_order(x: Array, y: Array, function: str, parameter: float) -> Array:
    """Points are sorted by their first coordinate, and what comes out is not put back."""
    return right(*(side[np.argsort(side[:, 0], kind="stable")] for side in (x, y)), function, parameter)


def marked(x: Array, y: Array, function: str, parameter: float) -> Array:
    """A first coordinate below 0 marks points that count little."""
    w = right(x, y, function, parameter)
    return np.where((x[:, :1] < 0) & (y[:, 0] < 0), w / 2, w)


def in_the_unit_cube(x: Array, y: Array, function: str, parameter: float) -> Array:
    return right(np.clip(x, 0, 1), np.clip(y, 0, 1), function, parameter)


def near(x: Array, y: Array, function: str, parameter: float) -> Array:
    """Distances from 3/2 on count less, whatever the parameter is."""
    w = right(x, y, function, parameter)
    return np.where(differences(x, y) > 2.25, w / 2, w)


def by_sums(x: Array, y: Array, function: str, parameter: float) -> Array:
    """The Laplacian function of the sum of absolute differences."""
    if function != "laplacian":
        return right(x, y, function, parameter)
    return np.exp(-parameter * np.abs(x[:, None] - y).sum(axis=2))


WEIGHTS: dict[str, Weighed] = {
    "points": in_order, "coordinates": marked, "translate": in_the_unit_cube, "scale": near, "names": by_sums,
}  # fmt: skip
#: The function of the instance of a law.
FUNCTIONS: dict[str, tuple[str, float]] = {"names": ("matern", 0.5)}


def without_loops(w: Array) -> Array:
    w = w.copy()
    np.fill_diagonal(w, 0.0)
    return w


# --- products ---------------------------------------------------------------------------------------------------------


def product(weighed: Weighed = right, **mistakes: bool) -> Callable[..., Array]:
    """A kernel with one mistake."""

    def kernel(
        points: Array, vectors: Array, *, function: str, parameter: float, laplacian: bool = False,
        diagonal: float = 0.0, targets: Array | None = None,
    ) -> Array:  # fmt: skip
        v = np.clip(vectors, -2, 2) if mistakes.get("clipped") else vectors
        if targets is not None:
            w = weighed(targets, points, function, parameter)
            if mistakes.get("no equal points"):
                w = np.where(differences(targets, points) == 0, 0.0, w)
            if mistakes.get("as many targets"):
                w[len(points) :] = 0.0
            return w @ v
        w = without_loops(weighed(points, points, function, parameter))
        if laplacian:
            return w.sum(axis=1)[:, None] * v - w @ v
        if mistakes.get("negative"):
            return -(w @ v)
        if mistakes.get("falsy"):
            diagonal = diagonal or 1.0
        if mistakes.get("one column") and v.shape[1] == 1:
            diagonal = 0.0
        out = w @ v + diagonal * v
        return np.where((v == 0).all(axis=1, keepdims=True), 0.0, out) if mistakes.get("padding") else out

    return kernel


PRODUCTS: dict[str, tuple[Callable[..., Array], dict[str, Any]]] = {
    "linear": (product(padding=True), {}),
    "columns": (product(**{"one column": True}), {"diagonal": 0.75}),
    **{law: (product(weighed), {}) for law, weighed in WEIGHTS.items()},
    "constant": (product(clipped=True), {"laplacian": True}),
    "degree": (product(negative=True), {"laplacian": True}),
    "diagonal": (product(falsy=True), {"diagonal": 0.75}),
    "itself": (product(**{"no equal points": True}), {}),
    "halves": (product(**{"as many targets": True}), {"targets": SORTED[:4] + 0.125}),
}


def outcomes(kernel: Any, problem: str, instances: tuple[Any, ...]) -> list[Any]:
    judge = Judge(kernel_of(kernel, problem), suite(problem).spec.PRECISIONS["float64"])
    with np.errstate(all="ignore"):
        return [judge.outcome(Case("mine", FAMILY, instance)) for instance in instances]


def broken(law: Any, kernel: Any, problem: str, instance: Any) -> tuple[Any, tuple[Any, ...], list[Any]]:
    """The outcome of an instance, for which a kernel passes, and transformed ones for which it fails, with theirs."""
    (own,) = outcomes(kernel, problem, (instance,))
    assert own.status == "passed", own.sentence
    for seed in range(8):  # what a law changes may be drawn
        transformed = law.transform(instance, np.random.default_rng(seed))
        found = outcomes(kernel, problem, transformed)
        if any(outcome.failed for outcome in found):
            return own, transformed, found
    raise AssertionError(f"{law.id} does not find it")


@pytest.mark.claim("KTOL-4")
@pytest.mark.parametrize("law", kernel_graph.LAWS, ids=lambda law: law.id)
def test_a_product_that_is_wrong_only_under_a_law_is_found_by_it(law: Any) -> None:
    kernel, options = PRODUCTS[law.id]
    function, parameter = FUNCTIONS.get(law.id, ("gaussian", 1.0))
    vectors = np.array([[1.0, 0.5], [0.5, 1.0], [0.25, 0.75], [0.75, 0.5], [1.0, 0.25]])
    if law.id != "columns":
        vectors = vectors[:, :1]
    instance = kernel_graph.Instance(SORTED, vectors, function=function, parameter=parameter, **options)
    own, transformed, found = broken(law, kernel, "kernel_graph", instance)
    outputs = tuple({"output": outcome.values["output"].astype(float)} for outcome in found)
    prediction = law.relate(instance, transformed, outputs)["output"]
    assert np.abs(prediction.value - own.values["output"]).max() > 1e-3


# --- solves -----------------------------------------------------------------------------------------------------------


def solver(weighed: Weighed = right, **mistakes: Any) -> Callable[..., Array]:
    def kernel(points: Array, right_side: Array, *, function: str, parameter: float, tolerance: float) -> Array:
        matrix = laplacian(without_loops(weighed(points, points, function, parameter)))
        b = right_side / np.abs(right_side).max() if mistakes.get("unit") else right_side
        kept = np.ones(len(b), bool)
        if mistakes.get("only with a current") and (b == 0).any():
            kept = b != 0
        x = np.zeros(len(b))
        part = matrix[np.ix_(kept, kept)]
        x[kept] = np.linalg.pinv(part, hermitian=True) @ b[kept]
        if error := mistakes.get("error"):
            off = np.eye(len(b))[0]
            x = x + off * error * np.sqrt((x @ matrix @ x) / (off @ matrix @ off))
        return x

    return kernel


SOLVES: dict[str, Callable[..., Array]] = {
    **{law: solver(weighed) for law, weighed in WEIGHTS.items()},
    "sum": solver(**{"only with a current": True}),
    "power": solver(unit=True),
    "currents": solver(**{"only with a current": True}),
    "tolerance": solver(error=5e-4),
}


@pytest.mark.claim("KTOL-9")
@pytest.mark.parametrize("law", kernel_graph_solve.LAWS, ids=lambda law: law.id)
def test_a_solve_that_is_wrong_only_under_a_law_is_found_by_it(law: Any) -> None:
    function, parameter = FUNCTIONS.get(law.id, ("gaussian", 1.0))
    side = np.array([1.0, -0.5, 0.25, -0.5, -0.25])
    instance = kernel_graph_solve.Instance(SORTED, side, function=function, parameter=parameter, tolerance=1e-3)
    own, transformed, found = broken(law, SOLVES[law.id], "kernel_graph_solve", instance)
    prediction = law.relate(instance, transformed, tuple({"x": outcome.values["x"]} for outcome in found))["x"]
    off = prediction.value - own.values["x"]
    if law.id == "tolerance":  # potentials that are wrong for a smaller tolerance may be right for the larger one
        assert np.ptp(off) < 1e-9
    else:
        assert np.ptp(off) > 1e-3


# --- sparsifiers ------------------------------------------------------------------------------------------------------


def sparsifier(weighed: Weighed = right, **mistakes: bool) -> Callable[..., Any]:
    def kernel(points: Array, *, function: str, parameter: float, error: float, seed: int) -> Any:
        w = weighed(points, points, function, parameter)
        left, right_end = np.triu_indices(len(points), 1)
        weight = w[left, right_end]
        if mistakes.get("heavier"):
            weight = 1.25 * weight
        if mistakes.get("falsy") and seed:
            weight = 2 * weight * (np.random.default_rng(seed).random(len(weight)) < 0.5)
        return left, right_end, weight

    return kernel


SPARSIFIERS: dict[str, Callable[..., Any]] = {
    **{law: sparsifier(weighed) for law, weighed in WEIGHTS.items()},
    "seed": sparsifier(falsy=True),
    "error": sparsifier(heavier=True),
}


@pytest.mark.claim("KTOL-9")
@pytest.mark.parametrize("law", kernel_graph_sparsify.LAWS, ids=lambda law: law.id)
def test_a_sparsifier_that_is_wrong_only_under_a_law_is_found_by_it(law: Any) -> None:
    function, parameter = FUNCTIONS.get(law.id, ("gaussian", 1.0))
    error = 0.1 if law.id == "names" else 0.3
    instance = kernel_graph_sparsify.Instance(SORTED, function=function, parameter=parameter, error=error)
    _, transformed, found = broken(law, SPARSIFIERS[law.id], "kernel_graph_sparsify", instance)
    (values,) = (outcome.values for outcome in found)
    prediction = law.relate(instance, transformed, ({name: x.astype(float) for name, x in values.items()},))
    edges = [prediction[name].value for name in ("left", "right", "weight")]
    ratio = kernel_graph_sparsify.criteria(instance, "float64")["form"].ratio(
        edges[0].astype(np.int64), edges[1].astype(np.int64), edges[2]
    )
    assert (ratio > 1.0) == (law.id != "error")  # edges that are wrong for a smaller error may be right for the larger


def test_every_law_has_a_mistake_that_it_finds() -> None:
    mistakes = (set(PRODUCTS), set(SOLVES), set(SPARSIFIERS))
    laws = (kernel_graph.LAWS, kernel_graph_solve.LAWS, kernel_graph_sparsify.LAWS)
    assert tuple({law.id for law in some} for some in laws) == mistakes
