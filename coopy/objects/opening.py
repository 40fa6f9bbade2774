"""Opens many objects: in a directory, as `coopy.objects` does, and in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from coopy import migration
from coopy.disk import manifest as manifests
from coopy.disk.fs import Calls
from coopy.disk.journal import SEGMENT_BYTES
from coopy.errors import UsageError
from coopy.ground import paths
from coopy.ground.raised import on_failure, told_as
from coopy.ground.words import shown
from coopy.objects.defaults import IDLE_S, MEMORY_BYTES
from coopy.objects.engine import Engine
from coopy.objects.opened import Directory, Objects
from coopy.objects.store import DirectoryStore, MemoryStore
from coopy.place.directory import DirectoryPlace, is_deterministic, not_opened, refuse_absent
from coopy.place.options import Settings

T = TypeVar("T")

MEMORY_BYTES_MIN = 64 * 1024
"""With less than this each call would load and drop its object."""
_OPTIONS = ("durability", "wait", "create", "deterministic", "validation", "check", "segment_bytes")
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
    directory = _started(cls, store, found, memory, IDLE_S, False, "memory", check)
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
) -> Directory:
    """Returns a directory of objects of a class that is open. Raises what `objects` raises."""
    options = {} if options is None else options
    _check(cls, memory, idle, options)
    settings = Settings.of("objects", {"segment_bytes": SEGMENT_BYTES, **options})
    name = paths.absolute(basedir)
    migration.of(cls).check()
    if not settings.create:
        refuse_absent(name)
    deterministic = is_deterministic(name, settings.deterministic)
    # Reading source takes more modules than all the rest: they are loaded by whoever opens a system.
    from coopy.determinism.check import validate

    validate(cls, settings.validation, deterministic, settings.check)
    place = DirectoryPlace(name, cls, settings, calls=calls, has_objects=True)
    with told_as(not_opened, name):
        place.take()
        with on_failure(_let_go, place):
            if deterministic:
                place.stay_deterministic()
            return _started(cls, DirectoryStore(place), place.manifest, memory, idle, deterministic, name, settings.check)


def _started(
    cls: type,
    store: DirectoryStore | MemoryStore,
    found: manifests.Manifest,
    memory: int,
    idle: float,
    deterministic: bool,
    name: str,
    check: bool = False,
) -> Directory:
    if check:
        from coopy.objects.checked import CheckedEngine as kind_of_engine
    else:
        kind_of_engine = Engine  # type: ignore[misc, assignment]
    engine = kind_of_engine(store, memory, idle)
    engine.pack_table = lambda table: table.packed(found.system, engine.applied)
    directory = Directory(engine, found.system.hex(), found.secret, deterministic, name)
    directory.of(cls, b"")
    engine.start()
    return directory


def _let_go(place: DirectoryPlace) -> None:
    place.abandon()
    place.release()


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
