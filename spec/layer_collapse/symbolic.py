"""Self-attention networks as SymPy expressions: exact, for tiny sizes, in code that shares none with the definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.layer_collapse.instance import Instance

__all__ = ["symbolic"]

_LARGEST = 4096  # scores and numbers of tokens of all layers


def symbolic(instance: Instance, *, uniform: bool = False) -> NDArray[np.object_]:
    """The tokens after every layer, (L, n, d), as SymPy expressions; with ``uniform`` those of the collapsed network.

    Raises ``ValueError`` for more than 4,096 scores and numbers of all layers together.

    >>> from assay.spec.layer_collapse import Instance
    >>> one = np.ones((1, 1, 1, 1))
    >>> symbolic(Instance(np.array([[0.0], [1.0]]), one, one, one))[0, 1, 0]
    E/(1 + E) + 1
    """
    n, d = instance.tokens.shape
    count = instance.layers * n * (n * instance.query_weights.shape[1] + d)
    if count > _LARGEST:
        raise ValueError(f"symbolic: {count} scores and numbers, expected at most {_LARGEST}")
    x = _matrix(instance.tokens)
    after = np.empty((instance.layers, n, d), dtype=object)
    for layer in range(instance.layers):
        x = _sublayer(instance, layer, "attention", x, lambda y: _attention(instance, layer, y, uniform))  # noqa: B023
        if instance.up_weights is not None:
            x = _sublayer(instance, layer, "mlp", x, lambda y: _mlp(instance, layer, y))  # noqa: B023
        if instance.final_norm and layer == instance.layers - 1:
            x = _norm(instance, x, instance.final_norm_gain, instance.final_norm_bias)
        for i in range(n):
            for c in range(d):
                after[layer, i, c] = x[i, c]
    return after


def _matrix(array: NDArray[Any] | None, *index: int) -> Any:
    """A matrix of exact rational numbers; a vector is a row."""
    import sympy

    assert array is not None
    part = np.atleast_2d(array[index].astype(np.float64) if index else array.astype(np.float64))
    return sympy.Matrix(part.shape[0], part.shape[1], lambda i, j: sympy.Rational(float(part[i, j])))


def _with_bias(product: Any, bias: NDArray[Any] | None, *index: int) -> Any:
    import sympy

    return product if bias is None else product + sympy.ones(product.rows, 1) * _matrix(bias, *index)


def _sublayer(instance: Instance, layer: int, name: str, x: Any, function: Any) -> Any:
    def norm(y: Any) -> Any:
        parts = (getattr(instance, f"{name}_norm_{part}") for part in ("gain", "bias"))
        return _norm(instance, y, *(None if part is None else part[layer] for part in parts))

    if instance.norm is not None and instance.norm_place == "pre":
        update = function(norm(x))
        return x + update if instance.skip else update
    update = x + function(x) if instance.skip else function(x)
    return update if instance.norm is None else norm(update)


def _attention(instance: Instance, layer: int, y: Any, uniform: bool) -> Any:
    import sympy

    n = y.rows
    update = sympy.zeros(n, instance.tokens.shape[1])
    assert instance.scale is not None
    for head in range(instance.query_weights.shape[1]):
        of = (layer, head // instance.group)
        query = _with_bias(y * _matrix(instance.query_weights, layer, head), instance.query_bias, layer, head)
        key = _with_bias(y * _matrix(instance.key_weights, *of), instance.key_bias, *of)
        value = _with_bias(y * _matrix(instance.value_weights, *of), instance.value_bias, *of)
        rows = []
        for i in range(n):
            seen = [
                j
                for j in range(n)
                if (j <= i or not instance.causal) and (instance.mask is None or bool(instance.mask[j]))
            ]
            weights = [
                sympy.Integer(1)
                if uniform
                else sympy.exp(sympy.Rational(instance.scale) * query.row(i).dot(key.row(j)))
                for j in seen
            ]
            total = sum(weights, sympy.Integer(0))
            row = sympy.zeros(1, value.cols)
            for j, weight in zip(seen, weights, strict=True):
                row += weight / total * value.row(j)
            rows.append(row)
        one = sympy.Matrix.vstack(*rows)
        update += one if instance.output_weights is None else one * _matrix(instance.output_weights, layer, head)
    return _with_bias(update, instance.output_bias, layer)


def _mlp(instance: Instance, layer: int, y: Any) -> Any:
    import sympy

    up = _with_bias(y * _matrix(instance.up_weights, layer), instance.up_bias, layer)
    activation = {
        "relu": lambda x: sympy.Max(x, 0),
        "gelu": lambda x: x * (1 + sympy.erf(x / sympy.sqrt(2))) / 2,
        "gelu_tanh": lambda x: (
            x * (1 + sympy.tanh(sympy.sqrt(2 / sympy.pi) * (x + sympy.Rational(44715, 10**6) * x**3))) / 2
        ),
        "silu": lambda x: x / (1 + sympy.exp(-x)),
    }[instance.activation]
    if instance.gate_weights is None:
        hidden = up.applyfunc(activation)
    else:
        hidden = (y * _matrix(instance.gate_weights, layer)).applyfunc(activation).multiply_elementwise(up)
    return _with_bias(hidden * _matrix(instance.down_weights, layer), instance.down_bias, layer)


def _norm(instance: Instance, x: Any, gain: NDArray[Any] | None, bias: NDArray[Any] | None) -> Any:
    import sympy

    rows = []
    for i in range(x.rows):
        row = x.row(i)
        if instance.norm == "layer":
            row = row - sympy.ones(1, x.cols) * (sum(row, sympy.Integer(0)) / x.cols)
        square = sum((number**2 for number in row), sympy.Integer(0)) / x.cols
        row = row / sympy.sqrt(square + sympy.Rational(instance.epsilon))
        rows.append(row if gain is None else row.multiply_elementwise(_matrix(gain)))
    return _with_bias(sympy.Matrix.vstack(*rows), bias)
