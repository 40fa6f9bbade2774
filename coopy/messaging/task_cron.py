"""When a task is to be sent by itself: times of cron, by the package `cronsim`, which follows Debian's cron where clocks are put forward or back.

Times are calculated here, by workers, and never in an action: another release of a library or of the time zones must not change what a journal says.
"""

from __future__ import annotations

from datetime import datetime, timezone, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from coopy import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

ONCE, SKIP, ALL = "once", "skip", "all"
LATE_S = 60.0
"""With "skip", a time that is over for longer than that is skipped: a worker that is busy, or just starts, may be late."""
ALL_MAX = 1000
"""With "all", so many tasks are sent at most for times at which no worker ran."""


class Cron:
    """Times of cron in a zone. Raises `UsageError`.

    >>> cron = Cron("30 2 * * *", "Europe/Vienna")
    >>> night = datetime(2026, 3, 28, 12, tzinfo=timezone.utc).timestamp()
    >>> datetime.fromtimestamp(cron.next_after(night), timezone.utc).isoformat()
    '2026-03-29T01:00:00+00:00'
    """

    def __init__(self, expression: str, zone: str = "", missed: str = ONCE) -> None:
        if missed not in (ONCE, SKIP, ALL):
            raise UsageError(f"missed={missed!r}: must be one of {ONCE!r}, {SKIP!r}, {ALL!r}")
        self.expression = expression
        self.zone = zone
        self.missed = missed
        self._zone: tzinfo = timezone.utc
        if zone:
            try:
                self._zone = ZoneInfo(zone)
            except (KeyError, ValueError, OSError):
                raise UsageError(
                    f"zone={zone!r}: there is no such time zone here. On a system without zones: pip install tzdata"
                ) from None
        self.next_after(0.0)

    def _times_after(self, moment: float) -> Iterator[datetime]:
        try:
            import cronsim
        except ModuleNotFoundError:
            raise UsageError("cron= needs: pip install 'coopy[tasks]'. Nothing was changed.") from None
        try:
            found: Any = cronsim.CronSim(self.expression, datetime.fromtimestamp(moment, self._zone))
        except cronsim.CronSimError as error:
            raise UsageError(
                f"cron={self.expression!r}: {error}. It must be minute, hour, day, month and day of the week."
            ) from None
        return iter(found)

    def next_after(self, moment: float) -> float:
        """Returns the first time after a moment, both in seconds since 1970. Raises `UsageError` if there is none in fifty years."""
        for found in self._times_after(moment):
            return found.timestamp()
        raise UsageError(f"cron={self.expression!r}: there is no such time")

    def due(self, planned: float, now: float) -> int:
        """Returns how many tasks are to be sent now, where one was planned and no worker may have run for long."""
        if self.missed == SKIP:
            return int(now - planned <= LATE_S)
        if self.missed == ONCE:
            return 1
        number = 1
        for each in self._times_after(planned):
            if each.timestamp() > now or number >= ALL_MAX:
                break
            number += 1
        return number
