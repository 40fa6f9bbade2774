"""A directory of many objects opened to be read: it may be in use, and nothing in it is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any

from coopy.disk import manifest
from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.disk.places import Places
from coopy.errors import DecodingError, UsageError
from coopy.ground import keyed, paths
from coopy.objects import past, poison, slots, table
from coopy.objects.engine import Engine, name_of
from coopy.objects.kind import Kind, beginning
from coopy.objects.past import Link
from coopy.objects.poison import Death, Watch
from coopy.objects.table import Table
from coopy.values.codec import Codec


class Reading:
    """The objects of a class in one journal: of a directory, or of a shard of one that is spread (`places`). Raises `UsageError` if there are no
    objects, or a `StorageError`.

    ``cls`` is the class; with None no state can be shown. ``of`` names it (module:Class) if it is not the class of the directory.
    """

    def __init__(self, basedir: str, cls: type | None = None, of: str | None = None) -> None:
        self.basedir = basedir = paths.absolute(basedir)
        calls = Calls()
        with paths.reads(basedir):
            found = manifest.read(calls, basedir, with_objects=True)
        if found is None or not found.has_objects:
            raise UsageError(f"{basedir} does not hold many objects with keys. Nothing was changed.")
        assert not found.shards[1], "each shard is read by itself"
        self.manifest = found
        if found.deterministic:
            from coopy.determinism import install

            install.install()
        if cls is not None:
            Codec(cls).migration.check()
        with paths.reads(basedir):
            self.log = Journal(calls, basedir, found.system, write=False, floor=0)
            self.engine = _Engine(_Store(calls, basedir, found.system, self.log), 1 << 40, 1.0)
            self.deaths = poison.read(calls, basedir)
        self.prefix = b"" if of is None or of == found.domain else of.encode() + b"\0"
        self._kinds: dict[type, Kind] = {}
        self.kind = self._kind(cls or object, self.prefix)
        self.engine.start()

    def _kind(self, cls: type, prefix: bytes) -> Kind:
        found = self._kinds[cls] = self.engine.kinds[prefix] = Kind(
            cls, prefix, self.manifest.secret, self.manifest.deterministic
        )
        # Whom an action has told something is told nothing when it is replayed.
        found.of = lambda cls: self._kinds.get(cls) or self._kind(cls, f"{cls.__module__}:{cls.__qualname__}\0".encode())
        return found

    def keys(self, prefix: str = "") -> list[str]:
        """Returns the keys that there are and begin with some text, in the order of their bytes."""
        found = self.engine.keys(self.prefix + beginning(prefix))
        size = len(self.prefix)
        return [each[size:].decode() for each in found if b"\0" not in each[size:]]

    def classes(self) -> list[str]:
        """Returns the other classes (module:Class) whose objects are in the directory."""
        return sorted({each.rpartition(b"\0")[0].decode() for each in self.engine.keys(b"") if each[0] and b"\0" in each})

    def stored(self, key: str) -> bytes:
        """Returns a key as records have it. Raises `UsageError` if there is no record of it."""
        stored = self.kind.stored(key)
        if not self.engine.place_of(stored)[0]:
            raise UsageError(f"{self.basedir}: there is no object {key!r}. Nothing was changed.")
        return stored

    def links(self, key: str) -> list[Link]:
        """Returns the records of an object in order, as far back as there are; none of a key that has none. Raises a `StorageError`."""
        return past.links(self.engine, self.kind, self.kind.stored(key))

    def calls(self, key: str) -> Iterator[past.Call]:
        """Yields the calls of an object in order. Raises `UsageError`, a `StorageError`, `DecodingError`."""
        return past.calls(self.engine, self.kind, self.stored(key))

    @staticmethod
    def is_call(record: bytes) -> bool:
        """Returns whether a record is one of a call, of whatever object."""
        return name_of(keyed.parts(record).call) not in past.NO_CALLS

    def decoded(self, record: bytes) -> tuple[str | None, tuple[Any, ...], dict[str, Any], str]:
        """Returns the method and the arguments of a call; of one that can't be decoded no method, and why not."""
        found = keyed.parts(record)
        try:
            return *past.decoded(self.kind, found), ""
        except DecodingError as error:
            return None, (), {}, str(error)

    def state(self, key: str, until: int | datetime | None = None) -> Any:
        """Returns an object as it was: a plain one. Raises what `Objects.replay` raises, and `UsageError` if there was none."""
        stored = self.stored(key)
        try:
            return past.replay(self.engine, self.kind, stored, self.log.last if until is None else until)
        except KeyError:
            raise UsageError(f"{self.basedir}: there was no object {key!r} then.") from None

    def spans(self, key: str) -> Iterator[tuple[int, Any, Any]]:
        """Yields, of each state of an object that the log has after another one, its index, what the calls in between make, and that state."""
        stored = self.stored(key)
        before: list[Link] = []
        for link in self.links(key):
            before.append(link)
            if link.name != keyed.STATE:
                continue
            if len(before) > 1 and (before[0].name == keyed.STATE or not before[0].found.before):
                ends = [each.found.outcome for each in before[1:]]
                made = past.made_of(self.engine, self.kind, stored, before[:-1], ends)
                yield link.place, made, past.made_of(self.engine, self.kind, stored, [link], [])
            before = [link]

    def deaths_of(self, key: str) -> list[Death]:
        """Returns what the process has died of at an object."""
        stored = self.kind.stored(key).decode()
        return [each for each in self.deaths if each.key == stored]

    def alarm_due(self, key: str) -> tuple[str, int] | None:
        """Returns the alarm of an object that is run next, its name and its instant; None if it has none. Replays the object."""
        cell = self.engine._activated(self.kind, self.stored(key))
        alarms = {} if cell is None or cell.kept is None else cell.kept.get("alarms", {})
        return min(((due, name) for name, (due, _) in alarms.items()), default=(0, ""))[::-1] if alarms else None

    def after(self, index: int) -> Iterator[tuple[int, int, bytes]]:
        """Yields all records after one, with the index and the offset of each. Raises a `StorageError`."""
        return self.engine.store.after(index)

    def where(self, index: int) -> str:
        """Returns the place of a record, for a person to read."""
        return self.log.where(index)

    def close(self) -> None:
        """Closes the files."""
        self.engine.store.abandon()

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Engine(Engine):
    """An engine that loads no object but to show it."""

    def outcome_of(self, kind: Kind, key: bytes) -> int:
        """Returns UNKNOWN: nothing says yet how the last action has ended, unless a record after it does."""
        return 0


