"""LC-11: networks of any depth that do not collapse, and formulas decided by them."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from stacks import Rounding, stack

import assay
from assay.spec.enclosure import Enclosure
from assay.spec.floats import dtype_named
from assay.spec.instances import hard
from assay.spec.instances.formula import Formula
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.layer_collapse import Instance, collapse, counterpart, define, kappa
from assay.spec.layer_collapse.norms import head_norms, largest_distance
from assay.spec.problem import InvalidInstance
from assay.spec.reductions import orthogonal_pairs, path, reduction, sufficient_classes
from assay.spec.reductions.to_layer_collapse import outputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[Any]

LC_11 = reduction("LC-11")
#: The two networks whose query token and whose mean of tokens are the same: with a partner of (1, 1), and without.
TWINS = (OrthogonalVectors([[1, 1]], [[1, 1], [0, 0]]), OrthogonalVectors([[1, 1]], [[1, 0], [0, 1]]))
DEPTHS = (1, 2, 7, 32)


def vectors(count: int, seed: int = 0) -> Iterator[OrthogonalVectors]:
    """Two sets of every density, half of them with a planted pair."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        n, m, d = (int(x) for x in rng.integers(1, 7, 3))
        density = rng.random()
        left, right = (rng.random((rows, d)) < density for rows in (n, m))
        if number % 2:
            right[rng.integers(m)] &= ~left[rng.integers(n)]
        yield OrthogonalVectors(left, right)


@pytest.mark.claim("LC-11")
@pytest.mark.parametrize("scale", [None, 1.0, -0.25])
def test_every_left_vector_is_written_at_most_half_or_at_least_four_fifths_a_layer(scale: float | None) -> None:
    for source in vectors(24):
        layers = 1 + source.n % 3
        reduced = LC_11.apply(source, scale=scale, layers=layers)
        made = define(reduced.target)
        written = outputs(source, reduced.target, made.midpoint)
        partner = (source.left.astype(int) @ source.right.T == 0).any(axis=1)
        assert (written[partner] <= 0.5 * layers + 1e-9).all()
        assert (written[~partner] >= 0.8 * layers - 1e-9).all()
        answer = reduced.decode(made.midpoint)
        assert answer.exists == orthogonal_pairs(source).exists
        if answer.witness is not None:
            i, j = answer.witness
            assert not (source.left[i] & source.right[j]).any()


@pytest.mark.claim("LC-11")
def test_every_layer_writes_what_the_first_writes() -> None:
    reduced = LC_11.apply(TWINS[0], layers=4)
    after = define(reduced.target, 1e-15).midpoint
    assert after[:, 0, -1] == pytest.approx(after[0, 0, -1] * np.arange(1, 5))
    assert (after[:, :, :-1] == reduced.target.tokens[:, :-1]).all()


@pytest.mark.claim("LC-11")
@pytest.mark.parametrize("layers", DEPTHS)
def test_a_function_of_the_token_and_of_the_mean_errs_by_three_twentieths_a_layer(layers: int) -> None:
    one, two = (LC_11.apply(source, layers=layers).target for source in TWINS)
    assert (one.tokens[0] == two.tokens[0]).all()
    assert one.tokens.mean(axis=0) == pytest.approx(two.tokens.mean(axis=0), abs=1e-15)
    flat = [collapse(instance).midpoint[-1, 0] for instance in (one, two)]
    assert flat[0] == pytest.approx(flat[1])  # so does every collapsed network
    true = [define(instance).midpoint[-1, 0, -1] for instance in (one, two)]
    assert true[1] - true[0] >= 0.3 * layers
    assert all(counterpart(instance) == "one uniform layer" for instance in (one, two))
    for guess in (flat[0][-1], true[0], true[1], sum(true) / 2):
        assert max(abs(guess - x) for x in true) >= 0.15 * layers * (1 - 1e-12)


@pytest.mark.claim("LC-11")
def test_what_the_escape_needs_is_a_range_of_scores_of_ln_4_times_all_vectors() -> None:
    for source in TWINS:
        target = LC_11.apply(source).target
        d = largest_distance(Enclosure(target.tokens, np.zeros_like(target.tokens)))
        need = np.log(4 * (source.n + source.m))
        assert head_norms(target)[0][0, 0] * d**2 >= need
        assert head_norms(target)[0][0, 0] == pytest.approx(target.scale, rel=1e-7)
        assert kappa(target)[-1] >= need / 2  # κ says that such a network may do more than one layer


