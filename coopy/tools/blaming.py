"""The actions that set a value: what the inspector's page of a value shows, for a whole history.

The search goes backwards from snapshot to snapshot, so that the newest changes, which are asked for most, are found first; between two
snapshots it goes forwards, by a replay that looks at the value after each action (`coopy.tools.web_looks.blame`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coopy import StorageError, UsageError
from coopy.past import trail
from coopy.past.history import Action
from coopy.past.reading import Reading
from coopy.spine.machine import Machine
from coopy.tools import tree, web_looks

Progress = Callable[[int, int], object]
"""Given the actions done and the actions in all."""


@dataclass(frozen=True, slots=True)
class Change:
    """An action that changed the value, and the value in a line before and after it; None where there was none."""

    action: Action
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Blamed:
    """The changes of a value, the newest first."""

    path: str
    at: int
    """Index of the action after which the value was looked at."""
    changes: list[Change]
    searched: int
    """Index of the action after which the search has come to its end: later changes are all here."""
    oldest: int
    """Index of the action whose state is the oldest that is there."""
    problem: str
    """Why the search could go back no further; "" if nothing hindered it."""

    @property
    def is_complete(self) -> bool:
        """Whether there are no changes before these, as far back as there is a state."""
        return self.searched <= self.oldest and not self.problem


def blame(
    reading: Reading, path: str, at: trail.Point | None = None, most: int | None = None, progress: Progress | None = None
) -> Blamed:
    """Finds the actions, up to ``at`` (None: the newest), that changed the value at a path: at most ``most`` of them, the newest first.

    Raises `UsageError` for what is no path, and for a path at which there was no value from the oldest state on up to ``at``; and what
    `Reading.machine` raises, if no state can be had at all.
    """
    if not tree.steps_of(path):
        raise UsageError("the path is empty: say which part of the state, as in .pages['Home'].text")
    last = reading.log.last if at is None else trail.last_upto(reading, at)
    bases = [each for each in reading.snapshots.indexes() if each <= last]
    oldest = bases[0] if bases else 0
    changes: list[Change] = []
    upto, problem = last, ""
    for base in reversed(bases):
        if most is not None and len(changes) >= most:
            break
        try:
            found = _between(reading, path, base, upto, progress)
        except StorageError as error:
            # A snapshot before this one leads to the same states, if it is only this one that can't be read.
            problem = str(error)
            continue
        changes += [_change(reading, each) for each in reversed(found)]
        upto, problem = base, ""
    if not changes:
        tree.at(reading.machine(last).domain, path)
    if most is not None and len(changes) > most:
        upto = changes[most].action.index
        del changes[most:]
    return Blamed(path, last, changes, upto, oldest, problem)


def _between(reading: Reading, path: str, base: int, last: int, progress: Progress | None) -> list[dict[str, Any]]:
    """The changes from one state to another, as the inspector has them."""
    look: web_looks.Look = web_looks.blame(base, last, path)
    found: list[dict[str, Any]] = []

    def visit(machine: Machine) -> None:
        nonlocal look
        if machine.applied == base:
            # A replay whose last action turns out to be withdrawn begins again.
            look = web_looks.blame(base, last, path)
            next(look)
        try:
            look.send(machine)
        except StopIteration as end:
            found[:] = end.value["changes"]

    reading.machine_from(base, last, range(base, last + 1), visit, progress=progress)
    return found


def _change(reading: Reading, said: dict[str, Any]) -> Change:
    action = next(trail.actions(reading, said["index"], said["index"]))
    return Change(action, said["before"], said["after"])
