"""One kernel on one instance: the call, guarded and timed, and what is to be said of its result."""

from __future__ import annotations

import gc
import sys
import time
import traceback
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.deadline import Hung, deadline
from assay.conformance.call.memory import Guarded, Memory, NoRoom, laid
from assay.conformance.call.stdout import captured, first_line
from assay.conformance.interface.kernel import Declined
from assay.conformance.interface.suite import CERTIFICATE, Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.conformance.frameworks import Framework
    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.suite import Call, Suite
    from assay.spec.precision import Precision

    Reference = Mapping[str, tuple[Any, NDArray[np.float64]]]
    Given = tuple[list[Any], dict[str, Any], list[Guarded]]

__all__ = [
    "CALL_SECONDS",
    "Answer",
    "Outcome",
    "answered",
    "capabilities",
    "handed",
    "judged",
    "lacking",
    "outputs",
    "run",
    "within",
]

#: How long one call may take, unless something else is said.
CALL_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """What one guarded call gave: outputs by name, or what was wrong with it.

    kind: empty where there are outputs, ``declined``, ``skipped``, or as in :class:`assay.conformance.report.Finding`.
    printed: the first line that the kernel wrote to stdout.
    """

    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    kind: str = ""
    sentence: str = ""
    notes: tuple[str, ...] = ()
    printed: str = ""


@dataclass(frozen=True)
class Outcome:
    """What one call came to.  ``kind`` is empty for a pass, else as in :class:`assay.conformance.report.Finding`."""

    status: str  # passed | failed | declined | outside
    ratio: float = 0.0
    kind: str = ""
    sentence: str = ""
    output: str = ""
    index: tuple[int, ...] | None = None
    got: float | None = None
    interval: tuple[float, float] | None = None
    tolerance: float | None = None
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        return self.status == "failed"


class _Fault(Exception):
    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind, self.sentence = kind, sentence


def lacking(kernel: Kernel, needs: frozenset[str], suite: Suite) -> str:
    """Which of ``needs`` the kernel does not have, as a sentence; empty if none."""
    absent = sorted(needs - capabilities(kernel, suite))
    return f"lacks {', '.join(absent)}" if absent else ""


def capabilities(kernel: Kernel, suite: Suite) -> frozenset[str]:
    """What the kernel can be asked for: by its keywords, less what it declares to lack."""
    return frozenset(
        name
        for name, keywords in suite.capabilities.items()
        if name not in kernel.lacks and (not keywords or set(keywords) & kernel.keywords)
    )


def run(
    kernel: Kernel,
    framework: Framework,
    instance: Any,
    precision: Precision,
    suite: Suite,
    reference: Reference,
    layout: Layout | None = None,
    *,
    huge_canaries: bool = False,
    seconds: float = CALL_SECONDS,
    held: bool = False,
    memory: Memory | None = None,
) -> Outcome:
    """Call the kernel on ``instance``; compare what it returns with ``reference``: enclosure, tolerance per output.

    Outputs that ``reference`` lacks are not compared.  Calls that share ``memory`` get their arrays in the same place.
    ``held``: look also whether it keeps its inputs after the call.
    """

    def answer(call: Call) -> Answer:
        lay = layout or Layout()
        found = answered(kernel, framework, call, lay, huge=huge_canaries, seconds=seconds, held=held, memory=memory)
        return replace(found, notes=(*found.notes, "prints to stdout")) if found.printed else found

    return judged(answer, kernel, instance, precision, suite, reference)


def judged(
    answer: Callable[[Call], Answer],
    kernel: Kernel,
    instance: Any,
    precision: Precision,
    suite: Suite,
    reference: Reference,
) -> Outcome:
    """What ``answer`` gives to the call of ``kernel`` for ``instance``, compared with ``reference``."""
    try:
        call = suite.call(instance, kernel, precision)
    except Declined as reason:
        return Outcome("declined", sentence=_first_line(reason) or "declined")
    found = answer(call)
    if found.kind in ("declined", "skipped"):
        return Outcome(found.kind, sentence=found.sentence, notes=found.notes)
    if found.kind:
        return Outcome("failed", np.inf, found.kind, found.sentence, notes=found.notes)
    return _compared(found.values, reference, found.notes)


