"""What runs under a `SyncObj`: its system, opened in the background, the commands that wait, and the thread that calls back.

PySyncObj's constructor returns before there are other nodes, and its calls wait; a coopy system is open once a majority is there. So a node
is opened by a thread of its own, again and again while nobody answers, and what is called meanwhile is sent when it is open. A system
without other nodes is opened at once.

All callbacks of the program come from one thread, that of the ticks, or with ``autoTick=False`` from `Running.tick`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import copy
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from coopy import (
    ClusterError,
    Control,
    CoopyError,
    DirectoryInUse,
    JournalError,
    OutcomeUnknown,
    ReadOnlyNode,
    ServerError,
    SystemClosed,
    Unavailable,
    control,
)
from coopy.compat.pysyncobj_conf import _RAFT_STATE, FAIL_REASON, SERIALIZER_STATE, SyncObjConf, SyncObjException
from coopy.compat.pysyncobj_domain import Domain, attach
from coopy.compat.pysyncobj_member import Callback
from coopy.ground import log
from coopy.ground.raised import on_failure

LOOK_S = 1.0
"""How often it is looked whether the log is to be compacted. PySyncObj looks at each tick, and is done within it."""

_REASONS: tuple[tuple[type[BaseException], int], ...] = (
    (OutcomeUnknown, FAIL_REASON.UNKNOWN_OUTCOME),
    (Unavailable, FAIL_REASON.MISSING_LEADER),
    (ReadOnlyNode, FAIL_REASON.NOT_LEADER),
    (SystemClosed, FAIL_REASON.DISCARDED),
    (JournalError, FAIL_REASON.UNKNOWN_OUTCOME),
    (CoopyError, FAIL_REASON.REQUEST_DENIED),
)
"""What the errors of coopy are in PySyncObj; the first that fits."""


def reason_of(error: BaseException) -> int | None:
    """Returns the `FAIL_REASON` that an error of coopy is; None for what the method itself has raised."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), None)


