"""What problems with a softmax share, through an instance that is not attention's: one more array, other order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.spec.attention import Instance, evaluate
from assay.spec.instance import array, real
from assay.spec.precision import PRECISIONS, precision
from assay.spec.problem import InvalidInstance
from assay.spec.softmax.masks import Masked, attends
from assay.spec.softmax.rounding import Softmax
from assay.spec.softmax.weights import weights

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Pulled(Masked):
    """Attention with one more array after the values, as its gradient has it."""

    problem = "pulled"

    query: NDArray[Any] = array("batch heads queries dim")
    key: NDArray[Any] = array("batch key_heads keys dim", like="query")
    value: NDArray[Any] = array("batch key_heads keys value_dim", like="query")
    pull: NDArray[Any] = array("batch heads queries value_dim", like="query")
    scale: float | None = real(None, plain=1.0)
    is_causal: bool = False
    causal: str | None = None
    window: tuple[int | None, int | None] | None = None
    mask: NDArray[np.bool_] | None = array("batch heads queries keys", kind="truth", optional=True, broadcast=True)
    bias: NDArray[Any] | None = array(
        "batch heads queries keys", optional=True, broadcast=True, values="finite or −inf"
    )
    key_lengths: NDArray[np.integer[Any]] | None = array("batch", kind="whole", optional=True)
    softcap: float | None = real(None)
    sink: NDArray[Any] | None = array("heads", optional=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_masks()


def arrays(seed: int = 0) -> tuple[NDArray[np.float32], ...]:
    rng = np.random.default_rng(seed)
    shapes = ((2, 4, 3, 5), (2, 2, 6, 5), (2, 2, 6, 2), (2, 4, 3, 2))
    return tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)


def pulled(**options: Any) -> Pulled:
    return Pulled(*arrays(), **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"causal": "bottom-right", "key_lengths": np.array([6, 4])},
        {"window": (1, 0)},
        {"bias": np.where(np.arange(6) % 2, 0.0, -np.inf).astype(np.float32)[None, None, None]},
    ],
    ids=lambda options: " ".join(options) or "none",
)
def test_masks_are_those_of_attention(options: Any) -> None:
    instance = pulled(**options)
    assert (instance.visible() == Instance(*arrays()[:3], **options).visible()).all()


def test_a_part_takes_the_groups_of_heads_and_the_array_of_its_own() -> None:
    part = pulled(key_lengths=np.array([6, 4])).part(heads=[2, 3], queries=[1], keys=range(5))
    assert part.lengths() == {
        "batch": 2, "heads": 2, "queries": 1, "dim": 5, "key_heads": 1, "keys": 5, "value_dim": 2
    }  # fmt: skip
    assert (part.pull == arrays()[3][:, 2:, 1:2]).all()
    assert part.key_lengths is not None
    assert part.key_lengths.tolist() == [5, 4]


def test_what_a_mask_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(InvalidInstance, match=r"^window: \(1, -1\), expected"):
        pulled(window=(1, -1))
    query, key, value, pull = arrays()
    key, value = (np.repeat(array, 2, axis=1)[:, :3] for array in (key, value))
    with pytest.raises(InvalidInstance, match=r"^query: 4 heads, expected a multiple of the 3 heads of key$"):
        Pulled(query, key, value, pull)


def test_the_usual_scale_is_no_option_and_another_one_is() -> None:
    assert pulled().options() == {}
    assert pulled(scale=0.5).options() == {"scale": 0.5}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[1, 1, 1], [1, 1, 1]]),
        ({"length": 1}, [[1, 0, 0], [1, 0, 0]]),
        ({"causal": "top-left"}, [[1, 0, 0], [1, 1, 0]]),
        ({"causal": "bottom-right"}, [[1, 1, 0], [1, 1, 1]]),
        ({"causal": "bottom-right", "length": 2}, [[1, 0, 0], [1, 1, 0]]),
        ({"window": (0, 0)}, [[1, 0, 0], [0, 1, 0]]),
        ({"window": (None, 1)}, [[1, 1, 0], [1, 1, 1]]),
        ({"window": (0, None), "causal": "bottom-right"}, [[0, 1, 0], [0, 0, 1]]),
    ],
)
def test_every_mask_means_what_it_says(options: Any, expected: list[list[int]]) -> None:
    assert attends(2, 3, **options).astype(int).tolist() == [expected]


@pytest.mark.parametrize("name", PRECISIONS)
def test_weights_ask_an_instance_for_what_every_problem_with_a_softmax_has(name: str) -> None:
    u = precision(name)
    same = Instance(*arrays()[:3], sink=np.ones(4, np.float32))
    exact = evaluate(same)
    mine, theirs = weights(pulled(sink=same.sink), u, exact), weights(same, u, exact)
    for item in ("spread", "score_error", "lower_mass", "probability", "inside"):
        assert (getattr(mine, item) == getattr(theirs, item)).all()
    assert (mine.count == 7).all()
    assert mine.merges(u.of(Softmax)) == 1
