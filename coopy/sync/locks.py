"""Who holds which lock, who waits for it or at a barrier, and until when: the state, in which a call decides and nobody waits.

`Locks` is a plain class: a system of its own, or an attribute of another class. Programs wait with the handles of
`coopy.sync.lock`, which call it; whose turn it is, and when a holder's time is over, is decided here, by the order of the log and by counted time.

An *owner* is one who asks once: a handle uses a new name for each try. An owner belongs to a *session*, which is a lease: all owners of a
session are renewed together, and what they hold and wait for ends with it. A session begins with its first owner, and is gone with its last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from coopy import LockLost, UsageError, abort_exception, action_index, readonly
from coopy.sync.queues import GONE, WAITS, Barrier, Queue
from coopy.sync.ticks import Count, Ticks

P = TypeVar("P", Queue, Barrier)
_NS = 1_000_000_000  # Nanoseconds in a second.
_DELAY = "lock_delay after "
"""How the lease of a lock that is withheld is called; no session's name begins so."""


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
        self._queues: dict[str, Queue] = {}
        self._barriers: dict[str, Barrier] = {}
        self._sessions: dict[str, dict[str, Queue | Barrier]] = {}
        """By session: the owners of it, each with the lock or the barrier."""
        self._session_of: dict[str, str] = {}
        self._withheld: dict[str, tuple[Queue, str]] = {}
        """By lease: what nobody is to have until it ends, and who has lost it."""
        self._events: dict[str, tuple[bool, int]] = {}
        """By name: whether it is set, and how often it was."""

    # -- what changes something

    @abort_exception
    def acquire(
        self,
        name: str,
        owner: str,
        session: str | None = None,
        ttl: float = 15.0,
        wait: bool = False,
        limit: int = 1,
        lock_delay: float = 0.0,
    ) -> int:
        """Takes a lock, or with ``wait`` a place in its queue. Returns the token; 0 if the owner does not have the lock.

        An owner who has asked before keeps what it has. The session (by default one of the owner's own) is renewed; it lasts at least ``ttl``
        seconds from now. ``limit`` is how many may hold the lock at once, and the same for all who ask. If the owner loses the lock because its
        time is over, nobody has it for ``lock_delay`` seconds. Raises `UsageError`.
        """
        if not 0 <= lock_delay < float("inf"):
            raise UsageError(f"lock_delay={lock_delay!r}: must be a number of seconds, 0 or more. Nothing has changed.")
        place = self._enter(self._queues, Queue, name, owner, session, ttl, wait, limit)
        if lock_delay and place != GONE:
            self._queues[name].delays[owner] = max(1, round(lock_delay * _NS))
        return max(WAITS, place)

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

    def renew(self, session: str, gone: Iterable[str] = (), lost: Iterable[str] = ()) -> dict[str, int] | None:
        """Gives a session its full time again. Returns the tokens of its owners, 0 for one who waits; None if there is no such session.

        Those of its owners who are ``gone`` are taken out before: nobody knows of them any more. ``lost`` are those of them who have lost
        what they held by their own clock.
        """
        if session not in self._sessions:
            return None
        self._drop(*[each for each in gone if each in self._sessions[session]], lost=frozenset(lost))
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
        leases = self.ticks.tick(timekeeper, beat, elapsed_ns)
        ended = [each for each in leases if each in self._sessions]
        # All at once: a lock must not be given to a session that ends as well.
        owners = [owner for session in ended for owner in self._sessions[session]]
        self._drop(*owners, lost=frozenset(owners))
        for lease in leases:
            if lease in self._withheld:
                queue, owner = self._withheld.pop(lease)
                del queue.withheld[owner]
                self._give(queue)
                self._tidy(queue)
        return ended

    def claim(self, timekeeper: str, beat: int, anew: bool = True) -> bool:
        """Makes a process the timekeeper; see `Ticks.claim`."""
        return self.ticks.claim(timekeeper, beat, anew)

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
        if not isinstance(queue, Queue) or owner not in queue.asleep:
            return False
        del queue.asleep[owner]
        queue.waiting[owner] = None
        self.changes += 1
        self._give(queue)
        return True

    # -- for barriers

    @abort_exception
    def arrive(
        self, name: str, owner: str, session: str | None = None, ttl: float = 15.0, wait: bool = True, parties: int = 1
    ) -> int:
        """Comes to a barrier, at which so many parties must come; without ``wait`` only if it is the last one. Who has come is there until
        it leaves or its session ends, which breaks the barrier.

        Returns in which place it came, from 1, if all are there; 0 if it waits, -1 if the barrier is broken. Raises `UsageError`.
        """
        return self._enter(self._barriers, Barrier, name, owner, session, ttl, wait, parties)

    @abort_exception
    def abort(self, name: str, parties: int) -> None:
        """Breaks a barrier. Those who wait are told. Raises `UsageError`."""
        self._check_limit(self._barriers, name, parties, "parties")
        barrier = self._barriers.setdefault(name, Barrier(name, parties))
        if not barrier.broken:
            barrier.broken = "abort() was called"
            self.changes += 1
            self._drop(*barrier.waiting)

    def reset(self, name: str) -> None:
        """Makes a barrier whole. Those who wait are told that it was broken."""
        barrier = self._barriers.get(name)
        if barrier is not None:
            self._drop(*barrier.waiting)
            barrier.broken = ""
            self.changes += 1
            self._tidy(barrier)

    # -- for events

    def set_event(self, name: str) -> None:
        """Sets an event, and counts that it was set."""
        is_set, times = self._events.get(name, (False, 0))
        if not is_set:
            self._events[name] = True, times + 1
            self.changes += 1

    def clear_event(self, name: str) -> None:
        """Clears an event."""
        if name in self._events:  # Of one that was never set nothing is kept.
            self._events[name] = False, self._events[name][1]

    # -- what changes nothing

    @readonly
    def barrier(self, name: str) -> tuple[list[str], str]:
        """Returns the owners who wait at a barrier, in the order in which they came, and why it is broken: "" if it is not."""
        barrier = self._barriers.get(name)
        return (list(barrier.waiting), barrier.broken) if barrier is not None else ([], "")

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
        return GONE if queue is None else queue.place(owner)

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

    def _checked(
        self, places: Mapping[str, Queue | Barrier], name: str, owner: str, session: str, ttl: float, limit: int
    ) -> int:
        """Returns the ttl in nanoseconds. Raises `UsageError`."""
        self._check_limit(places, name, limit, "limit" if places is self._queues else "parties")
        for label, value in (("name", name), ("owner", owner), ("session", session)):
            if type(value) is not str or not value:
                raise UsageError(f"{label}={value!r}: must be a text that is not empty. Nothing has changed.")
        if session.startswith(_DELAY):
            raise UsageError(f"session={session!r}: must not begin with {_DELAY!r}. Nothing has changed.")
        if not 0 < ttl < float("inf"):
            raise UsageError(
                f"ttl={ttl!r}: must be a number of seconds, more than 0. A lock without an end would outlive its holder. Nothing has changed."
            )
        queue = places.get(name)
        if owner in self._session_of and (
            self._session_of[owner] != session or self._sessions.get(session, {}).get(owner) is not queue
        ):
            raise UsageError(
                f"{owner!r} has asked for another lock, or in another session. Each who asks needs a name of its own. Nothing has changed."
            )
        return max(1, round(ttl * _NS))

    @staticmethod
    def _check_limit(places: Mapping[str, Queue | Barrier], name: str, limit: int, label: str) -> None:
        if limit < 1:
            raise UsageError(f"{label}={limit!r}: must be at least 1. Nothing has changed.")
        queue = places.get(name)
        if queue is not None and queue.limit != limit:
            raise UsageError(queue.refusal(limit))

    def _enter(
        self,
        places: dict[str, P],
        kind: type[P],
        name: str,
        owner: str,
        session: str | None,
        ttl: float,
        wait: bool,
        limit: int,
    ) -> int:
        """Has an owner come to a lock or a barrier. Returns its place."""
        session = owner if session is None else session
        ttl_ns = self._checked(places, name, owner, session, ttl, limit)
        self.ticks.begin(session, ttl_ns)
        queue = places.get(name)
        if queue is None:
            queue = places[name] = kind(name, limit)
        if owner not in self._session_of and queue.admits(wait):
            self._session_of[owner] = session
            self._sessions.setdefault(session, {})[owner] = queue
            queue.waiting[owner] = None
            self.changes += 1
            self._give(queue)
        self._tidy(queue)
        self._tidy_session(session)
        return queue.place(owner)

    def _queue_of(self, owner: str) -> Queue | Barrier | None:
        session = self._session_of.get(owner)
        return None if session is None else self._sessions[session][owner]

    def _give(self, queue: Queue | Barrier) -> None:
        """Gives a lock to those whose turn it is."""
        self.changes += queue.give(self._next_token)

    def _next_token(self) -> int:
        self._last_token = max(action_index(), self._last_token + 1)
        return self._last_token

    def _drop(self, *owners: str, lost: frozenset[str] = frozenset()) -> None:
        """Takes owners out, and then gives on what they held: not to one of them."""
        queues: dict[Queue | Barrier, None] = {}
        sessions: dict[str, None] = {}
        going = [each for owner in owners for each in self._sessions[self._session_of[owner]][owner].all_with(owner)]
        for owner in dict.fromkeys(going):
            session = self._session_of.pop(owner)
            queue = self._sessions[session].pop(owner)
            if owner in lost:
                self._withhold(queue, owner)
            queue.drop(owner)
            queues[queue] = sessions[session] = None
            self.changes += 1
        for queue in queues:
            self._give(queue)
            self._tidy(queue)
        for session in sessions:
            self._tidy_session(session)

    def _withhold(self, queue: Queue | Barrier, owner: str) -> None:
        """Has nobody have what an owner loses, for as long as it has said: by a lease, as of whatever lasts."""
        delay_ns = queue.delay_of(owner)
        if delay_ns and isinstance(queue, Queue):
            lease = f"{_DELAY}{owner}"
            self._withheld[lease] = queue, owner
            queue.withheld[owner] = None
            self.ticks.begin(lease, delay_ns)

    def _tidy(self, queue: Queue | Barrier) -> None:
        """Forgets a lock or a barrier that nobody wants."""
        if not queue.is_wanted:
            if isinstance(queue, Queue):
                del self._queues[queue.name]
            else:
                del self._barriers[queue.name]

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
        "arrive",
        "abort",
        "reset",
        "set_event",
        "clear_event",
    }
)
_QUESTIONS = frozenset({"token", "place", "news", "contenders", "held", "fence", "count", "event", "barrier"})