class _Store:
    """The log of a directory that somebody else may write."""

    def __init__(self, calls: Calls, basedir: str, system: bytes, log: Journal) -> None:
        self._calls, self._basedir, self._system, self._log = calls, basedir, system, log
        self._places = Places(calls, basedir, system, log.firsts)

    @property
    def last(self) -> int:
        return self._log.last

    @property
    def settled(self) -> int:
        return self._log.last

    def append(self, records: Sequence[bytes]) -> int:
        raise UsageError(f"{self._basedir} was opened to be read. Nothing was changed.")

    def at(self, index: int, offset: int) -> bytes:
        return self._places.at(index, offset)

    def after(self, index: int) -> Iterator[tuple[int, int, bytes]]:
        return self._places.after(max(index, self._log.oldest - 1), self._log.last)

    def begins(self) -> list[int]:
        return list(self._log.firsts)

    def forget(self, first: int) -> int:
        return 0

    def where(self, index: int, offset: int) -> str:
        return self._log.where(index)

    def wait(self, index: int) -> None:
        pass

    def flush(self) -> None:
        pass

    def kept_table(self) -> tuple[Table, int]:
        found = table.read(self._calls, self._basedir, self._system)
        return (Table(), 0) if found is None or found[1] > self._log.last else found

    def keep_table(self, data: bytes) -> None:
        pass

    def watch(self) -> Watch:
        return Watch(bytearray(poison.PAGE_BYTES), [], lambda deaths: None, self._basedir, self.last)

    def close(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        self._places.close()
        self._log.close()


def has_objects(basedir: str | os.PathLike[str]) -> bool:
    """Returns whether a directory holds many objects. Raises a `StorageError`."""
    basedir = paths.absolute(basedir)
    with paths.reads(basedir):
        found = manifest.read(Calls(), basedir, with_objects=True)
    return found is not None and found.has_objects


def places(basedir: str) -> list[str]:
    """Returns the directories with the journals of the objects of a directory: itself, or its shards. Raises a `StorageError`, `UsageError`."""
    basedir = paths.absolute(basedir)
    with paths.reads(basedir):
        found = manifest.read(Calls(), basedir, with_objects=True)
    return [basedir] if found is None else slots.directories(basedir, found)


@contextmanager
def all_of(basedir: str, cls: type | None = None, of: str | None = None) -> Iterator[list[Reading]]:
    """Gives the objects of a class in all journals of a directory, opened to be read. Raises what `Reading` raises."""
    with ExitStack() as stack:
        yield [stack.enter_context(Reading(each, cls, of)) for each in places(basedir)]


def place_of(basedir: str, key: str) -> str:
    """Returns the directory with the journal of an object. Raises what `places` raises."""
    found = places(basedir)
    return found[slots.shard_of(key.encode("utf-8", "surrogatepass"), len(found))]
