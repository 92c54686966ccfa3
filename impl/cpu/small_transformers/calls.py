"""Calls of a small transformer: what it is handed, and what its answer says of the rows.

Beside the keys of a block there is a *calibrator*, a key of score c and value 0.  Queries, keys and the calibrator have
an extra coordinate: x, 0 and 1, so that c is exactly σ·x of the stored number x.  Values have two extra columns, 1 on
keys and 1 on the calibrator.  c begins at σ⟨q, mean key⟩ + ln(keys), which the log-sum-exp of a row that sees all keys
is never below (Jensen); rows whose columns come out too small to have digits are asked again (MERGE-1).

A mask is handed over as such where the oracle takes one.  Where it does not, coordinates say the same: query r of the
call has a one in coordinate r of as many more, and a key that it must not see has a number there for which the score is
so far below zero that the weight is zero in the oracle's arithmetic.  Other scores gain products with zero, exactly.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.norms import norms
from assay.impl.cpu.small_transformers.arrays import arrays_of
from assay.impl.cpu.small_transformers.parts import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from assay.impl.cpu.small_transformers.arrays import Arrays
    from assay.impl.cpu.small_transformers.model import Oracle, Small
    from assay.impl.cpu.small_transformers.plan import Block

    Bools = NDArray[np.bool_]

__all__ = ["Answer", "CallError", "Settings", "Task", "asked"]

#: Below this a column has lost digits to underflow: of p and p₀ by type of the calls.
_LEAST = {"float16": 2.0**-9}
_USUAL_LEAST = 2.0**-60
#: What a weight is to be below e^(-…) of the largest, to be zero in the arithmetic of calls of a type.
_VANISHES = {"float64": 800.0}
_USUAL_VANISHES = 180.0
_ROUNDS = 24  # of asking again


class CallError(RuntimeError):
    """A call of the oracle went wrong.  The message names the call.

    kept: the results of the calls before it, with which ``simulate(…, resume=error.kept)`` goes on.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.kept: Any = None


@dataclass(frozen=True)
class Settings:
    """How the oracle is asked.  total: the calls of the plan.  merged: results of several calls belong to one row.

    type: the type of the numbers of the calls.  seconds: the most that one hand-over may take.
    """

    small: Small
    scale: float
    type: str
    total: int
    merged: bool = True
    seconds: float | None = None

    @property
    def calibrated(self) -> bool:
        return (self.merged or self.small.fixed) and not self.small.returns_lse

    @property
    def least(self) -> float:
        """What p and p₀ are to be at least, so that underflow has taken nothing from them."""
        return _LEAST.get(self.type, _USUAL_LEAST)


@dataclass(frozen=True, eq=False)
class Task:
    """One call: its number, its group of heads, its block, and the block's arrays.

    query (heads, rows, d), key (heads, keys, d), value (heads, keys, d_v).
    seen (heads or 1, rows, keys): who sees what, or ``None`` where all see all.
    """

    number: int
    group: int
    block: Block
    query: Any
    key: Any
    value: Any
    seen: Bools | None

    def named(self, total: int) -> str:
        """What messages call it, among so many calls."""
        return f"call {self.number + 1} of {total} (group {self.group} of heads, {self.block})"


@dataclass(frozen=True, eq=False)
class Answer:
    """What the calls of a hand-over say, in their order.

    calls: how often the oracle computed, rows asked again too.
    largest: of the scores of calibrators, in absolute value.
    """

    parts: list[Part]
    calls: int
    largest: float = 0.0


@dataclass(frozen=True, eq=False)
class _Slots:
    """Where the rows and the keys of a block lie among the tokens of a call.

    before, after: tokens before and after those of the queries, and of the keys.  backwards: they lie in reverse order.
    first: the first key of the block that is handed over.
    """

    queries: tuple[int, int]
    keys: tuple[int, int]
    backwards: bool = False
    first: int = 0

    def sees(self, rows: int, keys: int, causal: bool) -> Bools:
        """(rows, keys): whether the call lets a row see a key."""
        if not causal:
            return np.ones((rows, keys), np.bool_)
        i, j = np.arange(rows), np.arange(keys - self.first)
        i, j = (i[::-1], j[::-1]) if self.backwards else (i, j)
        inside = self.keys[0] + j[None, :] <= self.queries[0] + i[:, None]
        return np.concatenate([np.zeros((rows, self.first), np.bool_), inside], axis=1)

    def calibrators(self, rows: int, keys: int, causal: bool) -> NDArray[np.int64]:
        """(rows,): how many tokens besides the keys a row sees."""
        before, after = self.keys
        if not causal:
            return np.full(rows, before + after)
        i = np.arange(rows)[::-1] if self.backwards else np.arange(rows)
        tokens = self.queries[0] + i + 1
        behind = before + keys - self.first
        return np.minimum(tokens, before) + np.maximum(tokens - behind, 0)


