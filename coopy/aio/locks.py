"""The locks and elections of `coopy.sync` from asyncio: a task waits, and the loop goes on.

Recorded calls are made in threads of the loop's executor, one for each call and none for a task that waits. Renewing
needs neither the loop nor the executor, so a loop that is held up loses nothing.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from coopy import UsageError
from coopy.aio.opening import system_of
from coopy.aio.proxy import Proxy
from coopy.errors import ClusterError, LockLost, NotHeld
from coopy.ground.raised import on_failure
from coopy.sync import boot
from coopy.sync import lock as sync
from coopy.sync.claims import HOLDS, Asker, Claim
from coopy.sync.election import PAUSE_S, Term, takes_term

if TYPE_CHECKING:
    from typing_extensions import Self

R = TypeVar("R")


class _Moved:
    """An event that any thread may set, and one task waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def set(self) -> None:
        with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        self._event.clear()

    async def wait(self, limit_ns: int) -> None:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), min(limit_ns / boot.NS, threading.TIMEOUT_MAX))


async def _in_thread(function: Callable[..., R], *args: Any, undo: Callable[[R], object] | None = None) -> R:
    """Calls a function in a thread. If the task is cancelled meanwhile, what the function returns is given to ``undo``."""
    future = asyncio.get_running_loop().run_in_executor(None, function, *args)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if undo is not None:
            future.add_done_callback(lambda done: None if done.cancelled() or done.exception() else undo(done.result()))
        raise


class Lock:
    """A `coopy.sync.Lock` for tasks: ``async with lock:``. Tasks may share it; one of them holds it at a time.

    Args:
        name, ttl: as for `coopy.sync.Lock`.
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

    def __init__(
        self,
        name: str,
        lock_callback: Callable[[], object] | None = None,
        lock_lost_callback: Callable[[], object] | None = None,
        *,
        system: Any = None,
        ttl: float = sync.TTL_S,
    ) -> None:
        self.name = name
        self._system = system_of(system) if isinstance(system, Proxy) else system
        self._ttl = ttl
        self._callback = lock_callback
        self._lost_callback = lock_lost_callback
        self._opening: asyncio.Future[sync.Lock] | None = None
        self._handle: sync.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._entered: dict[object, list[Claim]] = {}
        self._tasks: set[asyncio.Future[Any]] = set()

    async def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Gets the lock; as `coopy.sync.Lock.acquire`. A task that is cancelled while it waits leaves no place behind."""
        return await self._acquired(blocking, timeout) is not None

    async def _acquired(self, blocking: bool = True, timeout: float | None = None) -> Claim | None:
        until_ns = sync.moment_of(blocking, timeout)
        handle, task = await self._open(), asyncio.current_task()
        if blocking and until_ns is None:
            handle.refuse_deadlock(task, "task")
        moved = _Moved(asyncio.get_running_loop())

        def give_up(claim: Claim) -> bool:
            return handle.had(claim, False)

        claim = await _in_thread(handle.ask, blocking, Asker(task, moved), undo=give_up)
        with on_failure(give_up, claim):
            if claim.state != HOLDS and blocking:
                while left_ns := await _in_thread(handle.step, claim, until_ns):
                    await moved.wait(left_ns)
        if not handle.had(claim):
            return None
        try:
            await self._call(self._callback)
        except BaseException:
            with suppress(LockLost, NotHeld):
                await _in_thread(handle.give_back, claim)
            raise
        return claim

    async def release(self) -> None:
        """Gives the lock to the next who waits; as `coopy.sync.Lock.release`."""
        if self._handle is None:
            raise NotHeld(f"the lock {self.name!r} is not held by this handle. Nothing has changed.")
        await _in_thread(self._handle.release)

    @property
    def held(self) -> bool:
        """Whether this handle has the lock, by this process's own clock. Asks nobody."""
        return self._handle is not None and self._handle.held

    @property
    def token(self) -> int:
        """The token of this holding. Raises `LockLost`, `NotHeld`."""
        return self._held().token

    @property
    def deadline(self) -> float:
        """When the lock is lost if it is not renewed before, in seconds of CLOCK_BOOTTIME. Raises `LockLost`, `NotHeld`."""
        return self._held().deadline

    def check(self) -> None:
        """Raises `LockLost` if the lock is lost, and `NotHeld` if it was not held."""
        self._held().check()

    async def renew(self) -> float:
        """Renews the lock now. Returns the new deadline."""
        return await _in_thread(self._held().renew)

    async def contenders(self) -> list[str]:
        """Returns who holds the lock and who waits for it, in order."""
        return await _in_thread((await self._open()).contenders)

    def cancel(self) -> None:
        """Has every `acquire` of this handle that waits return False."""
        if self._handle is not None:
            self._handle.cancel()

    async def close(self) -> None:
        """Gives back what is held, and ends."""
        if self._handle is not None:
            await _in_thread(self._handle.close)

    def _held(self) -> sync.Lock:
        if self._handle is None:
            raise NotHeld(f"the lock {self.name!r} is not held by this handle")
        return self._handle

    async def _open(self) -> sync.Lock:
        """Returns the handle, which is made in a thread, as that waits for the system."""
        if self._opening is None:
            self._loop = asyncio.get_running_loop()

            def make() -> sync.Lock:
                return sync.Lock(self.name, None, self._is_lost, system=self._system, ttl=self._ttl)

            self._opening = asyncio.ensure_future(_in_thread(make))
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError(f"the lock {self.name!r} is used in another event loop than before: make one for each loop")
        self._handle = await asyncio.shield(self._opening)
        return self._handle

    def _is_lost(self) -> None:
        assert self._loop is not None, "what is lost was acquired in a loop"
        with suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(self._tell_of_loss)

    def _tell_of_loss(self) -> None:
        task = asyncio.ensure_future(self._call(self._lost_callback))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _call(callback: Callable[[], object] | None) -> None:
        found = callback() if callback is not None else None
        if isinstance(found, Awaitable):
            await found

    async def __aenter__(self) -> Self:
        claim = await self._acquired()
        if claim is None:
            raise LockLost(self.name, 0, "cancel() was called while this waited")
        self._entered.setdefault(asyncio.current_task(), []).append(claim)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task = asyncio.current_task()
        claim = self._entered[task].pop()
        if not self._entered[task]:
            del self._entered[task]
        try:
            await _in_thread(self._held().give_back, claim)
        except (LockLost, NotHeld):
            if error is None:
                raise

    def __repr__(self) -> str:
        return f"<{'locked' if self.held else 'unlocked'} coopy.aio.Lock object {self.name!r} at {id(self):#x}>"


