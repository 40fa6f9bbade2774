"""What waits for a structure, and does so outside of any action. It has more than 500 lines because each handle stands here twice, for
threads and for tasks.

An action must not wait: all other calls would wait with it. A handle asks with reads, which are not recorded, and makes the one call
that takes an item, a permit or a place only when the answer is yes. If somebody else was quicker, it asks on. It holds no lock meanwhile.

Between two questions it waits until an action of the system has ended: one bell for each system rings for all who wait (`coopy.spine.tap`). It
is hung up before the second question, and taken off when nobody waits any more. What is no system, such as a plain object that threads share, has
no bell: there a `_Pause` sleeps, longer and longer up to `PAUSE_S_MAX`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from queue import Empty, Full
from threading import BrokenBarrierError
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from coopy import UsageError
from coopy.batteries.caches import TTLCache
from coopy.batteries.ids import Ids
from coopy.batteries.limits import Barrier, Latch, Semaphore
from coopy.batteries.queues import PriorityQueue, Queue
from coopy.batteries.waiters import WaiterInLoop, or_given_back, to_its_end
from coopy.control import doorbell_of
from coopy.ground.bell import Waiter

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

PAUSE_S_MIN, PAUSE_S_MAX = 0.0005, 0.05


class _Pause:
    """The time between two questions, until a time limit. The first pause of a system takes no time: it is asked again once the bell hangs."""

    def __init__(self, system: Any, timeout: float | None) -> None:
        if timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        self._end = None if timeout is None else time.monotonic() + timeout
        self._next = PAUSE_S_MIN
        self._bell = doorbell_of(system)
        self._waiter: Any = None

    def _left(self) -> float | None:
        """Returns how many seconds are left: none or less if the time is over, None for any number."""
        return None if self._end is None else self._end - time.monotonic()

    def _seconds(self, left: float | None) -> float:
        seconds, self._next = self._next, min(2 * self._next, PAUSE_S_MAX)
        return seconds if left is None else min(seconds, left)

    def _leave(self) -> None:
        if self._bell is not None and self._waiter is not None:
            self._bell.leave(self._waiter)

    # -- in a thread

    def wait(self) -> bool:
        """Waits until there may be another answer. Returns False, at once, if the time is over."""
        left = self._left()
        if left is not None and left <= 0:
            return False
        if self._bell is None:
            time.sleep(self._seconds(left))
            return True
        if self._waiter is None:
            self._waiter = Waiter()
        else:
            self._bell.pass_on(self._waiter)
            if not self._waiter.wait(left):
                return False
        if not self._bell.register(self._waiter):
            self._bell.hang()
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    # -- in an event loop

    async def wait_in_loop(self) -> bool:
        """Waits, while the loop goes on, until there may be another answer. Returns False, at once, if the time is over."""
        left = self._left()
        if left is not None and left <= 0:
            return False
        if self._bell is None:
            await asyncio.sleep(self._seconds(left))
            return True
        if self._waiter is None:
            self._waiter = WaiterInLoop()
        else:
            self._bell.pass_on(self._waiter)
            if not await self._waiter.wait_in_loop(left):
                return False
        if not self._bell.register(self._waiter):
            # It takes the lock, which an action may have for long.
            await asyncio.get_running_loop().run_in_executor(None, self._bell.hang)
        return True


def until(question: Callable[[], T], timeout: float | None = None, of: Any = None) -> T:
    """Asks until the answer is true, or for ``timeout`` seconds. Returns the last answer.

    It is for what an own class knows: ``until(shop.next_order, timeout=5)``, where `next_order` is ``@readonly``. It is asked again when an action
    of the system has ended whose method the question is, or that is named: ``until(lambda: shop.next_order("tea"), of=shop)``. Without one it is
    asked after growing pauses of at most 50 ms.

    >>> until(lambda: 42, timeout=1)
    42
    """
    with _Pause(getattr(question, "__self__", None) if of is None else of, timeout) as pause:
        while True:
            answer = question()
            if answer or not pause.wait():
                return answer


class _Handle:
    """What all handles have: the methods of the structure itself."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._system, name)

    def __repr__(self) -> str:
        return f"<handle of {self._system!r}>"


