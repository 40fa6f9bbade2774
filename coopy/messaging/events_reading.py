"""From offsets to events: what the state says of where they lie, and the journal of what they say."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import coopy
from coopy import SystemClosed
from coopy.messaging.events_kinds import Event, Run
from coopy.messaging.events_payload import PICKLED, RAW, TOMBSTONE, Kind, Upcasts, kinds_of, parted
from coopy.past.lookup import Lookup, instant_of

Choose = Callable[[str, Kind], bool]
"""Given stream and kind of an event; returns whether it is of interest, so that nothing else need be decoded."""
Stored = tuple[int, str, Kind, bytes, int]
"""An event as it is stored: offset, stream, kind, data, timestamp."""
CHUNK = 256
"""So many events are looked for at once: it takes the lock of the system for a fraction of a millisecond."""


class Reader:
    """Reads events of one directory, in one process. May be used by several threads."""

    def __init__(self, basedir: str, log: Any, upcasts: Upcasts) -> None:
        self.lookup = Lookup(basedir)
        self._log = log
        self._upcasts = upcasts
        self._moved: tuple[int, dict[int, Stored]] = (0, {})
        """The events that one action has recorded again, by offset."""

    def events(self, runs: Iterable[Run], following: int | None = None, choose: Choose | None = None) -> list[Event]:
        """Returns the events of runs. With ``following``, the offset that the first may have, each says how many are missing before it.

        Raises a `StorageError`, `DecodingError`.
        """
        found: list[Event] = []
        begins: list[tuple[int, str, int]] = []
        """Of each run of which an event was chosen: which of those found is the first, its stream, and its offset."""
        for run in runs:
            before = len(found)
            for offset, stream, kind, blob, time in self._stored(run):
                if choose is not None and not choose(stream, kind):
                    continue
                event = self._event(offset, time, blob, stream, kind)
                if event is not None:
                    found.append(event)
            if len(found) > before:
                first = found[before]
                begins.append((before, first.stream, first.offset))
                if following is not None and first.offset == run.offset > following:
                    first.gap = run.offset - following
            following = None if following is None else run.offset + run.number
        # Asked at once: what each run says of itself is nothing of its versions.
        versions = self._log.versions(tuple((stream, offset) for _, stream, offset in begins))
        begins.append((len(found), "", 0))
        for (begin, _, offset), (end, _, _), version in zip(begins, begins[1:], versions, strict=False):
            for event in found[begin:end]:
                event.version = version + event.offset - offset
        return found

    def _stored(self, run: Run) -> Iterator[Stored]:
        """Yields the events of a run as they are stored."""
        if run.slot < 0:
            yield self._moved_one(run)
            return
        found = self.lookup.action(run.action)
        stream, said, sizes, data, *rest = found.args
        times = rest[3] if len(rest) > 3 else None
        kinds, time = kinds_of(said), instant_of(found)
        is_one_kind, ahead = len(kinds) == 1, run.offset - run.slot
        for slot, blob in enumerate(parted(sizes, data, run.slot, run.number), run.slot):
            kind, at = kinds[0] if is_one_kind else kinds[slot], time if times is None else times[slot]
            yield ahead + slot, stream, kind, blob, at

    def raw(self, runs: Iterable[Run]) -> Iterator[Stored]:
        """Yields events as they are stored: offset, stream, kind, data, timestamp."""
        for run in runs:
            yield from self._stored(run)

    def _moved_one(self, run: Run) -> Stored:
        action, found = self._moved
        if action != run.action:
            found = {each[0]: each for each in self.lookup.action(run.action).args[0]}
            self._moved = run.action, found
        return found[run.offset]

    def _event(self, offset: int, time: int, blob: bytes, stream: str, kind: Kind) -> Event | None:
        """Returns an event as it is today, but for its version; None if it is none any more."""
        name, of_type, key, meta, coding = kind
        data: Any = blob
        if coding != RAW:
            data = self._upcasts.load(blob) if coding == PICKLED else None
        if coding != TOMBSTONE:
            today = self._upcasts.today(name, of_type, data)
            if today is None:
                return None
            name, data = today
        said = None if meta is None else self._upcasts.load(meta)
        return Event(offset, time, len(blob), data, stream, name, 0, key, said)

    def close(self) -> None:
        self.lookup.close()


class News:
    """Wakes those in this process who wait for what comes next."""

    def __init__(self, log: Any) -> None:
        self.count = 0
        """Rises when there may be something new."""
        self.ended = False
        self.pid = os.getpid()
        self._moved = threading.Condition()
        self._wakers: list[Callable[[], object]] = []
        self._subscription = coopy.control(log).subscribe(self._told, ended=self._end)

    def _told(self, first: int, last: int) -> None:
        self.ring()

    def _end(self) -> None:
        self.ended = True
        self.ring()

    def ring(self) -> None:
        """Has everybody look again."""
        with self._moved:
            self.count += 1
            self._moved.notify_all()
            wakers = list(self._wakers)
        for each in wakers:
            each()

    def wait(self, count: int, timeout: float | None) -> bool:
        """Waits until there is something after ``count``. Returns False if that was not in so many seconds. Raises `SystemClosed`."""
        with self._moved:
            found = self._moved.wait_for(lambda: self.count != count or self.ended, timeout)
        if self.ended:
            raise SystemClosed("the event source is closed. Open it again to use it.")
        return found

    def on_news(self, waker: Callable[[], object], on: bool) -> None:
        """Has a function be called, in another thread, whenever there is something new; or not any more."""
        with self._moved:
            if on:
                self._wakers.append(waker)
            else:
                self._wakers.remove(waker)

    def close(self) -> None:
        self._subscription.close()
