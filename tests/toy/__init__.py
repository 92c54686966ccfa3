"""Toy problems with which the judge itself is tested: a pure function, a structure, an oracle and a property."""
