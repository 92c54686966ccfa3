"""``assay hard small_transformers`` and ``assay decode``, end to end through the exact output."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.spec import small_transformers

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

CNF = "c three models\np cnf 3 4\n1 2 3 0\n-1 -2 0\n-1 -3 0\n-2 -3 0\n"
NONE = "p cnf 2 4\n1 2 0\n-1 2 0\n1 -2 0\n-1 -2 0\n"


@pytest.mark.claim("ST-7")
@pytest.mark.parametrize(("more", "arrow"), [((), "ST-7a"), (("--counting",), "ST-7b")])
def test_a_simulated_attention_decides_a_formula(run: Run, tmp_path: Path, more: tuple[str, ...], arrow: str) -> None:
    for text, word in ((CNF, "satisfiable"), (NONE, "unsatisfiable, 0 solutions\n")):
        (tmp_path / "formula.cnf").write_text(text, encoding="utf-8")
        words = ("hard", "small_transformers", "--from", "formula.cnf", "--dtype", "float32", *more, "-o", "inst.npz")
        status, out, error = run(*words)
        assert (status, error) == (0, "")
        assert f"small_transformers  OV-1 → {arrow}" in out
        instance = small_transformers.load("inst.npz")
        assert instance.oracle_size is not None
        assert instance.oracle_size < instance.key.shape[2]
        np.save("out.npy", small_transformers.define(instance).midpoint.astype(np.float32))
        status, out, error = run("decode", "inst.npz", "out.npy")
        assert (status, error) == (0, "")
        assert out.startswith(word)
        assert "\ntruth      agrees" in out
