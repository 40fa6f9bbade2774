"""What this process is to the locks of one system: its sessions, who of it holds or waits, and the threads that see to it. It has
more than 500 lines because callers and threads change the same claims under one lock, and keep one promise together.

All handles of a system in a process share one `Presence`. It has a session for each length of lease that is in use, and four threads, none
of them a caller's: one renews the sessions; one looks when the holder's own time is over, and never asks the system anything, so that it
is not held up by it; one is told of actions, and wakes those whose turn has come; and the timekeeper (`coopy.sync.timekeeper`).

**The holder's own deadline** runs from before the acquisition or the renewal was sent, by the clock of `coopy.sync.boot`, and is over
after two thirds of the lease. The others can't have the lock before all of it is over, which is counted from when that was recorded. What was lost stays
lost: a later renewal of the session does not bring it back. So `_confirm` looks at the clock before it sets a later deadline.

What the state has and nobody here knows of any more (a call whose outcome is not known, a waiter that was interrupted) is taken out with
the next renewal, which names those owners. It does not name the ones that stay: others may be given a lock while it is on its way.
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from coopy import CoopyError, LockLost, SystemClosed, UsageError, control
from coopy.ground.holding import Alarm
from coopy.ground.raised import on_failure, telling
from coopy.sync import boot
from coopy.sync.claims import ASKS, HOLDS, LOST, OVER, Asker, Claim, Moved, Session
from coopy.sync.queues import GONE, WAITS
from coopy.sync.ticks import TICKS_PER_LEASE
from coopy.sync.timekeeper import CountingSystem, Timekeeper
from coopy.sync.waits import FOREVER_NS, TAKE, Wait

RENEWALS = 3
"""So often a session is renewed in the time of its lease: two may fail, and the third still comes before it is over."""
HELD_OF, HELD = 3, 2
"""The holder stops after two thirds. By then a renewal has failed for a third, and the others can't have the lock for another third."""
TELL_PAUSE_S = 0.001
"""A busy system does not wake this process more often than a thousand times a second, and a waiter is not later by more."""
GOODBYE_S = 2.0
"""A process that ends gives its locks back, but does not wait longer than that for a cluster which can't be reached."""


