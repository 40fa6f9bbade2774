"""What of an event source goes: by retention, by compaction; and the files of the journal that nobody needs then.

Which events are removed is decided by actions, so all processes agree. The journal is deleted as everywhere: by pruning, of snapshots and of the
segments that only they need. So a snapshot stays that is older than the first event that is kept, and what is newer than that.

A compaction may leave one event of a million in an old segment. It is recorded once more then, with the offset that it has, and the segment can go.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol

import coopy
from coopy import CoopyError, SystemClosed
from coopy.messaging.events_kinds import Retention
from coopy.messaging.events_payload import TOMBSTONE

TRIM_BYTES = 64 << 20
"""Retention is looked after when a process has appended so much: as often as whole files of the journal may go."""
TRIM_S = 60.0
"""And when it appends after so long, for what goes by its age."""
_RANGES_MAX = 10_000
"""So many ranges are removed by one action."""
_MOVED_MAX = 1000
"""So many events are recorded once more by one action."""
_SNAPSHOT = re.compile(r"snapshot_([0-9]+)\.dat\Z")
_NS = 1_000_000_000  # Nanoseconds in a second.
SLACK_S = 60.0
"""So much more of the journal is kept by its age than is needed: longer than a thread is held up between two steps."""


class Stored(Protocol):
    """What a keeper asks of an open event source."""

    def raw(self, begin: int, end: int) -> Iterator[Any]:
        """Yields the events between two offsets as they are stored."""
        ...

    def instant(self, action: int) -> int:
        """Returns when an action happened, in nanoseconds."""
        ...


class Keeper:
    """Removes events, and frees the disk of them."""

    def __init__(self, source: Stored, log: Any) -> None:
        self._source = source
        self._log = log
        self._bytes = 0
        self._looked = time.monotonic()
        self._thread: threading.Thread | None = None
        self._one = threading.Lock()
        self.problem: str | None = None
        """Why the last removal that came by itself was not done, or None."""

    def appended(self, size: int) -> None:
        """Looks after retention, in another thread, if it is time to."""
        self._bytes += size
        if self._bytes < TRIM_BYTES and (not self._bytes or time.monotonic() < self._looked + TRIM_S):
            return
        self._bytes, self._looked = 0, time.monotonic()
        if self._log.kept()["retention"] != Retention() and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._by_itself, name="coopy events retention", daemon=True)
            self._thread.start()

    def _by_itself(self) -> None:
        try:
            self.trim()
            self.problem = None
        except SystemClosed:
            pass
        except (CoopyError, OSError) as error:
            self.problem = repr(error)

    def trim(self, first: int | None = None) -> int:
        """Removes what need not be kept, or all before an offset. Returns the first offset that is left."""
        with self._one:
            before = self._log.span()[0]
            found: int = self._log.trim(first)
            if found > before:
                self._free()
            return found

    def compact(self, stream: str | None, tombstones_for: float, move: bool) -> int:
        """Removes, of events with one key, all but the newest. Returns how many. See `EventSource.compact`."""
        with self._one:
            first, end = self._log.span()
            newest: dict[tuple[str, str], int] = {}
            old: list[int] = []
            horizon = time.time_ns() - int(tombstones_for * _NS)
            for offset, name, kind, _, at in self._raw(first, end):
                if kind[2] is None or (stream is not None and name != stream):
                    continue
                key = (name, kind[2])
                if key in newest:
                    old.append(newest[key])
                newest[key] = offset
                if kind[4] == TOMBSTONE and at <= horizon:
                    old.append(newest.pop(key))
            ranges = iter(_as_ranges(sorted(old)))
            removed = 0
            while some := tuple(islice(ranges, _RANGES_MAX)):
                removed += self._log.remove(some)
            if move:
                self._move(first, end)
                self._free()
            return removed

    def _move(self, first: int, end: int) -> None:
        """Records what is left once more."""
        left = self._raw(first, end)
        while some := tuple(islice(left, _MOVED_MAX)):
            self._log.move(some)

    def _raw(self, first: int, end: int) -> Iterator[Any]:
        return self._source.raw(first, end)

    def _free(self) -> None:
        """Takes a snapshot, and deletes snapshots and segments that only events need which are gone. Only the process that writes deletes."""
        controls = coopy.control(self._log)
        controls.take_snapshot()
        if controls.status().get("role", "writer") != "writer":
            return
        needs = self._log.needs()
        snapshots = sorted(int(found[1]) for each in os.listdir(controls.basedir) if (found := _SNAPSHOT.match(each)))
        older = [each for each in snapshots if needs is None or each < needs]
        # Of those before the first event that is kept the last stays, with all that follow; two at least, should one not be readable.
        keep = max(len(snapshots) - len(older) + 1, 2)
        keep_for = 0.0
        if needs is not None:
            # Said twice, and a snapshot stays if either says so: somebody else may take one just now, and clocks are put back.
            keep_for = max((time.time_ns() - self._source.instant(needs)) / _NS, 0) + SLACK_S
        if older:
            controls.prune(keep=keep, keep_for=keep_for)

    def close(self) -> None:
        """Waits for what is being removed."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()


def _as_ranges(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yields numbers in order as ranges."""
    begin = end = -1
    for each in numbers:
        if each != end and begin >= 0:
            yield begin, end
        if each != end:
            begin = each
        end = each + 1
    if begin >= 0:
        yield begin, end
