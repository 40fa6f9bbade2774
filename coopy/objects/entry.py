"""The door to many objects, `coopy.objects`. It is loaded with the package, and all that is behind it when objects are opened."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

from coopy.ground import looking
from coopy.objects.defaults import IDLE_S, MEMORY_BYTES

if TYPE_CHECKING:
    from coopy.objects.opened import Objects

T = TypeVar("T")


def objects(
    cls: type[T],
    basedir: str | os.PathLike[str],
    *,
    memory: int = MEMORY_BYTES,
    idle: float = IDLE_S,
    processes: int | None = None,
    **options: Any,
) -> Objects[T]:
    """Opens many small objects of a class, each with a key, in one directory ("durable objects").

    >>> rooms = coopy.objects(Room, "data")
    >>> rooms["42"].say("ann", "hi")

    Each object is what a system is: a call of a method is an action, recorded before it runs, and on the disk before it returns. An object is
    loaded by its first call and dropped when it is idle; what is not called takes a place in a table of keys, and no more. The calls of one
    object come one after the other, and every later one sees what an earlier one has done; of two objects there is no order.

    Args:
        cls: the class. Its ``__init__`` takes the key, or nothing.
        basedir: the data directory, made if it is not there.
        memory: about so many bytes the active objects may take; those called longest ago are dropped for the others.
        idle: seconds after which an object that nobody calls is dropped.
        processes: over how many processes of this machine the objects are spread, each of which has those of some keys: past the interpreter's lock. They
            are started here, and end with this one. A directory that is spread over another number is spread anew first, which takes as long as
            reading and writing all of it. 1: this process has them all. None: as the directory is.
        options: ``durability``, ``wait``, ``create``, ``deterministic``, ``validation`` and ``check``, as for `coopy.init_system`; ``timeout``, with several
            processes, as for a shared system.

    Raises:
        UsageError, PrevalentError: an argument, or the class, cannot be used.
        DirectoryInUse: another process, or this one, has the directory open.
        Unavailable, OutcomeUnknown: of calls, with several processes: one was not answered in time.
        StorageError: what is in the directory cannot be used, and why.
        JournalError: the disk refused.
    """
    looking.refuse("coopy.objects")
    # All of the package, nearly: a program that opens no objects does without it.
    from coopy.objects.opening import opened

    directory = opened(cls, basedir, memory, idle, options, processes=processes)
    directory.begin()
    found: Objects[T] = directory.of(cls)
    return found
