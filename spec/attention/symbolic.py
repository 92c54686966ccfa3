"""Attention as SymPy expressions: exact, for tiny sizes; a second opinion that shares no code with the definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.attention.instance import Instance
    from assay.spec.softmax.masks import Masked

    Product = Callable[[int, int, int, int], Any]

__all__ = ["attend", "exact_numbers", "numbers", "symbolic", "symbolic_log_sum_exp"]

_LARGEST = 4096  # scores; beyond it expressions take minutes


def symbolic(instance: Instance) -> NDArray[np.object_]:
    """Attention of ``instance`` as an object array (b, h_q, n_q, d_v) of SymPy expressions in exp and rationals.

    Raises ``ValueError`` for more than 4,096 scores.

    >>> from assay.spec.attention import Instance
    >>> x = np.arange(3.0).reshape(1, 1, 3, 1)
    >>> symbolic(Instance(x, x, x))[0, 0, 1, 0]
    (E + 2*exp(2))/(1 + E + exp(2))
    """
    return attend(instance, numbers(instance))[0]


def symbolic_log_sum_exp(instance: Instance) -> NDArray[np.object_]:
    """The log-sum-exp as an object array (b, h_q, n_q); −oo for an empty row."""
    return attend(instance, numbers(instance))[1]


def numbers(instance: Masked) -> dict[str, NDArray[np.object_]]:
    """The real arrays of an instance as exact rational numbers; −oo where a bias is −inf."""
    arrays = {"query": instance.query, "key": instance.key, "value": instance.value, "sink": instance.sink}
    arrays["bias"] = instance.added_bias()
    return {name: exact_numbers(array) for name, array in arrays.items() if array is not None}


def exact_numbers(array: NDArray[Any]) -> NDArray[np.object_]:
    """Every number as a rational one, and −oo for −inf."""
    import sympy

    made = np.empty(array.shape, dtype=object)
    for index in np.ndindex(array.shape):
        number = float(array[index])
        made[index] = -sympy.oo if number == float("-inf") else sympy.Rational(number)
    return made


def attend(
    instance: Masked, arrays: Mapping[str, NDArray[np.object_]], product: Product | None = None
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The output and the log-sum-exp for any expressions in place of the numbers of ``instance``.

    arrays: ``query``, ``key`` and ``value``, and ``bias`` and ``sink`` where the instance has them, in their shapes.
    The instance says which key is attended to, the scale and the softcap.
    product(batch, head, i, j): what stands in place of ⟨q_i, k_j⟩.
    """
    import sympy

    b, h, n_q, _ = instance.query.shape
    output = np.empty((b, h, n_q, instance.value.shape[3]), dtype=object)
    log_sum_exp = np.empty((b, h, n_q), dtype=object)
    for batch, head, i in np.ndindex(b, h, n_q):
        weights, total = _weights(instance, arrays, product, batch, head, i)
        log_sum_exp[batch, head, i] = sympy.log(total) if total != 0 else -sympy.oo
        for c in range(output.shape[3]):
            values = {j: arrays["value"][batch, head // instance.group, j, c] for j in weights}
            numerator = sum((w * values[j] for j, w in weights.items()), sympy.Integer(0))
            output[batch, head, i, c] = numerator / total if total != 0 else sympy.Integer(0)
    return output, log_sum_exp


def _weights(
    instance: Masked,
    arrays: Mapping[str, NDArray[np.object_]],
    product: Product | None,
    batch: int,
    head: int,
    i: int,
) -> tuple[dict[int, Any], Any]:
    """e^s of every key that row i attends to, and their sum with the sink's."""
    import sympy

    b, h, n_q, _d = instance.query.shape
    n_k = instance.key.shape[2]
    if b * h * n_q * n_k > _LARGEST:
        raise ValueError(f"symbolic: {b * h * n_q * n_k} scores, expected at most {_LARGEST}")
    assert instance.scale is not None
    scale = sympy.Rational(instance.scale)
    weights = {}
    for j in range(n_k):
        if not _attends(instance, batch, head, i, j):
            continue
        if product is None:
            q, k = arrays["query"][batch, head, i], arrays["key"][batch, head // instance.group, j]
            score = scale * sum((x * y for x, y in zip(q, k, strict=True)), sympy.Integer(0))
        else:
            score = scale * product(batch, head, i, j)
        if instance.softcap is not None:
            c = sympy.Rational(instance.softcap)
            score = c * sympy.tanh(score / c)
        if "bias" in arrays:
            score += np.broadcast_to(arrays["bias"], (b, h, n_q, n_k))[batch, head, i, j]
        weights[j] = sympy.exp(score)
    total = sum(weights.values(), sympy.Integer(0))
    if instance.sink is not None:
        total += sympy.exp(arrays["sink"][head])
    return weights, total


def _attends(instance: Masked, batch: int, head: int, i: int, j: int) -> bool:
    """The masks, one key at a time, straight from their meaning."""
    b, h, n_q, _ = instance.query.shape
    n_k = instance.key.shape[2]
    length = n_k if instance.key_lengths is None else int(instance.key_lengths[batch])
    position = i + (length - n_q if instance.causal == "bottom-right" else 0)
    seen = j < length and not (instance.causal is not None and j > position)
    if instance.window is not None:
        left, right = instance.window
        seen = seen and (left is None or j >= position - left) and (right is None or j <= position + right)
    if instance.mask is not None:
        seen = seen and bool(np.broadcast_to(instance.mask, (b, h, n_q, n_k))[batch, head, i, j])
    if (added := instance.added_bias()) is not None:
        bias = float(np.broadcast_to(added, (b, h, n_q, n_k))[batch, head, i, j])
        seen = seen and bias != float("-inf")
    return seen
