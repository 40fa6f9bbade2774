"""What a program holds of a lock: `Lock` and `RLock`, like those of `threading`, for all processes that have the system.

Whose turn it is says the state (`coopy.sync.locks`); what this process knows of it, and when its own time is over, is the work of
`coopy.sync.presence`. Handles wait, so they are used outside of actions.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

import coopy
from coopy import CoopyError, LockLost, NotHeld, UsageError, action_index
from coopy.ground.raised import on_failure
from coopy.sync import boot, presence
from coopy.sync.claims import HOLDS, LOST, Asker, Claim, Moved, this_thread
from coopy.sync.waits import TAKE, Wait, in_thread

if TYPE_CHECKING:
    from typing_extensions import Self

TTL_S = 15.0
"""Long enough for a pause of the machine or of the network that nobody would call a failure; the same as in Kubernetes."""
TTL_S_MAX = 1e9
"""What is longer than thirty years is a mistake."""
_FORKED = "this process was forked from the one that holds it, and owns nothing of it"


def system_with_locks(system: Any) -> Any:
    """Returns a system; by default the one system with locks that is open in this process. Raises `UsageError` if that is not one."""
    if system is not None:
        return system
    found = [each.system for each in coopy.opened()]
    found = [each for each in found if callable(getattr(type(each), "change_locks", None))]
    if len(found) != 1:
        raise UsageError(f"{len(found)} systems with locks are open in this process. Say which one: system=...")
    return found[0]


def moment_of(blocking: bool, timeout: float | None) -> int | None:
    """Returns the moment of `boot.now_ns` until which to wait, None for no end. Raises as `threading.Lock.acquire` does."""
    if timeout is None or timeout == -1:
        return None if blocking else 0
    if not blocking:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout < 0:
        raise ValueError("timeout value must be a non-negative number")
    if timeout > threading.TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
    return moment_after(timeout)


def moment_after(timeout: float | None) -> int | None:
    """Returns the moment of `boot.now_ns` that comes after so many seconds; None for None."""
    return None if timeout is None else boot.now_ns() + round(timeout * boot.NS)


class Handle:
    """What handles of a lock that several may hold, or one, have in common."""

    limit = 1
    """How many may hold the lock at once."""
    lock_delay = 0.0
    """For how many seconds nobody is to have what is lost."""
    _asks_by = "acquire"
    """The method of `Locks` by which it asks."""

    def __init__(self, name: str, system: Any, ttl: float) -> None:
        if not (isinstance(ttl, (int, float)) and 0 < ttl <= TTL_S_MAX):
            raise UsageError(f"ttl={ttl!r}: must be a number of seconds, more than 0. Nothing was asked for.")
        self.name = name
        self.ttl = float(ttl)
        self._presence = found = presence.of(system_with_locks(system))
        self._asking: set[Claim] = set()
        self._cancelled = 0
        """How often `cancel` was called: what is just being asked for is meant, too."""
        self._refuses = False
        """Whether no `acquire` gets anything any more."""
        on_lost = weakref.WeakMethod(self._on_lost)  # What the presence has must not keep the handle.
        self._when_lost = lambda claim: (on_lost() or (lambda _: None))(claim)
        self._claims: set[Claim] = set()
        """What this handle holds."""
        # Not the handle: it would never be forgotten.
        self._forgotten = weakref.finalize(self, found.forget_handle, self._claims)
        self._forgotten.atexit = False  # The presence gives everything back when the process ends.

    @property
    def system(self) -> Any:
        """The system whose lock this is."""
        return self._presence.system

    @property
    def here(self) -> str:
        """How this process is called among the contenders: host, process, and a random number."""
        return self._presence.id

    def contenders(self) -> list[str]:
        """Returns who holds the lock and who waits for it, in order: host, process and number of each."""
        found: list[str] = self._presence.see("contenders", self.name)
        return found

    def watch(self, event: Moved, on: bool) -> None:
        """Has an event be set whenever anything changes in the locks of the system, or not any more."""
        self._presence.watching(event, on)

    def cancel(self) -> None:
        """Has every `acquire` of this handle that waits return False."""
        self._cancelled += 1
        for claim in list(self._asking):
            self._presence.cancel(claim)

    def refuse(self) -> None:
        """Has every `acquire` return False from now on."""
        self._refuses = True
        self.cancel()

    def close(self) -> None:
        """Gives back what is held, and ends. What waits is cancelled."""
        self.cancel()
        if self._forgotten.detach() is not None:
            for claim in list(self._claims):
                with suppress(CoopyError):  # If the system is closed, everything was given back with it.
                    self._presence.release(claim)
            self._presence.leave()

    def acquiring(self, asker: Asker, blocking: bool, until_ns: int | None) -> Wait[Claim | None]:
        """Asks, and waits. Returns a claim that holds; None if there was none in time. Raises what the system raises."""
        claim = self._ask(blocking, asker)
        try:
            if claim.state != HOLDS and not blocking:
                return None
            if not (yield from self._presence.waiting(claim, until_ns)):
                return None
        finally:
            self._asking.discard(claim)
        self._keep(claim)
        return claim

    def _keep(self, claim: Claim) -> None:
        """Takes what a wait has got."""
        self._claims.add(claim)

    def _ask(self, wait: bool, asker: Asker) -> Claim:
        """Asks, and does not wait."""
        if os.getpid() != self._presence.pid:
            raise LockLost(self.name, 0, _FORKED)
        if action_index():
            raise UsageError(
                f"{self!r} is to be used outside of actions: whoever waits in one holds up everybody. Nothing was asked for."
            )
        self._claims.difference_update([each for each in self._claims if each.state == LOST])
        cancelled = self._cancelled
        claim = self._presence.acquire(
            self._asks_by, self.name, self.ttl, wait, self.limit, self._when_lost, asker, self.lock_delay
        )
        self._asking.add(claim)
        if self._refuses or self._cancelled != cancelled:
            self._presence.cancel(claim)
        return claim

    def _give(self, claim: Claim) -> None:
        """Gives back what a claim holds. Raises `LockLost`."""
        self._claims.discard(claim)
        if not self._presence.release(claim):
            raise self._lost_error(claim)

    def _lost_error(self, claim: Claim) -> LockLost:
        return LockLost(
            self.name, claim.token, claim.why or (_FORKED if os.getpid() != self._presence.pid else "it was taken away")
        )

    def _on_lost(self, claim: Claim) -> None:
        """Called once a claim that was held is lost, in a thread of its own."""

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} belongs to this process, and can't be copied or pickled: make another one of the same name")


class Lock(Handle):
    """A lock that one holder has at a time, of all threads, processes and nodes that have the system.

    It is released by whoever has the handle, from any thread. If its process dies, it is free after ``ttl`` seconds and a tick. If this process
    can't renew it in time, it is lost, by this process's own clock and before anybody else may have it: ``held`` is False,
    ``lock_lost_callback`` is called, and the end of ``with``, `release`, `check` and ``token`` raise `LockLost`.

    Args:
        name: which lock; the same for all that take turns.
        lock_callback: called, in the thread that acquires, each time the lock was got and the log has it. If it raises, the lock is given
            back, and the caller of `acquire` gets what it raised.
        lock_lost_callback: called, in a thread of its own, if the lock is lost.
        system: a system of `coopy.sync.Locks`, or of a class that has them; by default the only one that is open in this process.
        ttl: seconds, more than 0.
        lock_delay: for how many seconds nobody has the lock after this holder has lost it, because its process died, stood still or could not
            renew it; as of Consul. What it had sent to a resource that asks no `Fenced` has time to arrive before the next one begins. By counted time,
            as ``ttl``: at least so long. A lock that is released is free at once.

    >>> from coopy import init_system
    >>> from coopy.sync import Lock, Locks
    >>> locks = init_system(Locks, "locks")
    >>> lock = Lock("stock", system=locks)
    >>> with lock:
    ...     lock.held, lock.token, len(lock.contenders())
    (True, 1, 1)
    >>> lock.held, lock.acquire(timeout=1), lock.acquire(blocking=False)
    (False, True, False)
    >>> lock.release()
    >>> locks.close()
    """

    def __init__(
        self,
        name: str,
        lock_callback: Callable[[], object] | None = None,
        lock_lost_callback: Callable[[], object] | None = None,
        *,
        system: Any = None,
        ttl: float = TTL_S,
        lock_delay: float = 0.0,
    ) -> None:
        if not (isinstance(lock_delay, (int, float)) and 0 <= lock_delay <= TTL_S_MAX):
            raise UsageError(f"lock_delay={lock_delay!r}: must be a number of seconds, 0 or more. Nothing was asked for.")
        super().__init__(name, system, ttl)
        self.lock_delay = lock_delay
        self._lock_callback = lock_callback
        self._lock_lost_callback = lock_lost_callback
        self._claim: Claim | None = None
        self._entered: dict[object, list[Claim]] = {}
        """By thread, or task: what each ``with`` block that it is in has got."""

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Gets the lock. Returns False if it can't be had at once, or in so many seconds, or if `cancel` was called.

        Those who wait get it in the order in which they came. Raises `LockLost` if the place in the queue is lost, because this process could not
        renew it, or if the lock was given to this process and lost before this thread went on; `UsageError` if this thread waited for ever, for
        another handle with which it holds the same lock itself; `Unavailable` and `OutcomeUnknown` on a node that reaches no majority.
        """
        return self._acquired(blocking, timeout) is not None

    def _acquired(self, blocking: bool = True, timeout: float | None = -1) -> Claim | None:
        asker = Asker()
        claim = in_thread(self.acquiring(asker, blocking, moment_of(blocking, timeout)), asker.moved)
        if claim is not None and self._lock_callback is not None and self.is_first():
            with on_failure(self.take_back, claim):
                self._lock_callback()
        return claim

    def acquiring(self, asker: Asker, blocking: bool, until_ns: int | None) -> Wait[Claim | None]:
        """See `Handle.acquiring`; what `acquire` does without the callback."""
        if blocking and until_ns is None:
            self._refuse_deadlock(asker)
        return (yield from super().acquiring(asker, blocking, until_ns))

    def _keep(self, claim: Claim) -> None:
        super()._keep(claim)
        self._claim = claim

    def is_first(self) -> bool:
        """Whether the last acquisition was one of a lock that was not held."""
        return True

    def sleeping(self, asker: Asker, condition: str, until_ns: int | None) -> Wait[bool]:
        """Puts the lock down, and waits to have it again; see `Presence.sleeping`. With the first step, which calls nothing, this handle has
        the lock no more, whatever becomes of the wait.
        """
        claim = self._held_claim()
        self._claim = None
        self._claims.discard(claim)
        claim.asked_by(asker)
        with on_failure(self._presence.abandon, claim):
            yield TAKE
            is_told = yield from self._presence.sleeping(claim, condition, until_ns)
        self._keep(claim)
        return is_told

    def notify(self, condition: str, number: int, who: object = None) -> int:
        """Puts so many who sleep into the queue of this lock, which must be held. Returns how many."""
        self._held_claim()
        found: int = self._presence.change("wake", self.name, condition, number)
        return found

    def release(self) -> None:
        """Gives the lock to the next who waits. Raises `LockLost` if it was lost before, `NotHeld` if nobody has it by this handle."""
        self.release_by(this_thread())

    def release_by(self, who: object) -> None:
        """Does what `release` does, for a thread or a task."""
        claim, self._claim = self._claim, None
        if claim is None:
            raise NotHeld(f"the lock {self.name!r} is not held by this handle. Nothing has changed.")
        self._give(claim)

    @property
    def held(self) -> bool:
        """Whether this handle has the lock, by this process's own clock. Asks nobody."""
        claim = self._claim
        return claim is not None and self._presence.holds(claim)

    def locked(self) -> bool:
        """Whether somebody has the lock, as far as this process knows."""
        return bool(self._presence.see("held").get(self.name))

    @property
    def token(self) -> int:
        """The token of this holding, larger than all before: what a resource needs to refuse those who held it earlier. Raises `LockLost`, `NotHeld`."""
        return self._held_claim().token

    @property
    def deadline(self) -> float:
        """When the lock is lost if it is not renewed before, in seconds of CLOCK_BOOTTIME (`coopy.sync.boot`). Raises `LockLost`, `NotHeld`."""
        return self._held_claim().session.until_ns / boot.NS

    def check(self) -> None:
        """Raises `LockLost` if the lock is lost, and `NotHeld` if it was not held: for loops that need it."""
        self._held_claim()

    def renew(self) -> float:
        """Renews the lock now, which also happens by itself. Returns the new deadline. Raises `LockLost`, `NotHeld`, and what the system raises."""
        claim = self._held_claim()
        self._presence.renew(claim)
        return self.deadline

    def _held_claim(self) -> Claim:
        claim = self._claim
        if claim is None:
            raise NotHeld(f"the lock {self.name!r} is not held by this handle")
        if not self._presence.holds(claim):
            raise self._lost_error(claim)
        return claim

    def _refuse_deadlock(self, asker: Asker) -> None:
        """Raises `UsageError` if the asker is about to wait for ever, and has the lock itself, by another handle."""
        other = self._presence.others_of(asker.itself, self.name, self._claim)
        if other is not None:
            raise UsageError(
                f"this {asker.kind} holds the lock {self.name!r} by another handle (token {other.token}), and would wait for itself for ever. "
                f"Use that handle, or an RLock, or a timeout. Nothing was asked for."
            )

    def _on_lost(self, claim: Claim) -> None:
        if self._lock_lost_callback is not None:
            self._lock_lost_callback()

    def __enter__(self) -> Self:
        self.enter(this_thread(), self._acquired())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        who = this_thread()
        self.end(who, self.left(who), error)

    def enter(self, who: object, claim: Claim | None) -> None:
        """Says that a thread or a task has begun a block with what it has acquired. Raises `LockLost` if that is nothing."""
        if claim is None:
            raise LockLost(self.name, 0, "cancel() was called while this waited")
        self._entered.setdefault(who, []).append(claim)

    def left(self, who: object) -> Claim:
        """Says that a thread or a task has come to the end of its block. Returns what `end` is to give back."""
        claim = self._entered[who].pop()
        if not self._entered[who]:
            del self._entered[who]
        return claim

    def end(self, who: object, claim: Claim, error: BaseException | None) -> None:
        """Gives back what a block had, which has raised ``error``. Raises `LockLost` or `NotHeld` if the block has raised nothing."""
        if error is None:
            self._give_back(who, claim)
        else:
            with suppress(LockLost, NotHeld):
                self._give_back(who, claim)

    def take_back(self, claim: Claim) -> None:
        """Gives back what was acquired just now, whether it is still held or not."""
        with suppress(LockLost, NotHeld):
            self._give_back(claim.asker, claim)

    def _give_back(self, who: object, claim: Claim) -> None:
        """Ends what a block holds. Raises `LockLost`; `NotHeld` if it was released inside the block, and may be held by another one by now."""
        if self._claim is claim:
            self._claim = None
        if claim not in self._claims and claim.state != LOST:
            raise NotHeld(f"the lock {self.name!r} was released inside the block that holds it")
        self._give(claim)

    def __repr__(self) -> str:
        # Of this handle alone: it asks nobody.
        state = "locked" if self.held else "unlocked"
        return f"<{state} coopy.sync.{type(self).__name__} object {self.name!r} at {id(self):#x}>"


