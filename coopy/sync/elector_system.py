"""An elector that is open: its time is kept, those who wait for a lock are woken, and it says how it is.

Everything here runs in one event loop, but the timekeeper and what tells of actions, which have threads of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from uuid import uuid4

from coopy import control
from coopy.sync.elector import Seen
from coopy.sync.ticks import Count
from coopy.sync.timekeeper import Timekeeper

WAITING_MAX = 128
"""So many requests may wait at once; more are answered at once. They are fewer than there may be connections, so none is kept out by them."""
_STOPPED = "stopped"
"""The state of a node that does not begin again by itself."""


class _Time:
    """What a timekeeper asks of an elector, from its thread."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def count(self) -> Count:
        found: Count = self._system.count()
        return found

    def tick(self, timekeeper: str, beat: int, elapsed_ns: int) -> object:
        return self._system.tick(timekeeper, beat, elapsed_ns)

    def claim(self, timekeeper: str, beat: int, anew: bool) -> object:
        return self._system.claim(timekeeper, beat, anew)

    def leads(self) -> bool:
        status = control(self._system).status()
        return "leader" not in status or status["leader"] == status["self"]


class OpenElector:
    """The locks of an elector, for a `coopy.sync.elector_protocol.Sidecar`. To be made and used in one event loop.

    ``calls`` is the system as `coopy.aio.open` returns it, ``system`` the same for threads.
    """

    def __init__(self, calls: Any, system: Any) -> None:
        self._calls = calls
        self._system = system
        self._loop = asyncio.get_running_loop()
        self._bell = asyncio.Event()
        """Rings once, at the next action."""
        self._waiting = 0
        self._is_closing = False
        self._keeper = Timekeeper(uuid4().hex, _Time(system))
        self._subscription = control(system).subscribe(self._told)
        self._keeper.start()

    # -- what is asked

    async def get(self, name: str) -> Seen | None:
        """See `Elector.get`."""
        found: Seen | None = await self._calls.get(name)
        return found

    async def take(self, name: str, owner: str, ttl_ns: int) -> tuple[bool, Seen]:
        """See `Elector.take`."""
        found: tuple[bool, Seen] = await self._calls.take(name, owner, ttl_ns)
        return found

    async def create(self, name: str, owner: str, ttl_ns: int) -> Seen | None:
        """See `Elector.create`."""
        found: Seen | None = await self._calls.create(name, owner, ttl_ns)
        return found

    async def free(self, name: str, owner: str, token: int | None) -> tuple[bool, Seen | None]:
        """See `Elector.free`."""
        found: tuple[bool, Seen | None] = await self._calls.free(name, owner, token)
        return found

    async def until_free(self, name: str, ends: float) -> bool:
        """See `coopy.sync.elector_protocol.Calls`."""
        if self._waiting >= WAITING_MAX:
            return False
        self._waiting += 1
        try:
            while not self._is_closing:
                # Before the look, so that what changes after it is heard.
                bell = self._bell
                if not await self._calls.is_held(name):
                    return True
                left_s = ends - self._loop.time()
                if left_s <= 0:
                    return False
                try:
                    await asyncio.wait_for(bell.wait(), left_s)
                except asyncio.TimeoutError:
                    return False
            return False
        finally:
            self._waiting -= 1

    # -- how it is

    def leads(self) -> bool:
        """Whether this node leads, or there are no others. May be called in any thread."""
        return _Time(self._system).leads()

    def problem(self) -> str | None:
        """Returns why it can't answer now; None if it can. May be called in any thread."""
        status = control(self._system).status()
        if status.get("state", "ready") != "ready":
            return f"this node is {status['state']}: {status['problem'] or 'it goes on by itself'}"
        return None if status.get("has_quorum", True) else "no majority of the nodes is there"

    def stopped(self) -> str | None:
        """Returns why it will not go on by itself, and must be started again; None if it goes on. May be called in any thread."""
        if control(self._system).closed:
            return "the system is closed"
        status = control(self._system).status()
        return f"this node has stopped: {status['problem']}" if status.get("state") == _STOPPED else None

    # -- its end

    def let_go(self) -> None:
        """Answers all that wait: they get no lock."""
        self._is_closing = True
        self._ring()

    def close(self) -> None:
        """Keeps no time any more, and is told of nothing. The system stays open, and so do the locks. May be called in any thread."""
        self._keeper.close()
        self._subscription.close()

    def _told(self, first: int, last: int) -> None:
        # In the thread of the subscription.
        self._keeper.hear()
        self._keeper.wake()
        with contextlib.suppress(RuntimeError):  # The loop has ended, and with it all that wait.
            self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()
