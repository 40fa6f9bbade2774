"""PySyncObj's batteries: consumers that hold a structure of `coopy.batteries`, and take ``callback``, ``sync`` and ``timeout``.

A call that changes something returns None at once, as there, unless it is told to wait (`coopy.compat.pysyncobj_member.replicated`). What is
read out is a plain value, and a copy: to change it changes nothing here, and to put it in again does.
"""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, ValuesView
from typing import Any

from coopy.batteries import Counter, Dict, List, PriorityQueue, Queue, Set, thawed
from coopy.compat.pysyncobj_member import SyncObjConsumer, replicated


class _Holding(SyncObjConsumer):
    """A consumer with one structure in it."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self._held = held

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._held!r})"


class ReplCounter(_Holding):
    """A number."""

    def __init__(self) -> None:
        super().__init__(Counter())

    @replicated
    def set(self, newValue: Any) -> Any:
        """Sets the value, and returns it."""
        return self._held.set(newValue)

    @replicated
    def add(self, value: Any) -> Any:
        """Adds to the value, and returns what it is then."""
        return self._held.add(value)

    @replicated
    def sub(self, value: Any) -> Any:
        """Subtracts from the value, and returns what it is then."""
        return self._held.sub(value)

    @replicated
    def inc(self) -> Any:
        """Adds one, and returns what the value is then."""
        return self._held.inc()

    def get(self) -> Any:
        """Returns the value."""
        return self._held.get()


class ReplList(_Holding):
    """A list."""

    def __init__(self) -> None:
        super().__init__(List())

    @replicated
    def reset(self, newData: Any) -> None:
        """Puts another list in the place of all. Raises AssertionError for anything but a list."""
        _must_be(list, newData)
        self._held.reset(newData)

    @replicated
    def set(self, position: int, newValue: Any) -> None:
        """Puts a value in the place of another. Raises IndexError."""
        self._held.set(position, newValue)

    @replicated
    def append(self, item: Any) -> None:
        """Adds a value at the end."""
        self._held.append(item)

    @replicated
    def extend(self, other: Any) -> None:
        """Adds several values at the end."""
        self._held.extend(other)

    @replicated
    def insert(self, position: int, element: Any) -> None:
        """Puts a value in before a position."""
        self._held.insert(position, element)

    @replicated
    def remove(self, element: Any) -> None:
        """Takes the first value out that is equal to one. Raises ValueError if there is none."""
        self._held.remove(element)

    @replicated
    def pop(self, position: int | None = None) -> Any:
        """Takes a value out, by default the last, and returns it. Raises IndexError."""
        return self._held.pop(position)

    @replicated
    def sort(self, reverse: bool = False) -> None:
        """Sorts the values; equal ones keep their order."""
        self._held.sort(reverse)

    @replicated
    def __setitem__(self, position: int, element: Any) -> None:
        self._held[position] = element

    @replicated(ver=1)  # type: ignore[no-redef]
    def __setitem__(self, position: int, element: Any) -> None:  # noqa: F811
        self._held[position] = element

    def index(self, element: Any) -> int:
        """Returns the first position of a value. Raises ValueError if it is not there."""
        return int(self._held.index(element))

    def count(self, element: Any) -> int:
        """Returns how often a value is there."""
        return int(self._held.count(element))

    def get(self, position: int) -> Any:
        """Returns the value at a position. Raises IndexError."""
        return thawed(self._held[position])

    def __getitem__(self, position: Any) -> Any:
        return thawed(self._held[position])

    def __len__(self) -> int:
        return len(self._held)

    def rawData(self) -> list[Any]:
        """Returns all in a plain list."""
        return list(map(thawed, self._held.rawData()))


class ReplDict(_Holding):
    """A dict."""

    def __init__(self) -> None:
        super().__init__(Dict())

    @replicated
    def reset(self, newData: Any) -> None:
        """Puts another dict in the place of all. Raises AssertionError for anything but a dict."""
        _must_be(dict, newData)
        self._held.reset(newData)

    @replicated
    def __setitem__(self, key: Any, value: Any) -> None:
        self._held[key] = value

    @replicated
    def set(self, key: Any, value: Any) -> None:
        """Sets the value of a key."""
        self._held.set(key, value)

    @replicated
    def setdefault(self, key: Any, default: Any) -> Any:
        """Returns the value of a key, which is set to the default if there is none."""
        return thawed(self._held.setdefault(key, default))

    @replicated
    def update(self, other: Any) -> None:
        """Takes over what another dict has."""
        self._held.update(other)

    @replicated
    def pop(self, key: Any, default: Any = None) -> Any:
        """Takes a key out, and returns its value, or the default if there is none."""
        return self._held.pop(key, default)

    @replicated
    def clear(self) -> None:
        """Takes all out."""
        self._held.clear()

    def __getitem__(self, key: Any) -> Any:
        return thawed(self._held[key])

    def get(self, key: Any, default: Any = None) -> Any:
        """Returns the value of a key, or the default if there is none."""
        return thawed(self._held.get(key, default))

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def keys(self) -> KeysView[Any]:
        """Returns all keys."""
        return self.rawData().keys()

    def values(self) -> ValuesView[Any]:
        """Returns all values."""
        return self.rawData().values()

    def items(self) -> ItemsView[Any, Any]:
        """Returns all keys and values."""
        return self.rawData().items()

    def rawData(self) -> dict[Any, Any]:
        """Returns all in a plain dict."""
        return {key: thawed(value) for key, value in self._held.rawData().items()}


class ReplSet(_Holding):
    """A set. `pop` takes the oldest member, on every node the same."""

    def __init__(self) -> None:
        super().__init__(Set())

    @replicated
    def reset(self, newData: Any) -> None:
        """Puts another set in the place of all. Raises AssertionError for anything but a set."""
        _must_be(set, newData)
        self._held.reset(newData)

    @replicated
    def add(self, item: Any) -> None:
        """Adds a member, if it is not there."""
        self._held.add(item)

    @replicated
    def remove(self, item: Any) -> None:
        """Takes a member out. Raises KeyError if it is not there."""
        self._held.remove(item)

    @replicated
    def discard(self, item: Any) -> None:
        """Takes a member out, if it is there."""
        self._held.discard(item)

    @replicated
    def pop(self) -> Any:
        """Takes a member out, and returns it. Raises KeyError if there is none."""
        return self._held.pop()

    @replicated
    def clear(self) -> None:
        """Takes all out."""
        self._held.clear()

    @replicated
    def update(self, other: Any) -> None:
        """Adds the members of another."""
        self._held.update(other)

    def rawData(self) -> set[Any]:
        """Returns all in a plain set."""
        return set(self._held.rawData())

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, item: object) -> bool:
        return item in self._held


class _AnyQueue(_Holding):
    """What both queues have."""

    def qsize(self) -> int:
        """Returns how many items wait."""
        return int(self._held.qsize())

    def empty(self) -> bool:
        """Whether no item waits."""
        return bool(self._held.empty())

    def full(self) -> bool:
        """Whether there is no room."""
        return bool(self._held.full())

    def __len__(self) -> int:
        return self.qsize()

    @replicated
    def get(self, default: Any = None) -> Any:
        """Takes the next item out, and returns it, or the default if there is none."""
        return self._held.get(default)


class ReplQueue(_AnyQueue):
    """First in, first out."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(Queue(maxsize))

    @replicated
    def put(self, item: Any) -> bool:
        """Adds an item. Returns whether there was room for it."""
        return bool(self._held.put(item))


class ReplPriorityQueue(_AnyQueue):
    """The smallest item first; items must be comparable, and of equal ones the first comes first."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(PriorityQueue(maxsize))

    @replicated
    def put(self, item: Any) -> bool:
        """Adds an item. Returns whether there was room for it. Raises TypeError for one that can't be compared."""
        return bool(self._held.put(item, priority=item))


def _must_be(kind: type, value: Any) -> None:
    if not isinstance(value, kind):
        raise AssertionError(f"reset() takes a {kind.__name__}, not a {type(value).__name__}. Nothing has changed.")
