"""What a kernel does where attention leaves it a choice: questions, each with a probe that finds the answer.

The values are the identity wherever possible: with equal scores, a row of the output then lists the keys to which the
query attends.  An instance refuses NaN, so arrays with NaN are put into the call afterwards.  Nothing here judges.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.profile.questions import Ask, NoAnswer, Question
from assay.spec.attention import Instance
from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["QUESTIONS"]

_KEYS = 1024  # keys of the probe of the order of summation, which shows blocks of at most half as many


def _normal(ask: Ask, shape: tuple[int, int, int, int, int], seed: int = 0, **options: Any) -> Instance:
    """An instance of normal numbers.  shape: (b, h, n_q, n_k, d)."""
    b, h, n_q, n_k, d = shape
    rng = np.random.default_rng(seed)
    dtype = dtype_named(ask.precision.storage)
    q, k, v = (rng.standard_normal((b, h, n, d)).astype(dtype) for n in (n_q, n_k, n_k))
    return Instance(q, k, v, **options)


def _listing(ask: Ask, n_q: int, n_k: int, **options: Any) -> Instance:
    """An instance with equal scores and the identity as values: its output lists the keys of each query."""
    dtype = dtype_named(ask.precision.storage)
    q, k = np.zeros((1, 1, n_q, n_k), dtype), np.zeros((1, 1, n_k, n_k), dtype)
    return Instance(q, k, np.eye(n_k).astype(dtype)[None, None], scale=1.0, **options)


def _output(ask: Ask, instance: Instance, **arrays: NDArray[Any]) -> Array:
    return ask.call(instance, **arrays)["output"]


def _bits(first: Array, second: Array) -> bool:
    return bool(np.array_equal(first, second, equal_nan=True))


# --- determinism ------------------------------------------------------------------------------------------------------


def _repeats(ask: Ask) -> str:
    instance = _normal(ask, (2, 2, 33, 65, 16))
    first = _output(ask, instance)
    different = sum(not _bits(first, _output(ask, instance)) for _ in range(4))
    return f"{different} of 4 calls differ in bits" if different else "the same bits in 5 calls"


def _batch_position(ask: Ask) -> str:
    one, other = _normal(ask, (1, 2, 17, 65, 16)), _normal(ask, (1, 2, 17, 65, 16), 1)
    three, alone = _output(ask, _joined((one, other, one), axis=0)), _output(ask, one)
    return _positions(_bits(three[0], three[2]), _bits(three[0], alone[0]), "batch")


def _head_position(ask: Ask) -> str:
    one, other = _normal(ask, (1, 1, 17, 65, 16)), _normal(ask, (1, 2, 17, 65, 16), 1)
    four, alone = _output(ask, _joined((one, other, one), axis=1)), _output(ask, one)
    return _positions(_bits(four[0, 0], four[0, 3]), _bits(four[0, 0], alone[0, 0]), "head")


def _joined(instances: Sequence[Instance], axis: int) -> Instance:
    """Instances side by side along batches (axis 0) or heads (axis 1)."""
    query, key, value = (
        np.concatenate([getattr(part, name) for part in instances], axis=axis) for name in ("query", "key", "value")
    )
    return Instance(query, key, value)


def _positions(same_inside: bool, same_alone: bool, what: str) -> str:
    if not same_inside:
        return f"bits depend on the {what}'s position"
    return "the same bits at every position, and alone" if same_alone else "the same bits at every position, not alone"


def _rows_alone(ask: Ask) -> str:
    instance = _normal(ask, (1, 1, 17, 65, 16))
    rows = _output(ask, instance)[0, 0]
    alone = [_output(ask, instance.part(queries=[i]))[0, 0, 0] for i in (0, 7, 16)]
    same = all(_bits(rows[i], row) for i, row in zip((0, 7, 16), alone, strict=True))
    return "the same bits among others and alone" if same else "other bits among others than alone"


# --- NaN and infinity -------------------------------------------------------------------------------------------------


def _spoilt(array: NDArray[Any], at: tuple[int, ...], number: float) -> NDArray[Any]:
    spoilt = array.copy()
    spoilt[at] = number
    return spoilt


def _rows(output: Array) -> NDArray[np.bool_]:
    """Whether each row holds NaN or infinity: (n_q,)."""
    return np.asarray(~np.isfinite(output[0, 0]).all(axis=-1))


def _nan_query(ask: Ask) -> str:
    instance = _normal(ask, (1, 1, 5, 9, 8))
    output = _output(ask, instance, query=_spoilt(instance.query, (0, 0, 2, 3), np.nan))
    bad = _rows(output)
    if not bad.any():
        return f"swallowed: its row becomes {_called(output[0, 0, 2], instance)}"
    own = bad.tolist() == [False, False, True, False, False]
    return "NaN in its own row alone" if own else f"not finite in {_spread(bad)}"


def _nan_seen(name: str, number: float = np.nan) -> Callable[[Ask], str]:
    def asked(ask: Ask) -> str:
        instance = _normal(ask, (1, 1, 5, 9, 8))
        bad = _rows(_output(ask, instance, **{name: _spoilt(getattr(instance, name), (0, 0, 4, 3), number)}))
        return f"not finite in {_spread(bad)}" if bad.any() else "swallowed: every row is finite"

    return asked


def _spread(bad: NDArray[np.bool_]) -> str:
    return "every row" if bad.all() else f"{bad.sum()} of {bad.size} rows"


def _infinite_score(ask: Ask) -> str:
    instance = _listing(ask, 1, 4)
    key = _spoilt(instance.key, (0, 0, 1, 0), np.inf)
    query = np.ones_like(instance.query)
    row = _output(ask, instance, query=query, key=key)[0, 0, 0]
    if np.isnan(row).all():
        return "NaN"
    return "all the weight on its key" if row.tolist() == [0, 1, 0, 0] else f"weights {_numbers(row)}"


def _hidden(how: str, name: str, number: float) -> Callable[[Ask], str]:
    """What a bad number in the last key or value does, to which no query attends."""

    def asked(ask: Ask) -> str:
        hiding: dict[str, dict[str, Any]] = {
            "mask": {"mask": np.broadcast_to(np.arange(9) < 8, (1, 1, 5, 9)).copy()},
            "lengths": {"key_lengths": np.array([8], np.int32)},
            "causal": {"is_causal": True},
        }
        n_q = 9 if how == "causal" else 5
        instance = _normal(ask, (1, 1, n_q, 9, 8), **hiding[how])
        right = _output(ask, instance)
        spoilt = _output(ask, instance, **{name: _spoilt(getattr(instance, name), (0, 0, 8, 3), number)})
        unseeing = slice(0, 8) if how == "causal" else slice(None)
        if np.array_equal(right[:, :, unseeing], spoilt[:, :, unseeing]):
            return "no effect"
        bad = _rows(spoilt[:, :, unseeing])
        return f"leaks: {_spread(bad)} not finite" if bad.any() else "changes the output"

    return asked


# --- empty rows -------------------------------------------------------------------------------------------------------


def _empty(how: str) -> Callable[[Ask], str]:
    """What the output of a query is that attends to no key."""

    def asked(ask: Ask) -> str:
        instance, row = _with_empty_row(ask, how)
        return _called(_output(ask, instance)[0, 0, row], instance)

    return asked


def _with_empty_row(ask: Ask, how: str, **more: Any) -> tuple[Instance, int]:
    if how == "causal":
        return _normal(ask, (1, 1, 7, 4, 8), causal="bottom-right", **more), 0
    dtype = dtype_named(ask.precision.storage)
    seen = np.ones((1, 1, 4, 6), dtype=bool)
    seen[..., 1, :] = False
    options: dict[str, Any] = {
        "mask": {"mask": seen},
        "bias": {"bias": np.where(seen, 0.0, -np.inf).astype(dtype if dtype.itemsize > 1 else np.float32)},
        "lengths": {"key_lengths": np.array([0], np.int32)},
    }[how]
    return _normal(ask, (1, 1, 4, 6, 8), **options, **more), 1


def _called(row: Array, instance: Instance) -> str:
    """A row of an output in words."""
    mean = instance.value[0, 0].astype(float).mean(axis=0)
    if (row == 0).all():
        return "0"
    if np.isnan(row).all():
        return "NaN"
    if np.allclose(row, mean, rtol=0.02, atol=0.02):
        return "the mean of the values"
    return "NaN in places" if np.isnan(row).any() else f"other numbers ({_numbers(row[:3])}, …)"


def _numbers(row: Array) -> str:
    return ", ".join(f"{x:.3g}" for x in row)


def _empty_lse(ask: Ask) -> str:
    how = "mask" if "mask" in ask.capabilities else "lengths" if "key_lengths" in ask.capabilities else "causal"
    instance, row = _with_empty_row(ask, how, return_lse=True)
    number = float(ask.call(instance)["log_sum_exp"][0, 0, row])
    return {-math.inf: "−∞", math.inf: "+∞"}.get(number, f"{number:.4g}")


# --- masks ------------------------------------------------------------------------------------------------------------


def _seen(ask: Ask, instance: Instance) -> NDArray[np.bool_]:
    """Whether a key contributes to a query: (n_q, n_k)."""
    output = np.nan_to_num(_output(ask, instance)[0, 0], nan=0.0)
    return np.asarray(output > 1e-3)


def _alignment(n_q: int, n_k: int, asked_for: str, length: int | None = None) -> Callable[[Ask], str]:
    def asked(ask: Ask) -> str:
        options: dict[str, Any] = {} if length is None else {"key_lengths": np.array([length], np.int32)}
        seen = _seen(ask, _listing(ask, n_q, n_k, causal=asked_for, **options))
        patterns = {
            name: _listing(ask, n_q, n_k, causal=name, **options).attends(0)[0] for name in ("top-left", "bottom-right")
        }
        if length is not None:
            visible = np.arange(n_k) < length
            whole = _listing(ask, n_q, n_k, causal="bottom-right").attends(0)[0] & visible
            patterns["bottom-right of the array, not of the lengths"] = whole
        patterns["no causal mask"] = np.ones((n_q, n_k), bool) & (np.arange(n_k) < (length or n_k))
        for name, pattern in patterns.items():
            live = pattern.any(axis=1)  # what an empty row gives is the subject of another question
            if (seen[live] == pattern[live]).all():
                return name
        return "an alignment of its own"

    return asked


def _window(ask: Ask) -> str:
    seen = _seen(ask, _listing(ask, 9, 9, window=(2, 1)))[4]
    left, right = int(seen[:4].sum()), int(seen[5:].sum())
    own = "its own" if seen[4] else "not its own"
    words = f"{left} to the left, {own}, {right} to the right"
    return "both bounds inclusive" if (left, right) == (2, 1) and seen[4] else words


def _default_scale(ask: Ask) -> str:
    instance = _normal(ask, (1, 1, 4, 6, 16))
    try:
        output = ask.call(instance, without=("scale",))["output"]
    except NoAnswer as reason:
        return "it must be given" if "scale" in str(reason) else str(reason)
    for name, scale in {"1/√dim": 0.25, "1": 1.0, "1/dim": 1 / 16, "0": 0.0}.items():
        if np.allclose(output, _output(ask, instance.replace(scale=scale)), rtol=1e-3, atol=1e-3):
            return name
    return "another"


# --- order of summation -----------------------------------------------------------------------------------------------


def _order(ask: Ask) -> str:
    """The order in which keys are summed, by the masks of Fprev (arXiv 2411.00442).

    The value is M at key i, −M at key j, and 1 elsewhere.  Ones that are added to M before −M is added are lost, so the
    output counts the keys outside the smallest partial sum that holds both i and j.
    """
    if ask.precision.storage not in ("float64", "float32", "bfloat16"):
        return f"no hint: {ask.precision.storage} has not the range for the probe"
    columns = np.array(sorted({*range(1, 70), *(16 * k + r for k in range(4, 64) for r in (-1, 0, 1)), _KEYS - 1}))
    columns = columns[columns < _KEYS]
    forward = _group_sizes(ask, 0, columns)
    if not np.array_equal(forward, _group_sizes(ask, 0, columns)):
        return "no hint: other sums from call to call"
    backward = _group_sizes(ask, _KEYS - 1, _KEYS - 1 - columns)
    if (forward <= 2).all() and (backward <= 2).all():
        return "no hint: nothing is lost, sums are too wide for the probe"
    if np.array_equal(forward, 2 ** np.ceil(np.log2(columns + 1))):
        return "in a balanced tree"
    for sizes, words in ((forward, "from the first key"), (backward, "from the last key")):
        if (block := _block(sizes, columns)) == 1:
            return f"key after key, {words}"
        if block:
            return f"in blocks of {block}, block after block, {words}"
    return "no simple blocks seen"


def _group_sizes(ask: Ask, i: int, others: NDArray[np.int64]) -> Array:
    """The number of keys in the smallest partial sum that holds key i and another key, for each of ``others``."""
    storage = ask.precision.storage
    large, one = (2.0**40, 2.0**-40) if storage == "float64" else (2.0**20, 2.0**-20)
    values = np.full((_KEYS, len(others)), one)
    values[i] = large
    values[others, np.arange(len(others))] = -large
    dtype = dtype_named(storage)
    zero = np.zeros((1, 1, 1, len(others)), dtype)
    key = np.zeros((1, 1, _KEYS, len(others)), dtype)
    output = _output(ask, Instance(zero, key, values.astype(dtype)[None, None], scale=1.0))[0, 0, 0]
    return np.asarray(_KEYS - np.rint(output * _KEYS / one))


def _block(sizes: Array, columns: NDArray[np.int64]) -> int:
    """The block length that explains every size, where later keys join in whole blocks; 0 if there is none."""
    for block in range(1, _KEYS // 2 + 1):
        beyond = columns >= block
        whole = np.minimum((columns // block + 1) * block, _KEYS)
        if np.array_equal(sizes[beyond], whole[beyond]) and (sizes[~beyond] <= block).all():
            return block
    return 0


# --- the table --------------------------------------------------------------------------------------------------------

_DETERMINISM, _NUMBERS, _EMPTY, _MASKS, _SUMS = (
    "determinism",
    "NaN and infinity",
    "rows that see no key",
    "masks and scale",
    "sums over keys",
)

#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    Question("repeats", _DETERMINISM, "the same call again", _repeats),
    Question("batch-position", _DETERMINISM, "the same content at another batch position", _batch_position),
    Question("head-position", _DETERMINISM, "the same content at another head position", _head_position),
    Question("rows-alone", _DETERMINISM, "a query among others, and alone", _rows_alone, ("cross_lengths",)),
    Question("nan-query", _NUMBERS, "NaN in a query", _nan_query, ("cross_lengths",)),
    Question("nan-key", _NUMBERS, "NaN in a key", _nan_seen("key"), ("cross_lengths",)),
    Question("nan-value", _NUMBERS, "NaN in a value", _nan_seen("value"), ("cross_lengths",)),
    Question("infinite-score", _NUMBERS, "a score of +∞", _infinite_score, ("cross_lengths",)),
    Question("masked-nan-key", _NUMBERS, "NaN in a key behind the mask", _hidden("mask", "key", np.nan), ("mask",)),
    Question("masked-nan-value", _NUMBERS, "NaN in a value behind the mask", _hidden("mask", "value", np.nan), ("mask",)),
    Question("masked-inf-value", _NUMBERS, "∞ in a value behind the mask", _hidden("mask", "value", np.inf), ("mask",)),
    Question("beyond-nan-value", _NUMBERS, "NaN in a value beyond the key length", _hidden("lengths", "value", np.nan), ("key_lengths",)),
    Question("causal-nan-value", _NUMBERS, "NaN in a value of the causal future", _hidden("causal", "value", np.nan), ("causal_top_left",)),
    Question("empty-mask", _EMPTY, "by a mask", _empty("mask"), ("mask",)),
    Question("empty-bias", _EMPTY, "by a bias of −∞", _empty("bias"), ("bias",)),
    Question("empty-lengths", _EMPTY, "by a key length of 0", _empty("lengths"), ("key_lengths",)),
    Question("empty-causal", _EMPTY, "by a bottom-right causal mask, n_q > n_k", _empty("causal"), ("causal_bottom_right",)),
    Question("empty-lse", _EMPTY, "their log-sum-exp", _empty_lse, ("return_lse",)),
    Question("causal-wide", _MASKS, "causal, 3 queries, 5 keys", _alignment(3, 5, "top-left"), ("causal_top_left",)),
    Question("causal-tall", _MASKS, "causal, 5 queries, 3 keys", _alignment(5, 3, "top-left"), ("causal_top_left",)),
    Question("bottom-right", _MASKS, "causal bottom-right, 3 queries, 5 keys", _alignment(3, 5, "bottom-right"), ("causal_bottom_right",)),
    Question("causal-lengths", _MASKS, "causal, 3 queries, 4 of 6 keys", _alignment(3, 6, "top-left", 4), ("causal_top_left", "key_lengths")),
    Question("bottom-right-lengths", _MASKS, "causal bottom-right, 3 queries, 4 of 6 keys", _alignment(3, 6, "bottom-right", 4), ("causal_bottom_right", "key_lengths")),
    Question("window", _MASKS, "window=(2, 1)", _window, ("window",)),
    Question("default-scale", _MASKS, "the scale if none is given", _default_scale, ("cross_lengths",)),
    Question("order", _SUMS, "1024 equal scores are summed", _order, ("cross_lengths",)),
)  # fmt: skip
