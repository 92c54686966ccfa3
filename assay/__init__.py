"""assay: attention and kernel algorithms, defined exactly and judged soundly.

The front door: public names, imported when first used (``import assay`` loads no framework, no compiler and
no test library).
"""

from __future__ import annotations

import contextlib
import importlib
import os
from types import FunctionType
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from assay.conformance.engagement import check
    from assay.conformance.replay import replay
    from assay.conformance.report.report import Report
    from assay.spec.instances.hard import hard
    from assay.spec.saved import load

__version__ = "0.1.0"
__all__ = ["Report", "check", "hard", "load", "replay"]

_HOME = {
    "check": "assay.conformance.engagement",
    "Report": "assay.conformance.report.report",
    "hard": "assay.spec.instances.hard",
    "load": "assay.spec.saved",
    "replay": "assay.conformance.replay",
}

# An installed distribution has the rooms (spec, impl, conformance) inside this folder; in a checkout they lie beside
# it.  Python finds this folder by itself wherever the root of a checkout is on its path, as it is for `python -c` and
# `python -m` in the root, and would then find no room, or those of another copy that is installed in editable mode.
# So the place of the front door decides: the rooms of a checkout are looked for in that checkout, before any finder of
# an installed copy is asked, and all four are of one copy.
#
# `__path__` is a package's own list of where its modules lie, so nothing outside this package changes, and in an
# installed distribution nothing changes at all.  (A finder on `sys.meta_path` could name the three rooms exactly, while
# this lets `assay.tests` be found in a checkout too; but it would take part in every import of the process, and links
# to the rooms in this folder would be missing on systems without them and be packed a second time.)
if not os.path.isdir(os.path.join(__path__[0], "spec")):
    __path__.append(os.path.dirname(__path__[0]))


def __getattr__(name: str) -> Any:
    if name in _HOME:
        public = getattr(importlib.import_module(_HOME[name]), name)
        if isinstance(public, FunctionType):  # help() shows annotations as they are, and those of a module are text
            with contextlib.suppress(NameError):
                public.__annotations__ = get_type_hints(public)
        return public
    raise AttributeError(f"module 'assay' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, those too that were not used yet, and what every module has."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
