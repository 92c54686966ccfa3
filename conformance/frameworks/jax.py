"""JAX: immutable arrays, which are copied in and out."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.conformance.frameworks import Framework, NoDevice

__all__ = ["load"]


def load(device: str = "") -> Framework:
    import jax

    place = _device(jax, device) if device else None

    def to_native(array: np.ndarray[Any, Any]) -> Any:
        if place is None:
            return jax.numpy.array(array, copy=True)
        return jax.device_put(np.array(array), place)

    return Framework(
        name="jax",
        version=str(jax.__version__),
        to_native=to_native,
        to_numpy=lambda array: np.array(array),
        is_native=lambda value: isinstance(value, jax.Array),
        device=device,
    )


def _device(jax: Any, name: str) -> Any:
    """The device ``platform`` or ``platform:number``.  Raises :class:`NoDevice` if there is none."""
    platform, _, number = name.partition(":")
    try:
        found = jax.devices(platform)
    except RuntimeError as error:  # no such platform
        raise NoDevice(str(error).partition("\n")[0]) from None
    places = {f"{platform}:{index}": place for index, place in enumerate(found)}
    if f"{platform}:{number or 0}" not in places:
        raise NoDevice(f"expected one of {', '.join(places)}")
    return places[f"{platform}:{number or 0}"]
