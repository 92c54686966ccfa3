"""How sparsifiers of kernel graphs are called, and what they may declare."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS
from assay.conformance.kernel_graph.interface import FUNCTIONS, functions
from assay.spec.criterion import bounded
from assay.spec.kernel_graph_sparsify import criteria as right

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.criterion import Criterion, Proof
    from assay.spec.kernel_graph_sparsify import Instance
    from assay.spec.precision import Precision

__all__ = ["INTERFACE", "criteria"]

_INDICES = ("int64", "int32", "uint32", "uint64", "int16", "uint16")
_FORM = Form(
    ("points",),
    "(points, *, function, parameter, error, seed), which returns the edges (left, right, weight), each once, "
    "with either end first",
    named=("error", "seed"),
)
_CAPABILITIES = (*functions(), Capability(CONCURRENT_CALLS), Capability(FRESH_OUTPUTS))


#: ``failure``: the probability, over seeds, with which the kernel may miss its error: it is asked for several seeds.
_CONVENTIONS: dict[str, tuple[str, ...]] = {"failure": ()}
_DRAWS = 8
_FALSE_ALARM = 2.0**-40  # the probability with which a kernel that keeps its word is blamed for a case


def _names(draw: int) -> tuple[str, str, str]:
    """The names of the outputs of one of the seeds."""
    suffix = f" of seed {draw + 1}" if draw else ""
    return f"left{suffix}", f"right{suffix}", f"weight{suffix}"


def _script(instance: Instance, kernel: Kernel, precision: Precision) -> Script:
    """One call, or one for each of several seeds; the number of edges is the kernel's."""
    reals = tuple(dict.fromkeys((precision.result, "float64")))
    steps = []
    for draw in range(_DRAWS if "failure" in kernel.conventions else 1):
        keywords = {
            "function": instance.function,
            "parameter": instance.parameter,
            "error": instance.error,
            "seed": instance.seed + draw,
        }
        outputs = tuple(
            Output(name, (None,), dtypes, ("edges",))
            for name, dtypes in zip(_names(draw), (_INDICES, _INDICES, reals), strict=True)
        )
        steps.append(Step((("points", instance.points),), keywords, outputs))
    return tuple(steps)


def _misses(failure: float) -> int:
    """The least number of seeds of which more fail with a probability of at most 2^-40.

    >>> _misses(2.0**-10), _misses(0.5)
    (4, 8)
    """

    def beyond(number: int) -> float:
        more = range(number + 1, _DRAWS + 1)
        return sum(math.comb(_DRAWS, k) * failure**k * (1 - failure) ** (_DRAWS - k) for k in more)

    return next(number for number in range(_DRAWS + 1) if beyond(number) <= _FALSE_ALARM)


def criteria(instance: Instance, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """What the quadratic form of the edges is held to.

    Of a kernel that may fail for some seeds, some may: that more do is so unlikely that it shows that the kernel fails
    more often than it declares.
    """
    held = right(instance, precision)
    if "failure" not in kernel.conventions:
        return held
    failure, form = float(kernel.conventions["failure"]), held["form"]
    allowed = _misses(min(failure, 1.0))

    def measure(*edges: NDArray[Any]) -> float:
        draws = [edges[3 * draw : 3 * draw + 3] for draw in range(_DRAWS)]
        ratios = sorted(float(form.ratio(*draw)) for draw in draws)
        return ratios[_DRAWS - 1 - allowed] if allowed < _DRAWS else 0.0

    def proves(*edges: NDArray[Any]) -> Proof:
        """Of the seed whose proof is the widest."""
        assert form.proves is not None
        proofs = [form.proves(*edges[3 * draw : 3 * draw + 3]) for draw in range(_DRAWS)]
        return max(proofs, key=lambda proof: proof.share)

    names = tuple(name for draw in range(_DRAWS) for name in _names(draw))
    words = f"errors, in units of what is allowed, of all seeds of {_DRAWS} but {allowed}"
    return {"form": bounded(measure, 1.0, words, names, proves)}


INTERFACE = Interface(
    (_FORM,),
    _script,
    ("function", "parameter", "error", "seed"),
    _CAPABILITIES,
    _CONVENTIONS,
    lists={"functions": FUNCTIONS},
)
