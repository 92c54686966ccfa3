"""What the gradient of attention is, evaluated with certainty.

The loss is L = Σ_i ⟨dO_i, o_i⟩ + Σ_i dlse_i·lse_i.  With p the softmax of the scores s, g_ij = ⟨dO_i, v_j⟩,
δ_i = Σ_j p_ij g_ij − dlse_i, and t_ij the derivative of the softcap (1 without one), it has

    dS_ij = p_ij (g_ij − δ_i),      dQ_i = σ Σ_j t_ij dS_ij k_j,      dK_j = σ Σ_i t_ij dS_ij q_i,
    dV_j = Σ_i p_ij dO_i,           dBias_ij = dS_ij,                 dSink = −Σ_i p_i,sink δ_i,

where keys and values add up over the query heads of their group, and a bias over what it is broadcast to.
Source: proofs_notes/attention_gradient.md, GRAD-1.

Queries are rows of a first pass, which gives dQ, δ and the log-sum-exp; keys are rows of a second one, with these.
Each pass runs in any arithmetic of :mod:`assay.spec.enclosure`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec.enclosure import (
    DoubleDoubleBall,
    Enclosure,
    Evaluated,
    Float64Ball,
    Result,
    escalate,
    require_held,
    within,
)
from assay.spec.enclosure.arb import LARGEST
from assay.spec.memory import GRADIENTS, require_evaluable
from assay.spec.softmax.distribution import Rows, flattened, scored, weighted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.attention_gradient.instance import Instance
    from assay.spec.enclosure import Arithmetic

    Array = NDArray[np.float64]
    Block = tuple[NDArray[np.intp], NDArray[np.intp]]

__all__ = ["FINER", "Exact", "define", "evaluate", "first_pass", "second_pass"]

FINER = 0.125  # the second pass rests on results of the first, which are asked for so much more accurately
_LEAST = 2.0**-1074


@dataclass(frozen=True, eq=False)
class Exact:
    """Everything that tolerances and reports need of a gradient, certified.

    grad_query, grad_key and grad_value are shaped like query, key and value; grad_bias like the bias and grad_sink
    (h_q,), where there is one.  delta (b, h_q, n_q); difference (b, h_q, n_q, n_k), g_ij − δ_i, 0 where the query does
    not attend; slope (b, h_q, n_q, n_k), t_ij, where there is a softcap; score_gradient, dS_ij, likewise, where there
    is a bias.  capped (b, h_q, n_q, n_k): the score before the bias.
    """

    grad_query: Enclosure
    grad_key: Enclosure
    grad_value: Enclosure
    grad_bias: Enclosure | None
    grad_sink: Enclosure | None
    delta: Enclosure
    difference: Enclosure
    slope: Enclosure | None
    score_gradient: Enclosure | None
    capped: Enclosure

    def gradients(self) -> dict[str, Enclosure]:
        """The outputs by name."""
        made = {"grad_query": self.grad_query, "grad_key": self.grad_key, "grad_value": self.grad_value}
        optional = {"grad_bias": self.grad_bias, "grad_sink": self.grad_sink}
        return made | {name: value for name, value in optional.items() if value is not None}


def define(instance: Instance, relative: float = 1e-12, output: str = "grad_query") -> Enclosure:
    """One gradient of an instance, certified.  ``output`` names one of :meth:`Instance.outputs`.

    It is shaped like the array that it is the gradient of.  Its radius is at most about ``relative`` times the same
    sum with p_ij(H_ij + G_i) in place of |dS_ij|, where H_ij = Σ_c |dO_ic||v_jc| and G_i = Σ_j p_ij H_ij + |dlse_i|;
    for keys, values and the rest also times max(1, |lse_i|).
    Raises ``ValueError`` for an output that the instance does not have, or a ``relative`` outside (0, 1).

    >>> from assay.spec.attention_gradient import Instance
    >>> x = np.arange(3.0).reshape(1, 1, 3, 1)
    >>> print(define(Instance(x, x, x, x))[0, 0, 2, 0])
    0.3171912745130 ± 5e-14
    """
    if output not in instance.outputs():
        raise ValueError(f"unknown output {output!r}: expected one of {', '.join(instance.outputs())}")
    require_evaluable(instance, GRADIENTS)
    if output == "grad_query":
        return first_pass(instance, flattened(instance), relative, matrices=False)["grad_query"]
    return evaluate(instance, relative).gradients()[output]


def evaluate(instance: Instance, relative: float = 1e-12) -> Exact:
    """Every gradient, with what leads to them: arrays of n_q × n_k, for moderate sizes."""
    require_evaluable(instance, GRADIENTS)
    rows = flattened(instance)
    first = first_pass(instance, rows, relative * FINER, matrices=True)
    second = _keys(instance, rows, first, relative)
    return Exact(
        grad_query=first["grad_query"],
        grad_key=second["grad_key"],
        grad_value=second["grad_value"],
        grad_bias=None if instance.bias is None else _summed(first["score_gradient"], instance.bias.shape),
        grad_sink=None if instance.sink is None else _sink(instance, first, relative),
        delta=first["delta"],
        difference=first["difference"],
        slope=first.get("slope"),
        score_gradient=first.get("score_gradient"),
        capped=first["capped"],
    )


def first_pass(instance: Instance, rows: Rows, relative: float, *, matrices: bool) -> dict[str, Enclosure]:
    """The first pass: dQ, δ, the log-sum-exp, G, and where asked for matrices of queries and keys.

    rows: those of the instance, where a problem has keys and values that are products.
    """
    b, h, n_q, d = instance.query.shape
    n_k, d_v = instance.value.shape[2:]
    grad_output = instance.grad_output.astype(np.float64).reshape(b * h, n_q, d_v)
    grad_lse = _grad_log_sum_exp(instance).reshape(b * h, n_q, 1)
    results = {
        "grad_query": Result((b, h, n_q, d)),
        "delta": Result((b, h, n_q)),
        "log_sum_exp": Result((b, h, n_q), elsewhere=-np.inf),
        "size": Result((b, h, n_q), digits=False),
    }
    if matrices:
        names = ["difference", "capped"]
        names += ["score_gradient"] * (instance.bias is not None) + ["slope"] * (instance.softcap is not None)
        results |= {name: Result((b, h, n_q, n_k), digits=False) for name in names}

    def definition(arithmetic: Arithmetic, block: Block) -> Evaluated:
        part, grid = rows[block], np.ix_(*block)
        softmax = weighted(arithmetic, part)
        attended = part.attended
        if matrices:
            require_held("score", softmax.capped, attended)

        # p_ij = w_ij / D_i, without the sink, whose value is zero
        probability = softmax.weight.divided(softmax.denominator)[..., :n_k]

        # g_ij = ⟨dO_i, v_j⟩
        product = part.against_values(arithmetic, grad_output[grid]).where(attended, 0.0)

        # δ_i = Σ_j p_ij g_ij − dlse_i, which is 0 for a query that attends to nothing
        ones = np.ones((len(attended), n_k, 1))
        some = softmax.attended.any(axis=2, keepdims=True)
        expected, _ = probability.times(product).times_matrix(ones)
        delta = expected.plus(np.where(some, -grad_lse[grid], 0.0))

        # dS_ij = p_ij (g_ij − δ_i)
        difference = product.minus_row(delta).where(attended, 0.0)
        gradient = probability.times(difference)

        # dQ_i = σ Σ_j t_ij dS_ij k_j,  t = 1 − (s/c)² with s after the softcap and before the bias
        values = {"difference": difference, "score_gradient": gradient, "capped": softmax.capped}
        if part.softcap is not None:
            values["slope"] = _slope(arithmetic, softmax.capped, part.softcap)
            gradient = gradient.times(values["slope"])
        grad_query = part.keys_summed(arithmetic, gradient).scaled(part.scale)

        # H_ij, G_i and what radii are measured by
        p = probability.rounded()[0]
        moduli = np.where(attended, _held(np.abs(grad_output[grid]) @ np.abs(np.swapaxes(part.value, 1, 2))), 0.0)
        size = _held((p * moduli).sum(axis=2, keepdims=True) + np.abs(grad_lse[grid]))
        both = _held(moduli + size)
        reach = _reach(p * both, part.key, part.scale)
        lse = softmax.log_denominator.plus_ball(softmax.shift)
        fine = within(grad_query.error(), relative, reach, _LEAST).all(axis=2)
        fine &= within(delta.error(), relative, size, _LEAST)[..., 0]
        fine &= within(lse.error(), relative, np.maximum(1.0, np.abs(lse.rounded()[0])))[..., 0]
        if matrices:
            fine &= within(difference.error(), relative, both, _LEAST).all(axis=2)
            fine &= np.isfinite(softmax.capped.rounded()[1]).all(axis=2)
        values |= {"grad_query": grad_query, "delta": delta, "log_sum_exp": lse, "size": arithmetic.exact(size)}
        return Evaluated({name: values[name] for name in results}, fine)

    wanted: NDArray[np.bool_] = np.any(rows.attended, axis=2) | (instance.sink is not None)
    return escalate(definition, wanted, results, relative, n_k + (instance.sink is not None))


def _keys(instance: Instance, rows: Rows, first: dict[str, Enclosure], relative: float) -> dict[str, Enclosure]:
    """The second pass: dK and dV, whose rows are keys and whose sums run over the queries of all heads of a group."""
    b, h_k, n_k, d = instance.key.shape
    d_v, group, n_q = instance.value.shape[3], instance.group, instance.query.shape[2]
    stacks, width = b * h_k, group * n_q

    def joined(array: Any, *more: int) -> Any:
        """(b·h_k, g·n_q, …): the rows of all heads of a group, one after the other."""
        return array.reshape(stacks, width, *more)

    def turned(array: Any) -> Any:
        """(b·h_k, n_k, g·n_q): a matrix of queries and keys, with keys as rows."""
        return np.swapaxes(joined(array, n_k), 1, 2)

    key, value = (x.astype(np.float64).reshape(stacks, n_k, x.shape[3]) for x in (instance.key, instance.value))
    back = Rows(
        query=key,
        key=joined(rows.query, d),
        value=joined(instance.grad_output.astype(np.float64), d_v),
        attended=turned(rows.attended),
        bias=None if rows.bias is None else turned(rows.bias),
        sink=None,
        scale=rows.scale,
        softcap=rows.softcap,
    )
    made = second_pass(back, value, first, joined, relative, (b, h_k))
    return {"grad_key": made[0], "grad_value": made[1]}


def second_pass(
    rows: Rows,
    value: Array,
    first: dict[str, Enclosure],
    arranged: Callable[[Any], Any],
    relative: float,
    heads: tuple[int, int],
) -> tuple[Enclosure, Enclosure]:
    """The gradients of keys and values: rows are keys, and have queries for keys and the gradient dO for values.

    rows: of axes (stack, key), (query), with the stacks those of all ``heads``, (batches, key heads).
    value (stack, key, columns of V).  arranged(array): what the first pass has for every query, as (stack, query).
    """
    held = {name: _Held(first[name], arranged) for name in ("log_sum_exp", "delta")}
    size = arranged(first["size"].midpoint)[:, None, :]
    large = arranged(_large(first["log_sum_exp"]))[:, None, :]

    def definition(arithmetic: Arithmetic, block: Block) -> Evaluated:
        stacks, grid, part = block[0], np.ix_(*block), rows[block]
        seen = part.attended

        # s_ji, as in the first pass
        capped, score = scored(arithmetic, part)

        # p_ij = e^(s_ij − lse_i)
        lse, delta = (held[name].at(arithmetic, stacks)[:, None, :] for name in ("log_sum_exp", "delta"))
        probability = score.where(seen, 0.0).minus_row(lse).where(seen, 0.0).exp().where(seen, 0.0)

        # dV_j = Σ_i p_ij dO_i
        grad_value, _ = part.averaged(arithmetic, probability)

        # dS_ij = p_ij (⟨v_j, dO_i⟩ − δ_i),  dK_j = σ Σ_i t_ij dS_ij q_i
        product = part.against_values(arithmetic, value[grid]).where(seen, 0.0)
        gradient = probability.times(product.minus_row(delta).where(seen, 0.0))
        if part.softcap is not None:
            gradient = gradient.times(_slope(arithmetic, capped, part.softcap))
        grad_key = part.keys_summed(arithmetic, gradient).scaled(part.scale)

        p = _held(probability.rounded()[0] * large[stacks])
        moduli = np.where(seen, _held(np.abs(value[grid]) @ np.abs(np.swapaxes(part.value, 1, 2))), 0.0)
        both = _held(moduli + size[stacks])
        reach = _reach(_held(p * both), part.key, part.scale)
        reach_value = p @ np.abs(part.value)
        fine = within(grad_key.error(), relative, reach, _LEAST).all(axis=2)
        fine &= within(grad_value.error(), relative, reach_value, _LEAST).all(axis=2)
        return Evaluated({"grad_key": grad_key, "grad_value": grad_value}, fine)

    n_k, width = rows.attended.shape[1:]
    results = {
        "grad_key": Result((*heads, n_k, rows.query.shape[2])),
        "grad_value": Result((*heads, n_k, value.shape[2])),
    }
    wanted: NDArray[np.bool_] = np.any(rows.attended, axis=2)
    made = escalate(definition, wanted, results, relative, width)
    return made["grad_key"], made["grad_value"]


def _sink(instance: Instance, first: dict[str, Enclosure], relative: float) -> Enclosure:
    """dSink_h = −Σ_i p_i,sink δ_i, over the queries of all batches."""
    b, h, n_q, _ = instance.query.shape
    assert instance.sink is not None
    sink = instance.sink.astype(np.float64)

    def joined(array: Any) -> Any:
        return np.moveaxis(array, 0, 1).reshape(1, h, b * n_q)

    held = {name: _Held(first[name], joined) for name in ("log_sum_exp", "delta")}
    size = joined(first["size"].midpoint)
    large = joined(_large(first["log_sum_exp"]))

    def definition(arithmetic: Arithmetic, block: Block) -> Evaluated:
        grid = np.ix_(*block)
        lse, delta = (held[name].at(arithmetic, grid) for name in ("log_sum_exp", "delta"))
        column = np.repeat(sink[None, block[1], None], b * n_q, axis=2)
        probability = arithmetic.exact(column).minus_row(lse).exp()
        total, _ = probability.times(delta).times_matrix(np.ones((1, b * n_q, 1)))
        reach = (_held(probability.rounded()[0] * large[grid]) * size[grid]).sum(axis=2)
        fine = within(total.error()[..., 0], relative, reach, _LEAST)
        return Evaluated({"grad_sink": total.scaled(-1.0)}, fine)

    return escalate(definition, np.ones((1, h), bool), {"grad_sink": Result((h,))}, relative, b * n_q)["grad_sink"]


def _summed(gradient: Enclosure, shape: tuple[int, ...]) -> Enclosure:
    """dS summed over the axes along which a bias of this shape is broadcast.

    The midpoints are added as double-double numbers, so that what is lost is what rounding them to float64 lost.
    """
    full = gradient.shape
    wide = (1,) * (len(full) - len(shape)) + shape
    over = tuple(axis for axis, (n, m) in enumerate(zip(full, wide, strict=True)) if n != m)
    if not over:
        return Enclosure(gradient.midpoint.reshape(shape), gradient.radius.reshape(shape))
    middle, radius = (
        np.moveaxis(array, over, range(-len(over), 0)).reshape(np.prod(wide, dtype=int), -1)
        for array in (gradient.midpoint, gradient.radius)
    )
    with np.errstate(all="ignore"):
        total = DoubleDoubleBall.product(middle, np.ones((middle.shape[1], 1)))
        added = radius.sum(axis=1, keepdims=True) * (1 + 2.0**-20)
        mid, rad = DoubleDoubleBall(total.high, total.low, total.rad + added).rounded()
    return Enclosure(mid.reshape(shape), rad.reshape(shape))


def _reach(weight: Array, key: Array, scale: float) -> Array:
    """|scale|·Σ_j weight_ij |key_jc|; inf only where this itself is beyond float64, whatever its parts are."""
    size = np.abs(key)
    plain = np.abs(scale) * (weight @ size)
    if np.isfinite(plain).all():  # as nearly always
        return np.asarray(plain)
    row, column = (np.frexp(x.max(axis=axis, keepdims=True))[1] for x, axis in ((weight, 2), (size, 1)))
    share, power = np.frexp(np.abs(scale))
    return np.asarray(np.ldexp(share * (np.ldexp(weight, -row) @ np.ldexp(size, -column)), row + column + power))


def _held(size: Array) -> Array:
    """A size that overflowed cut at the largest number of float64, so that 0 times it is 0."""
    return np.minimum(size, LARGEST)


def _large(log_sum_exp: Enclosure) -> Array:
    """max(1, |lse|), and 1 for an empty row."""
    size = np.abs(log_sum_exp.midpoint)
    return np.maximum(1.0, np.where(np.isfinite(size), size, 0.0))


def _grad_log_sum_exp(instance: Instance) -> Array:
    """(b, h_q, n_q): the gradient that comes in through the log-sum-exp."""
    if instance.grad_log_sum_exp is None:
        return np.zeros(instance.query.shape[:3])
    return np.asarray(instance.grad_log_sum_exp.astype(np.float64))


def _slope(arithmetic: Arithmetic, capped: Any, c: float) -> Any:
    """1 − (s/c)², the derivative of the softcap where it has the value s."""
    share = capped.divided(arithmetic.exact(np.full((1, 1, 1), c)))
    return share.times(share).scaled(-1.0).plus(np.ones((1, 1, 1)))


@dataclass(frozen=True, eq=False)
class _Held:
    """A result of one pass, to be used by another one in any arithmetic; 0 where it is −∞.

    A number beyond float64 has no midpoint there, but an infinite radius, and its digits are kept.
    arranged(array): the numbers in the order of the other pass.
    """

    enclosure: Enclosure
    arranged: Callable[[Any], Any]

    def at(self, arithmetic: Arithmetic, index: Any) -> Any:
        """The balls with this index, in an arithmetic."""
        if arithmetic is Float64Ball:
            return Float64Ball(self._middle[index], self.arranged(self.enclosure.radius)[index])
        return arithmetic.around(self._digits[index])

    @functools.cached_property
    def _middle(self) -> Array:
        middle = self.arranged(self.enclosure.midpoint)
        return np.where(np.isfinite(middle), middle, 0.0)

    @functools.cached_property
    def _digits(self) -> NDArray[np.object_]:
        digits: NDArray[np.object_] = self.arranged(self.enclosure.balls).copy()
        minus_infinity = (self.enclosure.midpoint == -np.inf) & (self.enclosure.radius == 0.0)
        digits[self.arranged(minus_infinity)] = flint.arb(0)
        return digits
