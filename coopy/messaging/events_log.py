"""The state of an event source: where events lie and how far their consumers are, but not what events say.

An append is a recorded action, and the events are its arguments: they are in the journal already, so the state keeps only the index of the action
(`coopy.messaging.events_index`) and reads find them there. `EventLog` is a plain domain class, which `coopy.messaging.events` opens.
"""

from __future__ import annotations

from typing import Any

import coopy
from coopy import UsageError, abort_exception, action_index, readonly
from coopy.messaging.events_index import Appends, Marks, Ranges, Stream
from coopy.messaging.events_kinds import ANY, Retained, Retention, Run
from coopy.messaging.events_payload import Kind, Kinds, count_of
from coopy.sync import Locks

APPENDED, ALREADY, CONFLICT_VERSION, CONFLICT_ID = range(4)
"""What `EventLog.append` answers first; then the first offset, the last one and the version of the stream."""
Moved = tuple[int, str, Kind, bytes, int]
"""An event that was recorded again: offset, stream, kind, data, timestamp."""
PARKED_MAX = 10_000
"""A consumer has at most so many parked events: more of them are a failure of its own, which it is told of."""


class Consumer:
    """How far a consumer is."""

    __slots__ = ("position", "parked", "again")

    def __init__(self, position: int) -> None:
        self.position = position
        """Offset of the first event that it has not dealt with."""
        self.parked: dict[int, tuple[str, int]] = {}
        """By offset: events that it could not deal with, why, and how often that was tried."""
        self.again: dict[int, int] = {}
        """By offset: parked events that it is to be given once more, and how often it was tried."""

    def needed(self) -> int:
        """Returns the offset of the first event that it may ask for."""
        return min([self.position, *self.parked, *self.again])


