"""The arrays that a kernel is called with: those of its framework, on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.conformance.frameworks import Framework, NoDevice, framework
from assay.conformance.interface.targets import first_line
from assay.conformance.interface.usage import UsageError

if TYPE_CHECKING:
    from assay.conformance.interface.kernel import Kernel

__all__ = ["framework_of"]


def framework_of(kernel: Kernel) -> Framework:
    """The framework of a kernel, on its device.  Raises ``UsageError`` in one line if there is none here."""
    try:
        return framework(kernel.framework, kernel.device)
    except ImportError as error:
        raise UsageError(f"{kernel.name}: framework {kernel.framework!r} is not available ({error})") from None
    except NoDevice as error:
        raise UsageError(f"{kernel.name}: device {kernel.device!r} is not available ({first_line(error)})") from None
