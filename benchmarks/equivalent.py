"""Mutants that are no bugs: by reason, each with its function, line and changes.

``benchmarks/mutants.py`` ends with an error if a mutant named here is no longer made, or is killed.
"""

# ruff: noqa: E501 - a table of lines of source
from __future__ import annotations

__all__ = ["EQUIVALENT"]

#: reason → (function, line, which of the equal lines of the function, changes)
_BY_REASON: dict[str, tuple[tuple[str, str, int, tuple[str, ...]], ...]] = {
    "speed alone: a copy more or less of the same numbers": (
        (
            "tiled",
            "query, key, value = query.astype(work, copy=False), key.astype(work, copy=False), value.astype(work, copy=False)",
            1,
            (
                "query.astype(work, copy=False) → query.astype(work)",
                "False → True",
                "key.astype(work, copy=False) → key.astype(work)",
                "False → True (2)",
                "value.astype(work, copy=False) → value.astype(work)",
                "False → True (3)",
            ),
        ),
        (
            "tiled",
            "no_bias if bias is None else np.broadcast_to(bias.astype(work, copy=False), full),",
            1,
            (
                "bias.astype(work, copy=False) → bias.astype(work)",
                "False → True",
            ),
        ),
        (
            "exact",
            "output = output.astype(query.dtype, copy=False)",
            1,
            (
                "output.astype(query.dtype, copy=False) → output.astype(query.dtype)",
                "False → True",
            ),
        ),
    ),
    "speed alone: a tile of which every query sees every key is looked through all the same": (
        (
            "_tiles",
            "nearest, farthest = early + offset - at, late - 1 + offset - at  # positions of queries, from the first key",
            1,
            ("late - 1 + offset - at → late - 1 + offset + at", "late - 1 → late + 1", "1 → 0"),
        ),
        (
            "_tiles",
            "whole = count == wide and farthest <= left and nearest + right + 1 >= count  # each query sees each key",
            1,
            (
                "farthest <= left → farthest < left",
                "nearest + right + 1 >= count → nearest + right + 1 > count",
                "nearest + right + 1 → nearest + right - 1",
                "nearest + right → nearest - right",
                "1 → 0",
            ),
        ),
        (
            "_tiles",
            "for r in range(0 if whole and not (has_mask or has_bias or cap > zero) else rows):",
            1,
            (
                "0 if whole and (not (has_mask or has_bias or cap > zero)) else rows → rows",
                "cap > zero → cap >= zero",
                "0 → 1",
                "0 → -1",
            ),
        ),
    ),
    "a guard alone: no code writes the lengths that calls share": (
        (
            "_whole",
            "lengths.flags.writeable = False",
            1,
            (
                "lengths.flags.writeable = False → pass",
                "False → True",
            ),
        ),
    ),
    "speed alone: another number of threads, other shares or another order of them compute the same tiles": (
        (
            "tiled",
            "run(kernel, arguments, items, threads, nanoseconds, last_first=True, beside=beside)",
            1,
            (
                "run(kernel, arguments, items, threads, nanoseconds, last_first=True, beside=beside)"
                " → run(kernel, arguments, items, threads, nanoseconds, beside=beside)",
                "True → False",
            ),
        ),
        (
            "run",
            "nanoseconds: float = math.inf, *, last_first: bool = False,",
            1,
            ("False → True", "math.inf → 10000.0"),
        ),
        (
            "run",
            "starts = range(0, items, step)[:: -1 if last_first else 1]",
            1,
            (
                "-1 if last_first else 1 → -1",
                "-1 if last_first else 1 → 1",
                "-1 → 1",
                "1 → 2 (2)",
                "1 → 0 (2)",
            ),
        ),
        ("run", "workers = cpus.worth(min(threads or cpus.available(), items), nanoseconds)", 1, ("min → max",)),
        (
            "run",
            "if workers == 1:",
            1,
            (
                "if workers == 1: → if True:",
                "if workers == 1: → if False:",
                "workers == 1 → workers != 1",
                "1 → 2",
                "1 → 0",
            ),
        ),
        (
            "run",
            "step = max(1, items // (8 * workers))  # causal tiles differ in cost",
            1,
            (
                "1 → 2",
                "items // (8 * workers) → items * (8 * workers)",
                "8 → 9",
                "8 → 7",
            ),
        ),
    ),
    "speed alone: the last tile is computed twice, to the same numbers": (
        ("run", "kernel(*arguments, 0, items)", 1, ("0 → -1",)),
        (
            "run",
            "starts = range(0, items, step)[:: -1 if last_first else 1]",
            1,
            ("0 → -1",),
        ),
    ),
    "`threads` is no word of the judge's protocol: tests/impl/test_attention.py passes it": (
        ("exact", "cpus.require_number(threads)", 1, ("cpus.require_number(threads) → pass",)),
        (
            "exact",
            "output, lse = tiled(instance, query, key, bias, threads=threads, beside=instance.look)",
            1,
            (
                "tiled(instance, query, key, bias, threads=threads, beside=instance.look)"
                " → tiled(instance, query, key, bias, beside=instance.look)",
            ),
        ),
    ),
    "no input of the judge has a number that is refused: tests/impl/test_attention.py has them": (
        (
            "exact",
            "output, lse = tiled(instance, query, key, bias, threads=threads, beside=instance.look)",
            1,
            (
                "tiled(instance, query, key, bias, threads=threads, beside=instance.look)"
                " → tiled(instance, query, key, bias, threads=threads)",
            ),
        ),
        ("tiled", "beside()", 1, ("beside() → pass",)),
        (
            "tiled",
            "run(kernel, arguments, items, threads, nanoseconds, last_first=True, beside=beside)",
            1,
            (
                "run(kernel, arguments, items, threads, nanoseconds, last_first=True, beside=beside)"
                " → run(kernel, arguments, items, threads, nanoseconds, last_first=True)",
            ),
        ),
        ("run", "beside()", 1, ("beside() → pass",)),
    ),
    "float64 in place of float32: more accurate, and rounded to the type asked": (
        (
            "tiled",
            'work = _DOUBLE if query.dtype.kind == "f" and query.dtype.itemsize == 8 else _SINGLE  # whatever its byte order',
            1,
            ("_DOUBLE if query.dtype.kind == 'f' and query.dtype.itemsize == 8 else _SINGLE → _DOUBLE",),
        ),
    ),
    "scratch memory larger than it need be: the rest is never read": (
        ("_tiles", "scores = room(KEY_TILE + 1, query)", 1, ("1 → 2",)),
    ),
    "speed alone: tiles are loaded whose every key is masked": (
        (
            "_tiles",
            "early, late = (start, start + rows) if members == 1 else (0, n_q)",
            1,
            (
                "(start, start + rows) if members == 1 else (0, n_q) → (0, n_q)",
                "1 → 2",
                "1 → 0",
                "0 → -1",
            ),
        ),
        (
            "_tiles",
            "if has_mask and not mask[batch, lead : lead + members, early:late, at : at + count].any():",
            1,
            ("if has_mask and (not mask[batch, lead:lead + members, early:late, at:at + count].any()): → if False:",),
        ),
        ("_tiles", "continue", 1, ("continue → pass",)),
    ),
    "writes −∞ where −∞ is, or beyond what is read": (
        ("_tiles", "for j in range(max(min(position + right + 1, count), 0), wide):", 1, ("0 → -1",)),
    ),
    "the two last axes are exchanged either way": (
        (
            "formula",
            "score = query @ np.swapaxes(key, 2, 3) * dtype.type(scale)",
            1,
            ("np.swapaxes(key, 2, 3) → np.swapaxes(key, 3, 2)",),
        ),
    ),
    "truth of 0.0 and 1.0 is that of False and True": (
        (
            "formula",
            "score = np.where(np.tril(np.ones(score.shape[2:], dtype=bool)), score, dtype.type(-np.inf))",
            1,
            ("np.ones(score.shape[2:], dtype=bool) → np.ones(score.shape[2:])",),
        ),
    ),
    "np.tril takes the last two axes; the others broadcast": (
        (
            "formula",
            "score = np.where(np.tril(np.ones(score.shape[2:], dtype=bool)), score, dtype.type(-np.inf))",
            1,
            ("2 → 1",),
        ),
    ),
    "e^(−∞) is 0 whatever finite number is subtracted, and 0 divided by anything but 0 is 0": (
        (
            "formula",
            "weight = np.exp(score - np.where(np.isinf(top), 0, top))",
            1,
            (
                "0 → 1",
                "0 → -1",
            ),
        ),
        ("formula", "output = weight @ value / np.where(total == 0, 1, total)", 1, ("1 → 2",)),
    ),
    "a warning more": (
        ("formula", 'with np.errstate(divide="ignore"):', 1, ("np.errstate(divide='ignore') → np.errstate()",)),
    ),
    "an axis of length 1 has the same first and last element": (
        ("formula", "return output, (top + np.log(total))[..., 0]", 1, ("0 → -1",)),
    ),
    "speed alone: how many queries a tile has, and of how many heads: every row is computed in the same way": (
        (
            "tiled",
            "members = h // key.shape[1] if n_q < LANES and support is None else 1",
            1,
            (
                "h // key.shape[1] if n_q < LANES and support is None else 1 → h // key.shape[1]",
                "h // key.shape[1] if n_q < LANES and support is None else 1 → 1",
                "n_q < LANES and support is None → n_q < LANES or support is None",  # attention itself gives no support
                "support is None → support is not None",
                "n_q < LANES → n_q <= LANES",
            ),
        ),
        (
            "tiled",
            "size = query_tile(b * h // members, members * n_q)",
            1,
            (
                "query_tile(b * h // members, members * n_q) → query_tile(members * n_q, b * h // members)",
                "b * h // members → b * h * members",
                "b * h → b / h",
            ),
        ),
        (
            "query_tile",
            "most = QUERY_TILE if heads * queries >= 8 * QUERY_TILE else QUERY_TILE // 4",
            1,
            (
                "QUERY_TILE if heads * queries >= 8 * QUERY_TILE else QUERY_TILE // 4 → QUERY_TILE",
                "QUERY_TILE if heads * queries >= 8 * QUERY_TILE else QUERY_TILE // 4 → QUERY_TILE // 4",
                "heads * queries >= 8 * QUERY_TILE → heads * queries > 8 * QUERY_TILE",
                "heads * queries → heads / queries",
                "8 * QUERY_TILE → 8 / QUERY_TILE",
                "8 → 9",
                "8 → 7",
                "4 → 5",
                "4 → 3",
            ),
        ),
        ("query_tile", "tiles = -(-queries // most)", 1, ("-queries // most → -queries * most",)),
    ),
    "scratch memory larger than it need be: the rest is 0, or takes what nothing reads": (
        (
            "_tiles",
            "sums = room((d_v + 7) // 8 * 8, query)",
            1,
            (
                "(d_v + 7) // 8 → (d_v + 7) * 8",
                "7 → 8",
                "8 → 7",
            ),
        ),
    ),
}

#: (function, line, which of the equal lines of the function, change) → reason
EQUIVALENT: dict[tuple[str, str, int, str], str] = {
    (function, line, number, change): reason
    for reason, places in _BY_REASON.items()
    for function, line, number, changes in places
    for change in changes
}
