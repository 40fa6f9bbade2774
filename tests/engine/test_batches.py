"""Calls in batches: what is true of each is what is true of a call that comes alone."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import handed
import pytest
from faults import Faulty, open_with

import coopy
from coopy import (
    EncodingError,
    JournalError,
    StateChanged,
    SystemClosed,
    abort_exception,
    clock,
    control,
    on_commit,
    readonly,
    transactional,
    unlocked,
)
from coopy.disk.frame import TOGETHER_MAX
from coopy.disk.fs import Calls
from coopy.disk.segment import BLOCK
from coopy.ground import action
from coopy.past import history
from coopy.spine import engine, methods
from coopy.spine.machine import MissingName
from coopy.spine.section import Section
from coopy.testing import Clock, memory_system
from coopy.values.codec import decode_joined

sent: list[str] = []
armed: list[BaseException] = []
inside: list[Callable[[], object]] = []
"""Called by an action while it runs live."""


class Shop:
    """Sells; its actions end in every way an action can."""

    def __init__(self) -> None:
        self.sold: list[Any] = []
        self.stamps: list[float] = []

    def sell(self, what: Any) -> int:
        if what in self.sold:
            raise ValueError(what)
        self.sold.append(what)
        self.stamps.append(clock.time())
        return len(self.sold)

    def order(self, what: str) -> None:
        on_commit(sent.append, what)
        self.sold.append(what)

    def order_and_fail(self, what: str) -> None:
        on_commit(sent.append, what)
        raise ValueError(what)

    @abort_exception
    def careful(self, what: str) -> None:
        if what in self.sold:
            raise ValueError(what)
        self.sold.append(what)

    @transactional
    def whole(self, what: str) -> None:
        self.sold.append(what)
        raise ValueError(what)

    @transactional(parts=("sold",))
    def whole_parts(self, what: str) -> None:
        self.sold.append(what)
        raise ValueError(what)

    def interrupted(self, what: str) -> int:
        self.sold.append(what)
        if armed:
            raise armed.pop()
        self.sold.append(what)
        return len(self.sold)

    def look(self) -> None:
        for each in inside:
            each()

    def itself(self) -> Shop:
        return self

    def all(self) -> Iterator[Any]:
        yield from self.sold

    @readonly
    def last(self) -> Any:
        return self.sold[-1]

    @readonly
    def count(self) -> int:
        return len(self.sold)


class OpenShop(Shop):
    """One with a method that runs beside any other."""

    @unlocked
    @readonly
    def glance(self) -> int:
        return len(self.sold)


KINDS = {"together": Shop, "each at once, for unlocked reads": OpenShop}


class Called(handed.Called):
    domain = OpenShop


def take(shop: Any, *calls: Called) -> list[Any]:
    """What calls come to in a batch of their own."""
    list(shop._coopy_engine.settled(shop._coopy_engine.begin_all(calls), calls))
    return [list(call.value) if isinstance(call.value, type(iter([]))) else call.outcome for call in calls]


def without_looks(shop: Any) -> Any:
    """Has an engine not look at its state before the first call, as it does once a second: before a look, each call is taken alone."""
    shop._coopy_engine.look = lambda machine: False
    return shop


def no_pickle() -> Any:
    return memoryview(b"abc")


def sells(*whats: Any) -> list[Called]:
    return [Called("sell", what) for what in whats]


def restored(cls: type, directory: Path) -> Any:
    """The state that a process killed now would leave."""
    copy = directory.with_name(directory.name + "-copy")
    shutil.copytree(directory, copy)
    try:
        return coopy.replay(cls, copy)
    finally:
        shutil.rmtree(copy)


def recorded(shop: Any) -> list[tuple[str | None, int]]:
    """Methods and outcomes, as the journal has them."""
    found = shop._coopy_engine
    return [(each.method, each.outcome) for each in history.actions(found.log, found._codec, 0)]


def without_delivery(shop: Any) -> Any:
    """Nothing asks for effects, as each that is carried out is an action, too."""
    shop._coopy_engine.asked = lambda name: None
    return shop


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A batch lets the lock go in between only where a test is about that."""
    monkeypatch.setattr(engine, "HELD_NS", 10**12)
    yield
    for each in (sent, armed, inside):
        each.clear()  # type: ignore[attr-defined]


