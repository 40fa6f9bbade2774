"""What one process is to a queue while it works for it: a session, and a thread that keeps it.

The thread renews the session, asks running tasks to stop that were cancelled or whose time is over, and is told of changes. Time is counted by a
`coopy.sync.timekeeper.Timekeeper` of its own, as for locks. None of this needs the threads that run tasks, so a task may take as long as it likes.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from coopy import CoopyError, SystemClosed, control
from coopy.messaging.task_policy import Defined
from coopy.messaging.task_run import TaskRun
from coopy.sync import Count
from coopy.sync.timekeeper import Timekeeper

RENEWALS = 3
"""So often a session is renewed in the time of its lease: two may fail."""
LOOK_S = 1.0
"""The thread looks so often, whatever it is told: for tasks whose time is over, and where nothing tells of changes."""
TOLD_S = 0.005
"""A busy system has it look at most two hundred times a second whether a task was cancelled or a worker has gone."""
GOODBYE_S = 2.0
"""A worker that ends gives its tasks back, but waits no longer for a system that does not answer."""


class Queue(Protocol):
    """What a worker asks of a `coopy.messaging.tasks.TaskQueue`."""

    lease: float

    @property
    def system(self) -> Any: ...

    @property
    def defined(self) -> Mapping[str, Defined]: ...

    def change(self, what: str, *args: Any) -> Any: ...

    def see(self, what: str, *args: Any) -> Any: ...


class _Counting:
    """The system of a queue, as a timekeeper sees it."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def count(self) -> Count:
        found: Count = self._queue.see("count")
        return found

    def tick(self, timekeeper: str, beat: int, elapsed_ns: int) -> object:
        return self._queue.change("tick", timekeeper, beat, elapsed_ns)

    def claim(self, timekeeper: str, beat: int, anew: bool) -> object:
        return self._queue.change("claim", timekeeper, beat, anew)

    def leads(self) -> bool:
        status = control(self._queue.system).status()
        return "leader" not in status or status["leader"] == status["self"]


class Member:
    """This process, as a worker of a queue. Its members may be called by any thread."""

    def __init__(self, queue: Queue, about: dict[str, Any]) -> None:
        self.queue = queue
        self.name = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(6).hex()}"
        self.session = ""
        self.about = about
        self.runs: dict[int, TaskRun] = {}
        """By number: the tasks that run here. Each step on it is one of C."""
        self.on_asked: Callable[[int], object] = _nothing
        """Called with the number of a task that was just asked to stop, or whose time is over."""
        self.closed = False
        self._number = 0
        self._lock = threading.Lock()
        self._version = -1
        self._is_to_ring = False
        self._renewed_at = 0.0
        self._hears, self._tells = socket.socketpair()
        self._hears.setblocking(False)
        self._tells.setblocking(False)
        self._timekeeper = Timekeeper(f"{self.name}/tasks", _Counting(queue))
        self._thread = threading.Thread(target=self._run, name=f"coopy tasks {self.name}", daemon=True)
        self._subscription: Any = None

    def start(self) -> None:
        """Begins the session. Raises what the system raises."""
        self.begin()
        self._subscription = control(self.queue.system).subscribe(self._told)
        self._thread.start()
        self._timekeeper.start()

    def begin(self) -> None:
        """Begins a session: the first one, or another one if it has ended."""
        with self._lock:
            if self.session and self.queue.change("renew", self.session):
                return  # Another thread was quicker.
            self._number += 1
            session = f"{self.name}/{self._number}"
            self.queue.change("begin", session, self.queue.lease, self.about)
            self.session = session
            self._renewed_at = time.monotonic()
        self._timekeeper.wake()

    def wake(self) -> None:
        """Has the thread look. May be called by a signal handler, and in between of anything."""
        with suppress(OSError):
            self._tells.send(b"\0")

    def ring(self) -> None:
        """Has all slots look that wait: each action wakes them."""
        with suppress(CoopyError):  # Then they look by themselves, a second later.
            self.queue.change("renew", self.session)

    def ring_soon(self) -> None:
        """Does so in the thread. May be called by a signal handler."""
        self._is_to_ring = True
        self.wake()

    def close(self) -> None:
        """Ends the session in order: tasks that were not begun go to others at once. Closing twice is fine."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
        self.wake()
        self._timekeeper.close()
        goodbye = threading.Thread(target=self._say_goodbye, name="coopy tasks goodbye", daemon=True)
        goodbye.start()
        goodbye.join(GOODBYE_S)
        if self._subscription is not None:
            self._subscription.close()
        if self._thread.is_alive():
            self._thread.join()
        self._hears.close()
        self._tells.close()

    def _say_goodbye(self) -> None:
        with suppress(CoopyError):  # Then it ends when its time is over.
            self.queue.change("end", self.session)

    # -- in the thread

    def _told(self, first: int, last: int) -> None:
        version = self.queue.see("version")
        if version != self._version:
            self._version = version
            self.wake()
        time.sleep(TOLD_S)

    def _run(self) -> None:
        wait_s = 0.0
        while not self.closed:
            self._wait(wait_s)
            if self.closed:
                return
            try:
                wait_s = self._look()
            except SystemClosed:
                return
            except CoopyError:  # No majority, a full disk: it is tried again, and tasks go on meanwhile.
                wait_s = LOOK_S

    def _wait(self, seconds: float) -> None:
        ready, _, _ = select.select([self._hears], [], [], seconds)
        if ready:
            with suppress(BlockingIOError):
                self._hears.recv(4096)

    def _look(self) -> float:
        """Does what is due. Returns after how many seconds to look again."""
        now = time.monotonic()
        every_s = self.queue.lease / RENEWALS
        if self._is_to_ring or now >= self._renewed_at + every_s:
            self._is_to_ring = False
            if not self.queue.change("renew", self.session):
                self.begin()
            self._renewed_at = now
        asked = {number: run for number, run in list(self.runs.items()) if not run.cancelled}
        stopping = self.queue.see("stopping", list(asked)) if asked else []
        for number, run in asked.items():
            left_s = run.seconds_left
            if number in stopping or (left_s is not None and left_s <= 0):
                run.ask_to_stop()
                self.on_asked(number)
        return min(LOOK_S, max(0.0, self._renewed_at + every_s - time.monotonic()))


def _nothing(number: int) -> None:
    pass
