"""PyDistributed's task queue: a broker, workers and clients, which find one another by two ports.

Below is a `coopy.messaging.TaskQueue` in a directory that the processes of this machine share, so a message that was published is not lost with any of
them. Each message goes to one worker, in turn; what the callback returns, or raises, comes back to the client. Programs that are written anew use
the `TaskQueue` itself: it has retries, priorities, times, and workers of other kinds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

import coopy
from coopy import CoopyError, SystemClosed, Unavailable, UsageError, init_system
from coopy.batteries import until
from coopy.messaging.queue_turns import TasksInTurn
from coopy.messaging.store_finding import LOCAL, Announced, Attached, port_of
from coopy.messaging.task_records import DEAD
from coopy.messaging.task_worker import TaskWorker
from coopy.messaging.tasks import TaskHandle, TaskQueue

if TYPE_CHECKING:
    from typing_extensions import Self

CLIENTS, WORKERS = "queue-clients", "queue-workers"
"""What a queue is called where ports lead to directories: each of the two is found by a port of its own."""
NAME = "message"
"""The name of all its tasks: which function a worker has for it, is the worker's."""
DIRECTORY = os.path.join("tmp", "queue.coopy")
FRONTEND_PORT, BACKEND_PORT = 5559, 5560
LOOK_S = 1.0
"""Who waits for a broker or a worker looks so often whether it is to end."""
TIMEOUT_S = 30.0
"""As long as a call of a shared system waits."""


class QueueBroker(threading.Thread):
    """A queue, open from its constructor on. `start` and `join` wait until it is shut down.

    Args:
        context: a `TaskQueue` that is open, whose system has turns; anything else, as a context of ZeroMQ, is not needed and does nothing.
        frontend_port, backend_port: by the first clients find it, by the second workers.
        directory: its data directory. What was published stays there until it is done, also if all processes end.
        options: others of `coopy.init_system`.

    >>> from coopy.messaging import QueueBroker, QueueClient, QueueWorker
    >>> with QueueBroker(None, 7003, 7004) as broker, QueueWorker(lambda number: number * number, "localhost", 7004), QueueClient("localhost", 7003) as client:
    ...     client.publish(7)
    49
    """

    def __init__(
        self,
        context: object = None,
        frontend_port: int | str = FRONTEND_PORT,
        backend_port: int | str = BACKEND_PORT,
        *,
        directory: str | os.PathLike[str] = DIRECTORY,
        **options: Any,
    ) -> None:
        super().__init__(name="coopy queue broker", daemon=True)
        ports = port_of("frontend_port", frontend_port), port_of("backend_port", backend_port)
        self.context = context
        self._ended = threading.Event()
        self._announced: list[Announced] = []
        self._system = _system_of(context)
        self._owns = self._system is None
        if self._system is None:
            path = os.path.abspath(directory)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._system = init_system(TasksInTurn, path, **{"shared": True, "validation": "off", **options})
        self.queue = TaskQueue(system=self._system)
        """The queue itself: ``broker.queue.dead()``, ``counts()``, ``workers()``."""
        is_open = False
        try:
            basedir = coopy.control(self._system).basedir
            for kind, port in zip((CLIENTS, WORKERS), ports, strict=True):
                self._announced.append(Announced(kind, TasksInTurn, basedir, port))
            is_open = True
        finally:
            if not is_open:
                self.shutdown()

    def run(self) -> None:
        """Waits until the broker is shut down."""
        self._ended.wait()

    def shutdown(self) -> None:
        """Gives out no more messages, and lets the directory go; messages that are not done stay there. Shutting down twice is fine."""
        while self._announced:
            self._announced.pop().withdraw()
        if self._owns:
            coopy.control(self._system).close()
        self._ended.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.shutdown()