def within(reference: Reference, outcome: Outcome) -> bool:
    """Whether the output of an outcome would be right where ``reference`` is."""
    if outcome.output not in reference:
        return False
    enclosure, tolerance = reference[outcome.output]
    value = outcome.values[outcome.output]
    return value.shape == enclosure.shape and bool((enclosure.ratio(value, tolerance) <= 1.0).all())


def answered(
    kernel: Kernel,
    framework: Framework,
    call: Call,
    layout: Layout,
    *,
    huge: bool,
    seconds: float,
    held: bool = False,
    memory: Memory | None = None,
) -> Answer:
    """Call the kernel among canaries, within ``seconds``.  Needs no reference: it may be in another process."""
    notes: list[str] = []
    values: dict[str, NDArray[np.float64]] = {}
    kind = sentence = ""
    end = time.monotonic() + seconds

    def called(*, read_only: bool) -> dict[str, NDArray[np.float64]]:
        given = handed(framework, call, layout, huge=huge, read_only=read_only, memory=memory)
        return _called(kernel, framework, call, given, end, notes=notes, held=held)

    with captured() as printed:
        try:
            try:
                values = called(read_only=True)
            except _Fault as fault:
                if fault.kind != "raised" or not framework.read_only or "read-only" not in fault.sentence:
                    raise
                # perhaps it only insists on writable arrays: let it have copies, and see whether it writes
                values = called(read_only=False)
                notes.append("needs writable inputs (it does not change them)")
        except Declined as reason:
            kind, sentence = "declined", _first_line(reason) or "declined"
        except NoRoom as reason:
            kind, sentence = "skipped", f"layout {layout.name} {reason}"
        except Hung:
            kind, sentence = "hung", f"did not return within {seconds:g} s"
        except _Fault as fault:
            kind, sentence = fault.kind, fault.sentence
    return Answer(values, kind, sentence, () if kind else tuple(notes), first_line(printed.kept))


def handed(
    framework: Framework, call: Call, layout: Layout, *, huge: bool, read_only: bool, memory: Memory | None = None
) -> Given:
    """Positional arguments, keywords, and the guarded memory that their arrays lie in.  Raises :class:`NoRoom`."""
    if (layout.reverse and not framework.negative_strides) or (layout.far is not None and not framework.shares_memory):
        layout = Layout()
    named = [(name, value) for name, value in call.keywords.items() if isinstance(value, np.ndarray)]
    plain = layout if not layout.packed and layout.far is None else Layout()
    keeps = [
        keep
        for arrays, lay in ((call.arrays, layout), (named, plain))
        for keep in laid(arrays, lay, huge=huge, read_only=read_only and framework.read_only, memory=memory)
    ]
    native = [framework.to_native(keep.array) for keep in keeps]
    arguments, given = native[: len(call.arrays)], native[len(call.arrays) :]
    return arguments, {**call.keywords, **dict(zip([name for name, _ in named], given, strict=True))}, keeps


def _called(
    kernel: Kernel,
    framework: Framework,
    call: Call,
    given: Given,
    end: float,
    *,
    notes: list[str],
    held: bool,
) -> dict[str, NDArray[np.float64]]:
    arguments, keywords, keeps = given
    before = _holders(keeps)
    try:
        with warnings.catch_warnings(), deadline(max(end - time.monotonic(), 1e-3)):
            warnings.simplefilter("ignore")
            returned = kernel.function(*arguments, **keywords)
            values = outputs(returned, framework, call)
    except (Declined, KeyboardInterrupt, Hung, _Fault):
        raise
    except NotImplementedError as error:
        raise Declined(_first_line(error)) from None
    except SystemExit as error:
        raise _Fault("exited", f"ended the program: SystemExit({error.code!r}){_where(error)}"[:300]) from None
    except MemoryError as error:
        raise _Fault("memory", f"ran out of memory: {_first_line(error) or 'MemoryError'}{_where(error)}") from None
    except BaseException as error:
        raise _Fault("raised", f"raised {type(error).__name__}: {_first_line(error)}{_where(error)}") from None
    finally:
        damages = [(keep.name, damage) for keep in keeps if (damage := keep.damage()) is not None]
    for name, damage in damages:
        what = "changed its input" if damage == "mutated" else "wrote outside its input"
        raise _Fault(damage, f"{what} {name!r}")
    if framework.shares_memory:
        kept = [keep for keep in keeps if any(np.shares_memory(keep.buffer, raw) for raw in _raw(returned))]
        notes.extend(f"returned a view of its input {keep.name!r}" for keep in kept)
    if held and framework.shares_memory:
        del returned
        if _holders(keeps) != before:
            gc.collect()  # what lies in a cycle is not kept
        notes.extend(
            f"keeps a reference to its input {keep.name!r} after the call"
            for keep, more, first in zip(keeps, _holders(keeps), before, strict=True)
            if more > first
        )
    return values


