"""``assay hard attention_gradient`` and ``assay decode``, end to end through one backward pass of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.spec import attention_gradient

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

CNF = "c three models\np cnf 3 4\n1 2 3 0\n-1 -2 0\n-1 -3 0\n-2 -3 0\n"
NONE = "p cnf 2 4\n1 2 0\n-1 2 0\n1 -2 0\n-1 -2 0\n"


def differentiated(name: str, to: str) -> None:
    """Save dK of one backward pass of torch on a saved instance."""
    torch = pytest.importorskip("torch")
    loaded = attention_gradient.Instance.load(name)
    kind = getattr(torch, loaded.query.dtype.name)
    arrays = (loaded.query, loaded.key, loaded.value, loaded.grad_output)
    q, k, v, g = (torch.tensor(x.astype(np.float64)).to(kind) for x in arrays)
    k.requires_grad_()
    torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=loaded.scale).backward(g)
    np.save(to, k.grad.to(torch.float32).numpy())


@pytest.mark.claim("GRAD-4")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_one_backward_pass_decides_a_formula(run: Run, tmp_path: Path, dtype: str) -> None:
    for text, word in ((CNF, "satisfiable\nmodel "), (NONE, "unsatisfiable, 0 solutions\n")):
        (tmp_path / "formula.cnf").write_text(text, encoding="utf-8")
        words = ("hard", "attention_gradient", "--from", "formula.cnf", "--dtype", dtype, "-o", "inst.npz")
        status, out, error = run(*words)
        assert (status, error) == (0, "")
        assert "attention_gradient  OV-1 → GRAD-4" in out
        assert "\naccuracy   every element of grad_key within " in out
        differentiated("inst.npz", "out.npy")
        status, out, error = run("decode", "inst.npz", "out.npy")
        assert (status, error) == (0, "")
        assert out.startswith(word)
        assert "\ntruth      agrees" in out


@pytest.mark.claim("GRAD-9")
def test_one_backward_pass_names_the_pair_of_a_gap(run: Run, tmp_path: Path) -> None:
    assert run("hard", "attention_gradient", "--gap", "--n", "16", "--d", "32", "-o", "inst.json")[0] == 0
    assert run("hard", "attention_gradient", "--gap", "--n", "16", "--d", "32", "-o", "inst.npz")[0] == 0
    differentiated("inst.npz", "out.npy")
    for name in ("inst.npz", "inst.json"):
        status, out, error = run("decode", name, "out.npy")
        assert (status, error) == (0, "")
        assert "\npair       left " in out
        assert "\ntruth      agrees" in out


def test_a_gradient_that_contradicts_the_truth_fails(run: Run, tmp_path: Path) -> None:
    (tmp_path / "formula.cnf").write_text(CNF, encoding="utf-8")
    assert run("hard", "attention_gradient", "--from", "formula.cnf", "-o", "inst.npz")[0] == 0
    differentiated("inst.npz", "out.npy")
    gradient = np.load("out.npy")
    gradient[..., :-1] = 0.0
    np.save("out.npy", gradient)
    status, out, _ = run("decode", "inst.npz", "out.npy")
    assert status == 1
    assert "contradicts it: satisfiable, 3 solutions" in out


def test_a_gradient_of_zeros_is_refused_though_it_would_agree(
    run: Run, refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "formula.cnf").write_text(NONE, encoding="utf-8")
    assert run("hard", "attention_gradient", "--from", "formula.cnf", "-o", "inst.npz")[0] == 0
    np.save("out.npy", np.zeros_like(attention_gradient.Instance.load("inst.npz").key))
    assert "out.npy: no gradient within " in refused("decode", "inst.npz", "out.npy")


def test_counting_is_refused_in_one_line(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "formula.cnf").write_text(CNF, encoding="utf-8")
    words = ("hard", "attention_gradient", "--from", "formula.cnf", "--counting", "-o", "inst.npz")
    assert "no reduction from satisfiability to attention_gradient that counts" in refused(*words)
