"""Group commit: everyone who waits shares the same sync.

The first who needs a sync does it; while it runs, others write, queue up and
sleep. When it is done those it covered are woken, and one of those it did not
cover is handed the gate, to do the next. There is no timer and no thread of its
own: one caller alone syncs at once, many callers get batches as large as the
disk is slow.

Those a sync has covered wake one another, a few at a time: all at once they
would only queue up for the interpreter, each put to sleep a second time. With
64 threads that is a tenth more calls.

The gate is handed over closed: were it opened, whoever runs next would sync the
little that is there, before the others are awake; with 64 threads that cost a
third of the calls. Who is handed the gate, or the waking of others, must do
something with it, even if it was interrupted in its sleep. That is what the
token is for: whoever takes it, the one who hands over or the one who leaves,
knows that the other has not.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from threading import Lock


AWAKE = 2  # Woken at a time: one that runs, one on its way.


class _Waiter:
    """Asleep on ``turn`` until ``index`` is durable, or it is handed the gate, and ``leads``."""

    __slots__ = ("index", "turn", "token", "leads")

    def __init__(self, index: int) -> None:
        self.index = index
        self.turn = Lock()
        self.turn.acquire()
        self.token = [None]
        self.leads = False

    def take_token(self) -> bool:
        """True for the one caller that comes first."""
        try:
            self.token.pop()
        except IndexError:
            return False
        return True


class GroupCommit:
    """``sync`` makes everything written so far durable and returns the highest index of it."""

    def __init__(self, sync: Callable[[], int], durable: int) -> None:
        self.durable = durable
        self._sync = sync
        self._failure: OSError | None = None
        self._gate = Lock()
        self._waiters: deque[_Waiter] = deque()
        self._covered: deque[_Waiter] = deque()

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
        if self._gate.acquire(False):
            self._hand_over()

    def _lead(self) -> None:
        """Holding the gate: syncs, hands the gate over, and wakes who has waited for this sync."""
        try:
            self.durable = self._sync()
        except OSError as error:
            self._failure = error
        finally:
            upto = self.durable if self._failure is None else sys.maxsize
            rest: list[_Waiter] = []
            while self._waiters:
                waiter = self._waiters.popleft()
                (self._covered if waiter.index <= upto else rest).append(waiter)
            self._waiters.extendleft(reversed(rest))
            self._hand_over()
            for _ in range(AWAKE):
                self._wake_next()

    def _park(self, index: int) -> None:
        waiter = _Waiter(index)
        self._waiters.append(waiter)
        try:
            if self._gate.acquire(False):
                # The gate was opened before we were in the queue.
                self._lead()
                return
            waiter.turn.acquire()
        except BaseException:
            if not waiter.take_token():
                self._pass_on(waiter)
            raise
        if waiter.leads and self.durable < index and self._failure is None:
            self._lead()
        else:
            self._pass_on(waiter)

    def _pass_on(self, waiter: _Waiter) -> None:
        """Gives what a waiter was woken with to the next."""
        if waiter.leads:
            self._hand_over()
        else:
            self._wake_next()

    def _wake_next(self) -> None:
        """Wakes one of those that a sync has covered."""
        while self._covered:
            try:
                waiter = self._covered.popleft()
            except IndexError:
                return
            if waiter.take_token():
                waiter.turn.release()
                return

    def _hand_over(self) -> None:
        """Holding the gate: gives it to one who waits, or opens it."""
        while True:
            while self._waiters:
                try:
                    waiter = self._waiters.popleft()
                except IndexError:
                    break
                waiter.leads = True
                if waiter.take_token():
                    waiter.turn.release()
                    return
            self._gate.release()
            # Who queued up before the gate was opened found it closed and sleeps.
            if not self._waiters or not self._gate.acquire(False):
                return
