"""Products with kernel graphs: ours and their certificates, against brute force, pykeops, finufft and fmm3dpy.

    python benchmarks/kernel_graph.py [--part gaussian] [--part million] … [--rounds 5] [--most 400000] [--processor]

All contenders run in one process on two threads, in turn, round after round, after a warm-up.  ``torch`` is brute force
in tiles of 256 × 2,048 pairs, with the squared distance as one small product of matrices and functions in place, in
float64 unless the row says float32.  It and pykeops compute some thousand rows and are scaled to all of them.
finufft sums the Gaussian's Fourier series, cut off at the error that is asked for: type 1, then type 2, in float64, at
that tolerance.  ``again`` is with what can be kept: our operator, finufft's plans with their points.  A row also shows
the certificate and the true error, over Σ_j|v_j| or over the mean of Σ_j w_ij|v_j|, from sampled rows in numbers of 64
bits, two of which are compared with balls.

With --processor, seconds are those of the processor, of all threads together, which other work on the machine changes
less.  Parts: ``gaussian``, ``million``, ``polynomial``, ``coulomb``, ``others`` and ``exponent``; all by default.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from timing import interleaved, publish

from assay.impl.cpu import kernel_graph
from assay.spec.kernel_graph import Function, Instance, define

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Rows = list[dict[str, Any]]
THREADS = 2
REQUESTED = 1e-6
_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_TILE = (256, 2048)
_JUDGED = 200  # rows whose true error is measured
_NEGLIGIBLE = 48.0  # a Gaussian e^-48 is less than 2^-69
_FEW = 1024  # rows of brute force that are timed

# f(z), of arrays of NumPy or torch
FORMULAS: dict[str, Callable[[Any, Any, float], Any]] = {
    "gaussian": lambda xp, z, p: xp.exp(z * -p),
    "matern 3/2": lambda xp, z, p: (1.0 + xp.sqrt(3.0 * z)) * xp.exp(-xp.sqrt(3.0 * z)),
    "rational": lambda xp, z, p: 1.0 / (1.0 + z) ** p,
    "coulomb": lambda xp, z, p: z**-p,
    "a user's own": lambda xp, z, p: xp.exp(-p * z) / (1.0 + z),
}


def own(p: float) -> Function:
    """e^(−pz)/(1 + z), which no package has."""
    return Function(
        "damped", lambda z: (z * -p).exp() / (1 + z), lambda z: np.exp(-p * z) / (1.0 + z), monotone="decreasing",
        completely_monotone=True, analytic=-1.0, operations=8 + int(p),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """Points (n, d), a vector (n,), and the function by its name above and its parameter."""

    x: Array
    v: Array
    name: str
    parameter: float

    @property
    def given(self) -> dict[str, Any]:
        """The arguments of the package."""
        name = self.name.split()[0]
        parameter = 1.5 if name == "matern" else self.parameter
        function: Any = own(self.parameter) if name == "a" else name
        return {"function": function, "parameter": parameter}

    def ours(self, error: float, **options: Any) -> Any:
        return kernel_graph.multiply(
            self.x, self.v[:, None], error=error, threads=THREADS, **self.given, **options
        )  # fmt: skip


def cube(n: int, d: int, seed: int = 0) -> tuple[Array, Array]:
    """Uniform points of the unit cube and a normal vector."""
    rng = np.random.default_rng(seed)
    return rng.random((n, d)), rng.standard_normal(n)


def brute(case: Case, rows: int, dtype: torch.dtype) -> Callable[[], Any]:
    """Sums of the first rows, all pairs, in tiles."""
    tall, wide = _TILE
    x, v = torch.tensor(case.x, dtype=dtype), torch.tensor(case.v[:, None], dtype=dtype)
    square = (x * x).sum(dim=1, keepdim=True)
    one = torch.ones_like(square)
    right = torch.cat([x, square, one], dim=1).T.contiguous()
    left = torch.cat([-2.0 * x, one, square], dim=1)
    formula = FORMULAS[case.name]

    out = torch.zeros((rows, 1), dtype=dtype)

    def part(number: int) -> None:
        z = torch.empty(_TILE, dtype=dtype)
        for i in range(number * tall, rows, THREADS * tall):
            out[i : i + tall] = 0.0
            for j in range(0, len(x), wide):
                a, b = left[i : min(i + tall, rows)], right[:, j : j + wide]
                here = torch.mm(a, b, out=z[: len(a), : b.shape[1]])
                if case.name == "gaussian":
                    here.mul_(-case.parameter).exp_()
                else:
                    here.clamp_(min=1e-30)  # rounding may leave −0 of a point and itself
                    here = formula(torch, here, case.parameter)
                if i <= j + wide and j <= i + tall:  # no edge from a point to itself
                    k = torch.arange(max(i, j), min(i + len(a), j + b.shape[1]))
                    here[k - i, k - j] = 0.0
                out[i : i + tall].addmm_(here, v[j : j + wide])

    def call() -> Any:
        with ThreadPoolExecutor(THREADS) as pool:  # tiles have threads of their own: none waits for another
            list(pool.map(part, range(THREADS)))
        return out[:, 0].clone()

    return call


def keops(case: Case, rows: int) -> Callable[[], Any] | None:
    """The same by pykeops, in float64, with the point itself for a Gaussian; None where it is not installed."""
    try:
        from pykeops.torch import LazyTensor
    except ImportError:
        return None
    x, v = torch.tensor(case.x), torch.tensor(case.v[:, None])
    z = LazyTensor(x[:rows, None].contiguous()).sqdist(LazyTensor(x[None]))
    if case.name == "gaussian":
        weights = (z * -case.parameter).exp()
    elif case.name == "matern 3/2":
        weights = (1.0 + (3.0 * z).sqrt()) * (-(3.0 * z).sqrt()).exp()
    elif case.name == "rational":
        weights = 1.0 / (1.0 + z) if case.parameter == 1.0 else (1.0 + z) ** -case.parameter
    else:
        weights = (z * -case.parameter).exp() / (1.0 + z)
    return lambda: weights @ v


class Series:
    """A Gaussian's sums by finufft: a Fourier series with the period that puts images beyond the error."""

    def __init__(self, case: Case, tolerance: float) -> None:
        self.case, self.tolerance, d = case, tolerance, case.x.shape[1]
        low, high = case.x.min(axis=0), case.x.max(axis=0)
        side, rest = float((high - low).max()), math.log(1.0 / tolerance)
        self.period = side + math.sqrt(rest / case.parameter)
        most = math.ceil(self.period * math.sqrt(case.parameter * rest) / math.pi)
        self.modes, k = 2 * most + 1, np.arange(-most, most + 1)
        one = np.exp(-((math.pi * k / self.period) ** 2) / case.parameter)
        one *= math.sqrt(math.pi / case.parameter) / self.period
        self.coefficients = one
        for _ in range(d - 1):
            self.coefficients = self.coefficients[..., None] * one
        self.middle = (low + high) / 2.0

    def angles(self) -> list[Array]:
        turn = 2.0 * math.pi / self.period
        return [np.ascontiguousarray((x - c) * turn) for x, c in zip(self.case.x.T, self.middle, strict=True)]

    def plans(self) -> tuple[Any, Any]:
        """Plans of type 1 and 2 with their points."""
        import finufft

        made = []
        angles = self.angles()
        for kind, sign in ((1, -1), (2, 1)):
            plan = finufft.Plan(
                kind, (self.modes,) * len(angles), eps=self.tolerance, isign=sign, nthreads=THREADS
            )  # fmt: skip
            plan.setpts(*angles)
            made.append(plan)
        return made[0], made[1]

    def apply(self, plans: tuple[Any, Any]) -> Array:
        spectrum = plans[0].execute(self.case.v.astype(np.complex128))
        spectrum *= self.coefficients
        return np.asarray(plans[1].execute(spectrum).real - self.case.v)

    def __call__(self) -> Array:
        return self.apply(self.plans())


