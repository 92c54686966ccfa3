"""From what a user names or passes to a :class:`~assay.conformance.interface.kernel.Kernel`."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import math
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.layouts import LAYOUTS
from assay.conformance.interface.suite import look_here, suite
from assay.conformance.interface.usage import UsageError
from assay.spec.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from assay.conformance.interface.interface import Form, Interface
    from assay.conformance.interface.suite import Suite

__all__ = [
    "Target",
    "documented",
    "first_line",
    "function_named",
    "kernel_of",
    "keywords_of",
    "known_findings",
    "lazily",
    "missing",
    "option_values",
]


@dataclass(frozen=True)
class Target:
    """A built-in kernel: its name on the command line, the modules it needs and the extra that brings them.

    precisions: the classes that it documents, less known findings: what `assay check` alone runs.
    findings: capability → what is known to be wrong where it is needed.  A run over all built-ins declares these
    capabilities away, and says so; a run of this target finds it every time.
    """

    name: str
    precisions: tuple[str, ...]
    modules: tuple[str, ...]
    extra: str
    load: Callable[[], Kernel]
    findings: Mapping[str, str] = field(default_factory=dict)


def lazily(module: str, function: str, *arguments: Any, **keywords: Any) -> Callable[[], Kernel]:
    """What a target's ``load`` is: ``module.function(*arguments, **keywords)``, imported when it is called."""

    def load() -> Kernel:
        made: Kernel = getattr(importlib.import_module(module), function)(*arguments, **keywords)
        return made

    return load


# --- kernels ----------------------------------------------------------------------------------------------------------


