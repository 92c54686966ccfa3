"""Bad inputs of every problem are refused in one line that begins with the name of the argument."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import pytest

from assay.spec.problem import PROBLEMS, InvalidInstance, problem
from assay.spec.rope import Instance as Rope

INSTANCES: dict[str, Any] = {name: problem(name).Instance for name in PROBLEMS} | {
    "rope": Rope,
}
ROWS = [
    pytest.param(kind, table.GOOD, changes, words, id=f"{name}-{words.partition(', expected')[0]}")
    for name, kind in INSTANCES.items()
    for table in [importlib.import_module(f"refused.{name}")]
    for changes, words in table.REFUSED
]


@pytest.mark.parametrize("name", INSTANCES)
def test_the_instance_that_rows_spoil_is_a_good_one(name: str) -> None:
    table = importlib.import_module(f"refused.{name}")
    assert INSTANCES[name](**table.GOOD).arrays().keys() <= table.GOOD.keys()


@pytest.mark.parametrize(("kind", "good", "changes", "words"), ROWS)
def test_bad_input_is_refused_naming_the_argument(kind: Any, good: Any, changes: Any, words: str) -> None:
    with pytest.raises(InvalidInstance) as caught:
        kind(**{**good, **changes})
    message = str(caught.value)
    assert message.startswith(words)
    assert "\n" not in message
    assert message.partition(":")[0] in {item.name for item in dataclasses.fields(kind)}


@pytest.mark.parametrize("name", INSTANCES)
def test_every_argument_that_can_be_wrong_has_a_row(name: str) -> None:
    table = importlib.import_module(f"refused.{name}")
    named = {field for changes, _ in table.REFUSED for field in changes}
    assert named == {item.name for item in dataclasses.fields(INSTANCES[name])} - {"provenance"}
