"""From what a user names or passes to a :class:`~assay.conformance.interface.kernel.Kernel`."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.suite import Suite, Target, suite
from assay.spec.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

__all__ = ["UsageError", "documented", "function_named", "keywords_of", "load", "missing", "option_values", "wrap"]


class UsageError(ValueError):
    """Something asked for that cannot be: one line that says what, and what was expected."""


def load(
    target: str, *, problem: str = PROBLEMS[0], framework: str | None = None, options: Mapping[str, Any] | None = None
) -> Kernel:
    """The kernel that ``target`` names: a built-in (``torch:sdpa``), ``module:function`` or ``file.py:function``.

    Raises :class:`UsageError` in one line.
    """
    known = suite(problem)
    if target in known.targets:
        return _declared(_built_in(known.targets[target]), known, options)
    function = function_named(target, tuple(known.targets))
    return wrap(function, problem=problem, framework=framework, options=options, name=target)


def function_named(target: str, built_in: Collection[str] = ()) -> Any:
    """What ``module:function`` or ``file.py:function`` names; ``built_in``: what else might have been meant.

    Raises :class:`UsageError` in one line.
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


def wrap(
    function: Any,
    *,
    problem: str = PROBLEMS[0],
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Kernel:
    """A callable as a kernel; what it supports is read from its keyword names.  Raises :class:`UsageError`."""
    known = suite(problem)
    if isinstance(function, Kernel):
        return _declared(function, known, options)
    name = name or _importable_name(function)
    if not callable(function):
        raise UsageError(f"{name}: {type(function).__name__} is not callable, expected a function {known.signature}")
    return _declared(
        Kernel(name=name, function=function, framework=framework or "numpy", keywords=_keywords(function, name, known)),
        known,
        options,
    )


def keywords_of(function: Any, problem: str) -> frozenset[str]:
    """The keywords of the protocol that a function names."""
    return _keywords(function, _importable_name(function), suite(problem))


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


def option_values(words: Iterable[str]) -> dict[str, str]:
    """Options as they are written on a command line.  Raises :class:`UsageError`.

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


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _built_in(target: Target) -> Kernel:
    absent = missing(target)
    if absent:
        raise UsageError(f"{target.name}: {', '.join(absent)} is not installed: pip install 'assay[{target.extra}]'")
    loaded: Kernel = _executed(target.load, target.name)
    return loaded


def _module(module_name: str, target: str, built_in: Collection[str]) -> Any:
    if module_name.endswith(".py"):
        path = Path(module_name)
        if not path.is_file():
            raise UsageError(f"{target}: no such file {module_name!r}")
        name = str(path.resolve())  # no module of another file has this name
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"{target}: {module_name!r} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        return _executed(lambda: spec.loader.exec_module(module) or module, target)  # type: ignore[union-attr]
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: a user's module lies where they stand
    if not _importable(module_name):
        hint = _did_you_mean(target, built_in) or f"; built-in targets: {', '.join(built_in)}"
        raise UsageError(f"unknown target {target!r}: no module {module_name!r}{hint}")
    return _executed(lambda: importlib.import_module(module_name), target)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _executed(run: Callable[[], Any], target: str) -> Any:
    try:
        return run()
    except (Exception, SystemExit) as error:
        raise UsageError(f"{target}: importing it raised {type(error).__name__}: {_first_line(error)}") from error


def _keywords(function: Any, name: str, known: Suite) -> frozenset[str]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin without one: only what everybody has
        return frozenset({"scale"})
    parameters = list(signature.parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    wanted = len(known.positional)
    required = [p for p in positional[wanted:] if p.default is p.empty and p.name not in _offered(known)]
    required += [
        p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name not in _offered(known)
    ]
    if (len(positional) < wanted and not variadic) or required:
        reason = (
            f"requires {required[0].name!r}, which is not in the protocol"
            if required
            else f"takes {len(positional)} arrays, not {wanted}"
        )
        raise UsageError(f"{name}: wrong signature {signature}: {reason}; expected {known.signature}")
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return frozenset(_offered(known))
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    if "scale" in _offered(known) and "scale" not in named:
        raise UsageError(f"{name}: wrong signature {signature}: no keyword 'scale'; expected {known.signature}")
    return frozenset(named & set(_offered(known)))


def _offered(known: Suite) -> set[str]:
    """Every keyword of the protocol."""
    return {"scale"} | {keyword for keywords in known.capabilities.values() for keyword in keywords}


def _declared(kernel: Kernel, known: Suite, options: Mapping[str, Any] | None) -> Kernel:
    """The kernel with ``options``: conventions by name, or a capability set to False that it does not have."""
    if not options:
        return kernel
    conventions, lacks = dict(kernel.conventions), set(kernel.lacks)
    for name, value in options.items():
        if name in known.conventions:
            allowed = known.conventions[name]
            if not allowed:
                _require_positive(name, value)
            elif str(value) not in allowed:
                raise UsageError(f"option {name}={value}: expected one of {', '.join(allowed)}")
            conventions[name] = str(value)
        elif name in known.capabilities and str(value).lower() in ("false", "no", "0"):
            lacks.add(name)
        else:
            names = [*known.conventions, *(f"{c}=no" for c in known.capabilities)]
            raise UsageError(f"unknown option {name}={value}: expected one of {', '.join(names)}")
    return Kernel(
        kernel.name, kernel.function, kernel.framework, kernel.keywords, conventions, frozenset(lacks), kernel.version
    )


def _require_positive(name: str, value: Any) -> None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 < number < math.inf:
        raise UsageError(f"option {name}={value}: expected a positive number")


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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