@pytest.fixture(params=KINDS)
def cls(request: pytest.FixtureRequest) -> type:
    return KINDS[request.param]


@pytest.fixture
def disk() -> Faulty:
    return Faulty()


@pytest.fixture
def shop(cls: type, tmp_path: Path, disk: Faulty) -> Iterator[Any]:
    shop = without_looks(open_with(disk, cls, tmp_path / "shop"))
    yield shop
    disk.failing = ""
    control(shop).close()


@pytest.fixture
def together(tmp_path: Path, disk: Faulty) -> Iterator[Any]:
    shop = without_looks(open_with(disk, Shop, tmp_path / "shop"))
    yield shop
    disk.failing = ""
    control(shop).close()


# -- the same as one by one


def every_kind() -> list[Called]:
    return [
        *sells("tea", "milk"),
        Called("count"),
        Called("sell", "tea"),
        Called("last"),
        Called("sell", [1, {"two": 2}]),
        Called("sell", what="by name"),
        Called("sell", no_pickle()),
        Called("careful", "bread"),
        Called("careful", "bread"),
        Called("order", "cake"),
        Called("order_and_fail", "pie"),
        Called(None),
        Called("whole_parts", "no"),
        Called("whole", "no"),
        Called("count"),
        Called("itself"),
        Called("all"),
        *sells("salt"),
        Called("sell"),
        Called("last", "too many"),
        Called("whole_parts", "at the end"),
    ]


@pytest.mark.parametrize(
    ("held_ns", "chunk"),
    [(10**12, 32), (10**12, 3), (-1, 1)],
    ids=["all at once", "in chunks", "the lock is let go behind each"],
)
def test_a_batch_comes_to_what_its_calls_come_to_one_by_one(
    cls: type, tmp_path: Path, held_ns: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "HELD_NS", held_ns)
    monkeypatch.setattr(engine, "CHUNK", chunk)
    shops = {name: without_looks(without_delivery(open_with(Calls(), cls, tmp_path / name))) for name in ("batch", "single")}
    outcomes = {
        "batch": take(shops["batch"], *every_kind()),
        "single": [outcome for call in every_kind() for outcome in take(shops["single"], call)],
    }
    for name, shop in shops.items():
        outcomes[name] = ["the shop" if each is shop else each for each in outcomes[name]]
    assert outcomes["batch"] == outcomes["single"]
    assert outcomes["batch"][:6] == [1, 2, 2, ValueError, "milk", 3]
    assert recorded(shops["batch"]) == recorded(shops["single"])
    states = [(shop.sold, list(control(shop).replay().sold)) for shop in shops.values()]
    assert states[0] == states[1] and states[0][0] == states[0][1]
    for name, shop in shops.items():
        sold = shop.sold
        control(shop).close()
        assert restored(cls, tmp_path / name).sold == sold
        assert list(shop._coopy_engine.machine.effects) == ["8.0"]


def plain_kinds() -> list[Called]:
    """Calls that hold plain scalars and nothing else."""
    return [
        *sells("tea", "milk", "tea", "bread", "milk"),
        Called("itself"),
        Called("all"),
        Called("order", "cake"),
        Called("order_and_fail", "pie"),
        Called("order", "pie"),
        *sells("salt", "salt"),
        Called("careful", "salt"),
        *sells(1, 2.5, None, True, b"bytes"),
        Called("whole", "no"),
        *sells("x" * 5000, "last", "last"),
    ]


