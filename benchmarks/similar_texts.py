"""The most similar pair of real texts: exactly, by the stand-ins of the leaderboard, and by sentence vectors.

    python benchmarks/similar_texts.py [--budget 64] [--no-model]

The texts are the 300 news articles of the Lee background corpus (Pincombe 2004), which gensim carries.  The pair is one
of the first 150 and the last 150.  Documents are word presence, counts and tf–idf of scikit-learn.

A stand-in finds a pair through attention: queries √β(u, 1), keys √β(v, 0) and a calibrator √β(0, ½), the values are
unit vectors.  So the quotient of the shares of a document and of the calibrator is e^(β(cos − ½)), and the largest
quotient says the most similar pair.  Exact attention finds the exact pair so.
"""

from __future__ import annotations

import argparse
import importlib.resources
import time
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from timing import publish

from assay.impl import cpu
from assay.impl.leaderboard import METHODS

_BETA = 24.0
_HALF = 150
_FIRST = 96  # tokens of a text that the model reads: more are no news


def corpus() -> list[str]:
    """One text a line."""
    path = importlib.resources.files("gensim").joinpath("test/test_data/lee_background.cor")
    return path.read_text("utf-8").splitlines()


def documents(texts: list[str]) -> dict[str, Any]:
    """Name → (texts, words), float64."""
    makers = {
        "presence": CountVectorizer(binary=True, stop_words="english"),
        "counts": CountVectorizer(stop_words="english"),
        "tf–idf": TfidfVectorizer(stop_words="english"),
    }
    return {name: maker.fit_transform(texts).toarray().astype(np.float64) for name, maker in makers.items()}


def by_attention(method: Any, left: Any, right: Any, budget: int) -> tuple[int, int] | None:
    """The pair that a stand-in finds."""
    root = np.sqrt(_BETA)
    query = root * np.concatenate([left, np.ones((len(left), 1))], axis=1)
    key = root * np.concatenate([right, np.zeros((len(right), 1))], axis=1)
    calibrator = np.zeros((1, key.shape[1]))
    calibrator[0, -1] = root / 2
    output = method.run(
        query, np.concatenate([calibrator, key]), np.eye(len(right) + 1), scale=1.0, budget=budget, seed=0
    )
    if output is None:
        return None
    output = np.nan_to_num(output)
    quotient = output[:, 1:] / np.maximum(output[:, :1], 1e-12)
    i, j = np.unravel_index(int(quotient.argmax()), quotient.shape)
    return int(i), int(j)


def row(what: str, by: str, pair: tuple[int, int] | None, table: Any, seconds: float) -> dict[str, Any]:
    cosine = None if pair is None else float(table[pair])
    return {
        "documents": what,
        "by": by,
        "pair": "refused" if pair is None else f"{pair[0]}, {_HALF + pair[1]}",
        "cosine": "–" if cosine is None else f"{cosine:.6f}",
        "rank of 22,500": "–" if cosine is None else 1 + int((table > cosine + 1e-12).sum()),
        "s": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--no-model", action="store_true", help="without the sentence vectors of MiniLM")
    chosen = parser.parse_args()
    texts = corpus()
    made = documents(texts)
    rows = []
    for name, numbers in made.items():
        unit = numbers / np.linalg.norm(numbers, axis=1, keepdims=True)
        table = unit[:_HALF] @ unit[_HALF:].T
        begun = time.perf_counter()
        i, j, _ = cpu.document_similarity.exact(numbers[:_HALF], numbers[_HALF:])
        rows.append(row(name, "exact search", (i, j), table, time.perf_counter() - begun))
        for method in METHODS.values() if name == "tf–idf" else ():
            begun = time.perf_counter()
            pair = by_attention(method, unit[:_HALF], unit[_HALF:], chosen.budget)
            rows.append(row(name, f"{method.name} attention", pair, table, time.perf_counter() - begun))
    if not chosen.no_model:
        from assay.impl.models import fetch, open_model

        model: Any = open_model(fetch("minilm"))
        begun = time.perf_counter()
        means = [model.hidden(model.encode(text, _FIRST), lambda _: None).mean(0) for text in texts]
        vectors = np.stack([mean / np.linalg.norm(mean) for mean in means])
        i, j, _ = cpu.document_similarity.exact(vectors[:_HALF], vectors[_HALF:])
        seconds = time.perf_counter() - begun
        rows.append(row("sentence vectors", "exact search", (i, j), vectors[:_HALF] @ vectors[_HALF:].T, seconds))
        unit = made["tf–idf"]
        rows.append(row("tf–idf", "the pair of sentence vectors", (i, j), unit[:_HALF] @ unit[_HALF:].T, seconds))
    publish("similar_texts", rows, f"budget {chosen.budget}; the rank is by the cosine of the documents of the row")
    best = rows[0]["pair"].split(", ")
    for place in best:
        print(f"{place}: {texts[int(place)][:200]} …")


if __name__ == "__main__":
    main()
