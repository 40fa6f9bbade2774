"""Stores and their clients: how they find one another, and what both can do."""

from __future__ import annotations

import asyncio
import gc
import inspect
import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from messaging.stores import ask, store_elsewhere, until
from program import run, write

import coopy
from coopy import SystemClosed, Unavailable, UsageError, aio, control, init_system
from coopy.batteries import Change
from coopy.messaging import ABSENT, Conflict, Feed, Keys, KeyValueClient, KeyValueStore, MissingKey
from coopy.messaging import store as store_module
from coopy.messaging.store_finding import directories_at
from coopy.testing import memory_system


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Default directories are made in the current one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store() -> Iterator[KeyValueStore]:
    with KeyValueStore(auto_backup=False) as found:
        yield found


# -- in one process


def test_a_store_serves_from_its_constructor_on_and_survives(tmp_path: Path) -> None:
    with KeyValueStore({"a": 1}) as store, KeyValueClient() as client:
        assert client.get("a") == 1 and client.set("a", 2) is True and store.get("a") == 2
        assert store.basedir == str(tmp_path / "tmp" / "keyvalue.db.coopy")
    with KeyValueStore({"a": 1, "b": 3}) as store:
        assert store.get("a") == 2, "an initial value is for a key that is not there"
        assert store.get("b") == 3
    with KeyValueStore(initial={}, db_file_path=tmp_path / "other" / "file", auto_backup=True) as store:
        assert len(store) == 0 and os.path.isdir(tmp_path / "other" / "file.coopy")


def test_a_client_of_the_same_process_lets_the_store_go_on(store: KeyValueStore) -> None:
    with KeyValueClient() as one, KeyValueClient() as other:
        one.set("a", 1)
        assert other.get("a") == 1 and one.system is other.system is store.system
    assert store.get("a") == 1
    with pytest.raises(SystemClosed, match="shut down"):
        one.get("a")


def test_a_client_finds_a_store_beside_systems_that_have_no_directory(store: KeyValueStore) -> None:
    beside = memory_system(Keys)
    with KeyValueClient() as client:
        assert client.set("a", 1) and store.get("a") == 1
    control(beside).close()


def test_stores_and_clients_have_the_same_methods(store: KeyValueStore) -> None:
    with KeyValueClient() as client:
        for each in (store, client):
            assert each.put("a", 1) > 0 and each.put_if("a", 2, each.get_version("a").revision) > 0  # type: ignore[union-attr]
            assert each.compare_and_set("b", ABSENT, 1) and not each.put_if_absent("b", 2) and each.increment("b") == 2
            each["c/1"], each["c/2"] = 1, 2
            assert each.put_many({"c/3": 3}) > 0 and each.get_many(["c/1", "c/3", "c/4"]) == {"c/1": 1, "c/3": 3}
            assert each.scan("c/", after="c/1", limit=1) == [("c/2", 2)] and [*each.keys("c/")] == ["c/1", "c/2", "c/3"]
            assert [*each] == ["a", "b", "c/1", "c/2", "c/3"] and len(each) == each.count() == 5 and "a" in each
            assert each.exists("a") and each["a"] == 2 and each.get("d", 7) == 7 and each.get_version("d") is None
            assert each.touch("a", 50) and 0 < each.ttl("a") < 60 and each.history("b")[-1].value == 2  # type: ignore[operator]
            assert each.update("b", lambda value: value + 1) == 3 and each.update("l", lambda found: [*found, 1], []) == [1]
            assert each.delete("l") and not each.delete("l") and each.delete_prefix("c/") == 3
            del each["a"], each["b"]
            with pytest.raises(MissingKey, match="GOT EXCEPTION ON GET"):
                each.get("a")
            with pytest.raises(MissingKey):
                del each["a"]


def test_all_keys_are_yielded_however_many_pages_they_are(store: KeyValueStore) -> None:
    names = [f"{number:05}" for number in range(2500)]
    store.put_many(dict.fromkeys(names))
    assert [*store.keys()] == names and len(store.scan()) == 1000


def test_a_value_that_can_not_be_recorded_raises_and_nothing_changes(store: KeyValueStore) -> None:
    with KeyValueClient() as client, pytest.raises(coopy.EncodingError):
        client.set("a", threading.Lock())
    assert not store.exists("a")


