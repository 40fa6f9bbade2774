"""Reads one function, and says what in it replay cannot repeat. It has more than 500 lines because it is one visitor of a syntax
tree: what is said of a name, a call, a set or an assignment needs the scopes and the resolver that all of them share.

What functions there are, and which are read after which, is the survey's to say
(`coopy.determinism.check`).
"""

from __future__ import annotations

import ast
import builtins
import functools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any, Protocol, TypeVar, cast

from coopy.determinism.glance import OPENERS
from coopy.determinism.modules import Home, is_of_stdlib, package_of
from coopy.determinism.names import (
    UNKNOWN,
    Binder,
    Comprehension,
    FunctionNode,
    Instance,
    Member,
    Names,
    NotLoaded,
    Scope,
    Table,
    attribute_of,
    imported,
    parameters_of,
    statically,
    unbound,
)
from coopy.determinism.others import named_in
from coopy.determinism.parts import parts_of
from coopy.determinism.rules import (
    ANSWERED,
    GENERATOR,
    IDENTITY,
    ITERATOR,
    OF_ANOTHER,
    OF_SYSTEMS,
    OUTPUT,
    OUTSIDE,
    READ,
    SET_ORDER,
    START,
    SYSTEM,
    WARNINGS,
    Rule,
)
from coopy.determinism.texts import NUMBER_SETS, Text, default_values, defaults_of, texts_of, wrapped_in

_T = TypeVar("_T")
_IN_STATE = "an attribute of self"
_SET_MAKERS = frozenset({"set", "frozenset"})
_SET_METHODS = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
_SET_CHANGERS = _SET_METHODS | {
    "difference_update",
    "intersection_update",
    "isdisjoint",
    "issubset",
    "issuperset",
    "symmetric_difference_update",
    "update",
}
_SET_OPERATORS = (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)
# Builtins whose answer shows the order of what they are given, and those whose answer does not.
_ORDERED = frozenset({"list", "tuple", "iter", "enumerate", "zip", "map", "filter"})
_UNORDERED = frozenset({"sorted", "len", "sum", "min", "max", "any", "all", "set", "frozenset"})
# What these give is not part of the state, and id() and hash() are what they are there for.
_IDENTITY_METHODS = frozenset({"__hash__", "__repr__", "__str__"})
_WHILE_CLASSES_ARE_MADE = frozenset({"__init_subclass__", "__set_name__", "__class_getitem__", "__prepare__"})
_FACTORIES = frozenset({"default_factory", "factory"})
_ARGUMENTS_SHOWN_MAX = 60
_DEPTH_MAX = 10
_TABLE_MAX = 100
"""So many of the functions that a dict of a module has are looked at."""
_KEPT_OUTSIDE = {
    GENERATOR: ("a generator outside the system", "{env}"),
    ITERATOR: ("an iterator outside the system", _IN_STATE),
}
_LOG_METHODS = frozenset("critical debug error exception fatal info log success trace warn warning".split())
CONTAINERS = (list, dict, set, deque)
_ADDERS = frozenset("append appendleft extend extendleft insert".split())
CHANGERS = _ADDERS | frozenset(
    "__delitem__ __setitem__ add clear difference_update discard intersection_update move_to_end pop popitem popleft remove "
    "reverse rotate setdefault sort subtract symmetric_difference_update update".split()
)


class Survey(Protocol):
    """What a reader asks of the survey that it reads for: what is known of the class, and who is told what was found."""

    @property
    def cls(self) -> type: ...
    @property
    def table(self) -> Table: ...
    @property
    def modules(self) -> Home: ...

    def report(self, file: str, node: ast.expr | ast.stmt, code: str, method: str, what: str, instead: str) -> None:
        """Notes a finding, unless a comment silences it."""

    def follow(self, text: Text, method: str, trail: str, early: bool) -> None:
        """Reads a function that a method uses, once."""

    def follow_constructor(self, cls: type, method: str, trail: str, early: bool) -> None:
        """Reads what making an object of a class runs."""

    def met(self, cls: Any, method: str, trail: str) -> None:
        """Notes a class of other objects."""

    def used(self, name: str, receivers: Iterable[type], method: str, trail: str, of_argument: bool) -> None:
        """Notes a name that is looked up on another object."""

    def follow_attribute(self, member: Member, method: str, trail: str) -> None:
        """Reads how the body of a class makes an attribute."""

    def container_attributes(self, cls: type) -> frozenset[str]:
        """Returns the attributes that methods make lists, dicts and sets."""

    def set_attributes(self, cls: type) -> frozenset[str]:
        """Returns the attributes that every assignment makes a set of what may be strings."""

    def assigned_on_self(self, cls: type, name: str) -> bool:
        """Whether a method gives its object an attribute of this name."""


