"""The directory of an event source: opened when it is needed, read by offsets, closed. What is done with it is in `coopy.messaging.events`.

A directory with files of PyDistributed and no system is read as it is. The first change makes a system and copies all events into it; a crash in
between is gone on with by the next opening.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import coopy
from coopy import MissingActions, SystemClosed, UsageError, init_system
from coopy.messaging.events_files import OriginalLog, originals
from coopy.messaging.events_keeping import Keeper
from coopy.messaging.events_kinds import ANY, CouldNotFindOffset, Event, ForeignPosition, OffsetTooOld, Position, Run
from coopy.messaging.events_log import EventLog
from coopy.messaging.events_payload import BYTES, Upcasts, joined
from coopy.messaging.events_reading import CHUNK, Choose, News, Reader
from coopy.past.lookup import instant_of

SEGMENT_BYTES = 16 << 20
"""Retention deletes whole files of the journal: of this size, little is kept that nobody needs, and a hundred gigabytes are some thousand files."""
SNAPSHOT_REPLAY_S = 5.0
"""A start replays about so many seconds of appends."""
_COPIED = 1000  # So many events of the original's files are copied by one action.


_NODES = (
    "an event source reads its events from the journal of one directory, and nodes number theirs each for itself. Use shared=True for several "
    "processes."
)
_PRUNES = "it would delete the journal, and the events in it, by snapshots. Say with retain() which events are kept."
_REFUSED = dict.fromkeys(("master", "replication", "cluster"), _NODES) | dict.fromkeys(("keep", "keep_for"), _PRUNES)


class Opened:
    """What `EventSource` stands on. Its arguments are said there."""

    def __init__(self, log_store_path: str | os.PathLike[str], options: dict[str, Any]) -> None:
        for each in options:
            if each in _REFUSED and options[each]:
                raise UsageError(f"{each}=: {_REFUSED[each]} Nothing was opened.")
        self._path = os.path.abspath(os.fspath(log_store_path))
        self._options: dict[str, Any] = {"segment_bytes": SEGMENT_BYTES, "snapshot_replay": SNAPSHOT_REPLAY_S, **options}
        self._upcasts = Upcasts()
        self._lock = threading.RLock()
        self._log: Any = None
        self._reader: Reader | None = None
        self._news: News | None = None
        self._keeper: Keeper | None = None
        self._pid = os.getpid()
        self._closed = False
        self._original: OriginalLog | None = OriginalLog(self._path) if originals(self._path) else None
        if self._original is None or os.path.exists(os.path.join(self._path, "coopy.json")):
            self._opened()

    # -- the parts, which are made when they are needed

    @property
    def log(self) -> Any:
        """The system that keeps it, of class `EventLog`: what `coopy.init_system` returned."""
        return self._opened()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def _opened(self) -> Any:
        if self._log is None or self._closed or self._original is not None:
            with self._lock:
                if self._closed:
                    raise SystemClosed(f"the event source in {self._path} is closed. Open it again to use it.")
                if self._log is None:
                    self._log = init_system(EventLog, self._path, **self._options)
                if self._original is not None:
                    self._take_originals(self._log, self._original)
                    self._original = None
        return self._log

    def _here(self) -> Reader:
        """Returns what reads events in this process."""
        if self._pid != os.getpid():
            # A child that was forked has the files of its parent, and none of its threads: it begins anew.
            self._reader = self._news = None
            self._pid = os.getpid()
        if self._reader is None:
            self._opened()
            with self._lock:
                self._reader = self._reader or Reader(self._path, self._log, self._upcasts)
        return self._reader

    def news(self) -> News:
        """Returns what wakes those who wait in this process."""
        self._here()
        if self._news is None:
            log = self._opened()
            with self._lock:
                self._news = self._news or News(log)
        return self._news

    @property
    def keeper(self) -> Keeper:
        """What removes events and frees the disk of them."""
        if self._keeper is None:
            log = self._opened()
            with self._lock:
                self._keeper = self._keeper or Keeper(self, log)
        return self._keeper

    def _take_originals(self, log: Any, original: OriginalLog) -> None:
        """Copies what PyDistributed has written, from where an earlier try has come to."""
        log.begin_import(original.end)
        begin, end = log.to_import()
        pending: list[Event] = []
        for event in original.read(begin, end):
            if pending and (len(pending) == _COPIED or event.offset != pending[-1].offset + 1):
                _copy(log, pending)
                pending = []
            pending.append(event)
        if pending:
            _copy(log, pending)

    def span(self) -> tuple[int, int]:
        """Returns the offset of the first event that is kept, and the one that the next event gets."""
        if self._original is not None:
            return self._original.first, self._original.end
        found: tuple[int, int] = self._opened().span()
        return found

    def events(self, begin: int, end: int, is_earliest: bool = False) -> Iterator[Event]:
        """Yields the events between two offsets. If retention comes in between, it raises `OffsetTooOld`, or goes on with the first that is left."""
        if self._original is not None:
            yield from self._original.read(begin, end)
            return
        log = self._opened()
        if is_earliest:
            begin = max(begin, log.span()[0])
        following = begin
        while begin < end:
            upto = min(begin + CHUNK, end)
            runs = log.runs(begin, upto)
            try:
                found = self.of_runs(runs, following)
                if (first := self.span()[0]) > begin:
                    raise OffsetTooOld("", begin, first)
            except OffsetTooOld as error:
                if not is_earliest:
                    raise
                begin = error.first_available
                continue
            yield from found
            following, begin = end_of(runs, following), upto

    def of_runs(self, runs: list[Run], following: int | None = None, choose: Choose | None = None) -> list[Event]:
        """Returns the events of runs. Raises `OffsetTooOld` if they were removed, and their files deleted, since the state was asked."""
        try:
            return self._here().events(runs, following, choose)
        except MissingActions:
            first, _ = self.span()
            if first <= runs[0].offset:
                raise
            raise OffsetTooOld("", runs[0].offset, first) from None

    def _backwards(self, first: int, end: int) -> Iterator[Event]:
        while end > first:
            begin = max(first, end - CHUNK)
            yield from reversed(list(self.events(begin, end, True)))
            end = begin

    def raw(self, begin: int, end: int) -> Iterator[Any]:
        """Yields the events between two offsets as they are stored; see `Reader.raw`."""
        while begin < end:
            upto = min(begin + CHUNK, end)
            yield from self._here().raw(self._opened().runs(begin, upto))
            begin = upto

    def instant(self, action: int) -> int:
        """Returns when an action happened, in nanoseconds since 1970-01-01 UTC."""
        return instant_of(self._here().lookup.action(action))

    # -- positions

    def position(self, offset: int) -> Position:
        """Returns a position to be kept elsewhere: where to go on if the next event has this offset. Raises `CouldNotFindOffset`."""
        if offset > self.span()[1]:
            raise CouldNotFindOffset(offset, self.span()[1])
        return Position(self._here().lookup.system, offset, self._mark(offset) or 0)

    def offset_of(self, position: int | Position) -> int:
        """Returns the offset of a position. Raises `ForeignPosition` if it belongs to another history than this source has had."""
        if not isinstance(position, Position):
            if isinstance(position, bool) or not isinstance(position, int) or position < 0:
                raise UsageError(f"{position!r}: must be an offset, at least 0, or a Position. Nothing was changed.")
            return position
        system, end = self._here().lookup.system, self.span()[1]
        if position.system != system:
            why = f"it belongs to the event source {position.system or '?'}, and this is {system}"
        elif position.offset > end:
            why = f"it says that there were events up to {position.offset - 1}, and the next one gets {end}"
        elif (mark := self._mark(position.offset)) not in (None, position.mark):
            why = f"the event before it was appended at {position.mark} ns, and the one that is there at {mark}"
        else:
            return position.offset
        raise ForeignPosition(
            f"{position} is no position in the history of {self._path}: {why}. An older copy may have been put back, or the directory is another "
            f"one. Nothing was changed. Begin anew from an offset that you choose, and see to it that what was made of those events is right."
        )

    def _mark(self, offset: int) -> int | None:
        """Returns the timestamp of the event before an offset, 0 before the first; None if it is not there any more."""
        if offset == 0:
            return 0
        found = next(iter(self._here().raw(self._opened().runs(offset - 1, offset))), None)
        return None if found is None else found[4]

    # -- the end

    def close(self) -> None:
        """Makes everything durable and lets the directory go. Closing twice is fine."""
        with self._lock:
            self._closed = True
            log, self._log = self._log, None
            news, reader, keeper = self._news, self._reader, self._keeper
        if keeper is not None:
            keeper.close()
        if log is not None:
            coopy.control(log).close()
        if news is not None:
            news.ring()
        if reader is not None:
            reader.close()


def end_of(runs: list[Run], following: int) -> int:
    """Returns the offset after the last event of runs; ``following`` if there is none."""
    return runs[-1].offset + runs[-1].number if runs else following


def _copy(log: Any, events: Iterable[Event]) -> None:
    """Appends events of another log with the offsets and timestamps that they have there."""
    events = list(events)
    sizes, data = joined([each.data for each in events])
    times = tuple(each.timestamp for each in events)
    log.append("", (BYTES,), sizes, data, ANY, None, b"", times, events[0].offset)
