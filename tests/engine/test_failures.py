"""The failure table of one call: what the caller gets, what memory and disk hold afterwards."""

from __future__ import annotations

import errno
import shutil
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import handed
import pytest
from faults import Faulty, Held, open_with

import coopy
from coopy import EncodingError, JournalError, StateChanged, abort_exception, control, init_system, readonly, transactional
from coopy.disk.fs import Calls


class Shop:
    def __init__(self) -> None:
        self.sold: list[Any] = []
        self.orders: dict[str, list[int]] = {}

    def sell(self, what: Any) -> int:
        self.sold.append(what)
        return len(self.sold)

    @readonly
    def count(self) -> int:
        return len(self.sold)

    def order(self, who: str, numbers: list[int]) -> None:
        self.orders[who] = numbers
        numbers.append(-1)

    def half(self, what: str) -> None:
        self.sold.append(what)
        raise ValueError(f"no {what}")

    @abort_exception
    def careful(self, what: str) -> None:
        if what in self.sold:
            raise ValueError(what)
        self.sold.append(what)

    @abort_exception
    def careless(self, what: str) -> None:
        self.sold.append(what)
        raise ValueError(what)

    @transactional
    def all_or_nothing(self, *whats: str) -> None:
        for what in whats:
            self.sold.append(what)
            if what == "bad":
                raise ValueError(what)

    def interrupted(self, how: str, what: str) -> None:
        self.sold.append(what)
        if how in armed:
            armed.remove(how)
            interrupt(how)
        self.sold.append(what)


armed: list[str] = []


def interrupt(how: str) -> None:
    if how == "SIGINT":
        signal.raise_signal(signal.SIGINT)
    else:
        raise INTERRUPTIONS[how]


INTERRUPTIONS: dict[str, type[BaseException]] = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "SIGINT": KeyboardInterrupt,
    "SystemExit": SystemExit,
    "MemoryError": MemoryError,
    "RecursionError": RecursionError,
}


def restored(directory: Path) -> Shop:
    """The state that a process killed now would leave."""
    copy = directory.with_name(directory.name + "-copy")
    shutil.copytree(directory, copy)
    try:
        return coopy.replay(Shop, copy)
    finally:
        shutil.rmtree(copy)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A process that was started in the background ignores interrupts; these tests are about them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def disk() -> Faulty:
    return Faulty()


@pytest.fixture
def shop(tmp_path: Path, disk: Faulty) -> Any:
    shop = open_with(disk, Shop, tmp_path / "shop")
    shop.sell("tea")
    return shop


# -- what cannot be recorded has changed nothing


def test_an_argument_that_cannot_be_encoded_is_named_and_nothing_changes(shop: Any, tmp_path: Path) -> None:
    with pytest.raises(EncodingError, match="argument 'what' of Shop.sell") as refusal:
        shop.sell(memoryview(b"abc"))
    assert refusal.value.argument == "what"
    assert (shop.sold, control(shop).index) == (["tea"], 1)
    assert shop.sell("milk") == 2
    assert restored(tmp_path / "shop").sold == ["tea", "milk"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["pwrite", "pwrite after half"])
def test_an_append_that_fails_changes_nothing_and_the_next_call_succeeds(
    shop: Any, disk: Faulty, tmp_path: Path, call: str, code: int
) -> None:
    disk.failing, disk.errno = call, code
    if call == "pwrite":
        # The zeros that cut off the failed frame can't be written either: no end to trust any more.
        with pytest.raises(JournalError) as refusal:
            shop.sell("milk")
        assert refusal.value.errno == code
        disk.failing = ""
        with pytest.raises(JournalError):
            shop.sell("milk")
        assert restored(tmp_path / "shop").sold == ["tea"]
        return
    with pytest.raises(JournalError, match="nothing has changed") as refusal:
        shop.sell("milk")
    assert refusal.value.errno == code
    assert shop.sold == ["tea"]
    assert restored(tmp_path / "shop").sold == ["tea"], "the half frame is cut off"
    segment = tmp_path / "shop" / "transaction_000000000000001.log"
    journal = control(shop)._system._journal
    assert not segment.read_bytes()[journal._tail :].strip(b"\0"), "with zeros"
    assert shop.sell("bread") == 2
    assert restored(tmp_path / "shop").sold == ["tea", "bread"]