def test_plain_calls_that_are_taken_together_come_to_what_they_come_to_one_by_one(
    cls: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    many = Section.many
    monkeypatch.setattr(
        Section, "many", lambda self, headers, *rest: together.append(len(headers)) or many(self, headers, *rest)
    )
    shops = {name: without_looks(without_delivery(open_with(Calls(), cls, tmp_path / name))) for name in ("batch", "single")}
    rebuilt: list[str] = []
    for name, shop in shops.items():
        shop._coopy_engine.renewed = lambda machine, name=name: rebuilt.append(name)
    outcomes = {
        "batch": take(shops["batch"], *plain_kinds()),
        "single": [outcome for call in plain_kinds() for outcome in take(shops["single"], call)],
    }
    for name, shop in shops.items():
        outcomes[name] = ["the shop" if each is shop else each for each in outcomes[name]]
    assert outcomes["batch"] == outcomes["single"]
    assert outcomes["batch"][:6] == [1, 2, ValueError, 3, ValueError, "the shop"]
    assert (max(together, default=0) > 1) == (cls is Shop)
    assert rebuilt.count("batch") == rebuilt.count("single")
    assert recorded(shops["batch"]) == recorded(shops["single"])
    assert shops["batch"].sold == shops["single"].sold
    for name, shop in shops.items():
        effects, sold = shop._coopy_engine.machine.effects, shop.sold
        control(shop).close()
        assert restored(cls, tmp_path / name).sold == sold
        assert list(effects) == ["8.0", "10.0"]


def take_alone(found: Any, call: Called) -> None:
    """Takes a call by `Engine.call`, as a proxy does."""
    try:
        call.value = found.call(call.what, call.args, call.kwargs)
    except BaseException as error:
        call.error = error


def table() -> list[Called]:
    """Calls that end in every way: each plain enough to be taken together with others, unless it is for one alone."""
    return [
        *sells("tea", "milk", "tea", 1, 2.5, None, True, b"bytes"),
        Called("itself"),
        Called("all"),
        Called("order", "cake"),
        Called("order_and_fail", "pie"),
        Called("careful", "bread"),
        Called("careful", "bread"),
        Called("whole", "no"),
        Called("whole_parts", "no"),
        Called("interrupted", "rice"),
        Called("interrupted", "oats"),
        *sells("salt", "x" * 5000, "tea"),
        Called("sell", "too", "many"),
        Called("whole_parts", "at the end"),
    ]


WAYS = ("alone", "by one", "by many")


def come_to(shop: Any, way: str) -> Any:
    """What the table comes to, taken one way: how each call ended, its notes, and what was recorded and asked for."""
    found, asked = shop._coopy_engine, []
    found.asked = asked.append
    calls = table()
    armed[:] = [SystemExit(), MemoryError()]
    if way == "alone":
        for call in calls:
            take_alone(found, call)
    else:
        list(found.settled(found.begin_all(calls), calls))
    ended = [
        (
            list(call.value) if isinstance(call.value, type(iter([]))) else "the shop" if call.value is shop else call.value,
            repr(call.error),
            getattr(call.error, "__notes__", []),
        )
        for call in calls
    ]
    records = b"".join(bytes(data) for _, data in found.log.read(0))
    actions = [
        (each.index, each.method, each.args, each.kwargs, each.outcome) for each in history.actions(found.log, found._codec, 0)
    ]
    return ended, actions, without_instants(records), set(asked), list(found.machine.effects), shop.sold, found.machine.outcome


def without_instants(records: bytes) -> list[Any]:
    headers, names, arguments = decode_joined(records)
    return [(header[-5:], name, args) for header, name, args in zip(headers, names, arguments, strict=True)]


def test_a_call_comes_to_the_same_alone_by_one_and_by_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHUNK", 4)  # Those among which one has parts to be put back are not taken together.
    together = engine.Engine._begin_together
    ways: dict[str, Any] = {}
    for way in WAYS:
        taken: list[int] = []

        def begin(self: Any, names: Any, calls: Any, encoded: Any, section: Any, way: str = way, taken: Any = taken) -> int:
            found = 0 if way == "by one" else together(self, names, calls, encoded, section)
            taken.append(found)
            return found

        monkeypatch.setattr(engine.Engine, "_begin_together", begin)
        shop = open_with(Calls(), Shop, tmp_path / way)
        ways[way] = come_to(shop, way)
        assert bool(sum(taken)) is (way == "by many")
        sold = shop.sold
        control(shop).close()
        assert restored(Shop, tmp_path / way).sold == sold
    for one, other, third in zip(*(ways[way] for way in WAYS), strict=True):
        assert one == other == third
    ended = [each for each, _, _ in ways["alone"][0]]
    assert ended[:3] == [1, 2, None] and ended[8] == "the shop"
    assert {note.partition(":")[0] for _, _, notes in ways["alone"][0] for note in notes} == {"interrupted() was interrupted"}


def test_a_method_that_is_not_there_fails_alone(shop: Any) -> None:
    gone = Called(None, "tea")
    gone.what = methods.method_for("gone", Shop.sell, ("what",))
    assert take(shop, *sells("tea"), gone, *sells("milk")) == [1, MissingName, 2]
    assert shop.sold == ["tea", "milk"]


def test_a_single_call_and_a_batch_leave_the_same_records(cls: type, tmp_path: Path) -> None:
    batch, single = (without_delivery(open_with(Calls(), cls, tmp_path / name)) for name in ("batch", "single"))
    take(batch, *(call for call in every_kind() if call.what is not None))
    for call in every_kind():
        if call.what is not None:
            run = single._coopy_engine.call if isinstance(call.what, methods.Method) else single._coopy_engine.read
            try:
                run(call.what, call.args, call.kwargs)
            except Exception as error:
                assert not isinstance(error, AssertionError)
    assert recorded(batch) == recorded(single)
    assert batch.sold == single.sold
    for shop in (batch, single):
        control(shop).close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, RecursionError])