class QueueHandle(_Handle, Generic[T]):
    """A queue as `queue.Queue` is: `put` waits for room, `get` for an item, and `join` until all is dealt with."""

    def put(self, item: T, block: bool = True, timeout: float | None = None, **priority: Any) -> None:
        """Adds an item, and waits for room. Raises `queue.Full` if there is none, or none in time."""
        with _Pause(self._system, timeout if block else None) as pause:
            while self._system.full() or not self._system.put(item, **priority):
                if not block or not pause.wait():
                    raise Full

    def put_nowait(self, item: T) -> None:
        """Adds an item. Raises `queue.Full` if there is no room."""
        self.put(item, block=False)

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Takes the next item out, and waits for one. Raises `queue.Empty` if there is none, or none in time."""
        with _Pause(self._system, timeout if block else None) as pause:
            while True:
                found: list[T] = [] if self._system.empty() else self._system.drain(1)
                if found:
                    return found[0]
                if not block or not pause.wait():
                    raise Empty

    def get_nowait(self) -> T:
        """Takes the next item out. Raises `queue.Empty` if there is none."""
        return self.get(block=False)

    def join(self, timeout: float | None = None) -> bool:
        """Waits until `task_done` was called for each item. Returns False if that was not in time."""
        return until(lambda: not self._system.unfinished(), timeout, self._system)

    def qsize(self) -> int:
        """Returns how many items wait."""
        return int(self._system.qsize())

    @property
    def maxsize(self) -> int:
        """How many items there is room for; 0 for any number. Setting it is an action."""
        return int(self._system.maxsize)

    @maxsize.setter
    def maxsize(self, value: int) -> None:
        self._system.maxsize = value

    def __len__(self) -> int:
        return self.qsize()

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[T]:
        """Takes items out for ever, and waits for each."""
        while True:
            yield self.get()


class SemaphoreHandle(_Handle):
    """A semaphore whose `acquire` waits."""

    def acquire(self, owner: Any = "", permits: int = 1, timeout: float | None = None) -> bool:
        """Takes permits, and waits for them. Returns False if they were not there in time."""
        with _Pause(self._system, timeout) as pause:
            while self._system.available() < permits or not self._system.acquire(owner, permits):
                if not pause.wait():
                    return False
        return True

    @contextmanager
    def permit(self, owner: Any = "", permits: int = 1, timeout: float | None = None) -> Iterator[None]:
        """Holds permits in a ``with`` block. Raises TimeoutError if they are not there in time."""
        if not self.acquire(owner, permits, timeout):
            raise TimeoutError(f"{permits} permits for {owner!r} were not there within {timeout} s")
        try:
            yield
        finally:
            self._system.release(owner, permits)


class LatchHandle(_Handle):
    """A latch to wait for."""

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the latch is open. Returns False if that was not in time."""
        return until(lambda: bool(self._system.is_open()), timeout, self._system)


class BarrierHandle(_Handle):
    """A barrier as `threading.Barrier` is."""

    def wait(self, timeout: float | None = None, who: Any = "") -> int:
        """Arrives, and waits for the others. Returns the place in which one came, from 0.

        Raises `threading.BrokenBarrierError` if the barrier is broken, is broken meanwhile, or not all come in time, which breaks it.
        """
        with _Pause(self._system, timeout) as pause:
            round, place = self._system.arrive(who)
            if place < 0:
                raise BrokenBarrierError
            is_over = False
            try:
                while not (is_over := self._system.state_of(round) != "waiting") and pause.wait():
                    pass
            finally:
                if not is_over:
                    self._system.leave(round, place)
        return _passed(self._system.state_of(round), place)


def _passed(state: str, place: int) -> int:
    if state != "passed":
        raise BrokenBarrierError
    return place


class IdsHandle:
    """Gives out the numbers of a block, and takes another when that is used up. Threads may share it."""

    def __init__(self, system: Any) -> None:
        self._system = system
        self._lock = threading.Lock()
        self._left: Iterator[int] = iter(())

    def new(self) -> int:
        """Returns a number that nobody else gets."""
        with self._lock:
            for number in self._left:
                return number
            self._left = iter(self._system.reserve())
            return next(self._left)

    def __iter__(self) -> Iterator[int]:
        while True:
            yield self.new()


