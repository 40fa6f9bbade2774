"""The message bus from asyncio: the same members, the same link, and nothing that waits in the loop.

What comes is put into a subscription's queue by the thread that reads, and the loop is woken once for all that came together.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Future
from typing import Any, Generic, TypeVar, overload

from coopy import SystemClosed, Unavailable
from coopy.ground.raised import last_resort
from coopy.messaging.bus import REQUEST_S, TIMEOUT_S, Bus
from coopy.messaging.bus_core import positive
from coopy.messaging.bus_message import Message, Missed
from coopy.messaging.bus_service import Service, refuse_bare
from coopy.messaging.bus_subscription import WAITING_BYTES_MAX, WAITING_MESSAGES_MAX, Subscription, callback_raised

T = TypeVar("T")
V = TypeVar("V")

_AT_ONCE = 64
"""What is taken from the queue at once, before other tasks have their turn."""
_log = logging.getLogger("coopy.bus")

AsyncCallback = Callable[[Message[T]], Awaitable[object] | object]


class AsyncSubscription(Generic[T]):
    """Messages of a pattern, as they come. Made by `AsyncBus.subscribe`; ends with `close`, or an ``async with``.

    >>> async with await bus.subscribe("orders.*") as orders:
    ...     async for message in orders:
    ...         print(message.value)
    """

    def __init__(self, subscription: Subscription[T]) -> None:
        self._subscription = subscription
        self._loop = asyncio.get_running_loop()
        self._there = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._taken: list[Message[T] | Missed] = []
        """Taken from the queue, and not given yet; the next is the last."""
        self._asked = False
        """Whether the loop was asked to wake whoever waits, and has not yet."""
        subscription.woken = self._woken

    def _woken(self) -> None:
        # In the thread that reads. Asking the loop takes microseconds, so it is asked once for all that comes meanwhile.
        if not self._asked:
            self._asked = True
            # Closed: nobody waits any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._asked = False
        self._there.set()

    @property
    def pattern(self) -> str:
        return self._subscription.pattern

    @property
    def missed(self) -> int:
        """How many messages are known to be lost to this subscription so far."""
        return self._subscription.missed

    async def get(self, timeout: float | None = None) -> Message[T]:
        """Returns the next message; see `Subscription.get`. Raises TimeoutError, and `SystemClosed` at the end."""
        if timeout is None:
            return await self._next()
        try:
            return await asyncio.wait_for(self._next(), timeout)
        except asyncio.TimeoutError:
            raise TimeoutError(f"no message on {self.pattern} came in time") from None

    async def _next(self) -> Message[T]:
        while True:
            if not self._taken:
                self._there.clear()
                self._taken = self._subscription.take(_AT_ONCE)
                self._taken.reverse()
                if not self._taken:
                    if self._subscription.closed:
                        raise SystemClosed(f"the subscription to {self.pattern} has ended, and all that came was taken")
                    await self._there.wait()
                    continue
            found = self._taken.pop()
            if isinstance(found, Missed):
                self._subscription.tell(found)
            else:
                return found

    async def __aiter__(self) -> AsyncIterator[Message[T]]:
        while True:
            try:
                yield await self._next()
            except SystemClosed:
                return

    def call(self, callback: AsyncCallback[T]) -> None:
        """Has a task call ``callback`` with each message, and await it, one after the other."""
        self._task = self._loop.create_task(self._serve(callback), name=f"coopy bus {self.pattern}")

    async def _serve(self, callback: AsyncCallback[T]) -> None:
        async for message in self:
            with last_resort(callback_raised, self.pattern):
                found = callback(message)
                if inspect.isawaitable(found):
                    await _unless_cancelled(found)

    async def close(self) -> None:
        """Ends the subscription; a callback is still called with what has come. Closing twice is fine."""
        await asyncio.to_thread(self._subscription.close)
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait([self._task])

    async def __aenter__(self) -> AsyncSubscription[T]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncBus:
    """A member of a bus, used from one event loop. Takes the arguments of `Bus`, or a `Bus` that is open, which it does not close.

    >>> async with AsyncBus("run/bus") as bus:
    ...     await bus.publish("orders.new", {"article": "tea"})
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._arguments, self._options = arguments, options
        self._given = arguments[0] if arguments and isinstance(arguments[0], Bus) else None
        self._opened: Bus | None = self._given
        self._subscriptions: list[AsyncSubscription[Any]] = []

    async def __aenter__(self) -> AsyncBus:
        if self._opened is None:
            self._opened = await asyncio.to_thread(Bus, *self._arguments, **self._options)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def sync(self) -> Bus:
        """The same member, for threads. Raises `SystemClosed` before ``async with``."""
        if self._opened is None:
            raise SystemClosed("the bus is not open: use `async with AsyncBus(...) as bus`")
        return self._opened

    @property
    def publisher(self) -> str:
        """The name of this member; see `Bus.publisher`."""
        return self.sync.publisher

    async def publish(self, subject: str, value: object, headers: Mapping[str, str] | None = None) -> None:
        """Sends a message; see `Bus.publish`. Lets the loop go on while the server takes less than is published."""
        core = self.sync.core
        if core.link.crowded:
            await asyncio.to_thread(core.link.make_room, core.timeout_s)
        core.publish(subject, value, headers)

    @overload
    async def subscribe(
        self,
        pattern: str,
        callback: AsyncCallback[Any] | None = ...,
        *,
        group: str = ...,
        missed: Callable[[Missed], object] | None = ...,
        waiting: int = ...,
        waiting_bytes: int = ...,
    ) -> AsyncSubscription[Any]: ...

    @overload
    async def subscribe(
        self,
        pattern: str,
        callback: AsyncCallback[V] | None = ...,
        *,
        type: type[V],
        group: str = ...,
        missed: Callable[[Missed], object] | None = ...,
        waiting: int = ...,
        waiting_bytes: int = ...,
    ) -> AsyncSubscription[V]: ...

    async def subscribe(
        self,
        pattern: str,
        callback: AsyncCallback[Any] | None = None,
        *,
        type: Any = None,
        group: str = "",
        missed: Callable[[Missed], object] | None = None,
        waiting: int = WAITING_MESSAGES_MAX,
        waiting_bytes: int = WAITING_BYTES_MAX,
    ) -> AsyncSubscription[Any]:
        """Returns messages of a pattern, once the server has it; see `Bus.subscribe`. ``callback`` may be a coroutine function."""
        found = AsyncSubscription(self.sync.core.subscribe(pattern, group, type, missed, waiting, waiting_bytes))
        self._subscriptions.append(found)
        if callback is not None:
            found.call(callback)
        await self.flush()
        return found

    async def flush(self, timeout: float | None = None) -> None:
        """Returns when the server has all that was sent before. Raises `Unavailable`."""
        core = self.sync.core
        seconds = core.timeout_s if timeout is None else positive("timeout", timeout)
        if not await _done(core.flushed(), seconds):
            raise Unavailable(f"the server did not answer within {seconds:g} s. What was sent may have arrived.")

    async def wait_for_subscribers(self, subject: str, count: int = 1, timeout: float = TIMEOUT_S) -> None:
        """Returns when so many subscriptions hear a subject; see `Bus.wait_for_subscribers`."""
        await asyncio.to_thread(self.sync.wait_for_subscribers, subject, count, timeout)

    async def request(
        self,
        subject: str,
        value: object = None,
        *,
        type: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = REQUEST_S,
    ) -> Message[Any]:
        """Sends a question, and returns the first answer; see `Bus.request`."""
        core = self.sync.core
        asked = core.ask(subject, value, headers, positive("timeout", timeout))
        if not await _done(asked, timeout):
            asked.cancel()
            raise core.too_late(subject, timeout)
        return core.message(subject, asked.result(), type)

    async def call(self, subject: str, value: object = None, *, type: Any = None, timeout: float = REQUEST_S) -> Any:
        """Returns the value of the answer; see `Bus.call`."""
        return (await self.request(subject, value, type=type, timeout=timeout)).value

    async def service(
        self, name: str, version: str = "0.0.1", description: str = "", metadata: Mapping[str, str] | None = None
    ) -> AsyncService:
        """Starts a service whose endpoints are coroutine functions; see `Bus.service`."""
        service = await asyncio.to_thread(self.sync.service, name, version, description, metadata)
        return AsyncService(self, service)

    async def services(self, name: str = "", timeout: float = 0.5) -> list[dict[str, Any]]:
        """Returns what services say of themselves; see `Bus.services`."""
        return await asyncio.to_thread(self.sync.services, name, timeout)

    async def close(self) -> None:
        """Ends all that was begun here, and the bus, unless it was given."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for each in subscriptions:
            await each.close()
        if self._opened is not None and self._given is None:
            await asyncio.to_thread(self._opened.close)


class AsyncService:
    """Coroutine functions that answer requests. Made by `AsyncBus.service`.

    >>> async with await bus.service("sums") as sums:
    ...     @sums.endpoint()
    ...     async def add(numbers):
    ...         return sum(numbers)
    """

    def __init__(self, bus: AsyncBus, service: Service) -> None:
        self._loop = asyncio.get_running_loop()
        self._service = service

    def endpoint(
        self, name: str = "", *, subject: str = "", type: Any = None, message: bool = False
    ) -> Callable[[Callable[[Any], Awaitable[Any]]], Callable[[Any], Awaitable[Any]]]:
        """Lets a coroutine function answer requests, one after the other; see `Service.endpoint`. Await `AsyncBus.flush` before others ask."""

        refuse_bare(name)

        def add(function: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
            def answer(value: Any) -> Any:
                return asyncio.run_coroutine_threadsafe(_awaited(function, value), self._loop).result()

            self._service.add_endpoint(answer, name or function.__name__, subject=subject, type=type, message=message)
            return function

        return add

    async def close(self) -> None:
        """Takes no more requests; those that have come are answered."""
        await asyncio.to_thread(self._service.close)

    async def __aenter__(self) -> AsyncService:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _awaited(function: Callable[[Any], Awaitable[Any]], value: Any) -> Any:
    return await function(value)


async def _unless_cancelled(found: Awaitable[object]) -> None:
    """Awaits a callback. If what it awaits itself was cancelled, and not this task, that is an error of its own, and not the end of all callbacks."""
    try:
        await found
    except asyncio.CancelledError as error:
        # Python 3.10 does not say whose end it is.
        if getattr(asyncio.current_task(), "cancelling", lambda: 1)():
            raise
        raise RuntimeError("what the callback awaited was cancelled") from error


async def _done(future: Future[Any], timeout: float) -> bool:
    """Whether something is done in time."""
    done, _ = await asyncio.wait([asyncio.wrap_future(future)], timeout=timeout)
    return bool(done)
