"""A task that is cancelled, at whichever of its awaits, holds nothing and waits for nothing."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from functools import partial
from threading import BrokenBarrierError
from typing import Any

import pytest
from sync.test_aio_locks import in_loop, until

from coopy.aio import Barrier, Condition, Election, Event, Lock, Party, RLock, Semaphore
from coopy.errors import LockLost, NotHeld
from coopy.sync import Lock as ThreadLock
from coopy.sync import Term

pytestmark = pytest.mark.usefixtures("what_others_have_made_is_passed_over")


class Cut:
    """A coroutine whose task is cancelled when it is suspended for the time of that number, from 0: at once, or when it is about to go on."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], at: int, late: bool) -> None:
        self._steps = coroutine.__await__()
        self._at = at
        self._late = late
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = partial(self._steps.send, None)  # type: ignore[attr-defined]
        for number in itertools.count():
            try:
                future = step()
            except StopIteration as end:
                return end.value
            if number == self._at:
                self.reached = True
                task = asyncio.current_task()
                assert task is not None
                if self._late and future is not None:
                    future.add_done_callback(lambda _: task.cancel())
                else:
                    asyncio.get_running_loop().call_soon(task.cancel)
            try:
                yield future
            except BaseException as error:
                step = partial(self._steps.throw, error)  # type: ignore[attr-defined]
            else:
                step = partial(self._steps.send, None)  # type: ignore[attr-defined]


@asynccontextmanager
async def partner(work: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Has something go on at the same time."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# -- what a task does, alone or with another one of another handle

Work = Callable[[Any, str], Coroutine[Any, Any, Any]]
Meanwhile = Callable[[Any, str], Coroutine[Any, Any, Any]]


async def nothing(locks: Any, name: str) -> None:
    pass


async def block_of_lock(locks: Any, name: str) -> None:
    async with Lock(name, system=locks):
        await asyncio.sleep(0)


async def lock_with_callback(locks: Any, name: str) -> None:
    async def called() -> None:
        await asyncio.sleep(0)

    async with Lock(name, called, system=locks) as lock:
        await lock.renew()


async def block_of_rlock(locks: Any, name: str) -> None:
    async with RLock(name, system=locks) as lock, lock:
        await asyncio.sleep(0)


async def block_of_semaphore(locks: Any, name: str) -> None:
    async with Semaphore(name, 1, system=locks) as permits:
        await permits.contenders()


async def acquisition_in_time(locks: Any, name: str) -> None:
    lock = Lock(name, system=locks)
    if await lock.acquire(timeout=0.01):
        await lock.release()


async def holds_for_a_while(locks: Any, name: str) -> None:
    other = ThreadLock(name, system=locks)
    other.acquire()
    try:
        await until(lambda: len(locks.contenders(name)) == 2)
    finally:
        other.release()


async def wait_for_a_condition(locks: Any, name: str) -> None:
    async with Condition(name, system=locks) as news:
        await news.wait()
        await news.notify()


async def wait_for_a_condition_in_time(locks: Any, name: str) -> None:
    async with Condition(name, system=locks) as news:
        await news.wait_for(lambda: False, timeout=0.01)


async def notifies(locks: Any, name: str) -> None:
    news = Condition(name, system=locks)
    for _ in range(1000):
        async with news:
            if await news.notify():
                return
        await asyncio.sleep(0.001)


async def wait_for_an_event(locks: Any, name: str) -> None:
    event = Event(name, system=locks)
    await event.clear()
    await event.wait()
    assert await event.is_set()


async def sets(locks: Any, name: str) -> None:
    await asyncio.sleep(0.005)
    await Event(name, system=locks).set()


async def wait_at_a_barrier(locks: Any, name: str) -> None:
    async with Barrier(name, 2, system=locks) as place:
        assert place in (0, 1)


async def meets(locks: Any, name: str) -> None:
    await asyncio.sleep(0.003)
    with suppress(BrokenBarrierError):
        await Barrier(name, 2, system=locks).wait(timeout=5)


async def election(locks: Any, name: str) -> None:
    async def lead(term: Term) -> None:
        assert term.leads
        await asyncio.sleep(0)

    await Election(name, lead, lambda: asyncio.sleep(0), system=locks).run()


async def party(locks: Any, name: str) -> None:
    async def work(shard: str, term: Term) -> None:
        await term.stop.wait()

    member = Party(name, ["a", "b"], work, system=locks)
    try:
        await member.join()
        await member.wait_until_led()
    finally:
        await member.close()


CASES: list[tuple[Work, Meanwhile]] = [
    (block_of_lock, nothing),
    (block_of_lock, holds_for_a_while),
    (lock_with_callback, nothing),
    (block_of_rlock, nothing),
    (block_of_rlock, holds_for_a_while),
    (block_of_semaphore, nothing),
    (block_of_semaphore, holds_for_a_while),
    (acquisition_in_time, nothing),
    (acquisition_in_time, holds_for_a_while),
    (wait_for_a_condition, notifies),
    (wait_for_a_condition_in_time, nothing),
    (wait_for_an_event, sets),
    (wait_at_a_barrier, meets),
    (election, nothing),
    (election, holds_for_a_while),
    (party, nothing),
]


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize(("work", "meanwhile"), CASES, ids=lambda each: each.__name__ if callable(each) else None)
def test_a_task_that_is_cancelled_at_any_await_leaves_nothing_behind(work: Work, meanwhile: Meanwhile, late: bool) -> None:
    @in_loop
    async def test(locks: Any) -> None:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        keeps = ThreadLock("keeps", system=locks)
        for number in itertools.count():
            name = f"{work.__name__} {number}"
            cut = Cut(work(locks, name), number, late)
            async with partner(meanwhile(locks, name)):
                task = asyncio.ensure_future(_run(cut))
                await asyncio.wait({task})
            assert task.cancelled() or not (error := task.exception()) or isinstance(error, (LockLost, NotHeld)), error
            # What a thread was about to do when the task was cancelled comes to its end.
            await until(lambda: not locks._sessions and not keeps._presence._watchers)
            if not cut.reached:
                assert number > 1 and not task.cancelled()
                break
            assert task.cancelled(), "and it is told"
            del task, cut
        gc.collect()
        assert not complaints

    test()


async def _run(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
