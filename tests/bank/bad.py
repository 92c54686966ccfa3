"""Kernels that misbehave, each in one way, and otherwise compute attention as it should be."""

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
from numpy.typing import NDArray

from bank.attention.correct import CORRECT

Array = NDArray[Any]
KEPT: list[Any] = []
NULL = 0
_MAP_NORESERVE = 0x4000  # of Linux; Python names it from 3.13 on
MIB = 1 << 20


def right(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    q, k, v = (array.astype(np.float64) for array in (query, key, value))
    k, v = (np.repeat(array, q.shape[1] // k.shape[1], axis=1) for array in (k, v))
    score = scale * (q @ k.swapaxes(2, 3))
    weight = np.exp(score - score.max(3, keepdims=True))
    output: Array = (weight @ v / weight.sum(3, keepdims=True)).astype(query.dtype)
    return output


#: Of the bank, by a name that another process finds.
online_16 = next(entry.function for entry in CORRECT if entry.name == "online-16")


# --- ends its process -------------------------------------------------------------------------------------------------


def segfaults(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    ctypes.memset(NULL, 0, 1)
    return right(query, key, value, scale=scale)


def segfaults_on_long_rows(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    if key.shape[2] >= 33:
        ctypes.memset(NULL, 0, 1)
    return right(query, key, value, scale=scale)


def aborts(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    os.write(2, b"free(): invalid pointer\n")
    os.abort()


def leaves(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    os._exit(3)


def exits(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    sys.exit("no device")


def dies_later(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    """Its background work crashes after the call."""
    threading.Timer(0.05, os.abort).start()
    return right(query, key, value, scale=scale)


# --- does not end -----------------------------------------------------------------------------------------------------


def hangs(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    while True:
        time.sleep(0.01)


def hangs_in_c(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    """Holds the interpreter's lock, and no signal but SIGKILL reaches it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.PyDLL(None).sleep(1000)
    return right(query, key, value, scale=scale)


def starts_threads(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    """Right, but its process would never end by itself."""
    if not KEPT:
        KEPT.append(threading.Thread(target=time.sleep, args=(1000,)))
        KEPT[0].start()
        atexit.register(time.sleep, 1000)
        KEPT.append(os.posix_spawn("/bin/sleep", ["sleep", "1000"], os.environ))
    return right(query, key, value, scale=scale)


# --- writes to stdout -------------------------------------------------------------------------------------------------


def prints(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    print("tile", query.shape[2], flush=True)
    return right(query, key, value, scale=scale)


def prints_in_c(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    ctypes.CDLL(None).printf(b"block %d\n", 7)
    return right(query, key, value, scale=scale)


def writes_to_stdout(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    os.write(1, b"\n  grid (1, 2)\nmore\n")
    return right(query, key, value, scale=scale)


def prints_without_end(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    while True:
        os.write(1, b"again\n" * 1000)


def complains(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    """Writes to stderr, as it may."""
    os.write(2, b"slow path\n")
    print("slow path", file=sys.stderr)
    return right(query, key, value, scale=scale)


# --- memory -----------------------------------------------------------------------------------------------------------


def leaks(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    output = right(query, key, value, scale=scale)
    KEPT.append(output.copy())
    return output


def leaks_in_c(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    malloc = ctypes.CDLL(None).malloc
    malloc.restype = ctypes.c_void_p
    ctypes.memset(malloc(ctypes.c_size_t(8192)), 1, 8192)
    return right(query, key, value, scale=scale)


def keeps_a_cache(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    """A workspace of a mebibyte for every shape, kept: that is no leak."""
    known = {shape for shape, _ in KEPT}
    if query.shape not in known:
        KEPT.append((query.shape, np.ones(MIB, np.uint8)))
    return right(query, key, value, scale=scale)


def takes_much(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    """Takes 150 MiB, and gives them back."""
    np.ones(150 * MIB, np.uint8)
    return right(query, key, value, scale=scale)


def reserves_much(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    """Reserves 64 GiB of address space and uses a page of it: that costs nothing."""
    import mmap

    with mmap.mmap(-1, 64 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE) as memory:
        memory[0] = 1
    return right(query, key, value, scale=scale)


def takes_without_end(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    while True:
        KEPT.append(np.ones(8 * MIB, np.uint8))


def runs_out(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    raise MemoryError("cannot allocate 3 TiB")


# --- its inputs and its result ----------------------------------------------------------------------------------------


def raises(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    raise IndexError("tile 3 of 2\nsecond line")


def mutates(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    address = query.__array_interface__["data"][0]
    output = right(query, key, value, scale=scale)
    ctypes.c_uint8.from_address(address).value ^= 1
    return output


def keeps_its_input(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    KEPT[:] = [query[:1]]
    return right(query, key, value, scale=scale)


def holds_in_a_cycle(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    """Until the garbage is collected: that is not keeping."""
    cycle: list[Any] = [query]
    cycle.append(cycle)
    return right(query, key, value, scale=scale)


def returns_a_view(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    """Of one key's value: that is right, if it is the only key."""
    if key.shape[2] > 1 or query.shape[1] != key.shape[1]:
        raise NotImplementedError("one key only")
    return np.broadcast_to(value, (*query.shape[:3], value.shape[3]))


def returns_a_list(query: Array, key: Array, value: Array, *, scale: float) -> Any:
    return right(query, key, value, scale=scale).tolist()


def transposes(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    return right(query, key, value, scale=scale).swapaxes(1, 2)


def widens(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    return right(query, key, value, scale=scale).astype(np.float64)


def wrong_the_second_time(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    """Twice the output for an input that came just before."""
    output = right(query, key, value, scale=scale)
    same = bool(KEPT) and KEPT[0] == query.tobytes() + key.tobytes() + value.tobytes()
    KEPT[:] = [query.tobytes() + key.tobytes() + value.tobytes()]
    return output * 2 if same else output


def varies(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    """By the last bit, from call to call."""
    output = right(query, key, value, scale=scale)
    KEPT.append(None)
    return np.nextafter(output, np.float32(9)) if len(KEPT) % 2 else output


# --- takes its process over -------------------------------------------------------------------------------------------


def forges_a_reply(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    """Writes into every descriptor that is open."""
    for descriptor in range(3, 32):
        try:
            os.write(descriptor, b"passed" * 100)
        except OSError:
            continue
    return right(query, key, value, scale=scale)


def stops_answering(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    os.closerange(3, 32)
    return right(query, key, value, scale=scale)