def judged(case: Case) -> tuple[Any, Array]:
    """Sampled rows, and their sums in numbers of 64 bits; the first two are compared with balls."""
    assert np.finfo(np.longdouble).nmant >= 63
    rng = np.random.default_rng(1)
    chosen = rng.permutation(len(case.x))[:_JUDGED]
    x, v = case.x.astype(np.longdouble), case.v.astype(np.longdouble)
    exact = np.empty(len(chosen), np.longdouble)
    for place, i in enumerate(chosen):
        near = np.ones(len(x), bool)
        if case.name == "gaussian":
            near = np.zeros(len(x))
            for column in case.x.T:
                near += (column - column[i]) ** 2
            near = near * case.parameter < _NEGLIGIBLE
        near[i] = False
        z = ((x[near] - x[i]) ** 2).sum(axis=1)
        exact[place] = FORMULAS[case.name](np, z, np.longdouble(case.parameter)) @ v[near]
    for place, i in enumerate(chosen[:2]):
        others = np.delete(np.arange(len(x)), i)
        balls = define(
            Instance(case.x[others], case.v[others, None], targets=case.x[i : i + 1], **case.given), 1e-18
        )  # fmt: skip
        off = float(balls.ratio(np.array([[float(exact[place])]]), np.ones((1, 1))).max())
        assert off <= 1e-15 * np.abs(case.v).sum() * max(1.0, float(abs(exact[place]))), off
    return chosen, exact