class QueueWorker(threading.Thread):
    """A worker: once it is started, it calls a function with each message that it is given, one after the other.

    What the function returns is the answer to the client, and so is what it raises: the worker goes on. If its process ends in the middle of a message,
    another worker is given it. A worker waits for a broker that is not there yet, or comes again. `QueueBroker` shows one at work; of
    queues, see docs/guides/from-pydistributed.md.

    Args:
        callback: the function. Raises TypeError if it can't be called.
        host: "localhost".
        worker_port: the ``backend_port`` of the broker.
        context: as for `QueueBroker`.
    """

    def __init__(
        self,
        callback: Callable[[Any], Any],
        host: str = "localhost",
        worker_port: int | str = BACKEND_PORT,
        context: object = None,
    ) -> None:
        if not callable(callback):
            raise TypeError(f"callback={callback!r}: must be callable with a message")
        _refuse_elsewhere(host)
        super().__init__(name="coopy queue worker", daemon=True)
        self.callback = callback
        self.context = context
        self.worker_id = os.urandom(16).hex()
        """A name that no other worker has, 32 hexadecimal digits."""
        self._port = port_of("worker_port", worker_port)
        self._stopped = False
        self._wakes = threading.Event()
        self._ending = threading.RLock()
        self._calling = 0
        """The thread in which the callback runs."""

    def run(self) -> None:
        """Works until `shutdown`."""
        while not self._stopped:
            own = _system_of(self.context)
            if own is not None:
                self._work(own)
                return
            # A broker that shuts down while this worker begins is waited for like one that is not there.
            with suppress(Unavailable, SystemClosed):
                attached = Attached(WORKERS, TasksInTurn, LOOK_S, self._port, copy=True)
                try:
                    self._work(attached.system)
                finally:
                    attached.leave()

    def _work(self, system: Any) -> None:
        queue = TaskQueue(system=system)
        queue.task(name=NAME)(self._call)
        self._wakes.clear()
        worker = queue.worker()
        worker.start()
        try:
            # Before the system is closed in this process, the worker gives back what it has.
            coopy.control(system).before_closing(lambda: self._end(worker))
            if not self._stopped:
                self._wakes.wait()
        finally:
            self._end(worker)

    def _end(self, worker: TaskWorker) -> None:
        with self._ending:
            worker.stop()
        self._wakes.set()

    def _call(self, message: Any) -> Any:
        self._calling = threading.get_ident()
        try:
            return self.callback(message)
        finally:
            self._calling = 0

    def shutdown(self) -> None:
        """Takes no more messages, and waits for the one that it has, unless its callback calls this. Shutting down twice is fine."""
        self._stopped = True
        self._wakes.set()
        if self.is_alive() and threading.get_ident() not in (self.ident, self._calling):
            self.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.shutdown()


class QueueClient:
    """A client: it publishes messages, and gets the workers' answers. `QueueBroker` shows one at work; of queues, see
    docs/guides/from-pydistributed.md.

    Args:
        host: "localhost".
        client_port: the ``frontend_port`` of the broker.
        context: as for `QueueBroker`.
        timeout: so many seconds it waits for a broker, and, unless it is told to block, for a worker.
    """

    def __init__(
        self,
        host: str = "localhost",
        client_port: int | str = FRONTEND_PORT,
        context: object = None,
        *,
        timeout: float = TIMEOUT_S,
    ) -> None:
        _refuse_elsewhere(host)
        self.context = context
        self.client_id = os.urandom(16).hex()
        """A name that no other client has, 32 hexadecimal digits."""
        self._port = port_of("client_port", client_port)
        self._timeout_s = timeout
        self._lock = threading.Lock()
        self._attached: Attached[TasksInTurn] | None = None
        self._queue: TaskQueue | None = None

    @property
    def queue(self) -> TaskQueue:
        """The queue itself, which is found with the first use. Raises `Unavailable` if there is none in time."""
        with self._lock:
            if self._queue is None or coopy.control(self._queue.system).closed:
                if self._attached is not None:
                    self._attached.leave()
                    self._attached = None
                system = _system_of(self.context)
                if system is None:
                    self._attached = Attached(CLIENTS, TasksInTurn, self._timeout_s, self._port, copy=True)
                    system = self._attached.system
                self._queue = TaskQueue(system=system)
            return self._queue

    def submit(self, messagedata: Any) -> TaskHandle[Any]:
        """Publishes a message, and does not wait: ``handle.result(timeout=)``, ``await handle``, ``handle.cancel()``. Once it returns the message is not lost."""
        return self.queue.task(name=NAME)(_unknown).send(messagedata)

    def publish(self, messagedata: Any, block: bool = False) -> Any:
        """Publishes a message, and returns what the worker's callback returns. Raises what it raises.

        If there is no worker for ``timeout`` seconds, raises `Unavailable`, and the message is taken back; with ``block`` it is waited for, for ever.
        """
        handle, queue = self.submit(messagedata), self.queue
        until_s = time.monotonic() + self._timeout_s
        while not until(lambda: handle.done, min(LOOK_S, self._timeout_s), queue.system):
            if queue.workers():
                until_s = time.monotonic() + self._timeout_s
            elif not block and time.monotonic() >= until_s and handle.cancel():
                raise Unavailable(
                    f"no worker has come to the queue for {self._timeout_s:g} s, and so the message was taken back. Start a QueueWorker, or publish with "
                    f"block=True."
                )
        try:
            return handle.result()
        finally:
            if handle.state == DEAD:
                # What it has raised is known here now; it need not be looked at again.
                queue.change("forget", [handle.id])

    def shutdown(self) -> None:
        """Lets the queue go, which goes on. Shutting down twice is fine."""
        with self._lock:
            attached, self._attached, self._queue = self._attached, None, None
        if attached is not None:
            attached.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.shutdown()


def _unknown(messagedata: Any) -> Any:
    """Stands for the function of the worker, which the client does not know."""
    raise CoopyError(f"{messagedata!r}: a client runs nothing")


def _system_of(context: object) -> Any:
    return context.system if isinstance(context, TaskQueue) else None


def _refuse_elsewhere(host: str) -> None:
    if host not in LOCAL:
        raise UsageError(
            f"host={host!r}: the queue of PyDistributed's names is one machine's. Nothing was opened. For several machines, open a TaskQueue with "
            f"cluster=[...] on each, or give one that is open as context=."
        )
