"""Values as a structure keeps them, so that nobody changes the state by what was read out.

A list, a dict or a set is kept as a `FrozenList`, a `FrozenDict` or a `FrozenSet`, and so are those inside of it: it is made once, when
it is put in, and given out as it is, however large it is. It is still a list, a dict or a set for ``==``, `isinstance` and json, and
a method that would change it raises `Frozen`. An object of another class can't be frozen: it is kept in a `Boxed`, and each
read gets a copy of it. What is taken out of a structure (`pop`) is nobody else's, and so comes as a plain value: `thawed`.

Values that lie more than `DEPTH_MAX` deep in one another are kept in a `Boxed` as a whole. The limit is a number
of ours and not Python's limit of recursion: what an action does must not depend on how much of the stack is in use.
"""

from __future__ import annotations

import copy
import datetime
import io
import operator
import pickle
from collections.abc import Iterable, Iterator
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from types import BuiltinFunctionType, EllipsisType, FunctionType, NoneType, NotImplementedType
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

DEPTH_MAX = 50
"""Deeper than values that people write, and far from Python's limit of recursion: freezing takes two frames a level."""

UNPICKLABLE = (pickle.PicklingError, AttributeError, RecursionError, TypeError, ValueError)
"""What `content` raises for values that have none: what can't be pickled, or contains itself."""


class Frozen(TypeError):
    """A value that was read out of a structure was to be changed. Nothing has changed.

    >>> from coopy.batteries import Dict
    >>> Dict({"tea": {"left": 3}})["tea"]["left"] = 2
    Traceback (most recent call last):
    coopy.batteries.frozen.Frozen: this value was read out of a structure...
    """


def _refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
    raise Frozen(
        "this value was read out of a structure of coopy.batteries and can't be changed in place, because that would not be "
        "recorded. Nothing has changed. Use `with structure.edit(key) as value:`, or change a copy (value.copy(), or thawed(value) "
        "for all that is in it) and put it in again."
    )


