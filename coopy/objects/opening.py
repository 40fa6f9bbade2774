"""Opens many objects: in a directory, as `coopy.objects` does, and in memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from coopy.disk import child
from coopy.disk import manifest as manifests
from coopy.disk.dirlock import DirectoryLock
from coopy.disk.fs import Calls
from coopy.disk.journal import SEGMENT_BYTES
from coopy.errors import StorageError, UsageError
from coopy.ground import paths
from coopy.ground.raised import on_failure, told_as
from coopy.ground.words import shown
from coopy.objects.defaults import IDLE_S, MEMORY_BYTES
from coopy.objects.engine import Engine
from coopy.objects.opened import Directory, Objects
from coopy.objects.store import DirectoryStore, MemoryStore
from coopy.place.directory import DirectoryPlace, is_deterministic, not_opened, refuse_absent
from coopy.place.options import Settings
from coopy.values.codec import Codec

T = TypeVar("T")

MEMORY_BYTES_MIN = 64 * 1024
"""With less than this each call would load and drop its object."""
_OPTIONS = ("durability", "wait", "create", "deterministic", "validation", "check", "segment_bytes", "timeout")
"""Those of `coopy.init_system` that objects have, too."""


def in_memory(
    cls: type[T],
    *,
    clock: Callable[[], float] | None = None,
    seed: int | None = None,
    memory: int = MEMORY_BYTES,
    before: Objects[T] | None = None,
    check: bool = False,
) -> Objects[T]:
    """Opens objects that live as long as the process, for tests: with a clock to set, and chance that repeats.

    >>> rooms = in_memory(Room, clock=lambda: now, seed=1)
    >>> rooms["42"].close_later(60); now += 60; rooms.catch_up()

    Nothing is run by itself: `Objects.catch_up` does what is due.

    Args:
        cls: the class.
        clock: returns seconds since 1970-01-01 UTC; by default this machine's.
        seed: what draws are made from.
        memory: about so many bytes the active objects may take.
        before: objects that were opened in memory, whose records these begin with: what a process finds that opens them after a crash.
        check: looks at each object around every call, as ``check=True`` of a system does.
    """
    _check(cls, memory, IDLE_S, {})
    if before is None:
        store, secret = MemoryStore(), os.urandom(32) if seed is None else seed.to_bytes(32, "little", signed=True)
    else:
        earlier = before._directory.engine.store
        assert isinstance(earlier, MemoryStore), "they were opened in memory"
        store, secret = earlier.reopened(), before.kind.stage.root
    found = manifests.Manifest(os.urandom(16), secret)
    settings = Settings.of("objects", {"check": check})
    directory = _started(cls, store, found, memory, IDLE_S, False, "memory", _engine_for(settings), found.system)
    if clock is not None:
        at = clock
        directory.engine.clock = lambda: round(at() * 1e9)
    return directory.of(cls)


def opened(
    cls: type,
    basedir: str | os.PathLike[str],
    memory: int = MEMORY_BYTES,
    idle: float = IDLE_S,
    options: dict[str, Any] | None = None,
    calls: Calls | None = None,
    processes: int | None = None,
) -> Any:
    """Returns a directory of objects of a class that is open, or what knows all of its processes. Raises what `objects` raises."""
    options = {} if options is None else options
    _check(cls, memory, idle, options)
    _check_processes(processes)
    settings = Settings.of("objects", {"segment_bytes": SEGMENT_BYTES, **options})
    name = paths.absolute(basedir)
    Codec(cls).migration.check()
    if not settings.create and not _processes_of(name):
        refuse_absent(name)
    deterministic = is_deterministic(name, settings.deterministic)
    # Reading source takes more modules than all the rest: they are loaded by whoever opens a system.
    from coopy.determinism.check import validate

    validate(cls, settings.validation, deterministic, settings.check)
    given = _Given(cls, name, memory, idle, settings, Calls() if calls is None else calls, deterministic)
    before = _processes_of(name)
    if before or (processes or 1) > 1:
        return _spread(given, processes or before)
    place = DirectoryPlace(name, cls, settings, calls=given.calls, has_objects=True)
    with told_as(not_opened, name):
        place.take()
        if place.manifest.shards[1]:
            _let_go(place)  # Another process has just spread them.
            return _spread(given, processes or place.manifest.shards[1])
        return _begun(given, place, place.manifest, name, _engine_for(settings))


def _processes_of(basedir: str) -> int:
    """Returns over how many shards the objects of a directory are spread; 0 if they are not."""
    with contextlib.suppress(StorageError, UsageError, OSError):  # Opening it says why.
        found = manifests.read(Calls(), basedir, with_objects=True)
        return 0 if found is None else found.shards[1]
    return 0


class _Given(NamedTuple):
    """What `opened` was given, looked at."""

    cls: type
    basedir: str
    memory: int
    idle: float
    settings: Settings
    calls: Calls
    deterministic: bool


def _spread(given: _Given, count: int) -> Any:
    """Returns what knows all processes of a directory, which is spread over so many first if it is not."""
    # Most programs have objects in one process: these modules, and those of sockets, are for the others.
    from coopy.objects import moving, slots, spread
    from coopy.objects.shard import CheckedShard, Shard

    cls, basedir, settings, calls = given.cls, given.basedir, given.settings, given.calls
    place = Spreading(basedir, cls, settings, calls=calls, has_objects=True)
    with told_as(not_opened, basedir):
        place.take()
        with on_failure(place.release):
            if given.deterministic:
                place.stay_deterministic()
            found = place.manifest = moving.brought_to(calls, basedir, place.manifest, count, settings.wait)
            share = given._replace(memory=max(given.memory // count, MEMORY_BYTES_MIN))

            def opens(path: str) -> Directory:
                """Opens the directory of a shard. Its process waits for one before that, which is ending."""
                shard = DirectoryPlace(path, cls, moving.Waiting(settings), calls=calls, secret=found.secret, has_objects=True)
                with told_as(not_opened, path):
                    shard.take()
                    if count == 1:
                        return _begun(share, shard, found, basedir, _engine_for(settings))
                    return _begun(share, shard, found, path, CheckedShard if settings.check else Shard)

            if count > 1:
                return spread.opened(cls, basedir, found, place.lock, settings.timeout, opens)
            directory = opens(slots.directories(basedir, found)[0])
            directory.at_the_end = place.release
            return directory


class Spreading(DirectoryPlace):
    """A directory whose objects are spread, or are about to be: it is locked, and what is in it is opened by others."""

    def open_files(self) -> None:
        """Opens nothing: each shard has its own."""

    @property
    def lock(self) -> DirectoryLock:
        """The lock, which is held."""
        assert self._lock is not None, "it was taken"
        return self._lock


def _engine_for(settings: Settings) -> type[Engine]:
    if not settings.check:
        return Engine
    from coopy.objects.checked import CheckedEngine

    return CheckedEngine


def _begun(given: _Given, place: DirectoryPlace, found: manifests.Manifest, name: str, engine: type[Engine]) -> Directory:
    """Returns the open directory of a place that was taken. ``found`` says whose objects they are."""
    with on_failure(_let_go, place):
        if given.deterministic:
            place.stay_deterministic()
        store = DirectoryStore(place)
        return _started(
            given.cls, store, found, given.memory, given.idle, given.deterministic, name, engine, place.manifest.system
        )


def _started(
    cls: type,
    store: DirectoryStore | MemoryStore,
    found: manifests.Manifest,
    memory: int,
    idle: float,
    deterministic: bool,
    name: str,
    kind_of_engine: type[Engine],
    system: bytes,
) -> Directory:
    """``system`` is the id of the files, which a shard has of its own."""
    engine = kind_of_engine(store, memory, idle)
    engine.pack_table = lambda table: table.packed(system, engine.applied)
    directory = Directory(engine, found.system.hex(), found.secret, deterministic, name)
    directory.of(cls, b"")
    engine.start()
    return directory


def _let_go(place: DirectoryPlace) -> None:
    place.abandon()
    place.release()


def _check_processes(processes: Any) -> None:
    if processes is None:
        return
    if isinstance(processes, bool) or not isinstance(processes, int) or not 0 < processes <= manifests.SHARDS_MAX:
        raise UsageError(
            f"processes={shown(processes)}: must be a whole number, from 1 to {manifests.SHARDS_MAX}, or None. Nothing was opened."
        )
    if processes > 1 and not child.AVAILABLE:
        raise UsageError(f"processes={processes}: this operating system can't fork; leave it out. Nothing was opened.")


def _check(cls: Any, memory: Any, idle: Any, options: dict[str, Any]) -> None:
    if not isinstance(cls, type) or cls.__module__ == "builtins":
        raise UsageError(
            f"coopy.objects() takes a class of your own, whose objects have keys, not {shown(cls)}. Nothing was opened."
        )
    if isinstance(memory, bool) or not isinstance(memory, int) or memory < MEMORY_BYTES_MIN:
        raise UsageError(
            f"memory={shown(memory)}: must be a whole number of bytes, at least {MEMORY_BYTES_MIN}. Nothing was opened."
        )
    if isinstance(idle, bool) or not isinstance(idle, (int, float)) or not idle > 0:
        raise UsageError(f"idle={shown(idle)}: must be seconds, more than 0. Nothing was opened.")
    for option in options:
        if option not in _OPTIONS:
            raise UsageError(
                f"coopy.objects() has no option {option!r}; it has memory, idle, {', '.join(_OPTIONS)}. Nothing was opened."
            )
