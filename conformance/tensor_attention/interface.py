"""How kernels of attention of order k are called: a form for every order, and what an instance needs of a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.conformance.attention.criteria import CERTIFICATE, held_to
from assay.conformance.attention.criteria import CONVENTIONS as ATTENTION_CONVENTIONS
from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS
from assay.spec.precision import reference_accuracy
from assay.spec.tensor_attention import evaluate, tolerance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision
    from assay.spec.tensor_attention import HigherOrder

__all__ = ["CAPABILITIES", "CONVENTIONS", "INTERFACE", "ORDERS", "criteria", "options_of", "positional"]

#: The orders of which kernels are judged; a kernel is taken for one of the first where its arrays tell nothing.
ORDERS = (3, 2, 4, 5)

_OPTIONS = "scale, is_causal=False, window=None, return_lse=False"


def positional(order: int) -> tuple[str, ...]:
    """The names of the arrays of a kernel of this order: query, key1 … key{k−1}, value1 … value{k−1}.

    >>> positional(3)
    ('query', 'key1', 'key2', 'value1', 'value2')
    """
    return ("query", *(f"{name}{mode}" for name in ("key", "value") for mode in range(1, order)))


def _form(order: int) -> Form:
    names = positional(order)
    modes = f"takes {order - 1} {'keys and values' if order > 2 else 'key and value'} a position"
    return Form(
        names,
        f"({', '.join(names)}, *, {_OPTIONS})",
        lacks={f"order_{other}": f"{modes}, and not {other - 1}" for other in ORDERS if other != order},
    )


def _of_order(order: int) -> Capability:
    return Capability(f"order_{order}", lambda instance: instance.order == order)


def _lengths_differ(instance: HigherOrder) -> bool:
    return any(n != instance.query.shape[2] for n in instance.mode_lengths)


def _has_empty_row(instance: HigherOrder) -> bool:
    return not instance.visible().any(axis=1).all()


def _window_without_limit(instance: HigherOrder) -> bool:
    return instance.window is not None and None in instance.window


#: What kernels of attention of order k can or cannot do.
CAPABILITIES = (
    *(_of_order(order) for order in sorted(ORDERS)),
    Capability("causal", lambda i: i.is_causal, ("is_causal",)),
    Capability("window", lambda i: i.window is not None, ("window",)),
    Capability("return_lse", lambda i: getattr(i, "return_lse", False), ("return_lse",)),
    Capability("requested_error", keywords=("error",)),
    Capability("grouped_heads", lambda i: i.group > 1),
    Capability("cross_lengths", _lengths_differ),
    Capability("unlike_modes", lambda i: len(set(i.mode_lengths)) > 1),
    Capability("causal_cross_lengths", lambda i: i.is_causal and _lengths_differ(i)),
    Capability("value_dim", lambda i: i.mode_values[0].shape[3] != i.query.shape[3]),
    Capability("other_scale", lambda i: i.scale != i.usual()["scale"]),
    Capability("window_without_causal", lambda i: i.window is not None and not i.is_causal),
    Capability("without_window", lambda i: i.window is None),
    Capability("window_without_limit", _window_without_limit),
    Capability("empty_row_lse", lambda i: getattr(i, "return_lse", False) and _has_empty_row(i)),
    Capability(CONCURRENT_CALLS),
    Capability(FRESH_OUTPUTS),
)

#: Conventions that ``options`` may declare: those of attention.
CONVENTIONS = ATTENTION_CONVENTIONS


def options_of(instance: HigherOrder) -> dict[str, Any]:
    """``scale`` always, other keywords only where the instance has the option."""
    keywords: dict[str, Any] = {"scale": instance.scale}
    if instance.is_causal:
        keywords["is_causal"] = True
    if instance.window is not None:
        keywords["window"] = instance.window
    return keywords


def _script(instance: HigherOrder, kernel: Kernel, precision: Precision) -> Script:
    """One call."""
    keywords = options_of(instance)
    b, h_q, n_q, _ = instance.query.shape
    axes = ("batch", "heads", "queries", "value dim")
    output = Output("output", (b, h_q, n_q, instance.mode_values[0].shape[3]), (precision.result,), axes)
    outputs = [output]
    if getattr(instance, "return_lse", False):
        keywords["return_lse"] = True
        wide = ("float64",) if precision.result == "float64" else ("float32", "float64")
        dtypes = tuple(dict.fromkeys((precision.result, *wide)))
        outputs.append(Output("log_sum_exp", (b, h_q, n_q), dtypes, axes[:3]))
    if "error" in kernel.conventions and "error" in kernel.keywords:
        keywords["error"] = float(kernel.conventions["error"])
    if kernel.conventions.get("certificate") == "yes":
        keywords["return_certificate"] = True
        outputs.append(Output(CERTIFICATE, output.shape, ("float64",), axes))
    arrays = tuple((name, getattr(instance, name)) for name in positional(instance.order))
    return (Step(arrays, keywords, tuple(outputs)),)


def criteria(instance: HigherOrder, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """Closeness of every output, under the conventions that the kernel declares."""
    exact = evaluate(instance, reference_accuracy(precision))
    return held_to(instance, kernel, exact, lambda name: tolerance(instance, precision, name, exact=exact))


INTERFACE = Interface(tuple(_form(order) for order in ORDERS), _script, ("scale",), CAPABILITIES, CONVENTIONS)
