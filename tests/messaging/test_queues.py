"""PyDistributed's queue: one worker for each message, in turn, and answers that come back."""

from __future__ import annotations

import doctest
import inspect
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from messaging.stores import until
from program import start, write

import coopy
from coopy import Unavailable, UsageError, init_system
from coopy.messaging import QueueBroker, QueueClient, QueueWorker, TaskQueue, queue_turns, queues
from coopy.messaging.queue_turns import TasksInTurn
from coopy.messaging.task_records import FINISHED, Outcome


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Default directories are made in the current one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def broker() -> Iterator[QueueBroker]:
    with QueueBroker(durability="buffered") as found:
        yield found


@pytest.mark.parametrize("module", [queue_turns, queues])
def test_the_examples_of_a_module_show_what_happens(module: Any) -> None:
    assert not doctest.testmod(module).failed


def test_a_message_is_answered_with_what_the_callback_returns(broker: QueueBroker) -> None:
    with QueueWorker(lambda message: {"got": message}) as worker, QueueClient() as client:
        assert client.publish([1, "a"]) == {"got": [1, "a"]} and client.publish(None, block=True) == {"got": None}
        assert len(worker.worker_id) == len(client.client_id) == 32 and worker.worker_id != client.client_id


def test_workers_take_turns_and_each_message_goes_to_one(broker: QueueBroker) -> None:
    workers = [QueueWorker(lambda message, number=number: (number, message)) for number in range(3)]
    for worker in workers:
        worker.start()
    assert until(lambda: len(broker.queue.workers()) == 3)
    with QueueClient() as client:
        assert until(lambda: {client.publish("who waits?")[0] for _ in range(3)} == {0, 1, 2}), "all of them wait"
        found = [client.publish(message) for message in range(9)]
    assert [message for _, message in found] == [*range(9)]
    first = [number for number, _ in found[:3]]
    assert sorted(first) == [0, 1, 2] and [number for number, _ in found] == first * 3
    for worker in workers:
        worker.shutdown(), worker.shutdown()


def test_a_busy_worker_is_passed_over(broker: QueueBroker) -> None:
    go_on = threading.Event()
    with QueueWorker(lambda message: go_on.wait(60) and "slow") as slow, QueueClient() as client:
        waiting = client.submit("long")
        assert until(lambda: waiting.state == "running")
        with QueueWorker(lambda message: "quick"):
            assert [client.publish(number) for number in range(3)] == ["quick"] * 3
        go_on.set()
        assert waiting.result(60) == "slow" and slow.is_alive()


def test_what_a_callback_raises_comes_back_and_the_worker_goes_on(broker: QueueBroker) -> None:
    def divide(message: int) -> float:
        return 1 / message

    with QueueWorker(divide) as worker, QueueClient() as client:
        with pytest.raises(ZeroDivisionError):
            client.publish(0)
        assert client.publish(4) == 0.25 and worker.is_alive() and broker.queue.dead() == []
        with pytest.raises(TypeError):
            client.publish("text")


def test_a_callback_may_shut_its_own_worker_down(broker: QueueBroker) -> None:
    with QueueClient() as client, QueueWorker(lambda message: worker.shutdown() or "last") as worker:  # type: ignore[func-returns-value]
        assert client.publish(1) == "last"
        worker.join(60)
        assert not worker.is_alive()


@pytest.mark.parametrize("callback", [None, 5, "name"])
def test_what_can_not_be_called_is_refused(callback: Any) -> None:
    with pytest.raises(TypeError, match="must be callable with a message"):
        QueueWorker(callback)


def test_a_message_without_a_worker_is_taken_back_unless_it_is_to_block(broker: QueueBroker) -> None:
    with QueueClient(timeout=0.01) as client:
        with pytest.raises(Unavailable, match="no worker has come"):
            client.publish(1)
        assert broker.queue.counts()["waiting"] == 0
        got: list[Any] = []
        waiting = threading.Thread(target=lambda: got.append(client.publish(2, block=True)))
        waiting.start()
        with QueueWorker(lambda message: message * 2):
            waiting.join()
        assert got == [4]


def test_a_worker_and_a_client_wait_for_a_broker_that_is_not_there_yet() -> None:
    got: list[Any] = []
    with QueueWorker(lambda message: message + 1), QueueClient() as client:
        waiting = threading.Thread(target=lambda: got.append(client.publish(1)))
        waiting.start()
        with QueueBroker():
            waiting.join()
    assert got == [2]
    with QueueClient(timeout=0.01) as client, pytest.raises(Unavailable, match="ports 5559 of this machine"):
        client.publish(1)