def shown(found: Any) -> str:
    return str(found.route.split(":")[0])


def figures(case: Case, found: Any, unit: float) -> tuple[dict[str, Any], Callable[[Any], float]]:
    """The certificate and the true error of ours, and what measures that of a peer on its first rows."""
    chosen, exact = judged(case)
    off = np.abs(found.value[chosen, 0] - exact).astype(np.float64)
    bound = np.broadcast_to(found.error, found.value.shape)[chosen, 0]
    assert (off <= bound).all(), "a certificate is too small"

    def error(values: Any) -> float:
        inside = chosen < len(values)
        if not inside.any():
            return math.nan
        return float(np.abs(np.asarray(values)[chosen[inside]] - exact[inside]).max(initial=0.0) / unit)

    return {
        "route": shown(found),
        "certified": float(found.error.max()) / unit,
        "error": float(off.max()) / unit,
    }, error


def clock() -> Callable[[], float]:
    return time.process_time if "--processor" in sys.argv else time.perf_counter


def seconds(contenders: dict[str, Any], rounds: int, scale: dict[str, float]) -> dict[str, Any]:
    """min and median of every contender, scaled where only some rows are computed."""
    found = interleaved({name: call for name, call in contenders.items() if call is not None}, rounds, clock())
    return {f"{name} {of}": each[of] * scale.get(name, 1.0) for name, each in found.items() for of in ("min", "median")}


def one_gaussian(n: int, d: int, width: float, rounds: int, few: int) -> dict[str, Any]:
    """One row of the parts ``gaussian`` and ``million``."""
    x, v = cube(n, d)
    case = Case(x, v, "gaussian", 0.5 / width**2)
    unit = float(np.abs(v).sum())
    series = Series(case, REQUESTED)
    plans = series.plans()
    operator = kernel_graph.adjacency(
        x, function="gaussian", parameter=case.parameter, error=REQUESTED, threads=THREADS
    )  # fmt: skip
    contenders = {
        "ours": lambda: case.ours(REQUESTED * unit), "finufft": series, "again": lambda: operator @ v,
        "finufft again": lambda: series.apply(plans), "torch": brute(case, few, torch.float64),
        "float32": brute(case, few, torch.float32), "pykeops": keops(case, few),
    }  # fmt: skip
    mine, error = figures(case, case.ours(REQUESTED * unit), unit)
    times = seconds(contenders, rounds, dict.fromkeys(("torch", "float32", "pykeops"), n / few))
    least = {name.removesuffix(" min"): t for name, t in times.items() if name.endswith(" min")}
    ratios = {
        f"{name} / ours": least[name] / least["ours"] for name in ("torch", "float32", "pykeops") if name in least
    }
    return {
        "n": n, "d": d, "σ": width, **mine, "finufft's error": error(series()),
        "float32's error": float(error(contenders["float32"]())), **times, **ratios,
        "ours / finufft": least["ours"] / least["finufft"], "again / again": least["again"] / least["finufft again"],
    }  # fmt: skip


