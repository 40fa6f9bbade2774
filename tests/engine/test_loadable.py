"""A snapshot counts only when it can be loaded: what cannot be is not kept, and is not relied on."""

from __future__ import annotations

import asyncio
import enum
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import SnapshotError, control, init_system, transactional
from coopy.disk import directory
from coopy.errors import DecodingError, UnloadableState
from coopy.values import trial


class Refused(Exception):
    """Pickled as its arguments, which its `__init__` does not take."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)


class Node:
    """In a cycle through a set it is hashed before it has its attributes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.others: set[Node] = set()

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and self.name == other.name


class Asking:
    """Asks for what it has not got yet."""

    def __init__(self) -> None:
        self.inner = {"a": 1}

    def __getattr__(self, name: str) -> Any:
        if name == "__getstate__":
            raise AttributeError(name)  # Python 3.10 asks for it.
        return self.inner[name]


class Strict:
    def __init__(self) -> None:
        self.since = "today"

    def __setstate__(self, state: object) -> None:
        raise ValueError("of another day")


class Leaving:
    def __init__(self) -> None:
        self.since = "today"

    def __setstate__(self, state: object) -> None:
        raise SystemExit


class Cancelled(Leaving):
    def __setstate__(self, state: object) -> None:
        raise asyncio.CancelledError


def gone() -> None:
    raise LookupError("it is not there")


class Reduced:
    def __reduce__(self) -> Any:
        return gone, ()


class Pair(tuple[int, int]):
    def __new__(cls, one: int, other: int) -> Pair:
        return super().__new__(cls, (one, other))


class Colour(enum.Enum):
    RED = 1

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Colour, (2,)


class Frozen:
    __slots__ = ("one",)

    def __init__(self) -> None:
        self.one = 1

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, "one") or name != "one" or value != 1:
            raise AttributeError("it is frozen")
        object.__setattr__(self, name, value)

    def __getstate__(self) -> Any:
        return None, {"one": 2}


def snapshots(tmp_path: Path) -> list[int]:
    return directory.snapshots([path.name for path in (tmp_path / "shop").iterdir()])


def circle() -> Node:
    one, other = Node("one"), Node("other")
    one.others.add(other)
    other.others.add(one)
    return one


MADE: dict[str, Callable[[], object]] = {
    "an exception": lambda: Refused(3, "too many"),
    "a cycle through a set": circle,
    "a __getattr__ that asks itself": Asking,
    "a __setstate__ that raises": Strict,
    "a __setstate__ that ends the program": Leaving,
    "a __setstate__ that ends a task": Cancelled,
    "a __reduce__ to what raises": Reduced,
    "a __new__ of two": lambda: Pair(1, 2),
    "an enum of another value": lambda: Colour.RED,
    "what is frozen": Frozen,
}


class Shop:
    def __init__(self) -> None:
        self.orders: list[Any] = []
        self.count = 0

    def order(self, what: str | None = None) -> None:
        self.count += 1
        self.orders.append({"number": self.count, "what": MADE[what]() if what is not None else None})

    def forget(self) -> None:
        self.orders.pop()

    @transactional(parts=("orders", "count"))
    def refuse(self) -> None:
        self.count += 1
        raise LookupError("refused")


