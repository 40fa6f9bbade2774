"""Queues: order, limits, and waiting outside of actions."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from queue import Empty, Full
from typing import Any

import pytest
from batteries.opened import memory_system

import coopy.aio
from coopy import UsageError, control, init_system
from coopy.batteries import Barrier, Dict, Ids, Latch, PriorityQueue, Queue, Semaphore, async_handle, handle, until
from coopy.batteries.waiting import AsyncBarrierHandle, AsyncQueueHandle, AsyncSemaphoreHandle


class Unordered:
    """An item that has no order."""


def test_of_equal_priorities_the_first_comes_first_and_items_need_no_order() -> None:
    queue = memory_system(PriorityQueue)
    items = [{"n": number} for number in range(6)]
    for number, item in enumerate(items):
        queue.put((number % 2, item))
    assert [item["n"] for _, item in queue.drain()] == [0, 2, 4, 1, 3, 5]
    for priority in (2, 1, 2, 1):
        queue.put(Unordered(), priority=priority)
    assert queue.qsize() == 4 and type(queue.get()) is Unordered
    queue.clear()
    for item in ((1, "b"), (1, "a"), (0, 9, "z"), (0, 1, "y")):
        queue.put(item, priority=item[0])
    assert queue.drain() == [(0, 9, "z"), (0, 1, "y"), (1, "b"), (1, "a")]


def test_a_tuple_of_three_has_the_first_two_for_its_priority() -> None:
    queue = memory_system(PriorityQueue)
    for item in ((1, 2, "c"), (1, 1, "z"), (1, 1, "a"), (0, 9, "b")):
        queue.put(item)
    assert [item[2] for item in queue] == ["b", "z", "a", "c"] == [item[2] for item in queue.drain()]


@pytest.mark.parametrize("item", [("b", 1), (None, 1), None, {"n": 1}, Unordered(), (float("nan"), 1)])
def test_a_priority_that_can_not_be_compared_is_refused_and_changes_nothing(item: Any) -> None:
    queue = memory_system(PriorityQueue)
    queue.put_many([(3, "c"), (1, "a"), (2, "b")])
    before = control(queue).state_digest()[1]
    for call in (queue.put, queue.put_nowait, lambda item: queue.put_many([(0, "x"), item])):
        with pytest.raises((TypeError, ValueError)):
            call(item)
        assert control(queue).state_digest()[1] == before
    assert [each for _, each in queue.drain()] == ["a", "b", "c"]


def test_the_first_item_without_an_order_is_refused_too() -> None:
    for item in (None, {"n": 1}, float("nan")):
        with pytest.raises((TypeError, ValueError)):
            memory_system(PriorityQueue).put(item)


def test_drain_takes_at_most_so_many() -> None:
    queue = memory_system(Queue)
    queue.put_many(range(5))
    assert (queue.drain(2), queue.drain(0), queue.drain(-1), queue.drain(), queue.drain()) == ([0, 1], [], [], [2, 3, 4], [])


def test_peek_leaves_the_item_and_its_copy_is_the_readers() -> None:
    queue = memory_system(Queue)
    queue.put({"n": [1]})
    queue.peek()["n"].append(2)
    assert queue.peek() == queue.get() == {"n": [1]}
    assert queue.peek() is None and queue.peek("none") == "none"


def test_with_maxlen_the_oldest_falls_out(tmp_path: Path) -> None:
    with init_system(Queue(maxlen=2), tmp_path) as queue:
        queue.put_many("abc")
        assert (list(queue), queue.maxlen, queue.unfinished()) == (["b", "c"], 2, 2)
    with init_system(Queue, tmp_path) as queue:
        queue.put("d")
        assert list(queue) == ["c", "d"]


def test_what_get_returned_is_recorded_before_it_is_returned(tmp_path: Path) -> None:
    queue = init_system(Queue, tmp_path)
    queue.put("a")
    assert queue.get() == "a" and control(queue).durable == control(queue).index == 2
    queue.close()


@pytest.mark.parametrize(
    "call", [lambda q: q.get(timeout=1), lambda q: q.get(block=True), lambda q: q.put(1, timeout=1), lambda q: q.put(1, True)]
)
def test_an_action_does_not_wait_and_says_what_does(call: Any) -> None:
    queue = memory_system(Queue)
    with pytest.raises(UsageError, match="coopy.batteries.handle"):
        call(queue)
    assert queue.empty()


def test_a_handle_waits_for_an_item_without_the_lock_and_without_actions() -> None:
    queue = memory_system(Queue)
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(handle(queue).get(timeout=30)))
    waiting.start()
    queue.put("a")
    waiting.join()
    assert found == ["a"]
    before = control(queue).index
    with pytest.raises(Empty):
        handle(queue).get(timeout=0.02)
    assert control(queue).index == before == 2


def test_of_several_who_wait_each_gets_another_item() -> None:
    queue = memory_system(Queue(maxsize=2))
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.extend(handle(queue).get(timeout=30) for _ in range(10))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for number in range(30):
        handle(queue).put(number, timeout=30)
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(30))


def test_a_handle_of_a_full_queue_gives_up_in_time() -> None:
    queue = handle(memory_system(Queue(maxsize=1)))
    queue.put(1)
    with pytest.raises(Full):
        queue.put(2, timeout=0.01)
    with pytest.raises(ValueError):
        queue.get(timeout=-1)


def test_join_waits_until_all_is_dealt_with() -> None:
    queue = memory_system(Queue)
    queue.put_many("ab")
    assert not handle(queue).join(timeout=0.01)
    queue.drain()
    queue.task_done()
    queue.task_done()
    assert handle(queue).join()
    with pytest.raises(ValueError):
        queue.task_done()


def test_a_handle_of_a_priority_queue_takes_a_priority() -> None:
    queue = handle(memory_system(PriorityQueue))
    queue.put("b", priority=2)
    queue.put("a", priority=1)
    assert (queue.get(), queue.get_nowait()) == ("a", "b")


def test_nothing_else_has_a_handle() -> None:
    with pytest.raises(UsageError, match="not a Dict"):
        handle(memory_system(Dict))  # type: ignore[call-overload]
    with pytest.raises(UsageError):
        async_handle(3)


def test_until_asks_until_the_answer_is_true() -> None:
    answers = iter([0, "", None, "yes"])
    assert until(lambda: next(answers)) == "yes"
    assert until(lambda: 0, timeout=0) == 0


def test_handles_wait_in_an_event_loop(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Queue(maxsize=1), tmp_path / "queue") as queue:
            jobs = async_handle(queue)
            taken = asyncio.gather(*(jobs.get(timeout=30) for _ in range(20)))
            for number in range(20):
                await jobs.put(number, timeout=30)
            assert sorted(await taken) == list(range(20))
            with pytest.raises(Empty):
                await jobs.get(timeout=0.01)
            assert not await jobs.join(timeout=0)
        async with coopy.aio.open(Barrier(3), tmp_path / "barrier") as barrier:
            assert sorted(await asyncio.gather(*(async_handle(barrier).wait(timeout=30) for _ in range(3)))) == [0, 1, 2]
            with pytest.raises(threading.BrokenBarrierError):
                await async_handle(barrier).wait(timeout=0.01)
        async with coopy.aio.open(Latch(1), tmp_path / "latch") as latch:
            assert not await async_handle(latch).wait(timeout=0)
            opened = asyncio.ensure_future(async_handle(latch).wait(timeout=30))
            await latch.count_down()
            assert await opened
        async with coopy.aio.open(Semaphore(1), tmp_path / "semaphore") as semaphore:
            async with async_handle(semaphore).permit("ann"):
                assert not await async_handle(semaphore).acquire("bob", timeout=0)
            assert await semaphore.available() == 1
        async with coopy.aio.open(Ids(block=10), tmp_path / "ids") as ids:
            numbers = async_handle(ids)
            assert sorted(await asyncio.gather(*(numbers.new() for _ in range(15)))) == list(range(1, 16))
            assert await ids.last() == 20

    asyncio.run(main())


class InLoop:
    """A structure as tasks see it: a call is applied, and answered a little later."""

    def __init__(self, structure: Any) -> None:
        self.structure = structure
        self.changes = 0

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any) -> Any:
            found = getattr(self.structure, name)(*args)
            if name in ("drain", "take_out", "acquire", "arrive", "release"):
                self.changes += 1
                for _ in range(3):
                    await asyncio.sleep(0)
            return found

        return call


async def cancelled_once_applied(structure: InLoop, waiting: Any, times: int = 1) -> None:
    """Cancels a task when its call is applied, and before it is answered."""
    task, before = asyncio.ensure_future(waiting), structure.changes
    while structure.changes == before:
        await asyncio.sleep(0)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("kind", [Queue, PriorityQueue])
def test_an_item_whose_task_was_cancelled_as_it_was_given_to_it_is_the_next_again(kind: type[Any]) -> None:
    """asyncio.wait_for(handle.get(), ...) in a loop would lose one item after the other."""
    jobs = InLoop(memory_system(kind))
    jobs.structure.put_many([(1, number) for number in range(3)])
    for times in (1, 3):
        asyncio.run(cancelled_once_applied(jobs, AsyncQueueHandle(jobs).get(), times))
        assert jobs.structure.rawData() == [(1, 0), (1, 1), (1, 2)] and jobs.structure.unfinished() == 3
    assert asyncio.run(AsyncQueueHandle(jobs).get()) == (1, 0)


def test_an_item_that_goes_back_where_there_is_no_room_any_more_has_fallen_out() -> None:
    queue = memory_system(Queue(maxlen=2))
    queue.put_many("ab")
    entry = queue.take_out()
    queue.put("c")
    queue.give_back(entry)
    assert queue.rawData() == ["b", "c"] and queue.unfinished() == 2
    queue.drain()
    assert queue.take_out() is None


def test_permits_whose_task_was_cancelled_as_they_were_given_to_it_or_back_are_free() -> None:
    permits = InLoop(memory_system(Semaphore(2)))
    asyncio.run(cancelled_once_applied(permits, AsyncSemaphoreHandle(permits).acquire("ann", 2), 3))
    assert permits.structure.available() == 2

    async def work() -> None:
        async with AsyncSemaphoreHandle(permits).permit("ann", 2):
            pass

    async def main() -> None:
        task = asyncio.ensure_future(work())
        for _ in range(20):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert permits.structure.available() == 2 and permits.structure.holders() == {}


def test_a_place_at_a_barrier_whose_task_was_cancelled_as_it_was_given_to_it_is_left() -> None:
    barrier = InLoop(memory_system(Barrier(2)))
    asyncio.run(cancelled_once_applied(barrier, AsyncBarrierHandle(barrier).wait()))
    assert barrier.structure.n_waiting == 0 and barrier.structure.broken


@pytest.mark.parametrize("third", [(1, None, "c"), (1, float("nan"), "c")], ids=str)
def test_a_priority_that_can_not_be_compared_with_one_far_behind_is_refused(third: Any) -> None:
    """A heap compares them as late as the first is taken out, and loses it."""
    queue = memory_system(PriorityQueue)
    queue.put_many([(0, "z", "a"), (1, "x", "b")])
    with pytest.raises((TypeError, ValueError)):
        queue.put(third)
    assert queue.drain() == [(0, "z", "a"), (1, "x", "b")]


@pytest.mark.parametrize("permits", [0, -1, 1.5, float("nan")])
def test_permits_are_whole(permits: Any) -> None:
    semaphore = memory_system(Semaphore(3))
    semaphore.acquire("ann", 2)
    for call in (semaphore.acquire, semaphore.release):
        with pytest.raises(ValueError):
            call("ann", permits)
    assert semaphore.available() == 1
