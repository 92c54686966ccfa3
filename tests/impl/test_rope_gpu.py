"""The rotary embedding of GPUs, on the thread model of a CPU: exact angles in every type, and free of races."""

from __future__ import annotations

from typing import Any

import emulated
import ml_dtypes
import numpy as np
import pytest
from emulated import ORDERS, Emulated

import assay
from assay.impl.gpu.rope.embedding import run
from assay.spec.floats import dtype_named
from assay.spec.problem import InvalidInstance
from assay.spec.rope import Instance, criteria, define

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")


def rope(query: Any, key: Any = None, positions: Any = None, **options: Any) -> Any:
    """:func:`assay.impl.gpu.rope.exact` on a CPU."""
    return run(Emulated(), query, key, positions, **options)


SCALINGS: tuple[dict[str, Any], ...] = (
    {},
    {"scaling": "linear", "factor": 3.0},
    {"scaling": "dynamic", "factor": 4.0, "original_length": 512},
    {"scaling": "yarn", "factor": 40.0, "original_length": 4096},
)


@needs_compiler
@pytest.mark.claim("GPU-3")
@pytest.mark.parametrize("layout", ["halves", "pairs"])
@pytest.mark.parametrize("storage", ["float64", "float32", "float16", "bfloat16"])
def test_it_is_of_the_class_of_exact_angles_at_every_position(storage: str, layout: str) -> None:
    rng = np.random.default_rng(0)
    query, key = (rng.standard_normal((2, heads, 9, 20)).astype(dtype_named(storage)) for heads in (2, 1))
    for largest, options in zip((3, 10**7, 2**40, 2**53), SCALINGS, strict=True):
        positions = rng.integers(-largest, largest + 1, (2, 9))
        outputs = rope(query, key, positions, layout=layout, rotary_dim=16, **options)
        judged = criteria(
            Instance(query, key, positions, layout=layout, rotary_dim=16, **options), f"{storage}-exact-angles"
        )
        for name, output in zip(("query", "key"), outputs, strict=True):
            assert output.dtype == query.dtype
            assert judged[name].ratio(output).max() <= 1, options


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-3")
@pytest.mark.parametrize("storage", ["float32", "float64", "bfloat16", "float16"])
def test_it_conforms_in_every_type(storage: str) -> None:
    report = assay.check(rope, "rope", precision=f"{storage}-exact-angles", level="standard", seconds=900.0)
    assert report.passed, report


@needs_compiler
@pytest.mark.claim("GPU-3")
def test_cosines_and_sines_err_by_at_most_two_to_the_minus_51() -> None:
    """A unit vector becomes cosine and sine themselves, at angles near eighths of a turn and far out."""
    rng = np.random.default_rng(1)
    near = np.rint(np.arange(1, 400) * np.pi / 4).astype(np.int64)
    positions = np.concatenate([near, rng.integers(-(10**7), 10**7, 300), rng.integers(-(2**53), 2**53, 50)])
    x = np.zeros((1, 1, len(positions), 8))
    x[..., :4] = 1.0
    error = define(Instance(x, None, positions), 2.0**-80).least_error(rope(x, None, positions)).max()
    assert 2.0**-55 < error <= 2.0**-51


@needs_compiler
@pytest.mark.claim("GPU-3")
@pytest.mark.parametrize("layout", ["halves", "pairs"])
def test_every_order_of_threads_and_any_strides_give_the_same_bits(layout: str) -> None:
    rng = np.random.default_rng(0)
    query, key = (rng.standard_normal((2, heads, 37, 21)).astype(np.float32) for heads in (3, 2))
    options: dict[str, Any] = {"layout": layout, "rotary_dim": 16}
    first, *others = (run(Emulated(order), query, key, **options) for order in ORDERS)
    others.append(rope(np.asfortranarray(query), key.swapaxes(1, 3).copy().swapaxes(1, 3), np.arange(37), **options))
    for other in others:
        assert all(np.array_equal(one, two) for one, two in zip(first, other, strict=True))
    assert np.array_equal(rope(query, **options), first[0])


@needs_compiler
def test_frequencies_that_depend_on_the_largest_position_are_those_of_the_definition() -> None:
    query = np.random.default_rng(2).standard_normal((1, 1, 5, 8))
    options: dict[str, Any] = {"scaling": "dynamic", "factor": 4.0, "original_length": 512}
    positions = np.array([[3, 9000, 17, 0, 5]])
    found = rope(query, None, positions, **options)
    assert define(Instance(query, None, positions, **options), 2.0**-60).least_error(found).max() < 2.0**-49


def test_what_does_not_fit_is_refused_by_name() -> None:
    x = np.zeros((1, 1, 2, 4), np.float32)
    with pytest.raises(InvalidInstance, match="rotary_dim"):
        rope(x, rotary_dim=3)
    with pytest.raises(InvalidInstance, match="query: dtype float8_e4m3fn, expected one of float32"):
        rope(x.astype(ml_dtypes.float8_e4m3fn))
