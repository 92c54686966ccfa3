"""The exact search: a best pair however close the next one is, with and without torch, one collection and two."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.impl import cpu
from assay.impl.cpu.document_similarity import presence, search
from assay.impl.cpu.document_similarity.contest import Contest
from assay.impl.cpu.document_similarity.products import usable_torch
from assay.spec.document_similarity import Instance, best_pairs, define
from assay.spec.problem import InvalidInstance

exact = cpu.document_similarity.exact
KINDS = ("normal", "presence", "counts", "near", "close", "scales", "parallel", "sparse")
DTYPES = ("float64", "float32", "bfloat16", "float16")


def documents(kind: str, rng: np.random.Generator, n: int, d: int) -> Any:
    """Documents of a kind.

    ``near`` ones differ by 2^-40, ``close`` ones by a rounding of float32, ``parallel`` ones by powers of two alone.
    """
    drawn = {
        "normal": lambda: rng.standard_normal((n, d)),
        "presence": lambda: (rng.random((n, d)) < 0.4) * 1.0,
        "counts": lambda: rng.integers(0, 5, (n, d)) * 1.0,
        "close": lambda: rng.standard_normal(d) + 3e-8 * rng.standard_normal((n, d)),
        "near": lambda: 1 + (rng.random((n, d)) < 0.05) * 2.0**-40,
        "scales": lambda: rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-150, 150, (n, 1)),
        "parallel": lambda: np.repeat(rng.standard_normal((1, d)), n, 0) * 2.0 ** rng.integers(-3, 3, (n, 1)),
        "sparse": lambda: rng.random((n, d)) * (rng.random((n, d)) < 0.2),
    }[kind]()
    drawn[~drawn.any(axis=1)] = 1.0
    return drawn


def require_best(left: Any, right: Any, options: dict[str, Any]) -> None:
    """The answer is a best pair and its similarity, and does not depend on the number of threads."""
    instance = Instance(left, right, **options)
    i, j, similarity = exact(left, right, **options)
    assert (i, j) in best_pairs(instance)
    assert i < j or right is not None
    value = define(instance)
    assert abs(similarity - value.midpoint) <= value.radius + np.spacing(abs(similarity))
    assert (i, j, similarity) == exact(left, right, threads=3, **options)


@pytest.fixture(params=["numpy", "torch"])
def small_tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of a few documents, few pairs kept, and one library of products."""
    if request.param == "torch":
        torch = pytest.importorskip("torch")
        monkeypatch.setattr(search, "usable_torch", lambda work: torch)
    else:
        monkeypatch.setattr(search, "usable_torch", lambda work: None)
    monkeypatch.setattr(search, "_ROWS", 5)
    monkeypatch.setattr(search, "_COLUMNS", 7)
    monkeypatch.setattr(search, "_OPEN", 20)


@pytest.mark.claim("DOC-9")
@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("kind", KINDS)
def test_the_pair_is_a_best_one_in_exact_arithmetic(kind: str) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    for least, measure, alone in itertools.product((False, True), ("cosine", "inner_product"), (False, True)):
        for _ in range(3):
            n, m, d = (int(x) for x in rng.integers(2, 25, 3))
            left, right = documents(kind, rng, n, d), documents(kind, rng, m, d)
            if measure == "inner_product" and kind == "scales":
                left, right = (x * 1e-160 for x in (left, right))
            require_best(left, None if alone else right, {"least": least, "measure": measure})


@pytest.mark.claim("DOC-9")
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_is_taken_as_the_exact_numbers_that_are_stored(dtype: str) -> None:
    rng = np.random.default_rng(2)
    kind = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
    for least, alone in itertools.product((False, True), (False, True)):
        left, right = (documents("normal", rng, 20, 9).astype(kind) for _ in range(2))
        require_best(left, None if alone else right, {"least": least})


