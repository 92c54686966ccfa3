"""A kernel in a process of its own.  What the kernel does to that process is a finding, and the judge goes on.

One worker (:mod:`assay.conformance.call.worker`) plays all scripts.  It is replaced when it dies, hangs or grows beyond
its memory (:mod:`assay.conformance.call.process`).  It gets arrays and keywords and is never told what is right: the
criteria stay in the process of the judge.  Isolation needs Linux.
"""

from __future__ import annotations

import math
import sys
import threading
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import numpy as np

from assay.conformance.call import wire
from assay.conformance.call.call import Answer
from assay.conformance.call.process import MIB, Ended, Limits, Worker, one_line
from assay.conformance.call.stdout import first_line
from assay.conformance.frameworks import Framework
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.steps import outputs_of
from assay.conformance.interface.suite import suite as suite_of
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from assay.conformance.call.memory import Memory
    from assay.conformance.interface.layouts import Layout
    from assay.conformance.interface.steps import Output, Script

__all__ = ["Isolated", "isolated", "leaks"]

Part = TypeVar("Part")

_GRACE_SECONDS = 1.0  # how long the judge waits after the worker should have stopped the call by itself
_KINDS = frozenset(
    ("", "declined", "skipped", "raised", "hung", "exited", "memory", "type", "shape", "dtype", "mutated",
     "out-of-bounds", "oracle")
)  # fmt: skip
_LONGEST_AXIS = 1 << 22  # the most elements along an axis of any length
_LARGEST_REPLY = 1 << 30  # the most bytes of arrays in a reply with such an axis
_LEAST_GROWTH = 2 * MIB  # resident memory moves by less than this for many reasons
_LEAK_CALLS = (64, 128)  # calls of a block that warms up, and of a block that counts
_LEAK_BLOCKS = 4


def isolated(
    kernel: Any,
    problem: str | None = None,
    *,
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "",
    limits: Limits | None = None,
) -> Isolated:
    """Load ``kernel`` in a process of its own.

    kernel: a target, or a callable that can be imported by its name.  A target is loaded there and not here.

    Raises :class:`~assay.conformance.interface.usage.UsageError` in one line.
    """
    if not sys.platform.startswith("linux"):
        raise UsageError("isolation needs Linux: processes there are watched through /proc")
    limits = limits or Limits()
    if isinstance(kernel, str):
        setup = wire.Setup(kernel, problem, framework, dict(options or {}), *_surroundings(), device=device)
        return Isolated(setup, limits)
    named = kernel_of(kernel, problem, framework=framework, options=options, device=device)
    if not _leads_back(kernel, named):
        raise UsageError(f"{named.name}: another process cannot import it: give module:function instead")
    setup = wire.Setup(named.name, named.problem, named.framework, dict(options or {}), *_surroundings(), device=device)
    return Isolated(setup, limits)


def _surroundings() -> tuple[tuple[str, ...], bool]:
    """Where Python looks for modules in this process, and whether the worker may die with the thread that starts it."""
    return tuple(sys.path), threading.current_thread() is threading.main_thread()


def _leads_back(function: Any, kernel: Kernel) -> bool:
    """Whether the name of a kernel leads back to it, as that of a built-in or of a function in a module does."""
    if kernel.name in suite_of(kernel.problem).targets:
        return True
    module, colon, name = kernel.name.rpartition(":")
    named: Any = sys.modules.get("__main__" if module.endswith(".py") else module)
    for part in name.split("."):
        named = getattr(named, part, None)
    return bool(colon) and named is not None and named in (function, kernel.function)


