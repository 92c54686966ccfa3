"""A differentiable forward pass becomes a backward pass: its framework differentiates it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["vector_jacobian_product"]

_ARRAYS = ("bias", "sink")  # besides query, key and value
_HIDING = ("mask", "bias", "window", "key_lengths", "causal")  # options that may leave a query without a key


def vector_jacobian_product(
    function: Callable[..., Any], framework: str, names: tuple[str, ...] = ("query", "key", "value")
) -> Callable[..., Any]:
    """The vector–Jacobian product of a forward pass of attention.

    function(query, key, value, *, scale, …): returns the output, and with ``return_lse=True`` the log-sum-exp too.
    framework: ``torch``, whose autograd differentiates it, or ``jax``, whose ``vjp`` does.
    names: the positional arrays of the function, where they are others.
    Returns a function of (query, key, value, grad_output, *, differentiate, grad_log_sum_exp=None, …) that returns the
    gradients of the arrays named in ``differentiate``, followed by the output.  It raises ``RuntimeError`` where torch
    has no graph from the output to any input although some row attends to some key.
    Raises :class:`~assay.conformance.interface.usage.UsageError` for another framework.
    """
    if framework not in ("torch", "jax"):
        raise UsageError(
            f"a forward pass in {framework} has no gradient: expected --framework torch or jax, or a backward pass "
            f"({', '.join(names)}, output, log_sum_exp, grad_output, *, scale, …)"
        )
    made = functools.partial(_by_torch if framework == "torch" else _by_jax, function, names)
    functools.update_wrapper(made, function)
    return made


def _by_torch(
    function: Callable[..., Any],
    names: tuple[str, ...],
    *given: Any,
    differentiate: tuple[str, ...],
    grad_log_sum_exp: Any = None,
    **keywords: Any,
) -> tuple[Any, ...]:
    import torch

    arrays, grad_output = dict(zip(names, given[:-1], strict=True)), given[-1]
    arrays |= {name: keywords[name] for name in _ARRAYS if name in keywords}
    leaves = {name: array.detach() for name, array in arrays.items()}
    for name in differentiate:
        leaves[name] = leaves[name].requires_grad_()
    keywords |= {name: leaves[name] for name in _ARRAYS if name in leaves}
    if grad_log_sum_exp is not None:
        keywords["return_lse"] = True
    with torch.enable_grad():
        returned = function(*(leaves[name] for name in names), **keywords)
    parts = returned if isinstance(returned, tuple) else (returned,)
    incoming = [grad_output] if grad_log_sum_exp is None else [grad_output, grad_log_sum_exp.to(parts[1].dtype)]
    wanted = [leaves[name] for name in differentiate]
    # A part that depends on nothing has no gradient to give; what nothing depends on has the gradient 0.
    pairs = [(part, grad) for part, grad in zip(parts[: len(incoming)], incoming, strict=True) if part.requires_grad]
    output = parts[0].detach()
    if not pairs and _depends(torch, output, arrays[names[1]], keywords):
        raise RuntimeError("the output has no graph to any input: detached, computed under no_grad, or out of NumPy?")
    gradients: Any = (None,) * len(wanted)
    if pairs:
        outputs, weights = zip(*pairs, strict=True)
        gradients = torch.autograd.grad(outputs, wanted, weights, allow_unused=True)
    made = (torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(wanted, gradients, strict=True))
    return (*made, output)


def _depends(torch: Any, output: Any, key: Any, keywords: Mapping[str, Any]) -> bool:
    """Whether an output depends on the values for certain: some row of it attends to some key.

    Rows without a key may be filled with any one number and depend on nothing.  There are none where no option hides
    keys; elsewhere an output of several numbers is taken for means of values.
    """
    if output.numel() and key.shape[2] and not any(name in keywords for name in _HIDING):
        return True
    finite = output[torch.isfinite(output)]
    return bool((finite != finite[:1]).any())


def _by_jax(
    function: Callable[..., Any],
    names: tuple[str, ...],
    *given: Any,
    differentiate: tuple[str, ...],
    grad_log_sum_exp: Any = None,
    **keywords: Any,
) -> tuple[Any, ...]:
    import jax

    arrays, grad_output = dict(zip(names, given[:-1], strict=True)), given[-1]
    arrays |= {name: keywords[name] for name in _ARRAYS if name in keywords}
    others = {name: word for name, word in keywords.items() if name not in _ARRAYS}
    if grad_log_sum_exp is not None:
        others["return_lse"] = True

    def forward(*leaves: Any) -> Any:
        named = arrays | dict(zip(differentiate, leaves, strict=True))
        first = [named.pop(name) for name in names]
        return function(*first, **named, **others)

    returned, pull = jax.vjp(forward, *(arrays[name] for name in differentiate))
    if grad_log_sum_exp is None:
        output = returned[0] if isinstance(returned, tuple) else returned
        return (*pull(grad_output), output)
    return (*pull((grad_output, grad_log_sum_exp.astype(returned[1].dtype))), returned[0])
