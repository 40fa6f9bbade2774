"""Systems that were opened for a test, in a directory or in memory, and what is done with them. It has more than 500 lines because a
system in a directory and one in memory are crashed, opened again and compared in the same way, which is seen where both stand together.
"""

from __future__ import annotations

import errno as _errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, overload

import coopy
from coopy import Control, CoopyError, UsageError, control
from coopy.disk import dirlock, manifest
from coopy.disk.manifest import SECRET_BYTES, SYSTEM_BYTES, Manifest
from coopy.ground import action, looking, paths
from coopy.ground.storage import MemoryEntries, SnapshotStore, Stored
from coopy.ground.words import shown
from coopy.opening import open_as
from coopy.past.proxy import codec_of_past
from coopy.place.directory import DirectoryPlace
from coopy.place.memory import MemoryPlace
from coopy.place.options import REPLICATED, TABLE, Settings, show
from coopy.place.seam import Place
from coopy.spine.engine import Engine
from coopy.spine.replay import restore
from coopy.system import System, engine_for
from coopy.testing.clock import Clock, ClockedEngine
from coopy.testing.faults import FAULTS, Disk, FailingLog, FailingSnapshots
from coopy.values import digest

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from coopy.place.options import InDirectory as InDirectoryOptions
    from coopy.place.options import InMemory as InMemoryOptions

__coopy_inside__ = True  # See `coopy.spine.calling`.
T = TypeVar("T")

_OF_A_TEST = [
    name
    for name, option in TABLE.items()
    if name == "snapshot_time" or not (option.is_positional or option.group == REPLICATED)
]
_IN_MEMORY = [name for name in _OF_A_TEST if not TABLE[name].is_of_directories]
# A place that no directory can have.
_NOWHERE = os.path.join(os.devnull, "memory")


def _secret(seed: int | str) -> bytes:
    if not isinstance(seed, (int, str)):
        raise UsageError(f"seed={shown(seed)}: must be a number or a text")
    return hashlib.blake2b(repr(seed).encode(), digest_size=SECRET_BYTES, person=b"coopy seed").digest()


class _OfATest(Protocol):
    """A place that has its time from a clock, if it is given one."""

    clock: Clock | None


def _now(place: _OfATest) -> int:
    return time.time_ns() if place.clock is None else place.clock.stamp()


def _follow(place: _OfATest, header: bytes, what: str) -> None:
    if place.clock is not None:
        place.clock.follow(action.instant_of(header), what)


class _Directory(DirectoryPlace):
    """A directory on a disk that can be told to fail."""

    def __init__(self, obj: Any, basedir: str, settings: Settings, clock: Clock | None, seed: int | str | None) -> None:
        self.clock = clock
        self.disk = Disk()
        secret = None if seed is None else _secret(seed)
        super().__init__(basedir, _class_of(obj), settings, calls=self.disk, secret=secret)

    def begun(self) -> Manifest:
        found = super().begun()
        if self._secret not in (None, found.secret):
            raise UsageError(
                f"{self.name} was begun with another seed, or with none, and draws from it for good. Nothing was changed. "
                f"Leave the seed out, or choose a new directory."
            )
        return found

    def accept(self, header: bytes, sequence: int) -> None:
        super().accept(header, sequence)
        _follow(self, header, self.name)

    def now(self) -> int:
        return _now(self)


class _Memory(MemoryPlace):
    """Memory that can be told to fail. After a crash it has what the one before has left."""

    log: FailingLog
    snapshots: FailingSnapshots

    def __init__(self, obj: Any, basedir: str, clock: Clock | None, seed: int | str | None, left: Place | None) -> None:
        self.clock = clock
        self.said = f"a {_class_of(obj).__qualname__} in memory"
        self.faults: dict[str, int] = {}
        if isinstance(left, _Memory):
            log, snapshots = left.log.left(self.faults), left.snapshots.left(self.faults)
            super().__init__(basedir, left.manifest, log, snapshots, MemoryEntries(left.entries.read()))
            return
        secret = os.urandom(SECRET_BYTES) if seed is None else _secret(seed)
        manifest = Manifest(os.urandom(SYSTEM_BYTES), secret)
        super().__init__(basedir, manifest, FailingLog(self.faults), FailingSnapshots(self.faults), MemoryEntries())

    def accept(self, header: bytes, sequence: int) -> None:
        _follow(self, header, self.said)

    def now(self) -> int:
        return _now(self)


