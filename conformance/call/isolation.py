"""A kernel in a process of its own: what it does to that process is a finding, and the judge goes on.

One worker (:mod:`assay.conformance.call.worker`) serves all calls and is replaced when it dies, hangs or grows beyond its
memory.  The limits are enforced from here: time, because code that Python cannot interrupt ignores every alarm;
memory, because address space (``RLIMIT_AS``, ``RLIMIT_DATA``) is reserved in bulk by frameworks and sparse mappings
that never use it.  What counts is resident memory, read from ``/proc`` while the call runs and, as its peak, after it.

The worker is never told what is right: it gets arrays and keywords, and references stay here.  Linux only.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call import wire
from assay.conformance.call.call import CALL_SECONDS, Answer, judged
from assay.conformance.call.stdout import first_line
from assay.conformance.frameworks import Framework
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.suite import suite as suite_of
from assay.conformance.interface.targets import UsageError, wrap
from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from assay.conformance.call.call import Outcome, Reference
    from assay.conformance.call.memory import Memory
    from assay.conformance.interface.suite import Call, Layout, Suite
    from assay.spec.precision import Precision

__all__ = ["Isolated", "Limits", "isolated", "leaks"]

_START_SECONDS = 180.0  # for imports
_GRACE_SECONDS = 1.0  # after the worker should have stopped by itself
_TICK_SECONDS = 0.02
_MIB = 1 << 20
_KEPT = 4096  # bytes of what was written to stdout and stderr
_KINDS = frozenset(
    (
        "",
        "declined",
        "skipped",
        "raised",
        "hung",
        "exited",
        "memory",
        "type",
        "shape",
        "dtype",
        "mutated",
        "out-of-bounds",
    )
)
_LEAST_GROWTH = 2 * _MIB  # resident memory moves a little for many reasons
_LEAK_CALLS = (64, 128)  # a block when warming up, and a block that counts
_LEAK_BLOCKS = 4


@dataclass(frozen=True)
class Limits:
    """What one call may take: seconds, and MiB of resident memory beyond those of the loaded kernel."""

    seconds: float = CALL_SECONDS
    memory: int = 8192

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise UsageError(f"call seconds {self.seconds:g}: expected a positive number")
        if self.memory < 1:
            raise UsageError(f"memory {self.memory}: expected a positive number of MiB")

    def words(self) -> list[str]:
        """As options of the command line; those left out that are as always."""
        words = []
        if self.seconds != CALL_SECONDS:
            words += ["--call-seconds", f"{self.seconds:g}"]
        if self.memory != Limits.memory:
            words += ["--memory", str(self.memory)]
        return words


def isolated(
    kernel: Any,
    problem: str,
    *,
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
) -> Isolated:
    """``kernel``, a target or a callable that can be imported by its name, in a process of its own.

    A target is loaded there and not here.  Raises :class:`~assay.conformance.interface.targets.UsageError` in one line.
    """
    if not sys.platform.startswith("linux"):
        raise UsageError("isolation needs Linux: processes there are watched through /proc")
    limits = limits or Limits()
    if isinstance(kernel, str):
        return Isolated(wire.Setup(kernel, problem, framework, dict(options or {}), *_here()), limits)
    named = wrap(kernel, problem=problem, framework=framework, options=options)
    if not _found_again(named, problem):
        raise UsageError(f"{named.name}: another process cannot import it: give module:function instead")
    return Isolated(wire.Setup(named.name, problem, named.framework, dict(options or {}), *_here()), limits)


def _here() -> tuple[tuple[str, ...], bool]:
    return tuple(sys.path), threading.current_thread() is threading.main_thread()


def _found_again(kernel: Kernel, problem: str) -> bool:
    """A built-in, or what its name leads to."""
    if kernel.name in suite_of(problem).targets:
        return True
    module, colon, name = kernel.name.rpartition(":")
    found: Any = sys.modules.get("__main__" if module.endswith(".py") else module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return bool(colon) and found is kernel.function


class Isolated:
    """One kernel, called in workers.  ``kernel`` and ``framework`` describe it; they cannot be called here."""

    def __init__(self, setup: wire.Setup, limits: Limits) -> None:
        self.limits = limits
        self._setup = setup
        self._turn = threading.Lock()
        self._worker: _Worker | None = None
        try:
            self._worker = _Worker(setup, limits)
        except _Ended as end:
            raise UsageError(f"{setup.target}: importing it {end.sentence}") from None
        described = self._worker.described
        self.kernel = Kernel(
            name=str(described["name"]),
            function=_elsewhere,
            framework=str(described["framework"]),
            keywords=frozenset(map(str, described["keywords"])),
            conventions=dict(described["conventions"]),
            lacks=frozenset(map(str, described["lacks"])),
            version=str(described["version"]),
        )
        if self.kernel.name not in suite_of(setup.problem).targets:
            self._setup = replace(setup, known=self.kernel)
        version = str(described["framework_version"])
        self.framework = Framework(self.kernel.framework, version, _elsewhere, _elsewhere, _elsewhere)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker and whatever it started."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    @property
    def group(self) -> int | None:
        """The process group of the worker, if there is one now."""
        return None if self._worker is None else self._worker.pid

    def words(self) -> list[str]:
        """What a reproducer adds to its command."""
        return ["--isolate", *self.limits.words()]

    # --- calls --------------------------------------------------------------------------------------------------------

    def outcome(
        self,
        instance: Any,
        precision: Precision,
        suite: Suite,
        reference: Reference,
        layout: Layout,
        *,
        huge_canaries: bool,
        held: bool,
        memory: Memory | None = None,
    ) -> Outcome:
        """As :func:`assay.conformance.call.call.run`; a kernel that is right but prints has failed."""
        printed: list[str] = []

        def answer(call: Call) -> Answer:
            place = None if memory is None else id(memory)
            found = self.answer(call, layout, huge=huge_canaries, held=held, place=place)
            if found.printed:
                printed.append(found.printed)
            return found

        outcome = judged(answer, self.kernel, instance, precision, suite, reference)
        if printed and outcome.status in ("passed", "outside"):
            outcome = replace(outcome, status="failed", kind="printed", sentence=f"printed to stdout: {printed[0]!r}")
        return outcome

    def answer(self, call: Call, layout: Layout, *, huge: bool, held: bool = False, place: int | None = None) -> Answer:
        """One call; a worker that came to its end in it has a successor in the next."""
        request = wire.Request(call, layout, huge, self.limits.seconds, held, place)
        most = sum(8 * math.prod(shape) for shape in call.shapes)
        with self._turn:
            try:
                worker = self._ready()
                header, numbers = worker.exchange(wire.packed(request), self.limits.seconds + _GRACE_SECONDS, most)
                found = _answer(header, numbers, call, worker.printed)
            except _Ended as end:
                self.close()
                return Answer(kind=end.kind, sentence=end.sentence)
            except wire.Nonsense as error:
                self.close()
                return Answer(kind="exited", sentence=f"wrote into the judge's channel: {error}")
            if found.kind == "hung":  # it was interrupted anywhere: nothing is known of its state
                self.close()
        return found

    def leak(self, call: Call, seconds: float) -> str | None:
        """How its memory grows when it is called with the same arrays again and again.

        A sentence if it leaks, empty if it does not, None if there was no time to see.
        """
        sizes = zip(call.shapes, call.dtypes, strict=True)
        size = sum(math.prod(shape) * dtype_named(names[0]).itemsize for shape, names in sizes)
        warm, calls = _LEAK_CALLS
        seen: list[int] = []
        with self._turn:
            try:
                self._resident(wire.Repeats(call, 1, warm, seconds / 4))
                for _ in range(2):  # what looks like a leak must go on for as long again
                    seen = self._resident(wire.Repeats(call, _LEAK_BLOCKS, calls, seconds / 2))
                    if len(seen) <= _LEAK_BLOCKS:
                        return None
                    if not leaks(seen, calls, size):
                        return ""
            except (_Ended, wire.Nonsense):  # a single call did not: it is the number of them
                self.close()
                return None
        total = calls * _LEAK_BLOCKS
        grown = seen[-1] - seen[0]
        each = f"{grown / total / 1024:.3g} KiB each"
        return f"leaks memory: {grown / _MIB:.1f} MiB in {total} calls with the same input, {each}"

    def _resident(self, request: wire.Repeats) -> list[int]:
        header, _ = self._ready().exchange(wire.packed(request), 4 * request.seconds + self.limits.seconds, 0)
        return [int(number) for number in header.get("resident", [])]

    def _ready(self) -> _Worker:
        if self._worker is not None and self._worker.ended():
            end = self._worker.death(" between two calls")
            self.close()
            raise end
        if self._worker is None:
            self._worker = _Worker(self._setup, self.limits)
        return self._worker


def leaks(resident: Sequence[int], calls: int, size: int) -> bool:
    """Whether memory grows with the number of calls.

    resident: bytes before and after each of several blocks of ``calls`` calls; size: bytes that one call returns.
    Growth that stops, comes once, or is small beside what was returned is that of caches, workspaces and allocators.

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


