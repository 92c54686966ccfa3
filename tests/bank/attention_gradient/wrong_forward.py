"""Differentiable forward passes of PyTorch whose gradients are wrong, though most of their outputs are right."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

from bank.attention_gradient.forward import Steps, forward, passed_on

__all__ = ["WRONG_FORWARDS"]

#: name, bug, diagnosis, kernel
Row = tuple[str, str, str | None, Any]


def _normalised(change: str) -> Any:
    """Probabilities and log-sum-exp of weights e^(s − m), with a part taken out of differentiation or changed."""

    def normalised(s: Any) -> tuple[Any, Any]:
        top = s.amax(3, keepdim=True)
        fixed = top.detach()
        weight = (s - fixed).exp()
        total = weight.sum(3, keepdim=True)
        lse = (fixed + total.log())[..., 0]
        if change == "sum":
            return weight / total.detach(), lse
        if change == "denominator":  # the maximum is differentiated in the numerator alone
            return (s - top).exp() / total, lse
        if change == "shift":  # the maximum that is added back is detached, and the one that is subtracted is not
            return weight / total, (fixed + (s - top).exp().sum(3, keepdim=True).log())[..., 0]
        if change == "all":
            return (weight / total).detach(), lse
        if change == "epsilon":
            return weight / (total + 1e-3), lse
        if change == "clamped":
            return (weight / total).clamp(1e-3, 0.95), lse
        if change == "lse":
            return weight / total, lse.detach() + 0.0 * lse
        if change == "lse-base-2":
            return weight / total, passed_on(lambda g: g / math.log(2.0))(lse)
        if change == "lse-first-head":
            return weight / total, passed_on(lambda g: g[:, :1].expand(g.shape))(lse)
        assert change == "stored", change
        return passed_on(lambda g: g.bfloat16().to(g.dtype))(weight / total), lse

    return normalised


def _slope(change: Any) -> Any:
    """The softcap with another derivative: change(tanh)."""

    def capped(s: Any, c: float) -> Any:
        bent = (s / c).tanh()
        return passed_on(lambda g: g * change(bent.detach(), c))(s) + (c * bent - s).detach()

    return capped


def _first_of_group(x: Any, group: int) -> Any:
    """Only the first query head of a group has keys that are differentiated."""
    import torch

    first = (torch.arange(x.shape[1] * group) % group == 0)[None, :, None, None]
    wide = x.repeat_interleave(group, 1)
    return torch.where(first, wide, wide.detach())


def _mean_of_group(x: Any, group: int) -> Any:
    return passed_on(lambda g: g / group)(x.repeat_interleave(group, 1))


def _scored(query: Any = None, key: Any = None, both: Any = None) -> Any:
    """Scores with another derivative in the query, in the key, or in both: a function of the gradient and the scale."""

    def scored(q: Any, k: Any, scale: float) -> Any:
        dim = q.shape[3]
        q = q if query is None else passed_on(lambda g: g * query(scale, dim))(q)
        k = k if key is None else passed_on(lambda g: g * key(scale, dim))(k)
        s = q @ k.transpose(2, 3) * scale
        return s if both is None else passed_on(lambda g: g * both(scale, dim))(s)

    return scored


def _rounded_scores(q: Any, k: Any, scale: float) -> Any:
    return passed_on(lambda g: g.bfloat16().to(g.dtype))(q @ k.transpose(2, 3) * scale)


def _half_of_values(p: Any, v: Any) -> Any:
    """The second half of the values is detached."""
    import torch

    half = v.shape[3] // 2
    return p @ torch.cat([v[..., :half], v[..., half:].detach()], 3)


def _rows() -> list[Row]:
    def row(name: str, bug: str, diagnosis: str | None = None, **steps: Any) -> Row:
        return f"forward-{name}", bug, diagnosis, forward(Steps(**steps))

    return [
        row("sum-detached", "the sum of weights is detached", "δ is left out", normalised=_normalised("sum")),
        row("maximum-in-numerator", "the row maximum is differentiated in the numerator and detached in the sum", "in the numerator alone", normalised=_normalised("denominator")),
        row("maximum-in-lse", "the row maximum of the log-sum-exp is differentiated where it is subtracted alone", "where it is subtracted alone", normalised=_normalised("shift")),
        row("probabilities-detached", "the probabilities are detached", "every number of grad_query is 0", normalised=_normalised("all")),
        row("epsilon", "an ε in the denominator", None, normalised=_normalised("epsilon")),
        row("clamped", "probabilities are clamped", None, normalised=_normalised("clamped")),
        row("lse-detached", "the log-sum-exp is detached", "the gradient of the log-sum-exp is dropped", normalised=_normalised("lse")),
        row("lse-base-2", "the gradient of the log-sum-exp in base 2", "the gradient of the log-sum-exp is multiplied by log₂ e", normalised=_normalised("lse-base-2")),
        row("lse-first-head", "the gradient of the log-sum-exp of head 0 for every head", "the gradient of the log-sum-exp of the first head", normalised=_normalised("lse-first-head")),
        row("stored-products", "dP in bfloat16", None, normalised=_normalised("stored")),
        row("softcap-straight-through", "the softcap is passed by", "the factor 1 − tanh² is left out", capped=_slope(lambda t, c: 1.0 + 0.0 * t)),
        row("softcap-linear", "the factor 1 − |tanh|", "the factor is 1 − |tanh|", capped=_slope(lambda t, c: 1.0 - t.abs())),
        row("softcap-clipped", "the softcap differentiated as a clip", "the derivative of a clip", capped=_slope(lambda t, c: (t.abs() < math.tanh(1.0)).to(t.dtype))),
        row("softcap-over-cap", "the derivative of tanh(s/c), without c", "is divided by the cap", capped=_slope(lambda t, c: (1.0 - t * t) / c)),
        row("group-first", "keys of the first query head of a group alone", "only the first query head of a group", heads=_first_of_group),
        row("group-mean", "the mean over a group", "the mean over a group", heads=_mean_of_group),
        row("bias-detached", "the bias is detached", "dbias is 0", bias=lambda x: x.detach()),
        row("bias-doubled", "the bias's gradient is added twice", "dbias is added twice", bias=lambda x: passed_on(lambda g: 2.0 * g)(x)),
        row("sink-detached", "the sink is detached", "dsink is 0", sink=lambda x: x.detach()),
        row("scale-standard", "1/√d in the place of the scale, in the derivatives alone", "have 1/√dim in the place of the scale", scored=_scored(both=lambda scale, dim: dim**-0.5 / scale if scale else 1.0)),
        row("scale-missing-query", "dQ without the scale", "dq lacks the scale", scored=_scored(query=lambda scale, dim: 1.0 / scale if scale else 1.0)),
        row("scale-twice-key", "dK with the scale twice", "dk has the scale twice", scored=_scored(key=lambda scale, dim: scale)),
        row("log2e", "scores in base 2 that are differentiated as such", "dq and dk are multiplied by log₂ e", scored=_scored(both=lambda scale, dim: 1.0 / math.log(2.0))),
        row("rounded-difference", "dS in bfloat16", None, scored=_rounded_scores),
        row("values-half", "the second half of the values is detached", None, attended=_half_of_values),
        row("values-twice", "dV added twice", "dv is added twice", attended=lambda p, v: p @ passed_on(lambda g: 2.0 * g)(v)),
        row("gradient-clipped", "the gradient of the output is clipped to [−1, 1]", "grad_output is clipped to", written=passed_on(lambda g: g.clamp(-1.0, 1.0))),
        row("gradient-rounded", "the gradient of the output in bfloat16", None, written=passed_on(lambda g: g.bfloat16().to(g.dtype))),
        row("gradient-of-mean", "the gradient of the output divided by the batch", "grad_output is divided by the number of batches", written=passed_on(lambda g: g / g.shape[0])),
    ]  # fmt: skip


#: Wrong forward passes of PyTorch, where it is installed.
WRONG_FORWARDS: tuple[Row, ...] = tuple(_rows()) if importlib.util.find_spec("torch") is not None else ()
