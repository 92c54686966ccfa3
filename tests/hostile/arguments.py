"""Hostile argument lists of the command line, and how each of them ends: with one clear line, or as any other run."""

from __future__ import annotations

import contextlib
import io
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.cli import main
from assay.spec import attention

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LISTS", "endings", "prepared"]

SECONDS = 60.0  # of the processor: how busy the machine is decides nothing

_WORDS: tuple[str, ...] = (
    "", " ", "x", "../x", "..", ".", "/", "a" * 300, "x" * 100_000, "\x1b[31mred", "a\nb", "a\x00b", "\udcff", "é",
    "-1", "0", "nan", "inf", "1e999", "9" * 500, "0x10", "=", "a=", "=b", "a=b=c", "seed=1", ":", "a:", ":b", "a:b:c",
    "os:system", "kernels.py:good", "kernels.py:", "kernels.py:good.x", "raises.py:kernel", "instance.npz", "noise.npz",
    "deep.json", "wrong.json", "folder", "missing/x", "/dev/full", "attention", "rope", "float32", "numpy", "torch",
    "smoke", "--", "-", "*", "%s%n", "{0}", "$(true)", "numpy:attention", "../kernels.py:good", "json", "sys",
    "__main__:x", "assay.spec:problem", "1" * 5000, "kernels:" + "a." * 2000 + "b",
)  # fmt: skip

_COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # what a run needs, and options with a value
    "check": (
        ("kernels.py:declines", "--problem", "attention", "--level", "smoke", "--seconds", "0.01"),
        (
            "--problem",
            "--precision",
            "--level",
            "--seed",
            "--framework",
            "--device",
            "--option",
            "--reproducers",
            "--json",
            "--html",
            "--junit",
            "--seconds",
            "--call-seconds",
            "--memory",
            "--jobs",
            "--corpus",
        ),
    ),
    "profile": (("kernels.py:declines",), ("--problem", "--precision", "--framework", "--option", "--seed", "--json")),
    "replay": (
        ("instance.npz", "--target", "kernels.py:good"),
        ("--target", "--precision", "--problem", "--layout", "--after", "--beside", "--framework", "--option"),
    ),
    "compare": (("wrong.json", "deep.json"), ()),
    "reference": (("instance.npz",), ("--relative", "--output", "-o")),
    "bound": (("instance.npz", "--precision", "float32"), ("--precision", "--output", "-o")),
    "hard": (
        ("attention", "--family", "planted-ov", "--n", "4", "--d", "4", "-o", "out.npz"),
        ("--from", "--family", "--seed", "--n", "--d", "--parameter", "--via", "--dtype", "-o", "--texts", "--corpus"),
    ),
    "decode": (("hard.npz", "out.npy"), ()),
    "list": ((), ()),
    "claims": ((), ("--results",)),
}

#: Lists that once ended in a traceback, or are of that kind.
LISTS: tuple[tuple[str, ...], ...] = (
    ("check", "kernels.py:good", "--framework", "../x"),
    ("check", "kernels.py:good", "--framework", "a" * 300),
    ("check", "kernels.py:good", "--framework", "a.b"),
    ("check", "kernels.py:good", "--framework", ""),
    ("check", "a" * 300 + ".py:good"),
    ("check", "a" * 300 + ":good"),
    ("check", "..:good"),
    ("check", "a\x00b.py:good"),
    ("check", "kernels.py:good", "--problem", "a" * 300 + ":b"),
    ("check", "kernels.py:good", "--problem", "../x:y"),
    ("check", "kernels.py:good", "--problem", ".:y"),
    ("check", "kernels.py:good", "--json", "deep.json", "--resume"),
    ("check", "kernels.py:good", "--json", "wrong.json", "--resume"),
    ("check", "kernels.py:good", "--json", "number.json", "--resume"),
    ("check", "kernels.py:good", "--json", "a" * 300),
    ("check", "kernels.py:good", "--json", "a\x00b"),
    ("check", "kernels.py:good", "--reproducers", "a" * 300),
    ("check", "kernels.py:good", "--corpus", "nested"),
    ("check", "kernels.py:good", "--corpus", "a" * 300),
    ("hard", "attention", "--family", "planted-ov", "--parameter", "seed=1", "-o", "out.npz"),
    ("hard", "attention", "--family", "planted-ov", "--parameter", "source=1", "-o", "out.npz"),
    ("hard", "attention", "--family", "planted-ov", "--parameter", "problem=1", "-o", "out.npz"),
    ("hard", "attention", "--family", "planted-ov", "--parameter", "counting=1", "-o", "out.npz"),
    ("hard", "attention", "--family", "planted-ov", "--parameter", "n=" + "9" * 5000, "-o", "out.npz"),
    ("hard", "attention", "--family", "planted-ov", "--seed", "9" * 40, "-o", "out.npz"),
    ("hard", "attention", "--from", "a" * 300, "-o", "out.npz"),
    ("hard", "attention", "--from", "a\x00b", "-o", "out.npz"),
    ("hard", "attention", "--family", "planted-ov", "--dtype", "object", "-o", "out.npz"),
    ("hard", "attention", "--family", "planted-ov", "--dtype", "finfo", "-o", "out.npz"),
    ("compare", "deep.json", "deep.json"),
    ("compare", "wrong.json", "number.json"),
    ("compare", "a\x00b", "folder"),
    ("compare", "a" * 300, "instance.npz"),
    ("compare", "/dev/null", "/dev/null"),
    ("replay", "instance.npz", "--target", "kernels.py:good", "--script", "--framework", "../x"),
    ("replay", "instance.npz", "--target", "a\x00b.py:good", "--script"),
    ("replay", "noise.npz", "--target", "kernels.py:good", "--script"),
    ("reference", "a" * 300),
    ("reference", "a\x00b"),
    ("reference", "folder"),
    ("reference", "instance.npz", "-o", "a" * 300),
    ("replay", "instance.npz", "--target", "kernels.py:good", "--after", "a" * 300),
    ("leaderboard", "--method", "../x:y"),
    ("leaderboard", "--method", "x" * 5000),
    ("leaderboard", "--json", "a" * 300),
    ("phase", "--json", "a" * 300),
    ("phase", "--plot", "a\x00b.png"),
    ("claims", "--results", "deep.json"),
    ("claims", "--results", "wrong.json"),
    ("x" * 100_000,),
    ("check", "x" * 100_000),
    ("check", "\x1b[2J\x1b[31mred"),
    ("--" + "x" * 100_000,),
)


