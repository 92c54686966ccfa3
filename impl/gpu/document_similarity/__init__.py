"""Document similarity on a GPU: :func:`nearest`, a search of all pairs by tiles."""

from assay.impl.gpu.document_similarity.search import nearest

__all__ = ["nearest"]
