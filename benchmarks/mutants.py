"""Unknown bugs: mutants made mechanically from two built-in correct kernels, and the level that kills each.

    python benchmarks/mutants.py [--processes 2] [--every 1]

The mutants are those of benchmarks/mutate.py: operators, comparisons, conditions, constants, indices, names, arguments
and statements.  Each runs in a process of its own, in the classes that the target documents: the named cases of smoke,
then those of standard, until one kills it; what these leave alive meets the whole level, drawn cases and laws too.
A crash, an exception and a hang (of more than 5 seconds of CPU time for one case) are kills, as in a report.

The functions that are compiled run interpreted first, with every index checked, on the small cases of both levels.  Of
their mutants those that survive are compiled and judged on every case: only this verdict counts for them.  So is every
fourth of those whose index is out of bounds, which compiled code may pass over: the table says what became of them.
Mutants of other functions call the compiled original.  The mutants of benchmarks/equivalent.py, each with the reason
why it is no bug, meet the named cases only, interpreted where they would have to be compiled; a killed one is an error.

What is known is not done again (benchmarks/results/mutants.jsonl), as long as source and cases are the same.  Exit
status 1 if less than 98 % of the mutants that are not equivalent are killed at standard, or the list of equivalent
ones is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
import types
import warnings
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from equivalent import EQUIVALENT
from mutate import Mutant, mutants
from mutation import fingerprint, named
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.conformance.attention import target_numpy
from assay.conformance.interface.suite import suite as suite_of
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import Run
from assay.impl.cpu import products, softmax
from assay.impl.cpu.attention import tiles
from assay.spec.precision import precision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from assay.conformance.interface.suite import Case

Row = dict[str, Any]

#: CPU seconds after which one case counts as hung; the slowest case of a correct kernel takes 0.3, interpreted.
_HANG = 5.0
#: The size of the largest case that is judged interpreted: together they take half a second.
_SMALL = 1600.0
#: The share of the mutants that are not equivalent which standard has to kill.
_SHARE = 0.98


@dataclass(frozen=True)
class Original:
    """A correct kernel that is mutated: its module, the function that is called, the functions that are changed."""

    target: str
    module: types.ModuleType
    entry: str
    functions: tuple[str, ...]
    compiled: tuple[str, ...] = ()  # the functions among them that are compiled,
    compilers: tuple[str, ...] = ()  # by these

    @property
    def source(self) -> str:
        return Path(str(self.module.__file__)).read_text()

    @property
    def classes(self) -> tuple[str, ...]:
        return suite_of("attention").targets[self.target].precisions[::-1]


ORIGINALS = {
    original.target: original
    for original in (
        Original("numpy:attention", target_numpy, "formula", ("formula",)),
        Original(
            "assay:cpu",
            tiles,
            "exact",
            (
                "exact",
                "tiled",
                "run",
                "query_tile",
                "_whole",
                "_tiles",
                "_products",
            ),
            compiled=("_tiles", "_products"),
            compilers=("_kernel", "_few"),
        ),
    )
}


@dataclass(frozen=True)
class Known:
    """A named case, what it is known by, the level it belongs to, the sign of its canaries and its criteria."""

    id: str
    level: str
    case: Case
    huge_canaries: bool
    criteria: Any


@functools.cache
def prepared(name: str) -> tuple[Known, ...]:
    """Every named case of standard in one class, in order; made once, before the forks."""
    judge = Judge(kernel_of(target_numpy.formula, "attention"), precision(name))
    smoke = named(name, "smoke")
    return tuple(
        Known(
            f"{name} {fingerprint({key: case})}",
            "smoke" if key in smoke else "standard",
            case,
            number % 2 == 1,
            judge.criteria(case.instance),
        )
        for number, (key, case) in enumerate(named(name, "standard").items())
    )


# --- one mutant -------------------------------------------------------------------------------------------------------


#: How a changed source runs: by Python alone, compiled, or with what is compiled taken from the original.
INTERPRETED, COMPILED, BORROWED = "interpreted", "compiled", "borrowed"


def loaded(original: Original, source: str, how: str) -> Any:
    """The kernel of a changed source.  What is changed are the tiles, so few queries take them too unless borrowed."""
    module = types.ModuleType("mutant")
    exec(compile(source, "mutant.py", "exec"), module.__dict__)
    if not original.compiled:
        return getattr(module, original.entry)
    if how == BORROWED:
        for compiler in original.compilers:
            setattr(module, compiler, getattr(original.module, compiler))
    else:
        module.few = types.SimpleNamespace(  # type: ignore[attr-defined]
            served=lambda *_: False, kernel_of=lambda *_: None
        )
    if how == INTERPRETED:
        words = (products.multiply, products.shrink_and_add, products.room, softmax.soften, softmax.exponentiate)
        module.compiled = _interpreted  # type: ignore[attr-defined]
        module.steps = lambda: {step.__name__: step for step in words}  # type: ignore[attr-defined]
    return getattr(module, original.entry)


def _interpreted(kernel: types.FunctionType, *_: Any, **named: Any) -> types.FunctionType:
    """The kernel as Python runs it, with what it finds by these names."""
    return types.FunctionType(kernel.__code__, {**kernel.__globals__, **named})


def tried(original: Original, source: str, how: str, *, drawn: bool, tell: Callable[[Row], None]) -> None:
    """Judge a changed source; ``tell`` is called with what is under way, and at last with the verdict.

    A verdict: the level that kills (None: none does), the id of the case, the kind of failure, the cases survived.
    """
    survived: list[str] = []
    tell({"level": "smoke", "kind": "raised", "id": ""})
    try:
        kernel = kernel_of(loaded(original, source, how), "attention")
    except UsageError:
        return
    judges = {name: Judge(kernel, precision(name)) for name in original.classes}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for level, (name, judge) in itertools.product(("smoke", "standard"), judges.items()):
            for each in prepared(name):
                if each.level != level or (how == INTERPRETED and each.case.instance.size() > _SMALL):
                    continue
                under: Row = {"level": level, "id": each.id, "case": each.case.name, "survived": survived}
                tell(under | {"kind": "crashed"})
                # compilation, at the first call, may take longer
                signal.setitimer(signal.ITIMER_VIRTUAL, _HANG if how != COMPILED or survived else 10 * _HANG)
                outcome = judge.outcome(each.case, each.criteria, huge_canaries=each.huge_canaries)
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                if outcome.failed:
                    tell(under | {"kind": outcome.kind, "sentence": outcome.sentence[:160]})
                    return
                survived.append(each.id)
        for level, (name, judge) in itertools.product(("smoke", "standard") if drawn else (), judges.items()):
            if Run(judge, level, 0).report().failures:
                tell({"level": level, "id": f"{name} {level} drawn", "kind": "error", "survived": survived})
                return
    tell({"level": None, "id": "", "kind": "", "survived": survived})


def verdict(target: str, source: str, how: str, *, drawn: bool = False) -> Row:
    """What becomes of a changed source, in a process of its own."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    begun = time.process_time(), _children()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            tried(ORIGINALS[target], source, how, drawn=drawn, tell=sender.send)
        os._exit(0)
    sender.close()
    told: Row = {}
    with contextlib.suppress(EOFError):
        while True:
            told = receiver.recv()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        told["kind"] = "hung" if os.WTERMSIG(status) == signal.SIGVTALRM else "crashed"
    return told | {"seconds": time.process_time() - begun[0] + _children() - begun[1]}


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def judged(target: str, mutant: Mutant) -> Row:
    """A mutant's row: its key, the verdict, and the verdict of the interpreted kernel where another one counts."""
    drawn = mutant.key not in EQUIVALENT
    row: Row = {"target": target, "key": list(mutant.key), "operator": mutant.operator, "drawn": drawn}
    if mutant.function not in ORIGINALS[target].compiled:
        return row | {"verdict": verdict(target, mutant.source, BORROWED, drawn=drawn)}
    found = verdict(target, mutant.source, INTERPRETED)
    beyond = "IndexError" in found.get("sentence", "") and zlib.crc32(repr(mutant.key).encode()) % 4 == 0
    if drawn and (found["level"] is None or beyond):
        row["interpreted"] = {"kind": found["kind"], "seconds": found["seconds"]}
        found = verdict(target, mutant.source, COMPILED, drawn=True)
    return row | {"verdict": found}


