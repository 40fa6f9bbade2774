"""Ids: numbers that nobody else gets."""

from __future__ import annotations

from coopy import abort_exception, listeners, readonly
from coopy.batteries.battery import Battery
from coopy.batteries.changes import ALL, tell_change


class Ids(Battery):
    """Numbers that are given out once, counted from ``first``.

    ``coopy.batteries.handle(ids)`` takes a block at once and gives out its numbers without a call, so a thousand ids are one action.
    What is left of a block when its process ends is given to nobody: ids grow, but not without gaps.

    >>> from coopy import init_system
    >>> from coopy.batteries import handle
    >>> orders = init_system(Ids(block=1000), "orders")
    >>> orders.new(), orders.reserve(10)
    (1, range(2, 12))
    >>> numbers = handle(orders)
    >>> [numbers.new() for _ in range(3)], orders.last()
    ([12, 13, 14], 1011)
    """

    def __init__(self, block: int = 1000, first: int = 1) -> None:
        if block < 1:
            raise ValueError(f"block={block!r}: must be at least 1")
        self.block = block
        self._next = first

    def new(self) -> int:
        """Returns a number that nobody else gets. It is one action; a handle needs one in a thousand."""
        found = self._next
        self._next += 1
        if listeners:
            tell_change(self, "set", ALL, found - 1, found)
        return found

    @abort_exception
    def reserve(self, count: int | None = None) -> range:
        """Returns numbers that nobody else gets: ``count``, or a block."""
        count = self.block if count is None else count
        if count < 1:
            raise ValueError(f"count={count!r}: must be at least 1")
        found = range(self._next, self._next + count)
        self._next = found.stop
        if listeners:
            tell_change(self, "set", ALL, found.start - 1, found.stop - 1)
        return found

    @readonly
    def last(self) -> int:
        """Returns the highest number that was reserved; one less than the first before any was."""
        return self._next - 1

    def __repr__(self) -> str:
        return f"<Ids up to {self._next - 1}>"
