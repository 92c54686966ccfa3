"""``assay hard tensor_attention`` and ``assay decode``, end to end through the exact output."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.spec import tensor_attention

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

CNF = "c three models\np cnf 3 4\n1 2 3 0\n-1 -2 0\n-1 -3 0\n-2 -3 0\n"
NONE = "p cnf 2 4\n1 2 0\n-1 2 0\n1 -2 0\n-1 -2 0\n"


@pytest.mark.claim("TEN-3")
@pytest.mark.parametrize("more", [(), ("--parameter", "k=2"), ("--parameter", "k=4", "--dtype", "bfloat16")])
def test_one_attention_of_any_order_decides_a_formula(run: Run, tmp_path: Path, more: tuple[str, ...]) -> None:
    for text, word in ((CNF, "satisfiable"), (NONE, "unsatisfiable, 0 solutions\n")):
        (tmp_path / "formula.cnf").write_text(text, encoding="utf-8")
        status, out, error = run("hard", "tensor_attention", "--from", "formula.cnf", *more, "-o", "inst.npz")
        assert (status, error) == (0, "")
        assert "tensor_attention  KOV-1 → TEN-3" in out
        instance = tensor_attention.load("inst.npz")
        assert instance.order == (int(more[1][2]) if more else 3)
        np.save("out.npy", tensor_attention.define(instance).midpoint.astype(np.float32))
        status, out, error = run("decode", "inst.npz", "out.npy")
        assert (status, error) == (0, "")
        assert out.startswith(word)
        assert "\ntruth      agrees" in out


@pytest.mark.claim("GAP-1")
def test_a_gap_is_decided_too_and_an_order_that_is_none_is_refused(run: Run) -> None:
    words = ("hard", "tensor_attention", "--gap", "--n", "8", "--d", "16", "-o", "inst.npz")
    status, out, error = run(*words)
    assert (status, error) == (0, "")
    assert "tensor_attention  GAP-1 → TEN-7" in out
    np.save("out.npy", tensor_attention.define(tensor_attention.load("inst.npz")).midpoint)
    status, out, _ = run("decode", "inst.npz", "out.npy")
    assert (status, out.startswith("satisfiable, 1 solution")) == (0, True)
    status, _, error = run(*words, "--parameter", "k=1")
    assert status == 2
    assert "k 1: expected an integer of at least 2" in error
