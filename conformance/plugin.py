"""The pytest plugin: options of the conformance tests, the marker ``claim``, and the results of the checks of claims.

It is loaded in every run of pytest wherever assay is installed.  So it imports nothing but pytest and the standard
library until one of its options is used.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

__all__ = ["asked", "settings"]

_NAMES = ("kernel", "problem", "precision", "level", "seed", "framework", "option", "isolate", "seconds")
_PROPERTY = "assay claim"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("assay", "conformance of kernels to their specification (--pyargs assay.conformance)")
    add = group.addoption
    add(
        "--assay-kernel",
        action="append",
        metavar="TARGET",
        help="module:function, file.py:function or a built-in (repeatable)",
    )
    add(
        "--assay-problem", metavar="PROBLEM", help="what the kernels solve (default: told by the names of their arrays)"
    )
    add(
        "--assay-precision",
        action="append",
        metavar="CLASS",
        help="precision classes, commas between (default float32)",
    )
    add("--assay-level", metavar="LEVEL", help="smoke (default), standard or thorough")
    add("--assay-seed", type=int, metavar="N", help="seed of the drawn cases (default 0)")
    add("--assay-framework", metavar="NAME", help="what kind of arrays the kernels take (default numpy)")
    add(
        "--assay-option",
        action="append",
        metavar="NAME=VALUE",
        help="a convention that the kernels declare (repeatable)",
    )
    add("--assay-isolate", action="store_true", default=None, help="run every kernel in a process of its own")
    add("--assay-seconds", type=float, metavar="N", help="take no new case after so long (default: that of the level)")
    add(
        "--assay-allow-incomplete",
        action="store_true",
        help="skip a kernel that failed nothing but declined a whole family, instead of failing it",
    )
    add("--assay-claims", metavar="FILE", help="write the outcome of every test marked claim(id) to FILE, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "claim(id): this test executes the claim `id` of proofs_notes")
    if config.getoption("assay_claims") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Claims(Path(config.getoption("assay_claims"))), "assay-claims")
    if any(config.getoption(f"assay_{name}") is not None for name in _NAMES):
        _validate(config)


def settings(config: pytest.Config) -> dict[str, Any]:
    """The options as arguments of :func:`assay.check`."""
    from assay.conformance.interface.targets import option_values

    return {
        "problem": config.getoption("assay_problem"),
        "level": config.getoption("assay_level") or "smoke",
        "seed": config.getoption("assay_seed") or 0,
        "framework": config.getoption("assay_framework"),
        "options": option_values(config.getoption("assay_option") or []),
        "isolate": bool(config.getoption("assay_isolate")),
        "seconds": config.getoption("assay_seconds"),
    }


def asked(config: pytest.Config) -> list[tuple[str | None, str, str]]:
    """(problem, kernel, class) for every test.

    If no kernel is named, these are the installed built-ins in every class that they document.
    """
    from assay.conformance.interface.targets import documented
    from assay.spec.problem import PROBLEMS

    kernels, problem, classes = config.getoption("assay_kernel"), config.getoption("assay_problem"), _classes(config)
    if kernels is not None:
        return [(problem, kernel, precision) for kernel in kernels for precision in classes or ["float32"]]
    return [
        (name, kernel, precision)
        for name in PROBLEMS
        if problem in (None, name)
        for kernel, precision in documented(name)
        if classes is None or precision in classes
    ]


def _classes(config: pytest.Config) -> list[str] | None:
    """The classes that the options name; ``None`` if they name none."""
    words = config.getoption("assay_precision")
    return None if words is None else [name.strip() for part in words for name in part.split(",")]


def _validate(config: pytest.Config) -> None:
    """Report bad usage in one line before anything runs, and not as an error in every test."""
    from assay.conformance.engagement import (
        engaged,
        require_level,
        require_precision,
        require_problem,
        require_seconds,
    )

    try:
        arguments = settings(config)
        require_level(arguments["level"])
        require_seconds(arguments["seconds"])
        if arguments["problem"] is not None:
            require_problem(arguments["problem"])
        for name in _classes(config) or []:
            require_precision(name)
        for target in config.getoption("assay_kernel") or []:
            options = {name: arguments[name] for name in ("framework", "options", "isolate")}
            with engaged(target, arguments["problem"], **options):
                pass
    except ValueError as error:
        raise pytest.UsageError(f"assay: {error}") from None


# --- claims -----------------------------------------------------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the claims of a test into its report, which pytest-xdist sends from the worker that ran the test."""
    if config.getoption("assay_claims"):
        for item in items:
            marks = list(item.iter_markers("claim"))
            item.user_properties.extend((_PROPERTY, name) for mark in marks for name in mark.args)


class _Claims:
    """Gathers the outcomes of checks, and at the end writes claim → [{"nodeid": …, "outcome": …}] as JSON."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        for name, claim in report.user_properties:
            if name == _PROPERTY:
                of_claim = self.outcomes.setdefault(str(claim), {})
                if of_claim.get(report.nodeid) != "failed":
                    of_claim[report.nodeid] = report.outcome

    def pytest_sessionfinish(self) -> None:
        from assay.spec.written import write_bytes

        document = {
            claim: [{"nodeid": nodeid, "outcome": outcome} for nodeid, outcome in sorted(outcomes.items())]
            for claim, outcomes in sorted(self.outcomes.items())
        }
        write_bytes(self.path, (json.dumps(document, indent=1) + "\n").encode())
