"""The thing under test: a callable, its framework, what it supports and the conventions it declares."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Declined", "Kernel"]


class Declined(NotImplementedError):
    """A case that is documented as unsupported: counted, not failed.  Any NotImplementedError of a kernel is one."""


@dataclass(frozen=True)
class Kernel:
    """A kernel under test.

    function: called as the script of its problem's interface says, with arrays of ``framework``.
    keywords: the keywords of the protocol that it accepts.
    conventions: what ``options`` declares, as in {"empty_row": "nan"}.
    lacks: capabilities without a keyword that it declares not to have, as in {"grouped_heads"}.
    problem: what it solves; set where the kernel is loaded.
    positional: the names of its positional arrays, of the forms that the interface knows; empty for the first form.
    lengths: the lengths of axes, or of groups of axes, that it declares to take, in the words of
    :meth:`assay.conformance.interface.lengths.Lengths.of`; every length of an axis that is not named.
    layouts: the names of the layouts that it declares to take; empty for every layout.
    declines: the families that it declares to decline, wholly or in part: they are not needed for a pass.
    """

    name: str
    function: Callable[..., Any]
    framework: str = "numpy"
    keywords: frozenset[str] = frozenset()
    conventions: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    lacks: frozenset[str] = frozenset()
    version: str = ""
    problem: str = ""
    positional: tuple[str, ...] = ()
    lengths: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    layouts: frozenset[str] = frozenset()
    declines: frozenset[str] = frozenset()
