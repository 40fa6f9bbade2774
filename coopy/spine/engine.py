"""One call, start to finish: stamp, encode, append, apply, wait. It has more than 500 lines because one call, many at once, a read, an
interruption and a snapshot hold one lock and keep one promise, which is whole only when they are read together.

The order is the promise. What can't be encoded or appended has changed nothing,
because neither has been applied; what was applied has been appended, because it
is applied after; and what a caller learns is as durable as it asked for, because
the caller waits last, without the lock, for as long as anything it could have
seen is not settled.

``machine.applied`` and ``log.last`` agree whenever the lock is free and all is
well. If they don't, a call was interrupted half-way, and the next caller rebuilds
the machine from what the log holds. An exception may come at any moment (Ctrl-C, a
signal handler that raises): see `Engine.unwind`.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from itertools import islice, repeat
from threading import RLock
from types import GeneratorType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from coopy.errors import CoopyError, JournalError, PrevalentError, SnapshotError, UsageError
from coopy.ground import action, holding
from coopy.ground.interruption import INTERRUPTIONS, NOT_ASIDE, OF_FINALIZER, aside, note
from coopy.ground.log import error as log_error
from coopy.ground.raised import last_resort
from coopy.ground.running import current
from coopy.ground.storage import Log, SnapshotStore, StateWriter, Stored
from coopy.ground.words import shown
from coopy.migration import MARK
from coopy.spine.agreement import Comparison
from coopy.spine.calling import Call, answering
from coopy.spine.effects import DONE
from coopy.spine.machine import RUNNERS, UNSURE, Machine, MissingName, running_in
from coopy.spine.methods import Function, Method, has_unlocked_reads, is_undone
from coopy.spine.replay import Progress, is_other, restore
from coopy.spine.section import Section
from coopy.spine.tap import Doorbell, Listener, Subscription, Tap, Told, Withdrawn, of_no_interest
from coopy.spine.versions import CODE
from coopy.values import trial
from coopy.values.codec import Codec

__coopy_inside__ = True  # See `coopy.spine.calling`.
P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound="Locked")

_time_ns = time.time_ns
_pack = action.HEADER.pack
_NS = 1_000_000_000  # Nanoseconds in a second.
YIELDS = 20  # So often the holder of the lock, which needs microseconds, is let run before a thread goes to sleep on it.
CHUNK = 64  # So many calls of a batch are encoded and, if nothing is to be done in between, stamped and applied together.
STEP_NS = 100  # So far apart are the instants of those; no action takes less.
HELD_NS = 1_000_000  # After so long a batch lets others in between, at the next chunk.
_yield: Callable[[], None] = getattr(os, "sched_yield", lambda: None)

_ASSIGNING = frozenset({"__setattr__", "__setitem__"})
"""Before one of these is recorded the state may have what it assigns: ``system.tags |= {1}`` changes the set, and then assigns it."""
_COUNTS = "{}() had returned when this was raised: the call is action {}, and counts."

Saver = Callable[[], "bytes | None"]


def _nobody(name: str) -> None:
    pass


def _done() -> None:
    return None


def _never(machine: Machine) -> bool:
    return False


def _tell_nobody(last: int, now: int) -> None:
    pass


def say_nothing(machine: Machine) -> None:
    return None


def _keep_quiet(index: int, said: bytes) -> None:
    pass


def _failed_afterwards(failure: Exception, what: str) -> None:
    log_error("%s, which a signal handler or a finalizer asked for while an action ran, failed: %r", what, failure)


class Locked(Protocol):
    """What has a lock that is taken by hand, and `unwind` for when anything is raised."""

    @property
    def acquire(self) -> Callable[..., bool]: ...

    @property
    def release(self) -> Callable[[], None]: ...

    def unwind(self) -> None:
        """Gives back what the caller has of the lock, after something was raised in it."""
        ...


def with_lock(method: Callable[Concatenate[E, P], R]) -> Callable[Concatenate[E, P], R]:
    """Has a method of an engine run with the lock held."""

    @wraps(method)
    def run(self: E, *args: P.args, **kwargs: P.kwargs) -> R:
        _coopy_holds = False
        try:
            try:
                self.acquire()
                _coopy_holds = True
                result = method(self, *args, **kwargs)
                _coopy_holds = False
                self.release()
            except BaseException:
                self.unwind()
                _coopy_holds = False
                raise
        except RecursionError:
            if _coopy_holds:
                self.release()
            raise
        except BaseException:
            self.unwind()
            raise
        try:
            return result
        finally:
            del result  # It may hold an exception, whose traceback has the frame that was called, and so this one.

    return cast("Callable[Concatenate[E, P], R]", run)


class Engine:
    """Takes calls through a log to a machine. ``machine`` is set by `start`."""

    __slots__ = (
        "lock",
        "acquire",
        "release",
        "log",
        "machine",
        "proxy",
        "asked",
        "clock",
        "deterministic",
        "_snapshots",
        "_codec",
        "_secret",
        "replay_began",
        "is_ahead",
        "comparison",
        "look",
        "last_look",
        "said_with_snapshot",
        "told_with_snapshot",
        "renewed",
        "instant",
        "_offset",
        "_offset_until",
        "_saved",
        "_snapshot_lock",
        "_section",
        "tap",
        "doorbell",
        "are_parts_recorded",
        "_is_seen_at_once",
        "__weakref__",
    )

    machine: Machine
    looks_at_reads = False
    """Whether every read is a call of `read`."""
    is_alone = True
    """Whether no other system has the same actions: then what was interrupted here can be withdrawn here."""

    def __init__(self, log: Log, snapshots: SnapshotStore, codec: Codec, secret: bytes) -> None:
        self.lock = RLock()
        self.acquire = self.lock.acquire
        self.release = self.lock.release
        self.log = log
        self.proxy: object = None
        self.are_parts_recorded = False
        """Whether an attribute that holds an object is read as a part of the state; see `coopy.spine.parts`. Set before the first read."""
        self.deterministic = False
        """Whether actions answer the standard library's clock and chance; set before `start`."""
        self.clock: Callable[[], int] | None = None
        """Answers nanoseconds since 1970-01-01 UTC, and is asked for each action; None for this machine's clock, whose offset from
        UTC is looked at once a second."""
        self.asked: Callable[[str], None] = _nobody
        """Told the name of each effect as it is asked for, while the lock is held, and again after a rebuild."""
        self.is_ahead: Callable[[int, int], None] = _tell_nobody
        """Told, by who records, of the last instant and the clock's, if that is far behind."""
        self.replay_began = 0.0
        """When the replay of the last start, or of a rebuild, began: its snapshot was loaded by then. Of time.monotonic()."""
        self.comparison: Comparison | None = None
        """Compares the states that the next replay passes with what was said of them."""
        self.look: Callable[[Machine], bool] = _never
        """Given the machine between two actions, about once a second while calls come, by who records. Returns whether it wants
        to be asked again at the next call. Raises nothing."""
        self.last_look: Callable[[Machine], object] = say_nothing
        """Given the machine when all is durable and nothing comes after."""
        self.said_with_snapshot: Callable[[Machine], bytes | None] = say_nothing
        """Given the machine of which a snapshot was just written, by who has written it, perhaps in a child."""
        self.told_with_snapshot: Callable[[int, bytes], None] = _keep_quiet
        """Given the index of a snapshot, and what ``said_with_snapshot`` has returned."""
        self.renewed: Callable[[Machine], object] = say_nothing
        """Given the machine whenever it is another one, with the lock held, before anybody else sees it. Raises nothing."""
        self._snapshots = snapshots
        self._codec = codec
        self._secret = secret
        self.instant = 0
        self._offset = 0
        self._offset_until = 0
        self._saved = -1
        self._snapshot_lock = RLock()
        self._section: Section | None = None
        self._is_seen_at_once = False
        self.tap: Tap | None = None
        """Where subscribers are told of actions; None while there are none."""
        self.doorbell = Doorbell(self)
        """Rings for those who wait for what the next action brings."""

    @property
    def gives_parts(self) -> bool:
        """See `Calling.gives_parts`."""
        return self.are_parts_recorded

    @with_lock
    def start(self, progress: Progress | None = None, loading: Progress | None = None) -> None:
        """Brings the machine to the end of the log. Raises what `restore` raises."""
        machine = self._rebuild(progress, loading)
        self._is_seen_at_once = has_unlocked_reads(type(machine.domain))
        if machine.version < machine.migration.version:
            self.record(MARK, (machine.migration.version,), machine.begin_version)

    def call(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """Records a call and applies it. Raises what the method raises, and our errors before it is applied.

        Without ``wait`` the caller is answered before the action is settled, and waits itself.
        """
        failure = parts = None
        header: Any = None
        index = 0
        _coopy_holds = False
        # What `Section.one` does stands here once more: a method more would cost each call 3 %.
        # The lock is taken by hand, as in the methods of a proxy: see `unwind`.
        try:
            try:
                try:
                    if not self.acquire(False):
                        self._queue_up()
                    _coopy_holds = True
                    machine = self.machine
                    nested = machine.running
                    if not nested:
                        log = self.log
                        if machine.applied != log.last:
                            machine = self._caught_up()
                        call, args, kwargs = self._codec.encode_call(method.name, args, kwargs, method.parameters, machine)
                        # Encoding runs methods of the arguments, which may have called the system: it comes
                        # before the instant is taken.
                        machine = self.machine
                        if machine.applied != log.last:
                            machine = self._caught_up()
                        # A signal handler that calls the system must not come between this record and the one before it.
                        machine.running = header = True
                        instant = _time_ns()
                        if instant >= self._offset_until:
                            instant = self._stamp(instant, method.name not in _ASSIGNING)
                        if instant < self.instant:
                            instant = self._not_before(instant)
                        header = _pack(instant, self._offset, machine.outcome)
                        function = machine.methods[method.name]
                        parts = self._codec.dump_parts(machine.domain, method.parts) if method.parts else None
                        index = log.append(header + call)
                        self.instant = instant
                        result = machine.apply(header, function, args, kwargs)
                        if self.tap is not None:
                            self.tap.tell(index)
                    _coopy_holds = False
                    self.release()
                except BaseException as error:
                    # The domain's own, or an interruption: raised below if the action is recorded, once that is settled.
                    if header is not None and not index and _coopy_holds:
                        index = self._recorded_last()
                    if not index or not _coopy_holds:
                        if header is not None and _coopy_holds:
                            machine.running = False
                        self.unwind()
                        _coopy_holds = False
                        raise
                    self.failed(method, index, error, parts)
                    failure = error
                    self._tell()
                    _coopy_holds = False
                    self.release()
            except RecursionError:
                if _coopy_holds:
                    if header is not None:
                        machine.running = False
                    _coopy_holds = False
                    self.release()
                raise
            except BaseException:
                # One may have come while another was dealt with.
                self.unwind()
                raise
        except RecursionError:
            raise
        except BaseException:
            self.unwind()
            raise
        if nested:
            # A call from inside an action is part of that action, which holds the lock.
            found = self.aside()
            if found != NOT_ASIDE:
                return self._call_afterwards(method, args, kwargs, found == OF_FINALIZER)
            return self._returned(method.function(machine.domain, *args, **kwargs))
        if log.settled < index and wait:
            self._wait_for(method, index, failure)
        if failure is not None:
            try:
                raise failure
            finally:
                failure = None  # Its traceback has this frame, which has the machine.
        return result if result is not machine.domain else self.proxy

    def aside(self) -> int:
        """Returns OF_HANDLER or OF_FINALIZER if one of these asks, while an action of this thread runs that it has come in between of."""
        running = self.machine.running and self.lock._is_owned()  # type: ignore[attr-defined]
        return aside(sys._getframe(1).f_back, _ACTIONS) if running else NOT_ASIDE

    def _call_afterwards(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], is_of_finalizer: bool) -> None:
        """Has a call made by a signal handler, or by a finalizer, once the action is over that has been interrupted."""
        if is_of_finalizer and self.machine.replaying:
            return  # It is recorded as an action of its own. A signal has come now, and to this process alone.
        _, args, kwargs = self._codec.encode_call(method.name, args, kwargs, method.parameters, self.machine)
        self.run_afterwards(f"{method.name}()", lambda: self.call(method, args, kwargs))

    def run_afterwards(self, what: str, function: Callable[[], object]) -> None:
        """Runs a function in a thread of its own: one that waits for the lock gets it when the action is over."""

        def run() -> None:
            # Nobody waits for this thread to be told.
            with last_resort(_failed_afterwards, what):
                function()

        threading.Thread(target=run, name=f"coopy {what} afterwards").start()

    def _wait_for(self, method: Method, index: int, failure: BaseException | None) -> None:
        """Waits for the action of a call. Raises `JournalError`, unless what the method raised is more urgent."""
        try:
            self.log.wait(index)
        except BaseException as error:  # A disk, or a line, that fails; or an interruption.
            is_urgent = failure is not None and (not isinstance(failure, Exception) or isinstance(failure, INTERRUPTIONS))
            if isinstance(error, Exception) and is_urgent:
                return
            if failure is None and not isinstance(error, CoopyError):
                note(error, _COUNTS.format(method.name, index) + " It is not known whether the disk has it.")
            raise

    def begin_all(self, calls: Sequence[Call]) -> Any:
        """Takes calls in order, as `call` and `read` do each, and writes what they record together.

        Each gets its value, or what it raised. Nobody is to be told of them before what this returns
        is settled: see `settle`. docs/design/006-calls-in-batches.md says what else is true of them.
        """
        rest = iter(calls)
        while (last := self._begin(rest)) is None:
            _yield()
        return last

    def settle(self, index: int) -> None:
        """Waits until the callers of what was begun up to an action may be told. Raises `JournalError`."""
        if self.log.settled < index:
            self.log.wait(index)

    def settled(self, begun: Any, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
        """The calls that `begin_all` has begun, in parts, each as soon as its callers may be told. Raises `JournalError` instead."""
        self.settle(begun)
        yield calls

    def read(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """Runs a function that changes nothing: the long way, for when there may be something to wait for."""
        nested, seen, result, failure = self._look(function, args, kwargs)
        if not nested and wait:
            self.settle(seen)
        if failure is not None:
            try:
                raise failure
            finally:
                failure = None  # Its traceback has this frame, which has the machine.
        return result

    @with_lock
    def _look(
        self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bool, int, Any, Exception | None]:
        """Whether an action of this thread runs, the newest action that was seen, and what the function returned or raised."""
        machine, result, failure = self.machine, None, None
        nested = machine.running
        if not nested:
            machine = self._current()
        seen = self.log.last
        try:
            result = self._returned(function(machine.domain, *args, **kwargs))
        except Exception as error:  # The domain's own: raised once what was seen is settled.
            failure = error
        try:
            return nested, seen, result, failure
        finally:
            failure = None  # Its traceback has this frame, which has the machine.

    def _queue_up(self) -> None:
        """Takes a lock that another holds.

        Who sleeps on a lock is given it while it still waits for the interpreter, so that whoever runs
        meanwhile finds it taken and sleeps as well: a queue that never ends once it has begun. The holder
        is let run a few times first; the lock is held for microseconds, unless a method takes long.
        """
        for _ in range(YIELDS):
            _yield()
            if self.acquire(False):
                return
        self.acquire()

    def unwind(self) -> None:
        """Gives back what the caller has of the lock, after something was raised in it, and puts right what that has left.

        Wherever it was raised: in between taking the lock and knowing so, or in between giving it back and having
        done so. Every function that holds the lock calls this twice, in two ``except`` around each other, as the first
        may be interrupted as well; it does nothing the second time. `call` has a third around them: its first deals with what
        the method has raised, and is long. While the function surely holds the lock it says
        so in its variable ``_coopy_holds``, for those inside of it. Costs nothing while nothing is raised.

        At the end of the stack there is no room for this function either. RecursionError does not come in these two gaps, so the
        outer ``except`` gives back by that variable what the inner one could not, with no frame of its own.
        """
        if not self.lock._is_owned():  # type: ignore[attr-defined]
            return
        outer = sys._getframe(1).f_back
        due = holding.times_due(outer, self)
        if not due:
            machine = getattr(self, "machine", None)
            if machine is not None:
                machine.running = False
                if current.machine is machine:
                    current.machine = running_in(outer)
        for _ in range(holding.times_held(self.lock) - due):
            self.release()

    def read_unlocked(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As `read`, beside any other call."""
        machine, log = self.machine, self.log
        if machine.applied != log.last and not machine.running:
            # Between two steps of another's call, or interrupted: the lock tells which.
            machine = self._put_right()
        elif log.settled < 0:
            log.wait(log.last + 1)
        result = self._returned(function(machine.domain, *args, **kwargs))
        seen = log.last
        if log.settled < seen and current.machine is not machine:
            log.wait(seen)
        return result

    @with_lock
    def record(self, name: str, args: tuple[Any, ...], function: Function) -> None:
        """Records an action of the system's own and applies it. Nothing is waited for."""
        call, args, _ = self._codec.encode_call(name, args, {})
        section = Section(self, self._codec, True)
        _, failure = section.one(*self._stamped(), call, Method(name, function), function, args, {})
        self._tell()
        if failure is not None:
            try:
                raise failure
            finally:
                failure = None  # Its traceback has this frame, which has the machine.

    @with_lock
    def enable(self, version: int) -> int:
        """Records that a code version is enabled, and returns the index of that action. Nothing is waited for."""
        self.record(CODE, (version,), self._current().methods[CODE])
        return self.log.last

    @with_lock
    def put_clock_back(self) -> int:
        """Records an action that has the time of this machine's clock, though the one before it is later, and returns its index."""
        before = action.utc_time(self._current().header)
        self.instant = 0
        self.record(action.CLOCK, (f"{before:%Y-%m-%d %H:%M:%S} UTC",), self.machine.methods[action.CLOCK])
        return self.log.last

    @with_lock
    def run(self, function: Callable[[], R]) -> R:
        """Runs a function with the lock held: no action runs meanwhile, and none of another thread is seen half done."""
        return function()

    @with_lock
    def examine(self, function: Callable[[Any], R]) -> tuple[int, R]:
        """Returns the index of the last action, and what a function of the domain comes to. Nothing is waited for."""
        machine = self._current()
        return machine.reached, function(machine.domain)

    def effect(self, name: str) -> bytes | None:
        """What an effect is to do; None if it is done, or was dropped. Waits for the action that asked for it."""
        self.log.wait(int(name.partition(".")[0]))
        return self._put_right().effects.get(name)

    @with_lock
    def carried_out(self, name: str) -> None:
        """Records that an effect has been carried out."""
        self.record(DONE, (name, None), self._current().effects.pop)

    @with_lock
    def beside(self, function: Callable[[Machine], R]) -> R:
        """Runs a function of the machine, between two actions, with the lock held."""
        return function(self._current())

    @with_lock
    def subscribe(
        self,
        told: Told,
        after: int | None = None,
        then: Callable[[], object] | None = None,
        withdrawn: Withdrawn = of_no_interest,
    ) -> Subscription:
        """Has a function told of actions from the one after ``after`` on; see `Control.subscribe`. ``then`` is called once it is told of none any more."""
        self._current()
        newest = self._ended()
        if not callable(told):
            raise UsageError(f"subscribe({shown(told)}): must be callable with the indexes of the first and the last action")
        if after is not None and (isinstance(after, bool) or not isinstance(after, int) or not 0 <= after <= newest):
            raise UsageError(f"after={shown(after)}: must be the index of an action, 0 to {newest}, or None for the newest one")
        tap = self.tap if self.tap is not None else Tap(newest)
        found = Subscription(self, tap, told, newest if after is None else after, then, withdrawn)
        try:
            found.start()
        except RuntimeError as error:
            raise JournalError(errno.EAGAIN, f"{error}. Nobody was subscribed.", "") from error
        tap.listeners = (*tap.listeners, found)
        tap.tell(newest)
        self.tap = tap
        return found

    @with_lock
    def listen(self, listener: Listener) -> None:
        """Has a listener rung by each action that ends from now on. Raises `SystemClosed`."""
        self._current()
        tap = self.tap if self.tap is not None else Tap(self._ended())
        tap.listeners = (*tap.listeners, listener)
        self.tap = tap

    @with_lock
    def newest(self) -> tuple[int, int]:
        """Returns the index of the last action that has ended, and how it has."""
        outcome = self._current().outcome
        return self._ended(), outcome

    def forked(self) -> None:
        """Called in a forked child: no thread of the parent is there to give back a lock, or to be told of anything."""
        self.lock = RLock()
        self.acquire, self.release = self.lock.acquire, self.lock.release
        self._snapshot_lock = RLock()
        self._section = None
        self.tap = None
        self.doorbell = Doorbell(self)

    def look_soon(self) -> None:
        """Has ``look`` asked at the next call."""
        self._offset_until = 0

    def take_snapshot(self, apart: Callable[[Saver], Callable[[], bytes | None]]) -> int:
        """Keeps the whole state, and returns the index it has. Raises `SnapshotError`, `EncodingError`.

        ``apart`` is given what saves and returns what waits for it to be saved: it is called
        with the lock held, and what it returns without.
        """
        if self.lock._is_owned():  # type: ignore[attr-defined]
            # Who takes a snapshot now may be waiting for this very lock.
            raise UsageError("a snapshot can't be taken inside a method of the domain; nothing was saved")

        def take() -> None:
            index, finish = self._begin_snapshot(apart)
            said = finish()
            self._saved = index
            if said:
                self.told_with_snapshot(index, said)

        holding.run_with(self._snapshot_lock, take)
        return self._saved

    @with_lock
    def _begin_snapshot(self, apart: Callable[[Saver], Callable[[], bytes | None]]) -> tuple[int, Callable[[], bytes | None]]:
        machine = self._current()
        if machine.applied == self._saved:
            return self._saved, _done
        self._refuse_turned(machine.domain)
        return machine.applied, apart(lambda: self.save(machine))

    def _refuse_turned(self, domain: object) -> None:
        """Refuses a state of which no snapshot would be opened, as it is of another class now. Raises `SnapshotError`."""
        cls = self._codec.domain_class
        if is_other(domain, cls):
            turned, name = type(domain).__qualname__, cls.__qualname__
            raise SnapshotError(
                f"no snapshot was taken: a method has made the object of the system a {turned}, and a snapshot of one is refused where a "
                f"{name} is opened. The system goes on; its journal holds every action. Derive {turned} from {name}, or keep what "
                f"the object has become in an attribute"
            )

    def save(self, machine: Machine) -> bytes | None:
        """Writes the snapshot of a machine, and returns what is said of it besides."""
        head = action.head(machine.header, machine.outcome, machine.version, machine.besides())

        def write(file: StateWriter) -> None:
            self._codec.dump_state(machine.domain, _AfterHead(file, head))

        def tries(data: Stored) -> bool:
            return trial.load(self._codec, machine.domain, data, len(head))

        self._snapshots.write(machine.applied, write, tries)
        return self.said_with_snapshot(machine)

    def past(
        self,
        until: int | None,
        instant: int | None,
        clock_from: int,
        codec: Codec,
        begin: Callable[[Machine], None],
        comparison: Comparison | None = None,
        after: int | None = None,
    ) -> Machine:
        """The machine as it was, decoded by ``codec``. The live one is untouched. All actions after ``after`` are run again."""
        self._put_right()
        log = self.log.reader()
        try:
            found = restore(
                log,
                self._snapshots,
                codec,
                self._secret,
                deterministic=self.deterministic,
                until=until,
                instant=instant,
                clock_from=clock_from,
                after=after,
                begin=begin,
                stops=comparison.stops if comparison is not None else (),
                visit=comparison.visit if comparison is not None else None,
            )
        finally:
            log.close()
        # Nobody sees what a power cut could take back.
        self.log.wait(found.applied)
        return found

    @with_lock
    def close(self) -> None:
        """Records how the last action ended, makes all durable, and takes no more calls."""
        machine, log = self.machine, self.log
        if machine.running:
            raise UsageError("a system can't be closed inside one of its own actions; it is still open")
        amendment = None
        if machine.applied == log.last and machine.outcome != action.UNKNOWN:
            amendment = action.amendment(self.instant, self._offset, machine.outcome)
        last, ended = self._ended(), None
        try:
            log.close(amendment)
            ended = last
        finally:
            if self.tap is not None:
                self.tap.end(ended)
        if machine.applied == log.last:
            # Once: closing goes on after whatever interrupts the look.
            last_look, self.last_look = self.last_look, say_nothing
            last_look(machine)

    def let_go(self) -> None:
        """Drops the state of a system that is closed: whoever keeps its proxy, or an error of it, does not keep that."""
        machine = getattr(self, "machine", None)
        if machine is not None:
            self.machine = machine.emptied()
        self.proxy = self._codec.proxy = None
        self.asked = _nobody
        if self.tap is not None:
            self.tap.end(None)

    # -- with the lock held

    @with_lock
    def _begin(self, rest: Iterator[Call]) -> int | None:
        """Takes calls for as long as the lock may be held. Returns the index of the last action if there are no more."""
        assert not self.machine.running, "a batch begins outside any action: its calls would have to be part of it"
        section = self._section = Section(self, self._codec, self._is_seen_at_once)
        until = _time_ns() + HELD_NS
        try:
            while chunk := list(islice(rest, CHUNK)):
                methods = [call.what for call in chunk]
                encoded = self._encoded_together(methods, chunk)
                begun = self._begin_together(methods, chunk, encoded, section) if encoded is not None else 0
                if begun < len(chunk):
                    self._begin_each(chunk[begun:], repeat(None) if encoded is None else encoded[begun:], section)
                if _time_ns() > until:
                    return None
        finally:
            self._end_section(section)
        return self.log.last

    def _end_section(self, section: Section) -> None:
        """Writes what was run, and then passes on what it has asked for."""
        self._section = None
        section.write()
        self._tell()
        for name in section.asked:
            self.asked(name)

    def _tell(self) -> None:
        """Tells subscribers that the actions of the log have ended."""
        if self.tap is not None:
            self.tap.tell(self._ended())

    def _ended(self) -> int:
        """Index of the last action that has ended: what comes after it may still be withdrawn."""
        machine, last = self.machine, self.log.last
        if machine.outcome == action.WITHDRAWN and machine.index == last:
            return last
        return min(machine.reached, last)

    def _encoded_together(self, methods: list[Any], calls: list[Call]) -> list[bytes] | None:
        """Returns the opcodes of some calls, if all of them are recorded and hold plain scalars and nothing else."""
        if {Method}.issuperset(map(type, methods)) and not [call for call in calls if call.kwargs]:
            return self._codec.encode_plain([each.name for each in methods], [call.args for call in calls])
        return None

    def _begin_together(self, methods: list[Method], calls: list[Call], encoded: list[bytes], section: Section) -> int:
        """Runs calls in order until one raises, or nobody waits for one any more. Returns how many were begun.

        That is 0 if anything must be done before one of them but to call it.
        """
        machine, now = self.machine, _time_ns()
        if self._is_seen_at_once or not section.is_in_step():
            return 0
        if now >= self._offset_until:
            now = self._stamp(now)
        if now + STEP_NS * len(calls) > self._offset_until:
            # The offset is to be looked at in between; or there is a clock that is asked for each action.
            return 0
        functions: dict[Method, Function] = {}
        for each in set(methods):
            if each.parts:
                return 0
            try:
                functions[each] = machine.methods[each.name]
            except MissingName:
                return 0  # Those before it are applied.
        first, offset = max(now, self.instant), self._offset
        instants = range(first, first + STEP_NS * len(calls), STEP_NS)
        headers = [_pack(instant, offset, action.RETURNED) for instant in instants]
        headers[0] = _pack(first, offset, machine.outcome)
        values, failure = section.many(headers, [functions[each] for each in methods], _arguments_of(calls))
        for call, value in zip(calls, values, strict=False):
            call.value = value
        done = len(values)
        begun = done + (failure is not None)
        if begun:
            records = [header + data for header, data in zip(headers[:begun], encoded, strict=False)]
            section.add(records, calls[:begun], instants[begun - 1])
        if failure is not None:
            calls[done].error, failure = failure, None  # Its traceback has this frame.
            # The caller of that action is told; those before it have returned.
            with answering(calls[done]):
                section.failed(methods[done], cast(BaseException, calls[done].error), None)
        return begun

    def _begin_each(self, calls: list[Call], encoded: Iterable[bytes | None], section: Section) -> None:
        """Takes calls in order, one by one. None is a call that is encoded when its turn has come."""
        encode, one, is_in_step = self._codec.encode_call, section.one, section.is_in_step
        for call, data in zip(calls, encoded, strict=False):
            method = call.what
            try:
                if not is_in_step():
                    self._caught_up()
                if type(method) is Method:
                    machine, args, kwargs = self.machine, call.args, call.kwargs
                    if data is None:
                        applied = machine.applied
                        data, args, kwargs = encode(method.name, args, kwargs, method.parameters, machine)
                        # Encoding may have called the system, as in `call`: it comes before the instant is taken.
                        if self.machine is not machine or machine.applied != applied:
                            machine = self._caught_up()
                    instant = _time_ns()
                    if instant >= self._offset_until:
                        instant = self._stamp(instant)
                    function = machine.methods[method.name]
                    call.value, call.error = one(instant, self._offset, data, method, function, args, kwargs, call)
                elif method is not None:
                    section.add_read(call)
                    call.value = self._returned(method(self.machine.domain, *call.args, **call.kwargs))
            except BaseException as error:  # It is raised where this call is waited for; the others go on.
                call.error = error

    @with_lock
    def _put_right(self) -> Machine:
        """As `_current`, for callers that do not hold the lock."""
        return self._current()

    def _current(self) -> Machine:
        """The machine, rebuilt if it has to be. Raises if the log takes no more."""
        log = self.log
        if log.settled < 0:
            log.wait(log.last + 1)
        return self.machine if self.machine.running else self._caught_up()

    def _caught_up(self) -> Machine:
        """The machine, outside any action, in step with the log. Raises if the log takes no more."""
        log = self.log
        if log.settled < 0:
            log.wait(log.last + 1)
        if self._section is not None:
            # Called by what one of many calls encodes, say, and the last actions are not in the log yet.
            self._section.write()
        machine = self.machine
        if machine.applied == log.last:
            return machine
        if machine.outcome == action.WITHDRAWN and machine.index == log.last:
            self._withdraw()  # What interrupted the action may have interrupted its withdrawal as well.
        return self._rebuild()

    def _rebuild(self, progress: Progress | None = None, loading: Progress | None = None, withdrawn: int = 0) -> Machine:
        """Restores the machine anew, without the action ``withdrawn``."""

        comparison, self.comparison = self.comparison, None

        def begin(machine: Machine) -> None:
            # A domain that holds its own proxy calls it during replay, too.
            self.machine = machine
            self.replay_began = time.monotonic()
            if comparison is not None:
                comparison.begin()

        self.machine = restore(
            self.log,
            self._snapshots,
            self._codec,
            self._secret,
            deterministic=self.deterministic,
            progress=progress,
            loading=loading,
            begin=begin,
            stops=comparison.stops if comparison is not None else (),
            visit=comparison.visit if comparison is not None else None,
            withdrawn=withdrawn,
            alone=self.is_alone,
        )
        self.machine.asked = self._ask
        for name in self.machine.effects:
            self.asked(name)
        self.instant = max(self.instant, action.instant_of(self.machine.header))
        if self.machine.outcome == action.WITHDRAWN and self.log.settled >= 0:
            # So it may have been found just now.
            try:
                self._withdraw()
            except JournalError:
                pass  # The next record says so too.
        self.renewed(self.machine)
        return self.machine

    def _ask(self, name: str) -> None:
        """Passes on what an action asks for, once the action is in the log."""
        if self._section is None:
            self.asked(name)
        else:
            self._section.asked.append(name)

    def failed(self, method: Method, index: int, error: BaseException, parts: bytes | None) -> None:
        """Puts memory and log right after an action of the log has raised, as the marks of its method say."""
        machine = self.machine
        machine.running = False
        if current.machine is machine:
            current.machine = running_in(sys._getframe(1))
        if machine.index == index and machine.outcome == action.RETURNED:
            note(error, _COUNTS.format(method.name, index))
            return
        if machine.index != index or machine.outcome != action.RAISED:
            self._interrupted(method, index, error, machine.index == index and machine.is_doubtful)
            return
        method = method.of(machine.code)
        refused = isinstance(error, PrevalentError)
        if is_undone(method, error):
            machine.outcome = action.WITHDRAWN
            try:
                self._withdraw()
            except JournalError:
                pass  # The next record says so too; if there is none, replay sees it raise and its mark.
        if parts is not None and method.parts and not refused:
            try:
                self._codec.load_parts(machine.domain, method.parts, parts)
            except Exception:
                # What can be pickled can't always be loaded: the journal has it all the same.
                self._rebuild()
                return
        elif method.transactional or refused:
            self._rebuild()
            return
        machine.applied = index

    def _recorded_last(self) -> int:
        """Index of an action that is recorded and was not begun, as something was raised in between; 0 if there is none."""
        machine, last = self.machine, self.log.last
        return last if last == machine.applied + 1 else 0

    def _interrupted(self, method: Method, index: int, error: BaseException, is_doubtful: bool) -> None:
        """Withdraws an action that something from outside has interrupted, before its caller is told."""
        if is_doubtful:
            # What the method raises by itself it raises again.
            machine = self._rebuild()
            if machine.outcome == action.RAISED or (
                machine.outcome != action.RETURNED and is_undone(method.of(machine.code), error)
            ):
                return
        machine = self.machine
        machine.applied = UNSURE
        machine.index, machine.outcome = index, action.WITHDRAWN
        try:
            self._withdraw()
            self.log.settle()
        except JournalError as refused:
            note(error, f"{method.name}() was interrupted, and its withdrawal could not be recorded: {refused}")
        else:
            note(error, f"{method.name}() was interrupted: action {index} is withdrawn, and the state is as before the call.")

    def _withdraw(self) -> None:
        """Records that the last action is withdrawn."""
        if self.tap is not None:
            self.tap.withdraw(self.log.last)
        self.log.amend(action.amendment(self.instant, self._offset, action.WITHDRAWN))

    def _stamped(self) -> tuple[int, int]:
        """Returns the instant that an action gets that is recorded now, unless the one before it has a later one, and the UTC offset."""
        instant = _time_ns()
        if instant >= self._offset_until:
            instant = self._stamp(instant)
        return instant, self._offset

    def _stamp(self, instant: int, looks: bool = True) -> int:
        """Reads the UTC offset of local time, and a clock of its own. Returns the instant that the action gets."""
        clock = self.clock
        if clock is not None:
            instant = clock()
        seconds = instant // _NS
        self._not_before(instant)
        self._offset = time.localtime(seconds).tm_gmtoff
        is_due = looks and self._is_between_actions() and self.look(self.machine)
        self._offset_until = 0 if is_due or clock is not None else (seconds + 1) * _NS
        return instant

    def _is_between_actions(self) -> bool:
        """Whether the state is that after the last action of the log, for who records the next."""
        return self.machine.applied == self.log.last

    def _not_before(self, instant: int) -> int:
        """The instant that an action gets whose clock says ``instant``: not one before that of the last action."""
        if instant + action.AHEAD_NS < self.instant:
            self.is_ahead(self.instant, instant)
        return max(instant, self.instant)

    def _returned(self, result: Any) -> Any:
        if result is self.machine.domain:
            return self.proxy
        return iter(list(result)) if type(result) is GeneratorType else result


_ACTIONS = RUNNERS | {Engine.call.__code__, Section.one.__code__}
"""Code that is on the stack while an action runs, or is about to."""


def _arguments_of(calls: Iterable[Call]) -> Iterator[tuple[Any, ...]]:
    """The arguments of each call when its turn has come, up to one that nobody waits for any more."""
    for call in calls:
        if call.what is None:
            return
        yield call.args


class _AfterHead:
    """A `StateWriter` that begins with some bytes, each time it begins."""

    def __init__(self, file: StateWriter, head: bytes) -> None:
        self._file = file
        self._head = head
        file.write(head)

    def write(self, data: bytes, /) -> object:
        return self._file.write(data)

    def restart(self) -> None:
        self._file.restart()
        self._file.write(self._head)
