"""What a name in a method stands for, told without running anything.

A name is looked up where the function would look it up: in its own scopes, in its module, in Python. What is found is compared with the
rules by identity, so that how it is spelled does not matter.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator, Mapping
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

from coopy.determinism.modules import is_of_stdlib, package_of
from coopy.determinism.rules import RULES, Rule


class Member(NamedTuple):
    """An attribute of a class, reached through ``cls`` and found in the body of ``owner``."""

    cls: type
    owner: type
    name: str
    raw: object


class Instance(NamedTuple):
    """Some object of this class of the standard library."""

    cls: type


class NotLoaded(NamedTuple):
    """What a name would stand for once its module is imported."""

    dotted: str


class _Unknown:
    """A value that only running the method would tell."""


UNKNOWN = _Unknown()


def statically(cls: type, name: str) -> Member | None:
    """The attribute as it lies in the class, with no descriptor run."""
    for owner in cls.__mro__:
        if name in vars(owner):
            return Member(cls, owner, name, vars(owner)[name])
    return None


def attribute_of(value: object, name: str) -> object:
    if isinstance(value, NotLoaded):
        return NotLoaded(f"{value.dotted}.{name}")
    if isinstance(value, _Unknown):
        return UNKNOWN
    if isinstance(value, ModuleType):
        dotted = f"{value.__name__}.{name}"
        # Some modules make their names when they are asked for; asking would run code.
        return vars(value).get(name, sys.modules.get(dotted, NotLoaded(dotted)))
    if isinstance(value, type):
        member = statically(value, name)
    else:
        cls = value.cls if isinstance(value, Instance) else type(value)
        member = statically(cls, name) if is_of_stdlib(cls.__module__) else None
    return UNKNOWN if member is None else unbound(member)


def unbound(member: Member) -> object:
    """The function or class itself where a member is one, else the member."""
    raw = member.raw.__func__ if isinstance(member.raw, staticmethod) else member.raw
    if isinstance(raw, (FunctionType, BuiltinFunctionType, MethodType, type)):
        return raw
    return member


class Table:
    """The rules, by the objects they are about. Only modules that are loaded have any."""

    def __init__(self) -> None:
        self._by_object: dict[object, Rule] = {}
        self._by_member: dict[tuple[type, str], Rule] = {}
        for dotted, rule in RULES.items():
            value = self._named(dotted)
            if isinstance(value, Member):
                self._by_member.setdefault((value.cls, value.name), rule)
            elif not isinstance(value, (NotLoaded, _Unknown)):
                self._by_object.setdefault(self._key(value), rule)

    def rule(self, value: object) -> Rule | None:
        """The rule about this value, whatever it is called where it is used."""
        if isinstance(value, NotLoaded):
            return RULES.get(value.dotted)
        if isinstance(value, (BuiltinFunctionType, MethodType)) and isinstance(value.__self__, type):
            # A class method that was looked up already: now = datetime.now.
            bound = statically(value.__self__, value.__name__)
            value = value if bound is None else unbound(bound)
        if not isinstance(value, Member):
            return self._by_object.get(self._key(value))
        for cls in value.cls.__mro__:
            if (cls, value.name) in self._by_member:
                return self._by_member[cls, value.name]
            if cls is value.owner:
                break
        return None

    @staticmethod
    def _named(dotted: str) -> object:
        """The object of that name, if its module is loaded."""
        module, _, rest = dotted.rpartition(".")
        while module and module not in sys.modules:
            module, _, name = module.rpartition(".")
            rest = f"{name}.{rest}"
        value: object = sys.modules.get(module, UNKNOWN)
        for name in rest.split("."):
            value = attribute_of(value, name)
        return value

    @staticmethod
    def _key(value: object) -> object:
        # Other objects may compare and hash as they like, or not at all.
        plain = isinstance(value, (FunctionType, BuiltinFunctionType, MethodType))
        return value if plain else id(value)


class _Local(NamedTuple):
    """A value that a local name is given by an assignment, or by an import in the function."""

    value: ast.expr | NotLoaded | None


class Scope:
    """The names that one function, class body or comprehension binds."""

    def __init__(self, outer: Scope | None, is_class: bool = False) -> None:
        self.outer = outer
        self.is_class = is_class
        self.names: dict[str, list[_Local]] = {}
        self.of_module: set[str] = set()
        self.of_outer: set[str] = set()

    def bind(self, name: str, value: ast.expr | NotLoaded | None = None) -> None:
        self.names.setdefault(name, []).append(_Local(value))

    def home(self, name: str) -> Scope | None:
        """The scope that binds the name for code in this one; None: outside the function."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.of_module:
                return None
            seen = scope is self or not scope.is_class
            if seen and name in scope.names and name not in scope.of_outer:
                return scope
            scope = scope.outer
        return None


FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class Binder(ast.NodeVisitor):
    """Fills in the names of one scope, without entering those inside it."""

    def __init__(self, scope: Scope, package: str) -> None:
        self._scope = scope
        self._package = package

    def parameters(self, arguments: ast.arguments) -> None:
        for parameter in parameters_of(arguments):
            self._scope.bind(parameter.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self._scope.bind(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ClassDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        pass

    def _comprehension(self, node: ast.AST) -> None:
        # Its own names stay inside; what := binds does not.
        for inner in ast.walk(node):
            if isinstance(inner, ast.NamedExpr):
                self._scope.bind(inner.target.id)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_Assign(self, node: ast.Assign) -> None:
        self._assign(node.targets, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._assign([node.target], node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._assign([node.target], node.value)

    def _assign(self, targets: list[ast.expr], value: ast.expr | None) -> None:
        for target in targets:
            if isinstance(target, ast.Name):
                self._scope.bind(target.id, value)
            else:
                self.visit(target)
        if value is not None:
            self.visit(value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        # s |= t makes the name local, and leaves a set a set.
        if isinstance(node.target, ast.Name):
            self._scope.names.setdefault(node.target.id, [])
        else:
            self.visit(node.target)
        self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._scope.bind(node.id)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            root = alias.name if alias.asname else package_of(alias.name)
            self._scope.bind(alias.asname or root, NotLoaded(root))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level:
            parts = self._package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1])
            module = f"{base}.{module}" if module else base
        for alias in node.names:
            self._scope.bind(alias.asname or alias.name, NotLoaded(f"{module}.{alias.name}"))

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._scope.bind(node.name)
        self.generic_visit(node)

    def _pattern(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self._scope.bind(node.name)
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = _pattern

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self._scope.bind(node.rest)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self._scope.of_module.update(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self._scope.of_outer.update(node.names)


def parameters_of(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from arguments.posonlyargs
    yield from arguments.args
    yield from arguments.kwonlyargs
    if arguments.vararg:
        yield arguments.vararg
    if arguments.kwarg:
        yield arguments.kwarg


class Names:
    """What a name stands for outside the text being read: around it, in its module, in Python."""

    def __init__(self, module: Mapping[str, Any], around: Mapping[str, Any]) -> None:
        self.module = module
        self._spaces = (around, module, vars(builtins))

    def __getitem__(self, name: str) -> object:
        for space in self._spaces:
            if name in space:
                return space[name]
        return UNKNOWN

    @property
    def package(self) -> str:
        package = self.module.get("__package__")
        return package if isinstance(package, str) else ""


def imported(dotted: str) -> object:
    """What an import in the function would give; by its name alone if that is not loaded."""
    if dotted in sys.modules:
        return sys.modules[dotted]
    module, _, name = dotted.rpartition(".")
    if module in sys.modules:
        return attribute_of(sys.modules[module], name)
    return NotLoaded(dotted)
