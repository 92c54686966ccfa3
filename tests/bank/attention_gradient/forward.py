"""One differentiable forward pass of PyTorch, step by step: right and wrong ones change a step of it.

A framework differentiates it, so that a wrong step is one whose *derivative* is wrong, mostly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Steps", "forward", "passed_on", "torch_kernel"]

_KEYWORDS = ("scale", "is_causal", "mask", "bias", "softcap", "sink", "return_lse")


@dataclass(frozen=True)
class Steps:
    """What a forward pass does; the defaults are right.

    heads(array, group): keys or values of every query head.  scored(q, k, scale): the scores.  capped(s, c): the
    softcap.  added(x): a bias or a sink as it is added.  normalised(s): the probabilities of a row, and its
    log-sum-exp.  attended(p, v): the output.  written(output): what is returned of it.  wide: inputs are widened to
    float32 first.
    """

    heads: Callable[[Any, int], Any] = lambda x, group: x.repeat_interleave(group, 1)
    scored: Callable[[Any, Any, float], Any] = lambda q, k, scale: q @ k.transpose(2, 3) * scale
    capped: Callable[[Any, float], Any] = lambda s, c: c * (s / c).tanh()
    bias: Callable[[Any], Any] = lambda x: x
    sink: Callable[[Any], Any] = lambda x: x
    normalised: Callable[[Any], tuple[Any, Any]] = lambda s: (s.softmax(-1), s.logsumexp(-1))
    attended: Callable[[Any, Any], Any] = lambda p, v: p @ v
    written: Callable[[Any], Any] = lambda x: x
    wide: bool = False


def torch_kernel(
    function: Callable[..., Any], keywords: tuple[str, ...] = _KEYWORDS, lacks: tuple[str, ...] = ()
) -> Any:
    """The kernel that differentiates a forward pass of PyTorch."""
    from assay.conformance.attention_gradient.forms import vector_jacobian_product
    from assay.conformance.attention_gradient.interface import FORWARD_FORM
    from assay.conformance.interface.kernel import Kernel

    return Kernel(
        "torch",
        vector_jacobian_product(function, "torch"),
        "torch",
        frozenset(keywords),
        lacks=frozenset(lacks),
        positional=FORWARD_FORM.positional,
        problem="attention_gradient",
    )


def forward(steps: Steps) -> Any:
    """The kernel of a forward pass with these steps, which takes masks, a bias, a softcap and a sink."""
    import torch

    def attend(
        query: Any, key: Any, value: Any, *, scale: float, is_causal: bool = False, mask: Any = None, bias: Any = None,
        softcap: float | None = None, sink: Any = None, return_lse: bool = False,
    ) -> Any:  # fmt: skip
        group = query.shape[1] // key.shape[1]
        k, v = steps.heads(key, group), steps.heads(value, group)
        q, k, v = (x.float() for x in (query, k, v)) if steps.wide else (query, k, v)
        s = steps.scored(q, k, scale)
        if softcap is not None:
            s = steps.capped(s, softcap)
        seen = torch.ones(s.shape, dtype=torch.bool)
        if bias is not None:
            seen = seen & ~bias.isinf()
            s = s + steps.bias(bias.masked_fill(bias.isinf(), 0.0)).to(s.dtype)
        if is_causal:
            seen = seen.tril()
        if mask is not None:
            seen = seen & mask
        s = s.masked_fill(~seen, -torch.inf)
        if sink is not None:
            column = steps.sink(sink).to(s.dtype)[None, :, None, None].expand(*s.shape[:3], 1)
            s = torch.cat([s, column], 3)
        empty = s.isinf().all(3)
        s = torch.where(empty[..., None], 0.0, s)
        p, lse = steps.normalised(s)
        p = p[..., : k.shape[2]].masked_fill(~seen, 0.0)
        output = steps.written(steps.attended(p, v)).to(query.dtype)
        return (output, torch.where(empty, -torch.inf, lse)) if return_lse else output

    return torch_kernel(attend)


def passed_on(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The identity, whose derivative is ``change``."""
    import torch

    class Changed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return change(gradient)

    return lambda x: Changed.apply(x)
