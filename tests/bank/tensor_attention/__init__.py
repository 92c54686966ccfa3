"""Attention of order k, forward and backward: right kernels of unusual structure, and wrong ones from public reports."""
