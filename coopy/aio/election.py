"""`coopy.sync.Election` for tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from coopy import UsageError
from coopy.aio.handles import told
from coopy.aio.locks import Lock
from coopy.errors import ClusterError, LockLost, NotHeld
from coopy.sync.election import PAUSE_S, Term, takes_term
from coopy.sync.lock import TTL_S


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
        ttl: float = TTL_S,
        lock_delay: float = 0.0,
    ) -> None:
        self.name = name
        self._work = master_fn
        self._lost = lost_master_fn
        self.lock = Lock(name, None, self._on_lost, system=system, ttl=ttl, lock_delay=lock_delay)
        """The lock that the one which leads holds."""
        self._term: Term | None = None
        self._task: asyncio.Future[object] | None = None
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
        self.lock.refuse()
        if self._task is not None:
            self._task.cancel()

    async def _stand(self) -> bool:
        try:
            return await self.lock.acquire()
        except LockLost:
            return False
        except ClusterError:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._shut.wait(), PAUSE_S)
            return False

    async def _lead(self) -> bool:
        try:
            term = self._term = Term(await self.lock.opened(), asyncio.Event())
        except LockLost:
            return False
        task = self._task = asyncio.ensure_future(self._works(term))
        if self._shut.is_set() or not term.leads:
            # A loss may have been told while there was no term.
            term.stop.set()
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
            try:
                with suppress(LockLost, NotHeld):
                    await self.lock.release()
            finally:
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
            await told(self._lost)

    def __repr__(self) -> str:
        return f"<Election {self.name!r}, {'leads' if self.leads else 'stands' if self._running else 'does not stand'}>"
