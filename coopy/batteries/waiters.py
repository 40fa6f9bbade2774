"""Who waits for a ring in an event loop; see `coopy.ground.bell`."""

from __future__ import annotations

import asyncio

from coopy.ground.bell import Waiter


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
