"""Hard instances: formula → vectors → attention → a kernel's output → the solver's answer; files and the corpus."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import itertools
import json
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import jsonschema
import ml_dtypes
import numpy as np
import pytest
from graphs import edges

import assay
from assay.impl import cpu
from assay.spec.instances import corpus, dimacs, families, file, truth
from assay.spec.instances.formula import Formula
from assay.spec.instances.hard import FAMILIES, Answer, HardProblem, hard, load
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.problem import InvalidInstance
from assay.spec.problem import problem as spec_of
from assay.spec.reductions import GapMaxInnerProduct, sufficient_classes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

HAS_SAT = all(map(importlib.util.find_spec, ("pysat", "cnfgen")))
HAS_TORCH = importlib.util.find_spec("torch") is not None
EXTRA = pytest.mark.skipif(not HAS_SAT, reason="python-sat or cnfgen is not installed")

SMALL: dict[str, dict[str, int]] = {
    "planted-ov": {"n": 20, "d": 12},
    "random-ov": {"n": 20, "d": 12},
    "gap": {"n": 20, "d": 48},
    "random-ksat": {"variables": 8},
    "pigeonhole": {"pigeons": 3, "holes": 3},
    "parity": {"points": 4},
    "colouring": {"vertices": 4, "edges": 4},
}
RECORDED_MANIFEST = "8590bdba6dea20ef886405f4885c7b643f0d92d1ca621b4ea1dfc05f31fa147c"
NEEDS_SAT = ("pigeonhole", "parity", "colouring")


def textbook(instance: Any) -> NDArray[Any]:
    query, key, value = (array.astype(np.float64) for array in (instance.query, instance.key, instance.value))
    scores = instance.scale * (query @ key.swapaxes(2, 3))
    weights = np.exp(scores - scores.max(axis=3, keepdims=True))
    result: NDArray[Any] = ((weights @ value) / weights.sum(axis=3, keepdims=True)).astype(instance.query.dtype)
    return result


def tiled(instance: Any) -> NDArray[Any]:
    result: NDArray[Any] = cpu.attention.exact(instance.query, instance.key, instance.value, scale=instance.scale)
    return result


def sdpa(instance: Any) -> NDArray[Any]:
    import torch

    kind = getattr(torch, instance.query.dtype.name)
    arrays = (torch.from_numpy(array.astype(np.float32)).to(kind) for array in instance.arrays().values())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # handing out such small work takes longer than doing it
    try:
        output = torch.nn.functional.scaled_dot_product_attention(*arrays, scale=instance.scale)
    finally:
        torch.set_num_threads(threads)
    result: NDArray[Any] = output.float().numpy()
    return result


KERNELS: dict[str, tuple[Callable[[Any], NDArray[Any]], str]] = {
    "textbook float64": (textbook, "float64"),
    "textbook float32": (textbook, "float32"),
    "assay:cpu float32": (tiled, "float32"),
    "torch float32": (sdpa, "float32"),
    "torch bfloat16": (sdpa, "bfloat16"),
}


def formulas() -> list[Formula]:
    """Five hundred near the threshold, both answers, 2 to 12 variables; and the odd ones."""
    random = [families.random_formula(seed, 3 + seed % 10, 2 + seed % 2) for seed in range(500)]
    odd = [
        Formula(0, ()),
        Formula(0, ((),)),
        Formula(1, ()),
        Formula(3, ((), (1, 2))),
        Formula(2, ((1, -1),)),
        Formula(3, ((1, 1, -2), (2,), (2,))),
        Formula(1, ((1,), (-1,))),
        Formula(5, ((5,),)),
    ]
    return random + odd


@functools.cache
def solved() -> list[tuple[Formula, Any]]:
    """Each with a model of it, or ``None``."""
    return [(formula, truth.satisfying(formula)) for formula in formulas()]


@EXTRA
@pytest.mark.parametrize(
    ("kernel", "counting"),
    [  # bfloat16 is not accurate enough to count: test_which_classes_are_accurate_enough_is_computed
        *((kernel, False) for kernel in KERNELS),
        *((kernel, True) for kernel in KERNELS if kernel != "torch bfloat16"),
    ],
)
def test_outputs_decode_to_the_answers_of_the_solver(kernel: str, counting: bool, thorough: bool) -> None:
    if kernel.startswith("torch") and not HAS_TORCH:
        pytest.skip("torch is not installed")
    run, dtype = KERNELS[kernel]
    seen = set()
    for formula, model in solved()[:: 1 if thorough or kernel == "textbook float64" else 3]:
        problem = assay.hard("attention", formula, counting=counting, dtype=dtype)
        answer = problem.decode(run(problem.instance))
        assert answer.satisfiable == (model is not None)
        assert (answer.model is not None) == answer.satisfiable
        assert answer.model is None or formula.holds(answer.model)
        if counting:
            assert answer.count == problem.truth.count == truth.count_by_splitting(formula)
        seen.add(answer.satisfiable)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("dtype", "counting", "classes"),
    [
        ("float32", False, {"float32"}),
        ("float32", True, {"float32"}),
        ("bfloat16", False, {"bfloat16"}),
        ("bfloat16", True, set()),
    ],
)
def test_which_classes_are_accurate_enough_is_computed(dtype: str, counting: bool, classes: set[str]) -> None:
    problem = hard("attention", families.random_formula(1, 8), counting=counting, dtype=dtype)
    assert set(sufficient_classes(problem.reduced)) & {"float32", "bfloat16"} == classes


@pytest.mark.parametrize("counting", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_decodes_to_its_truth(family: str, counting: bool) -> None:
    if family in NEEDS_SAT and not HAS_SAT:
        pytest.skip("cnfgen is not installed")
    for seed in range(3):
        problem = hard("attention", family, seed, counting=counting, dtype="float64", **SMALL[family])
        answer = problem.decode(textbook(problem.instance))
        assert problem.right(answer)
        assert answer.satisfiable == problem.truth.satisfiable
        assert answer.count == (problem.truth.count if counting or not answer.satisfiable or family == "gap" else None)


def test_a_wrong_answer_is_not_right() -> None:
    problem = hard("attention", "planted-ov", 1, n=20, d=12, counting=True)
    none = np.ones((1, 1, 20, 1))
    assert not problem.right(problem.decode(none))
    every = np.full((1, 1, 20, 1), 0.5)
    assert not problem.right(problem.decode(every))


@pytest.mark.parametrize("family", ["planted-ov", "gap"])
def test_a_pair_that_is_none_is_not_right(family: str) -> None:
    problem = hard("attention", family, 1, **SMALL[family])
    (i, j) = problem.truth.pairs[0]
    assert problem.right(Answer(True, None, None, ((i, j),)))
    assert not problem.right(Answer(True, None, None, (((i + 1) % 20, j),)))


def test_a_model_that_is_none_is_not_right() -> None:
    problem = hard("attention", Formula(2, ((1,), (-2,))))
    assert problem.right(Answer(True, None, (True, False)))
    assert not problem.right(Answer(True, None, (True, True)))


def test_the_truth_of_vectors_is_that_of_all_pairs() -> None:
    problem = hard("attention", "random-ov", 2, n=30, d=10)
    products = problem.source.left.astype(int) @ problem.source.right.T.astype(int)
    assert problem.truth.count == (products == 0).sum()
    assert [list(pair) for pair in problem.truth.pairs] == np.argwhere(products == 0).tolist()


def test_a_file_a_formula_and_its_vectors_are_the_same_source(tmp_path: Path) -> None:
    formula = families.random_formula(5, 8)
    dimacs.write(tmp_path / "f.cnf", formula)
    from_file, given = hard("attention", tmp_path / "f.cnf"), hard("attention", formula)
    assert (from_file.source, from_file.truth) == (given.source, given.truth)
    assert (from_file.family, given.family) == ("file", "given")
    vectors = given.reduced.stages[1]
    pair = hard("attention", (vectors.left, vectors.right))
    assert np.array_equal(pair.instance.query, given.instance.query)
    assert pair.truth.count == given.truth.count


def test_a_broken_promise_is_refused() -> None:
    left = np.array([[1, 1, 1, 0]], np.uint8)
    with pytest.raises(InvalidInstance, match="promise broken"):
        hard("attention", GapMaxInnerProduct(left, left, 4, Fraction(1, 4)))


def test_entries_of_the_gap_family_are_far_below_those_of_vectors() -> None:
    gap = hard("attention", "gap", n=256, d=64)
    vectors = hard("attention", "planted-ov", n=256, d=64)
    assert gap.entry_bound_over_root_log < 2.5 < vectors.entry_bound_over_root_log
    assert gap.entry_bound == float(gap.sizes["B"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: hard("attention", "planted-ov", n=1 << 30, d=1 << 12), r"planted-ov with n = 1073741824.* would take"),
        (lambda: hard("attention", "random-ksat", variables=60), r"2147483649 vectors of .* would take .*memory"),
        (
            lambda: hard("attention", Formula(2000, ((1,),))),
            r"2000 variables and 1 clauses, 2\^1000 vectors: .* would take",
        ),
        (lambda: hard("attention", Formula(2**31 - 1, ((1,),))), r"2147483647 variables .* would take .* 2\^60 bytes"),
        (lambda: hard("attention", "planted-uv"), "unknown family 'planted-uv': expected a CNF file or one of planted"),
        (lambda: hard("attentoin", "gap"), "unknown problem 'attentoin': expected one of attention"),
        (lambda: hard("attention", 3), "source of type int: expected a formula, vectors, a path or a family"),
        (lambda: hard("attention", "gap", variables=3), "gap: no parameter 'variables', expected n, d, planted"),
        (lambda: hard("attention", Formula(1, ()), n=3), "n: only families take parameters"),
        (lambda: hard("attention", "gap", dtype="int8"), "dtype 'int8': expected one of float64"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call: Any, said: str) -> None:
    with pytest.raises(InvalidInstance, match=said):
        call()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (np.ones((20, 1)), r"output has shape \(20, 1\): expected \(1, 1, 20, 1\)"),
        (np.full((1, 1, 20, 1), np.nan), r"output\[0, 0, 0, 0\] is nan"),
        (np.full((1, 1, 20, 1), -np.inf), r"is -inf"),
    ],
)
def test_an_output_that_is_none_is_refused(output: NDArray[Any], said: str) -> None:
    problem = hard("attention", "planted-ov", n=20, d=12)
    with pytest.raises(ValueError, match=said):
        problem.decode(output)


# --- files ------------------------------------------------------------------------------------------------------------


def same(one: HardProblem, other: HardProblem) -> bool:
    arrays = one.instance.arrays(), other.instance.arrays()
    equal = all(arrays[0][name].tobytes() == arrays[1][name].tobytes() for name in arrays[0])
    sources = [each.source for each in (one, other)]
    if isinstance(sources[0], Formula):
        equal &= sources[0] == sources[1]
    else:
        equal &= all(np.array_equal(getattr(sources[0], side), getattr(sources[1], side)) for side in ("left", "right"))
    return equal and one.described() == other.described() and one.instance.values() == other.instance.values()


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("family", ["planted-ov", "gap", "random-ksat"])
def test_what_is_saved_is_loaded_the_same(family: str, dtype: str, suffix: str, tmp_path: Path) -> None:
    problem = hard("attention", family, 1, dtype=dtype, counting=True, **SMALL[family])
    problem.save(tmp_path / f"x{suffix}")
    loaded = load(tmp_path / f"x{suffix}")
    assert same(problem, loaded)
    output = textbook(problem.instance)
    assert loaded.decode(output) == problem.decode(output)


def test_the_npz_is_an_instance_that_the_judge_reads(tmp_path: Path) -> None:
    problem = hard("attention", "planted-ov", 1, n=20, d=12)
    problem.save(tmp_path / "x.npz")
    instance = assay.spec.attention.Instance.load(tmp_path / "x.npz")
    assert np.array_equal(instance.query, problem.instance.query)
    assert (instance.provenance.family, instance.provenance.truth["count"]) == ("planted-ov", problem.truth.count)


def test_the_npz_holds_the_exact_source_and_no_pickle(tmp_path: Path) -> None:
    problem = hard("attention", "random-ksat", 1, variables=8)
    problem.save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
        literals = archive["hard.clauses"].tolist()
        said = json.loads(archive["hard.metadata"].tobytes())
    assert literals == [x for clause in problem.source.clauses for x in (*clause, 0)]
    assert {"schema_version", "family", "seed", "sizes", "entry_bound", "entry_bound_over_root_log"} <= set(said)
    assert Fraction(said["needed_accuracy"]) == problem.accuracy
    assert said["truth"]["certified"]


@pytest.mark.parametrize("family", ["planted-ov", "gap", "random-ksat"])
def test_the_json_keeps_its_schema(family: str) -> None:
    schema = file.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    whole = json.loads(hard("attention", family, 1, **SMALL[family]).to_json())
    jsonschema.validate(whole, schema)
    del whole["source"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(whole, schema)


def test_hexadecimal_numbers_are_those_of_the_arrays() -> None:
    problem = hard("attention", "random-ksat", 1, variables=6, dtype="bfloat16")
    whole = json.loads(problem.to_json())
    for name, array in problem.instance.arrays().items():
        numbers = np.array([float.fromhex(x) for x in whole["arrays"][name]["numbers"]])
        kept = numbers.astype(ml_dtypes.bfloat16).reshape(whole["arrays"][name]["shape"])
        assert kept.tobytes() == array.tobytes()


def test_a_file_whose_arrays_are_not_those_of_its_source_is_refused(tmp_path: Path) -> None:
    problem = hard("attention", "planted-ov", 1, n=8, d=8)
    problem.save(tmp_path / "x.json")
    whole = json.loads((tmp_path / "x.json").read_text())
    whole["source"]["left"][0] = "".join("10"[int(x)] for x in whole["source"]["left"][0])
    (tmp_path / "y.json").write_text(json.dumps(whole))
    with pytest.raises(InvalidInstance, match=r"y\.json: query is not what the reductions make from the source"):
        load(tmp_path / "y.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda whole: whole.update(schema_version=1), "schema_version 1, expected 2"),
        (lambda whole: whole.pop("truth"), "damaged hard instance"),
        (lambda whole: whole.update(reductions=["OV-99"]), "unknown reduction 'OV-99'"),
        (lambda whole: whole["source"].update(left=["01x"]), "damaged hard instance"),
        (lambda whole: whole["values"].update(scale="0x1p-9"), "options or arrays are not those"),
        (lambda whole: whole["values"].update(is_causal=True), "options or arrays are not those"),
        (lambda whole: whole.pop("values"), "damaged hard instance"),
        (lambda whole: whole.update(problem="rope"), "problem 'rope', but the reductions end in attention"),
        (lambda whole: whole["arrays"]["key"].update(dtype="float64"), "key is not what the reductions make"),
        (lambda whole: whole.update(source_kind="graph"), "source_kind 'graph', expected one of formula"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(change: Any, said: str, tmp_path: Path) -> None:
    whole = json.loads(hard("attention", "planted-ov", 1, n=8, d=8).to_json())
    change(whole)
    (tmp_path / "x.json").write_text(json.dumps(whole))
    with pytest.raises(InvalidInstance) as caught:
        load(tmp_path / "x.json")
    assert str(caught.value).startswith(str(tmp_path / "x.json"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_ordinary_instance_is_no_hard_one(tmp_path: Path) -> None:
    hard("attention", "planted-ov", 1, n=8, d=8).instance.save(tmp_path / "x.npz")
    with pytest.raises(InvalidInstance, match="a saved instance without its source"):
        load(tmp_path / "x.npz")


# --- another problem than attention -----------------------------------------------------------------------------------


KERNEL_GRAPHS = ("kernel_graph", "kernel_graph_solve", "kernel_graph_sparsify")


@pytest.fixture
def sums() -> HardProblem:
    """Products with kernel graphs: arrows that know no type."""
    return hard("kernel_graph", "planted-ov", 1, n=8, d=6)


@pytest.mark.parametrize("problem", KERNEL_GRAPHS)
@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_hard_instance_of_another_problem_is_saved_and_loaded_the_same(
    problem: str, suffix: str, tmp_path: Path
) -> None:
    made = hard(problem, "planted-ov", 1, n=8, d=6)
    made.save(tmp_path / f"x{suffix}")
    loaded = load(tmp_path / f"x{suffix}")
    assert same(made, loaded)
    assert loaded.instance.problem == problem


def test_certified_outputs_of_kernel_graphs_decode_and_count_as_accurate() -> None:
    for planted in ("planted-ov", OrthogonalVectors([[1, 0, 1], [1, 1, 1]], [[0, 0, 1], [1, 1, 0]])):
        for problem in KERNEL_GRAPHS:
            made = hard(problem, planted, 1, **({"n": 6, "d": 5} if planted == "planted-ov" else {}))
            target = made.instance
            output = edges(target) if problem == "kernel_graph_sparsify" else None
            if output is None:
                output = spec_of(problem).define(target).midpoint
            else:
                output = np.stack([output[0], output[1], output[2].astype(np.float64)], axis=1)
            answer, error = made.decode(output), made.error(output)
            assert made.right(answer)
            assert problem == "kernel_graph_sparsify" or error is not None
            assert error is None or error < made.accuracy


def test_the_json_of_another_problem_keeps_the_schema_and_its_numbers(sums: HardProblem) -> None:
    whole = json.loads(sums.to_json())
    jsonschema.validate(whole, file.schema())
    numbers = [float.fromhex(x) for x in whole["arrays"]["points"]["numbers"]]
    assert numbers == sums.instance.points.ravel().tolist()
    assert whole["values"]["function"] == "gaussian"


def test_where_the_arrows_know_no_type_there_is_none_to_choose(sums: HardProblem) -> None:
    assert sums.options == {}
    assert sums.stored_as("bfloat16") is sums


def test_where_the_arrows_bound_no_entries_the_file_says_nothing_of_them(sums: HardProblem) -> None:
    assert (sums.entry_bound, sums.described()["entry_bound"]) == (1.0, "0x1.0000000000000p+0")
    sizes = {name: size for name, size in sums.sizes.items() if name != "B"}
    silent = replace(sums, reduced=replace(sums.reduced, sizes=sizes))
    assert (silent.entry_bound, silent.entry_bound_over_root_log) == (None, None)
    assert "entry_bound" not in silent.described()
    jsonschema.validate(json.loads(silent.to_json()), file.schema())


# --- corpus -----------------------------------------------------------------------------------------------------------


@EXTRA
def test_the_corpus_has_the_recorded_bytes(tmp_path: Path) -> None:
    corpus.write(tmp_path / "one")
    manifest = (tmp_path / "one" / "manifest.json").read_bytes()
    assert hashlib.sha256(manifest).hexdigest() == RECORDED_MANIFEST, "other bytes: raise corpus.VERSION"
    assert len(list(corpus.read(tmp_path / "one"))) == len(corpus.ENTRIES)
    assert corpus.write(tmp_path / "one") == len(list((tmp_path / "one").iterdir())) - 1  # over itself
    assert (tmp_path / "one" / "manifest.json").read_bytes() == manifest


@EXTRA
def test_the_corpus_holds_every_family_both_answers_and_all_arrows_to_attention() -> None:
    assert {entry.family for entry in corpus.ENTRIES} == set(FAMILIES)
    problems = [entry.made() for entry in corpus.ENTRIES]
    by_family = itertools.groupby(sorted((p.family, bool(p.truth.satisfiable)) for p in problems), lambda x: x[0])
    both = {family for family, answers in by_family if len({answer for _, answer in answers}) == 2}
    assert both >= {"gap", "random-ksat", "pigeonhole", "parity", "colouring"}
    assert {p.reduced.reduction.parts[-1].name for p in problems} == {"OV-2", "OV-3", "OV-4"}


@EXTRA
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda place: (place / "gap-none-0.npz").unlink(), r"gap-none-0\.npz: missing"),
        (lambda place: (place / "gap-none-0.npz").write_bytes(b"x"), r"gap-none-0\.npz: SHA-256"),
        (lambda place: (place / "manifest.json").unlink(), "no corpus, expected a folder with manifest.json"),
        (lambda place: (place / "manifest.json").write_text("{}"), "is not that of a corpus"),
    ],
)
def test_a_damaged_corpus_is_refused(damage: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        corpus,
        "ENTRIES",
        corpus.ENTRIES[-12:-10] + tuple(entry for entry in corpus.ENTRIES if entry.name == "gap-none-0"),
    )
    corpus.write(tmp_path / "c")
    damage(tmp_path / "c")
    with pytest.raises(InvalidInstance, match=said):
        list(corpus.read(tmp_path / "c"))


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InvalidInstance, match="holds other files, expected a new or empty folder"):
        corpus.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_vectors_of_no_ones_are_orthogonal_to_all() -> None:
    zero = OrthogonalVectors(np.zeros((3, 2)), np.ones((4, 2)))
    problem = hard("attention", zero, counting=True, dtype="float64")
    assert problem.decode(textbook(problem.instance)).count == problem.truth.count == 12
