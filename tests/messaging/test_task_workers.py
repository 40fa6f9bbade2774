"""Workers of each kind: threads, child processes, an event loop. What is true of one is true of all."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from messaging import functions

from coopy import EncodingError, JournalError, OutcomeUnknown, RemoteError, Unavailable, UsageError
from coopy.messaging import (
    Backoff,
    DeadlinePassed,
    Retry,
    TaskCancelled,
    TaskCrashed,
    TaskHandle,
    TaskQueue,
    Tasks,
    current_task,
)
from coopy.messaging.task_calls import packed
from coopy.testing import memory_system

SOON_S = 60.0
KINDS: list[dict[str, int]] = [{"threads": 2}, {"processes": 2}, {"coroutines": 2}]


@contextmanager
def working(queue: TaskQueue, **kind: Any) -> Iterator[None]:
    """Has a worker of a kind work while a block goes on."""
    worker = queue.worker(**kind)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(SOON_S)
        assert not thread.is_alive()


def wait_until(question: Callable[[], object]) -> None:
    end = time.monotonic() + SOON_S
    while not question():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def queue() -> Iterator[TaskQueue]:
    with TaskQueue() as found:
        yield found


def ids(kind: dict[str, int]) -> str:
    return next(iter(kind))


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_a_worker_of_each_kind_runs_tasks_and_tells_what_they_return_and_raise(queue: TaskQueue, kind: dict[str, int]) -> None:
    with working(queue, **kind):
        good = [queue.enqueue(divmod, number, 3) for number in range(6)]
        bad = queue.enqueue(divmod, 1, 0)
        steps = queue.enqueue(functions.say, 3)
        assert [each.result(timeout=SOON_S) for each in good] == [divmod(number, 3) for number in range(6)]
        with pytest.raises(ZeroDivisionError) as raised:
            bad.result(timeout=SOON_S)
        assert isinstance(raised.value.__cause__, RemoteError)
        assert steps.result(timeout=SOON_S).endswith(f"-{steps.id:x}") and steps.progress == 1
        process = queue.enqueue(functions.whose).result(timeout=SOON_S)
        assert (process == os.getpid()) == ("processes" not in kind)
    assert queue.workers() == []


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_a_running_task_of_each_kind_is_cancelled(queue: TaskQueue, tmp_path: Path, kind: dict[str, int]) -> None:
    begun = tmp_path / "begun"
    with working(queue, **kind):
        handle: TaskHandle[Any] = queue.enqueue(functions.rest if "coroutines" in kind else functions.sleep_well, str(begun))
        wait_until(begun.exists)
        assert handle.cancel()
        with pytest.raises(TaskCancelled):
            handle.result(timeout=SOON_S)
        assert queue.enqueue(divmod, 7, 2).result(timeout=SOON_S) == (3, 1)


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_a_running_task_of_each_kind_whose_time_is_over_is_stopped_and_dead(
    queue: TaskQueue, tmp_path: Path, kind: dict[str, int]
) -> None:
    begun = tmp_path / "begun"
    function: Callable[[str], Any] = functions.rest if "coroutines" in kind else functions.sleep_well
    with working(queue, **kind):
        handle = queue.task(deadline=0.7, retries=5)(function).send(str(begun))
        with pytest.raises(DeadlinePassed):
            handle.result(timeout=SOON_S)
        assert handle.look().failures <= 1


@pytest.mark.parametrize(
    "function", [pytest.param(functions.crash, marks=pytest.mark.slow), functions.leave], ids=["kill", "exit"]
)
def test_a_task_that_ends_its_child_harms_no_other_and_is_dead_after_so_many_times(
    queue: TaskQueue, tmp_path: Path, function: Callable[..., None]
) -> None:
    arguments = [str(tmp_path / "count")] if function is functions.crash else []
    with working(queue, processes=2):
        handle = queue.task(deliveries=2)(function).send(*arguments)
        others = [queue.enqueue(divmod, number, 3) for number in range(4)]
        with pytest.raises(TaskCrashed, match="2 times the child process that ran it ended with exit code"):
            handle.result(timeout=SOON_S)
        assert [each.result(timeout=SOON_S) for each in others] == [divmod(number, 3) for number in range(4)]
    assert handle.look().crashes == 2 and handle.look().failures == 0
    assert [each.id for each in queue.dead()] == [handle.id]


@pytest.mark.slow
def test_a_task_in_a_child_that_does_not_hear_is_ended_by_force(
    queue: TaskQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coopy.messaging.task_child.GRACE_S", 0.1)
    begun = tmp_path / "begun"
    with working(queue, processes=1):
        handle = queue.enqueue(functions.sleep_deaf, str(begun))
        wait_until(begun.exists)
        handle.cancel()
        with pytest.raises(TaskCancelled):
            handle.result(timeout=SOON_S)


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_a_worker_that_is_to_end_lets_its_tasks_end_first_and_gives_back_what_it_has_not_begun(
    queue: TaskQueue, kind: dict[str, int], tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    kind = {ids(kind): 1}
    worker = queue.worker(**kind)
    thread = threading.Thread(target=worker.run)
    thread.start()
    first, second = functions.work.options(), functions.work.options()
    handles = [queue.enqueue(each.function, str(path), 0.3) for each in (first, second)]
    wait_until(path.exists)
    worker.stop()
    thread.join(SOON_S)
    assert [each.state for each in handles] == ["done", "waiting"] and queue.workers() == []


def test_an_event_loop_runs_tasks_together(queue: TaskQueue) -> None:
    meets: list[int] = []

    @queue.task
    async def meet() -> int:
        meets.append(1)
        while len(meets) < 20:
            await asyncio.sleep(0.001)
        return len(meets)

    with working(queue, coroutines=20):
        assert [each.result(timeout=SOON_S) for each in [meet.send() for _ in range(20)]] == [20] * 20


def test_a_worker_in_a_loop_that_is_cancelled_gives_its_tasks_back(queue: TaskQueue, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    handle = queue.enqueue(functions.rest, str(begun))

    async def main() -> None:
        work = asyncio.create_task(queue.worker(coroutines=2).arun())
        while not begun.exists():
            await asyncio.sleep(0.005)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(main())
    assert handle.state == "waiting" and handle.look().crashes == handle.look().failures == 0 and queue.workers() == []


class Odd(BaseException):
    """What no `except Exception` catches."""


@pytest.mark.parametrize("kind", [{"coroutines": 2}, {"threads": 2}], ids=ids)
@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyError("x"), asyncio.CancelledError(), Odd()], ids=lambda each: type(each).__name__
)
def test_whatever_a_coroutine_raises_the_worker_goes_on(queue: TaskQueue, error: BaseException, kind: dict[str, int]) -> None:
    @queue.task(retries=2, backoff=0.0)
    async def fail() -> None:
        raise error

    with working(queue, **kind):
        handle = fail.send()
        with pytest.raises(type(error)):
            handle.result(timeout=SOON_S)
        assert queue.enqueue(divmod, 7, 2).result(timeout=SOON_S) == (3, 1)
        assert handle.look().failures == (3 if isinstance(error, Exception) else 1)


@pytest.mark.parametrize("kind", [{"coroutines": 1}, {"threads": 1}], ids=ids)
@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(4), Odd()], ids=lambda each: type(each).__name__)
def test_whatever_a_function_raises_the_worker_goes_on_and_ends(
    queue: TaskQueue, error: BaseException, kind: dict[str, int]
) -> None:
    @queue.task
    def fail() -> None:
        raise error

    with working(queue, **kind):
        with pytest.raises(type(error)):
            fail.send().result(timeout=10)
        assert queue.enqueue(divmod, 7, 2).result(timeout=SOON_S) == (3, 1)


def test_a_coroutine_that_is_cancelled_before_its_first_step_harms_no_other(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coopy.messaging.task_run import TaskRun

    async def never() -> None:
        raise AssertionError

    monkeypatch.setattr(TaskRun, "cancelled", property(lambda self: self.claim.name.endswith("never")))
    with working(queue, coroutines=2):
        wait_until(queue.workers)
        handle = queue.task(never).send()
        wait_until(lambda: handle.done or not queue.workers())
        assert handle.done, "the worker has ended"
        with pytest.raises(TaskCancelled):
            handle.result(timeout=SOON_S)
        assert queue.enqueue(divmod, 7, 2).result(timeout=SOON_S) == (3, 1)


def test_a_task_that_raises_runs_again_as_often_as_it_may(queue: TaskQueue, tmp_path: Path) -> None:
    path = str(tmp_path / "count")
    handle = queue.task(retries=2, backoff=0.0)(functions.twice.function).send(path)
    assert queue.drain() == 3 and handle.result(timeout=SOON_S) == 3
    assert handle.look().failures == 2


def test_a_task_is_tried_again_for_the_exceptions_that_were_named_only(queue: TaskQueue) -> None:
    @queue.task(retries=3, backoff=0.0, retry_on=(OSError,))
    def fail(kind: type[Exception]) -> None:
        raise kind

    one, other = fail.send(ConnectionError), fail.send(ValueError)
    assert queue.drain() == 5
    assert one.look().failures == 4 and other.look().failures == 1


def test_a_task_says_itself_that_it_is_to_run_again_and_when(queue: TaskQueue) -> None:
    times: list[float] = []

    @queue.task(backoff=lambda failures: 100.0 * failures)
    def fail() -> None:
        times.append(current_task().failures)
        raise Retry(None if len(times) > 1 else 0)

    handle = fail.send()
    assert queue.drain() == 2 and times == [0, 1] and handle.state == "later"
    assert 190 < handle.look().due - time.time() <= 200
    assert handle.retry() and queue.drain() == 1


def test_a_back_off_that_raises_makes_the_task_dead_and_harms_no_other(queue: TaskQueue) -> None:
    @queue.task(retries=3, backoff=lambda failures: 1 / 0)
    def fail() -> None:
        raise KeyError

    handle = fail.send()
    assert queue.drain() == 1
    with pytest.raises(ZeroDivisionError):
        handle.result(timeout=SOON_S)


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e300, "soon", None])
@pytest.mark.parametrize("says", ["back-off", "Retry"])
def test_a_task_that_is_to_run_again_at_no_time_is_dead_and_harms_no_other(queue: TaskQueue, seconds: Any, says: str) -> None:
    if says == "Retry" and seconds is None:
        pytest.skip("as the back-off says")

    @queue.task(retries=3, backoff=lambda failures: seconds)
    def fail() -> None:
        raise Retry(seconds) if says == "Retry" else KeyError()

    handle, other = fail.send(), queue.enqueue(divmod, 7, 2)
    assert queue.drain() == 2 and other.result(timeout=SOON_S) == (3, 1)
    with pytest.raises(UsageError, match="must be seconds"):
        handle.result(timeout=SOON_S)


def test_a_task_waits_for_a_timedelta_before_it_runs_again(queue: TaskQueue) -> None:
    @queue.task(retries=1, backoff=lambda failures: timedelta(minutes=2))
    def fail(delay: timedelta | None) -> None:
        raise Retry(delay) if delay else KeyError()

    by_backoff, by_retry = fail.send(None), fail.send(timedelta(minutes=1))
    assert queue.drain() == 2
    assert 110 < by_backoff.look().due - time.time() <= 120 and 50 < by_retry.look().due - time.time() <= 60


@pytest.mark.parametrize("failures", [1, 2, 5, 10_000])
def test_a_back_off_grows_up_to_its_most_and_varies_by_its_jitter(failures: int) -> None:
    found = [Backoff(first=2, factor=3, most=100, jitter=0.25)(failures) for _ in range(100)]
    middle = min(100, 2 * 3 ** (min(failures, 50) - 1))
    assert all(0.75 * middle <= each <= 1.25 * middle for each in found) and len(set(found)) > 1


def test_tasks_that_were_taken_together_are_said_to_have_ended_together(queue: TaskQueue) -> None:
    from coopy import control

    with queue.batch():
        handles = [queue.enqueue(divmod, number, 3) for number in range(32)]
    before = control(queue.system).index
    worker = queue.worker(prefetch=8)
    assert worker.run_waiting() == 32
    assert control(queue.system).index - before < 32, "swaps, and what comes with a session"
    assert [each.result(timeout=SOON_S) for each in handles] == [divmod(number, 3) for number in range(32)]


def test_a_task_that_takes_long_does_not_hold_up_those_that_were_taken_together_with_it(queue: TaskQueue) -> None:
    """dramatiq_sqs PR#53: tasks that waited in a worker were another one's after a time, and ran twice."""
    goes_on = threading.Event()

    @queue.task
    def wait() -> bool:
        return goes_on.wait(SOON_S)

    with queue.batch():
        first, long, last = queue.enqueue(divmod, 7, 2), wait.send(), queue.enqueue(divmod, 8, 2)
    with queue.worker(prefetch=3):
        wait_until(lambda: long.state == "running")
        assert first.result(timeout=SOON_S) == (3, 1)
        wait_until(lambda: last.state == "waiting")
        with queue.worker():
            assert last.result(timeout=SOON_S) == (4, 0)
        goes_on.set()
        assert long.result(timeout=SOON_S)
    assert [each.look().deliveries for each in (first, long, last)] == [1, 1, 1]


