"""What actions say of what they do (`tell`), and who hears it in this process.

A fact is said inside an action, and heard once the action may be told: as durable as asked for, in the order of the log, and not at all if the
action is withdrawn. Nothing of it is recorded, because it follows from the action: whoever was away has the recorded actions run again on a
copy, and hears what they say then (`Again`).

While nobody listens, `listeners` is empty, and that is all that a method asks before it says anything. While somebody does, what is said is kept
only if an `Ear` wants it, and until the tap tells of its action.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from coopy.ground import action
from coopy.ground.running import current

if TYPE_CHECKING:
    from coopy.spine.engine import Engine
    from coopy.spine.machine import Machine
    from coopy.spine.tap import Subscription


class Fact(NamedTuple):
    """What one action has said once."""

    index: int  # type: ignore[assignment]
    """The index of the action."""
    header: bytes
    said: tuple[Any, ...]
    """What `tell` was given after the source."""

    @property
    def time(self) -> datetime:
        """When the action happened, with the UTC offset of where it happened."""
        return action.aware_time(self.header)


Wants = Callable[[Any, object, tuple[Any, ...]], bool]
"""Given the domain object, the source and what it says. Called inside the action, with the lock held; must not raise."""


class Ear(Protocol):
    """One who listens to the facts of a system."""

    @property
    def wants(self) -> Wants:
        """Says of each fact whether it is to be heard."""
        ...

    def hear(self, facts: list[Fact], last: int, is_sure: bool) -> None:
        """Takes the facts of the actions up to ``last``. If it is not ``is_sure`` that these are all, they are to be had by `Again` alone. Must not wait."""
        ...

    def end(self) -> None:
        """Is called once nothing is heard any more."""
        ...


class Taker(Protocol):
    """What is in `listeners`."""

    def take(self, machine: Machine, source: object, said: tuple[Any, ...]) -> None:
        """Takes what is said inside an action of a machine."""
        ...


listeners: list[Taker] = []
"""Not empty while somebody in this process listens. A method whose fact costs time to make asks for it first: ``if listeners: tell(...)``."""


def tell(source: object, *said: Any) -> None:
    """Says what the running action does, to whoever listens; outside an action nobody does.

    ``source`` is the object that says it, by which listeners know whether it is of interest. What is said must not be changed later.
    See docs/guides/subscribing.md.
    """
    machine: Any = current.machine
    if machine is not None:
        for each in tuple(listeners):
            each.take(machine, source, said)


class Facts:
    """What the actions of one engine say, for all who listen to it; one subscription for all of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = weakref.ref(engine)
        self._lock = threading.RLock()
        """Guards the subscription and who listens; taken after the engine's lock, never before it."""
        self._ears: tuple[weakref.ref[Ear], ...] = ()
        self._subscription: Subscription | None = None
        self._pending: deque[tuple[list[Ear], Fact]] = deque()
        """What the tap has not told of yet, by index. The appends and pops of both sides are atomic."""
        self._machine: weakref.ref[Machine] | None = None

    @staticmethod
    def of(engine: Engine) -> Facts:
        """Returns those of an engine."""
        with _making:
            found = _all.get(engine)
            if found is None:
                found = _all[engine] = Facts(engine)
            return found

    def listen(self, ear: Ear) -> int:
        """Has an ear hear the facts of all actions after the one whose index is returned. Takes the engine's lock. Raises `SystemClosed`."""
        engine = self._engine()
        assert engine is not None, "who listens holds the system"
        return engine.run(lambda: self._listen(engine, ear))

    def _listen(self, engine: Engine, ear: Ear) -> int:
        self._subscribe(engine)
        self._add(ear)
        return engine.machine.reached

    def listen_soon(self, ear: Ear) -> int:
        """As `listen`, without a lock: for an event loop. `settle` must be called before anything is heard."""
        engine = self._engine()
        assert engine is not None, "who listens holds the system"
        self._add(ear)
        # An action that runs may have begun before this ear was there. Whatever begins after this has a higher index.
        return engine.machine.index

    def settle(self) -> None:
        """Does what `listen_soon` has left to do. Takes the engine's lock. Raises `SystemClosed`."""
        engine = self._engine()
        if engine is not None:
            engine.run(lambda: self._subscribe(engine))

    def _subscribe(self, engine: Engine) -> None:
        with self._lock:
            if self._subscription is None:
                self._machine = weakref.ref(engine.machine)
                # What was said before, and withdrawn, nobody was told of: that is heard from the journal.
                self._subscription = engine.subscribe(self._told, None, self._over, self._withdrawn)
                self._tell_again(self._subscription.last)

    def _tell_again(self, upto: int) -> None:
        """Has the ears fetch what was said before the tap told of anything."""
        unsure: dict[Ear, int] = {}
        while self._pending and self._pending[0][1].index <= upto:
            ears, fact = self._pending.popleft()
            unsure.update((ear, fact.index) for ear in ears)
        for ear in unsure:
            ear.hear([], upto, False)

    def _add(self, ear: Ear) -> None:
        with self._lock:
            self._ears = (*self._ears, weakref.ref(ear, self._was_dropped))
            if self not in listeners:
                listeners.append(self)

    def _was_dropped(self, gone: weakref.ref[Ear]) -> None:
        # It may be called in the middle of anything: the subscription ends when it tells the next time.
        with self._lock:
            self._ears = tuple(each for each in self._ears if each is not gone)
            if not self._ears and self in listeners:
                listeners.remove(self)

    def leave(self, ear: Ear) -> None:
        """Has an ear hear no more. With the last one the subscription ends."""
        with self._lock:
            self._ears = tuple(each for each in self._ears if each() not in (None, ear))
            subscription = None if self._ears else self._stop()
        if subscription is not None:
            subscription.close()

    def _stop(self) -> Subscription | None:
        found, self._subscription = self._subscription, None
        self._pending.clear()
        if self in listeners:
            listeners.remove(self)
        return found

    def _living(self) -> list[Ear]:
        return [ear for each in self._ears if (ear := each()) is not None]

    # -- inside an action

    def take(self, machine: Machine, source: object, said: tuple[Any, ...]) -> None:
        """Takes what is said; see `Taker`."""
        engine = self._engine()
        if engine is None or engine.machine is not machine or machine.replaying:
            return
        ears = [ear for ear in self._living() if ear.wants(machine.domain, source, said)]
        if ears:
            self._pending.append((ears, Fact(machine.index, machine.header, said)))

    def _withdrawn(self, index: int) -> None:
        while self._pending and self._pending[-1][1].index >= index:
            self._pending.pop()

    # -- in the thread of the subscription

    def _told(self, first: int, last: int) -> None:
        heard: dict[Ear, list[Fact]] = {}
        while self._pending and self._pending[0][1].index <= last:
            ears, fact = self._pending.popleft()
            # A node that had to go back applies actions again, which were told of then.
            for ear in ears if fact.index >= first else ():
                heard.setdefault(ear, []).append(fact)
        is_sure = self._is_sure()
        living = self._living()
        for ear in living:
            ear.hear(heard.get(ear, []), last, is_sure)
        if not living:
            with self._lock:
                subscription = None if self._living() else self._stop()
            if subscription is not None:
                subscription.close()

    def _is_sure(self) -> bool:
        """Whether the state has come from action to action, and not from another node."""
        engine = self._engine()
        if engine is None or self._machine is None or self._machine() is engine.machine:
            return True
        self._machine = weakref.ref(engine.machine)
        return engine.is_alone

    def _over(self) -> None:
        with self._lock:
            ears, self._ears = self._living(), ()
            self._stop()
        for ear in ears:
            ear.end()


_making = threading.Lock()
_all: weakref.WeakKeyDictionary[Engine, Facts] = weakref.WeakKeyDictionary()


class Again:
    """Hears, in a ``with`` block, what recorded actions say that this thread has run again, from the one after ``after`` on."""

    def __init__(self, after: int, wants: Wants) -> None:
        self.facts: list[Fact] = []
        self._after = after
        self._wants = wants
        self._thread = threading.get_ident()

    def take(self, machine: Machine, source: object, said: tuple[Any, ...]) -> None:
        """Takes what is said; see `Taker`."""
        if machine.replaying and machine.index > self._after and threading.get_ident() == self._thread:
            if self._wants(machine.domain, source, said):
                self.facts.append(Fact(machine.index, machine.header, said))

    def __enter__(self) -> Again:
        listeners.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        listeners.remove(self)
