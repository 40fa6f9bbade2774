"""Many small objects, used from asyncio: `coopy.objects` with an ``await`` before each call.

Calls of all objects go to one thread, which takes those that wait together: one write and one sync for all of them, whatever their keys
are. A call is on its way from the moment its task waits for it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar, cast

from coopy.aio import coroutines
from coopy.aio.worker import Worker
from coopy.ground import looking
from coopy.ground.raised import on_failure
from coopy.objects import handles
from coopy.objects.defaults import IDLE_S, MEMORY_BYTES
from coopy.objects.opened import Directory
from coopy.objects.opened import Objects as Plain
from coopy.objects.opening import opened
from coopy.spine import methods

__coopy_inside__ = True  # See `coopy.spine.calling`.
T = TypeVar("T")

_CALL = coroutines.Source(
    coroutines.QUEUED.format(args="({self}._coopy_kind, {self}._coopy_key, *{args})", result="_coopy_result"),
    "coopy.aio.objects",
)
"""As in the methods of a system, with the object before the arguments."""


class Handle:
    """What users hold of an object in a loop: its key, and coroutine functions for its methods."""

    __slots__ = ("_coopy_worker", "_coopy_kind", "_coopy_key")

    def __init__(self, worker: _Worker, kind: Any, key: bytes) -> None:
        self._coopy_worker = worker
        self._coopy_kind = kind
        self._coopy_key = key

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Handle):
            return NotImplemented
        return (self._coopy_key, self._coopy_kind) == (other._coopy_key, other._coopy_kind)

    def __hash__(self) -> int:
        return hash(self._coopy_key)

    def __repr__(self) -> str:
        return f"<{self._coopy_kind.cls.__qualname__} {self._coopy_kind.text(self._coopy_key)!r}, in a loop>"

    def __reduce__(self) -> Any:
        kind = self._coopy_kind
        return handles.handle_of, (kind.system, kind.cls, kind.text(self._coopy_key))


_classes: dict[type, type[Handle]] = {}


def class_of(cls: type) -> type[Handle]:
    """Returns the class of the handles of a class, in a loop."""
    if cls not in _classes:
        members: dict[str, Any] = {"__slots__": (), "__doc__": cls.__doc__}
        for name, function in methods.functions_of(cls).items():
            if not name.startswith("__"):
                what = coroutines.what_of(name, function, methods.kind_of(cls, name, function) == "action")
                members[name] = coroutines.made(cls, name, function, what, _CALL)
        _classes[cls] = type(f"Async{cls.__name__}", (Handle,), members)
    return _classes[cls]


class _Worker(Worker):
    """The threads to which calls of objects are queued."""

    def parts_of(self, system: Any) -> tuple[str, Any, Callable[[], object]]:
        """Returns the directory of the objects, their engine, and what closes them."""
        return system.name, system.engine, system.close


class Objects(Generic[T]):
    """The objects of a class by their keys, in a loop; see `coopy.objects.opened.Objects`."""

    def __init__(self, directory: Directory, plain: Plain[T], worker: _Worker) -> None:
        self._directory = directory
        self._plain = plain
        self._worker = worker
        self._handles = class_of(plain.cls)
        plain.kind.handle = self._handle

    def _handle(self, key: bytes) -> Any:
        return self._handles(self._worker, self._plain.kind, key)

    def __getitem__(self, key: str) -> Any:
        """Returns what the methods of an object are awaited on: ``await rooms["42"].say("ann", "hi")``."""
        return self._handle(self._plain.stored(key))

    async def _in_a_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        if self._worker.refusal is not None:
            raise self._worker.refuse()
        return await asyncio.get_running_loop().run_in_executor(None, function, *args)

    async def has(self, key: str) -> bool:
        """Returns whether there is an object of a key."""
        return bool(await self._in_a_thread(self._plain.__contains__, key))

    async def keys(self, prefix: str = "") -> list[str]:
        """Returns the keys of the objects that there are, those that begin with ``prefix``, in order."""
        return cast("list[str]", await self._in_a_thread(self._plain.keys, prefix))

    async def count(self) -> int:
        """Returns how many objects there are."""
        return int(await self._in_a_thread(self._plain.__len__))

    async def delete(self, key: str) -> None:
        """Deletes an object. Raises KeyError if there is none."""
        await self._in_a_thread(self._plain.__delitem__, key)

    def of(self, cls: type[Any]) -> Objects[Any]:
        """Returns the objects of another class that are kept in the same directory."""
        return Objects(self._directory, self._plain.of(cls), self._worker)

    def status(self) -> dict[str, Any]:
        """Returns figures; see `coopy.objects.opened.Objects.status`."""
        return self._plain.status()

    async def close(self) -> None:
        """Waits for the calls that wait, makes everything durable and lets the directory go. Closing twice is fine."""
        await self._worker.close()

    async def __aenter__(self) -> Objects[T]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{self._plain!r}, in a loop"


class Opening(Awaitable[Objects[T]]):
    """What `objects` returns: to be awaited, or entered with ``async with``."""

    def __init__(
        self,
        cls: type[T],
        basedir: str | os.PathLike[str],
        memory: int,
        idle: float,
        processes: int | None,
        options: dict[str, Any],
    ) -> None:
        self._cls = cls
        self._given = basedir, memory, idle, options, None, processes
        self._found: Objects[T] | None = None

    def __await__(self) -> Generator[Any, Any, Objects[T]]:
        return self._open().__await__()

    async def __aenter__(self) -> Objects[T]:
        self._found = await self._open()
        return self._found

    async def __aexit__(self, *_: object) -> None:
        assert self._found is not None, "what is left was entered"
        await self._found.close()

    async def _open(self) -> Objects[T]:
        looking.refuse("coopy.aio.objects")
        worker = _Worker(asyncio.get_running_loop(), lambda loop: opened(self._cls, *self._given))
        with on_failure(worker.stop):
            directory = await worker.opened
            directory.begin()
            return Objects(directory, directory.of(self._cls), worker)


def objects(
    cls: type[T],
    basedir: str | os.PathLike[str],
    *,
    memory: int = MEMORY_BYTES,
    idle: float = IDLE_S,
    processes: int | None = None,
    **options: Any,
) -> Opening[T]:
    """Opens many small objects to be used from the running loop: ``async with objects(Room, "data") as rooms``, or ``await``.

    >>> async def main():
    ...     async with coopy.aio.objects(Wiki, "wikis-by-name") as wikis:
    ...         await wikis["ours"].create_page("Home", "Welcome")
    ...         return await wikis["ours"].create_page("News", "None")
    >>> asyncio.run(main())
    2

    The arguments, and what is raised, are those of `coopy.objects`. Methods of objects are coroutine functions; `Objects.keys`, `Objects.has`,
    `Objects.count` and `Objects.delete` are those of the mapping.
    """
    return Opening(cls, basedir, memory, idle, processes, options)
