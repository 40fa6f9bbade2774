"""Group commit: everyone who waits shares the same sync.

The first who needs a sync does it; while it runs, others write, queue up and
sleep. When it is done they are woken, and one of those it did not cover does
the next. There is no timer and no thread of its own: one caller alone syncs at
once, many callers get batches as large as the disk is slow.

Nobody owns a turn while asleep: who is woken tries the gate again. So a caller
that is interrupted while it waits can always leave; it wakes another on its way
out, in case it was the one who had been chosen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any


class GroupCommit:
    """``sync`` makes everything written so far durable and returns the highest index of it."""

    def __init__(self, sync: Callable[[], int], durable: int) -> None:
        self.durable = durable
        self._sync = sync
        self._failure: OSError | None = None
        self._gate = Lock()
        self._waiters: deque[tuple[int, Any]] = deque()

    def wait(self, index: int) -> None:
        """Returns when ``index`` is durable. Raises the OSError of the sync that failed."""
        while self.durable < index:
            if self._failure is not None:
                raise self._failure
            if self._gate.acquire(False):
                self._lead()
            else:
                self._park(index)

    def exclusive(self, function: Callable[[], None]) -> None:
        """Runs a function while no sync is under way."""
        with self._gate:
            function()
        self._wake_one()

    def _lead(self) -> None:
        try:
            self.durable = self._sync()
        except OSError as error:
            self._failure = error
        finally:
            durable = float("inf") if self._failure is not None else self.durable
            ready: list[tuple[int, Any]] = []
            rest: list[tuple[int, Any]] = []
            while self._waiters:
                waiter = self._waiters.popleft()
                (ready if waiter[0] <= durable else rest).append(waiter)
            self._waiters.extendleft(reversed(rest))
            self._gate.release()
            # The next leader first: its sync can run while the others wake up. Also, only
            # after the release: who queued since found the gate closed and went to sleep.
            self._wake_one()
            for _, sleeping in ready:
                sleeping.release()

    def _park(self, index: int) -> None:
        sleeping = Lock()
        sleeping.acquire()
        self._waiters.append((index, sleeping))
        try:
            if self._gate.acquire(False):
                self._lead()
            else:
                sleeping.acquire()
        finally:
            # Who was woken as the next leader and has nothing to do passes it on.
            if self._waiters and not self._gate.locked():
                self._wake_one()

    def _wake_one(self) -> None:
        try:
            _, sleeping = self._waiters.popleft()
        except IndexError:
            return
        sleeping.release()
