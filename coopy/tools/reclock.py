"""Puts the clock of a system back that is not open, after a clock was far ahead once; docs/design/017-a-clock-that-was-ahead.md."""

from __future__ import annotations

import time
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from coopy import UsageError, control
from coopy.disk import manifest
from coopy.ground import action, paths
from coopy.opening import in_directory, open_for_tool
from coopy.past.reading import Reading
from coopy.system import System


class Reclocked(NamedTuple):
    """What was done, or would be."""

    index: int  # type: ignore[assignment]  # a field here, not the method of tuples
    """That of the action with which the clock is put back."""
    before: datetime
    """The time of the action before it."""
    after: datetime
    """The time of this machine's clock."""


def plan(basedir: str, cls: type) -> Reclocked | None:
    """What would be done; None if the last action is not ahead of the clock. Raises what `coopy.replay` raises."""
    with Reading(basedir, cls) as reading:
        machine = reading.machine()
    return _plan(machine.applied, machine.header)


def reclock(basedir: str, cls: type) -> Reclocked:
    """Records an action that has the time of this machine's clock: from it on, actions have the clock's times again.

    Nothing that was recorded is changed. Raises `UsageError` if the last action is not ahead of the clock, or the directory is
    that of a node; what `coopy.init_system` raises; `JournalError`.
    """
    with control(
        open_for_tool("reclock", partial(in_directory, kind=_Reclocking, is_quiet=True), cls, basedir, create=False)
    ) as controls:
        return controls._system.put_clock_back()  # type: ignore[no-any-return, attr-defined]


def _plan(last: int, header: bytes) -> Reclocked | None:
    now = action.header(time.time_ns(), 0, action.UNKNOWN)
    if action.instant_of(header) <= action.instant_of(now):
        return None
    return Reclocked(last + 1, action.utc_time(header), action.utc_time(now))


class _Reclocking(System):
    place: Any  # A directory, whose manifest is written anew.

    def _look_at_clock(self) -> None:
        pass

    def put_clock_back(self) -> Reclocked:
        machine = self.engine.machine
        found = _plan(machine.applied, machine.header)
        if found is None:
            raise UsageError(f"{self.basedir}: its last action is not later than this machine's clock. Nothing was changed.")
        with paths.writes(self.basedir, "The clock was not put back."):
            # First, so that a look by time knows of it as soon as there is something to know.
            instant = action.nanoseconds(found.after)
            self.place.manifest = manifest.put_clock_back(
                self.place.calls, self.basedir, self.place.manifest, found.index, instant
            )
        self.engine.put_clock_back()
        return found
