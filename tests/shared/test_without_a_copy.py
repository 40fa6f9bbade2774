"""A process that keeps no state: its calls and reads go to the process that writes."""

from __future__ import annotations

import copy
import dataclasses
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared import apart
from shared.children import in_a_child
from shared.domain import Process, Wiki, opened

import coopy
from coopy import EncodingError, SystemClosed, Unavailable, UsageError, control, init_system, readonly
from coopy.batteries import Dict, Queue, handle


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    coopy.close_all()


@pytest.fixture(params=["buffered", "sync"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Any]:
    return opened(tmp_path / "data", durability=request.param), opened(tmp_path / "data", copy=False)


def test_what_is_asked_for_frozen_refuses_to_be_changed(tmp_path: Path) -> None:
    writer, reader = opened(tmp_path / "data"), opened(tmp_path / "data", copy=False, results="frozen")
    reader.add([1])
    for change in (
        lambda: reader.calls.append(2),
        lambda: reader.all().append(2),
        lambda: reader.calls[0].append(2),
        lambda: next(reader.each()).append(2),
        lambda: reader.listed([1]).append(2),
    ):
        with pytest.raises(UsageError, match="Write a method of Wiki that does it"):
            change()
    assert reader.calls == writer.calls == [[1], [1]] and reader.itself() is reader


class Bag:
    def __init__(self) -> None:
        self.things: list[Any] = []

    def __setitem__(self, place: int, thing: Any) -> None:
        self.things.insert(place, thing)

    def __getitem__(self, place: int) -> Any:
        return self.things[place]

    def __len__(self) -> int:
        return len(self.things)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.things)

    def __contains__(self, thing: Any) -> bool:
        return thing in self.things

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bag) and self.things == other.things

    @property
    def first(self) -> Any:
        return self.things[0]

    @readonly
    def reversed(self) -> Iterator[Any]:
        yield from self.things[::-1]


class Shelf(dict[str, int]):
    pass


def test_calls_and_reads_are_of_the_writer(pair: tuple[Any, Any]) -> None:
    writer, reader = pair
    assert control(reader).status()["role"] == "without a copy"
    assert [reader.add("a"), writer.add("b"), reader.count()] == [1, 2, 2]
    assert reader.all() == reader.calls == ["a", "b"]
    reader.title = "ours"
    assert writer.title == reader.title == "ours"
    assert control(reader).index == control(writer).index == 3


def test_what_is_read_comes_by_value(pair: tuple[Any, Any]) -> None:
    writer, reader = pair
    reader.add("a")
    reader.calls.append("b")
    assert reader.calls == writer.calls == ["a"]


def test_a_read_raises_what_it_raises(pair: tuple[Any, Any]) -> None:
    with pytest.raises(AttributeError):
        assert pair[1].nothing_of_that_name
    with pytest.raises(KeyError, match="x"):
        pair[1].fail("x")


def test_operators_and_iteration_are_reads_too(tmp_path: Path) -> None:
    bag = init_system(Bag, tmp_path / "data", shared=True)
    far = init_system(Bag, tmp_path / "data", shared=True, copy=False)
    far[0] = "a"
    far[1] = "b"
    assert (len(far), far[1], list(far), "a" in far, far.first, list(far.reversed())) == (
        2,
        "b",
        ["a", "b"],
        True,
        "a",
        ["b", "a"],
    )
    assert bag[0] == "a"


def test_it_keeps_no_state(tmp_path: Path) -> None:
    opened(tmp_path / "data").put("large", "x" * 1_000_000)
    reader = opened(tmp_path / "data", copy=False)
    assert reader.page("large")[:1] == "x"
    assert not hasattr(reader._coopy_engine.machine.domain, "pages")


def test_the_past_and_the_actions_are_to_be_had(pair: tuple[Any, Any]) -> None:
    _, reader = pair
    reader.add("a")
    reader.add("b")
    assert control(reader).replay(1).calls == ["a"]
    assert [each.args for each in control(reader).actions()] == [("a",), ("b",)]
    assert control(reader).take_snapshot() == 2
    assert control(reader).state_digest() == control(pair[0]).state_digest()


