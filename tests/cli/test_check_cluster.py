"""``assay check --scheduler``: cases are judged by the workers of a cluster, with the verdict of one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from assay.conformance.report.reading import from_json
from assay.impl.cluster import started

pytest.importorskip("distributed")

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

KERNEL = """
import threading
from pathlib import Path
from kernels import good

def noted(query, key, value, *, scale):
    Path("main" if threading.current_thread() is threading.main_thread() else "worker").touch()
    return good(query, key, value, scale=scale)
"""


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster whose workers are threads of this process."""
    with started(2, processes=False) as cluster:
        yield cluster.scheduler_address


def test_workers_judge_and_the_verdict_and_the_order_are_those_of_one_process(
    run: Run, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "others.py").write_text(KERNEL, encoding="utf-8")
    words = (
        "check",
        "others.py:noted",
        "--problem",
        "attention",
        "--level",
        "smoke",
        "--option",
        "concurrent_calls=no",
    )
    reports, workers = [], []
    for more in ((), ("--scheduler", scheduler)):
        assert run(*words, "--json", "report.json", *more)[0] == 0
        reports += from_json((tmp_path / "report.json").read_text(encoding="utf-8"))
        workers.append((tmp_path / "worker").exists())
    assert workers == [False, True]
    here, there = ([(case.name, case.status, case.ratio) for case in report.cases] for report in reports)
    assert there == here
    assert reports[0].notes == reports[1].notes  # none that says that cases were judged here after all


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--scheduler", "nobody"), "scheduler: nobody answers at nobody"),
        (("--scheduler", "local", "--corpus", "."), "--scheduler: not with --corpus"),
    ],
)
def test_a_cluster_that_is_none_is_one_line(refused: Callable[..., str], words: Any, sentence: str) -> None:
    assert sentence in refused("check", "kernels.py:good", *words)