class RLock(Lock):
    """A `Lock` that the thread which holds it may acquire again; it is free after as many releases. Only that thread may release it.

    >>> from coopy import init_system
    >>> from coopy.sync import Locks, RLock
    >>> locks = init_system(Locks, "reentrant-locks")
    >>> lock = RLock("stock", system=locks)
    >>> with lock, lock:
    ...     lock.held
    True
    >>> locks.close()
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owner: object = None
        """The thread, or the task, that has it."""
        self._count = 0
        self._guard = threading.Lock()
        """Two threads may release it at once for a task that was cancelled in between."""

    def acquiring(self, asker: Asker, blocking: bool, until_ns: int | None) -> Wait[Claim | None]:
        """See `Lock.acquiring`; at once if the asker has the lock. Raises `LockLost` if the asker has lost it."""
        if self._owner is asker.itself:
            claim = self._held_claim()
            yield TAKE
            self._count += 1
            return claim
        found = yield from super().acquiring(asker, blocking, until_ns)
        if found is not None:
            self._owner, self._count = asker.itself, 1
        return found

    def is_first(self) -> bool:
        """See `Lock.is_first`."""
        return self._count == 1

    def release(self) -> None:
        """As `Lock.release`, once for each `acquire`. Raises `NotHeld` in another thread."""
        super().release()

    def release_by(self, who: object) -> None:
        """See `Lock.release_by`."""
        with self._guard:
            self._refuse_another(who)
            self._count -= 1
            is_last = not self._count
            if is_last:
                self._owner = None
        if is_last:
            super().release_by(who)

    def sleeping(self, asker: Asker, condition: str, until_ns: int | None) -> Wait[bool]:
        """See `Lock.sleeping`; however often the asker has acquired it, so often it has it again."""
        self._refuse_another(asker.itself)
        count, self._owner = self._count, None
        is_told = yield from super().sleeping(asker, condition, until_ns)
        self._owner, self._count = asker.itself, count
        return is_told

    def notify(self, condition: str, number: int, who: object = None) -> int:
        """As `Lock.notify`. Raises `NotHeld` in another thread, or for another task."""
        self._refuse_another(this_thread() if who is None else who)
        return super().notify(condition, number)

    def _refuse_another(self, who: object) -> None:
        if self._owner is not who:
            raise NotHeld(f"the lock {self.name!r} is not held by this thread or task. Nothing has changed.")

    def _give_back(self, who: object, claim: Claim) -> None:
        lost = not self._presence.holds(claim)
        self.release_by(who)
        if lost:
            raise self._lost_error(claim)
