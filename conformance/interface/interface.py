"""How kernels of a problem are called, as data: the forms of their signatures, what each may be able to do.

A kernel says what it supports by the keywords that it names.  From an interface and an instance follows which
capabilities the instance needs, and from an interface and a kernel which of them the kernel has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.precision import Precision

__all__ = ["Capability", "Form", "Interface"]


def _never(_instance: Any) -> bool:
    return False


def _as_it_is(function: Callable[..., Any], _framework: str) -> Callable[..., Any]:
    return function


@dataclass(frozen=True)
class Form:
    """One way in which a kernel may be written.

    positional: the names of its positional arrays, in order.
    signature: the documented signature, for messages.
    adapt(function, framework): the function that a script calls, where that is not the kernel itself: the
    vector–Jacobian product of a differentiable function, for one.
    """

    positional: tuple[str, ...]
    signature: str
    adapt: Callable[[Callable[..., Any], str], Callable[..., Any]] = _as_it_is


@dataclass(frozen=True)
class Capability:
    """What not every kernel can be asked for.

    needed(instance): whether a kernel without it cannot be asked for the instance; never, for what only cases need.
    keywords: those of which a kernel names one if it has the capability; none for what every kernel is taken to have
    unless it declares otherwise (``--option NAME=no``).
    """

    name: str
    needed: Callable[[Any], bool] = _never
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interface:
    """How kernels of a problem are called.

    forms: the ways in which a kernel may be written; the first is the one that messages show.
    script(instance, kernel, precision): what a kernel is asked for an instance.  It raises
    :class:`~assay.conformance.interface.kernel.Declined` where a declared convention cannot express the instance.
    required: keywords that every kernel must name.
    conventions: what ``options`` may declare: name → allowed values, the first being the default; none for a number
    above 0.
    """

    forms: tuple[Form, ...]
    script: Callable[[Any, Kernel, Precision], Script]
    required: tuple[str, ...] = ()
    capabilities: tuple[Capability, ...] = ()
    conventions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def keywords(self) -> frozenset[str]:
        """Every keyword of the protocol."""
        return frozenset(self.required).union(*(capability.keywords for capability in self.capabilities))

    @property
    def signature(self) -> str:
        """The documented signatures, for messages."""
        return " or ".join(form.signature for form in self.forms)

    def form_of(self, kernel: Kernel) -> Form:
        """The form in which a kernel is written."""
        return next((form for form in self.forms if form.positional == kernel.positional), self.forms[0])

    def needs(self, instance: Any) -> frozenset[str]:
        """The capabilities without which a kernel cannot be asked for this instance."""
        return frozenset(capability.name for capability in self.capabilities if capability.needed(instance))

    def offered(self, kernel: Kernel) -> frozenset[str]:
        """The capabilities that a kernel has by its keywords, whatever it declares to lack."""
        return frozenset(
            capability.name
            for capability in self.capabilities
            if not capability.keywords or set(capability.keywords) & kernel.keywords
        )

    def has(self, kernel: Kernel) -> frozenset[str]:
        """What a kernel can be asked for: by its keywords, less what it declares to lack."""
        return self.offered(kernel) - kernel.lacks

    def lacking(self, kernel: Kernel, needs: frozenset[str]) -> str:
        """Which of ``needs`` a kernel does not have, as a sentence; empty if none."""
        absent = sorted(needs - self.has(kernel))
        return f"lacks {', '.join(absent)}" if absent else ""
