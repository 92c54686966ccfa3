"""``assay calibrate``: what work costs on the processor at hand."""

from __future__ import annotations

from assay.cli.console import PASSED, say

__all__ = ["calibrate"]


def calibrate() -> int:
    """Time the processor at hand, for the routers of the CPU kernels, and keep it in the user's cache folder."""
    from assay.conformance.report.table import table
    from assay.impl.cpu import calibration, costs, processor

    found = calibration.calibrated()
    here = processor.here()
    rows = [("work", "ns", "as an EPYC")]
    rows += [
        (work, f"{found.nanoseconds[work]:.3g}", f"{found.nanoseconds[work] / reference:.2f} ×")
        for work, reference in costs.REFERENCE.items()
    ]
    say("\n".join([f"{here.model}, {here.cores} cores, compiled for {processor.target()[0]}", *table(rows)]))
    if found.wide:
        say("measured with vectors of 512 bits where the compiler would keep to 256; the processes to come use them")
    try:
        say(f"kept in {costs.keep(found)}")
    except (OSError, RuntimeError) as error:
        say(f"not kept, so that every process measures it again: {error}")
    return PASSED
