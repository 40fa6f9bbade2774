"""Structures on a node that writes and one that follows it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from coopy import ReadOnlyNode, control, init_system
from coopy.batteries import Dict, PriorityQueue, Set, until

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
