"""`coopy.sync.Lock` and `coopy.sync.RLock` for tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from coopy.aio.handles import Handle, in_executor, told
from coopy.sync import lock as sync
from coopy.sync.claims import Asker, Claim
from coopy.sync.lock import moment_after, moment_of
from coopy.sync.waits import Wait

if TYPE_CHECKING:
    from typing_extensions import Self


class Lock(Handle[sync.Lock]):
    """A `coopy.sync.Lock` for tasks: ``async with lock:``. Tasks may share it; one of them holds it at a time.

    Args:
        name, ttl, lock_delay: as for `coopy.sync.Lock`.
        lock_callback: called each time the lock was got; a function or a coroutine function.
        lock_lost_callback: called in the loop if the lock is lost; a function or a coroutine function.
        system: what `coopy.aio.open` has opened, or a system of `coopy.init_system`.

    >>> import asyncio
    >>> from coopy import aio
    >>> from coopy.sync import Locks
    >>> async def main():
    ...     async with aio.open(Locks, "turns") as locks, aio.Lock("stock", system=locks) as lock:
    ...         return lock.held, lock.token
    >>> asyncio.run(main())
    (True, 1)
    """

    _kind = sync.Lock

    def __init__(
        self,
        name: str,
        lock_callback: Callable[[], object] | None = None,
        lock_lost_callback: Callable[[], object] | None = None,
        *,
        system: Any = None,
        ttl: float = sync.TTL_S,
        lock_delay: float = 0.0,
    ) -> None:
        def make(system: Any) -> sync.Lock:
            return self._kind(name, None, self._is_lost, system=system, ttl=ttl, lock_delay=lock_delay)

        super().__init__(name, system, make)
        self._callback = lock_callback
        self._lost_callback = lock_lost_callback
        self._tasks: set[asyncio.Future[Any]] = set()

    async def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Gets the lock; as `coopy.sync.Lock.acquire`. A task that is cancelled while it waits leaves no place behind."""
        return await self._acquired(blocking, timeout) is not None

    async def _acquired(self, blocking: bool = True, timeout: float | None = None) -> Claim | None:
        until_ns = moment_of(blocking, timeout)
        claim = await self._wait(lambda handle, asker: handle.acquiring(asker, blocking, until_ns))
        if claim is not None and self._used().is_first():
            try:
                await told(self._callback)
            except BaseException:
                await in_executor(self._used().take_back, claim)
                raise
        return claim

    async def release(self) -> None:
        """Gives the lock to the next who waits; as `coopy.sync.Lock.release`."""
        await in_executor(self._used().release_by, asyncio.current_task())

    @property
    def held(self) -> bool:
        """Whether this handle has the lock, by this process's own clock. Asks nobody."""
        return self._handle is not None and self._handle.held

    @property
    def token(self) -> int:
        """The token of this holding. Raises `LockLost`, `NotHeld`."""
        return self._used().token

    @property
    def deadline(self) -> float:
        """When the lock is lost if it is not renewed before, in seconds of CLOCK_BOOTTIME. Raises `LockLost`, `NotHeld`."""
        return self._used().deadline

    def check(self) -> None:
        """Raises `LockLost` if the lock is lost, and `NotHeld` if it was not held."""
        self._used().check()

    async def renew(self) -> float:
        """Renews the lock now. Returns the new deadline."""
        return await in_executor(self._used().renew)

    async def sleep(self, condition: str, timeout: float | None) -> bool:
        """Puts the lock down, and waits to have it again; see `Condition.wait`."""
        until_ns = moment_after(timeout)

        def put_down(handle: sync.Lock, asker: Asker) -> Wait[bool]:
            wait = handle.sleeping(asker, condition, until_ns)
            next(
                wait
            )  # Here, as a task may be cancelled before a thread takes a step for it, and is not to have the lock then either.
            return wait

        return await self._wait(put_down)

    async def notify(self, condition: str, number: int) -> int:
        """Puts so many who sleep into the queue of this lock; see `Condition.notify`."""
        return await in_executor(self._used().notify, condition, number, asyncio.current_task())

    def _is_lost(self) -> None:
        assert self._loop is not None, "what is lost was acquired in a loop"
        with suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(self._tell_of_loss)

    def _tell_of_loss(self) -> None:
        task = asyncio.ensure_future(told(self._lost_callback))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __aenter__(self) -> Self:
        claim = await self._acquired()
        self._used().enter(asyncio.current_task(), claim)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        handle, task = self._used(), asyncio.current_task()
        await in_executor(handle.end, task, handle.left(task), error)

    def __repr__(self) -> str:
        return (
            f"<{'locked' if self.held else 'unlocked'} coopy.aio.{type(self).__name__} object {self.name!r} at {id(self):#x}>"
        )


class RLock(Lock):
    """A `Lock` that the task which holds it may acquire again; it is free after as many releases. Only that task may release it.

    >>> import asyncio
    >>> from coopy import aio
    >>> from coopy.sync import Locks
    >>> async def main():
    ...     async with aio.open(Locks, "again") as locks, aio.RLock("stock", system=locks) as lock:
    ...         async with lock:
    ...             return lock.held, lock.token
    >>> asyncio.run(main())
    (True, 1)
    """

    _kind = sync.RLock
