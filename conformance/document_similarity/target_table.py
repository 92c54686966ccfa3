"""Functions of libraries that return the similarities, or the distances, of all pairs: the best is chosen here.

Sources: ``sklearn.metrics.pairwise.cosine_similarity``, ``scipy.spatial.distance.cdist``,
``torch.nn.functional.cosine_similarity`` and ``gensim.similarities.MatrixSimilarity``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.document_similarity.interface import adapted
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["gensim", "scikit_learn", "scipy", "torch"]


def _kernel(name: str, package: str, function: Callable[..., Any], *lacks: str, framework: str = "numpy") -> Kernel:
    return Kernel(
        name,
        adapted(function, framework),
        framework,
        keywords_of(function, "document_similarity"),
        lacks=frozenset(lacks),
        version=importlib.metadata.version(package),
    )


def best(table: NDArray[Any], *, alone: bool, least: bool) -> tuple[int, int, Any]:
    """The best pair of a table of similarities, without the diagonal where there is one collection."""
    wanted = np.array(-table if least else table, dtype=np.promote_types(table.dtype, np.float32))
    if alone:
        np.fill_diagonal(wanted, -np.inf)
    i, j = np.unravel_index(int(np.argmax(wanted)), wanted.shape)
    return int(i), int(j), table[i, j]


# --- scikit-learn -----------------------------------------------------------------------------------------------------


def scikit_learn(name: str) -> Kernel:
    importlib.import_module("sklearn.metrics.pairwise")
    return _kernel(name, "scikit-learn", _scikit_learn)


def _scikit_learn(left: Any, right: Any = None, *, least: bool = False, measure: str = "cosine") -> Any:
    from sklearn.metrics import pairwise

    function = pairwise.cosine_similarity if measure == "cosine" else pairwise.linear_kernel
    return best(np.asarray(function(left, right)), alone=right is None, least=least)


# --- SciPy ------------------------------------------------------------------------------------------------------------


def scipy(name: str) -> Kernel:
    importlib.import_module("scipy.spatial.distance")
    kernel = _kernel(name, "scipy", _scipy)
    return Kernel(
        name, kernel.function, keywords=kernel.keywords, conventions={"through": "distance"}, version=kernel.version
    )


def _scipy(left: Any, right: Any = None, *, least: bool = False) -> Any:
    from scipy.spatial.distance import cdist

    distances = cdist(left, left if right is None else right, "cosine")
    i, j, distance = best(distances, alone=right is None, least=not least)
    return i, j, 1.0 - distance


# --- PyTorch ----------------------------------------------------------------------------------------------------------


def torch(name: str) -> Kernel:
    importlib.import_module("torch")
    return _kernel(name, "torch", _torch, framework="torch")


def _torch(left: Any, right: Any = None, *, least: bool = False) -> Any:
    import torch

    with torch.inference_mode():
        other = left if right is None else right
        table = torch.nn.functional.cosine_similarity(left[:, None], other[None], dim=2)
        wanted = (-table if least else table).double()
        if right is None:
            wanted.fill_diagonal_(-torch.inf)
        flat = int(torch.argmax(wanted))
        i, j = divmod(flat, table.shape[1])
        return torch.tensor(i), torch.tensor(j), table[i, j]


# --- gensim -----------------------------------------------------------------------------------------------------------


def gensim(name: str, *, sparse: bool) -> Kernel:
    importlib.import_module("gensim.similarities")
    return _kernel(name, "gensim", functools.partial(_gensim, sparse))


def _gensim(sparse: bool, left: Any, right: Any = None, *, least: bool = False) -> Any:
    from gensim.similarities import MatrixSimilarity, SparseMatrixSimilarity

    texts = _texts(left)
    others = texts if right is None else _texts(right)
    if sparse:
        index = SparseMatrixSimilarity(others, num_features=left.shape[1])
    else:
        index = MatrixSimilarity(others, num_features=left.shape[1])
    table = np.array([np.asarray(index[text]) for text in texts])
    return best(table, alone=right is None, least=least)


def _texts(documents: Any) -> list[list[tuple[int, float]]]:
    """Documents as gensim has them: (word, weight) of the words that occur."""
    return [[(int(word), float(row[word])) for word in np.flatnonzero(row)] for row in documents]
