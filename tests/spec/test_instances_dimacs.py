"""DIMACS CNF: what is read, what is refused and where, and that writing loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.spec.instances import dimacs
from assay.spec.instances.formula import MOST_VARIABLES, Formula
from assay.spec.problem import InvalidInstance

RECORDED = Path(__file__).parent / "formulas"


@st.composite
def formulas(draw: st.DrawFn) -> Formula:
    variables = draw(st.integers(0, 6))
    literal = st.integers(1, max(variables, 1)).flatmap(lambda i: st.sampled_from([i, -i]))
    clause = st.lists(literal, max_size=4 if variables else 0).map(tuple)
    return Formula(variables, tuple(draw(st.lists(clause, max_size=8))))


@given(formulas(), st.lists(st.text(max_size=20), max_size=2))
def test_what_is_written_is_read_back_the_same(formula: Formula, comments: list[str]) -> None:
    assert dimacs.from_text(dimacs.to_text(formula, comments)) == formula


def test_a_file_is_read_as_its_text(tmp_path: Path) -> None:
    formula = Formula(3, ((1, -3), (), (2, 2, -2)))
    dimacs.write(tmp_path / "a.cnf", formula, ["ordinary"])
    assert dimacs.read(tmp_path / "a.cnf") == formula


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("comments", Formula(3, ((1, -3), (2,)))),
        ("counts_missing", Formula(3, ((1, -3), (2,)))),
        ("counts_too_small", Formula(4, ((1, -4), (2,)))),
        ("counts_too_large", Formula(9, ((1, -3), (2,)))),
        ("duplicate_literals", Formula(2, ((1, 1, -2), (2, 2)))),
        ("empty_clause", Formula(2, ((1, 2), ()))),
        ("empty", Formula(0, ())),
        ("header_missing", Formula(3, ((1, -3), (2,)))),
        ("last_zero_missing", Formula(2, ((1, 2), (-1, -2)))),
        ("latin1_comment", Formula(1, ((1,),))),
        ("many_clauses_a_line", Formula(3, ((1, -3), (2,), (-1, 2, 3)))),
        ("satlib_trailer", Formula(3, ((1, -3), (2,)))),
        ("tautology", Formula(2, ((1, -1), (2, -2, 1)))),
        ("windows_lines", Formula(3, ((1, -3), (2,)))),
    ],
)
def test_loose_files_mean_what_solvers_take_them_to_mean(name: str, formula: Formula) -> None:
    assert dimacs.read(RECORDED / f"{name}.cnf") == formula


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p cnf 2 1\n1 x2 0", "line 2: 'x2', expected a literal"),
        ("c\n\n1 2.0 0", "line 3: '2.0', expected a literal"),
        ("1_0 0", "line 1: '1_0', expected a literal"),
        ("1 ² 0", "line 1: '²', expected a literal"),
        ("1 -0", "line 1: '-0', expected a literal"),
        ("1 + 0", "line 1: '+', expected a literal"),
        (f"1 0\n-{MOST_VARIABLES + 1} 0", f"line 2: literal -{MOST_VARIABLES + 1}, expected variables up to"),
        ("9" * 5000 + " 0", "line 1: literal 9999"),
        (f"p cnf {MOST_VARIABLES + 1} 0", f"line 1: {MOST_VARIABLES + 1} variables, expected at most"),
        ("p wcnf 2 1\n1 2 0", "line 1: header 'p wcnf 2 1', expected 'p cnf VARIABLES CLAUSES'"),
        ("p cnf 2 -1", "line 1: header 'p cnf 2 -1'"),
        ("p cnf 2 1 7", "line 1: header"),
        ("p cnf 1 1\np cnf 1 1\n1 0", "line 2: a header after a header or clauses"),
        ("1 0\np cnf 1 1", "line 2: a header after a header or clauses"),
        ("p cnf 2 3\n1 0\n2 0\n", None),
        ("p cnf 2 3\n1 0\n2", "line 3: the file ends within a clause"),
        ("1 2", "line 1: the file ends within a clause"),
        ("1 0\n%\n1 0", "line 3: '1 0' after the trailer %"),
    ],
)
def test_malformed_text_is_refused_with_the_line(text: str, said: str | None) -> None:
    if said is None:  # too few clauses, all whole: a wrong count only
        assert len(dimacs.from_text(text).clauses) == 2
        return
    with pytest.raises(InvalidInstance) as caught:
        dimacs.from_text(text)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_too_many_literals_are_refused_with_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimacs, "_MOST_LITERALS", 5)
    assert len(dimacs.from_text("1 2 0\n3 4 5 0").clauses) == 2
    with pytest.raises(InvalidInstance, match=r"^line 2: more than 5 literals so far"):
        dimacs.from_text("1 2 0\n3 4 5 6 0")


def test_the_largest_variable_is_read() -> None:
    assert dimacs.from_text(f"-{MOST_VARIABLES} 0").variables == MOST_VARIABLES


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInstance, match=r"none\.cnf: cannot be read"):
        dimacs.read(tmp_path / "none.cnf")


def test_a_refusal_names_the_file_and_the_line(tmp_path: Path) -> None:
    (tmp_path / "bad.cnf").write_text("1 0\n?\n")
    with pytest.raises(InvalidInstance, match=r"bad\.cnf, line 2: '\?'"):
        dimacs.read(tmp_path / "bad.cnf")


@pytest.mark.parametrize(
    ("variables", "clauses", "said"),
    [
        (2, ((1, 3),), r"clause 1: literal 3, expected one of ±1 to ±2"),
        (2, ((1,), (0,)), r"clause 2: literal 0"),
        (-1, (), r"variables -1: expected 0 to"),
    ],
)
def test_a_formula_names_only_its_variables(variables: int, clauses: tuple[tuple[int, ...], ...], said: str) -> None:
    with pytest.raises(InvalidInstance, match=said):
        Formula(variables, clauses)
