"""Lost precision of a rotation is told of kernels that round, and of no kernel that is wrong in another way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from bank.verdicts import Verdicts
    from numpy.typing import NDArray

    Array = NDArray[Any]


def _rotation(moved: Callable[[Array], Array], pairs_at: Callable[[Array], Array] | None = None) -> Any:
    """A rotation of halves in exact angles at other positions; of pairs, at the positions that pairs_at names."""

    def rotate(query: Any, key: Any, positions: Any, *, base: float) -> Any:
        half = query.shape[3] // 2
        places = np.broadcast_to(positions, (query.shape[0], query.shape[2]))
        angle = moved(places.astype(np.float64))[:, None, :, None] * base ** (-np.arange(half) / half)
        cos, sin = np.cos(angle).astype(query.dtype), np.sin(angle).astype(query.dtype)

        def turned(x: Any) -> Any:
            a, b = x[..., :half], x[..., half:]
            out = np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=3)
            if pairs_at is None:
                return out
            a, b = x[..., 0::2], x[..., 1::2]
            pairs = np.stack([a * cos - b * sin, b * cos + a * sin], axis=4).reshape(x.shape)
            return np.where(pairs_at(places)[:, None, :, None], pairs, out)

        return turned(query), turned(key)

    return rotate


def _judge(function: Any, verdicts: Verdicts) -> Judge:
    return Judge(
        kernel_of(function, "rope"), verdicts.precision("float32-exact-angles"), references=verdicts.references
    )


WRONG = {
    "the last row of a table of 700": _rotation(lambda p: np.minimum(p, 700)),
    "no rotation beyond 700": _rotation(lambda p: np.where(p > 700, 0, p)),
    "off by one beyond 700": _rotation(lambda p: np.where(p > 700, p + 1, p)),
    "turned back at odd positions beyond 512": _rotation(lambda p: np.where((p > 512) & (p % 2 == 1), -p, p)),
    "pairs for halves at odd positions beyond 512": _rotation(lambda p: p, lambda p: (p > 512) & (p % 2 == 1)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_kernel_that_is_wrong_beyond_some_position_has_lost_no_precision(name: str, verdicts: Verdicts) -> None:
    assert _judge(WRONG[name], verdicts).losses() == []


def _rounded(bits: int) -> Callable[[Array], Array]:
    def moved(p: Array) -> Array:
        unit = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(p), 1.0))) + 1 - bits)
        return np.asarray(np.rint(p / unit) * unit)

    return moved


@pytest.mark.parametrize("bits", [6, 8, 11, 14])
def test_the_bits_that_positions_keep_are_measured(bits: int, verdicts: Verdicts) -> None:
    (loss,) = _judge(_rotation(_rounded(bits)), verdicts).losses()
    assert loss.stage.id == "positions"
    assert abs(loss.bits - bits) <= 1.1


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_positions_in_a_short_type_are_told_as_such(name: str, verdicts: Verdicts) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    with np.errstate(all="ignore"):
        lost = _judge(_rotation(lambda p: p.astype(dtype).astype(np.float64)), verdicts).losses()
    assert [loss.stage.id for loss in lost] == ["positions"]
