"""Simulations of attention by calls of few tokens: correct ones, and wrong ones."""
