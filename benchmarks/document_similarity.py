"""The exact search against the bare products of torch, two threads each: what it costs to know the best pair.

    python benchmarks/document_similarity.py [--n 32768] [--d 128]

``products`` is torch's float32 product of all pairs in strips, with nothing done to the result.  ``products, max`` also
takes the maximum of every strip.  The search returns an exactly best pair.  Documents: normal numbers and
presence (0 and 1, through bfloat16 products where the processor has them), of any norms and of equal ones (DOC-5).
"""

from __future__ import annotations

import argparse
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from timing import interleaved, publish

from assay.impl import cpu
from assay.impl.cpu.document_similarity.products import bfloat16_products

if TYPE_CHECKING:
    from collections.abc import Callable

_STRIP = 2048


def documents(kind: str, rng: np.random.Generator, n: int, d: int) -> Any:
    if kind == "normal":
        return rng.standard_normal((n, d)).astype(np.float32)
    drawn = (rng.random((n, d)) < 0.3).astype(np.float32)
    drawn[~drawn.any(axis=1)] = 1
    if kind == "equal norms":  # the gadget of DOC-5: one word of three
        return np.stack([drawn[:, : d // 2], 1 - drawn[:, : d // 2]], axis=2).reshape(n, -1)
    return drawn


def row(kind: str, n: int, d: int, *, least: bool, alone: bool) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    left, right = documents(kind, rng, n, d), documents(kind, rng, n, d)
    one, other = torch.from_numpy(left), torch.from_numpy(right)
    room = torch.empty(_STRIP, n)

    def products() -> None:
        for start in range(0, n, _STRIP):
            torch.mm(one[start : start + _STRIP], other.T, out=room[: min(_STRIP, n - start)])

    def with_maximum() -> None:
        for start in range(0, n, _STRIP):
            strip = room[: min(_STRIP, n - start)]
            torch.mm(one[start : start + _STRIP], other.T, out=strip)
            strip.amax()

    def search() -> None:
        cpu.document_similarity.exact(left, None if alone else right, least=least, threads=2)

    contenders = {"products": products, "search": search}
    if kind == "normal" and not alone:
        contenders["products, max"] = with_maximum
    busy: dict[str, float] = {}

    def counted(name: str) -> Callable[[], None]:
        def call() -> None:
            begun = time.process_time()
            contenders[name]()
            busy[name] = min(busy.get(name, math.inf), time.process_time() - begun)

        return call

    seconds = interleaved({name: counted(name) for name in contenders}, 5)
    return {
        "documents": kind,
        "pair": ("least" if least else "most") + (", one collection" if alone else ""),
        "n": n,
        "d": left.shape[1],
        **{f"{name} {of} s": seconds[name][of] for name in ("products", "search") for of in ("min", "median")},
        "search / products": seconds["search"]["min"] / seconds["products"]["min"],
        "processor time": busy["search"] / busy["products"],
        "products, max / products": busy["products, max"] / busy["products"] if "products, max" in busy else "–",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=32768)
    parser.add_argument("--d", type=int, default=128)
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    rows = [
        row(kind, chosen.n, chosen.d, least=least, alone=alone)
        for kind, least, alone in (
            ("normal", False, False),
            ("presence", False, False),
            ("presence", True, False),
            ("equal norms", False, False),
        )
    ]
    fast = "has" if bfloat16_products(torch) else "has no"
    publish(
        "document_similarity",
        rows,
        f"two threads; ratios of minima, of wall and of processor time; this processor {fast} bfloat16 products",
    )


if __name__ == "__main__":
    main()
