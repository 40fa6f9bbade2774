"""The methods that PyDistributed's store has from PickleDB (patx.github.io/pickledb), of which it is a subclass: lists and dicts as values.

Each that changes something is one action, and is made again if somebody else has changed the value meanwhile. What is not there raises `MissingKey`,
which is a KeyError, as there; only `rem` says False. `load` has no meaning here: a store is loaded when it is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from coopy.batteries import thawed
from coopy.messaging.store_state import Keys, MissingKey

_MISSING: Any = object()


class OfPickleDB:
    """What `KeyValueStore` has besides its own methods.

    >>> store.dcreate("d"), store.dadd("d", ("a", 1)), store.dget("d", "a"), store.lcreate("l"), store.lextend("l", [1, 2]), store.lpop("l", 0), store.lgetall("l")
    (True, True, 1, True, True, 1, [2])
    """

    system: Any
    update: Callable[..., Any]

    def getall(self) -> list[str]:
        """Returns all keys, in order."""
        keys: Keys = self.system
        return list(keys.to_dict())

    def rem(self, key: str) -> bool:
        """Takes a key out. Returns whether it was there."""
        return bool(self.system.delete(key))

    def totalkeys(self, name: str | None = None) -> int:
        """Returns how many keys there are, or how many things the list or dict of a key has."""
        return len(self.system) if name is None else len(self.system[name])

    def append(self, key: str, more: Any) -> bool:
        """Puts more behind a text, a list or a number. Returns True."""
        self._changed(key, lambda value: value + more)
        return True

    def deldb(self) -> bool:
        """Takes all keys out. Returns True."""
        self.system.clear()
        return True

    # -- lists

    def lcreate(self, name: str) -> bool:
        """Sets an empty list. Returns True."""
        return bool(self.system.set(name, []))

    def ladd(self, name: str, value: Any) -> bool:
        """Adds to a list. Returns True."""
        self._changed(name, lambda found: [*found, value])
        return True

    def lextend(self, name: str, seq: Iterable[Any]) -> bool:
        """Adds several things to a list. Returns True."""
        more = [*seq]
        self._changed(name, lambda found: [*found, *more])
        return True

    def lgetall(self, name: str) -> list[Any]:
        """Returns a list."""
        return [*thawed(self.system[name])]

    def lget(self, name: str, pos: int) -> Any:
        """Returns the thing at a place of a list. Raises IndexError."""
        return self.lgetall(name)[pos]

    def lrange(self, name: str, start: int | None = None, end: int | None = None) -> list[Any]:
        """Returns a part of a list."""
        return self.lgetall(name)[start:end]

    def lremlist(self, name: str) -> int:
        """Takes a list out. Returns how many things it had."""
        return len(self._taken(name))

    def lremvalue(self, name: str, value: Any) -> bool:
        """Takes the first of a list's things out that is equal to one. Returns True. Raises ValueError."""

        def without(found: list[Any]) -> list[Any]:
            found.remove(value)
            return found

        self._changed(name, without)
        return True

    def lpop(self, name: str, pos: int) -> Any:
        """Takes the thing at a place of a list out, and returns it. Raises IndexError."""
        taken: list[Any] = []

        def without(found: list[Any]) -> list[Any]:
            taken[:] = [found.pop(pos)]
            return found

        self._changed(name, without)
        return taken[0]

    def llen(self, name: str) -> int:
        """Returns how long a list is."""
        return len(self.system[name])

    def lappend(self, name: str, pos: int, more: Any) -> bool:
        """Puts more behind the thing at a place of a list. Returns True. Raises IndexError."""

        def longer(found: list[Any]) -> list[Any]:
            found[pos] = found[pos] + more
            return found

        self._changed(name, longer)
        return True

    def lexists(self, name: str, value: Any) -> bool:
        """Whether a list has something that is equal to a value."""
        return value in self.system[name]

    # -- dicts

    def dcreate(self, name: str) -> bool:
        """Sets an empty dict. Returns True."""
        return bool(self.system.set(name, {}))

    def dadd(self, name: str, pair: tuple[Any, Any]) -> bool:
        """Sets a key and a value of a dict. Returns True."""
        key, value = pair
        self._changed(name, lambda found: {**found, key: value})
        return True

    def dget(self, name: str, key: Any) -> Any:
        """Returns a value of a dict. Raises KeyError."""
        return self.system[name][key]

    def dgetall(self, name: str) -> dict[Any, Any]:
        """Returns a dict."""
        return dict(thawed(self.system[name]))

    def drem(self, name: str) -> bool:
        """Takes a dict out. Returns True."""
        self._taken(name)
        return True

    def dpop(self, name: str, key: Any) -> Any:
        """Takes a key out of a dict, and returns its value. Raises KeyError."""
        taken: list[Any] = []

        def without(found: dict[Any, Any]) -> dict[Any, Any]:
            taken[:] = [found.pop(key)]
            return found

        self._changed(name, without)
        return taken[0]

    def dkeys(self, name: str) -> list[Any]:
        """Returns the keys of a dict."""
        return [*self.system[name]]

    def dvals(self, name: str) -> list[Any]:
        """Returns the values of a dict."""
        return [*self.dgetall(name).values()]

    def dexists(self, name: str, key: Any) -> bool:
        """Whether a dict has a key."""
        return key in self.system[name]

    def dmerge(self, name1: str, name2: str) -> bool:
        """Sets in the first dict what the second one has. Returns True."""
        self._changed(name1, lambda found: {**found, **self.dgetall(name2)})
        return True

    # -- below

    def _changed(self, name: str, function: Callable[[Any], Any]) -> None:
        def change(value: Any) -> Any:
            if value is _MISSING:
                raise MissingKey(name)
            return function(value)

        self.update(name, change, _MISSING)

    def _taken(self, name: str) -> Any:
        value = thawed(self.system[name])
        self.system.delete(name)
        return value
