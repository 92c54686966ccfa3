"""One kernel on one script: the guarded and timed calls, and what they returned.

Nothing here knows what is right, because this code also runs in the process of an isolated kernel.
"""

from __future__ import annotations

import gc
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.deadline import Hung, deadline
from assay.conformance.call.memory import Memory, NoRoom, Placed, moves, on_device, placed
from assay.conformance.call.stdout import captured
from assay.conformance.call.stdout import first_line as first_printed_line
from assay.conformance.call.surroundings import Left, surroundings
from assay.conformance.interface.kernel import Declined
from assay.conformance.interface.layouts import Layout
from assay.conformance.interface.targets import first_line
from assay.spec.floating_point import restore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.conformance.call.surroundings import Surroundings
    from assay.conformance.frameworks import Framework
    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Oracle, Output, Script, Step

__all__ = [
    "CALL_SECONDS", "Answer", "Fault", "Handed", "Kept", "answered", "entered", "handed", "played", "returned_by",
]  # fmt: skip

#: Seconds that the calls of one script may take together, unless the caller sets another limit.
CALL_SECONDS = 60.0

_TEXT_SECONDS = 2.0  # for the message of an exception
_ROOM = Path(__file__).resolve().parents[1]  # frames of files in this folder are the judge's, not the kernel's


@dataclass(frozen=True)
class Answer:
    """What a kernel returned for one script, or why it returned nothing.

    values: outputs by name, each in its own type; also an array that was returned with another shape or type than was
    asked for.
    kind: empty if there are outputs.  Otherwise ``declined``, ``skipped``, or a kind of
    :class:`assay.conformance.report.finding.Finding`.
    sentence: why there are no outputs.
    notes: what was observed besides, and is no failure.
    printed: the first line that the kernel wrote to stdout.
    """

    values: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    kind: str = ""
    sentence: str = ""
    notes: tuple[str, ...] = ()
    printed: str = ""


class Fault(Exception):
    """A kernel did something wrong.  It becomes a finding with this kind and this sentence.

    values: what was returned, where it is an array of another shape or type than was asked for.
    """

    def __init__(self, kind: str, sentence: str, values: Mapping[str, NDArray[Any]] | None = None) -> None:
        super().__init__(sentence)
        self.kind, self.sentence, self.values = kind, sentence, dict(values or {})


@dataclass(frozen=True, eq=False)
class Handed:
    """What a step hands to the kernel: arguments and keywords of its framework, and the memory behind their arrays."""

    arguments: list[Any]
    keywords: dict[str, Any]
    memory: list[Placed]
    oracles: dict[str, _Recorder] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Kept:
    """What a step returned, as the kernel's own arrays, and what they held then."""

    returned: Any
    framework: Framework
    outputs: tuple[Output, ...]
    values: Mapping[str, NDArray[Any]]

    def overwritten(self) -> bool:
        """Whether the arrays hold something else by now."""
        now = returned_by(self.returned, self.framework, self.outputs)
        return any(now[name].tobytes() != value.tobytes() for name, value in self.values.items())


def answered(
    kernel: Kernel,
    framework: Framework,
    script: Script,
    layout: Layout,
    *,
    huge: bool,
    seconds: float,
    held: bool = False,
    memory: Memory | None = None,
    kept: list[Kept] | None = None,
) -> Answer:
    """Play a script with its arrays among canaries, within ``seconds``.

    huge: the canaries are huge finite numbers, and not NaN.
    held: also look whether the kernel keeps references to its inputs, if the script has one step.
    memory: scripts that share one find the arrays of their steps at the same addresses.
    kept: takes what every step returned, to see later whether it is still the same.
    """
    if idle := _without_effect(layout, script, framework):
        if not layout.by_the_way:
            return Answer(kind="skipped", sentence=f"layout {layout.name} {idle}")
        layout = Layout()
    notes: list[str] = []
    values: dict[str, NDArray[Any]] = {}
    kind = sentence = ""
    end = time.monotonic() + seconds

    def attempt(*, read_only: bool) -> dict[str, NDArray[Any]]:
        stage = _Stage(kernel, framework, layout, end, huge, read_only, held, memory, kept, notes)
        return stage.play(script)

    with captured() as printed:
        try:
            try:
                values = attempt(read_only=True)
            except Fault as fault:
                if fault.kind != "raised" or not framework.read_only or "read-only" not in fault.sentence:
                    raise
                # Perhaps it only insists on writable arrays: it gets copies, and whether it writes is seen.
                values = attempt(read_only=False)
                notes.append("needs writable inputs (it does not change them)")
        except Declined as reason:
            kind, sentence = "declined", _said_by(reason) or "declined"
        except NoRoom as reason:
            kind, sentence = "skipped", f"layout {layout.name} {reason}"
        except Hung:
            kind, sentence = "hung", f"did not return within {seconds:g} s"
        except Fault as fault:
            kind, sentence, values = fault.kind, fault.sentence, fault.values
    return Answer(values, kind, sentence, () if kind else tuple(notes), first_printed_line(printed.kept))


