"""Who waits in an event loop: for a ring, see `coopy.ground.bell`, and for the end of a call that must not be left half way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from coopy.ground.bell import Waiter

T = TypeVar("T")


async def to_its_end(call: Awaitable[T]) -> T:
    """Awaits a call, which comes to its end also if the task is cancelled; then it is raised after that."""
    called = asyncio.ensure_future(call)
    cancelled: asyncio.CancelledError | None = None
    while not called.done():
        try:
            await asyncio.wait([called])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not called.cancelled():
            called.exception()  # Or asyncio complains that nobody was told.
        raise cancelled
    return called.result()


async def or_given_back(call: Awaitable[T], give_back: Callable[[T], Awaitable[Any]]) -> T:
    """Awaits a call that takes something. If the task is cancelled meanwhile nobody gets it, so it is given back."""
    called = asyncio.ensure_future(call)
    try:
        return await to_its_end(called)
    except asyncio.CancelledError:
        if called.done() and not called.cancelled() and called.exception() is None:
            await to_its_end(give_back(called.result()))
        raise


class WaiterInLoop(Waiter):
    """One who waits in an event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def wake(self) -> bool:
        """See `Waiter.wake`."""
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:
            return False  # The loop is closed: nobody waits any more.
        return True

    async def wait_in_loop(self, seconds: float | None) -> bool:
        """As `Waiter.wait`, while the loop goes on."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        self._news.clear()
        return True