class Isolated:
    """One kernel that is called in workers.  ``kernel`` and ``framework`` describe it and cannot be called here."""

    def __init__(self, setup: wire.Setup, limits: Limits) -> None:
        self.limits = limits
        self._setup = setup
        self._turn = threading.Lock()
        self._worker: Worker | None = None
        try:
            self._worker = Worker(setup, limits)
        except Ended as end:
            raise UsageError(f"{setup.target}: importing it {end.sentence}") from None
        try:
            self.kernel, version = _described(self._worker.described)
            self.kernel = replace(self.kernel, device=setup.device)
            suite_of(self.kernel.problem).lengths_of(self.kernel)
        except UsageError:
            self.close()
            raise
        except ValueError as error:  # nonsense, or lengths that are none
            self.close()
            raise UsageError(f"{setup.target}: importing it wrote into the judge's channel: {error}") from None
        if self.kernel.name not in suite_of(self.kernel.problem).targets:
            self._setup = replace(setup, loaded=self.kernel)
        self.framework = Framework(
            self.kernel.framework, version, _elsewhere, _elsewhere, _elsewhere, device=setup.device
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker and every process that it started."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    @property
    def group(self) -> int | None:
        """The process group of the worker; ``None`` if there is no worker now."""
        return None if self._worker is None else self._worker.pid

    def words(self) -> list[str]:
        """The options that a reproducer adds to its command."""
        return ["--isolate", *self.limits.words()]

    # --- calls --------------------------------------------------------------------------------------------------------

    def answer(
        self,
        script: Script,
        layout: Layout,
        *,
        huge: bool,
        held: bool = False,
        memory: Memory | None = None,
        seconds: float | None = None,
    ) -> Answer:
        """Play a script once.  If the worker comes to its end in it, a new worker plays the next script.

        seconds: the time that the script may take; that of the limits if left out.
        """
        seconds = self.limits.seconds if seconds is None else seconds
        place = None if memory is None else id(memory)
        request = wire.Request(script, layout, huge, seconds, held, place)
        wanted = tuple(outputs_of(script))
        with self._turn:
            try:
                worker = self._ready()
                header, content = worker.exchange(wire.packed(request), seconds + _GRACE_SECONDS, _largest(wanted))
                answer = _answer(header, content, wanted, worker.printed)
            except Ended as end:
                self.close()
                killed = f"did not return within {seconds:g} s, and had to be killed"
                return Answer(kind=end.kind, sentence=killed if end.kind == "hung" else end.sentence)
            except wire.Nonsense as error:
                self.close()
                return Answer(kind="exited", sentence=f"wrote into the judge's channel: {error}")
            if answer.kind == "hung":  # it was interrupted somewhere, so nothing is known of its state
                self.close()
        return answer

    def leak(self, script: Script, seconds: float) -> str | None:
        """Play the same script again and again, and see whether the memory of the process grows.

        Returns a sentence if it leaks, an empty one if it does not, and ``None`` if there was no time to see it.
        """
        size = sum(_least_size(output) for output in outputs_of(script))
        warm, calls = _LEAK_CALLS
        seen: list[int] = []
        with self._turn:
            try:
                self._resident(wire.Repeats(script, 1, warm, seconds / 4))
                for _ in range(2):  # what looks like a leak must go on for twice as long
                    seen = self._resident(wire.Repeats(script, _LEAK_BLOCKS, calls, seconds / 2))
                    if len(seen) <= _LEAK_BLOCKS:
                        return None
                    if not leaks(seen, calls, size):
                        return ""
            except (Ended, wire.Nonsense):  # a single call did not end the process, but many calls did
                self.close()
                return None
        total = calls * _LEAK_BLOCKS
        grown = seen[-1] - seen[0]
        return (
            f"leaks memory: {grown / MIB:.1f} MiB in {total} calls with the same input, "
            f"{grown / total / 1024:.3g} KiB each"
        )

    def _resident(self, request: wire.Repeats) -> list[int]:
        header, _ = self._ready().exchange(wire.packed(request), 4 * request.seconds + self.limits.seconds, 0)
        resident = header.get("resident")
        if not _is_list(resident, int) or any(number < 0 for number in resident):
            raise wire.Nonsense("its resident memory is no list of numbers of bytes")
        return list(resident)

    def _ready(self) -> Worker:
        if self._worker is not None and self._worker.ended():
            end = self._worker.death(" between two calls")
            self.close()
            raise end
        if self._worker is None:
            self._worker = Worker(self._setup, self.limits)
        return self._worker


def leaks(resident: Sequence[int], calls: int, size: int) -> bool:
    """Whether memory grows with the number of calls.

    resident: bytes of memory before the first and after each of several blocks of ``calls`` calls.
    size: bytes that one call returns.

    Caches, workspaces and allocators grow too, but that growth stops, comes once, or is small beside what was returned.

    >>> leaks([0, 8 << 20, 16 << 20, 24 << 20, 32 << 20], 128, 65536)
    True
    >>> leaks([0, 32 << 20, 32 << 20, 32 << 20, 32 << 20], 128, 65536)
    False
    """
    steps = [after - before for before, after in pairwise(resident)]
    grown = resident[-1] - resident[0]
    steady = min(steps) >= grown / len(steps) / 2
    return steady and grown >= max(_LEAST_GROWTH, calls * len(steps) * size // 2)


def _elsewhere(*_: object, **__: object) -> Any:
    raise RuntimeError("this kernel runs in another process: it cannot be called here")


def _is_list(value: Any, kind: type[Part]) -> TypeGuard[list[Part]]:
    return isinstance(value, list) and all(type(part) is kind for part in value)


def _described(header: Mapping[str, Any]) -> tuple[Kernel, str]:
    """The kernel that a worker says it has loaded, and the version of its framework.

    Raises :class:`~assay.conformance.call.wire.Nonsense` for what is no description of one.
    """
    words = ("name", "problem", "framework", "framework_version", "version")
    lists = ("keywords", "lacks", "layouts", "declines", "positional", "remarks", "hints")
    good = all(isinstance(text := header.get(name), str) and text.isprintable() for name in words)
    good = good and all(_is_list(header.get(name), str) for name in lists)
    kinds: dict[str, tuple[type, ...]] = {"lengths": (str,), "conventions": (str, int, float, type(None))}
    for name, kind in kinds.items():
        part = header.get(name)
        good = good and isinstance(part, dict) and all(isinstance(value, kind) for value in part.values())
    if not good:
        raise wire.Nonsense("it does not describe a kernel")
    kernel = Kernel(
        name=header["name"],
        function=_elsewhere,
        framework=header["framework"],
        problem=header["problem"],
        keywords=frozenset(header["keywords"]),
        conventions=header["conventions"],
        lacks=frozenset(header["lacks"]),
        lengths=header["lengths"],
        layouts=frozenset(header["layouts"]),
        declines=frozenset(header["declines"]),
        version=header["version"],
        positional=tuple(header["positional"]),
        remarks=tuple(map(one_line, header["remarks"])),
        hints=tuple(map(one_line, header["hints"])),
    )
    return kernel, header["framework_version"]


# --- replies ----------------------------------------------------------------------------------------------------------


def _least_size(output: Output) -> int:
    """The bytes of an output in the first of its dtypes, with one element along an axis of any length."""
    return math.prod(n or 1 for n in output.shape) * dtype_named(output.dtypes[0]).itemsize


def _largest(wanted: Sequence[Output]) -> int:
    """The number of bytes of arrays that a reply may have."""
    most = sum(
        math.prod(_LONGEST_AXIS if n is None else n for n in output.shape)
        * max(dtype_named(name).itemsize for name in output.dtypes)
        for output in wanted
    )
    return min(most, _LARGEST_REPLY) if any(None in output.shape for output in wanted) else most


def _answer(header: Mapping[str, Any], content: bytes, wanted: Sequence[Output], printed: bytes) -> Answer:
    """The answer in a reply.  Raises :class:`~assay.conformance.call.wire.Nonsense` for what cannot be believed."""
    kind, sentence, notes, outputs = (header.get(name) for name in ("kind", "sentence", "notes", "outputs"))
    line = header.get("printed")
    if not isinstance(sentence, str) or not isinstance(line, str) or not isinstance(kind, str):
        raise wire.Nonsense("its header lacks a part")
    if kind not in _KINDS or not _is_list(notes, str) or not isinstance(outputs, list):
        raise wire.Nonsense("its header lacks a part")
    values = {} if kind else _values(outputs, content, wanted)
    return Answer(
        values, kind, one_line(sentence), tuple(map(one_line, notes)), first_line(line.encode()) or first_line(printed)
    )


def _values(outputs: Sequence[Any], content: bytes, wanted: Sequence[Output]) -> dict[str, NDArray[Any]]:
    """The arrays of a reply: exactly those that were asked for, in types and shapes that were asked for."""
    if len(outputs) != len(wanted):
        raise wire.Nonsense(f"{len(outputs)} outputs, expected {len(wanted)}")
    values: dict[str, NDArray[Any]] = {}
    start = 0
    for described, output in zip(outputs, wanted, strict=True):
        dtype, shape = _form(described, output)
        end = start + math.prod(shape) * dtype.itemsize
        if end > len(content):
            break
        values[output.name] = np.frombuffer(content[start:end], dtype).reshape(shape)
        start = end
    if len(values) != len(wanted) or start != len(content):
        raise wire.Nonsense(f"{len(content)} bytes of arrays are not those of its outputs")
    return values


def _form(described: Any, output: Output) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The dtype and the shape that a reply gives an output, if they are what was asked for."""
    try:
        name, dtype, shape = described
        lengths = tuple(shape) if _is_list(shape, int) else None
    except (TypeError, ValueError):
        lengths = None
    if lengths is None:
        raise wire.Nonsense("its outputs are not described as name, dtype and shape") from None
    good = name == output.name and dtype in output.dtypes and len(lengths) == len(output.shape)
    if not good or any(n < 0 or want not in (None, n) for n, want in zip(lengths, output.shape, strict=True)):
        raise wire.Nonsense("its outputs are not those that were asked for")
    return dtype_named(dtype), lengths
