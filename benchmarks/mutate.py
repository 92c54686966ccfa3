"""Mechanical mutants of Python source: one small change each, in the manner of mutmut.

Each mutant is known by its function, the text of its line (and which of the equal lines of the function it is, from 1
on) and the change, so that a list of mutants by hand goes stale loudly when the source changes.  Annotations,
docstrings and messages of errors are left alone.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Mutant", "mutants"]

_ARITHMETIC: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.MatMult: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.LShift: (ast.RShift,),
}
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
#: Names of functions, methods and constants, and what takes their place.
_NAMES = {
    "min": "max",
    "max": "min",
    "floor": "ceil",
    "exp": "exp2",
    "log": "log2",
    "tril": "triu",
    "zeros": "ones",
    "ones": "zeros",
    "float64": "float32",
    "float32": "float64",
    "isinf": "isnan",
    "repeat": "tile",
    "sum": "max",
    "tanh": "sin",
}
_SYMMETRIC = {"min", "max"}  # an exchange of arguments changes nothing


@dataclass(frozen=True)
class Mutant:
    """One change of one function of a module, and the module's source with it."""

    function: str
    text: str
    occurrence: int
    operator: str
    change: str
    source: str

    @property
    def key(self) -> tuple[str, str, int, str]:
        return self.function, self.text, self.occurrence, self.change


def mutants(source: str, functions: tuple[str, ...]) -> list[Mutant]:
    """Every mutant of some functions of a module, in the order of the source.

    >>> [(m.operator, m.change) for m in mutants("def f(x):\\n    return x + 2\\n", ("f",))]
    [('arithmetic', 'x + 2 → x - 2'), ('constant', '2 → 3'), ('constant', '2 → 1')]
    """
    tree = ast.parse(source)
    lines = source.splitlines()
    found = []
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in functions):
        seen: Counter[tuple[int, str]] = Counter()
        first = {}  # which of the equal lines a line is
        equal: Counter[str] = Counter()
        for number in range(function.lineno, (function.end_lineno or function.lineno) + 1):
            equal[lines[number - 1].strip()] += 1
            first[number] = equal[lines[number - 1].strip()]
        for path in _paths(function):
            node = _at(function, path)
            for operator, new in _changes(node):
                number = getattr(node, "lineno", function.lineno)
                change = f"{_shown(node)} → {_shown(new)}"
                seen[number, change] += 1
                change += "" if seen[number, change] == 1 else f" ({seen[number, change]})"
                _put(function, path, ast.fix_missing_locations(new))
                begin, end = function.lineno - 1, function.end_lineno
                text = "\n".join([*lines[:begin], ast.unparse(function), *lines[end:], ""])
                _put(function, path, node)
                found.append(Mutant(function.name, lines[number - 1].strip(), first[number], operator, change, text))
    return found


_Path = tuple[tuple[str, int | None], ...]


def _paths(node: ast.AST, at: _Path = ()) -> Iterator[_Path]:
    """Where the nodes below are, depth first; annotations, docstrings and raised errors left out."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "ctx"):
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or isinstance(child, (ast.Raise, ast.Import, ast.ImportFrom)):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            place = (*at, (name, index if isinstance(value, list) else None))
            yield place
            yield from _paths(child, place)


def _at(node: ast.AST, path: _Path) -> ast.AST:
    for name, index in path:
        node = getattr(node, name) if index is None else getattr(node, name)[index]
    return node


def _put(node: ast.AST, path: _Path, new: ast.AST) -> None:
    """Put ``new`` at a place."""
    parent = _at(node, path[:-1])
    name, index = path[-1]
    if index is None:
        setattr(parent, name, new)
    else:
        getattr(parent, name)[index] = new


def _shown(node: ast.AST) -> str:
    """Source of a node, the first line of it."""
    return ast.unparse(node).splitlines()[0]


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """(operator, what takes the place of the node)."""
    match node:
        case ast.BinOp():
            for other in _ARITHMETIC.get(type(node.op), ()):
                yield "arithmetic", ast.BinOp(node.left, other(), node.right)
        case ast.UnaryOp(op=ast.USub()):
            yield "sign", node.operand
        case ast.UnaryOp(op=ast.Not()):
            yield "logic", node.operand
        case ast.BoolOp():
            yield "logic", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.Compare(ops=[op]) if type(op) in _COMPARISONS:
            yield "comparison", ast.Compare(node.left, [_COMPARISONS[type(op)]()], node.comparators)
        case ast.IfExp():
            yield "condition", node.body
            yield "condition", node.orelse
        case ast.Constant():
            yield from (("constant", ast.Constant(value)) for value in _constants(node.value))
        case ast.Attribute(attr="inf"):
            yield "constant", ast.Constant(1e4)
        case ast.Attribute() if node.attr in _NAMES:
            yield "name", ast.Attribute(node.value, _NAMES[node.attr], node.ctx)
        case ast.Name() if node.id in _NAMES:
            yield "name", ast.Name(_NAMES[node.id], node.ctx)
        case ast.Subscript(slice=ast.Tuple() as index):
            for k in range(len(index.elts) - 1):
                order = [*index.elts[:k], index.elts[k + 1], index.elts[k], *index.elts[k + 2 :]]
                if ast.unparse(order[k]) != ast.unparse(order[k + 1]):
                    yield "index", ast.Subscript(node.value, ast.Tuple(order, ast.Load()), node.ctx)
            for k, element in enumerate(index.elts):
                if isinstance(element, ast.Name):
                    moved = [*index.elts[:k], ast.BinOp(element, ast.Add(), ast.Constant(1)), *index.elts[k + 1 :]]
                    yield "index", ast.Subscript(node.value, ast.Tuple(moved, ast.Load()), node.ctx)
        case ast.Call():
            yield from _calls(node)
        case ast.AugAssign() if type(node.op) in _ARITHMETIC:
            for other in _ARITHMETIC[type(node.op)]:
                yield "arithmetic", ast.AugAssign(node.target, other(), node.value)
            yield "statement", ast.Pass()
        case ast.If():
            for value in (True, False):
                yield "condition", ast.If(ast.Constant(value), node.body, node.orelse)
        case ast.While():
            yield "condition", ast.Pass()
        case ast.Continue():
            yield "statement", ast.Break()
            yield "statement", ast.Pass()
        case ast.Assign() | ast.For() | ast.Expr():
            yield "statement", ast.Pass()


def _constants(value: object) -> tuple[object, ...]:
    """What takes the place of a constant."""
    match value:
        case bool():
            return (not value,)
        case int():
            return (value + 1, value - 1)
        case float():
            return {0.0: (1.0,), 1.0: (0.0, 1.001)}.get(value, (value * 1.001, value * (1 + 2.0**-18), 0.0))
        case str():
            return (value + "x",)
        case _:
            return ()


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    for k in range(len(node.args) - 1):
        if isinstance(node.func, ast.Name) and node.func.id in _SYMMETRIC:
            break
        if any(isinstance(argument, ast.Starred) for argument in node.args[k : k + 2]):
            continue
        order = [*node.args[:k], node.args[k + 1], node.args[k], *node.args[k + 2 :]]
        yield "argument", ast.Call(node.func, order, node.keywords)
    for k in range(len(node.keywords)):
        yield "argument", ast.Call(node.func, node.args, node.keywords[:k] + node.keywords[k + 1 :])
