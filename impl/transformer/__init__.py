"""A transformer with every weight written down that decides questions about pairs of documents (DOC-6, DOC-7).

:mod:`~assay.impl.transformer.weights` has the weights, :mod:`~assay.impl.transformer.forward` runs them in NumPy,
:mod:`~assay.impl.transformer.bits` with numbers of a few bits, and :mod:`~assay.impl.transformer.module` is the same
transformer as a ``torch.nn.Module`` (imported only by whoever asks for it, as torch is an extra).
"""

from __future__ import annotations

from assay.impl.transformer.forward import decide, outputs
from assay.impl.transformer.weights import Transformer, least, most, orthogonal

__all__ = ["Transformer", "decide", "least", "most", "orthogonal", "outputs"]
