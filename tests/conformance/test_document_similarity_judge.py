"""What is special of document similarity for the judge: forms, numbers of Python, indices, and what is told."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bank.document_similarity import CORRECT

from assay.conformance.call.outcome import is_right_for
from assay.conformance.document_similarity.interface import adapted
from assay.conformance.document_similarity.meanings import MEANINGS
from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.suite import Case, Family, suite
from assay.conformance.interface.targets import kernel_of, missing
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.cases import cases
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import Run
from assay.spec.document_similarity import PRECISIONS, Instance, best_pairs, criteria, errors

SUITE = suite("document_similarity")
PLAIN = CORRECT[0].function


def one_collection(left: Any) -> Any:
    return PLAIN(left)


def two_collections(left: Any, right: Any) -> Any:
    return PLAIN(left, right)


def judged(kernel: Any, instance: Instance) -> Any:
    judge = Judge(kernel_of(kernel, "document_similarity"), PRECISIONS["float32"])
    return judge.outcome(Case("mine", Family("mine", "", ""), instance))


# --- forms ------------------------------------------------------------------------------------------------------------


def test_a_kernel_is_recognised_by_its_arrays() -> None:
    assert {kernel_of(f).problem for f in (PLAIN, one_collection, two_collections)} == {"document_similarity"}
    assert kernel_of(one_collection).positional == ("left",)


def test_a_form_that_lacks_a_collection_is_not_asked_for_it() -> None:
    documents = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    both, alone = Instance(documents, documents[:2]), Instance(documents)
    assert judged(PLAIN, both).status == judged(PLAIN, alone).status == "passed"
    assert (judged(one_collection, both).status, judged(one_collection, alone).status) == ("skipped", "passed")
    assert judged(one_collection, both).sentence == "takes one collection of documents"
    assert (judged(two_collections, both).status, judged(two_collections, alone).status) == ("passed", "declined")


@pytest.mark.parametrize("level", ["smoke", "standard"])
@pytest.mark.parametrize("needed", ["one_collection", "two_collections"])
def test_every_family_has_a_case_for_a_kernel_of_either_form_without_options(needed: str, level: str) -> None:
    plain = {needed, "weights", "negative_weights", "small_norms"}
    every, asked = set(), set()
    for case in cases(SUITE, PRECISIONS["float32"], level, 0):
        every.add(case.family.id)
        if all(SUITE.interface.needs(one) <= plain for one in (case.instance, *case.after, *case.beside)):
            asked.add(case.family.id)
    assert every - asked == {"inner-products"}


def test_a_kernel_that_takes_one_collection_and_nothing_else_passes() -> None:
    report = Run(Judge(kernel_of(one_collection, "document_similarity"), PRECISIONS["float32"]), "smoke", 0).report()
    assert report.passed, [gap.sentence for gap in report.incomplete]
    assert {case.reason for case in report.cases if "collection" in case.reason} == {
        "takes one collection of documents"
    }
    assert not any(case.status == "declined" for case in report.cases)


@pytest.mark.parametrize("kinds", [(int, int, float), (np.int32, np.uint64, np.float64), (np.intp, int, np.float32)])
def test_numbers_of_python_and_numpy_are_taken_for_arrays_without_axes(kinds: Any) -> None:
    def kernel(left: Any, right: Any = None) -> Any:
        return tuple(kind(x) for kind, x in zip(kinds, PLAIN(left, right), strict=True))

    documents = np.random.default_rng(1).standard_normal((4, 5)).astype(np.float32)
    assert judged(kernel, Instance(documents)).status == "passed"


@pytest.mark.parametrize("factor", ["0.5", 0.999, "0", "nan", "inf", "two"])
def test_a_factor_of_approximation_is_a_number_of_at_least_1(factor: Any) -> None:
    with pytest.raises(UsageError, match=f"option approximation={factor}: expected a number of at least 1"):
        kernel_of(PLAIN, "document_similarity", options={"approximation": factor})
    assert kernel_of(PLAIN, "document_similarity", options={"approximation": 1}).conventions == {"approximation": "1"}


def raising(left: Any, right: Any = None) -> Any:
    raise RuntimeError("no tile")


def of_two_outputs(left: Any, right: Any = None) -> Any:
    return PLAIN(left, right)[:2]


@pytest.mark.parametrize(("kernel", "words"), [(raising, "no tile"), (of_two_outputs, "returned")])
@pytest.mark.parametrize("other_calls", ["after", "beside"])
def test_a_call_without_the_outputs_of_a_criterion_answers_no_other_call(
    kernel: Any, words: str, other_calls: str
) -> None:
    drawn = np.random.default_rng(3).standard_normal((3, 4, 5)).astype(np.float32)
    instance, *others = (Instance(documents) for documents in drawn)
    case = Case("mine", Family("mine", "", ""), instance, **{other_calls: tuple(others)})
    outcome = Judge(kernel_of(kernel, "document_similarity"), PRECISIONS["float32"]).outcome(case)
    assert outcome.status == "failed"
    assert words in outcome.sentence
    assert "it is the answer" not in outcome.sentence
    assert not is_right_for(criteria(instance, "float32"), outcome.values)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((0.0, 1.0, 0.5), "returned i as float64"),
        ((True, False, 0.5), "returned i as builtins.bool"),
        ((np.array([0]), np.array([1]), 0.5), r"returned i of shape \(1,\)"),
        ((0, 1), "returned a tuple of 2"),
        ((0, 1, 1), "returned similarity as int64"),
        ((-1, 0, 0.5), r"pair is \[-1\], \[0\], a best pair \(0, 1\)"),
        ((0, 1, np.float32(np.nan)), "similarity is nan"),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_failure_in_words(answer: Any, words: str) -> None:
    outcome = judged(lambda left, right=None: answer, Instance(np.array([[1.0, 0.0], [1.0, 1.0]], np.float32)))
    assert outcome.failed
    assert re.search(words, outcome.sentence), outcome.sentence


def test_a_wrong_similarity_is_told_with_that_of_the_returned_pair_and_what_is_allowed_there() -> None:
    documents = np.array([[2.0, 0.0], [2.0, 2.0], [1.0, 1.0]], np.float32)
    instance = Instance(documents, measure="inner_product")
    outcome = judged(lambda left, *, measure="cosine": (0, 1, np.float32(5.0)), instance)
    most = float(errors(instance, PRECISIONS["float32"])[0, 1])
    assert outcome.expected == "the similarity of the returned pair (0, 1) is 4"
    assert outcome.allowed == most < 1e-5
    assert (
        f"similarity is 5, the similarity of the returned pair (0, 1) is 4 (tolerance {most:.2g})" in outcome.sentence
    )


def test_a_wrong_pair_is_told_with_both_similarities() -> None:
    documents = np.array([[2.0, 0.0], [2.0, 2.0], [1.0, 1.0]], np.float32)
    outcome = judged(lambda left: (0, 1, np.float32(np.sqrt(0.5))), Instance(documents))
    words = "a best pair (1, 2) of similarity 1; that of the returned pair is 0.707106781"
    assert (outcome.output, outcome.expected) == ("pair", words)
    assert outcome.allowed is not None
    assert outcome.allowed < 1e-5


def test_a_kernel_of_a_framework_gets_its_numbers_as_arrays_of_that() -> None:
    torch = pytest.importorskip("torch")
    returned = adapted(lambda left: (0, np.int32(1), 0.1), "torch")(None)
    assert all(isinstance(part, torch.Tensor) for part in returned)
    assert float(returned[2]) == 0.1  # in float64: no bit is lost
    with pytest.raises(Declined, match="takes two collections"):
        adapted(two_collections, "numpy")(np.ones((2, 2)))


def test_what_is_declared_is_validated() -> None:
    kernel = kernel_of(PLAIN, options={"pair": "exact", "through": "distance", "approximation": "1.5"})
    assert kernel.conventions == {"pair": "exact", "through": "distance", "approximation": "1.5"}
    with pytest.raises(ValueError, match="option pair=sure: expected one of rounded, exact"):
        kernel_of(PLAIN, options={"pair": "sure"})


def test_a_kernel_object_is_judged_as_it_is() -> None:
    kernel = Kernel("mine", adapted(PLAIN, "numpy"), keywords=frozenset({"least"}), problem="document_similarity")
    documents = np.random.default_rng(2).standard_normal((5, 6)).astype(np.float32)
    assert judged(kernel, Instance(documents, least=True)).status == "passed"
    assert judged(kernel, Instance(documents, measure="inner_product")).status == "skipped"


# --- families and meanings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRECISIONS)
def test_every_family_judges_something_in_every_class(name: str) -> None:
    """Of a family some case is in the domain; squares of large counts are beyond it where float16 stores them."""
    seen: dict[str, bool] = {}
    for case in cases(SUITE, PRECISIONS[name], "smoke", 0):
        inside = bool(np.isfinite(errors(case.instance, PRECISIONS[name])).all())
        seen[case.family.id] = seen.get(case.family.id, False) or inside
    assert [family for family, inside in seen.items() if not inside] == (
        ["huge", "faint"] if name == "float16-eager" else []
    )


def test_ties_have_several_best_pairs_and_planted_places_are_where_they_say() -> None:
    level = {case.name: case.instance for case in cases(SUITE, PRECISIONS["float32"], "standard", 0)}
    assert all(len(best_pairs(x)) > 1 for name, x in level.items() if name.startswith("ties: presence 6/6:8 twice"))
    for name, instance in level.items():
        if name.startswith("last: normal 9/17:10 at=last"):
            assert best_pairs(instance)[0] == (8, 16)
        if name.startswith("origin: normal 4/5:8 at=origin"):
            assert best_pairs(instance)[0] == (0, 0)


def test_a_meaning_that_changes_nothing_on_an_instance_says_so_or_is_right_there() -> None:
    """A right answer never contradicts all readings: where a reading is the right one, its criteria take the answer."""
    documents = np.eye(4, dtype=np.float32)[:, :3] + np.float32(0.25)
    instance = Instance(documents, documents[::-1].copy())
    right = criteria(instance, "float32")
    given = {meaning.id: meaning.criteria(instance, lambda other: criteria(other, "float32")) for meaning in MEANINGS}
    assert len(given) == len(MEANINGS), "two meanings of one name"
    assert given["measure"] is None
    assert given["self"] is None
    assert given["presence"] is not None
    assert set(right) == {"pair", "similarity"}


# --- targets ----------------------------------------------------------------------------------------------------------


def failing(name: str, words: str, precision: str = "float32") -> list[str]:
    """The sentences of the cases with these words in their names that a built-in fails at smoke."""
    if absent := missing(SUITE.targets[name]):
        pytest.skip(f"{', '.join(absent)} not installed")
    judge = Judge(kernel_of(name, "document_similarity"), PRECISIONS[precision])
    chosen = [case for case in cases(SUITE, judge.precision, "smoke", 0) if case.name.startswith(words)]
    assert chosen
    with np.errstate(all="ignore"):
        return [outcome.sentence for case in chosen if (outcome := judge.outcome(case)).failed]


@pytest.mark.filterwarnings("ignore")
def test_the_brute_force_index_of_hnswlib_does_not_normalise_its_query() -> None:
    assert failing("hnswlib:brute_force", "directions: normal 3/5:8")


def test_what_has_to_be_compiled_is_installed_by_an_extra_of_its_own() -> None:
    """hnswlib has no wheels: without a compiler it would keep all other targets from being installed."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert SUITE.targets["hnswlib:brute_force"].extra == "hnswlib"
    assert [name for name, needed in project["optional-dependencies"].items() if "hnswlib" in " ".join(needed)] == [
        "hnswlib"
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["sklearn:cosine_similarity", "torch:cosine_similarity"])
def test_small_norms_are_taken_for_larger_ones(name: str) -> None:
    assert failing(name, "tiny: normal 5/4:8 tiny")
    assert failing(name, "directions: normal 3/5:8") == []
    assert SUITE.targets[name].findings.keys() == {"small_norms"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["scipy:cdist", "gensim:matrix_similarity", "gensim:sparse_matrix_similarity", "faiss:flat"]
)
def test_what_passes_passes(name: str) -> None:
    for words in ("directions: normal 3/5:8", "tiny: normal 5/4:8 tiny", "huge: normal 5/4:8 huge"):
        assert failing(name, words) == []
