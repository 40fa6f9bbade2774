"""Whether a function writes to the object that it is called on, told from its byte code and without running it. The module has
more than 500 lines because it goes through the instructions of five versions of Python in one walk.

What has the name of a read, or is read as an attribute, is recorded if it writes: see `coopy.spine.methods.kind_of`. The byte code
is looked at, and not the source, because it is what runs, and is there on every machine. Seen are attributes and items that are
assigned and deleted, on the object or on a part of it; methods of its parts that change a container; what the object's own
methods do, those that it inherits, its properties, and functions that are given the object. What a part of another class does is seen
where a method of the class has made that part by calling its class.

In doubt nothing is said, as in `coopy.determinism.check`: the marks `coopy.action` and `coopy.readonly` say it then.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

from coopy.decorators import ACTION, OUTSIDE, READONLY
from coopy.determinism.names import UNKNOWN, FunctionNode, Member, Names, attribute_of, parameters_of, statically
from coopy.determinism.parts import parts_of, tree_of
from coopy.determinism.reader import CHANGERS, assigned_by, body_of
from coopy.determinism.texts import content_of, default_values

_DEPTH_MAX = 12
"""A function that is called by so many others is not looked at."""
_MEANT_MAX = 10
"""A name that stands for another is followed so far."""
_IN_PLACE = frozenset(
    f"__i{name}__" for name in "add sub mul matmul truediv floordiv mod pow lshift rshift and xor or concat".split()
)
_MUTATORS = (
    CHANGERS | _IN_PLACE | frozenset("__setattr__ __delattr__ __init__ __setstate__ fromlist frombytes byteswap".split())
)
"""Methods in C that change their object."""
_GIVEN_FIRST = frozenset(
    "setattr delattr next heappush heappop heapify heapreplace heappushpop insort insort_left insort_right setitem delitem iadd "
    "iconcat ior shuffle".split()
)
"""Functions in C, or of the standard library, that change what they are given first."""
_MODULES = frozenset({"builtins", "heapq", "_heapq", "bisect", "_bisect", "operator", "_operator", "random"})
_PARTS = frozenset({"get", "items", "values", "setdefault", "__getitem__"})
"""Methods whose answer is a part of what they are called on."""
_ASKED_BY = {
    **dict.fromkeys(
        "all any dict enumerate filter frozenset iter list map max min reversed set sorted sum tuple zip".split(), "__iter__"
    ),
    **{name: f"__{name}__" for name in "abs bool bytes complex float format hash int len next reversed round str".split()},
    "ascii": "__repr__",
    "repr": "__repr__",
}
"""Builtins, and the method of what they are given that they call."""
_ONE_OF = frozenset({"max", "min", "next"})
"""Builtins that answer with an element of what they are given."""
_DRAWS = frozenset({"getrandbits", "random", "seed", "setstate"})
"""Methods of `random.Random` in C, which move it on."""
_VIEWS = frozenset({"collections.abc", "_collections_abc"})
_ASKED_BY_VIEWS = {"items": ("__iter__", "__getitem__"), "values": ("__iter__", "__getitem__"), "keys": ("__iter__",)}
"""What the views of a mapping call that is written in Python."""
_LOOPS = frozenset({"enumerate", "iter", "list", "reversed", "sorted", "tuple", "zip", "map", "filter"})


class Called(NamedTuple):
    """A function that is called with the object, or parts of it."""

    function: Any
    roots: Mapping[str, type | None]
    """Parameters that stand for the object, with its class; for a part of it, with None."""
    owner: type | None = None
    """The class that has the function in its body."""
    known: Mapping[str, Any] = {}
    """Parameters that stand for something else which is at hand."""


def written_by(cls: type, name: str, raw: Any) -> str:
    """Returns what a member of a class writes to its object when it is called, or read as an attribute, in words; empty if nothing is seen."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), cls)
    return Look().member(Member(cls, owner, name, raw), is_read=False)


def written_by_reading(cls: type, name: str, raw: Any) -> str:
    """Returns what reading an attribute writes to the object, in words, if the class has something of that name; empty if nothing is seen."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), cls)
    return Look().member(Member(cls, owner, name, raw), is_read=True)


def written_deeply_by_reading(cls: type, name: str, raw: Any) -> str:
    """Returns what `written_by_reading` does, apart from attributes of the object itself that are assigned: these can be put back."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), cls)
    return Look(deeply=True).member(Member(cls, owner, name, raw), is_read=True)


