"""Kernel graphs that are multiplied, right and wrong; nothing here uses assay."""
