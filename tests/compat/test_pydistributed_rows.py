"""What PyDistributed documents of its key-value store and its queue, row by row, and what was wrong with it there.

Each test is named after the class, or the file, of its row. Those of the message bus and of the event source are beside what they are of.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from messaging.stores import until
from program import free_port, run, write

import coopy.compat.pydistributed as pydistributed
import coopy.messaging

EXPORTS = "KeyValueStore KeyValueClient QueueBroker QueueClient QueueWorker"
ACTIONS = "Get GetResult GetException Set SetResult SetException Subscribe Unsubscribe Exception"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Default directories are made in the current one."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", EXPORTS.split())
def test_exports_are_in_compat_and_in_messaging(name: str) -> None:
    assert getattr(pydistributed, name) is getattr(coopy.messaging, name)
    assert name in coopy.messaging.__all__


# -- KeyValueStore


def test_row_KeyValueStore_serves_in_its_constructor_and_ends_with_shutdown() -> None:
    store = pydistributed.KeyValueStore()
    client = pydistributed.KeyValueClient()
    assert client.set("key", {"any": ["value"]}) is True and client.get("key") == {"any": ["value"]}
    store.shutdown()
    assert os.path.isdir("tmp/keyvalue.db.coopy")


def test_row_KeyValueStore_makes_the_directory_of_its_file() -> None:
    """There the default path needed a directory tmp that was there."""
    with pydistributed.KeyValueStore(db_file_path="not/there/yet/keys"):
        assert os.listdir("not/there/yet") == ["keys.coopy"]


def test_row_KeyValueStore_uses_its_host_and_its_ports() -> None:
    """There they were not looked at."""
    with (
        pydistributed.KeyValueStore({"which": 1}, "one", keyvalue_host="localhost", publisher_port=7101, subscriber_port=7102),
        pydistributed.KeyValueStore({"which": 2}, "two", keyvalue_host="127.0.0.1", publisher_port=7103, subscriber_port=7104),
    ):
        for number, ports in ((1, (7101, 7102)), (2, (7103, 7104))):
            with pydistributed.KeyValueClient("localhost", *ports) as client:
                assert client.get("which") == number
        with pydistributed.KeyValueClient("localhost", 7101, 7104, timeout=0.01) as client, pytest.raises(coopy.Unavailable):
            client.get("which")


def test_row_KeyValueStore_takes_initial_values_and_reads_the_original_file() -> None:
    Path("keys.db").write_text(json.dumps({"old": [1, {"a": None}]}))
    with pydistributed.KeyValueStore(
        initial={"new": 1, "old": 2}, db_file_path="keys.db", auto_backup=False, enable_logging=False
    ) as store:
        assert store.get("old") == [1, {"a": None}] and store.get("new") == 1
        store.dump("out.db")
    assert json.loads(Path("out.db").read_text()) == {"new": 1, "old": [1, {"a": None}]}


def test_row_KeyValueStore_goes_on_after_a_request_that_makes_no_sense() -> None:
    """There a value that JSON has not, or a key that is no text, ended the thread that served all clients."""
    with pydistributed.KeyValueStore() as store, pydistributed.KeyValueClient() as client:
        assert client.set("set", {1, 2}) and client.get("set") == {1, 2}
        with pytest.raises(coopy.UsageError):
            client.set(5, 1)  # type: ignore[arg-type]
        with pytest.raises(coopy.EncodingError):
            client.set("lock", threading.Lock())
        assert isinstance(store.perform(object()), pydistributed.keyvalue.Exception) and client.get("set") == {1, 2}


def test_row_KeyValueStore_does_not_unpickle_what_strangers_send() -> None:
    """There every message that came to its port was unpickled. Here nothing listens on the network unless there is a key."""
    port = free_port(2)
    with pydistributed.KeyValueStore(publisher_port=port, subscriber_port=port + 1):
        for each in (port, port + 1):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", each), timeout=5)


def test_row_KeyValueStore_keeps_what_was_set_when_its_process_is_killed(tmp_path: Path) -> None:
    program = write(
        tmp_path / "killed.py",
        """
        import os, signal
        from coopy.compat.pydistributed import KeyValueStore
        KeyValueStore(db_file_path="kept").set("a", 1)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    run(program, code=-9)
    with pydistributed.KeyValueStore(db_file_path="kept") as store:
        assert store.get("a") == 1


def test_row_KeyValueStore_is_a_PickleDB() -> None:
    with pydistributed.KeyValueStore({"text": "a", "n": 1}, "keys") as store:
        assert store.append("text", "b") and store.get("text") == "ab" and store.totalkeys() == 2
        assert store.getall() == ["n", "text"] and store.rem("n") and not store.rem("n") and not store.exists("n")
        assert store.lcreate("l") and store.ladd("l", "x") and store.lextend("l", ["y", "z", "z"])
        assert (
            store.lgetall("l") == ["x", "y", "z", "z"] and store.lget("l", -1) == "z" and store.lrange("l", 1, 3) == ["y", "z"]
        )
        assert (
            store.lremvalue("l", "z")
            and store.lpop("l", 0) == "x"
            and store.lappend("l", 0, "!")
            and store.lgetall("l") == ["y!", "z"]
        )
        assert store.llen("l") == store.totalkeys("l") == 2 and store.lexists("l", "z") and store.lremlist("l") == 2
        assert store.dcreate("d") and store.dcreate("e") and store.dadd("d", ("a", 1)) and store.dadd("e", ("b", [2]))
        assert store.dmerge("d", "e") and store.dgetall("d") == {"a": 1, "b": [2]} and store.dget("d", "a") == 1
        assert store.dkeys("d") == ["a", "b"] and store.dvals("d") == [1, [2]] and store.dexists("d", "b")
        assert store.dpop("d", "b") == [2] and not store.dexists("d", "b") and store.drem("e")
        for ask in (
            lambda: store.ladd("no", 1),
            lambda: store.lgetall("no"),
            lambda: store.dget("d", "no"),
            lambda: store.drem("no"),
        ):
            with pytest.raises(KeyError):
                ask()
        assert store.dump() and json.loads(Path("keys").read_text()) == {"d": {"a": 1}, "text": "ab"}
        assert store.deldb() and len(store) == 0


