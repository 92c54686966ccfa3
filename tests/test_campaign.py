"""Campaigns of certificates that go on where they stopped (benchmarks/campaign.py)."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
from scripts import script

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def campaign() -> Any:
    return script("campaign")


def case(seed: int) -> list[float] | None:
    """Every third seed is refused."""
    return None if seed % 3 == 0 else [seed / 2, seed]


def test_a_campaign_that_was_stopped_goes_on_to_what_one_run_gives(campaign: Any, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    runs = 0
    found: tuple[list[Any], int] = ([], 0)
    while len(found[0]) < 70:
        found = campaign.certified(case, 70, kept=kept, minutes=-1.0)
        runs += 1
    assert runs > 2
    assert found == campaign.certified(case, 70)


def test_a_campaign_computes_nothing_that_is_kept(campaign: Any, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    first = campaign.certified(case, 30, kept=kept)
    asked: list[int] = []
    assert campaign.certified(asked.append, 30, "tcp://nobody.invalid:1", kept=kept) == first
    assert not asked


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_campaign_on_a_cluster_has_the_same_outcomes_and_ends_quietly(
    campaign: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one cluster; what was handed out ahead of the last outcome is cancelled before it is gone."""
    pytest.importorskip("distributed")
    kept, clients, client_of = tmp_path / "kept.json", [], campaign.client_of
    monkeypatch.setattr(campaign, "client_of", lambda where: clients.append(where) or client_of(where))
    assert campaign.certified(case, 30, kept=kept) == campaign.certified(case, 30)
    assert campaign.certified(case, 90, "local", kept=kept) == campaign.certified(case, 90)
    assert clients == ["local"]
    gc.collect()
