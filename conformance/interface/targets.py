"""How a name or a function that a user passes becomes a :class:`~assay.conformance.interface.kernel.Kernel`."""

from __future__ import annotations

import ast
import ctypes
import difflib
import importlib
import importlib.util
import inspect
import math
import os
import sys
import typing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.layouts import LAYOUTS
from assay.conformance.interface.suite import look_here, suite
from assay.conformance.interface.usage import UsageError, did_you_mean
from assay.spec.floating_point import restore
from assay.spec.instances.extra import how_to_install
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
    "importable",
    "kernel_of",
    "keywords_of",
    "known_findings",
    "lazily",
    "missing",
    "option_values",
]

_LOADED = "__loaded_by_assay__"  # an attribute of modules that were made of a file, which those of another may replace
_FEW = 24  # names that a line of an error lists
_FRAMEWORKS = ("torch", "jax", "cupy")  # whose arrays a function may take, besides those of NumPy
_NEARLY = 0.75  # how alike, as difflib measures it, two keywords are of which one may be the other misspelt


@dataclass(frozen=True)
class Target:
    """A built-in kernel: its name on the command line, the modules that it needs, and the extra that brings them.

    precisions: the classes that it documents, without those in which it is known to fail.  ``assay check`` without a
    target judges it in these.
    load(): makes the kernel, and imports what it needs.
    findings: capability → what is known to be wrong where it is needed.  A run over all built-ins declares these
    capabilities away, and says so; a run of this target finds what is wrong every time.
    cuda: the kernel runs on a CUDA device alone.
    """

    name: str
    precisions: tuple[str, ...]
    modules: tuple[str, ...]
    extra: str
    load: Callable[[], Kernel]
    findings: Mapping[str, str] = field(default_factory=dict)
    cuda: bool = False


def lazily(module: str, function: str, *arguments: Any, **keywords: Any) -> Callable[[], Kernel]:
    """The ``load`` of a target: when called, it imports ``module`` and returns ``function(*arguments, **keywords)``."""

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
    device: str = "",
) -> Kernel:
    """The kernel that a user means, with its problem and what its options declare.

    kernel: the name of a built-in (``torch:sdpa``), ``module:function``, ``file.py:function``, a callable with the
    documented signature, or a Kernel.  What a callable supports is read from its keyword names.
    problem: if it is left out, the kernel tells it.  A built-in belongs to the problem that lists it, and a function to
    the problem whose positional arrays and required keywords it names.
    framework: what kind of arrays a function takes (default NumPy).
    options: the conventions that the kernel declares.
    device: where its framework is to lay the arrays; empty for where it lays them by itself.

    Raises :class:`~assay.conformance.interface.usage.UsageError` in one line, also if no problem fits or several do.

    >>> def half(query, key, value, *, scale, is_causal=False): ...
    >>> kernel = kernel_of(half)
    >>> kernel.problem, sorted(kernel.keywords)
    ('attention', ['is_causal', 'scale'])
    """
    if isinstance(kernel, str):
        listing = [name for name in PROBLEMS if kernel in suite(name).targets] if problem is None else [problem]
        if listing and kernel in suite(listing[0]).targets:
            problem = _only(listing, f"{kernel} is a built-in of")
            loaded = _built_in(suite(problem).targets[kernel], device)
            _require_framework(framework, loaded)
            placed = replace(loaded, problem=problem, device=device or loaded.device)
            return _declared(placed, suite(problem), options)
        problems = PROBLEMS if problem is None else (problem,)
        built_in = [target for name in problems for target in suite(name).targets]
        try:
            function, name = function_named(kernel, built_in), kernel
        except UsageError:
            _refuse_built_in_of_others(kernel, problem)
            raise
    else:
        function, name = kernel, kernel.name if isinstance(kernel, Kernel) else _importable_name(kernel)
    if isinstance(function, Kernel):
        _require_framework(framework, function)
        problem = problem or function.problem or _problem_of(function.function, name)
        return _declared(replace(function, problem=problem, device=device or function.device), suite(problem), options)
    if not callable(function):
        signature = "" if problem is None else f" {suite(problem).interface.signature}"
        raise UsageError(f"{name}: {type(function).__name__} is not callable, expected a function{signature}")
    problem = problem or _problem_of(function, name)
    hints = _framework_hints(function) if framework is None else ()
    interface, framework = suite(problem).interface, "numpy" if framework is None else framework
    form, keywords = _read(function, name, interface)
    adapted = form.adapt(function, framework)
    remarks = _misspelt(function, form, interface)
    wrapped = Kernel(
        name, adapted, framework, keywords,
        problem=problem, positional=form.positional, remarks=remarks, hints=hints, device=device,
    )  # fmt: skip
    return _declared(wrapped, suite(problem), options)


