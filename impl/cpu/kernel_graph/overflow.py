"""Numbers that leave float64 on the way end in a bound that is no number, which is refused: no need to warn."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["unwarned"]

Given = ParamSpec("Given")
Found = TypeVar("Found")


def unwarned(call: Callable[Given, Found]) -> Callable[Given, Found]:
    """The same function, in which NumPy does not warn of overflow, underflow, division by 0 and what is no number."""

    @functools.wraps(call)
    def called(*given: Given.args, **named: Given.kwargs) -> Found:
        with np.errstate(all="ignore"):
            return call(*given, **named)

    return called
