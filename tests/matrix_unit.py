"""A matrix unit that is as coarse as K9 of TOL-0 allows, where factors of a sum of products are subnormal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from assay.spec.precision import Precision

__all__ = ["exactly", "lost_on_a_matrix_unit", "on_a_matrix_unit"]


def on_a_matrix_unit(x: Any, y: Any, u: Precision) -> Any:
    """Σ x·y of at most ``at_once`` products, as low as a unit may have it that aligns by the sizes that it assumes."""
    return np.sum(x * y) - lost_on_a_matrix_unit(x, y, u)


def lost_on_a_matrix_unit(x: Any, y: Any, u: Precision) -> Any:
    """By how much that is too low: every product is cut to what the largest one counts as."""
    least, products = u.least_factor, x * y
    assert products.size <= u.at_once
    counted = np.where(products != 0, np.maximum(np.abs(x), least) * np.maximum(np.abs(y), least), 0.0)
    return np.count_nonzero(products) * u.product / 1.25 * np.max(counted, initial=0.0)


def exactly(u: Precision) -> Precision:
    """The class without the roundings of operands and outputs, beside which what a unit loses would be hard to see."""
    return u.with_("inner", operand=0.0, operand_tiny=0.0, output=0.0, output_tiny=0.0)
