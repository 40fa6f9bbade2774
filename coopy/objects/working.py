"""The processes of a directory whose objects are spread: one for each shard, and one that forks them.

The process that opens the directory forks one that does nothing but fork: so a worker that has died is replaced within milliseconds, by a child of a process
with one thread, and the classes need not be imported again. Each has a connection to the one that forked it, and ends when that is at an end: whichever of
them is killed, all that it has forked end by themselves, and the kernel drops their locks.

    opener -> forks, and listens: which workers are ready, and which have failed
      fork server -> forks a worker for each shard, and another for one that has ended
        worker -> takes the directory of its shard, answers at its socket, brings what its objects tell to other shards

If the fork server is killed, the opener forks another; its workers end, and new ones take the shards.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Sequence
from threading import Lock, Thread
from typing import Any, NamedTuple

from coopy.disk import child
from coopy.errors import CoopyError, SystemClosed
from coopy.ground.log import error as log_error
from coopy.ground.log import warn
from coopy.ground.raised import attempted, last_resort, on_failure
from coopy.objects.kind import Kind
from coopy.objects.opened import Directory
from coopy.objects.sending import Sending
from coopy.objects.shard import AGAIN_S, Shard
from coopy.replication.door import Door
from coopy.replication.guests import Guests
from coopy.replication.local import Listening
from coopy.replication.parcels import said
from coopy.replication.serving import Serving
from coopy.replication.telling import raised, told
from coopy.values.alone import decoded_by
from coopy.values.codec import Codec

READY, FAILED, CLOSE, CLOSED = "ready", "failed", "close", "closed"
LASTING_S = 1.0
"""A worker that has lived so long is replaced at once. One that ends sooner is replaced more and more slowly, up to `PAUSE_S_MAX`."""
PAUSE_S, PAUSE_S_MAX = 0.02, 1.0
_HERE = __name__.replace(".", r"\.") + r"\Z"

_forking = Lock()
"""Held while a connection to a fork server is made, and by a fork: a child knows of each that it has got a copy of."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_forking.release)


class Given(NamedTuple):
    """What workers are told."""

    basedir: str
    directories: list[str]
    system: bytes
    """Id of the system: handles name it, and who asks is asked for it."""
    codec: Codec
    timeout_s: float
    opens: Callable[[int], Directory]
    """Opens the directory of a shard, with an engine that is a `Shard`."""
    forget: Callable[[], object]
    """Closes what a child has of the lock."""
    together: Callable[[Directory, Sending], object]
    """Has handles in a worker lead to all shards."""


