"""A finding as a few lines of plain NumPy, PyTorch or JAX: what is pasted into an issue of a library.

The script does not need assay.  It writes the input down, calls the kernel once and prints the wrong element beside the
certified value.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.folders import from_here, kernel_from_here
from assay.conformance.interface.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from assay.conformance.call.outcome import Outcome
    from assay.conformance.frameworks import Framework
    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script, Step

__all__ = ["script"]

_FRAMEWORKS = ("numpy", "torch", "jax")
_WRITTEN = 200  # numbers that are written down; a larger input is read from its file


def script(kernel: Kernel, framework: Framework, steps: Script, instance: Any, path: str, outcome: Outcome) -> str:
    """The text of a script that shows a failed outcome.

    kernel: its name says where the function is, unless it has a ``plain`` definition.
    framework: of the arrays.  steps: what the kernel was asked.  instance, path: of what, and where it is saved.

    Raises :class:`~assay.conformance.interface.usage.UsageError` in one line where no script without assay shows it.
    """
    place = _step_of(steps, outcome)
    name = framework.name
    _require_plain(kernel, name, place)
    names = _names(place)
    lines, function = _function(kernel)
    arrays = _Arrays(name, instance, path).lines(names)
    if any("saved[" in line for line in arrays):
        arrays = [f"saved = np.load({_text(from_here(path))})", *arrays]
    head = [
        *(f"# {line}" for line in _said(kernel, framework, instance, outcome)),
        *_imports(name, [*arrays, *lines], names),
        *lines,
        "",
        *arrays,
    ]
    return "\n".join([*head, *_call(function, name, place), *_shown(place, outcome)]) + "\n"


def _step_of(steps: Script, outcome: Outcome) -> Step:
    """The step that returns the wrong output; the first one where nothing was returned."""
    return next((step for step in steps if any(out.name == outcome.output for out in step.outputs)), steps[0])


def _require_plain(kernel: Kernel, framework: str, step: Step) -> None:
    if step.oracles():
        raise UsageError(
            f"--script: kernels of {kernel.problem} call a function that the judge hands them, "
            "so no script without assay shows what one does"
        )
    if step.method:
        raise UsageError(f"--script: {kernel.name} is a structure that keeps state, which no single call shows")
    if framework not in _FRAMEWORKS:
        raise UsageError(f"--script: writes NumPy, PyTorch or JAX, and {kernel.name} takes arrays of {framework}")


# --- the function -----------------------------------------------------------------------------------------------------


def _function(kernel: Kernel) -> tuple[list[str], str]:
    """The lines that make the function known, and its name."""
    if kernel.plain:
        lines = kernel.plain.strip().splitlines()
        return (lines if lines[0].startswith("import ") else ["", "", *lines]), "kernel"
    module, colon, name = kernel_from_here(kernel.name).rpartition(":")
    if not colon or not _is_name(name):
        raise UsageError(f"--script: {kernel.name} cannot be imported by a name: give --target module:function")
    if module.endswith(".py"):
        file = Path(module)
        if not file.stem.isidentifier():
            return ["import runpy", "", f"{name} = runpy.run_path({_text(module)})[{_text(name)}]"], name
        lines = [f"from {file.stem} import {name.partition('.')[0]}"]
        folder = str(file.parent)
        if folder != ".":
            lines = ["import sys", "", f"sys.path.insert(0, {_text(folder)})", *lines]
        return lines, name
    return [f"from {module} import {name.partition('.')[0]}"], name


def _is_name(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _imports(framework: str, lines: Sequence[str], names: Mapping[str, NDArray[Any]]) -> list[str]:
    text = "\n".join(lines)
    wanted = ["import jax", "import jax.numpy as jnp"] if framework == "jax" else []
    wanted += ["import ml_dtypes"] if "ml_dtypes." in text else []
    wanted += ["import numpy as np"] if "np." in text.replace("jnp.", "") else []
    wanted += ["import torch"] if framework == "torch" else []
    wide = framework == "jax" and any(array.dtype.itemsize == 8 for array in names.values())
    wanted = [line for line in wanted if line not in lines]
    return [*wanted, *(["", 'jax.config.update("jax_enable_x64", True)'] if wide else [])]


# --- the arrays -------------------------------------------------------------------------------------------------------


def _names(step: Step) -> dict[str, NDArray[Any]]:
    """Every array of a step by its name."""
    named = {name: value for name, value in step.keywords.items() if isinstance(value, np.ndarray)}
    return {**dict(step.arrays), **named}


@dataclass(frozen=True)
class _Arrays:
    """How arrays are written down."""

    framework: str
    instance: Any
    path: str

    def lines(self, arrays: Mapping[str, NDArray[Any]]) -> list[str]:
        """A line for each array: its numbers, or where in the saved file they are."""
        short = sum(array.size for array in arrays.values()) <= _WRITTEN
        return [
            f"{name} = {self._written(array) if short else self._read(name, array)}" for name, array in arrays.items()
        ]

    def _written(self, array: NDArray[Any]) -> str:
        numbers = _numbers(array)
        name = array.dtype.name
        if array.size == 0:
            numbers = f"np.zeros({array.shape})"
        if self.framework == "torch":
            return f"torch.tensor({numbers}, dtype=torch.{name})"
        if self.framework == "jax":
            return f"jnp.array({numbers}, jnp.{_jax_name(name)})"
        return f"np.array({numbers}, {_numpy_name(array.dtype)})"

    def _read(self, name: str, array: NDArray[Any]) -> str:
        """The array as it lies in the file; written down where it is not there."""
        for member, held in self.instance.arrays().items():
            if held.dtype == array.dtype and held.shape == array.shape and np.array_equal(_bits(held), _bits(array)):
                short = array.dtype.isbuiltin == 2  # a type that a file holds as whole numbers
                if self.framework == "torch":
                    view = f".view(np.int{8 * array.dtype.itemsize})" if short else ""
                    return f"torch.from_numpy(saved[{_text(member)}]{view})" + (
                        f".view(torch.{array.dtype.name})" if short else ""
                    )
                view = f".view(ml_dtypes.{array.dtype.name})" if short else ""
                return (
                    f"jnp.array(saved[{_text(member)}]{view})"
                    if self.framework == "jax"
                    else f"saved[{_text(member)}]{view}"
                )
        if array.size > _WRITTEN:
            raise UsageError(f"--script: {name} has {array.size} numbers, too many to write down, and no file holds it")
        return self._written(array)


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}") if array.dtype.itemsize <= 8 else array


def _numpy_name(dtype: np.dtype[Any]) -> str:
    if dtype.isbuiltin == 2:
        return f"ml_dtypes.{dtype.name}"
    return "bool" if dtype.kind == "b" else f"np.{dtype.name}"


def _jax_name(name: str) -> str:
    return "bool_" if name == "bool" else name


def _numbers(array: NDArray[Any]) -> str:
    """The numbers of an array as nested lists of Python, each of which gives the same bits again."""
    if array.ndim == 0:
        return _number(array[()])
    return f"[{', '.join(_numbers(part) for part in array)}]"


def _number(value: Any) -> str:
    """One number, in as few digits as give it again."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    whole = float(value)
    if math.isnan(whole):
        return 'float("nan")'
    if math.isinf(whole):
        return 'float("inf")' if whole > 0 else '-float("inf")'
    if isinstance(value, np.float32):
        brief = repr(float(str(value)))
        if np.float32(float(brief)) == value:
            return brief
    return repr(whole)