class Reader(ast.NodeVisitor):
    """Reads one function, or one expression, and reports what it finds.

    ``trail`` says how the place is reached from ``method``, in words; ``early`` that it runs while the
    program starts, in no action.
    """

    def __init__(
        self, survey: Survey, names: Names, file: str, method: str, trail: str, text: Text | None = None, early: bool = False
    ) -> None:
        self._survey = survey
        self._names = names
        self._file = file
        self._method = method
        self._trail = trail
        self._text = text
        self._cls = None if text is None else text.cls
        self._root = self._scope = Scope(None)
        self._self_name = ""
        self._early = early
        self._made_by = "%s"  # how what stands in for something early is to be written
        self._unordered: set[ast.AST] = set()  # what is given to something that ignores order
        self._depth = 0
        self._asks: bool | None = None
        self._node: FunctionNode | None = None

    def read(self, node: FunctionNode) -> None:
        self._begin(node)
        self._node = node
        for statement in body_of(node):
            self.visit(statement)

    def read_early(self, value: ast.expr, made_by: str) -> None:
        """Read what is made while the program starts."""
        self._early, self._made_by = True, made_by
        self.visit(value)

    def attributes_assigned(self, node: FunctionNode) -> Iterator[tuple[str, bool]]:
        """Each assignment to an attribute of self, and whether it is a set of what may be strings."""
        self._begin(node)
        sets: dict[ast.expr, bool] = {}
        unchanged: set[ast.expr] = set()
        for inner in ast.walk(node):
            if isinstance(inner, ast.Assign):
                sets.update((target, self._is_set(inner.value)) for target in inner.targets)
            elif isinstance(inner, ast.AnnAssign) and inner.value is not None:
                numbers = ast.unparse(inner.annotation).strip("'\"") in NUMBER_SETS
                sets[inner.target] = not numbers and self._is_set(inner.value)
            elif isinstance(inner, ast.AugAssign):
                unchanged.add(inner.target)  # What it was before, it stays.
        for inner in ast.walk(node):
            if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                if self._is_self(inner.value) and inner not in unchanged:
                    yield inner.attr, sets.get(inner, False)

    def containers_assigned(self, node: FunctionNode) -> Iterator[str]:
        """The attributes of self that are given a new list, dict or set."""
        self._begin(node)
        for inner in ast.walk(node):
            if not isinstance(inner, (ast.Assign, ast.AnnAssign)) or inner.value is None:
                continue
            made = inner.value.func if isinstance(inner.value, ast.Call) else None
            displays = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
            cls = None if made is None else self._resolve(made)
            if isinstance(inner.value, displays) or (isinstance(cls, type) and issubclass(cls, CONTAINERS)):
                for target in inner.targets if isinstance(inner, ast.Assign) else [inner.target]:
                    if isinstance(target, ast.Attribute) and self._is_self(target.value):
                        yield target.attr

    def judge_read(self, node: FunctionNode) -> list[str]:
        """Report what a function changes in the state. Returns the methods of self that it calls."""
        self._begin(node)
        state = _State(self, node)
        called = []
        for inner in ast.walk(node):
            for target in assigned_by(inner):
                if isinstance(target, (ast.Attribute, ast.Subscript)) and state.holds(target.value):
                    self.report_read(target, ast.unparse(target) + self._trail)
            if isinstance(inner, ast.Call):
                changed = self._changed_in_state(inner, state)
                if changed is not None:
                    self.report_read(inner, ast.unparse(changed) + self._trail)
                elif isinstance(inner.func, ast.Attribute) and self._is_self(inner.func.value):
                    called.append(inner.func.attr)
        return called

    def _changed_in_state(self, node: ast.Call, state: _State) -> ast.expr | None:
        """What of the state a call changes, if that is known."""
        if node.args and state.holds(node.args[0]):
            is_setter = isinstance(node.func, ast.Attribute) and node.func.attr in ("__setattr__", "__delattr__")
            if is_setter or self._builtin(node.func) in ("setattr", "delattr", "next"):
                return node.args[0]
        if not isinstance(node.func, ast.Attribute) or self._cls is None:
            return None
        owner = state.meant(node.func.value)
        if isinstance(owner, ast.Attribute) and self._is_self(owner.value):
            known = owner.attr == "__dict__" or owner.attr in self._survey.container_attributes(self._cls)
            return owner if known and node.func.attr in CHANGERS else None
        return None

    def report_read(self, node: ast.expr | ast.stmt, what: str) -> None:
        instead = "a method without @readonly, which is recorded"
        self._survey.report(self._file, node, READ, self._method, what, instead)

    def _begin(self, node: FunctionNode) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args]
        if self._text is not None and self._text.has_self and arguments:
            self._self_name = arguments[0].arg
        self._root = self._scope = self._function_scope(node, None)

    # --- scopes

    def _function_scope(self, node: FunctionNode, outer: Scope | None) -> Scope:
        scope = Scope(outer)
        binder = Binder(scope, self._names.package)
        binder.parameters(node.args)
        for statement in body_of(node):
            binder.visit(statement)
        return scope

    def _visit_inside(self, scope: Scope, nodes: Iterable[ast.AST]) -> None:
        outside, self._scope = self._scope, scope
        for node in nodes:
            self.visit(node)
        self._scope = outside

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for expression in node.decorator_list:
            self.visit(expression)
        if not self._is_given_later(node.name):
            self._inner_function(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._inner_function(node)

    def _inner_function(self, node: FunctionNode) -> None:
        for _, value in defaults_of(node.args):
            self.visit(value)
        with self._later():
            self._visit_inside(self._function_scope(node, self._scope), body_of(node))

    @contextmanager
    def _later(self) -> Iterator[None]:
        """For what does not run where it stands."""
        early, self._early = self._early, False
        yield
        self._early = early

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for expression in [*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)]:
            self.visit(expression)
        scope = Scope(self._scope, is_class=True)
        binder = Binder(scope, self._names.package)
        for statement in node.body:
            binder.visit(statement)
        self._visit_inside(scope, node.body)

    def _visit_comprehension(self, node: Comprehension) -> None:
        scope = Scope(self._scope)
        for generator in node.generators:
            for target in ast.walk(generator.target):
                if isinstance(target, ast.Name):
                    scope.bind(target.id)
        ordered = not isinstance(node, ast.SetComp) and node not in self._unordered
        for place, generator in enumerate(node.generators):
            # The first is evaluated outside.
            inside = scope if place else self._scope
            if ordered:
                outside, self._scope = self._scope, inside
                self._iterated(generator.iter)
                self._scope = outside
            self._visit_inside(inside, [generator.iter])
            self._visit_inside(scope, generator.ifs)
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self._visit_inside(scope, results)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        # Without its annotation: nothing there is used by the call.
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    # --- names

    def _resolve(self, node: ast.expr | NotLoaded) -> object:
        """What an expression stands for, as far as that can be told without running it."""
        if isinstance(node, NotLoaded):
            return imported(node.dotted)
        if isinstance(node, ast.Name):
            return self._resolve_name(node.id)
        if isinstance(node, ast.Attribute):
            logger = self._logger_of_class(node)
            return attribute_of(self._resolve(node.value), node.attr) if logger is None else logger
        if isinstance(node, ast.NamedExpr):
            return self._resolve(node.value)
        if isinstance(node, ast.Call):
            made = self._resolve(node.func)
            if _is_of(made, "logging", "getLogger"):
                return Instance(sys.modules["logging"].Logger)
            named = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            if made is getattr and len(node.args) > 1 and named:
                return attribute_of(self._resolve(node.args[0]), named[0])
            if named and len(node.args) == 1 and (made is __import__ or _is_of(made, "importlib", "import_module")):
                return imported(named[0])
            return Instance(made) if isinstance(made, type) and is_of_stdlib(made.__module__) else UNKNOWN
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            folder = self._resolve(node.left)
            cls = folder.cls if isinstance(folder, Instance) else type(folder)
            return Instance(cls) if cls.__module__.startswith("pathlib") else UNKNOWN
        return UNKNOWN

    def _resolve_name(self, name: str) -> object:
        home = self._scope.home(name)
        if home is None:
            return self._names[name]
        value = self._assigned_once(home, name)
        if value is None:
            return UNKNOWN
        resolved = self._standing_in(home, lambda: self._resolve(value), cast(object, UNKNOWN))
        # now = time.time is found where it stands; what is done with now is no second finding.
        banned = isinstance(value, ast.expr) and self._survey.table.rule(resolved) is not None
        return UNKNOWN if banned else resolved

    @staticmethod
    def _assigned_once(home: Scope, name: str) -> ast.expr | NotLoaded | None:
        values = {local.value for local in home.names[name]}
        return values.pop() if len(values) == 1 else None

    def _standing_in(self, scope: Scope, question: Callable[[], _T], otherwise: _T) -> _T:
        """Ask about a node of another scope. Names that go round in a circle get the answer otherwise."""
        if self._depth > _DEPTH_MAX:
            return otherwise
        inside, self._scope = self._scope, scope
        self._depth += 1
        try:
            return question()
        finally:
            self._depth -= 1
            self._scope = inside

    def _is_self(self, node: ast.expr) -> bool:
        if not isinstance(node, ast.Name) or not self._self_name or node.id != self._self_name:
            return False
        return self._scope.home(node.id) is self._root and len(self._root.names[node.id]) == 1

    def _builtin(self, node: ast.expr) -> str:
        """The name of the builtin that the node stands for, or nothing."""
        if not isinstance(node, ast.Name):
            return ""
        value = self._resolve(node)
        return node.id if value is not UNKNOWN and value is vars(builtins).get(node.id) else ""

    def _logger_of_class(self, node: ast.Attribute) -> object:
        """The logger that is an attribute of the class; None if the expression is no such thing."""
        logging = sys.modules.get("logging")
        if logging is None or self._cls is None or not self._is_self(node.value):
            return None
        member = statically(self._cls, node.attr)
        found = None if member is None else member.raw
        return found if isinstance(found, (logging.Logger, logging.LoggerAdapter)) else None

    # --- state outside the system

    def _outside(self, node: ast.expr) -> object:
        """What an expression stands for, if that is made once for the program; else `UNKNOWN`."""
        if self._is_class_of_self(node):
            return self._cls or UNKNOWN
        if self._is_self(node):
            return self._cls or UNKNOWN if self._text is not None and self._text.is_of_class else UNKNOWN
        found = self._of_the_class(node)
        found = self._resolve(node) if found is UNKNOWN else found
        if isinstance(found, Member):
            found = found.raw
        return UNKNOWN if isinstance(found, (NotLoaded, Instance)) else found

    def _is_class_of_self(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr == "__class__" and self._is_self(node.value)
        is_asked = isinstance(node, ast.Call) and len(node.args) == 1 and self._is_self(node.args[0])
        return is_asked and self._builtin(node.func) == "type"  # type: ignore[attr-defined]

    def _of_the_class(self, node: ast.expr) -> object:
        """The list, dict or set that is an attribute of the class and of none of its objects."""
        if not isinstance(node, ast.Attribute):
            return UNKNOWN
        owner = self._cls if self._is_self(node.value) else self._outside(node.value)
        member = statically(owner, node.attr) if isinstance(owner, type) else None
        if member is None or not isinstance(member.raw, CONTAINERS) or is_of_stdlib(member.owner.__module__):
            return UNKNOWN
        return UNKNOWN if self._is_given_to_objects(member) else member.raw

    def _is_given_to_objects(self, member: Member) -> bool:
        return self._survey.assigned_on_self(self._cls or member.cls, member.name)

    def _is_shared_default(self, node: ast.expr) -> bool:
        """Whether a name stands for the list, dict or set that a parameter is by default: one for all calls."""
        if not isinstance(node, ast.Name) or self._text is None or self._scope.home(node.id) is not self._root:
            return False
        value = default_values(self._text.function).get(node.id)
        return isinstance(value, (*CONTAINERS, bytearray)) and len(self._root.names[node.id]) == 1

    def _report_default(self, node: ast.expr, what: str) -> None:
        self._report(
            node, OUTSIDE, f"{what}, a default that all calls share", "None for the default, and a new one in the body", None
        )

    def _changed(self, node: ast.expr, augmented: bool = False) -> None:
        """Judge an assignment to what it is made to."""
        if augmented and self._is_shared_default(node):
            self._report_default(node, ast.unparse(node))
        if isinstance(node, (ast.Tuple, ast.List)):
            for each in node.elts:
                self._changed(each, augmented)
        elif isinstance(node, ast.Starred):
            self._changed(node.value, augmented)
        elif isinstance(node, ast.Attribute):
            if self._outside(node.value) is not UNKNOWN and not self._is_self_of_object(node.value):
                self._report_outside(node, f"{ast.unparse(node)}, which is outside the system")
        elif isinstance(node, ast.Subscript):
            if self._is_shared_default(node.value):
                self._report_default(node, ast.unparse(node.value))
            of_class = self._of_the_class(node.value) is not UNKNOWN
            # A dict of a module may be a cache, which does no harm; what is counted in it does.
            if of_class or (augmented and self._outside(node.value) is not UNKNOWN):
                self._report_outside(node, f"{ast.unparse(node.value)}, which is outside the system")

    def _is_self_of_object(self, node: ast.expr) -> bool:
        return self._is_self(node) and (self._text is None or not self._text.is_of_class)

    def _is_global(self, name: str) -> bool:
        scope: Scope | None = self._scope
        while scope is not None:
            if name in scope.of_module:
                return True
            scope = None if name in scope.names else scope.outer
        return False

    def _report_outside(self, node: ast.expr, what: str) -> None:
        if self._text is not None and self._text.name in _WHILE_CLASSES_ARE_MADE:
            return
        self._report(node, OUTSIDE, what, _IN_STATE, None)

    def _set_by_call(self, node: ast.Call) -> None:
        """Judge ``setattr(Class, "count", 1)``, and the same of type."""
        is_set = self._builtin(node.func) in ("setattr", "delattr") or (
            isinstance(node.func, ast.Attribute)
            and node.func.attr in ("__setattr__", "__delattr__")
            and self._builtin(node.func.value) == "type"
        )
        if is_set and len(node.args) > 1 and isinstance(self._outside(node.args[0]), (type, FunctionType, ModuleType)):
            self._report_outside(node.args[0], f"{ast.unparse(node.args[0])}, which is outside the system")

    def _changed_by_call(self, node: ast.Call) -> None:
        """Judge a call of a method that changes a container."""
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in CHANGERS:
            return
        owner = node.func.value
        if self._is_shared_default(owner):
            self._report_default(owner, ast.unparse(owner))
        for kept in node.args if node.func.attr in _ADDERS else ():
            if self._is_shared_default(kept):
                self._report_default(kept, ast.unparse(kept))
        of_class = self._of_the_class(owner) is not UNKNOWN
        of_module = node.func.attr in _ADDERS and isinstance(self._outside(owner), (list, deque))
        if of_class or of_module:
            self._report_outside(owner, f"{ast.unparse(owner)}, which is outside the system")

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._changed(target)
            self.visit(target)
            if isinstance(target, (ast.Tuple, ast.List)) or _is_slice(target):
                self._iterated(node.value)
            if isinstance(target, (ast.Attribute, ast.Subscript)) and self._is_shared_default(node.value):
                self._report_default(node.value, ast.unparse(node.value))
        if not self._is_for_later(node):
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._changed(node.target, augmented=True)
        if isinstance(node.op, ast.Add):
            self._iterated(node.value)  # Added to a list: a set is nothing that a set is added to.
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._changed(target)
        self.generic_visit(node)

    # --- what is called after the action

    def _is_for_later(self, node: ast.Assign) -> bool:
        """Whether a name is given a function for nothing but `on_commit`."""
        if len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
            return False
        return isinstance(node.value, (ast.Name, ast.Attribute, ast.Lambda)) and self._is_given_later(node.targets[0].id)

    def _is_given_later(self, name: str) -> bool:
        """Whether a name of the function is used for nothing but `on_commit`."""
        if self._node is None:
            return False
        used = [each for each in ast.walk(self._node) if isinstance(each, ast.Name) and each.id == name]
        given = [each.args[0] for each in ast.walk(self._node) if self._is_on_commit(each) and each.args]  # type: ignore[attr-defined]
        return bool(given) and all(each in given or isinstance(each.ctx, ast.Store) for each in used)

    def _is_on_commit(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and _is_of(self._resolve(node.func), "coopy.spine.effects", "on_commit")

    def _visit_for_later(self, node: ast.expr) -> None:
        """Visit what is called after the action: of it, what is done now to come by it."""
        if isinstance(node, ast.IfExp):
            self.visit(node.test)
            self._visit_for_later(node.body)
            self._visit_for_later(node.orelse)
        elif isinstance(node, ast.Call) and self._resolve(node.func) is functools.partial and node.args:
            self._visit_for_later(node.args[0])
            for argument in [*node.args[1:], *node.keywords]:
                self.visit(argument)
        elif isinstance(node, ast.Attribute):
            self._visit_for_later(node.value)
        elif not isinstance(node, (ast.Name, ast.Lambda)):
            self.visit(node)

    # --- output

    def _asks_replaying(self) -> bool:
        """Whether the function asks if it is being replayed: it knows then what it says."""
        if self._asks is None:
            calls = [] if self._node is None else [each for each in ast.walk(self._node) if isinstance(each, ast.Call)]
            self._asks = any(_is_of(self._resolve(each.func), "coopy.ground.running", "replaying") for each in calls)
        return self._asks

    def _is_quiet(self, node: ast.expr) -> bool:
        """Whether output is live alone."""
        owner = self._resolve(node.value) if isinstance(node, ast.Attribute) else None
        if isinstance(owner, ModuleType) and owner.__name__ == "logging":
            owner = vars(owner).get("root")
        return self._asks_replaying() or (owner is not None and _is_live_only(owner))

    def _says(self, node: ast.Call) -> None:
        """Judge a call of what is not in the tables, and is output all the same."""
        if not isinstance(node.func, ast.Attribute):
            return
        owner = self._resolve(node.func.value)
        streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
        is_stream = node.func.attr in ("write", "writelines") and any(owner is each for each in streams)
        is_logger = (
            node.func.attr in _LOG_METHODS and "Logger" in type(owner).__name__ and not is_of_stdlib(type(owner).__module__)
        )
        if (is_stream or is_logger) and not self._is_quiet(node.func):
            instead = next(use for code, use, _ in WARNINGS if code == OUTPUT)
            self._report(node.func, OUTPUT, f"{ast.unparse(node.func)}()", instead, node)

    # --- uses

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._used(node, self._resolve(node), None)
        elif self._is_global(node.id):
            self._report_outside(node, f"{node.id}, a name of the module")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._note_use(node)
        judged = isinstance(node.ctx, ast.Load) and self._used(node, self._value(node), None)
        self._visit_below(node, judged)

    def visit_Call(self, node: ast.Call) -> None:
        self._order_shown(node)
        self._changed_by_call(node)
        self._set_by_call(node)
        self._says(node)
        opened = self._resolve(node.func)
        if isinstance(opened, FunctionType) and opened.__name__ in OPENERS and package_of(opened.__module__) == "coopy":
            self._report(node.func, SYSTEM, f"{ast.unparse(node.func)}(), which opens another system", OF_ANOTHER, None)
        if (
            isinstance(node.func, ast.Attribute)
            and _is_of_a_system(self._resolve(node.func.value))
            and not self._is_quiet(node)
        ):
            self._report(node.func, SYSTEM, f"{ast.unparse(node.func)}(), which is not of this system", OF_ANOTHER, None)
        if isinstance(node.func, (ast.Name, ast.Attribute)):
            if isinstance(node.func, ast.Attribute):
                self._note_use(node.func)
            judged = self._used(node.func, self._value(node.func), node)
            self._visit_below(node.func, judged)
        else:
            if isinstance(node.func, ast.Call):
                self._used(node.func, self._resolve(node.func), node)
            self.visit(node.func)
        for number, argument in enumerate(node.args):
            if number == 0 and self._is_on_commit(node):
                self._visit_for_later(argument)
            else:
                self.visit(argument)
        for keyword in node.keywords:
            made = self._resolve(keyword.value) if keyword.arg in _FACTORIES else None
            if isinstance(made, type):
                # A factory is called later, without arguments.
                with self._later():
                    self._used(keyword.value, made, ast.Call(func=keyword.value, args=[], keywords=[]))
            else:
                self.visit(keyword.value)

    def _note_use(self, node: ast.Attribute) -> None:
        """Notes what is looked up on another object, of which the class may be known."""
        owner = node.value
        if self._early or self._is_self(owner) or self._is_class_of_self(owner):
            return
        value = self._resolve(owner)
        if isinstance(value, Member):
            receivers = [value.cls if issubclass(value.cls, Enum) else type(value.raw)]
        elif value is UNKNOWN:
            receivers = self._receivers(owner)
        else:
            receivers = [type(value)]
        if not isinstance(value, (type, ModuleType, NotLoaded, Instance)):
            is_argument = isinstance(owner, ast.Name) and self._scope.home(owner.id) is self._root
            self._survey.used(node.attr, receivers, self._method, self._trail, is_argument)

    def _receivers(self, node: ast.expr) -> list[type]:
        """The class of an object, where the method, or another one of its class, has made it by calling that."""
        if isinstance(node, ast.Name) and (home := self._scope.home(node.id)) is not None:
            made = self._assigned_once(home, node.id)
            if made is None and home is self._root and self._text is not None and len(home.names[node.id]) == 1:
                annotation = self._text.function.__annotations__.get(node.id)
                return [*named_in(annotation, self._text.function.__globals__)]
            node = made if isinstance(made, ast.Call) else node
        if isinstance(node, ast.Call):
            cls = self._resolve(node.func) if isinstance(node.func, (ast.Name, ast.Attribute)) else None
            return [cls] if isinstance(cls, type) else []
        if isinstance(node, ast.Attribute) and self._cls is not None and self._is_self(node.value):
            member = statically(self._cls, node.attr)
            made_of = parts_of(self._cls).classes.get(node.attr, None if member is None else type(member.raw))
            return [] if made_of is None else [made_of]
        return []

    def _visit_below(self, node: ast.expr, judged: bool) -> None:
        """Visit what an attribute is taken from; of a chain that was judged, only what it begins with."""
        while isinstance(node, ast.Attribute):
            node = node.value
            if not judged or not isinstance(node, (ast.Name, ast.Attribute)):
                self.visit(node)
                return

    def _value(self, node: ast.expr) -> object:
        """As _resolve; of self and super(), what the class has by that name."""
        if not isinstance(node, ast.Attribute) or self._cls is None:
            return self._resolve(node)
        if self._is_self(node.value) or self._is_class_of_self(node.value):
            return self._of_class(statically(self._cls, node.attr))
        if isinstance(node.value, ast.Call) and self._builtin(node.value.func) == "super":
            return self._of_class(self._inherited(node.attr))
        return self._resolve(node)

    def _inherited(self, name: str) -> Member | None:
        assert self._cls is not None and self._text is not None and self._text.owner is not None
        later = self._cls.__mro__[self._cls.__mro__.index(self._text.owner) + 1 :]
        owner = next((base for base in later if name in vars(base)), None)
        return None if owner is None else Member(self._cls, owner, name, vars(owner)[name])

    def _of_class(self, member: Member | None) -> object:
        if member is None or is_of_stdlib(member.owner.__module__):
            return UNKNOWN
        for text in texts_of(member, self._survey.modules):
            self._survey.follow(text, self._method, self._trail, self._early)
        value = unbound(member)
        if isinstance(value, type):
            self._survey.follow_constructor(value, self._method, self._trail, self._early)
        value = member.raw if kept_outside(member.raw) else value
        named = self._survey.table.rule(value) is not None or bool(kept_outside(value))
        if not named:
            self._survey.follow_attribute(member, self._method, self._trail)
        return value if named and not self._survey.assigned_on_self(member.cls, member.name) else UNKNOWN

    def _used(self, node: ast.expr, value: object, call: ast.Call | None) -> bool:
        """Judge one use of a value, and follow it where it leads. Whether there is nothing more to say."""
        if value is UNKNOWN:
            return False
        if isinstance(value, Member) and kept_outside(value.raw) and not self._survey.assigned_on_self(value.cls, value.name):
            value = value.raw
        rule = self._survey.table.rule(value)
        if rule is not None:
            self._judge(node, rule, call)
            return True
        # Named without being called, it is called later.
        early = self._early and call is not None
        if isinstance(value, (FunctionType, functools._lru_cache_wrapper)):
            for function in wrapped_in(value, value.__qualname__, self._survey.modules):
                self._survey.follow(Text(function), self._method, self._trail, early)
        elif isinstance(value, type) and call is None and not early:
            self._survey.met(value, self._method, self._trail)
        elif isinstance(value, Member) and isinstance(value.raw, classmethod):
            self._survey.met(value.cls, self._method, self._trail)
            for text in texts_of(value, self._survey.modules):
                self._survey.follow(text, self._method, self._trail, early)
        elif isinstance(value, type) and call is not None:
            self._survey.follow_constructor(value, self._method, self._trail, early)
        elif kept_outside(value) and not self._is_alias(node):
            code = kept_outside(value)
            what, instead = _KEPT_OUTSIDE[code]
            self._report(node, code, f"{ast.unparse(node)}, {what}", instead, None)
            return True
        elif isinstance(value, Member):
            self._survey.follow_attribute(value, self._method, self._trail)
        elif type(value) in (dict, list, tuple) and not self._is_alias(node):
            self._used_out_of(node, value)
        return False

    def _used_out_of(self, node: ast.expr, table: Any) -> None:
        """Judge the functions that a dict, a list or a tuple of a module has: one of them is called."""
        if package_of(self._names.module.get("__name__")) == "coopy":
            return  # What coopy looks up in its tables, to write a value, is for itself.
        held = [*table.values()] if isinstance(table, dict) else [*table]
        for value in held[:_TABLE_MAX]:
            rule = self._survey.table.rule(value) if callable(value) else None
            if rule is not None and rule.argument is None and not rule.only_called:
                what = f"{rule.name}, which {ast.unparse(node)} has"
                self._report(node, rule.code, what, rule.instead, None)
            elif isinstance(value, (FunctionType, functools._lru_cache_wrapper)):
                for function in wrapped_in(value, value.__qualname__, self._survey.modules):
                    self._survey.follow(Text(function), self._method, self._trail, False)
            elif isinstance(value, type):
                self._survey.met(value, self._method, self._trail)

    def _is_alias(self, node: ast.expr) -> bool:
        # rng = GENERATOR is found where it stands.
        return isinstance(node, ast.Name) and self._scope.home(node.id) is not None

    def _judge(self, node: ast.expr, rule: Rule, call: ast.Call | None) -> None:
        if call is None and rule.only_called:
            return
        if rule.argument is not None and (call is None or _given(call, rule.argument, rule.keyword)):
            # Named without being called, it will be given its argument later.
            if rule.given is not None:
                self._judge(node, rule.given, call)
            return
        if rule.code == OUTPUT and self._is_quiet(node):
            return
        if rule.code == IDENTITY and self._text is not None and self._text.name in _IDENTITY_METHODS:
            return
        early = self._early and call is not None and rule.code in ANSWERED
        self._report(node, START if early else rule.code, rule.name + "()" * (call is not None), rule.instead, call)

    def _report(self, node: ast.expr, code: str, what: str, instead: str, call: ast.Call | None) -> None:
        if call is None:
            instead = instead.removesuffix("({args})").removesuffix("()")
        elif "{args}" in instead:
            given = [*map(ast.unparse, call.args), *map(ast.unparse, call.keywords)]
            shown = ", ".join(given)
            instead = instead.replace("{args}", shown if len(shown) <= _ARGUMENTS_SHOWN_MAX else "...")
        for service in ("clock", "env"):
            if f"{{{service}}}" in instead:
                instead = self._reached(service, instead)
        if code == START:
            instead = self._made_by.replace("%s", instead)
        self._survey.report(self._file, node, code, self._method, what + self._trail, instead)

    def _reached(self, service: str, instead: str) -> str:
        text = self._text
        if text is not None and text.has_services and text.cls is self._survey.cls:
            if self._is_self(ast.Name(self._self_name, ast.Load())):
                return instead.replace(f"{{{service}}}", f"{self._self_name}._{service}")
        return instead.replace(f"{{{service}}}", service) + f" (from coopy import {service})"

    # --- sets

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self._iterated(node.iter)
        self.generic_visit(node)

    visit_AsyncFor = visit_For

    def visit_Starred(self, node: ast.Starred) -> None:
        if isinstance(node.ctx, ast.Load) and node not in self._unordered:
            self._iterated(node.value)
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:
        for element in node.elts:
            self.visit(element.value if isinstance(element, ast.Starred) else element)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        self._iterated(node.value)
        self.generic_visit(node)

    def _iterated(self, node: ast.expr) -> None:
        if node not in self._unordered and self._is_set(node):
            shown = ast.unparse(node)
            self._report(node, SET_ORDER, f"{shown}, a set", f"sorted({shown})", None)

    def _order_shown(self, node: ast.Call) -> None:
        """Judge a call by what it does with the order of what it is given."""
        builtin = self._builtin(node.func)
        if builtin in ("max", "min", "sorted") and any(keyword.arg == "key" for keyword in node.keywords):
            for argument in node.args[:1]:
                self._iterated(argument)  # Of those with the same key the first counts.
        elif builtin in _UNORDERED or self._changes_set(node.func):
            self._unordered.update(node.args)
        elif builtin in _ORDERED or self._is_of_itertools(node.func):
            if node in self._unordered:
                self._unordered.update(node.args)
            for argument in node.args:
                self._iterated(argument)
        elif isinstance(node.func, ast.Attribute):
            owner, name = node.func.value, node.func.attr
            if (
                (name == "join" and isinstance(owner, ast.Constant))
                or name in ("extend", "extendleft")
                or (name == "fromkeys" and self._builtin(owner) == "dict")
            ):
                for argument in node.args[:1]:
                    self._iterated(argument)
            elif name == "pop" and not node.args and self._is_set(owner):
                shown = ast.unparse(owner)
                self._report(node, SET_ORDER, f"{shown}.pop()", f"min({shown}), and remove that one", node)

    def _is_of_itertools(self, node: ast.expr) -> bool:
        if not isinstance(node, (ast.Name, ast.Attribute)):
            return False
        found = self._outside(node.value if isinstance(node, ast.Attribute) and node.attr == "from_iterable" else node)
        return isinstance(found, type) and found.__module__ == "itertools"

    def _changes_set(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Attribute) and node.attr in _SET_CHANGERS and self._is_set(node.value)

    def _is_set(self, node: ast.expr) -> bool:
        """Whether the value is seen to be a set, of what may be strings."""
        if isinstance(node, ast.Set):
            return not all(_is_number(element) for element in node.elts)
        if isinstance(node, ast.SetComp):
            return True
        if isinstance(node, ast.BinOp):
            either = node.left, node.right
            return isinstance(node.op, _SET_OPERATORS) and (any(map(self._is_set, either)) or any(map(_is_keys, either)))
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                return node.func.attr in _SET_METHODS and self._is_set(node.func.value)
            if self._builtin(node.func) not in _SET_MAKERS:
                return False
            made_of = node.args[0] if node.args else None
            return not (isinstance(made_of, ast.Call) and self._builtin(made_of.func) == "range")
        if isinstance(node, ast.Attribute):
            if self._cls is None or not self._is_self(node.value):
                return False
            return node.attr in self._survey.set_attributes(self._cls)
        return isinstance(node, ast.Name) and self._is_local_set(node.id)

    def _is_local_set(self, name: str) -> bool:
        home = self._scope.home(name)
        value = None if home is None else self._assigned_once(home, name)
        if home is None or not isinstance(value, ast.expr):
            return False
        made_of = value
        return self._standing_in(home, lambda: self._is_set(made_of), False)


def _is_slice(node: ast.expr) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice)


_PASSED_ON = frozenset({"enumerate", "iter", "list", "reversed", "sorted", "tuple", "zip"})


class _State:
    """Which expressions of a function stand for a part of the state of self."""

    def __init__(self, reader: Reader, node: FunctionNode) -> None:
        self._reader = reader
        self._values: dict[str, list[ast.expr | None]] = {each.arg: [None] for each in parameters_of(node.args)}
        for inner in ast.walk(node):
            if isinstance(inner, (ast.For, ast.AsyncFor, ast.comprehension)):
                self._bind(inner.target, _elements_of(inner.iter))
            elif isinstance(inner, ast.Assign):
                for target in inner.targets:
                    self._bind(target, inner.value)
            elif isinstance(inner, (ast.AnnAssign, ast.NamedExpr)):
                self._bind(inner.target, inner.value)
            elif isinstance(inner, (ast.AugAssign, ast.withitem)):
                made = inner.target if isinstance(inner, ast.AugAssign) else inner.optional_vars
                if made is not None:
                    self._bind(made, None)

    def _bind(self, target: ast.expr, value: ast.expr | None) -> None:
        for each in ast.walk(target):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                self._values.setdefault(each.id, []).append(value)

    def meant(self, node: ast.expr) -> ast.expr:
        """What a name is given, if that is one thing."""
        for _ in range(_DEPTH_MAX):
            found = self._values.get(node.id, []) if isinstance(node, ast.Name) else []
            if len(found) != 1 or found[0] is None:
                break
            node = found[0]
        return node

    def holds(self, node: ast.expr, depth: int = 0) -> bool:
        """Whether the value is self, or a part of its state."""
        if depth > _DEPTH_MAX:
            return False
        if isinstance(node, ast.Name):
            if self._reader._is_self(node):
                return True
            values = self._values.get(node.id, [None])
            return all(value is not None and self.holds(value, depth + 1) for value in values)
        if isinstance(node, ast.Attribute):
            return self.holds(node.value, depth + 1)
        if isinstance(node, ast.Subscript):
            # A slice is a copy.
            return not isinstance(node.slice, ast.Slice) and self.holds(node.value, depth + 1)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            is_element = node.func.attr in ("get", "items", "values") and not self._reader._is_self(owner)
            return is_element and self.holds(owner, depth + 1)
        return isinstance(node, ast.NamedExpr) and self.holds(node.value, depth + 1)


def _elements_of(node: ast.expr) -> ast.expr:
    """What holds the elements that a loop goes over."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _PASSED_ON and node.args:
        node = node.args[0]
    return node


def assigned_by(node: ast.AST) -> Iterator[ast.expr]:
    """What a statement assigns to, or deletes."""
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = node.targets
    elif isinstance(node, (ast.AugAssign, ast.For, ast.AsyncFor)) or (
        isinstance(node, ast.AnnAssign) and node.value is not None
    ):
        targets = [node.target]
    else:
        return
    while targets:
        target = targets[0]
        inside = target.elts if isinstance(target, (ast.Tuple, ast.List)) else []
        targets = [*inside, *targets[1:]]
        if not inside:
            yield target.value if isinstance(target, ast.Starred) else target


def body_of(node: FunctionNode) -> list[ast.AST]:
    return [node.body] if isinstance(node, ast.Lambda) else [*node.body]


_GENERATORS_OF_CHANCE = ("random.Random", "random.SystemRandom", "numpy.random.Generator", "numpy.random.RandomState")


def kept_outside(value: object) -> str:
    """The code of what goes on from where it was left, and is not in the state; empty for anything else."""
    if isinstance(value, functools.partial):
        return next(filter(None, map(kept_outside, (value.func, *value.args))), "")
    owner = value.__self__ if isinstance(value, (MethodType, BuiltinFunctionType, MethodWrapperType)) else value
    kind = type(owner)
    # Subclasses may be anything; coopy's own env is one.
    for dotted in _GENERATORS_OF_CHANCE:
        module, _, name = dotted.rpartition(".")
        if kind is getattr(sys.modules.get(module), name, None):
            return GENERATOR
    return ITERATOR if kind.__module__ in ("builtins", "itertools") and hasattr(kind, "__next__") else ""


def _is_of_a_system(value: object) -> bool:
    """Whether a value is a system that was opened, or stands for a part of one, as a queue of tasks does."""
    if issubclass(type(value), (type, FunctionType, ModuleType)):
        return False
    package, _, rest = str(type(value).__module__).partition(".")
    return hasattr(type(value), "_coopy_engine") or (package == "coopy" and rest.partition(".")[0] in OF_SYSTEMS)


def _is_of(value: object, module: str, name: str) -> bool:
    """Whether a function is that of this module."""
    return isinstance(value, FunctionType) and (value.__module__, value.__name__) == (module, name)


def _is_live_only(logger: Any) -> bool:
    """Whether what a logger is told while actions are replayed goes nowhere."""
    kind = getattr(sys.modules.get("coopy.ground.log"), "LiveOnly", None)
    if kind is None:
        return False
    logger = getattr(logger, "logger", logger)  # Of an adapter.
    handlers: list[Any] = []
    found = logger
    while found is not None:
        handlers += getattr(found, "handlers", ())
        found = getattr(found, "parent", None) if getattr(found, "propagate", False) else None
    asked = [[logger], *([handler] for handler in handlers)]
    says = [any(isinstance(each, kind) for each in getattr(one, "filters", ())) for (one,) in asked]
    return says[0] or (len(says) > 1 and all(says[1:]))


def _given(call: ast.Call, position: int, keyword: str) -> bool:
    """Whether the call has the argument. What * and ** hold cannot be told, and counts."""
    if any(isinstance(argument, ast.Starred) for argument in call.args):
        return True
    values = call.args[position : position + 1]
    values += [given.value for given in call.keywords if given.arg in (None, keyword)]
    return any(not (isinstance(value, ast.Constant) and value.value is None) for value in values)


def _is_keys(node: ast.expr) -> bool:
    """Whether an operand is the keys, or the items, of a dict: what comes of two of these is a set."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("keys", "items")


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float, complex))
