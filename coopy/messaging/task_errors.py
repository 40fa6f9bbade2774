"""What becomes of a task besides its result: the exceptions that its handle raises, and those that a task raises itself."""

from __future__ import annotations

from datetime import timedelta

from coopy import CoopyError


class TaskError(CoopyError):
    """The base of what `TaskHandle.result` raises besides the exception of the task itself.

    >>> from coopy.messaging import TaskCancelled, TaskCrashed, DeadlinePassed, NoSuchTask
    """


class TaskCancelled(TaskError):
    """The task was cancelled. In a task that runs, `TaskRun.check` raises it.

    >>> handle.cancel()
    >>> handle.result()
    """


class TaskCrashed(TaskError):
    """The processes that ran the task have ended in the middle of it, as often as it may be delivered. It is among the dead letters.

    >>> [each.id for each in queue.dead()]
    """


class DeadlinePassed(TaskError):
    """The task has not ended within its ``deadline``. In a task that runs, `TaskRun.check` raises it.

    >>> queue.task(deadline=60)(resize).send("a.png")
    """


class NoSuchTask(TaskError, LookupError):
    """There is no task with that number, or it has ended so long ago that its result is not kept any more.

    >>> queue.task(keep=7 * 86_400)(resize).send("a.png")
    """


class Retry(Exception):
    """Raised by a task that is to run again, after ``delay`` seconds or a timedelta, whatever its ``retries`` say; None for what its ``backoff`` says.

    >>> raise Retry(delay=60)
    """

    def __init__(self, delay: float | timedelta | None = None) -> None:
        super().__init__(delay)
        self.delay = delay
