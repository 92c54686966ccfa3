"""The transformer with all weights written down (DOC-6), and the bits that it needs (DOC-7).

    python benchmarks/deciding_transformer.py [--instances 1000] [--most 4096]

First: questions (orthogonal vectors, the most and the least similar pair, one collection and two) at the threshold
where the answer turns, and one beyond, through the torch module in float32, bfloat16 and float16; wrong decisions.
Second: decisions of one head in emulated arithmetic of 2 to 11 bits, exp and exp2, one and two levels of sums, random
orders, weights flushed early; and the largest number of partners that it counts rightly.
Third: formulas decided by one head in 8 and 3 bits, emulated, and by onnxruntime with 8-bit integer products.
Exit status 1 if a decision that is proved to be right is wrong.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.impl.transformer import least, most, orthogonal
from assay.impl.transformer.bits import rounded, shares, summed
from assay.impl.transformer.module import DecidingTransformer
from assay.impl.transformer.weights import CUT, factor
from assay.spec.instances import families, truth
from assay.spec.reductions import reduction

_TYPES = ("float32", "bfloat16", "float16")
_WORDS = 48


def documents(rng: np.random.Generator, n: int, d: int) -> Any:
    drawn = (rng.random((n, d)) < rng.uniform(0.15, 0.6)).astype(np.float32)
    drawn[~drawn.any(axis=1), rng.integers(d)] = 1
    return drawn


def question(rng: np.random.Generator, number: int, longest: int) -> tuple[Any, tuple[Any, ...], bool, str]:
    """A transformer, its documents, the right answer by brute force, and the name of the question."""
    n = longest if number % 100 < 5 else int(2 ** rng.uniform(1, np.log2(longest) - 3))
    kind = number % 5
    d = int(rng.integers(4, _WORDS))
    if kind == 0:
        one = documents(rng, n, d)
        products = one @ one.T
        np.fill_diagonal(products, np.inf)
        return orthogonal(d, n), (one,), bool(products.min() == 0), "orthogonal"
    sides, wanted = 1 + kind % 2, "most" if kind < 3 else "least"
    left = documents(rng, n // sides + 2, d)
    right = documents(rng, n // sides + 2, d) if sides == 2 else left
    products = left @ right.T
    turn = bool(rng.integers(2))
    given = (left, right) if sides == 2 else (left,)
    number_of = len(left) * sides
    if sides == 1:
        np.fill_diagonal(products, np.inf if wanted == "least" else -1)
    name = f"{wanted}, {sides} collection{'s' if sides == 2 else ''}"
    if wanted == "most":
        best = int(products.max())
        t = max(1, best + (not turn))
        return most(d, number_of, t, sides=sides), given, best >= t, name
    best = int(products.min())
    t = max(0, best - (not turn))
    return least(d, number_of, t, sides=sides), given, best <= t, name


def through_torch(count: int, longest: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for number in track(range(count), "torch", console=Console(stderr=True), transient=True):
        transformer, given, answer, name = question(rng, number, longest)
        for dtype in _TYPES:
            row = found.setdefault(
                (name, dtype), {"question": name, "type": dtype, "instances": 0, "yes": 0, "largest n": 0, "wrong": 0}
            )
            module = DecidingTransformer(transformer, getattr(torch, dtype))
            decided = bool(module(*(torch.from_numpy(x).to(getattr(torch, dtype)) for x in given)))
            row["instances"] += 1
            row["yes"] += answer
            row["largest n"] = max(row["largest n"], sum(map(len, given)))
            row["wrong"] += decided != answer
    return list(found.values())


def in_bits(longest: int) -> list[dict[str, Any]]:
    rows = []
    rng = np.random.default_rng(1)
    for bits in (2, 3, 4, 5, 6, 8, 11):
        wrong = {"exp": 0, "exp2": 0}
        decisions = 0
        for n in (16, 100, 700, longest):
            left, right = documents(rng, min(n, 256), 20), documents(rng, n, 20)
            for i in range(0, len(left), 2):
                right[rng.integers(n)] *= 1 - left[i]
            partner = (left @ right.T == 0).any(axis=1)
            for part in (None, int(np.sqrt(n))):
                order = rng.permutation(n + 1)
                for name in wrong:
                    share = shares(
                        left, right, bits, part=part, flush=1 / (16 * n), base_two=name == "exp2", order=order
                    )
                    wrong[name] += int(((share <= CUT) != partner).sum())
                decisions += len(left)
        ones = np.triu(np.ones((2 ** min(bits + 1, 12), 2 ** min(bits + 1, 12))))
        total = summed(ones, bits)
        right_until = int(np.argmin(total == np.arange(1, len(total) + 1))) if bits < 12 else len(total)
        rows.append(
            {
                "bits": bits,
                "decisions": decisions,
                "wrong, exp": wrong["exp"],
                "wrong, exp2": wrong["exp2"],
                "counts rightly up to": right_until,
            }
        )
    return rows


def by_onnxruntime(left: Any, right: Any) -> Any:
    """(n,): the calibrator's share with both products in 8-bit integers (MatMulInteger) and a softmax in float32.

    The queries are the left vectors, the keys minus the right ones and the calibrator, zero; the probabilities are
    rounded to 255ths; the values are 0 and, for the calibrator, 1.
    """
    import onnxruntime
    from onnx import TensorProto, helper

    kappa = factor(len(right))
    key = np.concatenate([-right, np.zeros((1, right.shape[1]))]).astype(np.int8).T
    value = np.zeros((len(right) + 1, 1), np.int8)
    value[-1] = 1

    def constant(name: str, array: Any, kind: int) -> Any:
        return helper.make_tensor(name, kind, array.shape, array.ravel().tolist())

    graph = helper.make_graph(
        [
            helper.make_node("MatMulInteger", ["query", "key"], ["products"]),
            helper.make_node("Cast", ["products"], ["cast"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["cast", "beta"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            helper.make_node("QuantizeLinear", ["probabilities", "step", "zero"], ["quantised"]),
            helper.make_node("MatMulInteger", ["quantised", "value"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["whole"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["whole", "step"], ["share"]),
        ],
        "head",
        [helper.make_tensor_value_info("query", TensorProto.INT8, ["n", left.shape[1]])],
        [helper.make_tensor_value_info("share", TensorProto.FLOAT, ["n", 1])],
        [
            constant("key", key, TensorProto.INT8),
            constant("value", value, TensorProto.INT8),
            constant("beta", np.array(kappa * kappa, np.float32), TensorProto.FLOAT),
            constant("step", np.array(1 / 255, np.float32), TensorProto.FLOAT),
            constant("zero", np.array(0, np.uint8), TensorProto.UINT8),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"query": left.astype(np.int8)})[0][:, 0]


def formulas(count: int) -> list[dict[str, Any]]:
    heads = {
        "8 bits, emulated": lambda a, b: shares(a, b, 8),
        "3 bits, emulated": lambda a, b: shares(a, b, 3),
        "2 bits, emulated": lambda a, b: shares(a, b, 2),
        "8-bit integers, onnxruntime": by_onnxruntime,
    }
    rows = {name: {"head": name, "formulas": 0, "satisfiable": 0, "wrong": 0} for name in heads}
    for seed in track(range(count), "formulas", console=Console(stderr=True), transient=True):
        formula = families.random_formula(seed, 8 + seed % 9, 3)
        vectors = reduction("OV-1").apply(formula).target
        satisfiable = truth.satisfying(formula) is not None
        for name, head in heads.items():
            decided = bool((head(vectors.left, vectors.right) <= CUT).any())
            rows[name]["formulas"] += 1
            rows[name]["satisfiable"] += satisfiable
            rows[name]["wrong"] += decided != satisfiable
    return list(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--most", type=int, default=4096, help="documents of the longest instances")
    parser.add_argument("--formulas", type=int, default=200)
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    assert float(rounded(np.array(5.0), 3)) == 5.0
    decided, bits, solved = (
        through_torch(chosen.instances, chosen.most),
        in_bits(chosen.most),
        formulas(chosen.formulas),
    )
    publish("deciding_transformer", decided, f"{chosen.instances} instances, each in {', '.join(_TYPES)}")
    publish("deciding_bits", bits, "proved right: exp from 3 bits, exp2 from 3 + log2 ln 16n bits")
    publish("deciding_formulas", solved, "formulas of 8 to 16 variables at the threshold, against python-sat")
    proved = [row["wrong"] for row in decided] + [row["wrong, exp"] for row in bits if row["bits"] >= 3]
    sys.exit(any(proved) or any(row["wrong"] for row in solved if not row["head"].startswith("2")))


if __name__ == "__main__":
    main()
