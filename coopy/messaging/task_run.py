"""What a task may know of itself while it runs: which delivery it is, whether it is to stop, and how to say how far it is."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from typing import Any

from coopy import UsageError
from coopy.messaging.task_errors import DeadlinePassed, TaskCancelled
from coopy.messaging.task_records import Claim

PROGRESS_S = 0.2
"""How far a task is goes into the log at most five times a second; what it says in between is dropped, but for the end."""


class TaskRun:
    """The task that runs; returned by `current_task`.

    >>> def resize(paths):
    ...     run = current_task()
    ...     for number, path in enumerate(paths):
    ...         run.progress(number / len(paths))
    """

    def __init__(self, claim: Claim, report: Callable[[int, int, Any], object]) -> None:
        self.claim = claim
        """What an action of the same system ends the task with: see `Tasks.finish`."""
        self._report = report
        self._reported_at = float("-inf")
        self._asked = False

    @property
    def id(self) -> int:
        """The number of the task."""
        return self.claim.id

    @property
    def key(self) -> str:
        """A text that is the same each time that this task runs, and no other task's: for a receiver that is to take it once."""
        return f"{self.claim.sent_ns:x}-{self.claim.id:x}"

    @property
    def delivery(self) -> int:
        """How often a worker was given the task, from 1."""
        return self.claim.delivery

    @property
    def failures(self) -> int:
        """How often it has raised."""
        return self.claim.failures

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to stop. No call of the system is needed for that."""
        return self._asked

    @property
    def seconds_left(self) -> float | None:
        """How many seconds are left until its deadline, or None if it has none."""
        return self.claim.deadline - time.time() if self.claim.deadline else None

    def check(self) -> None:
        """Raises `TaskCancelled` if it was asked to stop, `DeadlinePassed` if its time is over: to be called now and then in long work."""
        if self._asked:
            raise TaskCancelled(f"task {self.id} was asked to stop")
        left = self.seconds_left
        if left is not None and left <= 0:
            raise DeadlinePassed(f"task {self.id} has not ended in time")

    def progress(self, value: Any) -> None:
        """Says how far it is, in whatever value: it is recorded, at most five times a second. Raises as `check`."""
        self.check()
        now = time.monotonic()
        if now >= self._reported_at + PROGRESS_S or value == 1:
            self._reported_at = now
            self._report(self.claim.id, self.claim.token, value)

    def ask_to_stop(self) -> None:
        """Has `check` raise, and `cancelled` be True."""
        self._asked = True


_current: contextvars.ContextVar[TaskRun | None] = contextvars.ContextVar("coopy task", default=None)


def current_task() -> TaskRun:
    """Returns the task that runs in this thread, or in this task of asyncio. Raises `UsageError` outside of one.

    >>> def resize(paths):
    ...     for number, path in enumerate(paths):
    ...         current_task().progress(number / len(paths))
    """
    found = _current.get()
    if found is None:
        raise UsageError("current_task() is for a function that a worker runs as a task. None runs here.")
    return found


def running(run: TaskRun | None) -> contextvars.Token[TaskRun | None]:
    """Has `current_task` return that one here."""
    return _current.set(run)
