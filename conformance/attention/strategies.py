"""Hypothesis strategies of attention: instances that shrink to tiny shapes without options.

:func:`instances` is public: use it in your own property tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from assay.conformance.attention.interface import INTERFACE
from assay.conformance.attention.options import build
from assay.conformance.softmax.patterns import Shape
from assay.spec.attention import Instance
from assay.spec.floats import dtype_named
from assay.spec.precision import Precision
from assay.spec.precision import precision as precision_named
from assay.spec.problem import Provenance

if TYPE_CHECKING:
    from collections.abc import Set

__all__ = ["instances"]

_OPTIONS: dict[str, tuple[str, ...]] = {
    "causal_top_left": ("causal",),
    "causal_bottom_right": ("bottom-right",),
    "window": ("window=1,1", "window=3,0", "window=*,2", "window=5,*"),
    "mask": ("mask", "mask-empty", "mask-left"),
    "bias": ("bias", "bias-heads", "bias-inf"),
    "key_lengths": ("lengths", "lengths-zero"),
    "softcap": ("softcap=1.7", "softcap=20.3"),
    "sink": ("sink",),
    "return_lse": ("lse",),
}
_PATTERNS = (
    "normal",
    "large",
    "integers",
    "constant",
    "planted",
    "row-levels",
    "odd-scale",
    "negative-scale",
    "two-levels",
    "biased-exp",
    "ramp-up",
    "steep-ramp",
    "shifted-up",
    "shifted-down",
    "small-numbers",
    "huge-values",
)
_LENGTHS = (*tuple(range(1, 10)), 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 129)
_DIMS = (1, 2, 3, 4, 5, 7, 8, 16, 17, 32, 40, 64, 80)


_EVERY = frozenset(capability.name for capability in INTERFACE.capabilities)


@st.composite
def _built(draw: st.DrawFn, precision: Precision, capabilities: Set[str]) -> Instance:
    """A pattern in a shape, with options that the kernel supports."""
    key_heads = draw(st.sampled_from((1, 2, 3)))
    group = draw(st.sampled_from((1, 2, 4))) if "grouped_heads" in capabilities else 1
    n_q = draw(st.sampled_from(_LENGTHS))
    n_k = draw(st.sampled_from(_LENGTHS)) if "cross_lengths" in capabilities else n_q
    dim = draw(st.sampled_from(_DIMS))
    value_dim = draw(st.sampled_from(_DIMS)) if "value_dim" in capabilities else dim
    shape = Shape(draw(st.sampled_from((1, 2, 3))), key_heads * group, key_heads, n_q, n_k, dim, value_dim)
    offered = [name for name in _OPTIONS if name in capabilities]
    chosen = draw(st.lists(st.sampled_from(offered), unique=True, max_size=3)) if offered else []
    causal = {"causal_top_left", "causal_bottom_right"}
    if causal <= set(chosen) or (n_q != n_k and "causal_cross_lengths" not in capabilities):
        chosen = [name for name in chosen if name not in causal] + (
            ["causal_top_left"] if n_q == n_k and causal <= set(chosen) else []
        )
    options = tuple(draw(st.sampled_from(_OPTIONS[name])) for name in chosen)
    pattern = draw(st.sampled_from(_PATTERNS))
    return build(
        "drawn",
        pattern,
        shape,
        options,
        draw(st.integers(0, 2**32 - 1)),
        precision,
        f"{pattern} {' '.join(options)}".strip(),
    )


@st.composite
def _tiny(draw: st.DrawFn, precision: Precision, capabilities: Set[str]) -> Instance:
    """Instances whose every number is drawn, with at most 3 × 4 scores."""
    n_q = draw(st.integers(1, 3))
    n_k = draw(st.integers(1, 4)) if "cross_lengths" in capabilities else n_q
    dim = draw(st.integers(1, 3))
    value_dim = draw(st.integers(1, 3)) if "value_dim" in capabilities else dim
    dtype = dtype_named(precision.storage)

    def filled(rows: int, columns: int) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        sixteenths = draw(arrays(np.int8, (1, 1, rows, columns), elements=st.integers(-64, 64)))
        return (sixteenths / 16).astype(dtype)

    causal = "causal_top_left" in capabilities and (n_q == n_k or "causal_cross_lengths" in capabilities)
    return Instance(
        filled(n_q, dim),
        filled(n_k, dim),
        filled(n_k, value_dim),
        scale=draw(st.sampled_from((1.0, 0.7391, -1.3))),
        is_causal=causal and draw(st.booleans()),
        provenance=Provenance(family="drawn", note="tiny"),
    )


def instances(precision: str | Precision = "float32", capabilities: Set[str] = _EVERY) -> st.SearchStrategy[Instance]:
    """Instances of attention in the storage type of a class, with the options that ``capabilities`` names.

    They shrink towards one head, one query, one key, one column, no options.
    """
    chosen = precision_named(precision)
    return st.one_of(_tiny(chosen, capabilities), _built(chosen, capabilities))
