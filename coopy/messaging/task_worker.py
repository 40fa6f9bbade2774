"""Runs tasks: in this thread, in several, in child processes, or in an event loop. It has more than 500 lines because these kinds of worker
share a loop, and differ in a few lines each.

Each *slot* of a worker is a loop: say what came of the last task and take the next, in one action; run it; and so on. A worker has one session
(`coopy.messaging.task_member`), whose end, for whatever reason, gives its tasks to others. In an event loop one slot takes all tasks.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from coopy import CoopyError, EncodingError, OutcomeUnknown, Unavailable, UsageError, control
from coopy.batteries import until
from coopy.batteries.waiting import until_in_loop
from coopy.ground.raised import on_failure
from coopy.messaging.task_bundle import Bundle
from coopy.messaging.task_calls import attempted
from coopy.messaging.task_child import Child
from coopy.messaging.task_member import Member, Queue
from coopy.messaging.task_records import CRASHED, Claim
from coopy.messaging.task_run import TaskRun
from coopy.messaging.task_running import Said, cancelled, ended, ended_in_loop, failed, reference, without_largest

if TYPE_CHECKING:
    from typing_extensions import Self

LOOK_S = 1.0
"""A slot that has nothing to do looks so often at least."""
AGAIN_S = 0.2
"""What could not be said is said again so soon: no majority, a process that writes and does not answer."""


class TaskWorker:
    """Runs the tasks of a queue.

    >>> queue.worker(threads=4).run()          # until SIGTERM or SIGINT
    >>> with queue.worker(threads=4):          # in the background, as long as the block goes on
    ...     add.send(1, 2).result(timeout=5)

    Args:
        queue: whose tasks.
        threads: how many run at once, each in a thread. With 1, which is the default, `run` runs them in its own thread.
        processes: how many run at once, each in a child process: for tasks that crash, hold the interpreter, or are to be ended by force.
        coroutines: how many run at once in an event loop; what is no coroutine runs in a thread.
        lanes: the lanes that it works for; None for all.
        prefetch: how many a slot takes at once. More than 1 is for tasks that take milliseconds: what came of all of them is said together, so if the
            process is killed in between, more of them run again that had ended. If one takes long, the others go back.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        threads: int = 0,
        processes: int = 0,
        coroutines: int = 0,
        lanes: Sequence[str] | None = None,
        prefetch: int = 1,
    ) -> None:
        given = {"threads": threads, "processes": processes, "coroutines": coroutines}
        if min(given.values()) < 0 or len([each for each in given.values() if each]) > 1 or prefetch < 1:
            said = ", ".join(f"{name}={value!r}" for name, value in given.items())
            raise UsageError(f"{said}, prefetch={prefetch!r}: one of the three must be given, and each must be at least 1")
        if isinstance(lanes, str):
            raise UsageError(f"lanes={lanes!r}: must be a list of lanes, as lanes=[{lanes!r}]")
        self.queue = queue
        self._kind = next((name for name, value in given.items() if value), "threads")
        self._number = max(1, *given.values())
        self._lanes = None if lanes is None else list(lanes)
        self._prefetch = prefetch
        self._stopping = False
        self._slots: list[threading.Thread] = []
        self._bundles = [Bundle() for _ in range(self._number)]
        self._children: list[Child] = [Child() for _ in range(processes)]
        self._stops: dict[int, Callable[[], object]] = {}
        """By number of a task: what has it stop. Each step on it is one of C."""
        self._member: Member | None = None
        self._ran = 0
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        """The one that has begun it."""
        self._ended = threading.Event()
        self._tries_until = 0.0
        """Until when a worker that is to stop says what it has to say to a queue that does not answer; 0 if it need not yet."""

    # -- beginning and ending

    def run(self) -> None:
        """Works until `stop` is called or, in the main thread, until SIGTERM or SIGINT. Tasks that run come to their end first.

        Raises what the system raises that can't be used any more.
        """
        if self._kind == "coroutines":
            asyncio.run(self._arun_until_signal())
            return
        before = self._on_signals()
        try:
            if self._number > 1 or self._children:
                self.start()
                for slot in self._slots:
                    slot.join()
            else:
                self._begin()
                self._work(0, False)
        finally:
            self._end()
            _restore(before)

    async def _arun_until_signal(self) -> None:
        before = self._on_signals()
        try:
            await self.arun()
        finally:
            _restore(before)

    async def arun(self) -> None:
        """Works in this event loop, until `stop`. If it is cancelled, its tasks are cancelled and go to other workers."""
        if self._kind != "coroutines":
            raise UsageError("arun() is for a worker with coroutines=, as queue.worker(coroutines=100)")
        with ThreadPoolExecutor(1, "coopy worker") as thread:
            loop = asyncio.get_running_loop()
            try:
                await loop.run_in_executor(thread, self._begin)
                await _Loop(self, thread).work()
            finally:
                await loop.run_in_executor(thread, self._end)

    def run_waiting(self) -> int:
        """Runs the tasks that may run now, in this thread, until there is none. Returns how many ran."""
        try:
            self._begin()
            self._work(0, True)
        finally:
            self._end()
        return self._ran

    def start(self) -> Self:
        """Works in threads of its own, until `stop`."""
        if self._kind == "coroutines":
            raise UsageError("a worker with coroutines= works in an event loop: call run(), or await arun()")
        with self._lock:
            self._begin()
            for number in range(self._number):
                slot = threading.Thread(target=self._work, args=(number, False), name=f"coopy worker {number}", daemon=True)
                self._slots.append(slot)
                slot.start()
        return self

    def stop(self) -> None:
        """Takes no more tasks, waits for those that run, and ends. Stopping twice is fine; a task that stops its own worker does not wait."""
        self._stopping = True
        with self._lock:  # It may just be beginning.
            member, me = self._member, threading.current_thread()
        if member is None or me in self._slots or (me is self._thread and not self._slots):
            return
        if not self._ended.is_set():
            member.ring()
        if self._slots:
            for slot in self._slots:
                slot.join()
            self._end()
        else:
            self._ended.wait()

    def _end(self) -> None:
        """Ends what is beside the slots, which have ended."""
        self._stopping = True
        with self._lock:
            if self._member is not None and not self._ended.is_set():
                self._member.close()
            for child in self._children:
                child.close()
            self._ended.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _begin(self) -> None:
        with self._lock:
            if self._thread is not None:
                raise UsageError("this worker has begun already; make another one with queue.worker()")
            self._thread = threading.current_thread()
        about = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "kind": self._kind,
            "number": self._number,
            "lanes": self._lanes,
        }
        member = Member(self.queue, about)
        member.on_asked = self._ask_to_stop
        member.on_look = self._unbundle
        member.start()
        self._member = member
        # A system that is closed ends its workers first, and is not kept by them.
        control(self.queue.system).before_closing(_weakly(self))

    def _on_signals(self) -> dict[int, Any]:
        """Has signals end it, if this is the main thread. Returns the handlers before."""
        if threading.current_thread() is not threading.main_thread():
            return {}

        def end(number: int, frame: object) -> None:
            if self._stopping and number == signal.SIGINT:
                raise KeyboardInterrupt  # The second Ctrl-C: whoever is there waits no longer.
            self._stopping = True
            if self._member is not None:
                self._member.ring_soon()

        return {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}

    def _ask_to_stop(self, number: int) -> None:
        stop = self._stops.get(number)
        if stop is not None:
            stop()

    @property
    def member(self) -> Member:
        """What it is to the queue, once it has begun."""
        assert self._member is not None, "it has begun"
        return self._member

    @property
    def stopping(self) -> bool:
        """Whether it takes no more tasks."""
        return self._stopping

    @property
    def most(self) -> int:
        """How many tasks it runs at once."""
        return self._number

    # -- a slot

    def _work(self, slot: int, only_waiting: bool) -> None:
        is_over = False
        try:
            self._work_on(slot, only_waiting)
            is_over = True
        finally:
            # One that can't go on ends the others: whoever started the worker is to see it.
            self._stopping = self._stopping or not is_over
            if not is_over:
                self._say_last(slot)

    def _say_last(self, slot: int) -> None:
        """Says what came of the tasks of a slot that can't go on."""
        outcomes = self._bundles[slot].said()
        if outcomes:
            with suppress(CoopyError):  # The end of the session has the tasks go back.
                self.queue.change("swap", self.member.session, self._lanes, 0, outcomes, slot, 0)

    def _work_on(self, slot: int, only_waiting: bool) -> None:
        bundle, is_waiting = self._bundles[slot], False
        while True:
            outcomes, number = bundle.said(), 0 if self._stopping else self._prefetch
            if is_waiting and not number:
                # What it was given in between goes back.
                self.swap(slot, 0, outcomes, 0, [], is_sure=False)
                return
            claims = self.swap(slot, number, outcomes, int(not only_waiting and number > 0), [])
            while True:
                bundle.takes(claims)
                while (claim := bundle.next(self._stopping)) is not None:
                    bundle.ends(self._run(slot, claim))
                if claims or self._stopping or only_waiting:
                    break
                claims, is_waiting = self._dealt(slot), True
                if not claims:
                    break
            if claims:
                is_waiting = False
            elif not is_waiting and (self._stopping or self.queue.see("due_in", self._lanes) != 0.0):
                return

    def _unbundle(self) -> None:
        """Says what came of tasks, and gives back what was not begun, where a task takes long that was taken together with them."""
        for slot, bundle in enumerate(self._bundles):
            outcomes, has = bundle.held_up()
            if outcomes:
                self.swap(slot, 0, outcomes, 0, has)

    def _run(self, slot: int, claim: Claim) -> Said:
        """Runs a task, and returns what came of it."""
        run = self.begun(claim)
        interrupted = claim.id, claim.token, CRASHED, "its worker was interrupted in the middle of it"
        try:
            # By Ctrl-C; or by a task that raises it itself, which must not end one worker after the other.
            with on_failure(self._bundles[slot].ends, interrupted):
                if not self._children:
                    return ended(claim, run, self.queue.defined, claim.name)
                name, problem = attempted(reference, self.queue.defined, claim.name)
                if problem is not None:  # It has none by which a child would find it.
                    return failed(claim, run, problem)
                child = self._children[slot]
                self._stops[claim.id] = child.stop
                return child.run(claim, name, run, self.report)
        finally:
            self.over(claim)

    def begun(self, claim: Claim) -> TaskRun:
        """Notes that a task runs here from now on."""
        run = TaskRun(claim, self.report)
        self.member.runs[claim.id] = run
        if claim.deadline:
            self.member.wake()
        return run

    def over(self, claim: Claim) -> None:
        """Notes that it does not run any more."""
        self._stops.pop(claim.id, None)
        self.member.runs.pop(claim.id, None)
        self._ran += 1

    def stops(self, claim: Claim, stop: Callable[[], object]) -> None:
        """Notes what has a task stop that runs."""
        self._stops[claim.id] = stop

    def report(self, number: int, token: int, progress: Any) -> None:
        """Says how far a task is."""
        with suppress(CoopyError):  # The task goes on all the same.
            self.queue.change("report", number, token, progress)

    # -- what is said and asked

    def swap(
        self, slot: int, number: int, outcomes: list[Said], waits: int, has: Sequence[int], is_sure: bool = True
    ) -> list[Claim]:
        """Says what came of tasks, and takes others; ``waits`` as of `Tasks.swap`; ``has`` are those that the slot goes on with.

        It is said again until it is heard; by a worker that is to stop, for as long as a lease: by then its tasks have gone to others. Unless ``is_sure``,
        the slot may have been given others. Raises what the system raises that can't be used any more.
        """
        member = self.member
        rest: tuple[Any, ...] = () if is_sure else (list(has),)
        if not number and not outcomes and is_sure:
            return []
        too_large = 0
        while True:
            session = member.session
            try:
                claims, version = self.queue.change("swap", session, self._lanes, number, outcomes, slot, waits, *rest)
            except EncodingError as error:  # Too large for one record: on a cluster, that has a limit.
                if too_large == len(outcomes):
                    raise
                too_large += 1
                outcomes = without_largest(outcomes, error)
                continue
            except (OutcomeUnknown, Unavailable):
                if self._stopping and not outcomes:
                    return []  # What it may have been given goes back with its session.
                if self._stopping and self._is_late():
                    raise
                # It may have been heard, and have given tasks of which nobody knows: they are taken back by the next one.
                rest = (list(has),)
                time.sleep(AGAIN_S)
                continue
            if version >= 0:
                return list(claims)
            # The session has ended, and with it all claims. What was said of them was heard, if it was not too late.
            outcomes = []
            member.begin(session)
            if not number:
                return []

    def _is_late(self) -> bool:
        """Whether a worker that is to stop has tried for long enough to say what came of its tasks."""
        now = time.monotonic()
        self._tries_until = self._tries_until or now + self.queue.lease
        return now >= self._tries_until

    def _dealt(self, slot: int) -> list[Claim]:
        """Waits until a slot is given tasks, the worker is to end, or its session has ended. Returns the tasks."""
        session = self.member.session
        while True:
            found = until(lambda: self._stopping or self.has_news(session, slot, ()), LOOK_S, self.queue.bell)
            if found:
                return found if isinstance(found, list) else []

    def has_news(self, session: str, slot: int, has: Sequence[int]) -> list[Claim] | bool:
        """Returns the tasks that a slot was given while it waited; True if the session has ended; False if there is nothing new."""
        found: list[Claim] | None = self.queue.see("dealt", session, slot, has)
        return True if found is None else found or False