def kernel_of(
    kernel: Any,
    problem: str | None = None,
    *,
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Kernel:
    """The kernel that a user means, with its problem and what its options declare.

    kernel: the name of a built-in (``torch:sdpa``), ``module:function``, ``file.py:function``, a callable with the
    documented signature, or a Kernel.  What a callable supports is read from its keyword names.
    problem: where nobody says it, it is told by the kernel.  A built-in belongs to the problem that lists it; a
    function to the problem whose positional arrays it names, and whose required keywords.

    Raises :class:`~assay.conformance.interface.usage.UsageError` in one line, also where no problem fits, or several.
    """
    if isinstance(kernel, str):
        listing = [name for name in PROBLEMS if kernel in suite(name).targets] if problem is None else [problem]
        if listing and kernel in suite(listing[0]).targets:
            problem = _only(listing, f"{kernel} is a built-in of")
            made = _built_in(suite(problem).targets[kernel])
            return _declared(replace(made, problem=problem), suite(problem), options)
        everywhere = PROBLEMS if problem is None else (problem,)
        built_in = [target for each in everywhere for target in suite(each).targets]
        function, name = function_named(kernel, built_in), kernel
    else:
        function, name = kernel, kernel.name if isinstance(kernel, Kernel) else _importable_name(kernel)
    if isinstance(function, Kernel):
        problem = problem or function.problem or _told(function.function, name)
        return _declared(replace(function, problem=problem), suite(problem), options)
    if not callable(function):
        signature = "" if problem is None else f" {suite(problem).interface.signature}"
        raise UsageError(f"{name}: {type(function).__name__} is not callable, expected a function{signature}")
    problem = problem or _told(function, name)
    interface, framework = suite(problem).interface, framework or "numpy"
    form, keywords = _read(function, name, interface)
    made = Kernel(
        name, form.adapt(function, framework), framework, keywords, problem=problem, positional=form.positional
    )
    return _declared(made, suite(problem), options)


def _told(function: Any, name: str) -> str:
    """The problem whose positional arrays a function names, and whose required keywords."""
    parameters = _parameters(function)
    if parameters is None:
        return _only([], f"{name} has no signature, so that it tells")
    named = {p.name for p in parameters}
    variadic = any(p.kind is p.VAR_KEYWORD for p in parameters)
    positional = tuple(p.name for p in _positional(parameters))
    fitting = []
    for problem in PROBLEMS:
        interface = suite(problem).interface
        fits = any(positional[: len(form.positional)] == form.positional for form in interface.forms)
        if fits and (variadic or set(interface.required) <= named):
            fitting.append(problem)
    return _only(fitting, f"{name} has the arrays of")


def _only(problems: list[str], words: str) -> str:
    """The one problem that fits; otherwise an error that lists what there is."""
    if len(problems) == 1:
        return problems[0]
    if problems:
        raise UsageError(f"{words} {' and '.join(problems)}: expected --problem, one of these")
    arrays = "; ".join(
        f"{name} ({', '.join(form.positional)}, …)" for name in PROBLEMS for form in suite(name).interface.forms
    )
    raise UsageError(f"{words} no problem: expected --problem, or the arrays and keywords of one: {arrays}")


def function_named(target: str, built_in: Collection[str] = ()) -> Any:
    """What ``module:function`` or ``file.py:function`` names; ``built_in``: what else might have been meant.

    Raises :class:`~assay.conformance.interface.usage.UsageError` in one line.
    """
    module_name, colon, function_name = target.rpartition(":")
    if not colon or not module_name or not function_name:
        hint = _did_you_mean(target, built_in)
        known = ", ".join(built_in)
        raise UsageError(
            f"unknown target {target!r}: expected module:function, file.py:function or one of {known}{hint}"
        )
    module = _module(module_name, target, built_in)
    function: Any = module
    for part in function_name.split("."):
        if not hasattr(function, part):
            hint = _did_you_mean(target, built_in) or _did_you_mean(part, [n for n in dir(module) if n[0] != "_"])
            raise UsageError(f"{target}: module {module_name!r} has no {part!r}{hint}")
        function = getattr(function, part)
    return function


def keywords_of(function: Any, problem: str) -> frozenset[str]:
    """The keywords of the protocol that a function names."""
    return _read(function, _importable_name(function), suite(problem).interface)[1]


# --- built-in kernels -------------------------------------------------------------------------------------------------


def missing(target: Target) -> list[str]:
    """Modules that a built-in target needs and that are not installed."""
    return [module for module in target.modules if not _importable(module)]


def documented(problem: str, precision: str | None = None) -> list[tuple[str, str]]:
    """(name, class) of every built-in target that is installed, in every class that it documents, or in one."""
    return [
        (target.name, name)
        for target in suite(problem).targets.values()
        if not missing(target)
        for name in target.precisions
        if precision in (None, name)
    ]


def known_findings(name: Any) -> Mapping[str, str]:
    """Capability → what is known to be wrong there in the built-in called ``name``; nothing for any other kernel."""
    targets = (suite(problem).targets.get(name) for problem in PROBLEMS if isinstance(name, str))
    return next((target.findings for target in targets if target is not None), {})


def _built_in(target: Target) -> Kernel:
    absent = missing(target)
    if absent:
        raise UsageError(f"{target.name}: {', '.join(absent)} is not installed: pip install 'assay[{target.extra}]'")
    loaded: Kernel = _executed(target.load, target.name)
    return loaded


# --- modules ----------------------------------------------------------------------------------------------------------


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _module(module_name: str, target: str, built_in: Collection[str]) -> Any:
    if module_name.endswith(".py"):
        path = Path(module_name)
        if not path.is_file():
            raise UsageError(f"{target}: no such file {module_name!r}")
        name = str(path.resolve())  # no module of another file has this name
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"{target}: {module_name!r} is not a Python file")
        module, loader = importlib.util.module_from_spec(spec), spec.loader
        sys.modules[name] = module
        _executed(lambda: loader.exec_module(module), target)
        return module
    look_here()
    if not _importable(module_name):
        hint = _did_you_mean(target, built_in) or f"; built-in targets: {', '.join(built_in)}"
        raise UsageError(f"unknown target {target!r}: no module {module_name!r}{hint}")
    return _executed(lambda: importlib.import_module(module_name), target)


def _executed(run: Callable[[], Any], target: str) -> Any:
    try:
        return run()
    except (Exception, SystemExit) as error:
        raise UsageError(f"{target}: importing it raised {type(error).__name__}: {first_line(error)}") from error


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, shortened; empty where it says nothing."""
    return (str(error).strip().splitlines() or [""])[0][:300]


def _importable_name(function: Any) -> str:
    """``module:function`` where that finds it again, ``file.py:function`` for a script, else its plain name."""
    name = getattr(function, "__qualname__", type(function).__name__)
    module = getattr(function, "__module__", None)
    if "<" in name or not module:
        return str(name)
    if module == "__main__":
        file = getattr(sys.modules["__main__"], "__file__", None)
        return f"{file}:{name}" if file else str(name)
    return f"{module}:{name}"


# --- signatures -------------------------------------------------------------------------------------------------------


def _parameters(function: Any) -> list[inspect.Parameter] | None:
    """None for a builtin without a signature."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def _positional(parameters: Iterable[inspect.Parameter]) -> list[inspect.Parameter]:
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _read(function: Any, name: str, interface: Interface) -> tuple[Form, frozenset[str]]:
    """The form in which a function is written, and the keywords of the protocol that it names."""
    parameters = _parameters(function)
    if parameters is None:  # only what every kernel has
        return interface.forms[0], frozenset(interface.required)
    form = _form(parameters, interface)
    reason = _refused(parameters, form, interface)
    if reason:
        raise UsageError(
            f"{name}: wrong signature {inspect.signature(function)}: {reason}; expected {interface.signature}"
        )
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return form, interface.keywords
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return form, frozenset(named & interface.keywords)


