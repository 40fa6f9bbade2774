"""Locks that are given back whatever is raised, and at whatever moment.

``with lock:`` has a gap: an exception that comes after the block and before the
lock is released leaves it taken for good. Taking it by hand has two: whoever is
interrupted between taking a lock and knowing so cannot tell whether it is held.
Signals raise in the second of these gaps, and debuggers, profilers and limits on
time that are built on them in all.

What closes them is an RLock, as that knows which thread holds it, and two
``try`` around each other: the outer one cleans up where the clean-up of the inner
one was interrupted as well. Cleaning up does nothing where it has been done.

Does not keep an exception from coming, and knows no domain.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
AT_ONCE = 0.0  # What `acquire` of a lock takes for: do not wait.
FOR_EVER = -1.0  # What `acquire` of a lock takes for: wait without an end.


def run_with(lock: Any, function: Callable[[], object], timeout_s: float = FOR_EVER) -> bool:
    """Runs a function with an RLock held. Returns False, without having run it, if the lock can't be had in time.

    A thread that holds the lock already runs the function at once: a signal handler meets what it has interrupted.
    """
    held = True
    try:
        try:
            held = lock._is_owned()
            if not held and not (lock.acquire(True, timeout_s) if timeout_s else lock.acquire(False)):
                return False
            function()
            if not held:
                lock.release()
            return True
        except BaseException:
            if not held and lock._is_owned():
                lock.release()
            raise
    except BaseException:
        if not held and lock._is_owned():
            lock.release()
        raise


def or_undone(begin: Callable[[], T], undo: Callable[[], object]) -> T:
    """Returns what ``begin`` returns. Whatever it raises, and wherever an interrupt comes, ``undo`` is called before that goes on.

    Undoing may be interrupted as well, so it may be done twice: it must do nothing where it has been done.
    """
    try:
        try:
            return begin()
        except BaseException:
            undo()
            raise
    except BaseException:
        undo()
        raise


class Alarm:
    """What one thread waits for, and any may set; a signal handler, a finalizer, an interrupted closing that is made again.

    `threading.Event` has a lock of its own that an interrupt in `set` can leave taken, so that the next `set` hangs. Setting this is
    one call of C.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        """Has the thread that waits go on, or the next that will wait. Does nothing if it is set."""
        with suppress(RuntimeError):
            self._lock.release()

    def is_set(self) -> bool:
        """Returns whether it is set, and nobody has gone on for it."""
        return not self._lock.locked()

    def wait(self, timeout_s: float = FOR_EVER) -> bool:
        """Waits until it is set, for that many seconds at most, and takes it back. Returns whether it was set."""
        return self._lock.acquire(True, timeout_s)


def times_held(lock: Any) -> int:
    """Returns how often this thread has taken an RLock and not given it back."""
    if not lock._is_owned():
        return 0
    if hasattr(lock, "_recursion_count"):  # Python 3.12, and later releases of 3.11.
        return int(lock._recursion_count())
    # "<locked _thread.RLock object owner=1 count=2 at 0x7f>"
    return int(repr(lock).partition(" count=")[2].split(" ", 1)[0])


def times_due(frame: FrameType | None, owner: object) -> int:
    """Returns how often functions that have not ended, from a frame outwards, hold the lock of ``owner``.

    They say so in a local variable ``_coopy_holds``; the owner is their ``self`` or ``_coopy_engine``.
    """
    number = 0
    while frame is not None:
        if "_coopy_holds" in frame.f_code.co_varnames:
            local = frame.f_locals
            if local.get("_coopy_holds") and (local.get("_coopy_engine") is owner or local.get("self") is owner):
                number += 1
        frame = frame.f_back
    return number
