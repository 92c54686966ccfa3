"""Files of instances: what they keep to the last bit, and what is refused."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from assay.spec.floats import dtype_named
from assay.spec.instance import Instance, array, real
from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.storage import SCHEMA_VERSION, Stored, problem_of, read, write

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, eq=False)
class Thing(Instance):
    problem = "thing"
    array: np.ndarray[Any, Any] = array("places")
    width: float | None = real()
    count: int = 0
    pair: tuple[int | None, int | None] | None = None
    word: str | None = None


@pytest.mark.parametrize("name", ["values", "size", "part", "provenance", "metadata"])
def test_a_field_may_not_take_a_name_that_every_instance_has(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Hidden.{name}: a name that every instance has"):
        type("Hidden", (Instance,), {"__annotations__": {name: "int"}})


TYPES = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int32", "bool", "uint8"]


@pytest.mark.parametrize("name", TYPES)
def test_every_dtype_comes_back_with_its_bits_nan_and_signed_zeros_included(tmp_path: Path, name: str) -> None:
    bits = np.random.default_rng(0).integers(0, 2 if name == "bool" else 256, (3, 8), dtype=np.uint8)
    array = bits.view(dtype_named(name))
    write(tmp_path / "x.npz", Stored("thing", {"array": array}, {}))
    back = read(tmp_path / "x.npz").arrays["array"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("width", [0.1, -0.0, 5e-324, 1.7976931348623157e308, None])
def test_numbers_come_back_to_the_last_bit(tmp_path: Path, width: float | None) -> None:
    given = Thing(
        np.zeros(1), width, 2**60, (None, 3), "0x1p0", provenance=Provenance("family", 3, "note", [1, None, "a"])
    )
    given.save(tmp_path / "x.npz")
    back = Thing.load(tmp_path / "x.npz")
    assert repr(back.width) == repr(width)
    assert (back.count, back.pair, back.word, back.provenance) == (2**60, (None, 3), "0x1p0", given.provenance)


def test_views_with_strides_are_stored_as_they_read(tmp_path: Path) -> None:
    array = np.arange(24, dtype=ml_dtypes.bfloat16)[::-5]
    Thing(array).save(tmp_path / "x.npz")
    assert Thing.load(tmp_path / "x.npz").array.tolist() == array.tolist()


def test_equal_instances_give_equal_metadata_that_names_schema_and_problem(tmp_path: Path) -> None:
    Thing(np.zeros(2)).save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
        metadata = json.loads(archive["metadata"].tobytes())
    assert metadata["schema"] == SCHEMA_VERSION
    assert metadata["problem"] == problem_of(tmp_path / "x.npz") == "thing"


def rewritten(path: Path, change: dict[str, Any], extra: dict[str, Any] | None = None) -> None:
    with np.load(path) as archive:
        members = {name: archive[name] for name in archive.files}
    metadata = json.loads(members["metadata"].tobytes()) | change
    members["metadata"] = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    np.savez(path, **members, **(extra or {}))


@pytest.mark.parametrize(
    ("change", "extra", "words"),
    [
        ({"schema": 2}, {}, "schema 2, expected 1"),
        ({"problem": "other"}, {}, "an instance of 'other', expected 'thing'"),
        ({"dtypes": {}}, {}, "damaged instance file"),
        ({"dtypes": {"array": "float7"}}, {}, "damaged instance file"),
        ({"values": {"colour": 1}}, {}, "unknown fields ['colour']"),
        ({}, {"more": np.zeros(1)}, "member 'more' has no dtype"),
    ],
)
def test_a_changed_file_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, Any], extra: dict[str, Any], words: str
) -> None:
    path = tmp_path / "x.npz"
    Thing(np.zeros(2)).save(path)
    rewritten(path, change, extra)
    with pytest.raises(InvalidInstance) as caught:
        Thing.load(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInstance) as caught:
        problem_of(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pickles_are_not_opened_and_nobody_is_told_to_open_them(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, metadata=np.array([{"schema": 1}], dtype=object))
    says = "not a readable instance file (member 'metadata': it holds pickled Python objects, which are never loaded)"
    assert refusal(path) == f"{path}: {says}"


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 and no more"])
def test_what_is_no_archive_is_not_said_to_hold_pickles(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert refusal(path) == f"{path}: not a readable instance file (File is not a zip file)"


def test_a_single_array_is_no_instance(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(3))
    assert "not a readable instance file" in refusal(tmp_path / "x.npy")


def test_an_array_said_to_be_larger_than_any_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("metadata.npy", "w") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 45,)}
        np.lib.format.write_array_header_1_0(file, header)
    assert "0 bytes of numbers, expected 35184372088832 × 8 of shape (35184372088832,)" in refusal(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_with_changed_bytes_is_read_or_refused(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "x.npz"
    Thing(np.arange(30.0)).save(path)
    with np.load(path) as archive:
        save(path, **archive)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = []
    for _ in range(300):
        damaged = bytearray(content)
        for at in rng.integers(len(content), size=rng.integers(1, 5)):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            Thing.load(path)
        except InvalidInstance as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert not any("\n" in reason for reason in refused)


def test_a_file_without_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "nothing")
    with pytest.raises(InvalidInstance):
        Thing.load(path)
