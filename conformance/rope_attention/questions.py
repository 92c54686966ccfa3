"""What a kernel does where the problem leaves it a choice, and how far it sees differences of positions alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.profile.questions import REPEATS, Ask, NoAnswer, Question, nan_in
from assay.spec.floats import dtype_named
from assay.spec.rope_attention import Instance, define

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["QUESTIONS"]

_NEAR = 0.02  # outputs that are as near are taken for the same: half types round, and the values are 0 and 1


def _instance(ask: Ask, n_q: int, n_k: int, dim: int = 8, **options: Any) -> Instance:
    """Large queries and keys before the identity: the output lists the weights, in the layout that the kernel has."""
    rng, dtype = np.random.default_rng(5), dtype_named(ask.precision.storage)
    q, k = (2 * rng.standard_normal((1, 1, n, dim)) for n in (n_q, n_k))
    layout = "halves" if "halves" in ask.capabilities else "pairs"
    identity = np.eye(n_k, dim if "value_dim" not in ask.capabilities else n_k)[None, None]
    given = {"layout": layout, "scale": 0.5, **options}
    return Instance(q.astype(dtype), k.astype(dtype), identity.astype(dtype), **given)


def _named(value: Array, *answers: tuple[str, Instance], otherwise: str) -> str:
    """The words of the first instance whose output is the value."""

    def is_of(instance: Instance) -> bool:
        return bool(np.abs(value - define(instance, 1e-9).midpoint).max() < _NEAR)

    return next((words for words, instance in answers if is_of(instance)), otherwise)


def _at(instance: Instance, queries: Any, keys: Any) -> Instance:
    return instance.replace(query_positions=np.asarray(queries, np.int64), key_positions=np.asarray(keys, np.int64))


def _moved(by: int) -> Callable[[Ask], str]:
    """How far the output moves when every position is as much larger."""

    def asked(ask: Ask) -> str:
        near = _at(_instance(ask, 4, 6, 64), np.arange(4) + 2, np.arange(6))
        far = _at(near, np.arange(4) + 2 + by, np.arange(6) + by)
        first, second = (ask.call(instance)["output"] for instance in (near, far))
        return f"the output moves by {float(np.abs(first - second).max()):.1e}"

    return asked


def _default_positions(ask: Ask) -> str:
    """Of one query before four keys, where nothing says where it is."""
    instance = _instance(ask, 1, 4)
    value = ask.call(instance, without=("query_positions", "key_positions"))["output"]
    last = _at(instance, [3], np.arange(4))
    return _named(value, ("position 0", instance), ("the position of the last key", last), otherwise="another place")


def _layout(ask: Ask) -> str:
    instance = _at(_instance(ask, 3, 4), [5, 6, 7], np.arange(4))
    value = ask.call(instance, without=("layout",))["output"]
    layouts = ((layout, instance.replace(layout=layout)) for layout in ("halves", "pairs"))
    return _named(value, *layouts, otherwise="another")


def _beyond(ask: Ask) -> str:
    """What happens at the first of the positions 2^k + 1 that goes wrong."""
    for power in range(9, 18):
        end = 1 << power
        keys = end - np.array([60, 41, 23, 9, 4, 1])
        one = _at(_instance(ask, 1, len(keys), scale=0.2), [end + 1], keys)
        rows = {"": end + 1, "not rotated": 0, "the last row of its table": end - 1, "begins again": 1}
        instances = ((words, _at(one, [row], keys)) for words, row in rows.items())
        try:
            if words := _named(ask.call(one)["output"], *instances, otherwise="other angles"):
                return f"at {end + 1:,}: {words}"
        except NoAnswer as reason:
            return f"at {end + 1:,}: {reason}"
    return "right to 2^17 + 1, within 0.02"


def _causal(ask: Ask) -> str:
    """Three queries whose positions are in the reverse order of their numbers."""
    instance = _at(_instance(ask, 3, 3, causal="top-left"), [2, 1, 0], [2, 1, 0])
    seen = np.triu(np.ones((3, 3), bool))
    by_positions = instance.replace(causal=None, mask=seen[None, None])
    answers = (("the numbers of queries and keys", instance), ("positions", by_positions))
    return _named(ask.call(instance)["output"], *answers, otherwise="something else")


def _empty_row(ask: Ask) -> str:
    mask = np.ones((1, 1, 3, 4), bool)
    mask[..., 1, :] = False
    row = ask.call(_instance(ask, 3, 4, mask=mask))["output"][0, 0, 1]
    if np.isnan(row).all():
        return "NaN"
    mean = np.allclose(row[:4], 0.25, atol=0.01)
    return "zeros" if not row.any() else "the mean of the values" if mean else "other numbers"


def _magnitude(ask: Ask) -> str:
    options: dict[str, Any] = {"scaling": "yarn", "factor": 64.0, "original_length": 2048}
    instance = _instance(ask, 3, 4, 16, **options)
    answers = (("applied", instance), ("left to the caller", instance.replace(attention_factor=1.0)))
    return _named(ask.call(instance)["output"], *answers, otherwise="another")


_POSITIONS, _HABITS = "positions", "conventions"

#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    REPEATS,
    *(
        Question(f"moved-{by}", _POSITIONS, f"every position larger by {by:,}", _moved(by), ("positions",))
        for by in (1000, 100_000, 10_000_000)
    ),
    Question(
        "default",
        _POSITIONS,
        "the position of a query if none is given",
        _default_positions,
        ("rotary", "cross_lengths"),
    ),
    Question("beyond", _POSITIONS, "positions beyond a table", _beyond, ("positions", "any_positions")),
    Question("layout", _HABITS, "the layout if none is given", _layout, ("positions",)),
    Question(
        "causal", _HABITS, "what a causal mask compares", _causal, ("positions", "any_positions", "causal_top_left")
    ),
    Question("empty-row", _HABITS, "a query that attends to no key", _empty_row, ("rotary", "mask")),
    Question("magnitude", _HABITS, "the magnitude of yarn", _magnitude, ("yarn",)),
    nan_in("query", "NaN in a query"),
    nan_in("key", "NaN in a key"),
    nan_in("value", "NaN in a value"),
)
