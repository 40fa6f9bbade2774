"""What stored bytes say of the classes of their objects: the names of the fields, and the values of an enum.

A pickle names the class of an object and holds its values. What a value belongs to, today's class says: some by name (a
dict of attributes, slots), some by place (a dataclass that is frozen and has slots, a NamedTuple), an enum by the value of
its member. Where a field has come or gone since, values fall into other fields, or an object lacks what its methods use;
where the values of an enum have changed, a member becomes another. So what is stored says what its classes were, and is
compared with today's before it is loaded.

    member of the dict    what it holds
    key                   "module:QualifiedName", of a class
    value, of an enum     a dict of its members' values by name
    value, of any other   a list: how its values are kept ("list", "tuple", "slots" or "dict"), then the names of its fields;
                          ["own"] of decimal.Decimal, which says that there are some

Only classes whose fields can be told have one: dataclasses, those of attrs, pydantic and msgspec, NamedTuples, those with
slots, and enums. A class with a ``__setstate__`` or ``__reduce__`` of its own sees to what it is given.
"""

from __future__ import annotations

import copyreg
import importlib
import operator
import sys
from collections.abc import Callable, Iterable, Mapping
from types import MemberDescriptorType
from typing import Any, NamedTuple

from coopy.ground.raised import or_none

LIST, TUPLE, SLOTS, DICT, OWN = "list", "tuple", "slots", "dict", "own"

Layout = dict[str, Any] | list[str]
Layouts = dict[str, Layout]

_PLAIN = (int, float, str, bytes, bool, type(None))
# The modules whose __setstate__ and __reduce__ do what those of object do.
_LIBRARIES = (
    "builtins",
    "copyreg",
    "dataclasses",
    "attr",
    "attrs",
    "enum",
    "pydantic",
    "msgspec",
    "abc",
    "typing",
    "collections",
)
_again = operator.methodcaller("__reduce_ex__", 5)


class Classes(dict[type, Callable[[Any], Any]]):
    """A dispatch table for a pickler that notes the class of each object, and pickles it as without one.

    The pickler asks it once for an object; what it answers is called in C. ``reducers`` are those by which some classes
    are pickled otherwise.
    """

    def __init__(self, reducers: Mapping[type, Callable[[Any], Any]] = copyreg.dispatch_table) -> None:
        super().__init__()
        self._reducers = reducers

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        reduce = self._reducers.get(kind)
        if reduce is None and issubclass(kind, type):
            raise KeyError(kind)
        found = self[kind] = reduce or _again
        return found

    def get(self, kind: type, default: Any = None) -> Any:
        """As a pickler in Python asks."""
        try:
            return self[kind]
        except KeyError:
            return default


class Change(NamedTuple):
    """How a class is another one today."""

    gone: list[str]
    new: list[str]
    is_enum: bool = False


def name_of(cls: type) -> str:
    """The name of a class, as it is stored."""
    return f"{cls.__module__}:{cls.__qualname__}"


def layouts(classes: Iterable[type]) -> Layouts:
    """What is to be said of those classes of which something can be said."""
    found = {name_of(cls): layout(cls) for cls in classes}
    return {name: each for name, each in sorted(found.items()) if each is not None}


def layout(cls: Any) -> Layout | None:
    """What is to be said of a class; None if its fields can't be told."""
    return or_none(_layout, cls)  # A class may answer what it likes, by its metaclass, or raise.


def _layout(cls: Any) -> Layout | None:
    enum = sys.modules.get("enum")
    if enum is not None and issubclass(cls, enum.Enum):
        return {name: each.value for name, each in cls.__members__.items() if type(each.value) in _PLAIN}
    if name_of(cls) == "decimal:Decimal":
        return [OWN]
    if _has_own_way(cls):
        return None
    names = _names(cls)
    if names is None:
        return None
    return [_kept_as(cls), *names]


def _names(cls: Any) -> list[str] | None:
    if isinstance(getattr(cls, "__dataclass_fields__", None), dict):
        kinds = cls.__dataclass_fields__.items()
        return [name for name, field in kinds if getattr(field._field_type, "name", "") == "_FIELD"]
    if isinstance(getattr(cls, "__attrs_attrs__", None), tuple):
        return [field.name for field in cls.__attrs_attrs__]
    if issubclass(cls, tuple):
        return list(cls._fields) if isinstance(getattr(cls, "_fields", None), tuple) else None
    for name in ("__pydantic_fields__", "__struct_fields__"):
        found = getattr(cls, name, None)
        if isinstance(found, (dict, tuple)):
            return list(found)
    slots = _slots(cls)
    return slots or None