def _without_effect(layout: Layout, script: Script, framework: Framework) -> str:
    """Why a layout would be the plain one for every array of a script; empty if it is not."""
    if layout == Layout():
        return ""
    if not framework.shares_memory and framework.region is None:
        return f"changes nothing: {framework.name} copies its arrays"
    if layout.reverse and not framework.negative_strides:
        return f"changes nothing: {framework.name} has no negative strides"
    arrays = [
        (step.arrays, [(name, value) for name, value in step.keywords.items() if isinstance(value, np.ndarray)])
        for step in script
    ]
    if any(moves(layout, positional, named) for positional, named in arrays):
        return ""
    return "changes nothing for arrays of these shapes"


def handed(
    framework: Framework, step: Step, layout: Layout, *, huge: bool, read_only: bool, memory: Memory | None = None
) -> Handed:
    """Place the arrays of a step in guarded memory.  Raises :class:`NoRoom` where the layout cannot be had here."""
    named = [(name, value) for name, value in step.keywords.items() if isinstance(value, np.ndarray)]
    plain = layout if not layout.packed and layout.far is None else Layout()
    guards = [
        guard
        for arrays, lay in ((step.arrays, layout), (named, plain))
        for guard in placed(arrays, lay, huge=huge, read_only=read_only and framework.read_only, memory=memory)
    ]
    if framework.region is None:
        native = [framework.to_native(guard.array) for guard in guards]
    else:
        native, guards = on_device(guards, framework.region, memory)
    arguments, arrays = native[: len(step.arrays)], native[len(step.arrays) :]
    recorders = {name: _Recorder(name, oracle, framework) for name, oracle in step.oracles().items()}
    keywords = {**step.keywords, **dict(zip([name for name, _ in named], arrays, strict=True)), **recorders}
    return Handed(arguments, keywords, guards, recorders)


def played(kernel: Kernel, framework: Framework, script: Script, prepared: list[Handed]) -> dict[str, NDArray[Any]]:
    """Play a script on arrays that were placed before, without a guard or a clock.  Returns every output by name.

    Raises what the kernel raises, and :class:`Fault` if it returns something else than was asked for.
    """
    values: dict[str, NDArray[Any]] = {}
    structure: Any = None
    for step, call in zip(script, prepared, strict=True):
        returned = entered(kernel, structure, step)(*call.arguments, **call.keywords)
        structure = returned if step.method == "new" else structure
        if step.outputs:
            values |= returned_by(returned, framework, step.outputs)
        values |= {f"{name} saw": recorder.record() for name, recorder in call.oracles.items()}
    return values


def entered(kernel: Kernel, structure: Any, step: Step) -> Callable[..., Any]:
    """What a step calls: the kernel itself, or a method of the structure that it made."""
    if step.method in ("", "new"):
        return kernel.function
    method = getattr(structure, step.method, None)
    if not callable(method):
        kind = type(structure).__name__
        raise Fault("type", f"returned a {kind} without a method {step.method!r}, expected a structure that has it")
    entered: Callable[..., Any] = method
    return entered


class _Recorder:
    """Takes the place of an oracle: it records the lengths of what is handed over, and refuses what is too long."""

    def __init__(self, name: str, oracle: Oracle, framework: Framework) -> None:
        self._name, self._oracle, self._framework = name, oracle, framework
        self._shown: list[tuple[int, ...]] = []
        self.refusal = ""

    def __call__(self, *arrays: Any, **keywords: Any) -> Any:
        numbers = [self._framework.to_numpy(array) for array in arrays]
        lengths = tuple(array.shape[self._oracle.axis] for array in numbers)
        self._shown.append(lengths)
        if max(lengths, default=0) > self._oracle.most:
            place = f"call {len(self._shown)} of {self._name}"
            self.refusal = self.refusal or f"{place}: {max(lengths)} tokens, expected at most {self._oracle.most}"
            raise ValueError(self.refusal)
        returned = self._oracle.function(*numbers, **keywords)
        if isinstance(returned, tuple):
            return tuple(self._framework.to_native(np.asarray(part)) for part in returned)
        return self._framework.to_native(np.asarray(returned))

    def record(self) -> NDArray[np.int64]:
        """The lengths of the arrays of each call: (calls, arrays of a call); shorter rows end in zeros."""
        width = max(map(len, self._shown), default=0)
        rows = [(*row, *(0,) * (width - len(row))) for row in self._shown]
        return np.array(rows, np.int64).reshape(len(rows), width)


