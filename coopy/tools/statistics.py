"""What a journal says of each method: how often it was called, how that ended, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from coopy.ground.action import RAISED, WITHDRAWN
from coopy.past import trail
from coopy.past.reading import Reading
from coopy.past.trail import Point

UNDECODED = "(can't be decoded)"
"""Stands for the method of an action whose record says none that can be read."""
STEP = 10_000
"""So many actions are read between two reports of progress: a few hundredths of a second."""


@dataclass(slots=True)
class MethodStatistics:
    """The recorded calls of one method."""

    method: str
    first: datetime
    last: datetime
    calls: int = 0
    raised: int = 0
    withdrawn: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The same, of JSON types."""
        return {
            "method": self.method,
            "calls": self.calls,
            "raised": self.raised,
            "withdrawn": self.withdrawn,
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
        }


def statistics(
    reading: Reading,
    since: Point | None = None,
    until: Point | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[MethodStatistics]:
    """Counts the recorded calls from one point to another, both included, by method; those that were called most come first.

    Runs no method. ``progress`` is given the actions that were read and those in all. Raises a `StorageError` on reaching damage.
    """
    found: dict[str, MethodStatistics] = {}
    total = reading.log.last
    for number, each in enumerate(trail.actions(reading, since, until)):
        name = UNDECODED if each.method is None else each.method
        of_method = found.get(name)
        if of_method is None:
            of_method = found[name] = MethodStatistics(name, each.time, each.time)
        of_method.calls += 1
        of_method.raised += each.outcome == RAISED
        of_method.withdrawn += each.outcome == WITHDRAWN
        of_method.last = each.time
        if progress is not None and number % STEP == 0:
            progress(each.index, total)
    return sorted(found.values(), key=lambda each: (-each.calls, each.method))
