"""Whole networks by calls of a small transformer, and small transformers with layers, sessions and refusals."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.impl.cpu import attention, layer_collapse
from assay.impl.cpu.small_transformers import CallError, simulate
from assay.impl.cpu.small_transformers.comparison import compared
from assay.impl.cpu.small_transformers.networks import Calls, perplexity, stack
from assay.impl.cpu.small_transformers.oracles import Layered, Refusing
from assay.impl.models.bert import Bert
from assay.impl.models.llama import Llama
from assay.impl.models.weights import Weights
from assay.spec.layer_collapse import Instance

if TYPE_CHECKING:
    from pathlib import Path

Array = np.ndarray[Any, Any]


def drawn(*shape: int, seed: int = 0, size: float = 1.0) -> Array:
    return size * np.random.default_rng(seed).standard_normal(shape)


def test_an_oracle_that_is_handed_too_much_refuses_and_is_named() -> None:
    x = drawn(1, 1, 20, 3)
    with pytest.raises(CallError, match=r"call 1 of 9 .*: the oracle raised TooLong: 7 tokens, expected at most 5"):
        simulate(x, x, x, Refusing(5), 8, keywords=())


@pytest.mark.claim("MERGE-3")
def test_layers_and_heads_of_a_real_transformer_work_on_as_many_heads_at_once() -> None:
    query, key, value = (drawn(1, 6, 15, 3, seed=k) for k in range(3))
    for layers, heads in ((1, 1), (3, 2), (2, 2)):
        at_once = layers * heads
        done = simulate(query, key, value, Layered(6, layers, heads), 6, fixed=True, at_once=at_once)
        assert done.planned == 3 * 3 * -(-6 // at_once)
        assert np.abs(done.value - attention.exact(query, key, value)).max() < 1e-13


@pytest.mark.claim("ST-5")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", [{}, {"at_once": 3}, {"causal_only": True}])
def test_a_stack_by_calls_is_the_stack(causal: bool, kind: dict[str, Any]) -> None:
    n, d, h = 14, 6, 2
    weights = [drawn(3, h, d, 3, seed=k, size=0.5) for k in range(3)]
    instance = Instance(
        drawn(n, d), *weights, causal=causal, output_weights=drawn(3, h, 3, d, seed=4), output_bias=drawn(3, d, seed=5),
        norm="layer", epsilon=1e-5, final_norm=True, activation="gelu",
        up_weights=drawn(3, d, 8, seed=6), down_weights=drawn(3, 8, d, seed=7),
    )  # fmt: skip
    calls = Calls(Refusing(5, kind.get("causal_only", False)), 5, {"keywords": ()} | kind)
    right = layer_collapse.exact(
        instance.tokens, *weights, causal=causal, output_weights=instance.output_weights,
        output_bias=instance.output_bias, norm="layer", epsilon=1e-5, final_norm=True, up_weights=instance.up_weights,
        down_weights=instance.down_weights, activation="gelu",
    )  # fmt: skip
    assert np.abs(stack(instance, calls) - right).max() < 1e-11
    assert calls.layers == 3
    assert calls.calls >= calls.planned >= calls.counting_bound


LLAMA = {
    "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 24, "intermediate_size": 40,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5, "vocab_size": 30,
}  # fmt: skip
BERT = {
    "model_type": "bert", "num_hidden_layers": 2, "hidden_size": 24, "intermediate_size": 40,
    "num_attention_heads": 3, "max_position_embeddings": 64, "vocab_size": 30,
}  # fmt: skip


def tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {name: (rng.standard_normal(shape) / 2).astype(np.float32) for name, shape in shapes.items()}


def llama(folder: Path) -> Llama:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (30, 24), "model.norm.weight": (24,)}
    for layer in ("model.layers.0.", "model.layers.1."):
        named = {
            "input_layernorm": (24,), "post_attention_layernorm": (24,), "self_attn.q_proj": (32, 24),
            "self_attn.k_proj": (16, 24), "self_attn.v_proj": (16, 24), "self_attn.o_proj": (24, 32),
            "mlp.gate_proj": (40, 24), "mlp.up_proj": (40, 24), "mlp.down_proj": (24, 40),
        }  # fmt: skip
        shapes |= {f"{layer}{name}.weight": shape for name, shape in named.items()}
    return Llama.of(Weights(folder / "llama.safetensors", "safetensors", "llama", LLAMA, tensors(shapes)))


def bert(folder: Path) -> Bert:
    linear: dict[str, tuple[int, ...]] = {"embeddings.LayerNorm": (24,)}
    for layer in ("encoder.layer.0.", "encoder.layer.1."):
        linear |= {f"{layer}attention.self.{name}": (24, 24) for name in ("query", "key", "value")}
        linear |= {f"{layer}attention.output.dense": (24, 24), f"{layer}attention.output.LayerNorm": (24,)}
        linear |= {f"{layer}intermediate.dense": (40, 24), f"{layer}output.dense": (24, 40)}
        linear |= {f"{layer}output.LayerNorm": (24,)}
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in linear.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    shapes |= {
        "embeddings.word_embeddings.weight": (30, 24), "embeddings.position_embeddings.weight": (64, 24),
        "embeddings.token_type_embeddings.weight": (2, 24),
    }  # fmt: skip
    return Bert.of(Weights(folder / "bert.safetensors", "safetensors", "bert", BERT, tensors(shapes)))


@pytest.mark.claim("ST-5")
@pytest.mark.parametrize("make", [llama, bert])
def test_logits_and_embeddings_of_a_model_are_those_of_the_full_pass(make: Any, tmp_path: Path) -> None:
    model, tokens = make(tmp_path), np.random.default_rng(0).integers(30, size=40)
    small = Refusing(9)
    exact = {"precision": "float64"}
    full, plain, window, sampled = compared(
        model,
        tokens,
        {
            "plain": Calls(small, 9, {"keywords": (), **exact}),
            "window": Calls(small, 9, {"window": 3, "sinks": 1, **exact}),
            "sampled": Calls(small, 9, {"error": 1e-3}),
        },
    )
    assert plain.allowed is not None
    assert plain.difference <= plain.allowed < 1e-6
    for proved in (plain, window):  # every layer on its own input, with the same window
        assert proved.layer_ratio is not None
        assert 0 < proved.layer_ratio <= 1
        assert proved.layer_error is not None
        assert proved.layer_error < 1e-11
    assert plain.planned >= plain.counting_bound > 0
    assert sampled.difference < 1e-9  # no sample meets so small an error, so every row has seen all its keys
    if make is llama:
        assert window.difference > 1e-3
        assert full.perplexity is not None
        assert plain.perplexity == pytest.approx(full.perplexity, rel=1e-9)
        hidden = model.hidden(tokens, lambda _: None)
        logits = model.logits(tokens).astype(np.float64)
        right = -np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))[np.arange(39), tokens[1:]]
        assert perplexity(model, hidden, tokens) == pytest.approx(np.exp(right.mean()), rel=1e-6)


def test_layers_keep_their_results_in_a_folder(tmp_path: Path) -> None:
    model, tokens = llama(tmp_path), np.random.default_rng(0).integers(30, size=20)
    first, second = (Calls(Refusing(9), 9, folder=tmp_path / "kept") for _ in range(2))
    one, other = (model.hidden(tokens, lambda _: None, calls) for calls in (first, second))
    assert np.array_equal(one, other)
    assert (first.calls, second.calls) == (first.planned, 0)


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime")), reason="needs onnx and onnxruntime"
)
def test_a_session_of_onnxruntime_of_fixed_length_is_an_oracle() -> None:
    import onnx
    import onnxruntime

    size, d = 8, 6  # one coordinate more than the queries have, and two columns more than the values
    node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    shape = {"query": [1, 1, size, d], "key": [1, 1, d, size], "value": [1, 1, size, d]}
    graph = onnx.helper.make_graph(
        [
            node("MatMul", ["query", "key"], ["score"]),
            node("Softmax", ["score"], ["weight"], axis=-1),
            node("MatMul", ["weight", "value"], ["output"]),
        ],
        "attention",
        [info(name, onnx.TensorProto.FLOAT, dims) for name, dims in shape.items()],
        [info("output", onnx.TensorProto.FLOAT, [1, 1, size, d])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def oracle(query: Array, key: Array, value: Array, *, scale: float) -> Any:
        inputs = {"query": query * np.float32(scale), "key": np.swapaxes(key, 2, 3), "value": value}
        return session.run(None, {name: np.ascontiguousarray(x) for name, x in inputs.items()})[0]

    query, key, value = (drawn(1, 2, 19, n, seed=n).astype(np.float32) for n in (5, 5, 4))
    done = simulate(query, key, value, oracle, size, fixed=True, batch=1)
    assert np.abs(done.value - attention.exact(query, key, value)).max() < 1e-6
