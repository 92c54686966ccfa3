"""Problem, kernel and file that do not fit together: one clear line and exit status 2, never a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from toy.suites import Doubling, Total

from assay.conformance.interface import targets
from assay.spec.instances import corpus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOY = Doubling.problem

KERNELS = """
import numpy as np

def attention(query, key, value, *, scale): ...
def attention_without_scale(query, key, value): ...
def doubled(points, *, factor=2.0):
    y = points * points.dtype.type(factor)
    return y, np.asarray(y.sum(), points.dtype)
def anything(*arrays, **keywords): ...
def sorted_values(values): ...
"""


@pytest.fixture
def mixed(run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kernels, files and a corpus of several problems, of which two are ours."""
    monkeypatch.setattr(targets, "PROBLEMS", ("attention", TOY))
    (tmp_path / "mixed.py").write_text(KERNELS, encoding="utf-8")
    (tmp_path / "several.py").write_text("def several(points, *, factor=2.0): ...\n", encoding="utf-8")
    Doubling(np.ones(3, np.float32)).save("doubling.npz")
    Total(np.ones(3, np.float32)).save("total.npz")


def test_a_kernel_tells_its_problem_by_the_names_of_its_arrays(mixed: None, run: Callable[..., object]) -> None:
    status, out, error = run("check", "mixed.py:doubled", "--level", "smoke")
    assert (status, error) == (0, "")
    assert f"\nPASSED mixed.py:doubled  {TOY}  float32" in out


def test_a_built_in_of_one_problem_is_found_by_its_name_alone(mixed: None, run: Callable[..., object]) -> None:
    assert f"\nPASSED toy:doubling  {TOY}  float32" in run("check", "toy:doubling", "--level", "smoke")[1]
    assert run("check", "numpy:attention", "--level", "smoke", "--quiet")[1].startswith(
        "PASSED numpy:attention  attention  float32"
    )


LISTED = f"expected --problem, or the arrays and keywords of one: attention (query, key, value, …); {TOY} (points, …)"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "check mixed.py:sorted_values",
            f"mixed.py:sorted_values has the arrays of no problem (its own: values): {LISTED}",
        ),
        ("check mixed.py:anything", f"mixed.py:anything has the arrays of no problem: {LISTED}"),
        (
            "check mixed.py:attention_without_scale",
            f"has the arrays of no problem (its own: query, key, value): {LISTED}",
        ),
        (
            "profile mixed.py:sorted_values",
            f"mixed.py:sorted_values has the arrays of no problem (its own: values): {LISTED}",
        ),
        (
            "check mixed.py:sorted_values --isolate",
            "mixed.py:sorted_values has the arrays of no problem (its own: values): ",
        ),
        ("check mixed.py:attention --problem sorting", "unknown problem 'sorting': expected one of attention"),
        ("check mixed.py:attention --problem toy.absent:SUITE", "problem 'toy.absent:SUITE': cannot be loaded"),
        ("check mixed.py:attention --problem toy.suites:ABSENT", "problem 'toy.suites:ABSENT': cannot be loaded"),
        ("check mixed.py:attention --problem toy.suites:TABLE", "tuple, expected a Suite"),
        ("profile mixed.py:doubled --problem sorting", "unknown problem 'sorting'"),
        (f"check mixed.py:attention --problem {TOY}", "requires 'key', which is not in the protocol"),
        ("check mixed.py:doubled --problem attention", "takes 1 array, not 3"),
        ("check toy:doubling --problem attention", f"toy:doubling: a built-in of {TOY}, not of attention"),
        (f"check numpy:attention --problem {TOY}", f"numpy:attention: a built-in of attention, not of {TOY}"),
        ("check toy:doublin", "did you mean toy:doubling?"),
        ("replay instance.npz --target mixed.py:doubled", "takes 1 array, not 3"),
        (f"replay instance.npz --target mixed.py:doubled --problem {TOY}", "an instance of 'attention', expected"),
        (f"replay total.npz --target mixed.py:doubled --problem {TOY}", "an instance of 'toy.suites:TOTALS', expected"),
        ("replay doubling.npz --target mixed.py:attention", f"an instance of '{TOY}', expected one of attention"),
        ("replay doubling.npz --target mixed.py:doubled --problem attention", f"an instance of '{TOY}', expected"),
        (f"replay doubling.npz --target mixed.py:attention --problem {TOY}", "requires 'key'"),
        (f"replay doubling.npz --target mixed.py:doubled --problem {TOY} --after instance.npz", "of 'attention'"),
    ],
)
def test_what_does_not_fit_is_one_line(mixed: None, refused: Callable[..., str], words: str, sentence: str) -> None:
    assert sentence in refused(*words.split())


def test_a_kernel_of_several_problems_lists_them(
    mixed: None, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "again.py").write_text("from toy.suites import DOUBLING as AGAIN\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(targets, "PROBLEMS", ("attention", TOY, "again:AGAIN"))
    words = f"{TOY} and again:AGAIN: expected --problem, one of these"
    assert refused("check", "several.py:several") == f"assay: several.py:several has the arrays of {words}\n"
    assert refused("check", "toy:doubling") == f"assay: toy:doubling is a built-in of {words}\n"


def test_a_corpus_of_another_problem_is_refused(
    mixed: None, refused: Callable[..., str], run: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "ENTRIES", tuple(entry for entry in corpus.ENTRIES if entry.family == "planted-ov")[:1])
    assert run("hard", "--corpus", "c")[0] == 0
    sentence = refused("check", "mixed.py:doubled", "--corpus", "c")
    assert "an instance of attention, but mixed.py:doubled is judged as a kernel of " + TOY in sentence
    assert "an instance of attention" in refused("check", "mixed.py:doubled", "--corpus", "c", "--problem", TOY)
