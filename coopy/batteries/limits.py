"""RateLimiter, Semaphore, Latch and Barrier: what they know is in the log; those who wait do so outside of actions.

`coopy.batteries.handle` gives objects that wait. Nothing here frees itself after a time: a permit belongs to its owner until it is given back.
"""

from __future__ import annotations

from collections.abc import Hashable
from fractions import Fraction
from typing import Any

from coopy import abort_exception, listeners, readonly
from coopy.batteries.battery import Battery
from coopy.batteries.caches import now_us
from coopy.batteries.changes import ALL, tell_change, tell_put, tell_taken
from coopy.batteries.frozen import kept

_MICRO = 1_000_000  # Microseconds are in a second.


class RateLimiter(Battery):
    """A token bucket for each key: ``rate`` calls in ``per`` seconds, and ``burst`` at once after a rest.

    Tokens come one by one, so no border of a window lets twice as many through. All is calculated in whole numbers from the
    instants of actions: a call that comes exactly after the seconds it was told is admitted, and one a microsecond earlier is not.

    >>> from coopy import init_system
    >>> limit = init_system(RateLimiter(rate=2, per=60, burst=2), "limit")
    >>> limit.acquire("ann"), limit.acquire("ann"), limit.acquire("bob")
    (0.0, 0.0, 0.0)
    >>> 29 < limit.acquire("ann") <= 30
    True
    """

    _KEYS = "key"

    def __init__(self, rate: float, per: float = 1.0, burst: int | None = None) -> None:
        if not 0 < rate < float("inf") or not 0 < per < float("inf"):
            raise ValueError(f"rate={rate!r}, per={per!r}: both must be more than 0")
        self.rate = rate
        self.per = per
        self.burst = max(1, int(rate)) if burst is None else burst
        if self.burst < 1:
            raise ValueError(f"burst={burst!r}: must be at least 1")
        step = Fraction(str(per)) * _MICRO / Fraction(str(rate))
        # Times are multiples of 1/unit microseconds, in which a token takes a whole number.
        self._unit = step.denominator
        self._step = step.numerator
        self._full_at: dict[Any, int] = {}
        """By key: when its bucket is full again."""
        self._sweep_at = 64

    def acquire(self, key: Hashable = "", tokens: int = 1) -> float:
        """Takes tokens. Returns 0.0 if they were there; otherwise takes none, and returns after how many seconds they are."""
        if not 1 <= tokens <= self.burst:
            raise ValueError(f"tokens={tokens!r}: must be from 1 to burst={self.burst}. There are never more at once.")
        now = now_us() * self._unit
        full_at = max(now, self._full_at.get(key, now)) + tokens * self._step
        missing = full_at - now - self.burst * self._step
        if missing <= 0:
            self._full_at.pop(key, None)
            self._full_at[kept(key)] = full_at
            if listeners:
                tell_change(self, "set", key, None, tokens)
            self._sweep(now)
            return 0.0
        return -(-missing // self._unit) / _MICRO

    def allow(self, key: Hashable = "", tokens: int = 1) -> bool:
        """Takes tokens. Returns whether they were there."""
        return self.acquire(key, tokens) == 0.0

    def reset(self, key: Hashable = "") -> None:
        """Fills the bucket of a key."""
        if listeners and key in self._full_at:
            tell_change(self, "removed", key)
        self._full_at.pop(key, None)

    def _sweep(self, now: int) -> None:
        # Full buckets are as good as none. The work is that of one look at each, for as many calls.
        if len(self._full_at) >= self._sweep_at:
            self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
            self._sweep_at = max(64, 2 * len(self._full_at))

    @readonly
    def keys(self) -> list[Any]:
        """Returns the keys whose buckets were not full when it was looked last."""
        return list(self._full_at)

    def __len__(self) -> int:
        return len(self._full_at)

    def __repr__(self) -> str:
        return f"RateLimiter(rate={self.rate!r}, per={self.per!r}, burst={self.burst!r})"


class Semaphore(Battery):
    """A number of permits, and who has how many of them. An owner is any value by which its holder is known.

    >>> from coopy import init_system
    >>> seats = init_system(Semaphore(2), "seats")
    >>> seats.acquire("ann"), seats.acquire("bob"), seats.acquire("eve"), seats.available()
    (True, True, False, 0)
    >>> seats.release("ann"), seats.acquire("eve"), seats.holders()
    (1, True, {'bob': 1, 'eve': 1})
    """

    _KEYS = "owner"

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError(f"value={value!r}: must be at least 0")
        self.value = value
        self._holders: dict[Any, int] = {}
        self._taken = 0

    @abort_exception
    def acquire(self, owner: Hashable = "", permits: int = 1) -> bool:
        """Takes permits, all of them or none. Returns whether they were there."""
        if not isinstance(permits, int) or permits < 1:
            raise ValueError(f"permits={permits!r}: must be a whole number, at least 1")
        if self._taken + permits > self.value:
            return False
        held = self._holders.get(owner, 0) + permits
        if listeners:
            tell_put(self, self._holders, owner, held)
        self._holders[kept(owner)] = held
        self._taken += permits
        return True

    @abort_exception
    def release(self, owner: Hashable = "", permits: int = 1) -> int:
        """Gives permits back, and returns how many are free then. Raises ValueError if the owner has fewer."""
        held = self._holders.get(owner, 0)
        if not isinstance(permits, int) or not 1 <= permits <= held:
            raise ValueError(f"{owner!r} holds {held} permits and can't give {permits} back. Nothing has changed.")
        if listeners:
            tell_change(self, "removed" if held == permits else "set", owner, held, held - permits)
        if held == permits:
            del self._holders[owner]
        else:
            self._holders[owner] = held - permits
        self._taken -= permits
        return self.value - self._taken

    @abort_exception
    def release_all(self, owner: Hashable = "") -> int:
        """Gives all permits of an owner back, whose holder is gone, say. Returns how many they were."""
        if listeners:
            tell_taken(self, self._holders, (owner,))
        permits = self._holders.pop(owner, 0)
        self._taken -= permits
        return permits

    @abort_exception
    def resize(self, value: int) -> None:
        """Sets how many permits there are. If more are taken, none is free until those are given back."""
        if value < 0:
            raise ValueError(f"value={value!r}: must be at least 0")
        if listeners:
            tell_change(self, "set", ALL, self.value, value)
        self.value = value

    @readonly
    def available(self) -> int:
        """Returns how many permits are free."""
        return max(0, self.value - self._taken)

    @readonly
    def holders(self) -> dict[Any, int]:
        """Returns how many permits each owner has, in the order in which they first took one."""
        return dict(self._holders)

    @readonly
    def held(self, owner: Hashable = "") -> int:
        """Returns how many permits an owner has."""
        return self._holders.get(owner, 0)

    def __repr__(self) -> str:
        return f"<Semaphore of {self.value} permits, {self.available()} free>"


class Latch(Battery):
    """A count that goes down to 0 and then is open for good: what waits for several things to be done waits for it.

    >>> from coopy import init_system
    >>> ready = init_system(Latch(2), "ready")
    >>> ready.count_down(), ready.is_open(), ready.count_down(), ready.is_open()
    (1, False, 0, True)
    """

    def __init__(self, count: int = 1) -> None:
        if count < 0:
            raise ValueError(f"count={count!r}: must be at least 0")
        self._count = count

    @abort_exception
    def count_down(self, by: int = 1) -> int:
        """Takes from the count, down to 0. Returns what is left."""
        if by < 1:
            raise ValueError(f"by={by!r}: must be at least 1")
        before, self._count = self._count, max(0, self._count - by)
        if listeners and self._count != before:
            tell_change(self, "set", ALL, before, self._count)
        return self._count

    @abort_exception
    def reset(self, count: int) -> bool:
        """Sets the count of an open latch, which is closed then. Returns whether it was open; otherwise nothing has changed."""
        if count < 0:
            raise ValueError(f"count={count!r}: must be at least 0")
        if self._count:
            return False
        if listeners:
            tell_change(self, "set", ALL, 0, count)
        self._count = count
        return True

    @readonly
    def count(self) -> int:
        """Returns what is left of the count."""
        return self._count

    @readonly
    def is_open(self) -> bool:
        """Whether the count is 0."""
        return self._count == 0

    def __repr__(self) -> str:
        return f"<Latch at {self._count}>"


class Barrier(Battery):
    """A place where ``parties`` wait for one another: the last to arrive lets all go on, and the next round begins.

    `arrive` says that one is there. ``coopy.batteries.handle(barrier).wait()`` arrives and waits, as `threading.Barrier.wait` does.

    >>> from coopy import init_system
    >>> start = init_system(Barrier(2), "start")
    >>> first, second = start.arrive("ann"), start.arrive("bob")
    >>> first, start.state_of(first[0]), second, start.waiting()
    ((0, 0), 'passed', (0, 1), [])
    """

    _KEYS = "who waits"

    def __init__(self, parties: int) -> None:
        if parties < 1:
            raise ValueError(f"parties={parties!r}: must be at least 1")
        self.parties = parties
        self._round = 0
        self._waiting: dict[int, Any] = {}
        """By place of arrival, who waits."""
        self._places = 0
        self._broken = False
        self._broken_rounds: list[int] = []

    def arrive(self, who: Any = "") -> tuple[int, int]:
        """Arrives. Returns the number of the round and the place in it, from 0; the place is -1 if the barrier is broken."""
        if self._broken:
            return self._round, -1
        arrived = self._round, self._places
        if listeners:
            tell_change(self, "added", who, None, self._places)
        self._waiting[self._places] = kept(who)
        self._places += 1
        if len(self._waiting) == self.parties:
            self._next()
        return arrived

    def leave(self, round: int, place: int) -> bool:
        """Breaks the barrier for one who has arrived and waits no more. Returns False if the round has passed: then one may go on."""
        if round != self._round or place not in self._waiting:
            return False
        self.abort()
        return True

    def abort(self) -> None:
        """Breaks the barrier: all who wait, and all who arrive until `reset`, are told so."""
        if not self._broken:
            self._broken = True
            if listeners:
                tell_change(self, "broken", ALL, self._round)
            self._forget()
            self._broken_rounds = [*self._broken_rounds[-99:], self._round]
            self._round += 1

    def reset(self) -> None:
        """Makes the barrier whole. Those who wait are told that it was broken."""
        if not self._broken and self._waiting:
            self.abort()
        self._broken = False
        if listeners:
            tell_change(self, "set", ALL, None, self._round)
        self._forget()

    def _next(self) -> None:
        if listeners:
            tell_change(self, "passed", ALL, self._round, self._round + 1)
        self._round += 1
        self._forget()

    def _forget(self) -> None:
        self._waiting.clear()
        self._places = 0

    @readonly
    def state_of(self, round: int) -> str:
        """Returns "waiting", "passed" or "broken" for a round; of broken ones the last 100 are known."""
        if round in self._broken_rounds:
            return "broken"
        return "passed" if round < self._round else "waiting"

    @readonly
    def waiting(self) -> list[Any]:
        """Returns who waits, in the order of arrival."""
        return list(self._waiting.values())

    @property
    def n_waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken."""
        return self._broken

    def __repr__(self) -> str:
        return f"<Barrier of {self.parties}, {len(self._waiting)} there{', broken' if self._broken else ''}>"
