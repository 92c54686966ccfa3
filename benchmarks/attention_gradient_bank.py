"""The bank of backward passes: no correct one is blamed in any of its classes, every wrong one fails and is named.

    python benchmarks/attention_gradient_bank.py [--seeds 1] [--level standard] [--kernels NAME …]

For every class the largest ratio of error and tolerance of correct kernels is printed, by output: how sharp the bound
is.  One alarm, one wrong kernel that lives, or a diagnosis that names less than nine in ten, and the script ends with
exit status 1.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.conformance.diagnosis.evidence import Judged
from assay.conformance.interface.suite import LEVELS, suite
from assay.conformance.judge.cases import cases

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bank.attention_gradient.buggy import BUGGY
from bank.attention_gradient.correct import CORRECT
from bank.verdicts import Verdicts

_OUTPUTS = ("grad_query", "grad_key", "grad_value", "grad_bias", "grad_sink")
_ENOUGH = 4


def sharpness(level: str, seeds: int, names: set[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Class by class, the largest ratio by output over correct kernels; and alarms."""
    rows, alarms = [], []
    for name in dict.fromkeys(name for entry in CORRECT for name in entry.precisions):
        worst, judged = dict.fromkeys(_OUTPUTS, 0.0), 0
        kernels = [entry for entry in CORRECT if name in entry.precisions and (not names or entry.name in names)]
        for seed in range(seeds):
            verdicts = Verdicts("attention_gradient")
            table = list(cases(suite("attention_gradient"), verdicts.precision(name), level, seed))
            for entry in track(kernels, f"{name}, seed {seed}", console=Console(stderr=True)):
                judge = verdicts.judge(entry, name)
                for place, case in enumerate(table):
                    outcome = judge.outcome(case, huge_canaries=place % 2 == 1)
                    judged += outcome.status == "passed"
                    if outcome.failed:
                        alarms.append(f"{entry.name} in {name}: {case.name}: {outcome.sentence}")
                    elif outcome.output:
                        worst[outcome.output] = max(worst[outcome.output], outcome.ratio)
        rows.append(
            {"class": name, "kernels": len(kernels), "judged": judged, **{k: round(v, 3) for k, v in worst.items()}}
        )
    return rows, alarms


def named(names: set[str]) -> tuple[list[str], list[str]]:
    """Wrong kernels that live, and those whose meaning the diagnosis does not name."""
    verdicts, alive, unnamed = Verdicts("attention_gradient"), [], []
    for entry in track([e for e in BUGGY if not names or e.name in names], "wrong", console=Console(stderr=True)):
        failures = verdicts.failures(replace(entry), _ENOUGH)
        if not failures:
            alive.append(entry.name)
        elif entry.diagnosis:
            judged = [Judged(failure.case, failure.outcome) for failure in failures]
            if entry.diagnosis not in " ".join(verdicts.judge(entry).diagnosis(judged).sentences).lower():
                unnamed.append(entry.name)
    return alive, unnamed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--level", choices=LEVELS, default="standard")
    parser.add_argument("--kernels", nargs="*", default=[])
    chosen = parser.parse_args()
    names = set(chosen.kernels)
    with np.errstate(all="ignore"):
        rows, alarms = sharpness(chosen.level, chosen.seeds, names)
        alive, unnamed = named(names)
    semantic = sum(bool(entry.diagnosis) for entry in BUGGY)
    summary = f"{len(alarms)} alarms; {len(BUGGY) - len(alive)} of {len(BUGGY)} wrong kernels fail, "
    summary += f"{semantic - len(unnamed)} of {semantic} with a meaning are named"
    publish("attention_gradient_bank", rows, summary)
    for line in (*alarms[:20], *(f"alive: {name}" for name in alive), *(f"not named: {name}" for name in unnamed)):
        print(line)
    sys.exit(bool(alarms or alive or len(unnamed) > 0.1 * semantic))


if __name__ == "__main__":
    main()
