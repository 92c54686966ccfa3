"""A folder with kernels and instances, right and wrong ones, in which ``assay …`` is run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.cli import main
from assay.spec import attention
from assay.spec.storage import Stored, write

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

KERNELS = """
import numpy as np

def good(query, key, value, *, scale):
    q, k, v = (array.astype(np.float64) for array in (query, key, value))
    k, v = (np.repeat(array, q.shape[1] // k.shape[1], axis=1) for array in (k, v))
    scores = scale * (q @ k.swapaxes(-1, -2))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return ((weights @ v) / weights.sum(axis=-1, keepdims=True)).astype(query.dtype)

def bad(query, key, value, *, scale):
    return good(query, key, value, scale=2 * scale)

def declines(query, key, value, *, scale):
    raise NotImplementedError("never")

def raises(query, key, value, *, scale):
    raise IndexError("tile 3 of 2\\nsecond line")

def returns_a_list(query, key, value, *, scale):
    return good(query, key, value, scale=scale).tolist()

def transposes(query, key, value, *, scale):
    return good(query, key, value, scale=scale).swapaxes(1, 2)

def widens(query, key, value, *, scale):
    return good(query, key, value, scale=scale).astype(np.float64)

def mutates(query, key, value, *, scale):
    query *= 2
    return good(query, key, value, scale=scale / 2)

def two_arrays(query, key): ...

number = 7
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``assay …`` in that folder: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "kernels", raising=False)  # that of another test, if this process ran one
    (tmp_path / "kernels.py").write_text(KERNELS, encoding="utf-8")
    (tmp_path / "raises.py").write_text("raise OSError('no driver\\nsecond line')\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text("def kernel(:\n", encoding="utf-8")
    rng = np.random.default_rng(5)
    whole = attention.Instance(*(rng.standard_normal((1, 2, n, 3)).astype(np.float32) for n in (4, 6, 6)))
    whole.save("instance.npz")
    write("other.npz", Stored("weighted_sums", whole.arrays(), whole.values()))
    content = (tmp_path / "instance.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    members = dict(np.load("instance.npz"))
    members["query"][0, 0, 0, 0] = np.nan
    np.savez("nan.npz", **members)
    (tmp_path / "noise.npz").write_bytes(b"nothing of the kind")

    def ran(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return ran


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """``assay …`` where that is bad usage: the one line on stderr that says so, its newline included."""

    def line(*arguments: str) -> str:
        status, out, error = run(*arguments)
        assert (status, out) == (2, "")
        assert error.startswith("assay: ")
        assert error.count("\n") == 1
        return error

    return line
