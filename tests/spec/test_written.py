"""Files are written whole or not at all, into whatever a path leads to."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from assay.spec.attention import Instance
from assay.spec.instances.hard import hard
from assay.spec.written import write_bytes, written

X = np.ones((1, 1, 2, 2), np.float32)
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with written(path) as file:
            file.write(b"new")
            assert path.read_bytes() == b"old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_the_rights_of_an_old_file_stay(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_bytes(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_longest_name_that_a_file_can_have_is_written(tmp_path: Path) -> None:
    write_bytes(tmp_path / ("x" * 255), b"new")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"new"


@full
@pytest.mark.parametrize("device", ["/dev/null", "/dev/full"])
def test_a_device_is_written_into_and_never_replaced(tmp_path: Path, device: str) -> None:
    before = Path(device).stat()
    (tmp_path / "x.npz").symlink_to(device)
    for write in (
        lambda: write_bytes(device, b"x"),
        lambda: Instance(X, X, X).save(device),
        lambda: hard("attention", "planted-ov", n=4, d=4).save(tmp_path / "x.npz"),
    ):
        if device == "/dev/full":
            with pytest.raises(OSError, match="No space left"):
                write()
        else:
            write()
    after = Path(device).stat()
    assert (after.st_mode, after.st_ino, after.st_rdev) == (before.st_mode, before.st_ino, before.st_rdev)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_an_instance_goes_through_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    Instance(X, X, X).save(tmp_path / "pipe")
    reader.join()
    (tmp_path / "x.npz").write_bytes(got[0])
    assert Instance.load(tmp_path / "x.npz").digest() == Instance(X, X, X).digest()
