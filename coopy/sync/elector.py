"""The locks of an elector: who has which, counted down by ticks.

`Elector` is the state, a plain class to be opened with `coopy.init_system`. What is asked over HTTP, and how it is answered, is in
`coopy.sync.elector_protocol`; the ports and the programs that connect to them are in `coopy.sync.elector_server`. The rules are those of the
sidecar of Metaparticle/Sync (github.com/metaparticle-io/container-lib, elector/): a lock is never deleted, so one that has
expired is there and may be taken, and its owner renews it only in the second half of its time.
"""

from __future__ import annotations

from typing import NamedTuple

from coopy import abort_exception, action_index, readonly
from coopy.sync.ticks import Count, Ticks

LOCKS_MAX = 10_000
"""Whoever may connect can make locks, and they stay. So many are less than 3 MB of state."""

TICKS_PER_LOCK = 32
"""A lock is free by one of these parts of its time later than it must be. Of 30 s that is a tick a second, as long as any lock is held."""


class NoRoom(Exception):
    """There are as many locks as may be, and none of them is free to be forgotten. Nothing has changed."""


class Seen(NamedTuple):
    """A lock as it is at one action."""

    name: str
    owner: str
    """Whose it is or, if it is free, whose it was last."""
    token: int
    """The index of the action that took it, so it grows with each: what a resource compares to refuse an owner of before."""
    version: int
    """The index of the action that changed it last."""
    ttl_ns: int
    left_ns: int
    """How much time is to be counted until it is free; 0 if it is."""
    sure_ns: int
    """For so long it surely stays as it is if its owner does not free it: what may be counted already by a tick on its way is left out."""


class _Lock(NamedTuple):
    owner: str
    token: int
    version: int
    ttl_ns: int


class Elector:
    """Locks by name, each with an owner, a token and a time to live. All durations are nanoseconds.

    >>> from coopy import init_system
    >>> locks = init_system(Elector, "locks")
    >>> locks.take("test", "pod-1", 30_000_000_000)[0], locks.take("test", "pod-2", 30_000_000_000)[0]
    (True, False)
    >>> locks.get("test").owner, locks.free("test", "pod-1")[0], locks.take("test", "pod-2", 30_000_000_000)[0]
    ('pod-1', True, True)
    """

    def __init__(self, locks_max: int = LOCKS_MAX) -> None:
        self.locks_max = locks_max
        self._ticks = Ticks(TICKS_PER_LOCK)
        """Has a lease for each lock that is held."""
        self._locks: dict[str, _Lock] = {}
        self._free: dict[str, None] = {}
        """The names of those that are not held, in the order in which they came free."""

    # -- actions

    @abort_exception
    def take(self, name: str, owner: str, ttl_ns: int) -> tuple[bool, Seen]:
        """Takes a lock that is free, or keeps one that is the owner's. Returns whether it is the owner's now, and the lock.

        It gets its full time again if less than half of it is left. Raises `NoRoom`.
        """
        lock = self._locks.get(name)
        if lock is None or name in self._free:
            return True, self._won(name, owner, ttl_ns)
        seen = self._seen(name)
        if lock.owner != owner:
            return False, seen
        if seen.sure_ns < lock.ttl_ns // 2:
            self._locks[name] = lock._replace(version=action_index(), ttl_ns=ttl_ns)
            self._ticks.begin(name, ttl_ns)
            seen = self._seen(name)
        return True, seen

    @abort_exception
    def create(self, name: str, owner: str, ttl_ns: int) -> Seen | None:
        """Makes a lock that is the owner's, and returns it; None if there is one of that name, held or free. Raises `NoRoom`."""
        return None if name in self._locks else self._won(name, owner, ttl_ns)

    def free(self, name: str, owner: str, token: int | None = None) -> tuple[bool, Seen | None]:
        """Frees a lock of the owner's at once. Returns whether it is free now, and the lock; None for a name that there never was.

        Does nothing if it is another owner's by now, or has been taken with another ``token`` since.
        """
        lock = self._locks.get(name)
        if lock is None:
            return False, None
        if name not in self._free:
            if lock.owner != owner or token not in (None, lock.token):
                return False, self._seen(name)
            self._locks[name] = lock._replace(version=action_index())
            self._ticks.end(name)
            self._free[name] = None
        return True, self._seen(name)

    def tick(self, timekeeper: str, beat: int, elapsed_ns: int) -> list[str]:
        """Counts time; see `Ticks.tick`. Returns the names of the locks that have come free."""
        ended = self._ticks.tick(timekeeper, beat, elapsed_ns)
        self._free.update(dict.fromkeys(ended))
        return ended

    def claim(self, timekeeper: str, beat: int, anew: bool = True) -> bool:
        """Gives the counting of time to a process; see `Ticks.claim`."""
        return self._ticks.claim(timekeeper, beat, anew)

    def _won(self, name: str, owner: str, ttl_ns: int) -> Seen:
        is_full = name not in self._locks and len(self._locks) >= self.locks_max
        if is_full and not self._free:
            raise NoRoom(
                f"{len(self._locks)} locks are held, which are as many as there may be. Nothing has changed. Free one first."
            )
        self._ticks.begin(name, ttl_ns)
        if is_full:
            # The one that nobody has wanted for the longest time. Nothing is lost by it: a lock that was never made is as free.
            oldest = next(iter(self._free))
            del self._free[oldest], self._locks[oldest]
        self._locks[name] = _Lock(owner, action_index(), action_index(), ttl_ns)
        self._free.pop(name, None)
        return self._seen(name)

    def _seen(self, name: str) -> Seen:
        lock, left_ns = self._locks[name], self._ticks.left_ns(name)
        return Seen(name, *lock, left_ns, max(0, left_ns - self._ticks.interval_ns))

    # -- reads

    @readonly
    def get(self, name: str) -> Seen | None:
        """Returns a lock, held or free; None if there never was one of that name."""
        return self._seen(name) if name in self._locks else None

    @readonly
    def is_held(self, name: str) -> bool:
        """Whether somebody has a lock."""
        return name in self._ticks

    @readonly
    def count(self) -> Count:
        """Returns how time stands; see `Ticks.count`."""
        return self._ticks.count()

    def __len__(self) -> int:
        return len(self._locks)

    def __repr__(self) -> str:
        return f"<Elector of {len(self._locks)} locks, {len(self._ticks)} held>"
