"""Many objects, used from asyncio: what is true of calls without a loop is true of those with an ``await``."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from objects.rooms import Device, Room, Site

import coopy
from coopy import DirectoryInUse, SystemClosed, UsageError, aio

Scene = Callable[[Any], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scene], None]:
    """Plays a scene with the rooms of one directory, in a loop of its own."""

    def play(scene: Scene) -> None:
        async def played() -> None:
            async with aio.objects(Room, tmp_path / "rooms") as rooms:
                await scene(rooms)

        asyncio.run(played())

    return play


def test_calls_of_many_tasks_are_each_applied_once_and_in_order(play: Any) -> None:
    async def speak(rooms: Any) -> None:
        async def say(task: int) -> None:
            for number in range(10):
                await rooms[f"room {task % 7}"].say(f"{task}.{number}")

        await asyncio.gather(*map(say, range(50)))

    async def look(rooms: Any) -> None:
        assert (await rooms.count(), await rooms.keys("room 1")) == (7, ["room 1"])
        assert (await rooms.has("room 3"), await rooms.has("room 9")) == (True, False)
        for key in await rooms.keys():
            said = [who for who, _ in await rooms[key].last(1000)]
            for task in range(int(key[-1]), 50, 7):
                assert [each for each in said if each.startswith(f"{task}.")] == [f"{task}.{number}" for number in range(10)]

    play(speak)
    play(look)


def test_what_a_method_raises_is_raised_where_it_is_awaited(play: Any) -> None:
    async def scene(rooms: Any) -> None:
        found = await asyncio.gather(
            rooms["a"].say("ann"),
            rooms["a"].fail("x"),
            rooms["a"].undo("y"),
            rooms["a"].say("bob", text="ho"),
            rooms["a"].last(),
            return_exceptions=True,
        )
        assert found[0] == 1 and [type(each) for each in found[1:3]] == [ValueError, ValueError]
        assert (found[3], found[4]) == (3, [("ann", ""), "x", ("bob", "ho")])
        with pytest.raises(TypeError):
            await rooms["a"].say()
        with pytest.raises(UsageError, match="is no key"):
            rooms[""]

    play(scene)


def test_a_handle_is_equal_by_its_key_and_is_an_argument(play: Any) -> None:
    async def scene(rooms: Any) -> None:
        assert rooms["a"] == rooms["a"] != rooms["b"] and len({rooms["a"], rooms["a"]}) == 1
        assert await rooms["a"].itself() == rooms["a"]
        await rooms["a"].keep([rooms["b"]])
        assert pickle.dumps(rooms["b"])
        assert len(await rooms["a"].last()) == 1

    play(scene)
    play(lambda rooms: rooms["a"].last())


def test_an_object_is_deleted_and_begins_again(play: Any) -> None:
    async def scene(rooms: Any) -> None:
        await rooms["a"].say("ann")
        await rooms.delete("a")
        assert (await rooms.has("a"), await rooms["a"].last()) == (False, [])
        with pytest.raises(KeyError):
            await rooms.delete("a")
        assert await rooms["a"].say("bob") == 1

    play(scene)


def test_a_call_whose_task_is_cancelled_harms_no_other(play: Any) -> None:
    async def scene(rooms: Any) -> None:
        tasks = [asyncio.create_task(rooms["a"].say(str(number))) for number in range(40)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        places = [each for each in found if isinstance(each, int)]
        said = await rooms["a"].last(100)
        assert len(places) >= 20 and len(said) >= len(places)
        assert all(said[place - 1][0] == str(number) for number, place in enumerate(found) if isinstance(place, int))

    play(scene)


def test_objects_that_are_closed_refuse_calls_and_leave_their_directory(tmp_path: Path) -> None:
    async def scene() -> None:
        rooms: Any = await aio.objects(Room, tmp_path)
        with pytest.raises(DirectoryInUse):
            await aio.objects(Room, tmp_path)
        await rooms["a"].say("ann")
        await rooms.close()
        await rooms.close()
        with pytest.raises(SystemClosed):
            await rooms["a"].say("bob")
        with pytest.raises(SystemClosed):
            await rooms.count()
        with pytest.raises(UsageError):
            await aio.objects(Room, tmp_path, shards=3)

    asyncio.run(scene())
    with coopy.objects(Room, tmp_path) as rooms:
        assert rooms["a"].count() == 1


def test_what_an_action_asks_for_is_done_beside_the_loop(tmp_path: Path) -> None:
    async def scene() -> None:
        async with aio.objects(Device, tmp_path) as devices:
            await devices["a"].wake_in(0.01, "woken")
            await devices["a"].report("x", "told")
            sites = devices.of(Site)
            for _ in range(2000):
                if await sites.has("x") and [what for what, _ in await devices["a"].all_seen()] == ["woken"]:
                    return
                await asyncio.sleep(0.01)
            raise AssertionError("it was not done")

    asyncio.run(scene())
