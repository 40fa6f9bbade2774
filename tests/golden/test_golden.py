"""Directories that earlier formats wrote are what they were: to replay, verify and repair, and when they are opened."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from golden import keyed, orders, rich
from golden import shop as golden
from golden.shop import Shop, ends, state
from program import free_port

import coopy
from coopy import UsageError, control, init_system
from coopy.errors import ChangedClass, UndecodableAction
from coopy.objects import opening
from coopy.tools import repair
from coopy.tools.contents import contents
from coopy.tools.verify import verify

HERE = Path(__file__).resolve().parent
OBJECTS = ["coopy-0.8.0.dev4-objects"]
SYSTEMS = ["coopy-0.8.0.dev1", "coopy-0.8.0.dev2"]
NODES = ["coopy-0.8.0.dev1-node", "coopy-0.8.0.dev2-node", "coopy-0.8.0.dev4-node"]
each_system = pytest.mark.parametrize("name", SYSTEMS)
each_node = pytest.mark.parametrize("name", NODES)
SHARED = ["coopy-0.8.0.dev3-shared"]
each_directory = pytest.mark.parametrize("name", [*SYSTEMS, *NODES, *SHARED])


@pytest.fixture
def copy(tmp_path: Path, name: str) -> Path:
    """The directory, to be opened: who writes to the one in this folder makes it worthless."""
    return shutil.copytree(HERE / name, tmp_path / name)


@pytest.fixture
def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / f"{name}.expected.json").read_text())
    return found


def digests(path: Path) -> dict[str, str]:
    files = (each for each in path.rglob("*") if each.is_file())
    return {str(each.relative_to(path)): hashlib.sha256(each.read_bytes()).hexdigest() for each in files}


@each_directory
def test_reading_gives_the_state_and_the_outcomes_and_changes_nothing(copy: Path, expected: dict[str, Any]) -> None:
    before = digests(copy)
    assert state(coopy.replay(Shop, copy)) == expected["state"]
    assert ends(copy) == expected["actions"]
    found = verify(copy, Shop)
    assert (found.problems, found.actions) == ([], expected["index"])
    assert repair.plan(str(copy)) is None
    assert contents(str(copy)).damages == []
    assert digests(copy) == before


@each_system
def test_a_system_goes_on_where_it_ended(
    copy: Path, expected: dict[str, Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden, "sent", [])
    with caplog.at_level(logging.WARNING, "coopy"):
        shop = init_system(Shop, copy, validation="off")
        found = control(shop)
        assert state(shop) == expected["state"]
        assert (found.code_version, found.index >= expected["index"]) == (expected["code"], True)
        shop.note("gone on")
        found.close()
    assert caplog.messages == []
    system = json.loads((copy / "coopy.json").read_text())["system"]
    assert [effect_id for effect_id, _, _ in golden.sent] == [f"{system}-{name}" for name in expected["effects"]]
    assert [address for _, address, _ in golden.sent] == ["berta@example.org", "carl@example.org"]
    with init_system(Shop, copy, validation="off") as shop:
        assert control(shop).effects == []
        assert shop.notes == [*expected["state"]["notes"], "gone on"]


@pytest.mark.parametrize("name", ["coopy-0.8.0.dev2", "coopy-0.8.0.dev2-node", "coopy-0.8.0.dev4-node"])
def test_locks_of_a_state_are_open_and_shared(copy: Path) -> None:
    shop = coopy.replay(Shop, copy)
    assert shop.guarded._lock is shop.lock  # type: ignore[attr-defined]
    for each in (shop.lock, shop.guarded, shop.counted):
        assert each.acquire(timeout=5)
    shop.guarded.notify_all()


@each_node
def test_a_node_goes_on_where_it_ended_and_is_no_system_of_its_own(copy: Path, expected: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is a node of a replicated system"):
        init_system(Shop, copy, validation="off")
    options: dict[str, Any] = {"master": True, "port": free_port(), "password": "secret", "validation": "off"}
    shop = init_system(Shop, copy, **options)
    try:
        assert (state(shop), control(shop).index) == (expected["state"], expected["index"])
        shop.note("gone on")
    finally:
        control(shop).close()
    assert coopy.replay(Shop, copy).notes == [*expected["state"]["notes"], "gone on"]


# -- what is said of classes

FIELDS = ["coopy-0.8.0.dev2-fields", "coopy-0.8.0.dev4-fields"]
each_of_fields = pytest.mark.parametrize("name", FIELDS)


@pytest.fixture
def types() -> Iterator[Callable[..., None]]:
    """Gives the domain other classes, and its own again at the end."""

    def change(old: str, new: str) -> None:
        assert old in orders.TYPES
        orders.define(orders.TYPES.replace(old, new))

    yield change
    orders.define(orders.TYPES)


@each_of_fields
def test_objects_of_each_kind_of_class_are_what_they_were(copy: Path, expected: dict[str, Any]) -> None:
    before = digests(copy)
    things = coopy.replay(orders.Desk, copy).things
    assert [orders.plain(thing) for thing in things] == expected["state"]
    assert (ends(copy), digests(copy)) == (expected["actions"], before)
    with init_system(orders.Desk, copy, validation="off") as desk:
        assert [orders.plain(thing) for thing in desk.things] == expected["state"]


CHANGES = [
    ("    price: int\n", "", "Order", True),
    ("    refund: int\n", "    refund: int\n    tags: list\n", "Order", True),
    ("    x: int\n    y: int\n", "    y: int\n    x: int\n", "Point", True),
    ("RED = 1\n    BLUE = 2", "RED = 2\n    BLUE = 1", "Colour", True),
    ("    title: str\n", "    title: str\n    tags: list\n", "Page", False),
    ('("value",)', '("value", "tag")', "Cell", False),
]


@each_of_fields
@pytest.mark.parametrize("old, new, changed, is_argument", CHANGES)
def test_a_class_that_has_changed_since_is_noticed_in_snapshot_and_journal(
    copy: Path, types: Callable[..., None], old: str, new: str, changed: str, is_argument: bool
) -> None:
    types(old, new)
    before = digests(copy)
    with pytest.raises(ChangedClass, match=f"golden.orders:{changed}"):
        init_system(orders.Desk, copy, validation="off")
    if is_argument:  # Those that only methods make are made anew by replay.
        with pytest.raises(UndecodableAction, match=f"action 1 .*golden.orders:{changed}"):
            coopy.replay(orders.Desk, copy, until=1)
    else:
        assert len(coopy.replay(orders.Desk, copy, until=1).things) == 3
    assert {name: found for name, found in digests(copy).items() if name != "lock"} == before


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("has_table", [True, False])
def test_objects_are_what_they_were_and_do_what_waits(copy: Path, expected: dict[str, Any], has_table: bool) -> None:
    if not has_table:
        (copy / "keys.dat").unlink()
    directory = opening.opened(keyed.Room, copy, options={"validation": "off"})
    directory.engine.clock = lambda: 1
    rooms: Any = directory.of(keyed.Room)
    assert keyed.state(rooms) == {part: expected[part] for part in ("rooms", "guests")}
    assert rooms.status()["last"] == expected["last"]
    while not directory.engine.do_what_is_due():
        pass
    assert rooms.of(keyed.Guest)["bob"].rooms == ["b"]
    directory.engine.clock = lambda: 1 << 62
    directory.engine.fill_heap()
    while not directory.engine.do_what_is_due():
        pass
    assert rooms["a"].said[-1] == "closed"
    directory.close()
def test_arguments_of_every_kind_are_read(tmp_path: Path) -> None:
    name = "coopy-0.8.0.dev4-rich"
    expected = json.loads((HERE / f"{name}.expected.json").read_text())
    copy = tmp_path / name
    shutil.copytree(HERE / name, copy)
    assert coopy.replay(rich.Shelf, copy).held == expected["state"]
    with init_system(rich.Shelf, copy, validation="off") as shelf:
        assert shelf.held == expected["state"]
        assert coopy.control(shelf).index == expected["index"] == 3 * len(rich.VALUES)
