"""The diagram: degrees, ranks and errors that are proved, a line where the routes cross, in three renderings."""

from __future__ import annotations

import importlib.util
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.cli import main
from assay.impl.models.bounds import measure
from assay.impl.models.model import AttentionInput
from assay.impl.phase import Cell, Diagram, diagram, heads_of, to_json, to_plot, to_text
from assay.impl.phase.cells import polynomial
from assay.spec.approximation import approximation, exp_of_least_degree

if TYPE_CHECKING:
    from pathlib import Path

needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="not installed: matplotlib"
)


@pytest.fixture(scope="module")
def small() -> Diagram:
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((2, 40, 8)).astype(np.float32) for _ in range(2))
    heads = heads_of("random", measure(AttentionInput(q, k, k, 8**-0.5, True), 0))
    return diagram((64, 256), (0.1, 0.3, 0.6, 3.0), error=1e-3, measured_to=64, heads=heads)


def cell(ratio: float, exact: float, polynomial: float | None, length: int = 64) -> Cell:
    return Cell(length, 6, ratio, ratio, ratio, 1, 7, 1e-4, None, "", exact, True, polynomial, True)


@pytest.mark.claim("ATT-6")
def test_some_entries_of_at_most_b_give_scores_of_both_signs_of_b_squared(small: Diagram) -> None:
    for each in small.cells:
        q = np.full(each.dim, each.bound)
        assert q @ q / each.dim == pytest.approx(each.radius, rel=1e-14)


@pytest.mark.claim("ATT-6")
def test_a_certified_error_is_kept_by_the_polynomial_on_the_largest_entries(small: Diagram) -> None:
    """P in place of exp on entries ±B, and on the two groups of keys for which ATT-2 is sharp."""
    rng = np.random.default_rng(1)
    for each in (c for c in small.cells if c.error is not None):
        error = each.error or 0.0
        found = exp_of_least_degree(each.radius, 2 * 1e-3 / (1 + 1e-6) * (1 - 2.0**-48))
        q, k = (rng.choice([-each.bound, each.bound], (200, each.dim)) for _ in range(2))
        k[100:] = -q[:100]
        k[:100] = q[:100]
        scores = q @ k.T / each.dim
        exact, approximate = np.exp(scores), np.polynomial.polynomial.polyval(scores, found.coefficients)
        for value in (rng.choice([0.0, 1.0], 200), (scores[0] > 0).astype(float)):
            outputs = [w @ value / w.sum(axis=1) for w in (exact, approximate)]
            assert np.abs(outputs[0] - outputs[1]).max() <= error + 1e-13
        assert error <= 1e-3 * (1 + 1e-14)


@pytest.mark.claim("ATT-6")
def test_no_polynomial_of_a_rank_below_n_is_within_the_error_where_none_is_said_to_be() -> None:
    """Against degrees that were found on another way, and least squares, which can do no better than the proof says."""
    seen = set()
    for n in (64, 1024):
        d = math.ceil(math.log2(n))
        for radius in (0.1, 0.5, 1.0, 2.0, 4.0, 8.0):
            degree, rank, _, reason = polynomial(n, d, radius, 1e-3)
            assert degree is not None
            assert rank == math.comb(d + degree, degree)
            assert (rank >= n) == bool(reason)
            seen.add(bool(reason))
            if "every polynomial" in reason:
                affordable = max(g for g in range(20) if math.comb(d + g, g) < n)
                x = radius * np.cos(np.pi * (np.arange(400) + 0.5) / 400)
                rows = np.vander(x, affordable + 1) / np.exp(x)[:, None]
                fitted = rows @ np.linalg.lstsq(rows, np.ones(400), rcond=None)[0]
                assert np.abs(fitted - 1).max() > 2e-3 / (1 + 1e-6)
    assert seen == {False, True}


def test_the_degree_is_the_least() -> None:
    for radius in (0.3, 1.5, 6.0):
        degree, *_ = polynomial(1 << 20, 20, radius, 1e-3)
        assert degree is not None
        relative = 2e-3 / (1 + 1e-6)
        assert approximation(lambda x: x.exp(), (-radius, radius), degree - 1).best > relative * (1 - 1e-9)


@pytest.mark.parametrize("radius", [400.0, 1e9])
def test_large_scores_are_refused_by_proof_and_not_searched(radius: float) -> None:
    reason = "every polynomial of a rank below n, degree ≤ 4, errs more"  # C(14, 4) = 1001
    assert polynomial(1024, 10, radius, 1e-3) == (None, None, None, reason)


def test_in_one_dimension_where_degrees_are_cheap_nothing_is_said_to_be_proved() -> None:
    assert polynomial(1 << 20, 1, 50.0, 1e-3)[3] == "scores up to 50: no degree searched above 16"


