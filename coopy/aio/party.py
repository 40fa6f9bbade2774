"""`coopy.sync.Party` for tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from coopy import ClusterError, LockLost, SystemClosed, UsageError
from coopy.aio.election import Election
from coopy.aio.gates import Semaphore
from coopy.aio.handles import Moved
from coopy.sync import boot
from coopy.sync.election import PAUSE_S, Term
from coopy.sync.gates import ALL
from coopy.sync.lock import TTL_S
from coopy.sync.party import check_shards, members_of, share_of

if TYPE_CHECKING:
    from typing_extensions import Self


class Party:
    """A `coopy.sync.Party` for tasks: shares shards out among all processes that have joined, each to one of them.

    Args:
        name, shards, ttl: as for `coopy.sync.Party`.
        work: a coroutine function, called with the name of a shard and a `Term`, in a task of its own that is cancelled when this member is not to lead
            the shard any more. If it returns by itself, or raises, this member leads the shard no more until the members change.
        system: as for `Lock`.

    >>> import asyncio
    >>> from coopy import aio
    >>> from coopy.sync import Locks
    >>> async def work(shard, term):
    ...     await term.stop.wait()
    >>> async def main():
    ...     async with aio.open(Locks, "party") as locks, aio.Party("indexers", ["a-m", "n-z"], work, system=locks) as party:
    ...         return await party.wait_until_led(timeout=10), party.leads()
    >>> asyncio.run(main())
    (True, ['a-m', 'n-z'])
    """

    def __init__(
        self,
        name: str,
        shards: Sequence[str],
        work: Callable[[str, Term], Awaitable[object]],
        *,
        system: Any = None,
        ttl: float = TTL_S,
    ) -> None:
        check_shards(shards)
        self.name = name
        self.shards = list(shards)
        self._work = work
        self._system = system
        self._ttl = ttl
        self._membership = Semaphore(name, ALL, system=system, ttl=ttl)
        self._elections: dict[str, Election] = {}
        self._standing: dict[str, asyncio.Task[None]] = {}
        """The tasks in which this member stands, by shard."""
        self._led = asyncio.Event()
        self._closed = False
        self._news: Moved | None = None
        self._task: asyncio.Task[None] | None = None

    async def here(self) -> str:
        """Returns how this process is called among the members: host, process, and a random number."""
        return (await self._membership.opened()).here

    async def members(self) -> list[str]:
        """Returns the members, in the order in which they came."""
        return members_of(await self._membership.contenders())

    def leads(self) -> list[str]:
        """Returns the shards that this member leads, by its own clock."""
        return [shard for shard in self.shards if shard in self._elections and self._elections[shard].leads]

    async def join(self) -> None:
        """Joins, and begins. Raises what `Semaphore.acquire` raises, and `UsageError` if it has joined already."""
        if self._news is not None:
            raise UsageError(f"this member of {self.name!r} has joined already")
        news = self._news = Moved()
        try:
            await self._membership.acquire()
        finally:
            if not self._membership.held:
                self._news = None
        (await self._membership.opened()).watch(news, True)
        self._task = asyncio.ensure_future(self._run(news))

    async def wait_until_led(self, timeout: float | None = None) -> bool:
        """Waits until this member leads all shards that fall to it now. Returns False if that was not in so many seconds."""
        try:
            await asyncio.wait_for(self._until_led(), timeout)
        except asyncio.TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Cancels the work, waits for it, and leaves."""
        self._closed = True
        if self._task is not None and self._news is not None:
            self._news.set()
            await asyncio.shield(self._task)
        else:
            await self._membership.close()

    async def _until_led(self) -> None:
        while True:
            self._led.clear()
            if sorted(self.leads()) == sorted(await self._mine()):
                return
            await self._led.wait()

    async def _mine(self) -> list[str]:
        return share_of(self.shards, await self.members(), await self.here())

    async def _run(self, news: Moved) -> None:
        mine: list[str] | None = None
        try:
            while not self._closed:
                news.clear()
                try:
                    if not self._membership.held:
                        await self._join_again()
                    found = await self._mine()
                except (ClusterError, LockLost):
                    await news.wait(round(PAUSE_S * boot.NS))
                    continue
                except SystemClosed:
                    break  # And so is all that was led.
                if found != mine:
                    mine = found
                    self._share(mine)
                # A loss of the membership is no action.
                await news.wait(round(self._ttl / 2 * boot.NS))
        finally:
            self._share([])
            (await self._membership.opened()).watch(news, False)
            await asyncio.gather(*self._standing.values(), return_exceptions=True)
            await self._membership.close()

    async def _join_again(self) -> None:
        with suppress(LockLost, ValueError):
            await self._membership.release()
        await self._membership.acquire()

    def _share(self, mine: list[str]) -> None:
        """Cancels the work for what is another's, and begins that for what is this member's by now."""
        for shard in [each for each in self._elections if each not in mine]:
            self._elections.pop(shard).shutdown()
        for shard in mine:
            if shard not in self._elections or self._standing[shard].done():
                self._stand(shard)
        self._led.set()

    def _stand(self, shard: str) -> None:
        async def lead(term: Term) -> None:
            self._led.set()
            await self._work(shard, term)

        election = Election(f"{self.name}/{shard}", lead, system=self._system, ttl=self._ttl)

        async def run() -> None:
            with suppress(SystemClosed):
                await election.run()

        self._elections[shard] = election
        self._standing[shard] = asyncio.ensure_future(run())

    async def __aenter__(self) -> Self:
        await self.join()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<coopy.aio.Party {self.name!r}: leads {len(self.leads())} of {len(self.shards)} shards>"
