"""The input of attention: what is refused, in which words, and what a file keeps."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from assay.spec.attention.instance import Instance
from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.storage import dtype_named, problem_of

if TYPE_CHECKING:
    from pathlib import Path


def arrays(dtype: Any = np.float32) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "query": rng.standard_normal((2, 4, 3, 5)).astype(dtype),
        "key": rng.standard_normal((2, 2, 6, 5)).astype(dtype),
        "value": rng.standard_normal((2, 2, 6, 7)).astype(dtype),
    }


SMALL = ["float16", ">f2", "bfloat16", "float8_e4m3fn", "float8_e5m2"]


@pytest.mark.parametrize("name", SMALL)
def test_of_every_number_of_a_small_type_the_finite_ones_are_accepted_and_for_bias_minus_infinity(name: str) -> None:
    dtype = dtype_named(name)
    every = np.arange(1 << 8 * dtype.itemsize, dtype=f"u{dtype.itemsize}").view(dtype)  # every bit pattern
    with np.errstate(invalid="ignore"):  # signalling NaN
        wide = every.astype(np.float64)
    one = np.ones((1, 1, 1, 1), dtype)
    finite = every[np.isfinite(wide)].reshape(1, 1, -1, 1)
    Instance(one, finite, finite, bias=finite.reshape(1, -1))
    for at, number in enumerate(wide):
        if np.isfinite(number):
            continue
        bad = every[at : at + 1].reshape(1, 1, 1, 1)
        with pytest.raises(InvalidInstance, match=r"query: \S+ at \(0, 0, 0, 0\), expected finite numbers"):
            Instance(bad, one, one)
        if number == -np.inf:
            Instance(one, one, one, bias=bad[0, 0])
        else:
            with pytest.raises(InvalidInstance, match=r"bias: \S+ at \(0, 0\), expected finite numbers or −inf"):
                Instance(one, one, one, bias=bad[0, 0])


def ones(n: int, dtype: Any) -> Any:
    """(1, 3, n, 5), as a view of each kind: as it is, spaced, backwards, by columns, heads apart."""
    whole = np.ones((2, 3, n, 5), dtype)
    return {
        "plain": whole[:1],
        "spaced": np.ones((1, 3, 2 * n, 10), dtype)[:, :, ::2, 1::2],
        "backwards": whole[1:, ::-1, ::-1, ::-1],
        "by columns": np.ones((5, n, 3, 1), dtype).T,
        "heads apart": np.ones((1, n, 3, 5), dtype).transpose(0, 2, 1, 3),
    }


@pytest.mark.parametrize("kind", ones(1, np.float32))
@pytest.mark.parametrize("dtype", ["float32", ">f8", "bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize("n", [7, 20_000])  # fewer numbers than a block has, and five blocks
def test_the_first_number_that_is_not_finite_is_named_whatever_the_strides(n: int, dtype: str, kind: str) -> None:
    array = ones(n, dtype_named(dtype))[kind]
    query, key = (np.ones((1, 3, length, 1), array.dtype) for length in (1, n))
    Instance(query, key, array)
    places = [(0, 0, 0, 0), (0, 0, n - 1, 4), (0, 1, 3, 2), (0, 2, n // 2, 1), (0, 2, n - 1, 4)]
    places += [tuple(int(k) for k in np.unravel_index(at, array.shape)) for at in (65535, 65536) if at < array.size]
    for place in sorted(places, reverse=True):  # each before all that went wrong so far
        array[place] = np.nan
        with pytest.raises(InvalidInstance) as caught:
            Instance(query, key, array)
        assert str(caught.value) == f"value: nan at {place}, expected finite numbers"


def test_what_stride_zero_repeats_is_named_at_its_first_place() -> None:
    keys = np.ones((1, 1, 1, 70_000), np.float32)
    bias = np.broadcast_to(keys, (1, 2, 5, 70_000))
    x = np.ones((1, 2, 70_000, 1), np.float32)
    Instance(x[:, :, :5], x, x, bias=bias)
    keys[..., 69_999] = np.inf
    with pytest.raises(InvalidInstance, match=r"bias: inf at \(0, 0, 0, 69999\), expected finite numbers or −inf"):
        Instance(x[:, :, :5], x, x, bias=bias)


def test_what_stride_zero_repeats_is_looked_at_once() -> None:
    x = np.broadcast_to(np.ones(1, np.float32), (1, 1, 1_000_000, 1))
    Instance(x, x, x, bias=np.broadcast_to(x[:, :, :1], (1, 1, 1_000_000, 1_000_000)))  # ends within the hour


def test_numbers_that_overflow_when_summed_are_finite() -> None:
    most = np.full((1, 1, 100_000, 1), np.finfo(np.float32).max, np.float32)
    Instance(most, most, -most, bias=np.full((1, 100_000), -np.inf, np.float32))


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("order", ["as it lies", "strided"])
def test_the_check_takes_little_memory_whatever_the_size(dtype: Any, order: str) -> None:
    x = np.zeros((1, 2, 50_000_000 // np.dtype(dtype).itemsize // 2, 2), dtype)  # 100 MB
    x = x[:, ::-1, ::-1] if order == "strided" else x
    bias = x[0, 0, :, :1].T
    tracemalloc.start()
    try:
        Instance(x[:, :, :1], x, x, bias=bias)
        x[0, 1, -1, 1] = np.nan  # where the search for the first bad number ends
        with pytest.raises(InvalidInstance, match="key: nan at"):
            Instance(x[:, :, :1], x, x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4e6


def test_both_spellings_of_a_top_left_causal_mask_are_one() -> None:
    one, other = Instance(**arrays(), is_causal=True), Instance(**arrays(), causal="top-left")
    assert (one.is_causal, one.causal) == (other.is_causal, other.causal) == (True, "top-left")


def test_the_causal_alignments_differ_by_the_difference_of_lengths() -> None:
    top = Instance(**arrays(), is_causal=True).attends(0)[0]
    bottom = Instance(**arrays(), causal="bottom-right").attends(0)[0]
    assert top.tolist() == np.tri(3, 6, 0, dtype=bool).tolist()
    assert bottom.tolist() == np.tri(3, 6, 3, dtype=bool).tolist()


def test_a_bottom_right_mask_is_aligned_to_the_key_length() -> None:
    instance = Instance(**arrays(), causal="bottom-right", key_lengths=np.array([4, 6]))
    assert instance.attends(0)[0].tolist() == (np.tri(3, 6, 1, dtype=bool) & (np.arange(6) < 4)).tolist()


def test_a_window_is_counted_from_the_position_of_the_query() -> None:
    seen = Instance(**arrays(), window=(1, 0)).attends(0)[0]
    assert [np.flatnonzero(row).tolist() for row in seen] == [[0], [0, 1], [1, 2]]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_a_saved_instance_comes_back_bit_for_bit(tmp_path: Path, dtype: Any) -> None:
    given = Instance(
        **arrays(dtype),
        scale=0.1,
        causal="bottom-right",
        window=(3, None),
        mask=np.eye(3, 6, dtype=bool),
        bias=np.full((1, 1, 3, 6), -0.0, dtype),
        key_lengths=np.array([6, 2], np.int32),
        softcap=30.5,
        sink=np.arange(4).astype(dtype),
        return_lse=True,
        provenance=Provenance("family", 7, "note", {"satisfiable": True}),
    )
    given.save(tmp_path / "x.npz")
    back = Instance.load(tmp_path / "x.npz")
    assert problem_of(tmp_path / "x.npz") == "attention"
    for name, array in given.arrays().items():
        assert back.arrays()[name].dtype == array.dtype
        assert back.arrays()[name].tobytes() == array.tobytes()
    for name in ("scale", "is_causal", "causal", "window", "softcap", "return_lse", "provenance"):
        assert getattr(back, name) == getattr(given, name)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "other problem", "later schema", "not an archive member"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.npz"
    Instance(**arrays()).save(path)
    data = path.read_bytes()
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_bytes(b"no archive")
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "not an archive member":
        np.savez(path, query=np.zeros(3))
    else:
        old, new = {
            "other problem": (b'"attention"', b'"tensorattn"'),
            "later schema": (b'"schema": 1', b'"schema": 9'),
        }[damage]
        with np.load(path) as archive:
            members = {name: archive[name] for name in archive.files}
        members["metadata"] = np.frombuffer(members["metadata"].tobytes().replace(old, new), np.uint8)
        np.savez(path, **members)
    with pytest.raises(InvalidInstance) as caught:
        Instance.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInstance, match="no such file"):
        Instance.load(tmp_path / "absent.npz")


def test_what_was_accepted_before_does_not_let_pass_what_must_be_refused() -> None:
    x = np.zeros((1, 2, 3, 4))
    for _ in range(2):  # shapes and types are looked at once, their numbers and other shapes every time
        Instance(x, x, x)
        for bad, name in ((x[:, :, :, :3], "key"), (x.astype(np.float32), "key"), (x + np.inf, "key"), (x[0], "key")):
            with pytest.raises(InvalidInstance, match=rf"^{name}: "):
                Instance(x, bad, x)
        with pytest.raises(InvalidInstance, match=r"^value: list, expected a NumPy array"):
            Instance(x, x, x.tolist())
        with pytest.raises(InvalidInstance, match=r"^return_lse: 1, expected True or False"):
            Instance(x, x, x, return_lse=1)  # type: ignore[arg-type]
        with pytest.raises(InvalidInstance, match=r"^is_causal: 1, expected True or False"):
            Instance(x, x, x, is_causal=1)  # type: ignore[arg-type]
