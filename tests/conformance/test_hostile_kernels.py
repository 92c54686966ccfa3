"""What the text of an exception does decides no verdict and reaches no terminal."""

from __future__ import annotations

from typing import Any

import pytest

import assay


class Raising(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Leaving(Exception):
    def __str__(self) -> str:
        raise SystemExit(0)


class Endless(Exception):
    def __str__(self) -> str:
        while True:
            pass


class Coloured(Exception):
    def __str__(self) -> str:
        return "\x1b[2J\x1b[31m" + "red " * 100_000


class Coded:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Raising(), "raised Raising: (its text raised RuntimeError)"),
        (Leaving(), "raised Leaving: (its text raised SystemExit)"),
        (Endless(), "raised Endless: (its text does not end)"),
        (Coloured(), "raised Coloured: \ufffd[2J\ufffd[31mred red"),
        (SystemExit(Coded()), "ended the program: SystemExit(Coded)"),
    ],
)
def test_the_text_of_an_exception_is_said_or_its_failure_is(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, words: str
) -> None:
    if isinstance(error, Endless):  # the others have as long as they need on a busy machine
        monkeypatch.setattr("assay.conformance.call.call._TEXT_SECONDS", 0.05)

    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        raise error

    report = assay.check(kernel, "attention", level="smoke", seconds=0.5)
    assert not report.passed
    sentences = [finding.sentence for finding in report.failures]
    assert sentences
    assert all(words in sentence and "\x1b" not in sentence for sentence in sentences)
