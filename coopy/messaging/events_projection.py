"""Projections: coopy objects that are made of events, each of which is taken exactly once.

Where a projection is, and what the events have done to it, change in one action of its own system. So neither can be there without the other: after a crash
it goes on where it was, and if two processes feed it, the second finds that its events were taken.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, TypeVar

from coopy import SystemClosed, UsageError, readonly, transactional
from coopy.messaging.events_follow import Filter, as_function
from coopy.messaging.events_kinds import Event, OffsetTooOld, Position
from coopy.messaging.events_opened import Opened

TAKEN = 256
"""So many events are taken by one action."""
T = TypeVar("T")


class Projection:
    """To be derived from by a domain class with a method ``when(event)``, which takes one event. Opened like any system.

    >>> class Totals(Projection):
    ...     def __init__(self):
    ...         self.total = 0
    ...     def when(self, event):
    ...         self.total += event.message_size
    >>> totals = init_system(Totals, "totals")
    >>> source.project(totals).catch_up() == source.span()[1], totals.total > 0
    (True, True)
    >>> totals.close()
    """

    _position: Position | None = None

    def when(self, event: Event) -> None:
        """Takes one event. To be defined by the class. If it raises, nothing of the events that came with this one counts."""
        raise NotImplementedError(f"{type(self).__qualname__} is a Projection, and must have a method when(event)")

    @readonly
    def events_position(self) -> Position | None:
        """Returns up to where events were taken; None before the first."""
        return self._position

    @transactional
    def take_events(self, begin: Position, end: Position, events: tuple[Event, ...]) -> Position:
        """Takes the events between two positions, unless they were taken. Returns the position. Is called by `Projector`."""
        if self._position not in (None, begin):
            assert self._position is not None, "it was compared with None"
            return self._position
        for event in events:
            self.when(event)
        self._position = end
        return end


class Projector:
    """Feeds a projection; what `EventSource.project` returns."""

    def __init__(self, source: Opened, system: Any, from_: int | Position | None = None, filter: Filter = None) -> None:
        if not isinstance(system, Projection):
            raise UsageError(f"project() takes a system whose class derives from Projection, not {type(system).__qualname__}")
        self._source = source
        self._system: Any = system
        self._from = from_
        self._filter = as_function(filter)
        self._stopped = threading.Event()

    def catch_up(self) -> int:
        """Has the projection take all events that there are. Returns the offset that it has come to.

        Raises `ForeignPosition` if it was made of another history, `OffsetTooOld` if events that it needs were removed, and what ``when`` raises.
        """
        end = self._source.span()[1]
        while True:
            # Read once: another process may take events at any moment, and then these are refused.
            position = self._system.events_position()
            offset = self._offset(position)
            if offset >= end or self._stopped.is_set():
                return offset
            upto = min(offset + TAKEN, end)
            begin = self._source.position(offset) if position is None else position
            self._system.take_events(begin, self._source.position(upto), tuple(self._chosen(offset, upto)))

    def run(self) -> None:
        """Goes on as events come, until it is closed, or one of the two systems is. Raises what `catch_up` raises."""
        while not self._stopped.is_set():
            try:
                news = self._source.news()
                seen = news.count
                if self.catch_up() >= self._source.span()[1] and not self._stopped.is_set():
                    news.wait(seen, None)
            except SystemClosed:
                return

    def close(self) -> None:
        """Has `run` return."""
        self._stopped.set()
        self._source.news().ring()

    def _offset(self, position: Position | None) -> int:
        first = self._source.span()[0]
        if position is None:
            return first if self._from is None else self._source.offset_of(self._from)
        offset = self._source.offset_of(position)
        if offset < first:
            raise OffsetTooOld(type(self._system).__qualname__, offset, first)
        return offset

    def _chosen(self, begin: int, end: int) -> Iterator[Event]:
        for event in self._source.events(begin, end):
            if self._filter is None or self._filter(event):
                yield event
