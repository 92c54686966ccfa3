"""The compiler of the kernels of this package: Numba, with one set of options, and a cache that may fail."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import costs
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CONTRACT", "compiled", "jitted", "written"]

CONTRACT = {"contract"}  # a·b + c in one rounding, which every precision class allows; nothing else is relaxed


def compiled(
    kernel: Callable[..., Any], signature: Any, fastmath: set[str], inline: bool = False, /, **named: Any
) -> Callable[..., Any]:
    """The kernel compiled without the interpreter lock, and kept on disk as :func:`jitted` says.

    signature: the one that it is compiled for now; ``None`` stands for those that it is called with later.
    fastmath: what the compiler may do beyond IEEE 754, in LLVM's words.
    inline: whether those that call it get its code in place of the call.
    named: what the kernel finds by these names, besides the globals of its module.  A function is compiled with the
    same ``fastmath``, and may call those before it.  Numbers, and what was compiled or :func:`written` already, stay as
    they are.
    """
    found: dict[str, Any] = {}
    for name, value in named.items():
        found[name] = compiled(value, None, fastmath, **found) if isinstance(value, FunctionType) else value
    finding = _copied(kernel, {**kernel.__globals__, **found}) if found else kernel
    options: dict[str, Any] = {"inline": "always"} if inline else {}
    return jitted(finding, signature, nogil=True, error_model="numpy", fastmath=fastmath, **options)


def jitted(
    function: Callable[..., Any], signature: Any = None, *, cache: bool | None = None, **options: Any
) -> Callable[..., Any]:
    """``numba.njit(signature, cache=cache, **options)(function)``, which compiles anew where the cache on disk fails.

    cache: whether the compiled code is kept on disk for the next process; by default that of this package is.  Numba
    finds it by the name of the module, so that a module which runs under a name of its own keeps nothing.

    Nothing depends on the cache but time.  It fails where neither the folder of the package nor that of the user may be
    written, where the disk is full, and where a file in it is damaged or names modules that do not exist.

    Numba takes compiled code from the disk by the name of the function and the date of its file.  What the function
    calls may be in other files, so that the name tells that, too: it ends with a number of all that the compiled code
    is made of.  Files of an earlier number stay beside it until somebody deletes them.
    """
    numba = required("numba", "cpu")
    costs.started_wide()
    cache = function.__module__.startswith("assay.") if cache is None else cache
    dispatcher: Any = numba.njit(**options)(_named(function, options) if cache else function)
    if cache:
        with contextlib.suppress(RuntimeError, OSError):  # no folder for it
            dispatcher._cache = _Forgiving(dispatcher.py_func)
    if signature is not None:
        dispatcher.compile(signature)
        dispatcher.disable_compile()
    made: Callable[..., Any] = dispatcher
    return made


def written(write: Callable[[Any, Any, Any, Any], None], arguments: str) -> Any:
    """A function that kernels call, and whose code is written in the compiler's own language; it returns nothing.

    write(context, builder, signature, values): it writes the code with a builder of LLVM, for ``values`` of the types
    ``signature.args``.  arguments: their names, with blanks between them.
    """
    numba: Any = required("numba", "cpu")
    from numba.extending import intrinsic

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        write(context, builder, signature, values)
        return context.get_dummy_value()

    def typed(context: Any, *types: Any) -> Any:
        return numba.types.void(*types), code

    named = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("context", *arguments.split())]
    typed.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]  # Numba looks how many there are
    return intrinsic(typed)


def _named(function: Any, options: Mapping[str, Any]) -> Callable[..., Any]:
    """The function under a name that ends with its fingerprint."""
    named = _copied(function, function.__globals__)
    named.__qualname__ = f"{function.__qualname__}_{_fingerprint(function, options):08x}"
    return named


def _copied(function: Any, globals_of: dict[str, Any]) -> FunctionType:
    """A function that is another one but for its globals."""
    copy = FunctionType(function.__code__, globals_of, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


# --- what compiled code is made of ------------------------------------------------------------------------------------


def _fingerprint(function: Any, options: Mapping[str, Any]) -> int:
    """A number that changes with the compiler's options and with everything that compiled code is made of.

    That is the code of the function, and of all functions that it calls, compiled or written for the compiler, and of
    those that they call; and the numbers that any of them takes from its module or from around it.  What is of Python
    or of the compiler is told by its name; methods of values, and what a function imports while it runs, are not looked
    for.  In every process the number is the same.
    """
    told = _Told()
    return zlib.crc32("\n".join([*told.of(options), *told.of(function)]).encode())


@dataclass(frozen=True)
class _Told:
    """Values in words that are the same in every process: without addresses, and without the order of sets.

    seen: what was told, which is held: the number of an object that is gone may be that of another one.
    """

    seen: dict[int, Any] = field(default_factory=dict)

    def of(self, value: Any) -> Iterator[str]:
        """What a value is, and everything that it is made of."""
        match value:
            case tuple() | list():
                yield f"{len(value)} of them"
                for each in value:
                    yield from self.of(each)
            case set() | frozenset():
                yield f"{len(value)} of them"
                yield from sorted(self._apart(each) for each in value)
            case Mapping():
                yield f"{len(value)} of them"
                yield from sorted(self._apart(pair) for pair in value.items())
            case np.ndarray():
                yield f"{value.dtype} {value.shape}"
                yield from self.of(value.tolist() if value.dtype.hasobject else value.tobytes())
            case CodeType():
                parameters = value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount, value.co_flags
                yield from self.of((value.co_code, value.co_names, value.co_varnames, parameters, value.co_consts))
            case functools.partial():
                yield from self.of((value.func, value.args, value.keywords))
            case ModuleType() | type():
                yield value.__name__
            case _ if id(value) in self.seen:
                yield f"number {list(self.seen).index(id(value))} again"
            case FunctionType():
                self.seen[id(value)] = value
                yield from self._of_function(value)
            case _ if any(hasattr(value, part) for part in _PARTS):
                self.seen[id(value)] = value
                for part in _PARTS:
                    yield from self.of(getattr(value, part, None))
            case _ if is_dataclass(value):
                yield from self.of([type(value), *(getattr(value, each.name) for each in fields(value))])
            case _:
                yield re.sub(" at 0x[0-9a-f]+", "", repr(value))

    def _apart(self, value: Any) -> str:
        """In words that do not depend on what is told after the present state."""
        return "\n".join(_Told(dict(self.seen)).of(value))

    def _of_function(self, function: FunctionType) -> Iterator[str]:
        if _is_given(str(function.__module__)):
            yield f"{function.__module__}.{function.__qualname__}"
            return
        code = function.__code__
        yield from self.of((code, function.__defaults__, function.__kwdefaults__))
        around = {}
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # it has no value yet
                around[name] = cell.cell_contents
        names = {*_names(code), *around}
        spaces: list[Mapping[str, Any]] = [{**function.__globals__, **around}]
        for space in spaces:  # which grow: the names may be those of a module in a module
            taken = {name: space[name] for name in sorted(names) if name in space}
            yield from self.of(list(taken.items()))
            modules = [each for each in taken.values() if isinstance(each, ModuleType)]
            inner = [vars(each) for each in modules if not _is_given(each.__name__)]
            spaces += [each for each in inner if not any(each is other for other in spaces)]


#: Where a function is in what Numba and functools make of it, and the options that it is compiled with.
_PARTS = ("targetoptions", "locals", "py_func", "_defn", "__wrapped__")


def _is_given(module: str) -> bool:
    """Whether a module is Python's or the compiler's."""
    package = module.partition(".")[0]
    return package in ("numba", "numpy", "llvmlite") or package in sys.stdlib_module_names


def _names(code: CodeType) -> Iterator[str]:
    """The names in a code and in the codes within it, of globals and of attributes."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


class _Forgiving:
    """Numba's cache of the compiled code of a function, which holds nothing where it cannot be read or written."""

    def __init__(self, function: Callable[..., Any]) -> None:
        from numba.core import caching

        kind: Any = caching.FunctionCache
        self._kept: Any = kind(function)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kept, name)

    def load_overload(self, *arguments: Any) -> Any:
        """The compiled code of a signature; ``None`` where there is none that can be read."""
        try:
            return self._kept.load_overload(*arguments)
        except Exception:  # what a damaged pickle may raise
            return None

    def save_overload(self, *arguments: Any) -> None:
        """Keep the compiled code of a signature, if that is possible."""
        with contextlib.suppress(Exception):
            self._kept.save_overload(*arguments)
