"""Toy problems: a pure function, a structure that keeps state, the use of an oracle, a property of several outputs."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

from assay.conformance.diagnosis.meanings import Meaning, mixed, solves
from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Oracle, Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, Family, Suite, rows
from assay.conformance.interface.targets import Target, lazily
from assay.spec.criterion import bounded, close, decided
from assay.spec.enclosure import Enclosure
from assay.spec.floats import dtype_named
from assay.spec.instance import Instance, array, real
from assay.spec.precision import PRECISIONS
from assay.spec.problem import Law

Array = np.ndarray[Any, Any]
CASES = Family("cases", "what the toy is for", "toy")


@dataclass(frozen=True, eq=False)
class Doubling(Instance):
    problem = "toy.suites:DOUBLING"
    points: Array = array("points")
    factor: float = real(2.0)


def products(instance: Doubling, _kernel: Any, precision: Any) -> Any:
    """Products are exact in float64 up to a rounding; a kernel may round the factor, the product, sums and outputs."""
    exact = instance.points.astype(np.float64) * instance.factor
    size, n = np.abs(exact), exact.size
    u, tiny = float(ml_dtypes.finfo(precision.storage).eps), float(ml_dtypes.finfo(precision.storage).tiny)
    doubled = close(Enclosure(exact, 2.0**-52 * size), 4 * u * size + tiny)
    total = Enclosure(np.asarray(exact.sum()), np.asarray(n * 2.0**-52 * size.sum()))
    return {"doubled": doubled, "total": close(total, np.asarray((n + 4) * u * size.sum() + n * tiny))}


def doubling_asked(instance: Doubling, _kernel: Any, precision: Any) -> Any:
    keywords = {} if instance.factor == 2.0 else {"factor": instance.factor}
    shapes = {"doubled": instance.points.shape, "total": ()}
    outputs = tuple(Output(name, shape, (precision.result,)) for name, shape in shapes.items())
    return (Step((("points", instance.points),), keywords, outputs),)


def doubling_of(row: Any, provenance: Any, precision: Any) -> Doubling:
    rng = np.random.default_rng(provenance.seed)
    numbers = rng.standard_normal(int(row.size)) if row.pattern == "normal" else rng.integers(-9, 9, int(row.size))
    factor = 3.0 if "factor=3" in row.options else 2.0
    return Doubling(numbers.astype(dtype_named(precision.storage)), factor, provenance=provenance)


def without_the_last(instance: Doubling) -> Doubling:
    """A sum of no points is that of one zero."""
    return instance.replace(points=instance.points[:-1] if len(instance.points) > 1 else 0 * instance.points)


def appended(instance: Doubling, _rng: Any) -> Any:
    return (instance.replace(points=np.append(instance.points, instance.points.dtype.type(64))),)


TABLE = (
    (Family("lengths", "the last point left out", "toy"), rows("smoke", "normal integers", "1 2 5 8")),
    (Family("factors", "a factor that is fixed", "toy"), rows("smoke", "normal", "4", "factor=3") * 2),
    (Family("strides", "packed memory taken for granted", "toy"), rows("smoke", "normal", "6", layout="spaced")),
    (Family("state", "an answer of before", "toy"), rows("smoke", "normal", "9", "factor=3", after="factor numbers")),
    (Family("threads", "a buffer that calls share", "toy"), rows("smoke", "normal", "6", beside="numbers numbers")),
    (Family("long", "a tail", "toy"), rows("standard", "normal", "17 40")),
)
MEANINGS = (
    Meaning("ignored", "the factor ignored", solves(lambda i: None if i.factor == 2 else i.replace(factor=2.0))),
    Meaning("squared", "the factor applied twice", solves(lambda i: i.replace(factor=i.factor**2))),
    Meaning("short", "the last point left out of the sum", mixed(doubled=lambda i: i, total=without_the_last)),
)
APPENDED = Law("appended", "", "a point of 64 more makes the sum larger by its double", appended, lambda *_: {})
INTERFACE = Interface(
    (Form(("points",), "(points, *, factor=2.0)"),),
    doubling_asked,
    capabilities=(Capability("factor", lambda i: i.factor != 2.0, ("factor",)), Capability(CONCURRENT_CALLS)),
)
SPEC = SimpleNamespace(Instance=Doubling, LAWS=(APPENDED,), PRECISIONS=PRECISIONS)
DOUBLING = Suite(
    Doubling.problem, SPEC, INTERFACE, products, TABLE, doubling_of,
    changes={"numbers": lambda i: i.replace(points=-i.points), "factor": lambda i: i.replace(factor=-i.factor)},
    meanings=MEANINGS,
    targets={"toy:doubling": Target("toy:doubling", ("float32",), (), "toy", lazily("toy.kernels", "built_in"))},
)  # fmt: skip


def suite(kind: Any, form: Form, asked: Any, criteria: Any, build: Any, cases: Any, **more: Any) -> Suite:
    interface = Interface((form,), asked, tuple(word for word in ("threshold", "adder") if word in form.signature))
    spec = SimpleNamespace(Instance=kind, LAWS=(), PRECISIONS=PRECISIONS)
    return Suite(kind.problem, spec, interface, criteria, ((CASES, cases),), build, **more)


@dataclass(frozen=True, eq=False)
class Firing(Instance):
    """Step t sets the weight of a neuron where ``updates[t]``, else it asks for a point; ``which`` is taken modulo."""

    problem = "toy.suites:FIRING"
    data: Array = array("points")
    weights: Array = array("neurons")
    updates: Array = array("steps", kind="truth")
    which: Array = array("steps", kind="whole")
    new: Array = array("steps", like="data")
    threshold: float = real(1.0)


def history(firing: Firing, _kernel: Any, _precision: Any) -> Any:
    steps = [Step((("data", firing.data), ("weights", firing.weights)), {"threshold": firing.threshold}, method="new")]
    for t, which in enumerate(firing.which):
        neuron, point = (int(which) % len(x) for x in (firing.weights, firing.data))
        fired = Output(f"fired at {t}", firing.weights.shape, ("bool",), ("neurons",))
        if firing.updates[t]:
            steps.append(Step((("weight", firing.new[t]),), {"neuron": neuron}, method="update"))
        else:
            steps.append(Step((), {"point": point}, (fired,), method="fired"))
    return tuple(steps)


def decisions(firing: Firing, _kernel: Any, _precision: Any, *, lost: bool = False) -> Any:
    """Neuron j fires on point i if w_j·x_i > threshold: exact in float64 but for one rounding."""
    weights, held_to = firing.weights.astype(np.float64), {}
    for t, which in enumerate(firing.which):
        product = weights * float(firing.data[int(which) % len(firing.data)])
        size = np.abs(product) + abs(firing.threshold)
        if not firing.updates[t]:
            margin = Enclosure(product - firing.threshold, 2.0**-51 * size)
            held_to[f"fired at {t}"] = decided(margin, float(np.finfo(firing.data.dtype).eps) * size)
        elif not lost:
            weights[int(which) % len(weights)] = firing.new[t]
    return held_to


def firing_of(row: Any, provenance: Any, precision: Any) -> Firing:
    rng, sizes = np.random.default_rng(provenance.seed), [int(n) for n in row.size.split("x")]
    data, weights, new = (2 * rng.standard_normal(n).astype(precision.storage) for n in sizes)
    updates = rng.random(sizes[2]) < 0.5
    return Firing(data, weights, updates, rng.integers(0, 99, sizes[2]), new, provenance=provenance)


LOST = Meaning(
    "lost", "updates are lost", lambda i, _: decisions(i, None, None, lost=True) if i.updates.any() else None
)
FIRING = suite(
    Firing, Form(("data", "weights"), "(data, weights, *, threshold)"), history, decisions, firing_of,
    rows("smoke", "normal", "1x1x4 3x4x12 2x5x30"), meanings=(LOST,),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Total(Instance):
    problem = "toy.suites:TOTALS"
    numbers: Array = array("numbers")


def added(numbers: Array) -> Array:
    return np.asarray(numbers.sum(keepdims=True))


def sum_asked(total: Total, _kernel: Any, precision: Any) -> Any:
    output = Output("total", (1,), (precision.result,))
    return (Step((("numbers", total.numbers),), {"adder": Oracle(added, most=4)}, (output,)),)


def sum_and_calls(total: Total, _kernel: Any, _precision: Any) -> Any:
    """The first call adds four numbers, every other one the sum so far and three more."""
    exact, n = total.numbers.astype(np.float64), len(total.numbers)
    size, u, calls = (
        np.abs(exact).sum(keepdims=True),
        float(np.finfo(total.numbers.dtype).eps),
        1 + max(0, (n - 2) // 3),
    )
    return {
        "total": close(Enclosure(exact.sum(keepdims=True), n * 2.0**-52 * size), (n + 2) * u * size),
        "adder saw": bounded(lambda saw: abs(len(saw) - calls), 0.5, f"a difference to {calls} calls"),
    }


def total_of(row: Any, provenance: Any, precision: Any) -> Total:
    numbers = np.random.default_rng(provenance.seed).standard_normal(int(row.size))
    return Total(numbers.astype(precision.storage), provenance=provenance)


TOTALS = suite(
    Total, Form(("numbers",), "(numbers, *, adder)"), sum_asked, sum_and_calls, total_of,
    rows("smoke", "normal", "1 4 5 11 23"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Graph(Instance):
    problem = "toy.suites:EDGES"
    labels: Array = array("nodes", kind="whole")
    degrees: Array = array("nodes")


def edges_asked(graph: Graph, _kernel: Any, precision: Any) -> Any:
    ends = tuple(Output(name, (None,), ("int64",)) for name in ("left", "right"))
    return (Step(tuple(graph.arrays().items()), {}, (*ends, Output("weight", (None,), (precision.result,)))),)


def degrees_kept(graph: Graph, _kernel: Any, _precision: Any) -> Any:
    def missing(left: Array, right: Array, weight: Array) -> float:
        """The largest difference to a degree, a loop counted once; infinite where an end is no label."""
        if not len(left) == len(right) == len(weight) or not np.isin([left, right], graph.labels).all():
            return np.inf
        sums = [weight[(left == label) | (right == label)].sum(dtype=np.float64) for label in graph.labels]
        return float(np.abs(sums - graph.degrees.astype(np.float64)).max())

    limit = 8 * len(graph.labels) * float(np.finfo(graph.degrees.dtype).eps) * float(np.abs(graph.degrees).max())
    return {"degrees": bounded(missing, limit, "a difference to a degree", ("left", "right", "weight"))}


def graph_of(row: Any, provenance: Any, precision: Any) -> Graph:
    degrees = 1 + np.random.default_rng(provenance.seed).random(int(row.size))
    labels = np.arange(int(row.size)) + (2**53 if row.pattern == "large" else 0)
    return Graph(labels, degrees.astype(precision.storage), provenance=provenance)


EDGES = suite(
    Graph, Form(("labels", "degrees"), "(labels, degrees)"), edges_asked, degrees_kept, graph_of,
    rows("smoke", "small large", "1 2 7"),
)  # fmt: skip
