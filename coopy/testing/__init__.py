"""For the tests of who uses coopy: systems in memory, a clock to set, chance that repeats, crashes and faults.

    wiki = memory_system(Wiki, clock=Clock(), seed=1)
    wiki = crash(wiki)
    assert_replays(wiki)

All of it is the system itself: the same engine, proxy and journal, on a disk or in a log that can be told to
fail. `crash` and `failing` are for systems that were opened here, as those of `init_system` have the
operating system's disk. The pytest fixture of `coopy.pytest_plugin` is a `Systems`.

A system with a clock takes its reads through the engine, which a system otherwise does not: there the clock
of the test is put in the place of a running action's while the read lasts, so that what a read asks
`self._clock`, or ``coopy.clock``, is answered by the clock of its own system and by no other's.
"""

from __future__ import annotations

import errno as _errno
import hashlib
import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar, overload

from coopy.control import Control, control
from coopy.disk import directory, dirlock, manifest
from coopy.disk.fs import Calls
from coopy.disk.manifest import SECRET_BYTES, SYSTEM_BYTES, Manifest
from coopy.errors import CoopyError, JournalError, UsageError
from coopy.ground import action, looking, paths
from coopy.ground.running import current
from coopy.ground.storage import MemoryEntries, MemoryLog, MemorySnapshots, SnapshotStore, StateWriter, Trial
from coopy.ground.words import shown
from coopy.opening import open_as
from coopy.spine import proxy
from coopy.spine.engine import Engine
from coopy.spine.machine import Function
from coopy.spine.replay import Progress, restore
from coopy.system import System, begin
from coopy.values import digest
from coopy.values.codec import Codec

__coopy_inside__ = True  # See `coopy.spine.calling`.
T = TypeVar("T")

FAULTS = ("append", "sync", "snapshot")
OF_A_DIRECTORY = frozenset(
    {"create", "durability", "fork", "segment_bytes", "self_check", "snapshot_growth", "snapshot_replay", "wait"}
)
"""Options of `init_system` that mean nothing without a directory."""

_NS = 1_000_000_000
# A place that no directory can have.
_NOWHERE = os.path.join(os.devnull, "memory")


# -- time


class Clock:
    """A clock that is set and moved by a test: what the systems opened with it stamp their actions with.

    It goes as the machine's does until it is told otherwise. It never goes back behind what a system was told.
    """

    def __init__(self) -> None:
        self._ahead = 0
        self._stands: int | None = None
        self._told = 0

    def set(self, moment: datetime) -> None:
        """Stops the clock at a moment; a naive one is local time of this machine. Raises `UsageError`."""
        if not isinstance(moment, datetime):
            raise UsageError(f"set({shown(moment)}): must be a datetime")
        instant = action.nanoseconds(moment)
        self._refuse_before(instant)
        self._stands = instant

    def move(self, by: timedelta | float) -> None:
        """Moves the clock on by a timedelta, or by seconds, whether it stands or goes. Raises `UsageError`."""
        if isinstance(by, bool) or not isinstance(by, (timedelta, int, float)):
            raise UsageError(f"move({shown(by)}): must be a timedelta, or seconds")
        size = by if isinstance(by, timedelta) else timedelta(seconds=by)
        moved = (size.days * 86_400 + size.seconds) * _NS + size.microseconds * 1000
        self._refuse_before(self.time_ns() + moved)
        if self._stands is None:
            self._ahead += moved
        else:
            self._stands += moved

    def freeze(self) -> None:
        """Stops the clock where it is."""
        self._stands = max(self.time_ns(), self._told)

    def go(self) -> None:
        """Lets the clock go on from where it stands."""
        self._ahead = self.time_ns() - time.time_ns()
        self._stands = None

    def now(self, tz: tzinfo | None = None) -> datetime:
        """Local time, naive, or aware in ``tz``: what an action would be told now."""
        header = self.header()
        return action.local_time(header) if tz is None else action.utc_time(header).astimezone(tz)

    def utcnow(self) -> datetime:
        """UTC, naive."""
        return action.utc_time(self.header()).replace(tzinfo=None)

    def today(self) -> date:
        """Local date."""
        return self.now().date()

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return self.time_ns() / 1e9

    def time_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""
        return time.time_ns() + self._ahead if self._stands is None else self._stands

    def header(self) -> bytes:
        """The header of a record that would be made now."""
        return _header(self.time_ns())

    def stamp(self) -> int:
        """The time, for something that is recorded: the clock does not go back behind it."""
        self._told = max(self._told, self.time_ns())
        return self._told

    def follow(self, instant: int, what: str) -> None:
        """Takes what has been recorded already. Raises `UsageError` if this clock was set to before it."""
        if instant > self.time_ns() and (self._ahead or self._stands is not None):
            raise UsageError(
                f"the clock says {self.now()}, and {what} has recorded {_said(instant)}: time does not go back. Nothing was "
                f"changed. Set the clock to then or later before the system is opened."
            )
        self._told = max(self._told, instant)

    def _refuse_before(self, instant: int) -> None:
        if instant < self._told:
            raise UsageError(
                f"the clock can't go back to {_said(instant)}: a system has recorded {_said(self._told)}, and what is recorded "
                f"later never has an earlier time. The clock is as it was. Set it before the system is opened."
            )

    def __repr__(self) -> str:
        return f"<clock {'goes, ' if self._stands is None else 'stands at '}{self.now()}>"