# -- several keys


def test_a_block_is_one_action_and_sees_what_it_has_set(store: KeyValueStore) -> None:
    store.put_many({"a": 10, "b": 0, "old": [1]})
    before = control(store.system).index
    with store.transact() as keys:
        keys.set("a", keys.get("a") - 3)
        keys["b"] = keys["b"] + 3
        assert keys["a"] == 7 and "old" in keys
        del keys["old"]
        assert "old" not in keys and keys.get("old", 5) == 5
        keys.set("short", 1, ttl=60)
    assert control(store.system).index == before + 1 == keys.revision
    assert store.get_many(["a", "b", "old"]) == {"a": 7, "b": 3} and store.ttl("short") is not None
    with pytest.raises(UsageError, match="has ended"):
        keys.set("a", 1)
    with pytest.raises(MissingKey), store.transact() as keys:
        keys.set("a", 0)
        keys.get("nothing")
    with store.transact() as keys:
        keys.get("a")
    assert store.get("a") == 7 and control(store.system).index == before + 1


@pytest.mark.parametrize(
    "change", [lambda s: s.set("a", 5), lambda s: s.delete("a"), lambda s: s.set("new", 5), lambda s: s.set("a", 1)]
)
def test_a_block_that_has_read_what_is_another_by_now_changes_nothing(store: KeyValueStore, change: Any) -> None:
    store.set("a", 1)
    with pytest.raises(Conflict, match="changed by somebody else") as raised, store.transact() as keys:
        keys.set("b", keys.get("a") + keys.get("new", 0))
        change(store)
    assert set(raised.value.keys) <= {"a", "new"} and not store.exists("b")


def test_threads_that_move_amounts_lose_none(store: KeyValueStore) -> None:
    store.put_many({"a": 100, "b": 100})

    def move(one: str, other: str) -> None:
        for _ in range(20):
            while True:
                try:
                    with store.transact() as keys:
                        keys[one] = keys[one] - 1
                        keys[other] = keys[other] + 1
                    break
                except Conflict:
                    pass
            store.update("n", lambda found: found + 1, 0)

    threads = [threading.Thread(target=move, args=pair) for pair in [("a", "b"), ("b", "a"), ("a", "b")]]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert store.get_many(["a", "b", "n"]) == {"a": 80, "b": 120, "n": 60}


# -- being told


def test_a_store_and_a_client_tell_of_one_key_or_of_a_beginning(store: KeyValueStore) -> None:
    with KeyValueClient() as client:
        for each in (store, client):
            one, some, every = (
                each.subscribe("l/1", timeout=30),
                each.subscribe(prefix="l/", timeout=30),
                each.subscribe(timeout=30),
            )
            store.set("l/1", 1), store.set("l/2", {"on": True}), store.set("m", 3), store.delete("l/1")
            assert [(next(one).kind, next(one).kind)] == [("added", "removed")]
            assert [next(some)[2:] for _ in range(3)] == [
                ("added", "l/1", None, 1),
                ("added", "l/2", None, {"on": True}),
                ("removed", "l/1", 1, None),
            ]
            found: list[Change] = [next(every) for _ in range(4)]
            assert [change.key for change in found] == ["l/1", "l/2", "m", "l/1"] and found[-1].index == every.last
            again = each.subscribe("l/1", after=found[0].index, timeout=0.01)
            assert [change.kind for change in again] == ["removed"]
            for subscription in (one, some, every, again):
                subscription.close()
            store.delete_prefix("")


def test_a_callback_is_called_until_it_is_unsubscribed(store: KeyValueStore) -> None:
    with KeyValueClient() as client:
        for each in (store, client):
            heard: list[Any] = []
            each.subscribe("a", lambda change, heard=heard: heard.append(change.after))
            store.set("a", 1), store.set("b", 1), store.set("a", 2)
            assert until(lambda heard=heard: heard == [1, 2])
            assert each.unsubscribe("a") == 1 and each.unsubscribe("a") == 0
            store.set("a", 3)
        with pytest.raises(UsageError, match="the one or the other"):
            client.subscribe("a", prefix="b")
    assert heard == [1, 2]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_of_a_client_that_raises_is_told_of_the_next_change(store: KeyValueStore) -> None:
    heard: list[Any] = []

    def told(change: Change) -> None:
        heard.append(change.after)
        raise ValueError(change.after)

    with KeyValueClient() as client:
        client.subscribe("a", told)
        for number in range(3):
            store.set("a", number)
        assert until(lambda: heard == [0, 1, 2])


