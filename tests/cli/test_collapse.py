"""``assay collapse``: the tables, JSON and the page of a saved instance, and misuse in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.spec import layer_collapse

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def saved(run: Run) -> str:
    """A small network in the folder in which ``assay`` is run."""
    rng = np.random.default_rng(0)
    weights = [0.3 * rng.standard_normal((2, 2, 3, 3)) for _ in range(3)]
    layer_collapse.Instance(rng.standard_normal((5, 3)), *weights).save("network.npz")
    return "network.npz"


def test_a_saved_instance_is_told_in_tables(run: Run, saved: str) -> None:
    status, out, error = run("collapse", saved, "--scale", "0.5", "--scale", "1")
    assert (status, error) == (0, "")
    assert "With uniform attention it is one layer of uniform attention." in out
    assert "All weights times s" in out


def test_json_and_the_page_are_written(run: Run, saved: str, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    status, _, error = run("collapse", saved, "--scale", "0.5", "--json", "out.json", "--html", "out.html")
    assert (status, error) == (0, "")
    content = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [row["factor"] for row in content["scales"]] == [0.5]
    assert (tmp_path / "out.html").read_text(encoding="utf-8").count("<svg") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody",), "unknown model 'nobody'"),
        (("nothing.npz",), "nothing.npz"),
        (("instance.npz",), "instance.npz"),
        (("nothing.gguf",), "nothing.gguf: no such file"),
        (("network.npz", "--scale", "0"), "scales [0.0]"),
        (("network.npz", "--tokens", "8"), "--tokens: an instance brings its tokens"),
        (("network.npz", "--epsilon", "2"), "epsilon 2.0"),
        (("network.npz", "--html", "no/folder.html"), "no/folder.html"),
        (("minilm", "--text", "nothing.txt"), "nothing.txt: cannot be read"),
    ],
)
def test_misuse_is_said_in_one_line(
    refused: Callable[..., str], saved: str, arguments: tuple[str, ...], words: str
) -> None:
    assert words in refused("collapse", *arguments)