class Command(NamedTuple):
    """A call of a replicated method. ``answer`` gets its result or what it raised."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    answer: Future[Any]


class Running:
    """The system of one `SyncObj`.

    ``opens``: opens the system, and returns its proxy; ``domain``: the class of the domain object; ``is_alone``: whether it has no other nodes; ``address``: what
    this node calls itself; ``closed``: called when all is let go.
    """

    def __init__(
        self,
        opens: Callable[[], Any],
        domain: type[Domain],
        members: Sequence[Any],
        conf: SyncObjConf,
        address: str,
        is_alone: bool,
        closed: Callable[[], None],
    ) -> None:
        self._opens = opens
        self.domain = domain
        self.members = members
        self.conf = conf
        self._address = address
        self.is_alone = is_alone
        self._closed = closed
        self.control: Control | None = None
        """Of the system, once it is open."""
        self.leader: str | None = None
        """Which node leads, as far as this one knows."""
        self.raft_state = _RAFT_STATE.FOLLOWER
        self.leaders_seen = 0
        self.is_ready = False
        self.problem: BaseException | None = None
        """Why it can't be opened; None while it may be."""
        self.bind_problem: BaseException | None = None
        """Why its server could not be started as often as ``maxBindRetries`` says."""
        self.opened = threading.Event()
        """Set once it is open, or can't be opened."""
        self.began = time.monotonic()
        self._proxy: Any = None
        self._opening = threading.RLock()
        """Held while what was called before the system was open is handed over to it: later calls come after that."""
        self._waiting: deque[Command] = deque()
        self._counting = threading.Lock()
        self._unanswered = 0
        self._applying = threading.RLock()
        self._done: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._on_tick: list[Callable[[], object]] = []
        self._ended = threading.Event()  # Set once it is being closed: no more commands are taken.
        self._let_go = threading.Event()  # Set once all who wait for commands have been told.
        self._ticks: threading.Thread | None = None
        self._errand: threading.Thread | None = None
        self._closing: threading.Thread | None = None
        self._next_look = 0.0
        self.forced = False
        """Whether the log is to be compacted, due or not."""
        self._writes_dump = False

    # -- opening

    def begin(self) -> None:
        """Opens the system: here, if it is alone, else in the background. Raises what that raises if it is alone."""
        if self.is_alone:
            self._open()
            self._is_led(None, self._address)
            self.opened.set()
        else:
            threading.Thread(target=self._open_at_last, name=f"coopy opening {self._address}", daemon=True).start()
        if self.conf.autoTick:
            self._ticks = threading.Thread(target=self._keep_ticking, name=f"coopy ticks {self._address}", daemon=True)
            self._ticks.start()

    def _open_at_last(self) -> None:
        try:
            self._keep_opening()
        finally:
            self.opened.set()
            if self._ended.is_set():
                self._closed()

    def _keep_opening(self) -> None:
        tries = 0
        while not self._ended.is_set():
            try:
                self._open()
                break
            except Unavailable as error:
                log.warn("%s: %s Trying again.", self._address, error)
            except (ServerError, DirectoryInUse) as error:
                tries += 1
                log.warn("%s: can't listen yet: %s", self._address, error)
                if 0 < self.conf.maxBindRetries <= tries:
                    self.bind_problem = self.problem = error
                    break
            except CoopyError as error:
                log.error("%s: this node can't be opened: %s", self._address, error)
                self.problem = error
                break
            self._ended.wait(self.conf.bindRetryTime)
        if self.problem is not None:
            self._refuse_waiting(self.problem)

    def _open(self) -> None:
        proxy = self._opens()
        found = control(proxy)
        found.on_restored(self._restored)
        found.on_code_version_changed(lambda before, after: self._call_back(self.conf.onCodeVersionChanged, before, after))
        with self._opening:
            self._proxy = proxy
            waiting, self._waiting = self._waiting, deque()
            for command in waiting:
                self._hand_over(found, command)
            self.control = found
        self.is_ready = True
        self._call_back(self.conf.onReady)
        if not self.is_alone:
            found.on_leader_changed(self._is_led)  # type: ignore[attr-defined]
            self._is_led(None, found.status()["leader"])
        if self._ended.is_set():
            found.close()  # It was destroyed meanwhile.

    def _restored(self, domain: Domain) -> None:
        attach(domain, self.members)

    def _is_led(self, before: str | None, after: str | None) -> None:
        if after == self.leader:
            return
        self.leader = after
        self.leaders_seen += after is not None
        if after == self._address:
            self._becomes(_RAFT_STATE.CANDIDATE)
            self._becomes(_RAFT_STATE.LEADER)
        else:
            self._becomes(_RAFT_STATE.CANDIDATE if after is None else _RAFT_STATE.FOLLOWER)

    def _becomes(self, state: int) -> None:
        before, self.raft_state = self.raft_state, state
        if before != state:
            self._call_back(self.conf.onStateChanged, before, state)

    # -- commands

    @property
    def code(self) -> int | None:
        """The code version that is enabled; None while that is not known."""
        return None if self.control is None else self.control.code_version

    def send(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        callback: Callback | None,
        sync: bool,
        timeout: float | None,
    ) -> Any:
        """Sends a command; returns its result if ``sync``, else None.

        Raises `SyncObjException`, `EncodingError`, and if ``sync`` what the method raises.
        """
        answer = Future[Any]()
        if not sync:
            answer.add_done_callback(lambda found: self._answered(name, found, callback))
        reason = self._put(Command(name, args, kwargs, answer))
        if reason is not None:
            if sync:
                raise SyncObjException(reason)
            if callback is not None:
                self._call_back(callback, None, reason)
            return None
        if not sync:
            return None
        if self.is_alone:
            self._apply_waiting()
        if not concurrent.futures.wait([answer], timeout).done:
            raise SyncObjException("Timeout")
        try:
            return answer.result()
        except CoopyError as error:
            raise SyncObjException(reason_of(error)) from error

    def _put(self, command: Command) -> int | None:
        """Has a command sent. Returns why it is not. Raises `EncodingError`, `UsageError`."""
        reason = self._why_none_are_taken()
        if reason is not None:
            return reason
        if not self.conf.commandsWaitLeader and self.leader is None:
            return FAIL_REASON.MISSING_LEADER
        with self._counting:
            if self._unanswered >= self.conf.commandsQueueSize:
                return FAIL_REASON.QUEUE_FULL
            self._unanswered += 1
        command.answer.add_done_callback(self._one_less)
        try:
            with on_failure(command.answer.cancel):
                return self._put_or_keep(command)
        except ClusterError as error:
            return FAIL_REASON.QUEUE_FULL if isinstance(error, Unavailable) else reason_of(error)

    def _put_or_keep(self, command: Command) -> int | None:
        """Hands a command over, or keeps it until there is a system. Returns why neither is done."""
        if self.control is None:
            with self._opening:
                if self.control is None:
                    # What has waited may have been refused meanwhile, and nobody would look at this one.
                    reason = self._why_none_are_taken()
                    if reason is not None:
                        command.answer.cancel()
                        return reason
                    # The caller may change its arguments before the system is open.
                    args, kwargs = copy.deepcopy((command.args, command.kwargs))
                    self._waiting.append(command._replace(args=args, kwargs=kwargs))
                    return None
        self._hand_over(self.control, command)
        return None

    def _why_none_are_taken(self) -> int | None:
        """Returns why commands are refused; None if they are not."""
        if self._ended.is_set():
            return FAIL_REASON.DISCARDED
        return None if self.problem is None else reason_of(self.problem)

    def _one_less(self, answer: Future[Any]) -> None:
        with self._counting:
            self._unanswered -= 1

    def _hand_over(self, found: Control, command: Command) -> None:
        """Gives a command to the system that is open. Raises what `Control.submit` raises."""
        if self.is_alone:
            self._waiting.append(command)
            self._done.put(self._apply_waiting)
            return
        sent = found.submit(command.name, *command.args, **command.kwargs)
        sent.add_done_callback(lambda done: _pass_on(done, command.answer))

    def _apply_waiting(self) -> None:
        """Runs the commands that wait for a system on this machine, in order."""
        with self._applying:
            while self._waiting:
                command = self._waiting.popleft()
                try:
                    command.answer.set_result(getattr(self._proxy, command.name)(*command.args, **command.kwargs))
                except BaseException as error:  # Of whatever kind: it is the method's, and its caller's to deal with.
                    command.answer.set_exception(error)
                    if not isinstance(error, Exception):
                        raise

    def _refuse_waiting(self, error: BaseException) -> None:
        with self._opening:
            waiting, self._waiting = self._waiting, deque()
        for command in waiting:
            command.answer.set_exception(error)

    def _answered(self, name: str, answer: Future[Any], callback: Callback | None) -> None:
        """Tells a callback how a command has ended, and the log if the method has raised."""
        if answer.cancelled():
            return
        error = answer.exception()
        reason = FAIL_REASON.SUCCESS if error is None else reason_of(error)
        if reason is None:
            log.error("%s: %s has raised, on each node: %r", self._address, name.partition("_")[2], error)
            reason = FAIL_REASON.REQUEST_DENIED
        if callback is not None:
            self._call_back(callback, answer.result() if error is None else None, reason)

    # -- calling back

    def _call_back(self, function: Callable[..., object] | None, *args: object) -> None:
        """Has a function of the program called at the next tick."""
        if function is None:
            return
        self._done.put(lambda: log.call_back(self._address, function, *args))
        if self._let_go.is_set() and self.conf.autoTick:
            # The thread that ticks has ended, or is about to. Who calls may hold a lock that the function takes.
            threading.Thread(target=self._call_waiting, args=(0,), name=f"coopy ticks {self._address}", daemon=True).start()

    def add_on_tick(self, callback: Callable[[], object]) -> None:
        self._on_tick = [*self._on_tick, callback]

    def remove_on_tick(self, callback: Callable[[], object]) -> None:
        self._on_tick = [each for each in self._on_tick if each != callback]

    @property
    def ticks(self) -> threading.Thread | None:
        """The thread that ticks."""
        return self._ticks

    def _keep_ticking(self) -> None:
        while not self._ended.is_set():
            self.tick(self.conf.autoTickPeriod)
        # Those whose commands are refused now are told as well.
        while not self._let_go.is_set():
            self._call_waiting(self.conf.autoTickPeriod)
        self._call_waiting(0)

    def tick(self, wait_s: float) -> None:
        """Calls what is to be called back; waits so long for something if there is nothing yet."""
        self._call_waiting(wait_s)
        for callback in self._on_tick:
            log.call_back(self._address, callback)
        now = time.monotonic()
        if self.forced or now >= self._next_look:
            self._next_look = now + LOOK_S
            self._compact_if_due()

    def _call_waiting(self, wait_s: float) -> None:
        timeout_s = max(0.0, wait_s)
        with contextlib.suppress(queue.Empty):
            while True:
                work = self._done.get(timeout_s > 0, timeout_s or None)
                if work is None:
                    return
                work()
                timeout_s = 0

    # -- compacting the log

    def _compact_if_due(self) -> None:
        found = self.control
        if found is None or found.closed:
            return
        forced, self.forced = self.forced, False
        newest = found.status()["snapshot"]["index"]
        if forced or found.index - newest > self.conf.logCompactionMinEntries:
            self.run_errand("taking a snapshot", lambda: self._compact(found))
        if self._writes_dump and self.conf.serializeChecker is not None:
            self._look_at_dump()

    def _compact(self, found: Control) -> None:
        index = found.take_snapshot()
        if self.conf.serializer is not None:
            log.call_back(self._address, self._write_dump, index)

    def _write_dump(self, index: int) -> None:
        """Has the program's own serializer write its file."""
        self.conf.serializer(f"{self.conf.fullDumpFile}.tmp", (index,))
        if self.conf.serializeChecker is None:
            self._keep_dump()
        else:
            self._writes_dump = True

    def _look_at_dump(self) -> None:
        state = self.conf.serializeChecker()
        if state == SERIALIZER_STATE.SUCCESS:
            self._keep_dump()
        elif state == SERIALIZER_STATE.FAILED:
            self._writes_dump = False
            log.warn("%s: the serializer could not write %s", self._address, self.conf.fullDumpFile)

    def _keep_dump(self) -> None:
        self._writes_dump = False
        os.replace(f"{self.conf.fullDumpFile}.tmp", self.conf.fullDumpFile)

    # -- what takes longer

    def run_errand(self, what: str, work: Callable[[], object], callback: Callback | None = None) -> None:
        """Does something that takes long in the background, after what was asked for before. ``callback`` is told how it ended."""
        before = self._errand

        def run() -> None:
            if before is not None:
                before.join()
            reason: int | None = FAIL_REASON.SUCCESS
            try:
                work()
            except (CoopyError, OSError) as error:
                reason = reason_of(error)
                reason = FAIL_REASON.REQUEST_DENIED if reason is None else reason
                log.warn("%s: %s was refused: %s", self._address, what, error)
            self._call_back(callback, None, reason)

        self._errand = threading.Thread(target=run, name=f"coopy {what} {self._address}", daemon=True)
        self._errand.start()

    def set_code_version(self, version: int) -> None:
        """Enables a code version on all nodes. Raises `UsageError`, `ClusterError`."""
        self._opened().set_code_version(version)

    def _opened(self) -> Control:
        """The control of the system. Raises `Unavailable` if it is not open yet."""
        if self.control is None:
            raise self.problem or Unavailable(f"{self._address} has not reached a majority of the nodes yet. Nothing was done.")
        return self.control

    def system(self) -> Any:
        """Returns the system, once it is open. Raises what keeps it from that."""
        self.opened.wait()
        self._opened()
        return self._proxy

    def cluster(self) -> Any:
        """What can be done with the nodes. Raises `Unavailable`, `UsageError`."""
        return self._opened().cluster

    # -- closing

    def close(self) -> None:
        """Closes the system, in the background."""
        with self._opening:
            if self._ended.is_set():
                return
            self._ended.set()
        # Not a daemon: the program does not end before what it has recorded is safe, and its server is stopped.
        self._closing = threading.Thread(target=self._close, name=f"coopy closing {self._address}")
        self._closing.start()

    def _close(self) -> None:
        self._refuse_waiting(SystemClosed(f"{self._address} is destroyed. Nothing was recorded."))
        try:
            if self.control is not None:
                self.control.close()
        finally:
            # While it is being opened, the thread that opens it uses the directory.
            if self.opened.is_set():
                self._closed()
            self._let_go.set()
            self._done.put(None)

    def join(self) -> None:
        """Waits until all is closed. Not to be called by a callback."""
        for each in (self._closing, self._ticks):
            if each is not None and each is not threading.current_thread():
                each.join()


def _pass_on(done: Future[Any], answer: Future[Any]) -> None:
    error = done.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(done.result())