def test_a_disk_without_room_for_the_next_block_refuses_the_call_and_goes_on_when_there_is(
    shop: Any, disk: Faulty, tmp_path: Path
) -> None:
    disk.failing = "allocate"
    with pytest.raises(JournalError, match="nothing has changed") as refusal:
        while True:
            shop.sell("x" * 100_000)
    assert refusal.value.errno == errno.ENOSPC
    sold = len(shop.sold)
    assert restored(tmp_path / "shop").sold == shop.sold
    with pytest.raises(JournalError):
        shop.sell("x" * 100_000)
    disk.failing = ""
    assert shop.sell("y" * 100_000) == sold + 1
    shop.close()
    with init_system(Shop, tmp_path / "shop") as again:
        assert len(again.sold) == sold + 1


@pytest.mark.parametrize("call", ["allocate", "rename"])
def test_a_segment_that_cannot_be_begun_leaves_none_behind(shop: Any, disk: Faulty, tmp_path: Path, call: str) -> None:
    while len(list((tmp_path / "shop").glob("*.log"))) == 1 and control(shop)._system._journal._tail < 900_000:
        shop.sell("x" * 50_000)
    disk.failing = call
    with pytest.raises(JournalError):
        for _ in range(20):
            shop.sell("x" * 50_000)
    assert len(list((tmp_path / "shop").glob("transaction_*"))) == 1
    disk.failing = ""
    for _ in range(20):
        shop.sell("x" * 50_000)
    assert len(list((tmp_path / "shop").glob("transaction_*"))) > 1
    assert restored(tmp_path / "shop").sold == shop.sold


def test_a_write_that_comes_short_is_finished(shop: Any, disk: Faulty, tmp_path: Path) -> None:
    disk.shorten = True
    shop.sell("milk")
    assert restored(tmp_path / "shop").sold == ["tea", "milk"]


def test_an_interrupt_during_the_append_is_raised_and_nothing_has_changed(tmp_path: Path) -> None:
    class Interrupting(Faulty):
        def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
            if self.failing == "interrupt":
                self.failing = ""
                super().pwrite(fd, bytes(data)[:30], offset)
                signal.raise_signal(signal.SIGINT)
            return super().pwrite(fd, data, offset)

    disk = Interrupting()
    shop = open_with(disk, Shop, tmp_path / "shop")
    shop.sell("tea")
    disk.failing = "interrupt"
    with pytest.raises(KeyboardInterrupt):
        shop.sell("milk")
    assert shop.sold == ["tea"]
    assert shop.sell("bread") == 2
    assert restored(tmp_path / "shop").sold == ["tea", "bread"]


# -- a sync that fails


def test_after_a_failed_sync_everything_is_refused_until_the_directory_is_opened_again(
    shop: Any, disk: Faulty, tmp_path: Path
) -> None:
    disk.failing, disk.errno = "sync_data", errno.EIO
    with pytest.raises(JournalError, match="up to action 1") as refusal:
        shop.sell("milk")
    assert refusal.value.errno == errno.EIO
    disk.failing = ""
    uses: list[Callable[[], Any]] = [lambda: shop.sell("x"), shop.count, lambda: shop.sold, shop.take_snapshot]
    for use in uses:
        with pytest.raises(JournalError):
            use()
    control(shop).close()
    with init_system(Shop, tmp_path / "shop") as again:
        assert again.sold[:1] == ["tea"]
        assert again.sell("after") == len(again.sold)


