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
from coopy.sync.claims import HOLDS, LOST, Asker, Claim, this_thread

if TYPE_CHECKING:
    from typing_extensions import Self

TTL_S = 15.0
"""Long enough for a pause of the machine or of the network that nobody would call a failure; the same as in Kubernetes."""
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
    return boot.now_ns() + round(timeout * boot.NS)


class Handle:
    """What handles of a lock that several may hold, or one, have in common."""

    limit = 1
    """How many may hold the lock at once."""

    def __init__(self, name: str, system: Any, ttl: float) -> None:
        if not ttl > 0:
            raise UsageError(f"ttl={ttl!r}: must be a number of seconds, more than 0. Nothing was asked for.")
        self.name = name
        self.ttl = float(ttl)
        self._presence = found = presence.of(system_with_locks(system))
        self._asking: set[Claim] = set()
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

    def watch(self, event: threading.Event, on: bool) -> None:
        """Has an event be set whenever anything changes in the locks of the system, or not any more."""
        self._presence.watching(event, on)

    def cancel(self) -> None:
        """Has every `acquire` of this handle that waits return False."""
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

    def _get(self, blocking: bool, until_ns: int | None) -> Claim | None:
        """Returns a claim that holds; None if there was none in time. Raises what the system raises."""
        claim = self.ask(blocking)
        try:
            if claim.state != HOLDS and not (blocking and self._presence.wait(claim, until_ns)):
                return None
        finally:
            self._asking.discard(claim)
        self._claims.add(claim)
        return claim

    def ask(self, wait: bool, asker: Asker | None = None) -> Claim:
        """Asks, and does not wait. Returns a claim, which counts among those that ask until `had`, or `_get`, says what became of it."""
        if action_index():
            raise UsageError(
                f"{self!r} is to be used outside of actions: whoever waits in one holds up everybody. Nothing was asked for."
            )
        self._claims.difference_update([each for each in self._claims if each.state == LOST])
        claim = self._presence.acquire(self.name, self.ttl, wait, self.limit, self._when_lost, asker)
        self._asking.add(claim)
        if self._refuses:
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
    ) -> None:
        super().__init__(name, system, ttl)
        self._lock_callback = lock_callback
        self._lock_lost_callback = lock_lost_callback
        self._claim: Claim | None = None
        self._entered: dict[int, list[Claim]] = {}
        """By thread: what each ``with`` block that it is in has got."""

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Gets the lock. Returns False if it can't be had at once, or in so many seconds, or if `cancel` was called.

        Those who wait get it in the order in which they came. Raises `LockLost` if the place in the queue is lost, because this process could not
        renew it; `UsageError` if this thread waited for ever, for another handle with which it holds the same lock itself; `Unavailable` and
        `OutcomeUnknown` on a node that reaches no majority.
        """
        return self._acquired(blocking, timeout) is not None

    def _acquired(self, blocking: bool = True, timeout: float | None = -1) -> Claim | None:
        until_ns = moment_of(blocking, timeout)
        if os.getpid() != self._presence.pid:
            raise LockLost(self.name, 0, _FORKED)
        if blocking and until_ns is None:
            self.refuse_deadlock(this_thread(), "thread")
        claim = self._get(blocking, until_ns)
        if claim is not None:
            self._claim = claim
            if self._lock_callback is not None:
                with on_failure(self._take_back, claim):
                    self._lock_callback()
        return claim

    def _take_back(self, claim: Claim) -> None:
        with suppress(LockLost, NotHeld):
            self.give_back(claim)

    def step(self, claim: Claim, until_ns: int | None) -> int:
        """Looks how it stands with a claim that waits; see `Presence.step`."""
        return self._presence.step(claim, until_ns)

    def had(self, claim: Claim, keep: bool = True) -> bool:
        """Takes what became of a claim of `ask`. Returns whether this handle has the lock by it; if it is not to be kept, it is given back."""
        self._asking.discard(claim)
        if not keep:
            self._presence.abandon(claim)
            return False
        if not self._presence.outcome(claim):
            return False
        self._claims.add(claim)
        self._claim = claim
        return True

    def sleep(self, condition: str, until_ns: int | None) -> bool:
        """Puts the lock down, and waits to have it again; see `Presence.sleep`."""
        claim = self._held_claim()
        self._claim = None
        self._claims.discard(claim)
        is_told = self._presence.sleep(claim, condition, until_ns)
        self._claims.add(claim)
        self._claim = claim
        return is_told

    def notify(self, condition: str, number: int) -> int:
        """Puts so many who sleep into the queue of this lock, which must be held. Returns how many."""
        self._held_claim()
        found: int = self._presence.change("wake", self.name, condition, number)
        return found

    def release(self) -> None:
        """Gives the lock to the next who waits. Raises `LockLost` if it was lost before, `NotHeld` if nobody has it by this handle."""
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

    def refuse_deadlock(self, asker: object, what: str) -> None:
        """Raises `UsageError` if who is about to wait for ever has the lock itself, by another handle."""
        other = self._presence.others_of(asker, self.name, self._claim)
        if other is not None:
            raise UsageError(
                f"this {what} holds the lock {self.name!r} by another handle (token {other.token}), and would wait for itself for ever. "
                f"Use that handle, or an RLock, or a timeout. Nothing was asked for."
            )

    def _on_lost(self, claim: Claim) -> None:
        if self._lock_lost_callback is not None:
            self._lock_lost_callback()

    def __enter__(self) -> Self:
        claim = self._acquired()
        if claim is None:
            raise LockLost(self.name, 0, "cancel() was called while this waited")
        self._entered.setdefault(threading.get_ident(), []).append(claim)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        thread = threading.get_ident()
        claim = self._entered[thread].pop()
        if not self._entered[thread]:
            del self._entered[thread]
        try:
            self.give_back(claim)
        except (LockLost, NotHeld):
            if error is None:
                raise

    def give_back(self, claim: Claim) -> None:
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
    """A `Lock` that the thread which holds it may acquire again; it is free after as many releases. Only that thread may release it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owner: int | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """As `Lock.acquire`; at once if this thread has the lock. Raises `LockLost` if this thread has lost it."""
        if self._owner == threading.get_ident():
            moment_of(blocking, timeout)
            self._held_claim()
            self._count += 1
            return True
        if not super().acquire(blocking, timeout):
            return False
        self._owner, self._count = threading.get_ident(), 1
        return True

    def release(self) -> None:
        """As `Lock.release`, once for each `acquire`. Raises `NotHeld` in another thread."""
        if self._owner != threading.get_ident():
            raise NotHeld(f"the lock {self.name!r} is not held by this thread. Nothing has changed.")
        self._count -= 1
        if not self._count:
            self._owner = None
            super().release()

    def sleep(self, condition: str, until_ns: int | None) -> bool:
        """As `Lock.sleep`, however often this thread has acquired it; so often it has it again."""
        if self._owner != threading.get_ident():
            raise NotHeld(f"the lock {self.name!r} is not held by this thread. Nothing has changed.")
        count, self._owner = self._count, None
        is_told = super().sleep(condition, until_ns)
        self._owner, self._count = threading.get_ident(), count
        return is_told

    def notify(self, condition: str, number: int) -> int:
        """As `Lock.notify`. Raises `NotHeld` in another thread."""
        if self._owner != threading.get_ident():
            raise NotHeld(f"the lock {self.name!r} is not held by this thread. Nothing has changed.")
        return super().notify(condition, number)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            claim = self._claim
            lost = claim is not None and not self._presence.holds(claim)
            self.release()
            if lost:
                assert claim is not None, "it was looked at"
                raise self._lost_error(claim)
        except (LockLost, NotHeld):
            if error is None:
                raise
