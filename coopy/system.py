"""Opens and closes a system: the only module that knows the engine and where bytes are kept."""

from __future__ import annotations

import errno
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from coopy import log, versions
from coopy.control import Control
from coopy.disk import child
from coopy.errors import (
    CoopyError,
    JournalError,
    MissingActions,
    SnapshotError,
    StorageError,
    UsageError,
)
from coopy.ground import action, collector, holding, paths
from coopy.ground.interruption import NOT_ASIDE
from coopy.ground.running import current
from coopy.ground.storage import Log, SnapshotStore
from coopy.log import Bar
from coopy.options import REFUSE, Settings
from coopy.past import history, retention
from coopy.past.proxy import codec_of_past
from coopy.past.reading import point
from coopy.past.retention import Retention
from coopy.place import HeldLog, Place, absent, not_opened
from coopy.proof import beside, proving
from coopy.proof.proving import Divergence, Proving
from coopy.spine import agreement, methods, proxy
from coopy.spine.agreement import Comparison
from coopy.spine.delivery import Delivery
from coopy.spine.engine import Engine, Saver
from coopy.spine.machine import Machine, construct
from coopy.spine.replay import Progress
from coopy.values import trial
from coopy.values.codec import Codec

if TYPE_CHECKING:
    from coopy.proof.shadow import Shadow


LOOKS = 100
"""So often it is looked whether an action runs in the seconds after which a snapshot is due; in between, within these limits."""
LOOK_S_MIN, LOOK_S_MAX = 0.005, 0.05
CHECK_REST = 100
CHECK_ACTIONS_MAX, CHECK_BYTES_MAX = 1_000_000, 256 * 1024 * 1024
"""After a self-check there is none for so many times as long as it took; nor is there one of more actions, or a larger snapshot."""


MakesEngine = Callable[[Log, SnapshotStore, Codec, bytes], Engine]
"""Makes an engine of a log, snapshots, a codec and the system's secret."""


def give_up(basedir: str) -> None:
    """Lets go of a system that was not opened to its end, whether its caller has come to know it or not."""
    for system in list(_open_systems):
        if system.basedir == basedir and not system.is_opened and system.opener == threading.get_ident():
            system.give_up()


def opened() -> list[Control]:
    """The controls of all systems that are open in this process, in the order of their directories."""
    found = [system for system in list(_open_systems) if system.is_opened and not system._closed]
    return [system._controls(system) for system in sorted(found, key=lambda system: system.basedir)]


