"""Calls on a cluster of Dask: the same numbers, whatever becomes of the workers."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.impl import cluster
from assay.impl.cpu.small_transformers import CallError, simulate

distributed = pytest.importorskip("distributed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Array = np.ndarray[Any, Any]


def attended(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    assert max(query.shape[2], key.shape[2]) <= 8
    scores = scale * (query @ key.swapaxes(2, 3))
    weights = np.exp(scores - scores.max(axis=3, keepdims=True))
    return weights / weights.sum(axis=3, keepdims=True) @ value


def dies(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    os._exit(1)


def raises(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    raise ZeroDivisionError("of the oracle")


def drawn() -> Any:
    return np.random.default_rng(0).normal(size=(3, 1, 2, 40, 4))


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        cluster.started(2) as workers,
        distributed.Client(workers, set_as_default=False) as found,
    ):
        yield found


def test_a_cluster_computes_the_same_bits(client: Any) -> None:
    here = simulate(*drawn(), attended, 8, batch=2)
    there = simulate(*drawn(), attended, 8, batch=2, scheduler=client)
    assert here.calls == there.calls
    assert np.array_equal(here.value, there.value)
    assert np.array_equal(here.log_sum_exp, there.log_sum_exp)
    address = simulate(*drawn(), attended, 8, batch=2, scheduler=client.scheduler.address)
    assert np.array_equal(here.value, address.value)


def test_a_worker_that_is_killed_in_mid_run_loses_nothing(client: Any) -> None:
    here = simulate(*drawn(), attended, 8, batch=2)
    killed = []

    def kill(done: int, total: int) -> None:
        if 0 < done < total and not killed:
            killed.append(min(client.run(os.getpid).values()))
            os.kill(killed[0], signal.SIGKILL)

    there = simulate(*drawn(), attended, 8, batch=2, scheduler=client, progress=kill)
    assert len(killed) == 1
    assert there.calls == here.calls
    assert np.array_equal(here.value, there.value)
    assert np.array_equal(here.log_sum_exp, there.log_sum_exp)


def test_an_interrupted_run_goes_on_elsewhere(client: Any, tmp_path: Path) -> None:
    here, file = simulate(*drawn(), attended, 8, batch=2), tmp_path / "run.npz"

    def stop(done: int, total: int) -> None:
        if done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(*drawn(), attended, 8, batch=2, scheduler=client, resume=file, progress=stop)
    rest = simulate(*drawn(), attended, 8, batch=2, resume=file)  # in this process
    assert 0 < rest.calls <= here.calls - 20
    assert np.array_equal(here.value, rest.value)


def test_an_oracle_may_ask_a_worker_that_lives_elsewhere(client: Any) -> None:
    here = simulate(*drawn(), attended, 8, batch=20)
    there = simulate(
        *drawn(), lambda *arrays, scale: client.submit(attended, *arrays, scale=scale, pure=False).result(), 8, batch=20
    )
    assert np.array_equal(here.value, there.value)


def test_what_an_oracle_raises_on_a_worker_names_the_call(client: Any) -> None:
    with pytest.raises(
        CallError, match=r"call \d+ of 60 .*: the oracle raised ZeroDivisionError: of the oracle"
    ) as caught:
        simulate(*drawn(), raises, 8, batch=2, scheduler=client)
    assert caught.value.kept.run


def test_a_call_that_kills_every_worker_is_named(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.cluster.scheduler, "allowed_failures", 0)  # of four, to be quick
    with pytest.raises(CallError, match=r"call 1 of 1 .*: every worker that tried it died"):
        simulate(*(x[:, :1, :6] for x in drawn()), dies, 8, scheduler=client)


def test_a_scheduler_that_is_none_is_refused() -> None:
    with pytest.raises(cluster.ClusterError, match="scheduler: 3, expected an address"):
        simulate(*drawn(), attended, 8, scheduler=3)
