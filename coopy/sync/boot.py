"""The clock by which this process measures how much time has passed, for leases; and a bell, for those who wait by it.

It counts while the machine sleeps, and does not know of the time of day, so nobody can set it. Its readings mean nothing to another
machine, nor after a restart of this one. A simulation puts a clock of its own in the place of `now_ns`.

Linux calls it CLOCK_BOOTTIME. On macOS it is CLOCK_MONOTONIC_RAW, which counts sleep there (as libc++ found, reviews.llvm.org/D74341); Linux
has a clock of that name that does not. Where there is neither, it is Python's own, of which it is not known whether it counts sleep.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress

NS = 1_000_000_000
"""Nanoseconds in a second."""
_MACOS_RAW = 4  # CLOCK_MONOTONIC_RAW of macOS, whatever name Python has for it.


def _clock_id() -> int | None:
    if sys.platform == "darwin":
        return getattr(time, "CLOCK_MONOTONIC_RAW", _MACOS_RAW)
    found: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return found


_CLOCK = _clock_id()


def now_ns() -> int:
    """Returns the nanoseconds since some moment of this machine."""
    return time.monotonic_ns() if _CLOCK is None else time.clock_gettime_ns(_CLOCK)


class Bell:
    """What one thread waits for and any may ring, a signal handler or a finalizer too: no lock of Python code is taken for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Has the thread go on that waits, or that waits next."""
        with suppress(RuntimeError):  # It has just been rung.
            self._lock.release()

    def wait(self, limit_ns: int | None) -> None:
        """Waits until it is rung, or for so long; None: without an end."""
        if limit_ns is None:
            self._lock.acquire()
        elif limit_ns > 0:
            self._lock.acquire(True, min(limit_ns / NS, threading.TIMEOUT_MAX))
