"""How kernels of a problem are called, as data: the forms of their signatures, and what a kernel may be able to do.

A kernel shows what it supports by the keywords that it names.  An interface and an instance determine which
capabilities the instance needs; an interface and a kernel determine which of these the kernel has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
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

    positional: the names of the positional arrays, in order.
    signature: the documented signature, as messages show it.
    adapt(function, framework): returns the function that a script calls, where that is not the kernel itself.  For a
    differentiable function it may be the vector–Jacobian product, for instance.
    tells: whether a function of these names is taken for a kernel of this problem where no problem is named.  It is not
    where the kernels of another problem have the same names.
    named: keywords, beside those that every kernel must name, that one of this form must name.  Where no problem is
    named, they tell it from another one with the same arrays.
    lacks: the capabilities that no kernel of this form has, because it has no argument for them, each with what is said
    of a case that needs it.
    """

    positional: tuple[str, ...]
    signature: str
    adapt: Callable[[Callable[..., Any], str], Callable[..., Any]] = _as_it_is
    tells: bool = True
    named: tuple[str, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Capability:
    """Something that some kernels can do and others cannot.

    needed(instance): whether only kernels with this capability can be asked for the instance.  The default is never:
    such a capability is needed by some cases and by no instance.
    keywords: a kernel that names one of these keywords has the capability.  Where there are none, every kernel is taken
    to have it unless it declares otherwise (``--option NAME=no``).  ``method.keyword`` is a keyword of a method of the
    structure that a kernel makes: a class shows it, and a function that is annotated to return one.
    """

    name: str
    needed: Callable[[Any], bool] = _never
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interface:
    """How kernels of a problem are called.

    forms: the ways in which a kernel may be written.  The first one is the default.
    script(instance, kernel, precision): what the kernel is asked for the instance.  It raises
    :class:`~assay.conformance.interface.kernel.Declined` where a convention that the kernel declares cannot express the
    instance.
    required: keywords that every kernel must name.
    conventions: what ``options`` may declare, as name → allowed values.  The first value is the default; an empty tuple
    means that any positive number is allowed.
    least: the least number that a convention of numbers allows, where that is not every positive one.
    lists: what ``options`` may declare as a list, as name → capabilities.  Of these a kernel has those that its list
    names, and lacks the others.
    """

    forms: tuple[Form, ...]
    script: Callable[[Any, Kernel, Precision], Script]
    required: tuple[str, ...] = ()
    capabilities: tuple[Capability, ...] = ()
    conventions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def keywords(self) -> frozenset[str]:
        """Every keyword that a kernel of this problem may name."""
        return frozenset(self.required).union(*(capability.keywords for capability in self.capabilities))

    @property
    def signature(self) -> str:
        """The documented signatures, as messages show them."""
        return " or ".join(form.signature for form in self.forms)

    def form_of(self, kernel: Kernel) -> Form:
        """The form in which a kernel is written; the first one if its positional names are those of none."""
        return next((form for form in self.forms if form.positional == kernel.positional), self.forms[0])

    def needs(self, instance: Any) -> frozenset[str]:
        """The capabilities without which a kernel cannot be asked for this instance."""
        return frozenset(capability.name for capability in self.capabilities if capability.needed(instance))

    def offered(self, kernel: Kernel) -> frozenset[str]:
        """The capabilities that a kernel's form and keywords show, including those that the kernel declares to lack."""
        absent = self.form_of(kernel).lacks
        return frozenset(
            capability.name
            for capability in self.capabilities
            if capability.name not in absent and (not capability.keywords or set(capability.keywords) & kernel.keywords)
        )

    def has(self, kernel: Kernel) -> frozenset[str]:
        """What a kernel can be asked for: what its form and keywords show, without what it declares to lack."""
        return self.offered(kernel) - kernel.lacks

    def lacking(self, kernel: Kernel, needs: frozenset[str]) -> str:
        """A sentence that names the capabilities among ``needs`` that a kernel lacks; empty if it has all of them.

        What its form has no argument for goes before the rest.
        """
        absent = sorted(needs - self.has(kernel))
        of_form = self.form_of(kernel).lacks
        if told := [of_form[name] for name in absent if name in of_form]:
            return ", ".join(dict.fromkeys(told))
        return f"lacks {', '.join(absent)}" if absent else ""
