"""One attention head, trained on two cores so that every step is proved to descend, and the plot of it.

    python benchmarks/certified_training.py [--n 65536] [--steps 60]

L(X, Y) = ½‖softmax(σA₁XA₂ᵀ)A₃Y − E‖² with n queries and keys, d = 4, σ = 1/4.  The goal E is the output for hidden X
and Y, with normal noise of 0.01.  Descent starts at small random X and Y; rates are those of Barzilai and Borwein,
halved until the decrease is proved.  The plot shows the loss with its certified interval, and the gradient's norm with
what the true one is proved to be at most.  At the end the exact kernel, in O(n²), confirms the last point if n is at
most 16,384.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from timing import publish

from assay.impl.cpu import attention
from assay.impl.cpu.attention_gradient import Loss, descend

_D = 4
_NOISE = 0.01
_CONFIRMED = 1 << 14


def problem(n: int) -> tuple[Loss, np.ndarray, np.ndarray]:
    """The loss and the start."""
    rng = np.random.default_rng(0)
    left, right, third = (rng.uniform(-1, 1, (n, _D)) for _ in range(3))
    third[:, : _D // 2] = right[:, : _D // 2]
    hidden = rng.uniform(-1, 1, (_D, _D)), rng.uniform(-1, 1, (_D, _D))
    arrays = (left @ hidden[0], right, third @ hidden[1])
    goal = attention.approximate(*(x[None, None] for x in arrays), 1e-9, 1.0 / _D, fallback="raise").value[0, 0]
    start = rng.uniform(-0.5, 0.5, (_D, _D)), rng.uniform(-0.5, 0.5, (_D, _D))
    return Loss(left, right, third, goal + _NOISE * rng.standard_normal((n, _D)), 1.0 / _D), *start


def plot(steps: Any, n: int, to: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    count = np.arange(len(steps))
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 6))
    least = min(step.loss for step in steps)
    above.semilogy(count, [step.loss for step in steps], label="loss L̃")
    above.semilogy(count[1:], [step.decrease for step in steps[1:]], ".", label="proved decrease of the step")
    above.semilogy(count, [step.error for step in steps], "--", label="certificate of the loss")
    above.set_title(f"n = {n}: every step is proved to descend, to L̃ = {least:.6g}")
    below.semilogy(count, [step.gradient for step in steps], label="norm of the computed gradient")
    below.semilogy(
        count, [step.largest_gradient for step in steps], ":", label="bound of the norm of the true gradient"
    )
    below.semilogy(count, [step.gradient_error for step in steps], "--", label="certificate of the gradient")
    below.set_xlabel("step")
    for axes in (above, below):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(to, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1 << 16)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--plot", type=Path, help="an .svg file; default: benchmarks/results/certified_training.svg")
    chosen = parser.parse_args()
    loss, weights, value_weights = problem(chosen.n)
    begun = time.perf_counter()

    def told(number: int, step: Any) -> None:
        if number % 10 == 0:
            print(
                f"{number:4d}  {time.perf_counter() - begun:6.1f} s  L = {step.loss:.9g} ± {step.error:.2g}", flush=True
            )

    trained = descend(
        loss, weights, value_weights, steps=chosen.steps, error=1e-8, gradient_error=1e-9, rate=64.0 / chosen.n,
        target=1e-4 * chosen.n / 1024, threads=2, progress=told,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    first, last = trained.steps[0], trained.steps[-1]
    row: dict[str, Any] = {
        "n": chosen.n,
        "steps": len(trained.steps) - 1,
        "proved": sum(step.decrease > 0 for step in trained.steps[1:]),
        "s": seconds,
        "s a step": seconds / max(len(trained.steps) - 1, 1),
        "L at first": first.loss,
        "L at last": last.loss,
        "certificate of L": last.error,
        "least proved decrease": min((step.decrease for step in trained.steps[1:]), default=0.0),
        "gradient at first": first.gradient,
        "true gradient at last ≤": last.largest_gradient,
    }
    if chosen.n <= _CONFIRMED:
        exact = loss.exact(trained.weights, trained.value_weights)
        norm = float(np.sqrt(np.square(exact[1]).sum() + np.square(exact[2]).sum()))
        row |= {"exact L inside": abs(exact[0] - last.loss) <= last.error, "exact gradient": norm}
    publish("certified_training", [row])
    folder = Path(__file__).parent / "results"
    plot(trained.steps, chosen.n, chosen.plot or folder / "certified_training.svg")


if __name__ == "__main__":
    main()