class CacheHandle(_Handle):
    """A cache that expires while no calls come: a thread calls `expire` when there is something to expire."""

    @contextmanager
    def expiring(self, every: float = 1.0) -> Iterator[None]:
        """Looks ``every`` so many seconds, in a thread, as long as the ``with`` block goes on."""
        ended = threading.Event()

        def run() -> None:
            while not ended.wait(every):
                self.sweep()

        thread = threading.Thread(target=run, name="coopy cache expires", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def sweep(self) -> list[Any]:
        """Calls `expire` if this machine's clock says that something may have expired. Whether it has the instant of the action says."""
        end = self._system.next_expiry()
        found: list[Any] = self._system.expire() if end is not None and end <= time.time() else []
        return found


@overload
def handle(structure: Queue[T]) -> QueueHandle[T]: ...


@overload
def handle(structure: PriorityQueue[T]) -> QueueHandle[T]: ...


@overload
def handle(structure: Semaphore) -> SemaphoreHandle: ...


@overload
def handle(structure: Latch) -> LatchHandle: ...


@overload
def handle(structure: Barrier) -> BarrierHandle: ...


@overload
def handle(structure: Ids) -> IdsHandle: ...


@overload
def handle(structure: TTLCache[Any, Any]) -> CacheHandle: ...


def handle(structure: Any) -> Any:
    """Returns what a program holds of a structure to wait for it: ``handle(jobs).get(timeout=5)``.

    The structure is a system, as `coopy.init_system` returns it, or a plain object that threads of this process share under a
    lock of their own. Raises `UsageError` for a structure that nobody waits for.

    >>> from coopy import init_system
    >>> from coopy.batteries import Queue
    >>> jobs = init_system(Queue, "handled-jobs")
    >>> jobs.put("wash")
    True
    >>> handle(jobs).get(timeout=1)
    'wash'
    """
    for kind, found in _HANDLES:
        if isinstance(structure, kind):
            return found(structure)
    raise UsageError(
        f"handle() takes a {', '.join(kind.__name__ for kind, _ in _HANDLES)}, not a {type(structure).__name__}: "
        f"for what is opened with coopy.aio.open it is async_handle(), and the others have nothing to wait for"
    )


_HANDLES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (Queue, QueueHandle),
    (PriorityQueue, QueueHandle),
    (Semaphore, SemaphoreHandle),
    (Latch, LatchHandle),
    (Barrier, BarrierHandle),
    (Ids, IdsHandle),
    (TTLCache, CacheHandle),
)


# -- the same in an event loop


async def until_in_loop(question: Callable[[], Any], timeout: float | None, of: Any) -> Any:
    """Awaits answers until one is true, or for ``timeout`` seconds. Returns the last one."""
    with _Pause(of, timeout) as pause:
        while True:
            answer = await question()
            if answer or not await pause.wait_in_loop():
                return answer


class AsyncQueueHandle(_Handle):
    """A queue as `asyncio.Queue` is, with time limits."""

    async def put(self, item: Any, timeout: float | None = None, **priority: Any) -> None:
        """Adds an item, and waits for room. Raises `queue.Full` if there is none in time."""
        with _Pause(self._system, timeout) as pause:
            while await self._system.full() or not await self._system.put(item, **priority):
                if not await pause.wait_in_loop():
                    raise Full

    async def get(self, timeout: float | None = None) -> Any:
        """Takes the next item out, and waits for one. Raises `queue.Empty` if there is none in time."""
        with _Pause(self._system, timeout) as pause:
            while True:
                found = None
                if not await self._system.empty():
                    found = await or_given_back(self._system.take_out(), self._give_back)
                if found is not None:
                    return found[-1]
                if not await pause.wait_in_loop():
                    raise Empty

    async def _give_back(self, found: Any) -> None:
        if found is not None:
            await self._system.give_back(found)

    async def join(self, timeout: float | None = None) -> bool:
        """Waits until `task_done` was called for each item. Returns False if that was not in time."""
        with _Pause(self._system, timeout) as pause:
            while await self._system.unfinished():
                if not await pause.wait_in_loop():
                    return False
        return True

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            yield await self.get()


