"""Changes between one call and the next: the same shapes with other numbers, other options, or a part of the input.

A name in the ``after`` or ``beside`` of a family's row is a function from the instance of that row to another one.
Every change gives an answer that is far from that of the instance itself, so a kernel that keeps something of the other
call is found out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.attention import Instance

__all__ = ["CHANGES"]


def _numbers(instance: Instance) -> Instance:
    """All arrays are reversed along length and columns, and the values are negated."""
    return instance.replace(
        query=_backwards(instance.query), key=_backwards(instance.key), value=_negated(_backwards(instance.value))
    )


def _later_numbers(instance: Instance) -> Instance:
    """Only the second half of the keys changes: the first few elements and the sum of all elements stay the same."""
    half = instance.key.shape[2] // 2
    key, value = instance.key.copy(), instance.value.copy()
    key[:, :, half:] = _backwards(key[:, :, half:])
    value[:, :, half:] = _negated(value[:, :, half:])
    return instance.replace(key=key, value=value)


def _scale(instance: Instance) -> Instance:
    assert instance.scale is not None
    return instance.replace(scale=-0.6180339 * instance.scale)


def _causal(instance: Instance) -> Instance:
    """The causal mask is on if it was off, and off if it was on."""
    return instance.replace(causal=None if instance.causal is not None else "top-left")


def _alignment(instance: Instance) -> Instance:
    return instance.replace(causal="bottom-right" if instance.causal == "top-left" else "top-left")


def _window(instance: Instance) -> Instance:
    """The two sides of the window are exchanged, and each is one key wider."""
    assert instance.window is not None
    left, right = instance.window
    return instance.replace(window=(None if right is None else right + 1, None if left is None else left + 1))


def _mask(instance: Instance) -> Instance:
    """The mask is inverted; every row keeps at least one key."""
    assert instance.mask is not None
    mask = ~instance.mask
    mask[..., :1] |= ~mask.any(axis=-1, keepdims=True)
    return instance.replace(mask=mask)


def _bias(instance: Instance) -> Instance:
    assert instance.bias is not None
    return instance.replace(bias=_negated(_backwards(instance.bias)))


def _lengths(instance: Instance) -> Instance:
    """The key lengths are in the reverse order of batches."""
    assert instance.key_lengths is not None
    return instance.replace(key_lengths=instance.key_lengths[::-1].copy())


def _softcap(instance: Instance) -> Instance:
    assert instance.softcap is not None
    return instance.replace(softcap=2.7 * instance.softcap)


def _sink(instance: Instance) -> Instance:
    assert instance.sink is not None
    return instance.replace(sink=_negated(instance.sink))


def _without(name: str) -> Callable[[Instance], Instance]:
    return lambda instance: instance.replace(**{name: None})


def _longer(instance: Instance) -> Instance:
    """All keys come twice, with other values.  What a workspace of this longer call keeps lies behind a shorter one."""
    return instance.replace(
        key=np.concatenate([instance.key, instance.key], axis=2),
        value=np.concatenate([instance.value, _negated(instance.value)], axis=2),
    )


def _shorter(instance: Instance) -> Instance:
    return instance.part(keys=range(max(1, instance.key.shape[2] // 2)))


def _backwards(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array[..., ::-1, ::-1])


def _negated(array: NDArray[Any]) -> NDArray[Any]:
    return (-array.astype(np.float64)).astype(array.dtype)


#: Every change by name.  ``same`` is the instance itself: between two others it is a return to what was asked before.
CHANGES: dict[str, Callable[[Instance], Instance]] = {
    "same": lambda instance: instance,
    "numbers": _numbers,
    "later-numbers": _later_numbers,
    "scale": _scale,
    "causal": _causal,
    "alignment": _alignment,
    "window": _window,
    "no-window": _without("window"),
    "mask": _mask,
    "no-mask": _without("mask"),
    "bias": _bias,
    "no-bias": _without("bias"),
    "lengths": _lengths,
    "softcap": _softcap,
    "no-softcap": _without("softcap"),
    "sink": _sink,
    "longer": _longer,
    "shorter": _shorter,
}
