"""List and Deque: Python's own, with values that can't be changed from outside. It has more than 500 lines because each method says in a line
or two what it changes, beside where it does."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from reprlib import recursive_repr
from typing import Any, Generic, SupportsIndex, TypeVar, overload

from coopy import abort_exception, listeners, readonly
from coopy.batteries.battery import Battery, Edit, conflict, editing, same
from coopy.batteries.changes import ALL, tell_change
from coopy.batteries.frozen import Boxed, Given, given, in_order, kept, thawed

T = TypeVar("T")


class _Compared(Battery):
    """What is compared by its items, in order: with another of its kind, and with the built-in that it is named after."""

    _KEYS = "position"
    _items: Any

    def _tell_of(self, kind: str, position: SupportsIndex, after: Any = None) -> None:
        """Says that something happens at a position, if there is one. To be called before it does."""
        place = position.__index__()
        place += len(self._items) if place < 0 else 0
        if 0 <= place < len(self._items):
            tell_change(self, kind, place, self._items[place], after)

    def _tell_added(self, place: int, values: Iterable[Any]) -> None:
        for number, value in enumerate(values):
            tell_change(self, "added", place + number, None, value)

    def _tell_all_removed(self) -> None:
        for place in range(len(self._items) - 1, -1, -1):
            tell_change(self, "removed", place, self._items[place])

    def _plain(self, other: object) -> Any:
        """Returns the items of what this can be compared with, else None."""
        found = getattr(other, "_items", None) if isinstance(other, _Compared) else other
        return found if isinstance(found, type(self._items)) else None

    def __eq__(self, other: object) -> bool:
        plain = self._plain(other)
        return self._items == plain if plain is not None else NotImplemented

    def __lt__(self, other: Any) -> bool:
        plain = self._plain(other)
        return self._items < plain if plain is not None else NotImplemented

    def __le__(self, other: Any) -> bool:
        plain = self._plain(other)
        return self._items <= plain if plain is not None else NotImplemented

    def __gt__(self, other: Any) -> bool:
        plain = self._plain(other)
        return self._items > plain if plain is not None else NotImplemented

    def __ge__(self, other: Any) -> bool:
        plain = self._plain(other)
        return self._items >= plain if plain is not None else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @recursive_repr("[...]")
    def __repr__(self) -> str:
        return repr(self._items)


class List(_Compared, Generic[T]):
    """A list. A value that is read out is frozen; `edit` changes it by one action. What is popped is a plain value.

    >>> from coopy import init_system
    >>> tasks = init_system(List, "tasks")
    >>> tasks.extend(["wash", "dry", "iron"])
    >>> tasks.pop(), tasks.pop(0), tasks[0], list(tasks)
    ('iron', 'wash', 'dry', ['dry'])
    >>> tasks.append({"what": "fold", "tags": []})
    >>> with tasks.edit(-1) as task:
    ...     task["tags"].append("soon")
    >>> tasks[-1]
    {'what': 'fold', 'tags': ['soon']}
    """

    def __init__(self, iterable: Iterable[T] = ()) -> None:
        self._items: list[Any] = [kept(each) for each in in_order(iterable)]

    # -- actions

    def reset(self, newData: Iterable[T]) -> None:
        """Puts other values in the place of all."""
        self._items = [kept(each) for each in in_order(newData)]
        if listeners:
            tell_change(self, "set", ALL)

    @abort_exception
    def set(self, position: SupportsIndex, newValue: T) -> None:
        """Puts a value in the place of another. Raises IndexError."""
        if listeners:
            self._tell_of("set", position, newValue)
        self._items[position] = kept(newValue)

    def append(self, item: T) -> None:
        """Adds a value at the end."""
        if listeners:
            self._tell_added(len(self._items), (item,))
        self._items.append(kept(item))

    @abort_exception
    def extend(self, other: Iterable[T]) -> None:
        """Adds several values at the end."""
        found = [kept(each) for each in in_order(other)]
        if listeners:
            self._tell_added(len(self._items), found)
        self._items.extend(found)

    @abort_exception
    def insert(self, position: SupportsIndex, element: T) -> None:
        """Puts a value in before a position."""
        if listeners:
            self._tell_added(slice(position, None).indices(len(self._items))[0], (element,))
        self._items.insert(position, kept(element))

    @abort_exception
    def remove(self, element: T) -> None:
        """Takes the first value out that is equal to one. Raises ValueError if there is none."""
        place = self._items.index(element)
        if listeners:
            self._tell_of("removed", place)
        del self._items[place]

    @abort_exception
    def pop(self, position: SupportsIndex | None = None) -> T:
        """Takes a value out, by default the last, and returns it. Raises IndexError."""
        if listeners:
            self._tell_of("removed", -1 if position is None else position)
        found: T = thawed(self._items.pop() if position is None else self._items.pop(position))
        return found

    def clear(self) -> None:
        """Takes all out."""
        if listeners:
            self._tell_all_removed()
        self._items.clear()

    def reverse(self) -> None:
        """Turns the order around."""
        if listeners:
            tell_change(self, "moved", ALL)
        self._items.reverse()

    @abort_exception
    def sort(self, reverse: bool = False, *, key: Callable[[T], Any] | None = None) -> None:
        """Sorts the values; equal ones keep their order. Nothing changes if two can't be compared, which raises TypeError."""
        if type(reverse) is not bool:
            raise TypeError(f"sort(reverse={reverse!r}): must be True or False")
        before = list(self._items)
        items = sorted(before, key=None if key is None else lambda each: key(given(each)), reverse=reverse)
        if len(self._items) != len(before):
            self._items = before
            raise ValueError("the list was modified while it was sorted. Nothing has changed.")
        if listeners:
            tell_change(self, "moved", ALL)
        self._items = items

    @overload
    def __setitem__(self, position: SupportsIndex, value: T) -> None: ...

    @overload
    def __setitem__(self, position: slice, value: Iterable[T]) -> None: ...

    @abort_exception
    def __setitem__(self, position: Any, value: Any) -> None:
        if isinstance(position, slice):
            self._items[position] = [kept(each) for each in in_order(value)]
            if listeners:
                tell_change(self, "moved", ALL)
        else:
            if listeners:
                self._tell_of("set", position, value)
            self._items[position] = kept(value)

    @abort_exception
    def __delitem__(self, position: SupportsIndex | slice) -> None:
        if listeners:
            if isinstance(position, slice):
                tell_change(self, "moved", ALL)
            else:
                self._tell_of("removed", position)
        del self._items[position]

    @abort_exception
    def __iadd__(self, other: Iterable[T]) -> List[T]:
        found = [kept(each) for each in in_order(other)]
        if listeners:
            self._tell_added(len(self._items), found)
        self._items += found
        return self

    @abort_exception
    def __imul__(self, times: SupportsIndex) -> List[T]:
        if listeners:
            tell_change(self, "moved", ALL)
        self._items *= times
        return self

    @abort_exception
    def finish_edit(self, key: SupportsIndex, before: T, after: T) -> None:
        """Puts a value in if the one before it is still there, as an edit does. Raises `EditConflict`."""
        if not -len(self._items) <= key.__index__() < len(self._items) or not same(thawed(self._items[key]), before):
            raise conflict(key)
        if listeners:
            self._tell_of("set", key, after)
        self._items[key] = kept(after)

    # -- reads

    @readonly
    def edit(self, position: SupportsIndex) -> Edit[T]:
        """Gives a plain value to be changed in a ``with`` block, which is one action. Raises IndexError."""
        return editing(self, position, self._items[position])

    @readonly
    def get(self, position: SupportsIndex) -> T:
        """Returns the value at a position. Raises IndexError."""
        found: T = given(self._items[position])
        return found

    @readonly
    def index(self, element: T, start: SupportsIndex = 0, stop: SupportsIndex = sys.maxsize) -> int:
        """Returns the first position of a value. Raises ValueError."""
        return self._items.index(element, start, stop)

    @readonly
    def count(self, element: T) -> int:
        """Returns how often a value is there."""
        return self._items.count(element)

    @readonly
    def rawData(self) -> list[T]:
        """Returns all values in a plain list."""
        return [given(each) for each in self._items]

    @readonly
    def copy(self) -> List[T]:
        """Returns a List with the same values, which no system has."""
        return type(self)(self._items)

    @overload
    def __getitem__(self, position: SupportsIndex) -> T: ...

    @overload
    def __getitem__(self, position: slice) -> list[T]: ...

    def __getitem__(self, position: Any) -> Any:
        found = self._items[position]
        if isinstance(position, slice):
            return [given(each) for each in found]
        return found if type(found) is not Boxed else found.copy()

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, element: object) -> bool:
        return element in self._items

    def __iter__(self) -> Iterator[T]:
        return Given(self._items)

    def __reversed__(self) -> Iterator[T]:
        return Given(reversed(self._items))

    def __add__(self, other: Any) -> list[T]:
        plain = _list_of(other)
        return self.rawData() + plain if plain is not None else NotImplemented

    def __radd__(self, other: Any) -> list[T]:
        plain = _list_of(other)
        return plain + self.rawData() if plain is not None else NotImplemented

    def __mul__(self, times: SupportsIndex) -> list[T]:
        return self.rawData() * times

    __rmul__ = __mul__


