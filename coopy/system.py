"""One open system: what it is made of, started and closed in order.

Where it lives is given to it (coopy/place/), and so is what takes its calls through. Its snapshots are in
coopy/past/keeping.py, what it is compared with in coopy/proof/comparing.py, and what users do with it in coopy/control.py.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from coopy.control import Control
from coopy.errors import JournalError, MissingActions, UsageError
from coopy.ground import action, holding, log, paths
from coopy.ground.interruption import NOT_ASIDE, is_of_the_code
from coopy.ground.log import Bar
from coopy.ground.raised import last_resort, on_failure, told_as
from coopy.ground.running import current
from coopy.ground.storage import Log, SnapshotStore
from coopy.ground.weakly import weakly
from coopy.past import history
from coopy.past.keeping import Keeping
from coopy.past.proxy import codec_of_past
from coopy.past.reading import point
from coopy.past.retention import Retention
from coopy.place.directory import absent, not_opened
from coopy.place.options import LIVE, RECORDED, Settings
from coopy.place.seam import HeldLog, Place
from coopy.proof.comparing import Comparing
from coopy.spine import methods, proxy, versions
from coopy.spine.delivery import Delivery
from coopy.spine.engine import Engine
from coopy.spine.machine import Machine, construct
from coopy.spine.replay import Progress
from coopy.values.codec import Codec

if TYPE_CHECKING:
    from coopy.proof.shadow import Shadow


MakesEngine = Callable[[Log, SnapshotStore, Codec, bytes], Engine]
"""Makes an engine of a log, snapshots, a codec and the system's secret."""


def give_up(basedir: str) -> None:
    """Lets go of a system that was not opened to its end, whether its caller has come to know it or not."""
    for system in list(_open_systems):
        if system.basedir == basedir and not system.is_opened and system.opener == threading.get_ident():
            system.give_up()


def opened() -> list[Control]:
    """The controls of all systems that are open in this process, in the order of their directories.

    >>> wiki = init_system(Wiki, "wiki")
    >>> [os.path.basename(each.basedir) for each in coopy.opened()]
    ['wiki']
    """
    found = [system for system in list(_open_systems) if system.is_opened and not system._closed]
    return [system._controls(system) for system in sorted(found, key=lambda system: system.basedir)]


def close_all() -> None:
    """Closes all systems that are open in this process. What closing one raises is raised when all others are closed.

    docs/guides/deployment.md has an example.
    """
    first: list[Exception] = []

    def not_closed(error: Exception, system: Control) -> None:
        if first:
            log.error("%s: closing it raised %s: %s", system, type(error).__name__, error)
        else:
            first.append(error)

    for each in opened():
        # The others are closed all the same, and the first exception is raised.
        with last_resort(not_closed, each):
            each.close()
    if first:
        raise first.pop()


