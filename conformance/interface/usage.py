"""The error that is raised where a caller got a kernel, an option, a file or a name wrong, and what may be meant."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["UsageError", "did_you_mean"]


class UsageError(ValueError):
    """The request of a caller cannot be met.  The message is one line: what the caller asked for, what was expected."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A clause for the end of a sentence that says which of ``names`` may be meant; empty where none is alike.

    >>> did_you_mean("softcapp", ["window", "softcap"])
    '; did you mean softcap?'
    """
    close = difflib.get_close_matches(name, list(dict.fromkeys(names)), 3)
    return f"; did you mean {' or '.join(close)}?" if close else ""