def test_a_client_that_has_missed_changes_is_told_so() -> None:
    with KeyValueStore(changes=5) as store, KeyValueClient() as client:
        with client.subscribe("a", timeout=0.05) as feed:
            for number in range(20):
                store.set("a", number)
            found = [*feed]
    assert [change.kind for change in found] == ["missed"] + ["set"] * 5 and [each.after for each in found[1:]] == [
        *range(15, 20)
    ]
    assert found[0].index == found[1].index - 1


def test_a_subscription_ends_when_it_is_closed_and_that_of_a_store_with_the_store(store: KeyValueStore) -> None:
    with KeyValueClient(timeout=0.05) as client:
        feed, watch = client.subscribe("a"), store.subscribe("a")
        assert isinstance(feed, Feed)
        threading.Timer(0.05, feed.close).start()
        assert [*feed] == []
        waiting = client.subscribe()
        store.shutdown()
        assert [*watch] == []
        with pytest.raises(Unavailable):
            next(waiting)


def test_a_subscription_of_a_client_goes_on_with_the_store_that_comes_again() -> None:
    with KeyValueClient() as client:
        with KeyValueStore() as store:
            store.set("a", 1)
            feed = client.subscribe("a", timeout=60)
            store.set("a", 2)
        with KeyValueStore() as store:
            assert next(feed).after == 2
            store.set("a", 3)
            assert next(feed).after == 3


def test_changes_are_awaited_in_a_loop(store: KeyValueStore) -> None:
    async def hear(client: KeyValueClient) -> list[Any]:
        found = []
        async for change in client.subscribe("a", timeout=30):
            found.append(change.after)
            if change.after == 2:
                return found
            await asyncio.to_thread(store.set, "a", 2)
        return []

    async def main() -> None:
        with KeyValueClient() as client:
            heard = asyncio.create_task(hear(client))
            await asyncio.sleep(0)
            await asyncio.to_thread(store.set, "a", 1)
            assert await heard == [1, 2]
            assert [change async for change in client.subscribe("a", timeout=0)] == []

    asyncio.run(main())


# -- time


@pytest.mark.parametrize("through", ["store", "client", "system"])
def test_a_key_that_is_to_live_for_a_time_goes_by_itself(store: KeyValueStore, through: str) -> None:
    with KeyValueClient() as client:
        {"store": store, "client": client, "system": store.system}[through].set("a", 1, ttl=0.2)
        store.set("b", 1)
        with store.subscribe("a", timeout=60) as changes:
            assert store.get("a", None) in (1, None)
            assert next(changes).kind == "expired" and not client.exists("a") and client.exists("b")


def test_no_time_is_counted_where_no_key_has_an_end(store: KeyValueStore) -> None:
    store.set("a", 1)
    assert store.system.count_time().interval_ns == 0
    with store.subscribe("c", timeout=60) as changes:
        store.set("c", 1, ttl=0.1)
        assert [next(changes).kind, next(changes).kind] == ["added", "expired"]
    before = control(store.system).index
    with store.subscribe(timeout=0.3) as changes:
        assert [*changes] == [] and control(store.system).index == before


# -- other processes


def test_a_client_in_another_process_finds_the_store_by_its_ports_alone(store: KeyValueStore, tmp_path: Path) -> None:
    program = write(
        tmp_path / "elsewhere" / "client.py",
        """
        from coopy.messaging import KeyValueClient, MissingKey
        client = KeyValueClient("localhost", 5559, 5560)
        assert client.set("a", {"n": [1]}) is True and client.get("a") == {"n": [1]}
        try:
            client.get("nothing")
        except MissingKey as error:
            print(str(error)[:20], error.key)
        with client.subscribe("b", timeout=60) as changes:
            client.set("b", 1)
            print(next(changes)[2:])
        with client.transact() as keys:
            keys["c"] = keys["b"] + 1
        print(client.client_id == client._client_id, len(client.client_id), client.scan())
        """,
    )
    said = run(program).splitlines()
    assert said == [
        "GOT EXCEPTION ON GET nothing",
        "('added', 'b', None, 1)",
        "True 32 [('a', {'n': [1]}), ('b', 1), ('c', 2)]",
    ]
    assert store.get("c") == 2


