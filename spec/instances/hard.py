"""Inputs that are provably hard, with the answer that a right output must decode to.

:func:`hard` takes a formula, a pair of sets or the name of a family, certifies the truth and walks the arrows of
:mod:`assay.spec.reductions` to the problem asked for.  The result decodes the output of any kernel.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import untrusted
from assay.spec.criterion import decided
from assay.spec.floats import dtype_named
from assay.spec.instances import dimacs, families, file, truth
from assay.spec.instances.extra import MissingExtra
from assay.spec.instances.formula import Formula
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.instances.truth import Truth
from assay.spec.memory import require_memory
from assay.spec.problem import PROBLEMS, InvalidInstance, Provenance
from assay.spec.problem import problem as spec_of
from assay.spec.reductions import REDUCTIONS, Composite, GapMaxInnerProduct, Satisfiability, Solutions, path, reduction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assay.spec.instance import Instance
    from assay.spec.reductions import Reduced

__all__ = ["FAMILIES", "Answer", "Family", "HardProblem", "hard", "load", "reduced_to"]

_CERTIFIABLE = 1 << 34  # words of brute force: about a minute
_EVALUABLE = 1 << 25  # pairs of a query and a key: some seconds of certified arithmetic
_MOST_PAIRS = 1000
_GAP = Fraction(1, 2)
_MOST_HALF = 60  # variables: 2^60 bytes are too many for any machine
_NODES: dict[type, str] = {  # their names in the graph
    Formula: "satisfiability",
    OrthogonalVectors: "orthogonal_vectors",
    GapMaxInnerProduct: "gap_max_inner_product",
}


@dataclass(frozen=True)
class Answer:
    """What an output decodes to.

    satisfiable: is there a model, an orthogonal pair, or a row of large inner product.  count: how many of them
    (models or pairs; ``None`` where the decoder gives none).  model: one, for a formula.  pairs: one, for vectors.
    """

    satisfiable: bool
    count: int | None = None
    model: tuple[bool, ...] | None = None
    pairs: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class HardProblem:
    """A hard instance of a problem, where it comes from, and its truth.

    reduced: the arrows, applied.  family, seed, parameters: of the generator; the family of a file is ``file``, that
    of a formula or of vectors ``given``.
    """

    problem: str
    reduced: Reduced
    truth: Truth
    options: Mapping[str, Any] = field(default_factory=dict)  # of the arrows
    family: str = "given"
    seed: int | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)

    @property
    def source(self) -> Any:
        """The formula or the vectors."""
        return self.reduced.source

    @property
    def instance(self) -> Any:
        """The instance, with its provenance."""
        answer = {"satisfiable": self.truth.satisfiable, "count": self.truth.count}
        note = f"hard: {self.reduced.reduction.name}"
        target: Instance = self.reduced.target
        return target.replace(provenance=Provenance(self.family, self.seed, note, answer))

    @property
    def accuracy(self) -> Fraction:
        """An output whose every element errs by less than this decodes to the truth."""
        return self.reduced.accuracy

    @property
    def sizes(self) -> dict[str, Any]:
        """n, d, … and B of the instance."""
        return dict(self.reduced.sizes)

    @property
    def entry_bound(self) -> float | None:
        """B: what bounds the entries of the instance, as the last arrow says; ``None`` where it says nothing."""
        return None if "B" not in self.reduced.sizes else float(self.reduced.sizes["B"])

    @property
    def entry_bound_over_root_log(self) -> float | None:
        """B/√ln m, m the number of keys: bounded where approximation is easy (the gap family stays near that line)."""
        if self.entry_bound is None or "m" not in self.reduced.sizes:
            return None
        return self.entry_bound / math.sqrt(math.log(max(self.reduced.sizes["m"], 2)))

    def decode(self, output: Any) -> Answer:
        """The answer that an output says: the one that the last arrow names, (1, 1, n, 1) for attention.

        For document similarity it is (i, j, similarity), or the similarity or the pair alone; for firing neurons the
        answers to all queries, one after another.

        Raises ``ValueError`` for another shape, NaN or infinity.
        """
        decoded = self.reduced.decode(output)
        if isinstance(decoded, Satisfiability):
            return Answer(decoded.satisfiable, decoded.count, decoded.model)
        assert isinstance(decoded, Solutions)
        witness = decoded.witness
        pairs = ((witness[0], witness[1]),) if witness is not None and len(witness) == 2 else ()
        return Answer(decoded.exists, decoded.count, None, pairs)

    def error(self, output: Any) -> float | None:
        """At least the largest error of an element of an output, within 10⁻⁹ of it; less than ``accuracy`` decodes.

        Where the last arrow is about another error, as that of a solve in its energy, it is that one.
        Of answers of yes or no it is how far the margin of a wrong one is from 0 (firing neurons).
        ``None`` where the output is no number of the definition, as a pair of documents is none, and for instances of
        more than 2^25 pairs of a query and a key, whose certified evaluation would take long.
        """
        last = self.reduced.reduction.parts[-1]
        if last.error is not None:
            source, target = self.reduced.stages[-2:]
            return last.error(source, target, output)
        spec, sizes, name = spec_of(self.problem), self.reduced.sizes, self.reduced.reduction.output
        keys = sizes.get("combinations", sizes.get("m", sizes["n"]))
        if name not in spec.OUTPUTS or sizes["n"] * keys > _EVALUABLE:
            return None
        exact = spec.define(self.reduced.target, output=name)
        if np.asarray(output).dtype.kind == "b" and np.size(output) == exact.midpoint.size:
            wrong = decided(exact, np.asarray(0.0)).error(np.asarray(output).reshape(exact.shape))
            return float(wrong.max(initial=0.0) * (1 + 2.0**-50))
        array = np.asarray(output).astype(np.float64)
        if exact.shape == () and array.shape in ((1,), (3,)):  # the similarity, with or without its pair before it
            array = array[-1]
        if array.shape != exact.shape:
            return None
        return float((np.abs(array - exact.midpoint) + exact.radius).max() * (1 + 2.0**-50))

    def right(self, answer: Answer) -> bool:
        """Whether an answer agrees with the truth: a model holds, a pair is one, numbers are equal where known."""
        if self.truth.satisfiable is not None and answer.satisfiable != self.truth.satisfiable:
            return False
        if None not in (answer.count, self.truth.count) and answer.count != self.truth.count:
            return False
        if answer.model is not None and not self.source.holds(answer.model):
            return False
        return all(self._is_pair(i, j) for i, j in answer.pairs)

    def witnessed(self, answer: Answer, output: Any) -> bool:
        """Whether the output shows a solution that is one: a model that holds, or a pair that is one.

        A decoder looks for a partner of the vector that the output points at.  An output of one number everywhere
        points at none, so what is found there is not its merit.  An answer that names its pair in words of its own, as
        that of document similarity does, points at it whatever its numbers are.
        """
        if answer.model is None and not answer.pairs:
            return False
        held = answer.model is None or self.source.holds(answer.model)
        named = np.ndim(output) == 1 and np.size(output) > 1  # i and j, before a similarity where there is one
        points = named or np.unique(np.asarray(output).astype(np.float64)).size > 1
        return held and points and all(self._is_pair(i, j) for i, j in answer.pairs)

    def _is_pair(self, i: int, j: int) -> bool:
        product = int(self.source.left[i].astype(np.int64) @ self.source.right[j])
        return product >= self.source.threshold if isinstance(self.source, GapMaxInnerProduct) else product == 0

    def stored_as(self, dtype: str) -> HardProblem:
        """The same source reduced to arrays of another type; the entries are rounded up anew.

        Arrows whose targets hold integers know no types: there nothing changes.
        """
        if "dtype" not in self.reduced.reduction.options:
            return self
        last = self.reduced.reduction.parts[-1].name
        options = {**self.options, "dtype": dtype}
        return replace(self, reduced=reduced_to(self.problem, self.source, via=last, **options), options=options)

    def described(self) -> dict[str, Any]:
        """What a file says of it besides source and instance: JSON values."""
        bound, over_root = self.entry_bound, self.entry_bound_over_root_log
        entries = {} if bound is None else {"entry_bound": bound.hex()}
        entries |= {} if over_root is None else {"entry_bound_over_root_log": f"{over_root:.6g}"}
        truth = self.truth
        return {
            "problem": self.problem,
            "reductions": [part.name for part in self.reduced.reduction.parts],
            "options": dict(self.options),
            "family": self.family,
            "seed": self.seed,
            "parameters": dict(self.parameters),
            **file.source_metadata(self.source),
            "sizes": {name: str(x) if isinstance(x, Fraction) else x for name, x in self.sizes.items()},
            **entries,
            "needed_accuracy": str(self.accuracy),
            "truth": {
                "satisfiable": truth.satisfiable,
                "count": truth.count,
                "pairs": [list(pair) for pair in truth.pairs],
                "complete": truth.complete,
                "certified": list(truth.certified),
            },
        }

    def save(self, path: str | Path) -> None:
        """Write the instance file, ``.npz`` or ``.json`` (:mod:`assay.spec.instances.file`); :func:`load` reads it.

        Raises ``OSError`` where it cannot be written.
        """
        file.write(path, self.instance, self.source, self.described())

    def to_json(self) -> str:
        """The text of the ``.json`` file."""
        return file.to_json(self.instance, self.source, self.described())


@dataclass(frozen=True)
class Family:
    """A generator: ``make(seed, **parameters)`` gives a source and what is known of it by construction."""

    name: str
    what: str
    parameters: Mapping[str, int]  # and their defaults
    make: Callable[..., tuple[Any, tuple[tuple[int, int], ...]]]


def _formula_of(generate: Callable[..., Formula]) -> Callable[..., tuple[Any, tuple[tuple[int, int], ...]]]:
    return lambda seed, **parameters: (generate(seed, **parameters), ())


def _planted(seed: int, n: int, d: int) -> tuple[Any, tuple[tuple[int, int], ...]]:
    source, pair = families.planted_vectors(seed, n, d)
    return source, (pair,)


def _gap(seed: int, n: int, d: int, planted: int) -> tuple[Any, tuple[tuple[int, int], ...]]:
    source, threshold, pair = families.gap_vectors(seed, n, d, bool(planted))
    made = GapMaxInnerProduct(source.left, source.right, threshold, _GAP)
    return made, () if pair is None else (pair,)


#: The families by name, with the parameters that they take.
FAMILIES: dict[str, Family] = {
    each.name: each
    for each in (
        Family("planted-ov", "random vectors and one orthogonal pair", {"n": 1024, "d": 32}, _planted),
        Family(
            "random-ov",
            "random vectors, about one orthogonal pair",
            {"n": 1024, "d": 32},
            lambda seed, n, d: (families.random_vectors(seed, n, d), ()),
        ),
        Family(
            "gap",
            "inner products below t/2 but for a planted one of t (OV-4)",
            {"n": 1024, "d": 64, "planted": 1},
            _gap,
        ),
        Family(
            "random-ksat",
            "random k-SAT, at the threshold unless ratio (thousandths) is given",
            {"variables": 16, "k": 3, "ratio": 0},
            _formula_of(lambda seed, variables, k, ratio: families.random_formula(seed, variables, k, ratio or None)),
        ),
        Family(
            "pigeonhole",
            "pigeons in holes, no two in one (CNFgen)",
            {"pigeons": 4, "holes": 3},
            _formula_of(lambda seed, pigeons, holes: families.pigeonhole(pigeons, holes)),
        ),
        Family(
            "parity",
            "points in pairs (CNFgen)",
            {"points": 5},
            _formula_of(lambda seed, points: families.parity(points)),
        ),
        Family(
            "colouring",
            "a random graph's colourings (CNFgen)",
            {"vertices": 6, "edges": 9, "colours": 3},
            _formula_of(families.colouring),
        ),
    )
}


def hard(
    problem: str,
    source: Any,
    seed: int = 0,
    *,
    counting: bool = False,
    via: str | None = None,
    dtype: str = "float32",
    **parameters: int,
) -> HardProblem:
    """A hard instance of ``problem`` with its truth and its decoder.

    source: the name of a family (:data:`FAMILIES`), a path to a DIMACS CNF file, a
    :class:`~assay.spec.instances.formula.Formula`, an
    :class:`~assay.spec.instances.orthogonal_vectors.OrthogonalVectors`, a pair of 0/1 arrays, or a
    :class:`~assay.spec.reductions.problems.GapMaxInnerProduct`.  seed and parameters: of a family; a parameter may also
    be an option of the arrows that lead to the problem, as the ``layers`` of LC-11.
    counting: decode numbers too, which needs more accuracy (OV-3 in place of OV-2).
    via: the name of an arrow that is taken, where several lead to the problem (DOC-5b: the most similar pair).
    dtype: of the instance's arrays, where the arrows leave a choice.

    Raises :class:`~assay.spec.problem.InvalidInstance` for a source that is none, a promise that does not hold, and,
    before anything is allocated, an instance too large for this machine.

    >>> problem = hard("attention", ([[1, 0], [1, 1]], [[0, 1], [1, 1]]))
    >>> problem.truth.satisfiable, problem.truth.count, problem.truth.pairs
    (True, 1, ((0, 0),))
    """
    family, made = "given", source
    known: tuple[tuple[int, int], ...] = ()
    last = {option for arrow in REDUCTIONS if arrow.target == problem for option in arrow.options} - {"dtype", "scale"}
    own = set(FAMILIES[str(source)].parameters) if str(source) in FAMILIES else set()  # they go to the family
    options: dict[str, Any] = {name: parameters.pop(name) for name in sorted((last & set(parameters)) - own)}
    if isinstance(source, (str, Path)):
        family, made, known, parameters = _made(source, seed, parameters)
    elif isinstance(source, tuple) and len(source) == 2:
        made = OrthogonalVectors(*source)
    if type(made) not in _NODES:
        raise InvalidInstance(f"source of type {type(made).__name__}: expected a formula, vectors, a path or a family")
    if parameters and family in ("given", "file"):
        others = f", and arrows to {problem} take {', '.join(sorted(last))}" if last else ""
        raise InvalidInstance(f"{', '.join(parameters)}: only families take parameters{others}")
    reduced = reduced_to(problem, made, counting=counting, via=via, dtype=dtype, **options)
    if lacking := [name for name in options if name not in reduced.reduction.options]:
        raise InvalidInstance(f"{', '.join(lacking)}: no option of {reduced.reduction.name}")
    options |= {"dtype": dtype} if "dtype" in reduced.reduction.options else {}
    return HardProblem(
        problem,
        reduced,
        _certified(made, known, family),
        options,
        family,
        seed if family in FAMILIES else None,
        parameters,
    )


def load(path: str | Path) -> HardProblem:
    """Read what :meth:`HardProblem.save` wrote, and check it: the instance must be what the arrows make of the source.

    Raises :class:`~assay.spec.problem.InvalidInstance` in one line for everything else.
    """
    try:
        return _rebuilt(file.read(path))
    except InvalidInstance as error:
        said = untrusted.line(error)
        raise InvalidInstance(said if said.startswith(str(path)) else f"{path}: {said}") from None
    except OSError as error:
        raise InvalidInstance(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a file of a stranger names numbers, fractions, reductions, and options of these
        said = f"{type(error).__name__}: {untrusted.line(error)}"
        raise InvalidInstance(f"{path}: damaged hard instance ({said})") from None


def _rebuilt(written: file.Written) -> HardProblem:
    metadata = written.metadata
    route = Composite(tuple(reduction(name) for name in metadata["reductions"]))
    if route.target != metadata["problem"]:
        raise InvalidInstance(f"problem {metadata['problem']!r}, but the reductions end in {route.target}")
    _require_room(route, written.source, metadata["options"])
    reduced = route.apply(written.source, **metadata["options"])
    target: Instance = reduced.target
    arrays = target.arrays()
    values = json.loads(json.dumps(target.values()))  # tuples become lists
    if values != written.values or set(arrays) != set(written.arrays):
        raise InvalidInstance("options or arrays are not those that the reductions make from the source")
    for name, array in arrays.items():
        if array.dtype != written.arrays[name].dtype or not np.array_equal(array, written.arrays[name]):
            raise InvalidInstance(f"{name} is not what the reductions make from the source")
    said = metadata["truth"]
    certified = Truth(
        said["satisfiable"],
        said["count"],
        tuple((int(i), int(j)) for i, j in said["pairs"]),
        said["complete"],
        tuple(said["certified"]),
    )
    return HardProblem(
        metadata["problem"],
        reduced,
        certified,
        metadata["options"],
        metadata["family"],
        metadata["seed"],
        metadata["parameters"],
    )


def reduced_to(problem: str, source: Any, *, counting: bool = False, via: str | None = None, **options: Any) -> Reduced:
    """The arrows from a source to a problem, applied; each takes the options that it has.  Raises as :func:`hard`."""
    if problem not in PROBLEMS:
        raise InvalidInstance(f"unknown problem {problem!r}: expected one of {', '.join(PROBLEMS)}")
    try:
        route = path(_NODES[type(source)], problem, counts=counting, via=via)
        options = {name: value for name, value in options.items() if name in route.options}
        _require_room(route, source, options)
        return route.apply(source, **options)
    except InvalidInstance:
        raise
    except ValueError as error:
        raise InvalidInstance(str(error)) from None


def _require_room(route: Composite, source: Any, options: Mapping[str, Any]) -> None:
    """Raises InvalidInstance, before anything is allocated, where the instance is too large for this machine."""
    given = ""
    if isinstance(source, Formula):
        half = (source.variables + 1) // 2
        given = f"{source.variables} variables and {len(source.clauses)} clauses, 2^{half} vectors: "
        if half > _MOST_HALF:  # not even computed
            require_memory(1 << _MOST_HALF, f"{given}these")
    sizes = route.sizes(route.measure(source), **options)
    each = 1 + 3 * dtype_named(options.get("dtype", "float64")).itemsize  # a bit, a number and copies of it
    number = sizes["n"] + sizes.get("m", 0)
    require_memory(each * number * sizes["d"], f"{given}{number} vectors of {sizes['d']} coordinates")


def _made(
    source: str | Path, seed: int, parameters: Mapping[str, int]
) -> tuple[str, Any, tuple[tuple[int, int], ...], dict[str, int]]:
    """Family, source, pairs known by construction, all parameters."""
    family = FAMILIES.get(str(source))
    if family is None:
        if not isinstance(source, Path) and "." not in source and not Path(source).exists():
            raise InvalidInstance(f"unknown family {source!r}: expected a CNF file or one of {', '.join(FAMILIES)}")
        return "file", dimacs.read(source), (), dict(parameters)
    for name in parameters:
        if name not in family.parameters:
            raise InvalidInstance(f"{family.name}: no parameter {name!r}, expected {', '.join(family.parameters)}")
    given = {**family.parameters, **parameters}
    if "n" in given:  # the source itself, and float32 twice to check what it promises
        require_memory(10 * given["n"] * given["d"], f"{family.name} with n = {given['n']}, d = {given['d']}")
    made, known = family.make(seed, **given)
    return family.name, made, known, given


def _certified(source: Any, known: tuple[tuple[int, int], ...], family: str) -> Truth:
    if isinstance(source, Formula):
        return _certified_formula(source)
    words = -(-source.left.shape[1] // 64)
    if len(source.left) * len(source.right) * words > _CERTIFIABLE:
        if known:
            return Truth(True, None, known, False, (f"planted by {family}",))
        return Truth(None, None, (), False, ("not certified: too many pairs",))
    how = (f"planted by {family}",) if known else ()
    if isinstance(source, GapMaxInnerProduct):
        rows, pairs = truth.rows_reaching(OrthogonalVectors(source.left, source.right), source.threshold, _MOST_PAIRS)
        return Truth(rows > 0, rows, pairs, len(pairs) < _MOST_PAIRS, (*how, "every inner product"))
    count, found = truth.orthogonal_pairs(source, _MOST_PAIRS)
    pairs = tuple((int(i), int(j)) for i, j in found)
    if not set(known) <= set(pairs) and count <= _MOST_PAIRS:
        raise AssertionError("a planted pair is not among those that brute force finds")
    return Truth(count > 0, count, pairs, count <= _MOST_PAIRS, (*how, "every pair, 64 coordinates at a time"))


def _certified_formula(formula: Formula) -> Truth:
    count = truth.model_count(formula)
    how = ["counted by table or splitting"]
    try:
        if (truth.satisfying(formula) is not None) != (count > 0):
            raise AssertionError("python-sat and the counter disagree")  # never a wrong truth
        how.insert(0, "python-sat (CaDiCaL)")
    except MissingExtra:
        how.append("python-sat is not installed")
    return Truth(count > 0, count, (), False, tuple(how))
