"""Loads a state that was just written, before anybody relies on it.

What can be pickled cannot always be loaded: an exception whose `__init__` takes other arguments than it keeps, objects in a
cycle through a set, a class that is gone. Such a state is found here, while the live one is still there to look at, and the
part of it that does not load is named.

The second state is dropped at once. It takes as much memory as the first; where there may not be so much, nothing is tried. Does not
decide what becomes of a state that does not load.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from coopy.errors import CoopyError, DecodingError, UnloadableState
from coopy.ground import collector
from coopy.ground.storage import MemoryWriter, Stored
from coopy.values import bound, bytecode
from coopy.values.codec import Codec
from coopy.values.copies import SCALARS

LOOK_S = 10.0
"""The part that does not load is looked for so long."""

_SMALL_BYTES = 16 * 1024 * 1024  # For a state of less than this there is room on any machine, and nobody asks.


def load(codec: Codec, state: object, data: Stored, start: int = 0) -> bool:
    """Returns whether a state was loaded; False if there may be no room for it. Raises `UnloadableState`.

    ``state`` is the object that was written as ``data``, from ``start`` on.
    """
    if len(data) > _SMALL_BYTES and room() < len(data) + 2 * _resident():
        return False
    problem = _problem(codec, data, start)
    if problem is None:
        return True
    if isinstance(problem, MemoryError):
        return False
    path, cls, problem = _part_that_does_not_load(codec, state, problem)
    raise UnloadableState(path, cls.__qualname__, f"{type(problem).__name__}: {problem}")


def _problem(codec: Codec, data: Stored, start: int = 0) -> BaseException | None:
    try:
        with collector.off():
            codec.load_state(data, start=start)
    except DecodingError as error:
        return error.__cause__ or error
    return None


def _part_that_does_not_load(codec: Codec, state: object, problem: BaseException) -> tuple[str, type, BaseException]:
    """The path of the innermost object that does not load, its class, and what loading it raises."""
    until = time.monotonic() + LOOK_S
    path, found = "state", state
    seen = {id(state)}
    # What was made for us: an id means its object only as long as that lives.
    kept: list[Any] = []
    while True:
        parts = bound.parts(found, bytecode.parts())
        kept.append(parts)
        for step, part in parts:
            if type(part) in SCALARS or id(part) in seen:
                continue
            if time.monotonic() > until:
                return f"{path} (or something in it)", type(found), problem
            seen.add(id(part))
            cause = _problem_of(codec, part)
            if cause is not None:
                path, found, problem = path + step, part, cause
                break
        else:
            return path, type(found), problem


def _problem_of(codec: Codec, part: object) -> BaseException | None:
    writer = MemoryWriter()
    try:
        codec.dump_state(part, writer)
    except CoopyError:
        return None  # It can't be written by itself.
    return _problem(codec, memoryview(writer.value()))


# -- memory


def room() -> int:
    """Bytes of memory that this process may still take; a guess where the system does not tell."""
    found = [_available()]
    for used, limit in (("memory.current", "memory.max"), ("memory/memory.usage_in_bytes", "memory/memory.limit_in_bytes")):
        taken, most = (_number(f"/sys/fs/cgroup/{name}") for name in (used, limit))
        if taken is not None and most is not None:
            found.append(most - taken)
    return min(found)


def _available() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return sys.maxsize


def _resident() -> int:
    """Bytes of memory that this process has."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        pass
    try:
        import resource

        # In bytes on macOS; the most there ever was.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    except (ImportError, OSError):
        return 0


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None  # Not there, or "max".
