"""Kernel graphs on the CPU."""
