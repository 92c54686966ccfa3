"""Is a bound of the distance to the collapsed network ever below the truth?  Random, adversarial and searched networks.

    python benchmarks/collapse_bounds.py [--random 4000] [--adversarial 1000] [--searched 600] [--steps 60] [--first 0]

A random network has random sizes, options and scales of its weights and tokens.  An adversarial one has tokens in two
groups and weights of rank one, along which bounds are nearly attained.  A searched one was led there by the gradient of
log(truth/bound), in torch, from a random or adversarial one, so as to break the bound.  Every bound that speaks of a
network is compared with the truth at every depth.  Exit status 1 if one is too small.

The truth is computed without cancellation in float64; for every 20th network, and where it comes within 1 % of a
bound, the certified definition decides.  A distance below 10^-12 of its tokens counts as 0 where it is a difference of
float64 numbers, as in networks with norms or MLPs.

Printed beside: how far uniform attention is from the network, where answering with no update is 1 away.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.impl.cpu.layer_collapse.bounds import Columns, Diameters, Rows, closed_form, kappa, shares, sizes
from assay.impl.cpu.layer_collapse.parts import Network
from assay.impl.cpu.layer_collapse.trace import averaged, walk
from assay.impl.cpu.norms import norms
from assay.spec import flint_context, layer_collapse

_CERTIFIED = 20  # one network of so many is compared with the certified definition
_CLOSE = 0.99  # and every one whose truth is so near to a bound
_NOISE = 1e-12
_BITS = 400  # of the differences of balls

# --- the truth and the bounds -----------------------------------------------------------------------------------------


def ratios(instance: Any, certified: bool) -> tuple[dict[str, float], float]:
    """The largest truth/bound of every bound over all depths, and the relative distance at the last."""
    network = Network.of(instance)
    known = sizes(network)
    plain = instance.is_linear()
    name = "LC-9, LC-10" if not plain else "LC-8" if instance.causal else "LC-6"
    takers: dict[str, Any] = {
        f"{name} rows": Rows(network, known),
        f"{name} rows, LC-13": Rows(network, known, moments=True),
    }
    if plain and not instance.causal:
        takers["LC-6 columns"] = Columns(instance.skip)
        takers["LC-6 columns, LC-13"] = Columns(instance.skip, moments=True)
    diameters = Diameters(network, known) if plain and not instance.causal else None
    start = instance.tokens.astype(np.float64)
    exact = _certified(instance) if certified else None
    found: dict[str, float] = {}
    apart: Any = 0.0

    def hold(what: str, true: Any, bound: Any) -> None:
        true, bound = np.atleast_1d(true), np.atleast_1d(bound)
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = np.where(true > 0.0, np.where(bound > 0.0, true / bound, np.inf), 0.0)
        found[what] = max(found.get(what, 0.0), float(quotient.max()))

    for step in walk(network, pairs=True):
        if exact is not None:
            apart, floor = _less(exact[0][step.number], exact[1][step.number]), 1e-25
        elif plain:
            carried = averaged(apart, instance.causal) @ step.layer.attention.total if step.number else 0.0
            apart, floor = (apart if instance.skip else 0.0) + carried + step.gap, 0.0
        else:
            apart, floor = step.after - step.collapsed, _NOISE
        sized = np.where(np.abs(apart) > floor * (1.0 + np.abs(step.after)), apart, 0.0)
        for what, taker in takers.items():
            taker.take(step)
            hold(what, np.abs(sized) if "columns" in what else norms(sized), taker.bound)
        if diameters is not None:
            diameters.take(step)
            label, true = "LC-6" if instance.skip else "LC-7", diameters.true
            if exact is not None:
                with flint_context.bits(_BITS):
                    moved = exact[0][step.number] - (start if instance.skip else 0.0)
                certain = max(norms(_less(moved, row)).max() for row in moved)
                true = certain if certain > 1e-20 * (1.0 + np.abs(step.after).max()) else true
            hold(f"{label} D, ranges", true, diameters.ranges)
            hold(f"{label} D, norms", true, diameters.norms)
            if instance.skip:
                hold("LC-6 D, κ", true, closed_form(kappa(network, known), diameters.start))
        for what, moments in (("one layer, LC-6", False), ("one layer, LC-13", True)):
            hold(what, norms(step.gap), shares(step.heads, instance.causal, moments=moments))
    update = norms(step.after - start).max()
    return found, float(norms(apart).max() / update) if update else math.nan


def _less(a: Any, b: Any) -> Any:
    """a − b for balls, with all of their digits before the result is rounded."""
    with flint_context.bits(_BITS):
        return (a - b).astype(np.float64)


def _certified(instance: Any) -> tuple[Any, Any]:
    return tuple(f(instance, relative=1e-30).balls for f in (layer_collapse.define, layer_collapse.collapse))


# --- networks ---------------------------------------------------------------------------------------------------------


def random(rng: np.random.Generator) -> Any:
    """A network of random sizes, options and scales."""
    n, d, layers = (int(rng.integers(1, most)) for most in (10, 6, 6))
    h_k = int(rng.integers(1, 3))
    h = h_k * int(rng.integers(1, 3))
    size, values = (10.0 ** rng.uniform(-3, 0.3) for _ in range(2))
    options: dict[str, Any] = {"skip": rng.random() < 0.75, "causal": rng.random() < 0.3}
    k = v = d
    if rng.random() < 0.4:
        k, v = (int(x) for x in rng.integers(1, d + 2, 2))
        options["output_weights"] = values * _drawn(rng, layers, h, v, d)
    if rng.random() < 0.3:
        options |= {"query_bias": _drawn(rng, layers, h, k), "key_bias": _drawn(rng, layers, h_k, k)}
        options |= {"value_bias": _drawn(rng, layers, h_k, v), "output_bias": _drawn(rng, layers, d)}
    if rng.random() < 0.35:
        options |= {"norm": _norm(rng, d), "norm_place": str(rng.choice(["pre", "post"]))}
        options |= {"epsilon": 10.0 ** rng.uniform(-8, 0), "final_norm": bool(rng.random() < 0.5)}
        options["attention_norm_gain"] = _drawn(rng, layers, d)
    if rng.random() < 0.3:
        f = int(rng.integers(1, 6))
        options |= {"up_weights": size * _drawn(rng, layers, d, f), "down_weights": size * _drawn(rng, layers, f, d)}
        options["activation"] = str(rng.choice(["relu", "gelu", "gelu_tanh", "silu"]))
        if rng.random() < 0.4:
            options["gate_weights"] = size * _drawn(rng, layers, d, f)
    tokens = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-1, 1)
    kind = rng.integers(4)
    if kind == 1:
        tokens += 10.0 ** rng.uniform(0, 2) * rng.standard_normal(d)
    elif kind == 2:
        tokens = tokens[rng.integers(0, min(2, n), n)] + 1e-3 * tokens
    weights = (size * _drawn(rng, layers, h, d, k), size * _drawn(rng, layers, h_k, d, k))
    return layer_collapse.Instance(
        tokens, *weights, values * _drawn(rng, layers, h_k, d, v), float(rng.choice([1.0, 0.5, -1.0])), **options
    )


def adversarial(rng: np.random.Generator) -> Any:
    """Tokens in two groups, and heads that all look and write along the line between them, so that errors add up."""
    n, d, layers, h = (int(rng.integers(*ends)) for ends in ((2, 9), (1, 4), (1, 5), (1, 4)))
    axis = np.linalg.qr(rng.standard_normal((d, d)))[0][:, 0]
    tokens = np.where(np.arange(n) < max(1, int(rng.integers(1, n))), 1.0, -1.0)[:, None] * axis
    tokens = 10.0 ** rng.uniform(-2, 1) * tokens + rng.choice([0.0, 1e-3, 10.0]) * rng.standard_normal(d)
    a, v = 10.0 ** rng.uniform(-3, 1), 10.0 ** rng.uniform(-2, 0.5) * rng.choice([-1.0, 1.0])
    along = np.broadcast_to(np.outer(axis, axis), (layers, h, d, d)).copy()
    options: dict[str, Any] = {"skip": rng.random() < 0.6, "causal": rng.random() < 0.3}
    if rng.random() < 0.3:
        options |= {"norm": _norm(rng, d), "epsilon": 10.0 ** rng.uniform(-12, 0)}
        options["norm_place"] = str(rng.choice(["pre", "post"]))
    if rng.random() < 0.3:
        inner = 10.0 ** rng.uniform(-1, 0.5) * along[:, 0]
        options |= {"up_weights": inner, "down_weights": inner, "activation": "relu"}
    return layer_collapse.Instance(tokens, along, a * along, v * along, 1.0, **options)


def _norm(rng: np.random.Generator, d: int) -> str:
    """The layer norm of a single number is 0, whatever the number is."""
    return str(rng.choice(["layer", "rms"])) if d > 1 else "rms"


def _drawn(rng: np.random.Generator, *shape: int) -> Any:
    return rng.standard_normal(shape)


# --- the search -------------------------------------------------------------------------------------------------------

#: What a search tries to break: name → (skip, causal, norm before attention, MLP after it).
TARGETS = {
    "LC-6 rows": (True, False, False, False),
    "LC-6 D, norms": (True, False, False, False),
    "LC-6 D, ranges": (True, False, False, False),
    "LC-7 D, norms": (False, False, False, False),
    "LC-8": (True, True, False, False),
    "LC-9": (True, False, True, False),
    "LC-10": (True, False, True, True),
    "one layer, LC-13": (True, False, False, False),
}


def searched(rng: np.random.Generator, target: str, steps: int) -> Any:
    """The network with the largest truth/bound on the way up its gradient."""
    skip, causal, norm, mlp = TARGETS[target]
    if rng.random() < 0.5:
        base = adversarial(rng)
        arrays = [base.tokens, base.query_weights, base.key_weights, base.value_weights]
        arrays = [x + 1e-2 * rng.standard_normal(x.shape) for x in arrays]
    else:
        n, d, layers, h = (int(rng.integers(*ends)) for ends in ((2, 7), (1, 4), (1, 4), (1, 3)))
        size = 10.0 ** rng.uniform(-2, 0.3)
        arrays = [rng.standard_normal((n, d)), *(size * rng.standard_normal((layers, h, d, d)) for _ in range(3))]
    d, layers = arrays[0].shape[1], len(arrays[1])
    d_norm = d if not norm else max(d, 2)
    if d_norm != d:  # a norm of one number is no number to differ by
        arrays = [np.concatenate([arrays[0], rng.standard_normal(arrays[0].shape)], axis=1)] + [
            np.kron(x, np.ones((1, 1, 2, 2))) for x in arrays[1:]
        ]
        d = d_norm
    if mlp:
        arrays += [0.5 * rng.standard_normal((layers, d, 3)), 0.5 * rng.standard_normal((layers, 3, d))]
    leaves = [torch.tensor(x, requires_grad=True) for x in arrays]
    optimiser = torch.optim.Adam(leaves, lr=10.0 ** rng.uniform(-2.5, -1))
    best, kept = -math.inf, arrays
    for _ in range(steps):
        value = objective(leaves, target, skip=skip, causal=causal, norm=norm)
        if not torch.isfinite(value):
            break
        if float(value.detach()) > best:
            best, kept = float(value.detach()), [x.detach().numpy().copy() for x in leaves]
        optimiser.zero_grad()
        (-value).backward()
        if not all(torch.isfinite(x.grad).all() for x in leaves if x.grad is not None):
            break
        optimiser.step()
    options: dict[str, Any] = {"skip": skip, "causal": causal}
    options |= {"norm": "layer", "epsilon": 1e-3} if norm else {}
    options |= {"up_weights": kept[4], "down_weights": kept[5], "activation": "relu"} if mlp else {}
    return layer_collapse.Instance(*kept[:4], 1.0, **options)


def objective(leaves: list[Any], target: str, *, skip: bool, causal: bool, norm: bool) -> Any:
    """log(truth/bound) at the last layer, as something that torch can differentiate."""
    tokens, query, key, value, *mlp = leaves
    n = len(tokens)
    seen = torch.ones(n, n, dtype=torch.bool)
    seen = torch.tril(seen) if causal else seen
    uniform = seen.double() / seen.sum(1, keepdim=True)
    x = y = tokens
    wide = bound_d = _widest(tokens)
    moved = torch.zeros_like(tokens)
    e = ranges_d = torch.zeros(n, dtype=torch.float64)
    layer_gap = layer_bound = torch.zeros(n, dtype=torch.float64)

    def normal(a: Any) -> tuple[Any, Any]:
        centred = a - a.mean(1, keepdim=True)
        deviation = torch.sqrt((centred**2).mean(1, keepdim=True) + 1e-3)
        return centred / deviation, deviation[:, 0]

    for layer in range(len(query)):
        (z, s_x), (w, s_y) = (normal(a) if norm else (a, None) for a in (x, y))
        f = 2 * e / (s_x + s_y) if norm else e
        gap = torch.zeros_like(x)
        reach = by_norms = by_ranges = moments = 0.0
        for q, k, v in zip(query[layer], key[layer], value[layer], strict=True):
            scores = z @ q @ k.T @ z.T
            carried = z @ v
            gap = gap + (torch.softmax(scores.masked_fill(~seen, -math.inf), 1) - uniform) @ carried
            extent = scores.masked_fill(~seen, -math.inf).amax(1) - scores.masked_fill(~seen, math.inf).amin(1)
            spread = torch.stack([_widest(carried[: i + 1]) for i in range(n)]) if causal else _widest(carried)
            reach = reach + torch.tanh(extent / 4) * spread
            pairs = (scores[:, None] - scores[None]).amax(2) - (scores[:, None] - scores[None]).amin(2)
            by_ranges = by_ranges + torch.tanh(pairs.amax() / 4) * _widest(carried)
            sized = torch.linalg.matrix_norm(q @ k.T, 2)
            by_norms = by_norms + torch.tanh(sized * bound_d**2 / 4) * torch.linalg.matrix_norm(v, 2)
            spectral = torch.linalg.matrix_norm(carried - carried.mean(0), 2) / math.sqrt(n)
            moments = moments + torch.expm1(extent) / extent * scores.std(1, unbiased=False) * spectral
        total = value[layer].sum(0)
        added = uniform @ f * torch.linalg.matrix_norm(total, 2) + reach
        x, y = ((a if skip else 0.0) + uniform @ b @ total for a, b in ((x, z), (y, w)))
        x, e = x + gap, (e if skip else 0.0) + added
        moved = moved + gap if skip else gap
        bound_d = bound_d * by_norms + (bound_d if skip else 0.0)
        ranges_d = (ranges_d if skip else 0.0) + by_ranges
        layer_gap, layer_bound = gap, moments
        if mlp:
            up, down = (a[layer] for a in mlp)
            (z, s_x), (w, s_y) = (normal(a) if norm else (a, None) for a in (x, y))
            x, y = x + torch.relu(z @ up) @ down, y + torch.relu(w @ up) @ down
            lipschitz = torch.linalg.matrix_norm(up, 2) * torch.linalg.matrix_norm(down, 2)
            e = e + lipschitz * (2 * e / (s_x + s_y) if norm else e)
    if target == "one layer, LC-13":
        return _log_quotient(layer_gap.norm(dim=1), layer_bound).amax()
    if " D, ranges" in target:
        return _log_quotient(_widest(moved), ranges_d.amax())
    if " D, norms" in target:
        return _log_quotient(_widest(moved), bound_d - wide if skip else bound_d)
    return _log_quotient((x - y).norm(dim=1), e).amax()


def _widest(x: Any) -> Any:
    differences = x[:, None] - x[None]
    return torch.sqrt((differences**2).sum(2).amax() + 1e-300)


def _log_quotient(true: Any, bound: Any) -> Any:
    return torch.log(true + 1e-300) - torch.log(bound + 1e-300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=4000)
    parser.add_argument("--adversarial", type=int, default=1000)
    parser.add_argument("--searched", type=int, default=600)
    parser.add_argument("--steps", type=int, default=60, help="of a search")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    kinds = ["random"] * chosen.random + ["adversarial"] * chosen.adversarial + ["searched"] * chosen.searched
    targets = list(TARGETS)
    found: dict[str, dict[str, list[float]]] = {}
    relative: dict[str, list[float]] = {}
    certain = 0
    for number, kind in enumerate(track(kinds, "networks", console=Console(stderr=True))):
        rng = np.random.default_rng(chosen.first + number)
        makers: dict[str, Any] = {"random": random, "adversarial": adversarial}
        makers["searched"] = lambda rng, number=number: searched(rng, targets[number % len(targets)], chosen.steps)
        instance = makers[kind](rng)
        certified = number % _CERTIFIED == 0
        one, distance = ratios(instance, certified)
        if not certified and max(one.values()) > _CLOSE:
            (one, distance), certified = ratios(instance, True), True
        certain += certified
        relative.setdefault(kind, []).append(distance)
        for name, ratio in one.items():
            found.setdefault(name, {}).setdefault(kind, []).append(ratio)
    rows = []
    for name in sorted(found):
        row: dict[str, Any] = {"bound": name, "networks": sum(map(len, found[name].values()))}
        for kind in ("random", "adversarial", "searched"):
            ones = np.array(found[name].get(kind, [math.nan]))
            positive = ones[ones > 0]
            row[f"{kind}: largest"] = float(ones.max())
            row[f"{kind}: median"] = float(np.median(positive)) if len(positive) else 0.0
        rows.append({**row, "below the truth": sum(int((np.array(x) > 1.0).sum()) for x in found[name].values())})
    quartiles = "; ".join(
        f"{kind} {', '.join(f'{x:.2g}' for x in np.nanquantile(x, [0.25, 0.5, 0.75]))}" for kind, x in relative.items()
    )
    note = (
        f"{len(kinds)} networks, {certain} of them against the certified definition; truth/bound over all depths; "
        f"quartiles of ‖X_L − Y_L‖/‖X_L − X_0‖, where no update is 1: {quartiles}"
    )
    publish("collapse_bounds", rows, note)
    sys.exit(any(row["below the truth"] for row in rows))


if __name__ == "__main__":
    main()
