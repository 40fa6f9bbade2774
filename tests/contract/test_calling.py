"""What `coopy.spine.calling.Calling` promises, over every engine there is, and over a past state."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import handed
import pytest
from cluster.memory_nodes import SECRET, Node
from shared.apart import open_apart

from coopy import SystemClosed, abort_exception, control, init_system, readonly, unlocked
from coopy.ground import action
from coopy.ground.line import MemoryLine, MemoryServer
from coopy.past.proxy import Past, codec_of_past
from coopy.replication.copying import Shared
from coopy.spine.calling import Calling
from coopy.spine.machine import Machine, construct
from coopy.spine.methods import Method, method_for
from coopy.testing import Clock, memory_system

inside: list[Callable[[], object]] = []
"""Called by an action while it runs."""


class Shop:
    def __init__(self) -> None:
        self.sold: list[Any] = []

    def sell(self, what: Any) -> int:
        if what == "nothing":
            raise ValueError(what)
        self.sold.append(what)
        return len(self.sold)

    @abort_exception
    def refuse(self, what: Any) -> None:
        raise KeyError(what)

    def look(self) -> None:
        for each in inside:
            each()

    def sell_by(self, shop: Any, what: Any) -> int:
        return int(shop.sell(what)) + int(shop.count())

    def itself(self) -> Shop:
        return self

    def each(self) -> Iterator[Any]:
        yield from self.sold

    @readonly
    def count(self) -> int:
        return len(self.sold)

    @readonly
    def fail(self) -> int:
        raise LookupError("nothing is sold")

    @readonly
    def same(self) -> Shop:
        return self

    @readonly
    def reversed(self) -> Iterator[Any]:
        return (each for each in self.sold[::-1])

    @unlocked
    @readonly
    def glance(self) -> int:
        return len(self.sold)


class Called(handed.Called):
    domain = Shop


class Opened:
    """One that fills `Calling`, and what ends it."""

    def __init__(self, shop: Any, close: Callable[[], object], ends: bool = True, has_state: bool = True) -> None:
        self.shop = shop
        self.close = close
        self.ends = ends
        """Whether it takes no calls once it is closed."""
        self.has_state = has_state
        """Whether the state is here: otherwise each read is asked for, and there may be no lock."""
        self.calling: Calling = shop._coopy_engine


def system(shop: Any, has_state: bool = True) -> Opened:
    return Opened(shop, control(shop).close, has_state=has_state)


def node(path: Path) -> Opened:
    found = Node(MemoryLine(MemoryServer()), cls=Shop)
    return Opened(found.bank, found.engine.close)


def past(path: Path) -> Opened:
    codec, begin = codec_of_past(Shop)
    header = action.header(1, 0, action.UNKNOWN)
    machine = Machine(construct(Shop, header, SECRET), 0, header, SECRET)
    begin(machine)
    return Opened(codec.proxy, lambda: machine, ends=False)


def sends(how: str) -> Callable[[Path], Opened]:
    """One that sends its calls to another system of this process."""
    return lambda path: system(open_apart(how, Shop, str(path), validation="off"), how == "follower")


KINDS: dict[str, Callable[[Path], Opened]] = {
    "in memory": lambda path: system(memory_system(Shop)),
    "synced": lambda path: system(init_system(Shop, path)),
    "buffered": lambda path: system(init_system(Shop, path, durability="buffered")),
    "checked": lambda path: system(memory_system(Shop, check=True)),
    "under a clock": lambda path: system(memory_system(Shop, clock=Clock())),
    "checked under a clock": lambda path: system(memory_system(Shop, clock=Clock(), check=True)),
    "that gives copies": lambda path: system(memory_system(Shop, results="copy")),
    "that gives views": lambda path: system(init_system(Shop, path, results="frozen")),
    "a node": node,
    "shared, the one that writes": lambda path: system(init_system(Shop, path, shared=True, validation="off")),
    "shared, one that follows": sends("follower"),
    "a past state": past,
}


WITHOUT_STATE: dict[str, Callable[[Path], Opened]] = {
    "shared, without a copy": sends("reader"),
    "connected": sends("connected"),
}
"""Those of which nobody can be told of actions."""


@pytest.fixture(params=[*KINDS, *WITHOUT_STATE])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    found = {**KINDS, **WITHOUT_STATE}[request.param](tmp_path / "shop")
    yield found
    found.close()


@pytest.fixture
def calling(opened: Opened) -> Calling:
    return opened.calling


def method(name: str) -> Method:
    return method_for(name, getattr(Shop, name), ("what",))


def call(calling: Calling, name: str, *args: Any, **kwargs: Any) -> Any:
    return calling.call(method(name), args, kwargs)


def read(calling: Calling, name: str, *args: Any) -> Any:
    return calling.read(getattr(Shop, name), args, {})


def take(calling: Calling, *calls: Called) -> list[Any]:
    list(calling.settled(calling.begin_all(calls), calls))
    return [list(each.value) if isinstance(each.value, type(iter([]))) else each.outcome for each in calls]


def test_a_call_returns_what_its_method_returns_and_a_read_sees_what_it_has_done(calling: Calling) -> None:
    assert [call(calling, "sell", "tea"), call(calling, "sell", what="milk")] == [1, 2]
    assert read(calling, "count") == 2
    assert calling.read_unlocked(Shop.glance, (), {}) == 2
    assert calling.read(getattr, ("sold",), {}) == ["tea", "milk"]


def test_what_a_method_raises_is_raised_and_the_next_call_goes_on(calling: Calling) -> None:
    for name, error in (("sell", ValueError), ("refuse", KeyError)):
        with pytest.raises(error):
            call(calling, name, "nothing")
    with pytest.raises(LookupError):
        read(calling, "fail")
    with pytest.raises(LookupError):
        calling.read_unlocked(Shop.fail, (), {})
    assert call(calling, "sell", "tea") == read(calling, "count") == 1


def test_the_proxy_stands_for_the_domain_object_in_whatever_is_returned(opened: Opened) -> None:
    calling, shop = opened.calling, opened.shop
    assert calling.proxy is shop
    assert calling.machine.domain is not shop
    [together] = take(calling, Called("itself"))
    for found in (call(calling, "itself"), read(calling, "same"), calling.read_unlocked(Shop.same, (), {}), together):
        assert found is shop


def test_what_a_generator_yields_is_what_there_was_when_it_was_called(calling: Calling) -> None:
    for what in ("tea", "milk"):
        call(calling, "sell", what)
    found = [call(calling, "each"), read(calling, "reversed"), calling.read_unlocked(Shop.reversed, (), {})]
    call(calling, "sell", "bread")
    assert [list(each) for each in found] == [["tea", "milk"], ["milk", "tea"], ["milk", "tea"]]


def test_a_call_from_inside_an_action_is_a_part_of_it(opened: Opened) -> None:
    before = getattr(opened.calling.log, "last", None)
    assert opened.shop.sell_by(opened.shop, "tea") == 2
    assert read(opened.calling, "count") == 1  # A copy comes there with the next read.
    after = getattr(opened.calling.log, "last", None)
    if before is not None and not isinstance(opened.calling, Past):
        assert after - before in (1, 2)  # A node has one for the batch, too.


def test_many_calls_come_to_what_they_come_to_one_by_one(tmp_path: Path, opened: Opened) -> None:
    def calls() -> list[Called]:
        return [
            Called("sell", "tea"),
            Called("sell", "nothing"),
            Called(None),
            Called("refuse", "tea"),
            Called("sell", ["a", "list"]),
            Called("sell", what="by name"),
            Called("each"),
            Called("itself"),
            *(Called("sell", number) for number in range(100)),
        ]

    one_by_one = memory_system(Shop)
    expected = [outcome for each in calls() for outcome in take(one_by_one._coopy_engine, each)]
    found = take(opened.calling, *calls())
    assert [each is opened.shop for each in found] == [each is one_by_one for each in expected]
    at = expected.index(one_by_one)
    del expected[at], found[at]
    assert found == expected
    assert opened.shop.sold == one_by_one.sold
    control(one_by_one).close()


def test_reads_among_many_calls_are_answered(calling: Calling) -> None:
    call(calling, "sell", "tea")
    assert take(calling, Called("count"), Called("fail"), Called("count")) == [1, LookupError, 1]


def test_each_call_is_settled_once(calling: Calling) -> None:
    calls = [Called("sell", 1), Called("count"), Called("sell", "nothing"), Called("sell", 2)]
    parts = [list(part) for part in calling.settled(calling.begin_all(calls), calls)]
    assert sorted(id(each) for part in parts for each in part) == sorted(map(id, calls))
    assert take(calling) == []


def test_a_read_may_be_answered_with_the_lock_held_while_all_is_settled(opened: Opened) -> None:
    calling = opened.calling
    if not opened.has_state:
        assert calling.looks_at_reads
        pytest.skip("each read is asked for")
    assert call(calling, "sell", "tea") == 1
    assert isinstance(calling.looks_at_reads, bool)
    assert read(calling, "count") == 1  # A copy comes there with the next read.
    assert calling.acquire()
    assert calling.machine.applied == calling.log.settled
    assert Shop.count(calling.machine.domain) == 1
    calling.release()


def test_inside_an_action_no_read_is_answered_so(opened: Opened) -> None:
    if not opened.ends:
        pytest.skip("a past state has no actions")
    if isinstance(opened.calling, Shared) and opened.calling.caller is not None:
        pytest.skip("the action runs in another process")
    seen: list[bool] = []
    calling = opened.calling

    inside.append(lambda: seen.append(calling.machine.applied == calling.log.settled))
    call(calling, "look")
    inside.clear()
    assert seen == [False]


def test_who_has_the_lock_may_take_it_again_and_keeps_others_out(opened: Opened) -> None:
    calling = opened.calling
    if not opened.has_state:
        pytest.skip("where no state is there is nothing to guard")
    calling.acquire()
    assert calling.acquire(False)
    calling.release()
    assert free_for_another(calling) is not opened.ends
    calling.release()
    assert free_for_another(calling)


def test_unwinding_gives_the_lock_back_once(calling: Calling) -> None:
    calling.acquire()
    calling.unwind()
    calling.unwind()
    assert free_for_another(calling)
    assert call(calling, "sell", "tea") == 1


def free_for_another(calling: Calling) -> bool:
    found: list[bool] = []

    def look() -> None:
        found.append(calling.acquire(False))
        if found[0]:
            calling.release()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(30)
    return found[0]


def test_who_does_not_wait_gets_the_same_answer(calling: Calling) -> None:
    assert calling.call(method("sell"), ("tea",), {}, False) == 1
    assert calling.read(Shop.count, (), {}, False) == 1


def test_nothing_is_taken_after_the_end(opened: Opened) -> None:
    if not opened.ends:
        pytest.skip("a past state ends with the last reference to it")
    call(opened.calling, "sell", "tea")
    opened.close()
    calling = opened.calling
    uses: list[Callable[[], Any]] = [
        lambda: call(calling, "sell", "milk"),
        lambda: read(calling, "count"),
        lambda: calling.read_unlocked(Shop.glance, (), {}),
    ]
    for use in uses:
        with pytest.raises(SystemClosed):
            use()
    calls = [Called("sell", "milk"), Called("count")]
    begun = calling.begin_all(calls)
    assert [each.outcome for each in calls] == [SystemClosed, SystemClosed]
    del begun
