"""The same event source from asyncio: what waits for the disk or for a lease waits in a thread, what waits for events holds none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from coopy import SystemClosed
from coopy.ground.raised import as_awaited
from coopy.messaging.events import EventSource
from coopy.messaging.events_follow import LEASE_S, RAISE, Filter, Following
from coopy.messaging.events_kinds import ANY, AlreadyAppended, Appended, Event, NotAppended, Position

if TYPE_CHECKING:
    from typing_extensions import Self

_TRY_S = 0.5
"""For so long a thread waits for a lease before it looks whether the task still does."""
_READ = 256  # So many events are read by one call of a thread.


class AsyncEventSource:
    """An `EventSource` whose methods are awaited. Its arguments are the same; it must be opened by ``async with``.

    >>> async def main():
    ...     async with AsyncEventSource("events") as source:
    ...         await source.append("order-7", b"placed")
    ...         async with source.follow("mail") as following:
    ...             async for event in following:
    ...                 await following.ack(event)
    ...                 return event.data
    >>> asyncio.run(main())
    b'placed'
    """

    def __init__(self, log_store_path: str = "logs", **options: Any) -> None:
        self._arguments = (log_store_path, options)
        self._source: EventSource | None = None

    @property
    def source(self) -> EventSource:
        """The event source itself, for what is not here; its methods hold up the loop."""
        assert self._source is not None, "it is opened by `async with`"
        return self._source

    async def append(
        self, stream: str, events: Any, expected: int = ANY, id: str | None = None
    ) -> Appended | AlreadyAppended | NotAppended:
        """Like `EventSource.append`. A task that is cancelled may have appended, or not: repeat it with the same id."""
        return await asyncio.to_thread(as_awaited, self.source.append, stream, events, expected, id)

    async def get(self, offset: int) -> Event:
        """Like `EventSource.get`."""
        return await asyncio.to_thread(as_awaited, self.source.get, offset)

    async def read(
        self, stream: str | None = None, from_: int | Position | None = None, backwards: bool = False, on_gap: str = RAISE
    ) -> AsyncIterator[Event]:
        """Like `EventSource.read`."""
        events = self.source.read(stream, from_, backwards, on_gap)

        def some() -> list[Event]:
            return [event for _, event in zip(range(_READ), events, strict=False)]

        while found := await asyncio.to_thread(as_awaited, some):
            for event in found:
                yield event

    def follow(
        self,
        name: str,
        from_: int | Position | None = None,
        filter: Filter = None,
        *,
        on_gap: str = RAISE,
        lease: float = LEASE_S,
    ) -> AsyncFollowing:
        """Like `EventSource.follow`."""
        return AsyncFollowing(self.source.follow(name, from_, filter, on_gap=on_gap, lease=lease), self.source)

    async def close(self) -> None:
        """Makes everything durable and lets the directory go."""
        await asyncio.to_thread(self.source.close)

    async def __aenter__(self) -> Self:
        path, options = self._arguments
        self._source = await asyncio.to_thread(lambda: EventSource(path, **options))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class AsyncFollowing:
    """A `Following` whose events are awaited. A task that is cancelled while it waits has lost none."""

    def __init__(self, following: Following, source: EventSource) -> None:
        self._following = following
        self._source = source
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def position(self) -> int:
        """See `Following.position`."""
        return self._following.position

    async def next(self) -> Event | None:
        """Returns the next event; None if this, or the source, is closed. Raises what `Following.next` raises."""
        while not self._following.closed:
            try:
                if not await self._acquire():
                    break
                if (event := self._following.pop()) is not None:
                    return event
                self._woken.clear()
                if not await asyncio.to_thread(as_awaited, self._following.fill) and not self._source.news().ended:
                    await self._woken.wait()
            except SystemClosed:
                break
        return None

    async def ack(self, event: Event | None = None) -> None:
        """Like `Following.ack`."""
        await asyncio.to_thread(self._following.ack, event)

    async def park(self, event: Event, why: object = "") -> None:
        """Like `Following.park`."""
        await asyncio.to_thread(self._following.park, event, why)

    def retry(self, event: Event) -> None:
        """Like `Following.retry`."""
        self._following.retry(event)

    async def close(self) -> None:
        """Lets the name go."""
        try:
            await asyncio.to_thread(self._following.close)
        finally:
            if self._loop is not None:
                self._source.news().on_news(self._wake, False)
                self._loop = None
            self._woken.set()

    async def _acquire(self) -> bool:
        """Waits until no other process follows by this name. Returns False if this is closed."""
        if self._loop is None:
            while not await asyncio.to_thread(self._following.acquire, _TRY_S):
                if self._following.closed:
                    return False
            self._loop = asyncio.get_running_loop()
            self._source.news().on_news(self._wake, True)
        return True

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(self._woken.set)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self.next()
        if event is None:
            raise StopAsyncIteration
        return event

    async def __aenter__(self) -> Self:
        await self._acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