def _list_of(other: Any) -> list[Any] | None:
    if isinstance(other, List):
        return other.rawData()
    return other if isinstance(other, list) else None


class Deque(_Compared, Generic[T]):
    """A deque: quick at both ends; with ``maxlen`` what is too much falls out at the other end.

    >>> from coopy import init_system
    >>> last = init_system(Deque(maxlen=3), "last")
    >>> for number in range(5):
    ...     last.append(number)
    >>> last.rotate(1)
    >>> list(last), last.popleft(), last.peek()
    ([4, 2, 3], 4, 3)
    """

    def __init__(self, iterable: Iterable[T] = (), maxlen: int | None = None) -> None:
        self._items: deque[Any] = deque((kept(each) for each in in_order(iterable)), maxlen)

    # -- actions

    def append(self, item: T) -> None:
        """Adds a value at the right end."""
        if listeners:
            self._tell_end(item)
        self._items.append(kept(item))

    def appendleft(self, item: T) -> None:
        """Adds a value at the left end."""
        if listeners:
            self._tell_end(item, left=True)
        self._items.appendleft(kept(item))

    @abort_exception
    def extend(self, iterable: Iterable[T]) -> None:
        """Adds several values at the right end."""
        self._extend([kept(each) for each in in_order(iterable)])

    @abort_exception
    def extendleft(self, iterable: Iterable[T]) -> None:
        """Adds several values at the left end, the last of which is leftmost then."""
        found = [kept(each) for each in in_order(iterable)]
        if not listeners:
            self._items.extendleft(found)
            return
        for each in found:
            self._tell_end(each, left=True)
            self._items.appendleft(each)

    @abort_exception
    def insert(self, position: int, item: T) -> None:
        """Puts a value in before a position. Raises IndexError if that would make it longer than ``maxlen``."""
        if listeners:
            self._tell_added(slice(position, None).indices(len(self._items))[0], (item,))
        self._items.insert(position, kept(item))

    @abort_exception
    def pop(self) -> T:
        """Takes the rightmost value out, and returns it. Raises IndexError."""
        if listeners:
            self._tell_of("removed", -1)
        found: T = thawed(self._items.pop())
        return found

    @abort_exception
    def popleft(self) -> T:
        """Takes the leftmost value out, and returns it. Raises IndexError."""
        if listeners:
            self._tell_of("removed", 0)
        found: T = thawed(self._items.popleft())
        return found

    @abort_exception
    def remove(self, value: T) -> None:
        """Takes the first value out that is equal to one. Raises ValueError if there is none."""
        if listeners:
            self._tell_of("removed", self._items.index(value))
        self._items.remove(value)

    @abort_exception
    def rotate(self, n: SupportsIndex = 1) -> None:
        """Moves each value ``n`` places to the right, those at the end to the beginning."""
        if listeners:
            tell_change(self, "moved", ALL)
        self._items.rotate(n)  # type: ignore[arg-type]

    def clear(self) -> None:
        """Takes all out."""
        if listeners:
            self._tell_all_removed()
        self._items.clear()

    def reverse(self) -> None:
        """Turns the order around."""
        if listeners:
            tell_change(self, "moved", ALL)
        self._items.reverse()

    @abort_exception
    def reset(self, iterable: Iterable[T]) -> None:
        """Puts other values in the place of all."""
        self._items = deque([kept(each) for each in in_order(iterable)], self._items.maxlen)
        if listeners:
            tell_change(self, "set", ALL)

    @abort_exception
    def resize(self, maxlen: int | None) -> None:
        """Sets ``maxlen``; what is too much falls out on the left."""
        items = deque(self._items, maxlen)
        if listeners:
            for place in range(len(self._items) - len(items)):
                tell_change(self, "evicted", place, self._items[place])
        self._items = items

    @abort_exception
    def __setitem__(self, position: SupportsIndex, value: T) -> None:
        if listeners:
            self._tell_of("set", position, value)
        self._items[position] = kept(value)

    @abort_exception
    def __delitem__(self, position: SupportsIndex) -> None:
        if listeners:
            self._tell_of("removed", position)
        del self._items[position]

    @abort_exception
    def __iadd__(self, other: Iterable[T]) -> Deque[T]:
        self._extend([kept(each) for each in in_order(other)])
        return self

    @abort_exception
    def __imul__(self, times: SupportsIndex) -> Deque[T]:
        if listeners:
            tell_change(self, "moved", ALL)
        self._items *= times  # type: ignore[arg-type]
        return self

    @abort_exception
    def finish_edit(self, key: SupportsIndex, before: T, after: T) -> None:
        """Puts a value in if the one before it is still there, as an edit does. Raises `EditConflict`."""
        if not -len(self._items) <= key.__index__() < len(self._items) or not same(thawed(self._items[key]), before):
            raise conflict(key)
        if listeners:
            self._tell_of("set", key, after)
        self._items[key] = kept(after)

    def _extend(self, found: list[Any]) -> None:
        if not listeners:
            self._items.extend(found)
            return
        for each in found:
            self._tell_end(each)
            self._items.append(each)

    def _tell_end(self, item: Any, left: bool = False) -> None:
        """Says that a value comes to an end, and that another falls out at the other end if there is no room."""
        maxlen, size = self._items.maxlen, len(self._items)
        if maxlen == 0:
            return
        if size == maxlen:
            self._tell_of("evicted", -1 if left else 0)
            size -= 1
        self._tell_added(0 if left else size, (item,))

    # -- reads

    @property
    def maxlen(self) -> int | None:
        """How many values there may be; None for any number."""
        return self._items.maxlen

    @readonly
    def peek(self) -> T:
        """Returns the rightmost value. Raises IndexError."""
        found: T = given(self._items[-1])
        return found

    @readonly
    def peekleft(self) -> T:
        """Returns the leftmost value. Raises IndexError."""
        found: T = given(self._items[0])
        return found

    @readonly
    def edit(self, position: SupportsIndex) -> Edit[T]:
        """Gives a plain value to be changed in a ``with`` block, which is one action. Raises IndexError."""
        return editing(self, position, self._items[position])

    @readonly
    def index(self, value: T, start: SupportsIndex = 0, stop: SupportsIndex = sys.maxsize) -> int:
        """Returns the first position of a value. Raises ValueError."""
        return self._items.index(value, start, stop)  # type: ignore[arg-type]

    @readonly
    def count(self, value: T) -> int:
        """Returns how often a value is there."""
        return self._items.count(value)

    @readonly
    def rawData(self) -> list[T]:
        """Returns all values in a plain list."""
        return [given(each) for each in self._items]

    @readonly
    def copy(self) -> Deque[T]:
        """Returns a Deque with the same values, which no system has."""
        return type(self)(self._items, self._items.maxlen)

    def __copy__(self) -> Deque[T]:
        return self.copy()

    def __getitem__(self, position: SupportsIndex) -> T:
        found: T = given(self._items[position])
        return found

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, value: object) -> bool:
        return value in self._items

    def __iter__(self) -> Iterator[T]:
        return Given(self._items)

    def __reversed__(self) -> Iterator[T]:
        return Given(reversed(self._items))

    def __add__(self, other: Any) -> Deque[T]:
        if not isinstance(other, (Deque, deque)):
            return NotImplemented
        return type(self)([*self._items, *other], self._items.maxlen)

    def __mul__(self, times: SupportsIndex) -> Deque[T]:
        return type(self)(self._items * times, self._items.maxlen)  # type: ignore[operator]

    __rmul__ = __mul__


MutableSequence.register(List)
MutableSequence.register(Deque)