def gaussian(rounds: int, most: int) -> Rows:
    """n = 10^5 Gaussian sums, narrow to wide."""
    return [
        one_gaussian(100_000, d, width, rounds, _FEW)
        for d, widths in ((2, (0.005, 0.05, 0.3)), (3, (0.02, 0.1, 0.3)))
        for width in widths
    ]


def million(rounds: int, most: int) -> Rows:
    """n = 10^6 Gaussian sums in the plane."""
    return [one_gaussian(1_000_000, 2, width, rounds, 128) for width in (0.005, 0.05)]


def polynomial(rounds: int, most: int) -> Rows:
    """Gaussians (λ = 1) of points in the ball of radius 1/2, d = 8: where the polynomial is faster than all pairs."""
    rows = []
    for n in (1000, 2000, 3000, 3500, 4000, 6000, 10_000, 20_000):
        rng = np.random.default_rng(n)
        x = rng.standard_normal((n, 8))
        x *= 0.5 * rng.random((n, 1)) ** (1 / 8) / np.linalg.norm(x, axis=1)[:, None]
        case = Case(x, rng.standard_normal(n), "gaussian", 1.0)
        unit = float(np.abs(case.v).sum())
        error = REQUESTED * unit
        few = min(n, _FEW)
        mine, _ = figures(case, case.ours(error, route="polynomial"), unit)
        contenders = {
            "polynomial": lambda case=case, error=error: case.ours(error, route="polynomial"),
            "all pairs": lambda case=case, error=error: case.ours(error, route="direct"),
            "chosen": lambda case=case, error=error: case.ours(error),
            "torch": brute(case, few, torch.float64), "float32": brute(case, few, torch.float32),
        }  # fmt: skip
        times = seconds(contenders, rounds, dict.fromkeys(("torch", "float32"), n / few))
        ratios = {
            f"{name} / polynomial": times[f"{name} min"] / times["polynomial min"]
            for name in ("torch", "float32", "all pairs")
        }
        rows.append({"n": n, **mine, "chosen": shown(case.ours(error)), **times, **ratios})
    return rows


def typical(case: Case) -> float:
    """The mean of Σ_j w_ij|v_j|, from some rows."""
    total = 0.0
    for i in range(64):
        z = ((case.x - case.x[i]) ** 2).sum(axis=1)
        z[i] = 1.0
        w = FORMULAS[case.name](np, z, case.parameter)
        w[i] = 0.0
        total += float(w @ np.abs(case.v)) / 64
    return total


def coulomb(rounds: int, most: int) -> Rows:
    """z^(−1/2) in space, against fmm3dpy at the same request, positive charges."""
    rows = []
    for n in (20_000, 100_000):
        if n > most:
            continue
        x, v = cube(n, 3)
        case = Case(x, np.abs(v), "coulomb", 0.5)
        unit = typical(case)
        mine, error = figures(case, case.ours(REQUESTED * unit), unit)
        contenders: dict[str, Any] = {
            "ours": lambda case=case, unit=unit: case.ours(REQUESTED * unit),
            "torch": brute(case, _FEW, torch.float64),
        }
        theirs = {}
        try:
            import fmm3dpy

            sources = np.asfortranarray(x.T)

            def fmm(eps: float, sources: Any = sources, case: Case = case) -> Any:
                found = fmm3dpy.lfmm3d(eps=eps, sources=sources, charges=case.v, pg=1)
                return 4.0 * math.pi * found.pot  # theirs is of 1/(4πr)

            for eps in (REQUESTED, 1e-5, 1e-4):
                theirs[f"fmm3dpy's error at {eps:g}"] = error(fmm(eps))
            eps = max(eps for eps in (REQUESTED, 1e-5, 1e-4) if theirs[f"fmm3dpy's error at {eps:g}"] <= REQUESTED)
            theirs["fmm3dpy eps"] = eps
            contenders["fmm3dpy"] = lambda fmm=fmm, eps=eps: fmm(eps)
        except ImportError:
            pass
        times = seconds(contenders, rounds, {"torch": n / _FEW})
        ratios = {f"{name} / ours": times[f"{name} min"] / times["ours min"] for name in contenders if name != "ours"}
        rows.append({"n": n, **mine, **theirs, **times, **ratios})
        print(rows[-1], file=sys.stderr)
    return rows


