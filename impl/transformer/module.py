"""The same transformer as a ``torch.nn.Module`` over ``scaled_dot_product_attention``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from assay.impl.transformer.weights import require_room

if TYPE_CHECKING:
    from assay.impl.transformer.weights import Transformer

__all__ = ["DecidingTransformer"]


class DecidingTransformer(torch.nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing
    """``module(left, right)`` → a boolean tensor of shape (): the answer to the question of ``transformer``.

    left (n, ℓ), right (m, ℓ) or ``None``: tensors of 0 and 1, of any type; they are converted to that of the
    parameters.  dtype: the type of the parameters.  Raises ``ValueError`` for more documents, those of both sides
    together, than ``transformer.documents``.

    The state dict, for ℓ words, width w and head dimension h (:class:`assay.impl.transformer.weights.Transformer`):

    ==============================  ==================  ================================================================
    key                             shape               what
    ==============================  ==================  ================================================================
    ``embedding.weight``            (w, sides·ℓ)        words of a document → token
    ``types.weight``                (sides + 1, w)      added to tokens of the left, of the right, to the calibrator
    ``query.weight``                (h, w)              entries 0 and κ
    ``key.weight``                  (h, w)              entries 0, ±κ, and ±κ times the threshold or that plus 1
    ``value.weight``                (h, w)              one entry of 1: the calibrator's first coordinate
    ``inner.weight``, ``.bias``     (2, h), (2,)        −8 in the first column; 5 and 4
    ``outer.weight``                (1, 2)              1 and −1
    ==============================  ==================  ================================================================
    """

    def __init__(self, transformer: Transformer, dtype: Any = torch.float32) -> None:
        super().__init__()
        self.words, self.sides, self.masked = transformer.words, transformer.sides, transformer.masked
        self.documents = transformer.documents
        width, head = transformer.query.shape
        made: dict[str, Any] = {"dtype": dtype, "bias": False}
        self.embedding = torch.nn.Linear(self.sides * self.words, width, **made)
        self.types = torch.nn.Embedding(self.sides + 1, width, dtype=dtype)
        self.query, self.key, self.value = (torch.nn.Linear(width, head, **made) for _ in range(3))
        self.inner = torch.nn.Linear(head, 2, dtype=dtype)
        self.outer = torch.nn.Linear(2, 1, **made)
        written = {
            "embedding.weight": transformer.embedding.T,
            "types.weight": transformer.types,
            "query.weight": transformer.query.T,
            "key.weight": transformer.key.T,
            "value.weight": transformer.value.T,
            "inner.weight": transformer.inner.T,
            "inner.bias": transformer.inner_bias,
            "outer.weight": transformer.outer.T,
        }
        self.load_state_dict({name: torch.tensor(np.ascontiguousarray(x)) for name, x in written.items()})
        self.requires_grad_(False)

    def outputs(self, left: Any, right: Any = None) -> Any:
        """(documents + 1, h): what the head gives for every token; the first column is the calibrator's share."""
        kind = self.embedding.weight.dtype
        collections = [x.to(kind) for x in (left, right) if x is not None]
        require_room(sum(len(x) for x in collections), self.documents)
        rows = []
        for side, documents in enumerate(collections):
            empty = torch.zeros_like(documents)
            blocks = [documents if k == side else empty for k in range(self.sides)]
            rows.append(self.embedding(torch.cat(blocks, 1)) + self.types.weight[side])
        tokens = torch.cat([*rows, self.types.weight[-1:]])
        mask = None
        if self.masked:
            mask = ~torch.eye(len(tokens), dtype=torch.bool, device=tokens.device)
            mask[-1, -1] = True
        query, key, value = (layer(tokens)[None, None] for layer in (self.query, self.key, self.value))
        attended = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
        return attended[0, 0]

    def forward(self, left: Any, right: Any = None) -> Any:
        """Whether the mean of the perceptron over all tokens exceeds 1/(2·tokens)."""
        fires = self.outer(torch.relu(self.inner(self.outputs(left, right))))
        return fires.float().mean() > 1 / (2 * len(fires))
