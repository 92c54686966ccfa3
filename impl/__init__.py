"""What is fast: implementations, each judged against ``assay.spec`` by ``assay.conformance``."""