def _require_framework(framework: str | None, kernel: Kernel) -> None:
    """Raise ``UsageError`` where a kernel that says which arrays it takes is to take others."""
    if framework not in (None, kernel.framework):
        raise UsageError(f"framework {framework}: {kernel.name} takes arrays of {kernel.framework}, expected no other")


def _framework_hints(function: Any) -> tuple[str, ...]:
    """What to try if no call of a function comes to its end: the frameworks whose names are in its module."""
    plain = inspect.unwrap(function) if inspect.isfunction(function) else function
    scope = getattr(plain, "__globals__", None)
    if scope is None:  # an object that is called, whose class was written in the module
        scope = vars(sys.modules.get(type(plain).__module__, sys.modules[__name__]))
    names = {
        value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", ""))
        for value in scope.values()
    }
    packages = {name.partition(".")[0] for name in names}
    return tuple(f"its module imports {name}: --framework {name}?" for name in _FRAMEWORKS if name in packages)


def _refuse_built_in_of_others(kernel: str, problem: str | None) -> None:
    """Raise an error that says so, where a name is that of a built-in, but of other problems than the one meant."""
    others = [name for name in PROBLEMS if kernel in suite(name).targets]
    if others:
        raise UsageError(f"{kernel}: a built-in of {' and '.join(others)}, not of {problem}")


def _problem_of(function: Any, name: str) -> str:
    """The problem whose positional arrays and required keywords a function names."""
    parameters = _parameters(function)
    if parameters is None:
        return _only([], f"{name} has no signature, so that it tells")
    named = {p.name for p in parameters}
    variadic = any(p.kind is p.VAR_KEYWORD for p in parameters)
    positional = tuple(p.name for p in _positional(parameters))
    fitting: dict[str, tuple[int, int]] = {}
    for problem in PROBLEMS:
        interface = suite(problem).interface
        forms = [form for form in interface.forms if form.tells and set(form.named) <= named]
        fits = [form for form in forms if positional[: len(form.positional)] == form.positional]
        if fits and (variadic or set(interface.required) <= named):
            fitting[problem] = max((len(form.positional), len(form.named)) for form in fits)
    most = max(fitting.values(), default=(0, 0))  # arrays, then keywords, that only one problem names tell more
    own = f" (its own: {', '.join(positional)})" if positional else ""
    problems = [problem for problem, matched in fitting.items() if matched == most]
    return _only(problems, f"{name} has the arrays of", own)


def _only(problems: list[str], words: str, own: str = "") -> str:
    """The one problem that fits.  If none or several fit, a ``UsageError`` lists what there is.

    own: what a function has in place of the arrays of a problem, in words.
    """
    if len(problems) == 1:
        return problems[0]
    if problems:
        raise UsageError(f"{words} {' and '.join(problems)}: expected --problem, one of these")
    arrays = "; ".join(
        f"{name} ({', '.join(forms[0].positional)}, …)"
        for name in PROBLEMS
        if (forms := [form for form in suite(name).interface.forms if form.tells])
    )
    raise UsageError(f"{words} no problem{own}: expected --problem, or the arrays and keywords of one: {arrays}")


def function_named(target: str, built_in: Collection[str] = ()) -> Any:
    """The object that ``module:function`` or ``file.py:function`` names.

    built_in: names that the user might have meant instead; the error suggests them.

    Raises :class:`~assay.conformance.interface.usage.UsageError` in one line.
    """
    module_name, colon, function_name = target.rpartition(":")
    if target.endswith(".py") and os.path.isfile(target):
        raise UsageError(_without_function(target))
    if not colon or not module_name or not function_name:
        hint = did_you_mean(target, built_in)
        raise UsageError(
            f"unknown target {target!r}: expected module:function, file.py:function or {_one_of(built_in)}{hint}"
        )
    module = _module(module_name, target, built_in)
    function: Any = module
    for part in function_name.split("."):
        if not hasattr(function, part):
            raise UsageError(
                f"{target}: module {module_name!r} has no {part!r}{_meant(module, part, target, built_in)}"
            )
        function = getattr(function, part)
    return function


