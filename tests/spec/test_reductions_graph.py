"""The graph: composition, sizes before and after, drawing; and formulas through kernels and back."""

from __future__ import annotations

import math
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from graphs import edges, potentials, sums
from hypothesis import given
from hypothesis import strategies as st

from assay.spec import (
    attention,
    attention_gradient,
    document_similarity,
    firing_neurons,
    kernel_graph,
    kernel_graph_solve,
    kernel_graph_sparsify,
    layer_collapse,
    rope_attention,
    small_transformers,
    tensor_attention,
)
from assay.spec.attention_gradient.loss import Loss
from assay.spec.instances.formula import Formula
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.reductions import (
    REDUCTIONS,
    Composite,
    GapMaxInnerProduct,
    Integral,
    KOrthogonalVectors,
    MaxInnerProduct,
    MonochromaticOrthogonalVectors,
    dot,
    draw,
    largest_tolerances,
    orthogonal_pairs,
    path,
    paths,
    problems,
    reduction,
    satisfiability,
    sufficient_classes,
)
from assay.spec.reductions.to_rope_attention import Backward
from assay.spec.reductions.to_tensor_attention import GapKMaxInnerProduct
from assay.spec.rope_attention.gradient import gradients

DTYPES = ("float64", "float32", "bfloat16", "float16")


def random_formula(rng: np.random.Generator, variables: int, clauses: int, width: int = 3) -> Formula:
    width = min(width, variables)
    return Formula(
        variables,
        tuple(
            tuple(int(x) for x in (rng.permutation(variables)[:width] + 1) * rng.choice([-1, 1], width))
            for _ in range(clauses)
        ),
    )


def gradient(loss: Loss) -> Any:
    """dL/dX in float64."""
    scores = loss.scale * loss.queries @ loss.weights @ loss.keys.T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    inner = (weights @ loss.values - loss.target) @ loss.values.T
    return loss.scale * loss.queries.T @ (weights * (inner - (weights * inner).sum(axis=1, keepdims=True))) @ loss.keys


def solved(target: Any) -> Any:
    """What an exact solver of the target would return."""
    if isinstance(target, attention.Instance):
        return attention.define(target).midpoint
    if isinstance(target, document_similarity.Instance):
        i, j = document_similarity.best_pairs(target)[0]
        return i, j, float(document_similarity.define(target).midpoint)
    if isinstance(target, firing_neurons.Instance):
        return firing_neurons.define(target, output="data_of").midpoint > 0
    if isinstance(target, layer_collapse.Instance):
        return layer_collapse.define(target).midpoint
    if isinstance(target, rope_attention.Instance):
        return rope_attention.define(target).midpoint
    if isinstance(target, tensor_attention.HigherOrder):
        return tensor_attention.define(target).midpoint
    if isinstance(target, small_transformers.Instance):
        return small_transformers.define(target).midpoint
    if isinstance(target, Backward):
        return gradients(target.instance, target.grad_output)["grad_key"].midpoint
    if isinstance(target, attention_gradient.Instance):
        return attention_gradient.define(target, output="grad_key").midpoint
    if isinstance(target, Loss):
        return gradient(target)
    if isinstance(target, Integral):
        return np.array([gradient(loss) for loss in target.losses])
    if isinstance(target, OrthogonalVectors):
        return orthogonal_pairs(target)
    if isinstance(target, kernel_graph.Instance):
        return sums(target)
    if isinstance(target, kernel_graph_solve.Instance):
        return potentials(target)
    if isinstance(target, kernel_graph_sparsify.Instance):
        return edges(target)
    return target.answer()


# --- composition ------------------------------------------------------------------------------------------------------


@pytest.mark.claim("RED-1")
@pytest.mark.parametrize(
    "target", sorted({*problems()} - {"satisfiability", "gap_max_inner_product", "gap_k_max_inner_product"})
)
def test_every_path_from_formulas_decodes_what_a_solver_finds(target: str) -> None:
    rng = np.random.default_rng(len(target))
    for route in paths("satisfiability", target):
        for _ in range(6):
            variables = int(rng.integers(1, 6))
            formula = random_formula(rng, variables, int(rng.integers(1, 5 * variables)))
            reduced, truth = route.apply(formula), satisfiability(formula)
            answer = reduced.decode(solved(reduced.target))
            assert answer.satisfiable == truth.satisfiable
            assert answer.model is None or formula.holds(answer.model)
            if route.counts:
                assert answer.count == truth.count


