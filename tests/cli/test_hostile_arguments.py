"""Hostile argument lists end in one clear line, or as any other run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostile.arguments import LISTS, endings, prepared

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_no_argument_list_ends_in_a_traceback_in_control_characters_or_in_long_echoes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path)
    monkeypatch.chdir(tmp_path)
    wrong = [f"{' '.join(arguments)[:100]}: {fault}" for arguments, fault in endings(len(LISTS) + 20) if fault]
    assert wrong == []
