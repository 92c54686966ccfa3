"""Hypothesis profiles: ``quick`` by default, ``--hypothesis-profile=thorough`` in CI; both draw the same every time."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("quick", derandomize=True, deadline=None, max_examples=60, print_blob=True)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=600)
settings.load_profile("quick")
