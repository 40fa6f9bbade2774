"""Many objects that are open: a mapping from keys to what their methods are called on."""

from __future__ import annotations

import importlib
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Generic, TypeVar

from coopy.errors import Quarantined
from coopy.ground import action
from coopy.ground.holding import Alarm
from coopy.ground.log import warn
from coopy.ground.raised import last_resort
from coopy.objects import handles, past
from coopy.objects.carrying import Carrying
from coopy.objects.engine import Engine
from coopy.objects.handles import ByKey
from coopy.objects.kind import Kind, beginning
from coopy.objects.past import Recorded
from coopy.spine import proxy

T = TypeVar("T")

_STEP_S = 1.0  # So often it is looked whether objects are idle.


class Directory:
    """What is open of one store: its engine, the classes of its objects, and the thread that drops those that are idle."""

    def __init__(self, engine: Engine, system: str, secret: bytes, deterministic: bool, name: str) -> None:
        self.engine = engine
        self.system = system
        self.name = name
        self._secret = secret
        self._deterministic = deterministic
        self._objects: dict[type, Objects[Any]] = {}
        self._closing = threading.Event()
        self._bell = Alarm()
        engine.wake = self._bell.set
        engine.kinds = Kinds(self)
        self._close_lock = threading.RLock()
        self._is_closed = False
        self._kept_upto = engine.applied
        self._looked = time.monotonic()
        self._thread: threading.Thread | None = None
        self._carrying = Carrying(engine, name, system)
        self.at_the_end: Callable[[], object] = _nothing
        """Called once all is let go."""
        self.together: Any = None
        """Kept: what leads to all shards, if this is one of several."""
        handles.opened[system] = self

    def of(self, cls: type[T], prefix: bytes | None = None) -> Objects[T]:
        """Returns the objects of a class."""
        found = self._objects.get(cls)
        if found is None:
            if prefix is None:
                prefix = f"{cls.__module__}:{cls.__qualname__}".encode() + b"\0"
            kind = Kind(cls, prefix, self._secret, self._deterministic)
            kind.system = self.system
            kind.of = lambda cls: self.of(cls).kind
            found = self._objects[cls] = Objects(self, kind)
            self.engine.kinds[prefix] = kind
        return found

    def begin(self) -> None:
        """Begins the thread."""
        myself = weakref.ref(self)
        self._thread = threading.Thread(
            target=_look_after, args=(myself, self._closing, self._bell), name="coopy objects", daemon=True
        )
        self._thread.start()

    def look_after(self) -> float:
        """Runs what is due, drops objects that are idle, and keeps the table if it is time. Returns in how many seconds more is due."""
        due_s = _STEP_S
        with last_resort(_not_done, self.name):
            due_s = self.engine.do_what_is_due()
            if time.monotonic() >= self._looked + _STEP_S:
                self._looked = time.monotonic()
                self.engine.passivate_idle()
                if self.engine.applied - self._kept_upto >= self.engine.table_every:
                    self._kept_upto = self.engine.keep_table()
        return due_s

    def close(self) -> None:
        """Writes what a start would have to replay, and lets the directory go. Closing twice is fine. Raises `JournalError`."""
        with self._close_lock:
            if self._is_closed:
                return
            self._closing.set()
            self._bell.set()
            try:
                with last_resort(_not_done, self.name):
                    self._carrying.finish()
                    self.engine.passivate_all()
                    self.engine.keep_table()
            finally:
                handles.opened.pop(self.system, None)
                self._is_closed = True
                try:
                    self.engine.store.close()
                finally:
                    self.at_the_end()


def _nothing() -> None:
    pass


def _not_done(error: Exception, name: str) -> None:
    warn("%s: objects were not written, so the next start has more to replay: %s", name, error)


