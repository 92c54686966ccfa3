"""How backward passes are called: both forms, what each is asked for, and what each is held to."""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.conformance.attention_gradient.forms import vector_jacobian_product
from assay.conformance.attention_gradient.interface import EXPLICIT_FORM, FORWARD_FORM, INTERFACE, criteria
from assay.conformance.attention_gradient.options import GRADIENTS, built
from assay.conformance.engagement import engaged
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.suite import Row, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.level import Run
from assay.spec.attention_gradient import PRECISIONS, Instance, evaluate, handed
from assay.spec.problem import Provenance

if TYPE_CHECKING:
    from pathlib import Path

SUITE = suite("attention_gradient")
FLOAT32 = PRECISIONS["float32"]


def explicit(
    query: Any, key: Any, value: Any, output: Any, log_sum_exp: Any, grad_output: Any, *, scale: float
) -> Any: ...


def forward(query: Any, key: Any, value: Any, *, scale: float, bias: Any = None, return_lse: bool = False) -> Any: ...


def instance(options: str = "", size: str = "1x2:3x5:4/2", name: str = "float32") -> Instance:
    row = Row("smoke", "normal", size, tuple(options.split()))
    made: Instance = built(row, Provenance("test", 3), PRECISIONS[name])
    return made


def kernel(form: Any, **changes: Any) -> Kernel:
    made = {"name": "k", "function": explicit, "keywords": frozenset({"scale"}), "positional": form.positional}
    return Kernel(**{**made, **changes})


def test_the_arrays_of_a_backward_pass_tell_the_problem_and_those_of_a_forward_pass_mean_attention() -> None:
    assert kernel_of(explicit).problem == "attention_gradient"
    assert kernel_of(forward).problem == "attention"


def test_a_forward_pass_in_numpy_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="a forward pass in numpy has no gradient: expected --framework torch or jax"):
        kernel_of(forward, "attention_gradient")


def test_a_backward_pass_is_handed_the_rounded_output_and_log_sum_exp() -> None:
    one = instance("mask-empty")
    (step,) = INTERFACE.script(one, kernel(EXPLICIT_FORM), FLOAT32)
    arrays = dict(step.arrays)
    assert tuple(arrays) == EXPLICIT_FORM.positional
    output, log_sum_exp = handed(one, FLOAT32)
    assert np.array_equal(arrays["output"], output)
    assert np.array_equal(arrays["log_sum_exp"], log_sum_exp)
    assert np.isneginf(log_sum_exp).any()
    assert [output.name for output in step.outputs] == ["grad_query", "grad_key", "grad_value"]


def test_a_forward_pass_is_asked_to_differentiate_what_it_does_not_lack() -> None:
    one = instance("bias sink lse")
    (step,) = INTERFACE.script(one, kernel(FORWARD_FORM, lacks=frozenset({"grad_bias"})), FLOAT32)
    assert step.keywords["differentiate"] == ("query", "key", "value", "sink")
    assert [output.name for output in step.outputs] == ["grad_query", "grad_key", "grad_value", "grad_sink", "output"]
    assert set(criteria(one, kernel(FORWARD_FORM, lacks=frozenset({"grad_bias"})), FLOAT32)) == {
        "grad_query", "grad_key", "grad_value", "grad_sink",
    }  # fmt: skip


def test_a_gradient_of_the_log_sum_exp_needs_a_kernel_that_names_it() -> None:
    needs = INTERFACE.needs(instance("lse"))
    assert "grad_log_sum_exp" in needs
    assert "grad_log_sum_exp" not in INTERFACE.has(kernel(EXPLICIT_FORM))
    for word in ("grad_log_sum_exp", "return_lse"):
        assert "grad_log_sum_exp" in INTERFACE.has(kernel(EXPLICIT_FORM, keywords=frozenset({"scale", word})))


@pytest.mark.claim("BWD-5")
def test_an_observed_output_makes_the_criterion_of_a_forward_pass_sharper() -> None:
    one = instance(size="1x2:6x9:8/16", name="bfloat16")
    held_to = criteria(one, kernel(FORWARD_FORM), PRECISIONS["bfloat16"])["grad_query"]
    assert held_to.outputs == ("grad_query", "output")
    exact = evaluate(one).grad_query.midpoint
    off = exact + 0.5 * held_to.allowed
    output, _ = handed(one, PRECISIONS["bfloat16"])
    assert held_to.ratio(off, output).max() > held_to.ratio(off).max()
    assert held_to.ratio(exact, output).max() == 0.0


def test_where_empty_rows_are_undocumented_their_heads_are_not_judged() -> None:
    one = instance("mask-empty", "1x2:5x7:8/4")
    held_to = criteria(one, kernel(EXPLICIT_FORM, conventions=MappingProxyType({"empty_row": "any"})), FLOAT32)
    empty = ~one.visible().any(axis=3)
    assert np.isinf(held_to["grad_query"].allowed[empty]).all()
    assert np.isfinite(held_to["grad_query"].allowed[~empty]).all()
    assert not np.isinf(criteria(one, kernel(EXPLICIT_FORM), FLOAT32)["grad_key"].allowed).any()


