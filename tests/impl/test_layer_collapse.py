"""The exact stack and the collapse report: right values, bounds that are never below the truth, and what they say."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import itertools
import json
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.impl import cpu
from assay.impl.cpu.layer_collapse import render, sources
from assay.impl.cpu.layer_collapse.bounds import (
    Columns,
    Diameters,
    Rows,
    _spread,
    closed_form,
    kappa,
    shares,
    sizes,
)
from assay.impl.cpu.layer_collapse.parts import Network, Norm
from assay.impl.cpu.layer_collapse.rows import diameter, product_norm, running_diameter
from assay.impl.cpu.layer_collapse.trace import walk
from assay.impl.cpu.norms import norms
from assay.impl.models import ModelError
from assay.impl.models.rotary import Rotary
from assay.spec import flint_context, layer_collapse
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = Any
EXTRA = ("threads", "progress")  # of the kernel, not of the problem


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


SIGNATURE = [name for name in inspect.signature(cpu.layer_collapse.exact).parameters if name not in EXTRA]

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "without skips": {"skip": False},
    "causal": {"causal": True},
    "two heads to a key head, narrow": {"heads": 4, "key_heads": 2, "narrow": True},
    "biases": {"biases": True, "narrow": True},
    "layer norm before": {"norm": "layer", "epsilon": 1e-5, "gains": True},
    "RMS norm after, causal": {
        "norm": "rms",
        "epsilon": 1e-3,
        "norm_place": "post",
        "causal": True,
        "final_norm": True,
    },
    "MLP": {"mlp": "gelu"},
    "MLP after norms": {"mlp": "gelu_tanh", "norm": "layer", "epsilon": 1e-5, "final_norm": True},
    "gated MLP, causal": {"mlp": "silu", "gate": True, "norm": "rms", "epsilon": 1e-6, "causal": True},
    "without skips, MLP": {"mlp": "relu", "skip": False, "norm": "layer", "norm_place": "post", "epsilon": 0.1},
}


def drawn(
    seed: int,
    size: float = 0.5,
    *,
    n: int = 7,
    d: int = 4,
    layers: int = 3,
    heads: int = 2,
    key_heads: int | None = None,
    narrow: bool = False,
    biases: bool = False,
    gains: bool = False,
    mlp: str | None = None,
    gate: bool = False,
    dtype: str = "float64",
    tokens: Array = None,
    **options: Any,
) -> layer_collapse.Instance:
    """A network of random weights of about ``size``."""
    rng = np.random.default_rng(seed)
    k, v = (d // 2, d // 2) if narrow else (d, d)
    h_k = key_heads or heads

    def weights(*shape: int, around: float = 0.0) -> Array:
        return (around + size * rng.standard_normal((layers, *shape))).astype(dtype)

    arrays = [weights(heads, d, k), weights(h_k, d, k), weights(h_k, d, v)]
    if narrow:
        options["output_weights"] = weights(heads, v, d)
    if biases:
        shapes = {"query": (heads, k), "key": (h_k, k), "value": (h_k, v), "output": (d,)}
        options |= {f"{name}_bias": weights(*shape) for name, shape in shapes.items()}
    if gains:
        options |= {"attention_norm_gain": weights(d, around=1.0), "attention_norm_bias": weights(d)}
    if mlp is not None:
        options |= {"up_weights": weights(d, 5), "down_weights": weights(5, d), "activation": mlp}
        options |= {"gate_weights": weights(d, 5)} if gate else {"up_bias": weights(5), "down_bias": weights(d)}
    x = rng.standard_normal((n, d)) + rng.standard_normal(d) if tokens is None else tokens
    return layer_collapse.Instance(x.astype(dtype), *arrays, **options)


def called(instance: layer_collapse.Instance, **more: Any) -> Array:
    options = {item.name: getattr(instance, item.name) for item in dataclasses.fields(instance)}
    return cpu.layer_collapse.exact(**{name: options[name] for name in SIGNATURE}, **more)


# --- the exact stack --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_the_stack_is_the_certified_one(name: str) -> None:
    instance = drawn(1, **OPTIONS[name])
    certain = layer_collapse.define(instance)
    out = called(instance)
    assert out.dtype == np.float64
    assert (np.abs(out - certain.midpoint) <= 1e-12 * (1.0 + np.abs(certain.midpoint).max())).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_stack_keeps_the_type_of_the_tokens(dtype: str) -> None:
    from assay.spec.floats import dtype_named

    instance = drawn(2, dtype=dtype_named(dtype), mlp="gelu", norm="layer", epsilon=1e-5)
    out = called(instance)
    certain = layer_collapse.define(instance).midpoint
    assert out.dtype == dtype_named(dtype)
    step = {"float32": 2.0**-20, "bfloat16": 2.0**-8, "float16": 2.0**-11}[dtype]
    assert (np.abs(out.astype(np.float64) - certain) <= step * (1.0 + np.abs(certain))).all()


def test_padding_is_attended_to_by_nobody() -> None:
    instance = drawn(3, mlp="relu")
    mask = np.array([True, True, False, True, False, True, True])
    padded = called(instance.replace(mask=mask))
    alone = called(instance.replace(tokens=instance.tokens[mask]))
    assert np.abs(padded[:, mask] - alone).max() < 1e-12


def test_the_number_of_threads_does_not_change_the_tokens() -> None:
    instance = drawn(4, n=40, dtype="float32")
    assert (called(instance, threads=1) == called(instance, threads=3)).all()


def test_progress_is_told_layer_by_layer() -> None:
    told: list[tuple[int, int]] = []
    called(drawn(5), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_what_is_no_stack_is_refused() -> None:
    instance = drawn(6)
    with pytest.raises(InvalidInstance, match="key_weights"):
        cpu.layer_collapse.exact(
            instance.tokens, instance.query_weights, instance.key_weights[:, :, :2], instance.value_weights
        )
    with pytest.raises(ValueError, match="threads: 0"):
        called(instance, threads=0)


# --- the truth --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_both_walks_are_the_certified_ones(name: str) -> None:
    instance = drawn(7, **OPTIONS[name])
    certain, uniform = layer_collapse.define(instance).midpoint, layer_collapse.collapse(instance).midpoint
    for step in walk(Network.of(instance)):
        scale = 1.0 + np.abs(certain).max() + np.abs(uniform).max()
        assert np.abs(step.after - certain[step.number]).max() <= 1e-12 * scale
        assert np.abs(step.collapsed - uniform[step.number]).max() <= 1e-12 * scale


@pytest.mark.claim("LC-5")
@pytest.mark.parametrize("name", ["plain", "causal", "without skips", "biases"])
@pytest.mark.parametrize("size", [1e-4, 1e-2, 1.0])
def test_the_distance_keeps_its_digits_however_small_it_is(name: str, size: float) -> None:
    instance = drawn(8, size, **OPTIONS[name])
    report = cpu.layer_collapse.collapse(instance, scales=[1.0])
    for depth, true in zip(report.depths, distances(instance), strict=True):
        assert depth.distance == pytest.approx(true, rel=1e-6)


def distances(instance: layer_collapse.Instance) -> list[float]:
    """max_i ‖x_i − y_i‖ after every layer, certified to many digits."""
    x, y = (f(instance, relative=1e-60).balls for f in (layer_collapse.define, layer_collapse.collapse))
    return [float(norms(less(a, b)).max()) for a, b in zip(x, y, strict=True)]


def less(a: Array, b: Array) -> NDArray[np.float64]:
    """a − b for balls, with all of their digits before the result is rounded."""
    with flint_context.bits(1000):
        found: NDArray[np.float64] = (a - b).astype(np.float64)
    return found


def widest(moved: Array) -> float:
    """The largest distance between two rows of balls."""
    return float(max(norms(less(moved, row)).max() for row in moved))


# --- bounds -----------------------------------------------------------------------------------------------------------


def checked(instance: layer_collapse.Instance) -> dict[str, float]:
    """The largest truth/bound of every bound that speaks of an instance, over all depths; the truth is certified."""
    network = Network.of(instance)
    known = sizes(network)
    linear, uniform = instance.is_linear(), network.is_uniform
    takers: dict[str, Any] = {"rows": Rows(network, known), "rows, moments": Rows(network, known, moments=True)}
    if linear and not instance.causal:
        takers |= {"columns": Columns(instance.skip), "columns, moments": Columns(instance.skip, moments=True)}
    if linear and uniform:
        takers["diameters"] = Diameters(network, known)
    x, y = (f(instance, relative=1e-60).balls for f in (layer_collapse.define, layer_collapse.collapse))
    start = instance.tokens.astype(np.float64)
    ratios = dict.fromkeys([*takers, "heads", "heads, moments"], 0.0)
    for step in walk(network, pairs=True):
        apart = less(x[step.number], y[step.number])
        for name, taker in takers.items():
            taker.take(step)
            if name == "diameters":
                with flint_context.bits(1000):
                    moved = x[step.number] - start if instance.skip else x[step.number]
                true = widest(moved)
                found = max(quotient(true, taker.ranges), quotient(true, taker.norms))
            elif name.startswith("rows"):
                found = max(map(quotient, norms(apart), taker.bound))
            else:
                found = max(map(quotient, np.abs(apart).ravel(), taker.bound.ravel()))
            ratios[name] = max(ratios[name], found)
        for name, moments in (("heads", False), ("heads, moments", True)):
            bound = shares(step.heads, instance.causal, moments=moments)
            ratios[name] = max(ratios[name], *map(quotient, norms(step.gap), bound))
    return ratios


def quotient(true: float, bound: float) -> float:
    """true/bound; a difference below the digits of the balls is none."""
    return 0.0 if true <= 1e-50 else true / bound if bound else math.inf


@pytest.mark.claim("LC-6")
@pytest.mark.claim("LC-7")
@pytest.mark.claim("LC-8")
@pytest.mark.claim("LC-9")
@pytest.mark.claim("LC-10")
@pytest.mark.claim("LC-13")
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("size", [0.05, 0.3, 1.0])
def test_no_bound_is_below_the_certified_truth(name: str, size: float) -> None:
    assert max(checked(drawn(9, size, **OPTIONS[name])).values()) <= 1.0


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(OPTIONS)),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-3, 0.1, 0.5, 2.0]),
    st.sampled_from([2, 3, 6]),
    st.sampled_from(["apart", "two", "far"]),
)
def test_no_bound_is_below_the_truth_of_unusual_tokens(name: str, seed: int, size: float, n: int, how: str) -> None:
    rng = np.random.default_rng(seed)
    tokens = {
        "apart": rng.standard_normal((n, 4)) * 10.0 ** rng.uniform(-2, 1),
        "two": np.where(np.arange(n)[:, None] % 2, 1.0, -1.0) * rng.standard_normal(4),
        "far": 30.0 + rng.standard_normal((n, 4)) / 8,
    }[how]
    assert max(checked(drawn(seed, size, tokens=tokens, layers=2, **OPTIONS[name])).values()) <= 1.0


def two_groups(a: float, v: float, layers: int = 1, skip: bool = True) -> layer_collapse.Instance:
    """Two tokens ±½ that attend to themselves: scores a·x·y, values v·x."""
    weights = [np.full((layers, 1, 1, 1), x) for x in (1.0, a, v)]
    return layer_collapse.Instance(np.array([[0.5], [-0.5]]), *weights, scale=1.0, skip=skip)


@pytest.mark.claim("LC-6")
@pytest.mark.claim("LC-7")
@pytest.mark.parametrize("a", [0.01, 1.0, 30.0])
def test_two_tokens_attain_the_bounds_of_one_layer(a: float) -> None:
    for skip in (True, False):
        ratios = checked(two_groups(a, 1.0, skip=skip))
        assert ratios["diameters"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.claim("LC-6")
def test_one_token_of_four_attains_the_bound_of_a_row() -> None:
    """Its score is 2·ln 3 above the others: it weighs 9/12 in place of 1/4, and tanh(η/4) is 1/2."""
    one = np.ones((1, 1, 1, 1))
    instance = layer_collapse.Instance(np.eye(4)[:, :1], one, 2.0 * math.log(3.0) * one, one, scale=1.0)
    head = next(walk(Network.of(instance))).heads[0]
    assert head.gap[0, 0] == pytest.approx(0.5)
    assert shares((head,), False)[0] == pytest.approx(0.5)


@pytest.mark.claim("LC-5")
@pytest.mark.claim("LC-6")
@pytest.mark.parametrize(("value", "ratio"), [(-1.0, 1.0), (9.0, 0.81)])
def test_only_the_mean_row_is_carried_on_and_that_is_needed(value: float, ratio: float) -> None:
    """The first layer moves one token of four by 1/2, and the mean by 1/8; the second is uniform, times ``value``."""
    keys, values = (np.array([x, y]).reshape(2, 1, 1, 1) for x, y in ((2.0 * math.log(3.0), 0.0), (1.0, value)))
    instance = layer_collapse.Instance(np.eye(4)[:, :1], np.ones((2, 1, 1, 1)), keys, values, scale=1.0)
    assert ratio <= checked(instance)["columns"] * (1 + 1e-6) <= 1.0 + 2e-6
    *_, last = layer_collapse.define(instance).midpoint - layer_collapse.collapse(instance).midpoint
    assert last[1, 0] == pytest.approx(value / 8)  # for the tokens that did not move, the mean alone


@pytest.mark.claim("LC-7")
def test_two_tokens_attain_the_bound_of_any_depth_without_skips() -> None:
    ratios = checked(two_groups(1.0, 1.0, layers=4, skip=False))
    assert ratios["diameters"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.claim("LC-7")
def test_without_skips_the_diameter_falls_doubly_exponentially() -> None:
    network = Network.of(two_groups(1.0, 1.0, layers=5, skip=False))
    found = Diameters(network, sizes(network))
    spread = [found.start]
    for step in walk(network):
        found.take(step)
        spread.append(found.true)
    for before, after in itertools.pairwise(spread):
        assert 0.24 * before**3 <= after <= 0.25 * before**3 * (1 + 1e-9)
    assert spread[-1] < 1e-60


@pytest.mark.claim("LC-7")
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("size", [1e-3, 0.05, 0.3, 1.0])
def test_a_diameter_keeps_its_digits_however_small_it_is(skip: bool, size: float) -> None:
    """The tokens have a large common part, whose scores are far above the differences."""
    instance = drawn(27, size, d=3, skip=skip, biases=True, tokens=np.random.default_rng(27).normal(5.0, 0.1, (5, 3)))
    x = layer_collapse.define(instance, relative=1e-80).balls
    network = Network.of(instance)
    found = Diameters(network, sizes(network))
    for step in walk(network):
        found.take(step)
        with flint_context.bits(1000):
            moved = x[step.number] - (instance.tokens if skip else 0.0)
        assert found.true == pytest.approx(widest(moved), rel=1e-7)


@pytest.mark.claim("LC-7")
def test_a_report_tells_the_diameter_of_tokens_that_are_nearly_equal() -> None:
    report = cpu.layer_collapse.collapse(two_groups(1.0, 1.0, layers=5, skip=False), scales=[1.0])
    after = [report.start, *(depth.spread for depth in report.depths)]
    assert [layer.diameter for layer in report.layers] == pytest.approx(after[:-1], rel=1e-9)
    assert report.layers[-1].diameter < 1e-20
    equal = cpu.layer_collapse.collapse(drawn(12, tokens=np.full((5, 4), 0.1)), scales=[1.0])
    assert all(layer.diameter == 0.0 for layer in equal.layers)


@pytest.mark.claim("LC-6")
def test_below_kappa_one_all_tokens_move_alike() -> None:
    for size in (0.02, 0.05, 0.08):
        instance = drawn(10, size, layers=6)
        network = Network.of(instance)
        known = sizes(network)
        number, found = kappa(network, known), Diameters(network, known)
        assert number < 1.0
        for step in walk(network):
            found.take(step)
        assert found.true <= found.norms <= closed_form(number, found.start)


@pytest.mark.claim("LC-6")
def test_a_vector_that_all_tokens_share_changes_neither_kappa_nor_the_bounds_by_norms() -> None:
    instance = drawn(11, 0.05)
    moved = instance.replace(tokens=instance.tokens + 64.0)
    numbers = [kappa(network, sizes(network)) for network in map(Network.of, (instance, moved))]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-12)


@pytest.mark.claim("LC-13")
def test_second_moments_win_where_many_tokens_are_alike() -> None:
    instance = drawn(12, 0.03, n=64, d=16)
    first, moments = (
        max(shares(step.heads, False, moments=moments).max() for step in walk(Network.of(instance)))
        for moments in (False, True)
    )
    assert moments < first / 2


@pytest.mark.claim("LC-13")
def test_second_moments_are_attained_by_small_scores() -> None:
    ratio = checked(two_groups(1e-4, 1.0))["heads, moments"]
    assert 0.999 < ratio <= 1.0


@pytest.mark.parametrize("what", ["range", "deviation"])
def test_weaker_statistics_of_scores_make_bounds_fall_below_the_truth(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.impl.cpu.layer_collapse import trace

    true = trace.heads

    def halved(*arguments: Any, **options: Any) -> Any:
        for head in true(*arguments, **options):
            yield dataclasses.replace(head, **{what: getattr(head, what) / 2})

    monkeypatch.setattr(trace, "heads", halved)
    assert max(checked(two_groups(0.1, 1.0)).values()) > 1.0


# --- diameters and norms ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_a_diameter_is_the_largest_distance_and_hardly_more(size: float) -> None:
    x = np.random.default_rng(13).standard_normal((20, 3)) * size
    for count, found in enumerate(running_diameter(x), start=1):
        true = max(np.linalg.norm((x[:count] - row) / size, axis=1).max() for row in x[:count]) * size
        assert true <= found <= true * (1 + 1e-6) + 1e-12 * size
    assert diameter(x) == running_diameter(x)[-1]


@pytest.mark.parametrize("size", [1e-160, 1.0, 1e150])
@pytest.mark.parametrize("k", [2, 9])
def test_the_norm_of_a_product_is_not_too_small(size: float, k: int) -> None:
    rng = np.random.default_rng(14)
    a, b = rng.standard_normal((6, k)), rng.standard_normal((k, 7))
    true = np.linalg.svd(a @ b)[1][0]
    assert true * size <= product_norm(a * size, b) <= true * size * (1 + 1e-9)


@pytest.mark.claim("LC-9")
@pytest.mark.parametrize("rms", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 1e-5, 1.0])
def test_a_norm_moves_rows_by_at_most_its_factor(rms: bool, epsilon: float) -> None:
    rng = np.random.default_rng(15)
    norm = Norm(rms, epsilon, rng.standard_normal(5), rng.standard_normal(5))
    x = rng.standard_normal((200, 5)) * 10.0 ** rng.uniform(-4, 2, (200, 1))
    y = x + rng.standard_normal((200, 5)) * 10.0 ** rng.uniform(-4, 2, (200, 1))
    moved = norms(norm.apply(x) - norm.apply(y)) / norms(x - y)
    assert (moved <= norm.lipschitz(x, y) * (1 + 1e-12)).all()


# --- scales -----------------------------------------------------------------------------------------------------------


@pytest.mark.claim("LC-12")
@pytest.mark.parametrize(("narrow", "degree"), [(False, 3), (True, 4)])
def test_kappa_grows_by_a_power_of_the_scale_and_is_one_at_s_star(narrow: bool, degree: int) -> None:
    report = cpu.layer_collapse.collapse(drawn(16, narrow=narrow), scales=[0.25, 0.5, 1.0])
    small, half, own = (x.kappa for x in report.scales)
    assert half == pytest.approx(small * 2**degree)
    assert own == pytest.approx(report.kappa)
    at = Network.of(drawn(16, narrow=narrow)).scaled(report.s_star)
    assert kappa(at, sizes(at)) == pytest.approx(1.0, rel=1e-6)


def test_the_largest_scale_is_where_the_distance_crosses_epsilon() -> None:
    instance = drawn(17, 0.6, layers=4)
    report = cpu.layer_collapse.collapse(instance, epsilon=0.05)
    assert 0 < report.s_bound <= report.s_true < 2
    for factor, fits in ((report.s_true, True), (report.s_true * 2.0 ** (1 / 16), False)):
        row = cpu.layer_collapse.collapse(instance, epsilon=0.05, scales=[factor]).scales[0]
        assert (row.relative <= 0.05) is fits


def test_a_scale_of_one_is_the_network_as_it_is() -> None:
    report = cpu.layer_collapse.collapse(drawn(18, mlp="gelu", norm="layer", epsilon=1e-5), scales=[1.0])
    last = report.depths[-1]
    for row in report.scales:
        assert (row.update, row.distance, row.attended) == (last.update, last.distance, last.attended)


def test_without_attention_a_network_of_nothing_else_does_nothing() -> None:
    report = cpu.layer_collapse.collapse(drawn(19), scales=[1.0])
    assert all(depth.attended == depth.update for depth in report.depths)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"scales": []}, "scales"), ({"scales": [-1.0]}, "scales"), ({"epsilon": 1.0}, "epsilon")],
)
def test_bad_arguments_are_refused_by_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cpu.layer_collapse.collapse(drawn(20), **options)


# --- where networks come from -----------------------------------------------------------------------------------------


@needs("torch")
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_state_dict_of_torch_is_the_network_that_torch_runs(norm_first: bool, activation: str) -> None:
    import torch

    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(12, 3, 20, 0.0, activation, 1e-3, batch_first=True, norm_first=norm_first)
    encoder = torch.nn.TransformerEncoder(layer, 2, norm=torch.nn.LayerNorm(12, 1e-3), enable_nested_tensor=False)
    encoder = encoder.double().eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    tokens = np.random.default_rng(21).standard_normal((5, 12))
    settings = {"heads": 3, "norm_first": norm_first, "activation": activation, "epsilon": 1e-3}
    network = sources.network(encoder.state_dict(), tokens, settings)
    *_, last = walk(network)
    with torch.no_grad():
        out = encoder(torch.from_numpy(tokens)[None])[0].numpy()
    assert np.abs(last.after - out).max() < 1e-12
    one = sources.network(encoder.layers[0].state_dict(), tokens, settings)
    with torch.no_grad():
        out = encoder.layers[0](torch.from_numpy(tokens)[None])[0].numpy()
    assert np.abs(next(walk(one)).after - out).max() < 1e-12


@needs("torch", "transformers")
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_state_dict_of_transformers_is_the_network_that_transformers_runs(kind: str) -> None:
    import torch
    import transformers

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
    if kind == "bert":
        config = transformers.BertConfig(vocab_size=20, max_position_embeddings=12, **shape)
        model = transformers.BertModel(config, add_pooling_layer=False)
    else:
        config = transformers.LlamaConfig(vocab_size=20, num_key_value_heads=2, max_position_embeddings=12, **shape)
        model = transformers.LlamaModel(config)
    model = model.float().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ids = np.array([3, 1, 4, 1, 5, 9, 2])
    state = {f"model.{name}" if kind == "llama" else name: x for name, x in model.state_dict().items()}
    settings = config.to_dict() | {"rope_scaling": None, "rope_theta": 10000.0}
    network = sources.network(state, ids, settings)
    *_, last = walk(network)
    with torch.no_grad():
        out = model(torch.from_numpy(ids)[None]).last_hidden_state[0].numpy()
    assert np.abs(last.after - out).max() < 1e-4 * np.abs(out).max()


def test_rotary_positions_turn_queries_as_keys() -> None:
    """Turned rows keep their lengths, and inner products depend on the distance of positions alone."""
    x = np.broadcast_to(np.random.default_rng(22).standard_normal(8), (1, 6, 8))
    for interleaved in (False, True):
        turned = Rotary(100.0, interleaved).apply(x)[0]
        products = turned @ turned.T
        assert np.abs(np.diag(products, 2) - products[0, 2]).max() < 1e-12
        assert np.abs(norms(turned) - norms(x[0])).max() < 1e-12


def test_where_rows_differ_by_positions_only_ranges_bound() -> None:
    network = Network.of(drawn(23, 0.3, causal=False), Rotary(100.0, False), "turned")
    report = cpu.layer_collapse.collapse(network, scales=[1.0])
    assert (report.kappa, report.s_star, report.rotary) == (math.inf, 0.0, True)
    assert all(row.spread_bound == math.inf for row in report.layers)
    assert all(row.apart <= row.apart_moments <= row.apart_bound < math.inf for row in report.layers)
    assert all(depth.distance <= depth.bound < math.inf for depth in report.depths)
    assert any("positions" in sentence for sentence in render.sentences(report))


#: The least that a layer of torch's encoder has.
ENCODER = {
    "self_attn.in_proj_weight": np.ones((6, 2)),
    "self_attn.out_proj.weight": np.ones((2, 2)),
    "linear1.weight": np.ones((3, 2)),
    "linear2.weight": np.ones((2, 3)),
}


@pytest.mark.parametrize(
    ("model", "tokens", "config", "words"),
    [
        (3, None, None, "model: int"),
        ({"weight": np.ones(2)}, None, {"model_type": "t5"}, "model_type 't5'"),
        (
            {"layers.0.self_attn.in_proj_weight": np.ones((6, 2))},
            np.ones((2, 2)),
            {"heads": 1},
            "no self_attn.out_proj",
        ),
        (
            ENCODER | {"multihead_attn.in_proj_weight": np.ones((6, 2))},
            np.ones((2, 2)),
            {"heads": 1},
            "no part of torch",
        ),
        (
            ENCODER | {"ln1.weight": np.ones(2)},
            np.ones((2, 2)),
            {"heads": 1},
            "ln1.weight is no part of torch's encoder",
        ),
        (ENCODER, np.ones((2, 2)), None, "config: no heads, expected heads"),
        (ENCODER, np.ones((2, 2)), {"heads": 2.0}, "config: heads is 2.0, expected"),
        (ENCODER, np.ones((2, 2)), {"heads": 1, "causal": True}, "config: causal is True, expected"),
    ],
)
def test_what_is_no_network_is_refused(model: Any, tokens: Any, config: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sources.network(model, tokens, config)


def test_padding_is_left_out_of_a_report() -> None:
    instance = drawn(24)
    mask = np.array([True, False, True, True, True, False, True])
    padded = cpu.layer_collapse.collapse(instance.replace(mask=mask), scales=[1.0])
    assert padded == cpu.layer_collapse.collapse(instance.replace(tokens=instance.tokens[mask]), scales=[1.0])


def test_an_encoder_with_a_tensor_missing_in_one_layer_is_refused() -> None:
    state: dict[str, NDArray[Any]] = {f"layers.{i}.self_attn.in_proj_weight": np.ones((6, 2)) for i in range(2)}
    state["layers.0.self_attn.in_proj_bias"] = np.ones(6)
    with pytest.raises(ModelError, match="in some layers only"):
        sources.network(state, np.ones((2, 2)), {"heads": 1})


# --- what is said -----------------------------------------------------------------------------------------------------


_PAGES = ("plain", "gated MLP, causal")  # in every run; the others in CI


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in _PAGES else [pytest.mark.thorough]) for name in OPTIONS]
)
def test_a_report_is_text_json_and_a_page(name: str) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    report = cpu.layer_collapse.collapse(drawn(25, 0.4, **OPTIONS[name]), scales=[0.5, 1.0])
    content = json.loads(render.to_json(report))
    assert (content["version"], len(content["layers"]), content["name"]) == (render.VERSION, 3, "network")
    text, page = render.to_text(report), render.to_html(report)
    for sentence in render.sentences(report):
        assert sentence.split()[0] in text
    assert page.count("<svg") == 2
    assert page.count("<table>") == len(render.tables(report))


# --- beside the certified bounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_the_bounds_are_the_certified_ones(name: str) -> None:
    """Both evaluate LC-6 to LC-10; the norm of two rows is bounded here by twice its radius too."""
    instance = drawn(26, 0.1, **OPTIONS[name])
    network = Network.of(instance)
    known = sizes(network)
    rows = Rows(network, known)
    certified = layer_collapse.distances_to_collapse(instance)
    for step in walk(network):
        rows.take(step)
        assert (rows.bound <= certified[step.number] * (1 + 1e-6) + 1e-10).all()
        if instance.norm is None:
            assert rows.bound == pytest.approx(certified[step.number], rel=1e-6, abs=1e-20)
    if instance.is_linear() and network.is_uniform:
        found = Diameters(network, known)
        for step in walk(network, pairs=True):
            found.take(step)
        assert kappa(network, known) == pytest.approx(layer_collapse.kappa(instance)[-1], rel=1e-6)
        by_norms, by_ranges = layer_collapse.diameters(instance), layer_collapse.computed_diameters(instance)
        if instance.skip:
            assert found.norms == pytest.approx(by_norms.update[-1], rel=1e-5)
            assert found.ranges == pytest.approx(by_ranges.update[-1], rel=1e-5)
        else:
            assert found.norms == pytest.approx(by_norms.tokens[-1], rel=1e-5)
            assert found.ranges == pytest.approx(by_ranges.tokens[-1], rel=1e-5)


@pytest.mark.claim("LC-13")
def test_running_deviations_of_many_rows_are_not_too_small() -> None:
    n, middle, amplitude = 2048, 1.45, 2.0**-22
    x = np.full((n, 1), middle)
    x[::2] += amplitude * middle
    x[1::2] -= amplitude * middle
    found = _spread(np.concatenate([x, -x]), causal=True)[:n]
    count = np.arange(1, n + 1)
    off = x.astype(np.longdouble)[:, 0] - middle
    exact = np.sqrt(np.maximum(np.cumsum(off**2) / count - (np.cumsum(off) / count) ** 2, 0))
    assert (exact <= found).all()


@pytest.mark.claim("LC-6")
def test_the_norm_of_a_product_whose_terms_cancel_is_not_too_small() -> None:
    a, b = np.array([[1 + 2.0**-30, -1.0]]), np.array([[1 + 2.0**-30], [1 + 2.0**-29]])
    exact = abs(Fraction(a[0, 0]) * Fraction(b[0, 0]) - Fraction(b[1, 0]))
    assert (a @ b)[0, 0] == 0
    assert exact > 0
    assert product_norm(a, b) >= exact
