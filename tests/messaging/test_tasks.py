"""A task that was sent runs, and whoever waits for it gets what it returns, or what it raises."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coopy import (
    DecodingError,
    EncodingError,
    ReadOnlyNode,
    RemoteError,
    SystemClosed,
    UsageError,
    aio,
    control,
    init_system,
    transactional,
)
from coopy.batteries import until
from coopy.messaging import NoSuchTask, TaskCancelled, TaskCrashed, TaskQueue, Tasks, current_task
from coopy.testing import Clock, memory_system
from coopy.values import bytecode

SOON_S = 60.0
"""No test waits for so long; a busy machine may."""


@pytest.fixture
def queue() -> Iterator[TaskQueue]:
    with TaskQueue() as found:
        yield found


def test_a_task_that_was_sent_runs_and_its_handle_has_what_it_returns(queue: TaskQueue) -> None:
    @queue.task
    def add(a: int, b: int) -> int:
        return a + b

    handle = add.send(1, b=2)
    assert handle.state == "waiting" and not handle.done
    assert queue.drain() == 1
    assert handle.result(timeout=SOON_S) == 3 and handle.done


def test_calling_a_task_function_calls_it_here_and_now(queue: TaskQueue) -> None:
    @queue.task
    def add(a: int, b: int) -> int:
        return a + b

    assert add(1, 2) == 3 and queue.counts().get("sent") is None


def test_arguments_that_the_function_does_not_take_are_refused_before_anything_is_sent(queue: TaskQueue) -> None:
    @queue.task
    def add(a: int, b: int) -> int:
        return a + b

    with pytest.raises(TypeError):
        add.send(1)  # type: ignore[call-arg]
    assert queue.counts().get("sent") is None


def test_what_a_task_raises_arrives_as_itself_with_its_traceback_as_text(queue: TaskQueue) -> None:
    @queue.task
    def divide(a: int, b: int) -> float:
        return a / b

    handle = divide.send(1, 0)
    queue.drain()
    with pytest.raises(ZeroDivisionError) as raised:
        handle.result(timeout=SOON_S)
    assert isinstance(raised.value.__cause__, RemoteError) and "in divide" in raised.value.__cause__.traceback


class Unpicklable(Exception):
    def __reduce__(self) -> str:
        raise RuntimeError("not me")


class Other(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Holding(Exception):
    def __init__(self) -> None:
        super().__init__("held")
        self.lock = threading.Lock()


def _raised_by(queue: TaskQueue, error: Exception) -> BaseException:
    @queue.task
    def fail() -> None:
        raise error

    handle = fail.send()
    assert queue.drain() == 1
    with pytest.raises(Exception) as raised:
        handle.result(timeout=SOON_S)
    return raised.value


@pytest.mark.parametrize("error", [Unpicklable("no"), Other(1, 2)], ids=["pickling", "unpickling"])
def test_an_exception_that_pickle_alone_can_not_make_again_arrives_as_itself(queue: TaskQueue, error: Exception) -> None:
    found = _raised_by(queue, error)
    assert type(found) is type(error) and str(found) == str(error)


def test_an_exception_that_can_not_travel_arrives_as_one_that_names_it(queue: TaskQueue) -> None:
    found = _raised_by(queue, Holding())
    assert isinstance(found, RemoteError) and found.kind.endswith("Holding") and found.text == "held"


def test_a_task_that_ends_the_interpreter_ends_only_itself(queue: TaskQueue) -> None:
    @queue.task
    def leave() -> None:
        raise SystemExit(3)

    @queue.task
    def stay() -> int:
        return 1

    gone, there = leave.send(), stay.send()
    assert queue.drain() == 2
    assert there.result(timeout=SOON_S) == 1
    with pytest.raises(SystemExit):
        gone.result(timeout=SOON_S)


def test_a_result_that_is_counted_up_is_run_to_its_end(queue: TaskQueue) -> None:
    handle = queue.task(name="count")(lambda: (each for each in range(3))).send()
    assert queue.drain() == 1 and list(handle.result(timeout=SOON_S)) == [0, 1, 2]


def test_tasks_run_in_threads_while_a_block_goes_on(queue: TaskQueue) -> None:
    @queue.task
    def double(number: int) -> int:
        return 2 * number

    with queue.worker(threads=3):
        handles = [double.send(number) for number in range(20)]
        assert [each.result(timeout=SOON_S) for each in handles] == [2 * number for number in range(20)]


def test_a_handle_can_be_awaited(queue: TaskQueue) -> None:
    @queue.task
    async def double(number: int) -> int:
        return 2 * number

    async def main() -> list[int]:
        handles = [await double.asend(number) for number in range(5)]
        return [await each for each in handles]

    with queue.worker():
        assert asyncio.run(main()) == [0, 2, 4, 6, 8]


def test_a_batch_is_one_action_and_none_if_its_block_raises(queue: TaskQueue) -> None:
    @queue.task
    def double(number: int) -> int:
        return 2 * number

    before = control(queue.system).index
    with queue.batch():
        handles = [double.send(number) for number in range(10)]
        with pytest.raises(UsageError):
            assert handles[0].id
    assert control(queue.system).index == before + 1
    queue.drain()
    assert [each.result(timeout=SOON_S) for each in handles] == [2 * number for number in range(10)]
    with pytest.raises(KeyError), queue.batch():
        double.send(1)
        raise KeyError
    assert queue.counts()["sent"] == 10


def test_a_function_of_a_module_is_sent_without_decoration(queue: TaskQueue) -> None:
    handle = queue.enqueue(divmod, 7, 2)
    queue.drain()
    assert handle.result(timeout=SOON_S) == (3, 1)


def test_a_function_that_no_worker_finds_is_a_dead_letter_that_says_so(queue: TaskQueue) -> None:
    def inner() -> None:
        pass

    handle = queue.enqueue(inner)
    queue.drain()
    with pytest.raises(LookupError, match="inner"):
        handle.result(timeout=SOON_S)


def test_a_task_that_waits_can_be_cancelled_and_does_not_run(queue: TaskQueue) -> None:
    @queue.task
    def never() -> None:
        raise AssertionError

    handle = never.send()
    assert handle.cancel() and not handle.cancel()
    assert queue.drain() == 0
    with pytest.raises(TaskCancelled):
        handle.result(timeout=SOON_S)


def test_a_task_that_is_not_known_is_said_to_be_so(queue: TaskQueue) -> None:
    handle = queue.handle(17)
    assert not handle.cancel() and not handle.retry()
    for ask in (handle.look, handle.result, lambda: handle.state, lambda: handle.progress):
        with pytest.raises(NoSuchTask):
            ask()


def test_a_result_that_is_not_there_in_time_is_a_timeout_and_the_task_goes_on(queue: TaskQueue) -> None:
    handle = queue.enqueue(divmod, 7, 2)
    with pytest.raises(TimeoutError):
        handle.result(timeout=0)
    queue.drain()
    assert handle.result(timeout=SOON_S) == (3, 1)


def test_an_interrupt_ends_the_worker_and_the_queue_is_whole_and_its_task_runs_again(tmp_path: Path) -> None:
    """persist-queue#58: unreadable after Ctrl-C. PR#61: what was not acknowledged was not there after a restart."""
    path = tmp_path / "tasks"
    ran: list[str] = []

    def opened() -> TaskQueue:
        queue = TaskQueue(path, durability="buffered")

        @queue.task(name="work")
        def work() -> int:
            ran.append("x")
            if len(ran) == 1:
                raise KeyboardInterrupt
            return len(ran)

        return queue

    queue = opened()
    number = queue.defined["work"].send().id
    with pytest.raises(KeyboardInterrupt):
        queue.drain()
    assert queue.workers() == [] and queue.handle(number).state == "waiting"
    queue.close()
    with opened() as queue:
        assert queue.drain() == 1 and queue.handle(number).result(timeout=SOON_S) == 2


