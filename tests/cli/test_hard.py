"""``assay hard`` writes instances whose right output decides a formula, and ``assay decode`` reads the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest

from assay.spec import attention

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

CNF = "c three models\np cnf 3 4\n1 2 3 0\n-1 -2 0\n-1 -3 0\n-2 -3 0\n"


@pytest.fixture
def decided(run: Run, tmp_path: Path) -> Run:
    """``assay …`` where there are also a formula, its instance and outputs on that."""
    (tmp_path / "formula.cnf").write_text(CNF, encoding="utf-8")
    (tmp_path / "bad.cnf").write_text("p cnf 2 1\n1 two 0\n", encoding="utf-8")
    assert run("hard", "attention", "--from", "formula.cnf", "--counting", "-o", "inst.npz")[0] == 0
    loaded = attention.Instance.load("inst.npz")
    scores = loaded.scale * np.einsum("bhid,bhjd->bhij", loaded.query, loaded.key).astype(np.float64)
    weights = np.exp(scores - scores.max(axis=3, keepdims=True))
    output = ((weights @ loaded.value) / weights.sum(axis=3, keepdims=True)).astype(np.float32)
    np.save("out.npy", output)
    np.save("ones.npy", np.ones_like(output))
    np.save("nan.npy", np.full_like(output, np.nan))
    np.save("short.npy", output[:, :, :1])
    np.save("half.npy", output.astype(ml_dtypes.bfloat16))
    np.savez("both.npz", output=output)
    return run


def test_a_formula_becomes_an_instance_whose_output_decides_it(decided: Run) -> None:
    status, out, error = decided("decode", "inst.npz", "out.npy")
    assert (status, error) == (0, "")
    assert out.startswith("satisfiable, 3 solutions\nmodel ")
    assert "\ntruth      agrees" in out


def test_an_output_that_contradicts_the_truth_fails(decided: Run) -> None:
    status, out, error = decided("decode", "inst.npz", "ones.npy")
    assert (status, error) == (1, "")
    assert out.startswith("unsatisfiable, 0 solutions\n")
    assert "contradicts it: satisfiable, 3 solutions" in out


def test_an_output_that_agrees_by_accident_is_no_answer(decided: Run, tmp_path: Path) -> None:
    (tmp_path / "none.cnf").write_text("p cnf 1 2\n1 0\n-1 0\n", encoding="utf-8")
    assert decided("hard", "attention", "--from", "none.cnf", "-o", "none.npz")[0] == 0
    loaded = attention.Instance.load("none.npz")
    exact = attention.define(loaded).midpoint.astype(np.float32)
    for name, output in (("exact.npy", exact), ("far.npy", np.ones_like(exact))):
        np.save(name, output)
    status, out, _ = decided("decode", "none.npz", "exact.npy")
    assert status == 0
    assert "; less than 0.15 is needed\n" in out
    status, out, _ = decided("decode", "none.npz", "far.npy")
    assert status == 1
    assert out.startswith("unsatisfiable, 0 solutions\nerror      0.2; less than 0.15 is needed\n")
    assert "agrees" not in out
    assert out.endswith("no answer: the output errs too much for what it says, and shows no witness\n")


def test_a_bfloat16_output_is_read_as_numpy_saves_it(decided: Run) -> None:
    assert decided("decode", "inst.npz", "half.npy")[1].startswith("satisfiable")


def test_json_vectors_decode_as_the_npz_does(decided: Run) -> None:
    assert decided("hard", "attention", "--from", "formula.cnf", "--counting", "-o", "inst.json")[0] == 0
    assert decided("decode", "inst.json", "out.npy") == decided("decode", "inst.npz", "out.npy")


def test_a_formula_becomes_texts_whose_similarity_decides_it(decided: Run, tmp_path: Path) -> None:
    status, out, error = decided(
        *(
            "hard",
            "document_similarity",
            "--from",
            "formula.cnf",
            "--via",
            "DOC-5b",
            "-o",
            "doc.npz",
            "--texts",
            "lines",
        )
    )
    assert (status, error) == (0, "")
    assert out.startswith("doc.npz  document_similarity  OV-1 → DOC-5b\n")
    left, right = ((tmp_path / "lines" / f"{side}.txt").read_text().splitlines() for side in ("left", "right"))
    words = [[set(line.split()) for line in side] for side in (left, right)]
    table = np.array([[len(a & b) / (len(a) * len(b)) ** 0.5 for b in words[1]] for a in words[0]])
    np.save("pair.npy", np.array([*np.unravel_index(table.argmax(), table.shape), table.max()]))
    status, out, error = decided("decode", "doc.npz", "pair.npy")
    assert (status, error) == (0, "")
    assert out.startswith("satisfiable\nmodel ")
    assert "\ntruth      agrees" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--family planted-ov --n 64 --d 16 --seed 1", "sizes      n 64  m 65  d 16  B "),
        ("--gap --n 64", "attention  OV-4"),
        ("--family random-ksat --parameter variables=8", "OV-1 → OV-2"),
        ("--family random-ov --n 64 --d 16 --counting --dtype float64", "attention  OV-3"),
    ],
)
def test_families_are_written_with_sizes_accuracy_and_truth(run: Run, words: str, line: str) -> None:
    status, out, error = run("hard", "attention", *words.split(), "-o", "x.npz")
    assert (status, error) == (0, "")
    assert line in out
    assert "\naccuracy   every element within " in out
    assert "\ntruth      " in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("hard attention -o x.npz", "expected --from FILE, --corpus DIR or --family, one of planted-ov"),
        ("hard attention --family gap", "expected -o FILE"),
        ("hard attention --family gap -o x.txt", "expected a name that ends in .npz or .json"),
        ("hard attention --family gpa -o x.npz", "unknown family 'gpa'"),
        ("hard attention --family random-ov --gap -o x.npz", "--gap: is a family of its own"),
        ("hard attention --from formula.cnf --gap -o x.npz", "--gap: is a family of its own"),
        ("hard attention --from none.cnf -o x.npz", "none.cnf: cannot be read"),
        ("hard attention --from bad.cnf -o x.npz", "bad.cnf, line 2: 'two', expected a literal"),
        ("hard attention --from formula.cnf --n 3 -o x.npz", "n: only families take parameters"),
        ("hard attention --family gap --parameter n=many -o x.npz", "--parameter n=many: expected a whole number"),
        ("hard attention --family gap --parameter m=3 -o x.npz", "gap: no parameter 'm'"),
        ("hard attention --family planted-ov --n 1000000000 --d 999 -o x.npz", "would take"),
        ("hard attention --family planted-ov --n 8 --d 4 -o none/x.npz", "none/x.npz: cannot be written"),
        ("hard --family gap -o x.npz", "expected the problem that is to be hard: one of attention"),
        ("hard tensor --family gap -o x.npz", "unknown problem 'tensor'"),
        ("hard attention --from formula.cnf -o x.npz --texts t", "--texts: an instance of attention has no documents"),
        (
            "hard attention --from formula.cnf -o x.npz --via OV-9",
            "no reduction from satisfiability to attention via OV-9: expected one of OV-1, OV-2, OV-3",
        ),
        (
            "hard document_similarity --family random-ov -o x.npz --via DOC-5",
            "to document_similarity via DOC-5: expected one of DOC-5a, DOC-5b, MONO-1, DOC-5c",
        ),
        ("hard --corpus c --family gap", "--family: not with --corpus"),
        ("hard document_similarity --corpus c", "document_similarity: not with --corpus, which is of attention"),
        ("hard --corpus .", "holds other files"),
        ("decode inst.npz nan.npy", "nan.npy: output[0, 0, 0, 0] is nan"),
        ("decode inst.npz short.npy", "short.npy: output has shape (1, 1, 1, 1): expected (1, 1, 4, 1)"),
        ("decode inst.npz none.npy", "none.npy: no such file"),
        ("decode inst.npz noise.npz", "noise.npz: not a readable .npy file (no file of the .npy format)"),
        ("decode inst.npz both.npz", "both.npz: several arrays"),
        ("decode instance.npz out.npy", "instance.npz: a saved instance without its source"),
        ("decode none.npz out.npy", "none.npz: no such file"),
    ],
)
def test_misuse_is_one_line(decided: Run, refused: Callable[..., str], words: str, sentence: str) -> None:
    assert sentence in refused(*words.split())
