"""Training that touches firing neurons only: every step is the dense step of torch, up to undecided pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from assay.impl import cpu
from assay.impl.cpu.firing_neurons import choice
from assay.impl.cpu.firing_neurons.network import losses
from assay.spec import storage
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from pathlib import Path

firing = cpu.firing_neurons
STRUCTURES = (firing.CorrelationTree, firing.Table, firing.Recomputed)


def problem(
    n: int, m: int, d: int, c: int, loss: str, dtype: Any = np.float64, *, whole: bool = False
) -> dict[str, Any]:
    """Arrays of a network; ``whole`` ones are small integers, on which all arithmetic of a few steps is exact."""
    rng = np.random.default_rng(n + m)
    data, weights = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    targets, outer = rng.standard_normal((n, c)), rng.choice([-1.0, 1.0], (m, c)) / np.sqrt(m)
    if loss == "cross_entropy":
        targets = np.eye(c)[rng.integers(0, c, n)]
    if whole:
        data, weights = rng.integers(-1, 2, (n, d)), rng.integers(-2, 3, (m, d))
        targets, outer = rng.integers(-2, 3, (n, c)), rng.choice([-1.0, 1.0], (m, c)) / 64.0
    arrays = {"data": data, "targets": targets, "weights": weights, "outer": outer}
    return {name: array.astype(dtype) for name, array in arrays.items()}


def dense(arrays: dict[str, Any], weights: Any, threshold: float, loss: str, points: Any) -> tuple[float, Any, Any]:
    """Loss, output and gradient of the dense layers, by NumPy in the type of the arrays."""
    x, y, outer = arrays["data"][points], arrays["targets"][points], arrays["outer"]
    shifted = x @ weights.T - weights.dtype.type(threshold)
    output = np.where(shifted > 0, shifted, 0) @ outer
    value, residual = losses(output, y, loss)
    return value, output, ((residual @ outer.T) * (shifted > 0)).T @ x


@pytest.mark.claim("FIRE-6")
@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_step_is_the_dense_step(structure: Any, loss: str) -> None:
    arrays = problem(12, 70, 5, 3, loss)
    network = firing.Network(**arrays, threshold=1.0, loss=loss, structure=structure)
    weights = arrays["weights"].copy()
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = rng.permutation(12)[:8]
        value, output, gradient = dense(arrays, weights, 1.0, loss, points)
        forward = network.forward(points)
        np.testing.assert_allclose(forward.output, output, rtol=1e-12, atol=1e-12)
        step = network.step(points, rate=0.1)
        assert step.loss == pytest.approx(value, rel=1e-12)
        assert step.fired == int((arrays["data"][points] @ weights.T > 1.0).sum())
        assert step.touched == int(gradient.any(axis=1).sum())
        weights -= 0.1 * gradient
        np.testing.assert_allclose(network.weights, weights, rtol=1e-12, atol=1e-12)


@pytest.mark.claim("FIRE-6")
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_are_the_dense_ones_bit_for_bit_where_all_arithmetic_is_exact(structure: Any, dtype: str) -> None:
    arrays = problem(6, 40, 4, 2, "squared", dtype, whole=True)
    network = firing.Network(**arrays, threshold=1.0, structure=structure)
    incremental = firing.Network(**arrays, threshold=1.0, structure=structure, incremental=True)
    weights = arrays["weights"].copy()
    for points in ([0, 3], [5, 1, 2]):
        value, output, gradient = dense(arrays, weights, 1.0, "squared", points)
        assert np.array_equal(network.forward(points).output, output)
        for each in (network, incremental):
            assert each.step(points, rate=0.5).loss == value
        weights -= np.array(0.5, dtype) * gradient
        assert np.array_equal(network.weights, weights)
        assert np.array_equal(incremental.weights, weights)


@pytest.mark.claim("FIRE-6")
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
def test_the_loss_curve_is_that_of_torch(loss: str, momentum: float) -> None:
    torch = pytest.importorskip("torch")
    arrays = problem(20, 90, 6, 3, loss)
    network = firing.Network(**arrays, threshold=1.2, loss=loss, momentum=momentum)
    x, y, weight, outer = (torch.tensor(array) for array in arrays.values())
    weight.requires_grad_()
    optimizer = torch.optim.SGD([weight], lr=0.05, momentum=momentum)
    for _ in range(40):
        output = torch.relu(x @ weight.T - 1.2) @ outer
        each = (output - y) ** 2 / 2 if loss == "squared" else y * (torch.logsumexp(output, 1, keepdim=True) - output)
        optimizer.zero_grad()
        each.sum().backward()
        optimizer.step()
        assert network.step(rate=0.05).loss == pytest.approx(float(each.sum().detach()), rel=1e-9)
    np.testing.assert_allclose(network.weights, weight.detach().numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.claim("FIRE-6")
def test_a_dormant_neuron_rests_with_its_velocity_or_moves_on() -> None:
    arrays = problem(2, 30, 3, 1, "squared")
    still = firing.Network(**arrays, threshold=0.5, momentum=0.5, dormant="still")
    moved = firing.Network(**arrays, threshold=0.5, momentum=0.5, dormant="moved")
    for network in (still, moved):
        network.step([0], rate=0.1)
    before = still.weights.copy()
    fires = still.structure.fired([0, 1])
    only = fires[0] & ~fires[1]
    assert only.any()
    assert still.step([1], rate=0.1).touched == fires[1].sum()
    assert np.array_equal(still.weights[~fires[1]], before[~fires[1]])
    assert moved.step([1], rate=0.1).touched == fires.any(axis=0).sum()
    assert (moved.weights[only] != before[only]).any(axis=1).all()


@pytest.mark.claim("FIRE-6")
def test_no_neuron_that_does_not_fire_is_touched() -> None:
    arrays = problem(4, 200, 6, 2, "squared")
    network = firing.Network(**arrays, threshold=4.0)
    fires = network.structure.fired(np.arange(4)).any(axis=0)
    assert 0 < network.step(rate=1.0).touched == fires.sum() < 100
    assert np.array_equal(network.weights[~fires], arrays["weights"][~fires])


def test_incremental_steps_stay_near_the_fresh_ones() -> None:
    arrays = problem(20, 40, 9, 2, "squared")
    fresh, moved = (firing.Network(**arrays, threshold=1.0, incremental=each, refresh=50) for each in (False, True))
    rng = np.random.default_rng(1)
    for _ in range(40):
        points = rng.permutation(20)[:5]
        assert fresh.step(points, rate=0.05).loss == pytest.approx(moved.step(points, rate=0.05).loss, rel=1e-10)
    assert moved.structure.kept()["moves"].any()
    assert not fresh.structure.kept()["moves"].any()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("incremental", [False, True])
def test_a_step_that_diverges_is_refused_and_changes_nothing(momentum: float, incremental: bool) -> None:
    arrays = problem(6, 40, 9, 2, "squared")
    arrays["targets"] *= 1e9
    network = firing.Network(**arrays, threshold=1.0, momentum=momentum, incremental=incremental)
    before = network.forward()
    with pytest.raises((OverflowError, InvalidInstance)):
        network.step([0, 1, 2], rate=1.7e308)
    after = network.forward()
    assert np.array_equal(network.weights, arrays["weights"])
    assert np.array_equal(after.output, before.output)
    assert network.step([0, 1, 2], rate=1e-3).touched


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"loss": "absolute"}, "loss"), ({"momentum": 1.0}, "momentum"), ({"dormant": "asleep"}, "dormant"),
        ({"targets": np.ones((3, 2))}, "targets"), ({"outer": np.ones((40, 1))}, "outer"),
        ({"outer": np.ones((39, 2))}, "outer"), ({"targets": -np.ones((6, 2)), "loss": "cross_entropy"}, "targets"),
        ({"weights": np.full((40, 9), np.nan)}, "weights"), ({"data": np.ones((6, 9), np.float16)}, "data"),
    ],
)  # fmt: skip
def test_a_network_of_bad_arguments_is_refused(change: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidInstance, match=what):
        firing.Network(**{**problem(6, 40, 9, 2, "squared"), "threshold": 1.0, **change})


@pytest.mark.parametrize("points", [[0, 0], [], [6], [-1], [0.5]])
def test_a_batch_of_bad_points_is_refused(points: list[Any]) -> None:
    network = firing.Network(**problem(6, 40, 9, 2, "squared"), threshold=1.0)
    with pytest.raises(InvalidInstance, match="points"):
        network.step(points, rate=0.1)


@pytest.mark.claim("FIRE-6")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_kernel_of_one_step_returns_output_gradient_and_new_weights(dtype: str) -> None:
    for loss in ("squared", "cross_entropy"):
        arrays = problem(9, 50, 4, 3, loss, dtype)
        output, gradient, new = firing.train_step(**arrays, threshold=0.5, rate=0.25, loss=loss)
        wide = {name: array.astype(float) for name, array in arrays.items()}
        _, expected, slope = dense(wide, wide["weights"], 0.5, loss, np.arange(9))
        for found, exact in ((output, expected), (gradient, slope), (new, wide["weights"] - 0.25 * slope)):
            assert found.dtype == np.dtype(dtype)
            np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.claim("FIRE-7")
def test_the_forecast_holds_for_normal_weights() -> None:
    rng = np.random.default_rng(3)
    m, n, d = 4096, 40, 8
    data = rng.standard_normal((n, d))
    data /= np.linalg.norm(data, axis=1)[:, None]
    weights = rng.standard_normal((m, d))
    for exponent in (0.2, 0.4, 0.8):
        b = firing.threshold_of(exponent, m)
        said = firing.forecast(m, b, points=n, failure=1e-6)
        fired = firing.CorrelationTree(data, weights, threshold=b).fired(np.arange(n))
        counts = fired.sum(axis=1)
        assert said.least <= counts.min() <= counts.max() <= said.most
        assert said.expected <= 0.5 * m ** (1 - exponent)
        assert said.touched <= min(m, n * said.expected)
        assert abs(counts.mean() - said.expected) <= 6.0 * np.sqrt(said.expected / n) + 0.2 * said.expected


@pytest.mark.claim("FIRE-7")
def test_the_forecast_is_that_of_the_binomial_distribution() -> None:
    said = firing.forecast(1000, 2.0, points=10, failure=1e-3)
    p = stats.norm.sf(2.0)
    assert stats.binom.cdf(said.least - 1, 1000, p) * 10 <= 5e-4 < stats.binom.cdf(said.least, 1000, p) * 10
    assert stats.binom.sf(said.most, 1000, p) * 10 <= 5e-4 < stats.binom.sf(said.most - 1, 1000, p) * 10
    moved = firing.forecast(1000, 2.0, points=10, failure=1e-3, moved=0.5)
    assert moved.most == firing.forecast(1000, 1.5, points=10, failure=1e-3).most
    assert moved.least == firing.forecast(1000, 2.5, points=10, failure=1e-3).least


@pytest.mark.parametrize(
    ("threshold", "work", "kind"),
    [
        (4.5, {"queries": 1, "updates": 0}, firing.CorrelationTree), (-9.0, {"queries": 1, "updates": 0}, firing.Table),
        (4.5, {"queries": 1, "updates": 1000}, firing.Recomputed), (4.5, {"rounds": 0.5}, firing.Recomputed),
        (4.5, {"queries": 1, "updates": 0, "memory": 1 << 20}, firing.Recomputed),
    ],
)  # fmt: skip
def test_the_router_takes_what_serves_and_says_why(threshold: float, work: dict[str, Any], kind: Any) -> None:
    rng = np.random.default_rng(4)
    data, weights = rng.standard_normal((50, 8)).astype(np.float32), rng.standard_normal((9000, 8)).astype(np.float32)
    data /= np.linalg.norm(data, axis=1)[:, None]
    found = firing.structure(data, weights, threshold=threshold, **work)
    assert type(found) is kind
    assert found.route.startswith(f"{found.kind}: ")
    assert "predicted" in found.route
    assert np.array_equal(found.fired([3])[0], weights @ data[3] > threshold)


def test_the_router_chooses_the_least_prediction() -> None:
    rng = np.random.default_rng(5)
    data, weights = rng.standard_normal((20, 4)), rng.standard_normal((300, 4))
    for queries, updates, rounds in ((1, 0, 1e6), (0, 1, 1), (5, 5, 10), (100, 1, 1e3)):
        work = {"queries": float(queries), "updates": float(updates), "rounds": float(rounds)}
        fraction = choice.sampled(data, weights, 1.0)
        costs = choice.predicted(20, 300, 4, fraction, **work)
        assert firing.structure(data, weights, threshold=1.0, **work).kind == min(costs, key=lambda kind: costs[kind])


@pytest.mark.parametrize("options", [{"queries": -1}, {"rounds": np.nan}, {"memory": 1}, {"threshold": np.inf}])
def test_the_router_refuses_bad_arguments(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInstance, match=next(iter(options))):
        firing.structure(np.ones((2, 3)), np.ones((2, 3)), **{"threshold": 0.0, **options})


DAMAGES: dict[str, Any] = {
    "a correlation of another pair": lambda a, v: a["correlations"].__setitem__((1, 2), 9.0),
    "NaN among the correlations": lambda a, v: a["correlations"].__setitem__((1, 2), np.nan),
    "correlations of another shape": lambda a, v: a.update(correlations=a["correlations"].T.copy()),
    "correlations of another type": lambda a, v: a.update(correlations=a["correlations"].astype(np.float32)),
    "no correlations": lambda a, v: a.pop("correlations"),
    "an array too many": lambda a, v: a.update(more=np.ones(3)),
    "weights of integers": lambda a, v: a.update(weights=a["weights"].astype(int)),
    "infinite data": lambda a, v: a["data"].__setitem__((0, 0), np.inf),
    "errors that bound nothing": lambda a, v: a["errors"].__setitem__((0, 0), np.inf),
    "errors that are NaN": lambda a, v: a["errors"].__setitem__((0, 1), np.nan),
    "errors below those of a product": lambda a, v: a["errors"].__setitem__((0, 0), 0.0),
    "errors of a fresh neuron": lambda a, v: a["errors"].__setitem__((0, 0), 1.0),
    "moves below 0": lambda a, v: a["moves"].__setitem__(0, -1),
    "moves beyond the refresh": lambda a, v: a["moves"].__setitem__(0, 1000),
    "another kind": lambda a, v: v.update(kind="table"),
    "a type that is none": lambda a, v: v.update(type="int8"),
    "a setting too many": lambda a, v: v.update(colour="red"),
    "a setting too few": lambda a, v: v.pop("threshold"),
    "a fan-out that is none": lambda a, v: v.update(fan_out=3),
    "a threshold that is a word": lambda a, v: v.update(threshold="1"),
    "a refresh that is a list": lambda a, v: v.update(refresh=[1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_hostile_file_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    tree = firing.CorrelationTree(rng.standard_normal((4, 3)), rng.standard_normal((5, 3)), threshold=1.0)
    tree.save(tmp_path / "good.npz")
    stored = storage.read(tmp_path / "good.npz")
    arrays, values = {name: array.copy() for name, array in stored.arrays.items()}, dict(stored.values)
    DAMAGES[damage](arrays, values)
    storage.write(tmp_path / "bad.npz", storage.Stored(stored.problem, arrays, values))
    with pytest.raises(InvalidInstance) as caught:
        firing.CorrelationTree.load(tmp_path / "bad.npz")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "bad.npz") in str(caught.value)


def test_files_of_others_and_broken_files_are_refused(tmp_path: Path) -> None:
    tree = firing.CorrelationTree(np.ones((2, 3)), np.ones((2, 3)), threshold=1.0)
    tree.save(tmp_path / "t.npz")
    whole = (tmp_path / "t.npz").read_bytes()
    np.savez(tmp_path / "pickled.npz", data=np.array([object()]))
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("pickled", "half", "text", "missing"):
        with pytest.raises(InvalidInstance, match=name):
            firing.CorrelationTree.load(tmp_path / f"{name}.npz")
    with pytest.raises(InvalidInstance, match="table"):
        firing.Table.load(tmp_path / "t.npz")


def test_two_files_of_equal_structures_are_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        firing.Table(np.ones((2, 3)), np.ones((2, 3)), threshold=1.0).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
