"""Self-attention networks: the definition against others, its collapsed counterparts, and laws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sympy
from mpmath import mp, mpf
from stacks import KINDS, Rounding, drawn, stack

from assay.spec.layer_collapse import (
    LAWS,
    Instance,
    collapse,
    counterpart,
    define,
    evaluate,
    load,
    mixings,
    one_layer,
    symbolic,
)
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

LINEAR = ("plain", "no skip", "causal", "mask", "causal without skip", "biases")


# --- the instance -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_instance_is_saved_and_loaded_bit_exactly(kind: str, tmp_path: Path) -> None:
    instance = drawn(kind=kind, dtype="bfloat16")
    instance.save(tmp_path / "x.npz")
    assert load(tmp_path / "x.npz").digest() == instance.digest()


@pytest.mark.parametrize("kind", KINDS)
def test_every_smaller_instance_is_one_and_some_have_a_shorter_axis(kind: str) -> None:
    instance = drawn(kind=kind)
    smaller = list(instance.smaller())
    shrunk = {
        axis for other in smaller for axis, length in other.lengths().items() if length < instance.lengths()[axis]
    }
    assert {"length", "dim", "layers", "heads", "head_dim"} <= shrunk
    assert all(np.isfinite(define(other, 1e-6).midpoint).all() for other in smaller[:12])


def test_heads_are_kept_with_the_key_heads_of_their_group() -> None:
    instance = drawn(heads=4, key_heads=2, kind="biases")
    part = instance.part(heads=[2, 3])
    assert part.key_weights.shape[1] == 1
    assert (part.key_weights[:, 0] == instance.key_weights[:, 1]).all()
    assert part.group == 2


def test_a_layer_is_the_network_of_that_layer_alone() -> None:
    instance = drawn(kind="pre-norm")
    after = define(instance, 1e-14).midpoint
    for layer in (1, 2):
        alone = instance.layer(layer).replace(tokens=after[layer - 1])
        assert np.abs(define(alone, 1e-12).midpoint[0] - after[layer]).max() < 1e-11


# --- the definition ---------------------------------------------------------------------------------------------------


SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    **{kind: (kind, {"mlp": False} if "norm" in options else {}) for kind, options in KINDS.items()},
    **{f"MLP with {name}": ("MLP", {"activation": name}) for name in ("gelu", "gelu_tanh", "silu")},
    "gated MLP": ("MLP", {"gated": True, "activation": "silu"}),
}


@pytest.mark.claim("LC-1")
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("uniform", [False, True], ids=["attention", "collapsed"])
def test_the_definition_contains_what_sympy_evaluates(name: str, uniform: bool) -> None:
    kind, more = SMALL[name]
    instance = drawn(3, kind, size=(2, 2, 1), heads=1, quarters=True, weight=0.6, **more)
    expressions = symbolic(instance, uniform=uniform)
    made = (collapse if uniform else define)(instance, 1e-25).balls
    assert made is not None
    with mp.workdps(40):
        values = sympy.lambdify([], list(expressions.ravel()), "mpmath", cse=True)()
        for ball, value in zip(made.ravel(), values, strict=True):
            assert abs(mpf(ball.mid().str(40, radius=False)) - value) <= mpf(10) ** -22 * (1 + abs(value))


@pytest.mark.claim("LC-1")
@pytest.mark.parametrize("kind", KINDS)
def test_the_definition_agrees_with_numpy(kind: str) -> None:
    instance = drawn(4, kind)
    mine = define(instance, 1e-15)
    size = np.abs(mine.midpoint).max()
    keep = np.ones(len(instance.tokens), dtype=bool) if instance.mask is None else instance.mask
    gap = np.abs(stack(instance, Rounding("float64")) - mine.midpoint)[:, keep]
    assert gap.max() <= 1e-12 * size


@pytest.mark.parametrize("kind", KINDS)
def test_every_arithmetic_gives_the_same_network_and_the_radius_that_was_asked_for(kind: str) -> None:
    instance = drawn(5, kind)
    coarse, fine, finest = (define(instance, relative) for relative in (1e-9, 1e-20, 1e-40))
    size = np.abs(finest.midpoint).max()
    for enclosure in (coarse, fine):
        assert (np.abs(enclosure.midpoint - finest.midpoint) <= enclosure.radius + finest.radius).all()
    assert coarse.radius.max() <= 1e-7 * size
    assert finest.balls is not None
    assert max(float(ball.rad()) for ball in finest.balls.ravel()) <= 1e-37 * size


def test_scores_of_a_thousand_are_certified_too() -> None:
    instance = drawn(6, "plain", weight=20.0, size=(4, 4, 1))
    assert np.abs(evaluate(instance, 1e-12)["0/score"].midpoint).max() > 1000
    assert define(instance, 1e-12).radius.max() <= 1e-9 * np.abs(define(instance, 1e-12).midpoint).max()


def test_everything_on_the_way_is_there_layer_by_layer_and_head_by_head() -> None:
    instance = drawn(7, "gated")
    steps = evaluate(instance, 1e-12)
    p, v, o = (steps[f"1/{name}"].midpoint for name in ("probability", "value", "head"))
    assert np.allclose(p.sum(axis=2), 1.0, rtol=1e-12)
    assert np.allclose(p @ v, o, rtol=1e-9, atol=1e-12)
    joined = (o @ instance.output_weights[1]).sum(axis=0) + instance.output_bias[1]
    assert np.allclose(joined, steps["1/attention/update"].midpoint, atol=1e-12)
    assert (steps["tokens"].midpoint[1] == steps["1"].midpoint).all()


def test_a_relative_radius_and_an_output_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="relative"):
        define(drawn(), 2.0)
    with pytest.raises(ValueError, match="unknown output"):
        define(drawn(), output="logits")
    with pytest.raises(ValueError, match="symbolic"):
        symbolic(drawn(size=(40, 4, 3)))
    with pytest.raises(InvalidInstance, match="epsilon"):
        drawn().replace(norm="layer")


# --- collapsed counterparts -------------------------------------------------------------------------------------------


@pytest.mark.claim("LC-5", "LC-8")
@pytest.mark.parametrize("kind", LINEAR)
def test_the_collapsed_network_is_its_closed_form(kind: str) -> None:
    instance = drawn(8, kind)
    flat = collapse(instance, 1e-14)
    size = np.abs(flat.midpoint).max()
    made, weights = mixings(instance, 1e-14)
    assert weights.shape == (instance.layers + 1, *instance.tokens.shape[1:] * 2)
    assert np.abs(made.midpoint - flat.midpoint[-1]).max() <= 1e-12 * size
    if counterpart(instance) == "one uniform layer":
        assert np.abs(one_layer(instance, 1e-14).midpoint - flat.midpoint).max() <= 1e-12 * size
    else:
        with pytest.raises(ValueError, match="mixings"):
            one_layer(instance)


@pytest.mark.claim("LC-5")
def test_one_uniform_layer_is_the_product_of_all_layers_applied_to_the_mean() -> None:
    instance = drawn(9, "plain")
    product, mean = np.eye(4), instance.tokens.mean(axis=0)
    for layer in range(instance.layers):
        product = product @ (np.eye(4) + instance.value_weights[layer].sum(axis=0))
    assert np.allclose(instance.tokens + mean @ (product - np.eye(4)), collapse(instance).midpoint[-1])


@pytest.mark.claim("LC-8")
def test_a_causal_network_collapses_to_its_mixings_and_not_to_one_layer() -> None:
    instance = drawn(10, "causal", size=(6, 3, 2))
    _, weights = mixings(instance)
    first, second = (instance.value_weights[layer].sum(axis=0) for layer in (0, 1))
    assert np.allclose(weights.midpoint[1], first + second)
    assert np.allclose(weights.midpoint[2], first @ second)
    mean = np.tril(np.ones((6, 6))) / np.arange(1, 7)[:, None]
    assert np.abs(mean @ mean - mean).max() > 0.1
    one = instance.tokens + mean @ instance.tokens @ (weights.midpoint[1] + weights.midpoint[2])
    assert np.abs(one - collapse(instance).midpoint[-1]).max() > 0.05


@pytest.mark.claim("LC-9", "LC-10")
@pytest.mark.parametrize("kind", ["MLP", "pre-norm", "gated"])
def test_a_network_with_norms_or_an_mlp_collapses_to_a_mean_field_network(kind: str) -> None:
    instance = drawn(11, kind)
    assert counterpart(instance) == "mean-field network"
    with pytest.raises(ValueError, match="without"):
        mixings(instance)
    # The last token and the mean of all tokens are the same, and its update is another.
    spread = instance.tokens.copy()
    spread[1] += np.arange(4.0)
    spread[2] -= np.arange(4.0)
    one, other = (collapse(instance.replace(tokens=tokens)).midpoint[-1, -1] for tokens in (instance.tokens, spread))
    assert np.abs(one - other).max() > 1e-3


# --- laws -------------------------------------------------------------------------------------------------------------


def whole(kind: str) -> Instance:
    """A network of small integers and quarters, so that every law is exact."""
    return drawn(12, kind, quarters=True, dtype="float32", size=(5, 4, 2))


@pytest.mark.claim("LC-1")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_the_definition_satisfies_every_law(law: Any) -> None:
    applied = 0
    for kind in (*KINDS, "two groups"):
        instance = whole(kind) if kind in KINDS else drawn(12, "biases", quarters=True, heads=4, key_heads=2)
        transformed = law.transform(instance, np.random.default_rng(5))
        if not transformed:
            continue
        applied += 1
        mine, theirs = define(instance), [define(other) for other in transformed]
        prediction = law.relate(instance, transformed, tuple({"tokens": other.midpoint} for other in theirs))["tokens"]
        room = mine.radius + sum(other.radius.max() for other in theirs) + 1e-14 * np.abs(prediction.value)
        keep = np.ones(len(instance.tokens), dtype=bool) if instance.mask is None else instance.mask
        assert (np.abs(prediction.value - mine.midpoint) <= room)[:, keep].all(), kind
    assert applied >= 1


@pytest.mark.claim("LC-1")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_every_law_would_notice_another_network(law: Any) -> None:
    """Scores that lack their scale, and are counted from the first token on, break what the laws say."""

    def wrong(instance: Instance) -> Array:
        x, after = instance.tokens.astype(float), []
        n, h = len(x), instance.query_weights.shape[1]
        place = (np.arange(n) + 1)[:, None] * np.linspace(1, 2, instance.query_weights.shape[3])
        for layer in range(instance.layers):
            update = np.zeros_like(x)
            for head in range(h):
                q = x @ instance.query_weights[layer, head] + place
                k = x @ instance.key_weights[layer, head // instance.group] + 1
                s = q @ k.T
                p = np.exp(s - s.max()) / n
                v = (x @ instance.value_weights[layer, head // instance.group]) ** 3
                update += (1 + head) * (
                    p @ v if v.shape[1] == x.shape[1] else p @ v @ np.ones((v.shape[1], x.shape[1]))
                )
            x = x + update / (1 + np.abs(update)) + instance.layers
            after.append(x)
        return np.stack(after)

    noticed = False
    for kind in KINDS:
        instance = whole(kind)
        transformed = law.transform(instance, np.random.default_rng(5))
        if transformed:
            outputs = tuple({"tokens": wrong(other)} for other in transformed)
            gap = law.relate(instance, transformed, outputs)["tokens"].value - wrong(instance)
            noticed = noticed or float(np.abs(gap).max()) > 1e-3
    assert noticed


@pytest.mark.claim("LC-1")
def test_laws_speak_of_the_outputs_that_are_given_and_of_no_other() -> None:
    instance = whole("plain")
    for law in LAWS:
        transformed = law.transform(instance, np.random.default_rng(5))
        assert not transformed or law.relate(instance, transformed, tuple({} for _ in transformed)) == {}


def test_the_scale_is_one_over_the_root_of_the_head_dimension_unless_it_is_given() -> None:
    assert drawn(kind="biases", size=(5, 8, 1)).scale == 1 / math.sqrt(4)
    assert drawn(scale=0.125).scale == 0.125
