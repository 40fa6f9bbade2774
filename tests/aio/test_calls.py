"""Calls and reads of a system that is used from asyncio."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest
from aio.running import begun, going, until
from aio.wiki import Notes, Wiki, gate
from faults import Held, open_with
from program import run, write

import coopy
import coopy.aio
from coopy import EncodingError, UsageError
from coopy.spine import engine


def test_what_was_called_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    async def first() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            assert await wiki.create_page("Home", "Welcome") == 1
            assert await wiki.create_page("News", text="None", draft=True) == 2
            assert await wiki.page("Home") == "Welcome"

    async def second() -> None:
        wiki = await coopy.aio.open(Wiki, tmp_path, durability="buffered")
        assert await wiki.pages == {"Home": "Welcome", "News": "draft: None"}
        await coopy.aio.close(wiki)

    going(first)
    going(second)


def test_an_instance_and_a_system_that_is_open_can_be_opened(tmp_path: Path) -> None:
    begun_with = Wiki()
    begun_with.create_page("Before", "")

    async def first() -> None:
        async with coopy.aio.open(begun_with, tmp_path) as wiki:
            assert await wiki.size == 1

    async def second() -> None:
        system = coopy.init_system(Wiki, tmp_path)
        async with coopy.aio.open(system) as wiki:
            await wiki.create_page("Home")
            assert system.page("Home") == ""
        assert coopy.control(system).closed

    going(first)
    going(second)


def test_calls_are_applied_in_the_order_in_which_tasks_made_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            names = [f"page {number}" for number in range(2000)]
            assert await asyncio.gather(*map(wiki.create_page, names)) == list(range(1, 2001))
            assert list(await wiki.pages) == names

    going(main)
    assert list(coopy.replay(Wiki, tmp_path).pages) == [f"page {number}" for number in range(2000)]


def test_tasks_that_call_while_a_sync_runs_share_the_next(tmp_path: Path) -> None:
    calls = Held()

    async def main() -> None:
        async with coopy.aio.open(open_with(calls, Wiki, tmp_path)) as wiki:
            calls.gate.clear()
            calls.waiting.clear()
            first = await begun(wiki.create_page("first"))
            await until(calls.waiting)
            before = calls.syncs
            rest = asyncio.gather(*(wiki.create_page(f"page {number}") for number in range(1000)))
            await asyncio.sleep(0)
            assert not first.done()
            calls.gate.set()
            await rest
            assert await first == 1
            assert calls.syncs - before <= 3

    going(main)


def test_calls_that_wait_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "HELD_NS", 10**12)

    class Counting(Held):
        writes = 0

        def mappable(self, fd: int) -> bool:
            return False

        def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
            self.writes += 1
            return super().pwrite(fd, data, offset)

    calls = Counting()

    async def main() -> None:
        async with coopy.aio.open(open_with(calls, Notes, tmp_path)) as notes:
            calls.gate.clear()
            calls.waiting.clear()
            first = await begun(notes.create_page("first"))
            await until(calls.waiting)
            before = calls.writes
            rest = asyncio.gather(*(notes.create_page(f"page {number}") for number in range(10)))
            await asyncio.sleep(0)
            calls.gate.set()
            await rest
            assert await first == 1
            assert calls.writes - before == 1

    going(main)


def test_the_loop_goes_on_while_an_action_takes_long(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            go_on, inside = gate("slow")
            held = await begun(wiki.hold("slow"))
            await until(inside)
            reads = await begun(wiki.page("slow"))
            assert not held.done() and not reads.done()
            go_on.set()
            await held
            assert await reads == "held"

    going(main)


def test_a_result_is_kept_back_until_the_disk_has_its_action(tmp_path: Path) -> None:
    calls = Held()

    async def main() -> None:
        async with coopy.aio.open(open_with(calls, Wiki, tmp_path)) as wiki:
            calls.gate.clear()
            calls.waiting.clear()
            call = await begun(wiki.create_page("Home", "text"))
            await until(calls.waiting)
            reads = [await begun(each) for each in (wiki.page("Home"), wiki.size, wiki.thread_unlocked())]
            assert coopy.aio.system_of(wiki)._coopy_engine.machine.domain.pages, "it is applied, and not to be told yet"
            for _ in range(10):
                await asyncio.sleep(0)
            assert not call.done() and not any(each.done() for each in reads)
            calls.gate.set()
            assert await call == 1
            assert (await asyncio.gather(*reads))[:2] == ["text", 1]

    going(main)


def test_a_read_that_has_nothing_to_wait_for_is_answered_without_a_turn_of_the_loop(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            await wiki.create_page("Home", "text")
            for coroutine, answer in ((wiki.page("Home"), "text"), (wiki.size, 1), (wiki.thread(), threading.get_ident())):
                with pytest.raises(StopIteration) as ended:
                    coroutine.send(None)
                assert ended.value.value == answer

    going(main)


def test_an_unlocked_read_runs_beside_an_action_and_not_in_the_loop(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path, durability="buffered") as wiki:
            go_on, inside = gate("slow")
            held = await begun(wiki.hold("slow"))
            await until(inside)
            assert await wiki.thread_unlocked() != threading.get_ident()
            assert not held.done()
            go_on.set()
            await held

    going(main)


def test_an_unlocked_read_that_raises_stop_iteration_is_told_as_any_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path, durability="buffered") as wiki:
            with pytest.raises(RuntimeError, match="StopIteration"):
                await wiki.first_unlocked()

    going(main)


def test_attributes_and_properties_are_awaited(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            await wiki.create_page("Home")
            assert (await wiki.title, await wiki.size, await wiki.pages) == ("Wiki", 1, {"Home": ""})
            with pytest.raises(AttributeError, match="nothing"):
                await wiki.nothing

    going(main)


def test_special_methods_are_called_by_name(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            call: Any = coopy.aio.call
            await call(wiki, Wiki.__setitem__, "Home", "text")
            assert await call(wiki, Wiki.__getitem__, "Home") == "text"
            assert await call(wiki, Wiki.__len__) == 1
            await call(wiki, Wiki.__setattr__, "title", "Ours")
            assert await wiki.title == "Ours"
            await call(wiki, Wiki.__delattr__, "title")
            assert await wiki.title == "Wiki"
            assert await call(wiki, Wiki.__getattribute__, "title") == "Wiki"
            for use in (lambda: len(wiki), lambda: wiki["Home"], lambda: iter(wiki), lambda: "Home" in wiki):
                with pytest.raises(TypeError, match="AsyncWiki"):
                    use()

    going(main)


@pytest.mark.parametrize(
    "use", ["wiki.title = 'Ours'", "del wiki.title", "copy.copy(wiki)", "pickle.dumps(wiki)", "with wiki: pass", "wiki._clock"]
)
def test_what_cannot_wait_is_refused(use: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            with pytest.raises((TypeError, AttributeError)):
                exec(use, {"wiki": wiki, "copy": copy, "pickle": pickle})
            assert coopy.control(coopy.aio.system_of(wiki)).index == 0

    going(main)


def test_generators_and_the_domain_itself_come_back_as_from_a_system(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            await wiki.create_page("b")
            await wiki.create_page("a")
            assert list(await wiki.names()) == ["b", "a"]
            assert list(await wiki.sorted_names()) == ["a", "b"]
            assert await wiki.itself() is wiki
            assert wiki.slug("Home") == Wiki.slug("Home")
            assert repr(wiki) == f"<AsyncWiki in {tmp_path}>"

    going(main)


def test_methods_are_coroutine_functions_with_the_signatures_of_the_domain(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            for name in ("create_page", "page", "thread_unlocked", "take_snapshot", "close"):
                assert asyncio.iscoroutinefunction(getattr(wiki, name))
            assert inspect.signature(type(wiki).create_page) == inspect.signature(Wiki.create_page)
            assert type(wiki).fail.__qualname__ == "Wiki.fail"

    going(main)


@pytest.mark.parametrize("wrong", [(), ("a", "b", "c")], ids=["too few", "too many"])
def test_wrong_arguments_fail_before_anything_is_recorded(wrong: tuple[str, ...], tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            for method in (wiki.create_page, wiki.page, wiki.fail):
                with pytest.raises(TypeError, match="argument"):
                    await method(*wrong)
            assert coopy.control(coopy.aio.system_of(wiki)).index == 0

    going(main)


@pytest.mark.parametrize(
    ("call", "error", "recorded"),
    [("fail('a')", KeyError, 1), ("fail_whole('a')", KeyError, 1), ("refuse()", ValueError, 1), ("page('a')", KeyError, 0)],
)
def test_an_exception_of_the_domain_is_raised_in_the_task_that_called(
    call: str, error: type[Exception], recorded: int, tmp_path: Path
) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            with pytest.raises(error) as raised:
                await eval(f"wiki.{call}", {"wiki": wiki})
            frames = [(frame.filename, frame.name) for frame in traceback.extract_tb(raised.value.__traceback__)]
            assert frames[-1][0].endswith("wiki.py")
            assert not [name for name, _ in frames if "engine" in name or "machine" in name]
            assert coopy.control(coopy.aio.system_of(wiki)).index == recorded
            assert await wiki.pages == ({"a": "before it failed"} if call == "fail('a')" else {})

    going(main)


def test_a_stop_iteration_of_the_domain_is_a_runtime_error_as_in_any_coroutine(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            with pytest.raises(RuntimeError, match="StopIteration"):
                await wiki.stop()
            await wiki.create_page("Home")

    going(main)


def test_what_cannot_be_encoded_fails_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            calls = wiki.create_page("a"), wiki.create_page("b", threading.Lock()), wiki.create_page("c")
            ended = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(each) for each in ended] == [int, EncodingError, int]
            assert list(await wiki.pages) == ["a", "c"]

    going(main)


def test_a_call_that_was_answered_keeps_neither_its_arguments_nor_its_task(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            await asyncio.gather(*(wiki.create_page(f"page {number}") for number in range(10)))
            pool = wiki._coopy_worker.pool
            assert pool
            for call in pool:
                assert not any((call.args, call.kwargs, call.value, call._callback, call._context))

    going(main)


@pytest.mark.parametrize("function", [len, dict.get, Wiki, "page", Path.exists])
def test_call_takes_only_methods_of_the_class(function: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            with pytest.raises(UsageError, match="a method of Wiki"):
                await coopy.aio.call(wiki, function)

    going(main)


@pytest.mark.parametrize("function", [coopy.aio.system_of, coopy.aio.close, coopy.aio.call])
def test_what_takes_a_system_of_asyncio_says_so(function: Any, tmp_path: Path) -> None:
    async def main() -> None:
        with coopy.init_system(Wiki, tmp_path) as wiki, pytest.raises(UsageError, match="coopy.aio.open"):
            await function(wiki, *([Wiki.page] if function is coopy.aio.call else []))

    going(main)


def test_threads_and_tasks_use_one_system(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            system = coopy.aio.system_of(wiki)

            def work() -> None:
                for number in range(100):
                    system.create_page(f"thread {number}")

            await asyncio.gather(asyncio.to_thread(work), *(wiki.create_page(f"task {number}") for number in range(100)))
            assert await wiki.size == 200
            loop = asyncio.get_running_loop()
            from_a_thread = asyncio.to_thread(
                lambda: asyncio.run_coroutine_threadsafe(wiki.create_page("last"), loop).result(30)
            )
            assert await from_a_thread == 201

    going(main)
    assert len(coopy.replay(Wiki, tmp_path).pages) == 201


def test_a_call_from_another_loop_is_refused_and_not_recorded(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:

            async def elsewhere() -> None:
                with pytest.raises(RuntimeError, match=r"call of create_page\(\).*different loop"):
                    await wiki.create_page("Home")
                with pytest.raises(UsageError, match="another event loop"):
                    await coopy.aio.close(wiki)

            await asyncio.to_thread(asyncio.run, elsewhere())
            assert coopy.control(coopy.aio.system_of(wiki)).index == 0
            assert await wiki.create_page("Home") == 1

    going(main)


def test_in_debug_mode_and_with_tasks_of_python_all_is_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        python: Any = asyncio.tasks
        loop.set_task_factory(lambda loop, coro, **options: python._PyTask(coro, loop=loop, **options))
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            assert await asyncio.gather(*(wiki.create_page(f"page {number}") for number in range(50))) == list(range(1, 51))

            async def told() -> tuple[Any, ...]:
                try:
                    await wiki.create_page("cancelled")
                except asyncio.CancelledError as cancelled:
                    return cancelled.args
                raise AssertionError("it was cancelled")

            task = await begun(told())
            task.cancel("enough")
            assert await task == ("enough",)

    asyncio.run(main(), debug=True)


def test_importing_coopy_does_not_import_asyncio(tmp_path: Path) -> None:
    script = write(
        tmp_path / "script.py",
        """
        import sys
        import coopy
        print("asyncio" in sys.modules, "coopy.aio" in sys.modules)
    """,
    )
    assert run(script) == "False False"
