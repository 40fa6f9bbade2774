"""A clock that tests set and move, and an engine that has its time from one."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from coopy import UsageError
from coopy.disk.manifest import SECRET_BYTES
from coopy.ground import action
from coopy.ground.running import current
from coopy.ground.words import shown
from coopy.spine.engine import Engine
from coopy.spine.methods import Function

__coopy_inside__ = True  # See `coopy.spine.calling`.

_NS = 1_000_000_000
"""Nanoseconds in a second: instants are counted in them."""


class Clock:
    """A clock that is set and moved by a test: what the systems opened with it stamp their actions with.

    It goes as the machine's does until it is told otherwise. It never goes back behind what a system was told.

    >>> from datetime import datetime, timedelta
    >>> clock = Clock()
    >>> clock.set(datetime(2030, 1, 1))
    >>> clock.move(timedelta(hours=1))
    >>> clock.now()
    datetime.datetime(2030, 1, 1, 1, 0)
    """

    def __init__(self) -> None:
        self._ahead = 0
        self._stands: int | None = None
        self._told = 0

    def set(self, moment: datetime) -> None:
        """Stops the clock at a moment; a naive one is local time of this machine. Raises `UsageError`."""
        if not isinstance(moment, datetime):
            raise UsageError(f"set({shown(moment)}): must be a datetime")
        instant = action.nanoseconds(moment)
        self._refuse_before(instant)
        self._stands = instant

    def move(self, by: timedelta | float) -> None:
        """Moves the clock on by a timedelta, or by seconds, whether it stands or goes. Raises `UsageError`."""
        if isinstance(by, bool) or not isinstance(by, (timedelta, int, float)):
            raise UsageError(f"move({shown(by)}): must be a timedelta, or seconds")
        size = by if isinstance(by, timedelta) else timedelta(seconds=by)
        moved = (size.days * 86_400 + size.seconds) * _NS + size.microseconds * 1000
        self._refuse_before(self.time_ns() + moved)
        if self._stands is None:
            self._ahead += moved
        else:
            self._stands += moved

    def freeze(self) -> None:
        """Stops the clock where it is."""
        self._stands = max(self.time_ns(), self._told)

    def go(self) -> None:
        """Lets the clock go on from where it stands."""
        self._ahead = self.time_ns() - time.time_ns()
        self._stands = None

    def now(self, tz: tzinfo | None = None) -> datetime:
        """Local time, naive, or aware in ``tz``: what an action would be told now."""
        header = self.header()
        return action.local_time(header) if tz is None else action.utc_time(header).astimezone(tz)

    def utcnow(self) -> datetime:
        """UTC, naive."""
        return action.utc_time(self.header()).replace(tzinfo=None)

    def today(self) -> date:
        """Local date."""
        return self.now().date()

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return self.time_ns() / 1e9

    def time_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""
        return time.time_ns() + self._ahead if self._stands is None else self._stands

    def header(self) -> bytes:
        """The header of a record that would be made now."""
        return _header(self.time_ns())

    def stamp(self) -> int:
        """The time, for something that is recorded: the clock does not go back behind it."""
        self._told = max(self._told, self.time_ns())
        return self._told

    def follow(self, instant: int, what: str) -> None:
        """Takes what has been recorded already. Raises `UsageError` if this clock was set to before it."""
        if instant > self.time_ns() and (self._ahead or self._stands is not None):
            raise UsageError(
                f"the clock says {self.now()}, and {what} has recorded {_said(instant)}: time does not go back. Nothing was "
                f"changed. Set the clock to then or later before the system is opened."
            )
        self._told = max(self._told, instant)

    def _refuse_before(self, instant: int) -> None:
        if instant < self._told:
            raise UsageError(
                f"the clock can't go back to {_said(instant)}: a system has recorded {_said(self._told)}, and what is recorded "
                f"later never has an earlier time. The clock is as it was. Set it before the system is opened."
            )

    def __repr__(self) -> str:
        return f"<clock {'goes, ' if self._stands is None else 'stands at '}{self.now()}>"


def _header(instant: int) -> bytes:
    return action.header(instant, time.localtime(instant // _NS).tm_gmtoff, action.UNKNOWN)


def _said(instant: int) -> datetime:
    return action.local_time(_header(instant))


class _Look:
    """Stands in for a running action while a read lasts: it has the time of the clock, and chance of its own."""

    draws: object | None = None
    chance: object | None = None
    replaying = False

    def __init__(self, header: bytes, deterministic: bool) -> None:
        self.header = header
        self.deterministic = deterministic
        self.index = 1
        self.secret = os.urandom(SECRET_BYTES)

    def ask(self, effect: bytes) -> None:
        # As outside of an action: at once. It comes pickled, as an action's.
        function, args, kwargs = pickle.loads(effect)
        function(*args, **kwargs)


class ClockedEngine(Engine):
    """An engine whose reads are answered by the clock that stamps its actions."""

    watch: Clock
    looks_at_reads = True
    """Every read is a call into the engine: while it lasts, the clock is put in the place of a running action's."""

    def read(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        with self._looking():
            return super().read(function, args, kwargs, wait)

    def read_unlocked(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._looking():
            return super().read_unlocked(function, args, kwargs)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        before = current.machine
        if before is None:
            current.machine = _Look(self.watch.header(), self.deterministic)
        try:
            yield
        finally:
            current.machine = before
