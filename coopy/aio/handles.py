"""What the twins of `coopy.sync` have in common: a task waits, and the loop goes on.

A twin has the handle that threads would have, and takes the steps of its waits (`coopy.sync.waits`) in threads of the loop's executor, one for each call and none for
a task that waits. Renewing needs neither the loop nor the executor, so a loop that is held up loses nothing.

A task that is cancelled closes its wait, which gives up what it has asked for, or has got just now. If a step is being taken at that moment, the thread that takes it
closes the wait after it: so that is done also if the loop ends meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from coopy import UsageError
from coopy.aio.opening import system_of
from coopy.aio.proxy import Proxy
from coopy.errors import NotHeld
from coopy.ground.raised import on_failure
from coopy.sync import boot
from coopy.sync.claims import Asker
from coopy.sync.lock import Handle as ThreadHandle
from coopy.sync.waits import TAKE, Wait

H = TypeVar("H", bound=ThreadHandle)
T = TypeVar("T")


async def in_executor(function: Callable[..., T], *args: Any, if_cancelled: Callable[[], object] | None = None) -> T:
    """Calls a function in a thread. Returns what it returns, and raises what it raises.

    If the task is cancelled meanwhile, the function comes to its end all the same, and then ``if_cancelled`` is called; with that, a function that has
    not been begun is not called at all.
    """
    over: Future[None] = Future()

    def call() -> T | None:
        if not over.set_running_or_notify_cancel():
            return None
        try:
            return function(*args)
        finally:
            over.set_result(None)

    called: asyncio.Future[Any] = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        found: T = await asyncio.shield(called)
        return found
    except asyncio.CancelledError:
        called.add_done_callback(_seen)
        if if_cancelled is not None:
            undo = if_cancelled
            over.cancel()
            over.add_done_callback(lambda _: undo())
        raise


def _seen(called: asyncio.Future[Any]) -> None:
    """Has asyncio not complain that nobody was told what a function raised: its task was cancelled."""
    if not called.cancelled():
        called.exception()


class Moved:
    """An event that any thread may set, and one task waits for."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        """Has the task look again."""
        with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        """Says that the task looks now."""
        self._event.clear()

    async def wait(self, limit_ns: int) -> None:
        """Waits until it is set, or for so many nanoseconds."""
        # Not asyncio.wait_for: before Python 3.12 a task that is cancelled at the moment of the event goes on as if it was not.
        timer = self._loop.call_later(min(limit_ns / boot.NS, threading.TIMEOUT_MAX), self._event.set)
        try:
            await self._event.wait()
        finally:
            timer.cancel()


def _step(wait: Wait[T]) -> tuple[int, T | None, bool]:
    """Takes a step. Returns for how long to wait then; or what was waited for, and that it was the last one."""
    try:
        return next(wait), None, False
    except StopIteration as end:
        return TAKE, end.value, True


async def in_loop(wait: Wait[T], moved: Moved) -> T:
    """Waits while the loop goes on. Returns what the wait returns, and raises what it raises."""
    while True:
        left_ns, value, is_over = await in_executor(_step, wait, if_cancelled=wait.close)
        if left_ns == TAKE and not is_over:
            # It calls nothing, and so there is no moment for the task to be cancelled in between.
            left_ns, value, is_over = _step(wait)
        if is_over:
            return value  # type: ignore[return-value]
        with on_failure(wait.close):
            await moved.wait(left_ns)


async def told(callback: Callable[[], object] | None) -> None:
    """Calls a callback, if there is one: a function or a coroutine function."""
    found = callback() if callback is not None else None
    if isinstance(found, Awaitable):
        await found


class Handle(Generic[H]):
    """What all twins have. They are made without a loop, and belong to the one in which they are used first."""

    def __init__(self, name: str, system: Any, make: Callable[[Any], H]) -> None:
        self.name = name
        self._system = system_of(system) if isinstance(system, Proxy) else system
        self._make = make
        self._opening: asyncio.Future[H] | None = None
        self._handle: H | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refuses = False

    async def opened(self) -> H:
        """Returns the handle of threads, which is made in a thread, as that waits for the system. Raises `UsageError` in another loop than before."""
        loop = asyncio.get_running_loop()
        if self._opening is None:
            self._loop = loop
            self._opening = asyncio.ensure_future(in_executor(self._make, self._system))
            self._opening.add_done_callback(self._was_opened)
        if loop is not self._loop:
            raise UsageError(f"{self!r} is used in another event loop than before: make one for each loop")
        self._handle = await asyncio.shield(self._opening)
        if self._refuses:
            self._handle.refuse()
        return self._handle

    def _was_opened(self, opening: asyncio.Future[H]) -> None:
        if opening.cancelled() or opening.exception() is not None:
            self._opening = None  # The next one tries again.

    async def contenders(self) -> list[str]:
        """Returns who holds it and who waits for it, in order: host, process and number of each."""
        return await in_executor((await self.opened()).contenders)

    def cancel(self) -> None:
        """Has all who wait by this handle give up, as if it was not to be had in time."""
        if self._handle is not None:
            self._handle.cancel()

    def refuse(self) -> None:
        """Has all who wait by this handle give up, and nobody get anything from now on."""
        self._refuses = True
        if self._handle is not None:
            self._handle.refuse()

    async def close(self) -> None:
        """Gives back what is held, and ends. Those who wait are cancelled."""
        if self._handle is not None:
            await in_executor(self._handle.close)

    async def _wait(self, waits: Callable[[H, Asker], Wait[T]]) -> T:
        """Waits, as this task."""
        handle, moved = await self.opened(), Moved()
        return await in_loop(waits(handle, Asker(asyncio.current_task(), moved, "task")), moved)

    def _used(self) -> H:
        """Returns the handle of threads. Raises `NotHeld` if nothing was asked for by it yet."""
        if self._handle is None:
            raise NotHeld(f"{self.name!r} is not held by this handle. Nothing has changed.")
        return self._handle
