"""Document similarity on the CPU: :func:`exact`, a search by tiles whose answer is decided in exact integers."""

from assay.impl.cpu.document_similarity.search import exact

__all__ = ["exact"]