def _meant(module: ModuleType, part: str, target: str, built_in: Collection[str]) -> str:
    """A clause on what may be meant by a name that a module does not have."""
    own = did_you_mean(part, [name for name in vars(module) if not name.startswith("_")])
    if not target.rpartition(":")[0].endswith(".py"):
        return did_you_mean(target, built_in) or own
    if own:
        return own
    here = [name for name, made in vars(module).items() if inspect.isfunction(made) and name[0] != "_"]
    functions = [name for name in here if vars(module)[name].__module__ == module.__name__]
    return f"; its functions: {', '.join(functions)}" if functions else ""


def _without_function(file: str) -> str:
    """What to say of a file of which no function is named: which it has.  It is read, and not executed."""
    try:
        body = ast.parse(Path(file).read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{file}: names no function, and cannot be read as Python ({type(error).__name__}: {first_line(error)})"
    names = [node.name for node in body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    made = [node for node in body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)]
    names += [target.id for node in made for target in node.targets if isinstance(target, ast.Name)]
    shown = [name for name in dict.fromkeys(names) if not name.startswith("_")]
    listed = f"one of {', '.join(f'{file}:{name}' for name in shown)}" if shown else "but it has none"
    return f"{file}: names no function, expected {file}:FUNCTION, {listed}"


def keywords_of(function: Any, problem: str) -> frozenset[str]:
    """Those keywords of a problem's interface that a function names."""
    return _read(function, _importable_name(function), suite(problem).interface)[1]


# --- built-in kernels -------------------------------------------------------------------------------------------------


def missing(target: Target) -> list[str]:
    """What a built-in target needs and what is not installed: modules, or the driver of CUDA devices."""
    modules = [module for module in target.modules if not importable(module)]
    return modules or (["the driver of CUDA devices"] if target.cuda and not _has_cuda_driver() else [])


def documented(problem: str, precision: str | None = None) -> list[tuple[str, str]]:
    """(name, class) for every installed built-in of a problem and every class that it documents.

    precision: only this class.
    """
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


def _built_in(target: Target, device: str) -> Kernel:
    absent = [module for module in target.modules if not importable(module)]
    if absent:
        raise UsageError(f"{target.name}: {', '.join(absent)} is not installed: {how_to_install(target.extra)}")
    if target.cuda and device.partition(":")[0] not in ("", "cuda"):
        raise UsageError(f"{target.name}: device {device!r}, expected cuda, or cuda:1 …, where alone it runs")
    if target.cuda and not _has_cuda_driver():
        raise UsageError(f"{target.name}: runs on a CUDA device alone, and no driver of one is here (libcuda.so.1)")
    loaded: Kernel = _executed(target.load, target.name)
    return loaded


def _has_cuda_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


# --- modules ----------------------------------------------------------------------------------------------------------


def importable(module: str) -> bool:
    """Whether a module is installed, as far as can be told without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _module(module_name: str, target: str, built_in: Collection[str]) -> Any:
    if module_name.endswith(".py"):
        path = Path(module_name)
        if not os.path.isfile(path):  # which is false for a name that no file can have
            raise UsageError(f"{target}: no such file {module_name!r}")
        name = _module_name(path.resolve())
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"{target}: {module_name!r} is not a Python file")
        module, loader = importlib.util.module_from_spec(spec), spec.loader
        _look_beside(path.resolve())
        setattr(module, _LOADED, True)
        sys.modules[name] = module
        try:
            _executed(lambda: loader.exec_module(module), target, path.resolve())
        except UsageError:
            sys.modules.pop(name, None)
            raise
        return module
    look_here()
    if not importable(module_name):
        hint = did_you_mean(target, built_in) or _not_found(module_name, built_in)
        raise UsageError(f"unknown target {target!r}: no module {module_name!r}{hint}")
    return _executed(lambda: importlib.import_module(module_name), target)


def _module_name(file: Path) -> str:
    """The name under which a file is imported: that which its neighbours import it by, its stem.

    So what it defines can be pickled, sent to another process, and cached by a compiler.  Where the stem is the name of
    another module, of the standard library or one that is imported already, or is none of a module, it is the path,
    which no module has for a name.
    """
    stem = file.stem
    there = sys.modules.get(stem)
    before = getattr(there, "__file__", None)
    free = there is None or hasattr(there, _LOADED) or (before is not None and os.path.realpath(before) == str(file))
    return stem if free and stem.isidentifier() and stem not in sys.stdlib_module_names else str(file)


def _look_beside(file: Path) -> None:
    """Let a file import its neighbours, as a script can: its folder is the first place where Python looks."""
    folder = str(file.parent)
    if sys.path[:1] != [folder]:
        sys.path[:] = [folder, *(place for place in sys.path if place != folder)]


def _one_of(built_in: Collection[str]) -> str:
    """The built-in names; where they are many, what prints them."""
    names = list(dict.fromkeys(built_in))
    return f"one of {', '.join(names)}" if len(names) <= _FEW else "a built-in (assay list names them)"


def _not_found(module_name: str, built_in: Collection[str]) -> str:
    """A clause on a module that Python does not find: where it lies, or else what was expected."""
    root = module_name.partition(".")[0]
    if any(os.path.exists(os.path.join("src", name)) for name in (root, f"{root}.py")):
        return f"; {root!r} lies in src: install its project (pip install -e .), or set PYTHONPATH=src"
    return f"; expected a module that Python finds here, or {_one_of(built_in)}"


def _in_a_package(error: BaseException, path: Path, target: str) -> str:
    """A clause on a relative import that failed because a file of a package was named instead of its module."""
    package = path.parent
    if not isinstance(error, ImportError) or "relative import" not in first_line(error):
        return ""
    if not (package / "__init__.py").is_file():
        return ""
    names = [] if path.name == "__init__.py" else [path.stem]
    while (package / "__init__.py").is_file():
        names.insert(0, package.name)
        package = package.parent
    function = target.rpartition(":")[2]
    return f"; the file is part of a package: {'.'.join(names)}:{function}, where Python finds that, names it"


def _executed(run: Callable[[], Any], target: str, path: Path | None = None) -> Any:
    """What importing a target makes.  path: of the file that is imported, where it is one."""
    try:
        made = run()
    except (Exception, SystemExit) as error:
        hint = "" if path is None else _in_a_package(error, path, target)
        raise UsageError(f"{target}: importing it raised {type(error).__name__}: {first_line(error)}{hint}") from error
    finally:
        unusual = restore()
    if unusual:
        raise UsageError(f"{target}: importing it leaves a floating-point environment that {unusual}")
    return made


def first_line(error: BaseException) -> str:
    """The first line of the message of an error, shortened and printable; empty if the error has no message.

    The text of an error is code of whoever raised it: what that raises, an exit too, is said and goes no further.
    """
    try:
        text = str(error)
    except (Exception, SystemExit) as worse:
        return f"(its text raised {type(worse).__name__})"
    line = (text[:4096].strip().splitlines() or [""])[0][:300]
    return "".join(c if c.isprintable() else "\ufffd" for c in line)


def _importable_name(function: Any) -> str:
    """``module:function`` if that leads back to the function, ``file.py:function`` in a script, or the plain name."""
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
    """The parameters of a function; ``None`` for a builtin without a signature."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def _positional(parameters: Iterable[inspect.Parameter]) -> list[inspect.Parameter]:
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _read(function: Any, name: str, interface: Interface) -> tuple[Form, frozenset[str]]:
    """The form in which a function is written, and those keywords of the interface that it names."""
    parameters = _parameters(function)
    if parameters is None:  # nothing can be read: it is taken to have what every kernel must have
        return interface.forms[0], frozenset(interface.required)
    form = _form(parameters, interface)
    reason = _refused(parameters, form, interface)
    if reason:
        raise UsageError(
            f"{name}: wrong signature {inspect.signature(function)}: {reason}; expected {interface.signature}"
        )
    of_methods = _named_by_methods(function, interface)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return form, frozenset(keyword for keyword in interface.keywords if "." not in keyword) | of_methods
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return form, frozenset(named & interface.keywords) | of_methods


def _named_by_methods(function: Any, interface: Interface) -> frozenset[str]:
    """Those keywords of an interface, ``method.keyword``, that the methods of the structure name which is made.

    The structure is of the class that is called, or of the one that a function is annotated to return.
    """
    asked = [keyword.split(".") for keyword in interface.keywords if "." in keyword]
    if not asked:
        return frozenset()
    kind: Any = function
    if not inspect.isclass(function):
        try:
            kind = typing.get_type_hints(function).get("return")
        except Exception:  # a hint may be any code: what cannot be read tells nothing
            kind = None
    shown = set()
    for method, keyword in asked:
        named = {p.name: p.kind for p in _parameters(getattr(kind, method, None)) or ()}
        if keyword in named or inspect.Parameter.VAR_KEYWORD in named.values():
            shown.add(f"{method}.{keyword}")
    return frozenset(shown)


def _misspelt(function: Any, form: Form, interface: Interface) -> tuple[str, ...]:
    """A sentence for every optional keyword that is none of the interface's and nearly one that is not named."""
    parameters = _parameters(function) or []
    named = {p.name: p for p in parameters}
    remarks = []
    for name in sorted(named.keys() - interface.keywords - set(form.positional)):
        close = difflib.get_close_matches(name, sorted(interface.keywords - named.keys()), 1, _NEARLY)
        if named[name].default is not inspect.Parameter.empty and close:
            remarks.append(f"the keyword {name!r} is never passed: it is not in the protocol; did you mean {close[0]}?")
    return tuple(remarks)


def _form(parameters: list[inspect.Parameter], interface: Interface) -> Form:
    """The first form with these positional names and room for the arrays that have no default; else one of as many.

    The names of a short form may begin a longer one's, so that names alone do not tell.
    """
    positional = _positional(parameters)
    names = tuple(p.name for p in positional)
    by_name = [form for form in interface.forms if names[: len(form.positional)] == form.positional]
    arrays = [p for p in positional if p.default is p.empty and p.name not in interface.keywords]
    by_number = [form for form in interface.forms if len(form.positional) == len(arrays)]
    roomy = [form for form in by_name if len(form.positional) >= len(arrays)]
    return [*roomy, *by_number, *by_name, interface.forms[0]][0]


def _refused(parameters: list[inspect.Parameter], form: Form, interface: Interface) -> str:
    """What is wrong with a signature, in words; empty if nothing is."""
    positional, wanted = _positional(parameters), len(form.positional)
    only_named = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    demanded = [
        p for p in (*positional[wanted:], *only_named) if p.default is p.empty and p.name not in interface.keywords
    ]
    if demanded:
        return f"requires {demanded[0].name!r}, which is not in the protocol"
    if len(positional) < wanted and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return f"takes {len(positional)} array{'s' * (len(positional) != 1)}, not {wanted}"
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    absent = [keyword for keyword in (*interface.required, *form.named) if keyword not in named]
    if absent and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        return f"no keyword {absent[0]!r}"
    return ""


# --- options ----------------------------------------------------------------------------------------------------------


def option_values(words: Iterable[str]) -> dict[str, str]:
    """Options as a dictionary, from the words of a command line.

    Raises :class:`~assay.conformance.interface.usage.UsageError` for a word that is not NAME=VALUE.

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

    They are conventions by name, capabilities set to ``no`` that the kernel does not have, lists of capabilities of
    which it has no others, lengths of axes or of groups of axes, ``layouts`` that it takes (``contiguous=yes`` is short
    for that one alone), and families that it ``declines``.
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
                _require_number(name, value, interface.least.get(name))
            elif str(value) not in allowed:
                hint = did_you_mean(str(value), allowed)
                raise UsageError(f"option {name}={value}: expected one of {', '.join(allowed)}{hint}")
            conventions[name] = str(value)
        elif name in capabilities and str(value).lower() in ("false", "no", "0"):
            lacks.add(name)
        elif name in capabilities and name not in axes:
            raise UsageError(
                f"option {name}={value}: expected no, for a kernel without it; one that has it declares nothing"
            )
        elif name in interface.lists:
            lacks |= set(interface.lists[name]) - _some_of(name, value, interface.lists[name])
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
            names += [f"{name}=NAMES" for name in interface.lists] + [f"{axis}=LENGTHS" for axis in axes]
            names += ["contiguous=yes", "layouts=NAMES", "declines=FAMILIES"]
            hint = did_you_mean(name, [word.partition("=")[0] for word in names])
            unknown = f"unknown option {name}={value}" + (f" ({hint.removeprefix('; ')})" if hint else "")
            raise UsageError(f"{unknown}: expected one of {', '.join(names)}")
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
        hint = did_you_mean(unknown[0], known) or f": expected some of {', '.join(known)}"
        raise UsageError(f"option {name}={value}: no {unknown[0]!r}{hint}")
    return names


def _require_number(name: str, value: Any, least: float | None) -> None:
    """Raises ``UsageError`` for what is no finite number of at least ``least``, or no positive one without that."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (0.0 < number < math.inf and (least is None or number >= least)):
        wanted = "a positive number" if least is None else f"a number of at least {least:g}"
        raise UsageError(f"option {name}={value}: expected {wanted}")