# --- the call ---------------------------------------------------------------------------------------------------------


def _keywords(step: Step, *without: str) -> str:
    """The keywords of a call, with a comma before each."""
    shown = []
    for name, value in step.keywords.items():
        if name not in without:
            shown.append(f", {name}={name if isinstance(value, np.ndarray) else _plain(value)}")
    return "".join(shown)


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_plain, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, (float, np.generic)) and not isinstance(value, np.str_):
        return _number(value)
    return _text(value) if isinstance(value, str) else repr(value)


def _text(words: str) -> str:
    """A string of Python in double quotes, as formatters write it."""
    return json.dumps(words, ensure_ascii=False)


def _call(function: str, framework: str, step: Step) -> list[str]:
    """The lines that call the kernel; ``out`` is what it returns, or the gradients."""
    names = [name for name, _ in step.arrays]
    if "differentiate" not in step.keywords:
        return [f"out = {function}({', '.join(names)}{_keywords(step)})"]
    wanted, handed = step.keywords["differentiate"], names.pop()
    incoming, more = handed, ""
    if "grad_log_sum_exp" in step.keywords:
        incoming, more = f"({handed}, grad_log_sum_exp)", ", return_lse=True"
    keywords = _keywords(step, "differentiate", "grad_log_sum_exp") + more
    called = f"{function}({', '.join(names)}{keywords})"
    listed = f"({', '.join(wanted)}{',' if len(wanted) == 1 else ''})"
    if framework == "jax":
        return [
            f"returned, pull = jax.vjp(lambda {', '.join(wanted)}: {called}, {', '.join(wanted)})",
            f"out = (*pull({incoming}), returned)",
        ]
    return [
        *(f"{name}.requires_grad_()" for name in wanted),
        f"returned = {called}",
        f"out = (*torch.autograd.grad(returned, {listed}, {incoming}, materialize_grads=True), returned)",
    ]


def _shown(step: Step, outcome: Outcome) -> list[str]:
    """The lines that print what was returned beside what is right."""
    outputs = [output.name for output in step.outputs]
    if outcome.output not in outputs or outcome.index is None:  # nothing was returned, or it is judged as a whole
        right = [f"print({_text(outcome.expected)})"] if outcome.expected else []
        shape = outcome.kind in ("shape", "dtype")
        return ["print(out.shape, out.dtype)" if shape and len(outputs) == 1 else "print(out)", *right]
    part = "out" if len(outputs) == 1 else f"out[{outputs.index(outcome.output)}]"
    index = f"[{', '.join(map(str, outcome.index))}]" if outcome.index else ""
    kind = "bool" if isinstance(outcome.got, bool) else "float" if isinstance(outcome.got, float) else ""
    lines = [f'print("returned ", {kind}({part}{index}))' if kind else f'print("returned ", {part}{index})']
    if outcome.interval is not None:
        low, high = outcome.interval
        middle = low if low == high else low / 2 + high / 2
        lines.append(f'print("certified", {_number(middle)}, "± {_half(low, high, middle):.1e}")')
    else:
        lines.append(f'print("certified", {_text(outcome.expected)})')
    if outcome.allowed:
        lines.append(f'print("tolerance", {outcome.allowed:.3g})')
    return lines


def _half(low: float, high: float, middle: float) -> float:
    return max(high - middle, middle - low) if math.isfinite(middle) else 0.0


def _said(kernel: Kernel, framework: Framework, instance: Any, outcome: Outcome) -> list[str]:
    """What the script shows, in words, and the versions that matter."""
    version = f" {kernel.version}" if kernel.version else ""
    return [
        f"{kernel_from_here(kernel.name)}{version}: {outcome.sentence}",
        f"{instance.describe()}; {framework.name} {framework.version}",
    ]
