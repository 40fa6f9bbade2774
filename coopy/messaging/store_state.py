"""Keys: the state of a key-value store, a plain class that is opened as any other. It has more than 500 lines because everything that
is recorded of a store, and everything that is read of it, is a method of this one class.

What programs hold of it is a `coopy.messaging.KeyValueStore` or `KeyValueClient`; ``init_system(Keys, "data")``, ``coopy.aio.open``, ``coopy.connect``
and ``cluster=[...]`` work as with every class. Values are kept frozen, as the structures of `coopy.batteries` keep theirs.

A *revision* is the index of the action that a value came by. By it one asks for what was before (`history`), goes on after what was seen
(`changes`), and sets a value only if nobody else has set one meanwhile (`put_if`, `transact`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from itertools import islice
from typing import Any, ClassVar, Final, NamedTuple

import coopy
from coopy import UsageError, abort_exception, action_index, listeners, readonly
from coopy.batteries import Change
from coopy.batteries.battery import Battery
from coopy.batteries.changes import tell_change
from coopy.batteries.frozen import ATOMS, Given, given, in_order, kept
from coopy.messaging.store_order import SortedKeys
from coopy.messaging.store_time import NS, Ends, nanoseconds
from coopy.sync.ticks import Count

PAGE_KEYS = 1000
"""What `scan` and `keys` return at most, unless they are told otherwise: one action's worth of time."""
HISTORY, CHANGES, DELETED = 16, 1000, 1000
"""So many values of a key are kept, so many changes of all keys, and so many keys that are gone with what they were."""

_REQUIRED: Any = "<required>"


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
"""In the place of a value: the key is not there."""


class MissingKey(KeyError):
    """There is no such key. ``key`` is the one that was asked for. The first words are those of PyDistributed.

    >>> MissingKey("colour").key
    'colour'
    """

    @property
    def key(self) -> Any:
        """The key that was asked for."""
        return self.args[0]

    def __str__(self) -> str:
        return f"GOT EXCEPTION ON GET: there is no key {self.key!r}. Nothing has changed. Ask with a default: get({self.key!r}, None)."


