"""check=True of objects: what would go wrong when an object is loaded again is said at once."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from objects.rooms import reopened

import coopy
import coopy.aio
from coopy import abort_exception, clock, env, readonly, transactional
from coopy.errors import NotRepeatable, StateChanged
from coopy.objects import alarm, in_memory, tell

chance = itertools.count()


class Basket:
    def __init__(self, key: str) -> None:
        self.key = key
        self.items: list[Any] = []
        self.other: dict[str, int] = {}

    def add(self, item: Any) -> list[Any]:
        self.items.append(item)
        return self.items

    def roll(self) -> None:
        self.other["chance"] = next(chance)

    def draw(self) -> None:
        self.items.append((env.random(), clock.time()))
        alarm("add", "late", after=0)
        tell(Basket, "told").add("said")

    def roll_soon(self) -> None:
        alarm("roll", after=0)

    @readonly
    def peek(self) -> list[Any]:
        self.items.append("peeked")
        return self.items

    @readonly
    def all(self) -> list[Any]:
        return list(self.items)

    @abort_exception
    def refuse_too_late(self) -> None:
        self.items.append("never")
        raise ValueError

    @abort_exception
    def refuse(self) -> None:
        raise ValueError

    @transactional
    def undo(self) -> None:
        self.items.append("never")
        raise ValueError

    def fail(self) -> None:
        self.items.append("failed")
        raise ValueError


@pytest.fixture
def baskets(tmp_path: Path) -> Any:
    with coopy.objects(Basket, tmp_path / "data", check=True, validation="off") as baskets:
        yield baskets


def test_what_is_right_is_as_without_check(baskets: Any) -> None:
    baskets["a"].draw()
    baskets.catch_up()
    for method in ("refuse", "undo", "fail"):
        with pytest.raises(ValueError):
            getattr(baskets["a"], method)()
    baskets.passivate()
    assert baskets["a"].all()[1:] == ["late", "failed"] and baskets["told"].all() == ["said"]
    again = reopened(baskets, check=True, validation="off")
    assert again["a"].all()[1:] == ["late", "failed"]
    again.close()


@pytest.mark.parametrize("then", ["all", "add"])
def test_a_change_outside_any_action_is_refused_and_put_back(baskets: Any, then: str) -> None:
    live = baskets["a"].add("tea")
    baskets["b"].add("other")
    live.append("smuggled")
    assert baskets["b"].all() == ["other"]
    with pytest.raises(StateChanged, match=r"'a' was changed outside any action, at .*items"):
        getattr(baskets["a"], then)(*["milk"][: then == "add"])
    assert baskets["a"].all() == ["tea"]


def test_a_change_is_not_written_with_the_state(baskets: Any, caplog: pytest.LogCaptureFixture) -> None:
    baskets["a"].add("tea").append("smuggled")
    baskets.passivate()
    assert "'a' was changed outside any action" in caplog.text
    assert baskets["a"].all() == ["tea"]


def test_a_read_that_changes_is_refused_and_put_back(baskets: Any) -> None:
    baskets["a"].add("tea")
    with pytest.raises(StateChanged, match=r"peek\(\) is a read and changed 'a', at .*items"):
        baskets["a"].peek()
    assert baskets["a"].all() == ["tea"]


def test_an_abort_that_comes_too_late_is_refused(baskets: Any) -> None:
    baskets["a"].add("tea")
    with pytest.raises(StateChanged, match=r"refuse_too_late\(\) is marked @abort_exception") as caught:
        baskets["a"].refuse_too_late()
    assert isinstance(caught.value.__cause__, ValueError)
    assert baskets["a"].all() == ["tea"]


def test_an_action_that_can_not_be_repeated_is_told(baskets: Any, caplog: pytest.LogCaptureFixture) -> None:
    baskets["a"].add("tea")
    with pytest.raises(NotRepeatable, match=r"action 2, roll\(\) of 'a', .*other"):
        baskets["a"].roll()
    baskets["b"].roll_soon()
    baskets.catch_up()
    assert "<alarm> of 'b' raised NotRepeatable" in caplog.text


def test_it_is_the_same_in_a_loop_and_in_memory(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.objects(Basket, tmp_path / "loop", check=True, validation="off") as baskets:
            await baskets["a"].add("tea")
            with pytest.raises(StateChanged):
                await baskets["a"].peek()
            with pytest.raises(NotRepeatable):
                await baskets["a"].roll()
            assert await baskets["a"].all() == ["tea"]

    asyncio.run(main())
    with in_memory(Basket, check=True) as baskets, pytest.raises(StateChanged):
        baskets["a"].add("tea")
        baskets["a"].peek()
