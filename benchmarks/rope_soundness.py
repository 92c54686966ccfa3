"""Soundness of the judge of rope or of document_similarity: every correct kernel of its bank over many seeds.

    python benchmarks/rope_soundness.py [--problem rope] [--seeds 200] [--first 0] [--level standard] [--every-class]

One class a seed by turns, or every class.  One alarm is one too many: it is printed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from assay.conformance.interface.suite import LEVELS, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import Run
from assay.conformance.judge.references import References


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problem", choices=("rope", "document_similarity"), default="rope")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--level", choices=LEVELS, default="standard")
    parser.add_argument("--every-class", action="store_true")
    asked = parser.parse_args()
    correct, precisions = importlib.import_module(f"bank.{asked.problem}").CORRECT, suite(asked.problem).spec.PRECISIONS
    classes = [name for name in precisions if any(name in entry.precisions for entry in correct)]
    judgements, alarms = Counter[str](), 0
    for seed in range(asked.first, asked.first + asked.seeds):
        for name in classes if asked.every_class else [classes[seed % len(classes)]]:
            references = References()
            worst = 0.0
            for entry in correct:
                if name in entry.precisions:
                    kernel = kernel_of(entry.function, asked.problem, options=dict(entry.options))
                    judge = Judge(kernel, precisions[name], entry.options, references=references)
                    with np.errstate(all="ignore"):
                        report = Run(judge, asked.level, seed).report()
                    judgements[name] += report.ran
                    worst = max(worst, report.worst_ratio)
                    for failure in report.failures:
                        alarms += 1
                        print(f"ALARM seed {seed} {name} {entry.name}: {failure.case}: {failure.sentence}", flush=True)
            print(f"seed {seed} {name}: worst {worst:.3f}", flush=True)
    print(f"{sum(judgements.values()):,} judgements, {alarms} alarms: {dict(judgements)}")
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
