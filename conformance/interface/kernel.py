"""The thing under test: a callable, its framework, what it supports and the conventions it declares."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Declined", "Kernel"]


class Declined(NotImplementedError):
    """The kernel documents that it does not support a case.  The case is counted as declined, and not as failed.

    Every ``NotImplementedError`` that a kernel raises is treated alike.
    """


@dataclass(frozen=True)
class Kernel:
    """A kernel under test.

    function: it is called as the script of the problem's interface says, with arrays of ``framework``.
    keywords: those keywords of the problem's interface that the function accepts.
    conventions: what ``options`` declares, for example ``{"empty_row": "nan"}``.
    lacks: capabilities that the kernel declares not to have, for example ``{"grouped_heads"}``.
    problem: the name of the problem that the kernel solves.  It is set where the kernel is loaded.
    positional: the positional names of the form in which the kernel is written; empty means the first form.
    lengths: the lengths of axes, or of groups of axes, that the kernel declares to take, in the words of
    :meth:`assay.conformance.interface.lengths.Lengths.of`; an axis that is not named may have every length.
    layouts: the names of the layouts that the kernel declares to take; empty means every layout.
    declines: the families that the kernel declares to decline, wholly or in part: a pass does not need them.
    plain: of a built-in, the source of a function ``kernel`` that makes the same call without assay; empty where there
    is none that is short.
    remarks: what was noticed where the kernel was loaded; every report notes it.
    hints: what to try if no call of the kernel comes to its end.
    device: where its arrays are laid, as its framework names it; empty for where the framework lays them by itself.
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
    plain: str = ""
    remarks: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    device: str = ""
