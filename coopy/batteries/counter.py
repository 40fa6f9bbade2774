"""A number that is counted up and down."""

from __future__ import annotations

from coopy import listeners, readonly
from coopy.batteries.battery import Battery
from coopy.batteries.changes import ALL, tell_change


class Counter(Battery):
    """A number. Each method that changes it returns the new value.

    >>> from coopy import init_system
    >>> visits = init_system(Counter, "visits")
    >>> visits.inc(), visits.add(10), visits.sub(3)
    (1, 11, 8)
    >>> visits.compare_and_set(8, 100), visits.compare_and_set(8, 200), visits.get()
    (True, False, 100)
    """

    def __init__(self, value: int = 0) -> None:
        self._value = value

    def set(self, newValue: int) -> int:
        """Sets the value, and returns it."""
        return self._become(newValue)

    def add(self, value: int) -> int:
        """Adds to the value, and returns what it is then."""
        return self._become(self._value + value)

    def sub(self, value: int) -> int:
        """Subtracts from the value, and returns what it is then."""
        return self._become(self._value - value)

    def inc(self) -> int:
        """Adds one, and returns what the value is then."""
        return self._become(self._value + 1)

    def dec(self) -> int:
        """Subtracts one, and returns what the value is then."""
        return self._become(self._value - 1)

    def compare_and_set(self, expected: int, value: int) -> bool:
        """Sets the value if it is the expected one. Returns whether it was."""
        if self._value != expected:
            return False
        self._become(value)
        return True

    def get_and_set(self, value: int) -> int:
        """Sets the value, and returns the one before it."""
        before = self._value
        self._become(value)
        return before

    def _become(self, value: int) -> int:
        before, self._value = self._value, value
        if listeners:
            tell_change(self, "set", ALL, before, value)
        return value

    @readonly
    def get(self) -> int:
        """Returns the value."""
        return self._value

    def __int__(self) -> int:
        return int(self._value)

    def __index__(self) -> int:
        return self._value.__index__()

    def __float__(self) -> float:
        return float(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return bool(self._value == (other._value if isinstance(other, Counter) else other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._value!r})"
