"""The state of a task queue: which tasks there are, who has which, and what came of them. It has more than 500 lines because each call of
it changes the same few tables, and keeps one promise with them: a task is in one place at a time.

`Tasks` is a plain class: a system of its own, or an attribute of another class, whose actions then send and end tasks together with
whatever else they change. Nobody waits here, and no task runs here: `coopy.messaging.tasks` and `coopy.messaging.task_worker` call it.

A task that is not over is in one place: among those that may run (a heap for each lane), among those that have to wait for a time (one heap), parked
at a gate, or with a session. A heap may have numbers of tasks that have gone elsewhere since; they are dropped when they come up. Each step is
O(log n) in the number of tasks.

*Which time counts.* Delays, deadlines, rates and results go by the time of the action. A session, which is the lease of a worker, goes by counted time
(`coopy.sync.Ticks`), so that no clock that is set wrongly ends it. What a worker says of a task is heard only with the token of the claim by which
it has it: who was taken for dead and comes back changes nothing.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Any, Protocol

from coopy import UsageError, abort_exception, clock, readonly
from coopy.messaging.task_calls import packed
from coopy.messaging.task_gates import Gate
from coopy.messaging.task_records import (
    BLOCKED,
    CANCELLED,
    CRASHED,
    DEAD,
    DONE,
    FAILED,
    FINISHED,
    LATER,
    MOST_S,
    NS,
    OVER,
    READ_S,
    RUNNING,
    STOPPED,
    UNREAD_S,
    WAITING,
    Claim,
    Job,
    Options,
    Outcome,
    Schedule,
    Seen,
    Session,
    seen,
)
from coopy.sync import Count, Ticks

KEPT_MAX = 100_000
"""So many tasks that are over are kept; the oldest of them go first. With a result of 100 bytes each they take some 70 MB."""
_TIDIED = 64  # So many results go with one action at most, so that none takes long; more than one action brings.
_PLAIN = Options()
_JOB, _GATE, _END = 0, 1, 2
"""What has a time: a task that waits for it, a rate that opens, a task that must have ended."""
_EARLY_NS = NS
"""A clock that is that much ahead of the one that stamps actions may still say that a schedule is due."""


class Sendable(Protocol):
    """A task function, as `coopy.messaging.tasks.Task` is one."""

    name: str

    def options_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Options:
        """Returns what is said of a task with these arguments."""
        ...


def _now_ns() -> int:
    return round(clock.time() * NS)


class Tasks:
    """Tasks, workers and results. Programs use it by way of a `TaskQueue`; actions of the same system use `send`, `finish` and `cancel`.

    >>> tasks = Tasks()
    >>> tasks.send("shop:mail", "ann@example.org")
    1
    >>> tasks.begin("a worker", 30.0)
    True
    >>> (claim,), version = tasks.swap("a worker")
    >>> claim.name, claim.payload, tasks.swap("a worker")[0]
    ('shop:mail', (('ann@example.org',), {}), [])
    >>> tasks.finish(claim, "sent"), tasks.finish(claim, "again"), tasks.look(1).state
    (True, False, 'done')
    """

    def __init__(self) -> None:
        self.ticks = Ticks()
        self.changes = 0
        """How often a session came or went, or a running task was asked to stop."""
        self._last = 0
        """The number of the newest task."""
        self._token = 0
        self._jobs: dict[int, Job] = {}
        self._ready: dict[str, list[tuple[int, int]]] = {}
        """By lane: priority, negated, and number; a heap."""
        self._timed: list[tuple[int, int, Any]] = []
        """When, what of, and a number or a name; a heap."""
        self._sessions: dict[str, Session] = {}
        self._idle: dict[tuple[str, int], tuple[list[str] | None, int]] = {}
        """By session and slot, in the order in which they began to wait: the lanes, and how many tasks it waits for."""
        self._keys: dict[str, Gate] = {}
        self._rates: dict[str, Gate] = {}
        self._unique: dict[str, int] = {}
        self._dead: dict[int, None] = {}
        self._over: deque[int] = deque()
        """Tasks that are over, in the order in which they ended."""
        self._expiring: list[tuple[int, int]] = []
        self._schedules: dict[str, Schedule] = {}
        self._counts: dict[str, int] = {}
        """By state: how many tasks are in it now; and how many were sent and have ended in which way so far."""

    # -- sending

    def send(self, task: str | Sendable, *args: Any, **kwargs: Any) -> int:
        """Makes a task, in an action of the same system: with it, or not at all. Returns its number; that of the one that is there, if it is to be unique.

        The arguments are copied.
        """
        name = task if isinstance(task, str) else task.name
        options = Options() if isinstance(task, str) else task.options_for(args, kwargs)
        return abs(self.put([(name, copy.deepcopy((args, kwargs)), options)])[0])

    @abort_exception
    def put(self, items: Sequence[tuple[str, Any, Sequence[Any]]]) -> list[int]:
        """Makes tasks: of each its name, its payload, and its `Options`. Returns their numbers; less than 0 for one that is there already. Raises `UsageError`."""
        now = _now_ns()
        given = [(name, payload, _checked(name, Options(*options)) if options else _PLAIN) for name, payload, options in items]
        found = [self._put(name, payload, options, now) for name, payload, options in given]
        self._deal(now)
        self._tidy(now)
        return found

    def _put(self, name: str, payload: Any, options: Options, now: int) -> int:
        if options.unique and options.unique in self._unique:
            return -self._unique[options.unique]
        self._last += 1
        job = self._jobs[self._last] = Job(self._last, name, payload, options, now)
        if options.unique:
            self._unique[options.unique] = job.number
        self._count("sent")
        if job.until_ns:
            heappush(self._timed, (job.until_ns, _END, job.number))
        self._wait_until(job, max(now + round(options.delay * NS), round(options.at * NS)), now)
        return job.number

    # -- working

    def begin(self, session: str, ttl: float, about: dict[str, Any] | None = None) -> bool:
        """Begins a session, which lasts ``ttl`` seconds from each renewal. Returns False if it is there already, and then renews it."""
        if session in self._sessions:
            self.ticks.renew(session)
            return False
        self.ticks.begin(session, max(1, round(ttl * NS)))
        self._sessions[session] = Session(session, dict(about or {}), _now_ns())
        self.changes += 1
        return True

    def renew(self, session: str) -> bool:
        """Gives a session its full time again. Returns False if it has ended."""
        return session in self._sessions and self.ticks.renew(session)

    def end(self, session: str, has_crashed: bool = False) -> bool:
        """Ends a session. Its tasks may run again at once; a crash is counted for each. Returns whether there was one."""
        found = self._sessions.pop(session, None)
        if found is None:
            return False
        self.ticks.end(session)
        self.changes += 1
        now = _now_ns()
        for each in [each for each in self._idle if each[0] == session]:
            del self._idle[each]
        for number in list(found.running):
            self._leave(self._jobs[number])
            self._back(self._jobs[number], has_crashed, "the worker that had it ended in the middle of it", now)
        self._deal(now)
        return True

    def wake(self) -> bool:
        """Deals with what has a time that has come. Returns whether there was something. To be called when `timer_in` says 0.0."""
        now = _now_ns()
        found = self._wake(now)
        self._deal(now)
        return found

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
        """Hears what a worker says of tasks that it had, and gives it others, in one action. Returns these, and `changes`; -1 if the session has ended.

        ``lanes``: those that it works for, None for all. A task whose worker has crashed is given alone, so that it can take no other with it.
        What is said of a task with an old token is dropped. ``slot`` is a number for who asks, of several of a session. If fewer tasks than
        ``waits`` are there, the others are given to it later, in the action that brings them: see `dealt`. Another call of the slot ends that. If it
        does not know what came of an earlier call, ``has`` are the tasks that it knows to have, and what else it was given is taken back.
        """
        now = _now_ns()
        # All of them first: one that is none must fail with nothing changed.
        for each in [_sound(Outcome(*each)) for each in outcomes]:
            self._hear(each, now)
        self._wake(now)
        owner = self._sessions.get(session)
        if owner is None:
            return [], -1
        if has is not None:
            self._take_back(owner, slot, has, now)
        found: list[Claim] = []
        while len(found) < number:
            job = self._next(lanes, now, not found)
            if job is None:
                break
            found.append(self._give(job, owner, slot, now))
            if job.crashes:
                break
        self._idle.pop((session, slot), None)
        if waits > len(found):
            self._idle[session, slot] = None if lanes is None else list(lanes), waits - len(found)
        self._deal(now)
        self._tidy(now)
        return found, self.changes

    def finish(self, claim: Sequence[Any], value: Any = None) -> bool:
        """Says in an action of the same system that a task has returned: what the action does, and the end of the task, are one.

        Returns False if another worker has the task by now, or it is over: then the action should do nothing. To be called first::

            def book(self, claim, amount):
                if self.tasks.finish(claim):
                    self.balance += amount
        """
        job = self._held(claim[0], claim[1])
        if job is None:
            return False
        now = _now_ns()
        # Bytes are what a worker has encoded.
        said = packed(value) if isinstance(value, bytes) else value
        self._hear(Outcome(claim[0], claim[1], FINISHED, said), now)
        self._deal(now)
        return True

    def report(self, number: int, token: int, progress: Any) -> bool:
        """Notes how far a task is. Returns False if another worker has it by now, or it is to stop."""
        job = self._held(number, token)
        if job is None:
            return False
        job.progress = progress
        return not job.asked_to_stop

    # -- looking after tasks

    def cancel(self, number: int) -> bool:
        """Has a task not run, or asks the one that runs to stop. Returns whether it was not over."""
        job = self._jobs.get(number)
        if job is None or job.state in OVER:
            return False
        if job.state == RUNNING:
            if not job.asked_to_stop:
                job.asked_to_stop = True
                self.changes += 1
            return True
        now = _now_ns()
        self._end(job, CANCELLED, now)
        self._deal(now)
        return True

    def retry(self, number: int) -> bool:
        """Has a task that is dead, cancelled or waits for a time run at once, as if it had never failed. Returns whether it was such a one."""
        job = self._jobs.get(number)
        if job is None or job.state not in (DEAD, CANCELLED, LATER):
            return False
        unique = job.options.unique
        if unique and self._unique.setdefault(unique, number) != number:
            return False
        now = _now_ns()
        if job.state in OVER:
            self._dead.pop(number, None)
            job.until_ns = now + round(job.options.deadline * NS) if job.options.deadline else 0
            if job.until_ns:
                heappush(self._timed, (job.until_ns, _END, number))
        job.crashes = job.failures = job.expires_ns = job.ended_ns = 0
        job.asked_to_stop = job.was_read = False
        self._ready_again(job)
        self._deal(now)
        return True

    def read(self, numbers: Sequence[int]) -> None:
        """Notes that results were read: they go an hour later, unless the task says otherwise."""
        now = _now_ns()
        for number in numbers:
            job = self._jobs.get(number)
            if job is not None and job.state in (DONE, CANCELLED) and not job.was_read:
                job.was_read = True
                if job.options.keep < 0:
                    self._expire(job, now + round(READ_S * NS))
        self._tidy(now)

    def forget(self, numbers: Sequence[int]) -> int:
        """Removes tasks that are over, dead ones too. Returns how many."""
        found = [number for number in numbers if number in self._jobs and self._jobs[number].state in OVER]
        for number in found:
            self._remove(self._jobs[number])
        return len(found)

    # -- schedules

    def plan(self, name: str, expression: str, zone: str, next: float, payload: Any, options: Sequence[Any]) -> bool:
        """Notes that a task is to be sent again and again, the next time at ``next``. Returns False if it is noted so already, or is to be taken out and is not there.

        With an empty ``expression`` it is taken out.
        """
        found = self._schedules.get(name)
        if not expression:
            return self._schedules.pop(name, None) is not None
        chosen = _checked(name, Options(*options))
        if found is not None and (found.expression, found.zone) == (expression, zone):
            found.payload, found.options = payload, chosen
            return False
        self._schedules[name] = Schedule(name, expression, zone, round(next * NS), payload, chosen)
        return True

    def fire(self, name: str, planned: float, next: float, number: int = 1) -> list[int]:
        """Sends the task of a schedule that is due, and notes when the next one is. Returns the numbers of the tasks that were made.

        Does nothing unless ``planned`` is the time that is noted, and has come: so of all workers that call this, one has sent it.
        """
        found, now = self._schedules.get(name), _now_ns()
        if found is None or found.next_ns != round(planned * NS) or now < found.next_ns - _EARLY_NS or next <= planned:
            return []
        found.last_ns, found.next_ns = found.next_ns, round(next * NS)
        numbers = [abs(self._put(name, found.payload, found.options, now)) for _ in range(number)]
        self._deal(now)
        return numbers

    # -- time

    def tick(self, timekeeper: str, beat: int, elapsed_ns: int) -> list[str]:
        """Counts time; see `coopy.sync.Ticks.tick`. Returns the sessions that have ended by it."""
        ended = self.ticks.tick(timekeeper, beat, elapsed_ns)
        for session in ended:
            self.end(session, True)
        return ended

    def claim(self, timekeeper: str, beat: int, anew: bool = True) -> bool:
        """Makes a process the timekeeper; see `coopy.sync.Ticks.claim`."""
        return self.ticks.claim(timekeeper, beat, anew)

    # -- questions

    @readonly
    def look(self, number: int) -> Seen | None:
        """Returns how a task stands; None if it is not known, or not any more."""
        job = self._jobs.get(number)
        return None if job is None else seen(job)

    @readonly
    def outcome(self, number: int) -> tuple[str, Any, Any] | None:
        """Returns the state of a task that is over, with its value and its error; the empty text as state if it is not known; None if it is not over."""
        job = self._jobs.get(number)
        if job is None:
            return "", None, None
        return (job.state, job.value, job.error) if job.state in OVER else None

    @readonly
    def due_in(self, lanes: Sequence[str] | None = None) -> float | None:
        """Returns after how many seconds there may be a task to run: 0.0 if there is one; None if nothing is known of one."""
        if any(self._ready.get(lane) for lane in lanes) if lanes is not None else self._ready:
            return 0.0
        return max(0.0, (self._timed[0][0] - _now_ns()) / NS) if self._timed else None

    @readonly
    def timer_in(self) -> float | None:
        """Returns after how many seconds `wake` has something to do; None if nothing is known of it."""
        return max(0.0, (self._timed[0][0] - _now_ns()) / NS) if self._timed else None

    @readonly
    def dealt(self, session: str, slot: int, has: Sequence[int] = ()) -> list[Claim] | None:
        """Returns the tasks of a slot that it was given while it waited, those apart that it has; None if the session has ended."""
        owner = self._sessions.get(session)
        if owner is None:
            return None
        return [_claim(self._jobs[number]) for number, of in owner.running.items() if of == slot and number not in has]

    @readonly
    def stopping(self, numbers: Sequence[int]) -> list[int]:
        """Returns those of some running tasks that were asked to stop."""
        return [number for number in numbers if number in self._jobs and self._jobs[number].asked_to_stop]

    @readonly
    def sessions(self) -> list[tuple[str, dict[str, Any], list[int]]]:
        """Returns the workers, in the order in which they began: session, what is known of it, and the numbers of its tasks."""
        return [(each.id, each.about, list(each.running)) for each in self._sessions.values()]

    @readonly
    def version(self) -> int:
        """Returns how often a worker came or went, or a running task was asked to stop."""
        return self.changes

    @readonly
    def listed(self, state: str = "", most: int = 100, name: str = "", after: int = 0) -> list[Seen]:
        """Returns tasks in a state, or with "" in any, in the order in which they were sent: at most so many, of that name, after a number."""
        found: list[Seen] = []
        numbers: Iterable[int] = sorted(self._dead) if state == DEAD else self._jobs
        for number in numbers:
            job = self._jobs[number]
            if number > after and state in (job.state, "") and name in (job.name, ""):
                found.append(seen(job))
                if len(found) >= most:
                    break
        return found

    @readonly
    def counts(self) -> dict[str, int]:
        """Returns how many tasks there are in each state, and how many were sent, and ended in which way, so far."""
        found = dict(self._counts)
        for state in (WAITING, LATER, BLOCKED, RUNNING):
            found[state] = 0
        for job in self._jobs.values():
            found[job.state] = found.get(job.state, 0) + (job.state not in OVER)
        found["kept"] = sum(job.state in OVER for job in self._jobs.values())
        return found

    @readonly
    def schedules(self) -> list[tuple[str, str, str, float]]:
        """Returns the schedules: name, expression, zone, and when the next task is to be sent, in seconds since 1970."""
        return [(each.name, each.expression, each.zone, each.next_ns / NS) for each in self._schedules.values()]

    @readonly
    def count(self) -> Count:
        """Returns how time stands; see `coopy.sync.Ticks.count`."""
        return self.ticks.count()

    @readonly
    def __repr__(self) -> str:
        return f"<Tasks: {len(self._jobs)} tasks, {len(self._sessions)} workers>"

    # -- one call for all, as queues and workers make it

    @abort_exception
    def change_tasks(self, what: str, *args: Any) -> Any:
        """Calls a method that changes something, by its name. Raises `UsageError` for another one."""
        return self._method(what, _CHANGES)(*args)

    @readonly
    def see_tasks(self, what: str, *args: Any) -> Any:
        """Calls a method that changes nothing, by its name. Raises `UsageError` for another one."""
        return self._method(what, _QUESTIONS)(*args)

    def _method(self, what: str, of: frozenset[str]) -> Any:
        if what not in of:
            raise UsageError(f"{what!r}: must be one of {', '.join(sorted(of))}. Nothing has changed.")
        return getattr(self, what)

    # -- where a task is

    def _wait_until(self, job: Job, due_ns: int, now: int) -> None:
        """Puts a task among those that may run, or among those that wait for a time."""
        if due_ns <= now:
            self._ready_again(job)
        else:
            job.state, job.due_ns = LATER, due_ns
            heappush(self._timed, (due_ns, _JOB, job.number))

    def _ready_again(self, job: Job) -> None:
        job.state, job.due_ns = WAITING, 0
        options = job._options or _PLAIN
        heappush(self._ready.setdefault(options.lane, []), (-options.priority, job.number))

    def _wake(self, now: int) -> bool:
        timed, found = self._timed, False
        while timed and timed[0][0] <= now:
            found = True
            due_ns, kind, which = heappop(timed)
            if kind == _GATE:
                gate = self._rates[which]
                gate.is_timed = False
                self._open(gate)
                continue
            job = self._jobs.get(which)
            if job is None or job.state in OVER:
                continue
            if kind == _JOB and job.state == LATER and job.due_ns == due_ns:
                self._ready_again(job)
            elif kind == _END and job.until_ns == due_ns and job.state != RUNNING:
                self._end_dead(job, "DeadlinePassed", f"it has not ended within {job.options.deadline:g} s", now)
        return found

    def _deal(self, now: int) -> None:
        """Gives tasks that may run to slots that wait, the one first that has waited longest."""
        idle = self._idle
        if not idle or not self._ready:
            return
        for key in list(idle):
            lanes, number = idle[key]
            while number:
                job = self._next(lanes, now, True)
                if job is None:
                    break
                self._give(job, self._sessions[key[0]], key[1], now)
                number -= 1
            if number:
                idle[key] = lanes, number
            else:
                del idle[key]
            if not self._ready:
                return

    def _next(self, lanes: Sequence[str] | None, now: int, is_first: bool) -> Job | None:
        """Takes the next task out of those that may run; none whose worker has crashed, unless it is the first that is given."""
        ready = self._ready
        while True:
            best: list[tuple[int, int]] | None = None
            for lane in ready if lanes is None else lanes:
                heap = ready.get(lane)
                if heap and (best is None or heap[0] < best[0]):
                    best, of = heap, lane
            if best is None:
                return None
            job = self._jobs.get(best[0][1])
            if job is not None and job.crashes and not is_first and job.state == WAITING:
                return None
            heappop(best)
            if not best:
                del ready[of]
            if job is not None and job.state == WAITING and self._passes(job, now):
                return job

    def _passes(self, job: Job, now: int) -> bool:
        """Whether no gate holds a task back; if one does, it is parked there."""
        options = job._options
        if options is None:  # Most have none, and are quick.
            return True
        if options.key:
            gate = self._keys.setdefault(options.key, Gate())
            if gate.running >= options.limit:
                self._park(job, gate, self._rates.get(options.rate))
                return False
        if options.rate:
            gate = self._rates.setdefault(options.rate, Gate())
            if gate.next_ns > now:
                self._park(job, gate, self._keys.get(options.key))
                self._time(options.rate, gate)
                return False
            gate.next_ns = now + round(options.every * NS)
            if gate.parked:
                self._time(options.rate, gate)
        if options.key:
            self._keys[options.key].running += 1
        return True

    def _park(self, job: Job, gate: Gate, other: Gate | None) -> None:
        """Has a task wait at a gate. If it has come from another one, the next may pass there."""
        job.state = BLOCKED
        gate.park(job.options.lane, job.options.priority, job.number)
        if other is not None and not other.is_timed:
            self._open(other)

    def _time(self, rate: str, gate: Gate) -> None:
        if not gate.is_timed:
            gate.is_timed = True
            heappush(self._timed, (gate.next_ns, _GATE, rate))

    def _open(self, gate: Gate) -> None:
        for number in gate.freed(self._is_blocked):
            self._ready_again(self._jobs[number])

    def _is_blocked(self, number: int) -> bool:
        return number in self._jobs and self._jobs[number].state == BLOCKED

    def _give(self, job: Job, owner: Session, slot: int, now: int) -> Claim:
        self._token += 1
        job.state, job.token, job.session, job.began_ns = RUNNING, self._token, owner.id, now
        job.deliveries += 1
        owner.running[job.number] = slot
        return _claim(job)

    def _take_back(self, owner: Session, slot: int, has: Sequence[int], now: int) -> None:
        """Takes back what a slot was given by an answer that it has not heard."""
        for number in [each for each, of in owner.running.items() if of == slot and each not in has]:
            del owner.running[number]
            self._leave(self._jobs[number])
            self._back(self._jobs[number], False, "", now)

    def _held(self, number: int, token: int) -> Job | None:
        """Returns the task that a worker has by a claim; None if it has not."""
        job = self._jobs.get(number)
        return job if job is not None and job.state == RUNNING and job.token == token else None

    def _hear(self, said: Outcome, now: int) -> None:
        job = self._held(said.id, said.token)
        if job is None:
            return
        owner = self._sessions.get(job.session)
        if owner is not None:
            owner.running.pop(job.number, None)
        self._leave(job)
        if said.kind == FINISHED:
            job.value, job.error = said.value, None
            self._end(job, DONE, now)
        elif said.kind == STOPPED:
            self._end(job, CANCELLED, now)
        elif said.kind == FAILED:
            job.failures += 1
            job.error = said.value
            if job.asked_to_stop:
                self._end(job, CANCELLED, now)
            elif said.retry >= 0 and job.until_ns and job.until_ns <= now:
                # Nobody looks at its end any more: that came while it ran.
                last = f"; it raised {said.value[0]}: {said.value[1]}"
                self._end_dead(job, "DeadlinePassed", f"it has not ended within {job.options.deadline:g} s{last}", now)
            elif said.retry >= 0:
                self._wait_until(job, now + round(said.retry * NS), now)
            else:
                self._end(job, DEAD, now)
        else:
            why = said.value if isinstance(said.value, str) else "the process that ran it ended in the middle of it"
            self._back(job, said.kind == CRASHED, why, now)

    def _leave(self, job: Job) -> None:
        """Has the gates know that a task runs no more."""
        options = job._options
        if options is not None and options.key:
            key = options.key
            gate = self._keys[key]
            gate.running -= 1
            self._open(gate)
            if gate.is_idle:
                del self._keys[key]

    def _back(self, job: Job, has_crashed: bool, why: str, now: int) -> None:
        """Takes back a task whose worker has it no more, and has not said what came of it."""
        if not has_crashed:
            job.deliveries -= 1
        else:
            job.crashes += 1
        if job.asked_to_stop:
            self._end(job, CANCELLED, now)
        elif job.crashes >= job.options.deliveries:
            self._end_dead(job, "TaskCrashed", f"{job.crashes} times {why}", now)
        elif job.until_ns and job.until_ns <= now:
            self._end_dead(job, "DeadlinePassed", f"it has not ended within {job.options.deadline:g} s", now)
        else:
            self._ready_again(job)

    def _end_dead(self, job: Job, kind: str, why: str, now: int) -> None:
        job.error = kind, why, "", None
        self._end(job, DEAD, now)

    def _end(self, job: Job, state: str, now: int) -> None:
        """Takes that a task is over. It is in no place any more; where it was waiting, another one goes on."""
        was_waiting = job.state == WAITING
        job.state, job.ended_ns, job.session = state, now, ""
        options = job._options or _PLAIN
        if options.unique and self._unique.get(options.unique) == job.number:
            del self._unique[options.unique]
        if was_waiting and options is not _PLAIN:
            for gate in (self._keys.get(options.key), self._rates.get(options.rate)):
                if gate is not None and not gate.is_timed:
                    self._open(gate)
        self._count(state)
        if state == DEAD:
            self._dead[job.number] = None
        elif options.keep == 0:
            self._remove(job)
        else:
            self._over.append(job.number)
            self._expire(job, now + round((options.keep if options.keep > 0 else UNREAD_S) * NS))

    # -- what is forgotten

    def _expire(self, job: Job, when_ns: int) -> None:
        job.expires_ns = when_ns
        heappush(self._expiring, (when_ns, job.number))

    def _tidy(self, now: int) -> None:
        """Forgets results whose time is over."""
        expiring, jobs = self._expiring, self._jobs
        for _ in range(_TIDIED if expiring and expiring[0][0] <= now else 0):
            if not expiring or expiring[0][0] > now:
                break
            when_ns, number = heappop(expiring)
            job = jobs.get(number)
            if job is not None and job.state in OVER and job.expires_ns == when_ns:
                self._remove(job)
        over = self._over
        for _ in range(min(_TIDIED, max(0, len(over) - KEPT_MAX))):
            job = jobs.get(over.popleft())
            if job is not None and job.state in (DONE, CANCELLED):
                self._remove(job)

    def _remove(self, job: Job) -> None:
        del self._jobs[job.number]
        self._dead.pop(job.number, None)

    def _count(self, what: str) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1


def _claim(job: Job) -> Claim:
    return Claim(job.number, job.token, job.name, job.payload, job.deliveries, job.failures, job.until_ns / NS, job.sent_ns)


def _checked(name: str, options: Options) -> Options:
    """Returns options that can be used. Raises `UsageError`."""
    for label, value in (("delay", options.delay), ("every", options.every), ("deadline", options.deadline)):
        if not 0 <= value <= MOST_S:
            raise UsageError(f"{name}: {label}={value!r}: must be a number of seconds, from 0 to {MOST_S:g}. No task was made.")
    if not -MOST_S <= options.at <= MOST_S:
        raise UsageError(f"{name}: at={options.at!r}: must be a time, in seconds since 1970. No task was made.")
    if not options.keep <= MOST_S:
        raise UsageError(f"{name}: keep={options.keep!r}: must be a number of seconds, {MOST_S:g} at most. No task was made.")
    if options.limit < 1 or options.deliveries < 1:
        raise UsageError(
            f"{name}: limit={options.limit!r}, deliveries={options.deliveries!r}: must be 1 or more. No task was made."
        )
    return options


def _sound(said: Outcome) -> Outcome:
    """Returns what a worker has said, if that can be. Raises `UsageError`."""
    if not said.retry <= MOST_S:
        raise UsageError(
            f"task {said.id}: retry={said.retry!r}: must be a number of seconds, {MOST_S:g} at most. Nothing was heard."
        )
    return said


_CHANGES = frozenset("put begin renew end wake swap finish report cancel retry read forget plan fire tick claim".split())
_QUESTIONS = frozenset("look outcome due_in timer_in dealt stopping sessions version listed counts schedules count".split())
