"""What is special of firing neurons for the judge: scripts, keywords of methods, decisions within δ, questions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from bank.firing_neurons.correct import Plain
from bank.firing_neurons.engine import Table

from assay.conformance.call.outcome import is_right_for
from assay.conformance.firing_neurons.interface import criteria, steps
from assay.conformance.firing_neurons.meanings import MEANINGS, Played
from assay.conformance.firing_neurons.scripts import SCRIPTS
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.suite import Case, Family, suite
from assay.conformance.interface.targets import kernel_of, missing
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.cases import cases
from assay.conformance.judge.judge import Judge
from assay.conformance.profile.profile import answers
from assay.spec.firing_neurons import PRECISIONS, Instance, data_of, errors, fired, update

SUITE = suite("firing_neurons")
F32 = PRECISIONS["float32"]


def instance(*calls: Any, threshold: float = 1.0) -> Instance:
    data, weights = (np.array(rows, np.float32) for rows in ([[1.0], [2.0]], [[1.0], [0.25], [3.0]]))
    return Instance.of(data, weights, calls, threshold=threshold)


def judged(kernel: Any, one: Instance, **options: Any) -> Any:
    judge = Judge(kernel_of(kernel, "firing_neurons", options=options), F32)
    return judge.outcome(Case("mine", Family("mine", "", ""), one))


# --- how a structure is called ----------------------------------------------------------------------------------------


def made(data: Any, weights: Any, *, threshold: float) -> Table:
    return Table(data, weights, threshold=threshold)


def unsaid(data: Any, weights: Any, *, threshold: float):  # type: ignore[no-untyped-def]
    return Table(data, weights, threshold=threshold)


def of_a_name_that_is_not_there(data: Any, weights: Any, *, threshold: float) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
    return Table(data, weights, threshold=threshold)


def with_anything(data: Any, weights: Any, **options: Any) -> Table:
    return Table(data, weights, **options)


BOTH = {"fired.threshold", "data_of.threshold"}


@pytest.mark.parametrize(
    ("kernel", "shown"),
    [
        (Table, BOTH),
        (made, BOTH),
        (with_anything, BOTH),
        (Plain, set()),
        (unsaid, set()),
        (of_a_name_that_is_not_there, set()),
    ],
)
def test_a_threshold_in_a_query_is_shown_by_the_class_or_by_what_a_function_is_annotated_to_return(
    kernel: Any, shown: set[str]
) -> None:
    found = kernel_of(kernel)
    assert (found.problem, found.keywords) == ("firing_neurons", shown | {"threshold"})


def test_a_structure_without_thresholds_in_queries_is_not_asked_for_them() -> None:
    with_threshold = instance(fired([0], threshold=0.5))
    assert judged(Table, with_threshold).status == "passed"
    skipped = judged(Plain, with_threshold)
    assert (skipped.status, skipped.sentence) == ("skipped", "lacks fired_threshold")
    assert judged(Plain, instance(fired([0]))).status == "passed"


def test_a_script_has_a_step_for_the_structure_and_one_for_every_call() -> None:
    script = steps(instance(update([1], [[4.0]]), fired([1, 0]), data_of([2], threshold=0.5)))
    assert [step.method for step in script] == ["new", "update", "fired", "data_of"]
    assert [output.shape for step in script for output in step.outputs] == [(2, 3), (1, 2)]
    assert [dict(step.keywords) for step in script] == [{"threshold": 1.0}, {}, {}, {"threshold": 0.5}]
    assert [name for step in script[1:] for name, _ in step.arrays] == ["neurons", "weights", "points", "neurons"]


class WithoutDataOf:
    def __init__(self, data: Any, weights: Any, *, threshold: float) -> None:
        self.inner = Table(data, weights, threshold=threshold)
        self.update, self.fired = self.inner.update, self.inner.fired


class Raising(Plain):
    def update(self, neurons: Any, weights: Any) -> None:
        raise RuntimeError("no room")


class Numbers(Plain):
    def fired(self, points: Any) -> Any:
        return super().fired(points).astype(np.int64)


class Flat(Plain):
    def fired(self, points: Any) -> Any:
        return super().fired(points)[0]


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        (WithoutDataOf, "without a method 'data_of'"),
        (Raising, "step 2 of 4, update: raised RuntimeError: no room"),
        (Numbers, "returned fired at step 3 as int64, expected bool"),
        (Flat, "returned fired at step 3 of shape (3,), expected (2, 3)"),
    ],
)
def test_what_is_no_answer_is_a_failure_that_names_the_step(kernel: Any, words: str) -> None:
    outcome = judged(kernel, instance(update([1], [[4.0]]), fired([1, 0]), data_of([2])))
    assert outcome.failed
    assert words in outcome.sentence


def test_a_structure_that_declares_to_lack_a_side_is_judged_on_the_other() -> None:
    assert judged(WithoutDataOf, instance(fired([0])), data_of="no").status == "passed"
    assert judged(WithoutDataOf, instance(data_of([0])), data_of="no").status == "skipped"


# --- what is right ----------------------------------------------------------------------------------------------------


def test_a_tie_of_whole_numbers_does_not_fire() -> None:
    class Ties(Plain):
        def fired(self, points: Any) -> Any:
            return self.inner.table[points] >= 1.0

    outcome = judged(Ties, instance(fired([0])))
    assert outcome.failed
    assert "expected no: it is a tie" in outcome.sentence


class Wavering(Table):
    """Products that roundings bring to the threshold fire on every second question."""

    turn = False

    def fires(self, products: Any, threshold: float) -> Any:
        self.turn = not self.turn
        return products > threshold if self.turn else products > threshold * (1 + 2.0**-22)


def undecided() -> Instance:
    data = np.full((1, 3), 0.1, np.float32)
    product = np.float32(0.1) * np.float32(0.1) * 3
    return Instance.of(data, data, [fired([0]), fired([0])], threshold=float(product) * (1 - 2.0**-23))


def test_within_the_tolerance_either_answer_is_right_but_the_same_one_twice() -> None:
    outcome = judged(Wavering, undecided())
    assert outcome.failed
    assert outcome.output == "fired at step 3 as at step 2"
    assert judged(Wavering, undecided(), repeatable="no").status == "passed"
    assert judged(Table, undecided()).status == "passed"


def test_a_structure_that_refreshes_is_held_to_less_than_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    data = rng.standard_normal((2, 3)).astype(np.float32)
    big, small = 1e6 * data[:1], data[:1]
    one = Instance.of(data, data, [update([0], big), *[update([0], small)] * 3, fired([0])])
    kernel = kernel_of(Table, "firing_neurons")
    incremental = PRECISIONS["float32-incremental"]
    kept = kernel_of(Table, "firing_neurons", options={"refreshed_after": 2})
    without, refreshed = (criteria(one, k, incremental)["fired at step 6"].allowed[0, 0] for k in (kernel, kept))
    fresh = criteria(one, kept, F32)["fired at step 6"].allowed[0, 0]
    assert fresh < refreshed < without
    assert without > 0.1


@pytest.mark.parametrize("number", ["0", "-1", "nan", "some"])
def test_a_number_of_updates_is_a_positive_number(number: str) -> None:
    with pytest.raises(UsageError, match=f"option refreshed_after={number}: expected a positive number"):
        kernel_of(Table, "firing_neurons", options={"refreshed_after": number})


def test_answers_to_other_questions_are_right_for_none() -> None:
    """Of another instance, with as many steps and other numbers of points."""
    asked, other = instance(fired([0, 1])), instance(fired([0]))
    values = judged(Table, asked).values
    kernel = kernel_of(Table, "firing_neurons")
    assert is_right_for(criteria(asked, kernel, F32), values)
    assert not is_right_for(criteria(other, kernel, F32), values)
    twice = instance(fired([0]), fired([0]))
    assert not is_right_for(
        criteria(twice, kernel, F32), {**judged(Table, twice).values, "fired at step 3": np.zeros((2, 3), bool)}
    )


# --- families and meanings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float64", "float16", "float32-incremental"])
def test_every_family_judges_something_in_every_class(name: str) -> None:
    judges: dict[str, bool] = {}
    for case in cases(SUITE, PRECISIONS[name], "smoke", 0):
        finite = any(bool(np.isfinite(bound).any()) for bound in errors(case.instance, PRECISIONS[name]).values())
        judges[case.family.id] = judges.get(case.family.id, False) or finite
    assert all(judges.values()), judges


def test_every_family_has_a_case_for_a_structure_without_thresholds_in_queries() -> None:
    kernel = kernel_of(Plain)
    has = SUITE.interface.has(kernel)
    level = list(cases(SUITE, F32, "standard", 0, has))
    asked = {case.family.id for case in level if SUITE.interface.needs(case.instance) <= has}
    assert {case.family.id for case in level} - asked == {"thresholds", "near"}


def test_every_script_and_every_pattern_is_in_a_row() -> None:
    from assay.conformance.firing_neurons.options import NUMBERS, THRESHOLDS

    rows = [row for _, rows in SUITE.table for row in rows]
    words = {option for row in rows for option in row.options}
    assert {f"script={name}" for name in SCRIPTS} - words == {"script=queries"}  # which is what is left out
    assert {f"b={name}" for name in THRESHOLDS} - words == {"b=half"}
    assert set(NUMBERS) == {row.pattern for row in rows}


def test_a_right_structure_contradicts_every_meaning_that_changes_something() -> None:
    """What a meaning would answer differs from the right answer on some case, and the right answer is none of it."""
    kernel = kernel_of(Table, "firing_neurons")
    judge = Judge(kernel, F32)
    seen = {meaning.id: False for meaning in MEANINGS}
    assert len(seen) == len(MEANINGS), "two meanings of one name"
    for case in cases(SUITE, F32, "smoke", 0):
        values = judge.outcome(case).values
        right = criteria(case.instance, kernel, F32)
        for meaning in MEANINGS:
            if seen[meaning.id]:
                continue
            wrong = meaning.criteria(case.instance, lambda one: criteria(one, kernel, F32))
            if wrong is not None and not is_right_for(wrong, values):
                seen[meaning.id] = True
        assert is_right_for(right, values)
    assert [name for name, one in seen.items() if not one] == []


def test_a_structure_played_in_float64_is_right() -> None:
    for case in itertools.islice(cases(SUITE, PRECISIONS["float64"], "smoke", 0), 0, 40, 7):
        structure = Played(case.instance)
        for step, call in enumerate(case.instance.calls(), start=2):
            if call.weights is not None:
                structure.update(call.operands, call.weights.astype(np.float64))
                continue
            method = structure.fired if call.method == "fired" else structure.data_of
            name = f"{call.method} at step {step}"
            held_to = criteria(case.instance, Kernel("mine", Table), PRECISIONS["float64"])[name]
            assert (held_to.ratio(method(call.operands, call.threshold) > 0) <= 1).all()


# --- questions --------------------------------------------------------------------------------------------------------


class Careful(Table):
    """Every bad input is an error, and nothing is changed before it is seen."""

    def update(self, neurons: Any, weights: Any) -> None:
        self._ids(neurons, len(self.weights))
        if len(set(neurons.tolist())) < len(neurons):
            raise ValueError("a neuron twice")
        if weights.shape != (len(neurons), self.weights.shape[1]):
            raise ValueError("weights of another shape")
        if not np.isfinite(weights).all():
            raise ValueError("weights that are not finite")
        super().update(neurons, weights)

    def fired(self, points: Any, *, threshold: float | None = None) -> Any:
        self._ids(points, len(self.data))
        return super().fired(points, threshold=threshold)

    def _ids(self, ids: Any, most: int) -> None:
        if ((ids < 0) | (ids >= most)).any():
            raise IndexError("no such id")


class Careless(Table):
    """What is good of a batch is stored before the rest is looked at."""

    def update(self, neurons: Any, weights: Any) -> None:
        for neuron, row in zip(neurons, weights, strict=True):
            super().update(np.array([neuron]), row[None])


def told(kernel: Any) -> dict[str, str]:
    judge = Judge(kernel_of(kernel, "firing_neurons"), F32)
    return {answer.id: answer.answer for answer in answers(judge)}


def test_the_data_sheet_tells_that_bad_input_is_an_error_and_changes_nothing() -> None:
    sheet = told(Careful)
    for question in ("unknown", "negative", "unknown-point", "negative-point", "dim", "rows", "half-wrong", "nan"):
        assert sheet[question].startswith("raises "), (question, sheet[question])
        assert sheet[question].endswith("; the structure answers as before"), (question, sheet[question])
    assert sheet["twice"] == "raises ValueError: a neuron twice"
    assert sheet["empty"] == "is taken: nothing is updated, and no rows are returned"
    assert (sheet["repeated"], sheet["asked-again"]) == ("is answered twice", "the same answer")
    assert sheet["repeats"] == "the same bits in 5 calls"


def test_the_data_sheet_tells_what_bad_input_changes() -> None:
    sheet = told(Careless)
    assert sheet["half-wrong"].startswith("raises IndexError")
    assert sheet["half-wrong"].endswith("; the structure answers otherwise than before")
    assert sheet["negative"] == "is taken; the structure answers otherwise than before"
    assert sheet["twice"] == "the last one wins"
    assert sheet["nan-data"].startswith("is taken: ")


# --- targets ----------------------------------------------------------------------------------------------------------


def failing(name: str, words: str, level: str = "smoke", precision: str = "float32") -> list[str]:
    """The sentences of the cases with these words in their names that a built-in fails."""
    if absent := missing(SUITE.targets[name]):
        pytest.skip(f"{', '.join(absent)} not installed")
    judge = Judge(kernel_of(name, "firing_neurons"), PRECISIONS[precision])
    chosen = [case for case in cases(SUITE, judge.precision, level, 0) if case.name.startswith(words)]
    assert chosen
    with np.errstate(all="ignore"):
        return [outcome.sentence for case in chosen if (outcome := judge.outcome(case)).failed]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, target in SUITE.targets.items() if target.precisions])
def test_what_passes_passes(name: str) -> None:
    for words in ("removals: normal 4/8:3", "ties: whole 4/6:3", "thresholds: normal 4/6:3"):
        assert failing(name, words) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["faiss:hnsw_range_search", "hnswlib:index", "usearch:index"])
def test_a_graph_does_not_find_all_that_fire_where_rows_lie_in_groups(name: str) -> None:
    assert SUITE.targets[name].precisions == ()
    assert failing(name, "removals") == []
    sentences = failing(name, "clusters: clusters 12/400:8", "standard")
    assert sentences
    assert all("is False, expected yes" in sentence for sentence in sentences)
