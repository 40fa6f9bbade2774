"""A method marked @outside is given the system, takes no lock, and is never recorded."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import coopy.aio
from coopy import UsageError, control, init_system, outside, readonly
from coopy.testing import memory_system
from coopy.tools.protocols import protocol_of


class Wiki:
    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.proxy: Any = None

    def create(self, name: str, text: str) -> None:
        self.pages[name] = text

    @readonly
    def count(self) -> int:
        return len(self.pages)

    @outside
    def import_all(self, pages: dict[str, str], *, prefix: str = "") -> Any:
        for name, text in pages.items():
            self.create(prefix + name, text)
        return self

    @outside
    def wait(self, seconds: float) -> float:
        """Does what an action must not."""
        began = time.time()
        threading.Event().wait(seconds)
        return time.time() - began

    @outside
    def soon(self) -> _Soon:
        return _Soon(self)

    def hold(self, proxy: Any) -> None:
        self.proxy = proxy

    def call_outside(self) -> None:
        self.proxy[0].wait(0)

    def call_itself(self) -> bool:
        return self.soon().wiki is self


class _Soon:
    def __init__(self, wiki: Any) -> None:
        self.wiki = wiki

    def __await__(self) -> Any:
        return asyncio.get_running_loop().run_in_executor(None, self.wiki.count).__await__()


class Sub(Wiki):
    def wait(self, seconds: float) -> float:  # An action again: the mark belongs to the function.
        return seconds


@pytest.mark.parametrize("options", [{}, {"check": True}, {"deterministic": True}])
def test_it_is_given_the_system_and_not_recorded(options: dict[str, Any]) -> None:
    wiki = memory_system(Wiki, **options)
    assert wiki.import_all({"Home": "Welcome", "News": "None"}, prefix="a ") is wiki
    assert control(wiki).index == 2 and [each.method for each in control(wiki).actions()] == ["create", "create"]
    assert wiki.wait(0) >= 0 and control(wiki).index == 2


def test_it_takes_no_lock() -> None:
    wiki = memory_system(Wiki)
    entered, gate = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        gate.wait(30)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(wiki._coopy_engine.run, hold)
        try:
            held.add_done_callback(lambda _: entered.set())
            assert entered.wait(30)
            if held.done():
                held.result()  # Says why this engine runs nothing that is given to it.
            assert wiki.wait(0) >= 0  # Nobody who wants the lock would come back now.
        finally:
            gate.set()
        held.result()


def test_validation_finds_nothing_in_it(tmp_path: Path) -> None:
    init_system(Wiki, tmp_path, validation="strict").close()


def test_wrong_arguments_are_refused_as_without_a_system() -> None:
    wiki = memory_system(Wiki)
    for args in ((), (1, 2)):
        with pytest.raises(TypeError):
            wiki.wait(*args)
    with pytest.raises(TypeError):
        wiki.import_all({}, suffix="")


def test_inside_an_action_of_the_system_it_is_refused() -> None:
    wiki = memory_system(Wiki)
    wiki.hold([wiki])
    with pytest.raises(UsageError, match="@outside"):
        wiki.call_outside()
    assert wiki.call_itself() is True, "on the plain object it is a plain method"


def test_the_method_of_a_subclass_that_is_not_marked_is_an_action() -> None:
    wiki = memory_system(Sub)
    assert wiki.wait(0) == 0 and control(wiki).index == 1


def test_in_a_loop_it_is_a_plain_method_that_may_return_what_is_awaited(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(Wiki, tmp_path) as wiki:
            await wiki.create("Home", "Welcome")
            assert await wiki.soon() == 1
            assert wiki.soon().wiki is coopy.aio.system_of(wiki)
            with pytest.raises(UsageError, match="without await"):
                await coopy.aio.call(wiki, Wiki.soon)

    asyncio.run(main())


def test_a_protocol_for_a_loop_says_that_it_is_a_plain_method() -> None:
    lines = [line.strip() for line in protocol_of(Wiki).splitlines()]
    assert any(line.startswith("def wait(self, seconds: float)") for line in lines)
    assert any(line.startswith("async def create(") for line in lines)
