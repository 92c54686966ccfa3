"""The module of torch: its outputs, gradients and steps are those of the dense layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from assay.impl import cpu
from assay.spec.problem import InvalidInstance

torch = pytest.importorskip("torch")


def made(dtype: Any = np.float64, **options: Any) -> tuple[Any, Any]:
    """A module, and the tensors of the dense layers: data, weight, outer."""
    from assay.impl.cpu.firing_neurons.module import FiringNeurons

    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in ((15, 5), (70, 5), (70, 3))]
    tensors = [torch.tensor(array) for array in arrays]
    tensors[1].requires_grad_()
    return FiringNeurons(*arrays, threshold=1.0, **options), tensors


def dense(tensors: Any, points: Any) -> Any:
    x, weight, outer = tensors
    return torch.relu(x[points] @ weight.T - 1.0) @ outer


@pytest.mark.claim("FIRE-6")
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("structure", [cpu.firing_neurons.CorrelationTree, cpu.firing_neurons.Table])
def test_output_and_gradient_are_those_of_the_dense_layers(sparse: bool, structure: Any) -> None:
    module, tensors = made(sparse=sparse, structure=structure)
    for points in ([3], [0, 4, 4, 14], list(range(15))):
        for by in (lambda y: (y**2).sum(), lambda y: torch.logsumexp(y, 1).sum()):
            found, expected = module(points), dense(tensors, points)
            assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
            by(found).backward()
            by(expected).backward()
            gradient = module.weight.grad
            assert gradient.is_sparse == sparse
            assert torch.allclose(gradient.to_dense(), tensors[1].grad, rtol=1e-12, atol=1e-12)
            module.weight.grad = tensors[1].grad = None
    assert torch.equal(module(), module(torch.arange(15)))


@pytest.mark.claim("FIRE-6")
@pytest.mark.parametrize("how", ["step", "sparse SGD", "SGD with momentum", "Adam", "data"])
def test_training_is_the_training_of_the_dense_layers(how: str) -> None:
    sparse = how in ("step", "sparse SGD")
    module, tensors = made(sparse=sparse, watched=how != "step")
    make: Any = {
        "step": lambda p: torch.optim.SGD(p, lr=0.05), "sparse SGD": lambda p: torch.optim.SGD(p, lr=0.05),
        "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), "Adam": lambda p: torch.optim.Adam(p),
        "data": lambda p: torch.optim.SGD(p, lr=0.05),
    }[how]  # fmt: skip
    optimizer, reference = make([module.weight]), make([tensors[1]])
    for number in range(12):
        points = [number, (number + 5) % 15]
        for output, steps in ((module(points), optimizer), (dense(tensors, points), reference)):
            steps.zero_grad()
            (output - 1.0).square().sum().backward()
        if how == "step":
            module.step(0.05)
        elif how == "data":  # past all that torch counts
            module.weight.data -= 0.05 * module.weight.grad.to_dense()
        else:
            optimizer.step()
        reference.step()
        assert torch.allclose(module.weight, tensors[1], rtol=1e-9, atol=1e-11)


def test_a_step_without_a_gradient_and_a_step_that_diverges_change_nothing() -> None:
    module, _ = made()
    before = module.weight.detach().clone()
    assert module.step(0.1) == 0
    (1e9 * module()).square().sum().backward()
    with pytest.raises(OverflowError):
        module.step(1.7e308)
    assert torch.equal(module.weight, before)
    assert np.array_equal(module.structure.weights, before.numpy())


def test_weights_that_are_not_finite_are_refused_at_the_next_pass() -> None:
    module, _ = made()
    with torch.no_grad():
        module.weight[3, 1] = float("nan")
    with pytest.raises(InvalidInstance, match="weights"):
        module([0])


def test_the_state_of_a_module_goes_into_another() -> None:
    module, _ = made()
    other, _ = made()
    with torch.no_grad():
        module.weight.mul_(1.5)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(), module())


def test_importing_the_room_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, assay.impl.cpu.firing_neurons; assert not {'torch', 'numba', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
