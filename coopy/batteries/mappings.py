"""Dict and MultiDict."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from reprlib import recursive_repr
from typing import Any, Generic, TypeVar, overload

from coopy import abort_exception, listeners, readonly
from coopy.batteries.battery import Battery, Edit, conflict, editing, same
from coopy.batteries.changes import tell_change, tell_difference, tell_put, tell_taken
from coopy.batteries.frozen import ATOMS, Boxed, Given, given, in_order, kept, thawed

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

_REQUIRED: Any = "<required>"


class Dict(Battery, Generic[K, V]):
    """A dict. A value that is read out is frozen; `edit` changes it by one action. What is popped is a plain value.

    >>> from coopy import init_system
    >>> stock = init_system(Dict, "stock")
    >>> stock["tea"] = {"count": 3, "tags": ["hot"]}
    >>> with stock.edit("tea") as tea:
    ...     tea["count"] += 1
    ...     tea["tags"].append("green")
    >>> stock["tea"]
    {'count': 4, 'tags': ['hot', 'green']}
    >>> stock.put_if_absent("ink", 1), stock.put_if_absent("ink", 2), stock.replace_if_same("ink", 1, 5), stock["ink"]
    (True, False, True, 5)
    >>> stock["tea"]["count"] = 0
    Traceback (most recent call last):
        ...
    coopy.batteries.frozen.Frozen: this value was read out of a structure of coopy.batteries and can't be changed in place, ...
    """

    _KEYS = "key"

    def __init__(self, mapping: Any = (), /, **values: V) -> None:
        self._items: dict[Any, Any] = _kept_pairs(mapping, values)

    # -- actions

    def reset(self, newData: Any) -> None:
        """Puts other keys and values in the place of all."""
        items = _kept_pairs(newData, {})
        if listeners:
            tell_difference(self, self._items, items)
        self._items = items

    @abort_exception
    def __setitem__(self, key: K, value: V) -> None:
        if listeners:
            self._tell_of({key: value})
        self._items[key if type(key) in ATOMS else kept(key)] = value if type(value) in ATOMS else kept(value)

    @abort_exception
    def __delitem__(self, key: K) -> None:
        if listeners:
            tell_taken(self, self._items, (key,))
        del self._items[key]

    @abort_exception
    def set(self, key: K, value: V) -> None:
        """Sets the value of a key, as ``d[key] = value`` does."""
        if listeners:
            self._tell_of({key: value})
        self._items[kept(key)] = kept(value)

    @abort_exception
    def setdefault(self, key: K, default: V | None = None) -> V:
        """Returns the value of a key, which is set to the default if there is none."""
        if listeners and key not in self._items:
            tell_change(self, "added", key, None, default)
        found: V = given(self._items.setdefault(kept(key), kept(default)))
        return found

    @abort_exception
    def update(self, other: Any = (), /, **values: V) -> None:
        """Takes over what another mapping, or pairs, have."""
        pairs = _kept_pairs(other, values)
        if listeners:
            self._tell_of(pairs)
        self._items.update(pairs)

    @overload
    def pop(self, key: K) -> V: ...

    @overload
    def pop(self, key: K, default: D) -> V | D: ...

    @abort_exception
    def pop(self, key: Any, default: Any = _REQUIRED) -> Any:
        """Takes a key out and returns its value, or the default if there is none. Raises KeyError without a default."""
        if listeners:
            tell_taken(self, self._items, (key,))
        return thawed(self._items.pop(key)) if default is _REQUIRED or key in self._items else default

    @abort_exception
    def popitem(self) -> tuple[K, V]:
        """Takes the newest key out, and returns it and its value. Raises KeyError."""
        key, value = self._items.popitem()
        if listeners:
            tell_change(self, "removed", key, value)
        return thawed(key), thawed(value)

    def clear(self) -> None:
        """Takes all out."""
        if listeners:
            tell_taken(self, self._items, self._items)
        self._items.clear()

    @abort_exception
    def put_if_absent(self, key: K, value: V) -> bool:
        """Sets the value of a key that has none. Returns whether it was set."""
        if key in self._items:
            return False
        if listeners:
            tell_change(self, "added", key, None, value)
        self._items[kept(key)] = kept(value)
        return True

    @abort_exception
    def replace_if_same(self, key: K, old: V, new: V) -> bool:
        """Sets the value of a key if it is equal to the old one. Returns whether it was set."""
        if key not in self._items or self._items[key] != old:
            return False
        if listeners:
            tell_change(self, "set", key, self._items[key], new)
        self._items[key] = kept(new)
        return True

    compare_and_set = replace_if_same

    @abort_exception
    def remove_if_same(self, key: K, old: V) -> bool:
        """Takes a key out if its value is equal to the old one. Returns whether it was."""
        if key not in self._items or self._items[key] != old:
            return False
        if listeners:
            tell_taken(self, self._items, (key,))
        del self._items[key]
        return True

    @abort_exception
    def __ior__(self, other: Any) -> Dict[K, V]:
        pairs = _kept_pairs(other, {})
        if listeners:
            self._tell_of(pairs)
        self._items.update(pairs)
        return self

    @abort_exception
    def finish_edit(self, key: K, before: V, after: V) -> None:
        """Puts a value in if the one before it is still there, as an edit does. Raises `EditConflict`."""
        if key not in self._items or not same(thawed(self._items[key]), before):
            raise conflict(key)
        if listeners:
            tell_change(self, "set", key, self._items[key], after)
        self._items[key] = kept(after)

    def _tell_of(self, pairs: Mapping[Any, Any]) -> None:
        for key, value in pairs.items():
            tell_put(self, self._items, key, value)

    # -- reads

    @readonly
    def edit(self, key: K) -> Edit[V]:
        """Gives a plain value to be changed in a ``with`` block, which is one action. Raises KeyError."""
        return editing(self, key, self._items[key])

    def __getitem__(self, key: K) -> V:
        value: Any = self._items[key]
        if type(value) is Boxed:
            value = value.copy()
        return value  # type: ignore[no-any-return]

    @overload
    def get(self, key: K) -> V | None: ...

    @overload
    def get(self, key: K, default: V | D) -> V | D: ...

    @readonly
    def get(self, key: Any, default: Any = None) -> Any:
        """Returns the value of a key, or the default if there is none."""
        value = self._items.get(key, default)
        return value if type(value) is not Boxed else value.copy()

    @readonly
    def get_all(self, keys: Iterable[K]) -> dict[K, V]:
        """Returns the values of those of several keys that are there."""
        return {key: given(self._items[key]) for key in keys if key in self._items}

    @readonly
    def keys(self) -> KeysView[K]:
        """Returns a view of the keys as they are now."""
        return dict.fromkeys(map(given, self._items)).keys()

    @readonly
    def values(self) -> ValuesView[V]:
        """Returns a view of the values as they are now."""
        return self.rawData().values()

    @readonly
    def items(self) -> ItemsView[K, V]:
        """Returns a view of the keys and values as they are now."""
        return self.rawData().items()

    @readonly
    def rawData(self) -> dict[K, V]:
        """Returns all in a plain dict."""
        return {given(key): given(value) for key, value in self._items.items()}

    @readonly
    def copy(self) -> Dict[K, V]:
        """Returns a Dict with the same keys and values, which no system has."""
        return type(self)(self._items)

    @classmethod
    def fromkeys(cls, keys: Iterable[K], value: Any = None) -> Dict[K, V]:
        """Returns a Dict in which all keys have one value."""
        made = cls()
        for key in in_order(keys):
            made[key] = value
        return made

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[K]:
        return Given(self._items)

    def __reversed__(self) -> Iterator[K]:
        return Given(reversed(self._items))

    def __or__(self, other: Any) -> dict[Any, Any]:
        return self.rawData() | _plain(other) if isinstance(other, (dict, Dict)) else NotImplemented

    def __ror__(self, other: Any) -> dict[Any, Any]:
        return _plain(other) | self.rawData() if isinstance(other, (dict, Dict)) else NotImplemented

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Dict):
            other = other._items
        return self._items == other if isinstance(other, (dict, Mapping)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @recursive_repr("{...}")
    def __repr__(self) -> str:
        return repr(self._items)


class ReplDict(Dict[K, V]):
    """A Dict whose `pop` returns None for a key that is not there, as PySyncObj's does.

    >>> print(ReplDict().pop("tea"))
    None
    """

    @abort_exception
    def pop(self, key: Any, default: Any = None) -> Any:
        """Takes a key out and returns its value, or the default if there is none."""
        if listeners:
            tell_taken(self, self._items, (key,))
        return thawed(self._items.pop(key)) if key in self._items else default


def _plain(other: Any) -> dict[Any, Any]:
    return other.rawData() if isinstance(other, Dict) else other


def _kept_pairs(other: Any, values: Mapping[str, Any]) -> dict[Any, Any]:
    """Returns what is to be taken over, as it is kept. Nothing has changed while it is made."""
    pairs = dict(other.rawData() if isinstance(other, Dict) else other, **values)
    return {kept(key): kept(value) for key, value in pairs.items()}


class MultiDict(Battery, Generic[K, V]):
    """A dict that has several values for a key, in the order in which they were added.

    >>> from coopy import init_system
    >>> tags = init_system(MultiDict, "tags")
    >>> tags.add("tea", "hot"); tags.add("tea", "green"); tags.add("ink", "blue")
    >>> tags["tea"], tags.getone("tea"), len(tags), tags.remove("tea", "hot"), tags.items()
    (['hot', 'green'], 'hot', 3, True, [('tea', 'green'), ('ink', 'blue')])
    """

    _KEYS = "key"

    def __init__(self, pairs: Iterable[tuple[K, V]] = ()) -> None:
        self._items: dict[Any, list[Any]] = {}
        self._count = 0
        for key, value in pairs:
            self.add(key, value)

    # -- actions

    @abort_exception
    def add(self, key: K, value: V) -> None:
        """Adds a value to those of a key."""
        if listeners:
            tell_change(self, "added", key, None, value)
        self._items.setdefault(kept(key), []).append(kept(value))
        self._count += 1

    @abort_exception
    def extend(self, pairs: Iterable[tuple[K, V]]) -> None:
        """Adds several values."""
        found = [(kept(key), kept(value)) for key, value in pairs]
        dict.fromkeys(key for key, _ in found)  # What can't be a key raises before anything has changed.
        for key, value in found:
            if listeners:
                tell_change(self, "added", key, None, value)
            self._items.setdefault(key, []).append(value)
        self._count += len(found)

    @abort_exception
    def set(self, key: K, values: Iterable[V]) -> None:
        """Puts other values in the place of those of a key."""
        found = [kept(value) for value in in_order(values)]
        if listeners:
            self._tell_of(key, found)
        self._count += len(found) - len(self._items.get(key, ()))
        if found:
            self._items[kept(key)] = found
        else:
            self._items.pop(key, None)

    @abort_exception
    def remove(self, key: K, value: V) -> bool:
        """Takes the first of a key's values out that is equal to one. Returns whether there was one."""
        found = self._items.get(key, [])
        if value not in found:
            return False
        if listeners:
            tell_change(self, "removed", key, value)
        found.remove(value)
        self._count -= 1
        if not found:
            del self._items[key]
        return True

    @abort_exception
    def popone(self, key: K) -> V:
        """Takes the oldest value of a key out, and returns it. Raises KeyError."""
        found = self._items[key]
        if listeners:
            tell_change(self, "removed", key, found[0])
        value: V = thawed(found.pop(0))
        self._count -= 1
        if not found:
            del self._items[key]
        return value

    @abort_exception
    def popall(self, key: K) -> list[V]:
        """Takes a key out, and returns its values; none if there are none."""
        if listeners:
            self._tell_of(key, [])
        found = [thawed(each) for each in self._items.pop(key, ())]
        self._count -= len(found)
        return found

    def clear(self) -> None:
        """Takes all out."""
        if listeners:
            for key in self._items:
                self._tell_of(key, [])
        self._items.clear()
        self._count = 0

    def _tell_of(self, key: Any, after: list[Any]) -> None:
        before = self._items.get(key)
        if before or after:
            tell_change(
                self, "removed" if not after else "set" if before else "added", key, before and [*before], after or None
            )

    # -- reads

    @readonly
    def getall(self, key: K) -> list[V]:
        """Returns the values of a key; none if there are none."""
        return [given(each) for each in self._items.get(key, ())]

    @readonly
    def getone(self, key: K) -> V:
        """Returns the oldest value of a key. Raises KeyError."""
        found: V = given(self._items[key][0])
        return found

    @readonly
    def get(self, key: K, default: Any = None) -> Any:
        """Returns the oldest value of a key, or the default if there is none."""
        found = self._items.get(key)
        return given(found[0]) if found else default

    @readonly
    def count(self, key: K) -> int:
        """Returns how many values a key has."""
        return len(self._items.get(key, ()))

    @readonly
    def keys(self) -> list[K]:
        """Returns the keys, each once."""
        return [given(key) for key in self._items]

    @readonly
    def values(self) -> list[V]:
        """Returns the values of all keys."""
        return [given(each) for found in self._items.values() for each in found]

    @readonly
    def items(self) -> list[tuple[K, V]]:
        """Returns each value with its key."""
        return [(given(key), given(each)) for key, found in self._items.items() for each in found]

    @readonly
    def contains(self, key: K, value: V) -> bool:
        """Whether a key has a value that is equal to one."""
        return value in self._items.get(key, ())

    @readonly
    def rawData(self) -> dict[K, list[V]]:
        """Returns all in a plain dict of plain lists."""
        return {given(key): [given(each) for each in found] for key, found in self._items.items()}

    def __getitem__(self, key: K) -> list[V]:
        return [given(each) for each in self._items[key]]

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[K]:
        return Given(self._items)

    def __len__(self) -> int:
        return self._count

    def __eq__(self, other: object) -> bool:
        return self._items == other._items if isinstance(other, MultiDict) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"MultiDict({self.items()!r})"


MutableMapping.register(Dict)
