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
            "exact",
            "query.astype(work, copy=False),",
            1,
            (
                "query.astype(work, copy=False) → query.astype(work)",
                "False → True",
            ),
        ),
        (
            "exact",
            "key.astype(work, copy=False),",
            1,
            (
                "key.astype(work, copy=False) → key.astype(work)",
                "False → True",
            ),
        ),
        (
            "exact",
            "value.astype(work, copy=False),",
            1,
            (
                "value.astype(work, copy=False) → value.astype(work)",
                "False → True",
            ),
        ),
        (
            "exact",
            "no_bias if bias is None else np.broadcast_to(bias.astype(work, copy=False), full),",
            1,
            (
                "False → True",
                "bias.astype(work, copy=False) → bias.astype(work)",
            ),
        ),
        (
            "exact",
            "output = out.astype(query.dtype, copy=False)",
            1,
            (
                "False → True",
                "out.astype(query.dtype, copy=False) → out.astype(query.dtype)",
            ),
        ),
    ),
    "speed alone: another number of threads, or other shares, compute the same tiles": (
        (
            "_run",
            'available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1',
            1,
            (
                "len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1 → len(os.sched_getaffinity(0))",
                "len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1 → os.cpu_count() or 1",
                "'sched_getaffinity' → 'sched_getaffinityx'",
                "0 → 1",
                "os.cpu_count() or 1 → os.cpu_count() and 1",
                "1 → 0",
                "1 → 2",
            ),
        ),
        ("_run", "workers = min(threads or available, items)", 1, ("min → max",)),
        (
            "_run",
            "if workers == 1:",
            1,
            (
                "if workers == 1: → if True:",
                "if workers == 1: → if False:",
                "workers == 1 → workers != 1",
                "1 → 0",
                "1 → 2",
            ),
        ),
        (
            "_run",
            "step = max(1, items // (8 * workers))  # causal tiles differ in cost",
            1,
            (
                "8 → 7",
                "8 → 9",
                "1 → 2",
                "items // (8 * workers) → items * (8 * workers)",
            ),
        ),
    ),
    "speed alone: the last tile is computed twice, to the same numbers": (
        ("_run", "kernel(*arguments, 0, items)", 1, ("0 → -1",)),
        (
            "_run",
            "for done in [pool.submit(kernel, *arguments, i, min(i + step, items)) for i in range(0, items, step)]:",
            1,
            ("0 → -1",),
        ),
    ),
    "nothing fails in a thread of a correct kernel: only what a thread raised would be lost": (
        ("_run", "done.result()", 1, ("done.result() → pass",)),
    ),
    "`threads` is no word of the judge's protocol: tests/impl/test_attention.py passes it": (
        (
            "exact",
            "if threads is not None and threads < 1:",
            1,
            (
                "if threads is not None and threads < 1: → if False:",
                "1 → 2",
                "1 → 0",
                "threads < 1 → threads <= 1",
            ),
        ),
    ),
    "a placeholder, never read where the option is absent": (
        (
            "exact",
            "no_mask, no_bias = np.zeros((1, 1, 1, 1), np.bool_), np.zeros((1, 1, 1, 1), work)",
            1,
            (
                "np.zeros → np.ones",
                "np.zeros → np.ones (2)",
                "1 → 0",
                "1 → 0 (2)",
                "1 → 0 (3)",
                "1 → 0 (4)",
                "1 → 0 (5)",
                "1 → 0 (6)",
                "1 → 0 (7)",
                "1 → 0 (8)",
                "1 → 2",
                "1 → 2 (2)",
                "1 → 2 (3)",
                "1 → 2 (4)",
                "1 → 2 (5)",
                "1 → 2 (6)",
                "1 → 2 (7)",
                "1 → 2 (8)",
            ),
        ),
        (
            "exact",
            "np.zeros(1, work) if sink is None else sink.astype(work),",
            1,
            (
                "np.zeros → np.ones",
                "1 → 0",
                "1 → 2",
            ),
        ),
    ),
    "NaN in place of 0 for an absent softcap: `softcap > zero` is false for both": (
        (
            "exact",
            "work.type(0.0 if softcap is None else softcap),",
            1,
            ("0.0 if softcap is None else softcap → softcap",),
        ),
    ),
    "float64 in place of float32: more accurate, and rounded to the type asked": (
        (
            "exact",
            "work = np.dtype(np.float64) if query.dtype == np.float64 else np.dtype(np.float32)",
            1,
            (
                "np.float32 → np.float64",
                "np.dtype(np.float64) if query.dtype == np.float64 else np.dtype(np.float32) → np.dtype(np.float64)",
            ),
        ),
        (
            "_coefficients",
            "degree = 13 if work == np.float64 else 7",
            1,
            (
                "13 if work == np.float64 else 7 → 13",
                "13 → 14",
                "7 → 8",
            ),
        ),
        (
            "_coefficients",
            "return (1.0 / np.cumprod([1.0, *range(1, degree + 1)]))[::-1].astype(work)",
            1,
            ("1 → 2 (2)",),
        ),
        (
            "_tiles",
            "if coefficients.shape[0] > 8:",
            1,
            (
                "if coefficients.shape[0] > 8: → if True:",
                "coefficients.shape[0] > 8 → coefficients.shape[0] >= 8",
                "8 → 7",
            ),
        ),
        (
            "_tiles",
            "log2e, ln2_high, ln2_low = one, one, one",
            1,
            ("log2e, ln2_high, ln2_low = (one, one, one) → pass",),
        ),
    ),
    "both pairs of constants add up to ln 2 within float64": (
        ("_tiles", "if coefficients.shape[0] > 8:", 1, ("if coefficients.shape[0] > 8: → if False:",)),
    ),
    "no type has a polynomial of that many coefficients, or the array has one axis": (
        (
            "_tiles",
            "if coefficients.shape[0] > 8:",
            1,
            (
                "8 → 9",
                "0 → -1",
            ),
        ),
        ("_tiles", "deepest = powers.shape[0] - 1", 1, ("0 → -1",)),
        ("_tiles", "for i in range(1, coefficients.shape[0]):", 1, ("0 → -1",)),
    ),
    "only chooses the power of two of exp's reduction: the rest is computed from it, a hair beyond half of ln 2": (
        (
            "_tiles",
            "log2e, ln2_high, ln2_low = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10",
            1,
            ("1.4426950408889634 → 1.442700544333791",),
        ),
        (
            "_tiles",
            "log2e, ln2_high, ln2_low = one * 1.4426950408889634, one * 0.693145751953125, one * 1.42860682030941723e-6",
            1,
            (
                "1.4426950408889634 → 1.4441377359298522",
                "1.4426950408889634 → 1.442700544333791",
            ),
        ),
        ("_tiles", "k = np.floor(x * log2e + one * 0.5)", 1, ("0.5 → 0.5000019073486328", "0.5 → 0.5005")),
    ),
    "a relative 2⁻¹⁸ or 10⁻³ of the low part of ln 2: less than a rounding of the exponent": (
        (
            "_tiles",
            "log2e, ln2_high, ln2_low = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10",
            1,
            ("1.9082149292705877e-10 → 1.9082222085328605e-10",),
        ),
        (
            "_tiles",
            "log2e, ln2_high, ln2_low = one * 1.4426950408889634, one * 0.693145751953125, one * 1.42860682030941723e-6",
            1,
            (
                "1.4286068203094173e-06 → 1.4300354271297264e-06",
                "1.4286068203094173e-06 → 1.4286122700119483e-06",
            ),
        ),
    ),
    "exp to 2 roundings instead of half of one: every class grants it 4": (
        (
            "_coefficients",
            "degree = 13 if work == np.float64 else 7",
            1,
            (
                "13 → 12",
                "7 → 6",
            ),
        ),
        (
            "_coefficients",
            "return (1.0 / np.cumprod([1.0, *range(1, degree + 1)]))[::-1].astype(work)",
            1,
            ("1 → 0 (2)",),
        ),
        ("_tiles", "for i in range(1, coefficients.shape[0]):", 1, ("1 → 0",)),
    ),
    "exp errs on one side, by at most 78 roundings, half of which count as the weights are divided by their sum: a correct kernel may err by as much by a maximum that lags 8 ln 2 behind (33, TOL-3) and one rescaling more (8)": (
        (
            "_coefficients",
            "return (1.0 / np.cumprod([1.0, *range(1, degree + 1)]))[::-1].astype(work)",
            1,
            ("degree + 1 → degree - 1",),
        ),
        ("_tiles", "p = coefficients[0]", 1, ("0 → 1",)),
        ("_tiles", "for i in range(1, coefficients.shape[0]):", 1, ("1 → 2",)),
    ),
    "the weight at which exp gives 0, at the end of the type's range: the classes let weights below 2⁻¹²⁶ be flushed": (
        (
            "_powers",
            "powers: NDArray[Any] = np.ldexp(work.type(1), -np.arange(1 - np.finfo(work).minexp))",
            1,
            (
                "1 → 0 (2)",
                "1 → 2 (2)",
            ),
        ),
        ("_tiles", "deepest = powers.shape[0] - 1", 1, ("1 → 2",)),
        (
            "_tiles",
            "s[j] = e if s[j] - largest > -deepest * ln2_high else zero",
            1,
            (
                "s[j] - largest > -deepest * ln2_high → s[j] - largest >= -deepest * ln2_high",
                "-deepest * ln2_high → -deepest / ln2_high",
            ),
        ),
    ),
    "a name that nothing reads": (
        (
            "_tiles",
            "h_k, _, d_v = key.shape[1], key.shape[2], value.shape[3]",
            1,
            (
                "2 → 3",
                "2 → 1",
            ),
        ),
    ),
    "scratch memory larger than it need be: the rest is never read": (
        ("_tiles", "width = d_v + 1  # a column of ones appended to V sums the row", 1, ("1 → 2",)),
        ("_tiles", "keys = np.empty((d, 64), query.dtype)", 1, ("64 → 65",)),
        ("_tiles", "values = np.empty((64, width), query.dtype)", 1, ("64 → 65",)),
        ("_tiles", "queries = np.empty((32, d), query.dtype)", 1, ("32 → 33",)),
        (
            "_tiles",
            "scores = np.empty((32, 64), query.dtype)",
            1,
            (
                "32 → 33",
                "64 → 65",
            ),
        ),
        ("_tiles", "sums = np.empty((32, width), query.dtype)", 1, ("32 → 33",)),
        ("_tiles", "top = np.empty(32, query.dtype)", 1, ("32 → 33",)),
    ),
    "speed alone: tiles are loaded whose every key is masked": (
        ("_tiles", "end = min(end, start + rows + offset)", 1, ("end = min(end, start + rows + offset) → pass",)),
        ("_tiles", "if causal:", 1, ("if causal: → if False:",)),
    ),
    "speed alone: the loop for the rest does the same": (
        (
            "_tiles",
            "while c + 8 <= d:",
            1,
            (
                "c + 8 <= d → c + 8 < d",
                "8 → 9",
                "while c + 8 <= d: → pass",
            ),
        ),
        (
            "_tiles",
            "while j + 4 <= count:",
            1,
            (
                "while j + 4 <= count: → pass",
                "j + 4 <= count → j + 4 < count",
                "4 → 5",
            ),
        ),
    ),
    "writes −∞ where −∞ is, or beyond what is read": (
        ("_tiles", "for j in range(max(high + 1, 0), count):", 1, ("0 → -1",)),
    ),
    "a factor e⁰ = 1 where the maximum stays": (
        (
            "_tiles",
            "if largest > top[r]:",
            1,
            (
                "if largest > top[r]: → if True:",
                "largest > top[r] → largest >= top[r]",
            ),
        ),
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
}

#: (function, line, which of the equal lines of the function, change) → reason
EQUIVALENT: dict[tuple[str, str, int, str], str] = {
    (function, line, number, change): reason
    for reason, places in _BY_REASON.items()
    for function, line, number, changes in places
    for change in changes
}
