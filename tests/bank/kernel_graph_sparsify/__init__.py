"""Sparsifiers of kernel graphs, right and wrong; nothing here uses assay."""
