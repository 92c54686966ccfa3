"""A rotation of one library before the attention of the same or another one, as models compose them.

Any built-in kernel of ``rope`` and any of ``attention`` that take arrays of one framework go together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.suite import suite

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["composed"]

#: Keywords of a rotation, as kernels of ``rope`` name them.
_ROTATION = (
    "base", "layout", "rotary_dim", "scaling", "factor", "original_length", "low_frequency", "high_frequency",
    "truncate", "attention_factor",
)  # fmt: skip
#: What a rotation lacks → what attention after it lacks.
_LACKS = {"offset_positions": "positions", "any_positions": "any_positions", "grouped_heads": "rotary"}


def composed(name: str, rotation: str, attention: str, *lacks: str) -> Kernel:
    """The kernel under ``name``.  rotation, attention: names of built-in kernels of ``rope`` and of ``attention``.

    Queries are rotated in a call of their own, and so are keys: the frequencies of ``dynamic``, which depend on the
    positions of both, are not asked for.
    """
    turns, attends = suite("rope").targets[rotation].load(), suite("attention").targets[attention].load()
    assert turns.framework == attends.framework
    keywords = (turns.keywords & set(_ROTATION)) | attends.keywords | {"base"}
    if "offset_positions" not in turns.lacks:
        keywords |= {"query_positions", "key_positions"}
    if "bias" in attends.keywords:
        keywords |= {"relative_bias"}
    missing = {_LACKS.get(lack, lack) for lack in turns.lacks} | attends.lacks | {"dynamic", *lacks}
    return Kernel(
        name,
        _function(turns.function, attends.function, _FRAMEWORKS[turns.framework]),
        turns.framework,
        frozenset(keywords),
        {**attends.conventions, **turns.conventions},
        frozenset(missing),
        f"{turns.version} {attends.version}".strip(),
    )


def _function(turns: Callable[..., Any], attends: Callable[..., Any], counted: Callable[[int], Any]) -> Any:
    def kernel(
        query: Any, key: Any, value: Any, *, base: float, query_positions: Any = None, key_positions: Any = None,
        relative_bias: Any = None, **options: Any,
    ) -> Any:  # fmt: skip
        rotation = {name: options.pop(name) for name in _ROTATION if name in options}

        def turned(x: Any, positions: Any) -> Any:
            places = counted(x.shape[2]) if positions is None else positions
            return turns(x, x[:, :1], places, base=base, **rotation)[0]

        if relative_bias is not None:
            n_q, n_k = query.shape[2], key.shape[2]
            offsets = counted(n_q)[:, None] - counted(n_k) + (n_k - 1)
            options["bias"] = relative_bias[:, offsets][None]
        return attends(turned(query, query_positions), turned(key, key_positions), value, **options)

    return kernel


def _torch(length: int) -> Any:
    import torch

    return torch.arange(length)


def _jax(length: int) -> Any:
    import jax.numpy as jnp

    return jnp.arange(length)


def _numpy(length: int) -> Any:
    import numpy as np

    return np.arange(length)


#: Framework → 0 … n − 1 in its arrays.
_FRAMEWORKS: dict[str, Callable[[int], Any]] = {"torch": _torch, "jax": _jax, "numpy": _numpy}
