"""Counted time: a part of a state, in which time passes by recorded ticks and by nothing else.

`Ticks` counts, and keeps *leases*, which end at a counted time. Who owns a lease, and what becomes of it, is the work of the class that
has a `Ticks` as an attribute; who writes the ticks, and when, is that of `coopy.sync.timekeeper`.

An action carries the time of the machine that called it. If leases ended by that, one clock that is an hour ahead would end
all of them at its first call. So durations are counted instead: one process, the *timekeeper*, measures how much time has passed since it saw
the newest *beat* applied, and records that as a tick. The role of the timekeeper is in the log itself (`claim`).

**Why no lease ends early.** A lease of the length ``ttl`` begins with an action, at the moment B of real time, between two beats k and k+1. The
timekeeper measures the tick of beat k+1 from when it saw beat k applied, which was after beat k was recorded, until it sends
the tick, which is before it is recorded. So the ticks after beat k+1 add up to no more than the real time from there to the one that ends the
lease. Beat k+1 itself may have been measured from long before B; but a tick counts one interval at most, and the interval is
an eighth of the shortest lease that there is, so at most ttl/8 as long as this lease is there. Hence

    deadline = now + ttl + ttl/8        and so        end - B  >=  (ttl + ttl/8) - ttl/8  =  ttl

Where no tick can be on its way, the deadline is ``now + ttl``: at a claim, and if nothing was counted before. For that, a tick names
the beat from which it was measured, and counts only if that is still the newest one. Claims, and the first lease after a time without any, are beats,
too. A tick of a timekeeper that is none any more, one that comes twice, and one that was measured for leases that are gone by now, all name an old beat.

**What it relies on.** The clock of the timekeeper must not run faster than it should; what jumps counts as one interval. The holder of
a lease stops after two thirds of it by a clock of its own, so the two may differ in speed by half.
"""

from __future__ import annotations

from typing import NamedTuple

from coopy import abort_exception, readonly

TICKS_PER_LEASE = 8
"""So often the shortest lease is ticked, unless ``per_lease`` says otherwise. A lease is longer by one of these parts than it must be;
more ticks are more actions."""


class Count(NamedTuple):
    """What a timekeeper must know, as `Ticks.count` returns it.

    >>> Count("ann", 1, 7, 5_000_000_000, 1_000_000_000).beat
    7
    """

    timekeeper: str
    """The id of the present timekeeper; empty if there was none yet."""
    epoch: int
    """How many claims there were."""
    beat: int
    """The number of the newest beat, which the next tick or claim has to name."""
    interval_ns: int
    """How much one tick counts at most; 0 if no time is to be counted, because there are no leases."""
    due_ns: int
    """How much is to be counted until the first lease ends."""


class Ticks:
    """Counted time, and leases, which end by it. All durations are nanoseconds.

    >>> ticks = Ticks()
    >>> ticks.begin("mine", 8000)
    >>> ticks.claim("me", ticks.beat)
    True
    >>> ticks.count()
    Count(timekeeper='me', epoch=1, beat=2, interval_ns=1000, due_ns=8000)
    >>> ticks.tick("me", ticks.beat, 600), ticks.now
    ([], 600)
    >>> ticks.tick("me", 2, 600), ticks.tick("another", ticks.beat, 600), ticks.now
    ([], [], 600)
    >>> [ticks.tick("me", ticks.beat, 3_600_000_000_000) for _ in range(8)]
    [[], [], [], [], [], [], [], ['mine']]
    """

    def __init__(self, per_lease: int = 0) -> None:
        self._per_lease = per_lease or TICKS_PER_LEASE
        self.now = 0
        """How much time was counted so far. It stands still while there are no leases."""
        self.timekeeper = ""
        self.epoch = 0
        self.beat = 0
        self._leases: dict[str, tuple[int, int]] = {}
        """By key, in the order in which they began: length and deadline."""
        self._lengths: dict[int, int] = {}
        """How many leases there are of each length."""

    @abort_exception
    def begin(self, key: str, ttl_ns: int) -> None:
        """Begins a lease, or has one begin anew that is there. Raises ValueError unless its length is more than 0."""
        if type(ttl_ns) is not int or ttl_ns <= 0:
            raise ValueError(
                f"the lease {key!r} was to have a length of {ttl_ns!r} ns; it must be an int of more than 0. Nothing has changed."
            )
        if self._leases:
            deadline = self.now + ttl_ns + max(1, ttl_ns // self._per_lease)
        else:
            self.beat += 1
            deadline = self.now + ttl_ns
        self._count_length(key, ttl_ns)
        self._leases[key] = ttl_ns, deadline

    def renew(self, key: str) -> bool:
        """Gives a lease its full time again. Returns whether there is one of that key: what has ended is not renewed."""
        if key not in self._leases:
            return False
        self.begin(key, self._leases[key][0])
        return True

    def end(self, key: str) -> bool:
        """Ends a lease. Returns whether there was one of that key."""
        if key not in self._leases:
            return False
        self._count_length(key, 0)
        del self._leases[key]
        return True

    def tick(self, timekeeper: str, beat: int, elapsed_ns: int) -> list[str]:
        """Counts the time since a beat, one interval at most. Returns the keys of the leases that have ended by it, the first one first.

        Does nothing, and returns the empty list, if another process is the timekeeper or that beat is not the newest one.
        """
        if timekeeper != self.timekeeper or beat != self.beat or not self._leases:
            return []
        self.beat += 1
        self.now += max(0, min(elapsed_ns, self.interval_ns))
        # Sorting keeps the order of those that end at once.
        ended = sorted(
            (deadline, number, key) for number, (key, (_, deadline)) in enumerate(self._leases.items()) if deadline <= self.now
        )
        for _, _, key in ended:
            self.end(key)
        return [key for _, _, key in ended]

    def claim(self, timekeeper: str, beat: int, anew: bool = True) -> bool:
        """Makes a process the timekeeper, and gives every lease its full time again. Returns whether it did.

        Does nothing if that beat is not the newest one: whoever claims says that nothing was counted after it. Without ``anew`` leases keep
        the time that is left of them: to be said by who takes over from a process that has counted until now.
        """
        if beat != self.beat:
            return False
        self.beat += 1
        self.epoch += 1
        self.timekeeper = timekeeper
        if anew:
            self._leases = {key: (ttl_ns, self.now + ttl_ns) for key, (ttl_ns, _) in self._leases.items()}
        return True

    @property
    def interval_ns(self) -> int:
        """How much one tick counts at most; 0 if there are no leases."""
        return max(1, min(self._lengths) // self._per_lease) if self._lengths else 0

    @readonly
    def count(self) -> Count:
        """Returns what a timekeeper must know."""
        due_ns = min((deadline for _, deadline in self._leases.values()), default=self.now) - self.now
        return Count(self.timekeeper, self.epoch, self.beat, self.interval_ns, due_ns)

    @readonly
    def left_ns(self, key: str) -> int:
        """Returns how much time is to be counted until a lease ends; 0 if there is none of that key."""
        return self._leases[key][1] - self.now if key in self._leases else 0

    def __contains__(self, key: object) -> bool:
        return key in self._leases

    def __len__(self) -> int:
        return len(self._leases)

    def _count_length(self, key: str, ttl_ns: int) -> None:
        """Takes the length of a lease out of the count of lengths, and its new one in."""
        before, _ = self._leases.get(key, (0, 0))
        for length, by in ((before, -1), (ttl_ns, 1)):
            if length:
                self._lengths[length] = self._lengths.get(length, 0) + by
                if not self._lengths[length]:
                    del self._lengths[length]