@pytest.mark.claim("RED-1")
def test_a_composite_has_the_accuracy_and_the_sizes_of_its_parts() -> None:
    formula = random_formula(np.random.default_rng(0), 7, 20)
    for route in (path("satisfiability", "attention"), path("satisfiability", "attention", counts=True)):
        reduced = route.apply(formula, dtype="float32")
        vectors = reduction("OV-1").apply(formula)
        last = route.parts[-1].apply(vectors.target, dtype="float32")
        assert reduced.accuracy == last.accuracy
        assert dict(reduced.sizes) == last.sizes
        assert reduced.sizes["B"] == Fraction(float(reduced.target.query.max()))
        assert reduced.stages[0] is formula
    assert route.claims == ("OV-1", "OV-3")


@pytest.mark.claim("RED-1")
@pytest.mark.parametrize("each", REDUCTIONS, ids=lambda each: each.name)
def test_sizes_are_known_before_the_target_is_built(each: Any) -> None:
    rng = np.random.default_rng(1)
    left, right = (rng.random((n, 5)) < 0.6 for n in (4, 3))
    source = {
        "satisfiability": random_formula(rng, 5, 9),
        "orthogonal_vectors": OrthogonalVectors(left, right),
        "k_orthogonal_vectors": KOrthogonalVectors([left, right, left]),
        "max_inner_product": MaxInnerProduct(left, right),
        "closest_pair": path("orthogonal_vectors", "closest_pair").apply(OrthogonalVectors(left, right)).target,
        "monochromatic_orthogonal_vectors": MonochromaticOrthogonalVectors(left),
        "gap_max_inner_product": GapMaxInnerProduct(np.ones((2, 3)), np.ones((4, 3)), 3, Fraction(1, 2)),
        "gap_k_max_inner_product": GapKMaxInnerProduct([np.ones((n, 3)) for n in (2, 4, 3)], 3, Fraction(1, 2)),
    }[each.source]
    reduced = each.apply(source)
    after = [other for other in REDUCTIONS if other.source == each.target]
    sizes, target = reduced.sizes, reduced.target
    if after:
        assert sizes == after[0].measure(target)
    elif each.target in ("attention", "attention_gradient", "small_transformers"):
        assert (sizes["n"], sizes["m"], sizes["d"]) == (target.query.shape[2], *target.key.shape[2:])
        assert sizes["B"] == Fraction(float(np.abs(target.key).max())) == Fraction(float(target.query.max()))
        assert target.provenance.family == each.name
    elif each.target == "loss_gradient":
        assert (sizes["n"], sizes["m"], sizes["d"]) == (len(target.queries), *target.keys.shape)
        assert sizes["B"] == Fraction(float(np.abs(target.keys).max())) == Fraction(float(target.queries.max()))
    elif each.target == "loss_integral":
        assert (sizes["n"], sizes["m"], sizes["d"]) == (len(target.losses[0].queries), *target.losses[0].keys.shape)
        assert sizes["calls"] == len(target.losses) == len(target.weights)
    elif each.target == "kernel_graph":
        assert (sizes["n"], sizes["m"], sizes["d"]) == (len(target.targets), *target.points.shape)
        assert sizes["parameter"] == Fraction(target.parameter)
        assert target.provenance.family == each.name
    elif each.target in ("kernel_graph_solve", "kernel_graph_sparsify"):
        assert (sizes["n"], sizes["d"]) == target.points.shape
        assert sizes["parameter"] == Fraction(target.parameter)
        assert target.provenance.family == each.name
    elif each.target == "document_similarity":
        others = {} if target.right is None else {"m": len(target.right)}
        assert sizes == {"n": len(target.left), "d": target.left.shape[1], **others}
        assert target.provenance.family == each.name
    elif each.target == "firing_neurons":
        lengths = {"n": "points", "d": "dim", "neurons": "neurons", "steps": "steps"}
        assert {name: sizes[name] for name in lengths} == {name: target.lengths()[x] for name, x in lengths.items()}
        assert target.provenance.family == each.name
    elif each.target in ("rope_attention", "rope_attention_gradient"):
        target = target.instance if isinstance(target, Backward) else target
        assert (sizes["n"], sizes["m"], sizes["d"]) == (target.query.shape[2], *target.key.shape[2:])
        assert sizes["B"] >= Fraction(float(max(np.abs(target.key).max(), np.abs(target.query).max())))
        assert target.provenance.family == each.name
    elif each.target == "tensor_attention":
        keys = target.mode_keys
        assert (sizes["n"], sizes["m"], sizes["d"]) == (
            target.query.shape[2],
            max(target.mode_lengths),
            keys[0].shape[3],
        )
        assert (sizes["k"], sizes["combinations"]) == (target.order, target.combinations)
        assert sizes["B"] == Fraction(float(max(np.abs(x).max() for x in (target.query, *keys))))
        assert target.provenance.family == each.name
    elif each.target == "layer_collapse":
        assert (sizes["n"], sizes["d"], sizes["layers"]) == (*target.tokens.shape, target.layers)
        assert sizes["B"] == Fraction(float(target.tokens.max()))
        assert target.provenance.family == each.name
    else:
        assert (sizes["n"], sizes["d"]) == target.points.shape


