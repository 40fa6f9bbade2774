"""What is read on a system as an attribute: values, what writes while it is read, and callables that change the state.

Most attributes are values, and are read as they are. Three kinds are not:

* What keeps what it returns (a `functools.cached_property`, a ``__getattr__`` or the getter of a property that assigns) writes. If it
  would write now, reading it is an action, `READING`, whose replay reads it again: so the live state and the restored one agree.
* A callable that the object has, or a property gives, and that reaches the state (a bound method, a `functools.partial`
  of one, a closure over the object) is called by the name of the attribute, as an action. What is read is a `Trigger`.
* An attribute of the object that hides a method of its class is what Python calls, so it is read as an attribute too.

docs/design/026-reads-that-write.md says why.
"""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Callable, Collection, ItemsView, Iterator, KeysView, Mapping, ValuesView
from datetime import date, datetime, timedelta
from enum import Enum
from functools import lru_cache, partial
from types import (
    BuiltinMethodType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any, cast

from coopy.decorators import ACTION, OUTSIDE, READONLY, READS
from coopy.determinism.modules import is_of_stdlib, package_of
from coopy.spine.methods import LIBRARY_READS, Function, Method, functions_of, kind_of, raw_of, statics_of, what_is_written

__coopy_inside__ = True  # See `coopy.spine.calling`.
READING = "__getattribute__"
"""Name of the action that reads an attribute, which is its argument."""
STORED, TRIED, RECORDED = "stored", "tried", "recorded"
"""How an attribute is read: it writes unless it is there; it writes if it turns out to; it writes."""
_NODES_MAX = 200
"""So many objects that a callable holds are looked at for the object of the system."""
_CLASSES_MAX = 1_000
"""What is known of so many classes is kept."""
_IMMUTABLE = (str, bytes, int, float, complex, bool, type(None), frozenset, tuple, range, type, ModuleType, CodeType)
_CONTAINERS = (list, dict, set, bytearray)
PART = "part"
"""The kind of what is given out as a part of the state: see `coopy.spine.parts`."""
VALUES = frozenset({int, str, float, bool, bytes, type(None), complex, range, datetime, date, timedelta})
"""Types whose objects never change; most values are of one of these."""
_UNCHANGING: tuple[Any, ...] = (*VALUES, tuple, frozenset, type, BaseException, Enum)
_CHANGING: tuple[Any, ...] = (*_CONTAINERS, deque, array, KeysView, ItemsView, ValuesView)
_OF_STATES = frozenset({"collections", "random", "configparser", "graphlib"})
"""Modules of Python's own whose objects are kept as state and change. What others make is a value, or belongs to the process."""


@lru_cache(_CLASSES_MAX)
def is_of_parts(cls: Any) -> bool:
    """Whether objects of a class may change, and are given out as parts of the state.

    Not so are frozen dataclasses, what is of C and no container, and what belongs to this package: its containers refuse to be changed by
    themselves.
    """
    module = cls.__module__.partition(".")[0]
    if module == "coopy" or hasattr(cls, "_coopy_engine"):
        return False
    if issubclass(cls, _CHANGING) or cls is SimpleNamespace:
        return True
    if issubclass(cls, _UNCHANGING):
        return False
    if module in sys.stdlib_module_names and module not in _OF_STATES:
        return False
    if getattr(getattr(cls, "__dataclass_params__", None), "frozen", False):
        return False
    members = (raw for base in cls.__mro__ if base is not object for raw in vars(base).values())
    return any(isinstance(raw, (FunctionType, MemberDescriptorType)) for raw in members) or "__dict__" in dir(cls)


class Unrecorded(Exception):
    """Reading an attribute has written, or would; it was put back. Told to who reads, and to nobody else."""


# -- attributes that write


class _Others(dict[str, str]):
    """As a dict of how attributes are read, of a class that has something to say of any name."""

    def __init__(self, known: Mapping[str, str], how: str, plain: frozenset[str]) -> None:
        super().__init__(known)
        self._how = how
        self._plain = plain

    def __contains__(self, name: object) -> bool:
        return name not in self._plain and not (isinstance(name, str) and name.startswith("__"))

    def __missing__(self, name: str) -> str:
        return self._how


@lru_cache(_CLASSES_MAX)
def care_of(cls: Any) -> Mapping[str, str]:
    """Returns how attributes of a class are read that may write while they are, by name."""
    members = _members_of(cls)
    found = {name: how for name, raw in members.items() if (how := _how_read(cls, name, raw))}
    for name in ("__getattribute__", "__getattr__"):
        raw = members.get(name)
        written = what_is_written(cls, name, raw)
        if written and name == "__getattribute__":
            return _Others(found, RECORDED, frozenset())
        if written:
            plain = (each for each, other in members.items() if not isinstance(other, MemberDescriptorType))
            return _Others(found, STORED, frozenset(plain) - set(found))
    return found


def _members_of(cls: type) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base is not object:
            members.update(vars(base))
    return members


def _how_read(cls: type, name: str, raw: Any) -> str:
    """How an attribute of a class is read, if it may write; empty if it does not."""
    if name.startswith("__") or isinstance(raw, (FunctionType, staticmethod, classmethod, type, MemberDescriptorType)):
        return ""
    if not hasattr(type(raw), "__get__") or isinstance(raw, GetSetDescriptorType) or callable(raw):
        return ""
    if callable(getattr(cls, name, None)) and not isinstance(raw, property):
        return ""  # functools.partialmethod and its like.
    getter = getattr(raw, "fget", raw)
    if getattr(getter, ACTION, False):
        return RECORDED
    if getattr(getter, READONLY, False):
        return ""
    # It reads byte code, which takes modules that `import coopy` does without.
    from coopy.determinism.writes import written_by_reading, written_deeply_by_reading

    if not written_by_reading(cls, name, raw):
        return "" if isinstance(raw, property) or hasattr(type(raw), "__set__") else TRIED
    if not hasattr(type(raw), "__set__"):
        return STORED
    return RECORDED if written_deeply_by_reading(cls, name, raw) else TRIED


def read_attribute(domain: Any, name: str) -> Any:
    """An attribute; of a callable that reaches the state, the name by which it is called."""
    value = getattr(domain, name)
    cls: Any = type(value)
    if cls in VALUES:
        return value
    if callable(value):
        return _bound(domain, name, value)
    return Bound(name, PART, value) if (cls is tuple or is_of_parts(cls)) and value is not domain else value


def made_attribute(domain: Any, name: str) -> Any:
    """An attribute that is read as an action, as it is; of a callable that reaches the state, the name by which it is called."""
    value = getattr(domain, name)
    return _bound(domain, name, value) if callable(value) else value


def stored_attribute(domain: Any, name: str) -> Any:
    """An attribute that the object has. Raises `Unrecorded` if it would have to be made."""
    if name not in getattr(domain, "__dict__", ()):
        raw = raw_of(type(domain), name)
        if not isinstance(raw, MemberDescriptorType):
            raise Unrecorded(name)
        try:
            object.__getattribute__(domain, name)
        except AttributeError:
            raise Unrecorded(name) from None
    return read_attribute(domain, name)


def tried_attribute(domain: Any, name: str) -> Any:
    """An attribute. Raises `Unrecorded` if reading it has changed attributes of the object, which are put back."""
    held = _Held(domain)
    try:
        return read_attribute(domain, name)
    finally:
        if held.put_back():
            raise Unrecorded(name)


def peeked_attribute(domain: Any, name: str) -> Any:
    """An attribute; what attributes of the object reading it has changed is put back."""
    held = _Held(domain)
    try:
        return read_attribute(domain, name)
    finally:
        held.put_back()


READ = Method(READING, made_attribute, ("name",))
READERS: dict[str, Function] = {"": read_attribute, STORED: stored_attribute, TRIED: tried_attribute}
"""What reads an attribute, by how it is read."""
ATTRIBUTES = frozenset({getattr, made_attribute, read_attribute, stored_attribute, tried_attribute, peeked_attribute})
"""The functions that read an attribute."""


class _Held:
    """The attributes that an object has."""

    def __init__(self, domain: Any) -> None:
        self._domain = domain
        self._values = dict(self._now())

    def _now(self) -> Iterator[tuple[str, Any]]:
        yield from getattr(self._domain, "__dict__", {}).items()
        cls: Any = type(self._domain)
        for name in _slots_of(cls):
            try:
                yield name, object.__getattribute__(self._domain, name)
            except AttributeError:
                continue

    def put_back(self) -> bool:
        """Has the object have these again. Returns whether it had others."""
        now, before, domain = dict(self._now()), self._values, self._domain
        others = [name for name in {**before, **now} if name not in now or name not in before or now[name] is not before[name]]
        for name in others:
            if name in before:
                object.__setattr__(domain, name, before[name])
            elif name in getattr(domain, "__dict__", ()):
                del domain.__dict__[name]
            else:
                object.__delattr__(domain, name)
        return bool(others)


@lru_cache(_CLASSES_MAX)
def _slots_of(cls: Any) -> tuple[str, ...]:
    return tuple(name for base in cls.__mro__ for name, raw in vars(base).items() if isinstance(raw, MemberDescriptorType))


# -- callables that change the state


class Bound:
    """A callable that was read on the object of a system, and is called by its name; or a part of the state, of the kind `PART`.

    In another process the callable is known by name alone, and of a part a copy is there.
    """

    __slots__ = ("name", "kind", "value")

    def __init__(self, name: str, kind: str, value: Any = None) -> None:
        self.name = name
        self.kind = kind
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return (_itself, (self.value,)) if self.kind == PART else (Bound, (self.name, self.kind))


def _itself(value: Any) -> Any:
    return value


def call_attribute(domain: Any, name: str, /, *args: Any, **kwargs: Any) -> Any:
    """Calls an attribute."""
    return getattr(domain, name)(*args, **kwargs)


def called_by_name(domain: Any, name: str) -> Function:
    """What calls whatever an object has by that name when the call comes."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(domain, name)(*args, **kwargs)

    return call


@lru_cache(_CLASSES_MAX)
def method_by_name(name: str) -> Method:
    """What an engine is told of a callable that is called by the name of an attribute."""

    def call(domain: Any, /, *args: Any, **kwargs: Any) -> Any:
        return getattr(domain, name)(*args, **kwargs)

    return Method(name, call)


def _bound(domain: Any, name: str, value: Any) -> Any:
    cls: Any = type(value)
    kind = "" if value is domain else kind_of_callable(value, domain) or PART * does_more_than_be_called(cls)
    return Bound(name, kind, value) if kind else value


@lru_cache(_CLASSES_MAX)
def does_more_than_be_called(cls: Any) -> bool:
    """Whether objects of a class that can be called have other methods, too, and are parts of the state."""
    return is_of_parts(cls) and any(name != "__call__" for name in functions_of(cls))


def kind_of_callable(value: Any, owner: Any) -> str:
    """What a call of a callable is that was read on an object: "action", "read" or "outside"; empty if it does not reach the object."""
    return _kind_of_callable(value, owner, _NODES_MAX)


def _kind_of_callable(value: Any, domain: Any, depth: int) -> str:
    """What a call of a callable of the object is: "action", "read" or "outside"; empty if it does not reach the state."""
    if depth <= 0 or isinstance(value, type):
        return ""
    if isinstance(value, (MethodType, BuiltinMethodType, MethodWrapperType)):
        return _kind_of_method(value, domain)
    if isinstance(value, partial):
        found = _kind_of_callable(value.func, domain, depth // 2)
        is_given = any(_reaches(each, domain) or _is_part(each) for each in (*value.args, *value.keywords.values()))
        return found or _marked(value.func) * is_given
    if isinstance(value, FunctionType):
        held = [*_contents(value), *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        is_one = _keeps_count(value.__code__) or any(_reaches(each, domain) or _is_part(each) for each in held)
        return _marked(value) * is_one
    wrapped = _held_by(value, "__wrapped__")
    if wrapped is not None and callable(wrapped):
        return _kind_of_callable(wrapped, domain, depth // 2)
    raw = raw_of(type(value), "__call__")
    if not isinstance(raw, FunctionType):
        return ""
    changes = bool(what_is_written(type(value), "__call__", raw)) or _reaches(value, domain)
    return _marked(raw) * changes


def _kind_of_method(value: Any, domain: Any) -> str:
    owner = value.__self__
    if owner is domain:
        name, cls = value.__name__, type(domain)
        function = functions_of(cls).get(name)
        if function is not None and getattr(value, "__func__", function) is function:
            kind = kind_of(cls, name, function)
            return "read" if kind in ("read", "free") else kind
        return _marked(value)
    if isinstance(owner, _IMMUTABLE) or value.__name__ in READS or value.__name__ in LIBRARY_READS:
        return ""
    return _marked(value)


def _marked(function: Any) -> str:
    if _held_by(function, OUTSIDE):
        return "outside"
    return "read" if _held_by(function, READONLY) else "action"


def _held_by(value: Any, name: str) -> Any:
    """An attribute that an object itself has; None if it has none. Asked in any other way, it may answer what it likes, or raise."""
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return None


def _contents(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            continue  # It has none yet.


def _keeps_count(code: CodeType) -> bool:
    """Whether a function assigns to a variable of a function around it."""
    # It reads byte code, which takes modules that `import coopy` does without.
    from coopy.determinism.decompile import stored_outside

    return bool(code.co_freevars) and bool(stored_outside(code))


def _is_part(value: Any) -> bool:
    """Whether a value that a callable of the object holds may be a part of the state: an object of a class of the user's own."""
    kind = type(value)
    if isinstance(value, (*_IMMUTABLE, FunctionType, MethodType, BaseException)) or package_of(kind.__module__) == "coopy":
        return False
    # Members of an enumeration are of its class, and are the same for all.
    return not is_of_stdlib(kind.__module__) and not any(base.__module__ == "enum" for base in kind.__mro__)


def _reaches(value: Any, domain: Any) -> bool:
    """Whether a value is the object, or something of it that can change, or holds one of these."""
    pending, seen = [value], set[int]()
    while pending and len(seen) < _NODES_MAX:
        each = pending.pop()
        if each is domain or isinstance(each, _CONTAINERS):
            return True
        if id(each) in seen or (isinstance(each, _IMMUTABLE) and not isinstance(each, (tuple, frozenset))):
            continue
        seen.add(id(each))
        if isinstance(each, (tuple, frozenset)):
            pending += each
        elif isinstance(each, (MethodType, BuiltinMethodType, MethodWrapperType)):
            pending.append(each.__self__)
        elif isinstance(each, partial):
            pending += (each.func, *each.args, *each.keywords.values())
        elif isinstance(each, FunctionType):
            pending += _contents(each)
        else:
            # Of another object: what it holds itself, and not what the lists there have, which are its own.
            pending += [held for held in (_held_by(each, "__dict__") or {}).values() if not isinstance(held, _CONTAINERS)]
            cls: Any = type(each)
            pending += [_held_by(each, name) for name in _slots_of(cls)]
    return False


# -- attributes that hide methods


@lru_cache(_CLASSES_MAX)
def hideable(cls: Any) -> frozenset[str]:
    """Returns the methods of a class that an attribute of its objects may hide, as far as the class's own code tells."""
    found: set[str] = set()
    names = methods_of(cls)
    for base in cls.__mro__:
        for name, raw in vars(base).items():
            function = getattr(raw, "__wrapped__", raw)
            if isinstance(function, FunctionType) and base.__module__ not in ("builtins", "collections", "_collections_abc"):
                assigned = _assigned_in(function.__code__)
                found |= names & assigned
                # What a constructor assigns is there when the system is opened.
                if "setattr" in function.__code__.co_names and not name.startswith("__"):
                    return names
    return frozenset(found)


def methods_of(cls: type) -> frozenset[str]:
    """Returns the names that an attribute can hide: all but those that Python looks up in the class."""
    return frozenset(name for name in (*functions_of(cls), *statics_of(cls)) if not name.startswith("__"))


def _assigned_in(code: CodeType) -> set[str]:
    """The names of attributes that a function assigns, on whatever object."""
    # It reads byte code, which takes modules that `import coopy` does without.
    from coopy.determinism.instructions import SET_ATTRIBUTE, instructions

    return instructions(code).names[SET_ATTRIBUTE]


def own_names(domain: Any) -> Collection[str]:
    """Returns the names of what an object has in its `__dict__`; none of one that is elsewhere, for which its class stands here."""
    if isinstance(domain, type):
        return ()
    cls: Any = type(domain)
    if _has_usual_dict(cls):
        return cast(Collection[str], getattr(domain, "__dict__", ()))
    return [name for name in methods_of(cls) if getattr(_of_object(domain, name), "__self__", None) is not domain]


@lru_cache(_CLASSES_MAX)
def _has_usual_dict(cls: Any) -> bool:
    """Whether ``__dict__`` of an object is what it holds. A class may have a property of that name, as Munch does."""
    found = raw_of(cls, "__dict__")
    return found is None or isinstance(found, GetSetDescriptorType)


def _of_object(domain: Any, name: str) -> Any:
    """An attribute as Python finds it; for a method of the class that is bound to nothing, the object, which says that it is of the class."""
    found = object.__getattribute__(domain, name)
    return found if found is not getattr(type(domain), name) else MethodType(_nothing, domain)


def _nothing(_: object) -> None:
    pass


def hidden_methods(domain: Any) -> frozenset[str]:
    """Returns the methods of the class of an object that attributes of it hide."""
    return methods_of(type(domain)).intersection(own_names(domain))


def has_own(domain: Any, name: str) -> bool:
    """Whether an object has an attribute of a name, whatever its class has."""
    return name in own_names(domain)


def must_be_asked(engine: Any) -> bool:
    """Whether it takes a read to know what attributes an object has: it is in another process, or the copy here is behind what it has to show."""
    return bool(engine.looks_at_reads or engine.log.settled > engine.log.last)


class Hidden:
    """A method of a proxy's class that an attribute of the object may hide."""

    def __init__(self, name: str, member: Any) -> None:
        self._name = name
        self._member = member

    def __get__(self, system: Any, cls: type) -> Any:
        if system is not None and self._is_hidden(system._coopy_engine):
            return cast(Callable[..., Any], type(system).__getattr__)(system, self._name)
        return self._member.__get__(system, cls)

    def _is_hidden(self, engine: Any) -> bool:
        name, asks = self._name, must_be_asked(engine)
        return bool(engine.read_unlocked(has_own, (name,), {}) if asks else has_own(engine.machine.domain, name))
