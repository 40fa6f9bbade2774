"""Opens a system to be used from the running loop, closes it, and calls its methods by their functions.

What a type checker sees of such a system is here, too: `System`, `Untyped` and `Options`.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from coopy import connect as connected
from coopy import init_system
from coopy.aio.proxy import Proxy, attach, refuse_missing
from coopy.aio.worker import Worker
from coopy.errors import CheckFailed, JournalError, UsageError
from coopy.ground import looking
from coopy.place.options import TABLE, show
from coopy.place.options import AllOptions as Options
from coopy.spine import methods
from coopy.spine.proxy import found_after

if TYPE_CHECKING:
    from typing_extensions import Unpack

__coopy_inside__ = True  # See `coopy.spine.calling`.
A = TypeVar("A")
D = TypeVar("D")
D_co = TypeVar("D_co", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")


class System(Protocol[D_co]):
    """A system of a domain class, used from asyncio. What `coopy stub` writes is a protocol of this kind.

    >>> async def greet(wiki: System[Wiki]) -> int:  # which a type checker follows into `call`
    ...     return await call(wiki, Wiki.create_page, "Home", "Welcome")
    >>> async def main():
    ...     async with open(Wiki, "greeted") as wiki:
    ...         return await greet(wiki)
    >>> asyncio.run(main())
    1
    """

    @property
    def _coopy_domain(self) -> type[D_co]: ...


class Untyped(System[D_co], Protocol[D_co]):
    """A `System` as `open` gives it without ``protocol=``: a type checker lets every method pass, and knows nothing of it.

    >>> async def greet(wiki: Untyped[Wiki]) -> int:
    ...     return await wiki.create_page("Home", "Welcome")
    >>> async def main():
    ...     async with open(Wiki, "greeted-untyped") as wiki:
    ...         return await greet(wiki)
    >>> asyncio.run(main())
    1
    """

    def __getattr__(self, name: str) -> Any: ...


@overload
def open(
    obj: object,
    basedir: str | os.PathLike[str] | None = None,
    *,
    protocol: Callable[..., A],
    **options: Unpack[Options],
) -> Opening[A]: ...


@overload
def open(
    obj: type[D],
    basedir: str | os.PathLike[str] | None = None,
    **options: Unpack[Options],
) -> Opening[Untyped[D]]: ...


@overload
def open(
    obj: D,
    basedir: str | os.PathLike[str] | None = None,
    **options: Unpack[Options],
) -> Opening[Untyped[D]]: ...


def open(obj: Any, basedir: Any = None, *, protocol: Any = None, **options: Any) -> Opening[Any]:
    """Opens a system to be used from the running loop: ``async with open(...) as system``, or ``await open(...)``.

    In the system, methods and controls are coroutine functions, and attributes and properties are
    awaitable (``await wiki.pages``). Who opened it with ``await`` closes it with `close`.

    Args:
        obj: the domain class, an instance of it, or a system that is open already, which is then
            closed with this one.
        basedir: the data directory; as for `coopy.init_system`.
        protocol: a class that says to a type checker what the system's methods are: what
            `coopy stub` writes. Its methods must be there.
        {options}

    ``progress`` is called in the loop.

    Raises, when it is awaited:
        UsageError: there is a method in ``protocol`` that the class does not have.
        Whatever `coopy.init_system` raises.

    >>> async def main():
    ...     async with open(Wiki, "data", durability="buffered") as wiki:
    ...         await asyncio.gather(*(wiki.create_page(name) for name in ("Home", "News")))  # one write for both
    ...         return sorted(await wiki.pages)
    >>> asyncio.run(main())
    ['Home', 'News']
    """

    def opened(loop: asyncio.AbstractEventLoop) -> Any:
        if methods.is_proxy(obj) and basedir is None and not options:
            return obj
        progress = options.get("progress")
        if not callable(progress):
            return init_system(obj, basedir, **options)
        # Restoring goes on in the thread meanwhile.
        return init_system(
            obj, basedir, **{**options, "progress": lambda done, total: loop.call_soon_threadsafe(progress, done, total)}
        )

    return Opening(opened, "coopy.aio.open", str(basedir or ""), protocol)


show(open, TABLE)


@overload
def connect(
    url: str,
    cls: type[D],
    *,
    protocol: Callable[..., A],
    key: str | os.PathLike[str] | bytes | None = None,
    tls: str | os.PathLike[str] | bool | None = None,
    timeout: float = 30.0,
) -> Opening[A]: ...


@overload
def connect(
    url: str,
    cls: type[D],
    *,
    key: str | os.PathLike[str] | bytes | None = None,
    tls: str | os.PathLike[str] | bool | None = None,
    timeout: float = 30.0,
) -> Opening[Untyped[D]]: ...


def connect(
    url: str, cls: Any, *, protocol: Any = None, key: Any = None, tls: Any = None, timeout: float = 30.0
) -> Opening[Any]:
    """Connects to a system that `coopy serve` serves: ``async with connect(...) as system``, or ``await connect(...)``.

    After ``coopy serve wiki:Wiki data --listen unix:wiki.sock``:

    >>> async def main():
    ...     async with connect("unix:wiki.sock", Wiki) as wiki:
    ...         return await wiki.create_page("Home", "Welcome")
    >>> asyncio.run(main())
    1

    All tasks call over one connection. Arguments, and what is raised when it is awaited, are those of `coopy.connect`; ``protocol`` is that of `open`.
    """
    return Opening(lambda loop: connected(url, cls, key=key, tls=tls, timeout=timeout), "coopy.aio.connect", str(url), protocol)


class Opening(Generic[A]):
    """What `open` and `connect` return: to be awaited, or entered with ``async with``, once.

    Awaited it gives a system that is closed by `close`; entered, one that is closed at the end of the block.

    >>> async def main():
    ...     opening = open(Wiki, "awaited")  # nothing is opened yet
    ...     wiki = await opening
    ...     try:
    ...         return await wiki.create_page("Home", "Welcome")
    ...     finally:
    ...         await close(wiki)
    >>> asyncio.run(main())
    1
    """

    def __init__(self, opens: Callable[[asyncio.AbstractEventLoop], Any], door: str, where: str, protocol: Any) -> None:
        """``opens`` is called in the thread of the calls; ``door`` is what the user has called, ``where`` what is opened."""
        self._opens = opens
        self._door = door
        self._where = where
        self._protocol = protocol
        self._system: Any = None

    def __await__(self) -> Generator[Any, None, A]:
        return self._open().__await__()

    async def __aenter__(self) -> A:
        self._system = await self._open()
        return cast(A, self._system)

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        system, self._system = self._system, None
        try:
            await close(system)
        except CheckFailed as found:
            found_after(error, found)

    async def _open(self) -> A:
        looking.refuse(self._door)  # Here, where the caller is known, before the thread.
        loop = asyncio.get_running_loop()
        try:
            worker = Worker(loop, self._opens)
        except RuntimeError as error:
            raise JournalError(
                errno.EAGAIN, f"{error}. Nothing was opened, and what is on the disk is as it was.", self._where
            ) from error
        # Twice: stopping the worker may be interrupted as well.
        try:
            try:
                system = attach(await worker.opened, worker)
                refuse_missing(system, self._protocol)
                del worker.opened
                return cast(A, system)
            except BaseException:
                worker.stop()
                raise
        except BaseException:
            worker.stop()
            worker.__dict__.pop("opened", None)  # What it raises has this frame in its traceback.
            raise


def call(
    system: System[D], function: Callable[Concatenate[D, P], R], /, *args: P.args, **kwargs: P.kwargs
) -> Coroutine[Any, Any, R]:
    """Calls a method, as ``system.method(...)`` does: ``await call(wiki, Wiki.create_page, "Home", "text")``.

    A type checker knows its parameters and its result. Special methods are called like any other:
    ``await call(wiki, Wiki.__len__)``, ``await call(wiki, Wiki.__setattr__, "title", "Ours")``.

    Raises `UsageError` if the class has no such method.

    >>> async def main():
    ...     async with open(Wiki, "called") as wiki:
    ...         await call(wiki, Wiki.create_page, "Home", "Welcome")
    ...         await call(wiki, Wiki.__setattr__, "title", "Ours")
    ...         return await wiki.title, await wiki.pages
    >>> asyncio.run(main())
    ('Ours', {'Home': 'Welcome'})
    """
    methods = type(_ours(system))._coopy_methods
    return cast("Coroutine[Any, Any, R]", methods.of(function)(system, *args, **kwargs))


async def close(system: object) -> None:
    """Waits for the calls that wait, makes everything durable and lets the directory go. Closing twice is fine.

    If the task is cancelled meanwhile, closing goes on all the same. Raises `JournalError`.

    >>> async def main():
    ...     wiki = await open(Wiki, "closed")
    ...     await wiki.create_page("Home", "Welcome")
    ...     await close(wiki)
    ...     await close(wiki)
    ...     try:
    ...         await wiki.create_page("News", "None")
    ...     except SystemClosed as error:
    ...         return str(error).partition(". ")[0].rpartition("/")[2]
    >>> asyncio.run(main())
    'closed is closed'
    """
    await _ours(system)._coopy_worker.close()


def system_of(system: object) -> Any:
    """The system itself, as `coopy.init_system` returns it: for threads, and for `coopy.control`.

    >>> async def main():
    ...     async with open(Wiki, "of-threads") as wiki:
    ...         await wiki.create_page("Home", "Welcome")
    ...         return control(system_of(wiki)).index, system_of(wiki).pages
    >>> asyncio.run(main())
    (1, {'Home': 'Welcome'})
    """
    return _ours(system)._coopy_system


def _ours(system: object) -> Any:
    if not isinstance(system, Proxy):
        raise UsageError(f"coopy.aio takes what coopy.aio.open() gave, not {type(system).__qualname__}")
    return system