def _answer(header: Mapping[str, Any], numbers: bytes, call: Call, printed: bytes) -> Answer:
    """What a reply says, as far as it can be believed."""
    kind, sentence, notes = header.get("kind"), header.get("sentence"), header.get("notes")
    said = header.get("printed")
    if kind not in _KINDS or not isinstance(sentence, str) or not isinstance(notes, list) or not isinstance(said, str):
        raise wire.Nonsense("its header lacks a part")
    wanted = [math.prod(shape) for shape in call.shapes]
    values = {}
    if not kind:
        if len(numbers) != 8 * sum(wanted):
            raise wire.Nonsense(f"{len(numbers)} bytes of numbers, expected {8 * sum(wanted)}")
        parts = np.split(np.frombuffer(numbers), np.cumsum(wanted)[:-1])
        shaped = zip(call.outputs, call.shapes, parts, strict=True)
        values = {name: part.reshape(shape) for name, shape, part in shaped}
    return Answer(values, kind, _line(sentence), tuple(_line(str(note)) for note in notes), said or first_line(printed))


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:600]


# --- one process ------------------------------------------------------------------------------------------------------


class _Ended(Exception):
    """The worker is no more: how it went, as a finding."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind, self.sentence = kind, sentence


class _Worker:
    """One process, in a group of its own, with two channels besides stdout and stderr."""

    def __init__(self, setup: wire.Setup, limits: Limits) -> None:
        self.memory: int | None = None  # bytes that it may come to, once it is loaded
        self._limits = limits
        self.printed = self.complained = b""
        theirs_in, self._requests = os.pipe()
        self._replies, theirs_out = os.pipe()
        command = [sys.executable, "-P", "-m", "assay.conformance.call.worker", str(theirs_in), str(theirs_out)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(theirs_in, theirs_out),
            start_new_session=True,
            bufsize=0,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdout, self._stderr = self._process.stdout.fileno(), self._process.stderr.fileno()
        for descriptor in (self._requests, self._replies, self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
        try:
            self.described, _ = self.exchange(wire.packed(setup), _START_SECONDS, 0)
            if "usage" in self.described:
                raise UsageError(_line(str(self.described["usage"])))
        except wire.Nonsense as error:
            self.end()
            raise _Ended("exited", f"wrote into the judge's channel: {error}") from None
        except BaseException:
            self.end()
            raise
        status = self._status()
        self.memory = status.get("VmRSS", 0) + limits.memory * _MIB
        self._peak = status.get("VmHWM", 0)

    # --- talking ------------------------------------------------------------------------------------------------------

    def exchange(self, message: bytes, seconds: float, most: int) -> tuple[dict[str, Any], bytes]:
        """Send ``message`` and wait for the reply, with at most ``most`` bytes of numbers.

        Raises :class:`_Ended` if the worker dies, grows or takes too long (it is ended then), and
        :class:`~assay.conformance.call.wire.Nonsense`.
        """
        end = time.monotonic() + seconds
        waiting, buffer = memoryview(message), bytearray()
        self.printed = self.complained = b""
        with selectors.DefaultSelector() as channels:
            for descriptor in (self._replies, self._stdout, self._stderr):
                channels.register(descriptor, selectors.EVENT_READ)
            channels.register(self._requests, selectors.EVENT_WRITE)
            while True:
                for key, _ in channels.select(_TICK_SECONDS):
                    if key.fd == self._requests:
                        waiting = waiting[self._written(waiting) :]
                        finished = not waiting
                    else:
                        data = _read(key.fd)
                        finished = data == b""
                        self._keep(key.fd, data or b"", buffer)
                    if finished:
                        channels.unregister(key.fd)
                dead = self.ended()
                if dead:  # what it sent before is still there
                    self._keep(self._replies, _read(self._replies) or b"", buffer)
                found = wire.unpacked(buffer, most)
                if found is not None:
                    self._drain(buffer)
                    self._grown(self._status().get("VmHWM", 0), peak=True)
                    return found
                if dead:
                    self._drain(buffer)
                    raise self.death()
                self._grown(self._status().get("VmRSS", 0))
                if time.monotonic() > end:
                    self.end()
                    limit = self._limits.seconds if self.memory is not None else seconds
                    raise _Ended("hung", f"did not return within {limit:g} s, and had to be killed")

    def _written(self, data: memoryview) -> int:
        try:
            return os.write(self._requests, data[:65536])
        except BlockingIOError:
            return 0
        except BrokenPipeError:  # it is dead, or has closed its channel
            return len(data)

    def _keep(self, descriptor: int, data: bytes, buffer: bytearray) -> None:
        if descriptor == self._replies:
            buffer += data
        elif descriptor == self._stdout:
            self.printed += data[: _KEPT - len(self.printed)]
        else:
            self.complained = (self.complained + data)[-_KEPT:]

    def _drain(self, buffer: bytearray) -> None:
        """What was written to stdout and stderr up to now."""
        for descriptor in (self._stdout, self._stderr):
            for _ in range(64):  # it may never stop
                data = _read(descriptor)
                if not data:
                    break
                self._keep(descriptor, data, buffer)

    @property
    def pid(self) -> int:
        return self._process.pid

    # --- watching -----------------------------------------------------------------------------------------------------

    def _status(self) -> dict[str, int]:
        """Sizes of the process in bytes, as in proc_pid_status(5)."""
        try:
            lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        except OSError:
            return {}
        sizes = (line.split() for line in lines if line.startswith(("VmRSS:", "VmHWM:")))
        return {words[0][:-1]: int(words[1]) * 1024 for words in sizes}

    def _grown(self, size: int, *, peak: bool = False) -> None:
        if self.memory is None or size <= self.memory or (peak and size <= self._peak):
            return
        self.end()
        raise _Ended("memory", f"took more than {self._limits.memory} MiB of memory")

    def ended(self) -> bool:
        """Whether the process has ended; it is left to be waited for, so that its number stays its own."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def death(self, when: str = "") -> _Ended:
        """How it ended."""
        found = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        assert found is not None
        lines = self.complained.decode("utf-8", "backslashreplace").strip().splitlines()
        said = f"; stderr: {_line(lines[-1])[:120]!r}" if lines else ""
        if found.si_code == os.CLD_EXITED:
            return _Ended("exited", f"ended its process{when}: exit status {found.si_status}{said}")
        name = signal.Signals(found.si_status).name
        hint = " (nobody here sent it: perhaps the system ran out of memory)" if name == "SIGKILL" else ""
        return _Ended("crashed", f"crashed{when}: {name}{hint}{said}")

    def end(self) -> None:
        """Kill the process and its group, and wait for it."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for descriptor in (self._requests, self._replies):
            os.close(descriptor)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def _read(descriptor: int) -> bytes | None:
    """What there is; empty at the end, None if there is nothing yet."""
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return None
