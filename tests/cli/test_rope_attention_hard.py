"""``assay hard rope_attention`` and ``assay decode``, end to end through the exact output."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.spec import rope_attention

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

CNF = "c three models\np cnf 3 4\n1 2 3 0\n-1 -2 0\n-1 -3 0\n-2 -3 0\n"
NONE = "p cnf 2 4\n1 2 0\n-1 2 0\n1 -2 0\n-1 -2 0\n"


@pytest.mark.claim("ROPE-5")
@pytest.mark.parametrize(("more", "arrow"), [((), "ROPE-5a"), (("--counting",), "ROPE-5b")])
def test_one_rotary_attention_decides_a_formula(run: Run, tmp_path: Path, more: tuple[str, ...], arrow: str) -> None:
    for text, word in ((CNF, "satisfiable"), (NONE, "unsatisfiable, 0 solutions\n")):
        (tmp_path / "formula.cnf").write_text(text, encoding="utf-8")
        words = ("hard", "rope_attention", "--from", "formula.cnf", "--dtype", "float32", *more, "-o", "inst.npz")
        status, out, error = run(*words)
        assert (status, error) == (0, "")
        assert f"rope_attention  OV-1 → {arrow}" in out
        output = rope_attention.define(rope_attention.load("inst.npz")).midpoint
        np.save("out.npy", output.astype(np.float32))
        status, out, error = run("decode", "inst.npz", "out.npy")
        assert (status, error) == (0, "")
        assert out.startswith(word)
        assert "\ntruth      agrees" in out
