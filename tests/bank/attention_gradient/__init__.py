"""Backward passes of attention, right ones of unusual structure and wrong ones from public reports."""
