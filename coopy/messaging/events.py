"""An event source: events in the order in which they were appended, kept by a system of coopy.

`EventSource` has the names of PyDistributed (`write`, `get`, `get_batch`), reads its files, and writes them. What it adds: streams with versions, appends that
are done once, consumers that go on where they were, retention and compaction, upcasts, and projections that take each event once.

An append is a recorded action, so there is one log, and it is that of the system: the state has where events lie, the journal what they
say. What is read is durable, in the order of the log, and without holes: whoever has seen an event has seen, or could have, all before it.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from coopy import UsageError
from coopy.messaging import events_log
from coopy.messaging.events_files import INDEX_INTERVAL, MAX_LOG_SIZE, refuse_longer, write_originals
from coopy.messaging.events_follow import EARLIEST, LEASE_S, RAISE, Filter, Following
from coopy.messaging.events_group import SHARDS, Group
from coopy.messaging.events_kinds import (
    ANY,
    PAYLOAD_BYTES_MAX,
    AlreadyAppended,
    Appended,
    CouldNotFindOffset,
    Event,
    NotAppended,
    OffsetMissingInIndex,
    OffsetTooOld,
    Position,
    Removed,
    Retained,
    Retention,
)
from coopy.messaging.events_opened import Opened
from coopy.messaging.events_payload import Upcast, as_list, digest_of, encoded
from coopy.messaging.events_projection import Projector
from coopy.messaging.events_reading import CHUNK

if TYPE_CHECKING:
    from typing_extensions import Self

TOMBSTONES_S = 86_400.0
"""A day: so long a consumer may be away and still hear that a key is gone. As in Kafka."""


class EventSource(Opened):
    """Events in order, in a directory.

    Args:
        log_store_path: the directory. If it holds files of PyDistributed, they are read as they are; the first change makes a system beside
            them and copies all of them into it, with the same offsets and timestamps.
        max_log_size, index_interval: of the files that `export` writes, in bytes; `write` refuses what would fit into none.
        options: as for `coopy.init_system`: ``shared=True`` for several processes, ``durability="buffered"``. What would delete events that
            are kept (``keep=``) or number them otherwise (``cluster=``) is refused.

    >>> source = EventSource("events")
    >>> source.write(b"hello")
    >>> source.get(0).data
    b'hello'
    >>> source.append("order-7", [b"placed", b"paid"], expected=0)
    Appended(stream='order-7', first=1, last=2, version=2)
    >>> [event.data for event in source.read("order-7")]
    [b'placed', b'paid']
    >>> source.close()

    Raises what `coopy.init_system` raises. See docs/guides/events.md.
    """

    def __init__(
        self,
        log_store_path: str | os.PathLike[str] = "logs",
        max_log_size: int = MAX_LOG_SIZE,
        index_interval: int = INDEX_INTERVAL,
        **options: Any,
    ) -> None:
        super().__init__(log_store_path, options)
        self._max_log_size = max_log_size
        self._index_interval = index_interval

    # -- appending

    def write(self, payload: bytes) -> None:
        """Appends bytes, to the stream ``""``. As of PyDistributed.

        Raises ValueError if there are more than 65,536 of them, `LogSizeExceeded`, TypeError.
        """
        if not isinstance(payload, (bytes, bytearray, memoryview)):
            raise TypeError(f"the payload must be bytes, not {type(payload).__name__}. Nothing was written.")
        data = bytes(payload)
        if len(data) > PAYLOAD_BYTES_MAX:
            raise UsageError(
                f"the payload has {len(data)} bytes, and write() takes {PAYLOAD_BYTES_MAX} at most. Nothing was written. "
                f"append() takes longer ones."
            )
        refuse_longer(len(data), self._max_log_size)
        self.append("", [data]).check()

    def append(
        self, stream: str, events: Any, expected: int = ANY, id: str | None = None
    ) -> Appended | AlreadyAppended | NotAppended:
        """Appends events to a stream, all or none of them, one after another.

        Args:
            stream: a name; a stream is there with its first event.
            events: one, or a list of them: bytes, a `NewEvent`, or any value that can be pickled.
            expected: the version that the stream must have, which is the number of events it has had; NONE is 0, ANY any.
            id: of this append. As long as its events are kept, the same id appends nothing again: an append whose answer was lost is just repeated.

        Returns `Appended`; `AlreadyAppended`, if that was done before; or `NotAppended`, which is false and raises when its `check` is called. Raises
        `EncodingError`, `UsageError`, and what a call of a system raises.

        >>> source.append("order-8", NewEvent("Placed", {"article": "tea"}), expected=0, id="web-4711").check().version
        1
        """
        if not isinstance(stream, str):
            raise UsageError(f"stream={stream!r}: must be a text. Nothing was appended.")
        if isinstance(expected, bool) or not isinstance(expected, int) or expected < ANY:
            raise UsageError(
                f"expected={expected!r}: must be the number of events that the stream has, NONE or ANY. Nothing was appended."
            )
        kinds, sizes, data = encoded(as_list(events), self._upcasts)
        digest = b"" if id is None else digest_of(stream, kinds, sizes, data)
        what, first, last, version = self._opened().append(stream, kinds, sizes, data, expected, id, digest, None, None)
        if what == events_log.APPENDED:
            self.keeper.appended(len(data))
            return Appended(stream, first, last, version)
        if what == events_log.ALREADY:
            return AlreadyAppended(stream, first, last, version)
        return NotAppended(stream, expected, version, "id" if what == events_log.CONFLICT_ID else "version")

    # -- reading

    def get(self, offset: int) -> Event:
        """Returns one event. Raises `CouldNotFindOffset`, `Removed`, `OffsetMissingInIndex`."""
        _refuse_no_offset(offset)
        if self._original is not None:
            return self._original.get(offset)
        _, end = self.span()
        if offset >= end:
            raise CouldNotFindOffset(offset, end)
        with suppress(OffsetTooOld):  # It was removed just now.
            for event in self.events(offset, offset + 1):
                return event
        raise Removed(offset, self._opened().next_kept(offset + 1))

    def get_batch(self, offset: int, number_batch: int) -> list[Event]:
        """Returns the events from an offset on, at most so many, without those that were removed; none if the offset is the next one.

        Raises `CouldNotFindOffset` for one beyond that, `OffsetMissingInIndex`.
        """
        _refuse_no_offset(offset)
        _, end = self.span()
        if offset > end:
            raise CouldNotFindOffset(offset, end)
        found: list[Event] = []
        for event in self.events(offset, end, True) if number_batch > 0 else ():
            found.append(event)
            if len(found) == number_batch:
                break
        return found

    def __len__(self) -> int:
        """The number of events that are kept."""
        if self._original is not None:
            return sum(1 for _ in self._original.read(0))
        count: int = self._opened().kept()["events"]
        return count

    def version(self, stream: str) -> int:
        """Returns how many events a stream has had, removed ones included: what `append` may expect. 0 if there is no such stream."""
        if self._original is not None:
            return self._original.end if stream == "" else 0
        found: int = self._opened().version(stream)
        return found

    def streams(self) -> list[str]:
        """Returns the names of the streams, in the order in which they began."""
        found: list[str] = [""] if self._original is not None else self._opened().names()
        return found

    def read(
        self,
        stream: str | None = None,
        from_: int | Position | None = None,
        backwards: bool = False,
        on_gap: str = RAISE,
    ) -> Iterator[Event]:
        """Yields the events that there are now: of a stream, or (None) all.

        ``from_`` is an offset, or a `Position`; for a stream a version. It is included; None is the first that is kept, or backwards the last. Raises
        `OffsetTooOld` if retention has removed what ``from_`` says, unless ``on_gap="earliest"``; `ForeignPosition`, `UsageError`.
        """
        if on_gap not in (RAISE, EARLIEST):
            raise UsageError(f"on_gap={on_gap!r}: must be {RAISE!r} or {EARLIEST!r}")
        if not (from_ is None or isinstance(from_, Position) or (isinstance(from_, int) and from_ >= 0)):
            raise UsageError(f"from_={from_!r}: must be an offset, 0 or more, or a Position; in a stream a version")
        if stream is not None and self._original is None:
            if isinstance(from_, Position):
                raise UsageError("a Position is one among all events. Read a stream from a version.")
            return self._read_stream(stream, from_, backwards, on_gap)
        first, end = self.span()
        begin = self.offset_of(from_) if from_ is not None else None
        if begin is not None and not backwards and begin < first and on_gap == RAISE:
            raise OffsetTooOld("", begin, first)
        if backwards:
            return self._backwards(first, end if begin is None else min(begin + 1, end))
        return self.events(first if begin is None else begin, end, on_gap == EARLIEST)

    def _read_stream(self, stream: str, from_: int | None, backwards: bool, on_gap: str) -> Iterator[Event]:
        log = self._opened()
        first, last = log.first_version(stream), log.version(stream)
        if from_ is not None and from_ < first and not backwards and on_gap == RAISE:
            raise OffsetTooOld("", from_, first)
        return self._of_stream(stream, first, last, from_, backwards, on_gap == EARLIEST)

    def _of_stream(
        self, stream: str, first: int, last: int, from_: int | None, backwards: bool, is_earliest: bool
    ) -> Iterator[Event]:
        log = self._opened()
        at = min(last if from_ is None else from_, last) if backwards else max(first, from_ or 0)
        while first <= at <= last:
            begin = at
            runs, at = log.runs_of(stream, at, CHUNK, backwards)
            if not (backwards or is_earliest) and (first := log.first_version(stream)) > begin:
                raise OffsetTooOld("", begin, first)  # Retention has come in between.
            found = self.of_runs(runs)
            for event in reversed(found) if backwards else found:
                if event.version > last:
                    return  # Appended since.
                yield event

    # -- what events of the past are today

    def upcast(self, type: str, from_version: int) -> Callable[[Upcast], Upcast]:
        """Marks what makes of the data of one version of a type those of the next; see docs/guides/events.md.

        New events have the version after the last upcast. It may return a `coopy.migration.Call` with another type and its data, and None
        for what is no event any more. It must depend on its argument alone. Raises `UsageError`.

        >>> @source.upcast("Placed", from_version=1)
        ... def placed(data):
        ...     return {**data, "currency": "EUR"}
        >>> list(source.read("order-8"))[0].data
        {'article': 'tea', 'currency': 'EUR'}
        """
        return self._upcasts.step(type, from_version)

    def renamed(self, old: str, new: str | None) -> None:
        """Says what a class of stored data, ``module:Name``, is called today; None if it is gone. As `coopy.migration.Migration.renamed`."""
        self._upcasts.renamed(old, new)

    # -- what goes

    def retain(
        self,
        size: int | None = None,
        age: float | None = None,
        count: int | None = None,
        *,
        held_by: Iterable[str] | bool = (),
        bound: Retained | None = None,
    ) -> None:
        """Says how much is kept, from now on and for all processes: what is beyond any of the limits goes. None of them: all is kept.

        Args:
            size: bytes of data.
            age: seconds.
            count: events.
            held_by: names of consumers; True for all. What one of them has not acknowledged is kept all the same,
            bound: but not beyond these limits, which must be there then: a consumer that is gone for ever must not fill the disk.

        What is to go goes while events are appended, and with `trim`. Raises `UsageError`.

        >>> source.retain(count=1_000_000, held_by=["mail"], bound=Retained(count=5_000_000))
        """
        limits = Retained(size, age, count)
        for name, value in (("size", size), ("age", age), ("count", count)):
            if value is not None and not value >= 0:
                raise UsageError(f"{name}={value!r}: must be at least 0, or None. Nothing was changed.")
        if held_by and (bound is None or bound == Retained()):
            raise UsageError(
                "held_by= must come with bound=Retained(...): how much is kept at most, for consumers that read no more."
            )
        names = None if held_by is True else tuple(held_by or ())
        self._opened().retain(Retention(limits, names, bound or Retained()))

    def trim(self, before: int | None = None) -> int:
        """Removes what need not be kept (see `retain`), or all events before an offset. Returns the first offset that is left.

        The disk is freed of what is before the last snapshot that is older than all that is kept; in the process that writes.
        """
        return self.keeper.trim(before)

    def compact(self, stream: str | None = None, tombstones_for: float = TOMBSTONES_S, move: bool = False) -> int:
        """Removes, of the events of a stream (None: of each stream) that have one key, all but the newest. Returns how many.

        An event with a key and without data is a tombstone: it removes those before it, and goes itself ``tombstones_for`` seconds after it was appended, so that
        consumers have that long to see it. Offsets stay as they are. Events without a key stay. With ``move`` what is left
        is recorded once more, so that the disk can be freed of what is not.
        """
        return self.keeper.compact(stream, tombstones_for, move)

    def kept(self) -> dict[str, Any]:
        """Returns how much is kept: ``events``, ``bytes`` (of data, about), ``first`` and ``end`` (offsets), ``streams``, ``ids``, ``removed`` and ``moved`` (by
        compaction), ``consumers`` (their positions), ``retention``, and ``problem``: why the last removal by itself was not done, or None."""
        return {**self._opened().kept(), "problem": self.keeper.problem}

    # -- consumers

    def follow(
        self,
        name: str,
        from_: int | Position | None = None,
        filter: Filter = None,
        *,
        on_gap: str = RAISE,
        lease: float = LEASE_S,
    ) -> Following:
        """Returns the events for a consumer, from where it was on, and then as they come.

        Args:
            name: of the consumer. One process at a time follows by a name; others wait.
            from_: where a consumer begins that is not known yet: an offset, a `Position`, or None for the first event that is kept.
            filter: a type, several, or a function of an `Event`: only those are given.
            on_gap: what to do if retention has removed events that it has not seen. "raise": `OffsetTooOld`. "earliest": it goes on with the first that
                is kept, and that event says in ``gap`` how many it has not seen.
            lease: seconds after which another process may follow if this one has died; see `coopy.sync.Lock`.

        >>> with source.follow("mail") as following:
        ...     for event in following.batch(100, timeout=0):  # Or `for event in following`, which waits for more.
        ...         following.ack(event)
        ...     following.position == source.span()[1]
        True
        """
        return Following(self, name, from_, filter, on_gap, lease)

    def group(
        self,
        name: str,
        shards: int = SHARDS,
        from_: int | Position | None = None,
        filter: Filter = None,
        *,
        on_gap: str = RAISE,
        lease: float = LEASE_S,
    ) -> Group:
        """Returns a member of a group: events fall to shards by a hash of their keys (of their streams, if they have none), and shards to the members.

        The events of one key come in order, to one member at a time. ``shards`` is the same for all members, and for ever. Otherwise as `follow`.

        >>> with source.group("index") as member:
        ...     while (event := member.next(timeout=1)) is not None:  # Or `for event in member`, which waits for more.
        ...         assert member.ack(event)
        """
        return Group(self, name, shards, from_, filter, on_gap, lease)

    def project(self, system: Any, from_: int | Position | None = None, filter: Filter = None) -> Projector:
        """Returns what feeds a projection: a system whose class derives from `Projection`. Each event is taken exactly once.

        >>> source.project(totals).catch_up() == source.span()[1]
        True
        """
        return Projector(self, system, from_, filter)

    def parked(self, name: str) -> list[tuple[Event | None, str, int]]:
        """Returns what a consumer has parked: each event (None if it was removed since), why, and how often it was tried."""
        found = self._opened().state_of(name)
        parked = {} if found is None else found[1]
        return [(next(self.events(each, each + 1, True), None), *parked[each]) for each in sorted(parked)]

    def retry(self, name: str, *offsets: int) -> int:
        """Has a consumer be given parked events once more, by default all. Returns how many."""
        return int(self._opened().retry(name, offsets or None))

    def unpark(self, name: str, *offsets: int) -> int:
        """Forgets parked events, by default all. Returns how many."""
        return int(self._opened().unpark(name, offsets or None))

    def forget(self, name: str) -> bool:
        """Forgets a consumer and where it was. Returns whether there was one. Raises `UsageError` while it is followed."""
        return bool(self._opened().forget(name))

    # -- the files of the original

    def export(self, path: str | os.PathLike[str], encode: Callable[[Event], bytes] | None = None) -> int:
        """Writes all events that are kept into files of PyDistributed's format, in a directory that has none. Returns how many.

        Data that are bytes are written as they are; ``encode`` makes bytes of others, by default pickle does. Raises `UsageError`,
        `LogSizeExceeded`, OSError.
        """

        def payloads() -> Iterator[tuple[int, int, bytes]]:
            for event in self.read():
                made = event.data if encode is None and isinstance(event.data, bytes) else (encode or _pickled)(event)
                yield event.offset, event.timestamp, made

        return write_originals(os.fspath(path), payloads(), self._max_log_size, self._index_interval)

    # -- the end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<EventSource in {self._path}>"


def _refuse_no_offset(offset: int) -> None:
    if isinstance(offset, bool) or not isinstance(offset, int):
        raise UsageError(f"offset={offset!r}: must be a whole number. Nothing was changed.")
    if offset < 0:
        raise OffsetMissingInIndex(f"the offset {offset} is negative: the first event has 0. Nothing was changed.")


def _pickled(event: Event) -> bytes:
    return pickle.dumps(event.data)
