"""Merges of parts of attention, right and wrong; nothing here uses assay."""
