"""Spreads the objects of a directory over another number of shards, while nobody has it open.

All records are written again, in the order of their times, to the journals of a new generation of shards, each to the shard that has its key now; the old
ones are not changed. Then the manifest names the new generation, by one rename, and the old one is removed. So whatever comes in between, the directory is
as it was or as it is to be. Records keep what they say, but for the place of the one before, so an object keeps its history; only the indexes are others.
No code of the objects is run: also those move that can't be loaded.

The number of the first action of a key was its index (`coopy.ground.keyed`), which is another one now: before it stands a state without an object, which
has the number. What objects have told others in another shard, and is not there yet, is put behind all else.
"""

from __future__ import annotations

import heapq
import os
import pickle
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

from coopy.disk import directory, dirlock
from coopy.disk import manifest as manifests
from coopy.disk.fs import Calls, remove_if_there
from coopy.disk.journal import Journal
from coopy.disk.manifest import Manifest
from coopy.ground import action, keyed, log
from coopy.ground.record import joined
from coopy.objects import poison, slots, table
from coopy.objects.engine import AT_ONCE, name_of
from coopy.objects.kind import Cell, Kind
from coopy.objects.kind import told as told_call
from coopy.objects.reading import Reading
from coopy.objects.shard import Sent, heard, unheard
from coopy.objects.table import Table
from coopy.values.codec import decode_one

ENDING_S = 10.0
"""A process whose opener was killed ends within that, however busy the machine is."""
TOGETHER = 64
"""So many records are one frame."""
_LEFT_BEHIND = (table.NAME, poison.PAGE, poison.DEATHS)


class Target:
    """The shard of a new generation that is written."""

    def __init__(self, calls: Calls, path: str, manifest: Manifest) -> None:
        directory.make(calls, path)
        self.manifest = manifests.create(
            calls,
            path,
            manifest.domain,
            manifest.secret,
            None,
            manifest.deterministic,
            manifest.program,
            has_objects=True,
        )
        self.path = path
        self.table = Table()
        self.numbered = bytearray()
        """By the number of a key: whether an action of it, or a state of it, has a number."""
        self.inboxes: dict[int, list[bytes]] = {}
        """By the number of a key that has had no action yet: the calls that wait in it."""
        self.deaths: list[poison.Death] = []
        self._calls = calls
        self._journal = Journal(calls, path, self.manifest.system, durability="buffered")
        self._group: list[tuple[int, bytes, bool]] = []
        self._pending: dict[int, int] = {}

    def place_of(self, key: bytes) -> int:
        """Returns the number of a key."""
        place = self.table.number(key)
        if place == len(self.numbered):
            self.numbered.append(0)
        return place

    def is_there(self, place: int) -> bool:
        """Returns whether there is an object of a key by now."""
        return place in self._pending or self.table.indexes[place] > 0

    def add(self, place: int, head: bytes, found: keyed.Keyed, deletes: bool = False) -> None:
        """Appends a record of a key, with this header, behind the one before of the same key."""
        before = self._pending.get(place, 0)
        offset = 0
        if not before:
            before, offset = self.table.indexes[place], self.table.offsets[place]
            offset = offset if before else 0
        record = head + keyed.fields(before, offset, found.version, found.key, found.code) + found.call
        self._group.append((place, record, deletes))
        self._pending[place] = self._journal.last + len(self._group)
        if deletes or len(self._group) == TOGETHER:
            self._flush()

    def _flush(self) -> None:
        if not self._group:
            return
        first = self._journal.last + 1
        offset = self._journal.append_together(*joined([record for _, record, _ in self._group]))
        for index, (place, _, deletes) in enumerate(self._group, first):
            self.table.put(place, 0 if deletes else index, offset)
        self._group, self._pending = [], {}

    def finish(self) -> None:
        """Makes all of it durable."""
        self._flush()
        self._journal.flush()
        self._journal.close()
        table.write(self._calls, self.path, self.table.packed(self.manifest.system, self._journal.last))
        if self.deaths:
            poison.write(self._calls, self.path, self.deaths)


class _Record(NamedTuple):
    instant: int
    source: int
    place: int
    record: bytes


def swept(calls: Calls, basedir: str, manifest: Manifest) -> None:
    """Removes what a move that did not come to its end has left, or the one before the last. The directory is locked. Raises OSError."""
    now = set(slots.directories(basedir, manifest))
    for name in calls.names(basedir):
        path = os.path.join(basedir, name)
        if slots.is_name(name) and path not in now:
            shutil.rmtree(path)
    if manifest.shards[1]:
        for first in directory.segments(calls.names(basedir)):
            remove_if_there(calls, directory.segment_path(basedir, first))
        for name in _LEFT_BEHIND:
            remove_if_there(calls, os.path.join(basedir, name))


