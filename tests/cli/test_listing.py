"""``assay list`` and ``assay claims`` name everything that there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

import assay.conformance.attention
from assay.conformance.interface.suite import suite
from assay.spec import attention
from assay.spec.problem import PROBLEMS

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]


def test_list_names_everything(run: Run) -> None:
    status, out, _ = run("list")
    assert status == 0
    suite = assay.conformance.attention.SUITE
    for word in ("attention", "smoke", "bfloat16", *suite.targets, *(family.hunts for family in suite.families)):
        assert word in out
    assert all(law.statement in out for law in attention.LAWS)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_family_is_listed_once(problem: str) -> None:
    names = [family.id for family in suite(problem).families]
    assert len(set(names)) == len(names)


def test_reductions_are_drawn_as_text_and_as_dot(run: Run) -> None:
    status, out, error = run("list", "reductions")
    assert (status, error) == (0, "")
    assert "─ OV-1" in out
    status, out, error = run("list", "reductions", "--dot")
    assert (status, error) == (0, "")
    assert out.startswith("digraph reductions {")
    assert '"satisfiability" -> "orthogonal_vectors" [label="OV-1"' in out


def test_claims_of_the_repository(run: Run, tmp_path: Path) -> None:
    (tmp_path / "proofs_notes").mkdir()
    (tmp_path / "proofs_notes" / "page.md").write_text("## ATT-1 — a claim\n", encoding="utf-8")
    assert run("claims")[0] == 1
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(
        "@pytest.mark.claim('ATT-1')\ndef test_it(): ...\n", encoding="utf-8"
    )
    assert run("claims")[0] == 0
    (tmp_path / "r.json").write_text(json.dumps({}), encoding="utf-8")
    assert run("claims", "--results", "r.json")[0] == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("list reduction", "list 'reduction': expected reductions"),
        ("list --dot", "--dot: only with"),
        ("claims", "no folder proofs_notes"),
    ],
)
def test_misuse_is_one_line(refused: Callable[..., str], words: str, sentence: str) -> None:
    assert sentence in refused(*words.split())
