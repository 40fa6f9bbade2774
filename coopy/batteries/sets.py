"""Set: Python's set, in the order in which the members came, whatever the hash seed of the process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from collections.abc import Set as AnySet
from reprlib import recursive_repr
from typing import Any, Generic, TypeVar

from coopy import abort_exception, listeners, readonly
from coopy.batteries.battery import Battery
from coopy.batteries.changes import tell_change, tell_difference, tell_taken
from coopy.batteries.frozen import ATOMS, Given, given, in_order, kept, thawed

T = TypeVar("T")


class Set(Battery, Generic[T]):
    """A set that keeps the order in which its members came. `pop` takes the oldest, on every node the same.

    >>> from coopy import init_system
    >>> seen = init_system(Set, "seen")
    >>> seen.update(["tea", "ink", "tea"])
    >>> "tea" in seen, len(seen), list(seen), seen.pop(), list(seen | {"pen"})
    (True, 2, ['tea', 'ink'], 'tea', ['ink', 'pen'])
    """

    _KEYS = "member"

    def __init__(self, iterable: Iterable[T] = ()) -> None:
        self._items: dict[Any, None] = _kept_members(iterable)

    # -- actions

    def reset(self, newData: Iterable[T]) -> None:
        """Puts other members in the place of all."""
        self._become(_kept_members(newData))

    @abort_exception
    def add(self, item: T) -> None:
        """Adds a member, if it is not there."""
        key = item if type(item) in ATOMS else kept(item)
        if listeners and key not in self._items:
            tell_change(self, "added", key)
        self._items[key] = None

    @abort_exception
    def remove(self, item: T) -> None:
        """Takes a member out. Raises KeyError if it is not there."""
        key = _member(item)
        if key not in self._items:
            raise KeyError(item)
        if listeners:
            tell_change(self, "removed", key)
        del self._items[key]

    @abort_exception
    def discard(self, item: T) -> None:
        """Takes a member out, if it is there."""
        key = _member(item)
        if listeners:
            tell_taken(self, self._items, (key,))
        self._items.pop(key, None)

    @abort_exception
    def pop(self) -> T:
        """Takes the oldest member out, and returns it. Raises KeyError if there is none."""
        for key in self._items:
            if listeners:
                tell_change(self, "removed", key)
            del self._items[key]
            found: T = thawed(key)
            return found
        raise KeyError("pop from an empty set")

    def clear(self) -> None:
        """Takes all out."""
        if listeners:
            tell_taken(self, self._items, self._items)
        self._items.clear()

    @abort_exception
    def update(self, *others: Iterable[T]) -> None:
        """Adds the members of others."""
        self._add_all(self._joined(others))

    @abort_exception
    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Keeps those members alone that all the others have."""
        self._become(self._common(others))

    @abort_exception
    def difference_update(self, *others: Iterable[Any]) -> None:
        """Takes the members of others out."""
        self._become(self._without(others))

    @abort_exception
    def symmetric_difference_update(self, other: Iterable[T]) -> None:
        """Takes out what another has as well, and adds what only that has."""
        self._become(self._either(other))

    @abort_exception
    def __ior__(self, other: Any) -> Set[T]:
        if not isinstance(other, AnySet):
            return NotImplemented
        self._add_all(_kept_members(other))
        return self

    @abort_exception
    def __iand__(self, other: Any) -> Set[T]:
        if not isinstance(other, AnySet):
            return NotImplemented
        self._become(self._common((other,)))
        return self

    @abort_exception
    def __isub__(self, other: Any) -> Set[T]:
        if not isinstance(other, AnySet):
            return NotImplemented
        self._become(self._without((other,)))
        return self

    @abort_exception
    def __ixor__(self, other: Any) -> Set[T]:
        if not isinstance(other, AnySet):
            return NotImplemented
        self._become(self._either(other))
        return self

    def _become(self, items: dict[Any, None]) -> None:
        if listeners:
            tell_difference(self, self._items, items)
        self._items = items

    def _add_all(self, items: dict[Any, None]) -> None:
        if listeners:
            for key in items:
                if key not in self._items:
                    tell_change(self, "added", key)
        self._items.update(items)

    # -- reads

    @readonly
    def rawData(self) -> set[T]:
        """Returns all members in a plain set."""
        return set(map(given, self._items))

    @readonly
    def peek(self) -> T:
        """Returns the oldest member. Raises KeyError if there is none."""
        for key in self._items:
            found: T = given(key)
            return found
        raise KeyError("peek at an empty set")

    @readonly
    def copy(self) -> Set[T]:
        """Returns a Set with the same members, which no system has."""
        return self._of(self._items)

    @readonly
    def union(self, *others: Iterable[T]) -> Set[T]:
        """Returns a Set of the members of this one and others, which no system has."""
        return self._of({**self._items, **self._joined(others)})

    @readonly
    def intersection(self, *others: Iterable[Any]) -> Set[T]:
        """Returns a Set of the members that all the others have."""
        return self._of(self._common(others))

    @readonly
    def difference(self, *others: Iterable[Any]) -> Set[T]:
        """Returns a Set of the members that no other has."""
        return self._of(self._without(others))

    @readonly
    def symmetric_difference(self, other: Iterable[T]) -> Set[T]:
        """Returns a Set of the members that this one or another has, but not both."""
        return self._of(self._either(other))

    @readonly
    def isdisjoint(self, other: Iterable[Any]) -> bool:
        """Whether no member is one of another as well."""
        return not any(each in self._items for each in map(_hashed, other))

    @readonly
    def issubset(self, other: Iterable[Any]) -> bool:
        """Whether another has all members."""
        others = _kept_members(other)
        return all(each in others for each in self._items)

    @readonly
    def issuperset(self, other: Iterable[Any]) -> bool:
        """Whether all members of another are members of this one."""
        return all(each in self._items for each in _kept_members(other))

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: object) -> bool:
        return _member(item) in self._items

    def __iter__(self) -> Iterator[T]:
        return Given(self._items)

    def __or__(self, other: Any) -> Set[T]:
        return self.union(other) if isinstance(other, AnySet) else NotImplemented

    def __ror__(self, other: Any) -> Set[T]:
        return type(self)(other).union(self) if isinstance(other, AnySet) else NotImplemented

    def __and__(self, other: Any) -> Set[T]:
        return self.intersection(other) if isinstance(other, AnySet) else NotImplemented

    __rand__ = __and__

    def __sub__(self, other: Any) -> Set[T]:
        return self.difference(other) if isinstance(other, AnySet) else NotImplemented

    def __rsub__(self, other: Any) -> Set[T]:
        return type(self)(other).difference(self) if isinstance(other, AnySet) else NotImplemented

    def __xor__(self, other: Any) -> Set[T]:
        return self.symmetric_difference(other) if isinstance(other, AnySet) else NotImplemented

    __rxor__ = __xor__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AnySet):
            return NotImplemented
        return len(self._items) == len(other) and self.issubset(other)

    def __le__(self, other: Any) -> bool:
        return self.issubset(other) if isinstance(other, AnySet) else NotImplemented

    def __ge__(self, other: Any) -> bool:
        return self.issuperset(other) if isinstance(other, AnySet) else NotImplemented

    def __lt__(self, other: Any) -> bool:
        if not isinstance(other, AnySet):
            return NotImplemented
        return len(self._items) < len(other) and self.issubset(other)

    def __gt__(self, other: Any) -> bool:
        if not isinstance(other, AnySet):
            return NotImplemented
        return len(self._items) > len(other) and self.issuperset(other)

    __hash__ = None  # type: ignore[assignment]

    @recursive_repr("set(...)")
    def __repr__(self) -> str:
        return "{" + ", ".join(map(repr, self._items)) + "}" if self._items else "set()"

    # -- the four operations, on members as they are kept

    def _of(self, items: dict[Any, None]) -> Set[T]:
        return type(self)(items)

    def _joined(self, others: Iterable[Iterable[Any]]) -> dict[Any, None]:
        return {key: None for other in others for key in _kept_members(other)}

    def _common(self, others: Iterable[Iterable[Any]]) -> dict[Any, None]:
        every = [_kept_members(other) for other in others]
        return {key: None for key in self._items if all(key in other for other in every)}

    def _without(self, others: Iterable[Iterable[Any]]) -> dict[Any, None]:
        joined = self._joined(others)
        return {key: None for key in self._items if key not in joined}

    def _either(self, other: Iterable[Any]) -> dict[Any, None]:
        theirs = _kept_members(other)
        mine = {key: None for key in self._items if key not in theirs}
        return {**mine, **{key: None for key in theirs if key not in self._items}}


def _hashed(item: Any) -> Any:
    return item if type(item) in ATOMS else kept(item)


def _member(item: Any) -> Any:
    # A set among the members is looked for as a frozenset, as Python's sets do.
    if isinstance(item, (set, Set)):
        return frozenset(item)
    return item


def _kept_members(other: Iterable[Any]) -> dict[Any, None]:
    if isinstance(other, Set):
        return dict.fromkeys(other._items)
    return {kept(each): None for each in in_order(other)}


MutableSet.register(Set)
