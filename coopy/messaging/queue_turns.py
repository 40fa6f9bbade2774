"""The state of PyDistributed's queue: a task queue whose workers take turns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from coopy.messaging.task_records import Claim
from coopy.messaging.task_state import Tasks


class TasksInTurn(Tasks):
    """Tasks of which a worker has no more than one, so that each goes to the worker that has waited longest.

    >>> tasks = TasksInTurn()
    >>> tasks.begin("a", 30.0), tasks.begin("b", 30.0), tasks.send("m:f", 1), tasks.send("m:f", 2)
    (True, True, 1, 2)
    >>> len(tasks.swap("a", number=10)[0]), len(tasks.swap("b", number=10)[0])
    (1, 1)
    """

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
        """As `Tasks.swap`, but gives one task at most."""
        return super().swap(session, lanes, min(number, 1), outcomes, slot, min(waits, 1), has)
