"""A node from asyncio: calls that are handed over together are encoded together, and each has an answer of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import handed
import pytest
from cluster.bank import Bank as Plain
from cluster.memory_nodes import Bank, Node
from program import free_port

import coopy.aio
from coopy import CoopyError, EncodingError, ReadOnlyNode, Unavailable, control, init_system
from coopy.ground import action
from coopy.ground.line import MemoryServer
from coopy.spine.engine import CHUNK


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


@pytest.fixture
def nodes(server: MemoryServer) -> Iterator[list[Node]]:
    found = [Node(line, name) for line, name in zip(server.ends(2), "ab", strict=True)]
    yield found
    for each in found:
        each.line.close()


class Called(handed.Called):
    domain = Bank


def take(node: Node, *calls: Called) -> list[Any]:
    """What calls come to that are handed over together."""
    settled = node.engine.settled(node.engine.begin_all(calls), calls)
    assert sorted(id(call) for part in settled for call in part) == sorted(map(id, calls))
    return [call.outcome for call in calls]


def deposits(*whom: str) -> list[Called]:
    return [Called("deposit", each) for each in whom]


def agree(nodes: list[Node]) -> None:
    for each in nodes:
        each.engine.sync()
    one, other = nodes
    assert (one.state, one.records) == (other.state, other.records)


def test_calls_handed_over_together_are_answered_each_and_keep_their_order(nodes: list[Node]) -> None:
    whom = [f"{number % 3}" for number in range(2 * CHUNK + 5)]
    assert take(nodes[0], *deposits(*whom)) == [whom[: place + 1].count(who) for place, who in enumerate(whom)]
    agree(nodes)


def test_each_has_an_instant_of_its_own(nodes: list[Node]) -> None:
    take(nodes[0], *deposits(*"x" * 2 * CHUNK))
    instants = [action.instant_of(record[: action.HEADER.size]) for record in nodes[0].records[-2 * CHUNK :]]
    assert instants == sorted(set(instants))


@pytest.mark.parametrize("before", [0, 1, CHUNK - 1, CHUNK])
@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        (Called("fail", "x"), ValueError),
        (Called("refuse", "x"), ValueError),
        (Called("transfer", "x"), ValueError),
        (Called("book", "x"), ValueError),
        (Called("log", what="x"), ("x", "nobody")),
        (Called("deposit", threading.Lock()), EncodingError),
        (Called("notify", "x"), None),
        (Called(None), None),
    ],
    ids=lambda each: each.what.name if isinstance(each, Called) and each.what is not None else None,
)
def test_what_becomes_of_one_call_is_its_own_and_the_others_go_on(
    nodes: list[Node], before: int, call: Called, outcome: Any
) -> None:
    one = Called(None)
    one.what, one.args, one.kwargs = call.what, call.args, call.kwargs
    calls = [*deposits(*"x" * before), one, *deposits("x", "x")]
    expected = list(range(1, before + 3))
    assert take(nodes[0], *calls) == [*expected[:before], outcome, *expected[before:]]
    agree(nodes)


def test_a_read_among_them_is_answered_and_not_recorded(nodes: list[Node]) -> None:
    take(nodes[0], *deposits("x"))
    before = nodes[0].log.last
    assert take(nodes[0], Called("balance", "x"), Called("balance", "nobody")) == [1, KeyError]
    assert nodes[0].log.last == before
    assert take(nodes[0], Called("balance", "x"), *deposits("x")) == [1, 2]


def test_who_only_reads_refuses_each_call(server: MemoryServer) -> None:
    writer, reader = (Node(line, name, only_reads=name == "b") for line, name in zip(server.ends(2), "ab", strict=True))
    take(writer, *deposits("x"))
    reader.engine.reach(writer.line.last(), 10)
    assert take(reader, *deposits("x", "x"), Called("balance", "x")) == [ReadOnlyNode, ReadOnlyNode, 1]
    for each in (writer, reader):
        each.line.close()


def test_each_call_is_told_that_no_majority_took_it(server: MemoryServer) -> None:
    node = Node(server.ends(1)[0], timeout_s=0.2)
    server.available = False
    assert take(node, *deposits("x", "x")) == [Unavailable] * 2
    server.available, node.engine.timeout_s = True, 10
    assert take(node, *deposits("x")) == [1]
    node.line.close()


def test_a_node_that_has_stopped_tells_each_call_why(nodes: list[Node]) -> None:
    nodes[0].engine.fail(CoopyError("it has stopped"))
    assert take(nodes[0], *deposits("x", "x")) == [CoopyError] * 2


def test_a_thousand_tasks_on_a_real_node_have_each_its_own_and_a_replica_sees_all(tmp_path: Path) -> None:
    options: dict[str, Any] = {"port": free_port(), "password": "secret", "validation": "off", "timeout": 15}
    master = init_system(Plain, tmp_path / "master", master=True, **options)
    replica = init_system(Plain, tmp_path / "replica", replication=True, **options)

    async def use() -> None:
        async with coopy.aio.open(master) as bank:
            both = await asyncio.gather(
                *(bank.deposit("x") for _ in range(1000)), *(bank.fail() for _ in range(5)), return_exceptions=True
            )
            assert sorted(each for each in both if isinstance(each, int)) == list(range(1, 1001))
            assert [type(each) for each in both[1000:]] == [ValueError] * 5
            left = asyncio.create_task(bank.deposit("y"))
            await asyncio.sleep(0)
            left.cancel()
            with pytest.raises(asyncio.CancelledError):
                await left
            assert await bank.balance("y") in (0, 1)
            assert await bank.deposit("x") == 1001
            control(replica).sync()
            async with coopy.aio.open(replica) as copy:
                with pytest.raises(ReadOnlyNode):
                    await copy.deposit("x")
                assert await copy.balance("x") == 1001

    try:
        asyncio.run(use())
    finally:
        for each in (replica, master):
            control(each).close()