def _header(instant: int) -> bytes:
    return action.header(instant, time.localtime(instant // _NS).tm_gmtoff, action.UNKNOWN)


def _said(instant: int) -> datetime:
    return action.local_time(_header(instant))


class _Look:
    """Stands in for a running action while a read lasts: it has the time of the clock, and chance of its own."""

    draws: object | None = None
    chance: object | None = None
    replaying = False

    def __init__(self, header: bytes, deterministic: bool) -> None:
        self.header = header
        self.deterministic = deterministic
        self.index = 1
        self.secret = os.urandom(SECRET_BYTES)

    def ask(self, effect: bytes) -> None:
        # As outside of an action: at once. It comes pickled, as an action's.
        function, args, kwargs = pickle.loads(effect)
        function(*args, **kwargs)


class _ClockedEngine(Engine):
    """An engine that has its time from a clock."""

    clock: Clock

    def read(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        with self._looking():
            return super().read(function, args, kwargs, wait)

    def read_unlocked(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._looking():
            return super().read_unlocked(function, args, kwargs)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        before = current.machine
        if before is None:
            current.machine = _Look(self.clock.header(), self.deterministic)
        try:
            yield
        finally:
            current.machine = before

    def _stamp(self, instant: int) -> int:
        instant = super()._stamp(self.clock.stamp())
        # The clock is asked for each action, not once a second.
        self._offset_until = 0
        return instant


# -- chance


def _secret(seed: int | str) -> bytes:
    if not isinstance(seed, (int, str)):
        raise UsageError(f"seed={shown(seed)}: must be a number or a text")
    return hashlib.blake2b(repr(seed).encode(), digest_size=SECRET_BYTES, person=b"coopy seed").digest()


# -- disks and logs that fail


class Disk(Calls):
    """The operating system's files, with faults to switch on, and a power cut.

    Everything is written with pwrite, so that each write is a call that can fail, and what it overwrites is
    remembered until a sync covers it.
    """

    def __init__(self) -> None:
        self.faults: dict[str, int] = {}
        self._paths: dict[int, str] = {}
        # Without a lock: a forked child, which writes snapshots, could find it held for good.
        self._unsynced: dict[str, list[tuple[int, bytes]]] = {}

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        fd = super().open(path, flags, mode)
        self._paths[fd] = path
        return fd

    def close(self, fd: int) -> None:
        self._paths.pop(fd, None)
        super().close(fd)

    def mappable(self, fd: int) -> bool:
        return False

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        path = self._paths.get(fd, "")
        # Zeros are what the journal puts in the place of a frame that could not be written.
        if not _is_segment(path):
            self._fail("snapshot", path)
        elif bytes(data).strip(b"\0"):
            self._fail("append", path)
        self._unsynced.setdefault(path, []).append((offset, os.pread(fd, len(data), offset)))
        return super().pwrite(fd, data, offset)

    def sync_data(self, fd: int) -> None:
        path = self._paths.get(fd, "")
        self._fail("sync" if _is_segment(path) else "snapshot", path)
        writes = self._unsynced.get(path, [])
        covered = len(writes)
        super().sync_data(fd)
        del writes[:covered]

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        self._unsynced[new] = self._unsynced.pop(old, [])
        # A segment is begun under another name, and stays open.
        self._paths.update((fd, new) for fd, path in list(self._paths.items()) if path == old)

    def cut_power(self) -> None:
        """Takes back what no sync has covered. For a disk of which no file is open."""
        for path, writes in self._unsynced.items():
            if os.path.exists(path):
                with open(path, "r+b") as file:
                    for offset, before in reversed(writes):
                        file.seek(offset)
                        file.write(before)
        self._unsynced.clear()

    def _fail(self, what: str, path: str) -> None:
        if what in self.faults:
            raise OSError(self.faults[what], os.strerror(self.faults[what]), path)


def _is_segment(path: str) -> bool:
    return bool(directory.segments([os.path.basename(path).removesuffix(directory.TEMPORARY)]))


class _Log(MemoryLog):
    """A log in memory that can fail as a journal does."""

    def __init__(self, faults: dict[str, int]) -> None:
        super().__init__()
        self._faults = faults
        self._failure: int | None = None

    def append(self, record: bytes) -> int:
        self._refuse_after_a_failure()
        self._fail_to_append()
        settled = self.settled
        index = super().append(record)
        if "sync" in self._faults:
            self.settled = settled  # Whoever asks for it to be settled is to wait, and be refused.
        return index

    def amend(self, record: bytes) -> None:
        self._fail_to_append()
        super().amend(record)

    def wait(self, index: int) -> None:
        if "sync" in self._faults:
            self._failure = self._faults["sync"]
            self.settled = -1
        self._refuse_after_a_failure()
        super().wait(index)

    def close(self, amendment: bytes | None = None) -> None:
        if self._failure is None:
            super().close(amendment)

    def abandon(self) -> None:
        self.settled = -1

    def left(self, faults: dict[str, int]) -> _Log:
        """A log with what a process that was killed now would leave."""
        log = _Log(faults)
        log._records = list(self._records)
        log._first, log.last, log.settled = self._first, self.last, self.last
        return log

    def _fail_to_append(self) -> None:
        code = self._faults.get("append")
        if code is not None:
            state = "Nothing was recorded and nothing has changed; free the cause and call again."
            raise JournalError(code, f"{os.strerror(code)}. {state}", "memory")

    def _refuse_after_a_failure(self) -> None:
        code = self._failure
        if code is not None:
            state = "What came last is uncertain. Close the system and open it again."
            raise JournalError(code, f"{os.strerror(code)}. {state}", "memory")


class _Snapshots(MemorySnapshots):
    def __init__(self, faults: dict[str, int]) -> None:
        super().__init__()
        self._faults = faults

    def write(self, index: int, save: Callable[[StateWriter], None], tries: Trial | None = None) -> None:
        code = self._faults.get("snapshot")
        if code is not None:
            raise OSError(code, os.strerror(code), "memory")
        super().write(index, save, tries)

    def left(self, faults: dict[str, int]) -> _Snapshots:
        snapshots = _Snapshots(faults)
        snapshots._snapshots = dict(self._snapshots)
        snapshots._loaded = set(self._loaded)
        return snapshots


# -- systems


class _Opened(System):
    """A system that was opened for a test. ``left`` is the one that crashed before it, ``again`` opens the next."""

    faults: dict[str, int]

    def __init__(
        self,
        *parts: Any,
        clock: Clock | None,
        seed: int | str | None,
        left: _Opened | None,
        again: Callable[[_Opened], Any],
        **options: Any,
    ) -> None:
        self.clock = clock
        self.secret = None if seed is None else _secret(seed)
        self.left = left
        self.again = again
        super().__init__(*parts, **options)
        self.left = None

    def start(self, progress: Progress | None) -> None:
        super().start(progress)
        if self.clock is not None:
            try:
                self.clock.follow(action.instant_of(self.engine.machine.header), str(self))
            except UsageError:
                self.abandon()
                raise

    def cut_power(self) -> None:
        """Takes from what is there what no sync has covered. Raises `UsageError`."""
        raise NotImplementedError

    def _engine(self, snapshots: SnapshotStore, codec: Codec, secret: bytes) -> Engine:
        engine = super()._engine(snapshots, codec, secret)
        if self.clock is None:
            return engine
        kind = type(engine)
        clocked = type(kind.__name__, (_ClockedEngine, kind), {}) if kind is not Engine else _ClockedEngine
        made: _ClockedEngine = clocked(self._journal, snapshots, codec, secret)
        made.clock = self.clock
        return made

    def _now(self) -> int:
        return super()._now() if self.clock is None else self.clock.stamp()

    def _proxy_class(self, shadowed: frozenset[str]) -> type:
        return proxy.build(self._cls, shadowed, True) if self.clock is not None else super()._proxy_class(shadowed)

    def __str__(self) -> str:
        return self.basedir


class _InDirectory(_Opened):
    def __init__(self, *parts: Any, **options: Any) -> None:
        self.disk = Disk()
        self.faults = self.disk.faults
        super().__init__(*parts, calls=self.disk, **options)

    def cut_power(self) -> None:
        self.disk.cut_power()
        dirlock.forget_boot(self.basedir)

    def _hold(self, calls: Calls, durability: str, segment_bytes: int) -> Manifest:
        found = super()._hold(calls, durability, segment_bytes)
        if self.secret not in (None, found.secret):
            self.abandon()
            raise UsageError(
                f"{self.basedir} was begun with another seed, or with none, and draws from it for good. Nothing was changed. "
                f"Leave the seed out, or choose a new directory."
            )
        return found

    def _begun(self, calls: Calls) -> Manifest:
        return manifest.read(calls, self.basedir) or begin(calls, self.basedir, self._cls, self.secret)


class _NoDirectory(Control):
    @property
    def basedir(self) -> str:
        self._refuse()

    def basedir_abspath(self) -> list[str]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UsageError("a system in memory has no directory. Use coopy.testing.open_system() for one that has.")

    def __repr__(self) -> str:
        return f"<control of {self._system}, {'closed' if self.closed else f'action {self.index}'}>"


class _InMemory(_Opened):
    _control = _NoDirectory
    _journal: _Log
    _snapshots: _Snapshots

    def __init__(self, *parts: Any, **options: Any) -> None:
        self.faults = {}
        # A child's memory is not ours.
        super().__init__(*parts, **{**options, "fork": False})

    def cut_power(self) -> None:
        raise UsageError(
            "a system in memory has no disk to lose its power. Use coopy.testing.open_system(..., durability='buffered')."
        )

    def _hold(self, calls: Calls, durability: str, segment_bytes: int) -> Manifest:
        left = self.left
        if isinstance(left, _InMemory):
            self._journal, self._snapshots = left._journal.left(self.faults), left._snapshots.left(self.faults)
            self._entries = MemoryEntries(left._entries.read())
            return left._manifest
        self._journal, self._snapshots = _Log(self.faults), _Snapshots(self.faults)
        self._entries = MemoryEntries()
        return Manifest(os.urandom(SYSTEM_BYTES), self.secret or os.urandom(SECRET_BYTES))

    def _let_go(self) -> None:
        pass

    def _start_shadow(self) -> None:
        # It reads the directory, and here is none.
        pass

    def _stay_deterministic(self) -> None:
        # No directory has to remember it: whatever opens the system again has the same options.
        pass

    def __str__(self) -> str:
        return f"a {self._cls.__qualname__} in memory"


@overload
def memory_system(obj: type[T], *, clock: Clock | None = None, seed: int | str | None = None, **options: Any) -> T: ...


@overload
def memory_system(obj: T, *, clock: Clock | None = None, seed: int | str | None = None, **options: Any) -> T: ...


def memory_system(obj: Any, *, clock: Clock | None = None, seed: int | str | None = None, **options: Any) -> Any:
    """A system without a directory: what `init_system` returns, with its journal and snapshots in memory.

    Args:
        obj: the domain class, or an instance of it.
        clock: what stamps its actions and answers its reads; None for the machine's own clock.
        seed: makes `self._env` draw the same in each run; None for chance.
        options: those of `init_system` that need no directory. With ``check=True`` there is no second process.

    Raises:
        UsageError: an option is for a directory; and whatever `init_system` raises.
    """
    for name in sorted(OF_A_DIRECTORY & options.keys()):
        given = shown(options[name])
        raise UsageError(f"{name}={given}: a system in memory has no directory. Use coopy.testing.open_system().")
    return _open(_InMemory, obj, _NOWHERE, clock, seed, options)


@overload
def open_system(
    obj: type[T], basedir: str | os.PathLike[str], *, clock: Clock | None = None, seed: int | str | None = None, **options: Any
) -> T: ...


@overload
def open_system(
    obj: T, basedir: str | os.PathLike[str], *, clock: Clock | None = None, seed: int | str | None = None, **options: Any
) -> T: ...


def open_system(
    obj: Any, basedir: str | os.PathLike[str], *, clock: Clock | None = None, seed: int | str | None = None, **options: Any
) -> Any:
    """As `init_system`, with a clock, a seed, and a disk for `failing` and for `crash` with ``power=True``.

    ``clock`` and ``seed`` are as for `memory_system`; a directory keeps its seed. Raises `UsageError` if it has
    another, and whatever `init_system` raises.
    """
    return _open(_InDirectory, obj, basedir, clock, seed, options)


def _open(
    kind: type[_Opened],
    obj: Any,
    basedir: str | os.PathLike[str],
    clock: Clock | None,
    seed: int | str | None,
    options: dict[str, Any],
) -> Any:
    return _again(kind, obj, basedir, clock, seed, options, None)


def _again(
    kind: type[_Opened],
    obj: Any,
    basedir: str | os.PathLike[str],
    clock: Clock | None,
    seed: int | str | None,
    options: dict[str, Any],
    left: _Opened | None,
) -> Any:
    """Opens a system, after another with the same options, if ``left`` is one."""
    looking.refuse("coopy.testing")
    again = partial(_again, kind, obj, basedir, clock, seed, options)
    return open_as(partial(kind, clock=clock, seed=seed, left=left, again=again), obj, basedir, **options)


def _system_of(system: object, what: str) -> _Opened:
    found = control(system)._system
    if not isinstance(found, _Opened):
        raise UsageError(
            f"{what}: {found.basedir} was opened by init_system(), on a disk that can't be told to fail. Open it with "
            f"coopy.testing.open_system() or memory_system()."
        )
    return found


# -- what is done with them


def crash(system: T, *, power: bool = False) -> T:
    """Ends a system as ``kill -9`` would, and opens it again, with the same options.

    What the operating system has is there: every action that was called. With ``power``, what a power cut
    leaves at the least: what a sync has covered, which with ``durability="sync"`` is every action as well. The
    old proxy raises `SystemClosed` from now on.

    Raises:
        UsageError: the system is closed, runs an action of the caller, was not opened by `coopy.testing`,
            or has no disk to lose its power.
        Whatever opening it raises.
    """
    found = _system_of(system, "crash()")
    if power and isinstance(found, _InMemory):
        found.cut_power()
    found.engine.run(lambda: _abandon(found))
    if power:
        found.cut_power()
    reopened: T = found.again(found)
    return reopened


@contextmanager
def failing(system: object, what: str, errno: int = _errno.ENOSPC) -> Iterator[None]:
    """While it lasts, the disk of a system refuses.

    Args:
        what: "append": calls raise `JournalError` and change nothing. "sync": calls raise `JournalError`, and so does
            everything afterwards, until the system is opened again (`crash` does). "snapshot": taking one
            raises `SnapshotError`.
        errno: of the OSError, ``errno.ENOSPC`` or ``errno.EIO`` for example.

    Raises `UsageError` for anything else, and for a system that was not opened by `coopy.testing`.
    """
    if what not in FAULTS:
        raise UsageError(f"failing({shown(what)}): must be one of {', '.join(map(repr, FAULTS))}")
    faults = _system_of(system, "failing()").faults
    faults[what] = errno
    try:
        yield
    finally:
        faults.pop(what, None)


class _From:
    """The snapshots of a store, of which one is always the one to begin with."""

    def __init__(self, snapshots: SnapshotStore, index: int) -> None:
        self._snapshots = snapshots
        self._index = index

    def latest(self, upto: int | None = None) -> tuple[int, memoryview] | None:
        return self._snapshots.latest(self._index)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._snapshots, name)


def assert_replays(system: object) -> None:
    """Replays every recorded action, and what a restart would replay, and compares with the state that there is.

    The first begins with the oldest snapshot, the second with the newest. States are compared by `coopy.values.digest`, in which
    order, types and shared objects count. Calls wait meanwhile.

    Raises:
        AssertionError: the states differ; names the places.
        SystemClosed, ReplayError, StorageError: it is closed, or can't be replayed at all.
    """
    __tracebackhide__ = True
    found: Any = control(system)._system
    with paths.reads(found.basedir):
        found.engine.run(lambda: _compare_with_replay(found))


def _compare_with_replay(found: System) -> None:
    __tracebackhide__ = True
    # Rebuilds what an interrupted call has left, and raises if the system takes no more calls.
    found.engine.examine(_nothing)
    live = found.engine.machine
    if live.running:
        raise UsageError("assert_replays(): not inside an action of the system itself; it has not ended yet")
    expected = digest.digest(live.domain)
    indexes = found._snapshots.indexes()
    for index in sorted({indexes[0], indexes[-1]}):
        past, codec = proxy.Past(found._cls), Codec(found._cls)
        codec.proxy = past.proxy
        replayed = restore(
            found.engine.log,
            _From(found._snapshots, index),
            codec,
            live.secret,
            deterministic=found.engine.deterministic,
            until=live.applied,
            begin=past.begin,
        )
        if digest.digest(replayed.domain) != expected:
            raise AssertionError(_difference(live.domain, replayed.domain, found, index, live.applied))


def _abandon(found: Any) -> None:
    if found.engine.machine.running:
        raise UsageError("crash(): a system can't be crashed inside one of its own actions; it goes on")
    if found._closed:
        raise UsageError(f"crash(): {found} is closed already. Nothing was changed.")
    found.abandon()


def _nothing(domain: object) -> None:
    pass


def _difference(live: object, replayed: object, system: System, first: int, last: int) -> str:
    one, other = digest.digests(live), digest.digests(replayed)
    places = sorted(place for place in {*one, *other} if one.get(place) != other.get(place))
    where = ", ".join(places[:5]) + (f" and {len(places) - 5} more" if len(places) > 5 else "")
    begin = f"the snapshot of action {first}" if first else "the first state"
    return (
        f"{system._cls.__qualname__} does not come to its state again: replaying from {begin} to action {last} differs at "
        f"{where or 'objects that several places share'}. Something was changed outside any action, or a method depends on "
        f"what is not in its arguments, its clock or its env. A system opened with check=True says which call it was."
    )


class Systems:
    """The systems of one test: opened in one folder, with one clock, and closed together."""

    def __init__(self, folder: Path, *, check: bool = False) -> None:
        self.clock = Clock()
        """The clock of all of them."""
        self.replays = True
        """Whether `close` asserts that each system that is still open replays."""
        self._folder = folder
        self._check = check
        self._opened: list[Any] = []

    @overload
    def open(self, obj: type[T], basedir: str | os.PathLike[str] | None = None, **options: Any) -> T: ...

    @overload
    def open(self, obj: T, basedir: str | os.PathLike[str] | None = None, **options: Any) -> T: ...

    def open(self, obj: Any, basedir: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """A system in a directory under the folder, by default of the lower-cased name of the class; see `open_system`."""
        name = (obj if isinstance(obj, type) else type(obj)).__name__.lower() if basedir is None else basedir
        paths.absolute(name)
        folder = self._folder / name
        # One that is there keeps the seed it has.
        seed = None if os.path.lexists(folder / manifest.NAME) else folder.name
        return self._kept(open_system(obj, folder, **{"clock": self.clock, "seed": seed, "check": self._check, **options}))

    @overload
    def memory(self, obj: type[T], **options: Any) -> T: ...

    @overload
    def memory(self, obj: T, **options: Any) -> T: ...

    def memory(self, obj: Any, **options: Any) -> Any:
        """A system in memory; see `memory_system`."""
        number = len(self._opened)
        return self._kept(memory_system(obj, **{"clock": self.clock, "seed": number, "check": self._check, **options}))

    def crash(self, system: T, *, power: bool = False) -> T:
        """As `coopy.testing.crash`."""
        reopened: T = self._kept(crash(system, power=power))
        return reopened

    failing = staticmethod(failing)
    assert_replays = staticmethod(assert_replays)

    def close(self) -> None:
        """Asserts, unless ``replays`` is false, that each open system replays; then closes all. Raises the first error."""
        __tracebackhide__ = True
        errors: list[Exception] = []
        for system in self._opened:
            controls = control(system)
            if self.replays and not controls.closed:
                try:
                    assert_replays(system)
                except (AssertionError, CoopyError) as error:
                    errors.append(error)
            try:
                controls.close()
            except CoopyError as error:
                errors.append(error)
        self._opened.clear()
        if errors:
            raise errors[0]

    def _kept(self, system: Any) -> Any:
        self._opened.append(system)
        return system