class System:
    """One open system: a place that is held, with an engine and a proxy.

    What differs between kinds of system is given to it: where it lives (`Place`), what takes its calls through, and which
    controls it has. A node overrides `start`, `close`, `enable_code` and `snapshot_if_due`.
    """

    is_opened = False
    """Whether it has been handed to its caller."""

    def __init__(
        self,
        obj: Any,
        place: Place,
        settings: Settings,
        engine: MakesEngine | None = None,
        controls: type[Control] = Control,
    ) -> None:
        self.place = place
        self.basedir = basedir = place.name
        self.opener = threading.get_ident()
        self.on_code_version_changed: Callable[[int, int], object] = lambda before, after: None
        self.before_closing: list[Callable[[], object]] = []
        self._telling = threading.RLock()
        self._cls: type = obj if isinstance(obj, type) else type(obj)
        self._controls = controls
        self._check = settings.check
        self._unwatch: Callable[[], None] = lambda: None
        self._shadow: Shadow | None = None
        self._accompany(settings)
        self._told_of_clock = False
        self._opened_at = time.monotonic()
        self._closing = False
        self._closed = False
        # Known before it holds anything: see `give_up`.
        _open_systems.add(self)
        with told_as(not_opened, basedir), on_failure(self.give_up):
            place.take(weakly(self.keeping.on_growth) if settings.snapshot_growth else None)
            self._equip(obj, settings, engine or engine_for(settings))

    def _accompany(self, settings: Settings) -> None:
        """Makes what goes beside the engine, with threads and locks of its own."""
        self.keeping = Keeping(self.place, settings)
        self._proof = Comparing(self.place, self._cls, settings)

    def _begin_delivery(self) -> None:
        system, place = self.place.manifest.system.hex(), self.place
        self._delivery = Delivery(self.engine, os.path.basename(self.basedir), system, is_ours=weakly(place.delivers))
        self.engine.asked = self._delivery.asked

    def _equip(self, obj: Any, settings: Settings, makes: MakesEngine) -> None:
        """Makes the engine, the proxy and what lies around them; begins the state if there is none."""
        place = self.place
        found = place.manifest
        codec = self._codec()
        self.engine = self.keeping.engine = makes(place.log, place.snapshots, codec, found.secret)
        self.engine.deterministic = bool(settings.deterministic) or found.deterministic
        if self.engine.deterministic:
            from coopy.determinism.install import install

            install()
        if not place.snapshots.indexes():
            if place.log.last:
                place.abandon()
                raise MissingActions(self.basedir, 0, 0, "There is no snapshot. Put the files back from a backup.")
            if not settings.create:
                raise absent(self.basedir)
            self._first_snapshot(obj, found.secret)
        shadowed = frozenset(name for name in methods.CONTROLS if methods.has(self._cls, obj, name))
        asked: Any = self.engine
        if settings.results == RECORDED:
            self.engine.are_parts_recorded = True
        elif settings.results != LIVE:
            # Few ask for it, and it knows much of the standard library.
            from coopy.spine.results import giving

            asked = giving(self.engine, settings.results, self._cls, not settings.copy)
        built = proxy.build(self._cls, shadowed, asked.looks_at_reads)
        attached = proxy.attach(built, asked, self._controls(self))
        self.engine.proxy = codec.proxy = attached
        # The proxy has the system, not the other way round: once it is closed, it goes with its proxy.
        self._proxy = weakref.ref(attached)
        self._proof.begin(self.engine)
        self._begin_delivery()

    @property
    def proxy(self) -> Any:
        """What `init_system` returns. None once the system is closed and nobody has it."""
        return self._proxy()

    @property
    def _journal(self) -> HeldLog:
        return self.place.log

    @property
    def _snapshots(self) -> SnapshotStore:
        return self.place.snapshots

    def start(self, progress: Progress | None) -> None:
        """Restores the state."""
        bar = Bar(f"restoring {os.path.basename(self.basedir)}")
        try:
            with told_as(not_opened, self.basedir), on_failure(self.abandon):
                self._proof.restore(progress or bar, None if progress else bar.loading)
                self.keeping.acted_s = time.monotonic() - self.engine.replay_began
                self._look_at_clock()
                self._code = self.engine.machine.code
                machine = self.engine.machine
                self.place.accept(machine.header, machine.batches.sequence)
                proxy.look_for_hidden(self.proxy)
                self._start_shadow()
                self._refuse_uses()
                if self.engine.deterministic:
                    self.place.stay_deterministic()
                self._proof.look_at_state()
        finally:
            bar.finish()

    def status(self) -> dict[str, Any]:
        """See `Control.status`."""
        machine = self.engine.machine
        return {
            "last_applied": machine.reached,
            "uptime": int(time.monotonic() - self._opened_at),
            "self_code_version": machine.own_code,
            "enabled_code_version": machine.code,
            **self._proofs(),
        }

    def _proofs(self) -> dict[str, Any]:
        """What is known of snapshots, and of what replay gives."""
        return {"snapshot": self.keeping.status(), **self._proof.status()}

    def tell_of_divergences(self, function: Callable[[dict[str, Any]], object]) -> None:
        """See `Control.on_diverged`."""
        self._proof.tell_of_divergences(function)

    def _look_at_clock(self) -> None:
        """Warns of a clock that was far ahead once: now, and when the first action is recorded."""
        last, now = action.instant_of(self.engine.machine.header), self.place.now()
        if last > now + action.AHEAD_NS:
            self._warn_of_clock(last, now)
        # A clock may also be put right while the system is open.
        self.engine.is_ahead = weakly(self._is_ahead)

    def _is_ahead(self, last: int, now: int) -> None:
        if not self._told_of_clock:
            self._told_of_clock = True
            self._warn_of_clock(last, now)

    def _warn_of_clock(self, last: int, now: int) -> None:
        said = [action.utc_time(action.header(each, 0, action.UNKNOWN)).replace(tzinfo=None) for each in (last, now)]
        log.warn(
            "%s: the last action has the time %s UTC, and this machine's clock says %s: %s less. One of the two is wrong. Time "
            "does not go back by itself: until the clock has come so far, each action gets the time of that one. If the clock is "
            "right now, close the system and run `coopy repair DIR --reclock`; if it is not, set it before you go on.",
            self.basedir,
            *(each.isoformat(" ", "seconds") for each in said),
            timedelta(seconds=(last - now) // 1_000_000_000),
        )

    # -- snapshots

    def take_snapshot(self) -> int:
        """See `Control.take_snapshot`."""
        index = self.keeping.take(self._was_taken)
        self.keeping.prune_after(index, self.prune)
        return index

    def _was_taken(self, index: int) -> None:
        self.engine.look_soon()
        if not self._closing:
            self._proof.check_itself(index)

    def prune(self, rule: Retention) -> list[int]:
        """Deletes what need not stay. Returns the indexes of the snapshots that went."""
        gone = self.keeping.prune(rule)
        if gone:
            self._proof.keep_from(min(self._snapshots.indexes(), default=0), self._journal.last)
        return gone

    def snapshot_if_due(self, timed: bool) -> None:
        """Takes a snapshot if one is due and there is something new in it; failing is logged."""
        self.keeping.take_if_due(timed, self.take_snapshot, lambda: self._closing)

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, and lets nothing be done any more."""
        return self._closed

    # -- the past, and code versions

    def past(self, until: int | datetime | None, after: int | None = None) -> Any:
        """See `Control.replay`."""
        index, instant, clock_from = point(until, self._journal.last, self.place.manifest)
        with paths.reads(self.basedir):
            domain = self.engine.past(index, instant, clock_from, *codec_of_past(self._cls), after=after).domain
        versions.leave(domain)
        return domain

    def recorded(self, first: int, last: int | None) -> Iterator[history.Action]:
        """See `Control.actions`."""
        newest, outcome = self.engine.newest()
        last = newest if last is None else min(last, newest)
        self.engine.settle(last)
        codec = Codec(self._cls)
        codec.proxy = self.proxy
        with paths.reads(self.basedir), closing(self._journal.reader()) as journal:
            for each in history.actions(journal, codec, first - 1):
                if each.index > last:
                    return
                if each.index == newest:
                    each.outcome = outcome
                yield each

    def set_code_version(self, version: int) -> None:
        """See `Control.set_code_version`."""
        machine = self.engine.machine
        if current.machine is machine:
            raise UsageError("the code version can't be set inside a method of the domain; nothing was switched")
        versions.refuse_switch(version, machine.code, machine.own_code)
        if version != machine.code:
            self.enable_code(version)
            self._code_is(version)

    def enable_code(self, version: int) -> None:
        """Records that a code version is enabled."""
        self.engine.settle(self.engine.enable(version))

    def _code_is(self, version: int) -> None:
        before = version

        def exchange() -> None:
            nonlocal before
            before, self._code = self._code, version

        holding.run_with(self._telling, exchange)
        if before != version:
            log.call_back(self.basedir, self.on_code_version_changed, before, version)

    def close(self) -> None:
        if self._closed:
            return
        if self.engine.aside() != NOT_ASIDE:
            self.engine.run_afterwards("close()", self.close)
            return
        if current.machine is not self.engine.machine:
            self._tell_of_closing()
        try:
            try:
                self._closing = True
                if current.machine is not self.engine.machine:
                    self._delivery.finish()
                self.engine.close()
                self._end()
            except UsageError:
                raise
            except JournalError:
                self._end()
                raise
            except BaseException as error:
                if isinstance(error, OSError) and is_of_the_code(error):
                    self._end()
                    raise self._not_synced(error) from error
                # Interrupted: others may be waiting for what is made durable at last.
                self.engine.close()
                self._end()
                raise
        finally:
            if not self._closed:
                self._closing = False  # It is still open, or closing it can go on.

    def _not_synced(self, error: OSError) -> JournalError:
        return JournalError(
            error.errno,
            f"{error.strerror}. The last sync failed: actions up to {self._journal.synced} are safe, what came "
            f"after is uncertain. The system is closed; open it again to see what is there.",
            self.basedir,
        )

    def _tell_of_closing(self) -> None:
        while self.before_closing:
            log.call_back(self.basedir, self.before_closing.pop(0))

    def abandon(self) -> None:
        """Lets everything go without a word to the disk."""
        self.place.abandon()
        self._end()

    def forked(self) -> None:
        """Called in a forked child, of which only the thread is there that forked: the directory is the parent's, and so must the lock be."""
        self.place.forked()
        if self.is_opened or hasattr(self, "engine"):
            _orphan(self.engine)
            self.disown()
        else:
            self.place.release()

    def disown(self) -> None:
        """In a forked child: closes the child's copies. No lock that another thread had is touched."""
        self._closing = self._closed = True
        self.place.abandon()
        self.place.release()

    def _codec(self) -> Codec:
        if not self._check:
            return Codec(self._cls)
        from coopy.proof.checked import WatchedCodec

        return WatchedCodec(self._cls)

    def _start_shadow(self) -> None:
        if self._check and self.place.path is not None:
            from coopy.proof import shadow

            if shadow.possible(self._cls):
                found = shadow.Shadow(self.place.path, self._cls, self._journal.last)
                self._shadow = self.engine.shadow = found  # type: ignore[attr-defined]

    def _refuse_uses(self) -> None:
        if self._check:
            from coopy.determinism import uses

            self._unwatch = uses.watch(uses.refused, self._cls)

    def _end(self) -> None:
        self._closing = True
        try:
            self._unwatch()
            if self._shadow is not None:
                self._shadow.end()
            self._proof.end()
            self.keeping.end()
        finally:
            self.place.release()
        if hasattr(self, "engine"):
            self.engine.let_go()
        # Last: until then closing again goes on with it.
        self._closed = True
        self.keeping.wake.set()

    def give_up(self) -> None:
        """Lets go of a system that was not opened to its end, as far as it has come. May be done again."""
        self.place.abandon()
        self._end()

    def _first_snapshot(self, obj: Any, secret: bytes) -> None:
        now = self.place.now()
        header = action.header(now, time.localtime(now // 1_000_000_000).tm_gmtoff, action.UNKNOWN)
        domain = construct(obj, header, secret, self.engine.deterministic) if isinstance(obj, type) else obj
        self.engine.save(Machine(domain, 0, header, secret))


def engine_for(settings: Settings) -> type[Engine]:
    """Returns the kind of engine that a system with those settings has on one machine."""
    if not settings.check:
        return Engine
    from coopy.proof.checked import CheckedEngine

    return CheckedEngine


_open_systems: weakref.WeakSet[System] = weakref.WeakSet()


def _forked() -> None:
    # A child has a copy of every system of its parent, and may use none, unless it is shared: the directory is the
    # parent's, and so must the lock be, even when the child outlives it.
    for system in list(_open_systems):
        if not system._closed:
            system.forked()


def _orphan(engine: Engine) -> None:
    """Lets a child's copy answer that it is closed, whatever threads of the parent were doing with it."""
    engine.lock = threading.RLock()
    engine.acquire, engine.release = engine.lock.acquire, engine.lock.release
    machine = getattr(engine, "machine", None)
    if machine is not None and current.machine is not machine:
        machine.running = False
        machine.applied = engine.log.last


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
