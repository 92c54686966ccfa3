"""One watched process: what is sent to it and comes back, its limits, and how it ends.

The limits are enforced from outside the process.  That of time is, because code that Python cannot interrupt ignores
every alarm.  That of memory is, because frameworks and sparse mappings reserve address space in bulk and never use it,
so that ``RLIMIT_AS`` and ``RLIMIT_DATA`` mean nothing.  What counts is resident memory: it is read from ``/proc`` while
the process works, and its peak is read afterwards.  All this needs Linux.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import assay
from assay.conformance.call import wire
from assay.conformance.call.call import CALL_SECONDS
from assay.conformance.interface.usage import UsageError

__all__ = ["MIB", "Ended", "Limits", "Worker", "one_line"]

MIB = 1 << 20

_START_SECONDS = 180.0  # the time for imports
_TICK_SECONDS = 0.02
_KEPT = 4096  # bytes that are kept of what was written to stdout, and of stderr

#: What the worker's Python executes.  The judge and the worker must be of one copy of assay, whichever others are
#: installed or on the path: the front door is loaded from the file that is the first argument, and the rest of the
#: package follows the front door.
_WORKER = """
import importlib.util, sys
front_door = importlib.util.spec_from_file_location("assay", sys.argv.pop(1))
sys.modules["assay"] = importlib.util.module_from_spec(front_door)
front_door.loader.exec_module(sys.modules["assay"])
from assay.conformance.call.worker import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Limits:
    """What one call may take.

    seconds: the time that a call may take.
    memory: MiB of resident memory beyond what the process has when the kernel is loaded.

    Raises :class:`~assay.conformance.interface.usage.UsageError` for numbers that are not positive.
    """

    seconds: float = CALL_SECONDS
    memory: int = 8192

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise UsageError(f"call seconds {self.seconds:g}: expected a positive number")
        if self.memory < 1:
            raise UsageError(f"memory {self.memory}: expected a positive number of MiB")

    def words(self) -> list[str]:
        """These limits as options of the command line, without those that have their default."""
        words = []
        if self.seconds != CALL_SECONDS:
            words += ["--call-seconds", f"{self.seconds:g}"]
        if self.memory != Limits.memory:
            words += ["--memory", str(self.memory)]
        return words


def one_line(text: str) -> str:
    """The text without line breaks and control characters, cut to 600 characters."""
    return "".join(c if c.isprintable() else " " for c in text)[:600]


class Ended(Exception):
    """The process has ended.  The kind and the sentence are those of a finding."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind, self.sentence = kind, sentence


class Worker:
    """One process that runs :mod:`assay.conformance.call.worker`, in a process group of its own.

    It has two channels, of requests and of replies, besides stdout and stderr.
    """

    def __init__(self, setup: wire.Setup, limits: Limits) -> None:
        self.memory: int | None = None  # the bytes that it may have, once the kernel is loaded
        self._limits = limits
        self.printed = self.complained = b""
        theirs_in, self._requests = _pipe()
        self._replies, theirs_out = _pipe()
        command = [sys.executable, "-P", "-c", _WORKER, assay.__file__, str(theirs_in), str(theirs_out)]
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
                raise UsageError(one_line(str(self.described["usage"])))
        except wire.Nonsense as error:
            self.end()
            raise Ended("exited", f"wrote into the judge's channel: {error}") from None
        except BaseException:
            self.end()
            raise
        status = self._status()
        self.memory = status.get("VmRSS", 0) + limits.memory * MIB
        self._peak = status.get("VmHWM", 0)

    # --- talking ------------------------------------------------------------------------------------------------------

    def exchange(self, message: bytes, seconds: float, most: int) -> tuple[dict[str, Any], bytes]:
        """Send ``message`` and wait for the reply, which may have ``most`` bytes of arrays.

        Raises :class:`Ended` if the worker dies, grows too large or takes too long, and ends it in these cases.  Raises
        :class:`~assay.conformance.call.wire.Nonsense` if it sends no reply but something else.
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
                if dead:  # what it sent before it died can still be read
                    self._keep(self._replies, _read(self._replies) or b"", buffer)
                reply = wire.unpacked(buffer, most)
                if reply is not None:
                    self._drain(buffer)
                    self._grown(self._status().get("VmHWM", 0), peak=True)
                    return reply
                if dead:
                    self._drain(buffer)
                    raise self.death()
                self._grown(self._status().get("VmRSS", 0))
                if time.monotonic() > end:
                    self.end()
                    limit = self._limits.seconds if self.memory is not None else seconds
                    raise Ended("hung", f"did not return within {limit:g} s, and had to be killed")

    def _written(self, data: memoryview) -> int:
        try:
            return os.write(self._requests, data[:65536])
        except BlockingIOError:
            return 0
        except BrokenPipeError:  # the process is dead, or it has closed its channel
            return len(data)

    def _keep(self, descriptor: int, data: bytes, buffer: bytearray) -> None:
        if descriptor == self._replies:
            buffer += data
        elif descriptor == self._stdout:
            self.printed += data[: _KEPT - len(self.printed)]
        else:
            self.complained = (self.complained + data)[-_KEPT:]

    def _drain(self, buffer: bytearray) -> None:
        """Keep what was written to stdout and stderr up to now."""
        for descriptor in (self._stdout, self._stderr):
            for _ in range(64):  # the process may never stop writing
                data = _read(descriptor)
                if not data:
                    break
                self._keep(descriptor, data, buffer)

    @property
    def pid(self) -> int:
        return self._process.pid

    # --- watching -----------------------------------------------------------------------------------------------------

    def _status(self) -> dict[str, int]:
        """The sizes of the process in bytes, by their names in proc_pid_status(5); empty if the process is gone."""
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
        raise Ended("memory", f"took more than {self._limits.memory} MiB of memory")

    def ended(self) -> bool:
        """Whether the process has ended.  It is not reaped here, so that no other process gets its number."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def death(self, when: str = "") -> Ended:
        """How the process ended."""
        end = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        assert end is not None
        lines = self.complained.decode("utf-8", "backslashreplace").strip().splitlines()
        complaint = f"; stderr: {one_line(lines[-1])[:120]!r}" if lines else ""
        if end.si_code == os.CLD_EXITED:
            return Ended("exited", f"ended its process{when}: exit status {end.si_status}{complaint}")
        name = signal.Signals(end.si_status).name
        hint = " (nobody here sent it: perhaps the system ran out of memory)" if name == "SIGKILL" else ""
        return Ended("crashed", f"crashed{when}: {name}{hint}{complaint}")

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


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are none of the first three descriptors, which are others in the process that is started."""
    from fcntl import F_DUPFD_CLOEXEC, fcntl  # of Unix alone

    ends = os.pipe()
    first, last = (fcntl(end, F_DUPFD_CLOEXEC, 3) for end in ends)
    for end in ends:
        os.close(end)
    return first, last


def _read(descriptor: int) -> bytes | None:
    """What can be read now; empty at the end of the stream, ``None`` if there is nothing yet."""
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return None