# -- KeyValueClient


def test_row_KeyValueClient_get_returns_the_value_or_raises_the_documented_exception() -> None:
    with pydistributed.KeyValueStore(), pydistributed.KeyValueClient() as client:
        assert client.set("a", None) is True and client.get("a") is None
        with pytest.raises(Exception, match="^GOT EXCEPTION ON GET"):
            client.get("b")
        assert client.get("b", 5) == 5


def test_row_KeyValueClient_has_a_client_id_by_both_names() -> None:
    one, other = pydistributed.KeyValueClient(), pydistributed.KeyValueClient()
    assert one.client_id == one._client_id != other.client_id and bytes.fromhex(one.client_id)


def test_row_KeyValueClient_answers_many_threads_each_with_its_own() -> None:
    """There two threads of one client took each other's answers."""
    with pydistributed.KeyValueStore(auto_backup=False), pydistributed.KeyValueClient() as client:
        wrong: list[Any] = []

        def ask(name: str) -> None:
            for number in range(100):
                client.set(name, (name, number))
                if client.get(name) != (name, number):
                    wrong.append(name)

        threads = [threading.Thread(target=ask, args=(str(number),)) for number in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert not wrong


def test_row_KeyValueClient_does_not_wait_for_ever_for_a_store_that_is_not_there() -> None:
    """There `get` waited for ever, and a `set` that came before the store was lost."""
    with pydistributed.KeyValueClient(timeout=0.01) as client:
        with pytest.raises(coopy.Unavailable):
            client.get("a")
        with pytest.raises(coopy.Unavailable):
            client.set("a", 1)


@pytest.mark.parametrize("name", ACTIONS.split())
def test_row_KeyValueClient_has_the_action_classes(name: str) -> None:
    for module in (pydistributed.keyvalue, coopy.messaging):
        assert getattr(module, name) is getattr(module, f"{name}Action") and dataclasses.is_dataclass(getattr(module, name))


def test_row_KeyValueClient_performs_each_action() -> None:
    """There four of them were never used."""
    keyvalue = pydistributed.keyvalue
    with pydistributed.KeyValueStore(), pydistributed.KeyValueClient() as client:
        assert client.perform(keyvalue.Set("a", 1)) == keyvalue.SetResult("a", 1)
        assert client.perform(keyvalue.Get("a")) == keyvalue.GetResult("a", 1)
        missing = client.perform(keyvalue.Get("b"))
        assert isinstance(missing, keyvalue.GetException) and isinstance(missing.error, KeyError)
        refused = client.perform(keyvalue.Set("a", threading.Lock()))
        assert isinstance(refused, keyvalue.SetException) and isinstance(refused.error, coopy.EncodingError)
        heard = client.perform(keyvalue.Subscribe("a"))
        client.set("a", 2)
        assert next(heard).after == 2  # type: ignore[call-overload]
        assert client.perform(keyvalue.Get("a", subscribe=True)) == keyvalue.GetResult("a", 2)
        assert client.perform(keyvalue.Unsubscribe("a")) == 2 and [*heard] == []  # type: ignore[misc]
        assert isinstance(client.perform("nonsense"), keyvalue.Exception)


# -- QueueBroker, QueueWorker, QueueClient


def test_row_QueueBroker_gives_each_message_to_one_worker_in_turn() -> None:
    with pydistributed.QueueBroker() as broker, pydistributed.QueueClient() as client:
        broker.start()
        workers = [pydistributed.QueueWorker(lambda message, number=number: number) for number in range(2)]
        for each in workers:
            each.start()
        assert until(lambda: len(broker.queue.workers()) == 2)
        assert until(lambda: {client.publish(0), client.publish(1)} == {0, 1}), "both wait"
        assert sorted([client.publish(2), client.publish(3)]) == [0, 1]
        for each in workers:
            each.shutdown()


def test_row_QueueWorker_answers_with_what_the_callback_returns() -> None:
    """There the answer was the worker's id."""
    with (
        pydistributed.QueueBroker(),
        pydistributed.QueueWorker(lambda message: message + 1),
        pydistributed.QueueClient() as client,
    ):
        assert client.publish(41) == 42


def test_row_QueueWorker_goes_on_after_a_callback_that_raises_and_the_client_is_told() -> None:
    """There the worker ended, and its client waited for ever."""
    with pydistributed.QueueBroker(), pydistributed.QueueWorker(int) as worker, pydistributed.QueueClient() as client:
        with pytest.raises(ValueError, match="invalid literal"):
            client.publish("no number")
        assert worker.is_alive() and client.publish("5") == 5


def test_row_QueueWorker_refuses_what_can_not_be_called() -> None:
    with pytest.raises(TypeError):
        pydistributed.QueueWorker("no function")  # type: ignore[arg-type]


def test_row_QueueClient_does_not_wait_for_ever_unless_it_is_told_to_block() -> None:
    """There `block` was not looked at, and without a worker `publish` waited for ever."""
    with pydistributed.QueueBroker(), pydistributed.QueueClient(timeout=0.01) as client:
        with pytest.raises(coopy.Unavailable):
            client.publish("a", block=False)
        handle = client.submit("b")
        with pydistributed.QueueWorker(str.upper):
            assert client.publish("c", block=True) == "C" and handle.result(60) == "B"
