"""A domain in which half a call, a lost call and a call done twice can be seen.

A transfer changes five things that must agree. Each entry carries the instant of its action, so
that a state that was replayed from another record differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coopy import abort_exception, clock, env, on_commit, readonly, transactional, unlocked

TOTAL = 1_000_000


class Interrupter:
    """Raises in the middle of `Bank.trip`, as often as it was told to."""

    error: BaseException | None = None

    def fire(self) -> None:
        error, Interrupter.error = Interrupter.error, None
        if error is not None:
            raise error


CARRIED: set[str] = set()
"""Keys of the calls of `Bank.promise` whose effects were carried out in this process."""


def carry_out(key: str) -> None:
    """The effect of `Bank.promise`."""
    CARRIED.add(key)


class Bank:
    """Two accounts, what was moved between them, and a note."""

    def __init__(self) -> None:
        self.accounts = {"a": TOTAL, "b": 0}
        self.entries: list[tuple[str, int, str]] = []
        self.count = 0
        self.moved = 0
        self.note = ""

    def _move(self, key: str, amount: int) -> None:
        self.accounts["a"] -= amount
        self.entries.append((key, amount, clock.utcnow().isoformat()))
        self.count += 1
        self.accounts["b"] += amount
        self.moved += amount

    def transfer(self, key: str, amount: int) -> str:
        """Moves an amount, and returns the key."""
        self._move(key, amount)
        return key

    def carry(self, key: str, amount: int, filler: str = "") -> str:
        """As `transfer`, with an argument that takes room in the journal."""
        self._move(key, amount)
        return key

    def draw(self, key: str) -> str:
        """Moves an amount that chance decides."""
        self._move(key, env.randrange(100))
        return key

    def trip(self, key: str, amount: int) -> str:
        """As `transfer`, with a place in the middle where a test interrupts."""
        self.accounts["a"] -= amount
        Interrupter().fire()
        self.accounts["a"] += amount
        self._move(key, amount)
        return key

    def fill(self, filler: str) -> int:
        """Changes nothing, and takes room in the journal."""
        return len(filler)

    def fail(self, key: str, amount: int) -> None:
        """Moves an amount and raises."""
        self._move(key, amount)
        raise ValueError(key)

    def promise(self, key: str, amount: int) -> None:
        """Moves an amount, and asks for an effect."""
        self._move(key, amount)
        on_commit(carry_out, key)

    def adopt(self, system: Any) -> None:
        """Keeps the system that this is the domain of."""
        self.system = system

    def through(self, key: str, amount: int) -> str:
        """Calls the system in an action: a call of its own, which is part of this one."""
        found: str = self.system.transfer(key, amount)
        return found

    @abort_exception
    def refuse(self, key: str, amount: int) -> None:
        """Raises with nothing changed; leaves no trace."""
        if key is not None:
            raise ValueError(key)
        self._move(key, amount)

    @transactional
    def undo(self, key: str, amount: int) -> None:
        """Raises with half of a transfer done; the state is rebuilt."""
        self.accounts["a"] -= amount
        self.count += 1
        raise ValueError(key)

    @transactional
    def safely(self, key: str, amount: int) -> str:
        """A transactional method that does not raise."""
        self._move(key, amount)
        return key

    def careful(self) -> None:
        """Handles what interrupts it."""
        try:
            self.count += 1
        finally:
            self._tidy()

    def _tidy(self) -> None:
        self.count -= 1

    def each(self, keys: list[str]) -> Iterator[str]:
        """An action that yields."""
        for key in keys:
            self._move(key, 1)
            yield key

    @readonly
    def state(self) -> tuple[Any, ...]:
        """All there is, as a value of its own."""
        return (self.accounts["a"], self.accounts["b"], self.count, self.moved, self.note, tuple(self.entries))

    @readonly
    @unlocked
    def glimpse(self) -> int:
        """How many entries there are; beside any other call."""
        return len(self.entries)


def not_whole(state: tuple[Any, ...]) -> str | None:
    """What does not agree in a state, if something does not."""
    a, b, count, moved, _, entries = state
    amounts = sum(entry[1] for entry in entries)
    if a + b == TOTAL and b == moved == amounts and count == len(entries):
        return None
    return f"a={a} b={b} count={count} moved={moved}, {len(entries)} entries of {amounts} in all"
