"""Files that are written whole or not at all, into whatever a path leads to."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["write_bytes", "written"]


@contextlib.contextmanager
def written(path: str | Path) -> Iterator[IO[bytes]]:
    """A block that writes a file: what was there stays until the new one is whole, and for good if the block fails.

    A link stays one, and what it leads to is written.  A device or a pipe gets the bytes, as from any program; it is
    never replaced.  Raises ``OSError`` where the system refuses, as on a full disk.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        buffer = io.BytesIO()  # a pipe has no places to go back to, as an archive does
        yield buffer
        with target.open("wb", buffering=0) as device:
            rest = buffer.getbuffer()
            while rest:
                rest = rest[device.write(rest) :]
        return
    part = target.with_name(f".{secrets.token_hex(8)}.part")  # the name of the target may be as long as one can be
    mode = target.stat().st_mode & 0o777 if target.exists() else None
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            part.chmod(mode)
        part.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)  # of a full disk, or a run that was interrupted
        raise


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a whole file, as :func:`written` does."""
    with written(path) as file:
        file.write(content)