def test_two_clients_of_one_process_share_what_they_have_open(tmp_path: Path) -> None:
    with store_elsewhere(tmp_path / "there"):
        one, other = KeyValueClient(), KeyValueClient()
        one.set("a", 1)
        assert other.get("a") == 1 and one.system is other.system
        one.shutdown(), one.shutdown()
        assert other.get("a") == 1 and other.client_id != one.client_id
        other.shutdown()
        assert not any(isinstance(each.system, Keys) for each in coopy.opened())


def test_a_client_waits_for_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    with KeyValueClient(timeout=60) as client:
        got: list[Any] = []
        waiting = threading.Thread(target=lambda: got.append(client.get("a")))
        waiting.start()
        with KeyValueStore({"a": 1}):
            waiting.join()
    assert got == [1]


def test_a_client_of_a_store_that_does_not_come_is_told_so() -> None:
    with (
        KeyValueClient("localhost", 5, 6, timeout=0.05) as client,
        pytest.raises(Unavailable, match="ports 5, 6 of this machine"),
    ):
        client.get("a")


def test_a_client_goes_on_with_the_store_that_comes_after_one_that_was_killed(tmp_path: Path) -> None:
    with KeyValueClient() as client:
        with store_elsewhere(tmp_path / "one", initial={"a": 1}) as one:
            assert client.get("a") == 1
            one.kill()
        client.shutdown()
    links = Path(os.environ["XDG_RUNTIME_DIR"], "coopy", "at")
    assert len(os.listdir(links)) == 1, "what was killed has left its link"
    with store_elsewhere(tmp_path / "two", initial={"a": 2}), KeyValueClient() as client:
        assert client.get("a") == 2
    assert directories_at("keyvalue", 5559, 5560) == [] and os.listdir(links) == []


def test_two_processes_may_serve_one_directory_and_two_directories_not_at_the_same_ports(tmp_path: Path) -> None:
    path = str(tmp_path / "both")
    with store_elsewhere(tmp_path / "one", db_file_path=path) as one:
        with KeyValueStore(db_file_path=path) as store:
            store.set("a", 1)
            assert ask(one, "store.get('a')") == 1
        with pytest.raises(UsageError, match="served at the ports 5559, 5560 by process [0-9]+, which runs"):
            KeyValueStore(db_file_path="another")
        with KeyValueStore(db_file_path="another", publisher_port="6559", subscriber_port="6560") as other:
            other.set("a", 2)
            with KeyValueClient(publisher_port=6559, subscriber_port=6560) as client:
                assert client.get("a") == 2
        assert not any(isinstance(each.system, Keys) for each in coopy.opened())


def test_a_store_whose_directory_another_process_has_for_itself_is_refused(tmp_path: Path) -> None:
    with init_system(Keys, tmp_path / "tmp" / "keyvalue.db.coopy", validation="off"), pytest.raises(coopy.DirectoryInUse):
        KeyValueStore()
    assert directories_at("keyvalue", 5559, 5560) == []


@pytest.mark.parametrize("initial", ["home", Path("home"), None, 5559, [("a", 1)]], ids=repr)
def test_a_place_in_the_place_of_the_values_is_refused(initial: Any) -> None:
    with pytest.raises(UsageError, match="db_file_path="):
        KeyValueStore(initial)


@pytest.mark.parametrize("port", [0, -1, 65536, "x", None, True, 5559.0])
def test_what_is_no_port_is_refused(port: Any) -> None:
    with pytest.raises(UsageError, match="must be a port"):
        KeyValueStore(publisher_port=port)
    with pytest.raises(UsageError, match="must be a port"):
        KeyValueClient(subscriber_port=port)


def test_a_folder_that_others_may_enter_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run" / "coopy" / "at").mkdir(parents=True)
    (tmp_path / "run" / "coopy" / "at").chmod(0o777)
    with pytest.raises(UsageError, match="can be entered by others"):
        KeyValueStore()
    assert not any(isinstance(each.system, Keys) for each in coopy.opened())


