"""The stand-ins of the leaderboard: right where they must be, equal to maintained implementations, ranked rightly."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.impl import leaderboard
from assay.impl.leaderboard import compressed, features, recurrent, sparse
from assay.impl.leaderboard.board import instances
from assay.impl.leaderboard.methods import METHODS, Method
from assay.spec.instances.families import gap_vectors

if TYPE_CHECKING:
    from pathlib import Path


def drawn(n: int, m: int, d: int, seed: int = 0, size: float = 0.3) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    return tuple(size * rng.standard_normal(shape) for shape in ((n, d), (m, d), (m, d)))  # type: ignore[return-value]


def tensors(*arrays: Any) -> list[Any]:
    torch = pytest.importorskip("torch")
    return [torch.from_numpy(x)[None, None] for x in arrays]


# --- right where they must be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "budget", "error"),
    [
        ("exact", 1, 1e-12),
        ("performer", 4096, 0.02),
        ("nystrom", 48, 2e-3),
        ("window", 200, 1e-12),
        ("lsh", 8 * 48, 1e-12),
        ("state-space", 4096, 0.05),
        ("polynomial", 10**6, 0.15),
    ],
)
def test_with_budget_enough_a_method_is_near_attention_on_small_scores(name: str, budget: int, error: float) -> None:
    query, key, value = drawn(48, 48, 4)
    wanted = compressed.attended(query, key, value, 0.5)
    output = METHODS[name].run(query, key, value, scale=0.5, budget=budget, seed=1)
    assert np.abs(output - wanted).max() <= error * np.ptp(value)


def test_random_features_are_unbiased_and_positive() -> None:
    query, key, _ = drawn(3, 3, 4, size=0.7)
    estimates = []
    for seed in range(400):
        rows = features.projection(8, 4, seed)
        dashes = [x @ rows.T for x in (query, key)]
        one, other = (features.positive_features(x, rows, keys=keys) for x, keys in ((query, False), (key, True)))
        assert (one > 0).all()
        scale = np.exp(dashes[0].max(axis=1))[:, None] * np.exp(dashes[1].max())
        estimates.append(scale * (one @ other.T))
    wanted = np.exp(query @ key.T)
    spread = np.std(estimates, axis=0) / math.sqrt(len(estimates))
    assert (np.abs(np.mean(estimates, axis=0) - wanted) <= 5 * spread).all()


def test_a_window_that_sees_everything_is_attention_and_a_narrow_one_is_masked_attention() -> None:
    query, key, value = drawn(300, 310, 5)
    i, j = np.arange(300)[:, None], np.arange(310)
    near = (j >= i - 3) & (j <= i + 2) | (j < 4)
    scores = np.where(near, 0.7 * query @ key.T, -np.inf)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    wanted = shares @ value / shares.sum(axis=1, keepdims=True)
    assert np.allclose(sparse.window_of(query, key, value, 0.7, 3, 2, 4), wanted)


def test_the_polynomial_refuses_a_rank_above_its_budget() -> None:
    query, key, value = drawn(20, 20, 6)
    assert METHODS["polynomial"].run(query, key, value, scale=0.5, budget=2, seed=0) is None
    assert METHODS["polynomial"].run(100 * query, 100 * key, value, scale=0.5, budget=10**6, seed=0) is None


# --- bugs of other implementations that these checks reject -----------------------------------------------------------


def weights_of_features(query: Any, key: Any) -> Any:
    """(elu(q) + 1)(elu(k) + 1)ᵀ."""
    one, other = (np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))) for x in (query, key))
    return one @ other.T


def by_features(query: Any, key: Any, value: Any) -> Any:
    """Linear attention by the table of all weights."""
    table = weights_of_features(query, key)
    return table / table.sum(axis=1, keepdims=True) @ value


def normalised_at_every_step(query: Any, key: Any, value: Any) -> Any:
    output, total = np.zeros((len(query), value.shape[1])), np.zeros((len(query), 1))
    for k, v in zip(key, value, strict=True):
        weight = weights_of_features(query, k[None])
        total = total + weight
        output = (output + weight * v) / total
    return output


def linear(query: Any, key: Any, value: Any) -> Any:
    return METHODS["linear"].run(query, key, value, scale=1.0, budget=0, seed=0)


def window(query: Any, key: Any, value: Any) -> Any:
    return METHODS["window"].run(query, key, value, scale=0.5, budget=400, seed=0)


def of_whole_registers(query: Any, key: Any, value: Any) -> Any:
    """The last 16 of 80 columns are written by a register of 64, which begins at the first column again."""
    output = window(query, key, value)
    return np.concatenate([output[:, :64], output[:, : output.shape[1] - 64]], axis=1)


def performer(query: Any, key: Any, value: Any) -> Any:
    return METHODS["performer"].run(query, key, value, scale=0.5, budget=4096, seed=1)


def performer_without_its_scale(query: Any, key: Any, value: Any) -> Any:
    """The factor d^(−1/4) of both sides left out, d = 64."""
    return METHODS["performer"].run(query, key, value, scale=0.5 * 8, budget=4096, seed=1)


def scanned(query: Any, key: Any, value: Any, chunk: int = 10**6, keep: float = 1.0) -> Any:
    """A selective scan by chunks, with the state carried over the border ``keep`` times."""
    decay = np.full((value.shape[1], 2), -0.3)
    outputs, before = [], np.zeros((value.shape[1], 2))
    for start in range(0, len(value), chunk):
        at = slice(start, start + chunk)
        part = recurrent.selective_scan(value[at], np.ones(value[at].shape), decay, key[at, :2], query[at, :2])
        faded = np.exp(decay[None] * np.arange(1, len(part) + 1)[:, None, None]) * before
        outputs.append(part + np.einsum("tcn,tn->tc", faded, query[at, :2]))
        weights = np.exp(decay[None] * np.arange(len(part) - 1, -1, -1)[:, None, None])
        before = keep * (faded[-1] + np.einsum("tcn,tc,tn->cn", weights, value[at], key[at, :2]))
    return np.concatenate(outputs)


def hashed(query: Any, key: Any, value: Any) -> Any:
    """Queries that each have one key of their own direction far away."""
    return METHODS["lsh"].run(40 * query, 40 * query[::-1], value, scale=1.0, budget=64, seed=2)


def beside_the_hashes(query: Any, key: Any, value: Any) -> Any:
    same = np.zeros(len(query), dtype=int)
    return sparse.in_chunks(40 * query, 40 * query[::-1], value, 1.0, same, same, 16)[0]


def attended(query: Any, key: Any, value: Any) -> Any:
    return compressed.attended(query, key, value, 0.5)


def of_the_partner(query: Any, key: Any, value: Any) -> Any:
    return compressed.attended(40 * query, 40 * query[::-1], value, 1.0)


@pytest.mark.parametrize(
    ("right", "wrong", "wanted", "error"),
    [
        pytest.param(linear, normalised_at_every_step, by_features, 1e-12, id="1bit-MONSTER/1bit-MONSTER#495"),
        pytest.param(
            linear, lambda q, k, v: linear(q[:, :32], k[:, :32], v), by_features, 1e-12,
            id="1bit-MONSTER/1bit-MONSTER#495, 32 columns",
        ),
        pytest.param(performer, performer_without_its_scale, attended, 0.1, id="lucidrains/performer-pytorch#50"),
        pytest.param(
            lambda *x: scanned(*x, 16), lambda *x: scanned(*x, 16, 0.0), scanned, 1e-12,
            id="fla-org/flash-linear-attention#285, not carried",
        ),
        pytest.param(
            lambda *x: scanned(*x, 16), lambda *x: scanned(*x, 16, 2.0), scanned, 1e-12,
            id="fla-org/flash-linear-attention#494, carried twice",
        ),
        pytest.param(hashed, beside_the_hashes, of_the_partner, 0.3, id="huggingface/transformers#16972"),
        pytest.param(
            window, of_whole_registers, attended, 1e-12, id="flashserve/flash-linear-attention-npu#510",
        ),
    ],
)  # fmt: skip
def test_a_bug_that_was_reported_elsewhere_fails_where_a_stand_in_is_right(
    right: Any, wrong: Any, wanted: Any, error: float
) -> None:
    rng = np.random.default_rng(4)
    query, key, value = (0.3 * rng.standard_normal((96, d)) for d in (64, 64, 80))
    expected = wanted(query, key, value)
    assert np.median(np.abs(right(query, key, value) - expected).max(axis=1)) <= error * np.ptp(value)
    assert np.median(np.abs(wrong(query, key, value) - expected).max(axis=1)) > error * np.ptp(value)


# --- equal to maintained implementations ------------------------------------------------------------------------------


def test_performer_is_that_of_performer_pytorch() -> None:
    theirs = pytest.importorskip("performer_pytorch.performer_pytorch")
    torch = pytest.importorskip("torch")
    query, key, value = drawn(20, 30, 8)
    rows = features.projection(24, 8, 3)
    q, k, v = tensors(query, key, value)
    kernels = [
        theirs.softmax_kernel(x, projection_matrix=torch.from_numpy(rows), is_query=is_query)
        for x, is_query in ((q, True), (k, False))
    ]
    wanted = theirs.linear_attention(*kernels, v)[0, 0].numpy()
    root = 8**-0.25
    ours = [
        features.positive_features(x * root, rows, keys=keys, epsilon=1e-4) for x, keys in ((query, False), (key, True))
    ]
    assert np.allclose(features.combined(*ours, value), wanted, rtol=1e-10)


def test_linear_attention_is_that_of_performer_pytorch_with_elu_features() -> None:
    theirs = pytest.importorskip("performer_pytorch.performer_pytorch")
    torch = pytest.importorskip("torch")
    query, key, value = drawn(20, 30, 8)
    q, k, v = tensors(query, key, value)
    elu = torch.nn.functional.elu
    wanted = theirs.linear_attention(elu(q) + 1, elu(k) + 1, v)[0, 0].numpy()
    assert np.allclose(features.linear(query, key, value, scale=1.0, budget=0, seed=0), wanted, rtol=1e-12)


def test_efficient_attention_is_that_of_linear_attention_transformer() -> None:
    theirs = pytest.importorskip("linear_attention_transformer.linear_attention_transformer")
    query, key, value = drawn(20, 20, 8)
    wanted = theirs.linear_attn(*tensors(query, key, value))[0, 0].numpy() * 8**0.5  # it scales the queries once more
    assert np.allclose(features.efficient(query, key, value, scale=1.0, budget=0, seed=0), wanted, rtol=1e-12)


def in_one(query: Any, key: Any, value: Any) -> Any:
    """A tensor whose three parts a linear layer of identities takes apart."""
    torch = pytest.importorskip("torch")
    return torch.from_numpy(np.concatenate([query, key, value], axis=1))[None].float()


@pytest.mark.parametrize("landmarks", [4, 8])
def test_nystrom_is_that_of_nystrom_attention(landmarks: int) -> None:
    theirs = pytest.importorskip("nystrom_attention")
    torch = pytest.importorskip("torch")
    query, key, value = drawn(32, 32, 6, size=1.0)
    module = theirs.NystromAttention(18, dim_head=6, heads=1, num_landmarks=landmarks, residual=False)
    module.to_qkv.weight = torch.nn.Parameter(torch.eye(18))
    module.to_out = torch.nn.Identity()
    wanted = module(in_one(query, key, value))[0].detach().numpy()
    ours = compressed.nystrom_of(query, key, value, 6**-0.5, landmarks)
    assert np.allclose(ours, wanted, atol=2e-5)


def test_linformer_is_that_of_the_package_with_its_projections() -> None:
    theirs = pytest.importorskip("linformer")
    torch = pytest.importorskip("torch")
    query, key, value = drawn(20, 20, 6)
    module = theirs.LinformerSelfAttention(18, 20, k=5, heads=1, dim_head=6)
    for layer, part in ((module.to_q, 0), (module.to_k, 1), (module.to_v, 2)):
        layer.weight = torch.nn.Parameter(torch.eye(18)[6 * part : 6 * part + 6])
    module.to_out = torch.nn.Identity()
    along = [x.detach().numpy().T for x in (module.proj_k, module.proj_v)]
    wanted = module(in_one(query, key, value))[0].detach().numpy()
    assert np.allclose(compressed.attended(query, along[0] @ key, along[1] @ value, 6**-0.5), wanted, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_the_window_is_that_of_local_attention(causal: bool) -> None:
    theirs = pytest.importorskip("local_attention")
    query, key, value = drawn(40, 40, 6)
    module = theirs.LocalAttention(8, causal=causal, exact_windowsize=True, use_rotary_pos_emb=False)
    wanted = module(*tensors(query, key, value))[0, 0].numpy()
    ours = sparse.window_of(query, key, value, 6**-0.5, 8, 0 if causal else 8, 0)
    assert np.allclose(ours, wanted)


def test_hashed_attention_is_that_of_reformer_pytorch() -> None:
    """Shared queries and keys, one round, and its buckets."""
    theirs = pytest.importorskip("reformer_pytorch.reformer_pytorch")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    query, _, value = drawn(64, 64, 6, size=1.0)
    module = theirs.LSHAttention(bucket_size=8, n_hashes=1, causal=False).eval()
    wanted, _, buckets = module(torch.from_numpy(query)[None], torch.from_numpy(value)[None])
    at = buckets[0].numpy()
    unit = query / np.linalg.norm(query, axis=1, keepdims=True)
    ours, _ = sparse.in_chunks(query, unit, value, 6**-0.5, at, at, 8, shared=True)
    assert np.allclose(ours, wanted[0].numpy())


def test_buckets_are_those_of_angular_hashing() -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((50, 6))
    rotation = torch.from_numpy(np.random.default_rng(7).standard_normal((6, 4)))
    rotated = torch.from_numpy(x) @ rotation
    wanted = torch.cat([rotated, -rotated], 1).argmax(1).numpy()
    assert np.array_equal(sparse.angular_buckets(x, 8, 7), wanted)


def test_the_selective_scan_is_that_of_mambapy() -> None:
    mamba = pytest.importorskip("mambapy.mamba")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    length, channels, size = 20, 4, 3
    block = mamba.MambaBlock(mamba.MambaConfig(d_model=2, n_layers=1, d_state=size, expand_factor=2))
    x, write, read = (rng.standard_normal((length, k)) for k in (channels, size, size))
    delta, decay = rng.random((length, channels)), -rng.random((channels, size))
    given = [torch.from_numpy(a) for a in (x, delta, decay, write, read)]
    wanted = block.selective_scan_seq(
        given[0][None].float(), given[1][None].float(), given[2].float(), given[3][None].float(),
        given[4][None].float(), torch.zeros(channels),
    )[0]  # fmt: skip
    assert np.allclose(recurrent.selective_scan(x, delta, decay, write, read), wanted.detach().numpy(), atol=1e-5)


# --- the board --------------------------------------------------------------------------------------------------------


def always(query: Any, key: Any, value: Any, *, scale: float, budget: int, seed: int) -> Any:
    """A method that answers no, and from a budget of 32 on is attention."""
    return compressed.attended(query, key, value, scale) if budget >= 32 else np.ones((len(query), value.shape[1]))


def refuses(query: Any, key: Any, value: Any, *, scale: float, budget: int, seed: int) -> Any:
    """A method that gives no output."""


@pytest.fixture(scope="module")
def small_board() -> leaderboard.Board:
    added = (METHODS["exact"], METHODS["linear"], Method("mine", always, "keys", ""), Method("none", refuses, "x", ""))
    return leaderboard.board((64,), count=4, budget=8, most=64, methods=added)


@pytest.mark.claim("DOC-3")
def test_half_of_the_instances_have_a_planted_pair() -> None:
    """So a method that always answers alike is right half of the time."""
    problems = instances(64, 4, 0)
    assert [problem.truth.satisfiable for problem in problems] == [True, False, True, False]
    for constant in (0.0, 1.0):
        answers = [problem.decode(np.full((1, 1, 64, 1), constant)).satisfiable for problem in problems]
        assert [answer == problem.truth.satisfiable for answer, problem in zip(answers, problems, strict=True)].count(
            True
        ) == 2


@pytest.mark.claim("DOC-3")
@pytest.mark.parametrize("budget", [1, 8, 64])
def test_a_method_whose_yes_needs_a_product_that_it_looked_at_is_right_no_more_often_than_is_claimed(
    budget: int,
) -> None:
    """The keys j … j + B − 1 of every query, over all places of the window, so that the share is exact."""
    n, right = 64, 0
    vectors, t, pair = gap_vectors(3, n, 64)
    assert pair is not None
    products = vectors.left.astype(int) @ vectors.right.T
    for first in range(n):
        looked_at = products[:, (first + np.arange(budget)) % n]
        right += bool((looked_at >= t).any())
    assert right / n == budget / n


@pytest.mark.claim("DOC-3")
def test_a_method_that_asks_for_the_density_of_queries_looks_at_no_key_and_is_right() -> None:
    """Why the claim is about methods whose yes needs a product."""
    for seed in range(6):
        vectors, _, pair = gap_vectors(seed, 64, 64, planted=seed % 2 == 0)
        assert bool((2 * vectors.left.sum(axis=1, dtype=int) > 64).any()) == (pair is not None)


@pytest.mark.claim("DOC-3")
def test_a_window_is_right_on_a_planted_instance_iff_it_sees_the_partner() -> None:
    seen = set()
    for problem in instances(128, 24, 5):
        query, key, value = (
            x[0, 0].astype(float) for x in (problem.instance.query, problem.instance.key, problem.instance.value)
        )
        output = METHODS["window"].run(query, key, value, scale=problem.instance.scale, budget=64, seed=0)
        right = problem.decode(output[None, None]).satisfiable == problem.truth.satisfiable
        inside = all(
            abs(j + 1 - i) <= 29 or j + 1 < 4 for i, j in problem.truth.pairs
        )  # key j + 1 is of right vector j
        beyond = all(abs(j + 1 - i) > 30 and j + 1 >= 4 for i, j in problem.truth.pairs)
        assert not (inside and not right)
        assert not (problem.truth.pairs and beyond and right)
        seen.add((bool(problem.truth.pairs), right))
    assert seen == {(True, True), (True, False), (False, True)}


def test_a_board_says_who_is_right_and_which_budget_is_needed(small_board: leaderboard.Board) -> None:
    rows = {row.method: row for row in small_board.rows}
    assert (rows["exact"].right, rows["exact"].needed) == (4, None)
    assert (rows["mine"].right, rows["mine"].needed) == (2, 32)
    assert (rows["none"].right, rows["none"].refused, rows["none"].error) == (0, 4, None)
    assert rows["exact"].error is not None
    assert rows["exact"].error < 1e-12
    assert rows["linear"].right < 4


def test_a_board_is_a_table_json_and_a_picture(small_board: leaderboard.Board, tmp_path: Path) -> None:
    text = leaderboard.to_text(small_board)
    assert "mine" in text
    assert "a theorem under SETH" in text
    content = json.loads(leaderboard.to_json(small_board))
    assert content["version"] == 1
    assert [row["method"] for row in content["rows"]] == ["exact", "linear", "mine", "none"]
    assert content["rows"][3]["error"] is None
    pytest.importorskip("matplotlib")
    leaderboard.to_plot(small_board, tmp_path / "board.png")
    assert (tmp_path / "board.png").stat().st_size > 10_000


def not_a_number(query: Any, key: Any, value: Any, *, scale: float, budget: int, seed: int) -> Any:
    """A method that returns attention but for one NaN."""
    output = compressed.attended(query, key, value, scale)
    output[-1] = np.nan
    return output


def test_an_output_that_is_not_finite_is_never_right() -> None:
    board = leaderboard.board((64,), count=4, budget=8, most=16, methods=(Method("nan", not_a_number, "keys", ""),))
    (row,) = board.rows
    assert (row.right, row.refused, row.error, row.needed) == (0, 0, math.inf, None)


def test_the_mark_for_more_than_was_tried_is_no_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    drawn_ones: list[Any] = []
    monkeypatch.setattr(figures.Figure, "savefig", lambda figure, path: drawn_ones.append(figure))
    methods = tuple(METHODS.values())
    rows = tuple(leaderboard.Row(m.name, 64, 48, 8, 4, 2, 0, 0.5, 0.1, None) for m in methods)
    leaderboard.to_plot(leaderboard.Board(rows, 8, 64, 0, methods), tmp_path / "board.png")
    shares, needed = drawn_ones[0].axes
    assert "x" not in {line.get_marker() for line in shares.get_lines()}
    assert {line.get_marker() for line in needed.get_lines()} == {"x"}


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="length 8: expected at least 16"):
        leaderboard.board((8,))
    with pytest.raises(ValueError, match="budget 0: expected at least 1"):
        leaderboard.board((64,), budget=0)


def test_every_method_names_its_source() -> None:
    for method in METHODS.values():
        assert method.source
        assert method.name == "exact" or "Source: " in str(method.run.__doc__)