@pytest.mark.parametrize("name", ["torch", pytest.param("jax", marks=pytest.mark.thorough)])
def test_a_framework_differentiates_a_forward_pass_and_what_it_ignores_has_the_gradient_zero(name: str) -> None:
    one = instance("lse")
    module = pytest.importorskip(name)

    def attend(query: Any, key: Any, value: Any, *, scale: float, return_lse: bool = False) -> Any:
        score = scale * (query @ key.swapaxes(2, 3))
        lse = module.logsumexp(score, 3) if name == "torch" else module.nn.logsumexp(score, 3)
        output = (
            module.exp(score - lse[..., None]) if name == "torch" else module.numpy.exp(score - lse[..., None])
        ) @ value
        return (output, lse) if return_lse else output

    made = vector_jacobian_product(attend, name)
    to = module.from_numpy if name == "torch" else module.numpy.asarray
    arrays = [to(array) for array in (one.query, one.key, one.value, one.grad_output)]
    returned = made(
        *arrays, scale=one.scale, grad_log_sum_exp=to(one.grad_log_sum_exp), differentiate=("query", "key", "value")
    )
    exact = evaluate(one).gradients()
    for gradient, right in zip(returned, exact.values(), strict=False):
        assert np.allclose(np.asarray(gradient), right.midpoint, atol=1e-5)
    assert len(returned) == 4
    zero = made(*arrays[:2], 0 * arrays[2], arrays[3], scale=one.scale, differentiate=("query",))
    assert not np.asarray(zero[0]).any()


def test_an_output_without_a_graph_raises_and_says_so_but_zeros_of_empty_rows_do_not() -> None:
    torch = pytest.importorskip("torch")
    one = instance()
    arrays = [torch.from_numpy(array) for array in (one.query, one.key, one.value, one.grad_output)]

    def attend(query: Any, key: Any, value: Any, *, scale: float, detach: bool) -> Any:
        arrays = (array.detach() if detach else array for array in (query, key, value))
        return torch.nn.functional.scaled_dot_product_attention(*arrays, scale=scale)

    def ungraphed(*arrays: Any, **keywords: Any) -> Any:
        with torch.no_grad():
            return attend(*arrays, **keywords, detach=False)

    asked: dict[str, Any] = {"scale": one.scale, "differentiate": ("query", "key", "value")}
    made = vector_jacobian_product(attend, "torch")
    assert made(*arrays, **asked, detach=False)[2].any()
    detached = functools.partial(made, detach=True)
    for call in (detached, vector_jacobian_product(ungraphed, "torch")):
        with pytest.raises(RuntimeError, match="the output has no graph to any input"):
            call(*arrays, **asked)
    zeros = vector_jacobian_product(lambda query, key, value, **_: torch.zeros_like(query[..., :2]), "torch")
    hidden = torch.zeros((1, 1, 3, 5), dtype=torch.bool)
    assert not any(gradient.any() for gradient in zeros(*arrays, **asked, mask=hidden))
    with pytest.raises(RuntimeError, match="the output has no graph to any input"):
        zeros(*arrays, **asked)
    with pytest.raises(RuntimeError, match="the output has no graph to any input"):
        vector_jacobian_product(lambda query, *_, **__: query[..., :2].detach(), "torch")(*arrays, **asked, mask=hidden)


def casual(
    query: Any,
    key: Any,
    value: Any,
    output: Any,
    lse: Any,
    grad: Any,
    *,
    scale: float,
    is_casual: bool = False,
    block: int = 64,
    sinks: Any = None,
) -> Any: ...


def test_a_misspelt_keyword_is_noted_wherever_the_kernel_runs(tmp_path: Path) -> None:
    noted = (
        "the keyword 'is_casual' is never passed: it is not in the protocol; did you mean is_causal?",
        "the keyword 'sinks' is never passed: it is not in the protocol; did you mean sink?",
    )
    assert kernel_of(casual, "attention_gradient").remarks == noted
    assert kernel_of(explicit).remarks == kernel_of(forward).remarks == ()
    file = tmp_path / "kernels.py"
    file.write_text("def attend(query, key, value, *, scale, msk=None):\n    return query\n", encoding="utf-8")
    for isolate in (False, True):
        with engaged(f"{file}:attend", "attention", isolate=isolate) as judge:
            report = Run(judge, "smoke", 0, None, 1e-9).report()
        assert report.notes[0].startswith("the keyword 'msk' is never passed")


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_same_row_gives_the_same_instance_and_every_gradient_is_another(gradient: str) -> None:
    first, second = (instance(f"gradient={gradient}") for _ in range(2))
    assert first.digest() == second.digest()
    assert gradient == "normal" or first.digest() != instance().digest()


def test_a_vector_that_all_keys_share_changes_no_gradient_but_the_tolerance() -> None:
    plain, shifted = instance(size="1x1:3x5:4/2"), instance("common=8", "1x1:3x5:4/2")
    assert np.allclose(shifted.key - plain.key, [8, -8, 8, -8], atol=1e-5)
    allowed = [criteria(one, kernel(EXPLICIT_FORM), FLOAT32)["grad_query"].allowed for one in (plain, shifted)]
    assert (allowed[1] > allowed[0]).all()


def test_every_family_of_its_own_hunts_something_and_says_where_it_was_seen() -> None:
    for family, rows in SUITE.table[:17]:
        assert family.hunts
        assert family.source
        assert any(row.level == "smoke" for row in rows), family.id
