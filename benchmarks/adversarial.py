"""Soundness, element by element: every correct kernel in every class that it names, on random and on climbed inputs.

    python benchmarks/adversarial.py random --elements 1000000
    python benchmarks/adversarial.py search --climbs 12 --generations 60 [--minutes 20]
    python benchmarks/adversarial.py table

``random`` counts comparisons of one output element with its tolerance; references are shared by the kernels of a class.
``search`` climbs from the patterns of tests/bank/attention/adversary.py towards the largest ratio of error to
tolerance, of the output and of the log-sum-exp where a kernel returns one.  Both go on where they ended
(benchmarks/results/adversarial-*.jsonl), and the worst instance of each class is saved beside.  A ratio above 1 is an
unsound tolerance: exit status 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from banked import CORRECT, adversary
from rich.console import Console
from rich.progress import Progress
from timing import publish

from assay.spec.precision import PRECISIONS

Row = dict[str, Any]

FOLDER = Path(__file__).parent / "results"
RANDOM, SEARCH = FOLDER / "adversarial-random.jsonl", FOLDER / "adversarial-search.jsonl"
CHUNK = 20  # random instances a row


def kept(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def written(path: Path, rows: list[Row]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def members(name: str) -> list[Any]:
    """The kernels of a class."""
    return [entry for entry in CORRECT if name in entry.precisions]


# --- random -----------------------------------------------------------------------------------------------------------


def chunk_of(name: str, number: int, entries: list[Any]) -> list[Row]:
    """Some random instances, judged for each of the kernels."""
    rows: dict[str, Row] = {
        entry.name: {"class": name, "kernel": entry.name, "chunk": number, "elements": 0, "ratio": 0.0, "seed": None}
        for entry in entries
    }
    for seed in range(number * CHUNK, (number + 1) * CHUNK):
        instance = adversary.drawn(name, seed)
        known = adversary.referenced(instance, name)
        for entry in entries:
            row = rows[entry.name]
            for found in (adversary.ratios(entry, instance, known) or {}).values():
                judged = found[~np.isnan(found)]
                row["elements"] += judged.size
                if judged.size and judged.max() > row["ratio"]:
                    row["ratio"], row["seed"] = float(judged.max()), seed
    return list(rows.values())


def random(elements: int) -> None:
    rows = kept(RANDOM)
    done = {(row["class"], row["chunk"], row["kernel"]) for row in rows}
    judged: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        judged[row["class"], row["kernel"]] += row["elements"]
    with Progress(console=Console(stderr=True)) as progress:
        for name in PRECISIONS:
            task = progress.add_task(name, total=elements)
            for number in itertools.count():
                wanting = [entry for entry in members(name) if judged[name, entry.name] < elements]
                progress.update(task, completed=min(judged[name, entry.name] for entry in members(name)))
                if not wanting:
                    break
                found = chunk_of(name, number, [e for e in wanting if (name, number, e.name) not in done])
                written(RANDOM, found)
                for row in found:
                    judged[name, row["kernel"]] += row["elements"]


# --- search -----------------------------------------------------------------------------------------------------------


def search(climbs: int, generations: int, minutes: float) -> None:
    """Round after round, every kernel once a round, each from the pattern after the one of its neighbour."""
    rows = kept(SEARCH)
    done = {(row["class"], row["kernel"], row["output"], row["seed"], row["generations"]) for row in rows}
    best: dict[str, float] = defaultdict(float)
    for row in rows:
        best[row["class"]] = max(best[row["class"]], row["ratio"])
    work = [
        (name, entry, output, turn + number)
        for turn in range(climbs)
        for number in range(len(CORRECT))
        for name in PRECISIONS
        for entry in members(name)[number : number + 1]
        for output in ("output", "log_sum_exp")
        if output == "output" or ("return_lse" in adversary.kernel_of(entry).keywords and turn % 3 == 0)
    ]
    ends = time.monotonic() + 60 * minutes
    with Progress(console=Console(stderr=True)) as progress:
        for name, entry, output, seed in progress.track(work, description="climbs"):
            if time.monotonic() > ends:
                break
            if (name, entry.name, output, seed, generations) in done:
                continue
            found = adversary.climb(entry, name, seed, generations, output=output)
            written(SEARCH, [_row(found, generations)])
            if found.ratio > best[name]:
                best[name] = found.ratio
                found.instance.save(FOLDER / f"adversarial-{name}.npz")


def _row(found: Any, generations: int) -> Row:
    return {
        "class": found.precision,
        "kernel": found.kernel,
        "output": found.output,
        "pattern": found.pattern,
        "seed": found.seed,
        "generations": generations,
        "keys": found.instance.key.shape[2],
        "ratio": found.ratio,
    }


# --- table ------------------------------------------------------------------------------------------------------------


def table() -> bool:
    """By class and by kernel; True where every ratio is at most 1."""
    drawn_rows, climbed = kept(RANDOM), kept(SEARCH)
    none: Row = {"ratio": 0.0, "kernel": "–", "pattern": "–", "seed": None}
    rows = []
    for name in PRECISIONS:
        random_ones = [row for row in drawn_rows if row["class"] == name]
        outputs = [row for row in climbed if row["class"] == name and row["output"] == "output"]
        lses = [row for row in climbed if row["class"] == name and row["output"] == "log_sum_exp"]
        totals = [sum(row["elements"] for row in random_ones if row["kernel"] == entry.name) for entry in members(name)]
        at_random = max(random_ones, key=lambda row: row["ratio"], default=none)
        at_top = max(outputs, key=lambda row: row["ratio"], default=none)
        rows.append(
            {
                "class": name,
                "kernels": len(totals),
                "elements": sum(totals),
                "fewest a kernel": min(totals),
                "worst at random": at_random["ratio"],
                "of": f"{at_random['kernel']}, seed {at_random['seed']}",
                "climbs": len(outputs) + len(lses),
                "worst climbed": at_top["ratio"],
                "by": f"{at_top['kernel']} from {at_top['pattern']}, seed {at_top['seed']}",
                "log-sum-exp": max((row["ratio"] for row in lses), default=0.0),
            }
        )
    everything = drawn_rows + climbed
    worst = max((row["ratio"] for row in everything), default=0.0)
    publish(
        "adversarial",
        rows,
        f"{sum(row['elements'] for row in rows)} element checks, {len(climbed)} climbs; worst ratio {worst:.4g}",
    )
    by_kernel = []
    for entry in CORRECT:
        row: Row = {"kernel": entry.name}
        for name in PRECISIONS:
            mine = [r["ratio"] for r in everything if r["kernel"] == entry.name and r["class"] == name]
            row[name] = max(mine) if mine else "–"
        by_kernel.append(row)
    publish("adversarial-kernels", by_kernel, "the worst ratio of each kernel in each class, however found")
    for row in everything:
        if row["ratio"] > 1:
            print("UNSOUND:", json.dumps(row))
    return worst <= 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("random", "search", "table"))
    parser.add_argument("--elements", type=int, default=10**6, help="of each kernel in each class")
    parser.add_argument("--climbs", type=int, default=12, help="of each kernel in each class")
    parser.add_argument("--generations", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no climb begins")
    chosen = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    if chosen.part == "random":
        random(chosen.elements)
    elif chosen.part == "search":
        search(chosen.climbs, chosen.generations, chosen.minutes)
    sys.exit(0 if table() else 1)


if __name__ == "__main__":
    main()
