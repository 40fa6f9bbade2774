"""A task queue: functions that are called later, by other threads, processes or machines, and surely. It has more than 500 lines because half
of them are docstrings: what is used by programs says here how.

`TaskQueue` is what programs use: it decorates functions, sends tasks, and gives handles to wait for them. The queue itself is a system of coopy
(`coopy.messaging.task_state`), so it needs no server, and a task that was sent is as durable as any action. `coopy.messaging.task_worker` runs tasks.
docs/guides/tasks.md says what is promised.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from coopy import CoopyError, SystemClosed, UsageError, control, init_system
from coopy.batteries import until
from coopy.batteries.waiting import until_in_loop
from coopy.messaging import task_errors
from coopy.messaging.task_calls import name_of, packed_call, unpacked, unpacked_error
from coopy.messaging.task_cron import Cron
from coopy.messaging.task_errors import DeadlinePassed, NoSuchTask, TaskCancelled, TaskCrashed, TaskError
from coopy.messaging.task_policy import DEFAULT_BACKOFF, Chosen, Defined, Delay, Policy, signature_of
from coopy.messaging.task_records import CANCELLED, DEAD, DELIVERIES, DONE, OVER, Options, Seen
from coopy.messaging.task_state import Tasks
from coopy.messaging.task_worker import TaskWorker

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from typing_extensions import Self

P = ParamSpec("P")
R = TypeVar("R")

LEASE_S = 30.0
"""A worker that is silent for so long, and does not hang up, is taken for dead."""
LOOK_S = 1.0
"""Who waits looks so often at least."""
_NO_COPY = "without a copy"
"""The role of a process that shares a directory and is told of no changes."""
SNAPSHOT_BYTES = 32 * 1024 * 1024  # Of journal, before a snapshot is taken: some hundred thousand tasks.
SNAPSHOTS_KEPT = 2  # One more than is needed, should it be damaged.


class TaskHandle(Generic[R]):
    """A task that was sent. ``await handle`` and `result` wait for what it returns, and raise what it raises.

    >>> from coopy.messaging import TaskQueue
    >>> queue = TaskQueue("handled")
    >>> @queue.task
    ... def shout(text):
    ...     return text.upper()
    >>> handle = shout.send("wash")
    >>> queue.drain(), handle.result(timeout=5)
    (1, 'WASH')
    >>> queue.close()
    """

    def __init__(self, queue: TaskQueue, number: int, is_new: bool = True) -> None:
        self._queue = queue
        self._number = number
        self.is_new = is_new
        """Whether it was made for this call; False if it was there already and is to be unique."""

    @property
    def id(self) -> int:
        """The number of the task in its queue. Raises `UsageError` before the end of the ``with queue.batch()`` in which it is sent."""
        if not self._number:
            raise UsageError("the task is sent at the end of its `with queue.batch()`, and has no number before")
        return self._number

    def look(self) -> Seen:
        """Returns how the task stands: state, deliveries, crashes, failures, times, progress. Raises `NoSuchTask`."""
        found: Seen | None = self._queue.see("look", self.id)
        if found is None:
            raise _no_such(self.id)
        return found

    @property
    def state(self) -> str:
        """How it stands: waiting, later, blocked, running, done, dead or cancelled. Raises `NoSuchTask`."""
        return self.look().state

    @property
    def done(self) -> bool:
        """Whether it is over. Raises `NoSuchTask`."""
        return self.state in OVER

    @property
    def progress(self) -> Any:
        """What it has said last of how far it is; None if nothing. Raises `NoSuchTask`."""
        return self.look().progress

    def cancel(self) -> bool:
        """Has it not run; or asks it to stop if it runs. Returns False if it is over."""
        return bool(self._queue.change("cancel", self.id))

    def retry(self) -> bool:
        """Has it run now, if it is dead or cancelled, or waits for a time. Returns False if it is not so."""
        return bool(self._queue.change("retry", self.id))

    def result(self, timeout: float | None = None) -> R:
        """Returns what the task has returned, and waits for it. Raises what the task has raised.

        Raises TimeoutError if it is not over after ``timeout`` seconds, and `TaskCancelled`, `TaskCrashed`, `DeadlinePassed` or `NoSuchTask`.
        """
        end = None if timeout is None else time.monotonic() + timeout
        number = self.id
        while True:
            left = LOOK_S if end is None else min(LOOK_S, max(0.0, end - time.monotonic()))
            found = until(lambda: self._queue.see("outcome", number), left, self._queue.bell)
            if found is not None:
                return self._queue._result_of(number, found)  # type: ignore[no-any-return]
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"task {number} is not over after {timeout:g} s; it goes on")

    def __await__(self) -> Generator[Any, None, R]:
        return self._awaited().__await__()

    async def _awaited(self) -> R:
        number = self.id

        async def ask() -> Any:
            return self._queue.see("outcome", number)

        while True:
            found = await until_in_loop(ask, LOOK_S, self._queue.bell)
            if found is not None:
                return self._queue._result_of(number, found)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<task {self._number} of {self._queue!r}>" if self._number else f"<task of {self._queue!r}, not sent yet>"


class Task(Defined, Generic[P, R]):
    """A function whose calls can be sent. Calling it calls the function, here and now.

    >>> from coopy.messaging import TaskQueue
    >>> queue = TaskQueue("defined")
    >>> @queue.task
    ... def shout(text):
    ...     return text.upper()
    >>> shout("here and now")
    'HERE AND NOW'
    >>> queue.close()
    """

    def __init__(self, queue: TaskQueue, function: Callable[P, Any], name: str, policy: Policy) -> None:
        self.queue = queue
        self.function = function
        self.name = name
        self.policy = policy
        self._signature = signature_of(function)
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self.function(*args, **kwargs)

    def send(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Has the function be called by a worker, and returns a handle. When it returns, the task is as durable as the queue is.

        Raises TypeError if the function does not take these arguments, `EncodingError` for one that belongs to this process, as an open file
        does, and what the system raises.
        """
        options = self.options_for(args, kwargs)
        return self.queue._send(self.name, packed_call(self.name, args, kwargs, list(self._signature.parameters)), options)

    async def asend(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Does the same while the event loop goes on."""
        return await asyncio.to_thread(self.send, *args, **kwargs)

    def options_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Options:
        """Returns what is said to the state of a task with these arguments. Raises TypeError if the function does not take them."""
        self._signature.bind(*args, **kwargs)
        return self.policy.options(self.name, self._signature, args, kwargs)

    def options(self, **changed: Any) -> Task[P, R]:
        """Returns the same task with other options: ``mail.options(delay=60, priority=1).send("ann")``.

        Those of `TaskQueue.task`, and ``at``, a datetime or seconds since 1970. Raises TypeError for others, and `UsageError` for a value that cannot be used.
        """
        try:
            policy = self.policy._replace(**changed)
        except ValueError as error:
            raise TypeError(f"options() {error}") from None
        policy.check(self.name)
        return Task(self.queue, self.function, self.name, policy)

    def __repr__(self) -> str:
        return f"<task function {self.name}>"


class TaskQueue:
    """A queue of tasks, in a directory that all who send and all who work open.

    >>> from coopy.messaging import TaskQueue
    >>> queue = TaskQueue("tasks")
    >>> @queue.task(retries=3)
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> handle = add.send(1, 2)
    >>> queue.drain(), handle.result(timeout=5)
    (1, 3)
    >>> queue.close()

    Args:
        directory: the data directory, made if it is not there. None: a queue for a test, which is gone with the process.
        system: an open system that has tasks, in place of a directory: of `Tasks`, or of a class that has the methods change_tasks and
            see_tasks, see docs/guides/tasks.md.
        lease: so many seconds after a worker was heard of for the last time its tasks go to others. If its process ends they do so at once.
        options: those of `coopy.init_system`. The directory is shared unless they say otherwise, or name other nodes.

    Nothing is opened before it is needed. Raises `UsageError`; with the first use, what `coopy.init_system` raises.
    """

    def __init__(
        self, directory: str | os.PathLike[str] | None = None, *, system: Any = None, lease: float = LEASE_S, **options: Any
    ) -> None:
        if system is not None and (directory is not None or options):
            raise UsageError("TaskQueue() takes a directory with options, or an open system, and not both. Nothing was opened.")
        if system is not None and not (hasattr(type(system), "change_tasks") and hasattr(type(system), "see_tasks")):
            raise UsageError(
                f"{system!r} has no tasks: it must be a system of coopy.messaging.Tasks, or of a class that has the methods "
                f"change_tasks and see_tasks (see docs/guides/tasks.md), opened with coopy.init_system"
            )
        if system is not None:
            control(system)  # A plain object would record nothing, and one of coopy.aio is called otherwise.
        if not 0 < lease < float("inf"):
            raise UsageError(f"lease={lease!r}: must be a number of seconds, more than 0. Nothing was opened.")
        self.defined: dict[str, Task[Any, Any]] = {}
        """By name: the functions that were decorated in this process."""
        self.lease = lease
        self.crons: dict[str, Cron] = {}
        """By name: the schedules that were given in this process."""
        self._directory = directory
        self._options = options
        self._system = system
        self._owns = system is None
        self._lock = threading.RLock()
        self._local = threading.local()
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._is_closed = False
        self._read: list[int] = []
        self._rings: bool | None = None

    # -- the system

    @property
    def system(self) -> Any:
        """The system behind it, opened with the first use."""
        found = self._system
        if found is None:
            with self._lock:
                if self._system is None:
                    if self._is_closed:
                        raise SystemClosed(f"{self!r} is closed. Make another one to use it.")
                    self._system = self._open()
                found = self._system
        return found

    def _open(self) -> Any:
        options = {"snapshot_growth": SNAPSHOT_BYTES, "keep": SNAPSHOTS_KEPT, "validation": "off", **self._options}
        directory = self._directory
        if directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="coopy-tasks-")
            directory = self._temporary.name
            options.setdefault("durability", "buffered")
        elif not any(options.get(each) for each in ("cluster", "master", "replication")):
            options.setdefault("shared", True)
        return init_system(Tasks, directory, **options)

    @property
    def bell(self) -> Any:
        """The system, if it tells this process of changes, so that who waits is woken; None if not, so that who waits looks again and again."""
        system = self.system
        if self._rings is None:
            self._rings = control(system).status().get("role") != _NO_COPY
        return system if self._rings else None

    def change(self, what: str, *args: Any) -> Any:
        """Makes a call that is recorded, of the `Tasks`. Raises what the system raises."""
        return self.system.change_tasks(what, *args)

    def see(self, what: str, *args: Any) -> Any:
        """Makes a call that is not."""
        return self.system.see_tasks(what, *args)

    def close(self) -> None:
        """Closes the system, unless it was given; its workers end first. Closing twice is fine, and a closed queue stays closed."""
        with self._lock:
            self._is_closed = True
        # Not with the lock held, nor before the system is closed: workers use it to the end.
        if self._system is not None and self._owns:
            self._say_what_was_read(self._system)
            control(self._system).close()
        with self._lock:
            temporary, self._temporary = self._temporary, None
        if temporary is not None:
            temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- functions

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self,
        *,
        name: str | None = None,
        retries: int = 0,
        backoff: Delay = DEFAULT_BACKOFF,
        retry_on: tuple[type[BaseException], ...] = (Exception,),
        priority: int = 0,
        unique: Chosen = False,
        delay: float | timedelta = 0.0,
        cron: str | None = None,
        zone: str = "",
        missed: str = "once",
        deadline: float | timedelta = 0.0,
        concurrency_key: Chosen = False,
        concurrency: int = 1,
        rate: str | tuple[float, float] | None = None,
        keep: float | timedelta | None = None,
        lane: str = "default",
        deliveries: int = DELIVERIES,
    ) -> _Decorator: ...

    def task(self, *function: Any, **options: Any) -> Any:
        """Makes a function one whose calls can be sent: ``@queue.task`` or ``@queue.task(retries=3)``.

        Args:
            name: by which workers find it, by default ``module:function``.
            retries: how often it runs again after it has raised. Then it is among the dead letters, see `dead`.
            backoff: seconds until then, a `Backoff`, or a function of how often it has raised.
            retry_on: the exceptions after which it runs again.
            priority: a larger one goes first; of equal ones, the one that was sent first.
            unique: True: as long as a task with the same arguments is not over, no other is made, and `send` returns a handle of that one. A
                text, or a function of the arguments, says what is the same.
            delay: seconds, or a timedelta, before which it does not run.
            cron: when it is sent by itself, as ``"30 3 * * *"``; needs ``pip install 'coopy[tasks]'``. Any worker of this program sees to it.
            zone: the time zone of ``cron``, as ``"Europe/Vienna"``; by default UTC.
            missed: what is done for the times of ``cron`` at which no worker ran: "once" sends one task for all of them, "skip" none, "all" one each.
            deadline: seconds after it was sent, or a timedelta, by which it must have ended. One that waits for longer never runs; one that runs is asked to
                stop, by force if it runs in a child process.
            concurrency_key: True, a text, or a function of the arguments: of those that have it in common, ``concurrency`` run at once.
            rate: how often it begins, as "10/s", "30/m", or (number, seconds), evenly, and by all workers together.
            keep: for how long the result is kept: seconds after its end, or a timedelta; 0 for not at all. By default for an hour after it was read, and
                a day if nobody does. Dead letters stay.
            lane: a name; workers may work for some lanes only.
            deliveries: how often it is given to a worker that ends in the middle of it, before it is dead.
        """
        if function:
            return self._task(function[0], {})
        return lambda function: self._task(function, options)

    def _task(self, function: Callable[..., Any], options: dict[str, Any]) -> Task[Any, Any]:
        options = dict(options)
        name = options.pop("name", None) or name_of(function)
        cron = {each: options.pop(each) for each in ("cron", "zone", "missed") if each in options}
        try:
            policy = Policy(**options)
        except TypeError as error:
            raise TypeError(f"task(): {error}") from None
        policy.check(name)
        found: Task[Any, Any] = Task(self, function, name, policy)
        self.defined[name] = found
        if cron.get("cron"):
            found._signature.bind()  # It is called without arguments.
            self.crons[name] = Cron(cron["cron"], cron.get("zone", ""), cron.get("missed", "once"))
        return found

    # -- sending

    def enqueue(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Has a function of a module be called by a worker, without any decoration: ``queue.enqueue(print, "hello")``. Returns a handle."""
        if isinstance(function, Task):
            return function.send(*args, **kwargs)
        name = name_of(function)
        return self._send(name, packed_call(name, args, kwargs, list(signature_of(function).parameters)), Options())

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Sends all tasks of the ``with`` block, of this thread, as one action at its end; none if it raises.

        >>> with queue.batch():
        ...     handles = [add.send(1, number) for number in range(1000)]
        """
        if getattr(self._local, "batch", None) is not None:
            raise UsageError("a batch of this queue is open in this thread already")
        self._local.batch = []
        try:
            yield
            batch = self._local.batch
        finally:
            self._local.batch = None
        if batch:
            numbers = self.change("put", [item for item, _ in batch])
            for number, (_, handle) in zip(numbers, batch, strict=True):
                handle._number, handle.is_new = abs(number), number > 0

    def _send(self, name: str, payload: bytes, options: Options) -> TaskHandle[Any]:
        # What has its default need not be recorded again with each task.
        item = name, payload, _shortened(options)
        batch = getattr(self._local, "batch", None)
        if batch is not None:
            handle: TaskHandle[Any] = TaskHandle(self, 0)
            batch.append((item, handle))
            return handle
        number = self.change("put", [item])[0]
        return TaskHandle(self, abs(number), number > 0)

    # -- looking

    def handle(self, id: int) -> TaskHandle[Any]:
        """Returns a handle of a task, by its number."""
        return TaskHandle(self, id)

    def dead(self, most: int = 100) -> list[Seen]:
        """Returns the tasks that have failed for good, at most so many, in the order in which they were sent; ``error`` of each says why."""
        return list(self.see("listed", DEAD, most))

    def listed(self, state: str = "", most: int = 100, name: str = "", after: int = 0) -> list[Seen]:
        """Returns tasks, in the order in which they were sent: in a state, of a name, after a number; at most so many."""
        found: list[Seen] = self.see("listed", state, most, name, after)
        return found

    def counts(self) -> dict[str, int]:
        """Returns how many tasks are "waiting", "later", "blocked", "running" and "kept"; how many were "sent" so far, and are "done", "dead", "cancelled"."""
        found: dict[str, int] = self.see("counts")
        return found

    def workers(self) -> list[dict[str, Any]]:
        """Returns the workers, with host, pid, and the numbers of the tasks that they have."""
        return [{"session": session, **about, "tasks": tasks} for session, about, tasks in self.see("sessions")]

    # -- working

    def worker(self, **options: Any) -> TaskWorker:
        """Returns a worker; see `TaskWorker` for its options. ``queue.worker(threads=4).run()`` works until the process is told to end."""
        return TaskWorker(self, **options)

    def drain(self) -> int:
        """Runs the tasks that may run now, in this thread, until there is none. Returns how many ran. For tests."""
        return self.worker().run_waiting()

    # -- results

    def _result_of(self, number: int, found: tuple[str, Any, Any]) -> Any:
        state, value, error = found
        self._was_read(number)
        if state == DONE:
            return unpacked(value) if value is not None else None
        if state == CANCELLED:
            raise TaskCancelled(f"task {number} was cancelled")
        if state != DEAD:
            raise _no_such(number)
        kind, text, _, _ = error
        own: type[TaskError] | None = getattr(task_errors, kind, None)
        if own in (TaskCrashed, DeadlinePassed):
            raise own(f"task {number}: {text}")
        raise unpacked_error(error)

    def _was_read(self, number: int) -> None:
        """Notes that a result was read. It is recorded with others, as nobody waits for that."""
        with self._lock:
            self._read.append(number)
            is_enough = len(self._read) >= _READ_TOGETHER
        if is_enough:
            self._say_what_was_read(self.system)

    def _say_what_was_read(self, system: Any) -> None:
        with self._lock:
            numbers, self._read = self._read, []
        if numbers:
            with suppress(CoopyError):  # Then they are kept for longer. Who has the results needs none of it.
                system.change_tasks("read", numbers)

    def __repr__(self) -> str:
        where = self._directory if self._directory is not None else "memory" if self._owns else repr(self._system)
        return f"<TaskQueue {where}>"


_READ_TOGETHER = 64  # So many results are noted as read by one action; what is left is noted as the queue is closed.
_DEFAULT = Options()


def _shortened(options: Options) -> tuple[Any, ...]:
    """Returns options without the defaults at their end."""
    if options == _DEFAULT:
        return ()
    values = tuple(options)
    number = len(values)
    while values[number - 1] == _DEFAULT[number - 1]:
        number -= 1
    return values[:number]


def _no_such(number: int) -> NoSuchTask:
    return NoSuchTask(
        f"there is no task {number}, or it has ended so long ago that its result is not kept any more; see keep= of the task"
    )


if TYPE_CHECKING:

    class _Decorator:
        """What ``queue.task(...)`` returns."""

        @overload
        def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...

        @overload
        def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...

        def __call__(self, function: Any, /) -> Any: ...
