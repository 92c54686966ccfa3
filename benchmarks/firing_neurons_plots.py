"""Two pictures of firing neurons.

    OPENBLAS_NUM_THREADS=1 python benchmarks/firing_neurons_plots.py [--folder docs/pictures]

``firing_tradeoff.png``: what an update and a query of one neuron cost on n data for both ends of FN-9's trade-off, the
tree and the table (medians of 9, of this machine).
``firing_regime.png``: the share of the neurons that one training step touches, as FN-7 predicts it, for the number of
points n and of neurons m; a step is in o(nmd) below the line n = m^c.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from firing_neurons_hardness import costs
from matplotlib.figure import Figure

from assay.impl.cpu import firing_neurons

_DIM = 64
_POINTS = np.arange(0, 13)  # powers of two
_NEURONS = np.arange(8, 21)


def tradeoff(folder: Path) -> None:
    """Microseconds of an update against those of a query, a line a structure, a mark a number of data."""
    rows = [row for n in (1024, 4096, 16384) for row in costs(n, _DIM, 9)]
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["structure"] for row in rows):
        of_name = [row for row in rows if row["structure"] == name]
        updates, queries = ([1e6 * row[f"{what}_seconds"] for row in of_name] for what in ("update", "query"))
        axes.loglog(updates, queries, "o-", label=name)
        for row, update, query in zip(of_name, updates, queries, strict=True):
            axes.annotate(f"{row['n']:,}", (update, query), fontsize=7)
    axes.set_xlabel("update of one neuron, µs")
    axes.set_ylabel("query of one neuron, µs")
    axes.legend()
    figure.savefig(folder / "firing_tradeoff.png", dpi=110)


def regime(folder: Path) -> None:
    """The touched share, a panel a c."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels, image = figure.subplots(1, 3, sharey=True), None
    for axes, c in zip(panels, (0.2, 0.4, 0.8), strict=True):
        share = np.array([[_touched(2**n, 2**m, c) for m in _NEURONS] for n in _POINTS])
        image = axes.pcolormesh(_NEURONS, _POINTS, np.log10(share), vmin=-5, vmax=0, shading="nearest")
        axes.plot(_NEURONS, c * _NEURONS, "w--", label="n = m^c")
        axes.legend(loc="upper right")
        axes.set_ylim(_POINTS[0] - 0.5, _POINTS[-1] + 0.5)
        axes.set_title(f"c = {c}")
        axes.set_xlabel("log₂ m, neurons")
    panels[0].set_ylabel("log₂ n, points")
    figure.colorbar(image, ax=list(panels), label="log₁₀ of the touched share T/m")
    figure.savefig(folder / "firing_regime.png", dpi=110)


def _touched(points: int, neurons: int, c: float) -> Any:
    b = firing_neurons.threshold_of(c, neurons)
    return max(firing_neurons.forecast(neurons, b, points=points).touched / neurons, 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("docs/pictures"))
    folder = parser.parse_args().folder
    tradeoff(folder)
    regime(folder)


if __name__ == "__main__":
    main()