class FrozenList(list[T]):
    """A list that was read out of a structure. Slices and copies of it are plain lists."""

    __slots__ = ()
    append = extend = insert = remove = pop = clear = sort = reverse = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __copy__(self) -> list[T]:
        return list(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> list[T]:
        return [thawed(each) for each in self]

    def __reduce__(self) -> Any:
        return FrozenList, (list(self),)

    def __reduce_ex__(self, protocol: object) -> Any:
        return FrozenList, (list(self),)


class FrozenDict(dict[K, V]):
    """A dict that was read out of a structure. A copy of it is a plain dict."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> dict[K, V]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[K, V]:
        return {key: thawed(value) for key, value in self.items()}

    def __reduce__(self) -> Any:
        return FrozenDict, (dict(self),)

    def __reduce_ex__(self, protocol: object) -> Any:
        return FrozenDict, (dict(self),)


class FrozenSet(set[T]):
    """A set that was read out of a structure. A copy of it is a plain set."""

    __slots__ = ()
    add = remove = discard = pop = clear = update = _refuse
    difference_update = intersection_update = symmetric_difference_update = _refuse
    __ior__ = __iand__ = __isub__ = __ixor__ = _refuse

    def copy(self) -> set[T]:
        """Returns a plain set."""
        return set(self)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> set[T]:
        return set(self)

    def __repr__(self) -> str:
        return repr(set(self))

    def __reduce__(self) -> Any:
        return FrozenSet, (set(self),)

    def __reduce_ex__(self, protocol: object) -> Any:
        return FrozenSet, (set(self),)


class Boxed:
    """An object of a class that can't be frozen, of which each reader gets a copy. It equals what is in it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def copy(self) -> Any:
        """Returns a copy of what is in it."""
        return copy.deepcopy(self.value)

    def __eq__(self, other: object) -> bool:
        if type(other) is Boxed:
            other = other.value
        return self.value is other or bool(self.value == other)

    def __lt__(self, other: object) -> bool:
        return bool(self.value < (other.value if type(other) is Boxed else other))

    def __gt__(self, other: object) -> bool:
        return bool(self.value > (other.value if type(other) is Boxed else other))

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return repr(self.value)

    def __reduce__(self) -> Any:
        return Boxed, (self.value,)


ATOMS: frozenset[type] = frozenset(
    {
        bool,
        bytes,
        complex,
        float,
        int,
        range,
        str,
        type,
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        datetime.timezone,
        BuiltinFunctionType,
        Decimal,
        EllipsisType,
        Fraction,
        FrozenDict,
        FrozenList,
        FrozenSet,
        FunctionType,
        NoneType,
        NotImplementedType,
    }
)
"""Types whose values can't be changed."""


class _CannotFreeze(Exception):
    pass


def kept(value: Any) -> Any:
    """Returns a value as a structure keeps it."""
    if type(value) in ATOMS:
        return value
    try:
        return _frozen(value, DEPTH_MAX)
    except _CannotFreeze:
        return value if type(value) is Boxed else Boxed(value)


def _frozen(value: Any, depth: int) -> Any:
    cls = type(value)
    if cls in ATOMS:
        return value
    if not depth:
        raise _CannotFreeze
    if cls is list:
        return FrozenList(_each(value, depth))
    if cls is dict:
        return FrozenDict({_frozen(key, depth - 1): _frozen(each, depth - 1) for key, each in value.items()})
    if cls is set:
        return FrozenSet(_each(value, depth))  # coopy: ignore[CPY206] a set is made of it
    if cls is tuple:
        each = _each(value, depth)
        return value if all(map(operator.is_, each, value)) else tuple(each)
    if cls is frozenset:
        each = _each(value, depth)
        return value if all(map(operator.is_, each, value)) else frozenset(each)
    if isinstance(value, Enum) or (cls.__module__ == "uuid" and cls.__name__ == "UUID"):
        return value
    if isinstance(value, tuple) and hasattr(cls, "_fields"):
        return tuple.__new__(cls, _each(value, depth))
    raise _CannotFreeze


def _each(values: Iterable[Any], depth: int) -> list[Any]:
    return [_frozen(each, depth - 1) for each in values]


def given(value: Any) -> Any:
    """Returns what a reader gets of a value that is kept."""
    return value if type(value) is not Boxed else value.copy()


class Given(map):  # type: ignore[type-arg]
    """An iterator over what a reader gets of values that are kept. It knows about how many there are."""

    _kept: Iterator[Any]

    def __new__(cls, values: Iterable[Any]) -> Given:
        found = iter(values)
        made = super().__new__(cls, given, found)
        made._kept = found
        return made

    def __length_hint__(self) -> int:
        return operator.length_hint(self._kept)

    def __reduce__(self) -> Any:
        return Given, (self._kept,)


def thawed(value: Any) -> Any:
    """Returns a plain value, which may be changed, of one that was read out of a structure, or is kept in it.

    >>> from coopy.batteries import Dict, thawed
    >>> stock = Dict(tea={"count": 3, "tags": ["hot"]})
    >>> tea = thawed(stock["tea"])
    >>> tea["tags"].append("green")
    >>> stock["tea"], tea
    ({'count': 3, 'tags': ['hot']}, {'count': 3, 'tags': ['hot', 'green']})
    """
    cls = type(value)
    if cls is FrozenList:
        return [thawed(each) for each in value]
    if cls is FrozenDict:
        return {key: thawed(each) for key, each in value.items()}
    if cls is FrozenSet:
        return set(value)
    if cls is tuple:
        return value if all(type(each) in _FINAL for each in value) else tuple(map(thawed, value))
    if cls is Boxed:
        return value.value
    return value


_FINAL = ATOMS - {FrozenDict, FrozenList, FrozenSet}


def copied(value: Any) -> Any:
    """Returns a copy of a value that is kept as it came, as those that wait in a queue are."""
    return value if type(value) in _FINAL else copy.deepcopy(value)


def in_order(values: Iterable[T]) -> Iterable[T]:
    """Returns values in an order that is the same in every process: sets, whose order depends on the hash seed, are sorted."""
    if isinstance(values, (set, frozenset)) and len(values) > 1:
        return sorted(values, key=_place)  # coopy: ignore[CPY206] this is what puts them in order
    return values


def _place(member: Any) -> tuple[str, Any]:
    name = type(member).__name__
    if isinstance(member, (set, frozenset)):
        return name, sorted(map(_place, member))  # coopy: ignore[CPY206] sorted
    if isinstance(member, tuple):
        return name, [_place(each) for each in member]
    if type(member) in ATOMS:
        return name, repr(member)
    try:
        return name, content(member).hex()
    except UNPICKLABLE:
        return name, ""  # No process but this one can have it.


def content(value: Any) -> bytes:
    """Returns bytes that are equal for values of equal content, whether or not their classes have an ``__eq__``."""
    # Without a memo it makes no difference whether two equal texts are one object.
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 5)
    pickler.fast = True
    pickler.dump(thawed(value))
    return file.getvalue()
