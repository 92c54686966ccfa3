"""The error of a request that cannot be: a kernel, an option, a file or a name that the caller got wrong."""

from __future__ import annotations

__all__ = ["UsageError"]


class UsageError(ValueError):
    """What was asked for cannot be.  The message is one line that says what it was and what was expected."""