class Workers:
    """The processes, as the one that opens the directory knows them."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._owner = os.getpid()
        self._closing = False
        self._pid = 0
        self._connection: Any = None
        self._closed_with: list[bytes] = []
        self._thread: Thread | None = None

    @property
    def is_ours(self) -> bool:
        """Whether this is the process that has started them, and not a child of it."""
        return os.getpid() == self._owner

    def start(self) -> None:
        """Starts all processes, and returns once all serve. Raises what a shard can't be opened for."""
        with on_failure(self.abandon):
            self._fork()
            waits = set(range(len(self._given.directories)))
            while waits:
                kind, number, data = self._received()
                if kind != READY:
                    raise self._error(data)
                waits.discard(number)
        self._thread = Thread(target=self._listen, name="coopy workers", daemon=True)
        self._thread.start()

    def _received(self) -> tuple[str, int, bytes]:
        try:
            found: tuple[str, int, bytes] = self._connection.recv()
            return found
        except (EOFError, OSError):
            raise SystemClosed(
                f"{self._given.basedir}: the process that forks those of the objects has ended while they were started. Nothing was lost; "
                f"open the directory again."
            ) from None

    def _error(self, data: bytes) -> BaseException:
        return raised(self._given.codec, decoded_by(self._given.codec, data)[1][0])

    def _fork(self) -> None:
        from multiprocessing.connection import Connection

        _flush()
        child.keep_python_from_warning(_HERE)
        with _forking:
            ours, theirs = socket.socketpair()
            self._connection = Connection(ours.detach())
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = -1
        try:
            pid = os.fork()
            if not pid:
                _be_a_fork_server(self._given, theirs.detach())
        finally:
            if not pid:
                os._exit(1)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._pid = pid

    def _listen(self) -> None:
        """What the thread does: it says what has failed, and forks again if the fork server was killed."""
        while True:
            try:
                kind, number, data = self._connection.recv()
            except (EOFError, OSError):
                self._let_go()
                if self._closing:
                    return
                with last_resort(self._not_forked):
                    self._fork()
                    continue
                return
            if kind == FAILED:
                where = self._given.directories[number]
                log_error("%s can't be opened, and is tried again; calls of its objects wait: %s", where, self._error(data))
            elif kind == CLOSED and data:
                self._closed_with.append(data)

    def _not_forked(self, error: Exception) -> None:
        log_error(
            "%s: no process could be forked for its objects, which are not served any more: %s", self._given.basedir, error
        )

    def close(self) -> None:
        """Has all processes close what they have, and end. Raises what closing has raised."""
        if self._connection is None or not self.is_ours:
            return
        self._closing = True
        with contextlib.suppress(OSError, ValueError):
            self._connection.send(CLOSE)
        if self._thread is not None:
            self._thread.join()
        self._let_go()
        if self._closed_with:
            raise self._error(self._closed_with[0])

    def abandon(self) -> None:
        """Has all processes end at once, as if this one had been killed."""
        self._closing = True
        if self.is_ours:
            self._let_go()

    def forked(self) -> None:
        """Closes what a forked child has of it: the processes are those of who has forked it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                # Closing alone would not wake the thread that listens, and the other side would not see it.
                ours = socket.socket(fileno=os.dup(connection.fileno()))
                ours.shutdown(socket.SHUT_RDWR)
                ours.close()
            connection.close()
        pid, self._pid = self._pid, 0
        if pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _flush() -> None:
    for each in (sys.stdout, sys.stderr):
        if each is not None:
            with contextlib.suppress(OSError, ValueError):
                each.flush()


# -- in the fork server


def _be_a_fork_server(given: Given, fd: int) -> None:
    """What the child does; it never returns into the program."""
    from multiprocessing.connection import Connection

    _be_nobody(fd)
    given.forget()
    gc.freeze()
    with last_resort(_say):
        _ForkServer(given, Connection(fd)).run()
    os._exit(0)


def _say(error: Exception) -> None:
    log_error("a process of many objects has ended: %r", error)


def _be_nobody(own: int) -> None:
    """Takes away what is the program's: its handlers of signals, its terminal, and its connections, which must end when it closes them."""
    with contextlib.suppress(OSError):
        os.setsid()
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in _open_files():
        with contextlib.suppress(OSError):
            mode = os.fstat(fd).st_mode
            if fd not in (own, nothing, 1, 2) and (stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)):
                # Not closed: its number would be another file's, and who has it in the program's objects would write there.
                os.dup2(nothing, fd, inheritable=False)
    os.dup2(nothing, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _open_files() -> list[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return [int(name) for name in os.listdir(folder)]
    return []


class _Worker(NamedTuple):
    number: int
    pid: int
    pipe: Any
    began: float


class _ForkServer:
    """Forks a worker for each shard, and again for one that has ended."""

    def __init__(self, given: Given, opener: Any) -> None:
        self._given = given
        self._opener = opener
        self._workers: dict[Any, _Worker] = {}
        self._again: list[tuple[float, int]] = []
        """When which shard is to have another worker."""
        self._pauses: dict[int, float] = {}
        self._closing = False

    def run(self) -> None:
        """Forks until the opener ends, or has all closed."""
        from multiprocessing.connection import wait

        for number in range(len(self._given.directories)):
            self._start(number)
        while not (self._closing and not self._workers):
            pause_s = max(0.0, min(at for at, _ in self._again) - time.monotonic()) if self._again else None
            for each in wait([self._opener, *self._workers], pause_s):
                if each is self._opener:
                    if not self._heard():
                        return
                elif each in self._workers:
                    self._hear(self._workers[each])
            for at, number in list(self._again):
                if at <= time.monotonic() and not self._closing:
                    self._again.remove((at, number))
                    self._start(number)

    def _heard(self) -> bool:
        """Deals with what the opener says. Returns whether it is there."""
        try:
            self._opener.recv()
        except (EOFError, OSError):
            return False  # The workers see that this process has ended.
        self._closing, self._again = True, []
        for each in self._workers:
            with contextlib.suppress(OSError):
                each.send(CLOSE)
        return True

    def _hear(self, worker: _Worker) -> None:
        try:
            kind, data = worker.pipe.recv()
        except (EOFError, OSError):
            self._ended(worker)
            return
        self._opener.send((kind, worker.number, data))

    def _ended(self, worker: _Worker) -> None:
        del self._workers[worker.pipe]
        worker.pipe.close()
        _, status = os.waitpid(worker.pid, 0)
        if self._closing:
            return
        number, now = worker.number, time.monotonic()
        before_s = 0.0 if now > worker.began + LASTING_S else self._pauses.get(number, 0.0)
        self._pauses[number] = min(2 * before_s, PAUSE_S_MAX) or PAUSE_S
        warn(
            "process %d, which had the objects in %s, has ended (%s): another takes its place",
            worker.pid,
            self._given.directories[number],
            os.waitstatus_to_exitcode(status),
        )
        self._again.append((now + before_s, number))

    def _start(self, number: int) -> None:
        from multiprocessing.connection import Pipe

        ours, theirs = Pipe()
        pid = os.fork()
        if pid:
            theirs.close()
            self._workers[ours] = _Worker(number, pid, ours, time.monotonic())
            return
        try:
            for each in (self._opener, ours, *self._workers):
                each.close()
            _work(self._given, number, theirs)
        finally:
            os._exit(1)


# -- in a worker


def _work(given: Given, number: int, pipe: Any) -> None:
    """Serves a shard until it is told to close it, or the fork server ends."""
    worker, error = attempted(_Served, given, number)
    if worker is None:
        assert error is not None, "it was opened, or not"
        pipe.send((FAILED, said(given.codec, told(given.codec, error))))
        return
    pipe.send((READY, b""))
    try:
        pipe.recv()
    except (EOFError, OSError):
        os._exit(0)  # As if it were killed: what was acknowledged is durable, and a call that runs must not keep the lock.
    _, error = attempted(worker.close)
    with contextlib.suppress(OSError):
        pipe.send((CLOSED, b"" if error is None else said(given.codec, told(given.codec, error))))
    _flush()
    os._exit(0)


class _Served:
    """What a worker has open."""

    def __init__(self, given: Given, number: int) -> None:
        directory = self.directory = given.opens(number)
        engine = directory.engine
        assert isinstance(engine, Shard), "each shard has an engine that knows of the others"
        self._engine = engine
        self._closing = False
        with on_failure(engine.store.abandon):
            engine.be(number, len(given.directories))
            self._sending = Sending(given.directories, given.system, given.codec, given.timeout_s, engine)
            given.together(directory, self._sending)
            shared: Any = engine  # Of an engine only that is asked for which a shard has, too.
            guests = Guests(shared)
            self._sending.give_way_to(guests)
            self._listening = Listening(given.directories[number])
            self._serving = Serving(shared, given.codec, given.system, self._controlled)
            self._door = Door(self._listening, self._serving, guests)
            self._serving.begin()
            self._door.open()
            directory.begin()
            for target in engine.outgoing:
                Thread(target=self._bring, args=(target,), name=f"coopy tells {target}", daemon=True).start()

    def _bring(self, target: int) -> None:
        """Brings what objects of this shard tell to another one."""
        while not self._closing:
            with last_resort(self._not_brought, target):
                self._bring_next(target)

    def _bring_next(self, target: int) -> None:
        engine, outgoing = self._engine, self._engine.outgoing[target]
        if outgoing.waiting is None:
            engine.was_heard(target, self._sending.of_shard(target, "heard_from", engine.number))
        found = engine.next_sent(target)
        if not found:
            outgoing.bell.wait()
            return
        # What a power cut could take back is told to nobody.
        engine.settle(found[-1].place)
        engine.was_heard(target, self._sending.of_shard(target, "hear", engine.number, [tuple(each) for each in found]))

    def _not_brought(self, error: Exception, target: int) -> None:
        if not self._closing:
            if not isinstance(error, CoopyError):
                warn(
                    "%s: what was told to shard %d is not there yet, and is tried again: %r", self.directory.name, target, error
                )
            time.sleep(AGAIN_S)

    def _controlled(self, name: str, args: tuple[Any, ...]) -> Any:
        """Does what another process asks for by name."""
        return _CONTROLS[name](self, *args)

    def close(self) -> None:
        """Answers what was asked, and lets the directory of the shard go. Raises `JournalError`."""
        self._door.close()
        self._serving.finish()
        self._closing = True
        self._sending.close()
        try:
            self._listening.remove()
        finally:
            try:
                self.directory.close()
            finally:
                self._door.let_go()

    def _kind(self, prefix: bytes) -> Kind:
        return self._engine.kinds[prefix]

    def _has(self, prefix: bytes, key: bytes) -> int:
        found = self._engine.has(self._kind(prefix), key)
        self._engine.settle()
        return found

    def _keys(self, prefix: bytes) -> list[bytes]:
        found = self._engine.keys(prefix)
        self._engine.settle()
        return found

    def _of(self, prefix: bytes) -> Any:
        return self.directory.of(self._kind(prefix).cls)

    def _hear(self, sender: int, items: Sequence[tuple[int, bytes, bytes]]) -> int:
        """Takes what another shard has sent. Returns how far that was heard: durably, as the other may forget it then."""
        found = self._engine.hear(sender, items)
        self._engine.settle()
        return found

    def _catch_up(self) -> bool:
        """Runs what is due. Returns whether nothing was, and nothing is on its way to another shard."""
        engine, before = self._engine, self._engine.store.last
        while not engine.do_what_is_due():
            pass
        return engine.store.last == before and engine.is_quiet()


_CONTROLS: dict[str, Callable[..., Any]] = {
    "has": _Served._has,
    "keys": _Served._keys,
    "count": lambda self: self._engine.count(),
    "has_others": lambda self: self._engine.has_others or len(self._engine.kinds) > 1,
    "status": lambda self: self._of(b"").status(),
    "figures": lambda self: self._of(b"").figures(),
    "history": lambda self, prefix, key: self._of(prefix).history(key),
    "replay": lambda self, prefix, key, until: self._of(prefix).replay(key, until),
    "quarantined": lambda self, prefix: self._of(prefix).quarantined(),
    "release": lambda self, key: self._engine.let_out(key),
    "passivate": lambda self: self._engine.passivate_all(),
    "compact": lambda self, before: self._engine.compact(before),
    "catch_up": _Served._catch_up,
    "hear": _Served._hear,
    "heard_from": lambda self, sender: self._hear(sender, ()),
    "pid": lambda self: os.getpid(),
}
