"""Reading files of strangers: every size is judged before anything is unpacked or allocated.

A file may be damaged, or made to do damage: a header of terabytes, an archive of a kilobyte that unpacks to more than
there is memory, a device without an end.  What is wrong with it is a ``ValueError`` or ``OSError`` of one line.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import stat
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from assay.spec.memory import require_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Archive", "archive", "array", "content", "line", "regular"]

_LONGEST_HEADER = 10_000  # bytes, as NumPy has it
_LONGEST_TEXT = 1 << 28  # bytes of a text file
_LONGEST_LINE = 500  # letters
_MOST_DIMENSIONS = 32  # as many as every release of NumPy can have
_DAMAGES = (  # RuntimeError: encrypted, NotImplementedError: compressed in a way that Python does not know
    zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError, AttributeError, OverflowError, IndexError,
    TypeError, MemoryError,
)  # fmt: skip


@contextlib.contextmanager
def regular(path: str | Path) -> Iterator[tuple[IO[bytes], int]]:
    """An open file and its size.  Raises ``OSError``, and ``ValueError`` for a device, a pipe or a folder."""
    kind = Path(path).stat().st_mode  # before it is opened: a pipe would wait for its other end
    if not stat.S_ISREG(kind):
        raise ValueError("it is no regular file")
    with Path(path).open("rb") as file:
        yield file, os.fstat(file.fileno()).st_size


def content(path: str | Path, most: int = _LONGEST_TEXT) -> bytes:
    """The bytes of a text file, or of a pipe, as text may come out of another program.

    Raises ``OSError``, also for more than ``most`` bytes (256 MiB): a device may have no end.
    """
    with Path(path).open("rb") as file:
        read = file.read(most + 1)
    if len(read) > most:
        raise OSError(errno.EFBIG, f"more than {most >> 20} MiB of text")
    return read


def array(file: IO[bytes], size: int) -> NDArray[Any]:
    """The array in a file of the ``.npy`` format that has ``size`` bytes.

    Raises ``ValueError`` in one line, and :class:`~assay.spec.problem.InvalidInstance`, which is one, for an array that
    would take more than half of the memory of this machine.
    """
    magic = file.read(8)
    if len(magic) < 8 or magic[:6] != b"\x93NUMPY":
        raise ValueError("no file of the .npy format")
    version = magic[6], magic[7]
    width = 2 if version == (1, 0) else 4
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version[0]}.{version[1]} of the .npy format, expected 1.0 to 3.0")
    length = file.read(width)
    count = int.from_bytes(length, "little")
    if len(length) < width or count > _LONGEST_HEADER:
        raise ValueError(f"a header of {count} bytes, expected at most {_LONGEST_HEADER}")
    header = file.read(count)
    if len(header) < count:
        raise ValueError(f"its header ends after {len(header)} of {count} bytes")
    shape, fortran, dtype = _said(version, length + header)
    if dtype.hasobject:
        raise ValueError("it holds pickled Python objects, which are never loaded")
    numbers, left = math.prod(shape), size - 6 - 2 - width - count
    if dtype.itemsize == 0 or numbers * dtype.itemsize != left:
        raise ValueError(
            f"{left} bytes of numbers, expected {_product(numbers, dtype.itemsize)} of shape {_short(shape)}"
        )
    require_memory(left, f"an array of shape {_short(shape)}")
    flat = np.empty(numbers, dtype)
    raw: Any = flat.view(np.uint8) if numbers else bytearray()
    rest, got = memoryview(raw), 0
    while got < left:
        part = file.read(min(left - got, 1 << 24))
        if not part:
            raise ValueError(f"it ends after {got} of {left} bytes of numbers")
        rest[got : got + len(part)] = part
        got += len(part)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _said(version: tuple[int, int], header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and dtype, as a header says them."""
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote, of escapes in strings
            shape, fortran, dtype = read(io.BytesIO(header), max_header_size=_LONGEST_HEADER)
    except Exception:  # it is evaluated as a literal, which may raise anything
        raise ValueError("a damaged header") from None
    if len(shape) > _MOST_DIMENSIONS or any(n < 0 or n >= 1 << 62 for n in shape):
        raise ValueError(f"shape {_short(shape)}: no array has it")
    return shape, fortran, dtype


def _short(shape: tuple[int, ...]) -> str:
    said = str(shape)
    return said if len(said) <= 80 else f"{said[:79]}…"


def _product(numbers: int, itemsize: int) -> str:
    return f"{numbers} × {itemsize}" if numbers < 1 << 62 else f"2^{numbers.bit_length() - 1} × {itemsize}"


class Archive:
    """The ``.npy`` members of an ``.npz`` file.  None is unpacked before it is asked for."""

    def __init__(self, packed: zipfile.ZipFile) -> None:
        self._packed = packed
        self._members = {info.filename.removesuffix(".npy"): info for info in packed.infolist()}

    def names(self) -> list[str]:
        """The names of the members, without their ending."""
        return list(self._members)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The array of a member.  Raises ``ValueError`` in one line."""
        if name not in self._members:
            raise ValueError(f"no member {name!r}")
        info = self._members[name]
        require_memory(info.file_size, f"member {name!r}")
        try:
            with self._packed.open(info) as file:
                return array(file, info.file_size)
        except (*_DAMAGES, ValueError) as error:
            raise ValueError(f"member {name!r}: {line(error)}") from None


@contextlib.contextmanager
def archive(path: str | Path) -> Iterator[Archive]:
    """The members of an ``.npz`` file.  Raises ``OSError``, and ``ValueError`` for what is no archive."""
    with regular(path) as (file, _):
        try:
            packed = zipfile.ZipFile(file)
        except Exception as error:  # the parser of a format of strangers
            raise ValueError(line(error)) from None
        with packed:
            yield Archive(packed)


def line(error: BaseException) -> str:
    """The message of an error in one line of at most 500 letters, or its kind: it may quote what a file holds."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= _LONGEST_LINE else f"{said[: _LONGEST_LINE - 1]}…"
