"""Reads that write, callables that the object has and attributes that hide methods, from asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import coopy.aio
from coopy import UsageError, control, init_system, readonly
from coopy.aio import call


class LRU(OrderedDict):  # type: ignore[type-arg]
    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key)
        self.move_to_end(key)
        return value


class Shop:
    def __init__(self) -> None:
        self.lines = [5]
        self.trigger = functools.partial(self._go, "partial")
        self.look = self.size
        self.plain = len

    def _go(self, how: str, number: int) -> str:
        self.lines.append(number)
        return how

    def add(self, number: int) -> None:
        self.lines.append(number)

    @functools.cached_property
    def total(self) -> int:
        return sum(self.lines)

    _count: int | None = None

    @property
    def count(self) -> int:
        if self._count is None:
            self._count = len(self.lines)
        return self._count

    @readonly
    def size(self) -> int:
        return len(self.lines)

    def step(self) -> str:
        return "slow"

    def hurry(self) -> None:
        self.step = self.quick  # type: ignore[method-assign]

    def quick(self) -> str:
        self.lines.append(0)
        return "quick"

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        self.lines.append(1)
        yield


async def _use(path: Path) -> None:
    shop: Any = await coopy.aio.open(Shop, path, validation="off")
    assert [await shop.total, await shop.count] == [5, 1]
    await shop.add(7)
    assert [await shop.total, await shop.count] == [5, 1]
    assert await shop.trigger(3) == "partial" and await (await shop.trigger)(4) == "partial"
    assert await shop.look() == 4 and await shop.plain("ab") == 2
    assert await asyncio.create_task(shop.lines) == [5, 7, 3, 4]
    assert await shop.step() == "slow"
    await shop.hurry()
    assert await shop.step() == "quick"
    with pytest.raises(UsageError, match="opens a block"):
        shop.batch()
    await call(shop, Shop.__init__)
    await shop.add(9)
    await shop.close()


class Basket:
    def __init__(self) -> None:
        self.lines: list[int] = []
        self.is_open = False

    def __len__(self) -> int:
        return len(self.lines)


async def _ask_without_waiting(path: Path) -> None:
    basket: Any = await coopy.aio.open(Basket, path)
    with pytest.raises(TypeError, match=r"await coopy.aio.call\(system, cls.__len__\)"):
        bool(basket)
    with pytest.raises(TypeError, match="if await system.is_open"):
        bool(basket.is_open)
    with pytest.raises(TypeError, match="await system.is_open == "):
        assert basket.is_open == False  # noqa: E712
    assert [await basket.is_open, await call(basket, Basket.__len__)] == [False, 0]
    assert await asyncio.gather(basket.is_open, basket.lines) == [False, []]
    await basket.close()


def test_what_is_not_awaited_is_neither_true_nor_equal_to_anything(tmp_path: Path) -> None:
    asyncio.run(_ask_without_waiting(tmp_path))


async def _use_lru(path: Path) -> None:
    lru: Any = await coopy.aio.open(LRU, path)
    for key in "abc":
        await call(lru, LRU.__setitem__, key, key)
    assert await call(lru, LRU.__getitem__, "a") == "a"
    await lru.close()


def test_they_are_recorded(tmp_path: Path) -> None:
    asyncio.run(_use(tmp_path / "shop"))
    asyncio.run(_use_lru(tmp_path / "lru"))
    shop: Any = init_system(Shop, tmp_path / "shop", validation="off")
    assert (shop.lines, shop.total, control(shop).index) == ([5, 9], 5, 10)
    control(shop).close()
    with contextlib.closing(control(init_system(LRU, tmp_path / "lru"))) as controls:
        assert list(controls.replay()) == ["b", "c", "a"]