def _form(parameters: list[inspect.Parameter], interface: Interface) -> Form:
    """The first form whose positional arrays are named so; else the first of as many; else the first."""
    positional = _positional(parameters)
    names = tuple(p.name for p in positional)
    by_name = [form for form in interface.forms if names[: len(form.positional)] == form.positional]
    arrays = [p for p in positional if p.default is p.empty and p.name not in interface.keywords]
    by_number = [form for form in interface.forms if len(form.positional) == len(arrays)]
    return [*by_name, *by_number, interface.forms[0]][0]


def _refused(parameters: list[inspect.Parameter], form: Form, interface: Interface) -> str:
    """What is wrong with a signature; empty where nothing is."""
    positional, wanted = _positional(parameters), len(form.positional)
    only_named = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    demanded = [
        p for p in (*positional[wanted:], *only_named) if p.default is p.empty and p.name not in interface.keywords
    ]
    if demanded:
        return f"requires {demanded[0].name!r}, which is not in the protocol"
    if len(positional) < wanted and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return f"takes {len(positional)} arrays, not {wanted}"
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    absent = [keyword for keyword in interface.required if keyword not in named]
    if absent and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        return f"no keyword {absent[0]!r}"
    return ""


# --- options ----------------------------------------------------------------------------------------------------------


def option_values(words: Iterable[str]) -> dict[str, str]:
    """Options as they are written on a command line.  Raises :class:`~assay.conformance.interface.usage.UsageError`.

    >>> option_values(["empty_row=nan", "softcap=no"])
    {'empty_row': 'nan', 'softcap': 'no'}
    """
    values = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise UsageError(f"option {word!r}: expected NAME=VALUE")
        values[name] = value
    return values


def _declared(kernel: Kernel, known: Suite, options: Mapping[str, Any] | None) -> Kernel:
    """The kernel with what ``options`` declare.

    They are conventions by name, capabilities set to ``no`` that it does not have, lengths of axes or of groups of
    axes, ``layouts`` that it takes (``contiguous=yes`` is short for that one alone), and families that it ``declines``.
    """
    if not options:
        return kernel
    interface = known.interface
    capabilities = [capability.name for capability in interface.capabilities]
    conventions, lacks, lengths = dict(kernel.conventions), set(kernel.lacks), dict(kernel.lengths)
    layouts, declines = set(kernel.layouts), set(kernel.declines)
    axes = tuple(dict.fromkeys((*known.axes, *known.spec.Instance.every_axis())))
    for name, value in options.items():
        if name in interface.conventions:
            allowed = interface.conventions[name]
            if not allowed:
                _require_positive(name, value)
            elif str(value) not in allowed:
                raise UsageError(f"option {name}={value}: expected one of {', '.join(allowed)}")
            conventions[name] = str(value)
        elif name in capabilities and str(value).lower() in ("false", "no", "0"):
            lacks.add(name)
        elif name == "contiguous" and str(value).lower() in ("true", "yes", "1"):
            layouts = {"contiguous"}
        elif name == "layouts":
            layouts = _some_of(name, value, LAYOUTS)
        elif name == "declines":
            declines |= _some_of(name, value, [family.id for family in known.families])
        elif name in axes:
            lengths[name] = str(value)
        else:
            names = [*interface.conventions, *(f"{capability}=no" for capability in capabilities)]
            names += [f"{axis}=LENGTHS" for axis in axes] + ["contiguous=yes", "layouts=NAMES", "declines=FAMILIES"]
            raise UsageError(f"unknown option {name}={value}: expected one of {', '.join(names)}")
    made = replace(
        kernel,
        conventions=conventions,
        lacks=frozenset(lacks),
        lengths=lengths,
        layouts=frozenset(layouts),
        declines=frozenset(declines),
    )
    for name, words in lengths.items():
        try:
            known.lengths_of(replace(made, lengths={name: words}))
        except ValueError as error:
            raise UsageError(f"option {name}={words}: {error}") from None
    return made


def _some_of(name: str, value: Any, known: Collection[str]) -> set[str]:
    """The names in a list with commas; every one must be known."""
    names = {word.strip() for word in str(value).split(",")}
    if unknown := sorted(names - set(known)):
        hint = _did_you_mean(unknown[0], known) or f": expected some of {', '.join(known)}"
        raise UsageError(f"option {name}={value}: no {unknown[0]!r}{hint}")
    return names


def _require_positive(name: str, value: Any) -> None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 < number < math.inf:
        raise UsageError(f"option {name}={value}: expected a positive number")