@pytest.mark.claim("RED-1")
def test_sizes_of_a_composite_need_no_memory() -> None:
    sizes = path("satisfiability", "attention").sizes({"variables": 200, "clauses": 860}, dtype="bfloat16")
    assert (sizes["n"], sizes["m"], sizes["d"]) == (2**100, 2**100 + 1, 860)
    assert float(sizes["B"]) == pytest.approx(math.sqrt(860 * math.log(4 * 2**100)), rel=2**-7)


def test_arrows_that_do_not_meet_do_not_compose() -> None:
    with pytest.raises(ValueError, match="OV-2 ends in attention, OV-1 starts from satisfiability"):
        reduction("OV-2").then(reduction("OV-1"))
    with pytest.raises(ValueError, match="no reductions"):
        Composite(())
    three = reduction("KOV-1").then(reduction("KOV-2")).then(reduction("OV-3"))
    assert three.name == "KOV-1 → KOV-2 → OV-3"
    assert (three.source, three.target, three.counts) == ("satisfiability", "attention", True)


def test_an_option_that_no_part_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"OV-1 → OV-2 has no option 'k': expected one of scale, dtype"):
        path("satisfiability", "attention").apply(Formula(2, ((1,),)), k=3)


def test_paths_are_found_and_their_lack_is_said() -> None:
    assert [each.name for each in paths("satisfiability", "attention")] == [
        "OV-1 → OV-2",
        "OV-1 → OV-3",
        "KOV-1 → KOV-2 → OV-2",
        "KOV-1 → KOV-2 → OV-3",
    ]
    assert not path("satisfiability", "attention").counts
    assert path("satisfiability", "attention", counts=True).counts
    with pytest.raises(ValueError, match="no reduction from attention to satisfiability"):
        path("attention", "satisfiability")
    with pytest.raises(ValueError, match="no reduction from orthogonal_vectors to kernel_graph_solve that counts"):
        path("orthogonal_vectors", "kernel_graph_solve", counts=True)
    with pytest.raises(ValueError, match="unknown problem 'sat'"):
        path("sat", "attention")
    with pytest.raises(ValueError, match="unknown reduction 'OV-0'"):
        reduction("OV-0")


def test_the_drawings_show_every_arrow_once() -> None:
    text, graph = draw(), dot()
    for each in REDUCTIONS:
        assert sum(line.startswith(f"  ─ {each.name} ") for line in text.splitlines()) == 1
        assert graph.count(f'"{each.source}" -> "{each.target}" [label="{each.name}"') == 1
    assert graph.startswith("digraph")
    assert graph.count("{") == graph.count("}") == 1


def test_names_are_unique_and_say_their_claims() -> None:
    assert len({each.name for each in REDUCTIONS}) == len(REDUCTIONS)
    assert all(each.name.rstrip("abcd") == each.claim for each in REDUCTIONS)


# --- formulas through kernels and back --------------------------------------------------------------------------------


@given(st.integers(1, 7), st.data())
def test_any_small_formula_survives_the_way_through_attention(variables: int, data: st.DataObject) -> None:
    literal = st.integers(1, variables).flatmap(lambda x: st.sampled_from([x, -x]))
    clauses = data.draw(st.lists(st.lists(literal, max_size=4).map(tuple), max_size=6).map(tuple))
    formula = Formula(variables, clauses)
    reduced = path("satisfiability", "attention", counts=True).apply(formula)
    answer, truth = reduced.decode(attention.define(reduced.target).midpoint), satisfiability(formula)
    assert (answer.satisfiable, answer.count) == (truth.satisfiable, truth.count)
    assert answer.model is None or formula.holds(answer.model)


