"""What else threads know from `threading`, for all processes that have a system: `Semaphore`, `Condition`, `Event` and `Barrier`.

A permit of a semaphore, and a place of one who waits for a condition, belong to a session as a lock does: they are free when its process
is gone. One who waits at a barrier breaks it then. An event belongs to nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from coopy import CoopyError, LockLost, UsageError
from coopy.sync import boot
from coopy.sync.claims import Asker, Claim
from coopy.sync.lock import TTL_S, Handle, Lock, RLock, moment_after, moment_of
from coopy.sync.waits import FOREVER_NS, Wait, in_thread

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
ALL = 2**31
"""More than ever wait."""
BrokenBarrierError = threading.BrokenBarrierError


def check_number(label: str, number: int) -> None:
    """Raises `UsageError` for a number of permits or parties that is no whole number, or less than one."""
    if not isinstance(number, int) or number < 1:
        raise UsageError(
            f"{label}={number!r}: must be a whole number, at least 1. Permits and parties belong to processes, so there must be some."
        )


def moment_of_permit(blocking: bool, timeout: float | None) -> int | None:
    """Returns until when to wait for a permit, as `moment_of` for a lock: of which -1 means for ever, and here that there is no time left."""
    return moment_of(blocking, max(timeout, 0) if blocking and timeout is not None else timeout)


class Semaphore(Handle):
    """A number of permits, of which each is held as a `Lock` is: with a lease, a token, and in order.

    It is bounded: who releases must hold. ``value`` must be the same for all that use the name.

    >>> from coopy import init_system
    >>> from coopy.sync import Locks, Semaphore
    >>> locks = init_system(Locks, "seats")
    >>> seats, more = Semaphore("seats", 2, system=locks), Semaphore("seats", 2, system=locks)
    >>> seats.acquire(), more.acquire(), more.acquire(blocking=False), seats.held, more.held
    (True, True, False, 1, 1)
    >>> seats.release(), more.acquire(blocking=False), more.release(2)
    (None, True, None)
    >>> locks.close()
    """

    def __init__(self, name: str, value: int = 1, *, system: Any = None, ttl: float = TTL_S) -> None:
        check_number("value", value)
        super().__init__(name, system, ttl)
        self.limit = value
        self._held: list[Claim] = []
        self._guard = threading.Lock()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Takes a permit. Returns False if there was none at once, or in so many seconds: as of `threading`, less than 0 is as 0. Raises as `Lock.acquire`."""
        asker = Asker()
        return in_thread(self.acquiring(asker, blocking, moment_of_permit(blocking, timeout)), asker.moved) is not None

    def _keep(self, claim: Claim) -> None:
        super()._keep(claim)
        with self._guard:
            self._held.append(claim)

    def release(self, n: int = 1) -> None:
        """Gives back permits, those first that were taken first. Raises ValueError if this handle has fewer, `LockLost` if one was lost."""
        if n < 1:
            raise ValueError("n must be one or more")
        with self._guard:
            if len(self._held) < n:
                raise ValueError(
                    f"this handle holds {len(self._held)} permits of {self.name!r} and can't give {n} back. Nothing has changed."
                )
            given, self._held = self._held[:n], self._held[n:]
        lost: LockLost | None = None
        for claim in given:
            try:
                self._give(claim)
            except LockLost as error:
                lost = error
        if lost is not None:
            raise lost

    @property
    def held(self) -> int:
        """How many permits this handle has, by this process's own clock. Asks nobody."""
        return sum(map(self._presence.holds, list(self._held)))

    def __enter__(self) -> Self:
        self.enter(self.acquire())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.leave(error)

    def enter(self, has_permit: bool) -> None:
        """Says that a block is about to begin. Raises `LockLost` if there is no permit for it."""
        if not has_permit:
            raise LockLost(self.name, 0, "cancel() was called while this waited")

    def leave(self, error: BaseException | None) -> None:
        """Ends a block, which has raised ``error``. Raises `LockLost` if the block has raised nothing."""
        if error is None:
            self.release()
        else:
            with suppress(LockLost):
                self.release()

    def __repr__(self) -> str:
        return f"<coopy.sync.Semaphore {self.name!r} at {id(self):#x}: {self.held} of {self.limit} held here>"


