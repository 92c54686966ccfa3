"""The exact gradient on the CPU: every option against torch's float64 autograd and against the certified definition."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from assay.impl import cpu
from assay.spec import attention, attention_gradient
from assay.spec.attention_gradient import PRECISIONS, Instance, handed
from assay.spec.problem import InvalidInstance

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"causal": "top-left"},
    "bottom-right": {"causal": "bottom-right"},
    "window": {"window": (3, 5)},
    "lengths": {"key_lengths": np.array([7, 0])},
    "mask": {"mask": "drawn"},
    "softcap": {"softcap": 1.5},
    "bias": {"bias": (2, 4, 21, 19)},
    "bias of keys": {"bias": (19,)},
    "bias of rows": {"bias": (4, 21, 1), "causal": "top-left"},
    "bias of all heads": {"bias": (1, 1, 21, 19), "softcap": 2.0, "window": (None, 4)},
    "bias of batches": {"bias": (2, 1, 1, 19), "sink": "drawn"},
    "sink": {"sink": "drawn", "key_lengths": np.array([3, 0])},
    "all": {
        "sink": "drawn", "bias": (1, 4, 21, 19), "mask": "drawn", "softcap": 3.0, "causal": "bottom-right",
        "key_lengths": np.array([12, 19]), "scale": -0.4,
    },
}  # fmt: skip


def drawn(
    options: dict[str, Any], dtype: Any, seed: int = 0, shape: tuple[int, ...] = (2, 2, 2, 21, 19, 5, 6)
) -> Instance:
    """(batch, key heads, group, queries, keys, dim, value dim)."""
    b, h_k, group, n_q, n_k, d, d_v = shape
    rng = np.random.default_rng(seed)

    def numbers(*size: int) -> Any:
        return rng.standard_normal(size).astype(dtype)

    chosen = dict(options)
    if "bias" in chosen:
        chosen["bias"] = numbers(*chosen["bias"])
    if "sink" in chosen:
        chosen["sink"] = numbers(h_k * group)
    if "mask" in chosen:
        chosen["mask"] = rng.random((b, 1, n_q, n_k)) < 0.6
    return Instance(
        numbers(b, h_k * group, n_q, d), numbers(b, h_k, n_k, d), numbers(b, h_k, n_k, d_v),
        numbers(b, h_k * group, n_q, d_v), grad_log_sum_exp=numbers(b, h_k * group, n_q), **chosen,
    )  # fmt: skip


def computed(instance: Instance, output: Any = None, lse: Any = None, **options: Any) -> tuple[np.ndarray, ...]:
    return cpu.attention_gradient.exact(
        instance.query, instance.key, instance.value, output, lse, instance.grad_output, scale=instance.scale,
        causal=instance.causal, mask=instance.mask, bias=instance.bias, window=instance.window,
        key_lengths=instance.key_lengths, softcap=instance.softcap, sink=instance.sink,
        grad_log_sum_exp=instance.grad_log_sum_exp, **options,
    )  # fmt: skip


def automatic(instance: Instance) -> list[np.ndarray]:
    """By torch's autograd in float64, from a forward pass that is written out."""
    torch = pytest.importorskip("torch")
    forward = instance.forward()
    group = instance.query.shape[1] // instance.key.shape[1]

    def tensor(x: Any) -> Any:
        return torch.tensor(np.asarray(x, np.float64), requires_grad=True)

    q, k, v = map(tensor, (instance.query, instance.key, instance.value))
    wanted = [q, k, v]
    scores = torch.einsum("bhid,bhjd->bhij", q, k.repeat_interleave(group, 1)) * forward.scale
    if instance.softcap is not None:
        scores = instance.softcap * torch.tanh(scores / instance.softcap)
    if instance.bias is not None:
        wanted.append(tensor(instance.bias))
        scores = scores + wanted[-1]
    scores = torch.where(torch.tensor(forward.visible()), scores, -torch.inf)
    if instance.sink is not None:
        wanted.append(tensor(instance.sink))
        shape = (*scores.shape[:3], 1)
        scores = torch.cat([scores, wanted[-1][None, :, None, None].expand(shape)], 3)
    lse = torch.logsumexp(scores, 3)
    empty = torch.isinf(lse)
    weights = torch.exp(scores - torch.where(empty, 0.0, lse)[..., None])[..., : k.shape[2]]
    output = torch.where(empty[..., None], 0.0, weights) @ v.repeat_interleave(group, 1)
    loss = (output * torch.tensor(instance.grad_output.astype(np.float64))).sum()
    assert instance.grad_log_sum_exp is not None
    loss = loss + torch.where(empty, 0.0, lse * torch.tensor(instance.grad_log_sum_exp.astype(np.float64))).sum()
    loss.backward()
    return [x.grad.numpy() for x in wanted]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_gives_what_autograd_gives(name: str) -> None:
    instance = drawn(OPTIONS[name], np.float64)
    for found, expected in zip(computed(instance), automatic(instance), strict=True):
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-13 * max(np.abs(expected).max(), 1.0)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 300, 700, 3, 2), (1, 1, 3, 1, 1000, 4, 4), (1, 2, 1, 70, 65, 300, 257), (1, 1, 1, 1, 1, 1, 1)]
)
def test_tiles_strips_and_columns_in_blocks_add_up(shape: tuple[int, ...]) -> None:
    for options in ({}, {"causal": "bottom-right", "window": (90, None)}):
        instance = drawn(options, np.float64, 1, shape)
        for found, expected in zip(computed(instance), automatic(instance), strict=True):
            assert np.abs(found - expected).max() <= 1e-12 * max(np.abs(expected).max(), 1.0)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["plain", "bottom-right", "bias", "sink", "softcap", "all"])