class Conflict(RuntimeError):
    """A transaction has read what somebody else has changed since. Nothing was recorded: begin again. ``keys`` are those.

    >>> Conflict(("colour",)).keys
    ('colour',)
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        super().__init__(keys)
        self.keys = keys

    def __str__(self) -> str:
        return (
            f"{', '.join(map(repr, self.keys))}: changed by somebody else since this transaction has read. Nothing was recorded. "
            f"Begin again, or use update(), which does."
        )


class Version(NamedTuple):
    """A value that a key has, or had.

    >>> from datetime import datetime, timezone
    >>> Version(7, datetime(2030, 1, 1, tzinfo=timezone.utc), "set", "red").revision
    7
    """

    revision: int
    """Index of the action by which it came."""
    time: datetime
    """The instant of that action, in UTC."""
    kind: str
    """"added" or "set"; "removed" or "expired" where the key went."""
    value: Any
    """The value; None where the key went."""


class Outcome(NamedTuple):
    """What came of `Keys.transact`.

    >>> Outcome(7, ()).done, Outcome(0, ("colour",)).done
    (True, False)
    """

    revision: int
    """Index of the action; 0 if nothing was done."""
    conflicts: tuple[str, ...]
    """The keys that were not as expected; none if it was done."""

    @property
    def done(self) -> bool:
        """Whether it was done."""
        return not self.conflicts


class Keys(Battery):
    """Values by keys, which are texts and stand in order. A value that is read out is frozen.

    Args:
        history: how many values of a key are kept, that which it has among them; at least 1.
        changes: how many changes of all keys are kept for those who follow them from elsewhere.

    >>> from coopy import init_system
    >>> keys = init_system(Keys, "keys")
    >>> keys.set("lamp/1", {"on": True}), keys.set("lamp/2", {"on": False}), keys.set("door", "open")
    (True, True, True)
    >>> keys.get("lamp/1"), keys.get("lamp/3"), keys.scan("lamp/")
    ({'on': True}, None, [('lamp/1', {'on': True}), ('lamp/2', {'on': False})])
    >>> keys.compare_and_set("door", "open", "shut"), keys.compare_and_set("door", "open", "ajar"), keys.delete("door"), keys.delete("door")
    (True, False, True, False)
    >>> [(version.kind, version.value) for version in keys.history("door")]
    [('added', 'open'), ('set', 'shut'), ('removed', None)]
    """

    _KEYS: ClassVar[str] = "key"

    def __init__(self, history: int = HISTORY, changes: int = CHANGES) -> None:
        for name, number in (("history", history), ("changes", changes)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise UsageError(f"{name}={number!r}: must be a whole number, at least 1")
        self._kept_of_each = history
        self._items: dict[str, tuple[Any, int, float]] = {}
        """By key: the value, the revision, and the instant."""
        self._order = SortedKeys()
        self._past: dict[str, deque[_Past]] = {}
        """By key: what it was before, the oldest first. Of a key that had one value only there is nothing."""
        self._gone: dict[str, deque[_Past]] = {}
        """The same of keys that are gone, in the order in which they went."""
        self._changes: deque[tuple[int, float, str, str, Any, Any]] = deque(maxlen=changes)
        """Revision, instant, kind, key, the value before, the value after."""
        self._forgotten = 0
        """The revision of the newest change that is not among them any more."""
        self._ends = Ends()
        self._imported = ""
        """The file whose values were taken over; empty if there was none."""

    # -- actions

    @abort_exception
    def set(self, key: str, value: Any, ttl: float | None = None) -> bool:
        """Sets a value, for good or for ``ttl`` seconds of counted time at least. Returns True."""
        _refuse_key(key)
        self._put(key, value if type(value) in ATOMS else kept(value), None if ttl is None else nanoseconds(ttl))
        return True

    @abort_exception
    def put(self, key: str, value: Any, ttl: float | None = None) -> int:
        """As `set`. Returns the revision."""
        self.set(key, value, ttl)
        return action_index()

    @abort_exception
    def put_if(self, key: str, value: Any, revision: int, ttl: float | None = None) -> int:
        """Sets a value if the key has that revision, 0 for none. Returns the new revision, or 0 if it has another one."""
        _refuse_key(key)
        if self._revision(key) != revision:
            return 0
        self.set(key, value, ttl)
        return action_index()

    @abort_exception
    def put_if_absent(self, key: str, value: Any, ttl: float | None = None) -> bool:
        """Sets the value of a key that is not there. Returns whether it was set."""
        _refuse_key(key)
        return key not in self._items and self.set(key, value, ttl)

    @abort_exception
    def compare_and_set(self, key: str, old: Any, new: Any, ttl: float | None = None) -> bool:
        """Sets a value if the one before is equal to ``old``, `ABSENT` for none. Returns whether it was set."""
        _refuse_key(key)
        found = self._items.get(key)
        if (found is not None) if old is ABSENT else (found is None or found[0] != old):
            return False
        return self.set(key, new, ttl)

    @abort_exception
    def increment(self, key: str, by: Any = 1) -> Any:
        """Adds to a number, which is 0 if it is not there. Returns it. How long the key lives stays as it is. Raises TypeError."""
        _refuse_key(key)
        found = self._items.get(key)
        total = (0 if found is None else found[0]) + by
        self._put(key, kept(total), self._ends.ttl_ns(key), keeps_end=True)
        return given(kept(total))

    @abort_exception
    def delete(self, key: str) -> bool:
        """Takes a key out. Returns whether it was there."""
        _refuse_key(key)
        if key not in self._items:
            return False
        self._ends.end(key)
        self._take(key, "removed")
        return True

    def delete_prefix(self, prefix: str) -> int:
        """Takes all keys out that begin so. Returns how many they were."""
        _refuse_key(prefix, "prefix")
        found = list(self._order.beginning(prefix))
        for key in found:
            self._ends.end(key)
            self._take(key, "removed")
        return len(found)

    @abort_exception
    def touch(self, key: str, ttl: float | None) -> bool:
        """Has a key live for so many seconds from now, None for ever. Returns whether it was there."""
        _refuse_key(key)
        ttl_ns = None if ttl is None else nanoseconds(ttl)
        if key not in self._items:
            return False
        self._end_after(key, ttl_ns)
        return True

    @abort_exception
    def transact(
        self,
        puts: Mapping[str, Any] = {},
        deletes: Iterable[str] = (),
        expected: Mapping[str, int] = {},
        ttls: Mapping[str, float] = {},
    ) -> Outcome:
        """Sets and deletes several keys if those in ``expected`` have these revisions, 0 for none: one action, all of it or nothing.

        ``ttls`` says which of the values live for how many seconds. Raises `UsageError`, and nothing has changed.
        """
        deletes = [*in_order(deletes)]
        for key in (*puts, *deletes, *expected):
            _refuse_key(key)
        values = {key: kept(value) for key, value in puts.items()}
        lengths = {key: nanoseconds(ttl) for key, ttl in ttls.items()}
        if not lengths.keys() <= values.keys() or not values.keys().isdisjoint(deletes):
            raise UsageError(
                "transact(): ttls= has a key that puts= has not, or deletes= one that puts= has. Nothing has changed."
            )
        conflicts = tuple(key for key, revision in expected.items() if self._revision(key) != revision)
        if conflicts:
            return Outcome(0, conflicts)
        for key in deletes:
            if key in self._items:
                self._ends.end(key)
                self._take(key, "removed")
        for key, value in values.items():
            self._put(key, value, lengths.get(key))
        return Outcome(action_index(), ())

    @abort_exception
    def put_many(self, values: Mapping[str, Any], ttl: float | None = None) -> int:
        """Sets several values: one action. Returns the revision."""
        return self.transact(values, ttls={} if ttl is None else dict.fromkeys(values, ttl)).revision

    def clear(self) -> int:
        """Takes all keys out. Returns how many they were."""
        return self.delete_prefix("")

    @abort_exception
    def take_over(self, source: str, values: Mapping[str, Any]) -> bool:
        """Sets those of some values whose keys are not there, once for all from one source. Returns whether this was the first time."""
        if self._imported:
            return False
        self.put_missing(values)
        self._imported = source
        return True

    @abort_exception
    def put_missing(self, values: Mapping[str, Any]) -> list[str]:
        """Sets those of some values whose keys are not there: one action. Returns these keys."""
        missing = [key for key in values if key not in self._items]
        self.transact({key: values[key] for key in missing})
        return missing

    @abort_exception
    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    @abort_exception
    def __delitem__(self, key: str) -> None:
        if not self.delete(key):
            raise MissingKey(key)

    # -- time

    def tick(self, timekeeper: str, beat: int, elapsed_ns: int) -> list[str]:
        """Counts time, see `coopy.messaging.store_time.Ends`. Returns the keys that have ended by it, and are gone."""
        ended = self._ends.tick(timekeeper, beat, elapsed_ns)
        for key in ended:
            self._take(key, "expired")
        return ended

    def claim_time(self, timekeeper: str, beat: int) -> bool:
        """Makes a process the timekeeper. Returns whether it did."""
        return self._ends.claim(timekeeper, beat)

    @readonly
    def count_time(self) -> Count:
        """Returns how time stands."""
        return self._ends.count()

    # -- reads

    @readonly
    def get(self, key: str, default: Any = None) -> Any:
        """Returns a value, or the default if the key is not there."""
        found = self._items.get(key)
        return default if found is None else given(found[0])

    @readonly
    def value(self, key: str) -> Any:
        """Returns a value. Raises `MissingKey`."""
        return self[key]

    def __getitem__(self, key: str) -> Any:
        found = self._items.get(key)
        if found is None:
            raise MissingKey(key)
        return given(found[0])

    @readonly
    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Returns the values of those of several keys that are there."""
        return {key: given(self._items[key][0]) for key in keys if key in self._items}

    @readonly
    def get_version(self, key: str) -> Version | None:
        """Returns the value of a key with its revision and its time, or None if it is not there."""
        found = self._items.get(key)
        return None if found is None else self._version(found, "set" if self._past.get(key) else "added")

    @readonly
    def exists(self, key: str) -> bool:
        """Whether a key is there."""
        return key in self._items

    @readonly
    def scan(
        self, prefix: str = "", after: str | None = None, limit: int = PAGE_KEYS, before: str | None = None
    ) -> list[tuple[str, Any]]:
        """Returns a page of the keys that begin so, with their values, in order: those that come after a key.

        With ``before`` it goes backwards, from before that key; ``before=""`` from the end. The last key of a page is what the next one is asked for by.
        """
        return [(key, given(self._items[key][0])) for key in self._page(prefix, after, before, limit)]

    @readonly
    def scan_keys(
        self, prefix: str = "", after: str | None = None, limit: int = PAGE_KEYS, before: str | None = None
    ) -> list[str]:
        """Returns a page of keys, as `scan` does with their values."""
        return list(self._page(prefix, after, before, limit))

    @readonly
    def count(self, prefix: str = "") -> int:
        """Returns how many keys begin so."""
        return len(self._items) if not prefix else sum(1 for _ in self._order.beginning(prefix))

    @readonly
    def to_dict(self) -> dict[str, Any]:
        """Returns all keys and values, in order, in a plain dict."""
        return {key: given(self._items[key][0]) for key in self._order.beginning("")}

    @readonly
    def ttl(self, key: str) -> float | None:
        """Returns for how many seconds of counted time a key is there at most; None if it has no end. Raises `MissingKey`."""
        if key not in self._items:
            raise MissingKey(key)
        left = self._ends.left_ns(key)
        return None if left is None else left / NS

    @readonly
    def history(self, key: str) -> list[Version]:
        """Returns the values that a key has had, the oldest first, as far as they are kept: those before it was deleted, too."""
        past = self._past.get(key) or self._gone.get(key) or ()
        found = [self._version((value, revision, time), kind) for revision, time, kind, value in past]
        if (now := self._items.get(key)) is not None:
            kind = "set" if found and found[-1].kind not in _GOING else "added"
            found.append(self._version(now, kind))
        return found

    @readonly
    def changes(
        self, after: int, prefix: str = "", key: str | None = None, limit: int = PAGE_KEYS
    ) -> tuple[list[Change], int, bool]:
        """Returns changes since a revision, of a key or of all that begin so; the revision to go on after; and whether all since then are there.

        Where they are not, because they are not kept any more, all that are left come.
        """
        found: list[Change] = []
        upto = max(after, self._changes[-1][0] if self._changes else self._forgotten)
        for each in self._since(after):
            if len(found) >= limit and each[0] != found[-1].index:
                upto = found[-1].index
                break
            if each[3].startswith(prefix) and key in (None, each[3]):
                revision, time, kind, changed, before, now = each
                found.append(Change(revision, _moment(time), kind, changed, given(before), given(now)))
        return found, upto, after >= self._forgotten

    @readonly
    def revision(self) -> int:
        """Returns the revision of the newest change."""
        return self._changes[-1][0] if self._changes else self._forgotten

    @readonly
    def imported(self) -> str:
        """Returns the file whose values were taken over; empty if there was none."""
        return self._imported

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[str]:
        return Given(self._order.beginning(""))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._items)} keys>"

    # -- below

    def _revision(self, key: str) -> int:
        found = self._items.get(key)
        return 0 if found is None else found[1]

    def _put(self, key: str, value: Any, ttl_ns: int | None, keeps_end: bool = False) -> None:
        """Sets a value that is as it is kept."""
        revision, now = action_index(), coopy.clock.time()
        before = self._items.get(key)
        if before is None:
            self._order.add(key)
            kind = "added"
            if key in self._gone:
                self._past[key] = self._gone.pop(key)
        else:
            kind = "set"
            self._remember(key, before)
        self._items[key] = value, revision, now
        if not keeps_end and (ttl_ns is not None or self._ends):
            self._end_after(key, ttl_ns)
        self._note(revision, now, kind, key, None if before is None else before[0], value)

    def _end_after(self, key: str, ttl_ns: int | None) -> None:
        if ttl_ns is None:
            self._ends.end(key)
        else:
            self._ends.begin(key, ttl_ns)

    def _remember(self, key: str, before: tuple[Any, int, float]) -> None:
        if self._kept_of_each > 1:
            past = self._past.get(key)
            if past is None:
                past = self._past[key] = deque(maxlen=self._kept_of_each - 1)
            value, revision, time = before
            past.append((revision, time, "set" if past and past[-1][2] not in _GOING else "added", value))

    def _take(self, key: str, kind: str) -> None:
        """Takes a key out that is there and has no end any more."""
        before = self._items.pop(key)
        self._order.remove(key)
        self._remember(key, before)
        revision, now = action_index(), coopy.clock.time()
        past = self._past.pop(key, None)
        if past is not None:
            past.append((revision, now, kind, None))
            self._gone[key] = past
            if len(self._gone) > DELETED:
                del self._gone[next(iter(self._gone))]
        self._note(revision, now, kind, key, before[0], None)

    def _note(self, revision: int, now: float, kind: str, key: str, before: Any, after: Any) -> None:
        changes = self._changes
        if len(changes) == changes.maxlen:
            self._forgotten = changes[0][0]
        changes.append((revision, now, kind, key, before, after))
        if listeners:
            tell_change(self, kind, key, before, after)

    def _since(self, after: int) -> Iterable[tuple[int, float, str, str, Any, Any]]:
        # Those who follow are near the end.
        count = 0
        for each in reversed(self._changes):
            if each[0] <= after:
                break
            count += 1
        return islice(self._changes, len(self._changes) - count, None)

    def _page(self, prefix: str, after: str | None, before: str | None, limit: int) -> Iterator[str]:
        _refuse_key(prefix, "prefix")
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise UsageError(f"limit={limit!r}: must be a whole number, at least 0")
        if before == "":
            last = self._order.last(prefix)
            found = iter(()) if last is None else self._order.beginning(prefix, before=last + "\0")
        else:
            found = self._order.beginning(prefix, after, before)
        return islice(found, limit)

    @staticmethod
    def _version(found: tuple[Any, int, float], kind: str) -> Version:
        value, revision, time = found
        return Version(revision, _moment(time), kind, given(value))


_Past = tuple[int, float, str, Any]
_GOING = ("removed", "expired")


def _moment(time: float) -> datetime:
    return datetime.fromtimestamp(time, timezone.utc)


def _refuse_key(key: object, name: str = "key") -> None:
    if type(key) is not str:
        raise UsageError(f"{name}={key!r}: must be a text, because keys stand in order. Nothing has changed.")
