"""Rotary kernels of libraries: what docs/findings.md tells of them is so.

That they pass in the classes that they document is what ``pytest conformance`` shows.
"""

from __future__ import annotations

import pytest

from assay.conformance.interface.suite import suite
from assay.conformance.interface.targets import kernel_of, missing
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
from assay.spec.rope import PRECISIONS

TARGETS = suite("rope").targets


def needed(name: str) -> None:
    if absent := missing(TARGETS[name]):
        pytest.skip(f"{', '.join(absent)} not installed")


def failing(name: str, precision: str, words: str) -> list[str]:
    """The sentences of the cases of families, of a name with these words, that a built-in fails at standard."""
    from assay.conformance.judge.cases import cases

    judge = Judge(kernel_of(name, "rope"), PRECISIONS[precision])
    chosen = [case for case in cases(judge.suite, judge.precision, "standard", 0) if words in case.name]
    assert chosen
    return [outcome.sentence for case in chosen if (outcome := judge.outcome(case)).failed]


@pytest.mark.filterwarnings("ignore")
def test_transformers_keeps_the_frequencies_of_a_longer_call() -> None:
    needed("transformers:rope")
    assert len(failing("transformers:rope-kept", "float32", "dynamic=4,6, after longer")) == 1
    assert failing("transformers:rope", "float32", "dynamic=4,6, after longer") == []


@pytest.mark.filterwarnings("ignore")
def test_rotary_embedding_torch_counts_in_the_type_of_the_arrays() -> None:
    needed("rotary-embedding-torch:offset")
    assert len(failing("rotary-embedding-torch:offset", "bfloat16", "1x2/1:4:32 pairs from=257")) == 1
    assert failing("rotary-embedding-torch:apply_rotary_emb", "bfloat16", "1x2/1:4:32 pairs from=257") == []


@pytest.mark.filterwarnings("ignore")
def test_equinox_has_one_table_for_every_base() -> None:
    needed("equinox:rope")
    assert len(failing("equinox:rope", "float32", "1x2/2:5:14 base=500000, after base")) == 1


@pytest.mark.filterwarnings("ignore")
def test_onnxruntime_refuses_a_text_that_is_longer_than_its_table() -> None:
    import numpy as np

    needed("onnxruntime:rotary_embedding")
    from assay.conformance.interface.onnx_operator import run

    x, row = np.ones((1, 1, 3, 2), np.float32), np.ones((1, 1), np.float32)
    with pytest.raises(Exception, match="cos_cache"):
        run("RotaryEmbedding", 23, {"x": x, "cos": row, "sin": row, "ids": np.zeros((1, 3), np.int64)})


def test_a_missing_extra_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.conformance.interface.targets.importable", lambda module: module != "equinox")
    with pytest.raises(
        UsageError,
        match=r"^equinox:rope: equinox is not installed: pip install -e '\.\[rope\]'",
    ):
        kernel_of("equinox:rope", "rope")
