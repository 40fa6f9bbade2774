"""What the methods of a class make attributes of its objects, told from their trees: containers, and objects of which class.

Which of them a method changes, or hands out, is not here: see `coopy.determinism.writes` and `coopy.determinism.later`.
"""

from __future__ import annotations

import ast
import builtins
from collections import deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from coopy.determinism import decompile
from coopy.determinism.names import Names, attribute_of

_CODES_MAX = 2_000
"""The trees of so many functions are kept, in case another class has them too."""
_CONTAINERS = (list, dict, set, deque)
_ADDERS = frozenset("add append appendleft insert put setdefault".split())


@lru_cache(_CODES_MAX)
def tree_of(code: CodeType) -> ast.FunctionDef:
    """Returns the tree of a function, from its byte code."""
    return decompile.function(code)


class Parts(NamedTuple):
    """What the methods of a class make attributes of its objects."""

    classes: dict[str, type]
    """Those that are made by calling a class."""
    containers: set[str]
    """Those that are made lists, dicts and sets."""
    nested: set[str]
    """Those whose items are."""
    items: dict[str, set[type]]
    """Classes that are called for an item of an attribute."""


def no_parts() -> Parts:
    """Returns the parts of a class of which nothing is known."""
    return Parts({}, set(), set(), {})


@lru_cache(_CODES_MAX)
def _parts_of(cls: Any) -> Parts:
    found = no_parts()
    for base in cls.__mro__:
        for raw in vars(base).values():
            if isinstance(raw, FunctionType) and base is not object and raw.__code__.co_argcount:
                names = Names(raw.__globals__, vars(builtins))
                note_parts(tree_of(raw.__code__), names, raw.__code__.co_varnames[0], found)
    return found


def parts_of(cls: type) -> Parts:
    """Returns what the methods of a class make attributes of its objects."""
    return _parts_of(cls)


def note_parts(node: ast.AST, names: Names, myself: str, found: Parts) -> None:
    """Notes what a function makes attributes of the object that it has under a name."""
    made: dict[str, type] = {}
    inside = [each for each in ast.walk(node) if isinstance(each, (ast.Assign, ast.AnnAssign, ast.Call))]
    for inner in inside:
        if isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Name):
            cls = _made_by(inner.value, names, {})
            made.update({} if cls is None else {inner.targets[0].id: cls})
    for inner in inside:
        _note_items(inner, names, made, myself, found)
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr == "setdefault":
            owner, value = inner.func.value, inner.args[-1] if inner.args else None
            if _is_of(owner, myself) and value is not None and _is_container(value, names):
                found.nested.add(owner.attr)  # type: ignore[attr-defined]
        if isinstance(inner, (ast.Assign, ast.AnnAssign)) and inner.value is not None:
            for target in inner.targets if isinstance(inner, ast.Assign) else [inner.target]:
                _note_part(target, inner.value, names, myself, found)


def _note_items(node: ast.AST, names: Names, made: Mapping[str, type], myself: str, found: Parts) -> None:
    """Notes the classes of what a statement puts into an attribute."""
    owner: ast.expr | None = None
    values: list[ast.expr] = []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _ADDERS:
        owner, values = node.func.value, node.args
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        owner, values = node.targets[0].value, [node.value]
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        owner, values = node.targets[0], [*_elements(node.value)]
    if owner is None or not _is_of(owner, myself):
        return
    for value in values:
        cls = _made_by(value, names, made)
        if cls is not None and cls.__module__ != "builtins":
            found.items.setdefault(owner.attr, set()).add(cls)  # type: ignore[attr-defined]


def _elements(node: ast.expr) -> Iterator[ast.expr]:
    """What a display, or a comprehension, has in it."""
    if isinstance(node, (ast.List, ast.Set, ast.Tuple)):
        yield from node.elts
    elif isinstance(node, ast.Dict):
        yield from node.values
    elif isinstance(node, (ast.ListComp, ast.SetComp)):
        yield node.elt
    elif isinstance(node, ast.DictComp):
        yield node.value


def _made_by(node: ast.expr, names: Names, made: Mapping[str, type]) -> type | None:
    """The class that an expression calls, or a name that it was given to."""
    if isinstance(node, ast.Call):
        return _class_of(node.func, names)
    return made.get(node.id) if isinstance(node, ast.Name) else None


def _note_part(target: ast.expr, value: ast.expr, names: Names, myself: str, found: Parts) -> None:
    is_container = _is_container(value, names)
    if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Attribute) and _is_of(target.value, myself):
        found.nested.update({target.value.attr} if is_container else ())
    if not isinstance(target, ast.Attribute) or not _is_of(target, myself):
        return
    if is_container:
        found.containers.add(target.attr)
    made = _class_of(value.func, names) if isinstance(value, ast.Call) else None
    if made is not None and isinstance(value, ast.Call):
        found.classes.setdefault(target.attr, made)
        items = _class_of(value.args[0], names) if value.args and made.__name__ == "defaultdict" else None
        found.nested.update({target.attr} if items in _CONTAINERS else ())


def _is_of(node: ast.expr, myself: str) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == myself


def _is_container(node: ast.expr, names: Names) -> bool:
    if isinstance(node, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)):
        return True
    made = _class_of(node.func, names) if isinstance(node, ast.Call) else None
    return made is not None and issubclass(made, _CONTAINERS)


def _class_of(node: ast.expr, names: Names) -> type | None:
    if isinstance(node, ast.Name):
        value = names[node.id]
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        value = attribute_of(names[node.value.id], node.attr)
    else:
        return None
    return value if isinstance(value, type) else None