class Condition:
    """A lock that is put down while one waits to be told that something has changed, as `threading.Condition`.

    Waiting puts the lock down in one action, and telling puts those who wait into the queue of the lock, in order: none is missed. A token is
    a new one after each `wait`. If this process can't renew its place, `wait` raises `LockLost`.

    >>> from coopy import init_system
    >>> from coopy.sync import Condition, Locks
    >>> locks = init_system(Locks, "news")
    >>> with Condition("news", system=locks) as news:
    ...     news.wait(timeout=0.01), news.notify_all(), news.lock.held
    (False, 0, True)
    >>> locks.close()
    """

    def __init__(self, name: str, lock: Lock | None = None, *, system: Any = None, ttl: float = TTL_S) -> None:
        self.name = name
        self.lock = RLock(name, system=system, ttl=ttl) if lock is None else lock
        """The lock that is held when one waits and tells; by default an `RLock` of the same name."""

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Gets the lock; see `Lock.acquire`."""
        return self.lock.acquire(blocking, timeout)

    def release(self) -> None:
        """Gives the lock back; see `Lock.release`."""
        self.lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Puts the lock down until told, and has it again. Returns False if that was not told in so many seconds. Raises `NotHeld`, `LockLost`."""
        asker = Asker()
        return in_thread(self.lock.sleeping(asker, self.name, moment_after(timeout)), asker.moved)

    def wait_for(self, question: Callable[[], T], timeout: float | None = None) -> T:
        """Waits until an answer is true, or for so many seconds. Returns the last answer."""
        until_ns = moment_after(timeout)
        answer = question()
        while not answer:
            left_s = None if until_ns is None else (until_ns - boot.now_ns()) / boot.NS
            if left_s is not None and left_s <= 0:
                break
            self.wait(left_s)
            answer = question()
        return answer

    def notify(self, n: int = 1) -> int:
        """Tells so many of those who wait, the one first who has waited longest. Returns how many. Raises `NotHeld`, `LockLost`."""
        return self.lock.notify(self.name, n)

    def notify_all(self) -> int:
        """Tells all who wait. Returns how many."""
        return self.notify(ALL)

    def __enter__(self) -> Self:
        self.lock.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.lock.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"<coopy.sync.Condition {self.name!r} of {self.lock!r}>"


