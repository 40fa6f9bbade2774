"""When keys of a store end, by counted time: the part of a store in which time passes by recorded ticks and by nothing else.

What is counted, and why nothing ends early, is as in `coopy.sync.ticks`, and the same `coopy.sync.timekeeper.Timekeeper` writes the ticks. What
differs is what ends: not a dozen leases that are renewed, but any number of keys, which nobody renews. So

* they lie in a heap, and a tick looks at those that end by it alone;
* they keep the time that is left of them when another process counts from now on: nothing was counted meanwhile, so none can be early;
* a tick counts at most a 64th of the shortest time to live (an eighth of a short one, see `step_ns`), as a key of an hour that ends seven
  minutes late would surprise its owner, who can't renew it.

A key that is put in while others have an end may be met by a tick that was measured from before. It counts at most one step of the shortest
time to live that there is, which is at most the step of this key's own: so much later the key ends.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from coopy import UsageError
from coopy.sync.ticks import Count

NS = 1_000_000_000
"""Nanoseconds in a second."""
TICK_NS = NS // 10
"""There are at most ten ticks a second, unless the shortest time to live is less than eight of these."""
STEPS, STEPS_SHORT = 64, 8
_HEAP_SPARE = 16
"""A small heap is not worth the tidying."""
TTL_S_MAX = 1e10
"""Three hundred years."""


class _End(NamedTuple):
    deadline: int
    ttl_ns: int


def step_ns(ttl_ns: int) -> int:
    """Returns how much one tick counts at most while a key has that time to live: an eighth of it, at least, and never more.

    >>> step_ns(400_000_000), step_ns(4_000_000_000), step_ns(3600_000_000_000)
    (33554432, 100000000, 34359738368)
    """
    # Of the largest power of two in it: so there are some sixty lengths to count, and not one for each key.
    least: int = 1 << (ttl_ns.bit_length() - 1)
    return max(1, min(least // STEPS_SHORT, max(TICK_NS, least // STEPS)))


def nanoseconds(ttl: float) -> int:
    """Returns a time to live in nanoseconds. Raises `UsageError`."""
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 0 < ttl < TTL_S_MAX:
        raise UsageError(f"ttl={ttl!r}: must be a number of seconds, more than 0, or None for no end. Nothing has changed.")
    return max(1, round(ttl * NS))


class Ends:
    """Which keys end, and when, by counted time. All durations are nanoseconds.

    >>> ends = Ends()
    >>> ends.begin("tea", 8_000_000_000)
    >>> ends.claim("me", ends.beat)
    True
    >>> [ends.tick("me", ends.beat, 3_600_000_000_000) for _ in range(3)], ends.now
    ([[], [], []], 300000000)
    >>> ends.tick("another", ends.beat, 1), ends.tick("me", ends.beat - 1, 1), ends.now
    ([], [], 300000000)
    """

    def __init__(self) -> None:
        self.now = 0
        """How much time was counted so far. It stands still while no key has an end."""
        self.timekeeper = ""
        self.epoch = 0
        self.beat = 0
        self._ends: dict[str, _End] = {}
        self._heap: list[tuple[int, int, str]] = []
        """Deadline, a number, and key. One whose key has another deadline by now says nothing; the first one always says something."""
        self._number = 0
        self._lengths: dict[int, int] = {}
        """How many keys there are whose time to live has so many bits."""

    def begin(self, key: str, ttl_ns: int) -> None:
        """Has a key end after so much time, whatever was said of it before."""
        self.end(key)
        if self._ends:
            deadline = self.now + ttl_ns + step_ns(ttl_ns)
        else:
            self.beat += 1  # No tick that is on its way counts.
            deadline = self.now + ttl_ns
        self._ends[key] = _End(deadline, ttl_ns)
        bits = ttl_ns.bit_length()
        self._lengths[bits] = self._lengths.get(bits, 0) + 1
        heapq.heappush(self._heap, (deadline, self._number, key))
        self._number += 1

    def end(self, key: str) -> bool:
        """Has a key not end any more. Returns whether it had an end."""
        found = self._ends.pop(key, None)
        if found is None:
            return False
        bits = found.ttl_ns.bit_length()
        self._lengths[bits] -= 1
        if not self._lengths[bits]:
            del self._lengths[bits]
        self._tidy()
        return True

    def tick(self, timekeeper: str, beat: int, elapsed_ns: int) -> list[str]:
        """Counts the time since a beat, one step at most. Returns the keys that have ended by it, the first one first.

        Does nothing, and returns the empty list, if another process is the timekeeper or that beat is not the newest one.
        """
        if timekeeper != self.timekeeper or beat != self.beat or not self._ends:
            return []
        self.beat += 1
        self.now += max(0, min(elapsed_ns, self.interval_ns))
        ended = []
        while self._heap and self._heap[0][0] <= self.now:
            key = self._heap[0][2]
            self.end(key)
            ended.append(key)
        return ended

    def claim(self, timekeeper: str, beat: int) -> bool:
        """Makes a process the timekeeper. Returns whether it did: not if that beat is not the newest one."""
        if beat != self.beat:
            return False
        self.beat += 1
        self.epoch += 1
        self.timekeeper = timekeeper
        return True

    @property
    def interval_ns(self) -> int:
        """How much one tick counts at most; 0 if no key has an end."""
        return step_ns(1 << (min(self._lengths) - 1)) if self._lengths else 0

    def count(self) -> Count:
        """Returns what a timekeeper must know."""
        due_ns = 0
        if self._heap:
            # Not for each key that ends, but for all that end in one tick.
            due_ns = max(self._heap[0][0] - self.now, min(self.interval_ns, TICK_NS))
        return Count(self.timekeeper, self.epoch, self.beat, self.interval_ns, due_ns)

    def left_ns(self, key: str) -> int | None:
        """Returns how much time is to be counted until a key ends; None if it has no end."""
        found = self._ends.get(key)
        return None if found is None else found.deadline - self.now

    def ttl_ns(self, key: str) -> int | None:
        """Returns the time to live that a key was given; None if it has no end."""
        found = self._ends.get(key)
        return None if found is None else found.ttl_ns

    def clear(self) -> None:
        """Has no key end any more."""
        self._ends.clear()
        self._heap.clear()
        self._lengths.clear()

    def __len__(self) -> int:
        return len(self._ends)

    def _tidy(self) -> None:
        """Takes out of the heap what says nothing: what is in front, and all of it if it is the greater part."""
        if len(self._heap) > 2 * len(self._ends) + _HEAP_SPARE:
            self._heap = [each for each in self._heap if self._says(each)]
            heapq.heapify(self._heap)
        while self._heap and not self._says(self._heap[0]):
            heapq.heappop(self._heap)

    def _says(self, entry: tuple[int, int, str]) -> bool:
        found = self._ends.get(entry[2])
        return found is not None and found.deadline == entry[0]
