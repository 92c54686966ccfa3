"""Our kernels for GPUs beside torch and pykeops, or beside what the card could do at most, in one run on one card.

    python benchmarks/gpu.py [--rounds 7] [--row "attention, float32"] …

Contenders of a row take turns, round after round, after a warm-up, and each call is timed by CUDA events.  A row says
how many times as fast ours is as what it is compared with (``times``, of the medians), what we aim at (``aim``), and
how far the results of the two are apart, as a share of the largest number.  TF32 is off.  What is not installed is said
and left out.  Figures, with the device, the versions and the commit, are also written to benchmarks/results/gpu.json.

Without a CUDA device there is one line that says so, and the exit status is 1.  A new row is one more function in ROWS.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from timing import interleaved, publish
from torch.nn.attention import SDPBackend, sdpa_kernel

from assay.impl.gpu.attention.forward import run as attention
from assay.impl.gpu.attention.polynomial import run as approximate
from assay.impl.gpu.attention_gradient.backward import run as gradient
from assay.impl.gpu.kernel_graph.direct import run as multiply
from assay.impl.gpu.kernel_graph.multiply import run as certified
from assay.impl.gpu.machine import card
from assay.impl.gpu.tensor_attention.forward import run as tensor_attention

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from assay.impl.gpu.machine import Machine

    Call = Callable[[], Any]
    Row = Callable[["Place", "Sizes"], "Contest"]

#: Lanes of float32 in a multiprocessor, by the compute capability of the card.
_LANES = {"80": 64}
_USUAL_LANES = 128  # from 8.6 on
_SOME = 256  # queries whose outputs show the signal


@dataclass(frozen=True)
class Sizes:
    """How much is computed.

    attention: batch, heads, length, dim.  long, third_order: length, dim.  points: of a graph.
    """

    attention: tuple[int, int, int, int] = (4, 16, 4096, 64)
    long: tuple[int, int] = (1 << 20, 8)
    third_order: tuple[int, int] = (1024, 64)
    points: int = 100_000


@dataclass(frozen=True)
class Place:
    """Where contenders run.

    machine: of our kernels.  device: of torch's tensors.  array: a tensor as an array of the machine, in its place.
    tensor: the reverse.  seconds_of: how long a call takes.  flops: the operations of float32 in a second, at most.
    """

    machine: Machine
    device: str
    array: Callable[[Any], Any]
    tensor: Callable[[Any], Any]
    seconds_of: Callable[[Call], float]
    flops: float
    about: Mapping[str, Any] = field(default_factory=dict)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Any:
        """Normal numbers, the same in every run."""
        generator = torch.Generator(self.device).manual_seed(sum(shape))
        return torch.randn(shape, generator=generator, device=self.device).to(dtype)


@dataclass(frozen=True)
class Contest:
    """A row.  ours and theirs: the calls; theirs is ``None`` where nothing stands beside ours, or is not installed.

    other: what ours is compared with, in words.  seconds: what that takes, where it is no call.  aim: how many times as
    fast ours shall be.
    """

    ours: Call
    other: str
    aim: float
    theirs: Call | None = None
    seconds: float | None = None


def attention_float32(place: Place, sizes: Sizes) -> Contest:
    """Exact attention in float32, against torch's."""
    arrays = [place.normal(*sizes.attention) for _ in range(3)]
    return Contest(
        _attention(place, arrays),
        "torch sdpa, float32 without TF32",
        1.0,
        lambda: torch.nn.functional.scaled_dot_product_attention(*arrays),
    )


def attention_tf32(place: Place, sizes: Sizes) -> Contest:
    """Exact attention in float32 on tensor cores, as three products of tf32 parts, against torch's without TF32."""
    arrays = [place.normal(*sizes.attention) for _ in range(3)]
    return Contest(
        _attention(place, arrays, "tensor"),
        "torch sdpa, float32 without TF32",
        1.0,
        lambda: torch.nn.functional.scaled_dot_product_attention(*arrays),
    )


def attention_bfloat16(place: Place, sizes: Sizes) -> Contest:
    """Exact attention in bfloat16, against torch's flash attention."""
    arrays = [place.normal(*sizes.attention, dtype=torch.bfloat16) for _ in range(3)]

    def flash() -> Any:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return torch.nn.functional.scaled_dot_product_attention(*arrays)

    return Contest(_attention(place, arrays), "torch flash, bfloat16", 0.5, flash)


