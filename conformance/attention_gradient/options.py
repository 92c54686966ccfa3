"""Options of an instance, as data: those of attention, and what the gradients that come in are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.attention import options as attention
from assay.spec.attention_gradient import Instance
from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.conformance.interface.suite import Row
    from assay.spec.attention import Instance as Attention
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

    Array = NDArray[np.float64]

__all__ = ["GRADIENTS", "built", "differentiated"]


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def _positive(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 0.5 + rng.random(shape)


def _one_hot(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    made = np.zeros(shape)
    flat = made.reshape(-1, shape[-1])
    flat[np.arange(len(flat)), rng.integers(0, shape[-1], len(flat))] = 1.0
    return made


def _last_row(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    made = rng.standard_normal(shape)
    made[:, :, :-1] = 0.0
    return made


def _levels(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape) * 2.0 ** (8.0 * (np.arange(shape[2]) % 3 - 1))[:, None]


#: What ``grad_output`` holds, by the word of the option ``gradient=…``; normal numbers where there is none.
GRADIENTS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "normal": _normal,
    "zero": lambda rng, shape: np.zeros(shape),
    "tiny": lambda rng, shape: 2.0**-12 * rng.standard_normal(shape),
    "huge": lambda rng, shape: 2.0**7 * rng.standard_normal(shape),
    "positive": _positive,
    "ones": lambda rng, shape: np.ones(shape),
    "one-hot": _one_hot,
    "last-row": _last_row,
    "levels": _levels,
}


def built(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row of a family's table: attention's row, a gradient of its output, and one of its log-sum-exp.

    The option ``gradient=NAME`` says which of :data:`GRADIENTS`; ``common=X`` adds a vector of size X to every key,
    and ``lse`` brings a gradient of the log-sum-exp.
    """
    assert provenance.seed is not None
    mine = dict(option.split("=") for option in row.options if option.partition("=")[0] in ("gradient", "common"))
    others = tuple(option for option in row.options if option.partition("=")[0] not in ("gradient", "common"))
    shape = attention.parse_shape(row.size)
    forward = attention.build(
        provenance.family, row.pattern, shape, others, provenance.seed, precision, provenance.note
    )
    made = differentiated(forward, mine.get("gradient", "normal"), provenance.seed)
    return _with_common_part(made, float(mine["common"])) if "common" in mine else made


def differentiated(forward: Attention, gradient: str = "normal", seed: int = 0) -> Instance:
    """The backward pass of an attention; a gradient of the log-sum-exp comes in where that is asked for."""
    rng = np.random.default_rng((seed, 1))
    b, h, n_q, _ = forward.query.shape
    dtype = forward.query.dtype
    grad_output = GRADIENTS[gradient](rng, (b, h, n_q, forward.value.shape[3])).astype(dtype)
    grad_log_sum_exp = None
    if forward.return_lse:
        wide = np.float64 if dtype == np.float64 else np.float32
        grad_log_sum_exp = rng.standard_normal((b, h, n_q)).astype(dtype).astype(wide)
    return Instance(
        forward.query,
        forward.key,
        forward.value,
        grad_output,
        forward.scale,
        forward.is_causal,
        forward.causal,
        forward.window,
        forward.mask,
        forward.bias,
        forward.key_lengths,
        forward.softcap,
        forward.sink,
        grad_log_sum_exp,
        provenance=forward.provenance,
    )


def _with_common_part(instance: Instance, size: float) -> Instance:
    """The same with one vector added to every key, of which neither output nor gradients depend on the size."""
    step = size * np.where(np.arange(instance.key.shape[3]) % 2, -1.0, 1.0)
    dtype = dtype_named(instance.key.dtype.name)
    return instance.replace(key=(instance.key.astype(np.float64) + step).astype(dtype))
