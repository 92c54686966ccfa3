"""The rotary embedding on a GPU: :func:`exact`, with exact angles."""

from assay.impl.gpu.rope.embedding import exact

__all__ = ["exact"]
