"""Who holds which lock, who waits for it, and until when: the state, in which a call decides and nobody waits.

`Locks` is a plain class: a system of its own, or an attribute of another class. Programs wait with the handles of
`coopy.sync.lock`, which call it; whose turn it is, and when a holder's time is over, is decided here, by the order of the log and by counted time.

An *owner* is one who asks once: a handle uses a new name for each try. An owner belongs to a *session*, which is a lease: all owners of a
session are renewed together, and what they hold and wait for ends with it. A session begins with its first owner, and is gone with its last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coopy import LockLost, UsageError, abort_exception, action_index, readonly
from coopy.sync.ticks import Count, Ticks

WAITS, GONE = 0, -1
"""What an owner has in the place of a token while it waits, and if it is not there (any more)."""
_NS = 1_000_000_000  # Nanoseconds in a second.


class _Queue:
    """One lock that somebody holds or waits for."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """How many may hold it at once."""
        self.holders: dict[str, int] = {}
        """By owner, in the order in which they got it: the token."""
        self.waiting: dict[str, None] = {}
        """Owners, in the order in which they came."""
        self.asleep: dict[str, str] = {}
        """Owners who have put the lock down until they are told that something has changed, and of which condition."""


class Locks:
    """Locks by name: holders, tokens, and who waits, in order.

    A lock that becomes free goes to the next who waits, in the same action. Each time that a lock is given to an owner
    it has a *token*, which is larger than all tokens before: the index of the action, or one more than the last token where one action
    gives several. Nothing depends on the time of day, nor on the order of a hash.

    >>> from coopy import init_system
    >>> locks = init_system(Locks, "locks")
    >>> ann, bob = locks.acquire("stock", "ann"), locks.acquire("stock", "bob", wait=True)
    >>> ann > 0, bob, locks.contenders("stock")
    (True, 0, ['ann', 'bob'])
    >>> locks.release("stock", ann), locks.release("stock", ann), locks.token("stock", "bob") > ann
    (True, False, True)
    """

    def __init__(self) -> None:
        self.ticks = Ticks()
        self.changes = 0
        """How often somebody came, went, or was given a lock."""
        self._last_token = 0
        self._queues: dict[str, _Queue] = {}
        self._sessions: dict[str, dict[str, str]] = {}
        """By session: the owners of it, each with the name of the lock."""
        self._session_of: dict[str, str] = {}
        self._events: dict[str, tuple[bool, int]] = {}
        """By name: whether it is set, and how often it was."""

    # -- what changes something

    @abort_exception
    def acquire(
        self, name: str, owner: str, session: str | None = None, ttl: float = 15.0, wait: bool = False, limit: int = 1
    ) -> int:
        """Takes a lock, or with ``wait`` a place in its queue. Returns the token; 0 if the owner does not have the lock.

        An owner who has asked before keeps what it has. The session (by default one of the owner's own) is renewed; it lasts at least ``ttl``
        seconds from now. ``limit`` is how many may hold the lock at once, and the same for all who ask. Raises `UsageError`.
        """
        session = owner if session is None else session
        ttl_ns = self._checked(name, owner, session, ttl, limit)
        self.ticks.begin(session, ttl_ns)
        queue = self._queues.get(name)
        if owner in self._session_of:
            assert queue is not None, "a lock that somebody holds or waits for is there"
            return max(WAITS, self._place(queue, owner))
        if queue is None:
            queue = self._queues[name] = _Queue(limit)
        free = len(queue.holders) < queue.limit and not queue.waiting
        if free or wait:
            self._session_of[owner] = session
            self._sessions.setdefault(session, {})[owner] = name
            queue.waiting[owner] = None
            self.changes += 1
            self._give(queue)
        self._tidy(name)
        self._tidy_session(session)
        return max(WAITS, self._place(queue, owner))

    def release(self, name: str, token: int) -> bool:
        """Frees a lock. Returns whether it was held with that token; if not, nothing has changed."""
        queue = self._queues.get(name)
        for owner, held in queue.holders.items() if queue is not None else ():
            if held == token:
                self._drop(owner)
                return True
        return False

    def leave(self, owner: str) -> int:
        """Takes an owner out who waits. Returns its token if it has the lock by now, and has it still; 0 if it waited, -1 if it is not there."""
        place = self.place(owner)
        if place == WAITS:
            self._drop(owner)
        return place

    def drop(self, owner: str) -> bool:
        """Takes an owner out, whether it holds or waits. Returns whether it was there."""
        if owner not in self._session_of:
            return False
        self._drop(owner)
        return True

    def renew(self, session: str, owners: Iterable[str] | None = None) -> dict[str, int] | None:
        """Gives a session its full time again. Returns the tokens of its owners, 0 for one who waits; None if there is no such session.

        With ``owners``, those that it does not name are taken out: nobody knows of them any more.
        """
        if session not in self._sessions:
            return None
        if owners is not None:
            known = frozenset(owners)
            self._drop(*[each for each in self._sessions[session] if each not in known])
            if session not in self._sessions:
                return None
        self.ticks.renew(session)
        return {owner: self.place(owner) for owner in self._sessions[session]}

    def end(self, session: str) -> bool:
        """Ends a session, and frees all that it holds. Returns whether there was one."""
        owners = self._sessions.get(session)
        if owners is None:
            return False
        self._drop(*owners)
        return True

    def tick(self, timekeeper: str, beat: int, elapsed_ns: int) -> list[str]:
        """Counts time; see `Ticks.tick`. Returns the sessions that have ended by it, and whose locks were given on."""
        ended = self.ticks.tick(timekeeper, beat, elapsed_ns)
        # All at once: a lock must not be given to a session that ends as well.
        self._drop(*[owner for session in ended for owner in self._sessions[session]])
        return ended

    def claim(self, timekeeper: str, beat: int) -> bool:
        """Makes a process the timekeeper; see `Ticks.claim`."""
        return self.ticks.claim(timekeeper, beat)

    # -- for conditions

    def sleep(self, name: str, token: int, condition: str) -> bool:
        """Puts a lock down until its owner is told of a condition. Returns whether it was held with that token; if not, nothing has changed."""
        queue = self._queues.get(name)
        for owner, held in queue.holders.items() if queue is not None else ():
            if held == token:
                assert queue is not None, "it has a holder"
                del queue.holders[owner]
                queue.asleep[owner] = condition
                self.changes += 1
                self._give(queue)
                return True
        return False

    def wake(self, name: str, condition: str, number: int) -> int:
        """Puts so many who sleep into the queue of a lock, the one first who has slept longest. Returns how many."""
        queue = self._queues.get(name)
        found = [owner for owner, of in queue.asleep.items() if of == condition][: max(0, number)] if queue is not None else []
        for owner in found:
            self.rouse(owner)
        return len(found)

    def rouse(self, owner: str) -> bool:
        """Puts one who sleeps into the queue of its lock. Returns whether it slept."""
        queue = self._queue_of(owner)
        if queue is None or owner not in queue.asleep:
            return False
        del queue.asleep[owner]
        queue.waiting[owner] = None
        self.changes += 1
        self._give(queue)
        return True

    # -- for events

    def set_event(self, name: str) -> None:
        """Sets an event, and counts that it was set."""
        is_set, times = self._events.get(name, (False, 0))
        if not is_set:
            self._events[name] = True, times + 1
            self.changes += 1

    def clear_event(self, name: str) -> None:
        """Clears an event."""
        self._events[name] = False, self._events.get(name, (False, 0))[1]

    # -- what changes nothing

    @readonly
    def event(self, name: str) -> tuple[bool, int]:
        """Returns whether an event is set, and how often it was set so far."""
        return self._events.get(name, (False, 0))

    @readonly
    def token(self, name: str, owner: str) -> int:
        """Returns the token with which an owner holds a lock; 0 if it does not."""
        queue = self._queues.get(name)
        return queue.holders.get(owner, 0) if queue is not None else 0

    @readonly
    def place(self, owner: str) -> int:
        """Returns the token of an owner; 0 if it waits, -1 if it is not there."""
        queue = self._queue_of(owner)
        return GONE if queue is None else self._place(queue, owner)

    @readonly
    def news(self, changes: int, owners: list[str]) -> tuple[int, list[int]] | None:
        """Returns how many changes there were, and the place of each owner; None if there was no change since."""
        return None if changes == self.changes else (self.changes, [self.place(owner) for owner in owners])

    @readonly
    def contenders(self, name: str) -> list[str]:
        """Returns the owners who hold a lock, and then those who wait for it, each in the order in which they came."""
        queue = self._queues.get(name)
        return [*queue.holders, *queue.waiting] if queue is not None else []

    @readonly
    def held(self) -> dict[str, dict[str, int]]:
        """Returns, by name, who holds each lock, and with which tokens."""
        return {name: dict(queue.holders) for name, queue in self._queues.items() if queue.holders}

    @readonly
    def fence(self, name: str, token: int) -> None:
        """Raises `LockLost` unless a lock is held with that token: to be called first in a method that needs it."""
        queue = self._queues.get(name)
        if queue is None or token not in queue.holders.values():
            raise LockLost(name, token, "it is not held with that token (any more)")

    @readonly
    def count(self) -> Count:
        """Returns how time stands; see `Ticks.count`."""
        return self.ticks.count()

    @readonly
    def __repr__(self) -> str:
        return f"<Locks: {len(self._queues)} held or waited for, by {len(self._sessions)} sessions>"

    # -- one call for all, as handles make it

    @abort_exception
    def change_locks(self, what: str, *args: Any) -> Any:
        """Calls a method that changes something, by its name. Raises `UsageError` for another one."""
        return self._method(what, _CHANGES)(*args)

    @readonly
    def see_locks(self, what: str, *args: Any) -> Any:
        """Calls a method that changes nothing, by its name. Raises `UsageError` for another one."""
        return self._method(what, _QUESTIONS)(*args)

    def _method(self, what: str, of: frozenset[str]) -> Any:
        if what not in of:
            raise UsageError(f"{what!r}: must be one of {', '.join(sorted(of))}. Nothing has changed.")
        return getattr(self, what)

    # -- how

    def _checked(self, name: str, owner: str, session: str, ttl: float, limit: int) -> int:
        """Returns the ttl in nanoseconds. Raises `UsageError`."""
        for label, value in (("name", name), ("owner", owner), ("session", session)):
            if type(value) is not str or not value:
                raise UsageError(f"{label}={value!r}: must be a text that is not empty. Nothing has changed.")
        if not 0 < ttl < float("inf"):
            raise UsageError(
                f"ttl={ttl!r}: must be a number of seconds, more than 0. A lock without an end would outlive its holder. Nothing has changed."
            )
        if limit < 1:
            raise UsageError(f"limit={limit!r}: must be at least 1. Nothing has changed.")
        queue = self._queues.get(name)
        if queue is not None and queue.limit != limit:
            raise UsageError(
                f"{name!r} may be held by {queue.limit} at once, and not by {limit}, as long as somebody holds it or waits for it. Nothing has changed."
            )
        if owner in self._session_of and (self._session_of[owner], self._sessions.get(session, {}).get(owner)) != (
            session,
            name,
        ):
            raise UsageError(
                f"{owner!r} has asked for another lock, or in another session. Each who asks needs a name of its own. Nothing has changed."
            )
        return max(1, round(ttl * _NS))

    def _queue_of(self, owner: str) -> _Queue | None:
        session = self._session_of.get(owner)
        return None if session is None else self._queues[self._sessions[session][owner]]

    def _place(self, queue: _Queue, owner: str) -> int:
        if owner in queue.holders:
            return queue.holders[owner]
        return WAITS if owner in queue.waiting or owner in queue.asleep else GONE

    def _give(self, queue: _Queue) -> None:
        """Gives a lock to those whose turn it is."""
        while queue.waiting and len(queue.holders) < queue.limit:
            owner = next(iter(queue.waiting))
            del queue.waiting[owner]
            self._last_token = queue.holders[owner] = max(action_index(), self._last_token + 1)
            self.changes += 1

    def _drop(self, *owners: str) -> None:
        """Takes owners out, and then gives on what they held: not to one of them."""
        names: dict[str, None] = {}
        sessions: dict[str, None] = {}
        for owner in owners:
            session = self._session_of.pop(owner)
            name = self._sessions[session].pop(owner)
            queue = self._queues[name]
            for places in (queue.holders, queue.waiting, queue.asleep):
                places.pop(owner, None)
            names[name] = sessions[session] = None
            self.changes += 1
        for name in names:
            self._give(self._queues[name])
            self._tidy(name)
        for session in sessions:
            self._tidy_session(session)

    def _tidy(self, name: str) -> None:
        """Forgets a lock that nobody wants."""
        queue = self._queues[name]
        if not queue.holders and not queue.waiting and not queue.asleep:
            del self._queues[name]

    def _tidy_session(self, session: str) -> None:
        """Forgets a session that has nobody."""
        if not self._sessions.get(session):
            self._sessions.pop(session, None)
            self.ticks.end(session)


_CHANGES = frozenset(
    {
        "acquire",
        "release",
        "leave",
        "drop",
        "renew",
        "end",
        "tick",
        "claim",
        "sleep",
        "wake",
        "rouse",
        "set_event",
        "clear_event",
    }
)
_QUESTIONS = frozenset({"token", "place", "news", "contenders", "held", "fence", "count", "event"})