def others(rounds: int, most: int) -> Rows:
    """Functions that packages of fast sums do not have; the request is over the mean of Σ_j w_ij|v_j|."""
    rows = []
    for d, name, parameter in (
        (2, "matern 3/2", 1.5), (3, "matern 3/2", 1.5), (2, "rational", 1.0), (3, "rational", 1.0),
        (2, "a user's own", 2.0), (3, "a user's own", 2.0),
    ):  # fmt: skip
        n = min(most, 100_000)
        x, v = cube(n, d)
        case = Case(x, v, name, parameter)
        unit = typical(case)
        mine, _ = figures(case, case.ours(REQUESTED * unit), unit)
        contenders = {
            "ours": lambda case=case, unit=unit: case.ours(REQUESTED * unit),
            "torch": brute(case, _FEW, torch.float64), "float32": brute(case, _FEW, torch.float32),
            "pykeops": None if name == "a user's own" else keops(case, _FEW),
        }  # fmt: skip
        times = seconds(contenders, rounds, dict.fromkeys(("torch", "float32", "pykeops"), n / _FEW))
        ratios = {
            f"{other} / ours": times[f"{other} min"] / times["ours min"]
            for other in ("torch", "float32", "pykeops") if f"{other} min" in times
        }  # fmt: skip
        rows.append({"f": name, "parameter": parameter, "d": d, "n": n, **mine, **times, **ratios})
        print(rows[-1], file=sys.stderr)
    return rows


def exponent(rounds: int, most: int) -> Rows:
    """Exponents of the time from n = 50,000 on, by least squares; the request is over Σ_j|v_j| or the mean sum."""
    rows = []
    for d, name, parameter in (
        (2, "gaussian", 200.0), (3, "gaussian", 50.0), (2, "rational", 1.0), (2, "matern 3/2", 1.5),
        (3, "rational", 1.0), (3, "matern 3/2", 1.5), (2, "coulomb", 0.5), (3, "coulomb", 0.5),
    ):  # fmt: skip
        sizes = [n for n in (50_000, 100_000, 200_000, 400_000) if n <= most]
        if len(sizes) < 2:
            raise ValueError(f"--most: {most}, expected 100000 at least")
        calls: dict[str, Any] = {}
        route = ""
        for n in sizes:
            x, v = cube(n, d)
            case = Case(x, v, name, parameter)
            unit = float(np.abs(v).sum()) if name == "gaussian" else typical(case)
            calls[str(n)] = lambda case=case, unit=unit: case.ours(REQUESTED * unit)
            found = calls[str(n)]()
            route = shown(found)
            if route == "direct":
                break
        if route == "direct":
            rows.append({"f": name, "d": d, "route": route, **{f"{n} s": math.nan for n in sizes}, "exponent": 2.0})
            continue
        times = interleaved(calls, rounds, clock())
        least = [times[str(n)]["min"] for n in sizes]
        slope = float(np.polyfit(np.log(sizes), np.log(least), 1)[0])
        rows.append(
            {"f": name, "d": d, "route": route, **{f"{n} s": t for n, t in zip(sizes, least, strict=True)}}
            | {"exponent": slope}
        )  # fmt: skip
        print(rows[-1], file=sys.stderr)
    return rows


PARTS = {part.__name__: part for part in (gaussian, million, polynomial, coulomb, others, exponent)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--rounds", type=int, default=5, help="of every contender, at least 5")
    parser.add_argument("--most", type=int, default=400_000, help="points of exponents and Coulomb sums, at most")
    parser.add_argument("--processor", action="store_true", help="seconds of the processor instead of the clock's")
    chosen = parser.parse_args()
    wanted = str(THREADS)
    if any(os.environ.get(name) != wanted for name in _VARIABLES):  # they are read where libraries are loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | dict.fromkeys(_VARIABLES, wanted))
    torch.set_num_threads(1)  # of one tile
    for name in chosen.part or PARTS:
        rows = PARTS[name](chosen.rounds, chosen.most)
        of = "seconds of the processor" if chosen.processor else "seconds"
        note = f"{THREADS} threads; {of}; {PARTS[name].__doc__}"
        publish(f"kernel_graph_{name}", rows, note, upright=False)


if __name__ == "__main__":
    main()
