"""DOC-10 as data: exact properties of the best similarity (proofs_notes/document_similarity.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.problem import Law, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.document_similarity.instance import Instance

    Array = NDArray[np.float64]
    Instances = tuple[Instance, ...]
    Outputs = tuple[Mapping[str, Array], ...]

__all__ = ["LAWS"]


def _same(factor: float = 1.0) -> Callable[[Instance, Instances, Outputs], Mapping[str, Prediction]]:
    """The best similarity is that of the transformed instance, or its negative.  Indices may be those of a tie."""

    def relate(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
        value = outputs[0].get("similarity")
        return {} if value is None else {"similarity": Prediction(factor * value, (np.ones_like(value),))}

    return relate


def _exchanged(instance: Instance, rng: np.random.Generator) -> Instances:
    return () if instance.right is None else (instance.replace(left=instance.right, right=instance.left),)


def _permuted(instance: Instance, rng: np.random.Generator) -> Instances:
    axes = instance.lengths()
    return (instance.part(**{axis: rng.permutation(length) for axis, length in axes.items()}),)


def _scaled(instance: Instance, rng: np.random.Generator) -> Instances:
    """Every document times a power of two; no number may be lost, so that the type must have room for it."""
    if instance.measure != "cosine":
        return ()
    changed = {}
    for name, documents in instance.arrays().items():
        factor = 2.0 ** rng.integers(-3, 4, (len(documents), 1))
        scaled = (documents.astype(np.float64) * factor).astype(documents.dtype)
        if not (scaled.astype(np.float64) == documents.astype(np.float64) * factor).all():
            return ()
        changed[name] = scaled
    return (instance.replace(**changed),)


def _negated(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.right is None:
        return ()
    return (instance.replace(right=-instance.right, least=not instance.least),)


def _padded(instance: Instance, rng: np.random.Generator) -> Instances:
    """Words that no document has."""
    return (instance.replace(**{name: np.pad(x, ((0, 0), (2, 1))) for name, x in instance.arrays().items()}),)


def _repeated(instance: Instance, rng: np.random.Generator) -> Instances:
    """Every document of one of two sides twice."""
    return () if instance.right is None else (instance.part(right=np.repeat(np.arange(len(instance.right)), 2)),)


#: The laws of document similarity.
LAWS: tuple[Law, ...] = (
    Law("exchange", "DOC-10", "left and right exchanged: the same best similarity", _exchanged, _same()),
    Law("permute", "DOC-10", "the order of documents and of words does not matter", _permuted, _same()),
    Law("scale", "DOC-10", "the cosine does not see the length of a document", _scaled, _same()),
    Law("negate", "DOC-10", "of the negated right the least is the negative of the most", _negated, _same(-1.0)),
    Law("words", "DOC-10", "words that no document has change nothing", _padded, _same()),
    Law("repeat", "DOC-10", "documents that occur twice change nothing", _repeated, _same()),
)