@dataclass(frozen=True, eq=False)
class _Stage:
    """A script under guard: what all its steps have in common."""

    kernel: Kernel
    framework: Framework
    layout: Layout
    end: float
    huge: bool
    read_only: bool
    held: bool
    memory: Memory | None
    kept: list[Kept] | None
    notes: list[str]

    def play(self, script: Script) -> dict[str, NDArray[Any]]:
        """Play the script and return every output by name.  Among several steps, a :class:`Fault` names the step."""
        values: dict[str, NDArray[Any]] = {}
        structure: Any = None
        guards: list[Placed] = []
        for number, step in enumerate(script):
            memory = None if self.memory is None else self.memory.of_step(number)
            call = handed(self.framework, step, self.layout, huge=self.huge, read_only=self.read_only, memory=memory)
            guards += call.memory
            before = _holders(call.memory)
            try:
                returned = self._called(structure, step, call, guards, values)
            except Fault as fault:
                if len(script) == 1:
                    raise
                place = f"step {number + 1} of {len(script)}, {step.method or 'call'}"
                raise Fault(fault.kind, f"{place}: {fault.sentence}", fault.values) from None
            structure = returned if step.method == "new" else structure
            if self.held and len(script) == 1 and self.framework.shares_memory:
                del returned
                self._note_what_is_kept(call.memory, before)
        return values

    def _called(
        self, structure: Any, step: Step, call: Handed, guards: list[Placed], values: dict[str, NDArray[Any]]
    ) -> Any:
        """Make one call and add its outputs to ``values``."""
        with surroundings() as around:
            return self._guarded(structure, step, call, guards, values, around)

    def _guarded(
        self,
        structure: Any,
        step: Step,
        call: Handed,
        guards: list[Placed],
        values: dict[str, NDArray[Any]],
        around: Surroundings,
    ) -> Any:
        try:
            with warnings.catch_warnings(), np.errstate(), deadline(max(self.end - time.monotonic(), 1e-3)):
                warnings.simplefilter("ignore")
                returned = entered(self.kernel, structure, step)(*call.arguments, **call.keywords)
                if step.outputs:
                    outputs = returned_by(returned, self.framework, step.outputs)
                    values |= outputs
                    if self.kept is not None:
                        self.kept.append(Kept(returned, self.framework, step.outputs, outputs))
        except (Declined, KeyboardInterrupt, Hung, Fault):
            raise
        except NotImplementedError as error:
            raise Declined(_said_by(error)) from None
        except SystemExit as error:
            how = str(error) if isinstance(error, Left) else f"SystemExit({_code(error)})"
            raise Fault("exited", f"ended the program: {how}{_where(error)}"[:300]) from None
        except MemoryError as error:
            raise Fault("memory", f"ran out of memory: {_said_by(error) or 'MemoryError'}{_where(error)}") from None
        except BaseException as error:
            refusal = next((recorder.refusal for recorder in call.oracles.values() if recorder.refusal), "")
            if refusal:
                raise Fault("oracle", refusal) from None
            raise Fault("raised", f"raised {type(error).__name__}: {_said_by(error)}{_where(error)}") from None
        finally:
            self.notes.extend(around.restored())
            if unusual := restore():
                self.notes.append(f"leaves a floating-point environment that {unusual} (it was restored)")
        for name, damage in _damages(guards):
            what = "changed its input" if damage == "mutated" else "wrote outside its input"
            raise Fault(damage, f"{what} {name!r}")
        for name, recorder in call.oracles.items():
            if recorder.refusal:  # the kernel went on after it was refused
                raise Fault("oracle", recorder.refusal)
            values[f"{name} saw"] = recorder.record()
        if self.framework.shares_memory and step.outputs:
            kept = [
                guard for guard in call.memory if any(np.shares_memory(guard.buffer, raw) for raw in _raw(returned))
            ]
            self.notes.extend(f"returned a view of its input {guard.name!r}" for guard in kept)
        return returned

    def _note_what_is_kept(self, guards: list[Placed], before: list[int]) -> None:
        if _holders(guards) != before:
            gc.collect()  # what lies in a cycle is not kept
        self.notes.extend(
            f"keeps a reference to its input {guard.name!r} after the call"
            for guard, more, first in zip(guards, _holders(guards), before, strict=True)
            if more > first
        )


