"""The exact stack against torch's TransformerEncoder and NumPy's formula, one thread each, float32.

NumPy's formula holds all scores of a layer.  The weights are those of torch's module.

python benchmarks/exact_stack.py
"""

from __future__ import annotations

import inspect
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from timing import interleaved, publish

from assay.impl import cpu
from assay.impl.cpu.layer_collapse import sources
from assay.impl.cpu.layer_collapse.forward import projected, sublayers

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay.impl.cpu.layer_collapse.parts import Network

_OURS = ("threads", "progress")  # of the kernel, not of the problem

#: (layers, heads, dim, hidden, tokens)
_SIZES = (
    (2, 2, 16, 32, 8),
    (6, 12, 384, 1536, 64),
    (6, 12, 384, 1536, 512),
    (2, 8, 512, 2048, 2048),
    (1, 8, 256, 512, 4096),
)


def formula(network: Network) -> Any:
    """The tokens after the last layer, with all scores of a layer in memory."""
    x = network.instance.tokens
    for number in range(network.instance.layers):
        layer = network.layer(number, np.float32)

        def attend(z: Any, layer: Any = layer) -> Any:
            query, key, value = projected(layer, z)
            scores = np.float32(layer.attention.scale) * (query @ key.swapaxes(1, 2))
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            each = weights @ value / weights.sum(axis=-1, keepdims=True)
            return (each @ layer.attention.output).sum(axis=0) + layer.attention.output_bias

        x = sublayers(layer, network.instance, x, attend)
    return x


def row(size: tuple[int, ...], activation: str) -> dict[str, object]:
    layers, heads, d, hidden, n = size
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(d, heads, hidden, 0.0, activation, batch_first=True, norm_first=True)
    encoder = torch.nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()
    tokens = np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)
    network = sources.network(
        encoder.state_dict(), tokens, {"heads": heads, "norm_first": True, "activation": activation}
    )
    names = [name for name in inspect.signature(cpu.layer_collapse.exact).parameters if name not in _OURS]
    arrays = {name: getattr(network.instance, name) for name in names}
    handed = torch.from_numpy(tokens)[None]

    def module() -> Any:
        with torch.no_grad():
            return encoder(handed)[0].numpy()

    contenders: dict[str, Callable[[], Any]] = {
        "assay": lambda: cpu.layer_collapse.exact(**arrays, threads=1)[-1],
        "torch": module,
        "numpy": lambda: formula(network),
    }
    apart = float(np.abs(contenders["assay"]() - module()).max())
    times = interleaved(contenders, 5)
    shown: dict[str, object] = {"layers, heads, dim, hidden, tokens": str(size), "activation": activation}
    for name, found in times.items():
        shown |= {f"{name} {statistic} ms": 1e3 * found[statistic] for statistic in ("min", "median")}
    for peer in ("torch", "numpy"):
        shown[f"{peer} / assay"] = times[peer]["min"] / times["assay"]["min"]
    return shown | {"|assay − torch|": apart}


def main() -> None:
    torch.set_num_threads(1)
    rows = [row(size, activation) for size in _SIZES for activation in ("relu", "gelu")]
    publish("exact_stack", rows, "one thread; ratios of minima: above 1 assay is faster")


if __name__ == "__main__":
    main()
