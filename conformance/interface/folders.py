"""Where a project is, and how its files are named in what is shown or kept: as seen from here, not from the machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FOLDER", "from_here", "kernel_from_here", "project", "upwards"]

#: The folder of a project that failures are kept in.
FOLDER = ".assay"
_MARKS = (FOLDER, "pyproject.toml", "setup.py", "setup.cfg", ".git", ".hg")  # of the root of a project


def project(start: Path | None = None) -> Path:
    """The root of the project that a folder is in: the nearest one :func:`upwards` that has a mark of one, or itself.

    start: the folder; the current one if left out.
    """
    here = (Path.cwd() if start is None else start).absolute()
    return next((folder for folder in upwards(here) if any((folder / mark).exists() for mark in _MARKS)), here)


def upwards(folder: Path) -> Iterator[Path]:
    """A folder and those above it that may hold what is said of its project: up to one that is shared, as ``/tmp`` is.

    What lies in a shared folder may be of another project, or of another user, who may write there.  Such a folder has
    the sticky bit.  A project whose own folder is one, as that of a volume may be, is found from there alone.
    """
    yield folder
    for above in folder.parents:
        if _is_shared(above):
            return
        yield above


def _is_shared(folder: Path) -> bool:
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_ISVTX and mode & (stat.S_IWGRP | stat.S_IWOTH))


def from_here(path: str | Path) -> str:
    """A path as it is shown: relative to the current folder where it lies in the project around that, else as it is.

    What names the folders of a machine is of use on no other one, and says more of its user than an issue has to.
    """
    whole = os.path.abspath(path)
    inside = Path(whole).is_relative_to(project())
    return os.path.relpath(whole) if os.path.isabs(path) and inside else str(path)


def kernel_from_here(name: str) -> str:
    """The name of a kernel with its file, if it is in one, as :func:`from_here` shows it."""
    module, colon, function = name.rpartition(":")
    return f"{from_here(module)}{colon}{function}" if module.endswith(".py") else name