# --- all of them ------------------------------------------------------------------------------------------------------


def state(target: str) -> str:
    """Changes with the source of a target, or with what makes mutants."""
    digest = hashlib.blake2b(ORIGINALS[target].source.encode(), digest_size=16)
    digest.update((Path(__file__).parent / "mutate.py").read_bytes())
    return digest.hexdigest()


def relevelled(row: Row) -> Row | None:
    """The row with the level that its case has today; None where today's cases have to be run."""
    cases = [each for name in ORIGINALS[row["target"]].classes for each in prepared(name)]
    levels = {each.id: each.level for each in cases}
    found = row["verdict"]
    survived = set(found.get("survived", ()))
    if found["level"] is None:
        if row_key(row) in EQUIVALENT:  # the small cases do
            levels = {each.id: each.level for each in cases if each.case.instance.size() <= _SMALL}
        return row if survived >= set(levels) and (row["drawn"] or row_key(row) in EQUIVALENT) else None
    if found["id"] not in levels:  # none: it did not even load
        return row if found["id"] == "" else None
    before = {each.id for each in cases if each.level == "smoke"} if levels[found["id"]] == "standard" else set()
    return row | {"verdict": found | {"level": levels[found["id"]]}} if before <= survived else None


def row_key(row: Row) -> tuple[str, str, int, str]:
    function, text, occurrence, change = row["key"]
    return function, text, occurrence, change


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--every", type=int, default=1, help="take only every so many-th mutant")
    parser.add_argument("--target", choices=list(ORIGINALS), action="append", help="default: both")
    chosen = parser.parse_args()
    kept = Path(__file__).parent / "results" / "mutants.jsonl"
    kept.parent.mkdir(exist_ok=True)
    now = {target: state(target) for target in chosen.target or ORIGINALS}
    made = [
        (target, mutant)
        for target in now
        for mutant in mutants(ORIGINALS[target].source, ORIGINALS[target].functions)[:: chosen.every]
    ]
    for target in now:
        for name in ORIGINALS[target].classes:
            prepared(name)
        for name in ORIGINALS[target].classes:  # compiled here, once
            ready = prepared(name)[0]
            judge = Judge(
                kernel_of(loaded(ORIGINALS[target], ORIGINALS[target].source, BORROWED), "attention"), precision(name)
            )
            assert not judge.outcome(ready.case, ready.criteria).failed
        for how in (INTERPRETED, BORROWED):
            right = verdict(target, ORIGINALS[target].source, how, drawn=how == BORROWED)
            assert right["level"] is None, (target, right)
    known = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    rows = {
        (row["target"], row_key(row)): again
        for row in known
        if row["state"] == now.get(row["target"]) and (again := relevelled(row)) is not None
    }
    new = [(target, mutant) for target, mutant in made if (target, mutant.key) not in rows]
    with ProcessPoolExecutor(chosen.processes, multiprocessing.get_context("fork")) as pool, kept.open("a") as file:
        running = {pool.submit(judged, target, mutant): target for target, mutant in new}
        for future in track(as_completed(running), "mutants", total=len(running), console=Console(stderr=True)):
            row = future.result() | {"state": now[running[future]]}
            rows[row["target"], row_key(row)] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
    sys.exit(told([rows[target, mutant.key] for target, mutant in made], whole=chosen.every == 1 and not chosen.target))