def test_a_worker_goes_on_with_a_broker_that_comes_again() -> None:
    with QueueWorker(lambda message: message + 1) as worker, QueueClient() as client:
        for number in range(2):
            with QueueBroker() as broker:
                assert client.publish(number) == number + 1
                assert len(broker.queue.workers()) == 1
        assert worker.is_alive()


def test_a_message_is_not_lost_with_the_broker_that_took_it() -> None:
    with QueueBroker(), QueueClient() as client:
        number = client.submit("kept").id
    with QueueBroker() as broker, QueueWorker(str.upper):
        assert broker.queue.handle(number).result(60) == "KEPT"


def test_a_message_of_a_worker_that_is_killed_goes_to_another(broker: QueueBroker, tmp_path: Path) -> None:
    program = write(
        tmp_path / "elsewhere" / "worker.py",
        """
        import time
        from coopy.messaging import QueueWorker

        def hang(message):
            print("has it", flush=True)
            time.sleep(600)

        with QueueWorker(hang) as worker:
            worker.join()
        """,
    )
    process = start(program)
    assert process.stdout is not None and process.stdin is not None
    with QueueClient() as client:
        handle = client.submit("a")
        assert process.stdout.readline() == "has it\n"
        with QueueWorker(lambda message: message * 2):
            assert handle.state == "running"
            process.kill()
            process.wait()
            assert handle.result(60) == "aa"
    process.stdout.close(), process.stdin.close()


def test_a_broker_starts_joins_and_shuts_down_as_a_thread() -> None:
    broker = QueueBroker()
    broker.start()
    assert broker.is_alive()
    threading.Timer(0.01, broker.shutdown).start()
    broker.join(60)
    broker.shutdown()
    assert not broker.is_alive() and not any(isinstance(each.system, TasksInTurn) for each in coopy.opened())


def test_two_brokers_do_not_have_the_same_ports() -> None:
    with QueueBroker(None, "6001", 6002, directory="one"), QueueBroker(None, 6003, 6004, directory="other"):
        with QueueWorker(lambda message: "one", "localhost", 6002), QueueWorker(lambda message: "other", "localhost", "6004"):
            with QueueClient("localhost", 6001) as one, QueueClient("localhost", 6003) as other:
                assert [one.publish(1), other.publish(1), one.publish(1)] == ["one", "other", "one"]


def test_a_queue_that_is_open_is_a_context() -> None:
    with init_system(TasksInTurn, "jobs", validation="off") as system:  # type: ignore[attr-defined]
        jobs = TaskQueue(system=system)
        with QueueBroker(jobs), QueueWorker(len, context=jobs), QueueClient(context=jobs) as client:
            assert client.publish("four") == 4
        assert system.counts()["sent"] == 1
    with QueueBroker(object()), QueueWorker(len, context=object()), QueueClient(context=object()) as client:
        assert client.publish("four") == 4


@pytest.mark.parametrize("make", [lambda: QueueWorker(len, "192.0.2.1"), lambda: QueueClient("example.com")])
def test_another_machine_is_refused_with_what_to_do(make: Any) -> None:
    with pytest.raises(UsageError, match="For several machines"):
        make()


def test_the_signatures_are_those_of_the_original() -> None:
    def names(cls: type, number: int) -> list[str]:
        return [*inspect.signature(cls).parameters][:number]

    assert names(QueueBroker, 3) == ["context", "frontend_port", "backend_port"]
    assert names(QueueWorker, 4) == ["callback", "host", "worker_port", "context"]
    assert names(QueueClient, 3) == ["host", "client_port", "context"]
    assert [*inspect.signature(QueueClient.publish).parameters] == ["self", "messagedata", "block"]
    assert inspect.signature(QueueClient.publish).parameters["block"].default is False


def test_a_message_goes_to_the_worker_that_has_waited_longest() -> None:
    tasks = TasksInTurn()
    for session in "abc":
        assert tasks.begin(session, 30.0)
        assert tasks.swap(session, number=4, waits=4)[0] == []
    for session in ["a", "b", "c", "a", "b", "c"]:
        number = tasks.send("m:f")
        [claim] = tasks.dealt(session, 0) or []
        assert (claim.id, [name for name, _, running in tasks.sessions() if running]) == (number, [session])
        outcome = Outcome(claim.id, claim.token, FINISHED)
        assert tasks.swap(session, number=4, outcomes=[outcome], waits=4)[0] == []


def test_a_worker_has_one_message_at_a_time_and_one_that_does_not_ask_keeps_nobody_waiting() -> None:
    tasks = TasksInTurn()
    assert tasks.begin("asks", 30.0) and tasks.begin("asks nothing", 30.0)
    for _ in range(3):
        tasks.send("m:f")
    for number in (1, 2, 3):
        claims, _ = tasks.swap("asks", number=10)
        assert [claim.id for claim in claims] == [number] and tasks.finish(claims[0])
