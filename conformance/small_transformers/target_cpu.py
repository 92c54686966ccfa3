"""assay's own simulation, with an oracle of every kind."""

from __future__ import annotations

import functools
from typing import Any

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["built_in"]

#: Kind of the oracle → which of its keywords are used.
_KEYWORDS: dict[str, tuple[str, ...]] = {"plain": ("mask",), "log_sum_exp": ("mask", "return_lse"), "causal": ()}


def built_in(name: str, **conventions: str) -> Kernel:
    """The kernel for an oracle of the kind, and of the heads at once, that ``conventions`` declare."""
    from assay.impl.cpu import small_transformers

    kind = conventions.get("oracle", "plain")
    options: dict[str, Any] = {"keywords": _KEYWORDS[kind], "causal_only": kind == "causal"}
    if "at_once" in conventions:
        options["at_once"] = int(conventions["at_once"])
    simulate = _asking if kind == "log_sum_exp" else small_transformers.exact
    function = functools.partial(simulate, **options)
    return Kernel(
        name,
        function,
        keywords=keywords_of(small_transformers.exact, "small_transformers"),
        conventions=conventions,
    )


def _asking(*arrays: Any, oracle: Any, **options: Any) -> Any:
    """``exact`` expects the output alone of a call that need not return its log-sum-exp: a window needs none."""
    from assay.impl.cpu import small_transformers

    def asked(query: Any, key: Any, value: Any, *, scale: float, mask: Any = None, return_lse: bool = False) -> Any:
        made = oracle(query, key, value, scale=scale, mask=mask)
        return made if return_lse else made[0]

    return small_transformers.exact(*arrays, oracle=asked, **options)
