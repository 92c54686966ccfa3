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
    function = functools.partial(small_transformers.exact, **options)
    return Kernel(
        name,
        function,
        keywords=keywords_of(small_transformers.exact, "small_transformers"),
        conventions=conventions,
    )
