"""What the gradient of attention of order k is, evaluated with certainty.

It is the gradient of attention to N combinations j = (j_1, …, j_{k−1}) of keys: with p the softmax,
g_ij = Σ_c dO_ic V¹_{j_1 c} ⋯ V^{k−1}_{j_{k−1} c}, δ_i = Σ_j p_ij g_ij − dlse_i and dS_ij = p_ij (g_ij − δ_i),

    dQ_i = σ Σ_j dS_ij (K¹_{j_1} ∘ … ∘ K^{k−1}_{j_{k−1}}),
    dKᵐ_a = σ Σ_i Σ_{j: j_m = a} dS_ij (q_i ∘ the keys of the other modes),
    dVᵐ_a = Σ_i Σ_{j: j_m = a} p_ij (dO_i ∘ the values of the other modes),

where keys and values add up over the query heads of their group.  The score is the same in all of its factors, so that
the gradient of a mode is that of attention whose queries are the keys of this mode.
Source: proofs_notes/tensor_attention.md, TOLT-2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import attention_gradient
from assay.spec.attention_gradient.definition import FINER, first_pass, second_pass
from assay.spec.attention_gradient.definition import Exact as OfAttention
from assay.spec.memory import GRADIENTS, require_evaluable
from assay.spec.tensor_attention.definition import Combined, combined, of_modes, over_combinations

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.enclosure import Enclosure
    from assay.spec.tensor_attention.instance import HigherOrder
    from assay.spec.tensor_attention_gradient.instance import Incoming

    Array = NDArray[np.float64]

__all__ = ["Exact", "by_mode", "define", "evaluate", "over_combinations_too"]


@dataclass(frozen=True, eq=False)
class Exact(OfAttention):
    """Everything that tolerances and reports need of a gradient, certified.

    mode_keys and mode_values: the gradients of the keys and values of every mode; grad_key and grad_value are those of
    mode 1.  difference has the axes (b, h_q, n_q, N).
    """

    mode_keys: tuple[Enclosure, ...] = ()
    mode_values: tuple[Enclosure, ...] = ()

    def gradients(self) -> dict[str, Enclosure]:
        """The outputs by name."""
        made = {"grad_query": self.grad_query}
        made |= {f"grad_key{mode}": x for mode, x in enumerate(self.mode_keys, 1)}
        return made | {f"grad_value{mode}": x for mode, x in enumerate(self.mode_values, 1)}


def define(instance: Incoming, relative: float = 1e-12, output: str = "grad_query") -> Enclosure:
    """One gradient of an instance, certified.  ``output`` names one of :meth:`Incoming.outputs`.

    It is shaped like the array that it is the gradient of.  Its radius is measured as that of
    :func:`assay.spec.attention_gradient.define`, for the combinations as keys.
    Raises ``ValueError`` for an output that the instance does not have, or a ``relative`` outside (0, 1).

    >>> from assay.spec.tensor_attention_gradient import Instance
    >>> x = np.arange(2.0).reshape(1, 1, 2, 1)
    >>> print(define(Instance(x, x, x, x, x, x))[0, 0, 1, 0])  # p(1 − p), p = e/(3 + e)
    0.24939320971529 ± 2e-15
    """
    if output not in instance.outputs():
        raise ValueError(f"unknown output {output!r}: expected one of {', '.join(instance.outputs())}")
    return evaluate(instance, relative).gradients()[output]


def evaluate(instance: Incoming, relative: float = 1e-12) -> Exact:
    """Every gradient, with what leads to them: arrays of n_q × N, for moderate sizes."""
    require_evaluable(instance, GRADIENTS)
    flat = over_combinations_too(instance)
    if instance.order == 2:
        plain = attention_gradient.evaluate(flat, relative)
        return Exact(**vars(plain), mode_keys=(plain.grad_key,), mode_values=(plain.grad_value,))
    first = first_pass(flat, combined(instance), relative * FINER, matrices=True)
    modes = [_mode(instance, mode, first, relative) for mode in range(1, instance.order)]
    return Exact(
        grad_query=first["grad_query"],
        grad_key=modes[0][0],
        grad_value=modes[0][1],
        grad_bias=None,
        grad_sink=None,
        delta=first["delta"],
        difference=first["difference"],
        slope=None,
        score_gradient=None,
        capped=first["capped"],
        mode_keys=tuple(key for key, _ in modes),
        mode_values=tuple(value for _, value in modes),
    )


def over_combinations_too(instance: Incoming) -> attention_gradient.Instance:
    """The gradient of attention to N keys that an instance is; what is said of the forward pass holds here too."""
    flat = over_combinations(instance)
    return attention_gradient.Instance(
        flat.query,
        flat.key,
        flat.value,
        instance.grad_output.astype(flat.query.dtype),
        scale=flat.scale,
        mask=flat.mask,
        grad_log_sum_exp=instance.grad_log_sum_exp,
    )


def by_mode(matrix: Any, instance: HigherOrder, mode: int) -> Any:
    """A matrix (…, n_q, N) as (…, n_m, n_q·N/n_m): the keys of mode m are rows; of its columns queries are slowest."""
    *head, n_q, _ = matrix.shape
    wide = matrix.reshape(*head, n_q, *instance.mode_lengths)
    turned = np.moveaxis(wide, len(head) + mode, len(head))
    return turned.reshape(*head, instance.mode_lengths[mode - 1], -1)


def _mode(instance: Incoming, mode: int, first: dict[str, Enclosure], relative: float) -> tuple[Enclosure, Enclosure]:
    """The gradients of the keys and the values of a mode."""
    b, h_k = instance.mode_keys[0].shape[:2]
    stacks, width = b * h_k, instance.group * instance.query.shape[2]

    def joined(array: Any, *more: int) -> Any:
        """(b·h_k, g·n_q, …): the rows of all heads of a group, one after the other."""
        return array.reshape(stacks, width, *more)

    def of_heads(array: NDArray[Any]) -> Array:
        return array.astype(np.float64).reshape(stacks, *array.shape[2:])

    keys, values = ([of_heads(x) for x in modes] for modes in (instance.mode_keys, instance.mode_values))
    key, value = keys.pop(mode - 1), values.pop(mode - 1)
    keys = [joined(instance.query.astype(np.float64), instance.query.shape[3]), *keys]
    values = [joined(instance.grad_output.astype(np.float64), value.shape[2]), *values]
    seen = np.tile(by_mode(instance.visible(), instance, mode), (1, instance.group))
    assert instance.scale is not None
    rows = Combined(
        query=key,
        key=of_modes(keys),
        value=of_modes(values),
        attended=np.broadcast_to(seen, (stacks, *seen.shape)),
        bias=None,
        sink=None,
        scale=instance.scale,
        softcap=None,
        keys=tuple(keys),
        values=tuple(values),
    )
    rest = instance.combinations // key.shape[1]
    arranged: Callable[[Any], Any] = lambda array: np.repeat(joined(array), rest, axis=1)  # noqa: E731
    return second_pass(rows, value, first, arranged, relative, (b, h_k))