def test_a_failed_sync_fails_for_everyone_who_waited(tmp_path: Path) -> None:
    class HeldAndFailing(Held):
        failing = False

        def sync_data(self, fd: int) -> None:
            super().sync_data(fd)
            if self.failing:
                raise OSError(errno.EIO, "Input/output error")

    disk = HeldAndFailing()
    shop = open_with(disk, Shop, tmp_path / "shop")
    disk.gate.clear()
    disk.waiting.clear()
    outcomes: list[Any] = []

    def sell() -> None:
        try:
            outcomes.append(shop.sell("x"))
        except JournalError as error:
            outcomes.append(error.errno)

    threads = [threading.Thread(target=sell) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert disk.waiting.wait(30)
    disk.failing = True
    disk.gate.set()
    for thread in threads:
        thread.join(30)
    assert outcomes == [errno.EIO] * 8
    control(shop).close()


# -- what the method does


def test_a_method_that_raises_midway_is_recorded_and_raises_again_at_replay(shop: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no milk") as raised:
        shop.half("milk")
    frames = [frame.filename for frame in traceback.extract_tb(raised.tb)]
    assert frames[0] == frames[-1] == __file__ and len(frames) == 3, "the caller, the proxy's method, the domain's"
    assert "coopy proxy of" in frames[1]
    assert (shop.sold, control(shop).index) == (["tea", "milk"], 2)
    assert restored(tmp_path / "shop").sold == ["tea", "milk"]


def test_a_call_that_raises_under_abort_exception_is_withdrawn(shop: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        shop.careful("tea")
    with pytest.raises(ValueError):
        shop.careless("left in memory")
    assert shop.sold == ["tea", "left in memory"]
    assert restored(tmp_path / "shop").sold == ["tea"]
    shop.careful("milk")
    assert restored(tmp_path / "shop").sold == ["tea", "milk"]


def test_with_check_a_method_that_changed_state_before_it_aborted_is_refused(tmp_path: Path) -> None:
    shop = open_with(Faulty(), Shop, tmp_path / "shop", check=True)
    shop.sell("tea")
    with pytest.raises(StateChanged, match="careless"):
        shop.careless("milk")
    with pytest.raises(ValueError):
        shop.careful("tea")
    assert shop.sold == restored(tmp_path / "shop").sold == ["tea"]


def test_a_call_that_raises_under_transactional_leaves_no_trace(shop: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        shop.all_or_nothing("milk", "bad")
    assert shop.sold == restored(tmp_path / "shop").sold == ["tea"]
    shop.all_or_nothing("milk", "bread")
    assert shop.sold == restored(tmp_path / "shop").sold == ["tea", "milk", "bread"]
    shop.take_snapshot()
    with pytest.raises(ValueError):
        shop.all_or_nothing("bad")
    shop.close()
    with init_system(Shop, tmp_path / "shop") as again:
        assert again.sold == ["tea", "milk", "bread"]


@pytest.mark.parametrize("how", INTERRUPTIONS)
def test_an_interrupted_call_is_withdrawn_and_the_next_one_finds_the_state_before_it(
    shop: Any, tmp_path: Path, how: str
) -> None:
    armed.append(how)
    with pytest.raises(INTERRUPTIONS[how]):
        shop.interrupted(how, "milk")
    assert not armed
    assert restored(tmp_path / "shop").sold == ["tea"], "what a process that was killed now would leave"
    assert shop.count() == 1
    assert (shop.sell("bread"), control(shop).index) == (2, 3)
    assert shop.sold == restored(tmp_path / "shop").sold == ["tea", "bread"]


def test_a_method_that_always_exits_does_not_keep_the_directory_from_opening(tmp_path: Path) -> None:
    with init_system(Quitter, tmp_path) as quitter:
        with pytest.raises(SystemExit):
            quitter.quit()
        assert quitter.times == 1
    with init_system(Quitter, tmp_path) as quitter:
        assert quitter.times == 1


class Quitter:
    def __init__(self) -> None:
        self.times = 0

    def quit(self) -> None:
        self.times += 1
        raise SystemExit(3)


# -- arguments, nested calls, threads


def test_what_a_caller_does_with_its_arguments_later_is_not_in_the_state(shop: Any, tmp_path: Path) -> None:
    numbers = [1, 2]
    shop.order("ann", numbers)
    assert numbers == [1, 2], "the method changed its copy"
    numbers.append(3)
    assert shop.orders == restored(tmp_path / "shop").orders == {"ann": [1, 2, -1]}


class Nested:
    def __init__(self) -> None:
        self.proxy: Any = None
        self.seen: list[Any] = []

    def attach(self, proxy: Any) -> None:
        self.proxy = proxy

    def outer(self) -> int:
        self.proxy.inner("one")
        self.proxy.inner("two")
        self.proxy.mark = "set"
        return int(self.proxy.total())

    def inner(self, what: str) -> None:
        self.seen.append(what)

    @readonly
    def total(self) -> int:
        return len(self.seen)

    def start_thread(self) -> None:
        thread = threading.Thread(target=noted.append, args=(coopy.clock.now(),))
        thread.start()
        thread.join()
        self.seen.append("thread")


noted: list[Any] = []


def test_a_call_from_inside_an_action_is_part_of_it(tmp_path: Path) -> None:
    with init_system(Nested, tmp_path, validation="off") as nested:
        nested.attach(nested)
        assert nested.outer() == 2
        assert control(nested).index == 2
        nested.take_snapshot()
        nested.outer()
    with init_system(Nested, tmp_path, validation="off") as nested:
        assert (nested.seen, nested.mark) == (["one", "two"] * 2, "set")
        assert nested.outer() == 6
        assert control(nested).index == 4


def test_a_method_may_start_threads_of_its_own(tmp_path: Path) -> None:
    with init_system(Nested, tmp_path, validation="off") as nested:
        nested.start_thread()
        nested.start_thread()
    with init_system(Nested, tmp_path, validation="off") as nested:
        assert nested.seen == ["thread", "thread"]


# -- who waits for the disk


@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_a_reader_does_not_learn_of_what_a_power_cut_could_take_back(tmp_path: Path, durability: str) -> None:
    disk = Held()
    shop = open_with(disk, Shop, tmp_path / "shop", durability=durability)
    shop.sell("tea")
    disk.gate.clear()
    disk.waiting.clear()
    writer = threading.Thread(target=shop.sell, args=("milk",))
    writer.start()
    if durability == "sync":
        assert disk.waiting.wait(30)
    else:
        writer.join(30)
    seen: list[int] = []
    reading = threading.Event()

    def read() -> None:
        reading.set()
        seen.append(shop.count())

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(30)
    if durability == "sync":
        reader.join(0.2)
        assert not seen, "the reader waits as the writer does"
    else:
        reader.join(30)
        assert seen == [2], "nobody waits"
    disk.gate.set()
    for thread in (writer, reader):
        thread.join(30)
    assert seen == [2]
    shop.close()


class Called(handed.Called):
    domain = Shop


def test_a_past_is_handed_out_once_the_disk_has_it(shop: Any, disk: Faulty) -> None:
    shop._coopy_engine.begin_all([Called("sell", "milk")])  # Applied, and not waited for.
    assert control(shop).durable == 1 < control(shop).index
    disk.failing = "sync_data"
    assert control(shop).replay(1).sold == ["tea"], "that the disk has"
    with pytest.raises(JournalError):
        control(shop).replay()


def test_a_past_that_the_disk_has_not_is_made_durable(shop: Any) -> None:
    shop._coopy_engine.begin_all([Called("sell", "milk")])
    assert control(shop).replay().sold == ["tea", "milk"]
    assert control(shop).durable == control(shop).index


def test_who_only_reads_a_directory_asks_nothing_of_the_disk(
    shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a sync")

    monkeypatch.setattr(Calls, "sync_data", refuse)
    assert coopy.replay(Shop, tmp_path / "shop").sold == ["tea"]
    assert control(shop).replay().sold == ["tea"]
    monkeypatch.undo()
    shop.close()
    monkeypatch.setattr(Calls, "sync_data", refuse)
    assert coopy.replay(Shop, tmp_path / "shop").sold == ["tea"]


def test_callers_who_wait_share_the_same_sync(tmp_path: Path) -> None:
    disk = Held()
    shop = open_with(disk, Shop, tmp_path / "shop")
    disk.gate.clear()
    disk.waiting.clear()
    before = disk.syncs
    threads = [threading.Thread(target=shop.sell, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    journal = control(shop)._system._journal
    while journal.last < 16:  # All have written, while the first sync is held.
        threading.Event().wait(0.001)
    disk.gate.set()
    for thread in threads:
        thread.join(30)
    assert disk.syncs - before <= 3
    assert control(shop).durable == 16
    shop.close()


class Bookkeeper:
    def __init__(self) -> None:
        self.books: list[object] = []
        self.calls = 0

    def spoil(self) -> None:
        self.books.append(value for value in ())

    @transactional(parts=("books",))
    def count(self) -> int:
        self.calls += 1
        return self.calls


def test_a_part_that_cannot_be_kept_is_found_before_the_call_is_recorded(tmp_path: Path) -> None:
    keeper = init_system(Bookkeeper, tmp_path, validation="off")
    keeper.spoil()
    with pytest.raises(EncodingError, match="books"):
        keeper.count()
    assert (control(keeper).index, keeper.calls) == (1, 0)
