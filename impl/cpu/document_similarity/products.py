"""Tiles of a matrix product in float32: by torch where it may be used and is worth it, else by NumPy.

torch's products are several times as fast as NumPy's on some processors, and it has products of bfloat16 numbers, which
hold the numbers 0 and 1 and their sums up to 256 exactly.  It is used only if it is installed, and only in its exact
float32 arithmetic: a caller may have allowed torch to shorten float32 numbers in products.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["Numpy", "Torch", "bfloat16_products", "shared", "usable_torch"]

_WORTH_AN_IMPORT = 1 << 33  # multiplications: about half a second


class Numpy:
    """Products by NumPy; its library of linear algebra brings threads of its own."""

    parallel = False

    def matrix(self, documents: NDArray[np.float32]) -> Any:
        """Documents as the other methods take them."""
        return documents

    def tile(self, rows: int, columns: int) -> Any:
        """Room for a product."""
        return np.empty((rows, columns), np.float32)

    def product(self, left: Any, right: Any, out: Any) -> Any:
        """left·rightᵀ, written to the first rows and columns of ``out`` where these are all of it."""
        return np.matmul(left, right.T, out=out) if out.shape == (len(left), len(right)) else left @ right.T

    def largest(self, tile: Any) -> float:
        """The largest number of a product."""
        return float(tile.max())

    def array(self, tile: Any) -> NDArray[np.float32]:
        """The product as an array of NumPy."""
        result: NDArray[np.float32] = tile
        return result


class Torch:
    """Products by torch, by one of its threads each: the caller's own threads share the tiles."""

    parallel = True

    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def matrix(self, documents: NDArray[np.float32]) -> Any:
        """Documents as the other methods take them."""
        return self.torch.from_numpy(documents)

    def tile(self, rows: int, columns: int) -> Any:
        """Room for a product."""
        return self.torch.empty(rows, columns)

    def product(self, left: Any, right: Any, out: Any) -> Any:
        """left·rightᵀ, written to ``out`` where that has its size."""
        whole = out.shape == (len(left), len(right))
        return self.torch.mm(left, right.T, out=out) if whole else self.torch.mm(left, right.T)

    def largest(self, tile: Any) -> float:
        """The largest number of a product."""
        return float(tile.amax())

    def array(self, tile: Any) -> NDArray[np.float32]:
        """The product as an array of NumPy, without a copy."""
        result: NDArray[np.float32] = tile.numpy()
        return result


def usable_torch(work: int) -> Any:
    """torch, or ``None`` where it is missing, set to less than float32, or not worth an import for so much work."""
    if "torch" not in sys.modules and (work < _WORTH_AN_IMPORT or importlib.util.find_spec("torch") is None):
        return None
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError):  # installed and broken: what it would do faster is done without it
        return None
    return None if _shortened(torch) else torch


def _shortened(torch: Any) -> bool:
    """Whether torch may use fewer bits than float32 has in its products, as far as its switches say.

    There is one switch of old, and one for everything, for every backend and for its products.  torch refuses to read
    the old one where the new ones were set to anything else.
    """
    backends = torch.backends
    switches = (backends, backends.mkldnn, getattr(backends.mkldnn, "matmul", None))
    if any(getattr(switch, "fp32_precision", "none") not in ("none", "ieee") for switch in switches):
        return True
    try:
        return bool(torch.get_float32_matmul_precision() != "highest")
    except RuntimeError:
        return True


def bfloat16_products(torch: Any) -> bool:
    """Whether this processor multiplies bfloat16 numbers with sums in float32."""
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))


def shared(task: Callable[[int], None], parts: int, workers: int, torch: Any) -> Iterator[int]:
    """Do the tasks 0 … parts − 1, begun in this order, on threads; yield how many are done, whenever one is.

    Each thread lets torch use one thread; the number of torch's threads is set back at the end.
    """
    if workers == 1 and torch is None:
        for part in range(parts):
            task(part)
            yield part + 1
        return
    with contextlib.ExitStack() as stack:
        alone = None
        if torch is not None:
            stack.callback(torch.set_num_threads, torch.get_num_threads())

            def alone() -> None:
                torch.set_num_threads(1)

        with ThreadPoolExecutor(workers, initializer=alone) as pool:
            waiting = [pool.submit(task, part) for part in range(parts)]
            try:
                for done, future in enumerate(waiting, 1):
                    future.result()
                    yield done
            finally:
                for future in waiting:
                    future.cancel()
