"""Did a refactoring change a verdict?  Every named case of every built-in kernel in every class, before and after.

``python benchmarks/verdicts.py write FILE [--level standard] [--seed 0 --seed 1]`` judges the named cases of `assay
check` (no drawn ones, no laws: those move with their strategies) and writes what became of each as JSON: status, error
in tolerances as a hexadecimal number, kind of the finding, reason.  Seconds are left out.
``python benchmarks/verdicts.py compare BEFORE AFTER`` lists every difference and exits with 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from assay.conformance.interface.suite import suite
from assay.conformance.interface.targets import kernel_of, missing
from assay.conformance.judge.cases import cases
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.references import References
from assay.spec.problem import PROBLEMS


def written(path: Path, level: str, seeds: list[int]) -> None:
    """What became of every named case: "problem target class seed" → case → [status, ratio, kind, reason]."""
    found: dict[str, dict[str, list[str]]] = {}
    begun = time.monotonic()
    for problem in PROBLEMS:
        known = suite(problem)
        targets = [target for target in known.targets.values() if not missing(target)]
        for precision in known.spec.PRECISIONS.values():
            for seed in seeds:
                named = list(cases(known, precision, level, seed))
                references = References()
                for target in targets:
                    judge = Judge(kernel_of(target.name, problem), precision, references=references)
                    rows = {}
                    for number, case in enumerate(named):
                        outcome = judge.outcome(case, huge_canaries=number % 2 == 1)
                        reason = outcome.sentence if outcome.status in ("skipped", "declined") else ""
                        rows[case.name] = [outcome.status, outcome.ratio.hex(), outcome.kind, reason]
                    found[f"{problem} {target.name} {precision.name} seed {seed}"] = rows
                print(f"{time.monotonic() - begun:6.0f} s  {problem} {precision.name} seed {seed}", flush=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def compared(before: Path, after: Path) -> int:
    """Print every difference; how many there are."""
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (before, after))
    differences = [f"only in one of them: {name}" for name in sorted(set(old) ^ set(new))]
    for name in sorted(set(old) & set(new)):
        differences.extend(
            f"{name}: {case}: {old[name].get(case)} → {new[name].get(case)}"
            for case in dict.fromkeys([*old[name], *new[name]])
            if old[name].get(case) != new[name].get(case)
        )
    print("\n".join(differences[:100]))
    print(f"{len(differences)} differences in {sum(map(len, new.values()))} verdicts of {len(new)} runs")
    return len(differences)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write")
    write.add_argument("file", type=Path)
    write.add_argument("--level", default="standard")
    write.add_argument("--seed", type=int, action="append")
    compare = commands.add_parser("compare")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "write":
        written(arguments.file, arguments.level, arguments.seed or [0, 1])
        return 0
    return int(compared(arguments.before, arguments.after) > 0)


if __name__ == "__main__":
    sys.exit(main())
