"""A client of a store in an event loop."""

from __future__ import annotations

import asyncio
import doctest
import inspect
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from coopy.messaging import ABSENT, AsyncKeyValueClient, Conflict, KeyValueClient, KeyValueStore, MissingKey, store_aio


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyValueStore]:
    monkeypatch.chdir(tmp_path)
    with KeyValueStore(auto_backup=False) as found:
        yield found


def in_loop(main: Callable[[AsyncKeyValueClient], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with AsyncKeyValueClient() as client:
            await main(client)

    asyncio.run(run())


def test_the_examples_show_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not doctest.testmod(store_aio).failed


def test_an_asyncio_client_has_the_methods_of_a_client() -> None:
    own = {"system", "unsubscribe", "perform", "close"}
    plain = {name for name, _ in inspect.getmembers(KeyValueClient) if not name.startswith("_")} - own
    assert plain <= {name for name, _ in inspect.getmembers(AsyncKeyValueClient)}
    for name in plain - {"keys", "transact"}:
        assert inspect.iscoroutinefunction(getattr(AsyncKeyValueClient, name)), name


def test_each_call_is_awaited(store: KeyValueStore) -> None:
    async def main(client: AsyncKeyValueClient) -> None:
        assert await client.set("a", 1) and await client.get("a") == 1 and await client.get("b", 5) == 5
        with pytest.raises(MissingKey):
            await client.get("b")
        revision = await client.put("a", 2)
        assert await client.put_if("a", 3, revision) and not await client.put_if("a", 4, revision)
        assert await client.put_if_absent("n", 1) and await client.increment("n", 2) == 3
        assert await client.compare_and_set("m", ABSENT, 1) and await client.update("m", lambda found: found + 1) == 2
        assert await client.exists("m") and await client.touch("m", 60) and 59 < (await client.ttl("m") or 0) < 70
        version = await client.get_version("a")
        assert version is not None and version.value == 3 and len(await client.history("a")) == 3
        await client.put_many({"p/1": 1, "p/2": 2})
        assert await client.get_many(["p/1", "p/3"]) == {"p/1": 1} and await client.scan("p/", limit=1) == [("p/1", 1)]
        assert [key async for key in client.keys("p/")] == ["p/1", "p/2"] and await client.count("p/") == 2
        assert await client.delete("m") and await client.delete_prefix("p/") == 2 and await client.count() == 2

    in_loop(main)


def test_an_update_that_raises_stop_iteration_is_told(store: KeyValueStore) -> None:
    async def main(client: AsyncKeyValueClient) -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await client.update("m", lambda _: next(iter([])))

    in_loop(main)


def test_a_block_is_one_action_or_none(store: KeyValueStore) -> None:
    async def main(client: AsyncKeyValueClient) -> None:
        await client.put_many({"a": 5, "b": 0, "c": 1})
        async with client.transact() as keys:
            keys.set("a", await keys.get("a") - 1)
            keys.set("b", await keys.get("b") + 1)
            keys.delete("c")
            assert not await keys.exists("c") and await keys.get("c", 7) == 7
        assert keys.revision == store.system.revision() and store.get_many(["a", "b", "c"]) == {"a": 4, "b": 1}
        with pytest.raises(Conflict):
            async with client.transact() as keys:
                keys.set("b", await keys.get("a"))
                await client.set("a", 9)
        with pytest.raises(KeyError):
            async with client.transact() as keys:
                keys.set("b", 9)
                raise KeyError
        assert store.get("b") == 1

    in_loop(main)


def test_the_loop_goes_on_while_a_client_waits_for_changes_and_for_a_store(store: KeyValueStore) -> None:
    async def main(client: AsyncKeyValueClient) -> None:
        heard: list[Any] = []
        changes = await client.subscribe("a", timeout=60)

        async def hear() -> None:
            async for change in changes:
                heard.append(change.after)
                if change.after == 2:
                    return

        hearing = asyncio.create_task(hear())
        for number in range(3):
            await client.set("a", number)
        await hearing
        assert heard == [0, 1, 2]
        late = AsyncKeyValueClient("localhost", 5561, 5562, timeout=60)
        waiting = asyncio.create_task(late.get("x"))
        await asyncio.sleep(0)
        with await asyncio.to_thread(KeyValueStore, {"x": 1}, "other", publisher_port=5561, subscriber_port=5562):
            assert await waiting == 1
        await late.shutdown()

    in_loop(main)
