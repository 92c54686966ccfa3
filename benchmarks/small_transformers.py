"""Large attention from small calls: times beside one large call, how often a sample fails, and real models.

    python benchmarks/small_transformers.py times [--lengths N …] [--sizes M …]   N to 131072, M from 512 to 4096
    python benchmarks/small_transformers.py draws [--draws D]       at least 2000 orders of the keys
    python benchmarks/small_transformers.py models [--tokens N]     SmolLM2 and MiniLM through calls of 512 and 128

``times`` takes one head of dim 64 in float32.  The peers are one call of PyTorch's scaled_dot_product_attention on all
tokens, and *batched*: bare calls of M tokens, one for each of ⌈N/M⌉² pairs of blocks, with nothing put together.  Of
more than 4096 tokens, the first 4096 queries are computed, with every key; with a window, all.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.progress import track
from timing import interleaved, publish
from torch.nn.functional import scaled_dot_product_attention

from assay.impl.cpu import attention, small_transformers
from assay.impl.cpu.small_transformers.comparison import compared
from assay.impl.cpu.small_transformers.networks import Calls
from assay.impl.cpu.small_transformers.oracles import Refusing
from assay.impl.models import fetch, open_model, standard_text

if TYPE_CHECKING:
    from collections.abc import Callable

_DIM = 64
_BATCH = 8
_WINDOW, _SINKS = 256, 4
_ROWS = 4096


def oracle(query: Any, key: Any, value: Any, *, scale: float, mask: Any = None, is_causal: bool = False) -> Any:
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=is_causal, scale=scale)


def with_its_sum(query: Any, key: Any, value: Any, *, scale: float, return_lse: bool = False) -> Any:
    """PyTorch's flash kernel, which computes the log-sum-exp whether it is asked for or not."""
    output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, False, scale=scale)
    return (output, lse) if return_lse else output


def times(lengths: list[int], sizes: list[int]) -> None:
    """Processor seconds of one thread, which other work on the machine changes little.

    Of lengths beyond ``_ROWS``, plans and peers compute the first queries only, with every key; windows compute all.
    """
    rows = []
    generator = torch.Generator().manual_seed(0)
    for length in lengths:
        query, key, value = (torch.randn(1, 1, length, _DIM, generator=generator) for _ in range(3))
        first = query[:, :, :_ROWS].clone()
        for size in sizes:
            # in one process and one round each: a bare call for every pair of blocks, and the plans
            pairs = math.ceil(first.shape[2] / size) * math.ceil(length / size)
            small = [torch.randn(_BATCH, 1, size, _DIM, generator=generator) for _ in range(3)]
            window: dict[str, Any] = {"is_causal": True, "window": _WINDOW, "sinks": _SINKS}

            def batched(pairs: int = pairs, small: list[Any] = small) -> None:
                for begin in range(0, pairs, _BATCH):
                    oracle(*(x[: pairs - begin] for x in small), scale=_DIM**-0.5)

            def plan(function: Any, *arrays: Any, size: int = size, **options: Any) -> Any:
                return small_transformers.simulate(*arrays, function, size, batch=_BATCH, **options)

            some, every = (first, key, value), (query, key, value)
            contenders: dict[str, Callable[[], Any]] = {
                "large": lambda some=some: oracle(*some, scale=_DIM**-0.5),
                "batched": batched,
                "calibrated": lambda plan=plan, some=some: plan(oracle, *some),
                "log-sum-exp": lambda plan=plan, some=some: plan(with_its_sum, *some),
                "window": lambda plan=plan, every=every, window=window: plan(oracle, *every, **window),
            }
            measured = interleaved(contenders, rounds=5, clock=time.process_time)
            seconds = {name: times["min"] for name, times in measured.items()}
            large = seconds["large"] * length / first.shape[2]
            done = plan(oracle, *some)
            rows.append(
                {
                    "N": length,
                    "M": size,
                    "large ms": 1e3 * large,
                    "batched / large": seconds["batched"] / seconds["large"],
                    "calibrated / batched": seconds["calibrated"] / seconds["batched"],
                    "log-sum-exp / batched": seconds["log-sum-exp"] / seconds["batched"],
                    "window: speed-up / (N/M)": large / seconds["window"] / (length / size),
                    "calls / bound": done.planned / done.counting_bound,
                }
            )
            publish("small_transformers_times", rows, "processor seconds of one thread; minima of 5, interleaved")


def draws(count: int) -> None:
    """How often any entry is farther off than its bound, over orders of the keys, where values differ most."""
    rows = []
    for name, length, size, delta, error in (("level", 256, 33, 0.05, 0.5), ("steep", 256, 33, 0.05, 0.9)):
        rng = np.random.default_rng(0)
        key = np.zeros((1, 1, length, 2)) if name == "level" else 0.7 * rng.standard_normal((1, 1, length, 2))
        query = np.ones((1, 1, 4, 2)) * 0.5
        value = (np.arange(length) % 2).astype(float).reshape(1, 1, length, 1)
        right = attention.exact(query, key, value)
        failures, worst, sampled = 0, 0.0, 0
        for seed in track(range(count), name):
            done = small_transformers.approximate(
                query, key, value, Refusing(size), size, error, delta=delta, seed=seed, keywords=()
            )
            some = done.error > 0
            ratio = float((np.abs(done.value - right)[some] / done.error[some]).max(initial=0.0))
            failures, worst, sampled = failures + (ratio > 1), max(worst, ratio), sampled + bool(some.any())
        rows.append(
            {
                "keys": name,
                "draws": count,
                "delta": delta,
                "failures": failures,
                "stopped early": sampled,
                "largest error / bound": worst,
            }
        )
    publish("small_transformers_draws", rows)


def models(tokens: int) -> None:
    rows: list[dict[str, Any]] = []
    text = standard_text()
    for name, size, most in (("smollm2", 512, tokens), ("minilm", 128, 512)):
        model = open_model(fetch(name))
        ids = model.encode(text, min(most, model.longest))
        small = Refusing(size, threads=None)
        exact: dict[str, Any] = {"keywords": ("mask", "is_causal"), "precision": "float64"}
        ways = {
            "plain": Calls(small, size, {"keywords": (), "precision": "float64"}),
            "masked": Calls(small, size, exact),
            "sampled, error 0.1": Calls(small, size, {"error": 0.1}),
        }
        if name == "smollm2":
            for window, sinks in ((size // 4, 0), (size // 4, 4), (size // 2, 4)):
                ways[f"window {window}, {sinks} sinks"] = Calls(small, size, exact | {"window": window, "sinks": sinks})
        rows += [
            {
                "model": name,
                "tokens": len(ids),
                "M": size,
                "attention": row.name,
                "perplexity": "–" if row.perplexity is None else f"{row.perplexity:.7g}",
                "difference": row.difference,
                "allowed": "–" if row.allowed is None else row.allowed,
                "layer: error / proved": "–" if row.layer_ratio is None else row.layer_ratio,
                "calls": row.calls,
            }
            for row in compared(model, ids, ways)
        ]
        publish("small_transformers_models", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("times", "draws", "models"))
    parser.add_argument("--lengths", type=int, nargs="+", default=[8192, 32768, 131072])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=1024)
    options = parser.parse_args()
    if options.what == "times":
        torch.set_num_threads(1)
        times(options.lengths, options.sizes)
    elif options.what == "draws":
        draws(options.draws)
    else:
        models(options.tokens)


if __name__ == "__main__":
    main()