class EventLog:
    """Offsets, streams, ids and consumers. What changes something is an action; see `coopy.messaging.EventSource`, which calls these."""

    def __init__(self) -> None:
        self.locks = Locks()
        self.first = 0
        """Offset of the first event that retention has left."""
        self.end = 0
        """Offset that the next event gets."""
        self.appends = Appends()
        self.marks = Marks()
        self.streams: dict[str, Stream] = {}
        self.ids: dict[str, tuple[int, int, int, bytes]] = {}
        """Of each append with an id: its first offset, its last, the version of its stream, and a digest of what was appended."""
        self.removed = Ranges()
        """Offsets that compaction has removed."""
        self.moved: dict[int, int] = {}
        """Events that were recorded again, and by which action."""
        self.consumers: dict[str, Consumer] = {}
        self.groups: dict[str, int] = {}
        """How many shards each group has."""
        self.retention = Retention()
        self.importing: int | None = None
        """Up to which offset events are copies of those of PyDistributed's files."""

    # -- events

    def append(
        self,
        stream: str,
        kinds: Kinds,
        sizes: bytes,
        data: bytes,
        expected: int = ANY,
        id: str | None = None,
        digest: bytes = b"",
        times: tuple[int, ...] | None = None,
        at: int | None = None,
    ) -> tuple[int, int, int, int]:
        """Appends events, as `coopy.messaging.events_payload.encoded` has made them; what they say is of no interest here.

        ``times`` and ``at`` are for events of another log: ``at`` is the offset that the first of them had there, and gets here. If it has been given
        to another one, nothing is done.
        """
        found = self.streams.get(stream)
        version = found.version if found is not None else 0
        if id is not None and (known := self.ids.get(id)) is not None:
            first, last, then, said = known
            return (ALREADY, first, last, then) if said == digest else (CONFLICT_ID, 0, 0, version)
        first = self.end
        if expected not in (ANY, version) or (at is not None and at < first):
            return CONFLICT_VERSION, 0, 0, version
        if at is not None and at > first:
            first = self._skip_to(at)
        if found is None:
            found = self.streams[stream] = Stream()
        count = count_of(sizes)
        found.forget(self.first)
        found.add(first, count)
        self.appends.add(first, action_index(), count)
        self.marks.add(first, len(data), coopy.clock.time())
        self.end = first + count
        if id is not None:
            self.ids[id] = (first, self.end - 1, version + count, digest)
        return APPENDED, first, self.end - 1, version + count

    def _skip_to(self, offset: int) -> int:
        """Leaves the offsets before one empty."""
        if self.end == self.first:
            self.first = offset
        else:
            self.removed.add(((self.end, offset),))
        return offset

    def begin_import(self, end: int) -> int:
        """Says up to which offset the events of another log come first, of which this is a copy. Returns what was said first."""
        if self.importing is None:
            self.importing = end
        return self.importing

    @readonly
    def to_import(self) -> tuple[int, int]:
        """Returns from which offset to which events of another log are to be copied; the same twice if all are here."""
        return self.end, max(self.importing or 0, self.end)

    @readonly
    def span(self) -> tuple[int, int]:
        """Returns the offset of the first event that retention has left, and the one that the next gets."""
        return self.first, self.end

    @readonly
    def version(self, stream: str) -> int:
        """Returns how many events a stream has had."""
        found = self.streams.get(stream)
        return found.version if found is not None else 0

    @readonly
    def names(self) -> list[str]:
        """Returns the streams, in the order in which they began."""
        return list(self.streams)

    @readonly
    def runs(self, begin: int, end: int) -> list[Run]:
        """Returns where the events from an offset to another lie, without those that are not there any more."""
        return self._runs(begin, end)

    def _runs(self, begin: int, end: int) -> list[Run]:
        place, moved = self.appends.place, self.moved
        found = []
        for first, last in self.removed.gaps(max(begin, self.first), min(end, self.end)):
            while first < last:
                action, slot, following = place(first)
                number = min(following, last - first)
                if moved:
                    found += self._but_moved(first, number, action, slot)
                else:
                    found.append(Run(first, number, action, slot))
                first += number
        return found

    def _but_moved(self, first: int, number: int, action: int, slot: int) -> list[Run]:
        """Returns a run, in pieces where an event of it was recorded again."""
        found, begin = [], 0
        for at in range(number):
            again = self.moved.get(first + at)
            if again is not None:
                found += [Run(first + begin, at - begin, action, slot + begin), Run(first + at, 1, again, -1)]
                begin = at + 1
        found.append(Run(first + begin, number - begin, action, slot + begin))
        return [each for each in found if each.number]

    @readonly
    def versions(self, of: tuple[tuple[str, int], ...]) -> list[int]:
        """Returns the versions of events, of which streams and offsets are given."""
        return [self.streams[stream].version_of(offset) for stream, offset in of]

    @readonly
    def runs_of(self, stream: str, begin: int, count: int, backwards: bool) -> tuple[list[Run], int]:
        """Returns where at most so many events of a stream lie, from a version on, in order; and the version to go on with, 0 if there is no more."""
        found = self.streams.get(stream)
        if found is None:
            return [], 0
        if backwards:
            first, last = max(begin - count + 1, 1), min(begin, found.version)
            following = first - 1
        else:
            first, last = max(begin, 1), min(begin + count - 1, found.version)
            following = last + 1 if last < found.version else 0
        runs = [run for offset, many, _ in found.runs(first, last) for run in self._runs(offset, offset + many)]
        if backwards and found.offsets and (following <= 0 or found.firsts[0] > following):
            following = 0
        return runs, following

    @readonly
    def first_version(self, stream: str) -> int:
        """Returns the version of the first event of a stream that retention has left; that of the next, if there is none."""
        found = self.streams.get(stream)
        if found is None:
            return 1
        for offset, number, version in found.runs(1, found.version):
            if offset + number > self.first:
                return version + max(self.first - offset, 0)
        return found.version + 1

    @readonly
    def next_kept(self, offset: int) -> int:
        """Returns the first offset, from this one on, whose event was not removed."""
        return self.removed.after(max(offset, self.first))

    # -- what goes

    def retain(self, retention: Retention) -> None:
        """Says how much is kept from now on."""
        self.retention = retention

    def trim(self, first: int | None = None) -> int:
        """Removes the events before an offset; by default, those that need not be kept. Returns the first offset that is left."""
        first = self._kept_from() if first is None else first
        if first > self.first:
            self.first = first = min(first, self.end)
            gone = []
            # Until the last event of an append is gone: a repeat of it would append that one twice.
            for id, (_, last, *_) in self.ids.items():
                if last >= first:
                    break
                gone.append(id)
            for id in gone:
                del self.ids[id]
            self.appends.forget(first)
            self.marks.forget(first)
            self.removed.forget(first)
            for offset in [each for each in self.moved if each < first]:
                del self.moved[offset]
        return self.first

    def _kept_from(self) -> int:
        limits, held_by, bound = self.retention
        found = self._from(limits)
        names = self.consumers if held_by is None else held_by
        held = [self.consumers[each].needed() for each in names if each in self.consumers]
        # A consumer that is named and has not begun yet has read nothing.
        held += [self.first for each in held_by or () if each not in self.consumers]
        return max(min([found, *held]), self._from(bound) if held else 0)

    def _from(self, limits: Retained) -> int:
        found = self.first
        if limits.count is not None:
            found = max(found, self.end - limits.count)
        if limits.size is not None:
            found = max(found, self.marks.of_size(limits.size, self.end))
        if limits.age is not None:
            found = max(found, self.marks.since(coopy.clock.time() - limits.age, self.end))
        return found

    def remove(self, ranges: tuple[tuple[int, int], ...]) -> int:
        """Removes the events of ranges, each from its first to one before its second. Returns how many there were."""
        for begin, end in ranges:
            if not self.first <= begin < end <= self.end:
                ranges = tuple((max(begin, self.first), min(end, self.end)) for begin, end in ranges)
                break
        found = self.removed.add(each for each in ranges if each[0] < each[1])
        for begin, end in ranges:
            for offset in range(begin, end) if self.moved else ():
                self.moved.pop(offset, None)
        return found

    def move(self, events: tuple[Moved, ...]) -> None:
        """Takes events that were recorded long ago for recorded now, as they are given here once more."""
        for offset, *_ in events:
            if offset >= self.first and self.removed.after(offset) == offset:
                self.moved[offset] = action_index()

    @readonly
    def needs(self) -> int | None:
        """Returns the index of the first action that has recorded an event which is still there; None if there is none."""
        found = list(self.moved.values())
        offset = self.removed.after(self.first)
        while offset < self.end and offset in self.moved:
            offset = self.removed.after(offset + 1)
        if offset < self.end:
            found.append(self.appends.place(offset)[0])
        return min(found, default=None)

    @readonly
    def kept(self) -> dict[str, Any]:
        """Returns figures: how many events are there, bytes of data about, streams, ids, and how much was removed and moved."""
        return {
            "events": self.end - self.first - self.removed.count(),
            "bytes": self.marks.bytes_since(self.first) if self.first < self.end else 0,
            "first": self.first,
            "end": self.end,
            "streams": len(self.streams),
            "ids": len(self.ids),
            "removed": self.removed.count(),
            "moved": len(self.moved),
            "consumers": {name: each.position for name, each in self.consumers.items()},
            "retention": self.retention,
        }

    # -- consumers

    def register(self, name: str, position: int) -> int:
        """Makes a consumer known that is not. Returns where it goes on."""
        if name not in self.consumers:
            self.consumers[name] = Consumer(position)
        return self.consumers[name].position

    def register_group(self, name: str, shards: int) -> int:
        """Makes a group known that is not. Returns how many shards it has."""
        return self.groups.setdefault(name, shards)

    @abort_exception
    def ack(self, name: str, token: int, offset: int, is_again: bool = False) -> int:
        """Notes that a consumer has dealt with all events up to one; of one that it was given again, with that one. Raises `LockLost`."""
        consumer = self._of(name, token)
        if is_again:
            consumer.again.pop(offset, None)
        elif offset >= self.end:
            raise UsageError(f"the consumer {name!r}: {offset} can't be acknowledged, as the next event gets {self.end}")
        else:
            consumer.position = max(consumer.position, offset + 1)
        return consumer.position

    @abort_exception
    def park(self, name: str, token: int, offset: int, why: str, attempts: int) -> int:
        """Puts an event aside that a consumer can't deal with, and goes on after it. Raises `LockLost`, `UsageError`."""
        consumer = self._of(name, token)
        if len(consumer.parked) >= PARKED_MAX:
            raise UsageError(
                f"the consumer {name!r} has {PARKED_MAX} parked events. Nothing was changed. Look at them, and call retry() or unpark()."
            )
        is_again = consumer.again.pop(offset, None) is not None
        consumer.parked[offset] = (why, attempts)
        if not is_again:
            consumer.position = max(consumer.position, offset + 1)
        return consumer.position

    def retry(self, name: str, offsets: tuple[int, ...] | None = None) -> int:
        """Has a consumer be given parked events once more, by default all. Returns how many."""
        found = self._chosen(name, offsets)
        consumer = self.consumers[name]
        for offset in found:
            consumer.again[offset] = consumer.parked.pop(offset)[1]
        return len(found)

    def unpark(self, name: str, offsets: tuple[int, ...] | None = None) -> int:
        """Forgets parked events, by default all. Returns how many."""
        found = self._chosen(name, offsets)
        for offset in found:
            del self.consumers[name].parked[offset]
        return len(found)

    @abort_exception
    def seek(self, name: str, token: int, position: int) -> int:
        """Has a consumer go on elsewhere. Raises `LockLost`."""
        consumer = self._of(name, token)
        consumer.position = position
        return position

    @abort_exception
    def forget(self, name: str) -> bool:
        """Forgets a consumer. Returns whether there was one. Raises `UsageError` while a process follows by its name."""
        if self.locks.contenders(name):
            raise UsageError(f"the consumer {name!r} is in use. Nothing was changed. Close what follows by this name before.")
        return self.consumers.pop(name, None) is not None

    @readonly
    def state_of(self, name: str) -> tuple[int, dict[int, tuple[str, int]], dict[int, int]] | None:
        """Returns the position of a consumer, what it has parked, and what it is to be given again; None if it is not known."""
        found = self.consumers.get(name)
        return (found.position, dict(found.parked), dict(found.again)) if found is not None else None

    def _of(self, name: str, token: int) -> Consumer:
        self.locks.fence(name, token)
        return self.consumers[name]

    def _chosen(self, name: str, offsets: tuple[int, ...] | None) -> list[int]:
        consumer = self.consumers.get(name)
        parked = consumer.parked if consumer is not None else {}
        return sorted(parked if offsets is None else parked.keys() & set(offsets))

    # -- by which handles reach the locks

    def change_locks(self, *change: Any) -> Any:
        return self.locks.change_locks(*change)

    @readonly
    def see_locks(self, *question: Any) -> Any:
        return self.locks.see_locks(*question)