def gradient_bfloat16(place: Place, sizes: Sizes) -> Contest:
    """The gradient of exact attention in bfloat16, against torch's flash attention; both are given the forward pass."""
    query, key, value, grad = (place.normal(*sizes.attention, dtype=torch.bfloat16) for _ in range(4))
    given: dict[str, Any] = dict(zip(("query", "key", "value"), map(place.array, (query, key, value)), strict=True))
    given |= dict.fromkeys(("mask", "bias", "key_lengths", "sink"))
    output, log_sum_exp = attention(place.machine, given, return_lse=True)
    given |= {"output": output, "log_sum_exp": log_sum_exp, "grad_output": place.array(grad), "grad_log_sum_exp": None}
    leaves = [x.clone().requires_grad_() for x in (query, key, value)]
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        made = torch.nn.functional.scaled_dot_product_attention(*leaves)
    return Contest(
        lambda: gradient(place.machine, given)[0],
        "torch flash backward, bfloat16",
        0.5,
        lambda: torch.autograd.grad(made, leaves, grad, retain_graph=True)[0],
    )


def _attention(place: Place, arrays: Sequence[Any], products: str | None = None) -> Call:
    given: dict[str, Any] = dict(zip(("query", "key", "value"), map(place.array, arrays), strict=True))
    given |= dict.fromkeys(("mask", "bias", "key_lengths", "sink"))
    return lambda: attention(place.machine, given, products)


def attention_polynomial(place: Place, sizes: Sizes) -> Contest:
    """Attention by a polynomial, with its certificate, against torch's flash attention in bfloat16.

    Entries of Q and K are in [−1/2, 1/2], V = sin(3KW/√d), the scale is 1/d; the error is 10^-4 of the signal, the
    largest distance of an output from the mean of the values, as some rows show it.
    """
    n, d = sizes.long
    query, key = (torch.special.ndtr(place.normal(1, 1, rows, d)) - 0.5 for rows in (n, n + 1))
    key = key[:, :, :n]
    value = torch.sin(3.0 * key @ place.normal(d, d) / d**0.5)
    some = torch.nn.functional.scaled_dot_product_attention(query[:, :, :_SOME], key, value, scale=1.0 / d)
    error = 1e-4 * float((some - value.mean(dim=2, keepdim=True)).abs().max())
    bounds = (0.3, 1.0)  # of scores, at most 1/4 but for the mean of the keys, and of values
    given = [place.array(x) for x in (query, key, value)]
    halves = [x.to(torch.bfloat16) for x in (query, key, value)]

    def flash() -> Any:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return torch.nn.functional.scaled_dot_product_attention(*halves, scale=1.0 / d)

    return Contest(
        lambda: approximate(place.machine, *given, None, error, 1.0 / d, bounds, 1 << 30).value,
        "torch flash, bfloat16",
        20.0,
        flash,
    )


def third_order(place: Place, sizes: Sizes) -> Contest:
    """Attention of order 3, against the time that its products and sums alone would take at the peak of the card."""
    n, d = sizes.third_order
    query, *modes = (place.array(place.normal(1, 1, n, d)) for _ in range(5))
    options = {"scale": None, "is_causal": False, "window": None, "return_lse": False}
    return Contest(
        lambda: tensor_attention(place.machine, query, tuple(modes), {}, options),
        "the peak of float32",
        0.4,
        seconds=4.0 * n**3 * d / place.flops,
    )


def gaussian(place: Place, sizes: Sizes) -> Contest:
    """A Gaussian's sums over all pairs of points in three dimensions, in float32, against pykeops."""
    x, v = place.normal(sizes.points, 3), place.normal(sizes.points, 1)
    points, vectors = place.array(x), place.array(v)
    return Contest(
        # with targets a point and itself are a pair too
        lambda: multiply(place.machine, points, vectors, points, "gaussian", 1.0),
        "pykeops, float32",
        1.0,
        _by_pykeops(x, v),
    )


def gaussian_polynomial(place: Place, sizes: Sizes) -> Contest:
    """The same by a polynomial, of points in a cube of side 1, with a certificate of 10^-3 a unit of Σ|v|.

    The points and the vectors are promised to be as large as they can be, so that nothing is waited for.
    """
    x, v = (torch.special.ndtr(place.normal(sizes.points, columns)) for columns in (3, 1))
    points, vectors = place.array(x - 0.5), place.array(v)
    bounds = (1.0, float(sizes.points))
    error = 1e-3 * sizes.points
    options = (error, 0.0, "polynomial", bounds, 1 << 30)
    return Contest(
        lambda: certified(place.machine, points, vectors, points, "gaussian", 1.0, *options).value,
        "pykeops, float32",
        10.0,
        _by_pykeops(x - 0.5, v),
    )


