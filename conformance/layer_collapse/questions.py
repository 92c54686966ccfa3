"""What a stack does where the problem leaves it a choice: what it takes if nothing is passed, and where it breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.layer_collapse.wrong import network
from assay.conformance.profile.questions import REPEATS, Ask, NoAnswer, Question, nan_in
from assay.spec.floats import dtype_named
from assay.spec.layer_collapse import Instance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["QUESTIONS"]

_OFF = 0.05  # further from the right answer than the rounding of any class of these networks


def _network(ask: Ask, tokens: Any = None, **options: Any) -> Instance:
    """A small network that a kernel with few options can be asked for: what it cannot leave out, and ``options``."""
    rng, able, kind = np.random.default_rng(0), ask.capabilities, dtype_named(ask.precision.storage)
    d = 4
    fields: dict[str, Any] = {"tokens": rng.standard_normal((3, d)) if tokens is None else np.asarray(tokens)}
    fields |= {f"{name}_weights": rng.standard_normal((1, 1, d, d)) / 2 for name in ("query", "key", "value")}
    if "without_output_weights" not in able:
        fields["output_weights"] = rng.standard_normal((1, 1, d, d)) / 2
    if "without_biases" not in able:
        fields |= {f"{name}_bias": np.zeros((1, 1, d)) for name in ("query", "key", "value")}
        fields["output_bias"] = np.zeros((1, d))
    if "without_norm" not in able:
        plain = {"norm": "layer" if "layer_norm" in able else "rms", "epsilon": 1e-5}
        plain |= {"norm_place": "pre" if "pre_norm" in able else "post", "final_norm": "without_final_norm" not in able}
        options = plain | options
    if "without_mlp" not in able or "activation" in options:
        fields |= {"up_weights": rng.standard_normal((1, d, d)), "down_weights": rng.standard_normal((1, d, d)) / 2}
    plain_options = {"skip": "skips" in able, "causal": "full_attention" not in able} | options
    return Instance(**{name: x.astype(kind) for name, x in fields.items()}, **plain_options)


def _tokens(ask: Ask, instance: Instance, **others: Any) -> Array:
    return ask.call(instance, **others)["tokens"]


def _named(value: Array, answers: dict[str, Instance], otherwise: str = "another") -> str:
    """The words of the instance whose tokens are nearest to the value, if they are near at all."""
    off = {words: float(np.abs(value - network(one)).max()) for words, one in answers.items()}
    best = min(off, key=lambda words: off[words])
    return best if off[best] < _OFF else otherwise


def _place(ask: Ask) -> str:
    """Where the norm is if nothing is said."""
    places = {"before a sub-layer": "pre", "after it": "post"}
    tokens = 5.0 + np.random.default_rng(1).standard_normal((3, 4))
    asked = {
        words: _network(ask, tokens, norm="layer", epsilon=1e-3, norm_place=place) for words, place in places.items()
    }
    return _named(_tokens(ask, asked["after it"], without=("norm_place",)), asked)


def _epsilon(ask: Ask) -> str:
    """The epsilon if none is passed, from a token whose mean square is small."""
    kind = "layer" if "layer_norm" in ask.capabilities else "rms"
    small = np.random.default_rng(2).standard_normal((2, 4)) * 2.0**-9
    guesses = (0.0, 1e-12, 1e-8, 1e-6, 1e-5, 1e-3)
    asked = {f"{guess:g}": _network(ask, small, norm=kind, epsilon=guess or 1e-30) for guess in guesses}
    return _named(_tokens(ask, asked["1e-05"], without=("epsilon",)), asked)


def _activation(ask: Ask) -> str:
    names = [name for name in ("relu", "gelu", "gelu_tanh", "silu") if name in ask.capabilities]
    asked = {name: _network(ask, activation=name) for name in names}
    return _named(_tokens(ask, asked[names[-1]], without=("activation",)), asked)


def _no_skip_asked(ask: Ask) -> str:
    asked = {"skip connections": _network(ask, skip=True), "none": _network(ask, skip=False)}
    return _named(_tokens(ask, asked["none"], without=("skip",)), asked)


def _padding(ask: Ask) -> str:
    """What stands in the rows of padding."""
    instance = _network(ask, mask=np.array([True, True, False]))
    row = _tokens(ask, instance)[:, 2]
    if not row.any():
        return "zeros"
    if np.isnan(row).all():
        return "NaN"
    if np.allclose(row, instance.tokens[2].astype(np.float64), rtol=1e-2):
        return "the token as it came"
    return "what it would be as a token" if np.abs(row - network(instance)[:, 2]).max() < _OFF else "other numbers"


def _largest_scores(ask: Ask) -> str:
    """The first power of two of scores at which the answer is wrong or not finite."""
    for power in range(3, 15):
        scale = 2.0**power
        instance = _network(ask, scale=scale) if "any_scale" in ask.capabilities else None
        if instance is None:
            raise NoAnswer("takes one scale")
        got, right = _tokens(ask, instance), network(instance)
        if not np.abs(got - right).max() < _OFF * max(1.0, float(np.abs(right).max())):
            return f"a scale of 2^{power}"
    return "none to a scale of 2^14"


def _furthest_mean(ask: Ask) -> str:
    """The mean, in deviations, at which a layer norm is off by a tenth."""
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((2, 4))
    kind = dtype_named(ask.precision.storage)
    for power in range(2, 24):
        tokens = (noise + 2.0**power).astype(kind)
        if np.ptp(tokens.astype(np.float64), axis=1).min() < 0.5:  # the type itself does not hold the deviations
            return f"none to 2^{power - 1}, which is all that the type holds"
        instance = _network(ask, tokens.astype(np.float64), norm="layer", epsilon=1e-5)
        got, right = _tokens(ask, instance), network(instance)
        update = np.abs(right - tokens.astype(np.float64)).max()
        if not np.abs(got - right).max() < 0.1 * update + 4 * ask.precision.output * np.abs(right).max() + 2.0 ** (
            power - 20
        ):
            return f"a mean of 2^{power} deviations"
    return "none to 2^23"


_HABITS, _EDGES = "what is taken if nothing is passed", "where it breaks"

#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    REPEATS,
    Question("skip", _HABITS, "skip connections", _no_skip_asked, ("no_skip", "skips")),
    Question("place", _HABITS, "the place of the norm", _place, ("pre_norm", "post_norm", "layer_norm")),
    Question("epsilon", _HABITS, "the epsilon of a norm", _epsilon, ("any_epsilon",)),
    Question("activation", _HABITS, "the activation", _activation, ("relu", "gelu")),
    Question("padding", _EDGES, "the rows of padding", _padding, ("mask",)),
    Question("scores", _EDGES, "the first scores that are too large", _largest_scores, ("any_scale",)),
    Question("mean", _EDGES, "the first mean that a layer norm loses", _furthest_mean, ("layer_norm", "pre_norm")),
    nan_in("tokens", "NaN in a token"),
    nan_in("value_weights", "NaN in the value weights"),
)
