"""Files of strangers are read or refused in one line, and nothing is unpacked before its size is judged."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hostile.files import HEADERS, faults
from hostile.reports import report_faults

from assay.spec import attention
from assay.spec.instances import dimacs, hard
from assay.spec.problem import InvalidInstance
from assay.spec.storage import members, problem_of, read

if TYPE_CHECKING:
    from pathlib import Path


def saved(path: Path) -> Path:
    x = np.ones((1, 1, 2, 2), np.float32)
    attention.Instance(x, x, x).save(path)
    return path


def test_changed_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    endings = list(faults(tmp_path, 600))
    assert [f"{path.name}: {fault}" for path, _, fault in endings if fault is not None] == []
    assert {ending for _, ending, _ in endings} == {"read", "refused"}


def test_changed_reports_are_read_and_rendered_or_refused_in_one_line(tmp_path: Path) -> None:
    endings = list(report_faults(tmp_path, 100))
    assert [str(fault) for _, _, fault in endings if fault is not None] == []
    assert {ending for _, ending, _ in endings} == {"read", "refused"}


@pytest.mark.parametrize("header", HEADERS)
def test_a_member_with_a_hostile_header_is_refused_in_one_line(tmp_path: Path, header: str) -> None:
    path = saved(tmp_path / "x.npz")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["query.npy"] = b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header.encode() + bytes(8)
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    with pytest.raises(InvalidInstance) as caught:
        attention.Instance.load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_member_that_nobody_asks_for_is_never_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "x.npz")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("more.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (1 << 24,)})
        file.write(bytes(1 << 24))
    opened: list[str] = []
    whole = zipfile.ZipFile.open

    def spied(self: zipfile.ZipFile, name: zipfile.ZipInfo, *rest: object) -> object:
        opened.append(name.filename)
        return whole(self, name, *rest)  # type: ignore[call-overload]

    monkeypatch.setattr(zipfile.ZipFile, "open", spied)
    assert problem_of(path) == "attention"
    assert members(path) == {}
    with pytest.raises(InvalidInstance, match="member 'more' has no dtype"):
        read(path)
    assert set(opened) == {"metadata.npy"}


def test_a_member_that_would_take_all_memory_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npz")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if name != "query.npy"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
        with archive.open("query.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 50,)})
        archive.getinfo("query.npy").file_size = 128 + (1 << 52)  # as the directory of the archive says
    with pytest.raises(InvalidInstance, match=r"expected at most .* half of this machine's memory"):
        attention.Instance.load(path)


def test_a_pipe_without_another_end_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names on this system")
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InvalidInstance, match="no regular file"):
        problem_of(tmp_path / "pipe.npz")


def test_a_text_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.spec.untrusted._LONGEST_TEXT", 1 << 16)
    with pytest.raises(InvalidInstance, match="/dev/zero: cannot be read"):
        dimacs.read("/dev/zero")
    with pytest.raises(InvalidInstance, match=r"not a readable instance file .it is no regular file"):
        hard.load("/dev/zero")
