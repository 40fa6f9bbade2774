"""Takes the snapshots of one open system, when it is asked to and by itself, and drops those that need not stay.

When a snapshot is due is counted here: by time, by what the journal has grown by, and by how long the actions took. What is
written is the engine's; which snapshots stay is in coopy/past/retention.py.
"""

from __future__ import annotations

import errno
import math
import threading
import time
import weakref
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from coopy.disk import child
from coopy.errors import JournalError, SnapshotError, StorageError
from coopy.ground import collector, holding, log, paths
from coopy.ground.interruption import OUTSIDE, origin
from coopy.ground.raised import last_resort, telling, told_as
from coopy.past import retention
from coopy.past.retention import Retention
from coopy.place.directory import not_opened
from coopy.place.options import Settings
from coopy.place.seam import Place
from coopy.spine.engine import Engine, Saver

LOOKS = 100
"""So often it is looked whether an action runs in the seconds after which a snapshot is due; in between, within these limits."""
LOOK_S_MIN, LOOK_S_MAX = 0.005, 0.05


if TYPE_CHECKING:

    class Kept(Protocol):
        """What the thread that takes snapshots by themselves asks of a system."""

        @property
        def keeping(self) -> Keeping:
            """Returns what counts when a snapshot is due."""
            ...

        @property
        def is_closed(self) -> bool:
            """Returns whether the system was closed."""
            ...

        def snapshot_if_due(self, timed: bool) -> None:
            """Takes a snapshot if one is due, by time or otherwise, and there is something new in it."""
            ...


