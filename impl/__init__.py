"""Fast implementations of the problems, each judged against ``assay.spec`` by ``assay.conformance``."""
