"""The built-in training steps: assay's own, for CPUs and GPUs, NumPy's formula, and torch with its own gradients."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import Target, lazily

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["TARGETS"]

_KEYWORDS = frozenset({"threshold", "rate", "loss"})


def own(name: str) -> Kernel:
    """assay's own step, which touches the pairs that fire alone."""
    from assay.impl.cpu import firing_neurons

    return Kernel(name, firing_neurons.train_step, keywords=_KEYWORDS)


def dense(name: str) -> Kernel:
    return Kernel(name, _dense, keywords=_KEYWORDS, version=np.__version__)


def torch(name: str) -> Kernel:
    module = importlib.import_module("torch")
    return Kernel(name, _torch, "torch", _KEYWORDS, version=module.__version__)


def gpu(name: str) -> Kernel:
    """assay's own step for GPUs, which computes all pairs."""
    from assay.impl.gpu.firing_neurons import train_step

    module = importlib.import_module("cupy")
    return Kernel(name, train_step, "cupy", _KEYWORDS, version=str(module.__version__))


def _dense(
    data: Array, targets: Array, weights: Array, outer: Array, *, threshold: float, rate: float, loss: str = "squared"
) -> Any:
    """Products of whole matrices, in the type of the arrays or in float32."""
    kind = data.dtype
    wide: Any = np.float64 if kind == np.float64 else np.float32
    data, targets, weights, outer = (np.asarray(x, wide) for x in (data, targets, weights, outer))
    hidden: Array = data @ weights.T
    fires = hidden > threshold
    output = np.where(fires, hidden - hidden.dtype.type(threshold), 0) @ outer
    slope = output - targets
    if loss == "cross_entropy":
        power = np.exp(output - output.max(axis=1, keepdims=True))
        slope = targets.sum(axis=1, keepdims=True) * (power / power.sum(axis=1, keepdims=True)) - targets
    gradient = (np.where(fires, slope @ outer.T, 0).T @ data).astype(kind).astype(data.dtype)
    new = weights - gradient.dtype.type(rate) * gradient
    return output.astype(kind), gradient.astype(kind), new.astype(kind)


def _torch(
    data: Any, targets: Any, weights: Any, outer: Any, *, threshold: float, rate: float, loss: str = "squared"
) -> Any:
    """``torch.relu`` and autograd; ``torch.nn.functional`` for the loss."""
    from torch import enable_grad, relu
    from torch.nn import functional

    with enable_grad():
        free = weights.clone().requires_grad_()
        output = relu(data @ free.T - threshold) @ outer
        if loss == "squared":
            total = 0.5 * functional.mse_loss(output, targets, reduction="sum")
        else:
            total = -(targets * functional.log_softmax(output, dim=1)).sum()
        total.backward()
    gradient = free.grad
    return output.detach(), gradient, weights - rate * gradient


#: name → target.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("assay:cpu", ("float64", "float32"), (), "", lazily(__name__, "own", "assay:cpu")),
        Target(
            "cupy:firing_neurons_training", ("float64", "float32"), ("cupy",), "gpu",
            lazily(__name__, "gpu", "cupy:firing_neurons_training"), cuda=True,
        ),
        Target("numpy:dense", ("float64", "float32"), (), "", lazily(__name__, "dense", "numpy:dense")),
        Target(
            "torch:autograd", ("float64", "float32"), ("torch",), "torch", lazily(__name__, "torch", "torch:autograd")
        ),
    )
}  # fmt: skip