class AsyncSemaphoreHandle(_Handle):
    """A semaphore whose `acquire` waits."""

    async def acquire(self, owner: Any = "", permits: int = 1, timeout: float | None = None) -> bool:
        """Takes permits, and waits for them. Returns False if they were not there in time."""
        with _Pause(self._system, timeout) as pause:
            while await self._system.available() < permits or not await self._taken(owner, permits):
                if not await pause.wait_in_loop():
                    return False
        return True

    async def _taken(self, owner: Any, permits: int) -> bool:
        async def give_back(is_taken: bool) -> None:
            if is_taken:
                await self._system.release(owner, permits)

        return await or_given_back(self._system.acquire(owner, permits), give_back)

    @asynccontextmanager
    async def permit(self, owner: Any = "", permits: int = 1, timeout: float | None = None) -> AsyncIterator[None]:
        """Holds permits in an ``async with`` block. Raises TimeoutError if they are not there in time."""
        if not await self.acquire(owner, permits, timeout):
            raise TimeoutError(f"{permits} permits for {owner!r} were not there within {timeout} s")
        try:
            yield
        finally:
            await to_its_end(self._system.release(owner, permits))


class AsyncLatchHandle(_Handle):
    """A latch to wait for."""

    async def wait(self, timeout: float | None = None) -> bool:
        """Waits until the latch is open. Returns False if that was not in time."""
        return bool(await until_in_loop(self._system.is_open, timeout, self._system))


class AsyncBarrierHandle(_Handle):
    """A barrier as `threading.Barrier` is."""

    async def wait(self, timeout: float | None = None, who: Any = "") -> int:
        """Arrives, and waits for the others; see `BarrierHandle.wait`."""
        with _Pause(self._system, timeout) as pause:
            round, place = await or_given_back(self._system.arrive(who), self._leave)
            if place < 0:
                raise BrokenBarrierError
            is_over = False
            try:
                while not (is_over := await self._system.state_of(round) != "waiting") and await pause.wait_in_loop():
                    pass
            finally:
                if not is_over:
                    await to_its_end(self._system.leave(round, place))
        return _passed(await self._system.state_of(round), place)

    async def _leave(self, arrived: tuple[int, int]) -> None:
        if arrived[1] >= 0:
            await self._system.leave(*arrived)


class AsyncIdsHandle:
    """Gives out the numbers of a block, and takes another when that is used up. Tasks may share it."""

    def __init__(self, system: Any) -> None:
        self._system = system
        self._lock = asyncio.Lock()
        self._left: Iterator[int] = iter(())

    async def new(self) -> int:
        """Returns a number that nobody else gets."""
        async with self._lock:
            for number in self._left:
                return number
            self._left = iter(await self._system.reserve())
            return next(self._left)


_ASYNC_HANDLES: dict[str, Callable[[Any], Any]] = {
    "drain": AsyncQueueHandle,
    "holders": AsyncSemaphoreHandle,
    "count_down": AsyncLatchHandle,
    "arrive": AsyncBarrierHandle,
    "reserve": AsyncIdsHandle,
}


def async_handle(structure: Any) -> Any:
    """Returns what a task holds of a structure that `coopy.aio.open` has opened: ``await async_handle(jobs).get(timeout=5)``.

    >>> import asyncio
    >>> import coopy.aio
    >>> from coopy.batteries import Queue
    >>> async def next_job():
    ...     async with coopy.aio.open(Queue, "awaited-jobs") as jobs:
    ...         await jobs.put("wash")
    ...         return await async_handle(jobs).get(timeout=5)
    >>> asyncio.run(next_job())
    'wash'

    Raises `UsageError` for a structure that nobody waits for.
    """
    for name, found in _ASYNC_HANDLES.items():
        if hasattr(type(structure), name):
            return found(structure)
    raise UsageError(f"async_handle() takes what coopy.aio.open() has opened of a structure to wait for, not {structure!r}")