def _slots(cls: type) -> list[str]:
    own = [base for base in reversed(cls.__mro__) if base.__module__ != "builtins"]
    return [name for base in own for name, member in vars(base).items() if isinstance(member, MemberDescriptorType)]


def _kept_as(cls: Any) -> str:
    if issubclass(cls, tuple):
        return TUPLE
    if getattr(cls.__dict__.get("__setstate__"), "__module__", "") == "dataclasses":
        return LIST
    setter = getattr(cls, "__setstate__", None)
    if getattr(setter, "__module__", "") == "dataclasses":
        return LIST
    return SLOTS if _slots(cls) else DICT


def _has_own_way(cls: Any) -> bool:
    """Whether a class says itself how it is kept."""
    for name in ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__"):
        owner = next((base for base in cls.__mro__ if name in vars(base)), object)
        function = vars(owner).get(name)
        module = getattr(function, "__module__", None) or owner.__module__
        if module.partition(".")[0] not in _LIBRARIES:
            return True
    return False


def todays(module: str, name: str) -> Any:
    """The class that has this name today; None if there is none."""
    found = or_none(named, module, name)  # Whoever loads it is told why it is not there.
    return found if isinstance(found, type) else None


def named(module: str, name: str) -> Any:
    """What has a qualified name in a module, which is imported. Raises what importing it raises, and AttributeError."""
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def change(stored: Layout, cls: Any) -> Change | None:
    """How a class is another one than stored bytes say; None if these can be loaded as they are."""
    now = layout(cls)
    if isinstance(stored, dict):
        if not isinstance(now, dict):
            return None
        gone = [name for name, value in stored.items() if name not in now or now[name] != value]
        return Change(gone, [], True) if gone else None
    if now is None and _has_own_way(cls):
        return None
    kept, names = stored[0], stored[1:]
    kept_now, names_now = (now[0], now[1:]) if isinstance(now, list) else (DICT, [])
    if now is None:
        # Any attribute goes into a dict of attributes; nobody knows the place of the others.
        return Change(names, []) if kept in (LIST, TUPLE) else None
    gone = [name for name in names if name not in names_now]
    new = [name for name in names_now if name not in names and not _has_by_itself(cls, name)]
    if kept == kept_now == TUPLE and not gone and names_now[: len(names)] == names:
        return Change([], new) if new else None
    if gone or new or kept != kept_now:
        return Change(gone, new)
    # By place, the order counts as well, and nothing may be missing at the end.
    return Change([], []) if kept in (LIST, TUPLE) and names != names_now else None


def _has_by_itself(cls: Any, name: str) -> bool:
    """Whether an object has an attribute that it was not given."""
    if issubclass(cls, tuple):
        return name in getattr(cls, "_field_defaults", {})
    return hasattr(cls, name) and not isinstance(getattr(cls, name), MemberDescriptorType)


def as_dict(stored: Layout | None, state: Any) -> Any:
    """The attributes by name, of a state that was kept in whatever way; the state itself where that is not known."""
    if isinstance(stored, list) and stored[0] in (LIST, TUPLE) and isinstance(state, (list, tuple)):
        return dict(zip(stored[1:], state, strict=False))
    if isinstance(state, tuple) and len(state) == 2 and all(each is None or isinstance(each, dict) for each in state):
        return {**(state[0] or {}), **(state[1] or {})}
    return state


def default_of(cls: Any, name: str) -> str:
    """What an object that lacks a field may be given, as source: the default of the field, or a name to be replaced."""
    field = getattr(cls, "__dataclass_fields__", {}).get(name)
    if field is None:
        field = next((each for each in getattr(cls, "__attrs_attrs__", ()) if each.name == name), None)
    factory = getattr(field, "default_factory", None) or getattr(getattr(field, "default", None), "factory", None)
    if factory in (list, dict, set, tuple, frozenset):
        return f"{factory.__name__}()"
    default = getattr(field, "default", None)
    if field is not None and type(default) in _PLAIN and default is not None:
        return repr(default)
    return f"WHAT_{name.strip('_').upper()}_WAS"