@pytest.mark.claim("DOC-9")
def test_cosines_that_differ_by_less_than_float64_shows_are_told_apart() -> None:
    """⟨u, v⟩²/(‖u‖²‖v‖²) of large integers that differ in the last unit."""
    big = 2.0**40
    left = np.array([[1.0, 0.0]])
    right = np.array([[big, 2.0], [big, 1.0], [big + 1, 1.0]])
    table = (right / np.linalg.norm(right, axis=1, keepdims=True))[:, 0]
    assert len(set(table)) == 1  # float64 sees no difference
    assert exact(left, right)[:2] == (0, 2)
    assert exact(left, right, least=True)[:2] == (0, 0)


@pytest.mark.claim("DOC-9")
def test_the_evaluation_in_float64_errs_by_no_more_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """All sums with roundings at their bounds: the product is rounded up throughout, and the squares down."""
    einsum, unit = np.einsum, 2.0**-53
    for d in (30, 4000):
        instance = Instance(np.full((1, d), 1.0), np.full((1, d), 1.5))
        contest = Contest(instance)
        pair = np.zeros(1, np.intp)

        def rounded(form: str, one: Any, other: Any, d: int = d) -> Any:
            return einsum(form, one, other) * (1 + d * unit * (-1 if one is other else 1))

        monkeypatch.setattr("assay.impl.cpu.document_similarity.contest.np.einsum", rounded)
        value, error = contest._evaluated(pair, pair)
        monkeypatch.undo()
        assert d * unit < abs(value[0] - 1.0) <= error[0] <= 3 * d * unit


@pytest.mark.parametrize("least", [False, True])
def test_an_inner_product_beyond_the_largest_float64_is_infinite(least: bool) -> None:
    """It is that of the best pair for all that, which is decided in integers."""
    sign = -1.0 if least else 1.0
    left, right = np.array([[1.7e308, 1e300]]), sign * np.array([[1.7e308, 1.0], [1.7e308, 2.0]])
    assert exact(left, right, measure="inner_product", least=least) == (0, 1, sign * np.inf)
    assert exact(np.array([[1.7e308]]), np.array([[1.7e308]]), measure="inner_product")[2] == np.inf


@pytest.mark.claim("DOC-9")
@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2), min_size=2, max_size=6),
    st.booleans(),
)
def test_small_integers_with_many_ties_are_decided_exactly(rows: list[list[int]], least: bool) -> None:
    left = np.array(rows, dtype=np.float64)
    left[~left.any(axis=1)] = 1.0
    require_best(left, None, {"least": least})


# --- documents of 0 and 1 through bfloat16 products -------------------------------------------------------------------


@pytest.fixture
def small_presence(monkeypatch: pytest.MonkeyPatch) -> Any:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(presence, "bfloat16_products", lambda torch: True)
    monkeypatch.setattr(presence, "_LEAST_PAIRS", 1)
    monkeypatch.setattr(presence, "_ROWS", 8)
    monkeypatch.setattr(presence, "_COLUMNS", 16)
    monkeypatch.setattr(search, "usable_torch", lambda work: torch)
    return torch


@pytest.mark.claim("DOC-9")
def test_documents_of_presence_are_decided_through_bfloat16_products(small_presence: Any) -> None:
    rng = np.random.default_rng(3)
    for least, measure, alone in itertools.product((False, True), ("cosine", "inner_product"), (False, True)):
        for d in (1, 6, 40, 256):
            n, m = (int(x) for x in rng.integers(2, 60, 2))
            left, right = ((rng.random((rows, d)) < rng.random()).astype(np.float32) for rows in (n, m))
            for side in (left, right):
                side[~side.any(axis=1)] = 1
            given = Instance(left, None if alone else right, least, measure)
            assert presence.applies(given, small_presence)
            require_best(left, given.right, {"least": least, "measure": measure})


