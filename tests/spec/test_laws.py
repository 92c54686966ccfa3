"""Laws that problems share, on a problem that satisfies them all: every number times its position along the row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from assay.spec.instance import Instance, array
from assay.spec.laws import additive, apart, backwards, summed


@dataclass(frozen=True, eq=False)
class Rows(Instance):
    """Two arrays with an axis of rows in common."""

    problem = "rows"

    left: Any = array("rows columns")
    right: Any = array("rows others", optional=True)


def outputs(instance: Rows) -> dict[str, Any]:
    return {name: x * np.arange(1.0, x.shape[1] + 1) for name, x in instance.arrays().items()}


INSTANCE = Rows(np.arange(12.0).reshape(3, 4) + 1, np.arange(6.0).reshape(3, 2) - 7)
LAWS: dict[str, Any] = {
    "backwards": backwards("rows", "absent", place=(0,)),
    "additive": additive("left", "right"),
    "apart": apart("rows", 0),
    "summed": (
        lambda instance, rng: (instance.replace(left=-instance.left, right=-instance.right),),
        summed(lambda i, x: -x),
    ),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_law_predicts_every_output_from_those_of_other_instances(law: Any) -> None:
    transform, relate = law
    transformed = transform(INSTANCE, np.random.default_rng(0))
    assert all(other.digest() != INSTANCE.digest() for other in transformed)
    predictions = relate(INSTANCE, transformed, tuple(map(outputs, transformed)))
    assert predictions.keys() == {"left", "right"}
    for name, value in outputs(INSTANCE).items():
        assert (predictions[name].value == value).all()


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_an_error_moves_a_prediction_by_its_weight(law: Any) -> None:
    transform, relate = law
    transformed = transform(INSTANCE, np.random.default_rng(0))
    right = tuple(map(outputs, transformed))
    for number in range(len(transformed)):
        wrong = tuple({name: x + (k == number) for name, x in values.items()} for k, values in enumerate(right))
        for name, prediction in relate(INSTANCE, transformed, wrong).items():
            moved = np.abs(prediction.value - outputs(INSTANCE)[name])
            assert (moved == prediction.weights[number]).all()


def test_each_number_is_in_one_of_two_instances() -> None:
    first, second = LAWS["additive"][0](INSTANCE, np.random.default_rng(1))
    assert (first.left + second.left == INSTANCE.left).all()
    assert ((first.left == 0) != (second.left == 0)).all()


def test_the_indices_of_a_long_axis_are_not_taken_apart() -> None:
    transform, _ = apart("rows", 0, most=2)
    assert transform(INSTANCE, np.random.default_rng(0)) == ()
