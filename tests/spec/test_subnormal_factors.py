"""K9 of TOL-0 in every problem with products of matrices: float16 factors that are subnormal beside a large one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matrix_unit import exactly, lost_on_a_matrix_unit

from assay.impl.cpu.small_transformers.bound import oracle_error
from assay.spec import (
    attention_gradient,
    document_similarity,
    firing_neurons_training,
    kernel_graph,
    layer_collapse,
    rope_attention,
    small_transformers,
    tensor_attention,
    tensor_attention_gradient,
)
from assay.spec.attention_gradient.tolerance import HANDED, Bounds
from assay.spec.document_similarity.tolerance import errors as errors_of_similarities
from assay.spec.kernel_graph.distances import errors as errors_of_distances
from assay.spec.kernel_graph.distances import exactly_enough, reach
from assay.spec.precision import PRECISIONS
from assay.spec.rope_attention.tolerance import relative_products
from assay.spec.small_transformers.rounding import Recombination
from assay.spec.softmax.weights import weights
from assay.spec.tensor_attention.definition import over_combinations
from assay.spec.tensor_attention.tolerance import combined_products
from assay.spec.tensor_attention_gradient.tolerance import Bounds as OfTensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay.spec.precision import Precision

U = exactly(PRECISIONS["float16"])
SMALL = 2.0**-24


def beside(large: float, rest: float = 1.0) -> Any:
    """Sixteen numbers, the first of which is large."""
    return np.where(np.arange(16) == 0, large, rest)


SMALLS = np.full(16, SMALL)


def granted_because_of_it(lost: float, granted: Callable[[Precision], Any]) -> None:
    """The loss is within the tolerance, and would be far more than is allowed without K9."""
    assert float(granted(U.with_("without", least_factor=0.0))) < 0.6 * lost
    assert lost <= float(granted(U)) < np.inf


def halves(*arrays: Any) -> list[Any]:
    return [np.asarray(array, np.float16) for array in arrays]


@pytest.mark.claim("LCT-1")
@pytest.mark.parametrize("place", ["values", "heads"])
def test_a_product_of_a_layer_may_lose_it(place: str) -> None:
    """One token, whose values are products, and whose heads are multiplied by the output weights."""
    one, zero, large = np.ones((1, 1, 1, 1)), np.zeros((1, 1, 1, 1)), beside(2.0**14)
    if place == "heads":
        tokens, values, last = [[1.0]], large.reshape(1, 1, 1, 16), SMALLS.reshape(1, 1, 16, 1)
    else:
        tokens, values, last = [large], SMALLS.reshape(1, 1, 16, 1), np.repeat(one, 16, axis=3)
        zero = np.repeat(zero, 16, axis=2)
    arrays = halves(tokens, zero, zero, values, last)
    instance = layer_collapse.Instance(*arrays[:4], skip=False, output_weights=arrays[4])
    lost = lost_on_a_matrix_unit(large, SMALLS, U)
    granted_because_of_it(lost, lambda u: layer_collapse.tolerance(instance, u).max())


@pytest.mark.claim("FN-13")
def test_outer_weights_of_a_training_step_may_lose_it() -> None:
    weights = beside(2.0**14).reshape(16, 1)
    arrays = halves([[1.0]], [[0.0]], weights, SMALLS.reshape(16, 1))
    instance = firing_neurons_training.Instance(*arrays, rate=0.0)
    lost = lost_on_a_matrix_unit(weights[:, 0], SMALLS, U)
    granted_because_of_it(lost, lambda u: firing_neurons_training.tolerance(instance, u).max())


@pytest.mark.claim("FN-13")
def test_points_of_a_training_step_may_lose_it() -> None:
    """All of them have a small second coordinate, and one has a target far away."""
    points = np.stack([np.ones(16), SMALLS], axis=1)
    arrays = halves(points, beside(-(2.0**14), 2.0)[:, None], [[1.0, 0.0]], [[1.0]])
    instance = firing_neurons_training.Instance(*arrays, rate=0.0)
    lost = lost_on_a_matrix_unit(beside(2.0**14 + 1, -1.0), SMALLS, U)
    granted_because_of_it(lost, lambda u: firing_neurons_training.tolerance(instance, u, "gradient")[0, 1])


@pytest.mark.claim("FN-13")
def test_outer_weights_that_a_gradient_meets_may_lose_it() -> None:
    """Sixteen outputs, of which one is far from its target."""
    targets, outer = -beside(2.0**14).reshape(1, 16), SMALLS.reshape(1, 16)
    instance = firing_neurons_training.Instance(*halves([[1.0]], targets, [[1.0]], outer), rate=0.0)
    lost = lost_on_a_matrix_unit(beside(2.0**14), SMALLS, U)
    granted_because_of_it(lost, lambda u: firing_neurons_training.tolerance(instance, u, "gradient")[0, 0])


@pytest.mark.claim("DOC-8")
@pytest.mark.parametrize("measure", ["inner_product", "cosine"])
def test_a_similarity_may_lose_it(measure: str) -> None:
    """Also where norms are divided out of the product, which is then of the documents as they are."""
    large = beside(2.0**14)
    instance = document_similarity.Instance(*halves(SMALLS[None], large[None]), measure=measure)
    norms = np.linalg.norm(SMALLS) * np.linalg.norm(large) if measure == "cosine" else 1.0
    lost = lost_on_a_matrix_unit(SMALLS, large, U) / norms
    granted_because_of_it(lost, lambda u: errors_of_similarities(instance, u)[0, 0])


@pytest.mark.claim("KTOL-1")
def test_a_distance_by_expansion_may_lose_it() -> None:
    x, y = SMALLS[None], 3 * SMALLS[None]
    lost = 2 * lost_on_a_matrix_unit(x[0], y[0], U)

    def granted(u: Precision) -> Any:
        expanded = kernel_graph.PRECISIONS["float16-expansion"].stages
        u = u.with_(u.name, stages=expanded)
        return errors_of_distances(reach(x, y, u), exactly_enough(reach(x, y, u)), u, 1.0)[0, 0]

    granted_because_of_it(lost, granted)


@pytest.mark.claim("KTOL-3")
def test_vectors_beside_a_large_weight_may_lose_it() -> None:
    points = beside(2.0**7).reshape(16, 1)
    arrays = halves(points, SMALLS.reshape(16, 1))
    instance = kernel_graph.Instance(*arrays, function="polynomial", targets=np.zeros((1, 1), np.float16))
    lost = lost_on_a_matrix_unit(points[:, 0] ** 2, SMALLS, U)
    granted_because_of_it(lost, lambda u: kernel_graph.tolerance(instance, u).max())


@pytest.mark.claim("KTOL-3")
def test_a_row_of_a_laplacian_may_lose_it_beside_its_degree_too() -> None:
    """Four blocks of sixteen, each with one large weight; the first product is that of the degree."""
    points = np.where(np.arange(64) % 16 == 1, 2.0**6, 1.0)
    points[0] = 0.0
    instance = kernel_graph.Instance(
        *halves(points[:, None], np.full((64, 1), SMALL)), function="polynomial", laplacian=True
    )  # fmt: skip
    weights = points**2
    weights[0] = -weights.sum()
    lost = sum(lost_on_a_matrix_unit(block, SMALLS, U) for block in weights.reshape(4, 16))
    granted_because_of_it(lost, lambda u: kernel_graph.tolerance(instance, u)[0, 0])


def handed(instance: attention_gradient.Instance, name: str) -> Callable[[Precision], Any]:
    """What a kernel may err that is handed the output and the log-sum-exp."""
    return lambda u: Bounds(instance, u).of(HANDED[0])[name].max()


def gradient(query: Any, key: Any, value: Any, grad_output: Any) -> attention_gradient.Instance:
    """Of one head, with the scale 1."""
    arrays = (x[None, None] for x in halves(query, key, value, grad_output))
    return attention_gradient.Instance(*arrays, scale=1.0)


@pytest.mark.claim("BWD-1")
@pytest.mark.parametrize("small", ["values", "dO"])
def test_the_product_of_a_gradient_with_the_values_may_lose_it(small: str) -> None:
    """One key, whose dS is what is lost, and is what it multiplies in dQ."""
    value, grad = (SMALLS, beside(2.0**14)) if small == "values" else (beside(2.0**14), SMALLS)
    instance = gradient([[0.0]], [[1.0]], value[None], grad[None])
    lost = lost_on_a_matrix_unit(value, grad, U)
    granted_because_of_it(lost, handed(instance, "grad_query"))


@pytest.mark.claim("BWD-3")
def test_keys_that_are_weighed_may_lose_it() -> None:
    value = np.where(np.arange(16) % 2, 128.0, -128.0)[:, None]
    instance = gradient([[0.0]], SMALLS[:, None], value, [[128.0]])
    lost = lost_on_a_matrix_unit(value[:, 0] * 8.0, SMALLS, U)  # dS is dO·v/16, as the mean value is 0
    granted_because_of_it(lost, handed(instance, "grad_query"))


@pytest.mark.claim("BWD-4")
def test_queries_that_are_weighed_may_lose_it() -> None:
    instance = gradient(SMALLS[:, None], [[1.0], [-1.0]], [[128.0], [-128.0]], np.full((16, 1), 128.0))
    lost = lost_on_a_matrix_unit(np.full(16, 2.0**13), SMALLS, U)
    granted_because_of_it(lost, handed(instance, "grad_key"))


@pytest.mark.claim("BWD-4")
def test_incoming_gradients_that_are_weighed_may_lose_it() -> None:
    instance = gradient(np.zeros((16, 1)), [[1.0]], [[0.0]], SMALLS[:, None])
    lost = lost_on_a_matrix_unit(np.ones(16), SMALLS, U)
    granted_because_of_it(lost, handed(instance, "grad_value"))


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize("oracle", ["plain", "log_sum_exp"])
def test_values_of_a_simulated_row_may_lose_it(oracle: str) -> None:
    """One call, with one weight of about 1; its certificate grants what the tolerance does."""
    key = beside(0.0, -15.0)[:, None]
    arrays = [x[None, None] for x in halves([[1.0]], key, SMALLS[:, None])]
    instance = small_transformers.Instance(*arrays, oracle_size=17, oracle=oracle, scale=1.0)
    lost = lost_on_a_matrix_unit(np.exp(key[:, 0]), SMALLS, U)

    def granted(u: Precision) -> Any:
        return small_transformers.tolerance(instance, u.with_(u.name, Recombination, least=2.0**-9)).max()

    granted_because_of_it(lost, granted)
    certified = oracle_error(U, keys=17, terms=2, scale=1.0, largest=15.0, norms=16.0)
    assert certified.floor >= lost


# --- attention of order 3: a sum over one mode, which the numbers of another one then multiply ------------------------

LARGE = 2.0**14


def of_order_3(**changed: Any) -> list[Any]:
    """One query, one key of the first mode, and sixteen of the second one; all scores are 0."""
    arrays = {
        "query": [[0.0]], "key1": [[1.0]], "key2": np.ones((16, 1)), "value1": [[1.0]], "value2": np.ones((16, 1)),
    }  # fmt: skip
    return [x[None, None] for x in halves(*(arrays | changed).values())]


@pytest.mark.claim("TOLT-2")
def test_a_sum_over_one_mode_of_values_may_lose_it_times_the_values_of_the_next() -> None:
    instance = tensor_attention.Instance(*of_order_3(value1=[[LARGE]], value2=SMALLS[:, None]))
    lost = lost_on_a_matrix_unit(np.ones(16), SMALLS, U) / 16 * LARGE
    granted_because_of_it(lost, lambda u: tensor_attention.tolerance(instance, u).max())


def gradient_of_order_3(name: str, grad_output: Any = ((1.0,),), **changed: Any) -> Callable[[Precision], Any]:
    (incoming,) = halves(grad_output)
    instance = tensor_attention_gradient.Instance(*of_order_3(**changed), incoming[None, None], scale=1.0)
    return lambda u: OfTensors(instance, u).of(HANDED[0])[name].max()


@pytest.mark.claim("TOLT-2")
def test_a_product_of_incoming_gradients_and_values_may_lose_it_beside_the_values_of_another_mode() -> None:
    """dO times the first value is large, and is multiplied by values of the second mode: sixteen columns of them."""
    wide = np.ones((1, 1))
    lost = lost_on_a_matrix_unit(beside(LARGE), SMALLS, U)
    changed = {"key2": wide, "value1": beside(LARGE)[None], "value2": SMALLS[None]}
    granted_because_of_it(lost, gradient_of_order_3("grad_query", np.ones((1, 16)), **changed))


@pytest.mark.claim("TOLT-2")
def test_a_sum_of_probabilities_and_values_of_one_mode_may_lose_it_times_an_incoming_gradient() -> None:
    """dV of the first mode, of which the sum over the second one is multiplied by dO."""
    lost = lost_on_a_matrix_unit(np.full(16, 1 / 16), SMALLS, U) * LARGE
    changed = {"value1": [[0.0]], "value2": SMALLS[:, None]}
    granted_because_of_it(lost, gradient_of_order_3("grad_value1", [[LARGE]], **changed))


@pytest.mark.claim("TOLT-1")
def test_a_score_of_order_3_may_lose_it_beside_a_product_of_query_and_key() -> None:
    changed = {"query": np.full((1, 16), 2.0**7), "key1": beside(2.0**7, 2.0**-7)[None], "key2": SMALLS[None]}
    instance = tensor_attention.Instance(*of_order_3(**changed, value2=[[1.0]]), scale=1.0)
    flat, exact = over_combinations(instance), tensor_attention.evaluate(instance, 2.0**-34)
    lost = lost_on_a_matrix_unit(beside(LARGE), SMALLS, U)
    granted_because_of_it(
        lost, lambda u: weights(flat, u, exact, combined_products(instance, u)).score_error.max()
    )  # fmt: skip


@pytest.mark.claim("ROT-10")
def test_a_sum_over_entries_of_a_relative_matrix_may_lose_it_times_the_query() -> None:
    """The matrix has one row, whose sum with a subnormal key is multiplied by the first number of the query."""
    query, key = np.zeros((1, 16)), SMALLS[None]
    query[0, 0] = 2.0**8
    arrays = [x[None, None] for x in halves(query, key, [[1.0]])]
    support = tuple((0, column) for column in range(16))
    (relative,) = halves(beside(2.0**10)[:, None])
    instance = rope_attention.Instance(*arrays, relative=relative, support=support, scale=1.0)
    exact = rope_attention.evaluate(instance, 2.0**-34)
    lost = lost_on_a_matrix_unit(beside(2.0**10), SMALLS, U) * 2.0**8
    granted_because_of_it(
        lost, lambda u: weights(instance, u, exact, relative_products(instance, u)).score_error.max()
    )  # fmt: skip