def test_who_waits_for_an_item_asks_for_it(tmp_path: Path) -> None:
    queue = init_system(Queue, tmp_path / "data", shared=True, validation="off")
    far = handle(init_system(Queue, tmp_path / "data", shared=True, copy=False, validation="off"))
    thread = threading.Timer(0.05, lambda: queue.put("tea"))
    thread.start()
    assert far.get(timeout=60) == "tea"
    thread.join()


def test_what_a_dict_shows_comes_as_a_list(tmp_path: Path) -> None:
    init_system(Shelf, tmp_path / "data", shared=True)["tea"] = 1
    far = init_system(Shelf, tmp_path / "data", shared=True, copy=False)
    assert (far.items(), far.keys(), far.values(), dict(far)) == ([("tea", 1)], ["tea"], [1], {"tea": 1})


def test_what_can_not_be_edited_by_value_is_refused_and_not_lost(tmp_path: Path) -> None:
    stock = init_system(Dict({"tea": [1]}), tmp_path / "data", shared=True, validation="off")
    far = init_system(Dict, tmp_path / "data", shared=True, copy=False, validation="off")
    with pytest.raises(EncodingError, match="put it in"), far.edit("tea") as tea:
        tea.append(2)
    with stock.edit("tea") as tea:
        tea.append(3)
    assert stock["tea"] == far["tea"] == [1, 3]


def test_it_is_told_of_no_action(pair: tuple[Any, Any]) -> None:
    with pytest.raises(UsageError, match="copy"):
        control(pair[1]).subscribe(print)


def test_after_the_death_of_the_writer_another_answers(tmp_path: Path) -> None:
    with (
        Process(tmp_path / "data") as writer,
        Process(tmp_path / "data") as next_one,
        opened(tmp_path / "data", copy=False) as reader,
    ):
        assert reader.add("a") == 1
        writer.kill()
        assert (reader.add("b"), reader.all()) == (2, ["a", "b"])
        assert next_one.do("wiki.count()") == 2


def test_it_never_writes_itself(tmp_path: Path) -> None:
    opened(tmp_path / "data").close()
    with pytest.raises(Unavailable):
        opened(tmp_path / "data", copy=False, timeout=0.05)
    with pytest.raises(UsageError, match="shared"):
        init_system(Wiki, tmp_path / "data", copy=False)


def test_when_it_is_closed_it_takes_no_calls(pair: tuple[Any, Any]) -> None:
    writer, reader = pair
    reader.close()
    with pytest.raises(SystemClosed):
        reader.count()
    with pytest.raises(SystemClosed):
        reader.add(1)
    assert writer.add(1) == 1


def test_its_child_asks_as_well(pair: tuple[Any, Any]) -> None:
    writer, reader = pair
    assert in_a_child(lambda: (reader.add(os.getpid()) and reader.count(), control(reader).status()["role"])) == (
        1,
        "without a copy",
    )
    assert writer.count() == 1


@dataclasses.dataclass
class Order:
    lines: list[str]


def test_what_a_library_has_noted_in_the_class_is_not_asked_for(tmp_path: Path) -> None:
    writer = init_system(Order(["tea"]), tmp_path / "data", shared=True, validation="off")
    for how in ("reader", "connected"):
        order = apart.HOW[how](writer, Order, str(tmp_path / "data"), {"validation": "off"})[0]
        assert dataclasses.asdict(order) == {"lines": ["tea"]}
        assert dataclasses.fields(order) == dataclasses.fields(Order)
        with pytest.raises(AttributeError):
            order.__missing_here__  # noqa: B018


def test_two_systems_are_compared_wherever_their_states_are(tmp_path: Path) -> None:
    def begun(name: str) -> Any:
        return init_system(Bag, tmp_path / name, shared=True, validation="off", durability="buffered")

    one, other = begun("one"), begun("other")
    one[0] = other[0] = "tea"
    for how in ("reader", "connected"):
        seconds = [apart.HOW[how](each, Bag, control(each).basedir, {"validation": "off"})[0] for each in (one, other)]
        assert seconds[0] == seconds[1] and seconds[0] == other and one == seconds[1] and seconds[0] == one
    other[0] = "milk"
    assert seconds[0] != seconds[1] and seconds[0] != other and one != seconds[1]


def test_a_closed_one_says_so_whatever_is_read(tmp_path: Path) -> None:
    _, reader = opened(tmp_path / "data"), opened(tmp_path / "data", copy=False)
    control(reader).close()
    with pytest.raises(SystemClosed):
        copy.copy(reader)