def oracle(formula: Formula) -> int:
    """The number of models, by a solver that is not ours."""
    solvers = pytest.importorskip("pysat.solvers")
    if () in formula.clauses:
        return 0
    with solvers.Solver(name="g4", bootstrap_with=[list(c) for c in formula.clauses]) as found:
        total = 0
        while found.solve():
            model = {abs(x): x for x in found.get_model() or []}
            fixed = [model[i] for i in sorted({abs(x) for c in formula.clauses for x in c})]
            total += 2 ** (formula.variables - len(fixed))
            if not fixed:
                break
            found.add_clause([-x for x in fixed])
        return total


@pytest.mark.claim("RED-2")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_formulas_through_torch_and_back_equal_the_solver(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(DTYPES.index(dtype))
    promised = 0
    for number in range(130):  # 520 in all
        variables = int(rng.integers(2, 9))
        formula = random_formula(rng, variables, round(variables * rng.uniform(2, 5.5)))
        models = oracle(formula)
        deciding = path("satisfiability", "attention").apply(formula, dtype=dtype)
        instance = deciding.target
        q, k, v = (
            torch.tensor(x.astype(np.float64)).to(getattr(torch, dtype))
            for x in (instance.query, instance.key, instance.value)
        )
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=instance.scale).to(torch.float64).numpy()
        answer = deciding.decode(out)
        assert answer.satisfiable == (models > 0)
        assert (answer.model is None) == (models == 0)
        assert answer.model is None or formula.holds(answer.model)
        counting = path("satisfiability", "attention", counts=True).apply(formula, dtype=dtype)
        if number % 5 == 0 and len(sufficient_classes(counting)) == len(largest_tolerances(counting)):
            promised += 1
            assert counting.decode(out).count == models
    assert promised > 0


@pytest.mark.claim("RED-2")
def test_the_classes_that_suffice_are_those_whose_tolerance_is_below_the_accuracy() -> None:
    formula = random_formula(np.random.default_rng(3), 8, 30)
    expected = {
        False: {"float64": 1, "float32": 2, "bfloat16": 2, "float16": 2},
        True: {"float64": 1, "float32": 1, "bfloat16": 0, "float16": 1},
    }
    for counts, by_type in expected.items():
        for dtype, number in by_type.items():
            reduced = path("satisfiability", "attention", counts=counts).apply(formula, dtype=dtype)
            found = sufficient_classes(reduced)
            tolerances = largest_tolerances(reduced)
            assert len(found) == number
            assert found == tuple(name for name, error in tolerances.items() if error < reduced.accuracy)
            assert all(attention.tolerance(reduced.target, name).max() == tolerances[name] for name in tolerances)


@pytest.mark.claim("RED-2")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_worst_kernel_of_a_sufficient_class_still_decodes(dtype: str) -> None:
    rng = np.random.default_rng(5)
    for counts in (False, True):
        for _ in range(8):
            formula = random_formula(rng, 6, int(rng.integers(6, 30)))
            reduced = path("satisfiability", "attention", counts=counts).apply(formula, dtype=dtype)
            exact, truth = attention.define(reduced.target).midpoint, satisfiability(formula)
            for name in sufficient_classes(reduced):
                bound = attention.tolerance(reduced.target, name)
                for signs in (1, -1, rng.choice([-1, 1], bound.shape)):
                    answer = reduced.decode(exact + signs * bound)
                    assert answer.satisfiable == truth.satisfiable
                    assert not counts or answer.count == truth.count


def test_sufficiency_is_of_problems_with_a_definition_only() -> None:
    with pytest.raises(ValueError, match="the target is closest_pair: tolerances are known for attention"):
        sufficient_classes(reduction("OV-5").apply(OrthogonalVectors([[1]], [[1]])))


@pytest.mark.claim("OV-1")
def test_thirty_variables_and_130_clauses_take_less_than_a_second() -> None:
    formula = random_formula(np.random.default_rng(0), 30, 130)
    reduction("OV-1").apply(formula)
    before = time.process_time()
    reduced = reduction("OV-1").apply(formula)
    assert time.process_time() - before < 1
    assert reduced.sizes == {"n": 32768, "m": 32768, "d": 130}
    assert reduced.target.left.shape == reduced.target.right.shape == (32768, 130)
