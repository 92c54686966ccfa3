"""Shrinking: towards a smaller instance that still fails in the same way, and only that."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from assay.conformance.attention import instances
from assay.conformance.call.outcome import Outcome
from assay.conformance.judge.shrink import shrunk
from assay.spec.attention import Instance


def instance() -> Instance:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, h, n, w)).astype(np.float32) for h, n, w in ((4, 9, 8), (2, 17, 8), (2, 17, 3)))
    return Instance(q, k, v, is_causal=True, softcap=3.0, key_lengths=np.array([17, 9]), sink=np.zeros(4, np.float32))


def failed(kind: str = "error") -> Outcome:
    return Outcome("failed", 2.0, kind)


def test_what_always_fails_shrinks_to_one_of_everything() -> None:
    small, _ = shrunk(instance(), failed(), lambda _: failed(), 5.0)
    assert small.query.shape == small.key.shape == small.value.shape == (1, 1, 1, 1)
    assert (small.causal, small.softcap, small.key_lengths, small.sink) == (None, None, None, None)
    assert not small.query.any()


def test_what_must_stay_stays() -> None:
    def attempt(candidate: Instance) -> Outcome:
        needed = candidate.softcap is not None and candidate.key.shape[2] >= 5
        return failed() if needed else Outcome("passed")

    small, _ = shrunk(instance(), failed(), attempt, 5.0)
    assert small.softcap == 3.0
    assert small.key.shape == (1, 1, 5, 1)


def test_another_kind_of_failure_is_not_followed() -> None:
    small, outcome = shrunk(instance(), failed("error"), lambda _: failed("raised"), 5.0)
    assert outcome.kind == "error"
    assert small.size() == instance().size()


def test_shrinking_stops_in_time() -> None:
    same, _ = shrunk(instance(), failed(), lambda _: failed(), 0.0)
    assert same.size() == instance().size()


@given(instances())
def test_everything_called_smaller_is_a_valid_instance_and_something_of_it_is_smaller(big: Instance) -> None:
    candidates = list(big.smaller())
    assert all(isinstance(candidate, Instance) for candidate in candidates)
    if big.query.size + big.key.size > 2:
        assert min(candidate.size() for candidate in candidates) < big.size()


@pytest.mark.parametrize(
    ("options", "words"),
    [({}, "scale"), ({"window": (2, None)}, "window (2, ∞)"), ({"causal": "bottom-right"}, "causal bottom-right")],
)
def test_a_description_says_shape_and_options_in_one_line(options: dict[str, object], words: str) -> None:
    plain = instance().part(batch=[0], heads=[0]).replace(softcap=None, sink=None, key_lengths=None, is_causal=False)
    text = plain.replace(**options).describe()
    assert text.startswith("batch 1, heads 1, queries 9, dim 8, key heads 1, keys 17, value dim 3, float32")
    assert "\n" not in text
    assert (words in text) is bool(options)
