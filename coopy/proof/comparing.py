"""Has one open system compared with what replay gives: when it is opened, after snapshots, and beside its calls.

Runs the children that compare, and tells of what they find. What is said of a state, and when, is in coopy/proof/proving.py;
what a child does is in coopy/proof/beside.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

from coopy.disk import child
from coopy.errors import CoopyError, StorageError
from coopy.ground import log, paths
from coopy.ground.weakly import weakly
from coopy.past import history
from coopy.past.proxy import codec_of_past
from coopy.place.options import REFUSE, Settings
from coopy.place.seam import Place
from coopy.proof import beside, proving
from coopy.proof.proving import Divergence, Proving
from coopy.spine import agreement
from coopy.spine.agreement import Comparison
from coopy.spine.engine import Engine
from coopy.spine.machine import Machine
from coopy.spine.replay import Progress
from coopy.values import trial
from coopy.values.codec import Codec

CHECK_REST = 100
"""After a self-check there is none for so many times as long as it took: it costs at most a hundredth of one core."""
CHECK_ACTIONS_MAX, CHECK_BYTES_MAX = 1_000_000, 256 * 1024 * 1024
"""There is no self-check of more actions, or from a larger snapshot: it holds a second state beside the live one, and is to be over in a minute."""


class Comparing:
    """What one open system is compared with, and what was found."""

    _engine: Engine
    _proving: Proving

    def __init__(self, place: Place, cls: type, settings: Settings) -> None:
        self._place = place
        self._cls = cls
        self._name = place.name
        self._fork = bool(settings.fork)
        on_divergence = settings.on_divergence
        self._refuses = settings.check or on_divergence == REFUSE
        self._on_diverged: Callable[[dict[str, Any]], object] = on_divergence if callable(on_divergence) else _ignore
        self._divergence: dict[str, Any] | None = None
        self._self_check: dict[str, Any] | None = None
        self._checks_itself = settings.self_check and self._fork
        self._beside: beside.Beside | None = None
        self._check_due = 0.0

    def begin(self, engine: Engine) -> None:
        """Has an engine say what state it is in, with snapshots and when it is closed."""
        self._engine = engine
        proves = self._proving = Proving(
            self._name,
            self._place.entries,
            self._refuses,
            proving.SNAPSHOT_S if self._fork else proving.LOOK_S,
            beside.apart if self._fork else beside.here,
        )
        engine.last_look, engine.said_with_snapshot = proves.last_look, proves.with_snapshot
        engine.told_with_snapshot = proves.told_with_snapshot

    def restore(self, progress: Progress, loading: Progress | None) -> None:
        """Restores the state, and compares it with what the live one was said to be."""
        start, last = max(self._place.snapshots.indexes(), default=0), self._place.log.last
        comparison = self._engine.comparison = self._proving.begin(start, last)
        self._engine.start(progress, loading)
        found = self._proving.conclude(comparison, start, self._replay_again, self._actions, self._place.log.where)
        if found is not None:
            self._proving.forget()
            self._diverged(found, "The system goes on with the state that replay gives.")

    def look_at_state(self) -> None:
        """Begins to say what state the system is in, and to compare."""
        import json

        if self._place.is_alone:
            # Calls are recorded one after the other, with the lock held.
            self._engine.look = self._proving.look
        if (said := self._proving.uncompared()) is not None:
            if said.took_s <= proving.INLINE_S and self._fork:
                # Code of the domain runs for it.
                machine = self._engine.machine
                found = beside.apart(lambda: json.dumps(beside.compared(machine, said)).encode())
                if found:
                    self._was_compared(json.loads(found))
            else:
                self._run_beside(lambda machine: beside.compared(machine, said), self._was_compared)

    def _replay_again(self, comparison: Comparison, upto: int) -> None:
        self._engine.past(upto, None, 0, *codec_of_past(self._cls), comparison)

    def _actions(self, after: int) -> Iterator[history.Action]:
        with paths.reads(self._name), closing(self._place.log.reader()) as journal:
            yield from history.actions(journal, Codec(self._cls), after)

    # -- what replay was found to give

    def _diverged(self, found: Divergence, goes_on: str) -> None:
        """Says that replay gives another state than the live system had."""
        log.error("%s: %s. %s", self._name, found.text, goes_on)
        self._divergence = found.as_dict()
        log.call_back(self._name, self._on_diverged, self._divergence)

    def tell_of_divergences(self, function: Callable[[dict[str, Any]], object]) -> None:
        """See `Control.on_diverged`."""
        self._on_diverged = function
        if self._divergence is not None:
            log.call_back(self._name, function, self._divergence)

    def _was_compared(self, found: dict[str, Any]) -> None:
        """Hears what the state was found to be with which the system was opened."""
        if found["path"] is not None:
            start = max((index for index in self._kept() if index <= found["index"]), default=0)
            difference = agreement.Difference(-1, found["index"], found["path"])
            self._diverged(
                proving.explained(difference, start, self._actions, "opening"),
                "The system goes on with the state that replay gives.",
            )

    def check_itself(self, newest: int) -> None:
        """Has a child replay from the snapshot before the newest one, and compare with the live state."""
        indexes = [index for index in self._kept() if index < newest]
        now = time.monotonic()
        if not self._checks_itself or not indexes or self._beside is not None or now < self._check_due:
            return
        base, basedir, cls = indexes[-1], self._name, self._cls
        if newest - base > CHECK_ACTIONS_MAX or not self._has_room_for(newest):
            return
        self._run_beside(lambda machine: beside.checked(machine, basedir, cls, base), self._was_checked)

    def _kept(self) -> list[int]:
        """Returns the indexes of the snapshots. If they can't be listed, there are none to compare with, and a snapshot is still taken."""
        try:
            return self._place.snapshots.indexes()
        except StorageError as error:
            log.warn("%s: the state is not compared with what replay gives: %s", self._name, error)
            return []

    def _has_room_for(self, index: int) -> bool:
        """Whether a second state is small enough to be made beside this one."""
        kept = self._place.kept(index)
        return kept is not None and kept[0] <= CHECK_BYTES_MAX and trial.room() > 10 * kept[0]

    def _was_checked(self, found: dict[str, Any]) -> None:
        """Hears what a child that replays has found."""
        seconds = found["seconds"]
        self._check_due = time.monotonic() + CHECK_REST * seconds
        self._self_check = {
            "first": found["base"],
            "last": found["index"],
            "seconds": seconds,
            "problem": found["problem"],
            "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        if found["path"] is not None:
            difference = agreement.Difference(found["after"], found["index"], found["path"])
            self._diverged(
                proving.explained(difference, found["base"], self._actions, "self-check"),
                "The live state goes on, and a restart may give the other one: look at both, and take a snapshot, before you restart.",
            )

    def _run_beside(self, function: Callable[[Machine], dict[str, Any]], then: Callable[[dict[str, Any]], object]) -> None:
        """Runs a function of the machine as it is now in a child, and another one of what it comes to. Does nothing if that can't be."""
        if not child.AVAILABLE or not self._fork:
            return

        def begin(machine: Machine) -> child.Waiting:
            return child.start(lambda: beside.said_by_child(function, machine), what="the state was not compared")

        try:
            waiting = self._engine.beside(begin)
            begun = self._beside = beside.Beside(waiting, weakly(then), weakly(self._is_done_beside), self._name)
            begun.start()
        except (CoopyError, RuntimeError) as error:
            self._beside = None
            log.warn("%s: the state is not compared with what replay gives: %s", self._name, error)

    def _is_done_beside(self) -> None:
        self._beside = None

    # -- what it all comes to

    def status(self) -> dict[str, Any]:
        """Returns what replay was found to give; see `coopy.Control.status`."""
        return {
            "divergence": self._divergence and dict(self._divergence),
            "self_check": self._self_check and dict(self._self_check),
        }

    def forget(self) -> None:
        """Drops what was said of a state that is put aside."""
        self._proving.forget()

    def keep_from(self, first: int, last: int) -> None:
        """Drops what was said of states before and after some indexes."""
        self._proving.keep_from(first, last)

    def end(self) -> None:
        """Ends the child that compares, if there is one."""
        if self._beside is not None:
            self._beside.end()


def _ignore(found: dict[str, Any]) -> None:
    pass
