"""How large the entries and scores of real attention heads are, in the units of the papers (ATT-6).

The papers attend with exp(⟨q, k⟩/d) and |entries| ≤ B.  Attention with scale σ equals theirs with queries t·q and keys
(σd/t)·k for any t > 0, so its least B is √(σ·d·max|q|·max|k|).  Attention does not change when one vector is subtracted
from every key (ATT-1), or when coordinate c of the queries is multiplied by t_c and that of the keys divided by it.
This gives three bounds:

- ``bound``     √(σd · max|q| · max|k|)
- ``centred``   the same with the mean key subtracted from every key
- ``balanced``  √(σd · max_c (max_i |q_ic| · max_j |k_jc|)) with centred keys: the least over all t_c

None of these is above the one before it, except that ``centred`` may be up to √2 times ``bound``.  One bound holds from
below, whichever vector is subtracted from every key and whichever invertible matrix is moved from the keys to the
queries:

- ``floor``     √(max_i (max_j s_ij − min_j s_ij)/2), over the keys j that query i sees
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.models.weights import ModelError

if TYPE_CHECKING:
    from assay.impl.models.model import AttentionInput, Model

__all__ = ["HeadBounds", "head_bounds", "measure", "standard_text"]


@dataclass(frozen=True)
class HeadBounds:
    """The bounds of one query head of one layer on one text of ``length`` tokens; the head dimension is ``dim``.

    radius, radius_centred: σ·max‖q‖·max‖k‖, the bound on |scores| that norms prove.  scores, scores_centred: the least
    and the largest score σ⟨q, k⟩ of a query and a key that it sees.
    """

    layer: int
    head: int
    length: int
    dim: int
    scale: float
    is_causal: bool
    largest_query: float
    largest_key: float
    largest_key_centred: float
    bound: float
    centred: float
    balanced: float
    floor: float
    radius: float
    radius_centred: float
    scores: tuple[float, float]
    scores_centred: tuple[float, float]

    @property
    def least(self) -> float:
        """The least of the three bounds B."""
        return min(self.bound, self.centred, self.balanced)

    @property
    def floor_ratio(self) -> float:
        """B/√(ln n) with the B that no change of basis and no centring can go below."""
        return self.floor / math.sqrt(math.log(self.length))

    @property
    def ratio(self) -> float:
        """B/√(ln n) with the B of the head as it is."""
        return self.bound / math.sqrt(math.log(self.length))

    @property
    def least_ratio(self) -> float:
        """B/√(ln n) with the least B."""
        return self.least / math.sqrt(math.log(self.length))


def measure(given: AttentionInput, layer: int) -> list[HeadBounds]:
    """The bounds of every query head of a layer.

    Raises :class:`ModelError` for numbers that are not finite, and for fewer than two tokens.
    """
    query, key = given.query.astype(np.float64), given.key.astype(np.float64)
    h, n, d = query.shape
    if n < 2:
        raise ModelError(f"a text of {n} tokens: expected at least 2")
    if not (np.isfinite(query).all() and np.isfinite(key).all()):
        raise ModelError(f"layer {layer}: its queries or keys are not finite")
    visible = np.tri(n, dtype=np.bool_) if given.is_causal else np.ones((n, n), np.bool_)
    found = []
    for head in range(h):
        q, k = query[head], key[head // (h // len(key))]
        centred = k - k.mean(axis=0)
        entries_q, entries_k, entries_c = (np.abs(x).max(axis=0) for x in (q, k, centred))
        unit = given.scale * d
        norms = [
            given.scale * float(np.linalg.norm(q, axis=1).max() * np.linalg.norm(x, axis=1).max()) for x in (k, centred)
        ]
        before, after = (given.scale * (q @ x.T) for x in (k, centred))
        widest = np.where(visible, before, -np.inf).max(axis=1) - np.where(visible, before, np.inf).min(axis=1)
        found.append(
            HeadBounds(
                layer,
                head,
                n,
                d,
                given.scale,
                given.is_causal,
                float(entries_q.max()),
                float(entries_k.max()),
                float(entries_c.max()),
                math.sqrt(unit * entries_q.max() * entries_k.max()),
                math.sqrt(unit * entries_q.max() * entries_c.max()),
                math.sqrt(unit * (entries_q * entries_c).max()),
                math.sqrt(widest.max() / 2),
                norms[0],
                norms[1],
                (float(before[visible].min()), float(before[visible].max())),
                (float(after[visible].min()), float(after[visible].max())),
            )
        )
    return found


def head_bounds(model: Model, text: str, tokens: int) -> list[HeadBounds]:
    """The bounds of every head of every layer on the first ``tokens`` tokens of a text.

    Raises :class:`ModelError` where the text or the model is too short for that.
    """
    if not 2 <= tokens <= model.longest:
        raise ModelError(f"{model.name}: {tokens} tokens, expected from 2 to {model.longest}")
    ids = model.encode(text, tokens)
    if len(ids) < tokens:
        raise ModelError(f"{model.name}: the text has {len(ids)} tokens, expected at least {tokens}")
    found: list[HeadBounds] = []
    layers: list[int] = []

    def observe(given: AttentionInput) -> None:
        found.extend(measure(given, len(layers)))
        layers.append(len(layers))

    model.hidden(ids, observe)
    return found


def standard_text() -> str:
    """Some 700,000 characters of real English: the chapters on Python that its standard library carries for help()."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))
