"""Messages between the judge and the worker in which a kernel runs.

To the worker they are pickles: it trusts its judge.  From the worker they are a JSON object and the raw bytes of
arrays, for the kernel may have taken the worker over: nothing that it sends is executed here, and nothing is believed
of it but what the judge can check.  Both begin with their lengths.
"""

from __future__ import annotations

import json
import pickle
import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.layouts import Layout
    from assay.conformance.interface.steps import Script

__all__ = ["Nonsense", "Repeats", "Request", "Setup", "packed", "received", "reply", "unpacked"]

_LENGTH = struct.Struct(">Q")
_LENGTHS = struct.Struct(">4sIQ")  # magic, bytes of JSON, bytes of arrays
_MAGIC = b"asy1"
_LONGEST_HEADER = 1 << 20


class Nonsense(ValueError):
    """The worker sent something that is no reply."""


@dataclass(frozen=True)
class Setup:
    """Which kernel the worker is to load, and where Python is to look for it.

    loaded: the description of the kernel by an earlier worker, without its function.  The worker then looks up the
    function alone, which is much quicker.
    device: where the arrays of the kernel are laid.
    """

    target: str
    problem: str | None
    framework: str | None
    options: Mapping[str, Any]
    path: tuple[str, ...]
    dies_with_judge: bool
    loaded: Kernel | None = None
    device: str = ""


@dataclass(frozen=True)
class Request:
    """Play a script once, as :func:`assay.conformance.call.call.answered` does.

    place: requests with the same number, one after the other, find their arrays in the same memory.
    """

    script: Script
    layout: Layout
    huge: bool
    seconds: float
    held: bool
    place: int | None = None


@dataclass(frozen=True)
class Repeats:
    """Play a script ``blocks`` × ``calls`` times with the same arrays, for ``seconds`` of its time at most."""

    script: Script
    blocks: int
    calls: int
    seconds: float


def packed(message: Setup | Request | Repeats) -> bytes:
    """The bytes of a message to the worker."""
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(content)) + content


def received(stream: IO[bytes]) -> Any:
    """The next message from the judge; ``None`` after the judge has closed the channel."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    content = stream.read(_LENGTH.unpack(head)[0])
    return pickle.loads(content)


def reply(header: Mapping[str, Any], content: bytes = b"") -> bytes:
    """The bytes of a message to the judge."""
    words = json.dumps(header).encode()
    return _LENGTHS.pack(_MAGIC, len(words), len(content)) + words + content


def unpacked(buffer: bytes | bytearray, most: int) -> tuple[dict[str, Any], bytes] | None:
    """The header of the reply in ``buffer``, and the bytes of its arrays; ``None`` while the reply is incomplete.

    most: the number of bytes of arrays that a reply may have.
    Raises :class:`Nonsense` for anything else than the beginning of one reply.
    """
    if len(buffer) < _LENGTHS.size:
        return None
    magic, words, content = _LENGTHS.unpack_from(buffer)
    if magic != _MAGIC or words > _LONGEST_HEADER or content > most:
        raise Nonsense("its first bytes are not those of a reply")
    end = _LENGTHS.size + words + content
    if len(buffer) < end:
        return None
    if len(buffer) > end:
        raise Nonsense("more than one reply")
    try:
        header = json.loads(bytes(buffer[_LENGTHS.size : _LENGTHS.size + words]))
    except (ValueError, RecursionError):
        raise Nonsense("its header is not JSON") from None
    if not isinstance(header, dict):
        raise Nonsense("its header is not a JSON object")
    return header, bytes(buffer[_LENGTHS.size + words : end])