def may_add(cls: type) -> bool:
    """Whether looking up what is missing may add it, as in a defaultdict. A Counter answers 0, and adds nothing."""
    missing = statically(cls, "__missing__")
    return missing is not None and missing.owner is not Counter


def is_cached(raw: Any) -> bool:
    """Whether a member of a class is a method that keeps what it returns in a cache of the process."""
    return hasattr(raw, "cache_clear") and hasattr(raw, "__wrapped__")


def kept_by(function: FunctionType, cls: type, owner: type | None) -> str:
    """Returns what looking up writes to the object in a function: attributes that keep what they return, and items that are made when missing."""
    return Look(looking_up=True).function(function, cls, owner)


class Look:
    """One question, and the functions that were looked at to answer it."""

    def __init__(self, deeply: bool = False, looking_up: bool = False) -> None:
        self.deeply = deeply
        """Whether attributes of the object itself that are assigned count for nothing."""
        self.looking_up = looking_up
        """Whether only what is written by looking up counts."""
        self._seen: set[object] = set()
        self._giving: set[object] = set()
        self._depth = 0

    def gives(self, cls: type, name: str, elements: bool = False) -> bool:
        """Whether a method of the class returns a part of its object; with ``elements``, something that parts are in."""
        member = statically(cls, name)
        raw = None if member is None else getattr(member.raw, "__wrapped__", member.raw)
        key = raw, elements
        if (
            not isinstance(raw, FunctionType)
            or not raw.__code__.co_argcount
            or key in self._giving
            or len(self._giving) > _DEPTH_MAX
        ):
            return False
        self._giving.add(key)
        try:
            body = Body(self, Called(raw, {raw.__code__.co_varnames[0]: cls}, None if member is None else member.owner))
            return body.gives(elements)
        finally:
            self._giving.discard(key)

    def member(self, member: Member, is_read: bool) -> str:
        """What a member of a class writes when it is called on an object, or read on it."""
        raw, cls = member.raw, member.cls
        if isinstance(raw, (staticmethod, classmethod, type)):
            return ""
        if isinstance(raw, property) and type(raw).__get__ is property.__get__:
            marked = self._by_mark(raw.fget)
            if marked is None:
                return self.function(raw.fget, cls, member.owner)
            return f"{member.name}, a property" if marked else ""
        getter = getattr(type(raw), "__get__", None)
        if is_read and (isinstance(raw, FunctionType) or getter is None or callable(raw)):
            return ""  # A method, or a value.
        marked = self._by_mark(raw)
        if marked is not None:
            return f"{member.name}()" if marked else ""
        if isinstance(raw, FunctionType):
            return self.function(raw, cls, member.owner) or self._later(member)
        wrapped = getattr(raw, "__wrapped__", None)
        if callable(raw) and isinstance(wrapped, FunctionType):
            return self.function(wrapped, cls, member.owner)
        if callable(raw):
            return self._in_c(cls, member)
        return self._descriptor(raw, getter, cls, member.name) if isinstance(getter, FunctionType) else ""

    @staticmethod
    def _by_mark(function: Any) -> bool | None:
        if getattr(function, ACTION, False):
            return True
        return False if getattr(function, READONLY, False) or getattr(function, OUTSIDE, False) else None

    def _in_c(self, cls: type, member: Member) -> str:
        name = member.name
        if name == "__init__" and member.owner is object:
            return ""
        adds = name == "__getitem__" and may_add(cls)
        changes = name in _MUTATORS or (name in _DRAWS and member.owner.__module__ == "_random")
        return f"{name}()" if (changes and not self.looking_up) or adds else ""

    def function(self, body: Any, cls: type, owner: type | None) -> str:
        """What a function writes that is called with the object first."""
        if not isinstance(body, FunctionType):
            return ""
        code = body.__code__
        if not code.co_argcount:  # It may have *args alone, as wrappers do: the first of them is the object.
            return self.called(Called(body, {f"*{_rest_of(code)}": cls}, owner)) if code.co_flags & 4 else ""
        return self.called(Called(body, {code.co_varnames[0]: cls}, owner))

    def _later(self, member: Member) -> str:
        """What a view of a mapping writes while it is gone through."""
        asks = _ASKED_BY_VIEWS.get(member.name, ()) if member.owner.__module__ in _VIEWS else ()
        return next(filter(None, (self.special(member.cls, name) for name in asks)), "")

    def special(self, cls: type, name: str) -> str:
        """What a method of the class writes that is called by an operator, or by another method."""
        member = statically(cls, name)
        return "" if member is None else self.member(member, is_read=False)

    def _descriptor(self, raw: Any, getter: FunctionType, cls: type, name: str) -> str:
        names = getter.__code__.co_varnames
        if getter.__code__.co_argcount < 2:
            return ""
        # What the descriptor does is what looking up does.
        found = Look(self.deeply).called(Called(getter, {names[1]: cls}, None, {names[0]: raw}))
        return found and f"{name}, which keeps what it returns"

    def called(self, called: Called) -> str:
        """What a call of a function writes to the object."""
        key = called.function, frozenset(called.roots.items())
        if key in self._seen or self._depth > _DEPTH_MAX:
            return ""
        self._seen.add(key)
        self._depth += 1
        try:
            return Body(self, called).written()
        finally:
            self._depth -= 1


