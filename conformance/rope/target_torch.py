"""The rotary embeddings of PyTorch libraries: transformers, rotary-embedding-torch and torchtune.

Sources: ``transformers.modeling_rope_utils`` and the models GLM and Llama; lucidrains/rotary-embedding-torch on GitHub;
``torchtune.modules.RotaryPositionalEmbeddings`` and ``torchtune.models.llama3_1.Llama3ScaledRoPE``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.targets import function_named, keywords_of

__all__ = ["lucidrains", "torchtune", "transformers"]

_TABLE = 8192  # positions of torchtune's tables


def _kernel(name: str, package: str, function: Any, *lacks: str, **conventions: str) -> Kernel:
    version = importlib.metadata.version(package)
    keywords = keywords_of(function, "rope")
    return Kernel(name, function, "torch", keywords, conventions, frozenset(lacks), version)


# --- transformers -----------------------------------------------------------------------------------------------------


def transformers(name: str, *, kept: bool) -> Kernel:
    """kept: one module serves all calls with the same options, as in a model; else each call has a new one."""
    for model in ("glm", "llama"):  # now, so that the seconds of importing are not those of the first case
        importlib.import_module(f"transformers.models.{model}.modeling_{model}")
    return _kernel(name, "transformers", functools.partial(_transformers, kept), "ntk")


def _transformers(
    kept: bool, query: Any, key: Any, positions: Any, *, base: float, layout: str = "halves",
    rotary_dim: int | None = None, scaling: str | None = None, factor: float | None = None,
    original_length: int | None = None, low_frequency: float | None = None, high_frequency: float | None = None,
    truncate: bool = True, attention_factor: float | None = None,
) -> Any:  # fmt: skip
    import torch
    from transformers.models.glm.modeling_glm import apply_rotary_pos_emb as pairs
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as halves

    r, length = rotary_dim or query.shape[3], original_length or 2048
    parameters: dict[str, Any] = {"rope_type": scaling or "default", "rope_theta": base, "factor": factor}
    if scaling == "llama3":
        parameters |= {"low_freq_factor": low_frequency, "high_freq_factor": high_frequency}
    if scaling == "yarn":
        parameters |= {"beta_slow": low_frequency, "beta_fast": high_frequency, "truncate": truncate}
        parameters |= {"attention_factor": attention_factor}
    if scaling in ("llama3", "yarn"):
        parameters["original_max_position_embeddings"] = original_length
        length = int(length * (factor or 1.0))  # transformers warns of a ratio that is not the factor
    module = (_kept if kept else _module)(r, length, tuple(parameters.items()))
    with torch.inference_mode():
        cos, sin = module(query, positions.reshape(-1, query.shape[2]))
        if layout == "pairs":
            return pairs(query, key, cos, sin)
        rotated = halves(query[..., :r], key[..., :r], cos, sin)
        return tuple(torch.cat([y, x[..., r:]], dim=-1) for y, x in zip(rotated, (query, key), strict=True))


def _module(r: int, length: int, parameters: tuple[tuple[str, Any], ...]) -> Any:
    """GLM's module, which leaves the rotary part of the head to the frequencies, for heads of r columns."""
    from transformers.models.glm.configuration_glm import GlmConfig
    from transformers.models.glm.modeling_glm import GlmRotaryEmbedding

    chosen = {name: value for name, value in parameters if value is not None} | {"partial_rotary_factor": 1.0}
    config = GlmConfig(
        head_dim=r, hidden_size=r, num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=length,
        rope_parameters=chosen,
    )  # fmt: skip
    return GlmRotaryEmbedding(config)


_kept = functools.cache(_module)


# --- rotary-embedding-torch -------------------------------------------------------------------------------------------


def lucidrains(name: str, *, offset: bool) -> Kernel:
    """offset: by ``rotate_queries_or_keys``, which counts from an offset; else by positions of one's own."""
    importlib.import_module("rotary_embedding_torch")
    lacks = ["halves", "dynamic"]
    lacks += ["any_positions", "batched_positions", "negative_positions"] if offset else ["linear"]
    return _kernel(name, "rotary-embedding-torch", functools.partial(_lucidrains, offset), *lacks)


def _lucidrains(
    offset: bool, query: Any, key: Any, positions: Any, *, base: float, layout: str = "pairs",
    rotary_dim: int | None = None, scaling: str | None = None, factor: float = 1.0,
) -> Any:  # fmt: skip
    import torch
    from rotary_embedding_torch import apply_rotary_emb

    if (r := rotary_dim or query.shape[3]) == 2:
        raise Declined("two columns: the module divides by dim − 2")
    module = _lucidrains_module(r, base, scaling, factor)
    with torch.inference_mode():
        if offset:
            return tuple(module.rotate_queries_or_keys(x, offset=int(positions[0])) for x in (query, key))
        angles = module(positions)
        return tuple(apply_rotary_emb(angles if angles.ndim == 2 else angles[:, None], x) for x in (query, key))


@functools.cache
def _lucidrains_module(r: int, base: float, scaling: str | None, factor: float) -> Any:
    from rotary_embedding_torch import RotaryEmbedding

    scaled = {"linear": "interpolate_factor", "ntk": "theta_rescale_factor"}
    return RotaryEmbedding(r, theta=base, **({scaled[scaling]: factor} if scaling else {}))


# --- torchtune --------------------------------------------------------------------------------------------------------


def torchtune() -> Kernel:
    """The modules are read from their files: importing the package needs torchao, which is built for other torch."""
    return _kernel(
        "torchtune:rope", "torchtune", _torchtune, "halves", "yarn", "linear", "ntk", "dynamic",
        table=str(_TABLE),
    )  # fmt: skip


def _torchtune(
    query: Any, key: Any, positions: Any, *, base: float, layout: str = "pairs", scaling: str | None = None,
    factor: float | None = None, original_length: int | None = None, low_frequency: float | None = None,
    high_frequency: float | None = None,
) -> Any:  # fmt: skip
    import torch

    if scaling not in (None, "llama3"):
        raise Declined(f"no scaling {scaling}")
    module = _torchtune_module(query.shape[3], base, factor, low_frequency, high_frequency, original_length)
    with torch.inference_mode():
        ids = positions.reshape(-1, query.shape[2])
        return tuple(module(x.transpose(1, 2), input_pos=ids).transpose(1, 2) for x in (query, key))


@functools.cache
def _torchtune_module(dim: int, base: float, factor: float | None, *band: Any) -> Any:
    if factor is None:
        return _torchtune_class("modules/position_embeddings.py:RotaryPositionalEmbeddings")(dim, _TABLE, base)
    scaled = _torchtune_class("models/llama3_1/_position_embeddings.py:Llama3ScaledRoPE")
    return scaled(dim, _TABLE, base, factor, *band)


def _torchtune_class(path: str) -> Any:
    package = importlib.util.find_spec("torchtune")
    assert package is not None
    return function_named(str(Path(str(package.origin)).parent / path))