def test_the_line_is_drawn_below_the_first_ratio_where_the_exact_route_is_faster() -> None:
    cells = (cell(0.3, 1, 0.2), cell(0.1, 1, 0.1), cell(0.2, 1, 0.5), cell(0.4, 1, 2.0), cell(0.5, 1, 0.9))
    others = (cell(0.1, 1, None, 128), cell(0.2, 1, 0.5, 128))
    assert Diagram(1.0, 1e-3, cells + others).crossover == {64: 0.3, 128: None}


def test_a_time_is_marked_as_measured_or_extrapolated(small: Diagram) -> None:
    assert {(each.length, each.exact_measured) for each in small.cells} == {(64, True), (256, False)}
    exact = {each.length: each.exact_seconds for each in small.cells}
    assert 0 < exact[64] < math.inf
    assert "~" in to_text(small)


def test_the_polynomial_route_is_run_where_it_is_cheap_and_its_certificate_is_within_the_request(
    small: Diagram,
) -> None:
    ran = [each for each in small.cells if each.certified is not None]
    assert ran
    for each in ran:
        assert each.length == 64
        assert each.polynomial_measured
        assert 0 < (each.certified or 0) <= small.error * (1 + 1e-6)
    assert all(each.polynomial_seconds is None for each in small.cells if each.reason)


def test_a_time_that_is_not_taken_grows_with_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.impl.phase import cells

    monkeypatch.setattr(cells, "_MOMENT", 0.0)  # nothing is run
    first, second = (
        each.polynomial_seconds for each in diagram((4096,), (0.05, 0.15), error=1e-3, measured_to=64).cells
    )
    assert first is not None
    assert second == pytest.approx(first * 91 / 13)


def test_json_has_every_cell_and_every_head(small: Diagram) -> None:
    content = json.loads(to_json(small))
    assert content["version"] == 1
    assert [(c["length"], c["ratio"]) for c in content["cells"]] == [
        (n, r) for n in (64, 256) for r in (0.1, 0.3, 0.6, 3.0)
    ]
    assert [(h["model"], h["layer"], h["head"]) for h in content["heads"]] == [("random", 0, 0), ("random", 0, 1)]
    assert content["heads"][0]["floor_ratio"] <= content["heads"][0]["least_ratio"] <= content["heads"][0]["ratio"]
    assert [line["length"] for line in content["crossover"]] == [64, 256]


def test_the_table_has_a_line_a_cell_and_a_line_a_layer(small: Diagram) -> None:
    text = to_text(small, width=200)
    assert len([line for line in text.splitlines() if line.split()[:1] in (["64"], ["256"])]) == len(small.cells)
    assert "random: 2 heads, n = 40, d = 8" in text
    assert "\x1b" not in text


@needs_matplotlib
@pytest.mark.parametrize(("name", "start"), [("x.png", b"\x89PNG"), ("x.svg", b"<?xml"), ("x.pdf", b"%PDF")])
def test_a_picture_is_in_the_format_of_its_name(small: Diagram, tmp_path: Path, name: str, start: bytes) -> None:
    to_plot(small, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lengths": (1,)}, r"lengths \[1\]: expected numbers from 2 on"),
        ({"ratios": (0.0,)}, r"ratios \[0.0\]: expected numbers above 0"),
        ({"ratios": (math.nan,)}, "ratios"),
        ({"constant": -1.0}, "constant -1.0"),
        ({"error": 1.0}, "error 1.0: expected a number between 0 and 1"),
        ({"measured_to": 1}, "measured_to 1"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        diagram(**change)


# --- the command ------------------------------------------------------------------------------------------------------


@needs_matplotlib
def test_the_command_prints_the_table_and_writes_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = tmp_path / "phase.json", tmp_path / "phase.png"
    status = main(
        ["phase", "--length", "64", "--ratio", "0.1", "--ratio", "2", "--json", str(files[0]), "--plot", str(files[1])]
    )
    assert status == 0
    assert "polynomial faster up to" in capsys.readouterr().out
    assert [cell["ratio"] for cell in json.loads(files[0].read_text())["cells"]] == [0.1, 2.0]
    assert files[1].stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--error", "0"], "error 0.0: expected a number between 0 and 1"),
        (["--models", "gpt"], "unknown model 'gpt': expected smollm2, minilm, or a .gguf or .safetensors file"),
        (["--models", "absent.gguf"], "absent.gguf: no such file"),
        (["--models", "minilm", "--text", "absent.txt"], "absent.txt: cannot be read"),
        (["--plot", "x.docx"], "x.docx: expected a file that ends in .png, .svg, .pdf"),
        (["--json", "/absent/x.json"], "/absent/x.json: cannot be written, no such folder"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["phase", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
