"""The compiler of the kernels of this package: Numba, with one set of options, and a cache that may fail."""

from __future__ import annotations

import contextlib
import inspect
import zlib
from types import CodeType
from typing import TYPE_CHECKING, Any

from assay.impl.cpu import costs
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compiled", "fingerprint", "jitted", "written"]


def compiled(kernel: Callable[..., Any], signature: Any, fastmath: set[str]) -> Callable[..., Any]:
    """The kernel compiled for one signature, without the interpreter lock, and kept on disk for the next process.

    The compiled code on disk is identified by the kernel's file and the signature, so ``fastmath`` must be defined in
    that file: a change of it is then a change of the file.
    """
    known = kernel.__module__.startswith("assay.")  # a cache written under another module name could not be read
    return jitted(kernel, signature, nogil=True, cache=known, error_model="numpy", fastmath=fastmath)


def jitted(function: Callable[..., Any], signature: Any = None, *, cache: bool, **options: Any) -> Callable[..., Any]:
    """``numba.njit(signature, cache=cache, **options)(function)``, which compiles anew where the cache on disk fails.

    Nothing depends on the cache but time.  It fails where neither the folder of the package nor that of the user may be
    written, where the disk is full, and where a file in it is damaged or names modules that do not exist.
    """
    numba = required("numba", "cpu")
    costs.started_wide()
    dispatcher: Any = numba.njit(**options)(function)
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
    ``signature.args``.  arguments: their names, with blanks between them.  Compiled code on disk that calls it is
    identified by the caller's file: where ``write`` is in another one, a name must hold its :func:`fingerprint`.
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


def fingerprint(*functions: Any, constants: object = ()) -> int:
    """A number that changes with the code of functions, none of them compiled, and with constants.

    Compiled code on disk is identified by the file and the name of its kernel: a part of the name must tell what the
    kernel takes from other files.
    """
    return zlib.crc32(repr([*(_told(function.__code__) for function in functions), constants]).encode())


def _told(code: CodeType) -> tuple[object, ...]:
    """What a code is, without the addresses of the functions in it."""
    constants = (_told(each) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.co_code, *constants, *code.co_names


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
