"""What commands about models read: one reader of texts, and one of models, which judge sizes first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from assay.conformance.interface.usage import UsageError

if TYPE_CHECKING:
    from assay.impl.models import Model

__all__ = ["model_of", "text_of"]

_FILES = (".gguf", ".safetensors")
_LONGEST_TEXT = 1 << 24  # bytes: far more than the longest model reads


def text_of(path: Path | None) -> str:
    """The text in a file, or out of a pipe; Python's own documentation where there is none.

    Raises ``UsageError`` in one line, also for more than 16 MiB: a device may have no end.
    """
    from assay.impl.models import standard_text
    from assay.spec.untrusted import content

    if path is None:
        return standard_text()
    try:
        return content(path, _LONGEST_TEXT).decode()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from None


def model_of(name: str) -> Model:
    """The model in a file whose name ends in .gguf or .safetensors, or the one that is fetched under this name.

    Raises ``UsageError`` in one line for what is no regular file, or takes more than half of the memory, and
    :class:`~assay.impl.models.ModelError`.
    """
    from assay.impl.models import fetch, open_model
    from assay.spec.memory import require_memory
    from assay.spec.untrusted import regular

    if not name.endswith(_FILES):
        return open_model(fetch(name))
    try:
        if Path(name).exists():  # what is absent is said by the reader
            with regular(name) as (_, size):
                require_memory(size, "a model")
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: cannot be read ({error})") from None
    return open_model(Path(name))