def _holders(keeps: list[Guarded]) -> list[int]:
    """How many references there are to each array: a view that is kept holds one."""
    return [sys.getrefcount(keep.array) for keep in keeps]


def _raw(returned: Any) -> list[NDArray[Any]]:
    parts = returned if isinstance(returned, (tuple, list)) else [returned]
    return [part for part in parts if isinstance(part, np.ndarray)]


def outputs(returned: Any, framework: Framework, call: Call) -> dict[str, NDArray[np.float64]]:
    """The returned arrays by name, as float64; a :class:`_Fault` says what else was returned."""
    wanted = len(call.outputs)
    parts = (returned,) if wanted == 1 and framework.is_native(returned) else returned
    if not isinstance(parts, tuple) or len(parts) != wanted:
        got = f"a {type(returned).__name__}"
        if isinstance(returned, (tuple, list)):
            got += f" of {len(returned)}"
        expected = f"one {framework.name} array" if wanted == 1 else f"a tuple ({', '.join(call.outputs)})"
        raise _Fault("type", f"returned {got}, expected {expected}")
    values = {}
    for name, part, shape, dtypes in zip(call.outputs, parts, call.shapes, call.dtypes, strict=True):
        if not framework.is_native(part):
            raise _Fault(
                "type",
                f"returned {name} as {type(part).__module__}.{type(part).__name__}, expected a {framework.name} array",
            )
        array = framework.to_numpy(part)
        if array.shape != shape:
            hint = _shape_hint(array.shape, shape)
            raise _Fault("shape", f"returned {name} of shape {array.shape}, expected {shape}{hint}")
        if array.dtype.name not in dtypes:
            raise _Fault("dtype", f"returned {name} as {array.dtype.name}, expected {' or '.join(dtypes)}")
        values[name] = array.astype(np.float64)
    return values


def _shape_hint(got: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if sorted(got) == sorted(wanted) and len(wanted) == 4:
        if got == tuple(wanted[axis] for axis in (0, 2, 1, 3)):
            return ": heads and length look exchanged"
        return ": its axes look transposed"
    return ""


def _compared(values: Mapping[str, NDArray[np.float64]], reference: Reference, notes: tuple[str, ...]) -> Outcome:
    worst = Outcome("passed", values=values, notes=notes)
    judged = False
    for name, (enclosure, tolerance) in reference.items():
        value = values[name]
        if CERTIFICATE in values and values[CERTIFICATE].shape == tolerance.shape:  # its own word counts too
            tolerance = np.fmin(tolerance, np.where(values[CERTIFICATE] >= 0.0, values[CERTIFICATE], 0.0))
        judged = judged or bool(np.isfinite(tolerance).any())
        ratio = enclosure.ratio(value, tolerance)
        index = tuple(int(k) for k in np.unravel_index(int(np.argmax(ratio)), ratio.shape))
        largest = float(ratio[index])
        if largest <= worst.ratio:
            continue
        at = enclosure[index]
        got, allowed = float(value[index]), float(tolerance[index])
        interval = (float(at.lower), float(at.upper))
        status, kind, sentence = "passed", "", ""
        if largest > 1.0:
            status = "failed"
            kind = "error" if np.isfinite(got) else "non-finite"
            place = f"{name}[{', '.join(map(str, index))}]"
            error = f"off by {largest:.3g} tolerances" if np.isfinite(largest) else "no error is allowed there"
            sentence = (
                f"{place} is {got:.9g}, the exact value {float(at.midpoint):.12g} (tolerance {allowed:.2g}): {error}"
            )
        worst = Outcome(status, largest, kind, sentence, name, index, got, interval, allowed, values, notes)
    if not judged and worst.status == "passed":
        exact = all((np.asarray(tolerance) == 0).all() for _, tolerance in reference.values())
        return worst if exact else Outcome("outside", values=values, notes=notes)
    return worst


def _where(error: BaseException) -> str:
    """File and line of the innermost frame that is not ours."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if Path(__file__).parent not in path.parents and frame.filename[:1] != "<":
            return f" ({path.name}:{frame.lineno})"
    return ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]
