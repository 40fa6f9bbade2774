"""The functions of a class that are to be read: its methods, what decorators wrap, defaults and fields.

What they do is the reader's to say.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from types import (
    CellType,
    CodeType,
    FunctionType,
    MethodDescriptorType,
)

from coopy.decorators import ACTION, OUTSIDE, READONLY, READS
from coopy.determinism.modules import Home, read_classes
from coopy.determinism.names import UNKNOWN, Member

NUMBER_SETS = frozenset(
    f"{name}[{number}]"
    for name in ("set", "frozenset", "Set", "FrozenSet", "typing.Set", "typing.FrozenSet")
    for number in ("int", "float", "bool")
)
# Made before the system can give the object its clock; they reach it by import.
CONSTRUCTORS = ("__new__", "__init__", "__post_init__", "__attrs_post_init__")
# The methods that Cython, Nuitka and mypyc make, besides those of C.
_COMPILED = frozenset({"cython_function_or_method", "compiled_function"})


def is_compiled(owner: type, raw: object) -> bool:
    own = isinstance(raw, MethodDescriptorType) and raw.__objclass__ is owner
    return own or type(raw).__name__ in _COMPILED


class Text:
    """A function to be read, and what it is to the class it is read for."""

    def __init__(self, function: FunctionType, member: Member | None = None, is_readonly: bool = False) -> None:
        self.function = function
        self.code: CodeType = function.__code__
        self.file = self.code.co_filename
        self.member = member
        self.cls = None if member is None else member.cls
        self.owner = None if member is None else member.owner
        self.is_readonly = is_readonly
        raw = None if member is None else member.raw
        self.has_self = member is not None and not isinstance(raw, staticmethod)
        self.is_of_class = isinstance(raw, classmethod)
        self.is_kept = isinstance(raw, functools.cached_property)
        # Looking up in what makes what is missing is an action, as in a defaultdict.
        adds = member is not None and member.name == "__getitem__" and hasattr(member.cls, "__missing__")
        self.is_read = is_readonly or self.is_kept or (member is not None and member.name in READS and not adds)
        # Whether its object has its clock and env already: neither a class nor one being made has.
        self.has_services = (
            member is not None and not isinstance(raw, (staticmethod, classmethod)) and member.name not in CONSTRUCTORS
        )
        self.name = function.__name__
        if member is not None and self.name == "<lambda>":
            self.name = member.name

    @property
    def module(self) -> object:
        # functools.wraps copies __module__; the globals cannot be borrowed.
        return self.function.__globals__.get("__name__")

    @property
    def shown(self) -> str:
        if self.owner is not None:
            return f"{self.owner.__name__}.{self.name}"
        return self.function.__qualname__.rpartition("<locals>.")[2]

    def enclosed(self) -> dict[str, object]:
        """The variables it takes from the functions around it."""
        cells = zip(self.code.co_freevars, self.function.__closure__ or (), strict=True)
        return {name: content_of(cell) for name, cell in cells}


def methods_of(cls: type, modules: Home) -> Iterator[Text]:
    """Every method an object of the class has, those a subclass replaced left out."""
    readable = read_classes(cls)
    replaced: set[str] = set()
    for owner in cls.__mro__:
        if owner in readable:
            for name, raw in vars(owner).items():
                if name not in replaced:
                    yield from texts_of(Member(cls, owner, name, raw), modules)
        replaced.update(vars(owner))


def texts_of(member: Member, modules: Home) -> list[Text]:
    """The functions behind an attribute: a method, what decorators wrapped, the parts of a property."""
    raw = member.raw
    if isinstance(raw, property):
        parts = [part for part in (raw.fget, raw.fset, raw.fdel) if part is not None]
        found = [text for part in parts for text in texts_of(member._replace(raw=part), modules)]
        for text in found:
            text.is_read = text.function is raw.fget and not getattr(raw.fget, ACTION, False)
            text.member = member
        return found
    functions = wrapped_in(raw, f"{member.owner.__qualname__}.", modules)
    if any(OUTSIDE in _attributes_of(thing) for thing in (raw, *functions)):
        return []  # It is no part of an action, and never runs again.
    is_readonly = any(READONLY in _attributes_of(thing) for thing in (raw, *functions))
    texts = [Text(function, member, is_readonly) for function in functions]
    if any(ACTION in _attributes_of(thing) for thing in (raw, *functions)):
        for text in texts:
            text.is_read = text.is_kept = False
    # The methods that attrs writes hold what the fields say, which is read there.
    return [text for text in texts if text.module in modules and not text.file.startswith("<attrs generated")]


def wrapped_in(raw: object, path: str, modules: Home) -> list[FunctionType]:
    """A function, and those that decorators put inside it; ``path`` is how the names of those begin."""
    found: list[FunctionType] = []
    pending = [raw]
    while pending:
        thing = pending.pop()
        if isinstance(thing, FunctionType):
            if thing in found:
                continue
            found.append(thing)
            pending.append(getattr(thing, "__wrapped__", None))
            registry = _attributes_of(thing).get("registry")  # Of functools.singledispatch.
            pending += registry.values() if isinstance(registry, Mapping) else ()
            # A decorator that does not name what it wraps still holds it.
            foreign = thing.__globals__.get("__name__") not in modules
            for held in map(content_of, thing.__closure__ or ()):
                if isinstance(held, FunctionType) and (foreign or held.__qualname__.startswith(path)):
                    pending.append(held)
        elif isinstance(thing, (staticmethod, classmethod)):
            pending.append(thing.__func__)
        elif not isinstance(thing, type) and hasattr(type(thing), "__get__"):
            # functools.cached_property, partialmethod, lru_cache and their like.
            pending += [value for value in _attributes_of(thing).values() if isinstance(value, FunctionType)]
    return found


def _attributes_of(thing: object) -> Mapping[str, object]:
    # Asked in any other way, an object may answer what it likes, or raise.
    try:
        attributes = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return attributes if isinstance(attributes, Mapping) else {}


def content_of(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return UNKNOWN


def has_fields(cls: type) -> bool:
    return "__dataclass_fields__" in vars(cls) or "__attrs_attrs__" in vars(cls)


def defaults_of(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    with_default = positional[len(positional) - len(arguments.defaults) :]
    for parameter, value in zip(with_default, arguments.defaults, strict=True):
        yield parameter.arg, value
    for parameter, keyword_value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if keyword_value is not None:
            yield parameter.arg, keyword_value


def default_values(function: FunctionType) -> dict[str, object]:
    code, values = function.__code__, function.__defaults__ or ()
    positional = code.co_varnames[: code.co_argcount]
    return {**dict(zip(positional[len(positional) - len(values) :], values, strict=True)), **(function.__kwdefaults__ or {})}


def factories_of(cls: type) -> dict[str, object]:
    """What is called for the defaults of the fields of a dataclass or an attrs class."""
    found = {}
    for name, field in vars(cls).get("__dataclass_fields__", {}).items():
        found[name] = getattr(field, "default_factory", None)
    for field in vars(cls).get("__attrs_attrs__", ()):
        found[field.name] = getattr(field.default, "factory", None)
    return {name: value for name, value in found.items() if callable(value)}


def field_sets(cls: type) -> Iterator[tuple[str, bool]]:
    for name, field in getattr(cls, "__dataclass_fields__", {}).items():
        if getattr(field, "default_factory", None) in (set, frozenset):
            kind = field.type if isinstance(field.type, str) else repr(field.type)
            yield name, kind not in NUMBER_SETS
