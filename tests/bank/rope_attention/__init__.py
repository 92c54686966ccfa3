"""Attention with relative positions, right kernels of unusual structure and wrong ones from public reports."""
