"""Gives a method that is run again as much room to recurse as it had when it was called.

A method may have been called near the bottom of the stack, and have recursed almost to the limit. At replay the same method is
called from inside an opening, which may itself be called from anywhere. So the limit is raised for as long as that takes, by what
is on the stack already: a method that fitted once fits again, if the program has the limit that it had.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from coopy.ground.holding import run_with

OWN_FRAMES = 50
"""At most this many frames of this package lie between a replay and a method."""

_lock = RLock()
_rooms: dict[object, int] = {}
"""By how much each of those that replay now has to raise the limit: all threads share it."""
_base = _raised = _wanted = 0
"""Limits of recursion, 0 for none: that of the program, what we raised it to, and what a replay needs."""


@contextmanager
def room(more: int = 0) -> Iterator[None]:
    """Raises the limit of recursion by what the stack of this thread has on it, and by ``more``."""
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
    key = object()
    try:
        _rooms[key] = depth + OWN_FRAMES + more
        run_with(_lock, _set)
        yield
    finally:
        # A statement, as at the end of the stack there is no room for a call: what stayed here would raise the limit for good.
        if key in _rooms:
            del _rooms[key]
        run_with(_lock, _set)


def _set() -> None:
    """Sets the limit that those who replay now need."""
    global _base, _raised, _wanted
    limit = sys.getrecursionlimit()
    if limit not in (_raised, _wanted):
        _base = limit  # Nobody replays, or the program has set another meanwhile.
    wanted = _wanted = _base + max(_rooms.values(), default=0)
    if wanted != limit:
        try:
            sys.setrecursionlimit(wanted)
        except RecursionError:
            wanted = limit  # The stack is deeper than that here: whoever is next lowers it.
    _raised = wanted
