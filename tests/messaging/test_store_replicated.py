"""A store on nodes: one that writes, one that follows it, and three equal ones."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from program import free_port

from coopy import ReadOnlyNode, control
from coopy.batteries import until
from coopy.messaging import KeyValueStore

pytest.importorskip("nats", reason="the extra [cluster] is not installed")


def test_a_node_that_follows_has_the_keys_their_history_and_their_ends(tmp_path: Path) -> None:
    port = free_port()
    with (
        KeyValueStore({"a": 1}, tmp_path / "one", master=True, port=port) as one,
        KeyValueStore(db_file_path=tmp_path / "other", replication=True, port=port) as other,
    ):
        with other.subscribe(prefix="s", timeout=60) as changes:
            one.set("a", {"n": 2})
            one.set("short", 1, ttl=0.2)
            assert [next(changes)[2:4] for _ in range(2)] == [
                ("added", "short"),
                ("expired", "short"),
            ]
        assert until(lambda: control(other.system).index == control(one.system).index, timeout=60)
        assert other.system.to_dict() == {"a": {"n": 2}} and [each.value for each in other.history("a")] == [1, {"n": 2}]
        assert control(other.system).state_digest() == control(one.system).state_digest()
        with pytest.raises(ReadOnlyNode):
            other.set("a", 3)


def test_three_equal_nodes_agree_on_what_a_comparison_has_set(tmp_path: Path) -> None:
    nodes = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    opened: list[KeyValueStore] = []

    def open_one(node: str) -> None:
        opened.append(KeyValueStore(db_file_path=tmp_path / node.rpartition(":")[2], cluster=nodes, node=node))

    threads = [threading.Thread(target=open_one, args=(node,)) for node in nodes]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    try:
        assert len(opened) == 3
        opened[0].set("n", 0)
        counters = [
            threading.Thread(target=lambda store=store: [store.update("n", lambda n: n + 1, 0) for _ in range(10)])
            for store in opened
        ]
        for each in counters:
            each.start()
        for each in counters:
            each.join()
        with control(opened[2].system).latest():
            assert opened[2].get("n") == 30
        opened[1].set("short", 1, ttl=0.2)
        assert until(lambda: not opened[2].exists("short"), timeout=60, of=opened[2].system)
        control(opened[0].system).sync()
        assert [version.kind for version in opened[0].history("short")] == ["added", "expired"]
    finally:
        for store in opened:
            store.shutdown()
