"""Opens and closes a system whose directory several processes share: one of them writes, and another as soon as that one ends.

Whoever gets the directory's lock writes, and answers at a socket of the directory; the others ask there, and follow the journal. docs/design/024-shared.md
says who writes what, and what is true after each death.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

from coopy.control import Control
from coopy.disk.fs import Calls
from coopy.errors import Unavailable, UsageError
from coopy.ground import holding, log
from coopy.ground.log import Bar
from coopy.ground.raised import last_resort, on_failure, told_as
from coopy.ground.running import current
from coopy.ground.storage import Log, SnapshotStore
from coopy.ground.weakly import weakly
from coopy.past import history
from coopy.past.retention import Retention
from coopy.past.trail import Tail
from coopy.place.directory import not_opened
from coopy.place.options import Settings
from coopy.replication import parcels
from coopy.replication.caller import LOOK_S, LOOK_S_MAX, Channel, Lost
from coopy.replication.copying import Shared
from coopy.replication.door import Door
from coopy.replication.parcels import Parcel, said
from coopy.replication.remote import Remote
from coopy.replication.serving import NEWS, Serving
from coopy.replication.shared_place import SharedPlace
from coopy.spine.attributes import hidden_methods
from coopy.spine.engine import Engine, say_nothing
from coopy.spine.machine import UNSURE, Machine
from coopy.spine.proxy import hide
from coopy.spine.replay import Progress
from coopy.spine.tap import Subscription
from coopy.system import System
from coopy.values.alone import decoded_by
from coopy.values.codec import Codec

WRITER, FOLLOWER, READER = "writer", "follower", "without a copy"
FORK_S = 1.0
"""A fork waits so long for an action of another thread to end. A child that was forked in the middle of one loads the state anew."""


class SharedSystem(System):
    """A system in a directory that several processes share."""

    engine: Shared
    place: SharedPlace

    def __init__(self, obj: Any, basedir: str, settings: Settings, *, calls: Calls | None = None) -> None:
        if settings.check:
            raise UsageError(
                "check=True: looks after a system of one process. Nothing was opened. Leave it out, or shared=True."
            )
        cls = obj if isinstance(obj, type) else type(obj)
        self._serving: Serving | None = None
        self._door: Door | None = None
        self._settings = settings
        self._lock_is_held = False
        self._beginning = threading.RLock()
        _shared_systems.add(self)
        place = SharedPlace(basedir, cls, settings, calls=calls)
        super().__init__(obj, place, settings, partial(self._engine, place), SharedControl)

    @staticmethod
    def _engine(place: SharedPlace, log: Log, snapshots: SnapshotStore, codec: Codec, secret: bytes) -> Engine:
        caller = None if place.writes else place.caller
        return Shared(log, snapshots, codec, secret, caller, partial(Tail, place.name, place.manifest.system))

    @property
    def role(self) -> str:
        """Whether this process writes: "writer", "follower", or "without a copy"."""
        return WRITER if self.engine.caller is None else FOLLOWER

    def start(self, progress: Progress | None) -> None:
        if self.place.writes:
            super().start(progress)
            with on_failure(self.abandon):
                self._serve()
            return
        self._be_quiet()
        bar = Bar(f"restoring {os.path.basename(self.basedir)}")
        try:
            with told_as(not_opened, self.basedir), on_failure(self.abandon):
                self.engine.start(progress or bar, None if progress else bar.loading)
                self._code = self.engine.machine.code
        finally:
            bar.finish()
        self._follow_on()

    # -- forks

    def before_fork(self) -> None:
        """Holds the engine's lock while a child is forked, so that the child's copy of the state is whole."""
        engine = getattr(self, "engine", None)
        self._lock_is_held = engine is not None and not self._closed and engine.lock.acquire(timeout=FORK_S)

    def after_fork(self) -> None:
        """Gives the lock back, in the parent."""
        if self._lock_is_held:
            self._lock_is_held = False
            self.engine.lock.release()

    def forked(self) -> None:
        """Makes this child one that shares the directory, and goes on from the state of its parent at its first call or read."""
        if not self.is_opened:
            self.place.forked()
            return
        engine, machine, place = self.engine, self.engine.machine, self.place
        is_whole = self._lock_is_held and not machine.running and machine.applied == engine.log.last
        self._lock_is_held = False
        door, self._door, self._serving = self._door, None, None
        if door is not None:
            door.drop()
        place.forked()
        engine.forked()
        engine.caller, engine.log, engine._snapshots = place.caller, place.log, place.snapshots
        machine.running = False
        if not is_whole:
            machine.applied = UNSURE
        self._beginning = threading.RLock()
        self._follow_later()

    def _follow_later(self) -> None:
        """Has a forked child begin with its first call or read."""
        place = self.place
        # No read is answered from the copy before this child has heard how far all is settled.
        place.log.settled = place.log.last + 1
        place.caller.wakes = weakly(self._awake)

    def _renew(self) -> None:
        """Makes again what goes beside the engine: not before it is needed, as a child that writes a snapshot uses what its parent has."""
        place, engine = self.place, self.engine
        self._telling = threading.RLock()
        self._accompany(self._settings)
        self.keeping.engine = engine
        place._grown = weakly(self.keeping.on_growth) if self._settings.snapshot_growth else None
        self._proof.begin(engine)
        self._be_quiet()
        self._begin_delivery()

    def _awake(self) -> None:
        """Begins to follow, in a child that was forked."""
        holding.run_with(self._beginning, self._begin_to_follow)

    def _begin_to_follow(self) -> None:
        caller = self.place.caller
        if caller.wakes is None:
            return
        self._renew()
        self.succeed(time.monotonic() + self.place.timeout_s)
        caller.wakes = None
        self.keeping.by_itself(self, self._settings.snapshot_time)
        if self.engine.caller is not None:
            self._follow_on()

    def _be_quiet(self) -> None:
        """Says nothing of the state: the process that writes does."""
        engine = self.engine
        engine.last_look = engine.said_with_snapshot = say_nothing

    def status(self) -> dict[str, Any]:
        """See `SharedControl.status`."""
        self.look()
        writer = self.place.caller.writer
        pid = os.getpid() if self.role == WRITER else None if writer is None else writer.pid
        return {**super().status(), "role": self.role, "writer": pid}

    def look(self) -> None:
        """Has the copy, and ``engine.log``, hold what this process has done: its calls are answered earlier than they are followed."""
        if self.engine.stopped is None:
            self.engine.catch_up()

    def past(self, until: int | datetime | None, after: int | None = None) -> Any:
        self.look()
        return super().past(until, after)

    def recorded(self, first: int, last: int | None) -> Iterator[history.Action]:
        self.look()
        return super().recorded(first, last)

    # -- following

    def _follow_on(self) -> None:
        """Starts the thread that listens to who writes."""
        myself = weakref.ref(self)
        thread = threading.Thread(target=_follow, args=(myself,), name=f"coopy follower {self.basedir}", daemon=True)
        thread.start()

    def hear(self, parcel: Parcel) -> None:
        """Brings the copy to where the news say that all is settled."""
        if parcel.kind == parcels.NEWS:
            self.engine.follow(parcel.position, decoded_by(self.engine._codec, parcel.call)[1][0])

    def succeed(self, until: float = math.inf) -> None:
        """Finds who writes after the one that has ended: this process, if it gets the lock. Raises `Unavailable` if that takes too long."""
        place = self.place
        if place.news is not None:
            place.news.close()
            place.news = None
        look_s = LOOK_S
        while not self._closing:
            if place.may_write and place.took_lock():
                # It must not write without the lock.
                with on_failure(self.abandon):
                    self._take_over()
                return
            try:
                news = place.caller.connected(NEWS, place.timeout_s)
            except Lost as lost:
                if time.monotonic() > until:
                    raise Unavailable(f"{self.basedir}: {lost}. Nothing was recorded; call again.") from lost
                time.sleep(look_s)
                look_s = min(look_s * 2, LOOK_S_MAX)
                continue
            place.listen_to(news)
            self.engine.begin_again(news.welcome.position, decoded_by(self.engine._codec, news.welcome.call)[1][1])
            return

    def stopped(self, error: Exception) -> None:
        """Takes no more calls, as the copy can't go on."""
        if not self._closing:
            log.error("%s: this process takes no more calls: %s", self.basedir, error)
        self._closing = True
        self.engine.stopped = error
        self.place.caller.close(error)
        self.place.abandon()

    def _take_over(self) -> None:
        place, engine = self.place, self.engine
        before = place.log
        place.hold()
        engine.take_over(place.log, place.snapshots)
        before.abandon()
        self._proof.begin(engine)
        self._delivery.look()
        self._serve()

    def _serve(self) -> None:
        """Answers others from now on."""
        listening = self.place.listening
        assert listening is not None, "who writes listens"
        serving = Serving(self.engine, self.engine._codec, self.place.manifest.system, self._controlled)
        door = Door(listening, serving, self.engine.guests)
        self._serving, self._door = serving, door
        serving.begin()
        door.open()

    def _controlled(self, name: str, args: tuple[Any, ...]) -> Any:
        """Does what a control of another process asks for."""
        if name == "visitors" and self._door is not None:
            return self._door.positions()
        if name not in ("take_snapshot", "prune", "set_code_version", "status"):
            raise UsageError(f"{name} is not asked of another process")
        return getattr(self, name)(*args)

    # -- what only the writer does

    def snapshot_if_due(self, timed: bool) -> None:
        if self.role == WRITER:
            super().snapshot_if_due(timed)

    def take_snapshot(self) -> int:
        if self.role == WRITER:
            return super().take_snapshot()
        return int(self._asked("take_snapshot"))

    def set_code_version(self, version: int) -> None:
        if self.role == WRITER:
            super().set_code_version(version)
        else:
            self._asked("set_code_version", version)

    def prune(self, rule: Retention) -> list[int]:
        return super().prune(rule) if self.role == WRITER else list(self._asked("prune", rule))

    def _asked(self, name: str, *args: Any) -> Any:
        engine = self.engine
        caller = engine.caller
        if caller is None:
            return getattr(self, name)(*args)
        question = caller.question(parcels.CONTROL, said(engine._codec, name, args), engine.log.last)
        caller.ask((question,))
        assert question.answer is not None, "what was asked is answered"
        return engine._answer(question.answer)

    # -- closing

    def close(self) -> None:
        if not self._closed and self.engine.caller is not None:
            if self.engine.tap is not None:
                self.look()  # Those who are told of actions are told of what this process has done, before they are told of the end.
            if current.machine is not self.engine.machine:
                self._tell_of_closing()  # While calls are still taken.
                if self.engine.tap is not None:
                    self.look()  # And of what those have done who were told of it.
            self._closing = True
            if self.place.caller.wakes is not None:
                self._renew()  # It was forked, and has not been used.
            self.place.caller.close()
            if self.place.news is not None:
                self.place.news.end()
        with self._looking_at_last():
            super().close()

    @contextlib.contextmanager
    def _looking_at_last(self) -> Iterator[None]:
        """Has the last look at the state wait until another process may write: its callers do not wait for the look."""
        engine, closed = self.engine, list[Machine]()
        last_look, engine.last_look = engine.last_look, closed.append
        try:
            yield
        finally:
            if closed:
                last_look(closed.pop())
            else:
                engine.last_look = last_look

    def _end(self) -> None:
        door, serving = self._door, self._serving
        self._closing = True
        if door is not None:
            door.close()
        if serving is not None:
            serving.finish()
        super()._end()
        if door is not None:
            door.let_go()
        self._door = self._serving = None


