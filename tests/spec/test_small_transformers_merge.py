"""Merging parts of attention: instance, definition, laws, and the tolerance against right and adversarial merges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import sympy
from mpmath import mp, mpf

from assay.spec import attention
from assay.spec.attention.tolerance import bounds
from assay.spec.floats import dtype_named
from assay.spec.small_transformers_merge import (
    LAWS,
    PRECISIONS,
    Instance,
    criteria,
    define,
    evaluate,
    load,
    symbolic,
    tolerance,
)
from assay.spec.small_transformers_merge.definition import restored
from assay.spec.small_transformers_merge.rounding import Between
from assay.spec.small_transformers_merge.symbolic import symbolic_log_sum_exp
from assay.spec.softmax.rounding import Softmax

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

CLASSES = [name for name in PRECISIONS if not name.endswith("-stored")]
STORED = [name for name in PRECISIONS if name.endswith("-stored")]


def instance(
    seed: int = 0, parts: int = 4, *, dtype: str = "float32", size: float = 1.0, apart: float = 2.0, **options: Any
) -> Instance:
    rng = np.random.default_rng(seed)
    outputs = (size * rng.standard_normal((parts, 2, 3, 4, 5))).astype(dtype_named(dtype))
    logs = (apart * rng.standard_normal((parts, 2, 3, 4))).astype("float64" if dtype == "float64" else "float32")
    return Instance(outputs, logs, **options)


def with_empty(made: Instance) -> Instance:
    logs = made.log_sum_exps.copy()
    logs[0, :, 1] = -np.inf
    logs[:, 1, 2, 3] = -np.inf
    return made.replace(log_sum_exps=logs)


def with_sink(made: Instance) -> Instance:
    return made.replace(sink=np.array([-1.0, 0.5, 3.0], made.log_sum_exps.dtype))


KINDS: dict[str, Callable[[Instance], Instance]] = {
    "plain": lambda made: made,
    "empty parts": with_empty,
    "sink": with_sink,
    "both": lambda made: with_sink(with_empty(made)),
}


def test_an_instance_is_saved_and_loaded_bit_exactly(tmp_path: Path) -> None:
    made = with_sink(with_empty(instance(dtype="bfloat16", return_lse=True)))
    made.save(tmp_path / "x.npz")
    assert load(tmp_path / "x.npz").digest() == made.digest()
    assert made.describe() == ("parts 4, batch 2, heads 3, queries 4, value dim 5, bfloat16, return lse True, sink 3")


@pytest.mark.claim("MERGE-0")
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_definition_is_that_of_mpmath(kind: Any) -> None:
    made = kind(instance(3, dtype="float64"))
    with mp.workdps(40):
        output, logs = define(made, 1e-25), define(made, 1e-25, "log_sum_exp")
        for b, h, i in np.ndindex(2, 3, 4):
            weights = [mp.exp(mpf(float(x))) for x in made.log_sum_exps[:, b, h, i]]
            total = mp.fsum(weights) + (0 if made.sink is None else mp.exp(mpf(float(made.sink[h]))))
            assert logs[b, h, i].contains(-np.inf if total == 0 else float(mp.log(total)))
            for c in range(5):
                above = mp.fsum(w * mpf(float(x)) for w, x in zip(weights, made.outputs[:, b, h, i, c], strict=True))
                right = mpf(0) if total == 0 else above / total
                assert abs(mpf(output.midpoint[b, h, i, c]) - right) <= mpf(output.radius[b, h, i, c])
                assert output.radius[b, h, i, c] <= 1e-15 * (1 + abs(output.midpoint[b, h, i, c]))


@pytest.mark.claim("MERGE-0")
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_definition_is_that_of_sympy(kind: Any) -> None:
    made = kind(instance(5)).part(batch=[1], queries=[0, 3], value_dim=[1])
    for exact, terms in (
        (define(made), symbolic(made)),
        (define(made, output="log_sum_exp"), symbolic_log_sum_exp(made)),
    ):
        for index in np.ndindex(terms.shape):
            right = -np.inf if terms[index] == -sympy.oo else float(sympy.N(terms[index], 30))
            assert exact[index].contains(right) or abs(exact.midpoint[index] - right) <= 1e-15 * abs(right)


@pytest.mark.claim("MERGE-0")
def test_parts_of_attention_merge_to_attention() -> None:
    rng = np.random.default_rng(2)
    whole = attention.Instance(*(rng.standard_normal((1, 2, 9, 4)) for _ in range(3)))
    keys = [[0, 5], [1, 2, 3, 8], [4], [6, 7]]
    exact = [attention.evaluate(whole.part(keys=part)) for part in keys]
    made = Instance(
        np.stack([each.output.midpoint for each in exact]), np.stack([each.log_sum_exp.midpoint for each in exact])
    )
    assert np.abs(define(made).midpoint - attention.define(whole).midpoint).max() <= 1e-14
    gap = define(made, output="log_sum_exp").midpoint - attention.define(whole, output="log_sum_exp").midpoint
    assert np.abs(gap).max() <= 1e-14


@pytest.mark.claim("MERGE-0")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_definition_keeps_the_laws(law: Any, kind: Any) -> None:
    made = kind(instance(4, return_lse=True))
    made = made.replace(log_sum_exps=np.rint(4 * made.log_sum_exps) / 4)  # so that a shift is exact
    transformed = law.transform(made, np.random.default_rng(1))
    assert transformed
    names = ("output", "log_sum_exp")
    outputs = tuple({name: define(one, output=name).midpoint for name in names} for one in transformed)
    for name, prediction in law.relate(made, transformed, outputs).items():
        value = define(made, output=name).midpoint
        some = value != -np.inf
        assert (prediction.value[~some] == -np.inf).all()
        assert np.abs(prediction.value[some] - value[some]).max() <= 1e-11, name


# --- MERGE-4: correct merges ------------------------------------------------------------------------------------------


def at_once(o: Array, logs: Array, work: Any) -> tuple[Array, Array]:
    """All parts by the weights e^(l_t − m)."""
    most = logs.max(axis=0)
    most = np.where(np.isfinite(most), most, work(0))
    weight = np.exp((logs - most).astype(work))
    total = weight.sum(axis=0, dtype=work)
    some = total > 0
    safe = np.where(some, total, work(1))
    return (weight[..., None] * o).sum(axis=0, dtype=work) / safe[..., None], np.where(
        some, most + np.log(safe), -np.inf
    ).astype(work)


def one_by_one(o: Array, logs: Array, work: Any) -> tuple[Array, Array]:
    """By a stored log-sum-exp: FlashInfer's and FlashAttention's merge of states."""
    out, lse = o[0], logs[0]
    for x, y in zip(o[1:], logs[1:], strict=True):
        new = np.logaddexp(lse, y).astype(work)
        shift = np.where(np.isfinite(new), new, work(0))
        out = np.exp(lse - shift)[..., None] * out + np.exp(y - shift)[..., None] * x
        lse = new
    return np.where(np.isfinite(lse)[..., None], out, work(0)), lse


def corrected(o: Array, logs: Array, work: Any) -> tuple[Array, Array]:
    """out − σ(l_t − lse)(out − o_t), as ring attention writes it."""
    out, lse = np.where(np.isfinite(logs[0])[..., None], o[0], work(0)), logs[0]
    for x, y in zip(o[1:], logs[1:], strict=True):
        with np.errstate(invalid="ignore", over="ignore"):
            sigma = np.where(np.isfinite(y), work(1) / (work(1) + np.exp(lse - y)), work(0)).astype(work)
        out = out - sigma[..., None] * (out - x)
        lse = np.logaddexp(lse, y).astype(work)
    return out, lse


def online(o: Array, logs: Array, work: Any) -> tuple[Array, Array]:
    """Sums in the units of the largest log-sum-exp so far, rescaled with every part."""
    most = np.full(logs.shape[1:], -np.inf, work)
    total, out = np.zeros(logs.shape[1:], work), np.zeros(o.shape[1:], work)
    for x, y in zip(o, logs, strict=True):
        new = np.maximum(most, y)
        shift = np.where(np.isfinite(new), new, work(0))
        old, weight = np.exp(most - shift), np.exp(y - shift)
        total, out = total * old + weight, out * old[..., None] + weight[..., None] * x
        most = new
    some = total > 0
    safe = np.where(some, total, work(1))
    return out / safe[..., None], np.where(some, np.where(some, most, 0) + np.log(safe), -np.inf).astype(work)


def in_base_2(o: Array, logs: Array, work: Any) -> tuple[Array, Array]:
    twice = (logs * work(1.4426950408889634)).astype(work)
    most = np.where(np.isfinite(twice.max(axis=0)), twice.max(axis=0), work(0))
    weight = np.exp2(twice - most)
    total = weight.sum(axis=0, dtype=work)
    safe = np.where(total > 0, total, work(1))
    out = (weight[..., None] * o).sum(axis=0, dtype=work) / safe[..., None]
    return out, np.where(total > 0, (most + np.log2(safe)) * work(0.6931471805599453), -np.inf).astype(work)


def in_a_tree(o: Array, logs: Array, work: Any) -> tuple[Array, Array]:
    if len(o) == 1:
        return np.where(np.isfinite(logs[0])[..., None], o[0], work(0)), logs[0]
    half = len(o) // 2
    left, right = in_a_tree(o[:half], logs[:half], work), in_a_tree(o[half:], logs[half:], work)
    return one_by_one(np.stack([left[0], right[0]]), np.stack([left[1], right[1]]), work)


MERGES = {"at once": at_once, "one by one": one_by_one, "corrected": corrected, "in a tree": in_a_tree,
          "online": online, "base 2": in_base_2}  # fmt: skip


def ratios(made: Instance, name: str, merge: Any) -> tuple[Array, Array]:
    work = np.float64 if name == "float64" else np.float32
    logs, outputs = made.log_sum_exps.astype(work), made.outputs.astype(work)
    if made.sink is not None:
        sink = np.broadcast_to(made.sink.astype(work)[None, None, :, None], (1, *logs.shape[1:]))
        logs, outputs = np.concatenate([logs, sink]), np.concatenate([outputs, np.zeros_like(outputs[:1])])
    with np.errstate(divide="ignore", invalid="ignore"):
        out, lse = merge(outputs, logs, work)
    held = criteria(made.replace(return_lse=True), PRECISIONS[name])
    return held["output"].ratio(out.astype(made.outputs.dtype)), held["log_sum_exp"].ratio(lse)


@pytest.mark.claim("MERGE-4")
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("merge", MERGES.values(), ids=MERGES)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_right_merges_keep_the_tolerance(name: str, merge: Any, kind: Any) -> None:
    for seed, (parts, size, apart) in enumerate(((1, 1.0, 1.0), (2, 1e3, 0.1), (7, 1.0, 9.0), (24, 1.0, 2.0))):
        made = kind(instance(seed, parts, dtype=name, size=size, apart=apart))
        output, logs = ratios(made, name, merge)
        assert output.max() <= 1
        assert logs.max() <= 1


@pytest.mark.claim("MERGE-4")
@pytest.mark.parametrize("name", ["float64", "float32"])
def test_a_correction_needs_its_own_terms(name: str) -> None:
    """out − σ·(out − o_t) leaves a rounding of a large part that weighs nothing, which the model of TOL-0 excludes."""
    made = instance(1, 2, dtype=name, apart=1.0)
    logs, outputs = made.log_sum_exps.copy(), made.outputs.copy()
    logs[0] -= 60
    outputs[0] *= 1000
    far = made.replace(log_sum_exps=logs, outputs=outputs)
    work = np.float64 if name == "float64" else np.float32
    out, _ = corrected(far.outputs, far.log_sum_exps, work)
    error = np.abs(out - define(far).midpoint)
    assert (error / tolerance(far, name)).max() <= 1
    plain = bounds(far.attention(), PRECISIONS[name], "output", evaluate(far))
    assert (error / restored(far, plain)).max() > 1


@pytest.mark.claim("MERGE-4")
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_correction_is_allowed_what_the_claim_says(kind: Any) -> None:
    """Number by number, with a smallest normal number that counts."""
    u = PRECISIONS["float64"].with_("coarse", tiny=2.0**-54)
    soft = u.of(Softmax)
    assert (soft.part, soft.tile) == (1, 1)
    made = kind(instance(5, dtype="float64"))
    exact = evaluate(made)
    plain = restored(made, bounds(made.attention(), u, "output", exact))
    more = tolerance(made, u, exact=exact) - plain
    for b, h, i in np.ndindex(2, 3, 4):
        some = made.log_sum_exps[:, b, h, i] != -np.inf
        parts = made.outputs[some, b, h, i]
        count = len(parts) + (made.sink is not None)
        if made.sink is not None:
            parts = np.concatenate([parts, np.zeros((1, 5))])
        if count < 2:
            assert (more[b, h, i] == 0).all()
            continue
        of_range = (soft.exp + soft.rescale + 8 * u.product) * np.ptp(parts, axis=0)
        right = count * (6 * u.accumulate * np.abs(parts).max(axis=0) + of_range + 4 * u.tiny)
        assert (np.abs(more[b, h, i] - right) <= 1e-4 * right).all()


@pytest.mark.claim("MERGE-4")
@pytest.mark.parametrize("name", CLASSES)
def test_a_merge_whose_roundings_are_all_at_their_bounds_comes_near_the_tolerance(name: str) -> None:
    """One by one, with every exponential too large, every stored log-sum-exp too small, and outputs that are all 1."""
    u, parts = PRECISIONS[name], 24
    made = instance(2, parts, dtype=name, apart=0.0)
    made = made.replace(outputs=np.ones_like(made.outputs), log_sum_exps=np.zeros_like(made.log_sum_exps))
    error = u.of(Softmax).rescale
    out, lse = 1.0, 0.0
    for _ in range(parts - 1):
        true = float(np.logaddexp(lse, 0.0))
        new = true - 8 * u.product * max(1.0, true)
        out = (np.exp(lse - new) * out + np.exp(-new)) * (1 + error)
        lse = new
    out *= 1 + u.output
    ratio = (out - 1.0) / tolerance(made, name).max()
    assert 0.2 <= ratio <= 1


# --- MERGE-4: outputs that are stored between merges ------------------------------------------------------------------


def in_place(o: Array, logs: Array, kind: Any, *, correcting: bool = False, tree: bool = False) -> Array:
    """FlashInfer's ``merge_state_in_place``, part after part or level after level; ``kind``: of what is stored."""
    states = [(np.where(np.isfinite(y)[..., None], x, 0).astype(kind), y) for x, y in zip(o, logs, strict=True)]
    while len(states) > 1:
        (x, s), (y, t) = states[0], states[1]
        most = np.maximum(s, t)
        shift = np.where(np.isfinite(most), most, np.float32(0))
        old, new = np.exp2(s - shift), np.exp2(t - shift)
        total = np.where(old + new > 0, old + new, np.float32(1))
        share = (new / total)[..., None]
        a, b = x.astype(np.float32), y.astype(np.float32)
        merged = a + share * (b - a) if correcting else (old / total)[..., None] * a + share * b
        state = (merged.astype(kind), (np.log2(total) + shift).astype(np.float32))
        states = [*states[2:], state] if tree else [state, *states[2:]]
    return states[0][0]