def asked(oracle: Oracle, settings: Settings, tasks: Sequence[Task]) -> Answer:
    """Hand over calls of one shape together, and again those with rows whose calibrator was far off.

    Raises :class:`CallError` where the oracle raises, returns what it must not, or takes too long.
    """
    form = _Form.of(settings, tasks)
    if not settings.calibrated:
        output, lse = form.ask(oracle, tasks, np.arange(len(tasks)), None)
        return Answer(form.plain_parts(output, lse), len(tasks))
    return _calibrated(oracle, form, tasks)


def _calibrated(oracle: Oracle, form: _Form, tasks: Sequence[Task]) -> Answer:
    """Ask until every row has digits in both columns."""
    arrays, settings = form.arrays, form.settings
    least = settings.least
    step = 6.0 if settings.type == "float16" else 60.0
    score = form.first_scores(tasks)  # (calls, heads, rows), float64, of NumPy
    low, high = np.full(score.shape, -np.inf), np.full(score.shape, np.inf)
    parts: list[Part | None] = [None] * len(tasks)
    left, calls, largest = np.arange(len(tasks)), 0, 0.0
    for turn in range(_ROUNDS):
        stored = form.stored(score[left])
        output, _ = form.ask(oracle, tasks, left, stored)
        calls += len(left)
        largest = max(largest, float(np.abs(settings.scale * stored).max()))
        p, p_0 = (arrays.host(output[..., form.d_v + k]).astype(np.float64) for k in (0, 1))
        some = form.some[left]
        small_key, small_calibrator = some & ~(p >= least), ~(p_0 >= least)
        bad = small_key | small_calibrator
        usable = (p_0 > 0) & (~some | (p > 0))
        last = turn == _ROUNDS - 1
        accepted = ~bad.any(axis=(1, 2)) | (last & usable.all(axis=(1, 2)))
        if last and (bad.any(axis=(1, 2)) & accepted).any():
            largest = math.inf  # rows without all their digits: nothing is proved of them
        for position in np.flatnonzero(accepted):
            parts[left[position]] = form.part(output[position], stored[position], some[position])
        if accepted.all():
            return Answer([part for part in parts if part is not None], calls, largest)
        at = left
        low[at] = np.where(small_calibrator, np.maximum(low[at], score[at]), low[at])
        high[at] = np.where(small_key, np.minimum(high[at], score[at]), high[at])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            moved = score[at] + np.log(p / p_0)
            middle = low[at] / 2 + high[at] / 2
        far = step * 2.0**turn
        searched = np.where(small_calibrator, score[at] + far, score[at] - far)
        searched = np.where(np.isfinite(middle), middle, searched)
        score[at] = np.where(bad, np.where((p > 0) & (p_0 > 0) & np.isfinite(moved), moved, searched), score[at])
        left = left[~accepted]
    raise CallError(
        f"{tasks[left[0]].named(settings.total)}: no calibrator has digits beside all keys of a row; "
        f"the scores differ by more than {settings.type} can hold"
    )


