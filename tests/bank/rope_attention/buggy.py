"""Wrong kernels: each re-creates the behaviour of a defect that shipped (the source names the issue) or a planted one."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from bank.attention.engine import Steps as Attention
from bank.entry import Entry
from bank.rope import engine as rope
from bank.rope_attention.engine import Array, Steps, Task, general, kernel, passed, weighed_by

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BUGGY"]

BFLOAT16, FLOAT16 = ml_dtypes.bfloat16, np.float16
QUERY, KEY = 0, 1


# --- rotations --------------------------------------------------------------------------------------------------------


def _rotary(**steps: Any) -> Steps:
    """Queries and keys rotated with other steps of the bank of ``rope``."""
    return Steps(rotary=rope.Steps(**steps))


def _task(**changes: Any) -> Steps:
    """Another task than the one that was asked: fields by name, each a value or a function of the task."""

    def task(t: Task) -> Task:
        return replace(t, **{name: value(t) if callable(value) else value for name, value in changes.items()})

    return Steps(task=task)


def _under(scaling: str, steps: Steps) -> Callable[..., Any]:
    """A kernel that is wrong under one scaling alone."""
    return kernel(Steps(), lambda t, right: passed(t, steps if t.scaling == scaling else right))


def _one(t: Task) -> bool:
    return t.shape[2] == 1


def _with_one_query(steps: Steps, made: Callable[..., Any] = kernel) -> Callable[..., Any]:
    """A kernel whose path for a single query is wrong."""
    return made(Steps(), lambda t, right: passed(t, steps if _one(t) else right))


def _moved(move: Callable[[Task, Array], Array], *roles: int) -> Steps:
    """Other positions of the queries, of the keys, or of both: move(task, positions)."""

    def positions(t: Task) -> tuple[Array, ...]:
        return tuple(move(t, p) if role in (roles or (QUERY, KEY)) else p for role, p in enumerate(t.positions))

    return _task(positions=positions)


def _counted(t: Task, p: Array) -> Array:
    return np.broadcast_to(np.arange(p.shape[1]), p.shape)


def _side(role: int, change: Callable[[Task, Steps, Array], Array]) -> Steps:
    """The rotated queries, or keys, changed afterwards."""

    def turned(t: Task, s: Steps, which: int) -> Array:
        right = Steps.turned(t, s, which)
        return change(t, s, right) if which == role else right

    return Steps(turned=turned)


def _plain(role: int) -> Steps:
    return _side(role, lambda t, s, right: t.wide((t.query, t.key)[role]))


def _again(t: Task, s: Steps, right: Array) -> Array:
    """Keys that come out of a cache rotated, and are rotated once more."""
    return Steps.turned(replace(t, key=right.astype(t.kind)), s, KEY)


def _back(t: Task, s: Steps, right: Array) -> Array:
    return Steps.turned(replace(t, positions=(t.positions[0], -t.positions[1])), s, KEY)


def _mixed_table(of: str) -> Steps:
    """A table of angles laid out for one layout, and the rotation of the other."""

    def turn(t: rope.Task, a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
        if t.layout == of:
            return a * c - b * s, b * c + a * s
        j, h = np.arange(t.r // 2), t.r // 2
        one, two = ((2 * j) % h, (2 * j + 1) % h) if of == "halves" else (j // 2, (j + h) // 2)
        return a * c[..., one] - b * s[..., one], b * c[..., two] + a * s[..., two]

    return _rotary(turn=turn)


def _first_pairs(count: Callable[[rope.Task], int]) -> Steps:
    """Pairs from number ``count`` on stay as they are."""
    return _rotary(
        angles=lambda t, theta: np.where(np.arange(t.r // 2) < count(t), rope.Steps.angles(t, theta), t.work(0))
    )


def _own_length(t: Task, s: Steps, role: int) -> Array:
    """Frequencies of dynamic by the positions of one array alone."""
    one = t.rotation(role)
    return rope.rotated(replace(one, x=t.wide(one.x)), s.rotary).astype(t.work)


def _last_token(t: Task, s: Steps, right: Array) -> Array:
    """An odd number of tokens: the last one is not rotated."""
    n = right.shape[2]
    return right if n % 2 == 0 or n == 1 else np.concatenate([right[:, :, :-1], t.wide(t.key)[:, :, -1:]], axis=2)


def _short(stage: str, dtype: Any) -> Steps:
    """The positions, the frequencies, the angles, or the cosines and sines in a short type."""

    def cut(x: Array, t: rope.Task) -> Array:
        return np.asarray(x.astype(dtype).astype(t.work))

    return {
        "tables": _rotary(tables=rope.stored_tables(lambda t: dtype)),
        "frequencies": _rotary(theta=lambda t, theta: cut(theta, t)),
        "positions": _rotary(angles=lambda t, theta: cut(t.places, t) * theta),
        "angles": _rotary(angles=lambda t, theta: cut(rope.Steps.angles(t, theta), t)),
    }[stage]


def _by_heads(t: rope.Task, theta: Array) -> Array:
    return np.asarray(np.arange(t.x.shape[1])[None, :, None, None].astype(t.work) * theta + 0 * t.places)


def _hard(t: rope.Task, theta: Array) -> Array:
    return np.asarray((t.original * theta / (2 * np.pi) > t.low).astype(t.work))


def _kept_under(key: Callable[[rope.Task], Any]) -> Callable[..., Any]:
    """Angles kept between calls under a key that does not tell everything apart."""
    tables: dict[Any, Array] = {}

    def angles(t: rope.Task, theta: Array) -> Array:
        made = rope.Steps.angles(t, theta)
        kept = tables.setdefault((t.work, key(t)), made)
        return kept if kept.shape == made.shape else made

    return kernel(_rotary(angles=angles))


def _kept_rotated() -> Callable[..., Any]:
    """Rotated keys kept under the keys themselves, without their positions."""
    kept: dict[Any, Array] = {}

    def turned(t: Task, s: Steps, role: int) -> Array:
        made = Steps.turned(t, s, role)
        return made if role == QUERY else kept.setdefault((t.key.shape, t.key.tobytes(), t.kind), made)

    return kernel(Steps(turned=turned))


def _rows_at_the_cursor(t: Task, p: Array) -> Array:
    """Every row of a batch at the place of the longest one."""
    return np.broadcast_to(p.max(axis=0), p.shape)


def _padded(t: Task, p: Array) -> Array:
    """Keys counted in the padded batch."""
    if t.key_lengths is None:
        return p
    return p - (p.shape[1] - np.asarray(t.key_lengths).astype(np.int64))[:, None]


def _fragments(t: Task, p: Array) -> Array:
    """The second half of the keys at the positions of a fragment of its own."""
    half = p.shape[1] // 2
    return np.concatenate([p[:, :half], p[:, half:] - p[:, half : half + 1]], axis=1) if half else p


def _rotated_values(t: Task) -> Task:
    """The values turned like the keys, where they are as wide."""
    if t.value.shape != t.key.shape:
        return t
    turned = Steps.turned(replace(t, key=t.value), Steps(), KEY)
    return replace(t, value=turned.astype(t.kind))


def _scale_of_rotary(t: Task) -> float:
    d = t.query.shape[3]
    return t.scale * np.sqrt(d / (t.r or d))


def _seen_by_positions(t: Task) -> Task:
    """A causal mask that compares positions where queries and keys were to be counted."""
    if t.causal is None:
        return t
    queries, keys = t.positions
    seen = keys[:, None, None, :] <= queries[:, None, :, None]
    free = replace(t, causal=None, bias=None).visible() & seen
    return replace(t, causal=None, window=None, key_lengths=None, mask=free)


def _shared_workspace() -> Callable[..., Any]:
    space: dict[Any, Array] = {}

    def turned(t: Task, s: Steps, role: int) -> Array:
        made = Steps.turned(t, s, role)
        out = space.setdefault((role, made.shape), np.empty_like(made))
        for b in range(len(made)):
            time.sleep(0.0005)  # a compiled kernel lets other threads run
            out[b] = made[b]
        return out

    return kernel(Steps(turned=turned))


# --- masks, heads, scores ---------------------------------------------------------------------------------------------


def _causal(by: int) -> Callable[[Task], Task]:
    def change(t: Task) -> Task:
        if t.causal is None or t.window is not None:
            return t
        i = np.arange(t.shape[2])[None, None, :, None]
        if t.causal == "bottom-right":
            lengths = np.full(t.shape[0], t.shape[3]) if t.key_lengths is None else np.asarray(t.key_lengths)
            i = i + (lengths.astype(np.int64) - t.shape[2])[:, None, None, None]
        seen = replace(t, causal=None, bias=None).visible() & (np.arange(t.shape[3]) <= i + by)
        return replace(t, causal=None, key_lengths=None, mask=seen)

    return change


def _window(left: int) -> Callable[[Task], Any]:
    def changed(t: Task) -> Any:
        if t.window is None or t.window[0] is None:
            return t.window
        return max(t.window[0] + left, 0), t.window[1]

    return changed


# --- relative biases --------------------------------------------------------------------------------------------------


def _bias(change: Callable[[Task], Array]) -> Steps:
    """Another relative bias, where there is one: (1 or heads, n_q + n_k − 1)."""
    return _task(relative_bias=lambda t: None if t.relative_bias is None else change(t))


def _rolled(x: Array, by: int) -> Array:
    """Column t + by, the last one repeated."""
    columns = np.clip(np.arange(x.shape[1]) + by, 0, x.shape[1] - 1)
    return x[:, columns]


def _of_the_diagonal(t: Task) -> Array:
    """The bias of one query with itself for every key, as a bias of the length of the query broadcasts."""
    assert t.relative_bias is not None
    return np.repeat(t.relative_bias[:, t.shape[3] - 1 : t.shape[3]], t.relative_bias.shape[1], axis=1)


def _aligned_at_the_end(t: Task) -> Array:
    """Read as if the last query were beside the last key."""
    assert t.relative_bias is not None
    return _rolled(t.relative_bias, t.shape[3] - t.shape[2])


def _kept_bias() -> Callable[..., Any]:
    """A bias that is kept from the first call of its shape."""
    kept: dict[Any, Any] = {}

    def bias(t: Task) -> Array | None:
        made = Steps.bias(t)
        return made if t.relative_bias is None else kept.setdefault((t.shape[1:], t.kind), made)

    return kernel(Steps(bias=bias))


# --- W ----------------------------------------------------------------------------------------------------------------


def _relative(change: Callable[[Task], Array], made: Callable[..., Any] = general) -> Callable[..., Any]:
    """Another W."""
    return made(_task(relative=change))


def _offsets(change: Callable[[Task, Array], Array]) -> Callable[..., Any]:
    """Other columns of W: change(task, columns) of the pairs of a query and a key."""
    return general(Steps(weighed=lambda t, q, k: weighed_by(t, q, k, change(t, t.offsets()))))


def _circular(t: Task, columns: Array) -> Array:
    """Offsets that begin again, as in a transform of the length of the text without padding."""
    n, first = max(t.shape[2:]), t.shape[3] - 1
    wrapped = (columns - first) % n + first
    return np.where(wrapped < t.shape[2] + t.shape[3] - 1, wrapped, columns)


def _keep_diagonal(t: Task) -> Array:
    assert t.relative is not None
    assert t.support is not None
    kept = np.array([a == b for a, b in t.support])
    return np.where(kept[:, None], t.relative, t.relative.dtype.type(0))


def _first_rows(t: Task) -> Array:
    """The first half of the support alone: the first section."""
    assert t.relative is not None
    out = t.relative.copy()
    out[(len(out) + 1) // 2 :] = 0
    return out


def _kept_spectrum() -> Callable[..., Any]:
    """W that is kept from the first call of its shape, as a cached transform is."""
    kept: dict[Any, Array] = {}

    def relative(t: Task) -> Array:
        assert t.relative is not None
        return kept.setdefault((t.relative.shape, t.kind, t.support), t.relative.copy())

    return _relative(relative)


def _scaled_support(t: Task) -> float:
    assert t.support is not None
    return float(t.scale * np.sqrt(t.query.shape[3] / len(t.support)))


F32 = ("float32",)
OLD, NEW = "assay's bank", "planted"
_TABLE_ROWS: tuple[tuple[str, Any, str, str | None, tuple[str, ...], str], ...] = (
    # --- pairs
    ("layout-exchanged", _task(layout=lambda t: {"halves": "pairs", "pairs": "halves"}[t.layout]), "the other pairing", "halves rotated where pairs", F32, "NeuraLegion/shainet#111"),
    ("layout-ignored", _task(layout="halves"), "pairs are never rotated", "halves rotated where pairs", F32, "tenstorrent/tt-metal#26844"),
    ("table-halves", _mixed_table("halves"), "a table of halves, the rotation of pairs", "a table of angles laid out for halves", F32, "huggingface/transformers#47328"),
    ("table-pairs", _mixed_table("pairs"), "a table of pairs, the rotation of halves", "a table of angles laid out for pairs", F32, "raiyanyahya/how-to-train-your-gpt#6, #7"),
    ("idle-threads", _first_pairs(lambda t: t.r // 2 // 8 * 8 or t.r // 2), "pairs beyond a multiple of 8 left out: half of a thread block idle", "multiple of 8", F32, "ggml-org/llama.cpp#2760, #3024"),
    ("last-pair", _first_pairs(lambda t: t.r // 2 - 1), "the last pair left out", "last pair", F32, NEW),
    # --- positions
    ("kept-by-length", _kept_under(lambda t: (t.x.shape[2], t.role, t.base, t.r, t.scaling, t.layout)), "a cache of angles keyed by the length, not the offset", None, F32, "lucidrains/rotary-embedding-torch#11"),
    ("kept-without-base", _kept_under(lambda t: (t.positions.tobytes(), t.positions.shape, t.r, t.scaling, t.s, t.original)), "a cache of angles keyed without the base", None, F32, NEW),
    ("kept-rotated", _kept_rotated(), "rotated keys used again at other positions", None, F32, "MemTensor/MemOS#2315"),
    ("positions-ignored", _moved(_counted), "rows 0 … n − 1 of the table for queries and keys", "positions ignored", F32, "pytorch/executorch#2010"),
    ("query-from-0", _moved(_counted, QUERY), "a later query at row 0 of the table", "positions of the queries ignored", F32, "pytorch/executorch#2010"),
    ("offset-twice", _moved(lambda t, p: p + p[:, :1], QUERY), "the offset of the queries advanced by the prompt twice", "the offset of the queries added twice", F32, "OpenNMT/CTranslate2#1572; skyzh/tiny-llm#46"),
    ("query-plus-one", _moved(lambda t, p: p + 1, QUERY), "queries one position too far", "queries one position too far from the keys", F32, "skyzh/tiny-llm#46"),
    ("query-minus-one", _moved(lambda t, p: p - 1, QUERY), "queries one position too near", "queries one position too near to the keys", F32, NEW),
    ("query-cursor", _moved(_rows_at_the_cursor, QUERY), "rows of unlike length: every query at the padded cursor", "queries of every batch at the largest position", F32, "scouzi1966/maclocal-api#92; Comfy-Org/ComfyUI#15698"),
    ("query-retained", _moved(lambda t, p: p - p[:, :1] + t.shape[3] - t.shape[2], QUERY), "queries counted from the number of keys that a cache retains", "queries counted from the number of keys", F32, "rajveer43/VeloxQuant-MLX#389"),
    ("key-fragments", _moved(_fragments, KEY), "cached fragments joined without being turned to where they land", "the second half of the keys begins again", F32, "MemTensor/MemOS#2315"),
    ("key-padded", _moved(_padded, KEY), "keys counted in the padded batch, not in their own text", "keys counted in the padded batch", F32, "Comfy-Org/ComfyUI#15698"),
    ("positions-batch", _with_one_query(_moved(lambda t, p: p[:1])), "the path of one query without its batch: the positions of batch 0", "positions of the first batch", F32, "scouzi1966/maclocal-api#92"),
    ("positions-first-batch", _moved(lambda t, p: p[:1]), "the positions of batch 0 for all batches", "positions of the first batch", F32, "Comfy-Org/ComfyUI#15698"),
    ("positions-of-parts", _moved(lambda t, p: p % 4), "texts split over ranks: positions begin again with every part", "beyond a table of 4: begun again", F32, "NVIDIA/Megatron-LM#5243"),
    ("odd-length", _side(KEY, _last_token), "an odd length leaves its last key as it is", "an odd number of keys", F32, "NVIDIA/TransformerEngine#1930"),
    ("positions-start", _moved(lambda t, p: p[:, :1] + np.arange(p.shape[1])), "consecutive positions assumed", "the first one and those after it", F32, NEW),
    ("positions-sorted", _moved(lambda t, p: np.sort(p, axis=1)), "positions sorted", "positions sorted", F32, NEW),
    ("positions-absolute", _moved(lambda t, p: np.abs(p)), "signs of positions lost", "the sign of positions lost", F32, NEW),
    ("beyond-unrotated", _moved(lambda t, p: np.where(p >= 2048, 0, p)), "positions beyond the table stay as they are", "beyond a table of 2048: not rotated", F32, "microsoft/onnxruntime#28205"),
    ("table-one-short", _moved(lambda t, p: np.minimum(p, 2047)), "a table one row too short: position 2048 gets the row before", "beyond a table of 2048: rotated by its last row", F32, "microsoft/onnxruntime#28205"),
    ("beyond-wrapped", _moved(lambda t, p: p % 8192), "positions begin again after the table", "beyond a table of 8192: begun again", F32, NEW),
    ("by-heads", _rotary(angles=_by_heads), "positions along the axis of heads", "along the axis of heads", F32, "mlfoundations/open_lm#4"),
    ("key-plain", _plain(KEY), "rotated keys written to the cache alone", "the keys are not rotated", F32, "kvcache-ai/sglang#66"),
    ("query-plain", _plain(QUERY), "queries not rotated", "the queries are not rotated", F32, NEW),
    ("key-twice", _side(KEY, _again), "cached keys rotated once more", "the keys are rotated twice", F32, "MemTensor/MemOS#2304"),
    ("key-sign", _side(KEY, _back), "keys turned back", "the keys are rotated with the wrong sign", F32, NEW),
    ("sign", _rotary(turn=lambda t, a, b, c, s: (a * c + b * s, b * c - a * s)), "rotation by −θ of both sides, not declared: scores see the opposite offset", "the rotation has the wrong sign", F32, "karpathy/nanochat#489"),
    ("exchanged", _rotary(turn=lambda t, a, b, c, s: (a * s - b * c, b * s + a * c)), "cosine and sine exchanged: a rotation by π/2 − φ", "the rotation has the wrong sign", F32, NEW),
    ("values-rotated", Steps(task=_rotated_values), "the values rotated as well", "the values are rotated as well", F32, NEW),
    # --- frequencies
    ("inverted", _rotary(power=lambda t, b, e: t.work(b) ** e), "frequencies inverted", "frequencies inverted", F32, "xlite-dev/LeetCUDA#289"),
    ("integer-exponent", _rotary(exponent=lambda t: np.zeros(t.r // 2, t.work)), "the exponent divided in integers", "divided in integers", F32, "xlite-dev/LeetCUDA#290"),
    ("exponent-shifted", _rotary(exponent=lambda t: rope.Steps.exponent(t) + t.work(2 / t.r)), "the exponent shifted by one", "exponent shifted by one", F32, "stanford-cs336/assignment1-basics#22"),
    ("exponent-half", _rotary(exponent=lambda t: rope.Steps.exponent(t) / 2), "d for d/2 in the exponent", "l/r instead of 2l/r", F32, "labmlai/annotated_deep_learning_paper_implementations#313"),
    ("base-ignored", _task(base=10000.0), "the base never passed", "10000 used whatever is given", F32, "google/gemma.cpp#986; young-geng/EasyLM#117"),
    ("partial-ignored", _task(r=lambda t: t.query.shape[3] // 2 * 2), "every column rotated", "every column rotated", F32, "ml-explore/mlx-lm#1698; vllm-project/vllm#16912; jagmarques/nexusquant#12"),
    ("partial-exponent", _rotary(exponent=lambda t: np.arange(0, t.r, 2).astype(t.work) / t.work(t.x.shape[3])), "the exponent over the whole dim", "exponent over the whole dim", F32, "huggingface/transformers#48652, #48682; NVIDIA/FasterTransformer#182"),
    ("scale-of-rotary", _task(scale=_scale_of_rotary), "the scale of the rotary part, 1/√r", "the scale of the rotary columns", F32, NEW),
    # --- scalings
    ("scaling-ignored", _task(scaling=None, given=None), "one kind of layer without its factor", "the scaling ignored", F32, "antonellof/ferrox#39; vllm-project/vllm#29111"),
    ("linear-twice", _under("linear", _rotary(theta=lambda t, theta: theta / t.work(t.s))), "the factor applied twice", "factor applied twice", F32, "lablup/mlxcel#1340"),
    ("dynamic-always", _under("dynamic", _task(scaling="ntk")), "the base scaled at all lengths", "the base scaled at all lengths", F32, "vllm-project/vllm#5093, #41301"),
    ("dynamic-keys", _under("dynamic", Steps(turned=_own_length)), "dynamic by the positions of each array by itself", "dynamic: queries and keys by lengths of their own", F32, NEW),
    ("llama3-ignored", _under("llama3", _task(scaling=None)), "bands parsed, never scaled", "the scaling ignored", F32, "lablup/mlxcel#1355; jmaczan/tiny-vllm#1; sbryngelson/ANEForge#58"),
    ("llama3-exchanged", _under("llama3", _rotary(kept=lambda t, theta: 1 - rope.Steps.kept(t, theta))), "the scaling on the wrong bands", "bands exchanged", F32, "unslothai/unsloth#6197; ggml-org/llama.cpp#8676"),
    ("llama3-hard", _under("llama3", _rotary(kept=_hard)), "no blend between the bands", "no blend between its bands", F32, "ggml-org/llama.cpp#8676"),
    ("yarn-inverted", _under("yarn", _rotary(kept=lambda t, theta: 1 - rope.Steps.kept(t, theta))), "the ramp inverted", "yarn with its ramp inverted", F32, NEW),
    ("magnitude-formula", _under("yarn", _task(given=None)), "the given magnitude ignored", "magnitude that is given ignored", F32, "vllm-project/vllm#46280, #48351; ml-explore/mlx-lm#1507"),
    ("magnitude-twice", _rotary(magnitude=lambda t: rope.Steps.magnitude(t) ** 2), "the magnitude applied twice", "the magnitude", F32, "sgl-project/sglang#33558; NVIDIA/TensorRT-LLM#16379"),
    ("magnitude-once", _under("yarn", _rotary(magnitude=lambda t: 1.0 if t.role else rope.Steps.magnitude(t))), "the magnitude on queries alone", "magnitude on one side alone", F32, NEW),
    # --- what goes with the rotation
    ("causal-by-positions", Steps(task=_seen_by_positions), "a causal mask that compares positions", "causal mask by positions", F32, NEW),
    ("causal-plus-one", Steps(task=_causal(1)), "a causal mask off by one", "one key too many", F32, OLD),
    ("window-plus-one", _task(window=_window(1)), "a window one key too wide on the left", "one key too wide on the left", F32, "huggingface/transformers#39408"),
    ("top-left", _task(causal=lambda t: t.causal and "top-left"), "the causal mask at the top left", "aligned top-left", F32, "microsoft/onnxruntime#28904"),
    ("heads-modulo", Steps(attention=Attention(key_place=lambda t, b, h: (b, h % t.key.shape[1]), value_place=lambda t, b, h: (b, h % t.key.shape[1]))), "key head h mod h_k", "mod h_k", F32, "LMCache#3092"),
    ("lengths-ignored", _task(key_lengths=None), "padding takes part", "key lengths ignored", F32, OLD),
    ("one-query-no-window", _with_one_query(_task(window=None)), "a window that the path of one query does not have", "window ignored", F32, NEW),
    ("shared-workspace", _shared_workspace(), "a workspace that threads share", None, F32, OLD),
    # --- relative biases
    ("bias-one-query", _with_one_query(_task(relative_bias=None)), "a relative bias that cached decoding drops", "relative bias ignored", F32, "NVIDIA/TensorRT-LLM#13870"),
    ("bias-ignored", _task(relative_bias=None), "the relative bias ignored", "relative bias ignored", F32, NEW),
    ("bias-diagonal", _with_one_query(_bias(_of_the_diagonal)), "a bias over the query's length, broadcast over the keys: 0 at every decode step", "relative bias ignored", F32, "keras-team/keras-hub#2862"),
    ("bias-backwards", _bias(lambda t: t.relative_bias[:, ::-1]), "the bias of j − i", "relative bias read from the last offset to the first", F32, "huggingface/transformers#8518"),
    ("bias-plus-one", _bias(lambda t: _rolled(t.relative_bias, 1)), "the bias off by one", "relative bias off by one", F32, NEW),
    ("bias-aligned", _bias(_aligned_at_the_end), "the bias aligned at the last query and key", "relative bias aligned bottom-right", F32, "lucidrains/x-transformers#153"),
    ("bias-first-head", _bias(lambda t: t.relative_bias[:1]), "the bias of head 0 for every head", "relative bias of the first head", F32, NEW),
    ("bias-scaled", _bias(lambda t: t.relative_bias * t.relative_bias.dtype.type(t.scale)), "the bias multiplied by the scale", "relative bias multiplied by the scale", F32, NEW),
    ("bias-kept", _kept_bias(), "a bias kept from the first call of its shape", None, F32, "ml-explore/mlx#3071"),
    # --- W
    ("w-backwards", _relative(lambda t: t.relative[:, ::-1]), "W of j − i", "W read from the last offset to the first", F32, NEW),
    ("w-plus-one", _relative(lambda t: _rolled(t.relative, 1)), "W off by one", "W off by one: of i − j + 1", F32, NEW),
    ("w-from-queries", _offsets(lambda t, c: np.clip(c + t.shape[2] - t.shape[3], 0, t.shape[2] + t.shape[3] - 2)), "W counted from the number of queries, not of keys", "W counted from n_q − 1", F32, NEW),
    ("w-absolute", _offsets(lambda t, c: np.minimum(np.abs(c - t.shape[3] + 1) + t.shape[3] - 1, t.shape[2] + t.shape[3] - 2)), "W of |i − j|", "W of the size of the offset", F32, NEW),
    ("w-circular", _offsets(_circular), "offsets that begin again: a transform without padding", "offsets begin again", F32, NEW),
    ("w-transposed", general(_task(support=lambda t: tuple((b, a) for a, b in t.support))), "rows and columns of W exchanged", "rows and columns of W exchanged", F32, NEW),
    ("w-diagonal", _relative(_keep_diagonal), "only the diagonal of W", "only the diagonal of W", F32, NEW),
    ("w-first-section", _relative(_first_rows), "only the first section of the support", "only the first half of the support", F32, "ggml-org/llama.cpp#10361"),
    ("w-last-place", _relative(lambda t: np.concatenate([t.relative[:-1], 0 * t.relative[-1:]])), "the last place of the support left out", "the last place of the support", F32, NEW),
    ("w-one-query", _with_one_query(_task(relative=lambda t: np.repeat(t.relative[:, t.shape[3] - 1 : t.shape[3]], t.relative.shape[1], axis=1)), general), "one query with W of offset 0 for every key", "W of offset 0 for every key", F32, NEW),
    ("w-kept", _kept_spectrum(), "W kept from the first call of its shape", None, F32, NEW),
    ("w-scale", general(_task(scale=_scaled_support)), "a scale of the size of the support", "the scale of the support", F32, NEW),
    ("w-causal-plus-one", general(Steps(task=_causal(1))), "a causal mask off by one in the general form", "one key too many", F32, NEW),
    ("w-float16", _relative(lambda t: t.relative.astype(FLOAT16).astype(t.relative.dtype)), "W in float16", None, F32, NEW),
    # --- arithmetic
    ("frequencies-bfloat16", _short("frequencies", BFLOAT16), "frequencies in bfloat16", None, ("bfloat16",), "Modalities/modalities#462"),
    ("positions-bfloat16", _short("positions", BFLOAT16), "positions in bfloat16", None, ("bfloat16",), "KellerJordan/modded-nanogpt#39"),
    ("angles-bfloat16", _short("angles", BFLOAT16), "angles in bfloat16", None, ("bfloat16",), "huggingface/transformers#25681"),
    ("angles-float16", _short("angles", FLOAT16), "angles in float16", None, ("float16",), "EleutherAI/gpt-neox#1003; huggingface/transformers#29285, #29496"),
    ("frequencies-float16", _short("frequencies", FLOAT16), "frequencies in float16", None, F32, "okoge-kaz/llm-recipes#6"),
    ("tables-float16", _short("tables", FLOAT16), "cosines and sines in float16", None, F32, NEW),
    ("float32-angles", Steps(), "float32 angles where exact ones are claimed", None, ("float32-exact-angles",), NEW),
)  # fmt: skip

BUGGY: tuple[Entry, ...] = tuple(
    Entry(name, kernel(bug) if isinstance(bug, Steps) else bug, precisions, why, source, diagnosis=words)
    for name, bug, why, words, precisions, source in _TABLE_ROWS
)
