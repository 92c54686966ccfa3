"""Products of matrices in pieces, and the largest values among the keys of a row, are what they are at once."""

from __future__ import annotations

import numpy as np
import pytest

from assay.spec.attention.extremes import extremes
from assay.spec.enclosure import products
from assay.spec.enclosure.products import matrix_product


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)),
        ((200, 64), (64, 128)),
        ((2, 3, 300, 33), (2, 3, 33, 90)),
        ((2, 1, 129, 64), (3, 64, 128)),
        ((7000, 2), (2, 3)),
        ((64,), (64, 128)),
        ((0, 64), (64, 128)),
    ],
)
def test_a_product_in_pieces_is_the_product(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.integers(-9, 10, a).astype(np.float64), rng.integers(-9, 10, b).astype(np.float64)
    assert np.array_equal(matrix_product(left, right), left @ right)


def test_no_piece_of_a_small_product_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    whole = np.matmul

    def seen(a: np.ndarray, b: np.ndarray, **given: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        sizes.append(a.shape[-2] * a.shape[-1] * b.shape[-1])
        return whole(a, b, **given)

    monkeypatch.setattr(products.np, "matmul", seen)
    matrix_product(np.ones((2, 500, 64)), np.ones((64, 128)))
    assert sizes
    assert max(sizes) <= 1 << 18


ATTENDED = {
    "all": np.ones((5, 9), bool),
    "causal": np.tril(np.ones((9, 9), bool)),
    "window": np.triu(np.tril(np.ones((9, 9), bool), 2), -1),
    "padded": np.arange(9) < np.array([0, 1, 2, 7, 9])[:, None],
    "any": np.random.default_rng(1).random((20, 33)) < 0.3,
    "alike": np.repeat(np.random.default_rng(2).random((3, 33)) < 0.5, 4, axis=0),
    "none": np.zeros((3, 4), bool),
    "no key": np.zeros((3, 0), bool),
}


@pytest.mark.parametrize("name", ATTENDED)
def test_extremes_are_those_of_the_attended_keys(name: str) -> None:
    attended = ATTENDED[name]
    value = np.random.default_rng(3).standard_normal((attended.shape[1], 3))
    largest, least = extremes(attended, value)
    for row, keys in enumerate(attended):
        assert np.array_equal(largest[row], value[keys].max(axis=0, initial=-np.inf))
        assert np.array_equal(least[row], value[keys].min(axis=0, initial=np.inf))
