"""Writes the ticks of a `coopy.sync.ticks.Ticks`, from one process of all that could.

A `Timekeeper` runs in each process that has a lock open. It reads how time stands, and writes a tick if its process is the timekeeper,
or a claim if that should be so: at once if its node leads, or if there are no other nodes; otherwise if nothing was counted for more
than two intervals although something waits for time. That only one of them writes is a matter of economy: `Ticks` is right whoever
writes what.

It measures from when it saw the newest beat, and never looks at the time of day. A claim gives every lease its full time again, unless
another one has counted until then: where the leading node is gone, one that has noticed the silence mostly claims first, and the one that
leads by now, which learns of that a second later, must not make everybody wait once more. Two processes that both take themselves for
the one that leads must not take the role from each other for ever: who has lost it claims for leading only after it has not led in between.

What it writes may be on its way for seconds, while nobody can write: a claim that was sent before the leading node was lost is answered after the
election. The beats that come meanwhile are seen then (`Timekeeper.hear`), and not only after the answer: silence would begin anew with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from coopy import CoopyError, SystemClosed, control
from coopy.ground.holding import Alarm
from coopy.sync import boot
from coopy.sync.ticks import Count

SILENT_INTERVALS = 2
"""A timekeeper that is well writes one tick an interval, and one may be late."""
LATE_NS = 100_000_000
"""A tick comes an interval and a round trip after the one before. If this much is not enough for the round trip, leases last longer."""
RETRY_NS = 100_000_000
"""What could not be written is tried again ten times a second, as nothing else tells when it could."""


class Counting(Protocol):
    """What a timekeeper asks of the system whose time it keeps. Called outside of any action."""

    def count(self) -> Count:
        """Returns how time stands: `Ticks.count`."""
        ...

    def tick(self, timekeeper: str, beat: int, elapsed_ns: int) -> object:
        """Records a tick: `Ticks.tick`."""
        ...

    def claim(self, timekeeper: str, beat: int, anew: bool) -> object:
        """Records a claim: `Ticks.claim`."""
        ...

    def leads(self) -> bool:
        """Whether this node leads, or there are no others. Nothing but speed depends on the answer."""
        ...


class CountingSystem:
    """A system with locks, as a timekeeper sees it."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def count(self) -> Count:
        """Returns how time stands."""
        found: Count = self._system.see_locks("count")
        return found

    def tick(self, timekeeper: str, beat: int, elapsed_ns: int) -> object:
        """Records a tick."""
        found: object = self._system.change_locks("tick", timekeeper, beat, elapsed_ns)
        return found

    def claim(self, timekeeper: str, beat: int, anew: bool) -> object:
        """Records a claim."""
        found: object = self._system.change_locks("claim", timekeeper, beat, anew)
        return found

    def leads(self) -> bool:
        """Whether this node leads, or there are no others."""
        status = control(self._system).status()
        return "leader" not in status or status["leader"] == status["self"]


class Timekeeper:
    """One process's. ``name`` is no other process's, and no other timekeeper's of this process."""

    def __init__(self, name: str, system: Counting) -> None:
        self.name = name
        self.problem: CoopyError | None = None
        """Why what was to be written last was not."""
        self._system = system
        self._beat = -1
        self._seen_ns = 0
        """When the newest beat was seen."""
        self._moves = False
        """Whether another one was seen before it, so that somebody counts, or did."""
        self._was = False
        """Whether this process has had the role, since it began to lead."""
        self._writes = False
        """Whether what it writes is on its way."""
        self._lock = threading.Lock()
        """Held while somebody looks."""
        self._bell = Alarm()
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Writes, in a thread, until `close`, or until the system is closed. Raises RuntimeError if there can't be one more."""
        self._thread = threading.Thread(target=self._run, name=f"coopy timekeeper {self.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Has it look again: something has changed."""
        self._bell.set()

    def hear(self) -> None:
        """Says that there were actions: to be called by who is told of them. If what it writes is on its way, it looks now which
        beat is the newest.
        """
        if self._writes:
            with suppress(CoopyError):  # It is closed, and so nothing is written any more.
                self._look()

    def close(self) -> None:
        """Ends it. Does not wait for what it writes."""
        self._closed = True
        self._bell.set()

    def step(self) -> int | None:
        """Writes what is due. Returns after how many nanoseconds more may be, 0 if at once; None if not before something changes.

        Raises what the system raises.
        """
        count, elapsed = self._look()
        if not count.interval_ns:
            return None
        if count.timekeeper == self.name:
            self._was = True
            due = min(count.interval_ns, count.due_ns)
            if elapsed < due:
                return due - elapsed
            self._write(self._system.tick, count.beat, elapsed)
            return 0
        leads = self._system.leads()
        self._was = self._was and leads
        silence = SILENT_INTERVALS * count.interval_ns
        if (leads and not self._was) or elapsed > silence:
            counts = self._moves and elapsed <= min(silence, count.interval_ns + LATE_NS)
            self._write(self._system.claim, count.beat, not counts)
            return 0
        # Who leads may change without an action.
        return min(count.interval_ns, silence + 1 - elapsed)

    def _look(self) -> tuple[Count, int]:
        """Returns how time stands, and for how many nanoseconds the newest beat has been seen."""
        with self._lock:
            count = self._system.count()
            # After it was read, so that it is not before the beat was recorded.
            now = boot.now_ns()
            if not count.interval_ns:
                self._beat = -1
            elif count.beat != self._beat:
                self._moves = self._beat >= 0
                self._beat, self._seen_ns = count.beat, now
            return count, now - self._seen_ns

    def _write(self, call: Callable[..., object], beat: int, what: int) -> None:
        self._writes = True
        try:
            call(self.name, beat, what)
        finally:
            self._writes = False

    def _run(self) -> None:
        while not self._closed:
            try:
                wait_ns = self.step()
                self.problem = None
            except SystemClosed:
                return
            except CoopyError as error:  # No majority, a full disk: leases go on meanwhile, as no time is counted.
                self.problem, wait_ns = error, RETRY_NS
            # What has changed since the look has rung it.
            if not self._closed:
                self._bell.wait(boot.seconds(wait_ns))
