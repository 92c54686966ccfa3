"""An isolated kernel may write anything into the judge's channel: it is a finding or a refusal of one line."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hostile.files import METADATA

from assay.conformance.call import isolation, wire
from assay.conformance.call.isolation import Isolated
from assay.conformance.call.process import Limits
from assay.conformance.engagement import engaged
from assay.conformance.interface.layouts import Layout
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
from assay.spec.attention import PRECISIONS, Instance

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="isolation needs Linux")

X = np.ones((1, 1, 2, 2), np.float32)
VALUES = (*METADATA, ["a"], [1], [None], [[]], [True], [1.5], {"a": {}}, {"a": "b"}, "attention", "../x", 2**64, -1)

DESCRIBED: dict[str, Any] = {
    "name": "kernels.py:good", "problem": "attention", "positional": ["query", "key", "value"], "framework": "numpy",
    "framework_version": "2", "keywords": ["scale"], "conventions": {}, "lacks": ["mask"], "lengths": {}, "layouts": [],
    "declines": [], "version": "1", "remarks": [], "hints": [],
}  # fmt: skip
ANSWER: dict[str, Any] = {
    "kind": "", "sentence": "", "notes": ["a note"], "printed": "", "outputs": [["output", "float32", [1, 1, 2, 2]]],
}  # fmt: skip
CONTENT = X.tobytes()


def forgeries(header: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A header with one part left out or replaced, parts of parts too, as it comes out of JSON."""
    for name, part in header.items():
        yield {other: value for other, value in header.items() if other != name}
        for value in VALUES:
            yield {**header, name: value}
            if isinstance(part, list):
                yield {**header, name: [value]}
                yield {**header, name: [*part, value]}
            if isinstance(part, dict):
                yield {**header, name: {"dims": value}}
                yield {**header, name: {"empty_row": value}}
    for value in VALUES:
        for at in range(3):
            output = ["output", "float32", [1, 1, 2, 2]]
            yield {**header, "outputs": [[*output[:at], value, *output[at + 1 :]]]}
            yield {**header, "outputs": [[*output[:2], [1, 1, value, 2]]]}


def through_json(header: dict[str, Any]) -> dict[str, Any]:
    reply = wire.unpacked(wire.reply(header), 0)
    assert reply is not None
    return reply[0]


class Forged:
    """A worker whose every reply is one header."""

    header: ClassVar[dict[str, Any]] = {}

    def __init__(self, *_: object) -> None:
        self.described, self.printed, self.pid = self.header, b"", 0

    def end(self) -> None:
        pass

    def ended(self) -> bool:
        return False

    def exchange(self, *_: object) -> tuple[dict[str, Any], bytes]:
        return self.header, CONTENT


def test_a_forged_description_is_a_kernel_or_a_refusal_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "Worker", Forged)
    refused = []
    for header in forgeries(DESCRIBED):
        Forged.header = through_json(header)
        try:
            isolated = Isolated(wire.Setup("kernels.py:good", None, None, {}, (), False), Limits())
            Judge(isolated.kernel, PRECISIONS["float32"], {}, None, limits=Limits(), process=isolated)
        except UsageError as refusal:
            refused.append(str(refusal))
    assert len(refused) > 200
    assert not [said for said in refused if "\n" in said]


def test_a_forged_answer_is_an_answer_or_a_finding_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "Worker", Forged)
    kinds = set()
    with engaged("numpy:attention", "attention") as judge:
        script = judge.suite.interface.script(Instance(X, X, X), judge.kernel, judge.precision)
    for header in forgeries(ANSWER):
        Forged.header = through_json(DESCRIBED)
        isolated = Isolated(wire.Setup("kernels.py:good", None, None, {}, (), False), Limits())
        Forged.header = through_json(header)
        isolated._worker = Forged()  # type: ignore[assignment]
        answer = isolated.answer(script, Layout(), huge=False)
        kinds.add(answer.kind)
        assert "\n" not in answer.sentence + answer.printed + "".join(answer.notes)
    assert {"", "exited"} <= kinds


def test_forged_numbers_of_memory_are_no_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "Worker", Forged)
    with engaged("numpy:attention", "attention") as judge:
        script = judge.suite.interface.script(Instance(X, X, X), judge.kernel, judge.precision)
    for value in (*VALUES, ["a"], [-1] * 5, [10**400] * 5, [0, 1, "2"]):
        Forged.header = through_json(DESCRIBED)
        isolated = Isolated(wire.Setup("kernels.py:good", None, None, {}, (), False), Limits())
        Forged.header = through_json({"resident": value})
        isolated._worker = Forged()  # type: ignore[assignment]
        assert isolated.leak(script, 1.0) in (None, "")


def test_a_header_that_python_cannot_read_is_nonsense() -> None:
    for text in (b"[" * 100_000, b"1" * 10_000, b"\xff", b"[]", b"null", json.dumps({"a": 1}).encode()[:-1]):
        whole = wire._LENGTHS.pack(b"asy1", len(text), 0) + text
        with pytest.raises(wire.Nonsense):
            wire.unpacked(whole, 0)
