"""Changes between one call and the next: the same shapes with other numbers, other options, or another mode's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.families import CHANGES as SHARED

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay.spec.tensor_attention import HigherOrder

__all__ = ["CHANGES"]


def _last_mode(instance: HigherOrder) -> HigherOrder:
    """Only keys and values of the last mode change: backwards along columns, and negated."""
    names = [f"{name}{instance.order - 1}" for name in ("key", "value")]
    return instance.replace(**{name: _turned(getattr(instance, name)) for name in names})


def _turned(x: Any) -> Any:
    return np.ascontiguousarray(-x.astype(np.float64)[..., ::-1]).astype(x.dtype)


def _scale(instance: HigherOrder) -> HigherOrder:
    assert instance.scale is not None
    return instance.replace(scale=-0.6180339 * instance.scale)


def _causal(instance: HigherOrder) -> HigherOrder:
    return instance.replace(is_causal=not instance.is_causal)


def _window(instance: HigherOrder) -> HigherOrder:
    """Windows in the reverse order, each one key wider."""
    assert instance.window is not None
    return instance.replace(window=tuple(None if w is None else w + 1 for w in instance.window[::-1]))


def _no_window(instance: HigherOrder) -> HigherOrder:
    return instance.replace(window=None)


def _shorter(instance: HigherOrder) -> HigherOrder:
    """The first half of the keys of every mode."""
    return instance.part(**{f"keys{m}": range(max(1, n // 2)) for m, n in enumerate(instance.mode_lengths, 1)})


def _longer(instance: HigherOrder) -> HigherOrder:
    """All keys of every mode come twice, with other values the second time."""
    made = {}
    for mode in range(1, instance.order):
        key, value = getattr(instance, f"key{mode}"), getattr(instance, f"value{mode}")
        made[f"key{mode}"] = np.concatenate([key, key], axis=2)
        made[f"value{mode}"] = np.concatenate([value, _turned(value)], axis=2)
    return instance.replace(**made)


#: Every change by name.
CHANGES: dict[str, Callable[[Any], Any]] = {
    **SHARED,
    "last-mode": _last_mode,
    "scale": _scale,
    "causal": _causal,
    "window": _window,
    "no-window": _no_window,
    "shorter": _shorter,
    "longer": _longer,
}
