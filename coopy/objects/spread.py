"""Objects that several processes have: the directory that is spread, as the process knows it that opens it, and the mapping from its keys.

`opened` sees to it that the directory is spread over as many shards as were asked for (`coopy.objects.moving`), starts their processes
(`coopy.objects.working`), and sends calls to them (`coopy.objects.sending`). docs/design/039-objects-over-processes.md says why so.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from coopy.disk import manifest as manifests
from coopy.disk.dirlock import DirectoryLock
from coopy.errors import Quarantined
from coopy.ground import action
from coopy.ground.raised import on_failure
from coopy.objects import handles, slots
from coopy.objects.handles import ByKey
from coopy.objects.kind import Kind
from coopy.objects.opened import Directory, Kinds, Objects
from coopy.objects.past import Recorded
from coopy.objects.sending import Lines, Sending
from coopy.objects.working import Given, Workers
from coopy.spine import proxy
from coopy.values.codec import Codec

T = TypeVar("T")


class SpreadObjects(Objects[T]):
    """The objects of a class, by their keys, of which several processes have some each: see `coopy.objects.opened.Objects`."""

    _engine: Any

    def _handle(self, key: bytes) -> Any:
        return proxy.attach(self._handles, ByKey(self._engine, self.kind, key), self._directory)

    def __getitem__(self, key: str) -> T:
        # Of what is opened in a loop, the handle is one of a loop: also that which comes back from another process.
        found: T = self.kind.handle(self.stored(key))
        return found

    def __len__(self) -> int:
        if not self.kind.prefix and not any(self._engine.of_all("has_others")):
            return sum(self._engine.of_all("count"))
        return len(self.keys())

    def status(self) -> dict[str, Any]:
        """Returns figures, of all processes together; ``processes`` are the figures of each, with its ``pid``."""
        found = [
            {"pid": pid, **each} for pid, each in zip(self._engine.of_all("pid"), self._engine.of_all("status"), strict=True)
        ]
        return {**{name: sum(each[name] for each in found) for name in found[0] if name != "pid"}, "processes": found}

    def figures(self) -> list[tuple[str, str, str, float | None]]:
        """Returns what `coopy.metrics` shows of all objects of the directory, in all processes."""
        found: dict[str, tuple[str, str, str, float | None]] = {}
        for those in self._engine.of_all("figures"):
            for name, kind, about, value in those:
                before = found[name][3] if name in found else 0
                found[name] = name, kind, about, None if value is None or before is None else before + value
        return list(found.values())

    def passivate(self) -> None:
        """Drops all objects from memory; each is loaded again by its next call."""
        self._engine.of_all("passivate")

    def history(self, key: str) -> list[Recorded]:
        """Returns the calls of an object; see `Objects.history`. An index is that in the journal of the shard that has the object."""
        stored = self.stored(key)
        return [Recorded(*each) for each in self._engine.of_key(stored, "history", self.kind.prefix, key)]

    def replay(self, key: str, until: int | datetime) -> T:
        """Returns an object as it was; see `Objects.replay`."""
        found: T = self._engine.of_key(self.stored(key), "replay", self.kind.prefix, key, until)
        return found

    def quarantined(self) -> dict[str, Quarantined]:
        """Returns, by key, what calls raise of the objects that are quarantined; see `Objects.quarantined`."""
        found: dict[str, Quarantined] = {}
        for those in self._engine.of_all("quarantined", self.kind.prefix):
            found.update(those)
        return found

    def release(self, key: str) -> None:
        """Has an object called again that is quarantined. Raises KeyError if it is not."""
        stored = self.stored(key)
        if not self._engine.of_key(stored, "release", stored):
            raise KeyError(key)

    def catch_up(self) -> None:
        """Runs what is due in all processes, and what their objects tell each other, until nothing is left. For tests."""
        while not all(self._engine.of_all("catch_up")):
            pass

    def compact(self, before: datetime | None = None) -> int:
        """Deletes what is not needed any more, in all journals; see `Objects.compact`."""
        return sum(self._engine.of_all("compact", None if before is None else action.nanoseconds(before)))


class Together:
    """All shards of a directory, as handles know them: in the process that has opened it, and in each worker."""

    def __init__(self, sending: Sending, system: str, name: str, kind_of: Callable[[type], Kind]) -> None:
        self.engine: Any = sending
        self.system = system
        self.name = name
        self._kind_of = kind_of
        self._objects: dict[type, SpreadObjects[Any]] = {}
        handles.opened[system] = self

    def of(self, cls: type[T]) -> SpreadObjects[T]:
        """Returns the objects of a class."""
        found = self._objects.get(cls)
        if found is None:
            kind = self._kind_of(cls)
            found = self._objects[cls] = SpreadObjects(self, kind)  # type: ignore[arg-type]
            self.engine.kinds[kind.prefix] = kind
        return found

    def begin(self) -> None:
        """Does nothing: the processes have begun."""

    def close(self) -> None:
        """Sends no more calls."""
        self.engine.close()


class SpreadDirectory(Together):
    """What the process has open that has opened the directory."""

    def __init__(self, given: Given, manifest: manifests.Manifest, lock: DirectoryLock, cls: type) -> None:
        self._secret = manifest.secret
        self._deterministic = manifest.deterministic
        self._cls = cls
        self._lock = lock
        self._is_closed = False
        sending = Sending(given.directories, given.system, given.codec, given.timeout_s)
        super().__init__(sending, manifest.system.hex(), given.basedir, self._kind)
        sending.kinds = Kinds(self)
        self.workers = Workers(given)
        _opened.add(self)
        self._end = weakref.finalize(self, _let_go, self.workers, sending.lines, lock)
        self._end.atexit = False

    def _kind(self, cls: type) -> Kind:
        prefix = b"" if cls is self._cls else f"{cls.__module__}:{cls.__qualname__}".encode() + b"\0"
        kind = Kind(cls, prefix, self._secret, self._deterministic)
        kind.system = self.system
        kind.of = lambda cls: self.of(cls).kind
        return kind

    def close(self) -> None:
        """Has all processes make everything durable and end, and lets the directory go. Closing twice is fine. Raises `JournalError`."""
        if self._is_closed:
            return
        self._is_closed = True
        handles.opened.pop(self.system, None)
        try:
            self.workers.close()
        finally:
            self._end()

    def forked(self) -> None:
        """In a forked child: it sends its calls by connections of its own, and nothing else of it is the child's."""
        self.workers.forked()
        self._lock.release()
        self.engine.forked()


