"""How an attention kernel is called: what an instance needs of it, and the call itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.conformance.interface.suite import CERTIFICATE, Call

if TYPE_CHECKING:
    from assay.conformance.interface.kernel import Kernel
    from assay.spec.attention import Instance
    from assay.spec.precision import Precision

__all__ = ["CAPABILITIES", "POSITIONAL", "SIGNATURE", "call", "needs"]

POSITIONAL = ("query", "key", "value")
SIGNATURE = (
    "(query, key, value, *, scale, is_causal=False, causal=None, mask=None, bias=None, window=None, "
    "key_lengths=None, softcap=None, sink=None, return_lse=False), each keyword after scale only if it is supported"
)

#: What a kernel may be able to do → the keywords of which its signature names one.  None: everybody's, unless declared
#: off.  ``concurrent_calls`` is needed by cases that several threads call at once, never by an instance.
CAPABILITIES: dict[str, tuple[str, ...]] = {
    "causal_top_left": ("is_causal", "causal"),
    "causal_bottom_right": ("causal",),
    "mask": ("mask",),
    "bias": ("bias",),
    "window": ("window",),
    "key_lengths": ("key_lengths",),
    "softcap": ("softcap",),
    "sink": ("sink",),
    "return_lse": ("return_lse",),
    "requested_error": ("error",),
    "grouped_heads": (),
    "cross_lengths": (),
    "causal_cross_lengths": (),
    "value_dim": (),
    "causal_with_mask": (),
    "bias_with_mask": (),
    "empty_row_lse": (),
    "concurrent_calls": (),
}

_ARRAYS = ("mask", "bias", "key_lengths", "sink")


def needs(instance: Instance) -> frozenset[str]:
    """The capabilities without which a kernel cannot be asked for this instance."""
    b, h_q, n_q, d = instance.query.shape
    h_k, n_k, d_v = instance.value.shape[1:]
    causal = instance.causal is not None
    empty = instance.return_lse and any(not instance.attends(batch).any(axis=-1).all() for batch in range(b))
    wanted = {
        "causal_top_left": instance.causal == "top-left",
        "causal_bottom_right": instance.causal == "bottom-right",
        "mask": instance.mask is not None,
        "bias": instance.bias is not None,
        "window": instance.window is not None,
        "key_lengths": instance.key_lengths is not None,
        "softcap": instance.softcap is not None,
        "sink": instance.sink is not None,
        "return_lse": instance.return_lse,
        "grouped_heads": h_q != h_k,
        "cross_lengths": n_q != n_k,
        "causal_cross_lengths": n_q != n_k and causal,
        "value_dim": d_v != d,
        "causal_with_mask": causal and (instance.mask is not None or instance.bias is not None),
        "bias_with_mask": instance.mask is not None and instance.bias is not None,
        "empty_row_lse": empty,
    }
    return frozenset(name for name, needed in wanted.items() if needed)


def call(instance: Instance, kernel: Kernel, precision: Precision) -> Call:
    """The call of ``kernel`` for ``instance``: ``scale`` always, other keywords only for options that it has."""
    b, h_q, n_q, _ = instance.query.shape
    keywords: dict[str, Any] = {"scale": instance.scale}
    if instance.causal == "top-left" and "is_causal" in kernel.keywords:
        keywords["is_causal"] = True
    elif instance.causal is not None:
        keywords["causal"] = instance.causal
    for name in _ARRAYS:
        if (array := getattr(instance, name)) is not None:
            keywords[name] = array
    if instance.window is not None:
        keywords["window"] = instance.window
    if instance.softcap is not None:
        keywords["softcap"] = instance.softcap
    outputs: tuple[str, ...] = ("output",)
    shapes: tuple[tuple[int, ...], ...] = ((b, h_q, n_q, instance.value.shape[3]),)
    dtypes: tuple[tuple[str, ...], ...] = ((precision.result,),)
    if instance.return_lse:
        keywords["return_lse"] = True
        outputs += ("log_sum_exp",)
        shapes += ((b, h_q, n_q),)
        wide = ("float64",) if precision.result == "float64" else ("float32", "float64")
        dtypes += (tuple(dict.fromkeys((precision.result, *wide))),)
    if "error" in kernel.conventions and "error" in kernel.keywords:
        keywords["error"] = float(kernel.conventions["error"])
    if kernel.conventions.get("certificate") == "yes":
        keywords["return_certificate"] = True
        outputs += (CERTIFICATE,)
        shapes += (shapes[0],)
        dtypes += (("float64",),)
    arrays = tuple((name, getattr(instance, name)) for name in POSITIONAL)
    return Call(arrays, keywords, outputs, shapes, dtypes)
