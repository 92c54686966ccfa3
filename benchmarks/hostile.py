"""Files, reports and argument lists of strangers: each is read, run, or refused in one clear line, without a traceback.

    python benchmarks/hostile.py [--files 10000] [--reports 10000] [--lists 500] [--first-list 0] [--seed 0]
                                 [--keep FOLDER]

The exit status is 1 if any of them was a fault; ``--keep`` keeps the files that were.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hostile.arguments import endings, prepared
from hostile.files import faults
from hostile.reports import report_faults


def main() -> int:
    """Print what became of the files and of the lists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--reports", type=int, default=10_000)
    parser.add_argument("--lists", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first-list", type=int, default=0, help="where a run that was interrupted goes on")
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    wrong: Counter[str] = Counter()

    def told(kind: str, count: int, endings: Iterable[tuple[str, Callable[[], bytes], str, Exception | None]]) -> None:
        """Print what became of a kind: (name, content, ending, fault) each; count the faults, and keep their files."""
        became: Counter[str] = Counter()
        for number, (name, content, ending, fault) in enumerate(endings):
            became[ending] += 1
            if fault is not None:
                wrong[f"{name}: {fault}"[:200]] += 1
                if chosen.keep is not None:
                    chosen.keep.mkdir(parents=True, exist_ok=True)
                    (chosen.keep / f"{number}-{name}").write_bytes(content())
        print(f"{count} {kind}: " + ", ".join(f"{count} {name}" for name, count in sorted(became.items())))

    with tempfile.TemporaryDirectory() as folder:
        files = faults(Path(folder), chosen.files, chosen.seed)
        told("files", chosen.files, ((path.name, path.read_bytes, *rest) for path, *rest in files))
    with tempfile.TemporaryDirectory() as folder:
        reports = report_faults(Path(folder), chosen.reports, chosen.seed)
        told("reports", chosen.reports, (("report.json", content.__bytes__, *rest) for content, *rest in reports))
    bad = 0
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        prepared(Path(folder))
        lists = endings(chosen.lists, chosen.seed, chosen.first_list)
        for number, (arguments, fault) in enumerate(lists, chosen.first_list):
            if number % 50 == 0:
                print(f"list {number}: --first-list {number} goes on from here", file=sys.stderr)
            bad += bool(fault)
            if fault:
                wrong[f"{' '.join(arguments)[:150]!r}: {fault}"] += 1
    ran = chosen.lists - chosen.first_list
    print(f"{ran} argument lists: {ran - bad} ended well, {bad} did not")
    for words, count in wrong.most_common():
        print(f"{count:6}  {words}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
