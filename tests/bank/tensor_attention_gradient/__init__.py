"""Backward passes of attention of order k: they are beside the forward passes, whose engine they use."""
