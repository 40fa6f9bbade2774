"""`coopy.sync.Semaphore`, `Condition`, `Event` and `Barrier` for tasks.

What `threading` answers at once, as whether an event is set, is a call of the system, and so is awaited here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from coopy.aio.handles import Handle, in_executor
from coopy.aio.locks import Lock, RLock
from coopy.sync import boot, gates
from coopy.sync.lock import TTL_S, moment_after

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class Semaphore(Handle[gates.Semaphore]):
    """A `coopy.sync.Semaphore` for tasks: a number of permits, of which each is held as a `Lock` is.

    >>> import asyncio
    >>> from coopy import aio
    >>> from coopy.sync import Locks
    >>> async def main():
    ...     async with aio.open(Locks, "seats") as locks, aio.Semaphore("seats", 2, system=locks) as seats:
    ...         return await seats.acquire(), await seats.acquire(blocking=False), seats.held, await seats.release()
    >>> asyncio.run(main())
    (True, False, 2, None)
    """

    def __init__(self, name: str, value: int = 1, *, system: Any = None, ttl: float = TTL_S) -> None:
        gates.check_number("value", value)
        super().__init__(name, system, lambda system: gates.Semaphore(name, value, system=system, ttl=ttl))

    async def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Takes a permit; as `coopy.sync.Semaphore.acquire`. A task that is cancelled while it waits has none, and leaves no place behind."""
        until_ns = gates.moment_of_permit(blocking, timeout)
        return await self._wait(lambda handle, asker: handle.acquiring(asker, blocking, until_ns)) is not None

    async def release(self, n: int = 1) -> None:
        """Gives back permits; as `coopy.sync.Semaphore.release`."""
        await in_executor((await self.opened()).release, n)

    @property
    def held(self) -> int:
        """How many permits this handle has, by this process's own clock. Asks nobody."""
        return self._handle.held if self._handle is not None else 0

    async def __aenter__(self) -> Self:
        has_permit = await self.acquire()
        self._used().enter(has_permit)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await in_executor(self._used().leave, error)

    def __repr__(self) -> str:
        return f"<coopy.aio.Semaphore {self.name!r} at {id(self):#x}: {self.held} held here>"


