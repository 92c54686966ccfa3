"""The classes of machine arithmetic: which exist, and how a user makes another."""

from __future__ import annotations

import dataclasses

import pytest

from assay.spec.floats import dtype_named
from assay.spec.precision import PRECISIONS, precision

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
    for item in ("input_rounding", "product", "stored_score", "exp", "rescale", "tanh", "probability", "output"):
        assert 0.0 <= getattr(u, item) < 1.0
    assert 0.0 < u.tiny < 1.0 < u.largest_score
    assert u.stored_times >= 0
    assert u.tile >= 1


def test_with_defines_a_class_of_the_user_and_leaves_the_named_one() -> None:
    mine = precision("float32").with_("mine", product=2.0**-20, tile=8)
    assert (mine.name, mine.product, mine.tile) == ("mine", 2.0**-20, 8)
    assert mine.exp == precision("float32").exp
    assert precision("float32").product == 2.0**-24
    assert precision(mine) is mine
    assert "mine" not in PRECISIONS


def test_an_unknown_entry_is_refused() -> None:
    with pytest.raises(TypeError, match="roundings"):
        precision("float32").with_("mine", roundings=3)


def test_a_class_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        precision("float32").product = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("name", ["float31", "", "FLOAT32", "bf16"])
def test_an_unknown_name_gives_one_line_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="unknown precision class") as caught:
        precision(name)
    message = str(caught.value)
    assert "\n" not in message
    assert repr(name) in message
    assert all(known in message for known in NAMES)