def _class_of(obj: Any) -> type:
    return obj if isinstance(obj, type) else type(obj)


class _Opened(System):
    """A system that was opened for a test. ``again`` opens the next after a crash; ``clock`` is that of the test."""

    def __init__(
        self,
        obj: Any,
        place: Place,
        settings: Settings,
        clock: Clock | None,
        again: Callable[[_Opened], Any],
        controls: type[Control] = Control,
    ) -> None:
        self.again = again
        super().__init__(obj, place, settings, None if clock is None else partial(_clocked, settings, clock), controls)

    @property
    def faults(self) -> dict[str, int]:
        """What of its disk or its memory fails now, with the error number."""
        raise NotImplementedError

    def cut_power(self) -> None:
        """Takes from what is there what no sync has covered. Raises `UsageError`."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.basedir


def _clocked(settings: Settings, clock: Clock, *parts: Any) -> Engine:
    kind = engine_for(settings)
    clocked = type(kind.__name__, (ClockedEngine, kind), {}) if kind is not Engine else ClockedEngine
    made: ClockedEngine = clocked(*parts)
    made.watch, made.clock = clock, clock.stamp
    return made


class _InDirectory(_Opened):
    place: _Directory

    @property
    def faults(self) -> dict[str, int]:
        return self.place.disk.faults

    def cut_power(self) -> None:
        self.place.disk.cut_power()
        dirlock.forget_boot(self.basedir)


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
    place: _Memory

    @property
    def faults(self) -> dict[str, int]:
        return self.place.faults

    def cut_power(self) -> None:
        raise UsageError(
            "a system in memory has no disk to lose its power. Use coopy.testing.open_system(..., durability='buffered')."
        )

    def __str__(self) -> str:
        return self.place.said


@overload
def memory_system(
    obj: type[T], *, clock: Clock | None = None, seed: int | str | None = None, **options: Unpack[InMemoryOptions]
) -> T: ...


@overload
def memory_system(
    obj: T, *, clock: Clock | None = None, seed: int | str | None = None, **options: Unpack[InMemoryOptions]
) -> T: ...


def memory_system(obj: Any, *, clock: Clock | None = None, seed: int | str | None = None, **options: Any) -> Any:
    """A system without a directory: what `init_system` returns, with its journal and snapshots in memory.

    Args:
        obj: the domain class, or an instance of it.
        clock: what stamps its actions and answers its reads; None for the machine's own clock.
        seed: makes `self._env` draw the same in each run; None for chance.
        {options}

    With ``check=True`` there is no second process.

    Raises:
        UsageError: an option is for a directory; and whatever `init_system` raises.

    >>> wiki = memory_system(Wiki, seed=1)
    >>> wiki.create_page("Home", "Welcome")
    1
    >>> list(crash(wiki).pages)
    ['Home']
    """
    for name in sorted(options):
        if name in _OF_A_TEST and name not in _IN_MEMORY:
            raise UsageError(
                f"{name}={shown(options[name])}: a system in memory has no directory. Use coopy.testing.open_system()."
            )
    return _again(True, obj, _NOWHERE, clock, seed, Settings.of("memory_system", options, _IN_MEMORY), None)


@overload
def open_system(
    obj: type[T],
    basedir: str | os.PathLike[str],
    *,
    clock: Clock | None = None,
    seed: int | str | None = None,
    **options: Unpack[InDirectoryOptions],
) -> T: ...


@overload
def open_system(
    obj: T,
    basedir: str | os.PathLike[str],
    *,
    clock: Clock | None = None,
    seed: int | str | None = None,
    **options: Unpack[InDirectoryOptions],
) -> T: ...


def open_system(
    obj: Any, basedir: str | os.PathLike[str], *, clock: Clock | None = None, seed: int | str | None = None, **options: Any
) -> Any:
    """As `init_system`, with a clock, a seed, and a disk for `failing` and for `crash` with ``power=True``.

    Args:
        obj, basedir: as for `coopy.init_system`.
        clock, seed: as for `memory_system`; a directory keeps its seed.
        {options}

    Raises `UsageError` if it has
    another, and whatever `init_system` raises.

    >>> clock = Clock()
    >>> clock.set(datetime(2030, 1, 1))
    >>> wiki = open_system(Wiki, "of-a-test", clock=clock)
    >>> wiki.stamp("Home")
    '2030-01-01T00:00:00'
    """
    return _again(False, obj, basedir, clock, seed, Settings.of("open_system", options, _OF_A_TEST), None)


show(memory_system, _IN_MEMORY)
show(open_system, _OF_A_TEST)


def _again(
    is_in_memory: bool,
    obj: Any,
    basedir: str | os.PathLike[str],
    clock: Clock | None,
    seed: int | str | None,
    settings: Settings,
    left: _Opened | None,
) -> Any:
    """Opens a system, after another with the same options, if ``left`` is one."""
    looking.refuse("coopy.testing")
    again = partial(_again, is_in_memory, obj, basedir, clock, seed, settings)

    def kind(obj: Any, basedir: str, settings: Settings) -> System:
        if not is_in_memory:
            return _InDirectory(obj, _Directory(obj, basedir, settings, clock, seed), settings, clock, again)
        place = _Memory(obj, basedir, clock, seed, None if left is None else left.place)
        # A child's memory is not ours.
        return _InMemory(obj, place, settings.but(fork=False), clock, again, _NoDirectory)

    return open_as(kind, obj, basedir, settings)


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

    >>> wiki = open_system(Wiki, "crashed", durability="buffered")
    >>> wiki.create_page("Home", "Welcome")
    1
    >>> list(crash(wiki).pages)  # Nothing is lost by kill -9 ...
    ['Home']
    >>> wiki = open_system(Wiki, "cut-off", durability="buffered")
    >>> wiki.create_page("Home", "Welcome")
    1
    >>> list(crash(wiki, power=True).pages)  # ... and by a power cut what no sync has covered.
    []
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

    >>> wiki = memory_system(Wiki)
    >>> with failing(wiki, "append"):
    ...     wiki.create_page("Home", "Welcome")
    Traceback (most recent call last):
    coopy.errors.JournalError: ...
    >>> list(wiki.pages)
    []
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

    def latest(self, upto: int | None = None) -> tuple[int, Stored] | None:
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

    >>> wiki = memory_system(Wiki)
    >>> wiki.create_page("Home", "Welcome")
    1
    >>> assert_replays(wiki)
    >>> wiki.pages["News"] = "None"  # Not a call: nobody wrote it down.
    >>> assert_replays(wiki)
    Traceback (most recent call last):
    AssertionError: ...
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
        codec, begin_replay = codec_of_past(found._cls)
        replayed = restore(
            found.engine.log,
            _From(found._snapshots, index),
            codec,
            live.secret,
            deterministic=found.engine.deterministic,
            until=live.applied,
            begin=begin_replay,
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
    """The systems of one test: opened in one folder, with one clock, and closed together. The fixtures ``coopy`` and ``coopy_systems`` are one.

    >>> def test_a_page_survives(coopy_systems):
    ...     wiki = coopy_systems.open(Wiki)
    ...     wiki.create_page("Home")
    ...     wiki = coopy_systems.crash(wiki)
    ...     assert "Home" in wiki.pages
    """

    def __init__(self, folder: Path, *, check: bool = False) -> None:
        self.clock = Clock()
        """The clock of all of them."""
        self.replays = True
        """Whether `close` asserts that each system that is still open replays."""
        self._folder = folder
        self._check = check
        self._opened: list[Any] = []

    if not TYPE_CHECKING:  # A type checker knows that there is no such attribute.

        def __getattr__(self, name: str) -> NoReturn:
            told = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in coopy.__all__:
                told += ". In a test with the fixture `coopy`, that name is the fixture, not the module: use the fixture `coopy_systems`"
            raise AttributeError(told, name=name, obj=self)

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
