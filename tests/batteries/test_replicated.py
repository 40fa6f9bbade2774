"""Structures on a node that writes and one that follows it."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from coopy import ReadOnlyNode, aio, control, init_system
from coopy.batteries import Dict, PriorityQueue, Set, until, watch

pytest.importorskip("nats", reason="the extra [cluster] is not installed")


class Shop(Dict[str, Any]):
    """A structure with others in it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Set[str] = Set()
        self.orders: PriorityQueue[tuple[int, str]] = PriorityQueue()

    def stack(self, articles: set[str]) -> None:
        self.seen.update(articles)
        for place, article in enumerate(self.seen):
            self[article] = {"place": place}
            self.orders.put((place % 2, article))

    def next_order(self) -> tuple[int, str]:
        return self.orders.get_nowait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_node_that_follows_has_the_same_state_and_hands_nothing_out(tmp_path: Path) -> None:
    port = free_port()
    with (
        control(init_system(Shop, tmp_path / "one", master=True, port=port)) as one,
        control(init_system(Shop, tmp_path / "other", replication=True, port=port)) as other,
    ):
        one.system.stack({"tea", "ink", "pen"})
        with one.system.edit("tea") as tea:
            tea["place"] = "shelf"
        assert one.system.next_order() == (0, "ink")
        assert until(lambda: other.index == one.index, timeout=30)
        assert other.state_digest() == one.state_digest() and list(other.system.seen) == ["ink", "pen", "tea"]
        assert other.system["tea"] == {"place": "shelf"} and other.system.orders.peek() == (0, "tea")
        with pytest.raises(ReadOnlyNode):
            other.system.next_order()


def test_a_node_that_follows_hears_of_changes_and_wakes_who_waits(tmp_path: Path) -> None:
    port = free_port()

    async def in_a_loop(system: Any) -> list[Any]:
        async with aio.open(system) as shop:
            watched = shop.watch("tea", timeout=30)
            one.system["tea"] = 2
            async for change in watched:
                return [change.kind, change.before, change.after]
        return []

    with (
        control(init_system(Shop, tmp_path / "one", master=True, port=port)) as one,
        control(init_system(Shop, tmp_path / "other", replication=True, port=port)) as other,
    ):
        mine, theirs = one.system.watch("tea", timeout=30), other.system.watch("tea", timeout=30)
        seen = watch(other.system, of="seen", timeout=30)
        found: list[Any] = []
        waits = threading.Thread(target=lambda: found.append(until(lambda: "tea" in other.system, 30, of=other.system)))
        waits.start()
        one.system.stack({"tea"})
        waits.join()
        assert found == [True]
        for watched in (mine, theirs):
            change = next(watched)
            assert (change.kind, change.key, change.after) == ("added", "tea", {"place": 0})
        assert next(seen).key == "tea"
        assert asyncio.run(in_a_loop(other.system)) == ["set", {"place": 0}, 2]
