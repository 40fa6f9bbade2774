"""Elections: of all processes that stand, one leads, and another takes over when it can't any more. Leading is holding a lock."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from coopy import ClusterError, LockLost, NotHeld, UsageError
from coopy.sync.lock import TTL_S, Lock

PAUSE_S = 0.5
"""A node that reaches no majority stands again after so long; a cluster elects the one that leads in a few of these."""


class Term:
    """The time for which one process leads. What leads is given it, if it takes an argument.

    >>> def lead(term):
    ...     while not term.stop.wait(1):
    ...         print("leading, with the token", term.token)
    """

    def __init__(self, lock: Lock, stop: Any) -> None:
        self._lock = lock
        self.token = lock.token
        """The token of this term, larger than those of all terms before."""
        self.stop = stop
        """Set when the work is to end: leading was lost, or `Election.shutdown` was called."""

    @property
    def leads(self) -> bool:
        """Whether this process still leads, by its own clock."""
        try:
            return self._lock.token == self.token
        except (LockLost, NotHeld):
            return False

    def check(self) -> None:
        """Raises `LockLost` if this process does not lead any more."""
        if not self.leads:
            raise LockLost(self._lock.name, self.token, "another one may lead by now")


def takes_term(function: Callable[..., object]) -> bool:
    """Returns whether a function can be called with one argument."""
    try:
        inspect.signature(function).bind(None)
    except (TypeError, ValueError):
        return False
    return True


class Election:
    """Stands for a name, and calls ``master_fn`` when this process leads, once the log has confirmed it.

    ``master_fn`` does the work for as long as it leads. It is called with a `Term`, if it takes an argument: when ``term.stop`` is set, it
    must return. If leading is lost, ``stop`` is set and ``lost_master_fn`` is called at once, in a thread of its own; when ``master_fn`` has
    returned, this process stands again. If ``master_fn`` returns by itself, or raises, this process resigns at once, so that another
    one leads, and `run` returns, or raises that. Each term ends with one call of ``lost_master_fn``.

    Args:
        name: what to lead, a shard say.
        master_fn: what leads.
        lost_master_fn: called without an argument when leading is over, for whatever reason.
        system, ttl, lock_delay: as for `Lock`.

    >>> from coopy import init_system
    >>> from coopy.sync import Election, Locks
    >>> locks = init_system(Locks, "locks")
    >>> def lead(term):
    ...     print("leads with token", term.token)
    >>> Election("shard 1", lead, lambda: print("leads no more"), system=locks).run()
    leads with token 1
    leads no more
    >>> locks.close()
    """

    def __init__(
        self,
        name: str,
        master_fn: Callable[..., object],
        lost_master_fn: Callable[[], object] | None = None,
        *,
        system: Any = None,
        ttl: float = TTL_S,
        lock_delay: float = 0.0,
    ) -> None:
        self.name = name
        self._work = master_fn
        self._lost = lost_master_fn
        self.lock = Lock(name, lock_lost_callback=self._on_lost, system=system, ttl=ttl, lock_delay=lock_delay)
        """The lock that the one which leads holds."""
        self._guard = threading.Lock()
        self._term: Term | None = None
        """The term that goes on, until its end was told."""
        self._running = False
        self._shut = threading.Event()

    @property
    def leads(self) -> bool:
        """Whether this process leads, by its own clock."""
        return self.lock.held

    def contenders(self) -> list[str]:
        """Returns who leads, and then those who stand, in order."""
        return self.lock.contenders()

    def run(self) -> None:
        """Stands, leads, and stands again, until ``master_fn`` returns by itself or `shutdown` is called.

        Raises what ``master_fn`` raises, `SystemClosed`, and `UsageError` if it runs already.
        """
        with self._guard:
            if self._running:
                raise UsageError(f"the election for {self.name!r} runs already, in another thread")
            self._running = True
        try:
            while not self._shut.is_set():
                if self._stand() and self._lead():
                    return
        finally:
            self._running = False

    def shutdown(self) -> None:
        """Ends it: sets the ``stop`` of the work, and has `run` return when that has returned. Does not wait. May be called by any thread."""
        self._shut.set()
        self.lock.refuse()
        term = self._term
        if term is not None:
            term.stop.set()

    def close(self) -> None:
        """Ends it, and gives up what it leads at once, without waiting for the work."""
        self.shutdown()
        self.lock.close()
        self._tell_of_end()

    def _stand(self) -> bool:
        """Returns whether this process leads; False if it is to stand again."""
        try:
            return self.lock.acquire()
        except LockLost:
            return False
        except ClusterError:
            self._shut.wait(PAUSE_S)
            return False

    def _lead(self) -> bool:
        """Does the work. Returns whether it has ended by itself."""
        try:
            term = Term(self.lock, threading.Event())
        except LockLost:
            return False
        self._term = term
        if self._shut.is_set():
            term.stop.set()
        try:
            # A loss from now on sets `stop`; one before may have been told while there was no term.
            with suppress(LockLost):
                term.check()
                self._work(*((term,) if takes_term(self._work) else ()))
        finally:
            by_itself = term.leads and not term.stop.is_set()
            with suppress(LockLost):
                self.lock.release()
            self._tell_of_end()
        return by_itself

    def _on_lost(self) -> None:
        term = self._term
        if term is not None and not term.leads:
            term.stop.set()
            self._tell_of_end()

    def _tell_of_end(self) -> None:
        """Calls what is to be called at the end of a term, once for each."""
        with self._guard:
            term, self._term = self._term, None
        if term is not None and self._lost is not None:
            self._lost()

    def __repr__(self) -> str:
        return f"<Election {self.name!r}, {'leads' if self.leads else 'stands' if self._running else 'does not stand'}>"
