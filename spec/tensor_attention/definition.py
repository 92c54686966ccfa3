"""What attention of order k is, evaluated with certainty.

A query attends to the combinations j = (j_1, …, j_{k−1}) of one key of every mode:

    s_ij = scale·Σ_c q_ic K¹_{j_1 c} ⋯ K^{k−1}_{j_{k−1} c},      o_i = Σ_j p_ij (V¹_{j_1} ∘ … ∘ V^{k−1}_{j_{k−1}}),

with p_i the softmax of s_i.  So it is attention to N = n_1 ⋯ n_{k−1} keys K¹_{j_1} ∘ … ∘ K^{k−1}_{j_{k−1}}, in the
order of their combinations, j_1 slowest; what follows the products is :mod:`assay.spec.attention.definition`.
Source: Sanford, Hsu and Telgarsky 2023, Definition 7; Alman and Song 2024; proofs_notes/tensor_attention.md, TEN-1.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import attention
from assay.spec.attention import definition as of_attention
from assay.spec.enclosure.arb import LARGEST
from assay.spec.memory import OUTPUTS, require_evaluable
from assay.spec.softmax.distribution import Rows, flattened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

    from assay.spec.attention.definition import Exact
    from assay.spec.enclosure import Arithmetic, Enclosure
    from assay.spec.tensor_attention.instance import HigherOrder

    Array = NDArray[np.float64]

__all__ = ["Combined", "combined", "define", "evaluate", "of_modes", "over_combinations", "products"]


def define(instance: HigherOrder, relative: float = 1e-12, output: str = "output") -> Enclosure:
    """Attention of order k, certified.

    ``output="output"``: shape (b, h_q, n_q, d_v), radius at most ``relative``·Σ_j p_ij|V¹_{j_1 c} ⋯|.
    ``output="log_sum_exp"``: shape (b, h_q, n_q), radius at most ``relative``·max(1, |lse|), −inf for an empty row.
    Raises ``ValueError`` for another output or a ``relative`` outside (0, 1).

    >>> from assay.spec.tensor_attention import Instance
    >>> x = np.arange(2.0).reshape(1, 1, 2, 1)
    >>> print(define(Instance(x, x, x, x, x))[0, 0, 1, 0])  # e/(3 + e)
    0.47536688641867 ± 2e-15
    """
    if output not in ("output", "log_sum_exp"):
        raise ValueError(f"unknown output {output!r}: expected 'output' or 'log_sum_exp'")
    require_evaluable(instance, OUTPUTS)
    return of_attention.outputs(over_combinations(instance), relative, combined(instance))[output]


def evaluate(instance: HigherOrder, relative: float = 1e-12) -> Exact:
    """The same with the scores and probabilities that lead to it: arrays of n_q × N, for moderate sizes."""
    require_evaluable(instance)
    return of_attention.evaluate(over_combinations(instance), relative, combined(instance))


def over_combinations(instance: HigherOrder) -> attention.Instance:
    """The attention to N keys that an instance is, in float64.

    From order 3 on, keys and values are the products of those of the modes as float64 rounds them, so that it says
    which combinations are attended to and how large numbers are, and not what the outputs are.
    """
    if instance.order == 2:
        key, value = instance.mode_keys[0], instance.mode_values[0]
        query = instance.query
    else:
        query = instance.query.astype(np.float64)
        key, value = (
            of_modes([x.astype(np.float64) for x in modes]) for modes in (instance.mode_keys, instance.mode_values)
        )
    masked = instance.is_causal or instance.window is not None
    mask = instance.visible()[None, None] if masked else None
    return attention.Instance(query, key, value, instance.scale, mask=mask, return_lse=True)


def of_modes(modes: Sequence[Array]) -> Array:
    """The products of one row of every mode, (…, N, columns), as float64 rounds them; no number exceeds the largest."""
    with np.errstate(over="ignore", under="ignore"):
        total = modes[0]
        for other in modes[1:]:
            pairs = total[..., :, None, :] * other[..., None, :, :]
            total = np.clip(pairs, -LARGEST, LARGEST).reshape(*total.shape[:-2], -1, total.shape[-1])
    return total


def products(arithmetic: Arithmetic, modes: Sequence[Array], *, turned: bool = False) -> Any:
    """The balls of the products of one row of every mode, (head, N, columns); turned: (head, columns, N).

    modes: exact arrays (head, n_m, columns).
    """
    places = np.unravel_index(np.arange(np.prod([x.shape[1] for x in modes])), [x.shape[1] for x in modes])
    spread = [x[:, place] for x, place in zip(modes, places, strict=True)]
    first, *others = [np.swapaxes(x, 1, 2) for x in spread] if turned else spread
    total = arithmetic.exact(np.ascontiguousarray(first))
    for other in others:
        total = total.scaled(np.ascontiguousarray(other))
    return total


def combined(instance: HigherOrder) -> Rows:
    """The rows of an instance: those of attention for order 2, and of exact products from order 3 on."""
    flat = flattened(over_combinations(instance))
    if instance.order == 2:
        return flat
    heads = len(flat.query)
    keys, values = (
        tuple(np.repeat(x.astype(np.float64), instance.group, axis=1).reshape(heads, *x.shape[2:]) for x in modes)
        for modes in (instance.mode_keys, instance.mode_values)
    )
    return Combined(
        **{item.name: getattr(flat, item.name) for item in dataclasses.fields(flat)}, keys=keys, values=values
    )


@dataclass(frozen=True, eq=False)
class Combined(Rows):
    """Rows whose keys and values are products of those of the modes, (head, n_m, columns), which are exact."""

    keys: tuple[Array, ...]
    values: tuple[Array, ...]

    def __getitem__(self, at: tuple[Any, Any]) -> Self:
        keys, values = (tuple(x[at[0]] for x in modes) for modes in (self.keys, self.values))
        return dataclasses.replace(super().__getitem__(at), keys=keys, values=values)

    def product(self, arithmetic: Arithmetic) -> Any:
        # Σ_c q_ic K¹_{j_1 c} ⋯ K^{k−1}_{j_{k−1} c}
        return arithmetic.exact(self.query).matmul(products(arithmetic, self.keys, turned=True))

    def against_values(self, arithmetic: Arithmetic, x: Array) -> Any:
        return arithmetic.exact(x).matmul(products(arithmetic, self.values, turned=True))

    def keys_summed(self, arithmetic: Arithmetic, weight: Any) -> Any:
        return weight.matmul(products(arithmetic, self.keys))

    def averaged(self, arithmetic: Arithmetic, weight: Any) -> tuple[Any, Any]:
        # Σ_j w_ij V¹_{j_1 c} ⋯ V^{k−1}_{j_{k−1} c};  a column of zeros gives exactly 0
        numerator = weight.matmul(products(arithmetic, self.values))
        magnitude = np.minimum(np.abs(weight.rounded()[0]) @ np.abs(of_modes(self.values)), LARGEST)
        some = of_modes([(x != 0.0).astype(np.float64) for x in self.values]).any(axis=1, keepdims=True)
        return numerator.where(np.broadcast_to(some, magnitude.shape), 0.0), magnitude
