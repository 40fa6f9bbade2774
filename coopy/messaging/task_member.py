"""What one process is to a queue while it works for it: a session, and a thread that keeps it.

The thread renews the session, asks running tasks to stop that were cancelled or whose time is over, and is told of changes. Time is counted by a
`coopy.sync.timekeeper.Timekeeper` of its own, as for locks. None of this needs the threads that run tasks, so a task may take as long as it likes.

**Who watches whom.** The workers of one directory are a ring, in the order in which they began, and each watches the pipes (`coopy.messaging.task_pipe`)
of the two after it. If one ends, one of the two before it says so, and watches the next; a pipe that nobody holds is seen at once. So however many end together, the first
living one before them says so of each. Two watch, because one of them may itself hang.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from coopy import CoopyError, SystemClosed, UsageError, control
from coopy.messaging import task_pipe
from coopy.messaging.task_calls import packed_call
from coopy.messaging.task_cron import Cron
from coopy.messaging.task_pipe import Pipe
from coopy.messaging.task_policy import Defined, signature_of
from coopy.messaging.task_run import TaskRun
from coopy.sync import Count
from coopy.sync.timekeeper import Timekeeper

RENEWALS = 3
"""So often a session is renewed in the time of its lease: two may fail."""
LOOK_S = 1.0
"""The thread looks so often, whatever it is told: for tasks whose time is over."""
LOOK_S_ALONE = 0.1
"""And so often where nothing tells of changes."""
TOLD_S = 0.005
"""A busy system has it look at most two hundred times a second whether a task was cancelled or a worker has gone."""
SOONER_S = 0.001
"""What comes that much sooner than when the thread looks next has it look again."""
LATE_S, LATE_MAX = 0.02, 50
"""Each worker leaves it that much longer to the ones before it to say that a time has come; a second at most."""
WATCHED = 2
"""So many of the workers after it each one watches."""
LATER_S = 0.01
"""The second of those who watch leaves it so long to the first to say that a worker has ended: nearly always it need not."""
GOODBYE_S = 2.0
"""A worker that ends gives its tasks back, but waits no longer for a system that does not answer."""


class Queue(Protocol):
    """What a worker asks of a `coopy.messaging.tasks.TaskQueue`."""

    lease: float

    @property
    def system(self) -> Any: ...

    @property
    def bell(self) -> Any: ...

    @property
    def defined(self) -> Mapping[str, Defined]: ...

    @property
    def crons(self) -> Mapping[str, Cron]: ...

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
        self.on_look: Callable[[], object] = _nothing_at_all
        """Called by the thread each second, at least."""
        self.closed = False
        self._number = 0
        self._lock = threading.Lock()
        self._version = self._seen = -1
        self._looks_at = 0.0
        self._due_at: float | None = None
        self._is_to_ring = False
        self._renewed_at = 0.0
        self._directory = ""
        self._pipe: Pipe | None = None
        with suppress(UsageError):  # A system in memory has no directory, and no other process.
            self._directory = control(queue.system).basedir
            self._pipe = _pipe(self._directory)
        if self._pipe is not None:
            self.about = {**about, **self._pipe.about}
        self._watched: dict[str, int] = {}
        """By session: the reading end of its pipe."""
        self._looks = selectors.DefaultSelector()
        self._hears, self._tells = socket.socketpair()
        self._hears.setblocking(False)
        self._tells.setblocking(False)
        self._looks.register(self._hears, selectors.EVENT_READ)
        self._timekeeper = Timekeeper(f"{self.name}/tasks", _Counting(queue))
        self._thread = threading.Thread(target=self._run, name=f"coopy tasks {self.name}", daemon=True)
        self._subscription: Any = None

    def start(self) -> None:
        """Begins the session. Raises what the system raises."""
        self.begin()
        self._plan()
        with suppress(UsageError):  # A process without a copy of the state is told of nothing.
            self._subscription = control(self.queue.system).subscribe(self._told)
        self._thread.start()
        self._timekeeper.start()

    def begin(self, ended: str = "") -> None:
        """Begins a session: the first one, or another one in place of one that has ended."""
        with self._lock:
            if self.session != ended:
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
        self._looks.close()
        for each in (self._hears, self._tells):
            each.close()
        for reader in self._watched.values():
            os.close(reader)
        if self._pipe is not None:
            self._pipe.close()

    def _say_goodbye(self) -> None:
        with suppress(CoopyError):  # Then it ends when its time is over.
            self.queue.change("end", self.session)

    # -- in the thread

    def _told(self, first: int, last: int) -> None:
        version, timer_s = self.queue.see("version"), self.queue.see("timer_in")
        if version != self._version or (timer_s is not None and time.monotonic() + timer_s < self._looks_at - SOONER_S):
            self._version = version
            self.wake()
        time.sleep(TOLD_S)

    def _run(self) -> None:
        wait_s = 0.0
        while not self.closed:
            self._looks_at = time.monotonic() + wait_s
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
        for key, _ in self._looks.select(seconds):
            if key.fileobj is self._hears:
                with suppress(BlockingIOError):
                    self._hears.recv(4096)
            else:
                self._hung_up(key.data)

    def _look(self) -> float:
        """Does what is due. Returns after how many seconds to look again."""
        self._version = self.queue.see("version")
        now = time.monotonic()
        every_s = self.queue.lease / RENEWALS
        if self._is_to_ring or now >= self._renewed_at + every_s:
            self._is_to_ring = False
            session = self.session
            if not self.queue.change("renew", session):
                self.begin(session)
            self._renewed_at = now
        if self._seen != self._version:
            self._seen = self._version
            self._watch()
        asked = {number: run for number, run in list(self.runs.items()) if not run.cancelled}
        stopping = self.queue.see("stopping", list(asked)) if asked else []
        for number, run in asked.items():
            left_s = run.seconds_left
            if number in stopping or (left_s is not None and left_s <= 0):
                run.ask_to_stop()
                self.on_asked(number)
        self.on_look()
        look_s = LOOK_S if self._subscription is not None else LOOK_S_ALONE
        return min(look_s, self._fire(), self._wake_timed(), max(0.0, self._renewed_at + every_s - time.monotonic()))

    # -- what has a time

    def _wake_timed(self) -> float:
        """Has tasks run whose time has come: the first worker of all does, and the others only if it does not. Returns after how many seconds to look."""
        timer_s: float | None = self.queue.see("timer_in")
        if timer_s is None:
            return LOOK_S
        place = next((place for place, (session, _, _) in enumerate(self.queue.see("sessions")) if session == self.session), 0)
        late_s = min(place, LATE_MAX) * LATE_S
        if timer_s > 0.0:
            self._due_at = None
            return timer_s + late_s
        if self._due_at is None and late_s:
            # Whoever is first may just be doing it.
            self._due_at = time.monotonic() + late_s
        if self._due_at is not None and time.monotonic() < self._due_at:
            return self._due_at - time.monotonic()
        self._due_at = None
        # The clock of the machine that writes may be behind: then it is tried again, and not at once.
        return 0.0 if self.queue.change("wake") else LATE_S

    def _plan(self) -> None:
        """Notes the schedules of this program, and takes out those of functions that have none any more."""
        there = [name for name, *_ in self.queue.see("schedules")]
        for name, cron in self.queue.crons.items():
            # Also what is noted by now: its options may have changed, as its lane has.
            defined = self.queue.defined[name]
            options = defined.policy.options(name, signature_of(defined.function), (), {})
            self.queue.change(
                "plan", name, cron.expression, cron.zone, cron.next_after(time.time()), packed_call(name, (), {}), options
            )
        for name in there:
            if name in self.queue.defined and name not in self.queue.crons:
                self.queue.change("plan", name, "", "", 0.0, b"", ())

    def _fire(self) -> float:
        """Sends the tasks of schedules that are due. Returns after how many seconds the next one is."""
        soonest_s, now = LOOK_S, time.time()
        for name, expression, zone, planned in self.queue.see("schedules") if self.queue.crons else ():
            own = self.queue.crons.get(name)
            if own is None:
                continue
            if planned <= now:
                # By the schedule that is noted, which may be that of a program that is newer than this one.
                cron = Cron(expression, zone, own.missed)
                self.queue.change("fire", name, planned, cron.next_after(now), cron.due(planned, now))
                soonest_s = 0.0
            soonest_s = min(soonest_s, max(0.0, planned - now))
        return soonest_s

    # -- the others

    def _watch(self) -> None:
        """Watches those after this one, and says of those that have ended that they have."""
        if self._pipe is None:
            return
        while True:
            there = self.queue.see("sessions")
            here = [(session, about) for session, about, _ in there if task_pipe.is_here(self._directory, about)]
            mine = [place for place, (session, _) in enumerate(here) if session == self.session]
            after = [*here[mine[0] + 1 :], *here[: mine[0]]][:WATCHED] if mine else []
            for session in set(self._watched) - {session for session, _ in after}:
                self._unwatch(session)
            gone = [
                (session, about)
                for session, about in after
                if session not in self._watched and not self._watches(session, about)
            ]
            for session, about in gone:
                self._say_gone(session, about)
            if not gone:
                return

    def _watches(self, session: str, about: dict[str, Any]) -> bool:
        """Watches a worker. Returns False if it has ended."""
        reader = task_pipe.watched(self._directory, about["pipe"])
        if reader < 0:
            return False
        self._watched[session] = reader
        self._looks.register(reader, selectors.EVENT_READ, (session, about))
        return True

    def _unwatch(self, session: str) -> None:
        reader = self._watched.pop(session)
        self._looks.unregister(reader)
        os.close(reader)

    def _hung_up(self, which: tuple[str, dict[str, Any]]) -> None:
        """Deals with a worker whose process has ended."""
        session, about = which
        is_first = next(iter(self._watched), None) == session
        self._unwatch(session)
        self._seen = -1
        if not is_first:
            time.sleep(LATER_S)
        with suppress(CoopyError):  # Who looks next finds that it has ended.
            self._say_gone(session, about)

    def _say_gone(self, session: str, about: dict[str, Any]) -> None:
        if any(session == each for each, _, _ in self.queue.see("sessions")):
            self.queue.change("end", session, True)
        task_pipe.remove(self._directory, about["pipe"])


def _pipe(directory: str) -> Pipe | None:
    """Returns a pipe of this process in a directory; None if there can be none, as on another machine than that of the system."""
    try:
        task_pipe.sweep(directory)
        return Pipe(directory)
    except OSError:
        return None


def _nothing_at_all() -> None:
    pass


def _nothing(number: int) -> None:
    pass
