"""The owners of one lock, or of one barrier: a part of `coopy.sync.locks`, which knows of sessions, tokens and time."""

from __future__ import annotations

from collections.abc import Callable

WAITS, GONE = 0, -1
"""What an owner has in the place of a token while it waits, and if it is not there (any more)."""


class Queue:
    """One lock that somebody holds or waits for."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        """How many may hold it at once."""
        self.holders: dict[str, int] = {}
        """By owner, in the order in which they got it: the token."""
        self.waiting: dict[str, None] = {}
        """Owners, in the order in which they came."""
        self.asleep: dict[str, str] = {}
        """Owners who have put the lock down until they are told that something has changed, and of which condition."""
        self.delays: dict[str, int] = {}
        """For how many nanoseconds nobody is to have what an owner held, if that is lost. Most owners are not here."""
        self.withheld: dict[str, None] = {}
        """Owners that have lost what they held, as long as nobody else is to have it."""

    @property
    def has_room(self) -> bool:
        """Whether one more may hold it."""
        return len(self.holders) + len(self.withheld) < self.limit

    def admits(self, wait: bool) -> bool:
        """Whether one more may come, who waits or does not."""
        return wait or (self.has_room and not self.waiting)

    def place(self, owner: str) -> int:
        """Returns the token of an owner, `WAITS` or `GONE`."""
        if owner in self.holders:
            return self.holders[owner]
        return WAITS if owner in self.waiting or owner in self.asleep else GONE

    def give(self, token: Callable[[], int]) -> int:
        """Gives the lock to those whose turn it is, and each a token. Returns how many."""
        number = 0
        while self.waiting and self.has_room:
            owner = next(iter(self.waiting))
            del self.waiting[owner]
            self.holders[owner] = token()
            number += 1
        return number

    def all_with(self, owner: str) -> list[str]:
        """Returns the owners who go if one goes."""
        return [owner]

    def drop(self, owner: str) -> None:
        """Takes an owner out."""
        for places in (self.holders, self.waiting, self.asleep, self.delays):
            places.pop(owner, None)

    def delay_of(self, owner: str) -> int:
        """Returns for how many nanoseconds nobody is to have what an owner holds, if that is lost."""
        return self.delays.get(owner, 0) if owner in self.holders else 0

    @property
    def is_wanted(self) -> bool:
        """Whether somebody holds it or waits, or it is withheld."""
        return bool(self.holders or self.waiting or self.asleep or self.withheld)

    def refusal(self, limit: int) -> str:
        """Returns why it can't be asked for with another limit."""
        return f"{self.name!r} may be held by {self.limit} at once, and not by {limit}, as long as somebody holds it or waits for it. Nothing has changed."


class Barrier:
    """One barrier at which somebody waits, or that is broken."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        """How many must come."""
        self.waiting: dict[str, None] = {}
        """Owners, in the order in which they came."""
        self.passed: dict[str, int] = {}
        """By owner, until its process says that it knows: the place in which it came, from 1."""
        self.broken = ""
        """Why it is broken, if it is."""

    def admits(self, wait: bool) -> bool:
        """Whether one more may come, who waits or does not."""
        return not self.broken and (wait or len(self.waiting) == self.limit - 1)

    def place(self, owner: str) -> int:
        """Returns in which place an owner came that has passed, from 1; or `WAITS` or `GONE`."""
        return self.passed.get(owner, WAITS if owner in self.waiting else GONE)

    def give(self, token: Callable[[], int]) -> int:
        """Lets all pass if all are there. Returns how many."""
        if len(self.waiting) < self.limit:
            return 0
        self.passed.update((owner, number) for number, owner in enumerate(self.waiting, 1))
        self.waiting.clear()
        return self.limit

    def all_with(self, owner: str) -> list[str]:
        """Returns the owners who go if one goes: all who wait, if it waits."""
        return list(self.waiting) if owner in self.waiting else [owner]

    def drop(self, owner: str) -> None:
        """Takes an owner out. One that waits breaks the barrier."""
        self.passed.pop(owner, None)
        if owner in self.waiting:
            del self.waiting[owner]
            self.broken = self.broken or "one did not wait until all had come, or its process is gone"

    def delay_of(self, owner: str) -> int:
        """Returns 0: who waits has nothing to withhold."""
        return 0

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits, or it is broken."""
        return bool(self.waiting or self.passed or self.broken)

    def refusal(self, limit: int) -> str:
        """Returns why it can't be asked for with another limit."""
        return f"the barrier {self.name!r} is for {self.limit} parties, and not for {limit}, as long as somebody waits or it is broken. Nothing has changed."
