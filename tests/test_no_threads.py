"""A process that can start no more threads: what needs one says so, or does without."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coopy import JournalError, aio, control, init_system, on_commit

sent: list[str] = []


def send(what: str) -> None:
    sent.append(what)


class Shop:
    def __init__(self) -> None:
        self.sold: list[str] = []

    def sell(self, what: str) -> int:
        self.sold.append(what)
        return len(self.sold)

    def order(self, what: str) -> None:
        self.sold.append(what)
        on_commit(send, what)


@contextmanager
def no_failure() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise AssertionError("this must not fail") from error


class NoThread:
    """Refuses threads of coopy's while it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refuses = False
        start = threading.Thread.start

        def refuse(thread: threading.Thread) -> None:
            if self.refuses and thread.name.startswith("coopy"):
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> NoThread:
    return NoThread(monkeypatch)


def test_a_call_whose_effect_finds_no_thread_is_acknowledged_and_the_effect_is_carried_out_later(
    tmp_path: Path, threads: NoThread
) -> None:
    sent.clear()
    shop = init_system(Shop, tmp_path / "shop")
    threads.refuses = True
    with no_failure():
        shop.order("tea")
    assert not sent
    control(shop).close()
    assert sent == ["tea"], "by whoever closes it, as there is no thread"
    shop = init_system(Shop, tmp_path / "shop")
    shop.order("milk")
    threads.refuses = False
    shop.order("bread")
    control(shop).close()
    assert sent == ["tea", "milk", "bread"]


def test_a_system_without_the_thread_for_its_snapshots_is_not_opened(tmp_path: Path, threads: NoThread) -> None:
    threads.refuses = True
    with no_failure(), pytest.raises(JournalError, match="can't start new thread.*not opened") as refusal:
        init_system(Shop, tmp_path / "shop", snapshot_time=3600)
    assert refusal.value.errno == errno.EAGAIN
    threads.refuses = False
    init_system(Shop, tmp_path / "shop", snapshot_time=3600).close()


def test_the_thread_for_snapshots_ends_with_its_system_whenever_it_looks(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    shop = init_system(Shop, tmp_path / "shop", snapshot_time=3600)
    (thread,) = set(threading.enumerate()) - before
    system = control(shop)._system
    let_go = system.place.release

    def let_it_look() -> None:
        until = time.monotonic() + 10
        while system.keeping.wake.is_set() and time.monotonic() < until:
            time.sleep(0.001)
        let_go()

    system.place.release = let_it_look
    control(shop).close()
    thread.join(10)
    assert not thread.is_alive()


def test_tasks_do_without_a_second_thread_and_can_not_without_the_first(tmp_path: Path, threads: NoThread) -> None:
    async def main() -> int:
        shop = await aio.open(Shop, tmp_path / "shop")
        threads.refuses = True
        calls = [asyncio.ensure_future(shop.sell(str(number))) for number in range(200)]
        done, waiting = await asyncio.wait(calls, timeout=10)
        threads.refuses = False
        assert not waiting, "nobody does them"
        await aio.close(shop)
        return max(call.result() for call in done)

    assert asyncio.run(main()) == 200
    threads.refuses = True
    with pytest.raises(JournalError, match="Nothing was opened"):
        asyncio.run(main())