class Waiting:
    """The settings of a directory, for one of its shards: a process that had it, and whose opener has ended, ends within a moment."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self.wait = settings.wait + ENDING_S

    def __getattr__(self, name: str) -> Any:
        return getattr(self._settings, name)


def brought_to(calls: Calls, basedir: str, manifest: Manifest, count: int, wait_s: float) -> Manifest:
    """Sees to it that the objects of a directory, which is locked, are spread over ``count`` shards. Returns its manifest. Raises what `moved` raises."""
    swept(calls, basedir, manifest)
    if manifest.shards[1] == count:
        return manifest
    if manifest.shards[1] or directory.segments(calls.names(basedir)):
        return moved(calls, basedir, manifest, count, wait_s + ENDING_S)
    return manifests.spread(calls, basedir, manifest, 1, count)


def moved(calls: Calls, basedir: str, manifest: Manifest, count: int, wait_s: float) -> Manifest:
    """Spreads the objects of a directory, which is locked, over ``count`` shards. Returns its manifest.

    Raises `DirectoryInUse` if a process of before still has one of the shards, a `StorageError`, `JournalError`, OSError.
    """
    generation = manifest.shards[0] + 1
    paths = [os.path.join(basedir, slots.name_of(generation, number)) for number in range(count)]
    log.say("coopy", 20, "%s: its objects are spread over %d processes", basedir, count)
    with ExitStack() as stack:
        before = slots.directories(basedir, manifest)
        if manifest.shards[1]:
            for each in before:
                stack.callback(_locked(each, wait_s).release)
        sources = [stack.enter_context(Reading(each)) for each in before]
        targets = [Target(calls, path, manifest) for path in paths]
        _Move(sources, targets, manifest).run()
        for target in targets:
            target.finish()
    calls.sync_directory(basedir)
    found = manifests.spread(calls, basedir, manifest, generation, count)
    swept(calls, basedir, found)
    return found


def _locked(path: str, wait_s: float) -> dirlock.DirectoryLock:
    """Locks the directory of a shard; a process that had it, and whose opener has ended, ends within a moment."""
    from coopy.errors import DirectoryInUse

    until = time.monotonic() + wait_s
    while True:
        try:
            return dirlock.DirectoryLock(path)
        except DirectoryInUse:
            if time.monotonic() > until:
                raise
        time.sleep(0.01)


class _Move:
    """Writes all records of some journals to others."""

    def __init__(self, sources: list[Reading], targets: list[Target], manifest: Manifest) -> None:
        self._sources = sources
        self._targets = targets
        self._kind = Kind(object, b"", manifest.secret, False)

    def run(self) -> None:
        """Moves all."""
        newest = 0
        for each in heapq.merge(*map(self._records, range(len(self._sources)))):
            newest = max(newest, each.instant)
            found = keyed.parts(each.record)
            if found.key[0]:
                self._move(each, found)
        for source in self._sources:
            for death in source.deaths:
                self._target(death.key.encode()).deaths.append(death)
            for number in range(len(self._sources)):
                for sent in unheard(source.engine, number, heard(self._sources[number].engine, self._sources.index(source))):
                    self._tell(sent, newest)
            self._note_dues(source)

    def _records(self, number: int) -> Iterator[_Record]:
        source, newest = self._sources[number], 0
        for index, _, record in source.after(source.log.oldest - 1):
            newest = max(newest, action.instant_of(record[: action.HEADER.size]))
            yield _Record(newest, number, index, record)

    def _target(self, key: bytes) -> Target:
        return self._targets[slots.shard_of(key, len(self._targets))]

    def _move(self, each: _Record, found: keyed.Keyed) -> None:
        target = self._target(found.key)
        place = target.place_of(found.key)
        name = name_of(found.call)
        head = each.record[: action.HEADER.size]
        if found.before and not target.is_there(place) and name != keyed.STATE:
            return  # Those before it were deleted: nothing can be made of it, and a state follows.
        if name == keyed.STATE:
            besides = self._besides(found.call)
            target.numbered[place] = besides["number"] > 0 or "first" in besides
            target.inboxes.pop(place, None)
            if not target.numbered[place]:
                target.inboxes[place] = list(besides.get("inbox", ()))
        elif name == keyed.TOLD:
            if not target.numbered[place]:
                target.inboxes.setdefault(place, []).append(decode_one(found.call)[1])
        elif name not in (keyed.ENDED, keyed.DELETED) and not target.numbered[place]:
            self._number(target, place, each, found)
        target.add(place, head, found, name == keyed.DELETED)
        if name == keyed.DELETED:
            target.numbered[place] = 0
            target.inboxes.pop(place, None)

    def _number(self, target: Target, place: int, each: _Record, found: keyed.Keyed) -> None:
        """Writes down the number of the first action of a key, before it."""
        inbox = target.inboxes.pop(place, [])
        kept: dict[str, Any] = {"first": each.place - 1, **({"inbox": inbox} if inbox else {})}
        cell = Cell(None, 0, 0, found.outcome, 0, 0, kept)
        head = each.record[: action.HEADER.size]
        state = found._replace(call=self._kind.dumped(cell, head[:-1] + b"\0"), version=self._kind.version)
        target.add(place, head, state)
        target.numbered[place] = 1

    @staticmethod
    def _besides(call: bytes) -> dict[str, Any]:
        """Returns what stands beside the object in a state: numbers, and calls as bytes."""
        _, data = decode_one(call)
        size = action.HEAD.unpack_from(data)[2]
        found: dict[str, Any] = pickle.loads(data[action.HEAD.size : action.HEAD.size + size])
        return found

    def _tell(self, sent: Sent, instant: int) -> None:
        """Has a call wait that was on its way."""
        target = self._target(sent.key)
        place = target.place_of(sent.key)
        # How the last action of the object has ended is not known without loading it: as after a crash.
        head = action.HEADER.pack(instant, 0, keyed.outcome(action.UNKNOWN))
        target.add(place, head, keyed.Keyed(0, 0, 0, 0, sent.key, b"", told_call(sent.call), 0))
        target.table.dues[place] = AT_ONCE

    def _note_dues(self, source: Reading) -> None:
        """Has the new tables say when there is something to do for which object, as the old one does."""
        before = source.engine.table
        for number, due in enumerate(before.dues):
            if due and before.indexes[number]:
                key = before.key(number)
                target = self._target(key)
                place = target.place_of(key)
                target.table.dues[place] = due if target.table.dues[place] != AT_ONCE else AT_ONCE
