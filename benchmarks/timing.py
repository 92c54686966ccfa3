"""Timing side by side: every contender in turn, round after round, warmed up; minimum and median; a table and JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from assay.impl.cpu import processor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["interleaved", "machine", "publish"]

#: The libraries that something is measured of or beside, and those that have a part in the time of our kernels.
_LIBRARIES = ("numpy", "numba", "scipy", "torch", "jax", "onnxruntime", "pykeops")


def interleaved(
    contenders: Mapping[str, Callable[[], Any]], rounds: int = 7, clock: Callable[[], float] = time.perf_counter, *,
    seconds_of: Callable[[Callable[[], Any]], float] | None = None, rest: float = 0.0,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Seconds of every contender, {"min": …, "median": …}, over ``rounds`` ≥ 5 interleaved calls after a warm-up.

    clock: ``time.process_time`` for contenders of one thread each where other work takes cores.
    rest: seconds before each call, in which threads that wait busily after the call before fall asleep.
    seconds_of: calls a contender and says how long that took, where a device has a clock of its own.
    """

    def clocked(call: Callable[[], Any]) -> float:
        begun = clock()
        call()
        return clock() - begun

    taken = clocked if seconds_of is None else seconds_of
    assert rounds >= 5
    for call in contenders.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in track(range(rounds), "timing", console=Console(stderr=True), transient=True):
        for name, call in contenders.items():
            time.sleep(rest)
            seconds[name].append(taken(call))
    return {name: {"min": min(times), "median": statistics.median(times)} for name, times in seconds.items()}


def machine() -> dict[str, Any]:
    """What belongs beside every figure: the processor, the vectors in use, threads, load and the versions."""
    installed = {each.metadata["Name"].lower(): each.version for each in importlib.metadata.distributions()}
    return {
        **processor.described(),
        "threads": {name: os.environ[name] for name in sorted(os.environ) if name.endswith("_NUM_THREADS")},
        "load": [round(load, 1) for load in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: installed[name] for name in _LIBRARIES if name in installed},
    }


def publish(
    name: str, rows: list[dict[str, Any]], note: str = "", *, upright: bool = True,
    about: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Print the rows as a table, and the machine, and write them to ``benchmarks/results/<name>.json``.

    A row may lack figures that others have.  upright: one line for a row; otherwise one column, which suits rows of
    many figures.  about: what else belongs beside every figure, such as a device.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    figures = [[row.get(name, "–") for name in names] for row in rows]
    cells = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row] for row in figures]
    table = Table(title=name, show_header=upright)
    if upright:
        for column in names:
            table.add_column(column, overflow="fold")
        for row in cells:
            table.add_row(*row)
    else:
        for line in zip(names, *cells, strict=True):
            table.add_row(*line)
    Console(width=160).print(table)
    whole = {**machine(), **(about or {})}
    print(", ".join(f"{key} {value}" for key, value in whole.items() if key not in ("caches", "system")))
    if note:
        print(note)
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(
        json.dumps({"name": name, "machine": whole, "note": note, "rows": rows}, indent=1)
    )