def counted(label: str, rows: Sequence[Row]) -> Row:
    """Mutants of one kind: how many, how many are equivalent, how many each level kills."""
    real = [row for row in rows if row_key(row) not in EQUIVALENT]
    smoke = sum(row["verdict"]["level"] == "smoke" for row in real)
    standard = smoke + sum(row["verdict"]["level"] == "standard" for row in real)
    return {
        "mutants of": label,
        "made": len(rows),
        "equivalent": len(rows) - len(real),
        "others": len(real),
        "smoke kills": smoke,
        "standard kills": standard,
        "alive": len(real) - standard,
        "% at smoke": 100 * smoke / max(1, len(real)),
        "% at standard": 100 * standard / max(1, len(real)),
    }


def told(rows: Sequence[Row], whole: bool) -> bool:
    """Print the tables; whether something is not as it must be."""
    table = []
    for target in dict.fromkeys(row["target"] for row in rows):
        mine = [row for row in rows if row["target"] == target]
        operators = sorted({row["operator"] for row in mine})
        table += [counted(f"{target}: {name}", [row for row in mine if row["operator"] == name]) for name in operators]
        table.append(counted(f"{target}: all", mine))
    total = counted("both", rows)
    table.append(total)
    reasons = Counter(EQUIVALENT[row_key(row)] for row in rows if row_key(row) in EQUIVALENT)
    kinds = Counter(row["verdict"]["kind"] for row in rows if row["verdict"]["level"] is not None)
    publish("mutants", table, "")
    publish("mutants-equivalent", [{"mutants": n, "no bugs, because": why} for why, n in reasons.most_common()] or [{}])
    for row in rows:
        if row["verdict"]["level"] is None and row_key(row) not in EQUIVALENT:
            function, text, occurrence, change = row["key"]
            print(f"ALIVE: {row['target']} {function}: {text!r} ({occurrence}): {change}")
    wrong = [row for row in rows if row_key(row) in EQUIVALENT and row["verdict"]["level"] is not None]
    for row in wrong:
        print(f"LISTED AS EQUIVALENT, YET KILLED: {row['key']}: {row['verdict']}")
    stale = set(EQUIVALENT) - {row_key(row) for row in rows} if whole else set()
    for key in stale:
        print(f"LISTED AS EQUIVALENT, BUT NOT A MUTANT OF TODAY'S SOURCE: {key}")
    print(f"kills by kind: {', '.join(f'{kind} {n}' for kind, n in kinds.most_common())}")
    raised = [row for row in rows if row.get("interpreted", {}).get("kind") == "raised"]
    still = sum(row["verdict"]["level"] is not None for row in raised)
    print(f"index out of bounds when interpreted: {len(raised)} compiled as well, of which {still} are killed so too")
    seconds = sum(row["verdict"]["seconds"] + row.get("interpreted", {}).get("seconds", 0.0) for row in rows)
    print(f"CPU time of these verdicts: {seconds:.0f} s")
    return bool(wrong or stale) or total["% at standard"] < 100 * _SHARE


if __name__ == "__main__":
    main()