class Election:
    """A `coopy.sync.Election` for tasks: ``await election.run()``. ``master_fn`` is a coroutine function, whose task is cancelled if leading is lost.

    ``term.stop`` is an asyncio.Event. ``lost_master_fn`` is a function or a coroutine function, and called in the loop.

    >>> import asyncio
    >>> from coopy import aio
    >>> from coopy.sync import Locks
    >>> async def lead(term):
    ...     print("leads with token", term.token)
    >>> async def main():
    ...     async with aio.open(Locks, "locks") as locks:
    ...         await aio.Election("shard 1", lead, system=locks).run()
    >>> asyncio.run(main())
    leads with token 1
    """

    def __init__(
        self,
        name: str,
        master_fn: Callable[..., Awaitable[object]],
        lost_master_fn: Callable[[], object] | None = None,
        *,
        system: Any = None,
        ttl: float = sync.TTL_S,
    ) -> None:
        self.name = name
        self._work = master_fn
        self._lost = lost_master_fn
        self.lock = Lock(name, None, self._on_lost, system=system, ttl=ttl)
        """The lock that the one which leads holds."""
        self._term: Term | None = None
        self._task: asyncio.Future[object] | None = None
        self._standing: asyncio.Task[bool] | None = None
        self._running = False
        self._shut = asyncio.Event()

    @property
    def leads(self) -> bool:
        """Whether this process leads, by its own clock."""
        return self.lock.held

    async def contenders(self) -> list[str]:
        """Returns who leads, and then those who stand, in order."""
        return await self.lock.contenders()

    async def run(self) -> None:
        """Stands, leads, and stands again, until ``master_fn`` returns by itself or `shutdown` is called; see `coopy.sync.Election.run`."""
        if self._running:
            raise UsageError(f"the election for {self.name!r} runs already, in another task")
        self._running = True
        try:
            while not self._shut.is_set():
                if await self._stand() and await self._lead():
                    return
        finally:
            self._running = False

    def shutdown(self) -> None:
        """Ends it: cancels the work, and has `run` return when that has ended. To be called in the loop."""
        self._shut.set()
        if self._term is not None:
            self._term.stop.set()
        for task in (self._task, self._standing):
            if task is not None:
                task.cancel()

    async def _stand(self) -> bool:
        self._standing = asyncio.ensure_future(self.lock.acquire())
        try:
            return await self._standing
        except asyncio.CancelledError:
            if self._shut.is_set() and self._standing.cancelled():
                return False
            self._standing.cancel()
            raise
        except LockLost:
            return False
        except ClusterError:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._shut.wait(), PAUSE_S)
            return False
        finally:
            self._standing = None

    async def _lead(self) -> bool:
        handle = await self.lock._open()
        term = Term(handle, asyncio.Event())
        self._term = term
        task = self._task = asyncio.ensure_future(self._works(term))
        if self._shut.is_set() or not term.leads:
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled() or not term.stop.is_set():
                task.cancel()
                raise
        except LockLost:
            term.stop.set()
        finally:
            by_itself = term.leads and not term.stop.is_set()
            self._task = None
            with suppress(LockLost, NotHeld):
                await self.lock.release()
            await self._tell_of_end()
        return by_itself

    async def _works(self, term: Term) -> object:
        return await self._work(*((term,) if takes_term(self._work) else ()))

    async def _on_lost(self) -> None:
        term = self._term
        if term is not None and not term.leads:
            term.stop.set()
            if self._task is not None:
                self._task.cancel()
            await self._tell_of_end()

    async def _tell_of_end(self) -> None:
        term, self._term = self._term, None
        if term is not None:
            await Lock._call(self._lost)

    def __repr__(self) -> str:
        return f"<Election {self.name!r}, {'leads' if self.leads else 'stands' if self._running else 'does not stand'}>"
