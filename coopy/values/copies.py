"""Which arguments a method gets as they are, how the others are copied, and which can be pickled and loaded by C alone.

What replay decodes is a copy of what the caller passed, so a live call gets a copy, too, of whatever can change. What can't change
needs none, if nothing tells it from its copy but ``is``: see `look_at`. A list, a dict or a bytearray of such values is copied by its own
``copy``. Of the rest, `Notes` says whether pickle can be left alone with it: it holds no object whose class has a say in how it is pickled or
loaded, none that belongs to the process or that the system would know again, and no function.

Not taken for what can't change, though it is: a frozenset of more than one element, as a copy may have them in another order; a frozen dataclass and a
named tuple, of which a digest tells one that is in two places from two that are equal; NaN, which is not equal to itself.
Does not encode anything.
"""

from __future__ import annotations

import copyreg
import operator
import sys
from abc import ABCMeta
from collections.abc import Callable, Iterable
from typing import Any

from coopy.ground import decimals
from coopy.ground.raised import or_none
from coopy.values import bound, entities

SCALARS: frozenset[type] = frozenset({int, float, bool, str, bytes, type(None)})
EQUAL_TO_THEMSELVES = SCALARS - {float}
"""What is not equal to itself, NaN, is found in a dict as the same object alone. Replay makes a new one for each that is stored, so
a live call gets a new one, too."""

AS_IS, NAMED, FLAT, LOADED, UNKNOWN, DEEP = 1, 2, 4, 8, 16, 32
"""What `look_at` finds, a bit each: a value that can't change; one that can't, of whose class something is stored (a member of an Enum); a container of the
first that its ``copy`` copies; one of which the pickle must be loaded, for the order of its elements; anything else; and in addition, a tuple of such, which may be one of tuples of scalars all the same."""

Look = Callable[[Any], int]
Reduced = Callable[[Any], Any]


class NotSimple(Exception):
    """A class has a say in how its objects are pickled."""


# -- what can't change


def _always(value: object) -> int:
    return AS_IS


def _never(value: object) -> int:
    return UNKNOWN


def _member(value: object) -> int:
    return NAMED


def _number(value: Any) -> int:
    return AS_IS if value == value else UNKNOWN


def _decimal(value: Any) -> int:
    decimals.met()
    return UNKNOWN if value.is_nan() else AS_IS


def _moment(value: Any) -> int:
    """A datetime or a time: with a time zone, it can change no more than that."""
    zone = value.tzinfo
    return AS_IS if zone is None else _zone(zone)


def _zone(zone: Any) -> int:
    kind = type(zone)
    if _is_named(kind, "datetime", "timezone"):
        return AS_IS
    # Of moments in one zone it counts whether they hold the same object: one that a copy would share is the one of the cache.
    is_cached = _is_named(kind, "zoneinfo", "ZoneInfo") and zone.key is not None and or_none(kind, zone.key) is zone
    return AS_IS if is_cached else UNKNOWN


# -- what holds others


def _tuple(value: tuple[Any, ...]) -> int:
    """Tuples in a tuple are looked into once."""
    found = AS_IS
    for each in value:
        kind = type(each)
        if kind not in EQUAL_TO_THEMSELVES:
            seen = look_at(kind)(each) if kind is not tuple else AS_IS if _are_as_is(each) else UNKNOWN
            if seen > NAMED:
                return UNKNOWN | DEEP
            found |= seen
    return found if found == AS_IS else NAMED


def _are_as_is(values: Iterable[Any]) -> bool:
    """Whether values can't change. Tuples are not looked into."""
    kinds = set(map(type, values)) - EQUAL_TO_THEMSELVES
    if not kinds:
        return True
    if kinds == {float}:
        return not any(map(operator.ne, values, values))
    if not kinds.isdisjoint(_CONTAINERS):
        return False
    looks = {kind: look_at(kind) for kind in kinds}
    return all(looks[kind](each) == AS_IS for each in values if (kind := type(each)) in looks)


def _list(value: list[Any]) -> int:
    return FLAT if EQUAL_TO_THEMSELVES.issuperset(map(type, value)) or _are_as_is(value) else UNKNOWN


def _dict(value: dict[Any, Any]) -> int:
    if EQUAL_TO_THEMSELVES.issuperset(map(type, value)):
        values = value.values()
        if EQUAL_TO_THEMSELVES.issuperset(map(type, values)) or _are_as_is(values):
            return FLAT
    return UNKNOWN


def _bytearray(value: bytearray) -> int:
    return FLAT


def _set(value: Iterable[Any]) -> int:
    return LOADED if SCALARS.issuperset(map(type, value)) else UNKNOWN


def _frozenset(value: frozenset[Any]) -> int:
    return AS_IS if len(value) < 2 and _are_as_is(value) else _set(value)


_CONTAINERS: dict[type, Look] = {
    tuple: _tuple,
    list: _list,
    dict: _dict,
    bytearray: _bytearray,
    set: _set,
    frozenset: _frozenset,
}
COPIED = frozenset({list, dict, bytearray})
"""The types of what is FLAT: by its ``copy`` it is copied."""

_BY_NAME: dict[tuple[str, str], Look] = {
    ("datetime", "datetime"): _moment,
    ("datetime", "time"): _moment,
    ("datetime", "date"): _always,
    ("datetime", "timedelta"): _always,
    ("datetime", "timezone"): _always,
    ("zoneinfo", "ZoneInfo"): _zone,
    ("decimal", "Decimal"): _decimal,
    ("fractions", "Fraction"): _always,
    ("uuid", "UUID"): _always,
}
_SIMPLE = frozenset(
    {
        *_BY_NAME,
        ("builtins", "complex"),
        ("builtins", "range"),
        ("builtins", "slice"),
        ("collections", "deque"),
        ("collections", "OrderedDict"),
        ("collections", "Counter"),
    }
) - {("zoneinfo", "ZoneInfo")}
"""Classes of the standard library that say how their objects are pickled, each by its own name and nothing else."""

