"""Group commit: everyone who waits shares the same sync.

The first caller that needs a sync does it; while it runs, others write, queue up
and sleep. When it is done, those it covered are woken, and the gate is reserved
for one of those it did not cover, which does the next. There is no timer and no
thread of its own: one caller alone syncs at once, many callers get batches as
large as the disk is slow.

Those a sync has covered wake one another, a few at a time: all at once they
would only queue up for the interpreter, each put to sleep a second time. With
64 threads that is a tenth more calls.

The gate is reserved, not only opened: whoever runs next would sync the little
that is there, before the others are awake; with 64 threads that cost a third of
the calls.

An exception may come at any moment (Ctrl-C, a signal handler that raises). It
must leave no gate closed and nobody asleep for ever:

* The gate is an RLock that is taken and given back by `coopy.ground.holding`.
* All the rest are hints: who is reserved, who is covered, who was woken. A
  caller sleeps for PATIENCE_S at most and then looks for itself, so a hint that
  was lost costs a moment, and a wrong one nothing.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from threading import Lock, RLock

from coopy.errors import copy_of
from coopy.ground.holding import AT_ONCE, run_with
from coopy.ground.interruption import OUTSIDE, origin

AWAKE = 2
"""Callers that are woken at a time: one that runs, one on its way."""

PATIENCE_S = 0.1  # A hint that was lost costs a caller no more than this; a sync of a busy disk takes as long.


class _Waiter:
    """A caller that sleeps on ``turn`` until ``index`` is durable, or the gate is reserved for it."""

    __slots__ = ("index", "turn", "gone")

    def __init__(self, index: int) -> None:
        self.index = index
        self.turn = Lock()
        self.turn.acquire()
        self.gone = False


class GroupCommit:
    """``sync`` makes everything written so far durable and returns the highest index of it.

    It is called by one thread at a time.
    """

    def __init__(self, sync: Callable[[], int], durable: int) -> None:
        self.durable = durable
        self._sync = sync
        self._failure: OSError | None = None
        self._gate = RLock()
        self._reserved: _Waiter | None = None
        self._waiters: deque[_Waiter] = deque()
        self._covered: deque[_Waiter] = deque()

    def wait(self, index: int) -> None:
        """Returns when ``index`` is durable. Raises the OSError of the sync that failed."""
        try:
            while self.durable < index:
                if self._failure is not None:
                    raise copy_of(self._failure)
                if self._reserved is None and run_with(self._gate, self._lead, AT_ONCE):
                    continue
                if not self._sleep(index):
                    self._reserved = None
                    run_with(self._gate, self._lead, PATIENCE_S)
        except BaseException:
            # This caller may have been about to lead.
            self._reserved = None
            self._hand_over()
            raise

    def exclusive(self, function: Callable[[], None]) -> None:
        """Runs a function while no sync is under way."""
        try:
            run_with(self._gate, function)
        finally:
            # Whoever came meanwhile found the gate closed and sleeps.
            if self._reserved is None:
                self._hand_over()

    def _lead(self) -> None:
        """Syncs, wakes those it has covered, and reserves the gate for one of the others."""
        self._reserved = None
        try:
            if self._failure is None:
                self.durable = max(self.durable, self._sync())
        except OSError as error:
            if origin(error) == OUTSIDE:
                raise  # A signal's handler may raise one too: the TimeoutError of a job's time limit, say.
            self._failure = copy_of(error)  # Without what was being done: that holds a state, and this stays.
        finally:
            if self._waiters or self._covered:
                self._cover()

    def _cover(self) -> None:
        upto, waiters = self.durable if self._failure is None else sys.maxsize, self._waiters
        for _ in range(len(waiters)):
            try:
                waiter = waiters.popleft()
            except IndexError:
                break
            (self._covered if waiter.index <= upto else waiters).append(waiter)
        self._hand_over()
        for _ in range(AWAKE):
            self._wake_next()

    def _sleep(self, index: int) -> bool:
        """Queues up until there is something to look at. Returns False if nobody came in time."""
        waiter = _Waiter(index)
        self._waiters.append(waiter)
        try:
            # The gate may have been opened before this caller was in the queue.
            if self._reserved is None and run_with(self._gate, self._lead, AT_ONCE):
                waiter.gone = True
                return True
            came = waiter.turn.acquire(True, PATIENCE_S)
            # It may be in a queue still. Whoever wakes it from now on must wake another one, who sleeps.
            waiter.gone = True
            if self._reserved is not waiter:
                self._wake_next()
            elif self.durable < index and self._failure is None:
                run_with(self._gate, self._lead)
            else:
                self._hand_over()
            return came
        except BaseException:
            waiter.gone = True
            # Whatever it was woken with goes to the next.
            if self._reserved is waiter:
                self._hand_over()
            self._wake_next()
            raise

    def _wake_next(self) -> None:
        """Wakes one of those that a sync has covered."""
        while self._covered:
            try:
                waiter = self._covered.popleft()
                waiter.turn.release()
            except RecursionError:
                raise  # At the end of the stack it comes at each turn, and is a RuntimeError, too.
            except (IndexError, RuntimeError):
                continue  # Another thread was faster, or has woken it.
            if not waiter.gone:
                return

    def _hand_over(self) -> None:
        """Reserves the gate for one that waits; for nobody if there is none."""
        while True:
            try:
                waiter = self._reserved = self._waiters.popleft()
                waiter.turn.release()
            except IndexError:
                self._reserved = None
                # Who queued up before that found it reserved and sleeps.
                if not self._waiters:
                    return
                continue
            except RecursionError:
                raise  # As in `_wake_next`.
            except RuntimeError:
                continue  # It has been woken before.
            if not waiter.gone:
                return
