"""What is no instance of a stack of layers."""

from __future__ import annotations

from typing import Any

import numpy as np


def _ones(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.ones(shape, dtype)


GOOD: dict[str, Any] = {
    "tokens": _ones(3, 4),
    "query_weights": _ones(2, 4, 4, 5),
    "key_weights": _ones(2, 2, 4, 5),
    "value_weights": _ones(2, 2, 4, 4),
}

_NAN = _ones(3, 4)
_NAN[1, 2] = np.nan
_NORM: dict[str, Any] = {"norm": "layer", "epsilon": 1e-5}
_MLP: dict[str, Any] = {"up_weights": _ones(2, 4, 6), "down_weights": _ones(2, 6, 4)}

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"tokens": _ones(2, 3, 4)}, "tokens: shape (2, 3, 4), expected (length, dim)"),
    ({"tokens": np.ones((3, 4), int)}, "tokens: dtype int64, expected one of"),
    ({"tokens": _NAN}, "tokens: nan at (1, 2), expected finite numbers"),
    (
        {"query_weights": _ones(2, 4, 5, 5)},
        "query_weights: shape (2, 4, 5, 5), expected (layers, heads, dim, head_dim)",
    ),
    ({"query_weights": _ones(2, 3, 4, 5)}, "query_weights: shape (2, 3, 4, 5), expected a multiple of the 2 heads of"),
    ({"query_weights": _ones(0, 4, 4, 5)}, "query_weights: shape (0, 4, 4, 5), expected every side at least 1"),
    (
        {"key_weights": _ones(2, 2, 4, 6)},
        "key_weights: shape (2, 2, 4, 6), expected (layers, key_heads, dim, head_dim)",
    ),
    (
        {"key_weights": _ones(1, 2, 4, 5)},
        "key_weights: shape (1, 2, 4, 5), expected (layers, key_heads, dim, head_dim)",
    ),
    ({"value_weights": _ones(2, 2, 4, 3)}, "value_weights: shape (2, 2, 4, 3), expected a last axis of 4"),
    (
        {"value_weights": _ones(2, 2, 4, 4, dtype=np.float64)},
        "value_weights: dtype float64, expected float32 as in tokens",
    ),
    (
        {"output_weights": _ones(2, 4, 5, 4)},
        "output_weights: shape (2, 4, 5, 4), expected (layers, heads, value_dim, dim)",
    ),
    ({"query_bias": _ones(2, 2, 5)}, "query_bias: shape (2, 2, 5), expected (layers, heads, head_dim)"),
    ({"scale": float("nan")}, "scale: nan, expected a finite number"),
    ({"skip": 1}, "skip: 1, expected True or False"),
    ({"mask": np.ones(3)}, "mask: dtype float64, expected bool"),
    ({"mask": np.zeros(3, bool)}, "mask: shape (3,), expected"),
    ({"mask": np.array([False, True, True]), "causal": True}, "mask: shape (3,), expected"),
    ({"norm": "layer"}, "epsilon: None, expected a value, which norm 'layer' needs"),
    ({"norm": "batch", "epsilon": 1e-5}, "norm: 'batch', expected 'layer', 'rms' or None"),
    (_NORM | {"epsilon": 0.0}, "epsilon: 0.0, expected a number > 0"),
    (_NORM | {"norm_place": "both"}, "norm_place: 'both', expected 'pre' or 'post'"),
    ({"norm_place": "post"}, "norm_place: 'post', expected none with norm None"),
    ({"final_norm": True}, "final_norm: True, expected none with norm None"),
    ({"attention_norm_gain": _ones(2, 4)}, "attention_norm_gain: shape (2, 4), expected none without a norm"),
    (
        _NORM | {"norm": "rms", "attention_norm_bias": _ones(2, 4)},
        "attention_norm_bias: shape (2, 4), expected none with",
    ),
    (_NORM | {"mlp_norm_gain": _ones(2, 4)}, "mlp_norm_gain: shape (2, 4), expected none without an MLP"),
    (_NORM | {"final_norm_gain": _ones(4)}, "final_norm_gain: shape (4,), expected none without final_norm"),
    ({"up_weights": _ones(2, 4, 6)}, "down_weights: None, expected an array, which every MLP has"),
    ({"gate_weights": _ones(2, 4, 6)}, "up_weights: None, expected an array, which every MLP has"),
    (_MLP | {"down_weights": _ones(2, 5, 4)}, "down_weights: shape (2, 5, 4), expected (layers, hidden, dim)"),
    ({"activation": "gelu"}, "activation: 'gelu', expected 'relu' without an MLP"),
    (_MLP | {"activation": "swish"}, "activation: 'swish', expected 'relu', 'gelu', 'gelu_tanh' or 'silu'"),
    ({"key_bias": _ones(2, 4, 5)}, "key_bias: shape (2, 4, 5), expected (layers, key_heads, head_dim)"),
    ({"value_bias": _ones(2, 2, 5)}, "value_bias: shape (2, 2, 5), expected (layers, key_heads, value_dim)"),
    ({"output_bias": _ones(2, 4, dtype=np.float64)}, "output_bias: dtype float64, expected float32 as in tokens"),
    (_NORM | {"mlp_norm_bias": _ones(2, 4)}, "mlp_norm_bias: shape (2, 4), expected none without an MLP"),
    (_NORM | {"final_norm_bias": _ones(4)}, "final_norm_bias: shape (4,), expected none without final_norm"),
    (_MLP | {"up_bias": _ones(2, 5)}, "up_bias: shape (2, 5), expected (layers, hidden)"),
    (_MLP | {"down_bias": _ones(2, 6)}, "down_bias: shape (2, 6), expected (layers, dim)"),
)
