"""The rotary embedding of the CPU: exact angles at every position, whatever the type, layout, strides and threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from assay.impl import cpu
from assay.spec.floats import dtype_named
from assay.spec.problem import InvalidInstance
from assay.spec.rope import Instance, criteria, define

SCALINGS: tuple[dict[str, Any], ...] = (
    {},
    {"scaling": "linear", "factor": 3.0},
    {"scaling": "ntk", "factor": 8.0},
    {"scaling": "dynamic", "factor": 4.0, "original_length": 512},
    {"scaling": "llama3", "factor": 8.0, "original_length": 8192, "base": 500000.0},
    {"scaling": "yarn", "factor": 40.0, "original_length": 4096},
)


def drawn(dtype: str, largest: int, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    query, key = (rng.standard_normal((2, heads, 20, 40)).astype(dtype_named(dtype)) for heads in (4, 2))
    return query, key, rng.integers(-largest, largest + 1, (2, 20))


@pytest.mark.claim("ROT-8")
@pytest.mark.parametrize("layout", ["halves", "pairs"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_kernel_is_of_the_class_of_exact_angles_at_every_position(dtype: str, layout: str) -> None:
    for largest, options in zip((3, 10**4, 10**7, 2**40, 2**53, 10**7), SCALINGS, strict=True):
        query, key, positions = drawn(dtype, largest)
        outputs = cpu.rope.exact(query, key, positions, layout=layout, rotary_dim=32, **options)
        judged = criteria(
            Instance(query, key, positions, layout=layout, rotary_dim=32, **options), f"{dtype}-exact-angles"
        )
        for name, output in zip(("query", "key"), outputs, strict=True):
            assert output.dtype == query.dtype
            assert judged[name].ratio(output).max() <= 1, (largest, options)


@pytest.mark.claim("ROT-8")
def test_cosines_and_sines_of_the_kernel_err_by_at_most_two_to_the_minus_51() -> None:
    """A unit vector becomes cosine and sine themselves: at thirty thousand angles, many near eighths of a turn."""
    rng = np.random.default_rng(1)
    near = np.rint(np.arange(1, 4000) * np.pi / 4).astype(np.int64)
    positions = np.concatenate([near, rng.integers(-(10**7), 10**7, 3000), rng.integers(-(2**53), 2**53, 500)])
    x = np.zeros((1, 1, len(positions), 8))
    x[..., :4] = 1.0
    value = cpu.rope.exact(x, None, positions)
    assert define(Instance(x, None, positions), 2.0**-80).least_error(value).max() <= 2.0**-51


def test_the_result_depends_neither_on_threads_nor_on_strides() -> None:
    rng = np.random.default_rng(2)
    query, key = (rng.standard_normal((2, heads, 300, 64)).astype(np.float32) for heads in (12, 4))
    plain = cpu.rope.exact(query, key, threads=1)
    for arguments in ((query, key), (np.asfortranarray(query), key.swapaxes(1, 2).copy().swapaxes(1, 2))):
        for output, expected in zip(cpu.rope.exact(*arguments, threads=3), plain, strict=True):
            assert (output == expected).all()


def test_one_array_alone_is_rotated_as_beside_another() -> None:
    query, key, positions = drawn("float32", 1000)
    both = cpu.rope.exact(query, key, positions)
    assert (cpu.rope.exact(query, positions=positions) == both[0]).all()
    assert (cpu.rope.exact(key, None, positions) == both[1]).all()


def test_inputs_are_left_alone_and_bad_ones_named() -> None:
    query, key, positions = drawn("float64", 1000)
    query.setflags(write=False)
    cpu.rope.exact(query, key, positions)
    with pytest.raises(InvalidInstance, match="rotary_dim"):
        cpu.rope.exact(query, key, positions, rotary_dim=7)
    with pytest.raises(ValueError, match="threads: 0"):
        cpu.rope.exact(query, key, positions, threads=0)
