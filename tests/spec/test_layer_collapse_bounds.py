"""LC-5 to LC-12: bounds of the distance to the collapsed network are never below it, and are attained where said."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import flint
import numpy as np
import pytest
from stacks import KINDS, drawn

from assay.spec.enclosure import Enclosure, Float64Ball
from assay.spec.layer_collapse import (
    Instance,
    collapse,
    columns,
    computed_diameters,
    define,
    diameters,
    distances_to_collapse,
    evaluate,
    kappa,
)
from assay.spec.layer_collapse.bounds import LIPSCHITZ
from assay.spec.layer_collapse.norms import head_norms, row_ranges, spectral_norm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[Any]

UNIFORM = ("plain", "mask", "biases", "no skip")  # of which all tokens attend to the same ones
WEIGHTS = (2.0**-8, 0.1, 0.4, 1.0)


def spread(x: Array) -> float:
    """D(X)."""
    return float(np.linalg.norm(x[:, None] - x[None], axis=-1).max())


def networks(*kinds: str, seeds: int = 6, **options: Any) -> Iterator[Instance]:
    for kind in kinds:
        for seed in range(seeds):
            yield drawn(seed, kind, weight=WEIGHTS[seed % len(WEIGHTS)], **options)


def two_tokens(a: float = 1.0, scale: float = 1.0, layers: int = 1, **options: Any) -> Instance:
    one = np.ones((layers, 1, 1, 1))
    return Instance(np.array([[a], [-a]]), one, one, one, scale=scale, **options)


# --- LC-5 -------------------------------------------------------------------------------------------------------------


@pytest.mark.claim("LC-5")
@pytest.mark.parametrize("kind", ["plain", "mask", "biases"])
def test_the_difference_is_the_sum_of_deviations_and_of_amplified_means(kind: str) -> None:
    for instance in networks(kind, seeds=4):
        exact, d = evaluate(instance, 1e-15), instance.tokens.shape[1]
        present = np.ones(len(instance.tokens), dtype=bool) if instance.mask is None else instance.mask
        values = []
        for layer in range(instance.layers):
            w = instance.value_weights[layer][np.arange(2) // instance.group]
            values.append(w if instance.output_weights is None else w @ instance.output_weights[layer])
        total = np.zeros_like(instance.tokens)
        for layer in range(instance.layers):
            x = instance.tokens if layer == 0 else exact[str(layer - 1)].midpoint
            p = exact[f"{layer}/probability"].midpoint - present / present.sum()
            g = (p @ (x @ values[layer])).sum(axis=0)
            if instance.value_bias is not None:
                assert np.abs(p.sum(axis=2)).max() < 1e-12  # biases of values drop out
            mean, later = g[present].mean(axis=0), np.eye(d)
            for after in range(layer + 1, instance.layers):
                later = later @ (np.eye(d) + values[after].sum(axis=0))
            total += (g - mean) + mean @ later
        true = exact["tokens"].midpoint[-1] - collapse(instance, 1e-15).midpoint[-1]
        assert np.abs(total - true).max() <= 1e-11 * (1 + np.abs(exact["tokens"].midpoint).max())


# --- LC-6 -------------------------------------------------------------------------------------------------------------


def softmax(s: Array) -> Array:
    weight = np.exp(s - s.max())
    return weight / weight.sum()


@pytest.mark.claim("LC-6")
def test_probabilities_of_scores_that_differ_by_a_range_are_within_a_tanh() -> None:
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(2000):
        n = int(rng.integers(2, 7))
        s, step = 3 * rng.standard_normal((2, n)) * rng.choice([0.01, 1.0, 3.0])
        r = step.max() - step.min()
        gap = np.abs(softmax(s + step) - softmax(s)).sum()
        worst = max(worst, gap / (2 * math.tanh(r / 4)))
        t = rng.standard_normal((n, 3))
        moved = np.linalg.norm((softmax(s + step) - softmax(s)) @ t)
        assert moved <= math.tanh(r / 4) * spread(t) * (1 + 1e-12)
    assert 0.9 < worst <= 1 + 1e-12


@pytest.mark.claim("LC-6")
@pytest.mark.parametrize("k", [1, 2, 5, 30])
def test_the_tanh_is_attained_by_one_score_among_equal_ones(k: int) -> None:
    s = np.zeros(k + 1)
    s[0] = 2 * math.log(k)  # the mass 1/(k + 1) = 1/(√E + 1) with E = e^range
    gap = np.abs(softmax(s) - 1 / (k + 1)).sum()
    assert gap == pytest.approx(2 * math.tanh(s[0] / 4), rel=1e-12, abs=1e-15)


@pytest.mark.claim("LC-6")
def test_no_number_is_further_from_one_uniform_layer_than_its_column_allows() -> None:
    tight = 0.0
    for instance in networks("plain", "mask", "biases", seeds=4):
        true, flat, bound = define(instance, 1e-14), collapse(instance, 1e-14), columns(instance)
        gap = np.abs(true.midpoint - flat.midpoint) - true.radius - flat.radius
        assert (gap <= bound).all()
        tight = max(tight, float((gap / bound).max()))
    assert tight > 0.15


@pytest.mark.claim("LC-6")
def test_two_tokens_attain_a_quarter_of_their_column_bound() -> None:
    instance = two_tokens(1.0)  # outputs ±tanh(1), t = tanh(1/2) in both rows, a range of 2
    gap = np.abs(define(instance).midpoint - collapse(instance).midpoint)[0, :, 0]
    assert gap == pytest.approx([math.tanh(1.0)] * 2)
    assert columns(instance)[0, :, 0] == pytest.approx([3 * math.tanh(0.5) * 2] * 2)


@pytest.mark.claim("LC-6", "LC-7")
def test_diameters_are_never_below_the_true_ones() -> None:
    for instance in networks(*UNIFORM, seeds=4):
        plain = instance
        x = np.concatenate([plain.tokens[None], define(plain, 1e-14).midpoint])
        for bound in (diameters(plain), computed_diameters(plain)):
            for layer in range(plain.layers + 1):
                room = 1e-12 * np.abs(x).max()
                assert spread(x[layer]) <= bound.tokens[layer] + room
                assert spread(x[layer] - x[0]) <= bound.update[layer] + room
        assert (computed_diameters(plain).tokens <= diameters(plain).tokens * (1 + 1e-6)).all() or not plain.skip


@pytest.mark.claim("LC-6")
def test_kappa_below_one_bounds_what_the_recursion_gives() -> None:
    seen = 0
    for instance in networks("plain", "biases", seeds=12):
        k, bound = kappa(instance), diameters(instance)
        for layer in range(1, instance.layers + 1):
            if k[layer] < 1:
                seen += 1
                start = bound.tokens[0]
                assert bound.tokens[layer] <= start / math.sqrt(1 - k[layer]) * (1 + 1e-6)
                assert bound.update[layer] <= start * (1 / math.sqrt(1 - k[layer]) - 1) * (1 + 1e-6) + 1e-12 * start
                true = define(instance, 1e-14).midpoint[layer - 1]
                assert spread(true - instance.tokens) <= start * (1 / math.sqrt(1 - k[layer]) - 1) + 1e-12
    assert seen >= 12


@pytest.mark.claim("LC-6")
def test_kappa_does_not_see_a_vector_that_is_added_to_all_tokens_nor_biases() -> None:
    instance = drawn(1, "biases", quarters=True)
    moved = instance.replace(tokens=instance.tokens + 4.0, query_bias=None, key_bias=None, value_bias=None)
    assert kappa(moved) == pytest.approx(kappa(instance), rel=1e-9)
    twice = instance.replace(tokens=2 * instance.tokens)
    assert kappa(twice) == pytest.approx(4 * kappa(instance), rel=1e-9)


@pytest.mark.claim("LC-6")
def test_spectral_norms_are_bounded_from_above_and_closely() -> None:
    rng = np.random.default_rng(2)
    for shape in ((1, 1), (3, 5), (5, 3), (8, 8)):
        normal = rng.standard_normal(shape)
        for matrix in (normal, np.ones(shape), np.zeros(shape), 1e-200 * normal):
            bound = spectral_norm(Float64Ball.exact(matrix))
            true = np.linalg.norm(matrix, 2)
            assert true <= bound <= true * (1 + 1e-7) + 1e-12
    wide = Float64Ball(np.eye(2), np.full((2, 2), 0.5))
    assert spectral_norm(wide) >= np.linalg.norm(np.eye(2) + 0.5, 2)


@pytest.mark.claim("LC-6")
def test_heads_share_the_keys_of_their_group_and_include_the_output_matrix() -> None:
    instance = drawn(3, "biases")
    scores, values = head_norms(instance)
    a = instance.query_weights[1, 1] @ instance.key_weights[1, 0].T
    v = instance.value_weights[1, 0] @ instance.output_weights[1, 1]
    assert scores[1, 1] == pytest.approx(instance.scale * np.linalg.norm(a, 2), rel=1e-7)
    assert values[1, 1] == pytest.approx(np.linalg.norm(v, 2), rel=1e-7)


def test_ranges_of_scores_count_what_is_attended_to_alone() -> None:
    scores = Enclosure(np.array([[[0.0, 100.0], [1.0, 3.0]]]), np.full((1, 2, 2), 0.25))
    assert row_ranges(scores, np.array([[True, False], [True, True]])) == pytest.approx(np.array([[0.5, 2.5]]))


# --- LC-7 -------------------------------------------------------------------------------------------------------------


@pytest.mark.claim("LC-7")
@pytest.mark.parametrize("a", [0.01, 0.5, 1.0, 3.0])
def test_two_tokens_attain_the_bound_without_skip_connections(a: float) -> None:
    instance = two_tokens(a, layers=3, skip=False)
    true = [2 * a, *(spread(x) for x in define(instance, 1e-15).midpoint)]
    assert diameters(instance).tokens == pytest.approx(true, rel=1e-6)


@pytest.mark.claim("LC-7")
def test_rank_collapses_doubly_exponentially_below_the_threshold() -> None:
    instance = two_tokens(0.5, layers=5, skip=False)  # c = 1/4, D = 1
    c = 0.25
    after = diameters(instance).tokens
    for layer in range(6):
        assert after[layer] * math.sqrt(c) <= 0.25 ** (3**layer / 2) * (1 + 1e-6)
    assert after[5] < 1e-70


@pytest.mark.claim("LC-7")
def test_the_diameter_never_grows_where_the_values_have_a_norm_of_at_most_one() -> None:
    for seed in range(4):
        instance = drawn(seed, "no skip", heads=1, weight=3.0)
        norms = np.linalg.norm(instance.value_weights, 2, axis=(2, 3))[..., None, None]
        tokens = diameters(instance.replace(value_weights=instance.value_weights / (norms * 1.0001))).tokens
        assert (np.diff(tokens) <= 0).all()


# --- LC-8 to LC-10 ----------------------------------------------------------------------------------------------------


@pytest.mark.claim("LC-8", "LC-9", "LC-10")
@pytest.mark.parametrize("kind", KINDS)
def test_no_token_is_further_from_the_collapsed_network_than_its_bound(kind: str) -> None:
    tight = 0.0
    for instance in networks(kind, seeds=4, size=(5, 4, 2)):
        true, flat = define(instance, 1e-14), collapse(instance, 1e-14)
        gap = np.linalg.norm(true.midpoint - flat.midpoint, axis=2)
        off = np.linalg.norm(true.radius + flat.radius, axis=2)
        bound = distances_to_collapse(instance)
        assert (gap - off <= bound).all()
        tight = max(tight, float(((gap - off) / np.maximum(bound, 1e-300)).max()))
    assert tight > 0.05


@pytest.mark.claim("LC-8")
def test_the_first_token_of_a_causal_network_is_that_of_its_collapsed_network() -> None:
    for instance in networks("causal", seeds=3):
        assert (distances_to_collapse(instance)[:, 0] == 0.0).all()
        assert (distances_to_collapse(instance)[:, 1:] > 0.0).all()


@pytest.mark.claim("LC-9")
@pytest.mark.parametrize("centred", [True, False], ids=["layer norm", "RMS norm"])
def test_norms_are_as_steep_as_claimed_and_no_steeper(centred: bool) -> None:
    rng = np.random.default_rng(4)
    worst = 0.0
    for trial in range(3000):
        epsilon = [1e-12, 1e-3, 1.0][trial % 3]
        x = rng.standard_normal(4) * 10 ** rng.uniform(-2, 1)
        y = x + rng.standard_normal(4) * 10 ** rng.uniform(-4, 0.5) if trial % 4 else -x
        g = rng.standard_normal(4) if trial % 2 else np.ones(4)

        def made(x: Array, g: Array = g, epsilon: float = epsilon) -> tuple[Array, float]:
            z = x - x.mean() if centred else x
            root = math.sqrt((z**2).mean() + epsilon)
            return g * z / root, root

        (one, s), (other, t) = made(x), made(y)
        bound = 2 * np.abs(g).max() * np.linalg.norm(x - y) / (s + t)
        gap = np.linalg.norm(one - other)
        assert gap <= bound * (1 + 1e-9)
        worst = max(worst, gap / bound)
    assert worst > 0.99


def slope(name: str, x: Any) -> Any:
    """The derivative of an activation in balls, x·S(z): S + x z′ S(1 − S), and Φ + xφ."""
    if name == "gelu":
        return (-x / flint.arb(2).sqrt()).erfc() / 2 + x * (-x * x / 2).exp() / (2 * flint.arb.pi()).sqrt()
    c, z, rise = 2 * (2 / flint.arb.pi()).sqrt(), x, flint.arb(1)
    if name == "gelu_tanh":
        cube = flint.arb(44715) / 1000000
        z, rise = c * (x + cube * x**3), c * (1 + 3 * cube * x**2)
    s = 1 / (1 + (-z).exp())
    return s + x * rise * s * (1 - s)


@pytest.mark.claim("LC-10")
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
def test_activations_are_as_steep_as_claimed(name: str) -> None:
    """Balls of radius 2^-12 cover [−12, 12]; outside, the second term is below 10^-3 and the first is at most 1."""
    radius = 2.0**-12
    least, most = 0.0, 0.0
    for k in range(-24577, 24578):
        ball = slope(name, flint.arb(k * 2 * radius, radius))
        least, most = min(least, float(ball.lower())), max(most, float(ball.upper()))
    assert most <= LIPSCHITZ[name]
    assert most > LIPSCHITZ[name] - 0.02
    assert least >= -0.2
    end = 12.0 if name != "gelu_tanh" else 2 * math.sqrt(2 / math.pi) * (12 + 0.044715 * 12**3)
    rise = 1.0 if name != "gelu_tanh" else 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * 144)
    assert 12 * rise * math.exp(-end) < 1e-3


@pytest.mark.claim("LC-10")
def test_a_gated_mlp_is_bounded_by_the_sizes_at_both_ends() -> None:
    rng = np.random.default_rng(5)
    worst = 0.0
    for _ in range(1000):
        g, w = rng.standard_normal((2, 3, 5))
        x, y = rng.standard_normal((2, 3)) * 10 ** rng.uniform(-1, 1)
        y = x + 10 ** rng.uniform(-3, 0) * y

        def opened(z: Array) -> Array:
            return z / (1 + np.exp(-z))

        gap = np.linalg.norm(opened(x @ g) * (x @ w) - opened(y @ g) * (y @ w))
        size = np.abs(opened(x @ g)).max() * np.linalg.norm(w, 2) + 1.1 * np.abs(y @ w).max() * np.linalg.norm(g, 2)
        assert gap <= size * np.linalg.norm(x - y)
        assert (np.abs(opened(x @ g)) <= np.abs(x @ g)).all()
        worst = max(worst, gap / (size * np.linalg.norm(x - y)))
    assert worst > 0.3


# --- LC-12 ------------------------------------------------------------------------------------------------------------


@pytest.mark.claim("LC-12")
@pytest.mark.parametrize("s", [0.25, 0.5, 2.0])
def test_kappa_grows_with_the_fourth_power_of_all_weights(s: float) -> None:
    instance = drawn(6, "biases")
    names = ("query_weights", "key_weights", "value_weights", "output_weights")
    scaled = instance.replace(**{name: s * getattr(instance, name) for name in names})
    assert kappa(scaled) == pytest.approx(s**4 * kappa(instance), rel=1e-8)
    largest = float(kappa(instance)[-1] ** -0.25)
    at = instance.replace(**{name: largest * getattr(instance, name) for name in names})
    assert kappa(at)[-1] == pytest.approx(1.0, rel=1e-6)


@pytest.mark.claim("LC-12")
def test_a_network_that_does_nothing_meets_a_bound_of_the_size_of_the_tokens() -> None:
    """So distances are reported relative to the update."""
    instance = drawn(7, "plain", weight=2.0**-6)
    true, update = define(instance).midpoint[-1], define(instance).midpoint[-1] - instance.tokens
    assert np.abs(update).max() < 0.1 * np.abs(true).max()
    assert np.abs(true - collapse(instance).midpoint[-1]).max() < 0.05 * np.abs(update).max()


def test_networks_of_which_a_bound_does_not_speak_are_refused() -> None:
    for kind in ("causal", "pre-norm", "MLP"):
        for bound in (kappa, diameters, computed_diameters, columns):
            with pytest.raises(ValueError, match="expected"):
                bound(drawn(kind=kind))
    with pytest.raises(ValueError, match="skip"):
        columns(drawn(kind="no skip"))
