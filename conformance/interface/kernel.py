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

    function: called as the suite's ``call`` says, with arrays of ``framework``.
    keywords: names it accepts by keyword.
    conventions: what ``options`` declares, e.g. {"empty_row": "nan"}.
    lacks: capabilities without a keyword that it declares not to have, e.g. {"grouped_heads"}.
    """

    name: str
    function: Callable[..., Any]
    framework: str = "numpy"
    keywords: frozenset[str] = frozenset()
    conventions: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    lacks: frozenset[str] = frozenset()
    version: str = ""
