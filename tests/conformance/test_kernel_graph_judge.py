"""The judge of kernel graphs: what a kernel may declare, what is shrunk and named, and what the built-in kernels do."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import pytest
from bank.kernel_graph.buggy import BUGGY
from bank.kernel_graph.correct import CORRECT, plain
from bank.kernel_graph_solve.buggy import BUGGY as WRONG_SOLVERS
from bank.kernel_graph_solve.correct import CORRECT as SOLVERS
from bank.kernel_graph_sparsify.buggy import BUGGY as WRONG_SPARSIFIERS
from bank.kernel_graph_sparsify.correct import CORRECT as SPARSIFIERS

import assay
from assay.conformance.interface.suite import Case, Family, Row, suite
from assay.conformance.interface.targets import kernel_of, missing
from assay.conformance.judge.cases import cases
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import Chosen
from assay.conformance.kernel_graph.options import VECTORS, built
from assay.conformance.kernel_graph.points import POINTS
from assay.conformance.kernel_graph_solve.options import built as solve_built
from assay.conformance.report.finding import CaseResult
from assay.conformance.report.reading import from_json
from assay.conformance.report.words import proof as proof_of
from assay.conformance.report.words import proved
from assay.spec.criterion import Proof
from assay.spec.kernel_graph import PRECISIONS, Instance
from assay.spec.kernel_graph.functions import NAMES
from assay.spec.problem import Provenance

PROBLEM, SOLVE, SPARSIFY = "kernel_graph", "kernel_graph_solve", "kernel_graph_sparsify"
SUITES = (PROBLEM, SOLVE, SPARSIFY)
#: What is compiled on the first call or much like another is judged in CI alone.
_SLOW = {
    "pykeops:lazy_tensor", "assay:cpu-polynomial", "assay:cpu-multiply", "finufft:gauss-1e-12", "finufft:gauss-1e-5",
    "torch:cdist-mm", "sklearn:rbf_kernel", "sklearn:spectral_embedding-lobpcg",
}  # fmt: skip


def _function(name: str) -> Any:
    return next(entry.function for entry in (*CORRECT, *BUGGY) if entry.name == name)


def judged(
    kernel: Any, size: str, options: str = "", pattern: str = "normal", precision: str = "float32", **declared: str
) -> Any:
    judge = Judge(kernel_of(kernel, PROBLEM, options=declared), PRECISIONS[precision])
    row = Row("smoke", pattern, size, tuple(options.split()))
    return judge.outcome(Case("mine", Family("mine", "", ""), built(row, Provenance("test", 0), judge.precision)))


def test_the_names_of_the_arrays_and_keywords_tell_the_problem() -> None:
    assert kernel_of(plain).problem == PROBLEM
    assert kernel_of(SOLVERS[0].function).problem == SOLVE
    assert kernel_of(SPARSIFIERS[0].function).problem == SPARSIFY


def test_a_kernel_lacks_the_functions_that_its_list_does_not_name() -> None:
    kernel = kernel_of(plain, PROBLEM, options={"functions": "gaussian,laplacian"})
    assert suite(PROBLEM).interface.has(kernel) & set(NAMES) == {"gaussian", "laplacian"}
    with pytest.raises(ValueError, match="functions=gausian: no 'gausian'; did you mean gaussian"):
        kernel_of(plain, PROBLEM, options={"functions": "gausian"})


@pytest.mark.parametrize("pattern", ["far-100", "far-10000", "tiny"])
def test_norms_and_products_are_right_only_where_they_are_declared(pattern: str) -> None:
    options = "laplacian=100" if pattern == "tiny" else "gaussian=0.5"
    expanding = BUGGY[0].function
    assert judged(expanding, "6x2:3", options, pattern).failed
    assert judged(expanding, "6x2:3", options, pattern, "float32-expansion").status in ("passed", "outside")
    assert judged(plain, "6x2:3", options, pattern).status == "passed"


def test_an_outlier_finds_norms_and_products_of_centred_points() -> None:
    centring = next(entry.function for entry in BUGGY if entry.name == "mean-expansion")
    assert judged(centring, "6x2:2", "gaussian=0.5", "far-10000").status == "passed"
    assert judged(centring, "6x2:2", "gaussian=0.5", "outlier").failed
    assert judged(plain, "6x2:2", "gaussian=0.5", "outlier").status == "passed"


def test_a_route_that_begins_at_26_points_is_found_at_26_points() -> None:
    switching = next(entry.function for entry in BUGGY if entry.name == "by-number")
    assert judged(switching, "25:2", "gaussian=0.5", "far-100").status == "passed"
    assert judged(switching, "26:2", "gaussian=0.5", "far-100").failed


def test_a_distance_at_the_threshold_may_be_decided_either_way() -> None:
    for name in ("plain", "strict", "doubled"):
        assert judged(_function(name), "9x2:2", "threshold=2", "grid").status == "passed"
    assert judged(next(e.function for e in BUGGY if e.name == "threshold-not"), "9x2:2", "threshold=2", "grid").failed


def test_an_approximate_kernel_is_judged_by_the_error_that_is_asked_of_it() -> None:
    asked = []

    def rough(points: Any, vectors: Any, *, function: str, parameter: float, error: float = 1e-3) -> Any:
        asked.append(error)
        return plain(points, vectors, function=function, parameter=parameter) + np.float32(0.5 * error)

    assert judged(rough, "6x1:2", error="0.001").status == "passed"
    assert asked[-1] > 0
    assert judged(rough, "6x1:2").failed


def test_a_certificate_below_the_error_is_a_failure() -> None:
    def certified(share: float) -> Any:
        def kernel(
            points: Any, vectors: Any, *, function: str, parameter: float, return_certificate: bool = False
        ) -> Any:
            made = plain(points, vectors, function=function, parameter=parameter) + np.float32(1e-4)
            return (made, np.full(made.shape, share * 1e-4)) if return_certificate else made

        return kernel

    declared = {"error": "0.001", "certificate": "yes"}
    assert judged(certified(2.0), "6x2:2", **declared).status == "passed"
    assert judged(certified(0.5), "6x2:2", **declared).failed


@pytest.mark.parametrize("problem", SUITES)
def test_every_capability_is_needed_by_some_case(problem: str) -> None:
    known = suite(problem)
    found = cases(known, known.spec.PRECISIONS["float32"], "standard", 0)
    needed = frozenset[str]().union(*(known.interface.needs(case.instance) for case in found))
    never = {"concurrent_calls", "fresh_outputs", "own_function", "requested_error"}
    assert {c.name for c in known.interface.capabilities} - never - needed == set()


def test_every_pattern_of_points_and_vectors_occurs_in_the_table() -> None:
    rows = [row for problem in SUITES for _, table in suite(problem).table for row in table]
    assert {row.pattern for row in rows} == set(POINTS)
    options = {option for row in rows for option in row.options}
    assert {f"v={name}" for name in VECTORS} - {"v=normal"} <= options


@pytest.mark.parametrize("precision", ["float64", "float16"])
@pytest.mark.parametrize("problem", SUITES)
def test_every_row_is_an_instance_in_every_class(problem: str, precision: str) -> None:
    known = suite(problem)
    assert len(list(cases(known, known.spec.PRECISIONS[precision], "thorough", 0))) > 100


def test_equal_points_are_refused_where_a_function_is_infinite() -> None:
    x = np.zeros((2, 1), np.float32)
    with pytest.raises(ValueError, match="points: 0 and 1 are equal"):
        Instance(x, x, function="coulomb", parameter=0.5)


def test_a_sparsifier_may_declare_how_often_a_seed_fails() -> None:
    every, doubled = SPARSIFIERS[0].function, next(e.function for e in WRONG_SPARSIFIERS if e.name == "doubled")

    def failing(share: int) -> Any:
        """Wrong for one seed of so many."""

        def kernel(points: Any, *, function: str, parameter: float, error: float, seed: int) -> Any:
            chosen = doubled if seed % share == 0 else every
            return chosen(points, function=function, parameter=parameter, error=error, seed=seed)

        return kernel

    def outcome(share: int, **declared: str) -> Any:
        judge = Judge(kernel_of(failing(share), SPARSIFY, options=declared), suite(SPARSIFY).spec.PRECISIONS["float64"])
        case = next(iter(cases(suite(SPARSIFY), judge.precision, "smoke", 0)))
        return judge.outcome(case)

    assert outcome(4).failed
    assert outcome(4, failure="0.001").status == "passed"
    assert outcome(1, failure="0.001").failed


def test_a_pass_of_a_sparsifier_shows_on_screen_in_json_and_in_html_what_is_proved_of_it() -> None:
    pytest.importorskip("jinja2")
    heavier = next(entry.function for entry in SPARSIFIERS if entry.name == "heavier")
    report = assay.check(
        heavier, SPARSIFY, precision="float64", level="smoke", options={"functions": "gaussian"},
        chosen=Chosen(families={"errors"}),
    )  # fmt: skip
    proofs = [case.proved for case in report.cases if case.status == "passed"]
    assert proofs
    for proof in proofs:
        assert proof is not None
        assert proof.holds
        assert 0.9 - 1e-6 <= proof.share <= 0.9 + 1e-6
    line = proved(report)
    assert line.startswith(f"proved of {len(proofs)} of {len(proofs)} cases, nearest to the limit errors: ")
    assert "x'L_H x / x'L_G x of every x is proved in [1.0" in line
    assert line in report.to_text()
    assert line in report.to_junit()
    assert html.unescape(report.to_html()).count("of every x is proved in [") == len(proofs) + 1
    (read,) = from_json(report.to_json())
    assert [case.proved for case in read.cases] == [case.proved for case in report.cases]


def test_the_ends_of_a_proved_interval_are_rounded_outward() -> None:
    case = CaseResult("c", "f", "must", "passed", proved=Proof("x", 1.2399999999, 1.2400000001, 0.7, 1.3))
    assert proof_of(case) == "x is proved in [1.23999, 1.24001], allowed [0.7, 1.3]"
    nothing = CaseResult("c", "f", "must", "passed", proved=Proof("x", 0.0, np.inf, 0.7, 1.3))
    assert proof_of(nothing) == "x is proved in [0, inf], allowed [0.7, 1.3]"
    assert nothing.proved is not None
    assert not nothing.proved.holds


def test_of_several_seeds_the_widest_proof_is_shown_and_of_a_failure_none() -> None:
    precision = suite(SPARSIFY).spec.PRECISIONS["float64"]
    every = SPARSIFIERS[0].function

    def one_of_eight(points: Any, *, function: str, parameter: float, error: float, seed: int) -> Any:
        left, right, weight = every(points, function=function, parameter=parameter, error=error, seed=seed)
        return left, right, weight * (1 + (0.5 if seed % 8 == 3 else 0.25) * error)

    case = next(iter(cases(suite(SPARSIFY), precision, "smoke", 0)))
    shown = Judge(kernel_of(one_of_eight, SPARSIFY, options={"failure": "0.001"}), precision).outcome(case).proved
    assert shown is not None
    assert shown.share == pytest.approx(0.5, rel=1e-6)
    doubled = next(entry.function for entry in WRONG_SPARSIFIERS if entry.name == "doubled")
    assert Judge(kernel_of(doubled, SPARSIFY), precision).outcome(case).proved is None


def test_what_elimination_of_a_matrix_loses_is_asked_unless_a_solver_declares_it_away() -> None:
    precision, row = suite(SOLVE).spec.PRECISIONS["float64"], Row("smoke", "clusters", "7:9", ("gaussian=1", "b=first"))
    case = Case("mine", Family("mine", "", ""), solve_built(row, Provenance("test", 0), precision))
    eliminated, grounded = (
        next(entry for entry in SOLVERS if entry.name == name) for name in ("eliminated", "grounded")
    )
    assert "ill_conditioned" in suite(SOLVE).interface.needs(case.instance)
    assert Judge(kernel_of(eliminated.function, SOLVE), precision).outcome(case).status == "passed"
    assert Judge(kernel_of(grounded.function, SOLVE), precision).outcome(case).failed
    declared = kernel_of(grounded.function, SOLVE, options=grounded.options)
    assert Judge(declared, precision).outcome(case).status == "skipped"


@pytest.mark.parametrize("function", ["gaussian", "laplacian", "rational"])
def test_points_that_are_too_far_apart_for_float64_are_outside_every_class(function: str) -> None:
    x = 1e200 * np.arange(1.0, 4.0)[:, None]
    instance = Instance(x, np.ones((3, 1)), function=function)
    for name in PRECISIONS:
        if name.startswith("float64"):
            judge = Judge(kernel_of(plain, PROBLEM), PRECISIONS[name])
            assert judge.outcome(Case("mine", Family("mine", "", ""), instance)).status == "outside"


# --- what docs/findings.md tells --------------------------------------------------------------------------------------


def _marks(problem: str, name: str) -> list[Any]:
    return [pytest.mark.thorough] if name in _SLOW or (problem, name) == (SOLVE, "assay:cpu") else []


_TARGETS = [
    pytest.param(problem, name, id=f"{problem}-{name}", marks=_marks(problem, name))
    for problem in SUITES
    for name in suite(problem).targets
]


def _needed(problem: str, name: str) -> None:
    if absent := missing(suite(problem).targets[name]):
        pytest.skip(f"{', '.join(absent)} not installed")


def _few(problem: str, judge: Judge) -> list[Any]:
    """A sixth of the cases of the lowest level."""
    return list(cases(suite(problem), judge.precision, "smoke", 0))[::6]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("problem", "name"), _TARGETS)
def test_a_target_keeps_the_classes_that_it_documents(problem: str, name: str) -> None:
    _needed(problem, name)
    for precision in suite(problem).targets[name].precisions:
        judge = Judge(kernel_of(name, problem), suite(problem).spec.PRECISIONS[precision])
        outcomes = [judge.outcome(case) for case in _few(problem, judge)]
        assert [outcome.sentence for outcome in outcomes if outcome.failed] == []
        assert any(outcome.status == "passed" for outcome in outcomes)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["networkit:local_degree", "networkit:random_edge", "stag:approximate_similarity_graph"]
)
def test_a_sparsifier_that_promises_no_error_keeps_none(name: str) -> None:
    _needed(SPARSIFY, name)
    judge = Judge(kernel_of(name, SPARSIFY), suite(SPARSIFY).spec.PRECISIONS["float64"])
    level = [
        case for case in cases(suite(SPARSIFY), judge.precision, "smoke", 0) if case.instance.function == "gaussian"
    ]
    assert sum(judge.outcome(case).failed for case in level[:12]) >= 6


def test_torch_computes_distances_by_products_from_26_points_on() -> None:
    _needed(PROBLEM, "torch:cdist")
    assert judged("torch:cdist", "25:2", "gaussian=0.5", "far-100").status == "passed"
    assert judged("torch:cdist", "26:2", "gaussian=0.5", "far-100").failed
    assert judged("torch:cdist-differences", "26:2", "gaussian=0.5", "far-100").status == "passed"


@pytest.mark.filterwarnings("ignore")
def test_gpytorch_computes_distances_by_products() -> None:
    _needed(PROBLEM, "gpytorch:kernels")
    assert judged("gpytorch:kernels", "6x2:2", "gaussian=0.5", "outlier").failed
    assert judged("gpytorch:kernels", "6x2:2", "gaussian=0.5", "outlier", "float32-expansion").status == "passed"


@pytest.mark.filterwarnings("ignore")
def test_a_number_of_python_is_a_width_in_float32_to_gpytorch() -> None:
    kernels = pytest.importorskip("gpytorch.kernels")
    made = kernels.RBFKernel().double()
    made.lengthscale = 0.1
    assert abs(float(made.lengthscale.item()) - 0.1) > 1e-10


@pytest.mark.parametrize("problem", SUITES)
def test_another_call_with_other_numbers_has_other_distances(problem: str) -> None:
    """Or a kernel that keeps weights from call to call, or shares them between threads, would be right by chance."""
    rows = [row for family, rows in suite(problem).table if family.id == "concurrent" for row in rows]
    assert rows
    for row in rows:
        now = suite(problem).build(row, Provenance("test", 0), PRECISIONS["float64"])
        then = suite(problem).changes["numbers"](now)
        z, other = (np.square(i.points[:, None] - i.points[None]).sum(axis=2) for i in (now, then))
        assert np.abs(z - other).max() > 0.5


def test_a_residual_rule_fails_where_a_slight_part_of_the_right_side_has_the_energy() -> None:
    side = solve_built(
        Row("standard", "clusters", "9:2", ("gaussian=1", "b=nearby", "t=0.01")), Provenance("test", 0),
        PRECISIONS["float64"],
    )  # fmt: skip
    held = suite(SOLVE).spec.criteria(side, "float64")["x"]
    sparing = next(entry.function for entry in WRONG_SOLVERS if entry.name == "residual")
    x = sparing(side.points, side.right_side, function=side.function, parameter=side.parameter, tolerance=0.01)
    assert held.ratio(x) > 1.0
    exact = next(entry.function for entry in SOLVERS)
    x = exact(side.points, side.right_side, function=side.function, parameter=side.parameter, tolerance=0.01)
    assert held.ratio(x) <= 1.0