def _weakly(worker: TaskWorker) -> Callable[[], object]:
    """Returns what stops a worker and does not keep it."""
    reference = weakref.ref(worker)

    def stop() -> None:
        found = reference()
        if found is not None:
            found.stop()

    return stop


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


class _Loop:
    """The one slot of a worker in an event loop: tasks run together, and a thread makes the calls of the queue."""

    def __init__(self, worker: TaskWorker, thread: ThreadPoolExecutor) -> None:
        self._worker = worker
        self._thread = thread
        self._loop = asyncio.get_running_loop()
        self._running: dict[asyncio.Task[Said], TaskRun] = {}
        self._waits = 0
        """How many tasks it waits for, by what it has said last."""

    async def work(self) -> None:
        """Works until the worker is to stop, and its tasks have ended."""
        worker, running = self._worker, self._running
        outcomes: list[Said] = []
        try:
            while True:
                room = 0 if worker.stopping else worker.most - len(running)
                if outcomes or room != self._waits:
                    self._start(await self._swap(room, outcomes))
                if worker.stopping and not running:
                    return
                outcomes = await self._wait()
        finally:
            if running:
                for task in running:
                    task.cancel()
                await asyncio.wait(running)
                await self._swap(0, [_outcome(task, run) for task, run in running.items()])

    async def _swap(self, room: int, outcomes: list[Said]) -> list[Claim]:
        has = [run.id for run in self._running.values()]
        found = await self._loop.run_in_executor(
            self._thread, lambda: self._worker.swap(0, room, outcomes, room, has, is_sure=room > 0)
        )
        self._session = self._worker.member.session
        self._waits = max(0, room - len(found))
        return found

    def _start(self, claims: list[Claim]) -> None:
        worker = self._worker
        for claim in claims:
            run = worker.begun(claim)
            task = self._loop.create_task(ended_in_loop(claim, run, worker.queue.defined))
            self._running[task] = run
            worker.stops(claim, partial(self._loop.call_soon_threadsafe, task.cancel))
            if run.cancelled:
                task.cancel()

    async def _wait(self) -> list[Said]:
        """Waits until a task has ended, or another one was given. Returns what came of those that have ended."""
        worker, running = self._worker, self._running
        has = [run.id for run in running.values()]
        was_stopping = worker.stopping

        async def news() -> object:
            return not was_stopping and (worker.stopping or (self._waits and worker.has_news(self._session, 0, has)))

        bell = self._loop.create_task(until_in_loop(news, LOOK_S, worker.queue.bell))
        try:
            await asyncio.wait({bell, *running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            bell.cancel()
            await asyncio.wait({bell})
        found = None if bell.cancelled() else bell.result()
        if isinstance(found, list):
            self._waits -= len(found)
            self._start(found)
        elif found is True and not worker.stopping:
            self._waits = -1  # The session has ended: another one begins with the next call.
        outcomes = []
        for task in [each for each in running if each.done()]:
            run = running.pop(task)
            worker.over(run.claim)
            outcomes.append(_outcome(task, run))
        return outcomes


def _outcome(task: asyncio.Task[Said], run: TaskRun) -> Said:
    """Returns what came of a task that has ended, perhaps before its first step."""
    return cancelled(run.claim, run) if task.cancelled() else task.result()
