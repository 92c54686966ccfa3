"""The classes of machine arithmetic: which exist, and how a user makes another."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from assay.spec.floats import dtype_named
from assay.spec.precision import PRECISIONS, precision
from assay.spec.problem import PROBLEMS, problem
from assay.spec.softmax.rounding import Softmax

NAMES = ["float64", "float32", "tf32", "bfloat16", "float16", "bfloat16-eager", "float16-eager", "float8-e4m3"]


@pytest.mark.parametrize("name", NAMES)
def test_a_named_class_is_found_and_calls_itself_so(name: str) -> None:
    assert precision(name).name == name
    assert precision(name) is PRECISIONS[name]


def test_there_are_no_other_named_classes() -> None:
    assert sorted(PRECISIONS) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_class_stores_in_types_that_exist_and_rounds_by_less_than_one(name: str) -> None:
    u = precision(name)
    assert dtype_named(u.storage).name == u.storage
    assert dtype_named(u.result).name == u.result
    for item in ("input_rounding", "product", "accumulate", "working", "elementary", "operand", "stored", "output"):
        assert 0.0 <= getattr(u, item) < 1.0
    assert 0.0 < u.tiny < 1.0 < u.largest_output <= u.largest


@pytest.mark.parametrize("name", NAMES)
def test_the_stages_of_a_softmax_follow_from_the_machine(name: str) -> None:
    u = precision(name)
    soft = u.of(Softmax)
    assert soft == Softmax.usual(u)
    for item in ("query_rounding", "stored_score", "exp", "rescale", "tanh", "probability", "value_rounding"):
        assert 0.0 <= getattr(soft, item) < 1.0
    assert soft.largest_score <= soft.largest_sum == u.largest
    assert soft.normalised == (soft.stored_times > 0) == (soft.lag == 0.0) == name.endswith("-eager")


def test_the_stages_of_every_class_are_these() -> None:
    """A change of one of these numbers is a change of tolerances, and of verdicts."""
    table = {
        name: (soft.query_rounding, soft.stored_score, soft.exp, soft.rescale, soft.tanh, soft.probability)
        for name, soft in ((name, u.of(Softmax)) for name, u in PRECISIONS.items())
    }
    assert table == {
        "float64": (0.0, 0.0, 2.0**-50, 2.0**-50, 2.0**-50, 0.0),
        "float32": (0.0, 0.0, 2.0**-21, 2.0**-21, 2.0**-21, 0.0),
        "tf32": (2.0**-10, 0.0, 2.0**-21, 2.0**-21, 2.0**-21, 2.0**-10),
        "bfloat16": (0.0, 0.0, 2.0**-12, 2.0**-21, 2.0**-10, 2.0**-8),
        "float16": (0.0, 0.0, 2.0**-12, 2.0**-21, 2.0**-10, 2.0**-11),
        "bfloat16-eager": (2.0**-7, 2.0**-8, 2.0**-8, 2.0**-8, 2.0**-10, 2.0**-8),
        "float16-eager": (2.0**-10, 2.0**-11, 2.0**-11, 2.0**-11, 2.0**-10, 2.0**-11),
        "float8-e4m3": (0.0, 0.0, 2.0**-12, 2.0**-21, 2.0**-10, 2.0**-4),
    }


def test_with_defines_a_class_of_the_user_and_leaves_the_named_one() -> None:
    mine = precision("float32").with_("mine", product=2.0**-20, elementary=2.0**-12)
    assert (mine.name, mine.product, mine.of(Softmax).exp) == ("mine", 2.0**-20, 2.0**-12)
    assert mine.accumulate == precision("float32").accumulate
    assert precision("float32").product == 2.0**-24
    assert precision(mine) is mine
    assert "mine" not in PRECISIONS


def test_with_changes_one_rounding_of_a_stage_and_keeps_it_when_the_machine_changes() -> None:
    mine = precision("float32").with_("mine", Softmax, tile=8).with_("coarse", elementary=2.0**-12)
    assert (mine.of(Softmax).tile, mine.of(Softmax).exp) == (8, precision("float32").of(Softmax).exp)
    twice = mine.with_("twice", Softmax, exp=2.0**-9)
    assert (twice.of(Softmax).tile, twice.of(Softmax).exp, len(twice.stages)) == (8, 2.0**-9, 1)


@pytest.mark.parametrize("kind", [None, Softmax])
def test_an_unknown_entry_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match="roundings"):
        precision("float32").with_("mine", kind, roundings=3)


def test_a_problem_may_have_classes_of_its_own() -> None:
    exact = precision("float32").with_("float32-exact-angles", elementary=0.0)
    assert precision(exact.name, {**PRECISIONS, exact.name: exact}) is exact
    with pytest.raises(ValueError, match="'float32-exact-angles': expected one of float64, "):
        precision(exact.name)
    assert all(set(problem(name).PRECISIONS) for name in PROBLEMS)


def test_a_class_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        precision("float32").product = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("fp32", "float32"), ("bf16-eager", "bfloat16-eager"), ("half", "float16"), ("FLOAT64", "float64")],
)
def test_an_abbreviated_name_is_told_the_class_that_it_means(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=rf" \(did you mean {meant}\?\): expected"):
        precision(name)


@pytest.mark.parametrize("name", ["float31", "", "FLOAT32", "bf16"])
def test_an_unknown_name_gives_one_line_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="unknown precision class") as caught:
        precision(name)
    message = str(caught.value)
    assert "\n" not in message
    assert repr(name) in message
    assert all(known in message for known in NAMES)
