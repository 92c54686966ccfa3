"""``assay …`` on attention by a smaller transformer: the commands that judge, the corpus, and the pytest plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.conformance.report.reading import from_json
from assay.spec import small_transformers

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
pytest_plugins = ["pytester"]

KERNELS = """
import numpy as np

def parts(query, key, value, oracle, size, scale, kept):
    group = query.shape[1] // key.shape[1]
    key, value = np.repeat(key, group, axis=1), np.repeat(value, group, axis=1)
    made = np.zeros((*query.shape[:3], value.shape[3]))
    for q in range(0, query.shape[2], size):
        rows, outputs, logs = slice(q, q + size), [], []
        for k in range(0, kept(key.shape[2], size), size):
            keys = slice(k, k + size)
            output, log = oracle(query[:, :, rows], key[:, :, keys], value[:, :, keys], scale=scale)
            outputs.append(output.astype(np.float64))
            logs.append(log.astype(np.float64))
        weight = np.exp(np.array(logs) - np.logaddexp.reduce(logs))
        made[:, :, rows] = (weight[..., None] * np.array(outputs)).sum(0)
    return made.astype(query.dtype)

def good(query, key, value, *, oracle, size, scale):
    return parts(query, key, value, oracle, size, scale, lambda n, size: n)

def bad(query, key, value, *, oracle, size, scale):
    return parts(query, key, value, oracle, size, scale, lambda n, size: max(size, n - n % size))

def large(query, key, value, *, oracle, size, scale):
    group = query.shape[1] // key.shape[1]
    return oracle(query, np.repeat(key, group, axis=1), np.repeat(value, group, axis=1), scale=scale)[0]
"""
WORDS = "the keys after the last whole block of size tokens are dropped"
DECLARED = ("--option", "oracle=log_sum_exp")


@pytest.fixture
def kernels(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "small.py").write_text(KERNELS, encoding="utf-8")
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 4, 1)
    small_transformers.Instance(x, x, x, oracle_size=3, is_causal=True, window=1, sinks=1).save("sinks.npz")
    return run


def test_the_problem_is_told_by_the_keywords_and_a_right_kernel_passes(kernels: Run) -> None:
    status, out, error = kernels("check", "small.py:good", "--level", "smoke", *DECLARED)
    assert (status, error) == (0, "")
    assert "\nPASSED small.py:good  small_transformers  float32  smoke  seed 0" in out
    status, _, error = kernels("check", "small.py:good", "--option", "oracle=large")
    assert (status, "oracle=large: expected one of plain, log_sum_exp, causal" in error) == (2, True)


def test_a_failure_is_named_and_its_reproducer_replays(kernels: Run, tmp_path: Path) -> None:
    files = ("--reproducers", "found", "--json", "r.json")
    status, out, _ = kernels("check", "small.py:bad", "--level", "smoke", *DECLARED, *files)
    assert status == 1
    assert f"behaves like: {WORDS}" in out
    line = next(line for line in out.splitlines() if line.startswith("replay: ")).split()
    status, out, _ = kernels(*line[2:])
    assert (status, WORDS in out) == (1, True)
    assert kernels(*line[2:5], "small.py:good", "--precision", "float32", *DECLARED)[0] == 0
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report.problem == "small_transformers"


@pytest.mark.thorough
def test_a_call_of_too_many_tokens_is_told(kernels: Run) -> None:
    status, out, _ = kernels("check", "small.py:large", "--level", "smoke", *DECLARED)
    assert (status, "tokens, expected at most" in out) == (1, True)


def test_reference_and_bound_tell_the_output(kernels: Run) -> None:
    status, out, _ = kernels("reference", "sinks.npz", "--relative", "1e-20")
    assert (status, "1.96402758" in out) == (0, True)
    status, out, _ = kernels("bound", "sinks.npz", "--precision", "bfloat16")
    assert (status, out.startswith("small_transformers  output  shape (1, 1, 4, 1)  bfloat16")) == (0, True)


def test_a_list_names_the_families_the_classes_and_the_targets(kernels: Run) -> None:
    status, out, _ = kernels("list", "small_transformers")
    assert status == 0
    for word in ("window", "bfloat16", "assay:cpu-causal", "local-attention:LocalAttention"):
        assert word in out


@pytest.mark.thorough
def test_the_plugin_judges_a_kernel_of_the_problem(kernels: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(small=KERNELS)
    options = ("-p", "no:cacheprovider", "--pyargs", "assay.conformance", "--assay-level", "smoke")
    result = pytester.runpytest(*options, "--assay-kernel", "small.py:bad", "--assay-option", "oracle=log_sum_exp")
    assert result.parseoutcomes()["failed"] >= 1  # of the tests that the families of the kernel are
    assert WORDS in result.stdout.str()