def _look_after(directory: weakref.ref[Directory], closing: threading.Event, bell: Alarm) -> None:
    while not closing.is_set():
        found = directory()
        if found is None:
            return
        due_s = found.look_after()
        del found
        if due_s > 0:
            bell.wait(min(due_s, _STEP_S))


class Kinds(dict[bytes, Kind]):
    """Classes by the prefix of their keys; one that has not been used yet is imported. ``directory`` has a method ``of``."""

    def __init__(self, directory: Any) -> None:
        super().__init__()
        self._directory = weakref.ref(directory)

    def __missing__(self, prefix: bytes) -> Kind:
        directory = self._directory()
        module, _, name = prefix[:-1].decode().partition(":")
        found: Any = sys.modules.get(module) or importlib.import_module(module)
        for each in name.split("."):
            found = getattr(found, each)
        assert directory is not None, "who looks has it"
        kind: Kind = directory.of(found).kind
        return kind


class Objects(Generic[T]):
    """The objects of a class, by their keys. `coopy.objects` opens them.

    >>> rooms["42"].say("ann", "hi")
    >>> "42" in rooms, len(rooms), rooms.keys("4")
    >>> del rooms["42"]

    ``rooms[key]`` never fails and makes nothing: it is what the methods of that object are called on. The first call of a method that is
    recorded makes the object, of its key if its ``__init__`` takes one. A method that reads, where there is no object, is answered by a new one
    that is not kept. All methods may be called by all threads.
    """

    def __init__(self, directory: Directory, kind: Kind) -> None:
        self._directory = directory
        self.kind = kind
        self._engine = directory.engine
        self._handles = handles.class_of(kind.cls)
        kind.handle = self._handle

    @property
    def cls(self) -> type:
        """The class of the objects."""
        return self.kind.cls

    def _handle(self, key: bytes) -> Any:
        return proxy.attach(self._handles, ByKey(self._engine, self.kind, key), self._directory)

    def stored(self, key: object) -> bytes:
        """Returns a key as records have it. Raises `UsageError`."""
        return self.kind.stored(key)

    def __getitem__(self, key: str) -> T:
        found: T = self._handle(self.stored(key))
        return found

    def __contains__(self, key: object) -> bool:
        if type(key) is not str:
            return False
        found = self._engine.has(self.kind, self.stored(key))
        self._engine.settle()
        return found > 0

    def __delitem__(self, key: str) -> None:
        """Deletes an object. A later call begins a new one. Raises KeyError if there is none."""
        if not self._engine.delete(self.kind, self.stored(key)):
            raise KeyError(key)

    def keys(self, prefix: str = "") -> list[str]:
        """Returns the keys of the objects that there are, those that begin with ``prefix``, in the order of their bytes. Raises `UsageError`."""
        stored = self.kind.prefix + beginning(prefix)
        found = self._engine.keys(stored)
        self._engine.settle()
        if not self.kind.prefix:
            found = [each for each in found if b"\0" not in each]
        return [self.kind.text(each) for each in found]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        if len(self._engine.kinds) == 1 and not self.kind.prefix and not self._engine.has_others:
            found = self._engine.count()
            self._engine.settle()
            return found
        return len(self.keys())

    def of(self, cls: type[Any]) -> Objects[Any]:
        """Returns the objects of another class that are kept in the same directory."""
        return self._directory.of(cls)

    def status(self) -> dict[str, Any]:
        """Returns figures: ``keys``, ``active`` objects, the ``memory`` they take (about, in bytes), how many were ``activated`` and
        ``passivated`` since the start, and ``last``, the index of the newest record."""
        engine = self._engine
        return {
            "keys": engine.living,
            "active": len(engine.cells),
            "memory": engine.size_bytes,
            "index_memory": engine.table.size_bytes,
            "activated": engine.activated,
            "passivated": engine.passivated,
            "last": engine.applied,
        }

    @property
    def name(self) -> str:
        """The directory."""
        return self._directory.name

    @property
    def engine(self) -> Engine:
        """What takes the calls; for `coopy.metrics`."""
        return self._engine

    def figures(self) -> list[tuple[str, str, str, float | None]]:
        """Returns what `coopy.metrics` shows of all objects of the directory: name, "Counter" or "Gauge", what it means, and the value."""
        engine = self._engine
        living, active = engine.living, len(engine.cells)
        return [
            ("coopy_actions", "Counter", "Index of the last record.", engine.applied),
            ("coopy_durable_actions", "Counter", "Index up to which callers are told.", max(engine.store.settled, 0)),
            ("coopy_objects", "Gauge", "Objects that there are.", living),
            ("coopy_objects_active", "Gauge", "Objects in memory.", active),
            ("coopy_objects_passive", "Gauge", "Objects that are not in memory.", max(living - active, 0)),
            ("coopy_objects_memory_bytes", "Gauge", "About how much memory active objects take.", engine.size_bytes),
            ("coopy_objects_index_bytes", "Gauge", "How much memory the table of keys takes.", engine.table.size_bytes),
            ("coopy_objects_activated", "Counter", "Objects that were loaded.", engine.activated),
            ("coopy_objects_passivated", "Counter", "Objects that were dropped.", engine.passivated),
            (
                "coopy_objects_quarantined",
                "Gauge",
                "Objects that have ended their process twice.",
                len(engine.watch.quarantined()),
            ),
        ]

    def passivate(self) -> None:
        """Drops all objects from memory; each is loaded again by its next call."""
        self._engine.passivate_all()

    def history(self, key: str) -> list[Recorded]:
        """Returns the calls of an object that were recorded and are there still, in order.

        >>> [(call.at, call.method, call.args, call.outcome) for call in rooms.history("42")]

        Raises a `StorageError`, `DecodingError`.
        """
        self._engine.settle()
        return list(past.history(self._engine, self.kind, self.stored(key)))

    def replay(self, key: str, until: int | datetime) -> T:
        """Returns an object as it was: a plain object, that nothing keeps.

        Args:
            key: of the object.
            until: the index of a call, as `history` has it; or a time, a naive one being local time.

        Raises KeyError if there was no object, `PrunedPast` if what it needs was deleted, `ReplayError`, `DecodingError`, a `StorageError`.
        """
        self._engine.settle()
        found: T = past.replay(self._engine, self.kind, self.stored(key), until)
        return found

    def quarantined(self) -> dict[str, Quarantined]:
        """Returns, by key, what calls raise of the objects that have ended their process twice, of which nothing is run.

        >>> for key, error in rooms.quarantined().items():
        ...     print(key, error.method, error.action)
        """
        return self._engine.quarantined(self.kind)

    def release(self, key: str) -> None:
        """Has an object called again that is quarantined: once its code is mended, say. Raises KeyError if it is not."""
        if not self._engine.let_out(self.stored(key)):
            raise KeyError(key)

    def catch_up(self) -> None:
        """Runs what is due, in this thread: calls that objects were told, and alarms whose time has come. For tests."""
        while not self._engine.do_what_is_due():
            pass

    def compact(self, before: datetime | None = None) -> int:
        """Deletes what is not needed any more: whole segments of the journal, of which no object needs a record.

        Objects whose newest state lies in one of these have it written again. Calls go on meanwhile.

        Args:
            before: what was recorded since then stays, also if no object needs it; a naive datetime is local time. By default nothing
                stays for that.

        Returns how many files were deleted. Raises `EncodingError` if the state of an object can't be written, `JournalError`, a `StorageError`.
        """
        return self._engine.compact(None if before is None else action.nanoseconds(before))

    def close(self) -> None:
        """Makes everything durable and lets the directory go. Closing twice is fine. Raises `JournalError`."""
        self._directory.close()

    def __enter__(self) -> Objects[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<objects of {self.kind.cls.__qualname__} in {self._directory.name}>"
