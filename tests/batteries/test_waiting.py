"""Who waits for a structure is woken by the action that brings what it waits for; no wake-up is lost, and who waits costs nobody else anything."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest
from batteries.opened import memory_system
from cluster.memory_nodes import Bank, Node
from contract.test_calling import KINDS, Opened

import coopy.aio
from coopy import SystemClosed, control, init_system
from coopy.batteries import Barrier, Latch, PriorityQueue, Queue, Semaphore, async_handle, handle, until, waiting
from coopy.batteries.waiters import WaiterInLoop
from coopy.ground.bell import Bell, Waiter
from coopy.ground.line import MemoryServer

SOON_S = 30


@pytest.fixture(autouse=True)
def nobody_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes each pause that is not ended by a ring an error."""

    def refuse(seconds: float) -> None:
        raise AssertionError(f"somebody sleeps for {seconds} s")

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=time.monotonic, time=time.time, sleep=refuse))
    monkeypatch.setattr(waiting.asyncio, "sleep", refuse)


@pytest.fixture(params=[kind for kind in KINDS if kind != "a past state"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    found = KINDS[request.param](tmp_path / "shop")
    yield found
    found.close()


def in_thread(function: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def tap_of(system: Any) -> Any:
    return system._coopy_engine.tap


WAITS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    # What is opened, what waits, and what ends that.
    "Queue.get": (Queue, lambda system: handle(system).get(timeout=SOON_S) == 1, lambda system: system.put(1)),
    "PriorityQueue.get": (PriorityQueue, lambda system: handle(system).get(timeout=SOON_S) == 1, lambda system: system.put(1)),
    "Queue.put": (lambda: full(), lambda system: handle(system).put(1, timeout=SOON_S) is None, lambda system: system.get()),
    "Queue.join": (lambda: full(), lambda system: handle(system).join(SOON_S), lambda system: system.clear()),
    "Semaphore.acquire": (
        lambda: taken(),
        lambda system: handle(system).acquire("bob", timeout=SOON_S),
        lambda system: system.release("ann"),
    ),
    "Latch.wait": (Latch, lambda system: handle(system).wait(SOON_S), lambda system: system.count_down()),
    "Barrier.wait": (lambda: Barrier(2), lambda system: handle(system).wait(SOON_S) >= 0, lambda system: system.arrive()),
    "until": (Queue, lambda system: until(system.peek, SOON_S) == 1, lambda system: system.put(1)),
    "until, of": (Queue, lambda system: until(lambda: not system.empty(), SOON_S, of=system), lambda system: system.put(1)),
}


def full() -> Queue[int]:
    found: Queue[int] = Queue(maxsize=1)
    found.put(0)
    return found


def taken() -> Semaphore:
    found = Semaphore(1)
    found.acquire("ann")
    return found


@pytest.mark.parametrize("what", WAITS)
def test_who_waits_is_woken_by_the_action_and_does_not_sleep(what: str) -> None:
    make, wait, end = WAITS[what]
    system = memory_system(make())
    found: list[bool] = []
    thread = in_thread(lambda: found.append(wait(system)))
    while not thread.is_alive() or (tap_of(system) is None and not found):
        pass
    end(system)
    thread.join(SOON_S)
    assert found == [True]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_action_between_the_question_and_the_waiting_is_not_missed(opened: Opened, number: int) -> None:
    shop, asked = opened.shop, 0

    def question() -> bool:
        nonlocal asked
        asked += 1
        found = shop.count() >= 1
        if not found and asked <= number:
            # The answer is given, and nobody waits yet.
            in_thread(lambda: shop.sell("tea") if asked == number else shop.count()).join()
            if asked < number:
                shop._coopy_engine.doorbell.wake()  # Another action, of which nothing comes.
        return bool(found)

    assert until(question, SOON_S, of=shop) and asked == number + 1


def test_all_who_wait_share_one_listener_which_goes_when_nobody_waits() -> None:
    system = memory_system(Queue)
    assert tap_of(system) is None
    threads = [in_thread(lambda: handle(system).get(timeout=SOON_S)) for _ in range(20)]
    while tap_of(system) is None or len(tap_of(system).listeners[0]._bell._waiting) < 20:
        pass
    assert len(tap_of(system).listeners) == 1
    for number in range(20):
        system.put(number)
    for thread in threads:
        thread.join(SOON_S)
    system.put("nobody waits any more")
    assert tap_of(system) is None


def test_who_gives_up_leaves_nothing_behind() -> None:
    system = memory_system(Queue)
    for _ in range(3):
        with pytest.raises(Empty):
            handle(system).get(timeout=0.001)
    assert not system._coopy_engine.doorbell._bell
    system.put(1)
    assert tap_of(system) is None and handle(system).get() == 1


def test_an_answer_that_is_there_costs_no_listener() -> None:
    system = memory_system(Queue)
    system.put(1)
    assert handle(system).get(timeout=SOON_S) == 1 and tap_of(system) is None
    with pytest.raises(Empty):
        handle(system).get(timeout=0)
    assert tap_of(system) is None


def test_one_that_was_woken_and_is_content_wakes_the_next() -> None:
    one, other = memory_system(Queue), memory_system(Queue(maxsize=2))
    other.put_many([0, 0])
    for system, calls in ((one, [lambda: one.put_many("ab")]), (other, [other.get, other.get])):
        wait = handle(system).get if system is one else lambda system=system: handle(system).put(1, timeout=SOON_S)
        threads = [in_thread(wait) for _ in range(2)]
        while tap_of(system) is None or len(system._coopy_engine.doorbell._bell._waiting) < 2:
            pass
        for call in calls:
            call()
        for thread in threads:
            thread.join(SOON_S)
            assert not thread.is_alive()


def test_closing_the_system_wakes_who_waits(tmp_path: Path) -> None:
    system = init_system(Queue, tmp_path)
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            handle(system).get()
        except SystemClosed as error:
            raised.append(error)

    thread = in_thread(wait)
    while tap_of(system) is None:
        pass
    control(system).close()
    thread.join(SOON_S)
    assert len(raised) == 1


def test_many_who_put_and_get_lose_nothing(tmp_path: Path) -> None:
    with init_system(Queue(maxsize=2), tmp_path, durability="buffered", validation="off") as system:
        found: list[int] = []
        threads = [in_thread(lambda: found.extend(handle(system).get(timeout=SOON_S) for _ in range(50))) for _ in range(4)] + [
            in_thread(lambda: [handle(system).put(number, timeout=SOON_S) for number in range(100)]) for _ in range(2)
        ]
        for thread in threads:
            thread.join(SOON_S)
        assert sorted(found) == sorted([*range(100)] * 2)


def test_what_is_no_system_is_asked_after_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    queue: Queue[int] = Queue()
    threading.Timer(0.01, queue.put, [1]).start()
    assert handle(queue).get(timeout=SOON_S) == 1
    answers = iter([0, 0, 0, 1])
    assert until(lambda: next(answers)) == 1


def test_tasks_are_woken_by_calls_of_tasks_and_of_threads(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Queue(maxsize=2), tmp_path / "queue") as queue:
            jobs = async_handle(queue)
            taken = [asyncio.ensure_future(jobs.get(timeout=SOON_S)) for _ in range(20)]
            await asyncio.gather(*(jobs.put(number, timeout=SOON_S) for number in range(20)))
            assert sorted(await asyncio.gather(*taken)) == list(range(20))
            waiting = asyncio.ensure_future(jobs.get(timeout=SOON_S))
            plain = coopy.aio.system_of(queue)
            while not plain._coopy_engine.doorbell._bell:
                await asyncio.tasks.__sleep0()
            await asyncio.get_running_loop().run_in_executor(None, plain.put, "from a thread")
            assert await waiting == "from a thread"
            with pytest.raises(Empty):
                await jobs.get(timeout=0.001)
            cancelled = asyncio.ensure_future(jobs.get())
            while not plain._coopy_engine.doorbell._bell:
                await asyncio.tasks.__sleep0()
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert not plain._coopy_engine.doorbell._bell

    asyncio.run(main())


def test_a_node_that_goes_on_with_the_state_of_another_wakes_who_waits() -> None:
    behind, ahead = (Node(MemoryServer().ends(1)[0], "a", cls=Bank, follows=follows) for follows in (False, True))
    ahead.bank.deposit("x")
    found: list[bool] = []
    thread = in_thread(lambda: found.append(until(lambda: "x" in behind.bank.accounts, SOON_S, of=behind.bank)))
    while not behind.engine.doorbell._bell:
        pass
    behind.engine.replace(ahead.log, ahead.snapshots)
    thread.join(SOON_S)
    assert found == [True]
    for node in (behind, ahead):
        node.line.close()


# -- the bell by itself


class Woken(Waiter):
    """Says when it was woken."""

    def __init__(self, name: str, log: list[str], there: bool = True) -> None:
        super().__init__()
        self.name, self.log, self.there = name, log, there

    def wake(self) -> bool:
        self.log.append(self.name)
        return self.there


def test_a_ring_wakes_those_who_had_registered_before_one_after_the_other() -> None:
    bell, log = Bell(), []
    one, two, three = (Woken(name, log) for name in ("one", "two", "three"))
    for each in (one, two):
        bell.register(each)
    bell.ring()
    assert log == ["one"]
    bell.register(three)
    bell.register(one)
    bell.pass_on(one)
    assert log == ["one", "two"]
    bell.pass_on(two)
    bell.pass_on(two)
    assert log == ["one", "two"] and bell
    bell.ring()
    bell.pass_on(three)
    assert log == ["one", "two", "three", "one"] and not bell


def test_one_who_leaves_after_it_was_woken_wakes_the_next() -> None:
    for registers_again in (False, True):
        bell, log = Bell(), []
        one, two = Woken("one", log), Woken("two", log)
        bell.register(one)
        bell.register(two)
        bell.ring()
        if registers_again:
            bell.register(one)
        bell.leave(one)
        assert log == ["one", "two"] and not bell


def test_one_who_can_not_be_woken_any_more_is_passed_over() -> None:
    bell, log = Bell(), []
    loops: list[WaiterInLoop] = []

    async def main() -> None:
        loops.append(WaiterInLoop())

    asyncio.run(main())
    for each in (Woken("gone", log, there=False), loops[0], Woken("there", log)):
        bell.register(each)
    bell.ring()
    assert log == ["gone", "there"]
