"""Kernels with which the judge itself is judged: correct ones of unusual structure, and wrong ones."""
