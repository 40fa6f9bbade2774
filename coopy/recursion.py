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

from coopy.holding import run_with

OWN_FRAMES = 50
"""So many frames of this package lie between a replay and a method, at the most."""

_lock = RLock()
_rooms: dict[object, int] = {}
"""By how much each of those that replay now has to raise the limit: all threads share it."""
_base = 0
_raised = 0


@contextmanager
def room() -> Iterator[None]:
    """Raises the limit of recursion by what the stack of this thread has on it."""
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
    key = object()
    try:
        run_with(_lock, lambda: _set(key, depth + OWN_FRAMES))
        yield
    finally:
        run_with(_lock, lambda: _set(key, 0))


def _set(key: object, frames: int) -> None:
    global _base, _raised
    limit = sys.getrecursionlimit()
    if limit != _raised:
        _base = limit  # Nobody replays, or the program has set another meanwhile.
    if frames:
        _rooms[key] = frames
    else:
        _rooms.pop(key, None)
    _raised = _base + max(_rooms.values(), default=0)
    if _raised != limit:
        sys.setrecursionlimit(_raised)
