"""Merges of parts of attention: correct ones, and wrong ones."""
