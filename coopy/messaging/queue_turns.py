"""The state of PyDistributed's queue: a task queue whose workers take turns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from coopy.messaging.task_records import Claim
from coopy.messaging.task_state import Tasks


class TasksInTurn(Tasks):
    """Tasks of which each goes to that worker, of those that have nothing to do, which had one the longest ago.

    >>> tasks = TasksInTurn()
    >>> tasks.begin("a", 30.0), tasks.begin("b", 30.0), tasks.send("m:f", 1), tasks.send("m:f", 2)
    (True, True, 1, 2)
    >>> (first,), _ = tasks.swap("a")
    >>> tasks.finish(first), tasks.swap("a")[0], len(tasks.swap("b")[0])
    (True, [], 1)
    """

    def __init__(self) -> None:
        super().__init__()
        self._turns = 0
        self._turn_of: dict[str, int] = {}
        """By session: when it was given a task last. Of one that had none there is nothing."""

    def swap(
        self,
        session: str,
        lanes: Sequence[str] | None = None,
        number: int = 1,
        outcomes: Iterable[Sequence[Any]] = (),
        slot: int = 0,
        waits: int = 0,
        has: Sequence[int] | None = None,
    ) -> tuple[list[Claim], int]:
        """As `Tasks.swap`, but gives nothing while it is another worker's turn, and no more than one task. Who waits waits in turn."""
        # First what came of the last one: whoever has said it has nothing to do.
        said = super().swap(session, lanes, 0, outcomes, slot, 0, has)
        if said[1] < 0:
            return said
        found = super().swap(session, lanes, 1 if number and self._has_turn(session) else 0, (), slot, min(waits, 1))
        if found[0]:
            self._turns += 1
            self._turn_of[session] = self._turns
        return found

    def end(self, session: str, has_crashed: bool = False) -> bool:
        """Ends a session; see `Tasks.end`."""
        self._turn_of.pop(session, None)
        return super().end(session, has_crashed)

    def _has_turn(self, session: str) -> bool:
        idle = [name for name, _, running in self.sessions() if not running]
        return session in idle and session == min(idle, key=lambda name: self._turn_of.get(name, 0))
