"""The ledger of claims: read from headings and marks, joined with results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from assay.conformance.claims import Ledger, claims
from assay.conformance.interface.usage import UsageError

if TYPE_CHECKING:
    from pathlib import Path

PAGE = """# page
## ATT-1 — first property
text
## TOL-0 — the model — of a kernel
## Not a claim
### ATT-9 — too deep
"""

TESTS = """
import pytest
from pytest import mark

@pytest.mark.claim("ATT-1")
def test_plain(): ...

@mark.claim("ATT-1")
class TestGroup:
    @pytest.mark.claim("TOL-0")
    async def test_both(self): ...
    def helper(self): ...

@pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.claim("TOL-0"))])
def test_parametrised(x): ...

def test_nothing(): ...
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "page.md").write_text(PAGE, encoding="utf-8")
    (tmp_path / "tests" / "deep").mkdir(parents=True)
    (tmp_path / "tests" / "deep" / "test_a.py").write_text(TESTS, encoding="utf-8")
    return tmp_path


def ledger(root: Path, results: object = None) -> Ledger:
    path = root / "results.json"
    if results is not None:
        path.write_text(json.dumps(results), encoding="utf-8")
    return claims(root / "notes", root / "tests", results=[] if results is None else [path])


def ran(*outcomes: tuple[str, str]) -> list[dict[str, str]]:
    return [{"nodeid": f"tests/deep/test_a.py::{name}", "outcome": outcome} for name, outcome in outcomes]


ALL_PASSED = {
    "ATT-1": ran(("test_plain", "passed"), ("TestGroup::test_both", "passed")),
    "TOL-0": ran(("TestGroup::test_both", "passed"), ("test_parametrised[2]", "passed")),
}


def test_headings_and_marks_are_read(root: Path) -> None:
    found = ledger(root)
    assert [(claim.id, claim.title, claim.page) for claim in found.claims] == [
        ("ATT-1", "first property", "notes/page.md:2"),
        ("TOL-0", "the model — of a kernel", "notes/page.md:4"),
    ]
    file = "tests/deep/test_a.py"
    assert list(found.claims[0].checks) == [f"{file}::test_plain", f"{file}::TestGroup::test_both"]
    assert list(found.claims[1].checks) == [f"{file}::TestGroup::test_both", f"{file}::test_parametrised"]
    assert found.complete
    assert {claim.result for claim in found.claims} == {"checked"}


def test_marks_of_a_module_are_read(root: Path) -> None:
    text = "import pytest\npytestmark = [pytest.mark.claim('ATT-1')]\ndef test_x(): ...\n"
    (root / "tests" / "test_b.py").write_text(text, encoding="utf-8")
    assert "tests/test_b.py::test_x" in ledger(root).claims[0].checks


def test_claim_without_check_is_incomplete(root: Path) -> None:
    (root / "notes" / "other.md").write_text("## ENC-3 — unchecked\n", encoding="utf-8")
    found = ledger(root)
    assert not found.complete
    assert "ENC-3  no check" in found.to_text()


def test_check_of_an_unknown_claim_is_incomplete(root: Path) -> None:
    (root / "tests" / "test_b.py").write_text("@pytest.mark.claim('ATT-7')\ndef test_x(): ...\n", encoding="utf-8")
    found = ledger(root)
    assert not found.complete
    assert "unknown claim ATT-7: tests/test_b.py::test_x" in found.to_text()


def test_results_are_joined(root: Path) -> None:
    found = ledger(root, ALL_PASSED)
    assert found.complete
    assert {claim.result for claim in found.claims} == {"passed"}


@pytest.mark.parametrize(
    ("outcomes", "result"),
    [
        ([("test_parametrised[2]", "failed"), ("test_parametrised[3]", "passed")], "failed"),
        ([("test_parametrised[2]", "skipped")], "not run"),
        ([("test_parametrised[2]", "skipped"), ("test_parametrised[3]", "passed")], "passed"),
        ([], "not run"),
    ],
)
def test_result_is_the_worst_of_the_checks(root: Path, outcomes: list[tuple[str, str]], result: str) -> None:
    found = ledger(root, ALL_PASSED | {"TOL-0": ran(("TestGroup::test_both", "passed"), *outcomes)})
    assert found.claims[1].result == result
    assert found.complete is (result == "passed")


@pytest.mark.parametrize(("second", "result"), [("passed", "passed"), ("skipped", "not run"), ("failed", "failed")])
def test_what_one_run_left_out_another_may_have_passed(root: Path, second: str, result: str) -> None:
    for name, outcome in (("first", "skipped"), ("second", second)):
        content = ALL_PASSED | {"TOL-0": ran(("TestGroup::test_both", outcome))}
        (root / name).write_text(json.dumps(content), encoding="utf-8")
    found = claims(root / "notes", root / "tests", results=[root / "first", root / "second"])
    assert found.claims[1].checks["tests/deep/test_a.py::TestGroup::test_both"] == result


def test_claim_stated_twice_is_refused(root: Path) -> None:
    (root / "notes" / "other.md").write_text("## ATT-1 — again\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"^claim ATT-1 is stated twice: notes/other.md:1 and notes/page.md:2$"):
        ledger(root)


@pytest.mark.parametrize("results", [[], {"ATT-1": [1]}, {"ATT-1": [{"nodeid": "x"}]}, "text"])
def test_other_results_are_refused(root: Path, results: object) -> None:
    with pytest.raises(UsageError, match="not what `pytest --assay-claims` writes"):
        ledger(root, results)


def test_missing_files_are_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        claims(root / "nowhere", root / "tests")
    with pytest.raises(UsageError, match="no file"):
        claims(root / "notes", root / "tests", results=[root / "absent.json"])


def test_unreadable_test_file_is_refused(root: Path) -> None:
    (root / "tests" / "test_b.py").write_text("def broken(:\n", encoding="utf-8")
    with pytest.raises(UsageError, match="not a Python file"):
        ledger(root)


def test_no_claim_at_all_is_incomplete(root: Path) -> None:
    (root / "notes" / "page.md").write_text("# empty\n", encoding="utf-8")
    (root / "tests" / "deep" / "test_a.py").write_text("", encoding="utf-8")
    assert not ledger(root).complete
