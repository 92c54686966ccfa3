"""ATT-1 and ATT-2, executed on the definition: certified enclosures on both sides of every law."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.spec.attention import LAWS, OUTPUTS, Instance, define

if TYPE_CHECKING:
    from assay.spec.enclosure import Enclosure


def instances() -> dict[str, Instance]:
    rng = np.random.default_rng(11)

    def normal(*shape: int) -> np.ndarray[Any, Any]:
        return rng.standard_normal(shape).astype(np.float32)

    def plain(**options: Any) -> Instance:
        return Instance(normal(2, 4, 5, 6), normal(2, 2, 7, 6), normal(2, 2, 7, 3), **options)

    whole = rng.integers(-3, 4, (1, 2, 5, 4)).astype(np.float32)
    return {
        "plain": plain(),
        "integers": Instance(whole, whole, whole, scale=0.3),
        "causal": plain(is_causal=True),
        "bottom-right": plain(causal="bottom-right", key_lengths=np.array([7, 4])),
        "window": plain(window=(2, 1)),
        "mask": plain(mask=rng.integers(0, 2, (2, 1, 5, 7)).astype(bool)),
        "bias": plain(bias=normal(1, 4, 5, 7)),
        "softcap and sink": plain(softcap=2.0, sink=normal(4)),
    }


INSTANCES = instances()


def outputs_of(instance: Instance) -> dict[str, Enclosure]:
    return {name: define(instance, 1e-12, name) for name in OUTPUTS}


@pytest.mark.claim("ATT-1")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_the_definition_satisfies_every_law(law: Any) -> None:
    applied = 0
    for instance in INSTANCES.values():
        transformed = law.transform(instance, np.random.default_rng(5))
        if not transformed:
            continue
        applied += 1
        mine, theirs = outputs_of(instance), [outputs_of(other) for other in transformed]
        values = tuple({name: enclosure.midpoint for name, enclosure in outputs.items()} for outputs in theirs)
        predicted = law.relate(instance, transformed, values)
        assert "output" in predicted
        for name, prediction in predicted.items():
            certain = np.isfinite(mine[name].midpoint)  # elsewhere −∞ itself, of a row without keys
            assert (prediction.value == mine[name].midpoint)[~certain].all()
            room = mine[name].radius + 1e-15 * np.abs(prediction.value)
            for weight, outputs in zip(prediction.weights, theirs, strict=True):
                radius = outputs[name].radius
                full = outputs[name].radius + 2.0**-52 * np.abs(np.nan_to_num(outputs[name].midpoint, neginf=0.0))
                room = room + np.abs(weight) * (full if radius.shape == weight.shape else full.max())
            gap = np.abs(prediction.value[certain] - mine[name].midpoint[certain])
            assert (gap <= room[certain]).all(), name
    assert applied >= 1


@pytest.mark.claim("ATT-1")
def test_laws_speak_of_the_outputs_that_are_given_and_of_no_other() -> None:
    instance = INSTANCES["integers"]
    for law in LAWS:
        transformed = law.transform(instance, np.random.default_rng(5))
        outputs = tuple({"output": define(other).midpoint} for other in transformed)
        if transformed:
            assert set(law.relate(instance, transformed, outputs)) == {"output"}


@pytest.mark.claim("ATT-1")
def test_every_law_would_notice_a_definition_without_normalisation() -> None:
    """The laws are not vacuous: scores shifted by a constant change an unnormalised sum."""
    law = next(law for law in LAWS if law.id == "shift-scores")
    instance = INSTANCES["plain"]
    (shifted,) = law.transform(instance, np.random.default_rng(5))

    def unnormalised(i: Instance) -> np.ndarray[Any, Any]:
        q, k, v = (a.astype(float) for a in (i.query, i.key, i.value))
        s = (i.scale or 0.0) * q @ np.repeat(k, i.group, 1).swapaxes(2, 3) + (
            0.0 if i.bias is None else i.bias.astype(float)
        )
        return np.exp(s) @ np.repeat(v, i.group, 1)

    prediction = law.relate(instance, (shifted,), ({"output": unnormalised(shifted)},))["output"]
    assert np.abs(prediction.value - unnormalised(instance)).max() > 0.1


@pytest.mark.claim("ATT-1")
def test_the_output_lies_in_the_hull_of_the_values() -> None:
    for name in ("plain", "causal", "window", "bias"):
        instance = INSTANCES[name]
        output = define(instance)
        value = np.repeat(instance.value.astype(float), instance.group, axis=1)
        assert (output.midpoint - output.radius <= value.max(axis=2, keepdims=True)).all()
        assert (output.midpoint + output.radius >= value.min(axis=2, keepdims=True)).all()


@pytest.mark.claim("ATT-1")
def test_constant_values_give_a_constant_output() -> None:
    instance = INSTANCES["causal"]
    constant = instance.replace(value=np.full_like(instance.value, 0.1))
    assert define(constant).contains(np.full((*constant.query.shape[:3], 3), 0.1, np.float32)).all()


@pytest.mark.claim("ATT-1")
def test_one_key_gives_its_value() -> None:
    instance = INSTANCES["plain"]
    one = instance.replace(key=instance.key[:, :, :1], value=instance.value[:, :, :1])
    expected = np.broadcast_to(np.repeat(one.value, one.group, axis=1), (2, 4, 5, 3))
    assert define(one).contains(expected).all()


@pytest.mark.claim("ATT-1")
def test_parts_merge_by_their_log_sum_exps() -> None:
    instance = INSTANCES["softcap and sink"].replace(sink=None)
    whole, whole_lse = define(instance), define(instance, output="log_sum_exp")
    parts = [
        instance.replace(key=instance.key[:, :, a:b], value=instance.value[:, :, a:b])
        for a, b in ((0, 1), (1, 4), (4, 7))
    ]
    outputs = np.stack([define(part).midpoint for part in parts])
    logs = np.stack([define(part, output="log_sum_exp").midpoint for part in parts])
    lse = np.logaddexp.reduce(logs, axis=0)
    merged = (np.exp(logs - lse)[..., None] * outputs).sum(axis=0)
    assert np.abs(lse - whole_lse.midpoint).max() <= 1e-11
    assert np.abs(merged - whole.midpoint).max() <= 1e-11


@pytest.mark.claim("ATT-2")
@given(st.integers(0, 2**31), st.floats(1e-6, 5.0), st.integers(1, 20))
def test_score_errors_move_the_output_by_at_most_tanh_of_half(seed: int, delta: float, n: int) -> None:
    rng = np.random.default_rng(seed)
    scores, values = rng.normal(0, 2, n), rng.normal(0, 1, n)
    errors = delta * rng.choice([-1.0, 1.0], n)
    if rng.integers(2):  # the adversary: towards the larger values
        errors = delta * np.sign(values - np.median(values) + 1e-300)
    p = np.exp(scores - scores.max())
    w = p * np.exp(errors)
    moved = abs(w @ values / w.sum() - p @ values / p.sum())
    assert moved <= math.tanh(delta / 2) * np.ptp(values) * (1 + 1e-12) + 1e-14


@pytest.mark.claim("ATT-2")
@pytest.mark.parametrize("delta", [1e-9, 0.01, 1.0, 6.0])
def test_the_perturbation_bound_is_attained_by_two_groups(delta: float) -> None:
    values = np.array([1.0, 0.0])
    p = np.exp([-delta / 2, delta / 2])  # the group of value 1 has log-odds −δ, and +δ after the worst errors
    w = p * np.exp([delta, -delta])
    assert abs(w @ values / w.sum() - p @ values / p.sum()) == pytest.approx(math.tanh(delta / 2), rel=1e-6)


@pytest.mark.claim("ATT-2")
@pytest.mark.parametrize("epsilon", [1e-6, 0.1, 0.9, 0.999])
def test_the_relative_form_is_the_same_bound(epsilon: float) -> None:
    delta = math.atanh(epsilon)
    assert math.tanh(delta / 2) == pytest.approx(epsilon / (1 + math.sqrt(1 - epsilon**2)), rel=1e-12)
    p = np.array([math.sqrt(1 - epsilon), math.sqrt(1 + epsilon)])
    w = p * np.array([1 + epsilon, 1 - epsilon])
    moved = abs(w[0] / w.sum() - p[0] / p.sum())
    assert moved == pytest.approx(epsilon / (1 + math.sqrt(1 - epsilon**2)), rel=1e-9)
