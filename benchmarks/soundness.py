"""Soundness: every correct kernel of the bank over many seeds, each seed in another of the classes that it names.

    python benchmarks/soundness.py --seeds 200 --level thorough [--first 60]

A level includes the lower ones.  A seed that is done is not run again (benchmarks/results/soundness-<level>.jsonl);
processes share the seeds.  One alarm is one too many: the script then ends with exit status 1 and names it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from banked import CORRECT
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.conformance.judge import Judge
from assay.conformance.report import OUT_OF_TIME
from assay.conformance.suite import LEVELS
from assay.conformance.targets import wrap
from assay.spec.precision import precision

Row = dict[str, Any]


def one(seed: int, level: str) -> list[Row]:
    """Every kernel with one seed."""
    references: dict[Any, Any] = {}
    rows = []
    for number, entry in enumerate(CORRECT):
        name = entry.precisions[(seed + number) % len(entry.precisions)]
        judge = Judge(wrap(entry.function), "attention", precision(name), references=references)
        with np.errstate(all="ignore"):
            report = judge.report(level, seed)
        rows.append(
            {
                "seed": seed,
                "kernel": entry.name,
                "class": name,
                "judged": report.ran,
                "ratio": report.worst_ratio,
                "out of time": sum(case.reason == OUT_OF_TIME for case in report.cases),
                "alarms": [f"{finding.case}: {finding.sentence}" for finding in report.failures],
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the seed to begin with")
    parser.add_argument("--level", choices=LEVELS, default="thorough")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    kept = Path(__file__).parent / "results" / f"soundness-{chosen.level}.jsonl"
    kept.parent.mkdir(exist_ok=True)
    rows: list[Row] = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {row["seed"] for row in rows}
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    with ProcessPoolExecutor(chosen.processes) as pool, kept.open("a") as file:
        running = [pool.submit(one, seed, chosen.level) for seed in seeds if seed not in done]
        for future in track(as_completed(running), "seeds", total=len(running), console=Console(stderr=True)):
            found = future.result()
            rows += found
            file.writelines(json.dumps(row) + "\n" for row in found)
            file.flush()
    table = []
    for kernel in sorted({row["kernel"] for row in rows}):
        mine = [row for row in rows if row["kernel"] == kernel]
        table.append(
            {
                "kernel": kernel,
                "classes": len({row["class"] for row in mine}),
                "seeds": len({row["seed"] for row in mine}),
                "judged": sum(row["judged"] for row in mine),
                "out of time": sum(row["out of time"] for row in mine),
                "worst ratio": max(row["ratio"] for row in mine),
                "alarms": sum(len(row["alarms"]) for row in mine),
            }
        )
    alarms = sum(row["alarms"] for row in table)
    judged = sum(row["judged"] for row in table)
    publish(f"soundness-{chosen.level}", table, f"{judged} judgements, {alarms} alarms; a ratio above 1 would be one")
    for row in rows:
        for alarm in row["alarms"][:1]:
            print(f"ALARM: {row['kernel']} {row['class']} seed {row['seed']}: {alarm}")
    sys.exit(alarms > 0)


if __name__ == "__main__":
    main()
