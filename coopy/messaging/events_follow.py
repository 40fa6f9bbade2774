"""Consumers: each goes on where it was, one process at a time, and what it acknowledges is recorded.

A name is a lease of `coopy.sync`: while one process follows by it, another waits. Each acknowledgement carries the token of the lease and is refused in the action
itself if another process has it by now, so a position never goes back to what a paused process thought.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from coopy import LockLost, NotHeld, SystemClosed, UsageError
from coopy.ground.raised import attempted
from coopy.messaging.events_kinds import CouldNotFindOffset, Event, OffsetTooOld, Position
from coopy.messaging.events_opened import Opened, end_of
from coopy.messaging.events_reading import CHUNK, Choose
from coopy.sync import Lock

if TYPE_CHECKING:
    from typing_extensions import Self


LEASE_S = 15.0
"""That of a `coopy.sync.Lock`."""
SKIPPED_MAX = 10_000
"""If so many events passed that a consumer did not choose, its position is noted, so that the next start does not pass them again."""
RAISE, EARLIEST = "raise", "earliest"
Filter = Callable[[Event], bool] | str | Collection[str] | None


class Lease(Protocol):
    """Why a consumer may go on: a lock that it holds, or the term in which a member of a group leads a shard."""

    @property
    def token(self) -> int: ...

    def check(self) -> None:
        """Raises `LockLost` if that is over."""


class Following:
    """What `EventSource.follow` returns: events as they come. Iterating ends when it, or the source, is closed.

    >>> with source.follow("first") as following:
    ...     event = following.next(timeout=1)
    ...     following.ack(event)
    ...     following.position
    1
    """

    def __init__(
        self,
        source: Opened,
        name: str,
        from_: int | Position | None = None,
        filter: Filter = None,
        on_gap: str = RAISE,
        lease_s: float = LEASE_S,
        lease: Lease | None = None,
        choose: Choose | None = None,
    ) -> None:
        if on_gap not in (RAISE, EARLIEST):
            raise UsageError(f"on_gap={on_gap!r}: must be {RAISE!r} or {EARLIEST!r}")
        if not isinstance(name, str) or not name:
            raise UsageError(f"name={name!r}: must be the name of a consumer, a text. Nothing was changed.")
        self.name = name
        self._source = source
        self._log = source.log
        self._from = None if from_ is None else source.offset_of(from_)
        if self._from is not None and self._from > source.span()[1]:
            # What comes before it would be passed over without a word.
            raise CouldNotFindOffset(self._from, source.span()[1])
        self._filter = as_function(filter)
        self._choose = choose
        self._is_earliest = on_gap == EARLIEST
        self._lock = Lock(name, system=self._log, ttl=lease_s) if lease is None else None
        self._lease = lease
        self._events: deque[Event] = deque()
        self._again: set[int] = set()
        """Offsets of parked events that were given again, and not acknowledged yet."""
        self._next: int | None = None
        """Offset up to which events were looked at; None before the lease is held."""
        self._given = -1
        """Offset of the last event that was given."""
        self._position = 0
        self._jumped = 0
        """How many events are missing before the next one that is given."""
        self._seen = 0
        """Offset after the last event that was looked at, and was there."""
        self._closed = False
        self._filling = threading.Lock()

    # -- events

    @property
    def closed(self) -> bool:
        """Whether it gives no more events."""
        return self._closed

    @property
    def position(self) -> int:
        """Offset of the first event that is not acknowledged, as far as this handle knows."""
        return self._position

    def acquire(self, timeout: float | None = None) -> bool:
        """Waits until no other process follows by this name. Returns False if that takes longer than so many seconds, or if this is closed. Raises what
        `Lock.acquire` raises."""
        if self._closed:
            return False
        if self._lease is None:
            assert self._lock is not None, "either is there"
            try:
                if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
                    return False
            except SystemClosed:
                if self._closed:
                    return False
                raise
            self._lease = self._lock
        if self._next is None:
            begins = self._source.span()[0] if self._from is None else self._from
            self._position = self._next = self._seen = self._log.register(self.name, begins)
        return True

    def next(self, timeout: float | None = None) -> Event | None:
        """Returns the next event; None if there is none in so many seconds, or if this is closed. ``timeout=0`` asks once.

        Raises `LockLost` if another process may have the name by now, `OffsetTooOld`, what reading raises, and what a filter raises: each time, after
        all events before the one of which it was asked, until it answers.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self._closed:
            left = None if until is None else max(until - time.monotonic(), 0)
            if self._next is None:
                try:
                    if not self.acquire(left):
                        return None
                except SystemClosed:
                    break
            try:
                news = self._source.news()
                seen = news.count
                if (event := self.pop()) is not None or (self.fill() and (event := self.pop()) is not None):
                    return event
                if left == 0 or not (self._closed or news.wait(seen, left)):
                    return None
            except SystemClosed:
                break
        return None

    def pop(self) -> Event | None:
        """Returns an event that was read already; None if there is none. Raises `LockLost`."""
        if not self._events:
            return None
        # What was read before the lease was lost, or before a fork, is another's by now.
        self.check()
        event = self._events.popleft()
        if event.offset not in self._again:
            self._given = max(self._given, event.offset)
        return event

    def fill(self) -> bool:
        """Reads on. Returns whether there are events now. Waits for none."""
        with self._filling:
            self.check()
            assert self._next is not None, "it was acquired"
            found = self._log.state_of(self.name)
            if found is None:
                raise UsageError(f"the consumer {self.name!r} was forgotten while it was followed. Follow anew.")
            self._take_again(found[2])
            while not self._events and self._read_on():
                pass
            return bool(self._events)

    def _take_again(self, again: dict[int, int]) -> None:
        """Takes parked events that are to be tried once more: before those that come."""
        for offset in sorted(again.keys() - self._again):
            self._again.add(offset)
            found = self._source.of_runs(self._log.runs(offset, offset + 1))
            for event in found:
                event.attempt = again[offset] + 1
                self._events.append(event)
            if not found:  # It was removed since.
                self._log.ack(self.name, self._token(), offset, True)

    def _read_on(self) -> bool:
        """Looks at the next events. Returns whether there may be more after them."""
        first, end = self._source.span()
        assert self._next is not None, "it was acquired"
        begin = self._next
        if begin < first:
            if not self._is_earliest:
                raise OffsetTooOld(self.name, begin, first)
            self._jumped += first - begin
            self._seek(first)
            begin = first
        if begin >= end:
            return False
        upto = min(begin + CHUNK, end)
        runs = self._log.runs(begin, upto)
        if self._source.span()[0] > begin:
            return True  # Retention has come in between: the next look says what is to be done.
        try:
            events = self._source.of_runs(runs, max(self._seen, first), self._choose)
        except OffsetTooOld:
            return True  # And so it has here.
        for event in events:
            if self._filter is not None:
                is_chosen, error = attempted(self._filter, event)
                if error is not None:
                    # What comes before it is given first, and the next look begins with it.
                    self._next, self._seen = event.offset, event.offset - event.gap
                    if self._events:
                        return True
                    raise error
            self._jumped += event.gap
            if self._filter is None or is_chosen:
                event.gap, self._jumped = self._jumped, 0
                self._events.append(event)
        self._seen = end_of(runs, self._seen)
        self._next = upto
        if not self._events and self._given < self._position and upto - self._position > SKIPPED_MAX:
            self._position = self._log.ack(self.name, self._token(), upto - 1, False)
        return True

    def _seek(self, offset: int) -> None:
        self._next = self._position = self._log.seek(self.name, self._token(), offset)
        self._given = -1

    def __iter__(self) -> Iterator[Event]:
        while True:
            event = self.next()
            if event is None:
                return
            yield event

    def batch(self, number: int, timeout: float | None = None) -> list[Event]:
        """Returns the next events, as many as are there and at most so many; waits for the first, as `next` does. None for less than one."""
        found = []
        event = self.next(timeout) if number > 0 else None
        while event is not None:
            found.append(event)
            event = self.next(0) if len(found) < number else None
        return found

    # -- what became of them

    def ack(self, event: Event | None = None) -> None:
        """Says that all events up to one (by default the last that was given) are dealt with: nobody is given them again by this name.

        Of an event that was parked and given again, it says that of this one alone. Returns when that is as durable as the source. Raises `LockLost`
        if another process follows by this name; then nothing has changed.
        """
        offset = self._given if event is None else event.offset
        if offset in self._again and event is not None:
            self._log.ack(self.name, self._token(), offset, True)
            self._again.discard(offset)
        elif offset >= self._position:
            self._position = self._log.ack(self.name, self._token(), offset, False)

    def park(self, event: Event, why: object = "") -> None:
        """Puts an event aside that can't be dealt with, and all before it are acknowledged; see `EventSource.parked`. Raises `LockLost`, `UsageError`."""
        position = self._log.park(self.name, self._token(), event.offset, str(why), event.attempt)
        self._again.discard(event.offset)
        self._position = max(self._position, position)

    def retry(self, event: Event) -> None:
        """Has an event be given once more by this handle, before those that come after it; nothing is recorded."""
        event.attempt += 1
        self._events.appendleft(event)

    def check(self) -> None:
        """Raises `LockLost` if another process may follow by this name by now, `NotHeld` if this one does not yet."""
        try:
            self._held().check()
        except LockLost:
            if self._closed or self._source.closed:
                raise SystemClosed(
                    f"the consumer {self.name!r}, or its event source, was closed. Follow anew to go on."
                ) from None
            raise

    def _held(self) -> Lease:
        if self._lease is None:
            raise NotHeld(f"nothing follows by the name {self.name!r} yet: ask for an event first, or use `with`")
        return self._lease

    def _token(self) -> int:
        return self._held().token

    # -- the end

    def close(self) -> None:
        """Lets the name go. Events that were given and not acknowledged are given again to whoever comes next."""
        self._closed = True
        if self._lock is not None:
            self._lock.refuse()  # Who is about to ask for the name must not have it after this.
            with suppress(LockLost, SystemClosed):  # It is gone already.
                self._lock.close()
        with suppress(SystemClosed):  # Nobody waits any more.
            self._source.news().ring()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Following {self.name!r} at {self._position}>"


def as_function(filter: Filter) -> Callable[[Event], bool] | None:
    """Returns what a filter asks of an event; None if it takes all."""
    if filter is None or callable(filter):
        return filter
    types = frozenset([filter] if isinstance(filter, str) else filter)
    return lambda event: event.type in types