def close_all() -> None:
    """Closes all systems that are open in this process. What closing one raises is raised when all others are closed."""
    failure: BaseException | None = None
    for each in opened():
        try:
            each.close()
        except Exception as error:
            if failure is not None:
                log.error("%s: closing it raised %s: %s", each, type(error).__name__, error)
            failure = failure or error
    if failure is not None:
        try:
            raise failure
        finally:
            failure = None  # Its traceback has this frame.


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
        self._telling = threading.RLock()
        self._cls: type = obj if isinstance(obj, type) else type(obj)
        self._controls = controls
        self._check = settings.check
        self._unwatch: Callable[[], None] = lambda: None
        self._shadow: Shadow | None = None
        self._kept = retention.retention(settings.keep, settings.keep_for)
        self._fork = bool(settings.fork)
        # Since the newest snapshot: bytes of the journal, and seconds that actions took.
        self._growth_max = settings.snapshot_growth
        self._grown = 0
        self._replay_max_s = settings.snapshot_replay
        self._replay_due_s = settings.snapshot_replay
        self._acted_s = 0.0
        self._wake = holding.Alarm()
        self._pruning = threading.RLock()
        self._told_of_clock = False
        self._opened_at = time.monotonic()
        on_divergence = settings.on_divergence
        self._refuses = settings.check or on_divergence == REFUSE
        self._on_diverged: Callable[[dict[str, Any]], object] = on_divergence if callable(on_divergence) else _ignore
        self._divergence: dict[str, Any] | None = None
        self._self_check: dict[str, Any] | None = None
        self._checks_itself = settings.self_check and self._fork
        self._snapshot: dict[str, Any] = {"index": None, "when": None, "bytes": None, "seconds": None, "problem": None}
        self._beside: beside.Beside | None = None
        self._check_due = 0.0
        self._closing = False
        self._closed = False
        # Known before it holds anything: see `give_up`.
        _open_systems.add(self)
        try:
            place.take(_weakly(self._on_growth) if self._growth_max else None)
            found = place.manifest
            codec = self._codec()
            self.engine = (engine or engine_for(settings))(place.log, place.snapshots, codec, found.secret)
            self.engine.deterministic = bool(settings.deterministic) or found.deterministic
            if self.engine.deterministic:
                from coopy.determinism.install import install

                install()
            if not self._snapshots.indexes():
                if self._journal.last:
                    place.abandon()
                    raise MissingActions(basedir, 0, 0, "There is no snapshot. Put the files back from a backup.")
                if not settings.create:
                    raise absent(basedir)
                self._first_snapshot(obj, found.secret)
            shadowed = frozenset(name for name in methods.CONTROLS if methods.has(self._cls, obj, name))
            built = proxy.build(self._cls, shadowed, self.engine.looks_at_reads)
            attached = proxy.attach(built, self.engine, controls(self))
            self.engine.proxy = codec.proxy = attached
            # The proxy has the system, not the other way round: once it is closed, it goes with its proxy.
            self._proxy = weakref.ref(attached)
            proves = self._proving = Proving(
                basedir,
                place.entries,
                self._refuses,
                proving.SNAPSHOT_S if self._fork else proving.LOOK_S,
                beside.apart if self._fork else beside.here,
            )
            self.engine.last_look, self.engine.said_with_snapshot = proves.last_look, proves.with_snapshot
            self.engine.told_with_snapshot = proves.told_with_snapshot
            self._delivery = Delivery(
                self.engine, os.path.basename(basedir), found.system.hex(), is_ours=_weakly(place.delivers)
            )
            self.engine.asked = self._delivery.asked
        except BaseException as error:
            self.give_up()
            raise not_opened(error, basedir)

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
            self._restore(progress or bar, None if progress else bar.loading)
            self._acted_s = time.monotonic() - self.engine.replay_began
            self._look_at_clock()
            self._code = self.engine.machine.code
            machine = self.engine.machine
            self.place.accept(machine.header, machine.batches.sequence)
            self._start_shadow()
            self._refuse_uses()
            if self.engine.deterministic:
                self.place.stay_deterministic()
            self._look_at_state()
        except BaseException as error:
            self.abandon()
            raise not_opened(error, self.basedir)
        finally:
            bar.finish()

    def _restore(self, progress: Progress, loading: Progress | None) -> None:
        """Restores the state, and compares it with what the live one was said to be."""
        start, last = max(self._snapshots.indexes(), default=0), self._journal.last
        comparison = self.engine.comparison = self._proving.begin(start, last)
        self.engine.start(progress, loading)
        found = self._proving.conclude(comparison, start, self._replay_again, self._actions, self._journal.where)
        if found is not None:
            self._proving.forget()
            self._diverged(found, "The system goes on with the state that replay gives.")

    def _look_at_state(self) -> None:
        """Begins to say what state the system is in, and to compare."""
        import json

        if self.place.is_alone:
            # Calls are recorded one after the other, with the lock held.
            self.engine.look = self._proving.look
        if (said := self._proving.uncompared()) is not None:
            if said.took_s <= proving.INLINE_S and self._fork:
                # Code of the domain runs for it.
                machine = self.engine.machine
                found = beside.apart(lambda: json.dumps(beside.compared(machine, said)).encode())
                if found:
                    self._was_compared(json.loads(found))
            else:
                self._run_beside(lambda machine: beside.compared(machine, said), self._was_compared)

    def _replay_again(self, comparison: Comparison, upto: int) -> None:
        self.engine.past(upto, None, 0, *codec_of_past(self._cls), comparison)

    def _actions(self, after: int) -> Iterator[history.Action]:
        log = self._journal.reader()
        try:
            yield from history.actions(log, Codec(self._cls), after)
        finally:
            log.close()

    # -- what replay was found to give

    def _diverged(self, found: Divergence, goes_on: str) -> None:
        """Says that replay gives another state than the live system had."""
        log.error("%s: %s. %s", self.basedir, found.text, goes_on)
        self._divergence = found.as_dict()
        self._call_back(self._on_diverged, self._divergence)

    def tell_of_divergences(self, function: Callable[[dict[str, Any]], object]) -> None:
        """See `Control.on_diverged`."""
        self._on_diverged = function
        if self._divergence is not None:
            self._call_back(function, self._divergence)

    def _was_compared(self, found: dict[str, Any]) -> None:
        """Hears what the state was found to be with which the system was opened."""
        if found["path"] is not None:
            start = max((index for index in self._snapshots.indexes() if index <= found["index"]), default=0)
            difference = agreement.Difference(-1, found["index"], found["path"])
            self._diverged(
                proving.explained(difference, start, self._actions, "opening"),
                "The system goes on with the state that replay gives.",
            )

    def _check_itself(self, newest: int) -> None:
        """Has a child replay from the snapshot before the newest one, and compare with the live state."""
        indexes = [index for index in self._snapshots.indexes() if index < newest]
        now = time.monotonic()
        if not self._checks_itself or not indexes or self._beside is not None or self._closing or now < self._check_due:
            return
        base, basedir, cls = indexes[-1], self.basedir, self._cls
        if newest - base > CHECK_ACTIONS_MAX or not self._has_room_for(newest):
            return
        self._run_beside(lambda machine: beside.checked(machine, basedir, cls, base), self._was_checked)

    def _has_room_for(self, index: int) -> bool:
        """Whether a second state is small enough to be made beside this one."""
        size = self._size_of(index)
        return size is not None and size <= CHECK_BYTES_MAX and trial.room() > 10 * size

    def _size_of(self, index: int) -> int | None:
        kept = self.place.kept(index)
        return None if kept is None else kept[0]

    def _was_checked(self, found: dict[str, Any]) -> None:
        """Hears what a child that replays has found."""
        seconds = found["seconds"]
        self._check_due = time.monotonic() + CHECK_REST * seconds
        self._self_check = {
            "first": found["base"],
            "last": found["index"],
            "seconds": seconds,
            "problem": found["problem"],
            "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        if found["path"] is not None:
            difference = agreement.Difference(found["after"], found["index"], found["path"])
            self._diverged(
                proving.explained(difference, found["base"], self._actions, "self-check"),
                "The live state goes on, and a restart may give the other one: look at both, and take a snapshot, before you restart.",
            )

    def _run_beside(self, function: Callable[[Machine], dict[str, Any]], then: Callable[[dict[str, Any]], object]) -> None:
        """Runs a function of the machine as it is now in a child, and another one of what it comes to. Does nothing if that can't be."""
        if not child.AVAILABLE or not self._fork:
            return

        def begin(machine: Machine) -> child.Waiting:
            return child.start(lambda: beside.said_by_child(function, machine), what="the state was not compared")

        try:
            waiting = self.engine.beside(begin)
            begun = self._beside = beside.Beside(waiting, _weakly(then), _weakly(self._is_done_beside), self.basedir)
            begun.start()
        except (CoopyError, RuntimeError) as error:
            self._beside = None
            log.warn("%s: the state is not compared with what replay gives: %s", self.basedir, error)

    def _is_done_beside(self) -> None:
        self._beside = None

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
        return {
            "snapshot": self._newest_snapshot(),
            "divergence": self._divergence and dict(self._divergence),
            "self_check": self._self_check and dict(self._self_check),
        }

    def _newest_snapshot(self) -> dict[str, Any]:
        try:
            newest = max(self._snapshots.indexes(), default=None)
        except StorageError:
            newest = None
        found = dict(self._snapshot)
        if newest != found["index"]:
            found.update(index=newest, seconds=None, when=None, bytes=None)
        if newest is not None and found["bytes"] is None:
            kept = self.place.kept(newest)
            if kept is not None:
                when = datetime.fromtimestamp(kept[1]).astimezone().isoformat(timespec="seconds")
                found.update(when=when, bytes=kept[0])
        return found

    def _look_at_clock(self) -> None:
        """Warns of a clock that was far ahead once: now, and when the first action is recorded."""
        last, now = action.instant_of(self.engine.machine.header), self.place.now()
        if last > now + action.AHEAD_NS:
            self._warn_of_clock(last, now)
        # A clock may also be put right while the system is open.
        self.engine.is_ahead = _weakly(self._is_ahead)

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

    def take_snapshot(self) -> int:
        before, acted, began = self._grown, self._acted_s, time.monotonic()
        try:
            index = self._take_snapshot()
        except Exception as error:
            self._snapshot["problem"] = str(error)
            raise
        if index != self._snapshot["index"] or self._snapshot["problem"]:
            self._snapshot = {
                "index": index,
                "when": datetime.now().astimezone().isoformat(timespec="seconds"),
                "bytes": self._size_of(index),
                "seconds": round(time.monotonic() - began, 3),
                "problem": None,
            }
        # What the journal has grown by meanwhile is for the next one.
        self._grown -= before
        self._acted_s -= acted
        self._replay_due_s = self._replay_max_s
        self.engine.look_soon()
        self._check_itself(index)
        try:
            self.prune(self._kept)
        except (StorageError, OSError) as error:
            log.error("%s: the snapshot of action %d is kept, but none was deleted: %s", self.basedir, index, error)
        return index

    def _take_snapshot(self) -> int:
        try:
            self.place.check()
        except JournalError as error:
            raise SnapshotError(f"the snapshot was not written: {error.strerror}") from error
        if self._fork:
            collector.count_the_young()
        return self.engine.take_snapshot(self._in_a_child if self._fork else _inline)

    def _in_a_child(self, save: Saver) -> Callable[[], bytes | None]:
        return child.start(save, self.place.sweep_after)

    def prune(self, rule: Retention) -> list[int]:
        """Deletes what need not stay. The indexes of the snapshots that went."""
        if rule.keeps_all:
            return []
        gone: list[int] = []
        self.place.check()
        with paths.writes(self.basedir, retention.PRUNED_IN_PART):
            holding.run_with(
                self._pruning, lambda: gone.extend(retention.prune(self._journal, self._snapshots, rule, self.place.now()))
            )
        if gone:
            self._proving.keep_from(min(self._snapshots.indexes(), default=0), self._journal.last)
        return gone

    def past(self, until: int | datetime | None) -> Any:
        index, instant, clock_from = point(until, self._journal.last, self.place.manifest)
        with paths.reads(self.basedir):
            domain = self.engine.past(index, instant, clock_from, *codec_of_past(self._cls)).domain
        versions.leave(domain)
        return domain

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

    def _call_back(self, function: Callable[..., object], *args: object) -> None:
        """Calls what a user wants to be called; what it raises is logged."""
        try:
            function(*args)
        except Exception as problem:
            log.error("%s: %r raised %s: %s", self.basedir, function, type(problem).__name__, problem)

    def _code_is(self, version: int) -> None:
        before = version

        def exchange() -> None:
            nonlocal before
            before, self._code = self._code, version

        holding.run_with(self._telling, exchange)
        if before != version:
            self._call_back(self.on_code_version_changed, before, version)

    def close(self) -> None:
        if self._closed:
            return
        if self.engine.aside() != NOT_ASIDE:
            self.engine.run_afterwards("close()", self.close)
            return
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
            except OSError as error:
                self._end()
                raise JournalError(
                    error.errno,
                    f"{error.strerror}. The last sync failed: actions up to {self._journal.synced} are safe, what came "
                    f"after is uncertain. The system is closed; open it again to see what is there.",
                    self.basedir,
                ) from error
            except BaseException:
                # Interrupted: others may be waiting for what is made durable at last.
                self.engine.close()
                self._end()
                raise
        except BaseException:
            if not self._closed:
                self._closing = False  # It is still open, or closing it can go on.
            raise

    def abandon(self) -> None:
        """Lets everything go without a word to the disk."""
        self.place.abandon()
        self._end()

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
            from coopy.determinism import install

            self._unwatch = install.watch(install.refused, self._cls)

    def _end(self) -> None:
        self._closing = True
        try:
            self._unwatch()
            if self._shadow is not None:
                self._shadow.end()
            if self._beside is not None:
                self._beside.end()
            child.reap()
        finally:
            self.place.release()
        if hasattr(self, "engine"):
            self.engine.let_go()
        # Last: until then closing again goes on with it.
        self._closed = True
        self._wake.set()

    def give_up(self) -> None:
        """Lets go of a system that was not opened to its end, as far as it has come. May be done again."""
        self.place.abandon()
        self._end()

    def _first_snapshot(self, obj: Any, secret: bytes) -> None:
        now = self.place.now()
        header = action.header(now, time.localtime(now // 1_000_000_000).tm_gmtoff, action.UNKNOWN)
        domain = construct(obj, header, secret, self.engine.deterministic) if isinstance(obj, type) else obj
        self.engine.save(Machine(domain, 0, header, secret))

    # -- snapshots taken by themselves

    def snapshot_by_itself(self, interval_s: float) -> None:
        """Starts the thread that takes snapshots, if any are asked for."""
        if interval_s or self._growth_max or self._replay_max_s:
            name = f"coopy snapshots of {self.basedir}"
            wake = self._wake
            # A system that is dropped, and not closed, ends its thread as well.
            system = weakref.ref(self, lambda _: wake.set())
            look_s = min(max(self._replay_max_s / LOOKS, LOOK_S_MIN), LOOK_S_MAX) if self._replay_max_s else math.inf
            interval_s = min(interval_s, threading.TIMEOUT_MAX) or math.inf
            arguments = (system, wake, interval_s, look_s)
            try:
                threading.Thread(target=_snapshooter, args=arguments, name=name, daemon=True).start()
            except RuntimeError as error:  # There can't be one more.
                raise not_opened(OSError(errno.EAGAIN, str(error)), self.basedir) from error

    def look_at_actions(self, since_s: float) -> None:
        """Counts the seconds since the look before to those that actions took, if one runs.

        To take the time of each would make calls slower. Of many looks, as many find an action as actions take of the time.
        """
        if self.engine.machine.running:
            self._acted_s += since_s

    def snapshot_if_due(self, timed: bool) -> None:
        """Takes a snapshot if there is something new in it; failing is logged, and tried again next time."""
        is_due = self._is_due()
        if self._closing or not (timed or is_due):
            return
        # Growth is told of before what the journal grows by is there: taking the snapshot waits for it.
        if not is_due and self._journal.last in self._snapshots.indexes()[-1:]:
            return
        try:
            self.take_snapshot()
        except Exception as error:
            # Not at the next look: when as much again has been done.
            self._replay_due_s = self._acted_s + self._replay_max_s
            if not self._closing:
                log.error("%s: no snapshot was taken: %s", self.basedir, error)

    def _is_due(self) -> bool:
        has_grown = 0 < self._growth_max <= self._grown
        return has_grown or 0 < self._replay_max_s and self._replay_due_s <= self._acted_s

    def _on_growth(self, size: int) -> None:
        self._grown += size
        if self._grown >= self._growth_max:
            self._wake.set()


def engine_for(settings: Settings) -> type[Engine]:
    """Returns the kind of engine that a system with those settings has on one machine."""
    if not settings.check:
        return Engine
    from coopy.proof.checked import CheckedEngine

    return CheckedEngine


def _weakly(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that does not keep its object; when that is gone, it does nothing."""
    found = weakref.WeakMethod(method)

    def call(*args: Any) -> Any:
        method = found()
        return None if method is None else method(*args)

    return call


def _snapshooter(system: weakref.ref[System], wake: holding.Alarm, interval_s: float, look_s: float) -> None:
    looked = time.monotonic()
    due = looked + interval_s
    while True:
        wait_s = min(due - looked, look_s)
        woken = wake.wait(holding.FOR_EVER if wait_s == math.inf else min(max(wait_s, 0), threading.TIMEOUT_MAX))
        found = system()
        if found is None or found._closed:
            return
        now = time.monotonic()
        found.look_at_actions(now - looked)
        timed = now >= due
        found.snapshot_if_due(timed)
        del found
        looked = time.monotonic()
        if timed or woken:
            due = looked + interval_s


def _ignore(found: dict[str, Any]) -> None:
    pass


def _inline(save: Saver) -> Callable[[], bytes | None]:
    try:
        said = save()
    except OSError as error:
        raise SnapshotError(
            f"the snapshot was not written: {error}. The system goes on; its journal holds every action."
        ) from error
    return lambda: said


_open_systems: weakref.WeakSet[System] = weakref.WeakSet()


def _forked() -> None:
    # A child has a copy of every system of its parent, and may use none: the directory is the
    # parent's, and so must the lock be, even when the child outlives it.
    for system in list(_open_systems):
        if system._closed:
            continue
        system.place.forked()
        if system.is_opened or hasattr(system, "engine"):
            _orphan(system.engine)
            system.disown()
        else:
            system.place.release()


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
