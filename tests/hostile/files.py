"""Mutations of good files, and how each of them ends: read, or refused in one clear line.

Good files, instances of every problem, hard instances, and arrays, are changed: bytes are flipped, cut, repeated and
swapped, headers and metadata are replaced by hostile ones, members are renamed, dropped and added.  A file that ends
in another exception than ``InvalidInstance`` or ``UsageError``, in a message of several lines, or not within seconds,
is a fault.  ``benchmarks/hostile.py`` runs many of them.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.cli.hard import array_in
from assay.conformance.interface.suite import suite
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.cases import cases
from assay.spec.instances import hard
from assay.spec.problem import PROBLEMS, InvalidInstance, problem
from assay.spec.storage import members, problem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = [
    "HEADERS", "METADATA", "SECONDS", "Fault", "cut", "faults", "flipped", "good_files", "mutated", "repeated",
    "replaced", "swapped",
]  # fmt: skip

SECONDS = 10.0  # of the processor

#: Headers of the .npy format that are no good ones.
HEADERS: tuple[str, ...] = (
    "{[]: 1}",
    "{'descr': (), 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (10**30,)}",
    f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**30},)}}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 99999999999999999999)}",
    f"{{'descr': '<f8', 'fortran_order': True, 'shape': ({'1, ' * 40})}}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    "{'descr': '|S0', 'fortran_order': False, 'shape': (9999999999,)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (True, False)}",
    "{'descr': '<f8', 'fortran_order': 2, 'shape': 3}",
    "{'descr': [('a', '<f8'), ('a', '<f8')], 'fortran_order': False, 'shape': (1,)}",
    "{'descr': [('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (1,)}",
    "(" * 3000,
    "-" * 9000 + "1",
    "{'descr': '\\d'}",
    "\x00" * 64,
    "",
)

#: What takes the place of some value of the metadata.
METADATA: tuple[Any, ...] = (
    None, True, -1, 2**70, 1e308, float("inf"), "", "\x1b[31m\nline", "0x1p99999", "x" * 100_000, [], {}, [[[[]]]],
    {"a": 1}, "float64", "O", "finfo", ",", "1/0", "bfloat16", [1, 2, 3], 10**400,
)  # fmt: skip


def good_files(folder: Path) -> list[Path]:
    """Instances of every problem, hard instances in both forms, and arrays."""
    paths = []
    for name in PROBLEMS:
        precision = next(iter(problem(name).PRECISIONS.values()))
        for number, case in zip(range(6), cases(suite(name), precision, "smoke", 0), strict=False):
            paths.append(folder / f"{name}-{number}.npz")
            case.instance.save(paths[-1])
    for name in ("attention", "document_similarity", "rope_attention"):
        for suffix in (".npz", ".json"):
            paths.append(folder / f"hard-{name}{suffix}")
            hard.hard(name, "planted-ov", n=4, d=4).save(paths[-1])
    for number, array in enumerate((np.ones((1, 1, 4, 1)), np.zeros(3, np.float16), np.asfortranarray(np.eye(3)))):
        paths.append(folder / f"output-{number}.npy")
        np.save(paths[-1], array)
    return paths


def mutated(content: bytes, suffix: str, rng: np.random.Generator) -> bytes:
    """A good file with something wrong in it."""
    ways: list[Callable[[bytes, np.random.Generator], bytes]] = [flipped, cut, repeated, swapped]
    ways += {".npz": [_member, _member, _described, _described, _added], ".npy": [_headed] * 4, ".json": [_json] * 4}[
        suffix
    ]
    return ways[int(rng.integers(len(ways)))](content, rng)


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for at in rng.integers(len(content), size=int(rng.integers(1, 6))):
        changed[at] = int(rng.integers(256))
    return bytes(changed)


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def repeated(content: bytes, rng: np.random.Generator) -> bytes:
    first, last = sorted(rng.integers(len(content), size=2).tolist())
    return content[:last] + content[first:]


def swapped(content: bytes, rng: np.random.Generator) -> bytes:
    a, b, c = sorted(rng.integers(len(content), size=3).tolist())
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def _headed(content: bytes, rng: np.random.Generator) -> bytes:
    """An array with another header, of another length, or of another version."""
    header = HEADERS[int(rng.integers(len(HEADERS)))].encode()
    version = [(1, 0), (2, 0), (3, 0), (9, 9)][int(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1]))]
    length = len(header) if rng.random() < 0.8 else int(rng.integers(1 << 16))
    length = (1 << 32) - 1 if version != (1, 0) and rng.random() < 0.1 else length
    width = 2 if version == (1, 0) else 4
    return (
        b"\x93NUMPY" + bytes(version) + (length % (1 << 8 * width)).to_bytes(width, "little") + header + content[-64:]
    )


def _unpacked(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _packed(parts: dict[str, bytes], rng: np.random.Generator) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if rng.random() < 0.5 else zipfile.ZIP_STORED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return file.getvalue()


def _member(content: bytes, rng: np.random.Generator) -> bytes:
    """One member changed, dropped or renamed."""
    parts = _unpacked(content)
    name = list(parts)[int(rng.integers(len(parts)))]
    way = int(rng.integers(4))
    if way == 0:
        del parts[name]
    elif way == 1:
        parts[["readme", "metadata", "../x.npy", "hard.x.npy", "\x1b[2J.npy"][int(rng.integers(5))]] = parts.pop(name)
    else:
        parts[name] = (flipped, cut, repeated, _headed)[int(rng.integers(4))](parts[name], rng)
    return _packed(parts, rng)


def _added(content: bytes, rng: np.random.Generator) -> bytes:
    """A member that nobody asked for, which unpacks to far more than it takes."""
    file = io.BytesIO()
    np.save(file, np.zeros(1 << int(rng.integers(8, 20))))
    return _packed({**_unpacked(content), "more.npy": file.getvalue()}, rng)


def replaced(value: Any, rng: np.random.Generator) -> Any:
    """A JSON value with one of its parts replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = list(value)[int(rng.integers(len(value)))]
        if rng.random() < 0.1:
            return {name: part for name, part in value.items() if name != key}
        return {**value, key: replaced(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = int(rng.integers(len(value)))
        return [*value[:at], replaced(value[at], rng), *value[at + 1 :]]
    return METADATA[int(rng.integers(len(METADATA)))]


def _described(content: bytes, rng: np.random.Generator) -> bytes:
    """Other metadata."""
    parts = _unpacked(content)
    said = [name for name in ("metadata.npy", "hard.metadata.npy") if name in parts]
    name = said[int(rng.integers(len(said)))]
    written = json.loads(np.load(io.BytesIO(parts[name])).tobytes())
    deep = rng.random() < 0.05
    text = "[" * 100_000 if deep else json.dumps(replaced(written, rng))
    file = io.BytesIO()
    np.save(file, np.frombuffer(text.encode(), np.uint8))
    return _packed({**parts, name: file.getvalue()}, rng)


def _json(content: bytes, rng: np.random.Generator) -> bytes:
    return json.dumps(replaced(json.loads(content), rng)).encode()


def _read(path: Path) -> None:
    """Everything that reads such a file, one after the other."""
    if path.suffix == ".npy":
        array_in(path)
        return
    if path.suffix == ".npz":
        name = problem_of(path)
        members(path)
        if name in PROBLEMS:
            problem(name).Instance.load(path)
    if path.suffix == ".json" or "hard" in path.name:
        hard.load(path)


class Fault(Exception):
    """A file that was neither read nor refused in one line in time."""


def _judged(path: Path) -> str:
    begun = time.process_time()
    try:
        _read(path)
        ending = "read"
    except (InvalidInstance, UsageError) as refusal:
        ending = "refused"
        said = str(refusal)
        if "\n" in said or len(said) > 2000:
            raise Fault(f"a refusal of several lines, or of {len(said)} letters: {said[:200]!r}") from None
    except Exception as error:
        raise Fault(f"{type(error).__name__}: {str(error)[:200]}") from error
    if time.process_time() - begun > SECONDS:
        raise Fault(f"took {time.process_time() - begun:.0f} s")
    return ending


def faults(folder: Path, count: int, seed: int = 0) -> Iterator[tuple[Path, str, Fault | None]]:
    """Read ``count`` mutated files one after the other; (path, "read" or "refused", fault)."""
    rng = np.random.default_rng(seed)
    files = [(path, path.read_bytes()) for path in good_files(folder)]
    for number in range(count):
        path, content = files[number % len(files)]
        path.write_bytes(mutated(content, path.suffix, rng))
        try:
            yield path, _judged(path), None
        except Fault as fault:
            yield path, "fault", fault
