"""The error that is raised where a caller got a kernel, an option, a file or a name wrong."""

from __future__ import annotations

__all__ = ["UsageError"]


class UsageError(ValueError):
    """The request of a caller cannot be met.  The message is one line: what the caller asked for, what was expected."""
