"""What a method hands out that changes its object later, when the action is over: told from its byte code.

The block of a ``with`` runs after the method that has opened it, so nothing of it can be part of the action: see `opens_a_block`.
Callables, objects that hold the object, and parts of it that can change are told by `hands_out`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from coopy.decorators import OUTSIDE, READONLY
from coopy.determinism.glance import may_open_a_block
from coopy.determinism.modules import is_of_stdlib
from coopy.determinism.names import FunctionNode, Member, statically
from coopy.determinism.parts import Parts, parts_of
from coopy.determinism.writes import Body, Called, Look

_VIEWS = frozenset({"values", "items"})


def opens_a_block(cls: type, name: str, raw: Any) -> str:
    """Returns what the block of a ``with`` that a method opens does to the object, in words; empty if it does nothing, or none is opened.

    A method that is marked `coopy.readonly` or `coopy.outside` does nothing.
    """
    if not isinstance(raw, FunctionType) or _is_marked(raw):
        return ""
    owner = next((base for base in cls.__mro__ if name in vars(base)), cls)
    inner = getattr(raw, "__wrapped__", None)
    if raw.__globals__.get("__name__") == "contextlib" and isinstance(inner, FunctionType):
        if _is_marked(inner) or not inner.__code__.co_argcount:
            return ""
        written = Look().function(inner, cls, owner)
        return f"a block that changes {written}" if written else _yielded(_body(inner, cls, owner))
    body = _body(raw, cls, owner) if may_open_a_block(raw) else None
    for value in [] if body is None else body.returned():
        assert body is not None, "what is returned is of a body"
        made = _made_with_object(body, value)
        if made is not None and _opens(made):
            return f"a block: {made.__name__} is given the object, and may change it"
    return ""


def hands_out(cls: type, name: str, raw: Any, node: FunctionNode, parts: Parts) -> str:
    """Returns what a method, or the getter of a property, returns that can change the object later, in words; empty if nothing is seen.

    ``node`` is its tree, and ``parts`` are what the methods of the class make attributes.
    """
    getter = raw.fget if isinstance(raw, property) else raw
    if not isinstance(getter, FunctionType) or getattr(getter, OUTSIDE, False) or not getter.__code__.co_argcount:
        return ""
    owner = next((base for base in cls.__mro__ if name in vars(base)), cls)
    body = Body(Look(), Called(getter, {getter.__code__.co_varnames[0]: cls}, owner), node)
    return next((said for value in body.returned() if (said := _said(body, value, parts))), "")


def _is_marked(function: Any) -> bool:
    return bool(getattr(function, READONLY, False) or getattr(function, OUTSIDE, False))


def _opens(cls: type) -> bool:
    return statically(cls, "__exit__") is not None or statically(cls, "__aexit__") is not None


def _body(function: FunctionType, cls: type, owner: type) -> Body | None:
    names = function.__code__.co_varnames
    return Body(Look(), Called(function, {names[0]: cls}, owner)) if function.__code__.co_argcount else None


def _yielded(body: Body | None) -> str:
    """What the block of a generator is given of the object."""
    if body is None:
        return ""
    cls = next(filter(None, map(body.root, (ast.Name(id=each, ctx=ast.Load()) for each in body.roots))), object)
    given = (inner.value for inner in ast.walk(body.node) if isinstance(inner, ast.Yield) and inner.value is not None)
    found = next((value for value in given if body.root(value) is not None or _part(body, value, parts_of(cls))), None)
    return "" if found is None else f"a block that is given {ast.unparse(body.meant(found))}, and may change it"


def _said(body: Body, value: ast.expr, parts: Parts) -> str:
    value = body.meant(value)
    if isinstance(value, ast.Attribute) and (cls := body.root(value.value)) is not None:
        member = statically(cls, value.attr)
        if member is not None and isinstance(member.raw, FunctionType):
            return f"{ast.unparse(value)}, which changes the object when it is called" if _changes(member) else ""
    part = _part(body, value, parts)
    if part:
        return f"{part}, a part of the state"
    if isinstance(value, ast.Lambda) and body.written_in(value):
        return f"{ast.unparse(value)}, which changes the object when it is called"
    if isinstance(value, ast.Name) and any(_changing(body, value.id)):
        return f"{value.id}(), which changes the object when it is called"
    if isinstance(value, ast.Call):
        held = [*value.args, *(keyword.value for keyword in value.keywords)]
        if any(isinstance(each, ast.Attribute) and _said(body, each, parts).endswith("called") for each in held):
            return f"{ast.unparse(value)}, which changes the object when it is called"
        made = _made_with_object(body, value)
        if made is not None and not is_of_stdlib(made.__module__) and not issubclass(made, BaseException):
            return f"{made.__name__}, which is given the object and may change it"
    return ""


def _changes(member: Member) -> bool:
    return bool(Look().member(member, is_read=False))


def _changing(body: Body, name: str) -> Iterator[bool]:
    """Whether a function of this name, inside of the method, changes the object."""
    for inner in ast.walk(body.node):
        if isinstance(inner, ast.FunctionDef) and inner is not body.node and inner.name == name:
            yield bool(body.written_in(inner))


def _part(body: Body, value: ast.expr, parts: Parts) -> str:
    """The attribute that a method of the class makes a container, or a view of one whose items are containers."""
    value = body.meant(value)
    if isinstance(value, ast.Attribute) and body.root(value.value) is not None:
        return ast.unparse(value) if value.attr in parts.containers else ""
    owner = value.func if isinstance(value, ast.Call) else None
    if isinstance(owner, ast.Attribute) and owner.attr in _VIEWS:
        part = body.meant(owner.value)
        if isinstance(part, ast.Attribute) and body.root(part.value) is not None:
            return ast.unparse(value) if part.attr in parts.nested else ""
    if isinstance(value, ast.Subscript) and not isinstance(value.slice, ast.Slice):
        part = body.meant(value.value)
        if isinstance(part, ast.Attribute) and body.root(part.value) is not None:
            return ast.unparse(value) if part.attr in parts.nested else ""
    return ""


def _made_with_object(body: Body, value: ast.expr) -> type | None:
    """The class of an object that is made with the object itself."""
    value = body.meant(value)
    if not isinstance(value, ast.Call):
        return None
    held = [*value.args, *(keyword.value for keyword in value.keywords)]
    if not any(body.root(each) is not None for each in held):
        return None
    made = body.resolve(body.meant(value.func))
    return made if isinstance(made, type) else None
