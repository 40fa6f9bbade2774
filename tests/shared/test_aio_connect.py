"""A system that another process serves, from asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

pytest.importorskip("websockets", reason="the extra [serve] is not installed")

from shared.domain import Odd, Wiki
from shared.gates import Served, served

import coopy
from coopy import AuthenticationFailed, RemoteError, SystemClosed, Unavailable, UsageError, aio


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture(autouse=True)
def is_empty(place: Served) -> None:
    place.wiki.clear()


@pytest.mark.parametrize("how", ["tcp", "unix"])
def test_tasks_call_and_read_over_one_connection(place: Served, how: str) -> None:
    async def main() -> None:
        async with aio.connect(getattr(place, how), Wiki, key=place.key if how == "tcp" else None) as wiki:
            assert await wiki.put("Home", "Welcome") == 1
            assert await wiki.page("Home") == "Welcome"
            assert await wiki.pages == {"Home": "Welcome"}
            await asyncio.gather(*(wiki.add(number) for number in range(200)))
            assert await wiki.count() == 200 and sorted(await wiki.all()) == list(range(200))
            assert await wiki.itself() is wiki
            assert await aio.call(wiki, Wiki.__len__) == 1
            await aio.call(wiki, Wiki.__setattr__, "title", "Ours")
            assert await wiki.title == place.wiki.title == "Ours"
            assert await wiki.take_snapshot() == coopy.control(place.wiki).index
            assert len(place.gate._sessions) == 1
        with pytest.raises(SystemClosed):
            await wiki.add(1)

    asyncio.run(main())


def test_what_a_call_raises_is_raised_where_it_is_awaited_and_the_others_go_on(place: Served) -> None:
    async def main() -> None:
        async with aio.connect(place.unix, Wiki) as wiki:
            found = await asyncio.gather(
                wiki.add(1), wiki.fail("Home"), wiki.odd(), wiki.add(2), wiki.add(lambda: 3), return_exceptions=True
            )
            assert found[0] == 1 and isinstance(found[1], KeyError) and found[3] == 3
            assert isinstance(found[2], RemoteError) and Odd.__name__ in str(found[2])
            assert await wiki.count() == 4

    asyncio.run(main())


def test_the_loop_goes_on_while_nobody_answers(tmp_path: Path) -> None:
    async def main() -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(turn())
        with pytest.raises(Unavailable):
            await aio.connect(f"unix:{tmp_path}/none", Wiki, timeout=0.1)
        task.cancel()
        assert turns > 1

    asyncio.run(main())


def test_what_is_refused_is_refused_when_it_is_awaited(place: Served) -> None:
    class Calls(Protocol):
        async def nothing_of_the_kind(self) -> Any: ...

    async def main() -> None:
        with pytest.raises(UsageError, match="give key="):
            await aio.connect(place.tcp, Wiki)
        with pytest.raises(AuthenticationFailed):
            await aio.connect(place.tcp, Wiki, key=b"x" * 32)
        with pytest.raises(UsageError, match="nothing_of_the_kind"):
            await aio.connect(place.unix, Wiki, protocol=Calls)

    asyncio.run(main())


def test_calls_go_on_after_the_connection_has_ended(place: Served) -> None:
    async def main() -> None:
        async with aio.connect(place.unix, Wiki) as wiki:
            for number in range(3):
                assert await wiki.add(number) == number + 1
                place.loop.call_soon_threadsafe(lambda: [each.peer.transport.abort() for each in place.gate._sessions.values()])
            assert await wiki.all() == [0, 1, 2]

    asyncio.run(main())