class WithoutCopy(SharedSystem):
    """A system of a process that keeps no state, and never writes: it asks whoever does."""

    @staticmethod
    def _engine(place: SharedPlace, log: Log, snapshots: SnapshotStore, codec: Codec, secret: bytes) -> Engine:
        return Remote(log, snapshots, codec, secret, place.caller, partial(Tail, place.name, place.manifest.system))

    @property
    def role(self) -> str:
        return READER

    def start(self, progress: Progress | None) -> None:
        self._be_quiet()
        self.place.let_news_go()
        with told_as(not_opened, self.basedir), on_failure(self.abandon):
            hide(self.proxy, self.engine.read(hidden_methods, (), {}))

    def _follow_later(self) -> None:
        """Does nothing: a child asks as its parent does."""

    def look(self) -> None:
        self.engine.sync(None)


def kind_of(settings: Settings) -> type[SharedSystem]:
    """Returns which kind of system a process opens: one with a copy, or without."""
    return SharedSystem if settings.copy else WithoutCopy


class SharedControl(Control):
    """What can be done with a shared system besides calling its methods."""

    _system: SharedSystem

    @property
    def index(self) -> int:
        self._system.look()
        return super().index

    @property
    def durable(self) -> int:
        self._system.look()
        return super().durable

    @property
    def effects(self) -> list[str]:
        self._system.look()
        return super().effects

    @property
    def code_version(self) -> int:
        self._system.look()
        return super().code_version

    def state_digest(self) -> tuple[int, str]:
        self._system.look()
        return super().state_digest()

    def subscribe(
        self,
        callback: Callable[[int, int], object],
        after: int | None = None,
        ended: Callable[[], object] | None = None,
    ) -> Subscription:
        self._system.look()
        return super().subscribe(callback, after, ended)

    def sync(self, timeout: float | None = None) -> None:
        self._system.engine.sync(timeout)

    def status(self) -> dict[str, Any]:
        """As `Control.status`, with ``role`` ("writer", "follower" or "without a copy") and ``writer``, the pid of the process that writes."""
        return super().status()


_shared_systems: weakref.WeakSet[SharedSystem] = weakref.WeakSet()


def _before_fork() -> None:
    for system in list(_shared_systems):
        system.before_fork()


def _after_fork() -> None:
    for system in list(_shared_systems):
        system.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork)


def _follow(myself: weakref.ref[SharedSystem]) -> None:
    """What the thread does that listens to who writes, until this process writes, or its system is closed."""
    while (system := myself()) is not None and not system._closing and system.engine.caller is not None:
        news, stopped = system.place.news, weakly(system.stopped)
        del system  # What waits does not keep it.
        # Of whatever kind: nobody else would tell those who call.
        with last_resort(stopped):
            heard = _heard(news)
            if (system := myself()) is None:
                if news is not None:
                    news.close()
                return
            if heard:
                system.hear(heard[-1])
            elif not system._closing:
                system.succeed()


def _heard(news: Channel | None) -> list[Parcel]:
    """Waits for news. Returns none if there will be none from this writer."""
    with contextlib.suppress(Lost):
        return news.receive() if news is not None else []
    return []
