"""The batteries of PySyncObj, member by member: the calls that change on three nodes, the reads beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from compat.clusters import Cluster, Told
from network.servers import until

from coopy.compat import pysyncobj
from coopy.compat.pysyncobj import (
    FAIL_REASON,
    ReplCounter,
    ReplDict,
    ReplList,
    ReplPriorityQueue,
    ReplQueue,
    ReplSet,
    SyncObj,
    SyncObjConf,
)

KINDS: list[Callable[[], Any]] = [
    ReplCounter,
    ReplList,
    ReplDict,
    ReplSet,
    ReplQueue,
    ReplPriorityQueue,
    lambda: ReplQueue(2),
    lambda: ReplPriorityQueue(maxsize=2),
]
COUNTER, LIST, DICT, SET, QUEUE, PRIORITIES, SHORT_QUEUE, SHORT_PRIORITIES = range(8)
Step = tuple[str, tuple[Any, ...], Any]

# What each call that changes something is called with and returns, one after another.
CALLS: list[tuple[int, list[Step]]] = [
    (COUNTER, [("set", (42,), 42), ("add", (10,), 52), ("sub", (2,), 50), ("inc", (), 51)]),
    (
        LIST,
        [
            ("reset", ([3, 1],), None),
            ("append", (2,), None),
            ("extend", ([5, 4],), None),
            ("insert", (1, 9), None),
            ("set", (0, 7), None),
            ("remove", (9,), None),
            ("pop", (), 4),
            ("pop", (0,), 7),
            ("sort", (), None),
            ("sort", (True,), None),
            ("__setitem__", (0, 6), None),
        ],
    ),
    (
        DICT,
        [
            ("reset", ({"a": 1},), None),
            ("set", ("b", 2), None),
            ("__setitem__", ("c", 3), None),
            ("setdefault", ("a", 9), 1),
            ("setdefault", ("d", [4]), [4]),
            ("update", ({"e": 5},), None),
            ("pop", ("e",), 5),
            ("pop", ("e",), None),
            ("pop", ("e", "nothing"), "nothing"),
        ],
    ),
    (
        SET,
        [
            ("reset", ({1},), None),
            ("add", (2,), None),
            ("update", ({3, 4},), None),
            ("remove", (4,), None),
            ("discard", (4,), None),
            ("pop", (), 1),
        ],
    ),
    (QUEUE, [("put", ("a",), True), ("put", ("b",), True), ("put", ("c",), True), ("get", (), "a")]),
    (PRIORITIES, [("put", ((2, "b"),), True), ("put", ((2, "a"),), True), ("put", ((1, "z"),), True), ("get", (), (1, "z"))]),
    (
        SHORT_QUEUE,
        [
            ("put", (1,), True),
            ("put", (2,), True),
            ("put", (3,), False),
            ("get", (), 1),
            ("get", (), 2),
            ("get", (), None),
            ("get", (7,), 7),
        ],
    ),
    (
        SHORT_PRIORITIES,
        [
            ("put", (3,), True),
            ("put", (2,), True),
            ("put", (1,), False),
            ("get", (), 2),
            ("get", (), 3),
            ("get", ("no",), "no"),
        ],
    ),
]
# What the reads say after that.
READS: list[tuple[int, str, tuple[Any, ...], Any]] = [
    (COUNTER, "get", (), 51),
    (LIST, "rawData", (), [6, 2, 1]),
    (LIST, "get", (1,), 2),
    (LIST, "__getitem__", (-1,), 1),
    (LIST, "__len__", (), 3),
    (LIST, "index", (2,), 1),
    (LIST, "count", (2,), 1),
    (DICT, "rawData", (), {"a": 1, "b": 2, "c": 3, "d": [4]}),
    (DICT, "get", ("a",), 1),
    (DICT, "get", ("z",), None),
    (DICT, "get", ("z", 0), 0),
    (DICT, "__getitem__", ("d",), [4]),
    (DICT, "__len__", (), 4),
    (DICT, "__contains__", ("a",), True),
    (DICT, "keys", (), {"a": 0, "b": 0, "c": 0, "d": 0}.keys()),
    (DICT, "items", (), {"a": 1, "b": 2, "c": 3, "d": [4]}.items()),
    (SET, "rawData", (), {2, 3}),
    (SET, "__len__", (), 2),
    (SET, "__contains__", (3,), True),
    (SET, "__contains__", (4,), False),
    (QUEUE, "qsize", (), 2),
    (QUEUE, "__len__", (), 2),
    (QUEUE, "empty", (), False),
    (QUEUE, "full", (), False),
    (PRIORITIES, "qsize", (), 2),
    (SHORT_QUEUE, "empty", (), True),
    (SHORT_PRIORITIES, "__len__", (), 0),
]
RAISES: list[tuple[Callable[[], Any], str, tuple[Any, ...], type[Exception]]] = [
    (ReplList, "remove", (1,), ValueError),
    (ReplList, "pop", (), IndexError),
    (ReplList, "set", (0, 1), IndexError),
    (ReplList, "reset", ((1, 2),), AssertionError),
    (ReplDict, "reset", ([],), AssertionError),
    (ReplSet, "remove", (1,), KeyError),
    (ReplSet, "pop", (), KeyError),
    (ReplSet, "reset", ([],), AssertionError),
]


def test_every_call_returns_what_it_should_and_every_read_says_the_same_on_all_nodes(cluster: Cluster) -> None:
    found = [[make() for make in KINDS] for _ in range(3)]
    nodes = [cluster.node(SyncObj, number, consumers=found[number]) for number in range(3)]
    cluster.agree(*nodes)
    for number, steps in CALLS:
        for place, (name, args, expected) in enumerate(steps):
            assert getattr(found[place % 3][number], name)(*args, sync=True) == expected, (name, args)
    last = nodes[0].raftLastApplied
    until(lambda: {each.raftLastApplied for each in nodes} == {cluster.together.line.last} and last)
    for node in found:
        for number, name, args, expected in READS:
            assert getattr(node[number], name)(*args) == expected, (number, name, args)
        assert list(node[DICT].values()) == [1, 2, 3, [4]]


@pytest.mark.parametrize(("make", "name", "args", "error"), RAISES, ids=str)
def test_a_call_raises_for_who_waits_and_changes_nothing(
    cluster: Cluster, make: Callable[[], Any], name: str, args: tuple[Any, ...], error: type[Exception]
) -> None:
    cluster.alone(SyncObj, consumers=[found := make()])
    with pytest.raises(error):
        getattr(found, name)(*args, sync=True)
    told = Told()
    getattr(found, name)(*args, callback=told)
    assert told.only() == (None, FAIL_REASON.REQUEST_DENIED) and len(found) == 0


@pytest.mark.parametrize(
    ("number", "name", "args"), [(number, *step[:2]) for number, steps in CALLS for step in steps[:1]], ids=str
)
def test_a_call_takes_callback_sync_and_timeout(cluster: Cluster, number: int, name: str, args: tuple[Any, ...]) -> None:
    cluster.alone(SyncObj, consumers=[found := KINDS[number]()])
    expected = CALLS[number][1][0][2]
    told = Told()
    assert getattr(found, name)(*args, callback=told) is None
    assert told.only() == (expected, FAIL_REASON.SUCCESS)
    assert getattr(found, name)(*args, sync=True, timeout=10) == expected
    assert getattr(found, name)(*args) is None


def test_clear_takes_all_out(cluster: Cluster) -> None:
    cluster.alone(SyncObj, consumers=[one := ReplDict(), other := ReplSet()])
    one.set("a", 1, sync=True)
    other.add(1, sync=True)
    assert one.clear(sync=True) is other.clear(sync=True) is None
    assert len(one) == len(other) == 0


def test_what_is_read_can_be_changed_and_put_in_again(cluster: Cluster) -> None:
    cluster.alone(SyncObj, consumers=[found := ReplDict()])
    found.set("a", {"tags": [1]}, sync=True)
    value = found["a"]
    value["tags"].append(2)
    assert found["a"] == {"tags": [1]}, "until it is put in again nothing has changed"
    found.set("a", value, sync=True)
    assert found.get("a") == {"tags": [1, 2]} and type(found["a"]) is dict and type(found.rawData()) is dict


def test_the_smallest_item_is_first_whatever_its_place_in_a_tuple(cluster: Cluster) -> None:
    cluster.alone(SyncObj, consumers=[found := ReplPriorityQueue()])
    for item in ((2, "b"), (2, "a"), (1, "z")):
        found.put(item, sync=True)
    assert [found.get(sync=True) for _ in range(3)] == [(1, "z"), (2, "a"), (2, "b")]
    found.put(1, sync=True)
    with pytest.raises(TypeError):
        found.put("text", sync=True)
    assert found.get(sync=True) == 1


def test_they_are_found_again_and_have_a_repr(cluster: Cluster) -> None:
    conf = SyncObjConf(fullDumpFile=str(cluster.path / "dump"))
    one = cluster.alone(SyncObj, conf, consumers=[counter := ReplCounter(), queue := ReplQueue(1)])
    counter.inc(sync=True)
    queue.put("a", sync=True)
    one.forceLogCompaction()
    until(lambda: one.getStatus()["log_len"] == 0)
    cluster.destroy(one)
    cluster.alone(SyncObj, conf, consumers=[again := ReplCounter(), queue := ReplQueue(1)])
    assert again.get() == 1 and queue.full() and "1" in repr(again)


def test_two_counters_are_two(cluster: Cluster) -> None:
    cluster.alone(SyncObj, consumers=[one := ReplCounter(), other := ReplCounter()])
    assert one.inc(sync=True) == 1 and other.add(5, sync=True) == 5 and one.get() == 1


def test_the_module_has_them_by_the_name_that_PySyncObj_has_them_by() -> None:
    for name in "ReplCounter ReplList ReplDict ReplSet ReplQueue ReplPriorityQueue".split():
        assert getattr(pysyncobj.batteries, name) is getattr(pysyncobj, name)
