"""Hard instances: formulas and sets of vectors, their certified truth, and the files that store them.

This package says what a formula or a pair of sets is and where it comes from.  How one problem becomes another is the
subject of :mod:`assay.spec.reductions`.
"""
