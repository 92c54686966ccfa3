"""One kernel of a bank: what it computes, the classes that it is of, and why it is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Entry"]


@dataclass(frozen=True)
class Entry:
    """A kernel: the classes that it is of (or the one that it claims and violates), what is unusual or wrong about it.

    diagnosis: words that the diagnosis of a wrong kernel must contain.
    """

    name: str
    function: Callable[..., Any]
    precisions: tuple[str, ...]
    why: str
    source: str = ""
    # Python 3.11 cannot hash a MappingProxyType, and entries are keys of caches: the name distinguishes them
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    diagnosis: str | None = None

    @property
    def precision(self) -> str:
        return self.precisions[0]
