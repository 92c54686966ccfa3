"""What a self-attention network computes, evaluated with certainty (Dong, Cordonnier and Loukas 2021).

One layer has one sub-layer, attention, or two, attention and an MLP.  With the norm N of a place where there is none
being the identity, a sub-layer f makes of the tokens X

    X + f(N(X)) with pre-norm, N(X + f(X)) with post-norm, and without skip connections f(N(X)) or N(f(X)).

Attention: Σ_h P_h N W_V W_O + b_O, P_h = softmax(σ·(N W_Q + b_Q)(N W_K + b_K)ᵀ) over the tokens that are attended to.
Layer norm: g·(x − mean x)/√(variance of x + ε) + b; RMS norm: g·x/√(mean of x² + ε).
MLP: a(N W_up + b_up) W_down + b_down, or (a(N G)·(N W_up + b_up)) W_down + b_down.

:func:`_network` is the definition, and runs in any arithmetic of :mod:`assay.spec.enclosure`.  Its *collapsed*
counterpart has uniform attention: every P_ij is one over the number of tokens that token i attends to.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec import flint_context
from assay.spec.enclosure import Arithmetic, Enclosure, Evaluated, Result, escalate, within
from assay.spec.memory import require_evaluable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.layer_collapse.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["collapse", "define", "evaluate"]


def define(instance: Instance, relative: float = 1e-12, output: str = "tokens") -> Enclosure:
    """The tokens after every layer, (L, n, d), certified.

    The radius of a number is at most ``relative`` times the sum of the absolute values of what its layer adds up to it,
    and 2^-1000.  Raises ``ValueError`` for another output, or a ``relative`` outside (0, 1).

    >>> from assay.spec.layer_collapse import Instance
    >>> one = np.ones((1, 1, 1, 1))
    >>> print(define(Instance(np.array([[0.0], [1.0]]), one, one, one))[0, 1, 0])
    1.73105857863000 ± 4e-15
    """
    if output != "tokens":
        raise ValueError(f"unknown output {output!r}: expected 'tokens'")
    return _tokens(_evaluate(instance, relative, uniform=False, record=False), instance)


def collapse(instance: Instance, relative: float = 1e-12) -> Enclosure:
    """The tokens after every layer of the collapsed network, (L, n, d), certified like those of :func:`define`.

    Every token attends in it to all the tokens that it may attend to, with equal weights.

    >>> from assay.spec.layer_collapse import Instance
    >>> one = np.ones((1, 1, 1, 1))
    >>> collapse(Instance(np.array([[0.0], [1.0]]), one, one, one)).midpoint.ravel()
    array([0.5, 1.5])
    """
    return _tokens(_evaluate(instance, relative, uniform=True, record=False), instance)


def evaluate(
    instance: Instance, relative: float = 1e-12, *, uniform: bool = False, growing: bool = False
) -> dict[str, Enclosure]:
    """``"tokens"`` and everything on the way to them, by name, ℓ being the number of the layer, 0 the first.

    ``"ℓ/attention/input"`` (n, d), after the norm where it is before; ``"ℓ/query"`` (h, n, k), ``"ℓ/key"``
    (h_k, n, k), ``"ℓ/value"`` (h_k, n, v), ``"ℓ/score"`` (h, n, n), 0 where a token does not attend;
    ``"ℓ/probability"`` and, of a network that is not uniform, ``"ℓ/log_probability"`` (h, n, n), the latter −∞ where a
    token does not attend; ``"ℓ/head"`` (h, n, v), ``"ℓ/attention/update"`` and ``"ℓ/attention/sum"`` (n, d),
    the latter after the skip connection and before a norm; ``"ℓ/mlp/input"``, ``"ℓ/up"``, ``"ℓ/gate"``, ``"ℓ/open"``,
    which is the activation of the gate, ``"ℓ/hidden"`` (n, f), ``"ℓ/mlp/update"``, ``"ℓ/mlp/sum"``; ``"ℓ"``, the
    tokens after it; with post-norm ``"ℓ/attention/normed"`` and ``"ℓ/mlp/normed"``.
    Where there is a norm at a place, ``place + "/root"`` (n, 1) is √(variance + ε), the place being
    ``"ℓ/attention/norm"``, ``"ℓ/mlp/norm"`` or ``"final/norm"``.
    uniform: of the collapsed network.
    growing: ``relative`` is that of the first layer, and radii may grow from there as errors do.
    """
    results = _evaluate(instance, relative, uniform=uniform, record=True, growing=growing)
    return {**results, "tokens": _tokens(results, instance)}


def _tokens(results: Mapping[str, Enclosure], instance: Instance) -> Enclosure:
    """The tokens after every layer in one array."""
    parts = [results[str(layer)] for layer in range(instance.layers)]
    full = None
    if all(part.full is not None for part in parts):
        full = lambda: np.stack([part.balls for part in parts])  # type: ignore[misc]  # noqa: E731
    return Enclosure(np.stack([part.midpoint for part in parts]), np.stack([part.radius for part in parts]), full)


def _evaluate(
    instance: Instance, relative: float, *, uniform: bool, record: bool, growing: bool = False
) -> dict[str, Enclosure]:
    """The network is one row of :func:`~assay.spec.enclosure.escalate`: every token depends on every other."""
    require_evaluable(instance)
    names = {str(layer) for layer in range(instance.layers)}
    shapes = _shapes(instance) if record else dict.fromkeys(names, instance.tokens.shape)
    results = {name: Result(shape, digits=name in names) for name, shape in shapes.items()}
    if uniform:
        results = {name: result for name, result in results.items() if not name.endswith("log_probability")}

    def rows(arithmetic: Arithmetic, block: Any) -> Evaluated:
        network = _Network(instance, arithmetic, uniform)
        first, *others = network.run()
        strict = [first] if growing else [first, *others]
        fine = all(bool(within(ball.error(), relative, size, 2.0**-1000).all()) for ball, size in strict)
        fine = fine and all(bool(np.isfinite(ball.error()).all()) for ball, _ in others)
        values = {name: _flat(network.steps[name]) for name in results}
        return Evaluated(values, np.full((1, 1), fine))

    return escalate(rows, np.ones((1, 1), dtype=bool), results, relative, 1)


def _shapes(instance: Instance) -> dict[str, tuple[int, ...]]:
    """The shape of everything that :func:`evaluate` returns."""
    axes = instance.lengths()
    n, d, h, h_k = axes["length"], axes["dim"], axes["heads"], axes["key_heads"]
    k, v = axes["head_dim"], axes["value_dim"]
    layer = {
        "attention/input": (n, d), "query": (h, n, k), "key": (h_k, n, k), "value": (h_k, n, v), "score": (h, n, n),
        "probability": (h, n, n), "log_probability": (h, n, n), "head": (h, n, v),
        "attention/update": (n, d), "attention/sum": (n, d),
    }  # fmt: skip
    norms = ["attention"]
    if instance.up_weights is not None:
        f = axes["hidden"]
        layer |= {"mlp/input": (n, d), "up": (n, f), "hidden": (n, f), "mlp/update": (n, d), "mlp/sum": (n, d)}
        layer |= {} if instance.gate_weights is None else {"gate": (n, f), "open": (n, f)}
        norms.append("mlp")
    if instance.norm is not None:
        layer |= {f"{place}/norm/root": (n, 1) for place in norms}
    if instance.norm is not None and instance.norm_place == "post":
        layer |= {f"{place}/normed": (n, d) for place in norms}
    shapes = {f"{number}/{name}": shape for number in range(instance.layers) for name, shape in layer.items()}
    shapes |= {str(number): (n, d) for number in range(instance.layers)}
    return shapes | ({"final/norm/root": (n, 1)} if instance.final_norm else {})


def _flat(ball: Any) -> Any:
    """The balls as one row of one stack: of shape (1, 1, numbers)."""
    shape = ball.rounded()[0].shape
    index = np.unravel_index(np.arange(int(np.prod(shape))).reshape(1, 1, -1), shape)
    return ball[index]


def _transposed(ball: Any) -> Any:
    """The last two of three axes exchanged."""
    h, n, k = ball.rounded()[0].shape
    return ball[np.arange(h)[:, None, None], np.arange(n)[None, None, :], np.arange(k)[None, :, None]]


@dataclass
class _Network:
    """The definition in one arithmetic.  Balls have three axes, of which the first is that of heads, or 1.

    steps: the balls of everything on the way, by the names of :func:`evaluate`.
    """

    instance: Instance
    arithmetic: Arithmetic
    uniform: bool
    steps: dict[str, Any] = field(default_factory=dict)

    def run(self) -> list[tuple[Any, Array]]:
        """The tokens after every layer, and the sum of absolute values that every number is the sum of."""
        instance = self.instance
        x = self.arithmetic.exact(instance.tokens.astype(np.float64)[None])
        size = np.abs(instance.tokens.astype(np.float64))[None]
        after = []
        for layer in range(instance.layers):
            x, size = self._sublayer(f"{layer}/attention", x, functools.partial(self._attend, layer))
            if instance.up_weights is not None:
                x, size = self._sublayer(f"{layer}/mlp", x, functools.partial(self._mlp, layer))
            if instance.final_norm and layer == instance.layers - 1:
                x, size = self._norm("final/norm", x)
            self.steps[str(layer)] = x
            after.append((x, size))
        return after

    def _sublayer(self, place: str, x: Any, function: Callable[[Any], tuple[Any, Array]]) -> tuple[Any, Array]:
        instance, y = self.instance, x
        if instance.norm is not None and instance.norm_place == "pre":
            y, _ = self._norm(f"{place}/norm", x)
        self.steps[f"{place}/input"] = y
        update, size = function(y)
        self.steps[f"{place}/update"] = update

        # X + f(N(X)), or f(N(X)) without skip connections
        if instance.skip:
            update, size = x.plus_ball(update), size + np.abs(x.rounded()[0])
        self.steps[f"{place}/sum"] = update
        if instance.norm is not None and instance.norm_place == "post":
            update, size = self._norm(f"{place}/norm", update)
            self.steps[f"{place}/normed"] = update
        return update, size

    def _attend(self, layer: int, y: Any) -> tuple[Any, Array]:
        instance, arithmetic = self.instance, self.arithmetic
        h, h_k, n = instance.query_weights.shape[1], instance.key_weights.shape[1], len(instance.tokens)
        shared, every = np.arange(h) // instance.group, np.zeros(h, dtype=int)
        attended = np.broadcast_to(instance.attends(), (h, n, n))

        # q = y W_Q + b_Q, and so k and v; every query head has the keys and values of its group
        query, _ = self._affine(y[every], "query_weights", "query_bias", layer)
        key, _ = self._affine(y[every[:h_k]], "key_weights", "key_bias", layer)
        value, value_size = self._affine(y[every[:h_k]], "value_weights", "value_bias", layer)
        self.steps |= {f"{layer}/query": query, f"{layer}/key": key, f"{layer}/value": value}

        # p_ij = softmax of σ⟨q_i, k_j⟩
        score = query.matmul(_transposed(key[shared])).scaled(instance.scale).where(attended, 0.0)
        if self.uniform:
            weight = arithmetic.exact(attended.astype(np.float64))
        else:
            below = score.minus_row(score.largest(attended))
            weight = below.where(attended, 0.0).exp().where(attended, 0.0)
        total = weight.total()
        self.steps |= {f"{layer}/score": score, f"{layer}/probability": weight.divided(total)}
        if not self.uniform:
            self.steps[f"{layer}/log_probability"] = below.minus_row(total.log()).where(attended, -np.inf)

        # o_i = Σ_j p_ij v_j
        head = weight.matmul(value[shared]).divided(total)
        self.steps[f"{layer}/head"] = head
        size = weight.rounded()[0] / total.rounded()[0] @ value_size[shared]

        # Σ_h o_h W_O + b_O
        if instance.output_weights is not None:
            head, _ = self._affine(head, "output_weights", None, layer)
            size = size @ np.abs(instance.output_weights[layer].astype(np.float64))
        update = head[:1]
        for number in range(1, h):
            update = update.plus_ball(head[number : number + 1])
        size = size.sum(axis=0, keepdims=True)
        if instance.output_bias is not None:
            bias = instance.output_bias[layer].astype(np.float64)
            update, size = update.plus(bias), size + np.abs(bias)
        return update, size

    def _affine(self, y: Any, weights: str, bias: str | None, layer: int) -> tuple[Any, Array]:
        """y W + b, and Σ|y||W| + |b|, for matrices of every head, or for one."""
        matrix = getattr(self.instance, weights)[layer].astype(np.float64)
        matrix = matrix if matrix.ndim == 3 else matrix[None]
        product, _ = y.times_matrix(matrix)
        size = np.abs(y.rounded()[0]) @ np.abs(matrix)
        vector = None if bias is None else getattr(self.instance, bias)
        if vector is not None:
            b = vector[layer].astype(np.float64)
            b = b[:, None, :] if b.ndim == 2 else b
            product, size = product.plus(b), size + np.abs(b)
        return product, size

    def _mlp(self, layer: int, y: Any) -> tuple[Any, Array]:
        instance = self.instance
        up, _ = self._affine(y, "up_weights", "up_bias", layer)
        self.steps[f"{layer}/up"] = up
        if instance.gate_weights is None:
            hidden = self._activated(up)
        else:
            gate, _ = self._affine(y, "gate_weights", None, layer)
            self.steps[f"{layer}/gate"] = gate
            opened = self._activated(gate)
            self.steps[f"{layer}/open"] = opened
            hidden = opened.times(up)
        self.steps[f"{layer}/hidden"] = hidden
        return self._affine(hidden, "down_weights", "down_bias", layer)

    def _activated(self, x: Any) -> Any:
        """The activation of every number."""
        name = self.instance.activation
        if name == "relu":  # a ball around 0 holds what max(x, 0) makes of it
            middle, radius = x.rounded()
            return x.where(middle + radius > 0.0, 0.0)
        if name == "gelu":
            return self._by_number(_gelu, x)
        # x·s(z) with s(z) = 1/(1 + e^(−z)): z = x, and for GELU z = 2√(2/π)·(x + 0.044715 x³)
        z = x
        if name == "gelu_tanh":
            z = x.plus_ball(x.times(x).times(x).times(self._constant(_cube))).times(self._constant(_slope))
        one = np.ones_like(x.rounded()[0])
        return x.divided(z.scaled(-1.0).exp().plus(one))

    def _by_number(self, function: Callable[[Any], Any], x: Any) -> Any:
        """A function of every number, in balls of Arb whatever the arithmetic."""
        balls = x.full()
        made = np.empty(balls.shape, dtype=object)
        with flint_context.bits(self.arithmetic.precision + 32):
            made.reshape(-1)[:] = [function(number) for number in balls.reshape(-1)]
        return self.arithmetic.around(made)

    def _constant(self, function: Callable[[], Any]) -> Any:
        """A real number as a ball of three axes."""
        made = np.empty((1, 1, 1), dtype=object)
        with flint_context.bits(self.arithmetic.precision + 32):
            made[0, 0, 0] = function()
        return self.arithmetic.around(made)

    def _norm(self, place: str, x: Any) -> tuple[Any, Array]:
        """g·(x − mean)/√(variance + ε) + b, or g·x/√(mean square + ε), and the sizes of what is added."""
        instance, arithmetic = self.instance, self.arithmetic
        d = instance.tokens.shape[1]
        count, size = arithmetic.exact(np.full((1, 1, 1), float(d))), np.abs(x.rounded()[0])
        if instance.norm == "layer":
            mean = x.times_matrix(np.ones((1, d, 1)))[0].divided(count)
            x, size = x.minus_row(mean), size + np.abs(mean.rounded()[0])
        square = x.times(x).total().divided(count).plus(np.full((1, 1, 1), instance.epsilon))
        root = square.log().scaled(0.5).exp()
        self.steps[f"{place}/root"] = root
        y, size = x.divided(root), size / root.rounded()[0]
        gain, bias = (instance.parameter(place, part) for part in ("gain", "bias"))
        if gain is not None:
            y, size = y.scaled(np.broadcast_to(gain, size.shape)), size * np.abs(gain)
        if bias is not None:
            y, size = y.plus(bias), size + np.abs(bias)
        return y, size


def _gelu(x: Any) -> Any:
    """x·Φ(x), with the distribution function Φ of the normal distribution; erfc keeps the digits of its left end."""
    return x * (-x / flint.arb(2).sqrt()).erfc() / 2


def _slope() -> Any:
    """2·√(2/π) of the GELU by tanh: ½(1 + tanh z) = s(2z)."""
    return 2 * (2 / flint.arb.pi()).sqrt()


def _cube() -> Any:
    """Its 0.044715."""
    return flint.arb(44715) / 1000000
