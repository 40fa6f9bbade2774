"""What goes beside calls in a shared system: effects, asyncio, spawned processes, structures and locks."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared.domain import Process, Wiki, opened

import coopy
import coopy.aio
from coopy import control, init_system
from coopy.batteries import Dict, Queue, handle


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    coopy.close_all()


def test_an_effect_is_carried_out_once_by_the_process_that_writes(tmp_path: Path) -> None:
    path, said = tmp_path / "data", tmp_path / "said"
    with Process(path) as writer, opened(path) as follower:
        follower.ask(str(said))
        writer.do(f"wiki.ask({str(said)!r})")
        while len(control(follower).effects) or control(follower).sync() or follower.count():
            pass
        writer.end()
    assert said.read_text().splitlines() == [str(writer.pid)] * 2


def test_an_effect_of_a_writer_that_was_killed_is_carried_out_by_the_next(tmp_path: Path) -> None:
    path, said = tmp_path / "data", tmp_path / "said"
    with Process(path) as writer, opened(path) as follower:
        writer.do("setattr(sys.modules['coopy.spine.delivery'].Delivery, '_start', lambda self: True)")
        follower.ask(str(said))
        assert not said.exists()
        writer.kill()
        follower.add(1)
        control(follower).close()
    assert said.read_text().splitlines() == [str(os.getpid())]


def test_a_follower_is_used_from_asyncio(tmp_path: Path) -> None:
    async def main() -> list[int]:
        async with coopy.aio.open(Wiki, tmp_path / "data", shared=True, validation="off") as wiki:
            found = await asyncio.gather(*(wiki.add(number) for number in range(200)))
            with pytest.raises(KeyError):
                await wiki.fail("x")
            assert await wiki.count() == 201
            return sorted(found)

    with opened(tmp_path / "data") as writer:
        assert asyncio.run(main()) == list(range(1, 201))
        assert writer.count() == 201


def test_a_call_from_asyncio_survives_the_writer(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path / "data", shared=True, validation="off") as wiki:
            await wiki.add(0)
            tasks = [asyncio.ensure_future(wiki.add(number)) for number in range(1, 300)]
            await tasks[20]
            writer.kill()
            assert sorted(await asyncio.gather(*tasks)) == list(range(2, 301))
            assert sorted(await wiki.all()) == list(range(300))

    with Process(tmp_path / "data", durability="buffered") as writer:
        asyncio.run(main())


def add(path: str) -> None:
    with opened(Path(path)) as wiki:
        wiki.add("spawned")


def test_a_process_that_is_spawned_opens_it_as_any_other(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as wiki:
        process = multiprocessing.get_context("spawn").Process(target=add, args=(str(tmp_path / "data"),))
        process.start()
        process.join()
        assert wiki.all() == ["spawned"]


def test_what_waits_in_a_follower_is_woken_by_a_call_of_another(tmp_path: Path) -> None:
    path = tmp_path / "data"
    writer: Any = init_system(Queue, path, shared=True)
    follower: Any = init_system(Queue, path, shared=True)
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(handle(follower).get(timeout=60)))
    thread.start()
    writer.put("tea")
    thread.join(60)
    assert got == ["tea"]


def test_a_follower_hears_the_changes_that_others_make(tmp_path: Path) -> None:
    path = tmp_path / "data"
    writer: Any = init_system(Dict, path, shared=True)
    follower: Any = init_system(Dict, path, shared=True)
    heard: list[Any] = []
    came = threading.Event()

    def hear(change: Any) -> None:
        heard.append((change.key, change.after))
        came.set()

    with follower.watch("tea", callback=hear):
        writer["tea"] = 1
        assert came.wait(60)
    assert heard == [("tea", 1)]


def test_a_file_of_somebody_else_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "writer").write_text("Astrid Lindgren")
    (tmp_path / "writer-Astrid.sock").write_text("no socket")
    for _ in range(2):
        with opened(tmp_path) as wiki:
            wiki.add("Home")
    assert (tmp_path / "writer").read_text() == "Astrid Lindgren"
    assert (tmp_path / "writer-Astrid.sock").read_text() == "no socket"