@pytest.mark.usefixtures("small_presence")
def test_256_words_are_the_most_whose_sums_bfloat16_holds(small_presence: Any) -> None:
    full = np.ones((2, 256))
    assert exact(full, full, measure="inner_product")[2] == 256.0
    assert not presence.applies(Instance(np.ones((2, 257))), small_presence)
    assert not presence.applies(Instance(np.full((2, 4), 2.0)), small_presence)
    assert not presence.applies(Instance(np.ones((2, 4))), None)


@pytest.mark.claim("DOC-4")
def test_of_texts_the_named_pairs_reach_at_most_the_exact_one() -> None:
    """The share c(named)/c(best) of any pair is at most 1, and 1 for best pairs alone."""
    lines = ["the cat sat on the mat", "a cat on a mat", "dogs and cats", "the dog sat", "on the mat the cat sat"]
    words = sorted({word for line in lines for word in line.split()})
    documents_of_lines = np.array([[line.split().count(word) for word in words] for line in lines], np.float64)
    i, j, best = exact(documents_of_lines)
    unit = documents_of_lines / np.linalg.norm(documents_of_lines, axis=1, keepdims=True)
    shares = (unit @ unit.T)[np.triu_indices(5, 1)] / best
    assert (i, j) == (0, 4)
    assert (shares <= 1 + 1e-12).all()
    assert (shares > 1 - 1e-12).sum() == 1


# --- what else is promised --------------------------------------------------------------------------------------------


def test_torch_is_left_out_where_it_shortens_float32_or_the_work_is_small() -> None:
    torch = pytest.importorskip("torch")
    assert usable_torch(1) is torch  # it is imported already
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert usable_torch(1) is None
    finally:
        torch.set_float32_matmul_precision(before)


def test_torch_is_left_out_where_one_of_its_newer_switches_shortens_float32() -> None:
    """In a process of its own, as torch may not read its old switch again once the new ones were used."""
    torch = pytest.importorskip("torch")
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("a torch without these switches")
    switches = ("", ".mkldnn", ".mkldnn.matmul", ".cuda.matmul")
    code = ["import torch", "from assay.impl.cpu.document_similarity.products import usable_torch"]
    for switch in switches:
        for value in ("'bf16'" if "cuda" not in switch else "'tf32'", "'none'"):
            code += [f"torch.backends{switch}.fp32_precision = {value}", "print(usable_torch(1) is None)"]
    code += ["torch.backends.fp32_precision = 'ieee'", "print(usable_torch(1) is None)"]
    run = [sys.executable, "-W", "ignore", "-c", "\n".join(code)]
    printed = subprocess.run(run, capture_output=True, text=True, check=False)
    assert printed.stdout.split() == ["True", "False"] * len(switches) + ["False"], printed.stderr


def test_the_number_of_torchs_threads_is_as_before() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    exact(np.eye(600), threads=2)
    assert torch.get_num_threads() == before


def test_progress_is_told_to_the_caller() -> None:
    told: list[tuple[int, int]] = []
    exact(np.eye(1100), threads=1, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_many_pairs_of_similarity_zero_end_the_search_for_the_least() -> None:
    rows = np.eye(2000, 300, dtype=np.float32)[np.random.default_rng(0).integers(0, 300, 2000)] * np.float32(0.3)
    assert exact(rows, rows, least=True)[2] == 0.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: exact(np.zeros((2, 2))), "left: a document of zeros in row 0"),
        (lambda: exact(np.ones((1, 2))), "left: shape"),
        (lambda: exact(np.ones((2, 2)), np.ones((2, 3))), "right: shape"),
        (lambda: exact(np.ones((2, 2)), measure="jaccard"), "measure: 'jaccard'"),
        (lambda: exact(np.array([[np.nan, 1.0], [1.0, 1.0]])), "left: nan"),
    ],
)
def test_bad_input_is_refused_by_name(call: Any, words: str) -> None:
    with pytest.raises(InvalidInstance, match=words):
        call()
    with pytest.raises(ValueError, match="threads: 0, expected at least 1"):
        exact(np.eye(2), threads=0)