def test_a_task_that_interrupts_each_worker_is_a_dead_letter_in_the_end(queue: TaskQueue) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    handle = queue.task(name="interrupt", deliveries=3)(interrupt).send()
    for crashes in (1, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            queue.drain()
        assert handle.look().crashes == crashes
    assert queue.drain() == 0 and handle.state == "dead"
    with pytest.raises(TaskCrashed, match="3 times"):
        handle.result(timeout=SOON_S)


OF_THE_PROCESS = {
    "open file": lambda path: open(path, "a"),
    "lock": lambda path: threading.Lock(),
    "socket": lambda path: socket.socket(),
    "thread": lambda path: threading.current_thread(),
    "logger": lambda path: logging.getLogger("tasks"),
    "module": lambda path: logging,
}


@pytest.mark.parametrize("kind", OF_THE_PROCESS)
def test_what_belongs_to_the_process_is_no_argument_of_a_task(queue: TaskQueue, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "kept"
    path.write_text("kept")
    value = OF_THE_PROCESS[kind](path)
    with pytest.raises(EncodingError, match=r"take: number\[0\] is .*No task was sent"):
        queue.task(name="take")(_take).send([value])
    with pytest.raises(EncodingError, match="No task was sent"):
        queue.enqueue(_take, value)
    if hasattr(value, "close"):
        value.close()
    assert queue.drain() == 0 and path.read_text() == "kept"


@pytest.mark.parametrize("kind", OF_THE_PROCESS)
def test_what_belongs_to_the_process_is_no_result_of_a_task(queue: TaskQueue, tmp_path: Path, kind: str) -> None:
    values = []

    def give() -> Any:
        values.append(OF_THE_PROCESS[kind](tmp_path / "kept"))
        return values[0]

    handle = queue.task(name="give")(give).send()
    assert queue.drain() == 1
    with pytest.raises(EncodingError, match="what it has returned is"):
        handle.result(timeout=SOON_S)
    for value in values:
        if hasattr(value, "close"):
            value.close()


def _take(number: Any) -> Any:
    return number


def test_functions_without_a_module_are_arguments_and_results(queue: TaskQueue) -> None:
    handle = queue.task(name="twice")(lambda function: lambda number: function(function(number))).send(
        lambda number: number + 1
    )
    assert queue.drain() == 1 and handle.result(timeout=SOON_S)(1) == 3


def test_a_function_that_another_python_has_sent_is_refused_by_name(queue: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = queue.task(name="take")(_take).send(lambda: 1)
    monkeypatch.setattr(bytecode, "PYTHON", "cpython 3.99")
    assert queue.drain() == 1
    monkeypatch.undo()
    with pytest.raises(DecodingError, match="byte code"):
        handle.result(timeout=SOON_S)


WRONG: dict[str, list[Any]] = {
    "retries": [-1, "1", 1.5],
    "priority": ["high", None],
    "delay": [-5, "soon", float("nan"), float("inf")],
    "deadline": [-1, "late"],
    "keep": [-1, "long"],
    "backoff": [-1, "long", float("inf")],
    "retry_on": ["OSError", (1,)],
    "unique": [7, ["a"]],
    "concurrency_key": [7],
    "concurrency": [0, "2"],
    "rate": ["x", "0/s", (1, 0), 7, "1/w"],
    "lane": [7],
    "deliveries": [0, None],
}


@pytest.mark.parametrize("option", WRONG)
def test_an_option_that_cannot_be_used_is_refused_where_it_is_given(queue: TaskQueue, option: str) -> None:
    for value in WRONG[option]:
        with pytest.raises(UsageError, match=option):
            queue.task(name="take", **{option: value})(_take)
        assert "take" not in queue.defined
    take = queue.task(name="take")(_take)
    for value in WRONG[option]:
        with pytest.raises(UsageError, match=option):
            take.options(**{option: value})


def test_a_queue_is_used_by_name_of_its_functions_in_whatever_way_they_are_given(queue: TaskQueue) -> None:
    for function in (divmod, Path.exists, int, len):
        assert (
            queue.task(function).name
            == f"{function.__module__ if hasattr(function, '__module__') else ''}:{function.__qualname__}"
        )
    handle = queue.task(int).send("17")
    queue.drain()
    assert handle.result(timeout=SOON_S) == 17


@pytest.mark.parametrize("given", [True, "x", lambda number, **_: number % 2], ids=["all", "text", "function"])
def test_a_task_that_is_unique_is_sent_once_while_it_is_not_over(queue: TaskQueue, given: object) -> None:
    @queue.task(unique=given)  # type: ignore[call-overload, untyped-decorator, unused-ignore]
    def work(number: int, tags: object = frozenset()) -> None:
        pass

    first, again = work.send(1, tags={"a", "b"}), work.send(tags={"b", "a"}, number=1)
    other = work.send(2)
    assert first.is_new and not again.is_new and again.id == first.id
    assert (other.id == first.id) == (given == "x")
    queue.drain()
    assert work.send(1, tags={"a", "b"}).is_new


def test_what_can_not_be_told_from_others_of_its_kind_can_not_be_unique(queue: TaskQueue) -> None:
    @queue.task(unique=True)
    def work(thing: object) -> None:
        pass

    with pytest.raises(UsageError, match="unique="):
        work.send(object())
    assert queue.counts().get("sent") is None


@pytest.mark.parametrize(
    ("key", "expected"),
    [(True, 1), ("all", 1), (lambda number: number % 2, 2), (False, 4)],
    ids=["all", "text", "function", "none"],
)
def test_as_many_tasks_of_a_key_run_together_as_may(queue: TaskQueue, key: object, expected: int) -> None:
    together: list[int] = []
    most: list[int] = []
    goes_on = threading.Event()

    @queue.task(concurrency_key=key)  # type: ignore[call-overload, untyped-decorator, unused-ignore]
    def work(number: int) -> None:
        together.append(number)
        most.append(len(together))
        if len(together) >= expected:
            goes_on.set()
        goes_on.wait(SOON_S)
        together.remove(number)

    handles = [work.send(number) for number in range(4)]
    with queue.worker(threads=4):
        for handle in handles:
            handle.result(timeout=SOON_S)
    assert max(most) == expected


@pytest.mark.parametrize("wrong", ["10", "10/x", "x/s", "0/s", (0, 1), (1, 0)], ids=str)
def test_a_rate_that_can_not_be_is_refused(queue: TaskQueue, wrong: object) -> None:
    with pytest.raises(UsageError, match="rate="):
        queue.task(rate=wrong)(divmod).send(7, 2)  # type: ignore[call-overload, unused-ignore]
    with pytest.raises(TypeError):
        queue.task(retires=3)(divmod)  # type: ignore[call-overload, unused-ignore]
    with pytest.raises(TypeError):
        queue.task(divmod).options(retires=3)


def test_results_that_were_read_are_noted_together_and_as_the_queue_is_closed(tmp_path: Path) -> None:
    with TaskQueue(tmp_path / "tasks", durability="buffered") as queue:
        with queue.batch():
            handles = [queue.enqueue(divmod, number, 3) for number in range(70)]
        queue.worker(prefetch=100).run_waiting()
        before = control(queue.system).index
        for handle in handles:
            handle.result(timeout=SOON_S)
        assert control(queue.system).index == before + 1
    with control(init_system(Tasks, tmp_path / "tasks", validation="off")) as controls:
        assert controls.index >= before + 2 and all(job.was_read for job in controls.replay()._jobs.values())


@pytest.mark.slow
def test_a_queue_of_a_node_that_writes_is_read_on_one_that_follows(tmp_path: Path) -> None:
    pytest.importorskip("nats", reason="the extra [cluster] is not installed")
    from program import free_port

    port = free_port()
    with (
        TaskQueue(tmp_path / "one", master=True, port=port) as one,
        TaskQueue(tmp_path / "other", replication=True, port=port) as other,
    ):
        with one.worker(threads=2):
            handle = one.enqueue(divmod, 7, 2)
            assert handle.result(timeout=SOON_S) == (3, 1)
            assert until(lambda: control(other.system).index >= control(one.system).index, timeout=SOON_S)
            assert other.handle(handle.id).result(timeout=SOON_S) == (3, 1)
            with pytest.raises(ReadOnlyNode):
                other.enqueue(divmod, 7, 2)
        assert one.workers() == []


def test_only_a_task_has_a_current_task() -> None:
    with pytest.raises(UsageError):
        current_task()


SHOPS = TaskQueue()


class Shop:
    """A system that has tasks among what it has."""

    def __init__(self) -> None:
        self.tasks = Tasks()
        self.sold: list[str] = []

    def change_tasks(self, *change: object) -> object:
        return self.tasks.change_tasks(*change)  # type: ignore[arg-type]

    def see_tasks(self, *question: object) -> object:
        return self.tasks.see_tasks(*question)  # type: ignore[arg-type]

    def order(self, item: str) -> int:
        return self.tasks.send("sell", [item])

    def sell(self, claim: tuple[int, int], item: str, value: object = None) -> None:
        if self.tasks.finish(claim, value):
            self.sold.append(item)


@pytest.mark.parametrize("value", [b"", b"bytes", "text", {"a": [1]}, None, bytearray(b"x")], ids=repr)
def test_what_an_action_says_of_a_task_is_what_its_handle_gives(tmp_path: Path, value: object) -> None:
    shop = init_system(Shop, tmp_path / "shop", validation="off")
    queue = TaskQueue(system=shop)
    queue.task(name="sell")(lambda items: shop.sell(current_task().claim, items[0], value))
    number = shop.order("tea")
    assert queue.drain() == 1 and queue.handle(number).result(timeout=SOON_S) == value
    control(shop).close()


def test_what_an_action_does_and_the_end_of_its_task_are_one(tmp_path: Path) -> None:
    shop = init_system(Shop, tmp_path / "shop", validation="off")
    queue = TaskQueue(system=shop)

    @queue.task(name="sell")
    def sell(items: list[str]) -> None:
        for _ in range(2):
            shop.sell(current_task().claim, items[0])

    number = shop.order("tea")
    assert queue.drain() == 1
    assert queue.handle(number).state == "done" and shop.sold == ["tea"]
    control(shop).close()


@SHOPS.task(name="notify", priority=2, unique=True, delay=0)  # type: ignore[call-overload, untyped-decorator, unused-ignore]
def notify(who: list[str]) -> list[str]:
    return who


class Clients:
    """A system whose actions send tasks by their functions."""

    def __init__(self) -> None:
        self.tasks = Tasks()
        self.names: list[str] = []

    def change_tasks(self, *change: object) -> object:
        return self.tasks.change_tasks(*change)  # type: ignore[arg-type]

    def see_tasks(self, *question: object) -> object:
        return self.tasks.see_tasks(*question)  # type: ignore[arg-type]

    @transactional
    def add(self, name: str) -> int:
        self.names.append(name)
        number = self.tasks.send(notify, self.names)
        if not name:
            raise ValueError(name)
        return number


def test_an_action_sends_a_task_with_what_was_said_of_its_function_or_not_at_all(tmp_path: Path) -> None:
    clients = init_system(Clients, tmp_path / "clients", validation="off")
    queue = TaskQueue(system=clients)
    queue.defined["notify"] = notify
    first, again = clients.add("ann"), clients.add("bob")
    assert first != again and queue.handle(first).look().priority == 2
    with pytest.raises(ValueError):
        clients.add("")
    assert queue.counts()["sent"] == 2
    queue.drain()
    assert queue.handle(first).result(timeout=SOON_S) == ["ann"], "as it was when it was sent"
    assert queue.handle(again).result(timeout=SOON_S) == ["ann", "bob"]
    control(clients).close()
    again_opened = init_system(Clients, tmp_path / "clients", validation="off")
    assert again_opened.names == ["ann", "bob"] and TaskQueue(system=again_opened).handle(first).state == "done"
    control(again_opened).close()


def test_a_system_of_asyncio_and_a_plain_object_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.open(Tasks, tmp_path / "tasks", validation="off") as tasks:
            with pytest.raises(UsageError):
                TaskQueue(system=tasks)

    asyncio.run(main())
    with pytest.raises(UsageError):
        TaskQueue(system=Tasks())


@pytest.mark.parametrize(
    "wrong", [{"directory": "x", "system": object()}, {"system": object()}, {"lease": 0}, {"lease": float("inf")}]
)
def test_a_queue_that_can_not_be_is_refused_before_anything_is_opened(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        TaskQueue(**wrong)  # type: ignore[arg-type]


def test_a_queue_that_was_closed_before_its_first_use_stays_closed(tmp_path: Path) -> None:
    queue = TaskQueue(tmp_path / "tasks")
    queue.close()
    with pytest.raises(SystemClosed, match="Make another one"):
        queue.counts()
    assert not (tmp_path / "tasks").exists()


@pytest.mark.parametrize("wrong", ["-5/s", "nan/s", "inf/s", "0/m", "5", "5/w", (1, float("inf")), (0, 1)], ids=str)
def test_a_rate_that_can_not_be_is_refused_where_it_is_defined(queue: TaskQueue, wrong: Any) -> None:
    with pytest.raises(UsageError, match="rate="):
        queue.task(rate=wrong)(divmod)


@pytest.mark.parametrize("moment", [float("inf"), float("nan")])
def test_a_time_that_is_none_is_refused_and_no_task_is_made(queue: TaskQueue, moment: float) -> None:
    with pytest.raises(UsageError, match="at="):
        queue.task(divmod).options(at=moment)


def test_so_many_at_once_are_of_what_has_a_key_in_common(queue: TaskQueue) -> None:
    with pytest.raises(UsageError, match="concurrency_key="):
        queue.task(concurrency=2)(divmod)


def test_a_text_that_looks_like_an_address_says_well_what_is_unique(queue: TaskQueue) -> None:
    report = queue.task(unique=True)(len)
    assert report.send("crash at 0x7f00").id == report.send("crash at 0x7f00").id != report.send("crash at 0x7f01").id


def test_a_queue_in_memory_runs_its_tasks_by_a_clock_that_a_test_moves() -> None:
    clock = Clock()
    clock.freeze()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        system = memory_system(Tasks, clock=clock)
    queue = TaskQueue(system=system)
    late = queue.task(delay=3600)(divmod).send(7, 2)
    assert queue.drain() == 0
    clock.move(3600)
    assert queue.drain() == 1 and late.result(timeout=SOON_S) == (3, 1)
    control(system).close()
