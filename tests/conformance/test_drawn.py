"""The strategy that is derived from a suite's table and the axes of its instances: what it draws, how it shrinks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis.errors import NoSuchExample
from toy.suites import DOUBLING, EDGES, FIRING, TOTALS

from assay.conformance.judge.drawn import drawn_cases, instances_of
from assay.spec.precision import precision

SUITES = {suite.problem: suite for suite in (DOUBLING, FIRING, TOTALS, EDGES)}
FLOAT32 = precision("float32")
EVERYTHING = frozenset({"factor", "concurrent_calls"})

suites = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
FIND = settings(database=None, derandomize=True, max_examples=2000, suppress_health_check=list(HealthCheck))


def smallest(suite: Any, condition: Any, capabilities: Any = EVERYTHING) -> Any:
    return find(instances_of(suite, FLOAT32, capabilities), condition, settings=FIND)


@suites
def test_what_is_drawn_is_a_valid_instance_of_the_type_of_the_class(suite: Any) -> None:
    @settings(max_examples=40, derandomize=True, database=None, phases=(Phase.generate,))
    @given(instances_of(suite, precision("float64"), EVERYTHING))
    def check(instance: Any) -> None:
        assert type(instance) is suite.spec.Instance
        reals = [array for array in instance.arrays().values() if array.dtype.kind == "f"]
        assert {array.dtype.name for array in reals} == {"float64"}
        assert instance.provenance.family == "drawn"
        assert instance.digest() == instance.replace().digest()

    check()


@suites
def test_it_shrinks_to_one_of_everything_and_zeros(suite: Any) -> None:
    small = smallest(suite, lambda instance: instance.provenance.note == "tiny")
    assert set(small.lengths().values()) == {1}
    reals = [array for array in small.arrays().values() if array.dtype.kind == "f"]
    assert not any(array.any() for array in reals)


def test_it_shrinks_to_the_shortest_axis_and_the_plainest_number_that_will_do() -> None:
    small = smallest(DOUBLING, lambda instance: len(instance.points) >= 3 and instance.points[2] > 1.0)
    assert len(small.points) == 3
    assert small.points[2] == np.float32(1 + 1 / 16)
    assert not small.points[:2].any()
    assert small.factor == 2.0


def test_rows_with_an_option_are_drawn_only_for_kernels_that_have_it() -> None:
    assert smallest(DOUBLING, lambda instance: instance.factor != 2.0).factor == 3.0
    with pytest.raises(NoSuchExample):
        smallest(DOUBLING, lambda instance: instance.factor != 2.0, frozenset())


def test_a_case_that_is_drawn_says_so() -> None:
    case = find(drawn_cases(EDGES, FLOAT32, EVERYTHING), lambda case: True, settings=FIND)
    assert case.name.startswith("drawn: ")
    assert case.family.id == "drawn"
    assert not case.after
    assert not case.beside
