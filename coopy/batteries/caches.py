"""TTLCache, LRUCache and SessionStore.

Time is that of the log. An entry expires by an action whose instant is past its end, and not because a caller's clock
says so: so all nodes, and every replay, agree on what is there. A read sees what the last action has left. Where no action
comes for a while, nothing expires; `expire` is an action that does nothing else, and says which keys have gone.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, Generic, TypeVar

from coopy import abort_exception, clock, env, listeners, readonly
from coopy.batteries.battery import Battery, Edit, conflict, editing, same
from coopy.batteries.changes import tell_change, tell_put, tell_taken
from coopy.batteries.frozen import Boxed, Given, given, kept, thawed

K = TypeVar("K")
V = TypeVar("V")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
EXPIRED_KEPT = 1000
"""So many expiries are remembered, for those who ask what has gone."""


def now_us() -> int:
    """Returns the instant of the running action, in microseconds."""
    # Not of clock.time(): a float of seconds since 1970 is exact to a quarter of a microsecond only.
    return (clock.now(timezone.utc) - _EPOCH) // _MICROSECOND


def _microseconds(ttl: float | None, name: str = "ttl") -> int | None:
    if ttl is None:
        return None
    if not 0 < ttl < float("inf"):
        raise ValueError(f"{name}={ttl!r}: must be a number of seconds, more than 0; None for no end")
    return int(ttl * 1_000_000)


class TTLCache(Battery, Generic[K, V]):
    """A dict whose entries expire, by the log: each action first takes out those whose time has come at its instant.

    >>> from coopy.testing import Clock, memory_system
    >>> clock = Clock()
    >>> clock.freeze()
    >>> prices = memory_system(TTLCache(ttl=60), clock=clock)
    >>> prices["tea"] = 3
    >>> clock.move(59.9)
    >>> prices.expire(), prices.get("tea"), prices.touch("tea")
    ([], 3, True)
    >>> clock.move(60)
    >>> prices.get("tea"), prices.expire(), prices.get("tea"), prices.expired()
    (3, ['tea'], None, [(1, 'tea')])
    """

    _KEYS = "key"

    def __init__(self, ttl: float | None = 60.0, maxsize: int | None = None) -> None:
        self.ttl = ttl
        self.maxsize = maxsize
        _microseconds(ttl)
        self._items: dict[Any, tuple[Any, int | None]] = {}
        """By key: the value, and when it expires."""
        self._ends: list[tuple[int, int, Any]] = []
        """A heap of when, a number, and the key. One whose key has another end by now says nothing."""
        self._number = 0
        self._gone: deque[tuple[int, Any]] = deque((), EXPIRED_KEPT)
        self._gone_count = 0

    # -- actions

    @abort_exception
    def set(self, key: K, value: V, ttl: float | None = None) -> None:
        """Sets a value, which expires ``ttl`` seconds after the instant of this action; by default those of the cache."""
        end = _microseconds(self.ttl if ttl is None else ttl)
        key, value = kept(key), kept(value)
        _ = key in self._items  # What can't be a key raises before anything has changed.
        self._expire()
        self._put(key, value, end)

    @abort_exception
    def __setitem__(self, key: K, value: V) -> None:
        key, value = kept(key), kept(value)
        _ = key in self._items  # What can't be a key raises before anything has changed.
        self._expire()
        self._put(key, value, _microseconds(self.ttl))

    def put_if_absent(self, key: K, value: V, ttl: float | None = None) -> bool:
        """Sets the value of a key that has none. Returns whether it was set."""
        end = _microseconds(self.ttl if ttl is None else ttl)
        self._expire()
        if key in self._items:
            return False
        self._put(kept(key), kept(value), end)
        return True

    def touch(self, key: K, ttl: float | None = None) -> bool:
        """Gives an entry its full time again. Returns whether it was there."""
        end = _microseconds(self.ttl if ttl is None else ttl)
        self._expire()
        if key not in self._items:
            return False
        self._put(key, self._items[key][0], end, "touched")
        return True

    def pop(self, key: K, default: Any = None) -> Any:
        """Takes an entry out and returns its value, or the default if there is none."""
        self._expire()
        if key not in self._items:
            return default
        value = self._items.pop(key)[0]
        if listeners:
            tell_change(self, "removed", key, value)
        return thawed(value)

    def __delitem__(self, key: K) -> None:
        self._expire()
        value = self._items.pop(key)[0]
        if listeners:
            tell_change(self, "removed", key, value)

    def expire(self) -> list[K]:
        """Takes out what has expired at the instant of this action. Returns the keys, in the order of their ends."""
        return self._expire()

    def clear(self) -> None:
        """Takes all out; nothing of it counts as expired."""
        if listeners:
            for key, (value, _) in self._items.items():
                tell_change(self, "removed", key, value)
        self._items.clear()
        self._ends.clear()

    def finish_edit(self, key: K, before: V, after: V) -> None:
        """Puts a value in if the one before it is still there, as an edit does; its end stays. Raises `EditConflict`."""
        self._expire()
        if key not in self._items or not same(thawed(self._items[key][0]), before):
            raise conflict(key)
        value, end = kept(after), self._items[key][1]
        if listeners:
            tell_change(self, "set", key, self._items[key][0], value)
        self._items[key] = value, end

    def _put(self, key: Any, value: Any, ttl: int | None, kind: str = "set") -> None:
        end = None if ttl is None else now_us() + ttl
        before = self._items.pop(key, None)
        if self.maxsize is not None and len(self._items) >= self.maxsize:
            oldest = next(iter(self._items))
            if listeners:
                tell_change(self, "evicted", oldest, self._items[oldest][0])
            del self._items[oldest]
        if listeners:
            tell_change(self, kind if before else "added", key, before[0] if before else None, value)
        self._items[key] = value, end
        if end is not None:
            heapq.heappush(self._ends, (end, self._number, key))
            self._number += 1
        if len(self._ends) > 2 * len(self._items) + 16:
            # Ends that say nothing any more, of entries that were set again.
            self._ends = [each for each in self._ends if self._items.get(each[2], (None, None))[1] == each[0]]
            heapq.heapify(self._ends)

    def _expire(self) -> list[Any]:
        now, gone = now_us(), []
        while self._ends and self._ends[0][0] <= now:
            end, _, key = heapq.heappop(self._ends)
            entry = self._items.get(key)
            if entry is not None and entry[1] == end:
                del self._items[key]
                if listeners:
                    tell_change(self, "expired", key, entry[0])
                self._gone_count += 1
                self._gone.append((self._gone_count, key))
                gone.append(given(key))
        return gone

    # -- reads

    @readonly
    def edit(self, key: K) -> Edit[V]:
        """Gives a plain value to be changed in a ``with`` block, which is one action. Raises KeyError."""
        return editing(self, key, self._items[key][0])

    @readonly
    def get(self, key: K, default: Any = None) -> Any:
        """Returns a value, or the default if there is none."""
        entry = self._items.get(key)
        return default if entry is None else given(entry[0])

    @readonly
    def expires_at(self, key: K) -> float | None:
        """Returns when an entry expires, in seconds since 1970; None for never. Raises KeyError."""
        end = self._items[key][1]
        return None if end is None else end / 1_000_000

    @readonly
    def next_expiry(self) -> float | None:
        """Returns when the next entry expires, in seconds since 1970; None if none does."""
        if self._ends and self._items.get(self._ends[0][2], (None, None))[1] == self._ends[0][0]:
            return self._ends[0][0] / 1_000_000
        ends = [end for _, end in self._items.values() if end is not None]
        return min(ends) / 1_000_000 if ends else None

    @readonly
    def expired(self, after: int = 0) -> list[tuple[int, K]]:
        """Returns the last expiries, 1000 at most: a number that counts them, and the key. ``after`` leaves out those up to it."""
        return [(number, given(key)) for number, key in self._gone if number > after]

    @readonly
    def keys(self) -> list[K]:
        """Returns the keys, those that were set first first."""
        return [given(key) for key in self._items]

    @readonly
    def items(self) -> list[tuple[K, V]]:
        """Returns the keys and values."""
        return [(given(key), given(value)) for key, (value, _) in self._items.items()]

    def __getitem__(self, key: K) -> V:
        value: Any = self._items[key][0]
        if type(value) is Boxed:
            value = value.copy()
        return value  # type: ignore[no-any-return]

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[K]:
        return Given(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._items)} entries>"


class LRUCache(Battery, Generic[K, V]):
    """A dict of at most ``maxsize`` entries: the one that was used least recently goes first.

    `get` counts as a use, and so it is an action. ``cache[key]`` and `peek` only look.

    >>> from coopy import init_system
    >>> pages = init_system(LRUCache(maxsize=2), "pages")
    >>> pages["home"] = "Welcome"
    >>> pages["news"] = "None"
    >>> pages.get("home")
    'Welcome'
    >>> pages["help"] = "Ask"
    >>> pages.keys(), pages.peek("news")
    (['home', 'help'], None)
    """

    _KEYS = "key"

    def __init__(self, maxsize: int = 128) -> None:
        if maxsize < 1:
            raise ValueError(f"maxsize={maxsize!r}: must be at least 1")
        self.maxsize = maxsize
        self._items: OrderedDict[Any, Any] = OrderedDict()

    # -- actions

    @abort_exception
    def __setitem__(self, key: K, value: V) -> None:
        self._put(kept(key), kept(value))

    @abort_exception
    def set(self, key: K, value: V) -> list[K]:
        """Sets a value. Returns the keys that went for it."""
        return self._put(kept(key), kept(value))

    @abort_exception
    def get(self, key: K, default: Any = None) -> Any:
        """Returns a value, or the default if there is none. The entry is the last to go then."""
        if key not in self._items:
            return default
        self._items.move_to_end(key)
        return given(self._items[key])

    @abort_exception
    def pop(self, key: K, default: Any = None) -> Any:
        """Takes an entry out and returns its value, or the default if there is none."""
        if listeners:
            tell_taken(self, self._items, (key,))
        return thawed(self._items.pop(key)) if key in self._items else default

    @abort_exception
    def __delitem__(self, key: K) -> None:
        if listeners:
            tell_taken(self, self._items, (key,))
        del self._items[key]

    @abort_exception
    def resize(self, maxsize: int) -> list[K]:
        """Sets how many entries there may be. Returns the keys that went for it."""
        if maxsize < 1:
            raise ValueError(f"maxsize={maxsize!r}: must be at least 1")
        self.maxsize = maxsize
        return self._shrink()

    def clear(self) -> None:
        """Takes all out."""
        if listeners:
            tell_taken(self, self._items, self._items)
        self._items.clear()

    @abort_exception
    def finish_edit(self, key: K, before: V, after: V) -> None:
        """Puts a value in if the one before it is still there, as an edit does. Raises `EditConflict`."""
        if key not in self._items or not same(thawed(self._items[key]), before):
            raise conflict(key)
        self._put(key, kept(after))

    def _put(self, key: Any, value: Any) -> list[Any]:
        if listeners:
            tell_put(self, self._items, key, value)
        self._items[key] = value
        self._items.move_to_end(key)
        return self._shrink()

    def _shrink(self) -> list[Any]:
        gone = []
        while len(self._items) > self.maxsize:
            key, value = self._items.popitem(last=False)
            if listeners:
                tell_change(self, "evicted", key, value)
            gone.append(given(key))
        return gone

    # -- reads

    @readonly
    def edit(self, key: K) -> Edit[V]:
        """Gives a plain value to be changed in a ``with`` block, which is one action. Raises KeyError."""
        return editing(self, key, self._items[key])

    @readonly
    def peek(self, key: K, default: Any = None) -> Any:
        """Returns a value, or the default if there is none. It does not count as a use."""
        return given(self._items.get(key, default))

    @readonly
    def keys(self) -> list[K]:
        """Returns the keys, that which goes first first."""
        return [given(key) for key in self._items]

    @readonly
    def items(self) -> list[tuple[K, V]]:
        """Returns the keys and values, those that go first first."""
        return [(given(key), given(value)) for key, value in self._items.items()]

    def __getitem__(self, key: K) -> V:
        found: V = given(self._items[key])
        return found

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[K]:
        return Given(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._items)} entries>"


class SessionStore(TTLCache[str, "dict[str, Any]"]):
    """Sessions of users, each with an id that can't be guessed. One that is not used for ``ttl`` seconds expires, by the log.

    >>> from coopy import init_system
    >>> sessions = init_system(SessionStore(ttl=1800), "sessions")
    >>> sid = sessions.create({"user": "ann"})
    >>> sessions.update(sid, cart=["tea"]), sessions.get(sid)
    (True, {'user': 'ann', 'cart': ['tea']})
    >>> sessions.delete(sid), sessions.get(sid)
    (True, None)
    """

    def __init__(self, ttl: float = 1800.0, maxsize: int | None = None) -> None:
        super().__init__(ttl, maxsize)

    def create(self, data: dict[str, Any] | None = None) -> str:
        """Begins a session, and returns its id: 43 characters of 256 bits of chance."""
        sid = env.token_urlsafe(32)
        self._expire()
        self._put(sid, kept(dict(data or {})), _microseconds(self.ttl))
        return sid

    def update(self, sid: str, /, **values: Any) -> bool:
        """Sets values of a session, which gets its full time again. Returns whether it was there."""
        self._expire()
        if sid not in self._items:
            return False
        self._put(sid, kept({**self._items[sid][0], **values}), _microseconds(self.ttl))
        return True

    def renew(self, sid: str) -> str | None:
        """Gives a session another id, as after a login. Returns it, or None if the session is not there."""
        self._expire()
        if sid not in self._items:
            return None
        data, _ = self._items.pop(sid)
        if listeners:
            tell_change(self, "removed", sid, data)
        fresh = env.token_urlsafe(32)
        self._put(fresh, data, _microseconds(self.ttl))
        return fresh

    def delete(self, sid: str) -> bool:
        """Ends a session. Returns whether it was there."""
        self._expire()
        if sid not in self._items:
            return False
        data, _ = self._items.pop(sid)
        if listeners:
            tell_change(self, "removed", sid, data)
        return True