def test_an_interrupted_action_is_withdrawn_and_the_next_of_the_batch_finds_nothing_of_it(
    shop: Any, cls: type, tmp_path: Path, error: type[BaseException]
) -> None:
    armed.append(error())
    assert take(shop, *sells("tea"), Called("interrupted", "milk"), *sells("bread"), Called("last")) == [1, error, 2, "bread"]
    assert shop.sold == restored(cls, tmp_path / "shop").sold == ["tea", "bread"]
    armed.append(error())
    assert take(shop, Called("interrupted", "at the end")) == [error]
    assert shop.count() == 2


def test_stamps_of_a_batch_never_go_back(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(10**18, 0, -(10**9)))
    monkeypatch.setattr(engine, "_time_ns", lambda: next(times))
    assert take(shop, *sells(*"abcd")) == [1, 2, 3, 4]
    assert shop.stamps == sorted(shop.stamps) and len(shop.stamps) == 4


def test_instants_of_a_batch_differ_and_are_those_of_its_time(shop: Any) -> None:
    began = time.time_ns()
    take(shop, *sells(*range(200)))
    ended = time.time_ns()
    found = shop._coopy_engine
    instants = [action.instant_of(each.header) for each in history.actions(found.log, found._codec, 0)]
    assert len(set(instants)) == 200 and instants == sorted(instants)
    assert began <= instants[0] and instants[-1] <= ended


def test_actions_of_a_batch_have_the_instant_of_a_clock_that_stands() -> None:
    frozen = Clock()
    frozen.freeze()
    shop = memory_system(Shop, clock=frozen)
    take(shop, *sells(*range(100)))
    assert set(shop.stamps) == {frozen.time()}
    control(shop).close()


