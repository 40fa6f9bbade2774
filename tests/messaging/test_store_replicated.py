"""A store on nodes: one that writes, one that follows it, and three equal ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from compat.clusters import TRIO, Cluster
from program import free_port

from coopy import ReadOnlyNode, control
from coopy.batteries import until
from coopy.messaging import KeyValueStore
from coopy.messaging import store as store_module

pytest.importorskip("nats", reason="the extra [cluster] is not installed")


def kinds(store: KeyValueStore) -> Iterator[str]:
    """Yields what became of one key."""
    return (version.kind for version in store.history("short"))


def in_threads(function: Callable[[Any], object], values: Sequence[Any]) -> None:
    """Calls a function with several values at once."""
    threads = [threading.Thread(target=function, args=(value,)) for value in values]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


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


def test_three_equal_nodes_agree_on_what_a_comparison_has_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = Cluster(tmp_path)
    together.together.leader = TRIO[0]
    monkeypatch.setattr(store_module, "init_system", together.opens)
    opened: list[KeyValueStore] = []

    def open_one(node: str) -> None:
        opened.append(KeyValueStore(db_file_path=tmp_path / node[:2], cluster=TRIO, node=node, password="secret"))

    in_threads(open_one, TRIO)
    try:
        opened[0].set("n", 0)

        def count(store: KeyValueStore) -> None:
            for _ in range(10):
                store.update("n", lambda n: n + 1, 0)

        in_threads(count, opened)
        with control(opened[2].system).latest():
            assert opened[2].get("n") == 30
        opened[1].set("short", 1, ttl=0.2)
        for store in opened:
            assert until(lambda store=store: [*kinds(store)] == ["added", "expired"], timeout=60, of=store.system)
    finally:
        for store in opened:
            store.shutdown()