def prepared(folder: Path) -> None:
    """The files that the lists name."""
    x = np.ones((1, 1, 2, 2), np.float32)
    attention.Instance(x, x, x).save(folder / "instance.npz")
    (folder / "folder").mkdir()
    (folder / "nested").mkdir()
    (folder / "nested" / "manifest.json").write_text("[" * 100_000)
    (folder / "noise.npz").write_bytes(b"nothing of the kind")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "wrong.json").write_text('{"schema": 1, "reports": [{"cases": {"a": 1}}]}')
    (folder / "number.json").write_text("1" * 10_000)
    (folder / "raises.py").write_text("raise OSError('no driver')\n")
    (folder / "kernels.py").write_text(
        "def good(query, key, value, *, scale): return value\n"
        "def declines(query, key, value, *, scale): raise NotImplementedError\n"
    )


def _drawn(rng: np.random.Generator) -> tuple[str, ...]:
    """A command that would run, with one to three of its words replaced, dropped or added."""

    def word() -> str:
        return _WORDS[int(rng.integers(len(_WORDS)))]

    command = list(_COMMANDS)[int(rng.integers(len(_COMMANDS)))]
    base, options = _COMMANDS[command]
    words = list(base)
    for _ in range(int(rng.integers(1, 4))):
        way = int(rng.integers(4))
        if way == 0 and words:
            words[int(rng.integers(len(words)))] = word()
        elif way == 1 and words:
            del words[int(rng.integers(len(words)))]
        elif options:
            words += [options[int(rng.integers(len(options)))], word()]
        else:
            words.append(word())
    return (command, *words)


def _ending(arguments: tuple[str, ...]) -> str:
    """What is wrong with how a list ended; empty if nothing is."""
    out, error = io.StringIO(), io.StringIO()
    begun = time.process_time()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            status: Any = main(arguments)
    except BaseException as raised:
        return f"{type(raised).__name__}: {str(raised)[:150]}"
    said = error.getvalue()
    if time.process_time() - begun > SECONDS:
        return f"took {time.process_time() - begun:.0f} s"
    if status not in (0, 1, 2, 3):
        return f"status {status}"
    if status == 2 and (said.count("\n") != 1 or not said.startswith("assay: ")):
        return f"not one line: {said[:150]!r}"
    if status == 2 and len(said) > 4100:
        return f"{len(said)} letters"
    if any(not letter.isprintable() and letter != "\n" for letter in said):
        return f"control characters: {said[:150]!r}"
    return ""


def endings(count: int, seed: int = 0, first: int = 0) -> Iterator[tuple[tuple[str, ...], str]]:
    """Run ``LISTS`` and then lists that are drawn, in the current folder; (list, what is wrong).

    Those with the numbers from ``first`` to before ``count``: each is drawn by its own number.
    """
    for number in range(first, count):
        arguments = LISTS[number] if number < len(LISTS) else _drawn(np.random.default_rng((seed, number)))
        yield arguments, _ending(arguments)
