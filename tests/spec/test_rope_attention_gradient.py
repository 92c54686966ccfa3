"""ROT-6: the gradient of attention with relative positions, against SymPy, finite differences and plain attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sympy

from assay.spec import attention_gradient, rope
from assay.spec.problem import InvalidInstance
from assay.spec.rope_attention import Instance, define
from assay.spec.rope_attention.gradient import gradients
from assay.spec.rope_attention.symbolic import symbolic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

NAMES = ("query", "key", "value")
SUPPORT = ((0, 1), (2, 2), (5, 1))


def arrays(seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in ((2, 4, 5, 6), (2, 2, 7, 6), (2, 2, 7, 3), (2, 4, 5, 3))]


def instances() -> dict[str, Instance]:
    rng, (q, k, v, _) = np.random.default_rng(1), arrays()
    many = rng.integers(0, 50, (2, 5))
    return {
        "rotary": Instance(q, k, v, scaling="yarn", factor=40.0, original_length=4096),
        "options": Instance(
            q, k, v, is_causal=True, rotary_dim=4, layout="pairs", query_positions=many, softcap=2.0, sink=np.ones(4)
        ),
        "general": Instance(
            q, k, v, rng.standard_normal((3, 11)), support=SUPPORT, relative_bias=rng.standard_normal((4, 11))
        ),
    }  # fmt: skip


INSTANCES = instances()


@pytest.mark.claim("ROT-6")
@pytest.mark.parametrize("name", INSTANCES)
def test_gradients_are_finite_differences_of_the_output(name: str) -> None:
    instance, grad_output, step = INSTANCES[name], arrays()[3], 1e-5
    made = gradients(instance, grad_output)
    for of in NAMES:
        for index in ((0, 1, 2, 1), (1, 0, 4, 0), (1, 1, 3, 2)):
            sides = []
            for sign in (1.0, -1.0):
                moved = getattr(instance, of).copy()
                moved[index] += sign * step
                sides.append(float((define(instance.replace(**{of: moved}), 1e-14).midpoint * grad_output).sum()))
            assert made[f"grad_{of}"].midpoint[index] == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=1e-9)


@pytest.mark.claim("ROT-6")
@pytest.mark.parametrize(
    "options",
    [
        {"query_positions": np.array([3, 1])},
        {"relative": np.array([[1.0, 2, 3], [0.5, 0, 1]]), "support": ((0, 0), (1, 0))},
    ],
    ids=["rotary", "general"],
)
def test_gradients_are_those_of_sympy(options: dict[str, Any]) -> None:
    """Exact outputs a step apart, on both sides of a number."""
    x = np.array([[1.0, -0.5], [0.25, 2.0]]).reshape(1, 1, 2, 2)
    instance, grad_output = (
        Instance(x, x, x, scale=0.5, **options),
        np.array([[1.0, 2.0], [-1.0, 0.5]]).reshape(1, 1, 2, 2),
    )
    made = gradients(instance, grad_output)
    step = sympy.Rational(1, 1024)
    for of in NAMES:
        # a central difference of exact expressions errs by the square of its step
        sides = []
        for sign in (1, -1):
            moved = x.copy()
            moved[0, 0, 1, 0] += sign * float(step)
            expressions = symbolic(instance.replace(**{of: moved}))
            sides.append(
                sum(sympy.Rational(g) * e for g, e in zip(grad_output.ravel(), expressions.ravel(), strict=True))
            )
        slope = float(sympy.N((sides[0] - sides[1]) / (2 * step), 30))
        assert made[f"grad_{of}"].midpoint[0, 0, 1, 0] == pytest.approx(slope, abs=1e-5)


@pytest.mark.claim("ROT-6")
def test_gradients_of_a_rotation_are_those_of_attention_turned_back() -> None:
    """dq = Rᵀ dq_rot: the gradient of another room at rotated inputs, rotated by −p by a third room."""
    instance, grad_output = INSTANCES["rotary"].replace(scaling=None), arrays()[3]
    queries, keys = instance.positions()

    def turned(x: Array, place: Array) -> Array:
        return np.asarray(rope.define(rope.Instance(x, positions=place), 1e-15).midpoint)

    plain = attention_gradient.Instance(
        turned(instance.query, queries), turned(instance.key, keys), instance.value, grad_output
    )
    made = gradients(instance, grad_output)
    for name, place in (("grad_query", -queries), ("grad_key", -keys)):
        theirs = turned(attention_gradient.define(plain, output=name).midpoint, place)
        assert made[name].midpoint == pytest.approx(theirs, abs=1e-12)
    assert made["grad_value"].midpoint == pytest.approx(
        attention_gradient.define(plain, output="grad_value").midpoint, abs=1e-12
    )


@pytest.mark.claim("ROT-6")
@pytest.mark.parametrize("name", INSTANCES)
def test_a_longer_arithmetic_is_inside_the_radius_of_a_shorter_one(name: str) -> None:
    one, two = (gradients(INSTANCES[name], arrays()[3], relative) for relative in (1e-12, 1e-22))
    for output, enclosure in one.items():
        assert (np.abs(enclosure.midpoint - two[output].midpoint) <= enclosure.radius + two[output].radius).all()
        assert two[output].radius.max() <= 1e-15
        assert enclosure.radius.max() <= 1e-10


def test_what_is_no_incoming_gradient_is_refused() -> None:
    with pytest.raises(InvalidInstance, match="grad_output: shape"):
        gradients(INSTANCES["rotary"], np.zeros((1, 1)))
