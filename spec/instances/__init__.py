"""Hard instances: formulas, sets of vectors, their certified truth, and the files that carry them.

What a formula or a pair of sets *is* and where it comes from lives here; how one problem becomes another lives in
:mod:`assay.spec.reductions`.
"""