_BUILT_IN: dict[type, Look] = {**_CONTAINERS, float: _number, complex: _number, range: _always}


class Looks(dict[type, "Look | None"]):
    """For each class what tells of an object of exactly that class what it is: AS_IS, NAMED, FLAT, LOADED or UNKNOWN; None if it is a plain scalar.

    A class is looked at once.
    """

    def __init__(self) -> None:
        super().__init__(_BUILT_IN)
        self.update((kind, None) for kind in EQUAL_TO_THEMSELVES)

    def __missing__(self, kind: type) -> Look:
        found = self[kind] = look_at(kind)
        return found


def look_at(kind: type) -> Look:
    """Returns what tells of an object of exactly this class what it is."""
    found = _BUILT_IN.get(kind)
    if found is not None:
        return found
    # The metaclass of another may answer what it likes.
    name = (kind.__module__, kind.__qualname__) if type(kind) in (type, ABCMeta) else ("", "")
    found = _BY_NAME.get(name)
    if found is not None and _is_named(kind, *name):
        return found
    return _member if _is_enum(kind) else _never


def _is_named(kind: Any, module: str, name: str) -> bool:
    return getattr(sys.modules.get(module), name, None) is kind


def _is_enum(kind: Any) -> bool:
    """Whether objects of a class are members of an Enum, each of which is loaded as itself."""
    enum = sys.modules.get("enum")
    if enum is None or not issubclass(type(kind), enum.EnumMeta):
        return False
    return getattr(kind.__reduce_ex__, "__module__", "") == "enum" and not entities.is_marked(kind)


# -- what pickle can be left alone with


class Notes(dict[type, Reduced]):
    """A dispatch table for a pickler that notes the class of each object, and raises `NotSimple` where it has a say."""

    def __init__(self, marked: int = 0) -> None:
        super().__init__()
        self.met: set[type] = set()
        """The classes that were met since this was emptied."""
        self.marked = marked
        """How many classes had been marked as entities before the first was looked at."""

    def __missing__(self, kind: type) -> Reduced:
        if issubclass(kind, type) and kind not in copyreg.dispatch_table:
            raise KeyError(kind)  # A class is kept by its name.
        if not or_none(_is_simple, kind):  # A class may answer what it likes, by its metaclass, or raise.
            return self.refuse(kind)
        self[kind] = noted = _noting(self.met.add, kind, copyreg.dispatch_table.get(kind))
        return noted

    def refuse(self, kind: type) -> Reduced:
        """Remembers that a class has a say. Raises `NotSimple`."""

        def refused(value: Any) -> Any:
            raise NotSimple

        self[kind] = refused
        raise NotSimple


def _noting(add: Callable[[type], None], kind: type, reduce: Reduced | None) -> Reduced:
    if reduce is not None:
        registered = reduce

        def noted_registered(value: Any) -> Any:
            add(kind)
            return registered(value)

        return noted_registered

    def noted(value: Any) -> Any:
        add(kind)
        return value.__reduce_ex__(5)

    return noted


def _is_simple(kind: Any) -> bool:
    name = (kind.__module__, kind.__qualname__)
    if name in _SIMPLE:
        return _is_named(kind, *name)
    if entities.is_marked(kind) or kind in copyreg.dispatch_table or bound.kind_of(kind) is not None:
        return False
    if _is_enum(kind):
        return True
    if issubclass(kind, tuple):
        return _is_named_tuple(kind)
    return issubclass(type(kind), type) and not issubclass(kind, type) and _is_left_to_pickle(kind)


_HEAP_TYPE = 1 << 9  # The flag of a class that was made by a class statement, in a type's __flags__.
_ASKED: tuple[str, ...] = (
    "__reduce__",
    "__reduce_ex__",
    "__getstate__",
    "__setstate__",
    "__getnewargs__",
    "__getnewargs_ex__",
    "__new__",
)
_ASKED += ("__getattr__", "__getattribute__", "__class__", "__dict__")


def _is_left_to_pickle(kind: type) -> bool:
    """Whether no class of an object but `object` itself says how it is made, kept, or given attributes."""
    own = kind.__mro__[:-1]
    # A class of C has members that nobody can see.
    if not all(base.__flags__ & _HEAP_TYPE for base in own) or any(_says(base, name) for base in own for name in _ASKED):
        return False
    # What is kept in slots is put there by setattr(); attributes go into the dict at once.
    has_slots = bool(copyreg._slotnames(kind))  # type: ignore[attr-defined]
    is_set_freely = not any("__setattr__" in vars(base) for base in own)
    return not has_slots or hasattr(kind, "__setstate__") or is_set_freely


def _says(base: type, name: str) -> bool:
    found = vars(base).get(name)
    if found is None or type(found).__name__ == "getset_descriptor":  # As __dict__ of every class is.
        return False
    return (
        getattr(found, "__module__", "") != "dataclasses"
    )  # As of those that are frozen and have slots: it does what pickle does.


def _is_named_tuple(kind: type) -> bool:
    """Whether a class is what `collections.namedtuple` or `typing.NamedTuple` makes, with methods that pickle does not ask for."""
    made = getattr(kind.__new__, "__module__", None) or ""
    return (
        kind.__bases__ == (tuple,)
        and not kind.__dictoffset__
        and made.startswith("namedtuple_")
        and getattr(vars(kind).get("__getnewargs__"), "__module__", "") == "collections"
        and not any(name in vars(kind) for name in _ASKED if name not in ("__new__", "__getnewargs__"))
    )
