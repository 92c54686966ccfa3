"""The process in which an isolated kernel runs.

Its arguments are two descriptors: the one of requests and the one of replies.  It loads one kernel, plays the scripts
that it is sent, and replies with the answer to each.  It is never told what is right.  Whatever it writes to stdout
comes from the kernel.  The judge's side is :mod:`assay.conformance.call.isolation`.
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
from assay.conformance.call.arrays import framework_of
from assay.conformance.call.call import Answer, answered, handed, played
from assay.conformance.call.memory import Memory
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
_PATIENCE = 4  # seconds of the clock that a second of processor time may take on a busy machine


def main(arguments: Sequence[str]) -> int:
    """Serve requests until the judge closes the channel."""
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
    """Look for modules where the judge's process does, and leave nothing behind when this process or the judge dies."""
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
    if setup.loaded is None:
        kernel = kernel_of(
            setup.target, setup.problem, framework=setup.framework, options=setup.options, device=setup.device
        )
    else:
        form = suite(setup.loaded.problem).interface.form_of(setup.loaded)
        function = form.adapt(function_named(setup.target), setup.loaded.framework)
        kernel = replace(setup.loaded, function=function)
    return kernel, framework_of(kernel)


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
        "remarks": list(kernel.remarks),
        "hints": list(kernel.hints),
    }


def _send(replies: Any, header: dict[str, Any], content: bytes = b"") -> None:
    """Send a reply, after everything that was printed before it in Python or in C."""
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
    except KeyboardInterrupt:  # the kernel raised it: nobody else sends one to this process
        answer = Answer(kind="raised", sentence="raised KeyboardInterrupt")
    values = {} if answer.kind else answer.values  # a reply has the arrays that were asked for, or none
    header = {
        "kind": answer.kind,
        "sentence": answer.sentence,
        "notes": answer.notes,
        "printed": answer.printed,
        "outputs": [[name, array.dtype.name, array.shape] for name, array in values.items()],
    }
    return header, b"".join(np.ascontiguousarray(array).tobytes() for array in values.values())


def _repeated(kernel: Kernel, framework: Framework, request: wire.Repeats) -> list[int]:
    """The bytes of resident memory before the first block of calls and after each block, as far as there was time."""
    prepared = [handed(framework, step, Layout(), huge=False, read_only=False) for step in request.script]
    end, patience = time.process_time() + request.seconds, time.monotonic() + _PATIENCE * request.seconds
    resident = [_resident()]
    for _ in range(request.blocks):
        for _ in range(request.calls):
            try:
                played(kernel, framework, request.script, prepared)
            except Exception:  # only the growth of memory is looked for here
                return resident
            if time.process_time() > end or time.monotonic() > patience:
                return resident
        resident.append(_resident())
    return resident


def _resident() -> int:
    """The bytes of memory in use, without garbage and without what the allocator holds back."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
