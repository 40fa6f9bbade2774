"""The clock by which this process measures how much time has passed, for leases.

It counts while the machine sleeps, and does not know of the time of day, so nobody can set it. Its readings mean nothing to another
machine, nor after a restart of this one. A simulation puts a clock of its own in the place of `now_ns`.

Linux calls it CLOCK_BOOTTIME. On macOS it is CLOCK_MONOTONIC_RAW, which counts sleep there (as libc++ found, reviews.llvm.org/D74341); Linux
has a clock of that name that does not. Where there is neither, it is Python's own, of which it is not known whether it counts sleep.
"""

from __future__ import annotations

import sys
import threading
import time

from coopy.ground.holding import FOR_EVER

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


def seconds(limit_ns: int | None) -> float:
    """Returns how long an `Alarm` is to be waited for: so many nanoseconds, at once if there are none left, for ever for None."""
    return FOR_EVER if limit_ns is None else min(max(0, limit_ns) / NS, threading.TIMEOUT_MAX)