class Body:
    """The body of one function."""

    def __init__(self, look: Look, called: Called, node: FunctionNode | None = None) -> None:
        self._look = look
        self._called = called
        function = called.function
        self.node: FunctionNode = tree_of(function.__code__) if node is None else node
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
        self._names = Names(function.__globals__, {name: content_of(cell) for name, cell in cells})
        # What a parameter is by default it mostly is: some functions keep what they use there.
        self._known = {**default_values(function), **called.known}
        self._values: dict[str, list[ast.expr | None]] = {each.arg: [None] for each in parameters_of(self.node.args)}
        self._inner: dict[str, FunctionNode] = {}
        calls: list[ast.Call] = []
        for inner in ast.walk(self.node):
            if isinstance(inner, ast.Assign):
                for target in inner.targets:
                    self._bind(target, inner.value)
            elif isinstance(inner, ast.AugAssign):
                self._bind(inner.target, None)
            elif isinstance(inner, ast.FunctionDef) and inner is not self.node:
                self._inner[inner.name] = inner
            elif isinstance(inner, ast.Call):
                calls.append(inner)
        for call in calls if self._inner else ():
            function_called = self._inner.get(call.func.id) if isinstance(call.func, ast.Name) else None
            for parameter, value in zip(function_called.args.args if function_called else (), call.args, strict=False):
                self._values.setdefault(parameter.arg, []).append(value)
        self._assumed: dict[str, bool] = {}
        """Of names that are being looked into, whether they stand for parts of the object."""
        self._asked: set[str] = set()
        """Names of which the classes are being looked for."""

    @property
    def roots(self) -> Mapping[str, type | None]:
        """The names that stand for the object, or a part of it."""
        return self._called.roots

    def _bind(self, target: ast.expr, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            self._values.setdefault(target.id, []).append(value)

    def returned(self) -> list[ast.expr]:
        """What the function itself returns."""
        found: list[ast.expr] = []
        pending: list[ast.AST] = body_of(self.node)
        while pending:
            inner = pending.pop()
            if isinstance(inner, ast.Return) and inner.value is not None:
                found.append(inner.value)
            if isinstance(inner, ast.stmt) and not isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
                pending += ast.iter_child_nodes(inner)
        return found

    def gives(self, elements: bool) -> bool:
        """Whether the function returns, or yields, a part of the object; with ``elements``, something that parts are in."""
        found = self.returned()
        if elements:
            found += [inner.value for inner in _own(self.node) if isinstance(inner, ast.Yield) and inner.value is not None]
        is_part = self._holds_elements if elements else self.holds
        passed_on = [inner.value for inner in _own(self.node) if elements and isinstance(inner, ast.YieldFrom)]
        return any(self.root(value) is None and is_part(value) for value in found) or any(map(self._holds_elements, passed_on))

    def written(self) -> str:
        """What the function writes to the object, in words; empty if nothing is seen."""
        return self.written_in(self.node)

    def written_in(self, node: ast.AST) -> str:
        """As `written`, of a function inside of it."""
        for inner in ast.walk(node):
            for target in () if self._look.looking_up else assigned_by(inner):
                if isinstance(target, (ast.Attribute, ast.Subscript)) and self.holds(target.value):
                    if not (self._look.deeply and self._is_own_attribute(target)):
                        return ast.unparse(target)
            found = ""
            if isinstance(inner, ast.AugAssign) and isinstance(inner.target, ast.Name) and not self._look.looking_up:
                found = self._of_list_in_place(inner.target)
            elif isinstance(inner, ast.Call):
                found = self._of_call(inner)
            elif isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Load):
                found = self._of_reading(inner)
            elif isinstance(inner, ast.Subscript) and isinstance(inner.ctx, ast.Load):
                found = self._of_lookup(inner)
            elif isinstance(inner, ast.Compare) and isinstance(inner.ops[0], (ast.In, ast.NotIn)):
                found = self._special(inner.comparators[0], "__contains__")
            elif isinstance(inner, ast.For):
                found = self._special(inner.iter, "__iter__")
            if found:
                return found
        return ""

    def _is_own_attribute(self, target: ast.Attribute | ast.Subscript) -> bool:
        """Whether an attribute of the object itself is assigned, or an entry of its ``__dict__``."""
        owner = self.meant(target.value)
        if isinstance(target, ast.Attribute):
            return self.root(owner) is not None
        is_dict = isinstance(owner, ast.Attribute) and owner.attr == "__dict__" and self.root(owner.value) is not None
        is_vars = isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == "vars"
        return is_dict or is_vars

    # -- what stands for the object

    def meant(self, node: ast.expr) -> ast.expr:
        """What a name is given, if that is one thing."""
        for _ in range(_MEANT_MAX):
            node = _as_attribute(node)
            found = self._values.get(node.id, []) if isinstance(node, ast.Name) and node.id not in self._called.roots else []
            if len(found) != 1 or found[0] is None:
                break
            node = found[0]
        return node

    def root(self, node: ast.expr) -> type | None:
        """The class of the object, if an expression stands for it."""
        node = self.meant(node)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and isinstance(node.slice, ast.Constant):
            # What a wrapper with nothing but *args is called on is the first of them.
            return self._called.roots.get(f"*{node.value.id}") if node.slice.value == 0 else None
        return self._called.roots.get(node.id) if isinstance(node, ast.Name) else None

    def holds(self, node: ast.expr, depth: int = 0) -> bool:
        """Whether the value is the object, or a part of it."""
        node = _as_attribute(node)
        if depth > _MEANT_MAX:
            return False
        if isinstance(node, ast.Name):
            return node.id in self._called.roots or self._is_given_parts(node.id, depth)
        if isinstance(node, ast.Attribute):
            return node.attr != "__class__" and self.holds(node.value, depth + 1)
        if isinstance(node, ast.Subscript):
            # A slice is a copy.
            return (
                self.root(node) is not None
                or not isinstance(node.slice, ast.Slice)
                and self._holds_elements(node.value, depth + 1)
            )
        if isinstance(node, (ast.BoolOp, ast.IfExp)):
            either = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
            return any(self.holds(each, depth + 1) for each in either)
        if isinstance(node, ast.NamedExpr):
            return self.holds(node.value, depth + 1)
        return isinstance(node, ast.Call) and self._is_answered_with_part(node, depth)

    def _is_given_parts(self, name: str, depth: int) -> bool:
        """Whether a name stands for a part of the object whenever it is given anything but a constant, or an argument."""
        if name in self._assumed:
            return self._assumed[name]
        values = [value for value in self._values.get(name, ()) if value is not None and not isinstance(value, ast.Constant)]
        try:
            # In a loop, as in ``node = node.next``, it may be given something of itself: what else it is given decides.
            self._assumed[name] = False
            if not any(self.holds(value, depth + 1) for value in values):
                return False
            self._assumed[name] = True
            return all(self.holds(value, depth + 1) for value in values)
        finally:
            del self._assumed[name]

    def _is_answered_with_part(self, node: ast.Call, depth: int) -> bool:
        """Whether what a call answers with is a part of the object."""
        func, args = node.func, node.args
        if isinstance(func, ast.Name):
            is_own = func.id not in self._values and func.id not in self._inner
            if func.id in ("vars", "getattr") and args:
                return is_own and self.holds(args[0], depth + 1)
            return is_own and func.id in _ONE_OF and bool(args) and self._holds_elements(args[0], depth + 1)
        if not isinstance(func, ast.Attribute):
            return False
        owner = func.value
        cls = self.root(owner)
        if func.attr == "__getattribute__":
            return self._is_super(owner) or cls is not None or (bool(args) and self.holds(args[0], depth + 1))
        if func.attr in _PARTS and args and isinstance(self.resolve(owner), type):
            return self.holds(args[0], depth + 1)
        if cls is not None and (func.attr not in _PARTS or self._is_written_in_python(owner, func.attr)):
            return self._look.gives(cls, func.attr)
        return func.attr in _PARTS and (self._is_super(owner) or self.holds(owner, depth + 1))

    def _holds_elements(self, node: ast.expr, depth: int = 0) -> bool:
        """Whether what an expression is made of are parts of the object."""
        node = self.meant(self._looped(self.meant(node)))
        if depth > _MEANT_MAX:
            return False
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return any(self.holds(each, depth + 1) for each in node.elts)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self._inner:
            return self._holds_yielded(self._inner[node.func.id], depth)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and (cls := self.root(node.func.value)) is not None
        ):
            if node.func.attr not in _PARTS or self._is_written_in_python(node.func.value, node.func.attr):
                return self._look.gives(cls, node.func.attr) or self._look.gives(cls, node.func.attr, elements=True)
        return self.holds(node, depth + 1)

    def _holds_yielded(self, inner: FunctionNode, depth: int) -> bool:
        """Whether what a comprehension, or a generator in the function, makes is made of parts of the object."""
        found: list[ast.expr] = []
        for each in _own(inner):
            if isinstance(each, ast.Yield) and each.value is not None:
                found.append(each.value)
            elif isinstance(each, ast.Return) and isinstance(each.value, (ast.List, ast.Set)):
                found += each.value.elts
        return any(self.holds(value, depth + 1) for value in found)

    def _looped(self, node: ast.expr) -> ast.expr:
        """What holds the elements that a loop goes over."""
        while isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _LOOPS and node.args:
            node = node.args[-1] if node.func.id in ("map", "filter") else node.args[0]
        return node

    def _is_written_in_python(self, owner: ast.expr, name: str) -> bool:
        """Whether the object's own class says what a method returns: it may be anything."""
        cls = self.root(owner)
        member = None if cls is None else statically(cls, name)
        return (
            member is not None
            and isinstance(member.raw, FunctionType)
            and not member.owner.__module__.startswith("collections")
        )

    @staticmethod
    def _is_super(node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"

    def resolve(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name) and node.id in self._known:
            return self._known[node.id]
        if isinstance(node, ast.Name):
            return UNKNOWN if node.id in self._values else self._names[node.id]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "type" and len(node.args) == 1:
            return self.root(node.args[0]) or UNKNOWN
        if not isinstance(node, ast.Attribute):
            return UNKNOWN
        if node.attr == "__class__" and (cls := self.root(node.value)) is not None:
            return cls
        if isinstance(node.value, ast.Name) and node.value.id in self._known:
            return _at_hand(self._known[node.value.id], node.attr)
        return attribute_of(self.resolve(node.value), node.attr)

    # -- what is done with it

    def _of_reading(self, node: ast.Attribute) -> str:
        cls = self.root(node.value)
        member = None if cls is None else statically(cls, node.attr)
        return "" if member is None else self._look.member(member, is_read=True)

    def _of_lookup(self, node: ast.Subscript) -> str:
        part = self.meant(node.value)
        if (
            isinstance(part, ast.Attribute)
            and (cls := self.root(part.value)) is not None
            and not isinstance(node.slice, ast.Slice)
        ):
            made = parts_of(cls).classes.get(part.attr)
            if made is not None and made.__name__ == "defaultdict":
                return f"{ast.unparse(node)}, where looking up may add"
        return self._special(node.value, "__getitem__")

    def _special(self, node: ast.expr, name: str) -> str:
        """What an operator writes that the object itself is given."""
        cls = self.root(node)
        return "" if cls is None else self._look.special(cls, name)

    def _of_call(self, node: ast.Call) -> str:
        func = self.meant(node.func)
        if isinstance(func, ast.Attribute):
            if self._is_super(func.value):
                return self._inherited(func.attr)
            cls = self.root(func.value)
            if cls is not None:
                return self._look.special(cls, func.attr) or self._of_callbacks(node)
            if self.holds(func.value):
                found = self._of_part(func)
                is_change = func.attr in CHANGERS | _IN_PLACE and not self._look.looking_up
                return ast.unparse(func) + "()" if is_change else found or self._of_callbacks(node)
        if isinstance(func, ast.Call):
            found = self._of_callbacks(func)
            return found or ("" if self._look.looking_up else self._of_bound(func))
        if (cls := self.root(func)) is not None:
            return self._look.special(cls, "__call__")
        value = self.resolve(func)
        asked = _ASKED_BY.get(getattr(value, "__name__", ""), "") if getattr(value, "__module__", "") == "builtins" else ""
        found = self._special(node.args[0], asked) if asked and node.args else ""
        return found or self._given(value, func, node) or self._of_callbacks(node)

    def _of_callbacks(self, node: ast.Call) -> str:
        """What is written by the methods of the object, and of its parts, that a call is given to call."""
        for value in (*node.args, *(keyword.value for keyword in node.keywords)):
            func = self.meant(value)
            if not isinstance(func, ast.Attribute):
                continue
            cls = self.root(func.value)
            if cls is not None:
                member = statically(cls, func.attr)
                found = self._look.member(member, is_read=False) if member and isinstance(member.raw, FunctionType) else ""
            else:
                is_change = func.attr in CHANGERS | _IN_PLACE and not self._look.looking_up
                found = ast.unparse(func) + "()" if is_change and self.holds(func.value) else ""
            if found:
                return found
        return ""

    def _of_list_in_place(self, target: ast.Name) -> str:
        """What ``+=`` changes of the object that is done to a name: a list, and not a number."""
        for value in self._values.get(target.id, ()):
            part = None if value is None else self.meant(value)
            cls = self.root(part.value) if isinstance(part, ast.Attribute) else None
            if cls is not None and isinstance(part, ast.Attribute) and part.attr in parts_of(cls).containers:
                return ast.unparse(part)
        return ""

    def _of_bound(self, func: ast.Call) -> str:
        """What is written by what ``object.__setattr__.__get__(self)`` gives."""
        got = self.resolve(func.func)
        setter = getattr(getattr(got, "__self__", None), "__name__", "") if getattr(got, "__name__", "") == "__get__" else ""
        is_own = bool(func.args) and self.holds(func.args[0])
        return ast.unparse(func.args[0]) if is_own and setter in ("__setattr__", "__delattr__") else ""

    def _of_part(self, func: ast.Attribute) -> str:
        """What a method of a part writes, if a method of the class has made the part by calling its class."""
        return next(filter(None, (self._look.special(made, func.attr) for made in self._classes_of(func.value))), "")

    def _classes_of(self, node: ast.expr, depth: int = 0) -> Iterator[type]:
        """The classes of what a part may be."""
        node = self.meant(node)
        if depth > _MEANT_MAX:
            return
        if isinstance(node, ast.Attribute):
            cls = self.root(node.value)
            for owner in [cls] if cls is not None else self._classes_of(node.value, depth + 1):
                made = parts_of(owner).classes.get(node.attr)
                yield from [] if made is None else [made]
        elif isinstance(node, ast.BoolOp):
            for value in node.values:
                yield from self._classes_of(value, depth + 1)
        elif isinstance(node, ast.Name) and node.id not in self._asked:
            self._asked.add(node.id)
            for given in self._values.get(node.id, ()):
                yield from [] if given is None else self._classes_of(given, depth + 1)
            self._asked.discard(node.id)
        else:
            yield from self._classes_of_element(node, depth)

    def _classes_of_element(self, node: ast.expr, depth: int) -> Iterator[type]:
        while (taken := _taken_from(node)) is not None:
            # Of an item, the loop and the view it comes from; a pair of one is looked through.
            node = self.meant(self._looped(self.meant(taken)))
        cls = self.root(node.value) if isinstance(node, ast.Attribute) else None
        if isinstance(node, ast.Attribute):
            for owner in [cls] if cls is not None else self._classes_of(node.value, depth + 1):
                yield from parts_of(owner).items.get(node.attr, ())

    def _inherited(self, name: str) -> str:
        cls = next((each for each in self._called.roots.values() if each is not None), None)
        owner = self._called.owner
        if cls is None or owner not in cls.__mro__:
            return ""
        for base in cls.__mro__[cls.__mro__.index(owner) + 1 :]:
            if name in vars(base):
                return self._look.member(Member(cls, base, name, vars(base)[name]), is_read=False)
        return ""

    def _given(self, value: Any, func: ast.expr, node: ast.Call) -> str:
        """What a function writes to what it is given of the object."""
        given = {place: self.root(arg) for place, arg in enumerate(node.args) if self.holds(arg)}
        named = {each.arg: self.root(each.value) for each in node.keywords if each.arg and self.holds(each.value)}
        stars = [arg for arg in node.args if isinstance(arg, ast.Starred)]
        if stars and f"*{_name_in(stars[0])}" in self._called.roots:
            given[0] = self._called.roots[f"*{_name_in(stars[0])}"]
        if not given and not named:
            return ""
        is_change = not self._look.looking_up
        if is_change and isinstance(func, ast.Attribute) and func.attr in ("__setattr__", "__delattr__") and 0 in given:
            return ast.unparse(node.args[0])
        if isinstance(value, Member):
            if not isinstance(func, ast.Attribute) or not isinstance(self.resolve(func.value), type):
                return ""  # That of another object, which is given this one.
            cls = given.get(0)
            if 0 in given and cls is None and value.name in _MUTATORS and not isinstance(value.raw, FunctionType) and is_change:
                return ast.unparse(node.args[0])
            return "" if cls is None else self._look.member(value._replace(cls=cls), is_read=False)
        if isinstance(value, MethodType):
            value, given = value.__func__, {place + 1: cls for place, cls in given.items()}
        name = getattr(value, "__name__", "")
        if name in _GIVEN_FIRST and getattr(value, "__module__", "") in _MODULES:
            return ast.unparse(node.args[0]) if 0 in given and is_change else ""
        if not isinstance(value, FunctionType):
            return ""
        if 0 in given and (marked := self._look._by_mark(value)) is not None:
            return f"{name}()" if marked else ""
        names = value.__code__.co_varnames[: value.__code__.co_argcount]
        roots = {names[place]: cls for place, cls in given.items() if place < len(names)}
        roots.update({name: cls for name, cls in named.items() if name in value.__code__.co_varnames})
        if not roots and 0 in given and value.__code__.co_flags & 4:
            roots = {f"*{_rest_of(value.__code__)}": given[0]}
        owner = next((base for base in (given.get(0) or object).__mro__ if vars(base).get(name) is value), None)
        return self._look.called(Called(value, roots, owner))


def _rest_of(code: CodeType) -> str:
    """The name of the parameter that takes all other positional arguments."""
    return code.co_varnames[code.co_argcount + code.co_kwonlyargcount]


def _name_in(node: ast.Starred) -> str:
    return node.value.id if isinstance(node.value, ast.Name) else ""


def _as_attribute(node: ast.expr) -> ast.expr:
    """``getattr(it, "name")`` as ``it.name``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr" and len(node.args) > 1:
        name = node.args[1]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            return ast.Attribute(value=node.args[0], attr=name.value, ctx=ast.Load())
    return node


def _taken_from(node: ast.expr) -> ast.expr | None:
    """What an element is taken from; None if an expression takes none."""
    if isinstance(node, ast.Subscript):
        return node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _PARTS:
        return node.func.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ONE_OF and node.args:
        return node.args[0]
    return None


def _own(node: FunctionNode) -> Iterator[ast.AST]:
    """What a function has in it, without the functions inside of it."""
    pending = body_of(node)
    while pending:
        inner = pending.pop()
        if not isinstance(inner, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            yield inner
            pending += ast.iter_child_nodes(inner)


def _at_hand(value: Any, name: str) -> Any:
    """An attribute of an object, with no descriptor run."""
    held = getattr(value, "__dict__", {})
    if name in held:
        return held[name]
    member = statically(type(value), name)
    return UNKNOWN if member is None or not isinstance(member.raw, FunctionType) else MethodType(member.raw, value)