class Condition:
    """A `coopy.sync.Condition` for tasks: a lock that is put down while one waits to be told that something has changed.

    A task that is cancelled in `wait` does not have the lock again, unlike with asyncio.Condition: another process may have it for as long as it likes. So
    give `wait` its ``timeout``, and do not put asyncio.wait_for around it.

    >>> import asyncio
    >>> from coopy import aio
    >>> from coopy.sync import Locks
    >>> async def main():
    ...     async with aio.open(Locks, "news") as locks, aio.Condition("news", system=locks) as news:
    ...         return await news.wait(timeout=0.01), await news.notify_all(), news.lock.held
    >>> asyncio.run(main())
    (False, 0, True)
    """

    def __init__(self, name: str, lock: Lock | None = None, *, system: Any = None, ttl: float = TTL_S) -> None:
        self.name = name
        self.lock = RLock(name, system=system, ttl=ttl) if lock is None else lock
        """The lock that is held when one waits and tells; by default an `RLock` of the same name."""

    async def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Gets the lock; see `Lock.acquire`."""
        return await self.lock.acquire(blocking, timeout)

    async def release(self) -> None:
        """Gives the lock back; see `Lock.release`."""
        await self.lock.release()

    async def wait(self, timeout: float | None = None) -> bool:
        """Puts the lock down until told, and has it again. Returns False if that was not told in so many seconds. Raises `NotHeld`, `LockLost`."""
        return await self.lock.sleep(self.name, timeout)

    async def wait_for(self, question: Callable[[], T], timeout: float | None = None) -> T:
        """Waits until an answer is true, or for so many seconds. Returns the last answer."""
        until_ns = moment_after(timeout)
        answer = question()
        while not answer:
            left_s = None if until_ns is None else (until_ns - boot.now_ns()) / boot.NS
            if left_s is not None and left_s <= 0:
                break
            await self.wait(left_s)
            answer = question()
        return answer

    async def notify(self, n: int = 1) -> int:
        """Tells so many of those who wait, the one first who has waited longest. Returns how many. Raises `NotHeld`, `LockLost`."""
        return await self.lock.notify(self.name, n)

    async def notify_all(self) -> int:
        """Tells all who wait. Returns how many."""
        return await self.notify(gates.ALL)

    async def __aenter__(self) -> Self:
        await self.lock.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self.lock.__aexit__(*raised)

    def __repr__(self) -> str:
        return f"<coopy.aio.Condition {self.name!r} of {self.lock!r}>"


class Event(Handle[gates.Event]):
    """A `coopy.sync.Event` for tasks: a flag that anybody sets and clears, and many wait for.

    >>> import asyncio
    >>> from coopy import aio
    >>> from coopy.sync import Locks
    >>> async def main():
    ...     async with aio.open(Locks, "ready") as locks:
    ...         ready = aio.Event("ready", system=locks)
    ...         return await ready.wait(timeout=0.01), await ready.set(), await ready.wait(), await ready.is_set()
    >>> asyncio.run(main())
    (False, None, True, True)
    """

    def __init__(self, name: str, *, system: Any = None) -> None:
        super().__init__(name, system, lambda system: gates.Event(name, system=system))

    async def set(self) -> None:
        """Sets it: all who wait go on."""
        await in_executor((await self.opened()).set)

    async def clear(self) -> None:
        """Clears it: who waits from now on waits until it is set again."""
        await in_executor((await self.opened()).clear)

    async def is_set(self) -> bool:
        """Returns whether it is set, as far as this process knows."""
        return await in_executor((await self.opened()).is_set)

    async def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set; as `coopy.sync.Event.wait`."""
        until_ns = moment_after(timeout)
        return await self._wait(lambda handle, asker: handle.waiting(asker, until_ns))

    def __repr__(self) -> str:
        return f"<coopy.aio.Event {self.name!r} at {id(self):#x}>"


class Barrier(Handle[gates.Barrier]):
    """A `coopy.sync.Barrier` for tasks: a place where ``parties`` wait for one another. A task that is cancelled while it waits breaks it.

    ``async with barrier as place`` waits, as with asyncio.Barrier.

    >>> import asyncio
    >>> from coopy import aio
    >>> from coopy.sync import Locks
    >>> async def main():
    ...     async with aio.open(Locks, "start") as locks:
    ...         start = aio.Barrier("start", 2, system=locks)
    ...         return sorted(await asyncio.gather(start.wait(), start.wait())), await start.broken()
    >>> asyncio.run(main())
    ([0, 1], False)
    """

    def __init__(
        self, name: str, parties: int, timeout: float | None = None, *, system: Any = None, ttl: float = TTL_S
    ) -> None:
        gates.check_number("parties", parties)
        super().__init__(name, system, lambda system: gates.Barrier(name, parties, timeout, system=system, ttl=ttl))
        self.parties = parties
        """How many must come."""

    async def wait(self, timeout: float | None = None) -> int:
        """Comes, and waits until all have come; as `coopy.sync.Barrier.wait`."""
        return await self._wait(lambda handle, asker: handle.waiting(asker, timeout))

    async def abort(self) -> None:
        """Breaks it; as `coopy.sync.Barrier.abort`."""
        await in_executor((await self.opened()).abort)

    async def reset(self) -> None:
        """Makes it whole; as `coopy.sync.Barrier.reset`."""
        await in_executor((await self.opened()).reset)

    async def n_waiting(self) -> int:
        """Returns how many wait, of all processes, as far as this one knows."""
        return len(await self.contenders())

    async def broken(self) -> bool:
        """Returns whether it is broken, as far as this process knows."""
        handle = await self.opened()
        return await in_executor(lambda: handle.broken)

    async def __aenter__(self) -> int:
        return await self.wait()

    async def __aexit__(self, *_: object) -> None:
        pass

    def __repr__(self) -> str:
        return f"<coopy.aio.Barrier {self.name!r} at {id(self):#x}: for {self.parties}>"
