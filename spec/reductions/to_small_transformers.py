"""From vectors to attention by a smaller transformer: the arrows to attention, with an oracle beside them (ST-7).

Whatever plan computes the attention decodes to the answer.  So where no algorithm decides the formula in time
2^((1 − ε)n), T calls of attention on M tokens each, whose time is M^(2 + o(1)), are T·M² ≥ N^(2 − o(1)): the bound of
ST-2, without its assumption that tokens are rows of the input (proofs_notes/small_transformers.md, ST-7).
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.reductions.to_attention import OV_2, OV_3, OV_4
from assay.spec.small_transformers.instance import Instance

if TYPE_CHECKING:
    from assay.spec.reductions.reduction import Reduction, Sizes

__all__ = ["ST_7A", "ST_7B", "ST_7C"]


def _through(arrow: Reduction, name: str, statement: str) -> Reduction:
    """The arrow to attention, with an oracle of ``oracle_size`` tokens, by default about the root of the keys."""

    def forward(source: Any, oracle_size: int | None = None, **options: Any) -> Instance:
        plain = arrow.forward(source, **options)
        return Instance(
            plain.query,
            plain.key,
            plain.value,
            oracle_size=_size(plain.key.shape[2], oracle_size),
            scale=plain.scale,
            provenance=Provenance(family=name),
        )

    def sizes(given: Sizes, oracle_size: int | None = None, **options: Any) -> Sizes:
        made = arrow.sizes(given, **options)
        return {**made, "oracle_size": _size(made["m"], oracle_size)}

    return dataclasses.replace(
        arrow,
        name=name,
        claim="ST-7",
        target="small_transformers",
        statement=statement,
        forward=forward,
        decoder=lambda source, target, output: arrow.decoder(source, target.attention(), output),
        accuracy=lambda source, target: arrow.accuracy(source, target.attention()),
        sizes=sizes,
        options=(*arrow.options, "oracle_size"),
    )


def _size(keys: int, oracle_size: int | None) -> int:
    """The size of the oracle: as it is asked for, or the least M with M² ≥ the number of keys."""
    if oracle_size is None:
        return max(2, math.isqrt(keys - 1) + 1)
    if isinstance(oracle_size, bool) or not isinstance(oracle_size, int) or oracle_size < 2:
        raise InvalidInstance(f"oracle_size {oracle_size!r}: expected an integer of at least 2")
    return oracle_size


ST_7A = _through(OV_2, "ST-7a", "OV-2, by calls of an attention on √N tokens: a plan of N calls and no fewer, ST-2")
ST_7B = _through(OV_3, "ST-7b", "OV-3 likewise: 1/output − 1 counts the partners of a")
ST_7C = _through(OV_4, "ST-7c", "OV-4 likewise: entries Θ(√log n)")
