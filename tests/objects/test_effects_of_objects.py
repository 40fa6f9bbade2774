"""What an action of an object asks for with on_commit() is carried out once the action is durable, and not lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from objects.rooms import reopened

import coopy
import coopy.aio
from coopy import effect_id, on_commit, transactional
from coopy.objects import in_memory, tell

done: list[tuple[str, str | None]] = []
fails: list[str] = []
happened = threading.Semaphore(0)


def send(text: str) -> None:
    if text in fails:
        fails.remove(text)
        happened.release()
        raise OSError(text)
    done.append((text, effect_id()))
    happened.release()


class Shop:
    def __init__(self, key: str) -> None:
        self.orders: list[str] = []
        if key == "eager":
            on_commit(send, "made")

    def order(self, *texts: str) -> None:
        self.orders += texts
        for text in texts:
            on_commit(send, text)

    def fail(self, text: str) -> None:
        on_commit(send, text)
        raise ValueError(text)

    @transactional
    def undo(self, text: str) -> None:
        on_commit(send, text)
        raise ValueError(text)

    def have_ordered(self, key: str, text: str) -> None:
        tell(Shop, key).order(text)


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    done.clear()
    fails.clear()
    while happened.acquire(blocking=False):
        pass
    yield


def wait(number: int = 1) -> None:
    for _ in range(number):
        assert happened.acquire(timeout=60)


def texts() -> list[str]:
    return [text for text, _ in done]


def test_effects_are_carried_out_in_order_each_with_an_id_of_its_own(tmp_path: Path) -> None:
    with coopy.objects(Shop, tmp_path) as shops:
        shops["a"].order("tea", "milk")
        shops["b"].order("tea")
        wait(3)
    assert sorted(texts()) == ["milk", "tea", "tea"] and texts().index("tea") < texts().index("milk")
    assert len({name for _, name in done}) == 3
    with coopy.objects(Shop, tmp_path):
        pass
    assert len(done) == 3, "what was carried out is not carried out again"


def test_closing_carries_out_what_was_asked_for(tmp_path: Path) -> None:
    with coopy.objects(Shop, tmp_path) as shops:
        for number in range(20):
            shops[str(number % 3)].order(str(number))
    assert sorted(texts(), key=int) == [str(number) for number in range(20)]


def test_what_raises_asks_for_nothing(tmp_path: Path) -> None:
    with coopy.objects(Shop, tmp_path) as shops:
        for method in ("fail", "undo"):
            with pytest.raises(ValueError, match="never"):
                getattr(shops["a"], method)("never")
        shops["a"].order("tea")
    assert texts() == ["tea"]


def test_making_an_object_may_ask_and_so_may_what_was_told(tmp_path: Path) -> None:
    with coopy.objects(Shop, tmp_path) as shops:
        shops["eager"].order()
        shops["a"].have_ordered("b", "told")
        wait(2)
    assert sorted(texts()) == ["made", "told"]


@pytest.mark.parametrize("has_table", [True, False])
def test_an_effect_that_fails_is_tried_again_at_the_next_opening_with_the_same_id(tmp_path: Path, has_table: bool) -> None:
    fails.append("tea")
    with coopy.objects(Shop, tmp_path) as shops:
        shops["a"].order("tea")
        wait()
    assert not done
    if not has_table:
        (tmp_path / "keys.dat").unlink()
    with coopy.objects(Shop, tmp_path) as shops:
        wait()
        [(text, name)] = done
    assert text == "tea" and name is not None and name.endswith("-a:1.0")


def test_an_effect_survives_a_crash_and_a_change_of_the_object(tmp_path: Path) -> None:
    shops: Any = coopy.objects(Shop, tmp_path)
    shops._engine.asked = lambda key, name: None  # The process ends before it comes to that.
    shops["a"].order("tea")
    shops["a"].order("milk")
    shops = reopened(shops)
    wait(2)
    shops.close()
    assert texts() == ["tea", "milk"]
    shops = coopy.objects(Shop, tmp_path)
    assert shops["a"].orders == ["tea", "milk"] and len(done) == 2
    shops.close()


def test_an_object_that_is_dropped_meanwhile_has_its_effects(tmp_path: Path) -> None:
    with coopy.objects(Shop, tmp_path) as shops:
        shops._engine.asked, asked = lambda key, name: None, shops._engine.asked  # type: ignore[method-assign]
        shops["a"].order("tea")
        shops.passivate()
        shops._engine._flying.clear()
        shops._engine.asked = asked
        shops["a"].order()
        wait()
    assert texts() == ["tea"]


def test_effects_are_in_the_past_and_replay_carries_out_nothing(tmp_path: Path) -> None:
    with coopy.objects(Shop, tmp_path) as shops:
        shops["a"].order("tea")
        wait()
        assert shops.replay("a", 1).orders == ["tea"]
    assert len(done) == 1


def test_in_memory_and_in_a_loop(tmp_path: Path) -> None:
    with in_memory(Shop) as shops:
        shops["a"].order("tea")

    async def main() -> None:
        async with coopy.aio.objects(Shop, tmp_path) as shops:
            await shops["a"].order("milk")

    import asyncio

    asyncio.run(main())
    assert texts() == ["tea", "milk"]


here: list[Any] = []


def ring(text: str) -> None:
    here[0]["other"].order(text)


class Bell(Shop):
    def ring(self, text: str) -> None:
        on_commit(ring, text)


def test_an_effect_may_call_objects(tmp_path: Path) -> None:
    with coopy.objects(Bell, tmp_path) as bells:
        here[:] = [bells]
        bells["a"].ring("loud")
        wait()
    assert texts() == ["loud"]
