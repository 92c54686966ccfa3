"""Stacks of self-attention layers, right ones of unusual structure and wrong ones from public reports."""
