"""The process in which an isolated kernel runs.

Its arguments are two descriptors: of requests and of replies.  It loads one kernel, then plays the scripts that it is
sent and says what came of each.  It never knows what is right.  Whatever it writes to stdout is the kernel's.  The
judge's side is :mod:`assay.conformance.call.isolation`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call import wire
from assay.conformance.call.call import Answer, answered, handed, played
from assay.conformance.call.memory import Memory
from assay.conformance.frameworks import framework as framework_named
from assay.conformance.interface.layouts import Layout
from assay.conformance.interface.suite import suite
from assay.conformance.interface.targets import function_named, kernel_of
from assay.conformance.interface.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assay.conformance.frameworks import Framework
    from assay.conformance.interface.kernel import Kernel

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PATIENCE = 4  # how much longer processor time may take on a busy machine


def main(arguments: Sequence[str]) -> int:
    """Serve requests until the judge hangs up."""
    descriptors = [int(argument) for argument in arguments]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # programs that the kernel starts have no part in this
    with os.fdopen(descriptors[0], "rb") as requests, os.fdopen(descriptors[1], "wb") as replies:
        setup: wire.Setup | None = wire.received(requests)
        if setup is None:
            return 0
        _prepared(setup)
        try:
            kernel, framework = _loaded(setup)
        except UsageError as error:
            _send(replies, {"usage": str(error)})
            return 0
        _send(replies, _described(kernel, framework))
        place, memory = None, Memory()
        while (request := wire.received(requests)) is not None:
            if isinstance(request, wire.Repeats):
                _send(replies, {"resident": _repeated(kernel, framework, request)})
            else:
                if request.place != place:
                    place, memory = request.place, Memory()
                _send(replies, *_answer(kernel, framework, request, None if place is None else memory))
    return 0


def _prepared(setup: wire.Setup) -> None:
    """As the judge's own process would look for modules; nothing is left behind when either dies."""
    sys.path[:] = setup.path
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):  # if memory runs out, let it be this process that goes
        Path("/proc/self/oom_score_adj").write_text("1000")
    if setup.dies_with_judge:
        parent = os.getppid()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


def _loaded(setup: wire.Setup) -> tuple[Kernel, Framework]:
    if setup.known is None:
        kernel = kernel_of(setup.target, setup.problem, framework=setup.framework, options=setup.options)
    else:
        form = suite(setup.known.problem).interface.form_of(setup.known)
        function = form.adapt(function_named(setup.target), setup.known.framework)
        kernel = replace(setup.known, function=function)
    try:
        return kernel, framework_named(kernel.framework)
    except ImportError as error:
        raise UsageError(f"{kernel.name}: framework {kernel.framework!r} is not available ({error})") from None


def _described(kernel: Kernel, framework: Framework) -> dict[str, Any]:
    return {
        "name": kernel.name,
        "problem": kernel.problem,
        "positional": list(kernel.positional),
        "framework": framework.name,
        "framework_version": framework.version,
        "keywords": sorted(kernel.keywords),
        "conventions": dict(kernel.conventions),
        "lacks": sorted(kernel.lacks),
        "lengths": dict(kernel.lengths),
        "layouts": sorted(kernel.layouts),
        "declines": sorted(kernel.declines),
        "version": kernel.version,
    }


def _send(replies: Any, header: dict[str, Any], content: bytes = b"") -> None:
    """Everything printed before the reply, in Python or in C, is out before it."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)
    replies.write(wire.reply(header, content))
    replies.flush()


def _answer(
    kernel: Kernel, framework: Framework, request: wire.Request, memory: Memory | None
) -> tuple[dict[str, Any], bytes]:
    try:
        answer = answered(
            kernel,
            framework,
            request.script,
            request.layout,
            huge=request.huge,
            seconds=request.seconds,
            held=request.held,
            memory=memory,
        )
    except KeyboardInterrupt:  # nobody else sends one here
        answer = Answer(kind="raised", sentence="raised KeyboardInterrupt")
    header = {
        "kind": answer.kind,
        "sentence": answer.sentence,
        "notes": answer.notes,
        "printed": answer.printed,
        "outputs": [[name, array.dtype.name, array.shape] for name, array in answer.values.items()],
    }
    return header, b"".join(np.ascontiguousarray(array).tobytes() for array in answer.values.values())


def _repeated(kernel: Kernel, framework: Framework, request: wire.Repeats) -> list[int]:
    """Bytes of resident memory before the first and after every block of calls, as far as there was time."""
    prepared = [handed(framework, step, Layout(), huge=False, read_only=False) for step in request.script]
    end, patience = time.process_time() + request.seconds, time.monotonic() + _PATIENCE * request.seconds
    resident = [_resident()]
    for _ in range(request.blocks):
        for _ in range(request.calls):
            try:
                played(kernel, framework, request.script, prepared)
            except Exception:  # that is not what is looked for here
                return resident
            if time.process_time() > end or time.monotonic() > patience:
                return resident
        resident.append(_resident())
    return resident


def _resident() -> int:
    """Bytes of memory in use: without garbage, and without what the allocator only holds back."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
