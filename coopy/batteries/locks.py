"""LockManager: locks by name as PySyncObj has them, on those of `coopy.sync`."""

from __future__ import annotations

import threading
from typing import Any

from coopy import SystemClosed
from coopy.sync import Lock


class LockManager:
    """Takes and gives back locks by name, without waiting. It is no structure, but what a program holds of a system with locks.

    What it holds it renews by itself. A lock whose holder is gone is free after ``autoUnlockTime`` seconds and a tick, by counted time and by nobody's clock
    (in PySyncObj, by the clock of whoever asked next). It holds the same locks as `coopy.sync.Lock` of the same name.

    Args:
        autoUnlockTime: seconds, more than 0.
        selfID: a name for messages; by default host, process and a random number. Whose a lock is does not depend on it.
        system: as for `coopy.sync.Lock`.

    >>> from coopy import init_system
    >>> from coopy.sync import Locks
    >>> locks = init_system(Locks, "locks")
    >>> mine, other = LockManager(75, system=locks), LockManager(75, system=locks)
    >>> mine.tryAcquire("stock"), mine.tryAcquire("stock"), other.tryAcquire("stock"), mine.isAcquired("stock")
    (True, True, False, True)
    >>> mine.release("stock"), mine.isAcquired("stock"), other.tryAcquire("stock")
    (True, False, True)
    >>> mine.destroy(), other.destroy(), locks.close()
    (None, None, None)
    """

    def __init__(self, autoUnlockTime: float, selfID: str | None = None, *, system: Any = None) -> None:
        self._ttl = autoUnlockTime
        # The presence of this process lasts from here on, however often the locks change.
        self._first = Lock("<manager>", system=system, ttl=autoUnlockTime)
        self._system = self._first.system
        self.selfID = self._first.here if selfID is None else selfID
        self._guard = threading.RLock()
        self._locks: dict[str, Lock] = {}
        self._destroyed = False

    def tryAcquire(self, lockID: str) -> bool:
        """Takes a lock. Returns whether this manager has it now; it may have had it before. Raises what `coopy.sync.Lock.acquire` raises."""
        with self._guard:
            if self._destroyed:
                raise SystemClosed(f"{self!r} was destroyed. Make another one.")
            lock = self._locks.get(lockID)
            if lock is not None and lock.held:
                return True
            lock = Lock(lockID, system=self._system, ttl=self._ttl)
            if not lock.acquire(blocking=False):
                lock.close()
                return False
            self._locks[lockID] = lock
            return True

    def release(self, lockID: str) -> bool:
        """Gives a lock back. Returns whether this manager had it."""
        with self._guard:
            lock = self._locks.pop(lockID, None)
            if lock is None or not lock.held:
                return False
            lock.close()
            return True

    def isAcquired(self, lockID: str) -> bool:
        """Returns whether this manager has a lock, by this process's own clock. Asks nobody."""
        lock = self._locks.get(lockID)
        return lock is not None and lock.held

    def destroy(self) -> None:
        """Gives all locks back. The manager takes no more."""
        with self._guard:
            self._destroyed = True
            for lockID in list(self._locks):
                self.release(lockID)
            self._first.close()

    def __repr__(self) -> str:
        return f"<LockManager {self.selfID}: {len(self._locks)} locks>"
