"""Clocks for tests of a plain domain object, outside any system."""

from __future__ import annotations

from datetime import date, datetime, timezone, tzinfo
from typing import Any

from coopy import UsageError
from coopy.clock import Clock, clock
from coopy.spine.methods import is_proxy


class MockedClock(Clock):
    """A clock that stands still. A date stands at midnight."""

    __slots__ = ("_date",)

    def __init__(self, mocked_date: date) -> None:
        self._date = mocked_date

    def now(self, tz: tzinfo | None = None) -> Any:
        if tz is not None and isinstance(self._date, datetime):
            return self._date.astimezone(tz)
        return self._date

    def utcnow(self) -> Any:
        return self._date

    def today(self) -> date:
        return self._date.date() if isinstance(self._date, datetime) else self._date

    def time(self) -> float:
        moment = self._date
        if not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day, tzinfo=timezone.utc)
        return moment.timestamp()

    def monotonic(self) -> float:
        return self.time()

    def __reduce__(self) -> Any:
        return MockedClock, (self._date,)


class TestSystemMixin:
    """Gives a plain domain object the clock that a system would give it."""

    __test__ = False  # Not itself a test, whatever its documented name.

    def mock_clock(self, domain: Any, mocked_date: date) -> None:
        """Injects a clock that always returns ``mocked_date``."""
        _inject(domain, MockedClock(mocked_date))

    def enable_clock(self, domain: Any) -> None:
        """Injects a real clock."""
        _inject(domain, clock)


def _inject(domain: Any, value: Clock) -> None:
    if is_proxy(domain):
        raise UsageError("a system has its own clock; give the plain domain object")
    try:
        object.__setattr__(domain, "_clock", value)
    except AttributeError:
        # An object with slots takes no new attribute, but may change to a class that has it.
        cls = type(domain)
        domain.__class__ = type(cls.__name__, (cls,), {"__slots__": (), "_clock": value, "__module__": cls.__module__})
