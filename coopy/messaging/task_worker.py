"""Runs tasks: in this thread, in several, in child processes, or in an event loop.

Each *slot* of a worker is a loop: say what came of the last task and take the next, in one action; run it; and so on. A worker has one session
(`coopy.messaging.task_member`), whose end, for whatever reason, gives its tasks to others.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from coopy import OutcomeUnknown, SystemClosed, Unavailable, UsageError
from coopy.batteries import until
from coopy.messaging.task_calls import attempted, found, packed, packed_error, unpacked
from coopy.messaging.task_errors import TaskCancelled
from coopy.messaging.task_member import Member, Queue
from coopy.messaging.task_policy import Defined, Policy
from coopy.messaging.task_records import BACK, FAILED, FINISHED, STOPPED, Claim
from coopy.messaging.task_run import TaskRun, running

if TYPE_CHECKING:
    from typing_extensions import Self

LOOK_S = 1.0
"""A slot that has nothing to do looks so often at least: where nothing tells of changes, and for its end."""
FLUSH_S = 0.05
"""What came of tasks is said so soon, although more tasks are there that were taken together."""
PAUSE_S = 0.02
"""A slot that was told of a task and got none does not ask again at once: the clock of the machine that writes may be behind."""
SOONER_S = 0.001
"""What comes that much sooner than what a slot waits for has it look again."""
AGAIN_S = 0.2
"""What could not be said is said again so soon: no majority, a disk that is full."""


class TaskWorker:
    """Runs the tasks of a queue.

    >>> queue.worker(threads=4).run()          # until SIGTERM or SIGINT
    >>> with queue.worker(threads=4):          # in the background, as long as the block goes on
    ...     add.send(1, 2).result(timeout=5)

    Args:
        queue: whose tasks.
        threads: how many run at once. With 1, `run` runs them in its own thread.
        lanes: the lanes that it works for; None for all.
        prefetch: how many a slot takes at once. More than 1 is for tasks that take milliseconds: they wait for each other, and if the process is killed,
            those of them that have ended and were not said to have run again.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        threads: int = 1,
        lanes: Sequence[str] | None = None,
        prefetch: int = 1,
    ) -> None:
        if threads < 1 or prefetch < 1:
            raise UsageError(f"threads={threads!r}, prefetch={prefetch!r}: must be at least 1")
        self.queue = queue
        self._threads = threads
        self._lanes = None if lanes is None else list(lanes)
        self._prefetch = prefetch
        self._stopping = False
        self._slots: list[threading.Thread] = []
        self._member: Member | None = None
        self._ran = 0

    # -- beginning and ending

    def run(self) -> None:
        """Works until `stop` is called or, in the main thread, until SIGTERM or SIGINT. Tasks that run come to their end first.

        Raises what the system raises that can't be used any more.
        """
        before = self._on_signals()
        try:
            if self._threads > 1:
                self.start()
                for slot in self._slots:
                    slot.join()
            else:
                self._begin()
                self._work(0, False)
        finally:
            self.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def run_waiting(self) -> int:
        """Runs the tasks that may run now, in this thread, until there is none. Returns how many ran."""
        self._begin()
        try:
            self._work(0, True)
        finally:
            self.stop()
        return self._ran

    def start(self) -> Self:
        """Works in threads of its own, until `stop`."""
        self._begin()
        for number in range(self._threads):
            slot = threading.Thread(target=self._work, args=(number, False), name=f"coopy worker {number}", daemon=True)
            self._slots.append(slot)
            slot.start()
        return self

    def stop(self) -> None:
        """Takes no more tasks, waits for those that run, and ends. Stopping twice is fine."""
        self._stopping = True
        member = self._member
        if member is None:
            return
        if any(slot.is_alive() for slot in self._slots):
            member.ring()
        for slot in self._slots:
            if slot is not threading.current_thread():
                slot.join()
        member.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _begin(self) -> None:
        if self._member is not None:
            raise UsageError("this worker has begun already; make another one with queue.worker()")
        about = {"host": socket.gethostname(), "pid": os.getpid(), "threads": self._threads, "lanes": self._lanes}
        self._member = Member(self.queue, about)
        self._member.start()

    def _on_signals(self) -> dict[int, Any]:
        """Has signals end it, if this is the main thread. Returns the handlers before."""
        if threading.current_thread() is not threading.main_thread():
            return {}

        def end(number: int, frame: object) -> None:
            self._stopping = True
            if self._member is not None:
                self._member.ring_soon()

        return {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}

    # -- a slot

    def _work(self, slot: int, only_waiting: bool) -> None:
        is_over = False
        try:
            self._work_on(slot, only_waiting)
            is_over = True
        finally:
            # One that can't go on ends the others: whoever started the worker is to see it.
            self._stopping = self._stopping or not is_over

    def _work_on(self, slot: int, only_waiting: bool) -> None:
        said: list[tuple[Any, ...]] = []
        while True:
            claims = self._swap(slot, 0 if self._stopping else self._prefetch, said)
            said = []
            if claims:
                said = self._run_all(slot, claims)
            elif self._stopping or (only_waiting and self.queue.see("due_in", self._lanes) != 0.0):
                return
            else:
                self._wait()

    def _run_all(self, slot: int, claims: list[Claim]) -> list[tuple[Any, ...]]:
        """Runs tasks. Returns what came of those of which that was not said yet."""
        said: list[tuple[Any, ...]] = []
        since = time.monotonic()
        for place, claim in enumerate(claims):
            if self._stopping and place:
                said.append((claim.id, claim.token, BACK))
                continue
            said.append(self._outcome(claim))
            if place + 1 < len(claims) and time.monotonic() > since + FLUSH_S:
                self._swap(slot, 0, said)
                said, since = [], time.monotonic()
        return said

    def _outcome(self, claim: Claim) -> tuple[Any, ...]:
        """Runs a task, and returns what came of it."""
        member = self._member
        assert member is not None, "it has begun"
        run = TaskRun(claim, lambda *said: self.queue.change("report", *said))
        member.runs[claim.id] = run
        token = running(run)
        try:
            value, error = attempted(self._called, claim)
        finally:
            token.var.reset(token)
            member.runs.pop(claim.id, None)
            self._ran += 1
        return self._said(claim, run, value, error)

    def _called(self, claim: Claim) -> bytes | None:
        """Calls the function of a task. Returns what it has returned, packed."""
        args, kwargs = unpacked(claim.payload)
        value = self._function(claim.name)(*args, **kwargs)
        if isinstance(value, Coroutine):
            value = asyncio.run(value)
        return None if value is None else packed(value)

    def _function(self, name: str) -> Callable[..., Any]:
        thing = self.queue.defined.get(name) or found(name)
        function: Callable[..., Any] = thing.function if isinstance(thing, Defined) else thing
        return function

    def _policy(self, name: str) -> Policy:
        task = self.queue.defined.get(name) or attempted(found, name)[0]
        return task.policy if isinstance(task, Defined) else Policy()

    def _said(self, claim: Claim, run: TaskRun, value: bytes | None, error: BaseException | None) -> tuple[Any, ...]:
        if error is None:
            return (claim.id, claim.token, FINISHED, value) if value is not None else (claim.id, claim.token, FINISHED)
        if isinstance(error, TaskCancelled) and run.cancelled:
            return claim.id, claim.token, STOPPED
        retry_s = self._policy(claim.name).retry_after(error, claim.failures + 1)
        return claim.id, claim.token, FAILED, packed_error(error), retry_s

    # -- what is said and asked

    def _swap(self, slot: int, number: int, said: list[tuple[Any, ...]]) -> list[Claim]:
        """Says what came of tasks, and takes others. Is said again until it is heard. Raises what the system raises that can't be used any more."""
        member = self._member
        assert member is not None, "it has begun"
        rest: tuple[Any, ...] = ()
        if not number and not said:
            return []
        while True:
            try:
                claims, version = self.queue.change("swap", member.session, self._lanes, number, said, slot, *rest)
            except (OutcomeUnknown, Unavailable, OSError) as error:
                if isinstance(error, SystemClosed):
                    raise
                # It may have been heard, and have given tasks that nobody knows of: they are given back by the next one.
                rest = ([],)
                time.sleep(AGAIN_S)
                continue
            if version >= 0:
                return list(claims)
            said = []
            if not number:
                return []
            member.begin()

    def _wait(self) -> None:
        """Waits until there may be a task."""
        queue = self.queue
        due_s = queue.see("due_in", self._lanes)
        if due_s == 0.0:
            time.sleep(PAUSE_S)
            return
        until_s = time.monotonic() + (LOOK_S if due_s is None else min(LOOK_S, due_s))

        def is_to_look() -> bool:
            soon_s = queue.see("due_in", self._lanes)
            return self._stopping or (soon_s is not None and (not soon_s or time.monotonic() + soon_s < until_s - SOONER_S))

        until(is_to_look, max(0.0, until_s - time.monotonic()), queue.system)
