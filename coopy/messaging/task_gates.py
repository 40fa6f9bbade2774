"""What holds tasks back that could run: so many at once of a key, and so much time between two of a rate.

A task that a gate holds back is parked there, and not among those that may run, so nobody looks at it again and again. As the gate opens, one task
of each lane goes back to those that may run: the lane may be one that nobody works for, and must not hold up the others.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush


class Gate:
    """One key, or one rate."""

    __slots__ = ("running", "next_ns", "is_timed", "parked")

    def __init__(self) -> None:
        self.running = 0
        """How many tasks of it run: of a key."""
        self.next_ns = 0
        """Not before that the next may begin: of a rate."""
        self.is_timed = False
        """Whether it opens by itself at a time that is noted."""
        self.parked: dict[str, list[tuple[int, int]]] = {}
        """By lane: priority, negated, and number of each task that is held back; a heap."""

    def park(self, lane: str, priority: int, number: int) -> None:
        """Takes a task that is held back."""
        heappush(self.parked.setdefault(lane, []), (-priority, number))

    def freed(self, is_blocked: Callable[[int], bool]) -> list[int]:
        """Takes the next task of each lane out, and returns their numbers. Those that are not held back any more are dropped."""
        found = []
        for lane in list(self.parked):
            heap = self.parked[lane]
            while heap:
                number = heappop(heap)[1]
                if is_blocked(number):
                    found.append(number)
                    break
            if not heap:
                del self.parked[lane]
        return found

    @property
    def is_idle(self) -> bool:
        """Whether nothing is known of it any more that is needed."""
        return not self.running and not self.parked and not self.is_timed
