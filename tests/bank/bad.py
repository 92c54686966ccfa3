"""Kernels that misbehave, each in one way, and otherwise solve the toy problem as it should be."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any

import numpy as np
from toy.kernels import Array, doubled

KEPT: list[Any] = []
NULL = 0
_MAP_NORESERVE = 0x4000  # of Linux; Python names it from 3.13 on
MIB = 1 << 20


Answer = tuple[Array, Array]


def right(points: Array) -> Answer:
    return doubled(points)


# --- ends its process -------------------------------------------------------------------------------------------------


def segfaults(points: Array) -> Answer:
    ctypes.memset(NULL, 0, 1)
    return right(points)


def segfaults_on_many_points(points: Array) -> Answer:
    if len(points) >= 33:
        ctypes.memset(NULL, 0, 1)
    return right(points)


def aborts(points: Array) -> Answer:
    os.write(2, b"free(): invalid pointer\n")
    os.abort()


def leaves(points: Array) -> Answer:
    os._exit(3)


def exits(points: Array) -> Answer:
    sys.exit("no device")


def dies_later(points: Array) -> Answer:
    """Its background work crashes after the call."""
    threading.Timer(0.05, os.abort).start()
    return right(points)


# --- does not end -----------------------------------------------------------------------------------------------------


def hangs(points: Array) -> Answer:
    while True:
        time.sleep(0.01)


def hangs_in_c(points: Array) -> Answer:
    """Holds the interpreter's lock, and no signal but SIGKILL reaches it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.PyDLL(None).sleep(1000)
    return right(points)


def starts_threads(points: Array) -> Answer:
    """Right, but its process would never end by itself."""
    if not KEPT:
        KEPT.append(threading.Thread(target=time.sleep, args=(1000,)))
        KEPT[0].start()
        atexit.register(time.sleep, 1000)
        KEPT.append(os.posix_spawn("/bin/sleep", ["sleep", "1000"], os.environ))
    return right(points)


# --- writes to stdout -------------------------------------------------------------------------------------------------


def prints(points: Array) -> Answer:
    print("tile", len(points), flush=True)
    return right(points)


def prints_in_c(points: Array) -> Answer:
    ctypes.CDLL(None).printf(b"block %d\n", 7)
    return right(points)


def writes_to_stdout(points: Array) -> Answer:
    os.write(1, b"\n  grid (1, 2)\nmore\n")
    return right(points)


def prints_without_end(points: Array) -> Answer:
    while True:
        os.write(1, b"again\n" * 1000)


def complains(points: Array) -> Answer:
    """Writes to stderr, as it may."""
    os.write(2, b"slow path\n")
    print("slow path", file=sys.stderr)
    return right(points)


# --- memory -----------------------------------------------------------------------------------------------------------


def leaks(points: Array) -> Answer:
    KEPT.append(np.ones(1024))
    return right(points)


def leaks_in_c(points: Array) -> Answer:
    malloc = ctypes.CDLL(None).malloc
    malloc.restype = ctypes.c_void_p
    ctypes.memset(malloc(ctypes.c_size_t(8192)), 1, 8192)
    return right(points)


def keeps_a_cache(points: Array) -> Answer:
    """A workspace of a mebibyte for every shape, kept: that is no leak."""
    known = {shape for shape, _ in KEPT}
    if points.shape not in known:
        KEPT.append((points.shape, np.ones(MIB, np.uint8)))
    return right(points)


def takes_much(points: Array) -> Answer:
    """Takes 150 MiB, and gives them back."""
    np.ones(150 * MIB, np.uint8)
    return right(points)


def reserves_much(points: Array) -> Answer:
    """Reserves 64 GiB of address space and uses a page of it: that costs nothing."""
    import mmap

    with mmap.mmap(-1, 64 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE) as memory:
        memory[0] = 1
    return right(points)


def takes_without_end(points: Array) -> Answer:
    while True:
        KEPT.append(np.ones(8 * MIB, np.uint8))


def runs_out(points: Array) -> Answer:
    raise MemoryError("cannot allocate 3 TiB")


# --- its inputs and its result ----------------------------------------------------------------------------------------


def raises(points: Array) -> Answer:
    raise IndexError("tile 3 of 2\nsecond line")


def mutates(points: Array) -> Answer:
    address = points.__array_interface__["data"][0]
    output = right(points)
    ctypes.c_uint8.from_address(address).value ^= 1
    return output


def keeps_its_input(points: Array) -> Answer:
    KEPT[:] = [points[:1]]
    return right(points)


def holds_in_a_cycle(points: Array) -> Answer:
    """Until the garbage is collected: that is not keeping."""
    cycle: list[Any] = [points]
    cycle.append(cycle)
    return right(points)


def returns_a_view(points: Array, *, factor: float = 2.0) -> Answer:
    """Of its input: that is right, if the factor is 1."""
    if factor != 1:
        raise NotImplementedError("factor 1 only")
    return points, np.asarray(points.sum())


def returns_a_list(points: Array) -> Any:
    return [part.tolist() for part in right(points)]


def adds_an_axis(points: Array) -> Answer:
    y, total = right(points)
    return y[:, None], total


def widens(points: Array) -> Answer:
    y, total = right(points)
    return y.astype(np.float64), total


def wrong_the_second_time(points: Array) -> Answer:
    """Twice the points for an input that came just before."""
    y, total = right(points)
    same = bool(KEPT) and KEPT[0] == points.tobytes()
    KEPT[:] = [points.tobytes()]
    return (y * 2 if same else y), total


def varies(points: Array) -> Answer:
    """By the last bit, from call to call."""
    y, total = right(points)
    KEPT.append(None)
    return (np.nextafter(y, np.float32(9)) if len(KEPT) % 2 else y), total


# --- takes its process over -------------------------------------------------------------------------------------------


def forges_a_reply(points: Array) -> Answer:
    """Writes into every descriptor that is open."""
    for descriptor in range(3, 32):
        try:
            os.write(descriptor, b"passed" * 100)
        except OSError:
            continue
    return right(points)


def stops_answering(points: Array) -> Answer:
    os.closerange(3, 32)
    return right(points)
