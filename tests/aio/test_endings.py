"""Opening, cancelling, closing, and disks that fail, from asyncio."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from aio.running import begun, going, turns, until
from aio.wiki import Notes, Wiki, gate, gates
from faults import Faulty, Held, open_with

import coopy
import coopy.aio
import coopy.testing
from coopy import DirectoryInUse, JournalError, MissingMethod, SystemClosed, UsageError


def index_of(wiki: Any) -> int:
    return coopy.control(coopy.aio.system_of(wiki)).index


# -- opening


def test_the_loop_goes_on_while_a_state_is_restored(tmp_path: Path) -> None:
    with coopy.init_system(Wiki, tmp_path) as system:
        system.hold("replayed")

    async def main() -> None:
        go_on, inside = gate("replayed")
        opening = asyncio.ensure_future(coopy.aio.open(Wiki, tmp_path)._open())
        await until(inside)
        assert not opening.done()
        go_on.set()
        await coopy.aio.close(await opening)

    going(main)


def test_progress_is_called_in_the_loop(tmp_path: Path) -> None:
    with coopy.init_system(Wiki, tmp_path, durability="buffered") as system:
        for number in range(100):
            system.create_page(f"page {number}")
    seen: list[tuple[int, int, int]] = []

    async def main() -> None:
        def progress(done: int, total: int) -> None:
            seen.append((done, total, threading.get_ident()))

        async with coopy.aio.open(Wiki, tmp_path, progress=progress):
            assert seen[-1] == (100, 100, threading.get_ident())

    going(main)


@pytest.mark.parametrize("held", [True, False], ids=["while it is restored", "at once"])
def test_opening_that_is_cancelled_lets_the_directory_go(held: bool, tmp_path: Path) -> None:
    with coopy.init_system(Wiki, tmp_path) as system:
        system.hold("replayed")

    async def main() -> None:
        go_on, inside = gate("replayed")
        opening = await begun(coopy.aio.open(Wiki, tmp_path)._open())
        if held:
            await until(inside)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        go_on.set()
        while True:
            try:
                async with coopy.aio.open(Wiki, tmp_path) as wiki:
                    assert await wiki.size == 1
                return
            except DirectoryInUse:
                await asyncio.sleep(0)

    going(main)


class Ends:
    def __init__(self) -> None:
        raise StopIteration


@pytest.mark.parametrize(
    ("obj", "options", "error"),
    [
        (Wiki, {"durability": "hopeful"}, UsageError),
        (Wiki, {"speling": 1}, TypeError),
        (Ends, {}, RuntimeError),
        (int, {}, UsageError),
    ],
)
def test_what_init_system_raises_is_raised_where_it_is_awaited(
    obj: Any, options: dict[str, Any], error: type[Exception], tmp_path: Path
) -> None:
    async def main() -> None:
        opening = coopy.aio.open(obj, tmp_path / "data", **options)
        with pytest.raises(error):
            await opening

    going(main)


def test_a_directory_that_is_open_is_refused_and_one_that_does_not_fit_is_let_go(tmp_path: Path) -> None:
    class Other:
        pass

    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            await wiki.create_page("Home")
            with pytest.raises(DirectoryInUse):
                await coopy.aio.open(Wiki, tmp_path)
        with pytest.raises((UsageError, MissingMethod)):
            await coopy.aio.open(Other, tmp_path, validation="off")
        async with coopy.aio.open(Wiki, tmp_path):
            pass

    going(main)


def test_a_protocol_that_names_what_is_not_there_is_refused(tmp_path: Path) -> None:
    class AsyncWiki:
        async def page(self, name: str) -> str: ...  # type: ignore[empty-body]
        async def delete_page(self, name: str) -> None: ...
        async def close(self) -> None: ...

    async def main() -> None:
        with pytest.raises(UsageError, match=r"AsyncWiki names delete_page\(\), which Wiki does not have"):
            await coopy.aio.open(Wiki, tmp_path, protocol=AsyncWiki)
        del AsyncWiki.delete_page
        while True:
            try:
                async with coopy.aio.open(Wiki, tmp_path, protocol=AsyncWiki):
                    return
            except DirectoryInUse:
                await asyncio.sleep(0)

    going(main)


def test_every_option_of_init_system_is_one_of_open() -> None:
    parameters = inspect.signature(coopy.init_system).parameters
    assert set(coopy.aio.Options.__annotations__) == set(parameters) - {"obj", "basedir"}


# -- cancelling


def test_a_call_that_is_cancelled_before_its_turn_is_not_applied_and_a_later_one_is(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            go_on, inside = gate("held")
            begins = await begun(wiki.hold("held"))
            await until(inside)
            waits = await begun(wiki.create_page("waits"))
            stays = await begun(wiki.create_page("stays"))
            assert begins.cancel("enough") and waits.cancel("enough")
            for task in (begins, waits):
                with pytest.raises(asyncio.CancelledError):
                    await task
            go_on.set()
            assert await stays == 2
            assert await wiki.pages == {"held": "held", "stays": ""}
            assert index_of(wiki) == 2

    going(main)


@pytest.mark.parametrize("cls", [Notes, Wiki])
def test_a_call_that_is_cancelled_while_another_of_its_batch_runs_is_not_applied(cls: type, tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(cls, tmp_path) as notes:
            gates_of = {name: gate(name) for name in ("first", "second")}
            first = await begun(notes.hold("first"))
            await until(gates_of["first"][1])
            # These wait, and so are taken together.
            second = await begun(notes.hold("second"))
            waits, stays = await begun(notes.create_page("a")), await begun(notes.create_page("b"))
            gates_of["first"][0].set()
            await until(gates_of["second"][1])
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            gates_of["second"][0].set()
            await asyncio.gather(first, second, stays)
            assert await notes.pages == {"first": "held", "second": "held", "b": ""}
            assert index_of(notes) == 3

    going(main)
    gates.clear()


def test_the_answer_to_a_cancelled_call_is_dropped_even_if_it_is_an_error(tmp_path: Path) -> None:
    calls = Held()

    async def main() -> None:
        async with coopy.aio.open(open_with(calls, Wiki, tmp_path)) as wiki:
            calls.gate.clear()
            calls.waiting.clear()
            fails = await begun(wiki.fail("a"))
            await until(calls.waiting)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(fails, 0)
            assert fails.cancelled()
            calls.gate.set()
            await wiki.create_page("b")
            assert await wiki.pages == {"a": "before it failed", "b": ""}

    going(main)


def test_a_task_that_is_cancelled_before_it_calls_records_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            task = asyncio.ensure_future(wiki.create_page("never"))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await wiki.create_page("Home")
            assert await wiki.pages == {"Home": ""}

    going(main)


# -- closing


def test_leaving_waits_for_the_calls_that_wait(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            tasks = [asyncio.ensure_future(wiki.create_page(f"page {number}")) for number in range(1000)]
            await asyncio.sleep(0)
        assert all(task.done() for task in tasks)
        return [task.result() for task in tasks]

    assert going(main) == list(range(1, 1001))
    assert len(coopy.replay(Wiki, tmp_path).pages) == 1000


def test_a_closed_system_takes_no_more_and_may_be_closed_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            await asyncio.gather(wiki.close(), wiki.shutdown(), coopy.aio.close(wiki))
            for use in (wiki.create_page("a"), wiki.page("a"), wiki.pages, wiki.thread_unlocked()):
                with pytest.raises(SystemClosed, match="closed. Open it again"):
                    await use
        with coopy.init_system(Wiki, tmp_path):
            pass

    going(main)


def test_closing_the_system_itself_is_noticed(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            coopy.aio.system_of(wiki).close()
            for use in (wiki.create_page("a"), wiki.page("a"), wiki.size):
                with pytest.raises(SystemClosed):
                    await use

    going(main)


def test_an_error_inside_closes_and_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with coopy.aio.open(Wiki, tmp_path) as wiki:
                await wiki.create_page("Home")
                raise ZeroDivisionError
        assert coopy.control(coopy.aio.system_of(wiki)).closed

    going(main)


def test_closing_goes_on_when_the_task_that_closes_is_cancelled(tmp_path: Path) -> None:
    async def main() -> None:
        wiki = await coopy.aio.open(Wiki, tmp_path)
        control = coopy.control(coopy.aio.system_of(wiki))
        go_on, inside = gate("held")
        held = await begun(wiki.hold("held"))
        await until(inside)
        closing = await begun(coopy.aio.close(wiki))
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        go_on.set()
        await held
        await turns(lambda: control.closed)

    going(main)


def test_a_system_that_is_forgotten_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        wiki = await coopy.aio.open(Wiki, tmp_path)
        await wiki.create_page("Home")
        control = coopy.control(coopy.aio.system_of(wiki))
        del wiki
        gc.collect()
        await turns(lambda: control.closed)

    going(main)
    gates.clear()


def test_a_loop_that_ended_before_its_system_was_closed_holds_nobody_up(tmp_path: Path) -> None:
    async def main() -> Any:
        wiki = await coopy.aio.open(Wiki, tmp_path)
        go_on, inside = gate("held")
        await begun(wiki.hold("held"))
        await until(inside)
        return coopy.control(coopy.aio.system_of(wiki)), go_on

    control, go_on = going(main)
    go_on.set()
    ends = time.monotonic() + 30
    while not control.closed:
        assert time.monotonic() < ends
        gc.collect()
    assert coopy.replay(Wiki, tmp_path).pages == {"held": "held"}


class Door:
    """A domain with a method of the name of a control."""

    def __init__(self) -> None:
        self.open = True

    def close(self) -> str:
        self.open = False
        return "the door is shut"


def test_a_method_of_the_domain_goes_before_a_control_of_that_name(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Door, tmp_path) as door:
            assert await door.close() == "the door is shut"
            assert await door.open is False
            assert await door.take_snapshot() == 1
            assert await door.basedir_abspath() == [str(tmp_path)]

    going(main)


def test_who_ends_the_loop_does_not_keep_the_others_from_their_answers(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    calls = Held()
    wiki: Any = loop.run_until_complete(coopy.aio.open(open_with(calls, Wiki, tmp_path))._open())

    async def leave() -> None:
        await wiki.create_page("leaves")
        raise SystemExit

    async def both() -> list[asyncio.Task[Any]]:
        calls.gate.clear()
        calls.waiting.clear()
        await begun(wiki.create_page("first"))
        await until(calls.waiting)
        tasks: list[asyncio.Task[Any]] = [await begun(leave()), await begun(wiki.create_page("stays"))]
        calls.gate.set()
        return tasks

    leaving, staying = loop.run_until_complete(both())
    with pytest.raises(SystemExit):
        loop.run_until_complete(leaving)
    assert loop.run_until_complete(asyncio.wait_for(staying, 30)) == 3
    loop.run_until_complete(coopy.aio.close(wiki))
    loop.close()


# -- a disk that fails


def test_a_failed_sync_reaches_every_task_that_waits_and_later_calls_find_it_closed(tmp_path: Path) -> None:
    calls = Faulty()

    async def main() -> None:
        wiki: Any = await coopy.aio.open(open_with(calls, Wiki, tmp_path))
        await wiki.create_page("safe")
        calls.failing = "sync_data"
        waiting = [*(wiki.create_page(f"page {number}") for number in range(50)), wiki.fail("a"), wiki.pages, wiki.size]
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(each) for each in ended[:51]} == {JournalError}
        assert len(set(map(id, ended))) == len(ended), "each has an exception of its own"
        for use in (wiki.create_page("late"), wiki.page("safe"), wiki.size):
            with pytest.raises(SystemClosed, match="takes no more calls.*safe up to action 1") as refused:
                await use
            assert isinstance(refused.value.__cause__, JournalError)
        await coopy.aio.close(wiki)
        calls.failing = ""
        async with coopy.aio.open(Wiki, tmp_path) as again:
            assert "safe" in await again.pages

    going(main)


def test_a_refused_write_fails_the_calls_it_was_of_and_changes_nothing(tmp_path: Path) -> None:
    calls = Faulty()

    async def main() -> None:
        async with coopy.aio.open(open_with(calls, Notes, tmp_path)) as notes:
            calls.failing = "pwrite after half"
            names = [f"page {number}" for number in range(100)]
            ended = await asyncio.gather(*map(notes.create_page, names), return_exceptions=True)
            there = [name for name, each in zip(names, ended, strict=True) if isinstance(each, int)]
            refused = [each for each in ended if not isinstance(each, int)]
            assert refused and {type(each) for each in refused} == {JournalError}
            assert len(set(map(id, refused))) == len(refused), "each has an exception of its own"
            assert list(await notes.pages) == there
            await notes.create_page("after")
            assert list(coopy.replay(Notes, tmp_path).pages) == [*there, "after"]

    going(main)


def test_a_refused_append_fails_alone_and_changes_nothing(tmp_path: Path) -> None:
    calls = Faulty()

    async def main() -> None:
        async with coopy.aio.open(open_with(calls, Wiki, tmp_path)) as wiki:
            calls.failing = "pwrite after half"
            ended = await asyncio.gather(*map(wiki.create_page, "abc"), return_exceptions=True)
            assert [type(each) for each in ended] == [JournalError, int, int]
            assert list(await wiki.pages) == ["b", "c"]

    going(main)


def test_a_system_in_memory_is_opened_from_a_task_and_closed_with_it() -> None:
    system = coopy.testing.memory_system(Wiki)

    async def main() -> None:
        async with coopy.aio.open(system) as wiki:
            await wiki.create_page("Home", "text")
            assert await wiki.pages == {"Home": "text"}

    going(main)
    assert coopy.control(system).closed