def _let_go(workers: Workers, lines: Lines, lock: DirectoryLock) -> None:
    workers.abandon()
    lines.close()
    lock.release()


_opened: weakref.WeakSet[SpreadDirectory] = weakref.WeakSet()


def _forked() -> None:
    for each in list(_opened):
        each.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def opened(
    cls: type,
    basedir: str,
    manifest: manifests.Manifest,
    lock: DirectoryLock,
    timeout_s: float,
    opens: Callable[[str], Directory],
) -> SpreadDirectory:
    """Returns a directory that is spread, and locked, with its processes; ``opens`` opens the directory of a shard, in its process."""
    directories = slots.directories(basedir, manifest)
    given = Given(
        basedir,
        directories,
        manifest.system,
        Codec(cls),
        timeout_s,
        lambda number: opens(directories[number]),
        lock.release,
        _together,
    )
    found = SpreadDirectory(given, manifest, lock, cls)
    with on_failure(found._end):
        found.workers.start()
    return found


def _together(directory: Directory, sending: Sending) -> None:
    """Has handles in a worker lead to all shards."""
    found = Together(sending, directory.system, directory.name, lambda cls: directory.of(cls).kind)
    sending.kinds = directory.engine.kinds
    directory.together = found
    found.of(directory.engine.kinds[b""].cls)


__all__ = ["SpreadDirectory", "SpreadObjects", "Together", "opened"]