class Draft:
    """A state machine by classes, as a book on patterns has it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def turn(self, cls: type) -> None:
        self.log.append(cls.__name__)
        self.__class__ = cls  # type: ignore[assignment]


class Printed:
    turn = Draft.turn


class Signed(Draft):
    pass


def test_no_snapshot_is_kept_that_the_class_of_the_directory_refuses(tmp_path: Path) -> None:
    with init_system(Draft, tmp_path / "shop", validation="off", keep=1) as draft:
        draft.turn(Printed)
        with pytest.raises(SnapshotError, match="made the object of the system a Printed.* Derive Printed from Draft"):
            control(draft).take_snapshot()
    with init_system(Draft, tmp_path / "shop", validation="off", keep=1) as draft:
        assert draft.log == ["Printed"]
        draft.turn(Signed)
        assert control(draft).take_snapshot() == 2
    with init_system(Draft, tmp_path / "shop", validation="off") as draft:
        assert draft.log == ["Printed", "Signed"]


@pytest.mark.parametrize("what", MADE)
@pytest.mark.parametrize("fork", [True, False])
def test_a_snapshot_that_cannot_be_loaded_is_not_kept_and_the_part_is_named(tmp_path: Path, what: str, fork: bool) -> None:
    with init_system(Shop, tmp_path / "shop", validation="off", keep=1, fork=fork) as shop:
        shop.order()
        assert control(shop).take_snapshot() == 1
        shop.order(what)
        with pytest.raises(SnapshotError, match=r"state\.orders\[1\]\['what'\].* not loaded again"):
            control(shop).take_snapshot()
        assert snapshots(tmp_path) == [1]
        shop.order()
    with init_system(Shop, tmp_path / "shop", validation="off", keep=1) as shop:
        assert shop.count == 3
        shop.forget()
        shop.forget()
        assert control(shop).take_snapshot() == 5
    assert snapshots(tmp_path) == [5]


@pytest.mark.parametrize("what", MADE)
def test_a_system_whose_first_state_cannot_be_loaded_is_not_begun(tmp_path: Path, what: str) -> None:
    shop = Shop()
    shop.order(what)
    with pytest.raises(UnloadableState, match=r"state\.orders\[0\]\['what'\].* not loaded again") as raised:
        init_system(shop, tmp_path / "shop", validation="off")
    assert raised.value.path.startswith("state.orders[0]['what']")
    with init_system(Shop, tmp_path / "shop", validation="off") as begun:
        assert begun.count == 0


@pytest.mark.parametrize("what", MADE)
def test_parts_that_cannot_be_loaded_are_put_back_by_the_journal(tmp_path: Path, what: str) -> None:
    with init_system(Shop, tmp_path / "shop", validation="off") as shop:
        shop.order(what)
        with pytest.raises(LookupError, match="refused"):
            shop.refuse()
        assert (shop.count, len(shop.orders)) == (1, 1)
        shop.order()
    assert coopy.replay(Shop, tmp_path / "shop").count == 2


def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "load", lambda codec, state, data, start: False)


def test_opening_goes_back_to_a_snapshot_that_can_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    untried(monkeypatch)
    with init_system(Shop, tmp_path / "shop", validation="off") as shop:
        shop.order()
        control(shop).take_snapshot()
        shop.order("an exception")
        control(shop).take_snapshot()
        shop.order()
    with init_system(Shop, tmp_path / "shop", validation="off") as shop:
        assert (shop.count, control(shop).index) == (3, 3)
    assert "going back to the one of action 1" in caplog.text and "Refused" in caplog.text
    assert coopy.replay(Shop, tmp_path / "shop", until=2).count == 2


def test_where_the_way_back_is_gone_the_snapshot_is_what_is_to_be_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untried(monkeypatch)
    with init_system(Shop, tmp_path / "shop", validation="off") as shop:
        shop.order()
        shop.order("an exception")
        control(shop).take_snapshot()
    monkeypatch.delattr(Shop, "order")
    with pytest.raises(DecodingError, match="Refused"):
        init_system(Shop, tmp_path / "shop", validation="off")


def test_what_has_not_been_loaded_is_not_all_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with init_system(Shop, tmp_path / "shop", validation="off", keep=1) as shop:
        shop.order()
        control(shop).take_snapshot()
        untried(monkeypatch)
        for _ in range(3):
            shop.order("an exception")
            control(shop).take_snapshot()
        # Nor does a command delete what it has no class to load with.
        assert snapshots(tmp_path) == [1, 2, 3, 4]
        assert control(shop).prune(keep=1) == []
    with init_system(Shop, tmp_path / "shop", validation="off", keep=1) as shop:
        assert shop.count == 4
        monkeypatch.undo()
        for _ in range(3):
            shop.forget()
        control(shop).take_snapshot()
        assert snapshots(tmp_path) == [7]


def test_a_snapshot_that_an_opening_has_loaded_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    untried(monkeypatch)
    with init_system(Shop, tmp_path / "shop", validation="off") as shop:
        for _ in range(3):
            shop.order()
            control(shop).take_snapshot()
    with init_system(Shop, tmp_path / "shop", validation="off") as shop:
        assert control(shop).prune(keep=1) == [0, 1, 2]
        assert shop.count == 3


def test_what_a_command_prunes_has_been_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coopy.past.retention import Retention
    from coopy.tools import pruning

    with init_system(Shop, tmp_path / "shop", validation="off") as shop:
        for number in range(4):
            if number == 2:
                untried(monkeypatch)
            shop.order()
            control(shop).take_snapshot()
    assert pruning.prune(str(tmp_path / "shop"), Retention(1)).snapshots == [0, 1]
    assert snapshots(tmp_path) == [2, 3, 4]


def test_where_there_may_be_no_room_for_a_second_state_nothing_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_SMALL_BYTES", 0)
    monkeypatch.setattr(trial, "room", lambda: 1000)
    monkeypatch.setattr(Strict, "__setstate__", lambda self, state: pytest.fail("it was loaded"))
    with init_system(Shop, tmp_path / "shop", validation="off") as shop:
        shop.order("a __setstate__ that raises")
        assert control(shop).take_snapshot() == 1


def test_a_state_that_takes_memory_to_load_that_there_is_not_is_kept_untried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(self: object, state: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Strict, "__setstate__", none)
    with init_system(Shop, tmp_path / "shop", validation="off") as shop:
        shop.order("a __setstate__ that raises")
        assert control(shop).take_snapshot() == 1
        assert shop._coopy_engine._snapshots.newest_loaded == 0


def test_a_state_that_waits_while_it_is_loaded_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coopy.disk import child, snapshots

    monkeypatch.setattr(child, "_BEAT_S", 0.02)
    monkeypatch.setattr(snapshots, "TRIAL_S", 0.5)
    monkeypatch.setattr(Strict, "__setstate__", lambda self, state: [None for _ in iter(int, 1)])
    with init_system(Shop, tmp_path / "shop", validation="off") as shop:
        shop.order("a __setstate__ that raises")
        with pytest.raises(SnapshotError, match="loading it again did not end in "):
            control(shop).take_snapshot()


def test_a_trial_has_none_of_the_threads_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait)
    thread.start()
    try:

        def look(self: object, state: object) -> None:
            assert threading.active_count() == 1, "one more"

        monkeypatch.setattr(Strict, "__setstate__", look)
        with init_system(Shop, tmp_path / "shop", validation="off") as shop:
            shop.order("a __setstate__ that raises")
            assert control(shop).take_snapshot() == 1
    finally:
        waiting.set()
        thread.join()
