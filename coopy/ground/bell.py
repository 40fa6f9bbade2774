"""What wakes those who wait for something to happen, one after the other.

Whoever waits registers a `Waiter` first, asks then, and waits to be rung if the answer is no: so nothing that happens after the question is
missed. `Bell.ring` wakes the one that has waited for longest, and each that was woken and has asked wakes the next that had registered before
the ring. So ringing costs the same however many wait. It takes no lock, and may be called with any lock held and by a signal handler.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from coopy.ground.holding import FOR_EVER, Alarm


class Waiter:
    """One who waits for a ring, in a thread."""

    round = 0
    """Number of the ring by which it was woken, if it has not woken the next yet; else 0."""

    def __init__(self) -> None:
        self._rung = Alarm()

    def wake(self) -> bool:
        """Wakes the one who waits. Returns False if nobody can be woken any more. Called once for each time it was registered."""
        self._rung.set()
        return True

    def wait(self, seconds: float | None) -> bool:
        """Waits to be rung, for some seconds or (None) for ever. Returns whether it was rung."""
        return self._rung.wait(FOR_EVER if seconds is None else min(seconds, threading.TIMEOUT_MAX))


class Bell:
    """Those who wait, in the order in which they began to."""

    def __init__(self) -> None:
        self._rings = 0
        # By each that was not woken yet, how often it had rung before. Each step on it is one of C, and so is not interrupted.
        self._waiting: OrderedDict[Waiter, int] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def register(self, waiter: Waiter) -> None:
        """Has a waiter woken by the next ring."""
        self._waiting[waiter] = self._rings

    def leave(self, waiter: Waiter) -> None:
        """Has a waiter not be woken any more. If it was, and has not woken the next yet, it does so now."""
        self._waiting.pop(waiter, None)
        self.pass_on(waiter)

    def ring(self) -> None:
        """Wakes the first of those who wait."""
        self._rings += 1
        self._wake_next(self._rings)

    def pass_on(self, waiter: Waiter) -> None:
        """Wakes the next, after a waiter that was woken has asked. Does nothing the second time."""
        round, waiter.round = waiter.round, 0
        if round:
            self._wake_next(round)

    def _wake_next(self, round: int) -> None:
        """Wakes the first of those who had registered before a ring."""
        while True:
            try:
                waiter, rings = next(iter(self._waiting.items()))
            except StopIteration:
                return
            except RuntimeError:
                continue  # Another has come or gone in between.
            if rings >= round:
                return
            waiter.round = round  # Before it is taken out: who leaves then knows that it is to wake the next.
            if self._waiting.pop(waiter, None) is not None and waiter.wake():
                return