@pytest.mark.parametrize(
    "wrong", [{"threads": -1}, {"threads": 2, "processes": 2}, {"prefetch": 0}, {"coroutines": 3, "threads": 1}], ids=str
)
def test_a_worker_that_can_not_be_is_refused(queue: TaskQueue, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        queue.worker(**wrong)


def test_lanes_are_a_list_as_a_text_would_be_its_letters(queue: TaskQueue) -> None:
    with pytest.raises(UsageError, match=r"lanes=\['mail'\]"):
        queue.worker(lanes="mail")


def test_a_function_that_no_child_can_find_fails_and_its_worker_goes_on(queue: TaskQueue) -> None:
    nameless = queue.task(name="power of two")(partial(pow, 2))
    with working(queue, processes=1):
        handle, other = nameless.send(3), queue.enqueue(divmod, 7, 2)
        with pytest.raises(UsageError, match="by its name"):
            handle.result(timeout=SOON_S)
        assert other.result(timeout=SOON_S) == (3, 1)


class Unloadable(Exception):
    """Copied by whoever copies it in memory, and not to be read from a pipe."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(one)

    def __deepcopy__(self, memo: object) -> Unloadable:
        return self


def test_arguments_of_an_action_that_a_pipe_does_not_carry_reach_a_child() -> None:
    tasks: Any = memory_system(Tasks)
    tasks.send("builtins:str", Unloadable(1, 2))
    tasks.send("builtins:str", 5)
    queue = TaskQueue(system=tasks)
    with working(queue, processes=1):
        assert queue.handle(1).result(timeout=SOON_S) == "1" and queue.handle(2).result(timeout=SOON_S) == "5"


def test_how_far_a_task_of_a_child_is_may_be_what_can_not_be_told(queue: TaskQueue) -> None:
    with working(queue, processes=1):
        assert queue.enqueue(functions.say_nothing).result(timeout=SOON_S) == "said"


@pytest.mark.parametrize("kind", [{"threads": 1, "prefetch": 3}, {"coroutines": 3}], ids=ids)
def test_what_is_too_large_to_be_recorded_fails_its_task_and_harms_no_other(kind: dict[str, int]) -> None:
    with Narrow() as queue:
        large, small, other = (queue.enqueue(bytes, size) for size in (Narrow.most * 2, 10, 20))
        with working(queue, **kind):
            assert len(small.result(timeout=SOON_S)) == 10 and len(other.result(timeout=SOON_S)) == 20
            with pytest.raises(EncodingError, match="task 1 has returned"):
                large.result(timeout=SOON_S)


class Narrow(TaskQueue):
    """A queue that takes no large records, as that of a cluster."""

    most = 10_000

    def change(self, what: str, *args: Any) -> Any:
        if len(packed(args)) > self.most:
            raise EncodingError("too large")
        return super().change(what, *args)


class Failing(TaskQueue):
    """A queue of which some calls are heard, and their answers are not; or that can't be used any more."""

    errors: list[Exception]
    is_heard = True

    def change(self, what: str, *args: Any) -> Any:
        if what != "swap" or not self.errors:
            return super().change(what, *args)
        if self.is_heard:
            super().change(what, *args)
        raise self.errors.pop()


@pytest.mark.parametrize("is_heard", [True, False], ids=["heard", "not heard"])
@pytest.mark.parametrize("kind", [{"threads": 1}, {"coroutines": 2}], ids=ids)
def test_a_worker_that_does_not_know_whether_it_was_heard_loses_no_task_and_runs_none_twice(
    monkeypatch: pytest.MonkeyPatch, is_heard: bool, kind: dict[str, int]
) -> None:
    monkeypatch.setattr("coopy.messaging.task_worker.AGAIN_S", 0.001)
    with Failing() as queue:
        ran: list[int] = []

        @queue.task
        def work(number: int) -> None:
            ran.append(number)
            if number < 3:
                queue.errors.append(OutcomeUnknown("who knows"))

        queue.errors, queue.is_heard = [OutcomeUnknown("who knows"), Unavailable("not now")], is_heard
        handles = [work.send(number) for number in range(5)]
        with working(queue, **kind):
            for handle in handles:
                handle.result(timeout=SOON_S)
        assert sorted(ran) == [0, 1, 2, 3, 4] and all(handle.look().deliveries == 1 for handle in handles)


class Silent(TaskQueue):
    """A queue of which no call is heard, once that is said."""

    is_silent = False
    asked = 0

    def change(self, what: str, *args: Any) -> Any:
        if self.is_silent:
            self.asked += 1
            raise Unavailable("not now")
        return super().change(what, *args)


@pytest.mark.parametrize("kind", [{"threads": 1}, {"coroutines": 2}], ids=ids)
def test_a_worker_stops_also_while_nobody_hears_it_and_says_so(monkeypatch: pytest.MonkeyPatch, kind: dict[str, int]) -> None:
    monkeypatch.setattr("coopy.messaging.task_worker.AGAIN_S", 0.001)
    with Silent(lease=0.2) as queue:
        ran: list[int] = []
        told: list[Exception] = []

        @queue.task
        def work() -> None:
            ran.append(1)
            queue.is_silent = len(ran) == 1

        def run() -> None:
            try:
                worker.run()
            except Unavailable as error:
                told.append(error)

        handle = work.send()
        worker = queue.worker(**kind)
        thread = threading.Thread(target=run)
        thread.start()
        wait_until(lambda: queue.asked > 20)  # What came of it can't be said, again and again.
        worker.stop()
        thread.join(SOON_S)
        assert not thread.is_alive() and ran == [1] and told
        queue.is_silent = False
        with working(queue, **kind):  # Its session ends when its time is over.
            assert handle.result(timeout=SOON_S) is None and ran == [1, 1]


@pytest.mark.parametrize("kind", [{"threads": 2}, {"coroutines": 2}], ids=ids)
def test_a_worker_with_nothing_to_say_stops_at_once_while_nobody_hears_it(
    monkeypatch: pytest.MonkeyPatch, kind: dict[str, int]
) -> None:
    monkeypatch.setattr("coopy.messaging.task_worker.AGAIN_S", 0.001)
    with Silent() as queue:
        worker = queue.worker(**kind)
        thread = threading.Thread(target=worker.run)
        thread.start()
        wait_until(queue.workers)
        queue.is_silent = True
        worker.stop()
        thread.join(SOON_S)
        assert not thread.is_alive()


def test_a_worker_that_stops_says_what_came_of_its_tasks_if_it_is_heard_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coopy.messaging.task_worker.AGAIN_S", 0.001)
    with Silent() as queue:

        @queue.task
        def work() -> int:
            queue.is_silent = True
            return 7

        handle = work.send()
        worker = queue.worker()
        thread = threading.Thread(target=worker.run)
        thread.start()
        wait_until(lambda: queue.asked > 20)
        stops = threading.Thread(target=worker.stop)
        stops.start()
        before = queue.asked
        wait_until(lambda: worker.stopping and queue.asked > before + 20)
        queue.is_silent = False
        stops.join(SOON_S)
        thread.join(SOON_S)
        assert (handle.state, handle.look().deliveries, handle.result()) == ("done", 1, 7)


def test_a_worker_whose_queue_can_not_be_used_any_more_ends_and_says_why() -> None:
    with Failing() as queue:
        queue.errors, queue.is_heard = [JournalError(28, "the disk is full", "journal")], False
        with pytest.raises(JournalError):
            queue.worker().run()
        assert queue.workers() == []


def test_a_worker_whose_session_has_ended_begins_another_and_what_it_says_of_old_tasks_is_dropped(queue: TaskQueue) -> None:
    goes_on = threading.Event()
    ran: list[int] = []

    @queue.task
    def work() -> None:
        ran.append(1)
        if len(ran) == 1:
            goes_on.wait(SOON_S)

    handle = work.send()
    with queue.worker():
        wait_until(lambda: ran)
        (session,) = [each["session"] for each in queue.workers()]
        assert queue.change("end", session)
        goes_on.set()
        handle.result(timeout=SOON_S)
        assert len(ran) == 2 and queue.workers()[0]["session"] != session
        assert queue.enqueue(divmod, 7, 2).result(timeout=SOON_S) == (3, 1)
        # One that waits finds out, too.
        (session,) = [each["session"] for each in queue.workers()]
        assert queue.change("end", session, True)
        assert queue.enqueue(divmod, 7, 2).result(timeout=SOON_S) == (3, 1)


def test_how_far_a_task_is_can_not_always_be_said_and_it_goes_on(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(what: str, *args: Any) -> Any:
        if what == "report":
            raise Unavailable("not now")
        return queue.system.change_tasks(what, *args)

    monkeypatch.setattr(queue, "change", change)
    handle = queue.enqueue(functions.say, 3)
    queue.drain()
    assert handle.state == "done"


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_closing_a_queue_ends_its_workers_first(tmp_path: Path, kind: dict[str, int]) -> None:
    queue = TaskQueue(tmp_path / "tasks", durability="buffered")
    worker = queue.worker(**kind)
    thread = threading.Thread(target=worker.run)
    thread.start()
    path = tmp_path / "runs"
    handle = queue.enqueue(functions.work.function, str(path), 0.2)
    wait_until(path.exists)
    queue.close()
    thread.join(SOON_S)
    assert not thread.is_alive()
    with TaskQueue(tmp_path / "tasks", durability="buffered") as queue:
        assert queue.handle(handle.id).state == "done" and queue.workers() == []


def test_a_worker_works_once(queue: TaskQueue) -> None:
    worker = queue.worker()
    worker.run_waiting()
    with pytest.raises(UsageError):
        worker.run()
    with pytest.raises(UsageError):
        queue.worker(coroutines=2).start()
