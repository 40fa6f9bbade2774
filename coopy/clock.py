"""Time that replay can repeat.

Inside an action every answer comes from the action's own instant, so two
questions in one action agree and a restore gives what the first run gave, in
whatever time zone it runs: naive local time uses the UTC offset that was
recorded with the action. Outside an action (a read, a test, a plain object)
the answer is the machine's own time.
"""

from __future__ import annotations

import time
from datetime import date, datetime, timezone, tzinfo

from coopy.ground import action
from coopy.ground.running import current


class Clock:
    """What ``self._clock`` and ``from coopy import clock`` are."""

    __slots__ = ()

    def now(self, tz: tzinfo | None = None) -> datetime:
        """Local time, naive, or aware in ``tz``."""
        machine = current.machine
        if machine is None:
            return datetime.now(tz)
        if tz is None:
            return action.local_time(machine.header)
        return action.utc_time(machine.header).astimezone(tz)

    def utcnow(self) -> datetime:
        """UTC, naive."""
        machine = current.machine
        moment = datetime.now(timezone.utc) if machine is None else action.utc_time(machine.header)
        return moment.replace(tzinfo=None)

    def today(self) -> date:
        """Local date."""
        return self.now().date()

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        machine = current.machine
        return time.time() if machine is None else action.instant_of(machine.header) / 1e9

    def monotonic(self) -> float:
        """Seconds that never go back from one action to the next; for differences only."""
        machine = current.machine
        return time.monotonic() if machine is None else action.instant_of(machine.header) / 1e9

    def __repr__(self) -> str:
        return "<coopy clock>"

    def __reduce__(self) -> str:
        # Snapshots hold the clock as a name, never as a value.
        return "clock"


clock = Clock()