@pytest.mark.claim("LC-11")
@pytest.mark.parametrize("layers", [1, 3])
def test_the_decoder_is_right_at_the_worst_allowed_error_and_not_beyond(layers: int) -> None:
    for source, exact, direction in ((TWINS[0], Fraction(1, 2), 1), (TWINS[1], Fraction(4, 5), -1)):
        reduced = LC_11.apply(source, layers=layers)
        shape = (layers, *reduced.target.tokens.shape)
        worst = np.zeros(shape, dtype=object)
        worst[-1, 0, -1] = exact * layers  # what the claim allows, and a right stack may be off by
        truth = orthogonal_pairs(source).exists
        for share, right in ((Fraction(999, 1000), True), (Fraction(1001, 1000), False)):
            off = worst.copy()
            off[-1, 0, -1] += direction * share * reduced.accuracy
            assert (reduced.decode(off).exists == truth) == right


def models_exist(formula: Formula) -> bool:
    """Whether the formula has a model, by a solver that is not ours."""
    solvers = pytest.importorskip("pysat.solvers")
    with solvers.Solver(name="g4", bootstrap_with=[list(clause) for clause in formula.clauses]) as found:
        return bool(found.solve())


@pytest.mark.claim("LC-11")
@pytest.mark.parametrize("layers", [1, 3])
def test_formulas_through_a_stack_of_torch_and_back_equal_the_solver(layers: int, thorough: bool) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(layers)
    decided = {True: 0, False: 0}
    for _ in range(110 if thorough else 40):  # 220 in all in CI
        variables = int(rng.integers(2, 7))
        clauses = tuple(
            tuple(int(x) for x in (rng.permutation(variables)[:3] + 1) * rng.choice([-1, 1], min(3, variables)))
            for _ in range(round(variables * rng.uniform(2, 6)))
        )
        formula = Formula(variables, clauses)
        reduced = path("satisfiability", "layer_collapse").apply(formula, dtype="float32", layers=layers)
        instance = reduced.target
        x, after = torch.tensor(instance.tokens), []
        for layer in range(layers):
            weights = instance.query_weights, instance.key_weights, instance.value_weights
            q, k, v = (x @ torch.tensor(matrices[layer, 0]) for matrices in weights)
            x = x + torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=instance.scale)
            after.append(x.numpy())
        answer = reduced.decode(np.stack(after))
        assert answer.satisfiable == models_exist(formula)
        assert (answer.model is None) == (not answer.satisfiable)
        assert answer.model is None or formula.holds(answer.model)
        decided[answer.satisfiable] += 1
    assert min(decided.values()) >= 5


@pytest.mark.claim("LC-11")
@pytest.mark.parametrize(
    ("name", "rounding"),
    [("bfloat16", Rounding("float32", "bfloat16")), ("float16", Rounding("float32", "float16", eager=True))],
)
def test_short_types_decide_too_and_their_tolerance_promises_it(name: str, rounding: Rounding) -> None:
    for source in vectors(10, 5):
        reduced = LC_11.apply(source, dtype=name)
        assert reduced.target.tokens.dtype == dtype_named(name)
        if name in sufficient_classes(reduced):
            assert reduced.decode(stack(reduced.target, rounding)).exists == orthogonal_pairs(source).exists
    assert name in sufficient_classes(LC_11.apply(TWINS[0], dtype=name))


def test_a_hard_problem_is_made_saved_and_decoded(tmp_path: Any) -> None:
    made = assay.hard("layer_collapse", TWINS[0], layers=5)
    assert isinstance(made.instance, Instance)
    answer = made.decode(define(made.instance).midpoint)
    assert answer.satisfiable
    assert made.right(answer)
    made.save(tmp_path / "x.npz")
    again = hard.load(tmp_path / "x.npz")
    assert again.instance.layers == 5
    assert again.accuracy == made.accuracy == Fraction(3, 4)
    with pytest.raises(InvalidInstance, match="only families take parameters"):
        assay.hard("layer_collapse", TWINS[0], power=2)


def test_sizes_are_those_that_were_announced_and_nonsense_is_refused() -> None:
    source = TWINS[0]
    reduced = LC_11.apply(source, layers=5)
    assert (reduced.sizes["n"], reduced.sizes["d"]) == reduced.target.tokens.shape
    assert reduced.target.layers == reduced.sizes["layers"] == 5
    assert float(reduced.sizes["B"]) == np.abs(reduced.target.tokens).max()
    for options, words in (({"layers": 0}, "layers 0"), ({"scale": 0.0}, "scale 0.0"), ({"dtype": "int8"}, "dtype")):
        with pytest.raises(InvalidInstance, match=words):
            LC_11.apply(source, **options)
    with pytest.raises(ValueError, match="shape"):
        reduced.decode(np.zeros((1, 4, 5)))