def _damages(guards: list[Placed]) -> list[tuple[str, str]]:
    """What was done to which input.  Raises :class:`Fault` where a device does not tell, after an error of its own."""
    try:
        return [(guard.name, damage) for guard in guards if (damage := guard.damage()) is not None]
    except Exception as error:
        if all(guard.region is None for guard in guards):
            raise
        raise Fault("raised", f"left its device with {type(error).__name__}: {_said_by(error)}") from None


def _holders(guards: list[Placed]) -> list[int]:
    """The number of references to each array.  A view that the kernel keeps holds one."""
    return [sys.getrefcount(guard.array) for guard in guards]


def _raw(returned: Any) -> list[NDArray[Any]]:
    parts = returned if isinstance(returned, (tuple, list)) else [returned]
    return [part for part in parts if isinstance(part, np.ndarray)]


def returned_by(returned: Any, framework: Framework, wanted: tuple[Output, ...]) -> dict[str, NDArray[Any]]:
    """The returned arrays by name, each in its own type.

    Raises :class:`Fault` if the number, the type, a shape or a dtype is not what was asked for.
    """
    parts = (returned,) if len(wanted) == 1 and framework.is_native(returned) else returned
    if not isinstance(parts, tuple) or len(parts) != len(wanted):
        got = f"a {type(returned).__name__}"
        if isinstance(returned, (tuple, list)):
            got += f" of {len(returned)}"
        names = ", ".join(output.name for output in wanted)
        expected = f"one {framework.name} array" if len(wanted) == 1 else f"a tuple ({names})"
        raise Fault("type", f"returned {got}, expected {expected}")
    values = {}
    for output, part in zip(wanted, parts, strict=True):
        if not framework.is_native(part):
            kind = f"{type(part).__module__}.{type(part).__name__}"
            raise Fault("type", f"returned {output.name} as {kind}, expected a {framework.name} array")
        array = framework.to_numpy(part)
        if not _fits(array.shape, output.shape):
            hint = _shape_hint(array.shape, output)
            sentence = f"returned {output.name} of shape {array.shape}, expected {_said(output.shape)}{hint}"
            raise Fault("shape", sentence, {output.name: array})
        if array.dtype.name not in output.dtypes:
            sentence = f"returned {output.name} as {array.dtype.name}, expected {' or '.join(output.dtypes)}"
            raise Fault("dtype", sentence, {output.name: array})
        values[output.name] = array
    return values


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(want in (None, n) for n, want in zip(shape, wanted, strict=True))


def _said(shape: tuple[int | None, ...]) -> str:
    """A shape in words, with a colon for any length."""
    return str(shape) if None not in shape else f"({', '.join(':' if n is None else str(n) for n in shape)})"


def _shape_hint(got: tuple[int, ...], output: Output) -> str:
    """A phrase that says which axes look exchanged; empty if the lengths are not those that were expected."""
    if not output.axes or Counter(got) != Counter(output.shape):
        return ""
    for a, b in combinations(range(len(got)), 2):
        exchanged = list(output.shape)
        exchanged[a], exchanged[b] = exchanged[b], exchanged[a]
        if got == tuple(exchanged):
            return f": {output.axes[a]} and {output.axes[b]} look exchanged"
    return ": its axes look transposed"


def _said_by(error: BaseException) -> str:
    """The first line of what an error says.  Its text is code of the kernel, which may not come to an end."""
    try:
        with deadline(_TEXT_SECONDS):
            return first_line(error)
    except Hung:
        return "(its text does not end)"


def _code(error: SystemExit) -> str:
    """The status with which a kernel ended the program, as far as it is a plain one."""
    return repr(error.code)[:100] if isinstance(error.code, (int, str, type(None))) else type(error.code).__name__


def _where(error: BaseException) -> str:
    """The file and line of the innermost frame outside the judge, as `` (file.py:12)``; empty if there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if _ROOM not in path.parents and frame.filename[:1] != "<":
            return f" ({path.name}:{frame.lineno})"
    return ""