def test_the_kernel_is_within_its_class(precision: str, name: str) -> None:
    dtype = ml_dtypes.bfloat16 if precision == "bfloat16" else precision
    instance = drawn(OPTIONS[name], dtype, 2)
    u = PRECISIONS[precision]
    names = instance.outputs()
    criteria = attention_gradient.criteria(instance, u)
    for arguments in ((None, None), handed(instance, u)):
        results = computed(instance, *arguments)
        assert [x.dtype for x in results] == [np.dtype(dtype)] * len(names)
        for output, found in zip(names, results, strict=True):
            assert criteria[output].ratio(found).max() <= 1.0, output


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_of_threads_changes_no_bit(dtype: type) -> None:
    for name in ("plain", "bias of rows", "bias of keys"):
        options = {key: ((4, 300, 1) if key == "bias" else x) for key, x in OPTIONS[name].items()}
        instance = drawn(options, dtype, 3, (1, 2, 2, 300, 600, 8, 8))
        one, two = computed(instance, threads=1), computed(instance, threads=2)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(one, two, strict=True))


def test_what_stands_behind_a_mask_and_empty_rows_contribute_exact_zeros() -> None:
    instance = drawn({"key_lengths": np.array([7, 0])}, np.float32, 4)
    of_query, of_key, of_value = computed(instance)
    assert not of_query[1].any()
    assert not of_key[0, :, 7:].any()
    assert not of_value[0, :, 7:].any()
    assert not of_key[1].any()
    large = instance.value.copy()
    large[0, :, 7:] = 1e30
    again = computed(instance.replace(value=large))
    assert all(np.array_equal(a, b) for a, b in zip((of_query, of_key, of_value), again, strict=True))


def test_arrays_of_any_strides_and_byte_order_give_the_same_bits() -> None:
    instance = drawn({}, np.float32, 5)
    plain = computed(instance)
    swapped = {x: getattr(instance, x) for x in ("query", "key", "value", "grad_output", "grad_log_sum_exp")}
    other = {name: x.astype(x.dtype.newbyteorder()) for name, x in swapped.items()}
    strided = {name: np.repeat(x, 2, axis=-1)[..., ::2] for name, x in swapped.items()}
    for changed in (other, strided):
        again = computed(instance.replace(**changed))
        assert all(np.array_equal(a, b) for a, b in zip(plain, again, strict=True))


def test_scores_far_apart_neither_overflow_nor_vanish_into_nan() -> None:
    instance = drawn({"scale": 400.0}, np.float32, 6)
    assert all(np.isfinite(x).all() for x in computed(instance))
    assert all(np.isfinite(x).all() for x in computed(instance.replace(scale=0.0)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"grad_output": np.ones((1, 1, 2, 2), np.float32)}, r"grad_output: shape \(1, 1, 2, 2\), expected"),
        ({"grad_output": np.ones((1, 1, 2, 3))}, "grad_output: dtype float64, expected float32"),
        ({"output": np.ones((1, 1, 2, 3), np.float32)}, "output and log_sum_exp: expected both or neither"),
        ({"output": np.ones((1, 2), np.float32), "log_sum_exp": np.ones((1, 1, 2), np.float32)}, "output: shape"),
        ({"output": np.ones((1, 1, 2, 3), np.float32), "log_sum_exp": np.ones(2, np.float32)}, "log_sum_exp: shape"),
        ({"grad_log_sum_exp": np.ones(2, np.float32)}, "grad_log_sum_exp: shape"),
        ({"query": np.ones((1, 1, 2), np.float32)}, "query: "),
    ],
)
def test_bad_input_is_named(changed: dict[str, Any], message: str) -> None:
    x = np.ones((1, 1, 2, 3), np.float32)
    arguments = {"query": x, "key": x, "value": x, "output": None, "log_sum_exp": None, "grad_output": x, **changed}
    with pytest.raises(InvalidInstance, match=message):
        cpu.attention_gradient.exact(**arguments)


def test_a_number_of_threads_below_one_is_refused() -> None:
    x = np.ones((1, 1, 2, 3), np.float32)
    with pytest.raises(ValueError, match="threads: 0"):
        cpu.attention_gradient.exact(x, x, x, None, None, x, threads=0)


def test_the_forward_results_are_used_and_not_computed_again() -> None:
    """δ comes from the output that is handed in, and probabilities from the log-sum-exp."""
    instance = drawn({}, np.float64, 7)
    output, lse = attention.evaluate(instance.forward()).output.midpoint, None
    lse = attention.evaluate(instance.forward()).log_sum_exp.midpoint
    plain = computed(instance, output, lse)
    assert not np.allclose(computed(instance, output + 0.1, lse)[0], plain[0])
    halved = computed(instance, output, lse + np.log(2.0))
    assert np.allclose(halved[2], plain[2] / 2.0, rtol=1e-12)