class Keeping:
    """The snapshots of one system."""

    engine: Engine

    def __init__(self, place: Place, settings: Settings) -> None:
        self._place = place
        self._kept = retention.retention(settings.keep, settings.keep_for)
        self._fork = bool(settings.fork)
        # Since the newest snapshot: bytes of the journal, and seconds that actions took.
        self.growth_max = settings.snapshot_growth
        self.grown = 0
        self._replay_max_s = settings.snapshot_replay
        self._replay_due_s = settings.snapshot_replay
        self.acted_s = 0.0
        self.wake = holding.Alarm()
        self._pruning = threading.RLock()
        self._newest: dict[str, Any] = {"index": None, "when": None, "bytes": None, "seconds": None, "problem": None}

    # -- one snapshot

    def take(self, then: Callable[[int], object]) -> int:
        """Takes a snapshot, calls ``then`` with its index, and drops what need not stay. Returns the index.

        Raises `SnapshotError`, `EncodingError`; the system goes on all the same.
        """
        before, acted, began = self.grown, self.acted_s, time.monotonic()
        with telling(self._keep_problem):
            index = self._taken()
        if index != self._newest["index"] or self._newest["problem"]:
            kept = self._place.kept(index)
            self._newest = {
                "index": index,
                "when": datetime.now().astimezone().isoformat(timespec="seconds"),
                "bytes": None if kept is None else kept[0],
                "seconds": round(time.monotonic() - began, 3),
                "problem": None,
            }
        # What the journal has grown by meanwhile is for the next one.
        self.grown -= before
        self.acted_s -= acted
        self._replay_due_s = self._replay_max_s
        then(index)
        return index

    def prune_after(self, index: int, prune: Callable[[Retention], object]) -> None:
        """Drops what need not stay after a snapshot. What keeps it from that is logged."""
        try:
            prune(self._kept)
        except (StorageError, OSError) as error:
            log.error("%s: the snapshot of action %d is kept, but none was deleted: %s", self._place.name, index, error)

    def _taken(self) -> int:
        try:
            self._place.check()
        except JournalError as error:
            raise SnapshotError(f"the snapshot was not written: {error.strerror}") from error
        if self._fork:
            collector.count_the_young()
        return self.engine.take_snapshot(self._in_a_child if self._fork else _inline)

    def _in_a_child(self, save: Saver) -> Callable[[], bytes | None]:
        return child.start(save, self._place.sweep_after)

    def prune(self, rule: Retention) -> list[int]:
        """Deletes what need not stay. Returns the indexes of the snapshots that went."""
        if rule.keeps_all:
            return []
        gone: list[int] = []
        place = self._place
        place.check()
        with paths.writes(place.name, retention.PRUNED_IN_PART):
            holding.run_with(self._pruning, lambda: gone.extend(retention.prune(place.log, place.snapshots, rule, place.now())))
        return gone

    def status(self) -> dict[str, Any]:
        """Returns what is known of the newest snapshot; see `coopy.Control.status`."""
        try:
            newest = max(self._place.snapshots.indexes(), default=None)
        except StorageError:
            newest = None
        found = dict(self._newest)
        if newest != found["index"]:
            found.update(index=newest, seconds=None, when=None, bytes=None)
        if newest is not None and found["bytes"] is None:
            kept = self._place.kept(newest)
            if kept is not None:
                when = datetime.fromtimestamp(kept[1]).astimezone().isoformat(timespec="seconds")
                found.update(when=when, bytes=kept[0])
        return found

    def end(self) -> None:
        """Ends the children that have written snapshots."""
        child.reap()

    # -- by themselves

    def by_itself(self, system: Kept, interval_s: float) -> None:
        """Starts the thread that takes snapshots, if any are asked for."""
        if interval_s or self.growth_max or self._replay_max_s:
            name = f"coopy snapshots of {self._place.name}"
            wake = self.wake
            # A system that is dropped, and not closed, ends its thread as well.
            weak = weakref.ref(system, lambda _: wake.set())
            look_s = min(max(self._replay_max_s / LOOKS, LOOK_S_MIN), LOOK_S_MAX) if self._replay_max_s else math.inf
            interval_s = min(interval_s, threading.TIMEOUT_MAX) or math.inf
            arguments = (weak, wake, interval_s, look_s)
            try:
                threading.Thread(target=_snapshooter, args=arguments, name=name, daemon=True).start()
            except RuntimeError as error:  # There can't be one more.
                raise not_opened(OSError(errno.EAGAIN, str(error)), self._place.name) from error

    def look_at_actions(self, since_s: float) -> None:
        """Counts the seconds since the look before to those that actions took, if one runs.

        To take the time of each would make calls slower. Of many looks, as many find an action as actions take of the time.
        """
        if self.engine.machine.running:
            self.acted_s += since_s

    def take_if_due(self, timed: bool, take: Callable[[], object], is_closing: Callable[[], bool]) -> None:
        """Takes a snapshot if there is something new in it; failing is logged, and tried again next time."""
        is_due = self._is_due()
        if is_closing() or not (timed or is_due):
            return
        # Growth is told of before what the journal grows by is there: taking the snapshot waits for it.
        if not is_due and self._place.log.last in self._place.snapshots.indexes()[-1:]:
            return
        # What is raised may be the domain's: the system goes on, and so does this thread.
        with last_resort(self._not_taken, is_closing):
            take()

    def _keep_problem(self, error: BaseException) -> None:
        """Keeps for the status why there is no newer snapshot."""
        if isinstance(error, Exception):
            self._newest["problem"] = str(error)

    def _not_taken(self, error: Exception, is_closing: Callable[[], bool]) -> None:
        # Not at the next look: when as much again has been done.
        self._replay_due_s = self.acted_s + self._replay_max_s
        if not is_closing():
            log.error("%s: no snapshot was taken: %s", self._place.name, error)

    def _is_due(self) -> bool:
        has_grown = 0 < self.growth_max <= self.grown
        return has_grown or 0 < self._replay_max_s and self._replay_due_s <= self.acted_s

    def on_growth(self, size: int) -> None:
        """Receives the bytes that the journal grows by."""
        self.grown += size
        if self.grown >= self.growth_max:
            self.wake.set()


def _snapshooter(system: weakref.ref[Kept], wake: holding.Alarm, interval_s: float, look_s: float) -> None:
    looked = time.monotonic()
    due = looked + interval_s
    while True:
        wait_s = min(due - looked, look_s)
        woken = wake.wait(holding.FOR_EVER if wait_s == math.inf else min(max(wait_s, 0), threading.TIMEOUT_MAX))
        found = system()
        if found is None or found.is_closed:
            return
        now = time.monotonic()
        found.keeping.look_at_actions(now - looked)
        timed = now >= due
        found.snapshot_if_due(timed)
        del found
        looked = time.monotonic()
        if timed or woken:
            due = looked + interval_s


def _inline(save: Saver) -> Callable[[], bytes | None]:
    with told_as(_not_written, of=BaseException):
        said = save()
    return lambda: said


def _not_written(error: BaseException) -> BaseException:
    if origin(error) == OUTSIDE:
        return error  # The TimeoutError of a job's time limit is an OSError, too.
    if isinstance(error, OSError):
        problem = f"{error}"
    elif not isinstance(error, Exception):
        problem = f"code of the state has raised {type(error).__name__}: {error}"
    else:
        return error
    return SnapshotError(f"the snapshot was not written: {problem}. The system goes on; its journal holds every action.")