class Presence:
    """This process, to the locks of one system. Its members may be called by any thread, outside of any action."""

    def __init__(self, system: Any) -> None:
        self.system = system
        self.pid = os.getpid()
        self.id = f"{socket.gethostname()}:{self.pid}:{os.urandom(6).hex()}"
        self.closed = False
        self._lock = threading.RLock()
        self._sessions: dict[float, Session] = {}
        self._handles = 0
        self._forgotten: deque[set[Claim]] = deque()
        """What handles held that nobody has any more."""
        self._number = 0
        self._changes = -1
        self._watchers: set[Moved] = set()
        self._renew_bell = Alarm()
        self._watch_bell = Alarm()
        self._ended = threading.Event()
        self._subscription: Any = None
        self.timekeeper = Timekeeper(self.id, CountingSystem(system))

    def _start(self) -> None:
        controls = control(self.system)
        self._subscription = controls.subscribe(self._told, ended=self._end)
        controls.before_closing(_weakly(self))
        for work in (self._renew_on, self._watch):
            threading.Thread(target=work, name=f"coopy sync {self.id}", daemon=True).start()
        self.timekeeper.start()

    # -- calls of the system

    def change(self, what: str, *args: Any) -> Any:
        """Makes a call that is recorded. Raises what the system raises."""
        return self.system.change_locks(what, *args)

    def see(self, what: str, *args: Any) -> Any:
        """Makes a call that is not. Raises what the system raises."""
        return self.system.see_locks(what, *args)

    # -- for handles

    def acquire(
        self,
        what: str,
        name: str,
        ttl: float,
        wait: bool,
        limit: int,
        on_lost: Callable[[Claim], object],
        asker: Asker,
        lock_delay: float = 0.0,
    ) -> Claim:
        """Asks for a lock, by the method of `Locks` of that name. Returns what came of it: a claim that holds, one that asks on (only with
        ``wait``), or one that is over.

        Raises what the system raises; then nothing is held, and what the system may have of it is taken out later.
        """
        with self._lock:
            self.refuse_if_closed()
            session = self._sessions.setdefault(ttl, Session(f"{self.id}/{ttl!r}", ttl))
            self._number += 1
            claim = Claim(name, f"{self.id}/{self._number}", session, on_lost, asker)
            session.claims[claim.owner] = claim
            sent = boot.now_ns()
        with telling(lambda error: self.abandon(claim, isinstance(error, UsageError))):
            token = self.change(what, name, claim.owner, session.id, ttl, wait, limit, *[lock_delay] * bool(lock_delay))
        with self._lock:
            self._confirm(session, sent)
            if not token and not wait:
                self._forget(claim)
                return claim
            claim.is_known = True
            self._take(claim, token)
        if token and claim.state == ASKS and not wait:
            self.abandon(claim)  # The answer took so long that this process's own time was over when it came.
        self._renew_bell.set()
        self.timekeeper.wake()
        return claim

    def waiting(self, claim: Claim, until_ns: int | None) -> Wait[bool]:
        """Waits until a claim holds, or until a moment of `boot.now_ns`. Returns whether it holds; if not, it is over.

        Raises `LockLost` if its place in the queue is gone, or if it was given and lost before this thread went on; `SystemClosed`.
        """
        with on_failure(self.abandon, claim):
            while left_ns := self._step(claim, until_ns):
                yield left_ns
            if claim.state == HOLDS:
                yield TAKE
        if claim.state == LOST:
            raise LockLost(claim.name, claim.token, claim.why)
        return claim.state == HOLDS

    def _step(self, claim: Claim, until_ns: int | None) -> int:
        """Looks how it stands with a claim that waits. Returns how long to wait for `Claim.moved` before the next look; 0 if it is decided."""
        claim.moved.clear()
        if claim.state == ASKS and claim.place == WAITS:
            # What came of it before it was known here was told to nobody.
            place = self.see("place", claim.owner)
            with self._lock:
                self._take(claim, place)
        if claim.state != ASKS:
            return 0
        left_ns = FOREVER_NS if until_ns is None else until_ns - boot.now_ns()
        if left_ns <= 0:
            self._leave(claim)
            return 0
        if claim.place != WAITS:
            # It was given, but the session was not renewed in time: it is safe to hold it only once it is.
            left_ns = min(left_ns, max(1, self._try_to_renew(claim.session)))
        return left_ns if claim.state == ASKS else 0

    def sleeping(self, claim: Claim, condition: str, until_ns: int | None) -> Wait[bool]:
        """Puts a lock down until the condition is told of, or a moment has come, and waits to have it again. Returns whether it was told.

        Raises `LockLost` if the lock was lost before, or the place in its queue meanwhile.
        """
        with self._lock:
            if not self.holds(claim):
                raise LockLost(claim.name, claim.token, claim.why)
            token = claim.past_token = claim.token
            claim.state, claim.place, claim.token = ASKS, WAITS, 0
        is_told = True
        with on_failure(self.abandon, claim):
            if not self.change("sleep", claim.name, token, condition):
                raise LockLost(claim.name, token, "it was taken away")
            while until_ns is not None and (left_ns := self._step(claim, None)):
                if until_ns <= boot.now_ns():
                    is_told, until_ns = not self.change("rouse", claim.owner), None
                else:
                    yield max(1, min(left_ns, until_ns - boot.now_ns()))
        yield from self.waiting(claim, None)
        return is_told

    def refuse_if_closed(self) -> None:
        """Raises `SystemClosed` if there are no handles any more, or the system is closed, or about to be."""
        if self.closed:
            raise SystemClosed(f"the handles of {self.system!r} are closed, or it is")

    def watching(self, watcher: Moved, on: bool) -> None:
        """Has an event of a thread, or of a task, be set when anything changes, or not any more."""
        with self._lock:
            (self._watchers.add if on else self._watchers.discard)(watcher)

    def cancel(self, claim: Claim) -> None:
        """Has a claim be over that waits, and whoever waits for it be told."""
        if os.getpid() != self.pid:
            return
        with self._lock:
            if claim.state == ASKS:
                self.abandon(claim)
                claim.moved.set()

    def holds(self, claim: Claim) -> bool:
        """Returns whether a claim still holds its lock, by this process's clock, and without a call of the system."""
        if os.getpid() != self.pid:
            return False
        if claim.state == HOLDS and boot.now_ns() >= claim.session.until_ns:
            self._expire(claim.session)
        return claim.state == HOLDS

    def release(self, claim: Claim) -> bool:
        """Gives a lock back. Returns False if it was lost before. If the system can't be reached, it is given back as soon as it can be."""
        if os.getpid() != self.pid:
            return False
        with self._lock:
            if not self.holds(claim):
                return False
            claim.state = OVER
        try:
            with telling(lambda error: self.abandon(claim, isinstance(error, SystemClosed))):
                released: bool = self.change("release", claim.name, claim.token)
        except SystemClosed:
            raise
        except CoopyError:
            return True
        with self._lock:
            self._forget(claim)
        return released

    def abandon(self, claim: Claim, is_unknown: bool = False) -> None:
        """Forgets a claim, and has the system forget it too, unless it never knew of it."""
        if os.getpid() != self.pid:
            return
        with self._lock:
            if claim.state != LOST:
                claim.state = OVER
            self._forget(claim)
            if not is_unknown:
                claim.session.gone.add(claim.owner)
                self._renew_bell.set()

    def renew(self, claim: Claim) -> None:
        """Renews the session of a claim now. Raises what the system raises."""
        self._renew(claim.session)

    def others_of(self, asker: object, name: str, mine: Claim | None) -> Claim | None:
        """Returns a claim by which a thread, or a task, holds a lock of that name, if it is not that one."""
        with self._lock:
            for session in self._sessions.values():
                for claim in session.claims.values():
                    if claim.name == name and claim.asker is asker and claim is not mine and claim.state == HOLDS:
                        return claim
        return None

    def enter(self) -> None:
        """Says that there is a handle more."""
        self._handles += 1

    def forget_handle(self, held: set[Claim]) -> None:
        """Says that nobody has a handle any more. May be called by a finalizer, in between of anything."""
        self._forgotten.append(held)
        self._renew_bell.set()

    def leave(self) -> None:
        """Says that there is a handle less. With the last one all ends."""
        if os.getpid() != self.pid:
            return
        with _guard:
            self._handles -= 1
            is_last = not self._handles
            if is_last and _here.get(id(self.system)) is self:
                del _here[id(self.system)]  # The next handle has a presence of its own.
        if is_last:
            self.close()

    def close(self) -> None:
        """Gives everything back, and ends. Does not wait for long for a system that does not answer."""
        if os.getpid() != self.pid:
            return
        with self._lock:
            if self.closed:
                return
            self.closed = True
            sessions = [session.id for session in self._sessions.values() if session.claims or session.gone]
        if sessions:
            self._say_goodbye(sessions)
        self._end()
        if self._subscription is not None:
            self._subscription.close()

    # -- what becomes of claims; all with the lock held

    def _take(self, claim: Claim, place: int) -> None:
        """Takes what was heard of a claim that asks."""
        if claim.state != ASKS or place == WAITS or 0 < place <= claim.past_token or (place == GONE and claim.is_leaving):
            return
        claim.place = place
        if place == GONE:
            self._lose(claim, "this process did not renew its place for longer than the lease, or it was taken away")
        elif boot.now_ns() < claim.session.until_ns:
            claim.state, claim.token = HOLDS, place
            self._watch_bell.set()
        claim.moved.set()

    def _confirm(self, session: Session, sent_ns: int) -> None:
        """Takes that the system has renewed a session by what was sent at that moment."""
        if boot.now_ns() >= session.until_ns:
            self._expire(session)
        session.sent_ns = max(session.sent_ns, sent_ns)
        session.until_ns = max(session.until_ns, sent_ns + session.ttl_ns * HELD // HELD_OF)
        self._watch_bell.set()

    def _expire(self, session: Session) -> None:
        with self._lock:
            if boot.now_ns() >= session.until_ns:
                for claim in [each for each in session.claims.values() if each.state == HOLDS]:
                    self._lose(claim, f"it could not be renewed for {session.ttl * HELD / HELD_OF:g} s, two thirds of its time")

    def _lose(self, claim: Claim, why: str) -> None:
        held = claim.state == HOLDS
        if held:
            claim.session.lost.add(claim.owner)
        claim.state, claim.why = LOST, why
        self._forget(claim)
        claim.session.gone.add(claim.owner)
        self._renew_bell.set()
        claim.moved.set()
        if held:
            # In a thread of its own: what one user does when a lock is lost must not hold up what another is told.
            thread = threading.Thread(target=claim.on_lost, args=(claim,), name=f"coopy lost {claim.name}", daemon=True)
            with suppress(RuntimeError):  # The interpreter ends, and with it all that needed the lock.
                thread.start()

    def _forget(self, claim: Claim) -> None:
        claim.session.claims.pop(claim.owner, None)
        if claim.state == ASKS:
            claim.state = OVER

    def _leave(self, claim: Claim) -> None:
        """Gives up waiting, unless the lock was given meanwhile."""
        with self._lock:
            claim.is_leaving = True
        try:
            place = self.change("leave", claim.owner)
        except CoopyError:
            place = GONE
        with self._lock:
            self._take(claim, max(place, WAITS))
        if claim.state == ASKS:
            self.abandon(claim, place == WAITS)

    # -- threads

    def _told(self, first: int, last: int) -> None:
        self.timekeeper.hear()
        try:
            waiting = self._waiting()
            found = self.see("news", self._changes, [claim.owner for claim in waiting])
        except CoopyError:
            return  # It is closed, or being closed.
        if found is not None:
            self._changes, places = found
            with self._lock:
                for claim, place in zip(waiting, places, strict=True):
                    self._take(claim, place)
                # Whoever came after those were counted may be meant by what was heard, and looks for itself.
                for claim in set(self._waiting()).difference(waiting):
                    claim.moved.set()
                for watcher in self._watchers:
                    watcher.set()
            self.timekeeper.wake()
        self._ended.wait(TELL_PAUSE_S)

    def _waiting(self) -> list[Claim]:
        """Returns the claims that wait, of which it is known that the system has them."""
        with self._lock:
            claims = [claim for session in self._sessions.values() for claim in session.claims.values()]
        return [claim for claim in claims if claim.state == ASKS and claim.is_known]

    def _renew_on(self) -> None:
        while not self._ended.is_set():
            while self._forgotten:
                for claim in self._forgotten.popleft():
                    self.abandon(claim)
                self.leave()
            due_ns: int | None = None
            with self._lock:
                sessions = [each for each in self._sessions.values() if each.claims or each.gone]
            for session in sessions:
                left = session.sent_ns + session.ttl_ns // RENEWALS - boot.now_ns()
                if left <= 0 or session.gone:
                    left = self._try_to_renew(session)
                due_ns = left if due_ns is None else min(due_ns, left)
            self._renew_bell.wait(boot.seconds(due_ns))

    def _try_to_renew(self, session: Session) -> int:
        """Renews a session. Returns after how many nanoseconds that is to be done again."""
        try:
            self._renew(session)
            return session.sent_ns + session.ttl_ns // RENEWALS - boot.now_ns()
        except CoopyError:
            # No majority, a full disk, or it is closed: the holder's own deadline says when that is too long.
            return session.ttl_ns // RENEWALS // TICKS_PER_LEASE

    def _renew(self, session: Session) -> None:
        """Renews a session, and learns what has become of its claims. Raises what the system raises."""
        with self._lock:
            known = [claim for claim in session.claims.values() if claim.is_known]
            gone, lost = sorted(session.gone), sorted(session.lost)
            sent = boot.now_ns()
        found = self.change("renew", session.id, gone, *[lost] * bool(lost))
        with self._lock:
            session.lost.difference_update(lost)
            session.sent_ns = sent
            session.gone.difference_update(gone)
            if found is not None:
                self._confirm(session, sent)
                # What came of a call whose outcome was not known. Of all owners that it has a claim was known here before it was asked for.
                session.gone.update(owner for owner in found if owner not in session.claims)
                if session.gone:
                    self._renew_bell.set()
            for claim in known:
                place = GONE if found is None else found.get(claim.owner, GONE)
                if claim.state != HOLDS:
                    self._take(claim, place)
                elif place == GONE:  # Another place is older than what was heard meanwhile, by which it holds.
                    self._lose(claim, "its session has ended, or it was taken away")

    def _watch(self) -> None:
        while not self._ended.is_set():
            with self._lock:
                held = [
                    session
                    for session in self._sessions.values()
                    if any(each.state == HOLDS for each in session.claims.values())
                ]
            left_ns: int | None = None
            for session in held:
                left = session.until_ns - boot.now_ns()
                if left <= 0:
                    self._expire(session)
                else:
                    # Not all of it at once: a thread does not wait on while the machine sleeps, and the clock goes on.
                    left = min(left, session.ttl_ns // TICKS_PER_LEASE)
                    left_ns = left if left_ns is None else min(left_ns, left)
            self._watch_bell.wait(boot.seconds(left_ns))

    # -- the end

    def _say_goodbye(self, sessions: list[str]) -> None:
        def end() -> None:
            with suppress(CoopyError):  # Then they end when their time is over.
                for session in sessions:
                    self.change("end", session)

        thread = threading.Thread(target=end, name="coopy sync goodbye", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # The interpreter ends.
            end()
        else:
            thread.join(GOODBYE_S)

    def _end(self) -> None:
        """Ends the threads, and lets nobody wait any more."""
        self._ended.set()
        with self._lock:
            self.closed = True
            if _here.get(id(self.system)) is self:
                del _here[id(self.system)]
            claims = [claim for session in self._sessions.values() for claim in session.claims.values()]
            for claim in claims:
                if claim.state in (ASKS, HOLDS):
                    self._lose(claim, "the system was closed, or the handle was")
            for watcher in self._watchers:
                watcher.set()
        self.timekeeper.close()
        self._renew_bell.set()
        self._watch_bell.set()


_here: dict[int, Presence] = {}
"""By id() of the system, which is kept by its presence, and so is no other's."""
_guard = threading.Lock()


def of(system: Any) -> Presence:
    """Returns the presence of this process in a system, for one handle more. Raises `UsageError` if the system has no locks."""
    if not callable(getattr(type(system), "change_locks", None)) or not callable(getattr(type(system), "see_locks", None)):
        raise UsageError(
            f"{system!r} has no locks: it must be a system of coopy.sync.Locks, or of a class that has the methods change_locks and "
            f"see_locks (see docs/guides/locks.md), opened with coopy.init_system"
        )
    control(system)  # A plain object would not record anything.
    with _guard:
        found = _here.get(id(system))
        if found is None or found.closed:
            found = _here[id(system)] = Presence(system)
            with on_failure(found._end):
                found._start()
        found.enter()
        return found


def _weakly(presence: Presence) -> Callable[[], object]:
    """Returns what closes a presence and does not keep it."""
    reference = weakref.ref(presence)

    def close() -> None:
        found = reference()
        if found is not None:
            found.close()

    return close


def _leave_all() -> None:
    """Gives back what this process holds when it ends."""
    for each in list(_here.values()):
        each.close()


atexit.register(_leave_all)


def _forked() -> None:
    """In a forked child: it owns nothing, and no lock that a thread of its parent had is touched."""
    global _guard
    _here.clear()
    _guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