@dataclass(frozen=True, eq=False)
class _Form:
    """How the calls of some tasks of one shape look."""

    settings: Settings
    arrays: Arrays
    slots: _Slots
    rows: int
    keys: int
    d: int
    d_v: int
    is_causal: bool  # the keyword is used
    hidden: Bools | None  # (calls or 1, heads or 1, rows, keys handed over): what the layout does not hide, and must be
    some: Bools  # (calls, heads, rows): whether a row sees any key
    repeated: NDArray[np.int64]  # (rows,): calibrators that a row sees

    @classmethod
    def of(cls, settings: Settings, tasks: Sequence[Task]) -> _Form:
        """The form of some tasks."""
        first, small = tasks[0], settings.small
        heads, rows, d = first.query.shape
        keys, d_v = first.value.shape[1:]
        seen = None
        if first.seen is not None and all(task.seen is first.seen for task in tasks):
            seen = first.seen[None]
        elif any(task.seen is not None for task in tasks):
            whole = np.ones((1, rows, keys), np.bool_)
            each = [whole if task.seen is None else task.seen for task in tasks]
            most = max(len(one) for one in each)
            seen = np.stack([np.broadcast_to(one, (most, rows, keys)) for one in each])
        lower = seen is not None and rows == keys and bool((seen == np.tri(rows, dtype=np.bool_)).all())
        is_causal = lower and "is_causal" in small.keywords and first.block.layout == "plain"
        slots = _slots(settings, rows, keys, first.block.layout, is_causal)
        causal = small.causal or is_causal
        hidden, some = None, np.ones((len(tasks), heads, rows), np.bool_)
        if causal:
            reach = slots.sees(rows, keys, causal)
            some &= reach.any(axis=1)
        if seen is not None:
            inside = seen & reach if causal else seen
            some &= inside.any(axis=3)
            hidden = ~seen & reach if causal else ~seen
            if not settings.calibrated:  # a row that sees nothing is handed one key all the same, and ignored
                hidden[..., 0] &= ~hidden.all(axis=3)
            hidden = hidden[..., slots.first :] if hidden.any() else None
        repeated = slots.calibrators(rows, keys, causal)
        return cls(
            settings, arrays_of(first.query), slots, rows, keys, d, d_v, is_causal, hidden, some, repeated
        )  # fmt: skip

    def first_scores(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """(calls, heads, rows): σ⟨q, mean key⟩ + ln(keys)."""
        arrays, found = self.arrays, []
        work = "float64" if self.settings.type == "float64" else "float32"
        for task in tasks:
            query, key = (arrays.cast(arrays.detached(x), work) for x in (task.query, task.key))
            mean = key.mean(1)
            found.append(arrays.host((query @ mean[:, :, None])[..., 0]).astype(np.float64))
        with np.errstate(over="ignore"):
            score = self.settings.scale * np.stack(found) + math.log(self.keys)
        return np.where(np.isfinite(score), score, 0.0)

    def stored(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """x of every row, as the type of the calls stores it: c is σ·x."""
        scale = self.settings.scale
        x = score / scale if scale else np.zeros_like(score)
        largest = 2.0**15 if self.settings.type == "float16" else 2.0**120
        x = np.clip(x, -largest, largest)
        if self.settings.type == "float64":
            return x
        arrays = arrays_of(x)
        return np.asarray(arrays.cast(arrays.cast(x, self.settings.type), "float64"))

    def part(self, output: Any, stored: NDArray[np.float64], some: Bools) -> Part:
        """The sums that one call's output says (MERGE-1); nothing of rows that see none of its keys."""
        arrays, xp = self.arrays, self.arrays.library
        constant = arrays.moved(self.settings.scale * stored + np.log(self.repeated), output)
        log_factor = constant - xp.log(arrays.cast(output[..., self.d_v + 1], "float64"))
        values, weight = output[..., : self.d_v], arrays.cast(output[..., self.d_v], "float64")
        if not some.all():
            seen = arrays.moved(some.copy(), output)
            values = xp.where(seen[..., None], values, xp.zeros_like(values))
            weight = xp.where(seen, weight, xp.zeros_like(weight))
        return Part(log_factor, values, weight)

    def plain_parts(self, output: Any, lse: Any) -> list[Part]:
        """The sums that outputs with their log-sum-exp say; without it they are final."""
        arrays, xp = self.arrays, self.arrays.library
        output = output[..., : self.d_v]
        one = arrays.moved(self.some.astype(np.float64), output)
        if not self.some.all():
            output = xp.where(one[..., None] > 0, output, xp.zeros_like(output))
        lse = xp.zeros_like(one) if lse is None else arrays.cast(lse, "float64")
        return [Part(*each) for each in zip(lse, output, one, strict=True)]

    def ask(
        self, oracle: Oracle, tasks: Sequence[Task], which: NDArray[np.intp], stored: NDArray[np.float64] | None
    ) -> tuple[Any, Any]:
        """The outputs of the rows (calls, heads, rows, …) of some tasks, and their log-sum-exp where it is used."""
        arrays, settings, slots = self.arrays, self.settings, self.slots
        tasks = [tasks[k] for k in which]
        query, key, value = (
            arrays.stacked([getattr(task, name) for task in tasks]) for name in ("query", "key", "value")
        )
        query, key, value = (arrays.cast(x, settings.type) for x in (query, key, value))
        key, value = key[:, :, slots.first :], value[:, :, slots.first :]
        calls, heads = query.shape[:2]
        tokens = sum(slots.queries) + self.rows, sum(slots.keys) + self.keys - slots.first
        hidden = self.hidden if self.hidden is None or len(self.hidden) == 1 else self.hidden[which]
        keywords: dict[str, Any] = {"scale": settings.scale}
        coordinates = hidden is not None and "mask" not in settings.small.keywords
        query, key = self._columns(query, key, stored, hidden if coordinates else None)
        if stored is not None:
            value = _wider(arrays, value, (1.0, 0.0), max(0, query.shape[3] - self.d_v - 2))
            if query.shape[3] < value.shape[3]:
                more = value.shape[3] - query.shape[3]
                query, key = (_wider(arrays, x, (), more) for x in (query, key))
        calibrator = {} if stored is None else {self.d: 1.0}
        query = self._placed(query, slots.queries, {})
        key = self._placed(key, slots.keys, calibrator)
        value = self._placed(value, slots.keys, {} if stored is None else {self.d_v + 1: 1.0})
        if hidden is not None and not coordinates:
            keywords["mask"] = arrays.moved(self._mask(hidden, tokens), query)
        if self.is_causal:
            keywords["is_causal"] = True
        lse = settings.merged and settings.small.returns_lse
        if lse:
            keywords["return_lse"] = True
        most = settings.small.size
        if max(tokens) > most:
            raise AssertionError(f"{tasks[0].named(settings.total)}: {tokens} tokens, planned for at most {most}")
        answer = _answer(oracle, settings, tasks, (query, key, value), keywords)
        shape = (calls, heads, tokens[0], value.shape[3])
        output, log_sum_exp = _checked(arrays, settings, tasks, answer, shape, lse)
        output = self._taken(output)
        output = self._finite(tasks, output)
        return output, None if log_sum_exp is None else self._taken(log_sum_exp)

    def _columns(
        self, query: Any, key: Any, stored: NDArray[np.float64] | None, hidden: Bools | None
    ) -> tuple[Any, Any]:
        """Queries and keys with the coordinates of the calibrator and of the mask."""
        arrays, settings = self.arrays, self.settings
        queries, keys = [query], [key]
        if stored is not None:
            x = arrays.moved(np.asarray(stored), query)[..., None]
            queries.append(arrays.cast(x, settings.type))
            keys.append(arrays.zeros((*key.shape[:3], 1), settings.type, key))
        if hidden is not None:
            mark, far = self._far(query, key, stored)
            calls, heads = query.shape[:2]
            one = np.broadcast_to(mark * np.eye(self.rows), (calls, heads, self.rows, self.rows))
            queries.append(arrays.cast(arrays.moved(np.array(one), query), settings.type))
            away = np.broadcast_to(far * np.swapaxes(hidden, 2, 3), (calls, heads, key.shape[2], self.rows))
            keys.append(arrays.cast(arrays.moved(np.array(away), key), settings.type))
        return (query, key) if len(queries) == 1 else (arrays.joined(queries, 3), arrays.joined(keys, 3))

    def _far(self, query: Any, key: Any, stored: NDArray[np.float64] | None) -> tuple[float, float]:
        """Powers of two with a product times σ so far below zero that e^(score) vanishes beside the other weights."""
        arrays, settings = self.arrays, self.settings
        reach = math.prod(float(norms(arrays.host(x).astype(np.float64)).max(initial=0.0)) for x in (query, key))
        largest = abs(settings.scale) * max(reach, 0.0 if stored is None else float(np.abs(stored).max()))
        wanted = _VANISHES.get(settings.type, _USUAL_VANISHES) + 4.0 * largest
        if settings.scale == 0.0:
            raise ValueError("scale: 0 with a mask, which the oracle has to take as a keyword then")
        power = math.ceil(math.log2(wanted / abs(settings.scale)))
        if settings.type == "float16" and (power > 28 or wanted > 30000):
            raise ValueError(f"mask: scores up to {largest:.3g} leave float16 no room for one; oracle without a mask")
        half = power // 2
        return 2.0**half, -math.copysign(2.0 ** (power - half), settings.scale)

    def _placed(self, x: Any, around: tuple[int, int], filling: dict[int, float]) -> Any:
        """The rows of ``x`` among the tokens of a call; ``filling``: the columns of other tokens that are not 0."""
        arrays = self.arrays
        if self.slots.backwards:
            x = arrays.library.flip(x, (2,))
        parts = []
        for position, count in enumerate(around):
            if position == 1:
                parts.append(x)
            if count:
                token = np.zeros((*x.shape[:2], count, x.shape[3]))
                for column, number in filling.items():
                    token[..., column] = number
                parts.append(arrays.cast(arrays.moved(token, x), self.settings.type))
        return parts[0] if len(parts) == 1 else arrays.joined(parts, 2)

    def _mask(self, hidden: Bools, tokens: tuple[int, int]) -> Bools:
        """(calls or 1, heads or 1, queries, keys): the mask; what is no key of the block is seen by every row."""
        mask = np.ones((*hidden.shape[:2], *tokens), np.bool_)
        q, k = self.slots.queries[0], self.slots.keys[0]
        inside = hidden[:, :, ::-1, ::-1] if self.slots.backwards else hidden
        mask[:, :, q : q + self.rows, k : k + inside.shape[3]] = ~inside
        return mask

    def _taken(self, x: Any) -> Any:
        """The rows of the block among the tokens of a call."""
        begin = self.slots.queries[0]
        x = x[:, :, begin : begin + self.rows]
        return self.arrays.library.flip(x, (2,)) if self.slots.backwards else x

    def _finite(self, tasks: Sequence[Task], output: Any) -> Any:
        arrays = self.arrays
        xp = arrays.library
        if arrays.finite(output):
            return output
        good = xp.isfinite(output)
        call = int(np.argmin(arrays.host(good).reshape(len(tasks), -1).all(axis=1)))
        raise CallError(f"{tasks[call].named(self.settings.total)}: the oracle returned NaN or an infinity")


def _slots(settings: Settings, rows: int, keys: int, layout: str, is_causal: bool) -> _Slots:
    """Where rows and keys lie; all tokens of the keys that are none of the block's are calibrators."""
    size, calibrated = settings.small.size, settings.calibrated
    most = max(rows, keys)
    if layout == "reversed":
        slots = _Slots((most - rows, 0), (most - keys + 1, 0), backwards=True, first=1)
    elif layout == "forward":
        slots = _Slots((1, most - rows), (1, most - keys))
    elif calibrated:
        slots = _Slots((int(is_causal), 0), (1, 0))
    else:
        slots = _Slots((0, 0), (0, 0))
    if not settings.small.fixed:
        return slots
    queries = (slots.queries[0], size - rows - slots.queries[0])
    return _Slots(queries, (slots.keys[0], size - (keys - slots.first) - slots.keys[0]), slots.backwards, slots.first)


def _wider(arrays: Arrays, x: Any, columns: Sequence[float], zeros: int) -> Any:
    """``x`` with constant columns and so many columns of zeros after its own."""
    constants = np.concatenate([np.asarray(columns, np.float64), np.zeros(zeros)])
    if not len(constants):
        return x
    more = np.broadcast_to(constants, (*x.shape[:3], len(constants)))
    return arrays.joined([x, arrays.cast(arrays.moved(np.array(more), x), arrays.name(x))], 3)


def _answer(oracle: Oracle, settings: Settings, tasks: Sequence[Task], given: Any, keywords: dict[str, Any]) -> Any:
    """What the oracle returns; its exceptions and its slowness become a :class:`CallError`."""
    which = tasks[0].named(settings.total)
    if len(tasks) > 1:
        which += f", or one of the {len(tasks) - 1} calls beside it"
    try:
        if settings.seconds is None:
            return oracle(*given, **keywords)
        pool = ThreadPoolExecutor(1)
        try:
            return pool.submit(oracle, *given, **keywords).result(settings.seconds)
        except Late:
            raise CallError(f"{which}: the oracle took longer than {settings.seconds:g} s") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    except CallError:
        raise
    except Exception as error:
        raise CallError(f"{which}: the oracle raised {type(error).__name__}: {error}") from error


def _checked(
    arrays: Arrays, settings: Settings, tasks: Sequence[Task], answer: Any, shape: tuple[int, ...], lse: bool
) -> tuple[Any, Any]:
    """The output and the log-sum-exp, of the right kind and shape."""
    which = tasks[0].named(settings.total)
    if lse and not (isinstance(answer, (tuple, list)) and len(answer) == 2):
        raise CallError(f"{which}: the oracle returned {type(answer).__name__}, expected (output, log_sum_exp)")
    outputs = list(answer) if lse else [answer]
    wanted = [shape, shape[:3]][: len(outputs)]
    for position, (name, expected) in enumerate(zip(("output", "log_sum_exp"), wanted, strict=False)):
        try:
            same = arrays_of(outputs[position]).numpy == arrays.numpy
            outputs[position] = outputs[position] if same else arrays.moved(np.asarray(outputs[position]), tasks[0].key)
        except (TypeError, ValueError):
            kind = type(outputs[position]).__name__
            raise CallError(f"{which}: {name} is of type {kind}, expected an array") from None
        if tuple(outputs[position].shape) != expected:
            raise CallError(f"{which}: {name} of shape {tuple(outputs[position].shape)}, expected {expected}")
    if not lse:
        return outputs[0], None
    if bool(arrays.library.isnan(outputs[1]).any()):
        raise CallError(f"{which}: the oracle returned NaN as a log-sum-exp")
    return outputs[0], outputs[1]
