"""``assay simulate``: the table, JSON, resumption and a cluster of a small model, and misuse in one line."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
CONFIG = {
    "model_type": "bert", "num_hidden_layers": 1, "hidden_size": 12, "intermediate_size": 16, "num_attention_heads": 2,
    "max_position_embeddings": 64, "vocab_size": 30, "type_vocab_size": 2, "hidden_act": "gelu",
}  # fmt: skip
READERS = ("safetensors", "tokenizers")
needs_readers = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in READERS), reason=f"needs {' and '.join(READERS)}"
)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A small encoder in the folder in which ``assay`` is run, whose tokens are words."""
    safetensors_numpy: Any = pytest.importorskip("safetensors.numpy")
    tokenizers: Any = pytest.importorskip("tokenizers")
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (30, 12), "embeddings.position_embeddings.weight": (64, 12),
        "embeddings.token_type_embeddings.weight": (2, 12),
    }  # fmt: skip
    layer = "encoder.layer.0."
    linear: dict[str, tuple[int, ...]] = {
        "embeddings.LayerNorm": (12,), f"{layer}attention.output.dense": (12, 12),
        f"{layer}attention.output.LayerNorm": (12,), f"{layer}intermediate.dense": (16, 12),
        f"{layer}output.dense": (12, 16), f"{layer}output.LayerNorm": (12,),
    }  # fmt: skip
    linear |= {f"{layer}attention.self.{name}": (12, 12) for name in ("query", "key", "value")}
    shapes |= {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    rng = np.random.default_rng(1)
    safetensors_numpy.save_file(
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()},
        tmp_path / "model.safetensors",
    )
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    words = {f"w{k}": k for k in range(30)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "text.txt").write_text(" ".join(f"w{k}" for k in rng.integers(30, size=50)), encoding="utf-8")
    return "model.safetensors"


@needs_readers
def test_a_model_is_told_beside_its_full_pass_and_goes_on_where_it_was(run: Run, model: str, tmp_path: Path) -> None:
    words = ("simulate", model, "--text", "text.txt", "--tokens", "40", "--size", "12", "--resume", "kept")
    status, out, _ = run(*words, "--error", "0.001", "--json", "out.json")
    assert status == 0
    assert "40 tokens by calls of 12" in out
    assert out.endswith("T·M² ≥ N^(2 − o(1)) under SETH (ST-7, by OV-1 → ST-7a).\n")
    full, exact, sampled = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["rows"]
    assert full["calls"] == 0
    assert exact["calls"] >= exact["planned"] == 2 * 4 * 4  # rows of so large scores are asked again
    # one head of one layer: ⌈N²/M²⌉ calls at least, of which the table shows the quotient
    assert exact["counting_bound"] == math.ceil(2 * 40**2 / 12**2)
    row = next(line for line in out.splitlines() if line.startswith("every key")).split()
    assert row[-1] == f"{32 / exact['counting_bound']:.3f}"
    assert exact["difference"] <= exact["allowed"] < 1e-6
    assert 0 < exact["layer_ratio"] <= 1
    assert sampled["name"] == "sampled, error 0.001"
    run(*words, "--json", "again.json")
    again = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))["rows"][1]
    assert again == exact | {"calls": 0}


@needs_readers
def test_a_cluster_says_the_same(run: Run, model: str, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    from assay.impl.cluster import started

    words = ("simulate", model, "--text", "text.txt", "--tokens", "20", "--size", "12", "--oracle", "causal")
    with started(1, processes=False) as cluster:
        assert run(*words, "--scheduler", cluster.scheduler_address, "--json", "there.json")[0] == 0
    assert run(*words, "--json", "here.json")[0] == 0
    here, there = (json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8")) for name in ("here", "there"))
    assert here == there


@needs_readers
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody",), "unknown model 'nobody'"),
        (("model.safetensors", "--tokens", "65"), "--tokens 65: expected from 2 to 64"),
        (("model.safetensors", "--tokens", "20", "--text", "text.txt", "--size", "1"), "size: 1 leaves no room"),
        (("model.safetensors", "--oracle", "large"), "--oracle large: expected one of plain"),
        (("model.safetensors", "--text", "none.txt"), "none.txt: cannot be read"),
        (("model.safetensors", "--text", "/dev/zero"), "/dev/zero: cannot be read"),
        (
            ("model.safetensors", "--tokens", "20", "--text", "text.txt", "--error", "1", "--oracle", "causal"),
            "--error: a sample of keys needs an oracle that is not causal only",
        ),
    ],
)
def test_misuse_is_said_in_one_line(
    refused: Callable[..., str], model: str, arguments: tuple[str, ...], words: str
) -> None:
    assert words in refused("simulate", *arguments)
