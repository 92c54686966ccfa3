"""The nouns that every problem shares: the protocol, the registry, provenance and the error of bad input.

A problem is a package ``assay.spec.<name>`` with the same six public names, ``Instance``, ``define``, ``symbolic``,
``tolerance``, ``criteria`` and ``LAWS``, the tuple ``OUTPUTS`` of what it computes (the first is the main output), and
``PRECISIONS``, the classes of arithmetic that make sense for it: shared ones, and perhaps some of its own
(``precision(name, problem(...).PRECISIONS)`` finds one).  Nothing in this module knows any one problem:
:data:`PROBLEMS` names them, :func:`problem` imports one.
"""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from assay.spec.criterion import Criterion
    from assay.spec.enclosure import Enclosure
    from assay.spec.precision import Precision

__all__ = [
    "PROBLEMS",
    "InvalidInstance",
    "Law",
    "Prediction",
    "Problem",
    "Provenance",
    "Uncertified",
    "named",
    "problem",
]

#: The problems that are built, in the order of the papers.
PROBLEMS: tuple[str, ...] = (
    "attention", "attention_gradient", "rope", "rope_attention", "document_similarity", "small_transformers",
    "small_transformers_merge", "layer_collapse", "tensor_attention", "tensor_attention_gradient", "firing_neurons",
    "firing_neurons_training", "kernel_graph", "kernel_graph_solve", "kernel_graph_sparsify",
)  # fmt: skip


class InvalidInstance(ValueError):
    """An input that is no instance of the problem; the message says which argument, what it was, what was expected."""


class Uncertified(ArithmeticError):
    """An instance whose values no arithmetic encloses as closely as was asked for; the message is one line."""


@contextlib.contextmanager
def named(path: str | Path) -> Iterator[None]:
    """A block about a file: its path stands before what is wrong with the instance in it."""
    try:
        yield
    except (InvalidInstance, Uncertified) as error:
        said = str(error)
        raise type(error)(said if said.startswith(str(path)) else f"{path}: {said}") from None


@dataclass(frozen=True)
class Provenance:
    """Where an instance comes from, so that a report can say it and a reader can rebuild it."""

    family: str = ""
    seed: int | None = None
    note: str = ""
    truth: Mapping[str, Any] = field(default_factory=dict)  # JSON values only: known answers, e.g. satisfiability


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a law says of one output of an instance: an affine combination of that output of the transformed instances.

    value: the output, predicted.  weights: for every transformed instance an array; |weight| bounds, per element, how
    far an error of its output moves the prediction.
    """

    value: NDArray[np.float64]
    weights: tuple[NDArray[np.float64], ...]


@dataclass(frozen=True)
class Law:
    """An exact property: transform an instance, and the outputs of the results are related to those of the instance.

    ``transform(instance, rng)`` gives the transformed instances, or ``()`` where the law does not apply.
    ``relate(instance, transformed, outputs)`` takes the outputs of every transformed instance by name, as float64
    arrays, and predicts outputs of ``instance`` by name: those of which the law says something and that were given.
    It is executed on the definition.  The judge needs only ``transform``: outputs within their own tolerances cannot
    break the relation by more than the sum of these.
    """

    id: str
    claim: str
    statement: str
    transform: Callable[[Any, np.random.Generator], tuple[Any, ...]]
    relate: Callable[[Any, tuple[Any, ...], tuple[Mapping[str, NDArray[np.float64]], ...]], Mapping[str, Prediction]]


class Problem(Protocol):
    """The module ``assay.spec.<name>``.

    PRECISIONS: the classes of arithmetic that make sense for the problem, by name; of those that store the same type
    tighter ones come before looser ones.
    """

    NAME: str
    OUTPUTS: tuple[str, ...]
    LAWS: tuple[Law, ...]
    PRECISIONS: Mapping[str, Precision]
    Instance: Any

    def define(self, instance: Any, relative: float = 1e-12, output: str = ...) -> Enclosure: ...

    def symbolic(self, instance: Any) -> Any: ...

    def tolerance(self, instance: Any, precision: str | Precision, output: str = ...) -> NDArray[np.float64]: ...

    def criteria(self, instance: Any, precision: Precision) -> Mapping[str, Criterion]: ...


def problem(name: str) -> Problem:
    """The problem called ``name``.  Raises ``ValueError`` naming the known ones."""
    if name not in PROBLEMS:
        raise ValueError(f"unknown problem {name!r}: expected one of {', '.join(PROBLEMS)}")
    return cast("Problem", importlib.import_module(f"assay.spec.{name}"))
