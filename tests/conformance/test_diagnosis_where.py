"""Where an output is wrong and what stands there: a table of ways to spoil a right answer, and what is told of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.conformance.diagnosis.factors import of_output
from assay.conformance.diagnosis.where import indices, seen, told
from assay.conformance.interface.steps import Output
from assay.spec.criterion import close
from assay.spec.enclosure import Enclosure

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay.conformance.diagnosis.where import Seen

AXES = ("batch", "heads", "rows")
SHAPES = ((2, 8, 5), (3, 8, 20), (2, 12, 40), (1, 8, 33))


def spoilt(change: Callable[[Any], Any], of: Callable[[Any], Any] | None = None) -> list[Seen]:
    """An output in several shapes, each of whose right answers, random or ``of`` their shape, was changed."""
    of = np.random.default_rng(1).standard_normal if of is None else of
    views = []
    for shape in SHAPES:
        right = of(shape)
        criterion = close(Enclosure(right, np.zeros(shape)), np.full(shape, 1e-6))
        output = Output("output", shape, ("float64",), AXES)
        lengths = dict(zip(AXES, shape, strict=True))
        values, criteria, outputs = {"output": change(right.copy())}, {"output": criterion}, {"output": output}
        views.append(seen(values, criteria, outputs, lengths)["output"])
    return views


def blank(*place: Any) -> Callable[[Any], Any]:
    def change(x: Any) -> Any:
        x[place] = 0.0
        return x

    return change


def shifted(x: Any) -> Any:
    x[..., 4:] = x[..., 3:-1].copy()
    return x


def tails(x: Any) -> Any:
    n = x.shape[-1]
    x[..., n - n % 16 :] = np.nan if n % 16 else x[..., n:]
    return x


def first_head(x: Any) -> Any:
    return x[:, :1].repeat(x.shape[1], 1)


TABLE = (
    (blank(slice(None), slice(5, None)), "only heads from 5 on are wrong, and what stands there is 0"),
    (blank(slice(None), 3), "only heads 3 are wrong, and what stands there is 0"),
    (blank(Ellipsis, -1), "only the last of rows are wrong, and what stands there is 0"),
    (shifted, "only rows from 4 on are wrong, and what stands there is right for rows i − 1"),
    (tails, "only rows beyond the last whole tile of 16 are wrong, and what stands there is NaN"),
    (first_head, "only all of heads but 0 are wrong, and what stands there is right for heads 0"),
    (lambda x: x[:, ::-1], "every number is right for heads n − 1 − i"),
    (lambda x: np.roll(x, 1, axis=2), "every number is right for rows (i − 1) mod n"),
    (lambda x: x.swapaxes(1, 2).reshape(x.shape), "every number is right with heads and rows exchanged in memory"),
    (lambda x: np.broadcast_to(x.sum(1, keepdims=True), x.shape), "every number is the sum over heads"),
)  # fmt: skip


@pytest.mark.parametrize(("change", "words"), TABLE, ids=[words for _, words in TABLE])
def test_what_was_done_to_an_answer_is_told(change: Callable[[Any], Any], words: str) -> None:
    sentence = told(spoilt(change), "output", several=False)
    assert sentence.replace("what is wrong", "every number") == words


def test_noise_has_no_place() -> None:
    rng = np.random.default_rng(2)
    assert told(spoilt(lambda x: np.where(rng.random(x.shape) < 0.3, rng.random(x.shape), x)), "output", False) == ""


def test_a_right_answer_has_no_place() -> None:
    assert told(spoilt(lambda x: x), "output", several=False) == ""


def test_a_constant_is_told_only_where_the_right_answer_is_none() -> None:
    def constant(x: Any) -> Any:
        return np.full_like(x, 0.75)

    assert "all the same number" in told(spoilt(constant), "output", several=False)
    assert told(spoilt(constant, np.ones), "output", several=False) == ""


def test_two_batches_are_too_few_to_name_one_of_them() -> None:
    few = [view for view in spoilt(blank(slice(1, 2))) if view.got.shape[0] == 2][:1]
    assert "batch" not in told(few, "output", several=False)


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1.0001, "every output is 1.0001 times the exact one"),
        (2**-0.5, "every output is 0.707107 (1/√2) times the exact one"),
        (-1.0, "every output is -1 times the exact one"),
    ],
)
def test_a_factor_is_told_as_one(factor: float, words: str) -> None:
    assert of_output(spoilt(lambda x: factor * x), "output", several=False) == words


def test_a_factor_that_is_a_length_is_told_by_its_axis() -> None:
    words = "every output is 1 / the number of rows times the exact one"
    assert of_output(spoilt(lambda x: x / x.shape[2]), "output", several=False) == words


def test_what_is_nearly_right_has_no_factor() -> None:
    assert of_output(spoilt(lambda x: x + 2e-6), "output", several=False) == ""


def test_no_axis_is_named_of_which_one_length_alone_was_seen() -> None:
    """Heads from 2 on are wrong, and every failure has two batches: nothing says that it is the number of batches."""

    def failing(batch: int, heads: int) -> tuple[np.ndarray[Any, Any], dict[str, int]]:
        return np.arange(heads) >= 2, {"heads": heads, "batch": batch}

    hidden = (np.arange(5) >= 3, {"heads": 5, "batch": 2})  # the third head happens to be right
    same = [*(failing(2, heads) for heads in (3, 4, 6, 7, 8, 9)), hidden]
    place = indices("heads", same)
    assert place is not None
    assert place.words == "heads from 2 on"
    both = [(np.arange(heads) >= batch, {"heads": heads, "batch": batch}) for heads, batch in ((9, 3), (8, 2), (7, 4))]
    place = indices("heads", both)
    assert place is not None
    assert place.words == "heads from the number of batch on"
