"""What is asked of a kernel: a script of steps.

A pure function's script has one step.  The script of a structure that keeps state makes the structure and then calls
its methods, one step a call.  A kernel that is to use another function gets that as a keyword, an :class:`Oracle`, and
what the oracle was shown is one more output.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["Oracle", "Output", "Script", "Step", "outputs_of"]


@dataclass(frozen=True)
class Output:
    """One array that a step is to return.

    shape: the length of every axis; ``None`` stands for any length.
    dtypes: the names of the dtypes that the array may have.
    axes: the names of the axes, so that a message can say which two look exchanged.
    """

    name: str
    shape: tuple[int | None, ...]
    dtypes: tuple[str, ...]
    axes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Oracle:
    """A function that the kernel gets as a keyword and may call.

    function: maps NumPy arrays (and keywords) to a NumPy array or a tuple of these.  It is defined at the top of a
    module, so that another process finds it by its name.
    most: the largest length along ``axis`` of an array that the kernel may hand over.  The oracle refuses a longer one.
    """

    function: Callable[..., Any]
    most: int
    axis: int = 0


@dataclass(frozen=True, eq=False)
class Step:
    """One call: positional arrays, keywords (arrays, plain values or oracles), and the outputs that are expected.

    outputs: in the order in which the call returns them.  A call without expected outputs may return anything.
    method: empty where the kernel itself is called, ``new`` where the kernel is called to make a structure, and
    otherwise the name of a method of that structure.
    """

    arrays: tuple[tuple[str, NDArray[Any]], ...]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Output, ...] = ()
    method: str = ""

    def oracles(self) -> dict[str, Oracle]:
        """The oracles among the keywords."""
        return {name: value for name, value in self.keywords.items() if isinstance(value, Oracle)}


Script = tuple[Step, ...]


def outputs_of(script: Script) -> Iterator[Output]:
    """Every output of a script, in order: the outputs of each step, followed by what the oracles of the step saw.

    What an oracle saw is named "NAME saw".  It has one row for each call of the oracle, and the row holds the length of
    each array along the oracle's axis.
    """
    for step in script:
        yield from step.outputs
        for name in step.oracles():
            yield Output(f"{name} saw", (None, None), ("int64",))
