"""The weights and settings in a local file, GGUF or safetensors; weights are float32 arrays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instances.extra import how_to_install

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["ModelError", "Weights", "load_weights"]

INSTALL = how_to_install("models")


class ModelError(ValueError):
    """A model cannot be fetched, read or run; the message is one line that says which model, and why."""


@dataclass(frozen=True)
class Weights:
    """The contents of a file.  architecture: llama, bert, …  settings: the metadata of a GGUF file, or config.json.

    tokenizer: the tokenizer.json beside a safetensors file, if there is one.  A GGUF file has it in its settings.
    """

    path: Path
    layout: str  # gguf or safetensors: the names of tensors and settings
    architecture: str
    settings: Mapping[str, Any]
    tensors: Mapping[str, NDArray[np.float32]]
    tokenizer: Path | None = None

    def tensor(self, name: str, *shape: int) -> NDArray[np.float32]:
        """The tensor of a name.  Raises :class:`ModelError` where it is missing or has another shape."""
        if name not in self.tensors:
            raise ModelError(f"{self.path}: no tensor {name!r}, which a {self.architecture} model has")
        found = self.tensors[name]
        if found.shape != shape:
            raise ModelError(f"{self.path}: {name} has shape {found.shape}, expected {shape}")
        return found

    def setting(self, name: str, default: Any = None) -> Any:
        value = self.settings.get(name, default)
        if value is None:
            raise ModelError(f"{self.path}: no setting {name!r}, which a {self.architecture} model has")
        return value


def load_weights(path: str | Path) -> Weights:
    """Read ``path``: a .gguf file, or a .safetensors file with its config.json (and tokenizer.json) beside it.

    Quantised GGUF tensors are dequantised.  Raises :class:`ModelError`, naming the file and what is wrong with it.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file, expected a .gguf or .safetensors file")
    if path.suffix == ".gguf":
        return _gguf(path)
    if path.suffix == ".safetensors":
        return _safetensors(path)
    raise ModelError(f"{path}: expected a file that ends in .gguf or .safetensors")


def _gguf(path: Path) -> Weights:
    try:
        import gguf
    except ImportError:
        raise ModelError(f"{path}: reading GGUF needs gguf, {INSTALL}") from None
    try:
        reader = gguf.GGUFReader(str(path))
        settings = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {
            each.name: np.asarray(gguf.quants.dequantize(each.data, each.tensor_type), np.float32)
            for each in reader.tensors
        }
    except (ValueError, IndexError, KeyError, NotImplementedError, OSError) as error:
        raise ModelError(f"{path}: not a GGUF file that can be read ({error})") from None
    architecture = settings.get("general.architecture")
    if not isinstance(architecture, str):
        raise ModelError(f"{path}: no general.architecture")
    return Weights(path, "gguf", architecture, settings, tensors)


def _safetensors(path: Path) -> Weights:
    try:
        from safetensors.numpy import load_file
    except ImportError:
        raise ModelError(f"{path}: reading safetensors needs safetensors, {INSTALL}") from None
    from safetensors import SafetensorError

    beside = path.with_name("config.json")
    try:
        settings = json.loads(beside.read_text(encoding="utf-8"))
        architecture = settings["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{beside}: expected the model's config.json there, with model_type ({error!r})") from None
    try:
        tensors = {name: np.asarray(x).astype(np.float32, copy=False) for name, x in load_file(str(path)).items()}
    except (SafetensorError, KeyError, TypeError, OSError) as error:
        raise ModelError(f"{path}: not a safetensors file that can be read ({error})") from None
    tokenizer = path.with_name("tokenizer.json")
    return Weights(path, "safetensors", architecture, settings, tensors, tokenizer if tokenizer.is_file() else None)