# -- JSON files of the original


def test_the_json_file_of_the_original_is_taken_over_once_and_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "tmp" / "keyvalue.db"
    file.parent.mkdir()
    text = json.dumps({"a": 1, "l": ["x", {"y": None}], "ä": "ö"})
    file.write_text(text)
    with KeyValueStore({"a": 5, "b": 6}) as store:
        assert store.system.to_dict() == {"a": 1, "b": 6, "l": ["x", {"y": None}], "ä": "ö"}
        assert store.system.imported() == str(file)
        store.delete("l"), store.set("a", 2)
    with KeyValueStore() as store:
        assert store.system.to_dict() == {"a": 2, "b": 6, "ä": "ö"}
    assert file.read_text() == text


@pytest.mark.parametrize("text", ["", "  \n", "{}"])
def test_an_empty_file_of_the_original_is_a_store_without_keys(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    with KeyValueStore(db_file_path="keys.json") as store:
        assert len(store) == 0


@pytest.mark.parametrize("text", ["[1]", "{'a': 1}", "\0", '{"a": '])
def test_a_file_that_is_none_of_the_original_is_refused_and_nothing_is_opened(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(UsageError, match="Nothing was taken over"):
        KeyValueStore(db_file_path="keys.json")
    assert os.listdir(tmp_path) == ["keys.json"]


def test_what_is_dumped_is_a_file_of_the_original(store: KeyValueStore, tmp_path: Path) -> None:
    store.put_many({"a": 1, "l": [{"x": True}], "d": {"k": "v"}})
    store.dump(tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == {"a": 1, "d": {"k": "v"}, "l": [{"x": True}]}
    store.set("s", {1, 2})
    with pytest.raises(UsageError, match="Nothing was written"):
        store.dump(tmp_path / "out.json")
    assert "s" not in json.loads((tmp_path / "out.json").read_text()) and os.listdir(tmp_path).count("out.json") == 1


# -- the system below


def test_snapshots_time_travel_and_options_are_those_of_a_system(tmp_path: Path) -> None:
    with KeyValueStore({"a": 1}, history=2, snapshot_time=3600, keep=2) as store:
        revision = store.put("a", 2)
        assert store.take_snapshot() == control(store.system).index
        store.set("a", 3)
        assert store.at(revision).to_dict() == {"a": 2} and [each.value for each in store.history("a")] == [2, 3]
        assert control(store.system).status()["role"] == "writer"
    with pytest.raises(TypeError, match="snapshot_tim"):
        KeyValueStore(snapshot_tim=5)


def test_the_state_is_opened_from_asyncio_like_any_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.open(Keys, tmp_path / "keys", validation="off") as keys:
            await keys.set("a", 1)
            assert await keys.get("a") == 1 and await keys.scan() == [("a", 1)] and await keys.compare_and_set("a", 1, 2)

    asyncio.run(main())


def test_each_change_is_printed_if_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    with KeyValueStore(enable_logging=True) as store:
        store.set("a", [1]), store.delete("a")
        assert until(lambda: "removed" in printed.getvalue())
    assert printed.getvalue().splitlines() == ["keyvalue added 'a': [1]", "keyvalue removed 'a': None"]


def test_the_signatures_are_those_of_the_original() -> None:
    def first(function: Any, number: int) -> list[tuple[str, Any]]:
        return [(each.name, each.default) for each in [*inspect.signature(function).parameters.values()][:number]]

    assert first(KeyValueStore, 7) == [
        ("initial", {}),
        ("db_file_path", "tmp/keyvalue.db"),
        ("auto_backup", True),
        ("keyvalue_host", "localhost"),
        ("publisher_port", 5559),
        ("subscriber_port", 5560),
        ("enable_logging", False),
    ]
    assert first(KeyValueClient, 3) == [("keyvalue_host", "localhost"), ("publisher_port", 5559), ("subscriber_port", 5560)]
    assert inspect.signature(KeyValueStore.__init__).parameters["initial"].default == {}
    assert store_module.KIND == "keyvalue"


def test_a_process_does_not_serve_two_directories_at_the_same_ports(store: KeyValueStore) -> None:
    with pytest.raises(UsageError, match="Choose others for .*another"):
        KeyValueStore(db_file_path="another")
    with KeyValueClient() as client:
        client.set("a", 1)
    assert store.get("a") == 1 and directories_at("keyvalue", 5559, 5560) == [store.basedir]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_goes_on_with_store_and_client_and_takes_nothing_from_its_origin(store: KeyValueStore) -> None:
    with KeyValueClient() as client:
        client.set("a", 1)
        child = os.fork()
        if not child:
            status = 1
            try:
                assert (
                    client.get("a") == 1 and client.set("b", client.client_id) and KeyValueClient().get("b") == client.client_id
                )
                with client.transact() as keys:
                    keys["a"] = keys["a"] + 1
                store.shutdown()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert until(lambda: store.get("b", None) == client.client_id) and client.get("a") == 2
        assert directories_at("keyvalue", 5559, 5560) == [store.basedir]


def test_clients_lose_nothing_that_was_acknowledged_when_the_process_that_writes_is_killed(tmp_path: Path) -> None:
    path = str(tmp_path / "both")
    with (
        store_elsewhere(tmp_path / "one", db_file_path=path) as one,
        store_elsewhere(tmp_path / "two", db_file_path=path) as two,
    ):
        with KeyValueClient() as client:
            done = []

            def work() -> None:
                for number in range(200):
                    client.increment("n")
                    done.append(client.put(f"k/{number:03}", number))

            working = threading.Thread(target=work)
            working.start()
            assert until(lambda: len(done) > 20)
            one.kill()  # It had the directory first, so it writes.
            working.join()
            assert client.get("n") == 200 and client.count("k/") == 200 and done == sorted(done)
            assert ask(two, "store.get('n')") == 200


def test_a_set_of_keys_is_deleted_in_an_order_that_depends_on_no_hash(tmp_path: Path) -> None:
    said = {
        run(
            write(
                tmp_path / seed / "deletes.py",
                """
                from coopy import control
                from coopy.messaging import KeyValueStore
                with KeyValueStore() as store:
                    names = {f"key{number}" for number in range(50)}
                    store.put_many(dict.fromkeys(sorted(names)))
                    store.system.transact({}, names)
                    print([change.key for change in store.system.changes(1)[0]])
                """,
            ),
            PYTHONHASHSEED=seed,
        )
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_the_whole_history_of_a_key_is_read_from_the_journal(store: KeyValueStore) -> None:
    for number in range(50):
        store.set("a", number), store.set("b", number)
    assert [change.after for change in store.subscribe("a", after=0, timeout=0)] == [*range(50)]
    assert [version.value for version in store.history("a")] == [*range(34, 50)]


def test_time_is_not_counted_while_nobody_has_the_store_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coopy.sync import boot

    with KeyValueStore() as store:
        store.set("a", 1, ttl=3600)
        left = store.ttl("a")
    later = boot.now_ns() + 7200 * 10**9
    monkeypatch.setattr(boot, "now_ns", lambda: later)
    with KeyValueStore() as store:
        assert left is not None and store.ttl("a") == pytest.approx(left, abs=120)


def test_a_link_of_a_process_whose_number_another_one_has_by_now_is_passed_over(store: KeyValueStore, tmp_path: Path) -> None:
    links = Path(os.environ["XDG_RUNTIME_DIR"], "coopy", "at")
    left = links / "keyvalue-5559-5560-1"  # A process that runs on every machine.
    left.symlink_to(tmp_path / "nothing.coopy")
    try:
        store.set("a", 1)
        for _ in range(2):
            with KeyValueClient(timeout=30) as client:
                assert client.get("a") == 1
    finally:
        left.unlink()


def test_a_subscription_that_nobody_has_any_more_is_gone(store: KeyValueStore) -> None:
    with KeyValueClient() as client:
        for each in (store, client):
            for _ in range(50):
                each.subscribe("a", timeout=0)
            kept, heard = each.subscribe("a", timeout=0), []
            each.subscribe("a", heard.append)
            gc.collect()
            store.set("a", 1)
            assert until(lambda heard=heard: len(heard) == 1)
            assert each.unsubscribe("a") == 2 and [*kept] == []
