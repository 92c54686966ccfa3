"""Sensitivity: which case of the standard level kills which buggy kernel of the bank, and the smallest smoke that does.

    python benchmarks/mutation.py [--processes 2]

Prints, for each family, how many kernels it kills, how many that no other family kills, and what it costs; then the
greedy cover: cases chosen one after another, each killing the most kernels not yet killed, the cheapest of equals,
until every kernel that the named cases of standard kill is killed; and the smoke level beside it.  Costs are CPU
seconds of the certified reference and of one call.  Kernels whose verdicts change when the same cases run in
another order (caches, races) are no matter of single cases: they are left out of the cover and named.

The matrix goes to benchmarks/results/mutation.jsonl, one kernel a line; a kernel whose line fits the cases of today
is not run again.  Exit status 1 if standard misses a kernel, or smoke more than 5 % of the semantic bugs.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from banked import BUGGY
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.conformance.interface.suite import suite as suite_of
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases as cases_of
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import Run
from assay.conformance.judge.references import References
from assay.spec.precision import precision

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from assay.conformance.interface.suite import Case

Row = dict[str, Any]

#: Kernels a process judges with the references of one class.
_CHUNK = 16
#: The share of the semantic bugs that smoke has to kill.
_SEMANTIC_SHARE = 0.95


def named(name: str, level: str) -> dict[str, Case]:
    """The cases of a level in the class ``name``, by names that are made unique by a number."""
    seen: Counter[str] = Counter()
    found = {}
    for case in cases_of(suite_of("attention"), precision(name), level, 0):
        seen[case.name] += 1
        found[case.name if seen[case.name] == 1 else f"{case.name} ({seen[case.name]})"] = case
    return found


def fingerprint(cases: Mapping[str, Case]) -> str:
    """Changes when a case, its layout or its place does."""
    state = hashlib.blake2b(digest_size=16)
    for name, case in cases.items():
        state.update(name.encode() + case.instance.digest() + case.layout.name.encode())
    return state.hexdigest()


def judged(names: Sequence[str], class_name: str, backwards: bool) -> list[Row]:
    """Some kernels of one class, fresh, on every named case of standard, in the order of the level or the reverse."""
    cases = named(class_name, "standard")
    smoke = set(named(class_name, "smoke"))
    order = list(enumerate(cases.items()))[:: -1 if backwards else 1]
    entries = {entry.name: entry for entry in BUGGY}
    references = References()
    known: dict[tuple[str, str], tuple[Any, float]] = {}
    rows = []
    for name in names:
        entry = entries[name]
        row: Row = {"kernel": name, "class": class_name, "backwards": backwards, "semantic": bool(entry.diagnosis)}
        row |= {"of": fingerprint(cases), "killed": {}, "seconds": {}}
        kernel = kernel_of(entry.function, "attention", options=dict(entry.options))
        judge = Judge(kernel, precision(class_name), entry.options, references=references)
        conventions = str(sorted(kernel.conventions.items()))
        with np.errstate(all="ignore"):
            for number, (key, case) in order:
                if (key, conventions) not in known:
                    begun = time.process_time()
                    criteria = judge.criteria(case.instance)
                    known[key, conventions] = criteria, time.process_time() - begun
                criteria, took = known[key, conventions]
                begun = time.process_time()
                row["killed"][key] = judge.outcome(case, criteria, huge_canaries=number % 2 == 1).failed
                row["seconds"][key] = took + time.process_time() - begun
            if not backwards:  # where no named case kills, perhaps a drawn one or a law does
                for level, of_level in (("smoke", smoke), ("standard", set(cases))):
                    by_name = any(row["killed"][key] for key in of_level)
                    row[level] = by_name or bool(Run(judge, level, 0).report().failures)
        rows.append(row)
    return rows


def cover(kills: Mapping[str, frozenset[str]], cost: Mapping[str, float]) -> list[str]:
    """Cases that together kill whatever all do: greedily, then without those that the later ones made superfluous.

    >>> cover({"a": frozenset("xy"), "b": frozenset("yz"), "c": frozenset("xyz"), "d": frozenset("w")}, {})
    ['c', 'd']
    """
    left = set().union(*kills.values()) if kills else set()
    chosen: list[str] = []
    while left:
        best = max(kills, key=lambda case: (len(kills[case] & left), -cost.get(case, 0.0)))
        chosen.append(best)
        left -= kills[best]
    for case in sorted(chosen, key=lambda case: -cost.get(case, 0.0)):
        others = set().union(*(kills[other] for other in chosen if other != case))
        if kills[case] <= others:
            chosen.remove(case)
    return chosen


def by_case(rows: Iterable[Row]) -> tuple[dict[str, frozenset[str]], dict[str, float]]:
    """Kernels killed, and median seconds, of every case."""
    kills: dict[str, set[str]] = {}
    seconds: dict[str, list[float]] = {}
    for row in rows:
        for case, dead in row["killed"].items():
            kills.setdefault(case, set()).update({row["kernel"]} if dead else ())
        for case, took in row["seconds"].items():
            seconds.setdefault(case, []).append(took)
    return (
        {case: frozenset(kernels) for case, kernels in kills.items()},
        {case: statistics.median(took) for case, took in seconds.items()},
    )


def family_of(case: str) -> str:
    return case.partition(":")[0]


def families(rows: Sequence[Row], smoke: Iterable[str], chosen: Iterable[str]) -> list[Row]:
    """One row a family: its cases, what they kill, what only they kill, what they cost."""
    kills, cost = by_case(rows)
    of = {family: [case for case in kills if family_of(case) == family] for family in map(family_of, kills)}
    killed = {family: frozenset().union(*(kills[case] for case in cases)) for family, cases in of.items()}
    semantic = {row["kernel"] for row in rows if row["semantic"]}
    smoke, chosen = set(smoke), set(chosen)
    table = []
    for family, cases in of.items():
        others = frozenset().union(*(killed[other] for other in of if other != family))
        alone = sorted(killed[family] - others)
        table.append(
            {
                "family": family,
                "smoke": sum(case in smoke for case in cases),
                "standard": sum(case not in smoke for case in cases),
                "in the cover": sum(case in chosen for case in cases),
                "kills": len(killed[family]),
                "semantic": len(killed[family] & semantic),
                "ms": 1e3 * sum(cost[case] for case in cases),
                "only this family kills": ", ".join(alone),
            }
        )
    return table


def steps(
    kills: Mapping[str, frozenset[str]], cost: Mapping[str, float], chosen: Iterable[str], smoke: set[str]
) -> list[Row]:
    """One row a case of the cover: what it adds to those before it."""
    left = set().union(*kills.values())
    table = []
    for case in chosen:
        new = sorted(kills[case] & left)
        left -= set(new)
        table.append(
            {
                "case of the cover": case,
                "level": "smoke" if case in smoke else "standard",
                "kills": len(kills[case]),
                "new": len(new),
                "ms": 1e3 * cost[case],
                "among the new": ", ".join(new[:4]),
            }
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    kept = Path(__file__).parent / "results" / "mutation.jsonl"
    kept.parent.mkdir(exist_ok=True)
    today = {name: fingerprint(named(name, "standard")) for name in {entry.precision for entry in BUGGY}}
    known = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    wanted = {entry.name: entry.precision for entry in BUGGY}
    rows = {
        (row["kernel"], row["backwards"]): row for row in known if row["of"] == today.get(wanted.get(row["kernel"], ""))
    }
    work = []
    for backwards, name in itertools.product((False, True), sorted(today)):
        new = [kernel for kernel, claimed in wanted.items() if claimed == name and (kernel, backwards) not in rows]
        work += [(new[at : at + _CHUNK], name, backwards) for at in range(0, len(new), _CHUNK)]
    # a fresh process for every piece of work: no kernel remembers the other order
    fresh = ProcessPoolExecutor(chosen.processes, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    with fresh as pool, kept.open("a") as file:
        running = [pool.submit(judged, *each) for each in work]
        for future in track(as_completed(running), "kernels", total=len(running), console=Console(stderr=True)):
            for row in future.result():
                rows[row["kernel"], row["backwards"]] = row
                file.write(json.dumps(row) + "\n")
            file.flush()
    steady = {name for name in wanted if rows[name, False]["killed"] == rows[name, True]["killed"]}
    sys.exit(told([rows[name, False] for name in wanted], steady))


def told(rows: Sequence[Row], steady: set[str]) -> bool:
    """Print the tables; whether anything is missed that must not be.  ``steady``: kernels that no order changes."""
    smoke = set(named("float32", "smoke"))
    kills, cost = by_case(row for row in rows if row["kernel"] in steady)
    least = cover(kills, cost)
    publish(
        "mutation", families(rows, smoke, least), "kills by the named cases of a family; ms of all of them together"
    )
    publish("mutation-cover", steps(kills, cost, least, smoke))
    spare = smoke.difference(least)
    missed = [row for row in rows if not row["smoke"]]
    semantic = [row for row in rows if row["semantic"]]
    lost = [row for row in missed if row["semantic"]]
    by_name = [row for row in rows if any(row["killed"][case] for case in smoke)]
    alive = [row for row in rows if not row["standard"]]
    unnamed = [row for row in rows if row["standard"] and not any(row["killed"].values())]
    unsteady = {row["kernel"] for row in rows} - steady
    print(f"left out of the cover, for their verdicts change with the order of calls: {listed(unsteady)}")
    print(
        f"cases: cover {len(least)}, {1e3 * sum(cost[case] for case in least):.0f} ms; "
        f"smoke {len(smoke)}, {1e3 * sum(cost[case] for case in smoke):.0f} ms, {len(spare)} of them not in the cover; "
        f"standard {len(kills)}, {1e3 * sum(cost.values()):.0f} ms"
    )
    print(f"dear (above the median) and killing nothing that a cheaper case does not: {listed(dominated(kills, cost))}")
    print(
        f"smoke kills {len(rows) - len(missed)} of {len(rows)} kernels, {len(by_name)} of them by its named cases; "
        f"{len(semantic) - len(lost)} of {len(semantic)} semantic bugs ({1 - len(lost) / len(semantic):.1%}). "
        f"It misses: {listed(described(missed))}"
    )
    print(f"standard kills {len(rows) - len(alive)} of {len(rows)}. It misses: {listed(described(alive))}")
    print(f"killed by drawn cases or laws alone: {listed(described(unnamed))}")
    return bool(alive) or len(lost) > (1 - _SEMANTIC_SHARE) * len(semantic)


def described(rows: Iterable[Row]) -> list[str]:
    return [row["kernel"] + (" (semantic)" if row["semantic"] else "") for row in rows]


def listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def dominated(kills: Mapping[str, frozenset[str]], cost: Mapping[str, float]) -> list[str]:
    """Cases above the median cost whose kills are all among those of one cheaper case of the same family."""
    median = statistics.median(cost.values())
    return [
        case
        for case in kills
        if cost[case] > median
        and any(
            cost[other] < cost[case] and kills[case] <= kills[other] and family_of(other) == family_of(case)
            for other in kills
        )
    ]


if __name__ == "__main__":
    main()