def test_the_offset_is_looked_at_once_a_second_in_a_batch(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    second = time.time_ns() // 10**9 + 3600
    times = itertools.count(second * 10**9 + 10**9 - 3000, 100)
    monkeypatch.setattr(engine, "_time_ns", lambda: next(times))
    monkeypatch.setattr(engine.time, "localtime", lambda seconds: types.SimpleNamespace(tm_gmtoff=seconds - second))
    take(shop, *sells(*range(200)))
    found = shop._coopy_engine
    headers = [action.HEADER.unpack(each.header[-13:]) for each in history.actions(found.log, found._codec, 0)]
    assert {offset for _, offset, _ in headers} == {0, 1}
    assert all(instant // 10**9 - second == offset for instant, offset, _ in headers)


def test_a_call_made_while_an_argument_is_encoded_is_an_action_before_its_own(shop: Any, cls: type, tmp_path: Path) -> None:
    class Calling:
        def __reduce__(self) -> Any:
            seen.append(shop.count())
            if len(seen) == 1:
                shop.sell("from inside")
            return str, ("argument",)

    seen: list[int] = []
    assert take(shop, *sells("tea", "milk"), Called("sell", Calling()), *sells("bread"))[::3] == [1, 5]
    assert seen[0] == 2
    assert shop.sold == restored(cls, tmp_path / "shop").sold == ["tea", "milk", "from inside", "argument", "bread"]


# -- who may see what, and when


def test_records_of_a_batch_reach_the_file_in_one_write_for_each_block(together: Any, disk: Faulty) -> None:
    writes = written_by(disk)
    take(together, *sells(*range(20)))
    assert len(writes) == 1
    writes.clear()
    take(together, *sells(*(str(number) * 10 for number in range(1000, 2000))))
    blocks = {offset // BLOCK for offset, _ in writes}
    assert 2 < len(writes) == len(blocks)


def written_by(disk: Faulty) -> list[tuple[int, bytes]]:
    """What is written from now on, and where."""
    writes: list[tuple[int, bytes]] = []
    real = disk.pwrite

    def pwrite(fd: int, data: bytes | memoryview, offset: int) -> int:
        writes.append((offset, bytes(data)))
        return real(fd, data, offset)

    disk.pwrite = pwrite  # type: ignore[method-assign]
    return writes


def is_free_for_another(shop: Any) -> bool:
    """Whether another thread could take the lock."""
    found = []

    def take_and_release() -> None:
        found.append(shop._coopy_engine.acquire(False))
        if found[0]:
            shop._coopy_engine.release()

    thread = threading.Thread(target=take_and_release)
    thread.start()
    thread.join(30)
    return bool(found[0])


def test_nobody_gets_the_lock_before_what_was_applied_is_written(together: Any, disk: Faulty) -> None:
    free: list[bool] = []
    real = disk.pwrite

    def pwrite(fd: int, data: bytes | memoryview, offset: int) -> int:
        free.append(is_free_for_another(together))
        return real(fd, data, offset)

    disk.pwrite = pwrite  # type: ignore[method-assign]
    assert take(together, *sells("tea", "milk")) == [1, 2]
    assert free and not any(free)


def test_the_lock_is_let_go_after_a_while(together: Any, disk: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "HELD_NS", -1)
    monkeypatch.setattr(engine, "CHUNK", 1)
    writes = written_by(disk)
    free: list[bool] = []
    monkeypatch.setattr(engine, "_yield", lambda: free.append(is_free_for_another(together)))
    assert take(together, *sells("tea", "milk"), Called("count")) == [1, 2, 2]
    assert len(writes) == 2
    assert free and all(free)


def test_an_action_that_an_unlocked_read_can_see_is_in_the_log_before_it_runs(tmp_path: Path) -> None:
    shop = without_looks(open_with(Calls(), OpenShop, tmp_path / "shop"))
    seen: list[tuple[int, int]] = []
    inside.append(lambda: seen.append((shop._coopy_engine.log.last, shop._coopy_engine.machine.reached)))
    take(shop, *sells("tea"), Called("look"), *sells("milk"), Called("look"))
    assert seen == [(2, 1), (4, 3)]
    control(shop).close()


def test_an_effect_is_asked_for_when_its_action_is_in_the_log(together: Any) -> None:
    found = together._coopy_engine
    asked: list[tuple[str, int]] = []
    found.asked = lambda name: asked.append((name, found.log.last))
    take(together, Called("order", "tea"), Called("order", "milk"), *sells("bread"))
    assert asked == [("1.0", 3), ("2.0", 3)]


def test_a_call_that_nobody_waits_for_any_more_is_not_applied(shop: Any) -> None:
    without_looks(shop)
    first, cancelled, last = sells("tea", "milk", "bread")
    inside.append(lambda: setattr(cancelled, "what", None))
    take(shop, first, Called("look"), cancelled, last)
    assert shop.sold == ["tea", "bread"]


# -- a disk that refuses


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_batch_that_cannot_be_written_has_not_happened(together: Any, disk: Faulty, tmp_path: Path, code: int) -> None:
    asked: list[str] = []
    together._coopy_engine.asked = asked.append
    take(together, *sells("tea"))
    disk.failing, disk.errno = "pwrite after half", code
    calls = [Called("count"), *sells("milk", "tea"), Called("count"), Called("order", "cake"), Called("sell", no_pickle())]
    outcomes = take(together, *calls)
    assert outcomes == [1, JournalError, JournalError, JournalError, JournalError, EncodingError]
    errors = [call.error for call in calls if isinstance(call.error, JournalError)]
    assert {error.errno for error in errors} == {code} and len(set(map(id, errors))) == len(errors)
    assert together.sold == restored(Shop, tmp_path / "shop").sold == ["tea"]
    assert take(together, *sells("milk"), Called("count")) == [2, 2]
    assert together.sold == restored(Shop, tmp_path / "shop").sold == ["tea", "milk"]
    assert not together._coopy_engine.machine.effects and not asked


def test_frames_that_were_written_whole_before_the_disk_refused_the_others_are_taken_back(
    together: Any, disk: Faulty, tmp_path: Path
) -> None:
    take(together, *sells("tea"))
    disk.failing = "pwrite after half"
    assert take(together, *sells(*range(4 * TOGETHER_MAX))) == [JournalError] * 4 * TOGETHER_MAX
    assert together.sold == restored(Shop, tmp_path / "shop").sold == ["tea"]


@pytest.mark.parametrize("method", ["whole", "careful", "interrupted"])
def test_what_needs_the_log_in_the_middle_of_a_batch_finds_that_it_refuses(
    together: Any, disk: Faulty, tmp_path: Path, method: str
) -> None:
    armed.append(MemoryError())
    disk.failing = "pwrite after half"
    calls = [*sells("tea", "bad"), Called(method, "bad"), *sells("milk"), Called("count")]
    assert take(together, *calls) == [JournalError] * 3 + [1, 1]
    assert together.sold == restored(Shop, tmp_path / "shop").sold == ["milk"]


def test_what_went_into_a_block_before_the_disk_was_full_has_happened(together: Any, disk: Faulty, tmp_path: Path) -> None:
    real, writes = disk.pwrite, iter(range(1, 1000))

    def pwrite(fd: int, data: bytes | memoryview, offset: int) -> int:
        if next(writes) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data, offset)

    disk.pwrite = pwrite  # type: ignore[method-assign]
    calls = [each for number in range(40) for each in (*sells(f"{number:04} " * 600), Called("count"))]
    outcomes = take(together, *calls)
    written = control(together).index
    assert 0 < written < 40
    assert outcomes[: 2 * written] == [number for number in range(1, written + 1) for _ in ("sell", "count")]
    assert outcomes[2 * written :] == [JournalError] * 2 * (40 - written)
    assert len(together.sold) == written and together.sold == restored(Shop, tmp_path / "shop").sold
    assert take(together, *sells("tea")) == [written + 1]


def test_a_record_for_which_there_is_no_room_fails_and_those_before_it_have_happened(
    together: Any, disk: Faulty, tmp_path: Path
) -> None:
    disk.failing = "allocate"
    outcomes = take(together, *sells("tea", "x" * 3_000_000, "milk"))
    assert outcomes[:2] == [1, JournalError]
    assert together.sold == restored(Shop, tmp_path / "shop").sold
    disk.failing = ""
    assert take(together, *sells("y" * 3_000_000))[0] == len(together.sold)


def test_an_end_that_could_not_be_cut_off_refuses_everything_that_comes(together: Any, disk: Faulty, tmp_path: Path) -> None:
    take(together, *sells("tea"))
    disk.failing = "pwrite"
    assert take_without_settling(together, *sells("milk", "bread"), Called("count")) == [JournalError] * 3
    disk.failing = ""
    assert take_without_settling(together, *sells("milk"), Called("count")) == [JournalError] * 2
    for use in (together.count, lambda: together.sell("milk"), together.take_snapshot):
        with pytest.raises(JournalError):
            use()
    assert restored(Shop, tmp_path / "shop").sold == ["tea"]


def take_without_settling(shop: Any, *calls: Called) -> list[Any]:
    shop._coopy_engine.begin_all(calls)
    return [call.outcome for call in calls]


def test_a_closed_system_takes_no_batch_and_applies_nothing_of_it(shop: Any) -> None:
    take(shop, *sells("tea"))
    sold = shop.sold
    shop.close()
    assert take_without_settling(shop, *sells("milk", "bread"), Called("count")) == [SystemClosed] * 3
    assert sold == ["tea"]


def test_a_log_that_is_closed_in_the_middle_of_a_batch_refuses_what_was_not_written(shop: Any, cls: type) -> None:
    class Closing:
        def __reduce__(self) -> Any:
            shop._coopy_engine.log.close()
            return str, ("argument",)

    outcomes = take_without_settling(shop, *sells("tea"), Called("sell", Closing()), *sells("milk"))
    assert outcomes == [1 if hasattr(cls, "glance") else SystemClosed, SystemClosed, SystemClosed]


def test_a_killed_process_leaves_the_first_actions_of_a_batch_as_many_as_were_written_together(tmp_path: Path) -> None:
    disk = Faulty()
    shop = without_looks(open_with(disk, Shop, tmp_path / "shop"))
    writes = written_by(disk)
    take(shop, *sells(*range(2 * TOGETHER_MAX + 1)))
    [(offset, data)] = writes
    sold = shop.sold
    control(shop).close()
    segment = tmp_path / "shop" / "transaction_000000000000001.log"
    whole = segment.read_bytes()
    counts = []
    for size in [*range(0, len(data), 97), len(data) - 1, len(data)]:
        segment.write_bytes(whole[:offset] + data[:size] + bytes(len(whole) - offset - size))
        found = coopy.replay(Shop, tmp_path / "shop").sold
        assert found == sold[: len(found)]
        counts.append(len(found))
    assert counts == sorted(counts) and set(counts) == {0, TOGETHER_MAX, 2 * TOGETHER_MAX, 2 * TOGETHER_MAX + 1}


# -- check=True


def test_with_check_each_call_of_a_batch_is_looked_at(tmp_path: Path) -> None:
    shop = open_with(Calls(), Careless, tmp_path / "shop", check=True)
    calls = [*sells("tea"), Called(None), Called("count"), *sells("milk")]
    calls[2].what = Careless.peek
    list(shop._coopy_engine.settled(shop._coopy_engine.begin_all(calls), calls))
    assert [call.outcome for call in calls] == [1, None, StateChanged, 2]
    assert shop.sold == ["tea", "milk"]
    control(shop).close()


class Careless(Shop):
    @readonly
    def peek(self) -> None:
        self.sold.append("changed by a read")