def stored_ratio(made: Instance, name: str, against: str | None = None, **how: bool) -> float:
    logs, outputs = made.log_sum_exps.astype(np.float32), made.outputs
    if made.sink is not None:
        sink = np.broadcast_to(made.sink[None, None, :, None], (1, *logs.shape[1:]))
        logs, outputs = np.concatenate([logs, sink]), np.concatenate([outputs, np.zeros_like(outputs[:1])])
    with np.errstate(divide="ignore", invalid="ignore"):
        out = in_place(outputs, (logs * np.float32(np.log2(np.e))).astype(np.float32), made.outputs.dtype, **how)
    return float(criteria(made, PRECISIONS[against or name])["output"].ratio(out).max())


@pytest.mark.claim("MERGE-4")
@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("how", [{}, {"correcting": True}, {"tree": True}], ids=["in place", "corrected", "levels"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_right_merges_that_store_their_outputs_keep_the_tolerance_of_their_class(
    name: str, how: dict[str, bool], kind: Any
) -> None:
    dtype = PRECISIONS[name].storage
    sizes = ((1, 1.0, 1.0), (2, 1e3, 0.1), (33, 1.0, 0.1), (24, 1e-6, 2.0), (7, 6e4, 9.0))
    for seed, (parts, size, apart) in enumerate(sizes):
        made = kind(instance(seed, parts, dtype="float64", size=size, apart=apart))
        least = np.clip(made.outputs, -6e4, 6e4)
        made = made.replace(outputs=least.astype(dtype_named(dtype)), log_sum_exps=np.float32(made.log_sum_exps))
        if made.sink is not None:
            made = made.replace(sink=made.sink.astype(np.float32))
        assert stored_ratio(made, name, **how) <= 1


def drifting(name: str, parts: int = 33) -> tuple[Instance, float]:
    """Equal parts of the value 1, and what is stored of them rounded up by as much as it can be every time."""
    u = PRECISIONS[name]
    made = instance(2, parts, dtype=u.storage)
    made = made.replace(outputs=np.ones_like(made.outputs), log_sum_exps=np.zeros_like(made.log_sum_exps))
    out = 1.0
    for step in range(2, parts + 1):
        out = (out * (step - 1) + 1.0) / step * (1 + u.output)
    return made, out - 1.0


@pytest.mark.claim("MERGE-4")
@pytest.mark.parametrize("name", STORED)
def test_stored_outputs_that_all_err_alike_come_near_the_tolerance_and_are_outside_the_plain_class(name: str) -> None:
    made, error = drifting(name)
    assert 0.3 <= error / tolerance(made, name).max() <= 1
    assert error / tolerance(made, name.removesuffix("-stored")).max() > 3


@pytest.mark.claim("MERGE-4")
@pytest.mark.parametrize("name", STORED)
def test_the_last_part_may_weigh_nothing_so_that_every_stored_rounding_counts(name: str) -> None:
    """The first two parts have all the weight: half of what the claim allows would blame the merge."""
    made, _ = drifting(name)
    logs = made.log_sum_exps.copy()
    logs[2:] = -30.0
    far = made.replace(log_sum_exps=logs)
    error = (1 + PRECISIONS[name].output) ** (len(logs) - 1) - 1
    assert 0.8 <= error / tolerance(far, name).max() <= 1


@pytest.mark.claim("MERGE-4")
def test_a_real_merge_that_stores_its_outputs_is_blamed_by_the_plain_class_and_not_by_its_own() -> None:
    """One part of 1 and 32 of 1.3125: a mean that a part moves by less than half a unit stays where it was."""
    made = instance(2, 33, dtype="bfloat16")
    outputs = np.full_like(made.outputs, 1 + 40 * 2.0**-7)
    outputs[0] = 1
    made = made.replace(outputs=outputs, log_sum_exps=np.zeros_like(made.log_sum_exps))
    assert stored_ratio(made, "bfloat16-stored", "bfloat16") > 2
    assert stored_ratio(made, "bfloat16-stored") <= 1


@pytest.mark.claim("MERGE-4")
def test_what_underflow_takes_of_a_stored_output_is_allowed_once_for_every_merge() -> None:
    made, _ = drifting("float16-stored", 9)
    made = made.replace(outputs=np.full_like(made.outputs, 2.0**-24))
    u = PRECISIONS["float16-stored"]
    more = tolerance(made, u) - tolerance(made, u.with_("exact subnormals", Between, output_tiny=0.0))
    right = 9 * 2.0**-25
    assert (more >= right).all()
    assert (more <= 1.1 * right).all()
    assert (tolerance(made, u, "log_sum_exp") == tolerance(made, "float16", "log_sum_exp")).all()


@pytest.mark.claim("MERGE-4")
@pytest.mark.parametrize("name", CLASSES)
def test_wrong_merges_exceed_the_tolerance(name: str) -> None:
    made = instance(6, 3, dtype=name, apart=2.0)
    wrong: dict[str, Callable[[Array, Array, Any], tuple[Array, Array]]] = {
        "base 2": lambda o, logs, work: at_once(o, (logs * work(np.log(2))).astype(work), work),
        "plain mean": lambda o, logs, work: (o.mean(axis=0), np.logaddexp.reduce(logs, axis=0)),
        "last part left out": lambda o, logs, work: at_once(o[:-1], logs[:-1], work),
        "larger part wins": lambda o, logs, work: (
            np.take_along_axis(o, logs.argmax(axis=0)[None, ..., None], axis=0)[0],
            logs.max(axis=0),
        ),
    }
    for merge in wrong.values():
        assert ratios(made, name, merge)[0].max() > 3


@pytest.mark.claim("MERGE-4")
def test_an_empty_part_that_overwrites_is_seen_and_its_numbers_are_not() -> None:
    made = with_empty(instance(8, 2))
    loud = made.outputs.copy()
    loud[0, :, 1] = 1e30
    again = made.replace(outputs=loud)
    assert (define(again).midpoint == define(made).midpoint).all()
    assert (tolerance(again, "float32")[:, 1] <= tolerance(made, "float32")[:, 1] * 1.001).all()
    assert (define(made).midpoint[1, 2, 3] == 0).all()
    assert (define(made, output="log_sum_exp").midpoint[1, 2, 3] == -np.inf).all()


@pytest.mark.claim("MERGE-4")
def test_a_short_log_sum_exp_is_taken_as_it_is_stored() -> None:
    made = instance(9)
    short = made.replace(log_sum_exps=made.log_sum_exps.astype(ml_dtypes.bfloat16))
    assert np.abs(define(short).midpoint - define(made).midpoint).max() > 1e-4
    assert ratios(short, "float32", at_once)[0].max() <= 1
