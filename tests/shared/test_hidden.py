"""Attributes that hide methods, given to the object by one process and called in another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shared import apart

import coopy
from coopy import UsageError, aio, control, init_system, readonly


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    coopy.close_all()


def three() -> int:
    return 3


class Sized:
    def __init__(self) -> None:
        self.held: list[Any] = []

    @staticmethod
    def one() -> int:
        return 1

    def put(self) -> int:
        self.held.append("tea")
        return len(self.held)

    @readonly
    def size(self) -> int:
        return len(self.held)

    def calm(self) -> int:
        self.held.append("calm")
        return 0

    def become(self, name: str, other: str) -> None:
        self.__dict__[name] = getattr(self, other)

    def become_calm(self) -> None:
        self.put = self.calm  # type: ignore[method-assign]


class Renamed(dict[str, Any]):
    """Has a ``__dict__`` of its own making."""

    __dict__ = property(lambda self: dict(self))  # type: ignore[assignment]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value if not hasattr(type(self), name) else object.__setattr__(self, name, value)


@pytest.fixture(params=list(apart.HOW))
def open_second(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Opens another system beside one that writes."""

    def open_one(writer: Any) -> Any:
        cls, path = writer.__class__, control(writer).basedir
        return apart.HOW[request.param](writer, cls, path, {"validation": "off"})[0]

    return open_one


def opened(directory: Path, cls: Any) -> Any:
    return init_system(cls, directory, shared=True, durability="buffered", validation="off")


@pytest.mark.parametrize("name", ["one", "put", "size"])
def test_the_process_that_gives_it_calls_it_from_then_on(tmp_path: Path, open_second: Any, name: str) -> None:
    writer = opened(tmp_path / "data", Sized)
    second = open_second(writer)
    getattr(second, name)()
    setattr(second, name, three)
    assert getattr(second, name)() == getattr(writer, name)() == 3
    delattr(second, name)
    assert getattr(second, name)() == getattr(Sized(), name)() + (name == "put") + len(second.held) * (name == "size")


@pytest.mark.parametrize("name", ["one", "put", "size"])
def test_one_that_is_there_when_another_process_opens_is_called_there(tmp_path: Path, open_second: Any, name: str) -> None:
    writer = opened(tmp_path / "data", Sized)
    setattr(writer, name, three)
    assert getattr(open_second(writer), name)() == 3


@pytest.mark.parametrize("name", ["one", "put", "size"])
def test_one_that_a_follower_is_told_of_is_called_there(tmp_path: Path, name: str) -> None:
    writer, follower = (opened(tmp_path / "data", Sized) for _ in range(2))
    getattr(follower, name)()
    setattr(writer, name, three)
    control(follower).sync()
    assert getattr(follower, name)() == 3


@pytest.mark.parametrize("name", ["put", "size"])
def test_a_method_is_hidden_for_a_process_that_was_not_told(tmp_path: Path, open_second: Any, name: str) -> None:
    writer = opened(tmp_path / "data", Sized)
    second = open_second(writer)
    getattr(second, name)()
    setattr(writer, name, three)
    if control(second)._system.__class__.__name__ == "SharedSystem":
        control(second).sync()
    assert getattr(second, name)() == 3


def test_a_method_that_takes_the_place_of_another_is_called_and_recorded(tmp_path: Path, open_second: Any) -> None:
    writer = opened(tmp_path / "data", Sized)
    second = open_second(writer)
    second.put()
    second.become_calm()
    assert second.put() == 0 and list(second.held) == list(writer.held) == ["tea", "calm"]


def test_what_hides_a_method_need_not_be_callable(tmp_path: Path, open_second: Any) -> None:
    writer = opened(tmp_path / "data", Renamed)
    second = open_second(writer)
    second.pop = "hidden"
    second.other = 2
    assert second.pop == writer.pop == "hidden"
    assert "other" in second and second["other"] == 2


@pytest.mark.parametrize("how", ["reader", "connected"])
def test_what_may_change_the_object_is_not_called_as_what_reads(tmp_path: Path, how: str) -> None:
    writer = opened(tmp_path / "data", Sized)
    second = apart.HOW[how](writer, Sized, control(writer).basedir, {})[0]
    assert second.size() == 0
    writer.become("size", "calm")
    with pytest.raises(UsageError, match=r"size\(\) of the object is hidden"):
        second.size()
    assert control(writer).index == 1 and list(writer.held) == []


def test_from_asyncio_it_is_called_as_well(tmp_path: Path) -> None:
    async def main() -> None:
        writer = opened(tmp_path / "data", Sized)
        directory = tmp_path / "data"
        for options in ({}, {"copy": False}):
            async with aio.open(Sized, directory, shared=True, validation="off", **options) as sized:
                await aio.call(sized, Sized.__setattr__, "put", three)
                assert await sized.put() == writer.put() == 3
                await aio.call(sized, Sized.__delattr__, "put")
                assert await sized.put() < 3

    asyncio.run(main())
