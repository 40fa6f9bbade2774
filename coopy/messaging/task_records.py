"""What the state of a task queue has of one task, of one worker, and of one schedule. Decides nothing; `coopy.messaging.task_state` does."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, NamedTuple

WAITING, LATER, BLOCKED, RUNNING = "waiting", "later", "blocked", "running"
"""Of a task that is not over: it may run at once; not before a time; not before another one has ended; a worker has it."""
DONE, DEAD, CANCELLED = "done", "dead", "cancelled"
"""Of a task that is over."""
OVER = frozenset((DONE, DEAD, CANCELLED))
NS = 1_000_000_000
"""Nanoseconds in a second."""
MOST_S = 1e12
"""A time, or a duration, that is larger is none: 30,000 years."""
DELIVERIES = 5
"""So often a task is given to a worker that ends in the middle of it, before it is put aside."""
UNREAD_S, READ_S = 86_400.0, 3600.0
"""A result that nobody has read is kept for a day, and one that was read for an hour, unless the task says otherwise."""
FINISHED, FAILED, BACK, CRASHED, STOPPED = "finished", "failed", "back", "crashed", "stopped"
"""What a worker says of a task: it returned; it raised; it was not begun; the process that ran it ended; it was cancelled and has ended."""


class Options(NamedTuple):
    """What is said of a task when it is sent. Times are seconds; what has a default is mostly left out."""

    lane: str = "default"
    """Workers may work for some lanes only."""
    priority: int = 0
    """A larger one goes first; of equal ones the one that was sent first."""
    delay: float = 0.0
    """It does not run before so long after it was sent."""
    at: float = 0.0
    """It does not run before this time, in seconds since 1970."""
    unique: str = ""
    """While a task with this text is not over, no other is made."""
    key: str = ""
    """So many as ``limit`` run at once, of all that have this text."""
    limit: int = 1
    rate: str = ""
    """What is counted together for ``every``."""
    every: float = 0.0
    """Between the starts of two there are so many seconds."""
    deadline: float = 0.0
    """It must have ended so long after it was sent; 0 for no limit."""
    keep: float = -1.0
    """The result is kept so long after its end; -1 for an hour after it was read, and a day if nobody does."""
    deliveries: int = DELIVERIES


_DEFAULT = Options()


class Job:
    """One task."""

    __slots__ = (
        "number",
        "name",
        "payload",
        "_options",
        "state",
        "token",
        "session",
        "due_ns",
        "sent_ns",
        "began_ns",
        "ended_ns",
        "until_ns",
        "expires_ns",
        "deliveries",
        "crashes",
        "failures",
        "asked_to_stop",
        "progress",
        "value",
        "error",
        "was_read",
    )

    def __init__(self, number: int, name: str, payload: Any, options: Options, now_ns: int) -> None:
        self.number = number
        self.name = name
        self.payload = payload
        """Pickled arguments; or a tuple and a dict of them, if an action has sent it."""
        self._options: Options | None = None if options == _DEFAULT else options
        self.state = WAITING
        self.token = 0
        """That of the claim by which a worker has it, or had it last."""
        self.session = ""
        self.due_ns = 0
        self.sent_ns = now_ns
        self.began_ns = 0
        self.ended_ns = 0
        self.until_ns = now_ns + round(options.deadline * NS) if options.deadline else 0
        self.expires_ns = 0
        self.deliveries = 0
        """How often it was given to a worker."""
        self.crashes = 0
        """How often that worker ended in the middle of it."""
        self.failures = 0
        """How often it raised."""
        self.asked_to_stop = False
        self.progress: Any = None
        self.value: Any = None
        """What it returned, pickled, once it is done."""
        self.error: Any = None
        """What it raised last, or why it is dead: class, text and traceback, and the exception pickled if that can be."""
        self.was_read = False

    @property
    def options(self) -> Options:
        """What was said of it when it was sent. Most tasks keep none: it is the same of all."""
        return self._options or _DEFAULT

    # A snapshot has no names of attributes with each task: it is half as large, and takes a third of the time.

    def __getstate__(self) -> tuple[Any, ...]:
        found: tuple[Any, ...] = _STATE(self)
        return found

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(Job.__slots__, state, strict=True):
            setattr(self, name, value)


_STATE = attrgetter(*Job.__slots__)


class Seen(NamedTuple):
    """How a task stands, as `Tasks.look` returns it."""

    id: int
    name: str
    state: str
    lane: str
    priority: int
    deliveries: int
    crashes: int
    failures: int
    sent: float
    """In seconds since 1970, as are the following."""
    due: float
    began: float
    ended: float
    session: str
    progress: Any
    error: Any
    value: Any


def seen(job: Job) -> Seen:
    """Returns how a task stands."""
    return Seen(
        job.number,
        job.name,
        job.state,
        job.options.lane,
        job.options.priority,
        job.deliveries,
        job.crashes,
        job.failures,
        job.sent_ns / NS,
        job.due_ns / NS,
        job.began_ns / NS,
        job.ended_ns / NS,
        job.session,
        job.progress,
        job.error,
        job.value,
    )


class Claim(NamedTuple):
    """A task that was given to a worker, and the token with which its end has to be said."""

    id: int
    token: int
    name: str
    payload: Any
    delivery: int
    failures: int
    deadline: float
    """Until when it must have ended, in seconds since 1970; 0 for no limit."""
    sent_ns: int


class Outcome(NamedTuple):
    """What a worker says of a task that it has."""

    id: int
    token: int
    kind: str
    value: Any = None
    """What it returned, or an error: see `Job.value` and `Job.error`."""
    retry: float = -1.0
    """After how many seconds it is to run again if it has failed; less than 0 for never."""


class Session:
    """One worker: a lease, and the tasks that it has."""

    __slots__ = ("id", "about", "running", "began_ns")

    def __init__(self, id: str, about: dict[str, Any], now_ns: int) -> None:
        self.id = id
        self.about = about
        self.running: dict[int, int] = {}
        """By number of a task: which slot of the worker has it."""
        self.began_ns = now_ns


class Schedule:
    """A task that is sent again and again."""

    __slots__ = ("name", "expression", "zone", "next_ns", "payload", "options", "last_ns")

    def __init__(self, name: str, expression: str, zone: str, next_ns: int, payload: Any, options: Options) -> None:
        self.name = name
        self.expression = expression
        self.zone = zone
        self.next_ns = next_ns
        self.payload = payload
        self.options = options
        self.last_ns = 0
        """The time for which it was sent last."""