class Event(Handle):
    """A flag that anybody sets and clears, and many wait for, as `threading.Event`. It outlives all processes.

    >>> from coopy import init_system
    >>> from coopy.sync import Event, Locks
    >>> locks = init_system(Locks, "ready")
    >>> ready = Event("ready", system=locks)
    >>> ready.wait(timeout=0.01), ready.set(), ready.wait(), ready.is_set()
    (False, None, True, True)
    >>> locks.close()
    """

    def __init__(self, name: str, *, system: Any = None) -> None:
        super().__init__(name, system, TTL_S)

    def set(self) -> None:
        """Sets it: all who wait go on."""
        self._presence.change("set_event", self.name)

    def clear(self) -> None:
        """Clears it: who waits from now on waits until it is set again."""
        self._presence.change("clear_event", self.name)

    def is_set(self) -> bool:
        """Whether it is set, as far as this process knows."""
        return bool(self._presence.see("event", self.name)[0])

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set, also if it is cleared at once after that. Returns False if that was not in so many seconds. Raises `SystemClosed`."""
        asker = Asker()
        return in_thread(self.waiting(asker, moment_after(timeout)), asker.moved)

    def waiting(self, asker: Asker, until_ns: int | None) -> Wait[bool]:
        """Does what `wait` does, for a thread or a task."""
        self._presence.watching(asker.moved, True)
        try:
            before: int | None = None
            while True:
                asker.moved.clear()
                self._presence.refuse_if_closed()
                is_set, times = self._presence.see("event", self.name)
                before = times if before is None else before
                if is_set or times > before:
                    return True
                left_ns = FOREVER_NS if until_ns is None else until_ns - boot.now_ns()
                if left_ns <= 0:
                    return False
                yield left_ns
        finally:
            self._presence.watching(asker.moved, False)

    def __repr__(self) -> str:
        return f"<coopy.sync.Event {self.name!r} at {id(self):#x}>"


class Barrier(Handle):
    """A place where ``parties`` wait for one another, as `threading.Barrier`: with the last to come, all go on.

    One who waits is there by a lease. If its process dies, the barrier is broken when the lease is over, so that nobody waits for ever
    for one that does not come: all who wait get `threading.BrokenBarrierError`, and so does everybody else until `reset` is called. A process that stood still
    for longer than ``ttl`` finds it broken too, though the others may have passed.

    Args:
        name, parties: the same for all that meet.
        timeout: seconds that `wait` waits if it is not told otherwise; None for ever.
        system, ttl: as for `Lock`.

    >>> from coopy import init_system
    >>> from coopy.sync import Barrier, Locks
    >>> locks = init_system(Locks, "start")
    >>> start = Barrier("start", 1, system=locks)
    >>> start.wait(), start.parties, start.n_waiting, start.broken
    (0, 1, 0, False)
    >>> two = Barrier("two", 2, system=locks)
    >>> two.wait(timeout=0.01)
    Traceback (most recent call last):
    threading.BrokenBarrierError: the barrier 'two' is broken: one did not wait until all had come, or its process is gone. ...
    >>> two.broken, two.reset(), two.broken
    (True, None, False)
    >>> locks.close()
    """

    _asks_by = "arrive"

    def __init__(
        self, name: str, parties: int, timeout: float | None = None, *, system: Any = None, ttl: float = TTL_S
    ) -> None:
        check_number("parties", parties)
        super().__init__(name, system, ttl)
        self.limit = parties
        self._timeout = timeout

    @property
    def parties(self) -> int:
        """How many must come."""
        return self.limit

    def wait(self, timeout: float | None = None) -> int:
        """Comes, and waits until all have come. Returns in which place this one came, from 0: one of them is the first.

        Raises `threading.BrokenBarrierError` if it is broken, or becomes so; also by this call, if not all come in so many seconds, or if it is interrupted.
        """
        asker = Asker()
        return in_thread(self.waiting(asker, timeout), asker.moved)

    def waiting(self, asker: Asker, timeout: float | None) -> Wait[int]:
        """Does what `wait` does, for a thread or a task."""
        try:
            claim = yield from self.acquiring(asker, True, moment_after(self._timeout if timeout is None else timeout))
            why = "this one did not wait until all had come"
        except LockLost as lost:
            claim, why = None, lost.why
        if claim is None:
            with suppress(CoopyError):  # It is closed, or another process's.
                why = self._presence.see("barrier", self.name)[1] or why
            raise BrokenBarrierError(
                f"the barrier {self.name!r} is broken: {why}. All who wait are told; reset() makes it whole again."
            )
        return claim.token - 1

    def _keep(self, claim: Claim) -> None:
        # Who has passed holds nothing; the state is told with the next renewal, for which nobody waits.
        self._presence.abandon(claim)

    def abort(self) -> None:
        """Breaks it: all who wait, and all who come until `reset` is called, get `threading.BrokenBarrierError`."""
        self._presence.change("abort", self.name, self.limit)

    def reset(self) -> None:
        """Makes it whole. Those who wait get `threading.BrokenBarrierError`."""
        self._presence.change("reset", self.name)

    def contenders(self) -> list[str]:
        """Returns who waits, in the order in which they came: host, process and number of each."""
        found: list[str] = self._presence.see("barrier", self.name)[0]
        return found

    @property
    def n_waiting(self) -> int:
        """How many wait, of all processes, as far as this one knows."""
        return len(self.contenders())

    @property
    def broken(self) -> bool:
        """Whether it is broken, as far as this process knows."""
        return bool(self._presence.see("barrier", self.name)[1])

    def __repr__(self) -> str:
        return f"<coopy.sync.Barrier {self.name!r} at {id(self):#x}: for {self.limit}>"