def _by_pykeops(x: Any, v: Any) -> Call | None:
    """The Gaussian's sums of pykeops, if it is installed."""
    if importlib.util.find_spec("pykeops") is None:
        return None
    from pykeops.torch import LazyTensor

    weights = (-LazyTensor(x[:, None]).sqdist(LazyTensor(x[None]))).exp()
    return functools.partial(weights.__matmul__, v)


#: The rows, by their names.
ROWS: Mapping[str, Row] = {
    "attention, float32": attention_float32,
    "attention, float32 by 3xTF32": attention_tf32,
    "attention, bfloat16": attention_bfloat16,
    "gradient of attention, bfloat16": gradient_bfloat16,
    "attention by a polynomial": attention_polynomial,
    "tensor attention, order 3": third_order,
    "gaussian, 3 dimensions": gaussian,
    "gaussian by a polynomial": gaussian_polynomial,
}


def measured(place: Place, sizes: Sizes, names: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """The figures of some rows."""
    rows = []
    for name in names:
        contest = ROWS[name](place, sizes)
        contenders = {"ours": contest.ours} | ({} if contest.theirs is None else {"theirs": contest.theirs})
        seconds = interleaved(contenders, rounds, seconds_of=place.seconds_of)
        row: dict[str, Any] = {"row": name, "beside": contest.other}
        for who, taken in seconds.items():
            row |= {f"{who}, min s": taken["min"], f"{who}, median s": taken["median"]}
        other = contest.seconds
        if contest.theirs is not None:
            other = seconds["theirs"]["median"]
            row["apart"] = _apart(place.tensor(contest.ours()), contest.theirs())
        if other is None:
            row["beside"] += " (not installed)"
        else:
            row |= {"times": other / seconds["ours"]["median"], "aim": contest.aim}
        rows.append(row)
    return rows


def _apart(ours: Any, theirs: Any) -> float:
    """The largest difference of two tensors, as a share of the largest number."""
    one, other = ours.double(), theirs.double()
    return float((one - other).abs().max() / other.abs().max())


def on_card() -> Place:
    """The current CUDA device.  Raises ``ImportError`` where CuPy is not installed."""
    machine = card()
    import cupy

    device = cupy.cuda.Device()
    known = device.attributes
    lanes = known["MultiProcessorCount"] * _LANES.get(device.compute_capability, _USUAL_LANES)

    def seconds_of(call: Call) -> float:
        begun, ended = cupy.cuda.Event(), cupy.cuda.Event()
        begun.record()
        call()
        ended.record()
        ended.synchronize()
        return float(cupy.cuda.get_elapsed_time(begun, ended)) / 1e3

    name = cupy.cuda.runtime.getDeviceProperties(device.id)["name"]
    return Place(
        machine,
        "cuda",
        cupy.from_dlpack,
        torch.from_dlpack,
        seconds_of,
        flops=2.0 * lanes * known["ClockRate"] * 1e3,
        about={
            "device": name.decode() if isinstance(name, bytes) else str(name),
            "capability": str(device.compute_capability),
            "clock": f"{known['ClockRate'] / 1e6:.3f} GHz",
            "driver": str(cupy.cuda.runtime.driverGetVersion()),
            "cuda": str(cupy.cuda.runtime.runtimeGetVersion()),
            "cupy": str(cupy.__version__),
            "commit": commit(),
        },
    )


def commit() -> str:
    """The commit that is checked out, with ``+`` where files differ from it."""
    here = Path(__file__).parent
    said = [
        subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=False).stdout.strip()
        for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    ]
    return said[0] + ("+" if said[1] else "")


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="calls of every contender, at least 5")
    parser.add_argument("--row", action="append", choices=tuple(ROWS), help="a row; all unless given")
    chosen = parser.parse_args(given)
    if chosen.rounds < 5:
        parser.error(f"--rounds {chosen.rounds}: expected at least 5")
    if not torch.cuda.is_available():
        sys.exit("gpu: no CUDA device is here; nothing was measured")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    place = on_card()
    rows = measured(place, Sizes(), chosen.row or tuple(ROWS), chosen.rounds)
    publish("gpu", rows, "TF32 is off; seconds are those of CUDA events", upright=False, about=place.about)


if __name__ == "__main__":
    main()
