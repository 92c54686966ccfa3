"""Soundness: every correct kernel of the bank over many seeds, the seeds by turns in all classes that it names.

    python benchmarks/soundness.py --seeds 200 --level thorough [--first 60] [--beyond names.txt] [--kernels NAME …]

Cases and references are shared by the kernels of a class.  A level includes the lower ones.  A seed that is done is not
run again (benchmarks/results/soundness-<level>.jsonl); processes share the seeds.  One alarm is one too many: the
script then ends with exit status 1 and names it.  ``--names`` prints the names of the cases of families; ``--beyond``
takes such a list, of an earlier campaign, and judges what has joined since.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from banked import CORRECT, drawn
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.conformance.interface.suite import LEVELS, Case
from assay.conformance.interface.suite import suite as suite_of
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases as cases_of
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import LAW_CASES
from assay.conformance.judge.references import References
from assay.spec.attention import LAWS
from assay.spec.criterion import Criterion
from assay.spec.precision import precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bank.entry import Entry
    from numpy.typing import NDArray


Row = dict[str, Any]

#: Seeds begin by turns at each class; a kernel takes the next one that it names.  Few classes a seed share references.
CLASSES = ("float32", "float8-e4m3", "bfloat16", "bfloat16-eager", "tf32", "float16", "float16-eager", "float64")


def class_of(precisions: tuple[str, ...], seed: int) -> str:
    """The class in which a kernel is judged with this seed."""
    turn = seed % len(CLASSES)
    return next(name for name in CLASSES[turn:] + CLASSES[:turn] if name in precisions)


def lawful(cases: list[Case], level: str, seed: int) -> list[Case]:
    """What the laws make of some of them."""
    found = []
    for number, law in enumerate(LAWS):
        rng = np.random.default_rng([seed, number])
        done = 0
        for position in range(len(cases)):
            case = cases[(position * 7 + number * 11 + len(cases) // 2) % len(cases)]
            transformed = law.transform(case.instance, rng)
            found += [replace(case, name=f"law {law.id} on {case.name}", instance=instance) for instance in transformed]
            done += bool(transformed)
            if done == LAW_CASES[level]:
                break
    return found


def one(
    seed: int, level: str, beyond: frozenset[str] = frozenset(), kernels: frozenset[str] = frozenset()
) -> list[Row]:
    """Every kernel with one seed, on the cases of a level: those of families, of Hypothesis and of laws.

    kernels: only these, if any are named.  beyond: only cases of families, of other names than these.
    """
    entries = [entry for entry in CORRECT if not kernels or entry.name in kernels]
    classes = {entry.name: class_of(entry.precisions, seed) for entry in entries}
    found: dict[str, Row] = {}
    for name in dict.fromkeys(classes.values()):
        mine = [entry for entry in entries if classes[entry.name] == name]
        found |= in_class(mine, name, _cases(name, level, seed, beyond))
    return [{"seed": seed, "kernel": entry.name, "class": classes[entry.name]} | found[entry.name] for entry in entries]


def _cases(name: str, level: str, seed: int, beyond: frozenset[str]) -> list[Case]:
    """The cases of a class with one seed: those of families, of Hypothesis and of laws."""
    suite, own = suite_of("attention"), precision(name)
    cases = [case for case in cases_of(suite, own, level, seed) if case.name not in beyond]
    if beyond:
        return cases
    cases += drawn(suite, own, level, seed)
    small = sorted(cases, key=lambda case: case.instance.size())[: len(cases) // 2]
    return cases + lawful(small, level, seed)


@dataclass(frozen=True, eq=False)
class Once(Criterion):
    """A criterion that measures outputs of the same bits once: they have the same error, whichever kernel made them."""

    measured: dict[Any, NDArray[np.float64]] = field(default_factory=dict)

    def ratio(self, *values: NDArray[Any]) -> NDArray[np.float64]:
        key = tuple((value.dtype, value.shape, value.tobytes()) for value in values)
        if key not in self.measured:
            self.measured[key] = super().ratio(*values)
        return self.measured[key]

    @classmethod
    def of(cls, criterion: Criterion) -> Once:
        return cls(**{each.name: getattr(criterion, each.name) for each in fields(criterion)})


def in_class(entries: Sequence[Entry], name: str, cases: Sequence[Case]) -> dict[str, Row]:
    """Every kernel on every case, case by case: what the kernels have in common is made once, while it is at hand.

    Kernels of one signature lack the same.  The criteria of a case are made for the first kernel that takes it.
    """
    references = References()
    judges = [
        Judge(kernel_of(entry.function, "attention"), precision(name), references=references) for entry in entries
    ]
    rows = [Row(judged=0, ratio=0.0, alarms=[]) for _ in entries]
    alike: dict[frozenset[str], list[int]] = {}
    for number, judge in enumerate(judges):
        alike.setdefault(judge.kernel.keywords, []).append(number)
    for case in cases:
        criteria = None
        for numbers in alike.values():
            if judges[numbers[0]].lacking(case):
                continue
            if criteria is None:
                held_to = judges[numbers[0]].criteria(case.instance)
                criteria = {output: Once.of(criterion) for output, criterion in held_to.items()}
            for number in numbers:
                with np.errstate(all="ignore"):
                    outcome = judges[number].outcome(case, criteria)
                row = rows[number]
                row["judged"] += outcome.status in ("passed", "failed")
                row["ratio"] = max(row["ratio"], outcome.ratio)
                row["alarms"] += [f"{case.name}: {outcome.sentence}"] if outcome.failed else []
    return {entry.name: row for entry, row in zip(entries, rows, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the seed to begin with")
    parser.add_argument("--level", choices=LEVELS, default="thorough")
    parser.add_argument("--beyond", type=Path, help="a file of names of cases that are judged already")
    parser.add_argument("--kernels", nargs="*", default=(), help="only these of the bank")
    parser.add_argument("--names", action="store_true", help="print the names of the cases, and no more")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    if chosen.names:
        print(
            *sorted({case.name for case in cases_of(suite_of("attention"), precision("float32"), chosen.level, 0)}),
            sep="\n",
        )
        return
    beyond = frozenset(chosen.beyond.read_text().splitlines()) if chosen.beyond else frozenset()
    name = f"soundness-{chosen.level}" + ("-beyond" if beyond else "") + "".join(f"-{each}" for each in chosen.kernels)
    kept = Path(__file__).parent / "results" / f"{name}.jsonl"
    kept.parent.mkdir(exist_ok=True)
    rows: list[Row] = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {row["seed"] for row in rows}
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    with ProcessPoolExecutor(chosen.processes) as pool, kept.open("a") as file:
        running = [
            pool.submit(one, seed, chosen.level, beyond, frozenset(chosen.kernels))
            for seed in seeds
            if seed not in done
        ]
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
                "worst ratio": max(row["ratio"] for row in mine),
                "alarms": sum(len(row["alarms"]) for row in mine),
            }
        )
    alarms = sum(row["alarms"] for row in table)
    judged = sum(row["judged"] for row in table)
    publish(name, table, f"{judged} judgements, {alarms} alarms; a ratio above 1 would be one")
    for row in rows:
        for alarm in row["alarms"][:1]:
            print(f"ALARM: {row['kernel']} {row['class']} seed {row['seed']}: {alarm}")
    sys.exit(alarms > 0)


if __name__ == "__main__":
    main()
