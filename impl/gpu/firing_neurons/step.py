"""One training step of two layers of firing neurons on a GPU, of which no table of correlations is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.impl.cpu.firing_neurons import checks
from assay.impl.gpu.attention.tile import COLUMNS, ROWS, THREADS, launch
from assay.impl.gpu.machine import Launch, card, standing_in, struct, view
from assay.spec.firing_neurons_training import Instance
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Machine

__all__ = ["run", "train_step"]

_WARP = 32


def train_step(
    data: Any, targets: Any, weights: Any, outer: Any, *, threshold: float = 0.0, rate: float = 1.0,
    loss: str = "squared",
) -> tuple[Any, Any, Any]:  # fmt: skip
    """One step on all points: the output (n, c) before it, the gradient (m, d), and the weights (m, d) after it.

    Arguments are as in :class:`assay.spec.firing_neurons_training.Instance`, in float32 or float64; arrays and streams
    are as for :func:`assay.impl.gpu.attention.exact`.  Besides its results a call takes the gradient of the loss in the
    output.  It computes all pairs, in O(n·m·(d + c)) operations.  Numbers on the device are not looked at: targets
    below 0 of the cross entropy, and a rate that leads to weights that are not finite, give an undefined result.

    Raises :class:`~assay.spec.problem.InvalidInstance` for shapes, types and options that do not fit, naming the
    argument, and ``ImportError`` where CuPy is not installed.  Source: GPU-9 of proofs_notes/gpu.md.
    """
    return run(card(), data, targets, weights, outer, threshold=threshold, rate=rate, loss=loss)


def run(
    machine: Machine, data: Any, targets: Any, weights: Any, outer: Any, *, threshold: float = 0.0, rate: float = 1.0,
    loss: str = "squared",
) -> tuple[Any, Any, Any]:  # fmt: skip
    """:func:`train_step` on a machine."""
    given = {"data": data, "targets": targets, "weights": weights, "outer": outer}
    given = {name: machine.given(array) for name, array in given.items()}
    instance = Instance(**standing_in(given), threshold=threshold, rate=rate, loss=loss)
    kind = given["data"].dtype
    if kind.name not in ("float32", "float64"):
        raise InvalidInstance(f"data: dtype {kind.name}, expected float32 or float64")
    (n, d), (m, c) = instance.data.shape, instance.outer.shape
    output, slope = machine.empty((n, c), kind), machine.empty((n, c), kind)
    gradient, moved = machine.empty((m, d), kind), machine.empty((m, d), kind)
    arguments = struct(
        **{name: view(machine, array, (1, 1, *array.shape)) for name, array in given.items()},
        output=machine.address(output),
        slope=machine.address(slope),
        gradient=machine.address(gradient),
        moved=machine.address(moved),
        points=n,
        neurons=m,
        dim=d,
        outputs=c,
        cross_entropy=int(instance.loss == "cross_entropy"),
        limit=float(checks.below(float(instance.threshold), kind)),
        threshold=float(instance.threshold),
        rate=float(instance.rate),
    )
    for kernel, launched in (
        ("forward", launch(-(-n // ROWS) * -(-c // COLUMNS), kind)),
        ("residual", Launch(-(-n // (THREADS // _WARP)), THREADS, 0)),
        ("backward", launch(-(-m // ROWS) * -(-d // COLUMNS), kind)),
    ):
        machine.run("firing_neurons/step.cu", f"{kernel}_{kind.name}", arguments, launched)
    return output, gradient, moved
