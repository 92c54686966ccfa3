"""The exact CPU kernel: within its class for every option, whatever the threads, in memory of a tile."""

from __future__ import annotations

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given

from assay.conformance.attention import instances
from assay.impl import cpu
from assay.spec.attention import Instance, define, tolerance
from assay.spec.problem import InvalidInstance


def computed(instance: Instance, **options: object) -> tuple[np.ndarray, np.ndarray]:
    output, lse = cpu.attention.exact(
        instance.query,
        instance.key,
        instance.value,
        instance.scale,
        causal=instance.causal,
        mask=instance.mask,
        bias=instance.bias,
        window=instance.window,
        key_lengths=instance.key_lengths,
        softcap=instance.softcap,
        sink=instance.sink,
        return_lse=True,
        **options,
    )
    return output, lse


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16", "float16"])
def test_the_kernel_is_within_its_class_for_every_option(precision: str) -> None:
    @given(instances(precision))
    def check(instance: Instance) -> None:
        output, lse = computed(instance)
        assert output.dtype == instance.query.dtype
        relative = 1e-19 if precision == "float64" else 1e-12
        assert (define(instance, relative).ratio(output, tolerance(instance, precision)) <= 1).all()
        reference = define(instance, relative, "log_sum_exp")
        assert (reference.ratio(lse, tolerance(instance, precision, "log_sum_exp")) <= 1).all()

    check()


@given(instances("float32"))
def test_the_number_of_threads_changes_no_bit(instance: Instance) -> None:
    one, two = computed(instance, threads=1), computed(instance, threads=2)
    assert one[0].tobytes() == two[0].tobytes()
    assert one[1].tobytes() == two[1].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_byte_order_of_the_inputs_changes_no_bit(dtype: type) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (1, 1, 5, 2)).astype(dtype)
    swapped = x.astype(x.dtype.newbyteorder())
    assert np.array_equal(cpu.attention.exact(swapped, swapped, swapped), cpu.attention.exact(x, x, x))


def test_it_takes_arrays_of_any_strides() -> None:
    rng = np.random.default_rng(0)
    packed = rng.standard_normal((2, 9, 3, 4, 8)).astype(np.float32)  # (batch, length, qkv, heads, dim)
    q, k, v = (packed[:, :, i].swapaxes(1, 2) for i in range(3))
    plain = [np.ascontiguousarray(x) for x in (q, k, v)]
    assert np.array_equal(
        cpu.attention.exact(q, k[:, :, ::-1], v[:, :, ::-1]),
        cpu.attention.exact(plain[0], k[:, :, ::-1].copy(), v[:, :, ::-1].copy()),
    )


def test_it_leaves_its_inputs_alone() -> None:
    q = np.ones((1, 1, 3, 4), np.float32)
    q.flags.writeable = False
    assert np.array_equal(cpu.attention.exact(q, q, q), q)


def test_bfloat16_is_rounded_once() -> None:
    q = np.full((1, 1, 2, 4), 0.3, ml_dtypes.bfloat16)
    assert np.array_equal(cpu.attention.exact(q, q, q), q)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": np.zeros((1, 1, 3, 5), np.float32)}, r"key: shape \(1, 1, 3, 5\), expected"),
        (
            {"query": np.full((1, 1, 2, 4), np.nan, np.float32)},
            r"query: nan at \(0, 0, 0, 0\), expected finite numbers",
        ),
        ({"value": [[1.0]]}, "value: list, expected a NumPy array"),
        ({"scale": float("inf")}, "scale: inf, expected a finite number"),
        (
            {"mask": np.ones((3, 4, 5), bool)},
            r"mask: shape \(3, 4, 5\), expected one that broadcasts to \(1, 1, 2, 3\)",
        ),
        ({"softcap": -1.0}, "softcap: -1.0, expected a number > 0"),
    ],
)
def test_bad_input_is_refused_in_one_line(change: dict[str, object], words: str) -> None:
    given = {
        "query": np.zeros((1, 1, 2, 4), np.float32),
        "key": np.zeros((1, 1, 3, 4), np.float32),
        "value": np.zeros((1, 1, 3, 4), np.float32),
    }
    with pytest.raises(InvalidInstance, match=words):
        cpu.attention.exact(**(given | change))


_MEMORY = """
import resource, numpy as np
from assay.impl import cpu
def used(n):
    x = np.random.default_rng(0).standard_normal((1, 1, n, 16)).astype(np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu.attention.exact(x, x, x, is_causal=True, threads=2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
used(64)
print(used(8192))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_extra_memory_is_that_of_a_tile_and_not_of_all_scores() -> None:
    grown = int(subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True).stdout)
    scores = 8192 * 8192 * 4 // 1024
    assert grown < scores // 16  # KiB
